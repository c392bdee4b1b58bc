"""The process that serves one mount: a child that ``forked`` made, or ``python -m pcvfs.fs.mount FD`` of ``launcher``.

FD is our end of the socket pair of ``handover``; what follows it in argv is for people.
The order of the steps matters: process hardening before the secret
arrives, everything that can fail before the mount exists, and the asker is told only when the kernel has it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pcvfs import native
from pcvfs.cipherdir.intents import IntentLog, has_pending_write
from pcvfs.cipherdir.lifecycle import lock_cipherdir, open_volume, unlock_volume
from pcvfs.cipherdir.volume import Volume
from pcvfs.crypto.secret import harden_process
from pcvfs.errors import ExitCode, InternalError, MountError, PcvfsError, UsageError, VolumeBusyError, VolumeError
from pcvfs.fs import handover, later
from pcvfs.fs.handover import LogTarget, MasterKey, Order, UnlockedKey
from pcvfs.fs.mounts import SERVER_MODULE, check_mountpoint
from pcvfs.fs.options import MountOptions
from pcvfs.fs.session import Session

if TYPE_CHECKING:
    import socket

    from pcvfs.fs.ctlsock import ControlServer
    from pcvfs.fs.engines import Engine

    MakeEngine = Callable[[Volume, MountOptions, IntentLog | None], Engine]

log = logging.getLogger(__name__)

_SYSLOG: Final = "/dev/log"
_LOCK_PATIENCE_S: Final = 1.0
_LOCK_LOOK_S: Final = 0.02
_FDS_WANTED: Final = 1 << 16


def main(argv: list[str]) -> int:
    """Serve one mount; returns the exit code of the process."""
    asker = int(argv[1])
    return serve_order(asker, asker)


def serve_order(orders: int, outcomes: int, *, is_forked: bool = False) -> int:
    """Serve one mount in this process, which is meant for nothing else; returns its exit code.

    Args:
        orders: a descriptor where the order comes from. Unless it says otherwise, the mount ends with its other end.
        outcomes: a descriptor that is told when the mount is ready, or why it isn't.
        is_forked: our command line is that of whoever asks.
    """
    gc.disable()  # until all is loaded and made, most of which stays
    try:
        harden_process()
        later.put_off_trio()
        from pcvfs.fs.engines import make_engine

        if os.geteuid() != 0:
            import pcvfs.fs.helper  # noqa: F401  # while there is nothing else to do
        order = handover.receive_order(orders)
        if is_forked:
            _show_order(order)
        _set_up_logging(order.log, order.options)
        return _serve(order, orders, outcomes, make_engine)
    except handover.AskerGoneError as exc:
        return int(exc.exit_code)
    except PcvfsError as exc:
        _tell(outcomes, exc)
        return int(exc.exit_code)
    except Exception as exc:
        log.critical("the mount process failed unexpectedly", exc_info=exc)
        _tell(outcomes, InternalError(f"the mount process failed: {exc!r}"))
        return int(ExitCode.OTHER)


def _show_order(order: Order) -> None:
    """Let lists of processes show what a program of its own would show, and not, say, ``--masterkey HEX``."""
    options = order.options
    with contextlib.suppress(OSError):
        native.set_command_line([SERVER_MODULE.encode(), options.cipherdir, os.path.realpath(options.mountpoint)])


def _tell(outcomes: int, exc: PcvfsError) -> None:
    try:
        handover.send_error(outcomes, exc)
    except OSError:  # the asker knew already that it is mounted, or is gone
        log.error("%s", exc.message)


def _serve(order: Order, orders: int, outcomes: int, make_engine: MakeEngine) -> int:
    options = order.options
    check_mountpoint(options)
    listener = _bind_ctlsock(options)
    try:
        with _unlock(order) as volume:
            options = _adapt(options, volume)
            _own(volume.root_fd, shared=options.sharedstorage)
            _prepare_process(order)
            intents = _recover(options, volume)
            ctlsock = _control_server(listener, volume)
            asker = None if order.is_detached else orders
            session = Session(make_engine(volume, options, intents), options, ctlsock, asker)
            try:
                was_signalled = session.run(lambda: _report_ready(order, orders, outcomes))
            finally:
                if intents is not None:
                    intents.close()
    finally:
        if listener is not None:
            listener.close()
            _remove_socket(options.ctlsock)
    return int(ExitCode.SIGNAL if was_signalled else ExitCode.OK)


def _bind_ctlsock(options: MountOptions) -> socket.socket | None:
    if options.ctlsock is None:
        return None
    from pcvfs.fs.ctlsock import bind_ctlsock  # few mounts have one

    return bind_ctlsock(options.ctlsock)


def _control_server(listener: socket.socket | None, volume: Volume) -> ControlServer | None:
    if listener is None:
        return None
    from pcvfs.fs.ctlsock import ControlServer

    return ControlServer(listener, volume)


def _unlock(order: Order) -> Volume:
    key, options = order.key, order.options
    if isinstance(key, UnlockedKey):
        with key.master_key:
            return open_volume(options.cipherdir, key.format, key.master_key, hash_long_names=options.longnames)
    if isinstance(key, MasterKey):
        with key.master_key:
            return unlock_volume(
                options.cipherdir,
                master_key=key.master_key,
                options=key.options,
                hash_long_names=options.longnames,
            )
    with key.password:
        return unlock_volume(
            options.cipherdir,
            password=key.password.view(),
            config_path=key.config_path,
            hash_long_names=options.longnames,
        )


def _adapt(options: MountOptions, volume: Volume) -> MountOptions:
    """A cipherdir on a read-only filesystem makes a read-only mount, unless that is not what was asked for."""
    if options.ro or not os.fstatvfs(volume.root_fd).f_flag & os.ST_RDONLY:
        return options
    if options.rw:
        raise UsageError("the cipherdir is on a read-only filesystem", hint="mount without --rw")
    log.info("the cipherdir is on a read-only filesystem: mounting read-only")
    return options.read_only()


def _recover(options: MountOptions, volume: Volume) -> IntentLog | None:
    """Finish what a killed mount left unfinished, and be ready for being killed ourselves.

    Only the one owner of a cipherdir may keep intents; whoever shares it just finishes what is there.
    """
    if options.ro:
        if has_pending_write(volume.root_fd):
            log.warning("a killed mount left an unfinished write; a read-write mount will finish it")
        return None
    try:
        intents = IntentLog(volume.root_fd)
    except (VolumeError, OSError) as exc:
        log.warning("without write intents: should this mount be killed, it may leave a torn block (%s)", exc)
        return None
    try:
        intents.replay(volume.root_fd)
    except OSError as exc:
        raise MountError(
            f"an interrupted write can't be finished: {exc.strerror}",
            hint="free some space in the cipherdir, then mount again",
        ) from exc
    if options.sharedstorage:
        intents.close()
        return None
    return intents


def _own(root_fd: int, *, shared: bool) -> None:
    """Take the cipherdir. After an unmount the process of the old mount may need a moment to let go of it."""
    end = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            lock_cipherdir(root_fd, shared=shared)
            return
        except VolumeBusyError:
            if time.monotonic() > end:
                raise
            time.sleep(_LOCK_LOOK_S)


def _prepare_process(order: Order) -> None:
    """Everything that must hold before requests arrive: umask, directory, terminal, descriptors."""
    os.umask(0)  # the kernel has applied the caller's
    if order.is_detached:
        os.setsid()
    os.chdir("/")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # a limit of ours would tear what others write
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FDS_WANTED:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FDS_WANTED, hard), hard))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    gc.enable()
    gc.freeze()  # what is loaded by now stays; later collections need not look at it


def _report_ready(order: Order, orders: int, outcomes: int) -> None:
    handover.send_ready(outcomes)
    log.info("mounted")
    if order.is_detached:
        for fd in {orders, outcomes}:
            os.close(fd)
        _let_go_of_terminal(keeps_stderr=order.log.kind == "stderr")


def _let_go_of_terminal(*, keeps_stderr: bool) -> None:
    """Whoever waits for the end of our output must not wait for as long as the mount lives."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1) if keeps_stderr else (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _set_up_logging(target: LogTarget, options: MountOptions) -> None:
    handler: logging.Handler
    if target.kind == "file":
        handler = logging.FileHandler(os.fsdecode(target.path), encoding="utf-8", errors="backslashreplace")
    elif target.kind == "syslog" and os.path.exists(_SYSLOG):
        from logging.handlers import SysLogHandler

        handler = SysLogHandler(_SYSLOG)
        handler.ident = f"pcvfs[{os.getpid()}]: "
    elif target.kind == "syslog":
        handler = logging.NullHandler()
    else:
        handler = logging.StreamHandler(sys.stderr)
    if target.kind != "syslog":
        handler.setFormatter(logging.Formatter("%(asctime)s pcvfs[%(process)d] %(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if options.debug else logging.INFO, handlers=[handler])


def _remove_socket(path: bytes | None) -> None:
    try:
        if path is not None:
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise MountError(f"control socket could not be removed: {exc.strerror}") from exc


if __name__ == "__main__":
    sys.exit(main(sys.argv))
