/* Exemplars are whole (E1 to E8): the real exemplar.c, with two writers of one bucket and a reader.
 *
 * The words of each exemplar follow from a number that no other has. The clock stands wherever a writer says. */
#include "objects.h"

namespace model {
template <> void made(vs_series *series) { pointers.find(&series->exemplars); }
} // namespace model

#include "exemplar.c"

static const double BOUNDS[] = {1e9};

/* What a signal handler or a stripe would need is not here. */
vs_thread vs_this_thread;
bool vs_histogram_observe_slow(const vs_histogram *, double) { return false; }

/* WRITERS threads put EACH exemplars; the last thread reads LOOKS times. FIRST: the series has none before, so the writers also
 * race for the block; else it is there. */
template <unsigned WRITERS, unsigned EACH, unsigned LOOKS, bool FIRST>
struct exemplars : rl::test_suite<exemplars<WRITERS, EACH, LOOKS, FIRST>, (int)WRITERS + 1> {
    vs_metric *metric;
    vs_series *series;

    bool put(unsigned k)
    {
        return vs_series_exemplar_at(series, k, k + 1, k + 2, k + 3, (int64_t)k * VS_EXEMPLAR_GAP_NS);
    }

    /* How many there are, each of them whole. */
    size_t look()
    {
        vs_exemplar found[2];
        size_t n = vs_exemplars_read(series, 7, found);
        RL_ASSERT(n <= 1);
        for (size_t i = 0; i < n; i++) {
            unsigned k = (unsigned)found[i].value;
            RL_ASSERT(found[i].series == 7 && found[i].bucket == 0);
            RL_ASSERT(k != 0 && found[i].trace_high == k + 1 && found[i].trace_low == k + 2 && found[i].span == k + 3 &&
                      found[i].time_ns == (int64_t)k * VS_EXEMPLAR_GAP_NS);
        }
        return n;
    }

    void before()
    {
        model::pointers.forget();
        metric = calloc(1, sizeof *metric);
        metric->kind = VS_HISTOGRAM;
        metric->tally_size = 2;
        metric->bounds = const_cast<double *>(BOUNDS);
        metric->bound_count = 1;
        series = calloc(1, sizeof *series);
        series->metric = metric;
        if (!FIRST)
            RL_ASSERT(put(1));
    }

    void thread(unsigned index)
    {
        if (index < WRITERS) {
            for (unsigned i = 0; i < EACH; i++)
                put(2 + i * WRITERS + index);
        } else {
            for (unsigned i = 0; i < LOOKS; i++)
                look();
        }
    }

    /* Nobody left the slot as if it were writing. */
    void after()
    {
        RL_ASSERT(put(1000));
        RL_ASSERT(look() == 1);
        vs_exemplars_free(series);
        free(series);
        free(metric);
        model::pointers.drop();
    }
};

int main(int argc, char **argv)
{
    model::options options;
    if (!model::parse(argc, argv, &options))
        return 2;
    bool good = model::check<exemplars<2, 2, 2, false>, exemplars<1, 2, 1, false>>("a bucket", options);
    good = good && model::check<exemplars<2, 1, 2, true>, exemplars<1, 1, 1, true>>("the first of a series", options);
    return good ? 0 : 1;
}
