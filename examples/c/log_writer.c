#include "log_writer.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A disk that is full, or fails, is tried again, a few times a second and for as long as nobody says stop. */
static void *work(void *argument)
{
    log_writer *writer = argument;
    const vs_pump_options options = {.wait_ns = 250000000, .run_ns = 1000000000};
    for (;;) {
        vs_pump end = vs_cursor_pump(writer->cursor, writer->descriptor, &options, &writer->stop);
        writer->whole = end != VS_PUMP_ERROR;
        if (end == VS_PUMP_STOPPED || (end == VS_PUMP_ERROR && vs_load_relaxed(&writer->stop) != 0))
            return NULL;
        if (end == VS_PUMP_ERROR)
            nanosleep(&(struct timespec){0, 250000000}, NULL);
    }
}

bool log_writer_start(log_writer *writer, vs_journal *journal, const char *path)
{
    vs_text name = {path, strlen(path)};
    vs_store_relaxed(&writer->stop, 0u);
    writer->whole = true;
    writer->descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (writer->descriptor < 0)
        return false;
    if (vs_cursor_open(journal, name, &writer->cursor) == VS_OK) {
        if (pthread_create(&writer->thread, NULL, work, writer) == 0)
            return true;
        vs_cursor_close(writer->cursor, false);
    }
    close(writer->descriptor);
    return false;
}

bool log_writer_stop(log_writer *writer)
{
    vs_store_relaxed(&writer->stop, 1u);
    pthread_join(writer->thread, NULL);
    vs_cursor_close(writer->cursor, false);
    return close(writer->descriptor) == 0 && writer->whole;
}
