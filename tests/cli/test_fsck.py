"""``pcvfs fsck``: exit codes, and that each problem names both paths."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pcvfs.errors import ExitCode
from tests.cli.commands import Terminal, pcvfs
from tests.cli.golden import unpack

PASSWORD = b"correct horse 7\n"


@pytest.fixture
def cipherdir(tmp_path: Path) -> Path:
    """The golden default volume, made by the original."""
    return unpack("default", tmp_path).cipherdir


def largest_file(cipherdir: Path) -> Path:
    with os.scandir(cipherdir) as entries:
        sizes = [(entry.stat(follow_symlinks=False).st_size, entry.path) for entry in entries if is_regular(entry)]
    return Path(max(sizes)[1])


def is_regular(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def test_fsck_good_volume_is_clean(cipherdir: Path) -> None:
    result = pcvfs("fsck", cipherdir, stdin=PASSWORD)
    assert result.returncode == 0, result.stdout
    lines = result.stdout.decode().splitlines()
    assert lines[-1].startswith("fsck summary: no problems found")
    assert result.stderr == b""


def test_fsck_quiet_good_volume_prints_no_summary(cipherdir: Path) -> None:
    result = pcvfs("fsck", "-q", cipherdir, stdin=PASSWORD)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"summary" not in result.stdout


def test_fsck_corrupt_block_names_both_paths(cipherdir: Path) -> None:
    victim = largest_file(cipherdir)
    data = bytearray(victim.read_bytes())
    data[100] ^= 1
    victim.write_bytes(data)
    result = pcvfs("fsck", cipherdir, stdin=PASSWORD)
    assert result.returncode == ExitCode.FSCK_ERRORS
    line = next(line for line in result.stdout.decode().splitlines() if line.startswith("error: "))
    assert line.startswith("error: /")
    assert line.endswith(f"[{victim.relative_to(cipherdir)}]")
    assert "1 error" in result.stdout.decode().splitlines()[-1]
    assert result.stderr.startswith(b"pcvfs: the volume is damaged\nhint: ")


def test_fsck_name_with_control_characters_is_printed_escaped(cipherdir: Path) -> None:
    shutil.copy(largest_file(cipherdir), os.fsencode(cipherdir) + b"/\x1b[31mred")
    result = pcvfs("fsck", cipherdir, stdin=PASSWORD)
    assert result.returncode == ExitCode.FSCK_ERRORS
    assert b"\x1b" not in result.stdout
    assert b"[\\x1b[31mred]" in result.stdout


@pytest.mark.parametrize(
    ("options", "stdin", "code"),
    [
        ([], b"wrong\n", ExitCode.WRONG_PASSWORD),
        ([], b"", ExitCode.READ_PASSWORD),
        (["-masterkey=zz"], b"", ExitCode.MASTERKEY),
        (["-masterkey=zz", "-extpass=echo x"], b"", ExitCode.USAGE),
        (["-config=/nonexistent"], PASSWORD, ExitCode.OTHER),
    ],
)
def test_fsck_no_key_is_an_error(cipherdir: Path, options: list[str], stdin: bytes, code: ExitCode) -> None:
    assert pcvfs("fsck", *options, cipherdir, stdin=stdin).returncode == code


def test_fsck_wrong_master_key_finds_everything_corrupt(cipherdir: Path) -> None:
    result = pcvfs("fsck", "-zerokey", cipherdir)
    assert result.returncode == ExitCode.FSCK_ERRORS


@pytest.mark.parametrize("name", ["default", "aessiv", "xchacha", "plaintextnames", "deterministic-names"])
def test_fsck_master_key_with_the_right_flags_is_clean(tmp_path: Path, name: str) -> None:
    volume = unpack(name, tmp_path)
    flags = [] if name == "default" else [f"-{name}"]
    result = pcvfs("fsck", "-masterkey=stdin", *flags, volume.cipherdir, stdin=volume.master_key.encode())
    assert result.returncode == 0, result.stdout


def test_fsck_on_terminal_shows_progress_and_leaves_the_lines(cipherdir: Path, tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(PASSWORD)
    (cipherdir / "litter").touch()
    with Terminal(["fsck", "-passfile", tmp_path / "pw", cipherdir], TERM="xterm") as terminal:
        assert terminal.finish() == ExitCode.FSCK_ERRORS
    assert b"checking" in terminal.shown
    assert b"[litter]\r\n" in terminal.shown
