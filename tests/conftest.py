"""Options, tiers, deadlines and the fixtures of the kernel-facing tiers (mount, interop, programs, crash).

Tiers are folders; tests marked ``long`` run with ``--long`` only. ``--drivers`` chooses what the POSIX tests run on:
``plain`` (a bare directory: the control), ``gocryptfs`` (the original), ``pcvfs`` and ``pcvfs-python`` (its reference
engine).
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.support import kernel
from tests.support.drivers import DRIVERS, Driver, MountOptions
from tests.support.flavours import FLAVOURS, Flavour
from tests.support.mounts import LiveMount
from tests.support.places import Place, SharedMounts
from tests.support.playground import Playground
from tests.support.watchdog import Watchdog

KERNEL_TIERS = ("mount", "interop", "programs", "crash", "lane")
TIMEOUT_S = 60  # of one quick kernel-facing test
LONG_TIMEOUT_S = 4 * 3600
WATCHDOG_SHARE = 0.8  # of the time limit: the mount is aborted first, so that the limit can take effect

SEED = int(os.environ.get("PCVFS_SEED", random.SystemRandom().randrange(1 << 32)))
WATCHDOG_KEY = pytest.StashKey[Watchdog]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pcvfs")
    group.addoption("--long", action="store_true", help="also run the tests marked long (hours)")
    group.addoption("--drivers", default="plain,pcvfs,pcvfs-python", help=f"comma separated: {', '.join(DRIVERS)}")
    group.addoption("--flavours", default="", help="comma separated volume flavours; default: all")


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "long: hours rather than seconds; deselected without --long",
        "flavours(*names): run on these volume flavours only; no name means the default one",
        "fuse_only: not a statement about plain directories",
        "format_limit: POSIX behaviour that the on-disk format can't give; runs on the control only",
        "gocryptfs_differs(reason): gocryptfs is known to fail this",
    ):
        config.addinivalue_line("markers", line)


def pytest_report_header() -> str:
    return f"pcvfs: PCVFS_SEED={SEED} PCVFS_REQUIRE={os.environ.get('PCVFS_REQUIRE', '')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in filter(is_kernel_test, items):
        is_long = item.get_closest_marker("long") is not None
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LONG_TIMEOUT_S if is_long else TIMEOUT_S))
    if not config.getoption("--long"):
        long_items = [item for item in items if item.get_closest_marker("long")]
        if long_items:
            config.hook.pytest_deselected(items=long_items)
            items[:] = [item for item in items if not item.get_closest_marker("long")]


def is_kernel_test(item: pytest.Item) -> bool:
    """The test belongs to one of the tiers that mount something."""
    return item.path.parent.name in KERNEL_TIERS and item.path.parent.parent == Path(__file__).parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Give the watchdog the deadline of each test."""
    marker = item.get_closest_marker("timeout")
    if marker is None or not is_kernel_test(item):
        return (yield)
    watchdog = running_watchdog(item.config)
    watchdog.set_deadline(marker.args[0] * WATCHDOG_SHARE)
    try:
        return (yield)
    finally:
        watchdog.set_deadline(None)


def running_watchdog(config: pytest.Config) -> Watchdog:
    """Return the session's watchdog, started when the first kernel-facing test needs it."""
    if WATCHDOG_KEY not in config.stash:
        kernel.ensure_fusectl()
        report = tempfile.NamedTemporaryFile(prefix="pcvt-watchdog-")  # noqa: SIM115  # lives as long as the session
        config.add_cleanup(report.close)
        config.stash[WATCHDOG_KEY] = Watchdog(Path(report.name))
        config.add_cleanup(config.stash[WATCHDOG_KEY].close)
    return config.stash[WATCHDOG_KEY]


