#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hostlib/overflow.h"

static struct overflow overflow;

static struct link_descriptor operation(uint8_t type, uint32_t slot)
{
    return (struct link_descriptor){.type = type, .socket = {slot, 1}};
}

static void send_bytes(uint32_t slot, uint64_t stream, uint64_t arena, uint64_t length,
                       uint8_t flags)
{
    struct link_descriptor made = operation(LINK_OP_SEND, slot);
    made.flags = flags;
    made.data.stream_offset = stream;
    made.data.arena_offset = arena;
    made.data.length = length;
    assert_true(overflow_add(&overflow, &made));
}

static uint32_t waiting(void)
{
    return overflow.end - overflow.first;
}

static int tear_down(void **state)
{
    (void)state;
    overflow_clear(&overflow);
    return 0;
}

static void adjoining_bytes_merge(void **state)
{
    (void)state;
    send_bytes(1, 0, 1000, 10, LINK_FLAG_MORE);
    send_bytes(2, 0, 5000, 10, 0);
    send_bytes(1, 10, 1010, 10, 0);
    assert_int_equal(waiting(), 2);
    assert_int_equal(overflow_first(&overflow)->data.length, 20);
    assert_int_equal(overflow_first(&overflow)->flags, 0);
    send_bytes(1, 20, 9000, 10, 0); /* another chunk */
    assert_int_equal(waiting(), 3);
}

static void what_follows_an_urgent_byte_does_not_merge(void **state)
{
    (void)state;
    send_bytes(1, 0, 1000, 10, LINK_FLAG_URGENT);
    send_bytes(1, 10, 1010, 10, 0);
    assert_int_equal(waiting(), 2);
}

static void a_sockets_operations_keep_their_order(void **state)
{
    (void)state;
    send_bytes(1, 0, 1000, 10, 0);
    struct link_descriptor end = operation(LINK_OP_SHUTDOWN_WRITE, 1);
    assert_true(overflow_add(&overflow, &end));
    send_bytes(1, 10, 1010, 10, 0);
    assert_int_equal(waiting(), 3);
}

static void consumption_merges_to_the_furthest(void **state)
{
    (void)state;
    for (uint64_t offset = 1; offset <= 1000; offset++) {
        struct link_descriptor read = operation(LINK_OP_CONSUMED, (uint32_t)(offset % 2));
        read.data.stream_offset = offset;
        assert_true(overflow_add(&overflow, &read));
    }
    assert_int_equal(waiting(), 2);
    assert_int_equal(overflow_first(&overflow)->data.stream_offset, 999);
}

static void thousands_come_out_as_they_went_in(void **state)
{
    (void)state;
    uint32_t in = 0, out = 0;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 100; i++) {
            struct link_descriptor one = operation(LINK_OP_CLOSE, in++);
            assert_true(overflow_add(&overflow, &one));
        }
        for (int i = 0; i < 70 + round % 29; i++) {
            assert_int_equal(overflow_first(&overflow)->socket.slot, out++);
            overflow_remove_first(&overflow);
        }
    }
    while (!overflow_is_empty(&overflow)) {
        assert_int_equal(overflow_first(&overflow)->socket.slot, out++);
        overflow_remove_first(&overflow);
    }
    assert_int_equal(in, out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(adjoining_bytes_merge, tear_down),
        cmocka_unit_test_teardown(what_follows_an_urgent_byte_does_not_merge, tear_down),
        cmocka_unit_test_teardown(a_sockets_operations_keep_their_order, tear_down),
        cmocka_unit_test_teardown(consumption_merges_to_the_furthest, tear_down),
        cmocka_unit_test_teardown(thousands_come_out_as_they_went_in, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
