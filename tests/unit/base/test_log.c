/* Logging: one line, one write, nothing disturbed. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/** Standard error is this pipe while a test runs. */
static int captured[2];
static int real_stderr;

static int set_up(void **state)
{
    (void)state;
    real_stderr = dup(STDERR_FILENO);
    log_set("prog", LOG_LEVEL_INFO);
    return pipe2(captured, O_CLOEXEC | O_NONBLOCK) < 0 || dup2(captured[1], STDERR_FILENO) < 0;
}

static int tear_down(void **state)
{
    (void)state;
    int restored = dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    (void)close(captured[0]);
    (void)close(captured[1]);
    return restored < 0;
}

static const char *text_written(void)
{
    static char text[4 * LOG_LINE_MAX];
    ssize_t length = read(captured[0], text, sizeof(text) - 1);
    text[length < 0 ? 0 : length] = '\0';
    return text;
}

static void test_a_line_names_program_and_level(void **state)
{
    (void)state;
    log_warning("port %s: %d frames lost", "eth0", 7);
    assert_string_equal(text_written(), "prog: warning: port eth0: 7 frames lost\n");
    log_error("gone");
    log_info("here");
    assert_string_equal(text_written(), "prog: error: gone\nprog: info: here\n");
}

static void test_only_wanted_levels_are_written(void **state)
{
    (void)state;
    log_debug("not this");
    assert_string_equal(text_written(), "");
    log_set("prog", LOG_LEVEL_DEBUG);
    assert_int_equal(log_level_current(), LOG_LEVEL_DEBUG);
    log_debug("but this");
    assert_string_equal(text_written(), "prog: debug: but this\n");
}

static void test_a_message_stays_one_line_and_is_cut_at_its_end(void **state)
{
    (void)state;
    log_error("one\ntwo\r\nthree");
    assert_string_equal(text_written(), "prog: error: one two  three\n");
    char longest[2 * LOG_LINE_MAX];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    log_error("%s", longest);
    const char *text = text_written();
    assert_true(strlen(text) < LOG_LINE_MAX);
    assert_true(strlen(text) > LOG_LINE_MAX - 4);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void test_errno_survives_even_a_closed_standard_error(void **state)
{
    (void)state;
    (void)close(STDERR_FILENO);
    errno = ENOSPC;
    log_error("nobody hears this");
    assert_int_equal(errno, ENOSPC);
}

static void test_levels_are_read_by_name(void **state)
{
    (void)state;
    enum log_level level = LOG_LEVEL_INFO;
    assert_true(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_LEVEL_DEBUG);
    assert_true(log_level_parse("error", &level));
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_false(log_level_parse("loud", &level));
    assert_false(log_level_parse("", &level));
    assert_int_equal(level, LOG_LEVEL_ERROR);
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(test_a_line_names_program_and_level),
        LOG_TEST(test_only_wanted_levels_are_written),
        LOG_TEST(test_a_message_stays_one_line_and_is_cut_at_its_end),
        LOG_TEST(test_errno_survives_even_a_closed_standard_error),
        LOG_TEST(test_levels_are_read_by_name),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
