/* Metrics by name, and the life of everything that a registry owns.
 *
 * Ownership is one rule: a registry owns its metrics and their series; handles (to the registry, to a metric, to a series)
 * each count once in `references` of all that they hang on. What was taken out of the registry is buried, and freed when it
 * has no handle and no snapshot is under way; when the registry itself has no handle left, all of it goes. */
#include "internal.h"

#include <stdlib.h>

static vs_registry *open_registries; /* under the cold lock */

/* ---- freeing; under the cold lock ---- */

static void free_buried_series(vs_registry *registry, bool all)
{
    for (vs_series **link = &registry->buried_series; *link != NULL;) {
        vs_series *series = *link;
        if (series->references != 0 && !all) {
            link = &series->chain;
            continue;
        }
        *link = series->chain;
        vs_series_free(series);
    }
}

/* A buried metric goes only after its buried series, which point to it; handles to those count in its references. */
static void free_buried_metrics(vs_registry *registry)
{
    for (vs_metric **link = &registry->buried_metrics; *link != NULL;) {
        vs_metric *metric = *link;
        if (metric->references != 0) {
            link = &metric->previous;
            continue;
        }
        *link = metric->previous;
        vs_metric_free(metric);
    }
}

static void free_registry(vs_registry *registry)
{
    free_buried_series(registry, true);
    free_buried_metrics(registry);
    for (vs_metric *metric = vs_load_relaxed(&registry->first); metric != NULL;) {
        vs_metric *next = vs_load_relaxed(&metric->next);
        vs_metric_free(metric);
        metric = next;
    }
    if (registry->previous_open != NULL)
        registry->previous_open->next_open = registry->next_open;
    else
        open_registries = registry->next_open;
    if (registry->next_open != NULL)
        registry->next_open->previous_open = registry->previous_open;
    free(registry);
}

void vs_registry_settle(vs_registry *registry)
{
    if (registry->readers != 0)
        return;
    if (registry->references == 0) {
        free_registry(registry);
        return;
    }
    if (registry->buried_series != NULL)
        free_buried_series(registry, false);
    if (registry->buried_metrics != NULL)
        free_buried_metrics(registry);
}

/* ---- the registry ---- */

vs_status vs_registry_open(vs_arena *arena, vs_registry **out)
{
    vs_registry *registry = calloc(1, sizeof *registry);
    if (registry == NULL)
        return VS_E_NO_MEMORY;
    registry->arena = arena;
    registry->references = 1;
    vs_cold_lock();
    registry->next_open = open_registries;
    if (open_registries != NULL)
        open_registries->previous_open = registry;
    open_registries = registry;
    vs_cold_unlock();
    *out = registry;
    return VS_OK;
}

void vs_registry_retain(vs_registry *registry)
{
    vs_cold_lock();
    registry->references++;
    vs_cold_unlock();
}

void vs_registry_release(vs_registry *registry)
{
    vs_cold_lock();
    registry->references--;
    vs_registry_settle(registry);
    vs_cold_unlock();
}

uint64_t vs_registry_enter(vs_registry *registry)
{
    vs_cold_lock();
    registry->readers++;
    uint64_t sequence = registry->sequence;
    vs_cold_unlock();
    return sequence;
}

void vs_registry_leave(vs_registry *registry)
{
    vs_cold_lock();
    registry->readers--;
    vs_registry_settle(registry);
    vs_cold_unlock();
}

/* In the child of a fork, under both locks. Snapshots of other threads are not under way here any more; a write that another
 * thread had begun will never end, so tallies outside this thread's reach are made whole. */
