"""How results look as text: on the terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from bench.lines import BY_NAME, Line
from bench.record import Record
from bench.stats import Summary, summarize


def format_value(value: float) -> str:
    """Three digits that count: 1234, 123, 12.3, 1.23, 0.0123."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def format_ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.1f}"


def format_median(summary: Summary) -> str:
    """With half the quartile range, in percent; there is none of a single value."""
    spread = f" ±{50 * summary.spread:.0f}%" if summary.n > 1 else ""
    return f"{format_value(summary.median)}{spread}"


def format_goal(line: Line) -> str:
    return f"{line.floor:g} ({line.aim:g})" if line.floor else ""


def order_of_peers(record: Record) -> list[str]:
    """The baseline first, the others as they ran."""
    return sorted(record.peers, key=lambda label: label != record.baseline)


def show_results(console: Console, record: Record) -> None:
    """Print the table, what failed, and what has to be known to read it."""
    peers = order_of_peers(record)
    table = Table(
        title=f"medians of {record.rounds} rounds ± half the quartile range; x: times better than {record.baseline}"
    )
    table.add_column("line", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for label in peers:
        table.add_column(label, justify="right", no_wrap=True)
    table.add_column("goal (aim)", justify="right", no_wrap=True)
    for name in record.lines():
        line = BY_NAME[name]
        cells = [_cell(record, line, label) for label in peers]
        table.add_row(name, line.quantity.value, *cells, format_goal(line))
    print_whole(console, table)
    for caption in captions(record):
        console.print(caption, highlight=False, markup=False)
    for text in failures(record):
        console.print(Text(text, style="red"))


def _cell(record: Record, line: Line, label: str) -> Text:
    summary = record.summary(line.name, label)
    if summary is None:
        return Text("-", style="dim")
    text = Text(format_median(summary))
    ratios = record.ratios(line.name, label, record.baseline)
    if label != record.baseline and ratios:
        ratio = summarize(ratios).median
        text.append(f"  x{format_ratio(ratio)}", style="green" if ratio >= 1 else "yellow")
    return text


def print_whole(console: Console, table: Table) -> None:
    """No column cut off: a terminal that is too narrow wraps lines, a file is as wide as it has to be."""
    needed = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def captions(record: Record) -> list[str]:
    """What the numbers were measured on, a sentence a line."""
    machine = record.machine
    commit = f"commit {record.commit[:9]}{' with changes' if record.has_changes else ''}"
    rows = [
        f"{machine.cpu}, {machine.cpus} CPUs, {machine.memory_gib} GiB; Linux {machine.kernel}; {machine.distribution}",
        f"backing: {record.backing}; scale: {record.scale}; {commit}; {record.started[:16].replace('T', ' ')}",
        *(f"{label}: {info.version}{_options(info.args)}" for label, info in record.peers.items()),
    ]
    if record.background and max(record.background) > 0.1:
        loads = ", ".join(f"{load:.2f}" for load in record.background)
        rows.append(f"not a quiet machine: CPUs busy with something else before each round: {loads}")
    if not record.drops_caches:
        rows.append("cold lines are remounts only: the kernel's caches could not be dropped")
    if not record.is_complete:
        rows.append(f"cut short after {record.rounds} whole rounds")
    return rows


def _options(args: Sequence[str]) -> str:
    return f" ({' '.join(args)})" if args else ""


def failures(record: Record) -> list[str]:
    """What has no value, and why; one line for each reason."""
    rows = [f"{label} did not run: {reason}" for label, reason in record.unavailable.items()]
    seen: dict[tuple[str, str], list[str]] = {}
    for (line, label), series in record.series.items():
        for failure in series.failures:
            lines = seen.setdefault((label, failure.short), [])
            if line not in lines:
                lines.append(line)
    rows += [f"{label}: {', '.join(lines)}: {reason}" for (label, reason), lines in seen.items()]
    return rows


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    marks = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, marks, *rows))
