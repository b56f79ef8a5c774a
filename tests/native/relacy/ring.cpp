/* The log ring: records of several writers, over the end of the region and over each other (ring.c, L3 to L7, H1 to H4), and what
 * cursors make of them (drain.c, K1 to K7). The real ring.c and drain.c. */
#include "ring_machine.h"

/* After BEFORE records, WRITERS put EACH; the last thread takes TAKES batches meanwhile. In the end each record that was put has been taken, or is
 * charged to the cursor, and never both, and is counted as overwritten if it was charged. The first writer is killed if MORTAL. */
template <vs_policy POLICY, unsigned BEFORE, unsigned WRITERS, unsigned EACH, unsigned TAKES, bool MORTAL>
struct draining : ring_machine<draining<POLICY, BEFORE, WRITERS, EACH, TAKES, MORTAL>, (int)WRITERS + 1> {
    vs_cursor *cursor;
    unsigned taken;

    void take(unsigned batches)
    {
        for (unsigned i = 0; i < batches; i++) {
            unsigned keys = this->take_one(cursor, 1);
            RL_ASSERT((taken & keys) == 0);
            taken |= keys;
            if (MORTAL && keys == 0)
                vs_ring_bury(&rings[me()], next_of(cursor));
        }
    }

    void before()
    {
        this->begin();
        taken = 0;
        cursor = nullptr;
        as = WRITERS;
        cursor = this->open_cursor("a");
        this->cursor_words = cursor->words;
        this->put_before(BEFORE);
    }

    void thread(unsigned index)
    {
        if (index == WRITERS)
            take(TAKES);
        else if (MORTAL && index == 0)
            do_and_die(10, [this] { this->put_all(BEFORE, EACH, POLICY); });
        else
            this->put_all(BEFORE + index * EACH, EACH, POLICY);
    }

    void after()
    {
        as = WRITERS;
        if (MORTAL)
            vs_ring_reap(&rings[WRITERS], 1);
        for (unsigned before = ~0u; before != taken;) {
            before = taken;
            take(3); /* what is void comes alone */
        }
        for (unsigned level = 0; level < VS_LEVELS; level++) {
            unsigned missed = this->missed_by(this->cursor_words, level), came = this->of_level(taken, level) + missed;
            unsigned done = this->of_level(this->all_done(), level);
            RL_ASSERT(missed == this->overwritten(level));
            RL_ASSERT(came == done || (MORTAL && came == done + 1)); /* killed before it got to know that it was done */
        }
        RL_ASSERT(vs_load_relaxed(&this->cursor_words->acked) == vs_ring_end(&rings[0]));
        ::free(cursor);
        as = -1;
    }
};

/* After BEFORE records, WRITERS overwrite EACH; LOOKS from outside, from the first record on: what is given is whole, and is the record that
 * was there. */
template <unsigned BEFORE, unsigned WRITERS, unsigned EACH, unsigned LOOKS>
struct looking : ring_machine<looking<BEFORE, WRITERS, EACH, LOOKS>, (int)WRITERS + 1> {
    void before()
    {
        this->begin();
        as = 0;
        RL_ASSERT(put(KEYS - 1, VS_POLICY_OVERWRITE) == VS_PUT_DONE); /* behind padding */
        this->put_before(BEFORE);
    }

    void thread(unsigned index)
    {
        if (index < WRITERS) {
            this->put_all(BEFORE + index * EACH, EACH, VS_POLICY_OVERWRITE);
            return;
        }
        uint64_t at = FIRST + 1, next, words[VS_LOG_BYTES_MAX / 8];
        for (unsigned i = 0; i < LOOKS; i++) {
            size_t bytes;
            vs_look look = vs_ring_look(&rings[me()], at, words, &bytes, &next);
            if (look == VS_LOOK_RECORD) {
                unsigned key = key_of(words, bytes);
                RL_ASSERT((key == KEYS - 1) == (at == FIRST + 1));
            }
            if (look == VS_LOOK_LOST)
                at = vs_ring_end(&rings[me()]);
            else if (look == VS_LOOK_RECORD || look == VS_LOOK_VOID)
                at = next;
        }
    }

    void after() {}
};

int main(int argc, char **argv)
{
    model::options options;
    if (!model::parse(argc, argv, &options))
        return 2;
    const vs_policy DROP = VS_POLICY_DROP, OVERWRITE = VS_POLICY_OVERWRITE;
    bool good = model::check<draining<DROP, 0, 2, 3, 4, false>, draining<DROP, 0, 1, 2, 1, false>>("drop", options);
    good = good && model::check<draining<OVERWRITE, 4, 2, 4, 4, false>, draining<OVERWRITE, 5, 1, 1, 1, false>>("overwrite", options);
    good = good && model::check<draining<DROP, 0, 2, 3, 4, true>, draining<DROP, 0, 1, 1, 1, true>>("a killed writer", options);
    good = good && model::check<looking<4, 2, 2, 3>, looking<4, 1, 1, 1>>("looking", options);
    return good ? 0 : 1;
}
