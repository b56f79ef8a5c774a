/* What logging costs in C: the call, the drain, and how much of both at once two processors can do.
 *
 *   bench_log call ROUNDS LAP_CALLS         a line for each entrant: name ns ns ns ... (wall time a call, one figure a round)
 *   bench_log drain ROUNDS FILE             likewise, processor time a record; then `bytes` of a line
 *   bench_log sustained FILE SECONDS RATE   produced in_ring dropped lines bytes wall_ns caller_ns drain_ns: a thread logs RATE records a
 *                                           second, or, RATE being 0, as many as the ring takes in, while another drains to the file
 *
 * Built like a user's program: -O2, the installed headers, the shared library. A record has three fields: a hash of 64 digits, a size, a
 * duration. The caller is pinned to one processor, who drains to another. A lap of calls in which the system took the processor
 * away is run again. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <vaultscope.h>

enum { ATTEMPTS_MAX = 50, DRAIN_RECORDS = 8000, TURN_NS = 100000 };

static vs_journal *journal;
static vs_logger *logger;
static int processors[2];
static uint32_t processor_count;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void pin(uint32_t which)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processors[which < processor_count ? which : 0], &one);
    sched_setaffinity(0, sizeof one, &one);
}

/* The processors that we may use, the last one first: the first serves most interrupts. The parent may have pinned us to one. */
static void find_processors(void)
{
    cpu_set_t set;
    memset(&set, 0xff, sizeof set);
    sched_setaffinity(0, sizeof set, &set);
    sched_getaffinity(0, sizeof set, &set);
    for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && processor_count < 2; cpu--)
        if (CPU_ISSET(cpu, &set))
            processors[processor_count++] = cpu;
}

static int64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- the entrants ---- */

static const char hash[] = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

static inline bool log_one(uint64_t n)
{
    return vs_log(logger, VS_INFO, "Object stored", vs_field_text_of("hash", (vs_text){hash, 64}), vs_field_u64("size", 4096 + n),
                  vs_field_f64("duration_ms", 0.25 * (double)(n % 64)));
}

static void log_many(size_t calls)
{
    for (size_t n = 0; n < calls; n++)
        log_one(n);
}

static void below_level(size_t calls)
{
    for (size_t n = 0; n < calls; n++) {
        vs_log(logger, VS_DEBUG, "Object stored", vs_field_text_of("hash", (vs_text){hash, 64}), vs_field_u64("size", 4096 + n),
               vs_field_f64("duration_ms", 0.25 * (double)(n % 64)));
        __asm__ volatile("" ::: "memory");
    }
}

static void memcpy_and_clock(size_t calls)
{
    static char from[128], to[128];
    for (size_t n = 0; n < calls; n++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        __asm__ volatile("" ::"r"(&now) : "memory");
        memcpy(to, from, 100);
        __asm__ volatile("" ::"r"(to), "r"(from) : "memory");
    }
}

/* To where nobody wrote lately, as the ring is: a record of three fields takes four cells of it. */
static void memcpy_far_and_clock(size_t calls)
{
    enum { STEP = 256, STEPS = (4 << 20) / STEP };
    static char from[128], to[STEPS][STEP];
    static size_t at;
    for (size_t n = 0; n < calls; n++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        __asm__ volatile("" ::"r"(&now) : "memory");
        memcpy(to[at++ % STEPS], from, 100);
        __asm__ volatile("" ::"r"(to), "r"(from) : "memory");
    }
}

static void clock_only(size_t calls)
{
    for (size_t n = 0; n < calls; n++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        __asm__ volatile("" ::"r"(&now) : "memory");
    }
}

/* ---- who drains ---- */

typedef struct drainer {
    pthread_t thread;
    vs_cursor *cursor;
    int fd;
    vs_word32 stop;
    vs_word32 pause; /* 1: please; 2: it does */
    int64_t cpu_ns;
} drainer;

static void *drain(void *context)
{
    drainer *d = context;
    vs_pump_options options = {.wait_ns = 1000000, .run_ns = 1000000};
    pin(1);
    int64_t before = now_ns(CLOCK_THREAD_CPUTIME_ID);
    vs_pump end;
    do {
        if (vs_load_acquire(&d->pause) == 1) {
            vs_store_release(&d->pause, 2);
            while (vs_load_acquire(&d->pause) != 0)
                nanosleep(&(struct timespec){0, TURN_NS}, NULL);
        }
        end = vs_cursor_pump(d->cursor, d->fd, &options, &d->stop);
        if (end == VS_PUMP_ERROR)
            fail("write");
    } while (end != VS_PUMP_STOPPED);
    d->cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - before;
    return NULL;
}

