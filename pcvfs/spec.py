"""Every number of what is on disk, once, with its source: gocryptfs' format first, our own files at the end.

Nothing here may compute, import or touch a file. ``native/pcv_spec.h`` mirrors the part that the C extension
needs; ``pcvfs.native`` compares both when it loads and a test enumerates them.

Source: docs/format.md, made from the gocryptfs documentation and from files written by gocryptfs 2.3.
All sizes and offsets are bytes. All integers on disk are big-endian.
"""

from typing import Final

# --- versions -------------------------------------------------------------------------------------------------
ON_DISK_VERSION: Final = 2  # config field ``Version`` and the first two bytes of every file header

# --- keys -----------------------------------------------------------------------------------------------------
KEY_SIZE: Final = 32  # master key, AES-256 and XChaCha20 keys
SIV_KEY_SIZE: Final = 64  # AES-SIV: 32 bytes CMAC key, 32 bytes CTR key

HKDF_INFO_NAMES: Final = b"EME filename encryption"
HKDF_INFO_AES_GCM: Final = b"AES-GCM file content encryption"
HKDF_INFO_AES_SIV: Final = b"AES-SIV file content encryption"
HKDF_INFO_XCHACHA: Final = b"XChaCha20-Poly1305 file content encryption"

# --- file content ---------------------------------------------------------------------------------------------
BLOCK_SIZE: Final = 4096  # plaintext bytes in every block but the last
TAG_SIZE: Final = 16  # all three ciphers
AES_GCM_NONCE_SIZE: Final = 16
AES_SIV_NONCE_SIZE: Final = 16
XCHACHA_NONCE_SIZE: Final = 24

FILE_ID_SIZE: Final = 16
HEADER_VERSION_SIZE: Final = 2
HEADER_SIZE: Final = HEADER_VERSION_SIZE + FILE_ID_SIZE
BLOCK_NO_SIZE: Final = 8
BLOCK_AAD_SIZE: Final = BLOCK_NO_SIZE + FILE_ID_SIZE  # uint64 block number || file id
BLOB_AAD: Final = bytes(BLOCK_NO_SIZE)  # symlink targets, xattr values, wrapped master key: block 0, no file id

# --- names ----------------------------------------------------------------------------------------------------
DIRIV_NAME: Final = b"gocryptfs.diriv"
DIRIV_SIZE: Final = 16
DIRIV_MODE: Final = 0o444
DIRIV_RMDIR_PREFIX: Final = b"gocryptfs.diriv.rmdir."
DIRIV_MKDIR_PREFIX: Final = b"gocryptfs.diriv.mkdir."  # ours: a directory that is not complete yet
ZERO_DIRIV: Final = bytes(DIRIV_SIZE)  # tweak of deterministic names

EME_BLOCK_SIZE: Final = 16
EME_MAX_BLOCKS: Final = 128
NAME_MAX: Final = 255  # plaintext name, and the default LongNameMax
LONG_NAME_PREFIX: Final = b"gocryptfs.longname."
LONG_NAME_SUFFIX: Final = b".name"
LONG_NAME_MODE: Final = 0o444
LONG_NAME_FILE_MAX: Final = 344  # base64 of 256 bytes, padded
LONG_NAME_MAX_FLOOR: Final = 62  # smallest LongNameMax: the length of a hashed name itself
SYMLINK_TARGET_MAX: Final = 4095  # of the stored (encrypted, base64) target

# --- extended attributes --------------------------------------------------------------------------------------
XATTR_NAME_TWEAK: Final = b"xattr_name_iv_xx"
XATTR_PREFIX: Final = b"user.gocryptfs."
ACL_XATTRS: Final = frozenset({b"system.posix_acl_access", b"system.posix_acl_default"})

# --- gocryptfs.conf -------------------------------------------------------------------------------------------
CONFIG_NAME: Final = b"gocryptfs.conf"
REVERSE_CONFIG_NAME: Final = b".gocryptfs.reverse.conf"
CONFIG_MODE: Final = 0o400
CONFIG_TMP_SUFFIX: Final = b".tmp"
CONFIG_BACKUP_SUFFIX: Final = b".bak"
CONFIG_SIZE_MAX: Final = 1 << 20  # ours: no config is near this; a larger file is not one

SALT_SIZE: Final = 32
SCRYPT_LOG_N_DEFAULT: Final = 16
SCRYPT_LOG_N_MIN: Final = 10
SCRYPT_LOG_N_MAX: Final = 28
SCRYPT_N_MIN: Final = 1 << SCRYPT_LOG_N_MIN
SCRYPT_R_MIN: Final = 8
SCRYPT_P_MIN: Final = 1
SCRYPT_MEMORY_MAX: Final = 2 << 30  # ours: 128*N*R*P accepted from a file; the original crashes or swaps instead
PASSWORD_MAX: Final = 2048
CONFIG_NONCE_SIZE_HKDF: Final = 16
CONFIG_NONCE_SIZE_LEGACY: Final = 12

# --- keyset.json: docs/format.md "keyset.json"; not gocryptfs' ------------------------------------------------
KEYSET_NAME: Final = b"keyset.json"
KEYSET_TMP_SUFFIX: Final = b".tmp"
KEYSET_BACKUP_SUFFIX: Final = b".bak"
KEYSET_MODE: Final = 0o600
KEYSET_DIR_MODE: Final = 0o700
KEYSET_SIZE_MAX: Final = 1 << 16
KEYSET_VERSION: Final = 2  # 1 is what has no version: the layout of piccolod
KEYSET_SLOTS_MAX: Final = 16
KEYSET_GENERATION_MAX: Final = (1 << 53) - 1  # what every reader of JSON keeps exactly
KEYSET_FINGERPRINT_SIZE: Final = 16
KEYSET_SEAL_SIZE: Final = 32
KEYSET_SALT_SIZE: Final = 16
KEYSET_NONCE_SIZE: Final = 12
SDEK_SIZE: Final = 32
KEYSET_SEALED_SIZE: Final = SDEK_SIZE + TAG_SIZE

HKDF_INFO_KEYSET_SLOT: Final = b"pcvfs keyset slot 2"  # followed by the salt
HKDF_INFO_KEYSET_FINGERPRINT: Final = b"pcvfs keyset fingerprint 2"
HKDF_INFO_KEYSET_SEAL: Final = b"pcvfs keyset seal 2"  # followed by the SHA-256 of what is sealed

ARGON2_MEMORY_MAX_KIB: Final = 2 << 20  # accepted from a file; RFC 9106's first recommendation
ARGON2_TIME_MAX: Final = 64
ARGON2_LANES_MAX: Final = 64
ARGON2_WORK_MAX_KIB: Final = 16 << 20  # memory * time

PASSPHRASE_SIZE_MAX: Final = 1 << 16  # bytes; the password of a keyset
RECOVERY_WORDS: Final = 24
RECOVERY_ENTROPY_SIZE: Final = 32
DEVICE_KEY_SIZE: Final = 32
DEVICE_KEY_CHECK_SIZE: Final = 4
DEVICE_KEY_PREFIX: Final = b"pcvfs-device-key-1 "
DEVICE_KEY_FILE_MODE: Final = 0o600
