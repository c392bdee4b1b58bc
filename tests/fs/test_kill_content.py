"""The process is killed in the middle of a write to a file: between any two system calls, and within any of them.

The kernel stops a large write between two pages when its process is killed. With write intents the next mount repeats
such a write, so every block decrypts, and what a file holds is what it held before or after.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pcvfs.cipherdir import backing
from pcvfs.cipherdir.intents import IntentLog
from pcvfs.cipherdir.report import ProblemKind
from tests.fs.bench import Bench
from tests.fs.children import COMPLETED, in_child
from tests.fs.faults import Faults, install
from tests.fs.kernel import Kernel
from tests.support.flavours import Flavour

BLOCK = 4096
LONG = b"L" * 220


class Change(NamedTuple):
    """What a file holds, what is done to it, and what it may hold after an interruption besides before and after."""

    before: bytes
    do: Callable[[Kernel, bytes], None]
    after: bytes
    between: tuple[bytes, ...] = ()


def writing(offset: int, data: bytes) -> Callable[[Kernel, bytes], None]:
    def do(kernel: Kernel, path: bytes) -> None:
        handle = kernel.open(path, os.O_RDWR)
        kernel.write(handle, offset, data)
        kernel.release(handle)

    return do


def cutting(size: int) -> Callable[[Kernel, bytes], None]:
    return lambda kernel, path: kernel.setattr(path, size=size) and None


OLD = bytes(range(256)) * 48  # three blocks
NEW = b"n" * (2 * BLOCK)
PART = OLD[:5000]
PADDED = PART.ljust(2 * BLOCK, b"\0")  # the step between filling the last block and writing behind it
CHANGES = {
    "first write": Change(b"", writing(0, NEW), NEW),
    "first write behind a hole": Change(b"", writing(3 * BLOCK, NEW), bytes(3 * BLOCK) + NEW),
    "overwriting blocks": Change(OLD, writing(0, NEW), NEW + OLD[2 * BLOCK :]),
    "overwriting parts of blocks": Change(OLD, writing(100, NEW), OLD[:100] + NEW + OLD[100 + 2 * BLOCK :]),
    "appending": Change(PART, writing(5000, NEW), PART + NEW),
    "writing behind a gap": Change(PART, writing(5 * BLOCK, b"x"), PART.ljust(5 * BLOCK, b"\0") + b"x", (PADDED,)),
    "cutting within a block": Change(OLD, cutting(5000), PART),
    "cutting between blocks": Change(OLD, cutting(BLOCK), OLD[:BLOCK]),
    "cutting to nothing": Change(OLD, cutting(0), b""),
    "growing within a block": Change(PART, cutting(6000), PART.ljust(6000, b"\0")),
    "growing by blocks": Change(PART, cutting(5 * BLOCK), PART.ljust(5 * BLOCK, b"\0"), (PADDED,)),
    "growing by parts": Change(PART, cutting(5 * BLOCK + 7), PART.ljust(5 * BLOCK + 7, b"\0"), (PADDED,)),
    "growing from nothing": Change(b"", cutting(2 * BLOCK), bytes(2 * BLOCK)),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Interruptions:
    """A volume, and mounts of it that are killed."""

    def __init__(self, place: Path, flavour: Flavour) -> None:
        self.slots = place / "slots"
        self.slots.mkdir(mode=0o700)
        self.bench = Bench(place / "cipher", flavour)

    def killed(self, path: bytes, change: Change, prepare: Callable[[], None]) -> bool:
        """Do a change in another process that ``prepare`` gets ready to be killed; whether it was."""

        def action() -> None:
            kernel = self.bench.remount(with_intents=self.slots)
            kernel.inode(path)
            prepare()
            change.do(kernel, path)

        return in_child(action) != COMPLETED

    def check(self, path: bytes, change: Change, *, was_killed: bool) -> None:
        """What the next mount finds."""
        log = IntentLog(self.bench.volume.root_fd, directory=self.slots)
        log.replay(self.bench.volume.root_fd)
        log.close()
        kernel = self.bench.remount()
        content = kernel.get(path)
        assert content in ((change.before, change.after, *change.between) if was_killed else (change.after,))
        assert {problem.kind for problem in self.bench.problems()} <= {ProblemKind.FILE_INTERRUPTED}
        kernel.setattr(path, size=0)


@pytest.mark.flavours("default", "xchacha")
@pytest.mark.parametrize("how", ["between", "within"])
@pytest.mark.parametrize("what", CHANGES)
def test_killed_at_any_moment_of_a_change(
    tmp_path: Path, flavour: Flavour, what: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, faults, world = CHANGES[what], install(monkeypatch), Interruptions(tmp_path, flavour)
    interruptions = 0
    for at in range(100):
        path = LONG + b"%d" % at
        world.bench.kernel.put(path, change.before)
        was_killed = world.killed(path, change, lambda at=at: get_ready(faults, how, at))
        world.check(path, change, was_killed=was_killed)
        if not was_killed:
            break
        interruptions += 1
    else:
        pytest.fail("there is no end to it")
    assert interruptions or how == "within", "nothing was interrupted"
    world.bench.drop_log()
    world.bench.finish()


def get_ready(faults: Faults, how: str, at: int) -> None:
    """Die before system call number ``at``, or within write number ``at // 3``: near its start, its middle, its end."""
    if how == "between":
        faults.arm(at, die)
        return
    write, calls = backing.pwrite_full, [0]
    number, share = divmod(at, 3)

    def interrupted(fd: int, data: bytes, offset: int) -> None:
        if calls[0] == number:
            size = (1, len(data) // 2 + 7, len(data) - 1)[share]
            write(fd, data[:size], offset)
            die()
        calls[0] += 1
        write(fd, data, offset)

    backing.pwrite_full = interrupted  # the child's own


@pytest.mark.flavours
def test_killed_without_intents_a_block_is_torn_and_nothing_else(
    tmp_path: Path, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the intents are for: the control of this whole file."""
    faults, world = install(monkeypatch), Interruptions(tmp_path, flavour)
    change = CHANGES["overwriting blocks"]
    world.bench.kernel.put(b"file", OLD)
    kernel = world.bench.remount()
    kernel.inode(b"file")

    def action() -> None:
        get_ready(faults, "within", 1)
        change.do(kernel, b"file")

    assert in_child(action) == -signal.SIGKILL
    handle = world.bench.remount().open(b"file", os.O_RDWR)
    world.bench.expected_problems = frozenset({ProblemKind.BLOCK_CORRUPT})
    assert {problem.kind for problem in world.bench.problems()} == {ProblemKind.BLOCK_CORRUPT}
    assert world.bench.kernel.read(handle, 2 * BLOCK) == OLD[2 * BLOCK :]
    world.bench.finish()


@pytest.mark.flavours
def test_killed_after_a_rename_the_write_is_finished_all_the_same(
    tmp_path: Path, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, world = install(monkeypatch), Interruptions(tmp_path, flavour)
    change = CHANGES["overwriting blocks"]
    world.bench.kernel.mkdir(b"d")
    world.bench.kernel.put(b"file", OLD)

    def do(kernel: Kernel, path: bytes) -> None:
        handle = kernel.open(path, os.O_RDWR)
        kernel.rename(path, b"d/" + LONG)
        get_ready(faults, "within", 1)
        kernel.write(handle, 0, NEW)

    assert world.killed(b"file", change._replace(do=do), lambda: None)
    world.bench.remount()
    world.check(b"d/" + LONG, change, was_killed=False)
    world.bench.expect_log("finished a write of [0-9]+ bytes")
    world.bench.finish()


@pytest.mark.flavours
def test_killed_in_a_deleted_file_nothing_is_left_to_finish(
    tmp_path: Path, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, world = install(monkeypatch), Interruptions(tmp_path, flavour)
    world.bench.kernel.put(b"file", OLD)

    def do(kernel: Kernel, path: bytes) -> None:
        handle = kernel.open(path, os.O_RDWR)
        kernel.unlink(path)
        get_ready(faults, "within", 1)
        kernel.write(handle, 0, NEW)

    assert world.killed(b"file", CHANGES["overwriting blocks"]._replace(do=do), lambda: None)
    log = IntentLog(world.bench.volume.root_fd, directory=world.slots)
    assert log.replay(world.bench.volume.root_fd) == 0
    log.close()
    assert world.bench.remount().list() == {}
    world.bench.finish()
