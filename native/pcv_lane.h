/* The block lane: owns the /dev/fuse descriptor of a mount and stands between the kernel and pyfuse3.
 *
 *     kernel /dev/fuse  <-->  lane  <-- SOCK_SEQPACKET pair -->  libfuse session of pyfuse3
 *
 * What it serves itself: lookups of names that do not exist, and attributes, in directories that it was told of; READ, WRITE, FSYNC, FSYNCDIR, FALLOCATE, LSEEK, SETATTR of size and times, and GETATTR of files
 * that it has open; and OPEN, FLUSH, RELEASE of files, by telling the kernel that there is no need for them. Everything else goes
 * to Python through the socket, and Python's replies go back to the kernel.
 *
 * Files are known by node id, not by handle: since OPEN is answered ENOSYS, the kernel sends none. When a request needs
 * a file that the lane has not got, it is parked and pcv_lane_wait returns PCV_LANE_NEED_FILE.
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

#include "pcv_dirs.h"
#include "pcv_err.h"
#include "pcv_file.h"

typedef struct pcv_lane pcv_lane;

enum pcv_lane_event {
    PCV_LANE_REQUEST = 1,   /* a message for pyfuse3 is in the socket */
    PCV_LANE_NEED_FILE = 2, /* answer with pcv_lane_give_file or pcv_lane_refuse, then wait again */
    PCV_LANE_CORRUPT = 3,   /* a block did not decrypt; the request was answered EIO */
    PCV_LANE_ENDED = 4,     /* the kernel let go of the mount, or pcv_lane_stop */
    PCV_LANE_NEED_DIR = 5, /* a directory to sync: answer with pcv_lane_give_dir or pcv_lane_refuse, then wait again */
    PCV_LANE_IDLE = 6, /* nothing happened for PCV_LANE_IDLE_MS, and files are open; once per pause */
};

struct pcv_lane_options {
    int dev_fd; /* /dev/fuse, mounted; becomes non-blocking; stays the caller's */
    int workers; /* 1 .. PCV_LANE_WORKERS_MAX */
    unsigned int spin_us; /* how long to poll the device before sleeping, if polling pays */
    uint64_t attr_timeout_s; /* of the attributes that the lane answers */
    bool has_capabilities; /* security.capability has an effect here; else it is not worth asking Python */
    bool serves_attrs; /* false: attributes are not those of the backing file (force_owner) */
    bool has_cached_dirs; /* the kernel may keep symlinks; listings not: each handle has positions of its own */
};

struct pcv_lane_statistics {
    uint64_t served, forwarded, need_file, stolen, spin_hits, spin_misses;
};

#define PCV_LANE_WORKERS_MAX 4
#define PCV_LANE_IDLE_MS 1000

/* -errno, or 0. *python_fd: the end of the socket pair for libfuse, the caller's. */
PCV_MUST_USE int pcv_lane_new(const struct pcv_lane_options *options, pcv_lane **out, int *python_fd);

/* Ends the workers. No other call may be running. NULL is allowed. */
void pcv_lane_free(pcv_lane *lane);

/* main: serve until there is something for Python; enum pcv_lane_event, or -errno. */
PCV_MUST_USE int pcv_lane_wait(pcv_lane *lane);

/* main: what the last event was about. For NEED_FILE, *value tells whether it must be writable; for CORRUPT it is the
 * block number. */
void pcv_lane_event_details(const pcv_lane *lane, uint64_t *node, uint64_t *value);

/* main: the lane may use file for that node from now on; it takes a reference of its own. Replaces what it had. */
PCV_MUST_USE int pcv_lane_give_file(pcv_lane *lane, uint64_t node, pcv_file *file);

/* main: answer lookups of absent names in directories that pcv_lane_give_directory makes known. Once. */
PCV_MUST_USE int pcv_lane_set_names(pcv_lane *lane, const struct pcv_name_format *format);

/* main: know a directory; fd stays the caller's, and open until pcv_lane_drop_directory. */
void pcv_lane_give_directory(pcv_lane *lane, uint64_t node, int fd, const uint8_t diriv[PCV_DIRIV_SIZE]);
void pcv_lane_drop_directory(pcv_lane *lane, uint64_t node);

/* main: the directory to sync; fd is taken over. */
void pcv_lane_give_dir(pcv_lane *lane, int fd);

/* main: the parked request fails with that errno (positive). */
void pcv_lane_refuse(pcv_lane *lane, int error);

/* main: forget a file. Waits for the reads and writes under way, since whoever opens it anew must find it as they leave
 * it; a sync goes on. Nothing happens if the file is not known. */
void pcv_lane_drop_file(pcv_lane *lane, uint64_t node);

/* Any thread: make pcv_lane_wait return PCV_LANE_ENDED. */
void pcv_lane_stop(pcv_lane *lane);

/* Any thread. */
void pcv_lane_get_statistics(const pcv_lane *lane, struct pcv_lane_statistics *out);

#endif
