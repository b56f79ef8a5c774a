/* Where each record went, when more is written than is drained: what was produced is what was written and what was counted as lost, by
 * level and by thread.
 *
 * Three threads log at 1, 2 and 10 times the rate at which it is drained, under each policy, alone and beside a second cursor that takes
 * one batch and hangs. The ring is the smallest there is, so it comes round again and again. */
#define _GNU_SOURCE
#include "log_lines.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { RING_BYTES = 1 << 16, DRAIN_A_SECOND = 40000, SECONDS = 2, BATCH_BYTES = 4 << 10, TURN_NS = 200000, LEVELS = VS_LEVELS };

typedef uint64_t by_level[VS_LEVELS];

typedef struct setting {
    vs_policy policy;
    uint64_t times; /* the rate of the writers, all together, to that of the drain */
    bool beside_one_that_hangs;
} setting;

/* A writer's book: of each record, whether it got into the ring, and whether it came out. */
typedef struct writer {
    pthread_t thread;
    const vs_logger *logger;
    uint64_t life, number, count, a_second;
    int64_t start_ns;
    bool *accepted, *seen;
    uint64_t last; /* that was seen: its n, + 1 */
} writer;

typedef struct drain {
    pthread_t thread;
    vs_journal *journal;
    vs_cursor *cursor;
    writer *writers;
    by_level seen;
    uint64_t a_second; /* 0: as fast as it can */
    bool is_hanging;   /* with its first batch, until the other one has drained everything */
    const vs_word32 *written; /* the writers are through: what is left is taken without a brake */
    vs_word32 *drained;
} drain;

/* ---- pace ---- */

static void wait_until(int64_t time_ns)
{
    while (vs_clock_monotonic_ns() < time_ns)
        sched_yield();
}

/* When the n-th of so many a second is due, to a turn. */
static int64_t due(int64_t start_ns, uint64_t n, uint64_t a_second)
{
    return start_ns + (int64_t)((double)n / (double)a_second * 1e9);
}

/* ---- writing ---- */

static void *write_all(void *context)
{
    writer *w = context;
    uint64_t turn = w->a_second * TURN_NS / 1000000000 + 1;
    for (uint64_t n = 0; n < w->count; n++) {
        if (n % turn == 0)
            wait_until(due(w->start_ns, n, w->a_second));
        w->accepted[n] = log_entry_write(w->logger, &(log_entry){w->life, w->number, n});
    }
    return NULL;
}

/* ---- draining ---- */

static void tell_entry(void *context, const log_entry *entry)
{
    drain *d = context;
    writer *w = &d->writers[entry->writer];
    if (!expect(entry->life == w->life && entry->n < w->count, "a record that nobody wrote"))
        return;
    d->seen[log_entry_level(entry)]++;
    if (d->a_second == 0)
        return; /* the book is of the other one */
    expect(entry->n >= w->last, "writer %llu: %llu after %llu", (unsigned long long)entry->writer, (unsigned long long)entry->n,
           (unsigned long long)w->last);
    w->last = entry->n + 1;
    w->seen[entry->n] = true;
}

static void *drain_all(void *context)
{
    drain *d = context;
    vs_batch batch;
    uint64_t taken = 0;
    int64_t start_ns = vs_clock_monotonic_ns();
    for (;;) {
        bool at_end = vs_load_acquire((vs_word32 *)d->written) != 0;
        if (!at_end && d->a_second != 0)
            wait_until(due(start_ns, taken, d->a_second));
        if (!vs_cursor_take(d->cursor, BATCH_BYTES, &batch)) {
            if (at_end) {
                vs_store_release(d->drained, 1);
                return NULL;
            }
            vs_cursor_wait(d->cursor, 1000000, NULL);
            continue;
        }
        while (d->is_hanging && vs_load_acquire(d->drained) == 0)
            sched_yield();
        taken += log_lines_read(batch.data, batch.size, tell_entry, d);
        vs_cursor_done(d->cursor);
    }
}

