/* Snapshots walk the lists of metrics and of series without a lock while both change (S1/S2, M1/M2): the real registry.c,
 * metric.c, bind.c, series.c and snapshot.c, from declaration to freeing. Every 64-bit field is watched, so a snapshot that comes to an
 * object before its fields, or after they are gone, fails. */
#include "objects.h"

static rl::mutex *cold_mutex, *read_mutex;

namespace model {
template <> void made(vs_series *series) { pointers.find(&series->next); }
template <> void made(vs_metric *metric)
{
    pointers.find(&metric->next);
    pointers.find(&metric->first);
}
template <> void made(vs_registry *registry) { pointers.find(&registry->first); }
} // namespace model

/* C counts through an enumeration; C++ must be told how. */
static void operator++(vs_loss &kind, int) { kind = (vs_loss)(kind + 1); }

/* arena.h: cells without memory behind them. Two live allocations never share an offset; that is all that is asked. */
static uint64_t cells_top;
vs_status vs_arena_cells_alloc(vs_arena *, size_t bytes, uint64_t *offset)
{
    *offset = cells_top += bytes;
    return VS_OK;
}
static vs_status vs_arena_cells_alloc(vs_arena *arena, size_t bytes, model::field<uint64_t> *offset)
{
    uint64_t value;
    vs_status status = vs_arena_cells_alloc(arena, bytes, &value);
    *offset = value;
    return status;
}

#include "buffer.c"
#include "metric.c"
#include "registry.c"
#include "bind.c"
#include "series.c"
#include "snapshot.c"

/* ---- what those sources call outside themselves ---- */

void vs_cold_lock(void) { cold_mutex->lock(RL_INFO); }
void vs_cold_unlock(void) { cold_mutex->unlock(RL_INFO); }
void vs_read_lock(void) { read_mutex->lock(RL_INFO); }
void vs_read_unlock(void) { read_mutex->unlock(RL_INFO); }

void vs_arena_cells_free(vs_arena *, uint64_t, size_t) {}
uint32_t vs_arena_slot(const vs_arena *) { return 0; }
void vs_arena_usage(vs_arena *, uint64_t *used, uint64_t *limit) { *used = *limit = 0; }
void vs_stripe_usage(uint32_t, uint32_t *total, uint32_t *held) { *total = *held = 0; }
size_t vs_arena_reap(vs_arena *) { return 0; }
vs_status vs_processes_survey(const vs_arena *, vs_process **out, size_t *count, size_t *dead)
{
    *out = nullptr;
    *count = *dead = 0;
    return VS_OK;
}
void vs_processes_free(vs_process *) {}
vs_thread vs_this_thread;

/* The arena is anonymous (directory.cpp has one in a file): vs_sync finds nothing, and nobody calls the others. */
vs_status vs_sync(vs_registry *) { return VS_OK; }
vs_status vs_sync_declare(vs_registry *, const vs_metric *) { return VS_E_INVALID; }
vs_status vs_sync_bind(vs_metric *, const char *, size_t) { return VS_E_INVALID; }
void vs_sync_state(vs_registry *, vs_word *, uint64_t) {}
vs_status vs_file_lock(vs_arena *) { return VS_E_INVALID; }
void vs_file_unlock(vs_arena *) {}
bool vs_file_read_only(const vs_arena *) { return false; }
uint64_t vs_file_refused(const vs_arena *) { return 0; }

/* Values are not what is checked here (tally.cpp, stripe.cpp): a counter reads as its offset. */
void vs_counter_read(vs_counter counter, uint64_t *integer, double *real)
{
    *integer = counter.offset;
    *real = 0.0;
}
bool vs_counter_add_slow(vs_counter, uint64_t) { return true; }
void vs_tally_read(const vs_arena *, uint64_t, size_t, bool, uint64_t *, uint64_t *, vs_tally_totals *) {}
void vs_tally_mend(vs_tally_block *, size_t, bool) {}
size_t vs_exemplars_read(const vs_series *, size_t, vs_exemplar *) { return 0; }
void vs_exemplars_after_fork(vs_series *) {}
void vs_exemplars_free(vs_series *) {}
vs_status vs_hdr_config_init(vs_hdr_config *, int64_t, int64_t, int32_t) { return VS_E_INVALID; }

bool vs_render_family_name(vs_kind, vs_text name, vs_text, vs_name_form, vs_buffer *out)
{
    return vs_append(out, name.data, name.size);
}

/* ---- the model ---- */

static const char NAMES[] = "abc"; /* of metrics and of label values: one character each */

static vs_text name_of(unsigned i) { return vs_text{NAMES + i, 1}; }

