"""File names: encryption, base64, long-name hashing, and the rules of what a name may be.

This module turns names into names. Which directory they live in, and the files that hold directory IVs and long
names, belong to ``cipherdir``. A codec is immutable; it may be shared by threads as far as its cipher may.

Source: docs/format.md "Names" and "Long names".
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pcvfs import native, spec
from pcvfs.crypto.eme import NameCipher
from pcvfs.errors import FormatError, NameDecodeError
from pcvfs.format.base64url import Base64Url
from pcvfs.types import DirIV

_DOTS: Final = frozenset({b".", b".."})
# PKCS#7: n bytes of value n, 1 <= n <= 16.
_PKCS7: Final = tuple(bytes([n]) * n for n in range(spec.EME_BLOCK_SIZE + 1))
# A legal name of 255 bytes fills 16 EME blocks; more can't decrypt to a legal name.
_ENCRYPTED_MAX: Final = (spec.NAME_MAX // spec.EME_BLOCK_SIZE + 1) * spec.EME_BLOCK_SIZE

NO_DIRIV: Final = DirIV(spec.ZERO_DIRIV)  # the tweak of volumes whose directories have none of their own


class NameClass(enum.Enum):
    """What a name in the backing directory stands for."""

    NORMAL = enum.auto()  # an encrypted name, in full
    LONG_CONTENT = enum.auto()  # an object whose encrypted name is in the sidecar next to it
    LONG_SIDECAR = enum.auto()  # the file that holds such a name


class StoredName(NamedTuple):
    """How a name is stored."""

    cname: bytes  # the name in the backing directory
    long_name: bytes | None  # what the sidecar file holds; None: cname says it all, there is no sidecar


def check_plain_name(name: bytes) -> None:
    """Refuse what can't be the name of a directory entry.

    Raises:
        OSError: ENAMETOOLONG, more than 255 bytes.
        ValueError: empty, ``.``, ``..``, or a NUL or ``/`` inside.
    """
    if len(name) > spec.NAME_MAX:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    if not is_legal_name(name):
        raise ValueError("not a file name: empty, a dot entry, or with a NUL or slash inside")


def is_legal_name(name: bytes) -> bool:
    """Whether ``name`` is 1 to 255 bytes without NUL and ``/``, and neither ``.`` nor ``..``."""
    return 0 < len(name) <= spec.NAME_MAX and b"/" not in name and b"\0" not in name and name not in _DOTS


def classify(cname: bytes) -> NameClass:
    """Return what a name in a backing directory is, by prefix and suffix alone."""
    if not cname.startswith(spec.LONG_NAME_PREFIX):
        return NameClass.NORMAL
    if cname.endswith(spec.LONG_NAME_SUFFIX):
        return NameClass.LONG_SIDECAR
    return NameClass.LONG_CONTENT


def sidecar_name(cname: bytes) -> bytes:
    """Return the name of the file that holds the full name of the object ``cname``."""
    return cname + spec.LONG_NAME_SUFFIX


def decode_diriv(data: bytes) -> DirIV:
    """Return the directory IV that a ``gocryptfs.diriv`` file with content ``data`` holds.

    Raises:
        FormatError: not 16 bytes, or all zero (zero is the IV of volumes without these files).
    """
    if len(data) != spec.DIRIV_SIZE:
        raise FormatError(f"directory IV has {len(data)} bytes, not {spec.DIRIV_SIZE}")
    if data == spec.ZERO_DIRIV:
        raise FormatError("directory IV is all zero")
    return DirIV(bytes(data))


def pad(name: bytes) -> bytes:
    """Return ``name`` with PKCS#7 padding to whole EME blocks; always at least one byte of it."""
    return name + _PKCS7[spec.EME_BLOCK_SIZE - len(name) % spec.EME_BLOCK_SIZE]


def unpad(padded: bytes) -> bytes:
    """Return what :meth:`pad` was given.

    Raises:
        NameDecodeError: no, or not uniform, padding; or nothing but padding.
    """
    count = padded[-1] if padded else 0
    if not 0 < count <= spec.EME_BLOCK_SIZE or count >= len(padded) or not padded.endswith(_PKCS7[count]):
        raise NameDecodeError("encrypted name has no valid padding")
    return padded[:-count]


