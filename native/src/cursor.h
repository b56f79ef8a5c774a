/* A cursor of this process, for drain.c and pump.c. */
#ifndef VAULTSCOPE_CURSOR_H
#define VAULTSCOPE_CURSOR_H

#include "mark.h"
#include "vaultscope/drain.h"

struct vs_cursor {
    vs_journal *journal;
    vs_cursor_words *words;
    vs_cursor *next; /* of the journal's */
    uint64_t generation;
    vs_buffer lines; /* the batch */
    uint64_t records[VS_LEVELS]; /* in them */
    uint64_t written[VS_LEVELS], given_up[VS_LEVELS], missed_before[VS_LEVELS];
    size_t landed;   /* bytes of the batch that are in the file */
    bool has_batch;  /* taken, not acknowledged */
    bool unsure;     /* the last process was writing a batch to a file when it ended */
};

/* Where a batch is going to be. */
typedef struct vs_landing {
    uint64_t inode, offset;
} vs_landing;

/* False: it was the parent's, before a fork. */
bool vs_cursor_is_mine(const vs_cursor *cursor);

/* What became of the batch that the last process was writing: if it did not arrive, it is given again. */
void vs_cursor_settle(vs_cursor *cursor, bool arrived);

/* Formats the next batch; the tail is pinned until vs_cursor_commit, which must follow if this says true, hands it over. That
 * says false for an empty one. */
bool vs_cursor_prepare(vs_cursor *cursor, size_t bytes, uint64_t *end);
bool vs_cursor_commit(vs_cursor *cursor, uint64_t end, const vs_landing *landing);

#endif
