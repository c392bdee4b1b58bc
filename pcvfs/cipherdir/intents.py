"""The write in progress, so that killing the process in the middle of it harms nothing.

The kernel stops a large write(2) between two pages when its process gets SIGKILL. In a cipherdir that leaves half a
block, which does not decrypt. So before ciphertext goes to its place it is copied, with its place, into a slot in
memory that outlives the process (a shared mapping of a file); the next mount finds the slot in use and repeats the
write. Replaying writes the same ciphertext to the same place: it can be repeated, and it never encrypts anything.

This is about the end of a process, not of power: the file lies in the runtime directory (tmpfs), nothing is synced,
and a slot from before the last boot is ignored. Only the single owner of a cipherdir may have one.

The file has a few slots of one size, so that threads need not wait for each other. A slot, in the machine's byte
order, at fixed offsets (native/pcv_intent.c writes it):

    0  u64  1 while a write is in progress; the last thing that ``begin`` stores
    8  16s  boot id
    24 u64  st_dev, 32 u64 st_ino of the cipherdir
    40 u64  st_dev, 48 u64 st_ino of the file
    56 u64  offset of the write
    64 u64  length of the write
    72 i64  size to cut the file to afterwards, or -1
    80 u64  when it began, ns since 1970
    88 16s  file id in the header of the file
    104 u16 length of the path
    106     path relative to the cipherdir, ciphertext names; a hint, the file may have been renamed since
    8192    the bytes

Concurrency: ``begin`` and ``end`` are for one thread; the block lane has its own way to the same slots, in C.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import stat
import struct
from typing import Final, NamedTuple

from pcvfs import native
from pcvfs.cipherdir import backing
from pcvfs.errors import VolumeError
from pcvfs.format.blocks import OFFSET_MAX
from pcvfs.native.files import INTENT_HEAD_SIZE, INTENT_SLOT_SIZE, INTENT_SLOTS, Intents
from pcvfs.spec import FILE_ID_SIZE, HEADER_SIZE, HEADER_VERSION_SIZE

log = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("=Q16sQQQQQQqQ16sH")
_DATA_MAX: Final = INTENT_SLOT_SIZE - INTENT_HEAD_SIZE
_PATH_MAX: Final = INTENT_HEAD_SIZE - _HEAD.size
_AREA_SIZE: Final = INTENT_SLOTS * INTENT_SLOT_SIZE
_SLOT_STARTS: Final = range(0, _AREA_SIZE, INTENT_SLOT_SIZE)
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_IDLE: Final = bytes(8)
_LONGEST_WRITE_NS: Final = 60 * 1_000_000_000  # a file changed later than that was changed by somebody else


class _Pending(NamedTuple):
    """A write that was begun and not ended."""

    path: bytes
    backing_id: tuple[int, int]  # st_dev, st_ino
    offset: int
    data: bytes
    final_size: int  # -1: leave it
    begun_ns: int
    file_id: bytes


class IntentLog:
    """The slot of one cipherdir, for as long as a mount owns it.

    Args:
        root_fd: the cipherdir, locked by this process.
        directory: where slots lie; None is the runtime directory of this user.

    Raises:
        VolumeError: no place for the slot, or what is there is not ours.
    """

    def __init__(self, root_fd: int, *, directory: str | os.PathLike[str] | None = None) -> None:
        self._path = _slot_path(root_fd, _runtime_directory() if directory is None else os.fspath(directory))
        self._root = _identity(os.fstat(root_fd))
        self._boot_id = _boot_id()
        self._fd = _open_slot(self._path)
        try:
            # Allocated now: a page that can't be had later would kill us where others get ENOSPC.
            os.posix_fallocate(self._fd, 0, _AREA_SIZE)
            self._map = mmap.mmap(self._fd, _AREA_SIZE)
        except OSError as exc:
            os.close(self._fd)
            raise VolumeError(f"{self._path} has no room: {exc.strerror}") from exc
        self.slots = Intents(self._map, self._boot_id, self._root)
        self._slot = -1

    def begin(
        self,
        path: bytes,
        file_st: os.stat_result,
        file_id: bytes,
        offset: int,
        data: bytes,
        final_size: int | None,
    ) -> None:
        """Note what is about to be written. Returns only after all of it is noted.

        Args:
            path: of the file, relative to the cipherdir, in ciphertext.
            file_id: of the file, 16 bytes.
            offset: in the backing file.
            data: more than a sealed request of 1 MiB is not noted.
            final_size: what the file is cut to after the write, if it is.
        """
        self._slot = self.slots.begin(path, _identity(file_st), file_id, offset, data, final_size)

    def end(self) -> None:
        """The write is done, or has failed and was undone."""
        self.slots.end(self._slot)
        self._slot = -1

    def replay(self, root_fd: int) -> int:
        """Finish the writes that a killed process left unfinished; returns how many there were.

        Raises:
            OSError: one could not be finished; its slot is kept.
        """
        replayed = 0
        for start in _SLOT_STARTS:
            pending = self._pending(start)
            if pending is not None:
                replayed += _repeat(root_fd, pending)
            self._map[start : start + len(_IDLE)] = _IDLE
        return replayed

    def close(self) -> None:
        """Remove the slot. Only once nothing is in progress."""
        if self._fd >= 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            self.slots.release()
            self._map.close()
            os.close(self._fd)
            self._fd = -1

    def _pending(self, start: int) -> _Pending | None:
        state, boot_id, *ids, offset, length, final_size, begun_ns, file_id, path_size = _HEAD.unpack_from(
            self._map, start
        )
        root, backing_id = tuple(ids[:2]), (ids[2], ids[3])
        is_ours = state == 1 and boot_id == self._boot_id and root == self._root
        end = offset + length
        is_sane = path_size <= _PATH_MAX and length <= _DATA_MAX and end <= OFFSET_MAX and final_size in (-1, end)
        if not is_ours or not is_sane:
            return None
        path_at, data_at = start + _HEAD.size, start + INTENT_HEAD_SIZE
        path, data = self._map[path_at : path_at + path_size], self._map[data_at : data_at + length]
        return _Pending(path, backing_id, offset, data, final_size, begun_ns, file_id)


def _repeat(root_fd: int, pending: _Pending) -> bool:
    """Write once more what was being written; False if the file is gone, and the write with it."""
    fd = _open_file(root_fd, pending)
    if fd is None:
        log.warning("the file of an interrupted write is gone")
        return False
    try:
        if not _is_as_it_was(fd, pending):
            log.warning("the file of an interrupted write was changed since by somebody else; it stays as it is")
            return False
        backing.pwrite_full(fd, pending.data, pending.offset)
        if pending.final_size >= 0:
            os.ftruncate(fd, pending.final_size)
    finally:
        os.close(fd)
    log.warning("finished a write of %d bytes that a killed mount had begun", len(pending.data))
    return True


def _is_as_it_was(fd: int, pending: _Pending) -> bool:
    """Whether nobody but the killed mount can have written to a file since: not gocryptfs, nor a new file's owner."""
    if os.fstat(fd).st_mtime_ns > pending.begun_ns + _LONGEST_WRITE_NS:
        return False
    header = backing.pread_full(fd, HEADER_SIZE, 0)
    return len(header) < HEADER_SIZE or header[HEADER_VERSION_SIZE:] in (pending.file_id, bytes(FILE_ID_SIZE))


