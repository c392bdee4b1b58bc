/* Clients that use the content of files, and compare it with the bytes that they know. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "clients.h"

#define BS PCV_BLOCK_SIZE
#define PARTS_MAX 4

struct range {
    size_t offset, size;
};

static size_t near_an_edge(struct client *c, size_t limit)
{
    size_t edge = rng_below(&c->rng, limit / BS) * BS, distance = rng_below(&c->rng, 3);
    size_t value = rng_chance(&c->rng, 30)               ? rng_below(&c->rng, limit)
                   : rng_chance(&c->rng, 50) && edge > 2 ? edge - distance
                                                         : edge + distance;
    return value < limit ? value : limit - 1;
}

static struct range any_range(struct client *c)
{
    struct range r = {.offset = near_an_edge(c, rng_chance(&c->rng, 70) ? 20 * BS : MODEL_FILE_MAX - BS)};
    size_t limit = rng_chance(&c->rng, 70) ? 3 * BS : rng_chance(&c->rng, 70) ? 80 * BS : PCV_FILE_IO_MAX;
    r.size = 1 + near_an_edge(c, limit);
    if (r.size > MODEL_FILE_MAX - r.offset)
        r.size = MODEL_FILE_MAX - r.offset;
    return r;
}

/* Another file is opened, so that this one is closed where only one may be open. Any answer will do. */
static void look_elsewhere(struct client *c, struct request *request, uint8_t *byte)
{
    struct fuse_read_in in = {.size = 1};
    uint8_t *end = client_put(c, FUSE_READ, c->world->corrupt, &in, sizeof in);
    *request = (struct request){.reply = byte, .room = 1};
    device_send(request, c->message, (size_t)(end - c->message));
}

/* Requests for ranges that follow each other, under way at the same time, as when the kernel writes back. */
static bool write_parts(struct client *c, struct object *file, uint64_t node, struct range range, size_t parts)
{
    struct request requests[PARTS_MAX], others[PARTS_MAX];
    struct fuse_write_out out[PARTS_MAX];
    uint8_t bytes[PARTS_MAX];
    size_t starts[PARTS_MAX + 1];
    rng_fill(&c->rng, c->data, range.size);
    for (size_t i = 0; i <= parts; i++)
        starts[i] = range.size * i / parts;
    for (size_t i = 0; i < parts; i++) {
        size_t size = starts[i + 1] - starts[i];
        struct fuse_write_in in = {.offset = range.offset + starts[i], .size = (uint32_t)size};
        in.write_flags = rng_chance(&c->rng, 20) ? FUSE_WRITE_KILL_SUIDGID : 0;
        uint8_t *end = client_put(c, FUSE_WRITE, node, &in, sizeof in);
        memcpy(end, c->data + starts[i], size);
        requests[i] = (struct request){.reply = (uint8_t *)&out[i], .room = sizeof out[i]};
        end += size + (rng_chance(&c->rng, 5) ? 8 : 0); /* more than it says it has */
        device_send(&requests[i], c->message, (size_t)(end - c->message));
        if (c->world->has_bursts_only)
            look_elsewhere(c, &others[i], &bytes[i]);
    }
    bool is_there = true;
    for (size_t i = 0; i < parts; i++) {
        is_there &= device_wait(&requests[i]);
        if (c->world->has_bursts_only)
            is_there &= device_wait(&others[i]);
    }
    for (size_t i = 0; is_there && i < parts; i++) {
        size_t size = starts[i + 1] - starts[i];
        if (is_refused(&requests[i]))
            continue;
        CHECK(requests[i].error == 0 && requests[i].reply_size == sizeof out[i] && out[i].size == size);
        model_write(file, range.offset + starts[i], c->data + starts[i], size);
    }
    return is_there;
}

bool client_write_some(struct client *c, struct object *file, uint64_t node)
{
    return write_parts(c, file, node, any_range(c), 1);
}

