"""The exit code of every refusal is that of the original for the same mistake.

Front ends written for gocryptfs decide by these codes what to tell their user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.commands import environment, pcvfs
from tests.support.requirements import require_gocryptfs


@dataclass(frozen=True)
class Case:
    """One mistake. Words in capitals stand for paths of the fixture ``places``."""

    name: str
    words: list[str]
    code: int
    stdin: bytes = b"pw\n"


CASES = [
    Case("info ok", ["info", "VOLUME"], 0),
    Case("fsck ok", ["fsck", "VOLUME"], 0),
    Case("unknown option", ["mount", "-frobnicate", "VOLUME", "EMPTY"], 1),
    Case("no arguments", ["mount"], 1),
    Case("one argument", ["mount", "VOLUME"], 1),
    Case("three arguments", ["mount", "VOLUME", "EMPTY", "EMPTY"], 1),
    Case("option without value", ["mount", "VOLUME", "EMPTY", "-config"], 1),
    Case("bad switch value", ["mount", "-ro=perhaps", "VOLUME", "EMPTY"], 1),
    Case("bad duration", ["mount", "-idle", "10", "VOLUME", "EMPTY"], 1),
    Case("bad owner", ["mount", "-force_owner", "root", "VOLUME", "EMPTY"], 1),
    Case("two password sources", ["mount", "-extpass", "echo pw", "-passfile", "FILE", "VOLUME", "EMPTY"], 1),
    Case("key and password source", ["mount", "-masterkey", "00", "-extpass", "echo pw", "VOLUME", "EMPTY"], 1),
    Case("init with longnamemax too small", ["init", "-longnamemax", "61", "EMPTY"], 1),
    Case("init with longnamemax too large", ["init", "-longnamemax", "256", "EMPTY"], 1),
    Case("info without cipherdir", ["info", "MISSING"], 6),
    Case("info of a file", ["info", "FILE"], 6),
    Case("mount without cipherdir", ["mount", "MISSING", "EMPTY"], 6),
    Case("fsck without cipherdir", ["fsck", "MISSING"], 6),
    Case("passwd without cipherdir", ["passwd", "MISSING"], 6),
    Case("init without cipherdir", ["init", "MISSING"], 6),
    Case("init of a volume", ["init", "VOLUME"], 6),
    Case("init of a file", ["init", "FILE"], 6),
    Case("info without config", ["info", "EMPTY"], 8),
    Case("info of a broken config", ["info", "BROKEN"], 8),
    Case("info of an unsupported config", ["info", "OLD"], 8),
    Case("mount with empty password", ["mount", "VOLUME", "EMPTY"], 9, b"\n"),
    Case("mount without password", ["mount", "VOLUME", "EMPTY"], 9, b""),
    Case("mount with too long a password", ["mount", "VOLUME", "EMPTY"], 9, b"x" * 2049 + b"\n"),
    Case("init with empty password", ["init", "EMPTY"], 9, b"\n"),
    Case("failing password program", ["mount", "-extpass", "false", "VOLUME", "EMPTY"], 9),
    Case("silent password program", ["mount", "-extpass", "true", "VOLUME", "EMPTY"], 9),
    Case("missing password file", ["mount", "-passfile", "MISSING", "VOLUME", "EMPTY"], 9),
    Case("mountpoint missing", ["mount", "VOLUME", "MISSING"], 10),
    Case("mountpoint is a file", ["mount", "VOLUME", "FILE"], 10),
    Case("mountpoint not empty", ["mount", "VOLUME", "BROKEN"], 10),
    Case("mountpoint is the cipherdir", ["mount", "-nonempty", "VOLUME", "VOLUME"], 10),
    Case("mountpoint above the cipherdir", ["mount", "-nonempty", "VOLUME", "PARENT"], 10),
    Case("mount without config", ["mount", "EMPTY", "EMPTY2"], 11),
    Case("mount of a broken config", ["mount", "BROKEN", "EMPTY"], 11),
    Case("fsck without config", ["fsck", "EMPTY"], 11),
    Case("passwd without config", ["passwd", "EMPTY"], 11),
    Case("mount with another config missing", ["mount", "-config", "MISSING", "VOLUME", "EMPTY"], 11),
    Case("mount with wrong password", ["mount", "VOLUME", "EMPTY"], 12, b"wrong\n"),
    Case("mount with a carriage return", ["mount", "VOLUME", "EMPTY"], 12, b"pw\r\n"),
    Case("fsck with wrong password", ["fsck", "VOLUME"], 12, b"wrong\n"),
    Case("passwd with wrong password", ["passwd", "VOLUME"], 12, b"wrong\nnew\n"),
    Case("passwd with scryptn too small", ["passwd", "-scryptn", "9", "VOLUME"], 13, b"pw\nnew\n"),
    Case("mount with a bad master key", ["mount", "-masterkey", "zz", "VOLUME", "EMPTY"], 14),
    Case("mount with a short master key", ["mount", "-masterkey=stdin", "VOLUME", "EMPTY"], 14, b"00\n"),
    Case("init with scryptn too small", ["init", "-scryptn", "9", "EMPTY"], 24),
    Case("init with two ciphers", ["init", "-aessiv", "-xchacha", "EMPTY"], 24),
    Case("passwd with a config left over", ["passwd", "LEFTOVER"], 24, b"pw\nnew\n"),
    Case("fsck of a damaged volume", ["fsck", "DAMAGED"], 26),
    Case("mount of an unsupported config", ["mount", "OLD", "EMPTY"], 27),
    Case("mount of unknown flags", ["mount", "FLAGS", "EMPTY"], 27),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Directories in all the states that the cases need. None of the cases may change them."""
    base = tmp_path_factory.mktemp("places")
    found = {name: base / name.lower() for name in ("VOLUME", "EMPTY", "EMPTY2", "BROKEN", "OLD", "FLAGS")}
    for path in found.values():
        path.mkdir()
    assert pcvfs("init", "-q", "-scryptn=10", found["VOLUME"], stdin=b"pw\n").returncode == 0
    config = (found["VOLUME"] / "gocryptfs.conf").read_text()
    (found["BROKEN"] / "gocryptfs.conf").write_text("not json")
    (found["OLD"] / "gocryptfs.conf").write_text(config.replace('"Version": 2', '"Version": 1'))
    (found["FLAGS"] / "gocryptfs.conf").write_text(config.replace('"HKDF"', '"Quantum"'))
    for name, litter in (("LEFTOVER", "gocryptfs.conf.tmp"), ("DAMAGED", "not-ours")):
        found[name] = base / name.lower()
        shutil.copytree(found["VOLUME"], found[name])
        (found[name] / litter).touch()
    (base / "file").touch()
    found |= {"FILE": base / "file", "MISSING": base / "missing", "PARENT": base}
    before = sorted(os.walk(base))
    yield found
    assert sorted(os.walk(base)) == before


def fill_in(words: list[str], places: dict[str, Path]) -> list[str | Path]:
    return [places.get(word, word) for word in words]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exit_code_of_pcvfs(case: Case, places: dict[str, Path]) -> None:
    result = pcvfs(*fill_in(case.words, places), stdin=case.stdin)
    assert result.returncode == case.code, result.stderr
    assert bool(result.stderr.startswith(b"pcvfs: ")) == (case.code != 0) or b"warning" in result.stderr
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_exit_code_of_the_original(case: Case, places: dict[str, Path]) -> None:
    require_gocryptfs()
    verb, *rest = case.words
    words = ["gocryptfs", *([] if verb == "mount" else [f"-{verb}"]), *fill_in(rest, places)]
    result = subprocess.run(words, input=case.stdin, capture_output=True, check=False, timeout=60, env=environment())
    assert result.returncode == case.code, result.stderr
