/* Several processes and one arena: what one declares, binds and removes, all see; its limits hold over all of them. */
#define _GNU_SOURCE
#include "file_fixture.h"

enum { PROCESSES = 8, ADDS = 1000 };

static stage *together;

/* ---- by name ---- */

static void count_everything(vs_registry *registry)
{
    vs_counter counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    vs_series *histogram = series_of(registry, VS_HISTOGRAM, "h"), *hdr = series_of(registry, VS_HDR, "latency");
    vs_counter labels = vs_series_counter(bound(labelled(registry, VS_COUNTER, "ops", 0), "put"));
    for (int i = 0; i < ADDS; i++) {
        vs_counter_inc(counter);
        vs_counter_add_double(counter, 0.5);
        observe(histogram, i % 20);
        record(hdr, i);
        vs_counter_add(labels, 2);
    }
}

static int count_in(void *unused)
{
    (void)unused;
    count_everything(shared_registry("arena", NULL));
    return 0;
}

static void check_totals(uint64_t processes)
{
    vs_registry *registry = shared_registry("arena", NULL);
    vs_snapshot *snapshot = take_snapshot(registry);
    CHECK_EQ(snapshot->metric_count, 4);
    ptrdiff_t counter = series_in(snapshot, "c", ""), histogram = series_in(snapshot, "h", "");
    ptrdiff_t hdr = series_in(snapshot, "latency", ""), labels = series_in(snapshot, "ops", "op=\"put\"");
    CHECK_EQ(snapshot->integers[counter], processes * ADDS);
    CHECK(snapshot->numbers[counter] == (double)processes * ADDS * 0.5);
    CHECK_EQ(snapshot->integers[histogram], processes * ADDS);
    CHECK(snapshot->numbers[histogram] == (double)processes * ADDS * 9.5);
    CHECK_EQ(snapshot->counts[snapshot->counts_at[histogram]], processes * ADDS / 10); /* 0 and 1 of each 20 */
    CHECK_EQ(snapshot->integers[hdr], processes * ADDS);
    CHECK(snapshot->numbers[hdr] == (double)processes * ADDS * (ADDS - 1) / 2);
    CHECK_EQ(snapshot->integers[labels], processes * ADDS * 2);
    vs_snapshot_free(snapshot);
}

static void processes_share_series_by_name_and_labels(void)
{
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        children[i] = start(count_in, NULL);
    for (int i = 0; i < PROCESSES; i++)
        CHECK_EQ(outcome(children[i]), 0);
    check_totals(PROCESSES);
}

static int execute(void *unused) { return execl("/proc/self/exe", "test_sharing", scratch, unused); }

static void other_programs_share_too(void)
{
    CHECK_EQ(in_child(execute, NULL), 0);
    CHECK_EQ(in_child(execute, NULL), 0);
    check_totals(2);
}

static int declare_as_gauge(void *unused)
{
    (void)unused;
    vs_metric_spec spec = spec_of(VS_GAUGE, "c");
    vs_metric *metric = NULL;
    return (int)vs_registry_declare(shared_registry("arena", NULL), &spec, &metric);
}

static void another_shape_is_a_conflict(void)
{
    vs_registry *registry = shared_registry("arena", NULL);
    vs_metric_spec spec = spec_of(VS_GAUGE, "c");
    vs_metric *metric = NULL;
    CHECK_EQ(in_child(count_in, NULL), 0);
    CHECK_EQ(vs_registry_declare(registry, &spec, &metric), VS_E_CONFLICT);
    CHECK_EQ(in_child(declare_as_gauge, NULL), VS_E_CONFLICT);
    spec.name = text_of("c_total"); /* what the counter exports */
    CHECK_EQ(vs_registry_declare(registry, &spec, &metric), VS_E_CONFLICT);
    check_totals(1);
}

/* ---- what one does, the others see ---- */

static int (*elsewhere)(vs_registry *);

static int do_elsewhere(void *unused)
{
    (void)unused;
    return elsewhere(shared_registry("arena", NULL));
}

