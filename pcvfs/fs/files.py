"""The content of one open regular file: reading, writing and truncating through the block codec.

Owns: the descriptor of an open file, its file id, its size. Knows nothing of names, inodes or the kernel.

All handles of an inode share one ``OpenFile``, because a file id and a size that two of them cached separately would
part as soon as one truncates. The rules of every case (holes, partial last blocks, headers) are those of
docs/format.md "Reading" and "Writing".

What a failing write may leave behind: the blocks are reserved before they are written (``fallocate``), so running out
of space is found out before anything changed; where reserving is not possible, old bytes are put back and the file is
cut to its old size. A process killed in the middle of a write is covered by ``intents``.

Concurrency: one thread, but for ``sync``, which may run in another while the file stays open.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from pcvfs.cipherdir import backing
from pcvfs.cipherdir.backing import Prealloc
from pcvfs.errors import AuthenticationError, HeaderError
from pcvfs.format.header import decode_header, encode_header
from pcvfs.fs.tree import path_of
from pcvfs.spec import BLOCK_SIZE, FILE_ID_SIZE, HEADER_SIZE, HEADER_VERSION_SIZE
from pcvfs.types import BlockNo, FileId

if TYPE_CHECKING:
    from pcvfs.cipherdir.intents import IntentLog
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.options import MountOptions
    from pcvfs.fs.tree import Node

log = logging.getLogger(__name__)

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_ZERO_RUN: Final = 64  # blocks of zeros written at a time
_REPORTED_MAX: Final = 1000  # bad blocks of a file named in the log; the rest are only EIO


class FilePolicy:
    """What all open files of a mount have in common.

    Args:
        is_shared: others may change the files, so nothing about them is remembered between calls.
        prealloc: which space to reserve before writing. Turned off for good where the filesystem below can't.
        intents: where a write says what it is about to overwrite, or None.
    """

    def __init__(
        self,
        volume: Volume,
        *,
        is_shared: bool = False,
        prealloc: Prealloc = Prealloc.ALL,
        intents: IntentLog | None = None,
    ) -> None:
        self.volume = volume
        self.is_shared = is_shared
        self.prealloc = prealloc
        self.intents = intents

    def open(self, fd: int, node: Node, *, is_writable: bool) -> BackingFile:
        """The state of a file that was just opened; ``fd`` is taken over."""
        return OpenFile(self, fd, node, is_writable=is_writable)


def make_policy(volume: Volume, options: MountOptions, intents: IntentLog | None) -> FilePolicy:
    """The policy of a mount that reads and writes in Python."""
    prealloc = Prealloc.OFF if options.noprealloc else backing.useful_prealloc(volume.root_fd)
    return FilePolicy(volume, is_shared=options.sharedstorage, prealloc=prealloc, intents=intents)


class BackingFile(Protocol):
    """What an inode has while its file is open: ``OpenFile``. The tests have the same on native/pcv_file.h.

    Attributes:
        fd: the backing file.
        is_writable: ``fd`` is open for writing.
        opens: how many need it; at 0 it is closed.
    """

    opens: int

    @property
    def fd(self) -> int: ...
    @property
    def is_writable(self) -> bool: ...
    @property
    def size(self) -> int: ...
    def upgrade(self, fd: int) -> None: ...
    def close(self) -> None: ...
    def read(self, offset: int, length: int) -> bytes | memoryview: ...
    def write(self, offset: int, data: bytes | memoryview) -> int: ...
    def truncate(self, size: int) -> None: ...
    def sync(self, *, data_only: bool) -> None: ...
    def flush(self) -> None: ...


class OpenFile:
    """The backing file of an inode while at least one handle is open.

    Args:
        fd: descriptor of the backing file, taken over.
        is_writable: ``fd`` is open for writing.
        node: for log lines; its number only.
    """

    __slots__ = (
        "_cipher_size",
        "_file_id",
        "_policy",
        "_reported",
        "_sync_failed",
        "_volume",
        "fd",
        "is_writable",
        "node",
        "opens",
        "size",
    )

    def __init__(self, policy: FilePolicy, fd: int, node: Node, *, is_writable: bool) -> None:
        self._policy = policy
        self._volume = policy.volume
        self.fd = fd
        self.node = node
        self.is_writable = is_writable
        self.opens = 0
        self.size = 0
        self._cipher_size = 0
        self._file_id: FileId | None = None
        self._sync_failed = False
        self._reported: set[int] = set()
        self._load_size()

    def upgrade(self, fd: int) -> None:
        """Become writable: ``fd`` (taken over) is the same file open for reading and writing.

        The number of the descriptor stays, so a ``sync`` in another thread is not disturbed.
        """
        os.dup2(fd, self.fd, inheritable=False)
        os.close(fd)
        self.is_writable = True

    def close(self) -> None:
        """Close the descriptor. EIO and EDQUOT of a network filesystem may come out here."""
        fd, self.fd = self.fd, -1
        os.close(fd)

    # --- reading ------------------------------------------------------------------------------------------------
    def read(self, offset: int, length: int) -> bytes | memoryview:
        """Plaintext at ``offset``: ``length`` bytes, fewer only at the end of the file.

        Raises:
            AuthenticationError: a block in the range is corrupt.
            HeaderError: the file header is.
        """
        self._refresh()
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        span = self._volume.layout.span(offset, length)
        ciphertext = backing.pread_full(self.fd, span.cipher_len, span.cipher_off)
        plaintext = self._open_blocks(ciphertext, span.first_block)
        if span.skip == 0 and len(plaintext) == length:
            return plaintext
        return memoryview(plaintext)[span.skip : span.skip + length]

    def _read_block(self, block_no: int) -> bytes:
        """Plaintext of one block, short if it is the last, empty beyond the end."""
        if block_no * BLOCK_SIZE >= self.size:
            return b""
        layout = self._volume.layout
        ciphertext = backing.pread_full(
            self.fd, layout.cipher_block_size, layout.cipher_off_of_block(BlockNo(block_no))
        )
        return self._open_blocks(ciphertext, BlockNo(block_no))

    def _open_blocks(self, ciphertext: bytes, first_block: BlockNo) -> bytes:
        file_id = self._file_id or self._load_file_id()
        try:
            return self._volume.content.open_blocks(ciphertext, first_block, file_id)
        except AuthenticationError as exc:
            self._report(exc)
            raise

    def _report(self, exc: AuthenticationError) -> None:
        block_no = -1 if exc.block_no is None else exc.block_no
        if block_no not in self._reported and len(self._reported) < _REPORTED_MAX:
            self._reported.add(block_no)
            log.warning("inode %d: block %d is corrupt: %s", self.node.inode, block_no, exc.message)

    def _load_file_id(self) -> FileId:
        """Read the file id of a file that has content."""
        try:
            self._file_id = decode_header(backing.pread_full(self.fd, HEADER_SIZE, 0))
        except HeaderError as exc:
            if -1 not in self._reported:
                self._reported.add(-1)
                log.warning("inode %d: %s", self.node.inode, exc.message)
            raise
        return self._file_id

    def _load_size(self) -> None:
        self._cipher_size = os.fstat(self.fd).st_size
        self.size = self._volume.layout.cipher_to_plain_size(self._cipher_size)

    def _refresh(self) -> None:
        """On shared storage, look again: another writer may have changed the size or started the file anew."""
        if self._policy.is_shared:
            self._load_size()
            self._file_id = None

    # --- writing ------------------------------------------------------------------------------------------------
    def write(self, offset: int, data: bytes | memoryview) -> int:
        """Write all of ``data`` at ``offset``; a gap behind the old end reads as zeros.

        Returns:
            The number of bytes, all of them.

        Raises:
            OSError: EFBIG, ENOSPC, EDQUOT, EIO. The file is as it was, except after an I/O error below us.
            AuthenticationError: a block that is only partly overwritten is corrupt.
        """
        if not data:
            return 0
        self._volume.layout.span(offset, len(data))  # EFBIG before anything is changed
        self._refresh()
        with self._growing():
            self._pad_before(offset)
            self._write_at(offset, data)
        return len(data)

    def truncate(self, size: int) -> None:
        """Set the size in plaintext bytes; what is added reads as zeros.

        Raises:
            OSError, AuthenticationError: as ``write``.
        """
        self._refresh()
        if size == 0:
            self._clear()
        elif size < self.size:
            self._shrink(size)
        elif size > self.size:
            self._volume.layout.plain_to_cipher_size(size)  # EFBIG
            with self._growing():
                self._grow(size)

    @contextlib.contextmanager
    def _growing(self) -> Iterator[None]:
        """Growing takes up to three writes. If one fails, those before it are taken back."""
        size, cipher_size = self.size, self._cipher_size
        try:
            yield
        except (OSError, AuthenticationError, HeaderError):
            if self._cipher_size > cipher_size:
                with contextlib.suppress(OSError, AuthenticationError, HeaderError):
                    self._shrink(size) if size else self._clear()
            raise

    def _clear(self) -> None:
        """Drop content and file id: the next write starts a new file, so old blocks never fit into it."""
        os.ftruncate(self.fd, 0)
        self._file_id = None
        self._cipher_size = self.size = 0

    def _shrink(self, size: int) -> None:
        block_no, kept = divmod(size, BLOCK_SIZE)
        cipher_size = self._volume.layout.plain_to_cipher_size(size)
        if kept:
            head = self._read_block(block_no)[:kept]
            offset = self._volume.layout.cipher_off_of_block(BlockNo(block_no))
            sealed = self._seal(head, block_no)
            saved = backing.pread_full(self.fd, len(sealed), offset)
            intents = self._begin(offset, sealed, cipher_size)
            try:
                backing.pwrite_full(self.fd, sealed, offset)
                os.ftruncate(self.fd, cipher_size)
            except OSError as exc:
                self._restore(exc, offset, saved)
            finally:
                if intents is not None:
                    intents.end()
        else:
            os.ftruncate(self.fd, cipher_size)
        self._cipher_size, self.size = cipher_size, size

    def _grow(self, size: int) -> None:
        last_block = (size - 1) // BLOCK_SIZE
        if self.size % BLOCK_SIZE and self.size // BLOCK_SIZE == last_block:
            self._write_at(self.size, bytes(size - self.size))
            return
        self._pad_before(size)
        if size % BLOCK_SIZE:
            self._write_at(size - 1, b"\0")  # so that a partial last block is never a hole
            return
        self._ensure_header()
        cipher_size = self._volume.layout.plain_to_cipher_size(size)
        os.ftruncate(self.fd, cipher_size)
        self._cipher_size, self.size = cipher_size, size

    def _pad_before(self, offset: int) -> None:
        """Fill the last block with zeros if ``offset`` lies in a later one; blocks in between become holes."""
        partial = self.size % BLOCK_SIZE
        if partial and offset // BLOCK_SIZE > self.size // BLOCK_SIZE:
            self._write_at(self.size, bytes(BLOCK_SIZE - partial))

    def _write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write where at most a part of the last block lies between the old end and ``offset``."""
        end = offset + len(data)
        first, skip = divmod(offset, BLOCK_SIZE)
        last = (end - 1) // BLOCK_SIZE
        head = tail = b""
        if skip:
            head = self._read_block(first)
        if end % BLOCK_SIZE and end < self.size:
            tail = head if first == last and skip else self._read_block(last)
            tail = tail[end - last * BLOCK_SIZE :]
        plaintext = b"".join((head[:skip].ljust(skip, b"\0"), data, tail)) if skip or tail else data
        if first:
            self._ensure_header()
            self._put(self._volume.layout.cipher_off_of_block(BlockNo(first)), self._seal(plaintext, first))
        elif self._file_id is None and self._cipher_size <= HEADER_SIZE:
            # Header and first block in one write: no moment at which the file has one without the other.
            self._file_id = self._volume.new_file_id()
            try:
                self._put(0, encode_header(self._file_id) + self._seal(plaintext, 0))
            except OSError:
                self._file_id = None
                raise
        else:
            self._put(HEADER_SIZE, self._seal(plaintext, 0))
        self.size = max(self.size, end)

    def _seal(self, plaintext: bytes | memoryview, first_block: int) -> bytes:
        file_id = self._file_id or self._load_file_id()
        blocks = -(-len(plaintext) // BLOCK_SIZE)
        return self._volume.content.seal_blocks(plaintext, first_block, file_id, self._volume.new_nonces(blocks))

    def _ensure_header(self) -> None:
        """Give an empty file a header of its own, over whatever short header was planted there."""
        if self._cipher_size > HEADER_SIZE:
            return
        file_id = self._volume.new_file_id()
        self._put(0, encode_header(file_id))
        self._file_id = file_id

    def _put(self, offset: int, sealed: bytes) -> None:
        """Write ciphertext so that either all of it is there, or the file is as it was."""
        prealloc = self._reserve(offset, len(sealed))
        intents = self._begin(offset, sealed)
        try:
            if prealloc is Prealloc.ALL or offset == 0:
                backing.pwrite_full(self.fd, sealed, offset)
            else:
                self._put_by_blocks(offset, memoryview(sealed), is_new_reserved=prealloc is Prealloc.NEW)
        except OSError:
            self._cut_back()
            raise
        finally:
            if intents is not None:
                intents.end()
        self._cipher_size = max(self._cipher_size, offset + len(sealed))

    def _put_by_blocks(self, offset: int, sealed: memoryview, *, is_new_reserved: bool) -> None:
        """Write where overwriting may run out of space: old blocks one by one, so that one that fails stays whole.

        What lies behind them comes last if its space is reserved, since it can't run out then; else first, since
        cutting the file back takes no space.
        """
        block_size = self._volume.layout.cipher_block_size
        blocks = -(-max(self._cipher_size - HEADER_SIZE, 0) // block_size)
        old = min(max(HEADER_SIZE + blocks * block_size - offset, 0), len(sealed))
        if old < len(sealed) and not is_new_reserved:
            backing.pwrite_full(self.fd, sealed[old:], offset + old)
        last, saved = offset, b""
        for start in range(0, old, block_size):
            last = offset + start
            saved = self._replace(last, sealed[start : min(start + block_size, old)])
        if old < len(sealed) and is_new_reserved:
            try:
                backing.pwrite_full(self.fd, sealed[old:], offset + old)
            except OSError as exc:
                self._restore(exc, last, saved)  # it may have grown, and is about to be cut

    def _replace(self, offset: int, sealed: memoryview) -> bytes:
        """Overwrite one block, or leave it; returns what was there."""
        saved = backing.pread_full(self.fd, len(sealed), offset)
        try:
            backing.pwrite_full(self.fd, sealed, offset)
        except OSError as exc:
            self._restore(exc, offset, saved)
        return saved

    def _reserve(self, offset: int, length: int) -> Prealloc:
        """Have the filesystem below set space aside; returns what is set aside now."""
        prealloc = self._policy.prealloc
        start = max(offset, self._cipher_size) if prealloc is Prealloc.NEW else offset
        if prealloc is Prealloc.OFF or start >= offset + length:
            return prealloc
        try:
            backing.fallocate_keep_size(self.fd, start, offset + length - start)
        except OSError as exc:
            if exc.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
                log.info("the filesystem below can't reserve space before a write; going on without")
                self._policy.prealloc = Prealloc.OFF
                return Prealloc.OFF
            if exc.errno in _NO_SPACE:
                self._cut_back()
            raise
        return prealloc

    def _cut_back(self) -> None:
        """Give back what a failed reservation or write got behind the end."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.fd, self._cipher_size)

    def _restore(self, exc: OSError, offset: int, saved: bytes) -> NoReturn:
        try:
            backing.pwrite_full(self.fd, saved, offset)
        except OSError as restore_exc:
            log.error("inode %d: a failed write could not be undone: %s", self.node.inode, restore_exc.strerror)
        raise exc

    def _begin(self, offset: int, sealed: bytes, final_size: int | None = None) -> IntentLog | None:
        """Say what is about to be written in place, so that the next mount can finish it if we are killed."""
        intents = self._policy.intents
        path = None if intents is None else path_of(self.node)
        if intents is None or path is None:  # a deleted file dies with us anyway
            return None
        file_id = sealed[HEADER_VERSION_SIZE:HEADER_SIZE] if offset == 0 else self._file_id or bytes(FILE_ID_SIZE)
        intents.begin(path, os.fstat(self.fd), file_id, offset, sealed, final_size)
        return intents

    # --- syncing ------------------------------------------------------------------------------------------------
    def sync(self, *, data_only: bool) -> None:
        """Wait until the content is on the disk.

        Raises:
            OSError: it may not be. After a failure every later call fails too, until the file was closed: Linux
                marks the pages clean, so a second fsync would lie.
        """
        if self._sync_failed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        try:
            if data_only:
                os.fdatasync(self.fd)
            else:
                os.fsync(self.fd)
        except OSError:
            self._sync_failed = True
            raise

    def flush(self) -> None:
        """Have a network filesystem below report write errors now, as close(2) would."""
        os.close(os.dup(self.fd))
