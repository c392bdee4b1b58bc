"""The process that serves a mount as a forked child. For the command line, which has one secret and no threads yet.

Owns: the fork, and what a child must not keep of its parent: descriptors, the words on its command line, its memory's
locks. Everything else is as with ``launcher``, whose child is a program of its own. Loading an interpreter a second
time would take longer than mounting (ADR 0011).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from typing import Final, NoReturn

from pcvfs import native
from pcvfs.crypto.secret import Secret
from pcvfs.errors import ExitCode, MountError, VolumeBusyError
from pcvfs.fs import handover, mounts
from pcvfs.fs.handover import Key, LogTarget, MasterKey, Order, PasswordKey
from pcvfs.fs.options import MountOptions

_FD_MAX: Final = 1 << 30  # close_range(2) takes any number


class ForkedMount:
    """A mount that is served by a forked child.

    Attributes:
        pid: of the mount process.
    """

    def __init__(self, options: MountOptions, pid: int) -> None:
        self.pid: Final = pid
        self._options = options
        self._status: int | None = None

    def poll(self) -> int | None:
        """Exit code once the mount has ended, negative if a signal killed the process; else None."""
        return self._wait(os.WNOHANG)

    def kill(self) -> None:
        """Cut the mount off, should there be one already."""
        mount = mounts.find_mount(self._options.mountpoint)
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._wait(0)
        if mount is not None and mount.fs_type == mounts.FS_TYPE:
            with contextlib.suppress(VolumeBusyError, MountError):
                mounts.cut_off(mount)

    def _wait(self, flags: int) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, flags)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status


def fork_mount(options: MountOptions, key: Key, *, is_detached: bool, log: LogTarget) -> ForkedMount:
    """Start a mount and wait until it is ready. Arguments and errors as of ``launcher.start_mount``.

    To be called before there is a second thread.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)  # the child sees the end of ``reader``: unless detached, it ends with us
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _serve(Order(options, key, log, is_detached), writer)
    os.close(writer)
    mount = ForkedMount(options, pid)
    try:
        handover.receive_outcome(reader)
    except BaseException:
        mount.kill()
        raise
    return mount


def _serve(order: Order, asker: int) -> NoReturn:
    """The child. Nothing of it returns into the code of the parent."""
    status = int(ExitCode.OTHER)
    try:
        _let_go_of_parent(order, asker)
        from pcvfs.fs.mount import serve  # not before the fork: the parent has no use for it

        status = serve(order._replace(key=_own_copy(order.key)), asker)
    except KeyboardInterrupt:
        status = int(ExitCode.SIGNAL)
    finally:
        logging.shutdown()
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(status)


def _let_go_of_parent(order: Order, asker: int) -> None:
    os.closerange(3, asker)
    os.closerange(asker + 1, _FD_MAX)
    if order.is_detached:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    ours = logging.getLogger(__name__.partition(".")[0])
    ours.handlers.clear()
    ours.propagate = True
    ours.setLevel(logging.NOTSET)
    # The words may hold what should not be on show for as long as the mount lives, such as --masterkey HEX.
    with contextlib.suppress(OSError):
        mountpoint = os.path.realpath(order.options.mountpoint)
        native.set_command_line([mounts.SERVER_MODULE.encode(), order.options.cipherdir, mountpoint])


def _own_copy(key: Key) -> Key:
    """The key in memory of our own: what fork copies is not locked against swapping."""
    inherited = key.password if isinstance(key, PasswordKey) else key.master_key
    with inherited:
        secret = Secret.from_bytes(inherited.view())
    if isinstance(key, PasswordKey):
        return PasswordKey(secret, key.config_path)
    return MasterKey(secret, key.options)
