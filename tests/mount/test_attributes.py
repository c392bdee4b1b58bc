"""lookup, getattr and setattr: modes, owners, sizes, times."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from tests.support.accounts import errno_of
from tests.support.kernel import wait_until
from tests.support.places import Place
from tests.support.requirements import require_root

NS_OLD = 1_234_567_890_123_456_789
NS_NEW = 1_700_000_000_987_654_321


def make_file(place: Place, name: str = "file", data: bytes = b"content") -> Path:
    path = place.path / name
    path.write_bytes(data)
    return path


def test_stat_of_missing_name_is_enoent(place: Place) -> None:
    assert errno_of(lambda: os.stat(place.path / "missing")) == errno.ENOENT
    (place.path / "missing").write_bytes(b"")  # the negative answer must not stay in a cache
    assert os.stat(place.path / "missing").st_size == 0


def test_lookup_below_a_file_is_enotdir(place: Place) -> None:
    path = make_file(place)
    assert errno_of(lambda: os.stat(path / "below")) == errno.ENOTDIR


def test_new_file_has_size_type_link_count_and_owner(place: Place) -> None:
    info = os.stat(make_file(place, data=b"x" * 5000))
    assert stat.S_ISREG(info.st_mode)
    assert (info.st_size, info.st_nlink, info.st_uid, info.st_gid) == (5000, 1, os.geteuid(), os.getegid())


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 131072, 131073, 1_000_001])
def test_size_is_the_plaintext_size(place: Place, size: int) -> None:
    path = make_file(place, data=b"s" * size)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.fstat(fd).st_size == os.stat(path).st_size == size
    finally:
        os.close(fd)


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o400, 0o644, 0o777, 0o1755, 0o2755, 0o4755, 0o7777])
def test_chmod_of_a_file_is_seen_by_path_and_descriptor(place: Place, mode: int) -> None:
    path = make_file(place)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.chmod(path, mode)
        assert stat.S_IMODE(os.stat(path).st_mode) == stat.S_IMODE(os.fstat(fd).st_mode) == mode
        os.fchmod(fd, 0o640)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    finally:
        os.close(fd)


def test_create_obeys_the_umask(place: Place) -> None:
    old = os.umask(0o027)
    try:
        os.close(os.open(place.path / "file", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(place.path / "dir", 0o777)
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(place.path / "file").st_mode) == 0o640
    assert stat.S_IMODE(os.stat(place.path / "dir").st_mode) == 0o750


def test_chown_changes_only_what_is_given(place: Place) -> None:
    require_root("giving files away needs root")
    path = make_file(place)
    os.chown(path, 1234, 5678)
    os.chown(path, -1, 4321)
    os.chown(path, 8765, -1)
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (8765, 4321)


def test_chown_of_a_symlink_leaves_the_target_alone(place: Place) -> None:
    require_root("giving files away needs root")
    path = make_file(place)
    link = place.path / "link"
    link.symlink_to("file")
    os.lchown(link, 77, 88)
    assert (os.lstat(link).st_uid, os.lstat(link).st_gid) == (77, 88)
    assert os.stat(path).st_uid == os.geteuid()


def test_chown_of_a_directory_and_its_content_stays_usable(place: Place) -> None:
    require_root("giving files away needs root")
    directory = place.path / "dir"
    directory.mkdir()
    os.chown(directory, 1000, 1000)
    (directory / "inside").write_bytes(b"x")
    assert os.listdir(directory) == ["inside"]


@pytest.mark.parametrize("ns", [0, 1, 999_999_999, NS_OLD, NS_NEW, (1 << 33) * 10**9 + 5, -1_000_000_000])
def test_utimens_keeps_nanoseconds(place: Place, ns: int) -> None:
    path = make_file(place)
    os.utime(path, ns=(ns, ns + 1))
    assert (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) == (ns, ns + 1)


def test_utimens_by_descriptor_directory_and_symlink(place: Place) -> None:
    path = make_file(place)
    fd = os.open(path, os.O_RDWR)
    try:
        os.write(fd, b"dirty")
        os.utime(fd, ns=(NS_OLD, NS_NEW))
        assert os.fstat(fd).st_mtime_ns == NS_NEW
    finally:
        os.close(fd)
    assert os.stat(path).st_mtime_ns == NS_NEW  # the write before it must not move the time again
    link = place.path / "link"
    link.symlink_to("file")
    os.utime(link, ns=(1, 2), follow_symlinks=False)
    assert os.lstat(link).st_mtime_ns == 2
    assert os.stat(path).st_mtime_ns == NS_NEW
    os.utime(place.path, ns=(3, 4))
    assert os.stat(place.path).st_mtime_ns == 4


def test_utimens_now_uses_the_clock(place: Place) -> None:
    path = make_file(place)
    os.utime(path, ns=(1, 1))
    before = time.time_ns() - 1_000_000_000
    os.utime(path)
    assert before < os.stat(path).st_mtime_ns < time.time_ns() + 1_000_000_000


def test_write_moves_mtime_and_ctime(place: Place) -> None:
    path = make_file(place)
    os.utime(path, ns=(NS_OLD, NS_OLD))
    ctime_before = os.stat(path).st_ctime_ns
    with open(path, "r+b") as stream:
        stream.write(b"new")
    assert os.stat(path).st_mtime_ns > NS_OLD
    wait_until(lambda: time.time_ns() > ctime_before + 10_000_000, timeout_s=1, what="the next clock tick")
    os.chmod(path, 0o600)
    assert os.stat(path).st_ctime_ns > ctime_before


def test_directory_times_move_when_its_names_change(place: Place) -> None:
    for change in (
        lambda: (place.path / "new").write_bytes(b""),
        lambda: os.rename(place.path / "new", place.path / "renamed"),
        lambda: os.unlink(place.path / "renamed"),
    ):
        os.utime(place.path, ns=(NS_OLD, NS_OLD))
        change()
        assert os.stat(place.path).st_mtime_ns > NS_OLD


def test_inode_number_is_stable_and_distinct(place: Place) -> None:
    names = [make_file(place, f"f{i}") for i in range(50)]
    numbers = [os.stat(name).st_ino for name in names]
    assert len(set(numbers)) == 50
    assert numbers == [os.stat(name).st_ino for name in names]
    assert {e.name: e.inode() for e in os.scandir(place.path)} == {n.name: os.stat(n).st_ino for n in names}


@pytest.mark.gocryptfs_differs("does not implement access for root by mode")
@pytest.mark.parametrize("mode", [os.F_OK, os.R_OK, os.W_OK, os.X_OK])
def test_access_answers_for_root(place: Place, mode: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("what root may do")
    path = make_file(place)
    path.chmod(0o000)
    assert os.access(path, mode) == (mode != os.X_OK)
    path.chmod(0o100)
    assert os.access(path, os.X_OK)
    assert not os.access(place.path / "missing", os.F_OK)


def test_statfs_is_plausible_and_follows_the_backing(place: Place) -> None:
    backing, shown = os.statvfs(place.mount.volume.cipherdir), os.statvfs(place.path)
    assert shown.f_namemax == 255
    assert shown.f_bsize > 0
    assert shown.f_blocks * shown.f_frsize == backing.f_blocks * backing.f_frsize
    assert shown.f_files == backing.f_files
    assert abs(shown.f_bavail * shown.f_frsize - backing.f_bavail * backing.f_frsize) < 1 << 30


def test_disk_usage_is_reported_in_blocks(place: Place) -> None:
    path = make_file(place, data=os.urandom(100_000))
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    assert 100_000 <= os.stat(path).st_blocks * 512 <= 140_000
