"""``pcvfs info``: line for line what the original prints."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pcvfs.errors import ExitCode
from tests.cli.commands import pcvfs
from tests.cli.golden import unpack
from tests.support.requirements import require_gocryptfs

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


@pytest.mark.parametrize("name", VOLUMES)
def test_info_golden_volume_reads_as_in_the_original(tmp_path: Path, name: str) -> None:
    require_gocryptfs()
    cipherdir = unpack(name, tmp_path).cipherdir
    original = subprocess.run(["gocryptfs", "-info", cipherdir], capture_output=True, check=True, timeout=60)
    result = pcvfs("info", "-q", cipherdir)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == original.stdout


def test_info_default_volume_is_described(tmp_path: Path) -> None:
    result = pcvfs("info", unpack("default", tmp_path).cipherdir)
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
    assert warning in pcvfs("info", unpack(name, tmp_path).cipherdir).stderr


@pytest.mark.parametrize("content", [None, b"", b"{}", b"not json", b'{"Version": 3}'])
def test_info_bad_config_has_its_own_code(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "gocryptfs.conf").write_bytes(content)
    result = pcvfs("info", tmp_path)
    assert result.returncode == ExitCode.LOAD_CONFIG
    assert result.stdout == b""
    assert result.stderr.startswith(b"pcvfs: ")


def test_info_creator_with_escape_codes_can_not_steer_the_terminal(tmp_path: Path) -> None:
    config = (unpack("default", tmp_path).cipherdir / "gocryptfs.conf").read_text()
    (tmp_path / "gocryptfs.conf").write_text(config.replace("gocryptfs 2.3", "\\u001b[31mred\\n"))
    result = pcvfs("info", tmp_path)
    assert result.stdout.startswith(b"Creator:           \\x1b[31mred\\n\n")
