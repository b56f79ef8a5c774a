/* Rendering: numbers, names, units, and whole documents from snapshots that are built by hand. */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <string.h>

#include "check.h"
#include "hdr_fixture.h"
#include "vaultscope/render.h"

/* A snapshot with room for a few metrics, and the document rendered from it. */
enum { METRICS = 8, SERIES = 16, REALS = 64, COUNTS = 4096, TEXT = 65536 };

typedef struct fixture {
    vs_snapshot view;
    vs_snapshot_metric metrics[METRICS];
    vs_span32 labels[SERIES];
    uint64_t integers[SERIES];
    double numbers[SERIES];
    size_t counts_at[SERIES];
    uint32_t counts_first[SERIES], counts_len[SERIES];
    uint64_t counts[COUNTS];
    double reals[REALS];
    size_t real_count;
    char text[TEXT];
    vs_buffer out;
} fixture;

static vs_span32 keep(fixture *f, const char *text)
{
    vs_span32 span = {f->view.text_size, (uint32_t)strlen(text)};
    memcpy(f->text + span.at, text, span.size);
    f->view.text_size += span.size;
    return span;
}

static fixture *start(void)
{
    fixture *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    f->view = (vs_snapshot){.metrics = f->metrics, .reals = f->reals, .text = f->text, .labels = f->labels,
                            .integers = f->integers, .numbers = f->numbers, .counts_at = f->counts_at,
                            .counts_first = f->counts_first, .counts_len = f->counts_len, .counts = f->counts};
    return f;
}

static vs_snapshot_metric *declare(fixture *f, vs_kind kind, const char *name, const char *unit, const char *help)
{
    vs_snapshot_metric *metric = &f->metrics[f->view.metric_count++];
    *metric = (vs_snapshot_metric){.kind = kind, .name = keep(f, name), .unit = keep(f, unit), .help = keep(f, help),
                                   .series = f->view.series_count};
    return metric;
}

static size_t keep_reals(fixture *f, const double *values, size_t n)
{
    size_t first = f->real_count;
    memcpy(f->reals + first, values, n * sizeof *values);
    f->real_count += n;
    return first;
}

static void set_bounds(fixture *f, vs_snapshot_metric *metric, const double *bounds, uint32_t n)
{
    metric->bounds = keep_reals(f, bounds, n);
    metric->bound_count = n;
}

static size_t add_series(fixture *f, vs_snapshot_metric *metric, const char *labels, uint64_t integer, double number)
{
    size_t i = f->view.series_count++;
    f->labels[i] = keep(f, labels);
    f->integers[i] = integer;
    f->numbers[i] = number;
    f->counts_at[i] = f->view.counts_size;
    metric->series_count++;
    return i;
}

/* A histogram's series; of an HDR one, with the zeroes around left out as a snapshot does. */
static void add_counts(fixture *f, vs_snapshot_metric *metric, const char *labels, const uint64_t *counts, size_t n,
                       double sum)
{
    size_t first = 0;
    uint64_t total = 0;
    if (metric->kind == VS_HDR) {
        while (first < n && counts[first] == 0)
            first++;
        while (n > first && counts[n - 1] == 0)
            n--;
    }
    for (size_t k = first; k < n; k++) {
        total += counts[k];
        f->counts[f->view.counts_size + k - first] = counts[k];
    }
    size_t i = add_series(f, metric, labels, total, sum);
    f->counts_first[i] = (uint32_t)first;
    f->counts_len[i] = (uint32_t)(n - first);
    f->view.counts_size += n - first;
}

static const char *render(fixture *f, vs_text_format format, vs_name_form names)
{
    vs_render_options options = {format, names};
    f->out.size = 0;
    CHECK_EQ(vs_render_text(&f->view, &options, &f->out), VS_OK);
    CHECK(vs_buffer_reserve(&f->out, 1));
    f->out.data[f->out.size] = '\0';
    return f->out.data;
}

static const char *plain(fixture *f)
{
    return render(f, VS_PROMETHEUS_0_0_4, VS_NAMES_UNDERSCORES);
}

static const char *open_metrics(fixture *f)
{
    return render(f, VS_OPENMETRICS_1_0_0, VS_NAMES_UNDERSCORES);
}

static void finish(fixture *f)
{
    vs_buffer_free(&f->out);
    free(f);
}

