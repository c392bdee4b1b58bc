/* Which open file belongs to which node id. Internal to the lane.
 *
 * Threads: any; a lock inside, held for a hash lookup. */
#ifndef PCV_NODES_H
#define PCV_NODES_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "pcv_err.h"
#include "pcv_file.h"

struct pcv_nodes {
    pthread_mutex_t lock; /* guards what follows; no lock is taken under it */
    struct pcv_node_slot *slots;
    size_t room; /* a power of two */
    size_t used; /* slots that are not free, removed ones included */
    size_t live;
};

PCV_MUST_USE int pcv_nodes_init(struct pcv_nodes *nodes);
void pcv_nodes_destroy(struct pcv_nodes *nodes); /* gives back every reference */

/* Takes a reference; one that was there for the node is given back. -ENOMEM. */
PCV_MUST_USE int pcv_nodes_put(struct pcv_nodes *nodes, uint64_t node, pcv_file *file);
void pcv_nodes_remove(struct pcv_nodes *nodes, uint64_t node);

size_t pcv_nodes_count(struct pcv_nodes *nodes);

/* A reference for the caller, or NULL. */
pcv_file *pcv_nodes_get(struct pcv_nodes *nodes, uint64_t node);

#endif
