import re

import pytest

from pcvfs.crypto.aead import CipherKind, content_cipher
from pcvfs.crypto.secret import Secret
from pcvfs.errors import (
    ExitCode,
    MasterKeyError,
    PasswordSourceError,
    UnlockError,
    UsageError,
    WrongPasswordError,
)
from pcvfs.format.blobs import decode_xattr_value, encode_xattr_value
from pcvfs.format.config import FeatureFlag, Fido2Params, parse_config, serialize_config
from pcvfs.format.keys import (
    CreateOptions,
    derive_keys,
    derive_volume_keys,
    format_master_key,
    make_config,
    parse_master_key,
    rewrap,
    unwrap_master_key,
)
from pcvfs.records import replaced

MASTER_KEY = bytes(range(32))
SALT, NONCE = bytes(range(32)), bytes(range(0x60, 0x70))
FAST = CreateOptions(log_n=10)


def master_key():
    return Secret.from_bytes(MASTER_KEY)


def make(options=FAST, password=b"pw", nonce=NONCE):
    return make_config(options, password, master_key(), salt=SALT, nonce=nonce, creator="test")


# --- vectors ------------------------------------------------------------------------------------------------------


def test_unwrap_master_key_of_a_volume(volume):
    cfg = parse_config(volume.config)
    assert unwrap_master_key(cfg, volume.password) == Secret.from_bytes(volume.master_key)


def test_make_config_wraps_as_the_vector_does(primitives):
    vector = primitives["config_key"]
    for kind, hkdf in (("hkdf", True), ("nohkdf", False)):
        cfg = make_config(
            CreateOptions(log_n=10, hkdf=hkdf),
            vector["password"].encode(),
            Secret.from_bytes(bytes.fromhex(primitives["masterkey_hex"])),
            salt=bytes.fromhex(vector["salt_hex"]),
            nonce=bytes.fromhex(vector[kind]["iv_hex"]),
            creator="",
        )
        assert cfg.encrypted_key.hex() == vector[kind]["EncryptedKey_hex"]
        assert (cfg.scrypt.n, cfg.scrypt.r, cfg.scrypt.p) == (vector["N"], vector["R"], vector["P"])


@pytest.mark.parametrize("kind", list(CipherKind))
def test_derive_volume_keys_with_hkdf_matches_vector(primitives, kind):
    infos = {
        CipherKind.AES_GCM: "AES-GCM file content encryption",
        CipherKind.AES_SIV: "AES-SIV file content encryption",
        CipherKind.XCHACHA20_POLY1305: "XChaCha20-Poly1305 file content encryption",
    }
    with derive_volume_keys(kind, master_key(), has_hkdf=True) as keys:
        assert keys.content_key.view().hex() == primitives["hkdf"][infos[kind]]
        assert keys.names_key.view().hex() == primitives["hkdf"]["EME filename encryption"]


def test_derive_volume_keys_without_hkdf_matches_vector(primitives):
    siv = derive_volume_keys(CipherKind.AES_SIV, master_key(), has_hkdf=False)
    gcm = derive_volume_keys(CipherKind.AES_GCM, master_key(), has_hkdf=False)
    assert siv.content_key.view().hex() == primitives["nohkdf_siv_key_sha512"]
    assert bytes(gcm.content_key.view()) == bytes(gcm.names_key.view()) == bytes(siv.names_key.view()) == MASTER_KEY


def test_derive_volume_keys_encrypt_blocks_as_the_vector_does(block_vector):
    label = block_vector["cipher"].removesuffix("-noHKDF")
    kind = {
        "AES-GCM": CipherKind.AES_GCM,
        "AES-SIV": CipherKind.AES_SIV,
        "XChaCha20-Poly1305": CipherKind.XCHACHA20_POLY1305,
    }[label]
    has_hkdf = "-noHKDF" not in block_vector["cipher"]
    keys = derive_volume_keys(kind, master_key(), has_hkdf=has_hkdf)
    parts = {name: bytes.fromhex(block_vector[f"{name}_hex"]) for name in ("plain", "file_id", "nonce", "on_disk")}
    cipher = content_cipher(kind, keys.content_key)
    if not parts["file_id"]:  # a blob
        assert encode_xattr_value(parts["plain"], cipher, parts["nonce"]) == parts["on_disk"]
        assert decode_xattr_value(parts["on_disk"], cipher, raw64=True) == parts["plain"]
        return
    sealed = cipher.seal_blocks(parts["plain"], block_vector["block_no"], parts["file_id"], parts["nonce"])
    assert sealed == parts["on_disk"]
    assert cipher.open_blocks(sealed, block_vector["block_no"], parts["file_id"]) == parts["plain"]


def test_derive_volume_keys_are_copies_that_outlive_the_master_key():
    master = master_key()
    keys = derive_volume_keys(CipherKind.AES_GCM, master, has_hkdf=False)
    master.wipe()
    assert bytes(keys.names_key.view()) == MASTER_KEY


