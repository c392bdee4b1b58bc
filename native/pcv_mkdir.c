/* Making and removing directories: what pcvfs/fs/dirs.py does, where nothing but an IV is in the way.
 *
 * A directory appears under its name with its IV inside, and leaves its name before the IV goes; until and after that
 * it has a temporary name. docs/adr/0005 says why. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pcv_change.h"
#include "pcv_serve.h"
#include "pcv_sys.h"

#define DIRIV_MODE 0444
#define LISTING_ROOM 4096

static int open_dir(const struct pcv_place *place)
{
    return openat(place->dirfd, place->cname.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The same directory, and a name in it that nobody else has. */
static void choose_tmp(const struct pcv_place *place, const char *prefix, uint64_t number, struct pcv_place *tmp)
{
    tmp->dir = place->dir;
    tmp->dirfd = place->dirfd;
    tmp->cname.full[0] = '\0';
    snprintf(tmp->cname.name, sizeof tmp->cname.name, "%s%" PRIu64, prefix, number);
}

static int move(const struct pcv_place *from, const struct pcv_place *to)
{
    return renameat(from->dirfd, from->cname.name, to->dirfd, to->cname.name) == 0 ? 0 : -errno;
}

/* The IV file of a new directory. The umask is 0, so its mode is exact but under a default ACL of the parent, which
 * then cuts down the directory in the same way. */
static int write_diriv(int fd, const uint8_t diriv[PCV_DIRIV_SIZE])
{
    int file = openat(fd, PCV_DIRIV_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, DIRIV_MODE);
    if (file < 0)
        return -errno;
    ssize_t written = write(file, diriv, PCV_DIRIV_SIZE);
    int rc = written == PCV_DIRIV_SIZE ? 0 : written < 0 ? -errno : -EIO;
    if (close(file) != 0 && rc == 0)
        rc = -errno;
    return rc;
}

/* --- making ------------------------------------------------------------------------------------------------------ */

/* Complete what was made under a temporary name. It could not be filled without the owner's bits. */
static int furnish(pcv_tree *tree, const struct fuse_in_header *in, const struct pcv_place *tmp, int fd, mode_t mode,
                   const uint8_t diriv[PCV_DIRIV_SIZE])
{
    int rc = write_diriv(fd, diriv);
    if (rc == 0 && (mode & S_IRWXU) != S_IRWXU) {
        struct stat st; /* set-group-ID may be inherited */
        if (fstat(fd, &st) != 0 || fchmod(fd, mode | (st.st_mode & S_ISGID)) != 0)
            rc = -errno;
    }
    return rc == 0 ? pcv_tree_give_to(tree, in, tmp, fd) : rc;
}

