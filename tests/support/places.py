"""Mounts that many tests share, and the empty directories on them that each test gets."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.drivers import DRIVERS, Driver
from tests.support.flavours import Flavour
from tests.support.mounts import LiveMount
from tests.support.playground import Playground


@dataclass
class Place:
    """An empty directory on the filesystem under test, and what is known about that filesystem."""

    path: Path
    driver: Driver
    flavour: Flavour
    mount: LiveMount


@dataclass
class SharedMounts:
    """One mount per driver and flavour for all tests that only need an empty directory."""

    ground: Playground
    live: dict[tuple[str, str], LiveMount] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def new_place(self, driver: Driver, flavour: Flavour) -> Place:
        """Return a new directory; on a new mount if an earlier test killed the shared one."""
        key = (driver.name, flavour.name)
        if key not in self.live:
            self.live[key] = self.ground.new_mount(driver, flavour)
        elif not self.live[key].is_alive():
            dead = self.live.pop(key)
            dead.close()
            self.live[key] = self.ground.mount(driver, dead.volume)
        live = self.live[key]
        path = live.path / f"t{next(self._numbers)}"
        path.mkdir()
        return Place(path, driver, flavour, live)

    def unmount_and_check(self) -> list[str]:
        """Unmount all and check each volume with every implementation; return the problems found."""
        problems = []
        for (name, flavour), live in self.live.items():
            if not live.driver.is_fuse:
                continue
            if not live.is_alive():
                problems.append(f"{name} {flavour}: the mount died: {live.log()[-2000:]}")
                continue
            try:
                returncode = live.unmount()
            except (OSError, TimeoutError) as exc:
                problems.append(f"{name} {flavour}: {exc}")
                continue
            if returncode != 0:
                problems.append(f"{name} {flavour}: exit code {returncode} after a clean unmount: {live.log()[-2000:]}")
            problems += check_volume(live, {name, "gocryptfs"})
        return problems


def check_volume(live: LiveMount, checkers: set[str]) -> list[str]:
    """Check the unmounted volume with the named implementations; return what they found."""
    problems = []
    for checker in sorted(checkers):
        result = DRIVERS[checker].fsck(live.volume)
        if result.returncode != 0:
            output = f"{result.stdout[-2000:]}{result.stderr[-2000:]}"
            problems.append(f"{checker} fsck of {live.volume.flavour.name}: exit {result.returncode}: {output}")
    return problems
