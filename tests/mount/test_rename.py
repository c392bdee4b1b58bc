"""rename(2) and renameat2(2)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.accounts import errno_of
from tests.support.places import Place
from tests.support.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, renameat2
from tests.support.tree import paths_below

SHORT, LONG, LONGER = "short", "l" * 200, "m" * 255
NAME_PAIRS = [(SHORT, "other"), (SHORT, LONG), (LONG, SHORT), (LONG, LONGER)]


def cipher_names(place: Place) -> set[str]:
    """Every name below the encrypted directory that belongs to a long name."""
    return {p.name for p in paths_below(place.mount.volume.cipherdir) if p.name.startswith("gocryptfs.longname.")}


def check_no_orphans(place: Place) -> None:
    """Each stored long name has its sidecar, each sidecar its object."""
    if place.flavour.has_plain_names:
        return
    names = cipher_names(place)
    contents = {name for name in names if not name.endswith(".name")}
    assert {name + ".name" for name in contents} == names - contents


@pytest.mark.parametrize(("old", "new"), NAME_PAIRS, ids=lambda name: f"{len(name)}")
def test_rename_of_a_file_moves_content(place: Place, old: str, new: str) -> None:
    (place.path / old).write_bytes(b"moved" * 2000)
    number = os.stat(place.path / old).st_ino
    os.rename(place.path / old, place.path / new)
    assert os.listdir(place.path) == [new]
    assert (place.path / new).read_bytes() == b"moved" * 2000
    assert os.stat(place.path / new).st_ino == number
    assert errno_of(lambda: os.stat(place.path / old)) == errno.ENOENT
    check_no_orphans(place)


@pytest.mark.parametrize(("old", "new"), NAME_PAIRS, ids=lambda name: f"{len(name)}")
def test_rename_over_a_file_replaces_it(place: Place, old: str, new: str) -> None:
    (place.path / old).write_bytes(b"new")
    (place.path / new).write_bytes(b"old" * 5000)
    with open(place.path / new, "rb") as replaced:
        os.rename(place.path / old, place.path / new)
        assert replaced.read() == b"old" * 5000
    assert os.listdir(place.path) == [new]
    assert (place.path / new).read_bytes() == b"new"
    check_no_orphans(place)


@pytest.mark.parametrize(("old", "new"), NAME_PAIRS, ids=lambda name: f"{len(name)}")
def test_rename_of_a_directory_keeps_its_tree(place: Place, old: str, new: str) -> None:
    inside = place.path / old / LONG
    inside.mkdir(parents=True)
    (inside / "file").write_bytes(b"deep")
    os.rename(place.path / old, place.path / new)
    assert (place.path / new / LONG / "file").read_bytes() == b"deep"
    assert os.listdir(place.path) == [new]
    check_no_orphans(place)


@pytest.mark.parametrize(("old", "new"), NAME_PAIRS, ids=lambda name: f"{len(name)}")
def test_rename_into_another_directory(place: Place, old: str, new: str) -> None:
    (place.path / "from").mkdir()
    (place.path / "to").mkdir()
    (place.path / "from" / old).mkdir()
    (place.path / "from" / old / "file").write_bytes(b"x")
    before = os.stat(place.path / "to").st_nlink
    os.rename(place.path / "from" / old, place.path / "to" / new)
    assert (place.path / "to" / new / "file").read_bytes() == b"x"
    assert os.listdir(place.path / "from") == []
    assert os.stat(place.path / "to").st_nlink == before + 1
    check_no_orphans(place)


def test_rename_over_an_empty_directory_replaces_it(place: Place) -> None:
    (place.path / "full").mkdir()
    (place.path / "full" / "file").write_bytes(b"x")
    (place.path / "empty").mkdir()
    os.rename(place.path / "full", place.path / "empty")
    assert os.listdir(place.path) == ["empty"]
    assert (place.path / "empty" / "file").read_bytes() == b"x"


def test_rename_over_a_directory_in_use_is_refused(place: Place) -> None:
    for name in ("one", "two"):
        (place.path / name).mkdir()
        (place.path / name / name).write_bytes(b"x")
    assert errno_of(lambda: os.rename(place.path / "one", place.path / "two")) in (errno.ENOTEMPTY, errno.EEXIST)
    assert (place.path / "one" / "one").read_bytes() == (place.path / "two" / "two").read_bytes() == b"x"


def test_rename_between_kinds_is_refused(place: Place) -> None:
    (place.path / "file").write_bytes(b"x")
    (place.path / "dir").mkdir()
    assert errno_of(lambda: os.rename(place.path / "file", place.path / "dir")) == errno.EISDIR
    assert errno_of(lambda: os.rename(place.path / "dir", place.path / "file")) == errno.ENOTDIR
    assert errno_of(lambda: os.rename(place.path / "dir", place.path / "dir" / "inside")) == errno.EINVAL
    assert errno_of(lambda: os.rename(place.path / "none", place.path / "new")) == errno.ENOENT


def test_rename_onto_itself_and_onto_its_hard_link_does_nothing(place: Place) -> None:
    (place.path / "a").write_bytes(b"x")
    os.link(place.path / "a", place.path / "b")
    os.rename(place.path / "a", place.path / "a")
    os.rename(place.path / "a", place.path / "b")
    assert sorted(os.listdir(place.path)) == ["a", "b"]


def test_rename_of_an_open_file_keeps_the_descriptor(place: Place) -> None:
    (place.path / "dir").mkdir()
    with open(place.path / "old", "w+b", buffering=0) as stream:
        stream.write(b"before")
        os.rename(place.path / "old", place.path / "dir" / LONG)
        stream.write(b" after")
        os.fsync(stream.fileno())
    assert (place.path / "dir" / LONG).read_bytes() == b"before after"


def test_rename_of_the_directory_above_open_files(place: Place) -> None:
    (place.path / "old").mkdir()
    with open(place.path / "old" / "file", "w+b", buffering=0) as stream:
        os.rename(place.path / "old", place.path / "new")
        stream.write(b"written after")
        (place.path / "new" / "more").write_bytes(b"y")
    assert (place.path / "new" / "file").read_bytes() == b"written after"


def test_noreplace_refuses_an_existing_target(place: Place) -> None:
    (place.path / "a").write_bytes(b"a")
    (place.path / LONG).write_bytes(b"b")
    assert errno_of(lambda: renameat2(place.path / "a", place.path / LONG, RENAME_NOREPLACE)) == errno.EEXIST
    assert (place.path / LONG).read_bytes() == b"b"
    renameat2(place.path / "a", place.path / LONGER, RENAME_NOREPLACE)
    assert sorted(os.listdir(place.path)) == [LONG, LONGER]
    check_no_orphans(place)


@pytest.mark.parametrize(("old", "new"), NAME_PAIRS, ids=lambda name: f"{len(name)}")
def test_exchange_swaps_two_files(place: Place, old: str, new: str) -> None:
    (place.path / old).write_bytes(b"first")
    (place.path / new).write_bytes(b"second" * 2000)
    renameat2(place.path / old, place.path / new, RENAME_EXCHANGE)
    assert (place.path / old).read_bytes() == b"second" * 2000
    assert (place.path / new).read_bytes() == b"first"
    assert sorted(os.listdir(place.path)) == sorted([old, new])
    check_no_orphans(place)


def test_exchange_swaps_a_file_with_a_directory_elsewhere(place: Place) -> None:
    (place.path / "sub").mkdir()
    (place.path / "sub" / "dir").mkdir()
    (place.path / "sub" / "dir" / "inside").write_bytes(b"in")
    (place.path / "file").write_bytes(b"f")
    renameat2(place.path / "file", place.path / "sub" / "dir", RENAME_EXCHANGE)
    assert (place.path / "file" / "inside").read_bytes() == b"in"
    assert (place.path / "sub" / "dir").read_bytes() == b"f"


def test_exchange_needs_both_names(place: Place) -> None:
    (place.path / "a").write_bytes(b"a")
    assert errno_of(lambda: renameat2(place.path / "a", place.path / "none", RENAME_EXCHANGE)) == errno.ENOENT
    assert errno_of(lambda: renameat2(place.path / "none", place.path / "a", RENAME_NOREPLACE)) == errno.ENOENT
    both = RENAME_EXCHANGE | RENAME_NOREPLACE
    assert errno_of(lambda: renameat2(place.path / "a", place.path / "b", both)) == errno.EINVAL
    assert errno_of(lambda: renameat2(place.path / "a", place.path / "b", 1 << 10)) == errno.EINVAL
    assert os.listdir(place.path) == ["a"]


def test_whiteout_leaves_a_device_behind_or_is_refused(place: Place) -> None:
    (place.path / "a").write_bytes(b"a")
    result = errno_of(lambda: renameat2(place.path / "a", place.path / "b", RENAME_WHITEOUT))
    if result == 0:
        assert os.lstat(place.path / "a").st_rdev == os.makedev(0, 0)
        assert (place.path / "b").read_bytes() == b"a"
    else:
        assert result in (errno.EINVAL, errno.EPERM)
        assert os.listdir(place.path) == ["a"]


def test_long_names_are_created_linked_renamed_and_removed_without_orphans(place: Place) -> None:
    root: Path = place.path
    (root / LONG).write_bytes(b"x")
    os.link(root / LONG, root / LONGER)
    os.symlink("target", root / ("s" * 240))
    os.mkdir(root / ("d" * 240))
    os.mkfifo(root / ("f" * 240))
    for name in sorted(os.listdir(root)):
        new = name[0].upper() * 250
        os.rename(root / name, root / new)
        (os.rmdir if name[0] == "d" else os.unlink)(root / new)
    assert os.listdir(root) == []
    check_no_orphans(place)
