"""One file, many users: two processes in lock step by every way to read and write, and many at the same time."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import random
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import pytest

from tests.support import syscalls
from tests.support.places import Place
from tests.support.processes import run_together

pytestmark = [pytest.mark.fuse_only, pytest.mark.flavours("default", "xchacha", "aessiv")]

PAGE: Final = 4096
ROOM: Final = 80 * PAGE
STEPS: Final = 500

fork = multiprocessing.get_context("fork")


class User:
    """One of the processes: does to the file what it is told, by descriptor, without the page cache, or by mapping."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR)
        self._direct = os.open(path, os.O_RDWR | os.O_DIRECT)
        self._view = mmap.mmap(self._fd, ROOM)
        self._bounce = mmap.mmap(-1, ROOM)

    def write(self, how: str, offset: int, data: bytes) -> None:
        if how == "mapping":
            self._view[offset : offset + len(data)] = data
        elif how == "direct":
            self._bounce[: len(data)] = data
            assert os.pwrite(self._direct, memoryview(self._bounce)[: len(data)], offset) == len(data)
        else:
            assert os.pwrite(self._fd, data, offset) == len(data)

    def read(self, how: str, offset: int, length: int) -> bytes:
        if how == "mapping":
            return self._view[offset : offset + length]
        if how == "direct":
            got = os.preadv(self._direct, [memoryview(self._bounce)[:length]], offset)
            return self._bounce[:got]
        return os.pread(self._fd, length, offset)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        syscalls.fallocate(self._fd, mode, offset, length)

    def copy(self, source: int, target: int, length: int) -> None:
        done = 0
        while done < length:
            done += os.copy_file_range(self._fd, self._fd, length - done, source + done, target + done)

    def forget(self) -> None:
        """Have the next read go to the filesystem."""
        self._view.flush()
        os.fsync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def size(self) -> int:
        return os.fstat(self._fd).st_size


class Remote:
    """A ``User`` in a process of its own."""

    def __init__(self, path: Path) -> None:
        self._pipe, theirs = fork.Pipe()
        self._process = fork.Process(target=self._serve, args=(path, theirs), daemon=True)
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "ready"

    @staticmethod
    def _serve(path: Path, pipe: Connection) -> None:
        user = User(path)
        pipe.send("ready")
        while (message := pipe.recv()) is not None:
            name, *words = message
            pipe.send(getattr(user, name)(*words))

    def call(self, name: str, *words: object) -> object:
        self._pipe.send((name, *words))
        return self._pipe.recv()

    def finish(self) -> None:
        self._pipe.send(None)
        self._process.join(20)
        assert self._process.exitcode == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


