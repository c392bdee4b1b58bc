"""Keysets to bytes and back. Bytes in, records out: no files, no keys.

Two layouts are read, one is written. Version 1 is piccolod's: no version, no binding, one price for both slots.
Version 2 is ours; every member of it is known, or the file is not taken.

Source: docs/format.md "keyset.json".
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Final

from pcvfs import spec
from pcvfs.crypto.argon2 import Argon2Cost
from pcvfs.errors import KeysetCostError, KeysetTooNewError
from pcvfs.keys.members import JsonValue, Members, corrupt, encode_data, parse_members
from pcvfs.keys.record import (
    DETAIL_WORDING,
    PASSWORD_SLOT_ID,
    RECOVERY_SLOT_ID,
    Argon2Kdf,
    HkdfKdf,
    Kdf,
    KeysetRecord,
    Slot,
    SlotKind,
    Wording,
)

_ALG_ARGON2: Final = "argon2id"
_ALG_HKDF: Final = "hkdf-sha256"
_UINT32_MAX: Final = (1 << 32) - 1
_RECOVERY_MEMBERS: Final = ("rk_salt", "rk_nonce", "sdek_rk")


def parse_keyset(data: bytes) -> KeysetRecord:
    """Return the keyset that a file with content ``data`` holds.

    Nothing here is authenticated: that takes the SDEK (``pcvfs.keys.sealing``).

    Raises:
        CorruptKeysetError: not a keyset.
        KeysetTooNewError: one of a later version.
        KeysetCostError: it asks for more than is accepted from a file.
    """
    root = parse_members(data, spec.KEYSET_SIZE_MAX)
    if not root.has("version"):
        return _parse_version_1(root)
    version = root.integer("version", 2, _UINT32_MAX)
    if version > spec.KEYSET_VERSION:
        raise KeysetTooNewError(
            f"the keyset has version {version}, this program knows {spec.KEYSET_VERSION}",
            hint="use the version of this program that wrote it, or a later one",
        )
    record = KeysetRecord(
        version=version,
        generation=root.integer("generation", 1, spec.KEYSET_GENERATION_MAX),
        fingerprint=root.data("fingerprint", spec.KEYSET_FINGERPRINT_SIZE),
        slots=tuple(_parse_slot(slot) for slot in root.children("slots", spec.KEYSET_SLOTS_MAX)),
        seal=root.data("seal", spec.KEYSET_SEAL_SIZE),
    )
    root.refuse_others()
    _check_slots(record)
    return record


def serialize_keyset(record: KeysetRecord) -> bytes:
    """Return the content of the file. Version 2 only: what piccolod wrote is read, never written."""
    if record.version != spec.KEYSET_VERSION:
        raise ValueError(f"keysets are written in version {spec.KEYSET_VERSION}")
    members: JsonValue = {**_sealed_members(record), "seal": encode_data(record.seal)}
    return (json.dumps(members, indent=2) + "\n").encode("ascii")


def sealed_part(record: KeysetRecord) -> bytes:
    """What the seal covers: everything but the seal, in one spelling."""
    return _canonical(_sealed_members(record))


def slot_aad(slot: Slot, fingerprint: bytes) -> bytes:
    """What the sealed SDEK of a slot is bound to: format, purpose, key, and the slot but for nonce and sealed bytes."""
    if not slot.is_bound:
        return b""
    members = _slot_members(slot)
    del members["nonce"], members["sdek"]
    return _canonical(
        {
            "purpose": "pcvfs keyset slot",
            "version": spec.KEYSET_VERSION,
            "fingerprint": encode_data(fingerprint),
            "slot": members,
        }
    )


# --- version 2 ---------------------------------------------------------------------------------------------------
def _sealed_members(record: KeysetRecord) -> dict[str, JsonValue]:
    return {
        "version": record.version,
        "generation": record.generation,
        "fingerprint": encode_data(record.fingerprint),
        "slots": [_slot_members(slot) for slot in record.slots],
    }


def _slot_members(slot: Slot) -> dict[str, JsonValue]:
    return {
        "id": slot.slot_id,
        "kind": slot.kind,
        "kdf": _kdf_members(slot.kdf),
        "details": dict(slot.details),
        "bound": slot.is_bound,
        "nonce": encode_data(slot.nonce),
        "sdek": encode_data(slot.sealed),
    }


def _kdf_members(kdf: Kdf) -> dict[str, JsonValue]:
    match kdf:
        case Argon2Kdf(cost, salt):
            return {
                "alg": _ALG_ARGON2,
                "time": cost.time,
                "memory": cost.memory_kib,
                "threads": cost.lanes,
                "salt": encode_data(salt),
            }
        case HkdfKdf(salt):
            return {"alg": _ALG_HKDF, "salt": encode_data(salt)}


def _canonical(members: JsonValue) -> bytes:
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode("ascii")


def _parse_slot(members: Members) -> Slot:
    details = members.child("details")
    slot = Slot(
        slot_id=members.name("id"),
        kind=members.name("kind"),
        kdf=_parse_kdf(members.child("kdf")),
        details=tuple((name, details.text(name)) for name in details.names()),
        is_bound=members.boolean("bound"),
        nonce=members.data("nonce", spec.KEYSET_NONCE_SIZE),
        sealed=members.data("sdek", spec.KEYSET_SEALED_SIZE),
    )
    members.refuse_others()
    return slot


def _parse_kdf(members: Members) -> Kdf:
    alg = members.text("alg")
    kdf: Kdf
    if alg == _ALG_ARGON2:
        kdf = Argon2Kdf(_parse_cost(members), members.data("salt", spec.KEYSET_SALT_SIZE))
    elif alg == _ALG_HKDF:
        kdf = HkdfKdf(members.data("salt", spec.KEYSET_SALT_SIZE))
    else:
        raise corrupt("a slot has a key derivation that is not known")
    members.refuse_others()
    return kdf


def _parse_cost(members: Members) -> Argon2Cost:
    cost = Argon2Cost(
        time=members.integer("time", 1, spec.KEYSET_GENERATION_MAX),
        memory_kib=members.integer("memory", 8, spec.KEYSET_GENERATION_MAX),
        lanes=members.integer("threads", 1, spec.KEYSET_GENERATION_MAX),
    )
    if (
        cost.time > spec.ARGON2_TIME_MAX
        or cost.memory_kib > spec.ARGON2_MEMORY_MAX_KIB
        or cost.lanes > spec.ARGON2_LANES_MAX
        or cost.time * cost.memory_kib > spec.ARGON2_WORK_MAX_KIB
    ):
        raise KeysetCostError(
            f"the keyset asks for {cost.time} passes over {cost.memory_kib} KiB in {cost.lanes} lanes, "
            "more than is accepted",
            hint="it was changed by someone else: restore it from its copy or from a backup",
        )
    if cost.memory_kib < 8 * cost.lanes:
        raise corrupt("its key derivation has more lanes than memory")
    return cost


def _check_slots(record: KeysetRecord) -> None:
    """What the members can't say one by one."""
    if len({slot.slot_id for slot in record.slots}) != len(record.slots):
        raise corrupt("two slots have one id")
    kinds = Counter(slot.kind for slot in record.slots)
    if kinds[SlotKind.PASSWORD] != 1 or kinds[SlotKind.RECOVERY] > 1:
        raise corrupt("it needs one password, and has place for one recovery key")
    for slot in record.slots:
        is_guessable = slot.kind == SlotKind.PASSWORD or slot.detail(DETAIL_WORDING) == Wording.NATO
        if slot.kind in (SlotKind.PASSWORD, SlotKind.RECOVERY) and is_guessable != isinstance(slot.kdf, Argon2Kdf):
            raise corrupt("a slot has the key derivation of another kind")
        if slot.kind == SlotKind.DEVICE_KEY and not isinstance(slot.kdf, HkdfKdf):
            raise corrupt("a slot has the key derivation of another kind")
        if slot.kind == SlotKind.RECOVERY and slot.detail(DETAIL_WORDING) not in list(Wording):
            raise corrupt("its recovery key is in words that are not known")
        if not slot.is_bound and not is_guessable:
            raise corrupt("a slot is not bound that should be")


