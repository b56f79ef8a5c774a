/* The log ring: who writes, and who looks without a part in it. The protocol is told in ring.h, its orders in MEMORY_MODEL.md. */
#include "mark.h"

enum { TRIES_MAX = 1 << 20, HEAD_ROOM_SHIFT = 3, STUCK_OFTEN = 256 };
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
    ring->data = (char *)marks + cells * sizeof(vs_word);
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
    uint64_t kept = level >= VS_ERROR || policy == VS_POLICY_OVERWRITE ? 0 : ring->cells >> HEAD_ROOM_SHIFT;
    return used + cells + kept <= ring->cells;
}

bool vs_ring_is_read(const vs_ring *ring)
{
    for (size_t i = 0; i < VS_RING_CURSORS; i++)
        if (vs_load_relaxed(&ring->words->cursors[i].name) != 0)
            return true;
    return false;
}

static void count(const vs_ring *ring, const vs_word *offsets, vs_level level)
{
    vs_counter counter = {vs_load_relaxed(&((vs_word *)offsets)[level]), ring->arena};
    if (counter.offset != 0)
        vs_counter_inc(counter);
}

bool vs_ring_forget(const vs_ring *ring, uint64_t tail, uint64_t mark)
{
    vs_ring_words *words = ring->words;
    uint64_t expected = tail;
    /* L5: release: who then writes there, having loaded the tail (L6), does so after the record was whole, and after its
     * readers were through. Acquire: what cursors have taken is as of the last time that they unpinned the tail (L7). */
    if (!vs_cas_weak_acq_rel(&words->tail, &expected, tail + vs_mark_cells(mark)))
        return (expected & VS_TAIL_PINNED) == 0; /* another did it, or none: worth another try */
    if (vs_mark_state(mark) != VS_MARK_WHOLE)
        return true;
    bool missed = false, read = false;
    for (size_t i = 0; i < VS_RING_CURSORS; i++) {
        vs_cursor_words *cursor = &words->cursors[i];
        if (vs_load_relaxed(&cursor->name) == 0)
            continue;
        read = true;
        if (vs_load_relaxed(&cursor->taken) <= tail) {
            vs_add_relaxed(&cursor->missed[vs_mark_level(mark)], 1u);
            missed = true;
        }
    }
    if (missed || !read)
        count(ring, words->overwritten, vs_mark_level(mark));
    return true;
}

/* Makes room at the oldest end. False: that must not, or cannot, be done now. */
static bool make_room(const vs_ring *ring, uint64_t tail)
{
    if ((tail & VS_TAIL_PINNED) != 0)
        return false;
    uint64_t mark = vs_load_acquire(vs_ring_mark(ring, tail)); /* L4: acquire; pairs with L3 */
    if (vs_mark_lap(mark) != vs_ring_lap(ring, tail) || !vs_ring_fits(ring, tail, vs_mark_cells(mark)))
        return false;
    if (vs_mark_state(mark) == VS_MARK_WRITING) {
        /* Asking the system whether the writer lives costs more than a call should, each time. */
        static vs_word32 stuck;
        if (vs_add_relaxed(&stuck, 1u) % STUCK_OFTEN != 0)
            return false;
        return vs_ring_bury(ring, tail);
    }
    return vs_ring_forget(ring, tail, mark);
}

/* Begins a record: from now on there is one at *at. */
static vs_put begin(const vs_ring *ring, vs_level level, vs_policy policy, uint64_t cells, uint32_t owner, uint64_t *at)
{
    vs_ring_words *words = ring->words;
    for (uint32_t tries = 0; tries < TRIES_MAX; tries++) { /* each but the last was in vain because another writer went on */
        uint64_t head = vs_load_relaxed(&words->head);
        vs_word *place = vs_ring_mark(ring, head);
        uint64_t seen = vs_load_relaxed(place), lap = vs_ring_lap(ring, head);
        if (vs_mark_lap(seen) == lap) { /* begun, and the head has not followed yet */
            vs_cas_weak_relaxed(&words->head, &head, head + vs_mark_cells(seen));
            continue;
        }
        uint64_t tail = vs_load_acquire(&words->tail); /* L6: acquire; pairs with L5 and L8 */
        uint64_t oldest = tail & ~VS_TAIL_PINNED;
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
        /* L9: the head is behind the record before a byte of it is written: vs_ring_look relies on it. */
        uint64_t now = head;
        while (!vs_cas_weak_relaxed(&words->head, &now, head + run) && now == head) {
        }
        if (pad != 0)
            continue;
        *at = head;
        return VS_PUT_DONE;
    }
    return VS_PUT_REFUSED; /* a corrupt file */
}

