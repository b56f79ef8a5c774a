/* What the dead leave in a file arena: made whole, given back, and summed up; whoever else is killed meanwhile. */
#define _GNU_SOURCE
#include "../../native/src/reader.h"

#include "file_fixture.h"

static stage *together;
static vs_registry *registry;
static vs_arena *arena;
static vs_series *counter, *histogram, *hdr;

static void open_all(void)
{
    together = new_stage();
    registry = shared_registry("arena", &arena);
    counter = series_of(registry, VS_COUNTER, "c");
    histogram = series_of(registry, VS_HISTOGRAM, "h");
    hdr = series_of(registry, VS_HDR, "latency");
}

static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

static void busy_wait(uint64_t ns)
{
    int64_t end = vs_clock_monotonic_ns() + (int64_t)ns;
    while (vs_clock_monotonic_ns() < end)
        vs_cpu_relax();
}

/* The count of a tally, in which its counts are added up. The reading does not reap. */
static uint64_t count_without_reaping(vs_series *series)
{
    static uint64_t counts[VS_FILE_PAGE];
    vs_tally_totals totals;
    memset(counts, 0, sizeof counts);
    CHECK_EQ(vs_series_read(series, counts, &totals), VS_OK);
    CHECK_EQ(totals.unsettled, 0);
    return totals.count;
}

/* ---- killed in mid-writing ---- */

enum { WRITERS = 4 };

static int write_for_ever(void *number)
{
    vs_word *done = &together->done[*(int *)number * 3];
    vs_counter c = vs_series_counter(counter);
    for (uint64_t i = 1; i != 0; i++) {
        vs_counter_inc(c);
        vs_store_release(&done[0], i);
        observe(histogram, 3.0);
        vs_store_release(&done[1], i);
        record(hdr, 3);
        vs_store_release(&done[2], i);
    }
    return 0;
}

static void check_between(uint64_t actual, uint64_t least, uint64_t more)
{
    if (!CHECK(actual >= least && actual <= least + more))
        fprintf(stderr, "    is %llu, should be %llu and up to %llu more\n", (unsigned long long)actual, (unsigned long long)least,
                (unsigned long long)more);
}

static void nothing_is_lost_of_who_is_killed_in_mid_writing(void)
{
    uint64_t done[3] = {0}, killed = 0;
    open_all();
    for (int round = 0; round < (SANITIZED ? 5 : 25); round++) {
        pid_t children[WRITERS];
        int numbers[WRITERS];
        memset(together, 0, sizeof *together);
        for (int i = 0; i < WRITERS; i++) {
            numbers[i] = i;
            children[i] = start(write_for_ever, &numbers[i]);
        }
        for (int i = 0; i < WRITERS; i++) {
            await(&together->done[i * 3 + 2], 10 + random_below(1000));
            kill_9(children[i]);
            for (int kind = 0; kind < 3; kind++)
                done[kind] += vs_load_acquire(&together->done[i * 3 + kind]);
        }
        killed += WRITERS;
        vs_snapshot *snapshot = take_snapshot(registry);
        ptrdiff_t series[] = {series_in(snapshot, "c", ""), series_in(snapshot, "h", ""), series_in(snapshot, "latency", "")};
        for (int kind = 0; kind < 3; kind++) {
            check_between(snapshot->integers[series[kind]], done[kind], killed);
            uint64_t counts = 0;
            for (uint32_t i = 0; i < snapshot->counts_len[series[kind]]; i++)
                counts += snapshot->counts[snapshot->counts_at[series[kind]] + i];
            CHECK_EQ(counts, kind != 0 ? snapshot->integers[series[kind]] : 0);
            if (kind != 0)
                check_between((uint64_t)snapshot->numbers[series[kind]], 3 * done[kind], 3 * killed);
        }
        CHECK_EQ(snapshot->unsettled, 0);
        CHECK_EQ(snapshot->processes, 1);
        CHECK_EQ(snapshot->stripes_held, 0);
        CHECK_EQ(vs_arena_stripes_used(arena), 0);
        vs_snapshot_free(snapshot);
    }
}

/* A writer that was killed after it began, and before it counted. */
static int begin_to_observe(void *unused)
{
    (void)unused;
    observe(histogram, 3.0);
    char *base = vs_stripe_mine(vs_arena_slot(arena));
    vs_tally_block *block = (vs_tally_block *)(base + histogram->offset);
    vs_add_relaxed(&vs_tally_hot(block, histogram->metric->tally_size)->begun, 1u);
    return 0;
}

