#include "base/timer_wheel.h"
#include "test_support.h"

#include <stdlib.h>
#include <time.h>

#define TIMERS 200

static struct timer_wheel wheel;
static struct timer_wheel_entry entries[TIMERS];

static int reset(void **state)
{
    (void)state;
    memset(entries, 0, sizeof(entries));
    timer_wheel_init(&wheel, 0);
    return 0;
}

static void empty_wheel_has_no_deadline(void **state)
{
    (void)state;
    assert_int_equal(timer_wheel_next_ns(&wheel), TIME_NEVER);
    assert_null(timer_wheel_expire(&wheel, UINT64_C(1) << 61));
}

static void entry_is_due_at_its_deadline_and_not_before(void **state)
{
    (void)state;
    const uint64_t deadlines[] = {1, 16383, 16384, 99999, 1 * NS_PER_S, 7200 * NS_PER_S};
    for (unsigned i = 0; i < sizeof(deadlines) / sizeof(deadlines[0]); i++) {
        timer_wheel_init(&wheel, 0);
        timer_wheel_set(&wheel, &entries[0], deadlines[i]);
        assert_null(timer_wheel_expire(&wheel, deadlines[i] - 1));
        assert_ptr_equal(timer_wheel_expire(&wheel, deadlines[i]), &entries[0]);
        assert_null(timer_wheel_expire(&wheel, deadlines[i]));
    }
}

static void past_deadline_is_due_at_once(void **state)
{
    (void)state;
    assert_null(timer_wheel_expire(&wheel, 10 * NS_PER_S));
    timer_wheel_set(&wheel, &entries[0], 3);
    assert_int_equal(timer_wheel_next_ns(&wheel), 3);
    assert_ptr_equal(timer_wheel_expire(&wheel, 10 * NS_PER_S), &entries[0]);
}

static void setting_again_moves_and_never_cancels(void **state)
{
    (void)state;
    timer_wheel_set(&wheel, &entries[0], 1 * NS_PER_S);
    timer_wheel_set(&wheel, &entries[0], 2 * NS_PER_S);
    assert_null(timer_wheel_expire(&wheel, 1 * NS_PER_S));
    timer_wheel_set(&wheel, &entries[0], TIME_NEVER);
    assert_null(timer_wheel_expire(&wheel, 3 * NS_PER_S));
    assert_int_equal(timer_wheel_next_ns(&wheel), TIME_NEVER);
    timer_wheel_cancel(&wheel, &entries[0]); /* of one not set: nothing */
}

static void next_deadline_follows_every_change(void **state)
{
    (void)state;
    timer_wheel_set(&wheel, &entries[0], 5 * NS_PER_S);
    assert_int_not_equal(timer_wheel_next_ns(&wheel), TIME_NEVER);
    timer_wheel_set(&wheel, &entries[1], 2 * NS_PER_S); /* earlier than all: known to the ns */
    assert_int_equal(timer_wheel_next_ns(&wheel), 2 * NS_PER_S);
    timer_wheel_set(&wheel, &entries[2], 3 * NS_PER_S);
    assert_int_equal(timer_wheel_next_ns(&wheel), 2 * NS_PER_S);
    timer_wheel_cancel(&wheel, &entries[2]); /* of a later one */
    assert_int_equal(timer_wheel_next_ns(&wheel), 2 * NS_PER_S);
    timer_wheel_set(&wheel, &entries[1], 1 * NS_PER_S); /* moved ahead */
    assert_int_equal(timer_wheel_next_ns(&wheel), 1 * NS_PER_S);
    timer_wheel_set(&wheel, &entries[1], 4 * NS_PER_S); /* and back */
    assert_true(timer_wheel_next_ns(&wheel) > 1 * NS_PER_S);
    assert_true(timer_wheel_next_ns(&wheel) <= 4 * NS_PER_S);
    timer_wheel_cancel(&wheel, &entries[1]);
    assert_true(timer_wheel_next_ns(&wheel) > 4 * NS_PER_S);
    assert_true(timer_wheel_next_ns(&wheel) <= 5 * NS_PER_S);
    timer_wheel_cancel(&wheel, &entries[0]);
    assert_int_equal(timer_wheel_next_ns(&wheel), TIME_NEVER);
}

/** More than wait before they enter their slots, and moved while they do. */
static void what_was_set_lately_is_due_like_the_rest(void **state)
{
    (void)state;
    for (unsigned i = 0; i < TIMERS; i++)
        timer_wheel_set(&wheel, &entries[i], (TIMERS - i) * NS_PER_MS);
    assert_int_equal(timer_wheel_next_ns(&wheel), 1 * NS_PER_MS);
    for (unsigned i = 0; i < TIMERS; i += 2)
        timer_wheel_set(&wheel, &entries[i], (TIMERS - i) * NS_PER_MS + NS_PER_S);
    for (unsigned i = TIMERS; i > 0; i--) {
        uint64_t due_ns = (TIMERS - i + 1) * NS_PER_MS;
        struct timer_wheel_entry *due = timer_wheel_expire(&wheel, due_ns);
        assert_ptr_equal(due, (i - 1) % 2 == 0 ? NULL : &entries[i - 1]);
    }
    for (unsigned i = 0; i < TIMERS / 2; i++)
        assert_non_null(timer_wheel_expire(&wheel, 2 * NS_PER_S));
    assert_null(timer_wheel_expire(&wheel, 2 * NS_PER_S));
    assert_int_equal(timer_wheel_next_ns(&wheel), TIME_NEVER);
}

