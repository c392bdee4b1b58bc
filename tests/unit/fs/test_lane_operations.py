"""The handlers behind the block lane, without a lane: what they do differently."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcvfs.fs.lane import LaneOperations
from pcvfs.fs.options import Engine
from tests.fs.bench import Bench
from tests.fs.kernel import ROOT
from tests.support.flavours import DEFAULT
from tests.unit.fs.test_fuse import CTX, error_of, run

LONG = b"l" * 200


@pytest.fixture(params=["lane", "python"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    engine: Engine = request.param
    bench = Bench(tmp_path / "cipher", DEFAULT, engine)
    yield bench
    bench.finish()


@pytest.fixture
def ops(bench: Bench) -> LaneOperations:
    return LaneOperations(bench.fs, bench.options)


@pytest.mark.parametrize("name", [b"name", LONG], ids=["short", "long"])
def test_create_makes_a_file_and_opens_nothing(ops: LaneOperations, bench: Bench, name: bytes) -> None:
    info, entry = run(ops.create(ROOT, name, stat.S_IFREG | 0o4640, os.O_RDWR | os.O_CREAT, CTX))
    assert (info.fh, info.keep_cache) == (0, True)
    assert (entry.st_mode, entry.st_size) == (stat.S_IFREG | 0o4640, 0)
    assert bench.fs.statistics().open_files == 0
    bench.fs.forget(entry.st_ino, 1)
    assert bench.kernel.get(name) == b""


@pytest.mark.parametrize("name", [b"name", LONG], ids=["short", "long"])
def test_create_of_what_exists_makes_the_kernel_look_again(ops: LaneOperations, bench: Bench, name: bytes) -> None:
    bench.kernel.put(name, b"content")
    assert error_of(ops.create(ROOT, name, 0o600, os.O_RDWR | os.O_EXCL, CTX)) == errno.EEXIST
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_TRUNC):
        assert error_of(ops.create(ROOT, name, 0o600, flags, CTX)) == errno.ESTALE
    assert bench.kernel.get(name) == b"content"


def test_open_backing_gives_a_descriptor_away(bench: Bench) -> None:
    inode = bench.kernel.put(b"file", b"content")
    for wants_write, access in ((False, os.O_RDONLY), (True, os.O_RDWR)):
        fd = bench.fs.open_backing(inode, wants_write=wants_write)
        assert os.fstat(fd).st_ino == bench.cipher_path(b"file").stat().st_ino
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == access
        os.close(fd)
    bench.kernel.unlink(b"file")
    os.close(bench.fs.open_backing(inode, wants_write=True))


def test_open_backing_of_what_has_no_content_is_an_error(bench: Bench) -> None:
    directory = bench.kernel.mkdir(b"d").inode
    fifo = bench.kernel.mknod(b"fifo", stat.S_IFIFO | 0o600).inode
    for inode, error in ((ROOT, errno.EISDIR), (directory, errno.EISDIR), (fifo, errno.EINVAL), (12345, errno.ESTALE)):
        with pytest.raises(OSError) as info:
            bench.fs.open_backing(inode, wants_write=False)
        assert info.value.errno == error


def test_open_backing_for_writing_on_a_read_only_mount_is_erofs(bench: Bench) -> None:
    bench.kernel.put(b"file", b"content")
    inode = bench.remount(ro=True).inode(b"file")
    with pytest.raises(OSError) as info:
        bench.fs.open_backing(inode, wants_write=True)
    assert info.value.errno == errno.EROFS
    os.close(bench.fs.open_backing(inode, wants_write=False))


def test_hidden_entries_and_missing_ivs_are_logged_once(bench: Bench) -> None:
    for _ in range(2):
        bench.fs.report_hidden(ROOT, b"bad\nname")
        bench.fs.report_no_diriv(ROOT)
    bench.expect_log(
        "directory inode 1: entry 'bad.nname' can't be decrypted", "inode 1: has no usable gocryptfs.diriv"
    )


def test_leftovers_are_cleared_unless_read_only(bench: Bench) -> None:
    leftovers = [bench.cipherdir / name for name in ("gocryptfs.diriv.rmdir.12", "gocryptfs.diriv.mkdir.34")]
    for path in leftovers:
        path.mkdir()
        (path / "gocryptfs.diriv").write_bytes(b"i" * 16)
    bench.remount(ro=True)
    bench.fs.clear_leftovers(ROOT)
    assert all(path.exists() for path in leftovers)
    bench.remount(ro=False)
    bench.fs.clear_leftovers(ROOT)
    assert not any(path.exists() for path in leftovers)
