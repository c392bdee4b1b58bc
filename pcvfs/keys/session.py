"""The SDEK while it is in memory: locked or unlocked, and nothing in between.

Belongs to one thread, the event loop's; no method waits. What others get is a copy that ends with their ``with``, so
locking never takes a key away from someone in the middle of using it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import NoReturn

from pcvfs.crypto.secret import Secret
from pcvfs.errors import CorruptKeysetError, LockedError, RolledBackKeysetError
from pcvfs.keys.keyset import Opened


class SessionState(Enum):
    """Whether the SDEK is in memory."""

    LOCKED = "locked"
    UNLOCKED = "unlocked"


class KeySession:
    """Holds the SDEK. Made locked."""

    __slots__ = ("_opened", "_times_locked")

    def __init__(self) -> None:
        self._opened: Opened | None = None
        self._times_locked = 0

    @property
    def state(self) -> SessionState:
        return SessionState.LOCKED if self._opened is None else SessionState.UNLOCKED

    @property
    def times_locked(self) -> int:
        """Grows with each ``lock``: what began before it must not unlock after it."""
        return self._times_locked

    @property
    def fingerprint(self) -> str:
        """Hex; names the SDEK. LockedError if there is none."""
        return self._held().fingerprint

    @property
    def generation(self) -> int:
        """Of the keyset as it was opened, authenticated; 0 for piccolod's. LockedError while locked."""
        return self._held().record.generation

    def unlock(self, opened: Opened) -> None:
        """Hold this SDEK; the argument is ours from now on. While unlocked, a newer record of the same SDEK.

        Raises:
            CorruptKeysetError: it is another SDEK than the one in use. That one stays, the new one is wiped.
        """
        if self._opened is not None and self._opened.sdek != opened.sdek:
            opened.wipe()
            raise CorruptKeysetError(
                "the keyset holds another key than the one in use",
                hint="somebody has replaced the keyset: lock, and restore it from a backup",
            )
        if self._opened is not None:
            self._opened.wipe()
        self._opened = opened

    def lock(self) -> None:
        """Wipe the SDEK. May be repeated."""
        self._times_locked += 1
        if self._opened is not None:
            self._opened.wipe()
            self._opened = None

    @contextmanager
    def borrow_sdek(self) -> Iterator[Secret]:
        """A copy of the SDEK, wiped at the end of the ``with``. LockedError while locked."""
        with Secret.from_bytes(self._held().sdek.view()) as copy:
            yield copy

    def borrow(self) -> Opened:
        """A copy of what was opened, the caller's to wipe. LockedError while locked."""
        return self._held().copy()

    def require_generation(self, minimum: int) -> None:
        """Compare with the generation that was seen last, which the caller keeps where the SDEK protects it.

        Raises:
            RolledBackKeysetError: the keyset in use is older: somebody has put back an old file.
            LockedError: while locked.
        """
        generation = self.generation
        if generation < minimum:
            raise RolledBackKeysetError(
                f"the keyset is of generation {generation}, but {minimum} has been seen",
                hint="an old copy was put back: passwords and recovery keys of that time open it again; set them anew",
            )

    def _held(self) -> Opened:
        if self._opened is None:
            raise LockedError("the keys are locked", hint="unlock with the password first")
        return self._opened

    def __repr__(self) -> str:
        return f"<KeySession, {self.state.value}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a KeySession can't be copied or pickled")
