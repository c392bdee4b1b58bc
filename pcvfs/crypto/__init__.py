"""Bytes to bytes: secrets, key derivation, content and name ciphers. No files, clock, async or logging."""
