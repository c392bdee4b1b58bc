"""The pyfuse3 adapter without a mount: what becomes of outcomes, and how a directory is served in parts."""

from __future__ import annotations

import errno
import inspect
import os
import stat
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyfuse3
import pytest
import trio

from pcvfs.errors import AuthenticationError, ConfigError, HeaderError, InternalError, NameDecodeError
from pcvfs.fs.fuse import Operations, to_errno
from pcvfs.fs.options import OWNED_TIMEOUT_S, MountOptions
from tests.fs.bench import Bench
from tests.support.flavours import DEFAULT

CTX = SimpleNamespace(uid=os.geteuid(), gid=os.getegid(), pid=1, umask=0)
FIELDS = ["update_mode", "update_uid", "update_gid", "update_size", "update_atime", "update_mtime"]
OPTIONS = MountOptions(cipherdir=b"/cipher", mountpoint=b"/plain")


def run(handler: Coroutine[object, object, Any]) -> Any:
    """Step a handler once: it must end without waiting for anything."""
    try:
        handler.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a handler waited")


def error_of(handler: Coroutine[object, object, Any]) -> int:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        run(handler)
    return caught.value.errno


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "cipher", DEFAULT)
    yield bench
    bench.finish()


@pytest.fixture
def ops(bench: Bench) -> Operations:
    return Operations(bench.fs, bench.options)


