/* Arenas with damaged bytes: refused, or read without harm; never a crash, an endless loop, or cells that belong to two. */
#define _GNU_SOURCE
#include "file_fixture.h"

static char path[PATH_BYTES];

/* As series_of, but ends the process with a status if it is refused. */
static vs_series *only_series(vs_registry *registry, vs_kind kind, const char *name)
{
    vs_metric_spec spec = spec_of(kind, name);
    vs_metric *metric = NULL;
    vs_series *series = NULL;
    if (vs_registry_declare(registry, &spec, &metric) != VS_OK || vs_metric_bind(metric, NULL, 0, &series) != VS_OK)
        _exit(REFUSED);
    return series;
}

static void use(vs_registry *registry)
{
    vs_counter_inc(vs_series_counter(only_series(registry, VS_COUNTER, "c")));
    observe(only_series(registry, VS_HISTOGRAM, "h"), 7.0);
    vs_metric *metric = labelled(registry, VS_COUNTER, "labelled", 0);
    vs_counter_inc(vs_series_counter(bound(metric, "put")));
    vs_counter_inc(vs_series_counter(bound(metric, "get")));
    vs_metric_spec spec = spec_of(VS_GAUGE, "gauge");
    spec.mode = VS_GAUGE_SUM;
    spec.help = text_of("what each process has");
    vs_metric *gauge;
    vs_series *series;
    if (vs_registry_declare(registry, &spec, &gauge) == VS_OK && vs_metric_bind(gauge, NULL, 0, &series) == VS_OK)
        vs_gauge_set(vs_series_gauge(series), 1.0);
}

static int open_and_use(void *unused)
{
    (void)unused;
    use(shared_registry("arena", NULL));
    return 0;
}

/* An arena with values of one process in the archive, and of one that died after it in its stripe. */
static char *leave_arena(size_t *size)
{
    in_scratch(path, "arena");
    CHECK_EQ(in_child(open_and_use, NULL), 0);
    CHECK_EQ(in_child(open_and_use, NULL), 0);
    char *bytes = map_file(path, size);
    const vs_file_header *header = (const vs_file_header *)bytes;
    CHECK_EQ(((vs_file_words *)(bytes + header->words_at))->shared.epoch, 1);
    return bytes;
}

static vs_status look(void)
{
    vs_arena *arena = NULL;
    vs_status status = open_path(path, VS_ARENA_READ, &arena);
    if (status == VS_OK)
        vs_arena_close(arena);
    return status;
}

static bool is_refused(void) { return look() == VS_E_CORRUPT && strstr(vs_arena_reason(), path) != NULL; }

/* ---- words ---- */

static void check_word(vs_word *word, uint64_t value, const char *what)
{
    uint64_t before = vs_load_relaxed(word);
    vs_store_relaxed(word, value);
    if (!CHECK(is_refused()))
        fprintf(stderr, "    %s = %llu is let pass\n", what, (unsigned long long)value);
    vs_store_relaxed(word, before);
}

#define CHECK_WORD(word, value) check_word(&(word), (value), #word)

static void words_that_lead_astray_are_refused(void)
{
    size_t size;
    char *bytes = leave_arena(&size);
    vs_file_words *words = (vs_file_words *)(bytes + ((vs_file_header *)bytes)->words_at);
    uint64_t cells = vs_load_relaxed(&words->shared.cells_top), top = vs_load_relaxed(&words->directory_top);
    uint64_t extent = vs_load_relaxed(&words->shared.extent);
    const uint64_t bad_cells[] = {0, 8, VS_CACHE_LINE, cells - 8, cells + 1, SMALL_STRIPE_BYTES + 8, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof bad_cells / sizeof *bad_cells; i++)
        CHECK_WORD(words->shared.cells_top, bad_cells[i]);
    const uint64_t bad_tops[] = {top + 8, top - 8, top + 1, SMALL_STRIPE_BYTES, SMALL_STRIPE_BYTES + 8, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof bad_tops / sizeof *bad_tops; i++)
        CHECK_WORD(words->directory_top, bad_tops[i]);
    CHECK_WORD(words->directory_backed, SMALL_STRIPE_BYTES + 8);
    CHECK_WORD(words->gauges_top, VS_GAUGE_PAGE_BYTES + 8);
    CHECK_WORD(words->gauges_top, 8); /* one was given out: to the next it would be given again */
    CHECK_WORD(words->gauges_top, 17);
    CHECK_WORD(words->shared.extent, 0);
    CHECK_WORD(words->shared.extent, extent + SMALL_STRIPE_BYTES + 8);
    CHECK_WORD(words->shared.extent, vs_extent_bytes(extent) | (uint64_t)(SMALL_STRIPES + 1) << VS_EXTENT_STRIPE_SHIFT);
    for (int parity = 0; parity < 2; parity++) {
        CHECK_WORD(words->shared.dirty[0], UINT64_C(1) << parity); /* the shared stripe would be added up twice */
        CHECK_WORD(words->shared.dirty[0], UINT64_C(1) << ((SMALL_STRIPES + 1) * 2 + parity));
        CHECK_WORD(words->shared.dirty[1], UINT64_C(1) << parity);
        CHECK_WORD(words->shared.dirty[VS_STRIPES_MAX / 32], UINT64_C(1) << (62 + parity));
    }
    CHECK_EQ(look(), VS_OK);
    munmap(bytes, size);
}

