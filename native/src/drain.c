/* Cursors: what takes records out of a ring, as lines of JSON, and knows after a crash how far it was.
 *
 * The drain lock keeps the cursors of this process apart, for a moment each; other processes are kept out by the word `drainer`. While a
 * cursor formats, the tail is pinned, so that no writer overwrites what is being read. */
#define _GNU_SOURCE
#include "vaultscope/drain.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "cursor.h"

enum { WAIT_STEP_NS = 200000, WAIT_STEP_MAX_NS = 10000000, PATIENCE_NS = 3000000, LAG_SHARE = 2 };

static pthread_mutex_t drain_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t generation; /* of this process among its forebears: a child's copies of cursors are not its own */

void vs_drain_lock(void) { pthread_mutex_lock(&drain_mutex); }
void vs_drain_unlock(void) { pthread_mutex_unlock(&drain_mutex); }
void vs_drain_after_fork(void) { generation++; }

/* ---- who drains ---- */

/* From one who may have died while he formatted, and whose cursors nobody has yet. */
static void take_over(const vs_ring *ring)
{
    vs_ring_words *words = ring->words;
    uint64_t tail = vs_load_relaxed(&words->tail);
    while ((tail & VS_TAIL_PINNED) != 0 && !vs_cas_weak_release(&words->tail, &tail, tail + VS_TAIL_PINNED)) { /* K3 */
    }
    for (size_t i = 0; i < VS_RING_CURSORS; i++)
        vs_store_relaxed(&words->cursors[i].open, 0);
}

bool vs_drain_claim(vs_journal *journal)
{
    const vs_ring *ring = &journal->ring;
    if (ring->file == NULL)
        return true;
    if (ring->file->entry == 0)
        return false;
    uint64_t mine = vs_process_token(ring->file->entry), seen = vs_load_relaxed(&ring->words->drainer);
    for (;;) {
        if (seen == mine)
            return true;
        uint32_t entry = (uint32_t)(seen >> VS_OWNER_ENTRY_SHIFT);
        if (seen != 0 && entry != 0 && entry <= ring->file->process_count && !vs_process_is_dead(ring->file, entry - 1))
            return false;
        /* K4: acquire; pairs with K5: the cursors are as the last one left them. */
        if (vs_cas_acquire(&ring->words->drainer, &seen, mine)) {
            take_over(ring);
            return true;
        }
    }
}

bool vs_cursor_is_mine(const vs_cursor *cursor) { return cursor->generation == generation; }

/* ---- the tail; under the drain lock ---- */

static void pin(const vs_ring *ring)
{
    if (ring->drain->pins++ == 0)
        /* K1: acquire; pairs with L5: a writer that had moved the tail saw the cursors as they are now. Release; pairs with L6 and K2: who
         * finds it pinned finds the drainer, too. */
        vs_or_acq_rel(&ring->words->tail, VS_TAIL_PINNED);
}

static void unpin(const vs_ring *ring)
{
    if (--ring->drain->pins == 0)
        /* K3: release; pairs with L6: who moves it next sees what the cursors have taken, and overwrites nothing that is still read. */
        vs_add_release(&ring->words->tail, VS_TAIL_PINNED);
}

static uint64_t tail_of(const vs_ring *ring)
{
    return vs_tail_position(vs_load_acquire(&ring->words->tail)); /* L6 */
}

/* Where all cursors have acknowledged what came before; `ahead`: the one that is furthest. */
static uint64_t acked_by_all(const vs_ring *ring, uint64_t *ahead)
{
    uint64_t least = UINT64_MAX;
    *ahead = 0;
    for (size_t i = 0; i < VS_RING_CURSORS; i++) {
        const vs_cursor_words *words = &ring->words->cursors[i];
        if (vs_load_relaxed((vs_word *)&words->name) == 0)
            continue;
        uint64_t acked = vs_load_relaxed((vs_word *)&words->acked);
        least = acked < least ? acked : least;
        *ahead = acked > *ahead ? acked : *ahead;
    }
    return least;
}