vs_put vs_ring_put(const vs_ring *ring, vs_level level, vs_policy policy, const void *record, size_t size)
{
    uint32_t owner = 0;
    uint64_t at, cells = (size + VS_RING_CELL - 1) / VS_RING_CELL;
    if (size == 0 || cells > ring->cells >> (HEAD_ROOM_SHIFT + 1) || cells > VS_MARK_CELLS_MAX)
        return VS_PUT_REFUSED;
    if (ring->file != NULL && (owner = ring->file->entry) == 0)
        return VS_PUT_REFUSED;
    vs_put begun = begin(ring, level, policy, cells, owner, &at);
    if (begun != VS_PUT_DONE)
        return begun;
    vs_word *to = (vs_word *)vs_ring_cell(ring, at);
    for (size_t i = 0; i < (size + 7) / 8; i++) {
        uint64_t word;
        memcpy(&word, (const char *)record + i * 8, 8);
        vs_store_release(&to[i], word); /* L10: release; pairs with L11: who sees it sees where the head is */
    }
    /* L3: release; pairs with L4: a record that is whole is seen whole. */
    vs_store_release(vs_ring_mark(ring, at), vs_mark(vs_ring_lap(ring, at), cells, owner, level, VS_MARK_WHOLE));
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
    uint32_t owner = vs_mark_owner(mark);
    if (vs_mark_lap(mark) != vs_ring_lap(ring, position) || vs_mark_state(mark) != VS_MARK_WRITING)
        return true; /* it is not as it was */
    if (owner == 0 || ring->file == NULL || owner > ring->file->process_count || !vs_process_is_dead(ring->file, owner - 1))
        return false;
    return bury(ring, position, mark);
}

void vs_ring_reap(const vs_ring *ring, uint32_t owner)
{
    vs_ring_words *words = ring->words;
    uint64_t token = vs_process_token(owner);
    uint64_t at = vs_load_relaxed(&words->tail) & ~VS_TAIL_PINNED;
    for (uint64_t begin = at; at - begin <= ring->cells;) {
        uint64_t mark = vs_load_relaxed(vs_ring_mark(ring, at));
        if (vs_mark_lap(mark) != vs_ring_lap(ring, at) || !vs_ring_fits(ring, at, vs_mark_cells(mark)))
            break; /* the end; or the tail has moved on meanwhile, past what was there */
        if (vs_mark_state(mark) == VS_MARK_WRITING && vs_mark_owner(mark) == owner)
            while (!bury(ring, at, mark) && vs_load_relaxed(vs_ring_mark(ring, at)) == mark) {
            }
        at += vs_mark_cells(mark);
    }
    if (vs_load_relaxed(&words->drainer) != token)
        return;
    vs_and_release(&words->tail, ~VS_TAIL_PINNED); /* L7 */
    vs_cas_acquire(&words->drainer, &token, 0);
}

void vs_ring_abandon(const vs_ring *ring)
{
    vs_ring_words *words = ring->words;
    uint64_t at = vs_load_relaxed(&words->tail) & ~VS_TAIL_PINNED;
    for (;;) {
        uint64_t mark = vs_load_relaxed(vs_ring_mark(ring, at));
        if (vs_mark_lap(mark) != vs_ring_lap(ring, at))
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
    *ring = (vs_ring){.file = file, .arena = arena->slot, .drain = &file->drain};
    vs_ring_lay(ring, file->ring_words, file->ring, file->ring_cells);
    return true;
}

uint64_t vs_ring_end(const vs_ring *ring)
{
    uint64_t at = vs_load_relaxed(&ring->words->head);
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
    vs_word *from = (vs_word *)vs_ring_cell(ring, position);
    for (size_t i = 0; i < *size / 8; i++) {
        uint64_t word = vs_load_acquire(&from[i]); /* L11: acquire; pairs with L10 */
        memcpy((char *)record + i * 8, &word, 8);
    }
    /* A byte of a later record would have shown us the head behind that record's end (L9). */
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
