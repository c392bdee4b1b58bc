"""Listing, making and removing directories, and the temporary names that this takes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pcvfs.cipherdir import backing
from pcvfs.cipherdir.report import ProblemKind
from tests.fs.bench import Bench
from tests.fs.faults import install
from tests.fs.kernel import ROOT, SUPERUSER, Kernel

LONG, LONG_2 = b"L" * 250, b"M" * 255
HAS_IVS = ("default", "xchacha", "longnamemax-62", "legacy")


# --- listing ----------------------------------------------------------------------------------------------------
def test_listing_is_complete_and_counts_lookups(bench: Bench) -> None:
    names = {b"%d-" % length + b"n" * length for length in range(0, 250, 7)}
    for name in names:
        bench.kernel.put(name, name)
    kernel = bench.remount()
    listed = kernel.list()
    assert set(listed) == names
    for name, attr in listed.items():
        assert attr.size == len(name)
        assert kernel.nlookup[attr.inode] == 1
    kernel.list()
    assert all(kernel.nlookup[attr.inode] == 2 for attr in listed.values())


def test_listing_is_a_snapshot_until_it_starts_over(bench: Bench) -> None:
    kernel = bench.kernel
    for name in (b"a", b"b", LONG):
        kernel.put(name, b"x")
    handle = kernel.opendir(b"")
    assert set(kernel.readdir(handle)) == {b"a", b"b", LONG}
    kernel.unlink(b"a")
    kernel.rename(LONG, b"new")
    kernel.put(b"newer", b"x")
    assert set(kernel.readdir(handle, refresh=False)) == {b"b"}
    assert set(kernel.readdir(handle, refresh=True)) == {b"b", b"new", b"newer"}
    other = kernel.opendir(b"")
    assert set(kernel.readdir(other, refresh=False)) == {b"b", b"new", b"newer"}


def test_listing_of_a_directory_that_was_removed_is_empty(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.mkdir(b"d")
    kernel.put(b"d/file", b"x")
    before, later = kernel.opendir(b"d"), kernel.opendir(b"d")
    assert set(kernel.readdir(before)) == {b"file"}
    kernel.unlink(b"d/file")
    kernel.rmdir(b"d")
    assert kernel.readdir(before) == {}
    assert kernel.readdir(later) == {}
    assert len(bench.fs.dot_attrs(before)) == 2


def test_dot_entries_are_no_lookups(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.mkdir(b"d")
    kernel.mkdir(b"d/e")
    handle, root = kernel.opendir(b"d/e"), kernel.opendir(b"")
    count = bench.fs.statistics().nlookup
    here, above = bench.fs.dot_attrs(handle)
    assert (here.inode, above.inode) == (kernel.inode(b"d/e"), kernel.inode(b"d"))
    assert [attr.inode for attr in bench.fs.dot_attrs(root)] == [ROOT, ROOT]
    assert bench.fs.statistics().nlookup == count


@pytest.mark.flavours
def test_listing_of_many_entries(bench: Bench) -> None:
    for number in range(3000):
        bench.kernel.mknod(b"%05d" % number + LONG[: number % 240], stat.S_IFREG | 0o600)
    assert len(bench.remount().list()) == 3000


# --- removing ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [b"d", LONG], ids=["short", "long"])
def test_rmdir_of_a_directory_that_is_not_empty_changes_nothing(bench: Bench, name: bytes) -> None:
    kernel = bench.kernel
    for content in (b"file", LONG):
        kernel.mkdir(name)
        kernel.put(name + b"/" + content, b"content")
        for _ in range(2):
            with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
                kernel.rmdir(name)
        assert kernel.get(name + b"/" + content) == b"content"
        assert bench.remount().get(name + b"/" + content) == b"content"
        kernel = bench.kernel
        kernel.unlink(name + b"/" + content)
        kernel.rmdir(name)
    assert not kernel.list()
    assert not bench.tree.sidecars()


def test_rmdir_and_unlink_of_the_wrong_type(kernel: Kernel) -> None:
    kernel.mkdir(b"d")
    kernel.put(b"file", b"x")
    kernel.symlink(b"symlink", b"d")
    for name in (b"file", b"symlink"):
        with pytest.raises(NotADirectoryError):
            kernel.rmdir(name)
    with pytest.raises(IsADirectoryError):
        kernel.unlink(b"d")
    assert set(kernel.list()) == {b"d", b"file", b"symlink"}


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o500, 0o1777])
def test_rmdir_whatever_the_mode(bench: Bench, mode: int) -> None:
    bench.kernel.mkdir(b"d", mode)
    bench.kernel.rmdir(b"d")
    assert not bench.kernel.list()


@pytest.mark.flavours(*HAS_IVS)
def test_rmdir_with_orphan_sidecars_takes_them_along(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.mkdir(b"d")
    for name in (LONG, LONG_2):
        kernel.put(b"d/" + name, b"")
        os.unlink(bench.cipher_path(b"d/" + name))
    kernel = bench.remount()
    assert kernel.list(b"d") == {}
    kernel.rmdir(b"d")
    assert not bench.tree.sidecars()


@pytest.mark.flavours(*HAS_IVS)
@pytest.mark.parametrize("call", ["listdir", "rename", "unlink", "rmdir"])
def test_rmdir_that_fails_half_way_puts_everything_back(
    bench: Bench, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = install(monkeypatch)
    bench.kernel.mkdir(b"d", 0o751)
    before = bench.kernel.stat(b"d").st
    with faults.failing(call, errno.EIO), pytest.raises(OSError, match=os.strerror(errno.EIO)):
        bench.kernel.rmdir(b"d")
    after = bench.kernel.stat(b"d").st
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    bench.kernel.put(b"d/file", b"content")
    assert bench.remount().get(b"d/file") == b"content"


# --- making -----------------------------------------------------------------------------------------------------
@pytest.mark.flavours(*HAS_IVS)
def test_mkdir_where_the_filesystem_below_has_no_noreplace(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    renameat2 = backing.renameat2

    def plain_only(old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int = 0) -> None:
        if flags:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        renameat2(old_fd, old, new_fd, new)

    monkeypatch.setattr(backing, "renameat2", plain_only)
    kernel = bench.kernel
    kernel.mkdir(b"d")
    kernel.put(b"d/file", b"content")
    for taken in (b"d", b"file"):
        if taken == b"file":
            kernel.put(taken, b"content")
        with pytest.raises(FileExistsError):
            kernel.fs.mkdir(ROOT, taken, 0o755, SUPERUSER)
    assert kernel.get(b"d/file") == kernel.get(b"file") == b"content"
    assert not bench.tree.leftovers()


@pytest.mark.flavours(*HAS_IVS)
def test_ivs_differ(bench: Bench) -> None:
    for number in range(20):
        bench.kernel.mkdir(b"d%d" % number)
    ivs = {Path(os.fsdecode(directory), "gocryptfs.diriv").read_bytes() for directory in bench.tree.directories()}
    assert len(ivs) == 21


# --- leftovers --------------------------------------------------------------------------------------------------
def plant_leftovers(bench: Bench, directory: bytes) -> int:
    """What processes killed in mkdir and rmdir leave, ours and those of the original; returns how many."""
    base, iv = bench.cipher_path(directory), b"i" * 16
    (base / "gocryptfs.diriv.mkdir.1").mkdir()
    (base / "gocryptfs.diriv.rmdir.2").mkdir()
    (base / "gocryptfs.diriv.rmdir.3").mkdir()
    (base / "gocryptfs.diriv.rmdir.3" / f"gocryptfs.longname.{'A' * 43}.name").write_bytes(b"orphan")
    if bench.flavour.names != "diriv":
        return 3
    for name in ("gocryptfs.diriv.mkdir.4", "gocryptfs.diriv.rmdir.5"):
        (base / name).mkdir()
        (base / name / "gocryptfs.diriv").write_bytes(iv)
    (base / "gocryptfs.diriv.rmdir.6").write_bytes(iv)  # the original parks the IV itself
    return 6


@pytest.mark.flavours(*HAS_IVS, "deterministic-names")
def test_leftovers_are_invisible_and_go_with_the_next_listing(bench: Bench) -> None:
    bench.kernel.mkdir(b"d")
    bench.kernel.put(b"d/file", b"content")
    assert len(bench.tree.leftovers()) == 0
    planted = plant_leftovers(bench, b"d")
    assert len(bench.tree.leftovers()) == planted
    kernel = bench.remount()
    assert set(kernel.list(b"d")) == {b"file"}
    assert bench.tree.leftovers() == []


@pytest.mark.flavours(*HAS_IVS, "deterministic-names")
def test_leftovers_do_not_keep_a_directory(bench: Bench) -> None:
    bench.kernel.mkdir(b"d")
    bench.kernel.mkdir(b"source")
    plant_leftovers(bench, b"d")
    bench.kernel.rmdir(b"d")
    bench.kernel.mkdir(b"d")
    plant_leftovers(bench, b"d")
    bench.kernel.rename(b"source", b"d")
    assert bench.tree.leftovers() == []


@pytest.mark.flavours(*HAS_IVS)
def test_leftover_that_holds_somebodys_file_stays_as_it_is(bench: Bench) -> None:
    """On shared storage a file may be put into a directory while it is being removed."""
    bench.kernel.mkdir(b"d")
    bench.kernel.put(b"d/file", b"content")
    path = bench.cipher_path(b"d")
    path.rename(path.with_name("gocryptfs.diriv.rmdir.7"))
    kernel = bench.remount()
    assert kernel.list() == {}
    left = path.with_name("gocryptfs.diriv.rmdir.7")
    assert len(os.listdir(left)) == 2, "the IV or the file is lost"
    left.rename(path)
    assert bench.remount().get(b"d/file") == b"content"


@pytest.mark.flavours("default")
@pytest.mark.parametrize("mode", ["ro", "sharedstorage"])
def test_leftovers_are_not_touched_by_whoever_is_not_the_owner(bench: Bench, mode: str) -> None:
    bench.kernel.mkdir(b"d")
    bench.kernel.put(b"d/file", b"content")
    plant_leftovers(bench, b"d")
    kernel = bench.remount(**{mode: True})
    assert set(kernel.list(b"d")) == {b"file"}
    assert len(bench.tree.leftovers()) == 6
    bench.remount(**{mode: False}).list(b"d")
    assert bench.tree.leftovers() == []
    bench.expect_log(*[rf"entry .gocryptfs.diriv.{name}. can't be decrypted" for name in LEFTOVERS])


LEFTOVERS = ("mkdir.1", "rmdir.2", "rmdir.3", "mkdir.4", "rmdir.5", "rmdir.6")


@pytest.mark.flavours("default")
def test_names_that_only_look_like_leftovers_are_reported_and_kept(bench: Bench) -> None:
    kept = ["gocryptfs.diriv.rmdir.", "gocryptfs.diriv.mkdir.12x", "gocryptfs.diriv.other"]
    for name in kept:
        (bench.cipherdir / name).write_bytes(b"x")
    bench.kernel.list()
    for name in kept:
        assert (bench.cipherdir / name).exists()
    bench.expect_log(*[f"entry .{name}. can't be decrypted" for name in kept])
    bench.expected_problems = frozenset(
        {ProblemKind.MKDIR_REMNANT, ProblemKind.RMDIR_REMNANT, ProblemKind.NAME_UNDECRYPTABLE}
    )