static bool begins(const char *document, const char *expected)
{
    bool same = strncmp(document, expected, strlen(expected)) == 0;
    if (!same)
        fprintf(stderr, "--- is\n%.*s\n--- should begin\n%s\n", (int)strlen(expected) + 80, document, expected);
    return same;
}

static vs_text text(const char *string)
{
    return (vs_text){string, strlen(string)};
}

static bool reads(vs_buffer *buffer, const char *expected)
{
    bool same = buffer->size == strlen(expected) && memcmp(buffer->data, expected, buffer->size) == 0;
    if (!same)
        fprintf(stderr, "    is %.*s, should be %s\n", (int)buffer->size, buffer->data, expected);
    buffer->size = 0;
    return same;
}

/* Doubles are written in few characters, and canonically where OpenMetrics asks for it. */
static void test_double_forms(void)
{
    static const struct {
        double value;
        const char *simple, *canonical;
    } cases[] = {
        {0.0, "0", "0.0"},
        {-0.0, "-0.0", "-0.0"},
        {5.0, "5", "5.0"},
        {-17.0, "-17", "-17.0"},
        {0.005, "0.005", "0.005"},
        {0.0001, "0.0001", "0.0001"},
        {0.00001, "1e-05", "1e-05"},
        {0.1 + 0.2, "0.30000000000000004", "0.30000000000000004"},
        {100000.0, "100000", "100000.0"},
        {1e6, "1000000", "1e+06"},
        {2.5e6, "2500000", "2.5e+06"},
        {1234567.5, "1234567.5", "1.2345675e+06"},
        {1e15 + 0.125, "1000000000000000.1", "1.0000000000000001e+15"},
        {1801514316094494.25, "1801514316094494.2", "1.8015143160944942e+15"},
        {9007199254740993.0, "9007199254740992", "9.007199254740992e+15"},
        {0x1p63, "9223372036854775808", "9.223372036854776e+18"},
        {1e100, "1e+100", "1e+100"},
        {1e-7, "1e-07", "1e-07"},
        {DBL_MAX, "1.7976931348623157e+308", "1.7976931348623157e+308"},
        {-DBL_MIN, "-2.2250738585072014e-308", "-2.2250738585072014e-308"},
        {(double)INFINITY, "+Inf", "+Inf"},
        {-(double)INFINITY, "-Inf", "-Inf"},
        {(double)NAN, "NaN", "NaN"},
        {-(double)NAN, "NaN", "NaN"},
    };
    vs_buffer buffer = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(vs_render_double(cases[i].value, false, &buffer) && reads(&buffer, cases[i].simple));
        CHECK(vs_render_double(cases[i].value, true, &buffer) && reads(&buffer, cases[i].canonical));
    }
    vs_buffer_free(&buffer);
}

/* Digits of a number, but for zeros at either end. */
static int significant(const char *number)
{
    int digits = 0, zeros = 0;
    for (; *number != '\0' && *number != 'e'; number++) {
        if (*number == '0' && digits != 0)
            zeros++;
        if (*number < '1' || *number > '9')
            continue;
        digits += zeros + 1;
        zeros = 0;
    }
    return digits;
}

/* The fewest of 15 to 17 digits with which printf's text parses back. */
static int digits_needed(double value)
{
    char number[64];
    for (int digits = 15;; digits++) {
        snprintf(number, sizeof number, "%.*e", digits - 1, value);
        if (digits == 17 || strtod(number, NULL) == value)
            return significant(number);
    }
}

/* The text of any finite double parses back to the same bits, and has no more digits than that takes. */
static void test_double_round_trip(void)
{
    vs_buffer buffer = {0};
    unsigned long lost = 0, long_winded = 0, tried = 0;
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = random_word();
        double value;
        if (i % 4 == 0) { /* any bits; else a decimal, a quotient, or a neighbour of a power of two */
            memcpy(&value, &bits, sizeof value);
        } else if (i % 4 == 1) {
            value = (double)(int64_t)(bits >> bits % 64) / pow(10.0, (double)(bits % 13));
        } else if (i % 4 == 2) {
            value = (double)(bits >> 11) / 7.0 * pow(10.0, -(double)(bits % 22));
        } else {
            double power = ldexp(1.0, (int)(bits % 80) - 20);
            value = nextafter(power, bits >> 63 != 0 ? 0.0 : DBL_MAX);
        }
        if (!isfinite(value))
            continue;
        for (int canonical = 0; canonical < 2; canonical++) {
            buffer.size = 0;
            CHECK(vs_render_double(value, canonical != 0, &buffer) && vs_buffer_reserve(&buffer, 1));
            buffer.data[buffer.size] = '\0';
            double back = strtod(buffer.data, NULL);
            lost += memcmp(&back, &value, sizeof value) != 0;
            tried++;
        }
        long_winded += significant(buffer.data) > digits_needed(value);
    }
    CHECK(tried > 100000);
    CHECK_EQ(lost, 0);
    CHECK_EQ(long_winded, 0);
    vs_buffer_free(&buffer);
}

