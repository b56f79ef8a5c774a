/* Tallies: no reading is torn, whatever the writers do, on owned stripes and on the shared one. */
#include <math.h>

#include "fixture.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { READINGS = 300 };
#else
enum { READINGS = 20000 };
#endif

typedef struct shared {
    vs_registry *registry;
    vs_histogram histogram;
    vs_hdr hdr;
    vs_word stop;
} shared;

/* Every observation is 7, so in each whole reading sum == 7 * count. */
static void *observe_sevens(void *argument)
{
    shared *s = argument;
    uint64_t written = 0;
    for (; vs_load_relaxed(&s->stop) == 0; written++) {
        vs_histogram_observe(&s->histogram, 7.0);
        vs_hdr_record(&s->hdr, 7);
    }
    return (void *)(uintptr_t)written;
}

static void check_readings_agree(uint32_t stripes, size_t writers)
{
    vs_arena *arena;
    shared s = {.registry = registry_with_stripes(stripes, &arena)};
    vs_series *fixed = series_of(s.registry, VS_HISTOGRAM, "fixed");
    vs_series *hdr = series_of(s.registry, VS_HDR, "hdr");
    s.histogram = vs_series_histogram(fixed);
    s.hdr = vs_series_hdr(hdr);
    pthread_t threads[8];
    for (size_t i = 0; i < writers; i++)
        pthread_create(&threads[i], NULL, observe_sevens, &s);

    uint64_t torn = 0, unsettled = 0, back = 0, last = 0;
    uint64_t *counts = calloc((size_t)s.hdr.config.counts_len, sizeof *counts);
    for (int i = 0; i < READINGS; i++) {
        vs_tally_totals totals;
        memset(counts, 0, 13 * sizeof *counts);
        vs_series_read(fixed, counts, &totals);
        torn += totals.sum_double != 7.0 * (double)totals.count || counts[2] != totals.count;
        back += totals.count < last;
        last = totals.count;
        unsettled += totals.unsettled;
        if (i % 16 == 0) {
            memset(counts, 0, (size_t)s.hdr.config.counts_len * sizeof *counts);
            vs_series_read(hdr, counts, &totals);
            torn += totals.sum_integer != 7 * totals.count || counts[7] != totals.count;
            unsettled += totals.unsettled;
        }
    }
    vs_store_relaxed(&s.stop, 1);
    uint64_t written = 0;
    for (size_t i = 0; i < writers; i++) {
        void *result;
        pthread_join(threads[i], &result);
        written += (uintptr_t)result;
    }
    CHECK(torn == 0);
    CHECK(unsettled == 0);
    CHECK(back == 0); /* a total never goes down */
    vs_tally_totals totals;
    memset(counts, 0, 13 * sizeof *counts);
    vs_series_read(fixed, counts, &totals);
    CHECK(totals.count == written);
    free(counts);
    vs_series_release(fixed);
    vs_series_release(hdr);
    vs_registry_release(s.registry);
    vs_arena_close(arena);
}

static void check_buckets_hold_their_upper_bound(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(2, &arena);
    vs_series *series = series_of(registry, VS_HISTOGRAM, "h");
    vs_histogram h = vs_series_histogram(series);
    const double values[] = {-5, 0, 1, nextafter(1, 2), 5, 10000, nextafter(10000, 20000), 1e300};
    CHECK(vs_histogram_observe_many(&h, values, 8, sizeof *values) == 8);
    uint64_t counts[13] = {0};
    vs_tally_totals totals;
    vs_series_read(series, counts, &totals);
    CHECK(counts[0] == 3); /* -5, 0, 1 */
    CHECK(counts[1] == 2); /* just above 1, and 5 */
    CHECK(counts[11] == 1);
    CHECK(counts[12] == 2);
    CHECK(totals.count == 8);
    vs_series_release(series);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_many_bounds_are_searched_like_few(void)
{
    double bounds[200];
    for (int i = 0; i < 200; i++)
        bounds[i] = i;
    for (double v = -0.5; v < 201; v += 0.5) {
        size_t slow = 0;
        while (slow < 200 && v > bounds[slow])
            slow++;
        CHECK(vs_histogram_bucket(bounds, 200, v) == slow);
    }
}

static void check_what_is_not_finite_is_counted_and_left_out(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(2, &arena);
    vs_series *series = series_of(registry, VS_HISTOGRAM, "h");
    vs_histogram h = vs_series_histogram(series);
    CHECK(!vs_histogram_observe(&h, NAN));
    CHECK(!vs_histogram_observe(&h, INFINITY));
    CHECK(!vs_histogram_observe(&h, -INFINITY));
    uint64_t counts[13] = {0};
    vs_tally_totals totals;
    vs_series_read(series, counts, &totals);
    CHECK(totals.count == 0 && totals.sum_double == 0.0);
    CHECK(vs_metric_loss_read(vs_series_metric(series), VS_LOSS_INVALID) == 3);
    vs_series_release(series);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

int main(void)
{
    check_readings_agree(8, 3); /* owned stripes */
    check_readings_agree(1, 3); /* one owned, the others share */
    check_buckets_hold_their_upper_bound();
    check_many_bounds_are_searched_like_few();
    check_what_is_not_finite_is_counted_and_left_out();
    return check_report();
}
