/* Log levels, and who is set to which: by the name of a logger, for the whole process, shared by C and Python. */
#ifndef VAULTSCOPE_LEVEL_H
#define VAULTSCOPE_LEVEL_H

#include "atomic.h"
#include "base.h"

typedef enum vs_level {
    VS_TRACE = 0,
    VS_DEBUG = 1,
    VS_INFO = 2,
    VS_WARN = 3,
    VS_ERROR = 4,
    VS_FATAL = 5,
    VS_LEVELS = 6,
    VS_OFF = 6 /* as a threshold: nothing passes */
} vs_level;

/* The threshold of one name: below it nothing is logged. It lives as long as the process and is never at another address. */
typedef vs_word32 vs_threshold;

/* The threshold of a logger's name. `cas.gc` follows `cas`, and that the root (the empty name), until it is set itself. The
 * first call reads VAULTSCOPE_LOG_LEVEL: `info`, or `warn,cas=debug,cas.gc=trace`; words that are none are passed over and
 * counted by vs_level_unread. Takes the cold lock. NULL: no memory. */
VS_API const vs_threshold *vs_level_threshold(vs_text name);

/* Sets the level of a name and of the names below it that are not set themselves. VS_E_INVALID: no such level. VS_E_NO_MEMORY. */
VS_API vs_status vs_level_set(vs_text name, vs_level level);

/* Undoes vs_level_set: the name follows the one above it again. The root goes back to info. */
VS_API void vs_level_unset(vs_text name);

/* As vs_level_set for each part of `settings`, written as the environment has it. Returns how many parts were no setting; the
 * others are set. */
VS_API size_t vs_level_configure(vs_text settings);
VS_API size_t vs_level_unread(void);

/* "trace" to "fatal", "off". */
VS_API const char *vs_level_name(vs_level level);
/* By name in either case, "warning" and "critical" too. False: there is none. */
VS_API bool vs_level_parse(vs_text name, vs_level *level);

#endif
