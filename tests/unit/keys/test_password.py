"""Passwords are text: what is one, what is the same one, and what is never done to it."""

from __future__ import annotations

import os
import pickle
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs.errors import ExitCode, UnusablePasswordError, WrongPasswordError
from pcvfs.keys.encoding import parse_keyset
from pcvfs.keys.keyset import Keyset
from pcvfs.keys.password import Password
from pcvfs.keys.sealing import derive_kek, open_slot
from tests.unit.keys.cheap import CHEAP, PASSWORD, opens, password, put
from tests.unit.keys.piccolod import version_1

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@pytest.mark.parametrize(
    "text",
    ["a", " ", "  outer spaces  ", "\t\n", "\0", "p\u00e4ss", "\U0001f511", "\ufeff", "x" * 65_536, "\u20ac" * 21_845],
    ids=lambda text: ascii(text[:10]),
)
def test_password_that_was_set_opens_exactly(empty: Keyset, text: str) -> None:
    empty.create(password(text)).wipe()
    assert opens(empty, text)
    for other in (text + " ", " " + text, text + "\n", text.swapcase() + "x"):
        if len(other.encode()) <= 65_536:
            assert not opens(empty, other)


def test_password_is_never_trimmed(empty: Keyset) -> None:
    empty.create(password("  spaces  ")).wipe()
    assert opens(empty, "  spaces  ")
    assert not opens(empty, "spaces")
    assert not opens(empty, "  spaces")
    empty.set_password(password("  spaces  "), password("spaces"))
    assert not opens(empty, "  spaces  ")


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "empty"), (b"x" * 65_537, "more than 65536"), (b"\xff", "not UTF-8"), (b"\xed\xa0\x80", "not UTF-8")],
)
def test_password_that_can_not_be_one_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(UnusablePasswordError, match=why) as caught:
        Password(data)
    assert caught.value.exit_code == ExitCode.READ_PASSWORD
    assert caught.value.__context__ is None  # a decoder's error would carry the password


def test_password_with_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(UnusablePasswordError) as caught:
        password("abc\ud83d")
    assert caught.value.__context__ is None


@given(text=texts)
def test_password_equivalent_unicode_forms_are_one_password(text: str) -> None:
    forms = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")} | {text}
    assert all(password(one) == password(other) for one in forms for other in forms)


@given(one=texts, other=texts)
def test_password_other_text_is_another_password(one: str, other: str) -> None:
    is_same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    assert (password(one) == password(other)) == is_same


def test_password_compatibility_forms_are_other_passwords() -> None:
    assert password("\ufb01") != password("fi")
    assert password("\uff21") != password("A")


def test_password_from_any_buffer_is_the_same() -> None:
    assert Password(bytearray(b"x")) == Password(memoryview(b"x")) == password("x")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_piccolods_password_opens_in_whatever_form_it_was_set(directory: Path, form: str, typed: str) -> None:
    text = "p\u00e4ss \u1e9b\u0323"
    put(directory, version_1(unicodedata.normalize(form, text)))
    keyset = Keyset(os.fsencode(directory), CHEAP)
    assert opens(keyset, unicodedata.normalize(typed, text))
    assert not opens(keyset, "pass")


def test_password_wrong_costs_one_derivation(keyset: Keyset, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr("pcvfs.keys.sealing.derive_kek", lambda *args: made.append(1) or derive_kek(*args))
    with pytest.raises(WrongPasswordError):
        keyset.open(password("p\u00e4ss"))
    assert len(made) == 1  # a slot of ours knows one form
    put(directory, version_1(PASSWORD))
    with pytest.raises(WrongPasswordError):
        keyset.open(password("plain"))
    assert len(made) == 2  # piccolod's knows all forms, which for ASCII are one


def test_every_sealing_has_new_salt_and_nonce(keyset: Keyset, directory: Path) -> None:
    seen = set()
    for _ in range(3):
        keyset.set_password(password(PASSWORD), password(PASSWORD))
        (slot,) = parse_keyset((directory / "keyset.json").read_bytes()).slots
        seen |= {slot.kdf.salt, slot.nonce, slot.sealed}
    assert len(seen) == 9


def test_password_slot_opens_by_the_documented_way(keyset: Keyset, directory: Path) -> None:
    record = parse_keyset((directory / "keyset.json").read_bytes())
    (material,) = password(PASSWORD).materials(record.slots[0])
    with derive_kek(record.slots[0].kdf, material) as kek, keyset.open(password(PASSWORD)) as opened:
        assert open_slot(record.slots[0], kek, record.fingerprint) == opened.sdek


def test_password_is_not_shown_copied_or_hashed() -> None:
    secret = password("a secret")
    assert repr(secret) == str(secret) == "<Password>"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)
    assert secret != "a secret"


def test_password_wipe_wipes_every_form() -> None:
    with password("p\u00e4ss") as secret:
        views = [form.view() for form in secret._forms]
        assert len(views) == 2
        assert all(any(view) for view in views)
    assert not any(any(view) for view in views)
