"""``pcvfs info``: line for line what the original prints."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from pcvfs.errors import ExitCode
from tests.cli.commands import pcvfs
from tests.support.requirements import REPOSITORY, require_gocryptfs

VECTORS = REPOSITORY / "tests" / "vectors" / "gocryptfs"
VOLUMES = [
    "aessiv",
    "default",
    "deterministic-names",
    "legacy-nohkdf-gcm",
    "legacy-nohkdf-plaintextnames",
    "longnamemax-100",
    "plaintextnames",
    "xchacha",
]


def golden_config(name: str, parent: Path) -> Path:
    """The cipherdir of a golden volume, with its config alone in it."""
    with tarfile.open(VECTORS / f"{name}.tar.gz") as archive:
        member = next(entry for entry in archive if entry.name.endswith("/gocryptfs.conf"))
        data = archive.extractfile(member)
        assert data is not None
        (parent / "gocryptfs.conf").write_bytes(data.read())
    return parent


@pytest.mark.parametrize("name", VOLUMES)
def test_info_golden_volume_reads_as_in_the_original(tmp_path: Path, name: str) -> None:
    require_gocryptfs()
    cipherdir = golden_config(name, tmp_path)
    original = subprocess.run(["gocryptfs", "-info", cipherdir], capture_output=True, check=True, timeout=60)
    result = pcvfs("info", "-q", cipherdir)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == original.stdout


def test_info_default_volume_is_described(tmp_path: Path) -> None:
    result = pcvfs("info", golden_config("default", tmp_path))
    assert result.stdout.decode() == (
        "Creator:           gocryptfs 2.3\n"
        "FeatureFlags:      HKDF GCMIV128 DirIV EMENames LongNames Raw64\n"
        "EncryptedKey:      64B\n"
        "ScryptObject:      Salt=32B N=1024 R=8 P=1 KeyLen=32\n"
        "contentEncryption: AES-GCM-256\n"
    )
    assert b"warning: scrypt N=1024" in result.stderr


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("legacy-nohkdf-gcm", b"no HKDF"),
        ("plaintextnames", b"names and symlink targets are not encrypted"),
        ("deterministic-names", b"equal names look equal"),
    ],
)
def test_info_weaker_volume_is_warned_about(tmp_path: Path, name: str, warning: bytes) -> None:
    assert warning in pcvfs("info", golden_config(name, tmp_path)).stderr


@pytest.mark.parametrize("content", [None, b"", b"{}", b"not json", b'{"Version": 3}'])
def test_info_bad_config_has_its_own_code(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "gocryptfs.conf").write_bytes(content)
    result = pcvfs("info", tmp_path)
    assert result.returncode == ExitCode.LOAD_CONFIG
    assert result.stdout == b""
    assert result.stderr.startswith(b"pcvfs: ")


def test_info_creator_with_escape_codes_can_not_steer_the_terminal(tmp_path: Path) -> None:
    config = golden_config("default", tmp_path) / "gocryptfs.conf"
    config.write_text(config.read_text().replace("gocryptfs 2.3", "\\u001b[31mred\\n"))
    result = pcvfs("info", tmp_path)
    assert result.stdout.startswith(b"Creator:           \\x1b[31mred\\n\n")
