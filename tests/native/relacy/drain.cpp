/* Several who drain the log ring: cursors of one process, and one process that takes over from another that is killed, while a writer
 * overwrites and a third process reaps the dead one (ring.c and drain.c, K1 to K7, L5 to L7). The real ring.c and drain.c. */
#include "ring_machine.h"

/* One process writes RECORDS, after BEFORE. Two cursors of another one take TAKES batches each, in threads of their own. Each record that was put
 * has been taken by each cursor, or is charged to it, and never both; it is counted as overwritten once, if it is charged to any. */
template <vs_policy POLICY, unsigned BEFORE, unsigned RECORDS, unsigned TAKES>
struct two_cursors : ring_machine<two_cursors<POLICY, BEFORE, RECORDS, TAKES>, 3> {
    vs_cursor *cursors[2];
    vs_cursor_words *of[2];
    unsigned taken[2];

    void take(unsigned which, unsigned batches)
    {
        for (unsigned i = 0; i < batches; i++) {
            unsigned keys = this->take_one(cursors[which], 1 + which);
            RL_ASSERT((taken[which] & keys) == 0);
            taken[which] |= keys;
        }
    }

    void before()
    {
        this->begin();
        one_lock = true; /* two threads of one process */
        journals[2].ring.file = &files[1];
        journals[2].ring.drain = &files[1].drain;
        as = 1;
        for (unsigned i = 0; i < 2; i++) {
            taken[i] = 0;
            cursors[i] = this->open_cursor(i == 0 ? "a" : "b");
            of[i] = cursors[i]->words;
        }
        this->put_before(BEFORE);
    }

    void thread(unsigned index)
    {
        if (index == 0)
            this->put_all(BEFORE, RECORDS, POLICY);
        else
            take(index - 1, TAKES);
    }

    void after()
    {
        as = 1;
        for (unsigned which = 0; which < 2; which++)
            for (unsigned before = ~0u; before != taken[which];) {
                before = taken[which];
                take(which, 3);
            }
        for (unsigned key = 0; key < BEFORE + RECORDS; key++) {
            bool is_done = (this->done[0] & 1u << key) != 0;
            unsigned missed[2] = {this->missed_by(of[0], key), this->missed_by(of[1], key)};
            for (unsigned which = 0; which < 2; which++)
                RL_ASSERT(((taken[which] >> key & 1) != 0) + missed[which] == is_done);
            RL_ASSERT(this->count_of(key) == (missed[0] + missed[1] != 0));
        }
        ::free(cursors[0]);
        ::free(cursors[1]);
        as = -1;
    }
};

/* A process that drains is killed somewhere on its way. Another one takes over and drains TAKES batches, while a third one
 * overwrites RECORDS, and a fourth one reaps the dead. What is formatted is whole (key_of), and nothing is taken twice but what the
 * dead one had not acknowledged. */
template <unsigned RECORDS, unsigned TAKES> struct taking_over : ring_machine<taking_over<RECORDS, TAKES>, 4> {
    vs_cursor *first, *second;
    unsigned taken;

    void before()
    {
        this->begin();
        first = second = nullptr;
        taken = 0;
        for (unsigned key = 0; key < 2; key++)
            this->done[0] |= put(key, VS_POLICY_OVERWRITE) == VS_PUT_DONE ? 1u << key : 0;
    }

    void drain()
    {
        if (second == nullptr)
            second = this->open_cursor("a");
        if (second != nullptr)
            for (unsigned i = 0; i < TAKES; i++) {
                unsigned keys = this->take_one(second, 2);
                RL_ASSERT((taken & keys) == 0);
                taken |= keys;
            }
    }

    void thread(unsigned index)
    {
        if (index == 0) {
            do_and_die(40, [this] {
                first = this->open_cursor("a");
                if (first != nullptr) /* the other one was quicker */
                    this->take_one(first, 1);
            });
        } else if (index == 1) {
            drain();
        } else if (index == 2) {
            this->put_all(2, RECORDS, VS_POLICY_OVERWRITE);
        } else if (dead[0].load(rl::mo_acquire, RL_INFO) != 0) {
            vs_ring_reap(&rings[3], 1);
        }
    }

    void after()
    {
        as = 1; /* the second process, which goes on */
        for (unsigned i = 0; i < 4; i++)
            drain();
        for (unsigned key = 0; key < 2 + RECORDS; key++) {
            bool is_taken = (taken & 1u << key) != 0, is_missed = this->missed_by(second->words, key) != 0;
            RL_ASSERT(!(is_taken && is_missed));
            /* Or it was overwritten before there was a cursor. What the dead one had formatted it may have acknowledged, too. */
            RL_ASSERT(is_taken || is_missed || this->count_of(key) != 0 || ((this->all_done() & ~formatted[0]) & 1u << key) == 0);
        }
        RL_ASSERT((vs_load_relaxed(&this->words.tail) & VS_TAIL_PINNED) == 0);
        RL_ASSERT(vs_load_relaxed(&second->words->acked) == vs_ring_end(&rings[1]));
        as = -1;
        ::free(first);
        ::free(second);
    }
};

int main(int argc, char **argv)
{
    model::options options;
    if (!model::parse(argc, argv, &options))
        return 2;
    bool good = model::check<two_cursors<VS_POLICY_OVERWRITE, 0, 6, 3>>("two cursors", options);
    good = good && model::check<two_cursors<VS_POLICY_DROP, 3, 3, 3>>("one that lags", options);
    good = good && model::check<taking_over<4, 3>>("taking over", options);
    return good ? 0 : 1;
}
