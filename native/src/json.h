/* JSON's text: what the log's encoder and its formatter share. Pure functions; any thread; no memory is asked for. */
#ifndef VAULTSCOPE_JSON_H
#define VAULTSCOPE_JSON_H

#include "vaultscope/record.h"

enum {
    VS_JSON_ESCAPE_CHARS = 6, /* \u0000: the most that a byte becomes */
    VS_UTF8_REPAIR_CHARS = 3, /* U+FFFD: the most that a byte becomes when it is repaired */
    VS_JSON_DEPTH_MAX = 512
};

/* The length of the character that begins at data[0], of size > 0 bytes. If there is none, *valid is false and the length is that
 * of what one U+FFFD stands for: the longest beginning of a character, at least one byte (WHATWG, "UTF-8 decoder"). */
size_t vs_utf8_step(const char *data, size_t size, bool *valid);

/* Where to cut so that at most `limit` bytes remain and no character is split. */
size_t vs_utf8_cut(vs_text text, size_t limit);

bool vs_utf8_is_valid(vs_text text);

/* Writes the text with U+FFFD for what is no character; at most VS_UTF8_REPAIR_CHARS a byte. Returns the size. */
size_t vs_utf8_repair(vs_text text, char *out);

/* Writes the inside of a JSON string, whatever the bytes are; at most VS_JSON_ESCAPE_CHARS a byte. */
char *vs_write_json_text(char *at, const char *data, size_t size);

/* As vs_json_is_valid, and `fits`: no number in it is too large for a double. Parsers may refuse those, and many do. */
bool vs_json_scan(vs_text text, bool *fits);

#endif