static void start_drain(drainer *d, const char *path)
{
    *d = (drainer){.fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC, 0600)};
    if (d->fd < 0)
        fail(path);
    if (vs_cursor_open(journal, (vs_text){path, strlen(path)}, &d->cursor) != VS_OK ||
        pthread_create(&d->thread, NULL, drain, d) != 0)
        fail("drain");
}

static void stop_drain(drainer *d)
{
    vs_store_relaxed(&d->stop, 1);
    pthread_join(d->thread, NULL);
    vs_cursor_close(d->cursor, true);
}

static void wait_until_drained(void)
{
    while (!vs_drain_reached(journal, vs_ring_end(&journal->ring)))
        nanosleep(&(struct timespec){0, TURN_NS}, NULL);
}

static void set_pause(drainer *d, bool paused)
{
    if (!paused) {
        vs_store_release(&d->pause, 0);
        return;
    }
    vs_store_release(&d->pause, 1);
    while (vs_load_acquire(&d->pause) != 2)
        sched_yield();
}

static uint64_t dropped(void)
{
    uint64_t all = 0;
    for (uint32_t level = 0; level < VS_LEVELS; level++) {
        uint64_t count;
        double real;
        vs_counter_read(journal->dropped[level], &count, &real);
        all += count;
    }
    return all;
}

/* ---- call ---- */

static long switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

static double lap(drainer *d, void (*run)(size_t), size_t calls, bool paused)
{
    for (int attempt = 1;; attempt++) {
        set_pause(d, false);
        wait_until_drained();
        set_pause(d, paused);
        run(calls / 16); /* whoever has waited finds nothing in the processor's caches */
        long before = switches();
        int64_t start = now_ns(CLOCK_MONOTONIC);
        run(calls);
        int64_t took = now_ns(CLOCK_MONOTONIC) - start;
        if (switches() == before || attempt == ATTEMPTS_MAX)
            return (double)took / (double)calls;
    }
}

static const struct {
    const char *name;
    void (*run)(size_t calls);
    bool paused; /* who drains waits meanwhile */
} ENTRANTS[] = {
    {"clock", clock_only, false},      {"memcpy_and_clock", memcpy_and_clock, false}, {"below_level", below_level, false},
    {"memcpy_far_and_clock", memcpy_far_and_clock, false}, {"log", log_many, false},          {"log_undisturbed", log_many, true},
};
enum { ENTRANT_COUNT = sizeof ENTRANTS / sizeof *ENTRANTS };

static void time_calls(int rounds, size_t calls)
{
    drainer d;
    double *ns = calloc((size_t)rounds * ENTRANT_COUNT, sizeof *ns);
    start_drain(&d, "/dev/null");
    for (int round = -1; round < rounds; round++) /* the first warms up */
        for (int e = 0; e < ENTRANT_COUNT; e++) {
            double figure = lap(&d, ENTRANTS[e].run, calls, ENTRANTS[e].paused);
            if (round >= 0)
                ns[round * ENTRANT_COUNT + e] = figure;
        }
    set_pause(&d, false);
    stop_drain(&d);
    if (dropped() != 0) {
        fprintf(stderr, "the ring was full: %llu dropped\n", (unsigned long long)dropped());
        exit(1);
    }
    for (int e = 0; e < ENTRANT_COUNT; e++) {
        printf("%s", ENTRANTS[e].name);
        for (int round = 0; round < rounds; round++)
            printf(" %.3f", ns[round * ENTRANT_COUNT + e]);
        printf("\n");
    }
    free(ns);
}

/* ---- drain ---- */

static double format_once(vs_cursor *cursor)
{
    vs_batch batch;
    int64_t before = now_ns(CLOCK_THREAD_CPUTIME_ID);
    while (vs_cursor_take(cursor, 256 << 10, &batch))
        vs_cursor_done(cursor);
    return (double)(now_ns(CLOCK_THREAD_CPUTIME_ID) - before);
}

static double pump_once(vs_cursor *cursor, int fd)
{
    static const vs_word32 stop = 1; /* as soon as nothing is left */
    vs_pump_options options = {.run_ns = INT64_C(60000000000)};
    int64_t before = now_ns(CLOCK_THREAD_CPUTIME_ID);
    if (vs_cursor_pump(cursor, fd, &options, &stop) != VS_PUMP_STOPPED)
        fail("write");
    return (double)(now_ns(CLOCK_THREAD_CPUTIME_ID) - before);
}

