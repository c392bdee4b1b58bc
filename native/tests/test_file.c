/* pcv_file against an array of bytes: random operations, files opened anew, calls below that fail, and processes that
 * are killed between any two calls or within a write. Every cipher, every way to reserve space.
 *
 * Usage: test_file [SEED [ROUNDS]] */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "pcv_file.h"

#define BS PCV_BLOCK_SIZE
#define BLOCKS 14
#define ROOM (BLOCKS * BS)
#define CIPHER_ROOM (PCV_HEADER_SIZE + BLOCKS * (BS + PCV_NONCE_SIZE_MAX + PCV_TAG_SIZE))
#define AREA_SIZE ((size_t)PCV_INTENT_SLOTS * PCV_INTENT_SLOT_SIZE)

static const int KINDS[] = {PCV_AES_GCM, PCV_XCHACHA20_POLY1305, PCV_AES_SIV};

struct model {
    size_t size;
    uint8_t data[ROOM];
};

enum what { WRITE, TRUNCATE, ALLOCATE, WHATS };

struct operation {
    enum what what;
    size_t offset, size; /* of a truncation: the new size */
    bool is_keep_size;
    const uint8_t *data;
};

/* What a killed process leaves behind. */
struct remains {
    bool is_wanted;
    unsigned int at; /* calls that pass before */
    bool is_there;
    size_t size;
    uint8_t file[CIPHER_ROOM];
    uint8_t *area;
};

struct world {
    struct rng rng;
    int kind, prealloc;
    size_t cipher_block;
    pcv_aead *aead;
    uint8_t *area; /* of the intents; NULL: none */
    pcv_intents *intents;
    pcv_file_policy *policy;
    pcv_scratch *scratch;
    pcv_file *file;
    int fd; /* the backing file, for ourselves */
    struct model model, before;
    struct remains remains;
    uint8_t data[ROOM];
};

/* --- the model -------------------------------------------------------------------------------------------------- */

static void resize(struct model *model, size_t size)
{
    if (size > model->size)
        memset(model->data + model->size, 0, size - model->size);
    model->size = size;
}

static void apply(struct model *model, const struct operation *op)
{
    size_t end = op->offset + op->size;
    switch (op->what) {
    case WRITE:
        if (end > model->size)
            resize(model, end);
        memcpy(model->data + op->offset, op->data, op->size);
        break;
    case TRUNCATE:
        resize(model, op->size);
        break;
    default:
        if (!op->is_keep_size && end > model->size)
            resize(model, end);
    }
}

/* Offsets and sizes worth trying: around the edges of blocks. */
static size_t near_an_edge(struct rng *rng, size_t limit)
{
    static const int distances[] = {0, 0, 1, -1, 2, 15, 16, -16, 100, -100};
    size_t edge = rng_below(rng, limit / BS) * BS;
    int distance = distances[rng_below(rng, sizeof distances / sizeof distances[0])];
    size_t value = rng_chance(rng, 20) ? rng_below(rng, limit) : edge + (size_t)(edge == 0 ? abs(distance) : distance);
    return value < limit ? value : limit - 1;
}

static struct operation any_operation(struct world *w)
{
    struct operation op = {.what = rng_chance(&w->rng, 60) ? WRITE : (enum what)rng_below(&w->rng, WHATS)};
    if (op.what == TRUNCATE) {
        op.size = near_an_edge(&w->rng, ROOM);
        return op;
    }
    op.offset = near_an_edge(&w->rng, ROOM - BS);
    size_t room = ROOM - op.offset, wanted = 1 + near_an_edge(&w->rng, rng_chance(&w->rng, 70) ? 3 * BS : ROOM);
    op.size = wanted < room ? wanted : room;
    op.is_keep_size = rng_chance(&w->rng, 50);
    rng_fill(&w->rng, w->data, op.size);
    op.data = w->data;
    return op;
}

/* --- the file --------------------------------------------------------------------------------------------------- */

