"""Random operations on one implementation, compared step by step with a plain directory, then read by the other."""

from __future__ import annotations

import logging

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.interop.machine import Workload
from tests.support.drivers import Driver
from tests.support.flavours import FLAVOURS, Flavour
from tests.support.places import check_volume
from tests.support.playground import Playground
from tests.support.tree import assert_same_tree

log = logging.getLogger(__name__)

QUICK_EXAMPLES, QUICK_STEPS = 3, 50
LONG_EXAMPLES, LONG_STEPS, LONG_AT_LEAST = 60, 50, 2000

flavours = pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=lambda flavour: flavour.name)


def run(
    playground: Playground, both: tuple[Driver, Driver], flavour: Flavour, *, examples: int, steps: int, seed: int
) -> int:
    """Do the workload with the writer; at the end both implementations must show the model. Return the steps done."""
    writer, reader = both
    live = playground.new_mount(writer, flavour)

    class Machine(Workload):
        pass

    Machine.live, Machine.model_base = live, playground.new_directory("model")
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(hypothesis.seed(seed)(Machine), settings=settings)
    live.unmount()
    assert check_volume(live, {writer.name, reader.name}) == []
    other = playground.mount(reader, live.volume)
    assert_same_tree(Machine.model_base, other.path)
    other.unmount()
    live.start()
    assert_same_tree(Machine.model_base, live.path)
    live.unmount()
    log.info("%s wrote, %s read: %d steps, seed %d", writer.name, reader.name, Machine.steps, seed)
    return Machine.steps


@flavours
def test_short_random_workload(
    playground: Playground, both: tuple[Driver, Driver], flavour: Flavour, seed: int
) -> None:
    done = run(playground, both, flavour, examples=QUICK_EXAMPLES, steps=QUICK_STEPS, seed=seed)
    assert done >= QUICK_EXAMPLES * QUICK_STEPS // 2


@pytest.mark.long
@flavours
def test_long_random_workload(playground: Playground, both: tuple[Driver, Driver], flavour: Flavour, seed: int) -> None:
    done = run(playground, both, flavour, examples=LONG_EXAMPLES, steps=LONG_STEPS, seed=seed)
    assert done >= LONG_AT_LEAST
