"""Authenticated encryption of file blocks, blobs and the master key.

Owns: the two implementations of ``ContentCipher``. "native" runs in C, whole runs of blocks per call and without the
GIL, by the fastest library that is here; "libcrypto" is the same by the one that always is. "reference" is made of the
``cryptography`` package and gives the same bytes, one block at a time. One is chosen when the cipher is made; there is
no fallback from one to the other.

It does not know where blocks lie in a file (``format.blocks``) nor which key is meant for what (``format.config``).
Threads: a cipher may be used by any number at once.
"""

from __future__ import annotations

from typing import Final, Protocol, assert_never

from pcvfs import native, spec
from pcvfs.crypto.cipher_kind import CipherKind, Engine
from pcvfs.crypto.secret import Secret
from pcvfs.native import Buffer, WritableBuffer

__all__ = ["CipherKind", "ContentCipher", "Engine", "aes_gcm_unwrap", "aes_gcm_wrap", "content_cipher"]


class ContentCipher(Protocol):
    """Encrypts and decrypts under one content key. Every method raises ValueError after ``close``."""

    @property
    def kind(self) -> CipherKind: ...

    def seal_blocks(
        self, plaintext: Buffer, first_block_no: int, file_id: bytes, nonces: Buffer | None = None
    ) -> bytes:
        """Encrypt consecutive blocks.

        Args:
            plaintext: any length; every 4096 bytes are a block, the last may be short.
            first_block_no: number of the first block, from 0.
            file_id: 16 bytes.
            nonces: nonce_size bytes for each block, none of them all zero; None takes random ones, in one system
                call for a run of up to 256 blocks.

        Returns:
            The stored blocks: overhead more bytes for each block. Empty for an empty plaintext.

        Raises:
            ValueError: a length is wrong, a nonce is all zero, or a block number would exceed 64 bits.

        Source: gocryptfs contentenc.EncryptBlocks; docs/format.md "Data block".
        """
        ...

    def seal_blocks_into(
        self, plaintext: Buffer, first_block_no: int, file_id: bytes, nonces: Buffer | None, out: WritableBuffer
    ) -> int:
        """As ``seal_blocks``, into a buffer that does not overlap ``plaintext``; returns the bytes written.

        ValueError if it is too small, too.
        """
        ...

    def open_blocks(self, ciphertext: Buffer, first_block_no: int, file_id: bytes) -> bytes:
        """Decrypt consecutive blocks.

        Args:
            ciphertext: whole stored blocks (4096 + overhead bytes); the last may be short.

        Returns:
            4096 bytes for each block, less for a short last one. A full block of zero bytes is a hole and gives
            4096 zero bytes; it is the only input that is not authenticated.

        Raises:
            AuthenticationError: ``block_no`` is the first bad block: wrong tag, all-zero nonce without being a hole,
                or too short to hold a byte. Nothing is returned.
            ValueError: file_id is not 16 bytes, or a block number would exceed 64 bits.

        Source: gocryptfs contentenc.DecryptBlocks; docs/format.md "Data block".
        """
        ...

    def open_blocks_into(self, ciphertext: Buffer, first_block_no: int, file_id: bytes, out: WritableBuffer) -> int:
        """As ``open_blocks``, into a buffer that does not overlap ``ciphertext``; returns the bytes written.

        ValueError if it is too small, too. After AuthenticationError no plaintext of the run is left in ``out``.
        """
        ...

    def seal_blob(self, plaintext: Buffer, nonce: bytes) -> bytes:
        """Encrypt a symlink target or xattr value; the empty one stays empty.

        Args:
            nonce: nonce_size bytes, not all zero; else ValueError.
        """
        ...

    def open_blob(self, ciphertext: Buffer) -> bytes:
        """Decrypt what ``seal_blob`` made; empty stays empty. There are no holes here.

        Raises:
            AuthenticationError: without a block number.
        """
        ...

    def close(self) -> None:
        """Wipe the key schedule. May be repeated."""
        ...


def content_cipher(kind: CipherKind, content_key: Secret, *, engine: Engine = "native") -> ContentCipher:
    """Make the cipher of a volume; ``content_key`` is copied, so the caller may wipe it.

    Raises:
        ValueError: the key is not ``kind.key_size`` bytes.
    """
    if len(content_key) != kind.key_size:
        raise ValueError(f"{kind.name} takes a key of {kind.key_size} bytes, not {len(content_key)}")
    match engine:
        case "native" | "libcrypto":
            return NativeCipher(kind, content_key, engine=engine)
        case "reference":
            # Not at the top: no mount should wait for `cryptography` to load, which only this engine needs.
            from pcvfs.crypto.reference import ReferenceCipher

            return ReferenceCipher(kind, content_key)
        case _:
            assert_never(engine)


