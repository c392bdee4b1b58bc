/* Directories of a mount: their descriptors, which are cached, and their IVs.
 *
 * Threads: one, the lane's main thread. A descriptor handed out stays valid until pcv_dirs_trim, which is called between
 * requests.
 * Errors:  descriptors and 0, or -errno.
 */
#ifndef PCV_DIRS_H
#define PCV_DIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"
#include "pcv_inodes.h"
#include "pcv_spec.h"

struct pcv_dirs {
    int root_fd;
    bool has_diriv;
    size_t max; /* descriptors kept */
    _Atomic size_t count; /* changed by the lane's main thread, read by any */
    struct pcv_lru open;
};

/* root_fd stays the caller's. */
void pcv_dirs_init(struct pcv_dirs *dirs, int root_fd, bool has_diriv, size_t max);

/* For *at calls; readable where the mode of the directory allows it. -ENOENT: it was removed; -ENOTDIR. */
PCV_MUST_USE int pcv_dirs_fd(struct pcv_dirs *dirs, pcv_inode *dir);

/* The directory's IV, zero without IVs; *diriv is valid as long as dir. -EIO: it is missing or malformed. */
PCV_MUST_USE int pcv_dirs_diriv(struct pcv_dirs *dirs, pcv_inode *dir, const uint8_t **diriv);

/* Cache a descriptor of a directory, which is taken over, and its IV unless that is NULL. */
void pcv_dirs_adopt(struct pcv_dirs *dirs, pcv_inode *dir, int fd, const uint8_t *diriv);

/* Close a cached descriptor, if there is one. */
void pcv_dirs_evict(struct pcv_dirs *dirs, pcv_inode *dir);
/* Close those that are too many, least recently used first. Between requests only. */
void pcv_dirs_trim(struct pcv_dirs *dirs);

#endif
