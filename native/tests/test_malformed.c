/* Messages that no kernel sends, to a tree without a lane, of which not a byte more is there than they have: cut
 * anywhere, with counts and sizes that lie, strings that do not end, nodes that are not there. Whatever is answered, what
 * is not meant must stay as it is, and every lookup must be one that a reply told.
 *
 * Usage: test_malformed [SEED [ROUNDS]] */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "box.h"
#include "check.h"
#include "messages.h"
#include "replies.h"

#define ROOT PCV_ROOT_INODE
#define HEADER sizeof(struct fuse_in_header)
#define ROOM (MESSAGE_DATA_MAX + (64 << 10))
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const uint64_t NOWHERE[] = {0, 2, 99999999, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};

/* Everything may happen in "play" and to what is in it; nothing to the rest. */
struct yard {
    struct box box;
    struct rng rng;
    uint64_t play, file, link, keep, kept;
    uint8_t *message, *cut; /* ROOM */
};

static uint64_t made(struct yard *y, int error)
{
    CHECK(error == 0);
    return box_node(&y->box);
}

static void yard_open(struct yard *y, enum volume_names names, uint64_t seed)
{
    *y = (struct yard){.rng.state = seed, .message = calloc(1, ROOM), .cut = malloc(ROOM)};
    CHECK(y->message && y->cut);
    box_open(&y->box, names);
    y->play = made(y, box_mkdir(&y->box, ROOT, "play", 0755));
    y->file = made(y, box_create(&y->box, y->play, "file", 0644, 0));
    y->link = made(y, box_symlink(&y->box, y->play, "link", "target"));
    y->keep = made(y, box_mkdir(&y->box, ROOT, "keep", 0755));
    y->kept = made(y, box_create(&y->box, y->keep, "kept", 0644, 0));
}

static void forget_one(void *arg, uint64_t node)
{
    struct box *box = arg;
    CHECK(pcv_inodes_forget(box->tree->inodes, node, 1) == 0);
}

/* Send, and forget what the reply tells. */
static int send_and_forget(struct yard *y, const uint8_t *message, size_t size)
{
    struct fuse_in_header in;
    memcpy(&in, message, sizeof in);
    uint64_t before = pcv_inodes_lookups(y->box.tree->inodes);
    int error = box_send(&y->box, message, size);
    if (error == 0)
        replies_lookups(in.opcode, y->box.reply, y->box.reply_size, forget_one, &y->box);
    CHECK(pcv_inodes_lookups(y->box.tree->inodes) == before);
    y->box.tree->note_count = 0;
    return error;
}

static void check_kept(struct yard *y)
{
    struct stat st = box_stat(&y->box, y->keep, "kept");
    CHECK(st.st_ino == y->kept && (st.st_mode & 07777) == 0644 && st.st_size == 0);
    CHECK((box_stat(&y->box, ROOT, "keep").st_mode & 07777) == 0755);
    CHECK(count_entries(box_place(&y->box, y->keep, "any").dirfd) == 1u + volume_has_ivs(&y->box.volume));
    CHECK(count_entries(y->box.volume.root_fd) == y->box.entries + 2);
}

/* Removes what was made in the playground, whatever it is. */
static void yard_close(struct yard *y)
{
    struct box *box = &y->box;
    check_kept(y);
    CHECK(box_unlink(box, y->keep, "kept") == 0 && box_rmdir(box, ROOT, "keep") == 0);
    struct pcv_place play = box_place(box, ROOT, "play");
    const uint64_t nodes[] = {y->kept, y->keep, y->file, y->link, y->play};
    for (size_t i = 0; i < COUNT(nodes); i++)
        box_forget(box, nodes[i]);
    volume_remove_dir(play.dirfd, play.cname.name);
    pcv_tree_changed(box->tree);
    box_close(box);
    free(y->message);
    free(y->cut);
}

/* Other directories than the playground are reached through these fields, too, and space would really be reserved. */
static void keep_inside(struct yard *y, uint8_t *message, size_t size)
{
    struct fuse_in_header in;
    memcpy(&in, message, sizeof in);
    bool has_node = in.opcode == FUSE_RENAME || in.opcode == FUSE_RENAME2 || in.opcode == FUSE_LINK;
    const uint64_t *node = in.opcode == FUSE_LINK ? &y->file : &y->play;
    if (has_node && size >= HEADER + sizeof *node)
        memcpy(message + HEADER, node, sizeof *node);
    if (in.nodeid == ROOT || in.nodeid == y->keep || in.nodeid == y->kept || in.opcode == FUSE_FALLOCATE)
        in.nodeid = NOWHERE[1];
    if (in.opcode == FUSE_FORGET || in.opcode == FUSE_BATCH_FORGET)
        in.nodeid = NOWHERE[2];
    memcpy(message, &in, sizeof in);
}

