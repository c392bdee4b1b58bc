"""The tree of a mount: which objects the kernel knows, where each is in the cipherdir, and how directories are reached.

Owns: what the operations need of it, as protocols, and the tree in Python. There is one more in C, for mounts that the
block lane serves: ``lane_tree``. The operations can't tell them apart.

Concurrency: one thread; the counters of a tree may be read from others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pcvfs.fs.dir_cache import DirCache
from pcvfs.fs.inodes import ROOT_INODE, InodeTable

if TYPE_CHECKING:
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.files import BackingFile
    from pcvfs.types import DirIV, Inode

Link: TypeAlias = "tuple[Node, bytes]"


class Node(Protocol):
    """One object of the volume. While anybody holds it, it is the only one of its object.

    Attributes:
        inode: number that the kernel uses.
        type_bits: ``S_IFMT`` of its mode.
        backing_id: (st_dev, st_ino) of the backing object.
        nlookup: lookups that the kernel has not taken back yet.
        pins: reasons of ours to keep the node.
        links: known names, each a parent and a ciphertext name; empty once deleted (and for the root).
        file: state of a regular file while ``open_files`` has it open.
        orphan_fd: ``O_PATH`` descriptor of an object that lost its last known name, else -1.
    """

    file: BackingFile | None

    @property
    def inode(self) -> Inode: ...
    @property
    def type_bits(self) -> int: ...
    @property
    def backing_id(self) -> tuple[int, int]: ...
    @property
    def nlookup(self) -> int: ...
    @property
    def pins(self) -> int: ...
    @property
    def links(self) -> tuple[Link, ...]: ...
    @property
    def is_dir(self) -> bool: ...
    @property
    def orphan_fd(self) -> int: ...
    @orphan_fd.setter
    def orphan_fd(self, fd: int) -> None: ...


class Inodes(Protocol):
    """All nodes of a mount: ``inodes.InodeTable``, which says what each of these does."""

    @property
    def root(self) -> Node: ...
    @property
    def lookups(self) -> int: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Node]: ...
    def get(self, inode: Inode) -> Node: ...
    def find(self, st: os.stat_result, parent: Node, cname: bytes) -> Node | None: ...
    def intern(self, st: os.stat_result, parent: Node, cname: bytes) -> Node: ...
    def looked_up(self, node: Node) -> None: ...
    def remove_link(self, node: Node, parent: Node, cname: bytes) -> None: ...
    def rename_link(self, node: Node, parent: Node, cname: bytes, new_parent: Node, new_cname: bytes) -> None: ...
    def exchange_links(self, node: Node | None, link: Link, other: Node | None, other_link: Link) -> None: ...
    def forget(self, inode: Inode, count: int) -> None: ...
    def pin(self, node: Node) -> None: ...
    def unpin(self, node: Node) -> None: ...
    def release_if_unused(self, node: Node) -> None: ...


class Dirs(Protocol):
    """Descriptors and IVs of directories: ``dir_cache.DirCache``, which says what each of these does."""

    @property
    def count(self) -> int: ...
    def dirfd(self, node: Node) -> int: ...
    def diriv(self, node: Node) -> DirIV: ...
    def evict(self, node: Node) -> None: ...
    def trim(self) -> None: ...


class Tree(Protocol):
    """Both, and what else there is of a mount's state.

    Attributes:
        attached: files that are open for whoever reads and writes by inode, without handles.
    """

    @property
    def inodes(self) -> Inodes: ...
    @property
    def dirs(self) -> Dirs: ...
    @property
    def attached(self) -> int: ...
    def close(self) -> None:
        """Close every descriptor, whatever the kernel still holds. Nothing may be used after that."""
        ...


class PythonTree:
    """The tree in Python."""

    attached = 0

    def __init__(self, volume: Volume, *, is_shared: bool) -> None:
        self.inodes = InodeTable(os.fstat(volume.root_fd), by_name=is_shared, on_drop=self._dropped)
        self.dirs = DirCache(self.inodes.root, volume.root_fd, has_diriv=volume.names.has_diriv, is_shared=is_shared)

    def close(self) -> None:
        """Close every descriptor."""
        for node in self.inodes:
            self._dropped(node)

    def _dropped(self, node: Node) -> None:
        """A node left the table: close what it holds."""
        self.dirs.evict(node)
        if node.orphan_fd >= 0:
            os.close(node.orphan_fd)
            node.orphan_fd = -1


def path_of(node: Node) -> bytes | None:
    """Ciphertext path relative to the cipherdir, by the first known names; None once deleted. Not for the root."""
    cnames = []
    while node.links:
        node, cname = node.links[0]
        cnames.append(cname)
    return b"/".join(reversed(cnames)) if cnames and node.inode == ROOT_INODE else None
