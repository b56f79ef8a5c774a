/* The reading side of a tally, and its writing side on the shared stripe. The protocol is told in tally.h. */
#include "reader.h"
#include "sum.h"

#include <sched.h>

enum {
    TRIES_BEFORE_DIVERT = 4,  /* most readings find the writer elsewhere */
    TRIES_BEFORE_YIELD = 200, /* then the writer was probably interrupted in mid-write: let it run */
    TRIES_A_CLOCK_READ = 64
};
static const int64_t PATIENCE_NS = 1000000000;
static const int64_t PATIENCE_UNHEARD_NS = 20000000; /* where the writer cannot be asked aside, waiting helps little */

void vs_tally_share_double(vs_tally_block *block, size_t n, size_t index, double value)
{
    vs_tally_half *half = vs_tally_hot(block, n);
    vs_add_relaxed(&half->begun, 1u);                 /* T1 */
    vs_shared_add_double_release(&half->sum, value);  /* T2 */
    vs_add_release(&half->counts[index], 1u);         /* T3 */
}

void vs_tally_share_integer(vs_tally_block *block, size_t n, size_t index, uint64_t value, uint64_t times)
{
    vs_tally_half *half = vs_tally_hot(block, n);
    vs_add_relaxed(&half->begun, times);              /* T1 */
    vs_add_release(&half->sum, value * times);        /* T2 */
    vs_add_release(&half->counts[index], times);      /* T3 */
}

/* What one look at a half saw. Counts outside of first..end are 0, and are not written. */
typedef struct sight {
    uint64_t *counts;
    size_t first, end;
    uint64_t total, sum, begun;
} sight;

/* R1: acquire; pairs with T3 */
static inline uint64_t look_at(vs_tally_half *half, size_t i) { return vs_load_acquire(&half->counts[i]); }

static inline uint64_t look_at_eight(vs_tally_half *half, size_t i)
{
    return look_at(half, i) | look_at(half, i + 1) | look_at(half, i + 2) | look_at(half, i + 3) | look_at(half, i + 4) |
           look_at(half, i + 5) | look_at(half, i + 6) | look_at(half, i + 7);
}

/* Most counts of an HDR histogram are 0: they are passed over eight at a time, those among others too. */
static void look_at_counts(vs_tally_half *half, size_t from, size_t n, sight *s)
{
    s->first = n;
    s->end = s->total = 0;
    for (size_t i = from; i < n;) {
        if (i + 8 <= n && look_at_eight(half, i) == 0) {
            if (s->end != 0)
                memset(s->counts + i, 0, 8 * sizeof *s->counts);
            i += 8;
            continue;
        }
        size_t end = i + 8 <= n ? i + 8 : n;
        s->first = s->first < i ? s->first : i;
        s->end = end;
        for (; i < end; i++)
            s->total += s->counts[i] = look_at(half, i);
    }
}

/* One look at a half. True if it was whole. */
static bool look(vs_tally_half *half, size_t n, sight *s)
{
    look_at_counts(half, 0, n, s);
    s->sum = vs_load_acquire(&half->sum); /* R2: acquire; pairs with T2, and keeps R3 after it */
    /* R3: needs no order for the check. F6: acquire; pairs with F3: a half that was emptied meanwhile may pass the check with a
     * sum from before, but then its epoch is seen. */
    s->begun = vs_load_acquire(&half->begun);
    /* Whoever mends a half takes back a sum, and then begun: who saw the one from before and the other from after sees it here.
     * R4: relaxed; kept behind R3 by its acquire, which pairs with T6. */
    return s->begun == s->total && vs_load_relaxed(&half->sum) == s->sum;
}

/* The writer of a half of the shared stripe was killed, or is stopped, in mid-write: what it began is taken to be what was counted,
 * so that the next reading need not wait. One that is stopped and goes on leaves it wrong by one again, to be mended again. */
static void mend_shared(vs_tally_half *half, const sight *s)
{
    uint64_t begun = s->begun;
    vs_cas_weak_relaxed(&half->begun, &begun, s->total); /* fails if somebody began since: then a later reading mends */
}

/* How a reader may treat the block that it reads. */
typedef enum vs_manners { LEAVE_ALONE, ASK_ASIDE, MEND } vs_manners;

static bool read_half(const vs_arena *arena, vs_tally_block *block, size_t n, uint64_t which, vs_manners manners, sight *s)
{
    vs_tally_half *half = vs_tally_half_at(block, n, which);
    int64_t deadline = 0;
    for (unsigned tries = 0; !look(half, n, s); tries++) {
        /* Again and again: a reader in another process may have asked the writer back. */
        if (tries % TRIES_BEFORE_DIVERT == TRIES_BEFORE_DIVERT - 1 && manners != LEAVE_ALONE)
            vs_store_relaxed(&block->hot, 1 - which); /* T5: relaxed; see T0 */
        if (tries < TRIES_BEFORE_YIELD) {
            vs_cpu_relax();
            continue;
        }
        sched_yield();
        if (tries % TRIES_A_CLOCK_READ != 0)
            continue;
        if (manners == ASK_ASIDE)
            vs_arena_reap((vs_arena *)arena); /* the writer may have been killed since this reading began: then this mends */
        int64_t now = vs_clock_monotonic_ns();
        if (deadline == 0) {
            deadline = now + (manners == LEAVE_ALONE ? PATIENCE_UNHEARD_NS : PATIENCE_NS);
        } else if (now > deadline) {
            if (manners == MEND)
                mend_shared(half, s);
            return false;
        }
    }
    return true;
}

