"""The open files of a mount: handles, and files attached for the block lane.

Owns: how many need the open file of an inode, and so when it is opened, made writable and closed. All handles of an
inode share one ``BackingFile``. Knows nothing of names.

Concurrency: one thread.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from pcvfs.types import Handle, Inode

if TYPE_CHECKING:
    from pcvfs.fs.files import BackingFile, FilePolicy
    from pcvfs.fs.inodes import InodeTable, Node
    from pcvfs.fs.objects import Objects
    from pcvfs.fs.options import MountOptions

_ATTACHED_MAX: Final = 4096
_FDS_FOR_OTHERS: Final = 128  # handles, listings, libraries


class FileObserver(Protocol):
    """Who has files attached."""

    def file_detached(self, inode: Inode) -> None:
        """An attached file must be given back."""


class OpenFiles:
    """Handles and attached files of one mount.

    Args:
        policy: opens files.
        table: pins nodes that are open.
        objects: opens backing files.
        options: of the mount.
        numbers: handle numbers, shared with directories.
        observer: told of files that are detached.
    """

    def __init__(
        self,
        policy: FilePolicy,
        table: InodeTable,
        objects: Objects,
        options: MountOptions,
        numbers: Iterator[int],
        observer: FileObserver | None,
    ) -> None:
        self._policy = policy
        self._table = table
        self._objects = objects
        self._is_ro = options.ro
        self._numbers = numbers
        self._observer = observer
        self._handles: dict[Handle, Node] = {}
        fds = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _FDS_FOR_OTHERS, _FDS_FOR_OTHERS)
        self._attached_max = min(_ATTACHED_MAX, fds // 2)
        self._attached: dict[Node, None] = {}  # least recently attached first

    @property
    def handles(self) -> int:
        """Number of open handles."""
        return len(self._handles)

    @property
    def attached(self) -> int:
        """Number of attached files."""
        return len(self._attached)

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

    def _backing(self, node: Node, *, wants_write: bool) -> BackingFile:
        """The open file of a node, writable if need be. The kernel has checked the mode bits."""
        if node.file is not None and (node.file.is_writable or not wants_write):
            return node.file
        if node.type_bits != stat.S_IFREG:
            code = errno.EISDIR if node.is_dir else errno.EINVAL
            raise OSError(code, os.strerror(code))
        if wants_write and self._is_ro:  # the kernel refuses first, unless root has remounted rw
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        fd = self._objects.open(node, os.O_RDWR if wants_write else os.O_RDONLY)
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

    def attach(self, node: Node, *, wants_write: bool) -> BackingFile:
        """Open a file for whoever reads and writes it by inode, without handles: the block lane.

        It stays open until the node is forgotten or too many are attached; then the observer is told.
        """
        file = self._backing(node, wants_write=wants_write)
        if node in self._attached:
            del self._attached[node]
        else:
            file.opens += 1
        self._attached[node] = None
        if len(self._attached) > self._attached_max:
            self._detach(next(iter(self._attached)))
        return file

    def detach_all(self) -> None:
        """Close what is attached: nobody has used it for a while, and an open file keeps others from things."""
        for node in list(self._attached):
            self._detach(node)

    def _detach(self, node: Node) -> None:
        del self._attached[node]
        if self._observer is not None:
            self._observer.file_detached(node.inode)
        file = self._file(node)
        file.opens -= 1
        self._close_if_unused(node, file)

    def forget(self, node: Node) -> None:
        """A node leaves the inode table."""
        if node in self._attached:
            self._detach(node)

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
