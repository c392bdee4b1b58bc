/* What the parts of pcv_file.h share: pcv_file.c (life, sync, stat), pcv_file_io.c (the backing file, reading),
 * pcv_file_write.c, pcv_file_size.c. Internal.
 *
 * Whatever takes a scratch works under the file's lock. Errors are as in pcv_file.h.
 */
#ifndef PCV_FILE_IMPL_H
#define PCV_FILE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "pcv_file.h"

#define BS ((uint64_t)PCV_BLOCK_SIZE)
#define OVERHEAD_MAX (PCV_NONCE_SIZE_MAX + PCV_TAG_SIZE)
#define RUN_BLOCKS_MAX (PCV_FILE_IO_MAX / PCV_BLOCK_SIZE + 2) /* unaligned at both ends */
#define CIPHER_ROOM (PCV_HEADER_SIZE + RUN_BLOCKS_MAX * (PCV_BLOCK_SIZE + OVERHEAD_MAX))

_Static_assert(CIPHER_ROOM <= PCV_INTENT_ROOM, "a slot takes any write");

struct pcv_file_policy {
    pcv_aead *aead;
    pcv_intents *intents; /* may be NULL */
    size_t overhead;
    uint64_t cipher_block; /* BS + overhead */
    uint64_t size_max;     /* of a plaintext, so that every offset in the backing file fits int64 */
    atomic_int prealloc;   /* enum pcv_prealloc; turned off for good where the filesystem below can't */
    bool is_shared;
};

struct pcv_scratch {
    uint8_t *sealed; /* CIPHER_ROOM bytes for what is about to be written: own, or in slot */
    int slot;        /* of the intents, while something is being changed; or -1 */
    uint8_t own[CIPHER_ROOM];
    uint8_t cipher[CIPHER_ROOM];          /* what was read */
    uint8_t saved[CIPHER_ROOM];           /* old ciphertext, to undo a failed write */
    uint8_t plain[PCV_FILE_IO_MAX + 2 * PCV_BLOCK_SIZE]; /* unaligned reads */
    uint8_t head[PCV_BLOCK_SIZE];         /* first and last block of a write */
    uint8_t tail[PCV_BLOCK_SIZE];
};

struct pcv_file {
    pcv_file_policy *policy;
    atomic_uint refs;
    int fd; /* the number never changes, what it refers to may: pcv_file_upgrade */
    atomic_bool is_writable;
    atomic_bool is_sync_failed;
    uint64_t dev, ino;
    char *path;
    pthread_rwlock_t lock; /* guards what follows, and the content of the backing file. Taken after a slot of the
                              intents; no lock is taken under it but those of the cipher pool and of the intents */
    uint64_t size;         /* plaintext */
    uint64_t cipher_size;
    bool has_id;
    uint8_t id[PCV_FILE_ID_SIZE];
};

static inline uint64_t cipher_off(const pcv_file_policy *p, uint64_t block)
{
    return PCV_HEADER_SIZE + block * p->cipher_block;
}

uint64_t pcv_file_cipher_size(const pcv_file_policy *p, uint64_t size);

/* --- the backing file: pcv_file_io.c --- */

PCV_MUST_USE int pcv_file_read_full(int fd, uint8_t *out, size_t size, uint64_t offset, size_t *got);
PCV_MUST_USE int pcv_file_write_full(int fd, const uint8_t *data, size_t size, uint64_t offset);
PCV_MUST_USE int pcv_file_from_aead(int rc); /* as an errno */
PCV_MUST_USE int pcv_file_load_size(pcv_file *f);
PCV_MUST_USE int pcv_file_load_id(pcv_file *f, uint64_t *bad_block);

/* Under the lock for writing. On shared storage, what was known may be old. */
PCV_MUST_USE int pcv_file_refresh(pcv_file *f);

/* One block into out[PCV_BLOCK_SIZE]; *plain is 0 beyond the end. */
PCV_MUST_USE int pcv_file_read_block(pcv_file *f, uint64_t block, uint8_t *out, size_t *plain, pcv_scratch *s,
                                     uint64_t *bad_block);

/* --- changing it: pcv_file_write.c --- */

/* Lock the file, to change it: with a place to seal into. To be undone also after an error. */
PCV_MUST_USE int pcv_file_begin(pcv_file *f, pcv_scratch *s);
void pcv_file_end(pcv_file *f, pcv_scratch *s);

/* Append size bytes of plaintext from block on, sealed, to s->sealed, which holds *used bytes. */
PCV_MUST_USE int pcv_file_seal(pcv_file *f, const uint8_t *plain, size_t size, uint64_t block, const uint8_t *id,
                               pcv_scratch *s, size_t *used);

/* Write size bytes of s->sealed so that all of them are there, or the file is as it was. final_size: what the backing
 * file is cut to afterwards, or -1. */
PCV_MUST_USE int pcv_file_put(pcv_file *f, uint64_t offset, size_t size, int64_t final_size, pcv_scratch *s);

/* Give an empty file a header of its own, over whatever short header was planted there. */
PCV_MUST_USE int pcv_file_ensure_header(pcv_file *f, pcv_scratch *s, uint64_t *bad_block);

/* Write where at most a part of the last block lies between the old end and offset. */
PCV_MUST_USE int pcv_file_write_at(pcv_file *f, uint64_t offset, const uint8_t *data, size_t size, pcv_scratch *s,
                                   uint64_t *bad_block);

/* Fill the last block with zeros if offset lies in a later one; the blocks in between become holes. */
PCV_MUST_USE int pcv_file_pad_before(pcv_file *f, uint64_t offset, pcv_scratch *s, uint64_t *bad_block);

extern const uint8_t pcv_file_zeros[PCV_BLOCK_SIZE];

/* --- its size: pcv_file_size.c --- */

/* Growing takes up to three writes. If one fails, those before it are taken back. */
void pcv_file_undo_growth(pcv_file *f, uint64_t size, pcv_scratch *s);

#endif
