/* A tree that is called directly, message by message, with nothing else about: no lane, no threads. */
#ifndef PCV_TESTS_BOX_H
#define PCV_TESTS_BOX_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "faults.h"
#include "pcv_serve.h"
#include "volume.h"

#define FORWARDED 9999 /* no error: the message is Python's */

struct box {
    struct volume volume;
    pcv_tree *tree;
    struct pcv_server server;
    int replies;         /* a file in memory that they are appended to */
    uint32_t uid, gid;   /* who asks */
    uint8_t *reply;      /* of the last call, without its header */
    size_t reply_size;
    struct fault *fault; /* armed while a message is served; or NULL */
    unsigned int failed; /* calls that it let fail */
    uint64_t unique;
    unsigned int fds, entries; /* when it was opened */
};

void box_open(struct box *box, enum volume_names names);
/* Checks that all was forgotten, that nothing is left open, and that the cipherdir is as it was. */
void box_close(struct box *box);

/* Serve a message of which no byte more is there than size; its header's unique and len are filled in. The errno of the
 * reply, or FORWARDED; a message that has no reply gives 0. */
int box_send(struct box *box, const void *message, size_t size);

/* The same, put together from a fixed part and up to two strings (NULL: none). */
int box_call(struct box *box, uint32_t opcode, uint64_t node, const void *fixed, size_t size, const char *first,
             const char *second);

int box_lookup(struct box *box, uint64_t parent, const char *name);
int box_mkdir(struct box *box, uint64_t parent, const char *name, uint32_t mode);
int box_create(struct box *box, uint64_t parent, const char *name, uint32_t mode, uint32_t flags);
int box_mknod(struct box *box, uint64_t parent, const char *name, uint32_t mode, uint32_t rdev);
int box_symlink(struct box *box, uint64_t parent, const char *name, const char *target);
int box_link(struct box *box, uint64_t node, uint64_t parent, const char *name);
int box_unlink(struct box *box, uint64_t parent, const char *name);
int box_rmdir(struct box *box, uint64_t parent, const char *name);
int box_rename(struct box *box, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name);
int box_rename2(struct box *box, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
                uint32_t flags);
/* As many lookups as it has. */
void box_forget(struct box *box, uint64_t node);

/* The entry in the last reply, and its node. */
struct fuse_entry_out box_entry(const struct box *box);
uint64_t box_node(const struct box *box);

/* Behind the tree's back. */
struct pcv_place box_place(struct box *box, uint64_t parent, const char *name);
bool box_has(struct box *box, uint64_t parent, const char *name);
struct stat box_stat(struct box *box, uint64_t parent, const char *name);
pcv_inode *box_inode(struct box *box, uint64_t node);

#endif
