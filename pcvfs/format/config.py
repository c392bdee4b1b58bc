"""The volume's config, ``gocryptfs.conf``: what it holds, and how it is read and written.

Bytes in, records out; the file itself is handled in ``cipherdir``. What values are acceptable is decided in
``pcvfs.format.config_rules``, and everything about keys happens in ``pcvfs.format.keys``.

Nothing in a config is authenticated but the wrapped key: whoever can write the file can change the flags, and so have
what is written afterwards stored with plaintext or deterministic names. See docs/threat-model.md.

Source: docs/format.md "gocryptfs.conf".
"""

from __future__ import annotations

from typing import Final

from pcvfs import spec
from pcvfs.errors import UnsupportedFeatureError
from pcvfs.format.config_record import FeatureFlag, Fido2Params, ScryptParams, VolumeConfig
from pcvfs.format.config_rules import check_version, validate_config
from pcvfs.format.gojson import JsonObject, Writable, parse_object, write_object

__all__ = [
    "FeatureFlag",
    "Fido2Params",
    "ScryptParams",
    "VolumeConfig",
    "parse_config",
    "serialize_config",
    "validate_config",
]

# Go types of the fields: int, uint16, uint8.
_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1
_UINT16_MAX: Final = (1 << 16) - 1
_UINT8_MAX: Final = (1 << 8) - 1


def parse_config(data: bytes) -> VolumeConfig:
    """Return the config that a file with content ``data`` holds, validated.

    Raises:
        ConfigError: not JSON, or a field of the wrong type.
        UnsupportedFeatureError: well-formed, but see :func:`~pcvfs.format.config_rules.validate_config`.
    """
    root = parse_object(data, spec.CONFIG_SIZE_MAX)
    scrypt = root.child("ScryptObject", null_clears=False) or JsonObject((), path="ScryptObject.")
    fido2 = root.child("FIDO2", null_clears=True)
    version = root.integer("Version", 0, _UINT16_MAX)
    flags = root.texts("FeatureFlags") or ()
    check_version(version)  # first: flags of a later version are no riddle, they are expected
    cfg = VolumeConfig(
        creator=root.text("Creator"),
        encrypted_key=root.data("EncryptedKey"),
        scrypt=ScryptParams(
            salt=scrypt.data("Salt"),
            n=scrypt.integer("N", _INT64_MIN, _INT64_MAX),
            r=scrypt.integer("R", _INT64_MIN, _INT64_MAX),
            p=scrypt.integer("P", _INT64_MIN, _INT64_MAX),
            key_len=scrypt.integer("KeyLen", _INT64_MIN, _INT64_MAX),
        ),
        version=version,
        flags=tuple(_flag(text) for text in flags),
        long_name_max=root.integer("LongNameMax", 0, _UINT8_MAX),
        fido2=None if fido2 is None else _fido2(fido2),
    )
    validate_config(cfg)
    return cfg


def serialize_config(cfg: VolumeConfig) -> bytes:
    """Return the content of the config file: what gocryptfs would write for these values, byte for byte.

    Raises:
        UnsupportedFeatureError: the values may not be written (see ``validate_config``).
    """
    validate_config(cfg)
    members: dict[str, Writable] = {
        "Creator": cfg.creator,
        "EncryptedKey": cfg.encrypted_key,
        "ScryptObject": {
            "Salt": cfg.scrypt.salt,
            "N": cfg.scrypt.n,
            "R": cfg.scrypt.r,
            "P": cfg.scrypt.p,
            "KeyLen": cfg.scrypt.key_len,
        },
        "Version": cfg.version,
        "FeatureFlags": [flag.value for flag in cfg.flags],
    }
    if cfg.fido2 is not None:
        members["FIDO2"] = {
            "CredentialID": cfg.fido2.credential_id,
            "HMACSalt": cfg.fido2.hmac_salt,
            "AssertOptions": cfg.fido2.assert_options,
        }
    if cfg.long_name_max:
        members["LongNameMax"] = cfg.long_name_max
    return write_object(members)


def _flag(text: str) -> FeatureFlag:
    try:
        return FeatureFlag(text)
    except ValueError as exc:
        raise UnsupportedFeatureError(
            f"config flag {text[:64]!a} is unknown",
            hint="the volume needs a newer version of this program, or the config is damaged",
        ) from exc


def _fido2(members: JsonObject) -> Fido2Params:
    return Fido2Params(
        credential_id=members.data("CredentialID"),
        hmac_salt=members.data("HMACSalt"),
        assert_options=members.texts("AssertOptions"),
    )
