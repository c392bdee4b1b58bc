"""Medians, spreads, and ratios of what was measured side by side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.lines import Line


@dataclass(frozen=True, slots=True)
class Summary:
    """Some values in five numbers: count, median, quartiles (of the sorted values, interpolated)."""

    n: int
    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Interquartile range over median: 0.05 says that half of the values lie within 5 %."""
        return (self.high - self.low) / self.median if self.median else 0.0

    def overlaps(self, other: Summary) -> bool:
        """The quartile ranges have a value in common, so a difference of the medians may be noise."""
        return self.low <= other.high and other.low <= self.high


def summarize(values: Sequence[float]) -> Summary:
    """Raises: ValueError for no values."""
    if not values:
        raise ValueError("nothing to summarize")
    if len(values) == 1:
        return Summary(1, values[0], values[0], values[0])
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Summary(len(values), statistics.median(values), low, high)


def pair_ratios(line: Line, ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """How many times better ``ours`` was than ``theirs`` in each round that has both.

    Args:
        ours, theirs: value by round.

    Returns:
        One ratio a round, in the order of the rounds. Rounds in which one of the two failed are left out: a value is
        only ever compared with what ran next to it.
    """
    ratios = (line.ratio(ours[number], theirs[number]) for number in sorted(ours.keys() & theirs.keys()))
    return [ratio for ratio in ratios if ratio is not None]
