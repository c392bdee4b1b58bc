/* Clients that look up and change names, and know what must come of it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "clients.h"

static const char *any_name(struct client *c)
{
    static const char *const names[] = {"a", "b", "c",           "d",        "e",   "f",
                                        "g", "h", "with spaces", "\xff\xfe", "...", "a.name"};
    static const char almost_long[] = "........................................................................"
                                      "........................................................................"
                                      "...............................";
    _Static_assert(sizeof almost_long == WORLD_LONG_NAME_SIZE, "one less than what is hashed");
    size_t which = rng_below(&c->rng, 14);
    return which < 12 ? names[which] : which == 12 ? almost_long : c->world->long_name;
}

/* Any directory that the kernel knows, and where names can be used. With names, which keeps it known. */
static struct object *any_dir(struct client *c, uint64_t *number)
{
    struct object *dir = c->favourite ? c->favourite : model_any(&c->world->model, &c->rng, S_IFDIR);
    if (!dir || dir->role == ROLE_BROKEN)
        dir = c->world->model.root;
    *number = model_number(&c->world->model, dir);
    return dir;
}

static uint8_t *put_string(uint8_t *at, const char *text)
{
    size_t size = strlen(text) + 1;
    memcpy(at, text, size);
    return at + size;
}

static bool has_ivs(const struct client *c)
{
    return volume_has_ivs(&c->world->volume);
}

/* --- looking up ------------------------------------------------------------------------------------------------- */

bool client_look_up_name(struct client *c, struct object *dir, const char *name)
{
    struct model *m = &c->world->model;
    struct request request;
    struct fuse_entry_out out;
    uint64_t number = model_number(m, dir);
    uint8_t *end = put_string(client_put(c, FUSE_LOOKUP, number, NULL, 0), name);
    if (!client_call(c, end, &request, &out, sizeof out))
        return false;
    struct entry *entry = model_find(m, dir, name);
    if (request.error != 0) { /* the IV of a removed directory may be gone */
        CHECK(is_left(c, &request) && (c->world->has_faults || dir->role == ROLE_BROKEN || dir->names == 0));
        return true;
    }
    CHECK(request.reply_size == sizeof out && out.entry_valid == WORLD_TIMEOUT && dir->role != ROLE_BROKEN);
    CHECK((out.nodeid != 0) == (entry != NULL) && out.nodeid == out.attr.ino);
    if (entry) {
        CHECK((out.attr.mode & S_IFMT) == entry->object->type);
        model_given(m, entry->object, out.nodeid, entry);
    }
    return true;
}

/* Mostly of something that is there; all must be found again after it was forgotten. */
bool client_look_up(struct client *c)
{
    struct model *m = &c->world->model;
    uint64_t number;
    pthread_rwlock_rdlock(&m->names);
    struct object *dir = any_dir(c, &number);
    const struct entry *entry = &m->entries[rng_below(&c->rng, MODEL_ENTRIES)];
    bool is_there = entry->dir && model_number(m, entry->dir) != 0 ? client_look_up_name(c, entry->dir, entry->name)
                                                                   : client_look_up_name(c, dir, any_name(c));
    pthread_rwlock_unlock(&m->names);
    return is_there;
}

/* --- making ----------------------------------------------------------------------------------------------------- */

struct making {
    uint32_t opcode, type, mode;
    uint32_t flags; /* of CREATE */
    char target[64];
};

static struct making any_making(struct client *c)
{
    static const uint32_t opcodes[] = {FUSE_CREATE, FUSE_CREATE, FUSE_MKDIR, FUSE_MKNOD, FUSE_SYMLINK};
    static const uint32_t types[] = {S_IFREG, S_IFREG, S_IFDIR, S_IFIFO, S_IFLNK};
    size_t which = rng_below(&c->rng, 5);
    struct making making = {.opcode = opcodes[which], .type = types[which], .mode = 0700};
    making.mode |= (uint32_t)rng_below(&c->rng, 0100);
    making.flags = rng_chance(&c->rng, 50) ? O_EXCL : 0;
    snprintf(making.target, sizeof making.target, "../target/%llu", (unsigned long long)rng_next(&c->rng));
    return making;
}

