/* Rings: contents, laps, credit, wrap-around, lying peers. */
#include "cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "hostlink/ring.h"

#define SLOTS_MAX 64

/** A ring with guard slots on both sides, which nobody may touch. */
struct fixture {
    struct link_descriptor memory[1 + SLOTS_MAX + 1];
    struct link_feedback feedback;
    struct link_producer producer;
    struct link_consumer consumer;
};

static void start(struct fixture *f, uint32_t slots, uint32_t count)
{
    memset((void *)f, 0, sizeof(*f));
    memset((void *)&f->memory[0], 0x5a, sizeof(f->memory[0]));
    memset((void *)&f->memory[1 + slots], 0x5a, sizeof(f->memory[0]));
    link_producer_init(&f->producer, &f->memory[1], &f->feedback, slots);
    link_consumer_init(&f->consumer, &f->memory[1], &f->feedback, slots);
    f->producer.produced = f->producer.consumed_cached = count;
    f->consumer.consumed = f->consumer.reported = count;
    atomic_store(&f->feedback.consumed, count);
}

static void assert_guards_untouched(const struct fixture *f, uint32_t slots)
{
    struct link_descriptor guard;
    memset((void *)&guard, 0x5a, sizeof(guard));
    assert_memory_equal(&f->memory[0], &guard, sizeof(guard));
    assert_memory_equal(&f->memory[1 + slots], &guard, sizeof(guard));
}

static struct link_descriptor numbered(uint32_t number)
{
    struct link_descriptor descriptor = {
        .type = LINK_OP_SEND,
        .flags = (uint8_t)number,
        .error = (uint16_t)number,
        .socket = {.slot = number, .incarnation = ~number},
        .request_id = number * 3,
        .accept_incarnation = number * 5,
    };
    for (size_t i = 0; i < sizeof(descriptor.bytes); i++)
        descriptor.bytes[i] = (uint8_t)(number + i);
    return descriptor;
}

static void assert_is_numbered(const struct link_descriptor *descriptor, uint32_t number)
{
    struct link_descriptor expected = numbered(number);
    assert_memory_equal(descriptor, &expected, offsetof(struct link_descriptor, lap));
}

/** Random bursts at both ends against a plain count of what is in the ring. */
static void exchange(struct fixture *f, uint32_t slots, unsigned rounds, uint64_t seed)
{
    uint32_t pushed = 0;
    uint32_t popped = 0;
    for (unsigned round = 0; round < rounds; round++) {
        for (uint32_t n = random_below(&seed, slots + 2); n > 0; n--) {
            struct link_descriptor descriptor = numbered(pushed);
            uint32_t room_at_most = slots - (pushed - popped);
            bool done = link_producer_push(&f->producer, &descriptor);
            assert_true(!done || room_at_most > 0);
            pushed += done ? 1 : 0;
        }
        for (uint32_t n = random_below(&seed, slots + 2); n > 0; n--) {
            struct link_descriptor descriptor;
            assert_int_equal(link_consumer_empty(&f->consumer), pushed == popped);
            if (!link_consumer_pop(&f->consumer, &descriptor)) {
                assert_int_equal(pushed, popped);
                break;
            }
            assert_is_numbered(&descriptor, popped);
            popped++;
        }
        if (random_below(&seed, 2) == 0) {
            link_consumer_report(&f->consumer);
            assert_int_equal(link_producer_room(&f->producer, slots), slots - (pushed - popped));
        }
    }
    assert_true(popped > rounds / 4);
    assert_guards_untouched(f, slots);
}

static void test_descriptors_arrive_whole_and_in_order(void **state)
{
    (void)state;
    struct fixture f;
    for (uint32_t slots = LINK_RING_SLOTS_MIN; slots <= SLOTS_MAX; slots *= 2) {
        start(&f, slots, 0);
        exchange(&f, slots, 2000, slots);
    }
}

static void test_counts_and_laps_wrap_at_2_to_the_32(void **state)
{
    (void)state;
    struct fixture f;
    for (uint32_t slots = LINK_RING_SLOTS_MIN; slots <= SLOTS_MAX; slots *= 2) {
        start(&f, slots, UINT32_MAX - 3 * slots + 2);
        /* As if the last lap had been used before: stale laps lie in the slots. */
        for (uint32_t i = 0; i < slots; i++)
            atomic_store(&f.memory[1 + i].lap,
                         link_ring_lap(f.producer.produced - slots, f.producer.lap_shift));
        exchange(&f, slots, 2000, slots);
        assert_true(f.producer.produced < UINT32_MAX / 2);
    }
}

static void test_lap_is_never_zero_and_differs_between_neighbouring_laps(void **state)
{
    (void)state;
    for (uint32_t shift = 1; shift <= 16; shift++) {
        uint32_t slots = 1u << shift;
        uint32_t counts[] = {0, 1, slots - 1, slots, UINT32_MAX - slots, UINT32_MAX};
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            uint32_t lap = link_ring_lap(counts[i], shift);
            assert_int_not_equal(lap, 0);
            assert_int_not_equal(lap, link_ring_lap(counts[i] + slots, shift));
            assert_int_not_equal(lap, link_ring_lap(counts[i] - slots, shift));
        }
    }
}

