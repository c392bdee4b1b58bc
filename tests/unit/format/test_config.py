import json
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs.crypto.aead import CipherKind
from pcvfs.errors import ConfigError, ExitCode, UnsupportedFeatureError
from pcvfs.format.config import FeatureFlag, Fido2Params, parse_config, serialize_config, validate_config
from pcvfs.records import replaced
from tests.unit.format.vectors import load_volume

NAME_FLAGS = "DirIV EMENames LongNames Raw64"


def document(flags="HKDF GCMIV128 DirIV EMENames LongNames Raw64", **members):
    """A valid config as a dict of its JSON members, with some replaced; a member that is ... is left out."""
    doc = json.loads(load_volume("default").config)
    doc["FeatureFlags"] = flags.split()
    if "HKDF" not in doc["FeatureFlags"]:
        doc["EncryptedKey"] = "A" * 80  # 60 bytes
    if "LongNameMax" in doc["FeatureFlags"]:
        doc["LongNameMax"] = 100
    scrypt = doc["ScryptObject"] | {key: members.pop(key) for key in list(members) if key in doc["ScryptObject"]}
    doc |= {"ScryptObject": scrypt} | members
    return {key: value for key, value in doc.items() if value is not ...}


def parse(flags="HKDF GCMIV128 DirIV EMENames LongNames Raw64", **members):
    return parse_config(json.dumps(document(flags, **members)).encode())


# --- configs of the tool ------------------------------------------------------------------------------------------


def test_serialize_config_of_a_volume_gives_the_same_bytes(volume):
    is_by_hand = volume.name.startswith("legacy-")  # and has no line break at the end
    assert serialize_config(parse_config(volume.config)) == volume.config + (b"\n" if is_by_hand else b"")


def test_parse_fields_are_those_of_the_file(volume):
    cfg, doc = parse_config(volume.config), json.loads(volume.config)
    assert cfg.creator == doc["Creator"]
    assert [flag.value for flag in cfg.flags] == doc["FeatureFlags"]
    assert (cfg.scrypt.n, cfg.scrypt.r, cfg.scrypt.p, cfg.scrypt.key_len) == (1024, 8, 1, 32)
    assert len(cfg.scrypt.salt) == 32
    assert cfg.long_name_max == doc.get("LongNameMax", 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("default", (CipherKind.AES_GCM, True, True, False, True, 255)),
        ("xchacha", (CipherKind.XCHACHA20_POLY1305, True, True, False, True, 255)),
        ("aessiv", (CipherKind.AES_SIV, True, True, False, True, 255)),
        ("plaintextnames", (CipherKind.AES_GCM, True, False, True, False, 255)),
        ("deterministic-names", (CipherKind.AES_GCM, True, True, False, False, 255)),
        ("longnamemax-100", (CipherKind.AES_GCM, True, True, False, True, 100)),
        ("legacy-nohkdf-gcm", (CipherKind.AES_GCM, False, False, False, True, 255)),
        ("legacy-nohkdf-plaintextnames", (CipherKind.AES_GCM, False, False, True, False, 255)),
        ("reverse", (CipherKind.AES_SIV, True, True, False, True, 255)),
    ],
)
def test_properties_follow_the_flags(name, expected):
    cfg = parse_config(load_volume(name).config)
    found = (cfg.cipher_kind, cfg.has_hkdf, cfg.raw64, cfg.plaintext_names, cfg.has_diriv, cfg.effective_long_name_max)
    assert found == expected
    assert cfg.key_nonce_size == (16 if cfg.has_hkdf else 12)
    assert not cfg.uses_fido2


# --- feature flags ------------------------------------------------------------------------------------------------

