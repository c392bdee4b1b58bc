"""Who may do what: files of any mode, another user's mount, allow_other with the caller's ownership."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.accounts import NOBODY, OTHER_GROUP, SOMEONE, SOMEONES_GROUP, errno_of, run_as
from tests.support.drivers import Driver, MountOptions
from tests.support.flavours import Flavour
from tests.support.mounts import LiveMount
from tests.support.places import Place
from tests.support.playground import Playground
from tests.support.requirements import require_fuse, require_root

pytestmark = pytest.mark.flavours("default", "plaintextnames")


@dataclass
class UserPlace:
    """A directory that belongs to an unprivileged user, on a mount that this user made."""

    path: Path
    uid: int

    def errno(self, action: object) -> int:
        """Do it as the user; return the errno, 0 for success."""
        return run_as(self.uid, lambda: errno_of(action))  # type: ignore[arg-type]  # callables only


@pytest.fixture(scope="session")
def fuse_for_users() -> Iterator[None]:
    """Users may open the FUSE device, as everywhere with udev; bare virtual machines keep it for root."""
    require_root("becoming another user needs root")
    require_fuse()
    device = Path("/dev/fuse")
    mode = stat.S_IMODE(device.stat().st_mode)
    device.chmod(mode | 0o666)
    yield
    device.chmod(mode)


@pytest.fixture
def mine(playground: Playground, driver: Driver, flavour: Flavour, fuse_for_users: None) -> UserPlace:
    """As nobody: the mount is made through fusermount3 by that user, so only that user sees it."""
    driver.require()
    live = playground.new_mount(driver, flavour, MountOptions(user=NOBODY))
    if not driver.is_fuse:
        os.chown(live.path, NOBODY, NOBODY)
    return UserPlace(live.path, NOBODY)


@pytest.fixture
def shared(playground: Playground, driver: Driver, flavour: Flavour) -> LiveMount:
    """Root's mount with allow_other; its root directory is open to everybody."""
    require_root("allow_other is root's by default, and the test becomes other users")
    driver.require()
    live = playground.new_mount(driver, flavour, MountOptions(allow_other=True))
    live.path.chmod(0o777)
    return live


def write(path: Path, data: bytes, flags: int = 0) -> None:
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | flags, 0o644)
    os.write(fd, data)
    os.close(fd)


# --- files of any mode -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", [0o000, 0o200, 0o400, 0o111])
def test_root_reads_and_writes_files_of_any_mode(place: Place, mode: int) -> None:
    require_root("others are refused")
    path = place.path / "file"
    path.write_bytes(b"a" * 5000)
    path.chmod(mode)
    assert path.read_bytes() == b"a" * 5000
    with open(path, "r+b") as stream:
        stream.seek(4090)
        stream.write(b"changed")
    os.truncate(path, 4098)
    assert path.read_bytes() == b"a" * 4090 + b"changed"[:8] + b"a" * 1
    assert stat.S_IMODE(os.stat(path).st_mode) == mode


def test_even_root_runs_only_what_somebody_may_run(place: Place) -> None:
    require_root("other users are refused anyway")
    program = place.path / "program"
    program.write_bytes(b"#!/bin/sh\nexit 0\n")
    for mode, may_run in ((0o644, False), (0o000, False), (0o100, True), (0o001, True), (0o755, True), (0o666, False)):
        program.chmod(mode)
        assert os.access(program, os.X_OK) == may_run
        assert os.access(program, os.R_OK | os.W_OK)
        assert (errno_of(lambda: os.posix_spawn(program, ["program"], {})) == 0) == may_run
        assert subprocess.run(["test", "-x", program], timeout=20).returncode == (0 if may_run else 1)
    (place.path / "dir").mkdir(mode=0)
    assert os.access(place.path / "dir", os.R_OK | os.W_OK | os.X_OK)
    here = os.open(".", os.O_PATH)
    try:
        os.chdir(place.path / "dir")
    finally:
        os.fchdir(here)
        os.close(here)
    assert errno_of(lambda: os.access(place.path / "absent", os.F_OK)) == 0
    assert not os.access(place.path / "absent", os.F_OK)


def test_file_created_with_mode_0_is_writable_through_its_descriptor(place: Place) -> None:
    fd = os.open(place.path / "file", os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o000)
    try:
        os.write(fd, b"secret")
        assert os.pread(fd, 10, 0) == b"secret"
    finally:
        os.close(fd)
    assert stat.S_IMODE(os.stat(place.path / "file").st_mode) == 0


def test_owner_of_a_write_only_file_can_write_but_not_read(mine: UserPlace) -> None:
    path = mine.path / "file"

    def work() -> tuple[int, int, bytes]:
        write(path, b"a" * 5000)
        path.chmod(0o200)
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, b"CHANGED", 4093)  # the filesystem has to read two blocks for that
        os.close(fd)
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
        refused = errno_of(lambda: os.open(path, os.O_RDONLY))
        mode = stat.S_IMODE(os.stat(path).st_mode)
        path.chmod(0o600)
        return refused, mode, path.read_bytes()

    assert run_as(mine.uid, work) == (errno.EACCES, 0o200, b"a" * 4093 + b"CHANGED" + b"a" * 900)


