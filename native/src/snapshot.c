/* Copies a registry's values into columns.
 *
 * A snapshot is built by appending, so everything inside refers by index or offset; pointers are set once, at the end. It walks
 * the registry's lists without a lock: new series may appear behind it, removed ones stay readable until it leaves. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

/* A column that grows. */
typedef struct column {
    void *data;
    size_t size;
    size_t capacity;
    size_t item;
} column;

typedef struct builder {
    vs_snapshot view; /* first: vs_snapshot_free gets a pointer to it */
    column metrics, label_names, reals, labels, integers, numbers, counts_at, counts_first, counts_len, counts, exemplars, text;
    vs_process *processes; /* whose gauges are shown */
    size_t process_count;
    uint64_t sequence; /* of the last series or metric to look at */
    bool failed;
} builder;

/* Counts of one series, and room to read them into, as long as the longest tally needs. Under the read lock, and kept from one
 * snapshot to the next unless they are very long: fresh memory of that size would cost more page faults than the reading. */
static uint64_t *wide, *scratch;
static size_t wide_size;
enum { WIDE_KEPT = 1 << 17 };

static void narrow(void)
{
    free(wide);
    free(scratch);
    wide = scratch = NULL;
    wide_size = 0;
}

static void *append(builder *b, column *c, size_t n)
{
    if (c->size + n > c->capacity) {
        size_t capacity = c->capacity != 0 ? c->capacity : 64;
        while (capacity < c->size + n)
            capacity *= 2;
        void *data = realloc(c->data, capacity * c->item);
        if (data == NULL) {
            b->failed = true;
            return NULL;
        }
        c->data = data;
        c->capacity = capacity;
    }
    void *at = (char *)c->data + c->size * c->item;
    c->size += n;
    return at;
}

#define PUSH(b, column, type, value)                  \
    do {                                              \
        type *at_ = append((b), &(b)->column, 1);     \
        if (at_ != NULL)                              \
            *at_ = (value);                           \
    } while (0)

static vs_span32 keep(builder *b, vs_text text)
{
    vs_span32 span = {b->text.size, (uint32_t)text.size};
    char *at = append(b, &b->text, text.size + 1);
    if (at == NULL)
        return (vs_span32){0, 0};
    if (text.size != 0)
        memcpy(at, text.data, text.size);
    at[text.size] = '\0'; /* for those who look at it in a debugger */
    return span;
}

static size_t keep_reals(builder *b, const double *values, size_t n)
{
    size_t first = b->reals.size;
    double *at = append(b, &b->reals, n);
    if (at != NULL && n != 0)
        memcpy(at, values, n * sizeof *values);
    return first;
}

static bool widen(builder *b, size_t n)
{
    if (n <= wide_size)
        return true;
    narrow();
    wide = malloc(n * sizeof *wide);
    scratch = malloc(n * sizeof *scratch);
    wide_size = wide != NULL && scratch != NULL ? n : 0;
    b->failed = b->failed || wide_size == 0;
    return wide_size != 0;
}

/* Before the counts, so that what an exemplar tells of is in them (MEMORY_MODEL.md). */
static void add_exemplars(builder *b, const vs_metric *metric, const vs_series *series)
{
    if (metric->bound_count == 0 || vs_load_relaxed(&series->exemplars) == NULL) /* relaxed: E2 follows */
        return;
    size_t room = metric->bound_count + 1;
    vs_exemplar *at = append(b, &b->exemplars, room);
    if (at != NULL)
        b->exemplars.size -= room - vs_exemplars_read(series, b->labels.size - 1, at);
}

static void add_tally(builder *b, const vs_metric *metric, const vs_series *series)
{
    size_t n = metric->tally_size;
    if (!widen(b, n))
        return;
    if (metric->kind == VS_HISTOGRAM)
        memset(wide, 0, n * sizeof *wide);
    vs_tally_totals totals = {0};
    vs_tally_read(metric->registry->arena, series->offset, n, metric->kind == VS_HISTOGRAM, wide, scratch, &totals);
    metric->registry->unsettled += totals.unsettled;
    size_t first = 0, end = n;
    if (metric->kind == VS_HDR) { /* thousands of counts, most of them 0: keep from the first to the last that is not */
        first = totals.first;
        end = totals.end;
        while (first < end && wide[first] == 0)
            first++;
        while (end > first && wide[end - 1] == 0)
            end--;
    }
    PUSH(b, integers, uint64_t, totals.count);
    PUSH(b, numbers, double, metric->kind == VS_HISTOGRAM ? totals.sum_double : (double)totals.sum_integer);
    PUSH(b, counts_at, size_t, b->counts.size);
    PUSH(b, counts_first, uint32_t, (uint32_t)first);
    PUSH(b, counts_len, uint32_t, (uint32_t)(end - first));
    uint64_t *at = append(b, &b->counts, end - first);
    if (at != NULL && end != first)
        memcpy(at, wide + first, (end - first) * sizeof *at);
}

