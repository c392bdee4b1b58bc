"""The quick way to read a command line: what it reads, click reads alike, and what is wrong with a line click says."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import rich_click as click
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvfs.cli import quick
from pcvfs.cli.argv import IGNORED, UNSUPPORTED
from pcvfs.cli.command import VerbCommand
from pcvfs.cli.declare import VERBS, Choice, IntRange, Option, find_verb, path
from pcvfs.cli.options import parse_duration, parse_owner
from pcvfs.errors import UsageError

MOUNT = find_verb("mount")
TEXTS = {
    parse_duration: ["0", "10m", "1.5h", "500ms"],
    parse_owner: ["0:0", "1000:100"],
    path: ["", "a", "/b/c", "\udcff", "=x", "-"],
    str: ["", "a b", "x=y", "ü"],
}
WRONG = ["", "x", "-1", "99999999999", "1:", "10x", " 1", "1_0", "٣"]


def clicks(verb: str, args: Sequence[str]) -> dict[str, object] | None:
    """What click makes of the line; None if it refuses."""
    command = VerbCommand(find_verb(verb))
    try:
        with command.make_context(verb, list(args)) as context:
            return dict(context.params)
    except (click.ClickException, click.exceptions.Exit, UsageError):
        return None


def good_values(option: Option) -> list[str]:
    convert = option.convert
    if isinstance(convert, Choice):
        return list(convert.words)
    if isinstance(convert, IntRange):
        return [str(n) for n in (convert.low, convert.high, 100) if n is not None]
    return TEXTS[convert]


@st.composite
def words(draw: st.DrawFn) -> list[str]:
    """Options of mount in any spelling and order, mostly with values that fit."""
    line: list[str] = []
    for option in draw(st.lists(st.sampled_from(MOUNT.options), max_size=8)):
        spelling = draw(st.sampled_from([*option.spellings, *([f"--{option.off}"] if option.off else [])]))
        if option.takes_value and spelling != "-o":
            value = draw(st.sampled_from([*good_values(option) * 3, *WRONG]))
            line += draw(st.sampled_from([[spelling, value], [f"{spelling}={value}"]]))
        elif spelling == "-o":
            line += [
                "-o",
                draw(st.sampled_from(["ro", "ro,idle=5m", "nodev,noexec", "quiet=false", "what", "ko=a\\,b"])),
            ]
        else:
            line += [spelling + draw(st.sampled_from(["", "", "=true", "=0", "=maybe"]))]
    positionals = draw(st.lists(st.sampled_from(["cipher", "plain", "-", "\udcfe"]), min_size=1, max_size=3))
    return [*line, *draw(st.sampled_from([[], ["--"]])), *positionals]


@given(words())
@settings(max_examples=400, deadline=None)
def test_a_line_is_read_as_click_reads_it_or_not_at_all(line: list[str]) -> None:
    assert quick.read_values(MOUNT, line) == clicks("mount", line)


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("init", ["-q", "-scryptn=12", "--xchacha", "c"]),
        ("init", ["c"]),
        ("passwd", ["--scryptn", "12", "-masterkey=stdin", "c"]),
        ("umount", ["-z", "m"]),
        ("info", ["--config", "x", "c"]),
        ("fsck", ["-extpass", "cat", "-extpass", "file", "-no-hkdf", "c"]),
        ("speed", ["-d"]),
        ("version", []),
        ("completion", ["bash"]),
        ("mount", ["c", "m", "-fg"]),
    ],
)
def test_every_verb_is_read_as_click_reads_it(verb: str, line: list[str]) -> None:
    values = quick.read_values(find_verb(verb), line)
    assert values is not None
    assert values == clicks(verb, line)


@pytest.mark.parametrize("spelling", [*IGNORED, *UNSUPPORTED])
def test_options_of_the_original_that_we_lack_are_read_as_click_reads_them(spelling: str) -> None:
    for line in ([f"-{spelling}", "c", "m"], [f"-{spelling}=x", "c", "m"], [f"-{spelling}", "x", "c", "m"]):
        assert quick.read_values(MOUNT, line) == clicks("mount", line)


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["--help"],
        ["--version"],
        ["/tmp"],
        ["-mount", "a", "b"],
        ["mount"],
        ["mount", "a"],
        ["mount", "a", "b", "c"],
        ["mount", "--help", "a", "b"],
        ["mount", "-h"],
        ["mount", "--unknown", "a", "b"],
        ["mount", "--idle", "x", "a", "b"],
        ["mount", "--notifypid=-1", "a", "b"],
        ["mount", "--engine=fast", "a", "b"],
    ],
)
def test_whatever_needs_a_word_is_left_to_click(line: list[str]) -> None:
    assert quick.read(line) is None


def test_every_verb_says_what_it_needs_without_click() -> None:
    assert [find_verb(name).name for name in VERBS] == list(VERBS)
