"""The tree of a mount that the block lane serves: ``tree.Tree`` on the one in C, which the lane works on as well.

Owns: nothing but views. The inodes are the lane's as much as ours: between two requests, and in calls that release one,
they may go. A view holds a number, not a pointer, so one that outlives its inode is an error and nothing worse.

Concurrency: the lane's main thread, while it is not in ``Lane.wait``; the counters may be read from any.
"""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from pcvfs.cipherdir import backing
from pcvfs.cipherdir.backing import Prealloc
from pcvfs.crypto.aead import NativeCipher
from pcvfs.crypto.eme import NativeNameCipher
from pcvfs.fs.dir_cache import cached_dirs_max, read_diriv
from pcvfs.fs.inodes import ROOT_INODE
from pcvfs.fs.objects import gives_away
from pcvfs.native.files import FilePolicy
from pcvfs.native.names import NameFormat
from pcvfs.native.tree import Tree, TreeOptions
from pcvfs.types import DirIV, Inode

if TYPE_CHECKING:
    from pcvfs.cipherdir.intents import IntentLog
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.files import BackingFile
    from pcvfs.fs.options import MountOptions
    from pcvfs.fs.tree import Link, Node

_ATTACHED_MAX: Final = 4096
_FDS_FOR_OTHERS: Final = 128  # of Python, libraries, and what is open for the length of a request


class LaneNode:
    """``tree.Node`` of an inode in C.

    Raises (all but ``inode``):
        InternalError: the inode is gone.
    """

    __slots__ = ("__weakref__", "_inodes", "file", "inode")

    def __init__(self, inodes: LaneInodes, inode: Inode) -> None:
        self._inodes = inodes
        self.inode = inode
        self.file: BackingFile | None = None  # stays None behind the lane, which opens files without us

    @property
    def type_bits(self) -> int:
        return self._inodes.native.inode(self.inode).type

    @property
    def backing_id(self) -> tuple[int, int]:
        fields = self._inodes.native.inode(self.inode)
        return fields.dev, fields.ino

    @property
    def nlookup(self) -> int:
        return self._inodes.native.inode(self.inode).nlookup

    @property
    def pins(self) -> int:
        return self._inodes.native.inode(self.inode).pins

    @property
    def links(self) -> tuple[Link, ...]:
        links = self._inodes.native.links(self.inode)
        return tuple((self._inodes.view(Inode(parent)), cname) for parent, cname in links)

    @property
    def is_dir(self) -> bool:
        return self.type_bits == stat.S_IFDIR

    @property
    def orphan_fd(self) -> int:
        return self._inodes.native.inode(self.inode).orphan_fd

    @orphan_fd.setter
    def orphan_fd(self, fd: int) -> None:
        self._inodes.native.inode(self.inode).orphan_fd = fd

    def __repr__(self) -> str:
        return f"<LaneNode inode={self.inode}>"


class LaneInodes:
    """``tree.Inodes`` in C. See ``inodes.InodeTable`` for every contract."""

    def __init__(self, native: Tree) -> None:
        self.native = native
        self._views: WeakValueDictionary[Inode, LaneNode] = WeakValueDictionary()
        self.root = self.view(ROOT_INODE)

    def view(self, inode: Inode) -> LaneNode:
        """The one view of an inode."""
        node = self._views.get(inode)
        if node is None:
            self._views[inode] = node = LaneNode(self, inode)
        return node

    @property
    def lookups(self) -> int:
        return self.native.lookups

    def __len__(self) -> int:
        return self.native.inode_count

    def __iter__(self) -> Iterator[LaneNode]:
        return iter([self.view(Inode(number)) for number in self.native.numbers()])

    def get(self, inode: Inode) -> LaneNode:
        if not self.native.has(inode):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return self.view(inode)

    def find(self, st: os.stat_result, parent: Node, cname: bytes) -> LaneNode | None:
        number = self.native.find(st.st_dev, st.st_ino)
        return None if number is None else self.view(Inode(number))

    def intern(self, st: os.stat_result, parent: Node, cname: bytes) -> LaneNode:
        return self.view(Inode(self.native.intern(st, parent.inode, cname)))

    def looked_up(self, node: Node) -> None:
        self.native.looked_up(node.inode)

    def remove_link(self, node: Node, parent: Node, cname: bytes) -> None:
        self.native.remove_link(node.inode, parent.inode, cname)

    def rename_link(self, node: Node, parent: Node, cname: bytes, new_parent: Node, new_cname: bytes) -> None:
        self.native.pin(parent.inode)  # a directory that gets a name leaves the old one, and its parent, at once
        try:
            self.native.add_link(node.inode, new_parent.inode, new_cname)
            self.native.remove_link(node.inode, parent.inode, cname)
        finally:
            self.native.unpin(parent.inode)

    def exchange_links(self, node: Node | None, link: Link, other: Node | None, other_link: Link) -> None:
        if node is other:
            return
        if node is not None:
            self.rename_link(node, *link, *other_link)
        if other is not None:
            self.rename_link(other, *other_link, *link)

    def forget(self, inode: Inode, count: int) -> None:
        self.native.forget(inode, count)

    def pin(self, node: Node) -> None:
        self.native.pin(node.inode)

    def unpin(self, node: Node) -> None:
        self.native.unpin(node.inode)

    def release_if_unused(self, node: Node) -> None:
        self.native.release(node.inode)


