/* Logging from C: who writes, when, and the call itself. */
#define _GNU_SOURCE
#include "vaultscope/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- who and when ---- */

typedef struct identity {
    uint32_t pid, thread;
    uint64_t trace_high, trace_low, span;
} identity;

static _Thread_local identity mine __attribute__((tls_model("initial-exec")));
static vs_word32 pid;

static void learn_pid(void) { vs_store_relaxed(&pid, (uint32_t)getpid()); }

__attribute__((constructor)) static void watch_forks(void)
{
    learn_pid();
    pthread_atfork(NULL, NULL, learn_pid);
}

void vs_log_end(vs_log_writer *writer, vs_level level, uint64_t trace_high, uint64_t trace_low, uint64_t span)
{
    uint32_t process = vs_load_relaxed(&pid);
    if (VS_UNLIKELY(mine.pid != process)) {
        mine.thread = (uint32_t)syscall(SYS_gettid);
        mine.pid = process;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    /* Each member where it belongs: a head that is put together elsewhere is copied in words that the processor would have to wait for. */
    vs_log_head *head = (vs_log_head *)writer->data;
    head->time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    head->trace_high = trace_high;
    head->trace_low = trace_low;
    head->span = span;
    head->pid = process;
    head->thread = mine.thread;
    head->size = (uint32_t)writer->size;
    head->message_size = writer->message_size;
    head->field_count = writer->field_count;
    head->omitted = writer->omitted;
    head->level = (uint8_t)level;
    head->flags = writer->flags;
    head->logger_size = writer->logger_size;
    head->vault_size = writer->vault_size;
}

void vs_log_set_span(uint64_t trace_high, uint64_t trace_low, uint64_t span)
{
    mine.trace_high = trace_high;
    mine.trace_low = trace_low;
    mine.span = span;
}

/* ---- the vault ---- */

typedef struct vault {
    size_t size;
    char name[];
} vault;

static vault *_Atomic current_vault; /* W1: release in vs_log_set_vault; pairs with W2 in vs_log_vault */

vs_status vs_log_set_vault(vs_text name)
{
    if (name.size > VS_LOGGER_BYTES_MAX)
        return VS_E_INVALID;
    vault *next = malloc(sizeof *next + name.size);
    if (next == NULL)
        return VS_E_NO_MEMORY;
    next->size = name.size;
    memcpy(next->name, name.data, name.size);
    vs_store_release(&current_vault, next); /* W1. The last one is never freed: a call may be reading it */
    return VS_OK;
}

vs_text vs_log_vault(void)
{
    const vault *now = vs_load_acquire(&current_vault); /* W2 */
    return now != NULL ? (vs_text){now->name, now->size} : (vs_text){"", 0};
}

/* ---- loggers ---- */

vs_status vs_logger_open(const vs_journal *journal, vs_text name, vs_logger **out)
{
    if (name.size > VS_LOGGER_BYTES_MAX)
        return VS_E_INVALID;
    vs_logger *logger = calloc(1, sizeof *logger);
    const vs_threshold *threshold = vs_level_threshold(name);
    if (logger == NULL || threshold == NULL) {
        free(logger);
        return VS_E_NO_MEMORY;
    }
    logger->threshold = threshold;
    logger->journal = journal;
    logger->name_size = (uint8_t)name.size;
    memcpy(logger->name, name.data, name.size);
    *out = logger;
    return VS_OK;
}

void vs_logger_close(vs_logger *logger) { free(logger); }

/* ---- the call ---- */

static inline void write_record(vs_log_writer *writer, char *data, size_t capacity, const vs_logger *logger, vs_text message,
                         const vs_field *fields)
{
    vs_log_begin(writer, data, capacity, (vs_text){logger->name, logger->name_size}, vs_log_vault(),
                 message);
    if (fields != NULL)
        vs_log_add_array(writer, fields);
}

/* What does not fit a small record. Apart, so that the usual one does not cost the stack of this. */
static __attribute__((noinline)) bool write_long(const vs_logger *logger, vs_level level, vs_text message, const vs_field *fields)
{
    vs_log_writer writer;
    uint64_t data[VS_LOG_BYTES_MAX / 8];
    size_t limit = logger->journal->record_bytes;
    write_record(&writer, (char *)data, limit, logger, message, fields);
    vs_log_end(&writer, level, mine.trace_high, mine.trace_low, mine.span);
    return vs_journal_put(logger->journal, level, data, writer.size);
}

bool vs_log_write_text(const vs_logger *logger, vs_level level, vs_text message, const vs_field *fields)
{
    vs_log_writer writer;
    uint64_t data[VS_LOG_BYTES_SMALL / 8];
    if (VS_UNLIKELY(level >= VS_LEVELS))
        level = VS_FATAL;
    write_record(&writer, (char *)data, sizeof data, logger, message, fields);
    if (VS_UNLIKELY(writer.is_short))
        return write_long(logger, level, message, fields);
    vs_log_end(&writer, level, mine.trace_high, mine.trace_low, mine.span);
    return vs_journal_put(logger->journal, level, data, writer.size);
}
