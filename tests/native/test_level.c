/* Levels by name: who follows whom, what the environment may say, and limits on what is repeated. */
#define _GNU_SOURCE
#include "log_fixture.h"

static uint32_t level_of(const char *name) { return vs_load_relaxed((vs_threshold *)vs_level_threshold(text_of(name))); }
static vs_status set(const char *name, vs_level level) { return vs_level_set(text_of(name), level); }

static void everything_begins_at_info(void)
{
    CHECK_EQ(level_of(""), VS_INFO);
    CHECK_EQ(level_of("cas.gc"), VS_INFO);
}

static void a_name_follows_the_nearest_above_it_that_is_set(void)
{
    const vs_threshold *before = vs_level_threshold(text_of("cas.gc.sweep"));
    CHECK_EQ(set("cas", VS_DEBUG), VS_OK);
    CHECK_EQ(level_of("cas.gc.sweep"), VS_DEBUG);
    CHECK_EQ(set("cas.gc", VS_ERROR), VS_OK);
    CHECK_EQ(level_of("cas.gc.sweep"), VS_ERROR);
    CHECK_EQ(level_of("cas.put"), VS_DEBUG);
    CHECK_EQ(set("", VS_TRACE), VS_OK);
    CHECK_EQ(level_of("cas.put"), VS_DEBUG);
    CHECK_EQ(level_of("soup"), VS_TRACE);
    vs_level_unset(text_of("cas.gc"));
    CHECK_EQ(level_of("cas.gc.sweep"), VS_DEBUG);
    vs_level_unset(text_of("cas"));
    CHECK_EQ(level_of("cas.gc.sweep"), VS_TRACE);
    vs_level_unset(text_of(""));
    CHECK_EQ(level_of("cas.gc.sweep"), VS_INFO);
    CHECK(vs_level_threshold(text_of("cas.gc.sweep")) == before); /* for as long as the process lives */
}

static void a_name_is_not_above_one_that_only_begins_like_it(void)
{
    set("cas", VS_ERROR);
    CHECK_EQ(level_of("cashier"), VS_INFO);
    CHECK_EQ(level_of("ca"), VS_INFO);
    CHECK_EQ(level_of("cas."), VS_ERROR);
    CHECK_EQ(level_of("cas"), VS_ERROR);
}

static void a_level_that_is_none_is_refused(void)
{
    CHECK_EQ(set("cas", (vs_level)7), VS_E_INVALID);
    CHECK_EQ(set("", (vs_level)7), VS_E_INVALID);
    CHECK_EQ(set("cas", VS_OFF), VS_OK);
    CHECK_EQ(level_of("cas"), VS_OFF);
}

static void names_of_levels_are_read_in_either_case(void)
{
    vs_level level = VS_OFF;
    for (uint32_t i = 0; i <= VS_OFF; i++)
        CHECK(vs_level_parse(text_of(vs_level_name((vs_level)i)), &level) && level == i);
    CHECK(vs_level_parse(text_of("WARNING"), &level) && level == VS_WARN);
    CHECK(vs_level_parse(text_of("Critical"), &level) && level == VS_FATAL);
    CHECK(!vs_level_parse(text_of(""), &level));
    CHECK(!vs_level_parse(text_of("inform"), &level));
    CHECK(!vs_level_parse(text_of("inf"), &level));
    CHECK(!vs_level_parse((vs_text){"info\0", 5}, &level));
}

static void settings_are_read_part_by_part_and_what_is_none_is_counted(void)
{
    CHECK_EQ(vs_level_configure(text_of(" warn , cas=debug,cas.gc = trace,")), 0);
    CHECK_EQ(level_of("soup"), VS_WARN);
    CHECK_EQ(level_of("cas.put"), VS_DEBUG);
    CHECK_EQ(level_of("cas.gc"), VS_TRACE);
    CHECK_EQ(vs_level_configure(text_of("loud,soup=,=error,a=b=info,cas=off,,")), 3);
    CHECK_EQ(level_of("x"), VS_ERROR);
    CHECK_EQ(level_of("cas.put"), VS_OFF);
    CHECK_EQ(vs_level_configure((vs_text){"", 0}), 0);
}

static void the_environment_is_read_first_and_once(void)
{
    setenv("VAULTSCOPE_LOG_LEVEL", "error,cas=debug,nonsense,soup=loud", 1);
    CHECK_EQ(set("soup", VS_TRACE), VS_OK);
    CHECK_EQ(level_of("cas.gc"), VS_DEBUG);
    CHECK_EQ(level_of("soup"), VS_TRACE);
    CHECK_EQ(level_of("x"), VS_ERROR);
    CHECK_EQ(vs_level_unread(), 2);
    setenv("VAULTSCOPE_LOG_LEVEL", "fatal", 1);
    CHECK_EQ(level_of("y"), VS_ERROR);
}

