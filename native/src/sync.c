/* A registry over a file arena follows the file's directory: metrics and series in the file become metrics and series here.
 *
 * There is one way in for all of them. What this process declares or binds is written to the directory first and then comes back
 * by vs_sync, like what the others wrote; so what one process can see, all can. */
#include "file.h"

#include <stdlib.h>

/* ---- from the directory ---- */

static vs_status add_metric(vs_registry *registry, uint64_t at)
{
    vs_metric_record *record = (vs_metric_record *)vs_directory_at(registry->arena->file, at);
    if (vs_load_relaxed(&record->head.state) == VS_RECORD_REMOVED)
        return VS_OK;
    vs_text names[VS_LABELS_MAX];
    vs_metric_spec spec;
    vs_hdr_config hdr = {0};
    vs_directory_spec(record, names, &spec);
    if (!vs_metric_valid(&spec, &hdr))
        return VS_E_CORRUPT;
    vs_metric *metric = vs_metric_new(registry, &spec, &hdr);
    if (metric == NULL)
        return VS_E_NO_MEMORY;
    metric->losses = record->losses;
    metric->state = &record->head.state;
    metric->record = at;
    vs_metric_list(metric);
    return VS_OK;
}

static vs_metric *metric_of(const vs_registry *registry, uint64_t record)
{
    vs_metric *metric = registry->last; /* most series are bound to a metric of late */
    while (metric != NULL && metric->record != record)
        metric = metric->previous;
    return metric;
}

static vs_status add_series(vs_registry *registry, uint64_t at)
{
    vs_series_record *record = (vs_series_record *)vs_directory_at(registry->arena->file, at);
    vs_metric *metric = metric_of(registry, record->metric);
    uint64_t state = vs_load_relaxed(&record->head.state);
    bool is_overflow = record->is_overflow != 0;
    if (metric == NULL || state == VS_RECORD_REMOVED || (is_overflow ? metric->overflow != NULL : state != VS_RECORD_LISTED))
        return VS_OK;
    vs_series *series = vs_series_new(metric, record->labels, record->labels_size, record->offset);
    if (series == NULL)
        return VS_E_NO_MEMORY;
    series->state = &record->head.state;
    series->counted = !is_overflow;
    if (state == VS_RECORD_LISTED && !vs_series_list(series)) {
        vs_series_free(series);
        return VS_E_NO_MEMORY;
    }
    if (is_overflow)
        metric->overflow = series;
    return VS_OK;
}

/* States of records that others changed. */
static void follow_changes(vs_registry *registry)
{
    for (vs_metric *metric = vs_load_relaxed(&registry->first); metric != NULL;) {
        vs_metric *next = vs_load_relaxed(&metric->next);
        for (vs_series *series = vs_load_relaxed(&metric->first); series != NULL;) {
            vs_series *after = vs_load_relaxed(&series->next);
            if (vs_load_relaxed(series->state) == VS_RECORD_REMOVED && series != metric->overflow)
                vs_series_unlist(series);
            series = after;
        }
        vs_series *overflow = metric->overflow;
        if (overflow != NULL && !overflow->listed && vs_load_relaxed(overflow->state) == VS_RECORD_LISTED)
            vs_series_list(overflow); /* no memory: at the next change */
        if (vs_load_relaxed(metric->state) == VS_RECORD_REMOVED)
            vs_metric_unlist(metric);
        metric = next;
    }
    vs_registry_settle(registry);
}

vs_status vs_sync(vs_registry *registry)
{
    vs_arena *arena = registry->arena;
    if (arena->file == NULL)
        return VS_OK;
    vs_status status = vs_directory_check(arena);
    if (status != VS_OK)
        return status;
    uint64_t top = arena->file->checked;
    /* D4: acquire; pairs with D3. After the directory's top: what was declared anew after a removal comes after it here too. */
    uint64_t changes = vs_load_acquire(&arena->file->words->changes);
    if (changes != registry->changes)
        follow_changes(registry);
    registry->changes = changes;
    while (registry->synced < top) {
        const vs_record *record = vs_directory_at(arena->file, registry->synced);
        status = record->type == VS_RECORD_METRIC ? add_metric(registry, registry->synced)
                                                  : add_series(registry, registry->synced);
        if (status != VS_OK)
            return status;
        registry->synced += record->size;
    }
    return VS_OK;
}

/* ---- to the directory ---- */

