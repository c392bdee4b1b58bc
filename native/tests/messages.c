#include "messages.h"

#include <linux/fuse.h>
#include <string.h>

#define HEADER sizeof(struct fuse_in_header)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define PLAIN(op, fixed, changes) {op, #op, fixed, 0, TAIL_NONE, changes}
#define NAMED(op, fixed, tail, changes) {op, #op, fixed, 0, tail, changes}
#define COUNTED(op, type, field, tail, changes) {op, #op, sizeof(type), offsetof(type, field), tail, changes}

const struct message_kind message_kinds[] = {
    NAMED(FUSE_LOOKUP, 0, TAIL_NAME, false),
    PLAIN(FUSE_FORGET, sizeof(struct fuse_forget_in), false),
    PLAIN(FUSE_GETATTR, sizeof(struct fuse_getattr_in), false),
    PLAIN(FUSE_SETATTR, sizeof(struct fuse_setattr_in), true),
    PLAIN(FUSE_READLINK, 0, false),
    NAMED(FUSE_SYMLINK, 0, TAIL_TWO_NAMES, true),
    NAMED(FUSE_MKNOD, sizeof(struct fuse_mknod_in), TAIL_NAME, true),
    NAMED(FUSE_MKDIR, sizeof(struct fuse_mkdir_in), TAIL_NAME, true),
    NAMED(FUSE_UNLINK, 0, TAIL_NAME, true),
    NAMED(FUSE_RMDIR, 0, TAIL_NAME, true),
    NAMED(FUSE_RENAME, sizeof(struct fuse_rename_in), TAIL_TWO_NAMES, true),
    NAMED(FUSE_LINK, sizeof(struct fuse_link_in), TAIL_NAME, true),
    PLAIN(FUSE_OPEN, sizeof(struct fuse_open_in), false),
    PLAIN(FUSE_READ, sizeof(struct fuse_read_in), false),
    COUNTED(FUSE_WRITE, struct fuse_write_in, size, TAIL_DATA, true),
    PLAIN(FUSE_STATFS, 0, false),
    PLAIN(FUSE_RELEASE, sizeof(struct fuse_release_in), false),
    PLAIN(FUSE_FSYNC, sizeof(struct fuse_fsync_in), false),
    {FUSE_SETXATTR, "FUSE_SETXATTR", FUSE_COMPAT_SETXATTR_IN_SIZE, offsetof(struct fuse_setxattr_in, size),
     TAIL_NAME_DATA, true},
    NAMED(FUSE_GETXATTR, sizeof(struct fuse_getxattr_in), TAIL_NAME, false),
    PLAIN(FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), false),
    NAMED(FUSE_REMOVEXATTR, 0, TAIL_NAME, true),
    PLAIN(FUSE_FLUSH, sizeof(struct fuse_flush_in), false),
    PLAIN(FUSE_INIT, sizeof(struct fuse_init_in), false),
    PLAIN(FUSE_OPENDIR, sizeof(struct fuse_open_in), false),
    PLAIN(FUSE_READDIR, sizeof(struct fuse_read_in), false),
    PLAIN(FUSE_RELEASEDIR, sizeof(struct fuse_release_in), false),
    PLAIN(FUSE_FSYNCDIR, sizeof(struct fuse_fsync_in), false),
    PLAIN(FUSE_GETLK, sizeof(struct fuse_lk_in), false),
    PLAIN(FUSE_SETLK, sizeof(struct fuse_lk_in), false),
    PLAIN(FUSE_SETLKW, sizeof(struct fuse_lk_in), false),
    PLAIN(FUSE_ACCESS, sizeof(struct fuse_access_in), false),
    NAMED(FUSE_CREATE, sizeof(struct fuse_create_in), TAIL_NAME, true),
    PLAIN(FUSE_INTERRUPT, sizeof(struct fuse_interrupt_in), false),
    PLAIN(FUSE_BMAP, sizeof(struct fuse_bmap_in), false),
    PLAIN(FUSE_DESTROY, 0, false),
    COUNTED(FUSE_IOCTL, struct fuse_ioctl_in, in_size, TAIL_DATA, false),
    PLAIN(FUSE_POLL, sizeof(struct fuse_poll_in), false),
    COUNTED(FUSE_NOTIFY_REPLY, struct fuse_notify_retrieve_in, size, TAIL_DATA, false),
    COUNTED(FUSE_BATCH_FORGET, struct fuse_batch_forget_in, count, TAIL_FORGETS, false),
    PLAIN(FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in), true),
    PLAIN(FUSE_READDIRPLUS, sizeof(struct fuse_read_in), false),
    NAMED(FUSE_RENAME2, sizeof(struct fuse_rename2_in), TAIL_TWO_NAMES, true),
    PLAIN(FUSE_LSEEK, sizeof(struct fuse_lseek_in), false),
    PLAIN(FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), true),
    PLAIN(FUSE_SETUPMAPPING, sizeof(struct fuse_setupmapping_in), false),
    COUNTED(FUSE_REMOVEMAPPING, struct fuse_removemapping_in, count, TAIL_FORGETS, false),
    PLAIN(FUSE_SYNCFS, sizeof(struct fuse_syncfs_in), false),
    NAMED(51 /* FUSE_TMPFILE, protocol 7.37 */, sizeof(struct fuse_create_in), TAIL_NAME, true),
    PLAIN(52 /* FUSE_STATX, protocol 7.39 */, 24, false),
};
const size_t message_kind_count = COUNT(message_kinds);

