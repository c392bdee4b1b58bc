"""Checks a whole volume, without a mount: every name, block, symlink target and attribute.

Reads and never writes. What the original's ``-fsck`` finds by walking a mount is found here from below, and so are
things that no mount shows: names that are listed but lead nowhere, sidecars without an entry, traces of crashes. Files
below a directory whose IV is lost are checked too, though they have no names any more.

The volume may be in use: an entry that vanishes is no problem, and a file that changes is read again. Memory holds one
batch of names, the directories still to be visited along one path, and inodes of which more names are to come; the
number of open descriptors is bounded whatever the depth. Not thread safe.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from pcvfs.cipherdir import backing
from pcvfs.cipherdir.content_check import ContentCheck
from pcvfs.cipherdir.report import FsckReport, OnProblem, OnProgress, Problem, ProblemKind, Recorder
from pcvfs.cipherdir.volume import Volume
from pcvfs.cipherdir.walked_dir import WalkedDir
from pcvfs.cipherdir.wording import reason
from pcvfs.errors import AuthenticationError, FormatError, NameDecodeError
from pcvfs.format.names import NameClass, pad, sidecar_name
from pcvfs.spec import (
    ACL_XATTRS,
    CONFIG_BACKUP_SUFFIX,
    CONFIG_NAME,
    CONFIG_TMP_SUFFIX,
    DIRIV_MKDIR_PREFIX,
    DIRIV_NAME,
    DIRIV_RMDIR_PREFIX,
    LONG_NAME_SUFFIX,
    XATTR_NAME_TWEAK,
    XATTR_PREFIX,
)
from pcvfs.types import DirIV

OPEN_DIRS_MAX: Final = 64
_BATCH: Final = 512
_CONFIG_REMNANTS: Final = frozenset({CONFIG_NAME + CONFIG_BACKUP_SUFFIX, CONFIG_NAME + CONFIG_TMP_SUFFIX})
_REMNANTS: Final = {
    DIRIV_MKDIR_PREFIX: ProblemKind.MKDIR_REMNANT,
    DIRIV_RMDIR_PREFIX: ProblemKind.RMDIR_REMNANT,
}
_VANISHED: Final = frozenset({errno.ENOENT, errno.ENODATA, errno.ESTALE})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})


def check_volume(
    volume: Volume, *, progress: OnProgress | None = None, on_problem: OnProblem | None = None
) -> FsckReport:
    """Read everything in a volume and report what can't be read.

    Args:
        progress: called about ten times a second, and at the end.
        on_problem: called with each problem as it is found; the report keeps only the first 10 000.

    Raises:
        OSError: the root of the cipherdir itself can't be read.
    """
    check = _Check(volume, Recorder(progress, on_problem))
    return check.run()


class _Check:
    """One run over one volume."""

    def __init__(self, volume: Volume, recorder: Recorder) -> None:
        self._volume = volume
        self._names = volume.names
        self._recorder = recorder
        self._report = recorder.report
        self._content = ContentCheck(volume, self._count_bytes)
        # Regular files with more names to come: (st_dev, st_ino) -> how many.
        self._more_links: dict[tuple[int, int], int] = {}
        # How gocryptfs 1.x stored ACLs; the codec takes their names for what they are today, so it can't tell.
        encode, encrypt = volume.names.base64.encode, volume.name_cipher.encrypt
        self._old_acls = frozenset(XATTR_PREFIX + encode(encrypt(XATTR_NAME_TWEAK, pad(name))) for name in ACL_XATTRS)

    # --- the walk -----------------------------------------------------------------------------------------------
    def run(self) -> FsckReport:
        """Visit every directory, depth first, without recursion."""
        root_fd = backing.open_dir(self._volume.root_fd, b".")
        path = [WalkedDir(None, b"", b"", root_fd)]
        try:
            self._visit(path[0])
            while path:
                directory = path[-1]
                if not directory.pending:
                    self._leave(path)
                elif (child := self._enter(directory)) is not None:
                    path.append(child)
                    if len(path) > OPEN_DIRS_MAX:
                        path[len(path) - OPEN_DIRS_MAX].close()
                    self._visit(child)
        finally:
            for directory in path:
                directory.close()
        self._recorder.tell()
        return self._report

    def _enter(self, directory: WalkedDir) -> WalkedDir | None:
        """Open the next subdirectory; None if that can't be."""
        cname, name = directory.pending.pop()
        try:
            return WalkedDir(directory, cname, name, backing.open_dir(directory.fd, cname))
        except OSError as exc:
            if exc.errno not in (errno.ENOTDIR, errno.ELOOP):  # something else has the name by now
                self._failed(exc, ProblemKind.DIR_UNREADABLE, directory, cname, name)
            return None

    def _leave(self, path: list[WalkedDir]) -> None:
        """Go back to the parent, opening it again if it was closed to save descriptors."""
        child = path.pop()
        try:
            if not path or path[-1].fd >= 0 or path[-1].reopen_from(child):
                return
            if path[-1].pending:
                self._add(ProblemKind.DIR_UNREADABLE, path[-1], b"", b"", "was moved during the check")
                path[-1].pending.clear()
        finally:
            child.close()

    def _visit(self, directory: WalkedDir) -> None:
        """Check a directory and all in it, but for its subdirectories, which become ``pending``."""
        self._report.dirs += 1
        self._recorder.step()
        self._check_xattrs(directory, b".", b"")
        diriv, diriv_problem = self._read_diriv(directory)
        entries = 0
        orphans: list[bytes] = []
        try:
            for cnames in backing.listdir_batches(directory.fd, _BATCH):
                for cname, name in self._named(directory, diriv, cnames, orphans):
                    entries += 1
                    self._check_entry(directory, cname, name)
            for sidecar in orphans:
                self._check_orphan(directory, sidecar)
        except OSError as exc:
            self._failed(exc, ProblemKind.DIR_UNREADABLE, directory, b"", b"")
        if diriv_problem is not None:
            kind, detail = diriv_problem
            self._add(kind, directory, b"", b"", f"{detail}; entries in it: {entries}")

    def _read_diriv(self, directory: WalkedDir) -> tuple[DirIV | None, tuple[ProblemKind, str] | None]:
        try:
            return self._volume.read_diriv(directory.fd), None
        except FileNotFoundError:
            if backing.fstat(directory.fd).st_nlink == 0:
                return None, None  # the directory itself was removed meanwhile
            return None, (ProblemKind.DIRIV_MISSING, "no such file")
        except FormatError as exc:
            return None, (ProblemKind.DIRIV_CORRUPT, exc.message)
        except OSError as exc:
            kind = ProblemKind.PERMISSION_DENIED if exc.errno in _DENIED else ProblemKind.DIRIV_CORRUPT
            return None, (kind, reason(exc))

    # --- names --------------------------------------------------------------------------------------------------
    def _named(
        self, directory: WalkedDir, diriv: DirIV | None, cnames: list[bytes], orphans: list[bytes]
    ) -> list[tuple[bytes, bytes | None]]:
        """Pair the entries that are worth a look with their plaintext names, None for the lost ones.

        Names that are litter are reported and left out, as is what a volume is made of.
        """
        found: list[tuple[bytes, bytes | None]] = []
        wanted: list[bytes] = []
        full_cnames: list[bytes] = []
        for cname in cnames:
            if self._is_own_file(directory, cname) or self._is_remnant(directory, cname):
                continue
            name_class = self._names.classify(cname)
            if name_class is NameClass.LONG_SIDECAR:
                if not backing.exists(directory.fd, cname.removesuffix(LONG_NAME_SUFFIX)):
                    orphans.append(cname)
                continue
            is_long = name_class is NameClass.LONG_CONTENT
            full_cname = self._read_long_name(directory, cname) if is_long else cname
            if full_cname is None or diriv is None:
                found.append((cname, None))
            else:
                wanted.append(cname)
                full_cnames.append(full_cname)
        if diriv is not None:
            plain = self._names.decode_many(full_cnames, diriv)
            for cname, full_cname, name in zip(wanted, full_cnames, plain, strict=True):
                if name is not None:
                    self._check_reachable(directory, cname, full_cname, name)
                    found.append((cname, name))
                elif self._is_worth_checking(directory, cname):
                    found.append((cname, None))
        return found

    def _is_own_file(self, directory: WalkedDir, cname: bytes) -> bool:
        if cname == DIRIV_NAME:
            return self._names.has_diriv
        return cname == CONFIG_NAME and directory.parent is None

    def _is_remnant(self, directory: WalkedDir, cname: bytes) -> bool:
        """Report what interrupted operations leave behind. With plaintext names these are just names."""
        if self._names.is_plaintext:
            return False
        if cname in _CONFIG_REMNANTS and directory.parent is None:
            self._add(ProblemKind.CONFIG_REMNANT, directory, cname, None)
            return True
        for prefix, kind in _REMNANTS.items():
            if cname.startswith(prefix):
                self._add(kind, directory, cname, None)
                return True
        return False

    def _is_worth_checking(self, directory: WalkedDir, cname: bytes) -> bool:
        """Report an undecryptable name; whether there is content of this volume behind it all the same.

        There is behind a sidecar that went bad, and in a directory with an IV of its own (renamed from outside).
        A file with such a name is taken for a foreign one.
        """
        if self._names.classify(cname) is NameClass.LONG_CONTENT:
            self._add(ProblemKind.LONG_NAME_CORRUPT, directory, cname, None, "its content does not decrypt")
            return True
        self._add(ProblemKind.NAME_UNDECRYPTABLE, directory, cname, None)
        if not self._names.has_diriv:
            return False
        try:
            fd = backing.open_dir(directory.fd, cname)
        except OSError:
            return False
        try:
            return backing.exists(fd, DIRIV_NAME)
        except OSError:
            return False
        finally:
            backing.close(fd)

    def _read_long_name(self, directory: WalkedDir, cname: bytes) -> bytes | None:
        try:
            return backing.read_long_name(directory.fd, sidecar_name(cname))
        except FileNotFoundError:
            if backing.exists(directory.fd, cname):
                self._add(ProblemKind.LONG_NAME_MISSING, directory, cname, None)
        except FormatError as exc:
            self._add(ProblemKind.LONG_NAME_CORRUPT, directory, cname, None, exc.message)
        except OSError as exc:
            self._failed(exc, ProblemKind.LONG_NAME_CORRUPT, directory, cname, None)
        return None

    def _check_reachable(self, directory: WalkedDir, cname: bytes, full_cname: bytes, name: bytes) -> None:
        """Compare where an entry is with where a lookup of its name would search it."""
        if self._names.is_plaintext:
            return
        expected = self._names.stored(full_cname)
        if expected.cname == cname:
            return
        where = os.fsdecode(expected.cname)
        if self._names.classify(cname) is NameClass.NORMAL:
            self._add(ProblemKind.NAME_UNREACHABLE, directory, cname, name, f"too long: should be hashed as {where}")
        elif expected.long_name is None:
            self._add(ProblemKind.NAME_UNREACHABLE, directory, cname, name, f"short enough to be stored as {where}")
        else:
            self._add(ProblemKind.LONG_NAME_MISMATCH, directory, cname, name, f"it belongs to {where}")
        if backing.exists(directory.fd, expected.cname):
            self._add(ProblemKind.NAME_DUPLICATE, directory, cname, name, f"the other is {where}")

    def _check_orphan(self, directory: WalkedDir, sidecar: bytes) -> None:
        """Look again: while a file is made or removed, its sidecar is alone for a moment."""
        has_entry = backing.exists(directory.fd, sidecar.removesuffix(LONG_NAME_SUFFIX))
        if not has_entry and backing.exists(directory.fd, sidecar):
            self._add(ProblemKind.LONG_NAME_ORPHAN, directory, sidecar, None)

    # --- objects ------------------------------------------------------------------------------------------------
    def _check_entry(self, directory: WalkedDir, cname: bytes, name: bytes | None) -> None:
        self._recorder.step()
        try:
            st = backing.statat(directory.fd, cname)
        except OSError as exc:
            self._failed(exc, ProblemKind.ENTRY_UNREADABLE, directory, cname, name)
            return
        if stat.S_ISDIR(st.st_mode):
            directory.pending.append((cname, name))
        elif not stat.S_ISREG(st.st_mode):
            self._report.others += 1
            if stat.S_ISLNK(st.st_mode):
                self._check_symlink(directory, cname, name)
        elif not self._was_checked(st):
            self._report.files += 1
            self._check_file(directory, cname, name)

    def _was_checked(self, st: os.stat_result) -> bool:
        """Whether this is a further name of a file that was checked under another."""
        if st.st_nlink < 2:
            return False
        inode = (st.st_dev, st.st_ino)
        more = self._more_links.get(inode)
        if more is None:
            self._more_links[inode] = st.st_nlink - 1
            return False
        if more > 1:
            self._more_links[inode] = more - 1
        else:
            del self._more_links[inode]
        return True

    def _check_file(self, directory: WalkedDir, cname: bytes, name: bytes | None) -> None:
        try:
            fd = backing.openat(directory.fd, cname, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as exc:
            self._failed(exc, ProblemKind.FILE_UNREADABLE, directory, cname, name)
            return
        try:
            for kind, detail in self._content.check(fd):
                self._add(kind, directory, cname, name, detail)
        except OSError as exc:
            self._failed(exc, ProblemKind.FILE_UNREADABLE, directory, cname, name)
        finally:
            backing.close(fd)
        self._check_xattrs(directory, cname, name)

    def _check_symlink(self, directory: WalkedDir, cname: bytes, name: bytes | None) -> None:
        try:
            self._volume.decode_symlink(backing.readlinkat(directory.fd, cname))
        except (NameDecodeError, AuthenticationError) as exc:
            self._add(ProblemKind.SYMLINK_CORRUPT, directory, cname, name, exc.message)
        except OSError as exc:
            self._failed(exc, ProblemKind.SYMLINK_UNREADABLE, directory, cname, name)

    def _check_xattrs(self, directory: WalkedDir, cname: bytes, name: bytes | None) -> None:
        """Check the attributes of a file, or of the directory itself (``.``, with name ``b""``).

        Other types can't have any: the kernel allows user attributes on those two alone.
        """
        shown = b"" if cname == b"." else cname
        try:
            for xattr_cname in backing.listxattrat(directory.fd, cname):
                detail = os.fsdecode(xattr_cname)
                try:
                    xattr_name = self._volume.xattr_names.decode(xattr_cname)
                    if xattr_name is None or xattr_name in ACL_XATTRS:
                        continue
                    detail = os.fsdecode(xattr_name)
                    value = backing.getxattrat(directory.fd, cname, xattr_cname)
                    self._volume.decode_xattr_value(xattr_name, value)
                except NameDecodeError:
                    is_acl = xattr_cname in self._old_acls
                    kind = ProblemKind.XATTR_OLD_ACL if is_acl else ProblemKind.XATTR_NAME_CORRUPT
                    self._add(kind, directory, shown, name, detail)
                except AuthenticationError:
                    self._add(ProblemKind.XATTR_VALUE_CORRUPT, directory, shown, name, detail)
                except OSError as exc:
                    self._failed(exc, ProblemKind.XATTR_UNREADABLE, directory, shown, name, detail)
        except OSError as exc:
            if exc.errno != errno.EOPNOTSUPP:
                self._failed(exc, ProblemKind.XATTR_UNREADABLE, directory, shown, name)

    # --- findings -----------------------------------------------------------------------------------------------
    def _count_bytes(self, count: int) -> None:
        self._report.bytes += count
        self._recorder.step()

    def _failed(
        self, exc: OSError, kind: ProblemKind, directory: WalkedDir, cname: bytes, name: bytes | None, what: str = ""
    ) -> None:
        """Report a failed system call; not if the thing is gone, and as skipped if we may not."""
        if exc.errno in _VANISHED:
            return
        if exc.errno in _DENIED:
            kind = ProblemKind.PERMISSION_DENIED
        self._add(kind, directory, cname, name, f"{what}: {reason(exc)}" if what else reason(exc))

    def _add(self, kind: ProblemKind, directory: WalkedDir, cname: bytes, name: bytes | None, detail: str = "") -> None:
        """Report a problem of an entry, or of the directory itself if both names are ``b""``."""
        if kind is ProblemKind.PERMISSION_DENIED and not cname:
            if directory.is_denied:  # its IV, attributes and listing fail alike: it counts once
                return
            directory.is_denied = True
        plain_path, cipher_path = directory.plain_path(name), directory.cipher_path(cname)
        self._recorder.add(Problem(kind, plain_path, cipher_path, detail))