static pcv_file *open_backing(const struct world *w, int fd, bool is_writable)
{
    char path[64];
    pcv_file *file;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, (is_writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    CHECK(own >= 0);
    CHECK(pcv_file_new(w->policy, own, is_writable, "some/path", &file) == 0);
    return file;
}

static void reopen(struct world *w, bool is_writable)
{
    pcv_file_unref(w->file);
    w->file = open_backing(w, w->fd, is_writable);
}

static void make_writable(struct world *w)
{
    if (pcv_file_is_writable(w->file))
        return;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", w->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && pcv_file_upgrade(w->file, fd) == 0 && pcv_file_is_writable(w->file));
}

static int run(struct world *w, const struct operation *op)
{
    uint64_t bad_block;
    switch (op->what) {
    case WRITE:
        return pcv_file_write(w->file, op->offset, op->data, op->size, w->scratch, &bad_block);
    case TRUNCATE:
        return pcv_file_truncate(w->file, op->size, w->scratch, &bad_block);
    default:
        return pcv_file_allocate(w->file, op->offset, op->size, op->is_keep_size, w->scratch, &bad_block);
    }
}

/* Read into a buffer of exactly the size that is asked for, so that the sanitizer sees every byte too many. */
static int read_into(const struct world *w, pcv_file *file, size_t offset, size_t size, uint8_t *out, size_t *got)
{
    uint64_t bad_block;
    uint8_t *exact = malloc(size + BS);
    CHECK(exact != NULL);
    int rc = pcv_file_read(file, offset, size, exact, got, w->scratch, &bad_block);
    if (rc == 0)
        memcpy(out, exact, *got);
    free(exact);
    return rc;
}

static size_t to_cipher_size(const struct world *w, size_t size)
{
    return size == 0 ? 0 : PCV_HEADER_SIZE + size + (size + BS - 1) / BS * (w->cipher_block - BS);
}

static void check_range(struct world *w, size_t offset, size_t size)
{
    uint8_t out[ROOM];
    size_t got, expected = offset >= w->model.size ? 0 : w->model.size - offset < size ? w->model.size - offset : size;
    CHECK(read_into(w, w->file, offset, size, out, &got) == 0);
    CHECK(got == expected && memcmp(out, w->model.data + offset, got) == 0);
}

/* Content, sizes, and nothing left in the slots. */
static void check_file(struct world *w)
{
    struct stat backing;
    uint64_t size;
    CHECK(fstat(w->fd, &backing) == 0 && (size_t)backing.st_size == to_cipher_size(w, w->model.size));
    CHECK(pcv_file_size(w->file, &size) == 0 && size == w->model.size);
    CHECK(pcv_file_plain_size(w->policy, (uint64_t)backing.st_size) == w->model.size);
    check_range(w, 0, ROOM);
    check_range(w, near_an_edge(&w->rng, ROOM), near_an_edge(&w->rng, ROOM));
    for (int slot = 0; w->area && slot < PCV_INTENT_SLOTS; slot++)
        CHECK(w->area[(size_t)slot * PCV_INTENT_SLOT_SIZE] == 0);
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

/* Go through the data as a program that copies sparse files does: what it skips must be zeros. */
static void check_holes(struct world *w)
{
    size_t position = 0;
    while (position < w->model.size) {
        uint64_t data, hole;
        int rc = pcv_file_seek(w->file, position, SEEK_DATA, &data);
        if (rc == -ENXIO)
            data = w->model.size;
        else
            CHECK(rc == 0 && data >= position && data < w->model.size);
        CHECK(is_zero(w->model.data + position, data - position));
        if (rc != 0)
            return;
        CHECK(pcv_file_seek(w->file, data, SEEK_HOLE, &hole) == 0 && hole > data && hole <= w->model.size);
        position = hole;
    }
    uint64_t result;
    CHECK(pcv_file_seek(w->file, w->model.size, SEEK_DATA, &result) == -ENXIO);
}

/* --- killed ----------------------------------------------------------------------------------------------------- */

static uint64_t in_slot(const uint8_t *slot, size_t offset)
{
    uint64_t value;
    memcpy(&value, slot + offset, sizeof value);
    return value;
}

enum { SLOT_OFFSET = 56, SLOT_SIZE_OF = 64, SLOT_FINAL_SIZE = 72, SLOT_FILE_ID = 88 }; /* see intents.py */

/* Every byte that is written must have been noted before, but for those that undo a failed write. */
static bool is_noted(const struct world *w, const uint8_t *data, size_t size, off_t offset)
{
    for (size_t i = 0; i < PCV_INTENT_SLOTS; i++) {
        const uint8_t *slot = w->area + i * PCV_INTENT_SLOT_SIZE;
        uint64_t start = in_slot(slot, SLOT_OFFSET), noted = in_slot(slot, SLOT_SIZE_OF);
        if (in_slot(slot, 0) == 1 && (uint64_t)offset >= start && (uint64_t)offset + size <= start + noted &&
            memcmp(slot + PCV_INTENT_HEAD + ((uint64_t)offset - start), data, size) == 0)
            return true;
    }
    return false;
}

static void observe(void *arg, enum call call, const uint8_t *data, size_t size, off_t offset)
{
    struct world *w = arg;
    if (call == CALL_PWRITE)
        CHECK(is_noted(w, data, size, offset) || faults_count() > 0);
    struct remains *r = &w->remains;
    if (!r->is_wanted || r->at-- > 0)
        return;
    r->is_wanted = false;
    r->is_there = true;
    ssize_t got = __real_pread(w->fd, r->file, sizeof r->file, 0);
    CHECK(got >= 0);
    r->size = (size_t)got;
    size_t part = size == 0 ? 0 : rng_below(&w->rng, size + 1); /* of a write, as far as it got */
    if (part > 0) {
        if ((size_t)offset > r->size)
            memset(r->file + r->size, 0, (size_t)offset - r->size);
        memcpy(r->file + offset, data, part);
        if ((size_t)offset + part > r->size)
            r->size = (size_t)offset + part;
    }
    memcpy(r->area, w->area, AREA_SIZE);
}

/* What the next mount does, and what it may find then. */
static void check_remains(struct world *w)
{
    struct remains *r = &w->remains;
    int fd = new_unlinked_file();
    CHECK(__real_pwrite(fd, r->file, r->size, 0) == (ssize_t)r->size);
    for (size_t i = 0; i < PCV_INTENT_SLOTS; i++) {
        const uint8_t *slot = r->area + i * PCV_INTENT_SLOT_SIZE;
        if (in_slot(slot, 0) != 1)
            continue;
        CHECK(r->size < PCV_HEADER_SIZE || is_zero(r->file, PCV_HEADER_SIZE) ||
              memcmp(r->file + PCV_HEADER_VERSION_SIZE, slot + SLOT_FILE_ID, PCV_FILE_ID_SIZE) == 0);
        size_t size = in_slot(slot, SLOT_SIZE_OF);
        CHECK(__real_pwrite(fd, slot + PCV_INTENT_HEAD, size, (off_t)in_slot(slot, SLOT_OFFSET)) == (ssize_t)size);
        if ((int64_t)in_slot(slot, SLOT_FINAL_SIZE) >= 0)
            CHECK(__real_ftruncate(fd, (off_t)in_slot(slot, SLOT_FINAL_SIZE)) == 0);
    }
    pcv_file *file = open_backing(w, fd, false);
    uint8_t out[ROOM];
    size_t got;
    CHECK(read_into(w, file, 0, ROOM, out, &got) == 0);
    bool is_before = got == w->before.size && memcmp(out, w->before.data, got) == 0;
    bool is_after = got == w->model.size && memcmp(out, w->model.data, got) == 0;
    resize(&w->before, (w->before.size + BS - 1) / BS * BS); /* the step between filling the last block and the rest */
    bool is_padded = w->model.size > w->before.size && got == w->before.size && memcmp(out, w->before.data, got) == 0;
    CHECK(is_before || is_after || is_padded);
    pcv_file_unref(file);
    close(fd);
    r->is_there = false;
}

/* --- failures --------------------------------------------------------------------------------------------------- */

static struct fault any_fault(struct world *w, const struct operation *op)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EFBIG, EINTR, EOPNOTSUPP};
    static const size_t parts[] = {0, 1, 17, 100, BS, BS + 100, 3 * BS};
    static const unsigned int calls[] = {CALL_PREAD, CALL_PWRITE, CALL_FTRUNCATE, CALL_FALLOCATE, CALLS_OF_CONTENT};
    struct fault fault = {
        .calls = calls[rng_below(&w->rng, 5)],
        .at = (unsigned int)rng_below(&w->rng, 6),
        .error = errors[rng_below(&w->rng, 6)],
        .part = parts[rng_below(&w->rng, 7)],
        .is_lasting = rng_chance(&w->rng, 25),
        .is_full_disk = rng_chance(&w->rng, 20),
    };
    if (fault.error == EINTR)
        fault.is_lasting = false; /* it would be tried for ever */
    if (fault.error == EOPNOTSUPP && (op->what == ALLOCATE || fault.calls != CALL_FALLOCATE))
        fault.error = EIO; /* a fact about the filesystem: reserving is given up, for all the rest of the test */
    if (fault.is_lasting) {
        fault.part = 0; /* the write that undoes it would tear as well */
        fault.calls &= ~(unsigned int)CALL_FTRUNCATE; /* cutting back is what everything rests on */
    }
    return fault;
}

