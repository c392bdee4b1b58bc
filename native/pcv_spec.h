/* The numbers of the on-disk format that the C code needs.
 *
 * pcvfs/spec.py is the truth; this file mirrors it. pcvfs/native compares the compiler's values with spec.py when
 * it loads and refuses to go on if one differs. All sizes are bytes.
 */
#ifndef PCV_SPEC_H
#define PCV_SPEC_H

#include <assert.h>

/* Raised whenever a declaration or the meaning of an argument in pcv_ffi.cdef changes. */
#define PCV_ABI_VERSION 1

#define PCV_KEY_SIZE 32
#define PCV_SIV_KEY_SIZE 64

#define PCV_BLOCK_SIZE 4096
#define PCV_TAG_SIZE 16
#define PCV_AES_GCM_NONCE_SIZE 16
#define PCV_AES_SIV_NONCE_SIZE 16
#define PCV_XCHACHA_NONCE_SIZE 24

#define PCV_ON_DISK_VERSION 2
#define PCV_HEADER_VERSION_SIZE 2
#define PCV_FILE_ID_SIZE 16
#define PCV_HEADER_SIZE 18
#define PCV_BLOCK_NO_SIZE 8
#define PCV_BLOCK_AAD_SIZE 24

#define PCV_CONFIG_NAME "gocryptfs.conf"
#define PCV_DIRIV_NAME "gocryptfs.diriv"
#define PCV_DIRIV_RMDIR_PREFIX "gocryptfs.diriv.rmdir."
#define PCV_DIRIV_MKDIR_PREFIX "gocryptfs.diriv.mkdir."
#define PCV_LONG_NAME_PREFIX "gocryptfs.longname."
#define PCV_LONG_NAME_SUFFIX ".name"
#define PCV_DIRIV_SIZE 16
#define PCV_EME_BLOCK_SIZE 16
#define PCV_EME_MAX_BLOCKS 128

/* Limits of this implementation, not of the format. */
#define PCV_NONCE_SIZE_MAX 24          /* the largest nonce of any cipher */
#define PCV_BLOB_SIZE_MAX (1 << 30)    /* EVP counts in int; no symlink target or xattr value comes near */

_Static_assert(PCV_HEADER_SIZE == PCV_HEADER_VERSION_SIZE + PCV_FILE_ID_SIZE, "a header is a version and a file id");
_Static_assert(PCV_BLOCK_AAD_SIZE == PCV_BLOCK_NO_SIZE + PCV_FILE_ID_SIZE, "the AAD is a block number and a file id");
_Static_assert(PCV_SIV_KEY_SIZE == 2 * PCV_KEY_SIZE, "AES-SIV takes two AES-256 keys");
_Static_assert(PCV_NONCE_SIZE_MAX >= PCV_AES_GCM_NONCE_SIZE, "nonce buffers hold any nonce");
_Static_assert(PCV_NONCE_SIZE_MAX >= PCV_AES_SIV_NONCE_SIZE, "nonce buffers hold any nonce");
_Static_assert(PCV_NONCE_SIZE_MAX >= PCV_XCHACHA_NONCE_SIZE, "nonce buffers hold any nonce");
_Static_assert(PCV_DIRIV_SIZE == PCV_EME_BLOCK_SIZE, "the directory IV is the EME tweak, one cipher block");
_Static_assert(PCV_BLOCK_SIZE % PCV_EME_BLOCK_SIZE == 0, "a content block is whole AES blocks");

#endif
