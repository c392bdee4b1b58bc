/* Requests that look at names and attributes, and SETATTR without a size. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "pcv_serve.h"
#include "pcv_tree.h"

#define XATTR_PREFIX "user.gocryptfs."
#define XATTR_NAME_ROOM (sizeof XATTR_PREFIX + PCV_FULL_CNAME_MAX)
#define FD_PATH_ROOM 64 /* /proc/self/fd/N/ */

#define TIMES (FATTR_ATIME | FATTR_MTIME | FATTR_CTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)
#define OWNER_AND_MODE (FATTR_UID | FATTR_GID | FATTR_MODE)
#define HARMLESS (FATTR_FH | FATTR_LOCKOWNER) /* there are no handles, and no locks of ours */

/* --- lookup ----------------------------------------------------------------------------------------------------- */

static bool serve_lookup(pcv_tree *tree, const struct fuse_in_header *in, size_t size)
{
    const char *name = pcv_string_at(in, size, 0);
    struct pcv_place place;
    if (!name || pcv_tree_place(tree, in->nodeid, name, &place) != 0)
        return false;
    struct stat st;
    if (fstatat(place.dirfd, place.cname.name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT)
            return false;
        struct fuse_entry_out absent = {.entry_valid = tree->options.timeout_s}; /* node 0: remember that it is not */
        pcv_reply(tree->dev_fd, in->unique, &absent, sizeof absent);
        return true;
    }
    pcv_inode *inode;
    struct fuse_entry_out entry;
    int rc = pcv_tree_found(tree, &place, &st, &inode, &entry);
    if (rc != 0)
        pcv_reply_error(tree->dev_fd, in->unique, rc == -ELOOP ? EIO : -rc);
    else
        pcv_reply(tree->dev_fd, in->unique, &entry, sizeof entry);
    return true;
}

static bool serve_forget(pcv_tree *tree, const struct fuse_in_header *in, size_t size)
{
    const struct fuse_forget_in *forget = (const struct fuse_forget_in *)(const void *)(in + 1);
    if (size >= sizeof *in + sizeof *forget)
        (void)!pcv_inodes_forget(tree->inodes, in->nodeid, forget->nlookup);
    return true;
}

static bool serve_forgets(pcv_tree *tree, const struct fuse_in_header *in, size_t size)
{
    const struct fuse_batch_forget_in *batch = (const struct fuse_batch_forget_in *)(const void *)(in + 1);
    const struct fuse_forget_one *one = (const struct fuse_forget_one *)(const void *)(batch + 1);
    if (size < sizeof *in + sizeof *batch)
        return true;
    size_t sent = (size - sizeof *in - sizeof *batch) / sizeof *one;
    for (size_t i = 0; i < batch->count && i < sent; i++)
        (void)!pcv_inodes_forget(tree->inodes, one[i].nodeid, one[i].nlookup);
    return true;
}

/* --- attributes ------------------------------------------------------------------------------------------------- */

/* The object that a request is about; NULL if the kernel should not have it: Python then says so. */
static pcv_inode *object_of(pcv_tree *tree, const struct fuse_in_header *in)
{
    return pcv_inodes_get(tree->inodes, in->nodeid);
}

static bool reply_attr(pcv_tree *tree, const struct fuse_in_header *in, pcv_inode *inode)
{
    struct stat st;
    if (pcv_tree_stat(tree, inode, &st) != 0)
        return false;
    struct fuse_attr_out out = {.attr_valid = tree->options.timeout_s};
    pcv_tree_attr(tree, inode, &st, -1, NULL, &out.attr);
    pcv_reply(tree->dev_fd, in->unique, &out, sizeof out);
    return true;
}

static bool serve_getattr(pcv_tree *tree, const struct fuse_in_header *in)
{
    pcv_inode *inode = object_of(tree, in);
    return inode && reply_attr(tree, in, inode);
}

/* access(2) and chdir(2), where the kernel leaves permissions to us because nobody but root gets in. Root may do all but
 * run what nobody may run. */