/* ---- the directory ---- */

static char *directory;
static uint64_t directory_top;

static void leave_directory(void)
{
    size_t size;
    char *bytes = leave_arena(&size);
    const vs_file_header *header = (const vs_file_header *)bytes;
    directory = bytes + header->directory_at;
    directory_top = vs_load_relaxed(&((vs_file_words *)(bytes + header->words_at))->directory_top);
}

static void each_byte_of_the_directory_counts(void)
{
    leave_directory();
    for (uint64_t at = 0; at < directory_top; at += ((vs_record *)(directory + at))->size)
        for (uint32_t i = 0; i < ((vs_record *)(directory + at))->size; i++) {
            if (i >= offsetof(vs_record, state) && i < offsetof(vs_record, size))
                continue; /* the only word that changes */
            directory[at + i] ^= 0x40;
            if (!CHECK(is_refused()))
                fprintf(stderr, "    byte %u of the record at %llu\n", i, (unsigned long long)at);
            directory[at + i] ^= 0x40;
        }
    CHECK_EQ(look(), VS_OK);
}

static void any_state_of_a_record_is_survived(void)
{
    leave_directory();
    for (uint64_t at = 0; at < directory_top; at += ((vs_record *)(directory + at))->size) {
        vs_word *state = &((vs_record *)(directory + at))->state;
        uint64_t before = vs_load_relaxed(state);
        const uint64_t states[] = {VS_RECORD_HIDDEN, VS_RECORD_LISTED, VS_RECORD_REMOVED, 3, UINT64_MAX};
        for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
            vs_arena *arena;
            vs_store_relaxed(state, states[i]);
            vs_registry *registry = registry_at("arena", VS_ARENA_READ, &arena);
            vs_snapshot_free(take_snapshot(registry));
            vs_registry_release(registry);
            vs_arena_close(arena);
        }
        vs_store_relaxed(state, before);
    }
}

static uint64_t sealed(const vs_record *record)
{
    return vs_checksum(&record->size, record->size - offsetof(vs_record, size));
}

/* The first record of a type and, of metrics, a kind. */
static void *record_of(uint32_t type, uint32_t kind)
{
    for (uint64_t at = 0; at < directory_top; at += ((vs_record *)(directory + at))->size) {
        vs_metric_record *metric = (vs_metric_record *)(directory + at);
        if (metric->head.type == type && (type == VS_RECORD_SERIES || metric->kind == kind))
            return metric;
    }
    abort();
}

