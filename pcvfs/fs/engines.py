"""The two ways to serve a mount: pyfuse3 alone, or pyfuse3 behind the block lane.

Owns: how the kernel gets to the handlers, and when that ends. Signals, idle time and the rest of a mount's life are
``session``'s. The Python engine is the reference: the same tests run on both.

Concurrency: ``serve`` has a thread of its own, in which the handlers run; the Python engine's is trio's, too.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import TYPE_CHECKING, Final, Protocol

import pyfuse3
import trio

from pcvfs.errors import MountError
from pcvfs.fs.device import mount_device
from pcvfs.fs.fuse import Operations
from pcvfs.fs.lane import LaneLoop
from pcvfs.fs.lane_tree import LaneTree
from pcvfs.fs.volume_fs import VolumeFS

if TYPE_CHECKING:
    from pcvfs.cipherdir.intents import IntentLog
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.options import MountOptions

log = logging.getLogger(__name__)

_SUBTYPE: Final = "pcvfs"


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

    def serve(self) -> None:
        """Answer requests until the mount is gone, or ``terminate``. Blocks."""
        ...

    def terminate(self) -> None:
        """Stop answering. From any thread."""
        ...

    def close(self) -> None:
        """Let go of everything, also of the mount if it is still there."""
        ...


def make_engine(volume: Volume, options: MountOptions, intents: IntentLog | None) -> Engine:
    """The engine that the options ask for."""
    if options.engine != "python" and options.unknown_to_lane is None:
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
            pyfuse3.init(self._ops, mountpoint, names | {"default_permissions"} | _kernel_options(self._options))
        except RuntimeError as exc:
            raise MountError(
                f"mounting on {mountpoint} failed: {exc}",
                hint="is /dev/fuse there, and the package fuse3 installed? "
                "allow_other needs user_allow_other in /etc/fuse.conf unless you are root",
            ) from exc
        self._is_mounted = True

    def serve(self) -> None:
        trio.run(self._serve)

    async def _serve(self) -> None:
        try:
            await pyfuse3.main()
        except* OSError as group:
            # Somebody aborted the connection; pyfuse3 knows of ENODEV alone.
            if any(not isinstance(exc, OSError) or exc.errno != errno.ECONNABORTED for exc in group.exceptions):
                raise
            log.error("the mount was cut off")
        self._is_mounted = False

    def terminate(self) -> None:
        token = pyfuse3.trio_token
        if token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(pyfuse3.terminate)

    def close(self) -> None:
        # Still mounted only if the loop broke: take the mount down rather than leave a dead one.
        pyfuse3.close(unmount=self._is_mounted)
        self.fs.close()


class LaneEngine:
    """We mount; the lane has the device, and a thread works with it."""

    def __init__(self, volume: Volume, options: MountOptions, intents: IntentLog | None) -> None:
        self._tree = LaneTree(volume, options, intents)
        self.fs = VolumeFS(volume, options, tree=self._tree)
        self._options = options
        self._dev_fd = -1
        self._loop: LaneLoop | None = None

    @property
    def requests(self) -> int:
        return self._loop.requests if self._loop is not None else 0

    def mount(self) -> None:
        options = self._options
        chosen = _kernel_options(options)
        if not _is_for_root_alone(options):
            chosen.add("default_permissions")
        self._dev_fd = mount_device(options.mountpoint, _source(options), _SUBTYPE, chosen)
        self._loop = LaneLoop(self.fs, self._tree, options, self._dev_fd)

    def serve(self) -> None:
        if self._loop is not None:
            self._loop.run()

    def terminate(self) -> None:
        if self._loop is not None:
            self._loop.stop()

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()
        self.fs.close()
        if self._dev_fd >= 0:
            os.close(self._dev_fd)  # what is still mounted gets ENOTCONN from here on


def _source(options: MountOptions) -> str:
    """First column of ``df``: for people. mount options are split at commas, and pyfuse3 takes ASCII only."""
    name = options.fsname or os.fsdecode(options.cipherdir)
    return name.replace(",", "_").encode("ascii", "replace").decode("ascii")


def _is_for_root_alone(options: MountOptions) -> bool:
    """Nobody but root gets in, and root may do what it likes: the kernel has no permissions to check.

    It would ask for the attributes of a directory after every change in it. For all others it has to: files are not
    opened here before they are used, so there is no later moment at which the mode could be looked at.
    """
    return os.geteuid() == 0 and not options.allow_other and not options.acl


def _kernel_options(options: MountOptions) -> set[str]:
    chosen = set()
    if options.allow_other:
        chosen.add("allow_other")
    chosen.add("ro" if options.ro else "rw")
    chosen.add("suid" if options.suid else "nosuid")
    chosen.add("dev" if options.dev else "nodev")
    if not options.exec_:
        chosen.add("noexec")
    chosen.update(options.kernel_options)
    return chosen
