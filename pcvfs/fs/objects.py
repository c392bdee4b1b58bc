"""One object of the volume at a time: reaching it in the cipherdir, its attributes, target and xattrs.

Owns: how a node becomes a system call (by the name of one of its links, by the descriptor of its open file, or, once
its last known name is gone, by the ``O_PATH`` descriptor kept for it), and what the mount shows of a backing object's
attributes. Knows nothing of making, renaming or removing names.

Concurrency: one thread.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from pcvfs.cipherdir import backing
from pcvfs.errors import AuthenticationError, FormatError, NameDecodeError
from pcvfs.spec import SYMLINK_TARGET_MAX
from pcvfs.types import Inode

if TYPE_CHECKING:
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.fs.options import MountOptions
    from pcvfs.fs.tree import Node, Tree

log = logging.getLogger(__name__)

_CAPABILITY: Final = b"security.capability"


class Attr(NamedTuple):
    """What the mount shows of an object: ``st`` is the backing object's, the rest replaces parts of it."""

    inode: Inode
    st: os.stat_result
    size: int
    uid: int
    gid: int


def gives_away(options: MountOptions) -> bool:
    """Whether new objects belong to who asked for them, and not to us."""
    return os.geteuid() == 0 and options.force_owner is None


class Objects:
    """Access to the objects behind nodes.

    Args:
        volume: codecs.
        options: of the mount.
        tree: for the root and descriptors of directories.
    """

    def __init__(self, volume: Volume, options: MountOptions, tree: Tree) -> None:
        self._volume = volume
        self._options = options
        self._root = tree.inodes.root
        self._dirs = tree.dirs
        self._has_plain_targets = volume.names.is_plaintext

    # --- reaching an object -------------------------------------------------------------------------------------
    def locate(self, node: Node) -> tuple[int, bytes]:
        """A directory descriptor and a name under which an object is in the cipherdir.

        Raises:
            OSError: ENOENT, it has no name any more.
        """
        if node.links:
            parent, cname = node.links[0]
            return self._dirs.dirfd(parent), cname
        if node is self._root:
            return self._volume.root_fd, b"."
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def held_fd(self, node: Node) -> int:
        """A descriptor that leads to the object whatever its names are, or -1."""
        return node.file.fd if node.file is not None else node.orphan_fd

    def hold(self, node: Node, dirfd: int, cname: bytes) -> None:
        """Before the last name that we know of an object goes: keep it by a descriptor."""
        if node.orphan_fd < 0 and len(node.links) <= 1:
            node.orphan_fd = backing.open_path(dirfd, cname)

    @staticmethod
    def unhold(node: Node) -> None:
        """The name did not go after all, or nobody needs the object any more."""
        if node.orphan_fd >= 0:
            os.close(node.orphan_fd)
            node.orphan_fd = -1

    def open(self, node: Node, flags: int) -> int:
        """Open a regular file, also one of our own whose mode forbids it."""
        if node.orphan_fd >= 0:
            return self._reopen(node.orphan_fd, flags)
        dirfd, cname = self.locate(node)
        try:
            return _regular(backing.openat(dirfd, cname, flags | os.O_NONBLOCK))
        except PermissionError:
            path_fd = backing.open_path(dirfd, cname)
            try:
                return self._reopen(path_fd, flags)
            finally:
                os.close(path_fd)

    def _reopen(self, path_fd: int, flags: int) -> int:
        try:
            return _regular(backing.reopen(path_fd, flags | os.O_NONBLOCK))
        except PermissionError:
            if self._options.ro:
                raise
            return backing.reopen_despite_mode(path_fd, flags)

    # --- attributes ---------------------------------------------------------------------------------------------
    def stat(self, node: Node) -> os.stat_result:
        """Attributes of the backing object."""
        fd = self.held_fd(node)
        return os.fstat(fd) if fd >= 0 else backing.statat(*self.locate(node))

    def attr(self, node: Node, st: os.stat_result, dirfd: int = -1, cname: bytes = b"") -> Attr:
        """What the mount shows of ``st``. ``dirfd`` and ``cname`` save a walk where the caller has them."""
        if node.type_bits == stat.S_IFREG:
            size = self._volume.layout.cipher_to_plain_size(st.st_size)
        elif node.type_bits == stat.S_IFLNK and not self._has_plain_targets:
            size = self._target_size(node, dirfd, cname)
        else:
            size = st.st_size
        owner = self._options.force_owner
        uid, gid = (st.st_uid, st.st_gid) if owner is None else owner
        return Attr(node.inode, st, size, uid, gid)

    def chmod(self, node: Node, mode: int) -> None:
        """Set the permission bits; EOPNOTSUPP on a symlink."""
        fd = self.held_fd(node)
        if fd >= 0:
            backing.chmod_fd(fd, mode)
        else:
            backing.chmodat(*self.locate(node), mode)

    def chown(self, node: Node, uid: int, gid: int) -> None:
        """Set owner and group; -1 leaves that one alone."""
        fd = self.held_fd(node)
        if fd >= 0:
            os.chown(backing.fd_path(fd), uid, gid)
        else:
            backing.chownat(*self.locate(node), uid, gid)

    def utimens(self, node: Node, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Set times in ns; None leaves that one alone."""
        fd = self.held_fd(node)
        if fd >= 0:
            backing.futimens(fd, atime_ns, mtime_ns)
        else:
            backing.utimensat(*self.locate(node), atime_ns, mtime_ns)

    # --- symlinks -----------------------------------------------------------------------------------------------
    def encode_target(self, target: bytes) -> bytes:
        """A symlink's target as it is stored.

        Raises:
            OSError: ENAMETOOLONG, its encryption is longer than the filesystem below takes.
        """
        stored = self._volume.encode_symlink(target)
        if len(stored) > SYMLINK_TARGET_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return stored

    def readlink(self, node: Node) -> bytes:
        """Target of a symlink in plaintext."""
        if node.orphan_fd >= 0:
            return self._volume.decode_symlink(backing.readlinkat(node.orphan_fd, b""))
        return self._volume.decode_symlink(backing.readlinkat(*self.locate(node)))

    def _target_size(self, node: Node, dirfd: int, cname: bytes) -> int:
        """Length of a symlink's plaintext target; 0 if it does not decrypt, as the original has it."""
        try:
            if cname:
                return len(self._volume.decode_symlink(backing.readlinkat(dirfd, cname)))
            return len(self.readlink(node))
        except (OSError, FormatError, AuthenticationError):
            return 0

    # --- extended attributes ------------------------------------------------------------------------------------
    def getxattr(self, node: Node, name: bytes) -> bytes:
        """Value of an attribute.

        Raises:
            OSError: ENODATA.
        """
        if self._options.noxattr:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        if name == _CAPABILITY and not self._options.suid:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))  # asked before writes, without effect here
        cname = self._volume.xattr_names.encode(name)
        if node.orphan_fd >= 0:
            value = backing.fgetxattr(node.orphan_fd, cname)
        else:
            value = backing.getxattrat(*self.locate(node), cname)
        return self._volume.decode_xattr_value(name, value)

    def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        """Set an attribute, whether it is there or not."""
        cname = self._writable_xattr(name)
        value = self._volume.encode_xattr_value(name, value)
        if node.orphan_fd >= 0:
            backing.fsetxattr(node.orphan_fd, cname, value)
        else:
            backing.setxattrat(*self.locate(node), cname, value)

    def removexattr(self, node: Node, name: bytes) -> None:
        """Remove an attribute.

        Raises:
            OSError: ENODATA.
        """
        cname = self._writable_xattr(name)
        if node.orphan_fd >= 0:
            backing.fremovexattr(node.orphan_fd, cname)
        else:
            backing.removexattrat(*self.locate(node), cname)

    def listxattr(self, node: Node) -> list[bytes]:
        """Names of all attributes that can be decrypted."""
        if self._options.noxattr:
            return []
        fd = node.orphan_fd
        cnames = backing.flistxattr(fd) if fd >= 0 else backing.listxattrat(*self.locate(node))
        names = []
        for cname in cnames:
            try:
                name = self._volume.xattr_names.decode(cname)
            except NameDecodeError:
                log.warning("inode %d: an attribute name can't be decrypted and is hidden", node.inode)
                continue
            if name is not None:
                names.append(name)
        return names

    def _writable_xattr(self, name: bytes) -> bytes:
        if self._options.noxattr:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return self._volume.xattr_names.encode(name)


def _regular(fd: int) -> int:
    """The descriptor, if it is one of a regular file and not of what somebody put in its place.

    Raises:
        OSError: EIO.
    """
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
    except OSError:
        os.close(fd)
        raise
    return fd
