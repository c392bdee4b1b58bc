#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t used_seed;
static const char *program = "test";

void check_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: failed: %s\nrepeat with: %s %llu\n", file, line, condition, program,
            (unsigned long long)used_seed);
    abort(); /* the sanitizers show the stack */
}

void check_arguments(int argc, char **argv, uint64_t *seed, unsigned int *rounds)
{
    program = argv[0];
    if (argc > 1)
        *seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        *rounds = (unsigned int)strtoul(argv[2], NULL, 10);
    used_seed = *seed;
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

size_t rng_below(struct rng *rng, size_t limit)
{
    return (size_t)(rng_next(rng) % limit);
}

bool rng_chance(struct rng *rng, unsigned int percent)
{
    return rng_below(rng, 100) < percent;
}

void rng_fill(struct rng *rng, uint8_t *out, size_t size)
{
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++, word >>= 8) {
        if (i % sizeof word == 0)
            word = rng_next(rng) | UINT64_C(0x0101010101010101);
        out[i] = (uint8_t)word;
    }
}

size_t key_size(int kind)
{
    return kind == PCV_AES_SIV ? PCV_SIV_KEY_SIZE : PCV_KEY_SIZE;
}

size_t overhead_of(int kind)
{
    return (kind == PCV_XCHACHA20_POLY1305 ? PCV_XCHACHA_NONCE_SIZE : PCV_AES_GCM_NONCE_SIZE) + PCV_TAG_SIZE;
}

pcv_aead *new_aead(int kind)
{
    uint8_t key[PCV_SIV_KEY_SIZE];
    pcv_aead *aead = NULL;
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(i + 1);
    CHECK(pcv_aead_new(kind, key, key_size(kind), &aead) == PCV_OK);
    return aead;
}

char *exact_copy(const void *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    return copy;
}

int new_unlinked_file(void)
{
    const char *directory = getenv("TMPDIR");
    char path[256];
    snprintf(path, sizeof path, "%s/pcv-test-XXXXXX", directory ? directory : "/tmp");
    int fd = mkostemp(path, O_CLOEXEC);
    CHECK(fd >= 0 && unlink(path) == 0);
    return fd;
}

unsigned int count_fds(void)
{
    unsigned int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}
