"""Who works when: every round each peer does each scenario once, next to its rivals, and the order turns every round.

So whatever drifts (the clock of the CPU, the neighbours on the host, the disk) hits all alike, and values are compared
only with those of the same round. Rounds are the outer loop: a run that is cut short has fewer pairs of every line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.errors import BenchError
from bench.lines import Line
from bench.machine import background_load
from bench.peers import Peer
from bench.record import Failure, Record, Sample
from bench.scenarios import SCENARIOS, Here, Scenario


class Watcher(Protocol):
    """Is told how the run goes."""

    def start_round(self, number: int, background: float) -> None: ...

    def start(self, scenario: str, peer: str) -> None: ...

    def step(self, line: str) -> None: ...

    def done(self, results: dict[str, Sample | Failure]) -> None: ...


@dataclass(frozen=True, slots=True)
class Turn:
    """One peer's turn at one scenario."""

    round: int
    scenario: Scenario
    peer: Peer
    lines: tuple[Line, ...]


def plan(peers: Sequence[Peer], lines: Sequence[Line], pairs: int) -> list[list[Turn]]:
    """The turns of each round. Peers that stand side by side run one after the other, in both orders equally often."""
    rounds = []
    for number in range(pairs):
        order = list(peers) if number % 2 == 0 else list(reversed(peers))
        turns = []
        for scenario in SCENARIOS.values():
            for peer in order if number < scenario.max_pairs else []:
                wanted = [line for line in lines if line.scenario == scenario.name]
                wanted = [line for line in wanted if peer.is_fuse or not line.is_of_mount]
                if wanted:
                    turns.append(Turn(number, scenario, peer, tuple(wanted)))
        rounds.append(turns)
    return rounds


def run_rounds(
    rounds: Sequence[Sequence[Turn]],
    record: Record,
    make_here: Callable[[Turn, Callable[[str], None]], Here],
    watcher: Watcher,
    *,
    deadline: float,
    background_s: float = 1.0,
) -> None:
    """Do all turns and add their results to the record; what failed is in it, too.

    Args:
        deadline: of ``time.monotonic``; no turn starts after it, and the record is not complete then.
        background_s: how long to watch, before each round, what else the machine does.
    """
    for number, turns in enumerate(rounds):
        background = background_load(background_s)
        record.background.append(round(background, 3))
        watcher.start_round(number, background)
        for turn in turns:
            if time.monotonic() > deadline:
                return
            watcher.start(turn.scenario.name, turn.peer.label)
            results = run_turn(turn.scenario, make_here(turn, watcher.step))
            for name, result in results.items():
                record.add(name, turn.peer.label, result)
            watcher.done(results)
        record.rounds = number + 1
    record.is_complete = True


def run_turn(scenario: Scenario, here: Here) -> dict[str, Sample | Failure]:
    """One turn. Lines without a value or a failure of their own fail for the reason that ended the scenario."""
    reason = "not measured"
    try:
        here.place.check_room(scenario.need(here.scale))
        scenario.run(here)
    except BenchError as exc:
        reason = str(exc)
    return {name: here.results.get(name, Failure(here.round, reason)) for name in sorted(here.wanted)}
