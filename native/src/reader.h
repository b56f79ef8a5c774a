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

typedef struct vs_reader {
    const vs_arena *arena;
    unsigned long long epoch;
    unsigned long long bits; /* of the word of `dirty` that is looked at: stripes still to be read */
    uint32_t word;
    uint32_t archive; /* what was returned last is this part of the archive */
} vs_reader;

/* The parts of the archive that are valid in an epoch: sums, and what was rounded off the doubles among them. */
static inline char *vs_archive_at(const vs_arena *arena, unsigned long long epoch, uint32_t part)
{
    return vs_arena_stripe(arena, arena->stripe_count + (epoch % 2 != 0 ? 0u : 2u) + part);
}

static inline char *vs_reader_begin(vs_reader *reader, const vs_arena *arena)
{
    reader->arena = arena;
    reader->epoch = vs_load_acquire(&arena->shared->epoch); /* F2: acquire; pairs with F1 in fold.c */
    reader->word = 0;
    reader->bits = vs_load_acquire(&arena->shared->dirty[reader->epoch % 2][0]); /* F4: acquire; pairs with F3 in fold.c */
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
        if (reader->word == arena->stripe_count / 64)
            return NULL;
        reader->word++;
        reader->bits = vs_load_acquire(&arena->shared->dirty[reader->epoch % 2][reader->word]); /* F4 */
    }
    uint32_t stripe = reader->word * 64 + (uint32_t)__builtin_ctzll(reader->bits);
    reader->bits &= reader->bits - 1;
    return vs_arena_stripe(arena, stripe);
}

static inline bool vs_reader_stood_still(const vs_reader *reader)
{
    /* F5: relaxed; kept behind the cells by their acquire: whoever saw a cell that was emptied sees the epoch of that. */
    return vs_load_relaxed(&reader->arena->shared->epoch) == reader->epoch;
}

#endif
