#include "pcv_file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* --- size ------------------------------------------------------------------------------------------------------- */

static int cut(pcv_file *f, uint64_t size)
{
    uint64_t cipher_size = pcv_file_cipher_size(f->policy, size);
    if (ftruncate(f->fd, (off_t)cipher_size) != 0)
        return -errno;
    f->cipher_size = cipher_size;
    f->size = size;
    if (size == 0)
        f->has_id = false; /* the next write starts a new file, so old blocks never fit into it */
    return 0;
}

static int shrink(pcv_file *f, uint64_t size, pcv_scratch *s, uint64_t *bad_block)
{
    size_t kept = (size_t)(size % BS), plain, used = 0;
    if (kept == 0)
        return cut(f, size);
    int rc = pcv_file_read_block(f, size / BS, s->head, &plain, s, bad_block);
    if (rc == 0 && plain < kept) /* the backing file is shorter than we knew: somebody else cut it */
        memset(s->head + plain, 0, kept - plain);
    if (rc == 0)
        rc = pcv_file_seal(f, s->head, kept, size / BS, f->id, s, &used);
    if (rc == 0)
        rc = pcv_file_put(f, cipher_off(f->policy, size / BS), used, (int64_t)pcv_file_cipher_size(f->policy, size), s);
    if (rc == 0)
        f->size = size;
    return rc;
}

void pcv_file_undo_growth(pcv_file *f, uint64_t size, pcv_scratch *s)
{
    uint64_t bad_block;
    (void)!(size == 0 ? cut(f, 0) : shrink(f, size, s, &bad_block));
}

static int grow_steps(pcv_file *f, uint64_t size, pcv_scratch *s, uint64_t *bad_block)
{
    uint64_t last = (size - 1) / BS;
    if (f->size % BS != 0 && f->size / BS == last)
        return pcv_file_write_at(f, f->size, pcv_file_zeros, (size_t)(size - f->size), s, bad_block);
    int rc = pcv_file_pad_before(f, size, s, bad_block);
    if (rc != 0)
        return rc;
    if (size % BS != 0) /* so that a partial last block is never a hole */
        return pcv_file_write_at(f, size - 1, pcv_file_zeros, 1, s, bad_block);
    rc = pcv_file_ensure_header(f, s, bad_block);
    return rc != 0 ? rc : cut(f, size);
}

static int grow(pcv_file *f, uint64_t size, pcv_scratch *s, uint64_t *bad_block)
{
    uint64_t old_size = f->size, old_cipher_size = f->cipher_size;
    int rc = grow_steps(f, size, s, bad_block);
    if (rc != 0 && f->cipher_size > old_cipher_size)
        pcv_file_undo_growth(f, old_size, s);
    return rc;
}

static int truncate_locked(pcv_file *f, uint64_t size, pcv_scratch *s, uint64_t *bad_block)
{
    if (size == 0)
        return cut(f, 0);
    if (size < f->size)
        return shrink(f, size, s, bad_block);
    if (size > f->size)
        return size > f->policy->size_max ? -EFBIG : grow(f, size, s, bad_block);
    return 0;
}

int pcv_file_truncate(pcv_file *f, uint64_t size, pcv_scratch *s, uint64_t *bad_block)
{
    int rc = pcv_file_begin(f, s);
    if (rc == 0)
        rc = truncate_locked(f, size, s, bad_block);
    pcv_file_end(f, s);
    return rc;
}

int pcv_file_allocate(pcv_file *f, uint64_t offset, uint64_t length, bool is_keep_size, pcv_scratch *s,
                      uint64_t *bad_block)
{
    const pcv_file_policy *p = f->policy;
    if (length == 0)
        return -EINVAL;
    if (offset > p->size_max || length > p->size_max - offset)
        return -EFBIG;
    int rc = pcv_file_begin(f, s);
    if (rc == 0) {
        uint64_t from = cipher_off(p, offset / BS);
        uint64_t to = pcv_file_cipher_size(p, offset + length);
        if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from)) != 0)
            rc = -errno;
    }
    if (rc == 0 && !is_keep_size && offset + length > f->size)
        rc = grow(f, offset + length, s, bad_block);
    pcv_file_end(f, s);
    return rc;
}
