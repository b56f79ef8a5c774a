/* Opening an arena in a file: what becomes one, what is refused and left as it was, and with which words. */
#define _GNU_SOURCE
#include <limits.h>

#include "file_fixture.h"

static char path[PATH_BYTES];

static vs_status try_open(vs_arena_access access)
{
    vs_arena *arena = NULL;
    vs_status status = open_path(path, access, &arena);
    CHECK((arena != NULL) == (status == VS_OK));
    return status;
}

static bool reason_has(const char *words) { return strstr(vs_arena_reason(), words) != NULL; }

static mode_t mode_of(const char *name)
{
    struct stat status;
    return stat(name, &status) == 0 ? status.st_mode & 07777 : 0;
}

static int make_in_child(void *unused)
{
    (void)unused;
    in_scratch(path, "arena");
    vs_registry *registry = shared_registry("arena", NULL);
    vs_counter_add(vs_series_counter(series_of(registry, VS_COUNTER, "c")), 5);
    series_of(registry, VS_HISTOGRAM, "h");
    bound(labelled(registry, VS_GAUGE, "g", 7), "put");
    return 0;
}

/* Leaves an arena that nobody has open; `path` names it. */
static void leave_arena(void)
{
    in_scratch(path, "arena");
    CHECK_EQ(in_child(make_in_child, NULL), 0);
}

/* ---- what becomes an arena ---- */

static void a_new_file_becomes_an_arena_for_its_owner_alone(void)
{
    umask(0);
    leave_arena();
    CHECK_EQ(mode_of(path), 0600);
    CHECK_EQ(count_of(shared_registry("arena", NULL), "c", ""), 5);
}

static void an_empty_file_becomes_one_and_keeps_its_mode(void)
{
    in_scratch(path, "arena");
    write_file(path, "", 0);
    chmod(path, 0640);
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_OK);
    CHECK_EQ(mode_of(path), 0640);
}

static void a_file_keeps_the_size_it_was_made_with(void)
{
    leave_arena();
    vs_arena_options options = {.stripe_count = 3, .stripe_bytes = 1 << 20};
    vs_arena *arena = NULL;
    CHECK_EQ(vs_arena_open_file(path, VS_ARENA_SHARE, &options, &arena), VS_OK);
    uint64_t used, limit;
    uint32_t total, held;
    vs_arena_usage(arena, &used, &limit);
    vs_stripe_usage(vs_arena_slot(arena), &total, &held);
    CHECK_EQ(limit, SMALL_STRIPE_BYTES);
    CHECK_EQ(total, SMALL_STRIPES);
}

static void sizes_out_of_range_are_refused(void)
{
    in_scratch(path, "arena");
    const vs_arena_options bad[] = {{VS_STRIPES_MAX + 1, 0, 0}, {1, 4096, 0}, {1, UINT64_MAX, 0}, {1, UINT64_C(1) << 40, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vs_arena *arena = NULL;
        CHECK_EQ(vs_arena_open_file(path, VS_ARENA_SHARE, &bad[i], &arena), VS_E_INVALID);
        CHECK(reason_has(path));
    }
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_OK);
}

static void the_same_file_is_the_same_arena_by_any_name(void)
{
    char link[PATH_BYTES];
    in_scratch(path, "arena");
    in_scratch(link, "link");
    vs_arena *first = NULL, *again = NULL;
    CHECK_EQ(open_path(path, VS_ARENA_SHARE, &first), VS_OK);
    CHECK_EQ(open_path(path, VS_ARENA_READ, &again), VS_OK);
    CHECK(first == again);
    CHECK_EQ(symlink(path, link), 0);
    CHECK_EQ(open_path(link, VS_ARENA_SHARE, &again), VS_OK);
    CHECK(first == again);
    CHECK_EQ(chdir(scratch), 0);
    CHECK_EQ(open_path("arena", VS_ARENA_SHARE, &again), VS_OK);
    CHECK(first == again);
    vs_process *processes = NULL;
    size_t count = 0;
    CHECK_EQ(vs_processes_list(first, &processes, &count), VS_OK);
    CHECK_EQ(count, 1);
    vs_processes_free(processes);
}

static void *open_it(void *arena)
{
    open_path(path, VS_ARENA_SHARE, arena);
    return NULL;
}

