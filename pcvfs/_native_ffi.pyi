"""Types of the cffi module that ``native/build_backend.py`` builds. Mirrors ``native/pcv_ffi.cdef``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self, TypeVar, overload

class CData:
    """A C value: a pointer or an array. ``len`` works for arrays alone."""

    def __len__(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...

class IntCell(CData):
    """Owned memory for one integer that C writes to."""

    def __getitem__(self, index: Literal[0], /) -> int: ...

class HandleCell(CData):
    """Owned memory for one pointer that C writes to."""

    def __getitem__(self, index: Literal[0], /) -> CData: ...

class LinkStruct(CData):
    """``struct pcv_link *``."""

    next: LinkStruct
    parent: InodeStruct
    cname: CData

class InodeStruct(CData):
    """``pcv_inode *``."""

    number: int
    dev: int
    ino: int
    nlookup: int
    links: LinkStruct
    pins: int
    type: int
    orphan_fd: int

class DirsStruct(CData):
    """``struct pcv_dirs``."""

    max: int
    count: int

class TreeStruct(CData):
    """``pcv_tree *``."""

    dev_fd: int
    inodes: CData
    dirs: DirsStruct
    file_count: int

class InodeCell(CData):
    """Owned memory for one ``pcv_inode *`` that C writes to."""

    def __getitem__(self, index: Literal[0], /) -> InodeStruct: ...

class TreeCell(CData):
    """Owned memory for one ``pcv_tree *`` that C writes to."""

    def __getitem__(self, index: Literal[0], /) -> TreeStruct: ...

class IntArray(CData):
    """Owned memory for integers that C writes to."""

    def __getitem__(self, index: int, /) -> int: ...

class Cname(CData):
    """Owned ``struct pcv_cname``."""

    name: CData
    full: CData

class LaneStatistics(CData):
    """Owned ``struct pcv_lane_statistics``."""

    served: int
    forwarded: int
    need_file: int
    stolen: int
    spin_hits: int
    spin_misses: int
    inodes: int
    lookups: int
    open_files: int
    open_dirs: int

P = TypeVar("P", bound=CData)

class Buffer:
    """A view of C memory that keeps the cdata it was made from alive; supports the buffer protocol."""

    def __buffer__(self, flags: int, /) -> memoryview: ...

class Ffi:
    NULL: CData
    @overload
    def new(self, cdecl: Literal["size_t *", "uint64_t *"], /) -> IntCell: ...
    @overload
    def new(self, cdecl: Literal["int *"], /) -> IntCell: ...
    @overload
    def new(
        self,
        cdecl: Literal[
            "pcv_aead **",
            "pcv_eme **",
            "pcv_file **",
            "pcv_file_policy **",
            "pcv_intents **",
            "pcv_lane **",
            "pcv_scratch **",
            "const uint8_t **",
        ],
        /,
    ) -> HandleCell: ...
    @overload
    def new(self, cdecl: Literal["pcv_tree **"], /) -> TreeCell: ...
    @overload
    def new(self, cdecl: Literal["pcv_inode **"], /) -> InodeCell: ...
    @overload
    def new(self, cdecl: Literal["uint64_t[]"], init: int, /) -> IntArray: ...
    @overload
    def new(self, cdecl: Literal["struct pcv_intent_file *"], init: Mapping[str, int | CData], /) -> CData: ...
    @overload
    def new(self, cdecl: Literal["char[]"], init: bytes, /) -> CData: ...
    @overload
    def new(
        self,
        cdecl: Literal["struct pcv_tree_options *"],
        init: Mapping[str, int | CData],
        /,
    ) -> CData: ...
    @overload
    def new(self, cdecl: Literal["char[]"], size: int, /) -> CData: ...
    @overload
    def new(self, cdecl: Literal["struct pcv_cname *"], /) -> Cname: ...
    @overload
    def new(self, cdecl: Literal["struct pcv_name_format *"], init: Mapping[str, int | CData], /) -> HandleCell: ...
    @overload
    def new(
        self, cdecl: Literal["struct pcv_lane_options *", "struct stat *"], init: Mapping[str, int], /
    ) -> CData: ...
    @overload
    def new(self, cdecl: Literal["struct pcv_lane_statistics *"], /) -> LaneStatistics: ...
    @overload
    def new(self, cdecl: Literal["uint32_t[]"], init: Sequence[int], /) -> CData: ...
    def gc(self, cdata: P, destructor: Callable[[P], None], size: int = 0) -> P: ...
    def addressof(self, cdata: CData, field: str, /) -> CData: ...
    def string(self, cdata: CData, /) -> bytes: ...
    def release(self, cdata: CData) -> None: ...
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
    PCV_ON_DISK_VERSION: int
    PCV_HEADER_VERSION_SIZE: int
    PCV_FILE_ID_SIZE: int
    PCV_HEADER_SIZE: int
    PCV_BLOCK_NO_SIZE: int
    PCV_BLOCK_AAD_SIZE: int
    PCV_CONFIG_NAME: CData
    PCV_DIRIV_NAME: CData
    PCV_DIRIV_RMDIR_PREFIX: CData
    PCV_DIRIV_MKDIR_PREFIX: CData
    PCV_LONG_NAME_PREFIX: CData
    PCV_LONG_NAME_SUFFIX: CData
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
    PCV_AES_GCM_LIBCRYPTO: int
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
    def pcv_syncfs(self, fd: int, /) -> int: ...
    def pcv_random(self, out: CData, size: int, /) -> int: ...
    def pcv_set_undumpable(self) -> int: ...
    def pcv_mount(self, source: bytes, target: bytes, fs_type: bytes, flags: int, data: bytes, /) -> int: ...
    def pcv_umount2(self, target: bytes, flags: int, /) -> int: ...
    def pcv_set_command_line(self, words: CData, size: int, /) -> int: ...
    def pcv_set_name(self, name: bytes, /) -> int: ...
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
    def pcv_aead_has_ipsec(self) -> int: ...
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

    PCV_INTENT_SLOTS: int
    PCV_INTENT_HEAD: int
    PCV_INTENT_SLOT_SIZE: int
    def pcv_intents_new(self, area: CData, boot_id: bytes, root_dev: int, root_ino: int, out: HandleCell, /) -> int: ...
    def pcv_intents_free(self, intents: CData, /) -> None: ...
    def pcv_intent_begin(
        self, intents: CData, file: CData, offset: int, data: CData, size: int, final_size: int, /
    ) -> int: ...
    def pcv_intent_end(self, intents: CData, slot: int, /) -> None: ...

    PCV_FILE_IO_MAX: int
    def pcv_file_policy_new(
        self, aead: CData, overhead: int, intents: CData, prealloc: int, is_shared: bool, out: HandleCell, /
    ) -> int: ...
    def pcv_file_policy_free(self, policy: CData, /) -> None: ...
    def pcv_scratch_new(self, out: HandleCell, /) -> int: ...
    def pcv_scratch_free(self, scratch: CData, /) -> None: ...
    def pcv_file_new(self, policy: CData, fd: int, is_writable: bool, path: bytes, out: HandleCell, /) -> int: ...
    def pcv_file_unref(self, file: CData, /) -> None: ...
    def pcv_file_upgrade(self, file: CData, fd: int, /) -> int: ...
    def pcv_file_read(
        self,
        file: CData,
        offset: int,
        size: int,
        out: CData,
        got: IntCell,
        scratch: CData,
        bad_block: IntCell,
        /,
    ) -> int: ...
    def pcv_file_write(
        self, file: CData, offset: int, data: CData, size: int, scratch: CData, bad_block: IntCell, /
    ) -> int: ...
    def pcv_file_truncate(self, file: CData, size: int, scratch: CData, bad_block: IntCell, /) -> int: ...
    def pcv_file_sync(self, file: CData, is_data_only: bool, /) -> int: ...
    def pcv_file_size(self, file: CData, size: IntCell, /) -> int: ...
    def pcv_file_seek(self, file: CData, offset: int, whence: int, result: IntCell, /) -> int: ...
    def pcv_file_allocate(
        self,
        file: CData,
        offset: int,
        length: int,
        is_keep_size: bool,
        scratch: CData,
        bad_block: IntCell,
        /,
    ) -> int: ...
    def pcv_inodes_get(self, inodes: CData, number: int, /) -> InodeStruct: ...
    def pcv_inodes_find(self, inodes: CData, dev: int, ino: int, /) -> InodeStruct: ...
    def pcv_inodes_intern(
        self, inodes: CData, st: CData, parent: InodeStruct, cname: bytes, out: InodeCell, /
    ) -> int: ...
    def pcv_inodes_add_link(self, inodes: CData, inode: InodeStruct, parent: InodeStruct, cname: bytes, /) -> int: ...
    def pcv_inodes_remove_link(
        self, inodes: CData, inode: InodeStruct, parent: InodeStruct, cname: bytes, /
    ) -> None: ...
    def pcv_inodes_looked_up(self, inodes: CData, inode: InodeStruct, /) -> None: ...
    def pcv_inodes_pin(self, inodes: CData, inode: InodeStruct, /) -> None: ...
    def pcv_inodes_unpin(self, inodes: CData, inode: InodeStruct, /) -> None: ...
    def pcv_inodes_forget(self, inodes: CData, number: int, count: int, /) -> int: ...
    def pcv_inodes_release(self, inodes: CData, inode: InodeStruct, /) -> None: ...
    def pcv_inodes_list(self, inodes: CData, numbers: IntArray, room: int, /) -> int: ...
    def pcv_inodes_count(self, inodes: CData, /) -> int: ...
    def pcv_inodes_lookups(self, inodes: CData, /) -> int: ...
    def pcv_dirs_fd(self, dirs: CData, directory: InodeStruct, /) -> int: ...
    def pcv_dirs_diriv(self, dirs: CData, directory: InodeStruct, diriv: HandleCell, /) -> int: ...
    def pcv_dirs_evict(self, dirs: CData, directory: InodeStruct, /) -> None: ...
    def pcv_tree_new(self, options: CData, out: TreeCell, /) -> int: ...
    def pcv_tree_free(self, tree: TreeStruct, /) -> None: ...
    def pcv_tree_trim(self, tree: TreeStruct, /) -> None: ...

    PCV_NAME_MAX: int
    PCV_FULL_CNAME_MAX: int
    PCV_TARGET_MAX: int
    PCV_CNAME_PLAIN: int
    PCV_CNAME_LONG: int
    PCV_CNAME_SIDECAR: int
    PCV_CNAME_RESERVED: int
    PCV_CNAME_LEFTOVER: int
    def pcv_name_encode(self, name_format: CData, diriv: bytes, name: bytes, size: int, out: CData, /) -> int: ...
    def pcv_name_decode(
        self, name_format: CData, diriv: bytes, full: bytes, full_size: int, name: CData, size: IntCell, /
    ) -> int: ...
    def pcv_cname_classify(self, name_format: CData, is_root: bool, cname: bytes, /) -> int: ...
    def pcv_target_encode(
        self, name_format: CData, aead: CData, nonce_size: int, target: bytes, size: int, stored: CData, /
    ) -> int: ...
    def pcv_target_decode(
        self,
        name_format: CData,
        aead: CData,
        nonce_size: int,
        stored: bytes,
        stored_size: int,
        target: CData,
        size: IntCell,
        /,
    ) -> int: ...

    PCV_LANE_REQUEST: int
    PCV_LANE_NEED_FILE: int
    PCV_LANE_CORRUPT: int
    PCV_LANE_ENDED: int
    PCV_LANE_BAD_NAME: int
    PCV_LANE_LEFTOVERS: int
    PCV_LANE_NO_DIRIV: int
    PCV_LANE_WORKERS_MAX: int
    def pcv_lane_new(self, options: CData, tree: TreeStruct, out: HandleCell, python_fd: IntCell, /) -> int: ...
    def pcv_lane_free(self, lane: CData, /) -> None: ...
    def pcv_lane_wait(self, lane: CData, /) -> int: ...
    def pcv_lane_event_details(self, lane: CData, node: IntCell, value: IntCell, /) -> None: ...
    def pcv_lane_event_name(self, lane: CData, /) -> CData: ...
    def pcv_lane_give_fd(self, lane: CData, node: int, fd: int, is_writable: bool, /) -> int: ...
    def pcv_lane_refuse(self, lane: CData, error: int, /) -> None: ...
    def pcv_lane_stop(self, lane: CData, /) -> None: ...
    def pcv_lane_get_statistics(self, lane: CData, out: LaneStatistics, /) -> None: ...

ffi: Ffi
lib: Lib
