/* A disk that is full, at any point: refusals and shared stripes, exact totals, and never a SIGBUS. On a tmpfs of each size, which must
 * be let mount: in a user namespace if not otherwise. */
#define _GNU_SOURCE
#include <sys/mount.h>

#include "file_fixture.h"

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        fprintf(stderr, "cannot write %s\n", path);
    if (fd >= 0)
        close(fd);
}

/* A tmpfs of this size over the scratch folder, for this process and its children. */
static bool mount_small(unsigned kib)
{
    char options[64], map[64];
    unsigned uid = geteuid(), gid = getegid();
    snprintf(options, sizeof options, "size=%uk,mode=700", kib);
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            return false;
        write_text("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1", uid);
        write_text("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "0 %u 1", gid);
        write_text("/proc/self/gid_map", map);
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("tmpfs", scratch, "tmpfs", 0, options) == 0;
}

static void fill_up(void)
{
    char path[PATH_BYTES];
    static const char bytes[VS_FILE_PAGE] = {1};
    in_scratch(path, "filler");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    while (fd >= 0 && write(fd, bytes, sizeof bytes) > 0) {
    }
    if (fd >= 0)
        close(fd);
}

/* ---- what goes on on it ---- */

static vs_registry *registry;
static vs_series *counter, *histogram; /* NULL: there was no room for it */
static vs_metric *ops;
static uint64_t written;
static pthread_barrier_t all_there;

static vs_series *try_series(vs_kind kind, const char *name)
{
    vs_metric_spec spec = spec_of(kind, name);
    vs_metric *metric = NULL;
    vs_series *series = NULL;
    vs_status status = vs_registry_declare(registry, &spec, &metric);
    CHECK(status == VS_OK || status == VS_E_FULL);
    if (status == VS_OK)
        CHECK_EQ(vs_metric_bind(metric, NULL, 0, &series), VS_OK);
    return series;
}

static void *write_once(void *unused)
{
    if (counter != NULL)
        vs_counter_inc(vs_series_counter(counter));
    if (histogram != NULL)
        observe(histogram, 3.0);
    return unused;
}

static void *write_beside_others(void *unused)
{
    write_once(unused);
    pthread_barrier_wait(&all_there); /* so that each wants a stripe of its own */
    return unused;
}

static int write_in_child(void *unused)
{
    vs_metric_spec spec = spec_of(VS_GAUGE, "gauge");
    vs_metric *metric = NULL;
    vs_series *series = NULL;
    spec.mode = VS_GAUGE_SUM;
    write_once(unused);
    if (vs_registry_declare(registry, &spec, &metric) == VS_OK && vs_metric_bind(metric, NULL, 0, &series) == VS_OK)
        vs_gauge_set(vs_series_gauge(series), 1.0);
    return 0;
}

static void check_totals(void)
{
    vs_snapshot *snapshot = take_snapshot(registry);
    if (counter != NULL)
        CHECK_EQ(snapshot->integers[series_in(snapshot, "c", "")], written);
    if (histogram != NULL)
        CHECK_EQ(snapshot->integers[series_in(snapshot, "h", "")], written);
    vs_snapshot_free(snapshot);
}

static void write_by_all(void)
{
    enum { THREADS = 4, CHILDREN = 3 };
    pthread_barrier_init(&all_there, NULL, THREADS);
    run_threads(THREADS, write_beside_others, NULL);
    pthread_barrier_destroy(&all_there);
    written += THREADS;
    check_totals();
    for (int i = 0; i < CHILDREN; i++, written++)
        CHECK_EQ(in_child(write_in_child, NULL), 0);
    check_totals(); /* they are folded, if there is room for that */
}

static void declare_until_full(void)
{
    char name[32], help[VS_HELP_BYTES_MAX];
    memset(help, 'h', sizeof help);
    vs_status status = VS_OK;
    for (int i = 0; i < 100 && status == VS_OK; i++) {
        vs_metric *metric = NULL;
        snprintf(name, sizeof name, "metric%d", i);
        vs_metric_spec spec = spec_of(i % 2 != 0 ? VS_HDR : VS_COUNTER, name);
        spec.help = (vs_text){help, sizeof help};
        status = vs_registry_declare(registry, &spec, &metric);
        check_totals();
    }
    CHECK_EQ(status, VS_E_FULL);
    for (int i = 0; ops != NULL && i < 200; i++) {
        snprintf(name, sizeof name, "%d", i);
        vs_counter_inc(vs_series_counter(bound(ops, name))); /* perhaps the overflow series */
    }
    if (ops != NULL) {
        vs_snapshot *snapshot = take_snapshot(registry);
        const vs_snapshot_metric *metric = metric_in(snapshot, "ops");
        uint64_t total = 0;
        for (size_t i = 0; i < metric->series_count; i++)
            total += snapshot->integers[metric->series + i];
        CHECK_EQ(total, 200);
        vs_snapshot_free(snapshot);
    }
}

/* With stripes that get their space in several steps. */
static vs_status open_large(const char *path, vs_arena **arena)
{
    vs_arena_options options = {.stripe_count = SMALL_STRIPES, .stripe_bytes = 1 << 20};
    return vs_arena_open_file(path, VS_ARENA_SHARE, &options, arena);
}

static int open_again(void *path)
{
    vs_arena *arena = NULL;
    return open_large(path, &arena) == VS_E_SYSTEM ? 0 : 1;
}

/* Lives on a disk of this size: 1 if there was room for an arena, 0 if not. */
static int live(void *kib)
{
    char path[PATH_BYTES];
    vs_arena *arena = NULL;
    if (!mount_small(*(unsigned *)kib))
        return REFUSED;
    in_scratch(path, "arena");
    vs_status status = open_large(path, &arena);
    if (status != VS_OK) {
        CHECK_EQ(status, VS_E_SYSTEM);
        CHECK(strstr(vs_arena_reason(), "No space") != NULL);
        CHECK_EQ(in_child(open_again, path), 0); /* what it left is no trap */
        return 0;
    }
    vs_text label = text_of("op");
    vs_metric_spec spec = spec_of(VS_COUNTER, "ops");
    spec.label_names = &label;
    spec.label_count = 1;
    CHECK_EQ(vs_registry_open(arena, &registry), VS_OK);
    counter = try_series(VS_COUNTER, "c");
    histogram = try_series(VS_HISTOGRAM, "h");
    if (vs_registry_declare(registry, &spec, &ops) != VS_OK)
        ops = NULL;
    write_by_all();
    declare_until_full();
    write_by_all();
    fill_up();
    write_by_all();
    return 1;
}

enum { ROOM_KIB_MAX = 6000, ROOM_KIB_STEP = SANITIZED ? 420 : 84 };

static bool can_mount(void)
{
    unsigned kib = ROOM_KIB_MAX;
    int status = in_child(live, &kib);
    if (status == REFUSED)
        fprintf(stderr, "no tmpfs can be mounted here: full disks are not tested\n");
    return CHECK(status == 1 || status == REFUSED) && status == 1;
}

int main(void)
{
    int rooms = 0, without = 0;
    make_scratch();
    bool mounted = can_mount();
    for (unsigned kib = 4; mounted && kib <= ROOM_KIB_MAX; kib += ROOM_KIB_STEP) {
        int status = in_child(live, &kib);
        if (!CHECK(status == 0 || status == 1))
            fprintf(stderr, "    is %d with %u KiB\n", status, kib);
        rooms += status == 1;
        without += status == 0;
    }
    CHECK(!mounted || (rooms > 5 && without > 0)); /* both kinds were met */
    remove_scratch();
    return check_report();
}
