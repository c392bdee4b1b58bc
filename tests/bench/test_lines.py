"""The catalogue of lines, and how lines are chosen."""

from __future__ import annotations

import pytest

from bench.errors import RefusalError
from bench.lines import BY_NAME, LINES, choose
from bench.scenarios import SCENARIOS


def test_lines_have_names_of_their_own_and_known_scenarios() -> None:
    assert len(BY_NAME) == len(LINES)
    assert {line.scenario for line in LINES} == set(SCENARIOS)
    assert not BY_NAME.keys() & SCENARIOS.keys() - {"sqlite", "mount"}  # a name must not mean two sets of lines


def test_choose_without_patterns_takes_all() -> None:
    assert choose([]) == LINES


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("untar", ["untar"]),
        ("small", ["create", "read-small", "read-small-warm", "delete"]),
        ("ls*", ["ls", "ls-warm"]),
    ],
)
def test_choose_by_line_scenario_or_glob(pattern: str, names: list[str]) -> None:
    assert [line.name for line in choose([pattern])] == names


def test_choose_unknown_name_is_refused() -> None:
    with pytest.raises(RefusalError, match="nonsense"):
        choose(["untar", "nonsense"])
