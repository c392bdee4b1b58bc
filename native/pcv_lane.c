#include "pcv_lane.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "pcv_cpu.h"
#include "pcv_serve.h"

/* The largest message from the kernel: a write of 1 MiB with its headers. */
#define MESSAGE_ROOM (PCV_FILE_IO_MAX + 2 * PCV_BLOCK_SIZE)
/* From libfuse: values of attributes are the largest. */
#define REPLY_ROOM (128 << 10)
#define JOBS (PCV_LANE_WORKERS_MAX + 4)
#define LARGE_IO (64 << 10)   /* reads and writes from here on are worth handing to a worker */
#define SLOW_SYNC_US 200      /* a disk that syncs faster than this is not worth waking a worker for */
#define CORRUPT_RING 64

struct job {
    struct job *next;
    pcv_file *file; /* counted; NULL until known. Set by the main thread */
    int dir_fd;     /* to sync, owned; or -1 */
    size_t size;
    uint8_t *message; /* MESSAGE_ROOM, starts with fuse_in_header */
};

/* A sync for a worker to do. Without a message: any number of them may wait for a slow disk. */
struct sync {
    struct sync *next;
    uint64_t unique;
    pcv_file *file; /* counted, or NULL: a directory */
    int dir_fd;     /* owned, or -1 */
    bool is_data_only;
};

struct worker {
    pthread_t thread;
    struct pcv_lane *lane;
    struct pcv_server server;
};

struct corrupt {
    uint64_t node, block;
};

struct pcv_lane {
    struct pcv_lane_options options;
    int dev;
    int sock;      /* our end; libfuse has the other */
    int wake;      /* eventfd: stop, or a worker has something to report */
    pcv_tree *tree; /* main thread only */
    struct pcv_cpu cpu; /* main thread only */
    struct pcv_server server; /* main thread's */

    /* main thread only */
    struct job *parked; /* waits for its file */
    uint64_t event_node, event_value;
    char event_name[PCV_NAME_MAX + 1];
    uint8_t *reply;     /* from libfuse, REPLY_ROOM */
    uint64_t init_unique; /* of the one under way, else 0 */
    uint64_t init_offered; /* what the kernel can do */
    bool has_writeback; /* the kernel may hold data that we have not seen */
    unsigned int spin_score; /* 0 .. 8: how often polling paid lately */
    unsigned int spin_turn;

    /* counted by the main thread, read by any */
    _Atomic uint64_t served, forwarded, need_file, stolen, spin_hits, spin_misses;

    atomic_bool is_stopping;
    atomic_uint sync_us; /* how long a sync took lately */

    pthread_mutex_t lock; /* guards what follows; no lock is taken under it */
    pthread_cond_t queued;
    pthread_cond_t returned; /* a job is spare again; for the main thread */
    struct sync *syncs, **syncs_end; /* for workers alone: they may take long */
    struct job *queue, **queue_end; /* large reads and writes, which the main thread takes back if it has time */
    atomic_uint queue_size; /* changed under the lock, read without */
    struct job *spare;
    unsigned int spare_count;
    unsigned int idle_workers;
    struct corrupt corrupt[CORRUPT_RING];
    atomic_uint corrupt_count; /* changed under the lock, read without */
    bool is_ending;

    int worker_count;
    struct worker workers[PCV_LANE_WORKERS_MAX];
    struct job jobs[JOBS];
};

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void count(_Atomic uint64_t *what)
{
    atomic_fetch_add_explicit(what, 1, memory_order_relaxed);
}

/* --- jobs ------------------------------------------------------------------------------------------------------- */

static struct job *take_spare(pcv_lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    struct job *job = lane->spare;
    if (job) {
        lane->spare = job->next;
        lane->spare_count--;
    }
    pthread_mutex_unlock(&lane->lock);
    return job;
}

static void give_back(pcv_lane *lane, struct job *job)
{
    pcv_file *file = job->file;
    int dir_fd = job->dir_fd;
    pthread_mutex_lock(&lane->lock);
    job->file = NULL;
    job->dir_fd = -1;
    job->next = lane->spare;
    lane->spare = job;
    lane->spare_count++;
    pthread_cond_signal(&lane->returned);
    pthread_mutex_unlock(&lane->lock);
    pcv_file_unref(file);
    if (dir_fd >= 0)
        close(dir_fd);
}

