"""What is mounted where, who uses it, and how to end it.

Reads ``/proc`` only: nothing here looks at a file behind a mountpoint, because a mount whose process hangs would hang
us too. Works on any FUSE mount.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from pcvfs import native
from pcvfs.errors import MountError, MountpointError, VolumeBusyError

if TYPE_CHECKING:
    from pcvfs.fs.options import MountOptions

FS_TYPE: Final = "fuse.pcvfs"
SERVER_MODULE: Final = "pcvfs.fs.mount"  # what serves a mount, and what lists of processes show

_OCTAL: Final = re.compile(rb"\\([0-7]{3})")
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
_FUSERMOUNT_S: Final = 30.0
_SERVER_END_S: Final = 60.0


class Mount(NamedTuple):
    """One line of ``/proc/self/mountinfo``."""

    mount_id: int
    device: str  # "major:minor"
    mountpoint: bytes
    fs_type: str
    source: bytes

    @property
    def is_fuse(self) -> bool:
        return self.fs_type in ("fuse", "fuseblk") or self.fs_type.startswith("fuse.")

    @property
    def connection(self) -> str:
        """The directory through which the kernel lets the owner cut off a FUSE mount."""
        return f"/sys/fs/fuse/connections/{self._minor}"

    @property
    def server_name(self) -> bytes:
        """What the pcvfs process that serves it is called in lists of processes: 15 bytes at most."""
        return f"pcvfs-{self._minor}".encode()

    @property
    def _minor(self) -> str:
        """No two filesystems of this machine have the same one at a time."""
        return self.device.partition(":")[2]

    @property
    def read_ahead(self) -> str:
        """The file that says how far the kernel reads ahead, KiB; for root to write."""
        return f"/sys/class/bdi/{self.device}/read_ahead_kb"


class Holder(NamedTuple):
    """A process that uses a mount, and how: working directory, open file, ..."""

    pid: int
    command: str
    use: str


def read_mounts(mountinfo: str | os.PathLike[str] = "/proc/self/mountinfo") -> list[Mount]:
    """All mounts of this mount namespace, oldest first.

    Source: proc_pid_mountinfo(5).
    """
    mounts: list[Mount] = []
    for line in _read(mountinfo).splitlines():
        left, _, right = line.partition(b" - ")
        mount_id, _parent, device, _root, mountpoint = left.split(b" ")[:5]
        fs_type, source = right.split(b" ")[:2]
        mounts.append(
            Mount(
                int(mount_id),
                device.decode(),
                _unescape(mountpoint),
                fs_type.decode(),
                _unescape(source),
            )
        )
    return mounts


def find_mount(path: bytes) -> Mount | None:
    """The topmost mount at exactly ``path``, or None. Symlinks are followed up to the mountpoint, not into it."""
    mounts = read_mounts()
    for candidate in (os.path.abspath(path), _resolve(path)):
        for mount in reversed(mounts):
            if mount.mountpoint == candidate:
                return mount
    return None


def check_mountpoint(options: MountOptions) -> None:
    """Refuse mountpoints on which the mount would hide something or turn in on itself.

    Raises:
        MountpointError: missing, not a directory, not empty, the cipherdir itself, inside it, or around it.
    """
    shown = os.fsdecode(options.mountpoint)
    try:
        st = os.stat(options.mountpoint)
        is_empty = not os.listdir(options.mountpoint)
    except OSError as exc:
        mount = find_mount(options.mountpoint)
        hint = "it must be an existing directory"
        if mount is not None and mount.is_fuse:
            hint = f"a dead mount is still there; end it with: pcvfs umount --lazy {shown}"
        raise MountpointError(f"mountpoint {shown} can't be used: {exc.strerror}", hint=hint) from exc
    if not stat.S_ISDIR(st.st_mode):
        raise MountpointError(f"mountpoint {shown} is not a directory")
    cipherdir = os.path.realpath(options.cipherdir)
    mountpoint = os.path.realpath(options.mountpoint)
    if cipherdir == mountpoint or _is_inside(cipherdir, mountpoint):
        raise MountpointError(f"mountpoint {shown} would hide the cipherdir", hint="choose a directory beside it")
    if _is_inside(mountpoint, cipherdir):
        raise MountpointError(f"mountpoint {shown} is inside the cipherdir", hint="choose a directory beside it")
    if not is_empty and not options.nonempty:
        raise MountpointError(f"mountpoint {shown} is not empty", hint="choose an empty directory, or use --nonempty")


def open_server(mount: Mount) -> int | None:
    """A descriptor (pidfd) of the pcvfs process that serves ``mount``; None if it isn't pcvfs or not visible to us."""
    for directory in _processes():
        with contextlib.suppress(OSError):
            if _read(f"{directory}/comm").rstrip(b"\n") == mount.server_name:
                return os.pidfd_open(int(os.path.basename(directory)))
    return None


def wait_for_server(pidfd: int, timeout_s: float = _SERVER_END_S) -> None:
    """Wait until the process behind ``pidfd`` has ended, and with it its lock on the cipherdir.

    Raises:
        MountError: it has not, in time.
    """
    if not select.select([pidfd], [], [], timeout_s)[0]:
        raise MountError(f"unmounted, but its process has not ended within {timeout_s:.0f} seconds")


