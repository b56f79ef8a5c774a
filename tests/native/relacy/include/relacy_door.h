/* Relacy, made fit for real sources: system headers come first, since it redefines names that they declare, and what it
 * does to the language (`new`, `free`, `assert`, ...) is undone. */
#ifndef VS_RELACY_DOOR_H
#define VS_RELACY_DOOR_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <iostream>
#include <new>
#include <sstream>

#include <relacy/base.hpp>
/* How many values of a word a load may choose from. Relacy's own 3 hides a value that is more than two stores old; its
 * index arithmetic wants a power of two. */
#define atomic_history_size 8
#include <relacy/relacy.hpp>
#undef atomic_history_size

#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef pthread_mutex_t
#undef pthread_mutex_lock
#undef pthread_mutex_unlock
#undef errno
#define errno (*__errno_location())

#endif
