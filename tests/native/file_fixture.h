/* Arenas in files, and processes that share them.
 *
 * A process opens a file once and keeps it mapped, so each test runs in a child of its own (RUN), and forks further ones that
 * open the file by themselves. Children end by _exit: what they checked is told by their status. */
#ifndef FILE_FIXTURE_H
#define FILE_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../native/src/file.h"
#include "fixture.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { SMALL_STRIPES = 8, SMALL_STRIPE_BYTES = 64 << 10, PATH_BYTES = 256, CHILD_SECONDS = 120 };
enum { REFUSED = 98, FAILED = 99, BY_SIGNAL = 1000 }; /* how a child ended */

/* ---- a folder of its own for each program ---- */

static char scratch[PATH_BYTES];

static inline void in_scratch(char path[PATH_BYTES], const char *name)
{
    if (snprintf(path, PATH_BYTES, "%s/%s", scratch, name) >= PATH_BYTES)
        abort();
}

static inline void empty_scratch(void)
{
    DIR *folder = opendir(scratch);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char path[PATH_BYTES];
        in_scratch(path, entry->d_name);
        if (entry->d_name[0] != '.' && unlink(path) != 0)
            rmdir(path);
    }
    if (folder != NULL)
        closedir(folder);
}

static inline void make_scratch(void)
{
    const char *parent = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%s/vaultscope.XXXXXX", parent != NULL ? parent : "/tmp");
    if (mkdtemp(scratch) == NULL)
        abort();
}

static inline void remove_scratch(void)
{
    empty_scratch();
    rmdir(scratch);
}

/* ---- children ---- */

/* Forks a child that does `work` and ends: with what it returns, or FAILED if a check failed in it. It never outlives its time. */
static inline pid_t start(int (*work)(void *), void *argument)
{
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        check_failed = 0;
        int status = work(argument);
        _exit(check_failed == 0 ? status : FAILED);
    }
    return child;
}

/* Waits for it to end: its exit status, or BY_SIGNAL + the signal. */
static inline int outcome(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            abort();
    return WIFEXITED(status) ? WEXITSTATUS(status) : BY_SIGNAL + WTERMSIG(status);
}

static inline int in_child(int (*work)(void *), void *argument) { return outcome(start(work, argument)); }

static inline int kill_9(pid_t child)
{
    kill(child, SIGKILL);
    return outcome(child);
}

static inline int call(void *test)
{
    (*(void (**)(void))test)();
    return check_passed == 0;
}

