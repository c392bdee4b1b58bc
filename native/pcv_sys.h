/* System calls that Python does not offer. Each returns 0, or -errno. No state. */
#ifndef PCV_SYS_H
#define PCV_SYS_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "pcv_err.h"

/* renameat2(2). Names are NUL-terminated; flags are RENAME_NOREPLACE (1), RENAME_EXCHANGE (2), RENAME_WHITEOUT (4). */
PCV_MUST_USE int pcv_renameat2(int old_dirfd, const char *old_name, int new_dirfd, const char *new_name,
                               unsigned int flags);

/* fallocate(2). May return -EINTR: the caller decides whether to go on. */
PCV_MUST_USE int pcv_fallocate(int fd, int mode, int64_t offset, int64_t length);

/* utimensat(2); either nsec may be UTIME_OMIT. flags: 0, or AT_SYMLINK_NOFOLLOW. */
PCV_MUST_USE int pcv_utimensat(int dirfd, const char *name, int64_t atime_s, int64_t atime_nsec, int64_t mtime_s,
                               int64_t mtime_nsec, int flags);

/* syncfs(2): write what is cached of the filesystem that holds fd. */
PCV_MUST_USE int pcv_syncfs(int fd);

/* Fill size bytes from getrandom(2); blocks only before the kernel's pool is ready, early in boot. */
PCV_MUST_USE int pcv_random(uint8_t *out, size_t size);

/* Forbid core dumps and ptrace by other processes of the same user (PR_SET_DUMPABLE = 0). */
PCV_MUST_USE int pcv_set_undumpable(void);

/* mount(2) and umount2(2). */
PCV_MUST_USE int pcv_mount(const char *source, const char *target, const char *fs_type, unsigned long flags,
                           const char *data);
PCV_MUST_USE int pcv_umount2(const char *target, int flags);

/*
 * Show other words as the command line of this process, NUL after each of them. They overwrite those that exec put
 * there, so what does not fit is cut off. From the only thread: others, libc among them, may be reading it.
 */
PCV_MUST_USE int pcv_set_command_line(const uint8_t *words, size_t size);

/* Name the calling thread; the main thread's is the name of the process. At most 15 bytes, NUL-terminated. */
PCV_MUST_USE int pcv_set_name(const char *name);

#endif
