"""The mount process itself: how long it takes to start, what it costs while idle, what it needs to know many files."""

from __future__ import annotations

import statistics
import time
from typing import Final

from bench.scenarios.here import Here, Scenario

_SETTLE_S: Final = 0.5
_INODES_LIMIT_FACTOR: Final = 10.0
_INODE_SIZE: Final = 1024  # of an empty file on the backing


def _mount(here: Here) -> None:
    if here.peer.fixed_kdf:
        here.fail("mount", here.peer.fixed_kdf)
        return
    with here.mounted() as m:  # the first one, which is not counted, has loaded the program into memory
        here.on_step("mount")
        times = []
        for _ in range(here.scale.mounts):
            m.unmount()
            times.append(m.mount())
        here.record("mount", statistics.median(times))


def _idle(here: Here) -> None:
    with here.mounted() as m:
        here.on_step("cpu-idle")
        time.sleep(_SETTLE_S)
        started, before = time.monotonic(), m.server_cpu_s()
        time.sleep(here.scale.idle_s)
        used = m.server_cpu_s() - before
        here.record("cpu-idle", 100 * used / (time.monotonic() - started))


def _inodes(here: Here) -> None:
    files = ("i", here.scale.inodes, 0)
    with here.mounted() as m:
        here.on_step("memory-inodes")
        m.run("create", *files, limit_factor=_INODES_LIMIT_FACTOR)
        m.run("statfiles", *files, limit_factor=_INODES_LIMIT_FACTOR)
        here.record_memory("memory-inodes", m.resident_bytes())


MOUNT: Final = Scenario("mount", _mount, lambda _: 0)
IDLE: Final = Scenario("idle", _idle, lambda _: 0, max_pairs=3)
INODES: Final = Scenario("inodes", _inodes, lambda scale: scale.inodes * _INODE_SIZE, max_pairs=1)
