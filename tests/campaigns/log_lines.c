/* Records that check themselves: what is in one follows from three numbers, which are in it, too. */
#define _GNU_SOURCE
#include "log_lines.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t mix_of(const log_entry *entry)
{
    return random_start(entry->life * WRITERS + entry->writer, entry->n);
}

/* A flood of what does not matter much, with an error and a fatal one now and then. */
vs_level log_entry_level(const log_entry *entry)
{
    uint64_t of = mix_of(entry) % 64;
    return of < 2 ? (vs_level)(VS_ERROR + of) : (vs_level)(of % VS_ERROR);
}

/* Mostly short; now and then as long as a small ring takes. */
static vs_text text_of(const log_entry *entry, char *text)
{
    uint64_t mix = mix_of(entry) >> 6;
    size_t size = mix % 32 == 0 ? (mix >> 8) % LOG_TEXT_MAX : (mix >> 8) % 80;
    memset(text, 'a' + (int)((mix >> 24) % 26), size);
    return (vs_text){text, size};
}

bool log_entry_write(const vs_logger *logger, const log_entry *entry)
{
    char text[LOG_TEXT_MAX];
    return vs_log(logger, log_entry_level(entry), "Object \"stored\"", vs_field_u64("life", entry->life),
                  vs_field_u64("writer", entry->writer), vs_field_u64("n", entry->n), vs_field_text_of("text", text_of(entry, text)));
}

/* Moves *at behind `key`, a member's name with its punctuation, and reads the number there. */
static bool read_number(const char **at, const char *end, const char *key, uint64_t *number)
{
    size_t size = strlen(key);
    const char *found = memmem(*at, (size_t)(end - *at), key, size);
    if (found == NULL)
        return false;
    char *behind;
    *number = strtoull(found + size, &behind, 10); /* it ends at what is no digit: the line ends with a brace */
    *at = behind;
    return behind != found + size;
}

static bool is_as_written(const char *line, const char *end, const char *rest, const log_entry *entry)
{
    char text[LOG_TEXT_MAX], expected[LOG_TEXT_MAX + 64];
    vs_text tail = text_of(entry, text);
    int size = snprintf(expected, sizeof expected, ",\"text\":\"%.*s\"}", (int)tail.size, tail.data);
    bool is_tail = end - rest == size && memcmp(rest, expected, (size_t)size) == 0;
    size = snprintf(expected, sizeof expected, "\"level\":\"%s\"", vs_level_name(log_entry_level(entry)));
    return is_tail && memmem(line, (size_t)(end - line), expected, (size_t)size) != NULL;
}

uint64_t log_lines_read(const char *data, size_t size, void (*tell_entry)(void *context, const log_entry *entry), void *context)
{
    uint64_t lines = 0;
    const char *stop = data + size;
    for (const char *line = data, *end; line < stop; line = end + 1, lines++) {
        end = memchr(line, '\n', (size_t)(stop - line));
        if (!expect(end != NULL, "the last line is not whole: %.100s", line))
            break;
        log_entry entry;
        const char *at = line;
        bool is_read = read_number(&at, end, ",\"life\":", &entry.life) && read_number(&at, end, ",\"writer\":", &entry.writer) &&
                       read_number(&at, end, ",\"n\":", &entry.n) && entry.writer < WRITERS;
        if (!expect(vs_json_is_valid((vs_text){line, (size_t)(end - line)}), "no JSON: %.300s", line) ||
            !expect(is_read && is_as_written(line, end, at, &entry), "a line that nobody wrote so: %.300s", line))
            continue;
        tell_entry(context, &entry);
    }
    return lines;
}

vs_journal *log_open(const campaign *c, uint64_t ring_bytes, vs_policy policy)
{
    vs_arena_options options = {.stripe_count = c->stripes, .stripe_bytes = 1 << 20, .log_bytes = ring_bytes};
    vs_journal_options how = {.ring_bytes = ring_bytes, .policy = policy};
    vs_arena *arena;
    vs_registry *registry;
    vs_journal *journal;
    vs_status status = c->path != NULL ? vs_arena_open_file(c->path, VS_ARENA_SHARE, &options, &arena) : vs_arena_default(&arena);
    if (status != VS_OK)
        give_up(vs_arena_reason());
    if (vs_registry_open(arena, &registry) != VS_OK || vs_journal_open(registry, &how, &journal) != VS_OK ||
        vs_level_set((vs_text){"", 0}, VS_TRACE) != VS_OK)
        give_up("no journal");
    vs_registry_release(registry); /* the journal holds it */
    return journal;
}

uint64_t log_count(const vs_counter counters[VS_LEVELS])
{
    uint64_t sum = 0;
    for (uint32_t level = 0; level < VS_LEVELS; level++) {
        uint64_t count;
        double real;
        vs_counter_read(counters[level], &count, &real);
        sum += count;
    }
    return sum;
}
