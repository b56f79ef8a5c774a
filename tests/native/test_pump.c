/* Lines to a file: each record once and each line whole, whoever is killed when, and whatever the file does. */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/time.h>

#include "log_fixture.h"

static vs_word32 stop;
static const vs_pump_options QUICK = {.run_ns = 200000000};

static void log_number(const vs_logger *logger, uint64_t writer, uint64_t n)
{
    static const char padding[] = "................................................................";
    vs_log(logger, VS_INFO, "n", vs_field_u64("w", writer), vs_field_u64("n", n),
           vs_field_text_of("pad", (vs_text){padding, n % sizeof padding}));
}

static void log_numbers(vs_journal *journal, uint64_t from, uint64_t to)
{
    vs_logger *logger = logger_of(journal, "t");
    for (uint64_t n = from; n < to; n++)
        log_number(logger, 0, n);
    vs_logger_close(logger);
}

static int open_log(const char *name)
{
    char path[PATH_BYTES];
    in_scratch(path, name);
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0644);
    if (fd < 0)
        abort();
    return fd;
}

/* The numbers of the lines in a file, if each line is whole: they must be those from `from` on, in order. Returns the one behind the
 * last; UINT64_MAX: it is not so. */
static uint64_t numbers_in(int fd, uint64_t from)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return UINT64_MAX;
    size_t size = (size_t)status.st_size;
    char *text = malloc(size + 1);
    bool good = text != NULL && pread(fd, text, size, 0) == (ssize_t)size;
    for (char *at = text, *end = text + size; good && at != end;) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        good = newline != NULL && at[0] == '{' && newline[-1] == '}' && number_in(at, newline, "n") == from;
        if (!good)
            fprintf(stderr, "    %.*s instead of %llu\n", (int)(newline != NULL ? newline - at : end - at), at, (unsigned long long)from);
        from++;
        at = newline + 1;
    }
    free(text);
    return good ? from : UINT64_MAX;
}

/* ---- as it should be ---- */

static void lines_are_appended_in_order(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    int fd = open_log("out");
    for (uint64_t i = 0; i < 50; i++) {
        log_numbers(journal, i * 20, i * 20 + 20);
        CHECK_EQ(vs_cursor_pump(cursor, fd, &QUICK, &stop), VS_PUMP_IDLE);
    }
    CHECK_EQ(numbers_in(fd, 0), 1000);
    CHECK_EQ(written_by(cursor), 1000);
}

static void a_file_that_has_reached_its_limit_ends_the_pump(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    vs_pump_options limited = {.run_ns = 200000000, .file_bytes = 500};
    int fd = open_log("out");
    log_numbers(journal, 0, 100);
    CHECK_EQ(vs_cursor_pump(cursor, fd, &limited, &stop), VS_PUMP_LIMIT);
    CHECK_EQ(numbers_in(fd, 0), 100);
}

static void stop_ends_it_once_nothing_is_left(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    vs_pump_options patient = {.run_ns = INT64_MAX / 2, .wait_ns = INT64_MAX / 2};
    int fd = open_log("out");
    log_numbers(journal, 0, 100);
    vs_store_relaxed(&stop, 1);
    CHECK_EQ(vs_cursor_pump(cursor, fd, &patient, &stop), VS_PUMP_STOPPED);
    CHECK_EQ(numbers_in(fd, 0), 100);
}

static void syncing_a_pipe_is_no_error(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    vs_pump_options durable = {.run_ns = 200000000, .sync = true};
    int ends[2], fd = open_log("out");
    CHECK_EQ(pipe(ends), 0);
    log_numbers(journal, 0, 10);
    CHECK_EQ(vs_cursor_pump(cursor, ends[1], &durable, &stop), VS_PUMP_IDLE);
    log_numbers(journal, 10, 20);
    CHECK_EQ(vs_cursor_pump(cursor, fd, &durable, &stop), VS_PUMP_IDLE);
    CHECK_EQ(numbers_in(fd, 10), 20);
}

/* ---- full, closed, broken ---- */

static void a_full_device_keeps_the_batch_for_a_file(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    int full = open("/dev/full", O_WRONLY), fd = open_log("out");
    log_numbers(journal, 0, 10);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(vs_cursor_pump(cursor, full, &QUICK, &stop), VS_PUMP_ERROR);
        CHECK_EQ(errno, ENOSPC);
    }
    CHECK_EQ(written_by(cursor), 0);
    log_numbers(journal, 10, 20);
    CHECK_EQ(vs_cursor_pump(cursor, fd, &QUICK, &stop), VS_PUMP_IDLE);
    CHECK_EQ(numbers_in(fd, 0), 20);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        abort();
}

