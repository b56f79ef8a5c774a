/* A gauge: one double. NaN and the infinities are values like any other.
 *
 * A gauge of mode VS_GAUGE_LAST has one cell, in the shared stripe. Of the other modes each process that shares the arena has
 * a cell of its own, and a snapshot combines those of the processes that live and have written.
 *
 * Any thread, any signal handler. set is wait-free, add is lock-free. Never fails.
 * Relaxed throughout: the last write in the cell's own order wins, and no other memory hangs on it. */
#ifndef VAULTSCOPE_GAUGE_H
#define VAULTSCOPE_GAUGE_H

#include "stripe.h"

typedef struct vs_gauge {
    char *const *base; /* of the memory that holds the cell: it moves when a process forks. NULL: unbound */
    uint64_t offset;
} vs_gauge;

/* A cell holds the bits of its value, all but one NaN turned by this, so that fresh memory (0) says "never written". */
#define VS_GAUGE_UNWRITTEN UINT64_C(0x7ff4766175677565)

static inline vs_word *vs_gauge_cell(vs_gauge gauge)
{
    return (vs_word *)(*gauge.base + gauge.offset);
}

static inline uint64_t vs_gauge_pack(double value)
{
    return vs_bits_of(value) ^ VS_GAUGE_UNWRITTEN;
}

/* The value of a cell; 0 where it was never written. */
static inline double vs_gauge_unpack(uint64_t packed)
{
    return packed != 0 ? vs_double_of(packed ^ VS_GAUGE_UNWRITTEN) : 0.0;
}

static inline void vs_gauge_set(vs_gauge gauge, double value)
{
    vs_store_relaxed(vs_gauge_cell(gauge), vs_gauge_pack(value));
}

static inline void vs_gauge_add(vs_gauge gauge, double value)
{
    vs_word *cell = vs_gauge_cell(gauge);
    uint64_t seen = vs_load_relaxed(cell);
    while (!vs_cas_weak_relaxed(cell, &seen, vs_gauge_pack(vs_gauge_unpack(seen) + value))) {
    }
}

/* The value that this process sees: of its own cell, for the modes that have one. */
static inline double vs_gauge_read(vs_gauge gauge)
{
    return vs_gauge_unpack(vs_load_relaxed(vs_gauge_cell(gauge)));
}

#endif