/* ---- the account ---- */

static void read_counters(const vs_counter counters[VS_LEVELS], by_level counts)
{
    double real;
    for (uint32_t level = 0; level < LEVELS; level++)
        vs_counter_read(counters[level], &counts[level], &real);
}

static uint64_t sum(const by_level counts)
{
    uint64_t all = 0;
    for (uint32_t level = 0; level < LEVELS; level++)
        all += counts[level];
    return all;
}

static uint32_t drains_of(const setting *how) { return how->beside_one_that_hangs ? 2 : 1; }

typedef struct books {
    by_level produced, accepted, logged, dropped, overwritten, missed[2];
} books;

static void check_level(const books *b, const drain drains[2], vs_level level, const setting *how)
{
    const char *name = vs_level_name(level);
    unsigned long long produced = b->produced[level], lost = b->dropped[level], seen = drains[0].seen[level];
    expect(b->accepted[level] + lost == produced, "%s: %llu of %llu are accounted for", name,
           (unsigned long long)(b->accepted[level] + lost), produced);
    expect(b->logged[level] == b->accepted[level], "%s: calls returned what the counter does not say", name);
    expect(seen + b->missed[0][level] == b->accepted[level], "%s: %llu written, %llu missed, of %llu", name, seen,
           (unsigned long long)b->missed[0][level], (unsigned long long)b->accepted[level]);
    if (how->policy != VS_POLICY_OVERWRITE)
        expect(b->missed[0][level] == 0, "%s: %llu missed", name, (unsigned long long)b->missed[0][level]);
    if (how->beside_one_that_hangs)
        expect(drains[1].seen[level] + b->missed[1][level] == b->accepted[level], "%s: of the one that hangs %llu written, %llu missed, of %llu",
               name, (unsigned long long)drains[1].seen[level], (unsigned long long)b->missed[1][level],
               (unsigned long long)b->accepted[level]);
    else
        expect(b->overwritten[level] == b->missed[0][level], "%s: what was overwritten is not what was missed", name);
}

/* For the campaign's line. */
typedef struct lost {
    double of_all, of_severe; /* per cent; of errors and fatal ones, dropped */
    uint64_t produced;
} lost;

static double share(uint64_t part, uint64_t whole) { return whole != 0 ? 100.0 * (double)part / (double)whole : 0; }

static void account_for(vs_journal *journal, const books *before, writer *writers, const drain drains[2], const setting *how, lost *losses)
{
    books now = {.produced = {0}}, b = now;
    uint64_t lines = 0;
    read_counters(journal->logged, now.logged);
    read_counters(journal->dropped, now.dropped);
    read_counters(journal->overwritten, now.overwritten);
    for (uint32_t level = 0; level < LEVELS; level++) {
        b.logged[level] = now.logged[level] - before->logged[level];
        b.dropped[level] = now.dropped[level] - before->dropped[level];
        b.overwritten[level] = now.overwritten[level] - before->overwritten[level];
    }
    for (uint32_t d = 0; d < drains_of(how); d++) {
        by_level written;
        vs_cursor_counts(drains[d].cursor, written, b.missed[d]);
        expect(memcmp(written, drains[d].seen, sizeof written) == 0, "a cursor counts other lines than it gave");
    }
    for (writer *w = writers; w < writers + WRITERS; w++) {
        uint64_t wrong = 0;
        for (uint64_t n = 0; n < w->count; n++) {
            vs_level level = log_entry_level(&(log_entry){w->life, w->number, n});
            b.produced[level]++;
            b.accepted[level] += w->accepted[n];
            lines += w->seen[n];
            wrong += w->seen[n] ? !w->accepted[n] : w->accepted[n] && how->policy != VS_POLICY_OVERWRITE;
        }
        expect(wrong == 0, "writer %llu: %llu records are there that were refused, or are not", (unsigned long long)w->number,
               (unsigned long long)wrong);
    }
    for (uint32_t level = 0; level < LEVELS; level++)
        check_level(&b, drains, (vs_level)level, how);
    *losses = (lost){share(sum(b.produced) - lines, sum(b.produced)),
                     share(b.dropped[VS_ERROR] + b.dropped[VS_FATAL], b.produced[VS_ERROR] + b.produced[VS_FATAL]), sum(b.produced)};
}

