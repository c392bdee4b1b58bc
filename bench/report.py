"""Bring docs/performance.md up to date with the records: ``tools/bench report``.

Only the parts between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->`` are written; the rest is prose, by people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bench.errors import RefusalError
from bench.lines import BY_NAME, LINES
from bench.plots import draw_ratios
from bench.record import RESULTS, Record, load
from bench.stats import summarize
from bench.table import captions, failures, format_goal, format_median, format_ratio, markdown_table, order_of_peers

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "performance.md"
BACKINGS: Final = ("tmpfs", "disk")

_VERSION_LINES: Final = (
    "write-1m",
    "read-1m",
    "read-random",
    "write-random",
    "create",
    "read-small",
    "untar",
    "ls",
    "checksum",
    "rm",
    "git-status",
    "sqlite",
    "mount",
)
_NOTHING: Final = "No full run has been recorded yet."


def full_records(directory: Path = RESULTS) -> list[Record]:
    """The complete runs at full scale, oldest first. Raises: RefusalError: a file is no record."""
    records = [load(path) for path in sorted(directory.glob("*.json"))]
    return sorted((r for r in records if r.scale == "full" and r.is_complete), key=lambda r: r.started)


def latest(records: Iterable[Record], backing: str) -> Record | None:
    """The newest record on such a backing."""
    found = [record for record in records if record.backing.split()[0] == backing]
    return found[-1] if found else None


def write_report(records: Sequence[Record], document: Path = DOCUMENT) -> list[Path]:
    """Rewrite the generated parts and the pictures; returns what was written.

    Raises:
        RefusalError: the document lacks a part.
    """
    text = replace_part(document.read_text(), "lines", lines_part())
    text = replace_part(text, "versions", versions_part(records))
    written = [document]
    for backing in BACKINGS:
        record = latest(records, backing)
        picture = document.parent / "performance" / f"ratios-{backing}.svg"
        text = replace_part(text, f"results-{backing}", results_part(record, picture.relative_to(document.parent)))
        if record is not None:
            picture.parent.mkdir(exist_ok=True)
            picture.write_text(draw_ratios(record, title=f"Times better than {record.baseline}, on {backing}"))
            written.append(picture)
    document.write_text(text)
    return written


def replace_part(text: str, name: str, content: str) -> str:
    """The document with another content of one generated part. Raises: RefusalError: it has no such part."""
    pattern = re.compile(rf"(<!-- begin: {re.escape(name)} -->\n).*?(<!-- end: {re.escape(name)} -->)", re.DOTALL)
    if not pattern.search(text):
        raise RefusalError(f"the document has no generated part called {name!r}")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def lines_part() -> str:
    """What each line means."""
    rows = [[f"`{line.name}`", line.title, line.quantity.value, line.timed, format_goal(line)] for line in LINES]
    table = markdown_table(["line", "what", "unit", "from start to stop of the clock", "goal (aim)"], rows)
    return table.replace("---: | ---: | ---: | ---:", "--- | --- | --- | ---:")


def results_part(record: Record | None, picture: Path) -> str:
    """One run: medians, ratios, conditions, failures."""
    if record is None:
        return _NOTHING
    peers = order_of_peers(record)
    rows = []
    for name in record.lines():
        line = BY_NAME[name]
        cells = [_cell(record, name, label) for label in peers]
        rows.append([line.title, line.quantity.value, *cells, format_goal(line)])
    header = ["line", "unit", *peers, "goal (aim)"]
    notes = [*captions(record), *failures(record)]
    picture_text = f"![Each line as a ratio, pair by pair]({picture.as_posix()})"
    return "\n\n".join([picture_text, markdown_table(header, rows), "\n".join(f"- {note}" for note in notes)])


def _cell(record: Record, name: str, label: str) -> str:
    summary = record.summary(name, label)
    if summary is None:
        return "-"
    text = format_median(summary)
    ratios = record.ratios(name, label, record.baseline)
    return f"{text} **{format_ratio(summarize(ratios).median)}**" if ratios and label != record.baseline else text


def versions_part(records: Sequence[Record]) -> str:
    """Our versions over time: how many times better than gocryptfs of the same run, on tmpfs."""
    rows = []
    for record in records:
        if record.backing.split()[0] != "tmpfs" or record.baseline != "gocryptfs":
            continue
        for label in ("lane", "python"):
            if label in record.peers:
                ratios = [record.ratios(name, label, record.baseline) for name in _VERSION_LINES]
                cells = [format_ratio(summarize(values).median) if values else "-" for values in ratios]
                mark = "+" if record.has_changes else ""
                rows.append([record.started[:10], f"{record.version} `{record.commit[:9]}{mark}`", label, *cells])
    return markdown_table(["date", "version", "engine", *_VERSION_LINES], rows) if rows else _NOTHING
