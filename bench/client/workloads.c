#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- content: noise, and a stamp on every page that says which file and offset it belongs to ---------------------- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

static uint64_t stamp_of(uint64_t file, uint64_t offset)
{
    return mix((file << 44) + offset + 0x9e3779b97f4a7c15U);
}

static char *new_buffer(size_t size)
{
    size_t rounded = (size + PAGE - 1) / PAGE * PAGE;
    char *buffer = aligned_alloc(PAGE, rounded);
    if (buffer == NULL)
        die("no memory for %zu bytes", size);
    for (size_t i = 0; i < rounded; i += sizeof(uint64_t)) {
        uint64_t word = mix(i + 1);
        memcpy(buffer + i, &word, sizeof word);
    }
    return buffer;
}

static void stamp(char *buffer, size_t size, uint64_t file, uint64_t offset)
{
    for (size_t i = 0; i + sizeof(uint64_t) <= size; i += PAGE) {
        uint64_t word = stamp_of(file, offset + i);
        memcpy(buffer + i, &word, sizeof word);
    }
}

static void check(const char *buffer, size_t size, uint64_t file, uint64_t offset, const char *path)
{
    for (size_t i = 0; i + sizeof(uint64_t) <= size; i += PAGE) {
        uint64_t word;
        memcpy(&word, buffer + i, sizeof word);
        if (word != stamp_of(file, offset + i)) {
            errno = EBADMSG;
            die("%s: wrong content at %llu", path, (unsigned long long)(offset + i));
        }
    }
}

/* --- system calls that must not fail or come up short --------------------------------------------------------------- */

static int must_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0644);
    if (fd < 0)
        die("open %s", path);
    return fd;
}

static void must_write(int fd, const char *data, size_t size, const char *path)
{
    if (write(fd, data, size) != (ssize_t)size)
        die("write %s", path);
}

static void must_fsync(int fd, const char *path)
{
    if (fsync(fd) != 0)
        die("fsync %s", path);
}

static void must_close(int fd, const char *path)
{
    if (close(fd) != 0)
        die("close %s", path);
}

static void note_latency(struct tally *tally, uint64_t since_ns)
{
    uint64_t took = now_ns() - since_ns;
    if (tally->n_latencies < MAX_LATENCIES)
        tally->latencies_ns[tally->n_latencies++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
}

/* The file of this client among those of its fellows. */
static const char *own_path(const struct client *client)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.%u", client->args[0], client->index);
    return path;
}

static void make_buffer(struct client *client)
{
    client->state = new_buffer(parse_size(client->args[2]));
}

/* --- one large file: NAME BYTES CALL [COUNT] ------------------------------------------------------------------------ */

static void run_write(struct client *client)
{
    const char *path = own_path(client);
    size_t call = parse_size(client->args[2]);
    uint64_t size = parse_size(client->args[1]) / call * call;
    int fd = must_open(path, O_WRONLY | O_CREAT | O_TRUNC);
    for (uint64_t offset = 0; offset < size; offset += call) {
        stamp(client->state, call, client->index, offset);
        must_write(fd, client->state, call, path);
        client->tally->ops++;
    }
    must_fsync(fd, path);
    must_close(fd, path);
    client->tally->bytes = size;
}

static void run_read(struct client *client)
{
    const char *path = own_path(client);
    size_t call = parse_size(client->args[2]);
    uint64_t size = parse_size(client->args[1]) / call * call;
    int fd = must_open(path, O_RDONLY);
    for (uint64_t offset = 0; offset < size; offset += call) {
        if (read(fd, client->state, call) != (ssize_t)call)
            die("read %s", path);
        check(client->state, call, client->index, offset, path);
        client->tally->ops++;
    }
    must_close(fd, path);
    client->tally->bytes = size;
}

/* The page numbers below n, each at most once, in an order no read-ahead can guess. */
static uint64_t next_page(uint64_t *state, uint64_t n)
{
    uint64_t mask = 1;
    while (mask < n)
        mask = mask * 2;
    mask--;
    do
        *state = (*state * 0x5851f42d4c957f2dU + 0x14057b7ef767814fU) & mask; /* full period: c odd, a = 1 mod 4 */
    while (*state >= n);
    return *state;
}