static void add_number(builder *b, uint64_t integer, double number)
{
    PUSH(b, integers, uint64_t, integer);
    PUSH(b, numbers, double, number);
    PUSH(b, counts_at, size_t, b->counts.size);
    PUSH(b, counts_first, uint32_t, 0);
    PUSH(b, counts_len, uint32_t, 0);
}

/* What a process wrote to its own cell; 0 if it never did. */
static uint64_t packed_gauge(const vs_process *process, const vs_series *series)
{
    return vs_load_relaxed((const vs_word *)(process->gauges + series->offset));
}

/* A series for each process: its labels, and pid="123". */
static void add_gauge_of_each(builder *b, const vs_series *series)
{
    for (size_t i = 0; i < b->process_count; i++) {
        uint64_t packed = packed_gauge(&b->processes[i], series);
        if (packed == 0)
            continue;
        char pid[40];
        int size = snprintf(pid, sizeof pid, "%spid=\"%llu\"", series->labels_size != 0 ? "," : "",
                            (unsigned long long)b->processes[i].pid);
        vs_span32 labels = keep(b, (vs_text){series->labels, series->labels_size});
        char *at = append(b, &b->text, (size_t)size);
        if (at == NULL)
            return;
        memcpy(at - 1, pid, (size_t)size + 1); /* over the NUL after the labels */
        labels.size += (uint32_t)size;
        PUSH(b, labels, vs_span32, labels);
        add_number(b, 0, vs_gauge_unpack(packed));
    }
}

static double combined_gauge(const builder *b, vs_gauge_mode mode, const vs_series *series)
{
    double combined = 0.0;
    bool any = false;
    for (size_t i = 0; i < b->process_count; i++) {
        uint64_t packed = packed_gauge(&b->processes[i], series);
        if (packed == 0)
            continue;
        double value = vs_gauge_unpack(packed);
        if (!any || value != value || (mode == VS_GAUGE_MIN && value < combined) || (mode == VS_GAUGE_MAX && value > combined))
            combined = mode == VS_GAUGE_SUM ? combined + value : value;
        else if (mode == VS_GAUGE_SUM)
            combined += value;
        any = true;
    }
    return combined;
}

static void add_series(builder *b, const vs_metric *metric, const vs_series *series)
{
    if (metric->mode == VS_GAUGE_ALL) {
        add_gauge_of_each(b, series);
        return;
    }
    PUSH(b, labels, vs_span32, keep(b, (vs_text){series->labels, series->labels_size}));
    if (metric->kind == VS_HISTOGRAM || metric->kind == VS_HDR) {
        add_exemplars(b, metric, series);
        add_tally(b, metric, series);
        return;
    }
    uint64_t integer = 0;
    double number = 0.0;
    if (metric->kind == VS_COUNTER)
        vs_counter_read(vs_series_counter(series), &integer, &number);
    else if (metric->mode == VS_GAUGE_LAST)
        number = vs_gauge_read(vs_series_gauge(series));
    else
        number = combined_gauge(b, metric->mode, series);
    add_number(b, integer, number);
}

static void add_metric(builder *b, vs_metric *metric)
{
    vs_snapshot_metric m = {.kind = metric->kind, .hdr = metric->hdr};
    m.name = keep(b, metric->name);
    m.help = keep(b, metric->help);
    m.unit = keep(b, metric->unit);
    m.label_count = (uint32_t)metric->label_count;
    m.label_names = b->label_names.size;
    for (size_t i = 0; i < metric->label_count; i++)
        PUSH(b, label_names, vs_span32, keep(b, metric->label_names[i]));
    if (metric->mode == VS_GAUGE_ALL) {
        PUSH(b, label_names, vs_span32, keep(b, VS_PID_LABEL));
        m.label_count++;
    }
    m.bound_count = (uint32_t)metric->bound_count;
    m.bounds = keep_reals(b, metric->bounds, metric->bound_count);
    m.quantile_count = (uint32_t)metric->quantile_count;
    m.quantiles = keep_reals(b, metric->quantiles, metric->quantile_count);
    m.series = b->labels.size;
    /* S2: acquire; pairs with S1 in series.c */
    for (vs_series *series = vs_load_acquire(&metric->first);
         series != NULL && series->sequence <= b->sequence && !b->failed; series = vs_load_acquire(&series->next))
        add_series(b, metric, series);
    m.series_count = b->labels.size - m.series;
    for (vs_loss kind = 0; kind < VS_LOSS_KINDS; kind++)
        m.losses[kind] = vs_metric_loss_read(metric, kind);
    PUSH(b, metrics, vs_snapshot_metric, m);
}

