/* 10,000 times `kill -9` of a child that writes, in the midst of it, while another process reads all the time.
 *
 * Each child notes on a page that it shares with us what it has completed. So all of that is in the total, and at most one operation more
 * for each kill: one that was done and not yet noted. No reading of either process ever goes back, or is torn and does not say so: its
 * sums are what its counts say, exactly, unless children had to share a stripe (then by one value for each kill).
 * A few may say so: who reads a histogram whose writer is killed at that moment, or gets no turn for long, gives up after a second. */
#define _GNU_SOURCE
#include "campaign.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITES_BEFORE_MAX = 3000, READ_EVERY = 8, UNSETTLED_MAX = 3 };

typedef struct page {
    vs_word opened, stopped; /* the file is there; the reader may go */
    vs_word killed;
    vs_word readings, unsettled;
    tally done; /* by all children, one after the other */
} page;

enum { STRIPES = 64 }; /* more than the dead that nobody has found yet: no child has to share */

static metrics shared;

/* The process that goes on reading. */
static void read_on(const char *path, page *p, bool may_share)
{
    static metrics m;
    while (vs_load_acquire(&p->opened) == 0)
        sched_yield();
    metrics_open_reader(&m, path);
    reading now, before = {0};
    do {
        tally done_before = {0}, done_after = {0};
        tally_add(&done_before, &p->done);
        metrics_read(&m, &now);
        tally_add(&done_after, &p->done);
        uint64_t killed = vs_load_relaxed(&p->killed) + 1; /* one may be dead and not counted yet */
        if (now.unsettled == before.unsettled)
            expect(reading_is_whole(&now, may_share ? killed : 0), "a reading of the reader is torn");
        expect(reading_holds(&now, &done_before), "a reading of the reader lacks what was done before it");
        expect(tally_writes(&now.seen) <= tally_writes(&done_after) + killed + 1,
               "a reading of the reader has more than was done");
        expect(reading_holds(&now, &before.seen) && now.sum >= before.sum && now.hdr_sum >= before.hdr_sum,
               "a reading of the reader went back");
        before = now;
        vs_add_relaxed(&p->readings, 1u);
    } while (vs_load_relaxed(&p->stopped) == 0);
    vs_store_relaxed(&p->unsettled, now.unsettled);
    _exit(EXIT_SUCCESS);
}

static pid_t fork_or_give_up(void)
{
    pid_t pid = fork();
    if (pid < 0)
        give_up("no fork");
    return pid;
}

/* A child writes until it is killed: after a number of writes that is drawn, wherever it is then. */
static void kill_one(page *p, uint64_t *random)
{
    uint64_t seed = next_random(random), before = vs_load_relaxed(&p->done.increments);
    pid_t pid = fork_or_give_up();
    while (pid == 0)
        metrics_write(&shared, next_random(&seed), &p->done);
    uint64_t until = before + 1 + next_random(random) % WRITES_BEFORE_MAX;
    while (vs_load_relaxed(&p->done.increments) < until)
        sched_yield();
    int status;
    if (kill(pid, SIGKILL) != 0 || waitpid(pid, &status, 0) != pid)
        give_up("a child is lost");
    expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "a child ended with status %#x", (unsigned)status);
    vs_add_relaxed(&p->killed, 1u);
}

void campaign_kills(const campaign *c)
{
    uint64_t kills = scaled(c, 10000), random = random_start(c->seed, 0), one_more = 0;
    uint32_t stripes = c->stripes != 0 ? c->stripes : STRIPES;
    bool may_share = stripes < STRIPES;
    if (c->path == NULL)
        give_up("kills wants --file: what is in memory dies with its process");
    page *p = shared_memory(sizeof *p);
    pid_t reader = fork_or_give_up();
    if (reader == 0)
        read_on(c->path, p, may_share);
    metrics_open(&shared, c, stripes);
    vs_store_release(&p->opened, 1);

    reading now, before = {0};
    for (uint64_t i = 1; i <= kills; i++) {
        kill_one(p, &random);
        if (next_random(&random) % READ_EVERY != 0 && i < kills)
            continue; /* so that mostly the reader has to find the dead one, perhaps in the midst of a reading */
        metrics_read(&shared, &now);
        one_more = reading_excess(&now, &p->done);
        expect(reading_holds(&now, &p->done), "kill %llu: something that was done is lost", (unsigned long long)i);
        expect(one_more <= i, "kill %llu: %llu more than was done", (unsigned long long)i, (unsigned long long)one_more);
        expect(reading_is_whole(&now, may_share ? i : 0), "kill %llu: a sum is not what its counts say", (unsigned long long)i);
        expect(reading_holds(&now, &before.seen), "kill %llu: a count went back", (unsigned long long)i);
        before = now;
    }
    vs_store_relaxed(&p->stopped, 1);
    int status;
    waitpid(reader, &status, 0);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the reader ended with status %#x", (unsigned)status);
    uint64_t unsettled = now.unsettled + vs_load_relaxed(&p->unsettled);
    /* A shared stripe cannot be taken over and mended: its first reader after such a kill waits, and says so. */
    expect(unsettled <= UNSETTLED_MAX + kills / (may_share ? 10 : 1000), "%llu readings did not settle", (unsigned long long)unsettled);
    vs_arena_reap(shared.arena); /* the reader may have been at it */
    metrics_read(&shared, &now);
    expect(now.processes == 1 && now.stripes_held == 0, "%u processes and %u stripes are left", now.processes,
           now.stripes_held);
    tell("%llu kills, %u stripes: nothing lost of %.1f million writes, %llu were done and not noted; %llu readings meanwhile, "
         "%llu unsettled",
         (unsigned long long)kills, stripes, (double)tally_writes(&p->done) / 1e6, (unsigned long long)one_more,
         (unsigned long long)vs_load_relaxed(&p->readings), (unsigned long long)unsettled);
}