static int rename_new(const struct pcv_place *tmp, const struct pcv_place *place)
{
    if (renameat2(tmp->dirfd, tmp->cname.name, place->dirfd, place->cname.name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    /* No NOREPLACE below us. A plain rename replaces only an empty directory, which ours never is. */
    struct stat st;
    if (fstatat(place->dirfd, place->cname.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    return errno == ENOENT ? move(tmp, place) : -errno;
}

/* The attributes are taken under the final name: renaming changes the ctime. */
static int show(pcv_tree *tree, const struct pcv_place *tmp, const struct pcv_place *place, int fd, pcv_inode **inode,
                struct fuse_entry_out *entry)
{
    struct stat st;
    int rc = rename_new(tmp, place);
    if (rc != 0)
        return rc;
    rc = fstat(fd, &st) == 0 ? pcv_tree_found(tree, place, &st, inode, entry) : -errno;
    if (rc != 0)
        (void)move(place, tmp);
    return rc;
}

/* getrandom, mkdirat, openat; openat, write, close; renameat2, fstat. The descriptor and the IV stay known. */
static bool make_with_diriv(pcv_tree *tree, const struct fuse_in_header *in, const struct pcv_place *place, mode_t mode)
{
    struct {
        uint8_t diriv[PCV_DIRIV_SIZE];
        uint64_t number;
    } drawn;
    static const uint8_t zero[PCV_DIRIV_SIZE];
    if (pcv_random((uint8_t *)&drawn, sizeof drawn) != 0 || memcmp(drawn.diriv, zero, sizeof zero) == 0)
        return false;
    struct pcv_place tmp;
    choose_tmp(place, PCV_DIRIV_MKDIR_PREFIX, drawn.number, &tmp);
    if (mkdirat(tmp.dirfd, tmp.cname.name, mode | S_IRWXU) != 0)
        return false;
    pcv_inode *inode;
    struct fuse_entry_out entry;
    int fd = open_dir(&tmp);
    int rc = fd >= 0 ? furnish(tree, in, &tmp, fd, mode, drawn.diriv) : -errno;
    if (rc == 0)
        rc = show(tree, &tmp, place, fd, &inode, &entry);
    if (rc == 0) {
        pcv_reply(tree->dev_fd, in->unique, &entry, sizeof entry);
        pcv_dirs_adopt(&tree->dirs, inode, fd, drawn.diriv);
        return true;
    }
    if (fd >= 0) {
        (void)unlinkat(fd, PCV_DIRIV_NAME, 0);
        close(fd);
    }
    (void)unlinkat(tmp.dirfd, tmp.cname.name, AT_REMOVEDIR);
    pcv_reply_error(tree->dev_fd, in->unique, -rc);
    return true;
}

/* Without IVs: mkdirat, fstatat. */
bool pcv_change_mkdir(pcv_tree *tree, const struct fuse_in_header *in, const char *name, mode_t mode)
{
    struct pcv_place place;
    if (!pcv_change_place(tree, in->nodeid, name, &place))
        return false;
    if (tree->dirs.has_diriv)
        return make_with_diriv(tree, in, &place, mode);
    if (mkdirat(place.dirfd, place.cname.name, mode) != 0)
        return false;
    pcv_change_answer_made(tree, in, &place, true, AT_REMOVEDIR);
    return true;
}

/* --- removing ---------------------------------------------------------------------------------------------------- */

enum inside {
    INSIDE_DIRIV, /* and nothing else */
    INSIDE_NAMES,
    INSIDE_ODD, /* no IV, or what a kill has left: Python cleans up */
};

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Two getdents: only an empty one is known to be the last. */
static enum inside look_inside(const struct pcv_name_format *names, int fd)
{
    alignas(struct dirent64) char listing[LISTING_ROOM];
    bool has_diriv = false, is_odd = false;
    ssize_t size;
    while ((size = getdents64(fd, listing, sizeof listing)) > 0) {
        for (ssize_t at = 0; at < size;) {
            const struct dirent64 *entry = (const struct dirent64 *)(const void *)(listing + at);
            at += entry->d_reclen;
            int class = pcv_cname_classify(names, false, entry->d_name);
            if (strcmp(entry->d_name, PCV_DIRIV_NAME) == 0)
                has_diriv = true;
            else if (class == PCV_CNAME_SIDECAR || class == PCV_CNAME_LEFTOVER)
                is_odd = true;
            else if (!is_dots(entry->d_name))
                return INSIDE_NAMES;
        }
    }
    return size == 0 && has_diriv && !is_odd ? INSIDE_DIRIV : INSIDE_ODD;
}

/* The IV, to put it back should removing fail. False if there is no good one. */
static bool save_diriv(pcv_tree *tree, pcv_inode *inode, int fd, uint8_t saved[PCV_DIRIV_SIZE])
{
    const uint8_t *known;
    if (inode && inode->has_diriv) {
        if (pcv_dirs_diriv(&tree->dirs, inode, &known) != 0)
            return false;
        memcpy(saved, known, PCV_DIRIV_SIZE);
        return true;
    }
    int file = openat(fd, PCV_DIRIV_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return false;
    uint8_t content[PCV_DIRIV_SIZE + 1] = {0};
    ssize_t size = pread(file, content, sizeof content, 0);
    close(file);
    memcpy(saved, content, PCV_DIRIV_SIZE);
    return size == PCV_DIRIV_SIZE;
}

/* Remove what was moved to a temporary name; puts the IV and the name back if that fails. */
static int tear_down(const struct pcv_place *tmp, const struct pcv_place *place, int fd,
                     const uint8_t diriv[PCV_DIRIV_SIZE])
{
    if (unlinkat(fd, PCV_DIRIV_NAME, 0) == 0 && unlinkat(tmp->dirfd, tmp->cname.name, AT_REMOVEDIR) == 0)
        return 0;
    int rc = -errno;
    (void)!write_diriv(fd, diriv);
    (void)move(tmp, place);
    return rc;
}

/* Take over the descriptor of a directory for what pcv_tree_hold would open. */
static void hold_by(pcv_inode *inode, int fd)
{
    if (inode && inode->orphan_fd < 0)
        inode->orphan_fd = fd;
    else
        close(fd);
}

/* fd is taken over if the request is answered. */
static bool remove_empty(pcv_tree *tree, const struct fuse_in_header *in, const struct pcv_place *place, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return false;
    if ((st.st_mode & S_IRWXU) != S_IRWXU && geteuid() != 0)
        return false; /* its mode would have to give way */
    pcv_inode *inode = pcv_inodes_find(tree->inodes, st.st_dev, st.st_ino);
    uint8_t diriv[PCV_DIRIV_SIZE];
    if (!save_diriv(tree, inode, fd, diriv))
        return false;
    /* Its inode number makes the name unique: what a kill may have left under it is empty, or makes this fail. */
    struct pcv_place tmp;
    choose_tmp(place, PCV_DIRIV_RMDIR_PREFIX, st.st_ino, &tmp);
    if (move(place, &tmp) != 0)
        return false;
    int rc = tear_down(&tmp, place, fd, diriv);
    pcv_reply_error(tree->dev_fd, in->unique, -rc);
    if (rc != 0) {
        close(fd);
        return true;
    }
    hold_by(inode, fd);
    if (inode)
        pcv_tree_lost_name(tree, inode, place);
    return true;
}

/* openat, getdents64 twice, fstat, renameat, unlinkat of the IV, unlinkat; and openat, pread, close if the IV was not
 * known. The descriptor is kept instead of one that pcv_tree_hold would open. */
static bool remove_with_diriv(pcv_tree *tree, const struct fuse_in_header *in, const struct pcv_place *place)
{
    int fd = open_dir(place);
    if (fd < 0)
        return false;
    bool is_answered = false;
    enum inside inside = look_inside(&tree->options.names, fd);
    if (inside == INSIDE_DIRIV && remove_empty(tree, in, place, fd))
        return true;
    if (inside == INSIDE_NAMES) {
        pcv_reply_error(tree->dev_fd, in->unique, ENOTEMPTY);
        is_answered = true;
    }
    close(fd);
    return is_answered;
}

/* Without IVs there is nothing to take out first: an unlinkat does it, or it is Python's to find out what is inside. */
bool pcv_change_rmdir(pcv_tree *tree, const struct fuse_in_header *in, const char *name)
{
    struct pcv_place place;
    if (!tree->dirs.has_diriv)
        return pcv_change_remove(tree, in, name, AT_REMOVEDIR);
    return pcv_change_place(tree, in->nodeid, name, &place) && remove_with_diriv(tree, in, &place);
}
