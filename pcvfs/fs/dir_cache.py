"""Descriptors and IVs of directories, kept between operations.

Owns: the cached descriptors. What is in a directory is ``dirs``'.

Concurrency: one thread. Descriptors are evicted only by ``trim``, between operations, so one handed out stays valid
until the operation ends.
"""

from __future__ import annotations

import errno
import os
import resource
from collections import deque
from typing import TYPE_CHECKING, Final

from pcvfs.cipherdir import backing
from pcvfs.errors import FormatError
from pcvfs.fs.inodes import TableNode, table_node
from pcvfs.spec import ZERO_DIRIV
from pcvfs.types import DirIV

if TYPE_CHECKING:
    from pcvfs.fs.tree import Node

_DIRFD_CACHE: Final = 512


def cached_dirs_max() -> int:
    """How many directory descriptors a mount may keep, of those that the process may have."""
    return min(_DIRFD_CACHE, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)


class DirCache:
    """The directories of one volume.

    Args:
        root: the node of the cipherdir.
        root_fd: its descriptor; the caller's.
        has_diriv: whether directories have IVs.
        is_shared: others change the cipherdir, so descriptors and IVs are not kept between operations.
    """

    def __init__(self, root: TableNode, root_fd: int, *, has_diriv: bool, is_shared: bool) -> None:
        self._root = root
        self._has_diriv = has_diriv
        self._is_shared = is_shared
        self._max = cached_dirs_max()
        self._cached: dict[TableNode, None] = {}  # oldest first
        root.dirfd = root_fd

    @property
    def count(self) -> int:
        """Number of cached descriptors."""
        return len(self._cached)

    def dirfd(self, node: Node) -> int:
        """Descriptor of a directory, for ``*at`` calls; ours, valid until the next ``trim``.

        Raises:
            OSError: ENOENT if it was removed, ENOTDIR if it is none.
        """
        node = table_node(node)
        if node.dirfd >= 0:
            return node.dirfd
        if node.orphan_fd >= 0:
            return node.orphan_fd
        chain = [node]
        while chain[-1].links:
            parent = chain[-1].links[0][0]
            if parent.dirfd >= 0:
                break
            chain.append(parent)
        opened: deque[TableNode] = deque()
        for directory in reversed(chain):
            if not directory.links:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            parent, cname = directory.links[0]
            directory.dirfd = backing.openat(parent.dirfd, cname, os.O_PATH | os.O_DIRECTORY)
            self._cached[directory] = None
            opened.append(directory)
            if len(opened) > self._max:  # however deep: nobody was given these yet
                self.evict(opened.popleft())
        return node.dirfd

    def diriv(self, node: Node) -> DirIV:
        """IV of a directory; zero where directories have none.

        Raises:
            FormatError: it is missing or malformed.
        """
        node = table_node(node)
        if node.diriv is None:
            node.diriv = read_diriv(self.dirfd(node)) if self._has_diriv else DirIV(ZERO_DIRIV)
        return node.diriv

    def evict(self, node: Node) -> None:
        """Close a directory's cached descriptor, if it has one; on shared storage, also forget its IV."""
        node = table_node(node)
        if node in self._cached:
            del self._cached[node]
            os.close(node.dirfd)
            node.dirfd = -1
        if self._is_shared and node is not self._root:
            node.diriv = None

    def trim(self) -> None:
        """Close descriptors that are too many, oldest first. Between operations only."""
        limit = 0 if self._is_shared else self._max
        while len(self._cached) > limit:
            self.evict(next(iter(self._cached)))


def read_diriv(dirfd: int) -> DirIV:
    """Read the IV of a directory that should have one.

    Raises:
        FormatError: it is missing or malformed.
    """
    try:
        return backing.read_diriv(dirfd)
    except FileNotFoundError as exc:
        raise FormatError("there is no directory IV") from exc
