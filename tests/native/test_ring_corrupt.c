/* A log ring in a file that anything may have been written to: records may be lost, but nobody crashes, and no call goes on for ever. */
#define _GNU_SOURCE
#include "log_fixture.h"

#ifdef __SANITIZE_THREAD__ /* which makes a put that finds no way out last for a tenth of a second */
enum { CORRUPTIONS = 100 };
#else
enum { CORRUPTIONS = 1000 };
#endif
enum { PER_FILE = 25, BYTES_EACH = 16 };
static const int64_t LONG_NS = SANITIZED ? 5000000000 : 1000000000;

static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

/* A word that is wrong in a way that hurts: anything, a little more or less, one bit, nothing, all. */
static uint64_t spoilt(uint64_t word)
{
    switch (random_below(6)) {
    case 0: return random_below(UINT64_MAX);
    case 1: return word + random_below(200) - 100;
    case 2: return word ^ UINT64_C(1) << random_below(64);
    case 3: return 0;
    case 4: return UINT64_MAX;
    default: return word << random_below(20) | random_below(64);
    }
}

static void spoil(const vs_ring *ring)
{
    vs_word *words = (vs_word *)ring->words, *word;
    size_t in_words = sizeof *ring->words / sizeof *words;
    for (uint64_t n = 1 + random_below(BYTES_EACH); n != 0; n--) {
        uint64_t where = random_below(4);
        if (where == 0)
            word = &words[random_below(in_words)];
        else if (where == 1)
            word = vs_ring_mark(ring, vs_load_relaxed(&ring->words->head) - 20 + random_below(40)); /* where it is used next */
        else if (where == 2)
            word = vs_ring_mark(ring, vs_load_relaxed(&ring->words->tail) + random_below(40));
        else
            word = &ring->marks[random_below(ring->cells * (1 + VS_RING_CELL / 8))]; /* marks, and what is in the cells */
        vs_store_relaxed(word, spoilt(vs_load_relaxed(word)));
    }
}

/* Everything that is done with a ring, once. */
static void use(vs_journal *journal, vs_cursor *cursor)
{
    const vs_ring *ring = &journal->ring;
    uint64_t record[VS_LOG_BYTES_MAX / 8], next, drops[VS_LEVELS];
    size_t size;
    int64_t began = vs_clock_monotonic_ns();
    for (uint64_t i = 0; i < 3; i++)
        vs_journal_put(journal, (vs_level)random_below(VS_LEVELS), record, fill_record(record, i, 2 + random_below(400)));
    vs_ring_put(ring, VS_ERROR, VS_POLICY_OVERWRITE, record, 64);
    uint64_t at = vs_ring_oldest(ring);
    for (int i = 0; i < 100; i++) {
        vs_look look = vs_ring_look(ring, at, record, &size, &next);
        CHECK(look != VS_LOOK_RECORD || size <= VS_LOG_BYTES_MAX);
        at = look == VS_LOOK_RECORD || look == VS_LOOK_VOID ? next : random_below(UINT64_MAX);
    }
    vs_ring_end(ring);
    vs_cursor_wait(cursor, 0, NULL);
    vs_batch batch;
    if (vs_cursor_take(cursor, 1 << 18, &batch))
        CHECK(batch.size != 0 && batch.data[batch.size - 1] == '\n');
    random_below(2) == 0 ? vs_cursor_done(cursor) : vs_cursor_drop(cursor);
    vs_journal_take_drops(journal, drops);
    vs_drain_reached(journal, at);
    vs_cursor *other = NULL;
    if (vs_cursor_open(journal, text_of("other"), &other) == VS_OK)
        vs_cursor_close(other, random_below(2) == 0);
    CHECK(vs_clock_monotonic_ns() - began < LONG_NS);
}

