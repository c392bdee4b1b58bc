#include "pcv_intent.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The layout that intents.py unpacks; native byte order, since a slot never leaves its machine. */
struct head {
    _Atomic uint64_t is_busy; /* stored last by begin, first by end */
    uint8_t boot_id[16];
    uint64_t root_dev, root_ino;
    uint64_t file_dev, file_ino;
    uint64_t offset, size;
    int64_t final_size;
    uint64_t begun_ns; /* CLOCK_REALTIME, which file times are in */
    uint8_t file_id[PCV_FILE_ID_SIZE];
    uint16_t path_size;
    char path[];
};

_Static_assert(offsetof(struct head, path) == 106, "intents.py reads the path there");
_Static_assert(offsetof(struct head, path) + PATH_MAX < PCV_INTENT_HEAD, "any path fits");

struct pcv_intents {
    uint8_t *area;
    uint8_t boot_id[16];
    uint64_t root_dev, root_ino;
    pthread_mutex_t lock; /* guards is_taken; held for no longer than a scan */
    pthread_cond_t freed;
    bool is_taken[PCV_INTENT_SLOTS];
};

int pcv_intents_new(uint8_t *area, const uint8_t boot_id[16], uint64_t root_dev, uint64_t root_ino, pcv_intents **out)
{
    pcv_intents *intents = calloc(1, sizeof *intents);
    if (!intents)
        return PCV_ERR_NOMEM;
    intents->area = area;
    memcpy(intents->boot_id, boot_id, sizeof intents->boot_id);
    intents->root_dev = root_dev;
    intents->root_ino = root_ino;
    pthread_mutex_init(&intents->lock, NULL);
    pthread_cond_init(&intents->freed, NULL);
    *out = intents;
    return PCV_OK;
}

void pcv_intents_free(pcv_intents *intents)
{
    if (!intents)
        return;
    pthread_cond_destroy(&intents->freed);
    pthread_mutex_destroy(&intents->lock);
    free(intents);
}

static struct head *head_of(const pcv_intents *intents, int slot)
{
    return (struct head *)(void *)(intents->area + (size_t)slot * PCV_INTENT_SLOT_SIZE);
}

int pcv_intent_take(pcv_intents *intents, uint8_t **data)
{
    pthread_mutex_lock(&intents->lock);
    for (;;) {
        for (int slot = 0; slot < PCV_INTENT_SLOTS; slot++) {
            if (!intents->is_taken[slot]) {
                intents->is_taken[slot] = true;
                pthread_mutex_unlock(&intents->lock);
                *data = (uint8_t *)head_of(intents, slot) + PCV_INTENT_HEAD;
                return slot;
            }
        }
        pthread_cond_wait(&intents->freed, &intents->lock);
    }
}

bool pcv_intent_note(pcv_intents *intents, int slot, const struct pcv_intent_file *file, uint64_t offset, size_t size,
                     int64_t final_size)
{
    size_t path_size = strlen(file->path);
    if (path_size >= PCV_INTENT_HEAD - sizeof(struct head) || size > PCV_INTENT_ROOM)
        return false;
    struct head *head = head_of(intents, slot);
    memcpy(head->boot_id, intents->boot_id, sizeof head->boot_id);
    head->root_dev = intents->root_dev;
    head->root_ino = intents->root_ino;
    head->file_dev = file->dev;
    head->file_ino = file->ino;
    memcpy(head->file_id, file->id, sizeof head->file_id);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    head->begun_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    head->offset = offset;
    head->size = size;
    head->final_size = final_size;
    head->path_size = (uint16_t)path_size;
    memcpy(head->path, file->path, path_size);
    atomic_store_explicit(&head->is_busy, 1, memory_order_release);
    return true;
}

void pcv_intent_clear(pcv_intents *intents, int slot)
{
    atomic_store_explicit(&head_of(intents, slot)->is_busy, 0, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* what the data is overwritten with next is not this write's */
}

void pcv_intent_give(pcv_intents *intents, int slot)
{
    pthread_mutex_lock(&intents->lock);
    intents->is_taken[slot] = false;
    pthread_cond_signal(&intents->freed);
    pthread_mutex_unlock(&intents->lock);
}

int pcv_intent_begin(pcv_intents *intents, const struct pcv_intent_file *file, uint64_t offset, const uint8_t *data,
                     size_t size, int64_t final_size)
{
    uint8_t *room;
    if (size > PCV_INTENT_ROOM)
        return -1;
    int slot = pcv_intent_take(intents, &room);
    memcpy(room, data, size);
    if (pcv_intent_note(intents, slot, file, offset, size, final_size))
        return slot;
    pcv_intent_give(intents, slot);
    return -1;
}

void pcv_intent_end(pcv_intents *intents, int slot)
{
    if (slot < 0)
        return;
    pcv_intent_clear(intents, slot);
    pcv_intent_give(intents, slot);
}
