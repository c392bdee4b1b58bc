"""Names: what is legal, what is stored how, what a lookup finds."""

from __future__ import annotations

import base64
import errno
import os
import stat

import pytest

from tests.fs.bench import Bench
from tests.fs.cipher_tree import LONG_PREFIX, SIDECAR_SUFFIX
from tests.fs.kernel import ROOT, SUPERUSER, Kernel
from tests.support.flavours import Flavour

SPECIAL = [
    b"gocryptfs.diriv",
    b"gocryptfs.diriv.rmdir.123",
    b"gocryptfs.diriv.mkdir.123",
    b"gocryptfs.longname.x",
    b"gocryptfs.longname.x.name",
    b"x GOCRYPTFS_BAD_NAME",
    b"...",
    b" ",
    b"-rf",
    b"new\nline",
    b"\xff\xfe not UTF-8",
    b"\x01\x7f",
    bytes(range(1, 47)) + bytes(range(48, 256)),
]


def errno_of(kernel_call: object) -> int:
    assert callable(kernel_call)
    try:
        kernel_call()
    except OSError as exc:
        return exc.errno or -1
    return 0


def longest_short_name(flavour: Flavour) -> int:
    """Bytes of the longest name that is not hashed: docs/format.md "Long names"."""
    if flavour.has_plain_names:
        return 255
    longest = flavour.long_name_max or 255
    encoded = longest // 4 * 3 if not flavour.raw64 else longest * 3 // 4
    return encoded // 16 * 16 - 1


# --- lookup -----------------------------------------------------------------------------------------------------
def test_lookup_missing_name_is_enoent(kernel: Kernel) -> None:
    with pytest.raises(FileNotFoundError):
        kernel.lookup(b"nothing")
    assert kernel.fs.statistics().inodes == 1


def test_lookup_in_a_file_is_enotdir(kernel: Kernel) -> None:
    inode = kernel.put(b"file", b"x")
    with pytest.raises(NotADirectoryError):
        kernel.fs.lookup(inode, b"below")


def test_lookup_unknown_inode_is_estale(kernel: Kernel) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        kernel.fs.getattr(123456789)


def test_lookup_again_is_the_same_inode_with_one_more_lookup(kernel: Kernel) -> None:
    inode = kernel.put(b"file", b"x")
    assert kernel.lookup(b"file").inode == inode
    assert kernel.nlookup[inode] == 2
    assert kernel.fs.statistics().nlookup == 2


def test_lookup_inode_numbers_are_those_of_the_backing_objects(bench: Bench) -> None:
    inode = bench.kernel.mkdir(b"directory").inode
    below = bench.kernel.put(b"directory/file", b"x")
    numbers = {entry.inode() for directory in bench.tree.directories() for entry in os.scandir(directory)}
    assert {inode, below} <= numbers


def test_forget_more_than_looked_up_is_an_internal_error(bench: Bench) -> None:
    from pcvfs.errors import InternalError

    inode = bench.kernel.put(b"file", b"x")
    with pytest.raises(InternalError):
        bench.fs.forget(inode, 2)
    assert bench.kernel.stat(b"file").size == 1


# --- legal and illegal names ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SPECIAL, ids=lambda name: ascii(name)[2:18])
def test_create_special_name_is_an_ordinary_name(bench: Bench, name: bytes) -> None:
    if name == b"gocryptfs.diriv" and bench.flavour.has_plain_names:
        assert not (bench.cipherdir / "gocryptfs.diriv").exists()
    bench.kernel.put(name, b"content")
    bench.kernel.mkdir(b"d")
    bench.kernel.put(b"d/" + name, b"below")
    kernel = bench.remount()
    assert set(kernel.list()) == {name, b"d"}
    assert set(kernel.list(b"d")) == {name}
    assert kernel.get(name) == b"content"
    kernel.unlink(name)
    kernel.unlink(b"d/" + name)
    kernel.rmdir(b"d")
    assert not kernel.list()


def test_create_every_length_is_listed_and_found(bench: Bench) -> None:
    names = {b"n" * length for length in range(1, 256)}
    for name in names:
        bench.kernel.mknod(name, stat.S_IFREG | 0o600)
    kernel = bench.remount()
    assert set(kernel.list()) == names
    for name in names:
        assert kernel.lookup(name).size == 0
        kernel.unlink(name)
    assert not bench.tree.sidecars()