static void what_was_begun_and_never_counted_is_taken_back(void)
{
    open_all();
    for (int i = 1; i <= 3; i++) {
        CHECK_EQ(in_child(begin_to_observe, NULL), 0);
        vs_snapshot *snapshot = take_snapshot(registry);
        CHECK_EQ(snapshot->integers[series_in(snapshot, "h", "")], i);
        CHECK_EQ(snapshot->unsettled, 0);
        vs_snapshot_free(snapshot);
    }
}

/* ---- the same totals ---- */

static int add_and_stay(void *seed)
{
    random_state = *(uint64_t *)seed;
    vs_counter c = vs_series_counter(counter);
    for (int i = 0; i < 20; i++) {
        vs_counter_add(c, random_below(1000));
        vs_counter_add_double(c, (double)random_below(1000) * 0.1);
        observe(histogram, (double)random_below(100000) * 0.1);
        observe(histogram, 0.0 / 0.0); /* a loss */
        record(hdr, (int64_t)random_below(3600000000));
        record(hdr, -5);
        record(hdr, INT64_MAX);
    }
    meet(together);
    return 0;
}

/* Without what the library says of itself: there are fewer processes afterwards. */
static vs_buffer rendered(vs_snapshot *snapshot)
{
    vs_buffer text = {0};
    CHECK_EQ(vs_render_text(snapshot, &(vs_render_options){0}, &text), VS_OK);
    CHECK(vs_buffer_reserve(&text, 1));
    text.data[text.size] = '\0';
    char *own = strstr(text.data, "# HELP vaultscope_arena");
    if (CHECK(own != NULL))
        text.size = (size_t)(own - text.data);
    return text;
}

