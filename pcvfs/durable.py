"""Files that are there whole or not at all, whatever happens in between.

Owns: the one way in which this project replaces a file that must survive a crash, and the few system calls that it is
made of. A name is always relative to a directory descriptor and never followed if it is a symlink. Knows nothing of
what is in the files.

Concurrency: stateless, safe from any thread. Two writers of one file exclude each other elsewhere; here the second one
fails, because the temporary file of the first is in its way.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final, TypeAlias

from pcvfs import native

Buffer: TypeAlias = bytes | bytearray | memoryview

RENAME_NOREPLACE: Final = 1

_FSYNC_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_NOREPLACE_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS})

mkdir = os.mkdir
fsync = os.fsync
fchmod = os.fchmod
fchown = os.fchown


def write_file_durably(
    dirfd: int,
    name: bytes,
    data: Buffer,
    mode: int,
    *,
    tmp: bytes,
    replace: bool = True,
    owner: tuple[int, int] | None = None,
) -> None:
    """Put ``data`` under ``name`` so that after a crash at any moment there is the old file, or the new one whole.

    Temporary file (O_EXCL), fsync, rename, fsync of the directory. When it raises, the temporary file is gone, and
    the old file is in place unless it was the last step that failed.

    Args:
        tmp: name of the temporary file in the same directory.
        replace: False: an existing ``name`` is an error.
        owner: (uid, gid) of the new file, if not us.

    Raises:
        FileExistsError: ``tmp`` exists, or ``name`` does and ``replace`` is False.
        OSError: ENOSPC, EIO, ...
    """
    fd = openat(dirfd, tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            if owner is not None:
                fchown(fd, *owner)
            fchmod(fd, mode)
            pwrite_full(fd, data, 0)
            fsync_if_supported(fd)
        finally:
            os.close(fd)
        if replace:
            renameat2(dirfd, tmp, dirfd, name)
        else:
            _rename_noreplace(dirfd, tmp, name)
    except BaseException:
        unlink_quietly(dirfd, tmp)
        raise
    fsync_if_supported(dirfd)


def _rename_noreplace(dirfd: int, old: bytes, new: bytes) -> None:
    """Rename that fails if ``new`` exists; by link and unlink where the filesystem can't."""
    try:
        renameat2(dirfd, old, dirfd, new, RENAME_NOREPLACE)
    except OSError as exc:
        if exc.errno not in _NOREPLACE_UNSUPPORTED:
            raise
        linkat(dirfd, old, dirfd, new)
        unlinkat(dirfd, old)


def make_directory_durably(path: bytes, mode: int) -> None:
    """Create a directory, and sync the one around it. FileExistsError if there is something of that name."""
    mkdir(path, mode)
    parent = os.open(os.path.dirname(path) or b".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync_if_supported(parent)
    finally:
        os.close(parent)


# --- the calls it is made of -------------------------------------------------------------------------------------
def pwrite_full(fd: int, data: Buffer, offset: int) -> None:
    """Write all of ``data`` at ``offset``.

    Raises:
        OSError: a part may have been written already; what to undo is the caller's to know.
    """
    written = os.pwrite(fd, data, offset)
    length = len(data)
    if written == length:
        return
    rest = memoryview(data)
    while written < length:
        count = os.pwrite(fd, rest[written:], offset + written)
        if count == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += count


def fsync_if_supported(fd: int) -> None:
    """fsync, or sync everything where the filesystem below has no fsync for such a descriptor.

    Raises:
        OSError: the data may not be on disk. Trying again proves nothing: Linux drops the failed pages.
    """
    try:
        fsync(fd)
    except OSError as exc:
        if exc.errno not in _FSYNC_UNSUPPORTED:
            raise
        os.sync()


def openat(dirfd: int, name: bytes, flags: int, mode: int = 0) -> int:
    """openat(2) with O_NOFOLLOW and O_CLOEXEC. A symlink is ELOOP."""
    return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=dirfd)


def unlinkat(dirfd: int, name: bytes) -> None:
    """unlinkat(2)."""
    os.unlink(name, dir_fd=dirfd)


def unlink_quietly(dirfd: int, name: bytes) -> None:
    """Remove a file while cleaning up after an error, which is the one worth telling."""
    with contextlib.suppress(OSError):
        unlinkat(dirfd, name)


def renameat2(old_dirfd: int, old: bytes, new_dirfd: int, new: bytes, flags: int = 0) -> None:
    """renameat2(2). ``flags``: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT."""
    if flags:
        native.renameat2(old_dirfd, old, new_dirfd, new, flags)
    else:
        os.rename(old, new, src_dir_fd=old_dirfd, dst_dir_fd=new_dirfd)


def linkat(old_dirfd: int, old: bytes, new_dirfd: int, new: bytes) -> None:
    """linkat(2); a symlink is linked itself."""
    os.link(old, new, src_dir_fd=old_dirfd, dst_dir_fd=new_dirfd, follow_symlinks=False)
