"""The way from a password to the keys of a volume, and back into a config.

    password --scrypt--> kek --HKDF--> unwraps the master key --HKDF--> content key, names key

Every :class:`Secret` that a function returns belongs to the caller, who wipes it; those made on the way are wiped
here, whatever happens. A password is wiped by whoever read it.

Source: docs/format.md "Keys".
"""

from __future__ import annotations

import binascii
from typing import Final, Self, TypeAlias

from pcvfs import spec
from pcvfs.crypto.aead import CipherKind, aes_gcm_unwrap, aes_gcm_wrap
from pcvfs.crypto.kdf import hkdf_sha256, scrypt, sha512
from pcvfs.crypto.secret import Secret
from pcvfs.errors import (
    AuthenticationError,
    ExitCode,
    MasterKeyError,
    PasswordSourceError,
    UnlockError,
    UsageError,
    WrongPasswordError,
)
from pcvfs.format.config_record import FeatureFlag, ScryptParams, VolumeConfig
from pcvfs.format.config_rules import validate_config
from pcvfs.records import record, replaced

Password: TypeAlias = bytes | bytearray | memoryview

_HKDF_INFO_CONTENT: Final = {
    CipherKind.AES_GCM: spec.HKDF_INFO_AES_GCM,
    CipherKind.AES_SIV: spec.HKDF_INFO_AES_SIV,
    CipherKind.XCHACHA20_POLY1305: spec.HKDF_INFO_XCHACHA,
}
_LOG_N_AFFORDABLE: Final = (spec.SCRYPT_MEMORY_MAX // (128 * spec.SCRYPT_R_MIN * spec.SCRYPT_P_MIN)).bit_length() - 1


# --- master key to the keys of a volume ---------------------------------------------------------------------------


@record
class VolumeKeys:
    """The two keys that a mounted volume works with. A context manager: wiped on exit."""

    content_key: Secret  # 32 bytes, 64 for AES-SIV: blocks, symlink targets, attribute values
    names_key: Secret  # 32 bytes: file names and attribute names, the latter with plaintext names too

    def wipe(self) -> None:
        """Overwrite both keys."""
        self.content_key.wipe()
        self.names_key.wipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.wipe()


def derive_keys(cfg: VolumeConfig, master_key: Secret) -> VolumeKeys:
    """Return the keys that a config and its master key lead to."""
    return derive_volume_keys(cfg.cipher_kind, master_key, has_hkdf=cfg.has_hkdf)


def derive_volume_keys(kind: CipherKind, master_key: Secret, *, has_hkdf: bool) -> VolumeKeys:
    """Return the keys of a volume without its config (master key mode).

    Args:
        master_key: 32 bytes; stays the caller's.
        has_hkdf: False for volumes before gocryptfs 1.3, where the master key does everything itself.
    """
    _check_size("master key", len(master_key), spec.KEY_SIZE)
    if has_hkdf:
        content_key = hkdf_sha256(master_key, _HKDF_INFO_CONTENT[kind], kind.key_size)
        names_key = hkdf_sha256(master_key, spec.HKDF_INFO_NAMES, spec.KEY_SIZE)
    elif kind is CipherKind.XCHACHA20_POLY1305:
        raise ValueError("there are no XChaCha20-Poly1305 volumes without HKDF")
    else:
        content_key = sha512(master_key) if kind is CipherKind.AES_SIV else Secret.from_bytes(master_key.view())
        names_key = Secret.from_bytes(master_key.view())
    return VolumeKeys(content_key=content_key, names_key=names_key)


# --- password to master key, and back -----------------------------------------------------------------------------


@record
class CreateOptions:
    """What can be chosen when a volume is made, and never changed later but for ``log_n``."""

    cipher: CipherKind = CipherKind.AES_GCM
    plaintext_names: bool = False  # overrides the two below, as in the original
    deterministic_names: bool = False
    long_name_max: int = 0  # bytes, 62..255; 0 and 255 are the default and not stored
    log_n: int = spec.SCRYPT_LOG_N_DEFAULT  # scrypt N = 2**log_n; 64 MiB at 16, doubling with each step
    hkdf: bool = True  # False: like gocryptfs before 1.3; for tests
    raw64: bool = True  # False: like gocryptfs before 1.3; for tests


def make_config(
    options: CreateOptions, password: Password, master_key: Secret, *, salt: bytes, nonce: bytes, creator: str
) -> VolumeConfig:
    """Return the config of a new volume.

    Args:
        master_key: 32 random bytes; stays the caller's.
        salt: 32 random bytes.
        nonce: 16 random bytes, 12 without HKDF.
        creator: informational, e.g. ``pcvfs 1.0``.

    Raises:
        UsageError: options that make no sense.
        PasswordSourceError: empty or too long a password.
    """
    if options.long_name_max and not spec.LONG_NAME_MAX_FLOOR <= options.long_name_max <= spec.NAME_MAX:
        raise UsageError(
            f"long name maximum is {options.long_name_max}",
            hint=f"choose one from {spec.LONG_NAME_MAX_FLOOR} to {spec.NAME_MAX}",
        )
    if options.cipher is CipherKind.XCHACHA20_POLY1305 and not options.hkdf:
        raise UsageError("XChaCha20-Poly1305 needs HKDF")
    flags, long_name_max = _flags_of(options)
    bare = VolumeConfig(
        creator=creator,
        encrypted_key=b"",
        scrypt=_scrypt_params(options.log_n, salt, ExitCode.WRITE_CONFIG),
        version=spec.ON_DISK_VERSION,
        flags=flags,
        long_name_max=long_name_max,
    )
    return _wrap(bare, master_key, password, nonce)


def rewrap(
    cfg: VolumeConfig, master_key: Secret, password: Password, *, salt: bytes, nonce: bytes, log_n: int | None = None
) -> VolumeConfig:
    """Return ``cfg`` with the same master key under another password.

    Args:
        master_key: as :func:`unwrap_master_key` returned it, or given by hand; can't be checked. Stays the caller's.
        salt: 32 random bytes; never the old ones.
        nonce: ``cfg.key_nonce_size`` random bytes.
        log_n: new scrypt cost; None keeps the N of ``cfg``. R and P become 8 and 1.

    Raises:
        UnlockError: the volume is unlocked by a FIDO2 token.
        UsageError: ``log_n`` out of range.
        PasswordSourceError: empty or too long a password.
    """
    _refuse_fido2(cfg)
    if log_n is None:
        log_n = cfg.scrypt.n.bit_length() - 1
    return _wrap(replaced(cfg, scrypt=_scrypt_params(log_n, salt, ExitCode.SCRYPT_PARAMS)), master_key, password, nonce)


def unwrap_master_key(cfg: VolumeConfig, password: Password) -> Secret:
    """Return the master key.

    Takes as long as scrypt is told to; runs without the GIL.

    Raises:
        WrongPasswordError: wrong password, or a config that was tampered with; there is no telling which.
        PasswordSourceError: empty or too long a password.
        UnlockError: the volume is unlocked by a FIDO2 token, which is not supported.
        UnsupportedFeatureError: ``cfg`` is not valid.
    """
    validate_config(cfg)
    _refuse_fido2(cfg)
    with _wrapping_key(cfg, password) as wrapping_key:
        try:
            return aes_gcm_unwrap(wrapping_key, cfg.encrypted_key, cfg.key_nonce_size)
        except AuthenticationError as exc:
            raise WrongPasswordError("password is wrong", hint="try again; mind keyboard layout and capitals") from exc


def _wrap(cfg: VolumeConfig, master_key: Secret, password: Password, nonce: bytes) -> VolumeConfig:
    _check_size("nonce", len(nonce), cfg.key_nonce_size)
    _check_size("master key", len(master_key), spec.KEY_SIZE)
    with _wrapping_key(cfg, password) as wrapping_key:
        wrapped = replaced(cfg, encrypted_key=aes_gcm_wrap(wrapping_key, nonce, master_key))
    validate_config(wrapped)
    return wrapped


def _wrapping_key(cfg: VolumeConfig, password: Password) -> Secret:
    """Return the AES-256-GCM key that the master key is wrapped with, whatever the content cipher is."""
    if not 0 < len(password) <= spec.PASSWORD_MAX:
        what = "empty" if not len(password) else f"longer than {spec.PASSWORD_MAX} bytes"
        raise PasswordSourceError(f"password is {what}")
    params = cfg.scrypt
    kek = scrypt(password, params.salt, params.n, params.r, params.p)
    if not cfg.has_hkdf:
        return kek
    with kek:
        return hkdf_sha256(kek, spec.HKDF_INFO_AES_GCM, spec.KEY_SIZE)


def _flags_of(options: CreateOptions) -> tuple[tuple[FeatureFlag, ...], int]:
    """Return the flags, in the order that gocryptfs writes them, and the LongNameMax field."""
    is_xchacha = options.cipher is CipherKind.XCHACHA20_POLY1305
    flags = [FeatureFlag.HKDF] if options.hkdf else []
    flags.append(FeatureFlag.XCHACHA20_POLY1305 if is_xchacha else FeatureFlag.GCM_IV128)
    long_name_max = 0
    if options.plaintext_names:
        flags.append(FeatureFlag.PLAINTEXT_NAMES)
    else:
        if not options.deterministic_names:
            flags.append(FeatureFlag.DIR_IV)
        if options.long_name_max not in (0, spec.NAME_MAX):
            long_name_max = options.long_name_max
            flags.append(FeatureFlag.LONG_NAME_MAX)
        flags += [FeatureFlag.EME_NAMES, FeatureFlag.LONG_NAMES]
        if options.raw64:
            flags.append(FeatureFlag.RAW64)
    if options.cipher is CipherKind.AES_SIV:
        flags.append(FeatureFlag.AES_SIV)
    return tuple(flags), long_name_max


def _scrypt_params(log_n: int, salt: bytes, exit_code: ExitCode) -> ScryptParams:
    _check_size("salt", len(salt), spec.SALT_SIZE)
    if not spec.SCRYPT_LOG_N_MIN <= log_n <= _LOG_N_AFFORDABLE:
        raise UsageError(
            f"scrypt cost is {log_n}",
            hint=f"choose one from {spec.SCRYPT_LOG_N_MIN} to {_LOG_N_AFFORDABLE}; each step doubles time and memory",
            exit_code=exit_code,
        )
    return ScryptParams(salt=salt, n=1 << log_n, r=spec.SCRYPT_R_MIN, p=spec.SCRYPT_P_MIN, key_len=spec.KEY_SIZE)


def _refuse_fido2(cfg: VolumeConfig) -> None:
    # The "password" of such a volume is what the token computes from HMACSalt; no password would ever open it.
    if cfg.uses_fido2:
        raise UnlockError(
            "this volume is unlocked by a FIDO2 token, which is not supported; no password opens it",
            hint="unlock it with its master key, or with gocryptfs and the token",
        )


def _check_size(what: str, size: int, expected: int) -> None:
    if size != expected:
        raise ValueError(f"{what} has {size} bytes, not {expected}")


# --- the master key on paper --------------------------------------------------------------------------------------

_GROUP_SIZE: Final = 8  # hex digits
_SEPARATORS: Final = b"- \t\r\n"


def parse_master_key(text: bytes) -> Secret:
    """Return the master key that someone typed: 64 hex digits; dashes and white space between them don't matter.

    Raises:
        MasterKeyError: anything else. The message does not repeat the input.
    """
    digits = text.translate(None, _SEPARATORS)
    try:
        key = binascii.unhexlify(digits)
    except ValueError as exc:
        raise _bad_master_key("master key is not hexadecimal") from exc
    if len(key) != spec.KEY_SIZE:
        raise _bad_master_key(f"master key has {len(digits)} hex digits, not {2 * spec.KEY_SIZE}")
    return Secret.from_bytes(key)


def format_master_key(key: Secret) -> str:
    """Return the master key as 8 groups of 8 hex digits joined by dashes, for printing once."""
    text = key.view().hex()
    return "-".join(text[start : start + _GROUP_SIZE] for start in range(0, len(text), _GROUP_SIZE))


def _bad_master_key(message: str) -> MasterKeyError:
    return MasterKeyError(message, hint="it was shown as 8 groups of 8 hex digits when the volume was created")
