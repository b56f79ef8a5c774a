/* Which copies of the cells a reader adds up, and whether it saw them while they stood still.
 *
 * Those are the shared stripe, each stripe that holds values, and in a file arena the archive: the sum of what stripes of dead
 * processes held. When a stripe's values move to the archive, one store of `epoch` makes the new archive valid and takes the
 * stripe off the list, both (fold.c). A reader that began before that store may have seen the stripe empty already: it looks
 * at the epoch again at the end, and begins anew if it changed.
 *
 *     do {
 *         forget what was read;
 *         for (char *base = vs_reader_begin(&reader, arena); base != NULL; base = vs_reader_next(&reader))
 *             read the cells at base + offset, with acquire;
 *     } while (!vs_reader_stood_still(&reader));
 */
#ifndef VAULTSCOPE_READER_H
#define VAULTSCOPE_READER_H

#include "internal.h"

enum { VS_ARCHIVE_NONE = 0, VS_ARCHIVE_HIGH = 1, VS_ARCHIVE_LOW = 2 };

/* The list is `dirty`: a stripe has a bit for epochs of either parity. They stand in one word, so that a reader that saw the one set
 * cannot miss the other when the epoch changes; in two it could, where stores are seen out of order. */
enum { VS_DIRTY_STRIPES = 32 /* a word */, VS_DIRTY_EVEN = 1, VS_DIRTY_ODD = 2, VS_DIRTY_BOTH = 3 };

static inline unsigned long long vs_dirty_bits(uint32_t stripe, unsigned long long which)
{
    return which << stripe % VS_DIRTY_STRIPES * 2;
}

/* The bits that count in an epoch. */
static inline unsigned long long vs_dirty_mask(unsigned long long epoch)
{
    return 0x5555555555555555ull << epoch % 2;
}

typedef struct vs_reader {
    const vs_arena *arena;
    unsigned long long epoch;
    unsigned long long bits; /* of the word of `dirty` that is looked at: stripes that were not read yet */
    uint32_t word;
    uint32_t archive; /* what was returned last is this part of the archive */
} vs_reader;

/* The parts of the archive that are valid in an epoch: sums, and what was rounded off the doubles among them. */
static inline char *vs_archive_at(const vs_arena *arena, unsigned long long epoch, uint32_t part)
{
    return vs_arena_stripe(arena, arena->stripe_count + (epoch % 2 != 0 ? 0u : 2u) + part);
}

static inline void vs_reader_look(vs_reader *reader, uint32_t word)
{
    reader->word = word;
    /* F4: acquire; pairs with F3 in fold.c */
    reader->bits = vs_load_acquire(&reader->arena->shared->dirty[word]) & vs_dirty_mask(reader->epoch);
}

/* In the archive a tally uses its first half. Where the second one's sum would be stands which of the first's counts are not 0: most of
 * an HDR histogram's are, and a reader need not look at them. 0: not told. */
static inline vs_word *vs_archive_range(char *tally, size_t n)
{
    return &vs_tally_half_at((vs_tally_block *)tally, n, 1)->sum;
}

static inline uint64_t vs_archive_range_of(size_t first, size_t end) { return (uint64_t)end << 32 | first; }

static inline char *vs_reader_begin(vs_reader *reader, const vs_arena *arena)
{
    reader->arena = arena;
    reader->epoch = vs_load_acquire(&arena->shared->epoch); /* F2: acquire; pairs with F1 in fold.c */
    vs_reader_look(reader, 0);
    reader->archive = VS_ARCHIVE_NONE;
    return vs_arena_stripe(arena, 0);
}

static inline char *vs_reader_next(vs_reader *reader)
{
    const vs_arena *arena = reader->arena;
    if (VS_UNLIKELY(reader->epoch != 0 && reader->archive < VS_ARCHIVE_LOW)) {
        reader->archive++;
        return vs_archive_at(arena, reader->epoch, reader->archive);
    }
    reader->archive = VS_ARCHIVE_LOW + 1;
    while (reader->bits == 0) {
        if (reader->word == arena->stripe_count / VS_DIRTY_STRIPES)
            return NULL;
        vs_reader_look(reader, reader->word + 1);
    }
    uint32_t stripe = reader->word * VS_DIRTY_STRIPES + (uint32_t)__builtin_ctzll(reader->bits) / 2;
    reader->bits &= reader->bits - 1;
    return vs_arena_stripe(arena, stripe);
}

static inline bool vs_reader_stood_still(const vs_reader *reader)
{
    /* F5: relaxed; kept behind the cells by their acquire: whoever saw a cell that was emptied sees the epoch of that. */
    return vs_load_relaxed(&reader->arena->shared->epoch) == reader->epoch;
}

#endif
