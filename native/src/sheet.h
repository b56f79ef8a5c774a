/* A sheet: what all lines of one metric share, worked out once a metric.
 *
 * Pieces are offsets into `text`, which moves while it grows. One sheet serves one rendering, metric by metric, on one
 * thread. */
#ifndef VAULTSCOPE_SHEET_H
#define VAULTSCOPE_SHEET_H

#include "text.h"

typedef struct vs_piece {
    size_t at;
    size_t size;
} vs_piece;

/* A bucket or a quantile. */
typedef struct vs_step {
    vs_piece tail;   /* le="0.005"} with the space after it. Empty: no line, the next bound is the same in base units */
    size_t end;      /* bucket: the counts before this index belong to it or to an earlier one */
    double quantile; /* in 0..1 */
} vs_step;

typedef struct vs_sheet {
    const vs_snapshot *snapshot;
    vs_render_options options;
    const vs_snapshot_metric *metric;
    double divide, multiply; /* to base units; one of them is 1 */
    const char *type;        /* counter, gauge, summary, histogram */
    bool quoted;             /* names need quotes, so they stand inside the braces: {"cas.put.count_total",op="put"} */
    vs_buffer family;        /* exported name, without quotes */
    vs_buffer text;
    vs_piece unit; /* base unit if the family name ends in it, else empty */
    vs_piece sample; /* of the value, bucket or quantile lines: name{ or {"name", */
    vs_piece sum, count;
    vs_step *steps;
    size_t step_count;
    size_t step_capacity;
    size_t tails_size; /* of all steps together */
} vs_sheet;

static inline vs_text vs_span_text(const vs_snapshot *snapshot, vs_span32 span)
{
    return (vs_text){span.size != 0 ? snapshot->text + span.at : "", span.size};
}

static inline const char *vs_piece_text(const vs_sheet *sheet, vs_piece piece)
{
    return sheet->text.data + piece.at;
}

/* A value in base units. */
static inline double vs_sheet_scale(const vs_sheet *sheet, double value)
{
    return value / sheet->divide * sheet->multiply;
}

/* Fills the sheet for a metric of its snapshot. False: no memory. */
bool vs_sheet_fill(vs_sheet *sheet, const vs_snapshot_metric *metric);
void vs_sheet_free(vs_sheet *sheet);

/* render_series.c: appends the lines of series i of the sheet's metric. No memory: buffer->failed. */
void vs_append_value(const vs_sheet *sheet, size_t i, vs_buffer *out);     /* counter, gauge */
void vs_append_buckets(const vs_sheet *sheet, size_t i, vs_buffer *out);   /* histogram; HDR with bounds */
void vs_append_quantiles(const vs_sheet *sheet, size_t i, vs_buffer *out); /* HDR without */

#endif
