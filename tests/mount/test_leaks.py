"""Nothing grows: descriptors, inodes and lookups of the serving process come back to where they started."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from tests.support import kernel
from tests.support.drivers import Driver
from tests.support.flavours import Flavour
from tests.support.mounts import LiveMount
from tests.support.playground import Playground
from tests.support.processes import open_files
from tests.support.requirements import require_root
from tests.support.tree import paths_below

pytestmark = [pytest.mark.fuse_only, pytest.mark.flavours("default")]

QUICK_OPERATIONS = 20_000
LONG_OPERATIONS = 1_000_000
KEYS = ("inodes", "nlookup", "open_files", "open_dirs", "dirfds")


def statistics(live: LiveMount) -> dict[str, int]:
    """Ask pcvfs for its counters: SIGUSR2 makes it log one line of JSON."""
    before = len(live.log())
    os.kill(live.serving_pid(), signal.SIGUSR2)
    kernel.wait_until(lambda: "}" in live.log()[before:], timeout_s=10, what="the statistics line")
    line = next(line for line in live.log()[before:].splitlines() if "nlookup" in line)
    counters: dict[str, int] = json.loads(line[line.index("{") : line.rindex("}") + 1])
    return {key: counters[key] for key in KEYS}


def forget_everything() -> None:
    """Make the kernel drop its caches, so that it forgets the inodes nobody uses."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def descriptors(live: LiveMount) -> int:
    return len(open_files(live.serving_pid()))


def work(root: Path, count: int, seed: int) -> None:
    """About *count* operations of every kind; the directory is empty again at the end."""
    rng = random.Random(seed)
    for number in range(count // 20):
        name = f"{number}" + "x" * rng.choice([0, 0, 0, 200])
        directory, path = root / f"d{number % 7}", root / f"d{number % 7}" / name
        directory.mkdir(exist_ok=True)
        path.write_bytes(b"x" * rng.choice([0, 10, 5000]))
        with open(path, "r+b", buffering=0) as stream:
            stream.write(b"y")
            os.link(path, root / "hard")
            os.unlink(root / "hard")
            os.rename(path, directory / "renamed")
            if number % 3 == 0:
                os.unlink(directory / "renamed")
            os.fstat(stream.fileno())
        os.symlink("target", directory / "link")
        os.readlink(directory / "link")
        os.listdir(directory)
        with os.scandir(directory) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)
        for missing in ("none", "n" * 200):
            assert not (directory / missing).exists()
        (directory / "renamed").unlink(missing_ok=True)
        (directory / "link").unlink()
        if number % 5 == 0:
            directory.rmdir()
    for leftover in root.iterdir():
        leftover.rmdir()


@pytest.mark.parametrize(
    "operations",
    [QUICK_OPERATIONS, pytest.param(LONG_OPERATIONS, marks=[pytest.mark.long, pytest.mark.timeout(4 * 3600)])],
)
def test_counters_balance_after_many_operations(
    playground: Playground, driver: Driver, flavour: Flavour, operations: int, seed: int
) -> None:
    require_root("dropping the kernel's caches needs root")
    driver.require()
    if not driver.is_pcvfs:
        pytest.skip("the counters are pcvfs' own")
    live = playground.new_mount(driver, flavour)
    work(live.path, 200, seed)
    forget_everything()
    kernel.wait_until(lambda: statistics(live)["inodes"] <= 1, timeout_s=20, what="the kernel to forget")
    start, descriptors_before = statistics(live), descriptors(live)
    work(live.path, operations, seed + 1)
    forget_everything()
    kernel.wait_until(lambda: statistics(live)["inodes"] <= 1, timeout_s=60, what="the kernel to forget")
    end = statistics(live)
    assert (end["open_files"], end["open_dirs"]) == (0, 0)
    assert end["nlookup"] == start["nlookup"], (start, end)
    assert end["inodes"] == start["inodes"]
    assert descriptors(live) <= descriptors_before + 2
    live.unmount()


def test_descriptors_come_back_after_many_open_files(playground: Playground, driver: Driver, flavour: Flavour) -> None:
    require_root("the server hides its descriptors from others")
    driver.require()
    live = playground.new_mount(driver, flavour)
    (live.path / "warm").write_bytes(b"x")
    os.listdir(live.path)
    before = descriptors(live)
    streams = [open(live.path / f"f{n}", "w+b") for n in range(200)]  # noqa: SIM115  # closed below
    directories = []
    for number in range(50):
        (live.path / f"d{number}").mkdir()
        directories.append(os.open(live.path / f"d{number}", os.O_RDONLY | os.O_DIRECTORY))
    assert descriptors(live) >= 200
    for stream in streams:
        stream.close()
    for directory in directories:
        os.close(directory)
    forget_everything()
    kernel.wait_until(lambda: descriptors(live) <= before + 70, timeout_s=10, what="descriptors to be closed")


def test_removed_open_files_free_their_space(playground: Playground, driver: Driver, flavour: Flavour) -> None:
    driver.require()
    live = playground.new_mount(driver, flavour)
    stored = live.volume.cipherdir
    names_before = sorted(p.name for p in paths_below(stored))
    with open(live.path / ("l" * 200), "w+b", buffering=0) as stream:
        stream.write(b"x" * 100_000)
        os.unlink(live.path / ("l" * 200))
        assert stream.tell() == 100_000
    assert sorted(p.name for p in paths_below(stored)) == names_before
    assert not [t for t in open_files(live.serving_pid()).values() if t.endswith("(deleted)")] or _gone(live)


def _gone(live: LiveMount) -> bool:
    """The release comes after close(2) returned; wait for it."""
    kernel.wait_until(
        lambda: not [t for t in open_files(live.serving_pid()).values() if t.endswith("(deleted)")],
        timeout_s=10,
        what="the removed file to be closed",
    )
    return True
