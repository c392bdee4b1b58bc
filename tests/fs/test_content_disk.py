"""What file content looks like on disk: headers, file ids, and what is made of files that are damaged or cut short."""

from __future__ import annotations

import contextlib
import errno
import os
import random
from pathlib import Path

import pytest

from pcvfs.cipherdir.report import ProblemKind
from pcvfs.errors import AuthenticationError, HeaderError, PcvfsError
from tests.fs.bench import Bench
from tests.fs.cipher_tree import HEADER_SIZE
from tests.fs.faults import fail, install
from tests.fs.kernel import Kernel
from tests.support.flavours import Flavour

BLOCK = 4096

pytestmark = [pytest.mark.flavours("default", "xchacha", "aessiv"), pytest.mark.both_engines]


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def append(kernel: Kernel, path: bytes, data: bytes) -> None:
    offset = kernel.stat(path).size
    handle = kernel.open(path, os.O_RDWR)
    try:
        kernel.write(handle, offset, data)
    finally:
        kernel.release(handle)


# --- header and file id -----------------------------------------------------------------------------------------
def test_empty_file_has_no_header(bench: Bench) -> None:
    bench.kernel.put(b"file", b"")
    assert bench.cipher_file(b"file").size == 0
    assert bench.kernel.get(b"file") == b""


def test_file_id_is_random_and_stays_while_the_file_has_content(bench: Bench) -> None:
    ids = set()
    for name in (b"one", b"two"):
        bench.kernel.put(name, b"same content")
        header = bench.cipher_file(name).header
        bench.kernel.setattr(name, size=1)
        append(bench.kernel, name, noise(10_000))
        assert bench.cipher_file(name).header == header
        ids.add(header)
    assert len(ids) == 2


@pytest.mark.parametrize("is_open", [True, False])
def test_file_emptied_and_written_again_gets_another_file_id(bench: Bench, is_open: bool) -> None:
    bench.kernel.put(b"file", b"first")
    before = bench.cipher_file(b"file").header
    handle = bench.kernel.open(b"file", os.O_RDWR) if is_open else None
    bench.kernel.setattr(b"file", size=0)
    assert bench.cipher_file(b"file").size == 0
    if handle is None:
        handle = bench.kernel.open(b"file", os.O_RDWR)
    bench.kernel.write(handle, 0, b"second")
    assert bench.kernel.read(handle) == b"second"
    assert bench.cipher_file(b"file").header != before


def test_file_emptied_by_one_handle_is_a_new_file_for_all(bench: Bench) -> None:
    bench.kernel.put(b"file", noise(5000))
    bench.kernel.link(b"file", b"link")
    one, two = (bench.kernel.open(path, os.O_RDWR) for path in (b"file", b"link"))
    assert bench.kernel.read(two) == noise(5000)
    bench.kernel.release(bench.kernel.open(b"link", os.O_RDWR | os.O_TRUNC))
    bench.kernel.write(one, 0, b"new")
    bench.kernel.write(two, 3, b" file")
    assert bench.kernel.read(one) == bench.kernel.read(two) == b"new file"
    assert bench.remount().get(b"link") == b"new file"


def test_hard_links_share_one_open_file(bench: Bench) -> None:
    inode = bench.kernel.put(b"file", b"content")
    assert bench.kernel.link(b"file", b"link").inode == inode
    handles = [bench.kernel.open(path, os.O_RDWR) for path in (b"file", b"link", b"link")]
    files = {id(bench.fs.file_of(handle)) for handle in handles}
    assert len(files) == 1
    assert bench.kernel.stat(b"link").st.st_nlink == 2


def test_rewritten_block_never_repeats_its_nonce(bench: Bench) -> None:
    bench.kernel.put(b"file", b"same")
    nonces = set()
    for _ in range(50):
        handle = bench.kernel.open(b"file", os.O_RDWR)
        bench.kernel.write(handle, 0, b"same")
        bench.kernel.release(handle)
        nonces.add(bench.cipher_file(b"file").blocks()[0][:16])
    assert len(nonces) == 50


