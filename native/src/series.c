/* Series of a metric: found by label values, made at first use, freed when removed and no handle is left.
 *
 * The key of a series is its rendered label text (op="put",peer="a"): it is unique, since names and their order are
 * fixed by the metric and values are escaped, and it is what a scrape copies out, so nothing else is kept. */
#include "internal.h"

#include <stdlib.h>

static const char OVERFLOW_VALUE[] = "_overflow";
enum { KEY_ON_STACK = 512, BUCKETS_MIN = 8 };

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

static vs_series *find(const vs_metric *metric, const char *labels, size_t size, uint32_t hash)
{
    if (metric->bucket_count == 0)
        return NULL;
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

/* With cells of its own, in an anonymous arena. NULL: no memory, or no cells. */
static vs_series *create(vs_metric *metric, const char *labels, size_t size)
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
    free(series);
}

static vs_series *retain(vs_series *series)
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

/* ---- the key ---- */

/* Cuts at a character: never inside a UTF-8 sequence. */
static size_t cut(vs_text value, size_t limit)
{
    if (value.size <= limit)
        return value.size;
    size_t size = limit;
    while (size > 0 && ((unsigned char)value.data[size] & 0xc0) == 0x80)
        size--;
    return size;
}

/* Renders values as label text into key, which starts on the caller's stack. False if there is no memory. */
static bool render_key(const vs_metric *metric, const vs_text *values, vs_buffer *key, uint64_t *truncated)
{
    for (size_t i = 0; i < metric->label_count; i++) {
        vs_text value = {values[i].data, cut(values[i], VS_LABEL_VALUE_BYTES_MAX)};
        *truncated += value.size != values[i].size;
        vs_text name = metric->label_names[i];
        if (!vs_buffer_reserve(key, name.size + 2 * value.size + 4))
            return false;
        if (i != 0)
            key->data[key->size++] = ',';
        memcpy(key->data + key->size, name.data, name.size);
        key->size += name.size;
        key->data[key->size++] = '=';
        key->data[key->size++] = '"';
        vs_render_escaped(value, key);
        key->data[key->size++] = '"';
    }
    return !key->failed;
}

/* ---- binding ---- */

bool vs_series_overflow_key(const vs_metric *metric, vs_buffer *key)
{
    vs_text values[VS_LABELS_MAX];
    uint64_t truncated = 0;
    for (size_t i = 0; i < metric->label_count; i++)
        values[i] = (vs_text){OVERFLOW_VALUE, sizeof OVERFLOW_VALUE - 1};
    return render_key(metric, values, key, &truncated);
}

vs_status vs_series_prepare(vs_metric *metric)
{
    vs_status status =
        vs_arena_cells_alloc(metric->registry->arena, VS_LOSS_KINDS * sizeof(vs_counter_cell), &metric->losses);
    if (status != VS_OK)
        return status;
    vs_buffer key = {0};
    bool labelled = metric->label_count != 0;
    vs_series *series = NULL;
    if (!labelled || vs_series_overflow_key(metric, &key))
        series = create(metric, key.data, key.size);
    vs_buffer_free(&key);
    if (series == NULL)
        return VS_E_FULL;
    if (labelled) {
        series->counted = false;
        metric->overflow = series;
        return VS_OK;
    }
    if (vs_series_list(series))
        return VS_OK;
    vs_series_free(series);
    return VS_E_NO_MEMORY;
}

/* What a bind beyond the limits is answered with. NULL: no memory to list it with. */
static vs_series *answer_overflow(vs_metric *metric)
{
    vs_series *overflow = metric->overflow;
    if (overflow == NULL || overflow->listed)
        return overflow;
    if (overflow->state != NULL && vs_file_lock(metric->registry->arena) == VS_OK) {
        vs_sync_state(metric->registry, overflow->state, VS_RECORD_LISTED);
        vs_file_unlock(metric->registry->arena);
    }
    return vs_series_list(overflow) ? overflow : NULL;
}

static bool is_full(const vs_metric *metric)
{
    return metric->series_max != 0 && metric->series_count >= metric->series_max;
}

