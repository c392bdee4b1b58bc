"""The door to the C extension; this room is the only importer of it.

Owns: loading ``pcvfs._native_ffi``, checking that it was built from the numbers in ``spec``, turning Python buffers
into pointers and ``enum pcv_err`` into exceptions. It knows no format and no key's purpose; ``crypto`` does.
What a C function promises is written in ``native/*.h``.

Threads: every call releases the GIL while C runs, and every handle may be used by any number of threads.
Memory: a handle frees its C object when the last reference goes, so no call can outlive it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from pcvfs import spec
from pcvfs._native_ffi import ffi, lib
from pcvfs.errors import AuthenticationError, InternalError

if TYPE_CHECKING:
    from pcvfs._native_ffi import CData  # a type of the stub; the extension has no such name

Buffer: TypeAlias = bytes | bytearray | memoryview
WritableBuffer: TypeAlias = bytearray | memoryview

ABI_VERSION: Final = 1  # must be PCV_ABI_VERSION of native/pcv_spec.h

# Every constant that both sides know: name in C, value in Python. A test checks that none is missing.
SHARED_CONSTANTS: Final[dict[str, int | bytes]] = {
    "PCV_ABI_VERSION": ABI_VERSION,
    "PCV_KEY_SIZE": spec.KEY_SIZE,
    "PCV_SIV_KEY_SIZE": spec.SIV_KEY_SIZE,
    "PCV_BLOCK_SIZE": spec.BLOCK_SIZE,
    "PCV_TAG_SIZE": spec.TAG_SIZE,
    "PCV_AES_GCM_NONCE_SIZE": spec.AES_GCM_NONCE_SIZE,
    "PCV_AES_SIV_NONCE_SIZE": spec.AES_SIV_NONCE_SIZE,
    "PCV_XCHACHA_NONCE_SIZE": spec.XCHACHA_NONCE_SIZE,
    "PCV_ON_DISK_VERSION": spec.ON_DISK_VERSION,
    "PCV_HEADER_VERSION_SIZE": spec.HEADER_VERSION_SIZE,
    "PCV_FILE_ID_SIZE": spec.FILE_ID_SIZE,
    "PCV_HEADER_SIZE": spec.HEADER_SIZE,
    "PCV_BLOCK_NO_SIZE": spec.BLOCK_NO_SIZE,
    "PCV_BLOCK_AAD_SIZE": spec.BLOCK_AAD_SIZE,
    "PCV_CONFIG_NAME": spec.CONFIG_NAME,
    "PCV_DIRIV_NAME": spec.DIRIV_NAME,
    "PCV_DIRIV_RMDIR_PREFIX": spec.DIRIV_RMDIR_PREFIX,
    "PCV_DIRIV_MKDIR_PREFIX": spec.DIRIV_MKDIR_PREFIX,
    "PCV_LONG_NAME_PREFIX": spec.LONG_NAME_PREFIX,
    "PCV_LONG_NAME_SUFFIX": spec.LONG_NAME_SUFFIX,
    "PCV_DIRIV_SIZE": spec.DIRIV_SIZE,
    "PCV_EME_BLOCK_SIZE": spec.EME_BLOCK_SIZE,
    "PCV_EME_MAX_BLOCKS": spec.EME_MAX_BLOCKS,
}

_UINT64_MAX: Final = (1 << 64) - 1
_NS_PER_S: Final = 1_000_000_000


def compiled_value(name: str) -> int | bytes | None:
    """What the C code was compiled with, or None if it does not know the constant."""
    value: int | CData | None = getattr(lib, name, None)
    return value if value is None or isinstance(value, int) else ffi.string(value)


def _check_extension() -> None:
    """Refuse a C extension that was built from other numbers than ``spec``.

    Raises:
        InternalError: at least one constant differs.
    """
    for name, expected in SHARED_CONSTANTS.items():
        actual = compiled_value(name)
        if actual != expected:
            raise InternalError(
                f"the C extension was built with {name}={actual!r}, this code needs {expected!r}",
                hint="reinstall pcvfs, so that the extension and the Python code are from the same version",
            )


_check_extension()

KIND_AES_GCM: Final = lib.PCV_AES_GCM
KIND_AES_GCM_LIBCRYPTO: Final = lib.PCV_AES_GCM_LIBCRYPTO
KIND_XCHACHA20_POLY1305: Final = lib.PCV_XCHACHA20_POLY1305
KIND_AES_SIV: Final = lib.PCV_AES_SIV
BLOB_SIZE_MAX: Final = lib.PCV_BLOB_SIZE_MAX
SHA512_SIZE: Final = lib.PCV_SHA512_SIZE


def _check(rc: int, what: str) -> None:
    """Raise what ``enum pcv_err`` means. AuthenticationError has no block number here."""
    if rc == lib.PCV_OK:
        return
    if rc == lib.PCV_ERR_ARG:
        raise ValueError(f"{what}: a length or value is out of range")
    if rc == lib.PCV_ERR_AUTH:
        raise AuthenticationError(f"{what}: authentication failed")
    if rc == lib.PCV_ERR_CLOSED:
        raise ValueError(f"{what}: the cipher is closed")
    if rc == lib.PCV_ERR_NOMEM:
        raise MemoryError(f"{what}: no memory")
    if rc == lib.PCV_ERR_RANDOM:
        raise InternalError(f"{what}: the kernel gave no random bytes")
    raise InternalError(f"{what}: libcrypto refused", hint="check that libcrypto.so.3 is whole and not restricted")


def _check_errno(rc: int) -> None:
    if rc != 0:
        raise OSError(-rc, os.strerror(-rc))


# Pointers into a caller's buffer are made by "with", so that no traceback keeps one alive: the garbage collector of
# CPython before 3.11.8 and 3.12.2 crashes on a cycle that holds a memoryview together with a user of it (gh-77894), and
# an exception that someone keeps makes such cycles.
def _read(data: Buffer) -> CData:
    return ffi.from_buffer("uint8_t[]", data)


def _write(data: WritableBuffer) -> CData:
    return ffi.from_buffer("uint8_t[]", data, require_writable=True)


def _make_bytes(size: int, fill: Callable[[CData], object]) -> bytes:
    """Let C write into a bytes object that nobody else has seen yet, which CPython allows for a new one.

    A copy of each result would halve the throughput: 128 KiB of AES-GCM blocks are sealed at 3.7 GB/s this way and at
    1.6 GB/s through a bytearray (Debian 12, OpenSSL 3.0, one thread of a VM with VAES, November 2026). Objects of one
    byte may be shared by the interpreter, so these do take the detour.
    """
    if size <= 1:
        small = bytearray(size)
        fill(_write(small))
        return bytes(small)
    fresh = bytes(size)
    fill(_read(fresh))
    return fresh


def _check_block_no(block_no: int) -> None:
    if not 0 <= block_no <= _UINT64_MAX:
        raise ValueError("a block number is an unsigned 64-bit integer")


def _check_size(what: str, data: bytes, size: int) -> None:
    if len(data) != size:
        raise ValueError(f"{what} must be {size} bytes, not {len(data)}")


# --- secret memory --------------------------------------------------------------------------------------------


def secret_alloc(size: int) -> memoryview:
    """Allocate zeroed memory on pages of its own: locked if the limit allows, absent from core dumps.

    The memory is wiped and unmapped when the last view of it is gone, so a view can't dangle.

    Returns:
        A writable view of ``size`` > 0 bytes.

    Raises:
        MemoryError: the kernel gave no memory.
    """
    if size <= 0:
        raise ValueError("a secret has at least one byte")
    memory = lib.pcv_secret_alloc(size)
    if memory == ffi.NULL:
        raise MemoryError("no memory for a secret")

    def free(pointer: CData) -> None:
        lib.pcv_secret_free(pointer, size)

    return memoryview(ffi.buffer(ffi.gc(memory, free, size), size))


def wipe(memory: WritableBuffer) -> None:
    """Overwrite with zeros in a way that can't be optimised away."""
    pointer = _write(memory)
    lib.pcv_wipe(pointer, len(pointer))


