/* Threads that come, write and go: 100,000 births and deaths, and 24 threads that increment 5,000,000 times each. Totals are exact. */
#include "campaign.h"

#include <pthread.h>
#include <stdlib.h>

enum { AT_ONCE = 8, WRITES_OF_A_LIFE_MAX = 200, ADDERS = 24 };

static metrics shared;
static uint64_t increments_each;

typedef struct life {
    _Alignas(128) pthread_t thread;
    uint64_t random;
    tally done;
} life;

static void *live_once(void *argument)
{
    life *l = argument;
    for (uint64_t left = 1 + next_random(&l->random) % WRITES_OF_A_LIFE_MAX; left != 0; left--)
        metrics_write(&shared, next_random(&l->random), &l->done);
    return NULL;
}

static void *increment(void *unused)
{
    (void)unused;
    for (uint64_t i = 0; i < increments_each; i++)
        vs_counter_inc(shared.counter);
    return NULL;
}

static void start(pthread_t *thread, void *(*work)(void *), void *argument)
{
    if (pthread_create(thread, NULL, work, argument) != 0)
        give_up("no thread");
}

/* Eight live at a time; each is joined, and its place taken by the next, in an order that wanders. */
void campaign_births(const campaign *c)
{
    static life lives[AT_ONCE];
    uint64_t births = scaled(c, 100000), random = random_start(c->seed, AT_ONCE);
    uint32_t stripes = c->stripes != 0 ? c->stripes : 64;
    bool running[AT_ONCE] = {false};
    metrics_open(&shared, c, stripes);
    for (uint64_t i = 0; i < AT_ONCE; i++)
        lives[i].random = random_start(c->seed, i);
    for (uint64_t i = 0; i < births; i++) {
        size_t place = next_random(&random) % AT_ONCE;
        if (running[place])
            pthread_join(lives[place].thread, NULL);
        start(&lives[place].thread, live_once, &lives[place]);
        running[place] = true;
    }
    tally done = {0};
    for (size_t i = 0; i < AT_ONCE; i++) {
        if (running[i])
            pthread_join(lives[i].thread, NULL);
        tally_add(&done, &lives[i].done);
    }
    reading now;
    metrics_read(&shared, &now);
    uint32_t used = vs_arena_stripes_used(shared.arena);
    expect(tally_writes(&done) >= 3 * births, "not every thread wrote");
    expect(reading_is_whole(&now, 0) && reading_holds(&now, &done) && reading_excess(&now, &done) == 0,
           "the totals are not what was written");
    expect(now.stripes_held == 0, "%u stripes are held by nobody", now.stripes_held);
    expect(used <= AT_ONCE + 1, "%u stripes were used by %d threads at a time", used, AT_ONCE);
    tell("%llu threads born, %d alive at a time, %u stripes: %.1f million writes, exact; %u stripes used",
         (unsigned long long)births, AT_ONCE, stripes, (double)tally_writes(&done) / 1e6, used);
}

void campaign_threads(const campaign *c)
{
    uint32_t stripes = c->stripes != 0 ? c->stripes : 64;
    pthread_t threads[ADDERS];
    increments_each = scaled(c, 5000000);
    metrics_open(&shared, c, stripes);
    for (size_t i = 0; i < ADDERS; i++)
        start(&threads[i], increment, NULL);
    for (size_t i = 0; i < ADDERS; i++)
        pthread_join(threads[i], NULL);
    uint64_t total;
    double real;
    vs_counter_read(shared.counter, &total, &real);
    expect(total == ADDERS * increments_each, "the total is %llu", (unsigned long long)total);
    tell("%d threads x %llu increments, %u stripes: total %llu", ADDERS, (unsigned long long)increments_each, stripes,
         (unsigned long long)total);
}
