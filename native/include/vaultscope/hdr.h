/* A high dynamic range histogram: log-linear counts with a fixed relative error over a wide range of integers.
 * After Gil Tene's HdrHistogram; layout, rounding and encoding are its own, so encodings travel both ways.
 *
 * Recording: any thread, any signal handler; owned stripe: wait-free. A value above the range is recorded as the highest,
 * a negative one as 0; both are counted. Reading a live histogram gives counts that agree with the sum (tally.h).
 * The statistics below are pure functions over an array of counts. */
#ifndef VAULTSCOPE_HDR_H
#define VAULTSCOPE_HDR_H

#include "loss.h"
#include "tally.h"

/* The most counts that a configuration can have: 5 digits over the whole range of int64_t, 49 MB. */
enum { VS_HDR_COUNTS_MAX = 47 << 17 };

typedef struct vs_hdr_config {
    int64_t lowest;  /* the smallest value that must be told from 0; at least 1 */
    int64_t highest; /* the largest value that can be recorded; at least 2 x lowest */
    int64_t sub_bucket_mask;
    int32_t digits; /* significant decimal digits kept: 1 to 5 */
    int32_t unit_magnitude;
    int32_t sub_bucket_half_count_magnitude;
    int32_t sub_bucket_count;
    int32_t sub_bucket_half_count;
    int32_t bucket_count;
    int32_t counts_len;
} vs_hdr_config;

/* Fills a configuration. VS_E_INVALID if a rule above is broken or the range cannot be represented. */
VS_API vs_status vs_hdr_config_init(vs_hdr_config *config, int64_t lowest, int64_t highest, int32_t digits);

/* The index of the count that holds `value`, which must lie in 0..highest. */
static inline int32_t vs_hdr_index(const vs_hdr_config *config, int64_t value)
{
    int32_t bits = 64 - __builtin_clzll((uint64_t)(value | config->sub_bucket_mask));
    int32_t bucket = bits - config->unit_magnitude - (config->sub_bucket_half_count_magnitude + 1);
    int32_t sub_bucket = (int32_t)(value >> (bucket + config->unit_magnitude));
    return ((bucket + 1) << config->sub_bucket_half_count_magnitude) + sub_bucket - config->sub_bucket_half_count;
}

/* The smallest and the largest value that share a count, their middle, and how many they are. Any int64_t: a negative
 * one is taken as 0, and one above `highest` follows the same layout. Pure. */
VS_API int64_t vs_hdr_lowest_equivalent(const vs_hdr_config *config, int64_t value);
VS_API int64_t vs_hdr_highest_equivalent(const vs_hdr_config *config, int64_t value);
VS_API int64_t vs_hdr_median_equivalent(const vs_hdr_config *config, int64_t value);
VS_API int64_t vs_hdr_equivalent_range(const vs_hdr_config *config, int64_t value);
/* The smallest value of the count at `index`, 0 <= index < counts_len. Pure. */
VS_API int64_t vs_hdr_value_at_index(const vs_hdr_config *config, int32_t index);

typedef struct vs_hdr {
    vs_hdr_config config;
    uint64_t offset; /* of the tally: counts_len counts, integer sum */
    uint64_t losses;
    uint32_t arena;
} vs_hdr;

/* Records `times` equal values. False if the value was clamped (recorded and counted), or the handle is unbound. */
VS_API bool vs_hdr_record_times(const vs_hdr *hdr, int64_t value, uint64_t times);

/* The hot half of vs_hdr_record alone: false, and nothing done or counted, where the value is out of range or this thread
 * has no stripe at hand (see vs_counter_try_add). */
static inline bool vs_hdr_try_record(const vs_hdr *hdr, int64_t value)
{
    vs_word *slot = &vs_this_thread.base[hdr->arena];
    char *base = (char *)(uintptr_t)vs_load_relaxed(slot);
    if (VS_UNLIKELY(base == NULL || (uint64_t)value > (uint64_t)hdr->config.highest))
        return false;
    vs_store_relaxed(slot, 0); /* hidden: see stripe.h */
    vs_tally_write_integer((vs_tally_block *)(base + hdr->offset), (size_t)hdr->config.counts_len,
                           (size_t)vs_hdr_index(&hdr->config, value), (uint64_t)value, 1);
    vs_store_release(slot, (uint64_t)(uintptr_t)base); /* C1, as in counter.h */
    return true;
}

/* Records one value. False if it was clamped (recorded and counted), or the handle is unbound. */
static inline bool vs_hdr_record(const vs_hdr *hdr, int64_t value)
{
    return VS_LIKELY(vs_hdr_try_record(hdr, value)) || vs_hdr_record_times(hdr, value, 1);
}

