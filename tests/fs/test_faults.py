"""Every system call of a long script fails, once each, in every plausible way.

Whatever fails: the errno reaches the caller, the operation has not happened, nothing else is touched, later operations
do what they should, nothing leaks, and the volume checks clean but for what only another system call could tidy up.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pcvfs.cipherdir.report import ProblemKind
from tests.fs import mirror
from tests.fs.bench import Bench
from tests.fs.faults import POSSIBLE, Faults, fail, install
from tests.fs.kernel import RENAME_EXCHANGE, RENAME_NOREPLACE
from tests.fs.mirror import Mirror, Step
from tests.support.flavours import Flavour

LONG, LONG_2, LONG_DIR, LONG_LINK = b"L" * 200, b"M" * 255, b"D" * 180, b"S" * 190
# What a failed tidying-up may leave: invisible, and harmless.
REMNANTS = frozenset({ProblemKind.LONG_NAME_ORPHAN, ProblemKind.RMDIR_REMNANT, ProblemKind.MKDIR_REMNANT})
SCRIPT: list[Step] = [
    mirror.mkdir(b"d"),
    mirror.create(b"d/file"),
    mirror.write(b"d/file", 0, b"first" * 100),
    mirror.write(b"d/file", 5000, b"after a gap"),
    mirror.write(b"d/file", 100, bytes(9000)),
    mirror.read(b"d/file"),
    mirror.truncate(b"d/file", 8192),
    mirror.truncate(b"d/file", 4100),
    mirror.truncate(b"d/file", 20000),
    mirror.truncate(b"d/file", 40960),
    mirror.read(b"d/file"),
    mirror.create(LONG),
    mirror.write(LONG, 100_000, b"sparse from the start"),
    mirror.read(LONG),
    mirror.link(LONG, b"d/" + LONG_2),
    mirror.write(b"d/" + LONG_2, 4096, b"through the other name"),
    mirror.mkdir(LONG_DIR, 0o500),
    mirror.chmod(LONG_DIR, 0o755),
    mirror.symlink(LONG_DIR + b"/link", b"../" + LONG),
    mirror.symlink(LONG_DIR + b"/" + LONG_LINK, b"t" * 500),
    mirror.readlink(LONG_DIR + b"/link"),
    mirror.readlink(LONG_DIR + b"/" + LONG_LINK),
    mirror.mkfifo(b"fifo"),
    mirror.listdir(b""),
    mirror.listdir(LONG_DIR),
    mirror.setxattr(b"d/file", b"user.one", b"1" * 100),
    mirror.setxattr(b"d", b"user.two", b""),
    mirror.removexattr(b"d/file", b"user.one"),
    mirror.setxattr(b"d/file", b"user.three", b"3"),
    mirror.chmod(b"d/file", 0o4711),
    mirror.utimens(b"d/file", 10**18),
    mirror.utimens(LONG_DIR + b"/link", 10**18),
    mirror.size(b"d/file"),
    mirror.rename(b"d/file", b"d/short"),
    mirror.rename(b"d/short", b"K" * 222),
    mirror.rename(b"K" * 222, b"d/file"),
    mirror.rename(b"d/file", b"d/" + LONG_2),
    mirror.rename(LONG, b"d/" + LONG_2, RENAME_NOREPLACE),
    mirror.rename(LONG, b"fifo", RENAME_EXCHANGE),
    mirror.read(b"d/" + LONG_2),
    mirror.mkdir(b"empty"),
    mirror.mkdir(b"full"),
    mirror.create(b"full/file"),
    mirror.rename(b"full", b"empty"),
    mirror.rename(b"empty", b"full"),
    mirror.mkdir(b"E" * 190),
    mirror.rename(b"full", b"E" * 190),
    mirror.rmdir(b"E" * 190),
    mirror.unlink(b"E" * 190 + b"/file"),
    mirror.rmdir(b"E" * 190),
    mirror.rmdir(b"d"),
    mirror.unlink(b"d/" + LONG_2),
    mirror.rmdir(b"d"),
    mirror.unlink(LONG_DIR + b"/" + LONG_LINK),
    mirror.rename(LONG_DIR, b"moved"),
    mirror.mkdir(b"moved"),
    mirror.create(b"moved/" + LONG),
    mirror.write(b"moved/" + LONG, 4000, bytes(200)),
    mirror.truncate(b"moved/" + LONG, 0),
    mirror.write(b"moved/" + LONG, 10, b"new content"),
    mirror.listdir(b"moved"),
]


def count_calls(tmp_path: Path, flavour: Flavour, faults: Faults, counted: frozenset[str]) -> int:
    """Run the script without faults."""
    world = Mirror(Bench(tmp_path / "dry", flavour), tmp_path / "dry.plain")
    faults.arm(-1, lambda: None, counted)
    for step in SCRIPT:
        world.run(step)
    count = len(faults.calls)
    faults.disarm()
    world.compare()
    world.bench.finish()
    return count


def run_with_fault(bench: Bench, faults: Faults, error: int, at: int) -> None:
    """Run the script with one fault."""
    world = Mirror(bench, bench.cipherdir.with_name("plain"))
    faults.arm(at, lambda: fail(error), POSSIBLE[error])
    for step in SCRIPT:
        world.run_with_fault(step, error)
    faults.disarm()
    assert faults.hit, "nothing failed"
    world.compare()
    bench.remount()
    world.compare()
    bench.drop_log()
    bench.expected_problems = REMNANTS & {problem.kind for problem in bench.problems()}
    bench.finish()


def run_with_every_fault(place: Path, flavour: Flavour, faults: Faults, error: int, **options: bool) -> None:
    """Run the script once for each of its system calls that can fail so."""
    for at in range(count_calls(place, flavour, faults, POSSIBLE[error])):
        directory = place / f"run-{at}"
        directory.mkdir()
        bench = Bench(directory / "cipher", flavour)
        bench.remount(**options)
        try:
            run_with_fault(bench, faults, error, at)
        except BaseException as exc:
            exc.add_note(f"with call {at}, {faults.hit}, failing")
            raise


@pytest.mark.flavours
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.timeout(120)
def test_script_with_every_call_failing_once(
    tmp_path: Path, flavour: Flavour, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with_every_fault(tmp_path, flavour, install(monkeypatch), error)


@pytest.mark.flavours("plaintextnames")
@pytest.mark.timeout(120)
def test_script_with_every_call_failing_once_and_names_as_they_are(
    tmp_path: Path, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with_every_fault(tmp_path, flavour, install(monkeypatch), errno.EIO)


@pytest.mark.long
@pytest.mark.parametrize("error", POSSIBLE, ids=errno.errorcode.get)
@pytest.mark.parametrize("options", [{}, {"sharedstorage": True}], ids=str)
@pytest.mark.timeout(600)
def test_script_with_every_call_failing_once_in_every_flavour(
    tmp_path: Path, flavour: Flavour, error: int, options: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with_every_fault(tmp_path, flavour, install(monkeypatch), error, **options)
