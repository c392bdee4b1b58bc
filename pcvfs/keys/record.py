"""What a keyset says, as immutable records. No bytes, no keys, no checks.

Source: docs/format.md "keyset.json".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pcvfs.crypto.argon2 import Argon2Cost


class SlotKind(StrEnum):
    """The kinds of slot that this version opens. A file may hold others, which are kept."""

    PASSWORD = "password"  # noqa: S105  # a kind, not one
    RECOVERY = "recovery"
    DEVICE_KEY = "device-key"


class Wording(StrEnum):
    """From which list the words of a recovery key are; the values are the spelling in the file."""

    BIP39 = "bip39-english-24"
    NATO = "nato-24"  # piccolod's: 26 words, no checksum


PASSWORD_SLOT_ID = "password"  # noqa: S105  # likewise
RECOVERY_SLOT_ID = "recovery"
DETAIL_WORDING = "wording"
DETAIL_LABEL = "label"


@dataclass(frozen=True, slots=True)
class Argon2Kdf:
    """For secrets that can be guessed."""

    cost: Argon2Cost
    salt: bytes


@dataclass(frozen=True, slots=True)
class HkdfKdf:
    """For secrets of 32 random bytes."""

    salt: bytes


Kdf = Argon2Kdf | HkdfKdf


@dataclass(frozen=True, slots=True)
class Slot:
    """One way to the SDEK.

    Attributes:
        slot_id: unique in the keyset.
        kind: a ``SlotKind``, or one of a later version.
        details: what this kind needs besides; in the order of the file.
        is_bound: the sealed SDEK is authenticated together with the rest of the slot. Only what piccolod sealed is not.
        sealed: SDEK and tag, 48 bytes.
    """

    slot_id: str
    kind: str
    kdf: Kdf
    details: tuple[tuple[str, str], ...]
    is_bound: bool
    nonce: bytes
    sealed: bytes

    def detail(self, name: str) -> str:
        """One of ``details``; empty if it is not there."""
        return dict(self.details).get(name, "")


@dataclass(frozen=True, slots=True)
class KeysetRecord:
    """One keyset.

    Attributes:
        version: 1 (piccolod's) or 2.
        generation: 0 in version 1; each change adds one.
        fingerprint: tells which SDEK is in it, without telling the SDEK; empty in version 1.
        seal: authenticates all of the above and the slots under the SDEK; empty in version 1.
    """

    version: int
    generation: int
    fingerprint: bytes
    slots: tuple[Slot, ...]
    seal: bytes

    def slots_of(self, kind: str) -> tuple[Slot, ...]:
        """The slots of one kind, in the order of the file."""
        return tuple(slot for slot in self.slots if slot.kind == kind)

    def with_slot(self, new: Slot) -> tuple[Slot, ...]:
        """The slots with ``new`` in the place of the one that has its id, or behind all others."""
        if not any(slot.slot_id == new.slot_id for slot in self.slots):
            return (*self.slots, new)
        return tuple(new if slot.slot_id == new.slot_id else slot for slot in self.slots)

    def without_slot(self, slot_id: str) -> tuple[Slot, ...]:
        """The slots without the one that has this id."""
        return tuple(slot for slot in self.slots if slot.slot_id != slot_id)
