"""What the mount options change."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.support import kernel
from tests.support.accounts import SOMEONE, errno_of, run_as
from tests.support.drivers import Driver, MountOptions
from tests.support.flavours import Flavour
from tests.support.mounts import LiveMount, MountFailedError
from tests.support.playground import Playground
from tests.support.requirements import require_root
from tests.support.tree import paths_below

pytestmark = [pytest.mark.fuse_only, pytest.mark.flavours("default")]

EXIT_MOUNTPOINT = 10


def options_of(live: LiveMount) -> set[str]:
    """The mount options the kernel knows."""
    entry = kernel.find_mount(live.path)
    assert entry is not None
    return set(entry.options.split(","))


def fill(root: Path) -> None:
    (root / "dir").mkdir()
    (root / "file").write_bytes(b"content" * 1000)
    (root / "link").symlink_to("file")
    os.setxattr(root / "file", "user.a", b"1")


@pytest.mark.flavours("default", "plaintextnames")
def test_read_only_mount_reads_everything_and_changes_nothing(
    playground: Playground, driver: Driver, flavour: Flavour
) -> None:
    driver.require()
    live = playground.new_mount(driver, flavour)
    fill(live.path)
    live.unmount()
    before = {p: os.stat(p, follow_symlinks=False).st_mtime_ns for p in paths_below(live.volume.cipherdir)}
    live = playground.mount(driver, live.volume, MountOptions(ro=True))
    root = live.path
    assert (root / "file").read_bytes() == b"content" * 1000
    assert os.getxattr(root / "file", "user.a") == b"1"
    for action in (
        lambda: os.open(root / "new", os.O_CREAT | os.O_WRONLY),
        lambda: os.open(root / "file", os.O_RDWR),
        lambda: os.truncate(root / "file", 0),
        lambda: os.mkdir(root / "new"),
        lambda: os.mkfifo(root / "new"),
        lambda: os.symlink("x", root / "new"),
        lambda: os.link(root / "file", root / "new"),
        lambda: os.rename(root / "file", root / "new"),
        lambda: os.unlink(root / "file"),
        lambda: os.rmdir(root / "dir"),
        lambda: os.chmod(root / "file", 0o600),
        lambda: os.chown(root / "file", 1, 1),
        lambda: os.utime(root / "file"),
        lambda: os.setxattr(root / "file", "user.b", b"2"),
        lambda: os.removexattr(root / "file", "user.a"),
    ):
        assert errno_of(action) == errno.EROFS
    assert not os.access(root / "file", os.W_OK)
    assert "ro" in options_of(live)
    live.unmount()
    assert {p: os.stat(p, follow_symlinks=False).st_mtime_ns for p in paths_below(live.volume.cipherdir)} == before


def test_mount_shows_its_type_source_and_safe_defaults(own_mount: LiveMount) -> None:
    entry = kernel.find_mount(own_mount.path)
    assert entry is not None
    assert entry.fs_type == own_mount.driver.fs_type
    assert entry.source == str(own_mount.volume.cipherdir)
    assert {"nosuid", "nodev", "rw"} <= options_of(own_mount)


def test_fsname_suid_and_dev_change_the_mount(playground: Playground, driver: Driver) -> None:
    require_root("suid and dev are root's")
    driver.require()
    live = playground.new_mount(driver, options=MountOptions(fsname="my-volume", suid=True, dev=True))
    entry = kernel.find_mount(live.path)
    assert entry is not None
    assert entry.source == "my-volume"
    assert not {"nosuid", "nodev"} & options_of(live)
    os.mknod(live.path / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    with open(live.path / "zero", "rb", buffering=0) as zero:
        assert zero.read(4) == bytes(4)


def test_other_users_are_shut_out_without_allow_other(own_mount: LiveMount) -> None:
    require_root("becoming another user needs root")
    own_mount.path.chmod(0o777)
    assert run_as(SOMEONE, lambda: errno_of(lambda: os.listdir(own_mount.path))) == errno.EACCES


@pytest.mark.gocryptfs_differs("the root directory is served by its own user")
def test_force_owner_shows_everything_as_that_owner(playground: Playground, driver: Driver) -> None:
    require_root("force_owner implies allow_other")
    driver.require()
    live = playground.new_mount(driver, options=MountOptions(force_owner=(SOMEONE, 4321)))
    fill(live.path)
    for name in ("dir", "file", "link"):
        info = os.lstat(live.path / name)
        assert (info.st_uid, info.st_gid) == (SOMEONE, 4321)
    (live.path / "dir").chmod(0o700)
    assert run_as(SOMEONE, lambda: errno_of(lambda: (live.path / "dir" / "new").write_bytes(b"x"))) == 0
    assert os.lstat(live.path / "dir" / "new").st_uid == SOMEONE
    stored = {os.lstat(p).st_uid for p in paths_below(live.volume.cipherdir)}
    assert stored == {0}


def test_mountpoint_that_is_not_empty_needs_the_option(playground: Playground, driver: Driver) -> None:
    driver.require()
    volume = playground.new_volume(driver)
    mountpoint = playground.new_directory("m")
    (mountpoint / "something").write_bytes(b"")
    with pytest.raises(MountFailedError) as failure:
        playground.mount(driver, volume, mountpoint=mountpoint)
    assert failure.value.returncode == EXIT_MOUNTPOINT
    live = playground.mount(driver, volume, MountOptions(nonempty=True), mountpoint=mountpoint)
    assert os.listdir(live.path) == []
    live.unmount()
    (mountpoint / "something").unlink()


def test_mount_without_preallocation_writes_and_reads(playground: Playground, driver: Driver) -> None:
    driver.require()
    live = playground.new_mount(driver, options=MountOptions(noprealloc=True))
    (live.path / "file").write_bytes(b"x" * 300_000)
    live.unmount()
    live.start()
    assert (live.path / "file").read_bytes() == b"x" * 300_000


# --- one owner or many -------------------------------------------------------------------------------------------
@pytest.mark.gocryptfs_differs("has no lock on the encrypted directory")
def test_second_mount_of_a_volume_is_refused_and_the_first_stays(playground: Playground, driver: Driver) -> None:
    driver.require()
    first = playground.new_mount(driver)
    (first.path / "file").write_bytes(b"x")
    with pytest.raises(MountFailedError) as failure:
        playground.mount(driver, first.volume)
    assert failure.value.returncode != 0
    assert "sharedstorage" in failure.value.log
    with pytest.raises(MountFailedError):
        playground.mount(driver, first.volume, MountOptions(sharedstorage=True))
    assert (first.path / "file").read_bytes() == b"x"
    first.unmount()
    second = playground.mount(driver, first.volume)
    assert (second.path / "file").read_bytes() == b"x"


@pytest.mark.gocryptfs_differs("has no lock on the encrypted directory")
def test_lock_of_a_killed_mount_does_not_stay(playground: Playground, driver: Driver) -> None:
    driver.require()
    first = playground.new_mount(driver)
    first.kill()
    second = playground.mount(driver, first.volume)
    assert os.listdir(second.path) == []


@pytest.mark.flavours("default", "deterministic-names", "plaintextnames")
def test_shared_storage_sees_what_the_other_mount_does(
    playground: Playground, driver: Driver, flavour: Flavour
) -> None:
    driver.require()
    options = MountOptions(sharedstorage=True)
    one = playground.new_mount(driver, flavour, options)
    two = playground.mount(driver, one.volume, options)
    for here, there in ((one.path, two.path), (two.path, one.path)):
        assert errno_of(lambda there=there: os.stat(there / "file")) == errno.ENOENT  # type: ignore[misc]  # Path
        (here / "file").write_bytes(b"first version")
        assert (there / "file").read_bytes() == b"first version"
        (here / "file").write_bytes(b"second, longer version" * 500)
        assert os.stat(there / "file").st_size == 11_000
        assert (there / "file").read_bytes() == b"second, longer version" * 500
        os.chmod(there / "file", 0o640)
        assert stat.S_IMODE(os.stat(here / "file").st_mode) == 0o640
        (there / "dir").mkdir()
        os.rename(here / "file", here / "dir" / ("l" * 200))
        assert os.listdir(there) == ["dir"]
        assert os.listdir(there / "dir") == ["l" * 200]
        os.unlink(there / "dir" / ("l" * 200))
        (here / "dir").rmdir()
        assert errno_of(lambda there=there: os.stat(there / "dir")) == errno.ENOENT  # type: ignore[misc]  # Path
        (there / "dir").mkdir()
        (here / "dir" / "inside").write_bytes(b"x")
        assert os.listdir(there / "dir") == ["inside"]
        os.unlink(there / "dir" / "inside")
        (there / "dir").rmdir()
