#include "pcv_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pcv_sys.h"

#define BS ((uint64_t)PCV_BLOCK_SIZE)
#define OVERHEAD_MAX (PCV_NONCE_SIZE_MAX + PCV_TAG_SIZE)
#define RUN_BLOCKS_MAX (PCV_FILE_IO_MAX / PCV_BLOCK_SIZE + 2) /* unaligned at both ends */
#define CIPHER_ROOM (PCV_HEADER_SIZE + RUN_BLOCKS_MAX * (PCV_BLOCK_SIZE + OVERHEAD_MAX))

struct pcv_file_policy {
    pcv_aead *aead;
    pcv_intents *intents; /* may be NULL */
    size_t overhead;
    uint64_t cipher_block; /* BS + overhead */
    uint64_t size_max;     /* of a plaintext, so that every offset in the backing file fits int64 */
    atomic_int prealloc;   /* enum pcv_prealloc; turned off for good where the filesystem below can't */
    bool is_shared;
};

struct pcv_scratch {
    uint8_t cipher[CIPHER_ROOM];
    uint8_t saved[CIPHER_ROOM];           /* old ciphertext, to undo a failed write */
    uint8_t plain[PCV_FILE_IO_MAX + 2 * PCV_BLOCK_SIZE]; /* unaligned reads */
    uint8_t head[PCV_BLOCK_SIZE];         /* first and last block of a write */
    uint8_t tail[PCV_BLOCK_SIZE];
};

struct pcv_file {
    pcv_file_policy *policy;
    atomic_uint refs;
    int fd; /* the number never changes, what it refers to may: pcv_file_upgrade */
    atomic_bool is_writable;
    atomic_bool is_sync_failed;
    uint64_t dev, ino;
    char *path;
    pthread_rwlock_t lock; /* guards what follows, and the content of the backing file; no lock is taken under it
                              but those of the cipher pool and of the intents */
    uint64_t size;         /* plaintext */
    uint64_t cipher_size;
    bool has_id;
    uint8_t id[PCV_FILE_ID_SIZE];
};

/* --- arithmetic ------------------------------------------------------------------------------------------------- */

static uint64_t to_cipher_size(const pcv_file_policy *p, uint64_t size)
{
    return size == 0 ? 0 : PCV_HEADER_SIZE + size + ((size - 1) / BS + 1) * p->overhead;
}

static uint64_t to_plain_size(const pcv_file_policy *p, uint64_t cipher_size)
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

uint64_t pcv_file_plain_size(const pcv_file_policy *policy, uint64_t cipher_size)
{
    return to_plain_size(policy, cipher_size);
}

static uint64_t cipher_off(const pcv_file_policy *p, uint64_t block)
{
    return PCV_HEADER_SIZE + block * p->cipher_block;
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
    *out = malloc(sizeof **out);
    return *out ? 0 : -ENOMEM;
}

void pcv_scratch_free(pcv_scratch *scratch)
{
    free(scratch);
}

static int load_size(pcv_file *f)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return -errno;
    f->cipher_size = (uint64_t)st.st_size;
    f->size = to_plain_size(f->policy, f->cipher_size);
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    return 0;
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
    int rc = load_size(f);
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
    int rc = dup3(fd, file->fd, O_CLOEXEC) < 0 ? -errno : 0;
    close(fd);
    if (rc == 0)
        atomic_store(&file->is_writable, true);
    return rc;
}

bool pcv_file_is_writable(const pcv_file *file)
{
    return atomic_load(&file->is_writable);
}

int pcv_file_fd(const pcv_file *file)
{
    return file->fd;
}

/* --- the backing file ------------------------------------------------------------------------------------------- */

static int read_full(int fd, uint8_t *out, size_t size, uint64_t offset, size_t *got)
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

static int write_full(int fd, const uint8_t *data, size_t size, uint64_t offset)
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

static int from_aead(int rc)
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

