/* A content-addressed store in a directory: put(bytes) -> hash, get(hash) -> bytes. Any number of threads and processes. */
#ifndef CAS_H
#define CAS_H

#include <stddef.h>
#include <stdint.h>

#include "instruments.h"

enum { CAS_PATH_MAX = 4096 };

typedef struct cas {
    const char *root; /* a directory that exists */
    const instruments *in;
} cas;

typedef enum cas_result { CAS_OK, CAS_NOT_FOUND, CAS_CORRUPT, CAS_IO_ERROR /* errno says which */ } cas_result;

/* Stores a copy of the bytes, unless they are there already. Counted and timed. */
cas_result cas_put(const cas *store, const void *data, size_t size, uint8_t digest[32]);

/* Reads an object and verifies it. *data is the caller's to free. Counted and timed. */
cas_result cas_get(const cas *store, const uint8_t digest[32], void **data, size_t *size);

#endif
