"""POSIX operations on one unlocked volume, in our own types.

Owns: which operation touches which backing objects in which order, and what the inode table must learn from it.
Knows nothing of pyfuse3 or the kernel's messages; the tests drive it without a mount.

Every public method is one operation, takes and returns plain values, and raises ``OSError`` with the errno that the
caller should see, or a ``FormatError``/``AuthenticationError`` for bytes that are not what they should be.

Lookup counts: methods that return an ``Attr`` for a *name* (lookup, create, mkdir, ...) raise ``nlookup`` of that
node by one as their last step, so they never raise after it.

Concurrency: one thread; no operation waits for anything but the filesystem below.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from pcvfs.cipherdir import backing
from pcvfs.fs.dirs import Directories, Listed
from pcvfs.fs.files import BackingFile, FilePolicy, make_policy
from pcvfs.fs.objects import Attr, Objects, gives_away
from pcvfs.fs.open_files import OpenFiles
from pcvfs.fs.tree import PythonTree
from pcvfs.types import Handle, Inode

if TYPE_CHECKING:
    from collections.abc import Callable

    from pcvfs.cipherdir.intents import IntentLog
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.format.names import StoredName
    from pcvfs.fs.options import MountOptions
    from pcvfs.fs.tree import Node, Tree

_RENAME_FLAGS: Final = (
    0,
    backing.RENAME_NOREPLACE,
    backing.RENAME_EXCHANGE,
    backing.RENAME_WHITEOUT,
    backing.RENAME_NOREPLACE | backing.RENAME_WHITEOUT,
)
_NOT_EMPTY: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_SPECIAL_BITS: Final = stat.S_ISUID | stat.S_ISGID


class Caller(NamedTuple):
    """Who asks: new objects belong to them if the mount can give objects away (it runs as root)."""

    uid: int
    gid: int


class SetAttr(NamedTuple):
    """What setattr shall change; None leaves that one alone. Times in ns, size in plaintext bytes."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


class Statistics(NamedTuple):
    """A look inside; see ``VolumeFS.statistics``."""

    inodes: int
    nlookup: int
    open_files: int
    open_dirs: int
    dirfds: int


class DirHandle:
    """An open directory: a descriptor and, once reading began, a snapshot of its entries."""

    __slots__ = ("entries", "fd", "node")

    def __init__(self, node: Node, fd: int) -> None:
        self.node = node
        self.fd = fd
        self.entries: list[Listed] | None = None


