#include "pcv_sys.h"

#include <errno.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/types.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == sizeof(int64_t), "file offsets are 64 bits wide");
_Static_assert(sizeof(time_t) == sizeof(int64_t), "times are 64 bits wide");

int pcv_renameat2(int old_dirfd, const char *old_name, int new_dirfd, const char *new_name, unsigned int flags)
{
    return renameat2(old_dirfd, old_name, new_dirfd, new_name, flags) == 0 ? 0 : -errno;
}

int pcv_fallocate(int fd, int mode, int64_t offset, int64_t length)
{
    return fallocate(fd, mode, offset, length) == 0 ? 0 : -errno;
}

int pcv_utimensat(int dirfd, const char *name, int64_t atime_s, int64_t atime_nsec, int64_t mtime_s, int64_t mtime_nsec,
                  int flags)
{
    struct timespec times[2] = {
        {.tv_sec = atime_s, .tv_nsec = (long)atime_nsec},
        {.tv_sec = mtime_s, .tv_nsec = (long)mtime_nsec},
    };
    return utimensat(dirfd, name, times, flags) == 0 ? 0 : -errno;
}

int pcv_syncfs(int fd)
{
    return syncfs(fd) == 0 ? 0 : -errno;
}

int pcv_random(uint8_t *out, size_t size)
{
    while (size > 0) {
        ssize_t got = getrandom(out, size, 0); /* may be short, or interrupted, above 256 bytes */
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        out += got;
        size -= (size_t)got;
    }
    return 0;
}

int pcv_set_undumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 0UL, 0UL, 0UL, 0UL) == 0 ? 0 : -errno;
}
