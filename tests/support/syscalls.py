"""System calls that the standard library doesn't have."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4
FALLOC_KEEP_SIZE = 1
FALLOC_PUNCH_HOLE = 2
AT_FDCWD = -100
PATH_MAX = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.fdopendir.argtypes = [ctypes.c_int]
_libc.fdopendir.restype = ctypes.c_void_p
_libc.readdir.argtypes = [ctypes.c_void_p]
_libc.readdir.restype = ctypes.c_void_p
_libc.telldir.argtypes = [ctypes.c_void_p]
_libc.telldir.restype = ctypes.c_long
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
_libc.seekdir.restype = None
_libc.rewinddir.argtypes = [ctypes.c_void_p]
_libc.rewinddir.restype = None
_libc.closedir.argtypes = [ctypes.c_void_p]
_libc.getdents64.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
_libc.getdents64.restype = ctypes.c_ssize_t


def _check(result: int, what: Path | None = None) -> None:
    if result != 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err), None if what is None else str(what))


def renameat2(old: Path, new: Path, flags: int) -> None:
    """rename(2) with flags.

    Raises: OSError.
    """
    _check(_libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags), old)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), without glibc's emulation.

    Raises: OSError.
    """
    _check(_libc.fallocate(fd, mode, offset, length))


class _Dirent(ctypes.Structure):
    _fields_ = [
        ("ino", ctypes.c_uint64),
        ("off", ctypes.c_int64),
        ("reclen", ctypes.c_uint16),
        ("type", ctypes.c_uint8),
        ("name", ctypes.c_char * 256),
    ]


class DirectoryStream:
    """opendir(3) with telldir and seekdir, which os.scandir hides. Names are bytes, without ``.`` and ``..``."""

    def __init__(self, path: Path) -> None:
        self._stream = _libc.fdopendir(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        if not self._stream:
            raise OSError(ctypes.get_errno(), "fdopendir", str(path))

    def __enter__(self) -> DirectoryStream:
        return self

    def __exit__(self, *exc: object) -> None:
        _libc.closedir(self._stream)

    def next(self) -> bytes | None:
        """Return the next name, None at the end.

        Raises: OSError.
        """
        while True:
            ctypes.set_errno(0)
            entry = _libc.readdir(self._stream)
            if not entry:
                if err := ctypes.get_errno():
                    raise OSError(err, os.strerror(err))
                return None
            name = ctypes.string_at(entry + _Dirent.name.offset)
            if name not in (b".", b".."):
                return name

    def __iter__(self) -> Iterator[bytes]:
        while (name := self.next()) is not None:
            yield name

    def tell(self) -> int:
        """Return the position before the next name."""
        return int(_libc.telldir(self._stream))

    def seek(self, position: int) -> None:
        """Go to a position that tell() returned."""
        _libc.seekdir(self._stream, position)

    def rewind(self) -> None:
        """Start over with what is in the directory now."""
        _libc.rewinddir(self._stream)


def getdents(fd: int, room: int) -> list[tuple[bytes, int]]:
    """One piece of a listing, as much as fits: names, with the position behind each; nothing at the end.

    Raises: OSError; EINVAL if the next name does not fit.
    """
    buffer = ctypes.create_string_buffer(room)
    size = int(_libc.getdents64(fd, buffer, room))
    if size < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))
    found, start = [], 0
    while start < size:
        entry = ctypes.addressof(buffer) + start
        length = ctypes.c_uint16.from_address(entry + _Dirent.reclen.offset).value
        position = ctypes.c_int64.from_address(entry + _Dirent.off.offset).value
        found.append((ctypes.string_at(entry + _Dirent.name.offset), position))
        start += length
    return found


def supports_data_seek(fd: int) -> bool:
    """SEEK_DATA works on this file."""
    try:
        os.lseek(fd, 0, os.SEEK_DATA)
    except OSError as exc:
        return exc.errno == errno.ENXIO
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    return True
