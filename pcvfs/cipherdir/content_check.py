"""Reads and authenticates every block of one backing file, and says which are bad.

For ``fsck``; knows no names. Holes are skipped, data is read in runs of about a mebibyte into one buffer that is used
for all files. Not thread safe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pcvfs.cipherdir import backing
from pcvfs.cipherdir.report import ProblemKind
from pcvfs.cipherdir.volume import Volume
from pcvfs.cipherdir.wording import reason
from pcvfs.errors import AuthenticationError, HeaderError
from pcvfs.format.header import decode_header
from pcvfs.spec import BLOCK_SIZE, HEADER_SIZE
from pcvfs.types import BlockNo, FileId

RUN_BLOCKS: Final = 256
_RANGES_NAMED: Final = 16
_RETRIES: Final = 2


class BadBlocks:
    """Numbers of bad blocks in ascending order, as ranges; memory does not grow with their number."""

    __slots__ = ("_ranges", "count")

    def __init__(self) -> None:
        self.count = 0
        self._ranges: list[tuple[int, int]] = []

    def add(self, block_no: int) -> None:
        """Add a block; a higher number than any before."""
        self.count += 1
        if self._ranges and self._ranges[-1][1] == block_no - 1:
            self._ranges[-1] = (self._ranges[-1][0], block_no)
        elif len(self._ranges) <= _RANGES_NAMED:
            self._ranges.append((block_no, block_no))

    def __str__(self) -> str:
        named = [f"{first}" if first == last else f"{first}-{last}" for first, last in self._ranges[:_RANGES_NAMED]]
        more = ", ..." if len(self._ranges) > _RANGES_NAMED else ""
        return f"{self.count} of them bad: {', '.join(named)}{more}"


Findings = list[tuple[ProblemKind, str]]


class ContentCheck:
    """Checks files of one volume.

    Args:
        on_bytes: called with the bytes of plaintext authenticated since the last call.
    """

    __slots__ = ("_ciphertext", "_content", "_layout", "_on_bytes", "_plaintext")

    def __init__(self, volume: Volume, on_bytes: Callable[[int], None]) -> None:
        self._content = volume.content
        self._layout = volume.layout
        self._on_bytes = on_bytes
        self._ciphertext = memoryview(bytearray(RUN_BLOCKS * volume.layout.cipher_block_size))
        self._plaintext = memoryview(bytearray(RUN_BLOCKS * BLOCK_SIZE))

    def check(self, fd: int) -> Findings:
        """Return what is wrong with an open regular file; empty if all of it can be read.

        Somebody may be writing: findings about a file that changed meanwhile are dropped, and it is read again.
        """
        before = backing.fstat(fd)
        findings = self._check_once(fd, before.st_size)
        for _ in range(_RETRIES):
            after = backing.fstat(fd)
            if not findings or (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                break
            before, findings = after, self._check_once(fd, after.st_size)
        return findings

    def _check_once(self, fd: int, size: int) -> Findings:
        if size == 0:
            return []
        if size <= HEADER_SIZE:
            return [(ProblemKind.FILE_INTERRUPTED, f"{size} bytes")]
        try:
            file_id = decode_header(backing.pread_full(fd, HEADER_SIZE, 0))
        except HeaderError as exc:
            return [(ProblemKind.HEADER_CORRUPT, exc.message)]
        except OSError as exc:
            return [(ProblemKind.FILE_UNREADABLE, reason(exc))]
        corrupt, unreadable = BadBlocks(), BadBlocks()
        self._check_blocks(fd, size, file_id, corrupt, unreadable)
        findings: Findings = []
        if not self._layout.is_regular_size(size):
            tail = (size - HEADER_SIZE) % self._layout.cipher_block_size
            findings.append((ProblemKind.FILE_TRUNCATED, f"{tail} bytes of the last block are left"))
        if corrupt.count:
            findings.append((ProblemKind.BLOCK_CORRUPT, str(corrupt)))
        if unreadable.count:
            findings.append((ProblemKind.FILE_UNREADABLE, f"I/O error in blocks, {unreadable}"))
        return findings

    def _check_blocks(self, fd: int, size: int, file_id: FileId, corrupt: BadBlocks, unreadable: BadBlocks) -> None:
        """Read all blocks that hold data. After a bad one go on one by one, then in longer runs again."""
        layout = self._layout
        full_blocks, tail = divmod(size - HEADER_SIZE, layout.cipher_block_size)
        blocks = full_blocks + (tail > layout.overhead)  # else FILE_TRUNCATED says it
        block_no = extent_end = 0
        run = RUN_BLOCKS
        while block_no < blocks:
            if block_no == extent_end:
                block_no, extent_end = self._next_extent(fd, block_no, full_blocks, blocks)
                continue
            offset = layout.cipher_off_of_block(BlockNo(block_no))
            count = min(run, extent_end - block_no)
            ciphertext = self._ciphertext[: min(count * layout.cipher_block_size, size - offset)]
            try:
                if backing.pread_into(fd, ciphertext, offset) < len(ciphertext):
                    return  # cut off meanwhile
                self._on_bytes(self._content.open_blocks_into(ciphertext, block_no, file_id, self._plaintext))
            except AuthenticationError as exc:
                bad = block_no if exc.block_no is None else exc.block_no
                self._on_bytes((bad - block_no) * BLOCK_SIZE)
                corrupt.add(bad)
                block_no, run = bad + 1, 1
            except OSError:
                if count == 1:
                    unreadable.add(block_no)
                    block_no += 1
                run = 1
            else:
                block_no += count
                run = min(2 * run, RUN_BLOCKS)

    def _next_extent(self, fd: int, block_no: int, full_blocks: int, blocks: int) -> tuple[int, int]:
        """The next blocks, from ``block_no`` on, that are not holes: the first, and the one behind the last.

        A partial last block always counts: a hole is none of the things it can be.
        """
        data = backing.seek_data(fd, self._layout.cipher_off_of_block(BlockNo(block_no)))
        if data is None:
            return max(block_no, full_blocks), blocks
        first = max(block_no, min(self._layout.block_of_cipher_off(data), full_blocks))
        hole = backing.seek_hole(fd, data)
        end = blocks if hole is None else self._layout.first_block_from_cipher_off(hole)
        return first, blocks if end >= full_blocks else max(end, first + 1)
