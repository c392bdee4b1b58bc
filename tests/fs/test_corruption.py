"""Damage to names, IVs and targets: EIO or hidden exactly there, said once in the log, and all else goes on."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from pcvfs.cipherdir.report import ProblemKind
from pcvfs.errors import AuthenticationError, FormatError
from tests.fs.bench import Bench
from tests.fs.kernel import ROOT, SUPERUSER

LONG = b"L" * 250
EIO = os.strerror(errno.EIO)
WITH_IVS = pytest.mark.flavours("default", "longnamemax-62")


# --- directory IVs ----------------------------------------------------------------------------------------------
def break_diriv(path: Path, how: str) -> None:
    diriv = path / "gocryptfs.diriv"
    diriv.chmod(0o644)
    if how == "missing":
        diriv.unlink()
    elif how == "directory":
        diriv.unlink()
        diriv.mkdir()
    elif how == "fifo":
        diriv.unlink()
        os.mkfifo(diriv)
    elif how == "symlink":
        diriv.rename(path / "elsewhere")
        diriv.symlink_to("elsewhere")
    else:
        diriv.write_bytes({"short": b"i" * 15, "long": b"i" * 17, "empty": b"", "zero": bytes(16)}[how])


@WITH_IVS
@pytest.mark.parametrize("how", ["missing", "short", "long", "empty", "zero", "directory", "fifo"])
def test_bad_iv_makes_a_directory_unusable_and_nothing_else(bench: Bench, how: str) -> None:
    kernel = bench.kernel
    kernel.mkdir(b"d")
    kernel.put(b"d/file", b"content")
    kernel.put(b"d/" + LONG, b"content")
    kernel.put(b"other", b"other")
    path = bench.cipher_path(b"d")
    saved = (path / "gocryptfs.diriv").read_bytes()
    break_diriv(path, how)
    kernel = bench.remount()
    directory = kernel.inode(b"d")
    inode = kernel.inode(b"other")
    fs = bench.fs
    for call in (
        lambda: fs.lookup(directory, b"file"),
        lambda: fs.mkdir(directory, LONG, 0o700, SUPERUSER),
        lambda: fs.create(directory, b"new", 0o600, os.O_RDWR, SUPERUSER),
        lambda: fs.link(inode, directory, b"new"),
        lambda: fs.unlink(directory, b"file"),
        lambda: fs.rename(directory, b"file", ROOT, b"rescued", 0),
        lambda: fs.rename(ROOT, b"other", directory, b"new", 0),
        lambda: kernel.list(b"d"),
    ):
        with pytest.raises(OSError, match=EIO):
            call()
    with pytest.raises(OSError, match=os.strerror(errno.ENOTEMPTY)):
        fs.rmdir(ROOT, b"d")
    assert set(kernel.list()) == {b"d", b"other"}
    assert kernel.get(b"other") == b"other"
    kernel.rename(b"d", b"still renamed")
    heal(path.parent / bench.cipher_path(b"still renamed").name, saved)
    assert kernel.get(b"still renamed/file") == b"content"
    assert bench.remount().get(b"still renamed/" + LONG) == b"content"
    bench.expect_log("has no usable gocryptfs.diriv")


def heal(path: Path, diriv: bytes) -> None:
    target = path / "gocryptfs.diriv"
    if target.is_dir():
        target.rmdir()
    target.unlink(missing_ok=True)
    target.write_bytes(diriv)
    target.chmod(0o444)


@WITH_IVS
def test_iv_behind_a_symlink_is_not_followed(bench: Bench) -> None:
    bench.kernel.mkdir(b"d")
    path = bench.cipher_path(b"d")
    break_diriv(path, "symlink")
    kernel = bench.remount()
    with pytest.raises(OSError):  # ELOOP or EIO: not read, that is what counts
        kernel.lookup(b"d/file")
    (path / "gocryptfs.diriv").unlink()
    (path / "elsewhere").rename(path / "gocryptfs.diriv")
    (path / "gocryptfs.diriv").chmod(0o444)


@WITH_IVS
@pytest.mark.parametrize("how", ["missing", "short", "zero"])
def test_empty_directory_with_a_bad_iv_can_be_removed(bench: Bench, how: str) -> None:
    bench.kernel.mkdir(b"d")
    break_diriv(bench.cipher_path(b"d"), how)
    kernel = bench.remount()
    kernel.rmdir(b"d")
    assert kernel.list() == {}


@WITH_IVS
def test_bad_iv_of_the_root_leaves_a_mount_that_says_so(bench: Bench) -> None:
    bench.kernel.put(b"file", b"content")
    diriv = bench.cipherdir / "gocryptfs.diriv"
    saved = diriv.read_bytes()
    break_diriv(bench.cipherdir, "short")
    kernel = bench.remount()
    assert stat.S_ISDIR(kernel.stat(b"").st.st_mode)
    for _ in range(2):
        with pytest.raises(OSError, match=EIO):
            kernel.list()
        with pytest.raises(OSError, match=EIO):
            kernel.lookup(b"file")
    heal(bench.cipherdir, saved)
    assert bench.kernel.get(b"file") == b"content"
    bench.expect_log("has no usable gocryptfs.diriv")


@WITH_IVS
def test_swapped_ivs_hide_all_names_of_both_directories(bench: Bench) -> None:
    kernel = bench.kernel
    for name in (b"a", b"b"):
        kernel.mkdir(name)
        kernel.put(name + b"/file " + name, b"content")
    one, two = (bench.cipher_path(name) / "gocryptfs.diriv" for name in (b"a", b"b"))
    saved = one.read_bytes(), two.read_bytes()
    for path, data in zip((one, two), reversed(saved), strict=True):
        heal(path.parent, data)
    kernel = bench.remount()
    for name in (b"a", b"b"):
        assert kernel.list(name) == {}
        with pytest.raises(FileNotFoundError):
            kernel.lookup(name + b"/file " + name)
    for path, data in zip((one, two), saved, strict=True):
        heal(path.parent, data)
    assert bench.remount().get(b"a/file a") == b"content"
    bench.expect_log(*["can't be decrypted and is hidden"] * 2)


# --- names ------------------------------------------------------------------------------------------------------
@pytest.mark.flavours("default", "deterministic-names", "longnamemax-62", "legacy")
def test_foreign_names_are_hidden_and_the_rest_is_listed(bench: Bench) -> None:
    bench.kernel.put(b"file", b"content")
    good = bench.cipher_path(b"file").name
    foreign = ["plain.txt", good[:-1], good + "A", good.lower() + "=", "gocryptfs.conf.bak", "\udcff"]
    for name in foreign:
        (bench.cipherdir / name).write_bytes(b"x")
    for _ in range(2):
        assert set(bench.kernel.list()) == {b"file"}
    for name in foreign:
        (bench.cipherdir / name).unlink()
    bench.expect_log(*["entry .* can't be decrypted and is hidden"] * len(foreign))


@pytest.mark.flavours("default", "longnamemax-62")
def test_name_moved_to_another_directory_by_hand_is_hidden_there(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.mkdir(b"a")
    kernel.mkdir(b"b")
    kernel.put(b"a/file", b"content")
    path = bench.cipher_path(b"a/file")
    moved = bench.cipher_path(b"b") / path.name
    path.rename(moved)
    kernel = bench.remount()
    assert kernel.list(b"a") == kernel.list(b"b") == {}
    moved.rename(path)
    assert bench.remount().get(b"a/file") == b"content"
    bench.expect_log("can't be decrypted and is hidden")


@pytest.mark.flavours
def test_flood_of_bad_names_does_not_flood_the_log(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcvfs.fs.dirs._LOGGED_MAX", 5)
    for number in range(50):
        (bench.cipherdir / f"bad{number}").write_bytes(b"")
    assert bench.kernel.list() == {}
    bench.expect_log(*["can't be decrypted and is hidden"] * 5)
    bench.expected_problems = frozenset({ProblemKind.NAME_UNDECRYPTABLE})


# --- symlinks ---------------------------------------------------------------------------------------------------
@pytest.mark.flavours("default", "xchacha", "aessiv", "deterministic-names", "longnamemax-62", "legacy")
@pytest.mark.parametrize("target", ["plain", "A" * 60, "!", "/etc/passwd"])
def test_symlink_with_a_bad_target_has_size_0_and_cannot_be_read(bench: Bench, target: str) -> None:
    bench.kernel.symlink(b"symlink", b"target")
    path = bench.cipher_path(b"symlink")
    path.unlink()
    path.symlink_to(target)
    kernel = bench.remount()
    assert kernel.list()[b"symlink"].size == kernel.stat(b"symlink").size == 0
    with pytest.raises((FormatError, AuthenticationError)):
        kernel.readlink(b"symlink")
    kernel.unlink(b"symlink")


# --- the wrong thing in the place of another --------------------------------------------------------------------
def test_symlinks_planted_in_the_cipherdir_lead_nowhere(bench: Bench, tmp_path: Path) -> None:
    """Whoever can write to the cipherdir must not get at files outside it."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "secret").write_bytes(b"0" * 100)
    kernel = bench.kernel
    kernel.mkdir(b"d")
    kernel.put(b"d/file", b"content")
    kernel.put(b"file", b"content")
    directory, file, below = (bench.cipher_path(path) for path in (b"d", b"file", b"d/file"))
    if (directory / "gocryptfs.diriv").exists():
        shutil.copy(directory / "gocryptfs.diriv", secret)
    shutil.copy(below, secret / below.name)
    kernel.forget_everything()
    file.unlink()
    file.symlink_to(secret / "secret")
    directory.rename(tmp_path / "moved")
    directory.symlink_to(secret)
    for path in (b"file", b"d"):
        assert stat.S_ISLNK(kernel.lookup(path).st.st_mode)
        with pytest.raises(OSError):  # EINVAL or ELOOP
            kernel.open(path, os.O_RDWR)
    with pytest.raises(NotADirectoryError):
        kernel.lookup(b"d/file")
    with pytest.raises(NotADirectoryError):
        kernel.rmdir(b"d")
    with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
        kernel.setattr(b"file", mode=0o777)
    for path in (b"file", b"d"):
        kernel.unlink(path)
    assert (secret / "secret").read_bytes() == b"0" * 100
    (tmp_path / "moved").rename(directory)


def test_directory_swapped_for_a_symlink_between_operations_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    kernel = bench.kernel
    kernel.mkdir(b"d")
    kernel.mkdir(b"d/e")
    kernel.put(b"d/e/file", b"content")
    path = bench.cipher_path(b"d")
    kernel = bench.remount(sharedstorage=True)
    inode = kernel.inode(b"d/e")
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    for call in (lambda: kernel.fs.lookup(inode, b"file"), lambda: kernel.fs.opendir(inode)):
        with pytest.raises(NotADirectoryError):
            call()
    path.unlink()
    (tmp_path / "moved").rename(path)
    assert kernel.get(b"d/e/file") == b"content"


@pytest.mark.flavours("default", "plaintextnames")
def test_object_removed_behind_our_back_is_enoent(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.put(b"file", b"x")
    bench.cipher_path(b"file").unlink()
    for call in (
        lambda: kernel.stat(b"file"),
        lambda: kernel.open(b"file"),
        lambda: kernel.setattr(b"file", mode=0o600),
        lambda: kernel.unlink(b"file"),
        lambda: kernel.link(b"file", b"new"),
        lambda: kernel.rename(b"file", b"new"),
    ):
        with pytest.raises(FileNotFoundError):
            call()
