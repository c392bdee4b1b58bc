"""Reading, writing and truncating at every offset that could matter, against a bytearray."""

from __future__ import annotations

import errno
import itertools
import os
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fs.bench import Bench
from tests.fs.kernel import Kernel

BLOCK = 4096
REQUEST_MAX = 1 << 20
EDGES = [0, 1, 15, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 77]
SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 5]
LENGTHS = [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 3]

pytestmark = [pytest.mark.flavours("default", "xchacha", "aessiv"), pytest.mark.both_engines]


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def check_file(bench: Bench, path: bytes, expected: bytes) -> None:
    """Content and size, through the mount and on disk."""
    assert bench.kernel.get(path) == expected
    assert bench.kernel.stat(path).size == len(expected)
    backing = bench.cipher_file(path)
    assert backing.plain_size() == len(expected)
    backing.check_header()


# --- every pair of edges ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", SIZES)
def test_write_at_every_edge_gives_what_a_bytearray_gives(bench: Bench, size: int) -> None:
    for offset, length in itertools.product(EDGES, LENGTHS):
        model = bytearray(noise(size))
        bench.kernel.put(b"file", bytes(model))
        data = noise(length, 2)
        handle = bench.kernel.open(b"file", os.O_RDWR)
        bench.kernel.write(handle, offset, data)
        model.extend(bytes(max(0, offset - size)))
        model[offset : offset + length] = data
        assert bench.kernel.read(handle) == model, (offset, length)
        bench.kernel.release(handle)
        check_file(bench, b"file", bytes(model))
        bench.kernel.forget(bench.kernel.unlink(b"file"))


@pytest.mark.parametrize("size", SIZES)
def test_truncate_to_every_edge_gives_what_a_bytearray_gives(bench: Bench, size: int) -> None:
    for new_size in EDGES:
        content = noise(size)
        bench.kernel.put(b"file", content)
        assert bench.kernel.setattr(b"file", size=new_size).size == new_size
        expected = content[:new_size].ljust(new_size, b"\0")
        check_file(bench, b"file", expected)
        handle = bench.kernel.open(b"file", os.O_RDWR)
        bench.kernel.write(handle, new_size, b"appended")
        bench.kernel.release(handle)
        check_file(bench, b"file", expected + b"appended")
        bench.kernel.forget(bench.kernel.unlink(b"file"))


def test_read_of_every_range_between_edges_gives_a_slice(kernel: Kernel) -> None:
    content = noise(3 * BLOCK - 100)
    kernel.put(b"file", content)
    handle = kernel.open(b"file")
    for start, end in itertools.combinations([*EDGES, 1 << 20, 1 << 40], 2):
        length = min(end - start, REQUEST_MAX)
        assert kernel.read(handle, start, length) == content[start : start + length]


def test_read_of_nothing_is_empty(kernel: Kernel) -> None:
    kernel.put(b"file", b"content")
    handle = kernel.open(b"file")
    assert kernel.read(handle, 0, 0) == b""
    assert kernel.read(handle, 7, 100) == b""
    assert kernel.read(handle, 1 << 62, 100) == b""


def test_write_of_nothing_changes_nothing(bench: Bench) -> None:
    handle = bench.kernel.create(b"file")
    bench.kernel.write(handle, 100, b"")
    check_file(bench, b"file", b"")
    assert bench.cipher_file(b"file").data == b""


def test_write_in_requests_of_any_length_joins(bench: Bench) -> None:
    content = noise(3 << 20)
    handle = bench.kernel.create(b"file")
    position = 0
    rng = random.Random(7)
    while position < len(content):
        length = rng.choice([1, 100, BLOCK, 65536, 131072, 1 << 20])
        bench.kernel.write(handle, position, content[position : position + length])
        position += length
    bench.kernel.release(handle)
    check_file(bench, b"file", content[:position])


# --- holes ------------------------------------------------------------------------------------------------------
def test_write_far_beyond_the_end_leaves_a_real_hole(bench: Bench) -> None:
    bench.kernel.put(b"file", b"start")
    handle = bench.kernel.open(b"file", os.O_RDWR)
    bench.kernel.write(handle, 100 * BLOCK + 10, b"end")
    bench.kernel.release(handle)
    check_file(bench, b"file", b"start".ljust(100 * BLOCK + 10, b"\0") + b"end")
    backing = bench.cipher_file(b"file")
    assert not any(b"".join(backing.blocks()[1:100])), "blocks in between were written"
    stored = sum(end - start for start, end in backing.data_ranges())
    assert stored <= 4 * BLOCK
    assert os.stat(backing.path).st_blocks * 512 <= 5 * BLOCK