# --- errors -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), errno.ENOENT),
        (OSError(errno.EDQUOT, "x"), errno.EDQUOT),
        (OSError(errno.EFBIG, "x"), errno.EFBIG),
        (AuthenticationError("x", block_no=3), errno.EIO),
        (HeaderError("x"), errno.EIO),
        (NameDecodeError("x"), errno.EIO),
        (ConfigError("x"), errno.EIO),
    ],
    ids=repr,
)
def test_to_errno_expected_outcomes_are_not_logged(
    exc: Exception, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert to_errno(exc, "read") == expected
    assert not caplog.records


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (MemoryError(), errno.ENOMEM),
        (RuntimeError("bug"), errno.EIO),
        (KeyError(7), errno.EIO),
        (InternalError("bug"), errno.EIO),
        (OSError("without errno"), errno.EIO),
        (ValueError("embedded null byte"), errno.EIO),
    ],
    ids=repr,
)
def test_to_errno_unexpected_ones_are_logged_once_as_errors(
    exc: Exception, expected: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert to_errno(exc, "read") == expected
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "read" in caplog.text


class Failing:
    """A filesystem in which every call fails."""

    def __init__(self, exc: Exception) -> None:
        self.exc = exc
        self.trims = 0

    def trim(self) -> None:
        self.trims += 1

    def __getattr__(self, name: str) -> object:
        def fail(*args: object, **kwargs: object) -> object:
            raise self.exc

        return fail


def handlers() -> list[str]:
    own = vars(Operations)
    return [name for name in own if not name.startswith("_") and inspect.iscoroutinefunction(own[name])]


def arguments(name: str) -> dict[str, object]:
    """Something for each parameter of a handler."""
    values: dict[str, object] = {
        "ctx": CTX,
        "name": b"name",
        "attr": pyfuse3.EntryAttributes(),
        "fields": SimpleNamespace(**dict.fromkeys(FIELDS, True)),
        "target": b"target",
        "value": b"value",
        "buf": b"data",
        "new_name": b"new",
        "name_old": b"name",
        "name_new": b"new",
        "inode_list": [(5, 1)],
        "token": None,
        "datasync": False,
    }
    _, *parameters = inspect.signature(vars(Operations)[name]).parameters
    return {parameter: values.get(parameter, 5) for parameter in parameters}


@pytest.mark.parametrize("name", handlers())
@pytest.mark.parametrize("exc", [OSError(errno.EDQUOT, "x"), RuntimeError("bug"), AuthenticationError("x")], ids=type)
def test_no_handler_raises_anything_but_fuse_errors(
    name: str, exc: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Anything else would end the mount."""
    fs = Failing(exc)
    ops = Operations(fs, OPTIONS)  # type: ignore[arg-type]  # a fake

    async def call() -> None:
        await getattr(ops, name)(**arguments(name))

    if name == "forget":
        trio.run(call)
        assert len(caplog.records) == 1
        return
    with pytest.raises(pyfuse3.FUSEError) as caught:
        trio.run(call)
    assert caught.value.errno == (errno.EDQUOT if isinstance(exc, OSError) else errno.EIO)
    assert len(caplog.records) == isinstance(exc, RuntimeError)
    assert ops.requests == 1
    assert fs.trims == (not name.startswith("fsync"))


def test_every_handler_is_covered() -> None:
    expected = {"lookup", "getattr", "setattr", "read", "write", "readdir", "rename", "fsync", "statfs", "getxattr"}
    assert expected <= set(handlers())


# --- entries ----------------------------------------------------------------------------------------------------
def test_entry_shows_what_the_filesystem_says(bench: Bench, ops: Operations) -> None:
    inode = bench.kernel.put(b"file", b"x" * 5000, 0o640)
    entry = run(ops.getattr(inode, CTX))
    attr = bench.kernel.stat(b"file")
    st = attr.st
    assert (entry.st_ino, entry.st_size, entry.st_mode) == (inode, 5000, stat.S_IFREG | 0o640)
    assert (entry.st_uid, entry.st_gid, entry.st_nlink, entry.st_rdev) == (st.st_uid, st.st_gid, 1, 0)
    assert (entry.st_atime_ns, entry.st_mtime_ns, entry.st_ctime_ns) == (
        st.st_atime_ns,
        st.st_mtime_ns,
        st.st_ctime_ns,
    )
    assert (entry.st_blocks, entry.st_blksize) == (st.st_blocks, st.st_blksize)
    assert entry.entry_timeout == entry.attr_timeout == OWNED_TIMEOUT_S


def test_missing_name_is_an_answer_that_may_be_kept(ops: Operations) -> None:
    entry = run(ops.lookup(1, b"missing", CTX))
    assert entry.st_ino == 0
    assert entry.entry_timeout == OWNED_TIMEOUT_S


def test_missing_name_on_shared_storage_is_enoent(bench: Bench) -> None:
    bench.remount(sharedstorage=True)
    ops = Operations(bench.fs, bench.options)
    assert error_of(ops.lookup(1, b"missing", CTX)) == errno.ENOENT
    bench.kernel.put(b"file", b"x")
    entry = run(ops.getattr(bench.kernel.inode(b"file"), CTX))
    assert entry.entry_timeout == entry.attr_timeout == 0


def test_setattr_changes_what_the_fields_name_and_nothing_else(bench: Bench, ops: Operations) -> None:
    inode = bench.kernel.put(b"file", b"content", 0o600)
    wanted = pyfuse3.EntryAttributes()
    wanted.st_mode, wanted.st_size, wanted.st_mtime_ns = stat.S_IFREG | 0o644, 3, 5 * 10**9
    fields = dict.fromkeys(FIELDS, False)
    entry = run(ops.setattr(inode, wanted, SimpleNamespace(**fields | {"update_mode": True}), None, CTX))
    assert (entry.st_mode, entry.st_size) == (stat.S_IFREG | 0o644, 7)
    entry = run(ops.setattr(inode, wanted, SimpleNamespace(**fields | {"update_size": True}), None, CTX))
    assert (entry.st_size, entry.st_mode) == (3, stat.S_IFREG | 0o644)
    atime_ns = bench.kernel.stat(b"file").st.st_atime_ns
    entry = run(ops.setattr(inode, wanted, SimpleNamespace(**fields | {"update_mtime": True}), None, CTX))
    assert (entry.st_mtime_ns, entry.st_atime_ns) == (5 * 10**9, atime_ns)


@pytest.mark.parametrize(
    ("options", "is_cached", "has_writeback"),
    [
        ({}, True, True),
        ({"writeback": False}, True, False),
        ({"ro": True}, True, False),
        ({"sharedstorage": True}, False, False),
    ],
    ids=str,
)
def test_kernel_may_keep_and_collect_what_only_we_can_change(
    bench: Bench, options: dict[str, bool], is_cached: bool, has_writeback: bool
) -> None:
    bench.kernel.put(b"file", b"x")
    bench.remount(**options)
    ops = Operations(bench.fs, bench.options)
    assert ops.enable_writeback_cache == has_writeback
    info = run(ops.open(bench.kernel.inode(b"file"), os.O_RDONLY, CTX))
    bench.kernel.open_files[info.fh] = bench.kernel.inode(b"file")
    assert info.keep_cache == is_cached
    bench.remount(ro=False, sharedstorage=False)


def test_statfs_and_access(bench: Bench, ops: Operations) -> None:
    stats, expected = run(ops.statfs(CTX)), os.statvfs(bench.cipherdir)
    assert (stats.f_bsize, stats.f_blocks, stats.f_namemax) == (expected.f_bsize, expected.f_blocks, 255)
    assert run(ops.access(1, os.R_OK, CTX)) is True
    assert error_of(ops.access(99, os.R_OK, CTX)) == errno.ESTALE


def test_fsync_and_fsyncdir_run_elsewhere_and_tell_errors(bench: Bench, ops: Operations) -> None:
    handle = bench.kernel.create(b"file")
    directory = bench.kernel.opendir(b"")

    async def main() -> None:
        await ops.fsync(handle, False)
        await ops.fsync(handle, True)
        await ops.fsyncdir(directory, False)
        for call in (ops.fsync(99, False), ops.fsyncdir(99, False)):
            with pytest.raises(pyfuse3.FUSEError):
                await call

    trio.run(main)
    bench.expect_log("fsync failed unexpectedly", "fsyncdir failed unexpectedly")


# --- directories in parts ---------------------------------------------------------------------------------------
class Reply:
    """The buffer of one READDIRPLUS reply, with room for so many entries."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.entries: list[tuple[bytes, int, int]] = []  # name, inode, id of the next

    def take(self, token: object, name: bytes, attr: pyfuse3.EntryAttributes, next_id: int) -> bool:
        assert token is self
        if len(self.entries) == self.room:
            return False
        self.entries.append((name, attr.st_ino, next_id))
        return True


def read_directory(bench: Bench, ops: Operations, handle: int, room: int) -> list[bytes]:
    """Read to the end in replies of that size; every entry but the dots is a lookup."""
    names: list[bytes] = []
    position = 0
    while True:
        reply = Reply(room)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pyfuse3, "readdir_reply", reply.take)
            run(ops.readdir(handle, position, reply))
        for name, inode, position in reply.entries:  # noqa: B007  # the last one is where to go on
            names.append(name)
            if name not in (b".", b".."):
                bench.kernel.nlookup[inode] += 1
        if not reply.entries:
            return names


@pytest.mark.parametrize("room", [1, 2, 3, 5, 100])
def test_readdir_in_parts_of_any_size_is_complete(bench: Bench, ops: Operations, room: int) -> None:
    expected = {b"%d" % number for number in range(11)} | {b"L" * 200}
    for name in expected:
        bench.kernel.put(name, b"")
    handle = bench.kernel.opendir(b"")
    for _ in range(2):
        names = read_directory(bench, ops, handle, room)
        assert names[:2] == [b".", b".."]
        assert set(names[2:]) == expected
        assert len(names) == len(expected) + 2


def test_readdir_entry_that_did_not_fit_is_no_lookup(bench: Bench, ops: Operations) -> None:
    for name in (b"a", b"b", b"c"):
        bench.kernel.put(name, b"")
    kernel = bench.remount()
    ops = Operations(bench.fs, bench.options)
    handle, reply = kernel.opendir(b""), Reply(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyfuse3, "readdir_reply", reply.take)
        run(ops.readdir(handle, 0, reply))
    kernel.nlookup[reply.entries[-1][1]] += 1
    assert bench.fs.statistics().nlookup == 1


def test_readdir_skips_what_vanished_between_the_parts(bench: Bench, ops: Operations) -> None:
    for number in range(6):
        bench.kernel.put(b"%d" % number, b"")
    handle, first = bench.kernel.opendir(b""), Reply(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyfuse3, "readdir_reply", first.take)
        run(ops.readdir(handle, 0, first))
        got = {name for name, _, _ in first.entries[2:]}
        for _, inode, _ in first.entries[2:]:
            bench.kernel.nlookup[inode] += 1
        gone = sorted({b"%d" % number for number in range(6)} - got)
        for name in gone[:2]:
            bench.kernel.unlink(name)
        rest = Reply(100)
        patch.setattr(pyfuse3, "readdir_reply", rest.take)
        run(ops.readdir(handle, first.entries[-1][2], rest))
    for _, inode, _ in rest.entries:
        bench.kernel.nlookup[inode] += 1
    assert {name for name, _, _ in rest.entries} == set(gone[2:])


def test_readdir_error_in_the_middle_comes_with_the_next_part(
    bench: Bench, ops: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in a reply counts as looked up, so the reply must be sent."""
    for number in range(4):
        bench.kernel.put(b"%d" % number, b"")
    handle, entry_attr, calls = bench.kernel.opendir(b""), bench.fs.entry_attr, []

    def fail_once(handle_: int, entry: object) -> object:
        calls.append(entry)
        if len(calls) in (3, 4):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return entry_attr(handle_, entry)

    monkeypatch.setattr(bench.fs, "entry_attr", fail_once)
    first = Reply(100)
    monkeypatch.setattr(pyfuse3, "readdir_reply", first.take)
    run(ops.readdir(handle, 0, first))
    assert len(first.entries) == 4
    for _, inode, _ in first.entries[2:]:
        bench.kernel.nlookup[inode] += 1
    second = Reply(100)
    monkeypatch.setattr(pyfuse3, "readdir_reply", second.take)
    assert error_of(ops.readdir(handle, first.entries[-1][2], second)) == errno.EIO
    run(ops.readdir(handle, first.entries[-1][2], second))
    for _, inode, _ in second.entries:
        bench.kernel.nlookup[inode] += 1
    assert len(second.entries) == 2
