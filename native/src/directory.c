/* The directory of a file arena: what metrics and series there are, for every process that opens the file.
 *
 * Records are appended under the file's lock and become visible by one store of `directory_top`. They never move and never change but
 * for their state, so readers need no lock. What is read was written by another process, perhaps by another program: every record
 * is checked once, before anything in it is used as an offset or a size. */
#include "file.h"

static const uint64_t BACKED_CHUNK = UINT64_C(64) << 10;

/* ---- checking ---- */

static bool cells_in_range(uint64_t offset, uint64_t bytes, uint64_t limit)
{
    return offset % 8 == 0 && offset != 0 && offset <= limit && bytes <= limit - offset;
}

/* What was given out, which was counted before the record was published: cells beyond it would be given out again. */
static uint64_t cells_limit(const vs_arena *arena)
{
    uint64_t top = vs_load_relaxed(&arena->shared->cells_top);
    return top < arena->stripe_bytes ? top : arena->stripe_bytes;
}

static uint64_t gauges_limit(const vs_arena *arena)
{
    uint64_t top = vs_load_relaxed(&arena->file->words->gauges_top);
    return top < VS_GAUGE_PAGE_BYTES ? top : (uint64_t)VS_GAUGE_PAGE_BYTES;
}

static uint64_t checksum_of(const vs_record *record)
{
    return vs_checksum(&record->size, record->size - offsetof(vs_record, size));
}

/* Bytes after `reals`. */
static uint64_t texts_size(const vs_metric_record *record, const uint32_t *label_sizes)
{
    uint64_t bytes = (uint64_t)record->name_size + record->help_size + record->unit_size;
    for (uint32_t i = 0; i < record->label_count; i++)
        bytes += label_sizes[i];
    return bytes;
}

static const uint32_t *label_sizes_of(const vs_metric_record *record)
{
    return (const uint32_t *)(record->reals + record->bound_count + record->quantile_count);
}

static bool is_sane_metric(const vs_arena *arena, const vs_metric_record *record)
{
    if (record->head.size < sizeof *record || record->label_count > VS_LABELS_MAX || record->bound_count > VS_BOUNDS_MAX ||
        record->quantile_count > VS_QUANTILES_MAX)
        return false;
    uint64_t fixed = sizeof *record + (record->bound_count + record->quantile_count) * sizeof(double) +
                     record->label_count * sizeof(uint32_t);
    if (fixed > record->head.size || texts_size(record, label_sizes_of(record)) > record->head.size - fixed)
        return false;
    vs_text names[VS_LABELS_MAX];
    vs_metric_spec spec;
    vs_hdr_config hdr = {0};
    vs_directory_spec(record, names, &spec);
    return vs_metric_valid(&spec, &hdr) && record->tally_size == vs_tally_size_of(&spec, &hdr) &&
           cells_in_range(record->losses, VS_LOSS_KINDS * sizeof(vs_counter_cell), cells_limit(arena));
}

static bool is_sane_series(const vs_arena *arena, const vs_series_record *record, uint64_t at)
{
    if (record->head.size < sizeof *record || record->labels_size > record->head.size - sizeof *record ||
        record->metric >= at || record->metric % 8 != 0)
        return false;
    const vs_metric_record *metric = (const vs_metric_record *)vs_directory_at(arena->file, record->metric);
    if (metric->head.type != VS_RECORD_METRIC)
        return false;
    bool paged = metric->kind == VS_GAUGE && metric->mode != VS_GAUGE_LAST;
    return cells_in_range(record->offset, vs_cell_bytes_of((vs_kind)metric->kind, metric->tally_size),
                          paged ? gauges_limit(arena) : cells_limit(arena));
}

static bool is_sane(const vs_arena *arena, uint64_t at, uint64_t top)
{
    const vs_record *record = vs_directory_at(arena->file, at);
    if (top - at < sizeof *record || record->size < sizeof *record || record->size % 8 != 0 || record->size > top - at ||
        record->size > VS_RECORD_BYTES_MAX || record->checksum != checksum_of(record))
        return false;
    if (record->type == VS_RECORD_METRIC)
        return is_sane_metric(arena, (const vs_metric_record *)record);
    return record->type == VS_RECORD_SERIES && is_sane_series(arena, (const vs_series_record *)record, at);
}