class NameCodec:
    """The name rules of one volume.

    Args:
        cipher: the volume's name cipher, or None when names are stored in plaintext. Not closed by the codec.
        has_diriv: whether each directory has its own tweak. Without, ``diriv`` arguments must be 16 zero bytes
            (:data:`NO_DIRIV`): anything else would be names that no other tool can read.
        long_name_max: longest encrypted name that is not hashed, in bytes; 0 means the default, 255.
        raw64: base64 without padding.
        hash_long_names: False is the original's ``-longnames=false``: a name whose encryption has more than
            255 bytes can't be had, and ``gocryptfs.longname.*`` files are just undecryptable names.
    """

    __slots__ = ("_base64", "_cipher", "_hash_above", "_long_name_max", "has_diriv", "hash_long_names")

    def __init__(
        self,
        cipher: NameCipher | None,
        *,
        has_diriv: bool,
        long_name_max: int,
        raw64: bool,
        hash_long_names: bool = True,
    ) -> None:
        if not 0 <= long_name_max <= spec.NAME_MAX:
            raise ValueError(f"long_name_max is {long_name_max}, not in 0..{spec.NAME_MAX}")
        if cipher is None and has_diriv:
            raise ValueError("plaintext names have no directory IVs")
        self._cipher = cipher
        self._base64 = Base64Url(raw64)
        self._long_name_max = long_name_max or spec.NAME_MAX
        self._hash_above = self._long_name_max if hash_long_names else spec.LONG_NAME_FILE_MAX
        self.has_diriv = has_diriv
        self.hash_long_names = hash_long_names

    @property
    def is_plaintext(self) -> bool:
        """Whether names are stored as they are."""
        return self._cipher is None

    @property
    def base64(self) -> Base64Url:
        """The spelling of base64 in this volume."""
        return self._base64

    @property
    def long_name_max(self) -> int:
        """Longest encrypted name that is not hashed, in bytes."""
        return self._long_name_max

    # --- plaintext to disk ------------------------------------------------------------------------------------

    def encode(self, name: bytes, diriv: DirIV) -> StoredName:
        """Return how ``name`` is stored in the directory with ``diriv``.

        Raises:
            OSError: ENAMETOOLONG; more than 255 bytes, or too long to be stored without hashing.
            ValueError: not a legal name.
        """
        check_plain_name(name)
        if self._cipher is None:
            return StoredName(name, None)
        self._check_diriv(diriv)
        return self.stored(self._base64.encode(self._cipher.encrypt(diriv, pad(name))))

    def encode_many(self, names: Iterable[bytes], diriv: DirIV) -> list[StoredName]:
        """Return :meth:`encode` of each name, with one call into the cipher. Raises if it raises for any."""
        names = list(names)
        if self._cipher is None:
            for name in names:
                check_plain_name(name)
            return [StoredName(name, None) for name in names]
        return [self.stored(full_cname) for full_cname in self.encrypt_many(names, diriv)]

    def encrypt_many(self, names: Sequence[bytes], diriv: DirIV) -> list[bytes]:
        """Return the encrypted names in full, whatever their length: what :meth:`encode` hashes if too long.

        Raises:
            OSError: ENAMETOOLONG, a name of more than 255 bytes.
            ValueError: a name that is not legal, or names are stored in plaintext.
        """
        if self._cipher is None:
            raise ValueError("names are stored in plaintext")
        self._check_diriv(diriv)
        for name in names:
            check_plain_name(name)
        encode = self._base64.encode
        return [encode(data) for data in self._cipher.encrypt_many(diriv, [pad(name) for name in names])]

    def stored(self, full_cname: bytes) -> StoredName:
        """Return how an encrypted name is stored, given its base64 text, hashed if it is too long.

        Raises:
            OSError: ENAMETOOLONG, it is too long for a directory entry and hashing is off.
        """
        if len(full_cname) > self._hash_above:
            return StoredName(self.hashed(full_cname), full_cname)
        if len(full_cname) > spec.NAME_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return StoredName(full_cname, None)

    def hashed(self, full_cname: bytes) -> bytes:
        """Return the name in the backing directory that stands for a long one.

        ``fsck`` compares this with the name it found: a sidecar that belongs to another name makes an entry that
        is listed but can't be reached.
        """
        return spec.LONG_NAME_PREFIX + self._base64.encode(native.sha256(full_cname))

    # --- disk to plaintext ------------------------------------------------------------------------------------

    def classify(self, cname: bytes) -> NameClass:
        """As the function of this name, but NORMAL for everything where long names are not hashed."""
        if self._cipher is None or not self.hash_long_names:
            return NameClass.NORMAL
        return classify(cname)

    def decode(self, full_cname: bytes, diriv: DirIV) -> bytes:
        """Return the plaintext of an encrypted name.

        Args:
            full_cname: the name on disk; for long names, the content of the sidecar.

        Raises:
            NameDecodeError: not what :meth:`encode` writes, or not a legal name when decrypted.
        """
        if self._cipher is None:
            if not is_legal_name(full_cname):
                raise NameDecodeError("not a legal file name")
            return full_cname
        self._check_diriv(diriv)
        name = unpad(self._cipher.decrypt(diriv, self._decode_base64(full_cname)))
        if not is_legal_name(name):
            raise NameDecodeError("name on disk decrypts to an illegal name")
        return name

    def decode_many(self, full_cnames: Sequence[bytes], diriv: DirIV) -> list[bytes | None]:
        """Return :meth:`decode` of each name, with one call into the cipher; None where it would raise."""
        if self._cipher is None:
            return [name if is_legal_name(name) else None for name in full_cnames]
        self._check_diriv(diriv)
        result: list[bytes | None] = [None] * len(full_cnames)
        indexes: list[int] = []
        encrypted: list[bytes] = []
        for index, full_cname in enumerate(full_cnames):
            try:
                data = self._decode_base64(full_cname)
            except NameDecodeError:
                continue
            indexes.append(index)
            encrypted.append(data)
        if not encrypted:
            return result
        for index, padded in zip(indexes, self._cipher.decrypt_many(diriv, encrypted), strict=True):
            count = padded[-1]
            if 0 < count <= spec.EME_BLOCK_SIZE and padded.endswith(_PKCS7[count]):  # unpad(), without the raise
                name = padded[:-count]
                if is_legal_name(name):
                    result[index] = name
        return result

    def _decode_base64(self, full_cname: bytes) -> bytes:
        """Return 1 to 16 whole EME blocks."""
        try:
            data = self._base64.decode(full_cname)
        except ValueError as exc:
            raise NameDecodeError("name on disk is not base64 of this volume's kind") from exc
        if not data or len(data) % spec.EME_BLOCK_SIZE or len(data) > _ENCRYPTED_MAX:
            raise NameDecodeError(f"name on disk has {len(data)} bytes when decoded, not 1 to 16 blocks of 16")
        return data

    def _check_diriv(self, diriv: DirIV) -> None:
        if (diriv == NO_DIRIV) == self.has_diriv or len(diriv) != spec.DIRIV_SIZE:
            raise ValueError("directory IV is not of this volume's kind")
