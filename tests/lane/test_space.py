"""Reserving space, holes, and copies that keep them."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import syscalls
from tests.support.accounts import errno_of
from tests.support.drivers import MountOptions, Pcvfs
from tests.support.mounts import LiveMount
from tests.support.places import Place
from tests.support.playground import Playground
from tests.support.requirements import require_tool

BLOCK = 4096
FALLOC_COLLAPSE_RANGE, FALLOC_ZERO_RANGE, FALLOC_INSERT_RANGE, FALLOC_UNSHARE = 8, 16, 32, 64


@pytest.fixture
def path(lane_mount: LiveMount) -> Path:
    return lane_mount.path / "file"


def stored_blocks(path: Path) -> int:
    """Bytes that the file takes below, as the mount tells."""
    return path.stat().st_blocks * 512


# --- fallocate --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [0, 10, BLOCK, 3 * BLOCK + 7])
@pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, BLOCK), (5, 100_000), (50_000, 1), (10 * BLOCK, 3 * BLOCK)])
def test_allocate_grows_with_zeros_and_reserves(path: Path, size: int, offset: int, length: int) -> None:
    path.write_bytes(b"x" * size)
    fd = os.open(path, os.O_RDWR)
    syscalls.fallocate(fd, syscalls.FALLOC_KEEP_SIZE, offset, length)
    assert path.read_bytes() == b"x" * size
    assert stored_blocks(path) >= length
    syscalls.fallocate(fd, 0, offset, length)
    assert path.read_bytes() == (b"x" * size).ljust(offset + length, b"\0")
    end = max(size, offset + length)
    os.pwrite(fd, b"end", end)
    os.close(fd)
    assert path.read_bytes() == (b"x" * size).ljust(end, b"\0") + b"end"


@pytest.mark.parametrize(
    "mode",
    [
        syscalls.FALLOC_PUNCH_HOLE | syscalls.FALLOC_KEEP_SIZE,
        FALLOC_ZERO_RANGE,
        FALLOC_ZERO_RANGE | syscalls.FALLOC_KEEP_SIZE,
        FALLOC_COLLAPSE_RANGE,
        FALLOC_INSERT_RANGE,
        FALLOC_UNSHARE,
    ],
)
def test_other_modes_are_refused_and_change_nothing(path: Path, mode: int) -> None:
    data = random.Random(mode).randbytes(8 * BLOCK)
    path.write_bytes(data)
    with open(path, "r+b") as stream:
        assert errno_of(lambda: syscalls.fallocate(stream.fileno(), mode, BLOCK, BLOCK)) == errno.EOPNOTSUPP
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert path.read_bytes() == data


def test_impossible_ranges_are_refused_and_change_nothing(path: Path) -> None:
    path.write_bytes(b"kept")
    with open(path, "r+b") as stream:
        fd = stream.fileno()
        assert errno_of(lambda: syscalls.fallocate(fd, 0, 0, 0)) == errno.EINVAL
        assert errno_of(lambda: syscalls.fallocate(fd, 0, -1, 10)) == errno.EINVAL
        for offset, length in (((1 << 63) - 2, 1), (1 << 62, 1 << 61)):
            assert errno_of(lambda o=offset, n=length: syscalls.fallocate(fd, 0, o, n)) in (  # type: ignore[misc]
                errno.EFBIG,
                errno.ENOSPC,
            )
    assert path.read_bytes() == b"kept"


def test_allocate_needs_a_file_open_for_writing(path: Path) -> None:
    path.write_bytes(b"kept")
    with open(path, "rb") as stream:
        assert errno_of(lambda: syscalls.fallocate(stream.fileno(), 0, 0, 10)) == errno.EBADF


# --- holes, where the kernel keeps nothing back -------------------------------------------------------------------
@pytest.fixture
def direct(playground: Playground) -> Path:
    """A file on a mount that sees every write at once: only there it can say where the holes are."""
    driver = Pcvfs("lane")
    driver.require()
    return playground.new_mount(driver, options=MountOptions(no_writeback=True)).path / "file"


def make_sparse(path: Path, rng: random.Random) -> bytes:
    """Islands of data at random places, of random sizes; returns the content."""
    model, size = bytearray(400 * BLOCK), 400 * BLOCK
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, size)
    for _ in range(15):
        offset = rng.randrange(size - 5 * BLOCK)
        data = rng.randbytes(rng.choice((1, 100, BLOCK, 3 * BLOCK)))
        os.pwrite(fd, data, offset)
        model[offset : offset + len(data)] = data
    os.close(fd)
    return bytes(model)


def data_ranges(fd: int) -> list[tuple[int, int]]:
    """What SEEK_DATA and SEEK_HOLE say."""
    ranges, position, end = [], 0, os.fstat(fd).st_size
    while position < end:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as exc:
            assert exc.errno == errno.ENXIO
            break
        position = os.lseek(fd, start, os.SEEK_HOLE)
        assert position > start >= 0
        ranges.append((start, position))
    return ranges


def without(content: bytes, ranges: list[tuple[int, int]]) -> bytes:
    """Content with these ranges zeroed."""
    rest = bytearray(content)
    for start, end in ranges:
        rest[start:end] = bytes(end - start)
    return bytes(rest)


def test_seeking_finds_all_data_and_most_holes(direct: Path, seed: int) -> None:
    content = make_sparse(direct, random.Random(seed))
    with open(direct, "rb", buffering=0) as stream:
        ranges = data_ranges(stream.fileno())
        assert errno_of(lambda: os.lseek(stream.fileno(), len(content), os.SEEK_HOLE)) == errno.ENXIO
    assert not any(without(content, ranges)), "data where there is said to be none"
    assert sum(end - start for start, end in ranges) < 15 * 6 * BLOCK


def test_seeking_at_every_edge_of_an_island(direct: Path) -> None:
    fd = os.open(direct, os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"x" * BLOCK, 50 * BLOCK)
    os.ftruncate(fd, 100 * BLOCK)
    (start, end) = next(part for part in data_ranges(fd) if part[1] > 50 * BLOCK)
    assert start <= 50 * BLOCK < 51 * BLOCK <= end
    before = start - BLOCK  # the header makes the first block one of data
    for position in (before, before + 17, start - 1):
        assert os.lseek(fd, position, os.SEEK_DATA) == start
        assert os.lseek(fd, position, os.SEEK_HOLE) == position
    for position in (start, 50 * BLOCK + 17, 51 * BLOCK - 1):
        assert os.lseek(fd, position, os.SEEK_DATA) == position
        assert os.lseek(fd, position, os.SEEK_HOLE) == end
    os.close(fd)


def test_sparse_file_stays_sparse_through_cp_and_tar(direct: Path, seed: int) -> None:
    place = direct.parent
    content = make_sparse(direct, random.Random(seed))
    subprocess.run(["cp", "--sparse=auto", direct, place / "copy"], check=True, timeout=30)
    archive = place / "archive.tar"
    subprocess.run(["tar", "-C", place, "--sparse", "-cf", archive, "file"], check=True, timeout=30)
    (place / "unpacked").mkdir()
    subprocess.run(["tar", "-C", place / "unpacked", "-xf", archive], check=True, timeout=30)
    for copy in (place / "copy", place / "unpacked" / "file"):
        assert copy.read_bytes() == content
        assert stored_blocks(copy) < len(content) // 2
    assert archive.stat().st_size < len(content) // 2


# --- holes, where the kernel writes back ------------------------------------------------------------------------
@pytest.mark.flavours
@pytest.mark.parametrize("before", ["empty", "sparse", "synced"])
def test_data_that_the_kernel_still_holds_is_never_called_a_hole(place: Place, seed: int, before: str) -> None:
    path, rng = place.path / "file", random.Random(seed)
    size = 100 * BLOCK
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    if before != "empty":
        os.ftruncate(fd, size)
    if before == "synced":
        os.pwrite(fd, b"synced", 10 * BLOCK)
        os.fsync(fd)
    model = bytearray(os.pread(fd, size, 0)) or bytearray(size)
    for _ in range(20):
        data, offset = rng.randbytes(rng.choice((1, BLOCK, 3 * BLOCK))), rng.randrange(size - 3 * BLOCK)
        os.pwrite(fd, data, offset)
        model[offset : offset + len(data)] = data
        ranges = data_ranges(fd)  # nobody has closed the file yet: that would write it back
        assert not any(without(bytes(model), ranges))
    os.close(fd)


@pytest.mark.flavours
def test_archive_of_a_file_that_is_being_written_has_what_was_written(place: Place) -> None:
    """tar takes a file without blocks for one hole, and asks where the data is in any that has few."""
    path, archive = place.path / "log", place.path / "archive.tar"
    with written_elsewhere(path, b"line\n" * 20_000):
        assert path.stat().st_blocks > 0
        subprocess.run(["tar", "-C", place.path, "--sparse", "-cf", archive, "log"], check=True, timeout=30)
    with tarfile.open(archive) as found:
        content = found.extractfile("log")
        assert content is not None
        assert content.read() == b"line\n" * 20_000


@contextlib.contextmanager
def written_elsewhere(path: Path, data: bytes) -> Iterator[None]:
    """While a process that has written this has the file open: whoever closes a file has it written back."""
    program = (
        "import os, sys; fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY);"
        "os.write(fd, sys.stdin.buffer.read(int(sys.argv[2]))); print('written', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(path), str(len(data))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write(data)
        writer.stdin.flush()
        assert writer.stdout.readline() == b"written\n"
        yield


# --- copies -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [1, BLOCK, 100_001, 3 << 20])
def test_copy_file_range_within_and_across_mounts(
    lane_mount: LiveMount, playground: Playground, path: Path, seed: int, length: int
) -> None:
    data = random.Random(seed).randbytes(length)
    path.write_bytes(data)
    plain = playground.new_directory() / "plain"
    for source, target in ((path, lane_mount.path / "copy"), (path, plain), (plain, lane_mount.path / "back")):
        with open(source, "rb") as reading, open(target, "w+b") as writing:
            done = 0
            while done < length:
                try:
                    done += os.copy_file_range(reading.fileno(), writing.fileno(), length - done, done, done)
                except OSError as exc:
                    assert exc.errno == errno.EXDEV  # two filesystems: the caller has to copy
                    writing.write(data)
                    break
        assert target.read_bytes() == data


def test_overlapping_copy_within_one_file_is_refused_or_right(path: Path) -> None:
    data = bytes(range(256)) * 40
    path.write_bytes(data)
    fd = os.open(path, os.O_RDWR)
    assert errno_of(lambda: os.copy_file_range(fd, fd, 5000, 0, 100)) == errno.EINVAL
    assert os.copy_file_range(fd, fd, 4000, 0, 5000) == 4000
    os.close(fd)
    assert path.read_bytes() == data[:5000] + data[:4000] + data[9000:]


def test_programs_for_space_agree_with_what_is_stored(lane_mount: LiveMount, path: Path) -> None:
    """fallocate(1) as people use it."""
    tool = require_tool("fallocate")
    subprocess.run([tool, "-l", "1MiB", path], check=True, timeout=30)
    assert path.read_bytes() == bytes(1 << 20)
    assert stored_blocks(path) >= 1 << 20
    subprocess.run([tool, "-x", "-l", "1MiB", lane_mount.path / "emulated"], check=True, timeout=60)
    assert (lane_mount.path / "emulated").read_bytes() == bytes(1 << 20)
