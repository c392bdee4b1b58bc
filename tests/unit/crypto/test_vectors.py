"""Every crypto entry of primitives.json, for both engines. Also the published HChaCha20 vector."""

from __future__ import annotations

from typing import Any

import pytest

from pcvfs import spec
from pcvfs.crypto import kdf
from pcvfs.crypto.aead import CipherKind, Engine, aes_gcm_unwrap, aes_gcm_wrap, content_cipher
from pcvfs.crypto.eme import name_cipher
from pcvfs.crypto.reference import hchacha20
from pcvfs.crypto.secret import Secret

Primitives = dict[str, Any]


def secret(hex_digits: str) -> Secret:
    return Secret.from_bytes(bytes.fromhex(hex_digits))


def content_key(primitives: Primitives, name: str) -> tuple[CipherKind, Secret]:
    """The cipher and key that a block of the vectors was made with, derived anew from the master key."""
    master_key = secret(primitives["masterkey_hex"])
    match name:
        case "AES-GCM":
            return CipherKind.AES_GCM, kdf.hkdf_sha256(master_key, spec.HKDF_INFO_AES_GCM, 32)
        case "AES-SIV":
            return CipherKind.AES_SIV, kdf.hkdf_sha256(master_key, spec.HKDF_INFO_AES_SIV, 64)
        case "XChaCha20-Poly1305":
            return CipherKind.XCHACHA20_POLY1305, kdf.hkdf_sha256(master_key, spec.HKDF_INFO_XCHACHA, 32)
        case "AES-GCM-noHKDF":
            return CipherKind.AES_GCM, master_key
        case "AES-SIV-noHKDF":
            return CipherKind.AES_SIV, kdf.sha512(master_key)
    raise AssertionError(name)


def test_hkdf_vectors_match(primitives: Primitives) -> None:
    master_key = secret(primitives["masterkey_hex"])
    infos = {spec.HKDF_INFO_NAMES, spec.HKDF_INFO_AES_GCM, spec.HKDF_INFO_AES_SIV, spec.HKDF_INFO_XCHACHA}
    assert {info.encode() for info in primitives["hkdf"]} == infos
    for info, expected in primitives["hkdf"].items():
        assert kdf.hkdf_sha256(master_key, info.encode(), len(expected) // 2).view().hex() == expected


def test_sha512_vector_matches(primitives: Primitives) -> None:
    digest = kdf.sha512(secret(primitives["masterkey_hex"]))
    assert digest.view().hex() == primitives["nohkdf_siv_key_sha512"]


def test_block_vectors_match(primitives: Primitives, engine: Engine) -> None:
    assert {block["cipher"] for block in primitives["blocks"]} == {
        "AES-GCM",
        "AES-SIV",
        "XChaCha20-Poly1305",
        "AES-GCM-noHKDF",
        "AES-SIV-noHKDF",
    }
    for block in primitives["blocks"]:
        cipher = content_cipher(*content_key(primitives, block["cipher"]), engine=engine)
        names = ("nonce_hex", "file_id_hex", "plain_hex", "on_disk_hex")
        nonce, file_id, plaintext, stored = (bytes.fromhex(block[name]) for name in names)
        if file_id:
            assert cipher.seal_blocks(plaintext, block["block_no"], file_id, nonce) == stored
            assert cipher.open_blocks(stored, block["block_no"], file_id) == plaintext
        else:
            assert cipher.seal_blob(plaintext, nonce) == stored
            assert cipher.open_blob(stored) == plaintext


def test_eme_vectors_match(primitives: Primitives, engine: Engine) -> None:
    eme = primitives["eme"]
    cipher = name_cipher(secret(eme["key_hex"]), engine=engine)
    tweak = bytes.fromhex(eme["tweak_hex"])
    plain = [bytes.fromhex(case["plain_hex"]) for case in eme["cases"]]
    encrypted = [bytes.fromhex(case["cipher_hex"]) for case in eme["cases"]]
    assert cipher.encrypt_many(tweak, plain) == encrypted
    assert cipher.decrypt_many(tweak, encrypted) == plain


@pytest.mark.parametrize("variant", ["hkdf", "nohkdf"])
def test_config_key_vectors_match(primitives: Primitives, variant: str) -> None:
    config = primitives["config_key"]
    password, salt = config["password"].encode(), bytes.fromhex(config["salt_hex"])
    kek = kdf.scrypt(password, salt, config["N"], config["R"], config["P"])
    assert kek.view().hex() == config["scrypt_out_hex"]
    gcm_key = kdf.hkdf_sha256(kek, spec.HKDF_INFO_AES_GCM, 32) if variant == "hkdf" else kek
    assert gcm_key.view().hex() == config[variant]["gcm_key_hex"]
    nonce, master_key = bytes.fromhex(config[variant]["iv_hex"]), secret(primitives["masterkey_hex"])
    blob = aes_gcm_wrap(gcm_key, nonce, master_key)
    assert blob.hex() == config[variant]["EncryptedKey_hex"]
    assert aes_gcm_unwrap(gcm_key, blob, len(nonce)) == master_key


def test_hchacha20_draft_vector_matches() -> None:
    # draft-irtf-cfrg-xchacha-03 section 2.2.1
    subkey = hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927"))
    assert subkey.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
