"""Key derivation against published vectors and independent implementations."""

from __future__ import annotations

import hashlib
import sys
import threading

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from pcvfs.crypto import kdf
from pcvfs.crypto.secret import Secret


@pytest.mark.parametrize(
    ("password", "salt", "n", "r", "p", "expected"),
    [
        (b"", b"", 16, 1, 1, "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"),
        (b"password", b"NaCl", 1024, 8, 16, "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"),
    ],
)
def test_scrypt_rfc7914_vectors_match(password: bytes, salt: bytes, n: int, r: int, p: int, expected: str) -> None:
    # The RFC prints 64 bytes; the first 32 do not depend on how many are asked for.
    assert kdf.scrypt(password, salt, n, r, p).view() == bytes.fromhex(expected)


@given(
    password=st.binary(max_size=100),
    salt=st.binary(max_size=40),
    log_n=st.integers(1, 8),
    r=st.integers(1, 9),
    p=st.integers(1, 3),
)
@settings(max_examples=50)
def test_scrypt_equals_hashlib(password: bytes, salt: bytes, log_n: int, r: int, p: int) -> None:
    n = min(1 << log_n, 1 << (16 * r - 1))  # RFC 7914: n < 2**(128 * r / 8)
    expected = hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=1 << 28, dklen=32)
    assert kdf.scrypt(password, salt, n, r, p).view() == expected


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=lambda make: make.__name__)
def test_scrypt_any_buffer_gives_the_same_key(make: type) -> None:
    assert kdf.scrypt(make(b"pw"), b"salt", 16, 8, 1) == kdf.scrypt(b"pw", b"salt", 16, 8, 1)


@pytest.mark.parametrize(
    ("n", "r", "p"),
    [
        (0, 8, 1),
        (1, 8, 1),
        (1000, 8, 1),
        (-1024, 8, 1),
        (1 << 64, 8, 1),
        (1 << 63, 8, 1),
        (1024, 0, 1),
        (1024, -8, 1),
        (1024, 1 << 32, 1),
        (1024, 8, 0),
        (1024, 8, 1 << 64),
        (1024, 8, 1 << 30),
        (1 << 16, 1, 1),
    ],
)
def test_scrypt_out_of_range_raises(n: int, r: int, p: int) -> None:
    with pytest.raises(ValueError, match="scrypt"):
        kdf.scrypt(b"pw", b"salt", n, r, p)


def test_scrypt_without_enough_memory_raises() -> None:
    with pytest.raises(MemoryError, match="scrypt"):
        kdf.scrypt(b"pw", b"salt", 1 << 40, 8, 1)  # 1 PiB


def test_scrypt_releases_the_gil() -> None:
    turns = 0
    is_done = threading.Event()

    def derive() -> None:
        kdf.scrypt(b"pw", b"salt", 1 << 16, 8, 1)
        is_done.set()

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=derive)
    sys.setswitchinterval(30)  # so that a thread which keeps the GIL is not made to give way
    try:
        thread.start()
        while not is_done.wait(0.001):
            turns += 1
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert turns > 3  # the derivation takes 100 ms or more


def test_hkdf_rfc5869_case_without_salt_and_info_matches() -> None:
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert kdf.hkdf_sha256(Secret.from_bytes(b"\x0b" * 22), b"", 42).view() == bytes.fromhex(expected)


@given(ikm=st.binary(min_size=1, max_size=100), info=st.binary(max_size=100), length=st.integers(1, 255 * 32))
@settings(max_examples=50)
def test_hkdf_equals_cryptography(ikm: bytes, info: bytes, length: int) -> None:
    expected = HKDF(hashes.SHA256(), length, salt=None, info=info).derive(ikm)
    assert kdf.hkdf_sha256(Secret.from_bytes(ikm), info, length).view() == expected


@pytest.mark.parametrize("length", [-1, 0, 255 * 32 + 1])
def test_hkdf_length_out_of_range_raises(length: int) -> None:
    with pytest.raises(ValueError, match=r"hkdf|at least one byte"):
        kdf.hkdf_sha256(Secret(32), b"info", length)


@given(data=st.binary(min_size=1, max_size=300))
@settings(max_examples=50)
def test_sha512_equals_hashlib(data: bytes) -> None:
    assert kdf.sha512(Secret.from_bytes(data)).view() == hashlib.sha512(data).digest()


def test_derivation_from_a_wiped_secret_raises() -> None:
    secret = Secret(32)
    secret.wipe()
    with pytest.raises(ValueError, match="wiped"):
        kdf.hkdf_sha256(secret, b"info", 32)
    with pytest.raises(ValueError, match="wiped"):
        kdf.sha512(secret)
