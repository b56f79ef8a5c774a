/* Processes that die at every point of a put, of a format, of a takeover: what they left is void, or whole, and holds up nobody. */
#define _GNU_SOURCE
#include "log_fixture.h"

static stage *together;

static int killed_self(void)
{
    raise(SIGKILL);
    return 0;
}

/* ---- a writer that is killed after each of its steps ---- */

enum step { MARKED = 1, HEAD_MOVED, HALF_WRITTEN, WRITTEN, COMMITTED, STEPS = COMMITTED };

/* Puts a record by hand, as far as the step, and is killed. */
static int put_as_far_as(void *step)
{
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_ring *ring = &journal->ring;
    uint64_t record[24], at = vs_ring_end(ring), seen = vs_load_relaxed(vs_ring_mark(ring, at));
    fill_record(record, 77, 24);
    CHECK(vs_cas_acquire(vs_ring_mark(ring, at), &seen, vs_mark(vs_ring_lap(ring, at), 3, ring->file->entry, VS_WARN, VS_MARK_WRITING)));
    if (*(int *)step >= HEAD_MOVED)
        vs_store_relaxed(&ring->words->head, at + 3);
    for (size_t i = 0; i < (*(int *)step >= WRITTEN ? 24 : *(int *)step >= HALF_WRITTEN ? 12 : 0); i++)
        vs_store_release(&vs_ring_cell(ring, at)[i], record[i]);
    if (*(int *)step >= COMMITTED)
        vs_store_release(vs_ring_mark(ring, at), vs_mark(vs_ring_lap(ring, at), 3, ring->file->entry, VS_WARN, VS_MARK_WHOLE));
    return killed_self();
}

enum finder { CURSOR, REAPER, NEXT_PROCESS, FINDERS };

static int arrive(void *unused)
{
    (void)unused;
    shared_journal(VS_POLICY_DROP);
    return 0;
}

static void check_killed_writer(int step, enum finder finder)
{
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    CHECK_EQ(put_record(&journal->ring, VS_INFO, VS_POLICY_DROP, 1, 8), VS_PUT_DONE);
    CHECK_EQ(in_child(put_as_far_as, &step), BY_SIGNAL + SIGKILL);
    CHECK_EQ(put_record(&journal->ring, VS_INFO, VS_POLICY_DROP, 2, 8), VS_PUT_DONE);
    if (finder == REAPER)
        CHECK_EQ(vs_arena_reap(journal->registry->arena), 1);
    else if (finder == NEXT_PROCESS)
        CHECK_EQ(in_child(arrive, NULL), 0);
    uint64_t got = 0;
    while (vs_cursor_wait(cursor, finder == CURSOR ? 100000000 : 0, NULL))
        got += drain_all(cursor);
    CHECK_EQ(got, step == COMMITTED ? 3 : 2);
    CHECK_EQ(counter_total(journal->killed[VS_WARN]), step == COMMITTED ? 0 : 1);
    CHECK_EQ(total_of(journal->killed), step == COMMITTED ? 0 : 1);
    CHECK(vs_drain_reached(journal, vs_ring_end(&journal->ring)));
}

static int step_;
static enum finder finder_;
static void check_one(void) { check_killed_writer(step_, finder_); }

static void a_writer_that_is_killed_leaves_a_void_or_a_whole_record(void)
{
    for (step_ = MARKED; step_ <= STEPS; step_++)
        for (finder_ = CURSOR; finder_ < FINDERS; finder_++)
            RUN(check_one);
}

static void a_writer_finds_room_though_the_oldest_record_is_of_a_dead_one(void)
{
    vs_journal *journal = shared_journal(VS_POLICY_OVERWRITE);
    int step = HALF_WRITTEN;
    CHECK_EQ(in_child(put_as_far_as, &step), BY_SIGNAL + SIGKILL);
    uint64_t put = 0;
    for (uint64_t i = 0; i < 4 * RING_CELLS; i++)
        put += put_record(&journal->ring, VS_INFO, VS_POLICY_OVERWRITE, i, 8) == VS_PUT_DONE;
    CHECK(put > 2 * RING_CELLS); /* it asks once in 256 times */
    CHECK_EQ(counter_total(journal->killed[VS_WARN]), 1);
}