/* Sets a field of a record, and its checksum so that it is good, and expects that it is refused for what it says. */
#define CHECK_FIELD(record, field, value)                                                           \
    do {                                                                                            \
        __typeof__(*(record)) before_ = *(record);                                                  \
        (record)->field = (value);                                                                  \
        uint32_t size_ = ((vs_record *)(record))->size;                                             \
        if (size_ >= sizeof(vs_record) && size_ <= SMALL_STRIPE_BYTES)                              \
            ((vs_record *)(record))->checksum = sealed((vs_record *)(record));                      \
        check_note(is_refused(), __FILE__, __LINE__, #field " = " #value);                          \
        *(record) = before_;                                                                        \
    } while (0)

static void records_that_do_not_add_up_are_refused(void)
{
    leave_directory();
    vs_record *first = (vs_record *)directory;
    CHECK_FIELD(first, size, 0);
    CHECK_FIELD(first, size, 8);
    CHECK_FIELD(first, size, first->size + 4);
    CHECK_FIELD(first, size, (uint32_t)directory_top + 8);
    CHECK_FIELD(first, size, UINT32_MAX - 7);
    CHECK_FIELD(first, size, sizeof(vs_record));
    CHECK_FIELD(first, type, 0);
    CHECK_FIELD(first, type, 3);
    CHECK_EQ(look(), VS_OK);
}

static void metrics_that_do_not_add_up_are_refused(void)
{
    leave_directory();
    vs_metric_record *metric = record_of(VS_RECORD_METRIC, VS_COUNTER);
    const uint32_t beyond = metric->head.size;
    CHECK_FIELD(metric, head.size, sizeof *metric - 8);
    CHECK_FIELD(metric, kind, 0);
    CHECK_FIELD(metric, kind, 5);
    CHECK_FIELD(metric, kind, VS_HISTOGRAM);
    CHECK_FIELD(metric, mode, VS_GAUGE_SUM);
    CHECK_FIELD(metric, name_size, 0);
    CHECK_FIELD(metric, name_size, beyond);
    CHECK_FIELD(metric, name_size, UINT32_MAX);
    CHECK_FIELD(metric, help_size, beyond);
    CHECK_FIELD(metric, unit_size, UINT32_MAX);
    CHECK_FIELD(metric, label_count, 1);
    CHECK_FIELD(metric, label_count, UINT32_MAX);
    CHECK_FIELD(metric, bound_count, 1);
    CHECK_FIELD(metric, bound_count, UINT32_MAX);
    CHECK_FIELD(metric, quantile_count, UINT32_MAX);
    CHECK_FIELD(metric, tally_size, 1);
    CHECK_FIELD(metric, losses, 0);
    CHECK_FIELD(metric, losses, metric->losses + 1);
    CHECK_FIELD(metric, losses, SMALL_STRIPE_BYTES);
    CHECK_FIELD(metric, losses, UINT64_MAX - 7);
    metric = record_of(VS_RECORD_METRIC, VS_HISTOGRAM);
    CHECK_FIELD(metric, tally_size, 0);
    CHECK_FIELD(metric, tally_size, metric->tally_size + 1);
    CHECK_FIELD(metric, bound_count, metric->bound_count - 1);
    CHECK_FIELD(metric, kind, VS_HDR);
    metric = record_of(VS_RECORD_METRIC, VS_GAUGE);
    CHECK_FIELD(metric, mode, VS_GAUGE_ALL + 1);
    CHECK_FIELD(metric, mode, UINT32_MAX);
    CHECK_EQ(look(), VS_OK);
}

static void label_names_beyond_their_record_are_refused(void)
{
    leave_directory();
    vs_metric_record *metric = (vs_metric_record *)directory;
    for (uint64_t at = 0; metric->head.type != VS_RECORD_METRIC || metric->label_count == 0;)
        metric = (vs_metric_record *)(directory + (at += metric->head.size));
    uint32_t *size = (uint32_t *)(metric->reals + metric->bound_count + metric->quantile_count), before = *size;
    const uint32_t sizes[] = {0, metric->head.size, UINT32_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *size = sizes[i];
        metric->head.checksum = sealed(&metric->head);
        CHECK(is_refused());
    }
    *size = before;
    metric->head.checksum = sealed(&metric->head);
    CHECK_EQ(look(), VS_OK);
}

static void series_that_do_not_add_up_are_refused(void)
{
    leave_directory();
    vs_series_record *series = record_of(VS_RECORD_SERIES, 0);
    CHECK_FIELD(series, metric, (uint64_t)((char *)series - directory));
    CHECK_FIELD(series, metric, series->metric + 4);
    CHECK_FIELD(series, metric, series->metric + 8);
    CHECK_FIELD(series, metric, UINT64_MAX);
    CHECK_FIELD(series, offset, 0);
    CHECK_FIELD(series, offset, series->offset + 4);
    CHECK_FIELD(series, offset, SMALL_STRIPE_BYTES - 8);
    CHECK_FIELD(series, offset, UINT64_MAX - 7);
    CHECK_FIELD(series, labels_size, series->head.size);
    CHECK_FIELD(series, labels_size, UINT32_MAX);
    CHECK_EQ(look(), VS_OK);
}

static void a_directory_that_is_damaged_later_is_refused_from_then_on(void)
{
    leave_directory();
    vs_arena *arena;
    vs_registry *registry = shared_registry("arena", &arena);
    vs_counter counter = vs_series_counter(series_of(registry, VS_COUNTER, "c"));
    vs_add_relaxed(&arena->file->words->directory_top, 64u); /* nothing was written there */
    vs_snapshot *snapshot = NULL;
    CHECK_EQ(vs_snapshot_take(registry, NULL, &snapshot), VS_E_CORRUPT);
    vs_metric_spec spec = spec_of(VS_COUNTER, "late");
    vs_metric *metric = NULL;
    CHECK_EQ(vs_registry_declare(registry, &spec, &metric), VS_E_CORRUPT);
    CHECK(vs_counter_inc(counter)); /* the host goes on */
    CHECK_EQ(counter_total(counter), 3);
}

/* ---- whatever the bytes ---- */

static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

static int open_the_damaged(void *unused)
{
    (void)unused;
    alarm(10);
    vs_arena *arena = NULL;
    vs_registry *registry = NULL;
    vs_snapshot *snapshot = NULL;
    if (open_path(path, VS_ARENA_SHARE, &arena) != VS_OK || vs_registry_open(arena, &registry) != VS_OK)
        return vs_arena_reason()[0] == '\0';
    vs_status status = vs_snapshot_take(registry, NULL, &snapshot);
    vs_snapshot_free(snapshot);
    use(registry);
    vs_arena_reap(arena);
    return status != VS_OK && status != VS_E_CORRUPT;
}

/* Where bytes are flipped: what is looked at before it is used. */
static uint64_t somewhere(const vs_file_header *header)
{
    uint64_t owners = offsetof(vs_shared, owners) + (SMALL_STRIPES + 1) * sizeof(vs_word);
    uint64_t last = offsetof(vs_file_words, directory_top);
    switch (random_below(5)) {
    case 0: return random_below(sizeof *header);
    case 1: return header->words_at + random_below(owners);
    case 2: return header->words_at + last + random_below(sizeof(vs_file_words) - last);
    case 3: return header->processes_at + random_below(3 * sizeof(vs_process_entry));
    default: return header->directory_at + random_below(directory_top);
    }
}

static void flipped_bits_do_no_harm(void)
{
    size_t size;
    leave_directory();
    char *bytes = map_file(path, &size);
    const vs_file_header header = *(vs_file_header *)bytes;
    const uint64_t rest = header.file_bytes - header.directory_at;
    char *image = malloc(header.pages_at + rest);
    memcpy(image, bytes, header.pages_at);
    memcpy(image + header.pages_at, bytes + header.directory_at, rest);
    for (int round = 0; round < (SANITIZED ? 400 : 2000); round++) {
        uint64_t at = 0;
        for (uint64_t flips = 1 + random_below(3); flips != 0; flips--)
            bytes[at = somewhere(&header)] ^= (char)(1 << random_below(8));
        int status = in_child(open_the_damaged, NULL);
        if (!CHECK(status == 0 || status == REFUSED))
            fprintf(stderr, "    in round %d, at byte %llu: %d\n", round, (unsigned long long)at, status);
        memcpy(bytes, image, header.pages_at);
        memcpy(bytes + header.directory_at, image + header.pages_at, rest);
    }
    free(image);
    CHECK_EQ(look(), VS_OK);
}

static void a_hot_word_may_hold_anything(void)
{
    leave_directory();
    vs_arena *arena;
    vs_registry *registry = shared_registry("arena", &arena);
    vs_series *series = series_of(registry, VS_HISTOGRAM, "h");
    for (uint64_t i = 0; i < 64; i++) {
        for (uint32_t stripe = 0; stripe <= SMALL_STRIPES + VS_ARCHIVES; stripe++) {
            char *base = vs_arena_stripe(arena, stripe);
            vs_store_relaxed(&((vs_tally_block *)(base + series->offset))->hot, UINT64_C(1) << i | random_below(UINT64_MAX));
        }
        observe(series, 3.0);
        CHECK_EQ(count_of(registry, "h", ""), (int64_t)i + 3);
    }
}

int main(void)
{
    make_scratch();
    RUN(words_that_lead_astray_are_refused);
    RUN(each_byte_of_the_directory_counts);
    RUN(any_state_of_a_record_is_survived);
    RUN(records_that_do_not_add_up_are_refused);
    RUN(metrics_that_do_not_add_up_are_refused);
    RUN(label_names_beyond_their_record_are_refused);
    RUN(series_that_do_not_add_up_are_refused);
    RUN(a_directory_that_is_damaged_later_is_refused_from_then_on);
    RUN(flipped_bits_do_no_harm);
    RUN(a_hot_word_may_hold_anything);
    remove_scratch();
    return check_report();
}