/* Does it in a process that opens the arena by itself. */
#define ELSEWHERE(what) (elsewhere = (what), CHECK_EQ(in_child(do_elsewhere, NULL), 0))

static int declare_new(vs_registry *registry)
{
    vs_counter_add(vs_series_counter(series_of(registry, VS_COUNTER, "new")), 3);
    vs_counter_add(vs_series_counter(bound(labelled(registry, VS_COUNTER, "ops", 0), "get")), 4);
    return 0;
}

static void what_one_declares_is_in_the_others_next_snapshot(void)
{
    vs_registry *registry = shared_registry("arena", NULL);
    vs_counter_inc(vs_series_counter(bound(labelled(registry, VS_COUNTER, "ops", 0), "put")));
    CHECK_EQ(count_of(registry, "new", ""), -1);
    ELSEWHERE(declare_new);
    CHECK_EQ(count_of(registry, "new", ""), 3);
    CHECK_EQ(count_of(registry, "ops", "op=\"get\""), 4);
    CHECK_EQ(count_of(registry, "ops", "op=\"put\""), 1);
}

static int remove_put(vs_registry *registry)
{
    vs_text put = text_of("put");
    return (int)vs_metric_remove(labelled(registry, VS_COUNTER, "ops", 0), &put, 1);
}

static void a_series_that_one_removes_is_gone_for_all(void)
{
    vs_registry *registry = shared_registry("arena", NULL);
    vs_metric *metric = labelled(registry, VS_COUNTER, "ops", 0);
    vs_series *put = bound(metric, "put"), *get = bound(metric, "get");
    vs_counter_add(vs_series_counter(put), 5);
    vs_counter_add(vs_series_counter(get), 6);
    uint64_t removals = vs_registry_removals(registry);
    ELSEWHERE(remove_put);
    CHECK_EQ(count_of(registry, "ops", "op=\"put\""), -1);
    CHECK_EQ(count_of(registry, "ops", "op=\"get\""), 6);
    CHECK(vs_registry_removals(registry) > removals);
    CHECK(vs_counter_inc(vs_series_counter(put))); /* the handle stays valid, and is not shown */
    vs_series *again = bound(metric, "put");
    CHECK(again != put);
    CHECK_EQ(count_of(registry, "ops", "op=\"put\""), 0);
    vs_counter_inc(vs_series_counter(again));
    CHECK_EQ(count_of(registry, "ops", "op=\"put\""), 1);
    vs_series_release(put);
    vs_series_release(again);
    CHECK_EQ(vs_metric_series_count(metric), 2);
}

static int clear_all(vs_registry *registry) { return (int)vs_metric_clear(labelled(registry, VS_COUNTER, "ops", 0)); }

static void series_that_one_clears_are_gone_for_all(void)
{
    vs_registry *registry = shared_registry("arena", NULL);
    vs_metric *metric = labelled(registry, VS_COUNTER, "ops", 0);
    bound(metric, "put");
    bound(metric, "get");
    ELSEWHERE(clear_all);
    CHECK_EQ(count_of(registry, "ops", "op=\"put\""), -1);
    CHECK_EQ(vs_metric_series_count(metric), 0);
}

static int declare_anew(vs_registry *registry)
{
    if (vs_registry_unregister(registry, text_of("ops")) != VS_OK)
        return 1;
    vs_metric_spec spec = spec_of(VS_HISTOGRAM, "ops");
    vs_metric *metric = NULL;
    if (vs_registry_declare(registry, &spec, &metric) != VS_OK)
        return 2;
    observe(series_of(registry, VS_HISTOGRAM, "ops"), 7.0);
    return 0;
}