static void totals_are_the_same_to_the_last_bit(void)
{
    open_all();
    for (int round = 0; round < 50; round++) {
        pid_t children[3];
        uint64_t seeds[3];
        memset(together, 0, sizeof *together);
        for (int i = 0; i < 3; i++) {
            seeds[i] = 1 + random_below(UINT64_MAX);
            children[i] = start(add_and_stay, &seeds[i]);
        }
        await(&together->ready, 3);
        vs_snapshot *before = take_snapshot(registry);
        CHECK_EQ(vs_arena_stripes_used(arena), 3);
        for (int i = 0; i < 3; i++)
            kill_9(children[i]);
        vs_snapshot *after = take_snapshot(registry);
        CHECK_EQ(vs_arena_stripes_used(arena), 0);
        vs_buffer a = rendered(before), b = rendered(after);
        CHECK(a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
        for (size_t i = 0; i < before->series_count; i++)
            CHECK(vs_bits_of(before->numbers[i]) == vs_bits_of(after->numbers[i]));
        for (size_t i = 0; i < before->metric_count; i++)
            CHECK(memcmp(before->metrics[i].losses, after->metrics[i].losses, sizeof before->metrics[i].losses) == 0);
        CHECK_EQ(metric_in(after, "h")->losses[VS_LOSS_INVALID], 60 * (round + 1));
        CHECK_EQ(metric_in(after, "latency")->losses[VS_LOSS_CLAMPED_HIGH], 60 * (round + 1));
        vs_buffer_free(&a);
        vs_buffer_free(&b);
        vs_snapshot_free(before);
        vs_snapshot_free(after);
    }
}

/* ---- a fold that is killed ---- */

static int write_some(void *unused)
{
    (void)unused;
    vs_counter_inc(vs_series_counter(counter));
    observe(histogram, 7.0);
    record(hdr, 7);
    return 0;
}

static int reap_once(void *unused)
{
    (void)unused;
    vs_add_release(&together->ready, 1u);
    vs_arena_reap(arena);
    return 0;
}

static bool is_cut_short(void)
{
    bool folding = false;
    for (uint32_t stripe = 1; stripe <= SMALL_STRIPES; stripe++)
        folding = folding || (vs_load_relaxed(&arena->shared->owners[stripe]) & VS_OWNER_FOLDING) != 0;
    return folding;
}

static void check_exact(uint64_t written)
{
    CHECK_EQ(counter_total(vs_series_counter(counter)), written);
    CHECK_EQ(count_without_reaping(histogram), written);
    CHECK_EQ(count_without_reaping(hdr), written);
}

static void a_fold_that_is_killed_loses_nothing(void)
{
    int cut_short = 0;
    uint64_t written = 0;
    open_all();
    for (int round = 0; round < (SANITIZED ? 60 : 300); round++) {
        for (uint64_t i = 1 + random_below(3); i != 0; i--, written++)
            CHECK_EQ(in_child(write_some, NULL), 0);
        uint64_t ready = vs_load_relaxed(&together->ready);
        pid_t child = start(reap_once, NULL);
        await(&together->ready, ready + 1);
        busy_wait(random_below(SANITIZED ? 1000000 : 150000));
        kill_9(child);
        cut_short += is_cut_short();
        check_exact(written);
        if (round % 10 == 9) {
            CHECK_EQ(count_of(registry, "c", ""), (int64_t)written);
            CHECK_EQ(vs_arena_stripes_used(arena), 0);
            check_exact(written);
        }
    }
    fprintf(stderr, "%d folds were cut short in the midst\n", cut_short);
}

/* The two states that a fold may leave, made by hand. */

static void set_dirty(uint32_t stripe, uint64_t epoch_on, uint64_t epoch_off)
{
    vs_word *word = &arena->shared->dirty[stripe / VS_DIRTY_STRIPES];
    uint64_t both = vs_dirty_bits(stripe, VS_DIRTY_BOTH), rest = vs_load_relaxed(word) & ~both;
    uint64_t on = both & vs_dirty_mask(epoch_on), off = both & vs_dirty_mask(epoch_off);
    vs_store_relaxed(word, rest | (on & ~off));
}

static void check_folded(uint64_t written)
{
    vs_arena_reap(arena);
    CHECK_EQ(vs_arena_stripes_used(arena), 0);
    for (uint32_t stripe = 1; stripe <= SMALL_STRIPES; stripe++)
        CHECK_EQ(vs_load_relaxed(&arena->shared->owners[stripe]), 0);
    check_exact(written);
    CHECK_EQ(in_child(write_some, NULL), 0); /* adopts the stripe */
    check_exact(written + 1);
    CHECK_EQ(count_of(registry, "c", ""), (int64_t)written + 1);
    check_exact(written + 1);
}

/* Leaves a process's values in stripe 1, which nobody owns any more. */
static void leave_values(void)
{
    CHECK_EQ(in_child(write_some, NULL), 0);
    CHECK(vs_load_relaxed(&arena->shared->owners[1]) != 0);
}

static void a_fold_that_was_killed_before_its_epoch_is_done_anew(void)
{
    open_all();
    for (uint64_t written = 1; written < 20; written += 2) {
        leave_values();
        uint64_t epoch = vs_load_relaxed(&arena->shared->epoch);
        vs_store_relaxed(&arena->shared->owners[1], VS_OWNER_FOLDING | (epoch + 1));
        set_dirty(1, epoch, epoch + 1);
        check_exact(written);
        check_folded(written);
    }
}

static void a_fold_that_was_killed_after_its_epoch_is_finished(void)
{
    open_all();
    for (uint64_t written = 1; written < 20; written += 2) {
        leave_values();
        static char copy[SMALL_STRIPE_BYTES];
        memcpy(copy, vs_arena_stripe(arena, 1), sizeof copy);
        CHECK_EQ(vs_arena_reap(arena), 1);
        uint64_t epoch = vs_load_relaxed(&arena->shared->epoch);
        memcpy(vs_arena_stripe(arena, 1), copy, sizeof copy); /* as before it was zeroed */
        vs_store_relaxed(&arena->shared->owners[1], VS_OWNER_FOLDING | epoch);
        set_dirty(1, epoch + 1, epoch);
        check_exact(written);
        check_folded(written);
    }
}

static int stay_in_stripe(void *unused)
{
    write_some(unused);
    meet(together);
    return 0;
}

static int stay_with_counter(void *unused)
{
    (void)unused;
    vs_counter_inc(vs_series_counter(counter));
    meet(together);
    return 0;
}

/* A fold of a stripe was killed while it wrote the other archive; the stripe lives on, so it is not folded by the next one, which
 * has nothing for the histograms. */
static void what_a_killed_fold_left_in_the_archive_is_not_counted(void)
{
    open_all();
    pid_t living = start(stay_in_stripe, NULL);
    await(&together->ready, 1);
    uint64_t epoch = vs_load_relaxed(&arena->shared->epoch);
    memcpy(vs_archive_at(arena, epoch + 1, VS_ARCHIVE_HIGH), vs_arena_stripe(arena, 1), SMALL_STRIPE_BYTES);
    vs_word *low = (vs_word *)(vs_archive_at(arena, epoch + 1, VS_ARCHIVE_LOW) + counter->offset);
    vs_store_relaxed(&low[1], vs_bits_of(0.125));
    pid_t child = start(stay_with_counter, NULL); /* has another stripe */
    await(&together->ready, 2);
    kill_9(child);
    for (uint64_t deaths = 1; deaths <= 2; deaths++) {
        CHECK_EQ(count_of(registry, "c", ""), 2);
        CHECK(number_of(registry, "c", "") == 0.0);
        CHECK_EQ(count_of(registry, "h", ""), 1);
        CHECK_EQ(count_of(registry, "latency", ""), 1);
        CHECK_EQ(vs_load_relaxed(&arena->shared->epoch), epoch + deaths);
        if (deaths == 1)
            kill_9(living);
    }
}

/* ---- coming and going ---- */

static int watch(void *unused)
{
    uint64_t last[3] = {0};
    (void)unused;
    while (vs_load_acquire(&together->go) == 0) {
        vs_snapshot *snapshot = take_snapshot(registry);
        ptrdiff_t series[] = {series_in(snapshot, "c", ""), series_in(snapshot, "h", ""), series_in(snapshot, "latency", "")};
        for (int kind = 0; kind < 3; kind++) {
            CHECK(snapshot->integers[series[kind]] >= last[kind]);
            last[kind] = snapshot->integers[series[kind]];
        }
        CHECK(snapshot->numbers[series[1]] == 7.0 * (double)last[1]);
        CHECK_EQ(snapshot->unsettled, 0);
        vs_snapshot_free(snapshot);
    }
    return 0;
}

static void readers_never_see_a_total_fall(void)
{
    enum { DEATHS = 300 };
    open_all();
    pid_t watchers[2] = {start(watch, NULL), start(watch, NULL)};
    for (int i = 0; i < DEATHS; i++)
        CHECK_EQ(in_child(write_some, NULL), 0);
    vs_store_release(&together->go, 1);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(outcome(watchers[i]), 0);
    check_exact(DEATHS);
}

static void *write_in_thread(void *unused)
{
    write_some(unused);
    return NULL;
}

static void threads_that_come_and_go_are_exact(void)
{
    enum { BIRTHS = SANITIZED ? 1000 : 10000 };
    open_all();
    for (int i = 0; i < BIRTHS / 4; i++)
        run_threads(4, write_in_thread, NULL);
    check_exact(BIRTHS / 4 * 4);
    uint32_t total, held;
    vs_stripe_usage(vs_arena_slot(arena), &total, &held);
    CHECK_EQ(held, 0);
    CHECK(vs_arena_stripes_used(arena) <= 4);
}

static void more_processes_than_stripes_are_exact(void)
{
    enum { PROCESSES = 3 * SMALL_STRIPES };
    pid_t children[PROCESSES];
    open_all();
    for (int i = 0; i < PROCESSES; i++)
        children[i] = start(stay_in_stripe, NULL);
    await(&together->ready, PROCESSES);
    CHECK_EQ(vs_arena_stripes_used(arena), SMALL_STRIPES);
    check_exact(PROCESSES);
    for (int i = 0; i < PROCESSES; i++)
        kill_9(children[i]);
    CHECK_EQ(vs_arena_reap(arena), PROCESSES);
    CHECK_EQ(vs_arena_stripes_used(arena), 0);
    check_exact(PROCESSES);
    CHECK_EQ(vs_arena_reap(arena), 0);
}

int main(void)
{
    make_scratch();
    RUN(nothing_is_lost_of_who_is_killed_in_mid_writing);
    RUN(what_was_begun_and_never_counted_is_taken_back);
    RUN(totals_are_the_same_to_the_last_bit);
    RUN(a_fold_that_is_killed_loses_nothing);
    RUN(a_fold_that_was_killed_before_its_epoch_is_done_anew);
    RUN(a_fold_that_was_killed_after_its_epoch_is_finished);
    RUN(what_a_killed_fold_left_in_the_archive_is_not_counted);
    RUN(readers_never_see_a_total_fall);
    RUN(threads_that_come_and_go_are_exact);
    RUN(more_processes_than_stripes_are_exact);
    remove_scratch();
    return check_report();
}
