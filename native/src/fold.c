/* What the dead leave: their stripes are made whole, given back, and moved into the archive, so that a scrape costs no more for
 * all who ever lived.
 *
 * The archive is two copies, of which the lowest bit of `epoch` says which is valid; each has the sums of the cells, and what was
 * rounded off the sums of doubles (sum.h). To fold stripes that nobody owns:
 *
 *   1. own them, under a word that names the next epoch;
 *   2. write the archive that is not valid := the valid one + those stripes;
 *   3. take the stripes off the `dirty` list of the next epoch, and store the epoch. That one store makes the new archive
 *      valid and the stripes' values void, for all readers at once;
 *   4. zero the stripes, take them off the other list, give them back.
 *
 * A process that is killed on the way loses nothing: before 3 the stripes are as they were, after it their values are in the archive;
 * the next one here goes on with 4, or gives them back. Readers that saw stripes and archive of two epochs begin anew (reader.h).
 * The tallies of the archive use one half of their two; the other's sum says which counts are not 0 (reader.h). */
#include "file.h"

#include "reader.h"
#include "sum.h"

static vs_tally_half *half_at(char *base, uint64_t offset, size_t n, uint64_t which)
{
    return vs_tally_half_at((vs_tally_block *)(base + offset), n, which);
}

/* ---- making whole ---- */

static void mend_stripe(const vs_arena *arena, char *base)
{
    bool is_shared = base == vs_arena_stripe(arena, 0);
    const vs_metric_record *metric;
    const vs_series_record *series;
    for (uint64_t at = 0; (series = vs_directory_next_series(arena->file, &at, &metric)) != NULL;)
        if (metric->tally_size != 0)
            vs_tally_mend((vs_tally_block *)(base + series->offset), metric->tally_size, is_shared);
}

size_t vs_fold_release(vs_arena *arena, uint32_t index)
{
    uint64_t token = vs_process_token(index + 1);
    size_t released = 0;
    for (uint32_t stripe = 1; stripe <= arena->stripe_count; stripe++) {
        if (vs_load_relaxed(&arena->shared->owners[stripe]) != token)
            continue;
        mend_stripe(arena, vs_arena_stripe(arena, stripe));
        vs_store_release(&arena->shared->owners[stripe], 0); /* O1 */
        released++;
    }
    vs_add_relaxed(&arena->shared->releases, released);
    return released;
}

void vs_fold_mend_all(vs_arena *arena)
{
    vs_reader reader;
    for (char *base = vs_reader_begin(&reader, arena); base != NULL; base = vs_reader_next(&reader))
        if (reader.archive != VS_ARCHIVE_HIGH && reader.archive != VS_ARCHIVE_LOW) /* nobody writes in mid-epoch there */
            mend_stripe(arena, base);
}

/* ---- the stripes of one fold ---- */

typedef struct fold {
    vs_arena *arena;
    uint64_t epoch; /* that is valid now */
    uint32_t count;
    uint32_t stripes[VS_STRIPES_MAX];
    char *high, *low;           /* the archive that is valid */
    char *next_high, *next_low; /* the one that will be */
} fold;

static vs_word *dirty_word(const fold *f, uint32_t stripe) { return &f->arena->shared->dirty[stripe / VS_DIRTY_STRIPES]; }

/* The stripes' bits for epochs of the parity of `epoch`. */
static uint64_t parity_of(uint64_t epoch) { return epoch % 2 != 0 ? VS_DIRTY_ODD : VS_DIRTY_EVEN; }

static void take_off(fold *f, uint64_t which)
{
    for (uint32_t i = 0; i < f->count; i++)
        /* F3: release; pairs with F4 in reader.h. Without it a reader could miss the stripe and not see the epoch that says why; or
         * find it listed anew, by its next owner, and not see that it was emptied. */
        vs_and_release(dirty_word(f, f->stripes[i]), ~vs_dirty_bits(f->stripes[i], which));
}

static void give_back(fold *f)
{
    for (uint32_t i = 0; i < f->count; i++)
        vs_store_release(&f->arena->shared->owners[f->stripes[i]], 0); /* O1 */
    vs_add_relaxed(&f->arena->shared->releases, f->count);
    f->count = 0;
}

/* Stripes that nobody owns but that hold values become ours. */
static void take_free_stripes(fold *f)
{
    vs_shared *shared = f->arena->shared;
    f->count = 0;
    for (uint32_t stripe = 1; stripe <= f->arena->stripe_count; stripe++) {
        uint64_t nobody = 0;
        if ((vs_load_relaxed(dirty_word(f, stripe)) & vs_dirty_bits(stripe, parity_of(f->epoch))) != 0 &&
            vs_load_relaxed(&shared->owners[stripe]) == 0 &&
            vs_cas_acquire(&shared->owners[stripe], &nobody, VS_OWNER_FOLDING | (f->epoch + 1))) /* O2 */
            f->stripes[f->count++] = stripe;
    }
}

