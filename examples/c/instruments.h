/* The store's metrics, its logger and its tracer: declared once, then used through handles that are plain structs. */
#ifndef INSTRUMENTS_H
#define INSTRUMENTS_H

#include <stdio.h>

#include <vaultscope.h>

typedef struct instruments {
    vs_registry *registry;
    vs_counter stored, duplicate;          /* cas.put.count{result} */
    vs_counter found, not_found, corrupt;  /* cas.get.count{result} */
    vs_counter put_bytes;                  /* cas.put.bytes */
    vs_hdr put_duration, get_duration;     /* ns */
    vs_journal *journal;
    vs_logger *log;                        /* cas */
    vs_tracer *tracer;                     /* keeps each trace that failed or was slow, and a tenth of the others */
} instruments;

/* Declares everything in a registry of its own, in the process's arena: the file that VAULTSCOPE_ARENA names, or memory. All of it is
 * held as long as the process lives: the handles stay valid. */
vs_status instruments_open(instruments *in);

/* Writes what a scraper would read: Prometheus text 0.0.4. */
vs_status instruments_print(const instruments *in, FILE *file);

#endif
