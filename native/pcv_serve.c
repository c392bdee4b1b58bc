#include "pcv_serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int pcv_server_init(struct pcv_server *server, int dev_fd, const struct pcv_tree_options *options)
{
    server->dev_fd = dev_fd;
    server->options = options;
    server->scratch = NULL;
    server->out = malloc(PCV_FILE_IO_MAX + PCV_BLOCK_SIZE);
    if (!server->out || pcv_scratch_new(&server->scratch) != 0) {
        pcv_server_destroy(server);
        return -ENOMEM;
    }
    return 0;
}

void pcv_server_destroy(struct pcv_server *server)
{
    free(server->out);
    pcv_scratch_free(server->scratch);
    server->out = NULL;
    server->scratch = NULL;
}

/* ENOENT: the request was aborted, nobody waits for the answer. ENODEV: the mount is gone. Neither needs a word. */
static void send_out(int dev_fd, struct fuse_out_header *out, const void *data, size_t size)
{
    struct iovec parts[2] = {
        {.iov_base = out, .iov_len = sizeof *out},
        {.iov_base = (void *)(uintptr_t)data, .iov_len = size},
    };
    out->len = (uint32_t)(sizeof *out + size);
    while (writev(dev_fd, parts, size > 0 ? 2 : 1) < 0 && errno == EINTR)
        ;
}

void pcv_reply_error(int dev_fd, uint64_t unique, int error)
{
    struct fuse_out_header out = {.unique = unique, .error = -error};
    send_out(dev_fd, &out, NULL, 0);
}

void pcv_reply(int dev_fd, uint64_t unique, const void *data, size_t size)
{
    struct fuse_out_header out = {.unique = unique};
    send_out(dev_fd, &out, data, size);
}

/* Message bodies as the kernel of any protocol version we talk to (7.31 and later) sends them. */
static const void *body(const struct fuse_in_header *in)
{
    return in + 1;
}

static bool holds(size_t size, size_t body_size)
{
    return size >= sizeof(struct fuse_in_header) + body_size;
}

#define TIMES (FATTR_ATIME | FATTR_MTIME | FATTR_CTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)

bool pcv_is_served(const struct fuse_in_header *in, size_t size)
{
    switch (in->opcode) {
    case FUSE_READ:
        return holds(size, sizeof(struct fuse_read_in));
    case FUSE_WRITE: {
        const struct fuse_write_in *w = body(in);
        return holds(size, sizeof *w) && holds(size, sizeof *w + (size_t)w->size);
    }
    case FUSE_FSYNC:
        return holds(size, sizeof(struct fuse_fsync_in));
    case FUSE_FALLOCATE:
        return holds(size, sizeof(struct fuse_fallocate_in));
    case FUSE_LSEEK:
        return holds(size, sizeof(struct fuse_lseek_in));
    case FUSE_SETATTR: /* without a size it is about the name as much as about the file: pcv_look.c */
        return holds(size, sizeof(struct fuse_setattr_in)) &&
               (((const struct fuse_setattr_in *)body(in))->valid & FATTR_SIZE) != 0;
    default:
        return false;
    }
}

bool pcv_needs_writable(const struct fuse_in_header *in)
{
    return in->opcode == FUSE_WRITE || in->opcode == FUSE_FALLOCATE || in->opcode == FUSE_SETATTR;
}

/* What the caller of a failed operation sees. */
static int to_errno(int rc)
{
    return rc == -EBADMSG ? EIO : -rc;
}

static void serve_read(struct pcv_server *server, const struct fuse_in_header *in, pcv_file *file, int *rc)
{
    const struct fuse_read_in *r = body(in);
    size_t got = 0;
    *rc = pcv_file_read(file, r->offset, r->size, server->out, &got, server->scratch, &server->bad_block);
    if (*rc == 0)
        pcv_reply(server->dev_fd, in->unique, server->out, got);
}

/* The kernel may hold a mode for hours and does not look again before it executes the file. */
static void invalidate_attr(int dev_fd, uint64_t node)
{
    struct fuse_out_header out = {.error = FUSE_NOTIFY_INVAL_INODE};
    struct fuse_notify_inval_inode_out inval = {.ino = node, .off = -1};
    send_out(dev_fd, &out, &inval, sizeof inval);
}

/* A change by an ordinary user takes away set-user-ID, and set-group-ID where the group may execute or the user is not
 * in it. The message names one group of the user; who is in the file's group through another one counts as outside. */
static int kill_privileges(const struct pcv_server *server, const struct fuse_in_header *in, pcv_file *file)
{
    struct stat st;
    if (fstat(pcv_file_fd(file), &st) != 0)
        return -errno;
    mode_t mode = st.st_mode & ~(mode_t)S_ISUID;
    if ((mode & S_IXGRP) || (in->uid != 0 && in->gid != st.st_gid))
        mode &= ~(mode_t)S_ISGID;
    if (mode == st.st_mode)
        return 0;
    if (fchmod(pcv_file_fd(file), mode & 07777) != 0)
        return -errno;
    invalidate_attr(server->dev_fd, in->nodeid);
    return 0;
}

