/* What replies say, and that they are well-formed. */
#ifndef PCV_TESTS_REPLIES_H
#define PCV_TESTS_REPLIES_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"

/* An entry of a listing. */
struct shown {
    char name[256];
    uint64_t number;
    uint64_t offset; /* where to go on after it */
    uint32_t type;   /* DT_ */
    struct fuse_entry_out entry; /* READDIRPLUS; node 0: not looked up */
};

/* The entry at *at, which is moved on. False at the end. */
bool replies_next(const uint8_t *reply, size_t size, bool is_plus, size_t *at, struct shown *out);

/* Call for each lookup that a successful reply counts. Listings are checked, too. */
void replies_lookups(uint32_t opcode, const uint8_t *reply, size_t size, void (*given)(void *arg, uint64_t node),
                     void *arg);

#endif
