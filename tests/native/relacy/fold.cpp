/* Stripes move to the archive while others read and write (fold.c, F1 to F6): the real fold.c, reader.h, stripe.c, counter.c, tally.c and
 * histogram.c, on stripes that hold one counter and one histogram.
 *
 * Each thread here is a process of its own, with its own view of the arena. One that is killed stops before a write of
 * fold.c that the schedule chooses; the kernel lets its locks go, and whoever learns of a death sees what the dead one wrote. */
#include "model.h"

#undef vs_owned_add /* the portable one: what makes x86 enough is that there each store is a release (MEMORY_MODEL.md) */
#define VS_STRIPES_MAX 2
#undef _Atomic
#define _Atomic /* the pointers of internal.h; none is used here */
#define pthread_setspecific(key, value) ((void)0)
#define sched_yield() ((void)0)

#include "file.h"

#include "reader.h"

#define bool model::local_flag /* `static _Thread_local bool exiting` */
#include "stripe.c"
#undef bool

#include "counter.c"
#include "histogram.c"
#include "tally.c"
#include "fold.c"

/* ---- the arena in its file ---- */

enum { STRIPES_AT_MOST = 2, STRIPES_IN_FILE = 1 + STRIPES_AT_MOST + VS_ARCHIVES, BUCKETS = 2 };
static const double BOUNDS[BUCKETS - 1] = {1.0};
static const double VALUES[BUCKETS] = {1.0, 1000.0};
static const uint64_t TALLY = sizeof(vs_counter_cell);
enum { CELLS = (sizeof(vs_counter_cell) + sizeof(vs_tally_block) + 2 * sizeof(vs_tally_half)) / sizeof(vs_word) + 2 * BUCKETS };
static const vs_counter COUNTER = {0, 0};
static const vs_histogram HISTOGRAM = {BOUNDS, TALLY, 0, 0, BUCKETS - 1};

static vs_arena arenas[model::THREADS_MAX]; /* one for each process */
static vs_file files[model::THREADS_MAX];

vs_arena *vs_arena_at(uint32_t) { return &arenas[rl::thread_index()]; }
bool vs_file_back(const vs_file *, const char *, uint64_t) { return true; }
bool vs_file_untouchable(const vs_arena *) { return false; }

/* Its directory: a counter, a histogram, or both. What is not written is left out, for the sake of a search that ends. */
static bool has_counter, has_histogram;
static vs_metric_record counter_record, histogram_record;
static vs_series_record counter_series, histogram_series;

const vs_metric_record *vs_directory_next_metric(const vs_file *, uint64_t *) { return nullptr; } /* no losses here */

const vs_series_record *vs_directory_next_series(const vs_file *, uint64_t *at, const vs_metric_record **metric)
{
    uint64_t which = (*at)++;
    if (which == 0 && !has_counter)
        which = (*at)++;
    *metric = which == 0 ? &counter_record : &histogram_record;
    return which == 0 ? &counter_series : which == 1 && has_histogram ? &histogram_series : nullptr;
}

/* A wait that is too long ends: the clock goes on when somebody looks. */
static int64_t time_ns;
int64_t vs_clock_monotonic_ns(void) { return time_ns += PATIENCE_NS / 4; }

static bool disk_may_be_full;
bool vs_file_back_stripe(vs_arena *, uint32_t) { return !disk_may_be_full || rl::rand(4) != 0; }

/* ---- being killed ---- */

struct death {};
enum { WRITES_OF_A_FOLD = 50, WRITES_OF_A_WRITER = 6 }; /* at most, and some more: then it is not killed */
enum { WRITES_TO_A_SUM = 4 + 3 }; /* one observation is whole, the next has begun and is in the sum */
static unsigned writes_left[model::THREADS_MAX]; /* of each thread, before it is killed; 0: it is not */

static void perhaps_die()
{
    unsigned *left = &writes_left[rl::thread_index()];
    if (*left != 0 && --*left == 0)
        throw death();
}

/* ---- the model ---- */

