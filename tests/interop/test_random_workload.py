"""Random operations on one implementation, compared step by step with a plain directory, then read by the other."""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass

import hypothesis
import pytest
from hypothesis import Phase
from hypothesis.stateful import run_state_machine_as_test

from tests.interop.machine import Workload
from tests.support.drivers import Driver
from tests.support.flavours import FLAVOURS, Flavour
from tests.support.places import check_volume
from tests.support.playground import Playground
from tests.support.tree import differences, snapshot

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Amount:
    """How much to do. A quick run shows a failure as it was found: looking for a shorter one takes minutes."""

    examples: int
    steps: int  # of each example
    at_least: int  # steps in total, or the run proves too little
    phases: tuple[Phase, ...]


QUICK = Amount(examples=5, steps=50, at_least=120, phases=(Phase.generate,))
LONG = Amount(examples=60, steps=50, at_least=2000, phases=(Phase.generate, Phase.shrink))

flavours = pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=lambda flavour: flavour.name)


def run(playground: Playground, both: tuple[Driver, Driver], flavour: Flavour, amount: Amount, seed: int) -> None:
    """Do the workload with the writer; at the end both implementations must show the same tree.

    That tree is the model if pcvfs wrote it. gocryptfs 2.3 is not held to the model: what it shows itself after a
    remount is what pcvfs must show.
    """
    writer, reader = both
    live = playground.new_mount(writer, flavour)

    class Machine(Workload):
        is_judged = writer.is_pcvfs

    Machine.live, Machine.model_base = live, playground.new_directory("model")
    settings = hypothesis.settings(
        max_examples=amount.examples,
        stateful_step_count=amount.steps,
        phases=amount.phases,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
    own_seed = seed ^ zlib.crc32(flavour.name.encode())  # other steps for each flavour
    run_state_machine_as_test(hypothesis.seed(own_seed)(Machine), settings=settings)
    live.unmount()
    assert check_volume(live, {writer.name, reader.name}) == []
    live.start()
    written = snapshot(live.path)
    live.unmount()
    if Machine.is_judged:
        assert differences(snapshot(Machine.model_base), written) == []
    other = playground.mount(reader, live.volume)
    assert differences(written, snapshot(other.path)) == []
    other.unmount()
    log.info(
        "%s wrote, %s read: %d steps in %d examples, %d unlike a plain directory, seed %d",
        writer.name, reader.name, Machine.steps, Machine.examples, Machine.differences, seed,
    )  # fmt: skip
    assert Machine.steps >= amount.at_least


@flavours
def test_short_random_workload(
    playground: Playground, both: tuple[Driver, Driver], flavour: Flavour, seed: int
) -> None:
    run(playground, both, flavour, QUICK, seed)


@pytest.mark.long
@flavours
def test_long_random_workload(playground: Playground, both: tuple[Driver, Driver], flavour: Flavour, seed: int) -> None:
    run(playground, both, flavour, LONG, seed)
