"""Keysets that were not made by this code: every vector opens, with every secret that belongs to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pcvfs.errors import NoSuchSlotError, WrongPasswordError, WrongRecoveryKeyError
from pcvfs.keys.cost import CostPolicy
from pcvfs.keys.device_key import DeviceKey
from pcvfs.keys.encoding import parse_keyset, serialize_keyset
from pcvfs.keys.keyset import Keyset
from pcvfs.keys.record import Wording
from pcvfs.keys.recovery import RecoveryKey
from tests.unit.keys.cheap import CHEAP, FINGERPRINT, SDEK, VECTORS, password, put

names = {"ids": lambda vector: vector["name"]}


@pytest.fixture
def place(directory: Path) -> Keyset:
    return Keyset(os.fsencode(directory), CHEAP)


@pytest.mark.parametrize("vector", VECTORS["version_1"], **names)
def test_piccolods_keyset_opens_with_password_and_words(place: Keyset, directory: Path, vector: dict[str, str]) -> None:
    put(directory, vector["file_text"])
    with place.open(password(vector["password"])) as opened:
        assert opened.sdek.view() == SDEK
        assert opened.fingerprint == FINGERPRINT
    if not vector["name"].startswith("production"):  # a second each
        with pytest.raises(WrongPasswordError):
            place.open(password(vector["password"].strip() + "?"))
    if not vector["mnemonic"]:
        with pytest.raises(NoSuchSlotError):
            place.open(RecoveryKey.from_text(VECTORS["piccolod_words"]["mnemonic"]))
        return
    with place.open(RecoveryKey.from_text(vector["mnemonic"])) as opened:
        assert opened.sdek.view() == SDEK


@pytest.mark.parametrize("vector", VECTORS["version_1"][:3], **names)
def test_piccolods_keyset_after_a_change_is_ours_and_its_words_still_open(
    place: Keyset, directory: Path, vector: dict[str, str]
) -> None:
    put(directory, vector["file_text"])
    assert place.info().version == 1
    assert place.set_password(password(vector["password"]), password("new")) == 1
    info = place.info()
    assert (info.version, info.generation, info.fingerprint) == (2, 1, FINGERPRINT)
    assert [slot.is_bound for slot in info.slots] == [True, False][: len(info.slots)]
    with place.open(password("new")) as opened:
        assert opened.sdek.view() == SDEK
    with pytest.raises(WrongPasswordError):
        place.open(password(vector["password"]))
    if vector["mnemonic"]:
        assert info.recovery_wording == Wording.NATO
        with place.open(RecoveryKey.from_text(vector["mnemonic"])) as opened:
            assert opened.sdek.view() == SDEK


def test_piccolods_words_are_replaced_by_ours(place: Keyset, directory: Path) -> None:
    vector = VECTORS["version_1"][1]
    put(directory, vector["file_text"])
    old, new = RecoveryKey.from_text(vector["mnemonic"]), RecoveryKey.generate()
    place.set_recovery_key(old, new)
    assert place.info().recovery_wording == Wording.BIP39
    with place.open(new) as opened:
        assert opened.sdek.view() == SDEK
    with pytest.raises(WrongPasswordError):
        place.open(password("wrong"))
    with place.open(password(vector["password"])) as opened:  # still sealed by piccolod
        assert opened.sdek.view() == SDEK


@pytest.mark.parametrize("vector", VECTORS["version_2"], **names)
def test_keyset_of_the_independent_implementation_opens(place: Keyset, directory: Path, vector: dict[str, str]) -> None:
    put(directory, vector["file_text"])
    with place.open(password(vector["password"])) as opened:
        assert opened.sdek.view() == SDEK
        assert opened.fingerprint == place.info().fingerprint == FINGERPRINT
    with pytest.raises(WrongPasswordError):
        place.open(password("wrong"))


def test_keyset_of_the_independent_implementation_opens_with_all_kinds(place: Keyset, directory: Path) -> None:
    put(directory, VECTORS["version_2"][1]["file_text"])
    device_file = directory / "device"
    device_file.touch(mode=0o600)
    device_file.write_text(VECTORS["device_key"]["file_text"])
    for key in (
        RecoveryKey.from_text(VECTORS["recovery_words"]["mnemonic"]),
        DeviceKey.read_file(os.fsencode(device_file)),
    ):
        with place.open(key) as opened:
            assert opened.sdek.view() == SDEK
    with pytest.raises(WrongRecoveryKeyError):
        place.open(RecoveryKey.generate())


@pytest.mark.parametrize("vector", VECTORS["version_2"], **names)
def test_keyset_is_written_as_the_independent_implementation_writes_it(vector: dict[str, str]) -> None:
    assert serialize_keyset(parse_keyset(vector["file_text"].encode())) == vector["file_text"].encode()


def test_slot_of_a_later_kind_survives_a_change(place: Keyset, directory: Path) -> None:
    put(directory, VECTORS["version_2"][2]["file_text"])
    before = parse_keyset((directory / "keyset.json").read_bytes())
    place.set_password(password("correct horse"), password("new"))
    after = parse_keyset((directory / "keyset.json").read_bytes())
    assert after.slots_of("tpm") == before.slots_of("tpm") != ()
    assert [slot.kind for slot in place.info().slots] == ["password", "tpm"]


def test_piccolods_words_are_what_it_makes_of_random_bytes() -> None:
    words = VECTORS["piccolod_words"]["mnemonic"]
    assert " ".join(RecoveryKey.from_text(words.upper()).words()) == words


def test_price_for_any_machine_opens_piccolods_of_512_mib() -> None:
    for memory_kib in (1 << 20, 4 << 20, 64 << 20):
        policy = CostPolicy.for_machine(memory_kib, 4)
        for vector in VECTORS["version_1"]:
            for slot in parse_keyset(vector["file_text"].encode()).slots:
                policy.check_affordable(slot.kdf.cost)