# --- version 1 ---------------------------------------------------------------------------------------------------
def _parse_version_1(root: Members) -> KeysetRecord:
    """piccolod's layout. Members it does not have are ignored, as piccolod does."""
    kdf = root.child("kdf")
    if kdf.text("alg") != _ALG_ARGON2:
        raise corrupt("its key derivation is not known")
    cost = _parse_cost(kdf)
    slots = [_unbound_slot(root, PASSWORD_SLOT_ID, SlotKind.PASSWORD, cost, ("salt", "nonce", "sdek"))]
    if any(root.has(name) for name in _RECOVERY_MEMBERS):
        slots.append(_unbound_slot(root, RECOVERY_SLOT_ID, SlotKind.RECOVERY, cost, _RECOVERY_MEMBERS))
    return KeysetRecord(version=1, generation=0, fingerprint=b"", slots=tuple(slots), seal=b"")


def _unbound_slot(root: Members, slot_id: str, kind: SlotKind, cost: Argon2Cost, names: tuple[str, str, str]) -> Slot:
    salt, nonce, sealed = names
    return Slot(
        slot_id=slot_id,
        kind=kind,
        kdf=Argon2Kdf(cost, root.data(salt, spec.KEYSET_SALT_SIZE)),
        details=((DETAIL_WORDING, Wording.NATO),) if kind == SlotKind.RECOVERY else (),
        is_bound=False,
        nonce=root.data(nonce, spec.KEYSET_NONCE_SIZE),
        sealed=root.data(sealed, spec.KEYSET_SEALED_SIZE),
    )
