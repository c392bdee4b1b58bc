"""Random operations on a small tree, each compared with what a plain directory does: the model of POSIX."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fs import mirror
from tests.fs.bench import Bench
from tests.fs.kernel import RENAME_EXCHANGE, RENAME_NOREPLACE
from tests.fs.mirror import Mirror, Step
from tests.support.flavours import FLAVOURS

# Few names, so that operations meet: in the root and in two directories that may or may not be there.
LEAVES = [b"a", b"b", b"L" * 200, b"M" * 255]
DIRECTORIES = [b"", b"a", b"L" * 200, b"b/a"]
NAMES = [directory + b"/" + leaf if directory else leaf for directory in DIRECTORIES for leaf in LEAVES]

# Whoever is not root must be able to go on; bits that a write takes away are the kernel's business.
MODES = [0o700, 0o755, 0o1777] + [0o644, 0o000, 0o4711, 0o2755] * (os.geteuid() == 0)

paths = st.sampled_from(NAMES)
modes = st.sampled_from(MODES)
sizes = st.sampled_from([0, 1, 4095, 4096, 4097, 9000])
steps = st.one_of(
    st.builds(mirror.create, paths, modes),
    st.builds(mirror.mkdir, paths, st.sampled_from([0o755, 0o700, 0o1777])),
    st.builds(mirror.symlink, paths, st.binary(min_size=1, max_size=300).filter(lambda target: 0 not in target)),
    st.builds(mirror.mkfifo, paths),
    st.builds(mirror.link, paths, paths),
    st.builds(mirror.rename, paths, paths, st.sampled_from([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE])),
    st.builds(mirror.unlink, paths),
    st.builds(mirror.rmdir, paths),
    st.builds(mirror.chmod, paths, modes),
    st.builds(mirror.utimens, paths, st.integers(0, 1 << 62)),
    st.builds(mirror.setxattr, paths, st.sampled_from([b"user.a", b"user.b"]), st.binary(max_size=100)),
    st.builds(mirror.removexattr, paths, st.sampled_from([b"user.a", b"user.b"])),
    st.builds(mirror.write, paths, sizes, st.binary(min_size=1, max_size=5000)),
    st.builds(mirror.truncate, paths, sizes),
    st.builds(mirror.listdir, st.sampled_from(DIRECTORIES)),
)


@pytest.fixture(params=["default", "plaintextnames", "deterministic-names", "longnamemax-62"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Path, str]]:
    """A directory for the examples, and a flavour."""
    directory = Path(tempfile.mkdtemp(prefix="pcvfs-"))
    yield directory, request.param
    shutil.rmtree(directory)


SCRIPTS = {"script": st.lists(steps, min_size=5, max_size=60), "remount_every": st.integers(5, 40)}
HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@given(**SCRIPTS)
@settings(max_examples=60, deadline=None, suppress_health_check=HEALTH)
def test_any_operations_do_what_they_do_to_a_plain_directory(
    place: tuple[Path, str], script: list[Step], remount_every: int
) -> None:
    run_on_both(place, script, remount_every)


@pytest.mark.long
@pytest.mark.timeout(1800)
@given(**SCRIPTS)
@settings(max_examples=5000, deadline=None, suppress_health_check=HEALTH)
def test_many_more_operations_do_what_they_do_to_a_plain_directory(
    place: tuple[Path, str], script: list[Step], remount_every: int
) -> None:
    run_on_both(place, script, remount_every)


def run_on_both(place: tuple[Path, str], script: list[Step], remount_every: int) -> None:
    """Step by step, and the whole tree at the end."""
    directory, flavour = place
    for left in directory.iterdir():
        shutil.rmtree(left)
    world = Mirror(Bench(directory / "cipher", FLAVOURS[flavour]), directory / "plain")
    for number, step in enumerate(script):
        if number % remount_every == remount_every - 1:
            world.bench.remount()
        world.run(step)
    world.compare()
    world.bench.remount()
    world.compare()
    world.bench.finish()