static void advance_tail(const vs_ring *ring)
{
    uint64_t ahead, least = acked_by_all(ring, &ahead), end = vs_ring_end(ring), kept = ring->cells / LAG_SHARE;
    uint64_t tail = vs_load_relaxed(&ring->words->tail);
    /* L7: release; pairs with L6: who writes there next does so after the records were read. */
    while (least <= end && vs_tail_position(tail) < least &&
           !vs_cas_weak_release(&ring->words->tail, &tail, tail - vs_tail_position(tail) + least)) {
    }
    /* Who lags is not waited for once half of the ring is his. */
    for (;;) {
        tail = vs_load_acquire(&ring->words->tail); /* L6 */
        uint64_t at = vs_tail_position(tail), mark = vs_load_acquire(vs_ring_mark(ring, at)); /* L4 */
        if (at >= ahead || at >= end || end - at <= kept || vs_mark_lap(mark) != vs_ring_lap(ring, at) ||
            !vs_ring_fits(ring, at, vs_mark_cells(mark)) || !vs_ring_forget(ring, tail, mark))
            break;
    }
}

/* Lets another process drain, if no cursor is left here. */
static void leave_if_last(const vs_ring *ring)
{
    if (ring->drain->cursors == NULL && ring->file != NULL)
        vs_store_release(&ring->words->drainer, 0); /* K5: release; pairs with K4 */
}

/* ---- opening ---- */

static uint64_t hash_of(vs_text name) { return vs_checksum(name.data, name.size) | 1; }

static vs_cursor_words *find_words(const vs_ring *ring, uint64_t name)
{
    for (size_t i = 0; i < VS_RING_CURSORS; i++)
        if (vs_load_relaxed(&ring->words->cursors[i].name) == name)
            return &ring->words->cursors[i];
    return NULL;
}

/* Begins at the oldest record that is kept. */
static vs_cursor_words *take_words(const vs_ring *ring, uint64_t name)
{
    vs_cursor_words *words = find_words(ring, 0);
    if (words == NULL)
        return NULL;
    uint64_t tail = tail_of(ring);
    vs_store_relaxed(&words->acked, tail);
    vs_store_relaxed(&words->taken, tail);
    vs_store_relaxed(&words->inode, 0);
    for (uint32_t level = 0; level < VS_LEVELS; level++)
        vs_store_relaxed(&words->missed[level], 0);
    vs_store_release(&words->name, name); /* of a process that is killed before this the words are free */
    return words;
}

/* What was taken and did not arrive is given again. What writers forgot of it meanwhile, since it had been taken, is missed:
 * of each level all that was in the batch but is not in the ring any more. Pinned. */
static void give_again(const vs_ring *ring, vs_cursor_words *words)
{
    uint64_t acked = vs_load_relaxed(&words->acked), taken = vs_load_relaxed(&words->taken), at = tail_of(ring);
    uint64_t there[VS_LEVELS] = {0};
    bool is_gone = at > acked;
    while (is_gone && at < taken) {
        uint64_t mark = vs_load_relaxed(vs_ring_mark(ring, at));
        if (vs_mark_lap(mark) != vs_ring_lap(ring, at) || !vs_ring_fits(ring, at, vs_mark_cells(mark)))
            break; /* a corrupt file */
        there[vs_mark_level(mark)] += vs_mark_state(mark) == VS_MARK_WHOLE;
        at += vs_mark_cells(mark);
    }
    for (uint32_t level = 0; is_gone && level < VS_LEVELS; level++) {
        uint64_t were = vs_load_relaxed(&words->batch[level / 2]) >> 32 * (level % 2) & UINT32_MAX;
        vs_add_relaxed(&words->missed[level], were > there[level] ? were - there[level] : 0);
    }
    vs_store_relaxed(&words->taken, acked);
}

