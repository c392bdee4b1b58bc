"""Where the blocks of a file are: size and offset arithmetic, nothing else.

The one place where a plaintext offset becomes an offset in the backing file. Pure functions of a frozen record, so
any thread may use one instance. Block *contents* are ``pcvfs.crypto.aead``'s.

Source: docs/format.md "Data blocks" and "Sizes".
"""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from pcvfs import spec
from pcvfs.types import BlockNo, CipherOff, PlainOff

OFFSET_MAX: Final = (1 << 63) - 1  # off_t; what lies beyond can't be addressed in the backing file


def _too_big() -> OSError:
    return OSError(errno.EFBIG, os.strerror(errno.EFBIG))


class BlockSpan(NamedTuple):
    """The whole blocks that cover a byte range of the plaintext.

    ``plaintext_of_span[skip : skip + length]`` is the range that was asked for.
    """

    first_block: BlockNo
    last_block: BlockNo  # inclusive
    skip: int  # bytes of the first block in front of the range
    cipher_off: CipherOff  # where first_block starts in the backing file
    cipher_len: int  # bytes up to the end of last_block, were that block full

    @property
    def block_count(self) -> int:
        """Number of blocks, at least 1."""
        return self.last_block - self.first_block + 1


class BlockLayout:
    """The layout of all files of a volume; depends on the cipher alone.

    Args:
        overhead: bytes that a block grows by, nonce and tag: 32 (AES-GCM, AES-SIV) or 40 (XChaCha20-Poly1305).

    Methods raise ``ValueError`` for negative arguments and ``OSError(EFBIG)`` for what an int64 offset in the
    backing file can't express.
    """

    __slots__ = ("_plain_max", "cipher_block_size", "overhead")

    def __init__(self, overhead: int) -> None:
        if overhead <= spec.TAG_SIZE:
            raise ValueError(f"block overhead of {overhead} bytes leaves no room for a nonce")
        self.overhead: Final = overhead
        self.cipher_block_size: Final = spec.BLOCK_SIZE + overhead
        whole_blocks = (OFFSET_MAX - spec.HEADER_SIZE) // self.cipher_block_size
        self._plain_max: Final = whole_blocks * spec.BLOCK_SIZE

    @property
    def plain_size_max(self) -> int:
        """Largest plaintext size: as many whole blocks as fit in a backing file with an int64 size."""
        return self._plain_max

    # --- sizes ------------------------------------------------------------------------------------------------

    def plain_to_cipher_size(self, plain_size: int) -> int:
        """Return the size of the backing file of a file with ``plain_size`` bytes."""
        if plain_size < 0:
            raise ValueError(f"negative size {plain_size}")
        if plain_size == 0:
            return 0
        if plain_size > self._plain_max:
            raise _too_big()
        blocks = (plain_size - 1) // spec.BLOCK_SIZE + 1
        return spec.HEADER_SIZE + plain_size + blocks * self.overhead

    def cipher_to_plain_size(self, cipher_size: int) -> int:
        """Return the plaintext size that a backing file of ``cipher_size`` bytes stands for.

        Sizes that no complete write leaves behind have a meaning too, as in the original: a file with nothing
        but a header (or part of one) is empty, and a last block too short to hold a single byte of plaintext
        counts as one byte, so that reading it fails instead of hiding it.
        """
        if cipher_size < 0:
            raise ValueError(f"negative size {cipher_size}")
        if cipher_size <= spec.HEADER_SIZE:
            return 0
        body = cipher_size - spec.HEADER_SIZE
        full_blocks, last = divmod(body, self.cipher_block_size)
        plain_size = full_blocks * spec.BLOCK_SIZE
        if last:
            plain_size += max(last - self.overhead, 1)
        return plain_size

    def is_regular_size(self, cipher_size: int) -> bool:
        """Whether a complete write can have left a backing file of this size.

        False for a lone or partial header and for a last block without payload; such files are readable by the
        rules of :meth:`cipher_to_plain_size` but deserve a warning.
        """
        if cipher_size <= spec.HEADER_SIZE:
            return cipher_size == 0
        last = (cipher_size - spec.HEADER_SIZE) % self.cipher_block_size
        return last == 0 or last > self.overhead

    # --- offsets ----------------------------------------------------------------------------------------------

    def block_of(self, plain_off: int) -> BlockNo:
        """Return the block that holds the byte at ``plain_off``."""
        if plain_off < 0:
            raise ValueError(f"negative offset {plain_off}")
        if plain_off >= self._plain_max:
            raise _too_big()
        return BlockNo(plain_off // spec.BLOCK_SIZE)

    def plain_off_of_block(self, block_no: BlockNo) -> PlainOff:
        """Return the plaintext offset of the first byte of a block."""
        self.cipher_off_of_block(block_no)
        return PlainOff(block_no * spec.BLOCK_SIZE)

    def cipher_off_of_block(self, block_no: BlockNo) -> CipherOff:
        """Return the offset of a block in the backing file, the header included."""
        if block_no < 0:
            raise ValueError(f"negative block number {block_no}")
        cipher_off = spec.HEADER_SIZE + block_no * self.cipher_block_size
        if cipher_off > OFFSET_MAX:
            raise _too_big()
        return CipherOff(cipher_off)

    def block_of_cipher_off(self, cipher_off: int) -> BlockNo:
        """Return the block that holds a byte of the backing file; the header counts as part of block 0."""
        if cipher_off < 0:
            raise ValueError(f"negative offset {cipher_off}")
        return BlockNo(max(cipher_off - spec.HEADER_SIZE, 0) // self.cipher_block_size)

    def first_block_from_cipher_off(self, cipher_off: int) -> BlockNo:
        """Return the first block that starts at or after an offset in the backing file.

        This is how a result of SEEK_DATA or SEEK_HOLE is rounded up: the block that the kernel points into is
        neither all hole nor all data, the next one is the first that is.
        """
        if cipher_off < 0:
            raise ValueError(f"negative offset {cipher_off}")
        return BlockNo(-(-max(cipher_off - spec.HEADER_SIZE, 0) // self.cipher_block_size))

    def span(self, plain_off: int, length: int) -> BlockSpan:
        """Return the whole blocks that cover ``length`` bytes at ``plain_off``.

        Args:
            plain_off: offset in the plaintext.
            length: bytes, at least 1.

        Returns:
            Blocks and their place in the backing file. The file may end before the span does: a read then comes
            back short, which is not this function's business.

        Raises:
            OSError: EFBIG, the range ends beyond :attr:`plain_size_max`.
        """
        if length < 1:
            raise ValueError(f"range of {length} bytes")
        if plain_off < 0:
            raise ValueError(f"negative offset {plain_off}")
        end = plain_off + length
        if end > self._plain_max:
            raise _too_big()
        first, skip = divmod(plain_off, spec.BLOCK_SIZE)
        last = (end - 1) // spec.BLOCK_SIZE
        block_size = self.cipher_block_size
        return BlockSpan(
            BlockNo(first),
            BlockNo(last),
            skip,
            CipherOff(spec.HEADER_SIZE + first * block_size),
            (last - first + 1) * block_size,
        )
