"""The work: sequences of steps on one new volume each, and the lines that they yield."""

from __future__ import annotations

from typing import Final

from bench.scenarios.files import CLIENTS, RANDOM, SMALL, STREAM
from bench.scenarios.here import Here, Scenario
from bench.scenarios.mount_process import IDLE, INODES, MOUNT
from bench.scenarios.programs import GIT, SQLITE, TREE

SCENARIOS: Final = {
    scenario.name: scenario for scenario in (STREAM, RANDOM, CLIENTS, SMALL, TREE, GIT, SQLITE, MOUNT, IDLE, INODES)
}

__all__ = ["SCENARIOS", "Here", "Scenario"]
