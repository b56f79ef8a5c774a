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

static vs_tally_half *half_at(vs_tally_block *block, size_t n, uint64_t half)
{
    return (vs_tally_half *)((char *)block->halves + half * vs_tally_half_bytes(n));
}

/* One look at a half. True if it was whole. */
static bool look(vs_tally_half *half, size_t n, uint64_t *counts, uint64_t *sum, uint64_t *begun)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        counts[i] = vs_load_acquire(&half->counts[i]); /* R1: acquire; pairs with T3 */
        total += counts[i];
    }
    *sum = vs_load_acquire(&half->sum); /* R2: acquire; pairs with T2, and keeps R3 after it */
    /* R3: needs no order for the check. F6: acquire; pairs with F3: a half that was emptied meanwhile may pass the check with a
     * sum from before, but then its epoch is seen. */
    *begun = vs_load_acquire(&half->begun);
    /* Whoever mends a half takes back a sum, and then begun: who saw the one from before and the other from after sees it here.
     * R4: relaxed; kept behind R3 by its acquire, which pairs with T6. */
    return *begun == total && vs_load_relaxed(&half->sum) == *sum;
}

/* The writer of a half of the shared stripe was killed, or is stopped, in mid-write: what it began is taken to be what was counted,
 * so that the next reading need not wait. One that is stopped and goes on leaves it wrong by one again, to be mended again. */
static void mend_shared(vs_tally_half *half, size_t n, const uint64_t *counts, uint64_t begun)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += counts[i];
    vs_cas_weak_relaxed(&half->begun, &begun, total); /* fails if somebody began since: then a later reading mends */
}

/* How a reader may treat the block that it reads. */
typedef enum vs_manners { LEAVE_ALONE, ASK_ASIDE, MEND } vs_manners;

static bool read_half(const vs_arena *arena, vs_tally_block *block, size_t n, uint64_t which, vs_manners manners,
                      uint64_t *counts, uint64_t *sum)
{
    vs_tally_half *half = half_at(block, n, which);
    int64_t deadline = 0;
    uint64_t begun;
    for (unsigned tries = 0; !look(half, n, counts, sum, &begun); tries++) {
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
                mend_shared(half, n, counts, begun);
            return false;
        }
    }
    return true;
}

typedef struct gathering {
    const vs_arena *arena;
    uint64_t *counts, *scratch;
    size_t n;
    bool is_double;
    uint64_t sum_integer;
    vs_sum sum_double;
    uint64_t count;
    uint32_t unsettled;
} gathering;

static void gather(gathering *g, vs_tally_block *block, vs_manners manners)
{
    for (uint64_t which = 0; which < 2; which++) {
        /* Nothing begun: nothing to add. It also keeps a reader off pages that no writer has touched. F6: acquire; pairs
         * with F3, since a stripe that was emptied must not pass for one that never held anything. */
        if (vs_load_acquire(&half_at(block, g->n, which)->begun) == 0)
            continue;
        uint64_t sum = 0;
        if (!read_half(g->arena, block, g->n, which, manners, g->scratch, &sum))
            g->unsettled++;
        for (size_t i = 0; i < g->n; i++) {
            g->counts[i] += g->scratch[i];
            g->count += g->scratch[i];
        }
        if (g->is_double)
            vs_sum_add(&g->sum_double, vs_double_of(sum));
        else
            g->sum_integer += sum;
    }
}

/* The archive does not move while its epoch lasts, so there is nothing to wait for: who sees a cell of the next but one, sees the
 * epoch, too (F3), and begins anew. */
static void gather_archive(gathering *g, char *tally)
{
    vs_tally_half *half = half_at((vs_tally_block *)tally, g->n, 0);
    uint64_t range = vs_load_acquire(vs_archive_range(tally, g->n)); /* F6, here and below */
    size_t first = range & UINT32_MAX, end = range >> 32;
    if (range == 0 || end > g->n) {
        first = 0;
        end = vs_load_acquire(&half->begun) != 0 ? g->n : 0;
    }
    for (size_t i = first; i < end; i++) {
        uint64_t count = vs_load_acquire(&half->counts[i]);
        g->counts[i] += count;
        g->count += count;
    }
    uint64_t sum = vs_load_acquire(&half->sum);
    if (g->is_double)
        vs_sum_add(&g->sum_double, vs_double_of(sum));
    else
        g->sum_integer += sum;
}

void vs_tally_read(const vs_arena *arena, uint64_t offset, size_t n, bool sum_is_double, uint64_t *counts,
                   uint64_t *scratch, vs_tally_totals *totals)
{
    vs_manners manners = arena->file != NULL && vs_file_untouchable(arena) ? LEAVE_ALONE : ASK_ASIDE;
    vs_reader reader;
    gathering g;
    do {
        g = (gathering){.arena = arena, .counts = counts, .scratch = scratch, .n = n, .is_double = sum_is_double};
        memset(counts, 0, n * sizeof *counts);
        char *shared = vs_reader_begin(&reader, arena);
        gather(&g, (vs_tally_block *)(shared + offset), manners == LEAVE_ALONE ? LEAVE_ALONE : MEND);
        for (char *base = vs_reader_next(&reader); base != NULL; base = vs_reader_next(&reader)) {
            vs_tally_block *block = (vs_tally_block *)(base + offset);
            if (reader.archive == VS_ARCHIVE_LOW) { /* holds nothing but what was rounded off a sum */
                if (sum_is_double)
                    vs_sum_add(&g.sum_double, vs_double_of(vs_load_acquire(&half_at(block, n, 0)->sum)));
                continue;
            }
            if (reader.archive == VS_ARCHIVE_HIGH)
                gather_archive(&g, base + offset);
            else
                gather(&g, block, manners);
        }
    } while (!vs_reader_stood_still(&reader));
    totals->count = g.count;
    totals->sum_integer = g.sum_integer;
    totals->sum_double = vs_sum_value(&g.sum_double);
    totals->unsettled = g.unsettled;
}

void vs_tally_mend(vs_tally_block *block, size_t n, bool is_shared)
{
    for (uint64_t which = 0; which < 2; which++) {
        vs_tally_half *half = half_at(block, n, which);
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
