"""Values of options: durations as Go writes them, owners as numbers."""

from __future__ import annotations

import pytest

from pcvfs.cli.options import parse_duration, parse_owner


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("2h45m3s", 9903.0),
        ("+5s", 5.0),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("7ns", 7e-9),
    ],
)
def test_duration_go_spelling_gives_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "10", "10 m", "m", "-5s", "1h30", "5d", "1e3s", "5S", "s5", "nan", "infs", "1..5s"]
)
def test_duration_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "owner"), [("0:0", (0, 0)), ("1000:100", (1000, 100)), ("4294967294:1", (2**32 - 2, 1))]
)
def test_owner_two_numbers_are_accepted(text: str, owner: tuple[int, int]) -> None:
    assert parse_owner(text) == owner


@pytest.mark.parametrize("text", ["", "0", "0:", ":0", "a:b", "-1:0", "0:0:0", " 0:0", "4294967295:0", "0x0:0", "٣:٣"])
def test_owner_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_owner(text)
