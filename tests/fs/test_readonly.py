"""A read-only mount refuses every change itself: root may have remounted rw, which the kernel allows."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pcvfs.fs.volume_fs import SetAttr
from tests.fs.bench import Bench
from tests.fs.kernel import ROOT, SUPERUSER

LONG = b"L" * 250

pytestmark = pytest.mark.flavours("default", "plaintextnames")


def contents(cipherdir: Path) -> dict[str, object]:
    """Everything below, times of change included."""
    found: dict[str, object] = {}
    for path in sorted([cipherdir, *cipherdir.rglob("*")]):
        st = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(st.st_mode) else b""
        found[str(path)] = (st.st_mode, st.st_ino, st.st_uid, st.st_nlink, st.st_mtime_ns, st.st_ctime_ns, data)
    return found


def test_every_change_is_erofs_and_every_read_works(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.put(b"file", b"content")
    kernel.put(LONG, b"long")
    kernel.mkdir(b"d")
    kernel.symlink(b"symlink", b"target")
    kernel.setxattr(b"file", b"user.a", b"1")
    kernel = bench.remount(ro=True)
    before = contents(bench.cipherdir)
    fs, inode, handle = bench.fs, kernel.inode(b"file"), kernel.open(b"file")
    changes: list[Callable[[], object]] = [
        lambda: fs.create(ROOT, b"new", 0o600, os.O_RDWR, SUPERUSER),
        lambda: fs.create(ROOT, b"file", 0o600, os.O_RDONLY, SUPERUSER),
        lambda: fs.mkdir(ROOT, LONG[1:], 0o700, SUPERUSER),
        lambda: fs.mknod(ROOT, b"new", stat.S_IFIFO | 0o600, 0, SUPERUSER),
        lambda: fs.symlink(ROOT, LONG[1:], b"target", SUPERUSER),
        lambda: fs.link(inode, ROOT, b"new"),
        lambda: fs.unlink(ROOT, b"file"),
        lambda: fs.rmdir(ROOT, b"d"),
        lambda: fs.rename(ROOT, b"file", ROOT, b"new", 0),
        lambda: fs.setattr(inode, SetAttr(mode=0o600)),
        lambda: fs.setattr(inode, SetAttr(uid=1)),
        lambda: fs.setattr(inode, SetAttr(mtime_ns=1)),
        lambda: fs.setattr(inode, SetAttr(size=1)),
        lambda: fs.setxattr(inode, b"user.a", b"2"),
        lambda: fs.removexattr(inode, b"user.a"),
        lambda: fs.open(inode, os.O_WRONLY),
        lambda: fs.open(inode, os.O_RDWR),
        lambda: fs.open(inode, os.O_RDONLY | os.O_TRUNC),
    ]
    for change in changes:
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            change()
    assert kernel.read(handle) == b"content"
    assert set(kernel.list()) == {b"file", LONG, b"d", b"symlink"}
    assert kernel.get(LONG) == b"long"
    assert kernel.readlink(b"symlink") == b"target"
    assert kernel.getxattr(b"file", b"user.a") == b"1"
    kernel = bench.remount(ro=False)
    assert contents(bench.cipherdir) == before


def test_open_files_of_a_read_only_mount_are_open_for_reading(bench: Bench) -> None:
    bench.kernel.put(b"file", b"content")
    kernel = bench.remount(ro=True)
    file = bench.fs.file_of(kernel.open(b"file"))
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.pwrite(file.fd, b"x", 0)
