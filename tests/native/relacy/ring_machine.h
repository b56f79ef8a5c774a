/* The log ring as the models of it see it: the real ring.c and drain.c on eight cells of a word each, where each thread is a process
 * of its own. One that is killed stops before a write that the schedule chooses; who learns of it sees what it wrote. */
#ifndef VS_RELACY_RING_MACHINE_H
#define VS_RELACY_RING_MACHINE_H

#include "model.h"

#define VS_STRIPES_MAX 1
#undef _Atomic
#define _Atomic /* the pointers of internal.h; none is used here */
#define VS_RING_CELL 8
#define VS_RING_CURSORS 2
#define VS_RING_HEAD_ROOM_SHIFT 1
#define pthread_mutex_lock(mutex) lock_mine()
#define pthread_mutex_unlock(mutex) unlock_mine()
#define nanosleep(...) rl::yield(1, RL_INFO)
static void lock_mine();
static void unlock_mine();

#include "vaultscope.h"

enum { PROCESSES = model::THREADS_MAX, CELLS = 8, KEYS = 2 * VS_LEVELS, FIRST = 2 * CELLS - 1 /* the last cell of its lap */ };

/* Counters are words; a counter's offset tells which. */
static vs_word *counted;
#define vs_counter_inc(counter) vs_add_relaxed(&counted[(counter).offset / 8], 1u)

#include "mark.h"

static vs_arena arena;
vs_arena *vs_arena_at(uint32_t) { return &arena; }

#include "ring.c"

/* ---- processes, which may die ---- */

static vs_file files[PROCESSES];
static vs_ring rings[PROCESSES];
static vs_journal journals[PROCESSES];
static vs_metric *any_metric = reinterpret_cast<vs_metric *>(&arena);
static rl::mutex *drain_locks;
static rl::atomic<unsigned> *dead;
static bool holds[PROCESSES];
static bool one_lock; /* all are of one process, as far as the drain lock goes */
static int as;        /* -1, or as whom the model acts before and after a run */

static unsigned me() { return as >= 0 ? (unsigned)as : rl::thread_index() % PROCESSES; }
static rl::mutex *lock_of() { return &drain_locks[one_lock ? 0 : me()]; }
static void lock_mine()
{
    lock_of()->lock(RL_INFO);
    holds[me()] = true;
}
static void unlock_mine()
{
    holds[me()] = false;
    lock_of()->unlock(RL_INFO);
}

bool vs_process_is_dead(const vs_file *file, uint32_t index)
{
    return file->entry != index + 1 && dead[index].load(rl::mo_acquire, RL_INFO) != 0;
}

struct death {};
static unsigned writes_left[PROCESSES]; /* before it is killed; 0: it is not */

static void perhaps_die()
{
    unsigned *left = &writes_left[me()];
    if (*left != 0 && --*left == 0)
        throw death();
}

/* Does it, and is killed before one of its first `writes`, or after it. */
template <typename WORK> static void do_and_die(unsigned writes, WORK work)
{
    writes_left[me()] = 1 + rl::rand(writes);
    try {
        work();
    } catch (const death &) {
        if (holds[me()])
            unlock_mine();
    }
    writes_left[me()] = 0;
    dead[me()].store(1, rl::mo_release, RL_INFO);
}

int64_t vs_clock_monotonic_ns(void) { return 0; }
void vs_counter_read(vs_counter, uint64_t *, double *) {}
void vs_buffer_free(vs_buffer *) {}

/* ---- records ---- */

/* Record `key` proves itself. It is of level `key` or `key` - 6, and of one cell if the key is even, else of two. */
static uint64_t word_of(unsigned key, unsigned i) { return 100 + key * 2 + i; }
static size_t bytes_of(unsigned key) { return VS_RING_CELL * (1 + key % 2); }

static vs_level level_of(unsigned key) { return (vs_level)(key % VS_LEVELS); }

static vs_put put(unsigned key, vs_policy policy)
{
    uint64_t record[2] = {word_of(key, 0), word_of(key, 1)};
    return vs_ring_put(&rings[me()], level_of(key), policy, record, bytes_of(key));
}

/* The key of a record that was read, which must be whole. */
static unsigned key_of(const uint64_t *words, size_t bytes)
{
    RL_ASSERT(words[0] >= 100 && words[0] < 100 + 2 * KEYS && words[0] % 2 == 0);
    unsigned key = (unsigned)(words[0] - 100) / 2;
    RL_ASSERT(bytes == bytes_of(key) && (bytes == VS_RING_CELL || words[1] == word_of(key, 1)));
    return key;
}

