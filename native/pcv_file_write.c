#include "pcv_file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pcv_sys.h"

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* Have space set aside; *prealloc is what is set aside now. */
static int reserve(pcv_file *f, uint64_t offset, uint64_t size, int *prealloc)
{
    *prealloc = atomic_load_explicit(&f->policy->prealloc, memory_order_relaxed);
    uint64_t start = *prealloc == PCV_PREALLOC_NEW && offset < f->cipher_size ? f->cipher_size : offset;
    if (*prealloc == PCV_PREALLOC_OFF || start >= offset + size)
        return 0;
    int rc;
    do {
        rc = fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)start, (off_t)(offset + size - start)) == 0 ? 0 : -errno;
    } while (rc == -EINTR);
    if (rc == -EOPNOTSUPP || rc == -ENOSYS) {
        atomic_store(&f->policy->prealloc, PCV_PREALLOC_OFF);
        *prealloc = PCV_PREALLOC_OFF;
        return 0;
    }
    if (rc != 0)
        (void)!ftruncate(f->fd, (off_t)f->cipher_size); /* give back what it got before it failed */
    return rc;
}

/* One old block, or a part of it at the end of the file: whole, whatever happens. The old bytes are left in s->saved. */
static int replace_block(pcv_file *f, uint64_t offset, const uint8_t *sealed, size_t size, pcv_scratch *s,
                         size_t *saved)
{
    int rc = pcv_file_read_full(f->fd, s->saved, size, offset, saved);
    if (rc == 0 && (rc = pcv_file_write_full(f->fd, sealed, size, offset)) != 0)
        (void)!pcv_file_write_full(f->fd, s->saved, *saved, offset);
    return rc;
}

/* Write where overwriting may run out of space: old blocks one by one, so that one that fails stays whole. What lies
 * behind them comes last if its space is reserved, since it can't run out then; else first, since cutting the file back
 * takes no space. */
static int put_by_blocks(pcv_file *f, uint64_t offset, size_t size, bool is_new_reserved, pcv_scratch *s)
{
    const uint8_t *sealed = s->sealed;
    const pcv_file_policy *p = f->policy;
    uint64_t body = f->cipher_size > PCV_HEADER_SIZE ? f->cipher_size - PCV_HEADER_SIZE : 0;
    uint64_t end = cipher_off(p, (body + p->cipher_block - 1) / p->cipher_block);
    size_t old = end <= offset ? 0 : end - offset < size ? (size_t)(end - offset) : size;
    size_t start = 0, saved = 0;
    int rc = 0;
    if (old < size && !is_new_reserved)
        rc = pcv_file_write_full(f->fd, sealed + old, size - old, offset + old);
    for (size_t next = 0; rc == 0 && next < old; next += p->cipher_block) {
        start = next;
        size_t part = old - start < p->cipher_block ? old - start : (size_t)p->cipher_block;
        rc = replace_block(f, offset + start, sealed + start, part, s, &saved);
    }
    if (rc == 0 && old < size && is_new_reserved &&
        (rc = pcv_file_write_full(f->fd, sealed + old, size - old, offset + old)) != 0)
        (void)!pcv_file_write_full(f->fd, s->saved, saved,
                                   offset + start); /* it may have grown, and is about to be cut */
    return rc;
}

int pcv_file_begin(pcv_file *f, pcv_scratch *s)
{
    if (f->policy->intents)
        s->slot = pcv_intent_take(f->policy->intents, &s->sealed); /* before the lock: who holds one is not held up */
    pthread_rwlock_wrlock(&f->lock);
    return pcv_file_refresh(f);
}

void pcv_file_end(pcv_file *f, pcv_scratch *s)
{
    pthread_rwlock_unlock(&f->lock);
    if (s->slot < 0)
        return;
    pcv_intent_give(f->policy->intents, s->slot);
    s->slot = -1;
    s->sealed = s->own;
}

/* Say what is about to be written in place, so that the next mount can finish it if we are killed. */
static bool note(const pcv_file *f, uint64_t offset, size_t size, int64_t final_size, const pcv_scratch *s)
{
    if (s->slot < 0)
        return false;
    const uint8_t *id = offset == 0 ? s->sealed + PCV_HEADER_VERSION_SIZE : f->id; /* a new file brings its header */
    struct pcv_intent_file file = {.path = f->path, .dev = f->dev, .ino = f->ino, .id = id};
    return pcv_intent_note(f->policy->intents, s->slot, &file, offset, size, final_size);
}

int pcv_file_put(pcv_file *f, uint64_t offset, size_t size, int64_t final_size, pcv_scratch *s)
{
    int prealloc;
    int rc = reserve(f, offset, size, &prealloc);
    if (rc != 0)
        return rc;
    size_t saved = 0;
    if (final_size >= 0 && (rc = pcv_file_read_full(f->fd, s->saved, size, offset, &saved)) != 0)
        return rc;
    bool is_noted = note(f, offset, size, final_size, s);
    if (prealloc == PCV_PREALLOC_ALL || offset == 0)
        rc = pcv_file_write_full(f->fd, s->sealed, size, offset);
    else
        rc = put_by_blocks(f, offset, size, prealloc == PCV_PREALLOC_NEW, s);
    if (rc == 0 && final_size >= 0 && ftruncate(f->fd, final_size) != 0)
        rc = -errno;
    if (rc != 0 && final_size >= 0)
        (void)!pcv_file_write_full(f->fd, s->saved, saved, offset);
    if (rc != 0)
        (void)!ftruncate(f->fd, (off_t)f->cipher_size);
    else if (final_size >= 0)
        f->cipher_size = (uint64_t)final_size;
    else if (offset + size > f->cipher_size)
        f->cipher_size = offset + size;
    if (is_noted)
        pcv_intent_clear(f->policy->intents, s->slot);
    return rc;
}

