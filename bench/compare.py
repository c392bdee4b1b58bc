"""Compare two records of the same machine: ``tools/bench compare OLD NEW``."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.errors import RefusalError
from bench.lines import BY_NAME
from bench.record import Record
from bench.stats import Summary, summarize
from bench.table import format_ratio, format_value, print_whole


@dataclass(frozen=True, slots=True)
class Change:
    """One peer's line in both records.

    Attributes:
        factor: how many times better the new median is.
        is_clear: the quartile ranges don't overlap, so it is more than noise within the runs.
        old_ratio, new_ratio: times better than the baseline, in each run; None where that can't be said.
    """

    line: str
    peer: str
    old: Summary
    new: Summary
    factor: float
    old_ratio: float | None
    new_ratio: float | None

    @property
    def is_clear(self) -> bool:
        return not self.old.overlaps(self.new)


def differences(old: Record, new: Record) -> list[str]:
    """Why absolute numbers of the two records can't be compared; nothing if they can."""
    before, after = old.machine.identity(), new.machine.identity()
    found = [f"{key}: {before[key]} / {after[key]}" for key in before if before[key] != after[key]]
    found += [f"{key}: {old.sizes.get(key)} / {size}" for key, size in new.sizes.items() if old.sizes.get(key) != size]
    for name in ("backing", "drops_caches", "seed"):
        ours, theirs = getattr(old, name), getattr(new, name)
        if ours != theirs:
            found.append(f"{name}: {ours} / {theirs}")
    return found


def compare(old: Record, new: Record) -> list[Change]:
    """What changed, for every line and peer that both records have.

    Raises:
        RefusalError: they were not measured under the same conditions.
    """
    reasons = differences(old, new)
    if reasons:
        raise RefusalError("these records can't be compared (old / new):\n  " + "\n  ".join(reasons))
    changes = []
    for name in new.lines():
        for label in new.peers:
            before, after = old.summary(name, label), new.summary(name, label)
            if before is None or after is None:
                continue
            factor = BY_NAME[name].ratio(after.median, before.median)
            if factor is not None:
                ratios = _ratio(old, name, label), _ratio(new, name, label)
                changes.append(Change(name, label, before, after, factor, *ratios))
    return changes


def _ratio(record: Record, line: str, label: str) -> float | None:
    if label == record.baseline:
        return None
    ratios = record.ratios(line, label, record.baseline)
    return summarize(ratios).median if ratios else None


def show_changes(console: Console, old: Record, new: Record) -> None:
    """Print the comparison. Raises: RefusalError."""
    changes = compare(old, new)
    baselines = f"x {old.baseline} (old), x {new.baseline} (new)"
    table = Table(title=f"{old.commit[:9]} -> {new.commit[:9]}; ~: within the noise of the runs; {baselines}")
    for header in ("line", "peer"):
        table.add_column(header)
    for header in ("unit", "old", "new", "times better", "x old", "x new"):
        table.add_column(header, justify="right")
    for change in changes:
        colour = ("green" if change.factor > 1 else "red") if change.is_clear else "dim"
        verdict = f"[{colour}]{'' if change.is_clear else '~ '}{format_ratio(change.factor)}[/]"
        ratios = ["" if ratio is None else format_ratio(ratio) for ratio in (change.old_ratio, change.new_ratio)]
        medians = [format_value(change.old.median), format_value(change.new.median)]
        table.add_row(change.line, change.peer, BY_NAME[change.line].quantity.value, *medians, verdict, *ratios)
    print_whole(console, table)
