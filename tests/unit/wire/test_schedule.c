#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/schedule.h"

#define COUNT 5000

static void frames_come_out_by_time_and_equal_times_in_order(void **state)
{
    (void)state;
    struct wire_schedule schedule;
    assert_true(wire_schedule_init(&schedule, COUNT));
    assert_null(wire_schedule_first(&schedule));
    uint32_t random = 1;
    for (uint32_t i = 0; i < COUNT; i++) {
        random = random * 1664525 + 1013904223;
        wire_schedule_push(&schedule, (random >> 16) % 500, i, 1000 + i);
    }
    struct wire_scheduled last = {0};
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_non_null(wire_schedule_first(&schedule));
        struct wire_scheduled next = wire_schedule_pop(&schedule);
        assert_int_equal(next.bytes, 1000 + next.slot);
        assert_true(i == 0 || last.at_ns < next.at_ns ||
                    (last.at_ns == next.at_ns && last.slot < next.slot));
        last = next;
    }
    assert_null(wire_schedule_first(&schedule));
    wire_schedule_destroy(&schedule);
}

static void pushing_between_pops_keeps_the_order(void **state)
{
    (void)state;
    struct wire_schedule schedule;
    assert_true(wire_schedule_init(&schedule, 4));
    wire_schedule_push(&schedule, 30, 0, 1);
    wire_schedule_push(&schedule, 10, 1, 1);
    assert_int_equal(wire_schedule_pop(&schedule).slot, 1);
    wire_schedule_push(&schedule, 20, 2, 1);
    wire_schedule_push(&schedule, 40, 3, 1);
    wire_schedule_push(&schedule, 5, 4, 1);
    const uint32_t expected[] = {4, 2, 0, 3};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(wire_schedule_pop(&schedule).slot, expected[i]);
    }
    wire_schedule_destroy(&schedule);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_out_by_time_and_equal_times_in_order),
        cmocka_unit_test(pushing_between_pops_keeps_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
