#include "pcv_file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- arithmetic ------------------------------------------------------------------------------------------------- */

uint64_t pcv_file_cipher_size(const pcv_file_policy *p, uint64_t size)
{
    return size == 0 ? 0 : PCV_HEADER_SIZE + size + ((size - 1) / BS + 1) * p->overhead;
}

uint64_t pcv_file_plain_size(const pcv_file_policy *p, uint64_t cipher_size)
{
    if (cipher_size <= PCV_HEADER_SIZE)
        return 0;
    uint64_t body = cipher_size - PCV_HEADER_SIZE;
    uint64_t last = body % p->cipher_block;
    uint64_t size = body / p->cipher_block * BS;
    if (last > 0)
        size += last > p->overhead ? last - p->overhead : 1; /* too short to hold a byte: reading it must fail */
    return size;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

int pcv_file_policy_new(pcv_aead *aead, size_t overhead, pcv_intents *intents, int prealloc, bool is_shared,
                        pcv_file_policy **out)
{
    if (overhead <= PCV_TAG_SIZE || overhead > OVERHEAD_MAX)
        return -EINVAL;
    pcv_file_policy *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->aead = aead;
    p->intents = intents;
    p->overhead = overhead;
    p->cipher_block = BS + overhead;
    p->size_max = ((uint64_t)INT64_MAX - PCV_HEADER_SIZE) / p->cipher_block * BS;
    p->prealloc = prealloc;
    p->is_shared = is_shared;
    *out = p;
    return 0;
}

void pcv_file_policy_free(pcv_file_policy *policy)
{
    free(policy);
}

int pcv_scratch_new(pcv_scratch **out)
{
    pcv_scratch *s = malloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    s->sealed = s->own;
    s->slot = -1;
    *out = s;
    return 0;
}

void pcv_scratch_free(pcv_scratch *scratch)
{
    free(scratch);
}

int pcv_file_new(pcv_file_policy *policy, int fd, bool is_writable, const char *path, pcv_file **out)
{
    pcv_file *f = calloc(1, sizeof *f);
    char *hint = strdup(path);
    if (!f || !hint) {
        free(f);
        free(hint);
        return -ENOMEM;
    }
    f->policy = policy;
    f->refs = 1;
    f->fd = fd;
    f->is_writable = is_writable;
    f->path = hint;
    int rc = pcv_file_load_size(f);
    if (rc != 0) {
        free(hint);
        free(f);
        return rc;
    }
    pthread_rwlock_init(&f->lock, NULL);
    *out = f;
    return 0;
}

pcv_file *pcv_file_ref(pcv_file *file)
{
    atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
    return file;
}

void pcv_file_unref(pcv_file *file)
{
    if (!file || atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) != 1)
        return;
    close(file->fd);
    pthread_rwlock_destroy(&file->lock);
    free(file->path);
    free(file);
}

int pcv_file_upgrade(pcv_file *file, int fd)
{
    if (dup3(fd, file->fd, O_CLOEXEC) < 0)
        return -errno;
    close(fd);
    atomic_store(&file->is_writable, true);
    return 0;
}

bool pcv_file_is_writable(const pcv_file *file)
{
    return atomic_load(&file->is_writable);
}

int pcv_file_fd(const pcv_file *file)
{
    return file->fd;
}

/* --- the rest --------------------------------------------------------------------------------------------------- */

int pcv_file_sync(pcv_file *f, bool is_data_only)
{
    if (atomic_load(&f->is_sync_failed))
        return -EIO;
    if ((is_data_only ? fdatasync(f->fd) : fsync(f->fd)) == 0)
        return 0;
    int rc = -errno;
    atomic_store(&f->is_sync_failed, true);
    return rc;
}

int pcv_file_size(pcv_file *f, uint64_t *size)
{
    pthread_rwlock_wrlock(&f->lock);
    int rc = pcv_file_refresh(f);
    *size = f->size;
    pthread_rwlock_unlock(&f->lock);
    return rc;
}

int pcv_file_seek(pcv_file *f, uint64_t offset, int whence, uint64_t *result)
{
    const pcv_file_policy *p = f->policy;
    uint64_t size;
    int rc = pcv_file_size(f, &size);
    if (rc != 0)
        return rc;
    if (offset >= size)
        return -ENXIO;
    uint64_t from = cipher_off(p, offset / BS);
    off_t found = lseek(f->fd, (off_t)from, whence);
    if (found < 0)
        return -errno;
    if ((uint64_t)found == from) {
        *result = offset;
        return 0;
    }
    /* The block that the kernel points into is neither all hole nor all data; the next one is the first that is. */
    uint64_t block = ((uint64_t)found - PCV_HEADER_SIZE + p->cipher_block - 1) / p->cipher_block;
    *result = block * BS < size ? block * BS : size;
    return whence == SEEK_DATA && *result >= size ? -ENXIO : 0;
}