static void deadline_beyond_the_range_is_kept(void **state)
{
    (void)state;
    uint64_t far_ns = (UINT64_C(1) << 63) + 5;
    timer_wheel_set(&wheel, &entries[0], far_ns);
    assert_null(timer_wheel_expire(&wheel, UINT64_C(1) << 62));
    assert_null(timer_wheel_expire(&wheel, far_ns - 1));
    assert_ptr_equal(timer_wheel_expire(&wheel, far_ns), &entries[0]);
}

/** The earliest deadline of those set, by looking at all. */
static uint64_t earliest(void)
{
    uint64_t earliest_ns = TIME_NEVER;
    for (int i = 0; i < TIMERS; i++)
        if (entries[i].previous_next != NULL && entries[i].deadline_ns < earliest_ns)
            earliest_ns = entries[i].deadline_ns;
    return earliest_ns;
}

static void behaves_like_a_sorted_list(void **state)
{
    (void)state;
    struct test_random random = {4};
    uint64_t now_ns = 0;
    for (int step = 0; step < 100000; step++) {
        struct timer_wheel_entry *entry = &entries[test_random_below(&random, TIMERS)];
        uint64_t ahead_ns = test_random_next(&random) >> test_random_below(&random, 32);
        switch (test_random_below(&random, 4)) {
        case 0:
            timer_wheel_cancel(&wheel, entry);
            break;
        case 1:
            timer_wheel_set(&wheel, entry, now_ns + ahead_ns * test_random_below(&random, 5000));
            break;
        case 2:
            timer_wheel_set(&wheel, entry, now_ns + ahead_ns);
            break;
        default: {
            uint64_t expected_ns = earliest();
            uint64_t next_ns = timer_wheel_next_ns(&wheel);
            assert_true(next_ns <= expected_ns);
            now_ns +=
                test_random_below(&random, 2) != 0 && next_ns != TIME_NEVER && next_ns > now_ns
                    ? next_ns - now_ns
                    : ahead_ns;
            while (expected_ns <= now_ns) {
                struct timer_wheel_entry *due = timer_wheel_expire(&wheel, now_ns);
                assert_non_null(due);
                assert_true(due->deadline_ns <= now_ns);
                assert_null(due->previous_next);
                expected_ns = earliest();
            }
            assert_null(timer_wheel_expire(&wheel, now_ns));
            assert_true(timer_wheel_next_ns(&wheel) > now_ns);
        }
        }
    }
}

static void waiting_for_the_next_deadline_makes_progress(void **state)
{
    (void)state;
    struct test_random random = {5};
    for (int i = 0; i < TIMERS; i++)
        timer_wheel_set(&wheel, &entries[i], (uint64_t)test_random_next(&random) << 10);
    int expired = 0;
    for (int step = 0; step < TIMERS * (TIMER_WHEEL_LEVELS + 1) && expired < TIMERS; step++) {
        uint64_t now_ns = timer_wheel_next_ns(&wheel);
        while (timer_wheel_expire(&wheel, now_ns) != NULL)
            expired++;
    }
    assert_int_equal(expired, TIMERS);
}

/** Nanoseconds of CPU time that one expiry and setting again costs, with so many waiting: what
    pacing does for every burst. A million bursts a second in all, whoever they are of. */
static double cost_ns(unsigned count)
{
    const unsigned operations = 400000;
    const uint64_t interval_ns = count * NS_PER_US;
    struct timer_wheel_entry *many = calloc(count, sizeof(*many));
    assert_non_null(many);
    timer_wheel_init(&wheel, 0);
    for (unsigned i = 0; i < count; i++)
        timer_wheel_set(&wheel, &many[i], (i * UINT64_C(7919)) % interval_ns);
    uint64_t now_ns = 0;
    unsigned done = 0;
    clock_t start = clock();
    while (done < operations) {
        struct timer_wheel_entry *entry;
        now_ns = timer_wheel_next_ns(&wheel);
        while ((entry = timer_wheel_expire(&wheel, now_ns)) != NULL) {
            timer_wheel_set(&wheel, entry, now_ns + interval_ns);
            done++;
        }
    }
    double cost = (double)(clock() - start) * 1e9 / CLOCKS_PER_SEC / done;
    free(many);
    return cost;
}

static void cost_does_not_grow_with_what_waits(void **state)
{
    (void)state;
    double few = cost_ns(1000), lots = cost_ns(100000);
    print_message("timer wheel: %.0f ns with 1, %.0f ns with 1,000, %.0f ns with 100,000 entries\n",
                  cost_ns(1), few, lots);
    /* Caches may cost something; work in proportion would be a hundred times as much. */
    assert_true(lots < 20 * few + 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(empty_wheel_has_no_deadline, reset),
        cmocka_unit_test_setup(cost_does_not_grow_with_what_waits, reset),
        cmocka_unit_test_setup(entry_is_due_at_its_deadline_and_not_before, reset),
        cmocka_unit_test_setup(past_deadline_is_due_at_once, reset),
        cmocka_unit_test_setup(setting_again_moves_and_never_cancels, reset),
        cmocka_unit_test_setup(next_deadline_follows_every_change, reset),
        cmocka_unit_test_setup(what_was_set_lately_is_due_like_the_rest, reset),
        cmocka_unit_test_setup(deadline_beyond_the_range_is_kept, reset),
        cmocka_unit_test_setup(behaves_like_a_sorted_list, reset),
        cmocka_unit_test_setup(waiting_for_the_next_deadline_makes_progress, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
