/* Prometheus text from a snapshot, and the names and units that it uses. Pure functions; any thread; no lock. */
#ifndef VAULTSCOPE_RENDER_H
#define VAULTSCOPE_RENDER_H

#include "buffer.h"
#include "snapshot.h"

typedef enum vs_text_format { VS_PROMETHEUS_0_0_4 = 0, VS_OPENMETRICS_1_0_0 = 1 } vs_text_format;
typedef enum vs_name_form { VS_NAMES_UNDERSCORES = 0, VS_NAMES_UTF8 = 1 } vs_name_form;

typedef struct vs_render_options {
    vs_text_format format;
    vs_name_form names;
} vs_render_options;

/* Appends the whole snapshot in the given format. VS_E_NO_MEMORY. */
VS_API vs_status vs_render_text(const vs_snapshot *snapshot, const vs_render_options *options, vs_buffer *out);

/* A declared unit and what it is in base units: "ms" is {"seconds", 1000}: a value is divided by `per_base`. Division, so that
 * 5 ms is exactly 0.005 s. An unknown word is its own base unit. */
typedef struct vs_unit {
    const char *base; /* NULL: the declared word itself */
    double per_base;
} vs_unit;

VS_API vs_unit vs_unit_find(vs_text unit);

/* Appends the exported family name (without _total, _bucket, _sum, _count): dots and other bytes that are not legal become
 * underscores (VS_NAMES_UNDERSCORES) or stay (VS_NAMES_UTF8); the base unit is appended if it is not there yet;
 * a counter loses a `_total` or `.total` at its end, since the sample gets it, and a gauge a `_count` or `.count`, since
 * that is how a histogram's samples end. */
VS_API bool vs_render_family_name(vs_kind kind, vs_text name, vs_text unit, vs_name_form form, vs_buffer *out);

/* Appends a number that parses back to the same double, in few characters: 5, 0.005, 1e+100, NaN, +Inf.
 * `canonical`: as OpenMetrics wants it in le and quantile: 1.0 and not 1. */
VS_API bool vs_render_double(double value, bool canonical, vs_buffer *out);
VS_API bool vs_render_u64(uint64_t value, vs_buffer *out);

/* Appends `text` escaped for a label value: \ " and newline. */
VS_API bool vs_render_escaped(vs_text text, vs_buffer *out);

#endif