static void publish(builder *b)
{
    vs_snapshot *s = &b->view;
    s->metrics = b->metrics.data;
    s->metric_count = b->metrics.size;
    s->label_names = b->label_names.data;
    s->reals = b->reals.data;
    s->text = b->text.data;
    s->text_size = b->text.size;
    s->series_count = b->labels.size;
    s->labels = b->labels.data;
    s->integers = b->integers.data;
    s->numbers = b->numbers.data;
    s->counts_at = b->counts_at.data;
    s->counts_first = b->counts_first.data;
    s->counts_len = b->counts_len.data;
    s->counts = b->counts.data;
    s->counts_size = b->counts.size;
    s->exemplars = b->exemplars.data;
    s->exemplar_count = b->exemplars.size;
}

vs_status vs_snapshot_take(vs_registry *registry, const vs_text *only, vs_snapshot **out)
{
    builder *b = calloc(1, sizeof *b);
    if (b == NULL)
        return VS_E_NO_MEMORY;
    b->metrics.item = sizeof(vs_snapshot_metric);
    b->label_names.item = b->labels.item = sizeof(vs_span32);
    b->reals.item = b->numbers.item = sizeof(double);
    b->integers.item = b->counts.item = sizeof(uint64_t);
    b->counts_at.item = sizeof(size_t);
    b->exemplars.item = sizeof(vs_exemplar);
    b->counts_first.item = b->counts_len.item = sizeof(uint32_t);
    b->text.item = 1;

    vs_arena *arena = registry->arena;
    size_t dead = 0;
    if (vs_processes_survey(arena, &b->processes, &b->process_count, &dead) != VS_OK)
        b->failed = true;
    if (dead != 0)
        vs_arena_reap(arena);
    vs_read_lock();
    vs_status status = vs_registry_enter(registry, &b->sequence);
    /* M2: acquire; pairs with M1 in registry.c */
    for (vs_metric *metric = vs_load_acquire(&registry->first);
         metric != NULL && metric->sequence <= b->sequence && !b->failed; metric = vs_load_acquire(&metric->next))
        if (only == NULL ||
            (metric->name.size == only->size && memcmp(metric->name.data, only->data, only->size) == 0))
            add_metric(b, metric);
    b->view.unsettled = registry->unsettled;
    vs_registry_leave(registry);
    if (wide_size > WIDE_KEPT)
        narrow();
    vs_read_unlock();

    vs_processes_free(b->processes);
    b->view.in_file = arena->file != NULL;
    b->view.processes = b->process_count;
    b->view.processes_refused = arena->file != NULL ? vs_file_refused(arena) : 0;
    vs_arena_usage(arena, &b->view.arena_used, &b->view.arena_limit);
    vs_stripe_usage(arena->slot, &b->view.stripes_total, &b->view.stripes_held);
    publish(b);
    if (b->failed || status != VS_OK) {
        vs_snapshot_free(&b->view);
        return status != VS_OK ? status : VS_E_NO_MEMORY;
    }
    *out = &b->view;
    return VS_OK;
}

void vs_snapshot_free(vs_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    builder *b = (builder *)snapshot;
    column *columns[] = {&b->metrics, &b->label_names, &b->reals,        &b->labels,     &b->integers, &b->numbers,
                         &b->counts_at, &b->counts_first, &b->counts_len, &b->counts, &b->exemplars, &b->text};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        free(columns[i]->data);
    free(b);
}

size_t vs_snapshot_bytes(const vs_snapshot *snapshot)
{
    const builder *b = (const builder *)snapshot;
    const column *columns[] = {&b->metrics, &b->label_names, &b->reals,        &b->labels,     &b->integers, &b->numbers,
                               &b->counts_at, &b->counts_first, &b->counts_len, &b->counts, &b->exemplars, &b->text};
    size_t bytes = sizeof *b;
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        bytes += columns[i]->capacity * columns[i]->item;
    return bytes;
}
