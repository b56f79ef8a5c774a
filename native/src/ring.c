/* The log ring: who writes, and who looks without a part in it. The protocol is told in ring.h, its orders in MEMORY_MODEL.md. */
#include <errno.h>

#include "mark.h"
#include "vaultscope/record.h"

#ifndef VS_RING_HEAD_ROOM_SHIFT /* an eighth; a model has few cells */
#define VS_RING_HEAD_ROOM_SHIFT 3
#endif
enum { TRIES_MAX = 1 << 16, STUCK_OFTEN = 256 };
static vs_word32 stuck; /* how often a writer found the oldest record in the way */
static const uint64_t BYTES_DEFAULT = UINT64_C(4) << 20, BYTES_MIN = UINT64_C(64) << 10, BYTES_MAX = UINT64_C(1) << 30;

uint64_t vs_ring_cells_of(uint64_t bytes)
{
    if (bytes == 0)
        bytes = BYTES_DEFAULT;
    if (bytes < BYTES_MIN || bytes > BYTES_MAX)
        return 0;
    uint64_t rounded = BYTES_MIN;
    while (rounded < bytes)
        rounded *= 2;
    return rounded / VS_RING_CELL;
}

void vs_ring_lay(vs_ring *ring, vs_ring_words *words, void *marks, uint64_t cells)
{
    ring->words = words;
    ring->marks = marks;
    ring->data = ring->marks + cells;
    ring->cells = cells;
    ring->shift = (uint32_t)__builtin_ctzll(cells);
}

void vs_ring_start(vs_ring *ring)
{
    /* The first lap is 1: marks of zeros are of an older one. */
    vs_store_relaxed(&ring->words->head, ring->cells);
    vs_store_relaxed(&ring->words->tail, ring->cells);
    vs_store_release(&ring->words->cells, ring->cells); /* L1: release; pairs with L2 */
}

/* ---- writing ---- */

static bool has_room(const vs_ring *ring, uint64_t used, uint64_t cells, vs_level level, vs_policy policy)
{
    uint64_t kept = level >= VS_ERROR || policy == VS_POLICY_OVERWRITE ? 0 : ring->cells >> VS_RING_HEAD_ROOM_SHIFT;
    return used + cells + kept <= ring->cells;
}

bool vs_ring_is_read(const vs_ring *ring)
{
    for (size_t i = 0; i < VS_RING_CURSORS; i++)
        if (vs_load_relaxed(&ring->words->cursors[i].name) != 0)
            return true;
    return false;
}

static void count(const vs_ring *ring, vs_word *offsets, vs_level level)
{
    const vs_arena *arena = vs_arena_at(ring->arena);
    vs_counter counter = {vs_load_relaxed(&offsets[level]), ring->arena};
    bool is_cell = arena != NULL && counter.offset % 8 == 0 && counter.offset < arena->stripe_bytes - sizeof(vs_counter_cell);
    if (is_cell && counter.offset != 0) /* a corrupt file may say anything */
        vs_counter_inc(counter);
}

bool vs_ring_forget(const vs_ring *ring, uint64_t tail, uint64_t mark)
{
    vs_ring_words *words = ring->words;
    uint64_t expected = tail;
    bool missed[VS_RING_CURSORS], read = false, any = false;
    if ((tail & VS_TAIL_PINNED) != 0)
        return false;
    /* Who missed it is found out before the tail moves, since later they may have taken what comes behind. They move only while the
     * tail is pinned, so they are where they were if the exchange finds the tail as it was. */
    for (size_t i = 0; i < VS_RING_CURSORS; i++) {
        bool is_used = vs_load_relaxed(&words->cursors[i].name) != 0;
        missed[i] = is_used && vs_load_relaxed(&words->cursors[i].taken) <= vs_tail_position(tail);
        read = read || is_used;
        any = any || missed[i];
    }
    /* L5: release; pairs with L6: who then writes there does so after its readers were through. And with K1: where
     * a cursor is put after this was not seen above. */
    if (!vs_cas_weak_release(&words->tail, &expected, tail + vs_mark_cells(mark)))
        return (expected & VS_TAIL_PINNED) == 0; /* another did it, or none: worth another try */
    if (vs_mark_state(mark) != VS_MARK_WHOLE)
        return true;
    for (size_t i = 0; i < VS_RING_CURSORS; i++)
        if (missed[i])
            vs_add_relaxed(&words->cursors[i].missed[vs_mark_level(mark)], 1u);
    if (any || !read)
        count(ring, words->overwritten, vs_mark_level(mark));
    return true;
}