static int use_spoilt(void *seed)
{
    random_state = (*(uint64_t *)seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    vs_journal *journal = shared_journal((vs_policy)(*(uint64_t *)seed % 3));
    journal->block_ns = 1;
    vs_cursor *cursor = cursor_of(journal, "a");
    for (uint64_t i = 0; i < 30 + *(uint64_t *)seed % 3 * 600; i++)
        put_record(&journal->ring, VS_INFO, VS_POLICY_OVERWRITE, i, 2 + i % 50);
    for (int i = 0; i < PER_FILE; i++) {
        spoil(&journal->ring);
        use(journal, cursor);
        /* A file that was found corrupt is refused; of one that is open, the layout is known. */
        vs_store_relaxed(&journal->ring.words->cells, journal->ring.cells);
    }
    CHECK(vs_arena_reap(journal->registry->arena) <= 1);
    return 0;
}

static int arrive(void *unused)
{
    (void)unused;
    char path[PATH_BYTES];
    in_scratch(path, "log");
    vs_arena *arena;
    if (open_path(path, VS_ARENA_SHARE, &arena) != VS_OK)
        return 0; /* refused */
    vs_registry *registry = NULL;
    vs_journal *journal = NULL;
    if (vs_registry_open(arena, &registry) != VS_OK || vs_journal_open(registry, NULL, &journal) != VS_OK)
        return 0;
    vs_cursor *cursor = NULL;
    if (vs_cursor_open(journal, text_of("a"), &cursor) == VS_OK) {
        use(journal, cursor);
        vs_cursor_close(cursor, false);
    }
    return 0;
}

static void a_thousand_corruptions_crash_nobody(void)
{
    for (uint64_t seed = 0; seed < CORRUPTIONS / PER_FILE; seed++) {
        empty_scratch();
        if (!CHECK_EQ(in_child(use_spoilt, &seed), 0) || !CHECK_EQ(in_child(arrive, NULL), 0))
            fprintf(stderr, "    seed %llu\n", (unsigned long long)seed);
    }
}

static int lay_a_trap(void *which)
{
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_ring *ring = &journal->ring;
    vs_cursor *cursor = cursor_of(journal, "a");
    uint64_t head = vs_load_relaxed(&ring->words->head), lap = vs_ring_lap(ring, head);
    switch (*(int *)which) {
    case 0: vs_store_relaxed(vs_ring_mark(ring, head), vs_mark(lap, 0, 0, VS_INFO, VS_MARK_WHOLE)); break; /* no cells */
    case 1: vs_store_relaxed(vs_ring_mark(ring, head), vs_mark(lap, 5000, 0, VS_INFO, VS_MARK_WHOLE)); break; /* beyond the end */
    case 2: vs_store_relaxed(vs_ring_mark(ring, head), vs_mark(lap + 9, 1, 0, VS_INFO, VS_MARK_WHOLE)); break; /* of the future */
    case 3: vs_store_relaxed(&ring->words->tail, head + 5 * RING_CELLS); break;
    case 4: vs_store_relaxed(&ring->words->head, 3); break;
    case 5: vs_store_relaxed(&ring->words->cursors[0].acked, UINT64_MAX); break;
    case 6: vs_store_relaxed(&ring->words->cursors[0].taken, UINT64_MAX - 5); break;
    case 7: /* every cell says that a record begins there */
        for (uint64_t i = 0; i < ring->cells; i++)
            vs_store_relaxed(&ring->marks[i], vs_mark(lap + i % 3, 1 + i % 90, 511, (vs_level)7, i % 4));
        break;
    case 8: /* a counter outside the arena */
        for (int i = 0; i < VS_LEVELS; i++)
            vs_store_relaxed(&ring->words->overwritten[i], UINT64_C(1) << 50);
        for (uint64_t i = 0; i < 3 * RING_CELLS; i++)
            put_record(ring, VS_INFO, VS_POLICY_OVERWRITE, i, 8);
        break;
    default: vs_store_relaxed(vs_ring_mark(ring, head), vs_mark(lap, 1, 400, VS_INFO, VS_MARK_WRITING)); break; /* no such entry */
    }
    use(journal, cursor);
    return 0;
}

static void no_trap_holds_anybody(void)
{
    for (int which = 0; which < 10; which++) {
        empty_scratch();
        if (!CHECK_EQ(in_child(lay_a_trap, &which), 0) || !CHECK_EQ(in_child(arrive, NULL), 0))
            fprintf(stderr, "    trap %d\n", which);
    }
}

int main(void)
{
    make_scratch();
    a_thousand_corruptions_crash_nobody();
    no_trap_holds_anybody();
    remove_scratch();
    return check_report();
}