static void threads_that_open_it_at_once_get_one_arena_and_one_entry(void)
{
    in_scratch(path, "arena");
    vs_arena *arenas[4] = {NULL};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, open_it, &arenas[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++)
        CHECK(arenas[i] != NULL && arenas[i] == arenas[0]);
    vs_process *processes = NULL;
    size_t count = 0;
    CHECK_EQ(vs_processes_list(arenas[0], &processes, &count), VS_OK);
    CHECK_EQ(count, 1);
    vs_processes_free(processes);
}

static stage *together;

static int make_and_count(void *unused)
{
    (void)unused;
    meet(together);
    vs_counter counter = vs_series_counter(series_of(shared_registry("arena", NULL), VS_COUNTER, "c"));
    for (int i = 0; i < 1000; i++)
        vs_counter_inc(counter);
    return 0;
}

static void processes_that_make_it_at_once_make_one(void)
{
    for (int round = 0; round < 5; round++) {
        pid_t children[8];
        together = new_stage();
        empty_scratch();
        for (int i = 0; i < 8; i++)
            children[i] = start(make_and_count, NULL);
        await(&together->ready, 8);
        vs_store_release(&together->go, 1);
        for (int i = 0; i < 8; i++)
            CHECK_EQ(outcome(children[i]), 0);
        char name[PATH_BYTES];
        in_scratch(name, "arena");
        vs_arena *arena;
        vs_registry *registry = registry_at("arena", VS_ARENA_READ, &arena);
        CHECK_EQ(count_of(registry, "c", ""), 8000);
        vs_registry_release(registry);
        vs_arena_close(arena);
    }
}

static void one_that_was_cut_short_in_the_making_is_finished(void)
{
    leave_arena();
    CHECK_EQ(truncate(path, VS_FILE_PAGE), 0);
    CHECK_EQ(try_open(VS_ARENA_READ), VS_E_CORRUPT); /* a reader makes nothing */
    vs_registry *registry = shared_registry("arena", NULL);
    vs_counter_inc(vs_series_counter(series_of(registry, VS_COUNTER, "c")));
    CHECK_EQ(count_of(registry, "c", ""), 1);
}

/* ---- what is refused ---- */

/* Refused with this status and a reason that names the file, by those who share and those who read; not a byte is changed. */
static void check_refused_untouched(vs_status status)
{
    size_t size, after;
    char *bytes = map_file(path, &size);
    uint64_t sum = vs_checksum(bytes, size < 65536 ? size : 65536);
    CHECK_EQ(try_open(VS_ARENA_SHARE), status);
    CHECK(reason_has(path));
    CHECK_EQ(try_open(VS_ARENA_READ), status);
    CHECK(reason_has(path));
    char *again = map_file(path, &after);
    CHECK_EQ(after, size);
    CHECK(after == size && vs_checksum(again, size < 65536 ? size : 65536) == sum);
    munmap(bytes, size);
    munmap(again, after);
}

static void foreign_files_are_refused_and_left_as_they_were(void)
{
    static const char zeroes[3 * VS_FILE_PAGE];
    in_scratch(path, "foreign");
    const struct {
        const void *bytes;
        size_t size;
    } files[] = {{"hello, world\n", 13}, {zeroes, VS_FILE_PAGE}, {zeroes, 1}, {zeroes, sizeof zeroes}, {"\x89vsa\r\n\x1a\n", 8}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_file(path, files[i].bytes, files[i].size);
        check_refused_untouched(VS_E_FOREIGN);
    }
}

static void a_truncated_or_longer_arena_is_refused(void)
{
    leave_arena();
    struct stat status;
    stat(path, &status);
    const off_t sizes[] = {status.st_size - 1, status.st_size / 2, VS_FILE_PAGE + 1, status.st_size + 1, 2 * status.st_size};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK_EQ(truncate(path, sizes[i]), 0);
        check_refused_untouched(VS_E_CORRUPT);
        CHECK(reason_has("truncated"));
    }
    CHECK_EQ(truncate(path, sizeof(vs_file_header) - 1), 0);
    check_refused_untouched(VS_E_FOREIGN);
}

/* Changes the header, makes its checksum good again, and expects it to be refused. */
static void check_header_refused(void (*change)(vs_file_header *), vs_status status)
{
    size_t size;
    leave_arena();
    char *bytes = map_file(path, &size);
    vs_file_header *header = (vs_file_header *)bytes, before = *header;
    change(header);
    header->checksum = vs_checksum(header, offsetof(vs_file_header, checksum));
    check_refused_untouched(status);
    *header = before;
    munmap(bytes, size);
}

