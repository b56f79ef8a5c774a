/* Statistics and merges of HDR counts, held against the sorted values that were counted. */
#include "hdr_fixture.h"

#include <math.h>

static int compare_values(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* Statistics equal those of the sorted values, each taken at its equivalent. */
static void test_statistics(void)
{
    enum { N = 997 };
    for (int32_t digits = 1; digits <= 5; digits++) {
        vs_hdr_config config = config_of(1 + random_value(8), INT64_C(1) << 40, digits);
        uint64_t *counts = zeroes(&config);
        int64_t values[N], at_rank[N];
        double quantiles[N];
        double sum = 0.0;
        double squares = 0.0;
        for (int i = 0; i < N; i++) {
            values[i] = random_value(40);
            counts[vs_hdr_index(&config, values[i])]++;
            sum += (double)vs_hdr_median_equivalent(&config, values[i]);
        }
        qsort(values, N, sizeof *values, compare_values);
        for (int i = 0; i < N; i++)
            squares += pow((double)vs_hdr_median_equivalent(&config, values[i]) - sum / N, 2);
        CHECK_EQ(vs_hdr_total(&config, counts), N);
        CHECK_EQ(vs_hdr_min(&config, counts), vs_hdr_lowest_equivalent(&config, values[0]));
        CHECK_EQ(vs_hdr_max(&config, counts), vs_hdr_highest_equivalent(&config, values[N - 1]));
        CHECK(fabs(vs_hdr_mean(&config, counts) / (sum / N) - 1) < 1e-12);
        CHECK(fabs(vs_hdr_stddev(&config, counts) / sqrt(squares / N) - 1) < 1e-12);
        for (int i = 0; i < N; i++)
            quantiles[i] = (i + 1.0) / N;
        vs_hdr_quantiles(&config, counts, quantiles, N, at_rank);
        for (int i = 0; i < N; i++)
            CHECK_EQ(at_rank[i], vs_hdr_highest_equivalent(&config, values[i]));
        for (int i = 0; i < 200; i++) {
            int64_t low = random_value(41) - 2;
            int64_t high = low + random_value(40);
            uint64_t between = 0;
            for (int j = 0; j < N; j++)
                between += values[j] >= vs_hdr_lowest_equivalent(&config, low)
                    && values[j] <= vs_hdr_highest_equivalent(&config, high) && high >= 0;
            CHECK_EQ(vs_hdr_count_between(&config, counts, low, high), between);
        }
        CHECK_EQ(vs_hdr_count_between(&config, counts, INT64_MIN, INT64_MAX), N);
        CHECK_EQ(vs_hdr_count_between(&config, counts, 5, 4), 0);
        free(counts);
    }
}

/* Quantiles clip, round a tie up, and may be asked in any order. */
static void test_quantiles(void)
{
    vs_hdr_config config = config_of(4, 1000, 1);
    uint64_t *counts = zeroes(&config);
    const double asked[] = {-1, NAN, 0, 1e-300, 0.25, 0.5, 0.6, 0.61, 1, 2, INFINITY, 0.5, 0};
    const int64_t expected[] = {8, 8, 8, 11, 11, 203 + 4, 203 + 4, 203 + 4, 1023, 1023, 1023, 203 + 4, 8};
    int64_t values[sizeof asked / sizeof *asked];
    counts[vs_hdr_index(&config, 9)] = 1;
    counts[vs_hdr_index(&config, 200)] = 2;
    counts[vs_hdr_index(&config, 1000)] = 2;
    vs_hdr_quantiles(&config, counts, asked, sizeof asked / sizeof *asked, values);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        CHECK_EQ(values[i], expected[i]);
    CHECK_EQ(vs_hdr_quantile(&config, counts, 0.3), 207); /* rank 1.5 + 0.5 */
    free(counts);
}

/* An empty histogram gives 0 for everything. */
static void test_empty(void)
{
    vs_hdr_config config = config_of(1000, 1000000, 3);
    uint64_t *counts = zeroes(&config);
    CHECK_EQ(vs_hdr_total(&config, counts), 0);
    CHECK_EQ(vs_hdr_min(&config, counts), 0);
    CHECK_EQ(vs_hdr_max(&config, counts), 0);
    CHECK(vs_hdr_mean(&config, counts) == 0.0);
    CHECK(vs_hdr_stddev(&config, counts) == 0.0);
    CHECK_EQ(vs_hdr_quantile(&config, counts, 0.0), 0);
    CHECK_EQ(vs_hdr_quantile(&config, counts, 0.99), 0);
    CHECK_EQ(vs_hdr_count_between(&config, counts, 0, INT64_MAX), 0);
    free(counts);
}

/* Counts near 2^64 stay at the greatest instead of wrapping, and statistics remain finite. */
static void test_saturation(void)
{
    vs_hdr_config config = config_of(1, INT64_MAX, 1);
    uint64_t *counts = zeroes(&config);
    counts[1] = UINT64_MAX - 1;
    counts[config.counts_len - 1] = UINT64_MAX;
    CHECK(vs_hdr_total(&config, counts) == UINT64_MAX);
    CHECK_EQ(vs_hdr_quantile(&config, counts, 1.0), INT64_MAX);
    CHECK_EQ(vs_hdr_quantile(&config, counts, 0.25), 1);
    CHECK_EQ(vs_hdr_max(&config, counts), INT64_MAX);
    CHECK(isfinite(vs_hdr_mean(&config, counts)) && isfinite(vs_hdr_stddev(&config, counts)));
    CHECK_EQ(vs_hdr_merge(&config, counts, &config, counts), 0);
    CHECK(counts[1] == UINT64_MAX && counts[config.counts_len - 1] == UINT64_MAX);
    free(counts);
}

/* A merge within one layout adds count by count; into another, value by value, and clamps what is above its range. */
static void test_merge(void)
{
    vs_hdr_config fine = config_of(1, 1000000, 3);
    vs_hdr_config coarse = config_of(1, 1000, 2);
    uint64_t *from = zeroes(&fine);
    uint64_t *same = zeroes(&fine);
    uint64_t *other = zeroes(&coarse);
    from[0] = 3;
    from[vs_hdr_index(&fine, 999)] = 4;
    from[vs_hdr_index(&fine, 1001)] = 5;
    from[fine.counts_len - 1] = 6; /* above `highest`, but in the layout */
    CHECK_EQ(vs_hdr_merge(&fine, same, &fine, from), 0);
    CHECK_EQ(vs_hdr_merge(&fine, same, &fine, from), 0);
    for (int32_t i = 0; i < fine.counts_len; i++)
        CHECK_EQ(same[i], 2 * from[i]);
    CHECK_EQ(vs_hdr_merge(&coarse, other, &fine, from), 11);
    CHECK_EQ(vs_hdr_total(&coarse, other), 18);
    CHECK_EQ(other[0], 3);
    CHECK_EQ(other[vs_hdr_index(&coarse, 999)], 4);
    CHECK_EQ(other[vs_hdr_index(&coarse, 1000)], 11);
    free(from);
    free(same);
    free(other);
}

/* A merge into a shorter array of the same resolution clamps at its highest value, which itself is in range. */
static void test_merge_into_shorter(void)
{
    vs_hdr_config long_one = config_of(1, 1000000, 3);
    vs_hdr_config short_one = config_of(1, 2000, 3);
    uint64_t *from = zeroes(&long_one);
    uint64_t *into = zeroes(&short_one);
    from[2000] = 1;
    from[2001] = 10;
    from[long_one.counts_len - 1] = 100;
    CHECK_EQ(vs_hdr_merge(&short_one, into, &long_one, from), 110);
    CHECK_EQ(into[2000], 111);
    free(from);
    free(into);
}

int main(void)
{
    test_statistics();
    test_quantiles();
    test_empty();
    test_saturation();
    test_merge();
    test_merge_into_shorter();
    return check_report();
}
