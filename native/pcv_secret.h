/* Memory for keys: whole pages, locked where the limit allows, left out of core dumps, wiped before they go back.
 *
 * MADV_WIPEONFORK is deliberately not set: a fork that goes on without exec (a daemonising parent) still needs its
 * keys, and the child of a fork with exec loses the pages anyway.
 */
#ifndef PCV_SECRET_H
#define PCV_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"

/* Allocate size > 0 zeroed bytes on pages of their own. NULL: no memory, or size is 0. */
PCV_MUST_USE void *pcv_secret_alloc(size_t size);

/* Wipe and unmap what pcv_secret_alloc(size) returned. NULL is allowed. */
void pcv_secret_free(void *secret, size_t size);

/* Overwrite size bytes in a way that the compiler can't leave out. Any memory. */
void pcv_wipe(void *memory, size_t size);

/* Compare in time that depends on size only. 1: equal, 0: different. */
PCV_MUST_USE int pcv_equal(const void *a, const void *b, size_t size);

#endif
