/* Exemplars as OpenMetrics shows them. */
#define _GNU_SOURCE
#include "exemplar_fixture.h"

#include <math.h>

static const char *render(vs_text_format format, vs_name_form names)
{
    static vs_buffer out;
    vs_render_options options = {format, names};
    vs_snapshot *snapshot = look();
    out.size = 0;
    CHECK_EQ(vs_render_text(snapshot, &options, &out), VS_OK);
    CHECK(vs_buffer_reserve(&out, 1));
    out.data[out.size] = '\0';
    vs_snapshot_free(snapshot);
    return out.data;
}

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

static vs_series *in_milliseconds(const double *bounds, size_t n)
{
    vs_metric_spec spec = spec_of(VS_HISTOGRAM, "cas.put");
    spec.unit = text_of("ms");
    spec.bounds = bounds;
    spec.bound_count = n;
    vs_metric *metric = NULL;
    vs_series *series = NULL;
    if (vs_registry_declare(registry, &spec, &metric) != VS_OK || vs_metric_bind(metric, NULL, 0, &series) != VS_OK)
        abort();
    vs_metric_release(metric);
    return series;
}

static void open_metrics_shows_them_in_base_units(void)
{
    static const double bounds[] = {5, 50};
    begin();
    vs_series *series = in_milliseconds(bounds, 2);
    vs_histogram histogram = vs_series_histogram(series);
    vs_histogram_observe(&histogram, 37.5);
    vs_histogram_observe(&histogram, 1e5);
    CHECK(vs_series_exemplar_at(series, 37.5, UINT64_C(0x0af7651916cd43dd), UINT64_C(0x8448eb211c80319c), 0xb7ad6b71, NOON));
    CHECK(vs_series_exemplar_at(series, 1e5, 0, 1, UINT64_MAX, 1));
    const char *text = render(VS_OPENMETRICS_1_0_0, VS_NAMES_UNDERSCORES);
    CHECK(has(text, "cas_put_seconds_bucket{le=\"0.005\"} 0\n"));
    CHECK(has(text, "cas_put_seconds_bucket{le=\"0.05\"} 1 # {trace_id=\"0af7651916cd43dd8448eb211c80319c\","
                    "span_id=\"00000000b7ad6b71\"} 0.0375 1700000000.123\n"));
    CHECK(has(text, "cas_put_seconds_bucket{le=\"+Inf\"} 2 # {trace_id=\"00000000000000000000000000000001\","
                    "span_id=\"ffffffffffffffff\"} 100 0.000\n"));
    CHECK(has(text, "cas_put_seconds_count 2\n"));
    CHECK(has(render(VS_OPENMETRICS_1_0_0, VS_NAMES_UTF8), "{\"cas.put_seconds_bucket\",le=\"0.05\"} 1 # {trace_id=\"0af7"));
    vs_series_release(series);
    end();
}

static void the_older_format_shows_none(void)
{
    static const double bounds[] = {5, 50};
    begin();
    vs_series *series = in_milliseconds(bounds, 2);
    CHECK(put(series, 37.5, NOON));
    CHECK(!has(render(VS_PROMETHEUS_0_0_4, VS_NAMES_UNDERSCORES), "trace_id"));
    CHECK(!has(render(VS_PROMETHEUS_0_0_4, VS_NAMES_UTF8), "trace_id"));
    vs_series_release(series);
    end();
}

static void a_bucket_without_a_line_leaves_its_exemplar_to_the_next(void)
{
    const double twin = nextafter(5e-320, 1); /* the same in seconds */
    const double bounds[] = {5e-320, twin, 50};
    begin();
    vs_series *series = in_milliseconds(bounds, 3);
    CHECK(put(series, 5e-320, NOON));
    const char *text = render(VS_OPENMETRICS_1_0_0, VS_NAMES_UNDERSCORES);
    const char *shown = strstr(text, "trace_id");
    CHECK(shown != NULL && strstr(shown + 1, "trace_id") == NULL);
    CHECK(has(text, "e-323\"} 0 # {trace_id=\""));
    CHECK(put(series, twin, NOON));
    text = render(VS_OPENMETRICS_1_0_0, VS_NAMES_UNDERSCORES);
    shown = strstr(text, "trace_id");
    CHECK(shown != NULL && strstr(shown + 1, "trace_id") == NULL);
    vs_series_release(series);
    end();
}

/* The longest of everything, in every bucket there can be: AddressSanitizer sees a line that has no room. */
static void there_is_room_for_the_longest_lines(void)
{
    static double bounds[VS_BOUNDS_MAX];
    for (size_t i = 0; i < VS_BOUNDS_MAX; i++)
        bounds[i] = -1.7976931348623157e+300 * (double)(VS_BOUNDS_MAX - i);
    begin();
    vs_series *series = in_milliseconds(bounds, VS_BOUNDS_MAX);
    for (size_t i = 0; i < VS_BOUNDS_MAX; i++)
        CHECK(vs_series_exemplar_at(series, nextafter(bounds[i], -INFINITY), UINT64_MAX, UINT64_MAX, UINT64_MAX, INT64_MAX));
    CHECK(vs_series_exemplar_at(series, -1.2345678901234567e-307, UINT64_MAX, UINT64_MAX, UINT64_MAX, INT64_MAX));
    CHECK_EQ(exemplars_in_all(), VS_BOUNDS_MAX + 1);
    const char *text = render(VS_OPENMETRICS_1_0_0, VS_NAMES_UNDERSCORES);
    size_t lines = 0;
    for (const char *at = text; (at = strstr(at, " 9223372036.854\n")) != NULL; at++)
        lines++;
    CHECK_EQ(lines, VS_BOUNDS_MAX + 1);
    vs_series_release(series);
    end();
}

int main(void)
{
    open_metrics_shows_them_in_base_units();
    the_older_format_shows_none();
    a_bucket_without_a_line_leaves_its_exemplar_to_the_next();
    there_is_room_for_the_longest_lines();
    return check_report();
}