static bool serve_access(pcv_tree *tree, const struct fuse_in_header *in, size_t size)
{
    const struct fuse_access_in *access = (const struct fuse_access_in *)(const void *)(in + 1);
    pcv_inode *inode = object_of(tree, in);
    struct stat st;
    if (size < sizeof *in + sizeof *access || !inode || pcv_tree_stat(tree, inode, &st) != 0)
        return false;
    int error = 0;
    if ((access->mask & W_OK) && tree->options.is_ro)
        error = EROFS;
    else if ((access->mask & X_OK) && S_ISREG(st.st_mode) && !(st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
        error = EACCES;
    pcv_reply_error(tree->dev_fd, in->unique, error);
    return true;
}

/* An object as *at calls take it: a descriptor and a name, which is empty if the descriptor is the object. */
struct spot {
    int fd;
    const char *name;
    bool is_path; /* O_PATH */
};

static bool find_spot(pcv_tree *tree, pcv_inode *inode, struct spot *out)
{
    *out = (struct spot){.name = ""};
    if (inode->type == S_IFREG && inode->file) {
        out->fd = pcv_file_fd(inode->file);
    } else if (inode->number == PCV_ROOT_INODE) {
        out->fd = tree->options.root_fd;
        out->name = ".";
    } else if (inode->orphan_fd >= 0) {
        out->fd = inode->orphan_fd;
        out->is_path = true;
    } else if (inode->links) {
        out->fd = pcv_dirs_fd(&tree->dirs, inode->links->parent);
        out->name = inode->links->cname;
    } else {
        return false;
    }
    return out->fd >= 0;
}

/* Never through a symlink, which somebody may have put into the cipherdir in place of the object. */
static int change_mode(const struct spot *spot, mode_t mode)
{
    if (spot->name[0] == '\0' && !spot->is_path)
        return fchmod(spot->fd, mode) == 0 ? 0 : -errno;
    int fd = spot->is_path ? spot->fd : openat(spot->fd, spot->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = pcv_tree_chmod(fd, mode);
    if (!spot->is_path)
        close(fd);
    return rc;
}

static struct timespec time_of(uint32_t valid, uint32_t set, uint32_t now, uint64_t sec, uint32_t nsec)
{
    if (valid & now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    if (valid & set)
        return (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = nsec};
    return (struct timespec){.tv_nsec = UTIME_OMIT};
}

/* In this order, since a change of owner takes special bits away that a mode given with it sets. */
static int change(const struct spot *spot, const struct fuse_setattr_in *s)
{
    if (s->valid & (FATTR_UID | FATTR_GID)) {
        uid_t uid = s->valid & FATTR_UID ? s->uid : (uid_t)-1;
        gid_t gid = s->valid & FATTR_GID ? s->gid : (gid_t)-1;
        if (fchownat(spot->fd, spot->name, uid, gid, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0)
            return -errno;
    }
    if (s->valid & FATTR_MODE) {
        int rc = change_mode(spot, s->mode & 07777);
        if (rc != 0)
            return rc;
    }
    if (s->valid & TIMES) {
        struct timespec times[2] = {
            time_of(s->valid, FATTR_ATIME, FATTR_ATIME_NOW, s->atime, s->atimensec),
            time_of(s->valid, FATTR_MTIME, FATTR_MTIME_NOW, s->mtime, s->mtimensec),
        };
        if (utimensat(spot->fd, spot->name, times, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0)
            return -errno;
    }
    return 0;
}

static bool serve_setattr(pcv_tree *tree, const struct fuse_in_header *in, size_t size)
{
    const struct fuse_setattr_in *s = (const struct fuse_setattr_in *)(const void *)(in + 1);
    if (tree->options.is_ro || size < sizeof *in + sizeof *s)
        return false;
    uint32_t known = TIMES | OWNER_AND_MODE | HARMLESS;
    if (s->valid & (FATTR_UID | FATTR_GID))
        known |= FATTR_KILL_SUIDGID; /* a new owner does that below us, too */
    if ((s->valid & ~known) != 0)
        return false;
    pcv_inode *inode = object_of(tree, in);
    struct spot spot;
    if (!inode || !find_spot(tree, inode, &spot))
        return false;
    int rc = change(&spot, s);
    if (rc != 0)
        pcv_reply_error(tree->dev_fd, in->unique, -rc);
    else if (!reply_attr(tree, in, inode))
        pcv_reply_error(tree->dev_fd, in->unique, EIO);
    return true;
}

/* --- symlinks --------------------------------------------------------------------------------------------------- */

static bool serve_readlink(pcv_tree *tree, const struct fuse_in_header *in)
{
    const struct pcv_tree_options *options = &tree->options;
    pcv_inode *inode = object_of(tree, in);
    struct spot spot;
    if (!inode || inode->type != S_IFLNK || !find_spot(tree, inode, &spot))
        return false;
    char stored[PCV_TARGET_MAX + 1], target[PCV_TARGET_MAX + 1];
    size_t target_size;
    ssize_t got = readlinkat(spot.fd, spot.name, stored, sizeof stored);
    if (got < 0 || pcv_target_decode(&options->names, options->aead, options->nonce_size, stored, (size_t)got, target,
                                     &target_size) != 0)
        return false; /* Python finds the same, and says so in the log */
    pcv_reply(tree->dev_fd, in->unique, target, target_size);
    return true;
}

/* --- extended attributes ---------------------------------------------------------------------------------------- */

/* The stored name of an attribute; false if it is for Python to make. ACLs keep their name: the filesystem below reads
 * them. */
static bool encode_xattr(const pcv_tree *tree, const char *name, char stored[XATTR_NAME_ROOM])
{
    static const uint8_t tweak[PCV_DIRIV_SIZE] = {'x', 'a', 't', 't', 'r', '_', 'n', 'a',
                                                  'm', 'e', '_', 'i', 'v', '_', 'x', 'x'};
    if (strcmp(name, "system.posix_acl_access") == 0 || strcmp(name, "system.posix_acl_default") == 0) {
        strcpy(stored, name);
        return true;
    }
    struct pcv_name_format format = tree->options.names;
    format.has_diriv = true;
    format.hashes_long = false;
    struct pcv_cname cname;
    if (!format.eme || strchr(name, '/') || pcv_name_encode(&format, tweak, name, strlen(name), &cname) != 0)
        return false;
    memcpy(stored, XATTR_PREFIX, sizeof XATTR_PREFIX - 1);
    strcpy(stored + sizeof XATTR_PREFIX - 1, cname.name);
    return strlen(stored) <= PCV_NAME_MAX;
}

/* `ls -l` asks for two attributes of each file, and the kernel for one before it writes: they are hardly ever there. */
static bool serve_getxattr(pcv_tree *tree, const struct fuse_in_header *in, size_t size)
{
    const char *name = pcv_string_at(in, size, sizeof(struct fuse_getxattr_in));
    if (!name)
        return false;
    if (!tree->options.has_capabilities && strcmp(name, "security.capability") == 0) {
        pcv_reply_error(tree->dev_fd, in->unique, EOPNOTSUPP);
        return true;
    }
    char stored[XATTR_NAME_ROOM], path[FD_PATH_ROOM + PCV_NAME_MAX];
    pcv_inode *inode = object_of(tree, in);
    struct spot spot;
    if (!tree->options.has_xattrs || !inode || !find_spot(tree, inode, &spot) || spot.is_path ||
        !encode_xattr(tree, name, stored))
        return false;
    ssize_t got;
    if (spot.name[0] == '\0') {
        got = fgetxattr(spot.fd, stored, NULL, 0);
    } else {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d/%s", spot.fd, spot.name);
        got = lgetxattr(path, stored, NULL, 0);
    }
    if (got >= 0 || (errno != ENODATA && errno != EOPNOTSUPP))
        return false;
    pcv_reply_error(tree->dev_fd, in->unique, errno);
    return true;
}

bool pcv_look_serve(pcv_tree *tree, const struct fuse_in_header *in, size_t size)
{
    switch (in->opcode) {
    case FUSE_LOOKUP:
        return serve_lookup(tree, in, size);
    case FUSE_FORGET:
        return serve_forget(tree, in, size);
    case FUSE_BATCH_FORGET:
        return serve_forgets(tree, in, size);
    case FUSE_GETATTR:
        return serve_getattr(tree, in);
    case FUSE_ACCESS:
        return serve_access(tree, in, size);
    case FUSE_SETATTR:
        return serve_setattr(tree, in, size);
    case FUSE_READLINK:
        return serve_readlink(tree, in);
    case FUSE_GETXATTR:
        return serve_getxattr(tree, in, size);
    default:
        return false;
    }
}
