/*
 * Run one workload and measure it; the result is one line of JSON on stdout.
 *
 *   client --dir DIR --dev MAJOR:MINOR [--sync DIR]... [--clients N] [--max-file BYTES] [--drop-caches] WORKLOAD ARGS...
 *
 * Refuses to start unless DIR is on the device that it is said to be on: a mount that failed or ended would have the
 * workload fill the disk below it. The clock starts when all clients are ready and stops after the last --sync.
 */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SYNCS = 4 };

struct options {
    const char *dir;
    unsigned major, minor;
    const char *syncs[MAX_SYNCS];
    unsigned n_syncs;
    unsigned clients;
    uint64_t max_file; /* 0: no limit */
    int drop_caches;
};

void die(const char *format, ...)
{
    int code = errno;
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, ": %s\n", code == 0 ? "came up short" : strerror(code));
    exit(1);
}

uint64_t parse_size(const char *text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') {
        errno = EINVAL;
        die("not a number: %s", text);
    }
    return value;
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: client --dir DIR --dev MAJOR:MINOR [--sync DIR]... [--clients N] [--max-file BYTES]\n"
                    "              [--drop-caches] WORKLOAD ARGS...\n");
    for (const struct workload *w = workloads; w->name != NULL; w++)
        fprintf(stderr, "  %-10s %s\n", w->name, w->help);
    exit(2);
}

static struct options parse_options(int argc, char **argv)
{
    enum { DIR_ = 1, DEV, SYNC, CLIENTS, MAX_FILE, DROP_CACHES };
    static const struct option known[] = {
        {"dir", required_argument, NULL, DIR_},
        {"dev", required_argument, NULL, DEV},
        {"sync", required_argument, NULL, SYNC},
        {"clients", required_argument, NULL, CLIENTS},
        {"max-file", required_argument, NULL, MAX_FILE},
        {"drop-caches", no_argument, NULL, DROP_CACHES},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.clients = 1};
    int code;
    /* '+': the workload's own options are not ours */
    while ((code = getopt_long(argc, argv, "+", known, NULL)) != -1) {
        switch (code) {
        case DIR_:
            options.dir = optarg;
            break;
        case DEV:
            if (sscanf(optarg, "%u:%u", &options.major, &options.minor) != 2)
                usage();
            break;
        case SYNC:
            if (options.n_syncs == MAX_SYNCS)
                usage();
            options.syncs[options.n_syncs++] = optarg;
            break;
        case CLIENTS:
            options.clients = (unsigned)parse_size(optarg);
            break;
        case MAX_FILE:
            options.max_file = parse_size(optarg);
            break;
        case DROP_CACHES:
            options.drop_caches = 1;
            break;
        default:
            usage();
        }
    }
    if (options.dir == NULL || options.clients < 1 || options.clients > MAX_CLIENTS || optind >= argc)
        usage();
    return options;
}

/* Everything the workload does happens below this directory, so this is the place to ask whether it is the right one. */
static void enter(const struct options *options)
{
    struct stat st;
    int fd = open(options->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        die("%s", options->dir);
    if (major(st.st_dev) != options->major || minor(st.st_dev) != options->minor) {
        errno = EXDEV;
        die("%s is on device %u:%u, not on %u:%u", options->dir, major(st.st_dev), minor(st.st_dev), options->major,
            options->minor);
    }
    if (fchdir(fd) != 0)
        die("%s", options->dir);
    close(fd);
}

static struct tally *new_tallies(unsigned clients)
{
    struct tally *tallies =
        mmap(NULL, clients * sizeof *tallies, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tallies == MAP_FAILED)
        die("mmap");
    for (unsigned i = 0; i < clients; i++) {
        size_t size = MAX_LATENCIES * sizeof(uint32_t);
        tallies[i].latencies_ns = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (tallies[i].latencies_ns == MAP_FAILED)
            die("mmap");
    }
    return tallies;
}

/* In the child: say that we are ready, wait until all are, work. */
static _Noreturn void be_client(const struct workload *workload, struct client *client, int ready, int go)
{
    char byte = 0;
    if (workload->prepare != NULL)
        workload->prepare(client);
    if (write(ready, &byte, 1) != 1)
        die("write to the starter");
    if (read(go, &byte, 1) != 0) /* its end of file is the starting gun */
        die("read from the starter");
    workload->run(client);
    exit(0);
}

/* Returns the time at which the clients started to work. */
static uint64_t start_clients(const struct workload *workload, char **args, unsigned clients, struct tally *tallies)
{
    int ready[2], go[2];
    char byte;
    if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0)
        die("pipe");
    for (unsigned i = 0; i < clients; i++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0) {
            struct client client = {.index = i, .args = args, .tally = &tallies[i]};
            close(ready[0]);
            close(go[1]);
            be_client(workload, &client, ready[1], go[0]);
        }
    }
    close(ready[1]);
    close(go[0]);
    for (unsigned i = 0; i < clients; i++) {
        if (read(ready[0], &byte, 1) != 1) {
            errno = ECHILD;
            die("a client gave up before the start");
        }
    }
    close(ready[0]);
    uint64_t start = now_ns();
    close(go[1]);
    return start;
}