/* Finds the stripes that a fold was at work on when its process was killed. */
static void take_left_stripes(fold *f, uint64_t target)
{
    f->count = 0;
    for (uint32_t stripe = 1; stripe <= f->arena->stripe_count; stripe++)
        if (vs_load_relaxed(&f->arena->shared->owners[stripe]) == (VS_OWNER_FOLDING | target))
            f->stripes[f->count++] = stripe;
}

/* ---- cells ---- */

/* F3: release; pairs with F6 in counter.c and tally.c: a reader of two epochs ago may still be at this copy of the archive, and
 * must see the epoch that makes it begin anew. */
static void put(vs_word *cell, uint64_t value)
{
    if (vs_load_relaxed(cell) != value)
        vs_store_release(cell, value);
}

static vs_word *word_at(char *base, uint64_t offset) { return (vs_word *)(base + offset); }

static void fold_double(fold *f, uint64_t offset, vs_sum sum)
{
    vs_sum_add(&sum, vs_double_of(vs_load_relaxed(word_at(f->high, offset))));
    vs_sum_add(&sum, vs_double_of(vs_load_relaxed(word_at(f->low, offset))));
    double high = vs_sum_value(&sum);
    double low = (sum.high - high) + sum.low;
    put(word_at(f->next_high, offset), vs_bits_of(high));
    put(word_at(f->next_low, offset), low - low == 0.0 ? vs_bits_of(low) : 0);
}

static void fold_counter(fold *f, uint64_t offset)
{
    uint64_t integer = vs_load_relaxed(word_at(f->high, offset));
    vs_sum real = {0};
    for (uint32_t i = 0; i < f->count; i++) {
        const vs_counter_cell *cell = (vs_counter_cell *)(vs_arena_stripe(f->arena, f->stripes[i]) + offset);
        integer += vs_load_relaxed(&cell->integer);
        vs_sum_add(&real, vs_double_of(vs_load_relaxed(&cell->real)));
    }
    put(word_at(f->next_high, offset), integer);
    fold_double(f, offset + offsetof(vs_counter_cell, real), real);
}

/* `begun` of a tally in the archive while it is written: a fold that is killed then must not leave what looks like nothing. */
static const uint64_t UNDER_WAY = UINT64_MAX;

static void fold_tally(fold *f, uint64_t offset, size_t n, bool is_double)
{
    vs_tally_half *halves[2 * VS_STRIPES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->count; i++)
        for (uint64_t which = 0; which < 2; which++) {
            vs_tally_half *half = half_at(vs_arena_stripe(f->arena, f->stripes[i]), offset, n, which);
            if (vs_load_relaxed(&half->begun) != 0)
                halves[count++] = half;
        }
    vs_tally_half *old = half_at(f->high, offset, n, 0), *next = half_at(f->next_high, offset, n, 0);
    uint64_t total = vs_load_relaxed(&old->begun);
    if (total == 0 && count == 0 && vs_load_relaxed(&next->begun) == 0)
        return; /* never written: nor is the other copy, by a fold that was killed */
    put(&next->begun, UNDER_WAY); /* first of all */
    uint64_t sum_integer = vs_load_relaxed(&old->sum);
    vs_sum sum_double = {0};
    for (uint32_t i = 0; i < count; i++) {
        total += vs_load_relaxed(&halves[i]->begun);
        sum_integer += vs_load_relaxed(&halves[i]->sum);
        vs_sum_add(&sum_double, vs_double_of(vs_load_relaxed(&halves[i]->sum)));
    }
    size_t first = n, end = 0;
    for (size_t bucket = 0; bucket < n; bucket++) {
        uint64_t sum = vs_load_relaxed(&old->counts[bucket]);
        for (uint32_t i = 0; i < count; i++)
            sum += vs_load_relaxed(&halves[i]->counts[bucket]);
        put(&next->counts[bucket], sum);
        if (sum != 0) {
            first = first < bucket ? first : bucket;
            end = bucket + 1;
        }
    }
    put(vs_archive_range(f->next_high + offset, n), vs_archive_range_of(first, end));
    put(&next->begun, total);
    if (is_double)
        fold_double(f, (uint64_t)((char *)&next->sum - f->next_high), sum_double);
    else
        put(&next->sum, sum_integer);
}

