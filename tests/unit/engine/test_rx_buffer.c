#include "hostlink/cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "engine/rx_buffer.h"

#define REGION_BYTES (UINT64_C(4) << 20)

struct fixture {
    struct object_pool chunks;
    struct chunk_pool pool;
    struct object_share share;
    struct rx_memory memory;
    struct rx_buffer buffer;
};

static struct fixture fixture;

static int set_up(void **state)
{
    (void)state;
    memset(&fixture, 0, sizeof(fixture));
    fixture.memory = (struct rx_memory){&fixture.share, &fixture.pool};
    fixture.share = (struct object_share){.pool = &fixture.chunks, .limit = 4096};
    if (object_pool_init(&fixture.chunks, sizeof(struct rx_chunk), 4096) != 0)
        return -1;
    return chunk_pool_init(&fixture.pool, 0, REGION_BYTES);
}

static int tear_down(void **state)
{
    (void)state;
    rx_buffer_release(&fixture.buffer, &fixture.memory);
    assert_int_equal(fixture.chunks.in_use, 0);
    assert_int_equal(fixture.pool.statistics.bytes_in_use, 0);
    object_pool_destroy(&fixture.chunks);
    chunk_pool_destroy(&fixture.pool);
    return 0;
}

static void a_small_request_takes_the_smallest_chunk(void **state)
{
    (void)state;
    assert_true(rx_buffer_extend(&fixture.buffer, &fixture.memory, 100, 140));
    assert_int_equal(fixture.pool.statistics.bytes_in_use, CHUNK_BYTES_MIN);
    struct rx_extent extent = rx_buffer_find(&fixture.buffer, 100, 140);
    assert_int_equal(extent.length, 40);
}

static void a_gap_is_covered_so_that_it_can_be_filled_later(void **state)
{
    (void)state;
    assert_true(rx_buffer_extend(&fixture.buffer, &fixture.memory, 1000, 51000));
    uint64_t offset = 1000;
    while (offset < 51000) {
        struct rx_extent extent = rx_buffer_find(&fixture.buffer, offset, 51000);
        assert_true(extent.length > 0);
        offset += extent.length;
    }
    assert_int_equal(offset, 51000);
    assert_int_equal(rx_buffer_find(&fixture.buffer, 999, 51000).length, 0);
}

static void extents_of_different_chunks_do_not_overlap(void **state)
{
    (void)state;
    static uint8_t used[REGION_BYTES];
    memset(used, 0, sizeof(used));
    uint64_t end = 0;
    while (end < 300000) {
        uint64_t next = end + 1 + (uint64_t)rand() % 3000;
        assert_true(rx_buffer_extend(&fixture.buffer, &fixture.memory, end, next));
        while (end < next) {
            struct rx_extent extent = rx_buffer_find(&fixture.buffer, end, next);
            assert_true(extent.length > 0);
            for (uint64_t i = 0; i < extent.length; i++)
                assert_int_equal(used[extent.arena_offset + i]++, 0);
            end += extent.length;
        }
    }
}

static void bulk_gets_larger_chunks(void **state)
{
    (void)state;
    for (uint64_t end = 1448; end < 500000; end += 1448)
        assert_true(rx_buffer_extend(&fixture.buffer, &fixture.memory, 0, end));
    assert_true(fixture.buffer.tail->bytes >= 32768);
}

static void what_is_consumed_is_given_back(void **state)
{
    (void)state;
    assert_true(rx_buffer_extend(&fixture.buffer, &fixture.memory, 0, 100000));
    rx_buffer_consume(&fixture.buffer, &fixture.memory, 99999, false);
    assert_int_equal(rx_buffer_find(&fixture.buffer, 99999, 100000).length, 1);
    rx_buffer_consume(&fixture.buffer, &fixture.memory, 100000, true);
    assert_int_equal(fixture.pool.statistics.bytes_in_use, 0);
    /* The next payload starts where the last ended. */
    assert_true(rx_buffer_extend(&fixture.buffer, &fixture.memory, 100000, 100010));
    assert_int_equal(rx_buffer_find(&fixture.buffer, 100000, 100010).length, 10);
}

static void exhaustion_is_reported_and_harms_nothing(void **state)
{
    (void)state;
    assert_false(rx_buffer_extend(&fixture.buffer, &fixture.memory, 0, 2 * REGION_BYTES));
    assert_true(rx_buffer_find(&fixture.buffer, 0, 10).length == 10);
    rx_buffer_release(&fixture.buffer, &fixture.memory);
    assert_true(rx_buffer_extend(&fixture.buffer, &fixture.memory, 0, 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_small_request_takes_the_smallest_chunk, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_gap_is_covered_so_that_it_can_be_filled_later, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(extents_of_different_chunks_do_not_overlap, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(bulk_gets_larger_chunks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_consumed_is_given_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(exhaustion_is_reported_and_harms_nothing, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