typedef struct gathering {
    const vs_arena *arena;
    uint64_t *counts, *scratch;
    size_t n, first, end; /* counts outside of first..end are not written */
    bool is_double;
    uint64_t sum_integer;
    vs_sum sum_double;
    uint64_t count;
    uint32_t unsettled;
} gathering;

/* Makes room for counts from `first` to `end`, zeroed. */
static void stretch(gathering *g, size_t first, size_t end)
{
    if (g->first >= g->end) {
        g->first = g->end = first;
    } else if (first < g->first) {
        memset(g->counts + first, 0, (g->first - first) * sizeof *g->counts);
        g->first = first;
    }
    if (end > g->end) {
        memset(g->counts + g->end, 0, (end - g->end) * sizeof *g->counts);
        g->end = end;
    }
}

static void add(gathering *g, const sight *s)
{
    if (s->first < s->end)
        stretch(g, s->first, s->end);
    for (size_t i = s->first; i < s->end; i++)
        g->counts[i] += s->counts[i];
    g->count += s->total;
    if (g->is_double)
        vs_sum_add(&g->sum_double, vs_double_of(s->sum));
    else
        g->sum_integer += s->sum;
}

static void gather(gathering *g, vs_tally_block *block, vs_manners manners)
{
    for (uint64_t which = 0; which < 2; which++) {
        /* Nothing begun: nothing to add. It also keeps a reader off pages that no writer has touched. F6: acquire; pairs
         * with F3, since a stripe that was emptied must not pass for one that never held anything. */
        if (vs_load_acquire(&vs_tally_half_at(block, g->n, which)->begun) == 0)
            continue;
        sight s = {.counts = g->scratch};
        if (!read_half(g->arena, block, g->n, which, manners, &s))
            g->unsettled++;
        add(g, &s);
    }
}

/* The archive does not move while its epoch lasts, so there is nothing to wait for: who sees a cell of the next but one, sees the
 * epoch, too (F3), and begins anew. */
static void gather_archive(gathering *g, char *tally)
{
    vs_tally_half *half = vs_tally_half_at((vs_tally_block *)tally, g->n, 0);
    uint64_t range = vs_load_acquire(vs_archive_range(tally, g->n)); /* F6, here and below */
    size_t first = range & UINT32_MAX, end = range >> 32;
    if (range == 0 || end > g->n) {
        first = 0;
        end = vs_load_acquire(&half->begun) != 0 ? g->n : 0;
    }
    sight s = {.counts = g->scratch};
    look_at_counts(half, first, end, &s);
    s.sum = vs_load_acquire(&half->sum);
    add(g, &s);
}

void vs_tally_read(const vs_arena *arena, uint64_t offset, size_t n, bool sum_is_double, uint64_t *counts,
                   uint64_t *scratch, vs_tally_totals *totals)
{
    vs_manners manners = arena->file != NULL && vs_file_untouchable(arena) ? LEAVE_ALONE : ASK_ASIDE;
    vs_reader reader;
    gathering g = {0};
    do {
        memset(counts + g.first, 0, (g.end - g.first) * sizeof *counts); /* of the attempt before */
        g = (gathering){.arena = arena, .counts = counts, .scratch = scratch, .n = n, .is_double = sum_is_double};
        char *shared = vs_reader_begin(&reader, arena);
        gather(&g, (vs_tally_block *)(shared + offset), manners == LEAVE_ALONE ? LEAVE_ALONE : MEND);
        for (char *base = vs_reader_next(&reader); base != NULL; base = vs_reader_next(&reader)) {
            vs_tally_block *block = (vs_tally_block *)(base + offset);
            if (reader.archive == VS_ARCHIVE_LOW) { /* holds nothing but what was rounded off a sum */
                if (sum_is_double)
                    vs_sum_add(&g.sum_double, vs_double_of(vs_load_acquire(&vs_tally_half_at(block, n, 0)->sum)));
                continue;
            }
            if (reader.archive == VS_ARCHIVE_HIGH)
                gather_archive(&g, base + offset);
            else
                gather(&g, block, manners);
        }
    } while (!vs_reader_stood_still(&reader));
    totals->first = g.first;
    totals->end = g.end;
    totals->count = g.count;
    totals->sum_integer = g.sum_integer;
    totals->sum_double = vs_sum_value(&g.sum_double);
    totals->unsettled = g.unsettled;
}

void vs_tally_mend(vs_tally_block *block, size_t n, bool is_shared)
{
    for (uint64_t which = 0; which < 2; which++) {
        vs_tally_half *half = vs_tally_half_at(block, n, which);
        uint64_t begun = vs_load_relaxed(&half->begun), total = 0;
        if (begun == 0)
            continue;
        for (size_t i = 0; i < n; i++)
            total += vs_load_relaxed(&half->counts[i]);
        if (!is_shared && begun == total)
            vs_store_relaxed(&half->settled, vs_load_relaxed(&half->sum)); /* it may have been cut short before that */
        else if (!is_shared)
            vs_store_relaxed(&half->sum, vs_load_relaxed(&half->settled));
        vs_store_release(&half->begun, total); /* T6: release; pairs with R3: see R4 */
    }
}
