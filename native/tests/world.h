/* The mount of test_lane: its cipherdir and what is known of it. */
#ifndef PCV_TESTS_WORLD_H
#define PCV_TESTS_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model.h"
#include "pcv_lane.h"
#include "volume.h"

#define WORLD_TIMEOUT 7
#define WORLD_LONG_NAME_SIZE 176 /* the shortest that is hashed when it is encrypted */
#define WORLD_BAD_NAME "no-name-of-ours"
#define WORLD_CORRUPT_BLOCK 3
#define WORLD_CORRUPT_SIZE (10 * PCV_BLOCK_SIZE)

enum world_last_step { WORLD_STOP, WORLD_STOP_AT_ONCE, WORLD_END_DEVICE };

struct world {
    struct volume volume;
    struct model model;
    pcv_lane *lane;
    uint64_t corrupt, odd, broken, play, play_file; /* numbers */
    char long_name[WORLD_LONG_NAME_SIZE + 1];
    atomic_int steps_left;
    atomic_int clients; /* that are not done yet */
    bool has_bursts_only; /* large writes, several of a file at once, and little else */
    bool keeps_positions; /* the filesystem below: of listings, while names change */
    bool has_faults; /* system calls about names fail */
    enum world_last_step last_step;
    int end_error;
    bool is_complete; /* everybody got their replies, so the tree is what it is known to be */
};

/* Besides an empty directory and some files:
 *     corrupt   a file with a bad block
 *     odd       a directory that holds a long name and, unless names are plaintext, what nobody may see
 *     broken    with IVs: a directory without one
 *     play      a directory that is nobody's, with a file */
void world_make(struct world *world, enum volume_names names, int kind, int prealloc, bool has_intents);

/* Whether names of that length are made by Python. */
bool world_is_long(const struct world *world, const char *name);

/* Compare what is below with what is known, if that is complete, and let go of everything. */
void world_check(struct world *world);

#endif
