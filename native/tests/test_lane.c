/* The lane between a kernel and a Python that are played here: clients send it requests of every kind, sound and
 * malformed, and compare what comes back with arrays of bytes; the main thread answers its events at random. Each request
 * must get one reply, and stopping must be possible at any time.
 *
 * Usage: test_lane [SEED [SESSIONS]] */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "clients.h"
#include "device.h"
#include "faults.h"
#include "pcv_lane.h"

#define AREA_SIZE ((size_t)PCV_INTENT_SLOTS * PCV_INTENT_SLOT_SIZE)
#define CLIENTS 6
#define REFUSE_PERCENT 5

static const int KINDS[] = {PCV_AES_GCM, PCV_XCHACHA20_POLY1305, PCV_AES_SIV};

struct mount {
    struct rng rng;
    struct world world;
    pcv_aead *aead;
    uint8_t *area;
    pcv_intents *intents;
    pcv_file_policy *policy;
    pcv_lane *lane;
    int dev, python;
    pcv_file *open[WORLD_FILES]; /* what the lane was given */
    uint8_t *message;            /* MESSAGE_ROOM, of libfuse */
    uint8_t *forgets;            /* of a batch that comes in parts */
    size_t forgotten;
    unsigned int corrupt_events, idle_events;
    unsigned int drop_percent; /* how probably each file is given back after each event */
    bool refuses;
};

/* --- what Python does ------------------------------------------------------------------------------------------- */

static pcv_file *open_file(struct mount *m, const struct world_file *file, bool is_writable)
{
    pcv_file *opened;
    CHECK(pcv_file_new(m->policy, world_reopen(file, is_writable), is_writable, "path", &opened) == 0);
    return opened;
}

static void drop_file(struct mount *m, size_t index)
{
    if (!m->open[index])
        return;
    pcv_lane_drop_file(m->lane, WORLD_FIRST_NODE + index);
    pcv_file_unref(m->open[index]);
    m->open[index] = NULL;
}

static void find_file(struct mount *m)
{
    uint64_t node, must_write;
    pcv_lane_event_details(m->lane, &node, &must_write);
    CHECK(must_write <= 1);
    if (node < WORLD_FIRST_NODE || node >= WORLD_FIRST_NODE + WORLD_FILES) {
        pcv_lane_refuse(m->lane, UNKNOWN_ERROR);
        return;
    }
    if (m->refuses && rng_chance(&m->rng, REFUSE_PERCENT)) {
        pcv_lane_refuse(m->lane, REFUSED_ERROR);
        return;
    }
    pcv_file **open = &m->open[node - WORLD_FIRST_NODE];
    const struct world_file *file = &m->world.files[node - WORLD_FIRST_NODE];
    if (!*open)
        *open = open_file(m, file, must_write);
    else if (must_write && !pcv_file_is_writable(*open))
        CHECK(pcv_file_upgrade(*open, world_reopen(file, true)) == 0);
    CHECK(pcv_lane_give_file(m->lane, node, *open) == 0);
}