static void serve_write(struct pcv_server *server, const struct fuse_in_header *in, pcv_file *file, int *rc)
{
    const struct fuse_write_in *w = body(in);
    *rc = pcv_file_write(file, w->offset, (const uint8_t *)(w + 1), w->size, server->scratch, &server->bad_block);
    if (*rc == 0 && (w->write_flags & FUSE_WRITE_KILL_SUIDGID))
        *rc = kill_privileges(server, in, file);
    if (*rc == 0) {
        struct fuse_write_out out = {.size = w->size};
        pcv_reply(server->dev_fd, in->unique, &out, sizeof out);
    }
}

static void serve_fallocate(struct pcv_server *server, const struct fuse_in_header *in, pcv_file *file, int *rc)
{
    const struct fuse_fallocate_in *f = body(in);
    if (f->mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE)
        *rc = -EOPNOTSUPP; /* a punched hole would be 4096-byte blocks of zeros, and the format has no partial ones */
    else
        *rc = pcv_file_allocate(file, f->offset, f->length, f->mode != 0, server->scratch, &server->bad_block);
    if (*rc == 0 && in->uid != 0) /* no flag says whether the user may keep the bits, as it does for a write */
        *rc = kill_privileges(server, in, file);
    if (*rc == 0)
        pcv_reply_error(server->dev_fd, in->unique, 0);
}

static void serve_lseek(struct pcv_server *server, const struct fuse_in_header *in, pcv_file *file, int *rc)
{
    const struct fuse_lseek_in *l = body(in);
    struct fuse_lseek_out out;
    *rc = pcv_file_seek(file, l->offset, (int)l->whence, &out.offset);
    if (*rc == 0)
        pcv_reply(server->dev_fd, in->unique, &out, sizeof out);
}

static void reply_attr(struct pcv_server *server, const struct fuse_in_header *in, pcv_file *file, int *rc)
{
    struct stat st;
    if (fstat(pcv_file_fd(file), &st) != 0) {
        *rc = -errno;
        return;
    }
    struct fuse_attr_out out = {.attr_valid = server->options->timeout_s};
    pcv_attr(server->options, in->nodeid, &st, pcv_file_plain_size(server->options->files, (uint64_t)st.st_size),
             &out.attr);
    pcv_reply(server->dev_fd, in->unique, &out, sizeof out);
}

static struct timespec time_of(uint32_t valid, uint32_t set, uint32_t now, uint64_t sec, uint32_t nsec)
{
    if (valid & now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    if (valid & set)
        return (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = nsec};
    return (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int change_owner_and_mode(const struct fuse_setattr_in *s, int fd)
{
    uid_t uid = s->valid & FATTR_UID ? s->uid : (uid_t)-1;
    gid_t gid = s->valid & FATTR_GID ? s->gid : (gid_t)-1;
    if ((s->valid & (FATTR_UID | FATTR_GID)) && fchown(fd, uid, gid) != 0)
        return -errno;
    if ((s->valid & FATTR_MODE) && fchmod(fd, s->mode & 07777) != 0)
        return -errno;
    return 0;
}

/* The size first, since that is what can fail for lack of space. */
static void serve_setattr(struct pcv_server *server, const struct fuse_in_header *in, pcv_file *file, int *rc)
{
    const struct fuse_setattr_in *s = body(in);
    struct timespec times[2] = {
        time_of(s->valid, FATTR_ATIME, FATTR_ATIME_NOW, s->atime, s->atimensec),
        time_of(s->valid, FATTR_MTIME, FATTR_MTIME_NOW, s->mtime, s->mtimensec),
    };
    if (s->valid & FATTR_SIZE)
        *rc = pcv_file_truncate(file, s->size, server->scratch, &server->bad_block);
    if (*rc == 0 && (s->valid & FATTR_KILL_SUIDGID))
        *rc = kill_privileges(server, in, file);
    if (*rc == 0)
        *rc = change_owner_and_mode(s, pcv_file_fd(file));
    if (*rc == 0 && (s->valid & TIMES) && futimens(pcv_file_fd(file), times) != 0)
        *rc = -errno;
    if (*rc == 0)
        reply_attr(server, in, file, rc);
}

bool pcv_serve(struct pcv_server *server, const struct fuse_in_header *in, pcv_file *file)
{
    int rc = 0;
    switch (in->opcode) {
    case FUSE_READ:
        serve_read(server, in, file, &rc);
        break;
    case FUSE_WRITE:
        serve_write(server, in, file, &rc);
        break;
    case FUSE_FALLOCATE:
        serve_fallocate(server, in, file, &rc);
        break;
    case FUSE_LSEEK:
        serve_lseek(server, in, file, &rc);
        break;
    case FUSE_SETATTR:
        serve_setattr(server, in, file, &rc);
        break;
    default:
        rc = -ENOSYS;
    }
    if (rc != 0)
        pcv_reply_error(server->dev_fd, in->unique, to_errno(rc));
    return rc == -EBADMSG;
}