def test_owner_creates_a_write_only_file(mine: UserPlace) -> None:
    def work() -> bytes:
        fd = os.open(mine.path / "file", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o200)
        os.write(fd, b"x" * 100)
        os.write(fd, b"y" * 5000)
        os.close(fd)
        os.chmod(mine.path / "file", 0o400)
        return (mine.path / "file").read_bytes()

    assert run_as(mine.uid, work) == b"x" * 100 + b"y" * 5000


@pytest.mark.gocryptfs_differs("truncating a write-only file is refused")
def test_owner_is_refused_what_the_mode_forbids(mine: UserPlace) -> None:
    path = mine.path / "file"
    for mode, flags in ((0o400, os.O_WRONLY), (0o400, os.O_RDWR), (0o000, os.O_RDONLY), (0o200, os.O_RDONLY)):
        run_as(mine.uid, lambda: write(path, b"x"))
        run_as(mine.uid, lambda m=mode: os.chmod(path, m))  # type: ignore[misc]  # int
        assert mine.errno(lambda f=flags: os.open(path, f)) == errno.EACCES
        assert mine.errno(lambda: os.truncate(path, 0)) == (0 if mode & 0o200 else errno.EACCES)
        assert mine.errno(lambda: os.unlink(path)) == 0


@pytest.mark.gocryptfs_differs("link replies with the size of the ciphertext")
def test_unreadable_file_can_be_renamed_linked_and_stated(mine: UserPlace) -> None:
    def work() -> list[str]:
        write(mine.path / "file", b"x")
        os.chmod(mine.path / "file", 0)
        os.rename(mine.path / "file", mine.path / "renamed")
        os.link(mine.path / "renamed", mine.path / "linked")
        assert os.stat(mine.path / "linked").st_size == 1
        os.utime(mine.path / "linked", ns=(1, 2))
        return sorted(os.listdir(mine.path))

    assert run_as(mine.uid, work) == ["linked", "renamed"]


@pytest.mark.gocryptfs_differs("shows the temporary mode for a second")
def test_owner_makes_and_removes_directories_of_any_mode(mine: UserPlace) -> None:
    def work(mode: int) -> tuple[int, int]:
        os.umask(0)
        os.mkdir(mine.path / "dir", mode)
        shown = stat.S_IMODE(os.stat(mine.path / "dir").st_mode)
        listing = errno_of(lambda: os.listdir(mine.path / "dir"))
        os.rename(mine.path / "dir", mine.path / "renamed")
        os.rmdir(mine.path / "renamed")
        return shown, listing

    for mode in (0o000, 0o100, 0o200, 0o300, 0o400, 0o500):
        shown, listing = run_as(mine.uid, lambda m=mode: work(m))  # type: ignore[misc]  # int
        assert shown == mode
        if mode & 0o500 != 0o400:  # readable but not searchable: the names need the directory's IV, out of reach
            assert listing == (0 if mode & 0o400 else errno.EACCES)


def test_directory_without_write_or_search_permission_refuses_changes(mine: UserPlace) -> None:
    def work() -> list[int]:
        os.mkdir(mine.path / "dir")
        write(mine.path / "dir" / "file", b"x")
        os.chmod(mine.path / "dir", 0o500)
        results = [
            errno_of(lambda: write(mine.path / "dir" / "new", b"x")),
            errno_of(lambda: os.unlink(mine.path / "dir" / "file")),
            errno_of(lambda: os.mkdir(mine.path / "dir" / "sub")),
        ]
        os.chmod(mine.path / "dir", 0o600)
        results.append(errno_of(lambda: os.stat(mine.path / "dir" / "file")))
        os.chmod(mine.path / "dir", 0o300)
        results.append(errno_of(lambda: os.listdir(mine.path / "dir")))
        os.stat(mine.path / "dir" / "file")  # searching is allowed
        os.chmod(mine.path / "dir", 0o700)
        return results

    assert run_as(mine.uid, work) == [errno.EACCES] * 5


@pytest.mark.fuse_only
def test_mount_of_another_user_is_closed_to_root_and_others(mine: UserPlace) -> None:
    assert errno_of(lambda: os.listdir(mine.path)) == errno.EACCES
    assert run_as(SOMEONE, lambda: errno_of(lambda: os.listdir(mine.path))) == errno.EACCES


# --- allow_other -------------------------------------------------------------------------------------------------
def create_all_kinds(directory: Path) -> None:
    """A file, directory, symlink and fifo."""
    write(directory / "file", b"x")
    os.mkdir(directory / "dir")
    os.symlink("target", directory / "link")
    os.mkfifo(directory / "fifo")


