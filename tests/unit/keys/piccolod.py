"""Keysets in piccolod's layout, made by other libraries."""

from __future__ import annotations

import base64
import json
import os

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.unit.keys.cheap import SDEK


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def version_1(password: str, phrase: str = "", sdek: bytes = SDEK) -> str:
    """A keyset with random salts and the cheapest parameters there are."""
    keyset: dict[str, object] = {"kdf": {"alg": "argon2id", "time": 1, "memory": 8, "threads": 1}}
    secrets = [(password, "sdek", "salt", "nonce")]
    if phrase:
        secrets.append((phrase, "sdek_rk", "rk_salt", "rk_nonce"))
    for secret, sealed_name, salt_name, nonce_name in secrets:
        salt, nonce = os.urandom(16), os.urandom(12)
        kek = hash_secret_raw(secret.encode(), salt, 1, 8, 1, 32, Type.ID, 19)
        keyset[sealed_name] = _b64(AESGCM(kek).encrypt(nonce, sdek, None))
        keyset[salt_name], keyset[nonce_name] = _b64(salt), _b64(nonce)
    return json.dumps(keyset, indent=2)
