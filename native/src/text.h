/* What the renderer's files share: writing into room that is reserved already.
 *
 * Rendering reserves once a series and then writes with a bare pointer, so nothing on a line asks for memory. The
 * writers return where the next byte goes. Pure functions; any thread. */
#ifndef VAULTSCOPE_TEXT_H
#define VAULTSCOPE_TEXT_H

#include <string.h>

#include "vaultscope/render.h"

enum {
    VS_U64_CHARS = 20,   /* 18446744073709551615 */
    VS_DOUBLE_CHARS = 32 /* -1.7976931348623157e+308 is the longest but for whole numbers, and those have 21 */
};

extern const char vs_digit_pairs[201]; /* "00" to "99" */
extern const uint64_t vs_powers_of_ten[20];

static inline char *vs_write(char *at, const char *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}

static inline size_t vs_u64_digits(uint64_t value)
{
    unsigned bits = 64u - (unsigned)__builtin_clzll(value | 1);
    unsigned about = bits * 1233 >> 12; /* bits x log10(2): right or one too many */
    return about + (value >= vs_powers_of_ten[about] || about == 0 ? 1u : 0u);
}

/* At most VS_U64_CHARS. */
static inline char *vs_write_u64(char *at, uint64_t value)
{
    char *end = at + vs_u64_digits(value);
    char *left = end;
    while (value >= 100) { /* two digits a step */
        left -= 2;
        memcpy(left, vs_digit_pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10)
        memcpy(at, vs_digit_pairs + 2 * value, 2);
    else
        *at = (char)('0' + value);
    return end;
}

/* As vs_render_double; at most VS_DOUBLE_CHARS. */
char *vs_write_double(char *at, double value, bool canonical);

/* Appends; false and buffer->failed if there is no memory. */
bool vs_append(vs_buffer *buffer, const char *data, size_t size);

#define vs_append_literal(buffer, literal) vs_append((buffer), (literal), sizeof(literal) - 1)

/* Appends `text` with what is not legal in a name made underscores, a character (not a byte) each. */
bool vs_append_legal(vs_buffer *buffer, vs_text text);

/* True if the name needs no quotes: [a-zA-Z_:][a-zA-Z0-9_:]*. */
bool vs_name_is_legal(vs_text name);

/* Appends `text` with backslashes before \ and newline (as n), and before " if `quotes`. */
bool vs_append_escaped(vs_buffer *buffer, vs_text text, bool quotes);

#endif
