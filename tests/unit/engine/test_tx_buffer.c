#include "hostlink/cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tx_buffer.h"

static struct object_pool extents;
static struct tx_memory memory;
static struct tx_buffer buffer;

static int set_up(void **state)
{
    (void)state;
    memset(&buffer, 0, sizeof(buffer));
    memory = (struct tx_memory){.extents = &extents, .limit = 1000};
    return object_pool_init(&extents, sizeof(struct tx_extent), 1024);
}

static int tear_down(void **state)
{
    (void)state;
    tx_buffer_release(&buffer, &memory);
    assert_int_equal(extents.in_use, 0);
    object_pool_destroy(&extents);
    return 0;
}

static void extents_in_order_extend_the_stream(void **state)
{
    (void)state;
    assert_int_equal(tx_buffer_add(&buffer, &memory, 0, 5000, 100), 100);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 100, 9000, 50), 50);
    struct tx_stretch stretch = tx_buffer_find(&buffer, 120);
    assert_int_equal(stretch.arena_offset, 9020);
    assert_int_equal(stretch.length, 30);
    assert_int_equal(tx_buffer_find(&buffer, 150).length, 0);
}

static void neighbours_in_the_arena_merge(void **state)
{
    (void)state;
    assert_int_equal(tx_buffer_add(&buffer, &memory, 0, 5000, 100), 100);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 100, 5100, 100), 100);
    assert_int_equal(extents.in_use, 1);
    assert_int_equal(tx_buffer_find(&buffer, 0).length, 200);
}

static void what_lies_beyond_a_gap_waits_for_it(void **state)
{
    (void)state;
    assert_int_equal(tx_buffer_add(&buffer, &memory, 200, 7000, 100), 0);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 100, 6000, 100), 0);
    assert_int_equal(tx_buffer_find(&buffer, 100).length, 0);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 0, 5000, 100), 300);
    assert_int_equal(tx_buffer_find(&buffer, 250).arena_offset, 7050);
}

static void overlaps_are_refused(void **state)
{
    (void)state;
    assert_int_equal(tx_buffer_add(&buffer, &memory, 0, 5000, 100), 100);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 50, 5000, 100), -EINVAL);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 300, 6000, 100), 0);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 350, 6000, 100), -EINVAL);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 250, 6000, 100), -EINVAL);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 100, 6000, 201), -EINVAL);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 100, 6500, 200), 300);
}

static void too_many_waiting_extents_are_refused(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < TX_WAITING_MAX; i++)
        assert_int_equal(tx_buffer_add(&buffer, &memory, 10 + 2 * i, 0, 1), 0);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 5, 0, 1), -ENOBUFS);
}

static void acknowledged_extents_go_and_the_rest_stays_found(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(tx_buffer_add(&buffer, &memory, i * 10, 1000 + i * 100, 10), 10);
    (void)tx_buffer_find(&buffer, 555); /* the cursor lies on what goes away */
    tx_buffer_acknowledge(&buffer, &memory, 557);
    assert_int_equal(extents.in_use, 45);
    assert_int_equal(tx_buffer_find(&buffer, 557).length, 3);
    tx_buffer_acknowledge(&buffer, &memory, 1000);
    assert_int_equal(extents.in_use, 0);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 1000, 0, 1), 1);
}

static void a_tenant_has_its_limit(void **state)
{
    (void)state;
    memory.limit = 3;
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(tx_buffer_add(&buffer, &memory, i, i * 10, 1), 1);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 3, 30, 1), -ENOBUFS);
    tx_buffer_acknowledge(&buffer, &memory, 1);
    assert_int_equal(tx_buffer_add(&buffer, &memory, 3, 30, 1), 1);
}

static void random_order_gives_the_same_stream(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    unsigned order[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        order[i] = i;
    for (unsigned i = 0; i < COUNT; i++) {
        unsigned j = (unsigned)rand() % COUNT;
        unsigned swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    int64_t grown = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        int64_t result = tx_buffer_add(&buffer, &memory, order[i] * 7, order[i] * 64, 7);
        assert_true(result >= 0);
        grown += result;
    }
    assert_int_equal(grown, COUNT * 7);
    for (unsigned i = 0; i < COUNT * 7; i++)
        assert_int_equal(tx_buffer_find(&buffer, i).arena_offset, i / 7 * 64 + i % 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(extents_in_order_extend_the_stream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(neighbours_in_the_arena_merge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_lies_beyond_a_gap_waits_for_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(overlaps_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_waiting_extents_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(acknowledged_extents_go_and_the_rest_stays_found, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_tenant_has_its_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_order_gives_the_same_stream, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
