"""One cipher used by many threads at once: more than it keeps contexts for, and while it is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pcvfs.crypto import kdf
from pcvfs.crypto.aead import CipherKind, content_cipher
from pcvfs.crypto.eme import name_cipher
from pcvfs.crypto.secret import Secret
from pcvfs.errors import AuthenticationError

THREADS = 24  # PCV_POOL_IDLE_MAX is 16
ROUNDS = 25
FILE_ID = bytes(range(16))


def run_at_once(work: Callable[[int], None]) -> None:
    """Run work(0), work(1), ... in as many threads that start together; re-raise what one raises."""
    barrier = threading.Barrier(THREADS)

    def start(number: int) -> None:
        barrier.wait(timeout=30)
        work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(start, number) for number in range(THREADS)]:
            future.result()


@pytest.mark.parametrize("kind", CipherKind)
def test_content_cipher_in_many_threads_gives_the_right_bytes(kind: CipherKind) -> None:
    key = Secret.random(kind.key_size)
    cipher = content_cipher(kind, key)
    reference = content_cipher(kind, key, engine="reference")
    plain = [bytes([number]) * (4096 * (number % 4) + 1 + number) for number in range(THREADS)]
    nonces = [(number + 1).to_bytes(kind.nonce_size, "big") * (number % 4 + 1) for number in range(THREADS)]
    stored = [reference.seal_blocks(plain[n], n, FILE_ID, nonces[n]) for n in range(THREADS)]

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            assert cipher.seal_blocks(plain[number], number, FILE_ID, nonces[number]) == stored[number]
            assert cipher.open_blocks(stored[number], number, FILE_ID) == plain[number]
            with pytest.raises(AuthenticationError):
                cipher.open_blocks(stored[number], number + 1, FILE_ID)

    run_at_once(work)


def test_name_cipher_in_many_threads_gives_the_right_bytes() -> None:
    key = Secret.random(32)
    cipher, reference = name_cipher(key), name_cipher(key, engine="reference")
    names = [[bytes([number]) * 16 * (1 + i) for i in range(5)] for number in range(THREADS)]
    tweaks = [bytes([number]) * 16 for number in range(THREADS)]
    encrypted = [reference.encrypt_many(tweaks[n], names[n]) for n in range(THREADS)]

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            assert cipher.encrypt_many(tweaks[number], names[number]) == encrypted[number]
            assert cipher.decrypt_many(tweaks[number], encrypted[number]) == names[number]

    run_at_once(work)


@pytest.mark.parametrize("kind", CipherKind)
def test_close_while_threads_work_ends_them_without_a_wrong_byte(kind: CipherKind) -> None:
    key = Secret.random(kind.key_size)
    cipher = content_cipher(kind, key)
    plaintext, nonces = bytes(5 * 4096), b"\x01" * kind.nonce_size * 5
    expected = content_cipher(kind, key).seal_blocks(plaintext, 0, FILE_ID, nonces)
    is_working = threading.Semaphore(0)

    def work(number: int) -> None:
        if number == 0:
            for _ in range(THREADS):
                is_working.acquire(timeout=30)
            cipher.close()
            return
        is_first = True
        while True:
            try:
                assert cipher.seal_blocks(plaintext, 0, FILE_ID, nonces) == expected
            except ValueError as exc:
                assert "closed" in str(exc)
                return
            if is_first:
                is_working.release()
                is_first = False

    is_working.release()  # for the closing thread itself
    run_at_once(work)


def test_scrypt_in_two_threads_gives_the_right_bytes() -> None:
    expected = [kdf.scrypt(b"pw%d" % number, b"salt", 1024, 8, 1) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        derived = list(pool.map(lambda number: kdf.scrypt(b"pw%d" % number, b"salt", 1024, 8, 1), range(2)))
    assert derived == expected
