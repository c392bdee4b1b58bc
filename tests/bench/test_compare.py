"""What may be compared, and what the comparison says."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bench.compare import compare, show_changes
from bench.errors import RefusalError
from bench.record import Record
from tests.bench.conftest import MACHINE, make_record

VALUES = {("untar", "lane"): [2.0, 2.0, 2.0], ("untar", "gocryptfs"): [4.0, 4.0, 4.0]}


def _changed(**fields: object) -> Record:
    record = make_record(VALUES)
    for name, value in fields.items():
        setattr(record, name, value)
    return record


@pytest.mark.parametrize("change", [{"cpu": "another CPU"}, {"cpus": 4}, {"memory_gib": 16}, {"kernel": "6.2.0"}])
def test_compare_another_machine_is_refused(change: dict[str, object]) -> None:
    other = make_record(VALUES, machine=replace(MACHINE, **change))  # type: ignore[arg-type]  # one field each
    with pytest.raises(RefusalError, match=next(iter(change))):
        compare(make_record(VALUES), other)


@pytest.mark.parametrize(
    ("name", "value"), [("backing", "disk ext4"), ("drops_caches", False), ("seed", 2), ("sizes", {"stream": 2})]
)
def test_compare_other_conditions_are_refused(name: str, value: object) -> None:
    with pytest.raises(RefusalError, match="stream" if name == "sizes" else name):
        compare(make_record(VALUES), _changed(**{name: value}))


@pytest.mark.parametrize("name", ["python", "distribution"])
def test_compare_does_not_mind_what_may_be_upgraded(name: str) -> None:
    newer = replace(MACHINE, python="3.13.0") if name == "python" else replace(MACHINE, distribution="newer")
    assert compare(make_record(VALUES), make_record(VALUES, machine=newer))


def test_compare_less_time_is_better() -> None:
    new = make_record({**VALUES, ("untar", "lane"): [1.0, 1.0, 1.0]})
    change = next(c for c in compare(make_record(VALUES), new) if c.peer == "lane")
    assert change.factor == 2.0
    assert (change.old_ratio, change.new_ratio) == (2.0, 4.0)
    assert change.is_clear


def test_compare_within_the_spread_is_not_clear() -> None:
    old = make_record({("untar", "lane"): [1.0, 2.0, 3.0]})
    new = make_record({("untar", "lane"): [1.5, 1.9, 2.5]})
    assert [change.is_clear for change in compare(old, new)] == [False]


def test_compare_leaves_out_what_only_one_has() -> None:
    new = make_record({("untar", "lane"): [1.0], ("rm", "lane"): [1.0], ("untar", "plain"): [1.0]})
    assert [(change.line, change.peer) for change in compare(make_record(VALUES), new)] == [("untar", "lane")]


def test_show_changes_marks_noise() -> None:
    out = io.StringIO()
    show_changes(
        Console(file=out, width=120), make_record(VALUES), make_record({**VALUES, ("untar", "lane"): [1.0] * 3})
    )
    rows = {row.split("│")[2].strip(): row for row in out.getvalue().splitlines() if "untar" in row}
    assert "~ 1.00" in rows["gocryptfs"]
    assert "2.00" in rows["lane"]
    assert "~" not in rows["lane"]
