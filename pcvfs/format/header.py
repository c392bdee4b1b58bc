"""The 18 bytes in front of every non-empty file: format version and file id.

Source: docs/format.md "File header".
"""

from __future__ import annotations

from typing import Final

from pcvfs import spec
from pcvfs.errors import HeaderError
from pcvfs.types import FileId

_VERSION: Final = spec.ON_DISK_VERSION.to_bytes(spec.HEADER_VERSION_SIZE, "big")
_ZERO_FILE_ID: Final = bytes(spec.FILE_ID_SIZE)


def encode_header(file_id: FileId) -> bytes:
    """Return the 18-byte header of a file.

    Args:
        file_id: 16 random bytes, not all zero.

    Raises:
        ValueError: wrong length, or all zero (such a file could never be read back).
    """
    if len(file_id) != spec.FILE_ID_SIZE:
        raise ValueError(f"file id has {len(file_id)} bytes, not {spec.FILE_ID_SIZE}")
    if file_id == _ZERO_FILE_ID:
        raise ValueError("file id is all zero")
    return _VERSION + file_id


def decode_header(data: bytes) -> FileId:
    """Return the file id of an 18-byte header.

    The caller decides what a shorter file means (empty, see docs/format.md "Reading"); here it is an error.

    Raises:
        HeaderError: not 18 bytes, version other than 2, file id all zero.
    """
    if len(data) != spec.HEADER_SIZE:
        raise HeaderError(f"file header has {len(data)} bytes, not {spec.HEADER_SIZE}")
    version = data[: spec.HEADER_VERSION_SIZE]
    if version != _VERSION:
        found = int.from_bytes(version, "big")
        raise HeaderError(f"file header says version {found}, not {spec.ON_DISK_VERSION}")
    file_id = bytes(data[spec.HEADER_VERSION_SIZE :])
    if file_id == _ZERO_FILE_ID:
        raise HeaderError("file id in the header is all zero")
    return FileId(file_id)
