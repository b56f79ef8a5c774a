/* Works out what the lines of a metric share: its exported name, the samples' names with their braces, and the text of
 * each bound and quantile. A scrape may hold a million lines; with this done a line is a few copies and one number. */
#include "sheet.h"

#include <math.h>
#include <stdlib.h>

static vs_piece piece_since(const vs_sheet *sheet, size_t start)
{
    return (vs_piece){start, sheet->text.size - start};
}

/* A sample's name, open for labels. */
static vs_piece add_head(vs_sheet *sheet, const char *suffix)
{
    size_t start = sheet->text.size;
    vs_text family = {sheet->family.data, sheet->family.size};
    if (sheet->quoted) {
        vs_append_literal(&sheet->text, "{\"");
        vs_append_escaped(&sheet->text, family, true);
        vs_append(&sheet->text, suffix, strlen(suffix));
        vs_append_literal(&sheet->text, "\",");
    } else {
        vs_append(&sheet->text, family.data, family.size);
        vs_append(&sheet->text, suffix, strlen(suffix));
        vs_append_literal(&sheet->text, "{");
    }
    return piece_since(sheet, start);
}

/* OpenMetrics takes a UNIT line only where the family name ends in `_` and that unit. */
static vs_piece add_unit(vs_sheet *sheet, vs_text base)
{
    size_t start = sheet->text.size;
    if (base.size == 0 || !vs_append_legal(&sheet->text, base))
        return (vs_piece){0, 0};
    vs_piece unit = piece_since(sheet, start);
    const vs_buffer *family = &sheet->family;
    bool ends = family->size > unit.size && family->data[family->size - unit.size - 1] == '_' &&
                memcmp(family->data + family->size - unit.size, vs_piece_text(sheet, unit), unit.size) == 0;
    return ends ? unit : (vs_piece){0, 0};
}

static vs_piece add_tail(vs_sheet *sheet, const char *label, double value)
{
    size_t start = sheet->text.size;
    vs_append(&sheet->text, label, strlen(label));
    vs_append_literal(&sheet->text, "=\"");
    vs_render_double(value, true, &sheet->text);
    vs_append_literal(&sheet->text, "\"} ");
    vs_piece tail = piece_since(sheet, start);
    sheet->tails_size += tail.size;
    return tail;
}

/* Where the counts of an HDR histogram end that belong to a bucket with this bound, in the declared unit.
 * A count belongs to the first bucket whose bound reaches the least value that shares the count. So a value that equals
 * a bound is in that bucket, and one above it may be too if it shares a count with the bound: an error of at most the
 * histogram's own precision. */
static size_t hdr_counts_end(const vs_hdr_config *config, double bound)
{
    if (!(bound >= 0.0))
        return 0;
    if (bound >= (double)config->highest)
        return (size_t)config->counts_len;
    return (size_t)vs_hdr_index(config, (int64_t)bound) + 1;
}

static void add_buckets(vs_sheet *sheet)
{
    const vs_snapshot_metric *metric = sheet->metric;
    for (size_t i = 0; i < metric->bound_count; i++) {
        const double *bound = sheet->snapshot->reals + metric->bounds + i;
        double here = vs_sheet_scale(sheet, bound[0]);
        double next = i + 1 < metric->bound_count ? vs_sheet_scale(sheet, bound[1]) : (double)INFINITY;
        vs_step *step = &sheet->steps[i];
        step->tail = here < next ? add_tail(sheet, "le", here) : (vs_piece){0, 0};
        step->end = metric->kind == VS_HDR ? hdr_counts_end(&metric->hdr, bound[0]) : i + 1;
    }
    sheet->steps[metric->bound_count].tail = add_tail(sheet, "le", (double)INFINITY);
    sheet->steps[metric->bound_count].end = SIZE_MAX;
    sheet->step_count = metric->bound_count + (size_t)1;
}

static void add_quantiles(vs_sheet *sheet)
{
    const vs_snapshot_metric *metric = sheet->metric;
    for (size_t i = 0; i < metric->quantile_count; i++) {
        double quantile = sheet->snapshot->reals[metric->quantiles + i];
        sheet->steps[i].quantile = quantile;
        sheet->steps[i].tail = add_tail(sheet, "quantile", quantile);
    }
    sheet->step_count = metric->quantile_count;
}

static bool reserve_steps(vs_sheet *sheet, size_t n)
{
    if (n <= sheet->step_capacity)
        return true;
    vs_step *steps = realloc(sheet->steps, n * sizeof *steps);
    if (steps == NULL)
        return false;
    sheet->steps = steps;
    sheet->step_capacity = n;
    return true;
}

static void fill_samples(vs_sheet *sheet)
{
    const vs_snapshot_metric *metric = sheet->metric;
    if (metric->kind == VS_COUNTER || metric->kind == VS_GAUGE) {
        sheet->type = metric->kind == VS_COUNTER ? "counter" : "gauge";
        sheet->sample = add_head(sheet, metric->kind == VS_COUNTER ? "_total" : "");
        return;
    }
    sheet->sum = add_head(sheet, "_sum");
    sheet->count = add_head(sheet, "_count");
    if (metric->kind == VS_HDR && metric->bound_count == 0) {
        sheet->type = "summary";
        sheet->sample = add_head(sheet, "");
        add_quantiles(sheet);
    } else {
        sheet->type = "histogram";
        sheet->sample = add_head(sheet, "_bucket");
        add_buckets(sheet);
    }
}

bool vs_sheet_fill(vs_sheet *sheet, const vs_snapshot_metric *metric)
{
    vs_text name = vs_span_text(sheet->snapshot, metric->name);
    vs_text unit = vs_span_text(sheet->snapshot, metric->unit);
    vs_unit found = vs_unit_find(unit);
    /* Dividing as long as that is exact for whole numbers: 7 minutes are 7 x 60 s, not 7 / 0.0166. */
    sheet->divide = found.per_base < 1.0 ? 1.0 : found.per_base;
    sheet->multiply = found.per_base < 1.0 ? rint(1.0 / found.per_base) : 1.0;
    sheet->metric = metric;
    sheet->family.size = sheet->text.size = sheet->tails_size = sheet->step_count = 0;
    size_t steps = metric->bound_count + (size_t)1 + metric->quantile_count;
    if (!vs_render_family_name(metric->kind, name, unit, sheet->options.names, &sheet->family) ||
        !reserve_steps(sheet, steps))
        return false;
    sheet->quoted = !vs_name_is_legal((vs_text){sheet->family.data, sheet->family.size});
    sheet->unit = add_unit(sheet, found.base != NULL ? (vs_text){found.base, strlen(found.base)} : unit);
    fill_samples(sheet);
    return !sheet->text.failed;
}

void vs_sheet_free(vs_sheet *sheet)
{
    vs_buffer_free(&sheet->family);
    vs_buffer_free(&sheet->text);
    free(sheet->steps);
}
