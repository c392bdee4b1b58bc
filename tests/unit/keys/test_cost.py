"""The price of a password: never below the floor, never more than the machine has."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcvfs import spec
from pcvfs.crypto.argon2 import Argon2Cost
from pcvfs.errors import KeysetCostError
from pcvfs.keys import cost
from pcvfs.keys.cost import FLOOR, CostPolicy


@given(memory_kib=st.integers(0, 1 << 32), cpus=st.integers(0, 1024))
def test_price_for_any_machine_is_between_floor_and_limit(memory_kib: int, cpus: int) -> None:
    policy = CostPolicy.for_machine(memory_kib, cpus)
    assert policy.cost.memory_kib >= FLOOR.memory_kib >= 64 << 10
    assert policy.cost.time >= FLOOR.time >= 3
    assert policy.cost.memory_kib <= max(memory_kib // 8, FLOOR.memory_kib)
    assert policy.cost.memory_kib <= policy.memory_max_kib <= spec.ARGON2_MEMORY_MAX_KIB
    policy.check_affordable(policy.cost)


@pytest.mark.parametrize(
    ("memory_mib", "cpus", "expected"),
    [
        (256, 1, Argon2Cost(3, 64 << 10, 1)),
        (1024, 4, Argon2Cost(3, 128 << 10, 4)),
        (4096, 8, Argon2Cost(3, 512 << 10, 4)),
        (65_536, 64, Argon2Cost(3, 512 << 10, 4)),
    ],
)
def test_price_follows_the_memory_of_the_machine(memory_mib: int, cpus: int, expected: Argon2Cost) -> None:
    assert CostPolicy.for_machine(memory_mib << 10, cpus).cost == expected


@pytest.mark.parametrize(
    "below",
    [Argon2Cost(3, (64 << 10) - 1, 1), Argon2Cost(2, 64 << 10, 1), Argon2Cost(1, 8, 1), Argon2Cost(3, 64 << 10, 0)],
    ids=str,
)
def test_price_below_the_floor_is_refused(below: Argon2Cost) -> None:
    with pytest.raises(ValueError, match="below"):
        CostPolicy(below)


@pytest.mark.parametrize(
    "above",
    [
        Argon2Cost(65, 64 << 10, 1),
        Argon2Cost(3, 64 << 10, 65),
        Argon2Cost(3, (2 << 20) + 1, 1),
        Argon2Cost(9, 2 << 20, 1),
    ],
    ids=str,
)
def test_price_that_could_not_be_read_again_is_refused(above: Argon2Cost) -> None:
    with pytest.raises(ValueError, match="above"):
        CostPolicy(above)


def test_price_for_this_machine_is_one() -> None:
    policy = CostPolicy.for_this_machine()
    assert policy.floor == FLOOR
    assert 0 < cost.machine_memory_kib() < 1 << 40


def test_more_than_the_machine_has_is_refused() -> None:
    policy = CostPolicy.for_machine(1 << 20, 1)
    policy.check_affordable(Argon2Cost(1, 1 << 20, 1))
    with pytest.raises(KeysetCostError):
        policy.check_affordable(Argon2Cost(1, (1 << 20) + 1, 1))


def test_control_groups_limit_the_memory_of_the_machine(tmp_path: Path) -> None:
    own, root = tmp_path / "own", tmp_path / "root"
    inner = root / "system.slice" / "pcvfs.service"
    inner.mkdir(parents=True)
    own.write_text("1:cpu:/x\n0::/system.slice/pcvfs.service\n")
    (inner / "memory.max").write_text("max\n")
    assert cost._cgroup_limits(own, root) == []
    (inner.parent / "memory.max").write_text("536870912\n")
    assert cost._cgroup_limits(own, root) == [1 << 29]
    (inner / "memory.max").write_text("1048576\n")
    assert sorted(cost._cgroup_limits(own, root)) == [1 << 20, 1 << 29]
    assert cost._cgroup_limits(tmp_path / "nothing", root) == []
