/* The ring between a core's tap and the control thread: order, wrapping, and what does not fit. */
#include <stdlib.h>
#include <string.h>

#include "engine/capture_ring.h"
#include "hostlink/cmocka_all.h"

#define RING_BYTES 4096

static int set_up(void **state)
{
    *state = capture_ring_create(RING_BYTES);
    return *state != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    capture_ring_destroy(*state);
    return 0;
}

/** @return whether it found room. */
static bool put(struct capture_ring *ring, uint32_t bytes, uint8_t value)
{
    uint8_t *copy = capture_ring_reserve(ring, CAPTURE_PORT, CAPTURE_OUT, bytes, 1000 + value);
    if (copy == NULL)
        return false;
    memset(copy, value, bytes);
    capture_ring_commit(ring);
    return true;
}

static void expect_first(struct capture_ring *ring, uint32_t bytes, uint8_t value)
{
    const struct capture_record *record = capture_ring_first(ring);
    assert_non_null(record);
    assert_int_equal(record->bytes, bytes);
    assert_int_equal(record->time_ns, 1000 + value);
    assert_int_equal(record->interface, CAPTURE_PORT);
    assert_int_equal(record->direction, CAPTURE_OUT);
    const uint8_t *content = (const uint8_t *)(record + 1);
    for (uint32_t i = 0; i < bytes; i++)
        assert_int_equal(content[i], value);
    capture_ring_next(ring);
}

static void test_frames_come_out_whole_and_in_order_round_and_round(void **state)
{
    struct capture_ring *ring = *state;
    assert_null(capture_ring_first(ring));
    /* Lengths that leave each possible rest at the ring's end. */
    for (uint32_t round = 0; round < 5000; round++) {
        uint32_t bytes = round * 7 % 1400;
        assert_true(put(ring, bytes, (uint8_t)round));
        assert_true(put(ring, 60, (uint8_t)(round + 1)));
        expect_first(ring, bytes, (uint8_t)round);
        expect_first(ring, 60, (uint8_t)(round + 1));
        assert_null(capture_ring_first(ring));
    }
    assert_int_equal(capture_ring_drops(ring, CAPTURE_PORT), 0);
}

static void test_a_full_ring_counts_drops_and_keeps_what_it_has(void **state)
{
    struct capture_ring *ring = *state;
    uint8_t kept = 0;
    while (put(ring, 500, kept))
        kept++;
    assert_in_range(kept, 6, RING_BYTES / 500);
    assert_false(put(ring, 500, 99));
    assert_int_equal(capture_ring_drops(ring, CAPTURE_PORT), 2);
    assert_int_equal(capture_ring_drops(ring, CAPTURE_TURNED), 0);
    for (uint8_t i = 0; i < kept; i++)
        expect_first(ring, 500, i);
    assert_null(capture_ring_first(ring));
    assert_true(put(ring, 500, 7));
    expect_first(ring, 500, 7);
}

static void test_a_reserved_frame_is_not_seen_before_it_is_committed(void **state)
{
    struct capture_ring *ring = *state;
    assert_non_null(capture_ring_reserve(ring, CAPTURE_PORT, CAPTURE_OUT, 0, 1005));
    assert_null(capture_ring_first(ring));
    capture_ring_commit(ring);
    expect_first(ring, 0, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_frames_come_out_whole_and_in_order_round_and_round,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_ring_counts_drops_and_keeps_what_it_has, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_reserved_frame_is_not_seen_before_it_is_committed,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
