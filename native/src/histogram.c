/* The paths of a fixed-bucket histogram that are not hot, and the loop over an array. */
#include "vaultscope/histogram.h"

bool vs_histogram_observe_slow(const vs_histogram *histogram, double value)
{
    if (!(value - value == 0.0)) {
        vs_loss_add(histogram->arena, histogram->losses, VS_LOSS_INVALID, 1);
        return false;
    }
    if (vs_stripe_attach(histogram->arena) != NULL)
        return vs_histogram_try_observe(histogram, value);
    char *base = vs_stripe_shared(histogram->arena);
    if (base == NULL)
        return false;
    size_t bucket = vs_histogram_bucket(histogram->bounds, histogram->bound_count, value);
    vs_tally_share_double((vs_tally_block *)(base + histogram->offset), histogram->bound_count + (size_t)1, bucket, value);
    return true;
}

size_t vs_histogram_observe_many(const vs_histogram *histogram, const double *values, size_t n, ptrdiff_t stride)
{
    size_t recorded = 0;
    const char *at = (const char *)values;
    for (size_t i = 0; i < n; i++, at += stride) {
        double value;
        memcpy(&value, at, sizeof value); /* a strided buffer need not be aligned */
        recorded += vs_histogram_observe(histogram, value);
    }
    return recorded;
}
