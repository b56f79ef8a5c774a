/* What the counts of a high dynamic range histogram say: pure functions over an array that nobody else writes.
 *
 * A live histogram is first read into such an array (tally.h), so nothing here is atomic. Sums are doubles: a count
 * times a value need not fit in 64 bits, and the layout's own rounding is far coarser than a double's. */
#include "vaultscope/hdr.h"

#include <math.h>

uint64_t vs_hdr_total(const vs_hdr_config *config, const uint64_t *counts)
{
    uint64_t total = 0;
    for (int32_t i = 0; i < config->counts_len; i++)
        total = vs_hdr_count_add(total, counts[i]);
    return total;
}

int64_t vs_hdr_min(const vs_hdr_config *config, const uint64_t *counts)
{
    for (int32_t i = 0; i < config->counts_len; i++)
        if (counts[i] != 0)
            return vs_hdr_value_at_index(config, i);
    return 0;
}

int64_t vs_hdr_max(const vs_hdr_config *config, const uint64_t *counts)
{
    for (int32_t i = config->counts_len - 1; i >= 0; i--)
        if (counts[i] != 0)
            return vs_hdr_highest_equivalent(config, vs_hdr_value_at_index(config, i));
    return 0;
}

static double middle_at(const vs_hdr_config *config, int32_t index)
{
    return (double)vs_hdr_median_equivalent(config, vs_hdr_value_at_index(config, index));
}

double vs_hdr_mean(const vs_hdr_config *config, const uint64_t *counts)
{
    double total = 0.0;
    double sum = 0.0;
    for (int32_t i = 0; i < config->counts_len; i++) {
        if (counts[i] == 0)
            continue;
        total += (double)counts[i];
        sum += (double)counts[i] * middle_at(config, i);
    }
    return total > 0.0 ? sum / total : 0.0;
}

double vs_hdr_stddev(const vs_hdr_config *config, const uint64_t *counts)
{
    double mean = vs_hdr_mean(config, counts);
    double total = 0.0;
    double squares = 0.0;
    for (int32_t i = 0; i < config->counts_len; i++) {
        if (counts[i] == 0)
            continue;
        double deviation = middle_at(config, i) - mean;
        total += (double)counts[i];
        squares += (double)counts[i] * deviation * deviation;
    }
    return total > 0.0 ? sqrt(squares / total) : 0.0;
}

static double clip(double quantile)
{
    if (!(quantile > 0.0)) /* NaN too */
        return 0.0;
    return quantile < 1.0 ? quantile : 1.0;
}

/* Which value in ascending order stands for the quantile: 1..total. */
static uint64_t rank_of(double quantile, uint64_t total)
{
    double rank = quantile * 100.0 * (double)total / 100.0 + 0.5;
    if (rank < 1.0)
        return 1;
    return rank < (double)total ? (uint64_t)rank : total; /* a double above 2^53 may round to more than there are */
}

void vs_hdr_quantiles(const vs_hdr_config *config, const uint64_t *counts, const double *quantiles, size_t n,
                      int64_t *values)
{
    uint64_t total = vs_hdr_total(config, counts);
    if (total == 0) {
        for (size_t i = 0; i < n; i++)
            values[i] = 0;
        return;
    }
    int32_t index = 0;
    uint64_t below = 0; /* values in the counts before `index` */
    for (size_t i = 0; i < n; i++) {
        double quantile = clip(quantiles[i]);
        uint64_t rank = rank_of(quantile, total);
        if (rank <= below) { /* smaller than the one before: start again */
            index = 0;
            below = 0;
        }
        while (vs_hdr_count_add(below, counts[index]) < rank)
            below += counts[index++];
        int64_t value = vs_hdr_value_at_index(config, index);
        values[i] = quantile > 0.0 ? vs_hdr_highest_equivalent(config, value) : value;
    }
}

int64_t vs_hdr_quantile(const vs_hdr_config *config, const uint64_t *counts, double quantile)
{
    int64_t value;
    vs_hdr_quantiles(config, counts, &quantile, 1, &value);
    return value;
}

uint64_t vs_hdr_count_between(const vs_hdr_config *config, const uint64_t *counts, int64_t low, int64_t high)
{
    if (high < 0 || low > high)
        return 0;
    int32_t first = vs_hdr_index(config, low < 0 ? 0 : low);
    int32_t last = vs_hdr_index(config, high);
    uint64_t total = 0;
    for (int32_t i = first; i <= last && i < config->counts_len; i++)
        total = vs_hdr_count_add(total, counts[i]);
    return total;
}

static bool same_layout(const vs_hdr_config *a, const vs_hdr_config *b)
{
    return a->unit_magnitude == b->unit_magnitude && a->sub_bucket_count == b->sub_bucket_count
        && a->counts_len == b->counts_len;
}

uint64_t vs_hdr_merge(const vs_hdr_config *into, uint64_t *into_counts, const vs_hdr_config *from,
                      const uint64_t *from_counts)
{
    bool lossless = same_layout(into, from) && from->highest <= into->highest;
    uint64_t clamped = 0;
    for (int32_t i = 0; i < from->counts_len; i++) {
        if (from_counts[i] == 0)
            continue;
        int32_t index = i;
        if (!lossless) {
            int64_t value = vs_hdr_value_at_index(from, i);
            if (value > into->highest) {
                value = into->highest;
                clamped = vs_hdr_count_add(clamped, from_counts[i]);
            }
            index = vs_hdr_index(into, value);
        }
        into_counts[index] = vs_hdr_count_add(into_counts[index], from_counts[i]);
    }
    return clamped;
}
