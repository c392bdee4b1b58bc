/* Clients that list directories, in parts of any size, while others change them: what was there throughout is seen once,
 * and nothing that was never there. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "clients.h"
#include "replies.h"

#define ROOM_MAX (64 << 10)
#define PARTS_MAX 200 /* by then it goes round in circles */

struct walk {
    struct object *dir;
    bool is_plus;
    uint64_t start; /* the model's clock */
    uint64_t seen[MODEL_ENTRIES]; /* when what was seen was born; 0: nothing */
    unsigned int dots, parts;
};

/* Some filesystems, tmpfs among them, show entries twice or not at all if others are renamed meanwhile. */
static bool is_exact(const struct client *c, const struct walk *w)
{
    return c->world->keeps_positions || c->world->model.clock == w->start;
}

/* With names. */
static void see(struct client *c, struct walk *w, const struct shown *shown)
{
    struct model *m = &c->world->model;
    if (strcmp(shown->name, ".") == 0 || strcmp(shown->name, "..") == 0) {
        w->dots++;
        return;
    }
    if (w->dir->role == ROLE_PLAY)
        return;
    struct entry *entry = model_find(m, w->dir, shown->name);
    CHECK(entry != NULL);
    CHECK(w->seen[entry - m->entries] != entry->born || !is_exact(c, w)); /* twice */
    w->seen[entry - m->entries] = entry->born;
    CHECK(shown->type == (uint32_t)IFTODT(entry->object->type));
    uint64_t number = model_number(m, entry->object);
    CHECK(number == 0 || number == shown->number);
    if (w->is_plus)
        model_given(m, entry->object, shown->entry.nodeid, entry);
}

static void check_all_was_seen(struct client *c, const struct walk *w)
{
    const struct model *m = &c->world->model;
    CHECK(w->dots == (w->dir->names > 0 ? 2 : w->dots));
    for (size_t i = 0; i < MODEL_ENTRIES; i++) {
        if (m->entries[i].dir == w->dir && m->entries[i].born <= w->start)
            CHECK(w->seen[i] == m->entries[i].born);
    }
}

enum part { MORE, END, GONE };

/* One request; an error ends the walk. */
static enum part list_part(struct client *c, struct walk *w, uint64_t node, uint64_t *offset, uint8_t *reply)
{
    struct request request;
    struct shown shown;
    size_t at = 0;
    size_t longest =
        FUSE_DIRENT_ALIGN((w->is_plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET) + WORLD_LONG_NAME_SIZE);
    struct fuse_read_in in = {.offset = *offset, .size = (uint32_t)(longest + rng_below(&c->rng, 300))};
    if (rng_chance(&c->rng, 20))
        in.size = ROOM_MAX;
    uint32_t opcode = w->is_plus ? FUSE_READDIRPLUS : FUSE_READDIR;
    if (!client_call(c, client_put(c, opcode, node, &in, sizeof in), &request, reply, in.size))
        return GONE;
    if (request.error != 0) {
        bool is_broken = w->dir->role == ROLE_BROKEN && request.error == EIO;
        CHECK(is_broken || (c->world->has_faults && request.error == FAULT_ERROR));
        return END;
    }
    CHECK(w->dir->role != ROLE_BROKEN && request.reply_size <= in.size);
    while (replies_next(reply, request.reply_size, w->is_plus, &at, &shown)) {
        see(c, w, &shown);
        *offset = shown.offset;
    }
    if (request.reply_size == 0 && is_exact(c, w))
        check_all_was_seen(c, w);
    return request.reply_size == 0 || ++w->parts == PARTS_MAX ? END : MORE;
}

static bool change_what_is_listed(struct client *c, struct object *dir)
{
    bool is_there = true;
    if (dir->role == ROLE_ANY || dir->role == ROLE_FIXED) {
        c->favourite = dir;
        is_there = client_change_names(c, (unsigned int)rng_below(&c->rng, NAME_KINDS));
        c->favourite = NULL;
    }
    return is_there;
}

bool client_list(struct client *c)
{
    struct model *m = &c->world->model;
    struct walk w = {.is_plus = rng_chance(&c->rng, 60)};
    uint64_t node, offset = 0;
    uint8_t *reply = malloc(ROOM_MAX);
    CHECK(reply != NULL);
    w.dir = client_pick(c, S_IFDIR, &node);
    pthread_rwlock_rdlock(&m->names);
    w.start = m->clock;
    enum part part = list_part(c, &w, node, &offset, reply);
    pthread_rwlock_unlock(&m->names);
    while (part == MORE && change_what_is_listed(c, w.dir)) {
        pthread_rwlock_rdlock(&m->names);
        part = list_part(c, &w, node, &offset, reply);
        pthread_rwlock_unlock(&m->names);
    }
    model_unpin(m, w.dir);
    free(reply);
    return part == END;
}