static vs_metric *declare(vs_registry *registry, unsigned name, bool labelled)
{
    static const vs_text label = {"l", 1};
    vs_metric_spec spec = {};
    spec.kind = VS_COUNTER;
    spec.name = name_of(name);
    spec.label_names = &label;
    spec.label_count = labelled;
    vs_metric *metric = nullptr;
    RL_ASSERT(vs_registry_declare(registry, &spec, &metric) == VS_OK);
    return metric;
}

/* One snapshot; a bit for each of the names in `text` that stand `skip` bytes into the spans. None twice, and in the order of creation. */
static unsigned names_in(const vs_snapshot *s, const vs_span32 *spans, size_t n, size_t skip)
{
    unsigned seen = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned bit = 1u << (s->text[spans[i].at + skip] - 'a');
        RL_ASSERT(bit <= 4 && bit > seen);
        seen |= bit;
    }
    return seen;
}

/* Thread 0 makes a, b and c; thread 1 takes out FIRST and then SECOND as it finds them; thread 2 takes SNAPSHOTS.
 * SERIES: they are series of one metric; otherwise metrics. The one that is left alone is seen for ever once it was seen. */
template <bool SERIES, unsigned FIRST, unsigned SECOND, unsigned SNAPSHOTS>
struct lists : rl::test_suite<lists<SERIES, FIRST, SECOND, SNAPSHOTS>, 3> {
    rl::mutex cold, read;
    vs_arena arena;
    vs_registry *registry;
    vs_metric *metric;

    void before()
    {
        cold_mutex = &cold;
        read_mutex = &read;
        open_registries = nullptr;
        cells_top = 0;
        model::pointers.forget();
        RL_ASSERT(vs_registry_open(&arena, &registry) == VS_OK);
        metric = SERIES ? declare(registry, 0, true) : nullptr;
    }

    /* No handle is kept: what is taken out is freed as soon as no snapshot is under way. */
    void make(unsigned i)
    {
        if (SERIES) {
            vs_text value = name_of(i);
            vs_series *series = nullptr;
            RL_ASSERT(vs_metric_bind(metric, &value, 1, &series) == VS_OK);
            vs_series_release(series);
        } else {
            vs_metric_release(declare(registry, i, false));
        }
    }

    void take_out(unsigned i)
    {
        vs_text name = name_of(i);
        if (SERIES)
            vs_metric_remove(metric, &name, 1);
        else
            vs_registry_unregister(registry, name);
    }

    unsigned look()
    {
        vs_snapshot *s = nullptr;
        RL_ASSERT(vs_snapshot_take(registry, nullptr, &s) == VS_OK);
        unsigned seen;
        if (SERIES) {
            seen = names_in(s, s->labels, s->series_count, 3); /* l="a" */
        } else {
            vs_span32 names[3];
            RL_ASSERT(s->metric_count <= 3);
            for (size_t i = 0; i < s->metric_count; i++)
                names[i] = s->metrics[i].name;
            seen = names_in(s, names, s->metric_count, 0);
        }
        vs_snapshot_free(s);
        return seen;
    }

    void thread(unsigned index)
    {
        if (index == 0) {
            for (unsigned i = 0; i < 3; i++)
                make(i);
        } else if (index == 1) {
            take_out(FIRST);
            take_out(SECOND);
        } else {
            const unsigned left_alone = 7u & ~(1u << FIRST) & ~(1u << SECOND);
            unsigned seen = 0;
            for (unsigned i = 0; i < SNAPSHOTS; i++) {
                unsigned now = look();
                RL_ASSERT((seen & left_alone & ~now) == 0);
                seen = now;
            }
        }
    }

    /* Everything is given back, so whatever was not freed is a leak that Relacy reports. */
    void after()
    {
        if (SERIES)
            vs_metric_release(metric);
        vs_registry_release(registry);
        model::pointers.drop();
    }
};

int main(int argc, char **argv)
{
    model::options options;
    if (!model::parse(argc, argv, &options))
        return 2;
    bool good = model::check<lists<true, 0, 1, 2>, lists<true, 0, 1, 1>>("series, from the front", options);
    good = good && model::check<lists<true, 1, 0, 2>, lists<true, 1, 0, 1>>("series, from the middle", options);
    good = good && model::check<lists<true, 2, 1, 2>, lists<true, 2, 1, 1>>("series, from the back", options);
    good = good && model::check<lists<false, 0, 1, 2>, lists<false, 0, 1, 1>>("metrics, from the front", options);
    good = good && model::check<lists<false, 1, 0, 2>, lists<false, 1, 0, 1>>("metrics, from the middle", options);
    return good ? 0 : 1;
}
