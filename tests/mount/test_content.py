"""Reading and writing: partial blocks, holes, truncation, large offsets, unusual ways to copy."""

from __future__ import annotations

import errno
import mmap
import os
import random
import socket
from pathlib import Path

import pytest

from tests.support.accounts import errno_of
from tests.support.places import Place
from tests.support.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate, supports_data_seek

pytestmark = pytest.mark.flavours("default", "xchacha", "aessiv", "legacy")

BLOCK = 4096
EDGES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 17, 32 * BLOCK, 32 * BLOCK + 1]


def pattern(length: int, start: int = 0) -> bytes:
    """Bytes that tell their own offset."""
    return bytes(((i * 31) + ((i >> 8) * 17) + 7) & 0xFF for i in range(start, start + length))


@pytest.fixture
def path(place: Place) -> Path:
    return place.path / "file"


@pytest.mark.parametrize("length", EDGES)
def test_content_of_every_length_comes_back_whole_and_in_pieces(path: Path, length: int) -> None:
    data = pattern(length)
    path.write_bytes(data)
    assert path.read_bytes() == data
    with open(path, "rb", buffering=0) as stream:
        for offset in EDGES:
            assert os.pread(stream.fileno(), 5000, offset) == data[offset : offset + 5000]


@pytest.mark.parametrize("chunk", [1, 100, 4095, 4096, 4097, 70_000])
def test_sequential_writes_of_any_chunk_size(path: Path, chunk: int) -> None:
    data = pattern(min(chunk * 40, 300_000))
    with open(path, "wb", buffering=0) as stream:
        for offset in range(0, len(data), chunk):
            stream.write(data[offset : offset + chunk])
    assert path.read_bytes() == data


def test_random_writes_reads_and_truncates_match_a_byte_array(path: Path, seed: int) -> None:
    rng, model = random.Random(seed), bytearray()
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        for _ in range(300):
            offset, length = rng.choice(EDGES) + rng.randrange(-1, 2) * rng.randrange(BLOCK), rng.choice(EDGES[:7])
            offset = max(0, offset)
            kind = rng.random()
            if kind < 0.5 and length:
                data = rng.randbytes(length)
                model.extend(bytes(max(0, offset - len(model))))
                model[offset : offset + length] = data
                os.pwrite(fd, data, offset)
            elif kind < 0.7:
                os.ftruncate(fd, offset)
                model = model[:offset] + bytearray(max(0, offset - len(model)))
            else:
                assert os.pread(fd, length, offset) == model[offset : offset + length], f"seed {seed}"
            assert os.fstat(fd).st_size == len(model)
    finally:
        os.close(fd)
    assert path.read_bytes() == model, f"seed {seed}"


@pytest.mark.parametrize("old", EDGES)
@pytest.mark.parametrize("new", EDGES)
def test_truncate_up_and_down_keeps_the_common_part(path: Path, old: int, new: int) -> None:
    path.write_bytes(pattern(old))
    os.truncate(path, new)
    assert os.stat(path).st_size == new
    assert path.read_bytes() == pattern(old)[:new] + bytes(max(0, new - old))
    with open(path, "ab") as stream:
        stream.write(b"tail")
    assert path.read_bytes()[-4:] == b"tail"


def test_truncate_down_and_up_again_shows_zeros(path: Path) -> None:
    path.write_bytes(b"\xff" * 10_000)
    os.truncate(path, 5000)
    os.truncate(path, 10_000)
    assert path.read_bytes() == b"\xff" * 5000 + bytes(5000)


def test_rewriting_an_emptied_file_works_through_old_descriptors(path: Path) -> None:
    with open(path, "w+b", buffering=0) as one, open(path, "r+b", buffering=0) as two:
        for number in range(5):
            os.ftruncate(one.fileno(), 0)
            os.pwrite(two.fileno(), b"%d" % number * 5000, 0)
            assert os.pread(one.fileno(), 10_000, 0) == b"%d" % number * 5000


