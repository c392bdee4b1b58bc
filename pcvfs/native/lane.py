"""The block lane in C: native/pcv_lane.h.

Owns: turning its calls and events into Python. What to do about an event is ``pcvfs.fs.lane``'s.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from pcvfs._native_ffi import ffi, lib

if TYPE_CHECKING:
    from pcvfs.native.tree import Tree

WORKERS_MAX: Final = lib.PCV_LANE_WORKERS_MAX


class Event(IntEnum):
    """Why ``Lane.wait`` came back."""

    REQUEST = lib.PCV_LANE_REQUEST
    NEED_FILE = lib.PCV_LANE_NEED_FILE
    CORRUPT = lib.PCV_LANE_CORRUPT
    ENDED = lib.PCV_LANE_ENDED
    BAD_NAME = lib.PCV_LANE_BAD_NAME
    LEFTOVERS = lib.PCV_LANE_LEFTOVERS
    NO_DIRIV = lib.PCV_LANE_NO_DIRIV


class Statistics(NamedTuple):
    """Counts since the start of the lane; the last four are of now."""

    served: int
    forwarded: int
    need_file: int
    stolen: int
    spin_hits: int
    spin_misses: int
    inodes: int
    lookups: int
    open_files: int
    open_dirs: int


class Lane:
    """The lane of one mount.

    Args:
        tree: what names and attributes are served from; must outlive the lane.
        dev_fd: the mounted /dev/fuse; stays the caller's.
        workers: threads of the lane besides the one that calls ``wait``.
        spin_us: how long to poll before sleeping.

    Attributes:
        python_fd: the socket for libfuse; the caller's.
    """

    def __init__(self, tree: Tree, dev_fd: int, *, workers: int, spin_us: int) -> None:
        options = {"dev_fd": dev_fd, "workers": workers, "spin_us": spin_us}
        self._tree = tree  # C holds a pointer into it
        cell, python_fd = ffi.new("pcv_lane **"), ffi.new("int *")
        self._check(lib.pcv_lane_new(ffi.new("struct pcv_lane_options *", options), tree.pointer, cell, python_fd))
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

    @property
    def bad_name(self) -> bytes:
        """The stored name that the last event, a BAD_NAME, is about."""
        return ffi.string(lib.pcv_lane_event_name(self._lane))

    def give_fd(self, node: int, fd: int, *, is_writable: bool) -> None:
        """The backing file that is needed; ``fd`` is taken over.

        Raises:
            OSError: it was not, and the request still waits.
        """
        self._check(lib.pcv_lane_give_fd(self._lane, node, fd, is_writable))

    def refuse(self, error: int) -> None:
        """The request that needed a file fails with this errno."""
        lib.pcv_lane_refuse(self._lane, error)

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
