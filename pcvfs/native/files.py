"""Open files and write intents in C: native/pcv_file.h and native/pcv_intent.h.

Owns: turning their result codes into exceptions. Which file, when and why is ``pcvfs.fs``'s.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final

from pcvfs._native_ffi import ffi, lib
from pcvfs.errors import AuthenticationError, HeaderError
from pcvfs.native import Aead, Buffer

if TYPE_CHECKING:
    from pcvfs._native_ffi import CData, IntCell

IO_MAX: Final = lib.PCV_FILE_IO_MAX
INTENT_HEAD_SIZE: Final = lib.PCV_INTENT_HEAD
INTENT_SLOT_SIZE: Final = lib.PCV_INTENT_SLOT_SIZE
INTENT_SLOTS: Final = lib.PCV_INTENT_SLOTS

_EBADMSG: Final = -74
_BAD_HEADER: Final = (1 << 64) - 1


def _check(rc: int, bad_block: IntCell | None = None) -> None:
    if rc == 0:
        return
    if rc == _EBADMSG and bad_block is not None:
        if bad_block[0] == _BAD_HEADER:
            raise HeaderError("file header is damaged")
        raise AuthenticationError(f"block {bad_block[0]} failed authentication", block_no=bad_block[0])
    raise OSError(-rc, os.strerror(-rc))


class Intents:
    """Slots of writes in progress, in a shared mapping.

    Args:
        area: INTENT_SLOTS * INTENT_SLOT_SIZE bytes; must stay mapped as long as this object.
        boot_id: 16 bytes.
        root_id: (st_dev, st_ino) of the cipherdir.
    """

    def __init__(self, area: mmap.mmap, boot_id: bytes, root_id: tuple[int, int]) -> None:
        self._area = ffi.from_buffer("uint8_t[]", memoryview(area), require_writable=True)
        cell = ffi.new("pcv_intents **")
        if lib.pcv_intents_new(self._area, boot_id, *root_id, cell) != 0:
            raise MemoryError("no memory for write intents")
        self.pointer = ffi.gc(cell[0], lib.pcv_intents_free)

    def begin(
        self,
        path: bytes,
        backing_id: tuple[int, int],
        file_id: bytes,
        offset: int,
        data: Buffer,
        final_size: int | None,
    ) -> int:
        """Note a write; returns the slot for ``end``, -1 if it does not fit one."""
        c_path = ffi.new("char[]", path)
        size = -1 if final_size is None else final_size
        with ffi.from_buffer("uint8_t[]", file_id) as c_id, ffi.from_buffer("uint8_t[]", data) as source:
            members: dict[str, int | CData] = {"path": c_path, "dev": backing_id[0], "ino": backing_id[1], "id": c_id}
            file = ffi.new("struct pcv_intent_file *", members)
            return lib.pcv_intent_begin(self.pointer, file, offset, source, len(source), size)

    def end(self, slot: int) -> None:
        """The write is done, or was undone."""
        lib.pcv_intent_end(self.pointer, slot)

    def release(self) -> None:
        """Let go of the area, so that it can be unmapped. No call may follow."""
        self.pointer = ffi.NULL
        self._area = ffi.NULL


class FilePolicy:
    """What the files of a mount share, and the buffers of the one Python thread that uses them."""

    def __init__(self, aead: Aead, overhead: int, intents: Intents | None, *, prealloc: int, is_shared: bool) -> None:
        self._keep = (aead, intents)  # C holds pointers into them
        cell = ffi.new("pcv_file_policy **")
        intents_pointer = ffi.NULL if intents is None else intents.pointer
        _check(lib.pcv_file_policy_new(aead.pointer, overhead, intents_pointer, prealloc, is_shared, cell))
        self.pointer = ffi.gc(cell[0], lib.pcv_file_policy_free)
        scratch = ffi.new("pcv_scratch **")
        _check(lib.pcv_scratch_new(scratch))
        self.scratch = ffi.gc(scratch[0], lib.pcv_scratch_free)


class File:
    """One open file. The calls that change it must come from one thread, since they share the policy's buffers.

    Args:
        fd: taken over.
        path: ciphertext path relative to the cipherdir; a hint for recovery, it may go stale.
    """

    __slots__ = ("_policy", "pointer")

    def __init__(self, policy: FilePolicy, fd: int, *, is_writable: bool, path: bytes) -> None:
        cell = ffi.new("pcv_file **")
        _check(lib.pcv_file_new(policy.pointer, fd, is_writable, path, cell))
        self._policy = policy
        self.pointer: CData = cell[0]

    def upgrade(self, fd: int) -> None:
        """``fd``, taken over, is the same file open for reading and writing."""
        _check(lib.pcv_file_upgrade(self.pointer, fd))

    def close(self) -> None:
        """Give back our reference; whoever else has one goes on with the file. Once."""
        pointer, self.pointer = self.pointer, ffi.NULL
        lib.pcv_file_unref(pointer)

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` <= IO_MAX bytes."""
        out = bytearray(size + lib.PCV_BLOCK_SIZE)
        got, bad = ffi.new("size_t *"), ffi.new("uint64_t *")
        with ffi.from_buffer("uint8_t[]", out, require_writable=True) as target:
            rc = lib.pcv_file_read(self.pointer, offset, size, target, got, self._policy.scratch, bad)
        _check(rc, bad)
        return bytes(memoryview(out)[: got[0]])

    def write(self, offset: int, data: Buffer) -> None:
        """All of ``data``, at most IO_MAX bytes, or nothing."""
        bad = ffi.new("uint64_t *")
        with ffi.from_buffer("uint8_t[]", data) as source:  # see pcvfs.native: not to be left to a kept traceback
            rc = lib.pcv_file_write(self.pointer, offset, source, len(source), self._policy.scratch, bad)
        _check(rc, bad)

    def truncate(self, size: int) -> None:
        """Set the plaintext size."""
        bad = ffi.new("uint64_t *")
        _check(lib.pcv_file_truncate(self.pointer, size, self._policy.scratch, bad), bad)

    def allocate(self, offset: int, length: int, *, is_keep_size: bool) -> None:
        """Reserve space, and grow unless ``is_keep_size``."""
        bad = ffi.new("uint64_t *")
        rc = lib.pcv_file_allocate(self.pointer, offset, length, is_keep_size, self._policy.scratch, bad)
        _check(rc, bad)

    def seek(self, offset: int, whence: int) -> int:
        """SEEK_DATA or SEEK_HOLE, in plaintext offsets."""
        result = ffi.new("uint64_t *")
        _check(lib.pcv_file_seek(self.pointer, offset, whence, result))
        return result[0]

    def sync(self, *, is_data_only: bool) -> None:
        """fsync; from any thread."""
        _check(lib.pcv_file_sync(self.pointer, is_data_only))

    @property
    def size(self) -> int:
        """Plaintext size."""
        size = ffi.new("uint64_t *")
        _check(lib.pcv_file_size(self.pointer, size))
        return size[0]
