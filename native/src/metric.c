/* A metric by itself: what a valid declaration is, when two are of one shape, which samples it exports, its copy of all that.
 *
 * Whether two metrics may stand side by side is decided by what they export, since that is where a clash would hurt:
 * cas.put and cas_put are one name to Prometheus, and a gauge lag_count would be taken for a part of a histogram lag. */
#include "internal.h"

#include <stdlib.h>

static bool same_text(vs_text a, vs_text b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

size_t vs_tally_size_of(const vs_metric_spec *spec, const vs_hdr_config *hdr)
{
    switch (spec->kind) {
    case VS_HISTOGRAM: return spec->bound_count + 1;
    case VS_HDR: return (size_t)hdr->counts_len;
    case VS_COUNTER:
    case VS_GAUGE: break;
    }
    return 0;
}

size_t vs_cell_bytes_of(vs_kind kind, size_t tally_size)
{
    switch (kind) {
    case VS_COUNTER: return sizeof(vs_counter_cell);
    case VS_GAUGE: return sizeof(vs_word);
    case VS_HISTOGRAM:
    case VS_HDR: break;
    }
    return vs_tally_bytes(tally_size);
}

bool vs_metric_has_page(const vs_metric *metric)
{
    return metric->mode != VS_GAUGE_LAST && metric->registry->arena->file != NULL;
}

/* ---- validity and shape ---- */

static bool ascending(const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(values[i] - values[i] == 0.0) || (i != 0 && values[i] <= values[i - 1]))
            return false;
    return true;
}

bool vs_metric_valid(const vs_metric_spec *spec, vs_hdr_config *hdr)
{
    bool histogram = spec->kind == VS_HISTOGRAM;
    if (spec->kind < VS_COUNTER || spec->kind > VS_HDR || spec->name.size == 0 || spec->name.size > VS_NAME_BYTES_MAX ||
        spec->help.size > VS_HELP_BYTES_MAX || spec->unit.size > VS_NAME_BYTES_MAX || spec->label_count > VS_LABELS_MAX ||
        spec->bound_count > VS_BOUNDS_MAX || spec->quantile_count > VS_QUANTILES_MAX)
        return false;
    if ((histogram && spec->bound_count == 0) || (spec->kind <= VS_GAUGE && spec->bound_count != 0))
        return false;
    for (size_t i = 0; i < spec->label_count; i++)
        if (spec->label_names[i].size == 0 || spec->label_names[i].size > VS_NAME_BYTES_MAX)
            return false;
    if (spec->mode > VS_GAUGE_ALL || (spec->mode != VS_GAUGE_LAST && spec->kind != VS_GAUGE))
        return false;
    for (size_t i = 0; spec->mode == VS_GAUGE_ALL && i < spec->label_count; i++)
        if (same_text(spec->label_names[i], VS_PID_LABEL))
            return false;
    if (!ascending(spec->bounds, spec->bound_count) || !ascending(spec->quantiles, spec->quantile_count))
        return false;
    return spec->kind != VS_HDR || vs_hdr_config_init(hdr, spec->hdr_lowest, spec->hdr_highest, spec->hdr_digits) == VS_OK;
}

bool vs_metric_same_shape(const vs_metric *metric, const vs_metric_spec *spec, const vs_hdr_config *hdr)
{
    if (metric->kind != spec->kind || metric->mode != spec->mode || !same_text(metric->unit, spec->unit) ||
        metric->label_count != spec->label_count || metric->bound_count != spec->bound_count || metric->quantile_count != spec->quantile_count)
        return false;
    for (size_t i = 0; i < spec->label_count; i++)
        if (!same_text(metric->label_names[i], spec->label_names[i]))
            return false;
    for (size_t i = 0; i < spec->bound_count; i++)
        if (metric->bounds[i] != spec->bounds[i])
            return false;
    for (size_t i = 0; i < spec->quantile_count; i++)
        if (metric->quantiles[i] != spec->quantiles[i])
            return false;
    return spec->kind != VS_HDR || (metric->hdr.lowest == hdr->lowest && metric->hdr.highest == hdr->highest &&
                                    metric->hdr.digits == hdr->digits);
}

/* ---- exported names ---- */

/* The suffixes of the samples that a kind exports, besides the family's own name, which each kind claims. */
static const char *const *suffixes_of(const vs_metric *metric)
{
    static const char *const counter[] = {"", "_total", "_created", NULL};
    static const char *const gauge[] = {"", NULL};
    static const char *const summary[] = {"", "_sum", "_count", "_created", NULL};
    static const char *const histogram[] = {"", "_bucket", "_sum", "_count", "_created", NULL};
    switch (metric->kind) {
    case VS_COUNTER: return counter;
    case VS_GAUGE: return gauge;
    case VS_HISTOGRAM: return histogram;
    case VS_HDR: return metric->bound_count != 0 ? histogram : summary;
    }
    return gauge;
}

