"""Several processes at once."""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.places import Place

pytestmark = pytest.mark.flavours("default", "xchacha", "plaintextnames", "longnamemax-62")

fork = multiprocessing.get_context("fork")


def run_together(actions: list[Callable[[], None]]) -> None:
    """Run each action in a process of its own; fail if one fails."""
    workers = [fork.Process(target=action) for action in actions]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * len(workers)


def test_writers_of_interleaved_regions_do_not_disturb_each_other(place: Place) -> None:
    path, count, piece = place.path / "file", 4, 1500  # pieces of several writers share each block
    path.write_bytes(bytes(count * piece * 50))

    def write(number: int) -> None:
        fd = os.open(path, os.O_RDWR)
        for row in range(50):
            os.pwrite(fd, bytes([65 + number]) * piece, (row * count + number) * piece)
        os.close(fd)

    run_together([lambda n=n: write(n) for n in range(count)])  # type: ignore[misc]  # int
    assert path.read_bytes() == b"".join(bytes([65 + n]) * piece for n in range(count)) * 50


def test_appenders_lose_no_record(place: Place) -> None:
    path, count, rows = place.path / "log", 4, 200
    path.write_bytes(b"")

    def append(number: int) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        for row in range(rows):
            os.write(fd, b"%d:%04d;" % (number, row))
        os.close(fd)

    run_together([lambda n=n: append(n) for n in range(count)])  # type: ignore[misc]  # int
    records = path.read_bytes().split(b";")[:-1]
    for number in range(count):
        mine = [record for record in records if record.startswith(b"%d:" % number)]
        assert mine == [b"%d:%04d" % (number, row) for row in range(rows)]
    assert len(records) == count * rows


def test_readers_see_old_or_new_bytes_while_a_writer_rewrites(place: Place) -> None:
    path = place.path / "file"
    path.write_bytes(b"a" * 4096 * 16)
    stop = fork.Event()

    def rewrite() -> None:
        fd = os.open(path, os.O_RDWR)
        for round_no in range(150):
            os.pwrite(fd, bytes([97 + round_no % 26]) * 4096 * 16, 0)
        os.close(fd)
        stop.set()

    def read() -> None:
        fd = os.open(path, os.O_RDONLY)
        while not stop.is_set():
            data = os.pread(fd, 4096 * 16, 0)
            assert len(data) == 4096 * 16
            assert set(data) <= set(range(97, 123))
        os.close(fd)

    run_together([rewrite, read, read])


def test_create_rename_and_unlink_storm_leaves_what_it_should(place: Place, seed: int) -> None:
    count = 4

    def storm(number: int) -> None:
        rng = random.Random(seed + number)
        for step in range(120):
            name = place.path / (f"{number}-{step}" + "x" * rng.choice([0, 0, 200]))
            name.write_bytes(b"%d" % step)
            target = place.path / f"shared-{rng.randrange(10)}"
            if step % 3 == 0:
                os.replace(name, target)
            elif step % 3 == 1:
                name.unlink()

    run_together([lambda n=n: storm(n) for n in range(count)])  # type: ignore[misc]  # int
    names = os.listdir(place.path)
    assert len(names) == len(set(names))
    own = [name for name in names if not name.startswith("shared")]
    assert sorted(own) == sorted(
        n for n in names if n.split("x")[0] in {f"{a}-{b}" for a in range(4) for b in range(2, 120, 3)}
    )
    assert len(own) == count * 40
    assert all((place.path / name).read_bytes() == name.split("x")[0].split("-")[1].encode() for name in own)


def test_directories_made_at_the_same_time_exist_once(place: Place) -> None:
    def make() -> None:
        for number in range(60):
            os.makedirs(place.path / f"d{number}" / "sub", exist_ok=True)
            (place.path / f"d{number}" / "sub" / str(os.getpid())).write_bytes(b"")

    run_together([make] * 4)
    assert sorted(os.listdir(place.path)) == sorted(f"d{n}" for n in range(60))
    assert all(len(os.listdir(place.path / f"d{n}" / "sub")) == 4 for n in range(60))


def test_exclusive_create_has_one_winner(place: Place) -> None:
    winners = fork.Queue()

    def race() -> None:
        for number in range(50):
            try:
                os.close(os.open(place.path / f"lock{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                continue
            winners.put(number)

    run_together([race] * 4)
    assert sorted(winners.get(timeout=5) for _ in range(50)) == list(range(50))


def test_threads_share_one_descriptor(place: Place) -> None:
    fd = os.open(place.path / "file", os.O_CREAT | os.O_RDWR)

    def work(number: int) -> None:
        for row in range(100):
            offset = (row * 4 + number) * 777
            os.pwrite(fd, bytes([number + 1]) * 777, offset)
            assert os.pread(fd, 777, offset) == bytes([number + 1]) * 777

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = os.pread(fd, 400 * 777, 0)
    os.close(fd)
    assert data == b"".join(bytes([n + 1]) * 777 for n in range(4)) * 100


def test_truncate_races_with_writes_without_damage(place: Place) -> None:
    path: Path = place.path / "file"
    path.write_bytes(b"w" * 50_000)

    def truncate() -> None:
        for size in list(range(0, 50_000, 977)) * 2:
            os.truncate(path, size)

    def write() -> None:
        fd = os.open(path, os.O_RDWR)
        for offset in list(range(0, 50_000, 991)) * 2:
            os.pwrite(fd, b"w" * 3000, offset)
        os.close(fd)

    run_together([truncate, write, write])
    assert set(path.read_bytes()) <= set(b"w\0")
