"""The ``.name`` files of long names: with their object from the first moment to the last, and repaired if need be."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pcvfs.cipherdir.report import ProblemKind
from tests.fs.bench import Bench
from tests.fs.cipher_tree import SIDECAR_SUFFIX
from tests.fs.faults import install
from tests.fs.kernel import RENAME_EXCHANGE, ROOT, SUPERUSER, Kernel

LONG, LONG_2 = b"L" * 250, b"M" * 255

pytestmark = pytest.mark.flavours("default", "deterministic-names", "longnamemax-62", "legacy")


def sidecar_of(bench: Bench, path: bytes) -> Path:
    below = bench.cipher_path(path)
    return below.with_name(below.name + SIDECAR_SUFFIX.decode())


def make_each(kernel: Kernel, name: bytes) -> dict[str, object]:
    """Every operation that makes a name."""
    return {
        "create": lambda: kernel.put(name, b"content"),
        "mkdir": lambda: kernel.mkdir(name),
        "mknod": lambda: kernel.mknod(name, stat.S_IFIFO | 0o600),
        "symlink": lambda: kernel.symlink(name, b"target"),
        "link": lambda: kernel.link(b"source", name),
        "rename": lambda: kernel.rename(b"source", name),
    }


@pytest.mark.parametrize("make", make_each(None, b""))
def test_sidecar_comes_and_goes_with_every_kind_of_object(bench: Bench, make: str) -> None:
    kernel = bench.kernel
    kernel.put(b"source", b"x")
    make_each(kernel, LONG)[make]()
    assert len(bench.tree.sidecars()) == 1
    assert LONG in bench.remount().list()
    (bench.kernel.rmdir if make == "mkdir" else bench.kernel.unlink)(LONG)
    assert not bench.tree.sidecars()


@pytest.mark.parametrize("make", make_each(None, b""))
def test_sidecar_goes_again_when_the_object_cannot_be_made(
    bench: Bench, make: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = install(monkeypatch)
    kernel = bench.kernel
    kernel.put(b"source", b"x")
    kernel.parent(LONG)
    call = {"create": ("creat", 1), "mkdir": ("mkdir", 0)}.get(make, (make, 0))
    with faults.failing(call[0], errno.ENOSPC, at=call[1]), pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        make_each(kernel, LONG)[make]()
    assert not bench.tree.sidecars()
    assert set(kernel.list()) == {b"source"}
    make_each(kernel, LONG)[make]()
    assert LONG in bench.remount().list()


@pytest.mark.parametrize("call", ["creat", "fchmod", "pwrite"])
def test_object_is_not_made_when_the_sidecar_cannot_be(
    bench: Bench, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = install(monkeypatch)
    for make in make_each(bench.kernel, LONG).values():
        if "source" not in {name.decode() for name in bench.kernel.list()}:
            bench.kernel.put(b"source", b"x")
        with faults.failing(call, errno.EDQUOT), pytest.raises(OSError, match=os.strerror(errno.EDQUOT)):
            make()
        assert not bench.tree.sidecars()
        assert set(bench.kernel.list()) == {b"source"}


@pytest.mark.parametrize("remove", ["unlink", "rmdir", "rename"])
def test_sidecar_that_cannot_be_removed_is_no_error_of_the_caller(
    bench: Bench, remove: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is gone: an error would make the kernel believe it is still there."""
    faults = install(monkeypatch)
    kernel = bench.kernel
    kernel.mkdir(LONG) if remove == "rmdir" else kernel.put(LONG, b"content")
    own_unlinks = {"unlink": 1, "rmdir": 1 if bench.flavour.names == "diriv" else 0, "rename": 0}[remove]
    with faults.failing("unlink", errno.EIO, at=own_unlinks):
        kernel.rename(LONG, b"new") if remove == "rename" else getattr(kernel, remove)(LONG)
    assert LONG not in kernel.list()
    with pytest.raises(FileNotFoundError):
        kernel.lookup(LONG)
    assert len(bench.tree.sidecars()) == 1
    kernel.put(LONG, b"again")
    assert bench.remount().get(LONG) == b"again"
    bench.expect_log("the .name file of a removed long name stays behind")