/* One block of the file is what it was, what it should become, or (if allowed) unreadable. */
static void check_block(struct world *w, const struct model *after, size_t block, bool may_change, bool may_be_torn)
{
    uint8_t out[BS];
    size_t got, offset = block * BS;
    int rc = read_into(w, w->file, offset, BS, out, &got);
    CHECK(rc == 0 || (rc == -EBADMSG && may_be_torn));
    bool is_old = rc == 0 && memcmp(out, w->before.data + offset, got) == 0;
    bool is_new = rc == 0 && memcmp(out, after->data + offset, got) == 0;
    CHECK(is_old || rc != 0 || (is_new && may_change));
}

/* After an error the size is the old one, and each block is old or new. Where the disk itself failed and overwriting is
 * taken to be safe, those that were being overwritten may be unreadable. */
static void check_failed_operation(struct world *w, const struct operation *op, const struct fault *fault)
{
    struct model after = w->before;
    uint64_t size, reopened;
    CHECK(pcv_file_size(w->file, &size) == 0);
    reopen(w, true);
    CHECK(pcv_file_size(w->file, &reopened) == 0 && reopened == size);
    size_t padded = (w->before.size + BS - 1) / BS * BS;
    CHECK(size == w->before.size || (size == padded && fault->is_lasting)); /* undoing failed as well */
    apply(&after, op);
    resize(&after, ROOM);
    size_t end_block = w->before.size / BS, first = op->offset / BS, last = (op->offset + op->size) / BS;
    resize(&w->before, size);
    for (size_t block = 0; block * BS < size; block++) {
        bool is_overwritten = op->what == WRITE && block >= first && block <= last;
        bool is_padded = block == end_block && op->what != ALLOCATE;
        bool may_be_torn = w->prealloc == PCV_PREALLOC_ALL && (fault->calls & CALL_PWRITE);
        bool is_cut = block == end_block && fault->is_lasting; /* had grown; the write that makes it old again failed */
        check_block(w, &after, block, is_overwritten, is_cut || (may_be_torn && (is_overwritten || is_padded)));
    }
}