/* What the process has formatted since it last asked: a bit for each key. */
static unsigned formatted[PROCESSES];

bool vs_log_render_json(const void *record, size_t size, vs_buffer *out)
{
    const vs_word *from = static_cast<const vs_word *>(record);
    uint64_t words[2] = {vs_load_relaxed(&from[0]), size > VS_RING_CELL ? vs_load_relaxed(&from[1]) : 0};
    unsigned key = key_of(words, size);
    RL_ASSERT((formatted[me()] & 1u << key) == 0);
    formatted[me()] |= 1u << key;
    out->size++;
    return true;
}

#include "drain.c"

/* ---- the machine ---- */

/* Everything that a suite needs: a ring whose next record begins at the last cell of a lap. */
template <typename SUITE, int THREADS> struct ring_machine : rl::test_suite<SUITE, THREADS> {
    vs_ring_words words;
    vs_word cells[2 * CELLS], counts[2 * VS_LEVELS + 1];
    rl::mutex locks[PROCESSES];
    rl::atomic<unsigned> deaths[PROCESSES];
    vs_cursor_words *cursor_words;
    unsigned done[PROCESSES]; /* keys that each has put */

    void begin()
    {
        drain_locks = locks;
        dead = deaths;
        counted = counts;
        arena.stripe_bytes = 1 << 20;
        stuck.clear();
        generation = 0;
        model::before_write = perhaps_die;
        one_lock = false;
        as = -1;
        for (unsigned i = 0; i < PROCESSES; i++) {
            deaths[i].store(0, rl::mo_relaxed, RL_INFO);
            done[i] = formatted[i] = writes_left[i] = 0;
            holds[i] = false;
            files[i].entry = i + 1;
            files[i].process_count = PROCESSES;
            files[i].drain = vs_ring_drain{0, nullptr};
            rings[i] = vs_ring();
            rings[i].file = &files[i];
            rings[i].drain = &files[i].drain;
            vs_ring_lay(&rings[i], &words, cells, CELLS);
            journals[i].ring = rings[i];
            journals[i].metrics[0] = any_metric;
        }
        vs_store_relaxed(&words.cells, CELLS);
        vs_store_relaxed(&words.head, FIRST);
        vs_store_relaxed(&words.tail, FIRST);
        for (unsigned level = 0; level < VS_LEVELS; level++) {
            vs_store_relaxed(&words.overwritten[level], 8 * (level + 1));
            vs_store_relaxed(&words.killed[level], 8 * (VS_LEVELS + level + 1));
        }
    }

    /* Records of a process that is through; the ring is full after five. */
    void put_before(unsigned n)
    {
        as = 0;
        put_all(0, n, VS_POLICY_OVERWRITE);
        as = -1;
    }

    void put_all(unsigned first, unsigned n, vs_policy policy)
    {
        for (unsigned key = first; key < first + n; key++)
            if (put(key, policy) == VS_PUT_DONE)
                done[me()] |= 1u << key;
    }

    static vs_cursor *open_cursor(const char *name)
    {
        vs_cursor *cursor = nullptr;
        return vs_cursor_open(&journals[me()], vs_text{name, 1}, &cursor) == VS_OK ? cursor : nullptr;
    }

    /* Takes one batch and acknowledges it; which keys were in it. */
    static unsigned take_one(vs_cursor *cursor, size_t records)
    {
        vs_batch batch;
        formatted[me()] = 0;
        if (!vs_cursor_take(cursor, records, &batch))
            return 0;
        unsigned keys = formatted[me()];
        vs_cursor_done(cursor);
        return keys;
    }

    unsigned all_done() const { return done[0] | done[1] | done[2] | done[3]; }

    /* How many of a level: of these keys, that were counted as overwritten or as killed, that a cursor has missed. */
    static unsigned of_level(unsigned keys, unsigned level) { return (keys >> level & 1) + (keys >> (level + VS_LEVELS) & 1); }
    unsigned overwritten(unsigned level) const { return (unsigned)vs_load_relaxed(&counts[1 + level]); }
    unsigned killed(unsigned level) const { return (unsigned)vs_load_relaxed(&counts[1 + VS_LEVELS + level]); }
    static unsigned missed_by(const vs_cursor_words *cursor, unsigned level)
    {
        return (unsigned)vs_load_relaxed(&cursor->missed[level]);
    }
};

#endif
