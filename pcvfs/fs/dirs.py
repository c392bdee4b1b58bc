"""Directories: names, listings, and how a directory is made and removed as if in one step.

Owns: every backing name that is not somebody's file (IVs, sidecars of long names, the temporary names of this module).
Knows nothing of file content, nor how a directory is reached (``dir_cache``).

A directory of the volume is a backing directory plus its ``gocryptfs.diriv``. It appears under its name only when the
IV is inside, and leaves its name before the IV goes: both happen under a temporary name
(``gocryptfs.diriv.mkdir.*``, ``gocryptfs.diriv.rmdir.*``), so a process killed at any moment leaves no visible
directory without an IV. What such a kill leaves is invisible and is cleared away by the next listing.

Concurrency: one thread.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from pcvfs.cipherdir import backing
from pcvfs.errors import FormatError, NameDecodeError
from pcvfs.format.badnames import BadNames, is_badname
from pcvfs.format.names import NameClass, sidecar_name
from pcvfs.spec import (
    CONFIG_NAME,
    DIRIV_MKDIR_PREFIX,
    DIRIV_NAME,
    DIRIV_RMDIR_PREFIX,
    LONG_NAME_SUFFIX,
    ZERO_DIRIV,
)
from pcvfs.types import DirIV

if TYPE_CHECKING:
    from pcvfs.cipherdir.volume import Volume
    from pcvfs.format.names import StoredName
    from pcvfs.fs.tree import Dirs, Node

log = logging.getLogger(__name__)

_LEFTOVER: Final = re.compile(
    rb"(?:" + re.escape(DIRIV_RMDIR_PREFIX) + rb"|" + re.escape(DIRIV_MKDIR_PREFIX) + rb")[0-9]+\Z"
)
_LOGGED_MAX: Final = 10_000
_SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # says nothing about what is on disk
_NO_RENAME_FLAGS: Final = frozenset({errno.EINVAL, errno.ENOSYS})


class Listed(NamedTuple):
    """An entry of a listing: plaintext name and the name in the cipherdir."""

    name: bytes
    cname: bytes


class Directories:
    """The directories of one volume.

    Args:
        volume: codecs.
        root: the node of the cipherdir.
        cache: descriptors and IVs.
        badname: globs of ciphertext names to list although they don't decrypt.
    """

    def __init__(self, volume: Volume, root: Node, cache: Dirs, *, badname: tuple[bytes, ...] = ()) -> None:
        self._volume = volume
        self._names = volume.names
        self._root = root
        self._cache = cache
        self._badnames = BadNames(volume.names, badname) if badname and not volume.names.is_plaintext else None
        self._logged: set[tuple[int, bytes]] = set()

    # --- names --------------------------------------------------------------------------------------------------
    def diriv(self, node: Node) -> DirIV:
        """IV of a directory.

        Raises:
            OSError: EIO if it is missing or malformed: the names in this directory can't be told.
        """
        try:
            return self._cache.diriv(node)
        except FormatError as exc:
            if not node.links and node is not self._root:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from exc  # removed, but still in use
            self.report_no_diriv(node)
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from exc

    def encode(self, node: Node, name: bytes) -> StoredName:
        """Ciphertext name of a name in a directory.

        Raises:
            OSError: ENAMETOOLONG; EIO without IV; EPERM for the one reserved name of plaintext-names volumes.
        """
        if self._names.is_plaintext and name == CONFIG_NAME and node is self._root:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return self._names.encode(name, self.diriv(node))

    def ensure_sidecar(self, dirfd: int, stored: StoredName) -> bool:
        """Write the ``.name`` file of a long name; True if it was not there before."""
        if stored.long_name is None:
            return False
        sidecar = sidecar_name(stored.cname)
        try:
            backing.write_long_name(dirfd, sidecar, stored.long_name)
        except FileExistsError:
            if self._holds(dirfd, sidecar, stored.long_name):
                return False
            # Cut short by a kill, or damaged: what belongs in it is known, and nothing else ever can.
            backing.unlinkat(dirfd, sidecar)
            backing.write_long_name(dirfd, sidecar, stored.long_name)
            return False  # an object that was here before may need it
        return True

    @staticmethod
    def _holds(dirfd: int, sidecar: bytes, long_name: bytes) -> bool:
        try:
            return backing.read_long_name(dirfd, sidecar) == long_name
        except FormatError:
            return False

    def drop_sidecar(self, dirfd: int, stored: StoredName) -> None:
        """Remove the ``.name`` file of a long name whose object is gone. Never fails: alone it does no harm."""
        if stored.long_name is None:
            return
        try:
            backing.unlinkat(dirfd, sidecar_name(stored.cname))
        except FileNotFoundError:
            pass
        except OSError as exc:
            log.warning("the .name file of a removed long name stays behind: %s", exc.strerror)

    # --- making and removing ------------------------------------------------------------------------------------
    def make(self, parent_fd: int, cname: bytes, mode: int) -> DirIV:
        """Create a directory under its final name, IV inside.

        Args:
            mode: permission bits; the umask was applied by the kernel.

        Raises:
            FileExistsError: the name is taken. Nothing is left behind.
        """
        if not self._names.has_diriv:
            backing.mkdirat(parent_fd, cname, mode)
            return DirIV(ZERO_DIRIV)
        diriv = self._volume.new_diriv()
        tmp = _temporary(DIRIV_MKDIR_PREFIX)
        backing.mkdirat(parent_fd, tmp, mode | 0o700)
        try:
            fd = backing.openat(parent_fd, tmp, os.O_RDONLY | os.O_DIRECTORY)
            try:
                backing.create_diriv(fd, diriv)
                if mode & 0o700 != 0o700:
                    os.fchmod(fd, mode | (os.fstat(fd).st_mode & 0o2000))  # set-group-ID may be inherited
            finally:
                os.close(fd)
            self._rename_new(parent_fd, tmp, cname)
        except BaseException:
            self._discard(parent_fd, tmp)
            raise
        return diriv

    def _rename_new(self, parent_fd: int, tmp: bytes, cname: bytes) -> None:
        try:
            backing.renameat2(parent_fd, tmp, parent_fd, cname, backing.RENAME_NOREPLACE)
        except OSError as exc:
            if exc.errno not in _NO_RENAME_FLAGS:
                raise
            # No NOREPLACE below us. A plain rename replaces only an empty directory, which ours never is: they
            # hold an IV. Nobody else makes names in a cipherdir that we own.
            with contextlib.suppress(FileNotFoundError):
                backing.statat(parent_fd, cname)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from exc
            backing.renameat2(parent_fd, tmp, parent_fd, cname)

    def remove(self, parent_fd: int, cname: bytes) -> None:
        """Remove a directory that is empty in plaintext.

        Raises:
            OSError: ENOTEMPTY; the directory is as it was.
        """
        if self._names.is_plaintext:
            backing.rmdirat(parent_fd, cname)
            return
        with self._permitted(parent_fd, cname) as fd:
            orphans = self._orphan_sidecars(fd)
            diriv = self._saved_diriv(fd)
            tmp = _temporary(DIRIV_RMDIR_PREFIX)
            backing.renameat2(parent_fd, cname, parent_fd, tmp)
            try:
                self._empty_out(fd, orphans)
                backing.rmdirat(parent_fd, tmp)
            except BaseException:
                # A fault below us, or on shared storage a file that somebody just put in.
                with contextlib.suppress(OSError):
                    if diriv is not None:
                        backing.create_diriv(fd, diriv)
                with contextlib.suppress(OSError):
                    backing.renameat2(parent_fd, tmp, parent_fd, cname)
                raise

    @contextlib.contextmanager
    def vacated(self, parent_fd: int, cname: bytes) -> Iterator[None]:
        """Have an empty directory out of the way while something else takes its name; put it back if that fails.

        Raises:
            OSError: ENOTEMPTY, nothing has changed; or what the body raised.
        """
        tmp = _temporary(DIRIV_RMDIR_PREFIX)
        with self._permitted(parent_fd, cname) as fd:
            self._orphan_sidecars(fd)
            backing.renameat2(parent_fd, cname, parent_fd, tmp)
            try:
                yield
            except BaseException:
                with contextlib.suppress(OSError):
                    backing.renameat2(parent_fd, tmp, parent_fd, cname)
                raise
        self._discard(parent_fd, tmp)

    def _saved_diriv(self, fd: int) -> DirIV | None:
        """The IV, to put it back should removing fail; None if there is no good one."""
        if not self._names.has_diriv:
            return None
        try:
            return backing.read_diriv(fd)
        except (FormatError, FileNotFoundError):
            return None

    def _orphan_sidecars(self, fd: int) -> list[bytes]:
        """Sidecars without an object, if nothing else but the IV is in the directory.

        Raises:
            OSError: ENOTEMPTY.
        """
        cnames = set(backing.listdir(fd))
        if self._names.has_diriv:
            cnames.discard(DIRIV_NAME)
        orphans = []
        for cname in cnames:
            is_sidecar = self._names.classify(cname) is NameClass.LONG_SIDECAR
            if _LEFTOVER.match(cname):
                self._discard(fd, cname)
            elif is_sidecar and cname.removesuffix(LONG_NAME_SUFFIX) not in cnames:
                orphans.append(cname)
            else:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        return orphans

    def _empty_out(self, fd: int, orphans: list[bytes]) -> None:
        for cname in orphans:
            backing.unlinkat(fd, cname)
        if self._names.has_diriv:
            with contextlib.suppress(FileNotFoundError):
                backing.unlinkat(fd, DIRIV_NAME)

    @contextlib.contextmanager
    def _permitted(self, parent_fd: int, cname: bytes) -> Iterator[int]:
        """A readable descriptor of a directory; without root's powers its mode may have to give way meanwhile."""
        path_fd = backing.openat(parent_fd, cname, os.O_PATH | os.O_DIRECTORY)
        try:
            mode = os.fstat(path_fd).st_mode & 0o7777
            is_widened = os.geteuid() != 0 and mode & 0o700 != 0o700
            if is_widened:
                backing.chmod_fd(path_fd, mode | 0o700)
            try:
                fd = backing.reopen(path_fd, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    yield fd
                finally:
                    os.close(fd)
            except BaseException:
                if is_widened:
                    backing.chmod_fd(path_fd, mode)
                raise
        finally:
            os.close(path_fd)

    def _discard(self, parent_fd: int, tmp: bytes) -> None:
        """Remove what is left under a temporary name, directory or IV; failing is harmless."""
        with contextlib.suppress(OSError):
            try:
                with self._permitted(parent_fd, tmp) as fd:
                    self._empty_out(fd, self._orphan_sidecars(fd))  # nobody's files are in it, or it stays
                    backing.rmdirat(parent_fd, tmp)
            except NotADirectoryError:
                backing.unlinkat(parent_fd, tmp)  # gocryptfs parks the IV itself under such a name

    # --- listing ------------------------------------------------------------------------------------------------
    def entries(self, node: Node, fd: int, *, may_clean: bool) -> list[Listed]:
        """All entries of a directory but ``.`` and ``..``; those that can't be decrypted are logged once and hidden.

        Args:
            fd: a readable descriptor of the directory.
            may_clean: remove what a killed process left under temporary names.
        """
        cnames = backing.listdir(fd)
        if self._names.is_plaintext:
            return [Listed(c, c) for c in cnames if not (node is self._root and c == CONFIG_NAME)]
        if self._names.has_diriv and not cnames and not node.links and node is not self._root:
            return []  # removed, but still open
        diriv = self.diriv(node)
        kept: list[bytes] = []
        full_cnames: list[bytes] = []
        for cname in cnames:
            full_cname = self._full_cname(node, fd, cname, may_clean=may_clean)
            if full_cname is not None:
                kept.append(cname)
                full_cnames.append(full_cname)
        listed = []
        names = self._names.decode_many(full_cnames, diriv)
        for cname, full_cname, name in zip(kept, full_cnames, names, strict=True):
            shown = name if name is not None else self._show_bad(node, cname, full_cname, diriv)
            if shown is not None:
                listed.append(Listed(shown, cname))
        return listed

    def _full_cname(self, node: Node, fd: int, cname: bytes, *, may_clean: bool) -> bytes | None:
        """The whole encrypted name of an entry; None for what is not an entry."""
        if not cname.startswith(b"gocryptfs."):
            return cname
        if cname == DIRIV_NAME and self._names.has_diriv:
            return None
        if cname == CONFIG_NAME and node is self._root:
            return None
        match self._names.classify(cname):
            case NameClass.LONG_SIDECAR:
                return None
            case NameClass.LONG_CONTENT:
                try:
                    return backing.read_long_name(fd, sidecar_name(cname))
                except FormatError:
                    return cname  # does not decrypt, so it is reported as what it is
                except OSError as exc:
                    if exc.errno in _SHORTAGE:
                        raise
                    return cname
            case NameClass.NORMAL:
                if may_clean and _LEFTOVER.match(cname):
                    self._discard(fd, cname)
                    return None
        return cname

    def _show_bad(self, node: Node, cname: bytes, full_cname: bytes, diriv: DirIV) -> bytes | None:
        """What to list for an entry that does not decrypt: nothing, unless --badname wants it."""
        if self._badnames is not None:
            with contextlib.suppress(NameDecodeError):
                return self._badnames.decode(full_cname, diriv)
        self.report_hidden(node, cname)
        return None

    def badname_candidates(self, node: Node, name: bytes) -> list[bytes]:
        """Ciphertext names that a listed bad name may stand for; empty without --badname."""
        if self._badnames is None:
            return []
        return self._badnames.candidates(name, self.diriv(node), is_root=node is self._root)

    def is_badname(self, name: bytes) -> bool:
        """Whether a name is one of those that --badname shows; such a name can't be given to anything new."""
        return self._badnames is not None and is_badname(name)

    def report_hidden(self, node: Node, cname: bytes) -> None:
        """Log once that an entry is not shown."""
        self._log_once(node, cname, f"entry {os.fsdecode(cname)!a} can't be decrypted and is hidden")

    def report_no_diriv(self, node: Node) -> None:
        """Log once that no entry can be shown."""
        self._log_once(node, DIRIV_NAME, "has no usable gocryptfs.diriv: its names can't be decrypted")

    def _log_once(self, node: Node, cname: bytes, text: str) -> None:
        key = (node.inode, cname)
        if key not in self._logged and len(self._logged) < _LOGGED_MAX:
            self._logged.add(key)
            log.warning("directory inode %d: %s", node.inode, text)

    def clear_leftovers(self, node: Node) -> None:
        """Remove what a killed process left under temporary names, as listing the directory does."""
        if self._names.is_plaintext:
            return
        fd = backing.openat(self._cache.dirfd(node), b".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            for cname in filter(_LEFTOVER.match, backing.listdir(fd)):
                self._discard(fd, cname)
        finally:
            os.close(fd)


def _temporary(prefix: bytes) -> bytes:
    return prefix + b"%d" % int.from_bytes(os.urandom(8), "big")
