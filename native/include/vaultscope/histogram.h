/* A histogram with fixed upper bounds. Counts, sum and total of a reading always agree (tally.h).
 *
 * A value v belongs to the first bucket with v <= bound (the memo's rule, and Prometheus's); above the last bound,
 * to the last bucket. NaN and the infinities are not recorded: they are counted as invalid, since one of
 * them would spoil the sum for ever. Any thread, any signal handler; owned stripe: wait-free. Never fails. */
#ifndef VAULTSCOPE_HISTOGRAM_H
#define VAULTSCOPE_HISTOGRAM_H

#include "loss.h"
#include "tally.h"

typedef struct vs_histogram {
    const double *bounds; /* ascending, finite; borrowed from the metric */
    uint64_t offset;      /* of the tally; bound_count + 1 counts */
    uint64_t losses;
    uint32_t arena;
    uint32_t bound_count;
} vs_histogram;

VS_API VS_COLD bool vs_histogram_observe_slow(const vs_histogram *histogram, double value);

/* Linear search: faster than binary below about 35 bounds (BASELINES), and most have a dozen. */
static inline size_t vs_histogram_bucket(const double *bounds, uint32_t bound_count, double value)
{
    size_t low = 0;
    size_t high = bound_count;
    while (VS_UNLIKELY(high - low > 32)) {
        size_t middle = (low + high) / 2;
        if (value <= bounds[middle])
            high = middle; /* the answer is at or before the middle */
        else
            low = middle + 1;
    }
    while (low < high && value > bounds[low])
        low++;
    return low;
}

/* The hot half of vs_histogram_observe alone: false, and nothing done or counted, where the value is not finite or this
 * thread has no stripe at hand (see vs_counter_try_add). */
static inline bool vs_histogram_try_observe(const vs_histogram *histogram, double value)
{
    vs_word *slot = &vs_this_thread.base[histogram->arena];
    char *base = (char *)(uintptr_t)vs_load_relaxed(slot);
    if (VS_UNLIKELY(base == NULL || !(value - value == 0.0))) /* the last: NaN or infinite */
        return false;
    size_t bucket = vs_histogram_bucket(histogram->bounds, histogram->bound_count, value);
    vs_store_relaxed(slot, 0); /* hidden: see stripe.h */
    vs_tally_write_double((vs_tally_block *)(base + histogram->offset), histogram->bound_count + 1u, bucket, value);
    vs_store_release(slot, (uint64_t)(uintptr_t)base);
    return true;
}

/* Records one value, in the unit of the bounds. False if it was not finite (counted), or the handle is unbound. */
static inline bool vs_histogram_observe(const vs_histogram *histogram, double value)
{
    return VS_LIKELY(vs_histogram_try_observe(histogram, value)) || vs_histogram_observe_slow(histogram, value);
}

/* Records n values that lie `stride` bytes apart. Returns how many were recorded; the rest are counted as invalid. */
VS_API size_t vs_histogram_observe_many(const vs_histogram *histogram, const double *values, size_t n, ptrdiff_t stride);

#endif
