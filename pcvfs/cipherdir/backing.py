"""Every system call that pcvfs makes on a cipherdir.

Owns: directory descriptors, ciphertext names, ``O_NOFOLLOW``. Knows nothing of keys, plaintext names or FUSE.

A name is always relative to a directory descriptor and never followed if it is a symlink, so nothing that is done to
the cipherdir while we work leads out of it. Names are ``bytes`` without ``/``. Descriptors are close-on-exec (Python's
default) and belong to the caller. Errors are plain ``OSError``; a file whose content the format forbids is
``FormatError``. Calls that durable files are made of too have their home in ``pcvfs.durable``.

Concurrency: stateless, safe from any thread. Reads and writes are positional, and listings open a description of
their own, so no call depends on a file offset that another one moves. These functions are the metadata path of a
mounted volume: plain functions, and bare aliases where Python's own call already has the right meaning.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
import struct
from collections.abc import Iterator
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from pcvfs import native
from pcvfs.durable import RENAME_NOREPLACE as RENAME_NOREPLACE
from pcvfs.durable import fsync_if_supported as fsync_if_supported
from pcvfs.durable import linkat as linkat
from pcvfs.durable import openat as openat
from pcvfs.durable import pwrite_full as pwrite_full
from pcvfs.durable import renameat2 as renameat2
from pcvfs.durable import unlink_quietly as unlink_quietly
from pcvfs.durable import unlinkat as unlinkat
from pcvfs.errors import FormatError
from pcvfs.format.names import decode_diriv
from pcvfs.spec import DIRIV_MODE, DIRIV_NAME, DIRIV_SIZE, LONG_NAME_FILE_MAX, LONG_NAME_MODE
from pcvfs.types import DirIV

Buffer: TypeAlias = bytes | bytearray | memoryview

RENAME_EXCHANGE: Final = 2
RENAME_WHITEOUT: Final = 4

XATTR_CREATE: Final = os.XATTR_CREATE
XATTR_REPLACE: Final = os.XATTR_REPLACE

_FALLOC_FL_KEEP_SIZE: Final = 1
_FS_IOC_GETFLAGS: Final = 0x80086601 if struct.calcsize("P") == 8 else 0x80046601
_FS_NOCOW_FL: Final = 0x00800000


class DirEntry(NamedTuple):
    """One entry of a listing. ``type_bits`` is ``S_IFMT`` of its mode, 0 if the filesystem below does not tell."""

    cname: bytes
    st_ino: int
    type_bits: int


# --- calls on an open descriptor --------------------------------------------------------------------------------
close = os.close
fstat = os.fstat
fstatvfs = os.fstatvfs
ftruncate = os.ftruncate
fsync = os.fsync
fdatasync = os.fdatasync
fchmod = os.fchmod
fchown = os.fchown


def fd_path(fd: int) -> bytes:
    """The magic link of a descriptor: leads to its object, also for ``O_PATH`` and after a rename. Needs /proc."""
    return b"/proc/self/fd/%d" % fd


def pread_full(fd: int, length: int, offset: int) -> bytes:
    """Read ``length`` bytes at ``offset``; fewer only at the end of the file."""
    data = os.pread(fd, length, offset)
    got = len(data)
    if got == length or not got:
        return data
    parts = [data]
    while got < length:
        data = os.pread(fd, length - got, offset + got)
        if not data:
            break
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def pread_into(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill a byte buffer from ``offset``; returns the bytes read, fewer than it holds only at the end of the file."""
    size = len(buffer)
    got = os.preadv(fd, [buffer], offset)
    while 0 < got < size:
        count = os.preadv(fd, [buffer[got:]], offset + got)
        if not count:
            break
        got += count
    return got


def fallocate_keep_size(fd: int, offset: int, length: int) -> None:
    """Reserve space without changing the size. EOPNOTSUPP where the filesystem can't."""
    native.fallocate(fd, _FALLOC_FL_KEEP_SIZE, offset, length)


