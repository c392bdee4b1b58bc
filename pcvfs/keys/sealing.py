"""The SDEK in and out of slots, and what proves that a keyset is the one that was written.

Bytes and records only. Every Secret returned is the caller's to wipe; those made on the way are wiped here.

Source: docs/format.md "keyset.json".
"""

from __future__ import annotations

import dataclasses
import hashlib
import os

from pcvfs import spec
from pcvfs.crypto.aead import aes_gcm_unwrap, aes_gcm_wrap
from pcvfs.crypto.argon2 import argon2id
from pcvfs.crypto.kdf import hkdf_sha256
from pcvfs.crypto.secret import Secret
from pcvfs.errors import AuthenticationError, CorruptKeysetError, KeysetCostError
from pcvfs.keys.encoding import sealed_part, slot_aad
from pcvfs.keys.record import Argon2Kdf, HkdfKdf, Kdf, KeysetRecord, Slot


def derive_kek(kdf: Kdf, material: Secret) -> Secret:
    """The key that a slot is sealed under. With Argon2 this takes long, and much memory.

    Raises:
        KeysetCostError: there is no memory for it just now.
    """
    match kdf:
        case Argon2Kdf(cost, salt):
            try:
                return argon2id(material, salt, cost)
            except MemoryError as exc:
                raise KeysetCostError(
                    f"there are no {cost.memory_kib >> 10} MiB of memory for the password", hint="try again later"
                ) from exc
        case HkdfKdf(salt):
            return hkdf_sha256(material, spec.HKDF_INFO_KEYSET_SLOT + salt, spec.KEY_SIZE)


def seal_slot(draft: Slot, kek: Secret, sdek: Secret, fingerprint: bytes) -> Slot:
    """Return ``draft`` with the SDEK sealed in it, under a new nonce and bound to everything else in the slot."""
    if not draft.is_bound:
        raise ValueError("slots are bound when they are sealed")
    nonce = os.urandom(spec.KEYSET_NONCE_SIZE)
    blob = aes_gcm_wrap(kek, nonce, sdek, aad=slot_aad(draft, fingerprint))
    return dataclasses.replace(draft, nonce=nonce, sealed=blob[spec.KEYSET_NONCE_SIZE :])


def open_slot(slot: Slot, kek: Secret, fingerprint: bytes) -> Secret:
    """Return the SDEK.

    Raises:
        AuthenticationError: wrong key, or something in the slot was changed.
    """
    return aes_gcm_unwrap(kek, slot.nonce + slot.sealed, spec.KEYSET_NONCE_SIZE, aad=slot_aad(slot, fingerprint))


def sdek_fingerprint(sdek: Secret) -> bytes:
    """16 bytes that name an SDEK and tell nothing else about it."""
    with hkdf_sha256(sdek, spec.HKDF_INFO_KEYSET_FINGERPRINT, spec.KEYSET_FINGERPRINT_SIZE) as fingerprint:
        return bytes(fingerprint.view())


def seal_record(sdek: Secret, record: KeysetRecord) -> KeysetRecord:
    """Return the record with its seal."""
    with _seal(sdek, record) as seal:
        return dataclasses.replace(record, seal=bytes(seal.view()))


def verify_record(sdek: Secret, record: KeysetRecord) -> None:
    """Check that whoever wrote the record had this SDEK. Version 1 has nothing to check.

    Raises:
        CorruptKeysetError: a generation, a slot or the seal itself was changed, or the SDEK is another one.
    """
    if record.version == 1:
        return
    with _seal(sdek, record) as expected, Secret.from_bytes(record.seal) as actual:
        if record.fingerprint != sdek_fingerprint(sdek) or expected != actual:
            raise CorruptKeysetError(
                "the keyset was changed by something that does not have its key",
                hint="a disk error, or someone else: compare with a backup, restore it from its copy, "
                "or accept the damage and set password and recovery key anew",
            )


def try_slot(slot: Slot, material: Secret, fingerprint: bytes) -> Secret | None:
    """Derive, and open; None if this is not the key of the slot (which says nothing about other slots)."""
    with derive_kek(slot.kdf, material) as kek:
        try:
            return open_slot(slot, kek, fingerprint)
        except AuthenticationError:
            return None


def _seal(sdek: Secret, record: KeysetRecord) -> Secret:
    digest = hashlib.sha256(sealed_part(record)).digest()
    return hkdf_sha256(sdek, spec.HKDF_INFO_KEYSET_SEAL + digest, spec.KEYSET_SEAL_SIZE)
