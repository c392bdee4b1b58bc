"""Serving one mount: from the moment the kernel has it until the kernel lets go.

Owns: pyfuse3's life cycle (it keeps its session in module globals, so there is one per process), signals, the idle
timer, and the order of ending: unmount while requests are still answered, because unmounting is what makes the kernel
write its dirty pages; only then stop.

Concurrency: one trio nursery owns every task. Unmounting runs in a thread, since the main thread has to answer it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pyfuse3
import trio

from pcvfs.errors import MountError, VolumeBusyError
from pcvfs.fs import mounts
from pcvfs.fs.ctlsock import serve_ctlsock
from pcvfs.fs.fuse import Operations

if TYPE_CHECKING:
    import socket

    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.options import MountOptions
    from pcvfs.fs.volume_fs import VolumeFS

log = logging.getLogger(__name__)

_END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_BUSY_GRACE_S: Final = 10.0  # how long after SIGTERM a detached mount is still served for those who use it
_IDLE_CHECKS: Final = 4  # looks per idle time ...
_IDLE_CHECK_MAX_S: Final = 120.0  # ... but not further apart than this


class Session:
    """One mount being served.

    Args:
        fs: the mounted volume, not owned.
        volume: its codecs, for the control socket.
        options: of the mount.
        ctlsock: listening socket for path translation, or None; taken over.
    """

    def __init__(
        self, fs: VolumeFS, volume: Volume, options: MountOptions, ctlsock: socket.socket | None = None
    ) -> None:
        self._fs = fs
        self._volume = volume
        self._options = options
        self._ctlsock = ctlsock
        self._ops = Operations(fs, options)
        self._was_signalled = False

    async def run(self, on_mounted: Callable[[], None]) -> bool:
        """Mount, serve, and return when the mount is gone.

        Args:
            on_mounted: called once the kernel has the mount.

        Returns:
            True if a signal ended it, False if it was unmounted from outside or idle.

        Raises:
            MountError: FUSE refused.
        """
        mountpoint = os.fsdecode(self._options.mountpoint)
        try:
            pyfuse3.init(self._ops, mountpoint, self._kernel_options())
        except RuntimeError as exc:
            raise MountError(
                f"mounting on {mountpoint} failed: {exc}",
                hint="is /dev/fuse there, and the package fuse3 installed? "
                "allow_other needs user_allow_other in /etc/fuse.conf unless you are root",
            ) from exc
        is_mounted = True
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._watch_signals)
                if self._options.idle_s:
                    nursery.start_soon(self._watch_idle)
                if self._ctlsock is not None:
                    nursery.start_soon(serve_ctlsock, self._ctlsock, self._volume)
                on_mounted()
                await pyfuse3.main()
                is_mounted = False
                nursery.cancel_scope.cancel()
        finally:
            # Still mounted only if the loop broke: take the mount down rather than leave a dead one.
            pyfuse3.close(unmount=is_mounted)
        return self._was_signalled

    def _kernel_options(self) -> set[str]:
        options = self._options
        source = options.fsname or os.fsdecode(options.cipherdir)
        # libfuse splits at commas and pyfuse3 takes ASCII only; the name is for people, in df and mount.
        fsname = source.replace(",", "_").encode("ascii", "replace").decode("ascii")
        chosen = {f"fsname={fsname}", "subtype=pcvfs", "default_permissions"}
        if options.allow_other:
            chosen.add("allow_other")
        chosen.add("ro" if options.ro else "rw")
        chosen.add("suid" if options.suid else "nosuid")
        chosen.add("dev" if options.dev else "nodev")
        if not options.exec_:
            chosen.add("noexec")
        chosen.update(options.kernel_options)
        return chosen

    # --- ending -------------------------------------------------------------------------------------------------
    async def _watch_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(*_END_SIGNALS, signal.SIGUSR2) as signals:
            task_status.started()
            async with trio.open_nursery() as nursery:
                async for signum in signals:
                    if signum == signal.SIGUSR2:
                        log.info("statistics %s", json.dumps(self._fs.statistics()._asdict()))
                    elif self._was_signalled:
                        log.warning("second signal: not waiting any longer")
                        pyfuse3.terminate()
                    else:
                        self._was_signalled = True
                        nursery.start_soon(self._end)

    async def _end(self) -> None:
        """Unmount on demand; a mount in use is detached, and served a little longer."""
        if await self._try_unmount():
            return
        mount = mounts.find_mount(self._options.mountpoint)
        if mount is None:
            return  # gone meanwhile; the loop ends by itself
        holders = await trio.to_thread.run_sync(mounts.find_holders, mount)
        named = ", ".join(f"{holder.command} (process {holder.pid}): {holder.use}" for holder in holders)
        log.warning("the mount is in use by %s; detaching it", named or "nobody we can see")
        await trio.to_thread.run_sync(self._detach, mount)
        await trio.sleep(_BUSY_GRACE_S)
        log.warning("still in use after %.0f s: giving up on them", _BUSY_GRACE_S)
        pyfuse3.terminate()

    @staticmethod
    def _detach(mount: mounts.Mount) -> None:
        """In a thread. Sync first: whoever keeps files open may keep them for longer than we live."""
        try:
            pyfuse3.syncfs(os.fsdecode(mount.mountpoint))
        except OSError as exc:
            log.error("writing what is cached failed: %s", exc.strerror)
        try:
            mounts.unmount(mount, lazy=True)
        except (VolumeBusyError, MountError) as exc:
            log.error("%s", exc.message)

    async def _try_unmount(self) -> bool:
        """Whether the mount is gone or going. Not possible while in use."""
        mount = mounts.find_mount(self._options.mountpoint)
        if mount is None:
            return True
        try:
            await trio.to_thread.run_sync(mounts.unmount, mount)
        except VolumeBusyError:
            return False
        except MountError as exc:
            log.error("%s", exc.message)
            return False
        return True

    async def _watch_idle(self) -> None:
        """Unmount after the idle time without requests. Open files and working directories count as use."""
        pause_s = min(self._options.idle_s / _IDLE_CHECKS, _IDLE_CHECK_MAX_S)
        seen, idle_since = -1, trio.current_time()
        while True:
            await trio.sleep(pause_s)
            if self._ops.requests != seen or self._fs.is_busy:
                seen, idle_since = self._ops.requests, trio.current_time()
            elif trio.current_time() - idle_since >= self._options.idle_s:
                log.info("idle for %.0f s: unmounting", self._options.idle_s)
                if await self._try_unmount():
                    return
                seen = -1
