/* Cursors: every record is taken by a cursor or charged to it, once; whoever lags, closes, or comes late. */
#define _GNU_SOURCE
#include "log_fixture.h"

static vs_put put(vs_journal *journal, vs_level level, uint64_t key, size_t words)
{
    uint64_t record[WORDS_MAX];
    return vs_journal_try_put(journal, level, record, fill_record(record, key, words));
}

static void put_many(vs_journal *journal, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        put(journal, VS_INFO, i, 8);
}

/* ---- one cursor ---- */

static void a_batch_is_given_again_until_it_is_done(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    vs_batch first, again;
    CHECK(!vs_cursor_take(cursor, 1 << 16, &first));
    put_many(journal, 3);
    CHECK(vs_cursor_take(cursor, 1 << 16, &first));
    put_many(journal, 2);
    CHECK(vs_cursor_take(cursor, 1 << 16, &again));
    CHECK_EQ(sum_of(again.records), 3);
    CHECK(again.data == first.data && again.size == first.size);
    vs_cursor_done(cursor);
    CHECK_EQ(drain_all(cursor), 2);
    CHECK_EQ(written_by(cursor), 5);
}

static void a_batch_that_is_given_up_is_counted_as_missed(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    vs_batch batch;
    put_many(journal, 3);
    CHECK(vs_cursor_take(cursor, 1 << 16, &batch));
    vs_cursor_drop(cursor);
    put_many(journal, 4);
    CHECK_EQ(drain_all(cursor), 4);
    CHECK_EQ(missed_by(cursor), 3);
    CHECK_EQ(written_by(cursor), 4);
}

static void a_cursor_stops_before_a_record_that_is_being_written(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    put_many(journal, 1);
    uint64_t at = vs_ring_end(&journal->ring);
    vs_store_relaxed(vs_ring_mark(&journal->ring, at), vs_mark(vs_ring_lap(&journal->ring, at), 2, 0, VS_WARN, VS_MARK_WRITING));
    put_many(journal, 1);
    CHECK_EQ(drain_all(cursor), 1);
    CHECK(!vs_cursor_wait(cursor, 0, NULL));
    vs_store_release(vs_ring_mark(&journal->ring, at), vs_mark(vs_ring_lap(&journal->ring, at), 2, 0, VS_WARN, VS_MARK_WHOLE));
    CHECK(vs_cursor_wait(cursor, 0, NULL));
    CHECK_EQ(drain_all(cursor), 2);
}

static void waiting_ends_with_its_time_and_with_stop(void)
{
    vs_cursor *cursor = cursor_of(small_journal(VS_POLICY_DROP), "a");
    int64_t began = vs_clock_monotonic_ns();
    CHECK(!vs_cursor_wait(cursor, 20000000, NULL));
    CHECK(vs_clock_monotonic_ns() - began >= 20000000);
    vs_word32 stop;
    vs_store_relaxed(&stop, 1);
    CHECK(!vs_cursor_wait(cursor, INT64_C(3600) * 1000000000, &stop));
}

/* ---- names ---- */

static void a_name_is_used_once_and_eight_are_all(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursors[VS_RING_CURSORS], *other = NULL;
    for (int i = 0; i < VS_RING_CURSORS; i++)
        cursors[i] = cursor_of(journal, (char[]){(char)('a' + i), 0});
    CHECK_EQ(vs_cursor_open(journal, text_of("a"), &other), VS_E_BUSY);
    CHECK_EQ(vs_cursor_open(journal, text_of("ninth"), &other), VS_E_FULL);
    vs_cursor_close(cursors[3], true);
    CHECK_EQ(vs_cursor_open(journal, text_of("ninth"), &other), VS_OK);
}

