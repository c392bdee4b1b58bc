/* Listing directories: READDIR and READDIRPLUS, by node id and the cookies of the filesystem below.
 *
 * There are no handles (OPENDIR is answered ENOSYS), so nothing is remembered from one request to the next but what was
 * read ahead; a cookie leads to the same place in the directory below, whoever asks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pcv_serve.h"
#include "pcv_tree.h"

#define REPLY_ROOM (1 << 20)
#define AHEAD 16384 /* bytes of the directory below, read at once */
#define READERS 4   /* directories that are read side by side without losing what was read ahead */

/* What is left of a directory that was read ahead. */
struct ahead {
    uint64_t node; /* 0: nothing */
    off_t cookie;  /* of what comes next in buffer */
    size_t at, end;
    _Alignas(struct dirent64) char buffer[AHEAD];
};

struct pcv_listings {
    unsigned int next; /* to be taken by a new reader */
    struct ahead ahead[READERS];
    uint8_t reply[REPLY_ROOM];
};

/* One reply in the making. */
struct listing {
    pcv_tree *tree;
    pcv_inode *dir;
    int fd;
    bool is_plus;
    uint8_t *out;
    size_t size, room;
};

int pcv_listings_new(struct pcv_listings **out)
{
    *out = calloc(1, sizeof **out);
    return *out ? 0 : -ENOMEM;
}

void pcv_listings_free(struct pcv_listings *listings)
{
    free(listings);
}

