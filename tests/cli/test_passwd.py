"""``pcvfs passwd``: who gets in afterwards, and what a refused change leaves behind."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from pcvfs.errors import ExitCode
from tests.cli.commands import Terminal, pcvfs
from tests.support.requirements import require_gocryptfs


@pytest.fixture
def cipherdir(tmp_path: Path) -> Path:
    """A volume with the password ``old``."""
    path = tmp_path / "cipher"
    path.mkdir()
    assert pcvfs("init", "-scryptn=10", path, stdin=b"old\n").returncode == 0
    return path


def opens(cipherdir: Path, password: bytes) -> bool:
    """The original opens the volume with this password."""
    require_gocryptfs()
    result = subprocess.run(
        ["gocryptfs", "-fsck", "-q", cipherdir], input=password, capture_output=True, check=False, timeout=60
    )
    assert result.returncode in (0, ExitCode.WRONG_PASSWORD)
    return result.returncode == 0


def test_passwd_from_pipe_replaces_the_password(cipherdir: Path) -> None:
    result = pcvfs("passwd", cipherdir, stdin=b"old\nnew\n")
    assert (result.returncode, result.stderr) == (0, b"")
    assert (opens(cipherdir, b"old"), opens(cipherdir, b"new")) == (False, True)
    assert stat.S_IMODE((cipherdir / "gocryptfs.conf").stat().st_mode) == 0o400


def test_passwd_old_from_program_new_from_pipe(cipherdir: Path) -> None:
    assert pcvfs("passwd", "-q", "-extpass", "echo old", cipherdir, stdin=b"new\n").returncode == 0
    assert opens(cipherdir, b"new")


def test_passwd_scryptn_changes_the_cost_and_without_it_stays(cipherdir: Path) -> None:
    def cost() -> object:
        return json.loads((cipherdir / "gocryptfs.conf").read_bytes())["ScryptObject"]["N"]

    assert pcvfs("passwd", "-scryptn", "11", cipherdir, stdin=b"old\nnew\n").returncode == 0
    assert cost() == 2048
    assert pcvfs("passwd", cipherdir, stdin=b"new\nnewer\n").returncode == 0
    assert cost() == 2048


def test_passwd_volume_of_the_original_is_changed(tmp_path: Path) -> None:
    require_gocryptfs()
    path = tmp_path / "theirs"
    path.mkdir()
    init = ["gocryptfs", "-init", "-q", "-scryptn=10", path]
    subprocess.run(init, input=b"old\n", check=True, timeout=60)
    assert pcvfs("passwd", path, stdin=b"old\nnew\n").returncode == 0
    assert opens(path, b"new")


@pytest.mark.parametrize(
    ("options", "stdin", "code"),
    [
        ([], b"wrong\nnew\n", ExitCode.WRONG_PASSWORD),
        ([], b"old\n", ExitCode.READ_PASSWORD),
        ([], b"", ExitCode.READ_PASSWORD),
        (["-scryptn=9"], b"old\nnew\n", ExitCode.SCRYPT_PARAMS),
        (["-masterkey=stdin"], b"short\nnew\n", ExitCode.MASTERKEY),
        (["-masterkey=stdin", "-extpass=echo old"], b"", ExitCode.USAGE),
        (["-config=/nonexistent"], b"old\nnew\n", ExitCode.OTHER),
    ],
)
def test_passwd_refused_changes_nothing(cipherdir: Path, options: list[str], stdin: bytes, code: ExitCode) -> None:
    before = (cipherdir / "gocryptfs.conf").read_bytes()
    assert pcvfs("passwd", *options, cipherdir, stdin=stdin).returncode == code
    assert (cipherdir / "gocryptfs.conf").read_bytes() == before
    assert sorted(os.listdir(cipherdir)) == ["gocryptfs.conf", "gocryptfs.diriv"]


def test_passwd_masterkey_keeps_a_backup_and_never_replaces_one(cipherdir: Path) -> None:
    key = b"0" * 64 + b"\n"
    before = (cipherdir / "gocryptfs.conf").read_bytes()
    assert pcvfs("passwd", "-masterkey=stdin", cipherdir, stdin=key + b"new\n").returncode == 0
    backup = cipherdir / "gocryptfs.conf.bak"
    assert backup.read_bytes() == before
    result = pcvfs("passwd", "-masterkey=stdin", cipherdir, stdin=key + b"newer\n")
    assert result.returncode == ExitCode.INIT
    assert backup.read_bytes() == before


def test_passwd_leftover_temporary_config_is_refused(cipherdir: Path) -> None:
    (cipherdir / "gocryptfs.conf.tmp").touch()
    result = pcvfs("passwd", cipherdir, stdin=b"old\nnew\n")
    assert result.returncode == ExitCode.WRITE_CONFIG
    assert b"gocryptfs.conf.tmp" in result.stderr


def test_passwd_on_terminal_wrong_password_is_told_before_a_new_one_is_asked(cipherdir: Path) -> None:
    with Terminal(["passwd", cipherdir]) as terminal:
        terminal.wait_for(b"Password: ")
        terminal.type(b"wrong\n")
        assert terminal.finish() == ExitCode.WRONG_PASSWORD
    assert b"new password" not in terminal.shown


def test_passwd_on_terminal_new_password_is_asked_twice(cipherdir: Path) -> None:
    with Terminal(["passwd", cipherdir]) as terminal:
        for prompt, answer in ((b"Password: ", b"old\n"), (b"Password: ", b"new one\n"), (b"Repeat: ", b"new one\n")):
            terminal.wait_for(prompt)
            terminal.type(answer)
        assert terminal.finish() == 0
    assert b"new one" not in terminal.shown
    assert opens(cipherdir, b"new one")
