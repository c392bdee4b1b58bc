/* The tree of names behind the lane: what the requests about names and attributes need, and may change.
 *
 * pcvfs/fs/volume_fs.py is the reference for every rule here. The lane serves the common case of the common operations
 * from C; whatever is rare or odd (long names on the way in, errors, xattrs, links) goes to Python, which works on the
 * same tree through these functions.
 *
 * Threads: one, the lane's main thread.
 * Errors:  0, or -errno.
 */
#ifndef PCV_TREE_H
#define PCV_TREE_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "pcv_aead.h"
#include "pcv_dirs.h"
#include "pcv_err.h"
#include "pcv_file.h"
#include "pcv_inodes.h"
#include "pcv_names.h"

struct pcv_tree_options {
    int root_fd;               /* of the cipherdir; the caller's */
    struct pcv_name_format names;
    pcv_aead *aead;
    size_t nonce_size;         /* of aead */
    pcv_file_policy *files;    /* opens regular files */
    size_t dirs_max, files_max; /* descriptors kept open */
    uint64_t timeout_s;        /* of entries and attributes */
    bool is_ro;
    bool gives_away;           /* new objects belong to who asked for them */
    bool has_owner;            /* everything is shown as owner's */
    uint32_t owner_uid, owner_gid;
    bool has_capabilities;     /* security.capability has an effect here; else it is not worth looking for */
    bool has_xattrs;
};

typedef struct pcv_tree pcv_tree;

/* What Python should hear of a directory. */
enum pcv_note_kind {
    PCV_NOTE_BAD_NAME = 1,  /* an entry can't be decrypted, and was hidden */
    PCV_NOTE_LEFTOVERS = 2, /* a killed process left temporary names */
    PCV_NOTE_NO_DIRIV = 3,  /* its IV is missing or malformed */
};

struct pcv_note {
    int kind;
    uint64_t dir;
    char cname[PCV_NAME_MAX + 1];
};

#define PCV_NOTES_MAX 4096 /* what is more is noted by the next listing */

struct pcv_tree {
    struct pcv_tree_options options;
    int dev_fd; /* set by the lane */
    pcv_inodes *inodes;
    struct pcv_dirs dirs;
    struct pcv_lru files; /* attached */
    _Atomic size_t file_count;
    /* Called before a file is closed: nobody else may be using it after that. Set by the lane. */
    void (*before_close)(void *context, pcv_file *file);
    void *context;
    struct pcv_listings *listings; /* pcv_list.c */
    struct pcv_note *notes; /* for Python */
    size_t note_count, note_room;
};

/* --- what name operations share (pcv_tree.c) ---------------------------------------------------------------------- */

/* Where a name of a directory is. */
struct pcv_place {
    pcv_inode *dir;
    int dirfd; /* valid during the request */
    struct pcv_cname cname;
};

/* Find the place of a plaintext name. -ESTALE, -ENOTDIR, -ENAMETOOLONG, -EINVAL, -EIO, ... */
PCV_MUST_USE int pcv_tree_place(pcv_tree *tree, uint64_t parent, const char *name, struct pcv_place *out);

/* An object was found under a name: know it, and count one lookup. */
PCV_MUST_USE int pcv_tree_found(pcv_tree *tree, const struct pcv_place *place, const struct stat *st, pcv_inode **inode,
                                struct fuse_entry_out *entry);

/* Attributes as the mount shows them, of an object with that number and plaintext size. */
void pcv_attr(const struct pcv_tree_options *options, uint64_t number, const struct stat *st, uint64_t size,
              struct fuse_attr *out);
/* The same of an inode. dirfd and cname (or -1, NULL) save a walk. */
void pcv_tree_attr(pcv_tree *tree, pcv_inode *inode, const struct stat *st, int dirfd, const char *cname,
                   struct fuse_attr *out);

/* Attributes of the backing object. */
PCV_MUST_USE int pcv_tree_stat(pcv_tree *tree, pcv_inode *inode, struct stat *st);

/* Before the last known name of an object goes: keep it by a descriptor. */
PCV_MUST_USE int pcv_tree_hold(pcv_inode *inode, const struct pcv_place *place);
/* The name did not go after all. */
void pcv_tree_unhold(pcv_inode *inode);
/* The name went. */
void pcv_tree_lost_name(pcv_tree *tree, pcv_inode *inode, const struct pcv_place *place);

/* Change the mode of what a descriptor, O_PATH or not, stands for. -EOPNOTSUPP: it is a symlink. */
PCV_MUST_USE int pcv_tree_chmod(int fd, mode_t mode);

/* Make who asked the owner of what was just made for them. fd: of the object, or -1. */
PCV_MUST_USE int pcv_tree_give_to(pcv_tree *tree, const struct fuse_in_header *in, const struct pcv_place *place,
                                  int fd);

/* Let fd, taken over on success, be the open file of an inode. */
PCV_MUST_USE int pcv_tree_attach(pcv_tree *tree, pcv_inode *inode, int fd, bool is_writable);
/* Have a regular file attached, writable if need be. An error says that it takes more than opening it by name. */
PCV_MUST_USE int pcv_tree_open(pcv_tree *tree, pcv_inode *inode, bool must_write);
/* Close it again; nothing happens if there is none. */
void pcv_tree_detach(pcv_tree *tree, pcv_inode *inode);
void pcv_tree_detach_all(pcv_tree *tree);

/* --- life ------------------------------------------------------------------------------------------------------- */

PCV_MUST_USE int pcv_tree_new(const struct pcv_tree_options *options, pcv_tree **out);
void pcv_tree_free(pcv_tree *tree);

/* Between requests: close descriptors that are too many. */
void pcv_tree_trim(pcv_tree *tree);

/* --- serving ---------------------------------------------------------------------------------------------------- */

/* Answer a request about names or attributes. False: it is Python's, and nothing has been changed. */
bool pcv_tree_serve(pcv_tree *tree, const struct fuse_in_header *in, size_t size);

/* Forget what listings have read ahead: something may have changed. */
void pcv_tree_changed(pcv_tree *tree);

/* The parts of it: true if answered (pcv_look.c: nothing changes; pcv_list.c; pcv_change.c). */
bool pcv_look_serve(pcv_tree *tree, const struct fuse_in_header *in, size_t size);
bool pcv_list_serve(pcv_tree *tree, const struct fuse_in_header *in, size_t size);
bool pcv_change_serve(pcv_tree *tree, const struct fuse_in_header *in, size_t size);

PCV_MUST_USE int pcv_listings_new(struct pcv_listings **out);
void pcv_listings_free(struct pcv_listings *listings);

/* A string of a message, NUL included; NULL if the message ends before it does. */
const char *pcv_string_at(const struct fuse_in_header *in, size_t size, size_t offset);

#endif
