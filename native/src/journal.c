/* A journal: a ring, its counters, and what happens when it is full. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "mark.h"

static const uint64_t BLOCK_NS_DEFAULT = 100000000;
enum { RECORD_SHARE = 16, BLOCK_STEP_NS = 50000, METRICS = 5 };

static vs_journal *journals; /* under the cold lock */

/* ---- counters ---- */

static const struct {
    const char *name, *help;
} METRIC[METRICS] = {
    {"vaultscope.log.records", "Log records that were put into the ring"},
    {"vaultscope.log.dropped", "Log records that found no room in the ring"},
    {"vaultscope.log.overwritten", "Log records that were forgotten before they were drained"},
    {"vaultscope.log.killed", "Log records that were begun by a process that died"},
    {"vaultscope.log.suppressed", "Log calls that a limit or a sampling of what is repeated held back"},
};

static vs_text text_of(const char *text) { return (vs_text){text, strlen(text)}; }

static vs_status declare(vs_journal *journal)
{
    vs_counter *counters[METRICS] = {journal->logged, journal->dropped, journal->overwritten, journal->killed, journal->suppressed};
    vs_text label = text_of("level");
    for (size_t m = 0; m < METRICS; m++) {
        vs_metric_spec spec = {.kind = VS_COUNTER, .name = text_of(METRIC[m].name), .help = text_of(METRIC[m].help),
                               .label_names = &label, .label_count = 1};
        vs_status status = vs_registry_declare(journal->registry, &spec, &journal->metrics[m]);
        for (uint32_t level = 0; status == VS_OK && level < VS_LEVELS; level++) {
            vs_text value = text_of(vs_level_name((vs_level)level));
            vs_series *series;
            status = vs_metric_bind(journal->metrics[m], &value, 1, &series); /* held by the journal's hold on the metric */
            if (status == VS_OK)
                counters[m][level] = vs_series_counter(series);
        }
        if (status != VS_OK)
            return status;
    }
    return VS_OK;
}

/* ---- opening ---- */

static vs_status open_in_memory(vs_journal *journal, uint64_t ring_bytes)
{
    if (ring_bytes == 0 && vs_environment_number("VAULTSCOPE_LOG_BYTES", &ring_bytes) != VS_OK)
        return VS_E_INVALID;
    uint64_t cells = vs_ring_cells_of(ring_bytes);
    if (cells == 0)
        return VS_E_INVALID;
    size_t head = (sizeof(vs_ring_words) + VS_FILE_PAGE - 1) / VS_FILE_PAGE * VS_FILE_PAGE;
    char *region = mmap(NULL, head + vs_ring_bytes(cells), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED)
        return VS_E_NO_MEMORY;
    vs_ring_lay(&journal->ring, (vs_ring_words *)region, region + head, cells);
    vs_ring_start(&journal->ring);
    journal->ring.drain = &journal->drain;
    return VS_OK;
}

static void close_in_memory(vs_journal *journal)
{
    size_t head = (size_t)((char *)journal->ring.marks - (char *)journal->ring.words);
    munmap(journal->ring.words, head + vs_ring_bytes(journal->ring.cells));
}

/* Takes disk space for the ring, once. */
static vs_status open_in_file(vs_journal *journal)
{
    vs_arena *arena = journal->registry->arena;
    vs_file *file = arena->file;
    if (file->read_only)
        return vs_ring_of_file(arena, &journal->ring) ? VS_OK : VS_E_NOT_FOUND;
    vs_cold_lock();
    vs_status status = vs_file_lock(arena);
    if (status == VS_OK) {
        if (vs_load_relaxed(&file->ring_words->cells) == 0) {
            vs_ring ring = {0};
            vs_ring_lay(&ring, file->ring_words, file->ring, file->ring_cells);
            if (vs_file_back(file, file->ring, vs_ring_bytes(file->ring_cells)))
                vs_ring_start(&ring);
            else
                status = VS_E_FULL;
        }
        vs_file_unlock(arena);
    }
    vs_cold_unlock();
    if (status == VS_OK)
        vs_ring_of_file(arena, &journal->ring);
    return status;
}

static void list(vs_journal *journal)
{
    vs_cold_lock();
    for (uint32_t level = 0; level < VS_LEVELS; level++) {
        vs_store_relaxed(&journal->ring.words->overwritten[level], journal->overwritten[level].offset);
        vs_store_relaxed(&journal->ring.words->killed[level], journal->killed[level].offset);
    }
    journal->next_open = journals;
    journals = journal;
    vs_cold_unlock();
}

