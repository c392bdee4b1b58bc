"""The mount table and the FUSE control files, read and used without ever touching the mounted filesystem.

A wedged FUSE mount wedges whoever looks at it; everything here works from ``/proc/self/mountinfo``, ``/sys`` and
``umount2`` instead of ``stat``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FUSE_CONNECTIONS = Path("/sys/fs/fuse/connections")
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo: the device numbers, where it is mounted, what it is, and all options as one string."""

    major: int
    minor: int
    mountpoint: str
    fs_type: str
    source: str
    options: str


def _unescape(field: str) -> str:
    raw = field.encode("latin-1", "replace").decode("unicode_escape").encode("latin-1") if "\\" in field else None
    return field if raw is None else os.fsdecode(raw)


def mount_table() -> list[MountEntry]:
    """Return the mounts of this process, in mount order (the last one on a path is the visible one)."""
    entries = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        fields, (fs_type, source, super_options) = left.split(" "), right.split(" ")
        major, minor = fields[2].split(":")
        options = f"{fields[5]},{super_options}"
        entries.append(
            MountEntry(int(major), int(minor), _unescape(fields[4]), fs_type, _unescape(source), options),
        )
    return entries


def find_mount(path: Path) -> MountEntry | None:
    """Return the topmost mount on *path* (absolute, without symlinks), or None."""
    found = [entry for entry in mount_table() if entry.mountpoint == str(path)]
    return found[-1] if found else None


def fs_type_of(path: Path) -> str:
    """Return the type of the filesystem that holds *path*, for example ``ext4``."""
    path = path.resolve()
    holders = [e for e in mount_table() if path == Path(e.mountpoint) or Path(e.mountpoint) in path.parents]
    return max(holders, key=lambda entry: len(entry.mountpoint)).fs_type


def wait_until(condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """Wait for a condition that no file descriptor announces.

    Raises: TimeoutError naming *what* did not happen.
    """
    deadline, pause_s = time.monotonic() + timeout_s, 0.001
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.05)


def wait_for_mount_change(is_done: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """Wait for a condition about the mount table; the kernel wakes us when the table changes.

    Raises: TimeoutError naming *what* did not happen.
    """
    deadline = time.monotonic() + timeout_s
    with open("/proc/self/mountinfo", "rb") as table:
        poller = select.poll()
        poller.register(table, select.POLLPRI | select.POLLERR)
        while not is_done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_s:g} s: {what}")
            poller.poll(50)  # also wakes to let the condition look at the process behind the mount


def ensure_fusectl() -> None:
    """Mount the FUSE control filesystem if nothing is there; needs root, without it aborting is not possible."""
    if not any(FUSE_CONNECTIONS.iterdir()) and find_mount(FUSE_CONNECTIONS) is None and os.geteuid() == 0:
        subprocess.run(["mount", "-t", "fusectl", "none", FUSE_CONNECTIONS], check=False, timeout=10)


def abort_connection(mountpoint: Path, minor: int) -> bool:
    """Cut the FUSE connection of a mount: every waiting request fails at once. Return whether it was cut.

    The kernel reuses device numbers at once, so the mount must still be there under its number; otherwise we would
    cut off somebody else's.
    """
    entry = find_mount(mountpoint)
    if entry is None or entry.minor != minor or not entry.fs_type.startswith("fuse"):
        return False
    with suppress(OSError):
        (FUSE_CONNECTIONS / str(minor) / "abort").write_text("1")
        return True
    return False


def lazy_unmount(path: Path) -> None:
    """Detach whatever is mounted on *path*, busy or dead; nothing happens if nothing is mounted there."""
    for _ in range(16):
        if find_mount(path) is None:
            return
        if _libc.umount2(os.fsencode(path), MNT_DETACH) != 0:
            subprocess.run(["fusermount3", "-u", "-z", path], check=False, capture_output=True, timeout=10)


def kernel_unmount(path: Path) -> None:
    """Unmount, not lazily: umount(2) for root, its setuid helper for others.

    Raises: OSError(EBUSY) while something is in use.
    """
    if _libc.umount2(os.fsencode(path), 0) == 0:
        return
    err = ctypes.get_errno()
    if err == errno.EPERM:
        command = ["fusermount3", "-u", str(path)]
        result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        if result.returncode == 0:
            return
        err = errno.EBUSY if "busy" in result.stderr else errno.EPERM
    raise OSError(err, os.strerror(err), str(path))
