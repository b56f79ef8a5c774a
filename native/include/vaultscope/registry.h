/* A registry: metrics by name, and their series by label values.
 *
 * Everything here is cold and takes the cold lock (arena.h), unless it says otherwise: declare and bind once, keep the handle.
 * A series lives until it is removed and the last handle to it is released; only then are its cells used again.
 *
 * Over an arena in a file a registry holds what any process declared there, as soon as it looks: when something is declared or
 * bound, and at each snapshot. What one process removes is gone for all. */
#ifndef VAULTSCOPE_REGISTRY_H
#define VAULTSCOPE_REGISTRY_H

#include "arena.h"
#include "counter.h"
#include "gauge.h"
#include "hdr.h"
#include "histogram.h"

typedef struct vs_registry vs_registry;
typedef struct vs_metric vs_metric;
typedef struct vs_series vs_series;

typedef enum vs_kind { VS_COUNTER = 1, VS_GAUGE = 2, VS_HISTOGRAM = 3, VS_HDR = 4 } vs_kind;

/* What a gauge shows where several processes share it. All but the first give each process a cell of its own, which goes when the
 * process dies; those that never wrote take no part. */
typedef enum vs_gauge_mode {
    VS_GAUGE_LAST = 0, /* what was written last, by whomever */
    VS_GAUGE_SUM = 1,
    VS_GAUGE_MIN = 2,
    VS_GAUGE_MAX = 3,
    VS_GAUGE_ALL = 4 /* a series for each process, told apart by the label `pid` */
} vs_gauge_mode;

/* All pointers are borrowed for the call. Strings are valid UTF-8 without NUL; the caller vouches. */
typedef struct vs_metric_spec {
    vs_kind kind;
    vs_text name; /* dotted: cas.put.count */
    vs_text help;
    vs_text unit; /* as vs_unit_find knows it, or any word, or empty */
    const vs_text *label_names;
    size_t label_count;
    const double *bounds; /* VS_HISTOGRAM: its buckets. VS_HDR: classic buckets to export (none: a summary) */
    size_t bound_count;
    const double *quantiles; /* VS_HDR: what a summary shows */
    size_t quantile_count;
    int64_t hdr_lowest, hdr_highest;
    int32_t hdr_digits;
    uint64_t series_max; /* beyond it binds are answered with the overflow series; 0: no limit but memory */
    vs_gauge_mode mode;  /* VS_GAUGE */
} vs_metric_spec;

/* A registry with one reference. VS_E_ABI if these headers are not the library's; VS_E_NO_MEMORY. */
VS_API vs_status vs_registry_open_as(vs_arena *arena, uint32_t abi, vs_registry **out);
static inline vs_status vs_registry_open(vs_arena *arena, vs_registry **out)
{
    return vs_registry_open_as(arena, VS_ABI, out);
}
VS_API void vs_registry_retain(vs_registry *registry);
/* The last release frees it; every metric and series handle holds a reference of its own. */
VS_API void vs_registry_release(vs_registry *registry);

/* Declares a metric, or finds it if the name is declared with the same shape (kind, unit, labels, bounds, range).
 * VS_E_CONFLICT: another shape, or a name whose exported samples would clash with another metric's.
 * VS_E_INVALID: a limit of base.h, or bounds that do not ascend. VS_E_FULL, VS_E_NO_MEMORY. In a file arena also VS_E_BUSY,
 * VS_E_CORRUPT and VS_E_READ_ONLY.
 * A metric without labels gets its one series at once. *out is retained: release it with vs_metric_release. */
VS_API vs_status vs_registry_declare(vs_registry *registry, const vs_metric_spec *spec, vs_metric **out);
VS_API void vs_metric_retain(vs_metric *metric);
VS_API void vs_metric_release(vs_metric *metric);
/* Takes the metric out of the registry: it is no longer scraped, and its name is free. Handles stay valid. */
VS_API vs_status vs_registry_unregister(vs_registry *registry, vs_text name);
/* How often something was taken out, by any process, as far as this registry has seen: who keeps series by their labels has to
 * look them up again when it changes. */
VS_API uint64_t vs_registry_removals(vs_registry *registry);

/* Finds or makes the series with these label values (as many as label names, in their order) and retains it.
 * Beyond series_max, or with no cells left, *out is the overflow series (every label value `_overflow`) and the loss is counted.
 * A value longer than VS_LABEL_VALUE_BYTES_MAX is cut at a character and counted. */
VS_API vs_status vs_metric_bind(vs_metric *metric, const vs_text *values, size_t count, vs_series **out);
VS_API void vs_series_release(vs_series *series);
/* Forgets a series; handles to it stay valid but are no longer scraped. VS_E_NOT_FOUND. The overflow
 * series stays once it was used: VS_E_INVALID, as for a metric without labels. */
VS_API vs_status vs_metric_remove(vs_metric *metric, const vs_text *values, size_t count);
/* Forgets all series of a labelled metric but the overflow series. */
VS_API vs_status vs_metric_clear(vs_metric *metric);
VS_API uint64_t vs_metric_series_count(vs_metric *metric);

/* Handles. The kind must fit; the caller vouches. Wait-free. */
VS_API vs_counter vs_series_counter(const vs_series *series);
VS_API vs_gauge vs_series_gauge(const vs_series *series);
VS_API vs_histogram vs_series_histogram(const vs_series *series);
VS_API vs_hdr vs_series_hdr(const vs_series *series);
VS_API const vs_metric *vs_series_metric(const vs_series *series);
/* Rendered labels: op="put",peer="a\"b" . Borrowed from the series. */
VS_API vs_text vs_series_labels(const vs_series *series);

/* Cells of the metric's losses, and its arena, for vs_loss_add. */
VS_API uint64_t vs_metric_losses(const vs_metric *metric);
VS_API uint32_t vs_metric_arena(const vs_metric *metric);
VS_API uint64_t vs_metric_loss_read(const vs_metric *metric, vs_loss kind);

/* Reads one series as a snapshot does. counts has bound_count + 1 (histogram) or counts_len (HDR) words, zeroed by
 * the caller. Takes the read lock. Gauge: sum_double.
 * Counter: sum_integer and sum_double. VS_E_NO_MEMORY. */
VS_API vs_status vs_series_read(vs_series *series, uint64_t *counts, vs_tally_totals *totals);

#endif
