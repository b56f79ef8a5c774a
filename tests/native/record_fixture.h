/* A record that is written field by field, and the line that it becomes. The head is filled here, so that its time, process and thread
 * are known. */
#ifndef RECORD_FIXTURE_H
#define RECORD_FIXTURE_H

#include "fixture.h"
#include "vaultscope/record.h"

typedef struct record {
    _Alignas(8) char data[VS_LOG_BYTES_MAX];
    vs_log_writer writer;
    vs_log_head head; /* what the test sets of it is kept */
    vs_buffer out;
} record;

static inline record *record_sized(size_t capacity, const char *logger, const char *vault, vs_text message)
{
    record *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->head.time_ns = UINT64_C(1769903999123456789);
    r->head.pid = 1;
    r->head.thread = 2;
    r->head.level = VS_INFO;
    vs_log_begin(&r->writer, r->data, capacity, text_of(logger), text_of(vault), message);
    return r;
}

static inline record *record_of(const char *message)
{
    return record_sized(VS_LOG_BYTES_MAX, "", "", text_of(message));
}

static inline void add_run(record *r, const char *key, vs_field_type type, const void *data, size_t size)
{
    vs_log_add(&r->writer, text_of(key), type, data, size, false);
}

static inline void add_text(record *r, const char *key, const char *text) { add_run(r, key, VS_FIELD_TEXT, text, strlen(text)); }
static inline void add_json(record *r, const char *key, const char *json) { add_run(r, key, VS_FIELD_JSON, json, strlen(json)); }
static inline void add_u64(record *r, const char *key, uint64_t value) { add_run(r, key, VS_FIELD_U64, &value, 8); }
static inline void add_i64(record *r, const char *key, int64_t value) { add_run(r, key, VS_FIELD_I64, &value, 8); }
static inline void add_f64(record *r, const char *key, double value) { add_run(r, key, VS_FIELD_F64, &value, 8); }

/* Writes the head as vs_log_end does; returns the record's size. */
static inline size_t finish(record *r)
{
    const vs_log_writer *w = &r->writer;
    r->head.size = (uint32_t)w->size;
    r->head.message_size = w->message_size;
    r->head.field_count = w->field_count;
    r->head.omitted = w->omitted;
    r->head.flags = w->flags;
    r->head.logger_size = w->logger_size;
    r->head.vault_size = w->vault_size;
    memcpy(r->data, &r->head, sizeof r->head);
    return w->size;
}

/* Whether the buffer holds one line, and nothing else, that is a valid object. */
static inline bool is_one_line(const vs_buffer *out)
{
    return out->size > 2 && out->data[0] == '{' && memchr(out->data, '\n', out->size) == out->data + out->size - 1 &&
           vs_json_is_valid((vs_text){out->data, out->size - 1});
}

/* The line as a string, without its newline; "" if it is none. The fixture's, until the next. */
static inline const char *line_of(record *r)
{
    size_t size = finish(r);
    r->out.size = 0;
    bool rendered = vs_log_render_json(r->data, size, &r->out);
    CHECK(rendered && is_one_line(&r->out));
    if (!rendered)
        return "";
    r->out.data[r->out.size - 1] = '\0';
    return r->out.data;
}

static inline bool shows(record *r, const char *part) { return strstr(line_of(r), part) != NULL; }

/* That the line contains the text; prints the line if it does not. */
#define CHECK_SHOWS(r, part) \
    do { \
        if (!CHECK(shows((r), (part)))) \
            fprintf(stderr, "    %.*s\n", (int)(r)->out.size, (r)->out.data); \
    } while (0)

static inline void release(record *r)
{
    vs_buffer_free(&r->out);
    free(r);
}

#endif
