"""Fills cipherdirs without a mount: plain file operations with names and content from the volume's codecs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pcvfs import durable
from pcvfs.cipherdir import backing
from pcvfs.cipherdir.lifecycle import create_volume, unlock_volume
from pcvfs.cipherdir.volume import Volume
from pcvfs.format.header import encode_header
from pcvfs.format.keys import CreateOptions
from pcvfs.format.names import NO_DIRIV, sidecar_name
from pcvfs.spec import BLOCK_SIZE, DIRIV_NAME
from pcvfs.types import DirIV

PASSWORD = b"correct horse 7"
VECTORS = Path(__file__).parents[2] / "vectors" / "gocryptfs"
VOLUME_NAMES = sorted(path.name.removesuffix(".tar.gz") for path in VECTORS.glob("*.tar.gz"))


def fast_options(**changes: object) -> CreateOptions:
    """Options of a volume that is quick to unlock."""
    return CreateOptions(log_n=10, **changes)


def patch_call(monkeypatch: pytest.MonkeyPatch, name: str, call: object) -> None:
    """Put something in the place of a system call, wherever the code below ``cipherdir`` finds it."""
    found = [module for module in (backing, durable) if hasattr(module, name)]
    assert found, f"there is no call {name}"
    for module in found:
        monkeypatch.setattr(module, name, call)


def unpack(name: str, where: Path) -> Path:
    """Unpack a golden volume; returns the directory with cipher/, meta.json and plain.json."""
    archive = VECTORS / f"{name}.tar.gz"
    subprocess.run(["tar", "--xattrs", "--xattrs-include=user.*", "-C", where, "-xzf", archive], check=True, timeout=30)
    return where / name


class Builder:
    """A volume and the means to put things into it; a new one, unless there is one already.

    Paths are those of the cipherdir.
    """

    def __init__(self, root: Path, options: CreateOptions | None = None) -> None:
        self.root = root
        if not root.exists():
            root.mkdir()
            create_volume(os.fsencode(root), PASSWORD, options or fast_options()).wipe()
        self.volume: Volume = unlock_volume(os.fsencode(root), password=PASSWORD)

    def diriv(self, directory: Path) -> DirIV:
        if not self.volume.names.has_diriv:
            return NO_DIRIV
        return DirIV((directory / os.fsdecode(DIRIV_NAME)).read_bytes())

    def path(self, directory: Path, name: bytes) -> Path:
        """Where an entry is stored; makes its sidecar if it needs one."""
        stored = self.volume.names.encode(name, self.diriv(directory))
        if stored.long_name is not None:
            sidecar = directory / os.fsdecode(sidecar_name(stored.cname))
            sidecar.write_bytes(stored.long_name)
        return directory / os.fsdecode(stored.cname)

    def mkdir(self, directory: Path, name: bytes) -> Path:
        path = self.path(directory, name)
        path.mkdir()
        if self.volume.names.has_diriv:
            (path / os.fsdecode(DIRIV_NAME)).write_bytes(self.volume.new_diriv())
        return path

    def file(self, directory: Path, name: bytes, content: bytes = b"Hello, World!\n") -> Path:
        path = self.path(directory, name)
        path.write_bytes(self.sealed(content))
        return path

    def sealed(self, content: bytes) -> bytes:
        """The backing file of a file with that content."""
        if not content:
            return b""
        file_id = self.volume.new_file_id()
        nonces = self.volume.new_nonces(-(-len(content) // BLOCK_SIZE))
        return encode_header(file_id) + self.volume.content.seal_blocks(content, 0, file_id, nonces)

    def symlink(self, directory: Path, name: bytes, target: bytes = b"hello") -> Path:
        path = self.path(directory, name)
        path.symlink_to(os.fsdecode(self.volume.encode_symlink(target)))
        return path

    def set_xattr(self, path: Path, name: bytes, value: bytes) -> bytes:
        cname = self.volume.xattr_names.encode(name)
        os.setxattr(path, cname, self.volume.encode_xattr_value(name, value))
        return cname

    def block(self, path: Path, block_no: int) -> slice:
        """Where a block is in the backing file."""
        size = self.volume.layout.cipher_block_size
        start = self.volume.layout.cipher_off_of_block(block_no)
        return slice(start, min(start + size, path.stat().st_size))

    def relative(self, path: Path) -> bytes:
        return os.fsencode(path.relative_to(self.root)) if path != self.root else b""


def damage(path: Path, offset: int, data: bytes | None = None) -> None:
    """Overwrite bytes of a file, or flip the bits of one."""
    content = bytearray(path.read_bytes())
    data = bytes([content[offset] ^ 0xFF]) if data is None else data
    content[offset : offset + len(data)] = data
    path.chmod(0o600)
    path.write_bytes(content)


def open_fds() -> set[int]:
    """Descriptors of this process."""
    fds = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            backing.fstat(int(fd))
        except OSError:  # that of the listing itself
            continue
        fds.add(int(fd))
    return fds
