/* Whether a text is one JSON value, by the letter of RFC 8259. No recursion: the open containers are bits of a small array. */
#include "json.h"

/* What is left to be read. The functions below step over something that must be there; false: it is not. */
typedef struct scan {
    const char *at;
    const char *end;
    bool fits;
} scan;

static inline bool next_is(scan *s, char c)
{
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static inline void skip_space(scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
        s->at++;
}

static inline bool is_digit(const scan *s)
{
    return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

static bool word(scan *s, const char *expected, size_t size)
{
    if ((size_t)(s->end - s->at) < size || memcmp(s->at, expected, size) != 0)
        return false;
    s->at += size;
    return true;
}

/* A number's first digits, and which power of ten the first of them counts. */
typedef struct magnitude {
    uint64_t digits;
    int count; /* of digits; 17 are kept */
    int64_t power;
} magnitude;

static void read_digits(scan *s, magnitude *m, bool is_fraction)
{
    for (; is_digit(s); s->at++) {
        unsigned digit = (unsigned)(*s->at - '0');
        bool counts = m->count > 0 || digit != 0;
        if (is_fraction ? !counts : counts)
            m->power += is_fraction ? -1 : 1;
        if (counts && m->count < 17) {
            m->digits = m->digits * 10 + digit;
            m->count++;
        }
    }
}

static bool fits_double(magnitude m)
{
    if (m.power != 308 || m.count == 0)
        return m.count == 0 || m.power < 308;
    for (; m.count < 17; m.count++)
        m.digits *= 10;
    return m.digits <= UINT64_C(17976931348623157); /* DBL_MAX is 1.7976931348623157e308 */
}

static bool number(scan *s)
{
    enum { EXPONENT_MAX = 1 << 20 };
    magnitude m = {.power = -1};
    next_is(s, '-');
    if (!is_digit(s))
        return false;
    if (!next_is(s, '0'))
        read_digits(s, &m, false);
    if (next_is(s, '.')) {
        if (!is_digit(s))
            return false;
        read_digits(s, &m, true);
    }
    if (next_is(s, 'e') || next_is(s, 'E')) {
        bool negative = next_is(s, '-');
        if (!negative)
            next_is(s, '+');
        if (!is_digit(s))
            return false;
        int64_t exponent = 0;
        for (; is_digit(s); s->at++)
            if (exponent < EXPONENT_MAX)
                exponent = exponent * 10 + (*s->at - '0');
        m.power += negative ? -exponent : exponent;
    }
    s->fits &= fits_double(m);
    return true;
}

static bool four_hex(scan *s, unsigned *value)
{
    if (s->end - s->at < 4)
        return false;
    *value = 0;
    for (int i = 0; i < 4; i++) {
        char c = *s->at++;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 16;
        if (digit == 16)
            return false;
        *value = *value << 4 | digit;
    }
    return true;
}

/* What follows a backslash. */
static bool escape(scan *s)
{
    if (s->at == s->end)
        return false;
    char c = *s->at++;
    if (c != 'u')
        return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
    unsigned unit;
    if (!four_hex(s, &unit))
        return false;
    if (unit < 0xd800 || unit > 0xdfff)
        return true;
    /* A surrogate alone is no character: RFC 8259 warns of it, and strict parsers refuse it. */
    return unit < 0xdc00 && next_is(s, '\\') && next_is(s, 'u') && four_hex(s, &unit) && unit >= 0xdc00 && unit <= 0xdfff;
}

static bool string(scan *s)
{
    if (!next_is(s, '"'))
        return false;
    while (s->at < s->end) {
        unsigned char c = (unsigned char)*s->at;
        bool valid = c >= ' ';
        if (c >= 0x80) {
            s->at += vs_utf8_step(s->at, (size_t)(s->end - s->at), &valid);
        } else {
            s->at++;
            if (c == '"')
                return true;
            if (c == '\\')
                valid = escape(s);
        }
        if (!valid)
            return false;
    }
    return false;
}

/* The name of an object's member, and its colon. */
static bool name(scan *s)
{
    skip_space(s);
    if (!string(s))
        return false;
    skip_space(s);
    return next_is(s, ':');
}

static bool scalar(scan *s)
{
    switch (*s->at) {
    case '"':
        return string(s);
    case 't':
        return word(s, "true", 4);
    case 'f':
        return word(s, "false", 5);
    case 'n':
        return word(s, "null", 4);
    default:
        return number(s);
    }
}

bool vs_json_scan(vs_text text, bool *fits)
{
    uint64_t objects[VS_JSON_DEPTH_MAX / 64] = {0}; /* a bit for each open container; 0: an array */
    size_t depth = 0;
    scan s = {.at = text.data, .end = text.data + text.size, .fits = true};
    *fits = false;
    for (;;) { /* a value is due */
        skip_space(&s);
        if (s.at == s.end)
            return false;
        bool is_object = *s.at == '{';
        if (is_object || *s.at == '[') {
            if (depth == VS_JSON_DEPTH_MAX)
                return false;
            s.at++;
            uint64_t bit = UINT64_C(1) << depth % 64;
            objects[depth / 64] = (objects[depth / 64] & ~bit) | (is_object ? bit : 0);
            depth++;
            skip_space(&s);
            if (s.at == s.end || *s.at != (is_object ? '}' : ']')) {
                if (is_object && !name(&s))
                    return false;
                continue;
            }
        } else if (!scalar(&s)) {
            return false;
        }
        for (;;) { /* a value has ended, or its container is about to */
            skip_space(&s);
            if (depth == 0) {
                *fits = s.fits;
                return s.at == s.end;
            }
            is_object = (objects[(depth - 1) / 64] >> (depth - 1) % 64 & 1) != 0;
            if (next_is(&s, ',')) {
                if (is_object && !name(&s))
                    return false;
                break;
            }
            if (!next_is(&s, is_object ? '}' : ']'))
                return false;
            depth--;
        }
    }
}

bool vs_json_is_valid(vs_text text)
{
    bool fits;
    return text.size != 0 && vs_json_scan(text, &fits);
}
