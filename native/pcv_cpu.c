#include "pcv_cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY 32        /* requests; a look takes about 5 us */
#define LOOK_SOON 8          /* requests, while it is not settled who runs where */
#define LOOK_AFTER_US 10000  /* or after that time: where we are may be crowded by now */
#define CHANGES_MAX 8 /* of these requests, from another client than the one before: more are several at once */
#define MISSES_MAX 4
#define PAUSE_MIN_US 20000
#define PAUSE_MAX_US 10000000
#define STAT_CPU_FIELD 39 /* of /proc/PID/stat, proc(5) */

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* On bare metal an idle CPU always counts as one, and waking it is cheap. */
static bool is_virtual(void)
{
#if defined(__x86_64__)
    unsigned int a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & UINT32_C(1) << 31);
#else
    return false;
#endif
}

void pcv_cpu_init(struct pcv_cpu *cpu)
{
    *cpu = (struct pcv_cpu){.pause_us = PAUSE_MIN_US};
    cpu->is_possible =
        is_virtual() && sched_getaffinity(0, sizeof cpu->allowed, &cpu->allowed) == 0 && CPU_COUNT(&cpu->allowed) > 1;
}

/* Where a thread ran last, or -1. The name in the second field may contain anything. */
static int cpu_of(uint32_t thread)
{
    char path[32], text[512];
    (void)snprintf(path, sizeof path, "/proc/%u/stat", thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (size <= 0)
        return -1;
    text[size] = '\0';
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < STAT_CPU_FIELD; field++)
        at = strchr(at + 1, ' ');
    return at ? atoi(at) : -1;
}

static void stay_on(struct pcv_cpu *cpu, int number)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)number, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0)
        return;
    cpu->is_grouped = true;
    cpu->cpu = number;
}

/* Wait until the host lets go of an idle CPU, which it does after some polling of its own. The first time, the other CPUs
 * may well be asleep already; and mostly a short wait is enough. */
static void settle(struct pcv_cpu *cpu)
{
    static const long wait_us[MISSES_MAX] = {0, 2000, 6000, 16000};
    long us = wait_us[cpu->misses++];
    if (us > 0)
        nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

static void spread(struct pcv_cpu *cpu)
{
    cpu->misses = 0;
    if (!cpu->is_grouped)
        return;
    cpu->is_grouped = false;
    (void)!sched_setaffinity(0, sizeof cpu->allowed, &cpu->allowed);
}

static void give_up(struct pcv_cpu *cpu, uint64_t now)
{
    spread(cpu);
    cpu->retry_us = now + cpu->pause_us;
    cpu->pause_us = 2 * cpu->pause_us < PAUSE_MAX_US ? 2 * cpu->pause_us : PAUSE_MAX_US;
}

static void follow(struct pcv_cpu *cpu, uint64_t now, bool may_settle)
{
    if (!cpu->is_grouped && now < cpu->retry_us)
        return;
    int number = cpu_of(cpu->client);
    if (number < 0 || number >= CPU_SETSIZE || !CPU_ISSET((size_t)number, &cpu->allowed)) {
        spread(cpu);
    } else if (cpu->is_grouped && cpu->cpu == number) {
        cpu->misses = 0;
        cpu->pause_us = PAUSE_MIN_US;
    } else if (cpu->misses == MISSES_MAX) {
        give_up(cpu, now);
    } else {
        stay_on(cpu, number);
        if (may_settle)
            settle(cpu);
    }
}

void pcv_cpu_saw(struct pcv_cpu *cpu, uint32_t client, bool is_small)
{
    if (!cpu->is_possible || client == 0) /* written back by the kernel: it says nothing of who waits for what */
        return;
    uint64_t now = now_us();
    bool is_new = client != cpu->client;
    cpu->changes += is_new || !is_small;
    cpu->client = client;
    bool is_full = ++cpu->seen >= (cpu->misses > 0 ? LOOK_SOON : LOOK_EVERY);
    if (is_full || now - cpu->looked_us > LOOK_AFTER_US) {
        cpu->is_crowded = cpu->changes > CHANGES_MAX;
        cpu->looked_us = now;
        cpu->seen = cpu->changes = 0;
    } else if (!is_new) {
        return;
    }
    if (cpu->is_crowded)
        spread(cpu);
    else if (is_small)
        follow(cpu, now, is_full);
}
