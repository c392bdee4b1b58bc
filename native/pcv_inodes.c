#include "pcv_inodes.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 1024                   /* buckets, a power of two */
#define COUNTER_START (UINT64_C(1) << 63) /* numbers that no filesystem uses */

struct pcv_inodes {
    pcv_inode **by_number, **by_identity;
    size_t room; /* of each */
    uint64_t root_dev;
    uint64_t next_number;
    void (*on_drop)(void *context, pcv_inode *inode);
    void *context;
    _Atomic size_t count;
    _Atomic uint64_t lookups;
};

/* --- hashing ---------------------------------------------------------------------------------------------------- */

static size_t bucket(uint64_t key, size_t room)
{
    return (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & (room - 1); /* Fibonacci hashing */
}

static size_t identity_bucket(uint64_t dev, uint64_t ino, size_t room)
{
    return bucket(ino ^ dev << 40, room);
}

static void put_number(pcv_inode **table, size_t room, pcv_inode *inode)
{
    pcv_inode **head = &table[bucket(inode->number, room)];
    inode->next_by_number = *head;
    *head = inode;
}

static void put_identity(pcv_inode **table, size_t room, pcv_inode *inode)
{
    pcv_inode **head = &table[identity_bucket(inode->dev, inode->ino, room)];
    inode->next_by_identity = *head;
    *head = inode;
}

/* Twice the buckets once there are as many inodes. Without memory, chains just grow longer. */
static void make_room(pcv_inodes *t)
{
    if (atomic_load_explicit(&t->count, memory_order_relaxed) < t->room)
        return;
    size_t room = 2 * t->room;
    pcv_inode **by_number = calloc(room, sizeof *by_number), **by_identity = calloc(room, sizeof *by_identity);
    if (!by_number || !by_identity) {
        free(by_number);
        free(by_identity);
        return;
    }
    for (size_t i = 0; i < t->room; i++) {
        for (pcv_inode *inode = t->by_number[i], *next; inode; inode = next) {
            next = inode->next_by_number;
            put_number(by_number, room, inode);
            if (inode->has_identity)
                put_identity(by_identity, room, inode);
        }
    }
    free(t->by_number);
    free(t->by_identity);
    t->by_number = by_number;
    t->by_identity = by_identity;
    t->room = room;
}

pcv_inode *pcv_inodes_get(const pcv_inodes *t, uint64_t number)
{
    pcv_inode *inode = t->by_number[bucket(number, t->room)];
    while (inode && inode->number != number)
        inode = inode->next_by_number;
    return inode;
}

pcv_inode *pcv_inodes_find(const pcv_inodes *t, uint64_t dev, uint64_t ino)
{
    pcv_inode *inode = t->by_identity[identity_bucket(dev, ino, t->room)];
    while (inode && (inode->ino != ino || inode->dev != dev))
        inode = inode->next_by_identity;
    return inode;
}

/* Its backing object is somebody else's now, or gone. */
static void disown(pcv_inodes *t, pcv_inode *inode)
{
    if (!inode->has_identity)
        return;
    pcv_inode **at = &t->by_identity[identity_bucket(inode->dev, inode->ino, t->room)];
    while (*at != inode)
        at = &(*at)->next_by_identity;
    *at = inode->next_by_identity;
    inode->has_identity = false;
}

static void take_out(pcv_inodes *t, pcv_inode *inode)
{
    disown(t, inode);
    pcv_inode **at = &t->by_number[bucket(inode->number, t->room)];
    while (*at != inode)
        at = &(*at)->next_by_number;
    *at = inode->next_by_number;
    atomic_fetch_sub_explicit(&t->count, 1, memory_order_relaxed);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

static pcv_inode *new_inode(pcv_inodes *t, uint64_t number, const struct stat *st)
{
    pcv_inode *inode = calloc(1, sizeof *inode);
    if (!inode)
        return NULL;
    make_room(t);
    inode->number = number;
    inode->dev = st->st_dev;
    inode->ino = st->st_ino;
    inode->type = st->st_mode & S_IFMT;
    inode->fd = inode->orphan_fd = -1;
    inode->has_identity = true;
    put_number(t->by_number, t->room, inode);
    put_identity(t->by_identity, t->room, inode);
    atomic_fetch_add_explicit(&t->count, 1, memory_order_relaxed);
    return inode;
}

int pcv_inodes_new(const struct stat *root, void (*on_drop)(void *context, pcv_inode *inode), void *context,
                   pcv_inodes **out)
{
    pcv_inodes *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    t->room = FIRST_ROOM;
    t->root_dev = root->st_dev;
    t->next_number = COUNTER_START;
    t->on_drop = on_drop;
    t->context = context;
    t->by_number = calloc(t->room, sizeof(pcv_inode *));
    t->by_identity = calloc(t->room, sizeof(pcv_inode *));
    pcv_inode *inode = t->by_number && t->by_identity ? new_inode(t, PCV_ROOT_INODE, root) : NULL;
    if (!inode) {
        free(t->by_number);
        free(t->by_identity);
        free(t);
        return -ENOMEM;
    }
    inode->pins = 1; /* the kernel never forgets the root */
    *out = t;
    return 0;
}

static void free_links(pcv_inode *inode)
{
    for (struct pcv_link *link = inode->links, *next; link; link = next) {
        next = link->next;
        free(link);
    }
    inode->links = NULL;
}

void pcv_inodes_free(pcv_inodes *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->room; i++) {
        for (pcv_inode *inode = t->by_number[i], *next; inode; inode = next) {
            next = inode->next_by_number;
            t->on_drop(t->context, inode);
            free_links(inode);
            free(inode);
        }
    }
    free(t->by_number);
    free(t->by_identity);
    free(t);
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static uint64_t choose_number(pcv_inodes *t, const struct stat *st)
{
    if (st->st_dev == t->root_dev && st->st_ino < COUNTER_START && st->st_ino > PCV_ROOT_INODE &&
        !pcv_inodes_get(t, st->st_ino))
        return st->st_ino;
    return t->next_number++;
}

int pcv_inodes_intern(pcv_inodes *t, const struct stat *st, pcv_inode *parent, const char *cname, pcv_inode **out)
{
    pcv_inode *inode = pcv_inodes_find(t, st->st_dev, st->st_ino);
    if (inode && inode->type != (st->st_mode & S_IFMT)) {
        disown(t, inode); /* hands in the cipherdir replaced the object */
        inode = NULL;
    }
    if (!inode) {
        inode = new_inode(t, choose_number(t, st), st);
        if (!inode)
            return -ENOMEM;
    }
    int rc = pcv_inodes_add_link(t, inode, parent, cname);
    if (rc != 0) {
        pcv_inodes_release(t, inode);
        return rc;
    }
    *out = inode;
    return 0;
}

static bool is_link(const struct pcv_link *link, const pcv_inode *parent, const char *cname, size_t size)
{
    return link->parent == parent && link->size == size && memcmp(link->cname, cname, size) == 0;
}

int pcv_inodes_add_link(pcv_inodes *t, pcv_inode *inode, pcv_inode *parent, const char *cname)
{
    size_t size = strlen(cname);
    struct pcv_link **end = &inode->links;
    for (; *end; end = &(*end)->next) {
        if (is_link(*end, parent, cname, size))
            return 0;
    }
    if (inode->number == PCV_ROOT_INODE)
        return -ELOOP;
    struct pcv_link *link = malloc(sizeof *link + size + 1);
    if (!link)
        return -ENOMEM;
    link->next = NULL;
    link->parent = parent;
    link->size = (uint16_t)size;
    memcpy(link->cname, cname, size + 1);
    parent->pins++;
    if (inode->type == S_IFDIR && inode->links) {
        struct pcv_link *old = inode->links;
        inode->links = link;
        pcv_inodes_unpin(t, old->parent);
        free(old);
    } else {
        *end = link;
    }
    return 0;
}

void pcv_inodes_remove_link(pcv_inodes *t, pcv_inode *inode, pcv_inode *parent, const char *cname)
{
    size_t size = strlen(cname);
    for (struct pcv_link **at = &inode->links; *at; at = &(*at)->next) {
        struct pcv_link *link = *at;
        if (is_link(link, parent, cname, size)) {
            *at = link->next;
            free(link);
            pcv_inodes_unpin(t, parent);
            return;
        }
    }
}

/* --- reasons to stay -------------------------------------------------------------------------------------------- */

void pcv_inodes_looked_up(pcv_inodes *t, pcv_inode *inode)
{
    inode->nlookup++;
    atomic_fetch_add_explicit(&t->lookups, 1, memory_order_relaxed);
}

void pcv_inodes_pin(pcv_inodes *t, pcv_inode *inode)
{
    (void)t;
    inode->pins++;
}

void pcv_inodes_unpin(pcv_inodes *t, pcv_inode *inode)
{
    inode->pins--;
    pcv_inodes_release(t, inode);
}

int pcv_inodes_forget(pcv_inodes *t, uint64_t number, uint64_t count)
{
    pcv_inode *inode = pcv_inodes_get(t, number);
    if (!inode || inode->nlookup < count)
        return -EINVAL;
    inode->nlookup -= count;
    atomic_fetch_sub_explicit(&t->lookups, count, memory_order_relaxed);
    pcv_inodes_release(t, inode);
    return 0;
}

/* Without recursion, since a tree may be as deep as it likes: a dropped inode's parents wait in its own links. */
void pcv_inodes_release(pcv_inodes *t, pcv_inode *inode)
{
    struct pcv_link *waiting = NULL;
    for (;;) {
        if (inode->nlookup == 0 && inode->pins == 0) {
            take_out(t, inode);
            t->on_drop(t->context, inode);
            struct pcv_link **end = &inode->links;
            while (*end)
                end = &(*end)->next;
            *end = waiting;
            waiting = inode->links;
            free(inode);
        }
        if (!waiting)
            return;
        struct pcv_link *link = waiting;
        waiting = link->next;
        inode = link->parent;
        inode->pins--;
        free(link);
    }
}

void pcv_inodes_path(const pcv_inode *inode, char *path, size_t room)
{
    size_t at = room;
    const pcv_inode *top = inode;
    if (at > 0)
        path[--at] = '\0';
    for (; top->links && at > 0; top = top->links->parent) {
        const struct pcv_link *link = top->links;
        bool is_last = top == inode;
        if (at < link->size + (is_last ? 0u : 1u))
            break;
        if (!is_last)
            path[--at] = '/';
        at -= link->size;
        memcpy(path + at, link->cname, link->size);
    }
    if (top->number != PCV_ROOT_INODE && room > 0)
        at = room - 1;
    memmove(path, path + at, room - at);
}

void pcv_inodes_each(pcv_inodes *t, void (*visit)(void *context, pcv_inode *inode), void *context)
{
    for (size_t i = 0; i < t->room; i++) {
        for (pcv_inode *inode = t->by_number[i]; inode; inode = inode->next_by_number)
            visit(context, inode);
    }
}

size_t pcv_inodes_list(const pcv_inodes *t, uint64_t *numbers, size_t room)
{
    size_t found = 0;
    for (size_t i = 0; i < t->room; i++) {
        for (const pcv_inode *inode = t->by_number[i]; inode; inode = inode->next_by_number, found++) {
            if (found < room)
                numbers[found] = inode->number;
        }
    }
    return found;
}

size_t pcv_inodes_count(const pcv_inodes *t)
{
    return atomic_load_explicit(&t->count, memory_order_relaxed);
}

uint64_t pcv_inodes_lookups(const pcv_inodes *t)
{
    return atomic_load_explicit(&t->lookups, memory_order_relaxed);
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

void pcv_lru_init(struct pcv_lru *list)
{
    list->previous = list->next = list;
}

void pcv_lru_remove(struct pcv_lru *item)
{
    if (!item->next)
        return;
    item->previous->next = item->next;
    item->next->previous = item->previous;
    item->previous = item->next = NULL;
}

void pcv_lru_touch(struct pcv_lru *list, struct pcv_lru *item)
{
    if (list->previous == item)
        return;
    pcv_lru_remove(item);
    item->next = list;
    item->previous = list->previous;
    list->previous->next = item;
    list->previous = item;
}

pcv_inode *pcv_lru_oldest(const struct pcv_lru *list)
{
    if (list->next == list)
        return NULL;
    return (pcv_inode *)(void *)((char *)list->next - offsetof(pcv_inode, lru));
}