static void a_full_disk_leaves_whole_lines_and_is_gone_on_with(void)
{
    signal(SIGXFSZ, SIG_IGN);
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    int fd = open_log("out");
    log_numbers(journal, 0, 20);
    CHECK_EQ(vs_cursor_pump(cursor, fd, &QUICK, &stop), VS_PUMP_IDLE);
    struct stat before, after;
    CHECK_EQ(fstat(fd, &before), 0);
    log_numbers(journal, 20, 60);
    limit_files((rlim_t)before.st_size + 777);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(vs_cursor_pump(cursor, fd, &QUICK, &stop), VS_PUMP_ERROR);
        CHECK_EQ(errno, EFBIG);
        CHECK_EQ(fstat(fd, &after), 0);
        CHECK(after.st_size > before.st_size && after.st_size <= before.st_size + 777);
        CHECK(numbers_in(fd, 0) > 20); /* which are whole lines, each once */
    }
    log_numbers(journal, 60, 70);
    limit_files(RLIM_INFINITY);
    CHECK_EQ(vs_cursor_pump(cursor, fd, &QUICK, &stop), VS_PUMP_IDLE);
    CHECK_EQ(numbers_in(fd, 0), 70);
}

static void the_rest_of_a_batch_goes_to_the_file_that_took_the_place_of_a_full_one(void)
{
    signal(SIGXFSZ, SIG_IGN);
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    int first = open_log("first"), second = open_log("second");
    log_numbers(journal, 0, 20);
    limit_files(555);
    CHECK_EQ(vs_cursor_pump(cursor, first, &QUICK, &stop), VS_PUMP_ERROR);
    limit_files(RLIM_INFINITY);
    CHECK_EQ(vs_cursor_pump(cursor, second, &QUICK, &stop), VS_PUMP_IDLE);
    uint64_t landed = numbers_in(first, 0);
    CHECK(landed > 0 && landed < 20);
    CHECK_EQ(numbers_in(second, landed), 20);
}

static void a_file_that_is_cut_off_by_others_goes_on_from_its_new_end(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    int fd = open_log("out");
    log_numbers(journal, 0, 20);
    CHECK_EQ(vs_cursor_pump(cursor, fd, &QUICK, &stop), VS_PUMP_IDLE);
    CHECK_EQ(ftruncate(fd, 0), 0);
    log_numbers(journal, 20, 30);
    CHECK_EQ(vs_cursor_pump(cursor, fd, &QUICK, &stop), VS_PUMP_IDLE);
    CHECK_EQ(numbers_in(fd, 20), 30);
}

static void a_closed_descriptor_is_an_error_and_nothing_is_lost(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    log_numbers(journal, 0, 5);
    CHECK_EQ(vs_cursor_pump(cursor, -1, &QUICK, &stop), VS_PUMP_ERROR);
    CHECK_EQ(errno, EBADF);
    int fd = open_log("out");
    CHECK_EQ(vs_cursor_pump(cursor, fd, &QUICK, &stop), VS_PUMP_IDLE);
    CHECK_EQ(numbers_in(fd, 0), 5);
}

/* ---- pipes ---- */

