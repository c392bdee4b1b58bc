"""The async face of this room: one keyset, one session, one limiter of attempts.

Concurrency: belongs to one trio thread. Whatever opens or changes the keyset holds ``_turn``, so attempts run one at a
time and in the order in which they came; the work itself is done in a worker thread that is not abandoned when the
caller is cancelled, since it may be in the middle of a write. ``info``, ``data`` and ``lock`` never wait for a turn.

Between the end of a worker and the change of the session there is no checkpoint: what was opened is either held or
wiped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import trio

from pcvfs.crypto.secret import harden_process
from pcvfs.errors import (
    LockedError,
    WrongDeviceKeyError,
    WrongPasswordError,
    WrongRecoveryKeyError,
)
from pcvfs.keys.attempts import AttemptLimiter, too_many
from pcvfs.keys.cost import CostPolicy
from pcvfs.keys.device_key import DeviceKey
from pcvfs.keys.keyset import Keyset, KeysetInfo, Proof
from pcvfs.keys.password import Password
from pcvfs.keys.recovery import RecoveryKey
from pcvfs.keys.session import KeySession
from pcvfs.keys.slots import SlotKey

_WAITING_MAX: Final = 16  # at one or two seconds each
_BUSY_WAIT_S: Final = 5.0
_WRONG: Final = (WrongPasswordError, WrongRecoveryKeyError, WrongDeviceKeyError)

_T = TypeVar("_T")


class KeyKeeper:
    """What a daemon needs of keys.

    Secrets that are passed in stay the caller's to wipe. ``source`` says on whose behalf something is tried; failures
    are counted by it.

    Args:
        directory: ``crypto`` in the state directory.
        policy: the price of passwords; None: right for this machine.
        limiter: None: a new one.
        harden: called once, before there is a secret: no core dumps, no ptrace. See ``crypto.secret``.
    """

    def __init__(
        self,
        directory: bytes,
        *,
        policy: CostPolicy | None = None,
        limiter: AttemptLimiter | None = None,
        harden: Callable[[], None] = harden_process,
    ) -> None:
        harden()
        self.session: Final = KeySession()
        self._keyset = Keyset(directory, policy or CostPolicy.for_this_machine())
        self._attempts = limiter or AttemptLimiter()
        self._turn = trio.Lock()
        self._threads = trio.CapacityLimiter(1)
        self._waiting: set[str] = set()

    async def info(self) -> KeysetInfo:
        """What can be told without a secret. Raises as ``Keyset.info``; never waits for an attempt that is running."""
        return await trio.to_thread.run_sync(self._keyset.info)

    def statistics(self) -> dict[str, int]:
        """Attempts that wait for their turn, and what the limiter remembers."""
        return {"waiting": len(self._waiting), **self._attempts.statistics()}

    async def initialize(self, password: Password) -> None:
        """Make the keyset. The session stays locked. Raises as ``Keyset.create``."""
        async with self._turn:
            (await self._in_thread(partial(self._keyset.create, password))).wipe()

    async def unlock(self, key: SlotKey, *, source: str, accept_damage: bool = False) -> None:
        """Open the keyset and hold the SDEK. While unlocked, the key is tried all the same.

        Raises:
            TooManyAttemptsError: not tried.
            LockedError: it was locked meanwhile.
            others: as ``Keyset.open`` and ``KeySession.unlock``.
        """
        times_locked = self.session.times_locked
        opened = await self._try(partial(self._keyset.open, key, accept_damage=accept_damage), source)
        if self.session.times_locked != times_locked:
            opened.wipe()
            raise LockedError("the keys were locked while they were being unlocked")
        self.session.unlock(opened)

    async def verify(self, key: SlotKey, *, source: str) -> None:
        """Raise unless the key opens the keyset; changes nothing. As ``unlock``."""
        (await self._try(partial(self._keyset.open, key), source)).wipe()

    def lock(self) -> None:
        """Wipe the SDEK at once. Copies that are on loan end with their ``with``."""
        self.session.lock()

    async def set_password(self, proof: SlotKey, new: Password, *, source: str) -> int:
        """Replace the password; see ``Keyset.set_password``. The session stays as it is.

        Returns:
            The new generation.
        """
        return await self._change(partial(self._keyset.set_password, new=new), proof, source)

    async def set_recovery_key(self, new: RecoveryKey, *, proof: SlotKey | None = None, source: str) -> int:
        """Add or replace the recovery key, on the proof of a secret, or None: of an unlocked session.

        The words are shown, and better confirmed, before: until this returns the old ones hold, from then on the new.
        """
        return await self._change(partial(self._keyset.set_recovery_key, new=new), proof, source)

    async def add_device_key(self, new: DeviceKey, *, proof: SlotKey | None = None, source: str) -> int:
        """Add a device key. Write its file first: a slot without its key is no harm, a lost key is."""
        return await self._change(partial(self._keyset.add_device_key, new=new), proof, source)

    async def remove_slot(self, slot_id: str, *, proof: SlotKey | None = None, source: str) -> int:
        """Remove the recovery key or a device key."""
        return await self._change(partial(self._keyset.remove_slot, slot_id=slot_id), proof, source)

    async def restore_backup(self, key: SlotKey, *, source: str) -> int:
        """Put the copy in the place of a damaged keyset; see ``Keyset.restore_backup``."""
        return await self._try(partial(self._keyset.restore_backup, key), source)

    async def data(self) -> bytes:
        """The bytes of the keyset, for a backup; see ``Keyset.data``. Never waits for an attempt."""
        return await trio.to_thread.run_sync(self._keyset.data)

    async def install(self, data: bytes, key: SlotKey, *, source: str) -> None:
        """Put a keyset from a backup where there is none; see ``Keyset.install``. The session stays locked."""
        (await self._try(partial(self._keyset.install, data, key), source)).wipe()

    async def _change(self, change: Callable[[Proof], int], proof: SlotKey | None, source: str) -> int:
        if proof is not None:
            return await self._try(partial(change, proof), source)
        with self.session.borrow() as opened:
            async with self._turn:
                return await self._in_thread(partial(change, opened))

    async def _try(self, work: Callable[[], _T], source: str) -> _T:
        """Run what may turn out to be a wrong guess."""
        async with self._attempt_turn(source):
            attempt = self._attempts.begin(source)
            try:
                result = await self._in_thread(work)
            except _WRONG:
                raise
            except BaseException:
                attempt.not_made()
                raise
            attempt.succeeded()
            return result

    @asynccontextmanager
    async def _attempt_turn(self, source: str) -> AsyncIterator[None]:
        """Wait for our turn, unless that is no use: one per source may wait, and not too many in all."""
        self._attempts.check(source)
        if source in self._waiting or len(self._waiting) >= _WAITING_MAX:
            raise too_many(_BUSY_WAIT_S)
        self._waiting.add(source)
        try:
            await self._turn.acquire()
        finally:
            self._waiting.remove(source)
        try:
            yield
        finally:
            self._turn.release()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await trio.to_thread.run_sync(work, limiter=self._threads)
