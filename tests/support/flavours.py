"""The kinds of volumes: every combination of feature flags that the format allows, and the ones tests pick.

A volume that the command line can create is created by it. The rest (no HKDF, padded base64: made by very old
versions only) starts from a config written here, with the ``cryptography`` package alone: an independent witness of
the format. Source: docs/format.md, "gocryptfs.conf" and "Key derivation".
"""

from __future__ import annotations

import base64
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

PASSWORD: Final = "correct horse 7"

Cipher = Literal["gcm", "xchacha", "aessiv"]
Names = Literal["diriv", "deterministic", "plaintext"]


@dataclass(frozen=True, slots=True)
class Flavour:
    """One combination of feature flags.

    ``long_name_max`` 0 means the default of 255. ``raw64`` and ``long_name_max`` mean nothing with plaintext names.
    """

    name: str
    cipher: Cipher = "gcm"
    names: Names = "diriv"
    long_name_max: int = 0
    hkdf: bool = True
    raw64: bool = True

    @property
    def has_plain_names(self) -> bool:
        """Names and symlink targets are stored as they are."""
        return self.names == "plaintext"

    @property
    def is_legacy(self) -> bool:
        """No command line creates it any more."""
        return not self.hkdf or not (self.raw64 or self.has_plain_names)

    @property
    def init_options(self) -> list[str]:
        """Options of ``pcvfs init``; gocryptfs has the same names with one dash."""
        options = [f"--{self.cipher}"] if self.cipher != "gcm" else []
        if self.names != "diriv":
            options.append("--plaintextnames" if self.has_plain_names else "--deterministic-names")
        return options + (["--longnamemax", str(self.long_name_max)] if self.long_name_max else [])

    @property
    def feature_flags(self) -> list[str]:
        """The flags as the config states them."""
        flags = ["HKDF"] * self.hkdf
        flags.append("XChaCha20Poly1305" if self.cipher == "xchacha" else "GCMIV128")
        if self.has_plain_names:
            flags.append("PlaintextNames")
        else:
            flags += ["DirIV"] * (self.names == "diriv") + ["LongNameMax"] * bool(self.long_name_max)
            flags += ["EMENames", "LongNames"] + ["Raw64"] * self.raw64
        return flags + ["AESSIV"] * (self.cipher == "aessiv")

    @property
    def symlink_max(self) -> int:
        """Longest symlink target in bytes: the stored form has 4095."""
        if self.has_plain_names:
            return 4095
        overhead = 40 if self.cipher == "xchacha" else 32
        stored = 4095 if self.raw64 else 4092  # padded base64 comes in fours
        return stored * 3 // 4 - overhead

    def write_volume(self, cipherdir: Path) -> None:
        """Make an empty volume in an empty directory without any implementation's help."""
        config = _config(self, PASSWORD.encode())
        path = cipherdir / "gocryptfs.conf"
        path.write_text(json.dumps(config, indent="\t") + "\n")
        path.chmod(0o400)
        if self.names == "diriv":
            diriv = cipherdir / "gocryptfs.diriv"
            diriv.write_bytes(os.urandom(16))
            diriv.chmod(0o444)


def _config(flavour: Flavour, password: bytes) -> dict[str, object]:
    salt, master_key = os.urandom(32), os.urandom(32)
    key = Scrypt(salt=salt, length=32, n=1024, r=8, p=1).derive(password)
    nonce = os.urandom(16 if flavour.hkdf else 12)
    if flavour.hkdf:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"AES-GCM file content encryption").derive(key)
    wrapped = nonce + AESGCM(key).encrypt(nonce, master_key, bytes(8))
    config: dict[str, object] = {
        "Creator": "pcvfs tests",
        "EncryptedKey": base64.b64encode(wrapped).decode(),
        "ScryptObject": {"Salt": base64.b64encode(salt).decode(), "N": 1024, "R": 8, "P": 1, "KeyLen": 32},
        "Version": 2,
        "FeatureFlags": flavour.feature_flags,
    }
    if flavour.long_name_max and not flavour.has_plain_names:
        config["LongNameMax"] = flavour.long_name_max
    return config


DEFAULT: Final = Flavour("default")
FLAVOURS: Final = {
    flavour.name: flavour
    for flavour in (
        DEFAULT,
        Flavour("xchacha", cipher="xchacha"),
        Flavour("aessiv", cipher="aessiv"),
        Flavour("plaintextnames", names="plaintext"),
        Flavour("deterministic-names", names="deterministic"),
        Flavour("longnamemax-62", long_name_max=62),
        Flavour("longnamemax-100", long_name_max=100),
        Flavour("legacy", hkdf=False, raw64=False),
    )
}


def every_flavour() -> list[Flavour]:
    """Return every legal combination of the feature flags, with three lengths of names where they matter."""
    keyed: list[tuple[Cipher, bool]] = [
        ("gcm", True),
        ("gcm", False),
        ("aessiv", True),
        ("aessiv", False),
        ("xchacha", True),
    ]
    named: list[Names] = ["diriv", "deterministic"]
    flavours = []
    for cipher, hkdf in keyed:
        prefix = f"{cipher}-{'hkdf' if hkdf else 'nohkdf'}"
        flavours.append(Flavour(f"{prefix}-plaintext", cipher, "plaintext", hkdf=hkdf))
        for names, raw64, longest in itertools.product(named, (True, False), (0, 62, 100)):
            name = f"{prefix}-{names}-{'raw64' if raw64 else 'padded'}-{longest or 255}"
            flavours.append(Flavour(name, cipher, names, longest, hkdf, raw64))
    return flavours