/* Runs a test in a child, in an empty folder. */
#define RUN(test)                                                                  \
    do {                                                                           \
        void (*test_)(void) = (test);                                              \
        empty_scratch();                                                           \
        check_equal(in_child(call, &test_), 0, __FILE__, __LINE__, #test " ends"); \
    } while (0)

/* ---- where processes meet: memory that children inherit ---- */

typedef struct stage {
    vs_word ready, go;
    vs_word done[64]; /* operations of each that are complete */
} stage;

static inline stage *new_stage(void)
{
    void *memory = mmap(NULL, sizeof(stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    return memory;
}

static inline void await(const vs_word *word, uint64_t at_least)
{
    while (vs_load_acquire(word) < at_least)
        sched_yield(); /* who waits in vain is ended by its alarm */
}

/* A child says that it is there, and waits to be let go. */
static inline void meet(stage *s)
{
    vs_add_release(&s->ready, 1u);
    await(&s->go, 1);
}

/* ---- arenas ---- */

static inline vs_status open_path(const char *path, vs_arena_access access, vs_arena **arena)
{
    vs_arena_options options = {.stripe_count = SMALL_STRIPES, .stripe_bytes = SMALL_STRIPE_BYTES};
    return vs_arena_open_file(path, access, &options, arena);
}

/* A registry over the file of this name in the scratch folder. Ends the process if it cannot be had. */
static inline vs_registry *registry_at(const char *name, vs_arena_access access, vs_arena **arena)
{
    char path[PATH_BYTES];
    in_scratch(path, name);
    vs_registry *registry = NULL;
    vs_arena *opened = NULL;
    if (open_path(path, access, &opened) != VS_OK || vs_registry_open(opened, &registry) != VS_OK) {
        fprintf(stderr, "cannot open: %s\n", vs_arena_reason());
        _exit(REFUSED);
    }
    if (arena != NULL)
        *arena = opened;
    return registry;
}

static inline vs_registry *shared_registry(const char *name, vs_arena **arena)
{
    return registry_at(name, VS_ARENA_SHARE, arena);
}

/* ---- what a snapshot says ---- */

static inline vs_snapshot *take_snapshot(vs_registry *registry)
{
    vs_snapshot *snapshot = NULL;
    if (vs_snapshot_take(registry, NULL, &snapshot) != VS_OK)
        _exit(REFUSED);
    return snapshot;
}

static inline const vs_snapshot_metric *metric_in(const vs_snapshot *snapshot, const char *name)
{
    for (size_t i = 0; i < snapshot->metric_count; i++) {
        const vs_snapshot_metric *metric = &snapshot->metrics[i];
        if (metric->name.size == strlen(name) && memcmp(snapshot->text + metric->name.at, name, metric->name.size) == 0)
            return metric;
    }
    return NULL;
}

/* The series of a metric with these rendered labels: its index, or -1. */
static inline ptrdiff_t series_in(const vs_snapshot *snapshot, const char *name, const char *labels)
{
    const vs_snapshot_metric *metric = metric_in(snapshot, name);
    for (size_t i = 0; metric != NULL && i < metric->series_count; i++) {
        vs_span32 span = snapshot->labels[metric->series + i];
        if (span.size == strlen(labels) && (span.size == 0 || memcmp(snapshot->text + span.at, labels, span.size) == 0))
            return (ptrdiff_t)(metric->series + i);
    }
    return -1;
}

/* The count of a counter or a histogram in a new snapshot; -1: it is not there. */
static inline int64_t count_of(vs_registry *registry, const char *name, const char *labels)
{
    vs_snapshot *snapshot = take_snapshot(registry);
    ptrdiff_t at = series_in(snapshot, name, labels);
    int64_t count = at < 0 ? -1 : (int64_t)snapshot->integers[at];
    vs_snapshot_free(snapshot);
    return count;
}

/* The value of a gauge in a new snapshot, or the double of a counter. NaN: it is not there. */
static inline double number_of(vs_registry *registry, const char *name, const char *labels)
{
    vs_snapshot *snapshot = take_snapshot(registry);
    ptrdiff_t at = series_in(snapshot, name, labels);
    double number = at < 0 ? 0.0 / 0.0 : snapshot->numbers[at];
    vs_snapshot_free(snapshot);
    return number;
}

/* The metric, declared with one label `op`. */
static inline vs_metric *labelled(vs_registry *registry, vs_kind kind, const char *name, uint64_t series_max)
{
    static const vs_text label = {"op", 2};
    vs_metric_spec spec = spec_of(kind, name);
    spec.label_names = &label;
    spec.label_count = 1;
    spec.series_max = series_max;
    vs_metric *metric = NULL;
    if (vs_registry_declare(registry, &spec, &metric) != VS_OK)
        _exit(REFUSED);
    return metric;
}

static inline vs_series *bound(vs_metric *metric, const char *value)
{
    vs_text text = text_of(value);
    vs_series *series = NULL;
    if (vs_metric_bind(metric, &text, 1, &series) != VS_OK)
        _exit(REFUSED);
    return series;
}

static inline void observe(const vs_series *series, double value)
{
    vs_histogram histogram = vs_series_histogram(series);
    vs_histogram_observe(&histogram, value);
}

static inline void record(const vs_series *series, int64_t value)
{
    vs_hdr hdr = vs_series_hdr(series);
    vs_hdr_record(&hdr, value);
}

/* ---- the file by itself ---- */

static inline void write_file(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        abort();
    close(fd);
}

/* Maps a whole file, changes to it included. */
static inline char *map_file(const char *path, size_t *size)
{
    struct stat status;
    int fd = open(path, O_RDWR);
    if (fd < 0 || fstat(fd, &status) != 0)
        abort();
    *size = (size_t)status.st_size;
    void *bytes = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED)
        abort();
    return bytes;
}

#endif
