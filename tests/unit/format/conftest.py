"""Fixtures of the format tests; the vectors become parameters."""

from __future__ import annotations

import pytest

from pcvfs.crypto.eme import NameCipher, name_cipher
from pcvfs.crypto.secret import Secret
from tests.unit.format.vectors import VOLUME_NAMES, GoldenVolume, load_primitives, load_volume


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    primitives = load_primitives()
    groups = {
        "name_vector": primitives["names"],
        "xattr_name_vector": primitives["xattr_names"],
        "block_vector": primitives["blocks"],
        "volume_name": VOLUME_NAMES,
    }
    for fixture, values in groups.items():
        if fixture in metafunc.fixturenames:
            assert values, f"no vectors for {fixture}"
            metafunc.parametrize(fixture, values, ids=values if fixture == "volume_name" else None)


@pytest.fixture
def primitives() -> dict:
    return load_primitives()


@pytest.fixture
def volume(volume_name: str) -> GoldenVolume:
    return load_volume(volume_name)


@pytest.fixture(scope="session")
def eme() -> NameCipher:
    """The name cipher that the vectors were made with."""
    with Secret.from_bytes(bytes.fromhex(load_primitives()["hkdf"]["EME filename encryption"])) as names_key:
        return name_cipher(names_key)
