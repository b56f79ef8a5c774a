/* A log record as bytes: how it lies in the ring, how fields are written to it, and the line of JSON that it becomes.
 *
 * A record stands for itself: names and texts are in it, not numbers of a table, so that it can be read in any other process and after
 * a crash. (Interning them was measured: from Python a lookup costs more than copying the dozen bytes.) It is written whole
 * into the caller's memory, then put into the ring (ring.h). Who reads one trusts nothing in it. */
#ifndef VAULTSCOPE_RECORD_H
#define VAULTSCOPE_RECORD_H

#include <string.h>

#include "base.h"
#include "level.h"
#include "buffer.h"

enum {
    VS_LOG_BYTES_MAX = 32 << 10,    /* of a record, at most: what does not fit is cut or left out, and marked */
    VS_LOG_BYTES_SMALL = 2 << 10,     /* room that does for nearly all */
    VS_VALUE_BYTES_MAX = 8 << 10,     /* of a field's value: so that one does not crowd out the others */
    VS_MESSAGE_BYTES_MAX = 8 << 10,
    VS_LOGGER_BYTES_MAX = 255,     /* a logger's name; a vault's too */
    VS_KEY_BYTES_MAX = 255
};

/* Then follow the logger's name, the vault, the message, and the fields; nothing is aligned but the head. */
typedef struct __attribute__((may_alias)) vs_log_head {
    uint64_t time_ns; /* since 1970, UTC */
    uint64_t trace_high, trace_low, span; /* of the current span; 0: none */
    uint32_t pid, thread;
    uint32_t size;         /* of all, head included */
    uint32_t message_size;
    uint16_t field_count;
    uint16_t omitted;      /* fields that had no room */
    uint8_t level;
    uint8_t flags;         /* VS_LOG_MESSAGE_CUT */
    uint8_t logger_size, vault_size;
} vs_log_head;

_Static_assert(sizeof(vs_log_head) == 56, "a record's head has no holes");

enum { VS_LOG_MESSAGE_CUT = 1 };

typedef enum vs_field_type {
    VS_FIELD_NULL = 0,
    VS_FIELD_BOOL = 1,  /* value: 1 byte, 0 or 1 */
    VS_FIELD_I64 = 2,   /* 8 bytes, as are the next two */
    VS_FIELD_U64 = 3,
    VS_FIELD_F64 = 4,
    VS_FIELD_TEXT = 5,  /* UTF-8, or what claims to be; shown as a JSON string, bad bytes as U+FFFD */
    VS_FIELD_BYTES = 6, /* shown as lower-case hexadecimal digits */
    VS_FIELD_JSON = 7,  /* one JSON value; shown as it is, without newlines, if it is valid and no number in it is too large for a
                           double (which strict parsers refuse); else as the string that its text is */
    VS_FIELD_END = 255  /* of an array of vs_field */
} vs_field_type;

/* Before each field's key and value. */
typedef struct vs_field_head {
    uint8_t type;
    uint8_t flags; /* VS_FIELD_CUT: the value was longer (VS_FIELD_JSON that is cut is text) */
    uint8_t key_size;
    uint8_t zero;
    uint32_t value_size;
} vs_field_head;

enum { VS_FIELD_CUT = 1 };

/* A record that is being written. */
typedef struct vs_log_writer {
    char *data; /* at least VS_LOG_BYTES_SMALL bytes, aligned to 8 */
    size_t capacity;
    size_t size;
    uint16_t field_count, omitted;
    uint8_t flags;
    bool is_short; /* something was cut or left out: with more room it would not have been */
    uint8_t logger_size, vault_size;
    uint32_t message_size;
} vs_log_writer;

/* Begins with the three texts. A message that is too long is cut at a character, and marked; the names are cut at their limits,
 * silently. `capacity` counts up to VS_LOG_BYTES_MAX, in eights. One thread; never fails; takes no memory. So do the next two. */
VS_API void vs_log_begin(vs_log_writer *writer, char *data, size_t capacity, vs_text logger, vs_text vault, vs_text message);

/* Adds a field: value_size bytes at `value`. A text, bytes or JSON that are longer than VS_VALUE_BYTES_MAX, or have no room, are cut at a
 * character, and marked; any other value that has none, or has not the size or the type of one, is left out, and counted. A key is cut at
 * VS_KEY_BYTES_MAX; an empty one is legal. `was_cut`: the value is a part of one already. */
VS_API void vs_log_add(vs_log_writer *writer, vs_text key, vs_field_type type, const void *value, size_t value_size, bool was_cut);

/* Adds fields that were written before: those of another record, by vs_log_fields. Where not all have room, as vs_log_add does. */
VS_API void vs_log_add_all(vs_log_writer *writer, const char *fields, size_t size, uint16_t count);

/* Where the fields of a record begin that is being written. */
static inline const char *vs_log_fields(const vs_log_writer *writer, size_t *size)
{
    size_t at = sizeof(vs_log_head) + writer->logger_size + writer->vault_size + writer->message_size;
    *size = writer->size - at;
    return writer->data + at;
}

/* Writes the head: time, thread and process are of now and of here. */
VS_API void vs_log_end(vs_log_writer *writer, vs_level level, uint64_t trace_high, uint64_t trace_low, uint64_t span);

/* Appends the record as one line of strict JSON, newline included:
 *   {"time":"2026-01-31T23:59:59.123456789Z","level":"info","logger":"cas","message":"...","vault":"...","pid":1,"thread":2,
 *    "trace_id":"32 hex digits","span_id":"16 hex digits", then the fields, then "truncated":["key"],"omitted":1}
 * vault and the ids, the last two, and an empty logger's name are there only if there is something to say. No two names on a line are
 * the same: a field whose name is one of these gets underscores at its end, as few as make it a name of its own, and of
 * several fields of one name the last one is shown. A double has a point or an exponent; one that JSON does not know is a
 * string: "NaN", "Infinity", "-Infinity". NUL and other control characters are escaped; what is no UTF-8 is U+FFFD, one for the longest
 * beginning of a character. A message that was cut ends with an ellipsis, as does a text, and "truncated" names it.
 * Whatever the bytes are, nothing outside of them is read and the line is valid JSON: bytes that are no record make one of level "error",
 * message "unreadable record" and their "size", and the answer is false, as it is where there is no memory: then out->failed is set,
 * and nothing was appended. Bytes behind the record are passed over. Any thread; no lock. */
VS_API bool vs_log_render_json(const void *record, size_t size, vs_buffer *out);

/* Whether the text is one valid JSON value (RFC 8259), in UTF-8, nested at most 512 deep; an escaped surrogate must have its other half.
 * Any thread; takes no memory and no stack to speak of. */
VS_API bool vs_json_is_valid(vs_text text);

#endif
