/* System calls that fail when they are told to. The tests are linked with --wrap=NAME for each of them, so every call
 * that the library makes passes here; calls of libcrypto and of the C library itself do not.
 *
 * Threads: only calls of the thread that armed them fail. One at a time. */
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
    CALLS_OF_CONTENT = 15,

    CALL_OPENAT = 1 << 4,
    CALL_FSTATAT = 1 << 5,
    CALL_MKDIRAT = 1 << 6,
    CALL_UNLINKAT = 1 << 7,
    CALL_RENAMEAT = 1 << 8, /* and renameat2 */
    CALL_LINKAT = 1 << 9,
    CALL_SYMLINKAT = 1 << 10,
    CALL_MKNODAT = 1 << 11,
    CALL_READLINKAT = 1 << 12,
    CALL_GETDENTS = 1 << 13,
    CALLS_OF_NAMES = CALL_OPENAT | CALL_FSTATAT | CALL_MKDIRAT | CALL_UNLINKAT | CALL_RENAMEAT | CALL_LINKAT |
        CALL_SYMLINKAT | CALL_MKNODAT | CALL_READLINKAT | CALL_GETDENTS,

    CALL_FSTAT = 1 << 14,
    CALL_FCHMOD = 1 << 15,
    CALL_CHMOD = 1 << 16,
    CALL_FCHOWNAT = 1 << 17,
    CALL_READ = 1 << 18,
    CALL_WRITE = 1 << 19,
    CALL_CLOSE = 1 << 20,  /* the descriptor is closed all the same */
    CALL_MALLOC = 1 << 21, /* and calloc */
    ALL_CALLS = (1 << 22) - 1,
};

struct fault {
    unsigned int calls; /* enum call: which ones count */
    unsigned int at;    /* how many of them pass */
    int error;          /* what the next one fails with */
    size_t part;        /* a write does so many bytes before */
    bool is_lasting;    /* and so do all that follow */
    unsigned int every; /* or: each so many calls another one; 0: just one */
    bool is_full_disk;  /* instead of all this: no write gets beyond the end of its file, and nothing is reserved */
};

/* Called before each of the calls that changes a file, with what it is about to do; size 0 but for writes. */
typedef void faults_observer(void *arg, enum call call, const uint8_t *data, size_t size, off_t offset);

void faults_arm(const struct fault *fault);
unsigned int faults_disarm(void); /* how many calls failed */
unsigned int faults_count(void);  /* ... so far */
void faults_observe(faults_observer *observer, void *arg);

/* What is armed leaves calls alone until it is resumed. */
void faults_pause(void);
void faults_resume(void);

/* For those who stand in for a call: whether it fails now, errno set. */
bool faults_hit(enum call call);

/* Called before a write or a sync is done, by any thread; for delays. NULL: nothing is. */
void faults_on_sync(void (*hook)(void));
void faults_on_write(void (*hook)(void));

ssize_t __real_pread(int fd, void *buffer, size_t size, off_t offset);
ssize_t __real_pwrite(int fd, const void *buffer, size_t size, off_t offset);
int __real_ftruncate(int fd, off_t size);

#endif
