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
        for (unsigned level = 0; level < VS_LEVELS; level++) {
            unsigned done = this->of_level(this->all_done(), level);
            unsigned missed[2] = {this->missed_by(of[0], level), this->missed_by(of[1], level)}, most = missed[missed[1] > missed[0]];
            for (unsigned which = 0; which < 2; which++)
                RL_ASSERT(this->of_level(taken[which], level) + missed[which] == done);
            RL_ASSERT(this->overwritten(level) >= most && this->overwritten(level) <= missed[0] + missed[1]);
        }
        ::free(cursors[0]);
        ::free(cursors[1]);
        as = -1;
    }
};

/* After BEFORE records a process that drains is killed: in the run, at a write that the schedule chooses, or before it, with the tail
 * pinned; or it closes its cursor. Another one takes over and drains TAKES batches, while a third one overwrites RECORDS, and a fourth one
 * reaps the dead. What is formatted is whole (key_of), and nothing is taken twice but what the dead one had not acknowledged. */
enum end { KILLED, PINNED, CLOSED };
template <end HOW, unsigned BEFORE, unsigned RECORDS, unsigned TAKES>
struct taking_over : ring_machine<taking_over<HOW, BEFORE, RECORDS, TAKES>, 4> {
    vs_cursor *first, *second;
    unsigned taken, others; /* the first one's: that it acknowledged, or may have */

    void before()
    {
        this->begin();
        first = second = nullptr;
        taken = others = 0;
        this->put_before(BEFORE);
        as = 3;
        if (HOW == PINNED) {
            uint64_t end;
            first = this->open_cursor("a");
            RL_ASSERT(vs_cursor_prepare(first, 1, &end));
            dead[3].store(1, rl::mo_release, RL_INFO);
        }
        as = -1;
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
            this->put_all(BEFORE, RECORDS, VS_POLICY_OVERWRITE);
        } else if (index == 1) {
            drain();
        } else if (index == 2) {
            if (dead[3].load(rl::mo_acquire, RL_INFO) != 0)
                vs_ring_reap(&rings[2], 4);
        } else if (HOW == CLOSED) {
            vs_cursor *mine = this->open_cursor("a");
            if (mine != nullptr) {
                others = this->take_one(mine, 1);
                vs_cursor_close(mine, false);
            }
        } else if (HOW == KILLED) {
            do_and_die(40, [this] {
                first = this->open_cursor("a");
                if (first != nullptr) /* the other one was quicker */
                    this->take_one(first, 1);
            });
        }
    }

    void after()
    {
        as = 1; /* the second process, which goes on */
        for (unsigned i = 0; i < 4; i++)
            drain();
        RL_ASSERT((taken & others) == 0);
        if (HOW != CLOSED)
            others = formatted[3];
        for (unsigned level = 0; level < VS_LEVELS; level++) {
            unsigned done = this->of_level(this->all_done(), level), missed = this->missed_by(second->words, level);
            unsigned mine = this->of_level(taken, level);
            RL_ASSERT(mine + missed <= done);
            /* Or it was overwritten before there was a cursor. What the dead one had formatted it may have acknowledged, too. */
            RL_ASSERT(mine + missed + this->overwritten(level) + this->of_level(others, level) >= done);
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
    bool good = model::check<two_cursors<VS_POLICY_OVERWRITE, 4, 6, 3>>("two cursors", options);
    good = good && model::check<two_cursors<VS_POLICY_DROP, 3, 6, 3>>("one that lags", options);
    good = good && model::check<taking_over<KILLED, 2, 6, 3>>("taking over", options);
    good = good && model::check<taking_over<PINNED, 5, 4, 2>>("pinned by the dead", options);
    good = good && model::check<taking_over<CLOSED, 3, 3, 3>>("handing over", options);
    return good ? 0 : 1;
}