# --- system calls ---------------------------------------------------------------------------------------------


def renameat2(old_dirfd: int, old_name: bytes, new_dirfd: int, new_name: bytes, flags: int) -> None:
    """renameat2(2).

    Raises:
        OSError: as the system call; EINVAL also if the filesystem does not know a flag.
        ValueError: a name holds a NUL byte.
    """
    if b"\0" in old_name or b"\0" in new_name:
        raise ValueError("embedded null byte")
    _check_errno(lib.pcv_renameat2(old_dirfd, old_name, new_dirfd, new_name, flags))


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2); goes on after a signal unless its Python handler raised.

    Raises:
        OSError: as the system call; EOPNOTSUPP if the filesystem can't.
    """
    while (rc := lib.pcv_fallocate(fd, mode, offset, length)) == -errno.EINTR:
        pass
    _check_errno(rc)


def utimensat(dirfd: int, name: bytes, atime_ns: int | None, mtime_ns: int | None, *, follow: bool) -> None:
    """utimensat(2) with times in ns since 1970; None leaves that time alone, which ``os.utime`` can't.

    Raises:
        OSError: as the system call.
        ValueError: the name holds a NUL byte.
    """
    if b"\0" in name:
        raise ValueError("embedded null byte")
    atime_s, atime_nsec = (0, lib.UTIME_OMIT) if atime_ns is None else divmod(atime_ns, _NS_PER_S)
    mtime_s, mtime_nsec = (0, lib.UTIME_OMIT) if mtime_ns is None else divmod(mtime_ns, _NS_PER_S)
    flags = 0 if follow else lib.AT_SYMLINK_NOFOLLOW
    _check_errno(lib.pcv_utimensat(dirfd, name, atime_s, atime_nsec, mtime_s, mtime_nsec, flags))


def syncfs(fd: int) -> None:
    """syncfs(2): write what is cached of the filesystem that holds ``fd``.

    Raises:
        OSError: some of it could not be written.
    """
    _check_errno(lib.pcv_syncfs(fd))


def random_into(out: WritableBuffer) -> None:
    """Fill a buffer from getrandom(2), without a copy on the Python heap."""
    with _write(out) as pointer:
        _check_errno(lib.pcv_random(pointer, len(pointer)))


def set_undumpable() -> None:
    """Forbid core dumps of this process, and ptrace by processes of the same user."""
    _check_errno(lib.pcv_set_undumpable())


def mount(source: bytes, target: bytes, fs_type: bytes, flags: int, data: bytes) -> None:
    """mount(2).

    Raises:
        OSError: as the system call.
        ValueError: a string holds a NUL byte.
    """
    if any(b"\0" in text for text in (source, target, fs_type, data)):
        raise ValueError("embedded null byte")
    _check_errno(lib.pcv_mount(source, target, fs_type, flags, data))


def umount2(target: bytes, flags: int) -> None:
    """umount2(2).

    Raises:
        OSError: as the system call.
        ValueError: the path holds a NUL byte.
    """
    if b"\0" in target:
        raise ValueError("embedded null byte")
    _check_errno(lib.pcv_umount2(target, flags))


def set_command_line(words: Sequence[bytes]) -> None:
    """Show other words than those that this process was started with, cut off where those ended. With one thread only.

    Raises:
        OSError: the kernel does not tell where they are.
    """
    line = b"".join(word + b"\0" for word in words)
    with _read(line) as pointer:
        _check_errno(lib.pcv_set_command_line(pointer, len(line)))


def set_name(name: bytes) -> None:
    """Name the calling thread, with at most 15 bytes; the main thread's name is that of the process."""
    _check_errno(lib.pcv_set_name(name))


