/* Clients that forget what they know, ask what only Python can answer, and send what no kernel sends. */
#include <stdlib.h>
#include <string.h>

#include "clients.h"
#include "messages.h"
#include "replies.h"

#define INIT_NEVER (FUSE_ATOMIC_O_TRUNC | FUSE_SPLICE_READ | FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE)
#define INIT_ADDED (FUSE_HANDLE_KILLPRIV_V2 | FUSE_PARALLEL_DIROPS | FUSE_ASYNC_READ)
#define BATCH_MAX 200

/* --- forgetting ------------------------------------------------------------------------------------------------- */

static void send_forget(struct client *c, uint64_t number, uint64_t count)
{
    struct fuse_forget_in in = {.nlookup = count};
    client_send(c, client_put(c, FUSE_FORGET, number, &in, sizeof in));
}

static void send_batch(struct client *c, const struct fuse_forget_one *ones, uint32_t count)
{
    struct fuse_batch_forget_in in = {.count = count};
    uint8_t *end = client_put(c, FUSE_BATCH_FORGET, 0, &in, sizeof in);
    memcpy(end, ones, count * sizeof *ones);
    client_send(c, end + count * sizeof *ones);
}

/* What nobody uses at the moment. The messages must be sent before anybody looks one up again. */
bool client_forget(struct client *c)
{
    struct model *m = &c->world->model;
    struct fuse_forget_one ones[MODEL_OBJECTS];
    uint32_t count = 0;
    bool is_batch = rng_chance(&c->rng, 50);
    pthread_rwlock_wrlock(&m->names);
    for (size_t i = 0; i < MODEL_OBJECTS; i++) {
        uint64_t number = 0, lookups;
        if (m->objects[i].role == ROLE_PLAY || !rng_chance(&c->rng, is_batch ? 20 : 5))
            continue;
        lookups = model_take_back(m, &m->objects[i], rng_chance(&c->rng, 70), &number);
        if (lookups > 0 && !is_batch)
            send_forget(c, number, lookups);
        else if (lookups > 0)
            ones[count++] = (struct fuse_forget_one){number, lookups};
    }
    if (is_batch)
        send_batch(c, ones, count);
    pthread_rwlock_unlock(&m->names);
    return true;
}

/* At the end, with nobody else about; a request after it makes sure that it was read. */
bool client_forget_all(struct client *c)
{
    struct model *m = &c->world->model;
    struct fuse_forget_one ones[MODEL_OBJECTS];
    uint32_t count = 0;
    for (size_t i = 0; i < MODEL_OBJECTS; i++) {
        uint64_t number = 0, lookups = model_take_back(m, &m->objects[i], true, &number);
        if (lookups > 0)
            ones[count++] = (struct fuse_forget_one){number, lookups};
    }
    send_batch(c, ones, count);
    return client_call_python(c);
}

/* --- Python ----------------------------------------------------------------------------------------------------- */

static void fill_pattern(uint8_t *out, size_t size, uint64_t unique)
{
    struct rng rng = {unique};
    rng_fill(&rng, out, size);
}

static size_t echo_size(uint64_t unique)
{
    return (size_t)(unique * 37 % 3000);
}

/* What only Python answers, and the lane knows nothing of. */
static bool is_echoed(uint32_t opcode)
{
    switch (opcode) {
    case FUSE_SETXATTR:
    case FUSE_IOCTL:
    case FUSE_POLL:
    case FUSE_BMAP:
        return true;
    default:
        return opcode == 0 || opcode > 100;
    }
}

size_t python_reply(uint8_t *message, size_t size)
{
    struct fuse_in_header in;
    CHECK(size >= sizeof in);
    memcpy(&in, message, sizeof in);
    struct fuse_out_header out = {.unique = in.unique};
    struct fuse_init_out init = {.flags = UINT32_MAX & ~(in.unique & 8 ? (uint32_t)FUSE_WRITEBACK_CACHE : 0)};
    size_t payload = 0;
    if (!message_has_reply(in.opcode))
        return 0;
    if (in.opcode == FUSE_INIT) {
        payload = sizeof init;
        memcpy(message + sizeof out, &init, sizeof init);
    } else if (is_echoed(in.opcode)) {
        payload = echo_size(in.unique);
        fill_pattern(message + sizeof out, payload, in.unique);
    } else {
        out.error = -FORWARDED_ERROR;
    }
    out.len = (uint32_t)(sizeof out + payload);
    memcpy(message, &out, sizeof out);
    return out.len;
}

/* Anything else, of any size, goes to Python and back as it is. */
bool client_call_python(struct client *c)
{
    static const uint32_t opcodes[] = {0, FUSE_SETXATTR, FUSE_IOCTL, 200, 4096};
    struct request request;
    uint8_t reply[3000], expected[3000];
    size_t size = rng_chance(&c->rng, 80) ? rng_below(&c->rng, 300) : rng_below(&c->rng, 70 << 10);
    uint8_t *body = client_put(c, opcodes[rng_below(&c->rng, 5)], UNKNOWN_NODE, NULL, 0);
    rng_fill(&c->rng, body, size);
    if (!client_call(c, body + size, &request, reply, sizeof reply))
        return false;
    fill_pattern(expected, echo_size(request.unique), request.unique);
    CHECK(request.error == 0 && request.reply_size == echo_size(request.unique));
    CHECK(memcmp(reply, expected, request.reply_size) == 0);
    return true;
}

