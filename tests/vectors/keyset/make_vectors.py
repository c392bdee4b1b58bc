"""Make keysets.json: keysets of both versions, from docs/format.md alone.

An independent implementation: argon2-cffi, cryptography and hashlib, nothing of pcvfs. Salts, nonces, keys and entropy
are ramps of bytes, so every run gives the same file. Run it in this directory.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from mnemonic import Mnemonic

CHEAP = (1, 8192, 1)
NATO = [
    "alpha",
    "bravo",
    "charlie",
    "delta",
    "echo",
    "foxtrot",
    "golf",
    "hotel",
    "india",
    "juliet",
    "kilo",
    "lima",
    "mike",
    "november",
    "oscar",
    "papa",
    "quebec",
    "romeo",
    "sierra",
    "tango",
    "uniform",
    "victor",
    "whiskey",
    "xray",
    "yankee",
    "zulu",
]


def ramp(start: int, size: int) -> bytes:
    return bytes((start + i) & 0xFF for i in range(size))


SDEK = ramp(0x40, 32)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def argon2(secret: bytes, salt: bytes, time: int, memory: int, threads: int) -> bytes:
    return hash_secret_raw(secret, salt, time, memory, threads, 32, Type.ID, 19)


def hkdf(key: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, None, info).derive(key)


# --- version 1 ---------------------------------------------------------------------------------------------------
def version_1(password: str, cost: tuple[int, int, int], phrase: str | None) -> dict[str, object]:
    salt, nonce = ramp(0x01, 16), ramp(0x90, 12)
    time, memory, threads = cost
    keyset: dict[str, object] = {
        "sdek": b64(AESGCM(argon2(password.encode(), salt, *cost)).encrypt(nonce, SDEK, None)),
        "salt": b64(salt),
        "nonce": b64(nonce),
        "kdf": {"alg": "argon2id", "time": time, "memory": memory, "threads": threads},
    }
    if phrase:
        salt, nonce = ramp(0x21, 16), ramp(0xB0, 12)
        keyset["rk_salt"], keyset["rk_nonce"] = b64(salt), b64(nonce)
        keyset["sdek_rk"] = b64(AESGCM(argon2(phrase.encode(), salt, *cost)).encrypt(nonce, SDEK, None))
    return keyset


# --- version 2 ---------------------------------------------------------------------------------------------------
FINGERPRINT = hkdf(SDEK, b"pcvfs keyset fingerprint 2", 16)


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def slot(
    slot_id: str, kind: str, kdf: dict[str, object], details: dict[str, str], kek: bytes, nonce: bytes
) -> dict[str, object]:
    bound_to = {"id": slot_id, "kind": kind, "kdf": kdf, "details": details, "bound": True}
    aad = canonical({"purpose": "pcvfs keyset slot", "version": 2, "fingerprint": b64(FINGERPRINT), "slot": bound_to})
    return bound_to | {"nonce": b64(nonce), "sdek": b64(AESGCM(kek).encrypt(nonce, SDEK, aad))}


def password_slot(password: str, cost: tuple[int, int, int]) -> dict[str, object]:
    salt = ramp(0x03, 16)
    time, memory, threads = cost
    kdf: dict[str, object] = {"alg": "argon2id", "time": time, "memory": memory, "threads": threads, "salt": b64(salt)}
    return slot("password", "password", kdf, {}, argon2(password.encode(), salt, *cost), ramp(0x93, 12))


def random_slot(slot_id: str, kind: str, details: dict[str, str], secret: bytes, start: int) -> dict[str, object]:
    salt = ramp(start, 16)
    kek = hkdf(secret, b"pcvfs keyset slot 2" + salt, 32)
    return slot(slot_id, kind, {"alg": "hkdf-sha256", "salt": b64(salt)}, details, kek, ramp(start + 0x40, 12))


def version_2(generation: int, *slots: dict[str, object]) -> dict[str, object]:
    keyset = {"version": 2, "generation": generation, "fingerprint": b64(FINGERPRINT), "slots": list(slots)}
    seal = hkdf(SDEK, b"pcvfs keyset seal 2" + hashlib.sha256(canonical(keyset)).digest(), 32)
    return keyset | {"seal": b64(seal)}


def device_key_file(key: bytes) -> str:
    payload = key + hashlib.sha256(key).digest()[:4]
    return f"pcvfs-device-key-1 {base64.b64encode(payload).decode()}\n"


def main() -> None:
    words_of = bytes(
        [0, 1, 25, 26, 27, 51, 52, 255, 254, 253, 252, 251, 250, 128, 64, 32, 16, 8, 4, 2, 100, 200, 90, 17]
    )
    phrase = " ".join(NATO[byte % 26] for byte in words_of)
    entropy, device_key = ramp(0x51, 32), ramp(0xA1, 32)
    first = [
        ("cheap-no-rk", "correct horse", (1, 8192, 1), None),
        ("cheap-with-rk", "correct horse", (1, 8192, 2), phrase),
        ("utf8-and-spaces", "  p\u00e4ss w\u00f6rd  ", (1, 8192, 1), None),
        ("production-params-p1", "correct horse", (3, 524288, 1), phrase),
        ("production-params-p8", "correct horse", (3, 524288, 8), None),
    ]
    recovery = random_slot("recovery", "recovery", {"wording": "bip39-english-24"}, entropy, 0x23)
    device = random_slot("device-0011223344556677", "device-key", {"label": "stick"}, device_key, 0x33)
    tpm = random_slot("tpm-1", "tpm", {"blob": "AAAA"}, ramp(0, 32), 0x43)
    second = [
        ("password", "correct horse", version_2(1, password_slot("correct horse", CHEAP))),
        (
            "all-kinds",
            "  p\u00e4ss w\u00f6rd  ",
            version_2(7, password_slot("  p\u00e4ss w\u00f6rd  ", CHEAP), recovery, device),
        ),
        ("later-kind", "correct horse", version_2(2, password_slot("correct horse", CHEAP), tpm)),
    ]
    vectors = {
        "sdek_hex": SDEK.hex(),
        "fingerprint_hex": FINGERPRINT.hex(),
        "piccolod_words": {"random_bytes_hex": words_of.hex(), "mnemonic": phrase},
        "recovery_words": {"entropy_hex": entropy.hex(), "mnemonic": Mnemonic("english").to_mnemonic(entropy)},
        "device_key": {"key_hex": device_key.hex(), "file_text": device_key_file(device_key)},
        "version_1": [
            {
                "name": name,
                "password": password,
                "mnemonic": words,
                "file_text": json.dumps(version_1(password, cost, words), indent=2),
            }
            for name, password, cost, words in first
        ],
        "version_2": [
            {"name": name, "password": password, "file_text": json.dumps(keyset, indent=2) + "\n"}
            for name, password, keyset in second
        ],
    }
    Path("keysets.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
