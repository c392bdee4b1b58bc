"""Files and write intents in C, seen through their Python classes: what is raised, who owns what."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import threading
from pathlib import Path

import pytest

from pcvfs.errors import AuthenticationError, HeaderError
from pcvfs.native import Aead
from pcvfs.native.files import INTENT_HEAD_SIZE, INTENT_SLOT_SIZE, INTENT_SLOTS, IO_MAX, File, FilePolicy, Intents
from tests.unit.native.places import OVERHEAD, count_descriptors, open_file

BLOCK = 4096
HEADER = 18
SEALED = BLOCK + OVERHEAD
BUSY_OFFSET_SIZE_FINAL = struct.Struct("=Q48xQQq")


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))


# --- files ------------------------------------------------------------------------------------------------------
def test_file_gives_back_what_was_written_and_knows_its_size(file: File, backing: Path) -> None:
    file.write(BLOCK + 5, b"content")
    assert file.size == BLOCK + 12
    assert backing.stat().st_size == HEADER + SEALED + OVERHEAD + 12
    assert file.read(0, IO_MAX) == bytes(BLOCK + 5) + b"content"
    assert file.read(BLOCK + 5, 3) == b"con"
    assert file.read(BLOCK + 12, 1) == b""
    file.truncate(BLOCK + 6)
    assert file.read(BLOCK, 100) == bytes(5) + b"c"


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"bytes"), memoryview(b"(bytes)")[1:-1]])
def test_file_takes_any_buffer(file: File, data: bytes | bytearray | memoryview) -> None:
    file.write(0, data)
    assert file.read(0, 10) == b"bytes"


def test_bad_block_is_named_and_the_others_are_readable(file: File, policy: FilePolicy, backing: Path) -> None:
    file.write(0, b"x" * (3 * BLOCK))
    flip(backing, HEADER + SEALED + 100)
    with pytest.raises(AuthenticationError) as info:
        file.read(0, 3 * BLOCK)
    assert info.value.block_no == 1
    with pytest.raises(AuthenticationError):
        file.write(BLOCK + 1, b"part of it")
    with pytest.raises(AuthenticationError):
        file.truncate(BLOCK + 1)
    assert file.read(2 * BLOCK, BLOCK) == b"x" * BLOCK
    assert file.size == 3 * BLOCK


def test_bad_header_is_a_header_error(file: File, policy: FilePolicy, backing: Path) -> None:
    file.write(0, b"content")
    flip(backing, 1)
    again = open_file(policy, backing)
    with pytest.raises(HeaderError):
        again.read(0, 1)
    again.close()


@pytest.mark.parametrize("offset", [(1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_offsets_that_can_not_be_are_efbig_and_change_nothing(file: File, offset: int) -> None:
    file.write(0, b"content")
    for action in (
        lambda: file.write(offset, b"x"),
        lambda: file.truncate(offset),
        lambda: file.allocate(offset, 1, is_keep_size=False),
    ):
        with pytest.raises(OSError) as info:
            action()
        assert info.value.errno == errno.EFBIG
    assert file.read(offset, 10) == b""
    assert file.read(0, 100) == b"content"


def test_requests_that_are_too_large_or_empty_are_refused(file: File) -> None:
    for action in (
        lambda: file.write(0, bytes(IO_MAX + 1)),
        lambda: file.read(0, IO_MAX + 1),
        lambda: file.allocate(0, 0, is_keep_size=True),
    ):
        with pytest.raises(OSError) as info:
            action()
        assert info.value.errno == errno.EINVAL
    file.write(5, b"")
    assert file.size == 0


def test_holes_are_found(file: File) -> None:
    file.write(0, b"start")
    file.write(100 * BLOCK, b"end")
    hole = file.seek(0, os.SEEK_HOLE)
    assert BLOCK <= hole <= 3 * BLOCK
    assert 97 * BLOCK <= file.seek(hole, os.SEEK_DATA) <= 100 * BLOCK
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        with pytest.raises(OSError) as info:
            file.seek(100 * BLOCK + 3, whence)
        assert info.value.errno == errno.ENXIO


def test_read_only_file_can_become_writable_and_keeps_its_descriptor(policy: FilePolicy, backing: Path) -> None:
    fd = os.open(backing, os.O_RDONLY)
    file = File(policy, fd, is_writable=False, path=b"path")
    with pytest.raises(OSError) as info:
        file.write(0, b"x")
    assert info.value.errno == errno.EBADF
    file.upgrade(os.open(backing, os.O_RDWR))
    file.write(0, b"written")
    assert os.path.samestat(os.fstat(fd), backing.stat())
    assert os.pread(fd, 100, 0) == backing.read_bytes()
    file.close()


def test_closing_a_file_closes_its_descriptor(policy: FilePolicy, backing: Path) -> None:
    before = count_descriptors()
    files = [open_file(policy, backing) for _ in range(50)]
    files[0].upgrade(os.open(backing, os.O_RDWR))
    assert count_descriptors() == before + 50
    for file in files:
        file.close()
    assert count_descriptors() == before


def test_shared_file_is_looked_at_again(aead: Aead, backing: Path) -> None:
    shared = FilePolicy(aead, OVERHEAD, None, prealloc=0, is_shared=True)
    one, two = open_file(shared, backing), open_file(shared, backing)
    for number in range(3):
        one.write(0, b"%d" % number * 5000)
        assert two.size == 5000
        assert two.read(0, 6000) == b"%d" % number * 5000
        two.truncate(0)
        assert one.read(0, 10) == b""
    one.close()
    two.close()


@pytest.mark.parametrize("overhead", [0, 16, 41, 1 << 40])
def test_policy_refuses_an_overhead_that_no_cipher_has(aead: Aead, overhead: int) -> None:
    with pytest.raises(OSError) as info:
        FilePolicy(aead, overhead, None, prealloc=0, is_shared=False)
    assert info.value.errno == errno.EINVAL


def test_sync_of_a_closed_descriptor_fails_and_goes_on_failing(policy: FilePolicy, backing: Path) -> None:
    reader, writer = os.pipe()
    file = open_file(policy, backing)
    file.sync(is_data_only=True)
    file.upgrade(writer)  # a pipe can't be synced
    for _ in range(2):
        with pytest.raises(OSError):
            file.sync(is_data_only=False)
    file.upgrade(os.open(backing, os.O_RDWR))
    with pytest.raises(OSError) as info:
        file.sync(is_data_only=False)
    assert info.value.errno == errno.EIO
    file.close()
    os.close(reader)


# --- intents ----------------------------------------------------------------------------------------------------
@pytest.fixture
def area() -> mmap.mmap:
    return mmap.mmap(-1, INTENT_SLOTS * INTENT_SLOT_SIZE)


@pytest.fixture
def intents(area: mmap.mmap) -> Intents:
    return Intents(area, b"b" * 16, (1, 2))


def busy_slots(area: mmap.mmap) -> list[tuple[int, int, int]]:
    """Offset, size and final size of what is noted."""
    slots = [BUSY_OFFSET_SIZE_FINAL.unpack_from(area, n * INTENT_SLOT_SIZE) for n in range(INTENT_SLOTS)]
    return [(offset, size, final) for is_busy, offset, size, final in slots if is_busy]


def test_each_write_has_a_slot_until_it_ends(area: mmap.mmap, intents: Intents) -> None:
    slots = [intents.begin(b"path", (3, 4), b"i" * 16, n, b"data" * n, None) for n in range(1, INTENT_SLOTS + 1)]
    assert sorted(slots) == list(range(INTENT_SLOTS))
    assert sorted(busy_slots(area)) == [(n, 4 * n, -1) for n in range(1, INTENT_SLOTS + 1)]
    intents.end(slots[1])
    assert len(busy_slots(area)) == INTENT_SLOTS - 1
    assert intents.begin(b"path", (3, 4), b"i" * 16, 9, b"more", 13) == slots[1]
    assert (9, 4, 13) in busy_slots(area)
    for slot in slots:
        intents.end(slot)
    assert busy_slots(area) == []


def test_write_that_does_not_fit_is_not_noted(area: mmap.mmap, intents: Intents) -> None:
    room = INTENT_SLOT_SIZE - INTENT_HEAD_SIZE
    assert intents.begin(b"path", (3, 4), b"i" * 16, 0, bytes(room + 1), None) == -1
    assert intents.begin(b"p" * INTENT_HEAD_SIZE, (3, 4), b"i" * 16, 0, b"x", None) == -1
    assert busy_slots(area) == []
    intents.end(-1)
    slot = intents.begin(b"path", (3, 4), b"i" * 16, 0, bytes(room), None)
    assert slot >= 0
    intents.end(slot)


def test_one_write_too_many_waits_for_a_slot(intents: Intents) -> None:
    slots = [intents.begin(b"path", (3, 4), b"i" * 16, 0, b"data", None) for _ in range(INTENT_SLOTS)]
    got: list[int] = []
    waiting = threading.Thread(target=lambda: got.append(intents.begin(b"path", (3, 4), b"i" * 16, 0, b"x", None)))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    assert not got
    intents.end(slots[2])
    waiting.join(10)
    assert got == [slots[2]]


def test_every_write_of_a_file_is_noted_and_ended(aead: Aead, area: mmap.mmap, intents: Intents, backing: Path) -> None:
    policy = FilePolicy(aead, OVERHEAD, intents, prealloc=0, is_shared=False)
    file = open_file(policy, backing)
    file.write(0, b"x" * 5000)
    file.truncate(100)
    assert busy_slots(area) == []
    last = area[INTENT_HEAD_SIZE : INTENT_HEAD_SIZE + OVERHEAD + 100]
    assert last == backing.read_bytes()[HEADER:]
    file.close()