static bool initialise(struct client *c)
{
    struct request request;
    struct fuse_init_in in = {.major = 7, .minor = 40, .flags = (uint32_t)rng_next(&c->rng)};
    struct fuse_init_out out;
    if (!client_call(c, client_put(c, FUSE_INIT, 0, &in, sizeof in), &request, &out, sizeof out))
        return false;
    CHECK(request.error == 0 && (out.flags & INIT_NEVER) == 0 && (out.flags & INIT_ADDED) == INIT_ADDED);
    return true;
}

/* --- what needs no look at anything ----------------------------------------------------------------------------- */

static bool call_without_node(struct client *c)
{
    static const struct {
        uint32_t opcode;
        int error;
    } answers[] = {{FUSE_OPEN, ENOSYS}, {FUSE_FLUSH, ENOSYS}, {FUSE_RELEASE, 0}, {FUSE_RELEASEDIR, 0}};
    struct request request;
    size_t which = rng_below(&c->rng, 7);
    uint8_t body[64] = {0};
    struct fuse_open_out out;
    if (which < 4) {
        uint8_t *end = client_put(c, answers[which].opcode, UNKNOWN_NODE, body, sizeof body);
        if (!client_call(c, end, &request, NULL, 0))
            return false;
        CHECK(request.error == answers[which].error);
    } else if (which == 4) { /* the latter for a kernel that has to be told each time */
        uint8_t *end = client_put(c, FUSE_OPENDIR, 1, body, sizeof(struct fuse_open_in));
        if (!client_call(c, end, &request, &out, sizeof out))
            return false;
        CHECK(request.error == ENOSYS ||
              (request.error == 0 && out.open_flags == (FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE)));
    } else if (which == 5) {
        client_send(c, client_put(c, FUSE_INTERRUPT, 0, body, sizeof(struct fuse_interrupt_in)));
    } else {
        device_send_raw(c->message, rng_below(&c->rng, sizeof(struct fuse_in_header) - 1) + 1);
    }
    return true;
}

/* --- what no kernel sends --------------------------------------------------------------------------------------- */

/* Only the playground may be touched, and space would really be reserved. */
static void keep_in_play(struct client *c, size_t size)
{
    struct fuse_in_header in;
    memcpy(&in, c->message, sizeof in);
    const struct world *w = c->world;
    bool has_node = in.opcode == FUSE_RENAME || in.opcode == FUSE_RENAME2 || in.opcode == FUSE_LINK;
    const uint64_t *node = in.opcode == FUSE_LINK ? &w->play_file : &w->play;
    bool is_play = in.nodeid == w->play || in.nodeid == w->play_file;
    if (has_node && size >= sizeof in + sizeof *node)
        memcpy(c->message + sizeof in, node, sizeof *node);
    if (in.opcode == FUSE_FORGET || in.opcode == FUSE_FALLOCATE ||
        (!is_play && model_knows(&c->world->model, in.nodeid)))
        in.nodeid = UNKNOWN_NODE;
    memcpy(c->message, &in, sizeof in);
}

static void forget_one(void *client, uint64_t node)
{
    send_forget(client, node, 1);
}

/* Several kinds of them change how the rest of the session goes. */
static bool is_sent_elsewhere(uint32_t opcode)
{
    return opcode == FUSE_INIT || opcode == FUSE_DESTROY || opcode == FUSE_NOTIFY_REPLY;
}

static size_t make_nonsense(struct client *c)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    const struct message_kind *kind = &message_kinds[rng_below(&c->rng, message_kind_count)];
    const uint64_t play[] = {c->world->play, c->world->play_file}, nobody[] = {UNKNOWN_NODE, UNKNOWN_NODE};
    struct message_words words = {kind->tail == TAIL_FORGETS ? nobody : play, 2, names, 4};
    enum message_mangling how = (enum message_mangling)rng_below(&c->rng, MESSAGE_MANGLINGS);
    if (is_sent_elsewhere(kind->opcode))
        return 0;
    size_t size = message_make(&c->rng, kind, &words, c->message);
    if (kind->opcode != FUSE_BATCH_FORGET || how != MANGLE_OPCODE)
        size = message_mangle(&c->rng, how, c->message, size);
    keep_in_play(c, size);
    return size;
}

/* Any one reply will do. */
static bool send_nonsense(struct client *c)
{
    struct fuse_in_header in;
    struct request request = {.reply = malloc(MESSAGE_ROOM), .room = MESSAGE_ROOM};
    bool is_there = true;
    CHECK(request.reply != NULL);
    pthread_rwlock_rdlock(&c->world->model.names); /* or a number might come to mean something */
    size_t size = make_nonsense(c);
    memcpy(&in, c->message, sizeof in);
    bool is_other_forget = in.opcode == FUSE_BATCH_FORGET && in.nodeid != UNKNOWN_NODE && in.nodeid != 0;
    if (size == 0 || is_sent_elsewhere(in.opcode) || is_other_forget) {
        is_there = true; /* another time */
    } else if (!message_has_reply(in.opcode)) {
        device_send(NULL, c->message, size);
    } else {
        device_send(&request, c->message, size);
        is_there = device_wait(&request);
        if (is_there && request.error == 0)
            replies_lookups(in.opcode, request.reply, request.reply_size, forget_one, c);
    }
    pthread_rwlock_unlock(&c->world->model.names);
    free(request.reply);
    return is_there;
}

bool client_do_other(struct client *c, unsigned int kind)
{
    struct pcv_lane_statistics statistics;
    switch (kind) {
    case 0:
        return call_without_node(c);
    case 1:
        return initialise(c);
    case 2:
        return client_call_python(c);
    case 3:
        pcv_lane_get_statistics(c->world->lane, &statistics);
        return true;
    default:
        return send_nonsense(c);
    }
}
