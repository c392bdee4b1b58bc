"""Open flags, and files that lose their names while they are open."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.support.accounts import errno_of
from tests.support.places import Place


@pytest.fixture
def path(place: Place) -> Path:
    return place.path / "file"


def test_append_writes_at_the_end_whatever_the_offset(path: Path) -> None:
    path.write_bytes(b"start")
    one = os.open(path, os.O_WRONLY | os.O_APPEND)
    two = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        for number in range(50):
            os.lseek(one, 0, os.SEEK_SET)
            os.write(one if number % 2 else two, b"%04d" % number * 100)
    finally:
        os.close(one)
        os.close(two)
    assert path.read_bytes() == b"start" + b"".join(b"%04d" % n * 100 for n in range(50))


def test_append_after_truncate_starts_at_the_new_end(path: Path) -> None:
    path.write_bytes(b"x" * 9000)
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        os.ftruncate(fd, 4096)
        os.write(fd, b"tail")
    finally:
        os.close(fd)
    assert path.read_bytes() == b"x" * 4096 + b"tail"


def test_open_with_truncate_empties_the_file_for_everyone(path: Path) -> None:
    path.write_bytes(b"old content" * 1000)
    other = os.open(path, os.O_RDWR)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
        assert os.fstat(other).st_size == 0
        assert os.pread(other, 100, 0) == b""
        os.pwrite(other, b"new", 0)
        assert path.read_bytes() == b"new"
    finally:
        os.close(other)


def test_exclusive_create_succeeds_once(path: Path) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    os.close(os.open(path, flags))
    assert errno_of(lambda: os.open(path, flags)) == errno.EEXIST
    path.unlink()
    path.symlink_to("nowhere")
    assert errno_of(lambda: os.open(path, flags)) == errno.EEXIST


def test_write_only_descriptor_can_change_parts_of_blocks(path: Path) -> None:
    path.write_bytes(b"a" * 10_000)
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, b"B" * 100, 4050)  # needs to read both blocks underneath
        assert errno_of(lambda: os.read(fd, 1)) == errno.EBADF
    finally:
        os.close(fd)
    assert path.read_bytes() == b"a" * 4050 + b"B" * 100 + b"a" * 5850


def test_read_only_descriptor_cannot_write(path: Path) -> None:
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY)
    try:
        assert errno_of(lambda: os.write(fd, b"y")) == errno.EBADF
        assert errno_of(lambda: os.ftruncate(fd, 0)) == errno.EINVAL
    finally:
        os.close(fd)


def test_open_of_a_directory_for_writing_is_eisdir(place: Place) -> None:
    assert errno_of(lambda: os.open(place.path, os.O_RDWR)) == errno.EISDIR


def test_duplicated_and_inherited_descriptors_share_their_offset(path: Path) -> None:
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    copy = os.dup(fd)
    child = os.fork()
    if child == 0:
        os.write(copy, b"child ")
        os._exit(0)
    os.waitpid(child, 0)
    os.write(fd, b"parent")
    os.close(copy)
    os.close(fd)
    assert path.read_bytes() == b"child parent"


# --- no name left ------------------------------------------------------------------------------------------------
@pytest.mark.gocryptfs_differs("operations that reopen by path fail with ENOENT")
@pytest.mark.parametrize("how", ["unlinked", "replaced", "directory removed"])
def test_open_file_without_a_name_keeps_working(place: Place, how: str) -> None:
    directory = place.path / "dir"
    directory.mkdir()
    path = directory / "file"
    path.write_bytes(b"before" * 1000)
    fd = os.open(path, os.O_RDWR)
    try:
        if how == "replaced":
            (directory / "new").write_bytes(b"new")
            os.replace(directory / "new", path)
        else:
            path.unlink()
        if how == "directory removed":
            directory.rmdir()
        assert os.fstat(fd).st_nlink == 0
        assert os.fstat(fd).st_size == 6000
        assert os.pread(fd, 6, 0) == b"before"
        os.pwrite(fd, b"AFTER", 4094)
        os.fsync(fd)
        os.fdatasync(fd)
        assert os.pread(fd, 9, 4092) == b"be" + b"AFTER" + b"ef"
        os.ftruncate(fd, 100)
        assert os.fstat(fd).st_size == 100
        os.ftruncate(fd, 20_000)
        assert os.pread(fd, 10, 19_990) == bytes(10)
        os.fchmod(fd, 0o751)
        os.utime(fd, ns=(5, 6))
        assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o751
        assert os.fstat(fd).st_mtime_ns == 6
        if os.geteuid() == 0:
            os.fchown(fd, 12, 34)
            assert (os.fstat(fd).st_uid, os.fstat(fd).st_gid) == (12, 34)
    finally:
        os.close(fd)
    if how == "replaced":
        assert path.read_bytes() == b"new"


@pytest.mark.gocryptfs_differs("operations that reopen by path fail with ENOENT")
def test_open_file_without_a_name_keeps_its_xattrs(path: Path) -> None:
    path.write_bytes(b"x")
    os.setxattr(path, "user.kept", b"value")
    fd = os.open(path, os.O_RDWR)
    try:
        path.unlink()
        assert os.getxattr(fd, "user.kept") == b"value"
        os.setxattr(fd, "user.more", b"2")
        assert sorted(os.listxattr(fd)) == ["user.kept", "user.more"]
    finally:
        os.close(fd)


def test_unlinked_file_and_its_successor_are_two_files(path: Path) -> None:
    path.write_bytes(b"old")
    old = os.open(path, os.O_RDWR)
    try:
        path.unlink()
        path.write_bytes(b"successor")
        os.pwrite(old, b"OLD", 0)
        os.ftruncate(old, 1)
        assert path.read_bytes() == b"successor"
        assert os.pread(old, 10, 0) == b"O"
        assert os.fstat(old).st_ino != os.stat(path).st_ino
    finally:
        os.close(old)


def test_link_count_follows_while_open(place: Path | Place, path: Path) -> None:
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        os.link(path, f"{path}2")
        assert os.fstat(fd).st_nlink == 2
        path.unlink()
        assert os.fstat(fd).st_nlink == 1
        os.write(fd, b"still there")
    finally:
        os.close(fd)
    assert Path(f"{path}2").read_bytes() == b"still there"


def test_anonymous_file_works_or_is_refused(place: Place) -> None:
    try:
        fd = os.open(place.path, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as exc:
        assert exc.errno in (errno.EOPNOTSUPP, errno.EISDIR)
        return
    os.write(fd, b"anonymous")
    assert os.pread(fd, 20, 0) == b"anonymous"
    os.close(fd)


def test_many_descriptors_on_one_file_and_on_many_files(place: Place) -> None:
    (place.path / "one").write_bytes(b"shared")
    same = [os.open(place.path / "one", os.O_RDONLY) for _ in range(100)]
    many = [os.open(place.path / f"m{n}", os.O_CREAT | os.O_RDWR) for n in range(300)]
    try:
        for n, fd in enumerate(many):
            os.write(fd, b"%d" % n)
        assert all(os.pread(fd, 9, 0) == b"%d" % n for n, fd in enumerate(many))
        assert all(os.pread(fd, 9, 0) == b"shared" for fd in same)
    finally:
        for fd in same + many:
            os.close(fd)


def test_descriptor_opened_by_handle_path_reopens_the_file(path: Path) -> None:
    path.write_bytes(b"data")
    fd = os.open(path, os.O_RDONLY)
    try:
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        os.pwrite(again, b"D", 0)
        os.close(again)
        assert os.pread(fd, 9, 0) == b"Data"
    finally:
        os.close(fd)
