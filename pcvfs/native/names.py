"""Names and symlink targets in C: native/pcv_names.h.

Owns: handing the rules of a volume to C, and turning its result codes into exceptions. ``pcvfs.format`` is the
reference; both must give the same bytes.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from pcvfs import spec
from pcvfs._native_ffi import ffi, lib
from pcvfs.native import Aead, Eme

if TYPE_CHECKING:
    from pcvfs._native_ffi import CData

NAME_MAX: Final = lib.PCV_NAME_MAX
FULL_CNAME_MAX: Final = lib.PCV_FULL_CNAME_MAX
TARGET_MAX: Final = lib.PCV_TARGET_MAX


class CnameClass(IntEnum):
    """What a name in a backing directory is."""

    PLAIN = lib.PCV_CNAME_PLAIN
    LONG = lib.PCV_CNAME_LONG
    SIDECAR = lib.PCV_CNAME_SIDECAR
    RESERVED = lib.PCV_CNAME_RESERVED
    LEFTOVER = lib.PCV_CNAME_LEFTOVER


def _check(rc: int) -> None:
    if rc != 0:
        raise OSError(-rc, os.strerror(-rc))


class NameFormat:
    """The rules of one volume. Immutable; any number of threads.

    Args:
        eme: the names key; None for names that are stored as they are.
        aead: the content key, for symlink targets.
        nonce_size: of ``aead``, in bytes.
        long_name_max: longest encrypted name that is not hashed, in bytes.
    """

    __slots__ = ("_eme", "aead", "nonce_size", "pointer")

    def __init__(
        self,
        eme: Eme | None,
        aead: Aead,
        nonce_size: int,
        *,
        has_diriv: bool,
        is_raw64: bool,
        hashes_long: bool,
        long_name_max: int,
    ) -> None:
        if not 0 < long_name_max <= NAME_MAX:
            raise ValueError(f"long_name_max is {long_name_max}, not in 1..{NAME_MAX}")
        self._eme, self.aead, self.nonce_size = eme, aead, nonce_size  # C holds a pointer into the first
        members: dict[str, int | CData] = {
            "eme": ffi.NULL if eme is None else eme.pointer,
            "has_diriv": has_diriv,
            "is_raw64": is_raw64,
            "hashes_long": hashes_long,
            "long_name_max": long_name_max,
        }
        self.pointer = ffi.new("struct pcv_name_format *", members)

    def encode(self, name: bytes, diriv: bytes) -> tuple[bytes, bytes | None]:
        """The name in the backing directory, and what its sidecar holds, if it has one.

        Raises:
            OSError: ENAMETOOLONG; EINVAL, not a legal name; EIO.
        """
        out = ffi.new("struct pcv_cname *")
        _check(lib.pcv_name_encode(self.pointer, _diriv(diriv), name, len(name), out))
        return ffi.string(out.name), ffi.string(out.full) or None

    def decode(self, full_cname: bytes, diriv: bytes) -> bytes:
        """The plaintext of an encrypted name.

        Raises:
            OSError: EBADMSG, it is none of this volume; EIO.
        """
        out, size = ffi.new("char[]", NAME_MAX + 1), ffi.new("size_t *")
        _check(lib.pcv_name_decode(self.pointer, _diriv(diriv), full_cname, len(full_cname), out, size))
        return bytes(ffi.buffer(out, size[0]))

    def classify(self, cname: bytes, *, is_root: bool) -> CnameClass:
        """What an entry of a backing directory is."""
        if b"\0" in cname:
            raise ValueError("a directory entry has no NUL inside")
        return CnameClass(lib.pcv_cname_classify(self.pointer, is_root, cname))

    def encode_target(self, target: bytes) -> bytes:
        """The target to store for a symlink.

        Raises:
            OSError: ENAMETOOLONG; EINVAL, a NUL inside; EIO.
        """
        out = ffi.new("char[]", TARGET_MAX + 1)
        _check(lib.pcv_target_encode(self.pointer, self.aead.pointer, self.nonce_size, target, len(target), out))
        return ffi.string(out)

    def decode_target(self, stored: bytes) -> bytes:
        """The plaintext of a stored target.

        Raises:
            OSError: EBADMSG, it is none of this volume; EIO.
        """
        out, size = ffi.new("char[]", TARGET_MAX + 1), ffi.new("size_t *")
        aead, nonce_size = self.aead.pointer, self.nonce_size
        _check(lib.pcv_target_decode(self.pointer, aead, nonce_size, stored, len(stored), out, size))
        return bytes(ffi.buffer(out, size[0]))


def _diriv(diriv: bytes) -> bytes:
    if len(diriv) != spec.DIRIV_SIZE:
        raise ValueError(f"a directory IV has {spec.DIRIV_SIZE} bytes, not {len(diriv)}")
    return diriv
