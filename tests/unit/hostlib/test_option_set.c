/* Sets of option values: equal ones are the same set; past the limit a socket gets its own. */
#include "hostlib/option_set.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "hostlib/signal_guard.h"

/* The lock's: no signals here. */
_Thread_local struct signal_guard signal_guard;
void signal_guard_deliver(void)
{
}

static void equal_values_share_one_set(void **state)
{
    (void)state;
    struct socket_options values = option_set_default;
    assert_ptr_equal(option_set_shared(&values), &option_set_default);
    values.values[1] = 5;
    const struct socket_options *first = option_set_shared(&values);
    assert_non_null(first);
    assert_int_equal(first->values[1], 5);
    assert_ptr_equal(option_set_shared(&values), first);
    values.values[1] = 6;
    assert_ptr_not_equal(option_set_shared(&values), first);
    assert_int_equal(first->values[1], 5);
}

static void past_the_limit_sets_are_not_shared(void **state)
{
    (void)state;
    struct socket_options values = option_set_default;
    const struct socket_options *known = option_set_shared(&values);
    unsigned shared = 0;
    for (int i = 0; i < 2 * OPTION_SETS_MAX; i++) {
        values.linger.l_linger = i + 1;
        shared += option_set_shared(&values) != NULL;
    }
    assert_true(shared <= OPTION_SETS_MAX);
    values = option_set_default;
    assert_ptr_equal(option_set_shared(&values), known);
    values.linger.l_linger = 1; /* known before the limit was reached */
    assert_non_null(option_set_shared(&values));

    values.linger.l_linger = 3 * OPTION_SETS_MAX;
    struct socket_options *own = option_set_own(&values);
    struct socket_options *other = option_set_own(&values);
    assert_non_null(own);
    assert_ptr_not_equal(own, other);
    own->linger.l_linger = 7;
    assert_int_equal(other->linger.l_linger, 3 * OPTION_SETS_MAX);
    option_set_free(own);
    option_set_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_values_share_one_set),
        cmocka_unit_test(past_the_limit_sets_are_not_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
