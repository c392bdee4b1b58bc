"""Serving one mount: from the moment the kernel has it until the kernel lets go.

Owns: signals, the idle timer, and the order of ending: unmount while requests are still answered, because unmounting
is what makes the kernel write its dirty pages; only then stop.

Concurrency: one trio nursery owns every task. Unmounting runs in a thread, since the main thread has to answer it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from pcvfs import native
from pcvfs.errors import MountError, VolumeBusyError
from pcvfs.fs import mounts
from pcvfs.fs.ctlsock import serve_ctlsock

if TYPE_CHECKING:
    import socket

    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.engines import Engine
    from pcvfs.fs.options import MountOptions

log = logging.getLogger(__name__)

_END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_BUSY_GRACE_S: Final = 10.0  # how long after SIGTERM a detached mount is still served for those who use it
_BUSY_LOOK_S: Final = 0.25
_IDLE_CHECKS: Final = 4  # looks per idle time ...
_IDLE_CHECK_MAX_S: Final = 120.0  # ... but not further apart than this


class Session:
    """One mount being served.

    Args:
        engine: serves the mount; closed at the end.
        volume: its codecs, for the control socket.
        options: of the mount.
        ctlsock: listening socket for path translation, or None; taken over.
        asker: a socket whose other end belongs to who asked for the mount; when that is closed, the mount ends. None:
            the mount outlives them.
    """

    def __init__(
        self,
        engine: Engine,
        volume: Volume,
        options: MountOptions,
        ctlsock: socket.socket | None = None,
        asker: socket.socket | None = None,
    ) -> None:
        self._engine = engine
        self._volume = volume
        self._options = options
        self._ctlsock = ctlsock
        self._asker = asker
        self._mount: mounts.Mount | None = None
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
        try:
            self._engine.mount()
            self._mount = mounts.find_mount(self._options.mountpoint)
            async with trio.open_nursery() as nursery:
                await nursery.start(self._watch_signals)
                if self._asker is not None:
                    nursery.start_soon(self._watch_asker, self._asker)
                if self._options.idle_s:
                    nursery.start_soon(self._watch_idle)
                if self._ctlsock is not None:
                    nursery.start_soon(serve_ctlsock, self._ctlsock, self._volume)
                on_mounted()
                await self._engine.serve()
                nursery.cancel_scope.cancel()
        finally:
            self._engine.close()
            self._take_down()
        return self._was_signalled

    def _take_down(self) -> None:
        """What is still mounted now answers nobody: better no mount than a dead one."""
        mount = self._mount
        if mount is not None and mounts.is_present(mount):
            with contextlib.suppress(VolumeBusyError, MountError):
                mounts.unmount(mount, lazy=True)

    # --- ending -------------------------------------------------------------------------------------------------
    async def _watch_signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(*_END_SIGNALS, signal.SIGUSR2) as signals:
            task_status.started()
            async with trio.open_nursery() as nursery:
                async for signum in signals:
                    if signum == signal.SIGUSR2:
                        log.info("statistics %s", json.dumps(self._engine.fs.statistics()._asdict()))
                    elif self._was_signalled:
                        log.warning("second signal: not waiting any longer")
                        self._engine.terminate()
                    else:
                        self._was_signalled = True
                        nursery.start_soon(self._end)

    async def _watch_asker(self, asker: socket.socket) -> None:
        await trio.lowlevel.wait_readable(asker)  # nothing is ever sent: this is the end of the other side
        if not self._was_signalled:
            log.warning("who asked for this mount is gone: unmounting")
            self._was_signalled = True
            await self._end()

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
        await trio.to_thread.run_sync(self._serve_out, mount)
        self._engine.terminate()

    @staticmethod
    def _serve_out(mount: mounts.Mount) -> None:
        """In a thread: take the mount out of the tree, and keep it until its last user is gone or patience is.

        Our own descriptor keeps it alive meanwhile, and lets what was written at the last moment be synced.
        """
        try:
            fd = os.open(mount.mountpoint, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as exc:
            log.error("the root of the mount can't be opened: %s", exc.strerror)
            return
        try:
            mounts.unmount(mount, lazy=True)
            end = time.monotonic() + _BUSY_GRACE_S
            while mounts.find_holders(mount) and time.monotonic() < end:
                time.sleep(_BUSY_LOOK_S)
            native.syncfs(fd)
        except (VolumeBusyError, MountError) as exc:
            log.error("%s", exc.message)
        except OSError as exc:
            log.error("writing what was cached failed: %s", exc.strerror)
        finally:
            os.close(fd)

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
            if self._engine.requests != seen or self._engine.fs.is_busy:
                seen, idle_since = self._engine.requests, trio.current_time()
            elif trio.current_time() - idle_since >= self._options.idle_s:
                log.info("idle for %.0f s: unmounting", self._options.idle_s)
                if await self._try_unmount():
                    return
                seen = -1
