/* A tally's readings are whole (tally.h, T0 to T5, R1 to R3): the real writers and the real reader of tally.h and tally.c.
 *
 * Observation i has a value that tells its bucket, so a reading proves itself: its sum must be that of its counts. */
#include "model.h"

#define VS_STRIPES_MAX 1
#define sched_yield() ((void)0)
#undef _Atomic
#define _Atomic /* the pointers of internal.h; none is used here */
#include "tally.c"

enum { BUCKETS = 2, WORDS = (sizeof(vs_tally_block) + 2 * sizeof(vs_tally_half)) / sizeof(vs_word) + 2 * BUCKETS };
static const uint64_t VALUES[BUCKETS] = {1, 1000};

/* ---- what tally.c calls outside itself ---- */

/* An anonymous arena with the shared stripe, for all, and one that thread 0 owns. */
struct memory {
    vs_shared shared;
    vs_word stripes[2][WORDS];
};
static vs_arena arena;

bool vs_file_untouchable(const vs_arena *) { return false; }
size_t vs_arena_reap(vs_arena *) { return 0; }

/* Time stands still: a reader that would have to give up runs into Relacy's limit instead, which is a failure. */
int64_t vs_clock_monotonic_ns(void) { return 0; }

static vs_tally_block *block_of(uint32_t stripe)
{
    return reinterpret_cast<vs_tally_block *>(vs_arena_stripe(&arena, stripe));
}

/* ---- the kinds of writers ---- */

struct owned_integer {
    static const bool is_double = false;
    static void write(size_t i) { vs_tally_write_integer(block_of(1), BUCKETS, i, VALUES[i], 1); }
};
struct owned_double {
    static const bool is_double = true;
    static void write(size_t i) { vs_tally_write_double(block_of(1), BUCKETS, i, (double)VALUES[i]); }
};
struct shared_integer {
    static const bool is_double = false;
    static void write(size_t i) { vs_tally_share_integer(block_of(0), BUCKETS, i, VALUES[i], 1); }
};
struct shared_double {
    static const bool is_double = true;
    static void write(size_t i) { vs_tally_share_double(block_of(0), BUCKETS, i, (double)VALUES[i]); }
};

/* ---- what must hold ---- */

static uint64_t sum_of(const uint64_t *counts) { return counts[0] * VALUES[0] + counts[1] * VALUES[1]; }

/* Looks once at a half; where the check passes, the half must be whole. */
static void look_once(uint32_t stripe, uint64_t which, bool is_double)
{
    uint64_t counts[BUCKETS] = {};
    sight s = {counts};
    if (look(vs_tally_half_at(block_of(stripe), BUCKETS, which), BUCKETS, &s))
        RL_ASSERT((is_double ? (uint64_t)vs_double_of(s.sum) : s.sum) == sum_of(counts));
}

static vs_tally_totals read_all(bool is_double)
{
    uint64_t counts[BUCKETS] = {0, 0}, scratch[BUCKETS];
    vs_tally_totals totals = {};
    vs_tally_read(&arena, 0, BUCKETS, is_double, counts, scratch, &totals);
    RL_ASSERT(totals.unsettled == 0);
    RL_ASSERT(totals.count == counts[0] + counts[1]);
    RL_ASSERT((is_double ? (uint64_t)totals.sum_double : totals.sum_integer) == sum_of(counts));
    return totals;
}

/* WRITERS threads write EACH observations; the last thread reads.
 *   LOOKS 0: with vs_tally_read, twice: it waits and turns writers to the other half as it must. The second reading
 *   holds at least what the first one held, and a reading after the end holds everything.
 *   LOOKS n: n single looks at each half, turning the writers between them: the schedules that a search can exhaust. */
template <typename KIND, unsigned WRITERS, unsigned EACH, unsigned LOOKS>
struct tally : rl::test_suite<tally<KIND, WRITERS, EACH, LOOKS>, (int)WRITERS + 1> {
    static const uint32_t stripe = std::is_same<KIND, owned_integer>::value || std::is_same<KIND, owned_double>::value;
    memory mapped;

    void before()
    {
        arena.shared = &mapped.shared;
        arena.stripes = reinterpret_cast<char *>(mapped.stripes);
        arena.stripe_bytes = sizeof mapped.stripes[0];
        arena.stripe_count = 1;
        vs_store_relaxed(&mapped.shared.dirty[0], vs_dirty_bits(1, VS_DIRTY_BOTH));
    }

    void thread(unsigned index)
    {
        if (index < WRITERS) {
            for (unsigned i = 0; i < EACH; i++)
                KIND::write((i + index) % BUCKETS);
        } else if (LOOKS == 0) {
            uint64_t first = read_all(KIND::is_double).count;
            RL_ASSERT(read_all(KIND::is_double).count >= first);
        } else {
            for (unsigned i = 0; i < LOOKS; i++) {
                look_once(stripe, i % 2, KIND::is_double);
                vs_store_relaxed(&block_of(stripe)->hot, 1 - i % 2); /* T5, as in read_half */
            }
        }
    }

    void after() { RL_ASSERT(read_all(KIND::is_double).count == WRITERS * EACH); }
};

int main(int argc, char **argv)
{
    model::options options;
    if (!model::parse(argc, argv, &options))
        return 2;
    bool good = model::check<tally<owned_integer, 1, 6, 0>, tally<owned_integer, 1, 3, 2>>("owned, integer", options);
    good = good && model::check<tally<owned_double, 1, 6, 0>, tally<owned_double, 1, 3, 2>>("owned, double", options);
    good = good && model::check<tally<shared_integer, 2, 3, 0>, tally<shared_integer, 2, 2, 2>>("shared, integer", options);
    good = good && model::check<tally<shared_double, 2, 3, 0>, tally<shared_double, 2, 1, 2>>("shared, double", options);
    return good ? 0 : 1;
}
