"""Which configs may be used, and written.

What gocryptfs accepts, minus the values that make it crash or swap the machine to death. Each message names the field,
its value and what would be right, because the reader of it sits in front of data that won't open.

Source: docs/format.md "What is valid".
"""

from __future__ import annotations

from typing import Final

from pcvfs import spec
from pcvfs.errors import UnsupportedFeatureError
from pcvfs.format.config_record import FeatureFlag, ScryptParams, VolumeConfig

_DAMAGED: Final = "the config is damaged or was edited: restore it from a backup"
_UPGRADE: Final = "upgrade the volume with gocryptfs 0.11, the last version that could read it"
_NEWER: Final = "the volume needs a newer version of this program"

# scrypt itself asks for r * p < 2**30 (RFC 7914 section 2).
_SCRYPT_RP_MAX: Final = 1 << 30

_Flag = FeatureFlag

# (flag, the flags it can't be with)
_CONFLICTS: Final = (
    (_Flag.XCHACHA20_POLY1305, (_Flag.AES_SIV, _Flag.GCM_IV128)),
    (
        _Flag.PLAINTEXT_NAMES,
        (_Flag.EME_NAMES, _Flag.DIR_IV, _Flag.LONG_NAMES, _Flag.RAW64, _Flag.LONG_NAME_MAX),
    ),
)


def validate_config(cfg: VolumeConfig) -> None:
    """Refuse a config that can't be used, after reading and before writing alike.

    Raises:
        UnsupportedFeatureError: the first rule that is broken.
    """
    check_version(cfg.version)
    check_scrypt(cfg.scrypt)
    _check_flags(cfg)
    _check_long_name_max(cfg)
    _check_key(cfg)
    if cfg.uses_fido2 and cfg.fido2 is None:
        raise _refusal("config flag FIDO2 is set but field FIDO2 is missing")


def check_version(version: int) -> None:
    """Refuse a format version other than 2."""
    if version == spec.ON_DISK_VERSION:
        return
    if version == 0:
        raise _refusal(f"config field Version is missing or 0, not {spec.ON_DISK_VERSION}")
    hint = _NEWER if version > spec.ON_DISK_VERSION else _UPGRADE
    raise _refusal(f"on-disk format version is {version}, not {spec.ON_DISK_VERSION}", hint=hint)


def check_scrypt(scrypt: ScryptParams) -> None:
    """Refuse parameters that are weaker than any volume was made with, not scrypt's, or not affordable."""
    if scrypt.n < spec.SCRYPT_N_MIN or scrypt.n & (scrypt.n - 1):
        raise _refusal(f"config field ScryptObject.N is {scrypt.n}, not a power of two of at least {spec.SCRYPT_N_MIN}")
    if scrypt.r < spec.SCRYPT_R_MIN:
        raise _refusal(f"config field ScryptObject.R is {scrypt.r}, less than {spec.SCRYPT_R_MIN}")
    if scrypt.p < spec.SCRYPT_P_MIN:
        raise _refusal(f"config field ScryptObject.P is {scrypt.p}, less than {spec.SCRYPT_P_MIN}")
    memory = 128 * scrypt.n * scrypt.r * scrypt.p
    if memory > spec.SCRYPT_MEMORY_MAX or scrypt.r * scrypt.p >= _SCRYPT_RP_MAX:
        raise _refusal(
            f"config field ScryptObject with N={scrypt.n} R={scrypt.r} P={scrypt.p} asks for {memory >> 20} MiB,"
            f" more than {spec.SCRYPT_MEMORY_MAX >> 20}"
        )
    if len(scrypt.salt) < spec.SALT_SIZE:
        raise _refusal(f"config field ScryptObject.Salt has {len(scrypt.salt)} bytes, less than {spec.SALT_SIZE}")
    if scrypt.key_len != spec.KEY_SIZE:
        raise _refusal(f"config field ScryptObject.KeyLen is {scrypt.key_len}, not {spec.KEY_SIZE}")


def _check_flags(cfg: VolumeConfig) -> None:
    flags = frozenset(cfg.flags)
    for flag, others in _CONFLICTS:
        for other in others:
            if flag in flags and other in flags:
                raise _refusal(f"config flags {flag} and {other} are both set, which contradict each other")
    if _Flag.XCHACHA20_POLY1305 in flags:
        if _Flag.HKDF not in flags:
            raise _refusal(f"config flag {_Flag.XCHACHA20_POLY1305} is set without {_Flag.HKDF}")
    elif _Flag.GCM_IV128 not in flags:
        raise _refusal(
            f"config flag {_Flag.GCM_IV128} is missing: the volume was made by gocryptfs 0.6 or older", _UPGRADE
        )


def _check_long_name_max(cfg: VolumeConfig) -> None:
    # No lower bound: the original loads any value, and hashes every name that is longer.
    if not 0 <= cfg.long_name_max <= spec.NAME_MAX:
        raise _refusal(f"config field LongNameMax is {cfg.long_name_max}, not in 0..{spec.NAME_MAX}")
    has_flag = _Flag.LONG_NAME_MAX in cfg.flags
    if has_flag and not cfg.long_name_max:
        raise _refusal(f"config flag {_Flag.LONG_NAME_MAX} is set but field LongNameMax is missing or 0")
    if cfg.long_name_max and not has_flag:
        raise _refusal(f"config field LongNameMax is {cfg.long_name_max} but flag {_Flag.LONG_NAME_MAX} is not set")


def _check_key(cfg: VolumeConfig) -> None:
    size = cfg.key_nonce_size + spec.KEY_SIZE + spec.TAG_SIZE
    if len(cfg.encrypted_key) != size:
        kind = f"with flag {_Flag.HKDF}" if cfg.has_hkdf else f"without flag {_Flag.HKDF}"
        raise _refusal(
            f"config field EncryptedKey has {len(cfg.encrypted_key)} bytes, not the {size} of a volume {kind}"
        )


def _refusal(message: str, hint: str = _DAMAGED) -> UnsupportedFeatureError:
    return UnsupportedFeatureError(message, hint=hint)
