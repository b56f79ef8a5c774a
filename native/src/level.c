/* Levels by the names of loggers. Few names, asked for once each: a list will do. Under the cold lock. */
#include "vaultscope/level.h"

#include <stdlib.h>
#include <strings.h>

#include "internal.h"

typedef struct name {
    struct name *next;
    vs_threshold threshold;
    bool is_set;
    vs_level set;
    size_t size;
    char text[];
} name;

static name *names;
static size_t unread;
static bool environment_is_read;
static vs_level root = VS_INFO;

static const char *const NAMES[VS_LEVELS + 1] = {"trace", "debug", "info", "warn", "error", "fatal", "off"};

const char *vs_level_name(vs_level level)
{
    return level <= VS_OFF ? NAMES[level] : "unknown";
}

static bool says(vs_text text, const char *word)
{
    return strlen(word) == text.size && strncasecmp(text.data, word, text.size) == 0;
}

bool vs_level_parse(vs_text text, vs_level *level)
{
    for (uint32_t i = 0; i <= VS_OFF; i++) {
        if (says(text, NAMES[i])) {
            *level = (vs_level)i;
            return true;
        }
    }
    bool is_warning = says(text, "warning"), is_critical = says(text, "critical");
    if (is_warning || is_critical)
        *level = is_warning ? VS_WARN : VS_FATAL;
    return is_warning || is_critical;
}

/* Whether `above` is `below`, or what is before one of its dots. */
static bool is_above(const name *above, const name *below)
{
    return above->size <= below->size && memcmp(above->text, below->text, above->size) == 0 &&
           (above->size == below->size || below->text[above->size] == '.');
}

static void settle(name *one)
{
    vs_level level = root;
    size_t nearest = 0;
    for (const name *other = names; other != NULL; other = other->next) {
        if (other->is_set && other->size >= nearest && is_above(other, one)) {
            level = other->set;
            nearest = other->size;
        }
    }
    vs_store_relaxed(&one->threshold, (uint32_t)level); /* relaxed: a call sees the new level when it does */
}

static void settle_all(void)
{
    for (name *one = names; one != NULL; one = one->next)
        settle(one);
}

static name *find(vs_text text)
{
    for (name *one = names; one != NULL; one = one->next)
        if (one->size == text.size && memcmp(one->text, text.data, text.size) == 0)
            return one;
    name *one = calloc(1, sizeof *one + text.size + 1);
    if (one == NULL)
        return NULL;
    memcpy(one->text, text.data, text.size);
    one->size = text.size;
    one->next = names;
    names = one;
    settle(one);
    return one;
}

static vs_status set(vs_text text, vs_level level)
{
    if (level > VS_OFF)
        return VS_E_INVALID;
    if (text.size == 0) {
        root = level;
    } else {
        name *one = find(text);
        if (one == NULL)
            return VS_E_NO_MEMORY;
        one->is_set = true;
        one->set = level;
    }
    settle_all();
    return VS_OK;
}

static vs_text trim(const char *from, const char *to)
{
    while (from != to && *from == ' ')
        from++;
    while (from != to && to[-1] == ' ')
        to--;
    return (vs_text){from, (size_t)(to - from)};
}

/* One part of the settings: `level` or `name=level`. */
static bool configure_part(vs_text part)
{
    const char *end = part.data + part.size, *equals = memchr(part.data, '=', part.size);
    vs_text text = equals != NULL ? trim(part.data, equals) : (vs_text){"", 0};
    vs_level level;
    return vs_level_parse(equals != NULL ? trim(equals + 1, end) : part, &level) && set(text, level) == VS_OK;
}

static size_t configure(vs_text settings)
{
    size_t bad = 0;
    const char *at = settings.data, *end = at + settings.size;
    while (at != end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        vs_text part = trim(at, stop);
        bad += part.size != 0 && !configure_part(part);
        at = comma != NULL ? comma + 1 : end;
    }
    return bad;
}

static void read_environment(void)
{
    const char *text = environment_is_read ? NULL : getenv("VAULTSCOPE_LOG_LEVEL");
    environment_is_read = true;
    if (text != NULL)
        unread = configure((vs_text){text, strlen(text)});
}

const vs_threshold *vs_level_threshold(vs_text text)
{
    vs_cold_lock();
    read_environment();
    const name *one = find(text);
    vs_cold_unlock();
    return one != NULL ? &one->threshold : NULL;
}

vs_status vs_level_set(vs_text text, vs_level level)
{
    vs_cold_lock();
    read_environment(); /* which is older than this */
    vs_status status = set(text, level);
    vs_cold_unlock();
    return status;
}

void vs_level_unset(vs_text text)
{
    vs_cold_lock();
    read_environment();
    if (text.size == 0)
        root = VS_INFO;
    name *one = find(text);
    if (one != NULL)
        one->is_set = false;
    settle_all();
    vs_cold_unlock();
}

size_t vs_level_configure(vs_text settings)
{
    vs_cold_lock();
    read_environment();
    size_t bad = configure(settings);
    vs_cold_unlock();
    return bad;
}

size_t vs_level_unread(void)
{
    vs_cold_lock();
    read_environment();
    size_t bad = unread;
    vs_cold_unlock();
    return bad;
}