static void test_full_ring_refuses_and_keeps_what_it_holds(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 8, 0);
    for (uint32_t i = 0; i < 8; i++) {
        struct link_descriptor descriptor = numbered(i);
        assert_int_equal(link_producer_room(&f.producer, 1) > 0, true);
        assert_true(link_producer_push(&f.producer, &descriptor));
    }
    struct link_descriptor before[SLOTS_MAX + 2];
    memcpy((void *)before, f.memory, sizeof(before));
    struct link_descriptor surplus = numbered(99);
    assert_int_equal(link_producer_room(&f.producer, 1), 0);
    assert_false(link_producer_push(&f.producer, &surplus));
    assert_memory_equal(before, f.memory, sizeof(before));
}

static void test_credit_comes_at_half_a_ring_or_on_request(void **state)
{
    (void)state;
    struct fixture f;
    start(&f, 8, 0);
    struct link_descriptor descriptor = numbered(0);
    for (uint32_t i = 0; i < 8; i++)
        assert_true(link_producer_push(&f.producer, &descriptor));
    for (uint32_t i = 0; i < 3; i++)
        assert_true(link_consumer_pop(&f.consumer, &descriptor));
    assert_int_equal(atomic_load(&f.feedback.consumed), 0);
    assert_int_equal(link_producer_room(&f.producer, 1), 0);
    assert_true(link_consumer_pop(&f.consumer, &descriptor));
    assert_int_equal(atomic_load(&f.feedback.consumed), 4);
    assert_int_equal(link_producer_room(&f.producer, 1), 4);
    assert_true(link_consumer_pop(&f.consumer, &descriptor));
    link_consumer_report(&f.consumer);
    assert_int_equal(link_producer_room(&f.producer, 8), 5);
}

static void test_lying_credit_never_leads_outside_the_ring(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t seed = 7;
    start(&f, 8, 0);
    uint32_t pushed = 0;
    for (unsigned round = 0; round < 20000; round++) {
        uint32_t lie = (uint32_t)random_next(&seed);
        if (random_below(&seed, 2) == 0)
            lie = f.producer.produced + random_below(&seed, 40) - 20;
        atomic_store(&f.feedback.consumed, lie);
        struct link_descriptor descriptor = numbered(pushed);
        assert_true(link_producer_room(&f.producer, random_below(&seed, 9)) <= 8);
        if (link_producer_push(&f.producer, &descriptor))
            pushed++;
    }
    assert_true(pushed > 0);
    assert_guards_untouched(&f, 8);
    /* An honest word again, and the ring works again. */
    atomic_store(&f.feedback.consumed, f.producer.produced);
    assert_int_equal(link_producer_room(&f.producer, 8), 8);
}

static void test_random_bytes_in_a_ring_keep_the_consumer_within_it(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t seed = 11;
    start(&f, 8, 0);
    unsigned popped = 0;
    for (unsigned round = 0; round < 20000; round++) {
        for (uint32_t i = 0; i < 8; i++) {
            uint32_t lap = (uint32_t)random_next(&seed) % 4;
            atomic_store(&f.memory[1 + i].lap, f.consumer.consumed / 8 + lap);
        }
        struct link_descriptor descriptor;
        for (unsigned n = 0; n < 16 && link_consumer_pop(&f.consumer, &descriptor); n++)
            popped++;
    }
    assert_true(popped > 1000);
    assert_guards_untouched(&f, 8);
}

static void test_doorbell_is_rung_once_per_arming(void **state)
{
    (void)state;
    _Atomic uint32_t armed = 0;
    assert_false(link_take_armed(&armed));
    link_arm(&armed);
    assert_true(link_take_armed(&armed));
    assert_false(link_take_armed(&armed));
    link_arm(&armed);
    link_disarm(&armed);
    assert_false(link_take_armed(&armed));
}

static void test_credit_wakes_only_who_awaits_room(void **state)
{
    (void)state;
    _Atomic uint32_t armed = 0;
    link_arm(&armed);
    assert_false(link_take_armed_for_room(&armed));
    assert_true(link_take_armed(&armed));
    link_arm_for_room(&armed);
    assert_true(link_take_armed_for_room(&armed));
    assert_false(link_take_armed(&armed));
    link_arm_for_room(&armed);
    assert_true(link_take_armed(&armed));
    assert_false(link_take_armed_for_room(&armed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptors_arrive_whole_and_in_order),
        cmocka_unit_test(test_counts_and_laps_wrap_at_2_to_the_32),
        cmocka_unit_test(test_lap_is_never_zero_and_differs_between_neighbouring_laps),
        cmocka_unit_test(test_full_ring_refuses_and_keeps_what_it_holds),
        cmocka_unit_test(test_credit_comes_at_half_a_ring_or_on_request),
        cmocka_unit_test(test_lying_credit_never_leads_outside_the_ring),
        cmocka_unit_test(test_random_bytes_in_a_ring_keep_the_consumer_within_it),
        cmocka_unit_test(test_doorbell_is_rung_once_per_arming),
        cmocka_unit_test(test_credit_wakes_only_who_awaits_room),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
