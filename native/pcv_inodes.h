/* The objects that the kernel knows of, and where each of them is in the cipherdir: pcvfs/fs/inodes.py, for the lane.
 *
 * An inode stays in the table while the kernel holds a lookup on it or something of ours needs it (pins: one for every
 * known child name). A directory can therefore not leave before the last of its children, and a path can always be
 * walked up to the root. No system calls but fstat-free bookkeeping; what an inode holds is closed by on_drop.
 *
 * Numbers are those of the backing filesystem where possible; anything on another device, and any number that is still
 * taken by a deleted object, gets one from a counter starting at 2**63.
 *
 * Threads: one, the lane's main thread; pcv_inodes_count and pcv_inodes_lookups from any.
 * Errors:  0, or -errno.
 */
#ifndef PCV_INODES_H
#define PCV_INODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "pcv_err.h"
#include "pcv_file.h"
#include "pcv_spec.h"

#define PCV_ROOT_INODE 1

typedef struct pcv_inode pcv_inode;
typedef struct pcv_inodes pcv_inodes;

/* A known name. Never changed once made. */
struct pcv_link {
    struct pcv_link *next;
    pcv_inode *parent;
    uint16_t size;
    char cname[]; /* NUL-terminated */
};

/* A place in a list of what is open, most recently used last. */
struct pcv_lru {
    struct pcv_lru *previous, *next; /* both NULL: in no list */
};

struct pcv_inode {
    pcv_inode *next_by_number, *next_by_identity; /* hash chains */
    uint64_t number;
    uint64_t dev, ino; /* the backing object */
    uint64_t nlookup;
    struct pcv_link *links; /* NULL: deleted, or the root. The first leads to the object */
    uint32_t pins;
    uint32_t type;      /* S_IFMT */
    bool has_identity;  /* found by pcv_inodes_find */
    bool has_diriv;     /* directory: diriv was read */
    int fd;             /* directory: while cached, or -1; pcv_dirs.h */
    int orphan_fd;      /* O_PATH descriptor of an object that lost its last known name, or -1 */
    union {
        uint8_t diriv[PCV_DIRIV_SIZE]; /* directory */
        pcv_file *file;                /* regular file: while attached, or NULL */
    };
    struct pcv_lru lru; /* directory: of descriptors; file: of attached files */
};

/* on_drop: called with each inode that leaves the table, to close what it holds. */
PCV_MUST_USE int pcv_inodes_new(const struct stat *root, void (*on_drop)(void *context, pcv_inode *inode),
                                void *context, pcv_inodes **out);
/* Drops every inode. NULL is allowed. */
void pcv_inodes_free(pcv_inodes *inodes);

/* NULL: the kernel should not have that number. */
pcv_inode *pcv_inodes_get(const pcv_inodes *inodes, uint64_t number);
/* By backing object; NULL if it is not known. */
pcv_inode *pcv_inodes_find(const pcv_inodes *inodes, uint64_t dev, uint64_t ino);

/* The inode of an object found under a name: the known one, or a new one with nlookup 0, which the caller must raise or
 * give to pcv_inodes_release. -ENOMEM; -ELOOP: the root appeared inside itself. */
PCV_MUST_USE int pcv_inodes_intern(pcv_inodes *inodes, const struct stat *st, pcv_inode *parent, const char *cname,
                                   pcv_inode **out);

/* A directory has one name: a new one replaces the old. Nothing happens to a name that is known (add) or not (remove).
 * -ENOMEM, and nothing has changed. */
PCV_MUST_USE int pcv_inodes_add_link(pcv_inodes *inodes, pcv_inode *inode, pcv_inode *parent, const char *cname);
void pcv_inodes_remove_link(pcv_inodes *inodes, pcv_inode *inode, pcv_inode *parent, const char *cname);

/* One more, one less reason to stay. */
void pcv_inodes_looked_up(pcv_inodes *inodes, pcv_inode *inode);
void pcv_inodes_pin(pcv_inodes *inodes, pcv_inode *inode);
void pcv_inodes_unpin(pcv_inodes *inodes, pcv_inode *inode);
/* The kernel takes back count lookups. -EINVAL: it never had them. */
PCV_MUST_USE int pcv_inodes_forget(pcv_inodes *inodes, uint64_t number, uint64_t count);
/* Drop an inode if nobody needs it, and then those of its parents that only it needed. */
void pcv_inodes_release(pcv_inodes *inodes, pcv_inode *inode);

/* Ciphertext path relative to the cipherdir; "" if it was deleted, is the root, or the path is longer than room. */
void pcv_inodes_path(const pcv_inode *inode, char *path, size_t room);

/* Call for each inode; it must not change the table. */
void pcv_inodes_each(pcv_inodes *inodes, void (*visit)(void *context, pcv_inode *inode), void *context);

/* The numbers of all, in no order; returns how many there are, of which the first room are in numbers. */
size_t pcv_inodes_list(const pcv_inodes *inodes, uint64_t *numbers, size_t room);

size_t pcv_inodes_count(const pcv_inodes *inodes);
uint64_t pcv_inodes_lookups(const pcv_inodes *inodes);

/* --- lists ------------------------------------------------------------------------------------------------------ */

/* A list head points at itself when empty. */
void pcv_lru_init(struct pcv_lru *list);
void pcv_lru_remove(struct pcv_lru *item); /* nothing happens if it is in no list */
void pcv_lru_touch(struct pcv_lru *list, struct pcv_lru *item); /* make it the most recent, also if it is new */
pcv_inode *pcv_lru_oldest(const struct pcv_lru *list);          /* NULL if empty */

#endif