/* A locale with a decimal comma does not show. (Without one on this machine the test says nothing.) */
static void test_locale(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE", "ps_AF.UTF-8"};
    bool found = false;
    for (size_t i = 0; !found && i < sizeof names / sizeof *names; i++)
        found = setlocale(LC_ALL, names[i]) != NULL;
    vs_buffer buffer = {0};
    CHECK(vs_render_double(1.5, false, &buffer) && reads(&buffer, "1.5"));
    CHECK(vs_render_double(1.25e-30, false, &buffer) && reads(&buffer, "1.25e-30"));
    vs_buffer_free(&buffer);
    setlocale(LC_ALL, "C");
}

/* Integers are exact up to 2^64 - 1, with as many digits as they have. */
static void test_integers(void)
{
    vs_buffer buffer = {0};
    char expected[24];
    uint64_t power = 1;
    for (int digits = 0; digits < 20; digits++, power *= 10)
        for (int off = -1; off <= 1; off++) {
            uint64_t value = power + (uint64_t)off;
            snprintf(expected, sizeof expected, "%llu", (unsigned long long)value);
            CHECK(vs_render_u64(value, &buffer) && reads(&buffer, expected));
        }
    CHECK(vs_render_u64(UINT64_MAX, &buffer) && reads(&buffer, "18446744073709551615"));
    for (uint64_t value = 0; value < 1100; value++) {
        snprintf(expected, sizeof expected, "%llu", (unsigned long long)value);
        CHECK(vs_render_u64(value, &buffer) && reads(&buffer, expected));
    }
    vs_buffer_free(&buffer);
}

/* Memory that cannot be had makes the buffer fail and stay failed; nothing is written past it. */
static void test_buffer_failure(void)
{
    vs_buffer buffer = {0};
    CHECK(vs_render_u64(42, &buffer));
    CHECK(!vs_buffer_reserve(&buffer, SIZE_MAX));
    CHECK(buffer.failed);
    CHECK(!vs_render_u64(43, &buffer));
    CHECK(!vs_render_double(0.5, false, &buffer));
    CHECK(!vs_render_escaped(text("x"), &buffer));
    CHECK_EQ(buffer.size, 2);
    fixture *f = start();
    add_series(f, declare(f, VS_COUNTER, "a", "", ""), "", 1, 0.0);
    vs_render_options options = {VS_OPENMETRICS_1_0_0, VS_NAMES_UNDERSCORES};
    CHECK_EQ(vs_render_text(&f->view, &options, &buffer), VS_E_NO_MEMORY);
    CHECK_EQ(buffer.size, 2);
    vs_buffer_free(&buffer);
    CHECK(buffer.data == NULL && !buffer.failed);
    finish(f);
}

/* Label values: backslash, quote and newline are escaped, everything else is left as it is. */
static void test_escaped(void)
{
    vs_buffer buffer = {0};
    CHECK(vs_render_escaped(text("a\\b\"c\nd\te\xc3\xa9"), &buffer) && reads(&buffer, "a\\\\b\\\"c\\nd\te\xc3\xa9"));
    CHECK(vs_render_escaped(text(""), &buffer) && reads(&buffer, ""));
    vs_buffer_free(&buffer);
}

