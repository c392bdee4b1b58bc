"""Password to SDEK: the keyset, its slots, recovery words, the session that holds the key. No volumes, no FUSE."""