/* A reader that waits for a writer looks whether it is dead. */
struct reaper {
    virtual void reap_locked() = 0;
};
static reaper *everybody;
static rl::mutex *file_lock;

size_t vs_arena_reap(vs_arena *)
{
    if (file_lock->try_lock(RL_INFO))
        everybody->reap_locked();
    return 0;
}

typedef enum content { INTEGER, REAL, OBSERVED } content;

struct reading {
    uint64_t integer, observed[BUCKETS];
    double real;
};

/* One reading of everything. A histogram's is whole: its sum is that of its counts. */
static reading read_all()
{
    reading r = {};
    if (has_counter)
        vs_counter_read(COUNTER, &r.integer, &r.real);
    if (has_histogram) {
        uint64_t scratch[BUCKETS];
        vs_tally_totals totals;
        vs_tally_read(vs_arena_at(0), TALLY, BUCKETS, true, r.observed, scratch, &totals);
        RL_ASSERT(totals.unsettled == 0);
        RL_ASSERT(totals.count == r.observed[0] + r.observed[1]);
        RL_ASSERT(totals.sum_double == r.observed[0] * VALUES[0] + r.observed[1] * VALUES[1]);
    }
    return r;
}

/* Up to two writers, who write A and B: as often as it STAYS each takes one of the STRIPES, or shares, writes and leaves. The last
 * time it does not leave if it is in HAPPENS: then it is killed, and if CUT_SHORT in the middle; with one stay in a given place,
 * for the sake of a search that ends.
 * One thread folds FOLDS times. It may be killed in the first. If all is IN_MOTION, it folded once before, A was written before and
 * after that, and B will be between folds.
 * One takes READINGS: none holds less than the one before, or more than there is. The last one, after the end, holds everything; so it does
 * when all has been folded. */
enum { NOTHING = 0, FIRST_KILLED = 1, SECOND_KILLED = 2, FOLD_KILLED = 4, IN_MOTION = 8, DISK_FULL = 16, CUT_SHORT = 32 };
template <content A, content B, unsigned WRITERS, unsigned STRIPES, unsigned STAYS, unsigned FOLDS, unsigned READINGS,
          unsigned HAPPENS = NOTHING>