static void wait_for_clients(const struct workload *workload)
{
    int status, failed = 0;
    while (wait(&status) > 0) {
        if (WIFSIGNALED(status))
            fprintf(stderr, "%s: killed by signal %d\n", workload->name, WTERMSIG(status));
        else if (WEXITSTATUS(status) != 0)
            fprintf(stderr, "%s: exit code %d\n", workload->name, WEXITSTATUS(status));
        failed |= status != 0;
    }
    if (failed)
        exit(1);
}

static void sync_and_drop(const struct options *options)
{
    for (unsigned i = 0; i < options->n_syncs; i++) {
        int fd = open(options->syncs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || syncfs(fd) != 0)
            die("syncfs %s", options->syncs[i]);
        close(fd);
    }
    if (!options->drop_caches)
        return;
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "3", 1) != 1)
        die("drop_caches");
    close(fd);
}

static int compare_latencies(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_latencies(const struct tally *tallies, unsigned clients)
{
    size_t n = 0;
    for (unsigned i = 0; i < clients; i++)
        n += tallies[i].n_latencies;
    if (n == 0)
        return;
    uint32_t *all = malloc(n * sizeof *all), *end = all;
    if (all == NULL)
        die("no memory");
    for (unsigned i = 0; i < clients; i++) {
        memcpy(end, tallies[i].latencies_ns, tallies[i].n_latencies * sizeof *all);
        end += tallies[i].n_latencies;
    }
    qsort(all, n, sizeof *all, compare_latencies);
    printf(", \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f", all[n / 2] / 1e3, all[n * 99 / 100] / 1e3,
           all[n - 1] / 1e3);
    free(all);
}

static double seconds(const struct timeval *time)
{
    return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

static void print_result(uint64_t took_ns, const struct tally *tallies, unsigned clients)
{
    uint64_t bytes = 0, ops = 0;
    struct rusage usage;
    for (unsigned i = 0; i < clients; i++) {
        bytes += tallies[i].bytes;
        ops += tallies[i].ops;
    }
    getrusage(RUSAGE_CHILDREN, &usage);
    printf("{\"seconds\": %.9f, \"bytes\": %llu, \"ops\": %llu, \"client_cpu_s\": %.6f", (double)took_ns / 1e9,
           (unsigned long long)bytes, (unsigned long long)ops, seconds(&usage.ru_utime) + seconds(&usage.ru_stime));
    print_latencies(tallies, clients);
    printf("}\n");
}

int main(int argc, char **argv)
{
    struct options options = parse_options(argc, argv);
    const struct workload *workload = workloads;
    while (workload->name != NULL && strcmp(workload->name, argv[optind]) != 0)
        workload++;
    int n_args = argc - optind - 1;
    if (workload->name == NULL || (workload->n_args < 0 ? n_args < 1 : n_args != workload->n_args))
        usage();
    enter(&options);
    if (options.max_file > 0) {
        struct rlimit limit = {options.max_file, options.max_file};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            die("setrlimit");
    }
    struct tally *tallies = new_tallies(options.clients);
    uint64_t start = start_clients(workload, argv + optind + 1, options.clients, tallies);
    wait_for_clients(workload);
    sync_and_drop(&options);
    print_result(now_ns() - start, tallies, options.clients);
    return 0;
}
