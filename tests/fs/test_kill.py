"""The process ends at any moment of an operation: before every single system call, in a child process.

What the next mount shows is the state before the operation or the one after it, never something in between; the
checker finds nothing worse than litter; the next listing clears that away; and the operation can simply be repeated.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from pcvfs.cipherdir.report import ProblemKind
from tests.fs import mirror
from tests.fs.bench import Bench
from tests.fs.children import COMPLETED, in_child
from tests.fs.faults import install
from tests.fs.kernel import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, Kernel
from tests.fs.mirror import Entry, Step, snapshot_mount
from tests.support.flavours import Flavour

LITTER = frozenset({ProblemKind.LONG_NAME_ORPHAN, ProblemKind.MKDIR_REMNANT, ProblemKind.RMDIR_REMNANT})
KILLED = 3
LONG, LONG_2 = b"L" * 200, b"M" * 255


class Victim(NamedTuple):
    """What is there before, and the operation that is interrupted."""

    setup: tuple[Step, ...]
    step: Step
    may_vanish: frozenset[bytes] = frozenset()  # names that go before they come back


def orphan_sidecar(directory: bytes) -> Step:
    """Leave a sidecar without its object in a directory, as a killed create does."""

    def on_mount(kernel: Kernel) -> None:
        kernel.put(directory + b"/" + LONG, b"")
        inode = kernel.inode(directory + b"/" + LONG)
        node = kernel.fs._table.get(inode)
        parent, cname = node.links[0]
        os.unlink(cname, dir_fd=kernel.fs._cache.dirfd(parent))
        kernel.forget(inode)

    return Step("orphan sidecar", on_mount, lambda plain: None)


VICTIMS = {
    "mkdir": Victim((), mirror.mkdir(b"d")),
    "mkdir-long": Victim((), mirror.mkdir(LONG)),
    "mkdir-odd-mode": Victim((), mirror.mkdir(b"d", 0o570)),
    "rmdir": Victim((mirror.mkdir(b"d"),), mirror.rmdir(b"d")),
    "rmdir-long": Victim((mirror.mkdir(LONG),), mirror.rmdir(LONG)),
    "rmdir-with-orphans": Victim((mirror.mkdir(b"d"), orphan_sidecar(b"d")), mirror.rmdir(b"d")),
    "create-long": Victim((), mirror.create(LONG)),
    "mkfifo-long": Victim((), mirror.mkfifo(LONG)),
    "symlink-long": Victim((), mirror.symlink(LONG, b"target")),
    "link-long": Victim((mirror.create(b"f"),), mirror.link(b"f", LONG)),
    "unlink-long": Victim((mirror.create(LONG),), mirror.unlink(LONG)),
    "rename-short-to-long": Victim((mirror.create(b"f"),), mirror.rename(b"f", LONG)),
    "rename-long-to-short": Victim((mirror.create(LONG),), mirror.rename(LONG, b"f")),
    "rename-long-over-long": Victim((mirror.create(LONG), mirror.create(LONG_2)), mirror.rename(LONG, LONG_2)),
    "rename-noreplace": Victim((mirror.create(b"f"),), mirror.rename(b"f", LONG, RENAME_NOREPLACE)),
    "rename-exchange": Victim((mirror.create(b"f"), mirror.mkdir(LONG)), mirror.rename(b"f", LONG, RENAME_EXCHANGE)),
    "rename-whiteout": Victim((mirror.create(LONG),), mirror.rename(LONG, LONG_2, RENAME_WHITEOUT)),
    "rename-over-empty-directory": Victim(
        (mirror.mkdir(b"d"), mirror.create(b"d/f"), mirror.mkdir(LONG)), mirror.rename(b"d", LONG), frozenset({LONG})
    ),
}


@pytest.mark.flavours("default", "deterministic-names")
@pytest.mark.parametrize("name", VICTIMS)
def test_killed_before_any_system_call(
    tmp_path: Path, flavour: Flavour, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "rename-whiteout" and os.geteuid() != 0:
        pytest.skip("only root makes whiteouts")
    victim, faults = VICTIMS[name], install(monkeypatch)
    after = undisturbed(victim, tmp_path, flavour)
    at, status = 0, KILLED
    while status == KILLED:
        bench = Bench(tmp_path / f"cipher-{at}", flavour)
        for step in victim.setup:
            step.on_mount(bench.kernel)
        before = snapshot_mount(bench.kernel)
        faults.arm(at, lambda: os._exit(KILLED))
        status = in_child(lambda bench=bench: victim.step.on_mount(bench.kernel))
        faults.disarm()
        check_afterwards(bench, victim, before, after, is_complete=status == COMPLETED)
        at += 1
    assert status == COMPLETED
    assert at > 2, "hardly anything was interrupted"


def undisturbed(victim: Victim, place: Path, flavour: Flavour) -> dict[bytes, Entry]:
    """What the operation leads to."""
    bench = Bench(place / "control", flavour)
    for step in (*victim.setup, victim.step):
        step.on_mount(bench.kernel)
    after = snapshot_mount(bench.kernel)
    bench.expected_problems = LITTER & {problem.kind for problem in bench.problems()}
    bench.finish()
    return after


def check_afterwards(
    bench: Bench, victim: Victim, before: dict[bytes, Entry], after: dict[bytes, Entry], *, is_complete: bool
) -> None:
    """Mount again, look, tidy up by looking, repeat the operation, and remove everything."""
    assert {problem.kind for problem in bench.problems()} <= LITTER
    kernel = bench.remount()
    found = snapshot_mount(kernel)
    assert not bench.tree.leftovers(), "listing does not clear away what is left"
    between = {path: entry for path, entry in before.items() if path not in victim.may_vanish}
    assert found == after if is_complete else found in (before, after, between)
    if found != after:
        victim.step.on_mount(kernel)
    assert snapshot_mount(bench.remount()) == after
    remove_everything(bench.kernel)
    bench.expected_problems = LITTER & {problem.kind for problem in bench.problems()}
    bench.finish()


def remove_everything(kernel: Kernel) -> None:
    """rm -r of all there is; nothing invisible may keep a directory."""
    for path, entry in sorted(snapshot_mount(kernel).items(), reverse=True):
        if entry.mode & 0o170000 == 0o040000:
            kernel.rmdir(path)
        else:
            kernel.unlink(path)
