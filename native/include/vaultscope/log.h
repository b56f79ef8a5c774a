/* Logging from C: a journal, which is a ring with its counters; loggers, which have names; fields.
 *
 *   vs_journal *journal;
 *   vs_logger *logger;
 *   vs_journal_open(registry, NULL, &journal);
 *   vs_logger_open(journal, (vs_text){"cas", 3}, &logger);
 *   vs_log(logger, VS_INFO, "Object stored", vs_field_text("hash", hash), vs_field_u64("size", size));
 *
 * A call below the level is a load and a compare. Another one copies its record into the ring: it takes no lock, allocates nothing, makes
 * no system call but for the time, and may stand in a signal handler. It never waits but under VS_POLICY_BLOCK. */
#ifndef VAULTSCOPE_LOG_H
#define VAULTSCOPE_LOG_H

#include "record.h"
#include "registry.h"
#include "ring.h"

typedef struct vs_journal_options {
    uint64_t ring_bytes; /* of a ring in memory: 64 KiB to 1 GiB, rounded up to a power of two; 0: what VAULTSCOPE_LOG_BYTES says, else
                            4 MiB. In a file arena the size was chosen when the file was made, by the same rule */
    vs_policy policy;
    uint64_t block_ns;   /* VS_POLICY_BLOCK: the longest wait */
} vs_journal_options;

typedef struct vs_journal {
    vs_ring ring;
    vs_registry *registry;
    uint64_t block_ns;
    vs_policy policy;
    uint32_t record_bytes; /* the longest record: VS_LOG_BYTES_MAX, or a sixteenth of a small ring */
    vs_counter logged[VS_LEVELS];  /* records that are in the ring, or were */
    vs_counter dropped[VS_LEVELS]; /* that found no room, or were refused */
    vs_counter overwritten[VS_LEVELS], killed[VS_LEVELS], suppressed[VS_LEVELS];
    vs_metric *metrics[5]; /* of these counters */
    vs_ring_drain drain;  /* of a ring in memory */
    struct vs_journal *next_open; /* all journals of the process, for fork */
} vs_journal;

typedef struct vs_logger {
    const vs_threshold *threshold;
    const vs_journal *journal;
    uint8_t name_size;
    char name[VS_LOGGER_BYTES_MAX];
} vs_logger;

/* The journal of a registry: the ring of its arena's file, or one in memory. Declares the metrics
 *   vaultscope.log.records{level}, vaultscope.log.dropped{level} (no room), vaultscope.log.overwritten{level} (forgotten unread),
 *   vaultscope.log.killed{level} (begun by a process that died), vaultscope.log.suppressed{level} (held back by a limit).
 * Over one arena in a file any number of journals, in any number of processes, write to one ring.
 * VS_E_INVALID, VS_E_NO_MEMORY, VS_E_FULL (no disk space, too), VS_E_READ_ONLY; and as vs_registry_declare. */
VS_API vs_status vs_journal_open(vs_registry *registry, const vs_journal_options *options, vs_journal **out);
/* Only when no logger and no cursor of it is in use; the caller vouches. */
VS_API void vs_journal_close(vs_journal *journal);

/* Of this process, for all its journals: the vault that records name, 255 bytes at most. The text is copied, and never freed. */
VS_API vs_status vs_log_set_vault(vs_text vault);
VS_API vs_text vs_log_vault(void);

/* The span that the calling thread is in, for the records that it writes from C; zeros: none. A signal handler may find it half
 * set. */
VS_API void vs_log_set_span(uint64_t trace_high, uint64_t trace_low, uint64_t span);

/* From now on the calling thread waits for no room, whatever the policy: it is one of those that make room. */
VS_API void vs_log_never_wait(void);

/* Lives until vs_logger_close. VS_E_INVALID: a name that is too long. VS_E_NO_MEMORY. */
VS_API vs_status vs_logger_open(const vs_journal *journal, vs_text name, vs_logger **out);
VS_API void vs_logger_close(vs_logger *logger);

static inline bool vs_log_enabled(const vs_logger *logger, vs_level level)
{
    return (uint32_t)level >= vs_load_relaxed((vs_threshold *)logger->threshold);
}

/* A field of a call. Texts are borrowed. It has no holes and is always written whole: else a compiler empties the array first. */
typedef struct vs_field {
    const char *key;
    uint8_t type; /* vs_field_type */
    uint8_t key_size;
    uint16_t zero;
    uint32_t size; /* of the value; of a text also VS_FIELD_UNTIL_NUL */
    union {
        int64_t i64;
        uint64_t u64; /* of a bool, too: 0 is false */
        double f64;
        const void *data;
    } value;
} vs_field;

/* A text that ends in NUL is measured when it is written. */
#define VS_FIELD_UNTIL_NUL UINT32_MAX

