#include "world.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define BS PCV_BLOCK_SIZE
#define LEFTOVER PCV_DIRIV_RMDIR_PREFIX "123"

/* --- making ----------------------------------------------------------------------------------------------------- */

static int write_file(const struct volume *v, int dirfd, const char *name)
{
    struct pcv_cname cname = volume_cname(v, dirfd, name);
    int fd = openat(dirfd, cname.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    CHECK(fd >= 0);
    if (cname.full[0] != '\0') {
        char sidecar[PCV_NAME_MAX + 8];
        snprintf(sidecar, sizeof sidecar, "%s" PCV_LONG_NAME_SUFFIX, cname.name);
        int other = openat(dirfd, sidecar, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
        CHECK(other >= 0 && write(other, cname.full, strlen(cname.full)) == (ssize_t)strlen(cname.full));
        close(other);
    }
    return fd;
}

static uint64_t number_of(int fd)
{
    struct stat st;
    CHECK(fstat(fd, &st) == 0);
    return st.st_ino;
}

static struct object *know(struct world *w, struct object *dir, const char *name, uint32_t type, enum model_role role)
{
    struct object *object = model_new(&w->model, type, type == S_IFDIR ? 0755 : 0644);
    object->role = role;
    model_add(&w->model, dir, name, object);
    return object;
}

static int make_dir(struct world *w, const char *name, bool has_iv)
{
    struct pcv_cname cname = volume_cname(&w->volume, w->volume.root_fd, name);
    CHECK(mkdirat(w->volume.root_fd, cname.name, 0755) == 0);
    int fd = openat(w->volume.root_fd, cname.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(fd >= 0);
    if (has_iv)
        volume_write_iv(&w->volume, fd, (uint8_t)name[0]);
    return fd;
}

static void make_corrupt(struct world *w)
{
    struct rng rng = {5};
    uint64_t bad_block;
    pcv_scratch *scratch;
    pcv_file *file;
    struct object *object = know(w, w->model.root, "corrupt", S_IFREG, ROLE_CORRUPT);
    int fd = write_file(&w->volume, w->volume.root_fd, "corrupt"), again = dup(fd);
    model_resize(object, WORLD_CORRUPT_SIZE);
    rng_fill(&rng, object->data, object->size);
    CHECK(pcv_scratch_new(&scratch) == 0 && pcv_file_new(w->volume.files, fd, true, "path", &file) == 0);
    CHECK(pcv_file_write(file, 0, object->data, object->size, scratch, &bad_block) == 0);
    off_t at = (off_t)(PCV_HEADER_SIZE + WORLD_CORRUPT_BLOCK * (BS + w->volume.nonce_size + PCV_TAG_SIZE) + 1000);
    uint8_t byte;
    CHECK(pread(again, &byte, 1, at) == 1);
    byte ^= 1;
    CHECK(pwrite(again, &byte, 1, at) == 1);
    w->corrupt = number_of(again);
    close(again);
    pcv_scratch_free(scratch);
    pcv_file_unref(file);
}

static void make_odd(struct world *w)
{
    int fd = make_dir(w, "odd", true);
    struct object *odd = know(w, w->model.root, "odd", S_IFDIR, ROLE_FIXED);
    w->odd = number_of(fd);
    close(write_file(&w->volume, fd, w->long_name));
    know(w, odd, w->long_name, S_IFREG, ROLE_FIXED);
    if (w->volume.names.eme) {
        int bad = openat(fd, WORLD_BAD_NAME, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        CHECK(bad >= 0 && mkdirat(fd, LEFTOVER, 0700) == 0);
        close(bad);
    }
    close(fd);
}

static void make_broken(struct world *w)
{
    if (!volume_has_ivs(&w->volume))
        return;
    int fd = make_dir(w, "broken", false);
    know(w, w->model.root, "broken", S_IFDIR, ROLE_BROKEN);
    w->broken = number_of(fd);
    close(fd);
}

static void make_play(struct world *w)
{
    int fd = make_dir(w, "play", true), file = write_file(&w->volume, fd, "file");
    know(w, w->model.root, "play", S_IFDIR, ROLE_PLAY)->has_mode = false;
    w->play = number_of(fd);
    w->play_file = number_of(file);
    close(file);
    close(fd);
}

void world_make(struct world *w, enum volume_names names, int kind, int prealloc, bool has_intents)
{
    static const char *const files[] = {"a", "b", "c", "d"};
    volume_make(&w->volume, names, kind, prealloc, has_intents);
    struct statfs fs;
    CHECK(fstatfs(w->volume.root_fd, &fs) == 0);
    w->keeps_positions = fs.f_type != TMPFS_MAGIC;
    model_make(&w->model);
    memset(w->long_name, 'l', WORLD_LONG_NAME_SIZE);
    make_corrupt(w);
    make_odd(w);
    make_broken(w);
    make_play(w);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        close(write_file(&w->volume, w->volume.root_fd, files[i]));
        know(w, w->model.root, files[i], S_IFREG, ROLE_ANY);
    }
    close(make_dir(w, "empty", true));
    know(w, w->model.root, "empty", S_IFDIR, ROLE_ANY);
}

bool world_is_long(const struct world *w, const char *name)
{
    return w->volume.names.eme && strlen(name) >= WORLD_LONG_NAME_SIZE;
}

/* --- comparing -------------------------------------------------------------------------------------------------- */

static void check_content(struct world *w, const struct object *file, int dirfd, const char *cname)
{
    pcv_scratch *scratch;
    pcv_file *opened;
    uint64_t size, bad_block;
    uint8_t *out = malloc(PCV_FILE_IO_MAX + BS);
    int fd = openat(dirfd, cname, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    CHECK(out && fd >= 0 && pcv_scratch_new(&scratch) == 0);
    CHECK(pcv_file_new(w->volume.files, fd, false, "path", &opened) == 0);
    CHECK(pcv_file_size(opened, &size) == 0 && size == file->size);
    for (size_t at = 0, got; at < size && file->role != ROLE_CORRUPT; at += got) {
        CHECK(pcv_file_read(opened, at, PCV_FILE_IO_MAX, out, &got, scratch, &bad_block) == 0 && got > 0);
        CHECK(memcmp(out, file->data + at, got) == 0);
    }
    pcv_file_unref(opened);
    pcv_scratch_free(scratch);
    free(out);
}

static void check_target(struct world *w, const struct object *link, int dirfd, const char *cname)
{
    char stored[PCV_TARGET_MAX + 1], target[PCV_TARGET_MAX + 1];
    size_t size;
    ssize_t got = readlinkat(dirfd, cname, stored, sizeof stored);
    CHECK(got > 0 && pcv_target_decode(&w->volume.names, w->volume.aead, w->volume.nonce_size, stored, (size_t)got,
                                       target, &size) == 0);
    CHECK(strcmp(target, link->target) == 0);
}

/* What is there besides names. Temporary names are left behind only by what could not clean up. */
static void check_stranger(const struct world *w, const struct object *dir, const char *cname)
{
    bool is_odd = strcmp(cname, WORLD_BAD_NAME) == 0 || strcmp(cname, LEFTOVER) == 0;
    int class = pcv_cname_classify(&w->volume.names, false, cname);
    if (is_odd)
        CHECK(dir->role == ROLE_FIXED && dir != w->model.root);
    else
        CHECK(class == PCV_CNAME_RESERVED || class == PCV_CNAME_SIDECAR ||
              (class == PCV_CNAME_LEFTOVER && w->has_faults));
}

static void check_dir(struct world *w, struct object *dir, int dirfd);

static void check_entry(struct world *w, const struct entry *entry, int dirfd, const char *cname)
{
    struct object *object = entry->object;
    struct stat st;
    CHECK(fstatat(dirfd, cname, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & S_IFMT) == object->type);
    CHECK(!object->has_mode || object->type == S_IFLNK || (st.st_mode & 07777) == object->mode);
    CHECK(object->type == S_IFDIR || st.st_nlink == object->names);
    if (object->type == S_IFREG) {
        check_content(w, object, dirfd, cname);
    } else if (object->type == S_IFLNK) {
        check_target(w, object, dirfd, cname);
    } else if (object->type == S_IFDIR && object->role != ROLE_PLAY && object->role != ROLE_BROKEN) {
        int fd = openat(dirfd, cname, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        CHECK(fd >= 0);
        check_dir(w, object, fd);
        close(fd);
    }
}

/* Everything that is there is known, and everything that is known is there. */
static void check_dir(struct world *w, struct object *dir, int dirfd)
{
    char name[PCV_NAME_MAX + 1];
    size_t found = 0, known = 0;
    DIR *listing = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    CHECK(listing != NULL);
    for (const struct dirent *below; (below = readdir(listing)) != NULL;) {
        if (strcmp(below->d_name, ".") == 0 || strcmp(below->d_name, "..") == 0)
            continue;
        if (!volume_name(&w->volume, dirfd, below->d_name, name)) {
            check_stranger(w, dir, below->d_name);
            continue;
        }
        const struct entry *entry = model_find(&w->model, dir, name);
        CHECK(entry != NULL);
        check_entry(w, entry, dirfd, below->d_name);
        found++;
    }
    closedir(listing);
    for (size_t i = 0; i < MODEL_ENTRIES; i++)
        known += w->model.entries[i].dir == dir;
    CHECK(found == known);
}

void world_check(struct world *w)
{
    if (w->is_complete)
        check_dir(w, w->model.root, w->volume.root_fd);
    model_free(&w->model);
    volume_remove(&w->volume);
}
