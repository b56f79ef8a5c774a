/* The lines of one series, written with a bare pointer into room that was reserved for all of them.
 *
 * Both kinds of histogram go one way: a bucket is a run of counts, in a fixed histogram a run of one. */
#include "sheet.h"

#include <math.h>

enum { LINE_EXTRA = 4 + VS_DOUBLE_CHARS }; /* comma or brace, space, number, newline */

static inline char *write_head(const vs_sheet *sheet, char *at, vs_piece head, vs_text labels)
{
    at = vs_write(at, vs_piece_text(sheet, head), head.size);
    if (labels.size != 0) {
        at = vs_write(at, labels.data, labels.size);
        return vs_write(at, "} ", 2);
    }
    at--; /* nothing to open for: name{ loses its brace, {"name", its comma */
    return sheet->quoted ? vs_write(at, "} ", 2) : vs_write(at, " ", 1);
}

/* As write_head, but a label follows: name_bucket{op="put", */
static inline char *write_open(const vs_sheet *sheet, char *at, vs_text labels)
{
    at = vs_write(at, vs_piece_text(sheet, sheet->sample), sheet->sample.size);
    if (labels.size == 0)
        return at;
    at = vs_write(at, labels.data, labels.size);
    *at++ = ',';
    return at;
}

static char *write_number(const vs_sheet *sheet, char *at, double value)
{
    at = vs_write_double(at, vs_sheet_scale(sheet, value), false);
    *at++ = '\n';
    return at;
}

void vs_append_value(const vs_sheet *sheet, size_t i, vs_buffer *out)
{
    const vs_snapshot *snapshot = sheet->snapshot;
    vs_text labels = vs_span_text(snapshot, snapshot->labels[i]);
    if (!vs_buffer_reserve(out, sheet->sample.size + labels.size + LINE_EXTRA))
        return;
    char *at = write_head(sheet, out->data + out->size, sheet->sample, labels);
    uint64_t integer = snapshot->integers[i];
    double number = snapshot->numbers[i];
    if (sheet->metric->kind == VS_COUNTER && number == 0.0 && sheet->divide == 1.0 && sheet->multiply == 1.0) {
        at = vs_write_u64(at, integer);
        *at++ = '\n';
    } else {
        at = write_number(sheet, at, sheet->metric->kind == VS_COUNTER ? (double)integer + number : number);
    }
    out->size = (size_t)(at - out->data);
}

static char *write_sum_and_count(const vs_sheet *sheet, char *at, vs_text labels, double sum, uint64_t count)
{
    at = write_number(sheet, write_head(sheet, at, sheet->sum, labels), sum);
    at = vs_write_u64(write_head(sheet, at, sheet->count, labels), count);
    *at++ = '\n';
    return at;
}

/* ` # {trace_id="32 digits",span_id="16"} value seconds`: 63 characters of labels, where OpenMetrics allows 128. */
#define EXEMPLAR_OPEN " # {trace_id=\""
#define EXEMPLAR_SPAN "\",span_id=\""
#define EXEMPLAR_CLOSE "\"} "
enum {
    EXEMPLAR_CHARS = sizeof EXEMPLAR_OPEN EXEMPLAR_SPAN EXEMPLAR_CLOSE + 48 + VS_DOUBLE_CHARS + VS_U64_CHARS + 5
};

static char *write_hex(char *at, uint64_t value)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[value >> shift & 15];
    return at;
}

static char *write_exemplar(const vs_sheet *sheet, char *at, const vs_exemplar *exemplar)
{
    at = vs_write(at, EXEMPLAR_OPEN, sizeof EXEMPLAR_OPEN - 1);
    at = write_hex(write_hex(at, exemplar->trace_high), exemplar->trace_low);
    at = vs_write(at, EXEMPLAR_SPAN, sizeof EXEMPLAR_SPAN - 1);
    at = write_hex(at, exemplar->span);
    at = vs_write(at, EXEMPLAR_CLOSE, sizeof EXEMPLAR_CLOSE - 1);
    at = vs_write_double(at, vs_sheet_scale(sheet, exemplar->value), false);
    *at++ = ' ';
    uint64_t milliseconds = (uint64_t)exemplar->time_ns / 1000000; /* as Prometheus has it */
    at = vs_write_u64(at, milliseconds / 1000);
    unsigned rest = (unsigned)(milliseconds % 1000);
    *at++ = '.';
    *at++ = (char)('0' + rest / 100);
    return vs_write(at, vs_digit_pairs + rest % 100 * 2, 2);
}

/* Room for all steps of a series, with so many exemplars, its sum and its count. */
static bool reserve_steps(const vs_sheet *sheet, vs_text labels, size_t exemplars, vs_buffer *out)
{
    size_t line = labels.size + LINE_EXTRA;
    size_t steps = sheet->step_count * (sheet->sample.size + line) + sheet->tails_size + exemplars * EXEMPLAR_CHARS;
    return vs_buffer_reserve(out, steps + sheet->sum.size + sheet->count.size + 2 * line);
}

