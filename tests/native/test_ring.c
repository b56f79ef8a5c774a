/* The log ring by itself: laps, padding, a head that lags behind, room, and looking from outside while it is overwritten. */
#define _GNU_SOURCE
#include <sys/time.h>

#include "log_fixture.h"

static vs_ring *ring_of(vs_policy policy) { return &small_journal(policy)->ring; }

/* Reads all from *at to the end: the number of records, all of which must be whole and follow each other from *key. */
static uint64_t read_on(const vs_ring *ring, uint64_t *at, uint64_t *key)
{
    uint64_t record[VS_LOG_BYTES_MAX / 8], next, records = 0;
    size_t size;
    for (;;) {
        vs_look look = vs_ring_look(ring, *at, record, &size, &next);
        if (look == VS_LOOK_RECORD) {
            if (!is_record(record, size) || record[0] != *key)
                return UINT64_MAX;
            ++*key;
            records++;
        } else if (look != VS_LOOK_VOID) {
            return look == VS_LOOK_END ? records : UINT64_MAX;
        }
        *at = next;
    }
}

static void records_of_all_sizes_come_out_whole_and_in_order_over_many_laps(void)
{
    vs_ring *ring = ring_of(VS_POLICY_DROP);
    uint64_t at = vs_ring_end(ring), key = 0, laps = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        CHECK_EQ(put_record(ring, VS_INFO, VS_POLICY_DROP, i, 2 + i * 7 % 500), VS_PUT_DONE);
        if (!CHECK_EQ(read_on(ring, &at, &key), 1))
            return;
    }
    laps = vs_ring_end(ring) / RING_CELLS;
    CHECK(laps > 500);
    CHECK_EQ(key, 20000);
}

static void what_does_not_fit_before_the_end_of_the_region_begins_at_its_front(void)
{
    vs_ring *ring = ring_of(VS_POLICY_DROP);
    for (uint64_t i = 0; i < RING_CELLS - 3; i++)
        put_record(ring, VS_INFO, VS_POLICY_DROP, i, 8);
    uint64_t at = vs_ring_end(ring), next, record[VS_LOG_BYTES_MAX / 8];
    size_t size;
    CHECK_EQ(vs_ring_index(ring, at), RING_CELLS - 3);
    CHECK_EQ(put_record(ring, VS_INFO, VS_POLICY_DROP, 7, 8 * 4), VS_PUT_DONE);
    CHECK_EQ(vs_ring_look(ring, at, record, &size, &next), VS_LOOK_VOID);
    CHECK_EQ(next, at + 3);
    CHECK_EQ(vs_ring_look(ring, next, record, &size, &next), VS_LOOK_RECORD);
    CHECK_EQ(vs_ring_index(ring, at + 3), 0);
    CHECK_EQ(record[0], 7);
}

static void a_record_may_fill_the_region_to_its_end(void)
{
    vs_ring *ring = ring_of(VS_POLICY_DROP);
    for (uint64_t i = 0; i < RING_CELLS - 3; i++)
        put_record(ring, VS_INFO, VS_POLICY_DROP, i, 8);
    uint64_t at = vs_ring_end(ring);
    CHECK_EQ(put_record(ring, VS_INFO, VS_POLICY_DROP, 7, 8 * 3), VS_PUT_DONE);
    CHECK_EQ(vs_ring_end(ring), at + 3);
    CHECK_EQ(vs_mark_state(vs_load_relaxed(vs_ring_mark(ring, at))), VS_MARK_WHOLE);
}

/* As if so many laps had gone by. */
static void wind_to(vs_ring *ring, uint64_t position)
{
    vs_store_relaxed(&ring->words->head, position);
    vs_store_relaxed(&ring->words->tail, position);
}

static void positions_far_beyond_32_bits_are_positions(void)
{
    const uint64_t far[] = {(UINT64_C(1) << 32) - 5 * RING_CELLS, (UINT64_C(1) << 42) - 7, ((UINT64_C(1) << 36) - 4) * RING_CELLS};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        vs_ring *ring = ring_of(VS_POLICY_DROP);
        wind_to(ring, far[i]);
        uint64_t at = vs_ring_end(ring), key = 0, put = 0;
        while (vs_ring_end(ring) < far[i] + 2 * RING_CELLS) {
            CHECK_EQ(put_record(ring, VS_INFO, VS_POLICY_DROP, put, 2 + put % 90), VS_PUT_DONE);
            put++;
            if (!CHECK_EQ(read_on(ring, &at, &key), 1))
                return;
        }
    }
}