/* A cursor that was known: goes on where it was. */
static void resume(const vs_ring *ring, vs_cursor *cursor)
{
    vs_cursor_words *words = cursor->words;
    uint64_t acked = vs_load_relaxed(&words->acked), taken = vs_load_relaxed(&words->taken);
    if (acked > taken || taken > vs_ring_end(ring)) { /* a corrupt file */
        taken = acked = tail_of(ring);
        vs_store_relaxed(&words->taken, taken);
        vs_store_relaxed(&words->acked, acked);
    }
    for (uint32_t level = 0; level < VS_LEVELS; level++)
        cursor->missed_before[level] = vs_load_relaxed(&words->missed[level]);
    cursor->unsure = acked != taken && vs_load_relaxed(&words->inode) != 0;
    if (acked != taken && !cursor->unsure)
        give_again(ring, words);
}

static vs_status open_words(vs_journal *journal, vs_cursor *cursor, uint64_t name)
{
    const vs_ring *ring = &journal->ring;
    if (!vs_drain_claim(journal))
        return VS_E_BUSY;
    for (const vs_cursor *other = ring->drain->cursors; other != NULL; other = other->next)
        if (vs_load_relaxed(&other->words->name) == name)
            return VS_E_BUSY;
    pin(ring);
    cursor->words = find_words(ring, name);
    if (cursor->words == NULL)
        cursor->words = take_words(ring, name);
    if (cursor->words != NULL) {
        resume(ring, cursor);
        vs_store_relaxed(&cursor->words->open, 1);
    }
    unpin(ring);
    if (cursor->words == NULL)
        leave_if_last(ring);
    return cursor->words != NULL ? VS_OK : VS_E_FULL;
}

vs_status vs_cursor_open(vs_journal *journal, vs_text name, vs_cursor **out)
{
    if (journal->metrics[0] == NULL)
        return VS_E_READ_ONLY;
    vs_cursor *cursor = calloc(1, sizeof *cursor);
    if (cursor == NULL)
        return VS_E_NO_MEMORY;
    cursor->journal = journal;
    cursor->generation = generation;
    vs_drain_lock();
    vs_status status = open_words(journal, cursor, hash_of(name));
    if (status == VS_OK) {
        cursor->next = journal->ring.drain->cursors;
        journal->ring.drain->cursors = cursor;
    }
    vs_drain_unlock();
    if (status != VS_OK)
        free(cursor);
    else
        *out = cursor;
    return status;
}

/* Under the drain lock. */
static void let_go(vs_cursor *cursor, bool forget)
{
    const vs_ring *ring = &cursor->journal->ring;
    vs_cursor **link = &ring->drain->cursors;
    while (*link != cursor)
        link = &(*link)->next;
    *link = cursor->next;
    /* Nothing is kept for a cursor that had all there was: it would hold up those who write while nobody drains. */
    if (forget || vs_load_relaxed(&cursor->words->acked) >= vs_ring_end(ring)) {
        vs_store_relaxed(&cursor->words->name, 0);
        advance_tail(ring);
    }
    vs_store_relaxed(&cursor->words->open, 0);
    leave_if_last(ring);
}

void vs_cursor_close(vs_cursor *cursor, bool forget)
{
    if (vs_cursor_is_mine(cursor)) {
        vs_drain_lock();
        let_go(cursor, forget);
        vs_drain_unlock();
    }
    vs_buffer_free(&cursor->lines);
    free(cursor);
}

/* ---- taking ---- */

static uint64_t next_of(const vs_cursor *cursor)
{
    uint64_t tail = tail_of(&cursor->journal->ring), taken = vs_load_relaxed(&cursor->words->taken);
    return taken > tail ? taken : tail;
}

