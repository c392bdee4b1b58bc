"""The open files of a mount, by handle. Behind the block lane there are none: it has files by inode.

Owns: how many handles an inode has, and so when its file is opened, made writable and closed. All handles of an inode
share one ``BackingFile``. Knows nothing of names.

Concurrency: one thread.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pcvfs.types import Handle

if TYPE_CHECKING:
    from pcvfs.fs.files import BackingFile, FilePolicy
    from pcvfs.fs.objects import Objects
    from pcvfs.fs.options import MountOptions
    from pcvfs.fs.tree import Inodes, Node


class OpenFiles:
    """The handles of one mount.

    Args:
        policy: opens files.
        table: pins nodes that are open.
        objects: opens backing files.
        options: of the mount.
        numbers: handle numbers, shared with directories.
    """

    def __init__(
        self,
        policy: FilePolicy,
        table: Inodes,
        objects: Objects,
        options: MountOptions,
        numbers: Iterator[int],
    ) -> None:
        self._policy = policy
        self._table = table
        self._objects = objects
        self._is_ro = options.ro
        self._numbers = numbers
        self._handles: dict[Handle, Node] = {}

    @property
    def handles(self) -> int:
        """Number of open handles."""
        return len(self._handles)

    def open(self, node: Node, flags: int) -> Handle:
        """Open a regular file. O_TRUNC empties it; O_APPEND is the kernel's business.

        Raises:
            OSError: EACCES, EROFS, ELOOP, ...
        """
        wants_write = flags & os.O_ACCMODE != os.O_RDONLY or bool(flags & os.O_TRUNC)
        self._backing(node, wants_write=wants_write)
        handle = self.new_handle(node)
        if flags & os.O_TRUNC:
            try:
                self._file(node).truncate(0)
            except BaseException:
                self.release(handle)
                raise
        return handle

    def new_handle(self, node: Node) -> Handle:
        """One more handle of a file that is open."""
        self._file(node).opens += 1
        self._table.pin(node)
        handle = Handle(next(self._numbers))
        self._handles[handle] = node
        return handle

    def open_backing(self, node: Node, *, wants_write: bool) -> int:
        """A descriptor of the backing file of a node, the caller's. The kernel has checked the mode bits.

        Raises:
            OSError: EISDIR, EINVAL, EROFS, ...
        """
        if node.type_bits != stat.S_IFREG:
            code = errno.EISDIR if node.is_dir else errno.EINVAL
            raise OSError(code, os.strerror(code))
        if wants_write and self._is_ro:  # the kernel refuses first, unless root has remounted rw
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return self._objects.open(node, os.O_RDWR if wants_write else os.O_RDONLY)

    def _backing(self, node: Node, *, wants_write: bool) -> BackingFile:
        """The open file of a node, writable if need be."""
        if node.file is not None and (node.file.is_writable or not wants_write):
            return node.file
        fd = self.open_backing(node, wants_write=wants_write)
        if node.file is None:
            try:
                return self.adopt(node, fd, is_writable=wants_write)
            except BaseException:
                os.close(fd)
                raise
        node.file.upgrade(fd)
        return node.file

    def adopt(self, node: Node, fd: int, *, is_writable: bool) -> BackingFile:
        """Make ``fd`` the open file of a node, unless that fails."""
        try:
            node.file = self._policy.open(fd, node, is_writable=is_writable)
        except BaseException:
            self._table.release_if_unused(node)
            raise
        return node.file

    def __getitem__(self, handle: Handle) -> BackingFile:
        """The open file behind a handle."""
        return self._file(self._handles[handle])

    def release(self, handle: Handle) -> None:
        """The last user of a handle is gone."""
        node = self._handles.pop(handle)
        file = self._file(node)
        file.opens -= 1
        try:
            self._close_if_unused(node, file)
        finally:
            self._table.unpin(node)

    @staticmethod
    def _close_if_unused(node: Node, file: BackingFile) -> None:
        if file.opens == 0:
            node.file = None
            file.close()

    @staticmethod
    def _file(node: Node) -> BackingFile:
        if node.file is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return node.file

    def close(self) -> None:
        """Release every handle."""
        for handle in list(self._handles):
            self.release(handle)

    def truncate(self, node: Node, size: int) -> None:
        """Set the plaintext size of a file, open or not."""
        file = self._backing(node, wants_write=True)
        try:
            file.truncate(size)
        finally:
            self._close_if_unused(node, file)