def has_pending_write(root_fd: int) -> bool:
    """Whether a killed mount left a write for the next mount to finish. For ``fsck``; reads only."""
    try:
        with open(_slot_path(root_fd, _runtime_directory(create=False)), "rb") as file:
            area = file.read()
    except (OSError, VolumeError):
        return False
    boot_id, root = _boot_id(), _identity(os.fstat(root_fd))
    for start in _SLOT_STARTS:
        if start + _HEAD.size <= len(area):
            state, slot_boot_id, root_dev, root_ino, *_ = _HEAD.unpack_from(area, start)
            if state == 1 and slot_boot_id == boot_id and (root_dev, root_ino) == root:
                return True
    return False


def _open_file(root_fd: int, pending: _Pending) -> int | None:
    """The file of a pending write: where it was when it was opened, or wherever it is by now."""
    path_fd = _find_by_path(root_fd, pending)
    if path_fd is None:
        path_fd = _find_by_identity(root_fd, pending.backing_id)
    if path_fd is None:
        return None
    try:
        try:
            return backing.reopen(path_fd, os.O_RDWR)
        except PermissionError:
            return backing.reopen_despite_mode(path_fd, os.O_RDWR)
    finally:
        os.close(path_fd)


def _find_by_path(root_fd: int, pending: _Pending) -> int | None:
    *parents, last = pending.path.split(b"/")
    if b"\0" in pending.path or not {b"", b".", b".."}.isdisjoint([*parents, last]):
        return None
    try:
        dirfd = _open_chain(root_fd, parents)
        try:
            path_fd = backing.open_path(dirfd, last)
        finally:
            os.close(dirfd)
    except OSError:
        return None
    if _identity(os.fstat(path_fd)) == pending.backing_id:
        return path_fd
    os.close(path_fd)
    return None


