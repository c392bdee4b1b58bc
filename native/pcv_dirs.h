/* Directories that the lane knows: enough of them to answer attributes, and lookups of names that do not exist. Internal.
 *
 * A name that does exist is Python's: it has to enter the inode table. So this only ever reads.
 *
 * Threads: one, the lane's main thread.
 */
#ifndef PCV_DIRS_H
#define PCV_DIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_eme.h"
#include "pcv_err.h"
#include "pcv_spec.h"

/* How names of the volume are stored. */
struct pcv_name_format {
    pcv_eme *eme; /* NULL: plaintext names; must outlive the directories */
    bool is_raw64; /* base64 without padding */
    size_t long_name_max; /* longer encrypted names are hashed: Python's */
};

typedef struct pcv_dirs pcv_dirs;

PCV_MUST_USE int pcv_dirs_new(const struct pcv_name_format *format, pcv_dirs **out);
void pcv_dirs_free(pcv_dirs *dirs); /* NULL is allowed */

/* Know a directory, or know it anew. fd stays the caller's, and open until pcv_dirs_remove. */
PCV_MUST_USE int pcv_dirs_put(pcv_dirs *dirs, uint64_t node, int fd, const uint8_t diriv[PCV_DIRIV_SIZE]);
void pcv_dirs_remove(pcv_dirs *dirs, uint64_t node);

/* Descriptor of a known directory, or -1. */
int pcv_dirs_fd(const pcv_dirs *dirs, uint64_t node);

/* Whether a name certainly does not exist. False: it may, or it is not for us to say. */
bool pcv_dirs_is_absent(pcv_dirs *dirs, uint64_t node, const char *name, size_t size);

#endif
