"""What is done with a keyset: create, open, change. Everything here blocks, and some of it for seconds.

A change is one rename: before it the old secret opens, after it the new one, at no time neither. What is about to be
written was parsed again and opened with the new secret before the old file is touched.

Concurrency: stateless between calls; changes exclude each other through the file. ``keeper`` is the async face.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NoReturn, Self, TypeAlias

from pcvfs import spec
from pcvfs.crypto.secret import Secret
from pcvfs.errors import (
    AlreadyInitializedError,
    AuthenticationError,
    CorruptKeysetError,
    InternalError,
    KeysetError,
    NoSuchSlotError,
)
from pcvfs.keys.cost import CostPolicy
from pcvfs.keys.device_key import DeviceKey
from pcvfs.keys.encoding import parse_keyset, serialize_keyset
from pcvfs.keys.keyset_file import KeysetFile
from pcvfs.keys.password import Password
from pcvfs.keys.record import (
    DETAIL_LABEL,
    DETAIL_WORDING,
    PASSWORD_SLOT_ID,
    Argon2Kdf,
    KeysetRecord,
    Slot,
    SlotKind,
    Wording,
)
from pcvfs.keys.recovery import RecoveryKey
from pcvfs.keys.sealing import derive_kek, open_slot, sdek_fingerprint, seal_record, seal_slot, try_slot, verify_record
from pcvfs.keys.slots import SlotKey

log = logging.getLogger(__name__)

_DAMAGE_HINT: Final = "restore the keyset from its copy or from a backup"


@dataclass(frozen=True, slots=True)
class SlotInfo:
    """One slot, as it may be shown.

    Attributes:
        is_bound: not sealed by piccolod; see ``record.Slot``.
    """

    slot_id: str
    kind: str
    label: str
    is_bound: bool


@dataclass(frozen=True, slots=True)
class KeysetInfo:
    """What can be told without a secret. Nothing of it is authenticated before the keyset was opened.

    Attributes:
        fingerprint: hex; names the SDEK. Empty for piccolod's, which has none.
        recovery_wording: from which list the words of the recovery key are; None if there is no recovery key.
    """

    version: int
    generation: int
    fingerprint: str
    slots: tuple[SlotInfo, ...]
    recovery_wording: Wording | None

    @property
    def has_recovery_key(self) -> bool:
        return self.recovery_wording is not None


class Opened:
    """A keyset that was opened: the SDEK, and the record it came from. Wiped at the end of a ``with``.

    Attributes:
        fingerprint: hex; computed, so piccolod's has one too.
    """

    __slots__ = ("fingerprint", "record", "sdek")

    def __init__(self, sdek: Secret, record: KeysetRecord) -> None:
        self.sdek: Final = sdek
        self.record: Final = record
        self.fingerprint: Final = sdek_fingerprint(sdek).hex()

    def copy(self) -> Opened:
        """Another one with a copy of the SDEK."""
        return Opened(Secret.from_bytes(self.sdek.view()), self.record)

    def wipe(self) -> None:
        """Overwrite the SDEK. May be repeated."""
        self.sdek.wipe()

    def __repr__(self) -> str:
        return f"<Opened keyset, generation {self.record.generation}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an opened keyset can't be copied or pickled")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.wipe()


Proof: TypeAlias = SlotKey | Opened  # what allows a change: something that opens a slot, or an SDEK at hand
_Edit: TypeAlias = Callable[[KeysetRecord, Secret, bytes], tuple[Slot, ...]]  # record, SDEK, fingerprint -> new slots


class Keyset:
    """The keyset in one directory.

    Args:
        directory: ``crypto`` in the state directory.
        policy: the price of passwords; also bounds what is read.
    """

    def __init__(self, directory: bytes, policy: CostPolicy) -> None:
        self._file = KeysetFile(directory)
        self._policy = policy

    def info(self) -> KeysetInfo:
        """What can be told without a secret; no key is derived.

        Raises:
            NotInitializedError: there is no keyset.
            CorruptKeysetError, KeysetTooNewError, KeysetCostError: there is one that can't be used.
            KeysetAccessError: it can't be read.
        """
        record = parse_keyset(self._file.read())
        recovery = record.slots_of(SlotKind.RECOVERY)
        return KeysetInfo(
            version=record.version,
            generation=record.generation,
            fingerprint=record.fingerprint.hex(),
            slots=tuple(
                SlotInfo(slot.slot_id, slot.kind, slot.detail(DETAIL_LABEL), slot.is_bound) for slot in record.slots
            ),
            recovery_wording=Wording(recovery[0].detail(DETAIL_WORDING)) if recovery else None,
        )

    def create(self, password: Password) -> Opened:
        """Make a keyset with a new random SDEK and one slot.

        Raises:
            AlreadyInitializedError: there is one, or a copy of one, or something else of these names.
            KeysetAccessError: it can't be written; there is none then, unless it was the last sync that failed.
        """
        self._file.make_directory()
        self._file.check_absent()  # before the costly part
        sdek = Secret.random(spec.SDEK_SIZE)
        try:
            fingerprint = sdek_fingerprint(sdek)
            slot, kek = self._seal(password, sdek, fingerprint)
            with kek:
                record = seal_record(sdek, KeysetRecord(spec.KEYSET_VERSION, 1, fingerprint, (slot,), b""))
                data = self._proven(record, slot, kek, sdek)
            with self._file.exclusive():
                self._file.check_absent()
                self._file.write(data, replace=False)
                self._refresh_backup(data)
        except BaseException:
            sdek.wipe()
            raise
        return Opened(sdek, record)

    def open(self, key: SlotKey, *, accept_damage: bool = False) -> Opened:
        """Open with whatever the key is, and check that the file is as it was written.

        Args:
            accept_damage: open although some other part of the file was changed. The next change heals it.

        Raises:
            WrongPasswordError, WrongRecoveryKeyError, WrongDeviceKeyError: it opens no slot of its kind.
            RecoveryWordsError: these words can't be right; nothing was derived.
            NoSuchSlotError: there is no slot of this kind.
            CorruptKeysetError: the file is damaged, even if the key opened its slot.
            KeysetCostError: opening takes more memory than this machine has (nothing was allocated), or can give.
            NotInitializedError, KeysetTooNewError, KeysetAccessError: as ``info``.
        """
        data = self._file.read()
        opened = self._open(parse_keyset(data), key, accept_damage=accept_damage)
        if not accept_damage:
            self._refresh_backup_alone(data)
        return opened

    def set_password(self, proof: Proof, new: Password) -> int:
        """Replace the password. ``proof`` is the old one, or the recovery key of someone who forgot it.

        Returns:
            The new generation.

        Raises:
            as ``open``, and KeysetAccessError: not written; the old password holds, unless it was the last sync.
        """
        return self._change(proof, new)

    def set_recovery_key(self, proof: Proof, new: RecoveryKey) -> int:
        """Add or replace the recovery key. Show the words first: they can't be had from here. As ``set_password``."""
        return self._change(proof, new)

    def add_device_key(self, proof: Proof, new: DeviceKey) -> int:
        """Add a device key. As ``set_password``; ValueError if there is no place for another slot."""
        return self._change(proof, new)

    def remove_slot(self, proof: Proof, slot_id: str) -> int:
        """Remove a recovery or device slot. As ``set_password``.

        Raises:
            NoSuchSlotError: there is none of this id.
            ValueError: it is the password's.
        """
        if slot_id == PASSWORD_SLOT_ID:
            raise ValueError("a keyset has a password; it can be replaced")

        def edit(record: KeysetRecord, _sdek: Secret, _fingerprint: bytes) -> tuple[Slot, ...]:
            slots = record.without_slot(slot_id)
            if len(slots) == len(record.slots):
                raise NoSuchSlotError("the keyset has no such slot")
            return slots

        return self._write_change(proof, edit, None)

    def restore_backup(self, key: SlotKey) -> int:
        """Put the copy in the place of a keyset that is damaged or gone. The copy must open with ``key``, and be whole.

        Returns:
            The generation that is now in use.

        Raises:
            AlreadyInitializedError: the keyset itself is whole, so there is nothing to restore.
            NotInitializedError: there is no copy.
            others: as ``open``, about the copy.
        """
        with self._file.exclusive():
            data = self._file.read_backup()
            with self._open(parse_keyset(data), key) as opened:
                if self._is_whole(opened.sdek):
                    raise AlreadyInitializedError("the keyset is whole: there is nothing to restore")
                self._file.write(data, replace=True)
                return opened.record.generation

    def data(self) -> bytes:
        """The bytes of the file, for a backup. They were parsed but, without a secret, not verified. As ``info``."""
        data = self._file.read()
        parse_keyset(data)
        return data

    def install(self, data: bytes, key: SlotKey) -> Opened:
        """Put a keyset from a backup where there is none. It must open with ``key``, and be whole.

        Raises:
            AlreadyInitializedError: there is one, or a copy of one.
            others: as ``open``, about ``data``; and KeysetAccessError: not written.
        """
        self._file.make_directory()
        self._file.check_absent()
        opened = self._open(parse_keyset(data), key)
        try:
            with self._file.exclusive():
                self._file.check_absent()
                self._file.write(data, replace=False)
                self._refresh_backup(data)
        except BaseException:
            opened.wipe()
            raise
        return opened

    # --- opening -------------------------------------------------------------------------------------------------
    def _open(self, record: KeysetRecord, key: SlotKey, *, accept_damage: bool = False) -> Opened:
        slots = record.slots_of(key.kind)
        if not slots:
            raise NoSuchSlotError(f"the keyset has no {key.kind.value.replace('-', ' ')}")
        for slot in slots:
            if isinstance(slot.kdf, Argon2Kdf):
                self._policy.check_affordable(slot.kdf.cost)
            for material in key.materials(slot):
                sdek = try_slot(slot, material, record.fingerprint)
                if sdek is not None:
                    return _verified(Opened(sdek, record), accept_damage=accept_damage)
        raise key.refusal()

    def _is_whole(self, sdek: Secret) -> bool:
        """Whether the keyset in use is one that this SDEK wrote."""
        try:
            record = parse_keyset(self._file.read())
            verify_record(sdek, record)
        except KeysetError:
            return False
        return record.version > 1  # piccolod's can't be verified

    # --- changing ------------------------------------------------------------------------------------------------
    def _change(self, proof: Proof, new: SlotKey) -> int:
        sealed: list[tuple[Slot, Secret]] = []

        def edit(record: KeysetRecord, sdek: Secret, fingerprint: bytes) -> tuple[Slot, ...]:
            sealed.append(self._seal(new, sdek, fingerprint))
            slots = record.with_slot(sealed[0][0])
            if len(slots) > spec.KEYSET_SLOTS_MAX:
                raise ValueError("there is no place for another slot")
            return slots

        try:
            return self._write_change(proof, edit, sealed)
        finally:
            for _, kek in sealed:
                kek.wipe()

    def _write_change(self, proof: Proof, edit: _Edit, sealed: list[tuple[Slot, Secret]] | None) -> int:
        with self._file.exclusive():
            old_data = self._file.read()
            record = parse_keyset(old_data)
            with self._prove(proof, record) as opened:
                fingerprint = sdek_fingerprint(opened.sdek)
                slots = edit(record, opened.sdek, fingerprint)
                draft = KeysetRecord(spec.KEYSET_VERSION, record.generation + 1, fingerprint, slots, b"")
                new_record = seal_record(opened.sdek, draft)
                slot, kek = sealed[0] if sealed else (None, None)
                data = self._proven(new_record, slot, kek, opened.sdek)
            self._file.write_backup(old_data)
            self._file.write(data, replace=True)
            if self._file.read() != data:
                raise CorruptKeysetError("the keyset does not read back as it was written", hint=_DAMAGE_HINT)
            self._refresh_backup(data)
            return new_record.generation

    def _prove(self, proof: Proof, record: KeysetRecord) -> Opened:
        """The SDEK, from whatever the proof is, for a record that was read just now."""
        if not isinstance(proof, Opened):
            return self._open(record, proof)
        if record == proof.record:  # verified, or its damage accepted, when it was opened
            return proof.copy()
        if record.version == 1:  # nothing else ties an SDEK to such a file
            raise CorruptKeysetError("the keyset is another one than was opened", hint=_DAMAGE_HINT)
        return _verified(Opened(Secret.from_bytes(proof.sdek.view()), record), accept_damage=False)

    def _seal(self, key: SlotKey, sdek: Secret, fingerprint: bytes) -> tuple[Slot, Secret]:
        """A new slot, and the key it is sealed under, which is the caller's to wipe."""
        draft = key.draft(self._policy)
        material = next(key.materials(draft))
        kek = derive_kek(draft.kdf, material)
        return seal_slot(draft, kek, sdek, fingerprint), kek

    def _proven(self, record: KeysetRecord, slot: Slot | None, kek: Secret | None, sdek: Secret) -> bytes:
        """The bytes of a record, after they were read back and the new slot in them has been opened."""
        data = serialize_keyset(record)
        again = parse_keyset(data)
        if again != record:
            raise InternalError("the keyset would not read back as what was written")
        verify_record(sdek, again)
        if slot is None or kek is None:
            return data
        (written,) = (candidate for candidate in again.slots if candidate.slot_id == slot.slot_id)
        try:
            with open_slot(written, kek, again.fingerprint) as opened:
                is_same = opened == sdek
        except AuthenticationError:
            is_same = False
        if not is_same:
            raise InternalError("the keyset would not open with the new secret")
        return data

    # --- the copy ------------------------------------------------------------------------------------------------
    def _refresh_backup(self, data: bytes) -> None:
        """Make the copy equal to the keyset. A copy that can't be made does not undo what has succeeded."""
        try:
            self._file.write_backup(data)
        except KeysetError as exc:
            log.warning("the copy of the keyset could not be renewed: %s", exc.message)

    def _refresh_backup_alone(self, data: bytes) -> None:
        """The same after opening, if it is not equal yet: then a change was interrupted, or it is piccolod's."""
        try:
            if self._file.has_backup() and self._file.read_backup() == data:
                return
            with self._file.exclusive():
                if self._file.read() == data:
                    self._file.write_backup(data)
        except KeysetError as exc:
            log.warning("the copy of the keyset could not be renewed: %s", exc.message)


def _verified(opened: Opened, *, accept_damage: bool) -> Opened:
    try:
        verify_record(opened.sdek, opened.record)
    except CorruptKeysetError as exc:
        if not accept_damage:
            opened.wipe()
            raise
        log.warning("%s; opened all the same, as was asked for", exc.message)
    return opened
