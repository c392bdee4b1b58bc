/* The lane between a kernel and a Python that are played here: clients send it requests of every kind, sound and
 * malformed, and compare what comes back with what they know of names and content; the main thread answers its events at
 * random. Each request must get one reply, whatever system calls fail, and stopping must be possible at any time. In the
 * end the cipherdir is what it should be, and the lane has forgotten and closed everything.
 *
 * Usage: test_lane [SEED [SESSIONS]] */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "clients.h"
#include "device.h"
#include "faults.h"
#include "pcv_lane.h"
#include "pcv_tree.h"

#define CLIENTS 6
#define REFUSE_PERCENT 5

static const int KINDS[] = {PCV_AES_GCM, PCV_XCHACHA20_POLY1305, PCV_AES_SIV};

struct mount {
    struct rng rng;
    struct world world;
    pcv_tree *tree;
    pcv_lane *lane;
    int dev, python;
    uint8_t *message; /* MESSAGE_ROOM, of libfuse */
    bool refuses;
};

/* --- what Python does ------------------------------------------------------------------------------------------- */

/* By the descriptor of what has no name, or by its name. */
static int open_backing(struct mount *m, pcv_inode *inode, int access)
{
    char path[64];
    if (inode->orphan_fd >= 0) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", inode->orphan_fd);
        return open(path, access | O_CLOEXEC);
    }
    CHECK(inode->links != NULL);
    int dirfd = pcv_dirs_fd(&m->tree->dirs, inode->links->parent);
    return dirfd < 0 ? -1 : openat(dirfd, inode->links->cname, access | O_NOFOLLOW | O_CLOEXEC);
}

static void find_file(struct mount *m)
{
    uint64_t node, must_write;
    pcv_lane_event_details(m->lane, &node, &must_write);
    CHECK(must_write <= 1);
    pcv_inode *inode = pcv_inodes_get(m->tree->inodes, node);
    CHECK(inode && inode->type == S_IFREG);
    if (m->refuses && rng_chance(&m->rng, REFUSE_PERCENT)) {
        pcv_lane_refuse(m->lane, REFUSED_ERROR);
        return;
    }
    int fd = open_backing(m, inode, must_write ? O_RDWR : O_RDONLY);
    CHECK(fd >= 0 && pcv_lane_give_fd(m->lane, node, fd, must_write) == 0);
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
    CHECK(sent != NULL && header.len == size && size == sent_size);
    CHECK(header.opcode == FUSE_INIT || memcmp(m->message, sent, size) == 0);
    if (rng_chance(&m->rng, 5)) {
        struct {
            struct fuse_out_header out;
            struct fuse_notify_inval_inode_out inval;
        } notification = {{.len = sizeof notification, .error = FUSE_NOTIFY_INVAL_INODE}, {.ino = 1, .off = -1}};
        CHECK(send(m->python, &notification, sizeof notification, 0) == sizeof notification);
    }
    size = python_reply(m->message, size);
    if (size > 0)
        CHECK(send(m->python, m->message, size, 0) == (ssize_t)size);
    else
        device_forget(header.unique);
}

static void check_event(struct mount *m, int event)
{
    uint64_t node, value;
    const struct world *w = &m->world;
    pcv_lane_event_details(m->lane, &node, &value);
    switch (event) {
    case PCV_LANE_CORRUPT:
        CHECK(node == w->corrupt && value == WORLD_CORRUPT_BLOCK);
        break;
    case PCV_LANE_BAD_NAME:
        CHECK(node == w->odd && strcmp(pcv_lane_event_name(m->lane), WORLD_BAD_NAME) == 0);
        break;
    case PCV_LANE_LEFTOVERS:
        CHECK(node == w->odd || w->has_faults);
        break;
    case PCV_LANE_NO_DIRIV:
        CHECK(node == w->broken);
        break;
    default:
        CHECK(event == -EPROTO); /* a message too short for a header; the real Python ends the mount then */
    }
}

/* Serve until the lane has ended. */
static void serve(struct mount *m)
{
    struct fault fault = {
        .calls = CALLS_OF_NAMES, .at = 20, .every = 20 + (unsigned int)rng_below(&m->rng, 80), .error = FAULT_ERROR};
    if (m->world.has_faults)
        faults_arm(&fault);
    for (;;) {
        if (m->world.has_faults)
            faults_resume();
        int event = pcv_lane_wait(m->lane);
        faults_pause();
        if (event == PCV_LANE_ENDED)
            break;
        if (event == PCV_LANE_REQUEST)
            answer(m);
        else if (event == PCV_LANE_NEED_FILE)
            find_file(m);
        else
            check_event(m, event);
    }
}

