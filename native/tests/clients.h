/* The programs that use a mount in test_lane. */
#ifndef PCV_TESTS_CLIENTS_H
#define PCV_TESTS_CLIENTS_H

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "device.h"
#include "model.h"
#include "pcv_file.h"
#include "pcv_lane.h"
#include "world.h"

#define MESSAGE_ROOM (PCV_FILE_IO_MAX + 2 * PCV_BLOCK_SIZE)
#define UNKNOWN_NODE (UINT64_C(1) << 62 | 7777)

enum {
    REFUSED_ERROR = EMFILE,  /* a file that the lane can't open by itself, at random */
    FORWARDED_ERROR = EXDEV, /* what Python says to requests about names: it has changed nothing */
    FAULT_ERROR = ENFILE,    /* of system calls that fail */
};

struct client {
    struct world *world;
    struct rng rng;
    struct object *favourite; /* a directory, pinned, in which names are changed; NULL: in any */
    uint8_t *message; /* MESSAGE_ROOM */
    uint8_t *data;    /* MESSAGE_ROOM, or MODEL_FILE_MAX if that is more */
};

/* Threads. They return when their work is done or the mount is gone. */
void *client_run(void *client);
void client_sync_and_use(struct client *client, void (*let_syncs_go)(bool is_open));
void client_idle(struct client *client);

/* Python's reply to a forwarded message, in its place; returns its size, or 0 if there is none. */
size_t python_reply(uint8_t *message, size_t size);

/* --- what they share; bool: false, the mount is gone ------------------------------------------------------------ */

/* Put header and body; returns where more may follow. */
uint8_t *client_put(struct client *client, uint32_t opcode, uint64_t node, const void *body, size_t size);
/* Send what was put, up to end, and wait. */
bool client_call(struct client *client, const uint8_t *end, struct request *request, void *reply, size_t room);
/* Of what has no reply. */
void client_send(struct client *client, const uint8_t *end);
/* Any object of that type (0: any) that the kernel knows, pinned; or NULL. */
struct object *client_pick(struct client *client, uint32_t type, uint64_t *number);

/* Python did not want to open the file. */
bool is_refused(const struct request *request);
/* Python had to answer, or a system call failed: nothing has changed. */
bool is_left(const struct client *client, const struct request *request);

bool client_use_content(struct client *client, unsigned int kind);            /* client_content.c */
bool client_write_some(struct client *client, struct object *file, uint64_t node);
bool client_write_burst(struct client *client);
bool client_read_some(struct client *client, struct object *file, uint64_t node);
bool client_change_names(struct client *client, unsigned int kind);           /* client_names.c */
bool client_look_up(struct client *client);
bool client_look_up_name(struct client *client, struct object *dir, const char *name);
bool client_look(struct client *client, unsigned int kind);                   /* client_looks.c */
bool client_list(struct client *client);                                      /* client_lists.c */
bool client_forget(struct client *client);                                    /* client_others.c */
bool client_forget_all(struct client *client);
bool client_do_other(struct client *client, unsigned int kind);
bool client_call_python(struct client *client);

enum { CONTENT_KINDS = 10, NAME_KINDS = 8, LOOK_KINDS = 7, OTHER_KINDS = 6 };

#endif