bool vs_metric_clash(const vs_metric *a, const vs_metric *b)
{
    size_t a_size = strlen(a->family), b_size = strlen(b->family);
    size_t common = a_size < b_size ? a_size : b_size;
    if (memcmp(a->family, b->family, common) != 0)
        return false; /* no suffix can mend that: the first bytes differ */
    for (const char *const *x = suffixes_of(a); *x != NULL; x++)
        for (const char *const *y = suffixes_of(b); *y != NULL; y++) {
            size_t x_size = strlen(*x), y_size = strlen(*y);
            if (a_size + x_size != b_size + y_size)
                continue;
            const char *tail = a_size < b_size ? b->family + common : a->family + common;
            size_t tail_size = (a_size > b_size ? a_size : b_size) - common;
            const char *longer = a_size < b_size ? *x : *y, *shorter = a_size < b_size ? *y : *x;
            if (strncmp(longer, tail, tail_size) == 0 && strcmp(longer + tail_size, shorter) == 0)
                return true;
        }
    return false;
}

/* ---- life; under the cold lock ---- */

static void *copy_of(const void *data, size_t bytes)
{
    void *copy = malloc(bytes != 0 ? bytes : 1);
    if (copy != NULL && bytes != 0)
        memcpy(copy, data, bytes);
    return copy;
}

static vs_text keep(char **at, vs_text text)
{
    vs_text kept = {*at, text.size};
    if (text.size != 0)
        memcpy(*at, text.data, text.size);
    *at += text.size;
    return kept;
}

/* Copies the specification. The caller frees the metric if this fails half-way. */
static bool fill(vs_metric *metric, const vs_metric_spec *spec)
{
    size_t bytes = spec->name.size + spec->help.size + spec->unit.size;
    for (size_t i = 0; i < spec->label_count; i++)
        bytes += spec->label_names[i].size;
    vs_buffer family = {0};
    bool named = vs_render_family_name(spec->kind, spec->name, spec->unit, VS_NAMES_UNDERSCORES, &family) &&
                 vs_buffer_reserve(&family, 1);
    if (named)
        family.data[family.size] = '\0';
    metric->family = family.data;
    metric->strings = malloc(bytes + 1);
    metric->label_names = malloc((spec->label_count + 1) * sizeof *metric->label_names);
    metric->bounds = copy_of(spec->bounds, spec->bound_count * sizeof *spec->bounds);
    metric->quantiles = copy_of(spec->quantiles, spec->quantile_count * sizeof *spec->quantiles);
    if (!named || metric->strings == NULL || metric->label_names == NULL || metric->bounds == NULL || metric->quantiles == NULL)
        return false;
    char *at = metric->strings;
    metric->name = keep(&at, spec->name);
    metric->help = keep(&at, spec->help);
    metric->unit = keep(&at, spec->unit);
    for (size_t i = 0; i < spec->label_count; i++)
        metric->label_names[i] = keep(&at, spec->label_names[i]);
    metric->label_count = spec->label_count;
    metric->bound_count = spec->bound_count;
    metric->quantile_count = spec->quantile_count;
    metric->series_max = spec->series_max;
    metric->mode = spec->mode;
    metric->tally_size = vs_tally_size_of(spec, &metric->hdr);
    metric->cell_bytes = vs_cell_bytes_of(spec->kind, metric->tally_size);
    return true;
}

void vs_metric_free(vs_metric *metric)
{
    for (vs_series *series = vs_load_relaxed(&metric->first); series != NULL;) {
        vs_series *next = vs_load_relaxed(&series->next);
        if (series != metric->overflow)
            vs_series_free(series);
        series = next;
    }
    if (metric->overflow != NULL)
        vs_series_free(metric->overflow);
    if (metric->losses != 0)
        vs_arena_cells_free(metric->registry->arena, metric->losses, VS_LOSS_KINDS * sizeof(vs_counter_cell));
    free(metric->buckets);
    free(metric->label_names);
    free(metric->bounds);
    free(metric->quantiles);
    free(metric->family);
    free(metric->strings);
    free(metric);
}

vs_metric *vs_metric_new(vs_registry *registry, const vs_metric_spec *spec, const vs_hdr_config *hdr)
{
    vs_metric *metric = calloc(1, sizeof *metric);
    if (metric == NULL)
        return NULL;
    metric->registry = registry;
    metric->kind = spec->kind;
    metric->hdr = *hdr;
    if (fill(metric, spec))
        return metric;
    vs_metric_free(metric);
    return NULL;
}

/* ---- what handles ask ---- */

uint64_t vs_metric_series_count(vs_metric *metric)
{
    vs_cold_lock();
    uint64_t count = metric->series_count;
    vs_cold_unlock();
    return count;
}

uint64_t vs_metric_losses(const vs_metric *metric) { return metric->losses; }
uint32_t vs_metric_arena(const vs_metric *metric) { return metric->registry->arena->slot; }

uint64_t vs_metric_loss_read(const vs_metric *metric, vs_loss kind)
{
    vs_counter counter = {metric->losses + (uint64_t)kind * sizeof(vs_counter_cell), vs_metric_arena(metric)};
    uint64_t integer;
    double real;
    vs_counter_read(counter, &integer, &real);
    return integer;
}