# --- key derivation -------------------------------------------------------------------------------------------


def scrypt_into(password: Buffer, salt: bytes, n: int, r: int, p: int, out: WritableBuffer) -> None:
    """scrypt; takes 128*n*r bytes of memory while it runs.

    Raises:
        ValueError: n is not a power of two above 1, or n, r, p are out of range.
        MemoryError: no working memory.
    """
    if not (0 < n <= _UINT64_MAX and 0 < r <= _UINT64_MAX and 0 < p <= _UINT64_MAX):
        raise ValueError("scrypt parameters are out of range")
    with _read(password) as secret, _write(out) as derived:
        rc = lib.pcv_scrypt(secret, len(secret), salt, len(salt), n, r, p, derived, len(derived))
    _check(rc, "scrypt")


def hkdf_sha256_into(ikm: Buffer, info: bytes, out: WritableBuffer) -> None:
    """HKDF-SHA256 without a salt. ValueError unless ``out`` is 1..8160 bytes and ``ikm`` not empty."""
    with _read(ikm) as secret, _write(out) as derived:
        rc = lib.pcv_hkdf_sha256(secret, len(secret), info, len(info), derived, len(derived))
    _check(rc, "hkdf")


def sha256(data: Buffer) -> bytes:
    """SHA-256 of what is not secret. ``hashlib`` would load all that libcrypto has, which takes 3 ms."""
    digest = bytearray(lib.PCV_SHA256_SIZE)
    with _read(data) as source, _write(digest) as out:
        rc = lib.pcv_sha256(source, len(source), out)
    _check(rc, "sha256")
    return bytes(digest)


