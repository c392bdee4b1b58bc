"""Rates instead of times where a rate is what one wants to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

_RATES: Final = pytest.StashKey[list[tuple[str, str]]]()


@dataclass
class Meter:
    """Measures a call that handles so much of something."""

    benchmark: BenchmarkFixture
    name: str
    rates: list[tuple[str, str]] = field(repr=False)

    def measure(self, call: Callable[[], object], *, amount: float, unit: str) -> None:
        """Note the median rate: ``amount`` of ``unit`` per call, as ``unit`` per second."""
        self.benchmark(call)
        if self.benchmark.stats is not None:  # it has run, not merely been tried
            median: float = self.benchmark.stats.stats.median
            self.benchmark.extra_info[f"{unit}/s"] = amount / median
            self.rates.append((self.name, f"{amount / median:14,.2f} {unit}/s"))


@pytest.fixture
def meter(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Meter:
    """What a benchmark of a rate uses instead of ``benchmark``."""
    return Meter(benchmark, request.node.name, request.config.stash.setdefault(_RATES, []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the rates below the table of times."""
    rates = config.stash.get(_RATES, [])
    if rates:
        terminalreporter.section("rates (median)")
        width = max(len(name) for name, _ in rates)
        for name, rate in rates:
            terminalreporter.write_line(f"{name:<{width}} {rate}")
