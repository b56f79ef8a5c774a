/* The processes of an arena: their gauges, their entries, the lock between them, and who of them is known to be dead. */
#define _GNU_SOURCE
#include <sys/syscall.h>

#include "file_fixture.h"

static stage *together;

static size_t processes_in(vs_registry *registry)
{
    vs_snapshot *snapshot = take_snapshot(registry);
    size_t processes = snapshot->processes;
    vs_snapshot_free(snapshot);
    return processes;
}

/* ---- gauges ---- */

static const char *const MODES[] = {"last", "sum", "min", "max", "all"};

static vs_gauge gauge_in(vs_registry *registry, vs_gauge_mode mode)
{
    vs_metric_spec spec = spec_of(VS_GAUGE, MODES[mode]);
    spec.mode = mode;
    vs_metric *metric = NULL;
    vs_series *series = NULL;
    if (vs_registry_declare(registry, &spec, &metric) != VS_OK || vs_metric_bind(metric, NULL, 0, &series) != VS_OK)
        _exit(REFUSED);
    return vs_series_gauge(series);
}

static int set_and_stay(void *value)
{
    vs_registry *registry = shared_registry("arena", NULL);
    for (vs_gauge_mode mode = VS_GAUGE_LAST; mode <= VS_GAUGE_ALL; mode++)
        if (value != NULL)
            vs_gauge_set(gauge_in(registry, mode), *(double *)value);
    meet(together);
    return 0;
}

/* Starts a process that sets every gauge, waits until it has, and leaves it alive. NULL: sets none. */
static pid_t setter(double *value)
{
    uint64_t before = vs_load_relaxed(&together->ready);
    pid_t child = start(set_and_stay, value);
    await(&together->ready, before + 1);
    return child;
}

static double number_of_pid(vs_registry *registry, pid_t pid)
{
    char labels[32];
    snprintf(labels, sizeof labels, "pid=\"%d\"", (int)pid);
    return number_of(registry, "all", labels);
}

static void gauges_of_live_processes_are_combined_by_their_mode(void)
{
    double values[] = {4.0, -1.0, 2.5};
    pid_t children[3];
    together = new_stage();
    vs_registry *registry = shared_registry("arena", NULL); /* this process writes none: it takes no part */
    for (int i = 0; i < 3; i++)
        children[i] = setter(&values[i]);
    pid_t silent = setter(NULL);
    CHECK(number_of(registry, "last", "") == 2.5);
    CHECK(number_of(registry, "sum", "") == 5.5);
    CHECK(number_of(registry, "min", "") == -1.0);
    CHECK(number_of(registry, "max", "") == 4.0);
    for (int i = 0; i < 3; i++)
        CHECK(number_of_pid(registry, children[i]) == values[i]);
    vs_snapshot *snapshot = take_snapshot(registry);
    CHECK_EQ(snapshot->processes, 5);
    CHECK_EQ(metric_in(snapshot, "all")->series_count, 3);
    vs_snapshot_free(snapshot);
    kill_9(children[1]); /* its gauges go with it; what was written last stays */
    CHECK(number_of(registry, "last", "") == 2.5);
    CHECK(number_of(registry, "sum", "") == 6.5);
    CHECK(number_of(registry, "min", "") == 2.5);
    CHECK(number_of_pid(registry, children[1]) != number_of_pid(registry, children[1])); /* NaN: it is not there */
    kill_9(children[0]);
    kill_9(children[2]);
    CHECK(number_of(registry, "sum", "") == 0.0);
    CHECK_EQ(processes_in(registry), 2);
    kill_9(silent);
}

static void a_zero_that_was_written_takes_part(void)
{
    double zero = 0.0, nan = zero / zero;
    together = new_stage();
    vs_registry *registry = shared_registry("arena", NULL);
    vs_gauge_set(gauge_in(registry, VS_GAUGE_MIN), 3.0);
    pid_t child = setter(&zero);
    CHECK(number_of(registry, "min", "") == 0.0);
    CHECK(number_of_pid(registry, child) == 0.0);
    kill_9(child);
    child = setter(&nan);
    CHECK(number_of(registry, "min", "") != number_of(registry, "min", "")); /* as in sums, it is not swept aside */
    kill_9(child);
    CHECK(number_of(registry, "min", "") == 3.0);
}

