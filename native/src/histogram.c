/* The paths of a fixed-bucket histogram that are not hot, and the loop over an array. */
#include "vaultscope/histogram.h"

bool vs_histogram_observe_slow(const vs_histogram *histogram, size_t bucket, double value)
{
    size_t n = histogram->bound_count + (size_t)1;
    char *base = vs_stripe_attach(histogram->arena);
    if (base != NULL)
        return vs_histogram_observe(histogram, value);
    base = vs_stripe_shared(histogram->arena);
    if (base == NULL)
        return false;
    vs_tally_share_double((vs_tally_block *)(base + histogram->offset), n, bucket, value);
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
