"""The fields of a volume's config as immutable records. No parsing, no checks.

Source: docs/format.md "gocryptfs.conf".
"""

from __future__ import annotations

from enum import StrEnum

from pcvfs import spec
from pcvfs.crypto.aead import CipherKind
from pcvfs.records import record


class FeatureFlag(StrEnum):
    """What a config can say about a volume; the values are the spelling in the file."""

    PLAINTEXT_NAMES = "PlaintextNames"  # names and symlink targets are not encrypted (attributes still are)
    DIR_IV = "DirIV"  # each directory has its own tweak; without it names are deterministic
    EME_NAMES = "EMENames"  # says nothing: names are never encrypted in another way
    GCM_IV128 = "GCMIV128"  # 16-byte nonces; without it, and without XChaCha, a volume is too old to read
    LONG_NAMES = "LongNames"  # says nothing: long names are hashed with it or without
    LONG_NAME_MAX = "LongNameMax"  # the field of this name is there
    AES_SIV = "AESSIV"  # content cipher
    RAW64 = "Raw64"  # base64 without padding
    HKDF = "HKDF"  # one key per purpose, made from the master key
    FIDO2 = "FIDO2"  # a token's secret takes the place of the password
    XCHACHA20_POLY1305 = "XChaCha20Poly1305"  # content cipher


@record
class ScryptParams:
    """How the password becomes the key that wraps the master key."""

    salt: bytes
    n: int  # cost: memory is 128 * n * r bytes
    r: int
    p: int
    key_len: int  # bytes


@record
class Fido2Params:
    """What a FIDO2 token needs to compute its secret. Kept and written back, not used."""

    credential_id: bytes
    hmac_salt: bytes
    assert_options: tuple[str, ...] | None = None  # None: written by a version before there were any


@record
class VolumeConfig:
    """The config of one volume."""

    creator: str  # which program made the volume; from the file, so mind control characters when showing it
    encrypted_key: bytes  # nonce || wrapped master key || tag
    scrypt: ScryptParams
    version: int
    flags: tuple[FeatureFlag, ...]  # in the order of the file, duplicates included
    long_name_max: int = 0  # 0: not in the file
    fido2: Fido2Params | None = None

    @property
    def cipher_kind(self) -> CipherKind:
        """The cipher of file content, symlink targets and attribute values."""
        if FeatureFlag.XCHACHA20_POLY1305 in self.flags:
            return CipherKind.XCHACHA20_POLY1305
        if FeatureFlag.AES_SIV in self.flags:
            return CipherKind.AES_SIV
        return CipherKind.AES_GCM

    @property
    def has_hkdf(self) -> bool:
        """Whether each purpose has a key of its own."""
        return FeatureFlag.HKDF in self.flags

    @property
    def raw64(self) -> bool:
        """Whether base64 is without padding."""
        return FeatureFlag.RAW64 in self.flags

    @property
    def plaintext_names(self) -> bool:
        """Whether names and symlink targets are stored as they are."""
        return FeatureFlag.PLAINTEXT_NAMES in self.flags

    @property
    def has_diriv(self) -> bool:
        """Whether each directory has a file with its own tweak."""
        return FeatureFlag.DIR_IV in self.flags

    @property
    def effective_long_name_max(self) -> int:
        """Longest encrypted name, in bytes, that is not hashed."""
        return self.long_name_max or spec.NAME_MAX

    @property
    def uses_fido2(self) -> bool:
        """Whether a token's secret takes the place of the password."""
        return FeatureFlag.FIDO2 in self.flags

    @property
    def key_nonce_size(self) -> int:
        """Bytes of the nonce in front of the wrapped master key."""
        return spec.CONFIG_NONCE_SIZE_HKDF if self.has_hkdf else spec.CONFIG_NONCE_SIZE_LEGACY
