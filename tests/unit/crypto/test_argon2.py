"""Argon2id against the library's own front end, and the bounds of the algorithm."""

from __future__ import annotations

import pytest
from argon2.low_level import Type, hash_secret_raw
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvfs.crypto import argon2
from pcvfs.crypto.argon2 import Argon2Cost, argon2id
from pcvfs.crypto.secret import Secret


@given(
    password=st.binary(min_size=1, max_size=100),
    salt=st.binary(min_size=8, max_size=40),
    time=st.integers(1, 3),
    memory_kib=st.integers(32, 100),
    lanes=st.integers(1, 4),
)
@settings(max_examples=50)
def test_argon2id_equals_the_front_end(password: bytes, salt: bytes, time: int, memory_kib: int, lanes: int) -> None:
    expected = hash_secret_raw(password, salt, time, memory_kib, lanes, 32, Type.ID, 19)
    assert argon2id(Secret.from_bytes(password), salt, Argon2Cost(time, memory_kib, lanes)).view() == expected


@pytest.mark.parametrize(
    "cost",
    [
        Argon2Cost(0, 8, 1),
        Argon2Cost(1, 7, 1),
        Argon2Cost(1, 15, 2),
        Argon2Cost(1, 8, 0),
        Argon2Cost(-1, 8, 1),
        Argon2Cost(1, 1 << 32, 1),
        Argon2Cost(1 << 32, 8, 1),
        Argon2Cost(1, 1 << 31, 1 << 24),
    ],
    ids=str,
)
def test_argon2id_cost_out_of_range_raises(cost: Argon2Cost) -> None:
    with pytest.raises(ValueError, match="range"):
        argon2id(Secret(1), bytes(16), cost)


def test_argon2id_short_salt_raises() -> None:
    with pytest.raises(ValueError, match="salt"):
        argon2id(Secret(1), bytes(7), Argon2Cost(1, 8, 1))


def test_argon2id_without_memory_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argon2, "core", lambda _context, _type: -22)
    with pytest.raises(MemoryError):
        argon2id(Secret(1), bytes(16), Argon2Cost(1, 8, 1))
