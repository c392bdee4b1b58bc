#include "box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEADER sizeof(struct fuse_in_header)
#define MESSAGE_MAX (64 << 10)
#define REPLY_MAX ((1 << 20) + PCV_BLOCK_SIZE)

void box_open(struct box *box, enum volume_names names)
{
    *box = (struct box){.reply = malloc(REPLY_MAX), .unique = 1};
    CHECK(box->reply != NULL);
    volume_make(&box->volume, names, PCV_AES_GCM, PCV_PREALLOC_OFF, false);
    struct pcv_tree_options options = volume_options(&box->volume);
    CHECK(pcv_tree_new(&options, &box->tree) == 0);
    box->replies = memfd_create("replies", MFD_CLOEXEC);
    CHECK(box->replies >= 0 && fcntl(box->replies, F_SETFL, O_APPEND) == 0);
    box->tree->dev_fd = box->replies;
    CHECK(pcv_server_init(&box->server, box->replies, &box->tree->options) == 0);
    box->fds = count_fds();
    box->entries = count_entries(box->volume.root_fd);
}

void box_close(struct box *box)
{
    CHECK(pcv_inodes_count(box->tree->inodes) == 1 && pcv_inodes_lookups(box->tree->inodes) == 0);
    CHECK(box->tree->file_count == 0 && box->tree->dirs.count == 0);
    CHECK(count_entries(box->volume.root_fd) == box->entries);
    CHECK(count_fds() == box->fds);
    close(box->replies);
    pcv_server_destroy(&box->server);
    pcv_tree_free(box->tree);
    volume_remove(&box->volume);
    free(box->reply);
}

/* What the lane does with a message, as far as it needs no lane. */
static bool serve(struct box *box, const struct fuse_in_header *in, size_t size)
{
    if (pcv_tree_serve(box->tree, in, size))
        return true;
    if (!pcv_is_served(in, size) || in->opcode == FUSE_FSYNC)
        return false;
    pcv_inode *inode = pcv_inodes_get(box->tree->inodes, in->nodeid);
    if (!inode || inode->type != S_IFREG || pcv_tree_open(box->tree, inode, pcv_needs_writable(in)) != 0)
        return false;
    pcv_serve(&box->server, in, inode->file);
    return true;
}

static bool has_reply(const struct fuse_in_header *in)
{
    return in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET;
}

/* The reply at an offset, which is moved on, into box; notifications are left out. False: there is none. */
static bool read_reply(struct box *box, off_t *at, struct fuse_out_header *out)
{
    for (ssize_t got; (got = pread(box->replies, out, sizeof *out, *at)) > 0; *at += out->len) {
        CHECK(got == sizeof *out && out->len >= sizeof *out && out->len <= sizeof *out + REPLY_MAX);
        if (out->unique == 0) {
            CHECK(out->error > 0 && out->error < FUSE_NOTIFY_CODE_MAX);
            continue;
        }
        CHECK(out->unique == box->unique && out->error <= 0 && out->error > -512);
        box->reply_size = out->len - sizeof *out;
        CHECK(out->error == 0 || box->reply_size == 0);
        CHECK(pread(box->replies, box->reply, box->reply_size, *at + got) == (ssize_t)box->reply_size);
        *at += out->len;
        return true;
    }
    return false;
}

/* One reply, or none if there must be none. */
static int take_reply(struct box *box, bool is_due)
{
    struct fuse_out_header out = {0}, second;
    off_t at = 0;
    CHECK(read_reply(box, &at, &out) == is_due);
    CHECK(!is_due || !read_reply(box, &at, &second));
    CHECK(ftruncate(box->replies, 0) == 0);
    return -out.error;
}

int box_send(struct box *box, const void *message, size_t size)
{
    struct fuse_in_header *in = (struct fuse_in_header *)(void *)exact_copy(message, size);
    in->unique = ++box->unique;
    in->len = (uint32_t)size;
    in->uid = box->uid;
    in->gid = box->gid;
    if (box->fault)
        faults_arm(box->fault);
    bool is_served = serve(box, in, size);
    box->failed = box->fault ? faults_disarm() : 0;
    bool is_answered = is_served && has_reply(in);
    free(in);
    pcv_tree_trim(box->tree);
    int error = take_reply(box, is_answered);
    return is_served ? error : FORWARDED;
}

