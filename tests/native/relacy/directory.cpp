/* Two processes share a directory: what one declares, binds and removes the other finds, and finds whole (directory.c and sync.c, D1
 * to D4). The real directory.c, sync.c, registry.c, metric.c, bind.c and series.c.
 *
 * Each process has a thread, a registry and a cold lock of its own; the records and the file's lock are common. Of a record Relacy
 * watches the state. But each is made anew where it is written, so that who comes to one before it is there fails. */
#include "objects.h"

#include <stdio.h>

namespace model {
template <> void made(vs_series *series) { pointers.find(&series->next); }
template <> void made(vs_metric *metric)
{
    pointers.find(&metric->next);
    pointers.find(&metric->first);
}
template <> void made(vs_registry *registry) { pointers.find(&registry->first); }
} // namespace model

#include "file.h"

vs_status vs_file_gauge_alloc(vs_arena *arena, uint64_t *offset);
static vs_status vs_arena_cells_alloc(vs_arena *arena, size_t bytes, model::field<uint64_t> *offset);

/* Zeroed bytes of the directory begin with a record, whose words must be made. */
template <typename T> void zero_bytes(T *at, size_t bytes) { memset(at, 0, bytes); }
static void zero_bytes(char *at, size_t bytes)
{
    memset(at, 0, sizeof(vs_record));
    ::new (static_cast<void *>(at)) vs_record();
    memset(at + sizeof(vs_record), 0, bytes - sizeof(vs_record));
}

#include "buffer.c"
#include "metric.c"
#include "registry.c"
#include "bind.c"
#include "series.c"
#include "sync.c"

#define memset(at, value, bytes) zero_bytes(at, bytes)
#include "directory.c"
#undef memset

/* ---- what those sources call outside themselves ---- */

static rl::mutex *cold_mutexes, *file_mutex;

void vs_cold_lock(void) { cold_mutexes[rl::thread_index() % 2].lock(RL_INFO); }
void vs_cold_unlock(void) { cold_mutexes[rl::thread_index() % 2].unlock(RL_INFO); }
vs_status vs_file_lock(vs_arena *)
{
    file_mutex->lock(RL_INFO);
    return VS_OK;
}
void vs_read_lock(void) {}
void vs_read_unlock(void) {}
void vs_file_unlock(vs_arena *) { file_mutex->unlock(RL_INFO); }
bool vs_file_read_only(const vs_arena *) { return false; }
bool vs_file_back(const vs_file *, const char *, uint64_t) { return true; }
vs_status vs_file_refuse(vs_status status, const char *, const char *, ...) { return status; }
vs_status vs_file_gauge_alloc(vs_arena *, uint64_t *) { return VS_E_FULL; }

/* As vs_file_cells_alloc, without memory behind the cells. */
vs_status vs_arena_cells_alloc(vs_arena *arena, size_t bytes, uint64_t *offset)
{
    *offset = vs_load_relaxed(&arena->shared->cells_top);
    vs_store_relaxed(&arena->shared->cells_top, *offset + bytes);
    return VS_OK;
}
static vs_status vs_arena_cells_alloc(vs_arena *, size_t, model::field<uint64_t> *) { return VS_E_INVALID; }
void vs_arena_cells_free(vs_arena *, uint64_t, size_t) {}

vs_thread vs_this_thread;
bool vs_counter_add_slow(vs_counter, uint64_t) { return true; }
void vs_counter_read(vs_counter, uint64_t *, double *) {}
void vs_tally_read(const vs_arena *, uint64_t, size_t, bool, uint64_t *, uint64_t *, vs_tally_totals *) {}
void vs_tally_mend(vs_tally_block *, size_t, bool) {}
void vs_exemplars_after_fork(vs_series *) {}
void vs_exemplars_free(vs_series *) {}
vs_status vs_hdr_config_init(vs_hdr_config *, int64_t, int64_t, int32_t) { return VS_E_INVALID; }
bool vs_render_family_name(vs_kind, vs_text name, vs_text, vs_name_form, vs_buffer *out)
{
    return vs_append(out, name.data, name.size);
}

/* ---- the model ---- */

enum { PROCESSES = 2, DIRECTORY_BYTES = 16384 };
alignas(64) static char directory[DIRECTORY_BYTES];
static const char NAMES[] = "abc"; /* of label values: one character each */

/* What a registry lists: a bit for each label value, and where its cells are. */
struct listing {
    unsigned seen;
    uint64_t offsets[3];
};

/* Process 0 makes the series named in MADE_0 and then takes out those in TAKEN; process 1 makes those in MADE_1 and looks around
 * LOOKS times. Nobody ever misses what it saw, unless it was taken out, and at the end both list the same. */
