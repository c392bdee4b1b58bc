"""getattr and setattr: what is shown, what can be changed, on which types, by name and through open files."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from tests.fs.bench import Bench
from tests.fs.kernel import Kernel
from tests.support.flavours import Flavour

LONG = b"L" * 250
SECOND_NS = 10**9
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes owners")


@pytest.fixture
def everything(kernel: Kernel) -> dict[str, bytes]:
    """One object of each type, some under long names."""
    kernel.put(b"file", b"content")
    kernel.put(LONG, b"content")
    kernel.mkdir(b"directory")
    kernel.symlink(b"symlink", b"target")
    kernel.mknod(b"fifo", stat.S_IFIFO | 0o644)
    return {"file": b"file", "long": LONG, "directory": b"directory", "symlink": b"symlink", "fifo": b"fifo"}


def test_getattr_is_that_of_the_backing_object_but_for_sizes(bench: Bench, everything: dict[str, bytes]) -> None:
    sizes = {"file": 7, "long": 7, "symlink": 6, "fifo": 0}
    for what, path in everything.items():
        attr = bench.kernel.stat(path)
        backing = bench.cipher_path(path).lstat()
        assert attr.st == backing
        assert (attr.uid, attr.gid, attr.inode) == (backing.st_uid, backing.st_gid, backing.st_ino)
        assert attr.size == sizes.get(what, backing.st_size)


def test_getattr_of_the_root(bench: Bench) -> None:
    attr = bench.kernel.stat(b"")
    assert attr.inode == 1
    assert attr.st.st_ino == bench.cipherdir.stat().st_ino


def test_chmod_changes_all_but_symlinks(kernel: Kernel, everything: dict[str, bytes]) -> None:
    for what, path in everything.items():
        if what == "symlink":
            with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
                kernel.setattr(path, mode=0o600)
            continue
        for mode in (0o000, 0o7777, 0o740):
            before = kernel.stat(path)
            after = kernel.setattr(path, mode=stat.S_IFREG | mode)  # the kernel sends type bits along
            assert stat.S_IMODE(after.st.st_mode) == mode
            assert stat.S_IFMT(after.st.st_mode) == stat.S_IFMT(before.st.st_mode)
            assert after.size == before.size


@as_root
def test_chown_changes_each_alone_or_both(kernel: Kernel, everything: dict[str, bytes]) -> None:
    for path in everything.values():
        assert owner(kernel.setattr(path, uid=11)) == (11, 0)
        assert owner(kernel.setattr(path, gid=22)) == (11, 22)
        assert owner(kernel.setattr(path, uid=33, gid=44)) == (33, 44)
        assert owner(kernel.stat(path)) == (33, 44)


def owner(attr: object) -> tuple[int, int]:
    return attr.uid, attr.gid  # type: ignore[attr-defined]


def test_utimens_changes_each_alone_or_both(kernel: Kernel, flavour: Flavour, everything: dict[str, bytes]) -> None:
    for what, path in everything.items():
        if what == "symlink" and not flavour.has_plain_names:
            continue  # to tell its size its target is read, which the filesystem below counts as an access
        attr = kernel.setattr(path, atime_ns=SECOND_NS + 1, mtime_ns=2 * SECOND_NS + 2)
        assert (attr.st.st_atime_ns, attr.st.st_mtime_ns) == (SECOND_NS + 1, 2 * SECOND_NS + 2)
        attr = kernel.setattr(path, mtime_ns=3 * SECOND_NS + 3)
        assert (attr.st.st_atime_ns, attr.st.st_mtime_ns) == (SECOND_NS + 1, 3 * SECOND_NS + 3)
        attr = kernel.setattr(path, atime_ns=4 * SECOND_NS + 999_999_999)
        assert (attr.st.st_atime_ns, attr.st.st_mtime_ns) == (4 * SECOND_NS + 999_999_999, 3 * SECOND_NS + 3)
        attr = kernel.setattr(path, atime_ns=0, mtime_ns=-5 * SECOND_NS)
        assert (attr.st.st_atime_ns, attr.st.st_mtime_ns) == (0, -5 * SECOND_NS)


def test_utimens_of_a_symlink_is_not_that_of_its_target(kernel: Kernel, everything: dict[str, bytes]) -> None:
    kernel.symlink(b"to-file", b"file")
    before = kernel.stat(b"file").st
    assert kernel.setattr(b"to-file", mtime_ns=SECOND_NS).st.st_mtime_ns == SECOND_NS
    assert kernel.setattr(b"to-file", atime_ns=SECOND_NS, mtime_ns=5 * SECOND_NS).st.st_mtime_ns == 5 * SECOND_NS
    assert kernel.stat(b"file").st == before


@pytest.mark.both_engines
def test_setattr_through_an_open_file_is_the_same(kernel: Kernel) -> None:
    kernel.put(b"file", b"content")
    handle = kernel.open(b"file", os.O_RDWR)
    attr = kernel.setattr(b"file", mode=0o400, mtime_ns=SECOND_NS)
    assert (stat.S_IMODE(attr.st.st_mode), attr.st.st_mtime_ns) == (0o400, SECOND_NS)
    kernel.write(handle, 7, b"!")
    assert kernel.stat(b"file").size == 8
    assert kernel.setattr(b"file", size=3).size == 3
    assert kernel.read(handle) == b"con"


@as_root
def test_setattr_of_everything_at_once(kernel: Kernel) -> None:
    kernel.put(b"file", b"content")
    attr = kernel.setattr(b"file", size=4, uid=5, gid=6, mode=0o4755, atime_ns=7, mtime_ns=8)
    assert (attr.size, attr.uid, attr.gid, stat.S_IMODE(attr.st.st_mode)) == (4, 5, 6, 0o4755)
    assert (attr.st.st_atime_ns, attr.st.st_mtime_ns) == (7, 8)


def test_setattr_of_nothing_is_getattr(kernel: Kernel) -> None:
    kernel.put(b"file", b"content")
    assert kernel.setattr(b"file") == kernel.stat(b"file")


@pytest.mark.both_engines
def test_truncate_of_a_closed_file_leaves_nothing_open(bench: Bench) -> None:
    bench.kernel.put(b"file", b"content")
    bench.kernel.setattr(b"file", size=100_000)
    assert bench.fs.statistics().open_files == 0
    assert bench.kernel.get(b"file") == b"content".ljust(100_000, b"\0")


def test_truncate_of_what_is_no_file_is_refused(kernel: Kernel) -> None:
    kernel.mkdir(b"d")
    kernel.mknod(b"fifo", stat.S_IFIFO | 0o600)
    kernel.symlink(b"symlink", b"target")
    for path, error in ((b"d", errno.EISDIR), (b"fifo", errno.EINVAL), (b"symlink", errno.EINVAL)):
        with pytest.raises(OSError, match=os.strerror(error)):
            kernel.setattr(path, size=0)


def test_root_can_be_changed(bench: Bench) -> None:
    attr = bench.kernel.setattr(b"", mode=0o750, mtime_ns=SECOND_NS)
    assert (stat.S_IMODE(attr.st.st_mode), attr.st.st_mtime_ns) == (0o750, SECOND_NS)
    assert stat.S_IMODE(bench.cipherdir.stat().st_mode) == 0o750


def test_chmod_does_not_touch_what_belongs_to_the_volume(bench: Bench) -> None:
    bench.kernel.mkdir(LONG)
    bench.kernel.setattr(LONG, mode=0o700)
    bench.kernel.setattr(LONG, mtime_ns=SECOND_NS)
    if os.geteuid() == 0:
        bench.kernel.setattr(LONG, uid=77)
    assert not bench.tree.find_faults()
    for directory in bench.tree.directories():
        for entry in os.scandir(directory):
            if entry.name in (b"gocryptfs.diriv",) or entry.name.endswith(b".name"):
                assert entry.stat().st_uid == os.geteuid()


def test_statfs_is_that_of_the_filesystem_below(bench: Bench) -> None:
    got, expected = bench.fs.statfs(), os.statvfs(bench.cipherdir)
    assert (got.f_bsize, got.f_blocks, got.f_files, got.f_namemax) == (
        expected.f_bsize,
        expected.f_blocks,
        expected.f_files,
        expected.f_namemax,
    )