class Script:
    """Random steps for two users, and the bytes that the file must have."""

    def __init__(self, users: list[Remote], rng: random.Random) -> None:
        self.users = users
        self.rng = rng
        self.model = bytearray(ROOM)

    def step(self) -> None:
        action = self.rng.choices(
            (self.write, self.read, self.truncate, self.allocate, self.copy, self.forget), (8, 8, 2, 1, 1, 1)
        )[0]
        action(self.rng.choice(self.users))
        assert {user.call("size") for user in self.users} == {len(self.model)}

    def _range(self, limit: int) -> tuple[int, int]:
        """Somewhere up to ``limit``, not empty."""
        offset = self.rng.randrange(limit)
        if self.rng.random() < 0.5:
            offset -= offset % PAGE
        length = self.rng.choice((1, 100, PAGE, PAGE + 1, 5 * PAGE, 20 * PAGE))
        return offset, min(length, limit - offset)

    def _put(self, offset: int, data: bytes) -> None:
        self.model.extend(bytes(max(0, offset - len(self.model))))
        self.model[offset : offset + len(data)] = data

    def write(self, user: Remote) -> None:
        how = self.rng.choice(("descriptor", "direct", "mapping"))
        if how == "mapping" and not self.model:
            return
        offset, length = self._range(len(self.model) if how == "mapping" else ROOM)
        data = self.rng.randbytes(length)
        user.call("write", how, offset, data)
        self._put(offset, data)

    def read(self, user: Remote) -> None:
        how = self.rng.choice(("descriptor", "direct", "mapping"))
        if not self.model:
            return
        offset, length = self._range(len(self.model))
        assert user.call("read", how, offset, length) == self.model[offset : offset + length], how

    def truncate(self, user: Remote) -> None:
        size = self.rng.choice((0, self.rng.randrange(ROOM), self.rng.randrange(ROOM // PAGE) * PAGE))
        user.call("truncate", size)
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    def allocate(self, user: Remote) -> None:
        offset, length = self._range(ROOM)
        mode = self.rng.choice((0, syscalls.FALLOC_KEEP_SIZE))
        user.call("allocate", mode, offset, length)
        if not mode:
            self._put(max(offset + length, len(self.model)), b"")

    def copy(self, user: Remote) -> None:
        if len(self.model) < 2:
            return
        half = len(self.model) // 2
        source, length = self._range(half)
        user.call("copy", source, half + source, min(length, half - source))
        length = min(length, half - source)
        self._put(half + source, bytes(self.model[source : source + length]))

    def forget(self, user: Remote) -> None:
        user.call("forget")


def has_fallocate(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        syscalls.fallocate(fd, syscalls.FALLOC_KEEP_SIZE, 0, 1)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def test_two_processes_agree_however_they_read_and_write(place: Place, seed: int) -> None:
    path = place.path / "file"
    path.write_bytes(bytes(ROOM))
    can_allocate = has_fallocate(path)
    users: list[Remote] = []
    try:
        users += [Remote(path), Remote(path)]
        script = Script(users, random.Random(seed))
        if not can_allocate:
            script.allocate = script.truncate  # type: ignore[method-assign]  # pyfuse3 has none
        for number in range(STEPS):
            script.step()
            if number % 50 == 0:
                assert path.read_bytes() == script.model
        for user in users:
            user.finish()
    finally:
        for user in users:
            user.kill()
    assert path.read_bytes() == script.model


@pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["cached", "direct"])
def test_many_writers_of_parts_of_the_same_blocks_lose_nothing(place: Place, seed: int, flags: int) -> None:
    """Without the page cache, two requests for one block reach the filesystem at once."""
    path, count, piece, rows = place.path / "file", 6, 1111, 40
    path.write_bytes(bytes(count * piece * rows))

    def write(number: int) -> None:
        rng = random.Random(seed + number)
        fd = os.open(path, os.O_RDWR | flags)
        order = list(range(rows))
        rng.shuffle(order)
        for row in order:
            offset = (row * count + number) * piece
            assert os.pwrite(fd, bytes([row + 1]) * piece, offset) == piece
            assert os.pread(fd, piece, offset) == bytes([row + 1]) * piece
        os.close(fd)

    run_together([lambda n=n: write(n) for n in range(count)])  # type: ignore[misc]  # int
    assert path.read_bytes() == b"".join(bytes([row + 1]) * piece * count for row in range(rows))


def test_readers_of_large_ranges_never_see_half_a_direct_write(place: Place) -> None:
    """A write of one request is one change of the file, also while others read through the same filesystem."""
    path, size, rounds = place.path / "file", 1 << 20, 30
    path.write_bytes(bytes([1]) * size)
    done = fork.Event()

    def write() -> None:
        fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
        buffer = mmap.mmap(-1, size)
        for number in range(rounds):
            buffer[:] = bytes([1 + number % 7]) * size
            assert os.pwrite(fd, buffer, 0) == size
        os.close(fd)
        done.set()

    def read() -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        buffer = mmap.mmap(-1, size)
        while not done.is_set():
            assert os.preadv(fd, [buffer], 0) == size
            for block in range(0, size, PAGE):
                assert len(set(buffer[block : block + PAGE])) == 1
        os.close(fd)

    run_together([write, read, read])


def test_direct_requests_of_any_size_and_alignment(place: Place, seed: int) -> None:
    path, rng, model = place.path / "file", random.Random(seed), bytearray()
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    memory = mmap.mmap(-1, 3 << 20)
    for length in (1, 511, PAGE, 100_000, 1 << 20, (1 << 20) + PAGE, (2 << 20) + 12345):
        offset = rng.randrange(1 << 20)
        data = rng.randbytes(length)
        memory[:length] = data
        assert os.pwrite(fd, memoryview(memory)[:length], offset) == length
        model.extend(bytes(max(0, offset - len(model))))
        model[offset : offset + length] = data
        assert os.preadv(fd, [memoryview(memory)[:length]], offset) == length
        assert memory[:length] == data
    os.close(fd)
    assert path.read_bytes() == model