class LaneDirs:
    """``tree.Dirs`` in C. See ``dir_cache.DirCache`` for every contract."""

    def __init__(self, native: Tree) -> None:
        self._native = native

    @property
    def count(self) -> int:
        return self._native.dir_count

    def dirfd(self, node: Node) -> int:
        return self._native.dirfd(node.inode)

    def diriv(self, node: Node) -> DirIV:
        try:
            return DirIV(self._native.diriv(node.inode))
        except OSError:
            return read_diriv(self.dirfd(node))  # says what is wrong with it

    def evict(self, node: Node) -> None:
        self._native.evict(node.inode)

    def trim(self) -> None:
        self._native.trim()


class LaneTree:
    """The tree of one mount.

    Attributes:
        native: the tree in C, for the lane.

    Args:
        volume: codecs and the root descriptor.
        options: of the mount.
        intents: where a write says what it is about to overwrite, or None.

    Raises:
        ValueError: the volume was unlocked with the reference engine.
    """

    def __init__(self, volume: Volume, options: MountOptions, intents: IntentLog | None) -> None:
        self.native = Tree(
            volume.root_fd,
            _name_format(volume),
            native_file_policy(volume, options, intents),
            TreeOptions(
                dirs_max=cached_dirs_max(),
                files_max=_attached_files_max(),
                timeout_s=int(options.cache_timeout_s),
                is_ro=options.ro,
                gives_away=gives_away(options),
                owner=options.force_owner,
                has_capabilities=options.suid,
                has_xattrs=not options.noxattr,
            ),
        )
        self.inodes = LaneInodes(self.native)
        self.dirs = LaneDirs(self.native)

    @property
    def attached(self) -> int:
        return self.native.file_count

    def close(self) -> None:
        """Close every descriptor. The lane must have ended."""
        self.native.close()


def native_file_policy(volume: Volume, options: MountOptions, intents: IntentLog | None) -> FilePolicy:
    """What the files of a mount share, in C.

    Raises:
        ValueError: the volume was unlocked with the reference engine.
    """
    cipher = _native_cipher(volume)
    prealloc = Prealloc.OFF if options.noprealloc else backing.useful_prealloc(volume.root_fd)
    slots = None if intents is None else intents.slots
    return FilePolicy(
        cipher.aead, cipher.kind.overhead, slots, prealloc=prealloc.value, is_shared=options.sharedstorage
    )


def _native_cipher(volume: Volume) -> NativeCipher:
    if not isinstance(volume.content, NativeCipher):
        raise ValueError("files in C need the native cipher")
    return volume.content


def _name_format(volume: Volume) -> NameFormat:
    names, cipher, content = volume.names, volume.name_cipher, _native_cipher(volume)
    if not isinstance(cipher, NativeNameCipher):
        raise ValueError("names in C need the native cipher")
    return NameFormat(
        None if names.is_plaintext else cipher.eme,
        content.aead,
        content.kind.nonce_size,
        has_diriv=names.has_diriv,
        is_raw64=volume.raw64,
        hashes_long=names.hash_long_names,
        long_name_max=names.long_name_max,
    )


def _attached_files_max() -> int:
    fds = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _FDS_FOR_OTHERS, _FDS_FOR_OTHERS)
    return min(_ATTACHED_MAX, fds // 2)
