#include "pcv_sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
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

int pcv_mount(const char *source, const char *target, const char *fs_type, unsigned long flags, const char *data)
{
    return mount(source, target, fs_type, flags, data) == 0 ? 0 : -errno;
}

int pcv_umount2(const char *target, int flags)
{
    return umount2(target, flags) == 0 ? 0 : -errno;
}

/* Where the kernel looks for the command line: from the first character after the name, fields 48 and 49. */
static int find_command_line(char **start, size_t *size)
{
    FILE *stat = fopen("/proc/self/stat", "re");
    if (stat == NULL)
        return -errno;
    char line[2048]; /* about 400; the name, which may hold any character, has 15 at most */
    size_t length = fread(line, 1, sizeof(line) - 1, stat);
    (void)fclose(stat);
    line[length] = '\0';
    char *field = strrchr(line, ')');
    for (int number = 2; field != NULL && number < 48; number++)
        field = strchr(field + 1, ' ');
    unsigned long from;
    unsigned long to;
    if (field == NULL || sscanf(field, " %lu %lu", &from, &to) != 2 || from == 0 || to < from)
        return -EINVAL;
    *start = (char *)from; /* NOLINT(performance-no-int-to-ptr): the kernel says where it is */
    *size = to - from;
    return 0;
}

int pcv_set_command_line(const uint8_t *words, size_t size)
{
    char *start;
    size_t room;
    int rc = find_command_line(&start, &room);
    if (rc != 0)
        return rc;
    if (room == 0)
        return 0;
    memset(start, 0, room); /* the last byte stays 0: else the kernel would show what follows, the environment */
    memcpy(start, words, size < room ? size : room - 1);
    return 0;
}

int pcv_set_name(const char *name)
{
    return prctl(PR_SET_NAME, name, 0UL, 0UL, 0UL) == 0 ? 0 : -errno;
}
