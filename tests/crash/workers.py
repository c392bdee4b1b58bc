"""Programs that write to the mount and note outside of it what they know to be durable.

Each is run as ``python -m tests.crash.workers KIND DIRECTORY JOURNAL SEED`` and goes on until the mount dies under it.
A journal line is written only after the fsync that it speaks about has returned; the checks in ``checks.py`` hold the
filesystem to exactly these lines.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support import syscalls

MIB = 1 << 20
SLOT_SIZE = 512
SLOTS = 400
PAGE = 4096
LARGE_SLOTS = 8
EXPECTED = {errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EINVAL}
GIT = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "core.fsync=all", "-c", "gc.auto=0"]


class Journal:
    """One JSON object per line, in the page cache of a healthy disk as soon as ``note`` returns."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)

    def note(self, **fact: object) -> None:
        os.write(self._fd, json.dumps(fact).encode() + b"\n")


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def large_files(directory: Path, journal: Journal, rng: random.Random) -> Iterator[None]:
    """Files written in pieces of 1 MiB; every second one is fsynced, with its directory."""
    for number in range(1 << 30):
        path = directory / f"large-{number % 20}-{number}"
        data = [rng.randbytes(rng.choice([MIB, MIB, MIB - 1, 300_001])) for _ in range(rng.randrange(1, 5))]
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        for piece in data:
            write_all(fd, piece)
        if number % 2 == 0:
            os.fsync(fd)
            sync_directory(directory)
            journal.note(file=path.name, sha256=hashlib.sha256(b"".join(data)).hexdigest())
        os.close(fd)
        if number >= 20:
            old = next(directory.glob(f"large-{number % 20}-*"))
            journal.note(removed=old.name)
            old.unlink()
        yield


def log_lines(directory: Path, journal: Journal, rng: random.Random) -> Iterator[None]:
    """A log: records of varying length are appended, each followed by fdatasync."""
    path = directory / "log"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    os.fsync(fd)
    sync_directory(directory)
    for number in range(1 << 30):
        write_all(fd, b"%08d:%s\n" % (number, b"x" * rng.randrange(300)))
        os.fdatasync(fd)
        journal.note(records=number + 1)
        yield


def replaced_file(directory: Path, journal: Journal, rng: random.Random) -> Iterator[None]:
    """The atomic replacement: write a temporary file, fsync, rename over the old one, fsync the directory."""
    names = ["state", "state-" + "l" * 200]
    for version in range(1 << 30):
        name = names[version % 2]
        temporary = directory / f"{name[:200]}.tmp"
        fd = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        write_all(fd, b"%08d:" % version + bytes([65 + version % 26]) * rng.randrange(20_000) + b":end")
        os.fsync(fd)
        os.close(fd)
        os.rename(temporary, directory / name)
        sync_directory(directory)
        journal.note(name=name, version=version)
        yield


def overwritten_slots(directory: Path, journal: Journal, rng: random.Random) -> Iterator[None]:
    """In-place overwrites of slots inside one file, sometimes many at once, then fsync."""
    path = directory / "slots"
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    write_all(fd, b"".join(slot_content(slot, 0) for slot in range(SLOTS)))
    os.fsync(fd)
    sync_directory(directory)
    journal.note(slots={str(slot): 0 for slot in range(SLOTS)})
    for version in range(1, 1 << 30):
        chosen = [rng.randrange(SLOTS) for _ in range(rng.choice([1, 1, 3, 30]))]
        for slot in chosen:
            os.pwrite(fd, slot_content(slot, version), slot * SLOT_SIZE)
        os.fsync(fd)
        journal.note(slots={str(slot): version for slot in chosen})
        yield


