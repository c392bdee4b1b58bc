#include "clients.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- messages --------------------------------------------------------------------------------------------------- */

uint8_t *client_put(struct client *c, uint32_t opcode, uint64_t node, const void *body, size_t size)
{
    struct fuse_in_header header = {.opcode = opcode, .nodeid = node, .uid = 1000, .gid = 1000, .pid = 1};
    memcpy(c->message, &header, sizeof header);
    if (size > 0)
        memcpy(c->message + sizeof header, body, size);
    return c->message + sizeof header + size;
}

bool client_call(struct client *c, const uint8_t *end, struct request *request, void *reply, size_t room)
{
    *request = (struct request){.reply = reply, .room = room};
    device_send(request, c->message, (size_t)(end - c->message));
    return device_wait(request);
}

void client_send(struct client *c, const uint8_t *end)
{
    device_send(NULL, c->message, (size_t)(end - c->message));
}

bool is_refused(const struct request *request)
{
    return request->error == REFUSED_ERROR && request->reply_size == 0;
}

bool is_left(const struct client *c, const struct request *request)
{
    return request->error == FORWARDED_ERROR || (c->world->has_faults && request->error == FAULT_ERROR);
}

struct object *client_pick(struct client *c, uint32_t type, uint64_t *number)
{
    struct model *m = &c->world->model;
    pthread_rwlock_rdlock(&m->names); /* so that it is not forgotten before it is pinned */
    struct object *object = model_any(m, &c->rng, type);
    *number = object ? model_pin(m, object) : 0;
    pthread_rwlock_unlock(&m->names);
    return object;
}

/* --- what they do ----------------------------------------------------------------------------------------------- */

static unsigned int any_kind(struct client *c, size_t kinds)
{
    return (unsigned int)rng_below(&c->rng, kinds);
}

static bool step(struct client *c)
{
    unsigned int percent = any_kind(c, 100);
    if (c->world->has_bursts_only)
        return percent < 50   ? client_write_burst(c)
               : percent < 80 ? client_call_python(c)
               : percent < 90 ? client_use_content(c, any_kind(c, CONTENT_KINDS))
                              : client_forget(c);
    if (percent < 30)
        return client_use_content(c, any_kind(c, CONTENT_KINDS));
    if (percent < 58)
        return client_change_names(c, any_kind(c, NAME_KINDS));
    if (percent < 70)
        return client_look_up(c);
    if (percent < 78)
        return client_look(c, any_kind(c, LOOK_KINDS));
    if (percent < 84)
        return client_list(c);
    if (percent < 87)
        return client_forget(c);
    return client_do_other(c, any_kind(c, OTHER_KINDS));
}

static void get_ready(struct client *c)
{
    c->message = malloc(MESSAGE_ROOM);
    c->data = malloc(MESSAGE_ROOM > MODEL_FILE_MAX ? MESSAGE_ROOM : MODEL_FILE_MAX);
    CHECK(c->message && c->data);
    memset(c->message, 0, MESSAGE_ROOM);
}

/* What the playground needs, and whoever does not look for names. */
static bool look_up_all(struct client *c)
{
    struct model *m = &c->world->model;
    bool is_there = true;
    pthread_rwlock_rdlock(&m->names);
    for (size_t i = 0; is_there && i < MODEL_ENTRIES; i++) {
        if (m->entries[i].dir == m->root)
            is_there = client_look_up_name(c, m->root, m->entries[i].name);
    }
    pthread_rwlock_unlock(&m->names);
    return is_there;
}

/* The one who is last forgets all, and stops the mount. */
static void leave(struct client *c, bool is_there)
{
    bool is_last = atomic_fetch_sub(&c->world->clients, 1) == 1;
    if (is_last && c->world->last_step == WORLD_STOP) {
        CHECK(is_there && client_forget_all(c));
        pcv_lane_stop(c->world->lane);
    }
    free(c->message);
    free(c->data);
}

void *client_run(void *arg)
{
    struct client *c = arg;
    struct world *world = c->world;
    get_ready(c);
    bool is_there = look_up_all(c);
    while (is_there) {
        int left = atomic_fetch_sub(&world->steps_left, 1);
        if (left == 100 && world->last_step == WORLD_STOP_AT_ONCE)
            pcv_lane_stop(world->lane);
        if (left == 100 && world->last_step == WORLD_END_DEVICE)
            device_end(world->end_error);
        if (left <= 0)
            break;
        is_there = step(c);
    }
    leave(c, is_there);
    return NULL;
}

/* --- special ones ----------------------------------------------------------------------------------------------- */

static struct object *file_called(struct client *c, const char *name, uint64_t *node)
{
    struct model *m = &c->world->model;
    struct entry *entry = model_find(m, m->root, name);
    CHECK(entry != NULL);
    *node = model_number(m, entry->object);
    CHECK(*node != 0);
    return entry->object;
}

static const char *const files[] = {"a", "b", "c", "d"};
enum { FILES = sizeof files / sizeof files[0] };

static void write_all(struct client *c)
{
    for (size_t i = 0; i < FILES; i++) {
        uint64_t node;
        struct object *file = file_called(c, files[i], &node);
        CHECK(client_write_some(c, file, node));
    }
}

void client_sync_and_use(struct client *c, void (*let_syncs_go)(bool is_open))
{
    enum { SYNCS = 40, USES = 150 };
    struct request requests[SYNCS];
    struct fuse_fsync_in in = {0};
    get_ready(c);
    CHECK(look_up_all(c));
    write_all(c);
    for (size_t i = 0; i < SYNCS; i++) {
        uint64_t node = 1;
        if (i % 5 > 0)
            (void)file_called(c, files[i % FILES], &node);
        uint8_t *end = client_put(c, node == 1 ? FUSE_FSYNCDIR : FUSE_FSYNC, node, &in, sizeof in);
        requests[i] = (struct request){0};
        device_send(&requests[i], c->message, (size_t)(end - c->message));
    }
    for (size_t i = 0; i < USES; i++) {
        uint64_t node;
        struct object *file = file_called(c, files[i % FILES], &node);
        CHECK(i % 3 == 0   ? client_call_python(c)
              : i % 3 == 1 ? client_write_some(c, file, node)
                           : client_read_some(c, file, node));
        CHECK(client_look_up_name(c, c->world->model.root, files[i % FILES]));
    }
    let_syncs_go(true);
    for (size_t i = 0; i < SYNCS; i++)
        CHECK(device_wait(&requests[i]) && requests[i].error == 0);
    leave(c, true);
}

void client_idle(struct client *c)
{
    struct pcv_lane_statistics statistics;
    get_ready(c);
    CHECK(look_up_all(c));
    write_all(c);
    pcv_lane_get_statistics(c->world->lane, &statistics);
    CHECK(statistics.open_files == FILES);
    do {
        usleep(20000); /* it closes them when nothing has happened for a while */
        pcv_lane_get_statistics(c->world->lane, &statistics);
    } while (statistics.open_files > 0);
    for (size_t i = 0; i < FILES; i++) {
        uint64_t node;
        struct object *file = file_called(c, files[i], &node);
        CHECK(client_read_some(c, file, node));
    }
    leave(c, true);
}
