/* Series of a metric: their list and table, their life, and what their handles ask. How they come about is in bind.c.
 *
 * The key of a series is its rendered label text (op="put",peer="a"): it is unique, since names and their order are
 * fixed by the metric and values are escaped, and it is what a scrape copies out, so nothing else is kept. */
#include "internal.h"

#include <stdlib.h>

enum { BUCKETS_MIN = 8 };

static uint32_t hash_of(const char *data, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, with a final mix for the low bits */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(hash ^ (hash >> 32));
}

/* ---- list and table; all under the cold lock ---- */

static vs_series **bucket_of(const vs_metric *metric, uint32_t hash)
{
    return &metric->buckets[hash & (metric->bucket_count - 1)];
}

vs_series *vs_series_find(const vs_metric *metric, const char *labels, size_t size)
{
    if (metric->bucket_count == 0)
        return NULL;
    uint32_t hash = hash_of(labels, size);
    for (vs_series *series = *bucket_of(metric, hash); series != NULL; series = series->chain)
        if (series->hash == hash && series->labels_size == size && memcmp(series->labels, labels, size) == 0)
            return series;
    return NULL;
}

/* Doubles the table when it is full. If there is no memory, chains grow longer instead. */
static bool make_room(vs_metric *metric)
{
    if (metric->series_count < metric->bucket_count)
        return true;
    size_t count = metric->bucket_count != 0 ? metric->bucket_count * 2 : BUCKETS_MIN;
    vs_series **buckets = calloc(count, sizeof *buckets);
    if (buckets == NULL)
        return metric->bucket_count != 0;
    vs_series **old = metric->buckets;
    size_t old_count = metric->bucket_count;
    metric->buckets = buckets;
    metric->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        for (vs_series *series = old[i]; series != NULL;) {
            vs_series *next = series->chain;
            vs_series **bucket = bucket_of(metric, series->hash);
            series->chain = *bucket;
            *bucket = series;
            series = next;
        }
    }
    free(old);
    return true;
}

bool vs_series_list(vs_series *series)
{
    vs_metric *metric = series->metric;
    if (!make_room(metric))
        return false;
    vs_series **bucket = bucket_of(metric, series->hash);
    series->chain = *bucket;
    *bucket = series;
    series->listed = true;
    series->sequence = ++metric->registry->sequence;
    if (series->counted)
        metric->series_count++;
    series->previous = metric->last;
    vs_store_relaxed(&series->next, NULL);
    metric->last = series;
    /* S1: release; pairs with S2 in snapshot.c. Without it a snapshot could reach the series before its fields. */
    if (series->previous != NULL)
        vs_store_release(&series->previous->next, series);
    else
        vs_store_release(&metric->first, series);
    return true;
}

/* Takes the series out of list and table. A snapshot that stands on it still finds the way on: `next` is left as it is
 * (or moves on with the list), and nothing is freed while there are readers. */
void vs_series_unlist(vs_series *series)
{
    vs_metric *metric = series->metric;
    vs_series *next = vs_load_relaxed(&series->next); /* relaxed: written under the lock that we hold */
    if (series->previous != NULL)
        vs_store_release(&series->previous->next, next); /* S1 */
    else
        vs_store_release(&metric->first, next); /* S1 */
    if (next != NULL)
        next->previous = series->previous;
    else
        metric->last = series->previous;
    vs_series **link = bucket_of(metric, series->hash);
    while (*link != series)
        link = &(*link)->chain;
    *link = series->chain;
    series->listed = false;
    if (series->counted)
        metric->series_count--;
    series->chain = metric->registry->buried_series;
    metric->registry->buried_series = series;
}

/* ---- life ---- */

vs_series *vs_series_new(vs_metric *metric, const char *labels, size_t size, uint64_t offset)
{
    vs_series *series = calloc(1, sizeof *series + size + 1);
    if (series == NULL)
        return NULL;
    series->metric = metric;
    series->offset = offset;
    series->hash = hash_of(labels, size);
    series->labels_size = (uint32_t)size;
    series->counted = true;
    if (size != 0)
        memcpy(series->labels, labels, size);
    return series;
}

vs_series *vs_series_create(vs_metric *metric, const char *labels, size_t size)
{
    uint64_t offset;
    if (vs_arena_cells_alloc(metric->registry->arena, metric->cell_bytes, &offset) != VS_OK)
        return NULL;
    vs_series *series = vs_series_new(metric, labels, size, offset);
    if (series == NULL)
        vs_arena_cells_free(metric->registry->arena, offset, metric->cell_bytes);
    return series;
}

void vs_series_free(vs_series *series)
{
    vs_arena_cells_free(series->metric->registry->arena, series->offset, series->metric->cell_bytes);
    vs_exemplars_free(series);
    free(series);
}

vs_series *vs_series_retain(vs_series *series)
{
    series->references++;
    series->metric->references++;
    series->metric->registry->references++;
    return series;
}

void vs_series_release(vs_series *series)
{
    vs_cold_lock();
    vs_registry *registry = series->metric->registry;
    series->references--;
    series->metric->references--;
    registry->references--;
    vs_registry_settle(registry);
    vs_cold_unlock();
}

/* ---- handles ---- */

const vs_metric *vs_series_metric(const vs_series *series) { return series->metric; }

vs_text vs_series_labels(const vs_series *series) { return (vs_text){series->labels, series->labels_size}; }

vs_counter vs_series_counter(const vs_series *series)
{
    return (vs_counter){series->offset, vs_metric_arena(series->metric)};
}

vs_gauge vs_series_gauge(const vs_series *series)
{
    const vs_arena *arena = series->metric->registry->arena;
    return (vs_gauge){vs_metric_has_page(series->metric) ? &arena->process_base : &arena->stripes, series->offset};
}

vs_histogram vs_series_histogram(const vs_series *series)
{
    const vs_metric *metric = series->metric;
    return (vs_histogram){metric->bounds, series->offset, metric->losses, vs_metric_arena(metric),
                          (uint32_t)metric->bound_count};
}

vs_hdr vs_series_hdr(const vs_series *series)
{
    const vs_metric *metric = series->metric;
    return (vs_hdr){metric->hdr, series->offset, metric->losses, vs_metric_arena(metric)};
}

vs_status vs_series_read(vs_series *series, uint64_t *counts, vs_tally_totals *totals)
{
    const vs_metric *metric = series->metric;
    *totals = (vs_tally_totals){0};
    if (metric->kind == VS_GAUGE) {
        totals->sum_double = vs_gauge_read(vs_series_gauge(series));
        return VS_OK;
    }
    if (metric->kind == VS_COUNTER) {
        vs_counter_read(vs_series_counter(series), &totals->sum_integer, &totals->sum_double);
        return VS_OK;
    }
    size_t n = metric->tally_size;
    uint64_t *scratch = malloc(n * sizeof *scratch);
    if (scratch == NULL)
        return VS_E_NO_MEMORY;
    vs_read_lock();
    vs_tally_read(metric->registry->arena, series->offset, n, metric->kind == VS_HISTOGRAM, counts, scratch, totals);
    vs_read_unlock();
    free(scratch);
    return VS_OK;
}
