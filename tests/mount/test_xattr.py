"""Extended attributes and ACLs."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.accounts import errno_of
from tests.support.drivers import Driver, MountOptions
from tests.support.flavours import Flavour
from tests.support.loopdev import loop_ext4
from tests.support.places import Place
from tests.support.playground import Playground
from tests.support.requirements import require_root, require_tool

ACL_ACCESS = "system.posix_acl_access"
ACL_DEFAULT = "system.posix_acl_default"
XATTR_SIZE_MAX = 65536


@pytest.fixture
def path(place: Place) -> Path:
    path = place.path / "file"
    path.write_bytes(b"content")
    return path


@pytest.mark.parametrize("value", [b"", b"v", b"\0\xff binary \n", b"x" * 1000])
def test_value_comes_back_on_files_and_directories(place: Place, path: Path, value: bytes) -> None:
    for target in (path, place.path):
        os.setxattr(target, "user.name", value)
        assert os.getxattr(target, "user.name") == value
        assert os.listxattr(target) == ["user.name"]
        os.removexattr(target, "user.name")
        assert errno_of(lambda t=target: os.getxattr(t, "user.name")) == errno.ENODATA  # type: ignore[misc]  # Path
        assert os.listxattr(target) == []


def test_create_and_replace_flags(path: Path) -> None:
    assert errno_of(lambda: os.setxattr(path, "user.a", b"1", os.XATTR_REPLACE)) == errno.ENODATA
    os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
    assert errno_of(lambda: os.setxattr(path, "user.a", b"2", os.XATTR_CREATE)) == errno.EEXIST
    assert os.getxattr(path, "user.a") == b"1"
    os.setxattr(path, "user.a", b"3", os.XATTR_REPLACE)
    assert os.getxattr(path, "user.a") == b"3"


def test_removing_what_is_not_there_is_enodata(path: Path) -> None:
    assert errno_of(lambda: os.removexattr(path, "user.none")) == errno.ENODATA


def test_many_names_are_listed(path: Path) -> None:
    names = {f"user.attribute-{n}" for n in range(20)}
    for name in names:
        os.setxattr(path, name, name.encode())
    assert set(os.listxattr(path)) == names
    assert all(os.getxattr(path, name) == name.encode() for name in names)


@pytest.mark.parametrize("name", ["user.a/slash", "user.ünï", "user." + "n" * 150, "user.x.y.z", "user.gocryptfs.x"])
def test_unusual_names_work(path: Path, name: str) -> None:
    os.setxattr(path, name, b"v")
    assert os.listxattr(path) == [name]
    assert os.getxattr(path, name) == b"v"


@pytest.mark.parametrize("name", ["user.n", "trusted.n", "security.n"])
def test_every_namespace_works_for_root(path: Path, name: str) -> None:
    require_root("trusted and security attributes need root")
    os.setxattr(path, name, b"value")
    assert os.getxattr(path, name) == b"value"
    assert name in os.listxattr(path)
    os.removexattr(path, name)
    assert name not in os.listxattr(path)


def test_attributes_by_descriptor_and_through_a_symlink(place: Place, path: Path) -> None:
    (place.path / "link").symlink_to("file")
    with open(path, "rb") as stream:
        os.setxattr(stream.fileno(), "user.fd", b"by descriptor")
        assert os.getxattr(place.path / "link", "user.fd") == b"by descriptor"
        assert os.listxattr(stream.fileno()) == ["user.fd"]


def test_attributes_belong_to_the_file_not_the_name(place: Place, path: Path) -> None:
    os.setxattr(path, "user.a", b"1")
    os.link(path, place.path / "second")
    os.rename(path, place.path / "renamed")
    assert os.getxattr(place.path / "second", "user.a") == os.getxattr(place.path / "renamed", "user.a") == b"1"


def test_user_attributes_of_symlinks_and_fifos_are_refused(place: Place) -> None:
    (place.path / "link").symlink_to("dangling")
    os.mkfifo(place.path / "fifo")
    for target in (place.path / "link", place.path / "fifo"):
        refused = errno_of(lambda t=target: os.setxattr(t, "user.a", b"1", follow_symlinks=False))  # type: ignore[misc]  # Path
        assert refused in (errno.EPERM, errno.EOPNOTSUPP)
        assert errno_of(lambda t=target: os.getxattr(t, "user.a", follow_symlinks=False)) in (  # type: ignore[misc]  # Path
            errno.EPERM,
            errno.ENODATA,
            errno.EOPNOTSUPP,
        )


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o444])
def test_attributes_of_files_of_any_mode_for_root(path: Path, mode: int) -> None:
    require_root("other users need permissions")
    path.chmod(mode)
    os.setxattr(path, "user.a", b"1")
    assert os.getxattr(path, "user.a") == b"1"
    os.removexattr(path, "user.a")


def test_small_buffer_is_erange(path: Path) -> None:
    os.setxattr(path, "user.a", b"0123456789")
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(4)
    assert libc.getxattr(os.fsencode(path), b"user.a", buffer, 4) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert libc.getxattr(os.fsencode(path), b"user.a", None, 0) == 10
    assert libc.listxattr(os.fsencode(path), buffer, 4) == -1
    assert ctypes.get_errno() == errno.ERANGE
    assert libc.listxattr(os.fsencode(path), None, 0) == len("user.a") + 1


@pytest.mark.flavours("default", "xchacha", "legacy")
@pytest.mark.parametrize("length", [5000, 65000, 65536 - 40])
def test_value_of_64_kib_where_the_backing_stores_it(
    playground: Playground, driver: Driver, flavour: Flavour, length: int
) -> None:
    driver.require()
    with loop_ext4(playground.new_directory(), size_mib=32, features="ea_inode") as disk:
        volume = playground.new_volume(driver, flavour, parent=disk)
        live = playground.mount(driver, volume)
        path, value = live.path / "file", os.urandom(length)
        path.write_bytes(b"")
        os.setxattr(path, "user.big", value)
        assert os.getxattr(path, "user.big") == value
        too_big = errno_of(lambda: os.setxattr(path, "user.bigger", bytes(XATTR_SIZE_MAX + 1)))
        assert too_big in (errno.E2BIG, errno.ENOSPC, errno.EINVAL)
        assert os.listxattr(path) == ["user.big"]
        live.close()


# --- ACLs --------------------------------------------------------------------------------------------------------
def acl(user_permissions: int) -> bytes:
    """An ACL rw-/uid 1000:PERM/r--/mask rwx/--- in the kernel's layout."""
    entries = [(1, 6, -1), (2, user_permissions, 1000), (4, 4, -1), (16, 7, -1), (32, 0, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def test_acl_attributes_are_stored_as_they_are(place: Place, path: Path) -> None:
    os.setxattr(path, ACL_ACCESS, acl(5))
    assert os.getxattr(path, ACL_ACCESS) == acl(5)
    os.setxattr(place.path, ACL_DEFAULT, acl(7))
    assert os.getxattr(place.path, ACL_DEFAULT) == acl(7)
    assert os.listxattr(path) == [ACL_ACCESS]
    assert ACL_DEFAULT in os.listxattr(place.path)
    os.removexattr(path, ACL_ACCESS)
    os.removexattr(place.path, ACL_DEFAULT)
    assert os.listxattr(path) == []


@pytest.mark.flavours("default", "plaintextnames")
def test_setfacl_and_getfacl_agree(playground: Playground, driver: Driver, flavour: Flavour) -> None:
    driver.require()
    setfacl, getfacl = require_tool("setfacl"), require_tool("getfacl")
    live = playground.new_mount(driver, flavour, MountOptions(acl=True))
    directory = live.path / "dir"
    directory.mkdir()
    (directory / "file").write_bytes(b"")
    subprocess.run([setfacl, "-m", "u:1000:rwx,g:2000:r-x", directory / "file"], check=True, timeout=30)
    subprocess.run([setfacl, "-d", "-m", "u:1000:rw-", directory], check=True, timeout=30)
    shown = subprocess.run([getfacl, "-n", "-c", "-p", directory / "file"], check=True, capture_output=True, timeout=30)
    assert b"user:1000:rwx" in shown.stdout
    assert b"group:2000:r-x" in shown.stdout
    (directory / "heir").write_bytes(b"")
    shown = subprocess.run([getfacl, "-n", "-c", "-p", directory / "heir"], check=True, capture_output=True, timeout=30)
    assert b"user:1000:rw-" in shown.stdout