static void what_is_too_long_is_refused(void)
{
    vs_ring *ring = ring_of(VS_POLICY_DROP);
    uint64_t *record = calloc(1, VS_LOG_BYTES_MAX + 64);
    CHECK_EQ(vs_ring_put(ring, VS_INFO, VS_POLICY_DROP, record, 0), VS_PUT_REFUSED);
    CHECK_EQ(vs_ring_put(ring, VS_INFO, VS_POLICY_DROP, record, RING_BYTES / 16), VS_PUT_DONE);
    CHECK_EQ(vs_ring_put(ring, VS_INFO, VS_POLICY_DROP, record, RING_BYTES / 16 + 1), VS_PUT_REFUSED);
    vs_arena *arena;
    vs_journal *large = NULL;
    vs_journal_options options = {.ring_bytes = 4 << 20};
    CHECK_EQ(vs_journal_open(registry_with_stripes(1, &arena), &options, &large), VS_OK);
    CHECK_EQ(vs_ring_put(&large->ring, VS_INFO, VS_POLICY_DROP, record, VS_LOG_BYTES_MAX), VS_PUT_DONE);
    CHECK_EQ(vs_ring_put(&large->ring, VS_INFO, VS_POLICY_DROP, record, VS_LOG_BYTES_MAX + 1), VS_PUT_REFUSED);
    free(record);
}

/* ---- a writer that stops ---- */

/* The first exchange of a put, by hand: the mark, and not the head. */
static uint64_t begin_by_hand(vs_ring *ring, uint64_t cells)
{
    uint64_t at = vs_ring_end(ring);
    vs_store_relaxed(vs_ring_mark(ring, at), vs_mark(vs_ring_lap(ring, at), cells, 0, VS_INFO, VS_MARK_WRITING));
    return at;
}

static void a_writer_that_stops_after_the_mark_holds_up_no_writer(void)
{
    vs_ring *ring = ring_of(VS_POLICY_DROP);
    uint64_t at = begin_by_hand(ring, 5), record[WORDS_MAX], next;
    size_t size;
    CHECK_EQ(vs_load_relaxed(&ring->words->head), at);
    CHECK_EQ(vs_ring_end(ring), at + 5);
    CHECK_EQ(put_record(ring, VS_INFO, VS_POLICY_DROP, 1, 8), VS_PUT_DONE);
    CHECK_EQ(vs_load_relaxed(&ring->words->head), at + 6);
    CHECK_EQ(vs_ring_look(ring, at, record, &size, &next), VS_LOOK_WRITING);
    CHECK_EQ(vs_ring_look(ring, at + 5, record, &size, &next), VS_LOOK_RECORD);
}

static void a_record_that_is_being_written_is_not_overwritten(void)
{
    vs_ring *ring = ring_of(VS_POLICY_OVERWRITE);
    uint64_t at = begin_by_hand(ring, 1), put = 0;
    while (put_record(ring, VS_INFO, VS_POLICY_OVERWRITE, put, 8) == VS_PUT_DONE)
        put++;
    CHECK_EQ(put, RING_CELLS - 1);
    CHECK_EQ(vs_mark_state(vs_load_relaxed(vs_ring_mark(ring, at))), VS_MARK_WRITING);
    vs_store_release(vs_ring_mark(ring, at), vs_mark(vs_ring_lap(ring, at), 1, 0, VS_INFO, VS_MARK_WHOLE));
    CHECK_EQ(put_record(ring, VS_INFO, VS_POLICY_OVERWRITE, put, 8), VS_PUT_DONE);
}

/* ---- room ---- */

static uint64_t put_until_full(vs_ring *ring, vs_level level, vs_policy policy)
{
    uint64_t put = 0;
    while (put <= 2 * RING_CELLS && put_record(ring, level, policy, put, 8) == VS_PUT_DONE)
        put++;
    return put;
}