def seek_data(fd: int, offset: int) -> int | None:
    """Offset of the first byte at or after ``offset`` that is not in a hole; None if only holes follow."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as exc:
        if exc.errno == errno.ENXIO:
            return None
        raise


def seek_hole(fd: int, offset: int) -> int | None:
    """Offset of the first hole at or after ``offset`` (the end of the file counts as one); None at or past the end."""
    try:
        return os.lseek(fd, offset, os.SEEK_HOLE)
    except OSError as exc:
        if exc.errno == errno.ENXIO:
            return None
        raise


def chmod_fd(fd: int, mode: int) -> None:
    """fchmod that also takes an ``O_PATH`` descriptor."""
    os.chmod(fd_path(fd), mode)


def futimens(fd: int, atime_ns: int | None, mtime_ns: int | None) -> None:
    """Set times in ns; None leaves that one alone. Takes an ``O_PATH`` descriptor."""
    if atime_ns is not None and mtime_ns is not None:
        os.utime(fd_path(fd), ns=(atime_ns, mtime_ns))
    else:
        native.utimensat(-1, fd_path(fd), atime_ns, mtime_ns, follow=True)


def fgetxattr(fd: int, name: bytes) -> bytes:
    """Value of an attribute of an open object (``O_PATH`` too)."""
    return os.getxattr(fd_path(fd), name)


def fsetxattr(fd: int, name: bytes, value: Buffer, flags: int = 0) -> None:
    """Set an attribute of an open object. ``flags``: 0, XATTR_CREATE or XATTR_REPLACE."""
    os.setxattr(fd_path(fd), name, value, flags)


def flistxattr(fd: int) -> list[bytes]:
    """Attribute names of an open object."""
    return [os.fsencode(name) for name in os.listxattr(fd_path(fd))]


def fremovexattr(fd: int, name: bytes) -> None:
    """Remove an attribute of an open object."""
    os.removexattr(fd_path(fd), name)


# --- opening ----------------------------------------------------------------------------------------------------
def open_root(path: bytes) -> int:
    """Open the cipherdir itself. The one place where a symlink is followed."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def open_dir(dirfd: int, cname: bytes) -> int:
    """Open a directory; as ``O_PATH`` if it may not be read, which still serves as a dirfd."""
    try:
        return os.open(cname, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dirfd)
    except PermissionError:
        return os.open(cname, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dirfd)


def open_path(dirfd: int, cname: bytes) -> int:
    """Open an object of any type as a mere reference (``O_PATH``), a symlink itself included."""
    return os.open(cname, os.O_PATH | os.O_NOFOLLOW, dir_fd=dirfd)


def reopen(fd: int, flags: int) -> int:
    """Open the same object anew, with other flags, whatever its name is by now. Fails on symlinks (ELOOP)."""
    return os.open(fd_path(fd), flags)


