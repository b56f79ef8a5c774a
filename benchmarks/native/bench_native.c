/* What an operation costs in C, on one thread and on two that share the metric, against what one would write without us.
 *
 *   bench_native ROUNDS LAP_OPERATIONS
 *
 * prints, for each entrant and thread count, a line: name threads ns ns ns ... (wall time an operation on each thread, one
 * figure a round).
 *
 * Built like a user's program: -O2, the installed headers, the shared library. The entrants, and one thread and two, take turns
 * in every round.
 * After each operation the compiler must take all memory for changed (`again`), so that it can neither fold nor hoist anything;
 * it is the same empty statement for all. What the loop costs is not taken off.
 * A lap in which the system took the processor from a thread (an involuntary context switch) is run again: on a busy machine
 * wall time would measure the neighbours, and processor time would not show a thread that waits for a mutex. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <vaultscope.h>

enum { THREADS_MAX = 2, VALUES = 4096, ATTEMPTS_MAX = 50 };

static inline void again(void)
{
    __asm__ volatile("" ::: "memory");
}

/* Each on cache lines of its own. */
static struct {
    _Alignas(128) volatile uint64_t plain;
    _Alignas(128) vs_word atomic;
    _Alignas(128) pthread_mutex_t mutex;
    uint64_t guarded;
    _Alignas(128) vs_counter counter;
    vs_histogram histogram;
    vs_hdr hdr;
} shared = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static double durations_ms[VALUES]; /* log-uniform over the bounds, so that each bucket is hit alike and none is foretold */
static int64_t durations_ns[VALUES];

/* n operations, a multiple of eight: eight a turn, so that the loop itself costs little beside the cheapest of them. */
#define EIGHT(operation) operation, again(), operation, again(), operation, again(), operation, again(), \
                         operation, again(), operation, again(), operation, again(), operation, again()
#define REPEAT(n, operation)              \
    for (size_t i = 0; i < (n); i += 8) { \
        EIGHT(operation);                 \
    }

static void plain_increment(size_t n)
{
    REPEAT(n, shared.plain++)
}

static void fetch_add(size_t n)
{
    REPEAT(n, vs_add_relaxed(&shared.atomic, 1))
}

static void guarded_increment(void)
{
    pthread_mutex_lock(&shared.mutex);
    shared.guarded++;
    pthread_mutex_unlock(&shared.mutex);
}

static void mutex_increment(size_t n)
{
    REPEAT(n, guarded_increment())
}

/* The handle in a local variable, as the addresses of the two words above are: registers hold it. */
static void counter_inc(size_t n)
{
    vs_counter counter = shared.counter;
    REPEAT(n, vs_counter_inc(counter))
}

/* The handle in memory, read anew for each increment, as after a call that the compiler cannot look into. */
static void counter_inc_reloaded(size_t n)
{
    REPEAT(n, vs_counter_inc(shared.counter))
}

static void observe_one(size_t n)
{
    REPEAT(n, vs_histogram_observe(&shared.histogram, 3.0))
}

static void observe_any(size_t n)
{
    size_t at = 0;
    REPEAT(n, vs_histogram_observe(&shared.histogram, durations_ms[at++ % VALUES]))
}

static void record_one(size_t n)
{
    REPEAT(n, vs_hdr_record(&shared.hdr, 3000000))
}

static void record_any(size_t n)
{
    size_t at = 0;
    REPEAT(n, vs_hdr_record(&shared.hdr, durations_ns[at++ % VALUES]))
}

static const struct {
    const char *name;
    void (*run)(size_t n);
} entrants[] = {
    {"volatile", plain_increment},
    {"fetch_add", fetch_add},
    {"mutex", mutex_increment},
    {"counter", counter_inc},
    {"counter_reloaded", counter_inc_reloaded},
    {"observe_one", observe_one},
    {"observe_any", observe_any},
    {"record_one", record_one},
    {"record_any", record_any},
};
enum { ENTRANTS = sizeof entrants / sizeof *entrants };

/* ---- threads: each pinned to a processor of its own; they start a lap together ---- */

static size_t operations;
static struct {
    sem_t go; /* posted for each lap of two threads: the second one sleeps meanwhile, so that it disturbs no lap of one */
    vs_word32 ready, done; /* threads */
    uint32_t threads;
    void (*run)(size_t n); /* NULL: no more laps */
} race;
static int64_t start_ns[THREADS_MAX], end_ns[THREADS_MAX];
static bool disturbed[THREADS_MAX];
static int processors[THREADS_MAX];

static long switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

static void run_lap(uint32_t me)
{
    long before = switches();
    vs_add_release(&race.ready, 1);
    while (vs_load_acquire(&race.ready) < race.threads)
        vs_cpu_relax();
    start_ns[me] = vs_clock_monotonic_ns();
    race.run(operations);
    end_ns[me] = vs_clock_monotonic_ns();
    disturbed[me] = switches() != before;
    vs_add_release(&race.done, 1);
}

static void pin(uint32_t me)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processors[me], &one);
    sched_setaffinity(0, sizeof one, &one);
}

