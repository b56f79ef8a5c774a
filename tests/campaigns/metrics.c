/* The three metrics of a campaign: declared, written, read and checked. */
#include "campaign.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double VALUES[BUCKETS] = {1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 20000}; /* the bounds, and one more */
static const int32_t STEP = 16; /* counts of the HDR histogram from one that is written to the next */

static vs_text text_of(const char *string) { return (vs_text){string, strlen(string)}; }

static int64_t value_of_step(const vs_hdr_config *config, int32_t step)
{
    return vs_hdr_value_at_index(config, step * STEP);
}

static double value_max(void)
{
    vs_hdr_config config;
    vs_hdr_config_init(&config, 1, 1000000, 2);
    return (double)value_of_step(&config, STEPS - 1);
}

/* ---- declaring ---- */

static vs_series *declare(vs_registry *registry, const vs_metric_spec *spec)
{
    vs_metric *metric;
    vs_series *series;
    if (vs_registry_declare(registry, spec, &metric) != VS_OK || vs_metric_bind(metric, NULL, 0, &series) != VS_OK)
        give_up("a metric cannot be declared");
    vs_metric_release(metric);
    return series;
}

static void open_arena(const char *path, vs_arena_access access, const vs_arena_options *options, metrics *m)
{
    vs_status status = path != NULL ? vs_arena_open_file(path, access, options, &m->arena) : vs_arena_open(options, &m->arena);
    if (status != VS_OK)
        give_up(path != NULL ? vs_arena_reason() : vs_status_text(status));
    if (vs_registry_open(m->arena, &m->registry) != VS_OK)
        give_up("no registry");
}

void metrics_open(metrics *m, const campaign *c, uint32_t stripes)
{
    vs_arena_options options = {.stripe_count = stripes, .stripe_bytes = 1 << 20};
    open_arena(c->path, VS_ARENA_SHARE, &options, m);
    vs_metric_spec counter = {.kind = VS_COUNTER, .name = text_of("increments")};
    vs_metric_spec histogram = {.kind = VS_HISTOGRAM, .name = text_of("values"), .bounds = VALUES, .bound_count = BOUNDS};
    vs_metric_spec hdr = {.kind = VS_HDR, .name = text_of("steps"), .hdr_lowest = 1, .hdr_highest = 1000000, .hdr_digits = 2};
    m->series[0] = declare(m->registry, &counter);
    m->series[1] = declare(m->registry, &histogram);
    m->series[2] = declare(m->registry, &hdr);
    m->counter = vs_series_counter(m->series[0]);
    m->histogram = vs_series_histogram(m->series[1]);
    m->hdr = vs_series_hdr(m->series[2]);
}

void metrics_open_reader(metrics *m, const char *path)
{
    *m = (metrics){0};
    open_arena(path, VS_ARENA_READ, NULL, m);
}

/* ---- writing ---- */

/* Relaxed, and by one thread: a kill or a reader may come before it, never after it and before what it notes, since the
 * hot operations are not moved past it (they are of the same thread, and x86 and the kernel see stores in order). */
static void note(vs_word *word) { vs_store_release(word, vs_load_relaxed(word) + 1); }

void metrics_write(const metrics *m, uint64_t random, tally *done)
{
    size_t bucket = random % BUCKETS, step = random / BUCKETS % STEPS;
    vs_counter_inc(m->counter);
    note(&done->increments);
    vs_histogram_observe(&m->histogram, VALUES[bucket]);
    note(&done->buckets[bucket]);
    vs_hdr_record(&m->hdr, value_of_step(&m->hdr.config, (int32_t)step));
    note(&done->steps[step]);
}

static vs_word *word_of(tally *t, size_t i) { return (vs_word *)((char *)t + i * sizeof(vs_word)); }
static uint64_t count_of(const tally *t, size_t i) { return vs_load_relaxed((const vs_word *)((const char *)t + i * sizeof(vs_word))); }
static const size_t WORDS = sizeof(tally) / sizeof(vs_word);

void tally_add(tally *to, const tally *from)
{
    for (size_t i = 0; i < WORDS; i++)
        vs_store_relaxed(word_of(to, i), count_of(to, i) + count_of(from, i));
}

uint64_t tally_writes(const tally *done)
{
    uint64_t writes = 0;
    for (size_t i = 0; i < WORDS; i++)
        writes += count_of(done, i);
    return writes;
}

/* ---- reading ---- */

static void read_hdr(const vs_snapshot *s, size_t series, reading *r)
{
    for (uint32_t i = 0; i < s->counts_len[series]; i++) {
        uint64_t count = s->counts[s->counts_at[series] + i];
        uint32_t index = s->counts_first[series] + i;
        if (index % (uint32_t)STEP == 0 && index / (uint32_t)STEP < STEPS)
            vs_store_relaxed(&r->seen.steps[index / (uint32_t)STEP], count);
        else
            r->strays += count;
    }
}

void metrics_read(const metrics *m, reading *r)
{
    vs_snapshot *s;
    memset(r, 0, sizeof *r);
    if (vs_snapshot_take(m->registry, NULL, &s) != VS_OK || s->series_count != 3)
        give_up("no snapshot");
    vs_store_relaxed(&r->seen.increments, s->integers[0]);
    for (size_t i = 0; i < BUCKETS; i++)
        vs_store_relaxed(&r->seen.buckets[i], s->counts[s->counts_at[1] + i]);
    read_hdr(s, 2, r);
    r->sum = s->numbers[1];
    r->hdr_sum = s->numbers[2];
    r->unsettled = s->unsettled;
    r->stripes_held = s->stripes_held;
    r->processes = (uint32_t)s->processes;
    r->processes_refused = s->processes_refused;
    vs_snapshot_free(s);
}

/* ---- checking ---- */

/* Sums are of integers below 2^53, so they are exact. */
static bool is_near(double sum, double expected, double beyond)
{
    return sum >= expected && sum <= expected + beyond;
}

bool reading_is_whole(const reading *r, uint64_t vanished)
{
    double sum = 0.0, hdr_sum = 0.0;
    vs_hdr_config config;
    vs_hdr_config_init(&config, 1, 1000000, 2);
    for (size_t i = 0; i < BUCKETS; i++)
        sum += VALUES[i] * (double)count_of(&r->seen, 1 + i);
    for (int32_t i = 0; i < STEPS; i++)
        hdr_sum += (double)value_of_step(&config, i) * (double)vs_load_relaxed(&r->seen.steps[i]);
    return r->strays == 0 && is_near(r->sum, sum, (double)vanished * VALUES[BUCKETS - 1]) &&
           is_near(r->hdr_sum, hdr_sum, (double)vanished * value_max());
}

bool reading_holds(const reading *r, const tally *before)
{
    for (size_t i = 0; i < WORDS; i++)
        if (count_of(&r->seen, i) < count_of(before, i))
            return false;
    return true;
}

uint64_t reading_excess(const reading *r, const tally *done) { return tally_writes(&r->seen) - tally_writes(done); }
