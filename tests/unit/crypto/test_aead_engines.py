"""All engines make the same bytes and refuse the same ones."""

from __future__ import annotations

from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from pcvfs.crypto.aead import CipherKind, ContentCipher, Engine, content_cipher
from pcvfs.crypto.secret import Secret
from pcvfs.errors import AuthenticationError
from tests.unit.crypto.samples import FILE_ID, pattern, seal

SIZES = st.one_of(st.integers(0, 200), st.integers(4000, 4200), st.integers(0, 3 * 4096 + 100))


@given(size=SIZES, first_block_no=st.integers(0, 1 << 40), data=st.data())
@settings(max_examples=60, deadline=None)
def test_engines_agree_on_every_byte(size: int, first_block_no: int, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(CipherKind))
    count = -(-size // 4096)
    plaintext = data.draw(st.randoms(use_true_random=False)).randbytes(size)
    file_id = data.draw(st.binary(min_size=16, max_size=16))
    nonces = b"".join(
        data.draw(st.binary(min_size=kind.nonce_size, max_size=kind.nonce_size).filter(any)) for _ in range(count)
    )
    key = Secret.from_bytes(data.draw(st.binary(min_size=kind.key_size, max_size=kind.key_size)))
    native, libcrypto, reference = (content_cipher(kind, key, engine=engine) for engine in get_args(Engine))
    stored = native.seal_blocks(plaintext, first_block_no, file_id, nonces)
    assert stored == libcrypto.seal_blocks(plaintext, first_block_no, file_id, nonces)
    assert stored == reference.seal_blocks(plaintext, first_block_no, file_id, nonces)
    assert native.open_blocks(stored, first_block_no, file_id) == plaintext
    assert libcrypto.open_blocks(stored, first_block_no, file_id) == plaintext
    assert reference.open_blocks(stored, first_block_no, file_id) == plaintext
    if plaintext:
        blob = native.seal_blob(plaintext, nonces[: kind.nonce_size])
        assert blob == reference.seal_blob(plaintext, nonces[: kind.nonce_size])
        assert native.open_blob(blob) == reference.open_blob(blob) == plaintext


def opened(cipher: ContentCipher, ciphertext: bytes) -> bytes | int | None:
    """The plaintext, or the bad block."""
    try:
        return cipher.open_blocks(ciphertext, 5, FILE_ID)
    except AuthenticationError as exc:
        return exc.block_no


@given(kind=st.sampled_from(CipherKind), data=st.data())
@settings(max_examples=60, deadline=None)
def test_engines_agree_on_damaged_runs(kind: CipherKind, data: st.DataObject) -> None:
    key = Secret.from_bytes(bytes(range(kind.key_size)))
    native, libcrypto, reference = (content_cipher(kind, key, engine=engine) for engine in get_args(Engine))
    stored = bytearray(seal(native, pattern(data.draw(st.integers(1, 3 * 4096)))))
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(stored)))
        length = data.draw(st.sampled_from([1, 16, 40, 4128, 4136]))
        stored[start : start + length] = data.draw(st.sampled_from([b"", bytes(length), b"\x01" * length]))
    assert opened(native, bytes(stored)) == opened(libcrypto, bytes(stored)) == opened(reference, bytes(stored))