_Static_assert(sizeof(struct fuse_removemapping_one) == sizeof(struct fuse_forget_one), "one tail serves both");

const struct message_kind *message_kind_of(uint32_t opcode)
{
    for (size_t i = 0; i < message_kind_count; i++) {
        if (message_kinds[i].opcode == opcode)
            return &message_kinds[i];
    }
    return NULL;
}

bool message_has_reply(uint32_t opcode)
{
    return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT &&
           opcode != FUSE_NOTIFY_REPLY;
}

static struct fuse_in_header header_of(const uint8_t *message)
{
    struct fuse_in_header header;
    memcpy(&header, message, sizeof header);
    return header;
}

/* --- sound ones ------------------------------------------------------------------------------------------------- */

static size_t put_name(struct rng *rng, const struct message_words *words, uint8_t *out)
{
    const char *name = words->names[rng_below(rng, words->name_count)];
    size_t size = strlen(name) + 1;
    memcpy(out, name, size);
    return size;
}

static size_t put_data(struct rng *rng, uint8_t *out)
{
    size_t size = rng_below(rng, rng_chance(rng, 80) ? 9000 : MESSAGE_DATA_MAX);
    rng_fill(rng, out, size);
    return size;
}

static size_t put_forgets(struct rng *rng, const struct message_words *words, uint8_t *out, uint32_t *count)
{
    *count = (uint32_t)rng_below(rng, rng_chance(rng, 80) ? 20 : 4000);
    for (uint32_t i = 0; i < *count; i++) {
        struct fuse_forget_one one = {.nodeid = words->nodes[rng_below(rng, words->node_count)], .nlookup = 1};
        memcpy(out + i * sizeof one, &one, sizeof one);
    }
    return *count * sizeof(struct fuse_forget_one);
}

/* Numbers that are small and mostly mean something: handles, offsets, sizes, modes, flags. */
static void fill_fixed(struct rng *rng, uint8_t *out, size_t size)
{
    for (size_t i = 0; i < size; i += sizeof(uint32_t)) {
        uint32_t number = rng_chance(rng, 50) ? 0 : (uint32_t)rng_below(rng, rng_chance(rng, 50) ? 8 : 100000);
        memcpy(out + i, &number, size - i < sizeof number ? size - i : sizeof number);
    }
}

