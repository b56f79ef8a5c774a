/* Journals: what a full ring does to the caller, what is counted, who may only look, and where a call may stand. */
#define _GNU_SOURCE
#include <sys/time.h>

#include "log_fixture.h"

static bool log_one(const vs_logger *logger, vs_level level)
{
    return vs_log_write(logger, level, "message", (const vs_field[]){vs_field_u64("n", 1), VS_LOG_END_});
}

/* ---- opening ---- */

static void sizes_and_policies_out_of_range_are_refused(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(SMALL_STRIPES, &arena);
    vs_journal *journal = NULL;
    const vs_journal_options bad[] = {{.ring_bytes = (64 << 10) - 1}, {.ring_bytes = (UINT64_C(1) << 30) + 1}, {.policy = (vs_policy)3}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(vs_journal_open(registry, &bad[i], &journal), VS_E_INVALID);
    setenv("VAULTSCOPE_LOG_BYTES", "much", 1);
    CHECK_EQ(vs_journal_open(registry, NULL, &journal), VS_E_INVALID);
    setenv("VAULTSCOPE_LOG_BYTES", "100000", 1);
    CHECK_EQ(vs_journal_open(registry, NULL, &journal), VS_OK);
    CHECK_EQ(journal->ring.cells * VS_RING_CELL, 128 << 10);
}

static void journals_over_one_file_share_its_ring(void)
{
    vs_journal *one = shared_journal(VS_POLICY_DROP), *two = shared_journal(VS_POLICY_OVERWRITE);
    vs_logger *a = logger_of(one, "a"), *b = logger_of(two, "b");
    CHECK(log_one(a, VS_INFO) && log_one(b, VS_INFO));
    CHECK_EQ(drain_all(cursor_of(one, "x")), 2);
    CHECK_EQ(counter_total(one->logged[VS_INFO]), 2);
}

/* ---- a full ring ---- */

static void drop_counts_each_record_that_found_no_room_by_level(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_logger *logger = logger_of(journal, "a");
    cursor_of(journal, "stopped");
    uint64_t dropped[VS_LEVELS] = {0}, done[VS_LEVELS] = {0};
    for (uint64_t i = 0; i < 6 * 1000; i++) {
        vs_level level = (vs_level)(i % VS_LEVELS);
        (*(log_one(logger, level) ? &done[level] : &dropped[level]))++;
    }
    for (uint32_t level = 0; level < VS_LEVELS; level++) {
        CHECK_EQ(counter_total(journal->dropped[level]), dropped[level]);
        CHECK_EQ(counter_total(journal->logged[level]), done[level]);
        CHECK(dropped[level] != 0);
    }
    CHECK(done[VS_ERROR] > done[VS_WARN]);
}

static void block_waits_as_long_as_it_is_told_and_no_longer(void)
{
    vs_journal *journal = small_journal(VS_POLICY_BLOCK);
    vs_logger *logger = logger_of(journal, "a");
    vs_cursor *cursor = cursor_of(journal, "stopped");
    int64_t began = vs_clock_monotonic_ns(), last = began;
    while (log_one(logger, VS_INFO))
        last = vs_clock_monotonic_ns();
    CHECK(vs_clock_monotonic_ns() - last >= 20000000);
    CHECK_EQ(counter_total(journal->dropped[VS_INFO]), 1);
    CHECK(log_one(logger, VS_ERROR)); /* the head-room */
    drain_all(cursor);
    CHECK(log_one(logger, VS_INFO));
}

static void *drain_later(void *cursor)
{
    vs_cursor_wait(cursor, 1000000000, NULL);
    for (int i = 0; i < 50; i++)
        sched_yield();
    return (void *)(uintptr_t)drain_all(cursor);
}

static void block_goes_on_when_there_is_room(void)
{
    vs_arena *arena;
    vs_journal_options options = {.ring_bytes = RING_BYTES, .policy = VS_POLICY_BLOCK, .block_ns = UINT64_C(60000000000)};
    vs_journal *journal = NULL;
    CHECK_EQ(vs_journal_open(registry_with_stripes(SMALL_STRIPES, &arena), &options, &journal), VS_OK);
    vs_logger *logger = logger_of(journal, "a");
    vs_cursor *cursor = cursor_of(journal, "slow");
    for (uint64_t i = 0; i < RING_CELLS / 8 * 7 / 2; i++)
        CHECK(log_one(logger, VS_INFO)); /* two cells each */
    CHECK_EQ(counter_total(journal->dropped[VS_INFO]), 0);
    pthread_t thread;
    void *got;
    errno = 77;
    pthread_create(&thread, NULL, drain_later, cursor);
    CHECK(log_one(logger, VS_INFO));
    CHECK_EQ(errno, 77);
    pthread_join(thread, &got);
    CHECK((uintptr_t)got + drain_all(cursor) == RING_CELLS / 8 * 7 / 2 + 1);
}

static void try_put_does_not_count_what_found_no_room(void)
{
    vs_journal *journal = small_journal(VS_POLICY_BLOCK);
    cursor_of(journal, "stopped");
    uint64_t record[8];
    size_t size = fill_record(record, 1, 8);
    while (vs_journal_try_put(journal, VS_INFO, record, size) == VS_PUT_DONE) {
    }
    CHECK_EQ(vs_journal_try_put(journal, VS_INFO, record, size), VS_PUT_FULL);
    CHECK_EQ(total_of(journal->dropped), 0);
    CHECK_EQ(vs_journal_try_put(journal, VS_INFO, record, 0), VS_PUT_REFUSED);
    CHECK_EQ(counter_total(journal->dropped[VS_INFO]), 1);
}

static void a_level_that_is_none_is_fatal(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    uint64_t record[8];
    CHECK(log_one(logger_of(journal, "a"), VS_OFF));
    CHECK(vs_journal_put(journal, (vs_level)7, record, fill_record(record, 1, 8)));
    CHECK(vs_journal_put(journal, (vs_level)1000000, record, fill_record(record, 1, 8)));
    CHECK_EQ(counter_total(journal->logged[VS_FATAL]), 3);
    vs_cursor *cursor = cursor_of(journal, "a");
    vs_batch batch;
    CHECK(vs_cursor_take(cursor, 1 << 16, &batch));
    CHECK_EQ(batch.records[VS_FATAL], 3);
}

/* ---- looking only ---- */

static int fill_file(void *unused)
{
    (void)unused;
    vs_logger *logger = logger_of(shared_journal(VS_POLICY_DROP), "a");
    for (int i = 0; i < 10; i++)
        CHECK(log_one(logger, VS_INFO));
    return 0;
}

static int only_look(void *unused)
{
    (void)unused;
    vs_journal *journal = NULL;
    CHECK_EQ(vs_journal_open(registry_at("log", VS_ARENA_READ, NULL), NULL, &journal), VS_OK);
    uint64_t record[VS_LOG_BYTES_MAX / 8], at = vs_ring_oldest(&journal->ring), next, records = 0, drops[VS_LEVELS];
    size_t size;
    for (; vs_ring_look(&journal->ring, at, record, &size, &next) == VS_LOOK_RECORD; at = next)
        records += ((vs_log_head *)record)->size <= size;
    CHECK_EQ(records, 10);
    CHECK_EQ(at, vs_ring_end(&journal->ring));
    vs_cursor *cursor = NULL;
    CHECK_EQ(vs_cursor_open(journal, text_of("a"), &cursor), VS_E_READ_ONLY);
    CHECK(!vs_drain_claim(journal));
    CHECK(!vs_journal_put(journal, VS_INFO, record, 64));
    CHECK(!log_one(logger_of(journal, "a"), VS_ERROR));
    CHECK(!vs_journal_take_drops(journal, drops));
    CHECK_EQ(vs_ring_end(&journal->ring), at);
    vs_journal_close(journal);
    return 0;
}

static void who_opened_the_arena_to_read_looks_and_changes_nothing(void)
{
    CHECK_EQ(in_child(fill_file, NULL), 0);
    char path[PATH_BYTES];
    in_scratch(path, "log");
    for (int mode = 0; mode < 2; mode++) {
        CHECK_EQ(chmod(path, mode == 0 ? 0600 : 0400), 0);
        CHECK_EQ(in_child(only_look, NULL), 0);
    }
}

static int make_without_ring(void *unused)
{
    (void)unused;
    shared_registry("other", NULL);
    return 0;
}

static void a_file_without_a_ring_has_nothing_to_be_read(void)
{
    CHECK_EQ(in_child(make_without_ring, NULL), 0);
    vs_journal *journal = NULL;
    CHECK_EQ(vs_journal_open(registry_at("other", VS_ARENA_READ, NULL), NULL, &journal), VS_E_NOT_FOUND);
}

/* ---- where a call may stand ---- */

static vs_logger *common;
static volatile sig_atomic_t handled;

static void log_in_handler(int signal)
{
    (void)signal;
    handled = handled + log_one(common, VS_WARN);
}

static void a_call_may_interrupt_a_call(void)
{
    vs_journal *journal = small_journal(VS_POLICY_OVERWRITE);
    common = logger_of(journal, "a");
    struct sigaction action = {.sa_handler = log_in_handler, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    uint64_t done = 0;
    while (handled < 1000)
        done += log_one(common, VS_INFO);
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK_EQ(counter_total(journal->logged[VS_INFO]), done);
    CHECK_EQ(counter_total(journal->logged[VS_WARN]), handled);
}

static void log_after_fork(void) { log_one(common, VS_ERROR); }

static int count_in_child(void *journal)
{
    vs_journal *mine = journal;
    vs_cursor *cursor = cursor_of(mine, "child");
    CHECK_EQ(drain_all(cursor), mine->ring.file == NULL ? 1 : 0);
    return 0;
}

static void an_atfork_handler_may_log_in_the_child(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    common = logger_of(journal, "a");
    CHECK(log_one(common, VS_INFO));
    pthread_atfork(NULL, NULL, log_after_fork);
    CHECK_EQ(in_child(count_in_child, journal), 0);
    CHECK_EQ(drain_all(cursor_of(journal, "parent")), 1);
}

static pthread_key_t key;
static void log_at_exit(void *unused)
{
    (void)unused;
    log_one(common, VS_FATAL);
}

static void *leave_with_destructor(void *unused)
{
    (void)unused;
    log_one(common, VS_INFO);
    pthread_setspecific(key, &key);
    return NULL;
}

static void a_destructor_at_thread_exit_may_log(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    common = logger_of(journal, "a");
    CHECK_EQ(pthread_key_create(&key, log_at_exit), 0);
    run_threads(20, leave_with_destructor, NULL);
    CHECK_EQ(drain_all(cursor_of(journal, "a")), 40);
    CHECK_EQ(counter_total(journal->logged[VS_FATAL]), 20);
}

/* ---- several processes ---- */

enum { PROCESSES = 4, EACH = SANITIZED ? 2000 : 10000 };
static stage *together;

static int log_many(void *unused)
{
    (void)unused;
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_logger *logger = logger_of(journal, "a");
    meet(together);
    uint64_t done = 0;
    for (int i = 0; i < EACH; i++)
        done += log_one(logger, (vs_level)(i % VS_LEVELS));
    vs_add_relaxed(&together->done[0], done);
    vs_add_release(&together->done[1], 1u);
    return 0;
}

static void processes_that_share_a_file_are_accounted_for(void)
{
    together = new_stage();
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        children[i] = start(log_many, NULL);
    await(&together->ready, PROCESSES);
    vs_store_release(&together->go, 1);
    uint64_t got = 0;
    for (bool last = false; !last; sched_yield()) {
        last = vs_load_acquire(&together->done[1]) == PROCESSES;
        got += drain_all(cursor);
    }
    for (int i = 0; i < PROCESSES; i++)
        CHECK_EQ(outcome(children[i]), 0);
    CHECK_EQ(got, vs_load_relaxed(&together->done[0]));
    CHECK_EQ(got, total_of(journal->logged));
    CHECK_EQ(got + total_of(journal->dropped), PROCESSES * EACH);
    CHECK_EQ(missed_by(cursor), 0);
    CHECK_EQ(total_of(journal->killed) + total_of(journal->overwritten), 0);
}

int main(void)
{
    make_scratch();
    RUN(sizes_and_policies_out_of_range_are_refused);
    RUN(journals_over_one_file_share_its_ring);
    RUN(drop_counts_each_record_that_found_no_room_by_level);
    RUN(block_waits_as_long_as_it_is_told_and_no_longer);
    RUN(block_goes_on_when_there_is_room);
    RUN(try_put_does_not_count_what_found_no_room);
    RUN(a_level_that_is_none_is_fatal);
    RUN(who_opened_the_arena_to_read_looks_and_changes_nothing);
    RUN(a_file_without_a_ring_has_nothing_to_be_read);
    RUN(a_call_may_interrupt_a_call);
    RUN(an_atfork_handler_may_log_in_the_child);
    RUN(a_destructor_at_thread_exit_may_log);
    RUN(processes_that_share_a_file_are_accounted_for);
    remove_scratch();
    return check_report();
}
