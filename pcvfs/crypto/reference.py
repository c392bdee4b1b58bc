"""The reference engine: the same bytes as the C code, from the ``cryptography`` package, one block at a time.

It is the oracle of the tests and a way to work without trust in our C. It is slow, and its keys lie on the Python
heap and inside ``cryptography``, where nothing can wipe them; ``close`` only drops them.

Threads: as the native engine; no method changes shared state, but ``close``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final, assert_never

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV, ChaCha20Poly1305

from pcvfs import spec
from pcvfs.crypto.cipher_kind import CipherKind
from pcvfs.crypto.secret import Secret
from pcvfs.errors import AuthenticationError
from pcvfs.native import Buffer, WritableBuffer

_BLOCK_NO_MAX: Final = (1 << 64) - 1

Seal = Callable[[bytes, bytes, bytes], bytes]  # (nonce, plaintext, aad) -> all that is stored after the nonce
Open = Callable[[bytes, bytes, bytes], bytes]  # the reverse; InvalidTag


# --- message ciphers ------------------------------------------------------------------------------------------


def _gcm(key: bytes) -> tuple[Seal, Open]:
    aead = AESGCM(key)
    return aead.encrypt, aead.decrypt


def _siv(key: bytes) -> tuple[Seal, Open]:
    aead = AESSIV(key)  # puts the tag in front by itself

    def seal(nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        return aead.encrypt(plaintext, [aad, nonce])

    def open_(nonce: bytes, body: bytes, aad: bytes) -> bytes:
        return aead.decrypt(body, [aad, nonce])

    return seal, open_


def hchacha20(key: bytes, block: bytes) -> bytes:
    """HChaCha20 of a 32-byte key and a 16-byte input, from ChaCha20: its first block without the added state.

    Source: draft-irtf-cfrg-xchacha-03 section 2.2; why the subtraction works is told in native/pcv_aead_xchacha.c.
    """
    keystream = Cipher(algorithms.ChaCha20(key, block), mode=None).encryptor().update(bytes(64))
    mixed = keystream[:16] + keystream[48:]
    state = b"expand 32-byte k" + block
    words = (
        (int.from_bytes(mixed[i : i + 4], "little") - int.from_bytes(state[i : i + 4], "little")) % (1 << 32)
        for i in range(0, 32, 4)
    )
    return b"".join(word.to_bytes(4, "little") for word in words)


def _xchacha(key: bytes) -> tuple[Seal, Open]:
    def aead_and_nonce(nonce: bytes) -> tuple[ChaCha20Poly1305, bytes]:
        return ChaCha20Poly1305(hchacha20(key, nonce[:16])), bytes(4) + nonce[16:]

    def seal(nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        aead, short_nonce = aead_and_nonce(nonce)
        return aead.encrypt(short_nonce, plaintext, aad)

    def open_(nonce: bytes, body: bytes, aad: bytes) -> bytes:
        aead, short_nonce = aead_and_nonce(nonce)
        return aead.decrypt(short_nonce, body, aad)

    return seal, open_


def _message_cipher(kind: CipherKind, key: bytes) -> tuple[Seal, Open]:
    match kind:
        case CipherKind.AES_GCM:
            return _gcm(key)
        case CipherKind.AES_SIV:
            return _siv(key)
        case CipherKind.XCHACHA20_POLY1305:
            return _xchacha(key)
        case _:
            assert_never(kind)


# --- content --------------------------------------------------------------------------------------------------


class ReferenceCipher:
    """``aead.ContentCipher`` on top of ``cryptography``."""

    def __init__(self, kind: CipherKind, content_key: Secret) -> None:
        self.kind: Final = kind
        self._cipher: tuple[Seal, Open] | None = _message_cipher(kind, bytes(content_key.view()))

    def seal_blocks(
        self, plaintext: Buffer, first_block_no: int, file_id: bytes, nonces: Buffer | None = None
    ) -> bytes:
        blocks = list(_split(_to_bytes(plaintext), spec.BLOCK_SIZE))
        _check_run(first_block_no, len(blocks), file_id)
        nonce_size = self.kind.nonce_size
        run = os.urandom(len(blocks) * nonce_size) if nonces is None else _to_bytes(nonces)
        if len(run) != len(blocks) * nonce_size:
            raise ValueError(f"{len(blocks)} blocks take {len(blocks) * nonce_size} bytes of nonces, not {len(run)}")
        block_nonces = list(_split(run, nonce_size))
        for nonce in block_nonces:
            self._check_nonce(nonce)
        return b"".join(
            self._seal(nonce, block, _block_aad(block_no, file_id))
            for block_no, (nonce, block) in enumerate(zip(block_nonces, blocks, strict=True), first_block_no)
        )

    def seal_blocks_into(
        self, plaintext: Buffer, first_block_no: int, file_id: bytes, nonces: Buffer | None, out: WritableBuffer
    ) -> int:
        return _store(self.seal_blocks(plaintext, first_block_no, file_id, nonces), out)

    def open_blocks(self, ciphertext: Buffer, first_block_no: int, file_id: bytes) -> bytes:
        full_size = spec.BLOCK_SIZE + self.kind.overhead
        stored_blocks = list(_split(_to_bytes(ciphertext), full_size))
        _check_run(first_block_no, len(stored_blocks), file_id)
        plaintext = bytearray()
        for block_no, stored in enumerate(stored_blocks, first_block_no):
            if stored == bytes(full_size):
                plaintext += bytes(spec.BLOCK_SIZE)
                continue
            try:
                plaintext += self._open(stored, _block_aad(block_no, file_id))
            except InvalidTag as exc:
                raise AuthenticationError(f"block {block_no} failed authentication", block_no=block_no) from exc
        return bytes(plaintext)

    def open_blocks_into(self, ciphertext: Buffer, first_block_no: int, file_id: bytes, out: WritableBuffer) -> int:
        return _store(self.open_blocks(ciphertext, first_block_no, file_id), out)

    def seal_blob(self, plaintext: Buffer, nonce: bytes) -> bytes:
        if not _to_bytes(plaintext):
            return b""
        self._check_nonce(nonce)
        return self._seal(nonce, _to_bytes(plaintext), spec.BLOB_AAD)

    def open_blob(self, ciphertext: Buffer) -> bytes:
        if not _to_bytes(ciphertext):
            return b""
        try:
            return self._open(_to_bytes(ciphertext), spec.BLOB_AAD)
        except InvalidTag as exc:
            raise AuthenticationError("open_blob: authentication failed") from exc

    def close(self) -> None:
        self._cipher = None

    def _message_functions(self) -> tuple[Seal, Open]:
        if self._cipher is None:
            raise ValueError("the cipher is closed")
        return self._cipher

    def _check_nonce(self, nonce: bytes) -> None:
        if len(nonce) != self.kind.nonce_size:
            raise ValueError(f"a nonce is {self.kind.nonce_size} bytes, not {len(nonce)}")
        if not any(nonce):
            raise ValueError("an all-zero nonce can't be read back")

    def _seal(self, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
        seal, _ = self._message_functions()
        return nonce + seal(nonce, plaintext, aad)

    def _open(self, stored: bytes, aad: bytes) -> bytes:
        """Raises InvalidTag also for what can't be a stored message."""
        _, open_ = self._message_functions()
        nonce, body = stored[: self.kind.nonce_size], stored[self.kind.nonce_size :]
        if len(body) <= spec.TAG_SIZE or not any(nonce):
            raise InvalidTag
        return open_(nonce, body, aad)