def sha512_into(data: Buffer, out: WritableBuffer) -> None:
    """SHA-512. ValueError unless ``out`` is 64 bytes."""
    with _read(data) as secret, _write(out) as digest:
        if len(digest) != SHA512_SIZE:
            raise ValueError(f"a SHA-512 digest is {SHA512_SIZE} bytes")
        rc = lib.pcv_sha512(secret, len(secret), digest)
    _check(rc, "sha512")


def gcm_wrap(key: Buffer, nonce: bytes, aad: bytes, secret: Buffer) -> bytes:
    """nonce | AES-256-GCM ciphertext of ``secret`` | tag. ``nonce``: 12 or 16 bytes; else ValueError."""
    with _read(key) as gcm_key, _read(secret) as plain:
        if len(gcm_key) != spec.KEY_SIZE:
            raise ValueError(f"key must be {spec.KEY_SIZE} bytes, not {len(gcm_key)}")
        wrapped = bytearray(len(nonce) + len(plain) + spec.TAG_SIZE)
        with _write(wrapped) as out:
            rc = lib.pcv_gcm_wrap(gcm_key, nonce, len(nonce), aad, len(aad), plain, len(plain), out, len(out))
    _check(rc, "wrap")
    return bytes(wrapped)


def gcm_unwrap_into(key: Buffer, nonce_size: int, aad: bytes, wrapped: bytes, out: WritableBuffer) -> None:
    """Undo ``gcm_wrap``.

    Raises:
        AuthenticationError: wrong key or changed data; ``out`` is zeroed.
        ValueError: ``out`` is not ``len(wrapped) - nonce_size - 16`` bytes, or nonce_size is neither 12 nor 16.
    """
    with _read(key) as gcm_key, _write(out) as plain:
        if len(gcm_key) != spec.KEY_SIZE:
            raise ValueError(f"key must be {spec.KEY_SIZE} bytes, not {len(gcm_key)}")
        rc = lib.pcv_gcm_unwrap(gcm_key, nonce_size, aad, len(aad), wrapped, len(wrapped), plain, len(plain))
    _check(rc, "unwrap")


# --- content --------------------------------------------------------------------------------------------------


def has_ipsec_library() -> bool:
    """Whether AES-GCM is done by Intel's IPsec library, which is faster than libcrypto, or may be."""
    return bool(lib.pcv_aead_has_ipsec())


