#include "pcv_dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define CHAIN_MAX 64 /* directories opened in one go; deeper ones take several */

void pcv_dirs_init(struct pcv_dirs *dirs, int root_fd, bool has_diriv, size_t max)
{
    dirs->root_fd = root_fd;
    dirs->has_diriv = has_diriv;
    dirs->max = max > CHAIN_MAX ? max : CHAIN_MAX;
    dirs->count = 0;
    pcv_lru_init(&dirs->open);
}

void pcv_dirs_adopt(struct pcv_dirs *dirs, pcv_inode *dir, int fd, const uint8_t *diriv)
{
    if (dir->fd >= 0) {
        close(fd);
    } else {
        dir->fd = fd;
        dirs->count++;
    }
    pcv_lru_touch(&dirs->open, &dir->lru);
    if (diriv) {
        memcpy(dir->diriv, diriv, PCV_DIRIV_SIZE);
        dir->has_diriv = true;
    }
}

/* Listing wants a readable descriptor; for everything else any will do. */
static int open_dir(int parent_fd, const char *cname)
{
    const int flags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(parent_fd, cname, O_RDONLY | flags);
    if (fd < 0 && (errno == EACCES || errno == EPERM))
        fd = openat(parent_fd, cname, O_PATH | flags);
    return fd < 0 ? -errno : fd;
}

static int known_fd(const struct pcv_dirs *dirs, const pcv_inode *dir)
{
    if (dir->number == PCV_ROOT_INODE)
        return dirs->root_fd;
    return dir->fd >= 0 ? dir->fd : dir->orphan_fd;
}

int pcv_dirs_fd(struct pcv_dirs *dirs, pcv_inode *dir)
{
    if (dir->type != S_IFDIR)
        return -ENOTDIR;
    int fd = known_fd(dirs, dir);
    if (fd >= 0) {
        if (dir->fd >= 0)
            pcv_lru_touch(&dirs->open, &dir->lru);
        return fd;
    }
    for (;;) {
        pcv_inode *chain[CHAIN_MAX];
        size_t depth = 0;
        bool is_whole = false; /* the chain reaches a descriptor */
        for (pcv_inode *at = dir; !is_whole; at = at->links->parent) {
            if (!at->links)
                return -ENOENT;
            chain[depth++ % CHAIN_MAX] = at; /* too deep: the uppermost ones, and then again */
            is_whole = known_fd(dirs, at->links->parent) >= 0;
        }
        pcv_inode *last = NULL;
        for (size_t n = depth < CHAIN_MAX ? depth : CHAIN_MAX; n > 0; n--) {
            pcv_inode *at = chain[--depth % CHAIN_MAX];
            fd = open_dir(known_fd(dirs, at->links->parent), at->links->cname);
            if (fd < 0)
                return fd;
            pcv_dirs_adopt(dirs, at, fd, NULL);
            if (last && dir->fd < 0 && depth >= CHAIN_MAX)
                pcv_dirs_evict(dirs, last); /* however deep: nobody was given these yet */
            last = at;
        }
        if (dir->fd >= 0)
            return dir->fd;
    }
}

int pcv_dirs_diriv(struct pcv_dirs *dirs, pcv_inode *dir, const uint8_t **diriv)
{
    static const uint8_t zero[PCV_DIRIV_SIZE];
    *diriv = dir->diriv;
    if (dir->has_diriv)
        return 0;
    if (!dirs->has_diriv) {
        *diriv = zero;
        return 0;
    }
    int dirfd = pcv_dirs_fd(dirs, dir);
    if (dirfd < 0)
        return dirfd;
    int fd = openat(dirfd, PCV_DIRIV_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? -EIO : -errno;
    uint8_t data[PCV_DIRIV_SIZE + 1];
    ssize_t size;
    do {
        size = read(fd, data, sizeof data);
    } while (size < 0 && errno == EINTR);
    close(fd);
    if (size != PCV_DIRIV_SIZE || memcmp(data, zero, PCV_DIRIV_SIZE) == 0)
        return -EIO;
    memcpy(dir->diriv, data, PCV_DIRIV_SIZE);
    dir->has_diriv = true;
    return 0;
}

void pcv_dirs_evict(struct pcv_dirs *dirs, pcv_inode *dir)
{
    if (dir->type != S_IFDIR || dir->fd < 0)
        return;
    close(dir->fd);
    dir->fd = -1;
    pcv_lru_remove(&dir->lru);
    dirs->count--;
}

void pcv_dirs_trim(struct pcv_dirs *dirs)
{
    while (dirs->count > dirs->max)
        pcv_dirs_evict(dirs, pcv_lru_oldest(&dirs->open));
}