@pytest.mark.parametrize("start", [b"", b"partial", bytes(BLOCK), noise(2 * BLOCK + 1)], ids=len)
@pytest.mark.parametrize("size", [50 * BLOCK, 50 * BLOCK + 1, 51 * BLOCK - 1])
def test_truncate_far_beyond_the_end_leaves_a_real_hole(bench: Bench, start: bytes, size: int) -> None:
    bench.kernel.put(b"file", start)
    bench.kernel.setattr(b"file", size=size)
    check_file(bench, b"file", start.ljust(size, b"\0"))
    backing = bench.cipher_file(b"file")
    first_hole = -(-len(start) // BLOCK)
    assert not any(b"".join(backing.blocks()[first_hole:50]))
    assert sum(end - start for start, end in backing.data_ranges()) <= len(start) + 4 * BLOCK


def test_zeros_that_were_written_are_no_hole(bench: Bench) -> None:
    bench.kernel.put(b"file", bytes(3 * BLOCK))
    assert all(any(block) for block in bench.cipher_file(b"file").blocks())


def test_hole_is_filled_block_by_block(bench: Bench) -> None:
    model = bytearray(8 * BLOCK)
    bench.kernel.put(b"file", b"")
    bench.kernel.setattr(b"file", size=len(model))
    handle = bench.kernel.open(b"file", os.O_RDWR)
    for offset, length in [(3 * BLOCK, BLOCK), (BLOCK + 5, 10), (6 * BLOCK - 1, 2), (8 * BLOCK - 1, 1), (0, 1)]:
        data = noise(length, offset)
        bench.kernel.write(handle, offset, data)
        model[offset : offset + length] = data
        assert bench.kernel.read(handle) == model
    written = [any(block) for block in bench.cipher_file(b"file").blocks()]
    assert written == [True, True, False, True, False, True, True, True]


def test_truncate_into_a_hole_makes_the_last_block_real(bench: Bench) -> None:
    bench.kernel.put(b"file", b"")
    bench.kernel.setattr(b"file", size=8 * BLOCK)
    bench.kernel.setattr(b"file", size=5 * BLOCK + 3)
    check_file(bench, b"file", bytes(5 * BLOCK + 3))
    assert any(bench.cipher_file(b"file").blocks()[-1])
    bench.kernel.setattr(b"file", size=2 * BLOCK)
    check_file(bench, b"file", bytes(2 * BLOCK))


def test_truncate_grown_file_shows_zeros_and_not_what_was_cut_off(bench: Bench) -> None:
    content = noise(3 * BLOCK)
    for size in (1, BLOCK - 1, BLOCK, BLOCK + 1):
        bench.kernel.put(b"file", content)
        bench.kernel.setattr(b"file", size=size)
        bench.kernel.setattr(b"file", size=3 * BLOCK)
        check_file(bench, b"file", content[:size].ljust(3 * BLOCK, b"\0"))
        bench.kernel.unlink(b"file")


# --- limits -----------------------------------------------------------------------------------------------------
def test_offsets_beyond_what_the_format_can_address_are_efbig(bench: Bench) -> None:
    limit = bench.volume.layout.plain_size_max
    bench.kernel.put(b"file", b"content")
    handle = bench.kernel.open(b"file", os.O_RDWR)
    for offset, length in [(limit, 1), (limit - 1, 2), ((1 << 63) - 1, 1), (1 << 63, 10)]:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            bench.kernel.write(handle, offset, bytes(length))
    for size in (limit + 1, (1 << 63) - 1):
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            bench.kernel.setattr(b"file", size=size)
    check_file(bench, b"file", b"content")


def test_sizes_beyond_what_the_filesystem_below_takes_change_nothing(bench: Bench) -> None:
    bench.kernel.put(b"file", b"content")
    bench.kernel.put(b"empty", b"")
    before = bench.cipher_file(b"file").data
    for path, offset in itertools.product((b"file", b"empty"), (1 << 60, (1 << 60) + 1)):
        handle = bench.kernel.open(path, os.O_RDWR)
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            bench.kernel.write(handle, offset, b"x")
        bench.kernel.release(handle)
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            bench.kernel.setattr(path, size=offset)
    check_file(bench, b"file", b"content")
    assert len(bench.cipher_file(b"file").data) == len(before)
    assert bench.cipher_file(b"empty").data == b""


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel cuts writes at ``size``, in the middle of a block if need be, as a full disk does.

    Reserving space beyond is not refused, so this is about filesystems that can't reserve.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 10, BLOCK, BLOCK + 1, 3 * BLOCK - 1])
@pytest.mark.parametrize("offset", [0, 5, BLOCK, 3 * BLOCK, 9 * BLOCK + 1])
def test_write_that_runs_out_of_room_changes_nothing(bench: Bench, size: int, offset: int) -> None:
    kernel = bench.remount(noprealloc=True)
    content = noise(size)
    kernel.put(b"file", content)
    handle = kernel.open(b"file", os.O_RDWR)
    limit = max(bench.cipher_file(b"file").size, 18 + offset) + 3000
    with file_size_limit(limit), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        kernel.write(handle, offset, noise(4 * BLOCK, 2))
    check_file(bench, b"file", content)
    kernel.write(handle, offset, b"room again")
    kernel.release(handle)
    expected = bytearray(content.ljust(offset, b"\0"))
    expected[offset : offset + 10] = b"room again"
    check_file(bench, b"file", bytes(expected))


def test_growing_that_runs_out_of_room_changes_nothing(bench: Bench) -> None:
    kernel = bench.remount(noprealloc=True)
    for size, new_size in itertools.product([0, 10, BLOCK, BLOCK + 1], [9 * BLOCK, 9 * BLOCK + 1, 3 * BLOCK + 2000]):
        kernel.put(b"file", noise(size))
        with file_size_limit(3 * BLOCK), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            kernel.setattr(b"file", size=new_size)
        check_file(bench, b"file", noise(size))
        kernel.unlink(b"file")