static void random_access(struct client *client, int is_write)
{
    const char *path = own_path(client);
    uint64_t pages = parse_size(client->args[1]) / PAGE, count = parse_size(client->args[3]);
    size_t call = parse_size(client->args[2]);
    uint64_t state = mix(client->index + 1) % pages;
    int fd = must_open(path, is_write ? O_WRONLY : O_RDONLY);
    if (posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM) != 0) /* as databases and fio do: nothing but what is asked for */
        die("fadvise %s", path);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t offset = next_page(&state, pages) * PAGE;
        if (is_write)
            stamp(client->state, call, client->index, offset);
        uint64_t start = now_ns();
        ssize_t done =
            is_write ? pwrite(fd, client->state, call, (off_t)offset) : pread(fd, client->state, call, (off_t)offset);
        if (done != (ssize_t)call)
            die("%s %s", is_write ? "pwrite" : "pread", path);
        note_latency(client->tally, start);
        if (!is_write)
            check(client->state, call, client->index, offset, path);
    }
    if (is_write)
        must_fsync(fd, path);
    must_close(fd, path);
    client->tally->ops = count;
    client->tally->bytes = count * call;
}

static void run_random_read(struct client *client)
{
    random_access(client, 0);
}

static void run_random_write(struct client *client)
{
    random_access(client, 1);
}

/* NAME BYTES CALL */
static void run_append(struct client *client)
{
    const char *path = own_path(client);
    size_t call = parse_size(client->args[2]);
    uint64_t size = parse_size(client->args[1]) / call * call;
    int fd = must_open(path, O_WRONLY | O_CREAT | O_APPEND);
    for (uint64_t offset = 0; offset < size; offset += call) {
        stamp(client->state, call, client->index, offset);
        uint64_t start = now_ns();
        must_write(fd, client->state, call, path);
        must_fsync(fd, path);
        note_latency(client->tally, start);
        client->tally->ops++;
    }
    must_close(fd, path);
    client->tally->bytes = size;
}

/* --- many small files: DIR COUNT SIZE ------------------------------------------------------------------------------- */

static const char *small_dir(const struct client *client, uint64_t file)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.%u/dir-%05llu", client->args[0], client->index,
             (unsigned long long)(file / FILES_PER_DIR));
    return path;
}

static const char *small_file(const struct client *client, uint64_t file)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s.%u/dir-%05llu/file-%07llu.txt", client->args[0], client->index,
             (unsigned long long)(file / FILES_PER_DIR), (unsigned long long)file);
    return path;
}

static void must_mkdir(const char *path)
{
    if (mkdir(path, 0755) != 0)
        die("mkdir %s", path);
}

static void run_create(struct client *client)
{
    uint64_t count = parse_size(client->args[1]);
    size_t size = parse_size(client->args[2]);
    must_mkdir(own_path(client));
    for (uint64_t i = 0; i < count; i++) {
        if (i % FILES_PER_DIR == 0)
            must_mkdir(small_dir(client, i));
        const char *path = small_file(client, i);
        int fd = must_open(path, O_WRONLY | O_CREAT | O_EXCL);
        if (size > 0) {
            stamp(client->state, size, i, 0);
            must_write(fd, client->state, size, path);
        }
        must_close(fd, path);
    }
    client->tally->ops = count;
    client->tally->bytes = count * size;
}

static void run_read_files(struct client *client)
{
    uint64_t count = parse_size(client->args[1]);
    size_t size = parse_size(client->args[2]);
    for (uint64_t i = 0; i < count; i++) {
        const char *path = small_file(client, i);
        int fd = must_open(path, O_RDONLY);
        /* One byte more is asked for, as every program does that reads to the end. */
        if (read(fd, client->state, size + 1) != (ssize_t)size)
            die("read %s", path);
        check(client->state, size, i, 0, path);
        must_close(fd, path);
    }
    client->tally->ops = count;
    client->tally->bytes = count * size;
}

