"""``pcvfs init``, as a command; the original is the second opinion on what it makes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from pcvfs.errors import ExitCode
from tests.cli.commands import Terminal, pcvfs
from tests.support.requirements import require_gocryptfs

MASTER_KEY = "91e2da12-b2e3f874-6d35f203-bc739503-2bcf73bd-c4762a64-5e0548be-8b98cd3d"


@pytest.fixture
def cipherdir(tmp_path: Path) -> Path:
    path = tmp_path / "cipher"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ([], "HKDF GCMIV128 DirIV EMENames LongNames Raw64"),
        (["-xchacha"], "HKDF XChaCha20Poly1305 DirIV EMENames LongNames Raw64"),
        (["-aessiv"], "HKDF GCMIV128 DirIV EMENames LongNames Raw64 AESSIV"),
        (["-plaintextnames"], "HKDF GCMIV128 PlaintextNames"),
        (["-deterministic-names"], "HKDF GCMIV128 EMENames LongNames Raw64"),
        (["-longnamemax", "100"], "HKDF GCMIV128 DirIV LongNameMax EMENames LongNames Raw64"),
        (["-longnamemax=255"], "HKDF GCMIV128 DirIV EMENames LongNames Raw64"),
        (["-plaintextnames", "-longnamemax", "100"], "HKDF GCMIV128 PlaintextNames"),
        (["-plaintextnames", "-deterministic-names"], "HKDF GCMIV128 PlaintextNames"),
        (["-xchacha", "-deterministic_names"], "HKDF XChaCha20Poly1305 EMENames LongNames Raw64"),
    ],
)
def test_init_format_options_set_the_flags_of_the_original(cipherdir: Path, options: list[str], flags: str) -> None:
    result = pcvfs("init", "-q", "-scryptn=10", *options, cipherdir, stdin=b"secret\n")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    config = json.loads((cipherdir / "gocryptfs.conf").read_bytes())
    assert " ".join(config["FeatureFlags"]) == flags
    assert (cipherdir / "gocryptfs.diriv").exists() == ("DirIV" in flags)


@pytest.mark.parametrize("options", [[], ["-xchacha"], ["-aessiv"], ["-plaintextnames"], ["-longnamemax=62"]])
def test_init_volume_is_accepted_by_the_original(cipherdir: Path, options: list[str]) -> None:
    require_gocryptfs()
    assert pcvfs("init", "-q", "-scryptn=10", *options, cipherdir, stdin=b"s\xc3\xa9cret \r\n").returncode == 0
    check = ["gocryptfs", "-fsck", "-q", cipherdir]
    assert subprocess.run(check, input=b"s\xc3\xa9cret \r\n", check=False, timeout=60).returncode == 0
    wrong = subprocess.run(check, input=b"secret\n", capture_output=True, check=False, timeout=60)
    assert wrong.returncode == ExitCode.WRONG_PASSWORD


def test_init_default_cost_is_65536(cipherdir: Path) -> None:
    assert pcvfs("init", cipherdir, stdin=b"secret\n").returncode == 0
    assert json.loads((cipherdir / "gocryptfs.conf").read_bytes())["ScryptObject"]["N"] == 65536


def test_init_config_elsewhere_leaves_cipherdir_without_one(cipherdir: Path, tmp_path: Path) -> None:
    config = tmp_path / "away.conf"
    assert pcvfs("init", "-scryptn=10", "-config", config, cipherdir, stdin=b"secret\n").returncode == 0
    assert config.exists()
    assert [path.name for path in cipherdir.iterdir()] == ["gocryptfs.diriv"]


@pytest.mark.parametrize(
    ("options", "stdin", "code"),
    [
        (["-scryptn=9"], b"secret\n", ExitCode.WRITE_CONFIG),
        (["-scryptn=29"], b"secret\n", ExitCode.USAGE),
        (["-scryptn=ten"], b"secret\n", ExitCode.USAGE),
        (["-longnamemax=61"], b"secret\n", ExitCode.USAGE),
        (["-longnamemax=256"], b"secret\n", ExitCode.USAGE),
        (["-aessiv", "-xchacha"], b"secret\n", ExitCode.WRITE_CONFIG),
        (["-masterkey", "12"], b"secret\n", ExitCode.MASTERKEY),
        (["-masterkey=stdin"], b"zz\nsecret\n", ExitCode.MASTERKEY),
        (["-passfile=/nonexistent"], b"", ExitCode.READ_PASSWORD),
        (["-extpass=false"], b"", ExitCode.READ_PASSWORD),
        (["-extpass=echo x", "-passfile=/etc/hostname"], b"", ExitCode.USAGE),
        (["-zerokey", "-masterkey=stdin"], b"", ExitCode.USAGE),
        (["-reverse"], b"secret\n", ExitCode.USAGE),
        ([], b"", ExitCode.READ_PASSWORD),
        ([], b"x" * 2049, ExitCode.READ_PASSWORD),
    ],
)
def test_init_refused_leaves_the_directory_empty(
    cipherdir: Path, options: list[str], stdin: bytes, code: ExitCode
) -> None:
    result = pcvfs("init", *options, cipherdir, stdin=stdin)
    assert result.returncode == code
    assert re.match(rb"(pcvfs: warning: .*\nhint: .*\n)?pcvfs: .+\n(hint: .+\n)*\Z", result.stderr)
    assert list(cipherdir.iterdir()) == []


def test_init_not_empty_is_refused_before_a_password_is_asked(cipherdir: Path) -> None:
    (cipherdir / "file").touch()
    result = pcvfs("init", cipherdir, stdin=b"")
    assert result.returncode == ExitCode.CIPHERDIR
    assert b"not empty" in result.stderr


def test_init_masterkey_on_argv_is_used_and_warned_about(cipherdir: Path, tmp_path: Path) -> None:
    result = pcvfs("init", "-scryptn=10", "-masterkey", MASTER_KEY, cipherdir, stdin=b"secret\n")
    assert result.returncode == 0
    assert b"can be read by every user" in result.stderr
    keyfile = tmp_path / "key"
    keyfile.write_text(MASTER_KEY.replace("-", "").upper())
    # The same key from a file opens it: a new password is accepted by the original.
    assert pcvfs("passwd", "--masterkey-file", keyfile, cipherdir, stdin=b"other\n").returncode == 0
    require_gocryptfs()
    check = ["gocryptfs", "-fsck", "-q", cipherdir]
    (cipherdir / "gocryptfs.conf.bak").unlink()
    assert subprocess.run(check, input=b"other\n", check=False, timeout=60).returncode == 0


def test_init_on_terminal_asks_twice_and_shows_the_key_once(cipherdir: Path) -> None:
    with Terminal(["init", "-scryptn=10", cipherdir]) as terminal:
        terminal.wait_for(b"Password: ")
        terminal.type(b"secret word\n")
        terminal.wait_for(b"Repeat: ")
        terminal.type(b"secret word\n")
        assert terminal.finish() == 0
    assert b"secret word" not in terminal.shown
    key = re.search(rb"    ((?:[0-9a-f]{8}-){4})\r\n    ((?:[0-9a-f]{8}-){3}[0-9a-f]{8})\r\n", terminal.shown)
    assert key
    stdin = key[1] + key[2] + b"\nnew\n"
    assert pcvfs("passwd", "-masterkey=stdin", cipherdir, stdin=stdin).returncode == 0


def test_init_on_terminal_two_passwords_are_refused(cipherdir: Path) -> None:
    with Terminal(["init", "-scryptn=10", cipherdir]) as terminal:
        terminal.wait_for(b"Password: ")
        terminal.type(b"one\n")
        terminal.wait_for(b"Repeat: ")
        terminal.type(b"two\n")
        assert terminal.finish() == ExitCode.READ_PASSWORD
    assert b"don't match" in terminal.shown
    assert list(cipherdir.iterdir()) == []


def test_init_quiet_on_terminal_shows_no_key(cipherdir: Path, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("secret\n")
    with Terminal(["init", "-q", "-scryptn=10", "-passfile", tmp_path / "pw", cipherdir]) as terminal:
        assert terminal.finish() == 0
    assert terminal.shown == b""


def test_init_interrupted_at_the_prompt_restores_the_echo(cipherdir: Path) -> None:
    with Terminal(["init", "-scryptn=10", cipherdir]) as terminal:
        terminal.wait_for(b"Password: ")
        assert not terminal.has_echo()
        terminal.type(b"\x03")
        assert terminal.finish() == ExitCode.SIGNAL
    assert terminal.had_echo_at_end
    assert b"Traceback" not in terminal.shown
    assert list(cipherdir.iterdir()) == []
