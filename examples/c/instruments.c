#include "instruments.h"

#include <stdlib.h>

#define TEXT(literal) {literal, sizeof(literal) - 1}

static const int64_t SLOW_NS = 100000000; /* from how long on a trace is kept for that */

/* Declares a metric and binds the series with these label values. */
static vs_status series_of(vs_registry *registry, const vs_metric_spec *spec, const vs_text *values, vs_series **out)
{
    vs_metric *metric;
    vs_status status = vs_registry_declare(registry, spec, &metric);
    if (status != VS_OK)
        return status;
    status = vs_metric_bind(metric, values, spec->label_count, out);
    vs_metric_release(metric); /* the registry and the series hold it */
    return status;
}

static vs_status counter_of(vs_registry *registry, const vs_metric_spec *spec, vs_text value, vs_counter *out)
{
    vs_series *series;
    vs_status status = series_of(registry, spec, &value, &series);
    if (status == VS_OK)
        *out = vs_series_counter(series);
    return status;
}

static vs_status hdr_of(vs_registry *registry, vs_text name, vs_text help, vs_hdr *out)
{
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    vs_metric_spec spec = {.kind = VS_HDR, .name = name, .help = help, .unit = TEXT("ns"),
                           .quantiles = quantiles, .quantile_count = 4,
                           .hdr_lowest = 1, .hdr_highest = INT64_C(3600000000000), .hdr_digits = 3};
    vs_series *series;
    vs_status status = series_of(registry, &spec, NULL, &series);
    if (status == VS_OK)
        *out = vs_series_hdr(series);
    return status;
}

static double trace_rate(void)
{
    const char *text = getenv("VAULTSCOPE_TRACE_RATE");
    return text != NULL ? atof(text) : 0.1;
}

vs_status instruments_open(instruments *in)
{
    static const vs_text result[] = {TEXT("result")};
    vs_metric_spec puts = {.kind = VS_COUNTER, .name = TEXT("cas.put.count"), .help = TEXT("CAS put operations"),
                           .label_names = result, .label_count = 1};
    vs_metric_spec gets = {.kind = VS_COUNTER, .name = TEXT("cas.get.count"), .help = TEXT("CAS get operations"),
                           .label_names = result, .label_count = 1};
    vs_metric_spec bytes = {.kind = VS_COUNTER, .name = TEXT("cas.put.bytes"), .help = TEXT("Bytes stored"),
                            .unit = TEXT("bytes")};
    const struct {
        const vs_metric_spec *spec;
        vs_text value;
        vs_counter *counter;
    } counters[] = {
        {&puts, TEXT("stored"), &in->stored},       {&puts, TEXT("duplicate"), &in->duplicate},
        {&gets, TEXT("found"), &in->found},         {&gets, TEXT("not_found"), &in->not_found},
        {&gets, TEXT("corrupt"), &in->corrupt},     {&bytes, {NULL, 0}, &in->put_bytes},
    };
    vs_arena *arena;
    vs_status status = vs_arena_default(&arena);
    if (status == VS_OK)
        status = vs_registry_open(arena, &in->registry);
    for (size_t i = 0; status == VS_OK && i < sizeof counters / sizeof *counters; i++)
        status = counter_of(in->registry, counters[i].spec, counters[i].value, counters[i].counter);
    if (status == VS_OK)
        status = hdr_of(in->registry, (vs_text)TEXT("cas.put.duration"), (vs_text)TEXT("Put latency"), &in->put_duration);
    if (status == VS_OK)
        status = hdr_of(in->registry, (vs_text)TEXT("cas.get.duration"), (vs_text)TEXT("Get latency"), &in->get_duration);
    if (status == VS_OK)
        status = vs_journal_open(in->registry, NULL, &in->journal);
    if (status == VS_OK)
        status = vs_logger_open(in->journal, (vs_text)TEXT("cas"), &in->log);
    if (status == VS_OK)
        status = vs_tracer_open(in->journal, &(vs_tracer_options){.rate = trace_rate(), .slow_ns = SLOW_NS}, &in->tracer);
    return status;
}

vs_status instruments_print(const instruments *in, FILE *file)
{
    vs_snapshot *snapshot;
    vs_status status = vs_snapshot_take(in->registry, NULL, &snapshot);
    if (status != VS_OK)
        return status;
    vs_render_options options = {VS_PROMETHEUS_0_0_4, VS_NAMES_UNDERSCORES};
    vs_buffer text = {0};
    status = vs_render_text(snapshot, &options, &text);
    if (status == VS_OK)
        fwrite(text.data, 1, text.size, file);
    vs_buffer_free(&text);
    vs_snapshot_free(snapshot);
    return status;
}