class NativeCipher:
    """ContentCipher in C: native/pcv_aead.h."""

    __slots__ = ("_aead", "_cipher_block_size", "_overhead", "kind")

    def __init__(self, kind: CipherKind, content_key: Secret, *, engine: Engine = "native") -> None:
        self.kind: Final = kind
        self._overhead = kind.overhead
        self._cipher_block_size = spec.BLOCK_SIZE + kind.overhead
        by_libcrypto = engine == "libcrypto" and kind is CipherKind.AES_GCM
        self._aead = native.Aead(native.KIND_AES_GCM_LIBCRYPTO if by_libcrypto else kind.value, content_key.view())

    @property
    def aead(self) -> native.Aead:
        """The C object, for code in C that encrypts blocks itself."""
        return self._aead

    def seal_blocks(
        self, plaintext: Buffer, first_block_no: int, file_id: bytes, nonces: Buffer | None = None
    ) -> bytes:
        plain_size = _byte_size(plaintext)
        cipher_size = plain_size + -(-plain_size // spec.BLOCK_SIZE) * self._overhead
        return self._aead.seal_blocks(plaintext, first_block_no, file_id, nonces, cipher_size)

    def seal_blocks_into(
        self, plaintext: Buffer, first_block_no: int, file_id: bytes, nonces: Buffer | None, out: WritableBuffer
    ) -> int:
        return self._aead.seal_blocks_into(plaintext, first_block_no, file_id, nonces, out)

    def open_blocks(self, ciphertext: Buffer, first_block_no: int, file_id: bytes) -> bytes:
        cipher_size = _byte_size(ciphertext)
        full_blocks, last_size = divmod(cipher_size, self._cipher_block_size)
        plain_size = full_blocks * spec.BLOCK_SIZE + max(last_size - self._overhead, 0)
        return self._aead.open_blocks(ciphertext, first_block_no, file_id, plain_size)

    def open_blocks_into(self, ciphertext: Buffer, first_block_no: int, file_id: bytes, out: WritableBuffer) -> int:
        return self._aead.open_blocks_into(ciphertext, first_block_no, file_id, out)

    def seal_blob(self, plaintext: Buffer, nonce: bytes) -> bytes:
        plain_size = _byte_size(plaintext)
        return self._aead.seal_blob(plaintext, nonce, plain_size + self._overhead) if plain_size else b""

    def open_blob(self, ciphertext: Buffer) -> bytes:
        cipher_size = _byte_size(ciphertext)
        return self._aead.open_blob(ciphertext, max(cipher_size - self._overhead, 0)) if cipher_size else b""

    def close(self) -> None:
        self._aead.close()


def _byte_size(data: Buffer) -> int:
    """Bytes, also of a memoryview whose items are larger."""
    return data.nbytes if isinstance(data, memoryview) else len(data)


def aes_gcm_wrap(gcm_key: Secret, nonce: bytes, plaintext: Secret, *, aad: bytes = spec.BLOB_AAD) -> bytes:
    """Wrap a key, such as the master key for gocryptfs.conf: nonce, ciphertext, tag. Always AES-256-GCM.

    Args:
        gcm_key: 32 bytes.
        nonce: 16 bytes, or 12 for a config without the HKDF flag and for keysets; else ValueError.
        aad: what the wrapped key is bound to; the default is that of a config.

    Source: gocryptfs configfile.EncryptKey; docs/format.md "Wrapped master key".
    """
    return native.gcm_wrap(gcm_key.view(), nonce, aad, plaintext.view())


def aes_gcm_unwrap(gcm_key: Secret, blob: bytes, nonce_size: int, *, aad: bytes = spec.BLOB_AAD) -> Secret:
    """Undo ``aes_gcm_wrap``.

    Raises:
        AuthenticationError: wrong key, changed data, or other ``aad`` (not distinguishable).
        ValueError: blob is too short to hold a byte, or nonce_size is neither 12 nor 16.
    """
    size = len(blob) - nonce_size - spec.TAG_SIZE
    if size < 1:
        raise ValueError(f"a wrapped key of {len(blob)} bytes holds nothing")
    plaintext = Secret(size)
    native.gcm_unwrap_into(gcm_key.view(), nonce_size, aad, blob, plaintext.view())
    return plaintext
