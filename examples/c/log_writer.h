/* A thread that writes a journal's records to a file, as lines of JSON. */
#ifndef LOG_WRITER_H
#define LOG_WRITER_H

#include <pthread.h>

#include <vaultscope.h>

typedef struct log_writer {
    vs_cursor *cursor;
    vs_word32 stop;
    pthread_t thread;
    int descriptor;
    bool whole;
} log_writer;

/* False: the file cannot be opened, or another process writes this arena's log. */
bool log_writer_start(log_writer *writer, vs_journal *journal, const char *path);

/* Writes what is left. False: it could not be written. */
bool log_writer_stop(log_writer *writer);

#endif
