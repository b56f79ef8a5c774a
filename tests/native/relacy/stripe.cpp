/* Stripes change hands and nothing is lost (stripe.h, O1/O2), and an arena is found whole (A1/A2): the real stripe.c, counter.h,
 * counter.c and arena.c. Relacy has no signals: what is ordered for a thread's own handlers (O3, C1) is out of its sight. */
#include "objects.h"

#include <sys/mman.h>

/* The two locks of arena.c become Relacy's. Exit is a call in the model, so no key is needed. */
static rl::mutex *mutex_of(pthread_mutex_t *mutex);
#define pthread_mutex_lock(mutex) mutex_of(mutex)->lock(RL_INFO)
#define pthread_mutex_unlock(mutex) mutex_of(mutex)->unlock(RL_INFO)
#define pthread_setspecific(key, value) ((void)0)

/* Address space, for one arena of the smallest size with up to two stripes. */
static const size_t REGION_BYTES = 3 * 65536;
alignas(64) static char space[REGION_BYTES];
#define mmap(address, bytes, ...) ((void)(bytes), (void *)space)
#define munmap(address, bytes) ((void)0)
#define madvise(address, bytes, advice) ((void)0)

#include "arena.c"

#define bool model::local_flag /* `static _Thread_local bool exiting` */
#include "stripe.c"
#undef bool

#include "counter.c"

void vs_registry_after_fork(void) {}

/* The log is ring.cpp's and drain.cpp's. */
void vs_journal_after_fork(void) {}
void vs_drain_lock(void) {}
void vs_drain_unlock(void) {}

/* Arenas in files are fold.cpp's. */
void vs_file_after_fork(vs_arena *) {}
bool vs_file_back_stripe(vs_arena *, uint32_t) { return true; }
void vs_file_close(vs_arena *) {}
vs_status vs_file_cells_alloc(vs_arena *, size_t, uint64_t *) { return VS_E_INVALID; }
vs_status vs_arena_open_file(const char *, vs_arena_access, const vs_arena_options *, vs_arena **) { return VS_E_INVALID; }

static rl::mutex *cold_lock, *read_lock;
static rl::mutex *mutex_of(pthread_mutex_t *mutex) { return mutex == &read_mutex ? read_lock : cold_lock; }

static const vs_counter COUNTER = {VS_CACHE_LINE, 0};
static const uint32_t STRIPES_AT_MOST = 2;

/* What every suite has: the locks, no arena yet, threads that own nothing, and one counter's cells. */
template <typename SUITE, int THREADS> struct machine : rl::test_suite<SUITE, THREADS> {
    rl::mutex cold, read;
    vs_arena *arena;

    void begin()
    {
        cold_lock = &cold;
        read_lock = &read;
        model::pointers.forget();
        model::pointers.find(&arenas[0]);
        slots_taken = 0;
        for (vs_word &base : vs_this_thread.base)
            base.clear();
        for (vs_word32 &stripe : my_stripe)
            stripe.clear();
        for (vs_word &releases : none_free)
            releases.clear();
        exiting.clear();
        for (uint32_t stripe = 0; stripe <= STRIPES_AT_MOST; stripe++)
            ::new (static_cast<void *>(cell(stripe))) vs_counter_cell;
    }

    void open(uint32_t stripes)
    {
        vs_arena_options options = {stripes, 65536, 0};
        RL_ASSERT(vs_arena_open(&options, &arena) == VS_OK);
    }

    void end()
    {
        vs_arena_close(arena);
        for (uint32_t stripe = 0; stripe <= STRIPES_AT_MOST; stripe++)
            cell(stripe)->~vs_counter_cell();
        model::pointers.drop();
    }

    static vs_counter_cell *cell(uint32_t stripe)
    {
        return reinterpret_cast<vs_counter_cell *>(space + stripe * 65536 + COUNTER.offset);
    }
};

/* OWNERS threads, fewer stripes: each takes one or shares, adds, exits, and adds once more, as a destructor does that runs
 * late. Those who come later take over what was left. READINGS by one more thread never go back. */
template <unsigned OWNERS, uint32_t STRIPES, unsigned ADDS, unsigned READINGS>
struct hand_over : machine<hand_over<OWNERS, STRIPES, ADDS, READINGS>, (int)OWNERS + (READINGS != 0)> {
    void before()
    {
        this->begin();
        this->open(STRIPES);
    }

    void thread(unsigned index)
    {
        if (index == OWNERS) {
            uint64_t last = 0;
            for (unsigned i = 0; i < READINGS; i++) {
                uint64_t integer;
                double real;
                vs_counter_read(COUNTER, &integer, &real);
                RL_ASSERT(integer >= last);
                last = integer;
            }
            return;
        }
        for (unsigned i = 0; i < ADDS; i++) {
            vs_counter_add(COUNTER, 1);
            vs_counter_add_double(COUNTER, 0.5);
        }
        release_stripes(nullptr);
        vs_counter_add(COUNTER, 1);
    }

    void after()
    {
        uint64_t integer;
        double real;
        vs_counter_read(COUNTER, &integer, &real);
        RL_ASSERT(integer == OWNERS * (ADDS + 1));
        RL_ASSERT(real == OWNERS * ADDS * 0.5);
        for (uint32_t stripe = 1; stripe <= STRIPES; stripe++)
            RL_ASSERT(vs_load_relaxed(&this->arena->shared->owners[stripe]) == 0);
        this->end();
    }
};

/* One thread opens the arena; another uses it as soon as it is there. Its 64-bit fields are watched. */
struct opening : machine<opening, 2> {
    void before() { begin(); }

    void thread(unsigned index)
    {
        if (index == 0) {
            open(1);
        } else if (vs_arena_at(0) != nullptr) {
            char *base = vs_stripe_attach(0);
            RL_ASSERT(base == space + 65536);
            vs_counter_add(COUNTER, 1);
        }
    }

    void after() { end(); }
};

int main(int argc, char **argv)
{
    model::options options;
    if (!model::parse(argc, argv, &options))
        return 2;
    bool good = model::check<hand_over<3, 1, 2, 3>, hand_over<2, 1, 1, 0>>("one stripe for three", options);
    good = good && model::check<hand_over<3, 2, 2, 3>, hand_over<2, 2, 1, 0>>("two stripes for three", options);
    good = good && model::check<opening, opening>("opening of an arena", options);
    return good ? 0 : 1;
}
