"""The file ``keyset.json``, and the copy beside it: how they are read and replaced. What is in them is not known here.

The copy, ``keyset.json.bak``, is another file with the same content, for the day on which the first one can't be read.
Only while a change is under way does it hold what was before: a secret that was changed must not go on opening it.

"Can't be read" is never "is not there": the keyset does not exist only if the directory can be searched, and has
neither the file nor its copy.

Concurrency: everything blocks. Whoever changes something holds ``exclusive``, which other processes respect too.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pcvfs import durable, spec
from pcvfs.errors import AlreadyInitializedError, CorruptKeysetError, KeysetAccessError, NotInitializedError

log = logging.getLogger(__name__)

_BACKUP_NAME: Final = spec.KEYSET_NAME + spec.KEYSET_BACKUP_SUFFIX
_TMP_NAME: Final = spec.KEYSET_NAME + spec.KEYSET_TMP_SUFFIX
_LOCK_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
_LOCK_WAIT_S: Final = 30.0
_LOCK_POLL_S: Final = 0.05
_RESTORE_HINT: Final = "there is a copy of it: restore that"


class KeysetFile:
    """The keyset in one directory.

    Args:
        directory: ``crypto`` in the state directory. Made by ``create``; the directory around it must be there.
    """

    def __init__(self, directory: bytes) -> None:
        self._directory = directory

    def read(self) -> bytes:
        """The content; at most one byte more than is allowed, so that a longer one shows.

        Raises:
            NotInitializedError: there is none, and no copy either.
            CorruptKeysetError: there is a copy and nothing else, or something that is not a file.
            KeysetAccessError: whatever else prevents reading, a state directory that is not there included.
        """
        with self._opened() as dirfd:
            try:
                return _read(dirfd, spec.KEYSET_NAME)
            except FileNotFoundError:
                pass
            if _exists(dirfd, _BACKUP_NAME):
                raise CorruptKeysetError("the keyset is gone", hint=_RESTORE_HINT)
            raise _not_initialized()

    def read_backup(self) -> bytes:
        """The content of the copy.

        Raises:
            NotInitializedError: there is none.
            CorruptKeysetError, KeysetAccessError: as ``read``.
        """
        with self._opened() as dirfd:
            try:
                return _read(dirfd, _BACKUP_NAME)
            except FileNotFoundError:
                raise NotInitializedError("there is no copy of the keyset") from None

    def has_backup(self) -> bool:
        """Whether there is a copy. KeysetAccessError if that can't be seen."""
        with self._opened() as dirfd:
            return _exists(dirfd, _BACKUP_NAME)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep all others from changing the keyset, other processes included; waits for them, half a minute at most.

        What an interrupted change has left is removed. KeysetAccessError where the directory can't be opened or locked.
        """
        with self._opened() as dirfd:
            _lock(dirfd)
            durable.unlink_quietly(dirfd, _TMP_NAME)
            yield

    def make_directory(self) -> None:
        """Create the directory, durably, if it is not there."""
        try:
            durable.make_directory_durably(self._directory, spec.KEYSET_DIR_MODE)
        except FileExistsError:
            return
        except OSError as exc:
            raise _no_access("the directory of the keyset can't be made", exc) from exc

    def check_absent(self) -> None:
        """Raise AlreadyInitializedError if there is a keyset, or anything of its name or its copy's."""
        with self._opened() as dirfd:
            if _exists(dirfd, spec.KEYSET_NAME):
                raise AlreadyInitializedError("there is a keyset already")
            if _exists(dirfd, _BACKUP_NAME):
                raise AlreadyInitializedError("there is a copy of a keyset already", hint="restore that")

    def write(self, data: bytes, *, replace: bool) -> None:
        """Write durably; call it within ``exclusive``. There is always the old file, the new one, or (new) none.

        Raises:
            AlreadyInitializedError: ``replace`` is False and there is one.
            KeysetAccessError: the old file is in place, unless it was the directory that could not be synced.
        """
        self._write(spec.KEYSET_NAME, data, replace=replace)

    def write_backup(self, data: bytes) -> None:
        """Make the copy hold ``data``; nothing happens if it does. As ``write``."""
        try:
            if self.read_backup() == data:
                return
        except (NotInitializedError, CorruptKeysetError):
            pass
        self._write(_BACKUP_NAME, data, replace=True)

    def _write(self, name: bytes, data: bytes, *, replace: bool) -> None:
        with self._opened() as dirfd:
            try:
                durable.write_file_durably(dirfd, name, data, spec.KEYSET_MODE, tmp=_TMP_NAME, replace=replace)
            except FileExistsError as exc:
                raise AlreadyInitializedError("there is a keyset already") from exc

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The directory; every OSError within becomes KeysetAccessError."""
        try:
            dirfd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError as exc:
            if os.path.isdir(os.path.dirname(self._directory) or b"."):
                raise _not_initialized() from None
            raise _no_access("the directory around the keyset's is missing", exc) from exc
        except OSError as exc:
            raise _no_access("the directory of the keyset can't be opened", exc) from exc
        try:
            yield dirfd
        except OSError as exc:
            raise _no_access("the keyset can't be read or written", exc) from exc
        finally:
            os.close(dirfd)


def _read(dirfd: int, name: bytes) -> bytes:
    """Content of a regular file, cut one byte above the limit. FileNotFoundError alone says that there is none."""
    try:
        fd = durable.openat(dirfd, name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):
            raise CorruptKeysetError("the keyset is not a file", hint=_RESTORE_HINT) from exc
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise CorruptKeysetError("the keyset is not a file", hint=_RESTORE_HINT)
        with open(fd, "rb", closefd=False) as stream:
            return stream.read(spec.KEYSET_SIZE_MAX + 1)
    finally:
        os.close(fd)


def _lock(dirfd: int) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(dirfd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as exc:
            if time.monotonic() > deadline:
                raise KeysetAccessError("another program is changing the keyset", hint="wait for it to end") from exc
            time.sleep(_LOCK_POLL_S)
        except OSError as exc:
            if exc.errno not in _LOCK_UNSUPPORTED:
                raise
            log.warning("the filesystem of the keyset has no locks: let one program at a time change it")
            return


def _exists(dirfd: int, name: bytes) -> bool:
    """Whether something has this name. Every other failure than ENOENT is raised."""
    try:
        os.stat(name, dir_fd=dirfd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _not_initialized() -> NotInitializedError:
    return NotInitializedError("there is no keyset yet", hint="set a password first")


def _no_access(what: str, exc: OSError) -> KeysetAccessError:
    return KeysetAccessError(f"{what}: {(exc.strerror or 'error').lower()}")