void vs_registry_after_fork(void)
{
    for (vs_registry *registry = open_registries; registry != NULL; registry = registry->next_open) {
        registry->readers = 0;
        char *mine = vs_stripe_mine(registry->arena->slot);
        uint32_t used = vs_arena_stripes_used(registry->arena);
        for (vs_metric *metric = vs_load_relaxed(&registry->first); metric != NULL; metric = vs_load_relaxed(&metric->next)) {
            size_t n = vs_metric_tally_size(metric);
            if (n == 0)
                continue;
            for (vs_series *series = vs_load_relaxed(&metric->first); series != NULL; series = vs_load_relaxed(&series->next))
                for (uint32_t stripe = 0; stripe <= used; stripe++) {
                    char *base = vs_arena_stripe(registry->arena, stripe);
                    if (base != mine)
                        vs_tally_mend((vs_tally_block *)(base + series->offset), n);
                }
        }
    }
}

/* ---- declaring ---- */

static vs_metric *find_metric(vs_registry *registry, vs_text name)
{
    for (vs_metric *metric = vs_load_relaxed(&registry->first); metric != NULL; metric = vs_load_relaxed(&metric->next))
        if (metric->name.size == name.size && memcmp(metric->name.data, name.data, name.size) == 0)
            return metric;
    return NULL;
}

static void list_metric(vs_metric *metric)
{
    vs_registry *registry = metric->registry;
    metric->sequence = ++registry->sequence;
    metric->previous = registry->last;
    registry->last = metric;
    /* M1: release; pairs with M2 in snapshot.c. Without it a snapshot could reach the metric before its fields. */
    if (metric->previous != NULL)
        vs_store_release(&metric->previous->next, metric);
    else
        vs_store_release(&registry->first, metric);
}

static void unlist_metric(vs_metric *metric)
{
    vs_registry *registry = metric->registry;
    vs_metric *next = vs_load_relaxed(&metric->next); /* relaxed: under the lock */
    if (metric->previous != NULL)
        vs_store_release(&metric->previous->next, next); /* M1 */
    else
        vs_store_release(&registry->first, next); /* M1 */
    if (next != NULL)
        next->previous = metric->previous;
    else
        registry->last = metric->previous;
    metric->previous = registry->buried_metrics;
    registry->buried_metrics = metric;
}

static vs_status declare_new(vs_registry *registry, const vs_metric_spec *spec, const vs_hdr_config *hdr, vs_metric **out)
{
    vs_metric *metric = NULL;
    vs_status status = vs_metric_create(registry, spec, hdr, &metric);
    if (status != VS_OK)
        return status;
    for (vs_metric *other = vs_load_relaxed(&registry->first); other != NULL; other = vs_load_relaxed(&other->next))
        if (vs_metric_clash(metric, other)) {
            vs_metric_free(metric);
            return VS_E_CONFLICT;
        }
    list_metric(metric);
    *out = metric;
    return VS_OK;
}

vs_status vs_registry_declare(vs_registry *registry, const vs_metric_spec *spec, vs_metric **out)
{
    vs_hdr_config hdr = {0};
    if (!vs_metric_valid(spec, &hdr))
        return VS_E_INVALID;
    vs_cold_lock();
    vs_metric *metric = find_metric(registry, spec->name);
    vs_status status = VS_OK;
    if (metric == NULL)
        status = declare_new(registry, spec, &hdr, &metric);
    else if (!vs_metric_same_shape(metric, spec, &hdr))
        status = VS_E_CONFLICT;
    if (status == VS_OK) {
        metric->references++;
        registry->references++;
        *out = metric;
    }
    vs_cold_unlock();
    return status;
}

vs_status vs_registry_unregister(vs_registry *registry, vs_text name)
{
    vs_cold_lock();
    vs_metric *metric = find_metric(registry, name);
    if (metric != NULL) {
        unlist_metric(metric);
        vs_registry_settle(registry);
    }
    vs_cold_unlock();
    return metric != NULL ? VS_OK : VS_E_NOT_FOUND;
}

void vs_metric_retain(vs_metric *metric)
{
    vs_cold_lock();
    metric->references++;
    metric->registry->references++;
    vs_cold_unlock();
}

void vs_metric_release(vs_metric *metric)
{
    vs_cold_lock();
    vs_registry *registry = metric->registry;
    metric->references--;
    registry->references--;
    vs_registry_settle(registry);
    vs_cold_unlock();
}