static vs_gauge inherited;

static int set_inherited(void *unused)
{
    (void)unused;
    CHECK(vs_gauge_read(inherited) == 0.0);
    vs_gauge_add(inherited, 7.0);
    CHECK(vs_gauge_read(inherited) == 7.0);
    meet(together);
    return 0;
}

static void the_child_of_a_fork_has_cells_of_its_own(void)
{
    together = new_stage();
    vs_registry *registry = shared_registry("arena", NULL);
    inherited = gauge_in(registry, VS_GAUGE_SUM);
    vs_gauge_set(inherited, 5.0);
    pid_t child = start(set_inherited, NULL);
    await(&together->ready, 1);
    CHECK(vs_gauge_read(inherited) == 5.0);
    CHECK(number_of(registry, "sum", "") == 12.0);
    vs_store_release(&together->go, 1);
    CHECK_EQ(outcome(child), 0);
    CHECK(number_of(registry, "sum", "") == 5.0);
}

/* ---- entries ---- */

static int gate[2];
static vs_counter counter;

/* Counts, and stays until the gate is closed. Waiting on a pipe: hundreds that yield to each other would take long. */
static int count_and_stay(void *unused)
{
    char nothing;
    (void)unused;
    close(gate[1]);
    for (int i = 0; i < 10; i++)
        vs_counter_inc(counter);
    vs_gauge_set(inherited, 1.0);
    vs_add_release(&together->ready, 1u);
    CHECK_EQ(read(gate[0], &nothing, 1), 0);
    return 0;
}

static void processes_beyond_the_table_are_refused_and_still_exact(void)
{
    enum { CHILDREN = VS_FILE_PROCESSES + 5 };
    static pid_t children[CHILDREN];
    together = new_stage();
    vs_registry *registry = shared_registry("arena", NULL);
    counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    inherited = gauge_in(registry, VS_GAUGE_SUM);
    CHECK_EQ(pipe(gate), 0);
    for (int i = 0; i < CHILDREN; i++)
        children[i] = start(count_and_stay, NULL);
    await(&together->ready, CHILDREN);
    vs_snapshot *snapshot = take_snapshot(registry);
    CHECK_EQ(snapshot->processes, VS_FILE_PROCESSES);
    CHECK_EQ(snapshot->processes_refused, CHILDREN + 1 - VS_FILE_PROCESSES);
    CHECK_EQ(snapshot->integers[series_in(snapshot, "c", "")], 10 * CHILDREN);
    CHECK(snapshot->numbers[series_in(snapshot, "sum", "")] == VS_FILE_PROCESSES - 1); /* this one wrote none */
    vs_snapshot_free(snapshot);
    close(gate[1]);
    for (int i = 0; i < CHILDREN; i++)
        CHECK_EQ(outcome(children[i]), 0);
    CHECK_EQ(processes_in(registry), 1);
    CHECK_EQ(count_of(registry, "c", ""), 10 * CHILDREN);
}

static int count_once(void *unused)
{
    (void)unused;
    vs_counter_inc(counter);
    return 0;
}

static void workers_that_come_and_go_unscraped_do_not_use_up_the_table(void)
{
    vs_registry *registry = shared_registry("arena", NULL);
    counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    for (int i = 0; i < VS_FILE_PROCESSES + 50; i++)
        CHECK_EQ(in_child(count_once, NULL), 0);
    vs_snapshot *snapshot = take_snapshot(registry);
    CHECK_EQ(snapshot->processes_refused, 0);
    CHECK_EQ(snapshot->integers[series_in(snapshot, "c", "")], VS_FILE_PROCESSES + 50);
    vs_snapshot_free(snapshot);
}

static int count_in_own(void *unused)
{
    (void)unused;
    counter = vs_series_counter(series_of(shared_registry("arena", NULL), VS_COUNTER, "c"));
    vs_counter_inc(counter);
    meet(together);
    return 0;
}

/* A live process that opened the arena by itself, before this one, and has its first entry. */
static pid_t neighbour(vs_registry **registry, vs_arena **arena, vs_process_entry **entry)
{
    together = new_stage();
    pid_t child = start(count_in_own, NULL);
    await(&together->ready, 1);
    *registry = shared_registry("arena", arena);
    *entry = &(*arena)->file->processes[0];
    CHECK_EQ(vs_load_relaxed(&(*entry)->who) & UINT32_MAX, child);
    CHECK_EQ(processes_in(*registry), 2);
    return child;
}

