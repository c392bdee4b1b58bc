"""The two ways to serve a mount: pyfuse3 alone, or pyfuse3 behind the block lane.

Owns: how the kernel gets to the handlers, and when that ends. Signals, idle time and the rest of a mount's life are
``session``'s. The Python engine is the reference: the same tests run on both.

Concurrency: ``serve`` is a trio task. The Python engine runs the handlers in trio's thread; the lane in a thread of
its own, so trio's is free for signals.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING, Final, Protocol

import pyfuse3
import trio

from pcvfs.errors import MountError
from pcvfs.fs import mounts
from pcvfs.fs.device import mount_device
from pcvfs.fs.fuse import Operations
from pcvfs.fs.lane import LaneLoop
from pcvfs.fs.lane_files import LanePolicy
from pcvfs.fs.volume_fs import VolumeFS

if TYPE_CHECKING:
    from pcvfs.cipherdir.intents import IntentLog
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.options import MountOptions
    from pcvfs.types import DirIV, Inode

log = logging.getLogger(__name__)

_SUBTYPE: Final = "pcvfs"
_READ_AHEAD_KIB: Final = 2048  # two requests of the largest size: one is decrypted while the other is read


class Engine(Protocol):
    """Serves one mount, once.

    Attributes:
        fs: the mounted volume.
        requests: how many requests there have been.
    """

    @property
    def fs(self) -> VolumeFS: ...
    @property
    def requests(self) -> int: ...
    def mount(self) -> None:
        """Have the kernel make the mount. MountError if it refuses."""
        ...

    async def serve(self) -> None:
        """Answer requests until the mount is gone, or ``terminate``."""
        ...

    def terminate(self) -> None:
        """Stop answering."""
        ...

    def close(self) -> None:
        """Let go of everything, also of the mount if it is still there."""
        ...


def make_engine(volume: Volume, options: MountOptions, intents: IntentLog | None) -> Engine:
    """The engine that the options ask for. On shared storage there is nothing that a lane could keep."""
    if options.engine == "lane" or (options.engine == "auto" and options.owns_cipherdir):
        return LaneEngine(volume, options, intents)
    return PythonEngine(volume, options, intents)


class PythonEngine:
    """pyfuse3 mounts, and its trio loop runs every handler, reading and writing included."""

    def __init__(self, volume: Volume, options: MountOptions, intents: IntentLog | None) -> None:
        self.fs = VolumeFS(volume, options, intents=intents)
        self._options = options
        self._ops = Operations(self.fs, options)
        self._is_mounted = False

    @property
    def requests(self) -> int:
        return self._ops.requests

    def mount(self) -> None:
        mountpoint = os.fsdecode(self._options.mountpoint)
        names = {f"fsname={_source(self._options)}", f"subtype={_SUBTYPE}"}
        try:
            pyfuse3.init(self._ops, mountpoint, names | _kernel_options(self._options))
        except RuntimeError as exc:
            raise MountError(
                f"mounting on {mountpoint} failed: {exc}",
                hint="is /dev/fuse there, and the package fuse3 installed? "
                "allow_other needs user_allow_other in /etc/fuse.conf unless you are root",
            ) from exc
        self._is_mounted = True

    async def serve(self) -> None:
        try:
            await pyfuse3.main()
        except* OSError as group:
            # Somebody aborted the connection; pyfuse3 knows of ENODEV alone.
            if any(not isinstance(exc, OSError) or exc.errno != errno.ECONNABORTED for exc in group.exceptions):
                raise
            log.error("the mount was cut off")
        self._is_mounted = False

    def terminate(self) -> None:
        pyfuse3.terminate()

    def close(self) -> None:
        # Still mounted only if the loop broke: take the mount down rather than leave a dead one.
        pyfuse3.close(unmount=self._is_mounted)
        self.fs.close()


class LaneEngine:
    """We mount; the lane has the device, and a thread works with it."""

    def __init__(self, volume: Volume, options: MountOptions, intents: IntentLog | None) -> None:
        policy = LanePolicy(volume, options, intents)
        self.fs = VolumeFS(volume, options, intents=intents, policy=policy, observer=self)
        self._volume = volume
        self._options = options
        self._dev_fd = -1
        self._loop: LaneLoop | None = None

    @property
    def requests(self) -> int:
        return self._loop.requests if self._loop is not None else 0

    def mount(self) -> None:
        options = self._options
        self._dev_fd = mount_device(options.mountpoint, _source(options), _SUBTYPE, _kernel_options(options))
        mount = mounts.find_mount(options.mountpoint)
        if mount is not None:
            mounts.widen_read_ahead(mount, _READ_AHEAD_KIB)
        self._loop = LaneLoop(self.fs, options, self._dev_fd)
        self._loop.know_names(self._volume)

    async def serve(self) -> None:
        if self._loop is not None:
            await trio.to_thread.run_sync(self._loop.run)

    def terminate(self) -> None:
        if self._loop is not None:
            self._loop.stop()

    def close(self) -> None:
        self.fs.close()
        if self._loop is not None:
            self._loop.close()
        if self._dev_fd >= 0:
            os.close(self._dev_fd)  # what is still mounted gets ENOTCONN from here on

    # --- what the file system tells; the loop exists once there is a mount --------------------------------------
    def file_detached(self, inode: Inode) -> None:
        if self._loop is not None:
            self._loop.file_detached(inode)

    def directory_opened(self, inode: Inode, dirfd: int, diriv: DirIV) -> None:
        if self._loop is not None:
            self._loop.directory_opened(inode, dirfd, diriv)

    def directory_closed(self, inode: Inode) -> None:
        if self._loop is not None:
            self._loop.directory_closed(inode)


def _source(options: MountOptions) -> str:
    """First column of ``df``: for people. mount options are split at commas, and pyfuse3 takes ASCII only."""
    name = options.fsname or os.fsdecode(options.cipherdir)
    return name.replace(",", "_").encode("ascii", "replace").decode("ascii")


def _kernel_options(options: MountOptions) -> set[str]:
    chosen = {"default_permissions"}
    if options.allow_other:
        chosen.add("allow_other")
    chosen.add("ro" if options.ro else "rw")
    chosen.add("suid" if options.suid else "nosuid")
    chosen.add("dev" if options.dev else "nodev")
    if not options.exec_:
        chosen.add("noexec")
    chosen.update(options.kernel_options)
    return chosen
