/* System calls that fail when they are told to. The tests are linked with --wrap=NAME for each of them, so every call
 * that the library makes passes here; calls of libcrypto and of the C library itself do not.
 *
 * Threads: arm and disarm while nothing else runs. */
#ifndef PCV_TESTS_FAULTS_H
#define PCV_TESTS_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum call {
    CALL_PREAD = 1,
    CALL_PWRITE = 2,
    CALL_FTRUNCATE = 4,
    CALL_FALLOCATE = 8,
};

struct fault {
    unsigned int calls; /* enum call: which ones count */
    unsigned int at;    /* how many of them pass */
    int error;          /* what the next one fails with */
    size_t part;        /* a write does so many bytes before */
    bool is_lasting;    /* and so do all that follow */
    bool is_full_disk;  /* instead of all this: no write gets beyond the end of its file, and nothing is reserved */
};

/* Called before each of the calls that changes a file, with what it is about to do; size 0 but for writes. */
typedef void faults_observer(void *arg, enum call call, const uint8_t *data, size_t size, off_t offset);

void faults_arm(const struct fault *fault);
unsigned int faults_disarm(void); /* how many calls failed */
unsigned int faults_count(void);  /* ... so far */
void faults_observe(faults_observer *observer, void *arg);

/* Called before a write or a sync is done, by any thread; for delays. NULL: nothing is. */
void faults_on_sync(void (*hook)(void));
void faults_on_write(void (*hook)(void));

ssize_t __real_pread(int fd, void *buffer, size_t size, off_t offset);
ssize_t __real_pwrite(int fd, const void *buffer, size_t size, off_t offset);
int __real_ftruncate(int fd, off_t size);

#endif