/* Changes a word of a live neighbour's entry, and expects it to be taken for dead or not. */
static void check_word(size_t word, uint64_t flip, bool dead)
{
    vs_registry *registry;
    vs_arena *arena;
    vs_process_entry *entry;
    empty_scratch();
    pid_t child = neighbour(&registry, &arena, &entry);
    vs_word *words = (vs_word *)entry;
    vs_store_relaxed(&words[word], vs_load_relaxed(&words[word]) ^ flip);
    CHECK_EQ(processes_in(registry), dead ? 1 : 2);
    CHECK_EQ(vs_load_relaxed(&entry->who) == 0, dead);
    CHECK_EQ(vs_arena_stripes_used(arena), dead ? 0 : 1);
    CHECK_EQ(count_of(registry, "c", ""), 1);
    kill_9(child);
}

#define WORD(field) (offsetof(vs_process_entry, field) / sizeof(vs_word))

static void a_pid_that_is_used_again_misleads_nobody(void) { check_word(WORD(start), 1, true); }
static void all_of_another_boot_are_dead(void) { check_word(WORD(boot), 1, true); }
static void the_program_of_another_process_says_nothing(void) { check_word(WORD(program), 1, false); }

static void a_process_of_another_pid_namespace_lives_as_long_as_its_lock(void)
{
    vs_registry *registry;
    vs_arena *arena;
    vs_process_entry *entry;
    pid_t child = neighbour(&registry, &arena, &entry);
    CHECK_EQ(vs_load_relaxed(&entry->locked), 1);
    vs_store_relaxed(&entry->who, vs_load_relaxed(&entry->who) ^ UINT64_C(1) << VS_PROCESS_SPACE_SHIFT);
    vs_store_relaxed(&entry->start, 1); /* in another namespace a pid and its start say nothing */
    CHECK_EQ(processes_in(registry), 2);
    kill_9(child);
    CHECK_EQ(processes_in(registry), 1);
    CHECK_EQ(vs_load_relaxed(&entry->who), 0);
}

static void one_of_another_namespace_that_got_no_lock_is_kept(void)
{
    vs_registry *registry;
    vs_arena *arena;
    vs_process_entry *entry;
    pid_t child = neighbour(&registry, &arena, &entry);
    vs_store_relaxed(&entry->who, vs_load_relaxed(&entry->who) ^ UINT64_C(1) << VS_PROCESS_SPACE_SHIFT);
    vs_store_relaxed(&entry->locked, 0);
    kill_9(child);
    CHECK_EQ(processes_in(registry), 2);
    CHECK_EQ(count_of(registry, "c", ""), 1);
}

static int outlive_descriptors(void *unused)
{
    (void)unused;
    shared_registry("arena", NULL);
    syscall(SYS_close_range, 3, ~0u, 0);
    meet(together);
    return 0;
}

static void a_process_that_closed_its_descriptors_keeps_its_lock(void)
{
    vs_arena *arena;
    together = new_stage();
    pid_t child = start(outlive_descriptors, NULL);
    await(&together->ready, 1);
    vs_registry *registry = shared_registry("arena", &arena);
    vs_process_entry *entry = &arena->file->processes[0];
    vs_store_relaxed(&entry->who, vs_load_relaxed(&entry->who) ^ UINT64_C(1) << VS_PROCESS_SPACE_SHIFT);
    CHECK_EQ(processes_in(registry), 2);
    kill_9(child);
    CHECK_EQ(processes_in(registry), 1);
}

static int snapshot_in_own(void *registry)
{
    CHECK_EQ(processes_in(registry), 2);
    return 0;
}

static void a_child_in_a_new_pid_namespace_takes_nobody_for_dead(void)
{
    vs_arena *arena;
    vs_registry *registry = shared_registry("arena", &arena);
    counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    vs_counter_inc(counter);
    if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
        CHECK(errno == EPERM || errno == ENOSPC || errno == EINVAL);
        fprintf(stderr, "no pid namespace can be had here: not tested\n");
        return;
    }
    CHECK_EQ(in_child(snapshot_in_own, registry), 0);
    CHECK(vs_load_relaxed(&arena->file->processes[0].who) != 0);
    CHECK_EQ(vs_load_relaxed(&arena->shared->owners[1]), arena->token);
}

