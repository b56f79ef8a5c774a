/* An arena, a registry and threads for tests that need them. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "vaultscope.h"

static inline vs_text text_of(const char *string) { return (vs_text){string, strlen(string)}; }

/* A registry in an arena of its own with so many owned stripes. Ends the test if it cannot be had. */
static inline vs_registry *registry_with_stripes(uint32_t stripes, vs_arena **arena)
{
    vs_registry *registry = NULL;
    vs_arena_options options = {.stripe_count = stripes, .stripe_bytes = 16 << 20};
    if (vs_arena_open(&options, arena) != VS_OK || vs_registry_open(*arena, &registry) != VS_OK)
        abort();
    return registry;
}

static inline vs_metric_spec spec_of(vs_kind kind, const char *name)
{
    static const double bounds[] = {1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000};
    vs_metric_spec spec = {.kind = kind, .name = text_of(name)};
    if (kind == VS_HISTOGRAM) {
        spec.bounds = bounds;
        spec.bound_count = sizeof bounds / sizeof *bounds;
    }
    if (kind == VS_HDR) {
        spec.hdr_lowest = 1;
        spec.hdr_highest = 3600000000;
        spec.hdr_digits = 2;
    }
    return spec;
}

/* The one series of a metric without labels, retained; the metric stays declared. */
static inline vs_series *series_of(vs_registry *registry, vs_kind kind, const char *name)
{
    vs_metric_spec spec = spec_of(kind, name);
    vs_metric *metric = NULL;
    vs_series *series = NULL;
    if (vs_registry_declare(registry, &spec, &metric) != VS_OK || vs_metric_bind(metric, NULL, 0, &series) != VS_OK)
        abort();
    vs_metric_release(metric);
    return series;
}

static inline void run_threads(size_t n, void *(*work)(void *), void *argument)
{
    pthread_t *threads = calloc(n, sizeof *threads);
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, work, argument) != 0)
            abort();
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

static inline uint64_t counter_total(vs_counter counter)
{
    uint64_t integer;
    double real;
    vs_counter_read(counter, &integer, &real);
    return integer;
}

#endif
