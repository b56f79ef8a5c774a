/* Logs for tests: a journal in memory or in a file, records that prove themselves, and what a batch holds. */
#ifndef LOG_FIXTURE_H
#define LOG_FIXTURE_H

#include "../../native/src/cursor.h"
#include "../../native/src/mark.h"
#include "file_fixture.h"

enum { RING_BYTES = 64 << 10, RING_CELLS = RING_BYTES / VS_RING_CELL, WORDS_MAX = 512 };

static inline vs_journal *journal_over(vs_registry *registry, vs_policy policy)
{
    vs_journal_options options = {.ring_bytes = RING_BYTES, .policy = policy, .block_ns = 20000000};
    vs_journal *journal = NULL;
    if (vs_journal_open(registry, &options, &journal) != VS_OK) {
        fprintf(stderr, "no journal\n");
        _exit(REFUSED);
    }
    return journal;
}

/* One with the smallest ring, in memory. */
static inline vs_journal *small_journal(vs_policy policy)
{
    vs_arena *arena;
    return journal_over(registry_with_stripes(SMALL_STRIPES, &arena), policy);
}

/* One over the arena "log" in the scratch folder, with the smallest ring. */
static inline vs_journal *shared_journal(vs_policy policy)
{
    setenv("VAULTSCOPE_LOG_BYTES", "65536", 1);
    return journal_over(shared_registry("log", NULL), policy);
}

static inline vs_logger *logger_of(const vs_journal *journal, const char *name)
{
    vs_logger *logger = NULL;
    if (vs_logger_open(journal, text_of(name), &logger) != VS_OK)
        abort();
    return logger;
}

static inline vs_cursor *cursor_of(vs_journal *journal, const char *name)
{
    vs_cursor *cursor = NULL;
    vs_status status = vs_cursor_open(journal, text_of(name), &cursor);
    if (status != VS_OK) {
        fprintf(stderr, "no cursor: %s\n", vs_status_text(status));
        _exit(REFUSED);
    }
    return cursor;
}

/* ---- records that prove themselves ---- */

static inline uint64_t mixed(uint64_t key, uint64_t i)
{
    uint64_t x = (key + i) * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 29;
}

/* A record of `words` words, all of which follow from `key`; its size in bytes. */
static inline size_t fill_record(uint64_t *record, uint64_t key, size_t words)
{
    record[0] = key;
    record[1] = words;
    for (size_t i = 2; i < words; i++)
        record[i] = mixed(key, i);
    return words * 8;
}

/* Whether these bytes are such a record, whole. */
static inline bool is_record(const uint64_t *record, size_t size)
{
    if (record[1] < 2 || record[1] * 8 > size)
        return false;
    for (size_t i = 2; i < record[1]; i++)
        if (record[i] != mixed(record[0], i))
            return false;
    return true;
}

static inline vs_put put_record(const vs_ring *ring, vs_level level, vs_policy policy, uint64_t key, size_t words)
{
    uint64_t record[WORDS_MAX];
    return vs_ring_put(ring, level, policy, record, fill_record(record, key, words));
}

/* ---- what came out ---- */

static inline uint64_t sum_of(const uint64_t counts[VS_LEVELS])
{
    uint64_t sum = 0;
    for (uint32_t level = 0; level < VS_LEVELS; level++)
        sum += counts[level];
    return sum;
}

static inline uint64_t total_of(const vs_counter counters[VS_LEVELS])
{
    uint64_t sum = 0;
    for (uint32_t level = 0; level < VS_LEVELS; level++)
        sum += counter_total(counters[level]);
    return sum;
}

/* Takes and acknowledges all there is: the number of records. */
static inline uint64_t drain_all(vs_cursor *cursor)
{
    uint64_t records = 0;
    for (vs_batch batch; vs_cursor_take(cursor, 1 << 16, &batch);) {
        records += sum_of(batch.records);
        vs_cursor_done(cursor);
    }
    return records;
}

static inline uint64_t missed_by(const vs_cursor *cursor)
{
    uint64_t written[VS_LEVELS], missed[VS_LEVELS];
    vs_cursor_counts(cursor, written, missed);
    return sum_of(missed);
}

static inline uint64_t written_by(const vs_cursor *cursor)
{
    uint64_t written[VS_LEVELS], missed[VS_LEVELS];
    vs_cursor_counts(cursor, written, missed);
    return sum_of(written);
}

/* The number behind "key": in a line of JSON; UINT64_MAX: it is not there. */
static inline uint64_t number_in(const char *line, const char *end, const char *key)
{
    char quoted[64];
    int size = snprintf(quoted, sizeof quoted, "\"%s\":", key);
    for (const char *at = line; at + size < end; at++)
        if (memcmp(at, quoted, (size_t)size) == 0)
            return strtoull(at + size, NULL, 10);
    return UINT64_MAX;
}

#endif
