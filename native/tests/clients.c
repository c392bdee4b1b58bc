#include "clients.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BS PCV_BLOCK_SIZE
#define PARTS_MAX 4
#define LISTING_MAX ((1 << 20) - (4 << 10))

#define INIT_NEVER (FUSE_ATOMIC_O_TRUNC | FUSE_SPLICE_READ | FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE)
#define INIT_ADDED (FUSE_HANDLE_KILLPRIV_V2 | FUSE_PARALLEL_DIROPS | FUSE_ASYNC_READ)

/* --- messages --------------------------------------------------------------------------------------------------- */

static void put_header(struct client *c, uint32_t opcode, uint64_t node)
{
    struct fuse_in_header header = {.opcode = opcode, .nodeid = node, .uid = 1000, .gid = 1000, .pid = 1};
    memcpy(c->message, &header, sizeof header);
}

/* Header and body; returns where more may follow. */
static uint8_t *put(struct client *c, uint32_t opcode, uint64_t node, const void *body, size_t size)
{
    put_header(c, opcode, node);
    if (size > 0)
        memcpy(c->message + sizeof(struct fuse_in_header), body, size);
    return c->message + sizeof(struct fuse_in_header) + size;
}

/* Send what was put, up to end, and wait. False: the mount is gone. */
static bool call(struct client *c, const uint8_t *end, struct request *request, void *reply, size_t room)
{
    *request = (struct request){.reply = reply, .room = room};
    device_send(request, c->message, (size_t)(end - c->message));
    return device_wait(request);
}

static bool is_refused(const struct request *request)
{
    return request->error == REFUSED_ERROR && request->reply_size == 0;
}

static void fill_pattern(uint8_t *out, size_t size, uint64_t unique)
{
    struct rng rng = {unique};
    rng_fill(&rng, out, size);
}

static size_t echo_size(uint64_t unique)
{
    return (size_t)(unique * 37 % 3000);
}

size_t echo_of(uint8_t *message, size_t size)
{
    struct fuse_in_header in;
    struct fuse_read_in list;
    memcpy(&in, message, sizeof in);
    memcpy(&list, message + sizeof in, sizeof list);
    struct fuse_out_header out = {.unique = in.unique};
    struct fuse_init_out init = {.flags = UINT32_MAX & ~(in.unique & 8 ? (uint32_t)FUSE_WRITEBACK_CACHE : 0)};
    struct fuse_open_out open = {.fh = 1};
    size_t payload = echo_size(in.unique);
    if ((in.opcode == FUSE_READDIR || in.opcode == FUSE_READDIRPLUS) && size >= sizeof in + sizeof list)
        payload = list.size;
    uint8_t *body = message + sizeof out;
    switch (in.opcode) {
    case FUSE_GETATTR:
    case FUSE_SETATTR:
        out.error = -FORWARDED_ERROR;
        payload = 0;
        break;
    case FUSE_INIT:
        payload = sizeof init;
        memcpy(body, &init, sizeof init);
        break;
    case FUSE_OPENDIR:
        payload = sizeof open;
        memcpy(body, &open, sizeof open);
        break;
    default:
        fill_pattern(body, payload, in.unique);
    }
    out.len = (uint32_t)(sizeof out + payload);
    memcpy(message, &out, sizeof out);
    return out.len;
}

static bool is_echo(struct client *c, const struct request *request, const uint8_t *reply, size_t size)
{
    fill_pattern(c->data, size, request->unique);
    return request->error == 0 && request->reply_size == size && memcmp(reply, c->data, size) == 0;
}

/* --- content ---------------------------------------------------------------------------------------------------- */

static void resize(struct world_file *file, size_t size)
{
    if (size > file->size)
        memset(file->data + file->size, 0, size - file->size);
    file->size = size;
}

static size_t near_an_edge(struct client *c, size_t limit)
{
    size_t edge = rng_below(&c->rng, limit / BS) * BS, distance = rng_below(&c->rng, 3);
    size_t value = rng_chance(&c->rng, 30)               ? rng_below(&c->rng, limit)
                   : rng_chance(&c->rng, 50) && edge > 2 ? edge - distance
                                                         : edge + distance;
    return value < limit ? value : limit - 1;
}

struct range {
    size_t offset, size;
};

