/* Names as Prometheus wants them: a unit in the name, in base units, and characters that it takes.
 *
 * People declare `cas.put.duration` in ms and read cas_put_duration_seconds on every dashboard: the name says what the
 * number is, and no two exporters of one quantity differ by a factor of a thousand. */
#include "text.h"

typedef struct unit_word {
    const char *word;
    vs_unit unit;
} unit_word;

#define MINUTE (1.0 / 60.0)
#define HOUR (1.0 / 3600.0)
#define DAY (1.0 / 86400.0)

static const unit_word words[] = {
    {"ns", {"seconds", 1e9}},      {"nanoseconds", {"seconds", 1e9}},
    {"us", {"seconds", 1e6}},      {"\xc2\xb5s", {"seconds", 1e6}}, /* micro sign */
    {"\xce\xbcs", {"seconds", 1e6}}, /* Greek mu */
    {"microseconds", {"seconds", 1e6}},
    {"ms", {"seconds", 1e3}},      {"milliseconds", {"seconds", 1e3}},
    {"s", {"seconds", 1.0}},       {"second", {"seconds", 1.0}},    {"seconds", {"seconds", 1.0}},
    {"m", {"seconds", MINUTE}},    {"min", {"seconds", MINUTE}},    {"minute", {"seconds", MINUTE}},
    {"minutes", {"seconds", MINUTE}},
    {"h", {"seconds", HOUR}},      {"hour", {"seconds", HOUR}},     {"hours", {"seconds", HOUR}},
    {"d", {"seconds", DAY}},       {"day", {"seconds", DAY}},       {"days", {"seconds", DAY}},
    {"B", {"bytes", 1.0}},         {"byte", {"bytes", 1.0}},        {"bytes", {"bytes", 1.0}},
    {"kB", {"bytes", 1e-3}},       {"MB", {"bytes", 1e-6}},         {"GB", {"bytes", 1e-9}},
    {"TB", {"bytes", 1e-12}},
    {"KiB", {"bytes", 0x1p-10}},   {"MiB", {"bytes", 0x1p-20}},     {"GiB", {"bytes", 0x1p-30}},
    {"TiB", {"bytes", 0x1p-40}},
    {"percent", {"ratio", 100.0}}, {"%", {"ratio", 100.0}},         {"ratio", {"ratio", 1.0}},
};

enum { WORD_COUNT = sizeof words / sizeof *words };

static bool equal(vs_text text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

vs_unit vs_unit_find(vs_text unit)
{
    if (unit.size != 0)
        for (size_t i = 0; i < WORD_COUNT; i++)
            if (equal(unit, words[i].word))
                return words[i].unit;
    return (vs_unit){NULL, 1.0};
}

/* True if `name` is `word`, or ends in it after a dot or an underscore. */
static bool ends_in(vs_text name, vs_text word)
{
    if (word.size == 0 || name.size < word.size)
        return false;
    size_t rest = name.size - word.size;
    if (memcmp(name.data + rest, word.data, word.size) != 0)
        return false;
    return rest == 0 || name.data[rest - 1] == '.' || name.data[rest - 1] == '_';
}

/* Bytes of the name's last word if that means the declared unit (cas.put.ms, cas.put.milliseconds), else 0. */
static size_t unit_at_end(vs_text name, vs_unit unit)
{
    for (size_t i = 0; i < WORD_COUNT; i++) {
        vs_text word = {words[i].word, strlen(words[i].word)};
        bool same = words[i].unit.per_base == unit.per_base && strcmp(words[i].unit.base, unit.base) == 0;
        if (same && ends_in(name, word))
            return word.size;
    }
    return 0;
}

static bool is_legal(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' || (c >= '0' && c <= '9' && !first);
}

bool vs_name_is_legal(vs_text name)
{
    for (size_t i = 0; i < name.size; i++)
        if (!is_legal(name.data[i], i == 0))
            return false;
    return name.size != 0;
}

static bool append_legal(vs_buffer *out, vs_text text, bool starts)
{
    if (!vs_buffer_reserve(out, text.size))
        return false;
    char *at = out->data + out->size;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (is_legal(c, starts && i == 0))
            *at++ = c;
        else if (((unsigned char)c & 0xC0) != 0x80) /* the later bytes of a UTF-8 character get none of their own */
            *at++ = '_';
    }
    out->size = (size_t)(at - out->data);
    return true;
}

bool vs_append_legal(vs_buffer *out, vs_text text)
{
    return append_legal(out, text, false);
}

bool vs_render_family_name(vs_kind kind, vs_text name, vs_text unit, vs_name_form form, vs_buffer *out)
{
    /* A counter's samples get `_total` anyhow; `_count` at the end of a gauge would be taken for a histogram's. */
    static const vs_text total = {"total", 5}, count = {"count", 5};
    vs_text idle = kind == VS_COUNTER ? total : count;
    if ((kind == VS_COUNTER || kind == VS_GAUGE) && name.size > idle.size + 1 && ends_in(name, idle))
        name.size -= idle.size + 1;
    vs_unit found = vs_unit_find(unit);
    vs_text base = found.base != NULL ? (vs_text){found.base, strlen(found.base)} : unit;
    bool separate = false;
    if (base.size == 0 || ends_in(name, base)) {
        base.size = 0;
    } else {
        size_t declared = found.base != NULL ? unit_at_end(name, found) : 0;
        name.size -= declared;
        separate = declared == 0;
    }
    if (form == VS_NAMES_UTF8)
        return vs_append(out, name.data, name.size) && vs_append(out, "_", separate) &&
               vs_append(out, base.data, base.size);
    return append_legal(out, name, true) && vs_append(out, "_", separate) && append_legal(out, base, name.size == 0);
}
