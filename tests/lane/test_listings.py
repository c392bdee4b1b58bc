"""Listings while others change the directory: what was there all the time is there once, and nothing else but what was.

POSIX leaves open whether a name that comes or goes meanwhile is listed; everything else it does not.
"""

from __future__ import annotations

import collections
import errno
import multiprocessing
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest

from tests.support import syscalls
from tests.support.accounts import errno_of
from tests.support.places import Place
from tests.support.processes import run_together

pytestmark = pytest.mark.fuse_only

STEADY: Final = 250
STEPS: Final = 300
SMALL: Final = 600  # bytes: two or three names per piece
LONG: Final = 200  # a name longer than the format stores in one piece

fork = multiprocessing.get_context("fork")


# --- ways to list -----------------------------------------------------------------------------------------------
def in_pieces(path: Path, room: int) -> list[bytes]:
    """By getdents in small buffers: the kernel asks for the rest again and again."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        names = []
        while piece := syscalls.getdents(fd, room):
            names += [name for name, _ in piece]
        return [name for name in names if name not in (b".", b"..")]
    finally:
        os.close(fd)


def with_attributes(path: Path) -> list[bytes]:
    """As ``ls -l``; what is gone when it is looked at does not count."""
    with os.scandir(os.fsencode(path)) as entries:
        names = []
        for entry in entries:
            try:
                entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            names.append(entry.name)
        return names


def going_back(path: Path) -> list[bytes]:
    """By a stream that returns to where it was, and starts over once."""
    with syscalls.DirectoryStream(path) as stream:
        for _ in range(10):
            stream.next()
        stream.rewind()
        names: list[bytes] = []
        while (name := stream.next()) is not None:
            names.append(name)
            if len(names) % 50 == 0:
                position = stream.tell()
                for _ in range(20):
                    stream.next()
                stream.seek(position)
        return names


def by_descriptor(path: Path) -> list[bytes]:
    """By a descriptor that has been listed before, and whose position others share."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.listdir(fd)
        with os.scandir(fd) as entries:
            return [os.fsencode(entry.name) for entry in entries]
    finally:
        os.close(fd)


WAYS: Final[dict[str, Callable[[Path], list[bytes]]]] = {
    "listdir": lambda path: os.listdir(os.fsencode(path)),
    "small pieces": lambda path: in_pieces(path, SMALL),
    "attributes": with_attributes,
    "going back": going_back,
    "descriptor": by_descriptor,
}


# --- changes ----------------------------------------------------------------------------------------------------
class Restless:
    """Makes, renames and removes names in two directories; no name is ever used twice."""

    def __init__(self, number: int, place: Path, elsewhere: Path, seed: int) -> None:
        self._number = number
        self._places = (place, elsewhere)
        self._rng = random.Random(seed + number)
        self._used = 0
        self._there: list[Path] = []

    def _new(self) -> Path:
        self._used += 1
        name = f"w{self._number}-{self._used}"
        return self._rng.choice(self._places) / (name.ljust(LONG, "-") if self._used % 4 == 0 else name)

    def step(self) -> None:
        kind = self._rng.randrange(6)
        path = self._new()
        if kind == 0:
            path.mkdir()
        elif kind == 1:
            path.symlink_to("target")
        elif kind == 2 or not self._there:
            path.write_bytes(b"content")
        elif kind in (3, 4):
            old = self._there.pop(self._rng.randrange(len(self._there)))
            old.rename(path)
        else:
            old = self._there.pop(self._rng.randrange(len(self._there)))
            old.rmdir() if old.is_dir() and not old.is_symlink() else old.unlink()
            return
        self._there.append(path)

    @staticmethod
    def may_have_made(name: bytes) -> bool:
        return name.startswith(b"w")


def steady_names(count: int) -> list[bytes]:
    return [b"steady-%d" % n + (b"-" * LONG if n % 10 == 0 else b"") for n in range(count)]


def make(path: Path, names: Iterable[bytes]) -> None:
    for number, name in enumerate(names):
        target = os.path.join(os.fsencode(path), name)
        if number % 7 == 0:
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))