/* Whether the process of that entry + 1 is. */
static bool is_dead(const vs_ring *ring, uint64_t owner)
{
    if (owner == 0 || ring->file == NULL || owner > ring->file->process_count)
        return false;
    int error = errno; /* of whom a signal handler interrupted */
    bool dead = vs_process_is_dead(ring->file, (uint32_t)owner - 1);
    errno = error;
    return dead;
}

bool vs_ring_unpin_dead(const vs_ring *ring, uint64_t tail)
{
    /* Relaxed, behind L6: who pinned it is the drainer that is seen here, or one before him (K1). */
    if (!is_dead(ring, vs_load_relaxed(&ring->words->drainer) >> VS_OWNER_ENTRY_SHIFT))
        return false;
    vs_cas_weak_release(&ring->words->tail, &tail, tail + VS_TAIL_PINNED); /* K3 */
    return true;
}

/* Asking the system whether a process lives costs more than a call should, each time. */
static bool is_time_to_ask(void) { return vs_add_relaxed(&stuck, 1u) % STUCK_OFTEN == 0; }

/* Makes room at the oldest end. False: that must not, or cannot, be done now. */
static bool make_room(const vs_ring *ring, uint64_t tail)
{
    uint64_t at = vs_tail_position(tail);
    if ((tail & VS_TAIL_PINNED) != 0)
        return is_time_to_ask() && vs_ring_unpin_dead(ring, tail);
    uint64_t mark = vs_load_acquire(vs_ring_mark(ring, at)); /* L4: acquire; pairs with L3 */
    if (vs_mark_lap(mark) != vs_ring_lap(ring, at))
        return vs_load_relaxed(&ring->words->tail) != tail; /* another made room, and somebody wrote there already */
    if (!vs_ring_fits(ring, at, vs_mark_cells(mark)))
        return false;
    if (vs_mark_state(mark) == VS_MARK_WRITING)
        return is_time_to_ask() && vs_ring_bury(ring, at);
    return vs_ring_forget(ring, tail, mark);
}

/* Begins a record: from now on there is one at *at, with the mark *begun. */
static vs_put begin(const vs_ring *ring, vs_level level, vs_policy policy, uint64_t cells, uint32_t owner, uint64_t *at,
                    uint64_t *begun)
{
    vs_ring_words *words = ring->words;
    for (uint32_t tries = 0; tries < TRIES_MAX; tries++) { /* each but the last was in vain because another writer went on */
        uint64_t head = vs_load_relaxed(&words->head);
        vs_word *place = vs_ring_mark(ring, head);
        uint64_t seen = vs_load_relaxed(place), lap = vs_ring_lap(ring, head);
        if (vs_mark_lap(seen) == lap) { /* begun, and the head has not followed yet */
            if (!vs_ring_fits(ring, head, vs_mark_cells(seen)))
                return VS_PUT_REFUSED; /* a corrupt file */
            vs_cas_weak_release(&words->head, &head, head + vs_mark_cells(seen)); /* H1 */
            continue;
        }
        uint64_t tail = vs_load_acquire(&words->tail); /* L6: acquire; pairs with L5 and L7 */
        uint64_t oldest = vs_tail_position(tail);
        if (vs_mark_lap(seen) > lap || oldest > head)
            continue; /* the head has moved meanwhile */
        uint64_t left = ring->cells - vs_ring_index(ring, head), pad = cells > left ? left : 0;
        if (!has_room(ring, head - oldest, pad + cells, level, policy)) {
            bool may_forget = policy == VS_POLICY_OVERWRITE || !vs_ring_is_read(ring);
            if (!may_forget || !make_room(ring, tail))
                return VS_PUT_FULL;
            continue;
        }
        uint64_t run = pad != 0 ? pad : cells;
        uint64_t mark = pad != 0 ? vs_mark(lap, pad, 0, VS_TRACE, VS_MARK_VOID) : vs_mark(lap, cells, owner, level, VS_MARK_WRITING);
        if (!vs_cas_weak_relaxed(place, &seen, mark))
            continue;
        /* H1: release; pairs with H2 in vs_ring_end: who sees the head sees the marks before it. And by whomever it is moved, it is behind the
         * record before a byte of that is written: vs_ring_look relies on it. */
        uint64_t now = head;
        while (!vs_cas_weak_release(&words->head, &now, head + run) && now == head) {
        }
        if (pad != 0)
            continue;
        *at = head;
        *begun = mark;
        return VS_PUT_DONE;
    }
    return VS_PUT_REFUSED; /* a corrupt file */
}

