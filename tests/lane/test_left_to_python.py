"""What the lane does not do itself: it asks Python, or tells it, and goes on."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.lane.probes import statistics
from tests.support import kernel
from tests.support.accounts import errno_of
from tests.support.drivers import DRIVERS, MountOptions
from tests.support.flavours import DEFAULT, FLAVOURS
from tests.support.mounts import LiveMount
from tests.support.playground import Playground

LEFTOVER = "gocryptfs.diriv.rmdir.1234"


def new_mount(playground: Playground, flavour: str = DEFAULT.name, **options: object) -> LiveMount:
    driver = DRIVERS["pcvfs"]
    driver.require()
    return playground.new_mount(driver, FLAVOURS[flavour], MountOptions(**options))  # type: ignore[arg-type]


def list_anew(directory: Path) -> list[str]:
    """A listing that the kernel has not kept from before."""
    (directory / "changed").touch()
    (directory / "changed").unlink()
    return sorted(os.listdir(directory))


def lines_with(live: LiveMount, text: str) -> list[str]:
    return [line for line in live.log().splitlines() if text in line]


# --- listings ---------------------------------------------------------------------------------------------------
def test_hidden_entries_are_logged_once_each(lane_mount: LiveMount) -> None:
    bad_names = ["A" * 22, "not base64!", *(f"x{number}" for number in range(10))]
    (lane_mount.path / "good").touch()
    lane_mount.unmount()
    for bad in bad_names:
        (lane_mount.volume.cipherdir / bad).touch()
    lane_mount.start()

    def all_are_logged() -> bool:
        assert list_anew(lane_mount.path) == ["good"]
        return len(lines_with(lane_mount, "can't be decrypted and is hidden")) >= len(bad_names)

    kernel.wait_until(all_are_logged, timeout_s=10, what="a line for every hidden entry")
    list_anew(lane_mount.path)
    for bad in bad_names:
        assert len(lines_with(lane_mount, f"directory inode 1: entry {bad!a} can't be decrypted")) == 1
    for bad in bad_names:
        (lane_mount.volume.cipherdir / bad).unlink()


def test_missing_iv_is_logged_once(lane_mount: LiveMount) -> None:
    (lane_mount.path / "d").mkdir()
    inode = os.stat(lane_mount.path / "d").st_ino
    lane_mount.unmount()
    (path,) = lane_mount.volume.cipherdir.glob("*/gocryptfs.diriv")
    iv = path.read_bytes()
    path.unlink()
    lane_mount.start()
    for _ in range(3):
        assert errno_of(lambda: os.listdir(lane_mount.path / "d")) == errno.EIO
        assert errno_of(lambda: os.stat(lane_mount.path / "d" / "name")) == errno.EIO
    assert len(lines_with(lane_mount, f"directory inode {inode}: has no usable gocryptfs.diriv")) == 1
    path.write_bytes(iv)


@pytest.mark.parametrize("is_ro", [False, True], ids=["rw", "ro"])
def test_leftovers_of_a_killed_process_are_cleared_unless_read_only(playground: Playground, is_ro: bool) -> None:
    live = new_mount(playground)
    (live.path / "good").touch()
    live.unmount()
    leftover = live.volume.cipherdir / LEFTOVER
    leftover.mkdir()
    (leftover / "gocryptfs.diriv").write_bytes(bytes(range(16)))
    live.options = MountOptions(ro=is_ro)
    live.start()
    assert os.listdir(live.path) == ["good"]
    statistics(live)  # by then the note has been read
    if is_ro:
        assert leftover.exists()
    else:
        kernel.wait_until(lambda: not leftover.exists(), timeout_s=10, what="the leftover to go")


def test_leftovers_are_ordinary_names_where_names_are_plaintext(playground: Playground) -> None:
    live = new_mount(playground, "plaintextnames")
    (live.path / LEFTOVER).mkdir()
    assert list_anew(live.path) == [LEFTOVER]
    assert list_anew(live.path) == [LEFTOVER]


# --- files ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["file", "l" * 200], ids=["short", "long"])
def test_create_of_what_came_to_be_behind_our_back(playground: Playground, name: str) -> None:
    """The kernel believes that there is nothing, so its open asks to create it."""
    live = new_mount(playground, "plaintextnames")
    (live.path / "written").write_bytes(b"content")
    path, stored = live.path / name, live.volume.cipherdir / name
    assert not path.exists()
    stored.write_bytes((live.volume.cipherdir / "written").read_bytes())
    assert errno_of(lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)) == errno.EEXIST
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    assert os.read(fd, 10) == b""
    os.close(fd)
    assert stored.stat().st_size == 0


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo"])
def test_create_of_what_came_to_be_and_is_no_file(playground: Playground, kind: str) -> None:
    live = new_mount(playground, "plaintextnames")
    path, stored = live.path / "name", live.volume.cipherdir / "name"
    assert not path.exists()
    if kind == "directory":
        stored.mkdir()
        assert errno_of(lambda: os.open(path, os.O_WRONLY | os.O_CREAT)) == errno.EISDIR
    elif kind == "symlink":
        stored.symlink_to("elsewhere")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        assert (live.path / "elsewhere").exists()
    else:
        os.mkfifo(stored)
        assert stat.S_ISFIFO(os.fstat(os.open(path, os.O_RDWR | os.O_CREAT)).st_mode)
