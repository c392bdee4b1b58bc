"""What opens a slot, whatever its kind: the interface that password, recovery words and device keys share.

A further kind (a TPM, a token) is one more class with these methods, and a name in ``SlotKind``. Its details are text
in the slot, and its secret, if it is 32 random bytes, goes through HKDF like that of a device key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

from pcvfs import spec
from pcvfs.crypto.secret import Secret
from pcvfs.errors import UnlockError
from pcvfs.keys.cost import CostPolicy
from pcvfs.keys.record import Argon2Kdf, HkdfKdf, Kdf, Slot, SlotKind


class SlotKey(Protocol):
    """Something that opens slots of one kind. Its methods may block; they are called in a worker thread."""

    @property
    def kind(self) -> SlotKind:
        """Of the slots that it opens."""
        ...

    def materials(self, slot: Slot) -> Iterator[Secret]:
        """What goes into the key derivation of ``slot``: the likeliest first, seldom more than one.

        They stay the property of this object.

        Raises:
            UnlockError: it can't be right for this slot; nothing has to be derived to know that.
        """
        ...

    def draft(self, policy: CostPolicy) -> Slot:
        """A slot for this key, with a new salt, in which nothing is sealed yet."""
        ...

    def refusal(self) -> UnlockError:
        """The error for a key that opens no slot."""
        ...

    def wipe(self) -> None:
        """Overwrite the secret. May be repeated."""
        ...


def guessable_kdf(policy: CostPolicy) -> Kdf:
    """For what people choose, with a new salt."""
    return Argon2Kdf(policy.cost, os.urandom(spec.KEYSET_SALT_SIZE))


def random_kdf() -> Kdf:
    """For what is 32 random bytes, with a new salt."""
    return HkdfKdf(os.urandom(spec.KEYSET_SALT_SIZE))


def empty_slot(slot_id: str, kind: SlotKind, kdf: Kdf, **details: str) -> Slot:
    """A draft."""
    return Slot(slot_id, kind, kdf, tuple(details.items()), is_bound=True, nonce=b"", sealed=b"")