LEGAL = [
    "GCMIV128",
    "HKDF GCMIV128",
    "GCMIV128 HKDF HKDF GCMIV128",
    "HKDF GCMIV128 DirIV EMENames LongNames Raw64",
    "Raw64 LongNames EMENames DirIV GCMIV128 HKDF",
    "GCMIV128 DirIV EMENames LongNames",
    "GCMIV128 DirIV EMENames",
    "HKDF GCMIV128 EMENames LongNames Raw64",
    "HKDF GCMIV128 DirIV",
    "HKDF GCMIV128 DirIV LongNameMax EMENames LongNames Raw64",
    "HKDF GCMIV128 LongNameMax",
    "HKDF GCMIV128 AESSIV",
    "GCMIV128 AESSIV",
    "HKDF XChaCha20Poly1305",
    "HKDF XChaCha20Poly1305 DirIV EMENames LongNames Raw64",
    "HKDF GCMIV128 PlaintextNames",
    "GCMIV128 PlaintextNames",
    "GCMIV128 PlaintextNames AESSIV",
    "HKDF XChaCha20Poly1305 PlaintextNames",
]
ILLEGAL = {
    "": "GCMIV128 is missing",
    "HKDF": "GCMIV128 is missing",
    "DirIV EMENames LongNames": "GCMIV128 is missing",
    "EMENames": "gocryptfs 0.6 or older",
    "HKDF AESSIV": "GCMIV128 is missing",
    "HKDF XChaCha20Poly1305 AESSIV": "XChaCha20Poly1305 and AESSIV",
    "HKDF XChaCha20Poly1305 AESSIV GCMIV128": "XChaCha20Poly1305 and AESSIV",
    "HKDF XChaCha20Poly1305 GCMIV128": "XChaCha20Poly1305 and GCMIV128",
    "XChaCha20Poly1305": "without HKDF",
    "HKDF GCMIV128 PlaintextNames EMENames": "PlaintextNames and EMENames",
    "HKDF GCMIV128 PlaintextNames DirIV": "PlaintextNames and DirIV",
    "HKDF GCMIV128 PlaintextNames LongNames": "PlaintextNames and LongNames",
    "HKDF GCMIV128 PlaintextNames Raw64": "PlaintextNames and Raw64",
    "HKDF GCMIV128 PlaintextNames LongNameMax": "PlaintextNames and LongNameMax",
    "HKDF GCMIV128 FIDO2": "field FIDO2 is missing",
    "HKDF GCMIV128 hkdf": "'hkdf' is unknown",
    "HKDF GCMIV128 AEGIS": "'AEGIS' is unknown",
}


@pytest.mark.parametrize("flags", LEGAL)
def test_flags_legal_combination_is_accepted(flags):
    assert [flag.value for flag in parse(flags).flags] == flags.split()


@pytest.mark.parametrize("flags", ILLEGAL)
def test_flags_illegal_combination_raises(flags):
    with pytest.raises(UnsupportedFeatureError, match=ILLEGAL[flags]) as caught:
        parse(flags)
    assert caught.value.exit_code is ExitCode.CONFIG_UNSUPPORTED
    assert caught.value.hint


def allowed_by_the_original(flags):
    """The table of docs/format.md, as one expression."""
    has = flags.__contains__
    gcm = not has("AESSIV") and not has("XChaCha20Poly1305")
    return (
        not (has("XChaCha20Poly1305") and (has("AESSIV") or has("GCMIV128") or not has("HKDF")))
        and not (has("AESSIV") and not has("GCMIV128"))
        and not (gcm and not has("GCMIV128"))
        and not (has("PlaintextNames") and any(map(has, ["EMENames", "DirIV", "LongNames", "Raw64", "LongNameMax"])))
    )


def test_flags_every_combination_is_judged_as_by_the_original():
    names = [flag.value for flag in FeatureFlag if flag is not FeatureFlag.FIDO2]
    cfg = parse()
    for count in range(len(names) + 1):
        for flags in combinations(names, count):
            candidate = replaced(
                cfg,
                flags=tuple(map(FeatureFlag, flags)),
                encrypted_key=bytes(64 if "HKDF" in flags else 60),
                long_name_max=77 if "LongNameMax" in flags else 0,
            )
            try:
                validate_config(candidate)
            except UnsupportedFeatureError:
                assert not allowed_by_the_original(flags), flags
            else:
                assert allowed_by_the_original(flags), flags


def test_flags_null_is_a_volume_too_old_to_read():
    with pytest.raises(UnsupportedFeatureError, match=r"gocryptfs 0\.6 or older") as caught:
        parse(FeatureFlags=None, EncryptedKey="A" * 80)
    assert caught.value.exit_code == 27