static void try_failing(struct world *w)
{
    struct operation op = any_operation(w);
    struct fault fault = any_fault(w, &op);
    struct model old = w->model;
    w->before = old;
    make_writable(w);
    faults_arm(&fault);
    int rc = run(w, &op);
    unsigned int failed = faults_disarm();
    if (rc == 0) {
        apply(&w->model, &op);
    } else {
        CHECK(failed > 0 && rc == -(fault.is_full_disk ? ENOSPC : fault.error));
        check_failed_operation(w, &op, &fault);
        if (read_into(w, w->file, 0, ROOM, w->before.data, &w->before.size) != 0) { /* torn, as is allowed there */
            uint64_t bad_block;
            w->before.size = 0;
            CHECK(pcv_file_truncate(w->file, 0, w->scratch, &bad_block) == 0);
        }
        w->model = w->before;
    }
    check_file(w);
}

/* --- all of it -------------------------------------------------------------------------------------------------- */

static struct world *new_world(uint64_t seed, int kind, int prealloc, bool has_intents)
{
    static const uint8_t boot_id[16] = {1};
    struct world *w = calloc(1, sizeof *w);
    CHECK(w != NULL);
    w->rng.state = seed;
    w->kind = kind;
    w->prealloc = prealloc;
    w->cipher_block = BS + overhead_of(kind);
    w->aead = new_aead(kind);
    if (has_intents) {
        w->area = calloc(1, AREA_SIZE);
        w->remains.area = malloc(AREA_SIZE);
        CHECK(w->area && w->remains.area);
        CHECK(pcv_intents_new(w->area, boot_id, 1, 2, &w->intents) == 0);
        faults_observe(observe, w);
    }
    CHECK(pcv_file_policy_new(w->aead, overhead_of(kind), w->intents, prealloc, false, &w->policy) == 0);
    CHECK(pcv_scratch_new(&w->scratch) == 0);
    w->fd = new_unlinked_file();
    w->file = open_backing(w, w->fd, true);
    return w;
}

