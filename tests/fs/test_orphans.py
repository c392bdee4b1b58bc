"""Objects without a name that the kernel still knows: everything but giving them a name works on."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from pcvfs.fs.volume_fs import SetAttr
from pcvfs.types import Inode
from tests.fs.bench import Bench
from tests.fs.kernel import ROOT, SUPERUSER, Kernel

LONG = b"L" * 250
SECOND_NS = 10**9


@pytest.fixture(params=["unlink", "replace"])
def orphans(request: pytest.FixtureRequest, kernel: Kernel) -> dict[str, Inode]:
    """One of each type, known to the kernel, without a name: removed, or replaced by a rename."""
    kernel.mkdir(b"parent")
    kernel.put(b"parent/file", b"content")
    kernel.put(b"parent/" + LONG, b"content")
    kernel.symlink(b"parent/symlink", b"target")
    kernel.mknod(b"parent/fifo", stat.S_IFIFO | 0o644)
    kernel.mkdir(b"parent/directory")
    found = {}
    names = {"file": b"file", "long": LONG, "symlink": b"symlink", "fifo": b"fifo", "directory": b"directory"}
    for what, name in names.items():
        path = b"parent/" + name
        inode = kernel.inode(path)
        if request.param == "replace":
            replacement = b"parent/new " + what.encode()
            kernel.mkdir(replacement) if what == "directory" else kernel.put(replacement, b"replacement")
            kernel.rename(replacement, path)
        elif what == "directory":
            kernel.rmdir(path)
        else:
            kernel.unlink(path)
        found[what] = inode
    return found


def test_orphan_attributes_are_shown(kernel: Kernel, orphans: dict[str, Inode]) -> None:
    sizes = {"file": 7, "long": 7, "symlink": 6, "fifo": 0}
    for what, inode in orphans.items():
        attr = kernel.fs.getattr(inode)
        assert attr.inode == inode
        assert attr.st.st_nlink == 0 or what == "directory"
        assert attr.size == sizes.get(what, attr.st.st_size)


def test_orphan_attributes_can_be_changed(kernel: Kernel, orphans: dict[str, Inode]) -> None:
    for what, inode in orphans.items():
        attr = kernel.fs.setattr(inode, SetAttr(atime_ns=SECOND_NS, mtime_ns=2 * SECOND_NS))
        assert attr.st.st_mtime_ns == 2 * SECOND_NS
        assert kernel.fs.setattr(inode, SetAttr(mtime_ns=3 * SECOND_NS)).st.st_mtime_ns == 3 * SECOND_NS
        if os.geteuid() == 0:
            attr = kernel.fs.setattr(inode, SetAttr(uid=5, gid=6))
            assert (attr.uid, attr.gid) == (5, 6)
        if what != "symlink":
            assert stat.S_IMODE(kernel.fs.setattr(inode, SetAttr(mode=0o600)).st.st_mode) == 0o600
    replacements = kernel.list(b"parent")
    assert all(attr.st.st_uid == os.geteuid() for attr in replacements.values()), "a replacement was changed"


def test_orphan_symlink_can_be_read(kernel: Kernel, orphans: dict[str, Inode]) -> None:
    assert kernel.fs.readlink(orphans["symlink"]) == b"target"


def test_orphan_xattrs_work(kernel: Kernel, orphans: dict[str, Inode]) -> None:
    for what in ("file", "long", "directory"):
        inode = orphans[what]
        kernel.fs.setxattr(inode, b"user.a", b"1")
        assert kernel.fs.getxattr(inode, b"user.a") == b"1"
        assert kernel.fs.listxattr(inode) == [b"user.a"]
        kernel.fs.removexattr(inode, b"user.a")
        assert kernel.fs.listxattr(inode) == []


@pytest.mark.both_engines
@pytest.mark.flavours("default", "plaintextnames")
def test_orphan_content_can_be_opened_read_written_and_truncated(kernel: Kernel, orphans: dict[str, Inode]) -> None:
    for what in ("file", "long"):
        inode = orphans[what]
        handle = kernel.open_inode(inode, os.O_RDONLY)
        assert kernel.read(handle) == b"content"
        writer = kernel.open_inode(inode, os.O_RDWR)
        kernel.write(writer, 7, b"!")
        assert kernel.read(handle) == b"content!"
        assert kernel.fs.setattr(inode, SetAttr(size=10_000)).size == 10_000
        assert kernel.read(handle) == b"content!".ljust(10_000, b"\0")
        kernel.release(handle)
        kernel.release(writer)
        assert kernel.fs.setattr(inode, SetAttr(size=3)).size == 3


def test_orphan_can_have_no_new_name(bench: Bench, orphans: dict[str, Inode]) -> None:
    before = set(bench.kernel.list())
    for what, inode in orphans.items():
        for name in (b"again", LONG):
            with pytest.raises(OSError) as caught:
                bench.fs.link(inode, ROOT, name)
            assert caught.value.errno in ((errno.ENOENT, errno.EPERM) if what == "directory" else (errno.ENOENT,))
    assert set(bench.kernel.list()) == before


def test_orphan_directory_is_empty_and_stays_so(kernel: Kernel, orphans: dict[str, Inode]) -> None:
    inode = orphans["directory"]
    handle = kernel.opendir_inode(inode)
    assert kernel.readdir(handle) == {}
    for name in (b"new", LONG):
        with pytest.raises(FileNotFoundError):
            kernel.fs.create(inode, name, 0o600, os.O_RDWR, SUPERUSER)
        with pytest.raises(FileNotFoundError):
            kernel.fs.lookup(inode, name)


def test_orphans_go_when_the_kernel_forgets_them(bench: Bench, orphans: dict[str, Inode]) -> None:
    known = bench.fs.statistics().inodes
    for count, inode in enumerate(orphans.values(), 1):
        assert bench.kernel.forget(inode)
        assert bench.fs.statistics().inodes == known - count
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            bench.fs.getattr(inode)


@pytest.mark.flavours("default", "plaintextnames")
def test_object_that_lost_one_of_two_names_is_no_orphan(bench: Bench) -> None:
    kernel = bench.kernel
    inode = kernel.put(b"file", b"content")
    kernel.link(b"file", LONG)
    kernel.unlink(b"file")
    assert kernel.stat(LONG).st.st_nlink == 1
    assert kernel.link(LONG, b"third").inode == inode
    kernel.unlink(LONG)
    kernel.unlink(b"third")
    assert bench.fs.getattr(inode).st.st_nlink == 0


@pytest.mark.flavours("default", "plaintextnames")
def test_object_whose_other_name_is_not_known_can_be_linked_again(bench: Bench) -> None:
    """All that the kernel knew of a file is gone, but there is a name that it never asked for."""
    bench.kernel.put(b"known", b"content")
    bench.kernel.link(b"known", b"unknown")
    kernel = bench.remount()
    inode = kernel.inode(b"known")
    kernel.unlink(b"known")
    assert bench.fs.getattr(inode).st.st_nlink == 1
    attr = bench.fs.link(inode, ROOT, LONG)
    kernel.nlookup[inode] += 1
    assert (attr.inode, attr.st.st_nlink) == (inode, 2)
    assert kernel.lookup(b"unknown").inode == inode
    assert kernel.get(LONG) == b"content"
    kernel.unlink(b"unknown")
    assert kernel.stat(LONG).st.st_nlink == 1
    kernel.unlink(LONG)
    assert bench.fs.getattr(inode).st.st_nlink == 0
