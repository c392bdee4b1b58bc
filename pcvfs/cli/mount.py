"""``pcvfs mount``: show the plaintext of a volume at a mountpoint."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pcvfs.cli.declare import Choice, IntRange, argument, option, option_group, path, verb_command
from pcvfs.cli.options import (
    CommonOptions,
    MasterKeyOptions,
    VolumeFlags,
    common_options,
    config_option,
    master_key_options,
    parse_duration,
    parse_owner,
    password_options,
    volume_flags,
)
from pcvfs.cli.passwords import PasswordOptions, read_password, wiping
from pcvfs.errors import ExitCode, MountError, UsageError
from pcvfs.fs.options import ENGINES
from pcvfs.records import record

if TYPE_CHECKING:
    from pcvfs.fs.forked import ForkedMount
    from pcvfs.fs.handover import Key
    from pcvfs.fs.options import Engine, MountOptions

_SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD})


@record
class AccessOptions:
    """Who may do what through the mount. Of two that contradict each other the safer one wins."""

    ro: bool
    rw: bool
    allow_other: bool
    force_owner: tuple[int, int] | None
    acl: bool
    suid: bool
    nosuid: bool
    dev: bool
    nodev: bool
    exec_: bool
    noexec: bool
    noxattr: bool


@record
class ServiceOptions:
    """How the mount is served."""

    idle: float
    sharedstorage: bool
    badname: tuple[bytes, ...]
    ctlsock: bytes | None
    noprealloc: bool
    writeback: bool
    engine: Engine
    nonempty: bool
    fsname: str
    ko: tuple[str, ...]


@record
class ProcessOptions:
    """What becomes of the command once the volume is mounted."""

    fg: bool
    notifypid: int
    nosyslog: bool


_ACCESS: Final = "Access"
_SERVICE: Final = "Service"
_PROCESS: Final = "Process"


@verb_command(
    "mount",
    help="""Mount a volume.

    Unlocks CIPHERDIR and shows its files at MOUNTPOINT, an empty directory. Returns when the volume is ready to use;
    a process in the background serves it until `pcvfs umount MOUNTPOINT`. The password comes from --passfile,
    --extpass, a pipe on standard input, or the terminal.

    While it is mounted no other pcvfs process may mount the same CIPHERDIR, unless all of them use --sharedstorage or
    --ro. gocryptfs knows nothing of that: don't mount one CIPHERDIR with both at once.

    Accepted for compatibility and ignored: --kernel-cache, --serialize-reads, --nofail, --openssl, --devrandom,
    --forcedecode.""",
    examples=[
        ("mount, and unmount", "pcvfs mount ~/cipher ~/plain; pcvfs umount ~/plain"),
        ("for all users, read-only", "pcvfs mount -o ro,allow_other /srv/cipher /srv/plain"),
        ("unmount by itself after ten idle minutes", "pcvfs mount --idle 10m ~/cipher ~/plain"),
        ("under a service manager", "pcvfs mount --fg --passfile /etc/pw /srv/cipher /srv/plain"),
        ("without gocryptfs.conf or its password", "pcvfs mount --masterkey stdin ~/cipher ~/plain"),
        ("in /etc/fstab", "/srv/cipher /srv/plain fuse.pcvfs passfile=/etc/pw,allow_other 0 0"),
    ],
    exit_codes=[
        ExitCode.OK,
        ExitCode.USAGE,
        ExitCode.CIPHERDIR,
        ExitCode.READ_PASSWORD,
        ExitCode.MOUNTPOINT,
        ExitCode.OTHER,
        ExitCode.WRONG_PASSWORD,
        ExitCode.MASTERKEY,
        ExitCode.SIGNAL,
        ExitCode.FORK_CHILD,
        ExitCode.FUSE_MOUNT,
        ExitCode.CTLSOCK,
        ExitCode.CONFIG_UNSUPPORTED,
    ],
)
@argument("cipherdir", convert=path)
@argument("mountpoint", convert=path)
@option("-o", "mount_options", metavar="A,B=C", expose_value=False, panel=_ACCESS, help="Options as for mount(8).")
@option_group(
    "access",
    AccessOptions,
    option("--ro", is_flag=True, panel=_ACCESS, help="Nothing can be changed."),
    option("--rw", is_flag=True, panel=_ACCESS, help="Refuse to mount read-only where the disk is."),
    option("--allow-other", is_flag=True, panel=_ACCESS, help="Other users may use the mount, by its permissions."),
    option(
        "--force-owner",
        metavar="UID:GID",
        convert=parse_owner,
        panel=_ACCESS,
        help="Show all files as owned so. Implies --allow-other.",
    ),
    option("--acl", is_flag=True, panel=_ACCESS, help="Enforce POSIX ACLs."),
    option("--suid", is_flag=True, panel=_ACCESS, help="Honour set-user-ID bits (root only)."),
    option("--nosuid", is_flag=True, panel=_ACCESS, help="Ignore set-user-ID bits. The default."),
    option("--dev", is_flag=True, panel=_ACCESS, help="Honour device nodes (root only)."),
    option("--nodev", is_flag=True, panel=_ACCESS, help="Ignore device nodes. The default."),
    option("--exec", "exec_", is_flag=True, panel=_ACCESS, help="Programs can be run. The default."),
    option("--noexec", is_flag=True, panel=_ACCESS, help="Programs can't be run."),
    option("--noxattr", is_flag=True, panel=_ACCESS, help="No extended attributes."),
)
@option_group(
    "service",
    ServiceOptions,
    option(
        "--idle",
        "-i",
        metavar="DURATION",
        convert=parse_duration,
        default="0",
        panel=_SERVICE,
        help="Unmount after so long without use: 10m, 1h30m, 500ms. 0: never.",
    ),
    option(
        "--sharedstorage",
        is_flag=True,
        panel=_SERVICE,
        help="CIPHERDIR may be changed by others meanwhile: cache nothing. Slower.",
    ),
    option(
        "--badname",
        metavar="GLOB",
        convert=path,
        multiple=True,
        panel=_SERVICE,
        help="Show names that don't decrypt and match GLOB, with GOCRYPTFS_BAD_NAME added. Repeatable.",
    ),
    option(
        "--ctlsock", metavar="PATH", convert=path, panel=_SERVICE, help="Translate paths for others at this socket."
    ),
    option("--noprealloc", is_flag=True, panel=_SERVICE, help="Don't reserve disk space before each write."),
    option(
        "--writeback/--no-writeback",
        default=True,
        panel=_SERVICE,
        help="Let the kernel collect small writes. What was not yet written is lost if the machine crashes.",
    ),
    option(
        "--engine",
        convert=Choice(ENGINES),
        default="auto",
        show_default=True,
        panel=_SERVICE,
        help="What serves the mount.",
    ),
    option("--nonempty", is_flag=True, panel=_SERVICE, help="MOUNTPOINT may hold files; they are hidden meanwhile."),
    option("--fsname", metavar="NAME", default="", panel=_SERVICE, help="First column of df, instead of CIPHERDIR."),
    option("--ko", metavar="A,B", multiple=True, panel=_SERVICE, help="Options for the kernel, passed on unchecked."),
)
@option_group(
    "process",
    ProcessOptions,
    option("--fg", "-f", is_flag=True, panel=_PROCESS, help="Stay in the foreground until the volume is unmounted."),
    option(
        "--notifypid",
        metavar="PID",
        convert=IntRange(low=0),
        default=0,
        panel=_PROCESS,
        help="Send SIGUSR1 to this process when the volume is ready.",
    ),
    option("--nosyslog", is_flag=True, panel=_PROCESS, help="Log to standard error, in the background too."),
)
@password_options
@master_key_options
@volume_flags
@config_option
@common_options
def verb(
    *,
    cipherdir: bytes,
    mountpoint: bytes,
    access: AccessOptions,
    service: ServiceOptions,
    process: ProcessOptions,
    source: PasswordOptions,
    master: MasterKeyOptions,
    flags: VolumeFlags,
    config: bytes | None,
    common: CommonOptions,
) -> int:
    from pcvfs.crypto.secret import harden_process
    from pcvfs.fs.forked import fork_mount
    from pcvfs.fs.handover import LogTarget

    harden_process()
    master.refuse_beside(source)
    flags.warn_if_idle(master)
    options = _mount_options(cipherdir, mountpoint, access, service, flags, common)
    key = _read_key(options, source, master, flags, config)
    log = LogTarget("stderr" if process.fg or process.nosyslog else "syslog")
    try:
        served = fork_mount(options, key, is_detached=not process.fg, log=log)
    finally:
        _wipe_key(key)
    with suppress(BrokenPipeError):  # whoever started us may be gone; the mount is here to stay
        common.say("Filesystem mounted and ready.")
    if process.notifypid:
        _notify(process.notifypid)
    if process.fg:
        return _wait(served)
    return ExitCode.OK


def _mount_options(
    cipherdir: bytes,
    mountpoint: bytes,
    access: AccessOptions,
    service: ServiceOptions,
    flags: VolumeFlags,
    common: CommonOptions,
) -> MountOptions:
    from pcvfs.fs.options import MountOptions

    return MountOptions(
        cipherdir=os.path.abspath(cipherdir),
        mountpoint=os.path.realpath(mountpoint),
        ro=access.ro,
        rw=access.rw and not access.ro,
        allow_other=access.allow_other or access.force_owner is not None,
        nonempty=service.nonempty,
        force_owner=access.force_owner,
        fsname=service.fsname,
        acl=access.acl,
        suid=access.suid and not access.nosuid,
        dev=access.dev and not access.nodev,
        exec_=not access.noexec,
        idle_s=service.idle,
        sharedstorage=service.sharedstorage,
        badname=service.badname,
        noprealloc=service.noprealloc,
        noxattr=access.noxattr,
        longnames=flags.longnames,
        ctlsock=None if service.ctlsock is None else os.path.abspath(service.ctlsock),
        writeback=service.writeback and not service.sharedstorage,
        engine=service.engine,
        kernel_options=tuple(part for text in service.ko for part in text.split(",") if part),
        debug=common.debug,
    )


def _read_key(
    options: MountOptions, source: PasswordOptions, master: MasterKeyOptions, flags: VolumeFlags, config: bytes | None
) -> Key:
    """Ask for the secret, once everything that needs none has been found in order."""
    from pcvfs.cipherdir.lifecycle import read_config
    from pcvfs.crypto.secret import Secret
    from pcvfs.fs.handover import MasterKey, PasswordKey
    from pcvfs.fs.mounts import check_mountpoint

    if master.is_given:
        check_mountpoint(options)
        return MasterKey(master.read(), flags.as_format())
    # A config from a pipe can be read only once, and that once is not ours.
    if config is None or os.path.isfile(config):
        read_config(options.cipherdir, config)
    check_mountpoint(options)
    with wiping(read_password(source)) as password:
        return PasswordKey(Secret.from_bytes(password), None if config is None else os.path.abspath(config))


def _wipe_key(key: Key) -> None:
    from pcvfs.fs.handover import MasterKey

    (key.master_key if isinstance(key, MasterKey) else key.password).wipe()


def _notify(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGUSR1)
    except OSError as exc:
        raise UsageError(f"--notifypid {pid}: {exc.strerror}", hint="the volume is mounted all the same") from exc


def _wait(served: ForkedMount) -> int:
    """Wait for the mount to end, passing on what is sent to us alone. A Ctrl-C at the terminal reaches it anyway.

    Raises:
        MountError: it was killed.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    while (status := served.poll()) is None:
        received = signal.sigwaitinfo(_SIGNALS)
        is_from_kill = received.si_code <= 0
        if received.si_signo != signal.SIGCHLD and is_from_kill:
            os.kill(served.pid, received.si_signo)
    if status < 0:
        raise MountError(f"the mount process was killed by {signal.Signals(-status).name}")
    return status