static void *second(void *nothing)
{
    pin(1);
    for (;;) {
        while (sem_wait(&race.go) != 0) {
        }
        if (race.run == NULL)
            return nothing;
        run_lap(1);
    }
}

/* Nanoseconds an operation on each of `threads` threads, by the wall clock from the first start to the last end. */
static double lap(void (*run)(size_t), uint32_t threads)
{
    for (int attempt = 1;; attempt++) {
        race.run = run;
        race.threads = threads;
        vs_store_relaxed(&race.ready, 0);
        vs_store_relaxed(&race.done, 0);
        if (threads == 2)
            sem_post(&race.go);
        run_lap(0);
        while (vs_load_acquire(&race.done) < threads)
            vs_cpu_relax();
        bool both = threads == 2;
        if ((disturbed[0] || (both && disturbed[1])) && attempt < ATTEMPTS_MAX)
            continue;
        int64_t start = both && start_ns[1] < start_ns[0] ? start_ns[1] : start_ns[0];
        int64_t end = both && end_ns[1] > end_ns[0] ? end_ns[1] : end_ns[0];
        return (double)(end - start) / (double)operations;
    }
}

/* ---- set-up ---- */

static vs_series *series_of(vs_registry *registry, const vs_metric_spec *spec)
{
    vs_metric *metric;
    vs_series *series;
    vs_status status = vs_registry_declare(registry, spec, &metric);
    if (status == VS_OK)
        status = vs_metric_bind(metric, NULL, 0, &series);
    if (status != VS_OK) {
        fprintf(stderr, "%s\n", vs_status_text(status));
        exit(1);
    }
    return series;
}

static void declare(void)
{
    static const double bounds[] = {1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000};
    vs_arena *arena;
    vs_registry *registry;
    if (vs_arena_default(&arena) != VS_OK || vs_registry_open(arena, &registry) != VS_OK)
        exit(1);
    vs_metric_spec counter = {.kind = VS_COUNTER, .name = {"a.count", 7}};
    vs_metric_spec histogram = {.kind = VS_HISTOGRAM, .name = {"b", 1}, .bounds = bounds, .bound_count = 12};
    vs_metric_spec hdr = {.kind = VS_HDR, .name = {"c", 1}, .hdr_lowest = 1, .hdr_highest = INT64_C(3600000000000),
                          .hdr_digits = 3};
    shared.counter = vs_series_counter(series_of(registry, &counter));
    shared.histogram = vs_series_histogram(series_of(registry, &histogram));
    shared.hdr = vs_series_hdr(series_of(registry, &hdr));

    uint64_t random = 7;
    for (int i = 0; i < VALUES; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        double octave = (double)(random >> 40) / (double)(1 << 24) * 14; /* 2^0 to 2^14 ms */
        durations_ms[i] = (double)(UINT64_C(1) << (int)octave) * (1 + (octave - (int)octave));
        durations_ns[i] = (int64_t)(durations_ms[i] * 1e6);
    }
}

/* The processors that this process may use; the parent may have pinned itself, and us, to one of them. */
static uint32_t find_processors(void)
{
    cpu_set_t set;
    uint32_t found = 0;
    memset(&set, 0xff, sizeof set);
    sched_setaffinity(0, sizeof set, &set);
    sched_getaffinity(0, sizeof set, &set);
    for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && found < THREADS_MAX; cpu--) /* the first one serves most interrupts */
        if (CPU_ISSET(cpu, &set))
            processors[found++] = cpu;
    return found;
}

int main(int count, char **arguments)
{
    int rounds = count == 3 ? atoi(arguments[1]) : 0;
    operations = count == 3 ? strtoul(arguments[2], NULL, 10) : 0;
    double *ns = calloc((size_t)rounds * ENTRANTS * THREADS_MAX + 1, sizeof *ns);
    if (rounds < 1 || operations == 0 || ns == NULL) {
        fprintf(stderr, "usage: %s ROUNDS LAP_OPERATIONS\n", arguments[0]);
        return 2;
    }
    declare();
    uint32_t threads_max = find_processors();
    pin(0);
    pthread_t other;
    if (sem_init(&race.go, 0, 0) != 0 || (threads_max == 2 && pthread_create(&other, NULL, second, NULL) != 0))
        return 1;
    double *figure = ns;
    for (int round = -1; round < rounds; round++) /* the first warms up: stripes, pages, branches */
        for (uint32_t threads = 1; threads <= threads_max; threads++)
            for (int e = 0; e < ENTRANTS; e++) {
                double figure_ns = lap(entrants[e].run, threads);
                if (round >= 0)
                    *figure++ = figure_ns;
            }
    if (threads_max == 2) {
        race.run = NULL;
        sem_post(&race.go);
        pthread_join(other, NULL);
    }
    for (uint32_t threads = 1; threads <= threads_max; threads++)
        for (int e = 0; e < ENTRANTS; e++) {
            printf("%s %u", entrants[e].name, threads);
            for (int round = 0; round < rounds; round++)
                printf(" %.4f", ns[((uint32_t)round * threads_max + threads - 1) * ENTRANTS + (uint32_t)e]);
            printf("\n");
        }
    return 0;
}
