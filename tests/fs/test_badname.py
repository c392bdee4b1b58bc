"""--badname: entries that don't decrypt are shown under a made-up name, and can be reached and removed by it."""

from __future__ import annotations

import os

import pytest

from pcvfs.cipherdir.report import ProblemKind
from tests.fs.bench import Bench
from tests.fs.kernel import RENAME_EXCHANGE, ROOT, SUPERUSER

SUFFIX = b" GOCRYPTFS_BAD_NAME"
LONG = b"L" * 250

pytestmark = [pytest.mark.flavours("default", "longnamemax-62", "deterministic-names"), pytest.mark.python_engine]


def test_without_it_they_are_hidden_and_reported_once(bench: Bench) -> None:
    (bench.cipherdir / "not encrypted").write_bytes(b"x")
    bench.kernel.put(b"file", b"content")
    for _ in range(3):
        assert set(bench.kernel.list()) == {b"file"}
    bench.expect_log("entry .not encrypted. can't be decrypted and is hidden")
    bench.expected_problems = frozenset({ProblemKind.NAME_UNDECRYPTABLE})


def test_matching_ones_are_listed_and_can_be_read_renamed_and_removed(bench: Bench) -> None:
    bench.kernel.put(b"file", b"content")
    good = bench.cipher_path(b"file")
    for name in ("one.bad", "two.bad"):
        (bench.cipherdir / name).write_bytes(good.read_bytes())
    (bench.cipherdir / "other").write_bytes(b"x")
    kernel = bench.remount(badname=(b"*.bad",))
    assert set(kernel.list()) == {b"file", b"one.bad" + SUFFIX, b"two.bad" + SUFFIX}
    assert kernel.get(b"one.bad" + SUFFIX) == b"content"
    kernel.rename(b"one.bad" + SUFFIX, b"rescued")
    assert kernel.get(b"rescued") == b"content"
    kernel.unlink(b"two.bad" + SUFFIX)
    assert sorted(path.name for path in bench.cipherdir.glob("*.bad")) == []
    assert set(bench.remount(badname=()).list()) == {b"file", b"rescued"}
    os.unlink(bench.cipherdir / "other")
    bench.expect_log(*["entry .other. can't be decrypted"] * 2)


def test_name_with_something_appended_shows_what_does_decrypt(bench: Bench) -> None:
    """What a sync tool makes of a conflict: the ciphertext name with a suffix."""
    bench.kernel.put(b"a longer file name", b"content")
    good = bench.cipher_path(b"a longer file name")
    conflict = good.with_name(good.name + ".sync-conflict")
    conflict.write_bytes(good.read_bytes())
    kernel = bench.remount(badname=(b"*",))
    shown = b"a longer file name.sync-conflict" + SUFFIX
    assert set(kernel.list()) == {b"a longer file name", shown}
    assert kernel.get(shown) == b"content"
    kernel.unlink(shown)
    assert not conflict.exists()


def test_directories_with_bad_names_can_be_entered_and_removed(bench: Bench) -> None:
    bench.kernel.mkdir(b"d")
    bench.kernel.put(b"d/file", b"content")
    path = bench.cipher_path(b"d")
    path.rename(path.with_name("renamed by hand"))
    kernel = bench.remount(badname=(b"*",))
    shown = b"renamed by hand" + SUFFIX
    assert set(kernel.list()) == {shown}
    assert kernel.get(shown + b"/file") == b"content"
    kernel.put(shown + b"/" + LONG, b"new")
    for name in (b"file", LONG):
        kernel.unlink(shown + b"/" + name)
    kernel.rmdir(shown)
    assert kernel.list() == {}


@pytest.mark.flavours("longnamemax-62")
def test_damaged_long_name_is_shown_and_the_object_reached_by_its_true_name(bench: Bench) -> None:
    name = b"n" * 60
    bench.kernel.put(name, b"content")
    path = bench.cipher_path(name)
    sidecar = path.with_name(path.name + ".name")
    stored = bytearray(sidecar.read_bytes())
    stored[40] = ord("A") if stored[40] != ord("A") else ord("B")
    sidecar.chmod(0o644)
    sidecar.write_bytes(bytes(stored))
    kernel = bench.remount(badname=(b"*",))
    handle = kernel.opendir(b"")
    (entry,) = bench.fs.entries(handle, refresh=True)
    assert entry.name.endswith(SUFFIX)
    kernel.rename(name, b"rescued")
    assert set(kernel.list()) == {b"rescued"}


def test_nothing_new_can_have_such_a_name(bench: Bench) -> None:
    kernel = bench.remount(badname=(b"*",))
    inode = kernel.put(b"file", b"x")
    fs, name = bench.fs, b"new" + SUFFIX
    for call in (
        lambda: fs.create(ROOT, name, 0o600, os.O_RDWR, SUPERUSER),
        lambda: fs.mkdir(ROOT, name, 0o700, SUPERUSER),
        lambda: fs.symlink(ROOT, name, b"t", SUPERUSER),
        lambda: fs.link(inode, ROOT, name),
        lambda: fs.rename(ROOT, b"file", ROOT, name, 0),
        lambda: fs.rename(ROOT, b"file", ROOT, name, RENAME_EXCHANGE),
    ):
        with pytest.raises(FileNotFoundError):
            call()
    assert set(kernel.list()) == {b"file"}


def test_encrypted_name_that_looks_bad_comes_first(bench: Bench) -> None:
    name = b"innocent" + SUFFIX
    bench.kernel.put(name, b"content")
    kernel = bench.remount(badname=(b"*",))
    assert set(kernel.list()) == {name}
    assert kernel.get(name) == b"content"
    kernel.unlink(name)
    assert kernel.list() == {}


def test_what_belongs_to_the_volume_cannot_be_reached_by_a_bad_name(bench: Bench) -> None:
    kernel = bench.remount(badname=(b"*",))
    for name in (b"gocryptfs.conf", b"gocryptfs.diriv"):
        with pytest.raises(FileNotFoundError):
            kernel.lookup(name + SUFFIX)
        with pytest.raises(FileNotFoundError):
            bench.fs.unlink(ROOT, name + SUFFIX)
    assert kernel.list() == {}
