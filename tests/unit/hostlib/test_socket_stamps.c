/* When unread bytes came. */
#include "hostlib/socket_stamps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "hostlib/real.h"
#include "hostlib/socket_control.h"

/* Of the options, which have their cases in tests/sockets/. */
struct real_calls real_calls;
void real_resolve(void)
{
}
int control_put(struct control_room *room, int level, int type, const void *data, size_t length)
{
    (void)room, (void)level, (void)type, (void)data, (void)length;
    return 0;
}

static void each_byte_has_the_time_of_its_arrival(void **state)
{
    struct socket_stamps stamps = {0};
    (void)state;
    assert_int_equal(socket_stamps_at(&stamps, 0), 0);
    socket_stamps_add(&stamps, 0, 10, 100);
    socket_stamps_add(&stamps, 10, 15, 200);
    assert_int_equal(socket_stamps_at(&stamps, 0), 100);
    assert_int_equal(socket_stamps_at(&stamps, 9), 100);
    assert_int_equal(socket_stamps_at(&stamps, 10), 200);
    assert_int_equal(socket_stamps_at(&stamps, 15), 0);
    socket_stamps_forget(&stamps, 10);
    assert_int_equal(socket_stamps_at(&stamps, 10), 200);
    assert_int_equal(stamps.count, 1);
}

static void bytes_from_before_have_none(void **state)
{
    struct socket_stamps stamps = {0};
    (void)state;
    socket_stamps_add(&stamps, 20, 30, 100);
    assert_int_equal(socket_stamps_at(&stamps, 19), 0);
    assert_int_equal(socket_stamps_at(&stamps, 20), 100);
    socket_stamps_add(&stamps, 40, 50, 200); /* times were not told meanwhile */
    assert_int_equal(socket_stamps_at(&stamps, 35), 0);
    assert_int_equal(socket_stamps_at(&stamps, 40), 200);
}

static void past_the_limit_the_later_time_counts(void **state)
{
    struct socket_stamps stamps = {0};
    (void)state;
    for (uint64_t i = 0; i < 3 * (uint64_t)SOCKET_STAMPS_MAX; i++)
        socket_stamps_add(&stamps, i, i + 1, i + 1);
    assert_int_equal(stamps.count, SOCKET_STAMPS_MAX);
    assert_int_equal(socket_stamps_at(&stamps, 0), 1);
    assert_int_equal(socket_stamps_at(&stamps, 2 * SOCKET_STAMPS_MAX), 3 * SOCKET_STAMPS_MAX);
    socket_stamps_forget(&stamps, 3 * (uint64_t)SOCKET_STAMPS_MAX);
    assert_int_equal(stamps.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_byte_has_the_time_of_its_arrival),
        cmocka_unit_test(bytes_from_before_have_none),
        cmocka_unit_test(past_the_limit_the_later_time_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
