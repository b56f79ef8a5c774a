/* Binding: from label values to a series, which is found or made, and taken out again.
 *
 * What cannot be had, beyond the metric's limit or without room, is answered with the overflow series and counted: a bind never
 * fails for want of room. */
#include "internal.h"

static const char OVERFLOW_VALUE[] = "_overflow";

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

/* Renders values as label text into key. False if there is no memory. */
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
        series = vs_series_create(metric, key.data, key.size);
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
static vs_series *make(vs_metric *metric, const char *labels, size_t size)
{
    vs_arena *arena = metric->registry->arena;
    if (arena->file == NULL) {
        vs_series *series = vs_series_create(metric, labels, size);
        if (series == NULL || vs_series_list(series))
            return series;
        vs_series_free(series);
        return NULL;
    }
    if (vs_file_lock(arena) != VS_OK)
        return NULL;
    if (vs_sync(metric->registry) == VS_OK && vs_series_find(metric, labels, size) == NULL && !is_full(metric) &&
        vs_sync_bind(metric, labels, size) == VS_OK)
        vs_sync(metric->registry);
    vs_file_unlock(arena);
    return vs_series_find(metric, labels, size);
}

static vs_series *find_or_make(vs_metric *metric, const char *labels, size_t size)
{
    vs_sync(metric->registry); /* if it cannot, what is known is served */
    vs_series *series = vs_series_find(metric, labels, size);
    if (series != NULL)
        return series;
    vs_series *overflow = metric->overflow;
    bool is_overflow = overflow != NULL && overflow->labels_size == size && memcmp(overflow->labels, labels, size) == 0;
    if (!is_full(metric) && !is_overflow)
        series = make(metric, labels, size);
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
        *out = vs_series_retain(series);
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
        vs_series *series = vs_series_find(metric, key.data, key.size);
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
