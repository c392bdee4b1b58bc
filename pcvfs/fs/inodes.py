"""The objects that the kernel knows of, and where each of them is in the cipherdir.

Owns: inode numbers, lookup counts, and the names (parent, cname) under which an object can be reached. No system
calls; no plaintext names.

An object is a ``TableNode``, to the operations a ``tree.Node``. It stays in the table while the kernel holds a lookup
on it (``nlookup``) or something of ours needs it (``pins``: one for every known child name, one for every open
handle). A directory can therefore not leave the table before the last of its children, and a path can always be walked
up to the root.

Inode numbers are those of the backing filesystem where possible, so tools that compare them over time (tar, rsync,
find) see the same numbers again; anything on another device, and any number that is still taken by a deleted object,
gets one from a counter starting at 2**63.

Concurrency: one thread.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from pcvfs.errors import InternalError
from pcvfs.types import DirIV, Inode

if TYPE_CHECKING:
    from pcvfs.fs.files import BackingFile
    from pcvfs.fs.tree import Link, Node

ROOT_INODE: Final = Inode(1)
_COUNTER_START: Final = 1 << 63

Identity: TypeAlias = tuple[int, int] | tuple[int, bytes]


class TableNode:
    """``tree.Node``, and what only the tree itself knows of it.

    Attributes:
        identity: what makes two names the same object: the backing_id, or (parent inode, cname) on shared storage.
        dirfd: descriptor of a directory while cached, else -1. Owned by ``dir_cache``.
        diriv: IV of a directory once read.
    """

    __slots__ = (
        "backing_id",
        "dirfd",
        "diriv",
        "file",
        "identity",
        "inode",
        "links",
        "nlookup",
        "orphan_fd",
        "pins",
        "type_bits",
    )

    def __init__(self, inode: Inode, st: os.stat_result, identity: Identity) -> None:
        self.inode = inode
        self.type_bits = stat.S_IFMT(st.st_mode)
        self.backing_id = (st.st_dev, st.st_ino)
        self.identity = identity
        self.nlookup = 0
        self.pins = 0
        self.links: tuple[tuple[TableNode, bytes], ...] = ()
        self.dirfd = -1
        self.diriv: DirIV | None = None
        self.file: BackingFile | None = None
        self.orphan_fd = -1

    @property
    def is_dir(self) -> bool:
        return self.type_bits == stat.S_IFDIR

    def __repr__(self) -> str:
        return f"<TableNode inode={self.inode} nlookup={self.nlookup} pins={self.pins} links={len(self.links)}>"


def table_node(node: Node) -> TableNode:
    """A node that the operations hand back, as what it is here."""
    if not isinstance(node, TableNode):
        raise TypeError(f"{node!r} is of another tree")
    return node


class InodeTable:
    """All nodes of a mount.

    Args:
        root_stat: of the cipherdir.
        by_name: objects are told apart by name and not by (st_dev, st_ino): shared storage, where a name may become
            another object at any time.
        on_drop: called with each node that leaves the table, to close what it holds.
    """

    def __init__(self, root_stat: os.stat_result, *, by_name: bool, on_drop: Callable[[TableNode], None]) -> None:
        self._root_dev = root_stat.st_dev
        self._by_name = by_name
        self._on_drop = on_drop
        self._next_number = _COUNTER_START
        self.root = TableNode(ROOT_INODE, root_stat, (root_stat.st_dev, root_stat.st_ino))
        self.root.pins = 1  # the kernel never forgets the root
        self._nodes: dict[Inode, TableNode] = {ROOT_INODE: self.root}
        self._by_identity: dict[Identity, TableNode] = {self.root.identity: self.root}

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[TableNode]:
        return iter(list(self._nodes.values()))  # copied in one step: statistics come from another thread

    @property
    def lookups(self) -> int:
        """Lookups of all nodes together."""
        return sum(node.nlookup for node in self)

    def get(self, inode: Inode) -> TableNode:
        """The node with that number.

        Raises:
            OSError: ESTALE, the kernel should not have it.
        """
        try:
            return self._nodes[inode]
        except KeyError:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None

    def find(self, st: os.stat_result, parent: Node, cname: bytes) -> TableNode | None:
        """The node of an object found under a name, if it is known."""
        return self._by_identity.get(self._identity(st, parent, cname))

    def intern(self, st: os.stat_result, parent: Node, cname: bytes) -> TableNode:
        """The node of an object found under a name: the known one, or a new one with ``nlookup`` 0.

        The caller must call ``looked_up`` or drop the node again with ``release_if_unused``.
        """
        identity = self._identity(st, parent, cname)
        node = self._by_identity.get(identity)
        if node is not None and not _is_same(node, st):
            # Somebody else replaced the object (shared storage, or hands in the cipherdir).
            self._disown(node)
            node = None
        if node is None:
            node = TableNode(self._number(st), st, identity)
            self._nodes[node.inode] = node
            self._by_identity[identity] = node
        self.add_link(node, parent, cname)
        return node

    def looked_up(self, node: Node) -> None:
        """The kernel is told of a node once more."""
        table_node(node).nlookup += 1

    def add_link(self, node: Node, parent: Node, cname: bytes) -> None:
        """Record a name of a node. A directory has one name only: a new one replaces the old."""
        node, parent = table_node(node), table_node(parent)
        for known_parent, known_cname in node.links:
            if known_cname == cname and known_parent is parent:
                return
        if node is self.root:
            raise InternalError("the root of a volume appeared inside it")
        if node.links and node.is_dir:
            for old_parent, old_cname in node.links:
                self.remove_link(node, old_parent, old_cname)
        node.links = (*node.links, (parent, cname))
        parent.pins += 1

    def remove_link(self, node: Node, parent: Node, cname: bytes) -> None:
        """Take back a name of a node; nothing happens if it is not known."""
        node, parent = table_node(node), table_node(parent)
        kept = tuple(link for link in node.links if not (link[1] == cname and link[0] is parent))
        if len(kept) != len(node.links):
            node.links = kept
            self.unpin(parent)

    def rename_link(self, node: Node, parent: Node, cname: bytes, new_parent: Node, new_cname: bytes) -> None:
        """Move a node from one name to another."""
        node, new_parent = table_node(node), table_node(new_parent)
        new_parent.pins += 1  # not to lose it in between
        self.remove_link(node, parent, cname)
        if self._by_name:
            self._disown(node)
            node.identity = (new_parent.inode, new_cname)
            self._by_identity[node.identity] = node
        self.add_link(node, new_parent, new_cname)
        self.unpin(new_parent)

    def exchange_links(self, node: Node | None, link: Link, other: Node | None, other_link: Link) -> None:
        """Two objects traded names; either may be unknown."""
        for each, old, new in ((node, link, other_link), (other, other_link, link)):
            if each is not None and node is not other:
                self.pin(each)
                self.remove_link(each, *old)
                self.add_link(each, *new)
                if self._by_name:
                    self._disown(table_node(each))
                self.unpin(each)

    def forget(self, inode: Inode, count: int) -> None:
        """The kernel takes back ``count`` lookups."""
        node = self._nodes.get(inode)
        if node is None or node.nlookup < count:
            raise InternalError(f"inode {inode} was forgotten more often than looked up")
        node.nlookup -= count
        self.release_if_unused(node)

    def pin(self, node: Node) -> None:
        """Keep a node beyond the kernel's interest."""
        table_node(node).pins += 1

    def unpin(self, node: Node) -> None:
        """Take back a ``pin``."""
        table_node(node).pins -= 1
        self.release_if_unused(node)

    def release_if_unused(self, node: Node) -> None:
        """Drop a node that nobody needs, and then those of its parents that only it needed."""
        unused = [table_node(node)]
        while unused:
            dropped = unused.pop()
            if dropped.nlookup or dropped.pins or self._nodes.get(dropped.inode) is not dropped:
                continue
            del self._nodes[dropped.inode]
            self._disown(dropped)
            links, dropped.links = dropped.links, ()
            for parent, _ in links:
                parent.pins -= 1
                unused.append(parent)
            self._on_drop(dropped)

    def _disown(self, node: TableNode) -> None:
        if self._by_identity.get(node.identity) is node:
            del self._by_identity[node.identity]

    def _identity(self, st: os.stat_result, parent: Node, cname: bytes) -> Identity:
        return (parent.inode, cname) if self._by_name else (st.st_dev, st.st_ino)

    def _number(self, st: os.stat_result) -> Inode:
        if not self._by_name and st.st_dev == self._root_dev and st.st_ino < _COUNTER_START:
            number = Inode(st.st_ino)
            if number > ROOT_INODE and number not in self._nodes:
                return number
        number = Inode(self._next_number)
        self._next_number += 1
        return number


def _is_same(node: TableNode, st: os.stat_result) -> bool:
    return node.backing_id == (st.st_dev, st.st_ino) and node.type_bits == stat.S_IFMT(st.st_mode)