struct folding
    : rl::test_suite<folding<A, B, WRITERS, STRIPES, STAYS, FOLDS, READINGS, HAPPENS>, (int)WRITERS + 1 + (READINGS != 0)>,
      reaper {
    vs_shared shared;
    vs_word stripes[STRIPES_IN_FILE][CELLS];
    rl::mutex lock;
    rl::atomic<unsigned> dead[WRITERS + 1];

    void before()
    {
        for (unsigned i = 0; i < model::THREADS_MAX; i++) {
            arenas[i].shared = &shared;
            arenas[i].stripes = reinterpret_cast<char *>(stripes);
            arenas[i].stripe_bytes = sizeof stripes[0];
            arenas[i].stripe_count = STRIPES;
            arenas[i].file = &files[i];
            arenas[i].token = (uint64_t)(i + 1) << VS_OWNER_ENTRY_SHIFT | 1; /* as join in process.c */
        }
        has_counter = A != OBSERVED || B != OBSERVED;
        has_histogram = A == OBSERVED || B == OBSERVED;
        counter_record.kind = VS_COUNTER;
        histogram_record.kind = VS_HISTOGRAM;
        histogram_record.tally_size = BUCKETS;
        histogram_series.offset = TALLY;
        for (vs_word &base : vs_this_thread.base)
            base.clear();
        for (vs_word32 &stripe : my_stripe)
            stripe.clear();
        for (vs_word &releases : none_free)
            releases.clear();
        exiting.clear();
        for (rl::atomic<unsigned> &flag : dead)
            flag.store(0, rl::mo_relaxed, RL_INFO);
        time_ns = 0;
        everybody = this;
        file_lock = &lock;
        memset(writes_left, 0, sizeof writes_left);
        disk_may_be_full = (HAPPENS & DISK_FULL) != 0;
        model::before_write = perhaps_die;
        if ((HAPPENS & IN_MOTION) != 0) {
            come_and_go(A, 0);
            reap();
            come_and_go(A, 1);
        }
    }

    /* As a new thread of the same process. */
    void arrive()
    {
        vs_stripe_forget(0);
        exiting = false;
    }

    /* The first time twice, so that whoever adds up new cells and an old archive finds less than before. */
    static unsigned writes(unsigned stay) { return stay == 0 ? 2 : 1; }

    void write(content what, unsigned stay)
    {
        for (unsigned i = 0; i < writes(stay); i++) {
            switch (what) {
            case INTEGER: vs_counter_add(COUNTER, 1); break;
            case REAL: vs_counter_add_double(COUNTER, 0.5); break;
            case OBSERVED: vs_histogram_observe(&HISTOGRAM, VALUES[stay % BUCKETS]); break;
            }
        }
    }

    void come_and_go(content what, unsigned stay)
    {
        arrive();
        write(what, stay);
        release_stripes(nullptr);
    }

    /* As vs_arena_reap. The kernel lets go the lock of a process that is killed. */
    void reap()
    {
        lock.lock(RL_INFO);
        reap_locked();
    }

    void reap_locked() override
    {
        try {
            for (unsigned index = 0; index < WRITERS; index++)
                if ((HAPPENS & 1u << index) != 0 && dead[index].fetch_add(0, rl::mo_acquire, RL_INFO) != 0)
                    vs_fold_release(vs_arena_at(0), index);
            vs_fold_stripes(vs_arena_at(0));
        } catch (const death &) {
        }
        lock.unlock(RL_INFO);
    }

    void thread(unsigned index)
    {
        if (index < WRITERS) {
            for (unsigned stay = 0; stay < STAYS; stay++) {
                bool last = (HAPPENS & 1u << index) != 0 && stay == STAYS - 1;
                arrive();
                /* Not while it shares: there nobody could make whole what it leaves. */
                if (last && (HAPPENS & CUT_SHORT) != 0 && vs_stripe_attach(0) != nullptr)
                    writes_left[index] = STAYS == 1 ? WRITES_TO_A_SUM : 1 + rl::rand(WRITES_OF_A_WRITER);
                try {
                    write(index == 0 ? A : B, stay);
                } catch (const death &) {
                }
                writes_left[index] = 0;
                if (last)
                    dead[index].store(1, rl::mo_release, RL_INFO);
                else
                    release_stripes(nullptr);
            }
        } else if (index == WRITERS) {
            if ((HAPPENS & FOLD_KILLED) != 0)
                writes_left[index] = 1 + rl::rand(WRITES_OF_A_FOLD);
            for (unsigned i = 0; i < FOLDS; i++) {
                reap();
                writes_left[index] = 0;
                if ((HAPPENS & IN_MOTION) != 0 && i + 1 < FOLDS)
                    come_and_go(B, 1);
            }
        } else {
            reading last = {};
            for (unsigned i = 0; i < READINGS; i++) {
                reading now = read_all();
                RL_ASSERT(now.integer >= last.integer && now.real >= last.real);
                RL_ASSERT(now.observed[0] >= last.observed[0] && now.observed[1] >= last.observed[1]);
                RL_ASSERT(now.integer <= written(INTEGER) && now.real <= written(REAL) * 0.5);
                RL_ASSERT(now.observed[0] + now.observed[1] <= written(OBSERVED));
                last = now;
            }
        }
    }

    /* In all, by the end. */
    static uint64_t written(content what)
    {
        uint64_t times = 0;
        for (unsigned index = 0; index < WRITERS; index++)
            times += (index == 0 ? A : B) == what ? STAYS + 1 : 0;
        if ((HAPPENS & IN_MOTION) != 0)
            times += A == what ? writes(0) + writes(1) : B == what ? FOLDS - 1 : 0;
        return times;
    }

    void expect_all()
    {
        reading all = read_all();
        uint64_t lost = (HAPPENS & CUT_SHORT) != 0 ? writes(STAYS - 1) : 0; /* of what was under way */
        uint64_t observed = all.observed[0] + all.observed[1];
        RL_ASSERT(all.integer == written(INTEGER) && all.real == written(REAL) * 0.5);
        RL_ASSERT(observed <= written(OBSERVED) && observed + lost >= written(OBSERVED));
    }

    void after()
    {
        expect_all();
        reap();
        expect_all();
        RL_ASSERT(vs_arena_stripes_used(vs_arena_at(0)) == 0);
        for (uint32_t stripe = 1; stripe <= STRIPES; stripe++)
            RL_ASSERT(vs_load_relaxed(&shared.owners[stripe]) == 0);
    }
};