size_t message_make(struct rng *rng, const struct message_kind *kind, const struct message_words *words, uint8_t *out)
{
    struct fuse_in_header header = {.opcode = kind->opcode, .uid = 1000, .gid = 1000, .pid = 1};
    header.nodeid = words->nodes[rng_below(rng, words->node_count)];
    memcpy(out, &header, sizeof header);
    fill_fixed(rng, out + HEADER, kind->fixed);
    uint8_t *end = out + HEADER + kind->fixed;
    uint32_t count = 0;
    if (kind->tail == TAIL_NAME || kind->tail == TAIL_TWO_NAMES || kind->tail == TAIL_NAME_DATA)
        end += put_name(rng, words, end);
    if (kind->tail == TAIL_TWO_NAMES)
        end += put_name(rng, words, end);
    if (kind->tail == TAIL_FORGETS)
        end += put_forgets(rng, words, end, &count);
    if (kind->tail == TAIL_DATA || kind->tail == TAIL_NAME_DATA) {
        count = (uint32_t)put_data(rng, end);
        end += count;
    }
    if (kind->tail >= TAIL_DATA)
        memcpy(out + HEADER + kind->count_field, &count, sizeof count);
    return (size_t)(end - out);
}

/* --- what is sound ---------------------------------------------------------------------------------------------- */

/* Bytes of a name with its end, or 0. */
static size_t name_size(const uint8_t *at, size_t left)
{
    const uint8_t *end = left > 0 ? memchr(at, '\0', left) : NULL;
    if (!end || end == at || memchr(at, '/', (size_t)(end - at)))
        return 0;
    return (size_t)(end - at) + 1;
}

bool message_is_sound(const uint8_t *message, size_t size)
{
    if (size < HEADER)
        return false;
    const struct message_kind *kind = message_kind_of(header_of(message).opcode);
    if (!kind || size < HEADER + kind->fixed)
        return false;
    size_t at = HEADER + kind->fixed;
    size_t names = kind->tail == TAIL_TWO_NAMES ? 2 : kind->tail == TAIL_NAME || kind->tail == TAIL_NAME_DATA ? 1 : 0;
    for (size_t i = 0; i < names; i++) {
        size_t used = name_size(message + at, size - at);
        if (used == 0)
            return false;
        at += used;
    }
    if (kind->tail < TAIL_DATA)
        return at == size;
    uint32_t count;
    memcpy(&count, message + HEADER + kind->count_field, sizeof count);
    return size - at == count * (kind->tail == TAIL_FORGETS ? sizeof(struct fuse_forget_one) : (size_t)1);
}

/* --- mangled ones ----------------------------------------------------------------------------------------------- */

static const uint64_t edges[] = {0,          1,         4095,           4096,
                                 4097,       1 << 20,   (1 << 20) + 1,  INT32_MAX,
                                 UINT32_MAX, INT64_MAX, UINT64_MAX - 1, UINT64_C(1) << 63,
                                 UINT64_MAX};

static uint64_t any_edge(struct rng *rng)
{
    return edges[rng_below(rng, COUNT(edges))];
}

static size_t spoil_count(struct rng *rng, const struct message_kind *kind, uint8_t *message, size_t size)
{
    if (kind->tail < TAIL_DATA)
        return size;
    uint32_t count;
    memcpy(&count, message + HEADER + kind->count_field, sizeof count);
    count = rng_chance(rng, 50) ? count + 1 + (uint32_t)rng_below(rng, 3) * 4095 : (uint32_t)any_edge(rng);
    memcpy(message + HEADER + kind->count_field, &count, sizeof count);
    return size;
}

