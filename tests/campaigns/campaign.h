/* What all campaigns share, and those of the metrics: three metrics whose values check themselves, one way to write and one to read them.
 *
 * A campaign is a long proof: it does one thing very often, while threads or processes write, and counts what went wrong. Each value
 * that is written is told by its bucket, so the counts of a reading say what its sum must be, to the last digit. */
#ifndef CAMPAIGN_H
#define CAMPAIGN_H

#include "vaultscope.h"

enum { BOUNDS = 12, BUCKETS = BOUNDS + 1, STEPS = 64, WRITERS = 3, FAILURES_TOLD_MAX = 20 };

typedef struct campaign {
    const char *path; /* of the arena's file; NULL: anonymous */
    uint32_t stripes; /* 0: what the campaign chooses */
    double scale;     /* of how often; 1 is the full size */
    uint64_t seed;
} campaign;

/* How often, at this scale; at least once. */
uint64_t scaled(const campaign *c, uint64_t times);

/* ---- numbers that look random ---- */

static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A start for it: never 0, and another for each `which`. */
uint64_t random_start(uint64_t seed, uint64_t which);

/* ---- the metrics ---- */

typedef struct metrics {
    vs_arena *arena;
    vs_registry *registry;
    vs_series *series[3];
    vs_counter counter;
    vs_histogram histogram;
    vs_hdr hdr;
} metrics;

/* Declares them in an arena with so many stripes, in the file or in memory; ends the program if that fails. */
void metrics_open(metrics *m, const campaign *c, uint32_t stripes);
/* The same file, as one who only reads. It must be there already, and not open in this process. */
void metrics_open_reader(metrics *m, const char *path);

/* What was written, or was read: how often each value. Words are read by others while they are written. */
typedef struct tally {
    vs_word increments;
    vs_word buckets[BUCKETS];
    vs_word steps[STEPS];
} tally;

/* One increment, one observation and one record, chosen by `random`; then each is noted in `done`. */
void metrics_write(const metrics *m, uint64_t random, tally *done);
void tally_add(tally *to, const tally *from);
uint64_t tally_writes(const tally *done);

/* ---- readings ---- */

typedef struct reading {
    tally seen;
    double sum, hdr_sum;
    uint64_t unsettled; /* since the registry was opened */
    uint64_t strays;    /* counts where nobody wrote */
    uint32_t stripes_held, processes;
    uint64_t processes_refused;
} reading;

/* Takes a snapshot; ends the program if it cannot. */
void metrics_read(const metrics *m, reading *r);

/* Whether the sums are what the counts say. A writer that is killed, or left behind by a fork, in mid-write may leave its value in a sum
 * and not in a count: `vanished` is how many may have done so. */
bool reading_is_whole(const reading *r, uint64_t vanished);
/* Whether nothing in it is below what an earlier one showed, or what was done before it. */
bool reading_holds(const reading *r, const tally *before);
/* How many operations are in it beyond those of `done`, all three kinds together. */
uint64_t reading_excess(const reading *r, const tally *done);

/* ---- telling ---- */

/* Counts a failure and prints the first few; true if it holds. Any thread, any child of a fork. */
bool expect(bool holds, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t failures(void);
/* The line that the campaign is known by: what was done, how often. */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the process, with a word about it, if it is not done after so many seconds. The child of a fork needs its own. */
void watchdog(unsigned seconds);
/* Memory, all 0, that the children of later forks share. */
void *shared_memory(size_t bytes);
/* Ends the program, with the reason. */
_Noreturn void give_up(const char *what);

/* ---- the campaigns ---- */

void campaign_torn(const campaign *c);
void campaign_forks(const campaign *c);
void campaign_births(const campaign *c);
void campaign_threads(const campaign *c);
void campaign_kills(const campaign *c);
void campaign_log_kills(const campaign *c);
void campaign_log_accounts(const campaign *c);

#endif
