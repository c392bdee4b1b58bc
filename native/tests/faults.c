#include "faults.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>

int __real_fallocate(int fd, int mode, off_t offset, off_t size);
int __real_fsync(int fd);
int __real_fdatasync(int fd);

ssize_t __wrap_pread(int fd, void *buffer, size_t size, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *buffer, size_t size, off_t offset);
int __wrap_ftruncate(int fd, off_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t size);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);

static struct fault fault;
static _Thread_local bool is_armed;
static unsigned int passed, failed;
static faults_observer *observer;
static void *observer_arg;
static void (*_Atomic sync_hook)(void);
static void (*_Atomic write_hook)(void);

void faults_arm(const struct fault *wanted)
{
    fault = *wanted;
    passed = failed = 0;
    is_armed = true;
}

unsigned int faults_disarm(void)
{
    is_armed = false;
    return failed;
}

void faults_pause(void)
{
    is_armed = false;
}

void faults_resume(void)
{
    is_armed = true;
}

unsigned int faults_count(void)
{
    return failed;
}

void faults_observe(faults_observer *wanted, void *arg)
{
    observer = wanted;
    observer_arg = arg;
}

void faults_on_sync(void (*hook)(void))
{
    atomic_store(&sync_hook, hook);
}

void faults_on_write(void (*hook)(void))
{
    atomic_store(&write_hook, hook);
}

static void call_hook(void (*hook)(void))
{
    if (hook)
        hook();
}

/* Whether this is the one, after so many that passed. */
static bool is_due(unsigned int after)
{
    if (after <= fault.at)
        return after == fault.at;
    return fault.is_lasting || (fault.every > 0 && (after - fault.at) % fault.every == 0);
}

bool faults_hit(enum call call)
{
    if (!is_armed || fault.is_full_disk || !(fault.calls & call) || !is_due(passed++))
        return false;
    failed++;
    errno = fault.error;
    return true;
}

static void observe(enum call call, const uint8_t *data, size_t size, off_t offset)
{
    if (observer)
        observer(observer_arg, call, data, size, offset);
}

ssize_t __wrap_pread(int fd, void *buffer, size_t size, off_t offset)
{
    if (faults_hit(CALL_PREAD))
        return -1;
    return __real_pread(fd, buffer, size, offset);
}

/* A full disk takes what lies within the file, and then nothing. */
static ssize_t write_within(int fd, const void *buffer, size_t size, off_t offset)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && offset + (off_t)size > st.st_size) {
        failed++;
        if (offset >= st.st_size) {
            errno = ENOSPC;
            return -1;
        }
        size = (size_t)(st.st_size - offset);
    }
    return __real_pwrite(fd, buffer, size, offset);
}

ssize_t __wrap_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
    observe(CALL_PWRITE, buffer, size, offset);
    call_hook(atomic_load(&write_hook));
    if (is_armed && fault.is_full_disk)
        return write_within(fd, buffer, size, offset);
    if (!faults_hit(CALL_PWRITE))
        return __real_pwrite(fd, buffer, size, offset);
    size_t part = fault.part < size ? fault.part : size - 1;
    if (part > 0)
        (void)!__real_pwrite(fd, buffer, part, offset); /* as when a device fails: how far it got is not told */
    errno = fault.error;
    return -1;
}

int __wrap_ftruncate(int fd, off_t size)
{
    observe(CALL_FTRUNCATE, NULL, 0, size);
    if (faults_hit(CALL_FTRUNCATE))
        return -1;
    return __real_ftruncate(fd, size);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t size)
{
    if (is_armed && fault.is_full_disk) {
        failed++;
        errno = ENOSPC;
        return -1;
    }
    if (faults_hit(CALL_FALLOCATE))
        return -1;
    return __real_fallocate(fd, mode, offset, size);
}

int __wrap_fsync(int fd)
{
    call_hook(atomic_load(&sync_hook));
    return __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
    call_hook(atomic_load(&sync_hook));
    return __real_fdatasync(fd);
}