static void a_cursor_that_is_closed_and_not_forgotten_goes_on_where_it_was(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    put_many(journal, 5);
    vs_batch batch;
    CHECK(vs_cursor_take(cursor, 1, &batch)); /* one line is more than a byte */
    CHECK_EQ(sum_of(batch.records), 1);
    vs_cursor_done(cursor);
    CHECK(vs_cursor_take(cursor, 1, &batch));
    vs_cursor_close(cursor, false); /* with a batch in its hands, which is given again */
    CHECK_EQ(drain_all(cursor_of(journal, "a")), 4);
}

static void a_cursor_that_is_forgotten_keeps_nothing(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *slow = cursor_of(journal, "slow"), *fast = cursor_of(journal, "fast");
    put_many(journal, 100);
    CHECK_EQ(drain_all(fast), 100);
    CHECK_EQ(vs_tail_position(vs_load_relaxed(&journal->ring.words->tail)), vs_ring_end(&journal->ring) - 100);
    vs_cursor_close(slow, true);
    CHECK_EQ(vs_tail_position(vs_load_relaxed(&journal->ring.words->tail)), vs_ring_end(&journal->ring));
    CHECK_EQ(drain_all(cursor_of(journal, "slow")), 0);
}

/* ---- lagging behind ---- */

static void who_lags_by_more_than_half_the_ring_misses_the_oldest(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *slow = cursor_of(journal, "slow"), *fast = cursor_of(journal, "fast");
    uint64_t got = 0;
    for (uint64_t i = 0; i < 5000; i++) {
        CHECK_EQ(put(journal, VS_INFO, i, 8), VS_PUT_DONE);
        if (i % 10 == 9)
            got += drain_all(fast);
    }
    CHECK_EQ(got, 5000);
    CHECK_EQ(missed_by(fast), 0);
    CHECK_EQ(missed_by(slow), 5000 - RING_CELLS / 2);
    CHECK_EQ(drain_all(slow), RING_CELLS / 2);
    CHECK_EQ(counter_total(journal->overwritten[VS_INFO]), 5000 - RING_CELLS / 2);
}

static void a_single_cursor_that_stops_is_waited_for(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    put_many(journal, 5000);
    CHECK_EQ(missed_by(cursor), 0);
    CHECK_EQ(drain_all(cursor), RING_CELLS / 8 * 7);
}

static void a_batch_that_was_taken_is_not_charged_when_it_is_overwritten(void)
{
    vs_journal *journal = small_journal(VS_POLICY_OVERWRITE);
    vs_cursor *cursor = cursor_of(journal, "a");
    vs_batch batch;
    put_many(journal, 10);
    CHECK(vs_cursor_take(cursor, 1 << 16, &batch));
    put_many(journal, 3 * RING_CELLS);
    CHECK_EQ(missed_by(cursor), 2 * RING_CELLS);
    vs_cursor_done(cursor);
    CHECK_EQ(drain_all(cursor), RING_CELLS);
    CHECK_EQ(written_by(cursor), RING_CELLS + 10);
}

static void what_is_overwritten_of_a_batch_that_did_not_arrive_is_missed(void)
{
    vs_journal *journal = small_journal(VS_POLICY_OVERWRITE);
    vs_cursor *cursor = cursor_of(journal, "a");
    vs_batch batch;
    put_many(journal, 100);
    put(journal, VS_ERROR, 1, 8);
    CHECK(vs_cursor_take(cursor, 1 << 20, &batch));
    put_many(journal, RING_CELLS - 101 + 40); /* forty of the batch are gone */
    vs_cursor_close(cursor, false);           /* as after a kill: it is given again */
    cursor = cursor_of(journal, "a");
    CHECK_EQ(missed_by(cursor), 40);
    CHECK_EQ(drain_all(cursor), RING_CELLS);
    CHECK_EQ(missed_by(cursor), 40);
}

/* ---- accounting, with threads ---- */

