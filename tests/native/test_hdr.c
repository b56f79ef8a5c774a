/* The layout of HDR histograms and recording into live ones, held against slow references written here. */
#include "hdr_fixture.h"

#include "vaultscope/arena.h"

#include <math.h>

static vs_arena *arena;

typedef struct live { /* a histogram in the arena, with what was last read from it */
    vs_hdr hdr;
    uint64_t *counts;
    uint64_t *scratch;
    vs_tally_totals totals;
} live;

enum { LOSS_BYTES = VS_LOSS_KINDS * sizeof(vs_counter_cell) };

static live open_live(int64_t lowest, int64_t highest, int32_t digits)
{
    live it = {.hdr.config = config_of(lowest, highest, digits)};
    it.hdr.arena = vs_arena_slot(arena);
    it.counts = zeroes(&it.hdr.config);
    it.scratch = zeroes(&it.hdr.config);
    size_t bytes = vs_tally_bytes((size_t)it.hdr.config.counts_len);
    vs_cold_lock();
    CHECK_EQ(vs_arena_cells_alloc(arena, bytes, &it.hdr.offset), VS_OK);
    CHECK_EQ(vs_arena_cells_alloc(arena, LOSS_BYTES, &it.hdr.losses), VS_OK);
    vs_cold_unlock();
    return it;
}

static void read_live(live *it)
{
    size_t n = (size_t)it->hdr.config.counts_len;
    memset(it->counts, 0, n * sizeof *it->counts);
    it->totals = (vs_tally_totals){0};
    vs_read_lock();
    vs_tally_read(arena, it->hdr.offset, n, false, it->counts, it->scratch, &it->totals);
    vs_read_unlock();
}

static uint64_t loss_of(const live *it, vs_loss kind)
{
    uint64_t integer;
    double real;
    vs_counter lost = {it->hdr.losses + (uint64_t)kind * sizeof(vs_counter_cell), it->hdr.arena};
    vs_counter_read(lost, &integer, &real);
    return integer;
}

static void close_live(live *it)
{
    vs_cold_lock();
    vs_arena_cells_free(arena, it->hdr.offset, vs_tally_bytes((size_t)it->hdr.config.counts_len));
    vs_arena_cells_free(arena, it->hdr.losses, LOSS_BYTES);
    vs_cold_unlock();
    free(it->counts);
    free(it->scratch);
}

/* Configurations have the sizes that the hdrhistogram package computes. */
static void test_config_sizes(void)
{
    const struct { int64_t lowest, highest; int32_t digits, unit_magnitude, sub_buckets, buckets, counts; } known[] = {
        {1, 3600000000, 3, 0, 2048, 22, 23552}, {1, INT64_MAX, 5, 0, 262144, 46, VS_HDR_COUNTS_MAX},
        {1, INT64_MAX, 1, 0, 32, 59, 960}, {1000, 3600000000000, 2, 9, 256, 26, 3456},
        {1024, INT64_C(1) << 40, 3, 10, 2048, 21, 22528}, {3, 7, 1, 1, 32, 1, 32}, {1, 2, 4, 0, 32768, 1, 32768},
        {INT64_C(1) << 40, INT64_C(1) << 62, 4, 40, 32768, 9, 163840},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        vs_hdr_config config = config_of(known[i].lowest, known[i].highest, known[i].digits);
        CHECK_EQ(config.unit_magnitude, known[i].unit_magnitude);
        CHECK_EQ(config.sub_bucket_count, known[i].sub_buckets);
        CHECK_EQ(config.bucket_count, known[i].buckets);
        CHECK_EQ(config.counts_len, known[i].counts);
    }
}

/* A configuration that breaks a rule is refused. */
static void test_config_invalid(void)
{
    const struct { int64_t lowest, highest; int32_t digits; } wrong[] = {
        {0, 100, 3}, {-1, 100, 3}, {1, 1, 3}, {2, 3, 3}, {1, -5, 3}, {1, 100, 0}, {1, 100, 6}, {1, 100, -1},
        {INT64_MIN, INT64_MIN, 3}, {INT64_MAX, INT64_MAX, 1}, {INT64_C(1) << 45, INT64_MAX, 5},
    };
    vs_hdr_config config;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_EQ(vs_hdr_config_init(&config, wrong[i].lowest, wrong[i].highest, wrong[i].digits), VS_E_INVALID);
    CHECK_EQ(vs_hdr_config_init(&config, INT64_C(1) << 44, INT64_MAX, 5), VS_OK);
}