static void next_version(vs_file_header *header) { header->version++; }
static void other_byte_order(vs_file_header *header) { header->byte_order = 0x04030201; }
static void no_stripes(vs_file_header *header) { header->stripe_count = 0; }
static void many_stripes(vs_file_header *header) { header->stripe_count = UINT32_MAX; }
static void small_stripes(vs_file_header *header) { header->stripe_bytes = 4096; }
static void huge_stripes(vs_file_header *header) { header->stripe_bytes = UINT64_C(1) << 62; }
static void odd_stripes(vs_file_header *header) { header->stripe_bytes++; }
static void far_words(vs_file_header *header) { header->words_at = header->file_bytes; }
static void many_processes(vs_file_header *header) { header->process_count *= 2; }
static void long_file(vs_file_header *header) { header->file_bytes += VS_FILE_PAGE; }

static void another_version_or_byte_order_is_foreign(void)
{
    check_header_refused(next_version, VS_E_FOREIGN);
    CHECK(reason_has("format 2"));
    check_header_refused(other_byte_order, VS_E_FOREIGN);
}

static void a_header_that_does_not_add_up_is_corrupt(void)
{
    void (*const changes[])(vs_file_header *) = {no_stripes,  many_stripes, small_stripes,  huge_stripes,
                                                 odd_stripes, far_words,    many_processes, long_file};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        check_header_refused(changes[i], VS_E_CORRUPT);
}

/* Ten stripes of 2^60 bytes, a directory, the shared stripe and the archive: 2^64, so the file seems to have the right length. */
static void sizes_that_wrap_around_are_corrupt(void)
{
    size_t size;
    leave_arena();
    char *bytes = map_file(path, &size);
    vs_file_header *header = (vs_file_header *)bytes;
    header->stripe_count = 16 - VS_ARCHIVES - 2;
    header->stripe_bytes = header->directory_bytes = UINT64_C(1) << 60;
    header->stripes_at = header->directory_at + header->directory_bytes;
    header->file_bytes = header->directory_at + 16 * header->stripe_bytes;
    header->checksum = vs_checksum(header, offsetof(vs_file_header, checksum));
    CHECK_EQ(header->file_bytes, header->directory_at);
    CHECK_EQ(truncate(path, (off_t)header->file_bytes), 0);
    check_refused_untouched(VS_E_CORRUPT);
    munmap(bytes, size);
}

static void each_byte_of_the_header_counts(void)
{
    size_t size;
    leave_arena();
    char *bytes = map_file(path, &size);
    for (size_t i = 0; i < sizeof(vs_file_header); i++) {
        bytes[i] ^= 0x10;
        bool foreign = i < offsetof(vs_file_header, file_bytes);
        CHECK_EQ(try_open(VS_ARENA_SHARE), foreign ? VS_E_FOREIGN : VS_E_CORRUPT);
        bytes[i] ^= 0x10;
    }
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_OK);
    munmap(bytes, size);
}

static void what_is_no_regular_file_is_refused(void)
{
    in_scratch(path, "folder");
    mkdir(path, 0700);
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_E_SYSTEM);
    CHECK_EQ(try_open(VS_ARENA_READ), VS_E_SYSTEM);
    in_scratch(path, "pipe");
    mkfifo(path, 0600);
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_E_FOREIGN);
    CHECK_EQ(try_open(VS_ARENA_READ), VS_E_FOREIGN);
    CHECK(reason_has("no regular file"));
    strcpy(path, "/dev/null");
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_E_FOREIGN);
}

static void names_that_no_file_can_have_are_refused(void)
{
    vs_arena *arena = NULL;
    char long_name[8192];
    memset(long_name, 'a', sizeof long_name);
    CHECK_EQ(open_path("", VS_ARENA_SHARE, &arena), VS_E_INVALID);
    CHECK_EQ(vs_arena_open_file(NULL, VS_ARENA_SHARE, NULL, &arena), VS_E_INVALID);
    for (size_t size = 300; size < sizeof long_name; size *= 2) {
        long_name[size] = '\0';
        CHECK_EQ(open_path(long_name, VS_ARENA_SHARE, &arena), size < PATH_MAX - PATH_BYTES ? VS_E_SYSTEM : VS_E_INVALID);
        CHECK(reason_has("too long"));
        long_name[size] = 'a';
    }
    in_scratch(path, "nowhere/arena");
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_E_SYSTEM);
    in_scratch(path, "missing");
    CHECK_EQ(try_open(VS_ARENA_READ), VS_E_SYSTEM); /* a reader makes none */
    CHECK(arena == NULL && access(path, F_OK) != 0);
}

