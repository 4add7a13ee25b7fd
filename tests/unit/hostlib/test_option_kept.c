/* Lists of options for accepted sockets: equal ones are the same; bounded. */
#include "hostlib/option_kept.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "hostlib/real.h"
#include "hostlib/signal_guard.h"

/* The lock's: no signals here. */
_Thread_local struct signal_guard signal_guard;
void signal_guard_deliver(void)
{
}

/* The options that were set, in order. */
static int set_names[OPTION_KEPT_ENTRIES_MAX];
static int set_count;

static int note_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    assert_int_equal(fd, 7);
    assert_int_equal(level, SOL_SOCKET);
    assert_int_equal(length, 4);
    assert_non_null(value);
    set_names[set_count++] = name;
    return 0;
}

struct real_calls real_calls = {.setsockopt = note_setsockopt};
void real_resolve(void)
{
}

static const struct option_kept *add(const struct option_kept *list, int name, int value)
{
    return option_kept_add(list, SOL_SOCKET, name, &value, sizeof(value));
}

static void equal_lists_are_the_same(void **state)
{
    (void)state;
    const struct option_kept *first = add(add(NULL, 1, 5), 2, 6);
    assert_non_null(first);
    assert_ptr_equal(add(add(NULL, 1, 5), 2, 6), first);
    assert_ptr_not_equal(add(add(NULL, 1, 5), 2, 7), first);
    /* Another value, and back: nothing new is made. */
    assert_ptr_equal(add(add(first, 2, 9), 2, 6), first);
    assert_ptr_equal(option_kept_find(first, SOL_SOCKET, 1), first->before);
    assert_null(option_kept_find(first, IPPROTO_TCP, 1));
}

static void the_last_value_is_set_in_order(void **state)
{
    (void)state;
    option_kept_apply(add(add(add(add(NULL, 1, 5), 2, 6), 3, 7), 1, 8), 7);
    assert_int_equal(set_count, 3);
    assert_int_equal(set_names[0], 2);
    assert_int_equal(set_names[1], 3);
    assert_int_equal(set_names[2], 1);
}

static void what_means_more_than_a_value_is_not_inherited(void **state)
{
    (void)state;
    assert_true(option_kept_is_inherited(SOL_SOCKET, SO_MARK));
    assert_true(option_kept_is_inherited(IPPROTO_IP, IP_RECVTTL));
    assert_false(option_kept_is_inherited(SOL_SOCKET, SO_PRIORITY));
    assert_false(option_kept_is_inherited(SOL_SOCKET, SO_ATTACH_FILTER));
    assert_false(option_kept_is_inherited(IPPROTO_TCP, TCP_DEFER_ACCEPT));
    assert_false(option_kept_is_inherited(IPPROTO_IP, IP_ADD_MEMBERSHIP));
}

static void past_the_limits_a_list_stays_as_it_is(void **state)
{
    (void)state;
    uint8_t large[OPTION_KEPT_BYTES_MAX + 1] = {0};
    assert_null(option_kept_add(NULL, SOL_SOCKET, 1, large, sizeof(large)));
    const struct option_kept *list = NULL;
    unsigned longest = 0;
    for (int name = 0; name < 2 * OPTION_KEPT_ENTRIES_MAX; name++)
        list = add(list, 1000 + name, 1);
    for (const struct option_kept *entry = list; entry != NULL; entry = entry->before)
        longest++;
    assert_int_equal(longest, OPTION_KEPT_ENTRIES_MAX);
    unsigned made = 0;
    for (int value = 0; value < 2 * OPTION_KEPT_MAX; value++)
        made += add(NULL, 1, 1000 + value) != NULL;
    assert_in_range(made, 1, OPTION_KEPT_MAX);
    assert_non_null(add(NULL, 1, 1000)); /* known before the limit was reached */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_lists_are_the_same),
        cmocka_unit_test(the_last_value_is_set_in_order),
        cmocka_unit_test(what_means_more_than_a_value_is_not_inherited),
        cmocka_unit_test(past_the_limits_a_list_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