/* --- a mount ---------------------------------------------------------------------------------------------------- */

static void start(struct mount *m, uint64_t seed, int workers, size_t files_max)
{
    static const enum volume_names names[] = {NAMES_WITH_IVS, NAMES_WITH_IVS, NAMES_WITHOUT_IVS, PLAINTEXT_NAMES};
    *m = (struct mount){.rng.state = seed, .refuses = true};
    m->message = malloc(MESSAGE_ROOM);
    CHECK(m->message != NULL);
    world_make(&m->world, names[seed % 4], KINDS[rng_below(&m->rng, 3)], (int)rng_below(&m->rng, 3),
               rng_chance(&m->rng, 50));
    m->dev = device_open();
    struct pcv_tree_options options = volume_options(&m->world.volume);
    options.files_max = files_max;
    options.timeout_s = WORLD_TIMEOUT;
    options.gives_away = geteuid() == 0;
    CHECK(pcv_tree_new(&options, &m->tree) == 0);
    struct pcv_lane_options lane = {
        .dev_fd = m->dev,
        .workers = workers,
        .spin_us = rng_chance(&m->rng, 50) ? 60 : 0,
    };
    CHECK(pcv_lane_new(&lane, m->tree, &m->lane, &m->python) == 0);
    m->world.lane = m->lane;
}

static void check_all_is_forgotten(struct mount *m)
{
    struct pcv_lane_statistics statistics;
    pcv_lane_get_statistics(m->lane, &statistics);
    CHECK(statistics.inodes == 1 && statistics.lookups == 0);
    CHECK(statistics.open_files == 0 && statistics.open_dirs == 0);
}

static void finish(struct mount *m)
{
    if (m->world.is_complete)
        check_all_is_forgotten(m);
    pcv_lane_free(m->lane);
    pcv_tree_free(m->tree);
    close(m->python);
    world_check(&m->world);
    device_close(m->dev);
    free(m->message);
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
    faults_on_sync(NULL);
    faults_on_write(NULL);
    finish(m);
}

static void test_every_request_has_one_reply(uint64_t seed, bool has_faults, enum ending ending)
{
    struct mount m;
    start(&m, seed, 1 + (int)(seed % PCV_LANE_WORKERS_MAX), seed % 3 == 0 ? 2 : 16);
    m.world.has_faults = has_faults;
    run_session(&m, seed, 800 + (int)rng_below(&m.rng, 800), ending);
}

/* As when more files are in use than may be open: they come and go while they are written. */
static void test_files_that_are_closed_in_use_keep_their_content(uint64_t seed)
{
    struct mount m;
    start(&m, seed, 2, 1);
    m.world.has_bursts_only = true;
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

static void *stay_idle(void *arg)
{
    client_idle(arg);
    return NULL;
}

/* One client, that does something special. */
static void run_alone(uint64_t seed, int workers, void *(*run)(void *))
{
    struct mount m;
    pthread_t thread;
    start(&m, seed, workers, 16);
    m.refuses = false;
    m.world.clients = 1;
    struct client client = {.world = &m.world, .rng.state = seed};
    CHECK(pthread_create(&thread, NULL, run, &client) == 0);
    serve(&m);
    device_end(ENODEV);
    CHECK(pthread_join(thread, NULL) == 0);
    m.world.is_complete = true;
    finish(&m);
}

/* Far more syncs than workers and buffers, none of which ends before all else was served. */
static void test_slow_syncs_hold_up_nobody(uint64_t seed)
{
    open_gate(false);
    faults_on_sync(sync_at_gate);
    run_alone(seed, 2, use_beside_syncs);
    faults_on_sync(NULL);
}

static void test_idle_lane_closes_files(uint64_t seed)
{
    run_alone(seed, 1, stay_idle);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    unsigned int sessions = 16;
    check_arguments(argc, argv, &seed, &sessions);
    alarm(100 + sessions * 10); /* a reply that never comes */
    unsigned int fds = count_fds();
    test_slow_syncs_hold_up_nobody(seed);
    test_idle_lane_closes_files(seed);
    for (unsigned int i = 0; i < sessions; i++) {
        if (i % 6 == 0)
            test_files_that_are_closed_in_use_keep_their_content(seed + i);
        test_every_request_has_one_reply(seed + i, i / 4 % 2, i % 2 ? (enum ending)(i / 2 % ENDINGS) : COMPLETE);
        CHECK(count_fds() == fds);
    }
    return 0;
}