static void a_flood_of_debug_drops_no_error_until_the_head_room_is_full(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    cursor_of(journal, "slow");
    CHECK_EQ(put_until_full(&journal->ring, VS_DEBUG, VS_POLICY_DROP), RING_CELLS / 8 * 7);
    CHECK_EQ(put_record(&journal->ring, VS_WARN, VS_POLICY_DROP, 0, 8), VS_PUT_FULL);
    CHECK_EQ(put_until_full(&journal->ring, VS_ERROR, VS_POLICY_DROP), RING_CELLS / 8);
    CHECK_EQ(put_record(&journal->ring, VS_FATAL, VS_POLICY_DROP, 0, 8), VS_PUT_FULL);
}

static void without_a_cursor_the_oldest_is_overwritten_whatever_the_policy(void)
{
    for (vs_policy policy = VS_POLICY_DROP; policy <= VS_POLICY_BLOCK; policy++) {
        vs_journal *journal = small_journal(policy);
        CHECK_EQ(put_until_full(&journal->ring, VS_DEBUG, policy), 2 * RING_CELLS + 1);
        uint64_t room = policy == VS_POLICY_OVERWRITE ? 0 : RING_CELLS / 8;
        CHECK_EQ(counter_total(journal->overwritten[VS_DEBUG]), RING_CELLS + 1 + room);
    }
}

static void what_was_overwritten_is_lost_to_who_looks_and_the_oldest_is_found(void)
{
    vs_ring *ring = ring_of(VS_POLICY_OVERWRITE);
    uint64_t first = vs_ring_end(ring), record[WORDS_MAX], next;
    size_t size;
    CHECK_EQ(vs_ring_oldest(ring), first);
    for (uint64_t i = 0; i < 3000; i++)
        put_record(ring, VS_INFO, VS_POLICY_OVERWRITE, i, 8 * 3);
    CHECK_EQ(vs_ring_look(ring, first, record, &size, &next), VS_LOOK_LOST);
    uint64_t oldest = vs_ring_oldest(ring), end = vs_ring_end(ring);
    CHECK(oldest >= end - RING_CELLS && oldest < end - RING_CELLS + 3);
    CHECK_EQ(vs_ring_look(ring, oldest, record, &size, &next), VS_LOOK_RECORD);
    CHECK(is_record(record, size));
    CHECK_EQ(vs_ring_look(ring, end, record, &size, &next), VS_LOOK_END);
}

/* ---- marks ---- */

static void a_mark_tells_what_it_was_made_of(void)
{
    uint64_t mark = vs_mark((UINT64_C(1) << 36) - 1, VS_MARK_CELLS_MAX, 511, VS_FATAL, VS_MARK_VOID);
    CHECK_EQ(vs_mark_lap(mark), (UINT64_C(1) << 36) - 1);
    CHECK_EQ(vs_mark_cells(mark), VS_MARK_CELLS_MAX);
    CHECK_EQ(vs_mark_owner(mark), 511);
    CHECK_EQ(vs_mark_level(mark), VS_FATAL);
    CHECK_EQ(vs_mark_state(mark), VS_MARK_VOID);
    CHECK(VS_FILE_PROCESSES <= 511);
    CHECK(VS_LOG_BYTES_MAX / VS_RING_CELL <= VS_MARK_CELLS_MAX);
    CHECK_EQ(vs_mark_level(mark | UINT64_C(7) << VS_MARK_LEVEL_SHIFT), VS_FATAL);
}

/* ---- many at once ---- */

enum { WRITERS = 8, EACH = SANITIZED ? 4000 : 40000 };
static vs_ring *common;
static vs_word next_writer, writers_left, torn, looked;

static void *write_and_look(void *unused)
{
    (void)unused;
    uint64_t writer = vs_add_relaxed(&next_writer, 1u);
    if (writer < WRITERS) {
        for (uint64_t i = 0; i < EACH; i++)
            while (put_record(common, VS_INFO, VS_POLICY_OVERWRITE, writer << 32 | i, 2 + (i * 13 + writer) % 70) == VS_PUT_FULL)
                sched_yield(); /* the oldest is still being written */
        vs_add_release(&writers_left, (uint64_t)-1);
        return NULL;
    }
    uint64_t record[VS_LOG_BYTES_MAX / 8], next, last[WRITERS] = {0}, at = vs_ring_oldest(common);
    size_t size;
    for (;;) { /* until all are done, and what they left is looked at */
        bool is_over = vs_load_acquire(&writers_left) == 0;
        vs_look look = vs_ring_look(common, at, record, &size, &next);
        if (look == VS_LOOK_RECORD) {
            uint64_t from = record[0] >> 32;
            bool whole = is_record(record, size) && from < WRITERS && (uint32_t)record[0] >= last[from];
            vs_add_relaxed(&torn, !whole);
            vs_add_relaxed(&looked, 1u);
            if (whole)
                last[from] = (uint32_t)record[0];
        }
        if (look == VS_LOOK_RECORD || look == VS_LOOK_VOID)
            at = next;
        else if (look == VS_LOOK_LOST)
            at = vs_ring_oldest(common);
        else if (is_over)
            return NULL;
        else
            sched_yield();
    }
}

