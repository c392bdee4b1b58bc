/* What the files about changing names share. Internal; pcv_tree.h declares the way in, pcv_change_serve.
 *
 * Every function that returns bool: true, the request was answered; false, it is Python's, and nothing has been
 * changed. Most errors are left to Python that way: it finds the same one.
 */
#ifndef PCV_CHANGE_H
#define PCV_CHANGE_H

#include "pcv_tree.h"

/* Find the place of a name. False unless it is one that is changed here: the sidecar of a long one has to be looked
 * after. */
bool pcv_change_place(pcv_tree *tree, uint64_t parent, const char *name, struct pcv_place *out);

/* An object was made: give it to who asked (is_theirs), know it, and answer. If that fails it is removed again, with
 * the flags of unlinkat(2). */
void pcv_change_answer_made(pcv_tree *tree, const struct fuse_in_header *in, const struct pcv_place *place,
                            bool is_theirs, int unlink_flags);

/* Remove a name by one unlinkat(2). */
bool pcv_change_remove(pcv_tree *tree, const struct fuse_in_header *in, const char *name, int unlink_flags);

/* The opposite of pcv_tree_lost_name: an object, or NULL, was held for nothing. */
void pcv_change_keep_name(pcv_inode *inode);

/* pcv_mkdir.c */
bool pcv_change_mkdir(pcv_tree *tree, const struct fuse_in_header *in, const char *name, mode_t mode);
bool pcv_change_rmdir(pcv_tree *tree, const struct fuse_in_header *in, const char *name);

/* pcv_rename.c; flags as renameat2(2). */
bool pcv_change_rename(pcv_tree *tree, const struct fuse_in_header *in, const char *name, uint64_t new_parent,
                       const char *new_name, unsigned int flags);

#endif
