#include "device.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"

#define MESSAGES_MAX 256
#define REPLY_MAX (2 << 20)
#define BEHIND 256
#define LEN_OFFSET offsetof(struct fuse_in_header, len)
#define UNIQUE_OFFSET offsetof(struct fuse_in_header, unique)

ssize_t __real_read(int fd, void *buffer, size_t size);
ssize_t __real_write(int fd, const void *buffer, size_t size);
ssize_t __real_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_read(int fd, void *buffer, size_t size);
ssize_t __wrap_write(int fd, const void *buffer, size_t size);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);

struct message {
    uint64_t unique; /* 0: free */
    bool is_queued;
    size_t size;
    uint8_t *bytes;
};

static _Atomic int device_fd = -1;
static atomic_uint turn; /* of reads and replies; some of them fail once */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct message messages[MESSAGES_MAX]; /* in the queue, or sent and remembered */
static unsigned int queue[MESSAGES_MAX], queue_start, queue_size;
static struct request *waiting;
static uint64_t last_unique;
static unsigned int notifications;
static int end_error;

int device_open(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    CHECK(fd >= 0);
    pthread_mutex_lock(&lock);
    end_error = 0;
    notifications = 0;
    pthread_mutex_unlock(&lock);
    atomic_store(&device_fd, fd);
    return fd;
}

static void drop(struct message *message)
{
    free(message->bytes);
    *message = (struct message){0};
}

void device_close(int fd)
{
    atomic_store(&device_fd, -1);
    pthread_mutex_lock(&lock);
    CHECK(waiting == NULL);
    for (size_t i = 0; i < MESSAGES_MAX; i++)
        drop(&messages[i]);
    queue_size = 0;
    pthread_mutex_unlock(&lock);
    close(fd);
}

/* Under the lock. */
static void enqueue(uint64_t unique, const void *bytes, size_t size)
{
    size_t i = 0;
    while (i < MESSAGES_MAX && messages[i].bytes)
        i++;
    CHECK(i < MESSAGES_MAX);
    messages[i] = (struct message){.unique = unique, .is_queued = true, .size = size, .bytes = malloc(size)};
    CHECK(messages[i].bytes != NULL);
    memcpy(messages[i].bytes, bytes, size);
    queue[(queue_start + queue_size++) % MESSAGES_MAX] = (unsigned int)i;
    uint64_t one = 1;
    CHECK(__real_write(atomic_load(&device_fd), &one, sizeof one) == sizeof one);
}

void device_send(struct request *request, void *message, size_t size)
{
    uint32_t len = (uint32_t)size;
    pthread_mutex_lock(&lock);
    uint64_t unique = last_unique += 2; /* as the kernel's */
    memcpy((uint8_t *)message + LEN_OFFSET, &len, sizeof len);
    memcpy((uint8_t *)message + UNIQUE_OFFSET, &unique, sizeof unique);
    if (request) {
        request->unique = unique;
        request->is_done = false;
        request->next = waiting;
        waiting = request;
    }
    if (end_error == 0)
        enqueue(unique, message, size);
    pthread_mutex_unlock(&lock);
}

void device_send_raw(const void *message, size_t size)
{
    pthread_mutex_lock(&lock);
    if (end_error == 0)
        enqueue(0, message, size);
    pthread_mutex_unlock(&lock);
}

/* Under the lock. */
static struct request *take_waiting(uint64_t unique)
{
    for (struct request **link = &waiting; *link; link = &(*link)->next) {
        if ((*link)->unique == unique) {
            struct request *found = *link;
            *link = found->next;
            return found;
        }
    }
    return NULL;
}

bool device_wait(struct request *request)
{
    pthread_mutex_lock(&lock);
    while (!request->is_done && end_error == 0)
        pthread_cond_wait(&changed, &lock);
    if (!request->is_done)
        take_waiting(request->unique);
    bool is_done = request->is_done;
    pthread_mutex_unlock(&lock);
    return is_done;
}