static void what_is_looked_at_under_overwriting_writers_is_whole_and_in_order(void)
{
    common = ring_of(VS_POLICY_OVERWRITE);
    vs_store_relaxed(&writers_left, WRITERS);
    run_threads(WRITERS + 2, write_and_look, NULL);
    CHECK_EQ(vs_load_relaxed(&torn), 0);
    CHECK(vs_load_relaxed(&looked) > 50);
}

/* ---- handlers and forks ---- */

static vs_ring *interrupted;
static volatile sig_atomic_t handled;

static void put_in_handler(int signal)
{
    (void)signal;
    if (put_record(interrupted, VS_WARN, VS_POLICY_OVERWRITE, 1, 30) == VS_PUT_DONE)
        handled = handled + 1;
}

static void a_put_may_interrupt_a_put(void)
{
    vs_journal *journal = small_journal(VS_POLICY_OVERWRITE);
    interrupted = &journal->ring;
    vs_cursor *cursor = cursor_of(journal, "all");
    struct sigaction action = {.sa_handler = put_in_handler, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    uint64_t put = 0, got = 0;
    int64_t end = vs_clock_monotonic_ns() + 30000000000;
    while (handled < 2000 && vs_clock_monotonic_ns() < end) {
        put += put_record(interrupted, VS_INFO, VS_POLICY_OVERWRITE, put, 200) == VS_PUT_DONE;
        if (put % 64 == 0)
            got += drain_all(cursor);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    got += drain_all(cursor);
    CHECK(handled >= 2000);
    CHECK_EQ(got + missed_by(cursor), put + (uint64_t)handled);
}

static vs_journal *inherited;

static int drain_in_child(void *unused)
{
    (void)unused;
    vs_cursor *cursor = cursor_of(inherited, "mine");
    CHECK_EQ(drain_all(cursor), 0);
    CHECK_EQ(put_record(&inherited->ring, VS_INFO, VS_POLICY_DROP, 1, 8), VS_PUT_DONE);
    CHECK_EQ(drain_all(cursor), 1);
    vs_cursor_close(cursor, true);
    return 0;
}

static void a_child_finds_the_ring_empty_and_the_parent_keeps_its_records(void)
{
    inherited = small_journal(VS_POLICY_DROP);
    for (uint64_t i = 0; i < 100; i++)
        put_record(&inherited->ring, VS_INFO, VS_POLICY_DROP, i, 8);
    begin_by_hand(&inherited->ring, 3); /* as another thread may leave it */
    CHECK_EQ(in_child(drain_in_child, NULL), 0);
    CHECK_EQ(drain_all(cursor_of(inherited, "mine")), 100);
}

int main(void)
{
    make_scratch();
    RUN(records_of_all_sizes_come_out_whole_and_in_order_over_many_laps);
    RUN(what_does_not_fit_before_the_end_of_the_region_begins_at_its_front);
    RUN(a_record_may_fill_the_region_to_its_end);
    RUN(positions_far_beyond_32_bits_are_positions);
    RUN(what_is_too_long_is_refused);
    RUN(a_writer_that_stops_after_the_mark_holds_up_no_writer);
    RUN(a_record_that_is_being_written_is_not_overwritten);
    RUN(a_flood_of_debug_drops_no_error_until_the_head_room_is_full);
    RUN(without_a_cursor_the_oldest_is_overwritten_whatever_the_policy);
    RUN(what_was_overwritten_is_lost_to_who_looks_and_the_oldest_is_found);
    RUN(a_mark_tells_what_it_was_made_of);
    RUN(what_is_looked_at_under_overwriting_writers_is_whole_and_in_order);
    RUN(a_put_may_interrupt_a_put);
    RUN(a_child_finds_the_ring_empty_and_the_parent_keeps_its_records);
    remove_scratch();
    return check_report();
}
