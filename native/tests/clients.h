/* The programs that use a mount in test_lane, and the files they know. */
#ifndef PCV_TESTS_CLIENTS_H
#define PCV_TESTS_CLIENTS_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "device.h"
#include "pcv_file.h"
#include "pcv_lane.h"

#define MESSAGE_ROOM (PCV_FILE_IO_MAX + 2 * PCV_BLOCK_SIZE)
#define FORGETS_MESSAGE_MAX (64 << 10) /* fits any socket */
#define FILE_ROOM (3 << 19)

enum {
    WORLD_DIRECTORY = 20,
    WORLD_FIRST_NODE = 100,
    WORLD_FILES = 6,
    WORLD_CORRUPT = WORLD_FIRST_NODE + WORLD_FILES - 1, /* the last one; nobody changes it */
    WORLD_CORRUPT_BLOCK = 3,
    WORLD_UNKNOWN = 7777,
};

enum {
    REFUSED_ERROR = EMFILE,  /* at random, for any file or directory */
    UNKNOWN_ERROR = ESTALE,
    FORWARDED_ERROR = EXDEV, /* attributes that went to Python */
};

struct world_file {
    pthread_rwlock_t lock; /* as the kernel's: whoever changes a file is alone with it. Guards what follows */
    size_t size;
    uint8_t *data;
    int fd; /* the backing file */
};

enum world_last_step { WORLD_STOP, WORLD_STOP_AT_ONCE, WORLD_END_DEVICE };

struct world {
    struct world_file files[WORLD_FILES];
    pcv_lane *lane;
    int directory; /* has one file, "present" */
    bool serves_attrs, knows_names;
    atomic_int steps_left;
    atomic_int clients; /* that are not done yet */
    bool has_bursts_only; /* large writes, several of a file at once, and little else */
    enum world_last_step last_step;
    int end_error;
    bool is_complete; /* everybody got their replies, so the files are what they are known to be */
};

struct client {
    struct world *world;
    struct rng rng;
    uint8_t *message; /* MESSAGE_ROOM */
    uint8_t *data;    /* FILE_ROOM */
};

void world_make(struct world *world, pcv_file_policy *policy, size_t overhead);
int world_reopen(const struct world_file *file, bool is_writable);
/* Compare all files with what is known of them, and let go of everything. */
void world_check(struct world *world, pcv_file_policy *policy);

/* Threads. They return when their work is done or the mount is gone. */
void *client_run(void *client);
void client_sync_and_use(struct client *client, void (*let_syncs_go)(bool is_open));
void client_idle(struct client *client);

/* Python's reply to a forwarded message, in its place; returns its size. Clients know it. */
size_t echo_of(uint8_t *message, size_t size);

#endif
