"""Fixtures of the tests that look at the block lane through a real mount.

What must hold whoever serves the mount takes ``own_mount`` or ``place`` and runs on all drivers; the rest takes
``lane_mount``.
"""

from __future__ import annotations

import os

import pytest

from tests.support.drivers import DRIVERS
from tests.support.flavours import DEFAULT
from tests.support.mounts import LiveMount
from tests.support.playground import Playground


@pytest.fixture
def lane_mount(playground: Playground) -> LiveMount:
    """A mount of its own that the lane serves."""
    if os.environ.get("PCVFS_TEST_ENGINE", "lane") != "lane":
        pytest.skip("this run is about another engine")
    driver = DRIVERS["pcvfs"]
    driver.require()
    return playground.new_mount(driver, DEFAULT)
