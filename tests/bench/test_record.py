"""Records and their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.errors import RefusalError
from bench.record import Failure, Record, load, save
from tests.bench.conftest import make_record


def test_record_survives_its_file(tmp_path: Path) -> None:
    record = make_record({("untar", "lane"): [1.0, None, 3.0], ("untar", "gocryptfs"): [4.0, 5.0, 6.0]})
    assert load(save(record, tmp_path)) == record


def test_record_file_has_what_follows_from_the_samples(tmp_path: Path) -> None:
    record = make_record({("untar", "lane"): [1.0, 2.0, 4.0], ("untar", "gocryptfs"): [4.0, 4.0, 4.0]})
    rows = {row["peer"]: row for row in json.loads(save(record, tmp_path).read_text())["series"]}
    assert rows["lane"]["median"] == 2.0
    assert rows["lane"]["quartiles"] == [1.5, 3.0]
    assert rows["lane"]["ratios"] == [4.0, 2.0, 1.0]
    assert rows["lane"]["ratio"] == 2.0
    assert rows["lane"]["unit"] == "s"


def test_record_keeps_failures_apart_from_samples() -> None:
    record = make_record({("untar", "lane"): [None, 2.0]})
    series = record.series["untar", "lane"]
    assert series.by_round() == {1: 2.0}
    assert series.failures == [Failure(0, "broken")]


def test_failure_is_shown_on_one_line() -> None:
    assert Failure(0, "first\n  second\n\n").short == "first; second"
    assert len(Failure(0, "x" * 1000).short) < 200


def test_record_lines_come_in_the_order_of_the_catalogue() -> None:
    record = make_record({("rm", "lane"): [1.0], ("write-1m", "lane"): [1.0], ("untar", "lane"): [1.0]})
    assert record.lines() == ["write-1m", "untar", "rm"]


def test_record_names_of_files_sort_by_time(tmp_path: Path) -> None:
    early, late = make_record({}), make_record({})
    late.started = "2026-01-02T03:04:06+00:00"
    assert save(early, tmp_path).name < save(late, tmp_path).name


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 0, "series": []}', '{"schema": 1, "series": []}'])
def test_from_json_refuses_what_is_no_record(text: str) -> None:
    with pytest.raises(RefusalError):
        Record.from_json(text)


def test_load_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match=r"nothing\.json"):
        load(tmp_path / "nothing.json")