static void make_read_buffer(struct client *client)
{
    client->state = new_buffer(parse_size(client->args[2]) + 1);
}

static void run_stat_files(struct client *client)
{
    uint64_t count = parse_size(client->args[1]);
    struct stat st;
    for (uint64_t i = 0; i < count; i++)
        if (lstat(small_file(client, i), &st) != 0)
            die("lstat %s", small_file(client, i));
    client->tally->ops = count;
}

static void run_delete(struct client *client)
{
    uint64_t count = parse_size(client->args[1]);
    for (uint64_t i = 0; i < count; i++) {
        if (unlink(small_file(client, i)) != 0)
            die("unlink %s", small_file(client, i));
        if ((i + 1 == count || (i + 1) % FILES_PER_DIR == 0) && rmdir(small_dir(client, i)) != 0)
            die("rmdir %s", small_dir(client, i));
    }
    if (rmdir(own_path(client)) != 0)
        die("rmdir %s", own_path(client));
    client->tally->ops = count;
}

/* --- a tree: every entry gets a new name ---------------------------------------------------------------------------- */

static char **found;
static size_t n_found;

static int note_entry(const char *path, const struct stat *st, int type, struct FTW *position)
{
    (void)st, (void)type;
    if (position->level == 0)
        return 0; /* the top keeps its name, so that the next workload finds it */
    if (n_found % 4096 == 0 && (found = realloc(found, (n_found + 4096) * sizeof *found)) == NULL)
        die("no memory");
    if ((found[n_found++] = strdup(path)) == NULL)
        die("no memory");
    return 0;
}

static void prepare_rename(struct client *client)
{
    if (nftw(client->args[0], note_entry, 64, FTW_DEPTH | FTW_PHYS) != 0)
        die("walk %s", client->args[0]);
}

/* Depth first, so that the paths noted before stay true until it is their turn. */
static void run_rename(struct client *client)
{
    static char target[PATH_MAX];
    for (size_t i = 0; i < n_found; i++) {
        snprintf(target, sizeof target, "%s~", found[i]);
        if (rename(found[i], target) != 0)
            die("rename %s", found[i]);
    }
    client->tally->ops = n_found;
}

/* --- any program ---------------------------------------------------------------------------------------------------- */

static void run_exec(struct client *client)
{
    int null = must_open("/dev/null", O_WRONLY);
    if (dup2(null, STDOUT_FILENO) < 0)
        die("dup2");
    execvp(client->args[0], client->args);
    die("exec %s", client->args[0]);
}

static void run_nothing(struct client *client)
{
    (void)client;
}

const struct workload workloads[] = {
    {"write", 3, "NAME BYTES CALL: write a new file, fsync, close", make_buffer, run_write},
    {"read", 3, "NAME BYTES CALL: read it from start to end", make_buffer, run_read},
    {"randread", 4, "NAME BYTES CALL COUNT: read at random pages, no page twice", make_buffer, run_random_read},
    {"randwrite", 4, "NAME BYTES CALL COUNT: overwrite random pages, fsync, close", make_buffer, run_random_write},
    {"append", 3, "NAME BYTES CALL: append, fsync after each call", make_buffer, run_append},
    {"create", 3, "DIR COUNT SIZE: make files, 500 to a directory", make_buffer, run_create},
    {"readfiles", 3, "DIR COUNT SIZE: open, read, close each", make_read_buffer, run_read_files},
    {"statfiles", 3, "DIR COUNT SIZE: lstat each", NULL, run_stat_files},
    {"delete", 3, "DIR COUNT SIZE: unlink each, rmdir the directories", NULL, run_delete},
    {"rename", 1, "DIR: give every entry below it a new name, one by one", prepare_rename, run_rename},
    {"exec", -1, "PROGRAM ARGS...: run it, its output thrown away", NULL, run_exec},
    {"sync", 0, "nothing but what --sync and --drop-caches ask for", NULL, run_nothing},
    {NULL, 0, NULL, NULL, NULL},
};