def is_present(mount: Mount) -> bool:
    """Whether that very mount, not another at the same place, is still in the tree."""
    return any(other.mount_id == mount.mount_id for other in read_mounts())


def find_holders(mount: Mount) -> list[Holder]:
    """Processes that keep ``mount`` busy, as far as we may look into them. Slow: it reads all of ``/proc``."""
    holders: list[Holder] = []
    for directory in _processes():
        pid = int(os.path.basename(directory))
        if pid != os.getpid():
            # A process may end while we look at it, and others' are closed to us.
            with contextlib.suppress(OSError):
                use = next(_uses(directory, mount), None)
                if use:
                    command = _read(f"{directory}/comm").decode(errors="backslashreplace").strip()
                    holders.append(Holder(pid, command, use))
    return sorted(holders, key=lambda holder: holder.pid)


def unmount(mount: Mount, *, lazy: bool = False) -> None:
    """Unmount: by ``umount2`` as root, else through ``fusermount3``.

    Raises:
        VolumeBusyError: something on it is in use.
        MountError: refused for another reason.
    """
    if os.geteuid() == 0:
        _umount2(mount.mountpoint, _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0))
    else:
        _fusermount(mount.mountpoint, lazy=lazy)


def widen_read_ahead(mount: Mount, kib: int) -> bool:
    """Let the kernel read further ahead than its default, which makes requests of 128 KiB at most.

    Returns:
        False if that is not for us to say: without root the default stays.
    """
    try:
        with open(mount.read_ahead, "rb+", buffering=0) as file:
            if int(file.read(32)) < kib:
                file.write(b"%d" % kib)
    except (OSError, ValueError):
        return False
    return True


def cut_off(mount: Mount) -> None:
    """End a mount whose process may hang: every waiting call fails with ECONNABORTED, then it is detached.

    Raises:
        MountError: not allowed.
    """
    try:
        with open(f"{mount.connection}/abort", "wb") as abort:
            abort.write(b"1")
    except FileNotFoundError:
        pass  # the connection is gone already, or /sys is not mounted
    except OSError as exc:
        raise MountError(f"can't cut off {os.fsdecode(mount.mountpoint)}: {exc.strerror}") from exc
    unmount(mount, lazy=True)


def _umount2(mountpoint: bytes, flags: int) -> None:
    try:
        native.umount2(mountpoint, flags)
    except OSError as exc:
        shown = os.fsdecode(mountpoint)
        if exc.errno == errno.EBUSY:
            raise VolumeBusyError(f"{shown} is in use") from exc
        raise MountError(f"can't unmount {shown}: {exc.strerror}") from exc


def _fusermount(mountpoint: bytes, *, lazy: bool) -> None:
    import shutil  # here, so that mounting does not wait for what unmounting needs
    import subprocess

    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        raise MountError("fusermount3 is not installed", hint="install the package fuse3")
    argv = [program, "-u", *(["-z"] if lazy else []), "--", os.fsdecode(mountpoint)]
    try:
        result = subprocess.run(  # noqa: S603  # a path of our own and a mountpoint, no shell
            argv, capture_output=True, text=True, check=False, timeout=_FUSERMOUNT_S
        )
    except subprocess.TimeoutExpired as exc:
        raise MountError(f"fusermount3 did not come back within {_FUSERMOUNT_S:.0f} seconds") from exc
    if result.returncode == 0:
        return
    reason = result.stderr.strip()
    shown = os.fsdecode(mountpoint)
    if os.strerror(errno.EBUSY) in reason:
        raise VolumeBusyError(f"{shown} is in use")
    raise MountError(f"can't unmount {shown}: {reason or 'fusermount3 failed'}")


def _uses(process: str, mount: Mount) -> Iterator[str]:
    """How a process uses the mount. Reads links and tables only, never what they point to."""
    for link, use in (
        ("cwd", "working directory"),
        ("root", "root directory"),
        ("exe", "running program"),
    ):
        with contextlib.suppress(OSError):
            if _is_inside(os.readlink(os.fsencode(f"{process}/{link}")), mount.mountpoint):
                yield use
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"{process}/fd"):
            with contextlib.suppress(OSError):
                if b"mnt_id:\t%d\n" % mount.mount_id in _read(f"{process}/fdinfo/{fd}"):
                    yield "open file"
    with contextlib.suppress(OSError):
        for line in _read(f"{process}/maps").splitlines():
            parts = line.split(maxsplit=5)
            if len(parts) == 6 and _is_inside(parts[5], mount.mountpoint):
                yield "mapped file"


def _processes() -> Iterator[str]:
    """The directories of all processes that we may see."""
    return (f"/proc/{name}" for name in os.listdir("/proc") if name.isdecimal())


def _read(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _is_inside(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _resolve(path: bytes) -> bytes:
    """Like realpath, but without a stat of ``path`` itself: it may be a mount that doesn't answer."""
    seen = 0
    while seen < 40:
        parent, name = os.path.split(os.path.abspath(path))
        path = os.path.join(os.path.realpath(parent), name)
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            return path
        seen += 1
    return path


def _unescape(field: bytes) -> bytes:
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), field)
