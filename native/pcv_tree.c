#include "pcv_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPECIAL_BITS ((mode_t)(S_ISUID | S_ISGID))
#define FD_PATH_ROOM 32 /* /proc/self/fd/N */

/* --- life ------------------------------------------------------------------------------------------------------- */

static void dropped(void *context, pcv_inode *inode)
{
    pcv_tree *tree = context;
    if (inode->type == S_IFREG)
        pcv_tree_detach(tree, inode);
    else
        pcv_dirs_evict(&tree->dirs, inode);
    pcv_tree_unhold(inode);
}

int pcv_tree_new(const struct pcv_tree_options *options, pcv_tree **out)
{
    struct stat root;
    if (fstat(options->root_fd, &root) != 0)
        return -errno;
    pcv_tree *tree = calloc(1, sizeof *tree);
    if (!tree)
        return -ENOMEM;
    tree->options = *options;
    tree->dev_fd = -1;
    pcv_lru_init(&tree->files);
    pcv_dirs_init(&tree->dirs, options->root_fd, options->names.eme && options->names.has_diriv, options->dirs_max);
    int rc = pcv_listings_new(&tree->listings);
    if (rc == 0)
        rc = pcv_inodes_new(&root, dropped, tree, &tree->inodes);
    if (rc != 0) {
        pcv_tree_free(tree);
        return rc;
    }
    *out = tree;
    return 0;
}

void pcv_tree_free(pcv_tree *tree)
{
    if (!tree)
        return;
    pcv_inodes_free(tree->inodes);
    pcv_listings_free(tree->listings);
    free(tree->notes);
    free(tree);
}

void pcv_tree_trim(pcv_tree *tree)
{
    pcv_dirs_trim(&tree->dirs);
    while (tree->file_count > tree->options.files_max)
        pcv_tree_detach(tree, pcv_lru_oldest(&tree->files));
}

/* --- places ----------------------------------------------------------------------------------------------------- */

int pcv_tree_place(pcv_tree *tree, uint64_t parent, const char *name, struct pcv_place *out)
{
    out->dir = pcv_inodes_get(tree->inodes, parent);
    if (!out->dir)
        return -ESTALE;
    out->dirfd = pcv_dirs_fd(&tree->dirs, out->dir);
    if (out->dirfd < 0)
        return out->dirfd;
    if (!tree->options.names.eme && parent == PCV_ROOT_INODE && strcmp(name, PCV_CONFIG_NAME) == 0)
        return -EPERM; /* the one name that plaintext names can't have */
    const uint8_t *diriv;
    int rc = pcv_dirs_diriv(&tree->dirs, out->dir, &diriv);
    return rc != 0 ? rc : pcv_name_encode(&tree->options.names, diriv, name, strlen(name), &out->cname);
}

int pcv_tree_found(pcv_tree *tree, const struct pcv_place *place, const struct stat *st, pcv_inode **inode,
                   struct fuse_entry_out *entry)
{
    int rc = pcv_inodes_intern(tree->inodes, st, place->dir, place->cname.name, inode);
    if (rc != 0)
        return rc;
    pcv_tree_unhold(*inode); /* held since its last known name went: here is one that was not known */
    *entry = (struct fuse_entry_out){
        .nodeid = (*inode)->number,
        .entry_valid = tree->options.timeout_s,
        .attr_valid = tree->options.timeout_s,
    };
    pcv_tree_attr(tree, *inode, st, place->dirfd, place->cname.name, &entry->attr);
    pcv_inodes_looked_up(tree->inodes, *inode);
    return 0;
}

/* --- attributes ------------------------------------------------------------------------------------------------- */

/* Length of a symlink's plaintext target; 0 if it does not decrypt, as the original has it. */
static uint64_t target_size(pcv_tree *tree, const pcv_inode *inode, int dirfd, const char *cname)
{
    char stored[PCV_TARGET_MAX + 1], target[PCV_TARGET_MAX + 1];
    size_t size;
    if (!cname && inode->orphan_fd >= 0) {
        dirfd = inode->orphan_fd;
        cname = "";
    } else if (!cname && inode->links) {
        dirfd = pcv_dirs_fd(&tree->dirs, inode->links->parent);
        cname = inode->links->cname;
    }
    ssize_t got = cname && dirfd >= 0 ? readlinkat(dirfd, cname, stored, sizeof stored) : -1;
    if (got < 0 || pcv_target_decode(&tree->options.names, tree->options.aead, tree->options.nonce_size, stored,
                                     (size_t)got, target, &size) != 0)
        return 0;
    return size;
}