static void without_permission_it_is_refused(void)
{
    leave_arena();
    chmod(scratch, 0711);
    chmod(path, 0200);
    if (geteuid() == 0 && setuid(65534) != 0)
        abort();
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_E_SYSTEM);
    CHECK_EQ(try_open(VS_ARENA_READ), VS_E_SYSTEM);
    CHECK(reason_has("ermission"));
}

static void a_limit_on_files_is_an_error_and_no_signal(void)
{
    in_scratch(path, "arena");
    struct rlimit limit = {1 << 20, 1 << 20};
    setrlimit(RLIMIT_FSIZE, &limit);
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_E_SYSTEM);
    CHECK(reason_has("limit"));
    struct stat status;
    CHECK(stat(path, &status) == 0 && status.st_size == 0); /* for those without the limit */
}

static void a_limit_on_address_space_is_an_error(void)
{
    in_scratch(path, "arena");
    struct rlimit limit = {UINT64_C(1) << 30, UINT64_C(1) << 30};
    setrlimit(RLIMIT_AS, &limit);
    vs_arena_options options = {.stripe_count = 64, .stripe_bytes = 64 << 20};
    vs_arena *arena = NULL;
    CHECK_EQ(vs_arena_open_file(path, VS_ARENA_SHARE, &options, &arena), VS_E_SYSTEM);
    CHECK(reason_has(path) && arena == NULL);
}

/* ---- how many ---- */

static void a_process_opens_fifteen_at_most(void)
{
    for (int i = 0; i < VS_ARENAS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "arena%d", i);
        in_scratch(path, name);
        CHECK_EQ(try_open(VS_ARENA_SHARE), i < VS_ARENA_NONE ? VS_OK : VS_E_FULL);
    }
    CHECK(reason_has(path));
}

static void readers_that_are_closed_give_their_slot_back(void)
{
    leave_arena();
    for (int i = 0; i < 3 * VS_ARENAS_MAX; i++) {
        vs_arena *arena = NULL, *again = NULL;
        vs_registry *registry = registry_at("arena", VS_ARENA_READ, &arena);
        CHECK_EQ(open_path(path, VS_ARENA_READ, &again), VS_OK);
        CHECK(arena == again);
        vs_arena_close(again); /* opened twice: it stays */
        CHECK_EQ(count_of(registry, "c", ""), 5);
        vs_registry_release(registry);
        vs_arena_close(arena);
    }
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_OK);
    CHECK_EQ(vs_arena_slot(vs_series_metric(series_of(shared_registry("arena", NULL), VS_COUNTER, "c"))->registry->arena), 0);
}

static void a_reader_does_not_become_a_sharer(void)
{
    leave_arena();
    CHECK_EQ(try_open(VS_ARENA_READ), VS_OK);
    CHECK_EQ(try_open(VS_ARENA_SHARE), VS_E_READ_ONLY);
    CHECK(reason_has(path));
}

int main(void)
{
    make_scratch();
    RUN(a_new_file_becomes_an_arena_for_its_owner_alone);
    RUN(an_empty_file_becomes_one_and_keeps_its_mode);
    RUN(a_file_keeps_the_size_it_was_made_with);
    RUN(sizes_out_of_range_are_refused);
    RUN(the_same_file_is_the_same_arena_by_any_name);
    RUN(threads_that_open_it_at_once_get_one_arena_and_one_entry);
    RUN(processes_that_make_it_at_once_make_one);
    RUN(one_that_was_cut_short_in_the_making_is_finished);
    RUN(foreign_files_are_refused_and_left_as_they_were);
    RUN(a_truncated_or_longer_arena_is_refused);
    RUN(another_version_or_byte_order_is_foreign);
    RUN(a_header_that_does_not_add_up_is_corrupt);
    RUN(sizes_that_wrap_around_are_corrupt);
    RUN(each_byte_of_the_header_counts);
    RUN(what_is_no_regular_file_is_refused);
    RUN(names_that_no_file_can_have_are_refused);
    RUN(without_permission_it_is_refused);
    RUN(a_limit_on_files_is_an_error_and_no_signal);
    if (!SANITIZED) /* they need all the address space themselves */
        RUN(a_limit_on_address_space_is_an_error);
    RUN(a_process_opens_fifteen_at_most);
    RUN(readers_that_are_closed_give_their_slot_back);
    RUN(a_reader_does_not_become_a_sharer);
    remove_scratch();
    return check_report();
}
