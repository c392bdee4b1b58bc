#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clients.h"

#define BS PCV_BLOCK_SIZE

static pcv_file *open_file(const struct world_file *file, pcv_file_policy *policy, bool is_writable)
{
    pcv_file *opened;
    CHECK(pcv_file_new(policy, world_reopen(file, is_writable), is_writable, "path", &opened) == 0);
    return opened;
}

int world_reopen(const struct world_file *file, bool is_writable)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
    int fd = open(path, (is_writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static void damage(struct world_file *file, pcv_file_policy *policy, size_t overhead)
{
    struct rng rng = {5};
    uint64_t bad_block;
    pcv_scratch *scratch;
    pcv_file *opened = open_file(file, policy, true);
    file->size = 10 * BS;
    rng_fill(&rng, file->data, file->size);
    CHECK(pcv_scratch_new(&scratch) == 0);
    CHECK(pcv_file_write(opened, 0, file->data, file->size, scratch, &bad_block) == 0);
    off_t at = (off_t)(PCV_HEADER_SIZE + WORLD_CORRUPT_BLOCK * (BS + overhead) + 1000);
    uint8_t byte;
    CHECK(pread(file->fd, &byte, 1, at) == 1);
    byte ^= 1;
    CHECK(pwrite(file->fd, &byte, 1, at) == 1);
    pcv_scratch_free(scratch);
    pcv_file_unref(opened);
}

void world_make(struct world *world, pcv_file_policy *policy, size_t overhead)
{
    for (size_t i = 0; i < WORLD_FILES; i++) {
        struct world_file *file = &world->files[i];
        pthread_rwlock_init(&file->lock, NULL);
        file->fd = new_unlinked_file();
        file->size = 0;
        file->data = malloc(FILE_ROOM);
        CHECK(file->data != NULL);
    }
    damage(&world->files[WORLD_FILES - 1], policy, overhead);
    char path[] = "/tmp/pcv-test-XXXXXX";
    CHECK(mkdtemp(path) != NULL);
    world->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int present = openat(world->directory, "present", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(world->directory >= 0 && present >= 0);
    close(present);
}

static void check_file(const struct world *world, const struct world_file *file, pcv_file_policy *policy)
{
    pcv_scratch *scratch;
    uint8_t *out = malloc(PCV_FILE_IO_MAX + BS);
    CHECK(out && pcv_scratch_new(&scratch) == 0);
    pcv_file *opened = open_file(file, policy, false);
    uint64_t size, bad_block;
    CHECK(pcv_file_size(opened, &size) == 0);
    CHECK(!world->is_complete || size == file->size);
    for (size_t at = 0, got; at < size; at += got) {
        CHECK(pcv_file_read(opened, at, PCV_FILE_IO_MAX, out, &got, scratch, &bad_block) == 0 && got > 0);
        CHECK(!world->is_complete || memcmp(out, file->data + at, got) == 0);
    }
    pcv_file_unref(opened);
    pcv_scratch_free(scratch);
    free(out);
}

void world_check(struct world *world, pcv_file_policy *policy)
{
    for (size_t i = 0; i < WORLD_FILES; i++) {
        struct world_file *file = &world->files[i];
        if (i < WORLD_FILES - 1)
            check_file(world, file, policy);
        close(file->fd);
        free(file->data);
        pthread_rwlock_destroy(&file->lock);
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", world->directory);
    char target[64] = {0};
    CHECK(readlink(path, target, sizeof target - 1) > 0);
    CHECK(unlinkat(world->directory, "present", 0) == 0 && rmdir(target) == 0);
    close(world->directory);
}
