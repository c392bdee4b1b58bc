"""The tree of a mount in C: native/pcv_tree.h, with pcv_inodes.h and pcv_dirs.h.

Owns: turning its calls and fields into Python. An inode is named by its number, and looked up for every call: no
pointer to one stays in Python, where it could outlive the inode. Which one, when and why is ``pcvfs.fs.lane_tree``'s.

Threads: the lane's main thread, while it is not in ``Lane.wait``; the counters may be read from any.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from pcvfs import spec
from pcvfs._native_ffi import ffi, lib
from pcvfs.errors import InternalError
from pcvfs.native.files import FilePolicy
from pcvfs.native.names import NameFormat

if TYPE_CHECKING:
    from pcvfs._native_ffi import CData, InodeStruct, TreeStruct


class TreeOptions(NamedTuple):
    """How a mount shows its tree: the plain part of ``struct pcv_tree_options``."""

    dirs_max: int  # descriptors kept open
    files_max: int
    timeout_s: int  # of entries and attributes
    is_ro: bool
    gives_away: bool  # new objects belong to who asked for them
    owner: tuple[int, int] | None  # (uid, gid) that everything is shown as
    has_capabilities: bool  # ``security.capability`` has an effect
    has_xattrs: bool


class Tree:
    """The tree of one mount.

    Args:
        root_fd: of the cipherdir; stays the caller's.
        files: opens regular files.
    """

    def __init__(self, root_fd: int, names: NameFormat, files: FilePolicy, options: TreeOptions) -> None:
        self._keep = (names, files)  # C holds pointers into them
        uid, gid = options.owner or (0, 0)
        members: dict[str, int | CData] = {
            "root_fd": root_fd,
            "names": names.pointer[0],
            "aead": names.aead.pointer,
            "nonce_size": names.nonce_size,
            "files": files.pointer,
            "dirs_max": options.dirs_max,
            "files_max": options.files_max,
            "timeout_s": options.timeout_s,
            "is_ro": options.is_ro,
            "gives_away": options.gives_away,
            "has_owner": options.owner is not None,
            "owner_uid": uid,
            "owner_gid": gid,
            "has_capabilities": options.has_capabilities,
            "has_xattrs": options.has_xattrs,
        }
        cell = ffi.new("pcv_tree **")
        _check(lib.pcv_tree_new(ffi.new("struct pcv_tree_options *", members), cell))
        self._tree: TreeStruct | None = ffi.gc(cell[0], lib.pcv_tree_free)

    @property
    def pointer(self) -> TreeStruct:
        """The C object, for the lane.

        Raises:
            InternalError: it is closed.
        """
        if self._tree is None:
            raise InternalError("the tree of the mount is closed")
        return self._tree

    def close(self) -> None:
        """Forget every inode and close every descriptor. The lane must have ended. May be repeated."""
        tree, self._tree = self._tree, None
        if tree is not None:
            ffi.release(tree)

    # --- counters -----------------------------------------------------------------------------------------------
    @property
    def inode_count(self) -> int:
        """Number of inodes."""
        return lib.pcv_inodes_count(self.pointer.inodes)

    @property
    def lookups(self) -> int:
        """Lookups that the kernel holds."""
        return lib.pcv_inodes_lookups(self.pointer.inodes)

    @property
    def dir_count(self) -> int:
        """Number of cached descriptors of directories."""
        return self.pointer.dirs.count

    @property
    def file_count(self) -> int:
        """Number of attached files."""
        return self.pointer.file_count

    # --- inodes -------------------------------------------------------------------------------------------------
    def numbers(self) -> list[int]:
        """The number of every inode, in no order."""
        room = self.inode_count
        out = ffi.new("uint64_t[]", room)
        count = lib.pcv_inodes_list(self.pointer.inodes, out, room)
        return [out[index] for index in range(min(count, room))]

    def has(self, number: int) -> bool:
        """Whether there is an inode of that number."""
        return lib.pcv_inodes_get(self.pointer.inodes, number) != ffi.NULL

    def inode(self, number: int) -> InodeStruct:
        """The fields of an inode, to be read or written at once and not kept.

        Raises:
            InternalError: there is none of that number.
        """
        inode = lib.pcv_inodes_get(self.pointer.inodes, number)
        if inode == ffi.NULL:
            raise InternalError(f"inode {number} is not known any more")
        return inode

    def links(self, number: int) -> list[tuple[int, bytes]]:
        """Parents and names of an inode."""
        links = []
        link = self.inode(number).links
        while link != ffi.NULL:
            links.append((link.parent.number, ffi.string(link.cname)))
            link = link.next
        return links

    def find(self, dev: int, ino: int) -> int | None:
        """The number of a backing object, if it is known."""
        inode = lib.pcv_inodes_find(self.pointer.inodes, dev, ino)
        return None if inode == ffi.NULL else inode.number

    def intern(self, st: os.stat_result, parent: int, cname: bytes) -> int:
        """The number of an object found under a name, known or new."""
        found = ffi.new("struct stat *", {"st_dev": st.st_dev, "st_ino": st.st_ino, "st_mode": st.st_mode})
        cell = ffi.new("pcv_inode **")
        _check_link(lib.pcv_inodes_intern(self.pointer.inodes, found, self.inode(parent), cname, cell))
        return cell[0].number

    def add_link(self, number: int, parent: int, cname: bytes) -> None:
        """Record a name."""
        _check_link(lib.pcv_inodes_add_link(self.pointer.inodes, self.inode(number), self.inode(parent), cname))

    def remove_link(self, number: int, parent: int, cname: bytes) -> None:
        """Take back a name."""
        lib.pcv_inodes_remove_link(self.pointer.inodes, self.inode(number), self.inode(parent), cname)

    def looked_up(self, number: int) -> None:
        """The kernel is told of an inode once more."""
        lib.pcv_inodes_looked_up(self.pointer.inodes, self.inode(number))

    def forget(self, number: int, count: int) -> None:
        """The kernel takes back lookups."""
        if lib.pcv_inodes_forget(self.pointer.inodes, number, count) != 0:
            raise InternalError(f"inode {number} was forgotten more often than looked up")

    def pin(self, number: int) -> None:
        """Keep an inode."""
        lib.pcv_inodes_pin(self.pointer.inodes, self.inode(number))

    def unpin(self, number: int) -> None:
        """Take back a ``pin``."""
        lib.pcv_inodes_unpin(self.pointer.inodes, self.inode(number))

    def release(self, number: int) -> None:
        """Drop an inode if nobody needs it; nothing happens if it is not there."""
        if self.has(number):
            lib.pcv_inodes_release(self.pointer.inodes, self.inode(number))

    # --- directories --------------------------------------------------------------------------------------------
    def dirfd(self, number: int) -> int:
        """Descriptor of a directory, valid until ``trim``."""
        fd = lib.pcv_dirs_fd(self._dirs, self.inode(number))
        if fd < 0:
            _check(fd)
        return fd

    def diriv(self, number: int) -> bytes:
        """IV of a directory."""
        cell = ffi.new("const uint8_t **")
        _check(lib.pcv_dirs_diriv(self._dirs, self.inode(number), cell))
        return bytes(ffi.buffer(cell[0], spec.DIRIV_SIZE))

    def evict(self, number: int) -> None:
        """Close the cached descriptor of a directory, if there is one."""
        lib.pcv_dirs_evict(self._dirs, self.inode(number))

    def trim(self) -> None:
        """Between requests: close descriptors that are too many."""
        lib.pcv_tree_trim(self.pointer)

    @property
    def _dirs(self) -> CData:
        return ffi.addressof(self.pointer, "dirs")


def _check_link(rc: int) -> None:
    if rc == -errno.ELOOP:
        raise InternalError("the root of a volume appeared inside it")
    _check(rc)


def _check(rc: int) -> None:
    if rc != 0:
        raise OSError(-rc, os.strerror(-rc))
