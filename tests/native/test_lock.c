/* The lock of an arena's file and its descriptor: a process that is stopped with the one, a host that closes the other. */
#define _GNU_SOURCE
#include <sys/syscall.h>

#include "file_fixture.h"

static stage *together;
static char path[PATH_BYTES];

static double seconds_since(int64_t start_ns) { return (double)(vs_clock_monotonic_ns() - start_ns) / 1e9; }

/* ---- a lock that is held ---- */

static int hold_lock(void *unused)
{
    (void)unused;
    int fd = open(path, O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    CHECK_EQ(fcntl(fd, F_SETLK, &lock), 0);
    vs_add_release(&together->ready, 1u);
    pause(); /* it is killed */
    return 0;
}

static int end_at_once(void *unused)
{
    (void)unused;
    return 0;
}

static pid_t holder(void)
{
    together = new_stage();
    pid_t child = start(hold_lock, NULL);
    await(&together->ready, 1);
    return child;
}

static vs_status declare(vs_registry *registry, const char *name)
{
    vs_metric_spec spec = spec_of(VS_COUNTER, name);
    vs_metric *metric = NULL;
    return vs_registry_declare(registry, &spec, &metric);
}

static bool is_overflow(const vs_series *series)
{
    vs_text labels = vs_series_labels(series);
    return labels.size == 14 && memcmp(labels.data, "op=\"_overflow\"", 14) == 0;
}

static void who_cannot_have_the_lock_goes_on_without(void)
{
    in_scratch(path, "arena");
    vs_registry *registry = shared_registry("arena", NULL);
    vs_metric *ops = labelled(registry, VS_COUNTER, "ops", 0);
    vs_series *put = bound(ops, "put");
    pid_t child = holder();

    int64_t begun = vs_clock_monotonic_ns();
    CHECK_EQ(declare(registry, "new"), VS_E_BUSY);
    CHECK(strstr(vs_arena_reason(), path) != NULL);
    CHECK(seconds_since(begun) > 1.0 && seconds_since(begun) < 10.0);

    begun = vs_clock_monotonic_ns();
    CHECK_EQ(declare(registry, "ops"), VS_E_CONFLICT); /* what is known is known: it has labels */
    CHECK(bound(ops, "put") == put);
    for (int i = 0; i < 20; i++) {
        vs_series *unbound = bound(ops, "get");
        CHECK(is_overflow(unbound));
        vs_counter_inc(vs_series_counter(unbound));
    }
    CHECK_EQ(vs_registry_unregister(registry, text_of("ops")), VS_E_BUSY);
    CHECK(vs_counter_inc(vs_series_counter(put)));
    vs_snapshot *snapshot = take_snapshot(registry);
    CHECK_EQ(snapshot->integers[series_in(snapshot, "ops", "op=\"put\"")], 1);
    CHECK_EQ(metric_in(snapshot, "ops")->losses[VS_LOSS_OVERFLOWED], 20);
    vs_snapshot_free(snapshot);
    CHECK(seconds_since(begun) < 10.0); /* all of it: who waited in vain does not wait as long again */

    kill_9(child);
    CHECK_EQ(declare(registry, "new"), VS_OK);
    CHECK(!is_overflow(bound(ops, "get")));
    CHECK_EQ(count_of(registry, "ops", "op=\"_overflow\""), 20);
}

static void a_snapshot_does_not_wait_for_the_lock(void)
{
    in_scratch(path, "arena");
    vs_registry *registry = shared_registry("arena", NULL);
    series_of(registry, VS_COUNTER, "c");
    pid_t child = holder();
    CHECK_EQ(in_child(end_at_once, NULL), 0); /* it had an entry: one that is dead, and cannot be reaped */
    int64_t begun = vs_clock_monotonic_ns();
    for (int i = 0; i < 10; i++)
        CHECK_EQ(count_of(registry, "c", ""), 0);
    CHECK(seconds_since(begun) < 5.0); /* ten would wait for twenty */
    kill_9(child);
}

static int open_shared(void *unused)
{
    (void)unused;
    vs_arena *arena = NULL;
    vs_status status = open_path(path, VS_ARENA_SHARE, &arena);
    CHECK(strstr(vs_arena_reason(), path) != NULL);
    return (int)status;
}

static int leave_arena(void *unused)
{
    (void)unused;
    series_of(shared_registry("arena", NULL), VS_COUNTER, "c");
    return 0;
}

static void opening_does_not_wait_for_ever(void)
{
    in_scratch(path, "arena");
    CHECK_EQ(in_child(leave_arena, NULL), 0);
    pid_t child = holder();
    int64_t begun = vs_clock_monotonic_ns();
    CHECK_EQ(in_child(open_shared, NULL), VS_E_BUSY);
    CHECK(seconds_since(begun) > 1.0 && seconds_since(begun) < 10.0);
    kill_9(child);
    shared_registry("arena", NULL);
}

/* ---- descriptors that are closed ---- */

static vs_counter counter;

static void *count_one(void *unused)
{
    (void)unused;
    vs_counter_inc(counter);
    return NULL;
}

/* A file that takes the number of the arena's descriptor. */
static int usurper(const vs_arena *arena)
{
    char other[PATH_BYTES];
    in_scratch(other, "other");
    int number = (int)vs_load_relaxed(&arena->file->fd), fd = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK_EQ(dup2(fd, number), number);
    return number;
}

static void check_untouched(int fd)
{
    struct stat status;
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK_EQ(status.st_size, 0);
    CHECK_EQ(status.st_blocks, 0);
}

static void a_host_that_closes_all_descriptors_goes_on(void)
{
    vs_arena *arena;
    vs_registry *registry = shared_registry("arena", &arena);
    counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    vs_counter_inc(counter);
    syscall(SYS_close_range, 3, ~0u, 0);
    run_threads(1, count_one, NULL); /* takes a stripe, for which disk space is wanted */
    CHECK_EQ(vs_arena_stripes_used(arena), 2);
    CHECK_EQ(declare(registry, "new"), VS_OK);
    vs_counter_inc(vs_series_counter(bound(labelled(registry, VS_COUNTER, "ops", 0), "put")));
    CHECK_EQ(count_of(registry, "c", ""), 2);
    CHECK_EQ(count_of(registry, "ops", "op=\"put\""), 1);
}

static int count_in_child(void *registry)
{
    vs_counter_inc(counter);
    return declare(registry, "child's") == VS_OK ? 0 : 1;
}

static void another_file_with_its_number_is_left_alone(void)
{
    vs_arena *arena;
    vs_registry *registry = shared_registry("arena", &arena);
    counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    int other = usurper(arena);
    run_threads(2, count_one, NULL);
    check_untouched(other);
    CHECK_EQ(in_child(count_in_child, registry), 0);
    CHECK_EQ(declare(registry, "new"), VS_OK);
    CHECK_EQ(count_of(registry, "c", ""), 3);
    check_untouched(other);
}

static void a_reader_closes_no_descriptor_but_its_own(void)
{
    in_scratch(path, "arena");
    CHECK_EQ(in_child(leave_arena, NULL), 0);
    vs_arena *arena;
    vs_registry *registry = registry_at("arena", VS_ARENA_READ, &arena);
    int other = usurper(arena);
    vs_registry_release(registry);
    vs_arena_close(arena);
    CHECK(fcntl(other, F_GETFD) >= 0);
}

static void check_without_its_path(vs_registry *registry)
{
    CHECK_EQ(declare(registry, "new"), VS_E_BUSY);
    CHECK(strstr(vs_arena_reason(), path) != NULL && strstr(vs_arena_reason(), "moved") != NULL);
    run_threads(1, count_one, NULL);
    vs_counter_inc(counter);
    CHECK_EQ(count_of(registry, "c", ""), 3);
}

static void without_descriptor_and_path_it_counts_on(void)
{
    in_scratch(path, "arena");
    vs_registry *registry = shared_registry("arena", NULL);
    counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    vs_counter_inc(counter);
    syscall(SYS_close_range, 3, ~0u, 0);
    CHECK_EQ(unlink(path), 0);
    check_without_its_path(registry);
}

static void another_file_at_its_path_is_left_alone(void)
{
    in_scratch(path, "arena");
    vs_registry *registry = shared_registry("arena", NULL);
    counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    vs_counter_inc(counter);
    syscall(SYS_close_range, 3, ~0u, 0);
    CHECK_EQ(unlink(path), 0);
    write_file(path, "", 0);
    check_without_its_path(registry);
    int fd = open(path, O_RDONLY);
    check_untouched(fd);
}

static void a_file_that_is_unlinked_is_shared_on_by_who_has_it_open(void)
{
    in_scratch(path, "arena");
    vs_registry *registry = shared_registry("arena", NULL);
    counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(in_child(count_in_child, registry), 0);
    CHECK_EQ(declare(registry, "new"), VS_OK);
    CHECK_EQ(count_of(registry, "c", ""), 1);
    CHECK_EQ(count_of(registry, "child's", ""), 0);
}

/* ---- fork while it is opened ---- */

static vs_word stop;

static void *open_and_close(void *unused)
{
    (void)unused;
    while (vs_load_relaxed(&stop) == 0) {
        vs_arena *arena = NULL;
        if (open_path(path, VS_ARENA_READ, &arena) == VS_OK)
            vs_arena_close(arena);
    }
    return NULL;
}

static int open_once(void *unused)
{
    (void)unused;
    alarm(20);
    vs_arena *arena = NULL;
    return open_path(path, VS_ARENA_READ, &arena) == VS_OK ? 0 : 1;
}

static void the_child_of_a_fork_can_open_while_its_parent_does(void)
{
    in_scratch(path, "arena");
    CHECK_EQ(in_child(leave_arena, NULL), 0);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, open_and_close, NULL);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(in_child(open_once, NULL), 0);
    vs_store_relaxed(&stop, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    make_scratch();
    RUN(who_cannot_have_the_lock_goes_on_without);
    RUN(a_snapshot_does_not_wait_for_the_lock);
    RUN(opening_does_not_wait_for_ever);
    RUN(a_host_that_closes_all_descriptors_goes_on);
    RUN(another_file_with_its_number_is_left_alone);
    RUN(a_reader_closes_no_descriptor_but_its_own);
    RUN(without_descriptor_and_path_it_counts_on);
    RUN(another_file_at_its_path_is_left_alone);
    RUN(a_file_that_is_unlinked_is_shared_on_by_who_has_it_open);
    RUN(the_child_of_a_fork_can_open_while_its_parent_does);
    remove_scratch();
    return check_report();
}
