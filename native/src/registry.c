/* Metrics by name, and the life of everything that a registry owns.
 *
 * Ownership is one rule: a registry owns its metrics and their series; handles (to the registry, to a metric, to a series)
 * each count once in `references` of all that they hang on. What was taken out of the registry is buried, and freed when it
 * has no handle and no snapshot is under way; when the registry itself has no handle left, all of it goes. */
#include "reader.h"

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

vs_status vs_registry_open_as(vs_arena *arena, uint32_t abi, vs_registry **out)
{
    if (abi != VS_ABI)
        return VS_E_ABI;
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

vs_status vs_registry_enter(vs_registry *registry, uint64_t *sequence)
{
    vs_cold_lock();
    vs_status status = vs_sync(registry);
    registry->readers++;
    *sequence = registry->sequence;
    vs_cold_unlock();
    return status;
}

void vs_registry_leave(vs_registry *registry)
{
    vs_cold_lock();
    registry->readers--;
    vs_registry_settle(registry);
    vs_cold_unlock();
}

static void empty_broken_exemplars(const vs_registry *registry)
{
    for (vs_metric *metric = vs_load_relaxed(&registry->first); metric != NULL; metric = vs_load_relaxed(&metric->next)) {
        vs_series *series = metric->bound_count != 0 ? vs_load_relaxed(&metric->first) : NULL;
        for (; series != NULL; series = vs_load_relaxed(&series->next))
            vs_exemplars_after_fork(series);
    }
}

/* In the child of a fork, under both locks. Snapshots of other threads are not under way here any more; a write that another
 * thread had begun will never end, so tallies outside this thread's reach are made whole. */
void vs_registry_after_fork(void)
{
    for (vs_registry *registry = open_registries; registry != NULL; registry = registry->next_open) {
        registry->readers = 0;
        empty_broken_exemplars(registry);
        if (registry->arena->file != NULL)
            continue; /* the other threads live on in the parent, and so do their writes */
        char *mine = vs_stripe_mine(registry->arena->slot);
        for (vs_metric *metric = vs_load_relaxed(&registry->first); metric != NULL; metric = vs_load_relaxed(&metric->next)) {
            vs_series *series = metric->tally_size != 0 ? vs_load_relaxed(&metric->first) : NULL;
            for (; series != NULL; series = vs_load_relaxed(&series->next)) {
                vs_reader reader;
                for (char *base = vs_reader_begin(&reader, registry->arena); base != NULL; base = vs_reader_next(&reader))
                    if (base != mine)
                        vs_tally_mend((vs_tally_block *)(base + series->offset), metric->tally_size,
                                      base == vs_arena_stripe(registry->arena, 0));
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

void vs_metric_list(vs_metric *metric)
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

void vs_metric_unlist(vs_metric *metric)
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

static bool clashes(const vs_registry *registry, const vs_metric *metric)
{
    const vs_metric *other = vs_load_relaxed(&registry->first);
    while (other != NULL && !vs_metric_clash(metric, other))
        other = vs_load_relaxed(&other->next);
    return other != NULL;
}

/* Declares what was not found: in an anonymous arena by listing it; in a file, where the file's lock is held, by a record that
 * vs_sync then makes a metric of, as it does for other processes. */
static vs_status declare_new(vs_registry *registry, const vs_metric_spec *spec, const vs_hdr_config *hdr)
{
    vs_metric *metric = vs_metric_new(registry, spec, hdr);
    if (metric == NULL)
        return VS_E_NO_MEMORY;
    bool in_file = registry->arena->file != NULL;
    vs_status status = clashes(registry, metric) ? VS_E_CONFLICT
                       : in_file                 ? vs_sync_declare(registry, metric)
                                                 : vs_series_prepare(metric);
    if (status == VS_OK && !in_file) {
        vs_metric_list(metric);
        return VS_OK;
    }
    vs_metric_free(metric);
    return status == VS_OK ? vs_sync(registry) : status;
}

static vs_status find_or_declare(vs_registry *registry, const vs_metric_spec *spec, const vs_hdr_config *hdr, vs_metric **out)
{
    vs_arena *arena = registry->arena;
    vs_status status = vs_sync(registry);
    *out = status == VS_OK ? find_metric(registry, spec->name) : NULL;
    if (status != VS_OK || *out != NULL)
        return status;
    if (arena->file == NULL) {
        status = declare_new(registry, spec, hdr);
    } else {
        status = vs_file_lock(arena);
        if (status != VS_OK)
            return status;
        status = vs_sync(registry);
        if (status == VS_OK && find_metric(registry, spec->name) == NULL)
            status = declare_new(registry, spec, hdr);
        vs_file_unlock(arena);
    }
    *out = status == VS_OK ? find_metric(registry, spec->name) : NULL;
    return status == VS_OK && *out == NULL ? VS_E_NO_MEMORY : status;
}

vs_status vs_registry_declare(vs_registry *registry, const vs_metric_spec *spec, vs_metric **out)
{
    vs_hdr_config hdr = {0};
    if (!vs_metric_valid(spec, &hdr))
        return VS_E_INVALID;
    if (registry->arena->file != NULL && vs_file_read_only(registry->arena))
        return VS_E_READ_ONLY;
    vs_cold_lock();
    vs_metric *metric = NULL;
    vs_status status = find_or_declare(registry, spec, &hdr, &metric);
    if (status == VS_OK && !vs_metric_same_shape(metric, spec, &hdr))
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
    bool in_file = registry->arena->file != NULL;
    vs_status status = in_file ? vs_file_lock(registry->arena) : VS_OK;
    if (status == VS_OK) {
        status = vs_sync(registry);
        vs_metric *metric = status == VS_OK ? find_metric(registry, name) : NULL;
        if (metric != NULL) {
            if (in_file)
                vs_sync_state(registry, metric->state, VS_RECORD_REMOVED);
            vs_metric_unlist(metric);
            vs_registry_settle(registry);
        } else if (status == VS_OK) {
            status = VS_E_NOT_FOUND;
        }
        if (in_file)
            vs_file_unlock(registry->arena);
    }
    vs_cold_unlock();
    return status;
}

uint64_t vs_registry_removals(vs_registry *registry)
{
    vs_cold_lock();
    uint64_t removals = registry->changes;
    vs_cold_unlock();
    return removals;
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