enum { CURSORS_MAX = 3, RUNS_EACH = SANITIZED ? 3000 : 30000 };
static vs_journal *journal_;
static vs_cursor *cursors_[CURSORS_MAX];
static vs_word next_thread, writers_left, refused[VS_LEVELS], put_[VS_LEVELS];
static uint64_t writers, readers;
static uint64_t got_[CURSORS_MAX][VS_LEVELS];

static void *produce_or_drain(void *unused)
{
    (void)unused;
    uint64_t me = vs_add_relaxed(&next_thread, 1u);
    if (me < writers) {
        for (uint64_t i = 0; i < RUNS_EACH; i++) {
            vs_level level = (vs_level)((i + me) % VS_LEVELS);
            uint64_t record[WORDS_MAX];
            bool done = vs_journal_put(journal_, level, record, fill_record(record, me << 32 | i, 2 + i * 11 % 60));
            vs_add_relaxed(done ? &put_[level] : &refused[level], 1u);
        }
        vs_add_release(&writers_left, (uint64_t)-1);
        return NULL;
    }
    uint64_t which = me - writers;
    for (bool last = false; !last;) {
        last = vs_load_acquire(&writers_left) == 0;
        vs_batch batch;
        while (vs_cursor_take(cursors_[which], 1u << (8 + which * 4), &batch)) {
            for (uint32_t level = 0; level < VS_LEVELS; level++)
                got_[which][level] += batch.records[level];
            if (which == 1) /* a sink that is slow */
                for (int i = 0; i < 20; i++)
                    sched_yield();
            vs_cursor_done(cursors_[which]);
        }
        sched_yield();
    }
    return NULL;
}

typedef struct mix {
    vs_policy policy;
    uint64_t writers, readers;
} mix;

/* In a process of its own, which has all words at zero. */
static int account(void *argument)
{
    const mix *m = argument;
    journal_ = small_journal(m->policy);
    writers = m->writers;
    readers = m->readers;
    vs_store_relaxed(&writers_left, writers);
    for (uint64_t i = 0; i < readers; i++)
        cursors_[i] = cursor_of(journal_, (char[]){(char)('a' + i), 0});
    run_threads(writers + readers, produce_or_drain, NULL);
    for (uint32_t level = 0; level < VS_LEVELS; level++) {
        uint64_t most = 0, all = 0, produced = vs_load_relaxed(&put_[level]);
        CHECK_EQ(counter_total(journal_->logged[level]), produced);
        CHECK_EQ(counter_total(journal_->dropped[level]), vs_load_relaxed(&refused[level]));
        CHECK_EQ(produced + vs_load_relaxed(&refused[level]), writers * RUNS_EACH / VS_LEVELS);
        for (uint64_t i = 0; i < readers; i++) {
            uint64_t written[VS_LEVELS], missed[VS_LEVELS];
            vs_cursor_counts(cursors_[i], written, missed);
            CHECK_EQ(written[level], got_[i][level]);
            CHECK_EQ(written[level] + missed[level], produced);
            most = missed[level] > most ? missed[level] : most;
            all += missed[level];
        }
        /* Once for each record, however many cursors have missed it. */
        uint64_t overwritten = counter_total(journal_->overwritten[level]);
        CHECK(overwritten >= most && overwritten <= all);
        CHECK_EQ(counter_total(journal_->killed[level]), 0);
    }
    return 0;
}

static void produced_is_taken_and_missed_and_dropped_by_level_with_any_number_of_threads(void)
{
    const uint64_t counts[] = {1, 2, 8, 24};
    for (vs_policy policy = VS_POLICY_DROP; policy <= VS_POLICY_OVERWRITE; policy++)
        for (size_t i = 0; i < (SANITIZED ? 3 : 4); i++)
            for (uint64_t cursors = 1; cursors <= CURSORS_MAX; cursors++)
                CHECK_EQ(in_child(account, &(mix){policy, counts[i], cursors}), 0);
    CHECK_EQ(in_child(account, &(mix){VS_POLICY_BLOCK, 8, 2}), 0);
}