class Aead:
    """One content key and cipher. See native/pcv_aead.h for every contract.

    The methods that return bytes and the ``_into`` methods differ only in who owns the output.
    """

    __slots__ = ("_aead",)

    def __init__(self, kind: int, key: Buffer) -> None:
        cell = ffi.new("pcv_aead **")
        with _read(key) as secret:
            rc = lib.pcv_aead_new(kind, secret, len(secret), cell)
        _check(rc, "aead_new")
        self._aead = ffi.gc(cell[0], lib.pcv_aead_free)

    @property
    def pointer(self) -> CData:
        """The C object, for other modules of this room; alive as long as this one."""
        return self._aead

    def close(self) -> None:
        """Wipe the key; later calls raise ValueError. Calls that are running finish."""
        lib.pcv_aead_close(self._aead)

    def seal_blocks(
        self, plaintext: Buffer, first_block_no: int, file_id: bytes, nonces: Buffer | None, size: int
    ) -> bytes:
        """Encrypt blocks to ``size`` bytes; ``nonces`` None: random."""
        return _make_bytes(size, lambda out: self._seal_blocks(plaintext, first_block_no, file_id, nonces, out))

    def seal_blocks_into(
        self, plaintext: Buffer, first_block_no: int, file_id: bytes, nonces: Buffer | None, out: WritableBuffer
    ) -> int:
        """Encrypt blocks into ``out``; returns the bytes written."""
        with _write(out) as cipher:
            return self._seal_blocks(plaintext, first_block_no, file_id, nonces, cipher)

    def _seal_blocks(
        self, plaintext: Buffer, first_block_no: int, file_id: bytes, nonces: Buffer | None, cipher: CData
    ) -> int:
        _check_size("file_id", file_id, spec.FILE_ID_SIZE)
        _check_block_no(first_block_no)
        written = ffi.new("size_t *")
        with _read(plaintext) as plain, _read(b"" if nonces is None else nonces) as given:
            run, run_size = (ffi.NULL, 0) if nonces is None else (given, len(given))
            rc = lib.pcv_aead_seal_blocks(
                self._aead, plain, len(plain), first_block_no, file_id, run, run_size, cipher, len(cipher), written
            )
        _check(rc, "seal_blocks")
        return written[0]

    def open_blocks(self, ciphertext: Buffer, first_block_no: int, file_id: bytes, size: int) -> bytes:
        """Decrypt blocks to ``size`` bytes; raises as ``open_blocks_into``."""
        return _make_bytes(size, lambda out: self._open_blocks(ciphertext, first_block_no, file_id, out))

    def open_blocks_into(self, ciphertext: Buffer, first_block_no: int, file_id: bytes, out: WritableBuffer) -> int:
        """Decrypt blocks into ``out``; returns the bytes written.

        Raises:
            AuthenticationError: with the first bad block; what was written to ``out`` has been wiped.
        """
        with _write(out) as plain:
            return self._open_blocks(ciphertext, first_block_no, file_id, plain)

    def _open_blocks(self, ciphertext: Buffer, first_block_no: int, file_id: bytes, plain: CData) -> int:
        _check_size("file_id", file_id, spec.FILE_ID_SIZE)
        _check_block_no(first_block_no)
        written, bad_block_no = ffi.new("size_t *"), ffi.new("uint64_t *")
        with _read(ciphertext) as cipher:
            rc = lib.pcv_aead_open_blocks(
                self._aead, cipher, len(cipher), first_block_no, file_id, plain, len(plain), written, bad_block_no
            )
        if rc == lib.PCV_ERR_AUTH:
            block_no = bad_block_no[0]
            raise AuthenticationError(f"block {block_no} failed authentication", block_no=block_no)
        _check(rc, "open_blocks")
        return written[0]

    def seal_blob(self, plaintext: Buffer, nonce: bytes, size: int) -> bytes:
        """Encrypt 1 byte or more to exactly ``size`` bytes."""

        def fill(out: CData) -> None:
            with _read(plaintext) as plain:
                rc = lib.pcv_aead_seal_blob(self._aead, plain, len(plain), nonce, len(nonce), out, len(out))
            _check(rc, "seal_blob")

        return _make_bytes(size, fill)

    def open_blob(self, ciphertext: Buffer, size: int) -> bytes:
        """Decrypt to exactly ``size`` bytes, or raise AuthenticationError."""

        def fill(out: CData) -> None:
            with _read(ciphertext) as cipher:
                rc = lib.pcv_aead_open_blob(self._aead, cipher, len(cipher), out, len(out))
            _check(rc, "open_blob")

        return _make_bytes(size, fill)


# --- names ----------------------------------------------------------------------------------------------------


class Eme:
    """One name key. See native/pcv_eme.h for every contract."""

    __slots__ = ("_eme",)

    def __init__(self, key: Buffer) -> None:
        cell = ffi.new("pcv_eme **")
        with _read(key) as secret:
            if len(secret) != spec.KEY_SIZE:
                raise ValueError(f"key must be {spec.KEY_SIZE} bytes, not {len(secret)}")
            rc = lib.pcv_eme_new(secret, cell)
        _check(rc, "eme_new")
        self._eme = ffi.gc(cell[0], lib.pcv_eme_free)

    @property
    def pointer(self) -> CData:
        """The C object, for other modules of this room; alive as long as this one."""
        return self._eme

    def close(self) -> None:
        """Wipe the key; later calls raise ValueError. Calls that are running finish."""
        lib.pcv_eme_close(self._eme)

    def transform(self, tweak: bytes, messages: Sequence[bytes], *, is_encrypt: bool) -> list[bytes]:
        """Encrypt or decrypt messages of 16..2048 bytes (multiples of 16) under one 16-byte tweak."""
        _check_size("tweak", tweak, spec.DIRIV_SIZE)
        data = b"".join(messages)
        sizes = [len(message) for message in messages]
        out = bytearray(len(data))
        rc = lib.pcv_eme_transform(
            self._eme, is_encrypt, tweak, data, len(data), ffi.new("uint32_t[]", sizes), len(sizes), _write(out)
        )
        _check(rc, "eme")
        transformed: list[bytes] = []
        start = 0
        for size in sizes:
            transformed.append(bytes(out[start : start + size]))
            start += size
        return transformed
