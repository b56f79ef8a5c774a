/* The log ring: records of many writers, in the order in which they were begun, for readers that come when they can.
 *
 * Memory is `cells` of 64 bytes, a power of two, and a word for each, its mark. A position counts cells since the beginning and never
 * wraps; its cell is the position modulo `cells`, its lap the position divided by it. A record takes a run of cells, all before
 * the end of the region (what is left there is passed over). The mark of its first cell tells all that others need:
 *
 *   lap:36 | cells of the record:14 | who writes it:9 | level:3 | state:2      (WRITING, WHOLE, VOID)
 *
 *   - Writing: find the head, the position behind the last record. Exchange the mark there, of whatever older lap, for one of this lap
 *     that says WRITING: now the record is begun, its length and its writer are known. Move the head behind it. Copy the
 *     bytes. Store the mark again, WHOLE. Who finds a mark of this lap at the head moves the head himself: there is no moment in which
 *     a writer that stops, or is killed, holds up another.
 *   - Reading: from a position that is known to begin a record, read its mark. An older lap: nobody was here yet, this is the end.
 *     WRITING: wait, or, if its writer's process is dead, make it VOID. The bytes are unharmed as long as the head has not come
 *     round to them.
 *   - Room: nothing is begun that would reach round to the tail, the oldest record that must be kept. Of the room, an eighth
 *     is left to records of level error and above.
 *   - The tail is moved by who drains (drain.h). Where nobody does, or the policy is to overwrite, a writer that finds no
 *     room moves it past the oldest record, unless a reader has pinned it: then the new record is dropped.
 *
 * Any thread of any process, any signal handler; lock-free. A writer that is killed leaves a record that is void.
 * Rejected: a length in the first word of the record itself (stale bytes of user data would pass for one), moving the head first (a
 * writer that is killed in between leaves a gap of unknown length), a ring for each thread (no order among them,
 * and a burst finds an empty ring beside a full one). */
#ifndef VAULTSCOPE_RING_H
#define VAULTSCOPE_RING_H

#include "atomic.h"
#include "base.h"
#include "level.h"

#ifndef VS_RING_CELL /* a model makes do with less */
#define VS_RING_CELL 64
#define VS_RING_CURSORS 8
#endif

/* A reader that must get every record, by name; in the ring, so that it is known where it was after a crash. Positions. */
typedef struct vs_cursor_words {
    vs_word name;   /* hash of the name; 0: nobody's */
    vs_word acked;  /* all before it is where it should be */
    vs_word taken;  /* all before it was handed over, and is being written */
    vs_word inode, offset, bytes; /* where what was taken is being written to: so that it is done once, whatever happens */
    vs_word missed[VS_LEVELS]; /* records that were overwritten before it had taken them */
    vs_word batch[VS_LEVELS / 2]; /* how many records of each level were taken last: two levels to a word */
    vs_word open;   /* 1: the process that drains uses it */
} vs_cursor_words;

typedef struct vs_ring_words {
    vs_word cells;   /* 0: there is no ring yet */
    vs_word drainer; /* token of the process that drains; 0: none */
    vs_word reported[VS_LEVELS];    /* drops that the log itself has told of */
    vs_word overwritten[VS_LEVELS]; /* offsets of counters: records that were forgotten unread */
    vs_word killed[VS_LEVELS];      /* likewise: that were begun by a process that died */
    vs_word head __attribute__((aligned(VS_CACHE_LINE)));
    vs_word tail __attribute__((aligned(VS_CACHE_LINE))); /* a position, and whether it is pinned: vs_tail_position in mark.h */
    vs_cursor_words cursors[VS_RING_CURSORS] __attribute__((aligned(VS_CACHE_LINE)));
} vs_ring_words;

typedef enum vs_policy {
    VS_POLICY_DROP = 0,     /* a full ring refuses what is new */
    VS_POLICY_OVERWRITE = 1, /* it forgets what is oldest */
    VS_POLICY_BLOCK = 2     /* the writer waits for a while, then is refused */
} vs_policy;

typedef enum vs_put {
    VS_PUT_DONE = 0,
    VS_PUT_FULL = 1,    /* no room; nothing was written */
    VS_PUT_REFUSED = 2  /* too long, or a process without an entry in the arena, which nobody could prove dead */
} vs_put;

/* Who drains a ring in this process. */
typedef struct vs_ring_drain {
    uint32_t pins; /* cursors that keep the tail where it is */
    struct vs_cursor *cursors;
} vs_ring_drain;

/* What a process knows of a ring. */
typedef struct vs_ring {
    vs_ring_words *words;
    vs_word *marks;
    vs_word *data;
    uint64_t cells;
    uint32_t shift; /* cells is 1 << shift */
    uint32_t arena; /* slot of the arena that its counters are in */
    struct vs_file *file; /* that it lies in; NULL: memory of this process alone */
    vs_ring_drain *drain;
} vs_ring;

/* Puts a record of `size` bytes (readable up to a multiple of 8) into the ring. Never waits. */
VS_API vs_put vs_ring_put(const vs_ring *ring, vs_level level, vs_policy policy, const void *record, size_t size);

/* The position behind the last record that was begun. */
VS_API uint64_t vs_ring_end(const vs_ring *ring);

typedef enum vs_look {
    VS_LOOK_RECORD = 0,
    VS_LOOK_END = 1,     /* nobody has begun a record there */
    VS_LOOK_WRITING = 2, /* one is being written */
    VS_LOOK_VOID = 3,    /* nothing to be read: a writer's that died, or what is left before the end of the region */
    VS_LOOK_LOST = 4     /* the ring has come round: it is gone */
} vs_look;

/* Copies the record at `position` to `record`, which has room for VS_LOG_BYTES_MAX, without a part in the ring. *next: where the next one is, of
 * VS_LOOK_RECORD, VS_LOOK_VOID and VS_LOOK_WRITING. Any process; does not write. */
VS_API vs_look vs_ring_look(const vs_ring *ring, uint64_t position, void *record, size_t *size, uint64_t *next);

/* The oldest position at which a record begins that is still in memory, drained or not. */
VS_API uint64_t vs_ring_oldest(const vs_ring *ring);

#endif
