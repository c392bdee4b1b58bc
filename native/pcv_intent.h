/* The write in progress, noted in memory that outlives the process. See pcvfs/cipherdir/intents.py, which owns the file
 * and replays it; this is the part that runs for every write.
 *
 * A file has several slots of one size, so that writers need not wait for each other.
 *
 * Threads: any number; each write takes a slot, waiting for one if all are taken.
 */
#ifndef PCV_INTENT_H
#define PCV_INTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"
#include "pcv_spec.h"

#define PCV_INTENT_SLOTS 4
#define PCV_INTENT_HEAD 8192 /* bytes before the data of a slot */
#define PCV_INTENT_ROOM (5 << 18) /* bytes of data: one request of 1 MiB, sealed */
#define PCV_INTENT_SLOT_SIZE (PCV_INTENT_HEAD + PCV_INTENT_ROOM)

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

/* A free slot, and where its data goes (PCV_INTENT_ROOM bytes, page-aligned); waits for one if all are taken. Who holds
 * one must not wait for a second. What is put there counts once pcv_intent_note says so. */
PCV_MUST_USE int pcv_intent_take(pcv_intents *intents, uint8_t **data);

/* Note the write of the first size bytes of a slot's data; on return all of it is noted. False if it does not fit: then
 * the write goes on unprotected. final_size: what the file is cut to afterwards, or -1. */
bool pcv_intent_note(pcv_intents *intents, int slot, const struct pcv_intent_file *file, uint64_t offset, size_t size,
                     int64_t final_size);

/* The write is done, or was undone: the slot may be used for the next one. */
void pcv_intent_clear(pcv_intents *intents, int slot);

/* Give a cleared slot back. */
void pcv_intent_give(pcv_intents *intents, int slot);

/* All of it, for data that lies elsewhere: take, copy and note; the slot, or -1 if the write does not fit one. */
PCV_MUST_USE int pcv_intent_begin(pcv_intents *intents, const struct pcv_intent_file *file, uint64_t offset,
                                  const uint8_t *data, size_t size, int64_t final_size);

/* Clear and give. slot may be -1. */
void pcv_intent_end(pcv_intents *intents, int slot);

#endif
