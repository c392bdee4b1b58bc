"""Translating paths: both ways, for every flavour, and what can't be translated."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcvfs.cipherdir.lifecycle import unlock_volume
from pcvfs.cipherdir.paths import decrypt_path, encrypt_path
from pcvfs.cipherdir.volume import Volume
from pcvfs.errors import FormatError, NameDecodeError
from pcvfs.fs.options import MountOptions
from pcvfs.fs.volume_fs import Caller, VolumeFS
from pcvfs.types import Inode
from tests.support.flavours import FLAVOURS, PASSWORD, Flavour

LONG = b"L" * 250
TREE = [b"d", b"d/" + LONG, b"d/" + LONG + b"/e"]
FILE = TREE[-1] + b"/file"


@pytest.fixture(params=FLAVOURS.values(), ids=FLAVOURS.keys())
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return request.param


@pytest.fixture
def volume(tmp_path: Path, flavour: Flavour) -> Iterator[Volume]:
    """A volume with a chain of directories, a file at its end, and a symlink."""
    flavour.write_volume(tmp_path)
    with unlock_volume(os.fsencode(tmp_path), password=PASSWORD.encode()) as volume:
        fs = VolumeFS(volume, MountOptions(cipherdir=os.fsencode(tmp_path), mountpoint=b"/nowhere"))
        parent, caller = Inode(1), Caller(os.geteuid(), os.getegid())
        fs.symlink(parent, b"symlink", b"d", caller)
        for path in TREE:
            parent = fs.mkdir(parent, path.rpartition(b"/")[2], 0o755, caller).inode
        handle, _ = fs.create(parent, b"file", 0o644, os.O_RDWR, caller)
        fs.release(handle)
        fs.close()
        yield volume


def below(volume: Volume, cipher_path: bytes) -> bytes:
    return volume.path + b"/" + cipher_path


@pytest.mark.parametrize("path", [*TREE, FILE, b"symlink"], ids=len)
def test_encrypt_path_names_the_backing_object_and_decrypt_path_leads_back(volume: Volume, path: bytes) -> None:
    encrypted = encrypt_path(volume, path)
    assert os.path.lexists(below(volume, encrypted))
    assert encrypted.count(b"/") == path.count(b"/")
    assert (encrypted == path) == volume.names.is_plaintext
    assert decrypt_path(volume, encrypted) == path


def test_encrypt_path_last_component_need_not_exist(volume: Volume) -> None:
    encrypted = encrypt_path(volume, b"d/nothing")
    assert not os.path.lexists(below(volume, encrypted))
    assert decrypt_path(volume, encrypted) == b"d/nothing"
    long = encrypt_path(volume, b"d/" + b"N" * 240)
    if not volume.names.is_plaintext:
        assert os.path.basename(long).startswith(b"gocryptfs.longname.")
        with pytest.raises(FileNotFoundError):  # only its sidecar could tell
            decrypt_path(volume, long)


@pytest.mark.parametrize("path", [b"nothing/file", TREE[-1] + b"/nothing/file"], ids=len)
def test_encrypt_path_parents_must_exist(volume: Volume, path: bytes) -> None:
    with pytest.raises(FileNotFoundError):
        encrypt_path(volume, path)


@pytest.mark.parametrize("path", [FILE + b"/below", b"symlink/" + LONG], ids=len)
def test_encrypt_path_parents_must_be_directories(volume: Volume, path: bytes) -> None:
    with pytest.raises(NotADirectoryError):
        encrypt_path(volume, path)


@pytest.mark.parametrize("path", [b"", b"/d", b"d//x", b"d/", b".", b"..", b"d/../d", b"d/./x", b"../x", b"d/\0"])
@pytest.mark.parametrize("translate", [encrypt_path, decrypt_path])
def test_paths_that_are_not_canonical_are_refused(volume: Volume, path: bytes, translate: object) -> None:
    assert callable(translate)
    with pytest.raises((FileNotFoundError, NameDecodeError)):
        translate(volume, path)


def test_encrypt_path_name_too_long_is_enametoolong(volume: Volume) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)):
        encrypt_path(volume, b"d/" + b"n" * 256)


def test_decrypt_path_of_what_is_no_name_fails(volume: Volume) -> None:
    if volume.names.is_plaintext:
        assert decrypt_path(volume, b"not encrypted") == b"not encrypted"  # everything is a name
        return
    for name in (b"gocryptfs.conf", b"not encrypted", b"gocryptfs.longname.x.name", b"A" * 23):
        with pytest.raises(NameDecodeError):
            decrypt_path(volume, name)
    with pytest.raises(NameDecodeError):
        decrypt_path(volume, encrypt_path(volume, b"d") + b"/not encrypted")


def test_decrypt_path_with_a_damaged_sidecar_fails(volume: Volume) -> None:
    if volume.names.is_plaintext:
        assert not list(Path(os.fsdecode(volume.path)).rglob("*.name"))
        return
    encrypted = encrypt_path(volume, TREE[1])
    sidecar = Path(os.fsdecode(below(volume, encrypted) + b".name"))
    sidecar.chmod(0o644)
    sidecar.write_bytes(b"")
    with pytest.raises(FormatError):
        decrypt_path(volume, encrypted)
    sidecar.write_bytes(b"not encrypted")
    with pytest.raises(NameDecodeError):
        decrypt_path(volume, encrypted)
    assert encrypt_path(volume, FILE).startswith(encrypted)


def test_paths_through_a_directory_without_a_good_iv_fail(volume: Volume) -> None:
    if not volume.names.has_diriv:
        assert not list(Path(os.fsdecode(volume.path)).rglob("gocryptfs.diriv"))
        return
    encrypted = encrypt_path(volume, FILE)
    diriv = Path(os.fsdecode(below(volume, encrypt_path(volume, b"d")) + b"/gocryptfs.diriv"))
    diriv.chmod(0o644)
    diriv.write_bytes(bytes(16))
    for translate, path in ((encrypt_path, FILE), (decrypt_path, encrypted)):
        with pytest.raises(FormatError):
            translate(volume, path)
    assert decrypt_path(volume, encrypt_path(volume, b"d")) == b"d"


def test_paths_do_not_leave_the_cipherdir_through_planted_symlinks(volume: Volume, tmp_path: Path) -> None:
    encrypted = encrypt_path(volume, b"d")
    path = Path(os.fsdecode(below(volume, encrypted)))
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")
    with pytest.raises(NotADirectoryError):
        encrypt_path(volume, FILE)
    with pytest.raises(NotADirectoryError):
        decrypt_path(volume, encrypted + b"/x")


def test_paths_longer_than_the_system_allows_are_translated(volume: Volume, flavour: Flavour) -> None:
    fs = VolumeFS(volume, MountOptions(cipherdir=volume.path, mountpoint=b"/nowhere"))
    parent, caller = Inode(1), Caller(os.geteuid(), os.getegid())
    for _ in range(25):
        parent = fs.mkdir(parent, LONG, 0o755, caller).inode
        fs.trim()
    fs.close()
    path = b"/".join([LONG] * 25)
    encrypted = encrypt_path(volume, path)
    assert len(path) > 4096
    assert decrypt_path(volume, encrypted) == path
