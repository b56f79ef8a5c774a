/* Prometheus text and OpenMetrics from a snapshot: each metric's headers and series, then what vaultscope says of itself.
 *
 * The two formats differ in their headers and in strictness, hardly in their lines, so one writer does both. */
#include "sheet.h"

typedef struct header {
    vs_text family, help, unit;
    const char *type;
} header;

/* `# TYPE name `. Before OpenMetrics a counter's name in the headers is that of its samples. */
static void append_keyword(vs_buffer *out, vs_text_format format, const char *keyword, const header *h)
{
    bool quoted = !vs_name_is_legal(h->family);
    vs_append_literal(out, "# ");
    vs_append(out, keyword, strlen(keyword));
    vs_append_literal(out, " ");
    vs_append(out, "\"", quoted);
    vs_append_escaped(out, h->family, true);
    if (format == VS_PROMETHEUS_0_0_4 && strcmp(h->type, "counter") == 0)
        vs_append_literal(out, "_total");
    vs_append(out, "\"", quoted);
    vs_append_literal(out, " ");
}

static void append_help(vs_buffer *out, vs_text_format format, const header *h)
{
    if (h->help.size == 0)
        return;
    append_keyword(out, format, "HELP", h);
    vs_append_escaped(out, h->help, format == VS_OPENMETRICS_1_0_0);
    vs_append_literal(out, "\n");
}

/* OpenMetrics wants TYPE, UNIT, HELP; the older format is written HELP, TYPE everywhere. */
static void append_header(vs_buffer *out, vs_text_format format, const header *h)
{
    if (format == VS_PROMETHEUS_0_0_4)
        append_help(out, format, h);
    append_keyword(out, format, "TYPE", h);
    vs_append(out, h->type, strlen(h->type));
    vs_append_literal(out, "\n");
    if (format == VS_PROMETHEUS_0_0_4)
        return;
    if (h->unit.size != 0) {
        append_keyword(out, format, "UNIT", h);
        vs_append(out, h->unit.data, h->unit.size);
        vs_append_literal(out, "\n");
    }
    append_help(out, format, h);
}

/* What vaultscope says of itself. */

typedef struct loss_family {
    const char *name;
    const char *help;
    vs_loss first; /* a row for each of `kinds` losses from this one on */
    size_t kinds;
    const char *labels[2];
} loss_family;

static const loss_family loss_families[] = {
    {"vaultscope_invalid_observations", "Values that the metric cannot take.", VS_LOSS_INVALID, 1, {""}},
    {"vaultscope_clamped_values", "Values out of range, recorded as the nearest end of it.", VS_LOSS_CLAMPED_LOW, 2,
     {",side=\"low\"", ",side=\"high\""}},
    {"vaultscope_series_overflow", "Binds beyond the series limit, answered with the overflow series.", VS_LOSS_OVERFLOWED, 1,
     {""}},
    {"vaultscope_label_truncated", "Label values that were too long and were cut.", VS_LOSS_TRUNCATED, 1, {""}},
};

static vs_text text(const char *string)
{
    return (vs_text){string, strlen(string)};
}

static void append_own_header(vs_buffer *out, vs_text_format format, const char *name, const char *type, const char *help,
                              const char *unit)
{
    header h = {text(name), text(help), text(unit), type};
    append_header(out, format, &h);
}

static void append_row(vs_buffer *out, const char *name, const char *labels, uint64_t value)
{
    vs_append(out, name, strlen(name));
    vs_append(out, labels, strlen(labels));
    vs_append_literal(out, " ");
    vs_render_u64(value, out);
    vs_append_literal(out, "\n");
}

/* Only rows that are not zero, and no family without rows: what is lost is news. */
static void append_losses(const vs_snapshot *snapshot, vs_text_format format, const loss_family *family, vs_buffer *out)
{
    bool begun = false;
    for (size_t m = 0; m < snapshot->metric_count; m++) {
        for (size_t k = 0; k < family->kinds; k++) {
            uint64_t lost = snapshot->metrics[m].losses[(size_t)family->first + k];
            if (lost == 0)
                continue;
            if (!begun)
                append_own_header(out, format, family->name, "counter", family->help, "");
            begun = true;
            vs_append(out, family->name, strlen(family->name));
            vs_append_literal(out, "_total{metric=\"");
            vs_render_escaped(vs_span_text(snapshot, snapshot->metrics[m].name), out);
            vs_append_literal(out, "\"");
            append_row(out, family->labels[k], "}", lost);
        }
    }
}

static void append_own(const vs_snapshot *snapshot, vs_text_format format, vs_buffer *out)
{
    for (size_t i = 0; i < sizeof loss_families / sizeof *loss_families; i++)
        append_losses(snapshot, format, &loss_families[i], out);
    append_own_header(out, format, "vaultscope_arena_bytes", "gauge", "Bytes of cells in one stripe.", "bytes");
    append_row(out, "vaultscope_arena_bytes", "{state=\"used\"}", snapshot->arena_used);
    append_row(out, "vaultscope_arena_bytes", "{state=\"limit\"}", snapshot->arena_limit);
    append_own_header(out, format, "vaultscope_stripes", "gauge", "Stripes for threads.", "");
    append_row(out, "vaultscope_stripes", "{state=\"held\"}", snapshot->stripes_held);
    append_row(out, "vaultscope_stripes", "{state=\"total\"}", snapshot->stripes_total);
    append_own_header(out, format, "vaultscope_unsettled_reads", "counter", "Reads of a histogram that a writer held up.",
                      "");
    append_row(out, "vaultscope_unsettled_reads", "_total", snapshot->unsettled);
    if (!snapshot->in_file)
        return;
    append_own_header(out, format, "vaultscope_processes", "gauge", "Processes that share the arena.", "");
    append_row(out, "vaultscope_processes", "", snapshot->processes);
    append_own_header(out, format, "vaultscope_processes_refused", "counter",
                      "Processes that the arena had no room for: their own gauges are not shown.", "");
    append_row(out, "vaultscope_processes_refused", "_total", snapshot->processes_refused);
}

static void append_metric(vs_sheet *sheet, const vs_snapshot_metric *metric, vs_buffer *out)
{
    if (!vs_sheet_fill(sheet, metric)) {
        out->failed = true;
        return;
    }
    header h = {{sheet->family.data, sheet->family.size},
                vs_span_text(sheet->snapshot, metric->help),
                {vs_piece_text(sheet, sheet->unit), sheet->unit.size},
                sheet->type};
    append_header(out, sheet->options.format, &h);
    size_t end = metric->series + metric->series_count;
    if (metric->kind == VS_COUNTER || metric->kind == VS_GAUGE)
        for (size_t i = metric->series; i < end; i++)
            vs_append_value(sheet, i, out);
    else if (metric->kind == VS_HISTOGRAM || metric->bound_count != 0)
        for (size_t i = metric->series; i < end; i++)
            vs_append_buckets(sheet, i, out);
    else
        for (size_t i = metric->series; i < end; i++)
            vs_append_quantiles(sheet, i, out);
}

vs_status vs_render_text(const vs_snapshot *snapshot, const vs_render_options *options, vs_buffer *out)
{
    vs_sheet sheet = {.snapshot = snapshot, .options = *options};
    for (size_t m = 0; m < snapshot->metric_count && !out->failed; m++)
        append_metric(&sheet, &snapshot->metrics[m], out);
    vs_sheet_free(&sheet);
    append_own(snapshot, options->format, out);
    if (options->format == VS_OPENMETRICS_1_0_0)
        vs_append_literal(out, "# EOF\n");
    return out->failed ? VS_E_NO_MEMORY : VS_OK;
}
