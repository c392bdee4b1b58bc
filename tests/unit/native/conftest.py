"""Fixtures of the tests of the door to C: a cipher, a policy, and a file of a megabyte at most."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pcvfs.native import Aead
from pcvfs.native.files import File, FilePolicy
from tests.unit.native.places import AES_GCM, OVERHEAD, open_file


@pytest.fixture
def aead() -> Iterator[Aead]:
    aead = Aead(AES_GCM, bytearray(range(32)))
    yield aead
    aead.close()


@pytest.fixture
def policy(aead: Aead) -> FilePolicy:
    return FilePolicy(aead, OVERHEAD, None, prealloc=0, is_shared=False)


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """The file that has the ciphertext."""
    path = tmp_path / "backing"
    path.touch()
    return path


@pytest.fixture
def file(policy: FilePolicy, backing: Path) -> Iterator[File]:
    file = open_file(policy, backing)
    yield file
    file.close()