vs_put vs_ring_put(const vs_ring *ring, vs_level level, vs_policy policy, const void *record, size_t size)
{
    uint32_t owner = 0;
    uint64_t at, mark, cells = (size + VS_RING_CELL - 1) / VS_RING_CELL;
    if (size == 0 || size > VS_LOG_BYTES_MAX || cells > ring->cells >> (VS_RING_HEAD_ROOM_SHIFT + 1))
        return VS_PUT_REFUSED;
    if (ring->file != NULL && (owner = ring->file->entry) == 0)
        return VS_PUT_REFUSED;
    vs_put begun = begin(ring, level, policy, cells, owner, &at, &mark);
    if (VS_UNLIKELY(begun != VS_PUT_DONE))
        return begun;
    vs_copy_release(vs_ring_cell(ring, at), record, (size + 7) / 8); /* H3: release; pairs with H4: who sees it sees where the head is */
    /* L3: release; pairs with L4: a record that is whole is seen whole. */
    vs_store_release(vs_ring_mark(ring, at), mark - VS_MARK_WRITING + VS_MARK_WHOLE);
    return VS_PUT_DONE;
}

/* ---- writers that died ---- */

static bool bury(const vs_ring *ring, uint64_t position, uint64_t mark)
{
    /* Relaxed: nothing hangs on it but the mark itself, and its writer is gone. */
    if (!vs_cas_weak_relaxed(vs_ring_mark(ring, position), &mark, mark | VS_MARK_VOID))
        return false;
    count(ring, ring->words->killed, vs_mark_level(mark));
    return true;
}

bool vs_ring_bury(const vs_ring *ring, uint64_t position)
{
    uint64_t mark = vs_load_relaxed(vs_ring_mark(ring, position));
    if (vs_mark_lap(mark) != vs_ring_lap(ring, position) || vs_mark_state(mark) != VS_MARK_WRITING)
        return true; /* it is not as it was */
    return is_dead(ring, vs_mark_owner(mark)) && bury(ring, position, mark);
}

/* Makes void what a dead process was writing. Its entry is going to be another's, which may live long: nothing must be
 * missed, though others move the tail meanwhile. */
static void bury_all(const vs_ring *ring, uint32_t owner)
{
    uint64_t end = vs_ring_end(ring), at = vs_tail_position(vs_load_relaxed(&ring->words->tail));
    while (at < end) {
        uint64_t mark = vs_load_relaxed(vs_ring_mark(ring, at));
        if (vs_mark_lap(mark) != vs_ring_lap(ring, at) || !vs_ring_fits(ring, at, vs_mark_cells(mark))) {
            uint64_t tail = vs_tail_position(vs_load_relaxed(&ring->words->tail));
            if (tail <= at)
                return; /* a corrupt file */
            at = tail;
            continue;
        }
        if (vs_mark_state(mark) == VS_MARK_WRITING && vs_mark_owner(mark) == owner)
            while (!bury(ring, at, mark) && vs_load_relaxed(vs_ring_mark(ring, at)) == mark) {
            }
        at += vs_mark_cells(mark);
    }
}

void vs_ring_reap(const vs_ring *ring, uint32_t owner)
{
    vs_ring_words *words = ring->words;
    uint64_t token = vs_process_token(owner), tail;
    bury_all(ring, owner);
    do {
        tail = vs_load_acquire(&words->tail); /* K2; pairs with K1: what is pinned by one who takes over just now shows him as the drainer */
        if (vs_load_relaxed(&words->drainer) != token)
            return;
    } while ((tail & VS_TAIL_PINNED) != 0 && !vs_cas_weak_release(&words->tail, &tail, tail + VS_TAIL_PINNED)); /* K3 */
    vs_cas_acquire(&words->drainer, &token, 0);
}

