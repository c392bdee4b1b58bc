"""File names of every length and kind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.accounts import errno_of
from tests.support.places import Place
from tests.support.syscalls import RENAME_EXCHANGE, renameat2
from tests.support.tree import paths_below

MAGIC = [
    b"gocryptfs.diriv",
    b"gocryptfs.conf",
    b"gocryptfs.conf.tmp",
    b"gocryptfs.longname.x",
    b"gocryptfs.longname.x.name",
    b"gocryptfs.longname.",
    b"gocryptfs.diriv.rmdir.123",
    b"gocryptfs.longname.nVPsKHdGHkKSP5JtJNiuXPGCQTkDZkN9mDsUQnXPwxs",
    b"pcvfs",
    b".fuse_hidden0001",
]
STRANGE = [
    b"\xff\xfe not UTF-8 \x80",
    "ünï-©-名前.txt".encode(),
    "u\u0308 decomposed".encode(),
    b" leading and trailing ",
    b"new\nline",
    b"tab\tback\\slash",
    b"-rf",
    b"...",
    b". .",
    b"*?[a-z]",
    b"\x01\x7f",
    b"=",
    b"AAAAAAAAAAAAAAAAAAAAAA",
    b"AAAAAAAAAAAAAAAAAAAAAA==",
]


def test_name_of_every_length_is_created_found_listed_and_removed(place: Place) -> None:
    base = os.fsencode(place.path)
    names = [(b"%03d-" % length + b"n" * 255)[:length] for length in range(1, 256)]
    for name in names:
        with open(os.path.join(base, name), "wb") as stream:
            stream.write(name)
    assert sorted(os.listdir(base)) == sorted(set(names))
    for name in set(names):
        with open(os.path.join(base, name), "rb") as stream:
            assert len(stream.read()) >= len(name)
        os.unlink(os.path.join(base, name))
    assert os.listdir(base) == []


def test_name_that_is_too_long_is_refused_by_every_operation(place: Place) -> None:
    (place.path / "file").write_bytes(b"")
    too_long = place.path / ("x" * 256)
    for action in (
        lambda: os.stat(too_long),
        lambda: os.mkdir(too_long),
        lambda: os.open(too_long, os.O_CREAT | os.O_WRONLY),
        lambda: os.symlink("x", too_long),
        lambda: os.link(place.path / "file", too_long),
        lambda: os.rename(place.path / "file", too_long),
        lambda: os.unlink(too_long),
    ):
        assert errno_of(action) == errno.ENAMETOOLONG
    assert os.listdir(place.path) == ["file"]


@pytest.mark.parametrize("name", MAGIC + STRANGE, ids=repr)
def test_unusual_name_is_an_ordinary_name(place: Place, name: bytes) -> None:
    base = os.fsencode(place.path)
    path = os.path.join(base, name)
    with open(path, "wb") as stream:
        stream.write(b"content of " + name)
    assert os.listdir(base) == [name]
    os.rename(path, path + b"2")
    os.rename(path + b"2", path)
    os.link(path, path + b"3")
    renameat2_bytes(path, path + b"3")
    os.unlink(path + b"3")
    with open(path, "rb") as stream:
        assert stream.read() == b"content of " + name
    os.unlink(path)
    os.mkdir(path)
    os.symlink(name, os.path.join(path, name))
    assert os.readlink(os.path.join(path, name)) == name
    assert os.listdir(path) == [name]
    os.unlink(os.path.join(path, name))
    os.rmdir(path)
    assert os.listdir(base) == []


def renameat2_bytes(one: bytes, two: bytes) -> None:
    renameat2(Path(os.fsdecode(one)), Path(os.fsdecode(two)), RENAME_EXCHANGE)


@pytest.mark.fuse_only
@pytest.mark.parametrize("name", [n for n in MAGIC if n != b"gocryptfs.conf"], ids=repr)
def test_magic_name_in_the_root_is_an_ordinary_name(place: Place, name: bytes) -> None:
    path = os.path.join(os.fsencode(place.mount.path), name)
    with open(path, "wb") as stream:
        stream.write(b"root")
    assert name in os.listdir(os.fsencode(place.mount.path))
    os.unlink(path)


@pytest.mark.fuse_only
def test_config_name_in_the_root_is_usable_or_reserved(place: Place) -> None:
    path = place.mount.path / "gocryptfs.conf"
    before = (place.mount.volume.cipherdir / "gocryptfs.conf").read_bytes()
    if place.flavour.has_plain_names:
        for action in (
            lambda: os.open(path, os.O_CREAT | os.O_WRONLY),
            lambda: os.stat(path),
            lambda: os.unlink(path),
            lambda: os.rename(place.path, path),
        ):
            assert errno_of(action) in (errno.EPERM, errno.ENOENT)
        assert "gocryptfs.conf" not in os.listdir(place.mount.path)
    else:
        path.write_bytes(b"just a file")
        assert path.read_bytes() == b"just a file"
        path.unlink()
    assert (place.mount.volume.cipherdir / "gocryptfs.conf").read_bytes() == before


@pytest.mark.fuse_only
def test_names_and_content_do_not_show_in_the_encrypted_directory(place: Place) -> None:
    secret = b"findable plaintext 0123456789" * 500
    (place.path / "telltale-name").write_bytes(secret)
    (place.path / ("telltale-long-" + "x" * 200)).write_bytes(secret)
    (place.path / "link").symlink_to("telltale-target")
    os.sync()
    for path in paths_below(place.mount.volume.cipherdir):
        if not place.flavour.has_plain_names:
            assert "telltale" not in path.name
            assert not (path.is_symlink() and "telltale" in os.readlink(path))
        if path.is_file() and not path.is_symlink():
            assert b"findable plaintext" not in path.read_bytes()


def test_names_that_differ_only_in_case_or_normal_form_are_different(place: Place) -> None:
    names = ["name", "Name", "NAME", "caf\u00e9", "cafe\u0301"]
    for name in names:
        (place.path / name).write_text(name)
    assert sorted(os.listdir(place.path)) == sorted(names)
    assert all((place.path / name).read_text() == name for name in names)


def test_same_name_in_two_directories_is_stored_differently_if_directories_have_ivs(place: Place) -> None:
    for directory in ("a", "b"):
        (place.path / directory).mkdir()
        (place.path / directory / "same").write_bytes(b"x")
    if not place.driver.is_fuse or place.flavour.has_plain_names:
        return
    root = place.mount.volume.cipherdir
    number = os.stat(place.path / "a").st_ino, os.stat(place.path / "b").st_ino
    directories = [p for p in paths_below(root) if not p.is_symlink() and os.stat(p).st_ino in number]
    stored = [[n for n in os.listdir(d) if n != "gocryptfs.diriv"] for d in directories]
    assert len(stored) == 2
    assert (stored[0] == stored[1]) == (place.flavour.names == "deterministic")