int box_call(struct box *box, uint32_t opcode, uint64_t node, const void *fixed, size_t size, const char *first,
             const char *second)
{
    uint8_t message[MESSAGE_MAX];
    struct fuse_in_header header = {.opcode = opcode, .nodeid = node};
    memcpy(message, &header, HEADER);
    if (size > 0)
        memcpy(message + HEADER, fixed, size);
    size += HEADER;
    const char *names[] = {first, second};
    for (size_t i = 0; i < 2; i++) {
        size_t room = names[i] ? strlen(names[i]) + 1 : 0;
        CHECK(size + room <= sizeof message);
        if (room > 0)
            memcpy(message + size, names[i], room);
        size += room;
    }
    return box_send(box, message, size);
}

/* --- requests --------------------------------------------------------------------------------------------------- */

int box_lookup(struct box *box, uint64_t parent, const char *name)
{
    return box_call(box, FUSE_LOOKUP, parent, NULL, 0, name, NULL);
}

int box_mkdir(struct box *box, uint64_t parent, const char *name, uint32_t mode)
{
    struct fuse_mkdir_in in = {.mode = mode};
    return box_call(box, FUSE_MKDIR, parent, &in, sizeof in, name, NULL);
}

int box_create(struct box *box, uint64_t parent, const char *name, uint32_t mode, uint32_t flags)
{
    struct fuse_create_in in = {.mode = mode, .flags = flags};
    return box_call(box, FUSE_CREATE, parent, &in, sizeof in, name, NULL);
}

int box_mknod(struct box *box, uint64_t parent, const char *name, uint32_t mode, uint32_t rdev)
{
    struct fuse_mknod_in in = {.mode = mode, .rdev = rdev};
    return box_call(box, FUSE_MKNOD, parent, &in, sizeof in, name, NULL);
}

int box_symlink(struct box *box, uint64_t parent, const char *name, const char *target)
{
    return box_call(box, FUSE_SYMLINK, parent, NULL, 0, name, target);
}

int box_link(struct box *box, uint64_t node, uint64_t parent, const char *name)
{
    struct fuse_link_in in = {.oldnodeid = node};
    return box_call(box, FUSE_LINK, parent, &in, sizeof in, name, NULL);
}

int box_unlink(struct box *box, uint64_t parent, const char *name)
{
    return box_call(box, FUSE_UNLINK, parent, NULL, 0, name, NULL);
}

int box_rmdir(struct box *box, uint64_t parent, const char *name)
{
    return box_call(box, FUSE_RMDIR, parent, NULL, 0, name, NULL);
}

int box_rename(struct box *box, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name)
{
    struct fuse_rename_in in = {.newdir = new_parent};
    return box_call(box, FUSE_RENAME, parent, &in, sizeof in, name, new_name);
}

int box_rename2(struct box *box, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
                uint32_t flags)
{
    struct fuse_rename2_in in = {.newdir = new_parent, .flags = flags};
    return box_call(box, FUSE_RENAME2, parent, &in, sizeof in, name, new_name);
}

void box_forget(struct box *box, uint64_t node)
{
    struct fuse_forget_in in = {.nlookup = box_inode(box, node)->nlookup};
    CHECK(in.nlookup > 0 && box_call(box, FUSE_FORGET, node, &in, sizeof in, NULL, NULL) == 0);
}

struct fuse_entry_out box_entry(const struct box *box)
{
    struct fuse_entry_out entry;
    CHECK(box->reply_size >= sizeof entry);
    memcpy(&entry, box->reply, sizeof entry);
    return entry;
}

uint64_t box_node(const struct box *box)
{
    return box_entry(box).nodeid;
}

/* --- behind the tree's back ------------------------------------------------------------------------------------- */

struct pcv_place box_place(struct box *box, uint64_t parent, const char *name)
{
    struct pcv_place place;
    CHECK(pcv_tree_place(box->tree, parent, name, &place) == 0);
    return place;
}

bool box_has(struct box *box, uint64_t parent, const char *name)
{
    struct pcv_place place = box_place(box, parent, name);
    struct stat st;
    return fstatat(place.dirfd, place.cname.name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

struct stat box_stat(struct box *box, uint64_t parent, const char *name)
{
    struct pcv_place place = box_place(box, parent, name);
    struct stat st;
    CHECK(fstatat(place.dirfd, place.cname.name, &st, AT_SYMLINK_NOFOLLOW) == 0);
    return st;
}

pcv_inode *box_inode(struct box *box, uint64_t node)
{
    pcv_inode *inode = pcv_inodes_get(box->tree->inodes, node);
    CHECK(inode != NULL);
    return inode;
}