/* Makes a series that was not found. NULL: there is no room, or no memory. */
static vs_series *make(vs_metric *metric, const char *labels, size_t size, uint32_t hash)
{
    vs_arena *arena = metric->registry->arena;
    if (arena->file == NULL) {
        vs_series *series = create(metric, labels, size);
        if (series == NULL || vs_series_list(series))
            return series;
        vs_series_free(series);
        return NULL;
    }
    if (vs_file_lock(arena) != VS_OK)
        return NULL;
    if (vs_sync(metric->registry) == VS_OK && find(metric, labels, size, hash) == NULL && !is_full(metric) &&
        vs_sync_bind(metric, labels, size) == VS_OK)
        vs_sync(metric->registry);
    vs_file_unlock(arena);
    return find(metric, labels, size, hash);
}

static vs_series *find_or_make(vs_metric *metric, const char *labels, size_t size)
{
    uint32_t hash = hash_of(labels, size);
    vs_sync(metric->registry); /* if it cannot, what is known is served */
    vs_series *series = find(metric, labels, size, hash);
    if (series != NULL)
        return series;
    vs_series *overflow = metric->overflow;
    bool is_overflow = overflow != NULL && overflow->labels_size == size && memcmp(overflow->labels, labels, size) == 0;
    if (!is_full(metric) && !is_overflow)
        series = make(metric, labels, size, hash);
    if (series != NULL)
        return series;
    if (!is_overflow)
        vs_loss_add(vs_metric_arena(metric), metric->losses, VS_LOSS_OVERFLOWED, 1);
    return answer_overflow(metric);
}

vs_status vs_metric_bind(vs_metric *metric, const vs_text *values, size_t count, vs_series **out)
{
    if (count != metric->label_count)
        return VS_E_INVALID;
    vs_buffer key = {0};
    uint64_t truncated = 0;
    if (!render_key(metric, values, &key, &truncated)) {
        vs_buffer_free(&key);
        return VS_E_NO_MEMORY;
    }
    if (truncated != 0)
        vs_loss_add(vs_metric_arena(metric), metric->losses, VS_LOSS_TRUNCATED, truncated);
    vs_cold_lock();
    vs_series *series =
        count == 0 ? vs_load_relaxed(&metric->first) : find_or_make(metric, key.data, key.size);
    if (series != NULL)
        *out = retain(series);
    vs_cold_unlock();
    vs_buffer_free(&key);
    return series != NULL ? VS_OK : VS_E_NO_MEMORY;
}

/* Takes a series out, for all processes. Under the cold lock and the file's. */
static void forget(vs_series *series)
{
    if (series->state != NULL)
        vs_sync_state(series->metric->registry, series->state, VS_RECORD_REMOVED);
    vs_series_unlist(series);
}

static vs_status lock_for_removal(vs_registry *registry)
{
    vs_status status = registry->arena->file != NULL ? vs_file_lock(registry->arena) : VS_OK;
    if (status == VS_OK && (status = vs_sync(registry)) != VS_OK)
        vs_file_unlock(registry->arena);
    return status;
}

static void unlock_after_removal(vs_registry *registry)
{
    if (registry->arena->file != NULL)
        vs_file_unlock(registry->arena);
    vs_registry_settle(registry);
}

vs_status vs_metric_remove(vs_metric *metric, const vs_text *values, size_t count)
{
    if (count != metric->label_count || count == 0)
        return VS_E_INVALID;
    vs_buffer key = {0};
    uint64_t truncated = 0;
    if (!render_key(metric, values, &key, &truncated)) {
        vs_buffer_free(&key);
        return VS_E_NO_MEMORY;
    }
    vs_cold_lock();
    vs_status status = lock_for_removal(metric->registry);
    if (status == VS_OK) {
        vs_series *series = find(metric, key.data, key.size, hash_of(key.data, key.size));
        status = series == NULL ? VS_E_NOT_FOUND : series == metric->overflow ? VS_E_INVALID : VS_OK;
        if (status == VS_OK)
            forget(series);
        unlock_after_removal(metric->registry);
    }
    vs_cold_unlock();
    vs_buffer_free(&key);
    return status;
}

vs_status vs_metric_clear(vs_metric *metric)
{
    if (metric->label_count == 0)
        return VS_OK;
    vs_cold_lock();
    vs_status status = lock_for_removal(metric->registry);
    if (status == VS_OK) {
        for (vs_series *series = vs_load_relaxed(&metric->first); series != NULL;) {
            vs_series *next = vs_load_relaxed(&series->next);
            if (series != metric->overflow)
                forget(series);
            series = next;
        }
        unlock_after_removal(metric->registry);
    }
    vs_cold_unlock();
    return status;
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
