/* A registry to put exemplars into, and what a snapshot of it holds. */
#ifndef EXEMPLAR_FIXTURE_H
#define EXEMPLAR_FIXTURE_H

#include "fixture.h"

static const int64_t NOON = 1700000000123456789; /* ns since 1970 */
static const int64_t GAP = VS_EXEMPLAR_GAP_NS;

static vs_registry *registry;

static inline void begin(void)
{
    static vs_arena *arena; /* one for all tests: a process has few */
    if (arena == NULL)
        vs_registry_release(registry_with_stripes(8, &arena));
    if (vs_registry_open(arena, &registry) != VS_OK)
        abort();
}

static inline void end(void) { vs_registry_release(registry); }

static inline vs_snapshot *look(void)
{
    vs_snapshot *snapshot = NULL;
    if (vs_snapshot_take(registry, NULL, &snapshot) != VS_OK)
        abort();
    return snapshot;
}

static inline size_t exemplars_in_all(void)
{
    vs_snapshot *snapshot = look();
    size_t n = snapshot->exemplar_count;
    vs_snapshot_free(snapshot);
    return n;
}

static inline bool put(vs_series *series, double value, int64_t time_ns)
{
    return vs_series_exemplar_at(series, value, 1, 2, 3, time_ns);
}

#endif
