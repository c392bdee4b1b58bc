"""Types of the cffi module that ``native/build_backend.py`` builds. Mirrors ``native/pcv_ffi.cdef``."""

from collections.abc import Callable, Sequence
from typing import Literal, overload

class CData:
    """A C value: a pointer or an array. ``len`` works for arrays alone."""

    def __len__(self) -> int: ...

class IntCell(CData):
    """Owned memory for one integer that C writes to."""

    def __getitem__(self, index: Literal[0], /) -> int: ...

class HandleCell(CData):
    """Owned memory for one pointer that C writes to."""

    def __getitem__(self, index: Literal[0], /) -> CData: ...

class Buffer:
    """A view of C memory that keeps the cdata it was made from alive; supports the buffer protocol."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

class Ffi:
    NULL: CData
    @overload
    def new(self, cdecl: Literal["size_t *", "uint64_t *"], /) -> IntCell: ...
    @overload
    def new(self, cdecl: Literal["pcv_aead **", "pcv_eme **"], /) -> HandleCell: ...
    @overload
    def new(self, cdecl: Literal["uint32_t[]"], init: Sequence[int], /) -> CData: ...
    def gc(self, cdata: CData, destructor: Callable[[CData], None], size: int = 0) -> CData: ...
    def buffer(self, cdata: CData, size: int) -> Buffer: ...
    def from_buffer(
        self,
        cdecl: Literal["uint8_t[]"],
        python_buffer: bytes | bytearray | memoryview,
        require_writable: bool = False,
    ) -> CData: ...

class Lib:
    PCV_ABI_VERSION: int
    PCV_KEY_SIZE: int
    PCV_SIV_KEY_SIZE: int
    PCV_BLOCK_SIZE: int
    PCV_TAG_SIZE: int
    PCV_AES_GCM_NONCE_SIZE: int
    PCV_AES_SIV_NONCE_SIZE: int
    PCV_XCHACHA_NONCE_SIZE: int
    PCV_HEADER_VERSION_SIZE: int
    PCV_FILE_ID_SIZE: int
    PCV_HEADER_SIZE: int
    PCV_BLOCK_NO_SIZE: int
    PCV_BLOCK_AAD_SIZE: int
    PCV_DIRIV_SIZE: int
    PCV_EME_BLOCK_SIZE: int
    PCV_EME_MAX_BLOCKS: int
    PCV_BLOB_SIZE_MAX: int

    PCV_OK: int
    PCV_ERR_ARG: int
    PCV_ERR_AUTH: int
    PCV_ERR_CRYPTO: int
    PCV_ERR_NOMEM: int
    PCV_ERR_RANDOM: int
    PCV_ERR_CLOSED: int

    PCV_AES_GCM: int
    PCV_XCHACHA20_POLY1305: int
    PCV_AES_SIV: int
    PCV_SHA512_SIZE: int
    AT_SYMLINK_NOFOLLOW: int
    UTIME_OMIT: int

    def pcv_secret_alloc(self, size: int, /) -> CData: ...
    def pcv_secret_free(self, secret: CData, size: int, /) -> None: ...
    def pcv_wipe(self, memory: CData, size: int, /) -> None: ...
    def pcv_renameat2(self, old_dirfd: int, old_name: bytes, new_dirfd: int, new_name: bytes, flags: int, /) -> int: ...
    def pcv_fallocate(self, fd: int, mode: int, offset: int, length: int, /) -> int: ...
    def pcv_utimensat(
        self, dirfd: int, name: bytes, atime_s: int, atime_nsec: int, mtime_s: int, mtime_nsec: int, flags: int, /
    ) -> int: ...
    def pcv_random(self, out: CData, size: int, /) -> int: ...
    def pcv_set_undumpable(self) -> int: ...
    def pcv_scrypt(
        self,
        password: CData,
        password_size: int,
        salt: bytes,
        salt_size: int,
        n: int,
        r: int,
        p: int,
        out: CData,
        out_size: int,
        /,
    ) -> int: ...
    def pcv_hkdf_sha256(
        self, ikm: CData, ikm_size: int, info: bytes, info_size: int, out: CData, out_size: int, /
    ) -> int: ...
    def pcv_sha512(self, data: CData, size: int, out: CData, /) -> int: ...
    def pcv_gcm_wrap(
        self,
        key: CData,
        nonce: bytes,
        nonce_size: int,
        aad: bytes,
        aad_size: int,
        secret: CData,
        secret_size: int,
        wrapped: CData,
        wrapped_size: int,
        /,
    ) -> int: ...
    def pcv_gcm_unwrap(
        self,
        key: CData,
        nonce_size: int,
        aad: bytes,
        aad_size: int,
        wrapped: bytes,
        wrapped_size: int,
        secret: CData,
        secret_size: int,
        /,
    ) -> int: ...
    def pcv_aead_new(self, kind: int, key: CData, key_size: int, out: CData, /) -> int: ...
    def pcv_aead_close(self, aead: CData, /) -> None: ...
    def pcv_aead_free(self, aead: CData, /) -> None: ...
    def pcv_aead_seal_blocks(
        self,
        aead: CData,
        plain: CData,
        plain_size: int,
        first_block_no: int,
        file_id: bytes,
        nonces: CData,
        nonces_size: int,
        cipher: CData,
        cipher_room: int,
        cipher_size: CData,
        /,
    ) -> int: ...
    def pcv_aead_open_blocks(
        self,
        aead: CData,
        cipher: CData,
        cipher_size: int,
        first_block_no: int,
        file_id: bytes,
        plain: CData,
        plain_room: int,
        plain_size: CData,
        bad_block_no: CData,
        /,
    ) -> int: ...
    def pcv_aead_seal_blob(
        self,
        aead: CData,
        plain: CData,
        plain_size: int,
        nonce: bytes,
        nonce_size: int,
        cipher: CData,
        cipher_size: int,
        /,
    ) -> int: ...
    def pcv_aead_open_blob(
        self, aead: CData, cipher: CData, cipher_size: int, plain: CData, plain_size: int, /
    ) -> int: ...
    def pcv_eme_new(self, key: CData, out: CData, /) -> int: ...
    def pcv_eme_close(self, eme: CData, /) -> None: ...
    def pcv_eme_free(self, eme: CData, /) -> None: ...
    def pcv_eme_transform(
        self,
        eme: CData,
        is_encrypt: int,
        tweak: bytes,
        data: bytes,
        data_size: int,
        sizes: CData,
        count: int,
        out: CData,
        /,
    ) -> int: ...

ffi: Ffi
lib: Lib