/* A declared unit says what its base unit is; an unknown word is its own. */
static void test_units(void)
{
    static const struct {
        const char *unit, *base;
        double per_base;
    } cases[] = {
        {"ns", "seconds", 1e9},   {"us", "seconds", 1e6},      {"\xc2\xb5s", "seconds", 1e6}, {"ms", "seconds", 1e3},
        {"s", "seconds", 1},      {"m", "seconds", 1.0 / 60},  {"hours", "seconds", 1.0 / 3600},
        {"d", "seconds", 1.0 / 86400}, {"B", "bytes", 1},      {"kB", "bytes", 1e-3},         {"GiB", "bytes", 0x1p-30},
        {"percent", "ratio", 100}, {"ratio", "ratio", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vs_unit unit = vs_unit_find(text(cases[i].unit));
        CHECK(unit.base != NULL && strcmp(unit.base, cases[i].base) == 0);
        CHECK(unit.per_base == cases[i].per_base);
    }
    static const char *const unknown[] = {"", "celsius", "msec", "Ms"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        vs_unit unit = vs_unit_find(text(unknown[i]));
        CHECK(unit.base == NULL && unit.per_base == 1.0);
    }
}

/* Exported names end in the base unit once, are legal or keep their dots, and a counter's has no total at its end. */
static void test_family_names(void)
{
    static const struct {
        vs_kind kind;
        const char *name, *unit, *underscores, *utf8;
    } cases[] = {
        {VS_HISTOGRAM, "cas.put.duration", "ms", "cas_put_duration_seconds", "cas.put.duration_seconds"},
        {VS_GAUGE, "storage.used.bytes", "bytes", "storage_used_bytes", "storage.used.bytes"},
        {VS_GAUGE, "storage.used.bytes", "B", "storage_used_bytes", "storage.used.bytes"},
        {VS_COUNTER, "cas.put.bytes", "bytes", "cas_put_bytes", "cas.put.bytes"},
        {VS_GAUGE, "replication.lag.seconds", "ms", "replication_lag_seconds", "replication.lag.seconds"},
        {VS_HISTOGRAM, "cas.put.ms", "ms", "cas_put_seconds", "cas.put.seconds"},
        {VS_HISTOGRAM, "cas.put_milliseconds", "ms", "cas_put_seconds", "cas.put_seconds"},
        {VS_HISTOGRAM, "cas.items", "ms", "cas_items_seconds", "cas.items_seconds"}, /* not `item` in ms */
        {VS_HISTOGRAM, "cas.put.ns", "ms", "cas_put_ns_seconds", "cas.put.ns_seconds"},
        {VS_GAUGE, "ms", "ms", "seconds", "seconds"},
        {VS_GAUGE, "storage.percent.used", "percent", "storage_percent_used_ratio", "storage.percent.used_ratio"},
        {VS_COUNTER, "errors.total", "", "errors", "errors"},
        {VS_COUNTER, "errors_total", "", "errors", "errors"},
        {VS_COUNTER, "cas.bytes.total", "bytes", "cas_bytes", "cas.bytes"},
        {VS_COUNTER, "subtotal", "", "subtotal", "subtotal"},
        {VS_COUNTER, "total", "", "total", "total"},
        {VS_GAUGE, "cas.total", "", "cas_total", "cas.total"},
        {VS_GAUGE, "room.temperature", "celsius", "room_temperature_celsius", "room.temperature_celsius"},
        {VS_GAUGE, "rate", "ops/s", "rate_ops_s", "rate_ops/s"},
        {VS_GAUGE, "na\xc3\xafve caf\xc3\xa9", "", "na_ve_caf_", "na\xc3\xafve caf\xc3\xa9"},
        {VS_GAUGE, "2nd.try", "", "_nd_try", "2nd.try"},
        {VS_GAUGE, "a:b", "", "a:b", "a:b"},
    };
    vs_buffer buffer = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vs_text name = text(cases[i].name), unit = text(cases[i].unit);
        CHECK(vs_render_family_name(cases[i].kind, name, unit, VS_NAMES_UNDERSCORES, &buffer));
        CHECK(reads(&buffer, cases[i].underscores));
        CHECK(vs_render_family_name(cases[i].kind, name, unit, VS_NAMES_UTF8, &buffer));
        CHECK(reads(&buffer, cases[i].utf8));
    }
    vs_buffer_free(&buffer);
}

