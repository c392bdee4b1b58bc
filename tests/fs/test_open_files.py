"""Handles: what they share, what outlives a name, and errors that only come when a file is synced or closed."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from tests.fs.bench import Bench
from tests.fs.faults import install
from tests.fs.kernel import ROOT, SUPERUSER, Kernel

LONG = b"L" * 250

pytestmark = pytest.mark.flavours()


def raises(error: int) -> object:
    return pytest.raises(OSError, match=os.strerror(error))


# --- opening ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [b"file", LONG], ids=["short", "long"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND])
def test_open_reads_and_writes_whatever_the_flags(kernel: Kernel, name: bytes, flags: int) -> None:
    """The kernel enforces the access mode; a write-only handle must still read to complete blocks."""
    kernel.put(name, b"0123456789")
    handle = kernel.open(name, flags)
    if flags != os.O_RDONLY:
        kernel.write(handle, 5, b"x")
        assert kernel.read(handle) == b"01234x6789"
    else:
        assert kernel.read(handle) == b"0123456789"


def test_open_for_writing_upgrades_the_one_open_file(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.put(b"file", b"content")
    reader = kernel.open(b"file", os.O_RDONLY)
    fd = bench.fs.file_of(reader).fd
    writer = kernel.open(b"file", os.O_RDWR)
    assert bench.fs.file_of(writer).fd == fd, "a sync in another thread would lose its descriptor"
    kernel.write(writer, 0, b"C")
    assert kernel.read(reader) == b"Content"
    kernel.release(writer)
    assert kernel.read(reader) == b"Content"


def test_open_trunc_empties_for_all(kernel: Kernel) -> None:
    kernel.put(b"file", b"content")
    reader = kernel.open(b"file", os.O_RDONLY)
    kernel.open(b"file", os.O_RDONLY | os.O_TRUNC)
    assert kernel.read(reader) == b""
    assert kernel.stat(b"file").size == 0


def test_open_of_what_is_no_file_is_refused(kernel: Kernel) -> None:
    kernel.mkdir(b"d")
    kernel.mknod(b"fifo", stat.S_IFIFO | 0o600)
    kernel.symlink(b"symlink", b"target")
    for path, error in ((b"d", errno.EISDIR), (b"fifo", errno.EINVAL), (b"symlink", errno.EINVAL)):
        for flags in (os.O_RDONLY, os.O_RDWR):
            with raises(error):
                kernel.open(path, flags)


def test_create_without_excl_opens_what_is_there(kernel: Kernel) -> None:
    inode = kernel.put(LONG, b"content", 0o640)
    handle = kernel.create(LONG, 0o777, os.O_RDWR)
    assert kernel.open_files[handle] == inode
    assert kernel.read(handle) == b"content"
    assert stat.S_IMODE(kernel.stat(LONG).st.st_mode) == 0o640
    emptied = kernel.create(LONG, 0o777, os.O_RDWR | os.O_TRUNC)
    assert kernel.read(emptied) == b""


def test_create_without_excl_of_what_is_no_file_holds_nothing(bench: Bench) -> None:
    bench.kernel.mkdir(b"d")
    before = bench.fs.statistics()
    with raises(errno.EISDIR):
        bench.fs.create(ROOT, b"d", 0o600, os.O_RDWR, SUPERUSER)
    assert bench.fs.statistics() == before


def test_created_file_without_permissions_is_usable_by_its_handle(kernel: Kernel) -> None:
    handle = kernel.create(b"file", 0o000)
    kernel.write(handle, 0, b"content")
    assert kernel.read(handle) == b"content"
    kernel.setattr(b"file", mode=0o600)  # for the checks that follow


def test_handles_are_never_reused(kernel: Kernel) -> None:
    seen = set()
    kernel.put(b"file", b"x")
    for _ in range(10):
        handle = kernel.open(b"file")
        assert handle not in seen
        seen.add(handle)
        kernel.release(handle)
        directory = kernel.opendir(b"")
        assert directory not in seen
        seen.add(directory)
        kernel.releasedir(directory)


# --- names that go while files are open -------------------------------------------------------------------------
@pytest.mark.parametrize("name", [b"file", LONG], ids=["short", "long"])
def test_unlinked_file_lives_on_while_it_is_open(bench: Bench, name: bytes) -> None:
    kernel = bench.kernel
    handle = kernel.create(name)
    kernel.write(handle, 0, b"before")
    inode = kernel.unlink(name)
    kernel.write(handle, 6, b" and after")
    assert kernel.read(handle) == b"before and after"
    assert bench.fs.getattr(inode).size == 16
    assert bench.fs.getattr(inode).st.st_nlink == 0
    second = kernel.open_inode(inode, os.O_RDWR)
    kernel.write(second, 0, b"B")
    kernel.release(handle)
    assert kernel.read(second) == b"Before and after"
    kernel.release(second)
    assert kernel.forget(inode)
    assert bench.fs.statistics().inodes == 1
    assert not bench.tree.sidecars()


def test_new_file_under_the_name_of_an_open_one_is_another(bench: Bench) -> None:
    kernel = bench.kernel
    old = kernel.create(b"file")
    kernel.write(old, 0, b"old")
    old_inode = kernel.unlink(b"file")
    new = kernel.create(b"file")
    kernel.write(new, 0, b"new")
    assert kernel.open_files[new] != old_inode
    assert (kernel.read(old), kernel.read(new)) == (b"old", b"new")
    assert bench.remount().get(b"file") == b"new"


def test_renamed_and_replaced_open_files_keep_their_content(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.put(b"a", b"A")
    kernel.put(b"b", b"B")
    a, b = kernel.open(b"a", os.O_RDWR), kernel.open(b"b", os.O_RDWR)
    kernel.rename(b"a", b"b")
    kernel.write(a, 1, b"a")
    kernel.write(b, 1, b"b")
    assert (kernel.read(a), kernel.read(b)) == (b"Aa", b"Bb")
    assert kernel.get(b"b") == b"Aa"
    assert kernel.stat(b"b").size == 2


def test_forgotten_while_open_is_not_lost(bench: Bench) -> None:
    """The kernel forgets only closed inodes; but handles are our own reason to keep a node."""
    kernel = bench.kernel
    handle = kernel.create(b"file")
    inode = kernel.open_files[handle]
    bench.fs.forget(inode, kernel.nlookup.pop(inode))
    kernel.dentries.clear()
    kernel.write(handle, 0, b"content")
    assert kernel.lookup(b"file").inode == inode
    assert kernel.get(b"file") == b"content"


# --- inode numbers ----------------------------------------------------------------------------------------------
def test_inode_number_of_a_deleted_file_is_not_given_out_while_it_is_known(bench: Bench) -> None:
    kernel = bench.kernel
    deleted = {kernel.put(b"f%d" % number, b"x") for number in range(20)}
    for number in range(20):
        kernel.unlink(b"f%d" % number)
    fresh = {kernel.put(b"g%d" % number, b"x") for number in range(20)}
    assert not fresh & deleted
    for inode in deleted:
        assert bench.fs.getattr(inode).st.st_nlink == 0


def test_inode_number_that_comes_again_is_a_new_object(bench: Bench) -> None:
    """The filesystem below gives a freed number out at once; what was known of the old object must be gone."""
    kernel = bench.kernel
    numbers = []
    for number in range(30):
        inode = kernel.put(b"file", b"%d" % number)
        assert kernel.get(b"file") == b"%d" % number
        kernel.setxattr(b"file", b"user.n", b"%d" % number)
        assert kernel.getxattr(b"file", b"user.n") == b"%d" % number
        kernel.forget(kernel.unlink(b"file"))
        inode = kernel.mkdir(b"dir").inode
        kernel.put(b"dir/f", b"x")
        kernel.unlink(b"dir/f")
        numbers.append(inode)
        kernel.rmdir(b"dir")
        kernel.forget_everything()
    assert len(set(numbers)) < len(numbers), "the filesystem below does not reuse numbers: nothing was tested"


def test_inode_number_that_is_taken_is_replaced_by_one_of_our_own(bench: Bench) -> None:
    kernel = bench.kernel
    for attempt in range(100):  # others may be given the freed number before us
        name = b"%d" % attempt
        inode = kernel.put(name, b"old")
        node = bench.fs._table.get(inode)
        os.unlink(bench.cipher_path(name))  # behind our back, so nothing holds the number
        fresh = kernel.mkdir(b"other" + name)
        if fresh.st.st_ino == inode:
            break
    assert fresh.st.st_ino == inode, "the filesystem below does not reuse numbers: nothing was tested"
    assert fresh.inode >= 1 << 63
    assert bench.fs._table.get(inode) is node
    with raises(errno.ENOENT):
        bench.fs.getattr(inode)
    kernel.put(b"other" + name + b"/file", b"x")
    assert kernel.get(b"other" + name + b"/file") == b"x"


# --- sync and close ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("data_only", [True, False])
def test_sync_and_flush_of_an_open_file(bench: Bench, data_only: bool) -> None:
    handle = bench.kernel.create(b"file")
    bench.kernel.write(handle, 0, b"content")
    bench.fs.flush(handle)
    bench.fs.file_of(handle).sync(data_only=data_only)
    os.fsync(bench.fs.dir_fd_of(bench.kernel.opendir(b"")))


@pytest.mark.python_engine
@pytest.mark.parametrize("data_only", [True, False])
def test_sync_that_failed_fails_until_the_file_is_closed(
    bench: Bench, data_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = install(monkeypatch)
    handle = bench.kernel.create(b"file")
    file = bench.fs.file_of(handle)
    with faults.failing("fdatasync" if data_only else "fsync", errno.ENOSPC), raises(errno.ENOSPC):
        file.sync(data_only=data_only)
    for _ in range(2):
        with raises(errno.EIO):
            file.sync(data_only=False)
    bench.kernel.release(handle)
    bench.fs.file_of(bench.kernel.open(b"file", os.O_RDWR)).sync(data_only=True)


@pytest.mark.python_engine
def test_error_of_close_reaches_the_caller_and_nothing_leaks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from pcvfs.fs import files

    handle = bench.kernel.create(b"file")
    inode = bench.kernel.open_files[handle]
    fd = bench.fs.file_of(handle).fd

    class ClosingFails:
        """What NFS does: the descriptor is gone, and the write error is told."""

        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        def close(self, closed: int) -> None:
            os.close(closed)
            assert closed == fd
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(files, "os", ClosingFails())
        with raises(errno.EDQUOT):
            bench.kernel.release(handle)
    assert not bench.fs.is_busy
    assert bench.kernel.open_inode(inode)


def test_unknown_handles_are_errors_that_fuse_can_report(bench: Bench) -> None:
    for call in (
        lambda: bench.fs.read(99, 0, 1),
        lambda: bench.fs.write(99, 0, b"x"),
        lambda: bench.fs.release(99),
        lambda: bench.fs.releasedir(99),
        lambda: bench.fs.entries(99, refresh=True),
    ):
        with pytest.raises((KeyError, OSError)):
            call()
