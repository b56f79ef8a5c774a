/* Version, statuses and the clock: small facts that every caller may ask for. */
#define _POSIX_C_SOURCE 199309L
#include "vaultscope/base.h"

#include <time.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *vs_status_text(vs_status status)
{
    switch (status) {
    case VS_OK: return "ok";
    case VS_E_NO_MEMORY: return "out of memory";
    case VS_E_FULL: return "a declared limit is reached";
    case VS_E_INVALID: return "invalid argument";
    case VS_E_CONFLICT: return "declared already with another shape";
    case VS_E_NOT_FOUND: return "not found";
    case VS_E_CORRUPT: return "corrupt data";
    case VS_E_SYSTEM: return "the system refused";
    case VS_E_FOREIGN: return "not an arena of this version";
    case VS_E_BUSY: return "another process holds the lock";
    case VS_E_READ_ONLY: return "opened to be read";
    case VS_E_ABI: return "built against headers of another version";
    }
    return "unknown status";
}

const char *vs_version(void)
{
    return TEXT(VS_VERSION_MAJOR) "." TEXT(VS_VERSION_MINOR) "." TEXT(VS_VERSION_PATCH);
}

uint32_t vs_abi(void) { return VS_ABI; }

int64_t vs_clock_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