static void a_metric_that_one_declares_anew_has_its_new_shape_for_all(void)
{
    vs_registry *registry = shared_registry("arena", NULL);
    vs_metric *metric = labelled(registry, VS_COUNTER, "ops", 2);
    vs_series *put = bound(metric, "put");
    vs_counter_add(vs_series_counter(put), 5);
    ELSEWHERE(declare_anew);
    vs_snapshot *snapshot = take_snapshot(registry);
    CHECK_EQ(snapshot->metric_count, 1);
    CHECK_EQ(snapshot->metrics[0].kind, VS_HISTOGRAM);
    CHECK_EQ(snapshot->integers[series_in(snapshot, "ops", "")], 1);
    vs_snapshot_free(snapshot);
    vs_counter_inc(vs_series_counter(put)); /* handles of the old one go on, unseen */
    vs_counter_inc(vs_series_counter(bound(metric, "new")));
    CHECK_EQ(count_of(registry, "ops", ""), 1);
    vs_series_release(put);
    vs_metric_release(metric);
}

/* ---- limits ---- */

enum { SERIES_MAX = 10, BINDS = 10 };

static int bind_many(void *number)
{
    vs_metric *metric = labelled(shared_registry("arena", NULL), VS_COUNTER, "ops", SERIES_MAX);
    meet(together);
    for (int i = 0; i < BINDS; i++) {
        char value[32];
        snprintf(value, sizeof value, "%d.%d", *(int *)number, i);
        vs_counter_inc(vs_series_counter(bound(metric, value)));
        vs_counter_inc(vs_series_counter(bound(metric, value))); /* again: the same, or the overflow series again */
    }
    return 0;
}

