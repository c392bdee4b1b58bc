"""Shared storage: two mounts of one cipherdir that know nothing of each other, and plain changes to the cipherdir."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from pcvfs.cipherdir import backing
from pcvfs.cipherdir.lifecycle import unlock_volume
from pcvfs.fs.options import Engine
from tests.fs.bench import Bench, check_counts, new_fs
from tests.fs.kernel import RENAME_EXCHANGE, Kernel
from tests.support.flavours import PASSWORD

LONG = b"L" * 250

pytestmark = [pytest.mark.flavours("default", "plaintextnames", "longnamemax-62"), pytest.mark.python_engine]


class Peers(NamedTuple):
    """Two machines."""

    here: Kernel
    there: Kernel


@pytest.fixture
def peers(bench: Bench, engine: Engine) -> Iterator[Peers]:
    here = bench.remount(sharedstorage=True)
    with unlock_volume(os.fsencode(bench.cipherdir), password=PASSWORD.encode()) as volume:
        fs = new_fs(volume, bench.options, engine)
        there = Kernel(fs, caches_names=False)
        yield Peers(here, there)
        check_counts(fs, there)
        there.close_everything()
        there.forget_everything()
        assert fs.statistics() == (1, 0, 0, 0, 0)
        fs.close()


# --- names ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [b"short", LONG], ids=["short", "long"])
def test_what_one_does_the_other_sees(peers: Peers, name: bytes) -> None:
    here, there = peers
    here.put(name, b"content")
    assert there.get(name) == b"content"
    there.rename(name, b"renamed")
    assert set(here.list()) == {b"renamed"}
    with pytest.raises(FileNotFoundError):
        here.stat(name)
    here.mkdir(name)
    there.put(name + b"/below", b"x")
    assert here.get(name + b"/below") == b"x"
    here.unlink(name + b"/below")
    there.rmdir(name)
    with pytest.raises(FileNotFoundError):
        here.list(name)
    here.put(name, b"a file now")
    assert there.get(name) == b"a file now"


def test_nothing_is_kept_between_operations(bench: Bench, peers: Peers) -> None:
    peers.here.mkdir(b"a")
    peers.here.mkdir(b"a/b")
    peers.here.put(b"a/b/file", b"x")
    peers.here.get(b"a/b/file")
    assert bench.fs.statistics().dirfds == 0


def test_every_name_is_an_object_of_its_own(peers: Peers) -> None:
    here, there = peers
    inode = here.put(b"file", b"content")
    link = here.link(b"file", LONG).inode
    assert inode != link
    assert here.stat(LONG).st.st_nlink == 2
    there.unlink(b"file")
    assert here.get(LONG) == b"content"
    here.link(LONG, b"file")
    here.rename(b"file", LONG)  # two names of one file: nothing happens
    assert set(there.list()) == {b"file", LONG}
    here.unlink(b"file")
    assert there.get(LONG) == b"content"


def test_objects_keep_their_number_through_renames(peers: Peers) -> None:
    here, _ = peers
    one, two = here.put(b"one", b"1"), here.put(LONG, b"2")
    here.rename(b"one", b"renamed")
    assert here.lookup(b"renamed").inode == one
    here.put(b"new", b"3")
    here.rename(b"renamed", b"new")
    assert here.lookup(b"new").inode == one
    here.rename(b"new", LONG, RENAME_EXCHANGE)
    assert (here.get(b"new"), here.get(LONG)) == (b"2", b"1")
    assert here.fs.getattr(one).size == here.fs.getattr(two).size == 1


def test_object_replaced_by_another_type_is_a_new_object(peers: Peers) -> None:
    here, there = peers
    old = here.put(b"name", b"content")
    there.unlink(b"name")
    there.mkdir(b"name")
    there.put(b"name/below", b"x")
    assert here.lookup(b"name").inode != old
    assert set(here.list(b"name")) == {b"below"}
    there.unlink(b"name/below")
    there.rmdir(b"name")
    there.symlink(b"name", b"target")
    assert here.readlink(b"name") == b"target"


def test_directory_removed_by_another_is_enoent_and_no_damage(peers: Peers) -> None:
    here, there = peers
    inode = here.mkdir(b"d").inode
    handle = here.opendir(b"d")
    there.rmdir(b"d")
    for call in (
        lambda: here.fs.getattr(inode),
        lambda: here.fs.lookup(inode, b"x"),
        lambda: here.fs.unlink(inode, LONG),
        lambda: here.fs.opendir(inode),
        lambda: here.readdir(handle),
    ):
        with pytest.raises(FileNotFoundError):
            call()


@pytest.mark.flavours("default", "longnamemax-62")
def test_directory_replaced_by_another_has_another_iv(bench: Bench, peers: Peers) -> None:
    here, there = peers
    here.mkdir(b"d")
    here.put(b"d/" + LONG, b"old")
    there.unlink(b"d/" + LONG)
    there.rmdir(b"d")
    there.mkdir(b"d")
    there.put(b"d/new", b"new")
    assert set(here.list(b"d")) == {b"new"}
    here.put(b"d/" + LONG, b"also new")
    assert there.get(b"d/" + LONG) == b"also new"


@pytest.mark.flavours("default", "deterministic-names")
def test_rmdir_that_meets_a_new_file_puts_the_directory_back(
    bench: Bench, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = peers
    here.mkdir(b"d")
    there.put(b"elsewhere", b"content")
    source, renameat2 = bench.cipher_path(b"elsewhere"), backing.renameat2

    def rename_and_be_late(old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int = 0) -> None:
        renameat2(old_fd, old, new_fd, new, flags)
        if source.exists() and new.startswith(b"gocryptfs.diriv.rmdir."):
            source.rename(bench.cipherdir / os.fsdecode(new) / source.name)

    monkeypatch.setattr(backing, "renameat2", rename_and_be_late)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
        here.rmdir(b"d")
    monkeypatch.undo()
    assert set(there.list()) == {b"d"}
    (path,) = bench.tree.paths_of(there.lookup(b"d").st.st_ino)
    assert os.fsencode(source.name) in os.listdir(path)
    os.unlink(path + b"/" + os.fsencode(source.name))
    assert there.list(b"d") == {}


# --- content ----------------------------------------------------------------------------------------------------
@pytest.mark.both_engines
def test_content_written_by_one_is_read_by_the_other_through_open_handles(peers: Peers) -> None:
    here, there = peers
    here.put(b"file", b"start")
    ours, theirs = here.open(b"file", os.O_RDWR), there.open(b"file", os.O_RDWR)
    model = bytearray(b"start")
    for number, (kernel, handle) in enumerate([(here, ours), (there, theirs)] * 4):
        data = b"%d" % number * 3000
        kernel.write(handle, len(model), data)
        model += data
        assert here.read(ours) == there.read(theirs) == model
        assert here.stat(b"file").size == there.stat(b"file").size == len(model)
    there.setattr(b"file", size=4097)
    assert here.read(ours) == model[:4097]


@pytest.mark.both_engines
def test_content_started_anew_by_one_has_another_file_id_for_both(bench: Bench, peers: Peers) -> None:
    here, there = peers
    here.put(b"file", b"old content")
    ours, theirs = here.open(b"file", os.O_RDWR), there.open(b"file", os.O_RDWR)
    assert here.read(ours) == there.read(theirs) == b"old content"
    before = bench.cipher_file(b"file").header
    there.setattr(b"file", size=0)
    there.write(theirs, 0, b"new")
    assert here.read(ours) == b"new"
    here.write(ours, 3, b" content")
    assert there.read(theirs) == b"new content"
    assert bench.cipher_file(b"file").header != before


@pytest.mark.both_engines
def test_file_replaced_by_another_machine(bench: Bench, peers: Peers) -> None:
    here, there = peers
    old = here.put(b"file", b"old")
    handle = here.open(b"file", os.O_RDWR)
    there.put(b"new", b"new content")
    there.rename(b"new", b"file")
    assert here.read(handle) == b"old"
    assert here.lookup(b"file").inode != old
    assert here.get(b"file") == b"new content"
    here.write(handle, 0, b"OLD")
    assert there.get(b"file") == b"new content"


@pytest.mark.both_engines
def test_file_brought_by_a_sync_tool_is_read_at_once(bench: Bench, peers: Peers) -> None:
    """Copies of ciphertext arrive under temporary names and are renamed into place."""
    here, there = peers
    there.put(b"file", b"version 1")
    assert here.get(b"file") == b"version 1"
    path = bench.cipher_path(b"file")
    version_1 = path.read_bytes()
    there.setattr(b"file", size=0)
    handle = there.open(b"file", os.O_RDWR)
    there.write(handle, 0, b"version 2!")
    there.release(handle)
    assert here.get(b"file") == b"version 2!"
    temporary = bench.cipherdir / ".sync.tmp"
    temporary.write_bytes(version_1)
    temporary.rename(path)
    assert here.get(b"file") == b"version 1"
    assert here.stat(b"file").size == 9


def test_inode_numbers_may_repeat_below_but_never_here(peers: Peers) -> None:
    here, there = peers
    seen = set()
    for number in range(10):
        there.put(b"file", b"%d" % number)
        attr = here.lookup(b"file")
        assert stat.S_ISREG(attr.st.st_mode)
        assert attr.inode not in seen
        assert here.get(b"file") == b"%d" % number
        seen.add(attr.inode)
        there.forget(there.unlink(b"file"))
        there.mkdir(b"file")
        attr = here.lookup(b"file")
        assert stat.S_ISDIR(attr.st.st_mode)
        assert attr.inode not in seen
        seen.add(attr.inode)
        there.rmdir(b"file")
        there.forget_everything()