static size_t make(struct yard *y, const struct message_kind *kind)
{
    static const char *const names[] = {"a", "b", "name", "with spaces", "\xff\xfe"};
    const uint64_t nodes[] = {y->play, y->file, y->link};
    bool is_forget = kind->tail == TAIL_FORGETS;
    const struct message_words words = {is_forget ? NOWHERE : nodes, COUNT(nodes), names, COUNT(names)};
    size_t size = message_make(&y->rng, kind, &words, y->message);
    keep_inside(y, y->message, size);
    return size;
}

/* Without what it needs a message is nobody's but Python's. These need nothing besides their header, or have no reply. */
static bool takes_less(uint32_t opcode)
{
    return opcode == FUSE_GETATTR || opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET;
}

static void test_messages_of_any_length(struct yard *y)
{
    for (size_t i = 0; i < message_kind_count; i++) {
        const struct message_kind *kind = &message_kinds[i];
        size_t full = make(y, kind), step = full > 2000 ? full / 500 : 1;
        for (size_t size = HEADER; size < full; size += size < HEADER + kind->fixed + 100 ? 1 : step) {
            int error = send_and_forget(y, y->message, size);
            CHECK(error == FORWARDED || takes_less(kind->opcode) || message_is_sound(y->message, size));
        }
        send_and_forget(y, y->message, full);
    }
}