# --- LongNameMax --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 30, 62, 100, 254, 255])
def test_long_name_max_any_value_is_loaded(value):
    cfg = parse("HKDF GCMIV128 DirIV LongNameMax", LongNameMax=value)
    assert cfg.effective_long_name_max == value
    assert parse_config(serialize_config(cfg)) == cfg


@pytest.mark.parametrize("value", [0, None, ...])
def test_long_name_max_flag_without_field_raises(value):
    with pytest.raises(UnsupportedFeatureError, match="field LongNameMax is missing or 0"):
        parse("HKDF GCMIV128 LongNameMax", LongNameMax=value)


def test_long_name_max_field_without_flag_raises():
    with pytest.raises(UnsupportedFeatureError, match="flag LongNameMax is not set"):
        parse(LongNameMax=100)


@pytest.mark.parametrize("value", [256, -1, 100.0, "100", True])
def test_long_name_max_not_a_uint8_raises(value):
    with pytest.raises(ConfigError, match=r"field LongNameMax is .* whole number"):
        parse("HKDF GCMIV128 LongNameMax", LongNameMax=value)


# --- Version, scrypt, key -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"Version": 1}, "version is 1, not 2"),
        ({"Version": 3}, "version is 3, not 2"),
        ({"Version": 3, "FeatureFlags": ["FlagOfTheFuture"]}, "version is 3, not 2"),
        ({"Version": 0}, "Version is missing or 0"),
        ({"Version": ...}, "Version is missing or 0"),
        ({"ScryptObject": ...}, "ScryptObject.N is 0"),
        ({"ScryptObject": None}, "ScryptObject.N is 0"),
        ({"ScryptObject": {}}, "ScryptObject.N is 0"),
        ({"N": 512}, "ScryptObject.N is 512, not a power of two of at least 1024"),
        ({"N": 1025}, "ScryptObject.N is 1025, not a power of two"),
        ({"N": 65537}, "ScryptObject.N is 65537, not a power of two"),
        ({"N": -1024}, "ScryptObject.N is -1024"),
        ({"N": -(2**63)}, "ScryptObject.N is -9223372036854775808"),
        ({"N": 2**62}, "asks for .* MiB, more than 2048"),
        ({"N": 2**22}, "asks for 4096 MiB, more than 2048"),
        ({"R": 7}, "ScryptObject.R is 7, less than 8"),
        ({"R": 2**40}, "asks for .* MiB"),
        ({"P": 0}, "ScryptObject.P is 0, less than 1"),
        ({"P": 2**30}, "asks for .* MiB"),
        ({"P": -1}, "ScryptObject.P is -1"),
        ({"N": 2**14, "R": 2**10, "P": 2}, "asks for 4096 MiB"),
        ({"Salt": ""}, "Salt has 0 bytes, less than 32"),
        ({"Salt": "A" * 40}, "Salt has 30 bytes, less than 32"),
        ({"Salt": None}, "Salt has 0 bytes"),
        ({"KeyLen": 16}, "KeyLen is 16, not 32"),
        ({"KeyLen": 64}, "KeyLen is 64, not 32"),
        ({"EncryptedKey": ...}, "EncryptedKey has 0 bytes, not the 64 of a volume with flag HKDF"),
        ({"EncryptedKey": "A" * 80}, "EncryptedKey has 60 bytes, not the 64 of a volume with flag HKDF"),
        ({"EncryptedKey": "A" * 88}, "EncryptedKey has 66 bytes"),
    ],
)
def test_values_that_can_not_work_raise(members, message):
    with pytest.raises(UnsupportedFeatureError, match=message) as caught:
        parse(**members)
    assert caught.value.exit_code is ExitCode.CONFIG_UNSUPPORTED
    assert caught.value.hint


def test_encrypted_key_without_hkdf_has_60_bytes():
    with pytest.raises(UnsupportedFeatureError, match="64 bytes, not the 60 of a volume without flag HKDF"):
        parse("GCMIV128", EncryptedKey=document()["EncryptedKey"])


