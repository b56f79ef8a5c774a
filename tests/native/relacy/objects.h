/* The library's memory, as a model sees it: objects that C gets from calloc are constructed, so that the words and the fields in
 * them are watched, and destroyed when they are freed: what is still read afterwards, or never freed, fails the run.
 *
 * Include it after model.h and before the sources. A 64-bit field of internal.h becomes a field<T>: plain memory that Relacy
 * watches for data races. The atomic pointers of internal.h are plain pointers to C++; see stdatomic.h. */
#ifndef VS_RELACY_OBJECTS_H
#define VS_RELACY_OBJECTS_H

#include "model.h"

#include <type_traits>

namespace model {

template <typename T> class field {
public:
    field() : value_(T()) {}
    operator T() const { return value_(RL_INFO); }
    field &operator=(const field &other) { return *this = (T)other; }
    field &operator=(T value)
    {
        value_(RL_INFO) = value;
        return *this;
    }
    field &operator+=(T n) { return *this = (T)*this + n; }
    field &operator-=(T n) { return *this = (T)*this - n; }
    field &operator++() { return *this += 1; }
    void operator++(int) { *this += 1; }
    void operator--(int) { *this -= 1; }

private:
    rl::var<T> value_;
};

/* Called for an object that was just made: models give it links for its atomic pointers. */
template <typename T> void made(T *) {}

/* What malloc and calloc return: it learns its type from the pointer that it is stored in. */
class memory {
public:
    memory(size_t bytes, bool zeroed) : bytes_(bytes), zeroed_(zeroed), null_(false) {}
    memory(decltype(NULL)) : bytes_(0), zeroed_(false), null_(true) {} /* for `condition ? malloc(n) : NULL` */

    operator void *() const { return null_ ? nullptr : raw(bytes_); }

    template <typename T> operator T *() const
    {
        if (null_)
            return nullptr;
        if (std::is_trivially_default_constructible<T>::value)
            return static_cast<T *>(raw(bytes_));
        size_t n = bytes_ / sizeof(T); /* one, where a flexible array follows */
        char *block = static_cast<char *>(raw(HEADER + bytes_));
        *reinterpret_cast<size_t *>(block) = n;
        T *objects = reinterpret_cast<T *>(block + HEADER);
        for (size_t i = 0; i < n; i++)
            made(::new (static_cast<void *>(objects + i)) T);
        return objects;
    }

    template <typename T> static void release(T *objects)
    {
        if (objects == nullptr)
            return;
        if (std::is_trivially_default_constructible<T>::value) {
            (::free)(objects);
            return;
        }
        char *block = reinterpret_cast<char *>(objects) - HEADER;
        size_t n = *reinterpret_cast<size_t *>(block);
        pointers.drop(objects, objects + n);
        for (size_t i = 0; i < n; i++)
            objects[i].~T();
        (::free)(block);
    }

    static void release(void *bytes) { (::free)(bytes); }

private:
    enum { HEADER = 64 };

    void *raw(size_t bytes) const { return zeroed_ ? (::calloc)(1, bytes) : (::malloc)(bytes); }

    size_t bytes_;
    bool zeroed_, null_;
};

} // namespace model

#define malloc(bytes) model::memory((bytes), false)
#define calloc(n, bytes) model::memory((n) * (bytes), true)
#define free(pointer) model::memory::release(pointer)

#include "vaultscope.h"

#define VS_STRIPES_MAX 2
#undef _Atomic
#define _Atomic
/* A prototype that returns a uint64_t must not be bent; of one that takes one, this is an overload that nobody defines. */
#define vs_file_refused model_unused_refused
#define uint64_t model::field<uint64_t>
#include "internal.h"
#undef uint64_t
#undef vs_file_refused
uint64_t vs_file_refused(const vs_arena *arena);
vs_status vs_registry_enter(vs_registry *registry, uint64_t *sequence);
vs_status vs_file_cells_alloc(vs_arena *arena, size_t bytes, uint64_t *offset);
void vs_sync_state(vs_registry *registry, vs_word *state, uint64_t value);

#endif
