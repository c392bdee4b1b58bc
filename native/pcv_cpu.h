/* On which CPU the lane's main thread runs: next to its client, where that can be had. Internal to the lane.
 *
 * A program that waits for one request after another is served fastest on its own CPU: when it sleeps the lane runs, when
 * the lane sleeps it runs, and nobody has to wake another CPU, which costs more than most requests (in a virtual machine
 * 20 us and more each way). But the scheduler puts whoever wakes up on an idle CPU, if there is one. Only a CPU that the
 * host has let go of does not count as idle: so the lane moves to its client's CPU and lets the others fall asleep before
 * it replies. Where that does not help (no virtual machine, or other work about), it gives up for a while.
 *
 * Threads: one.
 */
#ifndef PCV_CPU_H
#define PCV_CPU_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct pcv_cpu {
    cpu_set_t allowed; /* when the lane began */
    bool is_possible;  /* there is more than one */
    bool is_grouped;   /* the thread stays on `cpu` */
    int cpu;
    uint32_t client;            /* thread of the latest request */
    unsigned int seen, changes; /* requests since the last look, and how often it was from another, or large */
    bool is_crowded;             /* several clients at once, or large requests */
    uint64_t looked_us;
    unsigned int misses;         /* looks in a row that found the client elsewhere */
    uint64_t retry_us, pause_us; /* when to try again after giving up, and how long to wait the next time */
};

void pcv_cpu_init(struct pcv_cpu *cpu);

/* A request was received; client is the thread that waits for the reply, or 0. May take this thread to another CPU. */
void pcv_cpu_saw(struct pcv_cpu *cpu, uint32_t client, bool is_small);

#endif
