"""NameCipher: EME for both engines."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvfs.crypto.aead import Engine
from pcvfs.crypto.eme import NameCipher, name_cipher
from pcvfs.crypto.secret import Secret

TWEAK = bytes(range(50, 66))
SIZES = range(16, 2048 + 1, 16)


def message(size: int, seed: int = 0) -> bytes:
    return bytes((i * 7 + (i >> 4) * 13 + seed) & 0xFF for i in range(size))


@pytest.fixture
def cipher(engine: Engine) -> NameCipher:
    return name_cipher(Secret.from_bytes(bytes(range(32))), engine=engine)


def test_all_zero_known_answer_matches(engine: Engine) -> None:
    cipher = name_cipher(Secret(32), engine=engine)
    assert cipher.encrypt(bytes(16), bytes(16)).hex() == "f1b9ce8ca15a4ba9fb476905434b9fd3"


@pytest.mark.parametrize("size", [16, 32, 48, 256, 2032, 2048])
def test_decrypt_returns_what_was_encrypted(cipher: NameCipher, size: int) -> None:
    encrypted = cipher.encrypt(TWEAK, message(size))
    assert len(encrypted) == size
    assert encrypted != message(size)
    assert cipher.decrypt(TWEAK, encrypted) == message(size)


def test_many_equals_one_by_one(cipher: NameCipher) -> None:
    names = [message(16 * (1 + i * i % 21), seed=i) for i in range(200)]  # more than three batches of the C code
    encrypted = cipher.encrypt_many(TWEAK, names)
    assert encrypted == [cipher.encrypt(TWEAK, name) for name in names]
    assert cipher.decrypt_many(TWEAK, encrypted) == names
    assert cipher.encrypt_many(TWEAK, tuple(names)) == encrypted


def test_many_of_largest_size_works(cipher: NameCipher) -> None:
    names = [message(2048, seed=i) for i in range(65)]
    assert cipher.decrypt_many(TWEAK, cipher.encrypt_many(TWEAK, names)) == names


def test_many_of_none_is_empty(cipher: NameCipher) -> None:
    assert cipher.encrypt_many(TWEAK, []) == []
    assert cipher.decrypt_many(TWEAK, []) == []


def test_every_bit_changes_the_whole_message(cipher: NameCipher) -> None:
    base = cipher.encrypt(TWEAK, message(64))
    blocks = {base[i : i + 16] for i in range(0, 64, 16)}
    for i in range(64):
        changed = bytearray(message(64))
        changed[i] ^= 1
        other = cipher.encrypt(TWEAK, bytes(changed))
        assert blocks.isdisjoint(other[i : i + 16] for i in range(0, 64, 16))


def test_tweak_changes_the_result(cipher: NameCipher) -> None:
    assert cipher.encrypt(TWEAK, message(16)) != cipher.encrypt(TWEAK[::-1], message(16))


@pytest.mark.parametrize("size", [0, 1, 15, 17, 31, 2049, 2064])
def test_message_of_wrong_size_raises(cipher: NameCipher, size: int) -> None:
    for call in (cipher.encrypt, cipher.decrypt):
        with pytest.raises(ValueError):
            call(TWEAK, bytes(size))
    for call_many in (cipher.encrypt_many, cipher.decrypt_many):
        with pytest.raises(ValueError):
            call_many(TWEAK, [message(16), bytes(size), message(32)])


def test_sizes_that_only_add_up_raise(cipher: NameCipher) -> None:
    with pytest.raises(ValueError):
        cipher.encrypt_many(TWEAK, [bytes(8), bytes(24)])


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_tweak_of_wrong_size_raises(cipher: NameCipher, size: int) -> None:
    with pytest.raises(ValueError, match="tweak"):
        cipher.encrypt(bytes(size), message(16))


@pytest.mark.parametrize("size", [16, 31, 33, 64])
def test_key_of_wrong_size_raises(engine: Engine, size: int) -> None:
    with pytest.raises(ValueError, match="takes a key of"):
        name_cipher(Secret(size), engine=engine)


def test_closed_cipher_raises(cipher: NameCipher) -> None:
    cipher.close()
    cipher.close()
    with pytest.raises(ValueError, match="closed"):
        cipher.encrypt(TWEAK, message(16))
    with pytest.raises(ValueError, match="closed"):
        cipher.decrypt_many(TWEAK, [message(16)])


@given(
    key=st.binary(min_size=32, max_size=32),
    tweak=st.binary(min_size=16, max_size=16),
    sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=5),
    rng=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_engines_agree(key: bytes, tweak: bytes, sizes: list[int], rng: random.Random) -> None:
    secret = Secret.from_bytes(key)
    native, reference = name_cipher(secret), name_cipher(secret, engine="reference")
    names = [rng.randbytes(size) for size in sizes]
    assert native.encrypt_many(tweak, names) == reference.encrypt_many(tweak, names)
    assert native.decrypt_many(tweak, names) == reference.decrypt_many(tweak, names)
