"""The three content ciphers of the format and their sizes, and the two engines that implement them."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

from pcvfs import native, spec

Engine = Literal["native", "libcrypto", "reference"]


class CipherKind(Enum):
    """How the content of a volume is encrypted. The value is the number the C code knows it by."""

    AES_GCM = native.KIND_AES_GCM
    XCHACHA20_POLY1305 = native.KIND_XCHACHA20_POLY1305
    AES_SIV = native.KIND_AES_SIV

    @property
    def nonce_size(self) -> int:
        """Bytes of nonce in front of each block."""
        return _NONCE_SIZES[self]

    @property
    def overhead(self) -> int:
        """Bytes that a stored block or blob has more than its plaintext: nonce and tag."""
        return _NONCE_SIZES[self] + spec.TAG_SIZE

    @property
    def key_size(self) -> int:
        """Bytes of content key."""
        return spec.SIV_KEY_SIZE if self is CipherKind.AES_SIV else spec.KEY_SIZE


_NONCE_SIZES: Final = {
    CipherKind.AES_GCM: spec.AES_GCM_NONCE_SIZE,
    CipherKind.XCHACHA20_POLY1305: spec.XCHACHA_NONCE_SIZE,
    CipherKind.AES_SIV: spec.AES_SIV_NONCE_SIZE,
}
