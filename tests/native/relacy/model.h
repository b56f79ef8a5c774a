/* What every model shares: how it is run, and what stands for the machine.
 *
 *   MODEL --random N     N random schedules of each suite
 *   MODEL --bound N      every schedule of each small suite with at most N preemptions
 *   MODEL --history      prints the events of the schedule that failed
 *
 * Exit status 0: no schedule failed; 1: one did, and its suite is named; 2: called wrongly. */
#ifndef VS_RELACY_MODEL_H
#define VS_RELACY_MODEL_H

#include <stdatomic.h>

/* Thread-local words are words made outside a run (stdatomic.h). */
#define _Thread_local
#define tls_model(name) visibility("default")

/* A wait in the sources is a word to the scheduler that this thread has nothing to do. */
#define __builtin_ia32_pause() rl::yield(1, RL_INFO)

#include "vaultscope/atomic.h"

/* addq to memory without a lock prefix, as vs_owned_add is on x86-64: a load and a store, both relaxed. The portable
 * spelling, an indivisible addition, is stronger and would hide a hand-over that fails. */
static inline void model_owned_add(vs_word *cell, uint64_t n)
{
    vs_store_relaxed(cell, vs_load_relaxed(cell) + n);
}
#define vs_owned_add model_owned_add

namespace model {

/* A `static _Thread_local bool`. */
class local_flag {
public:
    operator bool() const { return mine_[rl::thread_index()]; }
    local_flag &operator=(bool value)
    {
        mine_[rl::thread_index()] = value;
        return *this;
    }
    void clear() { memset(mine_, 0, sizeof mine_); }

private:
    bool mine_[THREADS_MAX];
};

struct options {
    rl::iteration_t random;
    int bound; /* -1: no such search */
    bool history;
};

inline bool parse(int argc, char **argv, options *out)
{
    *out = options{0, -1, false};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--random") == 0 && i + 1 < argc)
            out->random = strtoull(argv[++i], nullptr, 10);
        else if (strcmp(argv[i], "--bound") == 0 && i + 1 < argc)
            out->bound = atoi(argv[++i]);
        else if (strcmp(argv[i], "--history") == 0)
            out->history = true;
        else
            return false;
    }
    return out->random != 0 || out->bound >= 0;
}

template <typename SUITE> bool holds(const char *name, rl::scheduler_type_e search, const options &options)
{
    rl::ostringstream quiet; /* its memory is not the run's */
    rl::test_params params;
    params.search_type = search;
    params.iteration_count = options.random;
    params.context_bound = (unsigned)options.bound;
    params.execution_depth_limit = 10000;
    params.progress_stream = &quiet;
    if (!options.history)
        params.output_stream = &quiet;
    bool good = rl::simulate<SUITE>(params);
    std::cout << name << ": " << rl::format(search) << ", " << params.stop_iteration << " schedules: "
              << rl::test_result_str(params.test_result) << std::endl;
    return good;
}

/* Random schedules of `suite`, and the bounded search of `small`, which may be the same. */
template <typename SUITE, typename SMALL> bool check(const char *name, const options &options)
{
    bool good = true;
    if (options.random != 0)
        good = holds<SUITE>(name, rl::sched_random, options);
    if (good && options.bound >= 0)
        good = holds<SMALL>(name, rl::sched_bound, options);
    return good;
}

/* Random schedules alone: of a suite that no search comes to the end of. */
template <typename SUITE> bool check(const char *name, const options &options)
{
    return options.random == 0 || holds<SUITE>(name, rl::sched_random, options);
}

} // namespace model

#endif
