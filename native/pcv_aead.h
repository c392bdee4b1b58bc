/* Content encryption: runs of file blocks, and blobs (symlink targets, xattr values).
 *
 * On disk a block is   nonce | ciphertext | tag     AES-256-GCM (16-byte nonce), XChaCha20-Poly1305 (24)
 *                 or   nonce | tag | ciphertext     AES-SIV (16)
 * and its additional data is   uint64_be(block number) | file id (16)   for file content,
 *                              8 zero bytes                             for a blob.
 *
 * Threads: any number may use one pcv_aead at once; each call works on a context of its own (pcv_pool.h).
 * Buffers: owned by the caller; the output must not overlap an input. Nothing is kept after return.
 * Errors:  0 or a negative enum pcv_err. On error the part of the output that was written is wiped: libcrypto decrypts
 *          before it checks the tag. The thread's libcrypto error queue is left as it was found.
 */
#ifndef PCV_AEAD_H
#define PCV_AEAD_H

#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"
#include "pcv_spec.h"

typedef struct pcv_aead pcv_aead;

enum pcv_aead_kind {
    PCV_AES_GCM = 1,
    PCV_XCHACHA20_POLY1305 = 2,
    PCV_AES_SIV = 3,
    PCV_AES_GCM_LIBCRYPTO = 4, /* PCV_AES_GCM, which takes the fastest library that is here, by this one */
};

/* Whether PCV_AES_GCM is done by Intel's IPsec library here. 0 or 1. */
int pcv_aead_has_ipsec(void);

/* key_size must be what the kind takes: 32, or 64 for AES-SIV. The key is copied into locked memory. */
PCV_MUST_USE int pcv_aead_new(int kind, const uint8_t *key, size_t key_size, pcv_aead **out);

/* Wipe the key and every context; calls that are running finish, later ones get PCV_ERR_CLOSED. May be repeated. */
void pcv_aead_close(pcv_aead *aead);

/* Close and free. No call may be running. NULL is allowed. */
void pcv_aead_free(pcv_aead *aead);

/* Encrypt plain_size bytes as blocks first_block_no, first_block_no + 1, ...; the last one may be short.
 *
 * nonces: one per block, back to back, none all zero (a reader takes that for damage); nonces_size says so.
 *         NULL with nonces_size 0: random ones, one getrandom(2) for up to 256 blocks.
 * cipher: room for plain_size plus one overhead per block. *cipher_size is set to what was written.
 * PCV_ERR_ARG: nonces_size or cipher_room is wrong, a nonce is zero, or the block number would wrap. */
PCV_MUST_USE int pcv_aead_seal_blocks(pcv_aead *aead, const uint8_t *plain, size_t plain_size, uint64_t first_block_no,
                                      const uint8_t file_id[PCV_FILE_ID_SIZE], const uint8_t *nonces,
                                      size_t nonces_size, uint8_t *cipher, size_t cipher_room, size_t *cipher_size);

/* Decrypt whole cipher blocks; the last one may be short.
 *
 * A full-length block of zero bytes is a hole and becomes 4096 zero bytes; it is the only input taken on trust.
 * PCV_ERR_AUTH: a tag is wrong, a nonce is all zero, or the last block is too short to hold a byte;
 *               *bad_block_no is that block, *plain_size is 0, nothing of the run is left in plain.
 * PCV_ERR_ARG:  plain_room is too small or the block number would wrap. */
PCV_MUST_USE int pcv_aead_open_blocks(pcv_aead *aead, const uint8_t *cipher, size_t cipher_size,
                                      uint64_t first_block_no, const uint8_t file_id[PCV_FILE_ID_SIZE], uint8_t *plain,
                                      size_t plain_room, size_t *plain_size, uint64_t *bad_block_no);

/* Encrypt one blob of 1 .. PCV_BLOB_SIZE_MAX bytes; cipher takes plain_size + nonce + tag bytes, exactly. */
PCV_MUST_USE int pcv_aead_seal_blob(pcv_aead *aead, const uint8_t *plain, size_t plain_size, const uint8_t *nonce,
                                    size_t nonce_size, uint8_t *cipher, size_t cipher_size);

/* Decrypt one blob; plain takes cipher_size - nonce - tag bytes, exactly. No holes here: zero bytes are PCV_ERR_AUTH,
 * as is a blob that is too short to hold a byte. */
PCV_MUST_USE int pcv_aead_open_blob(pcv_aead *aead, const uint8_t *cipher, size_t cipher_size, uint8_t *plain,
                                    size_t plain_size);

#endif
