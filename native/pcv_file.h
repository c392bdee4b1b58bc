/* The content of an open backing file: what pcvfs/fs/files.py does, for the block lane.
 *
 * The rules (holes, partial last blocks, headers, what a failed write leaves behind) are those of files.py, which stays
 * as the reference; the same tests run on both.
 *
 * Threads: any number. Reads of one file run side by side, everything that changes it runs alone (a lock per file).
 * A file is counted: whoever gets it by pcv_file_ref must give it back, and the last one closes it.
 * Errors: 0, or -errno. -EBADMSG is a block that does not decrypt or a header that is none; *bad_block says which.
 */
#ifndef PCV_FILE_H
#define PCV_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_aead.h"
#include "pcv_err.h"
#include "pcv_intent.h"

#define PCV_FILE_IO_MAX (1 << 20)    /* bytes per read or write */
#define PCV_BAD_HEADER UINT64_MAX    /* as a block number */

typedef struct pcv_file pcv_file;
typedef struct pcv_file_policy pcv_file_policy;
typedef struct pcv_scratch pcv_scratch;

/* Which space to reserve before a write; pcvfs/cipherdir/backing.py says when. */
enum pcv_prealloc {
    PCV_PREALLOC_OFF = 0,
    PCV_PREALLOC_NEW = 1, /* behind the end of the file */
    PCV_PREALLOC_ALL = 2,
};

/* What all files of a mount share. aead and intents (or NULL) must outlive it. */
PCV_MUST_USE int pcv_file_policy_new(pcv_aead *aead, size_t overhead, pcv_intents *intents, int prealloc,
                                     bool is_shared, pcv_file_policy **out);
void pcv_file_policy_free(pcv_file_policy *policy);

/* The size to show for a backing file of that size. */
uint64_t pcv_file_plain_size(const pcv_file_policy *policy, uint64_t cipher_size);

/* Buffers for one thread at a time. */
PCV_MUST_USE int pcv_scratch_new(pcv_scratch **out);
void pcv_scratch_free(pcv_scratch *scratch);

/* path: ciphertext path relative to the cipherdir, for intents; a hint, it may go stale. fd is taken over on success.
 * The file starts with one reference. */
PCV_MUST_USE int pcv_file_new(pcv_file_policy *policy, int fd, bool is_writable, const char *path, pcv_file **out);
pcv_file *pcv_file_ref(pcv_file *file);
void pcv_file_unref(pcv_file *file);

/* fd, taken over on success, is the same file open for reading and writing; the descriptor number of the file stays. */
PCV_MUST_USE int pcv_file_upgrade(pcv_file *file, int fd);
bool pcv_file_is_writable(const pcv_file *file);
int pcv_file_fd(const pcv_file *file);

/* Read up to size (<= PCV_FILE_IO_MAX) bytes; *got is less only at the end of the file.
 * out has room for size + PCV_BLOCK_SIZE: whole blocks are decrypted into it. */
PCV_MUST_USE int pcv_file_read(pcv_file *file, uint64_t offset, size_t size, uint8_t *out, size_t *got,
                               pcv_scratch *scratch, uint64_t *bad_block);
/* Write all of data (size <= PCV_FILE_IO_MAX). After an error the size is what it was, and each block old or new; where
 * overwriting takes no space (PCV_PREALLOC_ALL) and fails all the same, the one it failed in may be unreadable. */
PCV_MUST_USE int pcv_file_write(pcv_file *file, uint64_t offset, const uint8_t *data, size_t size, pcv_scratch *scratch,
                                uint64_t *bad_block);
PCV_MUST_USE int pcv_file_truncate(pcv_file *file, uint64_t size, pcv_scratch *scratch, uint64_t *bad_block);

/* fsync or fdatasync. After a failure every later one fails with EIO: the kernel has marked the pages clean. */
PCV_MUST_USE int pcv_file_sync(pcv_file *file, bool is_data_only);

/* Plaintext size. */
PCV_MUST_USE int pcv_file_size(pcv_file *file, uint64_t *size);

/* SEEK_DATA or SEEK_HOLE in plaintext offsets, in whole blocks. -ENXIO past the end. */
PCV_MUST_USE int pcv_file_seek(pcv_file *file, uint64_t offset, int whence, uint64_t *result);

/* fallocate: reserve, and grow unless is_keep_size. */
PCV_MUST_USE int pcv_file_allocate(pcv_file *file, uint64_t offset, uint64_t length, bool is_keep_size,
                                   pcv_scratch *scratch, uint64_t *bad_block);

#endif
