"""Small encrypted values without block structure: symlink targets and attribute values.

A blob is one block of any length, bound to block number 0 and no file id; empty stays empty. Symlink targets are
base64 on top, since they are text to the kernel.

Source: docs/format.md "Blobs".
"""

from __future__ import annotations

import errno
import os

from pcvfs import spec
from pcvfs.crypto.aead import ContentCipher
from pcvfs.errors import AuthenticationError, NameDecodeError
from pcvfs.format.base64url import Base64Url


def encode_symlink(target: bytes, cipher: ContentCipher, nonce: bytes, raw64: bool) -> bytes:
    """Return the target to store for a symlink to ``target``.

    Not for volumes with plaintext names: those store targets as they are.

    Args:
        nonce: fresh random bytes of the cipher's nonce size.

    Raises:
        OSError: ENAMETOOLONG, the stored target would have more than 4095 bytes; that is the case for a plaintext of
            more than 3039 bytes (unpadded base64; 3037 padded, XChaCha20-Poly1305 3031).
    """
    if not target:
        return b""
    stored = Base64Url(raw64).encode(cipher.seal_blob(target, nonce))
    if len(stored) > spec.SYMLINK_TARGET_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    return stored


def decode_symlink(stored: bytes, cipher: ContentCipher, raw64: bool) -> bytes:
    """Return the plaintext target of a stored one.

    Raises:
        NameDecodeError: not base64 of this volume's kind, or a target with a NUL inside.
        AuthenticationError: not written by this volume.
    """
    if not stored:
        return b""
    try:
        blob = Base64Url(raw64).decode(stored)
    except ValueError as exc:
        raise NameDecodeError("stored symlink target is not base64 of this volume's kind") from exc
    target = cipher.open_blob(blob)
    if b"\0" in target:
        raise NameDecodeError("symlink target has a NUL inside")
    return target


def encode_xattr_value(value: bytes, cipher: ContentCipher, nonce: bytes) -> bytes:
    """Return the bytes to store for an attribute value; empty for empty."""
    return cipher.seal_blob(value, nonce) if value else b""


def decode_xattr_value(stored: bytes, cipher: ContentCipher, raw64: bool) -> bytes:
    """Return the plaintext of a stored attribute value.

    Volumes written by gocryptfs 1.x hold base64 of what is binary today; what does not open as it is, is tried so.

    Raises:
        AuthenticationError: neither of the two.
    """
    if not stored:
        return b""
    try:
        return cipher.open_blob(stored)
    except AuthenticationError:
        try:
            blob = Base64Url(raw64).decode(stored)
        except ValueError:
            blob = b""
        if not blob:
            raise
    return cipher.open_blob(blob)