/* A counter's family is `cas_put_count` in OpenMetrics, `cas_put_count_total` before; its samples always end in _total. */
static void test_counter(void)
{
    fixture *f = start();
    vs_snapshot_metric *metric = declare(f, VS_COUNTER, "cas.put.count", "", "Puts \"so far\"\\\nall");
    add_series(f, metric, "op=\"put\",peer=\"a\\\"b\"", UINT64_MAX, 0.0);
    add_series(f, metric, "op=\"get\",peer=\"c\"", 7, 0.25);
    CHECK(begins(plain(f), "# HELP cas_put_count_total Puts \"so far\"\\\\\\nall\n"
                           "# TYPE cas_put_count_total counter\n"
                           "cas_put_count_total{op=\"put\",peer=\"a\\\"b\"} 18446744073709551615\n"
                           "cas_put_count_total{op=\"get\",peer=\"c\"} 7.25\n"));
    CHECK(begins(open_metrics(f), "# TYPE cas_put_count counter\n"
                                  "# HELP cas_put_count Puts \\\"so far\\\"\\\\\\nall\n"
                                  "cas_put_count_total{op=\"put\",peer=\"a\\\"b\"} 18446744073709551615\n"
                                  "cas_put_count_total{op=\"get\",peer=\"c\"} 7.25\n"));
    CHECK(begins(render(f, VS_PROMETHEUS_0_0_4, VS_NAMES_UTF8),
                 "# HELP \"cas.put.count_total\" Puts \"so far\"\\\\\\nall\n"
                 "# TYPE \"cas.put.count_total\" counter\n"
                 "{\"cas.put.count_total\",op=\"put\",peer=\"a\\\"b\"} 18446744073709551615\n"
                 "{\"cas.put.count_total\",op=\"get\",peer=\"c\"} 7.25\n"));
    finish(f);
}

/* Values leave in base units: divided, or multiplied where the declared unit is the larger one; bytes stay exact. */
static void test_scale(void)
{
    fixture *f = start();
    add_series(f, declare(f, VS_COUNTER, "busy", "ms", ""), "", 5, 0.0);
    add_series(f, declare(f, VS_GAUGE, "age", "minutes", ""), "", 0, 7.0);
    add_series(f, declare(f, VS_GAUGE, "disk", "kB", ""), "", 0, 7.0);
    add_series(f, declare(f, VS_GAUGE, "used", "percent", ""), "", 0, 12.5);
    add_series(f, declare(f, VS_COUNTER, "sent", "bytes", ""), "", (UINT64_C(1) << 60) + 1, 0.0);
    add_series(f, declare(f, VS_GAUGE, "odd", "", ""), "", 0, (double)NAN);
    CHECK(begins(plain(f), "# TYPE busy_seconds_total counter\nbusy_seconds_total 0.005\n"
                           "# TYPE age_seconds gauge\nage_seconds 420\n"
                           "# TYPE disk_bytes gauge\ndisk_bytes 7000\n"
                           "# TYPE used_ratio gauge\nused_ratio 0.125\n"
                           "# TYPE sent_bytes_total counter\nsent_bytes_total 1152921504606846977\n"
                           "# TYPE odd gauge\nodd NaN\n"));
    finish(f);
}

/* OpenMetrics names the unit where the family name ends in an underscore and it, and nowhere else. */
static void test_unit_line(void)
{
    fixture *f = start();
    add_series(f, declare(f, VS_GAUGE, "lag.seconds", "s", ""), "", 0, 1.0);
    add_series(f, declare(f, VS_GAUGE, "rate", "ops/s", ""), "", 0, 2.0);
    add_series(f, declare(f, VS_GAUGE, "wait", "ms", ""), "", 0, 3.0);
    CHECK(begins(open_metrics(f), "# TYPE lag_seconds gauge\n# UNIT lag_seconds seconds\nlag_seconds 1\n"
                                  "# TYPE rate_ops_s gauge\n# UNIT rate_ops_s ops_s\nrate_ops_s 2\n"
                                  "# TYPE wait_seconds gauge\n# UNIT wait_seconds seconds\nwait_seconds 0.003\n"));
    CHECK(begins(render(f, VS_OPENMETRICS_1_0_0, VS_NAMES_UTF8),
                 "# TYPE \"lag.seconds\" gauge\n{\"lag.seconds\"} 1\n"
                 "# TYPE \"rate_ops/s\" gauge\n{\"rate_ops/s\"} 2\n"
                 "# TYPE wait_seconds gauge\n# UNIT wait_seconds seconds\nwait_seconds 0.003\n"));
    finish(f);
}

/* A labelled metric without children shows its headers; one without help has no HELP. */
static void test_no_series(void)
{
    fixture *f = start();
    declare(f, VS_HISTOGRAM, "a", "", "Some help");
    declare(f, VS_GAUGE, "b", "", "");
    CHECK(begins(plain(f), "# HELP a Some help\n# TYPE a histogram\n# TYPE b gauge\n# HELP vaultscope_"));
    finish(f);
}