def _find_by_identity(root_fd: int, file_id: tuple[int, int]) -> int | None:
    """Walk the whole cipherdir: slow, but only after a kill, and only if the file was renamed while it was open."""
    pending: list[list[bytes]] = [[]]
    while pending:
        parents = pending.pop()
        dirfd = _open_chain(root_fd, parents)
        try:
            for entry in backing.scandir(dirfd):
                if entry.type_bits == stat.S_IFDIR:
                    pending.append([*parents, entry.cname])
                elif entry.st_ino == file_id[1] and _identity(backing.statat(dirfd, entry.cname)) == file_id:
                    return backing.open_path(dirfd, entry.cname)
        finally:
            os.close(dirfd)
    return None


def _open_chain(root_fd: int, cnames: list[bytes]) -> int:
    dirfd = os.dup(root_fd)
    for cname in cnames:
        try:
            below = backing.open_dir(dirfd, cname)
        finally:
            os.close(dirfd)
        dirfd = below
    return dirfd


def _identity(st: os.stat_result) -> tuple[int, int]:
    return st.st_dev, st.st_ino


def _boot_id() -> bytes:
    with open(_BOOT_ID, "rb") as file:
        return bytes.fromhex(file.read().decode().strip().replace("-", ""))


def _slot_path(root_fd: int, directory: str) -> str:
    """One slot per cipherdir, named by its identity."""
    st_dev, st_ino = _identity(os.fstat(root_fd))
    return f"{directory}/write-{native.sha256(b'%d:%d' % (st_dev, st_ino)).hex()[:32]}"


def _runtime_directory(*, create: bool = True) -> str:
    """A directory of this user alone that outlives processes and, preferably, not a reboot.

    Raises:
        VolumeError: none of the usual places is there and ours.
    """
    uid = os.geteuid()
    base = "/run" if uid == 0 else os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    candidates = [f"{base}/pcvfs", f"/dev/shm/pcvfs-{uid}"]  # noqa: S108  # checked below
    # Memory first: on a disk every write would sooner or later be written once more.
    for directory in sorted(candidates, key=lambda path: not _is_tmpfs(os.path.dirname(path))):
        with contextlib.suppress(OSError):
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory, 0o700)
            st = os.lstat(directory)
            if stat.S_ISDIR(st.st_mode) and st.st_uid == uid and not st.st_mode & 0o077:
                return directory
    raise VolumeError("no private runtime directory", hint="set XDG_RUNTIME_DIR, or make /dev/shm writable")


def _is_tmpfs(path: str) -> bool:
    try:
        fd = os.open(path, os.O_PATH)
    except OSError:
        return False
    try:
        return backing.fs_type(fd) == "tmpfs"
    finally:
        os.close(fd)


def _open_slot(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise VolumeError(f"{path} can't be opened: {exc.strerror}") from exc
    st = os.fstat(fd)
    if not stat.S_ISREG(st.st_mode) or st.st_uid != os.geteuid() or st.st_nlink != 1:
        os.close(fd)
        raise VolumeError(f"{path} is not ours", hint="remove it")
    if not backing.try_lock(fd, shared=False):
        os.close(fd)
        raise VolumeError(f"{path} is in use by another mount")
    return fd
