#include "pcv_pool.h"

#include <string.h>

#include "pcv_secret.h"

int pcv_pool_init(struct pcv_pool *pool, const struct pcv_pool_ops *ops, const uint8_t *key)
{
    if (ops->key_size > sizeof pool->key)
        return PCV_ERR_ARG;
    memset(pool, 0, sizeof *pool);
    pool->ops = ops;
    if (pthread_mutex_init(&pool->lock, NULL) != 0)
        return PCV_ERR_NOMEM;
    memcpy(pool->key, key, ops->key_size);
    int rc = ops->make(pool->key, &pool->idle[0]);
    if (rc != PCV_OK) {
        pcv_pool_destroy(pool);
        return rc;
    }
    pool->idle_count = 1;
    return PCV_OK;
}

int pcv_pool_take(struct pcv_pool *pool, void **ctx)
{
    int rc = PCV_OK;
    pthread_mutex_lock(&pool->lock);
    if (pool->is_closed)
        rc = PCV_ERR_CLOSED;
    else if (pool->idle_count > 0)
        *ctx = pool->idle[--pool->idle_count];
    else
        rc = pool->ops->make(pool->key, ctx); /* under the lock, because close wipes the key */
    pthread_mutex_unlock(&pool->lock);
    return rc;
}

void pcv_pool_give(struct pcv_pool *pool, void *ctx)
{
    pthread_mutex_lock(&pool->lock);
    if (!pool->is_closed && pool->idle_count < PCV_POOL_IDLE_MAX) {
        pool->idle[pool->idle_count++] = ctx;
        ctx = NULL;
    }
    pthread_mutex_unlock(&pool->lock);
    pool->ops->destroy(ctx);
}

void pcv_pool_close(struct pcv_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->is_closed = true;
    pcv_wipe(pool->key, sizeof pool->key);
    while (pool->idle_count > 0)
        pool->ops->destroy(pool->idle[--pool->idle_count]);
    pthread_mutex_unlock(&pool->lock);
}

void pcv_pool_destroy(struct pcv_pool *pool)
{
    pcv_pool_close(pool);
    pthread_mutex_destroy(&pool->lock);
}