/* A file whose content is still with the kernel has no blocks here, but must not look like one hole: programs that copy
 * files would leave it all out. */
static uint64_t blocks_of(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_blocks == 0 ? 1 : (uint64_t)st->st_blocks;
}

void pcv_attr(const struct pcv_tree_options *options, uint64_t number, const struct stat *st, uint64_t size,
              struct fuse_attr *out)
{
    *out = (struct fuse_attr){
        .ino = number,
        .size = size,
        .blocks = blocks_of(st),
        .atime = (uint64_t)st->st_atim.tv_sec,
        .mtime = (uint64_t)st->st_mtim.tv_sec,
        .ctime = (uint64_t)st->st_ctim.tv_sec,
        .atimensec = (uint32_t)st->st_atim.tv_nsec,
        .mtimensec = (uint32_t)st->st_mtim.tv_nsec,
        .ctimensec = (uint32_t)st->st_ctim.tv_nsec,
        .mode = st->st_mode,
        .nlink = (uint32_t)st->st_nlink,
        .uid = options->has_owner ? options->owner_uid : st->st_uid,
        .gid = options->has_owner ? options->owner_gid : st->st_gid,
        .rdev = (uint32_t)st->st_rdev,
        .blksize = (uint32_t)st->st_blksize,
    };
}

void pcv_tree_attr(pcv_tree *tree, pcv_inode *inode, const struct stat *st, int dirfd, const char *cname,
                   struct fuse_attr *out)
{
    uint64_t size = (uint64_t)st->st_size;
    if (inode->type == S_IFREG)
        size = pcv_file_plain_size(tree->options.files, size);
    else if (inode->type == S_IFLNK && tree->options.names.eme)
        size = target_size(tree, inode, dirfd, cname);
    pcv_attr(&tree->options, inode->number, st, size, out);
}