int main(int argc, char **argv)
{
    model::options options;
    if (!model::parse(argc, argv, &options))
        return 2;
    typedef folding<INTEGER, INTEGER, 1, 1, 2, 2, 2> integer;
    typedef folding<INTEGER, INTEGER, 1, 1, 1, 1, 1> integer_small;
    typedef folding<REAL, REAL, 1, 1, 2, 2, 2> real;
    typedef folding<REAL, REAL, 1, 1, 2, 1, 2> real_small;
    typedef folding<OBSERVED, OBSERVED, 1, 1, 2, 2, 2> observed;
    typedef folding<OBSERVED, OBSERVED, 1, 1, 1, 1, 1> observed_small;
    bool good = model::check<integer, integer_small>("integer", options) && model::check<real, real_small>("real", options) &&
                model::check<observed, observed_small>("histogram", options);

    /* A reader of the first archive is overtaken by who writes the third, in the same place. */
    typedef folding<INTEGER, REAL, 0, 1, 0, 2, 2, IN_MOTION> overtaken;
    typedef folding<INTEGER, REAL, 0, 1, 0, 2, 1, IN_MOTION> overtaken_small;
    typedef folding<OBSERVED, REAL, 0, 1, 0, 2, 2, IN_MOTION> observed_overtaken;
    typedef folding<OBSERVED, REAL, 0, 1, 0, 2, 1, IN_MOTION> observed_overtaken_small;
    good = good && model::check<overtaken, overtaken_small>("overtaken", options) &&
           model::check<observed_overtaken, observed_overtaken_small>("histogram overtaken", options);

    typedef folding<REAL, REAL, 2, 1, 2, 2, 0, FIRST_KILLED | DISK_FULL> in_turn;
    typedef folding<REAL, REAL, 1, 1, 1, 1, 0, DISK_FULL> in_turn_small;
    typedef folding<OBSERVED, INTEGER, 2, 2, 2, 2, 2, FIRST_KILLED | SECOND_KILLED> killed;
    typedef folding<INTEGER, INTEGER, 1, 1, 1, 1, 1, FIRST_KILLED> killed_small;
    typedef folding<OBSERVED, OBSERVED, 1, 2, 2, 2, 2, FIRST_KILLED | CUT_SHORT> cut_short;
    typedef folding<OBSERVED, OBSERVED, 1, 1, 1, 1, 1, FIRST_KILLED | CUT_SHORT> cut_short_small;
    good = good && model::check<in_turn, in_turn_small>("two with one stripe", options) &&
           model::check<killed, killed_small>("killed", options) &&
           model::check<cut_short, cut_short_small>("killed in mid-write", options);

    typedef folding<OBSERVED, INTEGER, 2, 2, 2, 3, 0, FOLD_KILLED> fold_killed;
    typedef folding<INTEGER, INTEGER, 1, 1, 1, 2, 0, FOLD_KILLED> fold_killed_small;
    typedef folding<OBSERVED, INTEGER, 2, 2, 2, 3, 2, FOLD_KILLED | FIRST_KILLED> both_killed;
    typedef folding<INTEGER, INTEGER, 1, 1, 1, 2, 0, FOLD_KILLED | FIRST_KILLED> both_killed_small;
    good = good && model::check<fold_killed, fold_killed_small>("a fold that is killed", options) &&
           model::check<both_killed, both_killed_small>("a fold and a writer that are killed", options);
    return good ? 0 : 1;
}