static bool has_queued(pcv_lane *lane)
{
    return atomic_load_explicit(&lane->queue_size, memory_order_relaxed) > 0;
}

/* A worker is woken only if there is more than the main thread can take back: if nothing else comes at once, it does. */
static void enqueue(pcv_lane *lane, struct job *job)
{
    pthread_mutex_lock(&lane->lock);
    job->next = NULL;
    *lane->queue_end = job;
    lane->queue_end = &job->next;
    unsigned int before = atomic_fetch_add_explicit(&lane->queue_size, 1, memory_order_relaxed);
    if (before > 0 && lane->idle_workers > 0)
        pthread_cond_signal(&lane->queued);
    pthread_mutex_unlock(&lane->lock);
}

/* The main thread is about to do something else: what it left for itself goes to a worker. */
static void hand_over_queue(pcv_lane *lane)
{
    if (!has_queued(lane))
        return;
    pthread_mutex_lock(&lane->lock);
    if (lane->idle_workers > 0)
        pthread_cond_signal(&lane->queued);
    pthread_mutex_unlock(&lane->lock);
}

static struct job *dequeue_locked(pcv_lane *lane)
{
    struct job *job = lane->queue;
    if (job) {
        lane->queue = job->next;
        atomic_fetch_sub_explicit(&lane->queue_size, 1, memory_order_relaxed);
        if (!lane->queue)
            lane->queue_end = &lane->queue;
    }
    return job;
}

static struct sync *dequeue_sync_locked(pcv_lane *lane)
{
    struct sync *sync = lane->syncs;
    if (sync) {
        lane->syncs = sync->next;
        if (!lane->syncs)
            lane->syncs_end = &lane->syncs;
    }
    return sync;
}

static struct job *dequeue(pcv_lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    struct job *job = dequeue_locked(lane);
    pthread_mutex_unlock(&lane->lock);
    return job;
}

static const struct fuse_in_header *header_of(const struct job *job)
{
    return (const struct fuse_in_header *)(const void *)job->message;
}

static void wake_main(pcv_lane *lane)
{
    uint64_t one = 1;
    (void)!write(lane->wake, &one, sizeof one);
}

/* Serve a job whose file is known. */
static void run(pcv_lane *lane, struct pcv_server *server, struct job *job)
{
    const struct fuse_in_header *in = header_of(job);
    if (pcv_serve(server, in, job->file)) {
        pthread_mutex_lock(&lane->lock);
        unsigned int found = atomic_load(&lane->corrupt_count);
        if (found < CORRUPT_RING) {
            lane->corrupt[found] = (struct corrupt){in->nodeid, server->bad_block};
            atomic_store(&lane->corrupt_count, found + 1);
        }
        pthread_mutex_unlock(&lane->lock);
        wake_main(lane);
    }
    give_back(lane, job);
}

/* Every buffer is with a worker, or a file is in use by one: help them, or wait until one is done. */
static void help_locked(pcv_lane *lane)
{
    struct job *queued = dequeue_locked(lane);
    if (!queued) {
        pthread_cond_wait(&lane->returned, &lane->lock);
        return;
    }
    pthread_mutex_unlock(&lane->lock);
    run(lane, &lane->server, queued);
    pthread_mutex_lock(&lane->lock);
}

static bool is_used_locked(const pcv_lane *lane, const pcv_file *file)
{
    for (int i = 0; i < JOBS; i++) {
        if (lane->jobs[i].file == file)
            return true;
    }
    return false;
}

/* A file is about to be closed, and whoever opens it anew must find it as the requests under way leave it. A sync goes
 * on: it has a reference of its own. */
static void wait_for_users(void *context, pcv_file *file)
{
    pcv_lane *lane = context;
    pthread_mutex_lock(&lane->lock);
    while (is_used_locked(lane, file))
        help_locked(lane);
    pthread_mutex_unlock(&lane->lock);
}

/* --- syncs ------------------------------------------------------------------------------------------------------ */

static void let_go(const struct sync *sync)
{
    pcv_file_unref(sync->file);
    if (sync->dir_fd >= 0)
        close(sync->dir_fd);
}