# --- files cut short --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [1, 2, HEADER_SIZE - 1, HEADER_SIZE])
@pytest.mark.parametrize("offset", [0, 1, 2 * BLOCK])
def test_file_with_no_more_than_a_header_is_empty_and_gets_a_new_header(bench: Bench, size: int, offset: int) -> None:
    bench.kernel.put(b"file", b"content")
    backing = bench.cipher_file(b"file")
    planted = backing.header
    os.truncate(backing.path, size)
    kernel = bench.remount()
    assert kernel.get(b"file") == b""
    assert kernel.stat(b"file").size == 0
    assert {problem.kind for problem in bench.problems()} == {ProblemKind.FILE_INTERRUPTED}
    handle = kernel.open(b"file", os.O_RDWR)
    kernel.write(handle, offset, b"new")
    kernel.release(handle)
    assert kernel.get(b"file") == bytes(offset) + b"new"
    assert bench.cipher_file(b"file").header != planted


@pytest.mark.parametrize("kept", [1, 15, 16, 31, 32])
def test_last_block_too_short_for_a_byte_counts_as_one_and_fails(bench: Bench, kept: int) -> None:
    bench.kernel.put(b"file", noise(BLOCK + 100))
    backing = bench.cipher_file(b"file")
    kept = min(kept, backing.overhead)
    os.truncate(backing.path, backing.block_offset(1) + kept)
    kernel = bench.remount()
    assert kernel.stat(b"file").size == BLOCK + 1
    handle = kernel.open(b"file", os.O_RDWR)
    assert kernel.read(handle, 0, BLOCK) == noise(BLOCK + 100)[:BLOCK]
    with pytest.raises(AuthenticationError):
        kernel.read(handle, BLOCK, 1)
    with pytest.raises(AuthenticationError):
        kernel.write(handle, BLOCK + 1, b"appended")
    kernel.setattr(b"file", size=BLOCK)
    assert kernel.read(handle) == noise(BLOCK + 100)[:BLOCK]
    expect_warnings(bench, "block 1 ")


def test_file_cut_at_a_block_boundary_is_a_shorter_file(bench: Bench) -> None:
    bench.kernel.put(b"file", noise(3 * BLOCK))
    backing = bench.cipher_file(b"file")
    os.truncate(backing.path, backing.block_offset(2))
    kernel = bench.remount()
    assert kernel.get(b"file") == noise(3 * BLOCK)[: 2 * BLOCK]
    append(kernel, b"file", b"!")
    assert kernel.get(b"file") == noise(3 * BLOCK)[: 2 * BLOCK] + b"!"


# --- damage -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "header", [bytes(18), b"\0\1" + b"i" * 16, b"\0\3" + b"i" * 16, b"\1\2" + b"i" * 16, b"\0\2" + bytes(16)]
)
def test_bad_header_makes_the_content_unreadable_and_nothing_else(bench: Bench, header: bytes) -> None:
    bench.kernel.put(b"file", b"content")
    bench.kernel.put(b"other", b"other content")
    bench.cipher_file(b"file").overwrite(0, header)
    kernel = bench.remount()
    assert kernel.stat(b"file").size == 7
    handle = kernel.open(b"file", os.O_RDWR)
    for _ in range(2):
        with pytest.raises((HeaderError, AuthenticationError)):
            kernel.read(handle)
    with pytest.raises((HeaderError, AuthenticationError)):
        kernel.write(handle, 3, b"x")
    with pytest.raises((HeaderError, AuthenticationError)):
        kernel.setattr(b"file", size=3)
    assert kernel.get(b"other") == b"other content"
    kernel.setattr(b"file", size=0)
    kernel.write(handle, 0, b"fresh")
    assert kernel.read(handle) == b"fresh"
    expect_warnings(bench, "inode [0-9]+: ")


def test_bad_block_is_an_error_exactly_there(bench: Bench) -> None:
    content = noise(5 * BLOCK + 10)
    bench.kernel.put(b"file", content)
    backing = bench.cipher_file(b"file")
    backing.flip(backing.block_offset(2) + 2000)
    kernel = bench.remount()
    handle = kernel.open(b"file", os.O_RDWR)
    for _ in range(3):
        for offset, length in [(2 * BLOCK, 1), (3 * BLOCK - 1, 1), (2 * BLOCK - 1, 2), (0, len(content))]:
            with pytest.raises(AuthenticationError):
                kernel.read(handle, offset, length)
    assert kernel.read(handle, 0, 2 * BLOCK) == content[: 2 * BLOCK]
    assert kernel.read(handle, 3 * BLOCK) == content[3 * BLOCK :]
    with pytest.raises(AuthenticationError):
        kernel.write(handle, 2 * BLOCK + 1, b"part of the bad block")
    assert {problem.kind for problem in bench.problems()} == {ProblemKind.BLOCK_CORRUPT}
    expect_warnings(bench, "block 2 ")
    kernel.write(handle, 2 * BLOCK, content[2 * BLOCK : 3 * BLOCK])  # whole: the way to heal it
    assert kernel.read(handle) == content


