/* 1,000,000 snapshots while three threads write: none is torn, none goes back, none fails to settle. */
#include "campaign.h"

#include <pthread.h>
#include <stdlib.h>

static metrics shared;
static vs_word stopped;

typedef struct writer {
    _Alignas(128) pthread_t thread;
    uint64_t random;
    tally done;
} writer;

static void *write_on(void *argument)
{
    writer *w = argument;
    while (vs_load_relaxed(&stopped) == 0)
        metrics_write(&shared, next_random(&w->random), &w->done);
    return NULL;
}

void campaign_torn(const campaign *c)
{
    static writer writers[WRITERS];
    uint64_t snapshots = scaled(c, 1000000), torn = 0, back = 0;
    uint32_t stripes = c->stripes != 0 ? c->stripes : 64;
    metrics_open(&shared, c, stripes);
    for (uint64_t i = 0; i < WRITERS; i++) {
        writers[i].random = random_start(c->seed, i);
        if (pthread_create(&writers[i].thread, NULL, write_on, &writers[i]) != 0)
            give_up("no thread");
    }
    reading now, before = {0};
    for (uint64_t i = 0; i < snapshots; i++) {
        metrics_read(&shared, &now);
        torn += !expect(reading_is_whole(&now, 0), "snapshot %llu: a sum is not what its counts say", (unsigned long long)i);
        back += !expect(reading_holds(&now, &before.seen) && now.sum >= before.sum && now.hdr_sum >= before.hdr_sum,
                        "snapshot %llu: a count or a sum went back", (unsigned long long)i);
        before = now;
    }
    expect(now.stripes_held == (stripes < WRITERS ? stripes : WRITERS), "%u stripes are held", now.stripes_held);
    vs_store_relaxed(&stopped, 1);
    tally done = {0};
    for (size_t i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        tally_add(&done, &writers[i].done);
    }
    metrics_read(&shared, &now);
    expect(reading_is_whole(&now, 0) && reading_holds(&now, &done) && reading_excess(&now, &done) == 0,
           "the last snapshot is not what was written");
    expect(now.unsettled == 0, "%llu readings did not settle", (unsigned long long)now.unsettled);
    tell("%llu snapshots, %d writers, %u stripes: %llu torn, %llu went back, %llu unsettled, of %.0f million writes",
         (unsigned long long)snapshots, WRITERS, stripes, (unsigned long long)torn, (unsigned long long)back,
         (unsigned long long)now.unsettled, (double)tally_writes(&done) / 1e6);
}
