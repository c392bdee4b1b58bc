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

from pcvfs.crypto.eme import NativeNameCipher
from pcvfs.errors import InternalError
from pcvfs.fs.fuse import Operations, to_errno
from pcvfs.fs.lane_files import LaneFile
from pcvfs.native.lane import Event, Lane
from pcvfs.types import DirIV, Handle, Inode

if TYPE_CHECKING:
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.options import MountOptions
    from pcvfs.fs.volume_fs import VolumeFS

log = logging.getLogger(__name__)

_SPIN_US: Final = 60  # about what waking an idle CPU costs on a virtual machine; see docs/performance.md
_WORKERS_MAX: Final = 2
_REPORTED_MAX: Final = 1000


class LaneOperations(Operations):
    """The handlers where the lane has the files: what is created is attached to it at once, and no handle is kept."""

    def __init__(self, fs: VolumeFS, options: MountOptions, attach: Callable[[Inode, bool], None]) -> None:
        super().__init__(fs, options)
        self._attach = attach

    def _created(self, handle: Handle, inode: Inode) -> pyfuse3.FileInfo:
        try:
            self._attach(inode, True)
        finally:
            self._fs.release(handle)
        return pyfuse3.FileInfo(fh=0, keep_cache=self._keeps_cache)


class LaneLoop:
    """The lane of one mount and the thread that works with it.

    Args:
        fs: opens files as ``LaneFile``, and has this object as its observer.
        options: of the mount.
        dev_fd: the mounted /dev/fuse; stays the caller's.
    """

    def __init__(self, fs: VolumeFS, options: MountOptions, dev_fd: int) -> None:
        self._fs = fs
        cpus = len(os.sched_getaffinity(0))
        self._lane = Lane(
            dev_fd,
            workers=min(cpus, _WORKERS_MAX),
            spin_us=_SPIN_US if cpus > 1 else 0,
            attr_timeout_s=int(options.cache_timeout_s),
            has_capabilities=options.suid,
            serves_attrs=options.force_owner is None,
            has_cached_dirs=options.owns_cipherdir,
        )
        self.ops = LaneOperations(fs, options, self._attach)
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

    def know_names(self, volume: Volume) -> None:
        """Let the lane answer lookups of names that do not exist, as far as it can tell."""
        names, cipher = volume.names, volume.name_cipher
        if not isinstance(cipher, NativeNameCipher):
            raise InternalError("the lane needs the native name cipher")
        eme = None if names.is_plaintext else cipher.eme
        self._lane.set_names(eme, is_raw64=volume.raw64, long_name_max=names.long_name_max)

    def file_detached(self, inode: Inode) -> None:
        """The file system wants a file back."""
        self._lane.drop_file(inode)

    def directory_opened(self, inode: Inode, dirfd: int, diriv: DirIV) -> None:
        """The lane may look into a directory."""
        self._lane.give_directory(inode, dirfd, diriv)

    def directory_closed(self, inode: Inode) -> None:
        """Not any more."""
        self._lane.drop_directory(inode)

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
                case Event.NEED_DIR:
                    self._find_dir()
                case Event.IDLE:
                    self._fs.detach_all()
                case Event.CORRUPT:
                    self._report_corrupt()
                case Event.ENDED:
                    raise _EndedError

    def _find_file(self) -> None:
        node, must_write = self._lane.details
        try:
            self._attach(Inode(node), bool(must_write))
        except Exception as exc:  # noqa: BLE001  # anything else would end the mount
            self._lane.refuse(to_errno(exc, "opening a file"))
        finally:
            self._fs.trim()

    def _find_dir(self) -> None:
        node, _ = self._lane.details
        try:
            self._lane.give_dir(self._fs.reopen_dir(Inode(node)))
        except Exception as exc:  # noqa: BLE001  # anything else would end the mount
            self._lane.refuse(to_errno(exc, "opening a directory"))
        finally:
            self._fs.trim()

    def _attach(self, inode: Inode, wants_write: bool) -> None:
        file = self._fs.attach(inode, wants_write=wants_write)
        if not isinstance(file, LaneFile):
            raise InternalError("the lane was given a file that is not in C")
        self._lane.give_file(inode, file.native)

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
