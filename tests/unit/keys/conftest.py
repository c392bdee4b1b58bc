"""Fixtures of the tests of keys: cheap keysets, and the vectors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pcvfs.keys.keyset import Keyset
from tests.unit.keys.cheap import CHEAP, PASSWORD, password


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a keyset may be; does not exist yet."""
    return tmp_path / "state" / "crypto"


@pytest.fixture
def empty(directory: Path) -> Keyset:
    """A place for a keyset."""
    directory.parent.mkdir()
    return Keyset(os.fsencode(directory), CHEAP)


@pytest.fixture
def keyset(empty: Keyset) -> Keyset:
    """A keyset that PASSWORD opens."""
    with password(PASSWORD) as first:
        empty.create(first).wipe()
    return empty