static void check_series_max(void)
{
    pid_t children[PROCESSES];
    int numbers[PROCESSES];
    together = new_stage();
    for (int i = 0; i < PROCESSES; i++) {
        numbers[i] = i;
        children[i] = start(bind_many, &numbers[i]);
    }
    await(&together->ready, PROCESSES);
    vs_store_release(&together->go, 1);
    for (int i = 0; i < PROCESSES; i++)
        CHECK_EQ(outcome(children[i]), 0);
    vs_arena *arena;
    vs_registry *registry = registry_at("arena", VS_ARENA_READ, &arena);
    vs_snapshot *snapshot = take_snapshot(registry);
    const vs_snapshot_metric *metric = metric_in(snapshot, "ops");
    CHECK_EQ(metric->series_count, SERIES_MAX + 1);
    CHECK_EQ(metric->losses[VS_LOSS_OVERFLOWED], 2 * (PROCESSES * BINDS - SERIES_MAX));
    CHECK_EQ(snapshot->integers[series_in(snapshot, "ops", "op=\"_overflow\"")], 2 * (PROCESSES * BINDS - SERIES_MAX));
    vs_snapshot_free(snapshot);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void series_max_holds_over_all_processes(void)
{
    for (int round = 0; round < 10; round++) {
        empty_scratch();
        check_series_max();
    }
}

static int bind_same(void *unused)
{
    (void)unused;
    meet(together);
    vs_metric *metric = labelled(shared_registry("arena", NULL), VS_COUNTER, "ops", 0);
    for (int i = 0; i < 50; i++) {
        char value[32];
        snprintf(value, sizeof value, "%d", i);
        vs_counter_inc(vs_series_counter(bound(metric, value)));
    }
    return 0;
}

static void processes_that_bind_the_same_labels_at_once_get_one_series(void)
{
    pid_t children[PROCESSES];
    together = new_stage();
    for (int i = 0; i < PROCESSES; i++)
        children[i] = start(bind_same, NULL);
    await(&together->ready, PROCESSES);
    vs_store_release(&together->go, 1);
    for (int i = 0; i < PROCESSES; i++)
        CHECK_EQ(outcome(children[i]), 0);
    vs_registry *registry = shared_registry("arena", NULL);
    CHECK_EQ(vs_metric_series_count(labelled(registry, VS_COUNTER, "ops", 0)), 50);
    CHECK_EQ(count_of(registry, "ops", "op=\"0\""), PROCESSES);
    CHECK_EQ(count_of(registry, "ops", "op=\"49\""), PROCESSES);
}

/* What nothing more fits in: a declaration is refused, a bind gets the overflow series, and the loss is counted. */
static void check_full(vs_registry *registry, vs_metric *metric)
{
    int refused = 0;
    for (int i = 0; i < 2000; i++) {
        char value[32];
        snprintf(value, sizeof value, "value %d", i);
        vs_series *series = bound(metric, value);
        refused += vs_series_labels(series).size == strlen("op=\"_overflow\"") && strstr(vs_series_labels(series).data, "_overflow");
        vs_counter_inc(vs_series_counter(series));
        vs_series_release(series);
    }
    CHECK(refused > 0 && refused < 2000);
    vs_snapshot *snapshot = take_snapshot(registry);
    const vs_snapshot_metric *ops = metric_in(snapshot, "ops");
    uint64_t total = 0;
    for (size_t i = 0; i < ops->series_count; i++)
        total += snapshot->integers[ops->series + i];
    CHECK_EQ(total, 2000);
    CHECK_EQ(ops->losses[VS_LOSS_OVERFLOWED], refused);
    CHECK_EQ(snapshot->integers[series_in(snapshot, "ops", "op=\"_overflow\"")], refused);
    vs_snapshot_free(snapshot);
}

static void a_full_directory_is_refused_and_the_host_goes_on(void)
{
    vs_registry *registry = shared_registry("arena", NULL);
    vs_metric *ops = labelled(registry, VS_COUNTER, "ops", 0), *metric = NULL;
    char name[32], help[VS_HELP_BYTES_MAX];
    memset(help, 'h', sizeof help);
    vs_status status = VS_OK;
    for (int i = 0; status == VS_OK; i++) {
        snprintf(name, sizeof name, "metric%d", i);
        vs_metric_spec spec = spec_of(VS_COUNTER, name);
        spec.help = (vs_text){help, i < 10 ? sizeof help : 0};
        status = vs_registry_declare(registry, &spec, &metric);
    }
    CHECK_EQ(status, VS_E_FULL);
    check_full(registry, ops); /* a series' record is shorter: some fit */
}

static void full_cells_are_refused_and_the_host_goes_on(void)
{
    vs_registry *registry = shared_registry("arena", NULL);
    vs_metric *ops = labelled(registry, VS_COUNTER, "ops", 0), *metric = NULL;
    vs_metric_spec spec = spec_of(VS_HDR, "latency");
    CHECK_EQ(vs_registry_declare(registry, &spec, &metric), VS_OK); /* takes most of the cells */
    spec.name = text_of("more");
    CHECK_EQ(vs_registry_declare(registry, &spec, &metric), VS_E_FULL);
    check_full(registry, ops);
    record(series_of(registry, VS_HDR, "latency"), 5);
    CHECK_EQ(count_of(registry, "latency", ""), 1);
}

static void full_pages_of_gauges_are_refused_and_the_host_goes_on(void)
{
    char path[PATH_BYTES], value[32];
    in_scratch(path, "arena");
    vs_arena *arena = NULL;
    vs_registry *registry = NULL;
    vs_arena_options options = {.stripe_count = 2, .stripe_bytes = 2 << 20};
    CHECK_EQ(vs_arena_open_file(path, VS_ARENA_SHARE, &options, &arena), VS_OK);
    CHECK_EQ(vs_registry_open(arena, &registry), VS_OK);
    vs_text label = text_of("op");
    vs_metric_spec spec = spec_of(VS_GAUGE, "g");
    spec.mode = VS_GAUGE_SUM;
    spec.label_names = &label;
    spec.label_count = 1;
    vs_metric *metric = NULL;
    CHECK_EQ(vs_registry_declare(registry, &spec, &metric), VS_OK);
    const int room = VS_GAUGE_PAGE_BYTES / 8 - 2; /* offset 0 is no cell, and one is the overflow series' */
    for (int i = 0; i < room + 3; i++) {
        snprintf(value, sizeof value, "%d", i);
        vs_gauge_add(vs_series_gauge(bound(metric, value)), 1.0);
    }
    CHECK_EQ(vs_metric_series_count(metric), room);
    CHECK(number_of(registry, "g", "op=\"_overflow\"") == 3.0);
    CHECK_EQ(vs_metric_loss_read(metric, VS_LOSS_OVERFLOWED), 3);
}

/* ---- reading ---- */

static void check_reader_sees(vs_registry *registry)
{
    vs_metric_spec spec = spec_of(VS_COUNTER, "mine");
    vs_metric *metric = NULL;
    CHECK_EQ(vs_registry_declare(registry, &spec, &metric), VS_E_READ_ONLY);
    CHECK_EQ(vs_registry_unregister(registry, text_of("c")), VS_E_READ_ONLY);
    CHECK_EQ(count_of(registry, "c", ""), ADDS);
    CHECK_EQ(count_of(registry, "h", ""), ADDS);
    CHECK_EQ(count_of(registry, "latency", ""), ADDS);
    CHECK_EQ(count_of(registry, "ops", "op=\"put\""), 2 * ADDS);
}

static void a_reader_sees_everything_and_has_no_part_in_it(void)
{
    CHECK_EQ(in_child(count_in, NULL), 0);
    vs_arena *arena;
    vs_registry *registry = registry_at("arena", VS_ARENA_READ, &arena);
    check_reader_sees(registry);
    vs_snapshot *snapshot = take_snapshot(registry);
    CHECK_EQ(snapshot->processes, 0); /* the one that counted is dead, and this one has no entry */
    CHECK_EQ(snapshot->stripes_held, 0);
    vs_snapshot_free(snapshot);
    vs_registry_release(registry);
    vs_arena_close(arena);
    CHECK_EQ(in_child(count_in, NULL), 0);
    check_totals(2);
}

static int stay_and_write(void *unused)
{
    count_in(unused);
    vs_add_release(&together->ready, 1u);
    vs_series *histogram = series_of(shared_registry("arena", NULL), VS_HISTOGRAM, "busy");
    while (vs_load_relaxed(&together->go) == 0) /* it is killed */
        observe(histogram, 3.0);
    return 0;
}

static int read_as_another_user(void *unused)
{
    (void)unused;
    if (geteuid() == 0 && setuid(65534) != 0)
        abort();
    vs_arena *arena;
    vs_registry *registry = registry_at("arena", VS_ARENA_READ, &arena);
    check_reader_sees(registry);
    for (int i = 0; i < 20; i++)
        vs_snapshot_free(take_snapshot(registry)); /* a busy histogram is not asked aside */
    CHECK_EQ(vs_arena_reap(arena), 0);
    vs_registry_release(registry);
    vs_arena_close(arena);
    return 0;
}

/* Memory that is mapped to be read: a store to it would be a SIGSEGV. */
static void who_may_only_read_the_file_writes_nothing(void)
{
    char path[PATH_BYTES];
    in_scratch(path, "arena");
    together = new_stage();
    pid_t writer = start(stay_and_write, NULL);
    await(&together->ready, 1);
    chmod(scratch, 0711);
    chmod(path, 0444);
    CHECK_EQ(in_child(read_as_another_user, NULL), 0);
    kill_9(writer);
    CHECK_EQ(in_child(read_as_another_user, NULL), 0); /* with a dead one that it cannot reap */
}

int main(int argc, char **argv)
{
    if (argc == 2) { /* execute */
        snprintf(scratch, sizeof scratch, "%s", argv[1]);
        return count_in(NULL);
    }
    make_scratch();
    RUN(processes_share_series_by_name_and_labels);
    RUN(other_programs_share_too);
    RUN(another_shape_is_a_conflict);
    RUN(what_one_declares_is_in_the_others_next_snapshot);
    RUN(a_series_that_one_removes_is_gone_for_all);
    RUN(series_that_one_clears_are_gone_for_all);
    RUN(a_metric_that_one_declares_anew_has_its_new_shape_for_all);
    RUN(series_max_holds_over_all_processes);
    RUN(processes_that_bind_the_same_labels_at_once_get_one_series);
    RUN(a_full_directory_is_refused_and_the_host_goes_on);
    RUN(full_cells_are_refused_and_the_host_goes_on);
    RUN(full_pages_of_gauges_are_refused_and_the_host_goes_on);
    RUN(a_reader_sees_everything_and_has_no_part_in_it);
    RUN(who_may_only_read_the_file_writes_nothing);
    remove_scratch();
    return check_report();
}
