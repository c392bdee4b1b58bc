"""Who works when, and what becomes of those that fail."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from bench.errors import BenchError
from bench.lines import BY_NAME, LINES
from bench.peers import Peer, make_peer
from bench.record import Failure, Sample
from bench.rounds import Turn, plan, run_rounds, run_turn
from bench.scenarios import SCENARIOS, Here, Scenario
from tests.bench.conftest import HereMaker, failures, make_record

PLAIN, OTHER = make_peer("plain"), make_peer("plain", label="other")


class _Watcher:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.turns: list[tuple[str, str]] = []
        self.results: list[dict[str, Sample | Failure]] = []

    def start_round(self, number: int, background: float) -> None:
        assert background >= 0

    def start(self, scenario: str, peer: str) -> None:
        self.turns.append((scenario, peer))

    def step(self, line: str) -> None:
        pass

    def done(self, results: dict[str, Sample | Failure]) -> None:
        self.results.append(results)


def _order(turns: list[Turn]) -> list[str]:
    return [turn.peer.label for turn in turns]


def test_plan_turns_the_order_every_round() -> None:
    peers = [make_peer(name) for name in ("lane", "gocryptfs", "python")]
    rounds = plan(peers, [BY_NAME["untar"]], 3)
    assert list(map(_order, rounds)) == [
        ["lane", "gocryptfs", "python"],
        ["python", "gocryptfs", "lane"],
        ["lane", "gocryptfs", "python"],
    ]


def test_plan_keeps_the_peers_of_a_scenario_together() -> None:
    turns = plan([make_peer("lane"), make_peer("gocryptfs")], LINES, 2)[1]
    assert [turn.scenario.name for turn in turns[::2]] == [turn.scenario.name for turn in turns[1::2]]
    assert all(_order(turns[at : at + 2]) == ["gocryptfs", "lane"] for at in range(0, len(turns), 2))


def test_plan_asks_a_plain_directory_for_nothing_about_mounts() -> None:
    turns = plan([PLAIN], LINES, 1)[0]
    assert {"mount", "idle", "inodes"}.isdisjoint(turn.scenario.name for turn in turns)
    assert not [line for turn in turns for line in turn.lines if line.is_of_mount]


def test_plan_stops_a_scenario_at_its_number_of_pairs() -> None:
    rounds = plan([make_peer("lane")], [BY_NAME["memory-inodes"], BY_NAME["mount"]], 3)
    names = [[turn.scenario.name for turn in turns] for turns in rounds]
    assert names == [["mount", "inodes"], ["mount"], ["mount"]]


def test_run_rounds_a_broken_scenario_does_not_end_the_run(make_here: HereMaker) -> None:
    def break_down(here: Here) -> None:
        here.record("untar", 1.0)
        raise BenchError("the mount is gone")

    def work(here: Here) -> None:
        here.record("create", 2.0)

    broken = Scenario("tree", break_down, lambda _: 0)
    fine = Scenario("small", work, lambda _: 0)
    turns = [
        Turn(0, broken, PLAIN, (BY_NAME["untar"], BY_NAME["rm"])),
        Turn(0, fine, PLAIN, (BY_NAME["create"],)),
    ]
    record, watcher = make_record({}), _Watcher()
    record.is_complete = False
    run_rounds([turns], record, _maker(make_here), watcher, deadline=math.inf, background_s=0.01)
    assert record.series["untar", "plain"].samples == [Sample(0, 1.0)]
    assert record.series["rm", "plain"].failures == [Failure(0, "the mount is gone")]
    assert record.series["create", "plain"].samples == [Sample(0, 2.0)]
    assert record.is_complete
    assert record.rounds == 1
    assert watcher.turns == [("tree", "plain"), ("small", "plain")]


def test_run_rounds_out_of_time_starts_nothing_and_says_so(make_here: HereMaker) -> None:
    record, watcher = make_record({}), _Watcher()
    record.is_complete = False
    rounds = plan([PLAIN], [BY_NAME["create"]], 2)
    run_rounds(rounds, record, _maker(make_here), watcher, deadline=time.monotonic() - 1, background_s=0.01)
    assert not record.is_complete
    assert record.rounds == 0
    assert watcher.turns == []


def test_run_turn_without_room_fails_before_it_writes(make_here: HereMaker) -> None:
    def write(_: Here) -> None:
        raise AssertionError("this must not run")

    results = run_turn(Scenario("small", write, lambda _: 1 << 60), make_here(PLAIN, "create"))
    assert isinstance(results["create"], Failure)
    assert "no room" in results["create"].reason


def test_run_turn_step_that_fails_leaves_the_others(make_here: HereMaker) -> None:
    def work(here: Here) -> None:
        with here.mounted() as m:
            here.measure("untar", lambda: m.run_program(["false"]))
            here.measure("rm", lambda: m.run_program(["true"]))

    results = run_turn(Scenario("tree", work, lambda _: 0), make_here(PLAIN, "untar", "rm"))
    assert isinstance(results["untar"], Failure)
    assert isinstance(results["rm"], Sample)


def test_run_turn_every_scenario_works_on_a_plain_directory(make_here: HereMaker) -> None:
    wanted: dict[str, list[str]] = {}
    for line in LINES:
        if not line.is_of_mount:
            wanted.setdefault(line.scenario, []).append(line.name)
    for name, lines in wanted.items():
        results = run_turn(SCENARIOS[name], make_here(PLAIN, *lines))
        assert failures(results) == {}
        assert all(isinstance(result, Sample) and result.value > 0 for result in results.values())


def _maker(make_here: HereMaker) -> Callable[[Turn, Callable[[str], None]], Here]:
    def make(turn: Turn, on_step: Callable[[str], None]) -> Here:
        here = make_here(turn.peer, *(line.name for line in turn.lines))
        here.on_step = on_step
        return here

    return make


def test_peers_of_one_kind_need_labels_of_their_own() -> None:
    peers: list[Peer] = [PLAIN, OTHER]
    assert _order(plan(peers, [BY_NAME["create"]], 1)[0]) == ["plain", "other"]
