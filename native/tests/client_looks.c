/* Clients that look at attributes, and change those that have nothing to do with names or content. */
#include <string.h>
#include <unistd.h>

#include "clients.h"

static void check_attributes(struct client *c, const struct object *object, uint64_t node, const struct fuse_attr *attr)
{
    CHECK(attr->ino == node && (attr->mode & S_IFMT) == object->type);
    CHECK(!object->has_mode || object->type == S_IFLNK || (attr->mode & 07777) == object->mode);
    if (object->type == S_IFREG)
        CHECK(attr->size == object->size);
    if (object->type == S_IFLNK)
        CHECK(attr->size == strlen(object->target) || (attr->size == 0 && c->world->has_faults));
    if (object->type != S_IFDIR)
        CHECK(attr->nlink == object->names);
}

static bool get_attributes(struct client *c, struct object *object, uint64_t node)
{
    struct request request;
    struct fuse_attr_out out;
    struct fuse_getattr_in in = {0};
    if (!client_call(c, client_put(c, FUSE_GETATTR, node, &in, sizeof in), &request, &out, sizeof out))
        return false;
    if (is_left(c, &request) && c->world->has_faults)
        return true;
    CHECK(request.error == 0 && request.reply_size == sizeof out && out.attr_valid == WORLD_TIMEOUT);
    check_attributes(c, object, node, &out.attr);
    return true;
}

static bool set_attributes(struct client *c, struct object *object, uint64_t node)
{
    struct request request;
    struct fuse_attr_out out;
    struct fuse_setattr_in in = {.valid = rng_chance(&c->rng, 50) ? FATTR_MTIME_NOW : FATTR_ATIME | FATTR_MTIME};
    bool has_mode = object->type != S_IFLNK && object->role == ROLE_ANY && rng_chance(&c->rng, 70);
    in.mode = 0700 | (uint32_t)rng_below(&c->rng, 0100);
    in.valid |= has_mode ? FATTR_MODE : 0;
    in.atime = in.mtime = 1234567890;
    if (!client_call(c, client_put(c, FUSE_SETATTR, node, &in, sizeof in), &request, &out, sizeof out))
        return false;
    if (c->world->has_faults && (is_left(c, &request) || request.error == EIO)) {
        object->has_mode &= !has_mode; /* EIO: the look at it afterwards failed */
        return true;
    }
    CHECK(request.error == 0 && request.reply_size == sizeof out);
    if (has_mode) {
        object->mode = in.mode;
        object->has_mode = true;
    }
    check_attributes(c, object, node, &out.attr);
    CHECK((in.valid & FATTR_MTIME_NOW) || out.attr.mtime == in.mtime);
    return true;
}

static bool check_access(struct client *c, const struct object *object, uint64_t node)
{
    struct request request;
    struct fuse_access_in in = {.mask = (uint32_t)rng_below(&c->rng, 8)};
    if (!client_call(c, client_put(c, FUSE_ACCESS, node, &in, sizeof in), &request, NULL, 0))
        return false;
    if (is_left(c, &request) && c->world->has_faults)
        return true;
    bool may_run = object->type != S_IFREG || (object->mode & 0111) != 0 || !(in.mask & X_OK);
    CHECK(!object->has_mode || request.error == (may_run ? 0 : EACCES));
    return true;
}

static bool read_link(struct client *c)
{
    struct request request;
    char target[PCV_TARGET_MAX + 1];
    uint64_t node;
    struct object *link = client_pick(c, S_IFLNK, &node);
    if (!link)
        return client_look_up(c);
    bool is_there =
        client_call(c, client_put(c, FUSE_READLINK, node, NULL, 0), &request, (uint8_t *)target, sizeof target);
    if (is_there && !(is_left(c, &request) && c->world->has_faults)) {
        CHECK(request.error == 0 && request.reply_size == strlen(link->target));
        CHECK(memcmp(target, link->target, request.reply_size) == 0);
    }
    model_unpin(&c->world->model, link);
    return is_there;
}

/* There are none. Of what is kept by a descriptor alone, Python has to say so. */
static bool get_xattr(struct client *c)
{
    static const char *const names[] = {"security.capability", "user.none", "system.posix_acl_access"};
    struct request request;
    struct fuse_getxattr_in in = {.size = 20};
    uint64_t node;
    size_t which = rng_below(&c->rng, 3);
    struct object *object = client_pick(c, 0, &node);
    uint8_t *end = client_put(c, FUSE_GETXATTR, node, &in, sizeof in);
    memcpy(end, names[which], strlen(names[which]) + 1);
    bool is_there = client_call(c, end + strlen(names[which]) + 1, &request, NULL, 0);
    if (is_there && which == 0)
        CHECK(request.error == EOPNOTSUPP);
    else if (is_there)
        CHECK(request.error == ENODATA || request.error == EOPNOTSUPP || is_left(c, &request));
    model_unpin(&c->world->model, object);
    return is_there;
}

static bool sync_directory(struct client *c)
{
    struct request request;
    struct fuse_fsync_in in = {.fsync_flags = rng_chance(&c->rng, 50)};
    uint64_t node;
    struct object *dir = client_pick(c, S_IFDIR, &node);
    bool is_there = client_call(c, client_put(c, FUSE_FSYNCDIR, node, &in, sizeof in), &request, NULL, 0);
    CHECK(!is_there || request.error == 0 || (request.error == FAULT_ERROR && c->world->has_faults));
    model_unpin(&c->world->model, dir);
    return is_there;
}

/* Of one object, under the locks that keep it as it is. */
static bool look_at_one(struct client *c, unsigned int kind)
{
    struct model *m = &c->world->model;
    bool is_there = true;
    pthread_rwlock_rdlock(&m->names);
    struct object *object = model_any(m, &c->rng, 0);
    uint64_t node = object ? model_number(m, object) : 0;
    if (node != 0) {
        pthread_rwlock_wrlock(&object->content);
        is_there = kind == 0   ? set_attributes(c, object, node)
                   : kind == 1 ? check_access(c, object, node)
                               : get_attributes(c, object, node);
        pthread_rwlock_unlock(&object->content);
    }
    pthread_rwlock_unlock(&m->names);
    return is_there;
}

bool client_look(struct client *c, unsigned int kind)
{
    switch (kind) {
    case 3:
        return read_link(c);
    case 4:
        return get_xattr(c);
    case 5:
        return sync_directory(c);
    default:
        return look_at_one(c, kind);
    }
}
