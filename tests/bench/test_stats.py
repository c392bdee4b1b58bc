"""Medians, quartiles and ratios of pairs."""

from __future__ import annotations

import pytest

from bench.lines import BY_NAME
from bench.stats import Summary, pair_ratios, summarize


def test_summarize_five_values_gives_median_and_quartiles() -> None:
    assert summarize([5.0, 1.0, 4.0, 2.0, 3.0]) == Summary(n=5, median=3.0, low=2.0, high=4.0)


def test_summarize_one_value_has_no_spread() -> None:
    assert summarize([7.0]) == Summary(1, 7.0, 7.0, 7.0)
    assert summarize([7.0]).spread == 0.0


def test_summarize_nothing_is_an_error() -> None:
    with pytest.raises(ValueError):
        summarize([])


def test_spread_is_relative_to_the_median() -> None:
    assert Summary(n=5, median=10.0, low=9.0, high=11.0).spread == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("low", "high", "overlaps"), [(1.0, 2.0, False), (1.0, 3.0, True), (5.0, 9.0, True), (6.1, 7.0, False)]
)
def test_overlaps_is_about_the_quartiles(low: float, high: float, overlaps: bool) -> None:
    ours, theirs = Summary(5, 4.5, 3.0, 6.0), Summary(5, (low + high) / 2, low, high)
    assert ours.overlaps(theirs) is overlaps
    assert theirs.overlaps(ours) is overlaps


def test_pair_ratios_of_a_throughput_is_ours_over_theirs() -> None:
    assert pair_ratios(BY_NAME["write-1m"], {0: 200.0, 1: 300.0}, {0: 100.0, 1: 100.0}) == [2.0, 3.0]


def test_pair_ratios_of_a_time_is_theirs_over_ours() -> None:
    assert pair_ratios(BY_NAME["untar"], {0: 2.0}, {0: 6.0}) == [3.0]


def test_pair_ratios_pairs_rounds_and_not_positions() -> None:
    assert pair_ratios(BY_NAME["write-1m"], {0: 10.0, 2: 40.0}, {1: 5.0, 2: 20.0}) == [2.0]


def test_pair_ratios_leaves_out_what_can_not_be_divided() -> None:
    assert pair_ratios(BY_NAME["cpu-idle"], {0: 0.0, 1: 1.0}, {0: 1.0, 1: 0.0}) == []