/* Replace what follows the fixed part by one odd name, and leave the rest out. */
static size_t spoil_name(struct rng *rng, const struct message_kind *kind, uint8_t *message, size_t size)
{
    static const char *const odd[] = {
        "", ".", "..", "a/b", "/", "../up", "gocryptfs.diriv", "gocryptfs.longname.x.name"};
    static const size_t sizes[] = {175, 176, 255, 256, 1023, 4095};
    if (kind->tail == TAIL_NONE || kind->tail == TAIL_DATA || kind->tail == TAIL_FORGETS)
        return size;
    uint8_t *at = message + HEADER + kind->fixed;
    size_t used;
    if (rng_chance(rng, 50)) {
        const char *name = odd[rng_below(rng, COUNT(odd))];
        used = strlen(name) + 1;
        memcpy(at, name, used);
    } else {
        used = sizes[rng_below(rng, COUNT(sizes))] + 1;
        rng_fill(rng, at, used - 1);
        at[used - 1] = '\0';
    }
    if (kind->tail == TAIL_TWO_NAMES) {
        memcpy(at + used, "second", sizeof "second");
        used += sizeof "second";
    }
    if (kind->tail == TAIL_NAME_DATA)
        memset(message + HEADER + kind->count_field, 0, sizeof(uint32_t));
    return HEADER + kind->fixed + used;
}

static void spoil_numbers(struct rng *rng, const struct message_kind *kind, uint8_t *message)
{
    uint32_t count = 0;
    uint8_t *fixed = message + HEADER;
    if (kind->tail >= TAIL_DATA)
        memcpy(&count, fixed + kind->count_field, sizeof count);
    for (size_t i = 0; i < kind->fixed; i += sizeof(uint64_t)) {
        uint64_t number = any_edge(rng);
        memcpy(fixed + i, &number, kind->fixed - i < sizeof number ? kind->fixed - i : sizeof number);
    }
    if (kind->tail >= TAIL_DATA)
        memcpy(fixed + kind->count_field, &count, sizeof count);
}

static size_t grow(struct rng *rng, uint8_t *message, size_t size)
{
    size_t more = 1 + rng_below(rng, rng_chance(rng, 80) ? 16 : 3000);
    rng_fill(rng, message + size, more);
    return size + more;
}

/* Without its last byte, and that is no end of a name. */
static size_t take_end(const struct message_kind *kind, const uint8_t *message, size_t size)
{
    bool is_name_last = kind->tail == TAIL_NAME || kind->tail == TAIL_TWO_NAMES;
    return is_name_last && size > HEADER + kind->fixed + 1 && message[size - 2] != '\0' ? size - 1 : size;
}

size_t message_mangle(struct rng *rng, enum message_mangling how, uint8_t *message, size_t size)
{
    struct fuse_in_header header = header_of(message);
    const struct message_kind *kind = message_kind_of(header.opcode);
    switch (how) {
    case MANGLE_CUT:
        return HEADER + rng_below(rng, size - HEADER + 1);
    case MANGLE_GROWN:
        return grow(rng, message, size);
    case MANGLE_COUNT:
        return spoil_count(rng, kind, message, size);
    case MANGLE_NO_END:
        return take_end(kind, message, size);
    case MANGLE_NAME:
        return spoil_name(rng, kind, message, size);
    case MANGLE_NODE:
        header.nodeid = rng_chance(rng, 50) ? any_edge(rng) : 1000000 + rng_below(rng, 100);
        break;
    case MANGLE_NUMBERS:
        spoil_numbers(rng, kind, message);
        return size;
    default:
        /* INIT and DESTROY change the state of a mount: they come where the driver means them. */
        do {
            header.opcode = rng_chance(rng, 80) ? 1 + (uint32_t)rng_below(rng, 60) : (uint32_t)any_edge(rng);
        } while (header.opcode == FUSE_INIT || header.opcode == FUSE_DESTROY);
    }
    memcpy(message, &header, sizeof header);
    return size;
}

size_t message_interrupt(uint64_t unique, uint8_t *out)
{
    struct fuse_in_header header = {.opcode = FUSE_INTERRUPT};
    struct fuse_interrupt_in in = {.unique = unique};
    memcpy(out, &header, sizeof header);
    memcpy(out + sizeof header, &in, sizeof in);
    return sizeof header + sizeof in;
}