static size_t up_to_8(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

/* Writes a series' record at *top and moves *top behind it. */
static vs_status write_series(const vs_metric *metric, uint64_t metric_at, const char *labels, size_t size, bool is_overflow,
                              uint64_t *top)
{
    vs_arena *arena = metric->registry->arena;
    vs_series_record *record;
    size_t bytes = up_to_8(sizeof *record + size);
    vs_status status = vs_directory_reserve(arena, *top, bytes, &record);
    if (status != VS_OK)
        return status;
    status = vs_metric_has_page(metric) ? vs_file_gauge_alloc(arena, &record->offset)
                                        : vs_arena_cells_alloc(arena, metric->cell_bytes, &record->offset);
    if (status != VS_OK)
        return status;
    record->metric = metric_at;
    record->labels_size = (uint32_t)size;
    record->is_overflow = is_overflow;
    if (size != 0)
        memcpy(record->labels, labels, size);
    vs_directory_seal(&record->head, VS_RECORD_SERIES, bytes, is_overflow ? VS_RECORD_HIDDEN : VS_RECORD_LISTED);
    *top += bytes;
    return VS_OK;
}

static char *put_text(char *at, vs_text text)
{
    if (text.size != 0)
        memcpy(at, text.data, text.size);
    return at + text.size;
}

static vs_status write_metric(const vs_metric *metric, uint64_t *top)
{
    vs_arena *arena = metric->registry->arena;
    size_t texts = metric->name.size + metric->help.size + metric->unit.size;
    for (size_t i = 0; i < metric->label_count; i++)
        texts += metric->label_names[i].size;
    vs_metric_record *record;
    size_t reals = metric->bound_count + metric->quantile_count;
    size_t bytes = up_to_8(sizeof *record + reals * sizeof(double) + metric->label_count * sizeof(uint32_t) + texts);
    vs_status status = vs_directory_reserve(arena, *top, bytes, &record);
    if (status != VS_OK)
        return status;
    status = vs_arena_cells_alloc(arena, VS_LOSS_KINDS * sizeof(vs_counter_cell), &record->losses);
    if (status != VS_OK)
        return status;
    record->kind = (uint32_t)metric->kind;
    record->mode = (uint32_t)metric->mode;
    record->digits = (uint32_t)metric->hdr.digits;
    record->hdr_lowest = metric->hdr.lowest;
    record->hdr_highest = metric->hdr.highest;
    record->series_max = metric->series_max;
    record->tally_size = (uint32_t)metric->tally_size;
    record->name_size = (uint32_t)metric->name.size;
    record->help_size = (uint32_t)metric->help.size;
    record->unit_size = (uint32_t)metric->unit.size;
    record->label_count = (uint32_t)metric->label_count;
    record->bound_count = (uint32_t)metric->bound_count;
    record->quantile_count = (uint32_t)metric->quantile_count;
    if (metric->bound_count != 0)
        memcpy(record->reals, metric->bounds, metric->bound_count * sizeof(double));
    if (metric->quantile_count != 0)
        memcpy(record->reals + metric->bound_count, metric->quantiles, metric->quantile_count * sizeof(double));
    uint32_t *label_sizes = (uint32_t *)(record->reals + reals);
    char *at = (char *)(label_sizes + metric->label_count);
    at = put_text(put_text(put_text(at, metric->name), metric->help), metric->unit);
    for (size_t i = 0; i < metric->label_count; i++) {
        label_sizes[i] = (uint32_t)metric->label_names[i].size;
        at = put_text(at, metric->label_names[i]);
    }
    vs_directory_seal(&record->head, VS_RECORD_METRIC, bytes, VS_RECORD_LISTED);
    *top += bytes;
    return VS_OK;
}

vs_status vs_sync_declare(vs_registry *registry, const vs_metric *metric)
{
    uint64_t at = vs_load_relaxed(&registry->arena->file->words->directory_top); /* relaxed: under the lock */
    uint64_t top = at;
    vs_buffer key = {0};
    bool labelled = metric->label_count != 0;
    vs_status status = labelled && !vs_series_overflow_key(metric, &key) ? VS_E_NO_MEMORY : write_metric(metric, &top);
    if (status == VS_OK)
        status = write_series(metric, at, key.data, key.size, labelled, &top);
    vs_buffer_free(&key);
    if (status == VS_OK)
        vs_directory_publish(registry->arena, top); /* both at once: no metric is ever seen without its first series */
    return status;
}

vs_status vs_sync_bind(vs_metric *metric, const char *labels, size_t size)
{
    if (vs_load_relaxed(metric->state) == VS_RECORD_REMOVED)
        return VS_E_NOT_FOUND;
    vs_arena *arena = metric->registry->arena;
    uint64_t top = vs_load_relaxed(&arena->file->words->directory_top);
    vs_status status = write_series(metric, metric->record, labels, size, false, &top);
    if (status == VS_OK)
        vs_directory_publish(arena, top);
    return status;
}

void vs_sync_state(vs_registry *registry, vs_word *state, uint64_t value)
{
    vs_store_relaxed(state, value);
    /* D3: release; pairs with D4. Without it another process could take the change for seen and not see it. */
    vs_add_release(&registry->arena->file->words->changes, 1u);
    registry->changes++; /* ours */
}