static void free_world(struct world *w)
{
    faults_observe(NULL, NULL);
    pcv_file_unref(w->file);
    close(w->fd);
    pcv_scratch_free(w->scratch);
    pcv_file_policy_free(w->policy);
    pcv_intents_free(w->intents);
    pcv_aead_free(w->aead);
    free(w->area);
    free(w->remains.area);
    free(w);
}

static void step(struct world *w)
{
    switch (rng_below(&w->rng, 10)) {
    case 0:
        reopen(w, rng_chance(&w->rng, 50));
        break;
    case 1:
        check_holes(w);
        break;
    case 2:
        CHECK(pcv_file_sync(w->file, rng_chance(&w->rng, 50)) == 0);
        break;
    case 3:
    case 4:
    case 5:
        try_failing(w);
        break;
    default: {
        struct operation op = any_operation(w);
        w->before = w->model;
        if (w->area)
            w->remains =
                (struct remains){.is_wanted = true, .at = (unsigned int)rng_below(&w->rng, 5), .area = w->remains.area};
        make_writable(w);
        CHECK(run(w, &op) == 0);
        w->remains.is_wanted = false;
        apply(&w->model, &op);
        check_file(w);
        if (w->remains.is_there)
            check_remains(w);
    }
    }
}

/* A request of the largest size, at offsets that make it touch one block more than it has. */
static void test_largest_requests_come_back(uint64_t seed, int kind)
{
    struct world *w = new_world(seed, kind, PCV_PREALLOC_NEW, true);
    size_t got, size = PCV_FILE_IO_MAX;
    uint64_t bad_block;
    uint8_t *data = malloc(size), *out = malloc(size + BS);
    CHECK(data && out);
    rng_fill(&w->rng, data, size);
    for (size_t offset = 0; offset < BS; offset += BS / 2 - 1) {
        CHECK(pcv_file_write(w->file, offset, data, size, w->scratch, &bad_block) == 0);
        CHECK(pcv_file_read(w->file, offset, size, out, &got, w->scratch, &bad_block) == 0);
        CHECK(got == size && memcmp(data, out, size) == 0);
    }
    CHECK(pcv_file_write(w->file, 0, data, size + 1, w->scratch, &bad_block) == -EINVAL);
    CHECK(pcv_file_read(w->file, 0, size + 1, out, &got, w->scratch, &bad_block) == -EINVAL && got == 0);
    free(data);
    free(out);
    free_world(w);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    unsigned int rounds = 150;
    check_arguments(argc, argv, &seed, &rounds);
    unsigned int fds = count_fds();
    for (size_t i = 0; i < 3; i++) {
        test_largest_requests_come_back(seed, KINDS[i]);
        for (int prealloc = PCV_PREALLOC_OFF; prealloc <= PCV_PREALLOC_ALL; prealloc++) {
            struct world *w = new_world(seed++, KINDS[i], prealloc, prealloc != PCV_PREALLOC_OFF || i == 0);
            for (unsigned int round = 0; round < rounds; round++)
                step(w);
            free_world(w);
        }
    }
    CHECK(count_fds() == fds);
    return 0;
}