template <unsigned MADE_0, unsigned TAKEN, unsigned MADE_1, unsigned LOOKS>
struct processes : rl::test_suite<processes<MADE_0, TAKEN, MADE_1, LOOKS>, PROCESSES> {
    rl::mutex cold[PROCESSES], file_lock;
    vs_file_words words;
    vs_file files[PROCESSES];
    vs_arena arenas[PROCESSES];
    vs_registry *registries[PROCESSES];
    vs_metric *metrics[PROCESSES];

    void before()
    {
        cold_mutexes = cold;
        file_mutex = &file_lock;
        ::open_registries = nullptr;
        model::pointers.forget();
        vs_store_relaxed(&words.shared.cells_top, VS_CACHE_LINE);
        for (unsigned i = 0; i < PROCESSES; i++) {
            files[i].words = &words;
            files[i].directory = directory;
            files[i].directory_bytes = sizeof directory;
            files[i].checked = 0;
            files[i].corrupt = false;
            arenas[i].file = &files[i];
            arenas[i].shared = &words.shared;
            arenas[i].stripe_bytes = UINT64_C(1) << 32;
            metrics[i] = nullptr;
            RL_ASSERT(vs_registry_open(&arenas[i], &registries[i]) == VS_OK);
        }
    }

    void declare(unsigned process)
    {
        static const vs_text label = {"l", 1};
        vs_metric_spec spec = {};
        spec.kind = VS_COUNTER;
        spec.name = vs_text{"m", 1};
        spec.label_names = &label;
        spec.label_count = 1;
        RL_ASSERT(vs_registry_declare(registries[process], &spec, &metrics[process]) == VS_OK);
    }

    void make(unsigned process, unsigned which)
    {
        for (unsigned i = 0; i < 3; i++) {
            vs_text value = {NAMES + i, 1};
            vs_series *series = nullptr;
            if ((which & 1u << i) == 0)
                continue;
            RL_ASSERT(vs_metric_bind(metrics[process], &value, 1, &series) == VS_OK);
            vs_series_release(series);
        }
    }

    listing look(unsigned process)
    {
        listing found = {};
        uint64_t sequence;
        RL_ASSERT(vs_registry_enter(registries[process], &sequence) == VS_OK);
        vs_metric *metric = vs_load_acquire(&registries[process]->first);
        vs_series *series = metric != nullptr ? vs_load_acquire(&metric->first) : nullptr;
        for (; series != nullptr; series = vs_load_acquire(&series->next)) {
            unsigned i = series->labels[3] - 'a'; /* l="a" */
            RL_ASSERT(i < 3 && (found.seen & 1u << i) == 0);
            found.seen |= 1u << i;
            found.offsets[i] = series->offset;
        }
        vs_registry_leave(registries[process]);
        return found;
    }

    void thread(unsigned process)
    {
        declare(process);
        if (process == 0) {
            make(0, MADE_0);
            for (unsigned i = 0; i < 3; i++) {
                vs_text value = {NAMES + i, 1};
                if ((TAKEN & 1u << i) != 0)
                    RL_ASSERT(vs_metric_remove(metrics[0], &value, 1) == VS_OK);
            }
        } else {
            make(1, MADE_1);
            unsigned seen = MADE_1;
            for (unsigned i = 0; i < LOOKS; i++) {
                unsigned now = look(1).seen;
                RL_ASSERT((seen & ~now & ~TAKEN) == 0);
                seen = now;
            }
        }
    }

    void after()
    {
        listing mine = look(0), other = look(1);
        RL_ASSERT(mine.seen == ((MADE_0 | MADE_1) & ~TAKEN) && other.seen == mine.seen);
        for (unsigned i = 0; i < 3; i++)
            RL_ASSERT(mine.offsets[i] == other.offsets[i]);
        for (unsigned i = 0; i < PROCESSES; i++) {
            vs_metric_release(metrics[i]);
            vs_registry_release(registries[i]);
        }
        uint64_t top = vs_load_relaxed(&words.directory_top);
        for (uint64_t at = 0; at < top;) {
            vs_record *record = vs_directory_at(&files[0], at);
            at += record->size;
            record->~vs_record();
        }
        model::pointers.drop();
    }
};

int main(int argc, char **argv)
{
    model::options options;
    if (!model::parse(argc, argv, &options))
        return 2;
    bool good = model::check<processes<3, 0, 4, 2>, processes<1, 0, 0, 1>>("declared and bound", options);
    good = good && model::check<processes<1, 1, 2, 2>, processes<1, 1, 0, 1>>("removed", options);
    good = good && model::check<processes<3, 2, 1, 2>, processes<1, 0, 1, 0>>("bound by both", options);
    return good ? 0 : 1;
}