/* Corrects for coordinated omission: records value, then value - interval, value - 2 x interval, ... down to the
 * interval (Tene). An interval of 0 or less records the value alone. The values that share a count are recorded
 * together, so time is proportional to counts_len at most, however large value / interval is. Readers may see a
 * part of the set. False if any was clamped, or the handle is unbound. */
VS_API bool vs_hdr_record_corrected(const vs_hdr *hdr, int64_t value, int64_t interval);

/* Records n values `stride` bytes apart. Returns how many were in range; the rest were clamped and counted. */
VS_API size_t vs_hdr_record_many(const vs_hdr *hdr, const int64_t *values, size_t n, ptrdiff_t stride);

/* Adds counts. Past 2^64 the result stays at the greatest, here and wherever counts are added below. */
static inline uint64_t vs_hdr_count_add(uint64_t count, uint64_t more)
{
    uint64_t sum;
    return __builtin_add_overflow(count, more, &sum) ? UINT64_MAX : sum;
}

/* Statistics over counts[0..counts_len). Pure; any thread. An empty histogram gives 0 for all of them. */
VS_API uint64_t vs_hdr_total(const vs_hdr_config *config, const uint64_t *counts);
VS_API int64_t vs_hdr_min(const vs_hdr_config *config, const uint64_t *counts); /* lowest equivalent of the least value */
VS_API int64_t vs_hdr_max(const vs_hdr_config *config, const uint64_t *counts); /* highest equivalent of the greatest */
VS_API double vs_hdr_mean(const vs_hdr_config *config, const uint64_t *counts); /* of median equivalents */
VS_API double vs_hdr_stddev(const vs_hdr_config *config, const uint64_t *counts); /* of the population */
/* The value at a quantile in 0..1 (clipped; NaN is 0): the highest equivalent of the first value whose cumulated count
 * reaches the rank; at quantile 0, the lowest equivalent. The rank is total x quantile rounded to the nearest, at least
 * 1, computed through percent as the C and Python HdrHistogram do, so that ties fall alike (newer Java rounds up). */
VS_API int64_t vs_hdr_quantile(const vs_hdr_config *config, const uint64_t *counts, double quantile);
/* The same for several quantiles; ascending ones take one pass. */
VS_API void vs_hdr_quantiles(const vs_hdr_config *config, const uint64_t *counts, const double *quantiles, size_t n,
                             int64_t *values);
/* How many values lie between the equivalents of low and high, both included. */
VS_API uint64_t vs_hdr_count_between(const vs_hdr_config *config, const uint64_t *counts, int64_t low, int64_t high);
/* Adds one histogram's counts to another's. Lossless (count by count) where the layouts are equal and the
 * target's range is no smaller; else value by value,
 * at the lowest equivalent of each. Returns how many values were above the target's range and were clamped. */
VS_API uint64_t vs_hdr_merge(const vs_hdr_config *into, uint64_t *into_counts, const vs_hdr_config *from,
                             const uint64_t *from_counts);

/* The V2 encoding of HdrHistogram, uncompressed: cookie 0x1c849303 and ZigZag-LEB128 counts. (The "compressed" V2 form
 * wraps this in zlib with a cookie of its own; Python does that with its zlib module.) */
VS_API size_t vs_hdr_encoded_size_max(const vs_hdr_config *config);
/* Writes at most `capacity` bytes, returns the number written; 0 if they do not fit, or if a count is above
 * INT64_MAX, which the encoding cannot hold. Equal histograms encode to equal bytes. */
VS_API size_t vs_hdr_encode(const vs_hdr_config *config, const uint64_t *counts, uint8_t *out, size_t capacity);
/* Fills the configuration that the header tells, and checks all of the bytes. VS_E_CORRUPT for anything that is not a
 * whole, sane V2 encoding of integer values: also one with a shifted index or a ratio other than 1, as Java's
 * DoubleHistogram has inside. Allocates nothing; the caller's array needs at most VS_HDR_COUNTS_MAX words. */
VS_API vs_status vs_hdr_decode_config(const uint8_t *data, size_t size, vs_hdr_config *config);
/* Adds the encoded counts to counts[0..config->counts_len). VS_E_CORRUPT as above; VS_E_INVALID if the layout of `config`
 * is not that of the encoding. Either leaves the counts as they were. */
VS_API vs_status vs_hdr_decode_counts(const uint8_t *data, size_t size, const vs_hdr_config *config, uint64_t *counts);

#endif
