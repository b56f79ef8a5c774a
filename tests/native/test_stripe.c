/* Stripes: exact totals through contention, exhaustion, thread churn, signal handlers and fork. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { ADDS = 200000, BIRTHS = 2000 };
#else
enum { ADDS = 5000000, BIRTHS = 20000 };
#endif

static vs_counter counter;

static void *add_many(void *unused)
{
    (void)unused;
    for (int i = 0; i < ADDS; i++)
        vs_counter_inc(counter);
    return NULL;
}

static void *add_real(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++)
        vs_counter_add_double(counter, 0.5);
    return NULL;
}

static void *add_one(void *unused)
{
    (void)unused;
    vs_counter_inc(counter);
    return NULL;
}

static void check_24_threads_are_exact(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(32, &arena);
    vs_series *series = series_of(registry, VS_COUNTER, "c");
    counter = vs_series_counter(series);
    run_threads(24, add_many, NULL);
    CHECK(counter_total(counter) == (uint64_t)24 * ADDS);
    vs_series_release(series);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_threads_beyond_the_stripes_are_exact(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(2, &arena);
    vs_series *series = series_of(registry, VS_COUNTER, "c");
    counter = vs_series_counter(series);
    run_threads(6, add_many, NULL);
    CHECK(counter_total(counter) == (uint64_t)6 * ADDS);
    CHECK(vs_arena_stripes_used(arena) <= 2);
    vs_series_release(series);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_floats_add_up_beside_integers(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(1, &arena);
    vs_series *series = series_of(registry, VS_COUNTER, "c");
    counter = vs_series_counter(series);
    run_threads(4, add_real, NULL); /* one thread owns the stripe, three share */
    uint64_t integer;
    double real;
    vs_counter_read(counter, &integer, &real);
    CHECK(integer == 0 && real == 2000.0);
    vs_series_release(series);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_stripes_are_adopted_with_their_values(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(4, &arena);
    vs_series *series = series_of(registry, VS_COUNTER, "c");
    counter = vs_series_counter(series);
    for (int i = 0; i < BIRTHS / 4; i++)
        run_threads(4, add_one, NULL);
    CHECK(counter_total(counter) == BIRTHS / 4 * 4);
    uint32_t total, held;
    vs_stripe_usage(vs_arena_slot(arena), &total, &held);
    CHECK(total == 4 && held == 0);
    CHECK(vs_arena_stripes_used(arena) <= 4);
    vs_series_release(series);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static volatile sig_atomic_t handled;

static void on_signal(int number)
{
    (void)number;
    vs_counter_inc(counter);
    vs_counter_add_double(counter, 1.0);
    handled++;
}

static vs_word leave_alone;

static void *pester(void *target)
{
    while (vs_load_relaxed(&leave_alone) == 0)
        pthread_kill(*(pthread_t *)target, SIGUSR1);
    return NULL;
}

static void check_a_signal_handler_writes_the_metric_that_it_interrupted(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(4, &arena);
    vs_series *series = series_of(registry, VS_COUNTER, "c");
    counter = vs_series_counter(series);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t self = pthread_self(), helper;
    pthread_create(&helper, NULL, pester, &self);
    uint64_t written = 0;
    while (handled < 50 || written < ADDS) {
        vs_counter_inc(counter);
        vs_counter_add_double(counter, 1.0);
        written++;
    }
    vs_store_relaxed(&leave_alone, 1);
    pthread_join(helper, NULL);
    uint64_t integer;
    double real;
    vs_counter_read(counter, &integer, &real);
    CHECK(integer == written + (uint64_t)handled);
    CHECK(real == (double)(written + (uint64_t)handled));
    signal(SIGUSR1, SIG_DFL);
    vs_series_release(series);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_a_forked_child_counts_on_in_its_own_copy(void)
{
    vs_arena *arena;
    vs_registry *registry = registry_with_stripes(4, &arena);
    vs_series *series = series_of(registry, VS_COUNTER, "c");
    counter = vs_series_counter(series);
    vs_counter_add(counter, 5);
    pid_t child = fork();
    if (child == 0) {
        vs_counter_add(counter, 2);
        run_threads(3, add_one, NULL);
        _exit(counter_total(counter) == 10 ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(counter_total(counter) == 5);
    vs_series_release(series);
    vs_registry_release(registry);
    vs_arena_close(arena);
}

static void check_an_unbound_handle_writes_nowhere(void)
{
    vs_counter nowhere = {.offset = 64, .arena = VS_ARENA_NONE};
    CHECK(!vs_counter_inc(nowhere));
    CHECK(!vs_counter_add_double(nowhere, 1.0));
    CHECK(counter_total(nowhere) == 0);
}

int main(void)
{
    check_24_threads_are_exact();
    check_threads_beyond_the_stripes_are_exact();
    check_floats_add_up_beside_integers();
    check_stripes_are_adopted_with_their_values();
    check_a_signal_handler_writes_the_metric_that_it_interrupted();
    check_a_forked_child_counts_on_in_its_own_copy();
    check_an_unbound_handle_writes_nowhere();
    return check_report();
}
