"""A password as a keyset sees it: text, in Unicode's composed form, and nothing else done to it.

Spaces count, wherever they are; upper and lower case are two. NFC makes one password of what different keyboards send
for the same characters. What piccolod sealed knows no normal form, so for such a slot the password is tried composed,
as it was typed, and decomposed; for ASCII these are the same.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from types import TracebackType
from typing import NoReturn, Self

from pcvfs import spec
from pcvfs.crypto.secret import Secret
from pcvfs.errors import UnlockError, UnusablePasswordError, WrongPasswordError
from pcvfs.keys.cost import CostPolicy
from pcvfs.keys.record import PASSWORD_SLOT_ID, Slot, SlotKind
from pcvfs.keys.slots import empty_slot, guessable_kdf
from pcvfs.native import Buffer


class Password:
    """Opens, and makes, the password slot.

    Args:
        typed: UTF-8, 1 to 65536 bytes; copied, so the caller may wipe it.

    Raises:
        UnusablePasswordError: empty, too long, or not UTF-8.
    """

    __slots__ = ("_forms",)

    def __init__(self, typed: Buffer) -> None:
        size = memoryview(typed).nbytes
        if not size:
            raise UnusablePasswordError("the password is empty")
        if size > spec.PASSPHRASE_SIZE_MAX:
            raise UnusablePasswordError(f"the password has more than {spec.PASSPHRASE_SIZE_MAX} bytes")
        self._forms = [Secret.from_bytes(typed)]  # composed, as typed, decomposed; each once
        if max(self._forms[0].view()) >= 0x80:  # not ASCII
            self._forms = _forms_of(self._forms[0])

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The password that somebody typed.

        Raises:
            UnusablePasswordError: empty, too long, or with half of a surrogate pair.
        """
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise UnusablePasswordError("the password is not text")
        return cls(text.encode("utf-8"))

    @property
    def kind(self) -> SlotKind:
        return SlotKind.PASSWORD

    def materials(self, slot: Slot) -> Iterator[Secret]:
        """One for slots of ours; up to three for piccolod's."""
        return iter(self._forms[:1] if slot.is_bound else self._forms)

    def draft(self, policy: CostPolicy) -> Slot:
        return empty_slot(PASSWORD_SLOT_ID, SlotKind.PASSWORD, guessable_kdf(policy))

    def refusal(self) -> UnlockError:
        return WrongPasswordError(
            "the password is wrong", hint="capital letters, spaces and the keyboard's language matter"
        )

    def wipe(self) -> None:
        for form in self._forms:
            form.wipe()

    def __eq__(self, other: object) -> bool:
        """Whether two are the same password for slots of ours."""
        return self._forms[0] == other._forms[0] if isinstance(other, Password) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as in Secret

    def __repr__(self) -> str:
        return "<Password>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Password can't be copied or pickled")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.wipe()


def _forms_of(exact: Secret) -> list[Secret]:
    """The composed form, then the others that differ from it."""
    text = _decode(exact)
    if text is None:  # raised here, since the decoder's own error would bring the password along
        exact.wipe()
        raise UnusablePasswordError("the password is not UTF-8")
    composed, decomposed = (Secret.from_bytes(unicodedata.normalize(form, text).encode()) for form in ("NFC", "NFD"))
    forms: list[Secret] = []
    for form in (composed, exact, decomposed):
        if form not in forms:
            forms.append(form)
        else:
            form.wipe()
    return forms


def _decode(data: Secret) -> str | None:
    try:
        return str(data.view(), "utf-8")
    except UnicodeDecodeError:
        return None