def test_created_objects_belong_to_the_caller(shared: LiveMount) -> None:
    run_as(SOMEONE, lambda: create_all_kinds(shared.path), gid=SOMEONES_GROUP)
    for name in ("file", "dir", "link", "fifo"):
        info = os.lstat(shared.path / name)
        assert (info.st_uid, info.st_gid) == (SOMEONE, SOMEONES_GROUP), name
    create_all_kinds_as_root = shared.path / "root"
    create_all_kinds_as_root.mkdir()
    assert os.stat(create_all_kinds_as_root).st_uid == 0


def test_setgid_directory_hands_its_group_down(shared: LiveMount) -> None:
    directory = shared.path / "setgid"
    directory.mkdir()
    os.chown(directory, 0, OTHER_GROUP)
    directory.chmod(0o2777)
    run_as(SOMEONE, lambda: create_all_kinds(directory), gid=SOMEONES_GROUP)
    for name in ("file", "dir", "link", "fifo"):
        info = os.lstat(directory / name)
        assert (info.st_uid, info.st_gid) == (SOMEONE, OTHER_GROUP), name
    assert os.stat(directory / "dir").st_mode & stat.S_ISGID
    assert not os.stat(directory / "file").st_mode & stat.S_ISGID


def test_permissions_of_others_are_checked(shared: LiveMount) -> None:
    private = shared.path / "private"
    private.mkdir(mode=0o700)
    write(private / "file", b"secret")
    write(shared.path / "readable", b"public")
    results = run_as(
        SOMEONE,
        lambda: [
            errno_of(lambda: os.stat(private / "file")),
            errno_of(lambda: os.listdir(private)),
            errno_of(lambda: os.open(shared.path / "readable", os.O_WRONLY)),
            errno_of(lambda: os.chmod(shared.path / "readable", 0o777)),
            errno_of(lambda: os.chown(shared.path / "readable", SOMEONE, -1)),
            errno_of(lambda: os.utime(shared.path / "readable", ns=(1, 1))),
            errno_of(lambda: os.setxattr(shared.path / "readable", "user.a", b"1")),
            errno_of(lambda: os.open(shared.path / "readable", os.O_RDONLY)),
        ],
    )
    assert results == [errno.EACCES] * 3 + [errno.EPERM] * 3 + [errno.EACCES, 0]


def test_supplementary_groups_count(shared: LiveMount) -> None:
    directory = shared.path / "group"
    directory.mkdir()
    os.chown(directory, 0, OTHER_GROUP)
    directory.chmod(0o770)
    member = run_as(SOMEONE, lambda: errno_of(lambda: write(directory / "a", b"")), groups=[OTHER_GROUP])
    stranger = run_as(SOMEONE, lambda: errno_of(lambda: write(directory / "b", b"")))
    assert (member, stranger) == (0, errno.EACCES)

    def change_group() -> int:
        write(shared.path / "mine", b"")
        return errno_of(lambda: os.chown(shared.path / "mine", -1, OTHER_GROUP))

    assert run_as(SOMEONE, change_group, groups=[OTHER_GROUP]) == 0
    assert os.stat(shared.path / "mine").st_gid == OTHER_GROUP


def test_sticky_directory_protects_other_peoples_files(shared: LiveMount) -> None:
    sticky = shared.path / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    run_as(SOMEONE, lambda: write(sticky / "file", b"x"))
    results = run_as(
        NOBODY,
        lambda: [
            errno_of(lambda: os.unlink(sticky / "file")),
            errno_of(lambda: os.rename(sticky / "file", sticky / "stolen")),
        ],
    )
    assert results == [errno.EPERM, errno.EPERM]
    assert run_as(SOMEONE, lambda: errno_of(lambda: os.unlink(sticky / "file"))) == 0


def test_owner_works_on_own_files_and_write_only_files(shared: LiveMount) -> None:
    path = shared.path / "dropbox"

    def work() -> bytes:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o200)
        os.write(fd, b"a" * 5000)
        os.close(fd)
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, b"b", 10)
        os.close(fd)
        refused = errno_of(lambda: os.open(path, os.O_RDONLY))
        assert refused == errno.EACCES
        os.chmod(path, 0o600)
        return path.read_bytes()

    assert run_as(SOMEONE, work) == b"a" * 10 + b"b" + b"a" * 4989


def test_write_by_the_owner_drops_the_setuid_bit(shared: LiveMount) -> None:
    path = shared.path / "program"

    def work() -> int:
        write(path, b"old")
        os.chmod(path, 0o4755)
        write(path, b"new")
        return stat.S_IMODE(os.stat(path).st_mode)

    assert run_as(SOMEONE, work) == 0o755


def test_concurrent_users_get_their_own_files(shared: LiveMount) -> None:
    users = [SOMEONE + n for n in range(6)]

    def work(uid: int) -> None:
        for number in range(40):
            write(shared.path / f"{uid}-{number}", b"x")
            os.mkdir(shared.path / f"{uid}-{number}.d")

    children = []
    for uid in users:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                work(uid)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(users)
    for name in os.listdir(shared.path):
        info = os.lstat(shared.path / name)
        assert (info.st_uid, info.st_gid) == (int(name.split("-")[0]),) * 2, name