vs_status vs_directory_check(vs_arena *arena)
{
    vs_file *file = arena->file;
    uint64_t top = vs_load_acquire(&file->words->directory_top); /* D2: acquire; pairs with D1 */
    if (top > file->directory_bytes || top % 8 != 0)
        file->corrupt = true;
    while (!file->corrupt && file->checked < top) {
        if (is_sane(arena, file->checked, top))
            file->checked += vs_directory_at(file, file->checked)->size;
        else
            file->corrupt = true;
    }
    if (file->corrupt)
        return vs_file_refuse(VS_E_CORRUPT, file->path, "its directory is corrupt at byte %llu",
                              (unsigned long long)file->checked);
    return VS_OK;
}

/* ---- reading ---- */

void vs_directory_spec(const vs_metric_record *record, vs_text *names, vs_metric_spec *spec)
{
    const uint32_t *label_sizes = label_sizes_of(record);
    const char *text = (const char *)(label_sizes + record->label_count);
    memset(spec, 0, sizeof *spec);
    spec->kind = (vs_kind)record->kind;
    spec->mode = (vs_gauge_mode)record->mode;
    spec->name = (vs_text){text, record->name_size};
    spec->help = (vs_text){text += record->name_size, record->help_size};
    spec->unit = (vs_text){text += record->help_size, record->unit_size};
    text += record->unit_size;
    for (uint32_t i = 0; i < record->label_count; i++) {
        names[i] = (vs_text){text, label_sizes[i]};
        text += label_sizes[i];
    }
    spec->label_names = names;
    spec->label_count = record->label_count;
    spec->bounds = record->reals;
    spec->bound_count = record->bound_count;
    spec->quantiles = record->reals + record->bound_count;
    spec->quantile_count = record->quantile_count;
    spec->hdr_lowest = record->hdr_lowest;
    spec->hdr_highest = record->hdr_highest;
    spec->hdr_digits = (int32_t)record->digits;
    spec->series_max = record->series_max;
}

static bool is_removed(const vs_record *record)
{
    return vs_load_relaxed(&record->state) == VS_RECORD_REMOVED; /* under the file's lock */
}

const vs_series_record *vs_directory_next_series(const vs_file *file, uint64_t *at, const vs_metric_record **metric)
{
    while (*at < file->checked) {
        const vs_record *record = vs_directory_at(file, *at);
        *at += record->size;
        if (record->type != VS_RECORD_SERIES || is_removed(record))
            continue;
        *metric = (const vs_metric_record *)vs_directory_at(file, ((const vs_series_record *)record)->metric);
        if (!is_removed(&(*metric)->head))
            return (const vs_series_record *)record;
    }
    return NULL;
}

const vs_metric_record *vs_directory_next_metric(const vs_file *file, uint64_t *at)
{
    while (*at < file->checked) {
        const vs_record *record = vs_directory_at(file, *at);
        *at += record->size;
        if (record->type == VS_RECORD_METRIC && !is_removed(record))
            return (const vs_metric_record *)record;
    }
    return NULL;
}

/* ---- writing; under the file's lock ---- */

vs_status vs_directory_reserve(vs_arena *arena, uint64_t top, size_t bytes, void *record)
{
    vs_file *file = arena->file;
    if (bytes > VS_RECORD_BYTES_MAX || top > file->directory_bytes || bytes > file->directory_bytes - top)
        return VS_E_FULL;
    uint64_t backed = vs_load_relaxed(&file->words->directory_backed);
    uint64_t end = (top + bytes + BACKED_CHUNK - 1) / BACKED_CHUNK * BACKED_CHUNK;
    if (end > file->directory_bytes)
        end = file->directory_bytes;
    if (end > backed) {
        if (!vs_file_back(file, file->directory + backed, end - backed))
            return VS_E_FULL;
        vs_store_relaxed(&file->words->directory_backed, end);
    }
    char *at = file->directory + top;
    memset(at, 0, bytes); /* a process that was killed here may have left something */
    *(void **)record = at;
    return VS_OK;
}

void vs_directory_seal(vs_record *record, vs_record_type type, size_t bytes, vs_record_state state)
{
    record->size = (uint32_t)bytes;
    record->type = (uint32_t)type;
    record->checksum = checksum_of(record);
    vs_store_relaxed(&record->state, (uint64_t)state); /* relaxed: D1 follows */
}

void vs_directory_publish(vs_arena *arena, uint64_t top)
{
    /* D1: release; pairs with D2. Without it another process could find a record before its bytes, and call them corrupt. */
    vs_store_release(&arena->file->words->directory_top, top);
}
