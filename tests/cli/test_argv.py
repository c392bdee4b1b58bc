"""The spelling of options, as gocryptfs accepts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs.cli.argv import IGNORED, UNSUPPORTED, OptionSpec, normalise, split_mount_options
from pcvfs.errors import ExitCode, UsageError

TABLE = {
    "allow-other": OptionSpec("allow-other", takes_value=False),
    "ro": OptionSpec("ro", takes_value=False),
    "q": OptionSpec("quiet", takes_value=False),
    "quiet": OptionSpec("quiet", takes_value=False),
    "hkdf": OptionSpec("hkdf", takes_value=False, off="no-hkdf"),
    "no-hkdf": OptionSpec("no-hkdf", takes_value=False, off="hkdf"),
    "scryptn": OptionSpec("scryptn", takes_value=True),
    "extpass": OptionSpec("extpass", takes_value=True),
    "passfile": OptionSpec("passfile", takes_value=True),
    "i": OptionSpec("idle", takes_value=True),
    "idle": OptionSpec("idle", takes_value=True),
    "config": OptionSpec("config", takes_value=True),
}


@pytest.mark.parametrize(
    ("given_args", "expected"),
    [
        (["-ro", "C", "M"], ["--ro", "--", "C", "M"]),
        (["--ro", "C", "M"], ["--ro", "--", "C", "M"]),
        (["C", "M", "-ro"], ["--ro", "--", "C", "M"]),
        (["C", "-ro", "M"], ["--ro", "--", "C", "M"]),
        (["-allow_other", "C"], ["--allow-other", "--", "C"]),
        (["--allow_other", "C"], ["--allow-other", "--", "C"]),
        (["--allow-other", "C"], ["--allow-other", "--", "C"]),
        (["-q"], ["--quiet", "--"]),
        (["-scryptn", "10", "C"], ["--scryptn=10", "--", "C"]),
        (["-scryptn=10", "C"], ["--scryptn=10", "--", "C"]),
        (["--scryptn=10", "C"], ["--scryptn=10", "--", "C"]),
        (["-i", "10m"], ["--idle=10m", "--"]),
        (["-config", "/a_b/c-d"], ["--config=/a_b/c-d", "--"]),
        (["-config=/a_b=c"], ["--config=/a_b=c", "--"]),
        (["-extpass", "-X"], ["--extpass=-X", "--"]),
        (["-extpass", "a", "-extpass=b c"], ["--extpass=a", "--extpass=b c", "--"]),
        (["-q", "--", "-C", "-ro"], ["--quiet", "--", "-C", "-ro"]),
        (["--", "-o", "ro"], ["--", "-o", "ro"]),
        (["-"], ["--", "-"]),
        ([], ["--"]),
    ],
)
def test_normalise_gocryptfs_spelling_gives_long_options(given_args: list[str], expected: list[str]) -> None:
    assert normalise(given_args, TABLE) == expected


@pytest.mark.parametrize(
    ("given_args", "expected"),
    [
        (["C", "M", "-o", "ro,allow_other"], ["--ro", "--allow-other", "--", "C", "M"]),
        (["-o", "scryptn=10,,ro", "C"], ["--scryptn=10", "--ro", "--", "C"]),
        (["-o=ro", "C"], ["--ro", "--", "C"]),
        (["--o", "passfile=/a\\,b", "C"], ["--passfile=/a,b", "--", "C"]),
        # An option given by itself is later than one in -o, wherever that stands.
        (["-scryptn", "11", "-o", "scryptn=10"], ["--scryptn=10", "--scryptn=11", "--"]),
        (["-ro=false", "-o", "ro"], ["--"]),
        (["-o", "nofail,ro"], ["--ro", "--"]),
    ],
)
def test_normalise_mount_option_list_is_split(given_args: list[str], expected: list[str]) -> None:
    assert normalise(given_args, TABLE) == expected


@pytest.mark.parametrize(
    ("given_args", "expected"),
    [
        (["-ro=true"], ["--ro", "--"]),
        (["-ro=1"], ["--ro", "--"]),
        (["-ro=false"], ["--"]),
        (["-ro", "-ro=F"], ["--"]),
        (["-ro=0", "-ro"], ["--ro", "--"]),
        (["-hkdf=false"], ["--no-hkdf", "--"]),
        (["-hkdf"], ["--hkdf", "--"]),
        (["-no-hkdf"], ["--no-hkdf", "--"]),
        (["-no-hkdf=false"], ["--hkdf", "--"]),
        (["-no-hkdf", "-hkdf"], ["--hkdf", "--"]),
    ],
)
def test_normalise_switch_with_value_is_turned_on_or_off(given_args: list[str], expected: list[str]) -> None:
    assert normalise(given_args, TABLE) == expected


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_normalise_ignored_option_disappears(name: str) -> None:
    value = ["auto"] if IGNORED[name] else []
    assert normalise([f"-{name.replace('-', '_')}", *value, "C"], TABLE) == ["--", "C"]


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_normalise_unsupported_option_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=rf"-{name}: .*not supported") as caught:
        normalise([f"-{name}", "C"], TABLE)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["-scriptn", "10"], "unknown option -scriptn", "did you mean --scryptn?"),
        (["--allowother"], "unknown option --allowother", "did you mean --allow-other?"),
        (["-o", "rro"], "unknown option rro", "did you mean --ro?"),
        (["-zzzzzz=1"], "unknown option -zzzzzz", ""),
        (["-o", "o=ro"], "unknown option o", ""),
        (["-scryptn"], "option -scryptn needs a value", ""),
        (["-o"], "option -o needs a value", ""),
        (["-o", "scryptn"], "option scryptn needs a value", ""),
        (["-ro=maybe"], "option --ro is a switch and can't be 'maybe'", "use =true or =false, or no value"),
        (["-nofail=maybe"], "option --nofail is a switch and can't be 'maybe'", "use =true or =false, or no value"),
    ],
)
def test_normalise_bad_option_is_a_usage_error(args: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        normalise(args, TABLE)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@given(st.lists(st.text(st.sampled_from("ab=/_- "), min_size=1)))
def test_normalise_after_double_dash_nothing_changes(words: list[str]) -> None:
    assert normalise(["--", *words], TABLE) == ["--", *words]


@given(st.lists(st.text(st.sampled_from("ab,=\\"), min_size=1).filter(lambda part: not part.endswith("\\"))))
def test_split_mount_options_escaped_commas_come_back(parts: list[str]) -> None:
    parts = [part.replace("\\", "") or "x" for part in parts]
    assert split_mount_options(",".join(part.replace(",", "\\,") for part in parts)) == parts
