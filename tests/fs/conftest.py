"""Fixtures of the in-process tier. Every test that has a bench ends with all the checks of ``Bench.finish``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcvfs.fs.options import Engine
from tests.fs.bench import ENGINES, Bench
from tests.fs.kernel import Kernel
from tests.support.flavours import FLAVOURS, Flavour

CHOSEN = [flavour for flavour in FLAVOURS.values() if flavour.name != "longnamemax-100"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_engines: every flavour with the tree of names and the files in C, too")
    config.addinivalue_line("markers", "python_engine: not with the tree of names and the files in C")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All flavours, or those that the marker ``flavours`` names (without names, the default one); see ``_cases``."""
    if "flavour" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("flavours")
    flavours = CHOSEN if marker is None else [FLAVOURS[name] for name in marker.args or ("default",)]
    if wanted := metafunc.config.getoption("--flavours"):
        flavours = [flavour for flavour in flavours if flavour.name in wanted.split(",")]
    cases = _cases(metafunc.definition, flavours)
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize(
            ("flavour", "engine"), cases, ids=[f"{flavour.name}-{engine}" for flavour, engine in cases]
        )
    else:
        metafunc.parametrize("flavour", flavours, ids=lambda flavour: flavour.name)


def _cases(test: pytest.Function, flavours: list[Flavour]) -> list[tuple[Flavour, Engine]]:
    """Python with all flavours, the tree in C with one unless marked otherwise: what differs between them is Python."""
    if test.get_closest_marker("both_engines"):
        return [(flavour, engine) for flavour in flavours for engine in ENGINES]
    cases: list[tuple[Flavour, Engine]] = [(flavour, "python") for flavour in flavours]
    if flavours and not test.get_closest_marker("python_engine"):
        cases.append((flavours[0], "lane"))
    return cases


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """As in a mount process: the kernel has applied the caller's."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def bench(tmp_path: Path, flavour: Flavour, engine: Engine) -> Iterator[Bench]:
    """A fresh volume."""
    bench = Bench(tmp_path / "cipher", flavour, engine)
    yield bench
    bench.finish()


@pytest.fixture
def kernel(bench: Bench) -> Kernel:
    """Its user. Tests that remount take ``bench.kernel`` afterwards."""
    return bench.kernel
