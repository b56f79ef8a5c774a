/* What a span costs in C, below one of Python's: its start and end, of which its trace keeps a copy.
 *
 *   bench_span ROUNDS LAP_SPANS    a line for each entrant: name ns ns ns ... (wall time a span, one figure a round)
 *
 * Built like a user's program: -O2, the installed headers, the shared library. What a lap has left in its trace is taken and freed
 * between laps. A lap in which the system took the processor away is run again. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <vaultscope.h>

enum { ATTEMPTS_MAX = 50 };

static const vs_text name = {"disk.write", 10};

static void two_clocks(size_t n, const vs_span_scope *scope)
{
    (void)scope;
    for (size_t i = 0; i < n; i++) {
        int64_t start = vs_clock_monotonic_ns(), end = vs_clock_monotonic_ns();
        __asm__ volatile("" ::"r"(start), "r"(end) : "memory");
    }
}

static void span(size_t n, const vs_span_scope *scope)
{
    vs_span one;
    for (size_t i = 0; i < n; i++) {
        vs_span_start(&one, scope, name);
        vs_span_end(&one, VS_SPAN_OK);
    }
}

static void span_2_attributes(size_t n, const vs_span_scope *scope)
{
    vs_span one;
    for (size_t i = 0; i < n; i++) {
        vs_span_start(&one, scope, name);
        vs_span_add(&one, vs_field_u64("bytes", 4096 + i));
        vs_span_add(&one, vs_field_text("disk", "nvme0n1"));
        vs_span_end(&one, VS_SPAN_OK);
    }
}

static void nowhere(size_t n, const vs_span_scope *scope)
{
    vs_span_scope none = *scope;
    none.trace = NULL;
    for (size_t i = 0; i < n; i++) {
        span(1, &none);
        __asm__ volatile("" ::: "memory");
    }
}

static const struct {
    const char *name;
    void (*run)(size_t n, const vs_span_scope *scope);
} entrants[] = {{"two_clocks", two_clocks}, {"span", span}, {"span_2_attributes", span_2_attributes}, {"nowhere", nowhere}};
enum { ENTRANTS = sizeof entrants / sizeof *entrants };

/* How many spans ended in the trace. */
static size_t empty(vs_trace *trace)
{
    bool failed;
    uint64_t lost;
    size_t count = 0;
    vs_ended_span *at = vs_trace_take(trace, &failed, &lost);
    while (at != NULL) {
        vs_ended_span *next = at->next;
        free(at);
        at = next;
        count++;
    }
    vs_trace_release(trace);
    return count;
}

static long switches(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

/* Nanoseconds a span. */
static double lap(int entrant, size_t n)
{
    for (int attempt = 1;; attempt++) {
        vs_span_scope scope = {.trace = vs_trace_open((uint32_t)n), .trace_high = 1, .trace_low = 2, .span = 3, .sampled = true};
        if (scope.trace == NULL)
            exit(1);
        long before = switches();
        int64_t start = vs_clock_monotonic_ns();
        entrants[entrant].run(n, &scope);
        int64_t end = vs_clock_monotonic_ns();
        bool is_disturbed = switches() != before, makes_spans = entrants[entrant].run == span || entrants[entrant].run == span_2_attributes;
        if (empty(scope.trace) != (makes_spans ? n : 0)) {
            fprintf(stderr, "%s: not all spans are in their trace\n", entrants[entrant].name);
            exit(1);
        }
        if (!is_disturbed || attempt == ATTEMPTS_MAX)
            return (double)(end - start) / (double)n;
    }
}

int main(int count, char **arguments)
{
    int rounds = count == 3 ? atoi(arguments[1]) : 0;
    size_t n = count == 3 ? strtoul(arguments[2], NULL, 10) : 0;
    double *ns = calloc((size_t)rounds * ENTRANTS + 1, sizeof *ns);
    if (rounds < 1 || n == 0 || ns == NULL) {
        fprintf(stderr, "usage: %s ROUNDS LAP_SPANS\n", arguments[0]);
        return 2;
    }
    for (int round = -1; round < rounds; round++) /* the first warms up */
        for (int e = 0; e < ENTRANTS; e++) {
            double figure = lap(e, n);
            if (round >= 0)
                ns[round * ENTRANTS + e] = figure;
        }
    for (int e = 0; e < ENTRANTS; e++) {
        printf("%s", entrants[e].name);
        for (int round = 0; round < rounds; round++)
            printf(" %.4f", ns[round * ENTRANTS + e]);
        printf("\n");
    }
    free(ns);
    return 0;
}