/* ---- telling of drops ---- */

static void drops_are_told_of_once(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    uint64_t drops[VS_LEVELS];
    cursor_of(journal, "stopped");
    CHECK(!vs_journal_take_drops(journal, drops));
    uint64_t record[8];
    uint64_t dropped = 0;
    for (uint64_t i = 0; i < 2 * RING_CELLS; i++)
        dropped += !vs_journal_put(journal, VS_DEBUG, record, fill_record(record, i, 8));
    CHECK(vs_journal_take_drops(journal, drops));
    CHECK_EQ(drops[VS_DEBUG], dropped);
    CHECK_EQ(sum_of(drops), dropped);
    CHECK(!vs_journal_take_drops(journal, drops));
}

static void a_position_is_reached_once_all_open_cursors_are_behind_it(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *a = cursor_of(journal, "a"), *b = cursor_of(journal, "b");
    put_many(journal, 3);
    uint64_t end = vs_ring_end(&journal->ring);
    CHECK(!vs_drain_reached(journal, end));
    drain_all(a);
    CHECK(!vs_drain_reached(journal, end));
    vs_cursor_close(b, false); /* its name is kept, but nobody is going to write */
    CHECK(vs_drain_reached(journal, end));
}

/* ---- the child of a fork ---- */

static vs_cursor *parents;

static int use_the_parents_cursor(void *unused)
{
    (void)unused;
    vs_batch batch;
    vs_word32 stop;
    vs_store_relaxed(&stop, 0);
    vs_pump_options options = {.run_ns = 1000000000};
    CHECK(!vs_cursor_take(parents, 1 << 16, &batch));
    CHECK(!vs_cursor_wait(parents, 0, NULL));
    CHECK_EQ(vs_cursor_pump(parents, 1, &options, &stop), VS_PUMP_STOPPED);
    vs_cursor_done(parents);
    vs_cursor_close(parents, true);
    return 0;
}

static void a_child_cannot_use_its_parents_cursor(void)
{
    setenv("VAULTSCOPE_LOG_BYTES", "65536", 1);
    for (int in_file = 0; in_file < 2; in_file++) {
        vs_journal *journal = in_file ? shared_journal(VS_POLICY_DROP) : small_journal(VS_POLICY_DROP);
        parents = cursor_of(journal, "a");
        vs_batch batch;
        put_many(journal, 3);
        CHECK(vs_cursor_take(parents, 1 << 16, &batch));
        CHECK_EQ(in_child(use_the_parents_cursor, NULL), 0);
        vs_cursor_done(parents);
        put_many(journal, 2);
        CHECK_EQ(drain_all(parents), 2);
        CHECK_EQ(written_by(parents), 5);
    }
}

int main(void)
{
    make_scratch();
    RUN(a_batch_is_given_again_until_it_is_done);
    RUN(a_batch_that_is_given_up_is_counted_as_missed);
    RUN(a_cursor_stops_before_a_record_that_is_being_written);
    RUN(waiting_ends_with_its_time_and_with_stop);
    RUN(a_name_is_used_once_and_eight_are_all);
    RUN(a_cursor_that_is_closed_and_not_forgotten_goes_on_where_it_was);
    RUN(a_cursor_that_is_forgotten_keeps_nothing);
    RUN(who_lags_by_more_than_half_the_ring_misses_the_oldest);
    RUN(a_single_cursor_that_stops_is_waited_for);
    RUN(a_batch_that_was_taken_is_not_charged_when_it_is_overwritten);
    RUN(what_is_overwritten_of_a_batch_that_did_not_arrive_is_missed);
    RUN(produced_is_taken_and_missed_and_dropped_by_level_with_any_number_of_threads);
    RUN(drops_are_told_of_once);
    RUN(a_position_is_reached_once_all_open_cursors_are_behind_it);
    RUN(a_child_cannot_use_its_parents_cursor);
    remove_scratch();
    return check_report();
}
