/* Messages of every kind that a kernel sends, from a table: sound ones, and ones that no kernel sends.
 *
 * Knows the layouts of <linux/fuse.h> and nothing of a lane. Which nodes and names there are the caller says. Header
 * fields unique and len are the device's to fill in; see device_send.
 *
 * How a driver uses it: make a message, perhaps mangle it, send it, several of them at once; expect one reply if
 * message_has_reply, else none. After a sound message the caller can say what the reply must be; after a mangled one any
 * reply will do, as long as it is one, and what other messages did is as if it had not been sent (a mangled message
 * names other nodes than those whose content is compared, or only reads).
 */
#ifndef PCV_TESTS_MESSAGES_H
#define PCV_TESTS_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"

#define MESSAGE_DATA_MAX (128 << 10) /* of a write or a value */

/* What follows the fixed part of a message. */
enum message_tail {
    TAIL_NONE,
    TAIL_NAME,
    TAIL_TWO_NAMES, /* RENAME; SYMLINK: name and target */
    TAIL_DATA,      /* as many bytes as the fixed part says */
    TAIL_NAME_DATA, /* SETXATTR: both */
    TAIL_FORGETS,   /* as many as the fixed part says */
};

struct message_kind {
    uint32_t opcode;
    const char *name;
    uint16_t fixed;       /* bytes of the part that is always there */
    uint16_t count_field; /* where in it the 32-bit length of what follows is, for the last three tails */
    uint8_t tail;         /* enum message_tail */
    bool changes;         /* may change content, names or attributes */
};

extern const struct message_kind message_kinds[];
extern const size_t message_kind_count;

/* NULL: a kind that we do not know. */
const struct message_kind *message_kind_of(uint32_t opcode);

/* FORGET, BATCH_FORGET, INTERRUPT, NOTIFY_REPLY have none. DESTROY has one. */
bool message_has_reply(uint32_t opcode);

struct message_words {
    const uint64_t *nodes;
    size_t node_count;
    const char *const *names;
    size_t name_count;
};

/* A sound message of that kind, numbers at random, in out (room: MESSAGE_DATA_MAX + 4096); its size. */
size_t message_make(struct rng *rng, const struct message_kind *kind, const struct message_words *words, uint8_t *out);

/* Whether size bytes are as long as their parts say, names end, and none is empty or has a slash. */
bool message_is_sound(const uint8_t *message, size_t size);

enum message_mangling {
    MANGLE_CUT,     /* ends anywhere, after the header */
    MANGLE_GROWN,   /* has more behind its end than it says */
    MANGLE_COUNT,   /* says that more, or less, or far too much follows */
    MANGLE_NO_END,  /* the last name does not end */
    MANGLE_NAME,    /* empty, ".", "..", with a slash, of 255, 256 or 4095 bytes, no text */
    MANGLE_NODE,    /* a node that is not there, or none */
    MANGLE_NUMBERS, /* the fixed part, but for the length of what follows, is numbers that can't be */
    MANGLE_OPCODE,  /* the same bytes as another kind, or one that does not exist */
    MESSAGE_MANGLINGS,
};

/* Spoil a sound message in place; its new size. Some can't be spoiled in that way and stay sound. */
size_t message_mangle(struct rng *rng, enum message_mangling how, uint8_t *message, size_t size);

/* An INTERRUPT of the message with that unique. */
size_t message_interrupt(uint64_t unique, uint8_t *out);

#endif
