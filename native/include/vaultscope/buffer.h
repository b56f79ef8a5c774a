/* The byte buffer that renderers append to. */
#ifndef VAULTSCOPE_BUFFER_H
#define VAULTSCOPE_BUFFER_H

#include "base.h"

/* A byte buffer that grows. Zero it to start; release it with vs_buffer_free. */
typedef struct vs_buffer {
    char *data;
    size_t size;
    size_t capacity;
    bool failed; /* memory ran out: what follows was left out */
} vs_buffer;

VS_API bool vs_buffer_reserve(vs_buffer *buffer, size_t more);
VS_API void vs_buffer_free(vs_buffer *buffer);

#endif
