/* The byte buffer that every renderer appends to.
 *
 * It grows by doubling, so that appending costs a constant time a byte. Once memory ran out it stays failed: the text then
 * ends somewhere instead of having a hole in its middle, and whoever owns the buffer need ask only once, at the end. */
#include "text.h"

#include <stdlib.h>

enum { BUFFER_BYTES_MIN = 256 };

bool vs_buffer_reserve(vs_buffer *buffer, size_t more)
{
    if (buffer->failed)
        return false;
    if (more <= buffer->capacity - buffer->size)
        return true;
    size_t capacity = buffer->capacity <= SIZE_MAX / 2 ? buffer->capacity * 2 : SIZE_MAX;
    size_t needed = buffer->size + more;
    if (capacity < BUFFER_BYTES_MIN)
        capacity = BUFFER_BYTES_MIN;
    if (capacity < needed)
        capacity = needed;
    char *data = needed >= more ? realloc(buffer->data, capacity) : NULL; /* smaller: the sum wrapped round */
    if (data == NULL) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void vs_buffer_free(vs_buffer *buffer)
{
    free(buffer->data);
    *buffer = (vs_buffer){0};
}

bool vs_append(vs_buffer *buffer, const char *data, size_t size)
{
    if (!vs_buffer_reserve(buffer, size))
        return false;
    if (size != 0)
        buffer->size = (size_t)(vs_write(buffer->data + buffer->size, data, size) - buffer->data);
    return true;
}

bool vs_append_escaped(vs_buffer *buffer, vs_text text, bool quotes)
{
    if (text.size > SIZE_MAX / 2) {
        buffer->failed = true;
        return false;
    }
    if (!vs_buffer_reserve(buffer, 2 * text.size))
        return false;
    char *at = buffer->data + buffer->size;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '\\' || c == '\n' || (c == '"' && quotes))
            *at++ = '\\';
        *at++ = c == '\n' ? 'n' : c;
    }
    buffer->size = (size_t)(at - buffer->data);
    return true;
}

bool vs_render_escaped(vs_text text, vs_buffer *out)
{
    return vs_append_escaped(out, text, true);
}
