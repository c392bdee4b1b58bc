"""The pyfuse3 adapter: translates requests into calls of ``VolumeFS``, and outcomes into replies. Nothing else.

Owns: the one translation of exceptions to errno on the way to the kernel, and the one broad ``except``: a handler that
raised anything but ``FUSEError`` would end pyfuse3's loop and with it the mount.

Concurrency: pyfuse3 runs every request as a trio task. A handler never awaits, so each operation is atomic towards
the others; only fsync awaits, after it has taken what it needs, because a disk may take its time.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import stat
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeAlias, TypeVar, cast

import pyfuse3
import trio

from pcvfs.errors import AuthenticationError, FormatError
from pcvfs.fs.objects import Attr
from pcvfs.fs.volume_fs import Caller, SetAttr, VolumeFS
from pcvfs.spec import ACL_XATTRS
from pcvfs.types import Handle, Inode

if TYPE_CHECKING:
    from pcvfs.fs.options import MountOptions

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

Handler: TypeAlias = Callable[Concatenate["Operations", P], Coroutine[object, object, R]]

_DOT_ENTRIES: Final = (b".", b"..")


def to_errno(exc: Exception, operation: str) -> int:
    """The errno of a failed operation; what is not an expected outcome is logged, once and here."""
    if isinstance(exc, OSError) and exc.errno:
        return exc.errno
    if isinstance(exc, FormatError | AuthenticationError):
        return errno.EIO  # logged where the inode and the block are known
    if isinstance(exc, MemoryError):
        log.error("%s: out of memory", operation)
        return errno.ENOMEM
    log.error("%s failed unexpectedly", operation, exc_info=exc)
    return errno.EIO


def _handler(method: Callable[Concatenate[Operations, P], R]) -> Handler[P, R]:
    """Make a pyfuse3 handler of a plain method."""
    operation = method.__name__

    @functools.wraps(method)
    async def handler(self: Operations, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self.requests += 1
        try:
            try:
                return method(self, *args, **kwargs)
            finally:
                self._fs.trim()
        except Exception as exc:  # noqa: BLE001  # anything else would end the mount
            raise pyfuse3.FUSEError(to_errno(exc, operation)) from None

    return handler


class Operations(pyfuse3.Operations):
    """Handlers for one mounted volume.

    Attributes:
        requests: how many the kernel has sent; tells an idle mount from a used one.
    """

    supports_dot_lookup = False

    def __init__(self, fs: VolumeFS, options: MountOptions) -> None:
        super().__init__()
        self._fs = fs
        self._timeout_s = options.cache_timeout_s
        self._keeps_cache = options.owns_cipherdir
        self.enable_writeback_cache = options.writeback and options.owns_cipherdir and not options.ro
        self.enable_acl = options.acl
        self.requests = 0

    # --- lookup and attributes ----------------------------------------------------------------------------------
    @_handler
    def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        try:
            return self._entry(self._fs.lookup(Inode(parent_inode), name))
        except FileNotFoundError:
            if not self._timeout_s:
                raise
            absent = pyfuse3.EntryAttributes()  # inode 0: the kernel may remember that there is nothing
            absent.entry_timeout = self._timeout_s
            return absent

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for inode, count in inode_list:
            try:
                self._fs.forget(Inode(inode), count)
            except Exception:
                log.exception("forget failed unexpectedly")  # there is no reply to put an errno in

    @_handler
    def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._entry(self._fs.getattr(Inode(inode)))

    @_handler
    def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        change = SetAttr(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        changed = self._fs.setattr(Inode(inode), change)
        if change.size is not None and self._fs.drop_set_id_bits(Inode(inode), _caller(ctx)):
            changed = self._fs.getattr(Inode(inode))
        return self._entry(changed)

    @_handler
    def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        return self._fs.readlink(Inode(inode))

    @_handler
    def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        # The kernel checks mode bits itself (default_permissions) and asks only whether we object.
        self._fs.getattr(Inode(inode))
        return True

    # --- names --------------------------------------------------------------------------------------------------
    @_handler
    def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._entry(self._fs.mknod(Inode(parent_inode), name, mode, rdev, _caller(ctx)))

    @_handler
    def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._entry(self._fs.mkdir(Inode(parent_inode), name, mode, _caller(ctx)))

    @_handler
    def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._entry(self._fs.symlink(Inode(parent_inode), name, target, _caller(ctx)))

    @_handler
    def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._entry(self._fs.link(Inode(inode), Inode(new_parent_inode), new_name))

    @_handler
    def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._fs.unlink(Inode(parent_inode), name)

    @_handler
    def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._fs.rmdir(Inode(parent_inode), name)

    @_handler
    def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        self._fs.rename(Inode(parent_inode_old), name_old, Inode(parent_inode_new), name_new, flags)

    # --- files --------------------------------------------------------------------------------------------------
    @_handler
    def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        info, attr = self._create(Inode(parent_inode), name, mode, flags, _caller(ctx))
        return info, self._entry(attr)

    @_handler
    def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        handle = self._fs.open(Inode(inode), flags)
        if not flags & os.O_TRUNC:
            return self._file_info(handle)
        try:
            if self._fs.drop_set_id_bits(Inode(inode), _caller(ctx)):
                self._mode_changed(inode)
            return self._file_info(handle)
        except BaseException:
            self._fs.release(handle)
            raise

    @_handler
    def read(self, fh: int, off: int, size: int) -> bytes:
        # pyfuse3 takes any buffer, though its annotation says bytes; a view saves a copy of up to 1 MiB.
        return cast(bytes, self._fs.read(Handle(fh), off, size))

    @_handler
    def write(self, fh: int, off: int, buf: bytes) -> int:
        return self._fs.write(Handle(fh), off, buf)

    @_handler
    def flush(self, fh: int) -> None:
        self._fs.flush(Handle(fh))

    @_handler
    def release(self, fh: int) -> None:
        self._fs.release(Handle(fh))

    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._in_thread("fsync", lambda: functools.partial(self._fs.file_of(Handle(fh)).sync, data_only=datasync))

    # --- directories --------------------------------------------------------------------------------------------
    @_handler
    def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        return self._fs.opendir(Inode(inode))

    @_handler
    def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        handle = Handle(fh)
        entries = self._fs.entries(handle, refresh=start_id == 0)
        if start_id < len(_DOT_ENTRIES):
            dots = zip(_DOT_ENTRIES, self._fs.dot_attrs(handle), strict=True)
            for next_id, (name, attr) in list(enumerate(dots, 1))[start_id:]:
                if not pyfuse3.readdir_reply(token, name, self._entry(attr), next_id):
                    return
        first = max(start_id - len(_DOT_ENTRIES), 0)
        for index in range(first, len(entries)):
            try:
                found = self._fs.entry_attr(handle, entries[index])
            except OSError:
                if index == first:
                    raise
                return  # what is in the reply counts as looked up, so it must be sent; the error comes with the next
            if found is None:
                continue
            next_id = index + len(_DOT_ENTRIES) + 1
            if not pyfuse3.readdir_reply(token, entries[index].name, self._entry(found), next_id):
                self._fs.forget(found.inode, 1)  # did not fit, so the kernel does not know of it
                return

    @_handler
    def releasedir(self, fh: int) -> None:
        self._fs.releasedir(Handle(fh))

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self._in_thread("fsyncdir", lambda: functools.partial(os.fsync, self._fs.dir_fd_of(Handle(fh))))

    # --- extended attributes ------------------------------------------------------------------------------------
    @_handler
    def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        return self._fs.getxattr(Inode(inode), name)

    @_handler
    def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._fs.setxattr(Inode(inode), name, value)
        self._acl_changed(inode, name)

    @_handler
    def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        return self._fs.listxattr(Inode(inode))

    @_handler
    def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._fs.removexattr(Inode(inode), name)
        self._acl_changed(inode, name)

    def _acl_changed(self, inode: int, name: bytes) -> None:
        """An ACL changes mode bits."""
        if name in ACL_XATTRS:
            self._mode_changed(inode)

    def _mode_changed(self, inode: int) -> None:
        """The kernel holds mode bits for long and does not know that it has to look at them again."""
        if self._timeout_s:
            try:
                pyfuse3.invalidate_inode(inode, attr_only=True)
            except OSError as exc:
                log.debug("attributes of inode %d not invalidated: %s", inode, exc.strerror)

    # --- the whole ----------------------------------------------------------------------------------------------
    @_handler
    def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        backing = self._fs.statfs()
        stats = pyfuse3.StatvfsData()
        stats.f_bsize = backing.f_bsize
        stats.f_frsize = backing.f_frsize
        stats.f_blocks = backing.f_blocks
        stats.f_bfree = backing.f_bfree
        stats.f_bavail = backing.f_bavail
        stats.f_files = backing.f_files
        stats.f_ffree = backing.f_ffree
        stats.f_favail = backing.f_favail
        stats.f_namemax = backing.f_namemax
        return stats

    # --- inside -------------------------------------------------------------------------------------------------
    async def _in_thread(self, operation: str, prepare: Callable[[], Callable[[], None]]) -> None:
        """Run what ``prepare`` returns in a thread."""
        self.requests += 1
        try:
            await trio.to_thread.run_sync(prepare())
        except Exception as exc:  # noqa: BLE001  # anything else would end the mount
            raise pyfuse3.FUSEError(to_errno(exc, operation)) from None

    def _create(
        self, parent: Inode, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[pyfuse3.FileInfo, Attr]:
        handle, attr = self._fs.create(parent, name, mode, flags, caller)
        return self._file_info(handle), attr

    def _file_info(self, handle: Handle) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=handle, keep_cache=self._keeps_cache)

    def _entry(self, attr: Attr) -> pyfuse3.EntryAttributes:
        st = attr.st
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = attr.inode
        entry.generation = 0
        entry.entry_timeout = entry.attr_timeout = self._timeout_s
        entry.st_mode = st.st_mode
        entry.st_nlink = st.st_nlink
        entry.st_uid = attr.uid
        entry.st_gid = attr.gid
        entry.st_rdev = st.st_rdev
        entry.st_size = attr.size
        entry.st_blksize = st.st_blksize
        entry.st_blocks = st.st_blocks
        if st.st_blocks == 0 and stat.S_ISREG(st.st_mode):
            entry.st_blocks = 1  # its content may be with the kernel: it must not look like one hole to who copies it
        entry.st_atime_ns = st.st_atime_ns
        entry.st_mtime_ns = st.st_mtime_ns
        entry.st_ctime_ns = st.st_ctime_ns
        return entry


def _caller(ctx: pyfuse3.RequestContext) -> Caller:
    return Caller(ctx.uid, ctx.gid)