@pytest.mark.parametrize(
    "members",
    [
        {"Version": "2"},
        {"Version": 2.0},
        {"Version": 65536},
        {"Version": -2},
        {"N": 1e3},
        {"N": 2**63},
        {"N": -(2**63) - 1},
        {"N": "1024"},
        {"N": [1024]},
        {"Salt": "A"},
        {"Salt": 5},
        {"Salt": "A" * 43 + "*"},
        {"EncryptedKey": 5},
        {"EncryptedKey": "_-" * 44},
        {"ScryptObject": []},
        {"ScryptObject": "x"},
        {"FeatureFlags": "HKDF"},
        {"FeatureFlags": {"HKDF": True}},
        {"FeatureFlags": ["HKDF", "GCMIV128", 3]},
        {"Creator": 5},
        {"FIDO2": "x"},
        {"FIDO2": {"CredentialID": 5}},
        {"FIDO2": {"AssertOptions": "x"}},
    ],
)
def test_values_of_another_type_raise_config_error(members):
    with pytest.raises(ConfigError, match="config field ") as caught:
        parse(**members)
    assert not isinstance(caught.value, UnsupportedFeatureError)
    assert caught.value.exit_code is ExitCode.OTHER


def test_scrypt_largest_affordable_n_is_accepted():
    assert parse(N=2**21).scrypt.n == 2**21


def test_salt_may_be_longer_than_usual():
    assert len(parse(Salt="A" * 64).scrypt.salt) == 48


@pytest.mark.parametrize("size", [(1 << 20) + 1, 100 << 20])
def test_oversized_file_raises(size):
    with pytest.raises(ConfigError, match="more than 1048576"):
        parse_config(b" " * size)


def test_file_of_the_largest_size_is_read():
    data = load_volume("default").config
    assert parse_config(data.ljust(1 << 20)) == parse_config(data)


@given(st.data())
def test_damaged_config_raises_config_error_or_parses_to_something_valid(data):
    config = bytearray(load_volume("default").config)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(config) - 1))
        config[position : position + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=4))
    try:
        cfg = parse_config(bytes(config))
    except ConfigError:
        return
    validate_config(cfg)
    assert parse_config(serialize_config(cfg)) == cfg


# --- optional members ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", ..., None])
def test_creator_may_be_missing(value):
    assert parse(Creator=value).creator == ""


def test_unknown_members_are_dropped():
    cfg = parse(Comment="x", Nested={"N": 5, "Version": 9})
    assert b"Comment" not in serialize_config(cfg)


def test_fido2_is_kept_and_written_in_order():
    cfg = parse(
        "HKDF GCMIV128 LongNameMax FIDO2",
        FIDO2={"HMACSalt": "A" * 44, "CredentialID": "QUI=", "AssertOptions": ["pin=true"]},
    )
    assert cfg.uses_fido2
    assert cfg.fido2 == Fido2Params(credential_id=b"AB", hmac_salt=bytes(33), assert_options=("pin=true",))
    written = serialize_config(cfg).decode()
    assert parse_config(written.encode()) == cfg
    assert (
        '\t"FIDO2": {\n\t\t"CredentialID": "QUI=",\n\t\t"HMACSalt": "' + "A" * 44 + '",\n'
        '\t\t"AssertOptions": [\n\t\t\t"pin=true"\n\t\t]\n\t},\n\t"LongNameMax": 100\n}\n'
    ) in written


def test_fido2_without_flag_is_kept_too():
    cfg = parse(FIDO2={"CredentialID": "QUI=", "HMACSalt": "A" * 44})
    assert not cfg.uses_fido2
    assert cfg.fido2 is not None
    assert cfg.fido2.assert_options is None
    assert b'"AssertOptions": null' in serialize_config(cfg)


# --- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"version": 3},
        {"encrypted_key": b"x"},
        {"flags": ()},
        {"long_name_max": 100},
        {"long_name_max": 300, "flags": (FeatureFlag.HKDF, FeatureFlag.GCM_IV128, FeatureFlag.LONG_NAME_MAX)},
        {"flags": (FeatureFlag.HKDF, FeatureFlag.GCM_IV128, FeatureFlag.FIDO2)},
    ],
)
def test_serialize_invalid_config_raises(change):
    with pytest.raises(UnsupportedFeatureError):
        serialize_config(replaced(parse(), **change))
