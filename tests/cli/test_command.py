"""The command as a whole: help, versions, completion, and how errors look."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pcvfs._version import __version__
from pcvfs.cli.command import EXIT_CODES
from pcvfs.cli.declare import VERBS
from pcvfs.errors import ExitCode
from tests.cli.commands import PROGRAM, Terminal, environment, pcvfs
from tests.support.requirements import REPOSITORY

SHORT_HELP = ("-h", "-help", "-hh")
HEAVY_MODULES = ("cryptography", "pyfuse3", "trio", "rich", "cffi", "_cffi_backend")


@pytest.mark.parametrize("words", [["version"], ["--version"], ["-version"]])
def test_version_is_one_line_that_starts_with_the_name(words: list[str]) -> None:
    result = pcvfs(*words)
    assert (result.returncode, result.stderr) == (0, b"")
    pattern = (
        rf"pcvfs {re.escape(__version__)}; pyfuse3 \d\S+; libfuse 3\.\S+; OpenSSL 3\.\S+; python 3\.\S+ linux/\S+\n"
    )
    assert re.fullmatch(pattern, result.stdout.decode())


def test_version_loads_nothing_heavy() -> None:
    code = "import sys; from pcvfs.cli.main import main; main(['version']); print(*sorted(sys.modules))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=60, env=environment()
    )
    loaded = {name.partition(".")[0] for name in output.stdout.decode().splitlines()[1].split()}
    assert loaded.isdisjoint(HEAVY_MODULES)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["-help"], []])
def test_help_of_the_command_lists_every_verb(words: list[str]) -> None:
    result = pcvfs(*words)
    assert result.returncode == (0 if words else ExitCode.USAGE)
    for verb in VERBS:
        assert f"\n  {verb} " in result.stdout.decode()


@pytest.mark.parametrize(
    ("verb", "word"), [*((verb, "--help") for verb in VERBS), *(("fsck", word) for word in SHORT_HELP)]
)
def test_help_of_a_verb_has_examples_and_exit_codes(verb: str, word: str) -> None:
    result = pcvfs(verb, word)
    assert (result.returncode, result.stderr) == (0, b"")
    text = result.stdout.decode()
    assert text.startswith(f"Usage: pcvfs {verb} ")
    assert "\nExamples:\n" in text
    assert f"pcvfs {verb}" in text.partition("Examples:")[2]
    assert re.search(r"\nExit codes:\n +0  success", text)
    assert "\x1b" not in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_asks_the_command(shell: str) -> None:
    result = pcvfs("completion", shell)
    assert result.returncode == 0
    assert f"_PCVFS_COMPLETE={shell}_complete" in result.stdout.decode()


def test_completion_offers_verbs_and_options() -> None:
    def complete(line: str) -> list[str]:
        words = {"_PCVFS_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        return [part.partition(",")[2] for part in pcvfs(**words).stdout.decode().split()]

    assert complete("pcvfs um") == ["umount"]
    assert complete("pcvfs mount --allow") == ["--allow-other"]
    assert set(complete("pcvfs completion z")) == {"zsh"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["frobnicate"], "no command frobnicate\nhint: commands are init,"),
        (["umont"], "no command umont\nhint: did you mean umount?"),
        (["/tmp"], "no command given for /tmp\nhint: pcvfs mount /tmp MOUNTPOINT"),
        (["--frobnicate"], "no such option '--frobnicate'\nhint: see pcvfs --help"),
        (["init"], "missing argument 'CIPHERDIR'\nhint: see pcvfs init --help"),
        (["init", "a", "b"], "got unexpected extra argument (b)\nhint: see pcvfs init --help"),
        (["init", "-scriptn", "10", "a"], "unknown option -scriptn\nhint: did you mean --scryptn?"),
        (["mount", "a"], "missing argument 'MOUNTPOINT'"),
        (["mount", "-o", "allow_othr", "a", "b"], "unknown option allow_othr\nhint: did you mean --allow-other?"),
        (["mount", "-reverse", "a", "b"], "-reverse: reverse mode is not supported yet\n"),
        (["mount", "-exclude=x", "a", "b"], "-exclude: reverse mode is not supported yet\n"),
        (["mount", "-fido2=/dev/x", "a", "b"], "-fido2: FIDO2 tokens are not supported\n"),
        (["completion", "tcsh"], "invalid value for '{bash|zsh|fish}': 'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    ],
)
def test_usage_error_is_one_line_and_a_hint(words: list[str], message: str) -> None:
    result = pcvfs(*words)
    assert result.returncode == ExitCode.USAGE
    assert result.stderr.decode().startswith(f"pcvfs: {message}")
    assert result.stdout == b""


@pytest.mark.parametrize("verb", ["init", "info", "passwd", "fsck", "version", "speed"])
def test_single_dash_action_of_the_original_is_the_verb(verb: str) -> None:
    result = pcvfs(f"-{verb}", "--help")
    assert result.stdout.decode().startswith(f"Usage: pcvfs {verb} ")


def test_output_to_a_closed_pipe_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = subprocess.run(
            [*PROGRAM, "version"], stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60, env=environment()
        )
    finally:
        os.close(writer)
    assert (process.returncode, process.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("variables", "has_colour"), [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)]
)
def test_error_on_terminal_is_coloured_unless_no_color(variables: dict[str, str], has_colour: bool) -> None:
    with Terminal(["info", "/nonexistent"], **variables) as terminal:
        assert terminal.finish() == ExitCode.CIPHERDIR
    assert (b"\x1b[" in terminal.shown) == has_colour


def test_operations_manual_lists_every_exit_code() -> None:
    manual = (REPOSITORY / "docs" / "operations.md").read_text()
    for code in ExitCode:
        assert f"| {code:d} | {EXIT_CODES[code]} |" in manual


def test_unreadable_cipherdir_is_an_error_without_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = pcvfs("info", tmp_path / "file")
    assert result.returncode == ExitCode.CIPHERDIR
    assert b"Traceback" not in result.stderr