static void time_drain(int rounds, const char *path)
{
    double ns[2][1000];
    vs_cursor *cursor;
    struct stat status;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || rounds > 1000 || vs_cursor_open(journal, (vs_text){"drain", 5}, &cursor) != VS_OK)
        fail(path);
    for (int round = -1; round < rounds; round++) {
        int at = round < 0 ? 0 : round;
        log_many(DRAIN_RECORDS);
        ns[0][at] = format_once(cursor) / DRAIN_RECORDS;
        log_many(DRAIN_RECORDS);
        ns[1][at] = pump_once(cursor, fd) / DRAIN_RECORDS;
    }
    if (fstat(fd, &status) != 0 || dropped() != 0)
        fail("drain");
    static const char *const NAMES[] = {"format", "format_and_write"};
    for (int e = 0; e < 2; e++) {
        printf("%s", NAMES[e]);
        for (int round = 0; round < rounds; round++)
            printf(" %.3f", ns[e][round]);
        printf("\n");
    }
    printf("bytes %.1f\n", (double)status.st_size / DRAIN_RECORDS / (rounds + 1));
    vs_cursor_close(cursor, true);
}

/* ---- sustained ---- */

static uint64_t lines_of(const char *path, uint64_t *bytes)
{
    static char block[1 << 16];
    uint64_t lines = 0;
    ssize_t size;
    int fd = open(path, O_RDONLY);
    *bytes = 0;
    while ((size = read(fd, block, sizeof block)) > 0) {
        *bytes += (uint64_t)size;
        for (const char *at = block, *end = block + size; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
            lines++;
    }
    if (size < 0)
        fail(path);
    close(fd);
    return lines;
}

static void sustain(const char *path, double seconds, double rate)
{
    drainer d;
    uint64_t produced = 0, in_ring = 0, bytes;
    start_drain(&d, path);
    int64_t cpu = now_ns(CLOCK_THREAD_CPUTIME_ID), start = now_ns(CLOCK_MONOTONIC), end = start + (int64_t)(seconds * 1e9);
    for (int64_t now = start; now < end; now = now_ns(CLOCK_MONOTONIC)) {
        /* As many as are due by now, a few at a time; the clock is read in between, so none of them is late by more than a turn. */
        uint64_t due = rate > 0 ? (uint64_t)((double)(now - start) * rate / 1e9) : produced + 64;
        for (; produced < due; produced++)
            in_ring += log_one(produced);
    }
    cpu = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    stop_drain(&d);
    int64_t wall = now_ns(CLOCK_MONOTONIC) - start; /* what was left is in the file */
    uint64_t lines = lines_of(path, &bytes);
    printf("%llu %llu %llu %llu %llu %lld %lld %lld\n", (unsigned long long)produced, (unsigned long long)in_ring,
           (unsigned long long)dropped(), (unsigned long long)lines, (unsigned long long)bytes, (long long)wall, (long long)cpu,
           (long long)d.cpu_ns);
}

int main(int count, char **arguments)
{
    const char *what = count > 1 ? arguments[1] : "";
    bool is_sustained = strcmp(what, "sustained") == 0 && count == 5;
    bool is_call = strcmp(what, "call") == 0 && count == 4, is_drain = strcmp(what, "drain") == 0 && count == 4;
    if (!is_sustained && !is_call && !is_drain) {
        fprintf(stderr, "usage: %s call ROUNDS LAP_CALLS | drain ROUNDS FILE | sustained FILE SECONDS RATE\n", arguments[0]);
        return 2;
    }
    double rate = is_sustained ? atof(arguments[4]) : 0;
    vs_journal_options options = {.policy = is_sustained && rate == 0 ? VS_POLICY_BLOCK : VS_POLICY_DROP};
    vs_arena *arena;
    vs_registry *registry;
    if (vs_arena_default(&arena) != VS_OK || vs_registry_open(arena, &registry) != VS_OK ||
        vs_journal_open(registry, &options, &journal) != VS_OK || vs_logger_open(journal, (vs_text){"cas", 3}, &logger) != VS_OK)
        fail("journal");
    find_processors();
    pin(0);
    if (is_call)
        time_calls(atoi(arguments[2]), strtoul(arguments[3], NULL, 10));
    else if (is_drain)
        time_drain(atoi(arguments[2]), arguments[3]);
    else
        sustain(arguments[2], atof(arguments[3]), rate);
    return 0;
}