def read_path(path: bytes, limit: int) -> bytes:
    """Content of a file named by the user, symlinks followed; at most ``limit`` + 1 bytes, so that a longer one shows.

    Also takes the pipe of a shell's ``<(...)``. Opened without blocking, so a fifo that nobody writes to is empty.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.set_blocking(fd, True)
        parts: list[bytes] = []
        wanted = limit + 1
        while wanted and (data := os.read(fd, wanted)):
            parts.append(data)
            wanted -= len(data)
        return b"".join(parts)
    finally:
        os.close(fd)


def reopen_despite_mode(fd: int, flags: int) -> int:
    """As ``reopen``, for a file of ours whose mode forbids it (0200, say): the mode gives way for a moment.

    Writing part of a block needs reading it. Root needs no such help.

    Raises:
        PermissionError: it is not the owner's bits that are in the way.
    """
    mode = stat.S_IMODE(fstat(fd).st_mode)
    if os.geteuid() == 0 or mode & 0o600 == 0o600:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    chmod_fd(fd, mode | 0o600)
    try:
        return reopen(fd, flags)
    finally:
        chmod_fd(fd, mode)


# --- calls on a name --------------------------------------------------------------------------------------------
def exists(dirfd: int, cname: bytes) -> bool:
    """Whether there is an entry of that name, of any type."""
    try:
        statat(dirfd, cname)
    except FileNotFoundError:
        return False
    return True


def statat(dirfd: int, cname: bytes) -> os.stat_result:
    """fstatat(2), not following."""
    return os.stat(cname, dir_fd=dirfd, follow_symlinks=False)


def mkdirat(dirfd: int, cname: bytes, mode: int) -> None:
    """mkdirat(2)."""
    os.mkdir(cname, mode, dir_fd=dirfd)


def rmdirat(dirfd: int, cname: bytes) -> None:
    """unlinkat(2) with AT_REMOVEDIR."""
    os.rmdir(cname, dir_fd=dirfd)


def link_fd(fd: int, new_dirfd: int, new: bytes) -> None:
    """Give an open object (``O_PATH`` too, symlinks too) another name. ENOENT once its last name is gone."""
    os.link(fd_path(fd), new, dst_dir_fd=new_dirfd, follow_symlinks=True)


def symlinkat(target: bytes, dirfd: int, cname: bytes) -> None:
    """symlinkat(2); ``target`` as stored, that is encrypted."""
    os.symlink(target, cname, dir_fd=dirfd)


def readlinkat(dirfd: int, cname: bytes) -> bytes:
    """readlinkat(2): the stored target."""
    return os.readlink(cname, dir_fd=dirfd)


def mknodat(dirfd: int, cname: bytes, mode: int, rdev: int = 0) -> None:
    """mknodat(2); ``mode`` with the type bits."""
    os.mknod(cname, mode, rdev, dir_fd=dirfd)


def chmodat(dirfd: int, cname: bytes, mode: int) -> None:
    """Change the mode of anything but a symlink (EOPNOTSUPP).

    Linux' fchmodat follows symlinks, so the object is opened as ``O_PATH`` and changed through that.
    """
    fd = open_path(dirfd, cname)
    try:
        if stat.S_ISLNK(fstat(fd).st_mode):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        chmod_fd(fd, mode)
    finally:
        os.close(fd)


def chownat(dirfd: int, cname: bytes, uid: int, gid: int) -> None:
    """fchownat(2), not following; -1 leaves that one alone."""
    os.chown(cname, uid, gid, dir_fd=dirfd, follow_symlinks=False)


def utimensat(dirfd: int, cname: bytes, atime_ns: int | None, mtime_ns: int | None) -> None:
    """utimensat(2), not following, in ns; None leaves that one alone."""
    if atime_ns is not None and mtime_ns is not None:
        os.utime(cname, ns=(atime_ns, mtime_ns), dir_fd=dirfd, follow_symlinks=False)
    else:
        native.utimensat(dirfd, cname, atime_ns, mtime_ns, follow=False)


def getxattrat(dirfd: int, cname: bytes, name: bytes) -> bytes:
    """Value of an attribute, not following. ENODATA if it is not there."""
    return os.getxattr(b"/proc/self/fd/%d/%s" % (dirfd, cname), name, follow_symlinks=False)


def setxattrat(dirfd: int, cname: bytes, name: bytes, value: Buffer, flags: int = 0) -> None:
    """Set an attribute, not following. ``flags``: 0, XATTR_CREATE or XATTR_REPLACE."""
    os.setxattr(b"/proc/self/fd/%d/%s" % (dirfd, cname), name, value, flags, follow_symlinks=False)


def listxattrat(dirfd: int, cname: bytes) -> list[bytes]:
    """Attribute names as stored, not following."""
    path = b"/proc/self/fd/%d/%s" % (dirfd, cname)
    return [os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False)]


def removexattrat(dirfd: int, cname: bytes, name: bytes) -> None:
    """Remove an attribute, not following. ENODATA if it is not there."""
    os.removexattr(b"/proc/self/fd/%d/%s" % (dirfd, cname), name, follow_symlinks=False)


def fsyncat(dirfd: int, cname: bytes) -> None:
    """fsync a file or directory that is not open, e.g. a sidecar written without one."""
    fd = openat(dirfd, cname, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fsync_if_supported(fd)
    finally:
        os.close(fd)


# --- directories ------------------------------------------------------------------------------------------------
def listdir(dirfd: int) -> list[bytes]:
    """All names but ``.`` and ``..``, in the order of the filesystem below.

    Through /proc, because that gives bytes and an offset of its own: listing ``dirfd`` itself would share one offset
    between threads, and decode and encode every name.
    """
    return os.listdir(fd_path(dirfd))


def scandir(dirfd: int) -> list[DirEntry]:
    """All entries with inode number and type, without a stat for each."""
    with os.scandir(fd_path(dirfd)) as entries:
        return [DirEntry(entry.name, entry.inode(), _type_bits(entry)) for entry in entries]


def listdir_batches(dirfd: int, size: int) -> Iterator[list[bytes]]:
    """As ``listdir``, at most ``size`` names at a time, so that a huge directory takes no memory."""
    with os.scandir(fd_path(dirfd)) as entries:
        while batch := [entry.name for entry in itertools.islice(entries, size)]:
            yield batch


def _type_bits(entry: os.DirEntry[bytes]) -> int:
    """S_IFMT bits from d_type; 0 for the rare ones (fifo, socket, device, unknown), which need a stat."""
    try:
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        if entry.is_symlink():
            return stat.S_IFLNK
    except OSError:  # no d_type, and the entry vanished before the stat
        pass
    return 0


# --- small files of the format ----------------------------------------------------------------------------------
def read_small_file(dirfd: int, cname: bytes, limit: int) -> bytes:
    """Content of a file, at most ``limit`` + 1 bytes, so that a longer one shows.

    A fifo or device planted under the name neither blocks us nor is read.

    Raises:
        FormatError: not a regular file.
    """
    fd = openat(dirfd, cname, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FormatError(f"{os.fsdecode(cname)} is not a regular file")
        return pread_full(fd, limit + 1, 0)
    finally:
        os.close(fd)


def create_small_file(dirfd: int, cname: bytes, data: Buffer, mode: int) -> None:
    """Create a file with that content (O_EXCL), or leave nothing behind. Not synced.

    The mode is exact, whatever the umask.
    """
    fd = openat(dirfd, cname, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            fchmod(fd, mode)
            pwrite_full(fd, data, 0)
        finally:
            os.close(fd)
    except BaseException:
        unlink_quietly(dirfd, cname)
        raise


def read_diriv(dirfd: int) -> DirIV:
    """The IV of a directory.

    Raises:
        FormatError: not exactly 16 bytes, or all zero.
        FileNotFoundError: the directory has none.
    """
    return decode_diriv(read_small_file(dirfd, DIRIV_NAME, DIRIV_SIZE))


def create_diriv(dirfd: int, diriv: DirIV) -> None:
    """Give a new directory its IV (O_EXCL). Not synced: see ``fsyncat``."""
    create_small_file(dirfd, DIRIV_NAME, diriv, DIRIV_MODE)


def read_long_name(dirfd: int, sidecar: bytes) -> bytes:
    """The full encrypted name that a ``.name`` sidecar holds.

    Raises:
        FormatError: empty, or longer than any name (344 bytes).
    """
    full_cname = read_small_file(dirfd, sidecar, LONG_NAME_FILE_MAX)
    if not full_cname or len(full_cname) > LONG_NAME_FILE_MAX:
        raise FormatError(f"{os.fsdecode(sidecar)} is empty or too long")
    return full_cname


def write_long_name(dirfd: int, sidecar: bytes, full_cname: bytes) -> None:
    """Create a ``.name`` sidecar (O_EXCL). Not synced: see ``fsyncat``."""
    create_small_file(dirfd, sidecar, full_cname, LONG_NAME_MODE)


# --- what the filesystem below is -------------------------------------------------------------------------------
def fs_type(fd: int) -> str:
    """Type of the filesystem that holds an open object, as in /proc/self/mountinfo; "" if it can't be told."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as info, open("/proc/self/mountinfo", "rb") as table:
            fdinfo, mountinfo = info.read(), table.read()
    except OSError:
        return ""
    mount_id = fdinfo.partition(b"mnt_id:")[2].partition(b"\n")[0].strip()
    for line in mountinfo.splitlines():
        if line.startswith(mount_id + b" "):
            return os.fsdecode(line.partition(b" - ")[2].split(b" ", 1)[0])
    return ""


class Prealloc(Enum):
    """Which space to reserve before a write, so that running out of it is found out before anything changed."""

    OFF = 0
    NEW = 1  # only behind the end: overwriting takes new space anyway
    ALL = 2


def useful_prealloc(fd: int) -> Prealloc:
    """What the filesystem below makes of a reservation.

    btrfs copies on write, so a reserved extent serves the first write only, unless copying is off (``chattr +C``) for
    this directory. And it must be reserved: over its quota, btrfs refuses even to cut the file back.
    """
    if fs_type(fd) != "btrfs":
        return Prealloc.ALL
    try:
        flags = fcntl.ioctl(fd, _FS_IOC_GETFLAGS, struct.pack("l", 0))
    except OSError:
        return Prealloc.NEW
    return Prealloc.ALL if struct.unpack("l", flags)[0] & _FS_NOCOW_FL else Prealloc.NEW


def try_lock(fd: int, *, shared: bool) -> bool:
    """Take an advisory lock (flock) without waiting; held until the last copy of the descriptor is closed.

    Returns:
        False if another holder is in the way.

    Raises:
        OSError: the filesystem below has no such locks.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