static void do_sync(pcv_lane *lane, const struct sync *sync)
{
    uint64_t start = now_us();
    int rc = 0;
    if (sync->file)
        rc = pcv_file_sync(sync->file, sync->is_data_only);
    else if (fsync(sync->dir_fd) != 0)
        rc = -errno;
    pcv_reply_error(lane->dev, sync->unique, -rc);
    uint64_t took = now_us() - start;
    unsigned int before = atomic_load_explicit(&lane->sync_us, memory_order_relaxed);
    unsigned int latest = took > 1000000 ? 1000000 : (unsigned int)took;
    atomic_store_explicit(&lane->sync_us, (3 * before + latest) / 4, memory_order_relaxed);
    let_go(sync);
}

/* A disk that syncs fast is not worth waking a worker for; any other must not hold up the rest. */
static void run_sync(pcv_lane *lane, struct job *job)
{
    const struct fuse_in_header *in = header_of(job);
    const struct fuse_fsync_in *body = (const struct fuse_fsync_in *)(const void *)(in + 1);
    struct sync sync = {.unique = in->unique, .file = job->file, .dir_fd = job->dir_fd};
    sync.is_data_only = job->file && (body->fsync_flags & FUSE_FSYNC_FDATASYNC);
    job->file = NULL;
    job->dir_fd = -1;
    give_back(lane, job);
    bool is_slow = atomic_load_explicit(&lane->sync_us, memory_order_relaxed) > SLOW_SYNC_US;
    struct sync *queued = is_slow ? malloc(sizeof *queued) : NULL;
    if (!queued) {
        do_sync(lane, &sync);
        return;
    }
    *queued = sync;
    pthread_mutex_lock(&lane->lock);
    *lane->syncs_end = queued;
    lane->syncs_end = &queued->next;
    pthread_cond_signal(&lane->queued);
    pthread_mutex_unlock(&lane->lock);
}

/* --- workers ---------------------------------------------------------------------------------------------------- */

