/* Draining a journal: cursors take records out of its ring, as lines of JSON.
 *
 * One process of those that share a ring drains it; the others wait to take its place. It may have several cursors, one for each sink,
 * and a thread for each. A record is kept until all cursors have acknowledged it. One that lags behind by more than half the ring,
 * while another is ahead of it, is not waited for: what it had not taken is counted as missed, by level.
 *
 * A cursor has a name, and in a file arena it outlives the process: the next one goes on where it was. What was taken and not acknowledged
 * is given again, unless it was being written to a file, which then tells how much of it got there. */
#ifndef VAULTSCOPE_DRAIN_H
#define VAULTSCOPE_DRAIN_H

#include "log.h"

typedef struct vs_cursor vs_cursor;

/* Makes this process the one that drains. False: another one that lives does it. A process does so by its first cursor and gives it up with
 * its last. */
VS_API bool vs_drain_claim(vs_journal *journal);

/* A cursor of that name, at the oldest record that is kept, or, if the name was known, behind what it had acknowledged. For a name that
 * the process which drains does not use, half of the ring is kept at most. VS_E_BUSY: another process drains, or the name is in use. VS_E_FULL: there are
 * VS_RING_CURSORS. VS_E_NO_MEMORY. */
VS_API vs_status vs_cursor_open(vs_journal *journal, vs_text name, vs_cursor **out);
/* `forget`: the name, too, so that nothing is kept for it. */
VS_API void vs_cursor_close(vs_cursor *cursor, bool forget);

/* A batch: lines of JSON, with what is in it. */
typedef struct vs_batch {
    const char *data; /* the cursor's, until the next take */
    size_t size;
    uint64_t records[VS_LEVELS];
} vs_batch;

/* Takes what there is, up to about `bytes` of JSON. False: nothing was there, or no memory. Who takes again without
 * vs_cursor_done gets the same batch. */
VS_API bool vs_cursor_take(vs_cursor *cursor, size_t bytes, vs_batch *batch);
/* The batch is where it should be. */
VS_API void vs_cursor_done(vs_cursor *cursor);
/* The batch is given up: its records are counted as missed. */
VS_API void vs_cursor_drop(vs_cursor *cursor);

typedef enum vs_pump {
    VS_PUMP_IDLE = 0,    /* nothing came for as long as it was to wait */
    VS_PUMP_LIMIT = 1,   /* the file has reached its limit, or the time is up */
    VS_PUMP_STOPPED = 2, /* *stop was set, and nothing was left to be written */
    VS_PUMP_ERROR = 3    /* errno says why. What was not written yet is, at the next call */
} vs_pump;

typedef struct vs_pump_options {
    uint64_t file_bytes; /* the file's limit: once it has more, VS_PUMP_LIMIT; 0: none */
    int64_t wait_ns;     /* how long to wait for a first record */
    int64_t run_ns;      /* how long to go on in all */
    bool sync;           /* fdatasync each batch before it is acknowledged */
} vs_pump_options;

/* Writes lines to the end of a file, which must be open for appending, batch after batch: formats, writes and waits without a lock. A pipe
 * that does not wait and is full is waited for as long as run_ns says, then EAGAIN. (SIGPIPE and SIGXFSZ are the caller's to ignore.) If the process is killed meanwhile, the
 * next one that does this with a cursor of that name, on that file, cuts off what is not whole and goes on there. */
VS_API vs_pump vs_cursor_pump(vs_cursor *cursor, int fd, const vs_pump_options *options, const vs_word32 *stop);

/* Waits until there is something to take, for `wait_ns` at most, or until *stop is set (it may be NULL). */
VS_API bool vs_cursor_wait(const vs_cursor *cursor, int64_t wait_ns, const vs_word32 *stop);

/* Whether this cursor has acknowledged what came before `position`. */
VS_API bool vs_cursor_reached(const vs_cursor *cursor, uint64_t position);

/* Whether all of the ring's cursors that are open, in whatever process, have acknowledged what came before `position`. */
VS_API bool vs_drain_reached(const vs_journal *journal, uint64_t position);
/* Whether there is any open cursor, in whatever process. */
VS_API bool vs_drain_is_open(const vs_journal *journal);

/* Records by level that this cursor has missed, and has handed over and acknowledged since it was opened. */
VS_API void vs_cursor_counts(const vs_cursor *cursor, uint64_t written[VS_LEVELS], uint64_t missed[VS_LEVELS]);

/* Records that found no room since this was last asked, by whatever process: for the record that tells of them. False: none. (What a
 * cursor missed is its own to tell, once it has caught up: a record about what was overwritten may push out another.) */
VS_API bool vs_journal_take_drops(vs_journal *journal, uint64_t drops[VS_LEVELS]);

#endif
