/* What a metric lost or bent, counted: a block of counters that all its series share. Nothing is dropped unseen. */
#ifndef VAULTSCOPE_LOSS_H
#define VAULTSCOPE_LOSS_H

#include "counter.h"

typedef enum vs_loss {
    VS_LOSS_INVALID = 0,      /* a value that the metric cannot take: negative for a counter, NaN, infinite, no number */
    VS_LOSS_CLAMPED_LOW = 1,  /* an HDR value below 0, recorded as 0 */
    VS_LOSS_CLAMPED_HIGH = 2, /* an HDR value above the range, recorded as the highest */
    VS_LOSS_OVERFLOWED = 3,   /* a bind beyond the metric's series limit: answered with the overflow series */
    VS_LOSS_TRUNCATED = 4,    /* a label value that was too long and was cut */
    VS_LOSS_KINDS = 5
} vs_loss;

/* Counts `n` losses. Any thread, any signal handler, lock-free, never fails. */
static inline void vs_loss_add(uint32_t arena, uint64_t losses, vs_loss kind, uint64_t n)
{
    vs_counter counter = {losses + (uint64_t)kind * sizeof(vs_counter_cell), arena};
    vs_counter_add(counter, n);
}

#endif