class VolumeFS:
    """One mounted volume.

    Args:
        volume: not owned; close it after ``close``.
        options: of the mount.
        intents: see ``files``.
        tree: of names; None is the Python implementation. Taken over.
        policy: opens files; None is the Python implementation.
    """

    def __init__(
        self,
        volume: Volume,
        options: MountOptions,
        *,
        intents: IntentLog | None = None,
        tree: Tree | None = None,
        policy: FilePolicy | None = None,
    ) -> None:
        self._volume = volume
        self._options = options
        self._is_shared = options.sharedstorage
        self._is_ro = options.ro
        self._gives_away = gives_away(options)
        self._tree = tree or PythonTree(volume, is_shared=options.sharedstorage)
        self._table = self._tree.inodes
        self._cache = self._tree.dirs
        self._dirs = Directories(volume, self._table.root, self._cache, badname=options.badname)
        self._objects = Objects(volume, options, self._tree)
        self._handles = itertools.count(1)
        policy = policy or make_policy(volume, options, intents)
        self._files = OpenFiles(policy, self._table, self._objects, options, self._handles)
        self._dir_handles: dict[Handle, DirHandle] = {}

    # --- lookup and attributes ----------------------------------------------------------------------------------
    def lookup(self, parent: Inode, name: bytes) -> Attr:
        """Find a name in a directory.

        Raises:
            OSError: ENOENT.
        """
        directory = self._directory(parent)
        dirfd = self._cache.dirfd(directory)
        try:
            stored = self._dirs.encode(directory, name)
        except PermissionError as exc:
            if exc.errno != errno.EPERM:
                raise  # the IV can't be read
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None  # the reserved name
        cname = stored.cname
        try:
            st = backing.statat(dirfd, cname)
        except FileNotFoundError:
            cname, st = self._lookup_bad(directory, dirfd, name)
        return self._found(directory, dirfd, cname, st)

    def _lookup_bad(self, directory: Node, dirfd: int, name: bytes) -> tuple[bytes, os.stat_result]:
        """A name that --badname made up leads to the one backing entry it can stand for."""
        found: list[tuple[bytes, os.stat_result]] = []
        for cname in self._dirs.badname_candidates(directory, name):
            try:
                found.append((cname, backing.statat(dirfd, cname)))
            except OSError:
                continue
        if len(found) != 1:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return found[0]

    def getattr(self, inode: Inode) -> Attr:
        """Attributes of an object, also of one that was deleted while in use."""
        node = self._table.get(inode)
        return self._objects.attr(node, self._objects.stat(node))

    def setattr(self, inode: Inode, change: SetAttr) -> Attr:
        """Change attributes; the size first, since that is what can fail for lack of space."""
        self._refuse_if_ro()
        node = self._table.get(inode)
        if change.size is not None:
            self._files.truncate(node, change.size)
        if change.uid is not None or change.gid is not None:
            uid = -1 if change.uid is None else change.uid
            self._objects.chown(node, uid, -1 if change.gid is None else change.gid)
        if change.mode is not None:
            self._objects.chmod(node, stat.S_IMODE(change.mode))
        if change.atime_ns is not None or change.mtime_ns is not None:
            self._objects.utimens(node, change.atime_ns, change.mtime_ns)
        return self._objects.attr(node, self._objects.stat(node))

    def drop_set_id_bits(self, inode: Inode, caller: Caller) -> bool:
        """What a change of content by an ordinary user does to the mode; whether it did.

        The kernel does its part of it where it knows of the change, so this is for truncation alone. We are told one
        group of the caller; who is in the file's group through another one counts as outside.
        """
        if caller.uid == 0:
            return False
        node = self._table.get(inode)
        st = self._objects.stat(node)
        drops_group = bool(st.st_mode & stat.S_IXGRP) or caller.gid != st.st_gid
        dropped = st.st_mode & (_SPECIAL_BITS if drops_group else stat.S_ISUID)
        if dropped:
            self._objects.chmod(node, stat.S_IMODE(st.st_mode & ~dropped))
        return bool(dropped)

    def readlink(self, inode: Inode) -> bytes:
        """Target of a symlink in plaintext."""
        return self._objects.readlink(self._table.get(inode))

    def forget(self, inode: Inode, count: int) -> None:
        """The kernel gives up ``count`` lookups of an object."""
        self._table.forget(inode, count)

    # --- making names -------------------------------------------------------------------------------------------
    def mknod(self, parent: Inode, name: bytes, mode: int, rdev: int, caller: Caller) -> Attr:
        """Make a fifo, socket, device or empty regular file."""
        directory, dirfd, stored = self._new_name(parent, name)
        self._make(dirfd, stored, lambda: backing.mknodat(dirfd, stored.cname, mode, rdev))
        return self._made(directory, dirfd, stored, caller)

    def mkdir(self, parent: Inode, name: bytes, mode: int, caller: Caller) -> Attr:
        """Make a directory."""
        directory, dirfd, stored = self._new_name(parent, name)
        self._make(dirfd, stored, lambda: self._dirs.make(dirfd, stored.cname, stat.S_IMODE(mode)))
        return self._made(directory, dirfd, stored, caller)

    def symlink(self, parent: Inode, name: bytes, target: bytes, caller: Caller) -> Attr:
        """Make a symlink.

        Raises:
            OSError: ENAMETOOLONG, the encrypted target is longer than the filesystem below takes.
        """
        directory, dirfd, stored = self._new_name(parent, name)
        encoded = self._objects.encode_target(target)
        self._make(dirfd, stored, lambda: backing.symlinkat(encoded, dirfd, stored.cname))
        return self._made(directory, dirfd, stored, caller)

    def link(self, inode: Inode, new_parent: Inode, new_name: bytes) -> Attr:
        """Give an object one more name."""
        node = self._table.get(inode)
        directory, dirfd, stored = self._new_name(new_parent, new_name)
        if node.orphan_fd >= 0:
            self._make(dirfd, stored, lambda: backing.link_fd(node.orphan_fd, dirfd, stored.cname))
        else:
            old = self._objects.locate(node)
            self._make(dirfd, stored, lambda: backing.linkat(*old, dirfd, stored.cname))
        return self._made(directory, dirfd, stored, None)

    def create(self, parent: Inode, name: bytes, mode: int, flags: int, caller: Caller) -> tuple[Handle, Attr]:
        """Make a regular file and open it; opens an existing one unless ``flags`` has O_EXCL."""
        directory, dirfd, stored = self._new_name(parent, name)
        fd = -1

        def make() -> None:
            nonlocal fd
            fd = backing.openat(dirfd, stored.cname, os.O_RDWR | os.O_CREAT | os.O_EXCL, stat.S_IMODE(mode))

        try:
            self._make(dirfd, stored, make)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            attr = self._found(directory, dirfd, stored.cname, backing.statat(dirfd, stored.cname))
            try:
                return self.open(attr.inode, flags), attr
            except BaseException:
                self._table.forget(attr.inode, 1)
                raise
        try:
            self._give_to(caller, directory, dirfd, stored.cname)
            st = os.fstat(fd)
            node = self._table.intern(st, directory, stored.cname)
            self._files.adopt(node, fd, is_writable=True)
        except BaseException:
            os.close(fd)
            self._unmake(dirfd, stored)
            raise
        return self._files.new_handle(node), self._looked_up(node, st)

    def create_closed(self, parent: Inode, name: bytes, mode: int, flags: int, caller: Caller) -> Attr:
        """Make a regular file, for a kernel that opens files by inode.

        Raises:
            OSError: ESTALE if it exists and ``flags`` has no O_EXCL. The kernel did not know; it looks again, and then
                opens and empties the file as any other.
        """
        try:
            return self.mknod(parent, name, stat.S_IFREG | stat.S_IMODE(mode), 0, caller)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None

    def _new_name(self, parent: Inode, name: bytes) -> tuple[Node, int, StoredName]:
        self._refuse_if_ro()
        directory = self._directory(parent)
        if self._dirs.is_badname(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return directory, self._cache.dirfd(directory), self._dirs.encode(directory, name)

    def _make(self, dirfd: int, stored: StoredName, make: Callable[[], object]) -> None:
        """Make an object; for a long name its sidecar comes first, so the object is never without it."""
        is_new = self._dirs.ensure_sidecar(dirfd, stored)
        try:
            make()
        except BaseException:
            if is_new:
                self._dirs.drop_sidecar(dirfd, stored)
            raise

    def _made(self, directory: Node, dirfd: int, stored: StoredName, caller: Caller | None) -> Attr:
        """Give a new name to the caller. If that fails it goes again: the kernel believes that there is none."""
        try:
            if caller is not None:
                self._give_to(caller, directory, dirfd, stored.cname)
            return self._found(directory, dirfd, stored.cname, backing.statat(dirfd, stored.cname))
        except BaseException:
            self._unmake(dirfd, stored)
            raise

    def _unmake(self, dirfd: int, stored: StoredName) -> None:
        """Take back a name that was just made."""
        with contextlib.suppress(OSError):
            try:
                backing.unlinkat(dirfd, stored.cname)
            except IsADirectoryError:
                self._dirs.remove(dirfd, stored.cname)
            self._dirs.drop_sidecar(dirfd, stored)

    def _give_to(self, caller: Caller, directory: Node, dirfd: int, cname: bytes) -> None:
        """Make the caller the owner of what was just made on their behalf, as the kernel would have."""
        if not self._gives_away or caller == (0, 0):
            return
        parent_st = os.fstat(dirfd)
        gid = -1 if parent_st.st_mode & stat.S_ISGID else caller.gid  # the filesystem below did that part
        before = backing.statat(dirfd, cname)
        backing.chownat(dirfd, cname, caller.uid, gid)
        if before.st_mode & _SPECIAL_BITS and not stat.S_ISLNK(before.st_mode):
            backing.chmodat(dirfd, cname, stat.S_IMODE(before.st_mode))  # chown takes the bits away

    # --- removing and renaming ----------------------------------------------------------------------------------
    def unlink(self, parent: Inode, name: bytes) -> None:
        """Remove a name of anything but a directory."""
        directory, dirfd, stored = self._existing_name(parent, name)
        self._remove(directory, dirfd, stored, backing.unlinkat)

    def rmdir(self, parent: Inode, name: bytes) -> None:
        """Remove an empty directory."""
        directory, dirfd, stored = self._existing_name(parent, name)
        self._remove(directory, dirfd, stored, self._dirs.remove)

    def _remove(self, directory: Node, dirfd: int, stored: StoredName, remove: Callable[[int, bytes], None]) -> None:
        node = self._known(directory, dirfd, stored.cname)
        if node is not None:
            self._objects.hold(node, dirfd, stored.cname)
        try:
            remove(dirfd, stored.cname)
        except BaseException:
            self._keep_name(node)
            raise
        self._lost_name(node, directory, stored.cname)
        self._dirs.drop_sidecar(dirfd, stored)

    def rename(self, parent: Inode, name: bytes, new_parent: Inode, new_name: bytes, flags: int) -> None:
        """Rename; ``flags`` as renameat2(2).

        Raises:
            OSError: EINVAL for other flags.
        """
        if flags not in _RENAME_FLAGS:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        old_dir, old_fd, old = self._existing_name(parent, name)
        new_dir, new_fd, new = self._new_name(new_parent, new_name)
        old_st = backing.statat(old_fd, old.cname)
        new_st = self._stat(new_fd, new.cname)
        link, new_link = (old_dir, old.cname), (new_dir, new.cname)
        node = self._table.find(old_st, *link)
        replaced = None if new_st is None else self._table.find(new_st, *new_link)
        if flags & backing.RENAME_EXCHANGE:
            backing.renameat2(old_fd, old.cname, new_fd, new.cname, flags)
            self._table.exchange_links(node, link, replaced, new_link)
            return
        if new_st is not None and (new_st.st_dev, new_st.st_ino) == (old_st.st_dev, old_st.st_ino):
            backing.renameat2(old_fd, old.cname, new_fd, new.cname, flags)
            return  # two names of one object: rename(2) leaves both
        if replaced is not None:
            self._objects.hold(replaced, new_fd, new.cname)
        try:
            self._make(new_fd, new, lambda: self._replace(old_fd, old.cname, new_fd, new.cname, flags))
        except BaseException:
            self._keep_name(replaced)
            raise
        self._lost_name(replaced, new_dir, new.cname)
        if node is not None:
            self._table.rename_link(node, old_dir, old.cname, new_dir, new.cname)
        if not flags & backing.RENAME_WHITEOUT:
            self._dirs.drop_sidecar(old_fd, old)

    def _replace(self, old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int) -> None:
        try:
            backing.renameat2(old_fd, old, new_fd, new, flags)
        except OSError as exc:
            # Onto an empty directory: in the cipherdir it holds an IV, so it has to go first. With plaintext names
            # there is no IV, and whatever is inside is somebody's.
            is_plain = self._volume.names.is_plaintext
            if exc.errno not in _NOT_EMPTY or flags & backing.RENAME_NOREPLACE or is_plain:
                raise
            if not stat.S_ISDIR(backing.statat(old_fd, old).st_mode):
                raise
            with self._dirs.vacated(new_fd, new):
                backing.renameat2(old_fd, old, new_fd, new, flags)

    def _existing_name(self, parent: Inode, name: bytes) -> tuple[Node, int, StoredName]:
        """Where a name is that should exist: its own encryption, or the bad name that --badname shows it for."""
        self._refuse_if_ro()
        directory = self._directory(parent)
        dirfd = self._cache.dirfd(directory)
        stored = self._dirs.encode(directory, name)
        if self._dirs.is_badname(name) and self._stat(dirfd, stored.cname) is None:
            cname, _ = self._lookup_bad(directory, dirfd, name)
            stored = stored._replace(cname=cname, long_name=None)
        return directory, dirfd, stored

    def _known(self, directory: Node, dirfd: int, cname: bytes) -> Node | None:
        """The node of an existing name, if there is one. ENOENT if the name does not exist."""
        return self._table.find(backing.statat(dirfd, cname), directory, cname)

    def _lost_name(self, node: Node | None, directory: Node, cname: bytes) -> None:
        if node is not None:
            self._cache.evict(node)
            self._table.remove_link(node, directory, cname)
            self._table.release_if_unused(node)

    def _keep_name(self, node: Node | None) -> None:
        """The opposite of ``_lost_name``: it was held for nothing."""
        if node is not None and node.links:
            self._objects.unhold(node)

    @staticmethod
    def _stat(dirfd: int, cname: bytes) -> os.stat_result | None:
        try:
            return backing.statat(dirfd, cname)
        except FileNotFoundError:
            return None

    # --- open files: see ``open_files`` --------------------------------------------------------------------------
    def open(self, inode: Inode, flags: int) -> Handle:
        """Open a regular file. O_TRUNC empties it; O_APPEND is the kernel's business."""
        return self._files.open(self._table.get(inode), flags)

    def read(self, handle: Handle, offset: int, length: int) -> bytes | memoryview:
        """Plaintext of an open file; short only at its end."""
        return self._files[handle].read(offset, length)

    def write(self, handle: Handle, offset: int, data: bytes) -> int:
        """Write all of ``data``; returns its length."""
        return self._files[handle].write(offset, data)

    def flush(self, handle: Handle) -> None:
        """One of the descriptors of an open file was closed."""
        self._files[handle].flush()

    def file_of(self, handle: Handle) -> BackingFile:
        """The open file behind a handle; the caller may ``sync`` it in another thread until it replies."""
        return self._files[handle]

    def release(self, handle: Handle) -> None:
        """The last user of a handle is gone."""
        self._files.release(handle)

    def open_backing(self, inode: Inode, *, wants_write: bool) -> int:
        """A descriptor of a backing file, the caller's, for whoever reads and writes by inode."""
        return self._files.open_backing(self._table.get(inode), wants_write=wants_write)

    # --- open directories ---------------------------------------------------------------------------------------
    def opendir(self, inode: Inode) -> Handle:
        """Open a directory for listing and fsyncdir."""
        node = self._directory(inode)
        fd = backing.openat(self._cache.dirfd(node), b".", os.O_RDONLY | os.O_DIRECTORY)
        self._table.pin(node)
        handle = Handle(next(self._handles))
        self._dir_handles[handle] = DirHandle(node, fd)
        return handle

    def entries(self, handle: Handle, *, refresh: bool) -> list[Listed]:
        """Snapshot of an open directory, without ``.`` and ``..``; taken anew when reading starts over."""
        opened = self._dir_handles[handle]
        if opened.entries is None or refresh:
            may_clean = not (self._is_shared or self._is_ro)
            opened.entries = self._dirs.entries(opened.node, opened.fd, may_clean=may_clean)
        return opened.entries

    def dot_attrs(self, handle: Handle) -> tuple[Attr, Attr]:
        """Attributes of ``.`` and ``..`` of an open directory, without a lookup."""
        node = self._dir_handles[handle].node
        above = node.links[0][0] if node.links else node
        return self._objects.attr(node, self._objects.stat(node)), self._objects.attr(above, self._objects.stat(above))

    def entry_attr(self, handle: Handle, entry: Listed) -> Attr | None:
        """Attributes of a listed entry, or None if it is gone. Counts as a lookup: see ``forget``."""
        opened = self._dir_handles[handle]
        try:
            st = backing.statat(opened.fd, entry.cname)
        except FileNotFoundError:
            return None
        return self._found(opened.node, opened.fd, entry.cname, st)

    def dir_fd_of(self, handle: Handle) -> int:
        """Readable descriptor of an open directory, for fsync in another thread."""
        return self._dir_handles[handle].fd

    def releasedir(self, handle: Handle) -> None:
        """The last user of a directory handle is gone."""
        opened = self._dir_handles.pop(handle)
        os.close(opened.fd)
        self._table.unpin(opened.node)

    # --- what a listing in C leaves to us -------------------------------------------------------------------------
    def report_hidden(self, inode: Inode, cname: bytes) -> None:
        """An entry was hidden since it can't be decrypted."""
        self._dirs.report_hidden(self._table.get(inode), cname)

    def report_no_diriv(self, inode: Inode) -> None:
        """A directory has no usable IV."""
        self._dirs.report_no_diriv(self._table.get(inode))

    def clear_leftovers(self, inode: Inode) -> None:
        """A directory has temporary names of a killed process."""
        if not self._is_ro:
            self._dirs.clear_leftovers(self._directory(inode))

    # --- extended attributes ------------------------------------------------------------------------------------
    def getxattr(self, inode: Inode, name: bytes) -> bytes:
        """Value of an attribute.

        Raises:
            OSError: ENODATA.
        """
        return self._objects.getxattr(self._table.get(inode), name)

    def setxattr(self, inode: Inode, name: bytes, value: bytes) -> None:
        """Set an attribute, whether it is there or not."""
        self._refuse_if_ro()
        self._objects.setxattr(self._table.get(inode), name, value)

    def listxattr(self, inode: Inode) -> list[bytes]:
        """Names of all attributes that can be decrypted."""
        return self._objects.listxattr(self._table.get(inode))

    def removexattr(self, inode: Inode, name: bytes) -> None:
        """Remove an attribute.

        Raises:
            OSError: ENODATA.
        """
        self._refuse_if_ro()
        self._objects.removexattr(self._table.get(inode), name)

    # --- the whole ----------------------------------------------------------------------------------------------
    def statfs(self) -> os.statvfs_result:
        """Of the filesystem below; sizes are those of the ciphertext."""
        return os.fstatvfs(self._volume.root_fd)

    def trim(self) -> None:
        """To be called between operations: closes descriptors that are too many."""
        self._cache.trim()

    @property
    def is_busy(self) -> bool:
        """Whether something is open. From any thread."""
        return bool(self._files.handles or self._dir_handles or self._tree.attached)

    def statistics(self) -> Statistics:
        """Counts for operators and tests: known inodes, lookups held by the kernel, open files, descriptors.

        From any thread.
        """
        return Statistics(
            inodes=len(self._table),
            nlookup=self._table.lookups,
            open_files=self._files.handles + self._tree.attached,
            open_dirs=len(self._dir_handles),
            dirfds=self._cache.count,
        )

    def close(self) -> None:
        """Close every descriptor, whatever the kernel still holds."""
        self._files.close()
        for handle in list(self._dir_handles):
            self.releasedir(handle)
        self._tree.close()

    # --- inside ---------------------------------------------------------------------------------------------
    def _refuse_if_ro(self) -> None:
        # The kernel refuses first, unless root has remounted rw.
        if self._is_ro:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def _directory(self, inode: Inode) -> Node:
        node = self._table.get(inode)
        if not node.is_dir:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return node

    def _found(self, directory: Node, dirfd: int, cname: bytes, st: os.stat_result) -> Attr:
        """An object was found under a name: know it, and count one lookup."""
        node = self._table.intern(st, directory, cname)
        return self._looked_up(node, st, dirfd, cname)

    def _looked_up(self, node: Node, st: os.stat_result, dirfd: int = -1, cname: bytes = b"") -> Attr:
        try:
            attr = self._objects.attr(node, st, dirfd, cname)
        except BaseException:
            self._table.release_if_unused(node)
            raise
        self._table.looked_up(node)
        return attr