/* Buckets are cumulative with canonical bounds in base units, and the last one equals the count. */
static void test_histogram(void)
{
    fixture *f = start();
    vs_snapshot_metric *metric = declare(f, VS_HISTOGRAM, "cas.put.duration", "ms", "");
    set_bounds(f, metric, (double[]){1, 5, 1000}, 3);
    add_counts(f, metric, "op=\"put\"", (uint64_t[]){3, 0, 4, 1}, 4, 2500.5);
    CHECK(begins(open_metrics(f), "# TYPE cas_put_duration_seconds histogram\n"
                                  "# UNIT cas_put_duration_seconds seconds\n"
                                  "cas_put_duration_seconds_bucket{op=\"put\",le=\"0.001\"} 3\n"
                                  "cas_put_duration_seconds_bucket{op=\"put\",le=\"0.005\"} 3\n"
                                  "cas_put_duration_seconds_bucket{op=\"put\",le=\"1.0\"} 7\n"
                                  "cas_put_duration_seconds_bucket{op=\"put\",le=\"+Inf\"} 8\n"
                                  "cas_put_duration_seconds_sum{op=\"put\"} 2.5005\n"
                                  "cas_put_duration_seconds_count{op=\"put\"} 8\n"));
    f->labels[0].size = 0;
    CHECK(begins(render(f, VS_PROMETHEUS_0_0_4, VS_NAMES_UTF8),
                 "# TYPE \"cas.put.duration_seconds\" histogram\n"
                 "{\"cas.put.duration_seconds_bucket\",le=\"0.001\"} 3\n"
                 "{\"cas.put.duration_seconds_bucket\",le=\"0.005\"} 3\n"
                 "{\"cas.put.duration_seconds_bucket\",le=\"1.0\"} 7\n"
                 "{\"cas.put.duration_seconds_bucket\",le=\"+Inf\"} 8\n"
                 "{\"cas.put.duration_seconds_sum\"} 2.5005\n"
                 "{\"cas.put.duration_seconds_count\"} 8\n"));
    finish(f);
}

/* Two bounds that are one number in base units make one line, with the counts of both. */
static void test_equal_bounds(void)
{
    fixture *f = start();
    vs_snapshot_metric *metric = declare(f, VS_HISTOGRAM, "a", "ns", "");
    double low = 1e9;
    while (low / 1e9 != nextafter(low, 2e9) / 1e9) /* doubles lie closer just above 1e9 than just above 1, in proportion */
        low = nextafter(low, 2e9);
    set_bounds(f, metric, (double[]){low, nextafter(low, 2e9)}, 2);
    add_counts(f, metric, "", (uint64_t[]){1, 2, 4}, 3, 7e9);
    CHECK(begins(plain(f), "# TYPE a_seconds histogram\na_seconds_bucket{le=\"1.0000000000000002\"} 3\n"
                           "a_seconds_bucket{le=\"+Inf\"} 7\na_seconds_sum 7\na_seconds_count 7\n"));
    f->reals[0] = 1.0;
    f->reals[1] = DBL_MAX;
    f->metrics[0].unit = keep(f, "hours"); /* infinite in seconds */
    CHECK(begins(plain(f), "# TYPE a_seconds histogram\na_seconds_bucket{le=\"3600.0\"} 1\n"
                           "a_seconds_bucket{le=\"+Inf\"} 7\n"));
    finish(f);
}

/* OpenMetrics allows no sum where values may be negative, and then no count either; the older format shows both. */
static void test_negative_values(void)
{
    fixture *f = start();
    vs_snapshot_metric *metric = declare(f, VS_HISTOGRAM, "a", "", "");
    set_bounds(f, metric, (double[]){-1, 1}, 2);
    add_counts(f, metric, "", (uint64_t[]){1, 0, 1}, 3, 4.0);
    metric = declare(f, VS_HISTOGRAM, "b", "", "");
    set_bounds(f, metric, (double[]){0}, 1);
    add_counts(f, metric, "", (uint64_t[]){1, 0}, 2, -4.0);
    CHECK(begins(open_metrics(f), "# TYPE a histogram\na_bucket{le=\"-1.0\"} 1\na_bucket{le=\"1.0\"} 1\n"
                                  "a_bucket{le=\"+Inf\"} 2\n"
                                  "# TYPE b histogram\nb_bucket{le=\"0.0\"} 1\nb_bucket{le=\"+Inf\"} 1\n"
                                  "# TYPE vaultscope_"));
    CHECK(strstr(plain(f), "a_sum 4\na_count 2\n") != NULL);
    CHECK(strstr(plain(f), "b_sum -4\nb_count 1\n") != NULL);
    finish(f);
}

