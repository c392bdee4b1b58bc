"""The ciphers as the user knows them: gocryptfs' names (as ``-info`` and ``-speed`` print them) and options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pcvfs.errors import ExitCode, UsageError

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


def cipher_of(*, aessiv: bool, xchacha: bool) -> CipherKind:
    """The cipher that the options ``--aessiv`` and ``--xchacha`` ask for.

    Raises:
        UsageError: both, with the exit code that the original has for it.
    """
    from pcvfs.crypto.aead import CipherKind

    if aessiv and xchacha:
        raise UsageError("--aessiv and --xchacha can't be used together", exit_code=ExitCode.WRITE_CONFIG)
    if aessiv:
        return CipherKind.AES_SIV
    return CipherKind.XCHACHA20_POLY1305 if xchacha else CipherKind.AES_GCM
