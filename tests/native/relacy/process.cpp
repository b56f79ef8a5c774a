/* Entries of processes are taken, and let go by others once their process is dead (process.c, P1 to P4): the real process.c, in which
 * the system is made of a few words.
 *
 * Each thread here is a process, with its own view of the arena; one more was there before and is dead. A pid is used again by
 * the next who comes, as a small pid namespace may. Whoever learns of a death sees what the dead one wrote. */
#include "model.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VS_STRIPES_MAX 1
#undef _Atomic
#define _Atomic /* the pointers of internal.h; none is used here */

/* ---- the system ---- */

enum { PIDS = 1 + model::THREADS_MAX, CELL = sizeof(vs_word), GAUGES = 2 /* a page; the first is no cell */ };

/* Who has a pid: the time it started, 0 for nobody. The system knows what is so now: a read-modify-write does. */
static rl::atomic<uint64_t> *running;
static uint64_t started(uint64_t pid) { return running[pid].fetch_add(0, rl::mo_acquire, RL_INFO); }

static uint64_t pid_of_thread[model::THREADS_MAX];

static int model_kill(uint64_t pid)
{
    errno = ESRCH;
    return started(pid) != 0 ? 0 : -1;
}

/* /proc/PID/stat */
static int model_open(const char *path) { return atoi(path + strlen("/proc/")); }
static ssize_t model_read(int pid, char *text, size_t size)
{
    unsigned long long start = started((uint64_t)pid);
    return start == 0 ? 0 : snprintf(text, size, "%d (x) S 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 %llu", pid, start);
}

#define kill(pid, signal) model_kill(pid)
#define open(path, flags) model_open(path)
#define read(fd, text, size) model_read(fd, text, size)
#define close(fd) ((void)0)
#define getpid() pid_of_thread[rl::thread_index()]
#define fcntl(fd, operation, lock) 0

#include "process.c"

#undef kill
#undef open
#undef read
#undef close
#undef getpid
#undef fcntl

/* ---- what process.c calls outside itself ---- */

static rl::mutex *file_lock;

bool vs_file_try_lock(vs_arena *) { return file_lock->try_lock(RL_INFO); }
void vs_file_unlock(vs_arena *) { file_lock->unlock(RL_INFO); }
int vs_file_descriptor(const vs_file *) { return 0; }
bool vs_file_back(const vs_file *, const char *, uint64_t) { return rl::rand(4) != 0; } /* else the disk is full */

/* Each process has a cold lock for itself; stripes are fold.cpp's. */
void vs_cold_lock(void) {}
void vs_cold_unlock(void) {}
vs_status vs_file_lock(vs_arena *) { return VS_E_BUSY; }
vs_status vs_directory_check(vs_arena *) { return VS_OK; }
void vs_stripe_forget(uint32_t) {}
size_t vs_fold_release(vs_arena *, uint32_t) { return 0; }
bool vs_ring_of_file(const vs_arena *, vs_ring *) { return false; } /* the log is ring.cpp's */
void vs_ring_reap(const vs_ring *, uint32_t) {}
void vs_fold_stripes(vs_arena *) {}
bool vs_fold_is_cut_short(const vs_arena *) { return false; }
void vs_fold_mend_all(vs_arena *) {}

/* ---- the model ---- */

static vs_arena arenas[model::THREADS_MAX];
static vs_file files[model::THREADS_MAX];
alignas(64) static char pages[2 * VS_GAUGE_PAGE_BYTES];
static const double DEAD_VALUE = 64.0;

/* There are ENTRIES, of which a dead process has the first. JOINERS threads start: each joins if there is an entry, adds to its gauge
 * twice and finds it as it should be; the first then dies if it is MORTAL. Two more look after the dead and list the living, LOOKS
 * times. Where pids are used again, REUSED, they may still list what was there before, of a pid that now is another's; else not. */
template <unsigned JOINERS, unsigned ENTRIES, unsigned LOOKS, bool MORTAL, bool REUSED>
struct processes : rl::test_suite<processes<JOINERS, ENTRIES, LOOKS, MORTAL, REUSED>, (int)JOINERS + 2> {
    vs_file_words words;
    vs_process_entry entries[ENTRIES];
    rl::mutex lock;
    rl::atomic<uint64_t> starts[PIDS];