static void *work(void *arg)
{
    struct worker *self = arg;
    pcv_lane *lane = self->lane;
    pthread_mutex_lock(&lane->lock);
    while (!lane->is_ending) {
        struct sync *sync = dequeue_sync_locked(lane);
        struct job *job = sync ? NULL : dequeue_locked(lane);
        if (!sync && !job) {
            lane->idle_workers++;
            pthread_cond_wait(&lane->queued, &lane->lock);
            lane->idle_workers--;
            continue;
        }
        pthread_mutex_unlock(&lane->lock);
        if (sync)
            do_sync(lane, sync);
        else
            run(lane, &self->server, job);
        free(sync);
        pthread_mutex_lock(&lane->lock);
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

/* What goes through it is small: the largest message is an attribute of 64 KiB with its headers. */
static int make_sockets(pcv_lane *lane, int *python_fd)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -errno;
    lane->sock = pair[0];
    *python_fd = pair[1];
    return 0;
}

static int start_workers(pcv_lane *lane)
{
    for (int i = 0; i < lane->options.workers; i++) {
        struct worker *worker = &lane->workers[i];
        worker->lane = lane;
        int rc = pcv_server_init(&worker->server, lane->dev, &lane->tree->options);
        if (rc == 0 && (rc = -pthread_create(&worker->thread, NULL, work, worker)) != 0)
            pcv_server_destroy(&worker->server);
        if (rc != 0)
            return rc;
        lane->worker_count++;
    }
    return 0;
}

int pcv_lane_new(const struct pcv_lane_options *options, pcv_tree *tree, pcv_lane **out, int *python_fd)
{
    if (options->workers < 1 || options->workers > PCV_LANE_WORKERS_MAX)
        return -EINVAL;
    pcv_lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return -ENOMEM;
    lane->options = *options;
    lane->dev = options->dev_fd;
    lane->sock = lane->wake = -1;
    lane->queue_end = &lane->queue;
    lane->syncs_end = &lane->syncs;
    lane->spin_score = 8;
    lane->sync_us = SLOW_SYNC_US + 1; /* until proven otherwise */
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->queued, NULL);
    pthread_cond_init(&lane->returned, NULL);
    lane->tree = tree;
    tree->dev_fd = options->dev_fd;
    pcv_cpu_init(&lane->cpu);
    int rc = 0;
    for (int i = 0; i < JOBS; i++)
        lane->jobs[i].dir_fd = -1;
    for (int i = 0; rc == 0 && i < JOBS; i++) {
        if (posix_memalign((void **)&lane->jobs[i].message, PCV_BLOCK_SIZE, MESSAGE_ROOM) != 0)
            rc = -ENOMEM;
        else
            give_back(lane, &lane->jobs[i]);
    }
    lane->reply = malloc(REPLY_ROOM);
    if (rc == 0 && !lane->reply)
        rc = -ENOMEM;
    if (rc == 0 && (lane->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        rc = -errno;
    if (rc == 0 && fcntl(lane->dev, F_SETFL, O_NONBLOCK) != 0)
        rc = -errno;
    if (rc == 0)
        rc = pcv_server_init(&lane->server, lane->dev, &lane->tree->options);
    if (rc == 0)
        rc = make_sockets(lane, python_fd);
    if (rc == 0 && (rc = start_workers(lane)) != 0)
        close(*python_fd);
    if (rc != 0) {
        pcv_lane_free(lane);
        return rc;
    }
    tree->before_close = wait_for_users;
    tree->context = lane;
    *out = lane;
    return 0;
}

void pcv_lane_free(pcv_lane *lane)
{
    if (!lane)
        return;
    pthread_mutex_lock(&lane->lock);
    lane->is_ending = true;
    pthread_cond_broadcast(&lane->queued);
    pthread_mutex_unlock(&lane->lock);
    for (int i = 0; i < lane->worker_count; i++) {
        pthread_join(lane->workers[i].thread, NULL);
        pcv_server_destroy(&lane->workers[i].server);
    }
    for (struct sync *sync; (sync = dequeue_sync_locked(lane)) != NULL; free(sync))
        let_go(sync);
    for (int i = 0; i < JOBS; i++) {
        pcv_file_unref(lane->jobs[i].file);
        if (lane->jobs[i].dir_fd >= 0)
            close(lane->jobs[i].dir_fd);
        free(lane->jobs[i].message);
    }
    lane->tree->before_close = NULL;
    pcv_server_destroy(&lane->server);
    if (lane->sock >= 0)
        close(lane->sock);
    if (lane->wake >= 0)
        close(lane->wake);
    free(lane->reply);
    pthread_cond_destroy(&lane->returned);
    pthread_cond_destroy(&lane->queued);
    pthread_mutex_destroy(&lane->lock);
    free(lane);
}

void pcv_lane_stop(pcv_lane *lane)
{
    atomic_store(&lane->is_stopping, true);
    wake_main(lane);
}

/* --- replies of libfuse ----------------------------------------------------------------------------------------- */

/* libfuse decides on most of INIT; the lane adds what pyfuse3 has no switch for and takes out what it rules out. */
static void amend_init_reply(pcv_lane *lane, uint8_t *message, size_t size)
{
    struct fuse_out_header *out = (struct fuse_out_header *)(void *)message;
    struct fuse_init_out *init = (struct fuse_init_out *)(void *)(out + 1);
    if (out->error != 0 || size < sizeof *out + sizeof *init)
        return;
    uint32_t offered = (uint32_t)lane->init_offered;
    /* O_TRUNC comes as a SETATTR: there is no OPEN. */
    init->flags &= ~(uint32_t)(FUSE_ATOMIC_O_TRUNC | FUSE_SPLICE_READ | FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE);
    init->flags |= offered & (FUSE_HANDLE_KILLPRIV_V2 | FUSE_PARALLEL_DIROPS | FUSE_ASYNC_READ);
    init->flags |= offered & FUSE_CACHE_SYMLINKS; /* nobody else changes the cipherdir */
    lane->has_writeback = (init->flags & FUSE_WRITEBACK_CACHE) != 0;
    init->max_background = 64;
    init->congestion_threshold = 48;
}

/* Pass on everything that libfuse has written since. */
static int pass_replies(pcv_lane *lane)
{
    for (;;) {
        ssize_t size = recv(lane->sock, lane->reply, REPLY_ROOM, MSG_DONTWAIT);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return errno == EAGAIN ? 0 : -errno;
        if ((size_t)size < sizeof(struct fuse_out_header))
            return size == 0 ? -EPIPE : -EPROTO;
        uint64_t unique = ((struct fuse_out_header *)(void *)lane->reply)->unique;
        if (unique != 0 && unique == lane->init_unique) {
            lane->init_unique = 0;
            amend_init_reply(lane, lane->reply, (size_t)size);
        }
        /* ENOENT: the request was aborted. Errors of notifications go nowhere, as they would without us. */
        while (write(lane->dev, lane->reply, (size_t)size) < 0 && errno == EINTR)
            ;
    }
}

/* --- requests --------------------------------------------------------------------------------------------------- */

static bool has_reply(const struct fuse_in_header *in)
{
    return in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET && in->opcode != FUSE_INTERRUPT;
}

/* Hand a message to libfuse. Python may change anything. */
static int forward(pcv_lane *lane, struct job *job)
{
    struct fuse_in_header *in = (struct fuse_in_header *)(void *)job->message;
    if (in->opcode == FUSE_INIT) {
        struct fuse_init_in *init = (struct fuse_init_in *)(void *)(in + 1);
        lane->init_unique = in->unique;
        lane->init_offered = init->flags;
        init->flags &= ~(uint32_t)(FUSE_SPLICE_READ | FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE);
    }
    pcv_tree_changed(lane->tree);
    ssize_t sent;
    do {
        sent = send(lane->sock, job->message, job->size, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        give_back(lane, job);
        count(&lane->forwarded);
        return PCV_LANE_REQUEST;
    }
    int error = errno;
    if (has_reply(in))
        pcv_reply_error(lane->dev, in->unique, EIO);
    give_back(lane, job);
    return error == EPIPE || error == ECONNRESET ? -error : 0; /* else it is about this message, or passes */
}

/* The kernel keeps listings from then on, and asks for them by node id. Before Linux 5.1 it needs to be told so each
 * time. */
static void answer_opendir(pcv_lane *lane, const struct fuse_in_header *in)
{
    if (lane->init_offered & FUSE_NO_OPENDIR_SUPPORT) {
        pcv_reply_error(lane->dev, in->unique, ENOSYS);
        return;
    }
    struct fuse_open_out out = {.open_flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE};
    pcv_reply(lane->dev, in->unique, &out, sizeof out);
}

/* The kernel does not write back before it asks where data is, so we might call a hole what it holds data for, and
 * whoever copies would leave that out. Then it had better not ask: to itself, all of a file is data. */
static bool answer_lseek(pcv_lane *lane, const struct fuse_in_header *in)
{
    if (lane->has_writeback)
        pcv_reply_error(lane->dev, in->unique, ENOSYS);
    return lane->has_writeback;
}

/* What needs no look at anything. True if it was answered. */
static bool answer(pcv_lane *lane, const struct fuse_in_header *in)
{
    switch (in->opcode) {
    case FUSE_LSEEK:
        return answer_lseek(lane, in);
    case FUSE_OPEN: /* none needed: the kernel stops asking, and keeps its cache over opens */
    case FUSE_FLUSH:
        pcv_reply_error(lane->dev, in->unique, ENOSYS);
        return true;
    case FUSE_OPENDIR:
        answer_opendir(lane, in);
        return true;
    case FUSE_RELEASE: /* of what was opened before the first answer */
    case FUSE_RELEASEDIR:
        pcv_reply_error(lane->dev, in->unique, 0);
        return true;
    case FUSE_INTERRUPT: /* nothing we do is worth interrupting; no reply is due */
        return true;
    default:
        return false;
    }
}

/* A directory to sync gets a descriptor of its own, since the cached one may be closed meanwhile. */
static int sync_dir(pcv_lane *lane, struct job *job)
{
    const struct fuse_in_header *in = header_of(job);
    pcv_inode *dir = pcv_inodes_get(lane->tree->inodes, in->nodeid);
    int fd = dir ? pcv_dirs_fd(&lane->tree->dirs, dir) : -ESTALE;
    if (fd >= 0 && (fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        fd = -errno;
    if (fd < 0) {
        pcv_reply_error(lane->dev, in->unique, -fd);
        give_back(lane, job);
    } else {
        job->dir_fd = fd;
        run_sync(lane, job);
    }
    return 0;
}

static bool is_large(const struct fuse_in_header *in)
{
    return (in->opcode == FUSE_READ || in->opcode == FUSE_WRITE) &&
           ((const struct fuse_read_in *)(const void *)(in + 1))->size >= LARGE_IO;
}

/* Serve a request that needs a file, or park it until Python has opened that. */
static int serve_file(pcv_lane *lane, struct job *job)
{
    const struct fuse_in_header *in = header_of(job);
    bool must_write = pcv_needs_writable(in);
    pcv_inode *inode = pcv_inodes_get(lane->tree->inodes, in->nodeid);
    if (!inode || inode->type != S_IFREG) {
        pcv_reply_error(lane->dev, in->unique, !inode ? ESTALE : inode->type == S_IFDIR ? EISDIR : EINVAL);
        give_back(lane, job);
        return 0;
    }
    if (pcv_tree_open(lane->tree, inode, must_write) != 0) {
        count(&lane->need_file);
        lane->parked = job;
        lane->event_node = in->nodeid;
        lane->event_value = must_write;
        return PCV_LANE_NEED_FILE;
    }
    job->file = pcv_file_ref(inode->file);
    if (in->opcode == FUSE_FSYNC)
        run_sync(lane, job);
    else if (is_large(in))
        enqueue(lane, job);
    else
        run(lane, &lane->server, job);
    return 0;
}

/* Serve, queue, forward or park a message. 0 to go on, else an event or -errno. */
static int dispatch(pcv_lane *lane, struct job *job)
{
    const struct fuse_in_header *in = header_of(job);
    pcv_cpu_saw(&lane->cpu, in->pid, !is_large(in));
    bool is_done = answer(lane, in) || pcv_tree_serve(lane->tree, in, job->size);
    bool is_file = !is_done && pcv_is_served(in, job->size);
    if (!is_done && !is_file && in->opcode != FUSE_FSYNCDIR)
        return forward(lane, job);
    count(&lane->served);
    int rc = 0;
    if (is_done)
        give_back(lane, job);
    else
        rc = is_file ? serve_file(lane, job) : sync_dir(lane, job);
    pcv_tree_trim(lane->tree);
    return rc;
}

/* One message from the device into job: its size, 0 if there is none, or -errno. */
static ssize_t receive(pcv_lane *lane, struct job *job)
{
    for (;;) {
        ssize_t size = read(lane->dev, job->message, MESSAGE_ROOM);
        if (size >= (ssize_t)sizeof(struct fuse_in_header))
            return size;
        if (size >= 0)
            return -EPROTO;
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR && errno != ENOENT) /* ENOENT: the request was aborted meanwhile */
            return -errno;
    }
}

/* Poll for a while if that has paid lately; the time of one wake-up of an idle CPU is what there is to win. */
static ssize_t spin(pcv_lane *lane, struct job *job)
{
    if (lane->options.spin_us == 0 || lane->cpu.is_grouped)
        return 0;
    if (lane->spin_score == 0 && ++lane->spin_turn % 16 != 0)
        return 0; /* look now and then whether it pays again */
    uint64_t end = now_us() + lane->options.spin_us;
    do {
        ssize_t size = receive(lane, job);
        if (size != 0) {
            count(&lane->spin_hits);
            if (lane->spin_score < 8)
                lane->spin_score++;
            return size;
        }
        if (has_queued(lane))
            return 0;
    } while (now_us() < end);
    count(&lane->spin_misses);
    if (lane->spin_score > 0)
        lane->spin_score--;
    return 0;
}

/* Besides the one buffer that the main thread is about to read into. */
static bool has_work_under_way(pcv_lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    bool is_busy = lane->spare_count < JOBS - 1;
    pthread_mutex_unlock(&lane->lock);
    return is_busy;
}

/* Files are closed when nobody has used any for a while: an open one keeps others from things. */
static int sleep_until_something(pcv_lane *lane)
{
    struct pollfd fds[2] = {{.fd = lane->dev, .events = POLLIN}, {.fd = lane->wake, .events = POLLIN}};
    int ready = poll(fds, 2, lane->tree->file_count > 0 ? PCV_LANE_IDLE_MS : -1);
    if (ready < 0 && errno != EINTR)
        return -errno;
    if (ready == 0 && !has_work_under_way(lane))
        pcv_tree_detach_all(lane->tree);
    if (fds[1].revents) {
        uint64_t count;
        (void)!read(lane->wake, &count, sizeof count);
    }
    return 0;
}

static bool take_corrupt(pcv_lane *lane)
{
    bool is_found = false;
    pthread_mutex_lock(&lane->lock);
    unsigned int count = atomic_load(&lane->corrupt_count);
    if (count > 0) {
        struct corrupt *latest = &lane->corrupt[count - 1];
        atomic_store(&lane->corrupt_count, count - 1);
        lane->event_node = latest->node;
        lane->event_value = latest->block;
        is_found = true;
    }
    pthread_mutex_unlock(&lane->lock);
    return is_found;
}

static bool take_note(pcv_lane *lane, int *event)
{
    pcv_tree *tree = lane->tree;
    if (tree->note_count == 0)
        return false;
    const struct pcv_note *note = &tree->notes[--tree->note_count];
    lane->event_node = note->dir;
    lane->event_value = 0;
    strcpy(lane->event_name, note->cname);
    *event = note->kind == PCV_NOTE_BAD_NAME    ? PCV_LANE_BAD_NAME
             : note->kind == PCV_NOTE_LEFTOVERS ? PCV_LANE_LEFTOVERS
                                                : PCV_LANE_NO_DIRIV;
    return true;
}

/* The next message, or 0 after work was found elsewhere, or -errno. */
static ssize_t next_message(pcv_lane *lane, struct job *job)
{
    ssize_t size = receive(lane, job);
    if (size != 0)
        return size;
    /* Nothing at once: what was queued for a worker that was not woken is ours to do. */
    struct job *queued = dequeue(lane);
    if (queued) {
        count(&lane->stolen);
        run(lane, &lane->server, queued);
        return 0;
    }
    size = spin(lane, job);
    return size != 0 ? size : sleep_until_something(lane);
}

int pcv_lane_wait(pcv_lane *lane)
{
    int event, rc = pass_replies(lane);
    if (rc != 0)
        return rc;
    struct job *job = lane->parked;
    lane->parked = NULL;
    if (job) { /* its file has been given, or the request was refused and there is no job */
        rc = dispatch(lane, job);
        if (rc != 0) {
            hand_over_queue(lane);
            return rc;
        }
    }
    for (;;) {
        if (atomic_load_explicit(&lane->is_stopping, memory_order_relaxed))
            return PCV_LANE_ENDED;
        if (atomic_load_explicit(&lane->corrupt_count, memory_order_relaxed) > 0 && take_corrupt(lane))
            return PCV_LANE_CORRUPT;
        if (take_note(lane, &event))
            return event;
        job = take_spare(lane);
        if (!job) {
            pthread_mutex_lock(&lane->lock);
            if (!lane->spare)
                help_locked(lane);
            pthread_mutex_unlock(&lane->lock);
            continue;
        }
        ssize_t size = next_message(lane, job);
        if (size <= 0) {
            give_back(lane, job);
            if (size == 0)
                continue;
            return size == -ENODEV || size == -ECONNABORTED ? PCV_LANE_ENDED : (int)size;
        }
        job->size = (size_t)size;
        rc = dispatch(lane, job);
        if (rc != 0) {
            hand_over_queue(lane);
            return rc;
        }
    }
}

void pcv_lane_event_details(const pcv_lane *lane, uint64_t *node, uint64_t *value)
{
    *node = lane->event_node;
    *value = lane->event_value;
}

const char *pcv_lane_event_name(const pcv_lane *lane)
{
    return lane->event_name;
}

int pcv_lane_give_fd(pcv_lane *lane, uint64_t node, int fd, bool is_writable)
{
    pcv_inode *inode = pcv_inodes_get(lane->tree->inodes, node);
    if (!inode || inode->type != S_IFREG)
        return -ESTALE;
    return pcv_tree_attach(lane->tree, inode, fd, is_writable);
}

void pcv_lane_refuse(pcv_lane *lane, int error)
{
    struct job *job = lane->parked;
    lane->parked = NULL;
    if (job) {
        pcv_reply_error(lane->dev, header_of(job)->unique, error);
        give_back(lane, job);
    }
}

void pcv_lane_get_statistics(const pcv_lane *lane, struct pcv_lane_statistics *out)
{
    *out = (struct pcv_lane_statistics){
        .served = lane->served,
        .forwarded = lane->forwarded,
        .need_file = lane->need_file,
        .stolen = lane->stolen,
        .spin_hits = lane->spin_hits,
        .spin_misses = lane->spin_misses,
        .inodes = pcv_inodes_count(lane->tree->inodes),
        .lookups = pcv_inodes_lookups(lane->tree->inodes),
        .open_files = lane->tree->file_count,
        .open_dirs = lane->tree->dirs.count,
    };
}