static struct range any_range(struct client *c)
{
    struct range r = {.offset = near_an_edge(c, rng_chance(&c->rng, 70) ? 20 * BS : FILE_ROOM - BS)};
    size_t limit = rng_chance(&c->rng, 70) ? 3 * BS : rng_chance(&c->rng, 70) ? 80 * BS : PCV_FILE_IO_MAX;
    r.size = 1 + near_an_edge(c, limit);
    if (r.size > FILE_ROOM - r.offset)
        r.size = FILE_ROOM - r.offset;
    return r;
}

/* Something for Python that needs no reply. */
static void send_forget(struct client *c)
{
    struct fuse_forget_in in = {.nlookup = 1};
    uint8_t *end = put(c, FUSE_FORGET, WORLD_UNKNOWN, &in, sizeof in);
    device_send(NULL, c->message, (size_t)(end - c->message));
}

/* Requests for ranges that follow each other, under way at the same time, as when the kernel writes back. */
static bool write_parts(struct client *c, struct world_file *file, uint64_t node, struct range range, size_t parts)
{
    struct request requests[PARTS_MAX];
    struct fuse_write_out out[PARTS_MAX];
    size_t starts[PARTS_MAX + 1];
    rng_fill(&c->rng, c->data, range.size);
    for (size_t i = 0; i <= parts; i++)
        starts[i] = range.size * i / parts;
    for (size_t i = 0; i < parts; i++) {
        size_t size = starts[i + 1] - starts[i];
        struct fuse_write_in in = {.offset = range.offset + starts[i], .size = (uint32_t)size};
        in.write_flags = rng_chance(&c->rng, 20) ? FUSE_WRITE_KILL_SUIDGID : 0;
        uint8_t *end = put(c, FUSE_WRITE, node, &in, sizeof in);
        memcpy(end, c->data + starts[i], size);
        requests[i] = (struct request){.reply = (uint8_t *)&out[i], .room = sizeof out[i]};
        end += size + (rng_chance(&c->rng, 5) ? 8 : 0); /* more than it says it has */
        device_send(&requests[i], c->message, (size_t)(end - c->message));
        if (c->world->has_bursts_only)
            send_forget(c); /* gives Python a moment to drop the file */
    }
    bool is_there = true;
    for (size_t i = 0; i < parts; i++)
        is_there &= device_wait(&requests[i]);
    for (size_t i = 0; is_there && i < parts; i++) {
        size_t size = starts[i + 1] - starts[i], offset = range.offset + starts[i];
        if (is_refused(&requests[i]))
            continue;
        CHECK(requests[i].error == 0 && requests[i].reply_size == sizeof out[i] && out[i].size == size);
        if (offset + size > file->size)
            resize(file, offset + size);
        memcpy(file->data + offset, c->data + starts[i], size);
    }
    return is_there;
}

static bool read_range(struct client *c, const struct world_file *file, uint64_t node, struct range range)
{
    struct request request;
    struct fuse_read_in in = {.offset = range.offset, .size = (uint32_t)range.size};
    if (!call(c, put(c, FUSE_READ, node, &in, sizeof in), &request, c->data, range.size))
        return false;
    if (is_refused(&request))
        return true;
    size_t left = range.offset < file->size ? file->size - range.offset : 0;
    size_t expected = range.size < left ? range.size : left;
    const size_t bad = WORLD_CORRUPT_BLOCK * BS;
    if (node == WORLD_CORRUPT && expected > 0 && range.offset < bad + BS && range.offset + expected > bad) {
        CHECK(request.error == EIO);
        return true;
    }
    CHECK(request.error == 0 && request.reply_size == expected);
    CHECK(expected == 0 || memcmp(c->data, file->data + range.offset, expected) == 0);
    return true;
}

static bool set_size(struct client *c, struct world_file *file, uint64_t node)
{
    struct request request;
    struct fuse_attr_out out;
    struct fuse_setattr_in in = {.valid = FATTR_SIZE | (rng_chance(&c->rng, 50) ? FATTR_MTIME_NOW : 0)};
    in.valid |= rng_chance(&c->rng, 30) ? FATTR_KILL_SUIDGID : 0;
    in.size = rng_chance(&c->rng, 10) ? 0 : near_an_edge(c, rng_chance(&c->rng, 80) ? 30 * BS : FILE_ROOM);
    if (!call(c, put(c, FUSE_SETATTR, node, &in, sizeof in), &request, &out, sizeof out))
        return false;
    if (is_refused(&request) || request.error == FORWARDED_ERROR) {
        CHECK(is_refused(&request) || !c->world->serves_attrs);
        return true;
    }
    resize(file, in.size);
    CHECK(request.error == 0 && request.reply_size == sizeof out);
    CHECK(out.attr.size == file->size && out.attr.ino == node && out.attr_valid == 7);
    return true;
}

