#include "pcv_file_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the backing file ------------------------------------------------------------------------------------------- */

int pcv_file_read_full(int fd, uint8_t *out, size_t size, uint64_t offset, size_t *got)
{
    *got = 0;
    while (*got < size) {
        ssize_t n = pread(fd, out + *got, size - *got, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EBADMSG ? -EIO : -errno; /* EBADMSG is ours, for blocks that do not decrypt */
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return 0;
}

int pcv_file_write_full(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = pwrite(fd, data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

int pcv_file_from_aead(int rc)
{
    switch (rc) {
    case PCV_OK:
        return 0;
    case PCV_ERR_AUTH:
        return -EBADMSG;
    case PCV_ERR_NOMEM:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

int pcv_file_load_id(pcv_file *f, uint64_t *bad_block)
{
    static const uint8_t zero[PCV_FILE_ID_SIZE];
    uint8_t header[PCV_HEADER_SIZE];
    size_t got;
    int rc = pcv_file_read_full(f->fd, header, sizeof header, 0, &got);
    if (rc != 0)
        return rc;
    if (got != sizeof header || header[0] != 0 || header[1] != PCV_ON_DISK_VERSION ||
        memcmp(header + PCV_HEADER_VERSION_SIZE, zero, sizeof zero) == 0) {
        *bad_block = PCV_BAD_HEADER;
        return -EBADMSG;
    }
    memcpy(f->id, header + PCV_HEADER_VERSION_SIZE, sizeof f->id);
    f->has_id = true;
    return 0;
}

int pcv_file_load_size(pcv_file *f)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return -errno;
    f->cipher_size = (uint64_t)st.st_size;
    f->size = pcv_file_plain_size(f->policy, f->cipher_size);
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    return 0;
}

int pcv_file_refresh(pcv_file *f)
{
    if (!f->policy->is_shared)
        return 0;
    f->has_id = false;
    return pcv_file_load_size(f);
}

/* Make the file id known, taking the lock for reading; the caller unlocks, also after an error. */
static int lock_for_reading(pcv_file *f, uint64_t *bad_block)
{
    pthread_rwlock_rdlock(&f->lock);
    if (!f->policy->is_shared && (f->has_id || f->size == 0))
        return 0;
    pthread_rwlock_unlock(&f->lock);
    pthread_rwlock_wrlock(&f->lock);
    int rc = pcv_file_refresh(f);
    if (rc == 0 && !f->has_id && f->size > 0)
        rc = pcv_file_load_id(f, bad_block);
    return rc;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* Decrypt `blocks` blocks from `first` on, fewer at the end of the file. */
static int open_run(pcv_file *f, uint64_t first, uint64_t blocks, uint8_t *out, size_t room, size_t *plain,
                    pcv_scratch *s, uint64_t *bad_block)
{
    const pcv_file_policy *p = f->policy;
    size_t got;
    int rc = pcv_file_read_full(f->fd, s->cipher, (size_t)(blocks * p->cipher_block), cipher_off(p, first), &got);
    if (rc != 0)
        return rc;
    return pcv_file_from_aead(pcv_aead_open_blocks(p->aead, s->cipher, got, first, f->id, out, room, plain, bad_block));
}

int pcv_file_read(pcv_file *f, uint64_t offset, size_t size, uint8_t *out, size_t *got, pcv_scratch *s,
                  uint64_t *bad_block)
{
    *got = 0;
    if (size > PCV_FILE_IO_MAX)
        return -EINVAL;
    int rc = lock_for_reading(f, bad_block);
    if (rc != 0 || offset >= f->size || size == 0)
        goto out;
    if (size > f->size - offset)
        size = (size_t)(f->size - offset);
    uint64_t first = offset / BS;
    size_t skip = (size_t)(offset % BS);
    uint64_t blocks = (offset + size - 1) / BS - first + 1;
    size_t plain;
    if (skip == 0) {
        rc = open_run(f, first, blocks, out, size + BS, &plain, s, bad_block);
    } else {
        rc = open_run(f, first, blocks, s->plain, sizeof s->plain, &plain, s, bad_block);
        if (rc == 0 && plain > skip)
            memcpy(out, s->plain + skip, plain - skip < size ? plain - skip : size);
    }
    if (rc == 0)
        *got = plain <= skip ? 0 : plain - skip < size ? plain - skip : size;
out:
    pthread_rwlock_unlock(&f->lock);
    return rc;
}

int pcv_file_read_block(pcv_file *f, uint64_t block, uint8_t *out, size_t *plain, pcv_scratch *s, uint64_t *bad_block)
{
    *plain = 0;
    if (block * BS >= f->size)
        return 0;
    if (!f->has_id) {
        int rc = pcv_file_load_id(f, bad_block);
        if (rc != 0)
            return rc;
    }
    return open_run(f, block, 1, out, BS, plain, s, bad_block);
}
