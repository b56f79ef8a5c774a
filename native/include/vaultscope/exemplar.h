/* Exemplars: what leads from a histogram's bucket to a trace. Each bucket remembers one value that it took of late, and the span in which
 * that was observed; snapshots hold them, and OpenMetrics shows them.
 *
 * They lie in the memory of the process, not in the arena: of processes that share a file each shows its own, so what is seen are those of
 * the process that is scraped. A series without any costs nothing; from its first one on it takes 48 bytes a bucket. */
#ifndef VAULTSCOPE_EXEMPLAR_H
#define VAULTSCOPE_EXEMPLAR_H

#include "registry.h"

enum { VS_EXEMPLAR_GAP_NS = 10000000 }; /* a bucket takes no two that are less apart: a scrape sees one of thousands anyway */

typedef struct vs_exemplar {
    size_t series;   /* its index in the snapshot */
    uint32_t bucket; /* the index of its bound; bound_count: above all of them */
    double value;    /* in the declared unit */
    uint64_t trace_high, trace_low, span;
    int64_t time_ns; /* since 1970 */
} vs_exemplar;

/* Says in which span a value was observed, after it was. The span's trace should be one that is kept. False, and nothing is done: the bucket
 * took one less than VS_EXEMPLAR_GAP_NS ago, or is taking one from another thread at this moment; the series has no buckets; the value is
 * not finite; the trace or the span is 0; there is no memory. (Of an HDR histogram out of its range: as it was recorded.)
 * Any thread; never waits. Not for signal handlers: a series' first one allocates. */
VS_API bool vs_series_exemplar(vs_series *series, double value, uint64_t trace_high, uint64_t trace_low, uint64_t span);
/* The same for a time that the caller knows, after 1970. */
VS_API bool vs_series_exemplar_at(vs_series *series, double value, uint64_t trace_high, uint64_t trace_low, uint64_t span, int64_t time_ns);

#endif
