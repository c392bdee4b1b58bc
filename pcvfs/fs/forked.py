"""The process that serves a mount as a forked child. For the command line, which has no threads.

Owns: the fork, and what a child must not keep of its parent. The child is made first of all, before there is a secret,
and loads what serving takes while the parent looks at its options, asks for the password and derives the key; then it
gets its order as a program of its own would (``launcher``, ``handover``). What both need is loaded by this module, that
is once. See ADR 0011.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import sys
from types import TracebackType
from typing import Final, NoReturn, Self

from pcvfs.cipherdir import lifecycle  # noqa: F401  # see above
from pcvfs.errors import ExitCode, MountError, VolumeBusyError
from pcvfs.fs import handover, mounts
from pcvfs.fs.handover import Order

_FD_MIN: Final = 3  # what is below are the standard streams, even if they are closed
_FD_MAX: Final = 1 << 30  # close_range(2) takes any number


class ForkedServer:
    """A child that will serve a mount. A context manager: without a mount at the end of the block, the child ends.

    To be made before there is a second thread, a secret or a log handler.

    Attributes:
        pid: of the child.
    """

    def __init__(self) -> None:
        orders, self._orders = _pipe()  # its end is how the child sees ours
        self._outcomes, outcomes = _pipe()
        _flush()
        pid = os.fork()
        if pid == 0:
            _be_server(orders, outcomes)
        os.close(orders)
        os.close(outcomes)
        self.pid: Final = pid
        self._status: int | None = None
        self._is_serving = False

    def start(self, order: Order) -> None:
        """Mount, and wait until the mount is ready.

        Raises:
            PcvfsError: whatever went wrong over there, of the same class and with the same exit code.
        """
        try:
            handover.send_order(self._orders, order)
            handover.receive_outcome(self._outcomes)
        except BaseException:
            self._cut_off(order)
            raise
        self._is_serving = True

    def poll(self) -> int | None:
        """Exit code once the mount has ended, negative if a signal killed the process; else None."""
        return self._wait(os.WNOHANG)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._is_serving:
            self._kill()

    def _cut_off(self, order: Order) -> None:
        """Also from the mount that there may be already."""
        mount = mounts.find_mount(order.options.mountpoint)
        self._kill()
        if mount is not None and mount.fs_type == mounts.FS_TYPE:
            with contextlib.suppress(VolumeBusyError, MountError):
                mounts.cut_off(mount)

    def _kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._wait(0)

    def _wait(self, flags: int) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, flags)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status


def _be_server(orders: int, outcomes: int) -> NoReturn:
    """The child. Nothing of it returns into the code of the parent."""
    status = int(ExitCode.OTHER)
    try:
        _let_go_of_parent(orders, outcomes)
        from pcvfs.fs.mount import serve_order  # not before the fork: the parent has no use for it

        status = serve_order(orders, outcomes, is_forked=True)
    except KeyboardInterrupt:
        status = int(ExitCode.SIGNAL)
    finally:
        logging.shutdown()
        with contextlib.suppress(OSError):
            _flush()
        os._exit(status)


def _let_go_of_parent(*kept: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # the parent reads the password there
    for fd in (1, 2):
        try:
            os.fstat(fd)
        except OSError:  # closed; what we open must not take its place
            os.dup2(null, fd)
    first = _FD_MIN
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, _FD_MAX)


def _pipe() -> tuple[int, int]:
    """A pipe that doesn't take the place of a standard stream."""
    ends = os.pipe2(os.O_CLOEXEC)
    reader, writer = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FD_MIN) for fd in ends)
    for fd in ends:
        os.close(fd)
    return reader, writer


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed from the start
            stream.flush()
