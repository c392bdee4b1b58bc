"""The file as bytes: what is refused, and that no change of any byte goes unnoticed."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcvfs import spec
from pcvfs.errors import (
    CorruptKeysetError,
    KeysetCostError,
    KeysetError,
    KeysetTooNewError,
    NoSuchSlotError,
    PcvfsError,
    UnlockError,
)
from pcvfs.keys.device_key import DeviceKey
from pcvfs.keys.encoding import parse_keyset, serialize_keyset
from pcvfs.keys.keyset import Keyset
from pcvfs.keys.record import KeysetRecord
from pcvfs.keys.recovery import RecoveryKey
from tests.unit.keys.cheap import BY_NAME, CHEAP, PASSWORD, SDEK, password, put

ALL = ["cheap-no-rk", "cheap-with-rk", "password", "all-kinds", "later-kind"]
whatever = pytest.mark.parametrize("name", ALL)


def text_of(name: str) -> str:
    return str(BY_NAME[name]["file_text"])


def edited(name: str, **changes: object) -> bytes:
    """The vector with members changed: ``slots__0__kdf__time=1``; None removes."""
    root = json.loads(text_of(name))
    for path, value in changes.items():
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("__"))
        target = root
        for parent in parents:
            target = target[parent]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return json.dumps(root).encode()


def leaves(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The paths of all values that are not objects or lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    return [path] if items is None else [leaf for key, item in items for leaf in leaves(item, (*path, key))]


# --- what is read ------------------------------------------------------------------------------------------------
@whatever
def test_parse_white_space_and_order_of_members_mean_nothing(name: str) -> None:
    record = parse_keyset(text_of(name).encode())
    root = json.loads(text_of(name))
    assert parse_keyset(json.dumps(dict(reversed(root.items())), indent=7).encode()) == record
    assert parse_keyset(b" \n" + text_of(name).encode() + b"\t\r\n") == record


def test_parse_piccolods_unknown_members_are_ignored_ours_are_not() -> None:
    assert parse_keyset(edited("cheap-with-rk", hint="x")) == parse_keyset(text_of("cheap-with-rk").encode())
    for path in ("hint", "slots__0__hint", "slots__0__kdf__hint"):
        with pytest.raises(CorruptKeysetError, match="does not belong"):
            parse_keyset(edited("all-kinds", **{path: "x"}))


@whatever
def test_parse_any_member_missing_is_corrupt(name: str) -> None:
    for path in leaves(json.loads(text_of(name))):
        if path[-2:-1] == ("details",) and path[-1] == "blob":
            continue  # of a kind that is not known here
        if path == ("version",) or path[-1] == "label":
            continue
        with pytest.raises(CorruptKeysetError):
            parse_keyset(edited(name, **{"__".join(map(str, path)): None}))


@whatever
@pytest.mark.parametrize("value", [None, True, -1, 1.5, [], {}, "", "\ud800", "x" * 100, 1 << 70], ids=str)
def test_parse_any_member_of_another_type_is_refused(name: str, value: object) -> None:
    root = json.loads(text_of(name))
    for path in leaves(root):
        target = root
        for part in path[:-1]:
            target = target[part]
        before = target[path[-1]]
        if isinstance(before, str) and path[-2:-1] == ("details",) and isinstance(value, str):
            continue  # any text will do
        if isinstance(before, bool) and isinstance(value, bool):
            continue
        target[path[-1]] = value
        with pytest.raises(KeysetError):
            parse_keyset(json.dumps(root).encode())
        target[path[-1]] = before


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe",
        b'{"version": 2, "version": 2}',
        b'{"version": 2e0}',
        b'{"version": NaN}',
        b'{"version": 1}',
        b'{"version": 0}',
        b'{"version": -2}',
        b'{"version": "2"}',
        b'{"version": true}',
        b"[" * 100_000,
        b'{"a":' * 10_000,
        b'{"version": ' + b"9" * 10_000 + b"}",
        b" " * (spec.KEYSET_SIZE_MAX + 1),
    ],
    ids=lambda data: ascii(data[:20]),
)
def test_parse_what_is_no_keyset_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptKeysetError):
        parse_keyset(data)


@pytest.mark.parametrize("version", [3, 4, 1000, (1 << 32) - 1])
def test_parse_a_later_version_is_too_new_and_not_corrupt(version: int) -> None:
    with pytest.raises(KeysetTooNewError, match=str(version)):
        parse_keyset(edited("password", version=version, new_member={"x": 1}))


@pytest.mark.parametrize(
    "changes",
    [
        {"slots__1__id": "password"},
        {"slots__1__kind": "password"},
        {"slots__2__kind": "recovery"},
        {"slots__0__kind": "recovery"},
        {"slots__0__kind": "other"},
        {"slots": []},
        {"slots__0__bound": False, "slots__1__bound": False},
        {"slots__2__bound": False},
        {"slots__1__details__wording": "nato-24"},
        {"slots__1__details__wording": "latin"},
        {"slots__1__kdf__alg": "argon2id"},
        {"slots__1__kdf__alg": "sha1"},
        {"slots__0__kdf": {"alg": "hkdf-sha256", "salt": "A" * 22}},
        {"slots__2__kdf": {"alg": "argon2id", "time": 1, "memory": 8, "threads": 1, "salt": "A" * 22}},
        {"generation": 0},
        {"generation": 1 << 53},
        {"fingerprint": "A" * 21 + "B"},
        {"fingerprint": "A" * 22 + "=="},
        {"fingerprint": "A" * 21 + "\n"},
    ],
    ids=str,
)
def test_parse_slots_that_contradict_each_other_are_corrupt(changes: dict[str, object]) -> None:
    with pytest.raises(CorruptKeysetError):
        parse_keyset(edited("all-kinds", **changes))


def test_parse_more_slots_than_there_is_room_for_is_corrupt() -> None:
    (slot,) = json.loads(text_of("password"))["slots"]
    others = [slot | {"id": f"later-{i}", "kind": "later"} for i in range(16)]
    assert len(parse_keyset(edited("password", slots=[slot, *others[:15]])).slots) == 16
    with pytest.raises(CorruptKeysetError):
        parse_keyset(edited("password", slots=[slot, *others]))


# --- parameter bombs ---------------------------------------------------------------------------------------------
BOMBS = [
    {"memory": 4 << 30},  # 4 TiB
    {"time": 1 << 31},
    {"threads": 1 << 20},
    {"memory": (2 << 20) + 1},
    {"time": 65},
    {"threads": 65, "memory": 8192},
    {"memory": 2 << 20, "time": 9},
    {"memory": (1 << 53) - 1, "time": (1 << 53) - 1},
]


@pytest.mark.parametrize("bomb", BOMBS, ids=str)
@pytest.mark.parametrize(("name", "prefix"), [("cheap-no-rk", "kdf"), ("password", "slots__0__kdf")])
def test_keyset_that_asks_for_absurd_memory_or_time_is_refused_before_any_allocation(
    directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, prefix: str, bomb: dict[str, int]
) -> None:
    put(directory, edited(name, **{f"{prefix}__{member}": value for member, value in bomb.items()}))
    monkeypatch.setattr("pcvfs.keys.sealing.argon2id", lambda *_args: pytest.fail("derived"))
    place = Keyset(os.fsencode(directory), CHEAP)
    for use in (place.info, lambda: place.open(password("correct horse"))):
        with pytest.raises(KeysetCostError):
            use()


@pytest.mark.parametrize("member", ["memory", "time", "threads"])
@pytest.mark.parametrize("value", [0, -1, 1 << 53, 1 << 64, 1 << 200])
def test_keyset_with_impossible_parameters_is_corrupt(member: str, value: int) -> None:
    with pytest.raises(CorruptKeysetError):
        parse_keyset(edited("password", **{f"slots__0__kdf__{member}": value}))


# --- changed bytes -----------------------------------------------------------------------------------------------
def outcome(directory: Path, data: bytes, secret: str, sdek: bytes | None = SDEK) -> tuple[str, KeysetRecord | None]:
    """How opening ends: with the SDEK that it must be, or with which kind of error."""
    try:
        parse_keyset(data)  # most changes fail here, without a file
        put(directory, data)
        with Keyset(os.fsencode(directory), CHEAP).open(password(secret)) as opened:
            assert sdek is None or opened.sdek.view() == sdek
            return "opened", opened.record
    except PcvfsError as exc:
        assert isinstance(exc, KeysetError | UnlockError)
        assert secret not in exc.message + exc.hint
        return type(exc).__name__, None


def test_every_flipped_bit_of_our_keyset_is_noticed(keyset: Keyset, directory: Path, tmp_path: Path) -> None:
    keyset.set_recovery_key(password(PASSWORD), RecoveryKey.generate())
    keyset.add_device_key(password(PASSWORD), DeviceKey.generate(label="stick"))
    data = bytearray((directory / "keyset.json").read_bytes())
    assert outcome(tmp_path, bytes(data), PASSWORD, None)[0] == "opened"
    seen = set()
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            result, _ = outcome(tmp_path, bytes(data), PASSWORD, None)
            assert result != "opened", f"byte {position} bit {bit}"
            seen.add(result)
            data[position] ^= 1 << bit
    assert seen == {"CorruptKeysetError", "WrongPasswordError", "KeysetTooNewError"}


def test_every_flipped_bit_of_piccolods_keyset_opens_the_same_sdek_or_nothing(tmp_path: Path) -> None:
    original = text_of("cheap-with-rk").encode()
    for position in range(len(original)):
        data = bytearray(original)
        data[position] ^= 1 << position % 8
        outcome(tmp_path, bytes(data), "correct horse")  # asserts that it is that SDEK, or an error of ours


@whatever
def test_every_truncation_is_corrupt(name: str) -> None:
    data = text_of(name).encode()
    for size in range(len(data.rstrip())):
        with pytest.raises(CorruptKeysetError):
            parse_keyset(data[:size])


@given(data=st.binary(max_size=300))
def test_parse_random_bytes_are_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(KeysetError):
        parse_keyset(data)


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_parse_edited_keyset_is_read_as_it_is_or_an_error_of_ours(draws: st.DataObject) -> None:
    data = bytearray(text_of(draws.draw(st.sampled_from(ALL))).encode())
    for _ in range(draws.draw(st.integers(1, 4))):
        start = draws.draw(st.integers(0, len(data)))
        end = draws.draw(st.integers(start, min(start + 30, len(data))))
        data[start:end] = draws.draw(st.binary(max_size=30))
    try:
        record = parse_keyset(bytes(data))
    except KeysetError:
        return
    if record.version > 1:
        assert parse_keyset(serialize_keyset(record)) == record


# --- swapped parts -----------------------------------------------------------------------------------------------
def test_parts_of_slots_and_files_that_change_places_open_nothing(tmp_path: Path, keyset: Keyset) -> None:
    """Each sealed SDEK is bound to its slot, purpose, version and key: it is of no use anywhere else."""
    path = tmp_path / "state" / "crypto" / "keyset.json"
    mine = parse_keyset(path.read_bytes())
    slot = mine.slots[0]
    for changed in (
        dataclasses.replace(slot, details=(("label", "x"),)),
        dataclasses.replace(slot, is_bound=False),
        dataclasses.replace(slot, slot_id="password-2"),
    ):
        path.write_bytes(serialize_keyset(dataclasses.replace(mine, slots=(changed,))))
        with pytest.raises(UnlockError):
            keyset.open(password("correct horse"))
    path.write_bytes(serialize_keyset(dataclasses.replace(mine, fingerprint=bytes(16))))
    with pytest.raises(UnlockError):
        keyset.open(password("correct horse"))
    path.write_bytes(serialize_keyset(dataclasses.replace(mine, generation=mine.generation + 1)))
    with pytest.raises(CorruptKeysetError):
        keyset.open(password("correct horse"))


def test_slot_added_or_removed_by_a_stranger_is_noticed(tmp_path: Path) -> None:
    record = parse_keyset(text_of("all-kinds").encode())
    secret = BY_NAME["all-kinds"]["password"]
    for slots in (record.slots[:2], record.slots[:1], (record.slots[0], record.slots[2], record.slots[1])):
        result, _ = outcome(tmp_path, serialize_keyset(dataclasses.replace(record, slots=slots)), secret)
        assert result == "CorruptKeysetError"


def test_piccolods_slot_put_into_our_keyset_is_noticed(tmp_path: Path) -> None:
    """Whoever knows an old password and has an old file can't make a keyset of ours accept both."""
    record = parse_keyset(text_of("all-kinds").encode())
    old = parse_keyset(text_of("cheap-no-rk").encode()).slots[0]
    data = serialize_keyset(dataclasses.replace(record, slots=(old, *record.slots[1:])))
    assert outcome(tmp_path, data, "correct horse")[0] == "CorruptKeysetError"


def test_kind_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    put(tmp_path, text_of("password"))
    with pytest.raises(NoSuchSlotError, match="device key"):
        Keyset(os.fsencode(tmp_path), CHEAP).open(DeviceKey.generate())
