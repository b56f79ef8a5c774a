/* Several threads fill a store and read it back; then the metrics are printed as a scraper would read them.
 *
 *   cas DIRECTORY [THREADS [OBJECTS]]
 *
 * Each thread puts OBJECTS objects, of which the even ones are the same for all threads, gets them all, and asks
 * for one that is not there. With Linux's defaults up to 64 threads own a stripe; more are exact too.
 *
 * With VAULTSCOPE_ARENA=FILE in the environment the metrics lie in that file, for `vaultscope serve --arena FILE` to show
 * while this runs and afterwards, and each run counts on from the last.
 * With VAULTSCOPE_LOG=FILE the log is written there, as lines of JSON; VAULTSCOPE_LOG_LEVEL=debug has a line for each object. Without, the
 * last records stay in the arena, for `vaultscope logs FILE`.
 * Each put and get is a trace. Those that failed or were slow are in the log, too, and a tenth of the others, or the share that
 * VAULTSCOPE_TRACE_RATE says: `vaultscope trace --list FILE`, with the log or the arena. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cas.h"
#include "log_writer.h"

enum { THREADS_MAX = 1024 };

typedef struct worker {
    const cas *store;
    int number;
    int objects;
    bool failed;
} worker;

static size_t object(const worker *one, int number, char text[64])
{
    int owner = number % 2 == 0 ? 0 : one->number;
    return (size_t)snprintf(text, 64, "object %d of %d", number, owner);
}

static void *work(void *argument)
{
    worker *one = argument;
    uint8_t(*digests)[32] = malloc((size_t)one->objects * 32 + 1);
    one->failed = digests == NULL;
    for (int i = 0; i < one->objects && !one->failed; i++) {
        char text[64];
        size_t size = object(one, i, text);
        one->failed = cas_put(one->store, text, size, digests[i]) != CAS_OK;
    }
    for (int i = 0; i < one->objects && !one->failed; i++) {
        char text[64];
        void *data = NULL;
        size_t size = 0, wanted = object(one, i, text);
        one->failed = cas_get(one->store, digests[i], &data, &size) != CAS_OK || size != wanted ||
                      memcmp(data, text, size) != 0;
        free(data);
    }
    if (!one->failed) {
        void *data = NULL;
        size_t size;
        one->failed = cas_get(one->store, (const uint8_t[32]){0}, &data, &size) != CAS_NOT_FOUND;
    }
    free(digests);
    return NULL;
}

int main(int count, char **arguments)
{
    int threads = count > 2 ? atoi(arguments[2]) : 4;
    int objects = count > 3 ? atoi(arguments[3]) : 250;
    if (count < 2 || strlen(arguments[1]) > 4000 || threads < 1 || threads > THREADS_MAX || objects < 0) {
        fprintf(stderr, "usage: %s DIRECTORY [THREADS [OBJECTS]]\n", arguments[0]);
        return 2;
    }
    instruments in;
    vs_status status = instruments_open(&in);
    if (status != VS_OK) {
        fprintf(stderr, "vaultscope %s: %s %s\n", vs_version(), vs_status_text(status), vs_arena_reason());
        return 1;
    }
    log_writer writer;
    const char *log = getenv("VAULTSCOPE_LOG");
    if (log != NULL && !log_writer_start(&writer, in.journal, log)) {
        fprintf(stderr, "%s: the log cannot be written\n", log);
        return 1;
    }
    cas store = {arguments[1], &in};
    static pthread_t running[THREADS_MAX];
    static worker workers[THREADS_MAX];
    int started = 0;
    for (; started < threads; started++) {
        workers[started] = (worker){&store, started, objects, false};
        if (pthread_create(&running[started], NULL, work, &workers[started]) != 0)
            break;
    }
    bool failed = started < threads;
    for (int i = 0; i < started; i++) {
        pthread_join(running[i], NULL);
        failed = failed || workers[i].failed;
    }
    if (log != NULL && !log_writer_stop(&writer))
        fprintf(stderr, "%s: the end of the log could not be written\n", log);
    if (failed) {
        fprintf(stderr, "%s: an object could not be stored or was not read back\n", arguments[1]);
        return 1;
    }
    status = instruments_print(&in, stdout);
    if (status != VS_OK)
        fprintf(stderr, "%s\n", vs_status_text(status));
    return status != VS_OK;
}
