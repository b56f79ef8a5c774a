/* The layout of a high dynamic range histogram, and the recording that is not on the hottest path.
 *
 * The layout is a row of buckets, each twice as wide as the one before and cut into the same number of equal parts;
 * so a value's count is found by its leading bit, and the width of its part is a power of two. Everything
 * below follows from that one shift. */
#include "vaultscope/hdr.h"

static int32_t bits_of(int64_t value)
{
    return 64 - __builtin_clzll((uint64_t)value);
}

vs_status vs_hdr_config_init(vs_hdr_config *config, int64_t lowest, int64_t highest, int32_t digits)
{
    if (digits < 1 || digits > 5 || lowest < 1 || lowest > highest / 2)
        return VS_E_INVALID;
    int64_t told_apart = 2; /* below 2 x 10^digits a width of one unit is needed, above it no longer */
    for (int32_t i = 0; i < digits; i++)
        told_apart *= 10;
    int32_t unit_magnitude = bits_of(lowest) - 1;
    int32_t half_magnitude = bits_of(told_apart - 1) - 1;
    if (unit_magnitude + half_magnitude > 61)
        return VS_E_INVALID; /* not even one bucket fits in 63 bits */
    config->lowest = lowest;
    config->highest = highest;
    config->digits = digits;
    config->unit_magnitude = unit_magnitude;
    config->sub_bucket_half_count_magnitude = half_magnitude;
    config->sub_bucket_half_count = 1 << half_magnitude;
    config->sub_bucket_count = 2 << half_magnitude;
    config->sub_bucket_mask = (int64_t)(config->sub_bucket_count - 1) << unit_magnitude;
    config->bucket_count = bits_of(highest | config->sub_bucket_mask) - unit_magnitude - half_magnitude;
    config->counts_len = (config->bucket_count + 1) << half_magnitude;
    return VS_OK;
}

/* log2 of how many values share a count with this one */
static int32_t width_magnitude(const vs_hdr_config *config, int64_t value)
{
    return bits_of(value | config->sub_bucket_mask) - config->sub_bucket_half_count_magnitude - 1;
}

int64_t vs_hdr_equivalent_range(const vs_hdr_config *config, int64_t value)
{
    return INT64_C(1) << width_magnitude(config, value < 0 ? 0 : value);
}

int64_t vs_hdr_lowest_equivalent(const vs_hdr_config *config, int64_t value)
{
    return value < 0 ? 0 : value & ~(vs_hdr_equivalent_range(config, value) - 1);
}

int64_t vs_hdr_highest_equivalent(const vs_hdr_config *config, int64_t value)
{
    return vs_hdr_lowest_equivalent(config, value) + (vs_hdr_equivalent_range(config, value) - 1);
}

int64_t vs_hdr_median_equivalent(const vs_hdr_config *config, int64_t value)
{
    return vs_hdr_lowest_equivalent(config, value) + vs_hdr_equivalent_range(config, value) / 2;
}

int64_t vs_hdr_value_at_index(const vs_hdr_config *config, int32_t index)
{
    int32_t half = config->sub_bucket_half_count;
    int32_t bucket = (index >> config->sub_bucket_half_count_magnitude) - 1;
    if (bucket < 0) /* the first bucket alone has a lower half */
        return (int64_t)index << config->unit_magnitude;
    int64_t sub_bucket = (index & (half - 1)) + half;
    return sub_bucket << (bucket + config->unit_magnitude);
}

static int64_t clamp(const vs_hdr *hdr, int64_t value, uint64_t times)
{
    if (value < 0) {
        vs_loss_add(hdr->arena, hdr->losses, VS_LOSS_CLAMPED_LOW, times);
        return 0;
    }
    if (value > hdr->config.highest) {
        vs_loss_add(hdr->arena, hdr->losses, VS_LOSS_CLAMPED_HIGH, times);
        return hdr->config.highest;
    }
    return value;
}

bool vs_hdr_record_times(const vs_hdr *hdr, int64_t value, uint64_t times)
{
    vs_word *slot = &vs_this_thread.base[hdr->arena];
    char *mine = vs_stripe_mine(hdr->arena);
    if (mine == NULL)
        mine = vs_stripe_attach(hdr->arena);
    char *base = mine != NULL ? mine : vs_stripe_shared(hdr->arena);
    if (base == NULL)
        return false; /* bound to nothing: even its configuration is empty */
    int64_t kept = clamp(hdr, value, times);
    vs_tally_block *block = (vs_tally_block *)(base + hdr->offset);
    size_t n = (size_t)hdr->config.counts_len;
    size_t index = (size_t)vs_hdr_index(&hdr->config, kept);
    if (mine == NULL) {
        vs_tally_share_integer(block, n, index, (uint64_t)kept, times);
    } else {
        vs_store_relaxed(slot, 0); /* hidden: see stripe.h */
        vs_tally_write_integer(block, n, index, (uint64_t)kept, times);
        vs_store_release(slot, (uint64_t)(uintptr_t)mine); /* C1, as in counter.h */
    }
    return kept == value;
}

/* The smallest value that ends up in the same count as `value` once it is clamped. */
static int64_t lowest_recorded_alike(const vs_hdr_config *config, int64_t value)
{
    return value > config->highest ? config->highest + 1 : vs_hdr_lowest_equivalent(config, value);
}

bool vs_hdr_record_corrected(const vs_hdr *hdr, int64_t value, int64_t interval)
{
    bool in_range = vs_hdr_record(hdr, value); /* if it is, so are the smaller ones */
    if (interval <= 0 || value < interval)
        return in_range;
    int64_t missing = value - interval;
    while (missing >= interval) {
        int64_t least = lowest_recorded_alike(&hdr->config, missing);
        if (least < interval)
            least = interval;
        /* An odd number of evenly spaced values has the sum of its middle one times that number, so they are recorded
         * as that one repeated: one write, and both the count and the sum are right. If the number alike is
         * even, the last is left for the next turn. */
        int64_t pairs = (missing - least) / interval / 2;
        vs_hdr_record_times(hdr, missing - pairs * interval, 2 * (uint64_t)pairs + 1);
        missing -= (2 * pairs + 1) * interval;
    }
    return in_range;
}

size_t vs_hdr_record_many(const vs_hdr *hdr, const int64_t *values, size_t n, ptrdiff_t stride)
{
    size_t in_range = 0;
    const char *at = (const char *)values;
    for (size_t i = 0; i < n; i++, at += stride) {
        int64_t value;
        memcpy(&value, at, sizeof value); /* a strided buffer need not be aligned */
        in_range += vs_hdr_record(hdr, value);
    }
    return in_range;
}