/* Formats from `at` on. Returns the position behind what was formatted or passed over. */
static uint64_t format(vs_cursor *cursor, uint64_t at, size_t bytes)
{
    const vs_ring *ring = &cursor->journal->ring;
    while (cursor->lines.size < bytes) {
        uint64_t mark = vs_load_acquire(vs_ring_mark(ring, at)); /* L4 */
        uint64_t cells = vs_mark_cells(mark);
        if (vs_mark_lap(mark) != vs_ring_lap(ring, at) || !vs_ring_fits(ring, at, cells))
            break;
        if (vs_mark_state(mark) == VS_MARK_WRITING)
            break;
        if (vs_mark_state(mark) == VS_MARK_WHOLE) {
            size_t before = cursor->lines.size;
            vs_log_render_json(vs_ring_cell(ring, at), (size_t)cells * VS_RING_CELL, &cursor->lines);
            if (cursor->lines.failed) {
                cursor->lines.failed = false; /* later, when there is memory */
                cursor->lines.size = before;
                break;
            }
            cursor->records[vs_mark_level(mark)]++;
        }
        at += cells;
    }
    return at;
}

bool vs_cursor_prepare(vs_cursor *cursor, size_t bytes, uint64_t *end)
{
    const vs_ring *ring = &cursor->journal->ring;
    if (!vs_cursor_is_mine(cursor))
        return false;
    vs_drain_lock();
    pin(ring);
    uint64_t begin = next_of(cursor);
    vs_drain_unlock();
    cursor->lines.size = 0;
    memset(cursor->records, 0, sizeof cursor->records);
    *end = format(cursor, begin, bytes);
    return true;
}

bool vs_cursor_commit(vs_cursor *cursor, uint64_t end, const vs_landing *landing)
{
    const vs_ring *ring = &cursor->journal->ring;
    vs_cursor_words *words = cursor->words;
    bool is_empty = cursor->lines.size == 0;
    vs_drain_lock();
    vs_store_relaxed(&words->inode, landing != NULL ? landing->inode : 0);
    vs_store_relaxed(&words->offset, landing != NULL ? landing->offset : 0);
    vs_store_relaxed(&words->bytes, cursor->lines.size);
    for (uint32_t level = 0; level < VS_LEVELS; level += 2)
        vs_store_relaxed(&words->batch[level / 2], cursor->records[level] | cursor->records[level + 1] << 32);
    vs_store_release(&words->taken, end); /* release, as what is said of the batch is read by who finds it unacknowledged */
    cursor->has_batch = !is_empty;
    if (is_empty)
        vs_store_relaxed(&words->acked, end);
    unpin(ring);
    if (is_empty)
        advance_tail(ring);
    vs_drain_unlock();
    return !is_empty;
}

void vs_cursor_settle(vs_cursor *cursor, bool arrived)
{
    const vs_ring *ring = &cursor->journal->ring;
    vs_drain_lock();
    pin(ring);
    if (arrived)
        vs_store_release(&cursor->words->acked, vs_load_relaxed(&cursor->words->taken)); /* K6 */
    else
        give_again(ring, cursor->words);
    unpin(ring);
    cursor->unsure = false;
    vs_drain_unlock();
}

bool vs_cursor_take(vs_cursor *cursor, size_t bytes, vs_batch *batch)
{
    uint64_t end;
    if (!vs_cursor_is_mine(cursor))
        return false;
    if (cursor->unsure) /* it was being written to a file; this is none */
        vs_cursor_settle(cursor, false);
    if (!cursor->has_batch && (!vs_cursor_prepare(cursor, bytes, &end) || !vs_cursor_commit(cursor, end, NULL)))
        return false;
    batch->data = cursor->lines.data;
    batch->size = cursor->lines.size;
    memcpy(batch->records, cursor->records, sizeof batch->records);
    return true;
}

static void acknowledge(vs_cursor *cursor, uint64_t *counts)
{
    if (!cursor->has_batch || !vs_cursor_is_mine(cursor))
        return;
    vs_drain_lock();
    for (uint32_t level = 0; level < VS_LEVELS; level++)
        counts[level] += cursor->records[level];
    vs_store_release(&cursor->words->acked, vs_load_relaxed(&cursor->words->taken)); /* K6: release; pairs with K7 */
    cursor->has_batch = false;
    advance_tail(&cursor->journal->ring);
    vs_drain_unlock();
}

