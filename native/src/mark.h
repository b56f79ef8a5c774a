/* Marks of the log ring's cells, and positions. The protocol is told in ring.h. */
#ifndef VAULTSCOPE_MARK_H
#define VAULTSCOPE_MARK_H

#include "file.h"

enum { VS_MARK_NONE = 0, VS_MARK_WRITING = 1, VS_MARK_WHOLE = 2, VS_MARK_VOID = 3, VS_MARK_STATES = 3 };
enum {
    VS_MARK_LEVEL_SHIFT = 2,
    VS_MARK_OWNER_SHIFT = 5,
    VS_MARK_CELLS_SHIFT = 14,
    VS_MARK_LAP_SHIFT = 28,
    VS_MARK_CELLS_MAX = (1 << 14) - 1
};

/* The word `tail`: a position, above it a bit that says pinned, above that how often it was unpinned, which is done by adding the bit to
 * itself. Cursors are moved only while the tail is pinned: who finds it as he saw it before knows that they are, too.
 * 51 bits of a position last for twenty years at three million cells a second. */
#define VS_TAIL_PINNED (UINT64_C(1) << 51)
static inline uint64_t vs_tail_position(uint64_t tail) { return tail & (VS_TAIL_PINNED - 1); }

static inline uint64_t vs_mark(uint64_t lap, uint64_t cells, uint32_t owner, vs_level level, uint64_t state)
{
    return lap << VS_MARK_LAP_SHIFT | cells << VS_MARK_CELLS_SHIFT | (uint64_t)owner << VS_MARK_OWNER_SHIFT |
           (uint64_t)level << VS_MARK_LEVEL_SHIFT | state;
}

static inline uint64_t vs_mark_lap(uint64_t mark) { return mark >> VS_MARK_LAP_SHIFT; }
static inline uint64_t vs_mark_cells(uint64_t mark) { return mark >> VS_MARK_CELLS_SHIFT & VS_MARK_CELLS_MAX; }
static inline uint32_t vs_mark_owner(uint64_t mark) { return (uint32_t)(mark >> VS_MARK_OWNER_SHIFT & 511); }
static inline uint64_t vs_mark_state(uint64_t mark) { return mark & VS_MARK_STATES; }
static inline vs_level vs_mark_level(uint64_t mark)
{
    vs_level level = (vs_level)(mark >> VS_MARK_LEVEL_SHIFT & 7);
    return level < VS_LEVELS ? level : VS_FATAL; /* more is said only in a corrupt file */
}

static inline uint64_t vs_ring_lap(const vs_ring *ring, uint64_t position) { return position >> ring->shift; }
static inline uint64_t vs_ring_index(const vs_ring *ring, uint64_t position) { return position & (ring->cells - 1); }
static inline vs_word *vs_ring_mark(const vs_ring *ring, uint64_t position)
{
    return &ring->marks[vs_ring_index(ring, position)];
}
static inline vs_word *vs_ring_cell(const vs_ring *ring, uint64_t position)
{
    return ring->data + vs_ring_index(ring, position) * (VS_RING_CELL / 8);
}
/* Whether a record that begins at `position` can be of that many cells: what a corrupt file says may lead nowhere. */
static inline bool vs_ring_fits(const vs_ring *ring, uint64_t position, uint64_t cells)
{
    return cells != 0 && vs_ring_index(ring, position) + cells <= ring->cells;
}

/* Bytes of a ring: the cells and their marks. */
static inline uint64_t vs_ring_bytes(uint64_t cells) { return cells * (VS_RING_CELL + sizeof(vs_word)); }
/* The number of cells that options ask for: 0 is the default. 0: out of range. */
uint64_t vs_ring_cells_of(uint64_t bytes);

/* ring.c. The ring in an arena's file, as this process sees it. False: no process has opened a journal there. */
bool vs_ring_of_file(const vs_arena *arena, vs_ring *ring);
/* Lays out a ring over memory that is zero: words, then marks, then cells. */
void vs_ring_lay(vs_ring *ring, vs_ring_words *words, void *marks, uint64_t cells);
void vs_ring_start(vs_ring *ring);
/* Moves the tail, a word that was loaded with acquire, past the record there, if that is still the tail and not pinned, and
 * charges those who had not taken it. False: it is pinned. */
bool vs_ring_forget(const vs_ring *ring, uint64_t tail, uint64_t mark);
/* Unpins the tail for a process that died while it formatted. False: it lives. */
bool vs_ring_unpin_dead(const vs_ring *ring, uint64_t tail);
/* If the writer of the record at `position` is dead, makes it void. */
bool vs_ring_bury(const vs_ring *ring, uint64_t position);
/* Likewise all that the process of that entry + 1 was writing; it drains no more. Under the file's lock. */
void vs_ring_reap(const vs_ring *ring, uint32_t owner);
/* In the child of a fork, a ring in memory: its records are the parent's to drain. */
void vs_ring_abandon(const vs_ring *ring);
/* Whether any cursor has a name. */
bool vs_ring_is_read(const vs_ring *ring);

/* journal.c, drain.c */
void vs_journal_after_fork(void);
void vs_drain_lock(void);
void vs_drain_unlock(void);
void vs_drain_after_fork(void);

#endif