static bool read_range(struct client *c, const struct object *file, uint64_t node, struct range range)
{
    struct request request;
    struct fuse_read_in in = {.offset = range.offset, .size = (uint32_t)range.size};
    if (!client_call(c, client_put(c, FUSE_READ, node, &in, sizeof in), &request, c->data, range.size))
        return false;
    if (is_refused(&request))
        return true;
    size_t left = range.offset < file->size ? file->size - range.offset : 0;
    size_t expected = range.size < left ? range.size : left;
    const size_t bad = WORLD_CORRUPT_BLOCK * BS;
    if (file->role == ROLE_CORRUPT && expected > 0 && range.offset < bad + BS && range.offset + expected > bad) {
        CHECK(request.error == EIO);
        return true;
    }
    CHECK(request.error == 0 && request.reply_size == expected);
    CHECK(expected == 0 || memcmp(c->data, file->data + range.offset, expected) == 0);
    return true;
}

bool client_read_some(struct client *c, struct object *file, uint64_t node)
{
    return read_range(c, file, node, any_range(c));
}

static bool set_size(struct client *c, struct object *file, uint64_t node)
{
    struct request request;
    struct fuse_attr_out out;
    struct fuse_setattr_in in = {.valid = FATTR_SIZE | (rng_chance(&c->rng, 50) ? FATTR_MTIME_NOW : 0)};
    in.valid |= rng_chance(&c->rng, 30) ? FATTR_KILL_SUIDGID : 0;
    in.size = rng_chance(&c->rng, 10) ? 0 : near_an_edge(c, rng_chance(&c->rng, 80) ? 30 * BS : MODEL_FILE_MAX);
    if (!client_call(c, client_put(c, FUSE_SETATTR, node, &in, sizeof in), &request, &out, sizeof out))
        return false;
    if (is_refused(&request))
        return true;
    model_resize(file, in.size);
    CHECK(request.error == 0 && request.reply_size == sizeof out);
    CHECK(out.attr.size == file->size && out.attr.ino == node && out.attr_valid == WORLD_TIMEOUT);
    return true;
}

static bool allocate(struct client *c, struct object *file, uint64_t node)
{
    struct request request;
    struct range range = any_range(c);
    static const uint32_t modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
    struct fuse_fallocate_in in = {.offset = range.offset, .length = range.size, .mode = modes[rng_below(&c->rng, 3)]};
    if (!client_call(c, client_put(c, FUSE_FALLOCATE, node, &in, sizeof in), &request, NULL, 0))
        return false;
    if (is_refused(&request))
        return true;
    CHECK(request.error == (in.mode & FALLOC_FL_PUNCH_HOLE ? EOPNOTSUPP : 0));
    if (in.mode == 0 && range.offset + range.size > file->size)
        model_resize(file, range.offset + range.size);
    return true;
}

static bool seek(struct client *c, const struct object *file, uint64_t node)
{
    struct request request;
    struct fuse_lseek_out out;
    struct fuse_lseek_in in = {.offset = near_an_edge(c, MODEL_FILE_MAX), .whence = SEEK_DATA};
    if (!client_call(c, client_put(c, FUSE_LSEEK, node, &in, sizeof in), &request, &out, sizeof out))
        return false;
    if (is_refused(&request) || request.error == ENOSYS) /* the latter after an INIT that has the writeback cache on */
        return true;
    CHECK(request.error == 0 || request.error == ENXIO);
    size_t end = request.error == 0 ? out.offset : file->size;
    CHECK(request.error == ENXIO || (end >= in.offset && end < file->size));
    for (size_t i = in.offset; i < end; i++)
        CHECK(file->data[i] == 0); /* what it skips is nothing */
    return true;
}

static bool sync_file(struct client *c, uint64_t node)
{
    struct request request;
    struct fuse_fsync_in in = {.fsync_flags = rng_chance(&c->rng, 50)};
    if (!client_call(c, client_put(c, FUSE_FSYNC, node, &in, sizeof in), &request, NULL, 0))
        return false;
    CHECK(is_refused(&request) || request.error == 0);
    return true;
}

