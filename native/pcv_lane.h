/* The block lane: owns the /dev/fuse descriptor of a mount and stands between the kernel and pyfuse3.
 *
 *     kernel /dev/fuse  <-->  lane  <-- SOCK_SEQPACKET pair -->  libfuse session of pyfuse3
 *
 * What it serves itself: the common case of names and attributes (pcv_tree.h), the content of files (pcv_serve.h), and
 * OPEN, FLUSH, RELEASE, OPENDIR, RELEASEDIR, by telling the kernel that there is no need for them. Everything else goes
 * to Python through the socket, works on the same tree, and Python's replies go back to the kernel.
 *
 * Files are known by node id, not by handle: since OPEN is answered ENOSYS, the kernel sends none. The lane opens a file
 * when it first needs it. If that takes more than its name, the request is parked and pcv_lane_wait returns
 * PCV_LANE_NEED_FILE.
 *
 * Threads: one thread calls pcv_lane_wait and everything marked "main"; the lane has workers of its own for what may
 * take long (syncing) and for what can run beside the main thread (large reads and writes). Replies are matched by the
 * request's unique number, so any thread may send them; each request is owned by one thread, which replies once.
 * The main thread must not hold the GIL while it waits; nothing here calls Python.
 */
#ifndef PCV_LANE_H
#define PCV_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"
#include "pcv_tree.h"

typedef struct pcv_lane pcv_lane;

enum pcv_lane_event {
    PCV_LANE_REQUEST = 1,   /* a message for pyfuse3 is in the socket */
    PCV_LANE_NEED_FILE = 2, /* answer with pcv_lane_give_fd or pcv_lane_refuse, then wait again */
    PCV_LANE_CORRUPT = 3,   /* a block did not decrypt; the request was answered EIO */
    PCV_LANE_ENDED = 4,     /* the kernel let go of the mount, or pcv_lane_stop */
    PCV_LANE_BAD_NAME = 5,  /* an entry of a directory, pcv_lane_event_name, can't be decrypted and was hidden */
    PCV_LANE_LEFTOVERS = 6, /* a directory has temporary names that a killed process left */
    PCV_LANE_NO_DIRIV = 7,  /* a directory has no usable IV; the request was answered EIO */
};

struct pcv_lane_options {
    int dev_fd; /* /dev/fuse, mounted; becomes non-blocking; stays the caller's */
    int workers; /* 1 .. PCV_LANE_WORKERS_MAX */
    unsigned int spin_us; /* how long to poll the device before sleeping, if polling pays */
};

struct pcv_lane_statistics {
    uint64_t served, forwarded, need_file, stolen, spin_hits, spin_misses;
    uint64_t inodes, lookups, open_files, open_dirs;
};

#define PCV_LANE_WORKERS_MAX 4
#define PCV_LANE_IDLE_MS 1000 /* after which files are closed */

/* -errno, or 0. The tree must outlive the lane. *python_fd: the end of the socket pair for libfuse, the caller's. */
PCV_MUST_USE int pcv_lane_new(const struct pcv_lane_options *options, pcv_tree *tree, pcv_lane **out, int *python_fd);

/* Ends the workers. No other call may be running. NULL is allowed. */
void pcv_lane_free(pcv_lane *lane);

/* main: serve until there is something for Python; enum pcv_lane_event, or -errno. */
PCV_MUST_USE int pcv_lane_wait(pcv_lane *lane);

/* main: what the last event was about. For NEED_FILE, *value tells whether it must be writable; for CORRUPT it is the
 * block number. */
void pcv_lane_event_details(const pcv_lane *lane, uint64_t *node, uint64_t *value);

/* main: of an entry; NUL-terminated, valid until the next wait. */
const char *pcv_lane_event_name(const pcv_lane *lane);

/* main: a descriptor of the needed file, taken over on success. -errno. */
PCV_MUST_USE int pcv_lane_give_fd(pcv_lane *lane, uint64_t node, int fd, bool is_writable);

/* main: the parked request fails with that errno (positive). */
void pcv_lane_refuse(pcv_lane *lane, int error);

/* Any thread: make pcv_lane_wait return PCV_LANE_ENDED. */
void pcv_lane_stop(pcv_lane *lane);

/* Any thread. */
void pcv_lane_get_statistics(const pcv_lane *lane, struct pcv_lane_statistics *out);

#endif