def slot_content(slot: int, version: int) -> bytes:
    """Content that shows slot and version, and whether it is all of one write."""
    stamp = b"%06d/%08d;" % (slot, version)
    return (stamp * (SLOT_SIZE // len(stamp) + 1))[:SLOT_SIZE]


def changing_names(directory: Path, journal: Journal, rng: random.Random) -> Iterator[None]:
    """Directories made, filled, renamed and removed, each step made durable by fsync of the directories involved."""
    for number in range(1 << 30):
        name = f"d{number}" + "l" * rng.choice([0, 0, 200])
        made = directory / name
        made.mkdir()
        content = b"%d" % number * rng.randrange(1, 2000)
        fd = os.open(made / "inside", os.O_CREAT | os.O_WRONLY, 0o644)
        write_all(fd, content)
        os.fsync(fd)
        os.close(fd)
        (made / "link").symlink_to("target")
        sync_directory(made)
        sync_directory(directory)
        journal.note(tree=name, sha256=hashlib.sha256(content).hexdigest())
        renamed = directory / f"r{number}"
        journal.note(leaving=name, to=renamed.name)
        made.rename(renamed)
        sync_directory(directory)
        journal.note(tree=renamed.name, sha256=hashlib.sha256(content).hexdigest())
        if number % 3 == 0:
            journal.note(leaving=renamed.name, to="")
            for inside in ("inside", "link"):
                (renamed / inside).unlink()
            renamed.rmdir()
        yield


def database_rows(directory: Path, journal: Journal, rng: random.Random) -> Iterator[None]:
    """SQLite, WAL, synchronous=FULL."""
    database = sqlite3.connect(directory / "data.db", isolation_level=None, timeout=30)
    for statement in ("pragma journal_mode=wal", "pragma synchronous=full", "pragma wal_autocheckpoint=40"):
        database.execute(statement).fetchall()
    database.execute("create table if not exists t (id integer primary key, data blob)")
    sync_directory(directory)
    for number in range(1 << 30):
        database.execute("insert into t values (?, ?)", (number, rng.randbytes(rng.randrange(6000))))
        journal.note(row=number)
        yield


def git_commits(directory: Path, journal: Journal, rng: random.Random) -> Iterator[None]:
    """Commits with core.fsync=all."""

    def git(*words: str) -> str:
        result = subprocess.run([*GIT, "-C", directory, *words], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise OSError(result.stderr)
        return result.stdout.strip()

    git("init", "-q", "-b", "main")
    for number in range(1 << 30):
        for _ in range(rng.randrange(1, 6)):
            (directory / f"file{rng.randrange(50)}").write_bytes(rng.randbytes(rng.randrange(10_000)))
        git("add", "-A")
        git("commit", "-q", "-m", f"{number}")
        journal.note(commit=git("rev-parse", "HEAD"))
        yield


def restless_files(directory: Path, journal: Journal, rng: random.Random) -> Iterator[None]:
    """Every kind of change and no fsync at all: nothing may be promised, but nothing may become unreadable."""
    names = [directory / (f"n{number}" + "l" * rng.choice([0, 0, 190])) for number in range(30)]
    for number in range(1 << 30):
        one, two = rng.choice(names), rng.choice(names)
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            change_something(rng, one, two, number)
        yield


def change_something(rng: random.Random, one: Path, two: Path, number: int) -> None:
    """One random change to one or two of the files."""
    match rng.randrange(9):
        case 0 | 1:
            one.write_bytes(rng.randbytes(rng.choice([10, 5000, 300_000])))
        case 2:
            with open(one, "r+b", buffering=0) as stream:
                stream.seek(rng.randrange(200_000))
                stream.write(rng.randbytes(rng.choice([1, 4096, 140_000])))
        case 3:
            with open(one, "ab", buffering=0) as stream:
                stream.write(rng.randbytes(rng.randrange(9000)))
        case 4:
            os.truncate(one, rng.randrange(150_000))
        case 5:
            os.replace(one, two)
        case 6:
            os.link(one, two)
        case 7:
            os.setxattr(one, f"user.x{number % 3}", rng.randbytes(rng.randrange(200)))
        case _:
            one.unlink()


def large_slots(directory: Path, journal: Journal, rng: random.Random) -> Iterator[None]:
    """One file of 8 MiB, overwritten in place in pieces of up to 1 MiB past the page cache, several at a time.

    What was overwritten and synced is of that version; what was not is of it or the one before, page by page.
    """
    path = directory / "large-slots"
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    write_all(fd, b"".join(large_slot(slot, 0) for slot in range(LARGE_SLOTS)))
    os.fsync(fd)
    sync_directory(directory)
    direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    journal.note(large_slots={str(slot): 0 for slot in range(LARGE_SLOTS)})
    for version in range(1, 1 << 30):
        chosen = rng.sample(range(LARGE_SLOTS), rng.choice([1, 3]))
        journal.note(writing=chosen, version=version)
        threads = [threading.Thread(target=write_directly, args=(direct, slot, version)) for slot in chosen]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.fsync(fd)
        journal.note(large_slots={str(slot): version for slot in chosen})
        yield


def large_slot(slot: int, version: int) -> bytes:
    """Content of which every page shows slot and version."""
    return b"".join(page_stamp(slot, version).ljust(PAGE, b".") for _ in range(MIB // PAGE))


def page_stamp(slot: int, version: int) -> bytes:
    """How each page of a slot begins."""
    return b"%03d/%08d;" % (slot, version)


def write_directly(fd: int, slot: int, version: int) -> None:
    memory = mmap.mmap(-1, MIB)
    memory[:] = large_slot(slot, version)
    if os.pwrite(fd, memory, slot * MIB) != MIB:
        raise OSError("short write")


def restless_names(directory: Path, journal: Journal, rng: random.Random) -> Iterator[None]:
    """Directories made, filled, exchanged, replaced and removed, faster than anything is synced.

    Now and then all is synced, a marker with it; from then on that marker is there.
    """
    names = [directory / (f"d{number}" + "l" * rng.choice([0, 0, 200])) for number in range(20)]
    for number in range(1 << 30):
        one, two = rng.choice(names), rng.choice(names)
        try:
            change_names(rng, one, two, number)
        except OSError as exc:
            if exc.errno not in EXPECTED:
                raise
        if number % 40 == 39:
            marker = directory / f"marker-{number}"
            marker.mkdir()
            sync_directory(marker)
            sync_directory(directory)
            journal.note(marker=marker.name)
        yield


def change_names(rng: random.Random, one: Path, two: Path, number: int) -> None:
    """One random change of names."""
    match rng.randrange(8):
        case 0 | 1:
            one.mkdir()
        case 2:
            (one / f"{number}").write_bytes(b"%d" % number)
        case 3:
            os.rename(one, two)
        case 4:
            syscalls.renameat2(one, two, syscalls.RENAME_EXCHANGE)
        case 5:
            one.symlink_to("t" * rng.randrange(1, 100))
        case 6:
            (one / f"{number}").mkdir()
        case _:
            shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()


WORKERS: dict[str, Callable[[Path, Journal, random.Random], Iterator[None]]] = {
    worker.__name__: worker
    for worker in (
        large_files,
        log_lines,
        replaced_file,
        overwritten_slots,
        changing_names,
        database_rows,
        git_commits,
        restless_files,
        large_slots,
        restless_names,
    )
}


def main(kind: str, directory: str, journal: str, seed: str) -> None:
    """Run one worker until the filesystem fails under it."""
    try:
        for _ in WORKERS[kind](Path(directory), Journal(Path(journal)), random.Random(int(seed))):
            pass
    except (OSError, sqlite3.Error) as exc:
        sys.exit(f"{kind}: {exc}")


if __name__ == "__main__":
    main(*sys.argv[1:])
