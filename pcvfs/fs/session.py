"""Serving one mount: from the moment the kernel has it until the kernel lets go.

Owns: signals, the idle timer, and the order of ending: unmount while requests are still answered, because unmounting
is what makes the kernel write its dirty pages; only then stop.

Concurrency: the main thread waits for events. The engine has a thread of its own, and so has whoever unmounts, which
may take long and must not keep a second signal waiting. Without trio: loading it would take longer than mounting.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from pcvfs import native
from pcvfs.errors import MountError, VolumeBusyError
from pcvfs.fs import mounts

if TYPE_CHECKING:
    from pcvfs.fs.ctlsock import ControlServer
    from pcvfs.fs.engines import Engine
    from pcvfs.fs.options import MountOptions

log = logging.getLogger(__name__)

_END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_BUSY_GRACE_S: Final = 10.0  # how long after SIGTERM a detached mount is still served for those who use it
_BUSY_LOOK_S: Final = 0.25
_IDLE_CHECKS: Final = 4  # looks per idle time ...
_IDLE_CHECK_MAX_S: Final = 120.0  # ... but not further apart than this
_ENDED: Final = 0  # no signal has this number
_SIGNALS_MAX: Final = 64  # read at once


class Session:
    """One mount being served.

    Args:
        engine: serves the mount; closed at the end.
        options: of the mount.
        ctlsock: serves the control socket, or None; closed at the end.
        asker: a descriptor whose other end belongs to who asked for the mount; when that is closed, the mount ends.
            None: the mount outlives them.
    """

    def __init__(
        self,
        engine: Engine,
        options: MountOptions,
        ctlsock: ControlServer | None = None,
        asker: int | None = None,
    ) -> None:
        self._engine = engine
        self._options = options
        self._ctlsock = ctlsock
        self._asker = asker
        self._mount: mounts.Mount | None = None
        self._was_signalled = False
        self._idle = _IdleTimer(engine, options.idle_s)
        self._has_ended = False
        self._failure: BaseException | None = None

    def run(self, on_mounted: Callable[[], None]) -> bool:
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
            if self._mount is not None:
                native.set_name(self._mount.server_name)
            if self._ctlsock is not None:
                self._ctlsock.start()
            with _wakeups() as (wake, woken):
                on_mounted()
                _start(lambda: self._serve(wake))
                self._watch(woken)
        finally:
            if self._ctlsock is not None:
                self._ctlsock.close()
            self._engine.close()
            self._take_down()
        if self._failure is not None:
            raise self._failure
        return self._was_signalled

    def _serve(self, wake: int) -> None:
        """The engine's thread."""
        try:
            self._engine.serve()
        except BaseException as exc:  # noqa: BLE001  # raised again by ``run``
            self._failure = exc
        os.write(wake, bytes([_ENDED]))  # its last step: the pipe is closed when that has arrived

    def _watch(self, woken: int) -> None:
        """Wait for events until the engine has ended."""
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        if self._asker is not None:
            poll.register(self._asker, 0)  # nothing is ever sent: only the end of the other side is of interest
        while not self._has_ended:
            for fd, _ in poll.poll(self._idle.pause_ms):
                if fd == woken:
                    for number in os.read(woken, _SIGNALS_MAX):
                        self._on_wakeup(number)
                else:
                    poll.unregister(fd)
                    self._on_asker_gone()
            if self._idle.is_over():
                log.info("idle for %.0f s: unmounting", self._options.idle_s)
                _start(self._end_idle)

    def _take_down(self) -> None:
        """What is still mounted now answers nobody: better no mount than a dead one."""
        mount = self._mount
        if mount is not None and mounts.is_present(mount):
            with contextlib.suppress(VolumeBusyError, MountError):
                mounts.unmount(mount, lazy=True)

    # --- ending -------------------------------------------------------------------------------------------------
    def _on_wakeup(self, number: int) -> None:
        if number == signal.SIGUSR2:
            log.info("statistics %s", json.dumps(self._engine.fs.statistics()._asdict()))
        elif number == _ENDED:
            self._has_ended = True
        elif self._was_signalled:
            log.warning("second signal: not waiting any longer")
            self._engine.terminate()
        else:
            self._was_signalled = True
            _start(self._end)

    def _on_asker_gone(self) -> None:
        if not self._was_signalled:
            log.warning("who asked for this mount is gone: unmounting")
            self._was_signalled = True
            _start(self._end)

    def _end(self) -> None:
        """In a thread: unmount on demand; a mount in use is detached, and served a little longer."""
        if self._try_unmount():
            return
        mount = mounts.find_mount(self._options.mountpoint)
        if mount is None:
            return  # gone meanwhile; the engine ends by itself
        named = ", ".join(
            f"{holder.command} (process {holder.pid}): {holder.use}" for holder in mounts.find_holders(mount)
        )
        log.warning("the mount is in use by %s; detaching it", named or "nobody we can see")
        self._serve_out(mount)
        self._engine.terminate()

    def _end_idle(self) -> None:
        """In a thread. Open files and working directories count as use."""
        if not self._try_unmount():
            self._idle.restart()

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

    def _try_unmount(self) -> bool:
        """Whether the mount is gone or going. Not possible while in use."""
        mount = mounts.find_mount(self._options.mountpoint)
        if mount is None:
            return True
        try:
            mounts.unmount(mount)
        except VolumeBusyError:
            return False
        except MountError as exc:
            log.error("%s", exc.message)
            return False
        return True


class _IdleTimer:
    """Tells when there has been no request for long enough; once, until it is restarted.

    Args:
        idle_s: how long is enough; 0: never.
    """

    def __init__(self, engine: Engine, idle_s: float) -> None:
        self._engine = engine
        self._idle_s = idle_s
        self._is_running = idle_s > 0
        self._seen = -1
        self._since = 0.0

    @property
    def pause_ms(self) -> float | None:
        """How long to wait for the next look."""
        return 1000 * min(self._idle_s / _IDLE_CHECKS, _IDLE_CHECK_MAX_S) if self._idle_s else None

    def is_over(self) -> bool:
        """Look whether there was a request since the last look."""
        if not self._is_running:
            return False
        now = time.monotonic()
        if self._engine.requests != self._seen or self._engine.fs.is_busy:
            self._seen, self._since = self._engine.requests, now
        elif now - self._since >= self._idle_s:
            self._is_running = False
            return True
        return False

    def restart(self) -> None:
        """Begin again. From any thread."""
        self._seen = -1
        self._is_running = True


@contextlib.contextmanager
def _wakeups() -> Iterator[tuple[int, int]]:
    """A pipe that gets the number of each of our signals as a byte: the end to write to, and the one to read."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    previous = {number: signal.signal(number, _ignore) for number in (*_END_SIGNALS, signal.SIGUSR2)}
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield wake, woken
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(woken)


def _ignore(_number: int, _frame: object) -> None:
    """The pipe has it."""


def _start(work: Callable[[], None]) -> None:
    """Run in a thread that nobody waits for: should it hang, the process ends all the same."""
    threading.Thread(target=work, daemon=True).start()