static void check_equivalents(const vs_hdr_config *config, int64_t value)
{
    int64_t width = INT64_C(1) << config->unit_magnitude;
    while (value / width >= config->sub_bucket_count)
        width *= 2;
    int64_t lowest = value / width * width;
    int32_t index = vs_hdr_index(config, value);
    CHECK_EQ(vs_hdr_equivalent_range(config, value), width);
    CHECK_EQ(vs_hdr_lowest_equivalent(config, value), lowest);
    CHECK_EQ(vs_hdr_highest_equivalent(config, value), lowest + (width - 1));
    CHECK_EQ(vs_hdr_median_equivalent(config, value), lowest + width / 2);
    CHECK_EQ(vs_hdr_value_at_index(config, index), lowest);
    CHECK(index >= 0 && index < config->counts_len);
    CHECK(lowest == 0 || index == vs_hdr_index(config, lowest - 1) + 1);
    double allowed = (double)value * pow(10, -config->digits);
    CHECK((double)(width - 1) <= fmax(allowed, (double)(config->lowest - 1)));
}

/* For every number of digits, a value's count spans what repeated doubling says, within the promised relative error. */
static void test_equivalents(void)
{
    for (int32_t digits = 1; digits <= 5; digits++) {
        for (int64_t lowest = 1; lowest < 5000; lowest = lowest * 7 + 1) {
            vs_hdr_config config = config_of(lowest, INT64_MAX, digits);
            for (unsigned bit = 0; bit < 63; bit++)
                for (int64_t near = -2; near <= 2; near++)
                    if ((INT64_C(1) << bit) + near >= 0)
                        check_equivalents(&config, (INT64_C(1) << bit) + near);
            for (int i = 0; i < 500; i++)
                check_equivalents(&config, random_value(63));
            check_equivalents(&config, INT64_MAX);
            CHECK_EQ(vs_hdr_index(&config, INT64_MAX), config.counts_len - 1);
            CHECK_EQ(vs_hdr_highest_equivalent(&config, -5), vs_hdr_highest_equivalent(&config, 0));
            CHECK_EQ(vs_hdr_lowest_equivalent(&config, INT64_MIN), 0);
        }
    }
}

/* Recorded values come back as counts and as an exact sum, on the owned stripe and on the shared one. */
static void test_record(void)
{
    live it = open_live(1, 3600000000000, 3);
    CHECK(vs_hdr_record(&it.hdr, 0));
    CHECK(vs_hdr_record(&it.hdr, 3600000000000));
    CHECK(vs_hdr_record_times(&it.hdr, 1234567, 1000));
    CHECK(vs_hdr_record_times(&it.hdr, 1234567, 0));
    vs_word *slot = &vs_this_thread.base[it.hdr.arena];
    uint64_t mine = vs_load_relaxed(slot);
    CHECK(mine != 0);
    vs_store_relaxed(slot, 0); /* as a signal handler finds it inside a write */
    CHECK(vs_hdr_record(&it.hdr, 77));
    CHECK(vs_hdr_record_times(&it.hdr, 78, 4));
    CHECK_EQ(vs_load_relaxed(slot), 0);
    vs_store_relaxed(slot, mine);
    read_live(&it);
    CHECK_EQ(it.totals.count, 1007);
    CHECK_EQ(it.totals.sum_integer, 3600000000000 + INT64_C(1234567) * 1000 + 77 + 4 * 78);
    CHECK_EQ(it.counts[0], 1);
    CHECK_EQ(it.counts[77], 1);
    CHECK_EQ(it.counts[78], 4);
    CHECK_EQ(it.counts[vs_hdr_index(&it.hdr.config, 1234567)], 1000);
    CHECK_EQ(loss_of(&it, VS_LOSS_CLAMPED_LOW) + loss_of(&it, VS_LOSS_CLAMPED_HIGH), 0);
    close_live(&it);
}

/* Values outside the range are recorded at its ends, reported, and counted. */
static void test_clamping(void)
{
    live it = open_live(1, 1000, 2);
    CHECK(!vs_hdr_record(&it.hdr, -1));
    CHECK(!vs_hdr_record(&it.hdr, INT64_MIN));
    CHECK(vs_hdr_record(&it.hdr, 1000));
    CHECK(!vs_hdr_record(&it.hdr, 1001));
    CHECK(!vs_hdr_record_times(&it.hdr, INT64_MAX, 5));
    CHECK(!vs_hdr_record_times(&it.hdr, -7, 2));
    read_live(&it);
    CHECK_EQ(it.counts[0], 4);
    CHECK_EQ(it.counts[vs_hdr_index(&it.hdr.config, 1000)], 7);
    CHECK_EQ(it.totals.sum_integer, 7 * 1000);
    CHECK_EQ(loss_of(&it, VS_LOSS_CLAMPED_LOW), 4);
    CHECK_EQ(loss_of(&it, VS_LOSS_CLAMPED_HIGH), 6);
    close_live(&it);
}

