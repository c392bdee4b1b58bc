"""Renaming everything over everything, with all flags, checked against what a plain directory does."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from pathlib import Path

import pytest

from tests.fs import mirror
from tests.fs.bench import Bench
from tests.fs.kernel import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, ROOT, Kernel
from tests.fs.mirror import Mirror, Step

LONG, LONG_2 = b"L" * 250, b"M" * 255
KINDS = ["nothing", "file", "empty", "full", "symlink", "fifo"]


@pytest.fixture
def world(bench: Bench, tmp_path: Path) -> Mirror:
    return Mirror(bench, tmp_path / "plain")


def make(kind: str, path: bytes) -> list[Step]:
    steps = {
        "nothing": [],
        "file": [mirror.create(path), mirror.write(path, 0, b"content of " + path)],
        "empty": [mirror.mkdir(path)],
        "full": [mirror.mkdir(path), mirror.create(path + b"/below"), mirror.mkdir(path + b"/" + LONG)],
        "symlink": [mirror.symlink(path, b"target")],
        "fifo": [mirror.mkfifo(path)],
    }
    return steps[kind]


@pytest.mark.parametrize("flags", [0, RENAME_NOREPLACE, RENAME_EXCHANGE], ids=["plain", "noreplace", "exchange"])
@pytest.mark.parametrize("names", [(b"old", b"new"), (b"old", LONG), (LONG, b"new"), (LONG, LONG_2)], ids=len)
def test_everything_over_everything(world: Mirror, names: tuple[bytes, bytes], flags: int) -> None:
    pairs = list(itertools.product(KINDS, KINDS))
    for number, (source, target) in enumerate(pairs):
        base = b"%d" % number
        for directory in (base, base + b"/from", base + b"/to"):
            world.run(mirror.mkdir(directory))
        old, new = base + b"/from/" + names[0], base + b"/to/" + names[1]
        for step in (*make(source, old), *make(target, new)):
            world.run(step)
        world.run(mirror.rename(old, new, flags))
    world.compare()
    world.bench.remount()
    world.compare()


@pytest.mark.parametrize("name", [b"short", LONG], ids=["short", "long"])
def test_within_one_directory_and_onto_itself(world: Mirror, name: bytes) -> None:
    for step in (
        mirror.create(name),
        mirror.rename(name, name),
        mirror.rename(name, name, RENAME_NOREPLACE),
        mirror.rename(name, name, RENAME_EXCHANGE),
        mirror.rename(name, b"other"),
        mirror.rename(b"other", LONG_2),
        mirror.rename(LONG_2, name),
        mirror.mkdir(b"d"),
        mirror.rename(b"d", b"d"),
        mirror.rename(b"d", b"d/below"),
        mirror.rename(b"d", b"d", RENAME_EXCHANGE),
    ):
        world.run(step)
    world.compare()


def test_two_names_of_one_file_both_stay(world: Mirror) -> None:
    for step in (
        mirror.create(b"one"),
        mirror.link(b"one", LONG),
        mirror.rename(b"one", LONG),
        mirror.rename(LONG, b"one"),
        mirror.rename(b"one", LONG, RENAME_EXCHANGE),
        mirror.rename(b"one", LONG, RENAME_NOREPLACE),
        mirror.link(b"one", LONG_2),
        mirror.rename(LONG, LONG_2),
        mirror.size(LONG),
        mirror.unlink(b"one"),
    ):
        world.run(step)
    world.compare()
    world.bench.remount()
    world.compare()


def test_two_names_of_one_file_that_were_not_looked_up_both_stay(bench: Bench) -> None:
    bench.kernel.put(LONG, b"content")
    bench.kernel.link(LONG, LONG_2)
    bench.remount()
    bench.fs.rename(ROOT, LONG, ROOT, LONG_2, 0)
    assert set(bench.kernel.list()) == {LONG, LONG_2}


def test_directory_over_an_empty_one_takes_its_place_and_keeps_its_files(bench: Bench) -> None:
    kernel = bench.kernel
    for name in (b"target", LONG):
        kernel.mkdir(b"source")
        kernel.put(b"source/file", b"content")
        kernel.put(b"source/" + LONG, b"long")
        kernel.mkdir(name)
        replaced = kernel.inode(name)
        moved = kernel.inode(b"source")
        kernel.rename(b"source", name)
        assert kernel.inode(name) == kernel.lookup(name).inode == moved
        assert kernel.get(name + b"/file") == b"content"
        assert kernel.fs.getattr(replaced).inode == replaced
        assert kernel.get(name + b"/" + LONG) == b"long"
        assert not bench.tree.leftovers()


@pytest.mark.flavours("default", "deterministic-names", "legacy")
def test_directory_over_one_with_an_orphan_sidecar_is_over_an_empty_one(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.mkdir(b"source")
    kernel.mkdir(b"target")
    kernel.put(b"target/" + LONG, b"")
    os.unlink(bench.cipher_path(b"target/" + LONG))
    kernel = bench.remount()
    kernel.rename(b"source", b"target")
    assert set(kernel.list()) == {b"target"}
    assert not bench.tree.sidecars()


def test_moved_directory_is_the_same_for_whoever_is_inside(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.mkdir(b"a")
    kernel.mkdir(b"b")
    kernel.mkdir(b"a/d")
    kernel.put(b"a/d/file", b"content")
    directory, file = kernel.inode(b"a/d"), kernel.open(b"a/d/file", os.O_RDWR)
    listing = kernel.opendir(b"a/d")
    kernel.rename(b"a/d", b"b/" + LONG)
    kernel.rmdir(b"a")
    assert kernel.fs.lookup(directory, b"file").size == 7
    kernel.nlookup[kernel.inode(b"b/" + LONG + b"/file")] += 1
    kernel.write(file, 7, b"!")
    assert set(kernel.readdir(listing)) == {b"file"}
    _, above = kernel.fs.dot_attrs(listing)
    assert above.inode == kernel.inode(b"b")
    assert bench.remount().get(b"b/" + LONG + b"/file") == b"content!"


def test_exchange_of_directories_swaps_what_is_below(bench: Bench) -> None:
    kernel = bench.kernel
    for name in (b"one", LONG):
        kernel.mkdir(name)
        kernel.put(name + b"/" + name, name)
    kernel.rename(b"one", LONG, RENAME_EXCHANGE)
    assert (kernel.get(LONG + b"/one"), kernel.get(b"one/" + LONG)) == (b"one", LONG)
    kernel = bench.remount()
    assert (kernel.get(LONG + b"/one"), kernel.get(b"one/" + LONG)) == (b"one", LONG)


def test_exchange_with_what_is_not_there_is_enoent(kernel: Kernel) -> None:
    kernel.put(b"file", b"x")
    for name in (b"missing", LONG):
        for pair in ((b"file", name), (name, b"file")):
            with pytest.raises(FileNotFoundError):
                kernel.fs.rename(ROOT, pair[0], ROOT, pair[1], RENAME_EXCHANGE)
    assert set(kernel.list()) == {b"file"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes whiteouts")
@pytest.mark.parametrize("flags", [RENAME_WHITEOUT, RENAME_WHITEOUT | RENAME_NOREPLACE])
def test_whiteout_leaves_a_device_at_the_old_name(bench: Bench, flags: int) -> None:
    for old, new in ((b"old", LONG), (LONG_2, b"new")):
        bench.kernel.put(old, b"content")
        inode = bench.kernel.inode(old)
        bench.kernel.rename(old, new, flags)
        assert bench.kernel.lookup(new).inode == inode
        left = bench.kernel.lookup(old)
        assert stat.S_ISCHR(left.st.st_mode)
        assert left.st.st_rdev == 0
    kernel = bench.remount()
    assert set(kernel.list()) == {b"old", LONG, LONG_2, b"new"}
    assert kernel.get(LONG) == kernel.get(b"new") == b"content"


@pytest.mark.parametrize("flags", [8, 1 << 31, RENAME_NOREPLACE | RENAME_EXCHANGE, RENAME_EXCHANGE | RENAME_WHITEOUT])
def test_other_flags_are_einval(kernel: Kernel, flags: int) -> None:
    kernel.put(b"file", b"x")
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        kernel.rename(b"file", b"new", flags)
    assert set(kernel.list()) == {b"file"}


def test_root_cannot_be_moved_into(kernel: Kernel) -> None:
    kernel.mkdir(b"d")
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        kernel.rename(b"d", b"d/d")
    kernel.mkdir(b"d/d")
    for pair in ((b"d", b"d/d"), (b"d/d", b"d")):
        with pytest.raises(OSError):  # EINVAL, ENOTEMPTY: a matter of taste
            kernel.rename(*pair)
    assert set(kernel.list(b"d")) == {b"d"}


@pytest.mark.parametrize("name", [b"gocryptfs.diriv.rmdir.1", b"gocryptfs.diriv.mkdir.2", b"gocryptfs.longname.x.name"])
def test_directory_with_names_like_ours_is_not_empty(world: Mirror, name: bytes) -> None:
    for step in make("empty", b"old") + make("empty", b"new"):
        world.run(step)
    world.run(mirror.create(b"new/" + name))
    world.run(mirror.write(b"new/" + name, 0, b"somebody's"))
    world.run(mirror.rename(b"old", b"new", 0))
    world.compare()
