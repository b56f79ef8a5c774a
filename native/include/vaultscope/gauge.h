/* A gauge: one double in the shared stripe. NaN and the infinities are values like any other.
 *
 * Any thread, any signal handler. set is wait-free, add is lock-free. Never fails.
 * Relaxed throughout: the last write in the cell's own order wins, and no other memory hangs on it. */
#ifndef VAULTSCOPE_GAUGE_H
#define VAULTSCOPE_GAUGE_H

#include "stripe.h"

typedef struct vs_gauge {
    vs_word *cell; /* never NULL once bound */
} vs_gauge;

static inline void vs_gauge_set(vs_gauge gauge, double value)
{
    vs_store_relaxed(gauge.cell, vs_bits_of(value));
}

static inline void vs_gauge_add(vs_gauge gauge, double value)
{
    uint64_t seen = vs_load_relaxed(gauge.cell);
    while (!vs_cas_weak_relaxed(gauge.cell, &seen, vs_bits_of(vs_double_of(seen) + value))) {
    }
}

static inline double vs_gauge_read(vs_gauge gauge)
{
    return vs_double_of(vs_load_relaxed(gauge.cell));
}

#endif
