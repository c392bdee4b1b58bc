"""The generated parts of docs/performance.md."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import report
from bench.errors import RefusalError
from bench.lines import LINES
from bench.plots import draw_ratios
from bench.record import save
from tests.bench.conftest import make_record

VALUES: dict[tuple[str, str], list[float | None]] = {
    ("untar", "lane"): [2.0, 1.0, 4.0],
    ("untar", "gocryptfs"): [4.0, 4.0, 4.0],
    ("append", "lane"): [None, None, None],
    ("append", "gocryptfs"): [7.0, 7.0, 7.0],
}


def test_document_describes_the_lines_as_they_are() -> None:
    document = report.DOCUMENT.read_text()
    assert report.replace_part(document, "lines", report.lines_part()) == document, "run tools/bench report"
    assert all(f"`{line.name}`" in document for line in LINES)


def test_document_shows_the_records_that_are_there(tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    copy.write_text(report.DOCUMENT.read_text())
    report.write_report(report.full_records(), copy)
    assert copy.read_text() == report.DOCUMENT.read_text(), "run tools/bench report"


def test_write_report_shows_medians_ratios_failures_and_a_picture(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(report.DOCUMENT.read_text())
    written = report.write_report([make_record(VALUES)], document)
    text = document.read_text()
    assert re.search(r"\| untar a source tree \| s \| 4 ±0% \| 2 ±38% \*\*2\.00\*\* \|", text)
    assert "lane: append: broken" in text
    assert "| 2026-01-02 | 0.1.0 `012345678` | lane |" in text
    assert written == [document, tmp_path / "performance" / "ratios-tmpfs.svg"]


def test_replace_part_missing_part_is_refused() -> None:
    with pytest.raises(RefusalError, match="lines"):
        report.replace_part("no parts here", "lines", "x")


def test_replace_part_leaves_the_rest_alone() -> None:
    text = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb <!-- begin: y -->\n<!-- end: y -->\n"
    once = report.replace_part(text, "x", r"new \1")
    assert once == text.replace("old", r"new \1")
    assert report.replace_part(once, "x", r"new \1") == once


def test_full_records_takes_complete_full_runs_only(tmp_path: Path) -> None:
    whole, quick, cut = make_record(VALUES), make_record(VALUES), make_record(VALUES)
    quick.scale, cut.is_complete = "quick", False
    cut.started = "2026-01-02T03:04:06+00:00"
    for record in (whole, quick, cut):
        save(record, tmp_path)
    assert report.full_records(tmp_path) == [whole]


def test_draw_ratios_is_valid_xml_with_a_dot_for_each_pair_and_median() -> None:
    record = make_record({**VALUES, ("untar", "<lane> & co"): [1.0, 1.0, 1.0]})
    picture = draw_ratios(record, title="A < B")
    circles = ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}circle")  # noqa: S314  # our own
    legend, pairs, medians = 2, 6, 2
    assert len(list(circles)) == legend + pairs + medians
    assert draw_ratios(record, title="A < B") == picture


def test_draw_ratios_without_pairs_is_nothing() -> None:
    assert draw_ratios(make_record({("untar", "lane"): [1.0]}), title="") == ""