static void a_call_below_the_level_puts_nothing_into_the_ring(void)
{
    vs_journal *journal = small_journal(VS_POLICY_DROP);
    vs_logger *logger = logger_of(journal, "cas.gc");
    CHECK(!vs_log(logger, VS_DEBUG, "no"));
    CHECK(vs_log(logger, VS_INFO, "yes"));
    set("cas", VS_DEBUG);
    CHECK(vs_log(logger, VS_DEBUG, "yes"));
    set("cas", VS_OFF);
    CHECK(!vs_log(logger, VS_FATAL, "no"));
    CHECK_EQ(drain_all(cursor_of(journal, "a")), 2);
    CHECK_EQ(total_of(journal->dropped), 0);
}

static vs_word stop_setting;

static void *set_and_ask(void *unused)
{
    (void)unused;
    char name[16];
    for (uint64_t i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "t.%llu", (unsigned long long)(i % 50));
        set(i % 3 == 0 ? "t" : name, (vs_level)(i % VS_LEVELS));
        CHECK(level_of(name) <= VS_OFF);
        vs_level_unset(text_of(name));
    }
    vs_store_relaxed(&stop_setting, 1);
    return NULL;
}

static void levels_change_while_threads_ask(void)
{
    const vs_threshold *threshold = vs_level_threshold(text_of("t.7"));
    pthread_t thread;
    pthread_create(&thread, NULL, set_and_ask, NULL);
    uint32_t most = 0;
    while (vs_load_relaxed(&stop_setting) == 0) {
        uint32_t now = vs_load_relaxed((vs_threshold *)threshold);
        most = now > most ? now : most;
    }
    pthread_join(thread, NULL);
    CHECK(most <= VS_OFF);
}

/* ---- limits ---- */

static void a_limit_lets_the_first_of_each_period_through(void)
{
    vs_limiter limiter = {.limit = 3, .period_ns = 1000};
    uint64_t suppressed = 99, passed = 0;
    for (int64_t now = 5000; now < 5010; now++)
        passed += vs_limiter_pass(&limiter, now, &suppressed);
    CHECK_EQ(passed, 3);
    CHECK_EQ(suppressed, 0);
    CHECK(vs_limiter_pass(&limiter, 6000, &suppressed));
    CHECK_EQ(suppressed, 7);
    CHECK(vs_limiter_pass(&limiter, 6001, &suppressed));
    CHECK_EQ(suppressed, 0);
}

static void a_clock_that_steps_back_opens_no_new_period(void)
{
    vs_limiter limiter = {.limit = 1, .period_ns = 1000};
    uint64_t suppressed;
    CHECK(vs_limiter_pass(&limiter, 9000, &suppressed));
    CHECK(!vs_limiter_pass(&limiter, 3000, &suppressed));
    CHECK(!vs_limiter_pass(&limiter, 9999, &suppressed));
    CHECK(vs_limiter_pass(&limiter, 10000, &suppressed));
    CHECK_EQ(suppressed, 2);
}

static vs_limiter shared_limiter = {.limit = 5, .period_ns = 50};
static vs_word passed_, told_, clock_;

static void *repeat(void *unused)
{
    (void)unused;
    for (int i = 0; i < 20000; i++) {
        uint64_t suppressed = 0;
        if (vs_limiter_pass(&shared_limiter, (int64_t)vs_add_relaxed(&clock_, 1u), &suppressed)) {
            vs_add_relaxed(&passed_, 1u);
            vs_add_relaxed(&told_, suppressed);
        }
    }
    return NULL;
}

static void each_call_has_passed_or_is_told_of(void)
{
    run_threads(4, repeat, NULL);
    uint64_t left;
    CHECK(vs_limiter_pass(&shared_limiter, INT64_MAX, &left));
    CHECK_EQ(vs_load_relaxed(&passed_) + vs_load_relaxed(&told_) + left, 80000);
    CHECK(vs_load_relaxed(&passed_) >= 5);
}

int main(void)
{
    make_scratch();
    unsetenv("VAULTSCOPE_LOG_LEVEL");
    RUN(everything_begins_at_info);
    RUN(a_name_follows_the_nearest_above_it_that_is_set);
    RUN(a_name_is_not_above_one_that_only_begins_like_it);
    RUN(a_level_that_is_none_is_refused);
    RUN(names_of_levels_are_read_in_either_case);
    RUN(settings_are_read_part_by_part_and_what_is_none_is_counted);
    RUN(the_environment_is_read_first_and_once);
    RUN(a_call_below_the_level_puts_nothing_into_the_ring);
    RUN(levels_change_while_threads_ask);
    RUN(a_limit_lets_the_first_of_each_period_through);
    RUN(a_clock_that_steps_back_opens_no_new_period);
    RUN(each_call_has_passed_or_is_told_of);
    remove_scratch();
    return check_report();
}