    void before()
    {
        file_lock = &lock;
        running = starts;
        for (rl::atomic<uint64_t> &start : starts)
            start.store(0, rl::mo_relaxed, RL_INFO);
        for (unsigned i = 0; i < model::THREADS_MAX; i++) {
            pid_of_thread[i] = 1 + i;
            files[i].words = &words;
            files[i].processes = entries;
            files[i].process_count = ENTRIES;
            files[i].pages = pages;
            files[i].boot = files[i].space = files[i].program = 1;
            files[i].start = 10 + i;
            files[i].entry = 0;
            arenas[i].file = &files[i];
            arenas[i].shared = &words.shared;
        }
        for (unsigned i = 0; i < ENTRIES; i++)
            for (unsigned cell = 0; cell < GAUGES; cell++)
                ::new (static_cast<void *>(gauge(i) + cell)) vs_word;
        vs_store_relaxed(&words.gauges_top, GAUGES * sizeof(vs_word));
        vs_process_entry *dead = &entries[0];
        vs_store_relaxed(&dead->who, UINT64_C(1) << VS_PROCESS_SPACE_SHIFT | (REUSED ? 1 : PIDS - 1));
        vs_store_relaxed(&dead->state, VS_PROCESS_LIVE);
        vs_store_relaxed(&dead->start, 1);
        vs_store_relaxed(&dead->program, 1);
        vs_store_relaxed(&dead->boot, 1);
        vs_store_relaxed(gauge(0) + 1, vs_gauge_pack(DEAD_VALUE));
    }

    static vs_word *gauge(unsigned entry) { return reinterpret_cast<vs_word *>(pages + entry * (size_t)VS_GAUGE_PAGE_BYTES); }

    /* Finds 0, 1 and 2: what the last one left is gone, and nobody takes away what is ours. */
    void write(vs_arena *arena)
    {
        vs_gauge mine = {&arena->process_base, CELL};
        for (double value = 0.0; value <= 2.0; value++) {
            RL_ASSERT(vs_gauge_read(mine) == value);
            if (value < 2.0)
                vs_gauge_add(mine, 1.0);
        }
    }

    bool is_mine(const vs_file *file)
    {
        const vs_process_entry *entry = &entries[file->entry - 1];
        return vs_load_relaxed(&entry->start) == file->start && vs_load_relaxed(&entry->state) == VS_PROCESS_LIVE &&
               vs_load_relaxed(&entry->who) != 0;
    }

    /* Gets the lowest pid that is free. */
    void start(unsigned index)
    {
        for (uint64_t pid = 1;; pid++) {
            uint64_t nobody = 0;
            if (!running[pid].compare_exchange_strong(nobody, files[index].start, rl::mo_acq_rel, RL_INFO, rl::mo_relaxed, RL_INFO))
                continue;
            pid_of_thread[index] = pid;
            return;
        }
    }

    void thread(unsigned index)
    {
        vs_arena *arena = &arenas[index];
        if (index < JOINERS) {
            start(index);
            if (!join(arena))
                return;
            write(arena);
            RL_ASSERT(is_mine(&files[index]));
            if (MORTAL && index == 0) {
                running[pid_of_thread[index]].store(0, rl::mo_release, RL_INFO);
                files[index].entry = 0;
            }
            return;
        }
        for (unsigned i = 0; i < LOOKS; i++) {
            vs_arena_reap(arena);
            look(arena);
        }
    }

    void look(const vs_arena *arena)
    {
        vs_process *list;
        size_t count;
        RL_ASSERT(vs_processes_list(arena, &list, &count) == VS_OK);
        for (size_t i = 0; i < count; i++) {
            double value = vs_gauge_read(vs_gauge{const_cast<char **>(&list[i].gauges), CELL});
            RL_ASSERT(REUSED || value != DEAD_VALUE);
        }
        vs_processes_free(list);
    }

    /* Whoever lives has its entry and its gauge. */
    void after()
    {
        for (unsigned i = 0; i < JOINERS; i++)
            if (files[i].entry != 0) {
                RL_ASSERT(is_mine(&files[i]));
                RL_ASSERT(vs_gauge_read(vs_gauge{&arenas[i].process_base, CELL}) == 2.0);
            }
        for (unsigned i = 0; i < ENTRIES; i++)
            for (unsigned cell = 0; cell < GAUGES; cell++)
                gauge(i)[cell].~vs_word();
    }
};

int main(int argc, char **argv)
{
    model::options options;
    if (!model::parse(argc, argv, &options))
        return 2;
    bool good = model::check<processes<1, 1, 2, false, true>, processes<1, 1, 1, false, true>>("the same pid", options);
    good = good && model::check<processes<1, 1, 2, false, false>, processes<1, 1, 1, false, false>>("another pid", options);
    good = good && model::check<processes<2, 1, 2, true, true>, processes<1, 1, 1, true, true>>("one entry for two", options);
    good = good && model::check<processes<2, 2, 2, true, true>, processes<1, 1, 1, true, false>>("two entries", options);
    return good ? 0 : 1;
}
