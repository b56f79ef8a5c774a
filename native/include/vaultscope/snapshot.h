/* A snapshot: the values of a whole registry, copied once, in columns; immutable and independent of it.
 * Exporters, alerts and health read snapshots, never live metrics.
 *
 * Strings are offsets into `text`; a string's size is kept beside it. Series stand metric by metric, in order of
 * declaration and then of creation. */
#ifndef VAULTSCOPE_SNAPSHOT_H
#define VAULTSCOPE_SNAPSHOT_H

#include "exemplar.h"
#include "registry.h"

typedef struct vs_span32 { /* a string in `text` */
    uint64_t at;
    uint32_t size;
} vs_span32;

typedef struct vs_snapshot_metric {
    vs_span32 name, help, unit;
    vs_kind kind;
    uint32_t label_count;
    size_t label_names; /* index of the first in snapshot->label_names */
    size_t bounds;      /* index of the first in snapshot->reals; in the declared unit */
    uint32_t bound_count;
    uint32_t quantile_count;
    size_t quantiles; /* index of the first in snapshot->reals */
    vs_hdr_config hdr;
    size_t series; /* index of the first series */
    size_t series_count;
    uint64_t losses[VS_LOSS_KINDS];
} vs_snapshot_metric;

typedef struct vs_snapshot {
    const vs_snapshot_metric *metrics;
    size_t metric_count;
    const vs_span32 *label_names;
    const double *reals; /* bounds and quantiles of all metrics */
    const char *text;
    size_t text_size;

    /* Columns, series_count long. */
    size_t series_count;
    const vs_span32 *labels;   /* rendered: op="put",peer="a\"b" ; empty for a metric without labels */
    const uint64_t *integers;  /* counter: exact part; histogram, HDR: the count; gauge: 0 */
    const double *numbers;     /* counter: float part; gauge: the value; histogram, HDR: the sum */
    const size_t *counts_at;   /* histogram, HDR: index of the first count in `counts` */
    const uint32_t *counts_first; /* HDR: the bucket index of that first count (zeroes around are left out); else 0 */
    const uint32_t *counts_len;   /* histogram: bound_count + 1; HDR: as many as lie between the outermost non-zero ones */
    const uint64_t *counts;
    size_t counts_size;

    const vs_exemplar *exemplars; /* by series, then by bucket; most series have none */
    size_t exemplar_count;

    uint64_t unsettled; /* readings since the registry was opened that did not come to rest: 0 unless a writer was stopped
                           in mid-write */
    uint64_t arena_used, arena_limit; /* bytes of cells, a stripe */
    uint32_t stripes_total, stripes_held;
    bool in_file;       /* the arena may be shared; the two below are 1 and 0 where it is not */
    uint64_t processes; /* that share the arena and live */
    uint64_t processes_refused; /* that found its table of processes full, or no disk space */
} vs_snapshot;

/* Takes a snapshot of the registry, or of the one metric named by `only` (NULL: all). Any thread; takes the read lock for the duration, the cold lock for a moment at either end;
 * writers and binds go on. Over a file arena it first lets go what dead processes left. VS_E_NO_MEMORY; VS_E_CORRUPT if the
 * file was damaged since it was opened. */
VS_API vs_status vs_snapshot_take(vs_registry *registry, const vs_text *only, vs_snapshot **out);
VS_API void vs_snapshot_free(vs_snapshot *snapshot);
/* The exemplars of a series, from the lowest bucket up. NULL: none. Pure. */
VS_API const vs_exemplar *vs_snapshot_exemplars(const vs_snapshot *snapshot, size_t series, size_t *count);
/* Bytes the snapshot holds. */
VS_API size_t vs_snapshot_bytes(const vs_snapshot *snapshot);

#endif