@pytest.mark.parametrize("gap_start", [0, 1, BLOCK - 1, BLOCK, 10_000])
@pytest.mark.parametrize("gap", [1, BLOCK - 1, BLOCK, BLOCK + 1, 100_000, 50_000_000])
def test_write_beyond_the_end_leaves_zeros(path: Path, gap_start: int, gap: int) -> None:
    path.write_bytes(b"x" * gap_start)
    fd = os.open(path, os.O_RDWR)
    try:
        os.pwrite(fd, b"far", gap_start + gap)
        assert os.fstat(fd).st_size == gap_start + gap + 3
        assert os.pread(fd, gap_start, 0) == b"x" * gap_start
        assert os.pread(fd, 8192, gap_start) == bytes(min(gap, 8192)) + b"far"[: max(0, min(3, 8192 - gap))]
        assert os.pread(fd, 100, gap_start + gap) == b"far"
        if gap >= 100_000:
            os.fsync(fd)
            assert os.fstat(fd).st_blocks * 512 < 64 * 1024
    finally:
        os.close(fd)


def test_hole_and_data_are_found(place: Place, path: Path) -> None:
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        os.pwrite(fd, pattern(BLOCK), 64 * BLOCK)
        os.ftruncate(fd, 200 * BLOCK)
        if not supports_data_seek(fd):
            pytest.skip("no SEEK_DATA here; the kernel then treats the whole file as data")
        data = os.lseek(fd, 0, os.SEEK_DATA)
        hole = os.lseek(fd, 64 * BLOCK, os.SEEK_HOLE)
        assert data <= 64 * BLOCK
        assert 65 * BLOCK <= hole <= 200 * BLOCK
        assert errno_of(lambda: os.lseek(fd, 200 * BLOCK, os.SEEK_DATA)) == errno.ENXIO
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [1 << 32, (1 << 40) + 12345, 1 << 43])
def test_terabyte_offsets_work(path: Path, size: int) -> None:
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        os.pwrite(fd, b"far away", size)
        assert os.fstat(fd).st_size == size + 8
        assert os.pread(fd, 20, size - 4) == bytes(4) + b"far away"
        assert os.pread(fd, 10, 123_456_789) == bytes(10)
        os.ftruncate(fd, 10)
        assert os.pread(fd, 20, 0) == bytes(10)
    finally:
        os.close(fd)


@pytest.mark.gocryptfs_differs("pads the last block before it fails")
def test_sizes_that_can_not_exist_are_refused(path: Path) -> None:
    path.write_bytes(b"kept")
    for size in ((1 << 63) - 1, (1 << 63) - 4096, 1 << 62):
        assert errno_of(lambda s=size: os.truncate(path, s)) in (errno.EFBIG, errno.EINVAL)  # type: ignore[misc]  # int
    assert os.stat(path).st_size == 4
    assert path.read_bytes() == b"kept"


@pytest.mark.gocryptfs_differs("pads the last block before it fails")
def test_write_at_an_offset_that_can_not_exist_fails_and_harms_nothing(place: Place, path: Path) -> None:
    def write_far() -> None:
        with open(path, "r+b", buffering=0) as stream:
            os.pwrite(stream.fileno(), b"x", (1 << 62) + 1)
            os.fsync(stream.fileno())

    path.write_bytes(b"kept")
    assert errno_of(write_far) in (errno.EFBIG, errno.EINVAL, errno.EIO)
    if place.driver.is_fuse:  # until then a kernel that writes back may show the size it hoped for
        place.mount.unmount()
        place.mount.start()
    assert os.stat(path).st_size == 4
    assert path.read_bytes() == b"kept"


def test_fallocate_reserves_and_grows(path: Path) -> None:
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        os.write(fd, b"data")
        try:
            fallocate(fd, FALLOC_KEEP_SIZE, 0, 100_000)
        except OSError as exc:
            assert exc.errno == errno.EOPNOTSUPP  # pyfuse3 alone has no such request
            assert os.fstat(fd).st_size == 4
            return
        assert os.fstat(fd).st_size == 4
        fallocate(fd, 0, 0, 50_001)
        assert os.fstat(fd).st_size == 50_001
        assert os.pread(fd, 60_000, 0) == b"data" + bytes(49_997)
    finally:
        os.close(fd)


