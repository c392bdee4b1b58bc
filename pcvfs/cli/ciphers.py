"""The names of the ciphers as the user knows them: gocryptfs' own, as ``-info`` and ``-speed`` print them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pcvfs.crypto.aead import CipherKind

# By the name of the kind: the enum itself would load the C extension.
_NAMES: Final = {
    "AES_GCM": "AES-GCM-256",
    "AES_SIV": "AES-SIV-512",
    "XCHACHA20_POLY1305": "XChaCha20-Poly1305",
}


def cipher_name(kind: CipherKind) -> str:
    return _NAMES[kind.name]
