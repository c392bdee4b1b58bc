"""What the kernel does towards a FUSE filesystem, without a kernel: paths, dentries, lookup counts, handles.

It is honest in the ways that matter to a filesystem: every reply that names an object is one more lookup, lookups are
given back only by a forget, a directory is not forgotten while a name in it is cached, and an inode not while it is
open. It checks next to nothing itself: what the real kernel would refuse reaches the filesystem here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from pcvfs.fs.objects import Attr
from pcvfs.fs.volume_fs import Caller, SetAttr, VolumeFS
from pcvfs.types import Handle, Inode

ROOT = Inode(1)
SUPERUSER = Caller(0, 0)
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4

Result = TypeVar("Result")


class Kernel:
    """The other side of one mount.

    Args:
        fs: the mounted filesystem.
        caches_names: keep names, as with the day-long timeouts of a mount that owns its cipherdir; else every
            component of every path is looked up again.
    """

    def __init__(self, fs: VolumeFS, *, caches_names: bool = True) -> None:
        self.fs = fs
        self.caches_names = caches_names
        self.nlookup: Counter[Inode] = Counter()
        self.dentries: dict[tuple[Inode, bytes], Inode] = {}
        self.modes: dict[Inode, int] = {ROOT: stat.S_IFDIR}
        self.open_files: dict[Handle, Inode] = {}
        self.open_dirs: dict[Handle, Inode] = {}
        self.names: set[bytes] = set()  # every name ever used, to search logs for

    # --- paths --------------------------------------------------------------------------------------------------
    def inode(self, path: bytes) -> Inode:
        """The inode of a path relative to the root of the mount; b"" is the root."""
        inode = ROOT
        for name in path.split(b"/") if path else ():
            known = self.dentries.get((inode, name)) if self.caches_names else None
            inode = self._lookup(inode, name).inode if known is None else known
        return inode

    def parent(self, path: bytes) -> tuple[Inode, bytes]:
        """The inode of the directory of a path, and the last component; ENOTDIR if it is of something else."""
        head, _, name = path.rpartition(b"/")
        self.names.add(name)
        inode = self.inode(head)
        if not stat.S_ISDIR(self.modes[inode]):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return inode, name

    def lookup(self, path: bytes) -> Attr:
        """A LOOKUP of the last component, whatever is cached."""
        return self._lookup(*self.parent(path))

    def _lookup(self, parent: Inode, name: bytes) -> Attr:
        self.names.add(name)
        return self._entry(parent, name, self._call(lambda: self.fs.lookup(parent, name)))

    def _entry(self, parent: Inode, name: bytes, attr: Attr) -> Attr:
        """A reply that names an object."""
        self.nlookup[attr.inode] += 1
        self.dentries[parent, name] = attr.inode
        self.modes[attr.inode] = attr.st.st_mode
        return attr

    def _call(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        finally:
            self.fs.trim()

    # --- forgetting ---------------------------------------------------------------------------------------------
    def forget(self, inode: Inode) -> bool:
        """Give back all lookups of an inode; False if something still needs it."""
        busy = inode in self.open_files.values() or inode in self.open_dirs.values()
        if busy or any(parent == inode for parent, _ in self.dentries):
            return False
        for dentry in [dentry for dentry, target in self.dentries.items() if target == inode]:
            del self.dentries[dentry]
        if count := self.nlookup.pop(inode, 0):
            self.fs.forget(inode, count)
        return True

    def forget_everything(self) -> None:
        """What memory pressure does: everything that is not in use goes, from the leaves up."""
        needed = set(self.open_files.values()) | set(self.open_dirs.values())
        while True:
            parents = {parent for parent, _ in self.dentries}
            leaves = {inode for inode in self.nlookup if inode not in parents and inode not in needed}
            if not leaves:
                return
            self.dentries = {dentry: target for dentry, target in self.dentries.items() if target not in leaves}
            for inode in leaves:
                self.fs.forget(inode, self.nlookup.pop(inode))

    def close_everything(self) -> None:
        """Release every handle."""
        for handle in list(self.open_files):
            self.release(handle)
        for handle in list(self.open_dirs):
            self.releasedir(handle)

    # --- attributes ---------------------------------------------------------------------------------------------
    def stat(self, path: bytes) -> Attr:
        """A GETATTR."""
        inode = self.inode(path)
        return self._call(lambda: self.fs.getattr(inode))

    def setattr(self, path: bytes, **changes: int) -> Attr:
        """A SETATTR; the arguments are the fields of ``SetAttr``."""
        inode = self.inode(path)
        return self._call(lambda: self.fs.setattr(inode, SetAttr(**changes)))

    def readlink(self, path: bytes) -> bytes:
        """A READLINK."""
        inode = self.inode(path)
        return self._call(lambda: self.fs.readlink(inode))

    # --- names --------------------------------------------------------------------------------------------------
    def mkdir(self, path: bytes, mode: int = 0o755, caller: Caller = SUPERUSER) -> Attr:
        """A MKDIR; ``mode`` with the umask already applied."""
        parent, name = self.parent(path)
        return self._entry(parent, name, self._call(lambda: self.fs.mkdir(parent, name, mode, caller)))

    def mknod(self, path: bytes, mode: int, rdev: int = 0, caller: Caller = SUPERUSER) -> Attr:
        """A MKNOD."""
        parent, name = self.parent(path)
        return self._entry(parent, name, self._call(lambda: self.fs.mknod(parent, name, mode, rdev, caller)))

    def symlink(self, path: bytes, target: bytes, caller: Caller = SUPERUSER) -> Attr:
        """A SYMLINK."""
        parent, name = self.parent(path)
        return self._entry(parent, name, self._call(lambda: self.fs.symlink(parent, name, target, caller)))

    def link(self, old: bytes, new: bytes) -> Attr:
        """A LINK."""
        inode = self.inode(old)
        parent, name = self.parent(new)
        return self._entry(parent, name, self._call(lambda: self.fs.link(inode, parent, name)))

    def unlink(self, path: bytes) -> Inode:
        """An UNLINK; returns the inode that lost the name."""
        parent, name = self.parent(path)
        inode = self.inode(path)
        self._call(lambda: self.fs.unlink(parent, name))
        self.dentries.pop((parent, name), None)
        return inode

    def rmdir(self, path: bytes) -> Inode:
        """An RMDIR; returns the inode of the directory."""
        parent, name = self.parent(path)
        inode = self.inode(path)
        self._call(lambda: self.fs.rmdir(parent, name))
        self.dentries.pop((parent, name), None)
        return inode

    def rename(self, old: bytes, new: bytes, flags: int = 0) -> None:
        """A RENAME. As the real one, it has looked up both names before, if they are there."""
        old_parent, old_name = self.parent(old)
        new_parent, new_name = self.parent(new)
        self.inode(old)
        try:
            self.inode(new)
        except FileNotFoundError:
            pass
        self._call(lambda: self.fs.rename(old_parent, old_name, new_parent, new_name, flags))
        moved = self.dentries.pop((old_parent, old_name), None)
        replaced = self.dentries.pop((new_parent, new_name), None)
        if moved is not None:
            self.dentries[new_parent, new_name] = moved
        if replaced is not None and flags & RENAME_EXCHANGE:
            self.dentries[old_parent, old_name] = replaced

    # --- files --------------------------------------------------------------------------------------------------
    def create(
        self, path: bytes, mode: int = 0o644, flags: int = os.O_RDWR | os.O_EXCL, caller: Caller = SUPERUSER
    ) -> Handle:
        """A CREATE; returns the open handle."""
        parent, name = self.parent(path)
        handle, attr = self._call(lambda: self.fs.create(parent, name, mode, flags, caller))
        self._entry(parent, name, attr)
        self.open_files[handle] = attr.inode
        return handle

    def open(self, path: bytes, flags: int = os.O_RDONLY) -> Handle:
        """An OPEN; returns the handle."""
        return self.open_inode(self.inode(path), flags)

    def open_inode(self, inode: Inode, flags: int = os.O_RDONLY) -> Handle:
        """An OPEN of an inode that may have no name, as through /proc/self/fd."""
        handle = self._call(lambda: self.fs.open(inode, flags))
        self.open_files[handle] = inode
        return handle

    def read(self, handle: Handle, offset: int = 0, length: int = 1 << 20) -> bytes:
        """A READ."""
        return bytes(self._call(lambda: self.fs.read(handle, offset, length)))

    def write(self, handle: Handle, offset: int, data: bytes) -> None:
        """A WRITE, which must be complete."""
        written = self._call(lambda: self.fs.write(handle, offset, data))
        assert written == len(data)

    def release(self, handle: Handle) -> None:
        """A RELEASE; the handle is gone whatever comes back."""
        del self.open_files[handle]
        self._call(lambda: self.fs.release(handle))

    def put(self, path: bytes, data: bytes, mode: int = 0o644, caller: Caller = SUPERUSER) -> Inode:
        """Create a file with that content; returns its inode."""
        handle = self.create(path, mode, caller=caller)
        inode = self.open_files[handle]
        try:
            self.write(handle, 0, data)
        finally:
            self.release(handle)
        return inode

    def get(self, path: bytes) -> bytes:
        """Content of a file."""
        handle, parts, position = self.open(path), [], 0
        try:
            while part := self.read(handle, position):
                parts.append(part)
                position += len(part)
        finally:
            self.release(handle)
        return b"".join(parts)

    # --- directories --------------------------------------------------------------------------------------------
    def opendir(self, path: bytes) -> Handle:
        """An OPENDIR."""
        return self.opendir_inode(self.inode(path))

    def opendir_inode(self, inode: Inode) -> Handle:
        """An OPENDIR of an inode that may have no name."""
        handle = self._call(lambda: self.fs.opendir(inode))
        self.open_dirs[handle] = inode
        return handle

    def readdir(self, handle: Handle, *, refresh: bool = True) -> dict[bytes, Attr]:
        """READDIRPLUS to the end: names and attributes, each a lookup. Entries that vanished are missing."""
        listed: dict[bytes, Attr] = {}
        entries = self._call(lambda: self.fs.entries(handle, refresh=refresh))
        self._call(lambda: self.fs.dot_attrs(handle))
        for entry in entries:
            attr = self._call(lambda entry=entry: self.fs.entry_attr(handle, entry))
            if attr is not None:
                assert entry.name not in listed, "a name was listed twice"
                listed[entry.name] = self._entry(self.open_dirs[handle], entry.name, attr)
        return listed

    def releasedir(self, handle: Handle) -> None:
        """A RELEASEDIR."""
        del self.open_dirs[handle]
        self._call(lambda: self.fs.releasedir(handle))

    def list(self, path: bytes = b"") -> dict[bytes, Attr]:
        """Open, read and close a directory."""
        handle = self.opendir(path)
        try:
            return self.readdir(handle)
        finally:
            self.releasedir(handle)

    # --- extended attributes ------------------------------------------------------------------------------------
    def getxattr(self, path: bytes, name: bytes) -> bytes:
        """A GETXATTR."""
        inode = self.inode(path)
        return self._call(lambda: self.fs.getxattr(inode, name))

    def setxattr(self, path: bytes, name: bytes, value: bytes) -> None:
        """A SETXATTR."""
        inode = self.inode(path)
        self._call(lambda: self.fs.setxattr(inode, name, value))

    def listxattr(self, path: bytes) -> list[bytes]:
        """A LISTXATTR."""
        inode = self.inode(path)
        return self._call(lambda: self.fs.listxattr(inode))

    def removexattr(self, path: bytes, name: bytes) -> None:
        """A REMOVEXATTR."""
        inode = self.inode(path)
        self._call(lambda: self.fs.removexattr(inode, name))
