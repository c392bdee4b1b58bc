"""EME: encryption of file names, without authentication and without growth.

Owns: the two implementations of ``NameCipher``; see ``aead`` for what "native" and "reference" mean. It knows nothing
of padding, base64 or long names (``format.names``).

Threads: a cipher may be used by any number at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, assert_never

from pcvfs import native, spec
from pcvfs.crypto.cipher_kind import Engine
from pcvfs.crypto.secret import Secret


class NameCipher(Protocol):
    """Encrypts and decrypts names under one key.

    ``tweak`` is 16 bytes, the directory IV. Messages are 16..2048 bytes, multiples of 16, and come back as long as
    they were. Any other length, or use after ``close``, is ValueError. Decryption can't fail: wrong input gives other
    bytes, and ``format.names`` tells by the padding.
    """

    def encrypt(self, tweak: bytes, padded: bytes) -> bytes: ...

    def decrypt(self, tweak: bytes, data: bytes) -> bytes: ...

    def encrypt_many(self, tweak: bytes, padded: Sequence[bytes]) -> list[bytes]:
        """Encrypt names of one directory; for the native engine one call."""
        ...

    def decrypt_many(self, tweak: bytes, data: Sequence[bytes]) -> list[bytes]:
        """Decrypt names of one directory; for the native engine one call."""
        ...

    def close(self) -> None:
        """Wipe the key schedule. May be repeated."""
        ...


def name_cipher(names_key: Secret, *, engine: Engine = "native") -> NameCipher:
    """Make the name cipher of a volume; ``names_key`` is copied, so the caller may wipe it.

    Raises:
        ValueError: the key is not 32 bytes.
    """
    if len(names_key) != spec.KEY_SIZE:
        raise ValueError(f"EME takes a key of {spec.KEY_SIZE} bytes, not {len(names_key)}")
    match engine:
        case "native" | "libcrypto":
            return NativeNameCipher(names_key)
        case "reference":
            # Not at the top: no mount should wait for `cryptography` to load, which only this engine needs.
            from pcvfs.crypto.reference import ReferenceNameCipher

            return ReferenceNameCipher(names_key)
        case _:
            assert_never(engine)


class NativeNameCipher:
    """NameCipher in C: native/pcv_eme.h."""

    __slots__ = ("_eme",)

    def __init__(self, names_key: Secret) -> None:
        self._eme = native.Eme(names_key.view())

    @property
    def eme(self) -> native.Eme:
        """The C object, for code in C that encrypts names itself."""
        return self._eme

    def encrypt(self, tweak: bytes, padded: bytes) -> bytes:
        return self._eme.transform(tweak, [padded], is_encrypt=True)[0]

    def decrypt(self, tweak: bytes, data: bytes) -> bytes:
        return self._eme.transform(tweak, [data], is_encrypt=False)[0]

    def encrypt_many(self, tweak: bytes, padded: Sequence[bytes]) -> list[bytes]:
        return self._eme.transform(tweak, padded, is_encrypt=True)

    def decrypt_many(self, tweak: bytes, data: Sequence[bytes]) -> list[bytes]:
        return self._eme.transform(tweak, data, is_encrypt=False)

    def close(self) -> None:
        self._eme.close()
