/* What the C tests share: checks, seeded randomness, ciphers, places for files. */
#ifndef PCV_TESTS_CHECK_H
#define PCV_TESTS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_aead.h"

#define CHECK(condition)                                  \
    do {                                                  \
        if (!(condition))                                 \
            check_failed(__FILE__, __LINE__, #condition); \
    } while (0)

/* Says where, and with which seed, and ends the program. */
_Noreturn void check_failed(const char *file, int line, const char *condition);

/* The seed and how many times to go round: from the command line, else these. */
void check_arguments(int argc, char **argv, uint64_t *seed, unsigned int *rounds);

/* splitmix64: any state is good. */
struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *rng);
size_t rng_below(struct rng *rng, size_t limit);           /* 0 .. limit - 1 */
bool rng_chance(struct rng *rng, unsigned int percent);
void rng_fill(struct rng *rng, uint8_t *out, size_t size); /* never a zero byte: that is what holes have */

size_t key_size(int kind);
size_t overhead_of(int kind);
pcv_aead *new_aead(int kind);

/* A copy that ends where its memory does, so that the sanitizer sees who reads on. Never NULL; to be freed. */
char *exact_copy(const void *data, size_t size);

/* A new file that has no name any more, in $TMPDIR. */
int new_unlinked_file(void);

/* Open descriptors of this process. */
unsigned int count_fds(void);

#endif