vs_status vs_journal_open(vs_registry *registry, const vs_journal_options *options, vs_journal **out)
{
    static const vs_journal_options defaults;
    if (options == NULL)
        options = &defaults;
    if (options->policy > VS_POLICY_BLOCK)
        return VS_E_INVALID;
    vs_journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL)
        return VS_E_NO_MEMORY;
    vs_registry_retain(registry);
    journal->registry = registry;
    journal->policy = options->policy;
    journal->block_ns = options->block_ns != 0 ? options->block_ns : BLOCK_NS_DEFAULT;
    vs_arena *arena = registry->arena;
    vs_status status = arena->file != NULL ? open_in_file(journal) : open_in_memory(journal, options->ring_bytes);
    bool is_reader = arena->file != NULL && arena->file->read_only;
    if (status == VS_OK && !is_reader)
        status = declare(journal);
    if (status != VS_OK) {
        vs_journal_close(journal);
        return status;
    }
    uint64_t share = journal->ring.cells * VS_RING_CELL / RECORD_SHARE;
    journal->record_bytes = share < VS_LOG_BYTES_MAX ? (uint32_t)share : VS_LOG_BYTES_MAX;
    journal->ring.arena = arena->slot;
    if (!is_reader)
        list(journal);
    uint64_t drops[VS_LEVELS];
    if (arena->file == NULL)
        vs_journal_take_drops(journal, drops); /* those of the registry's other journals are not its own to tell */
    *out = journal;
    return VS_OK;
}

void vs_journal_close(vs_journal *journal)
{
    vs_cold_lock();
    vs_journal **link = &journals;
    while (*link != NULL && *link != journal)
        link = &(*link)->next_open;
    if (*link == journal)
        *link = journal->next_open;
    vs_cold_unlock();
    for (size_t m = 0; m < METRICS; m++)
        if (journal->metrics[m] != NULL)
            vs_metric_release(journal->metrics[m]);
    if (journal->ring.words != NULL && journal->ring.file == NULL)
        close_in_memory(journal);
    vs_registry_release(journal->registry);
    free(journal);
}

void vs_journal_after_fork(void)
{
    vs_drain_after_fork();
    for (vs_journal *journal = journals; journal != NULL; journal = journal->next_open) {
        *journal->ring.drain = (vs_ring_drain){0, NULL};
        if (journal->ring.file == NULL)
            vs_ring_abandon(&journal->ring);
    }
}

/* ---- putting ---- */

static _Thread_local bool never_waits __attribute__((tls_model("initial-exec")));

void vs_log_never_wait(void) { never_waits = true; }

/* Polls: to wake this thread whoever drains would have to look for it with each batch, and it would be woken to a race. */
static vs_put wait_and_put(const vs_journal *journal, vs_level level, const void *record, size_t size)
{
    int64_t deadline = vs_clock_monotonic_ns() + (int64_t)journal->block_ns;
    int error = errno; /* of whom a signal handler interrupted */
    vs_put put;
    do {
        nanosleep(&(struct timespec){0, BLOCK_STEP_NS}, NULL);
        put = vs_ring_put(&journal->ring, level, journal->policy, record, size);
    } while (put == VS_PUT_FULL && vs_clock_monotonic_ns() < deadline);
    errno = error;
    return put;
}

vs_put vs_journal_try_put(const vs_journal *journal, vs_level level, const void *record, size_t size)
{
    if (VS_UNLIKELY(level >= VS_LEVELS))
        level = VS_FATAL;
    vs_put put = vs_ring_put(&journal->ring, level, journal->policy, record, size);
    if (VS_LIKELY(put == VS_PUT_DONE))
        vs_counter_inc(journal->logged[level]);
    else if (put == VS_PUT_REFUSED && journal->metrics[0] != NULL) /* a journal that is only read has no counters */
        vs_counter_inc(journal->dropped[level]);
    return put;
}

bool vs_journal_put(const vs_journal *journal, vs_level level, const void *record, size_t size)
{
    if (VS_UNLIKELY(level >= VS_LEVELS))
        level = VS_FATAL;
    vs_put put = vs_journal_try_put(journal, level, record, size);
    if (VS_LIKELY(put != VS_PUT_FULL))
        return put == VS_PUT_DONE;
    if (journal->policy == VS_POLICY_BLOCK && !never_waits)
        put = wait_and_put(journal, level, record, size);
    vs_counter_inc(put == VS_PUT_DONE ? journal->logged[level] : journal->dropped[level]);
    return put == VS_PUT_DONE;
}
