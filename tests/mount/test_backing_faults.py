"""The directory underneath fails: full, over quota, read-only, broken. The errno arrives and nothing else breaks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.accounts import errno_of
from tests.support.drivers import Driver, MountOptions
from tests.support.flavours import Flavour
from tests.support.loopdev import loop_disk, loop_ext4
from tests.support.mounts import LiveMount
from tests.support.places import check_volume
from tests.support.playground import Playground
from tests.support.requirements import require_tool, unavailable

pytestmark = pytest.mark.flavours("default")

DISK_MIB = 16
FILL_LIMIT = 64 << 20  # never write more than this, whatever the disk says
EXT4_IOC_SHUTDOWN = 0x8004587D
SHUTDOWN_NO_LOG_FLUSH = 2


@pytest.fixture
def disk(playground: Playground) -> Iterator[Path]:
    with loop_ext4(playground.new_directory(), size_mib=DISK_MIB) as mountpoint:
        yield mountpoint


@pytest.fixture
def on_disk(playground: Playground, disk: Path, driver: Driver, flavour: Flavour) -> Iterator[LiveMount]:
    """A mount whose encrypted directory is on a small disk of its own."""
    driver.require()
    live = playground.mount(driver, playground.new_volume(driver, flavour, parent=disk))
    yield live
    live.close()


def fill(directory: Path, size: int) -> tuple[list[Path], int]:
    """Write files of *size* bytes, each fsynced, until it fails; return the complete ones and the errno."""
    complete: list[Path] = []
    for number in range(FILL_LIMIT // size):
        path = directory / f"fill-{number}"
        try:
            with open(path, "xb", buffering=0) as stream:
                view = memoryview(bytes([number % 251]) * size)
                while view:
                    view = view[stream.write(view) :]
                os.fsync(stream.fileno())
        except OSError as exc:
            return complete, exc.errno or -1
        complete.append(path)
    pytest.fail("the disk never became full")


def fill_in_small_steps(path: Path) -> None:
    """Write until the disk is full; the error may come from the write or, with a writing-back kernel, later."""
    with open(path, "xb", buffering=0) as stream:
        for _ in range(4000):
            stream.write(b"x" * 512)
        os.fsync(stream.fileno())


def overwrite_and_sync(path: Path, data: bytes) -> None:
    with open(path, "r+b", buffering=0) as stream:
        stream.write(data)
        os.fsync(stream.fileno())


def check_complete(paths: list[Path], size: int) -> None:
    for path in paths:
        assert path.read_bytes() == bytes([int(path.name.split("-")[1]) % 251]) * size


@pytest.mark.flavours("default", "xchacha")
@pytest.mark.parametrize("size", [30_000, 1_500_000])
def test_full_disk_is_enospc_and_recovers_after_a_deletion(on_disk: LiveMount, size: int) -> None:
    complete, failure = fill(on_disk.path, size)
    assert failure == errno.ENOSPC
    assert len(complete) >= 3
    check_complete(complete, size)
    victim = complete.pop()
    on_disk.path.joinpath(f"fill-{len(complete) + 1}").unlink(missing_ok=True)
    victim.unlink()
    (on_disk.path / "after").write_bytes(b"room again")
    assert (on_disk.path / "after").read_bytes() == b"room again"
    on_disk.unmount()
    assert check_volume(on_disk, {on_disk.driver.name}) == []
    on_disk.start()
    check_complete(complete, size)


@pytest.mark.flavours("default", "longnamemax-62")
def test_full_disk_leaves_no_half_made_directories_and_long_names(on_disk: LiveMount) -> None:
    complete, _ = fill(on_disk.path, 100_000)
    assert errno_of(lambda: fill_in_small_steps(on_disk.path / "rest")) == errno.ENOSPC
    made = []
    for number in range(2000):
        path = on_disk.path / (f"{number}-" + "l" * 200)
        if errno_of(path.mkdir if number % 2 else path.touch) != 0:
            break
        made.append(path.name)
    else:
        pytest.fail("the disk never became full")
    assert {name for name in os.listdir(on_disk.path) if name.endswith("l" * 200)} == set(made)
    for path in complete:
        path.unlink()
    path.touch()
    for name in made:
        target = on_disk.path / name
        (target.rmdir if target.is_dir() else target.unlink)()
    on_disk.unmount()
    assert check_volume(on_disk, {on_disk.driver.name}) == []


def test_overwriting_in_place_on_a_full_disk_keeps_the_file_readable(on_disk: LiveMount) -> None:
    path = on_disk.path / "existing"
    path.write_bytes(b"old" * 50_000)
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())
    fill(on_disk.path, 300_000)
    with open(path, "r+b", buffering=0) as stream:
        for offset in range(0, 140_000, 5000):
            stream.seek(offset)
            stream.write(b"NEW")
        os.fsync(stream.fileno())
    data = path.read_bytes()
    assert len(data) == 150_000
    assert all(data[offset : offset + 3] == b"NEW" for offset in range(0, 140_000, 5000))


def test_quota_is_edquot(playground: Playground, driver: Driver, flavour: Flavour) -> None:
    driver.require()
    for tool in ("mkfs.btrfs", "btrfs"):
        if shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            unavailable("btrfs", "btrfs-progs is not installed")
    btrfs = require_tool("btrfs")
    with loop_disk(playground.new_directory(), size_mib=160, mkfs=["mkfs.btrfs", "-q", "-f"]) as disk:
        for command in (
            ["quota", "enable", disk],
            ["subvolume", "create", disk / "v"],
            ["qgroup", "limit", "8M", disk / "v"],
        ):
            subprocess.run([btrfs, *map(str, command)], check=True, capture_output=True, timeout=60)
        live = playground.mount(driver, playground.new_volume(driver, flavour, parent=disk / "v"))
        complete, failure = fill(live.path, 300_000)
        assert failure == errno.EDQUOT
        assert len(complete) >= 10
        check_complete(complete, 300_000)
        live.unmount()
        assert check_volume(live, {driver.name}) == [], live.log()
        live.start()
        check_complete(complete, 300_000)
        live.close()


def remount_read_only(disk: Path) -> None:
    """A mount may keep files open for writing a moment longer than its users; while it does, the disk is busy."""
    end = time.monotonic() + 10
    while subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True, timeout=30, check=False).returncode:
        assert time.monotonic() < end, "the disk stays busy"
        time.sleep(0.2)


@pytest.mark.fuse_only
def test_backing_that_turns_read_only_is_erofs_and_reads_go_on(on_disk: LiveMount, disk: Path) -> None:
    path = on_disk.path / "file"
    path.write_bytes(b"content" * 1000)
    os.sync()
    remount_read_only(disk)
    for action in (
        lambda: (on_disk.path / "new").write_bytes(b""),
        lambda: (on_disk.path / "dir").mkdir(),
        lambda: os.unlink(path),
        lambda: os.rename(path, on_disk.path / "renamed"),
        lambda: os.chmod(path, 0o600),
        lambda: os.truncate(path, 5),
        lambda: os.symlink("x", on_disk.path / ("s" * 200)),
    ):
        assert errno_of(action) == errno.EROFS
    assert path.read_bytes() == b"content" * 1000
    assert os.listdir(on_disk.path) == ["file"]
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True, timeout=30)
    (on_disk.path / "dir").mkdir()


@pytest.mark.fuse_only
def test_volume_on_a_read_only_disk_mounts_read_only(on_disk: LiveMount, disk: Path, playground: Playground) -> None:
    (on_disk.path / "file").write_bytes(b"content")
    on_disk.unmount()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True, timeout=30)
    live = playground.mount(on_disk.driver, on_disk.volume, MountOptions(ro=True))
    assert (live.path / "file").read_bytes() == b"content"
    assert errno_of(lambda: (live.path / "new").write_bytes(b"")) == errno.EROFS
    live.unmount()
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True, timeout=30)


@pytest.mark.fuse_only
def test_broken_backing_gives_errors_and_the_mount_can_be_ended(on_disk: LiveMount, disk: Path) -> None:
    path = on_disk.path / "kept"
    os.sync()  # the volume itself, and the password file beside it
    with open(path, "wb") as stream:
        stream.write(b"k" * 50_000)
        stream.flush()
        os.fsync(stream.fileno())
    directory = os.open(on_disk.path, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    fd = os.open(disk, os.O_RDONLY)
    fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, SHUTDOWN_NO_LOG_FLUSH.to_bytes(4, "little"))  # as if the cable were pulled
    os.close(fd)
    errors = (errno.EIO, errno.ESHUTDOWN, errno.EROFS)
    assert errno_of(lambda: (on_disk.path / "new").write_bytes(b"x")) in errors
    assert errno_of(lambda: overwrite_and_sync(path, b"X" * 10_000)) in errors
    assert on_disk.is_alive()
    on_disk.unmount()
    assert "Traceback" not in on_disk.log()
    image = disk.with_name("disk.img")
    subprocess.run(["umount", disk], check=True, timeout=30)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True, timeout=30)
    on_disk.start()
    assert path.read_bytes() == b"k" * 50_000
