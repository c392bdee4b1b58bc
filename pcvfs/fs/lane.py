"""Driving pyfuse3 behind the block lane, in one thread and without a scheduler.

Owns: the thread in which the operations of a mount run, and what the lane asks of Python.

The handlers never wait, so stepping each coroutine once finishes it, and trio's part per request (five system calls)
can go. pyfuse3 has the seam for that, used by its own asyncio mode: it finds ``Lock``, ``open_nursery`` and
``lowlevel.wait_readable`` in its module attribute ``trio``. Ours is ``_Seam``: waiting for the descriptor to become
readable means letting the lane serve until there is a request for Python.

Concurrency: ``LaneLoop.run`` is the mount's main thread for everything in ``VolumeFS``; ``stop`` may be called from
any thread.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, Self

import pyfuse3

from pcvfs.errors import InternalError
from pcvfs.fs.fuse import Operations, to_errno
from pcvfs.native.lane import Event, Lane
from pcvfs.types import Inode

if TYPE_CHECKING:
    from pcvfs.fs.lane_tree import LaneTree
    from pcvfs.fs.objects import Attr
    from pcvfs.fs.options import MountOptions
    from pcvfs.fs.volume_fs import Caller, VolumeFS

log = logging.getLogger(__name__)

_SPIN_US: Final = 60  # about what waking an idle CPU costs on a virtual machine; see docs/performance.md
_WORKERS_MAX: Final = 2
_REPORTED_MAX: Final = 1000


class LaneOperations(Operations):
    """The handlers where the lane has the files: none is opened here, not even one that was just made."""

    def _create(
        self, parent: Inode, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[pyfuse3.FileInfo, Attr]:
        attr = self._fs.create_closed(parent, name, mode, flags, caller)
        return pyfuse3.FileInfo(fh=0, keep_cache=self._keeps_cache), attr


class LaneLoop:
    """The lane of one mount and the thread that works with it.

    Args:
        fs: serves what the lane does not.
        tree: the one that ``fs`` works on.
        options: of the mount.
        dev_fd: the mounted /dev/fuse; stays the caller's.
    """

    def __init__(self, fs: VolumeFS, tree: LaneTree, options: MountOptions, dev_fd: int) -> None:
        self._fs = fs
        cpus = len(os.sched_getaffinity(0))
        self._lane = Lane(
            tree.native,
            dev_fd,
            workers=min(cpus, _WORKERS_MAX),
            spin_us=_SPIN_US if cpus > 1 else 0,
        )
        self.ops = LaneOperations(fs, options)
        self._reported: set[tuple[int, int]] = set()

    @property
    def requests(self) -> int:
        """Requests so far, those included that Python never saw."""
        statistics = self._lane.statistics()
        return statistics.served + statistics.forwarded

    def run(self) -> None:
        """Serve until the mount is gone or ``stop``. Blocks; to be called once, in a thread of its own."""
        pyfuse3.trio = _Seam(self._wait)  # type: ignore[attr-defined]  # not in its stub; see the head of this file
        try:
            pyfuse3.init(self.ops, f"/dev/fd/{self._lane.python_fd}", set())
            _step(pyfuse3.main(min_tasks=1, max_tasks=1))
        finally:
            pyfuse3.close(unmount=False)

    def stop(self) -> None:
        """End ``run`` soon, from any thread."""
        self._lane.stop()

    def close(self) -> None:
        """End the lane's threads."""
        self._lane.close()

    # --- what the lane asks -------------------------------------------------------------------------------------
    def _wait(self) -> None:
        """Let the lane serve until a request for pyfuse3 is there.

        Raises:
            _EndedError: no further one will come.
        """
        while True:
            match self._lane.wait():
                case Event.REQUEST:
                    return
                case Event.NEED_FILE:
                    self._find_file()
                case Event.BAD_NAME:
                    self._tell("a hidden entry", lambda node: self._fs.report_hidden(node, self._lane.bad_name))
                case Event.LEFTOVERS:
                    self._tell("clearing leftovers", self._fs.clear_leftovers)
                case Event.NO_DIRIV:
                    self._tell("a missing IV", self._fs.report_no_diriv)
                case Event.CORRUPT:
                    self._report_corrupt()
                case Event.ENDED:
                    raise _EndedError

    def _find_file(self) -> None:
        number, must_write = self._lane.details
        try:
            fd = self._fs.open_backing(Inode(number), wants_write=bool(must_write))
            try:
                self._lane.give_fd(number, fd, is_writable=bool(must_write))
            except BaseException:
                os.close(fd)
                raise
        except Exception as exc:  # noqa: BLE001  # anything else would end the mount
            self._lane.refuse(to_errno(exc, "opening a file"))
        finally:
            self._fs.trim()

    def _tell(self, what: str, tell: Callable[[Inode], None]) -> None:
        """Pass on what nobody waits for an answer to."""
        number, _ = self._lane.details
        try:
            tell(Inode(number))
        except Exception as exc:  # noqa: BLE001  # anything else would end the mount
            to_errno(exc, what)
        finally:
            self._fs.trim()

    def _report_corrupt(self) -> None:
        node, block_no = self._lane.details
        key = (node, block_no)
        if key not in self._reported and len(self._reported) < _REPORTED_MAX:
            self._reported.add(key)
            what = "file header" if block_no == _BAD_HEADER else f"block {block_no}"
            log.warning("inode %d: %s is corrupt", node, what)


_BAD_HEADER: Final = (1 << 64) - 1


class _EndedError(Exception):
    """The lane has ended; pyfuse3 takes it for its descriptor being closed."""


def _step(coroutine: Coroutine[object, None, object]) -> None:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise InternalError("a handler waited for something, and there is nobody to wake it")


class _Lock:
    """One task, so nothing to lock."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return


class _Nursery:
    """Runs each task to its end as soon as it is started."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return

    @staticmethod
    def start_soon(
        task: Callable[[_Nursery, int, int], Coroutine[object, None, object]],
        nursery: _Nursery,
        min_tasks: int,
        max_tasks: int,
        *,
        name: str,
    ) -> None:
        _step(task(nursery, min_tasks, max_tasks))


class _LowLevel:
    """What pyfuse3 calls ``trio.lowlevel``."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait

    async def wait_readable(self, fd: int) -> None:
        self._wait()

    def notify_closing(self, fd: int) -> None:
        """``terminate`` says so; the lane has its own way to end."""

    def current_task(self) -> SimpleNamespace:
        return SimpleNamespace(name="lane")

    def current_trio_token(self) -> None:
        return None


class _Seam:
    """What pyfuse3 calls ``trio``."""

    Lock = _Lock
    ClosedResourceError = _EndedError

    def __init__(self, wait: Callable[[], None]) -> None:
        self.lowlevel = _LowLevel(wait)

    @staticmethod
    def open_nursery() -> _Nursery:
        return _Nursery()
