"""Making and removing names: mknod, mkdir, symlink, link, unlink, rmdir."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from tests.support.accounts import errno_of
from tests.support.places import Place
from tests.support.requirements import require_root


def test_fifo_passes_data_between_two_opens(place: Place) -> None:
    path = place.path / "fifo"
    os.mkfifo(path, 0o640)
    assert stat.S_ISFIFO(os.lstat(path).st_mode)
    assert stat.S_IMODE(os.lstat(path).st_mode) == 0o640
    writer = threading.Thread(target=lambda: path.write_bytes(b"through the pipe"))
    writer.start()
    assert path.read_bytes() == b"through the pipe"
    writer.join()


def test_socket_accepts_connections(place: Place) -> None:
    path = place.path / "sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        assert stat.S_ISSOCK(os.lstat(path).st_mode)
        server.listen()
        client.connect(str(path))
        peer, _ = server.accept()
        with peer:
            client.sendall(b"hello")
            assert peer.recv(16) == b"hello"


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
def test_device_node_keeps_its_numbers(place: Place, kind: int) -> None:
    require_root("only root makes devices")
    path = place.path / "device"
    os.mknod(path, kind | 0o600, os.makedev(1, 3))
    info = os.lstat(path)
    assert stat.S_IFMT(info.st_mode) == kind
    assert (os.major(info.st_rdev), os.minor(info.st_rdev)) == (1, 3)


def test_mknod_makes_a_regular_file(place: Place) -> None:
    path = place.path / "regular"
    os.mknod(path, stat.S_IFREG | 0o600)
    path.write_bytes(b"data")
    assert path.read_bytes() == b"data"


@pytest.mark.fuse_only
def test_device_node_cannot_be_opened_without_dev(place: Place) -> None:
    require_root("only root makes devices")
    os.mknod(place.path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert errno_of(lambda: os.open(place.path / "null", os.O_RDONLY)) == errno.EACCES


def test_creating_over_an_existing_name_is_eexist(place: Place) -> None:
    path = place.path / "taken"
    path.write_bytes(b"keep")
    assert errno_of(lambda: os.mkdir(path)) == errno.EEXIST
    assert errno_of(lambda: os.mkfifo(path)) == errno.EEXIST
    assert errno_of(lambda: os.symlink("x", path)) == errno.EEXIST
    assert errno_of(lambda: os.open(path, os.O_CREAT | os.O_EXCL)) == errno.EEXIST
    assert path.read_bytes() == b"keep"


# --- directories -------------------------------------------------------------------------------------------------
def test_mkdir_counts_links_of_the_parent(place: Place) -> None:
    before = os.stat(place.path).st_nlink
    (place.path / "a").mkdir()
    (place.path / "b").mkdir()
    assert os.stat(place.path).st_nlink == before + 2
    assert os.stat(place.path / "a").st_nlink == 2
    (place.path / "a").rmdir()
    assert os.stat(place.path).st_nlink == before + 1


@pytest.mark.gocryptfs_differs("shows the temporary mode for a second")
@pytest.mark.parametrize("mode", [0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o555, 0o600, 0o700, 0o1777])
def test_mkdir_with_any_mode_can_be_removed_again(place: Place, mode: int) -> None:
    path = place.path / "dir"
    old = os.umask(0)
    try:
        os.mkdir(path, mode)
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(path).st_mode) == mode
    os.rmdir(path)
    assert os.listdir(place.path) == []


def test_rmdir_of_a_directory_in_use_says_why(place: Place) -> None:
    path = place.path / "dir"
    path.mkdir()
    (path / "inside").write_bytes(b"")
    assert errno_of(lambda: os.rmdir(path)) == errno.ENOTEMPTY
    assert (path / "inside").exists()
    assert errno_of(lambda: os.rmdir(path / "inside")) == errno.ENOTDIR
    assert errno_of(lambda: os.unlink(path)) in (errno.EISDIR, errno.EPERM)
    (path / "inside").unlink()
    os.rmdir(path)
    assert errno_of(lambda: os.rmdir(path)) == errno.ENOENT


def test_removed_directory_can_be_made_again(place: Place) -> None:
    for round_no in range(5):
        directory = place.path / "dir"
        directory.mkdir()
        assert os.listdir(directory) == []
        (directory / f"file{round_no}").write_bytes(b"x")
        (directory / f"file{round_no}").unlink()
        directory.rmdir()


def test_deep_tree_is_made_read_and_removed(place: Place) -> None:
    deep = place.path
    for level in range(60):
        deep = deep / f"level-{level}"
        deep.mkdir()
    (deep / "bottom").write_text("reached")
    assert (deep / "bottom").read_text() == "reached"
    os.unlink(deep / "bottom")
    while deep != place.path:
        deep.rmdir()
        deep = deep.parent
    assert os.listdir(place.path) == []


@pytest.mark.gocryptfs_differs("fstat of a removed directory is ENOENT")
def test_removed_working_directory_gives_enoent(place: Place) -> None:
    directory = place.path / "cwd"
    directory.mkdir()
    back = os.getcwd()
    os.chdir(directory)
    try:
        directory.rmdir()
        assert errno_of(lambda: os.open("new", os.O_CREAT | os.O_WRONLY)) == errno.ENOENT
        assert errno_of(lambda: os.mkdir("sub")) == errno.ENOENT
        assert errno_of(lambda: os.listdir(".")) in (0, errno.ENOENT)
        assert errno_of(os.getcwd) == errno.ENOENT
        assert os.stat(".").st_nlink == 0
    finally:
        os.chdir(back)


@pytest.mark.gocryptfs_differs("fstat of a removed directory is ENOENT")
def test_removed_directory_keeps_an_open_descriptor_alive(place: Place) -> None:
    directory = place.path / "dir"
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        directory.rmdir()
        directory.mkdir()
        (directory / "other").write_bytes(b"")
        assert os.listdir(fd) == []
        assert stat.S_ISDIR(os.fstat(fd).st_mode)
        assert errno_of(lambda: os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)) == errno.ENOENT
    finally:
        os.close(fd)


# --- symlinks ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "target", ["x", "relative/target", "/absolute/target", "../..", "ünï-名前", "with space\nline"]
)
def test_symlink_target_comes_back(place: Place, target: str) -> None:
    link = place.path / "link"
    link.symlink_to(target)
    assert os.readlink(link) == target
    assert os.lstat(link).st_size == len(os.fsencode(target))
    assert stat.S_ISLNK(os.lstat(link).st_mode)


def test_symlink_is_followed_inside_the_mount(place: Place) -> None:
    (place.path / "dir").mkdir()
    (place.path / "dir" / "file").write_bytes(b"target")
    (place.path / "link").symlink_to("dir")
    assert (place.path / "link" / "file").read_bytes() == b"target"
    (place.path / "loop").symlink_to("loop")
    assert errno_of(lambda: os.open(place.path / "loop", os.O_RDONLY)) == errno.ELOOP
    assert errno_of(lambda: os.open(place.path / "link", os.O_RDONLY | os.O_NOFOLLOW)) == errno.ELOOP
    assert errno_of(lambda: os.stat(place.path / "dangling")) == errno.ENOENT


def test_symlink_of_the_longest_target_is_kept_and_longer_is_refused(place: Place) -> None:
    longest = place.flavour.symlink_max if place.driver.is_fuse else 4095
    (place.path / "longest").symlink_to("t" * longest)
    assert os.readlink(place.path / "longest") == "t" * longest
    assert errno_of(lambda: os.symlink("t" * (longest + 1), place.path / "longer")) == errno.ENAMETOOLONG
    assert os.listdir(place.path) == ["longest"]


def test_readlink_of_a_file_is_einval(place: Place) -> None:
    (place.path / "file").write_bytes(b"")
    assert errno_of(lambda: os.readlink(place.path / "file")) == errno.EINVAL


# --- hard links --------------------------------------------------------------------------------------------------
def test_hard_links_are_one_file(place: Place) -> None:
    first, second = place.path / "first", place.path / "second"
    first.write_bytes(b"a" * 5000)
    os.link(first, second)
    assert os.stat(first).st_ino == os.stat(second).st_ino
    assert os.stat(first).st_nlink == os.stat(second).st_nlink == 2
    second.write_bytes(b"rewritten through the other name" * 300)
    assert first.read_bytes() == b"rewritten through the other name" * 300
    os.chmod(first, 0o600)
    assert stat.S_IMODE(os.stat(second).st_mode) == 0o600
    first.unlink()
    assert os.stat(second).st_nlink == 1
    assert second.read_bytes() == b"rewritten through the other name" * 300


def test_hard_links_opened_at_once_share_writes(place: Place) -> None:
    first, second = place.path / "first", place.path / "second"
    first.write_bytes(b"")
    os.link(first, second)
    one, two = os.open(first, os.O_RDWR), os.open(second, os.O_RDWR)
    try:
        os.pwrite(one, b"A" * 6000, 0)  # both descriptors must agree on the file's header
        os.pwrite(two, b"B" * 6000, 6000)
        assert os.pread(one, 20_000, 0) == b"A" * 6000 + b"B" * 6000
        os.ftruncate(two, 0)
        os.pwrite(one, b"C" * 10, 0)
        assert os.pread(two, 100, 0) == b"C" * 10
    finally:
        os.close(one)
        os.close(two)


def test_link_into_another_directory_and_of_special_files(place: Place) -> None:
    (place.path / "dir").mkdir()
    os.mkfifo(place.path / "fifo")
    os.link(place.path / "fifo", place.path / "dir" / "fifo2")
    (place.path / "sym").symlink_to("target")
    os.link(place.path / "sym", place.path / "dir" / "sym2", follow_symlinks=False)
    assert stat.S_ISFIFO(os.lstat(place.path / "dir" / "fifo2").st_mode)
    assert os.readlink(place.path / "dir" / "sym2") == "target"


def test_link_errors(place: Place) -> None:
    (place.path / "file").write_bytes(b"")
    (place.path / "dir").mkdir()
    assert errno_of(lambda: os.link(place.path / "dir", place.path / "dir2")) == errno.EPERM
    assert errno_of(lambda: os.link(place.path / "file", place.path / "dir")) == errno.EEXIST
    assert errno_of(lambda: os.link(place.path / "none", place.path / "new")) == errno.ENOENT


def test_unlink_removes_and_frees_the_name(place: Place) -> None:
    path = place.path / "file"
    for content in (b"one", b"two" * 3000):
        path.write_bytes(content)
        assert path.read_bytes() == content
        path.unlink()
        assert errno_of(lambda: os.unlink(path)) == errno.ENOENT


def test_hard_linked_symlinked_and_plain_files_survive_a_rewrite_by_rename(place: Place) -> None:
    kept, replaced = place.path / "kept", place.path / "replaced"
    replaced.write_bytes(b"old")
    os.link(replaced, kept)
    Path(f"{replaced}.tmp").write_bytes(b"new")
    os.replace(f"{replaced}.tmp", replaced)
    assert (kept.read_bytes(), replaced.read_bytes()) == (b"old", b"new")
    assert os.stat(kept).st_nlink == 1
