/* The requests that the lane answers from an open file: one function per message, no queues, no Python. Internal.
 *
 * Source of the message layouts: <linux/fuse.h>. */
#ifndef PCV_SERVE_H
#define PCV_SERVE_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "pcv_file.h"
#include "pcv_tree.h"

/* What a serving thread owns. */
struct pcv_server {
    int dev_fd;
    const struct pcv_tree_options *options;
    uint8_t *out; /* PCV_FILE_IO_MAX + PCV_BLOCK_SIZE */
    pcv_scratch *scratch;
    uint64_t bad_block; /* set when serve returns true */
};

PCV_MUST_USE int pcv_server_init(struct pcv_server *server, int dev_fd, const struct pcv_tree_options *options);
void pcv_server_destroy(struct pcv_server *server);

/* Whether a message is one that needs no more than the file: for pcv_serve or, FSYNC, pcv_file_sync. */
bool pcv_is_served(const struct fuse_in_header *in, size_t size);

/* Whether the file must be writable for it. */
bool pcv_needs_writable(const struct fuse_in_header *in);

/* Answer a message that pcv_is_served. True if a block of the file did not decrypt: server->bad_block. */
bool pcv_serve(struct pcv_server *server, const struct fuse_in_header *in, pcv_file *file);

/* Answer with an errno (positive; 0 is success without data). */
void pcv_reply_error(int dev_fd, uint64_t unique, int error);

/* Answer with data. */
void pcv_reply(int dev_fd, uint64_t unique, const void *data, size_t size);

#endif
