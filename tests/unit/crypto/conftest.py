"""Fixtures of the crypto tests: the fixed-input vectors, and every engine and cipher."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcvfs.crypto.aead import CipherKind, ContentCipher, Engine, content_cipher
from pcvfs.crypto.secret import Secret

VECTORS = Path(__file__).parents[2] / "vectors" / "gocryptfs" / "primitives.json"


@pytest.fixture(scope="session")
def primitives() -> dict[str, object]:
    """What gocryptfs-compatible code makes of fixed inputs; tests/vectors/gocryptfs/README.md says where from."""
    return json.loads(VECTORS.read_text())


@pytest.fixture(params=["native", "libcrypto", "reference"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param


@pytest.fixture(params=list(CipherKind), ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> CipherKind:
    return request.param


@pytest.fixture
def cipher(kind: CipherKind, engine: Engine) -> ContentCipher:
    """All engines get the same key, so that a test may compare what they make."""
    return content_cipher(kind, Secret.from_bytes(bytes(range(1, kind.key_size + 1))), engine=engine)