void device_end(int error)
{
    uint64_t one = 1;
    pthread_mutex_lock(&lock);
    end_error = error;
    CHECK(__real_write(atomic_load(&device_fd), &one, sizeof one) == sizeof one); /* readable for good */
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static struct message *find_message(uint64_t unique)
{
    for (size_t i = 0; unique != 0 && i < MESSAGES_MAX; i++) {
        if (messages[i].unique == unique)
            return &messages[i];
    }
    return NULL;
}

const uint8_t *device_sent(uint64_t unique, size_t *size)
{
    pthread_mutex_lock(&lock);
    struct message *found = find_message(unique);
    const uint8_t *bytes = found ? found->bytes : NULL;
    *size = found ? found->size : 0;
    pthread_mutex_unlock(&lock);
    return bytes;
}

void device_forget(uint64_t unique)
{
    pthread_mutex_lock(&lock);
    struct message *found = find_message(unique);
    if (found)
        drop(found);
    pthread_mutex_unlock(&lock);
}

unsigned int device_notifications(void)
{
    pthread_mutex_lock(&lock);
    unsigned int count = notifications;
    pthread_mutex_unlock(&lock);
    return count;
}

/* --- what the lane calls ---------------------------------------------------------------------------------------- */

static struct fuse_in_header header_of(const struct message *message)
{
    struct fuse_in_header header = {0};
    memcpy(&header, message->bytes, message->size < sizeof header ? message->size : sizeof header);
    return header;
}

/* Neither answered nor passed on. */
static bool is_lanes_own(uint32_t opcode)
{
    return opcode == FUSE_INTERRUPT || opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET;
}

static bool fails_now(unsigned int period)
{
    return atomic_fetch_add(&turn, 1) % period == 0;
}

ssize_t __wrap_read(int fd, void *buffer, size_t size)
{
    if (fd != atomic_load(&device_fd))
        return faults_hit(CALL_READ) ? -1 : __real_read(fd, buffer, size);
    if (fails_now(31)) {
        errno = fails_now(2) ? EINTR : ENOENT; /* ENOENT: a request was aborted as it was handed out */
        return -1;
    }
    pthread_mutex_lock(&lock);
    ssize_t got = -1;
    errno = end_error != 0 ? end_error : EAGAIN;
    if (end_error == 0 && queue_size > 0) {
        uint64_t count;
        CHECK(__real_read(fd, &count, sizeof count) == sizeof count);
        struct message *message = &messages[queue[queue_start]];
        queue_start = (queue_start + 1) % MESSAGES_MAX;
        queue_size--;
        CHECK(message->is_queued && message->size <= size);
        message->is_queued = false;
        memcpy(buffer, message->bytes, message->size);
        got = (ssize_t)message->size;
        size_t behind = size - message->size < BEHIND ? size - message->size : BEHIND;
        memset((uint8_t *)buffer + got, 0xff, behind); /* whoever reads on finds what can't be */
        if (message->unique == 0 || is_lanes_own(header_of(message).opcode))
            drop(message);
    }
    pthread_mutex_unlock(&lock);
    return got;
}

static ssize_t take_reply(const uint8_t *reply, size_t size)
{
    struct fuse_out_header out;
    CHECK(size >= sizeof out);
    memcpy(&out, reply, sizeof out);
    CHECK(out.len == size);
    if (out.unique == 0)
        CHECK(out.error > 0 && out.error < FUSE_NOTIFY_CODE_MAX && size > sizeof out);
    else
        CHECK(out.error <= 0 && out.error > -512 && (out.error == 0 || size == sizeof out));
    pthread_mutex_lock(&lock);
    if (out.unique == 0) {
        notifications++;
    } else {
        struct request *request = take_waiting(out.unique);
        if (!request && end_error != 0) {
            pthread_mutex_unlock(&lock);
            errno = ENOENT;
            return -1;
        }
        CHECK(request != NULL); /* nobody waits for it: it is the second one, or for a message that has none */
        struct message *message = find_message(out.unique);
        CHECK(message != NULL && !message->is_queued);
        drop(message);
        request->error = -out.error;
        request->reply_size = size - sizeof out;
        CHECK(request->reply_size <= request->room);
        if (request->reply_size > 0)
            memcpy(request->reply, reply + sizeof out, request->reply_size);
        request->is_done = true;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return (ssize_t)size;
}

ssize_t __wrap_write(int fd, const void *buffer, size_t size)
{
    if (fd != atomic_load(&device_fd))
        return faults_hit(CALL_WRITE) ? -1 : __real_write(fd, buffer, size);
    if (fails_now(29)) {
        errno = EINTR;
        return -1;
    }
    return take_reply(buffer, size);
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
    if (fd != atomic_load(&device_fd))
        return __real_writev(fd, parts, count);
    if (fails_now(29)) {
        errno = EINTR;
        return -1;
    }
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    CHECK(size <= REPLY_MAX);
    uint8_t *joined = malloc(size);
    CHECK(joined != NULL);
    size = 0;
    for (int i = 0; i < count; i++) {
        memcpy(joined + size, parts[i].iov_base, parts[i].iov_len);
        size += parts[i].iov_len;
    }
    ssize_t result = take_reply(joined, size);
    free(joined);
    return result;
}
