/* What every other header needs: version, limits, statuses, and the compiler's few odd words. */
#ifndef VAULTSCOPE_BASE_H
#define VAULTSCOPE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VS_VERSION_MAJOR 0
#define VS_VERSION_MINOR 3
#define VS_VERSION_PATCH 0

/* The binary interface: another number whenever a struct, an inline function or the meaning of an argument changes, so that a
 * program and a library that do not fit part at the first call (vs_registry_open) and not in the middle of a cell. Functions and
 * constants are added without it. */
#define VS_ABI 3

/* The limits. Each one is checked where it is cold, never where it is hot. */
enum {
    VS_ARENAS_MAX = 32,        /* mapped regions in one process; the last slot is the one never attached */
    VS_NAME_BYTES_MAX = 255,   /* a metric's, a unit's or a label's name */
    VS_HELP_BYTES_MAX = 4095,
    VS_LABELS_MAX = 32,        /* label names a metric */
    VS_LABEL_VALUE_BYTES_MAX = 1024, /* longer values are cut at a character and counted as `truncated` */
    VS_BOUNDS_MAX = 512,       /* finite upper bounds of a fixed-bucket histogram */
    VS_QUANTILES_MAX = 32,
    VS_CACHE_LINE = 64
};

typedef enum vs_status {
    VS_OK = 0,
    VS_E_NO_MEMORY = 1,   /* the system refused memory */
    VS_E_FULL = 2,        /* an arena or a table has reached its declared limit */
    VS_E_INVALID = 3,     /* an argument breaks a documented rule */
    VS_E_CONFLICT = 4,    /* the name is declared already, with another shape */
    VS_E_NOT_FOUND = 5,
    VS_E_CORRUPT = 6,     /* bytes from outside do not decode */
    VS_E_SYSTEM = 7,      /* the system refused a file: vs_arena_reason says which and why */
    VS_E_FOREIGN = 8,     /* a file that is no arena, or one of another version or machine */
    VS_E_BUSY = 9,        /* another process holds the arena's lock and does not let go */
    VS_E_READ_ONLY = 10,  /* the arena was opened to be read */
    VS_E_ABI = 11         /* the program was built against headers of another binary interface than the library's */
} vs_status;

/* A run of bytes that need not end in NUL. Borrowed: the callee copies what it keeps. */
typedef struct vs_text {
    const char *data;
    size_t size;
} vs_text;

#if defined(__GNUC__)
#define VS_LIKELY(x) __builtin_expect(!!(x), 1)
#define VS_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define VS_API __attribute__((visibility("default")))
#define VS_COLD __attribute__((cold, noinline))
#else
#error "vaultscope needs GCC or Clang"
#endif

/* A short English reason for a status. Any thread; never fails; the string lives for ever. */
VS_API const char *vs_status_text(vs_status status);

/* "MAJOR.MINOR.PATCH" of the library that is loaded (VS_VERSION_* is that of the header). */
VS_API const char *vs_version(void);

/* VS_ABI of the library that is loaded. */
VS_API uint32_t vs_abi(void);

/* Monotonic time in nanoseconds, for durations. Any thread, async-signal-safe. */
VS_API int64_t vs_clock_monotonic_ns(void);

#endif
