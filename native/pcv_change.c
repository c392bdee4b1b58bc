/* Making and removing names, answered without Python: the common cases of what pcvfs/fs/volume_fs.py does.
 *
 * Before each operation stands which system calls it makes besides finding the parent, where nothing goes wrong and
 * nothing has to be given away. An answer that needs no more bookkeeping to be right is sent before that is done: the
 * client can go on meanwhile, and its next request is read afterwards. */
#include "pcv_change.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pcv_serve.h"

#define MODE_BITS 07777

bool pcv_change_place(pcv_tree *tree, uint64_t parent, const char *name, struct pcv_place *out)
{
    return pcv_tree_place(tree, parent, name, out) == 0 && !out->cname.full[0];
}

/* --- making ------------------------------------------------------------------------------------------------------ */

static int know_made(pcv_tree *tree, const struct fuse_in_header *in, const struct pcv_place *place, bool is_theirs,
                     struct fuse_entry_out *entry)
{
    struct stat st;
    pcv_inode *inode;
    int rc = is_theirs ? pcv_tree_give_to(tree, in, place, -1) : 0;
    if (rc == 0 && fstatat(place->dirfd, place->cname.name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        rc = -errno;
    return rc == 0 ? pcv_tree_found(tree, place, &st, &inode, entry) : rc;
}

void pcv_change_answer_made(pcv_tree *tree, const struct fuse_in_header *in, const struct pcv_place *place,
                            bool is_theirs, int unlink_flags)
{
    struct fuse_entry_out entry;
    int rc = know_made(tree, in, place, is_theirs, &entry);
    if (rc == 0) {
        pcv_reply(tree->dev_fd, in->unique, &entry, sizeof entry);
        return;
    }
    (void)unlinkat(place->dirfd, place->cname.name, unlink_flags); /* the kernel believes that there is none */
    pcv_reply_error(tree->dev_fd, in->unique, -rc);
}

/* openat, fstat. The descriptor stays, so the first write needs no opening. */
static bool create(pcv_tree *tree, const struct fuse_in_header *in, const struct fuse_create_in *wanted,
                   const char *name)
{
    struct pcv_place place;
    if (!pcv_change_place(tree, in->nodeid, name, &place))
        return false;
    int fd = openat(place.dirfd, place.cname.name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    (mode_t)wanted->mode & MODE_BITS);
    if (fd < 0) {
        if (errno != EEXIST || !(wanted->flags & O_EXCL))
            return false;
        pcv_reply_error(tree->dev_fd, in->unique, EEXIST);
        return true;
    }
    struct stat st;
    pcv_inode *inode;
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out = {.open = {.open_flags = FOPEN_KEEP_CACHE}};
    int rc = pcv_tree_give_to(tree, in, &place, fd);
    if (rc == 0 && fstat(fd, &st) != 0)
        rc = -errno;
    if (rc == 0)
        rc = pcv_tree_found(tree, &place, &st, &inode, &out.entry);
    if (rc != 0) {
        (void)unlinkat(place.dirfd, place.cname.name, 0);
        close(fd);
        pcv_reply_error(tree->dev_fd, in->unique, -rc);
        return true;
    }
    pcv_reply(tree->dev_fd, in->unique, &out, sizeof out);
    if (inode->file || pcv_tree_attach(tree, inode, fd, true) != 0)
        close(fd); /* it is opened again when it is needed */
    return true;
}

/* mknodat, fstatat. */
static bool make_node(pcv_tree *tree, const struct fuse_in_header *in, const struct fuse_mknod_in *wanted,
                      const char *name)
{
    struct pcv_place place;
    mode_t mode = (mode_t)wanted->mode & (S_IFMT | MODE_BITS);
    /* The kernel's 32 bits of a device number are the low ones of dev_t. */
    if (!pcv_change_place(tree, in->nodeid, name, &place) ||
        mknodat(place.dirfd, place.cname.name, mode, (dev_t)wanted->rdev) != 0)
        return false;
    pcv_change_answer_made(tree, in, &place, true, 0);
    return true;
}

/* symlinkat, fstatat, and what pcv_tree_found takes to tell the length of the target. */
static bool make_symlink(pcv_tree *tree, const struct fuse_in_header *in, const char *name, const char *target)
{
    struct pcv_place place;
    char stored[PCV_TARGET_MAX + 1];
    const struct pcv_tree_options *options = &tree->options;
    if (!pcv_change_place(tree, in->nodeid, name, &place) ||
        pcv_target_encode(&options->names, options->aead, options->nonce_size, target, strlen(target), stored) != 0 ||
        symlinkat(stored, place.dirfd, place.cname.name) != 0)
        return false;
    pcv_change_answer_made(tree, in, &place, true, 0);
    return true;
}

/* linkat, fstatat. What is reached by its descriptor alone is Python's. */
static bool make_link(pcv_tree *tree, const struct fuse_in_header *in, uint64_t node, const char *name)
{
    struct pcv_place place;
    pcv_inode *inode = pcv_inodes_get(tree->inodes, node);
    if (!inode || inode->orphan_fd >= 0 || !inode->links || !pcv_change_place(tree, in->nodeid, name, &place))
        return false;
    const struct pcv_link *old = inode->links;
    int old_dirfd = pcv_dirs_fd(&tree->dirs, old->parent);
    if (old_dirfd < 0 || linkat(old_dirfd, old->cname, place.dirfd, place.cname.name, 0) != 0)
        return false;
    pcv_change_answer_made(tree, in, &place, false, 0);
    return true;
}

/* --- removing ---------------------------------------------------------------------------------------------------- */

void pcv_change_keep_name(pcv_inode *inode)
{
    if (inode && inode->links)
        pcv_tree_unhold(inode);
}

/* fstatat, unlinkat; in between, if the object is known, pcv_tree_hold opens it. */
bool pcv_change_remove(pcv_tree *tree, const struct fuse_in_header *in, const char *name, int unlink_flags)
{
    struct pcv_place place;
    struct stat st;
    if (!pcv_change_place(tree, in->nodeid, name, &place) ||
        fstatat(place.dirfd, place.cname.name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    pcv_inode *inode = pcv_inodes_find(tree->inodes, st.st_dev, st.st_ino);
    if (inode && pcv_tree_hold(inode, &place) != 0)
        return false;
    if (unlinkat(place.dirfd, place.cname.name, unlink_flags) != 0) {
        pcv_change_keep_name(inode);
        return false;
    }
    pcv_reply_error(tree->dev_fd, in->unique, 0);
    if (inode)
        pcv_tree_lost_name(tree, inode, &place);
    return true;
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

/* A message being read; size is cut down to 0 where it ends too early. */
struct reader {
    const char *at;
    size_t size;
};

/* A fixed part, or NULL. */
static const void *take(struct reader *message, size_t size)
{
    const char *start = message->at;
    if (message->size < size)
        return NULL;
    message->at += size;
    message->size -= size;
    return start;
}

/* A string, NUL included, or NULL. */
static const char *take_string(struct reader *message)
{
    const char *end = message->size > 0 ? memchr(message->at, '\0', message->size) : NULL;
    return end ? take(message, (size_t)(end - message->at) + 1) : NULL;
}

static bool serve_rename(pcv_tree *tree, const struct fuse_in_header *in, struct reader message)
{
    uint64_t new_parent;
    unsigned int flags = 0;
    if (in->opcode == FUSE_RENAME2) {
        const struct fuse_rename2_in *rename2 = take(&message, sizeof *rename2);
        if (!rename2)
            return false;
        new_parent = rename2->newdir;
        flags = rename2->flags;
    } else {
        const struct fuse_rename_in *rename = take(&message, sizeof *rename);
        if (!rename)
            return false;
        new_parent = rename->newdir;
    }
    const char *name = take_string(&message), *new_name = take_string(&message);
    return name && new_name && pcv_change_rename(tree, in, name, new_parent, new_name, flags);
}

/* Requests that begin with a fixed part. */
static bool serve_new(pcv_tree *tree, const struct fuse_in_header *in, struct reader message)
{
    size_t size = in->opcode == FUSE_CREATE  ? sizeof(struct fuse_create_in)
                  : in->opcode == FUSE_MKDIR ? sizeof(struct fuse_mkdir_in)
                  : in->opcode == FUSE_MKNOD ? sizeof(struct fuse_mknod_in)
                                             : sizeof(struct fuse_link_in);
    const void *fixed = take(&message, size);
    const char *name = fixed ? take_string(&message) : NULL;
    if (!name)
        return false;
    switch (in->opcode) {
    case FUSE_CREATE:
        return create(tree, in, fixed, name);
    case FUSE_MKDIR:
        return pcv_change_mkdir(tree, in, name, (mode_t)((const struct fuse_mkdir_in *)fixed)->mode & MODE_BITS);
    case FUSE_MKNOD:
        return make_node(tree, in, fixed, name);
    default:
        return make_link(tree, in, ((const struct fuse_link_in *)fixed)->oldnodeid, name);
    }
}

/* Requests that are names and nothing else. */
static bool serve_names(pcv_tree *tree, const struct fuse_in_header *in, struct reader message)
{
    const char *name = take_string(&message);
    if (!name)
        return false;
    switch (in->opcode) {
    case FUSE_SYMLINK: {
        const char *target = take_string(&message);
        return target && make_symlink(tree, in, name, target);
    }
    case FUSE_UNLINK:
        return pcv_change_remove(tree, in, name, 0);
    default:
        return pcv_change_rmdir(tree, in, name);
    }
}

bool pcv_change_serve(pcv_tree *tree, const struct fuse_in_header *in, size_t size)
{
    if (tree->options.is_ro || size < sizeof *in)
        return false;
    struct reader message = {(const char *)(in + 1), size - sizeof *in};
    switch (in->opcode) {
    case FUSE_CREATE:
    case FUSE_MKDIR:
    case FUSE_MKNOD:
    case FUSE_LINK:
        return serve_new(tree, in, message);
    case FUSE_SYMLINK:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
        return serve_names(tree, in, message);
    case FUSE_RENAME:
    case FUSE_RENAME2:
        return serve_rename(tree, in, message);
    default:
        return false;
    }
}