static uint8_t *put_making(struct client *c, const struct making *making, uint64_t dir, const char *name)
{
    struct fuse_create_in create = {.mode = S_IFREG | making->mode, .flags = making->flags};
    struct fuse_mkdir_in mkdir = {.mode = making->mode};
    struct fuse_mknod_in mknod = {.mode = S_IFIFO | making->mode};
    switch (making->opcode) {
    case FUSE_CREATE:
        return put_string(client_put(c, FUSE_CREATE, dir, &create, sizeof create), name);
    case FUSE_MKDIR:
        return put_string(client_put(c, FUSE_MKDIR, dir, &mkdir, sizeof mkdir), name);
    case FUSE_MKNOD:
        return put_string(client_put(c, FUSE_MKNOD, dir, &mknod, sizeof mknod), name);
    default:
        return put_string(put_string(client_put(c, FUSE_SYMLINK, dir, NULL, 0), name), making->target);
    }
}

/* The errno of making something where there is something; 0: it is Python's to find out. */
static int error_of_existing(const struct client *c, const struct making *making)
{
    bool is_certain =
        making->opcode == FUSE_CREATE ? making->flags & O_EXCL : making->opcode == FUSE_MKDIR && has_ivs(c);
    return is_certain ? EEXIST : 0;
}

static void check_made(struct client *c, const struct making *making, struct object *object,
                       const struct fuse_entry_out *out)
{
    CHECK((out->attr.mode & S_IFMT) == making->type && out->attr.nlink > 0);
    CHECK(making->type == S_IFLNK || (out->attr.mode & 07777) == making->mode);
    if (making->type == S_IFLNK) {
        CHECK(out->attr.size == strlen(making->target) || c->world->has_faults);
        strcpy(object->target, making->target);
    }
}

static bool make(struct client *c)
{
    struct model *m = &c->world->model;
    struct request request;
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out;
    uint64_t number;
    struct object *dir = any_dir(c, &number);
    const char *name = any_name(c);
    struct making making = any_making(c);
    if (!model_has_room(m))
        return true;
    if (!client_call(c, put_making(c, &making, number, name), &request, &out, sizeof out))
        return false;
    bool exists = model_find(m, dir, name) != NULL, is_certain = exists && error_of_existing(c, &making) != 0;
    bool is_pythons = world_is_long(c->world, name) || dir->names == 0 || (exists && !is_certain);
    if (request.error == 0) {
        CHECK(!exists && !is_pythons);
        CHECK(request.reply_size == (making.opcode == FUSE_CREATE ? sizeof out : sizeof out.entry));
        struct object *object = model_new(m, making.type, making.mode);
        model_given(m, object, out.entry.nodeid, model_add(m, dir, name, object));
        check_made(c, &making, object, &out.entry);
    } else if (!is_left(c, &request) || (!is_pythons && !c->world->has_faults)) {
        CHECK(is_certain && !is_pythons && request.error == EEXIST);
    }
    return true;
}

static bool make_link(struct client *c)
{
    struct model *m = &c->world->model;
    struct request request;
    struct fuse_entry_out out;
    uint64_t number;
    struct object *dir = any_dir(c, &number), *object = model_any(m, &c->rng, 0);
    const char *name = any_name(c);
    if (!model_has_room(m) || !object || object->role != ROLE_ANY)
        return true;
    struct fuse_link_in in = {.oldnodeid = model_number(m, object)};
    uint8_t *end = put_string(client_put(c, FUSE_LINK, number, &in, sizeof in), name);
    if (!client_call(c, end, &request, &out, sizeof out))
        return false;
    bool is_pythons = world_is_long(c->world, name) || dir->names == 0 || object->type == S_IFDIR ||
                      model_find(m, dir, name) || !model_has_known_name(m, object);
    if (request.error != 0) {
        CHECK(is_left(c, &request) && (is_pythons || c->world->has_faults));
        return true;
    }
    CHECK(!is_pythons && out.nodeid == in.oldnodeid);
    model_given(m, object, out.nodeid, model_add(m, dir, name, object));
    CHECK(object->type == S_IFDIR || out.attr.nlink == object->names);
    return true;
}

/* --- removing --------------------------------------------------------------------------------------------------- */

static bool may_go(const struct entry *entry)
{
    return !entry || entry->object->role == ROLE_ANY;
}