static int put_two_as_far_as(void *step)
{
    vs_ring ring = shared_journal(VS_POLICY_DROP)->ring;
    for (int i = 0; i < 5; i++) {
        uint64_t at = vs_ring_end(&ring);
        vs_store_relaxed(vs_ring_mark(&ring, at), vs_mark(vs_ring_lap(&ring, at), 1, ring.file->entry, VS_WARN, VS_MARK_WRITING));
    }
    return put_as_far_as(step);
}

/* The entry is given to the next process: what the dead one left must not pass for that one's. */
static void nothing_of_a_dead_process_is_left_to_the_next_one_of_its_entry(void)
{
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    int step = MARKED;
    CHECK_EQ(in_child(put_two_as_far_as, &step), BY_SIGNAL + SIGKILL);
    CHECK_EQ(in_child(arrive, NULL), 0); /* takes the entry, and is dead soon */
    vs_arena_reap(journal->registry->arena);
    put_record(&journal->ring, VS_INFO, VS_POLICY_DROP, 2, 8);
    CHECK_EQ(counter_total(journal->killed[VS_WARN]), 6);
    CHECK_EQ(drain_all(cursor), 1);
}

/* ---- who drains ---- */

static int drain_and_stay(void *how)
{
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    vs_batch batch;
    if (*(int *)how == 1)
        CHECK(vs_cursor_take(cursor, 1, &batch)); /* one, which it does not acknowledge */
    if (*(int *)how == 2) /* as while it formats */
        vs_or_acq_rel(&journal->ring.words->tail, VS_TAIL_PINNED);
    vs_add_release(&together->ready, 1u);
    await(&together->go, 1);
    return 0;
}

static void check_takeover(int how)
{
    together = new_stage();
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    for (uint64_t i = 0; i < 50; i++)
        put_record(&journal->ring, VS_INFO, VS_POLICY_DROP, i, 8);
    pid_t drainer = start(drain_and_stay, &how);
    await(&together->ready, 1);
    vs_cursor *cursor = NULL;
    CHECK_EQ(vs_cursor_open(journal, text_of("a"), &cursor), VS_E_BUSY);
    CHECK(!vs_drain_claim(journal));
    CHECK_EQ(kill_9(drainer), BY_SIGNAL + SIGKILL);
    cursor = cursor_of(journal, "a");
    CHECK_EQ(vs_load_relaxed(&journal->ring.words->tail) & VS_TAIL_PINNED, 0);
    CHECK_EQ(drain_all(cursor), 50);
}

static void another_process_takes_over_where_the_drainer_was_killed(void) { check_takeover(0); }
static void what_the_dead_drainer_had_taken_is_given_again(void) { check_takeover(1); }
static void a_tail_that_the_dead_drainer_pinned_is_unpinned(void) { check_takeover(2); }

static int drain_and_leave(void *unused)
{
    (void)unused;
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    CHECK_EQ(drain_all(cursor), 5);
    vs_cursor_close(cursor, false);
    return 0;
}

static void who_closes_his_last_cursor_lets_another_process_drain(void)
{
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    for (uint64_t i = 0; i < 5; i++)
        put_record(&journal->ring, VS_INFO, VS_POLICY_DROP, i, 8);
    CHECK_EQ(in_child(drain_and_leave, NULL), 0);
    CHECK_EQ(in_child(arrive, NULL), 0);
    CHECK_EQ(drain_all(cursor_of(journal, "a")), 0);
}

