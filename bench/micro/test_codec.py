"""The codec on one CPU, no file involved: content by cipher, engine and length of the run; names by engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import pytest

from bench.micro.conftest import Meter
from pcvfs.crypto.aead import CipherKind, ContentCipher, Engine, content_cipher
from pcvfs.crypto.eme import NameCipher, name_cipher
from pcvfs.crypto.secret import Secret
from pcvfs.spec import BLOCK_SIZE

_ENGINES: Final[tuple[Engine, ...]] = ("native", "libcrypto", "reference")
_BLOCKS: Final = (1, 4, 32, 256)  # a page, a small file, the classic request of the kernel, the largest
_FILE_ID: Final = bytes(range(1, 17))
_KEY_SIZE: Final = 32
_NAMES: Final = 100  # of a directory
_PADDED_SIZES: Final = (16, 48)  # of a short and of a longer name


@pytest.fixture(params=list(CipherKind), ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> CipherKind:
    assert isinstance(request.param, CipherKind)
    return request.param


@pytest.fixture(params=_ENGINES)
def cipher(request: pytest.FixtureRequest, kind: CipherKind) -> Iterator[ContentCipher]:
    with Secret.random(kind.key_size) as key:
        cipher = content_cipher(kind, key, engine=request.param)
    yield cipher
    cipher.close()


@pytest.fixture(params=_ENGINES)
def names(request: pytest.FixtureRequest) -> Iterator[NameCipher]:
    with Secret.random(_KEY_SIZE) as key:
        cipher = name_cipher(key, engine=request.param)
    yield cipher
    cipher.close()


@pytest.mark.parametrize("blocks", _BLOCKS)
def test_seal(meter: Meter, cipher: ContentCipher, blocks: int) -> None:
    plaintext = os.urandom(blocks * BLOCK_SIZE)
    meter.measure(lambda: cipher.seal_blocks(plaintext, 0, _FILE_ID), amount=len(plaintext) / 1e9, unit="GB")


@pytest.mark.parametrize("blocks", _BLOCKS)
def test_open(meter: Meter, cipher: ContentCipher, blocks: int) -> None:
    plaintext = os.urandom(blocks * BLOCK_SIZE)
    sealed = cipher.seal_blocks(plaintext, 0, _FILE_ID)
    assert cipher.open_blocks(sealed, 0, _FILE_ID) == plaintext
    meter.measure(lambda: cipher.open_blocks(sealed, 0, _FILE_ID), amount=len(plaintext) / 1e9, unit="GB")


@pytest.mark.parametrize("size", _PADDED_SIZES)
def test_encrypt_one_name(meter: Meter, names: NameCipher, size: int) -> None:
    tweak, padded = os.urandom(16), os.urandom(size)
    meter.measure(lambda: names.encrypt(tweak, padded), amount=1, unit="names")


@pytest.mark.parametrize("size", _PADDED_SIZES)
def test_decrypt_directory(meter: Meter, names: NameCipher, size: int) -> None:
    tweak = os.urandom(16)
    encrypted = names.encrypt_many(tweak, [os.urandom(size) for _ in range(_NAMES)])
    meter.measure(lambda: names.decrypt_many(tweak, encrypted), amount=_NAMES, unit="names")
