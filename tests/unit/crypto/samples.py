"""Inputs that several crypto tests share."""

from __future__ import annotations

from pcvfs import spec
from pcvfs.crypto.aead import CipherKind, ContentCipher

FILE_ID = bytes(range(100, 116))
BLOCK_NO_MAX = (1 << 64) - 1


def pattern(size: int) -> bytes:
    """Bytes without a period of a block."""
    return bytes((i * 31 + (i >> 8) * 17 + 7) & 0xFF for i in range(size))


def nonces_for(kind: CipherKind, count: int) -> bytes:
    return b"".join((i + 1).to_bytes(kind.nonce_size, "little") for i in range(count))


def seal(cipher: ContentCipher, plaintext: bytes, first_block_no: int = 5) -> bytes:
    count = -(-len(plaintext) // spec.BLOCK_SIZE)
    return cipher.seal_blocks(plaintext, first_block_no, FILE_ID, nonces_for(cipher.kind, count))


def stored_block_size(kind: CipherKind) -> int:
    return spec.BLOCK_SIZE + kind.overhead
