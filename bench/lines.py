"""The lines of the benchmark: what each one measures, in which unit, and what is timed."""

from __future__ import annotations

import enum
import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bench.errors import RefusalError


class Quantity(enum.Enum):
    """What a value is; the enum's value is its unit."""

    THROUGHPUT = "MB/s"
    RATE = "1/s"
    TIME = "s"
    CPU_PER_GIB = "s/GiB"
    MEMORY = "MiB"
    SHARE = "%"

    @property
    def more_is_better(self) -> bool:
        return self in (Quantity.THROUGHPUT, Quantity.RATE)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        name: as ``--lines`` takes it.
        scenario: the sequence of steps that it is part of; the name of one of ``scenarios.SCENARIOS``.
        timed: what lies between start and stop of the clock, for whoever reads the number.
        floor, aim: how much better than gocryptfs the lane has to be, and is meant to be; 0.0: no goal.
        is_of_mount: it says something about the mount process, so a plain directory has no such line.
    """

    name: str
    scenario: str
    quantity: Quantity
    title: str
    timed: str
    floor: float = 0.0
    aim: float = 0.0
    is_of_mount: bool = False

    def ratio(self, ours: float, theirs: float) -> float | None:
        """How many times better ``ours`` is than ``theirs``; None where that says nothing."""
        if ours <= 0 or theirs <= 0:
            return None
        return ours / theirs if self.quantity.more_is_better else theirs / ours


_T, _R, _S = Quantity.THROUGHPUT, Quantity.RATE, Quantity.TIME
_WRITE: Final = "open, write, fsync, close"
_READ: Final = "after a remount: open, read, close"

LINES: Final = (
    Line("write-1m", "stream", _T, "sequential write, 1 MiB calls", _WRITE, 2.5, 4),
    Line("write-128k", "stream", _T, "sequential write, 128 KiB calls", _WRITE, 2.5, 4),
    Line("read-1m", "stream", _T, "sequential read, 1 MiB calls, cold", _READ, 1.3, 2),
    Line("read-128k", "stream", _T, "sequential read, 128 KiB calls, cold", _READ, 1.3, 2),
    Line(
        "cpu-write-server",
        "stream",
        Quantity.CPU_PER_GIB,
        "CPU of the mount process, sequential write",
        "during write-1m: user and system time of the process that serves the mount",
        is_of_mount=True,
    ),
    Line(
        "cpu-write-total",
        "stream",
        Quantity.CPU_PER_GIB,
        "CPU of the machine, sequential write",
        "during write-1m: all busy time of all CPUs (client, mount process, kernel threads, whatever else runs)",
    ),
    Line(
        "cpu-read-server",
        "stream",
        Quantity.CPU_PER_GIB,
        "CPU of the mount process, sequential read",
        "during read-1m, as cpu-write-server",
        is_of_mount=True,
    ),
    Line(
        "cpu-read-total",
        "stream",
        Quantity.CPU_PER_GIB,
        "CPU of the machine, sequential read",
        "during read-1m, as cpu-write-total",
    ),
    Line(
        "memory-stream",
        "stream",
        Quantity.MEMORY,
        "peak memory, sequential",
        "not a time: largest resident size of the mount process over the steps of this scenario",
        is_of_mount=True,
    ),
    Line(
        "read-random",
        "random",
        _R,
        "random 4 KiB read, cold",
        "after a remount: open, fadvise(RANDOM), pread of pages of one large file, each at most once, close",
        1.5,
        3,
    ),
    Line(
        "write-random",
        "random",
        _R,
        "random 4 KiB write",
        "open, pwrite over pages of one large file, each at most once, one fsync at the end, close",
        3,
        10,
    ),
    Line("append", "random", _R, "4 KiB appends, fsync after each", "open, (write, fsync) for each append, close"),
    Line("write-4c", "clients", _T, "sequential write, 4 clients", "as write-1m: 4 processes, a file each"),
    Line("read-4c", "clients", _T, "sequential read, 4 clients, cold", "as read-1m: 4 processes, a file each"),
    Line("read-random-4c", "clients", _R, "random 4 KiB read, 4 clients, cold", "as read-random: 4 processes"),
    Line("create-4c", "clients", _R, "small files: create, 4 clients", "as create: 4 processes, a directory each"),
    Line(
        "create",
        "small",
        _R,
        "small files: create",
        "mkdir, then open(O_EXCL), write, close of each file; syncfs of mount and backing",
        1.5,
        3,
    ),
    Line("read-small", "small", _R, "small files: read, cold", "after a remount: open, read, close of each", 1.5, 3),
    Line("read-small-warm", "small", _R, "small files: read, warm", "the same once more", 5, 20),
    Line(
        "delete",
        "small",
        _R,
        "small files: delete",
        "after the two reads: unlink of each, rmdir; syncfs of mount and backing",
    ),
    Line("untar", "tree", _S, "untar a source tree", "tar -x --no-same-owner; syncfs of mount and backing", 1.3, 2.5),
    Line("ls", "tree", _S, "ls -lR, cold", "after a remount: ls -lR", 1.2, 2),
    Line("ls-warm", "tree", _S, "ls -lR, warm", "the same once more", 2, 5),
    Line("checksum", "tree", _S, "checksum the tree, cold", "after a remount: md5sum -c of all files", 1.3, 2),
    Line("find", "tree", _S, "find, cold", "after a remount: find -type f, which asks for names and types only"),
    Line(
        "rename",
        "tree",
        _S,
        "rename the tree",
        "after a remount: rename of every file and directory, one by one (the walk that finds them comes before);"
        " syncfs of mount and backing",
    ),
    Line("rm", "tree", _S, "rm -rf", "after a remount and an ls -lR: rm -rf; syncfs of mount and backing", 1.0, 2),
    Line(
        "memory-tree",
        "tree",
        Quantity.MEMORY,
        "peak memory, source tree",
        "not a time: as memory-stream, over the steps with the tree",
        is_of_mount=True,
    ),
    Line("git-clone", "git", _S, "git clone", "git clone --no-hardlinks from outside; syncfs of mount and backing"),
    Line("git-status", "git", _S, "git status, cold", "after a remount: git status", 1.5, 5),
    Line("git-status-warm", "git", _S, "git status, warm", "the same once more", 1.5, 5),
    Line(
        "sqlite",
        "sqlite",
        _R,
        "SQLite transactions",
        "sqlite3 with one INSERT per transaction, WAL, synchronous=FULL; its start and last checkpoint included",
        1.0,
        2,
    ),
    Line(
        "sqlite-4c",
        "sqlite",
        _R,
        "SQLite transactions, 4 clients",
        "as sqlite: 4 processes, a database each",
    ),
    Line(
        "mount",
        "mount",
        _S,
        "time to mount",
        "from the start of the mount command to its end, or to when the kernel has the mount if that is later; key"
        " derivation made as cheap as the program allows",
        0.5,
        1,
        is_of_mount=True,
    ),
    Line(
        "cpu-idle",
        "idle",
        Quantity.SHARE,
        "CPU of an idle mount",
        "not a time: CPU time of the mount process while nobody uses the mount, of one CPU",
        is_of_mount=True,
    ),
    Line(
        "memory-inodes",
        "inodes",
        Quantity.MEMORY,
        "memory after many inodes",
        "not a time: resident size of the mount process when the kernel knows so many empty files, all made and"
        " looked at through this mount",
        is_of_mount=True,
    ),
)
BY_NAME: Final = {line.name: line for line in LINES}


def choose(patterns: Iterable[str]) -> tuple[Line, ...]:
    """The lines that any of the patterns names: line, scenario, or shell glob; all lines for no pattern.

    Raises:
        RefusalError: a pattern names nothing.
    """
    wanted = list(patterns)
    chosen: set[str] = set()
    for pattern in wanted:
        matches = {line.name for line in LINES if line.scenario == pattern or fnmatch.fnmatchcase(line.name, pattern)}
        if not matches:
            raise RefusalError(f"no line is called {pattern!r}; tools/bench --list shows all")
        chosen |= matches
    return tuple(line for line in LINES if not wanted or line.name in chosen)
