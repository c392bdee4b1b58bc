"""Syncs that take their time hold nobody else up, however many there are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lane.probes import SlowSyncs
from tests.support import kernel
from tests.support.flavours import DEFAULT
from tests.support.mounts import LiveMount
from tests.support.playground import Playground

SYNCS = 24  # more than the lane has threads and buffers
PROMPT_S = 5.0  # "at once", on a machine that is busy with other things


@pytest.fixture(params=["lane", "python"])
def slow(playground: Playground, request: pytest.FixtureRequest) -> Iterator[tuple[LiveMount, SlowSyncs]]:
    driver = SlowSyncs(request.param, playground.new_directory())
    driver.require()
    live = playground.new_mount(driver, DEFAULT)
    yield live, driver
    driver.brake.unlink(missing_ok=True)


def run_promptly(action: Callable[[], object], what: str) -> None:
    """Fail if it takes as long as the disk."""
    thread = threading.Thread(target=action, daemon=True)
    start = time.monotonic()
    thread.start()
    thread.join(PROMPT_S)
    assert not thread.is_alive(), f"{what} waited for the disk"
    assert time.monotonic() - start < PROMPT_S


def sync(path: Path, done: list[Path]) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    done.append(path)


def test_slow_syncs_hold_up_nobody(slow: tuple[LiveMount, SlowSyncs]) -> None:
    """Whoever changes a file that is being synced waits, but in the kernel, which holds the lock of that inode."""
    live, driver = slow
    files, directories = [live.path / f"f{n}" for n in range(SYNCS)], [live.path / f"d{n}" for n in range(4)]
    for path in files:
        path.write_bytes(b"content" * 100)
    for path in directories:
        path.mkdir()
    (live.path / "large").write_bytes(b"l" * (2 << 20))
    os.sync()
    driver.brake.touch()
    done: list[Path] = []
    threads = [threading.Thread(target=sync, args=(path, done)) for path in files + directories]
    for thread in threads:
        thread.start()
    time.sleep(0.3)  # until they all wait; nothing says when they do
    assert not done, "the disk is not slow"

    run_promptly(lambda: os.listdir(live.path), "a listing")
    run_promptly(lambda: [path.stat() for path in files], "stat")
    run_promptly(lambda: (live.path / "absent").exists(), "a lookup of nothing")
    run_promptly(lambda: (live.path / "new").write_bytes(b"new"), "creating")
    run_promptly(lambda: (live.path / "new").rename(live.path / "renamed"), "renaming")
    run_promptly(lambda: drop_and_read(live.path / "large", 1 << 20, b"l" * 1000), "reading")
    run_promptly(lambda: overwrite(live.path / "large"), "writing")
    run_promptly(lambda: os.truncate(live.path / "large", 100), "truncating")
    run_promptly((live.path / "large").unlink, "deleting")
    run_promptly(lambda: drop_and_read(files[3], 0, b"content"), "reading what is being synced")
    assert not done
    driver.brake.unlink()
    for thread in threads:
        thread.join(20)
    assert sorted(done) == sorted(files + directories)
    assert (live.path / "renamed").read_bytes() == b"new"
    assert "Traceback" not in live.log()


def drop_and_read(path: Path, offset: int, expected: bytes) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    assert os.pread(fd, len(expected), offset) == expected
    os.close(fd)


def overwrite(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    os.pwrite(fd, b"CONTENT", 0)
    os.close(fd)


def test_mount_waits_idle_and_not_busy_for_a_slow_disk(slow: tuple[LiveMount, SlowSyncs]) -> None:
    live, driver = slow
    paths = [live.path / f"f{n}" for n in range(SYNCS)]
    for path in paths:
        path.write_bytes(b"x")
    driver.brake.touch()
    done: list[Path] = []
    threads = [threading.Thread(target=sync, args=(path, done)) for path in paths]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    before = cpu_seconds(live.serving_pid())
    time.sleep(1.0)
    assert cpu_seconds(live.serving_pid()) - before < 0.5
    driver.brake.unlink()
    for thread in threads:
        thread.join(20)
    kernel.wait_until(lambda: len(done) == SYNCS, timeout_s=10, what="all syncs")


def cpu_seconds(pid: int) -> float:
    """Of a process, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