void vs_ring_abandon(const vs_ring *ring)
{
    vs_ring_words *words = ring->words;
    uint64_t at = vs_tail_position(vs_load_relaxed(&words->tail));
    for (;;) {
        uint64_t mark = vs_load_relaxed(vs_ring_mark(ring, at));
        if (vs_mark_lap(mark) != vs_ring_lap(ring, at) || vs_mark_cells(mark) == 0)
            break;
        if (vs_mark_state(mark) == VS_MARK_WRITING)
            vs_store_relaxed(vs_ring_mark(ring, at), mark | VS_MARK_VOID);
        at += vs_mark_cells(mark);
    }
    vs_store_relaxed(&words->head, at);
    vs_store_relaxed(&words->tail, at);
    for (size_t i = 0; i < VS_RING_CURSORS; i++)
        vs_store_relaxed(&words->cursors[i].name, 0);
}

/* ---- looking ---- */

bool vs_ring_of_file(const vs_arena *arena, vs_ring *ring)
{
    vs_file *file = arena->file;
    if (vs_load_acquire(&file->ring_words->cells) == 0) /* L2: acquire; pairs with L1 */
        return false;
    *ring = (vs_ring){.arena = arena->slot, .file = file, .drain = &file->drain};
    vs_ring_lay(ring, file->ring_words, file->ring, file->ring_cells);
    return true;
}

uint64_t vs_ring_end(const vs_ring *ring)
{
    uint64_t at = vs_load_acquire(&ring->words->head); /* H2: acquire; pairs with H1 */
    for (uint64_t begin = at; at - begin < ring->cells;) { /* what is begun there already */
        uint64_t mark = vs_load_relaxed(vs_ring_mark(ring, at));
        if (vs_mark_lap(mark) != vs_ring_lap(ring, at) || vs_mark_cells(mark) == 0)
            break;
        at += vs_mark_cells(mark);
    }
    return at;
}

vs_look vs_ring_look(const vs_ring *ring, uint64_t position, void *record, size_t *size, uint64_t *next)
{
    uint64_t mark = vs_load_acquire(vs_ring_mark(ring, position)); /* L4 */
    if (vs_mark_lap(mark) < vs_ring_lap(ring, position))
        return VS_LOOK_END;
    uint64_t cells = vs_mark_cells(mark);
    if (vs_mark_lap(mark) > vs_ring_lap(ring, position) || !vs_ring_fits(ring, position, cells))
        return VS_LOOK_LOST;
    *next = position + cells;
    if (vs_mark_state(mark) != VS_MARK_WHOLE)
        return vs_mark_state(mark) == VS_MARK_WRITING ? VS_LOOK_WRITING : VS_LOOK_VOID;
    *size = cells * VS_RING_CELL < VS_LOG_BYTES_MAX ? (size_t)(cells * VS_RING_CELL) : VS_LOG_BYTES_MAX;
    vs_word *from = vs_ring_cell(ring, position);
    for (size_t i = 0; i < *size / 8; i++) {
        uint64_t word = vs_load_acquire(&from[i]); /* H4: acquire; pairs with H3 */
        memcpy((char *)record + i * 8, &word, 8);
    }
    /* Relaxed, behind H4: a byte of a later record would have shown us the head behind that record's end (H1). */
    return vs_load_relaxed(&ring->words->head) <= position + ring->cells ? VS_LOOK_RECORD : VS_LOOK_LOST;
}

uint64_t vs_ring_oldest(const vs_ring *ring)
{
    uint64_t head = vs_load_relaxed(&ring->words->head);
    for (uint64_t at = head - ring->cells; at != head; at++) {
        uint64_t mark = vs_load_relaxed(vs_ring_mark(ring, at));
        if (vs_mark_lap(mark) == vs_ring_lap(ring, at) && vs_mark_cells(mark) != 0)
            return at;
    }
    return head;
}
