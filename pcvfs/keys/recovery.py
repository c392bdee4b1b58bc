"""The recovery key: 24 words on paper.

Ours are BIP-39, English: 256 random bits and 8 of checksum. The bits themselves are the secret, and need no stretching.
piccolod's are 24 out of 26 words of a spelling alphabet, about 113 bits without a checksum; they open what it has
sealed, and are replaced by ours when the recovery key is.

What was typed is forgiven upper case and any white space between words. Everything else that is wrong is said before a
key is derived, by the position of the word and not by the word.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import TracebackType
from typing import Final, NoReturn, Self

from mnemonic import Mnemonic

from pcvfs import native, spec
from pcvfs.crypto.secret import Secret
from pcvfs.errors import RecoveryWordsError, UnlockError, WrongRecoveryKeyError
from pcvfs.keys.cost import CostPolicy
from pcvfs.keys.record import DETAIL_WORDING, RECOVERY_SLOT_ID, Slot, SlotKind, Wording
from pcvfs.keys.slots import empty_slot, random_kdf
from pcvfs.native import Buffer

_TEXT_SIZE_MAX: Final = 4096
# fmt: off
_NATO_WORDS: Final = frozenset({
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india",
    "juliet", "kilo", "lima", "mike", "november", "oscar", "papa", "quebec", "romeo",
    "sierra", "tango", "uniform", "victor", "whiskey", "xray", "yankee", "zulu",
})
# fmt: on


class RecoveryKey:
    """Opens, and makes, the recovery slot.

    Args:
        typed: 24 words in UTF-8; copied, so the caller may wipe it.

    Raises:
        RecoveryWordsError: not 24 words, or words that are in none of the lists.
    """

    __slots__ = ("_entropy", "_phrase")

    def __init__(self, typed: Buffer) -> None:
        words = _split(typed)
        self._entropy = _entropy_of(words) if set(words) <= _bip39_words() else None
        if self._entropy is None and not set(words) <= _NATO_WORDS:
            raise _complaint(words)
        self._phrase = Secret.from_bytes(" ".join(words).encode("ascii"))

    @classmethod
    def generate(cls) -> Self:
        """A new one, of ours."""
        with Secret.random(spec.RECOVERY_ENTROPY_SIZE) as entropy:
            return cls(_bip39().to_mnemonic(bytes(entropy.view())).encode("ascii"))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The one that somebody typed; see the class."""
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise RecoveryWordsError("these are not words")
        return cls(text.encode("utf-8"))

    def words(self) -> list[str]:
        """The words, to be shown once; as ``str``, nothing can wipe them."""
        return str(self._phrase.view(), "ascii").split(" ")

    @property
    def kind(self) -> SlotKind:
        return SlotKind.RECOVERY

    def materials(self, slot: Slot) -> Iterator[Secret]:
        """The random bits for a slot of ours, the words for piccolod's.

        Raises:
            RecoveryWordsError: these words are of the other kind.
        """
        if slot.detail(DETAIL_WORDING) == Wording.NATO:
            if not set(self.words()) <= _NATO_WORDS:
                raise RecoveryWordsError(
                    "these words are no recovery key of this device",
                    hint="it still has its first one, with words like alpha, bravo, charlie",
                )
            return iter([self._phrase])
        if self._entropy is None:
            raise RecoveryWordsError(
                "these words are no recovery key of this device",
                hint="a later recovery key has taken the place of this one: its words are other ones",
            )
        return iter([self._entropy])

    def draft(self, policy: CostPolicy) -> Slot:
        """A slot of ours; ValueError for words of piccolod's."""
        if self._entropy is None:
            raise ValueError("only words of ours are sealed with")
        return empty_slot(RECOVERY_SLOT_ID, SlotKind.RECOVERY, random_kdf(), wording=Wording.BIP39.value)

    def refusal(self) -> UnlockError:
        return WrongRecoveryKeyError(
            "the recovery key is wrong",
            hint="its words are well-formed: it may belong to another device, or be an old one",
        )

    def wipe(self) -> None:
        self._phrase.wipe()
        if self._entropy is not None:
            self._entropy.wipe()

    def __repr__(self) -> str:
        return "<RecoveryKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RecoveryKey can't be copied or pickled")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.wipe()


def _split(typed: Buffer) -> list[str]:
    """The words, in lower case."""
    if memoryview(typed).nbytes > _TEXT_SIZE_MAX:
        raise RecoveryWordsError("that is too long for a recovery key")
    words = str(typed, "utf-8", "replace").lower().split()
    if len(words) != spec.RECOVERY_WORDS:
        raise RecoveryWordsError(f"a recovery key has {spec.RECOVERY_WORDS} words, these are {len(words)}")
    return words


def _entropy_of(words: list[str]) -> Secret | None:
    """The bits that words of BIP-39 stand for; None if the checksum says that one of them is wrong."""
    try:
        entropy = _bip39().to_entropy(words)
    except ValueError:
        return None
    try:
        return Secret.from_bytes(entropy)
    finally:
        native.wipe(entropy)


def _complaint(words: list[str]) -> RecoveryWordsError:
    """What is wrong with words that are no recovery key, measured by the list that most of them are in."""
    word_list = max((_bip39_words(), _NATO_WORDS), key=lambda known: sum(word in known for word in words))
    strangers = tuple(number for number, word in enumerate(words, 1) if word not in word_list)
    if not strangers:
        return RecoveryWordsError(
            "each word is in the list, but together they are no recovery key",
            hint="one is another word of the list, or two have changed places",
        )
    return RecoveryWordsError(
        f"not in the list of recovery words: word {', '.join(map(str, strangers))}",
        hint="compare them with the paper letter by letter",
        positions=strangers,
    )


@cache
def _bip39() -> Mnemonic:
    return Mnemonic("english")


@cache
def _bip39_words() -> frozenset[str]:
    return frozenset(_bip39().wordlist)