/* A fresh header in front of out, which the caller writes with the first block. The id counts once that succeeded. */
static int make_header(uint8_t *out)
{
    out[0] = 0;
    out[1] = PCV_ON_DISK_VERSION;
    return pcv_random(out + PCV_HEADER_VERSION_SIZE, PCV_FILE_ID_SIZE) == 0 ? 0 : -EIO;
}

int pcv_file_ensure_header(pcv_file *f, pcv_scratch *s, uint64_t *bad_block)
{
    if (f->cipher_size > PCV_HEADER_SIZE)
        return f->has_id ? 0 : pcv_file_load_id(f, bad_block);
    int rc = make_header(s->sealed);
    if (rc == 0)
        rc = pcv_file_put(f, 0, PCV_HEADER_SIZE, -1, s);
    if (rc == 0) {
        memcpy(f->id, s->sealed + PCV_HEADER_VERSION_SIZE, sizeof f->id);
        f->has_id = true;
    }
    return rc;
}

int pcv_file_seal(pcv_file *f, const uint8_t *plain, size_t size, uint64_t block, const uint8_t *id, pcv_scratch *s,
                  size_t *used)
{
    size_t sealed = 0;
    int rc = pcv_file_from_aead(pcv_aead_seal_blocks(f->policy->aead, plain, size, block, id, NULL, 0,
                                                     s->sealed + *used, CIPHER_ROOM - *used, &sealed));
    *used += sealed;
    return rc;
}

int pcv_file_write_at(pcv_file *f, uint64_t offset, const uint8_t *data, size_t size, pcv_scratch *s,
                      uint64_t *bad_block)
{
    uint64_t end = offset + size;
    uint64_t first = offset / BS, last = (end - 1) / BS;
    size_t skip = (size_t)(offset % BS), over = (size_t)(end % BS);
    size_t head = 0, tail = 0;
    int rc = 0;

    /* Old plaintext around the new: in front of it in the first block, behind it in the last. */
    if (skip > 0) {
        rc = pcv_file_read_block(f, first, s->head, &head, s, bad_block);
        if (rc == 0 && head < skip)
            memset(s->head + head, 0, skip - head);
    }
    if (rc == 0 && over > 0 && end < f->size) {
        if (first == last && skip > 0) {
            memcpy(s->tail, s->head, head);
            tail = head;
        } else {
            rc = pcv_file_read_block(f, last, s->tail, &tail, s, bad_block);
        }
    }
    if (rc != 0)
        return rc;

    const uint8_t *id = f->id;
    bool is_new = first == 0 && f->cipher_size <= PCV_HEADER_SIZE;
    size_t used = 0;
    if (is_new) {
        /* Header and first block in one write: no moment at which the file has one without the other. */
        rc = make_header(s->sealed);
        id = s->sealed + PCV_HEADER_VERSION_SIZE;
        used = PCV_HEADER_SIZE;
    } else {
        rc = pcv_file_ensure_header(f, s, bad_block);
    }

    const uint8_t *rest = data;
    size_t left = size;
    uint64_t block = first;
    if (rc == 0 && skip > 0) {
        size_t part = left < BS - skip ? left : BS - skip;
        memcpy(s->head + skip, rest, part);
        size_t full = skip + part;
        if (tail > full) {
            memcpy(s->head + full, s->tail + full, tail - full);
            full = tail;
        }
        rc = pcv_file_seal(f, s->head, full, block++, id, s, &used);
        rest += part;
        left -= part;
    }
    size_t whole = left - left % BS;
    if (rc == 0 && whole > 0) {
        rc = pcv_file_seal(f, rest, whole, block, id, s, &used);
        block += whole / BS;
        rest += whole;
        left -= whole;
    }
    if (rc == 0 && left > 0) {
        if (tail > left) {
            memcpy(s->tail, rest, left);
            rc = pcv_file_seal(f, s->tail, tail, block, id, s, &used);
        } else {
            rc = pcv_file_seal(f, rest, left, block, id, s, &used);
        }
    }
    if (rc == 0)
        rc = pcv_file_put(f, is_new ? 0 : cipher_off(f->policy, first), used, -1, s);
    if (rc != 0)
        return rc;
    if (is_new) {
        memcpy(f->id, id, sizeof f->id);
        f->has_id = true;
    }
    if (end > f->size)
        f->size = end;
    return 0;
}

const uint8_t pcv_file_zeros[PCV_BLOCK_SIZE];

int pcv_file_pad_before(pcv_file *f, uint64_t offset, pcv_scratch *s, uint64_t *bad_block)
{
    size_t partial = (size_t)(f->size % BS);
    if (partial == 0 || offset / BS <= f->size / BS)
        return 0;
    return pcv_file_write_at(f, f->size, pcv_file_zeros, (size_t)BS - partial, s, bad_block);
}

int pcv_file_write(pcv_file *f, uint64_t offset, const uint8_t *data, size_t size, pcv_scratch *s, uint64_t *bad_block)
{
    if (size == 0)
        return 0;
    if (size > PCV_FILE_IO_MAX)
        return -EINVAL;
    if (offset > f->policy->size_max || size > f->policy->size_max - offset)
        return -EFBIG;
    int rc = pcv_file_begin(f, s);
    uint64_t old_size = f->size, old_cipher_size = f->cipher_size;
    if (rc == 0)
        rc = pcv_file_pad_before(f, offset, s, bad_block);
    if (rc == 0)
        rc = pcv_file_write_at(f, offset, data, size, s, bad_block);
    if (rc != 0 && f->cipher_size > old_cipher_size)
        pcv_file_undo_growth(f, old_size, s);
    pcv_file_end(f, s);
    return rc;
}
