/*
 * The client side of the mount benchmarks: what a program does to a filesystem, without the cost of an interpreter.
 *
 * workloads.c has the workloads, main.c runs one of them in any number of processes at once and measures it. A workload
 * works on paths relative to the current directory, which main.c has put on the mount, and knows nothing of times, except
 * that some note how long each call took.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stddef.h>
#include <stdint.h>

enum {
    PAGE = 4096,          /* each page of a file starts with a stamp; also the unit of random access */
    FILES_PER_DIR = 500,  /* of the workloads with many small files */
    MAX_CLIENTS = 64,
    MAX_LATENCIES = 1 << 20, /* noted per client; later calls are not */
};

/* What one client process did; lives in memory that all of them share. */
struct tally {
    uint64_t bytes;
    uint64_t ops;
    uint32_t n_latencies;
    uint32_t *latencies_ns; /* MAX_LATENCIES of them */
};

/* One of the client processes. */
struct client {
    unsigned index; /* 0 .. clients - 1; each has files of its own */
    char **args;    /* of the workload, without its name */
    struct tally *tally;
    void *state; /* from prepare to run */
};

struct workload {
    const char *name;
    int n_args; /* -1: one or more */
    const char *help;
    void (*prepare)(struct client *); /* not timed; may be NULL */
    void (*run)(struct client *);     /* timed */
};

extern const struct workload workloads[]; /* ends with a NULL name */

/* Print a message and errno's, and end the process. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t parse_size(const char *text);
uint64_t now_ns(void);

#endif
