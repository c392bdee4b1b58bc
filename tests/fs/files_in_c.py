"""Files in C in the hands of ``VolumeFS``, so that the tests of content run on both implementations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pcvfs.fs.files import FilePolicy
from pcvfs.fs.lane_tree import native_file_policy
from pcvfs.fs.tree import path_of
from pcvfs.native.files import File
from pcvfs.native.files import FilePolicy as NativePolicy

if TYPE_CHECKING:
    from pcvfs.cipherdir.intents import IntentLog
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.options import MountOptions
    from pcvfs.fs.tree import Node


class FileInC:
    """The interface of ``OpenFile`` on native/pcv_file.h."""

    __slots__ = ("_file", "fd", "is_writable", "node", "opens")

    def __init__(self, policy: NativePolicy, fd: int, node: Node, *, is_writable: bool) -> None:
        self._file = File(policy, fd, is_writable=is_writable, path=path_of(node) or b"")
        self.fd = fd
        self.node = node
        self.is_writable = is_writable
        self.opens = 0

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


class PolicyInC(FilePolicy):
    """Opens files in C."""

    def __init__(self, volume: Volume, options: MountOptions, intents: IntentLog | None) -> None:
        super().__init__(volume)
        self._native = native_file_policy(volume, options, intents)

    def open(self, fd: int, node: Node, *, is_writable: bool) -> FileInC:
        return FileInC(self._native, fd, node, is_writable=is_writable)
