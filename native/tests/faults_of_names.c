/* The calls about names and attributes, and memory, that fail when they are told to. */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faults.h"

/* What stands in for a call: its kind, its result, its name, parameters, arguments, and what it returns when it fails. */
#define STAND_IN(kind, result, name, parameters, arguments, failure) \
    result __real_##name parameters;                                 \
    result __wrap_##name parameters;                                 \
    result __wrap_##name parameters                                  \
    {                                                                \
        return faults_hit(kind) ? failure : __real_##name arguments; \
    }

STAND_IN(CALL_FSTATAT, int, fstatat, (int fd, const char *name, struct stat *st, int flags), (fd, name, st, flags), -1)
STAND_IN(CALL_MKDIRAT, int, mkdirat, (int fd, const char *name, mode_t mode), (fd, name, mode), -1)
STAND_IN(CALL_UNLINKAT, int, unlinkat, (int fd, const char *name, int flags), (fd, name, flags), -1)
STAND_IN(CALL_RENAMEAT, int, renameat, (int fd, const char *name, int to_fd, const char *to), (fd, name, to_fd, to), -1)
STAND_IN(CALL_RENAMEAT, int, renameat2, (int fd, const char *name, int to_fd, const char *to, unsigned int flags),
         (fd, name, to_fd, to, flags), -1)
STAND_IN(CALL_LINKAT, int, linkat, (int fd, const char *name, int to_fd, const char *to, int flags),
         (fd, name, to_fd, to, flags), -1)
STAND_IN(CALL_SYMLINKAT, int, symlinkat, (const char *target, int fd, const char *name), (target, fd, name), -1)
STAND_IN(CALL_MKNODAT, int, mknodat, (int fd, const char *name, mode_t mode, dev_t dev), (fd, name, mode, dev), -1)
STAND_IN(CALL_READLINKAT, ssize_t, readlinkat, (int fd, const char *name, char *out, size_t size),
         (fd, name, out, size), -1)
STAND_IN(CALL_GETDENTS, ssize_t, getdents64, (int fd, void *out, size_t size), (fd, out, size), -1)
STAND_IN(CALL_FSTAT, int, fstat, (int fd, struct stat *st), (fd, st), -1)
STAND_IN(CALL_FCHMOD, int, fchmod, (int fd, mode_t mode), (fd, mode), -1)
STAND_IN(CALL_CHMOD, int, chmod, (const char *path, mode_t mode), (path, mode), -1)
STAND_IN(CALL_FCHOWNAT, int, fchownat, (int fd, const char *name, uid_t uid, gid_t gid, int flags),
         (fd, name, uid, gid, flags), -1)
STAND_IN(CALL_MALLOC, void *, malloc, (size_t size), (size), NULL)
STAND_IN(CALL_MALLOC, void *, calloc, (size_t count, size_t size), (count, size), NULL)

int __real_openat(int fd, const char *name, int flags, ...);
int __wrap_openat(int fd, const char *name, int flags, ...);
int __real_close(int fd);
int __wrap_close(int fd);

int __wrap_openat(int fd, const char *name, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    return faults_hit(CALL_OPENAT) ? -1 : __real_openat(fd, name, flags, mode);
}

int __wrap_close(int fd)
{
    int rc = __real_close(fd);
    return faults_hit(CALL_CLOSE) ? -1 : rc;
}