def _to_bytes(data: Buffer) -> bytes:
    return data if isinstance(data, bytes) else bytes(memoryview(data).cast("B"))


def _split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def _block_aad(block_no: int, file_id: bytes) -> bytes:
    return block_no.to_bytes(spec.BLOCK_NO_SIZE, "big") + file_id


def _check_run(first_block_no: int, count: int, file_id: bytes) -> None:
    if len(file_id) != spec.FILE_ID_SIZE:
        raise ValueError(f"file_id must be {spec.FILE_ID_SIZE} bytes, not {len(file_id)}")
    if first_block_no < 0 or first_block_no + max(count - 1, 0) > _BLOCK_NO_MAX:
        raise ValueError("a block number is an unsigned 64-bit integer")


def _store(data: bytes, out: WritableBuffer) -> int:
    with memoryview(out).cast("B") as target:
        if len(data) > len(target):
            raise ValueError(f"{len(data)} bytes don't fit into {len(target)}")
        target[: len(data)] = data
    return len(data)


# --- names ----------------------------------------------------------------------------------------------------


class ReferenceNameCipher:
    """``eme.NameCipher`` on top of ``cryptography``'s AES."""

    def __init__(self, names_key: Secret) -> None:
        key = bytes(names_key.view())
        self._aes: Cipher[modes.ECB] | None = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305  # EME is the mode

    def encrypt(self, tweak: bytes, padded: bytes) -> bytes:
        return self._transform(tweak, padded, is_encrypt=True)

    def decrypt(self, tweak: bytes, data: bytes) -> bytes:
        return self._transform(tweak, data, is_encrypt=False)

    def encrypt_many(self, tweak: bytes, padded: Sequence[bytes]) -> list[bytes]:
        return [self.encrypt(tweak, message) for message in padded]

    def decrypt_many(self, tweak: bytes, data: Sequence[bytes]) -> list[bytes]:
        return [self.decrypt(tweak, message) for message in data]

    def close(self) -> None:
        self._aes = None

    def _transform(self, tweak: bytes, message: bytes, *, is_encrypt: bool) -> bytes:
        """EME as its paper writes it, on integers. Source: docs/format.md "EME"."""
        if self._aes is None:
            raise ValueError("the cipher is closed")
        if len(tweak) != spec.DIRIV_SIZE:
            raise ValueError(f"tweak must be {spec.DIRIV_SIZE} bytes, not {len(tweak)}")
        if not _is_eme_size(len(message)):
            raise ValueError(f"EME can't take a message of {len(message)} bytes")
        permute = (self._aes.encryptor() if is_encrypt else self._aes.decryptor()).update

        def f(block: int) -> int:
            return int.from_bytes(permute(block.to_bytes(16, "little")), "little")

        masks = [_double(int.from_bytes(self._aes.encryptor().update(bytes(16)), "little"))]
        blocks = [int.from_bytes(block, "little") for block in _split(message, spec.EME_BLOCK_SIZE)]
        while len(masks) < len(blocks):
            masks.append(_double(masks[-1]))
        tweak_block = int.from_bytes(tweak, "little")

        ppp = [f(block ^ mask) for block, mask in zip(blocks, masks, strict=True)]
        mp = tweak_block
        for block in ppp:
            mp ^= block
        mc = f(mp)
        m = mp ^ mc
        ccc = [mc ^ tweak_block]
        for block in ppp[1:]:
            m = _double(m)
            ccc.append(block ^ m)
            ccc[0] ^= ccc[-1]
        return b"".join((f(block) ^ mask).to_bytes(16, "little") for block, mask in zip(ccc, masks, strict=True))


def _is_eme_size(size: int) -> bool:
    return 0 < size <= spec.EME_MAX_BLOCKS * spec.EME_BLOCK_SIZE and size % spec.EME_BLOCK_SIZE == 0


def _double(block: int) -> int:
    """Multiply by x in GF(2^128); the first byte of a block is the least significant."""
    doubled = block << 1
    return doubled ^ (1 << 128) ^ 0x87 if doubled >> 128 else doubled
