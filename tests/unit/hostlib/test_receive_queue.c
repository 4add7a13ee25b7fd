#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "hostlib/receive_queue.h"
#include "hostlib/signal_guard.h"

/* Of signals.c, which locks need. */
_Thread_local struct signal_guard signal_guard;
void signal_guard_deliver(void)
{
}

static struct receive_extent extent(uint64_t stream_offset, uint64_t arena_offset, uint64_t length)
{
    return (struct receive_extent){stream_offset, arena_offset, length};
}

static void joins_neighbours(void **state)
{
    (void)state;
    struct receive_queue queue = {0};
    uint64_t place = 0;
    assert_int_equal(receive_queue_append(&queue, extent(0, 1000, 10)), 1);
    assert_int_equal(receive_queue_append(&queue, extent(10, 1010, 10)), 1);
    assert_int_equal(receive_queue_at(&queue, 5, &place), 15);
    assert_int_equal(place, 1005);
    assert_int_equal(queue.count, 1);
    receive_queue_free(&queue);
}

static void skips_what_was_told_before(void **state)
{
    (void)state;
    struct receive_queue queue = {0};
    uint64_t place = 0;
    assert_int_equal(receive_queue_append(&queue, extent(0, 1000, 10)), 1);
    assert_int_equal(receive_queue_append(&queue, extent(0, 1000, 10)), 0);
    assert_int_equal(receive_queue_append(&queue, extent(3, 1003, 4)), 0);
    assert_int_equal(receive_queue_append(&queue, extent(5, 5005, 10)), 1);
    assert_int_equal(queue.end_offset, 15);
    assert_int_equal(receive_queue_at(&queue, 10, &place), 5);
    assert_int_equal(place, 5010);
    receive_queue_free(&queue);
}

static void refuses_gaps_while_bytes_wait(void **state)
{
    (void)state;
    struct receive_queue queue = {0};
    assert_int_equal(receive_queue_append(&queue, extent(0, 0, 10)), 1);
    assert_int_equal(receive_queue_append(&queue, extent(20, 20, 10)), 0);
    assert_int_equal(queue.end_offset, 10);
    receive_queue_free(&queue);
}

static void newcomer_starts_where_others_are(void **state)
{
    (void)state;
    struct receive_queue queue = {0};
    uint64_t place = 0;
    assert_int_equal(receive_queue_append(&queue, extent(500, 100, 10)), 1);
    assert_int_equal(receive_queue_at(&queue, 0, &place), 0);
    assert_int_equal(receive_queue_at(&queue, 500, &place), 10);
    receive_queue_free(&queue);
}

/* Against a plain array of which stream byte lies where. */
static void agrees_with_a_map(void **state)
{
    (void)state;
    enum { BYTES = 20000 };
    static uint64_t map[BYTES];
    struct receive_queue queue = {0};
    uint64_t end = 0, read = 0;
    srand(7);
    for (int step = 0; step < 200000 && end < BYTES; step++) {
        if (rand() % 3 != 0) {
            uint64_t length = (uint64_t)(rand() % 50 + 1);
            uint64_t arena_offset = (uint64_t)rand();
            if (end + length > BYTES)
                break;
            for (uint64_t i = 0; i < length; i++)
                map[end + i] = arena_offset + i;
            assert_int_equal(receive_queue_append(&queue, extent(end, arena_offset, length)), 1);
            end += length;
        } else if (read < end) {
            uint64_t place = 0;
            uint64_t there = receive_queue_at(&queue, read, &place);
            assert_in_range(there, 1, end - read);
            for (uint64_t i = 0; i < there; i++)
                assert_int_equal(map[read + i], place + i);
            read += there > 1 ? (uint64_t)rand() % there + 1 : there;
            receive_queue_forget(&queue, read);
        }
    }
    assert_int_equal(queue.end_offset, end);
    receive_queue_free(&queue);
}

/* Bytes in many places, read to the end: nothing is kept. */
static void is_small_when_empty(void **state)
{
    (void)state;
    struct receive_queue queue = {0};
    _Static_assert(sizeof(queue) == 24, "small");
    for (uint64_t extents = 1; extents < 100; extents++) {
        uint64_t begin = queue.end_offset;
        for (uint64_t i = 0; i < extents; i++)
            assert_int_equal(
                receive_queue_append(&queue, extent(begin + i * 10, 5000 - i * 20, 10)), 1);
        assert_int_equal(queue.has_ring, extents > 1);
        receive_queue_forget(&queue, queue.end_offset - 1);
        assert_int_equal(queue.count, 1);
        receive_queue_forget(&queue, queue.end_offset);
        assert_int_equal(queue.count, 0);
        assert_false(queue.has_ring);
    }
}

/* Larger than what can be counted: more than any arena's chunk. */
static void refuses_what_no_chunk_holds(void **state)
{
    (void)state;
    struct receive_queue queue = {0};
    uint64_t place = 0;
    assert_int_equal(receive_queue_append(&queue, extent(0, 0, UINT64_C(1) << 32)), 0);
    assert_int_equal(receive_queue_append(&queue, extent(0, 0, UINT32_MAX)), 1);
    assert_int_equal(receive_queue_append(&queue, extent(UINT32_MAX, UINT32_MAX, 5)), 1);
    assert_int_equal(queue.count, 2);
    assert_int_equal(receive_queue_at(&queue, UINT32_MAX, &place), 5);
    assert_int_equal(place, UINT32_MAX);
    receive_queue_free(&queue);
}

static void stays_as_it_is_without_memory(void **state)
{
    (void)state;
    static struct receive_queue queues[4096];
    struct rlimit before, none = {.rlim_cur = 0};
    uint64_t place = 0;
    unsigned full = 0;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    none.rlim_max = before.rlim_max;
    for (unsigned i = 0; i < 4096; i++)
        assert_int_equal(receive_queue_append(&queues[i], extent(0, 100, 10)), 1);
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    int result = 1;
    while (full < 4096 && (result = receive_queue_append(&queues[full], extent(10, 500, 10))) == 1)
        full++;
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_true(full < 4096);
    assert_int_equal(result, -ENOBUFS);
    assert_int_equal(queues[full].count, 1);
    assert_int_equal(receive_queue_at(&queues[full], 0, &place), 10);
    assert_int_equal(receive_queue_at(&queues[full], 10, &place), 0);
    assert_int_equal(receive_queue_append(&queues[full], extent(10, 500, 10)), 1);
    assert_int_equal(receive_queue_at(&queues[full], 10, &place), 10);
    for (unsigned i = 0; i < 4096; i++)
        receive_queue_free(&queues[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_neighbours),
        cmocka_unit_test(skips_what_was_told_before),
        cmocka_unit_test(refuses_gaps_while_bytes_wait),
        cmocka_unit_test(newcomer_starts_where_others_are),
        cmocka_unit_test(agrees_with_a_map),
        cmocka_unit_test(is_small_when_empty),
        cmocka_unit_test(refuses_what_no_chunk_holds),
        cmocka_unit_test(stays_as_it_is_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