# --- which driver and flavour ------------------------------------------------------------------------------------
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise ``driver`` and ``flavour`` for every test that asks for them (directly or through ``place``)."""
    if "driver" in metafunc.fixturenames:
        cases = _driver_cases(metafunc)
        if "flavour" in metafunc.fixturenames:
            metafunc.parametrize(("driver", "flavour"), cases)
        else:
            once = {case.values[0]: case for case in cases}
            alone = [pytest.param(d, id=getattr(d, "name", None), marks=c.marks) for d, c in once.items()]
            metafunc.parametrize("driver", alone)


def _driver_cases(metafunc: pytest.Metafunc) -> list[ParameterSet]:
    differs = metafunc.definition.get_closest_marker("gocryptfs_differs")
    cases: list[ParameterSet] = []
    for name in metafunc.config.getoption("--drivers").split(","):
        driver = DRIVERS[name]
        if not _is_due(metafunc, driver):
            continue
        if not driver.is_fuse:
            cases.append(pytest.param(driver, FLAVOURS["default"], id=name))
            continue
        marks = [pytest.mark.xfail(reason=differs.args[0], strict=False)] if differs and name == "gocryptfs" else []
        flavours = _chosen_flavours(metafunc)
        if driver.is_reference:
            flavours = flavours[:1]
        cases += [pytest.param(driver, flavour, id=f"{name}-{flavour.name}", marks=marks) for flavour in flavours]
    return cases


def _is_due(metafunc: pytest.Metafunc, driver: Driver) -> bool:
    """Leave out what means nothing, and in the quick tier what takes long for what it tells."""
    is_long = metafunc.config.getoption("--long")
    if not driver.is_fuse:
        has_control = is_long or metafunc.definition.path.parent.name == "mount"
        return has_control and metafunc.definition.get_closest_marker("fuse_only") is None
    return is_long or not driver.is_reference or "place" in metafunc.fixturenames


def _chosen_flavours(metafunc: pytest.Metafunc) -> list[Flavour]:
    marker = metafunc.definition.get_closest_marker("flavours")
    names = list(FLAVOURS) if marker is None else list(marker.args) or ["default"]
    if wanted := metafunc.config.getoption("--flavours"):
        names = [name for name in names if name in wanted.split(",")]
    return [FLAVOURS[name] for name in names]


# --- fixtures ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def watchdog(pytestconfig: pytest.Config) -> Watchdog:
    """The process that aborts wedged mounts."""
    return running_watchdog(pytestconfig)


@pytest.fixture
def seed() -> int:
    """The seed of this run; PCVFS_SEED repeats it."""
    return SEED


@pytest.fixture
def playground(watchdog: Watchdog) -> Iterator[Playground]:
    """A place for mounts that belong to one test; the test fails if it leaves anything behind."""
    before = len(watchdog.interventions())
    ground = Playground(watchdog)
    yield ground
    leftovers = ground.close()
    aborted = watchdog.interventions()[before:]
    assert not aborted, f"the watchdog had to step in: {aborted}"
    assert not leftovers, leftovers


@pytest.fixture(scope="session")
def shared_mounts(watchdog: Watchdog) -> Iterator[SharedMounts]:
    """Mounts that many tests share; at the end each volume is unmounted and checked by both implementations."""
    ground = Playground(watchdog)
    shared = SharedMounts(ground)
    yield shared
    problems = shared.unmount_and_check() + ground.close()
    assert not problems, "\n".join(problems)


@pytest.fixture
def place(driver: Driver, flavour: Flavour, shared_mounts: SharedMounts, watchdog: Watchdog) -> Iterator[Place]:
    """An empty directory on a mount that is shared with other tests."""
    driver.require()
    before = len(watchdog.interventions())
    here = shared_mounts.new_place(driver, flavour)
    yield here
    aborted = watchdog.interventions()[before:]
    assert not aborted, f"the watchdog had to step in: {aborted}"
    assert here.mount.is_alive(), f"the mount died during the test:\n{here.mount.log()[-3000:]}"


@pytest.fixture
def own_mount(driver: Driver, flavour: Flavour, playground: Playground) -> LiveMount:
    """A mount of its own for a test that changes, breaks or ends it."""
    driver.require()
    return playground.new_mount(driver, flavour, MountOptions())
