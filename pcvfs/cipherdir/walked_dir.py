"""A directory on the path that a walk has taken: its descriptor, and the names that lead to it."""

from __future__ import annotations

from pcvfs.cipherdir import backing


class WalkedDir:
    """One directory, linked to its parent, so that a path is put together only when somebody wants to see it.

    Attributes:
        parent: None for the root.
        cname: name in the parent; ``b""`` for the root.
        name: plaintext name; None if it is lost; ``b""`` for the root.
        fd: open directory, owned; -1 while it is not needed.
        pending: subdirectories still to be visited, as (cname, name).
        is_denied: it was noted that something in it may not be read.
    """

    __slots__ = ("_identity", "cname", "fd", "is_denied", "name", "parent", "pending")

    def __init__(self, parent: WalkedDir | None, cname: bytes, name: bytes | None, fd: int) -> None:
        self.parent = parent
        self.cname = cname
        self.name = name
        self.fd = fd
        self._identity = _identity_of(fd)
        self.pending: list[tuple[bytes, bytes | None]] = []
        self.is_denied = False

    def close(self) -> None:
        """Close the descriptor if it is open."""
        if self.fd >= 0:
            backing.close(self.fd)
            self.fd = -1

    def reopen_from(self, child: WalkedDir) -> bool:
        """Open it again, through the ``..`` of a child that is open; False if that leads elsewhere by now."""
        try:
            self.fd = backing.open_dir(child.fd, b"..")
        except OSError:
            return False
        if _identity_of(self.fd) == self._identity:
            return True
        self.close()
        return False

    def cipher_path(self, cname: bytes) -> bytes:
        """Path in the cipherdir of an entry; of the directory itself for ``b""``."""
        parts = [cname] if cname else []
        directory = self
        while directory.parent is not None:
            parts.append(directory.cname)
            directory = directory.parent
        return b"/".join(reversed(parts))

    def plain_path(self, name: bytes | None) -> bytes | None:
        """Path in the volume, as ``cipher_path``; None if a name on it is lost."""
        if name is None:
            return None
        parts = [name] if name else []
        directory = self
        while directory.parent is not None:
            if directory.name is None:
                return None
            parts.append(directory.name)
            directory = directory.parent
        return b"/".join(reversed(parts))


def _identity_of(fd: int) -> tuple[int, int]:
    st = backing.fstat(fd)
    return st.st_dev, st.st_ino