/* Numbers that can't be: refused, and without effect. */
static bool send_impossible(struct client *c, uint64_t node)
{
    static const uint64_t offsets[] = {INT64_MAX, INT64_MAX - 4095, UINT64_C(1) << 63, UINT64_MAX};
    uint64_t offset = offsets[rng_below(&c->rng, sizeof offsets / sizeof offsets[0])];
    struct fuse_write_in write = {.offset = offset, .size = 4096};
    struct fuse_setattr_in set = {.valid = FATTR_SIZE, .size = offset};
    struct fuse_fallocate_in reserve = {.offset = offset, .length = 4096};
    struct fuse_fallocate_in nothing = {.offset = 4096};
    struct fuse_read_in read = {.size = PCV_FILE_IO_MAX + 1};
    struct {
        uint32_t opcode;
        const void *body;
        size_t size, more;
        int error;
    } cases[] = {
        {FUSE_WRITE, &write, sizeof write, 4096, EFBIG},      {FUSE_SETATTR, &set, sizeof set, 0, EFBIG},
        {FUSE_FALLOCATE, &reserve, sizeof reserve, 0, EFBIG}, {FUSE_FALLOCATE, &nothing, sizeof nothing, 0, EINVAL},
        {FUSE_READ, &read, sizeof read, 0, EINVAL},
    };
    size_t i = rng_below(&c->rng, sizeof cases / sizeof cases[0]);
    struct request request;
    uint8_t *end = client_put(c, cases[i].opcode, node, cases[i].body, cases[i].size) + cases[i].more;
    if (!client_call(c, end, &request, NULL, 0))
        return false;
    CHECK(is_refused(&request) || request.error == cases[i].error);
    return true;
}

static bool change(struct client *c, struct object *file, uint64_t node, unsigned int kind)
{
    struct range range = any_range(c);
    size_t parts = 2 + rng_below(&c->rng, PARTS_MAX - 1);
    switch (kind) {
    case 0:
        return client_write_some(c, file, node);
    case 1:
        return set_size(c, file, node);
    case 2:
        return allocate(c, file, node);
    case 3:
        return send_impossible(c, node);
    default:
        return write_parts(c, file, node, range, range.size >= parts ? parts : 1);
    }
}

bool client_use_content(struct client *c, unsigned int kind)
{
    uint64_t node;
    struct object *file = client_pick(c, S_IFREG, &node);
    if (!file)
        return client_look_up(c);
    bool changes = kind < 6 && file->role != ROLE_CORRUPT, is_there;
    if (changes)
        pthread_rwlock_wrlock(&file->content);
    else
        pthread_rwlock_rdlock(&file->content);
    if (changes)
        is_there = change(c, file, node, kind);
    else if (kind == 6)
        is_there = file->role == ROLE_CORRUPT || seek(c, file, node);
    else if (kind == 7)
        is_there = sync_file(c, node);
    else
        is_there = client_read_some(c, file, node);
    pthread_rwlock_unlock(&file->content);
    model_unpin(&c->world->model, file);
    return is_there;
}

bool client_write_burst(struct client *c)
{
    uint64_t node;
    struct object *file = client_pick(c, S_IFREG, &node);
    if (!file || file->role == ROLE_CORRUPT) {
        if (file)
            model_unpin(&c->world->model, file);
        return client_look_up(c);
    }
    pthread_rwlock_wrlock(&file->content);
    size_t end = rng_chance(&c->rng, 50) && file->size < MODEL_FILE_MAX / 2 ? file->size : 0;
    struct range range = {.offset = end + near_an_edge(c, 2 * BS), .size = (260 << 10) + near_an_edge(c, 20 * BS)};
    bool is_there = write_parts(c, file, node, range, PARTS_MAX);
    pthread_rwlock_unlock(&file->content);
    model_unpin(&c->world->model, file);
    return is_there;
}