/* OpenMetrics 1.0 forbids a sum where values may be negative, and a count without a sum. */
static bool sum_allowed(const vs_sheet *sheet, double sum)
{
    const vs_snapshot_metric *metric = sheet->metric;
    if (sheet->options.format == VS_PROMETHEUS_0_0_4)
        return true;
    return sum >= 0.0 && (metric->bound_count == 0 || sheet->snapshot->reals[metric->bounds] >= 0.0);
}

void vs_append_buckets(const vs_sheet *sheet, size_t i, vs_buffer *out)
{
    const vs_snapshot *snapshot = sheet->snapshot;
    vs_text labels = vs_span_text(snapshot, snapshot->labels[i]);
    size_t exemplar_count = 0;
    const vs_exemplar *exemplars = sheet->options.format == VS_OPENMETRICS_1_0_0 && snapshot->exemplar_count != 0
                                       ? vs_snapshot_exemplars(snapshot, i, &exemplar_count)
                                       : NULL;
    if (!reserve_steps(sheet, labels, exemplar_count, out))
        return;
    char *at = out->data + out->size;
    const char *first_line = at;
    size_t prefix = 0; /* of the first line; the others copy it */
    size_t first = snapshot->counts_first[i], n = snapshot->counts_len[i], done = 0;
    const uint64_t *counts = n != 0 ? snapshot->counts + snapshot->counts_at[i] : NULL;
    uint64_t total = 0;
    const vs_exemplar *shown = NULL; /* a bucket without a line leaves its own to the next one */
    for (size_t k = 0; k < sheet->step_count; k++) {
        const vs_step *step = &sheet->steps[k];
        if (exemplar_count != 0 && exemplars->bucket == k) {
            shown = exemplars++;
            exemplar_count--;
        }
        for (; done < n && first + done < step->end; done++)
            total = vs_hdr_count_add(total, counts[done]);
        if (step->tail.size == 0)
            continue;
        if (prefix == 0) {
            at = write_open(sheet, at, labels);
            prefix = (size_t)(at - first_line);
        } else {
            at = vs_write(at, first_line, prefix);
        }
        at = vs_write(at, vs_piece_text(sheet, step->tail), step->tail.size);
        at = vs_write_u64(at, total);
        if (VS_UNLIKELY(shown != NULL)) {
            at = write_exemplar(sheet, at, shown);
            shown = NULL;
        }
        *at++ = '\n';
    }
    if (sum_allowed(sheet, snapshot->numbers[i]))
        at = write_sum_and_count(sheet, at, labels, snapshot->numbers[i], total);
    out->size = (size_t)(at - out->data);
}

/* Which value in ascending order stands for the quantile: as vs_hdr_quantile has it. */
static uint64_t rank_of(double quantile, uint64_t total)
{
    double rank = quantile * 100.0 * (double)total / 100.0 + 0.5;
    if (!(rank >= 1.0))
        return 1;
    return rank < (double)total ? (uint64_t)rank : total;
}

void vs_append_quantiles(const vs_sheet *sheet, size_t i, vs_buffer *out)
{
    const vs_snapshot *snapshot = sheet->snapshot;
    const vs_hdr_config *config = &sheet->metric->hdr;
    vs_text labels = vs_span_text(snapshot, snapshot->labels[i]);
    if (!reserve_steps(sheet, labels, 0, out))
        return;
    char *at = out->data + out->size;
    size_t n = snapshot->counts_len[i], done = 0;
    const uint64_t *counts = n != 0 ? snapshot->counts + snapshot->counts_at[i] : NULL;
    uint64_t total = snapshot->integers[i], below = 0; /* `below`: in the counts before `done` */
    for (size_t k = 0; k < sheet->step_count; k++) {
        const vs_step *step = &sheet->steps[k];
        double value = (double)NAN;
        if (total != 0 && n != 0) {
            uint64_t rank = rank_of(step->quantile, total);
            if (rank <= below) /* a smaller quantile than the one before: start again */
                done = below = 0;
            while (done + 1 < n && vs_hdr_count_add(below, counts[done]) < rank)
                below += counts[done++];
            int64_t low = vs_hdr_value_at_index(config, (int32_t)(snapshot->counts_first[i] + done));
            value = (double)(step->quantile > 0.0 ? vs_hdr_highest_equivalent(config, low) : low);
        }
        at = write_open(sheet, at, labels);
        at = vs_write(at, vs_piece_text(sheet, step->tail), step->tail.size);
        at = write_number(sheet, at, value);
    }
    at = write_sum_and_count(sheet, at, labels, snapshot->numbers[i], total);
    out->size = (size_t)(at - out->data);
}