static int load_id(pcv_file *f, uint64_t *bad_block)
{
    static const uint8_t zero[PCV_FILE_ID_SIZE];
    uint8_t header[PCV_HEADER_SIZE];
    size_t got;
    int rc = read_full(f->fd, header, sizeof header, 0, &got);
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

/* Under the lock for writing. On shared storage, what was known may be old. */
static int refresh(pcv_file *f)
{
    if (!f->policy->is_shared)
        return 0;
    f->has_id = false;
    return load_size(f);
}

/* Make the file id known, taking the lock for reading; the caller unlocks, also after an error. */
static int lock_for_reading(pcv_file *f, uint64_t *bad_block)
{
    pthread_rwlock_rdlock(&f->lock);
    if (!f->policy->is_shared && (f->has_id || f->size == 0))
        return 0;
    pthread_rwlock_unlock(&f->lock);
    pthread_rwlock_wrlock(&f->lock);
    int rc = refresh(f);
    if (rc == 0 && !f->has_id && f->size > 0)
        rc = load_id(f, bad_block);
    return rc;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* Decrypt `blocks` blocks from `first` on, fewer at the end of the file. */
static int open_run(pcv_file *f, uint64_t first, uint64_t blocks, uint8_t *out, size_t room, size_t *plain,
                    pcv_scratch *s, uint64_t *bad_block)
{
    const pcv_file_policy *p = f->policy;
    size_t got;
    int rc = read_full(f->fd, s->cipher, (size_t)(blocks * p->cipher_block), cipher_off(p, first), &got);
    if (rc != 0)
        return rc;
    return from_aead(pcv_aead_open_blocks(p->aead, s->cipher, got, first, f->id, out, room, plain, bad_block));
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

/* One block into out[PCV_BLOCK_SIZE]; *plain is 0 beyond the end. */
static int read_block(pcv_file *f, uint64_t block, uint8_t *out, size_t *plain, pcv_scratch *s, uint64_t *bad_block)
{
    *plain = 0;
    if (block * BS >= f->size)
        return 0;
    if (!f->has_id) {
        int rc = load_id(f, bad_block);
        if (rc != 0)
            return rc;
    }
    return open_run(f, block, 1, out, BS, plain, s, bad_block);
}

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
    int rc = read_full(f->fd, s->saved, size, offset, saved);
    if (rc == 0 && (rc = write_full(f->fd, sealed, size, offset)) != 0)
        (void)!write_full(f->fd, s->saved, *saved, offset);
    return rc;
}

/* Write where overwriting may run out of space: old blocks one by one, so that one that fails stays whole. What lies
 * behind them comes last if its space is reserved, since it can't run out then; else first, since cutting the file back
 * takes no space. */
static int put_by_blocks(pcv_file *f, uint64_t offset, const uint8_t *sealed, size_t size, bool is_new_reserved,
                         pcv_scratch *s)
{
    const pcv_file_policy *p = f->policy;
    uint64_t body = f->cipher_size > PCV_HEADER_SIZE ? f->cipher_size - PCV_HEADER_SIZE : 0;
    uint64_t end = cipher_off(p, (body + p->cipher_block - 1) / p->cipher_block);
    size_t old = end <= offset ? 0 : end - offset < size ? (size_t)(end - offset) : size;
    size_t start = 0, saved = 0;
    int rc = 0;
    if (old < size && !is_new_reserved)
        rc = write_full(f->fd, sealed + old, size - old, offset + old);
    for (size_t next = 0; rc == 0 && next < old; next += p->cipher_block) {
        start = next;
        size_t part = old - start < p->cipher_block ? old - start : (size_t)p->cipher_block;
        rc = replace_block(f, offset + start, sealed + start, part, s, &saved);
    }
    if (rc == 0 && old < size && is_new_reserved &&
        (rc = write_full(f->fd, sealed + old, size - old, offset + old)) != 0)
        (void)!write_full(f->fd, s->saved, saved, offset + start); /* it may have grown, and is about to be cut */
    return rc;
}

/* Say what is about to be written in place, so that the next mount can finish it if we are killed. */
static int begin(const pcv_file *f, uint64_t offset, const uint8_t *sealed, size_t size, int64_t final_size)
{
    const uint8_t *id = offset == 0 ? sealed + PCV_HEADER_VERSION_SIZE : f->id; /* a new file brings its header */
    struct pcv_intent_file file = {.path = f->path, .dev = f->dev, .ino = f->ino, .id = id};
    return pcv_intent_begin(f->policy->intents, &file, offset, sealed, size, final_size);
}

/* Write ciphertext so that all of it is there, or the file is as it was. final_size: as pcv_intent_begin. */
static int put(pcv_file *f, uint64_t offset, const uint8_t *sealed, size_t size, int64_t final_size, pcv_scratch *s)
{
    const pcv_file_policy *p = f->policy;
    int prealloc;
    int rc = reserve(f, offset, size, &prealloc);
    if (rc != 0)
        return rc;
    size_t saved = 0;
    if (final_size >= 0 && (rc = read_full(f->fd, s->saved, size, offset, &saved)) != 0)
        return rc;
    int slot = -1;
    if (p->intents)
        slot = begin(f, offset, sealed, size, final_size);
    if (prealloc == PCV_PREALLOC_ALL || offset == 0)
        rc = write_full(f->fd, sealed, size, offset);
    else
        rc = put_by_blocks(f, offset, sealed, size, prealloc == PCV_PREALLOC_NEW, s);
    if (rc == 0 && final_size >= 0 && ftruncate(f->fd, final_size) != 0)
        rc = -errno;
    if (rc != 0 && final_size >= 0)
        (void)!write_full(f->fd, s->saved, saved, offset);
    if (rc != 0)
        (void)!ftruncate(f->fd, (off_t)f->cipher_size);
    else if (final_size >= 0)
        f->cipher_size = (uint64_t)final_size;
    else if (offset + size > f->cipher_size)
        f->cipher_size = offset + size;
    if (p->intents)
        pcv_intent_end(p->intents, slot);
    return rc;
}

/* A fresh header in front of out, which the caller writes with the first block. The id counts once that succeeded. */
static int make_header(uint8_t *out)
{
    out[0] = 0;
    out[1] = PCV_ON_DISK_VERSION;
    return pcv_random(out + PCV_HEADER_VERSION_SIZE, PCV_FILE_ID_SIZE) == 0 ? 0 : -EIO;
}

/* Give an empty file a header of its own, over whatever short header was planted there. */
static int ensure_header(pcv_file *f, pcv_scratch *s, uint64_t *bad_block)
{
    if (f->cipher_size > PCV_HEADER_SIZE)
        return f->has_id ? 0 : load_id(f, bad_block);
    uint8_t header[PCV_HEADER_SIZE];
    int rc = make_header(header);
    if (rc == 0)
        rc = put(f, 0, header, sizeof header, -1, s);
    if (rc == 0) {
        memcpy(f->id, header + PCV_HEADER_VERSION_SIZE, sizeof f->id);
        f->has_id = true;
    }
    return rc;
}

static int seal(pcv_file *f, const uint8_t *plain, size_t size, uint64_t block, const uint8_t *id, uint8_t *out,
                size_t room, size_t *used)
{
    size_t sealed = 0;
    int rc = from_aead(
        pcv_aead_seal_blocks(f->policy->aead, plain, size, block, id, NULL, 0, out + *used, room - *used, &sealed));
    *used += sealed;
    return rc;
}

/* Write where at most a part of the last block lies between the old end and offset. */
static int write_at(pcv_file *f, uint64_t offset, const uint8_t *data, size_t size, pcv_scratch *s, uint64_t *bad_block)
{
    uint64_t end = offset + size;
    uint64_t first = offset / BS, last = (end - 1) / BS;
    size_t skip = (size_t)(offset % BS), over = (size_t)(end % BS);
    size_t head = 0, tail = 0;
    int rc = 0;

    /* Old plaintext around the new: in front of it in the first block, behind it in the last. */
    if (skip > 0) {
        rc = read_block(f, first, s->head, &head, s, bad_block);
        if (rc == 0 && head < skip)
            memset(s->head + head, 0, skip - head);
    }
    if (rc == 0 && over > 0 && end < f->size) {
        if (first == last && skip > 0) {
            memcpy(s->tail, s->head, head);
            tail = head;
        } else {
            rc = read_block(f, last, s->tail, &tail, s, bad_block);
        }
    }
    if (rc != 0)
        return rc;

    const uint8_t *id = f->id;
    bool is_new = first == 0 && f->cipher_size <= PCV_HEADER_SIZE;
    size_t used = 0;
    if (is_new) {
        /* Header and first block in one write: no moment at which the file has one without the other. */
        rc = make_header(s->cipher);
        id = s->cipher + PCV_HEADER_VERSION_SIZE;
        used = PCV_HEADER_SIZE;
    } else {
        rc = ensure_header(f, s, bad_block);
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
        rc = seal(f, s->head, full, block++, id, s->cipher, sizeof s->cipher, &used);
        rest += part;
        left -= part;
    }
    size_t whole = left - left % BS;
    if (rc == 0 && whole > 0) {
        rc = seal(f, rest, whole, block, id, s->cipher, sizeof s->cipher, &used);
        block += whole / BS;
        rest += whole;
        left -= whole;
    }
    if (rc == 0 && left > 0) {
        if (tail > left) {
            memcpy(s->tail, rest, left);
            rc = seal(f, s->tail, tail, block, id, s->cipher, sizeof s->cipher, &used);
        } else {
            rc = seal(f, rest, left, block, id, s->cipher, sizeof s->cipher, &used);
        }
    }
    if (rc == 0)
        rc = put(f, is_new ? 0 : cipher_off(f->policy, first), s->cipher, used, -1, s);
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

static const uint8_t zeros[PCV_BLOCK_SIZE];

/* Fill the last block with zeros if offset lies in a later one; the blocks in between become holes. */
static int pad_before(pcv_file *f, uint64_t offset, pcv_scratch *s, uint64_t *bad_block)
{
    size_t partial = (size_t)(f->size % BS);
    if (partial == 0 || offset / BS <= f->size / BS)
        return 0;
    return write_at(f, f->size, zeros, (size_t)BS - partial, s, bad_block);
}

static void undo_growth(pcv_file *f, uint64_t size, pcv_scratch *s);

int pcv_file_write(pcv_file *f, uint64_t offset, const uint8_t *data, size_t size, pcv_scratch *s, uint64_t *bad_block)
{
    if (size == 0)
        return 0;
    if (size > PCV_FILE_IO_MAX)
        return -EINVAL;
    if (offset > f->policy->size_max || size > f->policy->size_max - offset)
        return -EFBIG;
    pthread_rwlock_wrlock(&f->lock);
    int rc = refresh(f);
    uint64_t old_size = f->size, old_cipher_size = f->cipher_size;
    if (rc == 0)
        rc = pad_before(f, offset, s, bad_block);
    if (rc == 0)
        rc = write_at(f, offset, data, size, s, bad_block);
    if (rc != 0 && f->cipher_size > old_cipher_size)
        undo_growth(f, old_size, s);
    pthread_rwlock_unlock(&f->lock);
    return rc;
}

/* --- size ------------------------------------------------------------------------------------------------------- */

static int cut(pcv_file *f, uint64_t size)
{
    uint64_t cipher_size = to_cipher_size(f->policy, size);
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
    int rc = read_block(f, size / BS, s->head, &plain, s, bad_block);
    if (rc == 0 && plain < kept) /* the backing file is shorter than we knew: somebody else cut it */
        memset(s->head + plain, 0, kept - plain);
    if (rc == 0)
        rc = seal(f, s->head, kept, size / BS, f->id, s->cipher, sizeof s->cipher, &used);
    if (rc == 0)
        rc = put(f, cipher_off(f->policy, size / BS), s->cipher, used, (int64_t)to_cipher_size(f->policy, size), s);
    if (rc == 0)
        f->size = size;
    return rc;
}

/* Growing takes up to three writes. If one fails, those before it are taken back. */
static void undo_growth(pcv_file *f, uint64_t size, pcv_scratch *s)
{
    uint64_t bad_block;
    (void)!(size == 0 ? cut(f, 0) : shrink(f, size, s, &bad_block));
}

static int grow_steps(pcv_file *f, uint64_t size, pcv_scratch *s, uint64_t *bad_block)
{
    uint64_t last = (size - 1) / BS;
    if (f->size % BS != 0 && f->size / BS == last)
        return write_at(f, f->size, zeros, (size_t)(size - f->size), s, bad_block);
    int rc = pad_before(f, size, s, bad_block);
    if (rc != 0)
        return rc;
    if (size % BS != 0) /* so that a partial last block is never a hole */
        return write_at(f, size - 1, zeros, 1, s, bad_block);
    rc = ensure_header(f, s, bad_block);
    return rc != 0 ? rc : cut(f, size);
}

static int grow(pcv_file *f, uint64_t size, pcv_scratch *s, uint64_t *bad_block)
{
    uint64_t old_size = f->size, old_cipher_size = f->cipher_size;
    int rc = grow_steps(f, size, s, bad_block);
    if (rc != 0 && f->cipher_size > old_cipher_size)
        undo_growth(f, old_size, s);
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
    pthread_rwlock_wrlock(&f->lock);
    int rc = refresh(f);
    if (rc == 0)
        rc = truncate_locked(f, size, s, bad_block);
    pthread_rwlock_unlock(&f->lock);
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
    pthread_rwlock_wrlock(&f->lock);
    int rc = refresh(f);
    if (rc == 0) {
        uint64_t from = cipher_off(p, offset / BS);
        uint64_t to = to_cipher_size(p, offset + length);
        if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from)) != 0)
            rc = -errno;
    }
    if (rc == 0 && !is_keep_size && offset + length > f->size)
        rc = grow(f, offset + length, s, bad_block);
    pthread_rwlock_unlock(&f->lock);
    return rc;
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
    int rc = refresh(f);
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