void vs_cursor_done(vs_cursor *cursor) { acknowledge(cursor, cursor->written); }
void vs_cursor_drop(vs_cursor *cursor) { acknowledge(cursor, cursor->given_up); }

/* ---- waiting, and being asked ---- */

static bool has_something(const vs_cursor *cursor)
{
    const vs_ring *ring = &cursor->journal->ring;
    uint64_t at = next_of(cursor), mark = vs_load_relaxed(vs_ring_mark(ring, at)), lap = vs_ring_lap(ring, at);
    return vs_mark_lap(mark) > lap || (vs_mark_lap(mark) == lap && vs_mark_state(mark) != VS_MARK_WRITING); /* later: it was overwritten just now */
}

bool vs_cursor_wait(const vs_cursor *cursor, int64_t wait_ns, const vs_word32 *stop)
{
    if (cursor->has_batch || cursor->unsure)
        return vs_cursor_is_mine(cursor);
    int64_t deadline = vs_clock_monotonic_ns() + wait_ns;
    /* Polls: to wake this thread, each call would have to look whether it sleeps. */
    for (long step = WAIT_STEP_NS; vs_cursor_is_mine(cursor); step = step * 2 < WAIT_STEP_MAX_NS ? step * 2 : WAIT_STEP_MAX_NS) {
        if (has_something(cursor))
            return true;
        int64_t left = deadline - vs_clock_monotonic_ns();
        bool is_over = left <= 0 || (stop != NULL && vs_load_relaxed((vs_word32 *)stop) != 0);
        if (is_over || step >= PATIENCE_NS) /* a writer that takes as long may be dead */
            vs_ring_bury(&cursor->journal->ring, next_of(cursor));
        if (is_over)
            return has_something(cursor);
        nanosleep(&(struct timespec){0, left < step ? (long)left : step}, NULL);
    }
    return false;
}

bool vs_cursor_reached(const vs_cursor *cursor, uint64_t position)
{
    return vs_load_relaxed(&cursor->words->acked) >= position; /* who asks is who acknowledges */
}

bool vs_drain_reached(const vs_journal *journal, uint64_t position)
{
    for (size_t i = 0; i < VS_RING_CURSORS; i++) {
        vs_cursor_words *words = &journal->ring.words->cursors[i];
        bool is_open = vs_load_relaxed(&words->name) != 0 && vs_load_relaxed(&words->open) != 0;
        if (is_open && vs_load_acquire(&words->acked) < position) /* K7: acquire; pairs with K6 */
            return false;
    }
    return true;
}

bool vs_drain_is_open(const vs_journal *journal)
{
    for (size_t i = 0; i < VS_RING_CURSORS; i++) {
        vs_cursor_words *words = &journal->ring.words->cursors[i];
        if (vs_load_relaxed(&words->name) != 0 && vs_load_relaxed(&words->open) != 0)
            return true;
    }
    return false;
}

void vs_cursor_counts(const vs_cursor *cursor, uint64_t written[VS_LEVELS], uint64_t missed[VS_LEVELS])
{
    vs_drain_lock();
    for (uint32_t level = 0; level < VS_LEVELS; level++) {
        written[level] = cursor->written[level];
        missed[level] = cursor->given_up[level] + vs_load_relaxed(&cursor->words->missed[level]) - cursor->missed_before[level];
    }
    vs_drain_unlock();
}

bool vs_journal_take_drops(vs_journal *journal, uint64_t drops[VS_LEVELS])
{
    bool any = false;
    for (uint32_t level = 0; journal->metrics[0] != NULL && level < VS_LEVELS; level++) {
        uint64_t dropped;
        double real;
        vs_counter_read(journal->dropped[level], &dropped, &real);
        vs_word *reported = &journal->ring.words->reported[level];
        uint64_t before = vs_load_relaxed(reported);
        while (before < dropped && !vs_cas_weak_relaxed(reported, &before, dropped)) {
        }
        drops[level] = dropped > before ? dropped - before : 0;
        any = any || drops[level] != 0;
    }
    return any;
}
