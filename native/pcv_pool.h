/* A key and the cipher contexts that were made from it, shared by threads.
 *
 * A libcrypto context belongs to one thread at a time, and keying one costs more than a block. So contexts are kept:
 * a call takes one, or makes one when all are in use, and gives it back. The lock is held for a pointer swap (or for
 * keying a new context), never during the work itself.
 *
 * Life: pcv_pool_init -> take/give from any thread -> pcv_pool_close (wipes the key and the idle contexts; those in
 * use are destroyed when they are given back; later takes fail) -> pcv_pool_destroy, when no call is running.
 */
#ifndef PCV_POOL_H
#define PCV_POOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"
#include "pcv_spec.h"

/* Idle contexts kept; more threads than this at once still work, they pay for a context each time. */
#define PCV_POOL_IDLE_MAX 16

struct pcv_pool_ops {
    size_t key_size;
    int (*make)(const uint8_t *key, void **ctx); /* 0 or negative enum pcv_err */
    void (*destroy)(void *ctx);                  /* wipes; NULL is allowed */
};

struct pcv_pool {
    const struct pcv_pool_ops *ops;    /* fixed after init */
    pthread_mutex_t lock;              /* guards all that follows; no other lock is taken under it */
    uint8_t key[PCV_SIV_KEY_SIZE];     /* wiped by close */
    void *idle[PCV_POOL_IDLE_MAX];     /* a stack: the context used last has the warmest cache lines */
    size_t idle_count;
    bool is_closed;
};

/* Copy the key and make the first context, so that a key or library that can't work fails here.
 * pool must lie in secret memory (pcv_secret_alloc), since it holds the key. */
PCV_MUST_USE int pcv_pool_init(struct pcv_pool *pool, const struct pcv_pool_ops *ops, const uint8_t *key);
PCV_MUST_USE int pcv_pool_take(struct pcv_pool *pool, void **ctx);
void pcv_pool_give(struct pcv_pool *pool, void *ctx);
void pcv_pool_close(struct pcv_pool *pool);
void pcv_pool_destroy(struct pcv_pool *pool);

#endif