/* Without bounds an HDR histogram is a summary whose quantiles are those of vs_hdr_quantile; an empty one has NaN. */
static void test_hdr_summary(void)
{
    fixture *f = start();
    vs_snapshot_metric *metric = declare(f, VS_HDR, "put", "ns", "");
    static const double quantiles[] = {0.0, 0.5, 0.999, 1.0};
    metric->quantiles = keep_reals(f, quantiles, 4);
    metric->quantile_count = 4;
    metric->hdr = config_of(1, INT64_C(3600000000000), 2);
    uint64_t *counts = zeroes(&metric->hdr);
    counts[vs_hdr_index(&metric->hdr, 1000)] = 3;
    counts[vs_hdr_index(&metric->hdr, 1200)] = 2;
    counts[vs_hdr_index(&metric->hdr, 5000)] = 1;
    add_counts(f, metric, "op=\"put\"", counts, (size_t)metric->hdr.counts_len, 10400.0);
    add_series(f, metric, "op=\"get\"", 0, 0.0);
    char expected[2048];
    int size = snprintf(expected, sizeof expected, "# TYPE put_seconds summary\n");
    static const char *const labels[] = {"0.0", "0.5", "0.999", "1.0"};
    for (size_t i = 0; i < 4; i++) {
        vs_buffer number = {0};
        vs_render_double((double)vs_hdr_quantile(&metric->hdr, counts, quantiles[i]) / 1e9, false, &number);
        size += snprintf(expected + size, sizeof expected - (size_t)size, "put_seconds{op=\"put\",quantile=\"%s\"} %.*s\n",
                         labels[i], (int)number.size, number.data);
        vs_buffer_free(&number);
    }
    snprintf(expected + size, sizeof expected - (size_t)size,
             "put_seconds_sum{op=\"put\"} 1.04e-05\nput_seconds_count{op=\"put\"} 6\n"
             "put_seconds{op=\"get\",quantile=\"0.0\"} NaN\nput_seconds{op=\"get\",quantile=\"0.5\"} NaN\n"
             "put_seconds{op=\"get\",quantile=\"0.999\"} NaN\nput_seconds{op=\"get\",quantile=\"1.0\"} NaN\n"
             "put_seconds_sum{op=\"get\"} 0\nput_seconds_count{op=\"get\"} 0\n");
    CHECK(begins(plain(f), expected));
    free(counts);
    finish(f);
}

/* Quantiles may stand in any order. */
static void test_quantile_order(void)
{
    fixture *f = start();
    vs_snapshot_metric *metric = declare(f, VS_HDR, "size", "", "");
    metric->quantiles = keep_reals(f, (double[]){1.0, 0.5, 0.75}, 3);
    metric->quantile_count = 3;
    metric->hdr = config_of(1, 1000, 3);
    uint64_t *counts = zeroes(&metric->hdr);
    counts[10] = counts[20] = counts[30] = counts[40] = 5;
    add_counts(f, metric, "", counts, (size_t)metric->hdr.counts_len, 500.0);
    CHECK(begins(plain(f), "# TYPE size summary\nsize{quantile=\"1.0\"} 40\nsize{quantile=\"0.5\"} 20\n"
                           "size{quantile=\"0.75\"} 30\nsize_sum 500\nsize_count 20\n"));
    free(counts);
    finish(f);
}