static inline uint8_t vs_field_key_size_(const char *key)
{
    size_t size = strlen(key); /* of a literal, the compiler knows it */
    return (uint8_t)(size < VS_KEY_BYTES_MAX ? size : VS_KEY_BYTES_MAX);
}
static inline uint32_t vs_field_size_(size_t size) { return (uint32_t)(size < VS_FIELD_UNTIL_NUL ? size : VS_FIELD_UNTIL_NUL - 1); }

/* Macros, since what a function returns is copied into the array in one piece, for which a processor waits until all its parts are
 * stored. `key` is evaluated twice, a value once. */
#define VS_FIELD_(field_key, field_type, field_size, ...) \
    ((vs_field){.key = (field_key), .type = (field_type), .key_size = vs_field_key_size_(field_key), .zero = 0, \
                .size = (field_size), .value = {__VA_ARGS__}})
#define vs_field_null(key) VS_FIELD_(key, VS_FIELD_NULL, 0, .u64 = 0)
#define vs_field_bool(key, flag) VS_FIELD_(key, VS_FIELD_BOOL, 1, .u64 = (flag) ? 1 : 0)
#define vs_field_i64(key, number) VS_FIELD_(key, VS_FIELD_I64, 8, .i64 = (number))
#define vs_field_u64(key, number) VS_FIELD_(key, VS_FIELD_U64, 8, .u64 = (number))
#define vs_field_f64(key, number) VS_FIELD_(key, VS_FIELD_F64, 8, .f64 = (number))
/* Ends in NUL. NULL is null. */
#define vs_field_text(key, text) VS_FIELD_(key, VS_FIELD_TEXT, VS_FIELD_UNTIL_NUL, .data = (text))
#define vs_field_bytes(key, bytes, count) VS_FIELD_(key, VS_FIELD_BYTES, vs_field_size_(count), .data = (bytes))

static inline vs_field vs_field_text_of(const char *key, vs_text text) /* need not end in NUL */
{
    return VS_FIELD_(key, VS_FIELD_TEXT, vs_field_size_(text.size), .data = text.data);
}
static inline vs_field vs_field_json(const char *key, vs_text json)
{
    return VS_FIELD_(key, VS_FIELD_JSON, vs_field_size_(json.size), .data = json.data);
}

/* Adds fields to a record that is being written; the array ends with VS_FIELD_END. */
VS_API void vs_log_add_array(vs_log_writer *writer, const vs_field *fields);

/* Logs, whatever the level; `fields` ends with VS_FIELD_END, or is NULL. True: the record is in the ring. False: it is counted as
 * dropped. */
VS_API bool vs_log_write_text(const vs_logger *logger, vs_level level, vs_text message, const vs_field *fields);
static inline bool vs_log_write(const vs_logger *logger, vs_level level, const char *message, const vs_field *fields)
{
    return vs_log_write_text(logger, level, (vs_text){message, message != NULL ? strlen(message) : 0}, fields);
}

#define VS_LOG_END_ ((vs_field){.key = NULL, .type = VS_FIELD_END, .key_size = 0, .zero = 0, .size = 0, .value = {.u64 = 0}})
#define VS_LOG_CALL_(logger, level, message, ...) \
    vs_log_result_(vs_log_enabled((logger), (level)) && \
                   vs_log_write((logger), (level), (message), (const vs_field[]){__VA_ARGS__}))
static inline bool vs_log_result_(bool logged) { return logged; } /* who does not look at it is not warned */
/* vs_log(logger, level, message, field...): logs unless it is below the level. True: the record is in the ring. */
#define vs_log(logger, ...) VS_LOG_CALL_((logger), __VA_ARGS__, VS_LOG_END_)

/* Puts a record that is written already (record.h): what vs_log_write does at its end. Counts it. */
VS_API bool vs_journal_put(const vs_journal *journal, vs_level level, const void *record, size_t size);
/* The same, but never waits, whatever the policy; VS_PUT_FULL is not counted yet. */
VS_API vs_put vs_journal_try_put(const vs_journal *journal, vs_level level, const void *record, size_t size);

/* ---- what is repeated ---- */

/* Lets through the first `limit` of each `period_ns`; keep one for each message. limit and period are set before it is used. Any thread; lock-free. */
typedef struct vs_limiter {
    vs_word window;     /* which period this is, + 1 */
    vs_word passed;     /* in it */
    vs_word suppressed; /* since the last that passed */
    uint64_t limit;
    uint64_t period_ns;
} vs_limiter;

/* True: log it, and say that *suppressed were not logged since the last one. False: the caller counts it, in `suppressed` of
 * the journal. */
VS_API bool vs_limiter_pass(vs_limiter *limiter, int64_t now_ns, uint64_t *suppressed);

#endif