def test_derive_volume_keys_known_answer_for_names():
    keys = derive_volume_keys(CipherKind.AES_GCM, Secret.from_bytes(b"\1" * 32), has_hkdf=True)
    assert keys.names_key.view().hex() == "e8a2499f48700b954f31de732efd04abce822f5c948e7fbc0896607be0d36d12"


def test_derive_volume_keys_what_never_existed_raises():
    with pytest.raises(ValueError, match="without HKDF"):
        derive_volume_keys(CipherKind.XCHACHA20_POLY1305, master_key(), has_hkdf=False)
    with pytest.raises(ValueError, match="31 bytes"):
        derive_volume_keys(CipherKind.AES_GCM, Secret(31), has_hkdf=True)


def test_volume_keys_are_wiped_on_exit():
    with derive_keys(make(), master_key()) as keys:
        views = keys.content_key.view(), keys.names_key.view()
        assert all(any(view) for view in views)
    assert not any(any(view) for view in views)


# --- creating -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "flags", "long_name_max"),
    [
        ({}, "HKDF GCMIV128 DirIV EMENames LongNames Raw64", 0),
        ({"cipher": CipherKind.AES_SIV}, "HKDF GCMIV128 DirIV EMENames LongNames Raw64 AESSIV", 0),
        (
            {"cipher": CipherKind.XCHACHA20_POLY1305},
            "HKDF XChaCha20Poly1305 DirIV EMENames LongNames Raw64",
            0,
        ),
        ({"plaintext_names": True}, "HKDF GCMIV128 PlaintextNames", 0),
        ({"deterministic_names": True}, "HKDF GCMIV128 EMENames LongNames Raw64", 0),
        ({"long_name_max": 100}, "HKDF GCMIV128 DirIV LongNameMax EMENames LongNames Raw64", 100),
        ({"long_name_max": 62}, "HKDF GCMIV128 DirIV LongNameMax EMENames LongNames Raw64", 62),
        ({"long_name_max": 255}, "HKDF GCMIV128 DirIV EMENames LongNames Raw64", 0),
        (
            {"plaintext_names": True, "deterministic_names": True, "long_name_max": 100},
            "HKDF GCMIV128 PlaintextNames",
            0,
        ),
        (
            {"cipher": CipherKind.XCHACHA20_POLY1305, "deterministic_names": True, "long_name_max": 62},
            "HKDF XChaCha20Poly1305 LongNameMax EMENames LongNames Raw64",
            62,
        ),
        ({"hkdf": False, "raw64": False}, "GCMIV128 DirIV EMENames LongNames", 0),
    ],
)
def test_make_config_writes_the_flags_of_the_original_in_its_order(options, flags, long_name_max):
    nonce = NONCE if options.get("hkdf", True) else NONCE[:12]
    cfg = make(CreateOptions(log_n=10, **options), nonce=nonce)
    assert [flag.value for flag in cfg.flags] == flags.split()
    assert cfg.long_name_max == long_name_max
    assert parse_config(serialize_config(cfg)) == cfg
    assert unwrap_master_key(cfg, b"pw") == master_key()


def test_make_config_default_cost_is_64_mib():
    assert CreateOptions().log_n == 16


@pytest.mark.parametrize("log_n", [-1, 0, 9, 22, 28, 64, 10**9])
def test_make_config_cost_out_of_range_raises(log_n):
    with pytest.raises(UsageError, match="scrypt cost") as caught:
        make(CreateOptions(log_n=log_n))
    assert caught.value.exit_code is ExitCode.WRITE_CONFIG
    assert "10 to 21" in caught.value.hint


@pytest.mark.parametrize("value", [-1, 1, 61, 256])
def test_make_config_long_name_max_out_of_range_raises(value):
    with pytest.raises(UsageError, match="long name maximum"):
        make(CreateOptions(log_n=10, long_name_max=value))


def test_make_config_xchacha_without_hkdf_raises():
    with pytest.raises(UsageError, match="HKDF"):
        make(CreateOptions(cipher=CipherKind.XCHACHA20_POLY1305, log_n=10, hkdf=False))


@pytest.mark.parametrize("arguments", [{"salt": b"x" * 31}, {"nonce": b"x" * 12}, {"master_key": b"x" * 31}])
def test_make_config_wrong_lengths_raise(arguments):
    arguments = {"salt": SALT, "nonce": NONCE, "master_key": MASTER_KEY} | arguments
    key = Secret.from_bytes(arguments.pop("master_key"))
    with pytest.raises(ValueError, match="bytes, not"):
        make_config(FAST, b"pw", key, creator="", **arguments)