static bool remove_name(struct client *c, uint32_t opcode)
{
    struct model *m = &c->world->model;
    struct request request;
    uint64_t number;
    struct object *dir = any_dir(c, &number);
    const char *name = any_name(c);
    struct entry *entry = model_find(m, dir, name);
    if (!may_go(entry))
        return true;
    if (!client_call(c, put_string(client_put(c, opcode, number, NULL, 0), name), &request, NULL, 0))
        return false;
    bool is_dir = entry && entry->object->type == S_IFDIR, is_rmdir = opcode == FUSE_RMDIR;
    bool is_right = entry && is_dir == is_rmdir && !world_is_long(c->world, name);
    bool is_full = is_right && is_dir && !model_is_empty(m, entry->object);
    if (request.error == 0) {
        CHECK(is_right && !is_full);
        model_remove(m, entry);
    } else if (is_left(c, &request)) {
        CHECK(c->world->has_faults || !is_right || (is_full && !has_ivs(c)));
    } else {
        CHECK(is_full && has_ivs(c) && request.error == ENOTEMPTY);
    }
    return true;
}

/* --- renaming --------------------------------------------------------------------------------------------------- */

struct renaming {
    struct object *old_dir, *new_dir;
    const char *old_name, *new_name;
    struct entry *old, *new; /* NULL: there is none */
    uint32_t flags;
};

enum verdict { DONE, NOTHING_TO_DO, EXISTS, PYTHONS };

static enum verdict judge(struct client *c, const struct renaming *r)
{
    if ((r->flags & ~(uint32_t)RENAME_NOREPLACE) || !r->old || r->new_dir->names == 0 ||
        world_is_long(c->world, r->old_name) || world_is_long(c->world, r->new_name))
        return PYTHONS;
    const struct object *moved = r->old->object;
    if (r->new && (r->flags & RENAME_NOREPLACE))
        return EXISTS;
    if (moved->type == S_IFDIR && model_is_within(&c->world->model, r->new_dir, moved))
        return PYTHONS;
    if (!r->new)
        return DONE;
    if (r->new->object->type == S_IFDIR)
        return PYTHONS;
    return r->new->object == moved ? NOTHING_TO_DO : moved->type == S_IFDIR ? PYTHONS : DONE;
}

static void apply(struct model *m, const struct renaming *r)
{
    struct object *moved = r->old->object;
    if (r->new)
        model_remove(m, r->new);
    struct entry *entry = model_add(m, r->new_dir, r->new_name, moved);
    model_remove(m, r->old);
    pthread_mutex_lock(&m->counts);
    entry->is_known = moved->lookups > 0;
    pthread_mutex_unlock(&m->counts);
}

/* What no kernel asks for, since it sees before that it can't be: these may fail in more than one way. */
static bool is_sane(const struct renaming *r)
{
    return r->old ? may_go(r->old) && may_go(r->new) : !r->new;
}

static bool rename_entry(struct client *c)
{
    static const uint32_t flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT};
    struct model *m = &c->world->model;
    struct request request;
    uint64_t old_number, new_number;
    struct renaming r = {.old_name = any_name(c), .new_name = any_name(c), .flags = flags[rng_below(&c->rng, 6)]};
    r.old_dir = any_dir(c, &old_number);
    r.new_dir = any_dir(c, &new_number);
    r.old = model_find(m, r.old_dir, r.old_name);
    r.new = model_find(m, r.new_dir, r.new_name);
    struct fuse_rename_in rename = {.newdir = new_number};
    struct fuse_rename2_in rename2 = {.newdir = new_number, .flags = r.flags};
    if (!is_sane(&r) || !model_has_room(m))
        return true;
    uint8_t *end = r.flags == 0 ? client_put(c, FUSE_RENAME, old_number, &rename, sizeof rename)
                                : client_put(c, FUSE_RENAME2, old_number, &rename2, sizeof rename2);
    if (!client_call(c, put_string(put_string(end, r.old_name), r.new_name), &request, NULL, 0))
        return false;
    enum verdict verdict = judge(c, &r);
    if (is_left(c, &request) && (verdict == PYTHONS || c->world->has_faults))
        return true;
    CHECK(verdict != PYTHONS && request.error == (verdict == EXISTS ? EEXIST : 0));
    if (verdict == DONE)
        apply(m, &r);
    return true;
}

bool client_change_names(struct client *c, unsigned int kind)
{
    bool is_there;
    pthread_rwlock_wrlock(&c->world->model.names);
    switch (kind) {
    case 0:
        is_there = make_link(c);
        break;
    case 1:
        is_there = remove_name(c, FUSE_UNLINK);
        break;
    case 2:
        is_there = remove_name(c, FUSE_RMDIR);
        break;
    case 3:
    case 4:
        is_there = rename_entry(c);
        break;
    default:
        is_there = make(c);
    }
    pthread_rwlock_unlock(&c->world->model.names);
    return is_there;
}
