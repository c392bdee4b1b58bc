#include "pcv_nodes.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_ROOM 1024

/* Open addressing, linear probing. Node ids are never 0 (the kernel reserves it). */
struct pcv_node_slot {
    uint64_t node;  /* 0: never used */
    pcv_file *file; /* NULL with a node: removed */
};

static size_t slot_of(uint64_t node, size_t room)
{
    return (size_t)((node * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (room - 1); /* Fibonacci hashing */
}

int pcv_nodes_init(struct pcv_nodes *nodes)
{
    nodes->slots = calloc(FIRST_ROOM, sizeof *nodes->slots);
    nodes->room = FIRST_ROOM;
    nodes->used = nodes->live = 0;
    if (!nodes->slots)
        return -ENOMEM;
    pthread_mutex_init(&nodes->lock, NULL);
    return 0;
}

void pcv_nodes_destroy(struct pcv_nodes *nodes)
{
    for (size_t i = 0; i < nodes->room; i++)
        pcv_file_unref(nodes->slots[i].file);
    free(nodes->slots);
    pthread_mutex_destroy(&nodes->lock);
}

/* The slot that holds node, or the free one where it would go. */
static struct pcv_node_slot *find(struct pcv_node_slot *slots, size_t room, uint64_t node)
{
    size_t i = slot_of(node, room);
    while (slots[i].node != 0 && slots[i].node != node)
        i = (i + 1) & (room - 1);
    return &slots[i];
}

/* Keep at least half of the slots free, and get rid of removed ones. */
static int make_room(struct pcv_nodes *nodes)
{
    if ((nodes->used + 1) * 2 <= nodes->room)
        return 0;
    size_t room = nodes->live * 4 > nodes->room ? nodes->room * 2 : nodes->room;
    struct pcv_node_slot *slots = calloc(room, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    for (size_t i = 0; i < nodes->room; i++) {
        if (nodes->slots[i].file)
            *find(slots, room, nodes->slots[i].node) = nodes->slots[i];
    }
    free(nodes->slots);
    nodes->slots = slots;
    nodes->room = room;
    nodes->used = nodes->live;
    return 0;
}

int pcv_nodes_put(struct pcv_nodes *nodes, uint64_t node, pcv_file *file)
{
    pthread_mutex_lock(&nodes->lock);
    int rc = make_room(nodes);
    pcv_file *old = NULL;
    if (rc == 0) {
        struct pcv_node_slot *slot = find(nodes->slots, nodes->room, node);
        nodes->used += slot->node == 0;
        nodes->live += slot->file == NULL;
        old = slot->file;
        slot->node = node;
        slot->file = pcv_file_ref(file);
    }
    pthread_mutex_unlock(&nodes->lock);
    pcv_file_unref(old);
    return rc;
}

void pcv_nodes_remove(struct pcv_nodes *nodes, uint64_t node)
{
    pthread_mutex_lock(&nodes->lock);
    struct pcv_node_slot *slot = find(nodes->slots, nodes->room, node);
    pcv_file *old = slot->file;
    if (old) {
        slot->file = NULL;
        nodes->live--;
    }
    pthread_mutex_unlock(&nodes->lock);
    pcv_file_unref(old);
}

size_t pcv_nodes_count(struct pcv_nodes *nodes)
{
    pthread_mutex_lock(&nodes->lock);
    size_t count = nodes->live;
    pthread_mutex_unlock(&nodes->lock);
    return count;
}

pcv_file *pcv_nodes_get(struct pcv_nodes *nodes, uint64_t node)
{
    pthread_mutex_lock(&nodes->lock);
    pcv_file *file = find(nodes->slots, nodes->room, node)->file;
    if (file)
        pcv_file_ref(file);
    pthread_mutex_unlock(&nodes->lock);
    return file;
}
