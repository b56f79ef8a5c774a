/* A tally: n counts and a sum that always agree. The inside of both kinds of histogram.
 *
 * The protocol, once. In each stripe a tally is one block: a `hot` word and two halves, each { begun, sum, settled, counts }.
 *
 *   Writer (the stripe's owner): half = hot; begun += 1; sum += value (release); counts[i] += 1 (release); settled = sum.
 *   Reader: counts (acquire), then sum (acquire), then begun. The half is whole if begun equals the sum of its counts.
 *
 * Why that is enough. Let T be the total of the counts as read. Every observation whose effect on a count or on the sum
 * was read had begun before, and begun is read last, so begun >= the observations seen anywhere. If one of those is
 * missing from a count that was read too early, T is smaller than begun. So T == begun means that each count and
 * the sum hold exactly the same T observations.
 *
 * A writer that never pauses would make the reader retry for ever, so after a few attempts the reader stores the
 * other half's number into `hot`; from then on at most one observation that is already under way reaches this half,
 * and it comes to rest. The two halves are read at different moments, as are different stripes: the total
 * is a set of whole observations, not one instant. Readers of one process are serialised by the read lock (cold); those of
 * several may ask a writer to and fro, and ask again.
 *
 * A writer that is killed, or vanishes in a fork, leaves begun one too high, and its value perhaps in the sum. Whoever takes the stripe
 * over makes it whole: begun := the counts, and sum := `settled`, which is the sum as of the last count (vs_tally_mend).
 *
 * The shared stripe has many writers. The same steps by read-modify-write give the same proof: an acquire of a count or of the
 * sum synchronises with every earlier addition to it, since read-modify-writes continue the release sequence. Only there a value whose
 * writer was killed stays in the sum: of many writers none can say what the sum was.
 *
 * Rejected: an odd/even sequence (a signal handler inside a write would have to know that it is inside);
 * a lock (stalls the writer); one half (a busy native writer starves the reader). */
#ifndef VAULTSCOPE_TALLY_H
#define VAULTSCOPE_TALLY_H

#include "stripe.h"

typedef struct vs_tally_half {
    vs_word begun;    /* observations that started to write here */
    vs_word sum;      /* of their values: bits of a double, or an integer modulo 2^64, as the owner of the tally says */
    vs_word settled;  /* the sum as it was when the last count was raised; not in the shared stripe */
    vs_word counts[]; /* one per bucket, not cumulative */
} vs_tally_half;

typedef struct vs_tally_block {
    vs_word hot; /* 0 or 1: the half that writers use; stored by a reader only */
    vs_word halves[];
} vs_tally_block;

/* Bytes of a half and of the whole block of a tally with n counts. */
static inline size_t vs_tally_half_bytes(size_t n)
{
    return sizeof(vs_tally_half) + n * sizeof(vs_word);
}

static inline size_t vs_tally_bytes(size_t n)
{
    return sizeof(vs_tally_block) + 2 * vs_tally_half_bytes(n);
}

static inline vs_tally_half *vs_tally_half_at(vs_tally_block *block, size_t n, uint64_t which)
{
    return (vs_tally_half *)((char *)block->halves + which * vs_tally_half_bytes(n));
}

static inline vs_tally_half *vs_tally_hot(vs_tally_block *block, size_t n)
{
    /* T0: relaxed; pairs with T5 by nothing but the value. An old value is harmless: the reader checks and waits. */
    return vs_tally_half_at(block, n, vs_load_relaxed(&block->hot) & 1);
}

/* Writes one observation to a stripe that the caller owns and has hidden. */
static inline void vs_tally_write_double(vs_tally_block *block, size_t n, size_t index, double value)
{
    vs_tally_half *half = vs_tally_hot(block, n);
    vs_owned_add_release(&half->begun, 1);            /* T1: before T2 by T2's release. Its own release is for this
                                                         thread's signal handlers: not before the stripe is hidden */
    double sum = vs_owned_add_double_release(&half->sum, value); /* T2: pairs with R2 in tally.c; without it the sum could be
                                                         seen with an observation that begun does not count yet */
    vs_owned_add_release(&half->counts[index], 1);    /* T3: pairs with R1; without it a count could be seen whose
                                                         value the sum does not hold */
    vs_store_release(&half->settled, vs_bits_of(sum)); /* T4: release; after the count, for the child of a fork */
}

/* The same with an integer sum, for `times` equal observations. */
static inline void vs_tally_write_integer(vs_tally_block *block, size_t n, size_t index, uint64_t value, uint64_t times)
{
    vs_tally_half *half = vs_tally_hot(block, n);
    vs_owned_add_release(&half->begun, times);                /* T1 */
    uint64_t sum = vs_load_relaxed(&half->sum) + value * times;
    vs_store_release(&half->sum, sum);                        /* T2 */
    vs_owned_add_release(&half->counts[index], times);        /* T3 */
    vs_store_release(&half->settled, sum);                    /* T4 */
}

/* The same on the shared stripe, by read-modify-write. Lock-free. */
VS_API VS_COLD void vs_tally_share_double(vs_tally_block *block, size_t n, size_t index, double value);
VS_API VS_COLD void vs_tally_share_integer(vs_tally_block *block, size_t n, size_t index, uint64_t value, uint64_t times);

typedef struct vs_tally_totals {
    size_t first, end;    /* the counts that may be other than 0 */
    uint64_t count;       /* the sum of the counts */
    uint64_t sum_integer; /* the sum words added as integers, modulo 2^64 */
    double sum_double;    /* the sum words added as doubles */
    uint32_t unsettled;   /* halves that did not come to rest (a writer was stopped in mid-write): read as they stood */
} vs_tally_totals;

/* The tally at `offset`, all stripes of the arena added up: into *totals and counts[first..end), where n words have room; those
 * outside of first..end stay as they are, since most of an HDR histogram's are 0. `scratch` has room for n words, too.
 * The caller holds the read lock (vs_read_lock in arena.h). Waits for at most one observation a half; gives up on a writer that stays
 * stopped for about a second, and says so in `unsettled`. */
struct vs_arena;
VS_API void vs_tally_read(const struct vs_arena *arena, uint64_t offset, size_t n, bool sum_is_double,
                          uint64_t *counts, uint64_t *scratch, vs_tally_totals *totals);

#endif
