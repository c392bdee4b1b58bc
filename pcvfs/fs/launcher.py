"""Starting the process that serves a mount, and watching it. For embedders; the command line has ``forked``.

Owns: the child process, a program of its own: an embedder has threads, and secrets of others. Never imports pyfuse3 or
trio at load, so a program that only starts mounts stays small.

Concurrency: ``start_mount`` and ``MountProcess`` block; ``mount`` is for trio and blocks only threads.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Final

from pcvfs.errors import ExitCode, MountError, VolumeBusyError
from pcvfs.fs import handover, mounts
from pcvfs.fs.handover import Key, LogTarget, Order
from pcvfs.fs.options import MountOptions

_STOP_TIMEOUT_S: Final = 60.0
_STDERR_IS_OURS: Final = LogTarget()


class MountProcess:
    """A mount that is served by a child process."""

    def __init__(self, options: MountOptions, process: subprocess.Popen[bytes], lifeline: socket.socket) -> None:
        self.options = options
        self._process = process
        self._lifeline = lifeline  # unless detached, the mount ends when this is closed: with us, whatever ends us

    @property
    def pid(self) -> int:
        """Process id of the mount process."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code once the mount has ended, else None."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait until the mount ends.

        Returns:
            Exit code; negative is the signal that killed the process.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        return self._process.wait(timeout_s)

    async def wait_ended(self) -> int:
        """Wait until the mount ends, at once when it does; for trio. Returns as ``wait``."""
        import trio  # as in ``mount``

        pidfd = os.pidfd_open(self.pid)
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        return self._process.wait()

    def stop(self) -> None:
        """Unmount and wait for the process.

        Raises:
            VolumeBusyError: somebody uses the mount; it goes on.
            MountError: the process did not end.
        """
        mount = mounts.find_mount(self.options.mountpoint)
        if mount is not None:
            mounts.unmount(mount)
        else:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as exc:
            raise MountError(f"mount process {self.pid} does not end") from exc

    def kill(self) -> None:
        """Cut the mount off: whoever uses it gets errors. For a mount that no longer answers."""
        mount = mounts.find_mount(self.options.mountpoint)
        self._process.kill()
        self._process.wait()
        if mount is not None and mount.fs_type == mounts.FS_TYPE:
            with contextlib.suppress(VolumeBusyError, MountError):
                mounts.cut_off(mount)

    def detach(self) -> None:
        """Let the mount live on after this process."""
        self._process.returncode = 0  # so that Popen does not warn about a child that still runs


def start_mount(
    options: MountOptions, key: Key, *, is_detached: bool = False, log: LogTarget = _STDERR_IS_OURS
) -> MountProcess:
    """Start a mount and wait until it is ready.

    Args:
        options: what to mount, where and how.
        key: the password or the master key; stays the caller's, who wipes it.
        is_detached: the process becomes a session of its own and lets go of the terminal, to outlive us.
        log: where it logs.

    Raises:
        PcvfsError: whatever went wrong over there, of the same class and with the same exit code.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        # -P: the current directory is not ours to import from.
        argv = [sys.executable, "-P", "-m", mounts.SERVER_MODULE, str(theirs.fileno())]
        argv += [os.fsdecode(options.cipherdir), os.path.realpath(os.fsdecode(options.mountpoint))]  # for ps
        stdin = None if not is_detached else subprocess.DEVNULL
        process = subprocess.Popen(argv, stdin=stdin, pass_fds=[theirs.fileno()])  # noqa: S603  # our own argv
    mount_process = MountProcess(options, process, ours)
    try:
        handover.send_order(ours.fileno(), Order(options, key, log, is_detached))
        handover.receive_outcome(ours.fileno())
    except BaseException:
        mount_process.kill()
        raise
    return mount_process


@contextlib.asynccontextmanager
async def mount(options: MountOptions, key: Key, *, log: LogTarget = _STDERR_IS_OURS) -> AsyncIterator[MountProcess]:
    """Mount for the length of an ``async with`` block, in a process of its own.

    Leaving the block unmounts. A mount that is then still in use is cut off, and the error says so. Should this
    process be killed, the mount ends too. Whoever must know at once that the mount died waits for ``wait_ended``.

    Raises:
        PcvfsError: as ``start_mount``.
        VolumeBusyError: on leaving; the mount is gone all the same.
        MountError: on leaving; the mount process had died before.
    """
    import trio  # not at load: the command line has no use for it

    process = await trio.to_thread.run_sync(lambda: start_mount(options, key, log=log))
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_stop_or_kill, process)


def _stop_or_kill(process: MountProcess) -> None:
    status = process.poll()
    if status is not None:
        process.kill()  # it is dead; what it left mounted is not
        if status not in (ExitCode.OK, ExitCode.SIGNAL):
            raise MountError(f"the mount process died ({_cause(status)}) while the mount was in use")
        return
    try:
        process.stop()
    except (VolumeBusyError, MountError):
        process.kill()
        raise


def _cause(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit code {status}"
