"""How far the kernel reads ahead of a program that reads a file of a mount by the lane."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import kernel
from tests.support.drivers import Pcvfs
from tests.support.playground import Playground
from tests.support.requirements import require_root

MIB = 1 << 20


@pytest.mark.parametrize(("engine", "kib"), [("lane", 2048), ("python", 128)])
def test_root_widens_it_for_the_lane(playground: Playground, engine: str, kib: int) -> None:
    require_root("only root may widen it")
    driver = Pcvfs(engine)
    driver.require()
    live = playground.new_mount(driver)
    (live.path / "file").write_bytes(os.urandom(MIB))  # INIT has been answered by now
    entry = kernel.find_mount(live.path)
    assert entry is not None
    assert int(Path(f"/sys/class/bdi/{entry.major}:{entry.minor}/read_ahead_kb").read_text()) == kib