def test_sidecar_of_a_name_that_is_taken_stays(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.put(LONG, b"content")
    with pytest.raises(FileExistsError):
        kernel.fs.mkdir(ROOT, LONG, 0o755, SUPERUSER)
    assert bench.remount().get(LONG) == b"content"


def test_rename_moves_exchanges_and_keeps_sidecars_as_needed(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.put(LONG, b"1")
    kernel.rename(LONG, LONG_2)
    assert len(bench.tree.sidecars()) == 1
    kernel.put(LONG, b"2")
    kernel.rename(LONG, LONG_2)
    assert len(bench.tree.sidecars()) == 1
    kernel.put(b"short", b"3")
    kernel.rename(b"short", LONG_2, RENAME_EXCHANGE)
    assert len(bench.tree.sidecars()) == 1
    assert kernel.get(LONG_2) == b"3"
    kernel.rename(LONG_2, b"short")
    assert not bench.tree.sidecars()
    assert kernel.get(b"short") == b"3"


def test_hard_links_with_long_names_have_a_sidecar_each(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.put(LONG, b"content")
    kernel.link(LONG, LONG_2)
    assert len(bench.tree.sidecars()) == 2
    kernel.unlink(LONG)
    assert len(bench.tree.sidecars()) == 1
    assert kernel.get(LONG_2) == b"content"


@pytest.mark.parametrize("content", [b"", b"half of it", b"x" * 344, b"x" * 345], ids=len)
@pytest.mark.parametrize("make", make_each(None, b""))
def test_bad_sidecar_without_an_object_is_replaced(bench: Bench, content: bytes, make: str) -> None:
    """What a process leaves that is killed while it writes one, or what a disk does to it."""
    kernel = bench.kernel
    kernel.put(LONG, b"x")
    sidecar = sidecar_of(bench, LONG)
    kernel.unlink(LONG)
    kernel.put(b"source", b"x")
    sidecar.write_bytes(content)
    make_each(kernel, LONG)[make]()
    assert LONG in bench.remount().list()


def test_bad_sidecar_is_repaired_by_renaming_over_its_object(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.put(LONG, b"old")
    sidecar_of(bench, LONG).chmod(0o644)
    sidecar_of(bench, LONG).write_bytes(b"damaged")
    kernel = bench.remount()
    assert set(kernel.list()) == set()
    assert kernel.get(LONG) == b"old"  # reachable by its name all the same
    kernel.put(b"new", b"new")
    kernel.rename(b"new", LONG)
    assert set(kernel.list()) == {LONG}
    assert bench.remount().get(LONG) == b"new"
    bench.expect_log("entry .gocryptfs.longname.* can't be decrypted and is hidden")


def test_missing_sidecar_hides_its_object_from_listings_alone(bench: Bench) -> None:
    kernel = bench.kernel
    kernel.put(LONG, b"content")
    sidecar_of(bench, LONG).unlink()
    kernel = bench.remount()
    assert kernel.list() == {}
    assert kernel.list() == {}
    assert kernel.get(LONG) == b"content"
    kernel.rename(LONG, b"rescued")
    assert set(kernel.list()) == {b"rescued"}
    bench.expect_log("entry .gocryptfs.longname.* can't be decrypted and is hidden")


def test_planted_fifo_or_symlink_in_place_of_a_sidecar_neither_blocks_nor_leads_away(bench: Bench) -> None:
    kernel = bench.kernel
    for name in (LONG, LONG_2):
        kernel.put(name, b"content")
    for name, plant in ((LONG, lambda path: os.mkfifo(path)), (LONG_2, lambda path: path.symlink_to("/etc/passwd"))):
        path = sidecar_of(bench, name)
        path.unlink()
        plant(path)
    kernel = bench.remount()
    assert kernel.list() == {}
    assert kernel.get(LONG) == kernel.get(LONG_2) == b"content"
    bench.expect_log(*["entry .gocryptfs.longname.* can't be decrypted and is hidden"] * 2)
    bench.expected_problems = frozenset({ProblemKind.LONG_NAME_CORRUPT})


def test_listing_without_descriptors_to_spare_fails_and_hides_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = install(monkeypatch)
    bench.kernel.put(LONG, b"x")
    handle = bench.kernel.opendir(b"")
    with faults.failing("open", errno.EMFILE), pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        bench.kernel.readdir(handle)
    assert set(bench.kernel.readdir(handle)) == {LONG}