def test_every_flipped_byte_of_a_small_file_is_noticed(bench: Bench) -> None:
    bench.kernel.put(b"file", b"0123456789")
    backing = bench.cipher_file(b"file")
    original = backing.data
    for position in range(len(original)):
        backing.flip(position)
        with pytest.raises(PcvfsError):
            bench.kernel.get(b"file")
        backing.overwrite(position, original[position : position + 1])
    assert bench.kernel.get(b"file") == b"0123456789"
    bench.drop_log()


def test_moved_blocks_are_noticed(bench: Bench) -> None:
    bench.kernel.put(b"one", bytes(2 * BLOCK))
    bench.kernel.put(b"two", bytes(2 * BLOCK))
    one, two = bench.cipher_file(b"one"), bench.cipher_file(b"two")
    first, second = one.blocks()
    one.overwrite(HEADER_SIZE, second + first)
    two.overwrite(HEADER_SIZE, first)
    for name in (b"one", b"two"):
        with pytest.raises(AuthenticationError):
            bench.kernel.get(name)
    bench.expected_problems = frozenset({ProblemKind.BLOCK_CORRUPT})
    bench.drop_log()


def test_zeroed_whole_block_is_a_hole_and_a_zeroed_nonce_is_not(bench: Bench) -> None:
    content = noise(3 * BLOCK + 5)
    bench.kernel.put(b"file", content)
    backing = bench.cipher_file(b"file")
    backing.overwrite(backing.block_offset(1), bytes(backing.block_size))
    assert bench.kernel.get(b"file") == content[:BLOCK] + bytes(BLOCK) + content[2 * BLOCK :]
    backing.overwrite(backing.block_offset(0), bytes(24))
    backing.overwrite(backing.block_offset(3), bytes(backing.overhead + 5))
    handle = bench.kernel.open(b"file")
    for block_no in (0, 3):
        with pytest.raises(AuthenticationError):
            bench.kernel.read(handle, block_no * BLOCK, 1)
    bench.expected_problems = frozenset({ProblemKind.BLOCK_CORRUPT})
    expect_warnings(bench, "block 0 ", "block 3 ")


def test_file_that_shrinks_underneath_reads_short_while_it_is_short(bench: Bench) -> None:
    """The backing file loses its end between two reads, as when somebody else truncates it."""
    bench.kernel.put(b"file", noise(2 * BLOCK))
    backing = bench.cipher_file(b"file")
    original = backing.data
    handle = bench.kernel.open(b"file")
    os.truncate(backing.path, backing.block_offset(1))
    assert bench.kernel.read(handle) == noise(2 * BLOCK)[:BLOCK]
    backing.overwrite(0, original)
    assert bench.kernel.read(handle) == noise(2 * BLOCK)


@pytest.mark.parametrize("at", [0, 1, 2, 3])
@pytest.mark.parametrize("offset", [0, 100])
def test_overwriting_that_fails_without_a_reservation_leaves_every_block_old_or_new(
    tmp_path: Path, flavour: Flavour, offset: int, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where space can't be reserved, a write of many blocks may stop between two of them, but never within one."""
    bench = Bench(tmp_path / "cipher", flavour)
    faults = install(monkeypatch)
    kernel = bench.remount(noprealloc=True)
    old, new = b"o" * (5 * BLOCK), b"n" * (3 * BLOCK)
    kernel.put(b"file", old)
    handle = kernel.open(b"file", os.O_RDWR)
    faults.arm(at, lambda: fail(errno.ENOSPC), frozenset({"pwrite"}))
    with contextlib.suppress(OSError):
        kernel.write(handle, offset, new)
    faults.disarm()
    content = kernel.read(handle)
    wanted = old[:offset] + new + old[offset + len(new) :]
    for start in range(0, len(old), BLOCK):
        assert content[start : start + BLOCK] in (old[:BLOCK], wanted[start : start + BLOCK])
    assert (content == wanted) == (not faults.hit)
    bench.finish()


def expect_warnings(bench: Bench, *patterns: str) -> None:
    """One line for each, however often it was met; files in C have their lines from the lane, so none here."""
    if bench.engine == "python":
        bench.expect_log(*patterns)
