"""The block lane in C: native/pcv_lane.h.

Owns: turning its calls and events into Python. What to do about an event is ``pcvfs.fs.lane``'s.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from pcvfs._native_ffi import ffi, lib
from pcvfs.native import Eme
from pcvfs.native.files import File

if TYPE_CHECKING:
    from pcvfs._native_ffi import CData

WORKERS_MAX: Final = lib.PCV_LANE_WORKERS_MAX


class Event(IntEnum):
    """Why ``Lane.wait`` came back."""

    REQUEST = lib.PCV_LANE_REQUEST
    NEED_FILE = lib.PCV_LANE_NEED_FILE
    CORRUPT = lib.PCV_LANE_CORRUPT
    ENDED = lib.PCV_LANE_ENDED
    NEED_DIR = lib.PCV_LANE_NEED_DIR
    IDLE = lib.PCV_LANE_IDLE


class Statistics(NamedTuple):
    """Counts since the start of the lane."""

    served: int
    forwarded: int
    need_file: int
    stolen: int
    spin_hits: int
    spin_misses: int


class Lane:
    """The lane of one mount.

    Args:
        dev_fd: the mounted /dev/fuse; stays the caller's.
        workers: threads of the lane besides the one that calls ``wait``.
        spin_us: how long to poll before sleeping.
        attr_timeout_s: lifetime of attributes that the lane answers.
        has_capabilities: ``security.capability`` has an effect on this mount.
        serves_attrs: attributes are those of the backing files.
        has_cached_dirs: the kernel may keep listings and symlinks.

    Attributes:
        python_fd: the socket for libfuse; the caller's.
    """

    def __init__(
        self,
        dev_fd: int,
        *,
        workers: int,
        spin_us: int,
        attr_timeout_s: int,
        has_capabilities: bool,
        serves_attrs: bool,
        has_cached_dirs: bool,
    ) -> None:
        options = {
            "dev_fd": dev_fd,
            "workers": workers,
            "spin_us": spin_us,
            "attr_timeout_s": attr_timeout_s,
            "has_capabilities": has_capabilities,
            "serves_attrs": serves_attrs,
            "has_cached_dirs": has_cached_dirs,
        }
        cell, python_fd = ffi.new("pcv_lane **"), ffi.new("int *")
        self._check(lib.pcv_lane_new(ffi.new("struct pcv_lane_options *", options), cell, python_fd))
        self._lane = ffi.gc(cell[0], lib.pcv_lane_free)
        self.python_fd = python_fd[0]
        self._node, self._value = ffi.new("uint64_t *"), ffi.new("uint64_t *")

    @staticmethod
    def _check(rc: int) -> None:
        if rc < 0:
            raise OSError(-rc, os.strerror(-rc))

    def wait(self) -> Event:
        """Serve until Python is needed; without the GIL.

        Raises:
            OSError: the device or the socket failed.
        """
        rc = lib.pcv_lane_wait(self._lane)
        self._check(rc)
        return Event(rc)

    @property
    def details(self) -> tuple[int, int]:
        """Node id and value of the last event: whether a needed file must be writable; the number of a bad block."""
        lib.pcv_lane_event_details(self._lane, self._node, self._value)
        return self._node[0], self._value[0]

    def give_file(self, node: int, file: File) -> None:
        """Let the lane use a file, until ``drop_file``."""
        self._check(lib.pcv_lane_give_file(self._lane, node, file.pointer))

    def set_names(self, eme: Eme | None, *, is_raw64: bool, long_name_max: int) -> None:
        """Let the lane answer lookups of absent names; ``eme`` None: names are plaintext. Once."""
        pointer = ffi.NULL if eme is None else eme.pointer
        self._eme = eme  # C holds a pointer into it
        members: dict[str, int | CData] = {"eme": pointer, "is_raw64": is_raw64, "long_name_max": long_name_max}
        self._check(lib.pcv_lane_set_names(self._lane, ffi.new("struct pcv_name_format *", members)))

    def give_directory(self, node: int, fd: int, diriv: bytes) -> None:
        """Make a directory known; ``fd`` stays the caller's, and open until ``drop_directory``."""
        lib.pcv_lane_give_directory(self._lane, node, fd, diriv)

    def drop_directory(self, node: int) -> None:
        """Make it unknown; nothing happens if it is."""
        lib.pcv_lane_drop_directory(self._lane, node)

    def give_dir(self, fd: int) -> None:
        """The directory to sync; ``fd`` is taken over."""
        lib.pcv_lane_give_dir(self._lane, fd)

    def refuse(self, error: int) -> None:
        """The request that needed a file fails with this errno."""
        lib.pcv_lane_refuse(self._lane, error)

    def drop_file(self, node: int) -> None:
        """Take a file back; requests that run finish with it."""
        lib.pcv_lane_drop_file(self._lane, node)

    def stop(self) -> None:
        """Make ``wait`` return ENDED; from any thread."""
        lib.pcv_lane_stop(self._lane)

    def close(self) -> None:
        """End the lane's threads and let go of its files. No call may be running or follow."""
        ffi.release(self._lane)

    def statistics(self) -> Statistics:
        """Counts, not quite of one moment."""
        out = ffi.new("struct pcv_lane_statistics *")
        lib.pcv_lane_get_statistics(self._lane, out)
        return Statistics(*(getattr(out, name) for name in Statistics._fields))
