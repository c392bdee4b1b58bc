"""What the block lane uses besides the handlers: files that stay open by inode, and descriptors of directories."""

from __future__ import annotations

import errno
import os

import pytest

from pcvfs.fs.volume_fs import SetAttr, VolumeFS
from tests.fs.bench import Bench, Observer, open_descriptors
from tests.fs.kernel import ROOT, SUPERUSER, Kernel

LONG = b"L" * 250

pytestmark = [pytest.mark.flavours, pytest.mark.both_engines]


@pytest.fixture
def kernel(bench: Bench) -> Kernel:
    bench.kernel.put(b"file", b"content")
    return bench.kernel


# --- files ------------------------------------------------------------------------------------------------------
def test_attached_file_stays_open_until_it_is_forgotten(bench: Bench, kernel: Kernel) -> None:
    inode = kernel.inode(b"file")
    file = bench.fs.attach(inode, wants_write=False)
    assert bytes(file.read(0, 100)) == b"content"
    assert bench.fs.attach(inode, wants_write=False) is file
    assert bench.fs.statistics().open_files == 1
    assert not bench.fs.is_busy, "what nobody has opened must not keep a mount alive"
    assert bench.observer.detached == []
    kernel.forget(inode)
    assert bench.observer.detached == [inode]
    assert bench.fs.statistics().open_files == 0


def test_attached_file_becomes_writable_when_somebody_writes(bench: Bench, kernel: Kernel) -> None:
    inode = kernel.inode(b"file")
    reading = bench.fs.attach(inode, wants_write=False)
    writing = bench.fs.attach(inode, wants_write=True)
    assert writing is reading
    writing.write(7, b"!")
    assert bytes(reading.read(0, 100)) == b"content!"
    assert bench.fs.getattr(inode).size == 8
    kernel.forget(inode)
    assert bench.observer.detached == [inode]


def test_attached_file_is_the_one_that_handles_use(bench: Bench, kernel: Kernel) -> None:
    inode = kernel.inode(b"file")
    handle = kernel.open(b"file", os.O_RDWR)
    file = bench.fs.attach(inode, wants_write=True)
    assert file is bench.fs.file_of(handle)
    kernel.release(handle)
    file.write(0, b"C")
    assert kernel.get(b"file") == b"Content"
    assert bench.fs.setattr(inode, SetAttr(size=3)).size == 3
    assert bytes(file.read(0, 100)) == b"Con"
    bench.fs.detach_all()
    assert bench.observer.detached == [inode]
    assert kernel.get(b"file") == b"Con"


def test_attached_file_lives_on_without_its_name(bench: Bench, kernel: Kernel) -> None:
    inode = kernel.inode(b"file")
    file = bench.fs.attach(inode, wants_write=True)
    kernel.unlink(b"file")
    file.write(7, b"!")
    assert bytes(file.read(0, 100)) == b"content!"
    assert bench.fs.attach(inode, wants_write=True) is file
    bench.fs.detach_all()
    assert bytes(bench.fs.attach(inode, wants_write=False).read(0, 100)) == b"content!"
    kernel.forget(inode)
    assert bench.fs.statistics().open_files == 0


def test_attached_files_are_not_more_than_the_limit_and_the_oldest_goes(
    bench: Bench, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.fs._files, "_attached_max", 3)
    inodes = [kernel.put(b"%d" % number, b"%d" % number) for number in range(5)]
    for inode in inodes[:3]:
        bench.fs.attach(inode, wants_write=False)
    bench.fs.attach(inodes[0], wants_write=False)
    bench.fs.attach(inodes[3], wants_write=False)
    assert bench.observer.detached == [inodes[1]]
    bench.fs.attach(inodes[4], wants_write=False)
    assert bench.observer.detached == [inodes[1], inodes[2]]
    assert bench.fs.statistics().open_files == 3
    assert bytes(bench.fs.attach(inodes[1], wants_write=False).read(0, 1)) == b"1"


def test_attach_what_cannot_be_opened_is_an_error_and_holds_nothing(bench: Bench, kernel: Kernel) -> None:
    directory = kernel.mkdir(b"d").inode
    for inode, error in ((directory, errno.EISDIR), (ROOT, errno.EISDIR), (123456, errno.ESTALE)):
        with pytest.raises(OSError, match=os.strerror(error)):
            bench.fs.attach(inode, wants_write=False)
    bench.cipher_path(b"file").unlink()
    with pytest.raises(FileNotFoundError):
        bench.fs.attach(kernel.inode(b"file"), wants_write=False)
    assert bench.fs.statistics().open_files == 0


def test_attach_for_writing_on_a_read_only_mount_is_erofs(bench: Bench, kernel: Kernel) -> None:
    kernel = bench.remount(ro=True)
    inode = kernel.inode(b"file")
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        bench.fs.attach(inode, wants_write=True)
    assert bytes(bench.fs.attach(inode, wants_write=False).read(0, 100)) == b"content"


def test_close_gives_everything_back_whatever_the_kernel_holds(bench: Bench, kernel: Kernel) -> None:
    before, observer = open_descriptors(), Observer()
    fs = VolumeFS(bench.volume, bench.options, observer=observer)
    inode = fs.lookup(ROOT, b"file").inode
    fs.attach(inode, wants_write=True)
    fs.open(inode, os.O_RDWR)
    directory = fs.mkdir(ROOT, b"d", 0o700, SUPERUSER).inode
    fs.create(directory, b"new", 0o600, os.O_RDWR, SUPERUSER)
    fs.opendir(directory)
    fs.unlink(directory, b"new")
    fs.close()
    assert observer.detached == [inode]
    assert observer.directories.keys() == {ROOT}
    assert open_descriptors() == before


# --- directories ------------------------------------------------------------------------------------------------
def test_directory_is_shown_once_names_are_looked_up_in_it(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.mkdir(b"d")
    inode = kernel.inode(b"d")
    assert inode not in bench.observer.directories
    kernel.put(b"d/file", b"x")
    dirfd, diriv = bench.observer.directories[inode]
    assert diriv == (bench.cipher_path(b"d") / "gocryptfs.diriv").read_bytes()
    assert os.fstat(dirfd).st_ino == bench.cipher_path(b"d").stat().st_ino
    kernel.rename(b"d", LONG)
    assert bench.observer.directories[inode] == (dirfd, diriv)
    kernel.unlink(LONG + b"/file")
    kernel.rmdir(LONG)
    assert inode not in bench.observer.directories


def test_directory_is_taken_back_before_its_descriptor_is_closed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = bench.kernel
    monkeypatch.setattr(bench.fs._dirs, "_cache_max", 4)
    for number in range(12):
        kernel.mkdir(b"%d" % number)
        kernel.put(b"%d/file" % number, b"x")
        assert len(bench.observer.directories) <= 5  # the root is not cached but always there
    for number in range(12):
        assert kernel.lookup(b"%d/file" % number).size == 1
    shown = {inode for inode in bench.observer.directories if inode != ROOT}
    assert shown == {kernel.inode(b"%d" % number) for number in range(8, 12)}


def test_directories_are_not_shown_where_looking_takes_more(bench: Bench) -> None:
    kernel = bench.remount(badname=(b"*",))
    kernel.mkdir(b"d")
    kernel.put(b"d/file", b"x")
    assert kernel.get(b"d/file") == b"x"
    assert not bench.observer.directories