static void a_full_pipe_that_does_not_wait_is_waited_for_and_gone_on_with(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    int ends[2], fd = open_log("out");
    CHECK_EQ(pipe2(ends, O_NONBLOCK), 0);
    CHECK(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
    log_numbers(journal, 0, 200);
    vs_pump_options brief = {.run_ns = 30000000};
    int64_t began = vs_clock_monotonic_ns();
    CHECK_EQ(vs_cursor_pump(cursor, ends[1], &brief, &stop), VS_PUMP_ERROR);
    CHECK_EQ(errno, EAGAIN);
    CHECK(vs_clock_monotonic_ns() - began >= brief.run_ns);
    char buffer[8192];
    for (vs_pump end = VS_PUMP_ERROR; end == VS_PUMP_ERROR;) {
        ssize_t got = read(ends[0], buffer, sizeof buffer);
        CHECK(got > 0 && write(fd, buffer, (size_t)got) == got);
        end = vs_cursor_pump(cursor, ends[1], &brief, &stop);
    }
    for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
        CHECK_EQ(write(fd, buffer, (size_t)got), got);
    CHECK_EQ(numbers_in(fd, 0), 200);
}

static int read_slowly(void *fds)
{
    int *fd = fds;
    char buffer[100];
    close(fd[1]);
    for (ssize_t got; (got = read(fd[0], buffer, sizeof buffer)) > 0;)
        CHECK_EQ(write(fd[2], buffer, (size_t)got), got);
    return 0;
}

static void ignore(int signal) { (void)signal; }

static void signals_and_partial_writes_tear_no_line(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    int fds[3];
    CHECK_EQ(pipe(fds), 0);
    CHECK(fcntl(fds[1], F_SETPIPE_SZ, 4096) >= 4096);
    fds[2] = open_log("out");
    pid_t reader = start(read_slowly, fds);
    close(fds[0]);
    struct sigaction action = {.sa_handler = ignore}; /* without SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    vs_pump_options patient = {.run_ns = 20000000000};
    for (uint64_t i = 0; i < 20; i++) {
        log_numbers(journal, i * 150, i * 150 + 150);
        CHECK_EQ(vs_cursor_pump(cursor, fds[1], &patient, &stop), VS_PUMP_IDLE);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    close(fds[1]);
    CHECK_EQ(outcome(reader), 0);
    CHECK_EQ(numbers_in(fds[2], 0), 3000);
}

/* ---- killed ---- */

/* What a process leaves that is killed with so much of a batch in the file. */
static int leave_a_part(void *part)
{
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    int fd = open_log("out");
    struct stat status;
    vs_batch batch;
    CHECK_EQ(fstat(fd, &status), 0);
    CHECK(vs_cursor_take(cursor, 1 << 18, &batch));
    uint64_t inode = (uint64_t)status.st_ino ^ (uint64_t)status.st_dev << 40; /* as pump.c has it */
    vs_store_relaxed(&cursor->words->offset, (uint64_t)status.st_size);
    vs_store_relaxed(&cursor->words->inode, inode);
    size_t bytes = *(int *)part < 0 ? batch.size : (size_t)*(int *)part;
    CHECK_EQ(write(fd, batch.data, bytes), (ssize_t)bytes);
    raise(SIGKILL);
    return 0;
}

static void a_batch_of_a_killed_process_is_finished_or_taken_back(void)
{
    const int parts[] = {0, 1, 150, 700, -1};
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    int fd = open_log("out");
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        log_numbers(journal, n, n + 10);
        int part = parts[i];
        CHECK_EQ(in_child(leave_a_part, &part), BY_SIGNAL + SIGKILL);
        log_numbers(journal, n + 10, n + 20);
        vs_cursor *cursor = cursor_of(journal, "a");
        CHECK_EQ(vs_cursor_pump(cursor, fd, &QUICK, &stop), VS_PUMP_IDLE);
        vs_cursor_close(cursor, false);
        n += 20;
        CHECK_EQ(numbers_in(fd, 0), n);
    }
}

static void a_batch_of_a_killed_process_goes_whole_to_another_file(void)
{
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    int part = 150, other = open_log("other");
    CHECK_EQ(write(other, "", 0), 0);
    log_numbers(journal, 0, 10);
    CHECK_EQ(in_child(leave_a_part, &part), BY_SIGNAL + SIGKILL);
    vs_cursor *cursor = cursor_of(journal, "a");
    CHECK_EQ(vs_cursor_pump(cursor, other, &QUICK, &stop), VS_PUMP_IDLE);
    CHECK_EQ(numbers_in(other, 0), 10);
}

enum { KILLS = SANITIZED ? 40 : 200 };
static stage *together;

static int pump_until_killed(void *unused)
{
    (void)unused;
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_cursor *cursor = cursor_of(journal, "a");
    vs_pump_options endless = {.run_ns = INT64_MAX / 2, .wait_ns = 1000000};
    int fd = open_log("out");
    vs_add_release(&together->ready, 1u);
    for (;;)
        vs_cursor_pump(cursor, fd, &endless, &stop);
    return 0;
}

static void a_pump_that_is_killed_again_and_again_writes_each_record_once(void)
{
    together = new_stage();
    vs_journal *journal = shared_journal(VS_POLICY_DROP);
    vs_logger *logger = logger_of(journal, "t");
    uint64_t n = 0;
    for (uint64_t kill_ = 0; kill_ < KILLS; kill_++) {
        pid_t child = start(pump_until_killed, NULL);
        await(&together->ready, kill_ == 0); /* before there is a cursor nothing is kept */
        int64_t end = INT64_MAX;
        for (uint64_t tries = 0; vs_clock_monotonic_ns() < end; tries++) {
            if (end == INT64_MAX && vs_load_acquire(&together->ready) > kill_)
                end = vs_clock_monotonic_ns() + (int64_t)(mixed(kill_, 3) % 2000000);
            if (vs_log(logger, VS_INFO, "n", vs_field_u64("n", n)))
                n++;
            else
                sched_yield();
        }
        kill_9(child);
    }
    int fd = open_log("out");
    vs_cursor *cursor = cursor_of(journal, "a");
    CHECK_EQ(vs_cursor_pump(cursor, fd, &(vs_pump_options){.run_ns = 60000000000}, &stop), VS_PUMP_IDLE);
    CHECK(n > KILLS * 10);
    CHECK_EQ(numbers_in(fd, 0), n);
    CHECK_EQ(missed_by(cursor), 0);
}

int main(void)
{
    make_scratch();
    RUN(lines_are_appended_in_order);
    RUN(a_file_that_has_reached_its_limit_ends_the_pump);
    RUN(stop_ends_it_once_nothing_is_left);
    RUN(syncing_a_pipe_is_no_error);
    RUN(a_full_device_keeps_the_batch_for_a_file);
    RUN(a_full_disk_leaves_whole_lines_and_is_gone_on_with);
    RUN(the_rest_of_a_batch_goes_to_the_file_that_took_the_place_of_a_full_one);
    RUN(a_file_that_is_cut_off_by_others_goes_on_from_its_new_end);
    RUN(a_closed_descriptor_is_an_error_and_nothing_is_lost);
    RUN(a_full_pipe_that_does_not_wait_is_waited_for_and_gone_on_with);
    RUN(signals_and_partial_writes_tear_no_line);
    RUN(a_batch_of_a_killed_process_is_finished_or_taken_back);
    RUN(a_batch_of_a_killed_process_goes_whole_to_another_file);
    RUN(a_pump_that_is_killed_again_and_again_writes_each_record_once);
    remove_scratch();
    return check_report();
}
