"""ContentCipher: the rules of blocks and blobs, for every cipher and both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pcvfs.crypto.aead import CipherKind, ContentCipher, Engine, content_cipher
from pcvfs.crypto.secret import Secret
from pcvfs.errors import AuthenticationError
from tests.unit.crypto.samples import BLOCK_NO_MAX, FILE_ID, nonces_for, pattern, seal, stored_block_size

# --- blocks: what comes back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 15, 16, 17, 4095, 4096, 4097, 8192, 3 * 4096 + 1])
def test_open_blocks_returns_what_was_sealed(cipher: ContentCipher, size: int) -> None:
    stored = seal(cipher, pattern(size))
    assert len(stored) == size + -(-size // 4096) * cipher.kind.overhead
    assert cipher.open_blocks(stored, 5, FILE_ID) == pattern(size)


def test_empty_run_stays_empty(cipher: ContentCipher) -> None:
    assert cipher.seal_blocks(b"", 0, FILE_ID, b"") == b""
    assert cipher.seal_blocks(b"", 0, FILE_ID) == b""
    assert cipher.open_blocks(b"", 0, FILE_ID) == b""


def test_run_equals_its_blocks_sealed_one_by_one(cipher: ContentCipher) -> None:
    plaintext, size = pattern(3 * 4096 + 100), cipher.kind.nonce_size
    nonces = nonces_for(cipher.kind, 4)
    one_by_one = b"".join(
        cipher.seal_blocks(plaintext[i * 4096 : (i + 1) * 4096], 5 + i, FILE_ID, nonces[i * size : (i + 1) * size])
        for i in range(4)
    )
    assert cipher.seal_blocks(plaintext, 5, FILE_ID, nonces) == one_by_one


def test_stored_block_starts_with_its_nonce(cipher: ContentCipher) -> None:
    nonce = pattern(cipher.kind.nonce_size)
    assert cipher.seal_blocks(b"x", 0, FILE_ID, nonce).startswith(nonce)


def test_last_block_number_is_usable(cipher: ContentCipher) -> None:
    stored = seal(cipher, b"end", BLOCK_NO_MAX)
    assert cipher.open_blocks(stored, BLOCK_NO_MAX, FILE_ID) == b"end"


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview], ids=lambda make: make.__name__)
def test_any_buffer_is_taken(cipher: ContentCipher, make: Callable[[bytes], bytes]) -> None:
    plaintext = pattern(5000)
    stored = seal(cipher, plaintext)
    assert cipher.seal_blocks(make(plaintext), 5, FILE_ID, make(nonces_for(cipher.kind, 2))) == stored
    assert cipher.open_blocks(make(stored), 5, FILE_ID) == plaintext


def test_buffer_of_wide_items_counts_in_bytes(cipher: ContentCipher) -> None:
    plaintext = pattern(4096 + 8)
    assert cipher.seal_blocks(memoryview(plaintext).cast("Q"), 5, FILE_ID, nonces_for(cipher.kind, 2)) == seal(
        cipher, plaintext
    )


def test_opening_one_byte_leaves_shared_objects_alone(cipher: ContentCipher) -> None:
    assert cipher.open_blocks(seal(cipher, b"A"), 5, FILE_ID) == b"A"
    assert bytes(1) == b"\0"
    assert bytes([0]) == b"\0"


# --- blocks: random nonces ------------------------------------------------------------------------------------


def test_random_nonces_never_repeat_in_a_run(kind: CipherKind, engine: Engine) -> None:
    cipher = content_cipher(kind, Secret.random(kind.key_size), engine=engine)
    count = 600  # more than two of the batches that C fetches
    plaintext = bytes(count * 4096)
    stored = cipher.seal_blocks(plaintext, 0, FILE_ID)
    step = stored_block_size(kind)
    nonces = {stored[start : start + kind.nonce_size] for start in range(0, len(stored), step)}
    assert len(nonces) == count
    assert cipher.open_blocks(stored, 0, FILE_ID) == plaintext


def test_random_nonces_differ_between_calls(cipher: ContentCipher) -> None:
    assert len({cipher.seal_blocks(b"same", 0, FILE_ID) for _ in range(20)}) == 20


# --- blocks: into the caller's buffer -------------------------------------------------------------------------


def test_into_variants_write_the_same_and_no_more(cipher: ContentCipher) -> None:
    plaintext = pattern(2 * 4096 + 77)
    nonces = nonces_for(cipher.kind, 3)
    stored = cipher.seal_blocks(plaintext, 5, FILE_ID, nonces)
    out = bytearray(b"\xee" * (len(stored) + 50))
    assert cipher.seal_blocks_into(plaintext, 5, FILE_ID, nonces, memoryview(out)[10:-10]) == len(stored)
    assert out == b"\xee" * 10 + stored + b"\xee" * 40
    back = bytearray(b"\xee" * (len(plaintext) + 50))
    assert cipher.open_blocks_into(stored, 5, FILE_ID, memoryview(back)[10:-10]) == len(plaintext)
    assert back == b"\xee" * 10 + plaintext + b"\xee" * 40


def test_into_variant_with_an_exact_buffer_works(cipher: ContentCipher) -> None:
    stored = seal(cipher, pattern(5000))
    out = bytearray(len(stored))
    assert cipher.seal_blocks_into(pattern(5000), 5, FILE_ID, nonces_for(cipher.kind, 2), out) == len(out)
    assert out == stored


@pytest.mark.parametrize("missing", [1, 16, 4096])
def test_into_variant_with_a_small_buffer_raises(cipher: ContentCipher, missing: int) -> None:
    stored = seal(cipher, pattern(5000))
    with pytest.raises(ValueError):
        cipher.seal_blocks_into(pattern(5000), 5, FILE_ID, None, bytearray(len(stored) - missing))
    with pytest.raises(ValueError):
        cipher.open_blocks_into(stored, 5, FILE_ID, bytearray(5000 - missing))


def test_into_variant_after_a_bad_tag_leaves_no_plaintext(cipher: ContentCipher) -> None:
    plaintext = pattern(3 * 4096)
    stored = bytearray(seal(cipher, plaintext))
    stored[-1] ^= 1
    out = bytearray(3 * 4096)
    with pytest.raises(AuthenticationError):
        cipher.open_blocks_into(stored, 5, FILE_ID, out)
    assert out == bytes(3 * 4096)


# --- blocks: what must not open -------------------------------------------------------------------------------


def test_every_changed_byte_is_refused(cipher: ContentCipher) -> None:
    stored = bytearray(seal(cipher, pattern(50)))
    for i in range(len(stored)):
        for bit in (0x01, 0x80):
            stored[i] ^= bit
            with pytest.raises(AuthenticationError) as caught:
                cipher.open_blocks(stored, 5, FILE_ID)
            assert caught.value.block_no == 5
            stored[i] ^= bit
    assert cipher.open_blocks(stored, 5, FILE_ID) == pattern(50)


@pytest.mark.parametrize("bad", [0, 1, 2, 3])
def test_first_bad_block_of_a_run_is_named(cipher: ContentCipher, bad: int) -> None:
    stored = bytearray(seal(cipher, pattern(3 * 4096 + 10)))
    for block in {bad, 3}:
        stored[block * stored_block_size(cipher.kind) + cipher.kind.nonce_size] ^= 0x10
    with pytest.raises(AuthenticationError) as caught:
        cipher.open_blocks(stored, 5, FILE_ID)
    assert caught.value.block_no == 5 + bad


def test_block_in_another_place_is_refused(cipher: ContentCipher) -> None:
    stored = seal(cipher, pattern(2 * 4096))
    step = stored_block_size(cipher.kind)
    swapped = stored[step:] + stored[:step]
    other_file = FILE_ID[:-1] + bytes([FILE_ID[-1] ^ 1])
    for ciphertext, block_no, file_id in [(swapped, 5, FILE_ID), (stored, 6, FILE_ID), (stored, 5, other_file)]:
        with pytest.raises(AuthenticationError):
            cipher.open_blocks(ciphertext, block_no, file_id)


def test_block_under_another_key_is_refused(kind: CipherKind, engine: Engine, cipher: ContentCipher) -> None:
    with pytest.raises(AuthenticationError):
        content_cipher(kind, Secret(kind.key_size), engine=engine).open_blocks(seal(cipher, b"x"), 5, FILE_ID)


def test_shortened_block_is_refused(cipher: ContentCipher) -> None:
    stored = seal(cipher, pattern(100))
    for size in range(1, len(stored)):
        with pytest.raises(AuthenticationError):
            cipher.open_blocks(stored[:size], 5, FILE_ID)


def test_run_with_a_rest_too_short_for_a_byte_is_refused(cipher: ContentCipher) -> None:
    stored = seal(cipher, pattern(4096))
    for rest in (1, cipher.kind.nonce_size, cipher.kind.overhead):
        with pytest.raises(AuthenticationError) as caught:
            cipher.open_blocks(stored + b"\x01" * rest, 5, FILE_ID)
        assert caught.value.block_no == 6


# --- blocks: holes --------------------------------------------------------------------------------------------


def test_zero_block_is_a_hole(cipher: ContentCipher) -> None:
    hole = bytes(stored_block_size(cipher.kind))
    assert cipher.open_blocks(hole, 0, FILE_ID) == bytes(4096)
    assert cipher.open_blocks(hole * 3, 7, bytes(16)) == bytes(3 * 4096)


def test_hole_between_blocks_becomes_zeros(cipher: ContentCipher) -> None:
    step = stored_block_size(cipher.kind)
    stored = seal(cipher, pattern(3 * 4096))
    holed = stored[:step] + bytes(step) + stored[2 * step :]
    out = bytearray(b"\xee" * 3 * 4096)
    cipher.open_blocks_into(holed, 5, FILE_ID, out)
    assert out == pattern(3 * 4096)[:4096] + bytes(4096) + pattern(3 * 4096)[8192:]


def test_short_zero_block_is_refused(cipher: ContentCipher) -> None:
    step = stored_block_size(cipher.kind)
    for size in (1, cipher.kind.nonce_size, cipher.kind.overhead, cipher.kind.overhead + 1, step - 1):
        with pytest.raises(AuthenticationError) as caught:
            cipher.open_blocks(bytes(step + size), 5, FILE_ID)
        assert caught.value.block_no == 6


def test_almost_zero_block_is_refused(cipher: ContentCipher) -> None:
    step = stored_block_size(cipher.kind)
    for i in (0, 1, cipher.kind.nonce_size - 1, cipher.kind.nonce_size, step // 2, step - 1):
        stored = bytearray(step)
        stored[i] = 1
        with pytest.raises(AuthenticationError):
            cipher.open_blocks(stored, 5, FILE_ID)


def test_zero_nonce_is_refused_both_ways(cipher: ContentCipher) -> None:
    zero = bytes(cipher.kind.nonce_size)
    good = nonces_for(cipher.kind, 1)
    with pytest.raises(ValueError):
        cipher.seal_blocks(pattern(5000), 0, FILE_ID, good + zero)
    with pytest.raises(ValueError):
        cipher.seal_blob(b"x", zero)
    stored = seal(cipher, b"x")
    with pytest.raises(AuthenticationError):
        cipher.open_blocks(zero + stored[len(zero) :], 5, FILE_ID)


# --- blocks: wrong arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 15, 17])
def test_file_id_of_wrong_size_raises(cipher: ContentCipher, size: int) -> None:
    with pytest.raises(ValueError, match="file_id"):
        cipher.seal_blocks(b"x", 0, bytes(size))
    with pytest.raises(ValueError, match="file_id"):
        cipher.open_blocks(b"x", 0, bytes(size))


@pytest.mark.parametrize("count_off", [-1, 1])
def test_nonces_of_wrong_size_raise(cipher: ContentCipher, count_off: int) -> None:
    nonces = nonces_for(cipher.kind, 3)
    for wrong in (nonces[: (2 + count_off) * cipher.kind.nonce_size], nonces[: 2 * cipher.kind.nonce_size + count_off]):
        with pytest.raises(ValueError):
            cipher.seal_blocks(pattern(5000), 0, FILE_ID, wrong)


@pytest.mark.parametrize(("block_no", "size"), [(-1, 1), (BLOCK_NO_MAX + 1, 1), (BLOCK_NO_MAX, 4097)])
def test_block_number_beyond_64_bits_raises(cipher: ContentCipher, block_no: int, size: int) -> None:
    with pytest.raises(ValueError):
        cipher.seal_blocks(pattern(size), block_no, FILE_ID)
    with pytest.raises(ValueError):
        cipher.open_blocks(bytes(size + 2 * cipher.kind.overhead), block_no, FILE_ID)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 65])
def test_key_of_wrong_size_raises(kind: CipherKind, engine: Engine, size: int) -> None:
    key = Secret(max(size, 1))
    with pytest.raises(ValueError, match="takes a key of"):
        content_cipher(kind, key, engine=engine)


def test_key_may_be_wiped_after_the_cipher_is_made(kind: CipherKind, engine: Engine) -> None:
    key = Secret.random(kind.key_size)
    copy = Secret.from_bytes(key.view())
    cipher = content_cipher(kind, key, engine=engine)
    key.wipe()
    assert seal(cipher, b"x") == seal(content_cipher(kind, copy, engine=engine), b"x")


def test_closed_cipher_raises(cipher: ContentCipher) -> None:
    stored, blob = seal(cipher, b"x"), cipher.seal_blob(b"x", nonces_for(cipher.kind, 1))
    cipher.close()
    cipher.close()
    with pytest.raises(ValueError, match="closed"):
        seal(cipher, b"x")
    with pytest.raises(ValueError, match="closed"):
        cipher.open_blocks(stored, 5, FILE_ID)
    with pytest.raises(ValueError, match="closed"):
        cipher.seal_blob(b"x", nonces_for(cipher.kind, 1))
    with pytest.raises(ValueError, match="closed"):
        cipher.open_blob(blob)


# --- blobs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 15, 16, 17, 4096, 4097, 65536])
def test_open_blob_returns_what_was_sealed(cipher: ContentCipher, size: int) -> None:
    stored = cipher.seal_blob(pattern(size), nonces_for(cipher.kind, 1))
    assert len(stored) == size + cipher.kind.overhead
    assert cipher.open_blob(stored) == pattern(size)


def test_empty_blob_stays_empty(cipher: ContentCipher) -> None:
    assert cipher.seal_blob(b"", nonces_for(cipher.kind, 1)) == b""
    assert cipher.open_blob(b"") == b""


def test_every_changed_byte_of_a_blob_is_refused(cipher: ContentCipher) -> None:
    stored = bytearray(cipher.seal_blob(b"target", nonces_for(cipher.kind, 1)))
    for i in range(len(stored)):
        stored[i] ^= 0x40
        with pytest.raises(AuthenticationError) as caught:
            cipher.open_blob(bytes(stored))
        assert caught.value.block_no is None
        stored[i] ^= 0x40


def test_short_blob_is_refused(cipher: ContentCipher) -> None:
    stored = cipher.seal_blob(b"target", nonces_for(cipher.kind, 1))
    for size in range(1, len(stored)):
        with pytest.raises(AuthenticationError):
            cipher.open_blob(stored[:size])


def test_zero_blob_is_no_hole(cipher: ContentCipher) -> None:
    with pytest.raises(AuthenticationError):
        cipher.open_blob(bytes(stored_block_size(cipher.kind)))


def test_blob_and_block_are_not_interchangeable(cipher: ContentCipher) -> None:
    nonce = nonces_for(cipher.kind, 1)
    with pytest.raises(AuthenticationError):
        cipher.open_blocks(cipher.seal_blob(b"data", nonce), 0, bytes(16))
    with pytest.raises(AuthenticationError):
        cipher.open_blob(cipher.seal_blocks(b"data", 0, bytes(16), nonce))


@pytest.mark.parametrize("size_off", [-1, 1])
def test_blob_nonce_of_wrong_size_raises(cipher: ContentCipher, size_off: int) -> None:
    with pytest.raises(ValueError):
        cipher.seal_blob(b"x", b"\x01" * (cipher.kind.nonce_size + size_off))
