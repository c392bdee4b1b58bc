"""Open files of a mount that is served by the block lane: ``OpenFile`` in C, shared with the lane's threads.

Owns: which nodes the lane has a file for. The lane knows files by node id; a file stays with it until the node is
forgotten or too many are open.

Concurrency: everything here is for the lane's main thread, but for ``sync``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pcvfs.cipherdir import backing
from pcvfs.cipherdir.backing import Prealloc
from pcvfs.crypto.aead import NativeCipher
from pcvfs.fs.files import FilePolicy
from pcvfs.native.files import File
from pcvfs.native.files import FilePolicy as NativePolicy

if TYPE_CHECKING:
    from pcvfs.cipherdir.intents import IntentLog
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.inodes import Node
    from pcvfs.fs.options import MountOptions


class LaneFile:
    """The interface of ``OpenFile``, on a file in C."""

    __slots__ = ("_file", "fd", "is_writable", "node", "opens")

    def __init__(self, policy: NativePolicy, fd: int, node: Node, *, is_writable: bool) -> None:
        self._file = File(policy, fd, is_writable=is_writable, path=node.path() or b"")
        self.fd = fd
        self.node = node
        self.is_writable = is_writable
        self.opens = 0

    @property
    def native(self) -> File:
        """The file in C, for the lane."""
        return self._file

    @property
    def size(self) -> int:
        return self._file.size

    def upgrade(self, fd: int) -> None:
        self._file.upgrade(fd)
        self.is_writable = True

    def close(self) -> None:
        self._file.close()

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def write(self, offset: int, data: bytes | memoryview) -> int:
        self._file.write(offset, data)
        return len(data)

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def sync(self, *, data_only: bool) -> None:
        self._file.sync(is_data_only=data_only)

    def flush(self) -> None:
        os.close(os.dup(self.fd))


class LanePolicy(FilePolicy):
    """Opens files in C.

    Raises:
        ValueError: the volume was unlocked with the reference engine.
    """

    def __init__(self, volume: Volume, options: MountOptions, intents: IntentLog | None) -> None:
        prealloc = Prealloc.OFF if options.noprealloc else backing.useful_prealloc(volume.root_fd)
        super().__init__(volume, is_shared=options.sharedstorage, prealloc=prealloc, intents=intents)
        cipher = volume.content
        if not isinstance(cipher, NativeCipher):
            raise ValueError("files in C need the native cipher")
        slots = None if intents is None else intents.slots
        overhead = cipher.kind.overhead
        self._native = NativePolicy(
            cipher.aead, overhead, slots, prealloc=prealloc.value, is_shared=options.sharedstorage
        )

    def open(self, fd: int, node: Node, *, is_writable: bool) -> LaneFile:
        return LaneFile(self._native, fd, node, is_writable=is_writable)