/* Nobody drains any more, and nobody reaps; but the policy is to overwrite. */
static void a_writer_unpins_the_tail_for_a_dead_drainer(void)
{
    together = new_stage();
    vs_journal *journal = shared_journal(VS_POLICY_OVERWRITE);
    put_record(&journal->ring, VS_INFO, VS_POLICY_OVERWRITE, 1, 8);
    int how = 2;
    pid_t drainer = start(drain_and_stay, &how);
    await(&together->ready, 1);
    uint64_t put = 0;
    for (uint64_t i = 0; i < 3 * RING_CELLS; i++)
        put += put_record(&journal->ring, VS_INFO, VS_POLICY_OVERWRITE, i, 8) == VS_PUT_DONE;
    CHECK_EQ(put, RING_CELLS - 1); /* he lives, as far as anybody knows */
    kill_9(drainer);
    put = 0;
    for (uint64_t i = 0; i < 2 * RING_CELLS; i++)
        put += put_record(&journal->ring, VS_INFO, VS_POLICY_OVERWRITE, i, 8) == VS_PUT_DONE;
    CHECK(put > RING_CELLS);
}

/* ---- killed at random, with others at work ---- */

enum { ROUNDS = SANITIZED ? 10 : 60, KILLED_WRITERS = 3 };

static int write_until_killed(void *number)
{
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    uint64_t me = *(uint64_t *)number;
    vs_add_release(&together->ready, 1u);
    for (uint64_t i = 0;; i++) {
        uint64_t record[WORDS_MAX];
        if (vs_journal_put(journal, (vs_level)(i % VS_LEVELS), record, fill_record(record, me << 32 | i, 2 + i * 7 % 60)))
            vs_add_relaxed(&together->done[me], 1u);
        else
            sched_yield();
    }
    return 0;
}

/* Each record that a writer knows to be in the ring comes out; one more may, of each, that it did not get to count. */
static void writers_that_are_killed_at_random_lose_nothing(void)
{
    together = new_stage();
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    uint64_t got = 0;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        pid_t children[KILLED_WRITERS];
        for (uint64_t i = 0; i < KILLED_WRITERS; i++)
            children[i] = start(write_until_killed, &i);
        int64_t end = vs_clock_monotonic_ns() + 1000000 + (int64_t)(mixed(round, 7) % 3000000);
        while (vs_clock_monotonic_ns() < end || vs_load_relaxed(&together->ready) < (round + 1) * KILLED_WRITERS)
            got += drain_all(cursor);
        for (uint64_t i = 0; i < KILLED_WRITERS; i++)
            kill_9(children[i]);
    }
    while (vs_cursor_wait(cursor, 50000000, NULL))
        got += drain_all(cursor);
    uint64_t known = 0;
    for (uint64_t i = 0; i < KILLED_WRITERS; i++)
        known += vs_load_relaxed(&together->done[i]);
    CHECK(known > ROUNDS);
    CHECK(got >= known && got <= known + ROUNDS * KILLED_WRITERS);
    CHECK_EQ(missed_by(cursor), 0);
    CHECK(total_of(journal->logged) >= known && total_of(journal->logged) <= got);
    CHECK_EQ(drain_all(cursor), 0);
    CHECK(vs_drain_reached(journal, vs_ring_end(&journal->ring)));
}

int main(void)
{
    make_scratch();
    a_writer_that_is_killed_leaves_a_void_or_a_whole_record();
    RUN(a_writer_finds_room_though_the_oldest_record_is_of_a_dead_one);
    RUN(nothing_of_a_dead_process_is_left_to_the_next_one_of_its_entry);
    RUN(another_process_takes_over_where_the_drainer_was_killed);
    RUN(what_the_dead_drainer_had_taken_is_given_again);
    RUN(a_tail_that_the_dead_drainer_pinned_is_unpinned);
    RUN(who_closes_his_last_cursor_lets_another_process_drain);
    RUN(a_writer_unpins_the_tail_for_a_dead_drainer);
    RUN(writers_that_are_killed_at_random_lose_nothing);
    remove_scratch();
    return check_report();
}
