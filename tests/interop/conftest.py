"""Which implementation writes and which one reads."""

from __future__ import annotations

import pytest

from tests.support.drivers import DRIVERS, Driver


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise ``writer`` and ``reader``: pcvfs and gocryptfs both ways round."""
    if "writer" not in metafunc.fixturenames:
        return
    pairs = [("pcvfs", "gocryptfs"), ("gocryptfs", "pcvfs")]
    if "pcvfs" not in metafunc.config.getoption("--drivers"):
        pairs = [("gocryptfs", "gocryptfs")]  # the original against itself: the control of these tests
    cases = [pytest.param(DRIVERS[one], DRIVERS[two], id=f"{one}-to-{two}") for one, two in pairs]
    metafunc.parametrize(("writer", "reader"), cases)


@pytest.fixture
def both(writer: Driver, reader: Driver) -> tuple[Driver, Driver]:
    """The pair, once both can run here."""
    writer.require()
    reader.require()
    return writer, reader
