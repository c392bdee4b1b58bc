#include "pcv_secret.h"

#include <openssl/crypto.h>
#include <sys/mman.h>
#include <unistd.h>

/* Whole pages that hold size bytes; 0 when that overflows. */
static size_t mapped_size(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (size == 0 || size > SIZE_MAX - page)
        return 0;
    return (size + page - 1) / page * page;
}

void *pcv_secret_alloc(size_t size)
{
    size_t mapped = mapped_size(size);
    if (mapped == 0)
        return NULL;
    void *secret = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (secret == MAP_FAILED)
        return NULL;
    /* Both are best effort: RLIMIT_MEMLOCK may be 0 in a container, and a key in swap beats no filesystem. */
    (void)mlock(secret, mapped);
    (void)madvise(secret, mapped, MADV_DONTDUMP);
    return secret;
}

void pcv_secret_free(void *secret, size_t size)
{
    if (secret == NULL)
        return;
    OPENSSL_cleanse(secret, size);
    (void)munmap(secret, mapped_size(size)); /* unlocks as well */
}

void pcv_wipe(void *memory, size_t size)
{
    OPENSSL_cleanse(memory, size);
}

int pcv_equal(const void *a, const void *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}