int pcv_tree_stat(pcv_tree *tree, pcv_inode *inode, struct stat *st)
{
    int fd = inode->type == S_IFREG && inode->file ? pcv_file_fd(inode->file) : inode->type == S_IFDIR ? inode->fd : -1;
    if (inode->number == PCV_ROOT_INODE)
        fd = tree->options.root_fd;
    if (fd < 0)
        fd = inode->orphan_fd;
    if (fd >= 0)
        return fstat(fd, st) == 0 ? 0 : -errno;
    if (!inode->links)
        return -ENOENT;
    int dirfd = pcv_dirs_fd(&tree->dirs, inode->links->parent);
    if (dirfd < 0)
        return dirfd;
    return fstatat(dirfd, inode->links->cname, st, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

/* --- names that go ---------------------------------------------------------------------------------------------- */

int pcv_tree_hold(pcv_inode *inode, const struct pcv_place *place)
{
    if (inode->orphan_fd >= 0 || (inode->links && inode->links->next))
        return 0;
    inode->orphan_fd = openat(place->dirfd, place->cname.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return inode->orphan_fd < 0 ? -errno : 0;
}

void pcv_tree_unhold(pcv_inode *inode)
{
    if (inode->orphan_fd >= 0)
        close(inode->orphan_fd);
    inode->orphan_fd = -1;
}

void pcv_tree_lost_name(pcv_tree *tree, pcv_inode *inode, const struct pcv_place *place)
{
    pcv_dirs_evict(&tree->dirs, inode);
    pcv_inodes_pin(tree->inodes, inode);
    pcv_inodes_remove_link(tree->inodes, inode, place->dir, place->cname.name);
    if (inode->links)
        pcv_tree_unhold(inode); /* it was not the last one: the kernel did not know that name */
    pcv_inodes_unpin(tree->inodes, inode);
}

/* --- new objects ------------------------------------------------------------------------------------------------ */

int pcv_tree_chmod(int fd, mode_t mode)
{
    char path[FD_PATH_ROOM];
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return -EOPNOTSUPP;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return chmod(path, mode) == 0 ? 0 : -errno;
}

/* The kernel would have done that, had the caller made the object themselves. chown takes the special bits away. */
int pcv_tree_give_to(pcv_tree *tree, const struct fuse_in_header *in, const struct pcv_place *place, int fd)
{
    if (!tree->options.gives_away || (in->uid == 0 && in->gid == 0))
        return 0;
    const int flags = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH;
    const char *name = fd >= 0 ? "" : place->cname.name;
    int at = fd >= 0 ? fd : place->dirfd;
    struct stat parent, st;
    if (fstat(place->dirfd, &parent) != 0 || fstatat(at, name, &st, flags) != 0)
        return -errno;
    gid_t gid = parent.st_mode & S_ISGID ? (gid_t)-1 : in->gid; /* the filesystem below did that part */
    if (fchownat(at, name, in->uid, gid, flags) != 0)
        return -errno;
    if (!(st.st_mode & SPECIAL_BITS) || S_ISLNK(st.st_mode))
        return 0;
    if (fd >= 0)
        return fchmod(fd, st.st_mode & 07777) == 0 ? 0 : -errno;
    int found = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC); /* whatever it is, opening it does nothing */
    if (found < 0)
        return -errno;
    int rc = pcv_tree_chmod(found, st.st_mode & 07777);
    close(found);
    return rc;
}

/* --- open files ------------------------------------------------------------------------------------------------- */

int pcv_tree_attach(pcv_tree *tree, pcv_inode *inode, int fd, bool is_writable)
{
    if (inode->file && is_writable && !pcv_file_is_writable(inode->file))
        return pcv_file_upgrade(inode->file, fd);
    if (inode->file) {
        close(fd);
        return 0;
    }
    char path[PATH_MAX];
    pcv_inodes_path(inode, path, sizeof path);
    int rc = pcv_file_new(tree->options.files, fd, is_writable, path, &inode->file);
    if (rc != 0) {
        inode->file = NULL;
        return rc;
    }
    pcv_lru_touch(&tree->files, &inode->lru);
    tree->file_count++;
    return 0;
}

int pcv_tree_open(pcv_tree *tree, pcv_inode *inode, bool must_write)
{
    if (inode->file && (!must_write || pcv_file_is_writable(inode->file))) {
        pcv_lru_touch(&tree->files, &inode->lru);
        return 0;
    }
    if (inode->orphan_fd >= 0 || !inode->links)
        return -ENOENT;
    if (must_write && tree->options.is_ro)
        return -EROFS;
    int dirfd = pcv_dirs_fd(&tree->dirs, inode->links->parent);
    if (dirfd < 0)
        return dirfd;
    int access = must_write ? O_RDWR : O_RDONLY;
    int fd = openat(dirfd, inode->links->cname, access | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat st;
    int rc = fstat(fd, &st) != 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EIO;
    if (rc != 0) {
        close(fd);
        return rc;
    }
    rc = pcv_tree_attach(tree, inode, fd, must_write);
    if (rc != 0)
        close(fd);
    return rc;
}

void pcv_tree_detach(pcv_tree *tree, pcv_inode *inode)
{
    if (inode->type != S_IFREG || !inode->file)
        return;
    pcv_file *file = inode->file;
    inode->file = NULL;
    pcv_lru_remove(&inode->lru);
    tree->file_count--;
    if (tree->before_close)
        tree->before_close(tree->context, file);
    pcv_file_unref(file);
}

void pcv_tree_detach_all(pcv_tree *tree)
{
    pcv_inode *oldest;
    while ((oldest = pcv_lru_oldest(&tree->files)) != NULL)
        pcv_tree_detach(tree, oldest);
}

/* --- serving ---------------------------------------------------------------------------------------------------- */

const char *pcv_string_at(const struct fuse_in_header *in, size_t size, size_t offset)
{
    const char *start = (const char *)in + sizeof *in + offset;
    return size > sizeof *in + offset && memchr(start, '\0', size - sizeof *in - offset) ? start : NULL;
}

bool pcv_tree_serve(pcv_tree *tree, const struct fuse_in_header *in, size_t size)
{
    if (pcv_look_serve(tree, in, size) || pcv_list_serve(tree, in, size))
        return true;
    if (!pcv_change_serve(tree, in, size))
        return false;
    pcv_tree_changed(tree);
    return true;
}