def test_posix_fallocate_grows_the_file(path: Path) -> None:
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        os.posix_fallocate(fd, 0, 5000)
        assert os.pread(fd, 6000, 0) == bytes(5000)
    finally:
        os.close(fd)


def test_punching_a_hole_works_or_is_refused_without_damage(path: Path) -> None:
    path.write_bytes(b"y" * 20_000)
    fd = os.open(path, os.O_RDWR)
    try:
        refused = errno_of(lambda: fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, BLOCK, BLOCK))
        assert refused in (0, errno.EOPNOTSUPP)
        expected = b"y" * BLOCK + (b"y" * BLOCK if refused else bytes(BLOCK)) + b"y" * (20_000 - 2 * BLOCK)
        assert os.pread(fd, 30_000, 0) == expected
    finally:
        os.close(fd)


def test_direct_io_reads_and_writes_aligned_blocks(path: Path) -> None:
    data = pattern(8 * BLOCK)
    path.write_bytes(data)
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        buffer = mmap.mmap(-1, 2 * BLOCK)  # page aligned, as direct IO demands
        assert os.preadv(fd, [buffer], 4 * BLOCK) == 2 * BLOCK
        assert buffer[:] == data[4 * BLOCK : 6 * BLOCK]
        buffer[:] = b"D" * (2 * BLOCK)
        assert os.pwritev(fd, [buffer], BLOCK) == 2 * BLOCK
    finally:
        os.close(fd)
    assert path.read_bytes() == data[:BLOCK] + b"D" * (2 * BLOCK) + data[3 * BLOCK :]


def test_sendfile_reads_the_file(path: Path) -> None:
    data = pattern(100_000)
    path.write_bytes(data)
    left, right = socket.socketpair()
    with left, right, open(path, "rb") as stream:
        received, offset = b"", 0
        while len(received) < len(data):
            offset += os.sendfile(left.fileno(), stream.fileno(), offset, 8192)
            received += right.recv(65536)
    assert received == data


@pytest.mark.parametrize(("offset_in", "offset_out"), [(0, 0), (100, 5000), (BLOCK, 3)])
def test_copy_file_range_copies_within_the_mount(place: Place, path: Path, offset_in: int, offset_out: int) -> None:
    path.write_bytes(pattern(200_000))
    with open(path, "rb") as source, open(place.path / "copy", "w+b") as target:
        copied = 0
        while copied < 150_000:
            copied += os.copy_file_range(
                source.fileno(), target.fileno(), 150_000 - copied, offset_in + copied, offset_out + copied
            )
    assert (place.path / "copy").read_bytes() == bytes(offset_out) + pattern(200_000)[offset_in : offset_in + 150_000]


def test_vectored_io_in_many_small_pieces(path: Path) -> None:
    pieces = [pattern(n, n * 7) for n in range(1, 200)]
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        total = os.pwritev(fd, pieces, 1000)
        assert total == sum(map(len, pieces))
        buffers = [bytearray(len(piece)) for piece in pieces]
        assert os.preadv(fd, buffers, 1000) == total
        assert [bytes(b) for b in buffers] == pieces
    finally:
        os.close(fd)


def test_fsync_of_file_and_directory_succeeds(place: Place, path: Path) -> None:
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    os.write(fd, b"x")
    os.fsync(fd)
    os.fdatasync(fd)
    os.close(fd)
    directory = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)


def test_large_single_write_and_read(path: Path, seed: int) -> None:
    data = random.Random(seed).randbytes(9_000_001)
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        assert os.write(fd, data) == len(data)
        assert os.pread(fd, len(data) + 10, 0) == data
    finally:
        os.close(fd)