static pid_t pid_of_a_dead(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    outcome(child);
    return child;
}

static void a_claim_that_is_half_made_is_given_up_with_its_process(void)
{
    vs_arena *arena;
    vs_registry *registry = shared_registry("arena", &arena);
    uint64_t here = arena->file->space << VS_PROCESS_SPACE_SHIFT, pid = (uint64_t)pid_of_a_dead();
    vs_word *who = &arena->file->processes[9].who;
    const struct {
        uint64_t who;
        bool dead;
    } claims[] = {{here | pid, true}, {here | (uint64_t)getpid(), false}, {here | 1, false},
                  {(here ^ UINT64_C(1) << VS_PROCESS_SPACE_SHIFT) | pid, false}};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        vs_store_relaxed(who, claims[i].who);
        CHECK_EQ(processes_in(registry), 1); /* shown it is not */
        CHECK_EQ(vs_load_relaxed(who), claims[i].dead ? 0 : claims[i].who);
    }
}

static void a_zombie_is_dead(void)
{
    vs_arena *arena;
    vs_registry *registry = shared_registry("arena", &arena);
    counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    pid_t child = start(count_once, NULL);
    siginfo_t info;
    CHECK_EQ(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0); /* it is not waited for */
    CHECK_EQ(processes_in(registry), 1);
    CHECK_EQ(vs_arena_stripes_used(arena), 0);
    CHECK_EQ(count_of(registry, "c", ""), 1);
    CHECK_EQ(outcome(child), 0);
}

/* ---- exec ---- */

static int count_and_execute(void *unused)
{
    (void)unused;
    count_in_own(NULL);
    execl("/proc/self/exe", "test_process", scratch, (char *)NULL);
    return 1;
}

/* What is executed: the same process with the same start, but its entry is another program's. */
static int after_exec(void)
{
    vs_arena *arena;
    vs_registry *registry = shared_registry("arena", &arena);
    CHECK_EQ(processes_in(registry), 1);
    CHECK_EQ(vs_arena_stripes_used(arena), 0);
    CHECK_EQ(count_of(registry, "c", ""), 1);
    vs_process_entry *entry = &arena->file->processes[5]; /* a second copy of the library in this process */
    *entry = arena->file->processes[arena->file->entry - 1];
    CHECK_EQ(processes_in(registry), 2);
    vs_registry_release(registry);
    return check_failed == 0 ? 0 : FAILED;
}

static void a_process_that_executes_another_program_frees_its_entry(void)
{
    together = new_stage();
    vs_store_relaxed(&together->go, 1);
    CHECK_EQ(in_child(count_and_execute, NULL), 0);
}

int main(int argc, char **argv)
{
    if (argc == 2) { /* count_and_execute */
        snprintf(scratch, sizeof scratch, "%s", argv[1]);
        return after_exec();
    }
    make_scratch();
    RUN(gauges_of_live_processes_are_combined_by_their_mode);
    RUN(a_zero_that_was_written_takes_part);
    RUN(the_child_of_a_fork_has_cells_of_its_own);
    RUN(processes_beyond_the_table_are_refused_and_still_exact);
    RUN(workers_that_come_and_go_unscraped_do_not_use_up_the_table);
    RUN(a_pid_that_is_used_again_misleads_nobody);
    RUN(all_of_another_boot_are_dead);
    RUN(the_program_of_another_process_says_nothing);
    RUN(a_process_of_another_pid_namespace_lives_as_long_as_its_lock);
    RUN(one_of_another_namespace_that_got_no_lock_is_kept);
    RUN(a_process_that_closed_its_descriptors_keeps_its_lock);
    RUN(a_child_in_a_new_pid_namespace_takes_nobody_for_dead);
    RUN(a_claim_that_is_half_made_is_given_up_with_its_process);
    RUN(a_zombie_is_dead);
    RUN(a_process_that_executes_another_program_frees_its_entry);
    remove_scratch();
    return check_report();
}
