/* Renaming: what VolumeFS.rename does where no sidecar and no replaced directory is involved. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "pcv_change.h"
#include "pcv_serve.h"

static bool is_unsupported(int error)
{
    return error == EINVAL || error == ENOSYS;
}

struct search {
    const struct pcv_place *place;
    pcv_inode *found;
};

static void compare_names(void *context, pcv_inode *inode)
{
    struct search *search = context;
    for (const struct pcv_link *link = inode->links; link; link = link->next) {
        if (link->parent == search->place->dir && strcmp(link->cname, search->place->cname.name) == 0)
            search->found = inode;
    }
}

/* What was renamed, or NULL if the kernel does not know it. The look at it can't be allowed to fail: its old name may
 * soon be somebody else's. */
static pcv_inode *find_moved(pcv_tree *tree, const struct pcv_place *old, const struct pcv_place *new)
{
    struct stat st;
    if (fstatat(new->dirfd, new->cname.name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return pcv_inodes_find(tree->inodes, st.st_dev, st.st_ino);
    struct search search = {.place = old};
    pcv_inodes_each(tree->inodes, compare_names, &search);
    return search.found;
}

/* An object, or NULL, has another name. Without memory for that it is kept by a descriptor, and without that it has no
 * known name until it is looked up under the new one: it can't be reached, but no other object is taken for it. */
static void relink(pcv_tree *tree, pcv_inode *inode, const struct pcv_place *old, const struct pcv_place *new)
{
    if (!inode)
        return;
    if (pcv_inodes_add_link(tree->inodes, inode, new->dir, new->cname.name) != 0)
        (void)!pcv_tree_hold(inode, new);
    pcv_inodes_remove_link(tree->inodes, inode, old->dir, old->cname.name);
}

/* The new name seems to be taken: fstatat of both, an open of what is replaced if it is known, renameat2. */
static bool replace(pcv_tree *tree, const struct fuse_in_header *in, const struct pcv_place *old,
                    const struct pcv_place *new)
{
    struct stat old_st, new_st;
    if (fstatat(old->dirfd, old->cname.name, &old_st, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    pcv_inode *inode = pcv_inodes_find(tree->inodes, old_st.st_dev, old_st.st_ino), *replaced = NULL;
    if (fstatat(new->dirfd, new->cname.name, &new_st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(new_st.st_mode))
            return false; /* in the cipherdir it holds an IV, so it has to get out of the way first */
        if (new_st.st_dev == old_st.st_dev && new_st.st_ino == old_st.st_ino) {
            pcv_reply_error(tree->dev_fd, in->unique, 0); /* two names of one object: rename(2) leaves both */
            return true;
        }
        replaced = pcv_inodes_find(tree->inodes, new_st.st_dev, new_st.st_ino);
    } else if (errno != ENOENT) {
        return false;
    }
    if (replaced && pcv_tree_hold(replaced, new) != 0)
        return false;
    if (renameat2(old->dirfd, old->cname.name, new->dirfd, new->cname.name, 0) != 0) {
        pcv_change_keep_name(replaced);
        return false;
    }
    pcv_reply_error(tree->dev_fd, in->unique, 0);
    relink(tree, inode, old, new); /* first: it pins the new parent, which only the lost name may have kept */
    if (replaced)
        pcv_tree_lost_name(tree, replaced, new);
    return true;
}

/* renameat2, and fstatat after the answer. Most new names are free, so that is tried without looking; finding out that
 * one is not costs about as much as the look. */
bool pcv_change_rename(pcv_tree *tree, const struct fuse_in_header *in, const char *name, uint64_t new_parent,
                       const char *new_name, unsigned int flags)
{
    struct pcv_place old, new;
    if ((flags != 0 && flags != RENAME_NOREPLACE) || !pcv_change_place(tree, in->nodeid, name, &old) ||
        !pcv_change_place(tree, new_parent, new_name, &new))
        return false;
    if (renameat2(old.dirfd, old.cname.name, new.dirfd, new.cname.name, RENAME_NOREPLACE) == 0) {
        pcv_reply_error(tree->dev_fd, in->unique, 0);
        relink(tree, find_moved(tree, &old, &new), &old, &new);
        return true;
    }
    if (errno == EEXIST && flags == RENAME_NOREPLACE) {
        pcv_reply_error(tree->dev_fd, in->unique, EEXIST);
        return true;
    }
    bool may_replace = flags == 0 && (errno == EEXIST || is_unsupported(errno));
    return may_replace && replace(tree, in, &old, &new);
}