# --- passwords ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [b"", b"x" * 2049])
def test_password_of_impossible_length_raises(password):
    cfg = make()
    for call in (
        lambda: make(password=password),
        lambda: unwrap_master_key(cfg, password),
        lambda: rewrap(cfg, master_key(), password, salt=SALT, nonce=NONCE),
    ):
        with pytest.raises(PasswordSourceError, match="password is"):
            call()


@pytest.mark.parametrize(
    "password", [b"x" * 2048, b"a\0b", b"\r", " \u00fc ".encode(), bytearray(b"pw"), memoryview(b"pw")]
)
def test_password_bytes_are_taken_as_they_are(password):
    assert unwrap_master_key(make(password=password), bytes(password)) == master_key()


@pytest.mark.parametrize("password", [b"PW", b"pw\n", b"pw ", b"p"])
def test_unwrap_master_key_other_password_raises(password):
    with pytest.raises(WrongPasswordError) as caught:
        unwrap_master_key(make(), password)
    assert caught.value.exit_code is ExitCode.WRONG_PASSWORD


@pytest.mark.parametrize("position", [0, 15, 16, 47, 48, 63])
def test_unwrap_master_key_changed_key_raises(position):
    cfg = make()
    key = bytearray(cfg.encrypted_key)
    key[position] ^= 1
    with pytest.raises(WrongPasswordError):
        unwrap_master_key(replaced(cfg, encrypted_key=bytes(key)), b"pw")


def test_rewrap_keeps_everything_but_key_and_scrypt(volume):
    cfg = parse_config(volume.config)
    master = unwrap_master_key(cfg, volume.password)
    nonce = b"\7" * cfg.key_nonce_size
    changed = rewrap(cfg, master, b"new password", salt=b"\5" * 32, nonce=nonce)
    assert replaced(changed, encrypted_key=cfg.encrypted_key, scrypt=cfg.scrypt) == cfg
    assert replaced(changed.scrypt, salt=cfg.scrypt.salt) == cfg.scrypt
    assert changed.encrypted_key.startswith(nonce)
    assert unwrap_master_key(parse_config(serialize_config(changed)), b"new password") == master
    with pytest.raises(WrongPasswordError):
        unwrap_master_key(changed, volume.password)


def test_rewrap_changes_the_cost_on_request():
    assert rewrap(make(), master_key(), b"x", salt=SALT, nonce=NONCE, log_n=11).scrypt.n == 2048


def test_rewrap_resets_r_and_p():
    cfg = make()
    unusual = replaced(cfg, scrypt=replaced(cfg.scrypt, n=2048, r=16, p=2))
    changed = rewrap(unusual, master_key(), b"x", salt=SALT, nonce=NONCE)
    assert (changed.scrypt.n, changed.scrypt.r, changed.scrypt.p) == (2048, 8, 1)


@pytest.mark.parametrize("log_n", [9, 22])
def test_rewrap_cost_out_of_range_raises(log_n):
    with pytest.raises(UsageError) as caught:
        rewrap(make(), master_key(), b"x", salt=SALT, nonce=NONCE, log_n=log_n)
    assert caught.value.exit_code is ExitCode.SCRYPT_PARAMS


def test_fido2_volume_refuses_passwords_and_says_why():
    cfg = replaced(make(), fido2=Fido2Params(b"id", bytes(32)))
    cfg = replaced(cfg, flags=(*cfg.flags, FeatureFlag.FIDO2))
    for call in (
        lambda: unwrap_master_key(cfg, b"pw"),
        lambda: rewrap(cfg, master_key(), b"x", salt=SALT, nonce=NONCE),
    ):
        with pytest.raises(UnlockError, match="FIDO2 token, which is not supported") as caught:
            call()
        assert not isinstance(caught.value, WrongPasswordError)
        assert "master key" in caught.value.hint


# --- the master key on paper --------------------------------------------------------------------------------------


def test_format_master_key_is_eight_groups_of_eight():
    text = format_master_key(master_key())
    assert re.fullmatch(r"([0-9a-f]{8}-){7}[0-9a-f]{8}", text)
    assert parse_master_key(text.encode()) == master_key()


@pytest.mark.parametrize(
    "text", [MASTER_KEY.hex(), MASTER_KEY.hex().upper(), MASTER_KEY.hex("-"), f" {MASTER_KEY.hex(' ')}\r\n"]
)
def test_parse_master_key_separators_and_case_do_not_matter(text):
    assert parse_master_key(text.encode()) == master_key()


@pytest.mark.parametrize(
    "text",
    [b"", b"-", b"00", MASTER_KEY.hex().encode() + b"00", b"0" * 63, b"zz" * 32, b"\xff" * 64, b"0x" + b"0" * 62],
)
def test_parse_master_key_not_32_bytes_of_hex_raises(text):
    with pytest.raises(MasterKeyError, match="master key") as caught:
        parse_master_key(text)
    assert caught.value.exit_code is ExitCode.MASTERKEY
    assert text.decode("latin-1") not in caught.value.message or len(text) < 3