/* Backwards: the first word of a half says whether there is anything in it, to whoever goes on after a kill.
 * F3: release, as in put. Without it a reader could see a cell empty and not the epoch that says why. */
static void zero(vs_word *cells, size_t n)
{
    while (n-- != 0)
        if (vs_load_relaxed(&cells[n]) != 0)
            vs_store_release(&cells[n], 0);
}

static void zero_stripe(const vs_arena *arena, char *base)
{
    const vs_metric_record *metric;
    const vs_series_record *series;
    for (uint64_t at = 0; (metric = vs_directory_next_metric(arena->file, &at)) != NULL;)
        zero(word_at(base, metric->losses), VS_LOSS_KINDS * sizeof(vs_counter_cell) / sizeof(vs_word));
    for (uint64_t at = 0; (series = vs_directory_next_series(arena->file, &at, &metric)) != NULL;) {
        if (metric->kind == VS_COUNTER)
            zero(word_at(base, series->offset), sizeof(vs_counter_cell) / sizeof(vs_word));
        for (uint64_t which = 0; metric->tally_size != 0 && which < 2; which++) {
            vs_tally_half *half = half_at(base, series->offset, metric->tally_size, which);
            if (vs_load_relaxed(&half->begun) != 0)
                zero(&half->begun, vs_tally_half_bytes(metric->tally_size) / sizeof(vs_word));
        }
    }
}

/* ---- folding ---- */

static void finish(fold *f)
{
    for (uint32_t i = 0; i < f->count; i++)
        zero_stripe(f->arena, vs_arena_stripe(f->arena, f->stripes[i]));
    take_off(f, VS_DIRTY_BOTH);
    give_back(f);
}

/* Goes on with what another process left when it was killed. */
static void recover(fold *f)
{
    take_left_stripes(f, f->epoch);
    finish(f);
    take_left_stripes(f, f->epoch + 1);
    for (uint32_t i = 0; i < f->count; i++)
        vs_or_relaxed(dirty_word(f, f->stripes[i]), vs_dirty_bits(f->stripes[i], VS_DIRTY_BOTH));
    give_back(f);
}

static bool have_space(const fold *f)
{
    uint64_t bytes = vs_extent_bytes(vs_load_relaxed(&f->arena->shared->extent)); /* beyond it, space.c sees to both copies */
    return vs_file_back(f->arena->file, f->next_high, bytes) && vs_file_back(f->arena->file, f->next_low, bytes);
}

bool vs_fold_is_cut_short(const vs_arena *arena)
{
    for (uint32_t stripe = 1; stripe <= arena->stripe_count; stripe++)
        if ((vs_load_relaxed(&arena->shared->owners[stripe]) & VS_OWNER_FOLDING) != 0)
            return true;
    return false;
}

void vs_fold_stripes(vs_arena *arena)
{
    fold f = {.arena = arena, .epoch = vs_load_relaxed(&arena->shared->epoch)}; /* relaxed: written under the file's lock */
    recover(&f);
    f.high = vs_archive_at(arena, f.epoch, VS_ARCHIVE_HIGH);
    f.low = vs_archive_at(arena, f.epoch, VS_ARCHIVE_LOW);
    f.next_high = vs_archive_at(arena, f.epoch + 1, VS_ARCHIVE_HIGH);
    f.next_low = vs_archive_at(arena, f.epoch + 1, VS_ARCHIVE_LOW);
    take_free_stripes(&f);
    if (f.count == 0)
        return;
    if (!have_space(&f)) { /* then readers go on adding them up one by one */
        give_back(&f);
        return;
    }
    const vs_metric_record *metric;
    const vs_series_record *series;
    for (uint64_t at = 0; (metric = vs_directory_next_metric(arena->file, &at)) != NULL;)
        for (uint64_t kind = 0; kind < VS_LOSS_KINDS; kind++)
            fold_counter(&f, metric->losses + kind * sizeof(vs_counter_cell));
    for (uint64_t at = 0; (series = vs_directory_next_series(arena->file, &at, &metric)) != NULL;) {
        if (metric->kind == VS_COUNTER)
            fold_counter(&f, series->offset);
        else if (metric->tally_size != 0)
            fold_tally(&f, series->offset, metric->tally_size, metric->kind == VS_HISTOGRAM);
    }
    take_off(&f, parity_of(f.epoch + 1));
    /* F1: release; pairs with F2 in reader.h. Without it a reader could find the new archive before its cells. */
    vs_store_release(&arena->shared->epoch, f.epoch + 1);
    finish(&f);
}
