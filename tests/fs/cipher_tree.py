"""Looks at a cipherdir from below, with nothing of pcvfs: the second opinion on what an operation left on disk.

Source: docs/format.md "Directory IVs", "Long names", "File content".
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.flavours import Flavour

CONFIG = b"gocryptfs.conf"
DIRIV = b"gocryptfs.diriv"
LONG_PREFIX = b"gocryptfs.longname."
SIDECAR_SUFFIX = b".name"
HEADER_SIZE = 18
ZERO_ID = bytes(16)


@dataclass(frozen=True, slots=True)
class CipherTree:
    """One cipherdir."""

    root: Path
    flavour: Flavour

    def find_faults(self) -> list[str]:
        """What a complete volume must not have: one line each, names in ciphertext."""
        if self.flavour.has_plain_names:
            return []
        faults: list[str] = []
        for directory in self.directories():
            faults += self._directory_faults(directory)
        return faults

    def directories(self) -> Iterator[bytes]:
        """Every directory that we may read, absolute; subdirectories after their parents."""
        pending = [os.fsencode(self.root)]
        while pending:
            directory = pending.pop()
            try:
                with os.scandir(directory) as entries:
                    pending += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
            except PermissionError:
                continue
            yield directory

    def _directory_faults(self, directory: bytes) -> Iterator[str]:
        names = set(os.listdir(directory))
        if directory == os.fsencode(self.root):
            names.discard(CONFIG)
        if self.flavour.names == "diriv":
            diriv = Path(os.fsdecode(directory + b"/" + DIRIV))
            if DIRIV not in names:
                yield f"{directory!r}: no diriv"
            elif len(diriv.read_bytes()) != 16 or diriv.read_bytes() == bytes(16):
                yield f"{directory!r}: bad diriv"
            elif stat.S_IMODE(diriv.stat().st_mode) != 0o444:
                yield f"{directory!r}: mode of the diriv is {stat.S_IMODE(diriv.stat().st_mode):o}"
            names.discard(DIRIV)
        for name in names:
            if name.startswith(DIRIV):
                yield f"{directory!r}: temporary name {name!r} is left"
            elif name.startswith(LONG_PREFIX):
                yield from self._long_name_faults(directory, name, names)
            elif len(name) > self._longest:
                yield f"{directory!r}: {name!r} should be hashed"

    def _long_name_faults(self, directory: bytes, name: bytes, names: set[bytes]) -> Iterator[str]:
        if name.endswith(SIDECAR_SUFFIX):
            if name.removesuffix(SIDECAR_SUFFIX) not in names:
                yield f"{directory!r}: sidecar {name!r} without its object"
            return
        if name + SIDECAR_SUFFIX not in names:
            yield f"{directory!r}: {name!r} without its sidecar"
            return
        sidecar = Path(os.fsdecode(directory + b"/" + name + SIDECAR_SUFFIX))
        if not stat.S_ISREG(sidecar.lstat().st_mode):
            yield f"{directory!r}: the sidecar of {name!r} is no file"
            return
        full_name = sidecar.read_bytes()
        digest = base64.urlsafe_b64encode(hashlib.sha256(full_name).digest())
        if name != LONG_PREFIX + (digest.rstrip(b"=") if self.flavour.raw64 else digest):
            yield f"{directory!r}: {name!r} has the sidecar of another name"
        if len(full_name) <= self._longest:
            yield f"{directory!r}: {name!r} is hashed without need"
        if stat.S_IMODE(sidecar.stat().st_mode) != 0o444:
            yield f"{directory!r}: mode of a sidecar is {stat.S_IMODE(sidecar.stat().st_mode):o}"

    @property
    def _longest(self) -> int:
        return self.flavour.long_name_max or 255

    # --- files --------------------------------------------------------------------------------------------------
    def path_of(self, st_ino: int) -> bytes:
        """Absolute path of a backing object with that inode number.

        Numbers are the same through a mount, so this finds the backing object of a file without decrypting a name.
        """
        found = list(self.paths_of(st_ino))
        assert found, f"{len(found)} objects with inode number {st_ino}"
        return found[0]

    def paths_of(self, st_ino: int) -> Iterator[bytes]:
        """Absolute paths of all names of an inode number."""
        for directory in self.directories():
            with os.scandir(directory) as entries:
                yield from (entry.path for entry in entries if entry.inode() == st_ino)

    def leftovers(self) -> list[bytes]:
        """Temporary names, in any directory."""
        return [
            name
            for directory in self.directories()
            for name in os.listdir(directory)
            if name.startswith(DIRIV) and name != DIRIV
        ]

    def sidecars(self) -> list[bytes]:
        """Names of all ``.name`` files, in any directory."""
        return [
            name
            for directory in self.directories()
            for name in os.listdir(directory)
            if name.startswith(LONG_PREFIX) and name.endswith(SIDECAR_SUFFIX)
        ]


@dataclass(frozen=True, slots=True)
class CipherFile:
    """One backing file, by absolute path."""

    path: bytes
    flavour: Flavour

    @property
    def overhead(self) -> int:
        """Bytes that a block grows by."""
        return 40 if self.flavour.cipher == "xchacha" else 32

    @property
    def block_size(self) -> int:
        """Bytes of a whole stored block."""
        return 4096 + self.overhead

    @property
    def data(self) -> bytes:
        """All of it."""
        with open(self.path, "rb") as stream:
            return stream.read()

    @property
    def header(self) -> bytes:
        """Version and file id; b"" for an empty file."""
        return self.data[:HEADER_SIZE]

    @property
    def size(self) -> int:
        """Bytes of ciphertext."""
        return os.stat(self.path).st_size

    def plain_size(self) -> int:
        """Plaintext size of a complete file by the rule of the format."""
        if not self.size:
            return 0
        whole, last = divmod(self.size - HEADER_SIZE, self.block_size)
        return whole * 4096 + (last - self.overhead if last else 0)

    def blocks(self) -> list[bytes]:
        """Stored blocks."""
        body = self.data[HEADER_SIZE:]
        return [body[start : start + self.block_size] for start in range(0, len(body), self.block_size)]

    def overwrite(self, offset: int, data: bytes) -> None:
        """Change bytes in place, from below."""
        fd = os.open(self.path, os.O_WRONLY)
        try:
            os.pwrite(fd, data, offset)
        finally:
            os.close(fd)

    def flip(self, offset: int) -> None:
        """Change one bit."""
        self.overwrite(offset, bytes([self.data[offset] ^ 1]))

    def block_offset(self, block_no: int) -> int:
        """Where a block starts."""
        return HEADER_SIZE + block_no * self.block_size

    def data_ranges(self) -> list[tuple[int, int]]:
        """Ranges that are not holes, as the filesystem below tells."""
        ranges: list[tuple[int, int]] = []
        fd = os.open(self.path, os.O_RDONLY)
        try:
            size, position = self.size, 0
            while position < size:
                try:
                    start = os.lseek(fd, position, os.SEEK_DATA)
                except OSError:
                    break
                position = os.lseek(fd, start, os.SEEK_HOLE)
                ranges.append((start, position))
        finally:
            os.close(fd)
        return ranges

    def check_header(self) -> None:
        """Assert the rule: nothing at all, or version 2 and a file id that is not zero, and a block."""
        data = self.data
        if data:
            assert data[:2] == b"\0\2"
            assert data[2:HEADER_SIZE] != ZERO_ID
            assert len(data) > HEADER_SIZE + self.overhead
            assert any(self.blocks()[-1]) or len(self.blocks()[-1]) == self.block_size, "partial last block is a hole"
