"""The directories of one run: where encrypted files lie, where they are mounted, what the workloads need.

Everything is below one temporary directory, and on a filesystem of our own (a tmpfs with a size limit) or on a disk of
which a good part stays free. ``check_room`` is asked before anything is written.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.client import Client, build_client
from bench.errors import BenchError, RefusalError
from bench.janitor import Janitor
from bench.proc import Command, run
from pcvfs.fs import mounts

DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")

_CONNECTIONS: Final = Path("/sys/fs/fuse/connections")
_GIB: Final = 1 << 30
_DISK_RESERVE: Final = 2 * _GIB  # never to be used on a disk that is not ours
_DISK_SHARE: Final = 0.1  # nor that much of it
_MEMORY_RESERVE: Final = 2 * _GIB
_SETUP_LIMIT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Backing:
    """What is below the encrypted directories."""

    name: str  # tmpfs, or disk
    fs_type: str
    path: Path


@dataclass(frozen=True, slots=True)
class Place:
    """The directories of one run, the program that works in them, and the process that will remove them."""

    root: Path
    assets: Path
    backing: Backing
    client: Client
    janitor: Janitor
    can_drop_caches: bool

    def new_directory(self, parent: Path, name: str) -> Path:
        """An empty directory of that name, whatever was there before."""
        path = parent / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def new_mountpoint(self) -> Path:
        """An empty directory that nothing was ever mounted on: a mount that could not be ended is not in the way."""
        return Path(tempfile.mkdtemp(dir=self.root / "mnt"))

    def check_room(self, needed: int) -> None:
        """Refuse to write so many bytes if that could fill the backing, or a disk that others use.

        Raises:
            BenchError: no room.
        """
        st = os.statvfs(self.backing.path)
        free, total = st.f_bavail * st.f_frsize, st.f_blocks * st.f_frsize
        reserve = 0 if self.backing.name == "tmpfs" else max(_DISK_RESERVE, int(total * _DISK_SHARE))
        if free < needed + reserve:
            raise BenchError(f"no room: {needed >> 20} MiB needed, {max(0, free - reserve) >> 20} MiB to use")


@contextmanager
def make_place(backing: str, *, size: int) -> Iterator[Place]:
    """Set up the directories, and remove them and all mounts in the end, whatever happens.

    Args:
        backing: ``tmpfs``, ``disk``, or the path of a directory.
        size: the largest number of bytes that is needed at once.

    Raises:
        RefusalError: it can't be had.
    """
    janitor = Janitor()
    try:
        yield _make_place(janitor, backing, size)
    finally:
        janitor.close()


def _make_place(janitor: Janitor, backing: str, size: int) -> Place:
    _ensure_fusectl()
    root = Path(tempfile.mkdtemp(prefix="pcvfs-bench-", dir=_parent_of(backing))).resolve()
    janitor.know_directory(root)
    for name in ("assets", "backing", "mnt"):
        (root / name).mkdir()
    if backing == "tmpfs":
        _mount_tmpfs(root / "backing", _tmpfs_size(size), janitor)
    if os.geteuid() == 0:
        # What workloads read from elsewhere (the tar, the repository) comes from memory, on a disk backing too.
        _mount_tmpfs(root / "assets", _tmpfs_size(size), janitor)
    described = Backing("tmpfs" if backing == "tmpfs" else "disk", _fs_type(root / "backing"), root / "backing")
    place = Place(
        root=root,
        assets=root / "assets",
        backing=described,
        client=build_client(root),
        janitor=janitor,
        can_drop_caches=os.access(DROP_CACHES, os.W_OK),
    )
    try:
        place.check_room(size)
    except BenchError as exc:
        raise RefusalError(str(exc)) from exc
    return place


def _parent_of(backing: str) -> Path:
    if backing == "tmpfs":
        if os.geteuid() != 0:
            raise RefusalError("a tmpfs can be mounted by root only; use --backing disk or --backing DIR")
        return Path(tempfile.gettempdir())
    parent = Path("/var/tmp" if backing == "disk" else backing)  # noqa: S108  # the disk's, by the FHS
    if not parent.is_dir():
        raise RefusalError(f"--backing: {parent} is not a directory")
    if backing == "disk" and _fs_type(parent) in ("tmpfs", "ramfs"):
        raise RefusalError(f"--backing disk: {parent} is in memory here; name a directory on a disk")
    return parent


def _tmpfs_size(needed: int) -> int:
    """A limit with room for what the formats add, within what the machine has."""
    limit = _memory_available() - _MEMORY_RESERVE
    if limit < needed:
        raise RefusalError(f"a tmpfs of {needed >> 20} MiB does not fit in memory; try --quick or --backing disk")
    return min(limit, 2 * needed + _GIB)


def _memory_available() -> int:
    for row in Path("/proc/meminfo").read_text().splitlines():
        if row.startswith("MemAvailable:"):
            return int(row.split()[1]) * 1024
    return 0


def _mount_tmpfs(path: Path, size: int, janitor: Janitor) -> None:
    janitor.know_mount(path, [])
    options = f"size={size},nr_inodes=0,mode=755"
    try:
        run(Command(["mount", "-t", "tmpfs", "-o", options, "pcvfs-bench", str(path)]), limit_s=_SETUP_LIMIT_S)
    except BenchError as exc:
        raise RefusalError(f"no tmpfs: {exc}") from exc


def _ensure_fusectl() -> None:
    """Mounts can be aborted only through this filesystem; containers often don't have it mounted."""
    if os.geteuid() == 0 and _CONNECTIONS.is_dir() and mounts.find_mount(os.fsencode(_CONNECTIONS)) is None:
        run(Command(["mount", "-t", "fusectl", "none", str(_CONNECTIONS)]), limit_s=_SETUP_LIMIT_S, must_succeed=False)


def _fs_type(path: Path) -> str:
    """The type of the filesystem that holds ``path``, by the mount table."""
    here = os.fsencode(path.resolve())
    holding = [
        m for m in mounts.read_mounts() if here == m.mountpoint or here.startswith(m.mountpoint.rstrip(b"/") + b"/")
    ]
    return max(enumerate(holding), key=lambda item: (len(item[1].mountpoint), item[0]))[1].fs_type
