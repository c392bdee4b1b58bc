"""Files are known by inode and opened when they are needed: few descriptors must do, and idle files are given back."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.lane.probes import Limited, statistics, stored_files, wait_until_idle
from tests.support.drivers import Driver
from tests.support.flavours import DEFAULT
from tests.support.mounts import LiveMount
from tests.support.places import check_volume
from tests.support.playground import Playground
from tests.support.processes import open_files

BLOCK = 4096
DESCRIPTORS = 256
FILES = 1500


@pytest.mark.parametrize("engine", ["lane", "python"])
def test_thousands_of_files_need_few_descriptors(playground: Playground, engine: str) -> None:
    driver = Limited(engine, DESCRIPTORS)
    driver.require()
    live = playground.new_mount(driver)
    directories = [live.path / f"d{n}" for n in range(50)]
    for directory in directories:
        directory.mkdir()
    paths = [directories[n % 50] / f"f{n}" for n in range(FILES)]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number * 50)
    for number, path in enumerate(paths):
        with open(path, "r+b", buffering=0) as stream:
            os.pwrite(stream.fileno(), b"[", 0)
            os.pwrite(stream.fileno(), b"]", 5000 + number)
    for number, path in enumerate(paths):
        data = path.read_bytes()
        assert data[:1] + data[-1:] == b"[]"
        assert len(data) == 5001 + number
    assert len(open_files(live.serving_pid())) < DESCRIPTORS
    assert "Traceback" not in live.log()
    live.unmount()
    assert check_volume(live, {"pcvfs"}) == []


def test_more_files_can_be_open_than_the_lane_may_keep(playground: Playground) -> None:
    """The kernel asks for no descriptor of ours, so neither is there a limit to what programs can have open."""
    driver = Limited("lane", DESCRIPTORS)
    driver.require()
    live = playground.new_mount(driver)
    fds = [os.open(live.path / f"f{n}", os.O_CREAT | os.O_RDWR) for n in range(600)]
    try:
        for turn in range(3):
            for number, fd in enumerate(fds):
                os.pwrite(fd, bytes([turn + 1]) * 3000, number + turn * 3000)
            for fd in fds[turn::7]:
                os.fsync(fd)
        for number, fd in enumerate(fds):
            data = os.pread(fd, 10_000, 0)
            assert data == bytes(number) + b"".join(bytes([turn + 1]) * 3000 for turn in range(3))
    finally:
        for fd in fds:
            os.close(fd)
    live.unmount()
    assert check_volume(live, {"pcvfs"}) == []


def test_files_written_back_together_and_in_turn_keep_their_content(playground: Playground, seed: int) -> None:
    """Large writes of more files than may be open at once: each is given back while others are under way."""
    driver = Limited("lane", DESCRIPTORS)
    driver.require()
    live = playground.new_mount(driver)
    size, parts = 100_000, 6
    fds = [os.open(live.path / f"f{n}", os.O_CREAT | os.O_RDWR) for n in range(120)]
    for part in range(parts):
        for number, fd in enumerate(fds):
            os.pwrite(fd, bytes([1 + (number + part) % 251]) * size, part * size)
    os.sync()
    for fd in fds:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    for number, fd in enumerate(fds):
        expected = b"".join(bytes([1 + (number + part) % 251]) * size for part in range(parts))
        assert os.pread(fd, parts * size + 1, 0) == expected, f"file {number}"
        os.close(fd)
    live.unmount()
    assert check_volume(live, {"pcvfs"}) == []


# --- idle -------------------------------------------------------------------------------------------------------
def test_idle_mount_gives_its_files_back(lane_mount: LiveMount) -> None:
    fds = []
    for number in range(100):
        (lane_mount.path / f"closed{number}").write_bytes(b"x" * 5000)
        fds.append(os.open(lane_mount.path / f"open{number}", os.O_CREAT | os.O_RDWR))
        os.write(fds[-1], b"open")
    os.sync()
    assert len(stored_files(lane_mount)) == 200
    assert statistics(lane_mount)["open_files"] == 200
    wait_until_idle(lane_mount)
    assert statistics(lane_mount)["open_files"] == 0
    for fd in fds:
        assert os.pwrite(fd, b"OPEN!", 0) == 5
        os.fsync(fd)
        os.close(fd)
    for number in range(100):
        assert (lane_mount.path / f"closed{number}").read_bytes() == b"x" * 5000
        assert (lane_mount.path / f"open{number}").read_bytes() == b"OPEN!"


def drop_pages(fd: int) -> None:
    """Have the next read go to the filesystem."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("how", ["kept", "renamed", "unlinked", "replaced", "directory removed", "one of two links"])
def test_open_file_is_found_again_after_idling_whatever_became_of_its_name(lane_mount: LiveMount, how: str) -> None:
    directory = lane_mount.path / "dir"
    directory.mkdir()
    path = directory / ("n" * 200)
    path.write_bytes(b"before" * 1000)
    fd = os.open(path, os.O_RDWR)
    try:
        if how == "one of two links":
            os.link(path, lane_mount.path / "other link")
        if how == "renamed":
            path.rename(lane_mount.path / "elsewhere")
        elif how == "replaced":
            (lane_mount.path / "new").write_bytes(b"new")
            os.replace(lane_mount.path / "new", path)
        elif how != "kept":
            path.unlink()
        if how == "directory removed":
            directory.rmdir()
        drop_pages(fd)
        wait_until_idle(lane_mount)
        assert os.pread(fd, 6, 0) == b"before"
        os.pwrite(fd, b"AFTER", 4094)
        drop_pages(fd)
        wait_until_idle(lane_mount)
        assert os.pread(fd, 9, 4092) == b"be" + b"AFTER" + b"ef"
        os.ftruncate(fd, 100)
        wait_until_idle(lane_mount)
        os.ftruncate(fd, 20_000)
        assert os.fstat(fd).st_size == 20_000
        drop_pages(fd)
        assert os.pread(fd, 20_000, 0) == b"before" * 16 + b"befo" + bytes(19_900)
        assert os.fstat(fd).st_nlink == (0 if how in ("unlinked", "replaced", "directory removed") else 1)
    finally:
        os.close(fd)
    if how == "replaced":
        assert path.read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o200])
def test_open_file_is_found_again_although_its_mode_forbids_it(
    playground: Playground, driver: Driver, mode: int
) -> None:
    if not driver.is_pcvfs:
        pytest.skip("about giving files back")
    driver.require()
    live = playground.new_mount(driver, DEFAULT)
    fd = os.open(live.path / "file", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"content" * 1000)
    os.fchmod(fd, mode)
    drop_pages(fd)
    if not driver.is_reference:
        wait_until_idle(live)
    assert os.pread(fd, 7, 0) == b"content"
    os.pwrite(fd, b"CONTENT", 0)
    drop_pages(fd)
    assert os.pread(fd, 14, 0) == b"CONTENTcontent"
    assert stat.S_IMODE(os.fstat(fd).st_mode) == mode
    os.close(fd)


def test_what_was_not_yet_written_back_survives_idling_and_unmounting(lane_mount: LiveMount) -> None:
    path: Path = lane_mount.path / "file"
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    os.write(fd, b"a" * BLOCK)
    wait_until_idle(lane_mount)
    os.pwrite(fd, b"b" * BLOCK, BLOCK)  # stays in the kernel for now
    os.close(fd)
    lane_mount.unmount()
    lane_mount.start()
    assert path.read_bytes() == b"a" * BLOCK + b"b" * BLOCK
