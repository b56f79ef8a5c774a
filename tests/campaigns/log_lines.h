/* What the campaigns of the log share: records that check themselves, and the reading of their lines. */
#ifndef LOG_LINES_H
#define LOG_LINES_H

#include "campaign.h"

/* The record `n` of a writer in its life: which process it was of. Its level and its text follow from the three. */
typedef struct log_entry {
    uint64_t life, writer, n;
} log_entry;

enum { LOG_TEXT_MAX = 3000 };

vs_level log_entry_level(const log_entry *entry);
/* Logs it; as vs_log says. */
bool log_entry_write(const vs_logger *logger, const log_entry *entry);

/* Tells one line by one, up to a newline; an entry for each that is whole: strict JSON, of level and text as they should be. The others,
 * and bytes behind the last newline, are failures. `tell_entry` gets them in their order. Returns how many lines there were. */
uint64_t log_lines_read(const char *data, size_t size, void (*tell_entry)(void *context, const log_entry *entry), void *context);

/* Opens the journal of the arena in the file, or of one in memory; ends the program if that fails. */
vs_journal *log_open(const campaign *c, uint64_t ring_bytes, vs_policy policy);
/* Sums of the counters, all levels together. */
uint64_t log_count(const vs_counter counters[VS_LEVELS]);

#endif