static bool allocate(struct client *c, struct world_file *file, uint64_t node)
{
    struct request request;
    struct range range = any_range(c);
    static const uint32_t modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
    struct fuse_fallocate_in in = {.offset = range.offset, .length = range.size, .mode = modes[rng_below(&c->rng, 3)]};
    if (!call(c, put(c, FUSE_FALLOCATE, node, &in, sizeof in), &request, NULL, 0))
        return false;
    if (is_refused(&request))
        return true;
    CHECK(request.error == (in.mode & FALLOC_FL_PUNCH_HOLE ? EOPNOTSUPP : 0));
    if (in.mode == 0 && range.offset + range.size > file->size)
        resize(file, range.offset + range.size);
    return true;
}

static bool seek(struct client *c, const struct world_file *file, uint64_t node)
{
    struct request request;
    struct fuse_lseek_out out;
    struct fuse_lseek_in in = {.offset = near_an_edge(c, FILE_ROOM), .whence = SEEK_DATA};
    if (!call(c, put(c, FUSE_LSEEK, node, &in, sizeof in), &request, &out, sizeof out))
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

static bool get_attributes(struct client *c, const struct world_file *file, uint64_t node)
{
    struct request request;
    struct fuse_attr_out out;
    struct fuse_getattr_in in = {0};
    if (!call(c, put(c, FUSE_GETATTR, node, &in, sizeof in), &request, &out, sizeof out))
        return false;
    if (request.error == FORWARDED_ERROR)
        return true;
    CHECK(request.error == 0 && request.reply_size == sizeof out && c->world->serves_attrs);
    CHECK(out.attr.size == file->size && out.attr.ino == node);
    return true;
}

static bool sync_node(struct client *c, uint32_t opcode, uint64_t node)
{
    struct request request;
    struct fuse_fsync_in in = {.fsync_flags = rng_chance(&c->rng, 50)};
    if (!call(c, put(c, opcode, node, &in, sizeof in), &request, NULL, 0))
        return false;
    CHECK(is_refused(&request) || request.error == 0);
    return true;
}

static bool use_file(struct client *c, unsigned int kind)
{
    size_t index = rng_below(&c->rng, WORLD_FILES);
    uint64_t node = WORLD_FIRST_NODE + index;
    struct world_file *file = &c->world->files[index];
    bool changes = kind < 5 && node != WORLD_CORRUPT, is_there;
    if (changes)
        pthread_rwlock_wrlock(&file->lock);
    else
        pthread_rwlock_rdlock(&file->lock);
    switch (changes ? kind : 5 + kind % 5) {
    case 0:
        is_there = write_parts(c, file, node, any_range(c), 1);
        break;
    case 1:
    case 2: {
        struct range range = any_range(c);
        size_t parts = 2 + rng_below(&c->rng, PARTS_MAX - 1);
        is_there = write_parts(c, file, node, range, range.size >= parts ? parts : 1);
        break;
    }
    case 3:
        is_there = set_size(c, file, node);
        break;
    case 4:
        is_there = allocate(c, file, node);
        break;
    case 5:
        is_there = node == WORLD_CORRUPT || seek(c, file, node);
        break;
    case 6:
        is_there = get_attributes(c, file, node);
        break;
    default:
        is_there = read_range(c, file, node, any_range(c));
    }
    pthread_rwlock_unlock(&file->lock);
    return is_there;
}

/* --- the rest --------------------------------------------------------------------------------------------------- */

/* What the lane answers by itself, or not at all. */
static bool call_without_file(struct client *c)
{
    static const struct {
        uint32_t opcode;
        int error;
    } answers[] = {{FUSE_OPEN, ENOSYS}, {FUSE_FLUSH, ENOSYS}, {FUSE_RELEASE, 0}};
    struct request request;
    size_t which = rng_below(&c->rng, 5);
    uint8_t body[64] = {0};
    if (which < 3) {
        if (!call(c, put(c, answers[which].opcode, WORLD_FIRST_NODE, body, sizeof body), &request, NULL, 0))
            return false;
        CHECK(request.error == answers[which].error);
    } else if (which == 3) {
        uint8_t *end = put(c, FUSE_INTERRUPT, 0, body, sizeof(struct fuse_interrupt_in));
        device_send(NULL, c->message, (size_t)(end - c->message));
    } else {
        device_send_raw(c->message, rng_below(&c->rng, sizeof(struct fuse_in_header) - 1) + 1);
    }
    return true;
}

static bool forget(struct client *c)
{
    struct fuse_batch_forget_in batch = {.count = 1 + (uint32_t)rng_below(&c->rng, 200)};
    if (rng_chance(&c->rng, 10)) /* as many as one message can hold */
        batch.count = (MESSAGE_ROOM - sizeof(struct fuse_in_header) - sizeof batch) / sizeof(struct fuse_forget_one);
    uint8_t *end = put(c, FUSE_BATCH_FORGET, 0, &batch, sizeof batch);
    for (uint32_t i = 0; i < batch.count; i++, end += sizeof(struct fuse_forget_one)) {
        struct fuse_forget_one one = {.nodeid = i, .nlookup = 1};
        memcpy(end, &one, sizeof one);
    }
    device_send(NULL, c->message, (size_t)(end - c->message));
    send_forget(c);
    return true;
}

static bool list(struct client *c)
{
    struct request request;
    struct fuse_read_in in = {.size = 1 + (uint32_t)rng_below(&c->rng, PCV_FILE_IO_MAX)};
    uint8_t *reply = malloc(in.size);
    CHECK(reply != NULL);
    bool is_there = call(c, put(c, FUSE_READDIRPLUS, WORLD_DIRECTORY, &in, sizeof in), &request, reply, in.size);
    CHECK(!is_there || is_echo(c, &request, reply, request.reply_size));
    CHECK(!is_there || request.reply_size == in.size || request.reply_size >= 16 << 10); /* cut to fit the socket */
    CHECK(!is_there || request.reply_size <= LISTING_MAX);
    free(reply);
    return is_there;
}

static bool open_directory(struct client *c)
{
    struct request request;
    struct fuse_open_in in = {0};
    struct fuse_open_out out;
    if (!call(c, put(c, FUSE_OPENDIR, WORLD_DIRECTORY, &in, sizeof in), &request, &out, sizeof out))
        return false;
    /* The lane knows one at a time, since Python answers each before it takes the next. */
    CHECK(request.error == 0 && out.fh == 1 && out.open_flags == 0);
    return true;
}

/* Names: absent ones are the lane's where it knows the directory, all else is Python's. */
static bool look_up(struct client *c)
{
    static const char *const names[] = {"present", "absent", "", "gone/present", "..", "\xff\xfe"};
    struct request request;
    uint8_t reply[3000];
    size_t which = rng_below(&c->rng, 6);
    bool is_ended = !rng_chance(&c->rng, 10), is_known = rng_chance(&c->rng, 70);
    uint8_t *end = put(c, FUSE_LOOKUP, is_known ? WORLD_DIRECTORY : WORLD_UNKNOWN, names[which], strlen(names[which]));
    *end = '\0';
    if (!call(c, end + is_ended, &request, reply, sizeof reply))
        return false;
    if (c->world->knows_names && is_known && is_ended && (which == 1 || which == 5)) {
        struct fuse_entry_out entry;
        memcpy(&entry, reply, sizeof entry);
        CHECK(request.error == 0 && request.reply_size == sizeof entry && entry.nodeid == 0 && entry.entry_valid == 7);
    } else {
        CHECK(is_echo(c, &request, reply, echo_size(request.unique)));
    }
    return true;
}

static bool get_directory_attributes(struct client *c)
{
    struct request request;
    struct fuse_attr_out out;
    struct fuse_getattr_in in = {0};
    if (!call(c, put(c, FUSE_GETATTR, WORLD_DIRECTORY, &in, sizeof in), &request, &out, sizeof out))
        return false;
    if (c->world->knows_names && c->world->serves_attrs)
        CHECK(request.error == 0 && out.attr.ino == WORLD_DIRECTORY && (out.attr.mode & S_IFMT) == S_IFDIR);
    else
        CHECK(request.error == FORWARDED_ERROR);
    return true;
}

static bool get_capability(struct client *c)
{
    static const char name[] = "security.capability";
    struct request request;
    struct fuse_getxattr_in in = {.size = 20};
    uint8_t *end = put(c, FUSE_GETXATTR, WORLD_FIRST_NODE, &in, sizeof in);
    memcpy(end, name, sizeof name);
    if (!call(c, end + sizeof name, &request, NULL, 0))
        return false;
    CHECK(request.error == EOPNOTSUPP);
    return true;
}

static bool initialise(struct client *c)
{
    struct request request;
    struct fuse_init_in in = {.major = 7, .minor = 40, .flags = (uint32_t)rng_next(&c->rng)};
    struct fuse_init_out out;
    if (!call(c, put(c, FUSE_INIT, 0, &in, sizeof in), &request, &out, sizeof out))
        return false;
    CHECK(request.error == 0 && (out.flags & INIT_NEVER) == 0 && (out.flags & INIT_ADDED) == INIT_ADDED);
    return true;
}

/* Anything else, of any size, goes to Python and back as it is. */
static bool call_python(struct client *c)
{
    static const uint32_t opcodes[] = {0, FUSE_LOOKUP, FUSE_MKDIR, FUSE_RENAME2, FUSE_SETXATTR, FUSE_IOCTL, 200, 4096};
    struct request request;
    uint8_t reply[3000];
    size_t size = rng_chance(&c->rng, 80) ? rng_below(&c->rng, 300) : rng_below(&c->rng, 70 << 10);
    put_header(c, opcodes[rng_below(&c->rng, sizeof opcodes / sizeof opcodes[0])], WORLD_UNKNOWN);
    uint8_t *body = c->message + sizeof(struct fuse_in_header);
    rng_fill(&c->rng, body, size);
    if (!call(c, body + size, &request, reply, sizeof reply))
        return false;
    CHECK(is_echo(c, &request, reply, echo_size(request.unique)));
    return true;
}

/* Requests that no kernel sends: any opcode, cut anywhere, with numbers that can't be. Any one reply will do. */
static bool send_nonsense(struct client *c)
{
    static const uint32_t opcodes[] = {FUSE_READ,  FUSE_WRITE,   FUSE_FSYNC,   FUSE_FALLOCATE,
                                       FUSE_LSEEK, FUSE_GETATTR, FUSE_SETATTR, FUSE_READDIR,
                                       FUSE_INIT,  FUSE_OPENDIR, FUSE_GETXATTR};
    static const uint64_t numbers[] = {0, 1, 4095, 4096, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX, UINT32_MAX, 1 << 20};
    struct request request;
    uint8_t body[128];
    for (size_t i = 0; i < sizeof body; i += sizeof numbers[0])
        memcpy(body + i, &numbers[rng_below(&c->rng, sizeof numbers / sizeof numbers[0])], sizeof numbers[0]);
    uint32_t opcode = opcodes[rng_below(&c->rng, sizeof opcodes / sizeof opcodes[0])];
    /* A file that is nobody's, so that whatever happens to it is right. */
    uint64_t node = rng_chance(&c->rng, 50) ? WORLD_UNKNOWN : 0;
    size_t size = rng_below(&c->rng, sizeof body + 1);
    uint8_t *reply = malloc(MESSAGE_ROOM);
    CHECK(reply != NULL);
    bool is_there = call(c, put(c, opcode, node, body, size), &request, reply, MESSAGE_ROOM);
    free(reply);
    return is_there;
}

/* Numbers that can't be, for a file that is there: refused, and without effect. */
static bool send_impossible(struct client *c)
{
    static const uint64_t offsets[] = {INT64_MAX, INT64_MAX - 4095, UINT64_C(1) << 63, UINT64_MAX};
    uint64_t node = WORLD_FIRST_NODE + rng_below(&c->rng, WORLD_FILES - 1);
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
    if (!call(c, put(c, cases[i].opcode, node, cases[i].body, cases[i].size) + cases[i].more, &request, NULL, 0))
        return false;
    CHECK(is_refused(&request) || request.error == cases[i].error || request.error == FORWARDED_ERROR);
    return true;
}

static bool write_burst(struct client *c)
{
    size_t index = rng_below(&c->rng, WORLD_FILES - 1);
    struct world_file *file = &c->world->files[index];
    pthread_rwlock_wrlock(&file->lock);
    size_t end = rng_chance(&c->rng, 50) && file->size < FILE_ROOM / 2 ? file->size : 0;
    struct range range = {.offset = end + near_an_edge(c, 2 * BS), .size = (260 << 10) + near_an_edge(c, 20 * BS)};
    bool is_there = write_parts(c, file, WORLD_FIRST_NODE + index, range, PARTS_MAX);
    pthread_rwlock_unlock(&file->lock);
    return is_there;
}

static bool step(struct client *c)
{
    struct pcv_lane_statistics statistics;
    unsigned int kind = (unsigned int)rng_below(&c->rng, 28);
    if (c->world->has_bursts_only)
        return kind < 14 ? write_burst(c) : kind < 24 ? call_python(c) : use_file(c, kind < 26 ? 3 : 7);
    switch (kind) {
    case 10:
        return call_without_file(c);
    case 11:
        return forget(c);
    case 12:
        return list(c);
    case 13:
        return open_directory(c);
    case 14:
        return initialise(c);
    case 15:
    case 16:
        return call_python(c);
    case 17:
        return send_nonsense(c);
    case 18:
        return send_impossible(c);
    case 19:
        return sync_node(c, FUSE_FSYNC, WORLD_FIRST_NODE + rng_below(&c->rng, WORLD_FILES));
    case 20:
        return sync_node(c, FUSE_FSYNCDIR, WORLD_DIRECTORY);
    case 21:
        pcv_lane_get_statistics(c->world->lane, &statistics);
        return true;
    case 22:
    case 23:
        return look_up(c);
    case 24:
        return get_directory_attributes(c);
    case 25:
        return get_capability(c);
    default:
        return use_file(c, kind % 10);
    }
}

static void get_ready(struct client *c)
{
    c->message = malloc(MESSAGE_ROOM);
    c->data = malloc(MESSAGE_ROOM > FILE_ROOM ? MESSAGE_ROOM : FILE_ROOM);
    CHECK(c->message && c->data);
    memset(c->message, 0, MESSAGE_ROOM);
}

static void leave(struct client *c)
{
    free(c->message);
    free(c->data);
    if (atomic_fetch_sub(&c->world->clients, 1) == 1 && c->world->last_step == WORLD_STOP)
        pcv_lane_stop(c->world->lane);
}

void *client_run(void *arg)
{
    struct client *c = arg;
    struct world *world = c->world;
    get_ready(c);
    for (;;) {
        int left = atomic_fetch_sub(&world->steps_left, 1);
        if (left == 100 && world->last_step == WORLD_STOP_AT_ONCE)
            pcv_lane_stop(world->lane);
        if (left == 100 && world->last_step == WORLD_END_DEVICE)
            device_end(world->end_error);
        if (left <= 0 || !step(c))
            break;
    }
    leave(c);
    return NULL;
}

void client_sync_and_use(struct client *c, void (*let_syncs_go)(bool is_open))
{
    enum { SYNCS = 40, USES = 150 };
    struct request requests[SYNCS];
    struct fuse_fsync_in in = {0};
    get_ready(c);
    for (size_t i = 0; i < WORLD_FILES - 1; i++)
        CHECK(write_parts(c, &c->world->files[i], WORLD_FIRST_NODE + i, any_range(c), 1));
    for (size_t i = 0; i < SYNCS; i++) {
        bool is_dir = i % 5 == 0;
        uint64_t node = is_dir ? WORLD_DIRECTORY : WORLD_FIRST_NODE + i % WORLD_FILES;
        uint8_t *end = put(c, is_dir ? FUSE_FSYNCDIR : FUSE_FSYNC, node, &in, sizeof in);
        requests[i] = (struct request){0};
        device_send(&requests[i], c->message, (size_t)(end - c->message));
    }
    for (size_t i = 0; i < USES; i++)
        CHECK(i % 3 == 0 ? call_python(c) : use_file(c, (unsigned int)i % 10));
    let_syncs_go(true);
    for (size_t i = 0; i < SYNCS; i++)
        CHECK(device_wait(&requests[i]) && requests[i].error == 0);
    leave(c);
}

void client_idle(struct client *c)
{
    get_ready(c);
    for (size_t i = 0; i < WORLD_FILES - 1; i++)
        CHECK(write_parts(c, &c->world->files[i], WORLD_FIRST_NODE + i, any_range(c), 1));
    usleep((PCV_LANE_IDLE_MS + 300) * 1000); /* there is nothing to wait for: that nothing happens is the point */
    for (size_t i = 0; i < WORLD_FILES - 1; i++)
        CHECK(read_range(c, &c->world->files[i], WORLD_FIRST_NODE + i, any_range(c)));
    leave(c);
}
