"""Pictures of a record, as SVG: how each peer compares with the baseline on every line, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import svg

from bench.lines import BY_NAME, Line
from bench.record import Record
from bench.stats import summarize
from bench.table import format_ratio

_LABELS: Final = 290  # width of the column of line titles
_PLOT: Final = 560
_NUMBERS: Final = 60
_ROW: Final = 22
_TOP: Final = 62
_BOTTOM: Final = 34
_COLOURS: Final = ("#0969da", "#bf3989", "#1a7f37", "#9a6700", "#6639ba", "#0a7a83")
_PLAIN: Final = "#8c959f"
_GOAL: Final = "#cf222e"
_TICKS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#1f2328}.s{font-size:11px;fill:#59636e}.t{font-size:14px;font-weight:600}"
)


@dataclass(frozen=True, slots=True)
class _Axis:
    """A logarithmic axis of ratios."""

    low: float
    high: float

    def x(self, ratio: float) -> float:
        share = math.log(ratio / self.low) / math.log(self.high / self.low)
        return round(_LABELS + _PLOT * share, 1)

    def ticks(self) -> list[float]:
        return [tick for tick in _TICKS if self.low <= tick <= self.high]


def draw_ratios(record: Record, *, title: str) -> str:
    """One row a line, one colour a peer; a pale dot for each pair, a full one for their median; goals as ticks.

    Returns:
        SVG, the same for the same record; empty if nothing was measured beside the baseline.
    """
    peers = [label for label in record.peers if label != record.baseline]
    rows = [(name, {label: record.ratios(name, label, record.baseline) for label in peers}) for name in record.lines()]
    rows = [(name, ratios) for name, ratios in rows if any(ratios.values())]
    if not rows:
        return ""
    everything = [ratio for _, ratios in rows for values in ratios.values() for ratio in values]
    everything += [floor for floor in (BY_NAME[name].floor for name, _ in rows) if floor]
    axis = _Axis(min(0.8, *everything) / 1.1, max(1.25, *everything) * 1.1)
    colours = _colours(record, peers)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    elements: list[svg.Element] = [
        svg.Style(text=_STYLE),
        svg.Rect(x=0, y=0, width=_width(), height=height, fill="#ffffff"),
        _text(12, 22, title, "t"),
        *_legend(peers, colours),
        *_grid(axis, record.baseline, len(rows)),
    ]
    for number, (name, ratios) in enumerate(rows):
        elements += _row(_TOP + _ROW * number + _ROW // 2, BY_NAME[name], ratios, colours, axis)
    view = svg.ViewBoxSpec(0, 0, _width(), height)
    return f"{svg.SVG(width=_width(), height=height, viewBox=view, elements=elements)}\n"


def _width() -> int:
    return _LABELS + _PLOT + _NUMBERS


def _colours(record: Record, peers: Sequence[str]) -> dict[str, str]:
    """The ceiling is grey; the others get a colour each. Ours get the first, whose medians are written out."""
    coloured = [label for label in peers if record.peers[label].product != "plain"]
    coloured.sort(key=lambda label: record.peers[label].product != "pcvfs")
    colours = {label: _COLOURS[number % len(_COLOURS)] for number, label in enumerate(coloured)}
    return {label: colours.get(label, _PLAIN) for label in peers}


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> svg.Element:
    # The library writes text as it is.
    return svg.Text(
        x=x,
        y=y,
        text=escape(text),
        class_=[style] if style else None,
        text_anchor="end" if anchor == "end" else "middle" if anchor == "middle" else "start",
    )


def _legend(peers: Sequence[str], colours: dict[str, str]) -> list[svg.Element]:
    elements: list[svg.Element] = []
    x = _LABELS
    for label in peers:
        elements += [svg.Circle(cx=x + 5, cy=40, r=5, fill=colours[label]), _text(x + 15, 44, label)]
        x += 40 + 7 * len(label)
    ours = next((label for label in peers if colours[label] == _COLOURS[0]), "")
    return [*elements, _tick(x + 5, 40), _text(x + 15, 44, "goal of the lane"), _text(_LABELS + _PLOT + 10, 44, ours)]


def _tick(x: float, y: int) -> svg.Element:
    return svg.Line(x1=x, y1=y - 7, x2=x, y2=y + 7, stroke=_GOAL, stroke_width=2)


def _grid(axis: _Axis, baseline: str, n_rows: int) -> list[svg.Element]:
    bottom = _TOP + _ROW * n_rows
    elements: list[svg.Element] = []
    for tick in axis.ticks():
        x, is_one = axis.x(tick), tick == 1
        colour = "#1f2328" if is_one else "#d1d9e0"
        elements.append(svg.Line(x1=x, y1=_TOP - 4, x2=x, y2=bottom, stroke=colour, stroke_width=1))
        elements.append(_text(x, bottom + 16, f"{tick:g}", "s", "middle"))
    elements.append(_text(12, bottom + 16, f"times better than {baseline} (logarithmic)", "s"))
    return elements


def _row(y: int, line: Line, ratios: dict[str, list[float]], colours: dict[str, str], axis: _Axis) -> list[svg.Element]:
    elements: list[svg.Element] = [_text(_LABELS - 14, y + 4, line.title, anchor="end")]
    if line.floor:
        elements.append(_tick(axis.x(line.floor), y))
    medians = {label: summarize(values).median for label, values in ratios.items() if values}
    for label in medians:
        dots = [svg.Circle(cx=axis.x(r), cy=y, r=2.5, fill=colours[label], fill_opacity=0.35) for r in ratios[label]]
        elements += dots
    for label, median in medians.items():
        elements.append(svg.Circle(cx=axis.x(median), cy=y, r=5, fill=colours[label]))
    first = next((label for label in medians if colours[label] == _COLOURS[0]), None)
    if first is not None:
        elements.append(_text(_LABELS + _PLOT + 10, y + 4, format_ratio(medians[first])))
    return elements