/* A handle that is bound to nothing records nothing and says so. */
static void test_unbound(void)
{
    vs_hdr nothing = {.arena = VS_ARENA_NONE};
    int64_t values[2] = {1, 2};
    CHECK(!vs_hdr_record(&nothing, 0));
    CHECK(!vs_hdr_record_times(&nothing, 5, 5));
    CHECK(!vs_hdr_record_corrected(&nothing, 500, 5));
    CHECK_EQ(vs_hdr_record_many(&nothing, values, 2, sizeof *values), 0);
}

/* An array is recorded with any stride, also backwards and unaligned; the answer leaves clamped values out. */
static void test_record_many(void)
{
    live it = open_live(1, 1000, 3);
    char buffer[1 + 6 * 12];
    const int64_t values[6] = {5, -5, 1000, 1001, 7, 0};
    for (size_t i = 0; i < 6; i++)
        memcpy(buffer + 1 + 12 * i, &values[i], sizeof values[i]);
    CHECK_EQ(vs_hdr_record_many(&it.hdr, (const int64_t *)(const void *)(buffer + 1), 6, 12), 4);
    CHECK_EQ(vs_hdr_record_many(&it.hdr, values + 5, 6, -(ptrdiff_t)sizeof *values), 4);
    CHECK_EQ(vs_hdr_record_many(&it.hdr, NULL, 0, 8), 0);
    read_live(&it);
    CHECK_EQ(it.totals.count, 12);
    CHECK_EQ(it.totals.sum_integer, 2 * (5 + 1000 + 1000 + 7));
    close_live(&it);
}

/* Corrected recording equals recording each missing value by itself: counts, sum, and what was clamped. */
static void test_corrected(void)
{
    for (int round = 0; round < 300; round++) {
        live fast = open_live(1 + random_value(5), 1 << 16, 1 + round % 3);
        live slow = open_live(fast.hdr.config.lowest, fast.hdr.config.highest, fast.hdr.config.digits);
        int64_t value = random_value(17) - 3;
        int64_t interval = random_value(10) - 3;
        bool in_range = vs_hdr_record(&slow.hdr, value);
        if (interval > 0)
            for (int64_t missing = value - interval; missing >= interval; missing -= interval)
                in_range &= vs_hdr_record(&slow.hdr, missing);
        CHECK_EQ(vs_hdr_record_corrected(&fast.hdr, value, interval), in_range);
        read_live(&fast);
        read_live(&slow);
        CHECK(memcmp(fast.counts, slow.counts, (size_t)fast.hdr.config.counts_len * sizeof *fast.counts) == 0);
        CHECK_EQ(fast.totals.count, slow.totals.count);
        CHECK_EQ(fast.totals.sum_integer, slow.totals.sum_integer);
        CHECK_EQ(loss_of(&fast, VS_LOSS_CLAMPED_LOW), loss_of(&slow, VS_LOSS_CLAMPED_LOW));
        CHECK_EQ(loss_of(&fast, VS_LOSS_CLAMPED_HIGH), loss_of(&slow, VS_LOSS_CLAMPED_HIGH));
        close_live(&slow);
        close_live(&fast);
    }
}

/* A missing value that is exactly the highest one is in range. */
static void test_corrected_at_highest(void)
{
    live it = open_live(1, 1000, 3);
    CHECK(!vs_hdr_record_corrected(&it.hdr, 1006, 2));
    read_live(&it);
    CHECK_EQ(it.totals.count, 503);
    CHECK_EQ(loss_of(&it, VS_LOSS_CLAMPED_HIGH), 3);
    close_live(&it);
}

/* Correction with the greatest value and the smallest interval ends, and misses no value. */
static void test_corrected_huge(void)
{
    live it = open_live(1, INT64_MAX, 2);
    CHECK(vs_hdr_record_corrected(&it.hdr, INT64_MAX, 1));
    CHECK(vs_hdr_record_corrected(&it.hdr, INT64_MAX, INT64_MAX));
    CHECK(!vs_hdr_record_corrected(&it.hdr, INT64_MIN, INT64_MAX));
    read_live(&it);
    CHECK_EQ(it.totals.count, (uint64_t)INT64_MAX + 2);
    CHECK_EQ(it.counts[1], 1);
    CHECK_EQ(it.counts[255], 1);
    CHECK_EQ(it.counts[256], 2);
    close_live(&it);
}

int main(void)
{
    vs_arena_options options = {.stripe_count = 2, .stripe_bytes = UINT64_C(1) << 24};
    if (!CHECK_EQ(vs_arena_open(&options, &arena), VS_OK))
        return check_report();
    test_config_sizes();
    test_config_invalid();
    test_equivalents();
    test_record();
    test_clamping();
    test_unbound();
    test_record_many();
    test_corrected();
    test_corrected_at_highest();
    test_corrected_huge();
    return check_report();
}
