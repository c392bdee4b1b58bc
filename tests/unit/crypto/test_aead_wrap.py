"""Wrapping of the master key."""

from __future__ import annotations

import pytest

from pcvfs.crypto.aead import aes_gcm_unwrap, aes_gcm_wrap
from pcvfs.crypto.secret import Secret
from pcvfs.errors import AuthenticationError
from tests.unit.crypto.samples import pattern


@pytest.mark.parametrize("nonce_size", [12, 16])
def test_unwrap_returns_what_was_wrapped(nonce_size: int) -> None:
    key, master_key = Secret.random(32), Secret.random(32)
    blob = aes_gcm_wrap(key, pattern(nonce_size), master_key)
    assert len(blob) == nonce_size + 32 + 16
    assert aes_gcm_unwrap(key, blob, nonce_size) == master_key


def test_unwrap_of_changed_bytes_is_refused() -> None:
    key = Secret.random(32)
    blob = bytearray(aes_gcm_wrap(key, pattern(16), Secret.random(32)))
    for i in range(len(blob)):
        blob[i] ^= 1
        with pytest.raises(AuthenticationError):
            aes_gcm_unwrap(key, bytes(blob), 16)
        blob[i] ^= 1
    with pytest.raises(AuthenticationError):
        aes_gcm_unwrap(Secret.random(32), bytes(blob), 16)
    with pytest.raises(AuthenticationError):
        aes_gcm_unwrap(key, bytes(blob), 12)


@pytest.mark.parametrize("nonce_size", [0, 11, 13, 24])
def test_wrap_with_a_nonce_of_wrong_size_raises(nonce_size: int) -> None:
    with pytest.raises(ValueError):
        aes_gcm_wrap(Secret(32), bytes(nonce_size), Secret(32))
    with pytest.raises(ValueError):
        aes_gcm_unwrap(Secret(32), bytes(64), nonce_size)


def test_wrap_with_a_key_of_wrong_size_raises() -> None:
    with pytest.raises(ValueError, match="key"):
        aes_gcm_wrap(Secret(31), bytes(16), Secret(32))
    with pytest.raises(ValueError, match="key"):
        aes_gcm_unwrap(Secret(64), bytes(64), 16)


@pytest.mark.parametrize("size", [0, 16, 32])
def test_unwrap_of_nothing_raises(size: int) -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        aes_gcm_unwrap(Secret(32), bytes(size), 16)
