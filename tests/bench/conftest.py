"""Records to compare, and a real place to run scenarios in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench.assets import Assets
from bench.machine import Machine
from bench.peers import Peer
from bench.place import Place, make_place
from bench.record import Failure, PeerInfo, Record, Sample
from bench.scale import TINY
from bench.scenarios import Here

MACHINE = Machine("a CPU", 2, 8, "6.1.0", "Debian", "3.11.2")
SCALE = replace(TINY, stream=8 << 20, small_files=20, tree_files=30, step_limit_s=20.0)


def make_record(values: Mapping[tuple[str, str], Sequence[float | None]], *, machine: Machine = MACHINE) -> Record:
    """A complete record; values by (line, peer), one a round, None for a round that failed."""
    record = Record(
        started="2026-01-02T03:04:05+00:00",
        machine=machine,
        version="0.1.0",
        commit="0123456789abcdef",
        has_changes=False,
        backing="tmpfs tmpfs",
        scale="full",
        sizes={"stream": 1},
        seed=1,
        flags=[],
        baseline="gocryptfs",
        drops_caches=True,
        is_complete=True,
    )
    for (line, peer), samples in values.items():
        record.peers.setdefault(peer, PeerInfo("gocryptfs" if peer == "gocryptfs" else "pcvfs", "1", ()))
        record.rounds = max(record.rounds, len(samples))
        for number, value in enumerate(samples):
            record.add(
                line, peer, Failure(number, "broken") if value is None else Sample(number, value, {"seconds": 1.0})
            )
    return record


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The directories of a run, on the disk; everything is gone in the end."""
    with make_place(str(tmp_path), size=1 << 20) as place:
        yield place


@dataclass(frozen=True)
class HereMaker:
    """Makes what a scenario works with: ``make_here(peer, "line", ...)``."""

    place: Place

    def __call__(self, peer: Peer, *lines: str, step_limit_s: float = SCALE.step_limit_s) -> Here:
        scale = replace(SCALE, step_limit_s=step_limit_s)
        assets = Assets(self.place.assets, scale, seed=1)
        return Here(peer, self.place, assets, scale, 0, frozenset(lines), on_step=lambda _: None)


@pytest.fixture
def make_here(place: Place) -> HereMaker:
    return HereMaker(place)


def failures(results: Mapping[str, Sample | Failure]) -> dict[str, str]:
    """Which lines failed, and why."""
    return {name: result.reason for name, result in results.items() if isinstance(result, Failure)}