static void test_mangled_messages(struct yard *y, unsigned int rounds)
{
    for (unsigned int round = 0; round < rounds; round++) {
        const struct message_kind *kind = &message_kinds[rng_below(&y->rng, message_kind_count)];
        enum message_mangling how = (enum message_mangling)rng_below(&y->rng, MESSAGE_MANGLINGS);
        size_t size = message_mangle(&y->rng, how, y->message, make(y, kind));
        keep_inside(y, y->message, size);
        send_and_forget(y, y->message, size);
    }
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static size_t names_of(const struct message_kind *kind)
{
    return kind->tail == TAIL_TWO_NAMES ? 2 : kind->tail == TAIL_NAME || kind->tail == TAIL_NAME_DATA ? 1 : 0;
}

/* A message with those names; without the end of the last one if is_open. */
static int send_names(struct yard *y, const struct message_kind *kind, const char *const names[2], bool is_open)
{
    struct fuse_in_header in = {.opcode = kind->opcode, .nodeid = y->play};
    memcpy(y->cut, &in, sizeof in);
    memset(y->cut + HEADER, 0, kind->fixed);
    keep_inside(y, y->cut, HEADER + kind->fixed);
    size_t size = HEADER + kind->fixed;
    for (size_t i = 0; i < names_of(kind); i++) {
        memcpy(y->cut + size, names[i], strlen(names[i]) + 1);
        size += strlen(names[i]) + 1;
    }
    return send_and_forget(y, y->cut, size - is_open);
}

static void test_names_that_can_not_be(struct yard *y)
{
    char longer[256 + 1], longest[4095 + 1];
    memset(longer, 'x', sizeof longer);
    memset(longest, 'y', sizeof longest);
    longer[256] = longest[4095] = '\0';
    const char *const odd[] = {"", ".", "..", "/", "a/b", "../keep/kept", longer, longest};
    for (size_t i = 0; i < message_kind_count; i++) {
        const struct message_kind *kind = &message_kinds[i];
        for (size_t which = 0; which < names_of(kind); which++) {
            const char *names[2] = {"link", "absent"}; /* what would do */
            bool is_target = kind->opcode == FUSE_SYMLINK && which == 1, is_xattr = kind->opcode == FUSE_GETXATTR;
            for (size_t n = 0; n < COUNT(odd) && !is_target; n++) {
                names[which] = odd[n];
                int error = send_names(y, kind, names, false);
                CHECK(error == FORWARDED || (is_xattr && error == ENODATA));
            }
        }
        const char *const good[2] = {"open", "open"};
        if (names_of(kind) > 0)
            CHECK(send_names(y, kind, good, true) == FORWARDED);
    }
    CHECK(box_stat(&y->box, y->play, "link").st_ino == y->link);
}

/* --- nodes ------------------------------------------------------------------------------------------------------ */

static void test_nodes_that_are_not_there(struct yard *y)
{
    for (size_t i = 0; i < message_kind_count; i++) {
        for (size_t n = 0; n < COUNT(NOWHERE); n++) {
            struct fuse_in_header in;
            size_t size = make(y, &message_kinds[i]);
            memcpy(&in, y->message, sizeof in);
            in.nodeid = NOWHERE[n];
            memcpy(y->message, &in, sizeof in);
            int error = send_and_forget(y, y->message, size);
            bool is_listing = in.opcode == FUSE_READDIR || in.opcode == FUSE_READDIRPLUS;
            CHECK(error == FORWARDED || (is_listing && error == ESTALE) || !message_has_reply(in.opcode));
        }
    }
}

/* A file where a directory is due, and the other way round. */
static void test_nodes_of_another_type(struct yard *y)
{
    const uint64_t others[] = {y->file, y->link};
    for (size_t i = 0; i < COUNT(others); i++) {
        struct box *box = &y->box;
        struct fuse_read_in read = {.size = 4096};
        CHECK(box_lookup(box, others[i], "a") == FORWARDED && box_mkdir(box, others[i], "a", 0700) == FORWARDED);
        CHECK(box_rename(box, y->play, "link", others[i], "a") == FORWARDED);
        CHECK(box_call(box, FUSE_READDIR, others[i], &read, sizeof read, NULL, NULL) == ENOTDIR);
        CHECK(box_call(box, FUSE_READDIRPLUS, others[i], &read, sizeof read, NULL, NULL) == ENOTDIR);
    }
    CHECK(box_call(&y->box, FUSE_READLINK, y->file, NULL, 0, NULL, NULL) == FORWARDED);
    CHECK(box_call(&y->box, FUSE_READLINK, y->play, NULL, 0, NULL, NULL) == FORWARDED);
}

/* --- counts and sizes ------------------------------------------------------------------------------------------- */

static uint64_t lookups_of(struct yard *y, uint64_t node)
{
    return box_inode(&y->box, node)->nlookup;
}

static int forget_batch(struct yard *y, uint32_t count, const struct fuse_forget_one *ones, size_t sent)
{
    struct fuse_in_header in = {.opcode = FUSE_BATCH_FORGET};
    struct fuse_batch_forget_in batch = {.count = count};
    memcpy(y->cut, &in, HEADER);
    memcpy(y->cut + HEADER, &batch, sizeof batch);
    memcpy(y->cut + HEADER + sizeof batch, ones, sent);
    return box_send(&y->box, y->cut, HEADER + sizeof batch + sent);
}

static void test_forgets_count_what_is_there(struct yard *y)
{
    const struct fuse_forget_one ones[] = {{y->file, 1}, {y->file, 1}, {y->file, 1}};
    static const uint32_t lies[] = {4, 4096, INT32_MAX, UINT32_MAX};
    for (size_t i = 0; i < 20; i++)
        CHECK(box_lookup(&y->box, y->play, "file") == 0);
    uint64_t left = lookups_of(y, y->file);
    CHECK(forget_batch(y, 0, ones, sizeof ones) == 0 && lookups_of(y, y->file) == left);
    CHECK(forget_batch(y, 2, ones, sizeof ones) == 0 && lookups_of(y, y->file) == (left -= 2));
    for (size_t i = 0; i < COUNT(lies); i++)
        CHECK(forget_batch(y, lies[i], ones, sizeof ones) == 0 && lookups_of(y, y->file) == (left -= 3));
    CHECK(forget_batch(y, 3, ones, sizeof ones - 1) == 0 && lookups_of(y, y->file) == (left -= 2));
    CHECK(forget_batch(y, 1, ones, 0) == 0 && lookups_of(y, y->file) == left);
    const uint64_t too_many[] = {left + 1, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < COUNT(too_many); i++) {
        const struct fuse_forget_one one = {y->file, too_many[i]}, root = {ROOT, too_many[i]};
        CHECK(forget_batch(y, 1, &one, sizeof one) == 0 && lookups_of(y, y->file) == left);
        CHECK(forget_batch(y, 1, &root, sizeof root) == 0 && pcv_inodes_get(y->box.tree->inodes, ROOT));
    }
}

static int send_write(struct yard *y, uint64_t offset, uint32_t claimed, size_t sent)
{
    struct fuse_in_header in = {.opcode = FUSE_WRITE, .nodeid = y->file};
    struct fuse_write_in write = {.offset = offset, .size = claimed};
    memcpy(y->cut, &in, HEADER);
    memcpy(y->cut + HEADER, &write, sizeof write);
    memset(y->cut + HEADER + sizeof write, 'x', sent);
    return box_send(&y->box, y->cut, HEADER + sizeof write + sent);
}

static uint64_t size_of_file(struct yard *y)
{
    return pcv_file_plain_size(y->box.volume.files, (uint64_t)box_stat(&y->box, y->play, "file").st_size);
}

static void test_writes_have_what_they_say(struct yard *y)
{
    static const uint32_t lies[] = {101, 4096, PCV_FILE_IO_MAX, INT32_MAX, UINT32_MAX};
    struct fuse_setattr_in empty = {.valid = FATTR_SIZE};
    CHECK(box_call(&y->box, FUSE_SETATTR, y->file, &empty, sizeof empty, NULL, NULL) == 0);
    for (size_t i = 0; i < COUNT(lies); i++)
        CHECK(send_write(y, 0, lies[i], 100) == FORWARDED && size_of_file(y) == 0);
    CHECK(send_write(y, 0, 50, 100) == 0 && size_of_file(y) == 50);
    CHECK(send_write(y, 0, 0, 100) == 0 && size_of_file(y) == 50);
    CHECK(send_write(y, UINT64_MAX, 100, 100) == EFBIG && send_write(y, INT64_MAX, 100, 100) == EFBIG);
    CHECK(size_of_file(y) == 50);
}

static void test_reads_of_any_size(struct yard *y)
{
    static const uint32_t sizes[] = {PCV_FILE_IO_MAX + 1, INT32_MAX, UINT32_MAX};
    static const uint64_t offsets[] = {0, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};
    CHECK(send_write(y, 0, 100, 100) == 0);
    for (size_t i = 0; i < COUNT(offsets); i++) {
        struct fuse_read_in read = {.offset = offsets[i], .size = PCV_FILE_IO_MAX};
        CHECK(box_call(&y->box, FUSE_READ, y->file, &read, sizeof read, NULL, NULL) == 0);
        CHECK(y->box.reply_size == (offsets[i] == 0 ? 100 : 0));
        for (size_t n = 0; n < COUNT(sizes); n++) {
            read.size = sizes[n];
            CHECK(box_call(&y->box, FUSE_READ, y->file, &read, sizeof read, NULL, NULL) == EINVAL);
        }
    }
}

/* --- listings --------------------------------------------------------------------------------------------------- */

static int list_at(struct yard *y, uint32_t opcode, uint64_t offset, uint32_t size)
{
    struct fuse_in_header in = {.opcode = opcode, .nodeid = y->play};
    struct fuse_read_in read = {.offset = offset, .size = size};
    memcpy(y->cut, &in, HEADER);
    memcpy(y->cut + HEADER, &read, sizeof read);
    return send_and_forget(y, y->cut, HEADER + sizeof read);
}

static void test_listings_from_anywhere(struct yard *y)
{
    static const uint64_t offsets[] = {
        1, 2, 3, 12345, INT32_MAX, UINT32_MAX, INT64_MAX - 1, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};
    static const uint32_t opcodes[] = {FUSE_READDIR, FUSE_READDIRPLUS};
    for (size_t i = 0; i < COUNT(opcodes); i++) {
        CHECK(list_at(y, opcodes[i], 0, 4096) == 0 && y->box.reply_size > 0);
        size_t all = y->box.reply_size;
        CHECK(list_at(y, opcodes[i], 0, UINT32_MAX) == 0 && y->box.reply_size == all);
        for (uint32_t size = 0; size <= all; size++) {
            int error = list_at(y, opcodes[i], 0, size);
            CHECK(error == 0 ? y->box.reply_size <= size && y->box.reply_size > 0 : error == EINVAL && size < 200);
        }
        for (size_t n = 0; n < COUNT(offsets); n++)
            (void)list_at(y, opcodes[i], offsets[n], 4096); /* what the filesystem below makes of it */
        CHECK(list_at(y, opcodes[i], UINT64_MAX, 4096) == EINVAL);
        CHECK(list_at(y, opcodes[i], 0, 4096) == 0 && y->box.reply_size == all);
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    unsigned int rounds = 4000;
    check_arguments(argc, argv, &seed, &rounds);
    for (int names = 0; names < VOLUME_NAMES; names++) {
        struct yard y;
        yard_open(&y, (enum volume_names)names, seed + (uint64_t)names);
        test_names_that_can_not_be(&y);
        test_nodes_that_are_not_there(&y);
        test_nodes_of_another_type(&y);
        test_forgets_count_what_is_there(&y);
        test_writes_have_what_they_say(&y);
        test_reads_of_any_size(&y);
        test_listings_from_anywhere(&y);
        test_messages_of_any_length(&y);
        test_mangled_messages(&y, rounds);
        yard_close(&y);
    }
    return 0;
}
