#include "cas.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sha256.h"

/* Begins the trace of an operation. What this thread logs until its end has its ids. */
static void begin(const cas *store, vs_span *span, const char *name)
{
    vs_span_start_root(span, store->in->tracer, NULL, (vs_text){name, strlen(name)});
    vs_log_set_span(span->scope.trace_high, span->scope.trace_low, span->scope.span);
}

static void end(vs_span *span, const uint8_t digest[32], size_t size, bool failed)
{
    vs_span_add(span, vs_field_bytes("hash", digest, 32));
    vs_span_add(span, vs_field_u64("size", size));
    vs_span_end(span, failed ? VS_SPAN_ERROR : VS_SPAN_OK);
    vs_log_set_span(0, 0, 0);
}

/* root/<64 hexadecimal digits> */
static void path_of(const cas *store, const uint8_t digest[32], char path[CAS_PATH_MAX])
{
    int end = snprintf(path, CAS_PATH_MAX - 64, "%s/", store->root);
    for (int i = 0; i < 32; i++)
        snprintf(path + end + 2 * i, 3, "%02x", digest[i]);
}

/* Writes a file of its own and gives it the object's name: of several who do that at once, link() lets one through. */
static cas_result commit(const cas *store, const void *data, size_t size, const char *path)
{
    char incoming[CAS_PATH_MAX];
    snprintf(incoming, sizeof incoming, "%.4000s/incoming-XXXXXX", store->root);
    int descriptor = mkstemp(incoming);
    if (descriptor < 0)
        return CAS_IO_ERROR;
    FILE *file = fdopen(descriptor, "wb");
    bool whole = file != NULL && fwrite(data, 1, size, file) == size;
    whole = (file != NULL ? fclose(file) : close(descriptor)) == 0 && whole;
    int failed = whole ? link(incoming, path) : -1;
    int why = errno;
    unlink(incoming);
    errno = why;
    if (failed == 0) {
        vs_counter_inc(store->in->stored);
        vs_counter_add(store->in->put_bytes, size);
        return CAS_OK;
    }
    if (whole && why == EEXIST) {
        vs_counter_inc(store->in->duplicate);
        return CAS_OK;
    }
    return CAS_IO_ERROR;
}

cas_result cas_put(const cas *store, const void *data, size_t size, uint8_t digest[32])
{
    int64_t start = vs_clock_monotonic_ns();
    char path[CAS_PATH_MAX];
    cas_result result = CAS_OK;
    vs_span span, write;
    begin(store, &span, "cas.put");
    sha256(data, size, digest);
    path_of(store, digest, path);
    if (access(path, F_OK) == 0) {
        vs_counter_inc(store->in->duplicate);
    } else {
        vs_span_start(&write, vs_span_scope_of(&span), (vs_text){"disk.write", 10});
        result = commit(store, data, size, path);
        vs_span_end(&write, result == CAS_OK ? VS_SPAN_OK : VS_SPAN_ERROR);
    }
    int64_t elapsed = vs_clock_monotonic_ns() - start;
    vs_hdr_record(&store->in->put_duration, elapsed);
    vs_log(store->in->log, result == CAS_OK ? VS_DEBUG : VS_ERROR, result == CAS_OK ? "Object stored" : "Object not stored",
           vs_field_bytes("hash", digest, 32), vs_field_u64("size", size), vs_field_f64("duration_ms", (double)elapsed / 1e6));
    end(&span, digest, size, result != CAS_OK);
    return result;
}

static cas_result read_and_verify(const cas *store, const uint8_t digest[32], void **data, size_t *size)
{
    char path[CAS_PATH_MAX];
    path_of(store, digest, path);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        if (errno == ENOENT) {
            vs_counter_inc(store->in->not_found);
            return CAS_NOT_FOUND;
        }
        return CAS_IO_ERROR;
    }
    struct stat status;
    cas_result result = CAS_IO_ERROR;
    if (fstat(fileno(file), &status) == 0 && (*data = malloc((size_t)status.st_size + 1)) != NULL) {
        uint8_t actual[32];
        *size = fread(*data, 1, (size_t)status.st_size, file);
        sha256(*data, *size, actual);
        result = memcmp(actual, digest, sizeof actual) == 0 ? CAS_OK : CAS_CORRUPT;
        vs_counter_inc(result == CAS_OK ? store->in->found : store->in->corrupt);
        if (result != CAS_OK) {
            free(*data);
            *data = NULL;
        }
    }
    fclose(file);
    return result;
}

cas_result cas_get(const cas *store, const uint8_t digest[32], void **data, size_t *size)
{
    int64_t start = vs_clock_monotonic_ns();
    vs_span span;
    begin(store, &span, "cas.get");
    cas_result result = read_and_verify(store, digest, data, size);
    vs_hdr_record(&store->in->get_duration, vs_clock_monotonic_ns() - start);
    if (result != CAS_OK)
        vs_log(store->in->log, result == CAS_NOT_FOUND ? VS_INFO : VS_ERROR, "Object not read",
               vs_field_bytes("hash", digest, 32), vs_field_bool("corrupt", result == CAS_CORRUPT));
    end(&span, digest, result == CAS_OK ? *size : 0, result != CAS_OK && result != CAS_NOT_FOUND);
    return result;
}