def judge(names: list[bytes], steady: set[bytes]) -> None:
    counts = collections.Counter(names)
    assert not [name for name in steady if name not in counts], "names are missing"
    assert not [name for name, count in counts.items() if count > 1], "names are doubled"
    assert not [name for name in counts if name not in steady and not Restless.may_have_made(name)]


@pytest.mark.flavours("default", "plaintextnames")
@pytest.mark.parametrize("way", WAYS)
def test_steady_names_are_listed_once_while_others_come_and_go(place: Place, seed: int, way: str) -> None:
    directory, elsewhere = place.path / "dir", place.path / "elsewhere"
    directory.mkdir()
    elsewhere.mkdir()
    names = steady_names(STEADY)
    make(directory, names)
    working = fork.Value("i", 3)

    def change(number: int) -> None:
        restless = Restless(number, directory, elsewhere, seed)
        try:
            for _ in range(STEPS):
                restless.step()
        finally:
            with working.get_lock():
                working.value -= 1

    def read() -> None:
        is_last = False
        while not is_last:
            is_last = working.value == 0
            judge(WAYS[way](directory), set(names))

    run_together([lambda n=n: change(n) for n in range(3)] + [read, read])  # type: ignore[misc]  # int
    live = set(os.listdir(os.fsencode(directory)))
    assert live == {name for name in live if os.path.lexists(os.path.join(os.fsencode(directory), name))}


@pytest.mark.flavours
def test_five_thousand_names_in_pieces_while_others_come_and_go(place: Place, seed: int) -> None:
    directory, elsewhere = place.path / "dir", place.path / "elsewhere"
    directory.mkdir()
    elsewhere.mkdir()
    names = steady_names(5000)
    make(directory, names)
    is_over = fork.Event()

    def change() -> None:
        restless = Restless(1, directory, elsewhere, seed)
        while not is_over.is_set():
            restless.step()

    def read() -> None:
        try:
            for room in (SMALL, 4096, 1 << 16):
                judge(in_pieces(directory, room), set(names))
        finally:
            is_over.set()

    run_together([change, read])


@pytest.mark.flavours
def test_every_position_can_be_returned_to_while_others_come_and_go(place: Place, seed: int) -> None:
    """A position stands between two names: what is steady behind it comes after it, whatever was changed since."""
    directory, elsewhere = place.path / "dir", place.path / "elsewhere"
    directory.mkdir()
    elsewhere.mkdir()
    names = set(steady_names(STEADY))
    make(directory, names)
    restless = Restless(1, directory, elsewhere, seed)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        seen: list[tuple[bytes, int]] = []
        while piece := syscalls.getdents(fd, SMALL):
            seen += piece
            restless.step()
        steady = [name for name, _ in seen if name in names]
        assert sorted(steady) == sorted(names)
        for index in random.Random(seed).sample(range(len(seen)), 25):
            os.lseek(fd, seen[index][1], os.SEEK_SET)
            after = []
            while piece := syscalls.getdents(fd, 4096):
                after += [name for name, _ in piece if name in names]
            assert after == [name for name, _ in seen[index + 1 :] if name in names]
            restless.step()
    finally:
        os.close(fd)


@pytest.mark.flavours
def test_reader_that_stopped_goes_on_after_everything_was_removed(place: Place) -> None:
    directory = place.path / "dir"
    directory.mkdir()
    make(directory, steady_names(STEADY))
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        first = syscalls.getdents(fd, SMALL)
        assert first
        for entry in os.scandir(directory):
            os.rmdir(entry.path) if entry.is_dir() else os.unlink(entry.path)
        rest = []
        while piece := syscalls.getdents(fd, SMALL):
            rest += [name for name, _ in piece]
        assert len(rest) == len(set(rest))
        os.lseek(fd, 0, os.SEEK_SET)
        assert {name for name, _ in syscalls.getdents(fd, 4096)} <= {b".", b".."}
        directory.rmdir()
        os.lseek(fd, 0, os.SEEK_SET)
        assert errno_of(lambda: syscalls.getdents(fd, 4096)) == errno.ENOENT
    finally:
        os.close(fd)