/* With bounds it is a histogram: a value equal to a bound is in that bucket, and all values are in the last. */
static void test_hdr_buckets(void)
{
    fixture *f = start();
    vs_snapshot_metric *metric = declare(f, VS_HDR, "put", "ns", "");
    metric->hdr = config_of(1, 1000000, 2);
    set_bounds(f, metric, (double[]){-1, 0, 100, 100.5, 10000, 1e6, 1e9}, 7);
    uint64_t *counts = zeroes(&metric->hdr);
    counts[vs_hdr_index(&metric->hdr, 0)] += 1;
    counts[vs_hdr_index(&metric->hdr, 100)] += 2;
    counts[vs_hdr_index(&metric->hdr, 101)] += 4;
    counts[vs_hdr_index(&metric->hdr, 10000)] += 8;
    counts[vs_hdr_index(&metric->hdr, 10200)] += 16; /* 10000 and 10200 do not share a count with two digits */
    counts[vs_hdr_index(&metric->hdr, 1000000)] += 32;
    add_counts(f, metric, "", counts, (size_t)metric->hdr.counts_len, 1000.0);
    add_series(f, metric, "op=\"none\"", 0, 0.0);
    CHECK(begins(plain(f), "# TYPE put_seconds histogram\n"
                           "put_seconds_bucket{le=\"-1e-09\"} 0\n"
                           "put_seconds_bucket{le=\"0.0\"} 1\n"
                           "put_seconds_bucket{le=\"1e-07\"} 3\n"
                           "put_seconds_bucket{le=\"1.005e-07\"} 3\n"
                           "put_seconds_bucket{le=\"1e-05\"} 15\n"
                           "put_seconds_bucket{le=\"0.001\"} 63\n"
                           "put_seconds_bucket{le=\"1.0\"} 63\n"
                           "put_seconds_bucket{le=\"+Inf\"} 63\n"
                           "put_seconds_sum 1e-06\n"
                           "put_seconds_count 63\n"
                           "put_seconds_bucket{op=\"none\",le=\"-1e-09\"} 0\n"));
    free(counts);
    finish(f);
}

/* What was lost is shown by metric, one family after the other, without rows of zero; then the state of the arena. */
static void test_losses(void)
{
    fixture *f = start();
    vs_snapshot_metric *a = declare(f, VS_COUNTER, "a.b", "", ""), *c = declare(f, VS_HDR, "c\"d", "", "");
    a->losses[VS_LOSS_INVALID] = 3;
    c->losses[VS_LOSS_INVALID] = 4;
    c->losses[VS_LOSS_CLAMPED_HIGH] = 5;
    a->losses[VS_LOSS_OVERFLOWED] = 6;
    f->view.arena_used = 1024;
    f->view.arena_limit = 4096;
    f->view.stripes_held = 2;
    f->view.stripes_total = 64;
    const char *own = strstr(open_metrics(f), "# TYPE vaultscope_");
    CHECK(own != NULL);
    CHECK(begins(own != NULL ? own : "",
                 "# TYPE vaultscope_invalid_observations counter\n"
                 "# HELP vaultscope_invalid_observations Values that the metric cannot take.\n"
                 "vaultscope_invalid_observations_total{metric=\"a.b\"} 3\n"
                 "vaultscope_invalid_observations_total{metric=\"c\\\"d\"} 4\n"
                 "# TYPE vaultscope_clamped_values counter\n"
                 "# HELP vaultscope_clamped_values Values out of range, recorded as the nearest end of it.\n"
                 "vaultscope_clamped_values_total{metric=\"c\\\"d\",side=\"high\"} 5\n"
                 "# TYPE vaultscope_series_overflow counter\n"
                 "# HELP vaultscope_series_overflow Binds beyond the series limit, answered with the overflow series.\n"
                 "vaultscope_series_overflow_total{metric=\"a.b\"} 6\n"
                 "# TYPE vaultscope_arena_bytes gauge\n"
                 "# UNIT vaultscope_arena_bytes bytes\n"
                 "# HELP vaultscope_arena_bytes Bytes of cells in one stripe.\n"
                 "vaultscope_arena_bytes{state=\"used\"} 1024\n"
                 "vaultscope_arena_bytes{state=\"limit\"} 4096\n"
                 "# TYPE vaultscope_stripes gauge\n"
                 "# HELP vaultscope_stripes Stripes for threads.\n"
                 "vaultscope_stripes{state=\"held\"} 2\n"
                 "vaultscope_stripes{state=\"total\"} 64\n"
                 "# TYPE vaultscope_unsettled_reads counter\n"
                 "# HELP vaultscope_unsettled_reads Reads of a histogram that a writer held up.\n"
                 "vaultscope_unsettled_reads_total 0\n"
                 "# EOF\n"));
    finish(f);
}

int main(void)
{
    test_double_forms();
    test_double_round_trip();
    test_locale();
    test_integers();
    test_buffer_failure();
    test_escaped();
    test_units();
    test_family_names();
    test_counter();
    test_scale();
    test_unit_line();
    test_no_series();
    test_histogram();
    test_equal_bounds();
    test_negative_values();
    test_hdr_summary();
    test_quantile_order();
    test_hdr_buckets();
    test_losses();
    return check_report();
}
