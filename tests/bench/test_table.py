"""The table on the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.table import captions, format_ratio, format_value, show_results
from tests.bench.conftest import make_record


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234.5, "1,234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123")],
)
def test_format_value_keeps_three_digits(value: float, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(("ratio", "text"), [(1.234, "1.23"), (9.99, "9.99"), (9.999, "10.0"), (12.34, "12.3")])
def test_format_ratio(ratio: float, text: str) -> None:
    assert format_ratio(ratio) == text


def test_show_results_is_not_cut_off_by_a_narrow_console() -> None:
    values = {("untar", peer): [2.0, 2.0] for peer in ("gocryptfs", "lane", "python", "securefs", "encfs", "cryfs")}
    out = io.StringIO()
    show_results(Console(file=out, width=40), make_record({**values, ("untar", "lane"): [1.0, 1.0]}))
    row = next(row for row in out.getvalue().splitlines() if "│ untar" in row)
    assert row.count("2 ±0%") == 5
    assert "1 ±0%  x2.00" in row
    assert "1.3 (2.5)" in row


def test_show_results_says_what_failed_and_who_did_not_run() -> None:
    record = make_record({("untar", "lane"): [None], ("rm", "lane"): [None], ("rm", "gocryptfs"): [1.0]})
    record.unavailable["cryfs"] = "it is not installed"
    out = io.StringIO()
    show_results(Console(file=out, width=200), record)
    assert "lane: untar, rm: broken" in out.getvalue()
    assert "cryfs did not run: it is not installed" in out.getvalue()


def test_captions_warn_of_noise_and_of_what_is_missing() -> None:
    record = make_record({})
    assert not any("not a quiet machine" in row for row in captions(record))
    record.background, record.drops_caches, record.is_complete = [0.02, 1.5], False, False
    text = "\n".join(captions(record))
    assert "not a quiet machine" in text
    assert "remounts only" in text
    assert "cut short" in text
