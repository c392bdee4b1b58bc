"""Making things: types, modes, owners, targets, and what may not be made."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from pcvfs.fs.volume_fs import Caller
from tests.fs.bench import Bench
from tests.fs.kernel import ROOT, SUPERUSER, Kernel

LONG = b"L" * 250
SOMEONE = Caller(1234, 2345)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives objects away")


def errno_of(call: object) -> int:
    assert callable(call)
    try:
        call()
    except OSError as exc:
        return exc.errno or -1
    return 0


# --- types and modes --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [b"short", LONG], ids=["short", "long"])
@pytest.mark.parametrize("mode", [0o755, 0o000, 0o777, 0o300, 0o070, 0o1700, 0o1077])
def test_mkdir_mode_is_exact(bench: Bench, name: bytes, mode: int) -> None:
    attr = bench.kernel.mkdir(name, mode)
    assert attr.st.st_mode == stat.S_IFDIR | mode
    assert bench.cipher_path(name).stat().st_mode == stat.S_IFDIR | mode
    assert bench.remount().lookup(name).st.st_mode == stat.S_IFDIR | mode
    bench.kernel.setattr(name, mode=0o700)  # for the checks that follow


@pytest.mark.parametrize("mode", [0o644, 0o000, 0o777, 0o4755, 0o2755])
def test_create_mode_is_exact(bench: Bench, mode: int) -> None:
    handle = bench.kernel.create(LONG, mode)
    assert bench.kernel.stat(LONG).st.st_mode == stat.S_IFREG | mode
    assert bench.cipher_path(LONG).stat().st_mode == stat.S_IFREG | mode
    bench.kernel.write(handle, 0, b"content")
    assert bench.kernel.read(handle) == b"content"
    bench.kernel.setattr(LONG, mode=0o600)  # for the checks that follow


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK])
@pytest.mark.parametrize("name", [b"short", LONG], ids=["short", "long"])
def test_mknod_of_every_type(bench: Bench, kind: int, name: bytes) -> None:
    if kind in (stat.S_IFCHR, stat.S_IFBLK) and os.geteuid() != 0:
        pytest.skip("only root makes devices")
    rdev = os.makedev(1, 3) if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
    attr = bench.kernel.mknod(name, kind | 0o640, rdev)
    assert (attr.st.st_mode, attr.st.st_rdev, attr.size) == (kind | 0o640, rdev, 0)
    found = bench.remount().lookup(name)
    assert (found.st.st_mode, found.st.st_rdev) == (kind | 0o640, rdev)
    bench.kernel.unlink(name)
    assert not bench.kernel.list()


def test_mkdir_in_a_setgid_directory_inherits_group_and_bit(bench: Bench) -> None:
    bench.kernel.mkdir(b"parent")
    if os.geteuid() == 0:
        bench.kernel.setattr(b"parent", gid=4321)
    bench.kernel.setattr(b"parent", mode=0o2775)
    gid = bench.kernel.stat(b"parent").gid
    for mode in (0o755, 0o500):
        attr = bench.kernel.mkdir(b"parent/child", mode, SOMEONE if os.geteuid() == 0 else SUPERUSER)
        assert attr.st.st_mode == stat.S_IFDIR | stat.S_ISGID | mode
        assert attr.gid == gid
        bench.kernel.rmdir(b"parent/child")


# --- owners -----------------------------------------------------------------------------------------------------
@as_root
@pytest.mark.parametrize("name", [b"short", LONG], ids=["short", "long"])
def test_new_objects_belong_to_whoever_made_them(bench: Bench, name: bytes) -> None:
    kernel = bench.kernel
    made = {
        "mkdir": lambda: kernel.mkdir(name, 0o1751, SOMEONE),
        "fifo": lambda: kernel.mknod(name, stat.S_IFIFO | 0o640, 0, SOMEONE),
        "symlink": lambda: kernel.symlink(name, b"target", SOMEONE),
        "setuid": lambda: kernel.mknod(name, stat.S_IFREG | 0o6755, 0, SOMEONE),
    }
    for make in made.values():
        attr = make()
        assert (attr.uid, attr.gid) == (attr.st.st_uid, attr.st.st_gid) == SOMEONE
        assert kernel.stat(name).st.st_mode == attr.st.st_mode
        if stat.S_ISREG(attr.st.st_mode):
            assert attr.st.st_mode == stat.S_IFREG | 0o6755
        (kernel.rmdir if stat.S_ISDIR(attr.st.st_mode) else kernel.unlink)(name)
    kernel.put(name, b"x", 0o4711, SOMEONE)
    attr = kernel.stat(name)
    assert (attr.uid, attr.gid, attr.st.st_mode) == (*SOMEONE, stat.S_IFREG | 0o4711)


@as_root
def test_link_does_not_change_the_owner(kernel: Kernel) -> None:
    kernel.put(b"file", b"x", caller=SOMEONE)
    attr = kernel.link(b"file", LONG)
    assert (attr.uid, attr.gid, attr.st.st_nlink) == (*SOMEONE, 2)


@as_root
@pytest.mark.flavours
def test_force_owner_shows_in_every_reply_and_changes_nothing_below(bench: Bench) -> None:
    kernel = bench.remount(force_owner=(11, 22))
    attrs = [
        kernel.mkdir(b"d", 0o755, SOMEONE),
        kernel.mknod(b"fifo", stat.S_IFIFO | 0o600, 0, SOMEONE),
        kernel.symlink(b"link", b"target", SOMEONE),
        kernel.link(b"fifo", b"fifo2"),
        kernel.lookup(b"d"),
        kernel.stat(b"d"),
        kernel.setattr(b"d", mode=0o700),
        *kernel.list().values(),
        kernel.stat(b""),
    ]
    assert {(attr.uid, attr.gid) for attr in attrs} == {(11, 22)}
    assert {(attr.st.st_uid, attr.st.st_gid) for attr in attrs} == {(os.geteuid(), os.getegid())}


# --- symlinks ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("target", [b"t", b"../x", b"/abs/olute", b"\xff\n", b"a" * 1000], ids=len)
def test_symlink_target_and_size_are_those_in_plaintext(bench: Bench, target: bytes) -> None:
    assert bench.kernel.symlink(b"link", target).size == len(target)
    assert bench.kernel.readlink(b"link") == target
    kernel = bench.remount()
    assert kernel.list()[b"link"].size == kernel.stat(b"link").size == len(target)
    assert kernel.readlink(b"link") == target
    stored = os.readlink(os.fsencode(bench.cipher_path(b"link")))
    assert (stored == target) == bench.flavour.has_plain_names


def test_symlink_longest_target_fits_and_one_more_byte_does_not(bench: Bench) -> None:
    longest = bench.flavour.symlink_max
    bench.kernel.symlink(LONG, b"t" * longest)
    assert bench.remount().readlink(LONG) == b"t" * longest
    assert errno_of(lambda: bench.kernel.symlink(b"L" * 240, b"t" * (longest + 1))) == errno.ENAMETOOLONG
    assert set(bench.kernel.list()) == {LONG}


def test_same_target_twice_is_stored_differently(bench: Bench) -> None:
    for name in (b"one", b"two"):
        bench.kernel.symlink(name, b"same target")
    stored = {os.readlink(bench.cipher_path(name)) for name in (b"one", b"two")}
    assert len(stored) == (1 if bench.flavour.has_plain_names else 2)


def test_readlink_of_anything_else_is_einval(kernel: Kernel) -> None:
    kernel.put(b"file", b"x")
    kernel.mkdir(b"d")
    for path in (b"file", b"d"):
        assert errno_of(lambda path=path: kernel.readlink(path)) == errno.EINVAL


# --- hard links -------------------------------------------------------------------------------------------------
def test_links_of_every_kind_are_the_same_object(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.mkdir(b"d")
    inodes = {
        b"file": kernel.put(b"file", b"content"),
        b"link": kernel.symlink(b"link", b"target").inode,
        b"fifo": kernel.mknod(b"fifo", stat.S_IFIFO | 0o600).inode,
    }
    for name, inode in inodes.items():
        for new in (b"d/" + name, b"d/" + LONG[: -len(name)] + name):
            attr = kernel.link(name, new)
            assert attr.inode == inode
        assert attr.st.st_nlink == 3
    kernel = bench.remount()
    for name, inode in inodes.items():
        assert kernel.lookup(b"d/" + LONG[: -len(name)] + name).inode == kernel.lookup(name).inode == inode
    assert kernel.get(b"d/file") == b"content"
    assert kernel.readlink(b"d/link") == b"target"


def test_link_of_a_directory_is_eperm(kernel: Kernel) -> None:
    kernel.mkdir(b"d")
    assert errno_of(lambda: kernel.link(b"d", LONG)) == errno.EPERM
    assert set(kernel.list()) == {b"d"}


# --- refusals ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [b"taken", LONG], ids=["short", "long"])
@pytest.mark.parametrize("what", ["file", "directory", "symlink"])
def test_names_that_are_taken_are_eexist(kernel: Kernel, name: bytes, what: str) -> None:
    fs = kernel.fs
    other = kernel.put(b"other", b"x")
    if what == "file":
        kernel.put(name, b"content")
    elif what == "directory":
        kernel.mkdir(name)
    else:
        kernel.symlink(name, b"target")
    before = kernel.lookup(name)
    for call in (
        lambda: fs.mkdir(ROOT, name, 0o755, SUPERUSER),
        lambda: fs.mknod(ROOT, name, stat.S_IFIFO | 0o600, 0, SUPERUSER),
        lambda: fs.mknod(ROOT, name, stat.S_IFREG | 0o600, 0, SUPERUSER),
        lambda: fs.symlink(ROOT, name, b"t", SUPERUSER),
        lambda: fs.create(ROOT, name, 0o600, os.O_RDWR | os.O_EXCL, SUPERUSER),
        lambda: fs.link(other, ROOT, name),
    ):
        assert errno_of(call) == errno.EEXIST
    after = kernel.lookup(name)
    assert (after.inode, after.st.st_mode, after.size) == (before.inode, before.st.st_mode, before.size)
    assert set(kernel.list()) == {name, b"other"}


def test_making_anything_in_a_file_is_enotdir(kernel: Kernel) -> None:
    fs, inode = kernel.fs, kernel.put(b"file", b"x")
    for call in (
        lambda: fs.mkdir(inode, b"x", 0o755, SUPERUSER),
        lambda: fs.create(inode, b"x", 0o600, os.O_RDWR, SUPERUSER),
        lambda: fs.symlink(inode, b"x", b"t", SUPERUSER),
        lambda: fs.link(inode, inode, b"x"),
        lambda: fs.unlink(inode, b"x"),
        lambda: fs.rmdir(inode, b"x"),
        lambda: fs.rename(ROOT, b"file", inode, b"x", 0),
        lambda: fs.rename(inode, b"x", ROOT, b"file", 0),
        lambda: fs.opendir(inode),
    ):
        assert errno_of(call) == errno.ENOTDIR


def test_making_anything_in_a_removed_directory_is_enoent(kernel: Kernel) -> None:
    kernel.mkdir(b"d")
    kernel.put(b"file", b"x")
    file, inode = kernel.inode(b"file"), kernel.rmdir(b"d")
    fs = kernel.fs
    for name in (b"x", LONG):
        for call in (
            lambda name=name: fs.lookup(inode, name),
            lambda name=name: fs.mkdir(inode, name, 0o755, SUPERUSER),
            lambda name=name: fs.create(inode, name, 0o600, os.O_RDWR, SUPERUSER),
            lambda name=name: fs.symlink(inode, name, b"t", SUPERUSER),
            lambda name=name: fs.link(file, inode, name),
            lambda name=name: fs.unlink(inode, name),
            lambda name=name: fs.rmdir(inode, name),
            lambda name=name: fs.rename(ROOT, b"file", inode, name, 0),
            lambda name=name: fs.rename(inode, name, ROOT, b"file", 0),
        ):
            assert errno_of(call) == errno.ENOENT
    assert kernel.stat(b"file").size == 1


@pytest.mark.parametrize("name", [b"missing", LONG], ids=["short", "long"])
def test_removing_what_is_not_there_is_enoent(kernel: Kernel, name: bytes) -> None:
    for call in (
        lambda: kernel.fs.unlink(ROOT, name),
        lambda: kernel.fs.rmdir(ROOT, name),
        lambda: kernel.fs.rename(ROOT, name, ROOT, b"new", 0),
    ):
        assert errno_of(call) == errno.ENOENT
    assert not kernel.list()
