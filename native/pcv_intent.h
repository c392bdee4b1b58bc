/* The write in progress, noted in memory that outlives the process. See pcvfs/cipherdir/intents.py, which owns the file
 * and replays it; this is the part that runs for every write.
 *
 * A file has several slots of one size, so that writers need not wait for each other.
 *
 * Threads: any number; each write takes a slot, waiting for one if all are taken.
 */
#ifndef PCV_INTENT_H
#define PCV_INTENT_H

#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"
#include "pcv_spec.h"

#define PCV_INTENT_SLOTS 4
#define PCV_INTENT_HEAD 8192 /* bytes before the data of a slot */
#define PCV_INTENT_SLOT_SIZE (PCV_INTENT_HEAD + (5 << 18)) /* head and one request of 1 MiB, sealed */

typedef struct pcv_intents pcv_intents;

/* area: PCV_INTENT_SLOTS * PCV_INTENT_SLOT_SIZE bytes of a shared mapping, which must outlive the object. */
PCV_MUST_USE int pcv_intents_new(uint8_t *area, const uint8_t boot_id[16], uint64_t root_dev, uint64_t root_ino,
                                 pcv_intents **out);
void pcv_intents_free(pcv_intents *intents);

/* The file of a write: where it is, which it is, and the file id in its header. */
struct pcv_intent_file {
    const char *path; /* relative to the cipherdir; a hint */
    uint64_t dev, ino;
    const uint8_t *id; /* PCV_FILE_ID_SIZE bytes */
};

/* Note a write; on return all of it is noted. Returns the slot to give to pcv_intent_end, or -1 if it does not fit:
 * then the write goes on unprotected. final_size: what the file is cut to afterwards, or -1. */
int pcv_intent_begin(pcv_intents *intents, const struct pcv_intent_file *file, uint64_t offset, const uint8_t *data,
                     size_t size, int64_t final_size);

/* The write is done, or was undone. slot may be -1. */
void pcv_intent_end(pcv_intents *intents, int slot);

#endif