static void find_dir(struct mount *m)
{
    uint64_t node, nothing;
    pcv_lane_event_details(m->lane, &node, &nothing);
    if (node != WORLD_DIRECTORY)
        pcv_lane_refuse(m->lane, UNKNOWN_ERROR);
    else if (m->refuses && rng_chance(&m->rng, REFUSE_PERCENT))
        pcv_lane_refuse(m->lane, REFUSED_ERROR);
    else
        pcv_lane_give_dir(m->lane, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* Forgets may come in several messages; all of them are there in the end, each once. */
static void take_forgets(struct mount *m, const uint8_t *message, size_t size, const uint8_t *sent, size_t sent_size)
{
    const size_t head = sizeof(struct fuse_in_header) + sizeof(struct fuse_batch_forget_in);
    struct fuse_batch_forget_in batch;
    CHECK(size >= head && size <= FORGETS_MESSAGE_MAX);
    memcpy(&batch, message + sizeof(struct fuse_in_header), sizeof batch);
    CHECK(size == head + batch.count * sizeof(struct fuse_forget_one));
    for (size_t at = head; at < size; at += sizeof(struct fuse_forget_one)) {
        struct fuse_forget_one one;
        memcpy(&one, message + at, sizeof one);
        CHECK(one.nodeid < (sent_size - head) / sizeof one && one.nlookup == 1 && !m->forgets[one.nodeid]);
        m->forgets[one.nodeid] = 1; /* the clients number them */
        m->forgotten++;
    }
    struct fuse_in_header header;
    memcpy(&header, sent, sizeof header);
    if (m->forgotten * sizeof(struct fuse_forget_one) + head < sent_size)
        return;
    memset(m->forgets, 0, m->forgotten);
    m->forgotten = 0;
    device_forget(header.unique);
}

/* One message is in the socket: it must be one that was sent, changed only where it may be. */
static void answer(struct mount *m)
{
    ssize_t got = recv(m->python, m->message, MESSAGE_ROOM, MSG_DONTWAIT);
    CHECK(got >= (ssize_t)sizeof(struct fuse_in_header));
    struct fuse_in_header header;
    memcpy(&header, m->message, sizeof header);
    size_t sent_size, size = (size_t)got;
    const uint8_t *sent = device_sent(header.unique, &sent_size);
    CHECK(sent != NULL);
    CHECK(header.len == size);
    if (header.opcode == FUSE_BATCH_FORGET) {
        take_forgets(m, m->message, size, sent, sent_size);
        return;
    }
    CHECK(size == sent_size);
    if (header.opcode != FUSE_INIT && header.opcode != FUSE_READDIR && header.opcode != FUSE_READDIRPLUS)
        CHECK(memcmp(m->message, sent, size) == 0);
    if (header.opcode == FUSE_FORGET) {
        device_forget(header.unique);
        return;
    }
    if (rng_chance(&m->rng, 5)) {
        struct {
            struct fuse_out_header out;
            struct fuse_notify_inval_inode_out inval;
        } notification = {{.len = sizeof notification, .error = FUSE_NOTIFY_INVAL_INODE}, {.ino = 1, .off = -1}};
        CHECK(send(m->python, &notification, sizeof notification, 0) == sizeof notification);
    }
    uint8_t *reply = m->message;
    size = echo_of(reply, size);
    CHECK(send(m->python, reply, size, 0) == (ssize_t)size);
}

/* Serve until the lane has ended. */
static void serve(struct mount *m)
{
    for (;;) {
        int event = pcv_lane_wait(m->lane);
        uint64_t node, block;
        switch (event) {
        case PCV_LANE_REQUEST:
            answer(m);
            break;
        case PCV_LANE_NEED_FILE:
            find_file(m);
            break;
        case PCV_LANE_NEED_DIR:
            find_dir(m);
            break;
        case PCV_LANE_CORRUPT:
            pcv_lane_event_details(m->lane, &node, &block);
            CHECK(node == WORLD_CORRUPT && block == WORLD_CORRUPT_BLOCK);
            m->corrupt_events++;
            break;
        case PCV_LANE_IDLE:
            m->idle_events++;
            for (size_t i = 0; i < WORLD_FILES; i++)
                drop_file(m, i);
            break;
        case -EPROTO: /* a message too short for a header; the real Python ends the mount then */
            break;
        default:
            CHECK(event == PCV_LANE_ENDED);
            return;
        }
        for (size_t i = 0; i < WORLD_FILES; i++) {
            if (rng_chance(&m->rng, m->drop_percent))
                drop_file(m, i);
        }
    }
}

/* --- a mount ---------------------------------------------------------------------------------------------------- */

static void start(struct mount *m, uint64_t seed, int workers)
{
    static const uint8_t boot_id[16] = {1};
    *m = (struct mount){.rng.state = seed, .refuses = true, .drop_percent = 1};
    int kind = KINDS[rng_below(&m->rng, 3)], prealloc = (int)rng_below(&m->rng, 3);
    m->aead = new_aead(kind);
    m->message = malloc(MESSAGE_ROOM);
    m->forgets = calloc(1, MESSAGE_ROOM);
    m->area = rng_chance(&m->rng, 50) ? calloc(1, AREA_SIZE) : NULL;
    CHECK(m->message && m->forgets);
    if (m->area)
        CHECK(pcv_intents_new(m->area, boot_id, 1, 2, &m->intents) == 0);
    CHECK(pcv_file_policy_new(m->aead, overhead_of(kind), m->intents, prealloc, false, &m->policy) == 0);
    world_make(&m->world, m->policy, overhead_of(kind));
    m->dev = device_open();
    struct pcv_lane_options options = {
        .dev_fd = m->dev,
        .workers = workers,
        .spin_us = rng_chance(&m->rng, 50) ? 60 : 0,
        .attr_timeout_s = 7,
        .serves_attrs = rng_chance(&m->rng, 80),
        .has_cached_dirs = true,
    };
    m->world.serves_attrs = options.serves_attrs;
    CHECK(pcv_lane_new(&options, &m->lane, &m->python) == 0);
    m->world.lane = m->lane;
    m->world.knows_names = rng_chance(&m->rng, 70);
    if (m->world.knows_names) {
        struct pcv_name_format plaintext = {.long_name_max = 255};
        uint8_t diriv[PCV_DIRIV_SIZE] = {0};
        CHECK(pcv_lane_set_names(m->lane, &plaintext) == 0);
        CHECK(pcv_lane_set_names(m->lane, &plaintext) == -EINVAL);
        pcv_lane_give_directory(m->lane, WORLD_DIRECTORY, m->world.directory, diriv);
        pcv_lane_give_directory(m->lane, WORLD_UNKNOWN, m->world.directory, diriv);
        pcv_lane_drop_directory(m->lane, WORLD_UNKNOWN);
    }
}

static void finish(struct mount *m)
{
    for (size_t i = 0; i < WORLD_FILES; i++)
        drop_file(m, i);
    pcv_lane_free(m->lane);
    close(m->python);
    for (int slot = 0; m->area && slot < PCV_INTENT_SLOTS; slot++)
        CHECK(m->area[(size_t)slot * PCV_INTENT_SLOT_SIZE] == 0);
    world_check(&m->world, m->policy);
    device_close(m->dev);
    pcv_file_policy_free(m->policy);
    pcv_intents_free(m->intents);
    pcv_aead_free(m->aead);
    free(m->area);
    free(m->message);
    free(m->forgets);
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static atomic_uint slow_calls;

static void be_slow(void)
{
    unsigned int number = atomic_fetch_add(&slow_calls, 1);
    if (number % 4 == 0)
        usleep(100 + number % 7 * 200);
}

/* Ends of a session: all clients have done their work; somebody stops it; the kernel lets go. */
enum ending { COMPLETE, STOPPED, UNMOUNTED, ABORTED, ENDINGS };

static void run_session(struct mount *m, uint64_t seed, int steps, enum ending ending)
{
    pthread_t threads[CLIENTS];
    struct client clients[CLIENTS];
    m->world.clients = CLIENTS;
    m->world.steps_left = steps;
    m->world.last_step = ending == COMPLETE ? WORLD_STOP : ending == STOPPED ? WORLD_STOP_AT_ONCE : WORLD_END_DEVICE;
    m->world.end_error = ending == ABORTED ? ECONNABORTED : ENODEV;
    faults_on_sync(be_slow);
    faults_on_write(be_slow);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.world = &m->world, .rng.state = seed * 100 + i};
        CHECK(pthread_create(&threads[i], NULL, client_run, &clients[i]) == 0);
    }
    serve(m);
    device_end(m->world.end_error); /* whoever still waits */
    for (size_t i = 0; i < CLIENTS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    m->world.is_complete = ending == COMPLETE;
    finish(m);
    faults_on_sync(NULL);
    faults_on_write(NULL);
}

static void test_every_request_has_one_reply(uint64_t seed, enum ending ending)
{
    struct mount m;
    start(&m, seed, 1 + (int)(seed % PCV_LANE_WORKERS_MAX));
    run_session(&m, seed, 300 + (int)rng_below(&m.rng, 300), ending);
}

/* As when more files are in use than may be open: they come and go while they are written. */
static void test_files_that_are_dropped_in_use_keep_their_content(uint64_t seed)
{
    struct mount m;
    start(&m, seed, 2);
    m.world.has_bursts_only = true;
    m.drop_percent = 50;
    run_session(&m, seed, 300, COMPLETE);
}

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_opened = PTHREAD_COND_INITIALIZER;
static bool is_gate_open;

static void sync_at_gate(void)
{
    pthread_mutex_lock(&gate_lock);
    while (!is_gate_open)
        pthread_cond_wait(&gate_opened, &gate_lock);
    pthread_mutex_unlock(&gate_lock);
}

static void open_gate(bool is_open)
{
    pthread_mutex_lock(&gate_lock);
    is_gate_open = is_open;
    pthread_cond_broadcast(&gate_opened);
    pthread_mutex_unlock(&gate_lock);
}

static void *use_beside_syncs(void *arg)
{
    client_sync_and_use(arg, open_gate);
    return NULL;
}

/* Far more syncs than workers and buffers, none of which ends before all else was served. */
static void test_slow_syncs_hold_up_nobody(uint64_t seed)
{
    struct mount m;
    pthread_t thread;
    open_gate(false);
    faults_on_sync(sync_at_gate);
    start(&m, seed, 2);
    m.refuses = false;
    m.world.clients = 1;
    struct client client = {.world = &m.world, .rng.state = seed};
    CHECK(pthread_create(&thread, NULL, use_beside_syncs, &client) == 0);
    serve(&m);
    device_end(ENODEV);
    CHECK(pthread_join(thread, NULL) == 0);
    m.world.is_complete = true;
    finish(&m);
    faults_on_sync(NULL);
}

static void *stay_idle(void *arg)
{
    client_idle(arg);
    return NULL;
}

static void test_idle_lane_says_so_once(uint64_t seed)
{
    struct mount m;
    pthread_t thread;
    start(&m, seed, 1);
    m.refuses = false;
    m.world.clients = 1;
    struct client client = {.world = &m.world, .rng.state = seed};
    CHECK(pthread_create(&thread, NULL, stay_idle, &client) == 0);
    serve(&m);
    CHECK(m.idle_events == 1);
    device_end(ENODEV);
    CHECK(pthread_join(thread, NULL) == 0);
    m.world.is_complete = true;
    finish(&m);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    unsigned int sessions = 12;
    check_arguments(argc, argv, &seed, &sessions);
    alarm(100 + sessions * 10); /* a reply that never comes */
    unsigned int fds = count_fds();
    test_slow_syncs_hold_up_nobody(seed);
    test_idle_lane_says_so_once(seed);
    for (unsigned int i = 0; i < sessions; i++) {
        if (i % 6 == 0)
            test_files_that_are_dropped_in_use_keep_their_content(seed + i);
        test_every_request_has_one_reply(seed + i, i % 2 ? (enum ending)(i / 2 % ENDINGS) : COMPLETE);
        CHECK(count_fds() == fds);
    }
    return 0;
}