static void run(const campaign *c, const setting *how, uint64_t life, lost *losses)
{
    vs_journal *journal = log_open(c, RING_BYTES, how->policy);
    vs_word32 written = 0, drained = 0;
    writer writers[WRITERS];
    drain drains[2];
    books before = {.produced = {0}};
    read_counters(journal->logged, before.logged);
    read_counters(journal->dropped, before.dropped);
    read_counters(journal->overwritten, before.overwritten);
    vs_logger *logger;
    if (vs_logger_open(journal, (vs_text){"cas", 3}, &logger) != VS_OK)
        give_up("no logger");
    for (uint32_t w = 0; w < WRITERS; w++) {
        uint64_t a_second = DRAIN_A_SECOND * how->times / WRITERS, count = scaled(c, a_second * SECONDS);
        writers[w] = (writer){.logger = logger, .life = life, .number = w, .count = count, .a_second = a_second,
                              .accepted = calloc(count, sizeof(bool)), .seen = calloc(count, sizeof(bool))};
    }
    for (uint32_t d = 0; d < drains_of(how); d++) {
        drains[d] = (drain){.journal = journal, .writers = writers, .written = &written, .drained = &drained, .a_second = d == 0 ? DRAIN_A_SECOND : 0,
                            .is_hanging = d == 1};
        if (vs_cursor_open(journal, d == 0 ? (vs_text){"a", 1} : (vs_text){"b", 1}, &drains[d].cursor) != VS_OK ||
            pthread_create(&drains[d].thread, NULL, drain_all, &drains[d]) != 0)
            give_up("no drain");
    }
    for (uint32_t w = 0; w < WRITERS; w++) {
        writers[w].start_ns = vs_clock_monotonic_ns();
        if (pthread_create(&writers[w].thread, NULL, write_all, &writers[w]) != 0)
            give_up("no thread");
    }
    for (uint32_t w = 0; w < WRITERS; w++)
        pthread_join(writers[w].thread, NULL);
    vs_store_release(&written, 1);
    for (uint32_t d = 0; d < drains_of(how); d++)
        pthread_join(drains[d].thread, NULL);
    account_for(journal, &before, writers, drains, how, losses);
    for (uint32_t d = 0; d < drains_of(how); d++)
        vs_cursor_close(drains[d].cursor, true);
    for (uint32_t w = 0; w < WRITERS; w++)
        free(writers[w].accepted), free(writers[w].seen);
    vs_logger_close(logger);
    vs_journal_close(journal);
}

void campaign_log_accounts(const campaign *c)
{
    static const uint64_t TIMES[] = {1, 2, 10};
    static const char *const POLICIES[] = {"drop", "overwrite", "block"};
    uint64_t life = 0;
    for (uint32_t policy = VS_POLICY_DROP; policy <= VS_POLICY_BLOCK; policy++)
        for (uint32_t hangs = 0; hangs < 2; hangs++) {
            lost at[3];
            uint64_t produced = 0;
            for (size_t t = 0; t < 3; t++) {
                run(c, &(setting){(vs_policy)policy, TIMES[t], hangs != 0}, life++, &at[t]);
                produced += at[t].produced;
            }
            tell("%s%s, at 1, 2 and 10 times the drain's rate: %.1f, %.1f and %.1f %% of %llu records lost (of severe ones %.1f, %.1f and "
                 "%.1f %%), all of them counted",
                 POLICIES[policy], hangs ? " beside a sink that hangs" : "", at[0].of_all, at[1].of_all, at[2].of_all,
                 (unsigned long long)produced, at[0].of_severe, at[1].of_severe, at[2].of_severe);
        }
}
