/* What <vaultscope/atomic.h> finds in place of the compiler's <stdatomic.h> when a model is built: each operation, with the
 * order it was given, becomes one of Relacy's. So it is the library's own atomic.h, headers and sources that are checked.
 *
 *   _Atomic(T) word   a word<T>: the shared words of cells, owners and stripes
 *   T *_Atomic link   stays a plain pointer (model.h makes `_Atomic` empty for internal.h); the operations find the
 *                     word that stands for it by its address
 *
 * A word made outside a run is thread-local state (vs_this_thread, my_stripe): one value for each thread, no events. */
#ifndef VS_RELACY_STDATOMIC_H
#define VS_RELACY_STDATOMIC_H

#include "relacy_door.h"

namespace model {

enum { THREADS_MAX = 4, LINKS_MAX = 64 };

/* Called before each write to a shared word: where a model lets a thread be killed. */
inline void (*before_write)();

template <typename T> class word {
public:
    word() : shared_(rl::is_ctx())
    {
        if (shared_)
            ::new (static_cast<void *>(storage_)) rl::atomic<T>(T());
        clear();
    }

    ~word()
    {
        if (shared_)
            shared().~atomic();
    }

    word(const word &) = delete;
    word &operator=(const word &) = delete;

    /* Thread-local words outlive a run: the model clears them when it begins. */
    void clear()
    {
        for (T &value : mine_)
            value = T();
    }

    T load(rl::memory_order order, rl::debug_info_param info) const
    {
        return shared_ ? shared().load(order, info) : mine_[rl::thread_index()];
    }

    void store(T value, rl::memory_order order, rl::debug_info_param info)
    {
        if (shared_) {
            writes();
            shared().store(value, order, info);
        } else {
            mine_[rl::thread_index()] = value;
        }
    }

    T fetch_add(T n, rl::memory_order order, rl::debug_info_param info)
    {
        if (!shared_)
            return mine_[rl::thread_index()]++; /* a hint; n is 1 */
        writes();
        return shared().fetch_add(n, order, info);
    }

    T fetch_or(T bits, rl::memory_order order, rl::debug_info_param info)
    {
        writes();
        return shared().fetch_or(bits, order, info);
    }

    T fetch_and(T bits, rl::memory_order order, rl::debug_info_param info)
    {
        writes();
        return shared().fetch_and(bits, order, info);
    }

    T exchange(T value, rl::memory_order order, rl::debug_info_param info)
    {
        writes();
        return shared().exchange(value, order, info);
    }

    template <bool WEAK>
    bool compare_exchange(T *expected, T desired, rl::memory_order order, rl::memory_order failed, rl::debug_info_param info)
    {
        writes();
        return shared().compare_exchange(rl::bool_t<WEAK>(), *expected, desired, order, failed, info);
    }

private:
    static void writes()
    {
        if (before_write != nullptr)
            before_write();
    }

    rl::atomic<T> &shared() const
    {
        return *reinterpret_cast<rl::atomic<T> *>(const_cast<char *>(storage_));
    }

    alignas(rl::atomic<T>) char storage_[sizeof(rl::atomic<T>)];
    T mine_[THREADS_MAX];
    bool shared_;
};

/* The words that stand for atomic pointers, found by the address of the pointer. They are made with the object that holds the
 * pointer (objects.h) or in the model's before(), so that their first value is seen by whoever is told of the object. */
struct links {
    struct entry {
        const void *at;
        word<void *> *to;
    };

    entry entries[LINKS_MAX];
    unsigned count;

    /* A run that failed leaves entries whose words are gone. */
    void forget() { count = 0; }

    word<void *> *find(const void *at)
    {
        for (unsigned i = 0; i < count; i++)
            if (entries[i].at == at)
                return entries[i].to;
        RL_ASSERT(count < LINKS_MAX);
        void *storage = (::malloc)(sizeof(word<void *>));
        word<void *> *made = ::new (storage) word<void *>; /* other threads may run here */
        entries[count++] = entry{at, made};
        return made;
    }

    /* Ends the words of pointers that lie in [from, to): all of them by default. */
    void drop(const void *from = nullptr, const void *to = reinterpret_cast<const void *>(UINTPTR_MAX))
    {
        for (unsigned i = 0; i < count;) {
            if (entries[i].at < from || entries[i].at >= to) {
                i++;
                continue;
            }
            entry gone = entries[i];
            entries[i] = entries[--count];
            gone.to->~word();
            (::free)(gone.to);
        }
    }
};

inline links pointers;

template <typename T> struct itself {
    typedef T type;
};

template <typename T> T load(const word<T> *at, rl::memory_order order, rl::debug_info_param info)
{
    return at->load(order, info);
}

template <typename T> T *load(T *const *at, rl::memory_order order, rl::debug_info_param info)
{
    return static_cast<T *>(pointers.find(at)->load(order, info));
}

template <typename T>
void store(word<T> *at, typename itself<T>::type value, rl::memory_order order, rl::debug_info_param info)
{
    at->store(value, order, info);
}

template <typename T>
void store(T **at, typename itself<T>::type *value, rl::memory_order order, rl::debug_info_param info)
{
    pointers.find(at)->store(value, order, info);
}

template <bool WEAK, typename T>
bool compare_exchange(word<T> *at, T *expected, typename itself<T>::type desired, rl::memory_order order, rl::memory_order failed,
              rl::debug_info_param info)
{
    return at->template compare_exchange<WEAK>(expected, desired, order, failed, info);
}

template <bool WEAK, typename T>
bool compare_exchange(T **at, T **expected, typename itself<T>::type *desired, rl::memory_order order, rl::memory_order failed,
              rl::debug_info_param info)
{
    void *seen = *expected;
    bool done = pointers.find(at)->template compare_exchange<WEAK>(&seen, desired, order, failed, info);
    *expected = static_cast<T *>(seen);
    return done;
}

} // namespace model

#define _Atomic(T) model::word<T>
#define ATOMIC_LLONG_LOCK_FREE 2
#define _Static_assert(condition, text) static_assert(true, "a word that Relacy watches is larger than eight bytes")

#undef memory_order_relaxed
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#define memory_order_relaxed rl::mo_relaxed
#define memory_order_acquire rl::mo_acquire
#define memory_order_release rl::mo_release
#define memory_order_acq_rel rl::mo_acq_rel

#define atomic_load_explicit(p, order) model::load((p), order, RL_INFO)
#define atomic_store_explicit(p, v, order) model::store((p), (v), order, RL_INFO)
#define atomic_fetch_add_explicit(p, n, order) ((p)->fetch_add((n), order, RL_INFO))
#define atomic_exchange_explicit(p, v, order) ((p)->exchange((v), order, RL_INFO))
#define atomic_fetch_or_explicit(p, bits, order) ((p)->fetch_or((bits), order, RL_INFO))
#define atomic_fetch_and_explicit(p, bits, order) ((p)->fetch_and((bits), order, RL_INFO))
#define atomic_compare_exchange_strong_explicit(p, expected, desired, order, failed) \
    (model::compare_exchange<false>((p), (expected), (desired), order, failed, RL_INFO))
#define atomic_compare_exchange_weak_explicit(p, expected, desired, order, failed) \
    (model::compare_exchange<true>((p), (expected), (desired), order, failed, RL_INFO))

#endif