@pytest.mark.parametrize("make", ["lookup", "mkdir", "mknod", "symlink", "create", "link", "rename", "unlink", "rmdir"])
def test_names_of_256_bytes_are_enametoolong(kernel: Kernel, make: str) -> None:
    fs, name = kernel.fs, b"n" * 256
    inode = kernel.put(b"file", b"x")
    calls = {
        "lookup": lambda: fs.lookup(ROOT, name),
        "mkdir": lambda: fs.mkdir(ROOT, name, 0o755, SUPERUSER),
        "mknod": lambda: fs.mknod(ROOT, name, stat.S_IFIFO | 0o600, 0, SUPERUSER),
        "symlink": lambda: fs.symlink(ROOT, name, b"t", SUPERUSER),
        "create": lambda: fs.create(ROOT, name, 0o600, os.O_RDWR, SUPERUSER),
        "link": lambda: fs.link(inode, ROOT, name),
        "rename": lambda: fs.rename(ROOT, b"file", ROOT, name, 0),
        "unlink": lambda: fs.unlink(ROOT, name),
        "rmdir": lambda: fs.rmdir(ROOT, name),
    }
    assert errno_of(calls[make]) == errno.ENAMETOOLONG


# --- long and short names ---------------------------------------------------------------------------------------
def test_long_names_begin_where_the_format_says(bench: Bench) -> None:
    limit = longest_short_name(bench.flavour)
    bench.kernel.put(b"s" * limit, b"short")
    assert not bench.tree.sidecars()
    if limit == 255:
        return
    bench.kernel.put(b"l" * (limit + 1), b"long")
    assert len(bench.tree.sidecars()) == 1
    path = bench.cipher_path(b"l" * (limit + 1))
    assert os.fsencode(path.name).startswith(LONG_PREFIX)
    sidecar = path.with_name(path.name + SIDECAR_SUFFIX.decode())
    assert len(base64.urlsafe_b64decode(sidecar.read_bytes() + b"==")) == (limit + 17) // 16 * 16


def test_same_name_in_two_directories_differs_on_disk_if_they_have_ivs(bench: Bench) -> None:
    for directory in (b"one", b"two"):
        bench.kernel.mkdir(directory)
        bench.kernel.put(directory + b"/name", b"x")
    one, two = bench.cipher_path(b"one/name"), bench.cipher_path(b"two/name")
    assert (one.name != two.name) == (bench.flavour.names == "diriv")


@pytest.mark.flavours("default", "longnamemax-62")
def test_longnames_off_makes_them_impossible(bench: Bench) -> None:
    limit = longest_short_name(bench.flavour)
    bench.kernel.put(b"l" * (limit + 1), b"long")
    names = bench.volume.names
    codec = type(names)(
        bench.volume.name_cipher,
        has_diriv=names.has_diriv,
        long_name_max=names.long_name_max,
        raw64=bench.volume.raw64,
        hash_long_names=False,
    )
    bench.unmount()
    bench.volume.names = codec
    bench._mount()
    with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)):
        bench.kernel.put(b"n" * 255, b"x")
    bench.kernel.put(b"s" * limit, b"x")
    bench.volume.names = names


# --- the config in the root -------------------------------------------------------------------------------------
def test_config_is_not_listed_and_its_name_is_free_elsewhere(kernel: Kernel) -> None:
    kernel.mkdir(b"d")
    kernel.put(b"d/gocryptfs.conf", b"not the config")
    assert set(kernel.list()) == {b"d"}
    assert set(kernel.list(b"d")) == {b"gocryptfs.conf"}
    assert kernel.get(b"d/gocryptfs.conf") == b"not the config"


@pytest.mark.flavours("plaintextnames")
def test_config_with_plaintext_names_can_be_neither_seen_nor_touched(bench: Bench) -> None:
    fs, name = bench.fs, b"gocryptfs.conf"
    before = (bench.cipherdir / "gocryptfs.conf").read_bytes()
    inode = bench.kernel.put(b"file", b"x")
    assert errno_of(lambda: fs.lookup(ROOT, name)) == errno.ENOENT
    for call in (
        lambda: fs.create(ROOT, name, 0o600, os.O_RDWR, SUPERUSER),
        lambda: fs.mkdir(ROOT, name, 0o700, SUPERUSER),
        lambda: fs.symlink(ROOT, name, b"t", SUPERUSER),
        lambda: fs.link(inode, ROOT, name),
        lambda: fs.unlink(ROOT, name),
        lambda: fs.rmdir(ROOT, name),
        lambda: fs.rename(ROOT, b"file", ROOT, name, 0),
        lambda: fs.rename(ROOT, name, ROOT, b"other", 0),
    ):
        assert errno_of(call) == errno.EPERM
    assert (bench.cipherdir / "gocryptfs.conf").read_bytes() == before


@pytest.mark.flavours("default", "deterministic-names", "longnamemax-62")
def test_config_name_with_encrypted_names_is_free(bench: Bench) -> None:
    before = (bench.cipherdir / "gocryptfs.conf").read_bytes()
    bench.kernel.put(b"gocryptfs.conf", b"mine")
    assert bench.remount().get(b"gocryptfs.conf") == b"mine"
    assert (bench.cipherdir / "gocryptfs.conf").read_bytes() == before