void pcv_tree_changed(pcv_tree *tree)
{
    for (int i = 0; i < READERS; i++)
        tree->listings->ahead[i].node = 0;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* Where to go on reading; cookie 0 always reads anew. */
static struct ahead *find_ahead(struct pcv_listings *l, uint64_t node, off_t cookie)
{
    for (int i = 0; i < READERS; i++) {
        struct ahead *a = &l->ahead[i];
        if (a->node == node && a->cookie == cookie && cookie != 0)
            return a;
    }
    struct ahead *a = &l->ahead[l->next++ % READERS];
    a->node = node;
    a->cookie = cookie;
    a->at = a->end = 0;
    return a;
}

/* The next entry, which stays where it is until a->at is moved on; NULL with *rc 0 at the end. */
static const struct dirent64 *peek(struct ahead *a, int fd, int *rc)
{
    *rc = 0;
    if (a->at >= a->end) {
        ssize_t got = lseek(fd, a->cookie, SEEK_SET) < 0 ? -1 : getdents64(fd, a->buffer, sizeof a->buffer);
        if (got <= 0) {
            *rc = got < 0 ? -errno : 0;
            a->node = 0;
            return NULL;
        }
        a->at = 0;
        a->end = (size_t)got;
    }
    return (const struct dirent64 *)(const void *)(a->buffer + a->at);
}

static void move_on(struct ahead *a, const struct dirent64 *entry)
{
    a->cookie = entry->d_off;
    a->at += entry->d_reclen;
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static void note(pcv_tree *tree, int kind, const pcv_inode *dir, const char *cname)
{
    if (tree->note_count == tree->note_room) {
        size_t room = tree->note_room ? 2 * tree->note_room : 16;
        struct pcv_note *notes = room <= PCV_NOTES_MAX ? realloc(tree->notes, room * sizeof *notes) : NULL;
        if (!notes)
            return;
        tree->notes = notes;
        tree->note_room = room;
    }
    struct pcv_note *n = &tree->notes[tree->note_count++];
    n->kind = kind;
    n->dir = dir->number;
    size_t size = strnlen(cname, sizeof n->cname - 1);
    memcpy(n->cname, cname, size);
    n->cname[size] = '\0';
}

/* The full encrypted name of a long one, from its sidecar. */
static int read_sidecar(int dirfd, const char *cname, char full[PCV_FULL_CNAME_MAX + 1], size_t *size)
{
    char sidecar[PCV_NAME_MAX + sizeof PCV_LONG_NAME_SUFFIX];
    strcat(strcpy(sidecar, cname), PCV_LONG_NAME_SUFFIX);
    int fd = openat(dirfd, sidecar, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : -EBADMSG;
    ssize_t got = read(fd, full, PCV_FULL_CNAME_MAX + 1);
    close(fd);
    if (got <= 0 || got > PCV_FULL_CNAME_MAX)
        return -EBADMSG;
    full[got] = '\0';
    *size = (size_t)got;
    return 0;
}

/* Plaintext name of an entry. -ENOENT: it is none to be shown; else the error of the listing. */
static int show(struct listing *l, const struct dirent64 *entry, char name[PCV_NAME_MAX + 1], size_t *size)
{
    const struct pcv_name_format *format = &l->tree->options.names;
    const char *full = entry->d_name;
    char long_name[PCV_FULL_CNAME_MAX + 1];
    size_t full_size = strlen(full);
    const uint8_t *diriv;
    int rc = 0;
    switch (pcv_cname_classify(format, l->dir->number == PCV_ROOT_INODE, full)) {
    case PCV_CNAME_RESERVED:
    case PCV_CNAME_SIDECAR:
        return -ENOENT;
    case PCV_CNAME_LEFTOVER:
        note(l->tree, PCV_NOTE_LEFTOVERS, l->dir, full);
        return -ENOENT;
    case PCV_CNAME_LONG:
        rc = read_sidecar(l->fd, full, long_name, &full_size);
        full = long_name;
        break;
    default:
        break;
    }
    if (rc == 0)
        rc = pcv_dirs_diriv(&l->tree->dirs, l->dir, &diriv);
    if (rc == 0)
        rc = pcv_name_decode(format, diriv, full, full_size, name, size);
    if (rc == -EBADMSG) {
        note(l->tree, PCV_NOTE_BAD_NAME, l->dir, entry->d_name);
        return -ENOENT;
    }
    return rc;
}

/* --- replies ---------------------------------------------------------------------------------------------------- */

/* Room for an entry in the reply, or NULL. */
static struct fuse_dirent *add(struct listing *l, size_t name_size, struct fuse_entry_out **entry)
{
    size_t head = l->is_plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
    size_t size = FUSE_DIRENT_ALIGN(head + name_size);
    if (l->room - l->size < size)
        return NULL;
    uint8_t *at = l->out + l->size;
    memset(at, 0, size);
    l->size += size;
    *entry = l->is_plus ? (struct fuse_entry_out *)(void *)at : NULL;
    return (struct fuse_dirent *)(void *)(l->is_plus ? at + sizeof **entry : at);
}

static void fill(struct fuse_dirent *dirent, const struct dirent64 *from, uint64_t number, uint32_t type,
                 const char *name, size_t size)
{
    dirent->ino = number;
    dirent->off = (uint64_t)from->d_off;
    dirent->type = type;
    dirent->namelen = (uint32_t)size;
    memcpy(dirent->name, name, size);
}

/* "." and "..": without attributes, and not counted as looked up. */
static int add_dots(struct listing *l, const struct dirent64 *entry)
{
    const pcv_inode *dir = l->dir;
    bool is_parent = entry->d_name[1] == '.';
    uint64_t number = is_parent && dir->links ? dir->links->parent->number : dir->number;
    struct fuse_entry_out *plus;
    struct fuse_dirent *dirent = add(l, strlen(entry->d_name), &plus);
    if (!dirent)
        return -ENOSPC;
    if (plus)
        plus->attr.ino = number;
    fill(dirent, entry, number, DT_DIR, entry->d_name, strlen(entry->d_name));
    return 0;
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static int add_plain(struct listing *l, const struct dirent64 *entry, const char *name, size_t size)
{
    const pcv_inode *known = pcv_inodes_find(l->tree->inodes, l->dir->dev, entry->d_ino);
    struct fuse_entry_out *plus;
    struct fuse_dirent *dirent = add(l, size, &plus);
    if (!dirent)
        return -ENOSPC;
    fill(dirent, entry, known ? known->number : entry->d_ino, entry->d_type, name, size);
    return 0;
}

/* With attributes; counts as a lookup, so from here on the reply must be sent. */
static int add_plus(struct listing *l, const struct dirent64 *entry, const char *name, size_t size)
{
    struct stat st;
    if (fstatat(l->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    struct fuse_entry_out *plus;
    size_t before = l->size;
    struct fuse_dirent *dirent = add(l, size, &plus);
    if (!dirent)
        return -ENOSPC;
    struct pcv_place place = {.dir = l->dir, .dirfd = l->fd};
    strcpy(place.cname.name, entry->d_name);
    pcv_inode *inode;
    int rc = pcv_tree_found(l->tree, &place, &st, &inode, plus);
    if (rc != 0) {
        l->size = before;
        return rc == -ELOOP ? -EIO : rc;
    }
    fill(dirent, entry, inode->number, IFTODT(st.st_mode), name, size);
    return 0;
}

/* -ENOSPC: it does not fit, and comes with the next reply. */
static int add_entry(struct listing *l, const struct dirent64 *entry)
{
    if (is_dots(entry->d_name))
        return add_dots(l, entry);
    char name[PCV_NAME_MAX + 1];
    size_t size;
    int rc = show(l, entry, name, &size);
    if (rc == 0)
        rc = l->is_plus ? add_plus(l, entry, name, size) : add_plain(l, entry, name, size);
    return rc == -ENOENT ? 0 : rc;
}

static int list(struct listing *l, struct ahead *a)
{
    for (;;) {
        int rc;
        const struct dirent64 *entry = peek(a, l->fd, &rc);
        if (!entry)
            return rc;
        rc = add_entry(l, entry);
        if (rc != 0)
            return rc;
        move_on(a, entry);
    }
}

/* A descriptor that getdents takes. The cached one is readable unless the mode forbade that when it was opened. */
static int readable_fd(pcv_tree *tree, pcv_inode *dir)
{
    int fd = pcv_dirs_fd(&tree->dirs, dir);
    if (fd < 0 || !(fcntl(fd, F_GETFL) & O_PATH))
        return fd;
    int opened = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0)
        return -errno;
    if (dir->fd >= 0 || dir->orphan_fd < 0) {
        pcv_dirs_evict(&tree->dirs, dir);
        pcv_dirs_adopt(&tree->dirs, dir, opened, NULL);
        return opened;
    }
    close(opened);
    return -ENOENT; /* removed */
}

bool pcv_list_serve(pcv_tree *tree, const struct fuse_in_header *in, size_t size)
{
    const struct fuse_read_in *r = (const struct fuse_read_in *)(const void *)(in + 1);
    if ((in->opcode != FUSE_READDIR && in->opcode != FUSE_READDIRPLUS) || size < sizeof *in + sizeof *r)
        return false;
    pcv_inode *dir = pcv_inodes_get(tree->inodes, in->nodeid);
    if (!dir || dir->type != S_IFDIR) {
        pcv_reply_error(tree->dev_fd, in->unique, dir ? ENOTDIR : ESTALE);
        return true;
    }
    if (!dir->links && dir->number != PCV_ROOT_INODE) { /* removed, but still open */
        pcv_reply(tree->dev_fd, in->unique, NULL, 0);
        return true;
    }
    struct listing l = {
        .tree = tree,
        .dir = dir,
        .fd = readable_fd(tree, dir),
        .is_plus = in->opcode == FUSE_READDIRPLUS,
        .out = tree->listings->reply,
        .room = r->size < REPLY_ROOM ? r->size : REPLY_ROOM,
    };
    int rc = l.fd < 0 ? l.fd : 0;
    const uint8_t *diriv;
    if (rc == 0 && (rc = pcv_dirs_diriv(&tree->dirs, dir, &diriv)) == -EIO)
        note(tree, PCV_NOTE_NO_DIRIV, dir, "");
    if (rc == 0)
        rc = list(&l, find_ahead(tree->listings, in->nodeid, (off_t)r->offset));
    if (rc == -ENOSPC && l.size == 0)
        rc = -EINVAL; /* the caller's buffer holds no entry at all */
    if (rc != 0 && l.size == 0)
        pcv_reply_error(tree->dev_fd, in->unique, -rc);
    else
        pcv_reply(tree->dev_fd, in->unique, l.out, l.size);
    return true;
}
