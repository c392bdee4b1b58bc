"""Recovery words: what is forgiven, what is said, and what they are worth."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mnemonic import Mnemonic

from pcvfs.errors import NoSuchSlotError, RecoveryWordsError, WrongRecoveryKeyError
from pcvfs.keys import recovery, sealing
from pcvfs.keys.keyset import Keyset
from pcvfs.keys.recovery import RecoveryKey
from tests.unit.keys.cheap import PASSWORD, VECTORS, opens, password, put, sdek_of
from tests.unit.keys.piccolod import version_1

WORDS = VECTORS["recovery_words"]["mnemonic"].split(" ")
NATO_PHRASE = VECTORS["piccolod_words"]["mnemonic"]
ENGLISH = Mnemonic("english").wordlist


def complaint(words: list[str] | str) -> RecoveryWordsError:
    with pytest.raises(RecoveryWordsError) as caught:
        RecoveryKey.from_text(words if isinstance(words, str) else " ".join(words))
    assert caught.value.__context__ is None
    return caught.value


def entropy_of(key: RecoveryKey) -> bytes:
    assert key._entropy is not None
    return bytes(key._entropy.view())


# --- ours --------------------------------------------------------------------------------------------------------
def test_words_of_the_vector_are_its_entropy() -> None:
    assert entropy_of(RecoveryKey.from_text(" ".join(WORDS))).hex() == VECTORS["recovery_words"]["entropy_hex"]


def test_generated_words_carry_256_bits_and_a_checksum() -> None:
    keys = [RecoveryKey.generate() for _ in range(20)]
    assert len({entropy_of(key) for key in keys}) == 20
    for key in keys:
        assert len(key.words()) == 24
        assert len(entropy_of(key)) * 8 == 256
        assert entropy_of(RecoveryKey.from_text(" ".join(key.words()))) == entropy_of(key)
    # 480 draws from 2048 words: from 26 words there would be 26
    assert len({word for key in keys for word in key.words()}) > 200


@pytest.mark.parametrize(
    "typed",
    [
        " ".join(WORDS).upper(),
        "  " + "   ".join(WORDS) + "\n",
        "\r\n".join(WORDS),
        "\t".join(word.title() for word in WORDS),
        "\u00a0".join(WORDS),
    ],
    ids=["upper", "spaces", "lines", "title", "no-break"],
)
def test_words_case_and_white_space_are_forgiven(typed: str) -> None:
    assert entropy_of(RecoveryKey.from_text(typed)) == entropy_of(RecoveryKey.from_text(" ".join(WORDS)))


@pytest.mark.parametrize("position", [1, 7, 24])
@pytest.mark.parametrize("wrong", ["abandom", "zzz", "\u00e9clair", "word1", "-", "alpha-bravo"])
def test_words_with_a_typo_name_its_position_and_not_the_word(position: int, wrong: str) -> None:
    error = complaint([*WORDS[: position - 1], wrong, *WORDS[position:]])
    assert error.positions == (position,)
    assert str(position) in error.message
    assert wrong not in error.message.split(": ")[-1].split() + error.hint.split()


def test_words_several_typos_are_all_named() -> None:
    error = complaint(["x1", *WORDS[1:10], "x2", *WORDS[11:]])
    assert error.positions == (1, 11)


@pytest.mark.parametrize("count", [0, 1, 12, 23, 25, 1000])
def test_words_of_another_number_are_refused(count: int) -> None:
    error = complaint((WORDS * 50)[:count])
    assert error.positions == ()
    assert str(count) in error.message or "long" in error.message


def test_words_that_are_not_text_are_refused() -> None:
    assert complaint("\ud800 " * 24).positions == ()
    with pytest.raises(RecoveryWordsError):
        RecoveryKey(b"\xff " * 24)


@given(position=st.integers(0, 23), word=st.sampled_from(ENGLISH))
@settings(max_examples=300)
def test_words_with_another_word_of_the_list_mostly_fail_the_checksum(position: int, word: str) -> None:
    words = [*WORDS[:position], word, *WORDS[position + 1 :]]
    try:
        key = RecoveryKey.from_text(" ".join(words))
    except RecoveryWordsError as exc:
        assert exc.positions == ()
        assert "together" in exc.message
        assert not Mnemonic("english").check(" ".join(words))
    else:
        assert Mnemonic("english").check(" ".join(words))
        assert (entropy_of(key) == entropy_of(RecoveryKey.from_text(" ".join(WORDS)))) == (word == WORDS[position])


def test_words_in_another_order_fail_the_checksum() -> None:
    assert "places" in complaint([WORDS[1], WORDS[0], *WORDS[2:]]).hint


def test_words_typo_is_told_before_any_key_is_derived(keyset: Keyset, monkeypatch: pytest.MonkeyPatch) -> None:
    keyset.set_recovery_key(password(PASSWORD), RecoveryKey.generate())
    for name in ("argon2id", "hkdf_sha256"):
        monkeypatch.setattr(sealing, name, lambda *_args: pytest.fail("derived"))
    complaint(["abandom", *WORDS[1:]])
    with pytest.raises(RecoveryWordsError):  # well-formed, but of piccolod's kind
        keyset.open(RecoveryKey.from_text(NATO_PHRASE))


# --- in a keyset -------------------------------------------------------------------------------------------------
def test_recovery_key_opens_and_replaces_a_forgotten_password(keyset: Keyset) -> None:
    words, sdek = RecoveryKey.generate(), sdek_of(keyset, PASSWORD)
    with pytest.raises(NoSuchSlotError):
        keyset.open(words)
    assert not keyset.info().has_recovery_key
    keyset.set_recovery_key(password(PASSWORD), words)
    assert keyset.info().has_recovery_key
    assert sdek_of(keyset, words) == sdek
    keyset.set_password(words, password("new"))
    assert sdek_of(keyset, "new") == sdek_of(keyset, words) == sdek
    assert not opens(keyset, PASSWORD)


def test_recovery_key_that_was_rotated_out_opens_nothing(keyset: Keyset) -> None:
    old, new = RecoveryKey.generate(), RecoveryKey.generate()
    keyset.set_recovery_key(password(PASSWORD), old)
    keyset.set_recovery_key(old, new)
    assert opens(keyset, new)
    with pytest.raises(WrongRecoveryKeyError):
        keyset.open(old)
    assert [slot.kind for slot in keyset.info().slots] == ["password", "recovery"]


def test_recovery_key_needs_no_stretching(keyset: Keyset, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = RecoveryKey.generate()
    keyset.set_recovery_key(password(PASSWORD), words)
    monkeypatch.setattr(sealing, "argon2id", lambda *_args: pytest.fail("stretched"))
    assert opens(keyset, words)


def test_piccolods_words_are_forgiven_the_same(empty: Keyset, directory: Path) -> None:
    put(directory, version_1(PASSWORD, NATO_PHRASE))
    for typed in (NATO_PHRASE.upper(), NATO_PHRASE.replace(" ", "\n  ")):
        assert opens(empty, RecoveryKey.from_text(typed))
    error = complaint(NATO_PHRASE.replace("victor", "viktor"))
    assert error.positions == (NATO_PHRASE.split(" ").index("victor") + 1,)


def test_words_of_the_other_kind_say_which_kind_is_wanted(empty: Keyset, directory: Path) -> None:
    put(directory, version_1(PASSWORD, NATO_PHRASE))
    with pytest.raises(RecoveryWordsError, match="no recovery key of this device") as caught:
        empty.open(RecoveryKey.generate())
    assert "alpha" in caught.value.hint


def test_piccolods_words_are_never_sealed_with(keyset: Keyset) -> None:
    with pytest.raises(ValueError, match="ours"):
        keyset.set_recovery_key(password(PASSWORD), RecoveryKey.from_text(NATO_PHRASE))
    assert not keyset.info().has_recovery_key
    assert opens(keyset, PASSWORD)


def test_recovery_key_is_not_shown_copied_or_kept() -> None:
    with RecoveryKey.from_text(" ".join(WORDS)) as key:
        assert repr(key) == "<RecoveryKey>"
        with pytest.raises(TypeError):
            pickle.dumps(key)
        assert key._entropy is not None
        views = [key._entropy.view(), key._phrase.view()]
    assert not any(any(view) for view in views)


def test_word_lists_are_the_right_size() -> None:
    assert len(recovery._NATO_WORDS) == 26
    assert len(recovery._bip39_words()) == 2048
