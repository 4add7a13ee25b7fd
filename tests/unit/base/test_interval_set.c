#include <errno.h>

#include "base/interval_set.h"
#include "test_support.h"

#define NODES 64
#define SPAN  512 /* offsets that the random test uses */

static struct interval nodes[NODES];
static struct interval_pool pool;
static struct interval_set set;

static int reset(void **state)
{
    (void)state;
    interval_pool_init(&pool, nodes, NODES);
    memset(&set, 0, sizeof(set));
    return 0;
}

static void touching_and_overlapping_intervals_merge(void **state)
{
    (void)state;
    assert_int_equal(interval_set_add(&set, &pool, 10, 20, NODES), 10);
    assert_int_equal(interval_set_add(&set, &pool, 30, 40, NODES), 10);
    assert_int_equal(set.count, 2);
    assert_int_equal(interval_set_add(&set, &pool, 20, 30, NODES), 10);
    assert_int_equal(set.count, 1);
    assert_int_equal(interval_set_add(&set, &pool, 5, 50, NODES), 15);
    assert_int_equal(interval_set_add(&set, &pool, 7, 9, NODES), 0);
    assert_int_equal(set.first->start, 5);
    assert_int_equal(set.first->end, 50);
    assert_int_equal(pool.in_use, 1);
    interval_set_check(&set);
}

static void empty_interval_adds_nothing(void **state)
{
    (void)state;
    assert_int_equal(interval_set_add(&set, &pool, 10, 10, NODES), 0);
    assert_null(set.first);
}

static void limits_leave_the_set_unchanged(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(interval_set_add(&set, &pool, i * 10, i * 10 + 1, 3), 1);
    assert_int_equal(interval_set_add(&set, &pool, 100, 101, 3), -ENOBUFS);
    assert_int_equal(interval_set_add(&set, &pool, 1, 5, 3), 4); /* needs no node */
    for (uint64_t i = 3; i < NODES; i++)
        assert_int_equal(interval_set_add(&set, &pool, i * 10, i * 10 + 1, 1000), 1);
    assert_int_equal(interval_set_add(&set, &pool, 10000, 10001, 1000), -ENOBUFS);
    assert_int_equal(set.count, NODES);
    interval_set_check(&set);
    interval_set_clear(&set, &pool);
    assert_int_equal(pool.in_use, 0);
    assert_int_equal(interval_set_add(&set, &pool, 10000, 10001, 1000), 1);
}

static void removing_below_cuts_intervals(void **state)
{
    (void)state;
    interval_set_add(&set, &pool, 0, 10, NODES);
    interval_set_add(&set, &pool, 20, 30, NODES);
    assert_int_equal(interval_set_remove_below(&set, &pool, 25), 15);
    assert_int_equal(set.first->start, 25);
    assert_int_equal(interval_set_bytes(&set), 5);
    assert_int_equal(interval_set_remove_below(&set, &pool, 25), 0);
    assert_int_equal(interval_set_remove_below(&set, &pool, 1000), 5);
    assert_null(set.first);
    assert_int_equal(pool.in_use, 0);
}

static void untouched_nodes_stay_untouched(void **state)
{
    (void)state;
    memset(nodes, 0xee, sizeof(nodes));
    for (int round = 0; round < 100; round++) {
        interval_set_add(&set, &pool, 10, 20, NODES);
        interval_set_add(&set, &pool, 30, 40, NODES);
        interval_set_clear(&set, &pool);
    }
    const uint8_t *third = (const uint8_t *)&nodes[2];
    for (size_t i = 0; i < sizeof(nodes[2]); i++)
        assert_int_equal(third[i], 0xee);
}

static void compare_with_bitmap(const bool bitmap[SPAN])
{
    const struct interval *node = set.first;
    uint64_t bytes = 0;
    for (uint64_t offset = 0; offset < SPAN; offset++) {
        while (node != NULL && node->end <= offset)
            node = node->next;
        assert_int_equal(bitmap[offset], node != NULL && node->start <= offset);
        bytes += bitmap[offset];
        assert_int_equal(interval_set_find(&set, offset) != NULL, bitmap[offset]);
        assert_ptr_equal(interval_set_from(&set, offset), node);
    }
    assert_int_equal(interval_set_bytes(&set), bytes);
}

static void behaves_like_a_bitmap(void **state)
{
    (void)state;
    struct test_random random = {6};
    bool bitmap[SPAN] = {false};
    for (int step = 0; step < 20000; step++) {
        uint64_t start = test_random_below(&random, SPAN);
        uint64_t end = start + test_random_below(&random, 40);
        end = end > SPAN ? SPAN : end;
        if (test_random_below(&random, 8) == 0) {
            uint64_t removed = 0;
            for (uint64_t i = 0; i < start / 4; i++) {
                removed += bitmap[i];
                bitmap[i] = false;
            }
            assert_int_equal(interval_set_remove_below(&set, &pool, start / 4), removed);
        } else if (test_random_below(&random, 200) == 0) {
            interval_set_clear(&set, &pool);
            memset(bitmap, 0, sizeof(bitmap));
        } else {
            bool all = true;
            int64_t fresh = 0;
            for (uint64_t i = start; i < end; i++) {
                all = all && bitmap[i];
                fresh += !bitmap[i];
            }
            assert_int_equal(interval_set_contains(&set, start, end), all);
            int64_t added = interval_set_add(&set, &pool, start, end, 20);
            if (added < 0)
                continue;
            assert_int_equal(added, fresh);
            for (uint64_t i = start; i < end; i++)
                bitmap[i] = true;
        }
        interval_set_check(&set);
        assert_int_equal(set.count, pool.in_use);
        if (step % 16 == 0)
            compare_with_bitmap(bitmap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(touching_and_overlapping_intervals_merge, reset),
        cmocka_unit_test_setup(empty_interval_adds_nothing, reset),
        cmocka_unit_test_setup(limits_leave_the_set_unchanged, reset),
        cmocka_unit_test_setup(removing_below_cuts_intervals, reset),
        cmocka_unit_test_setup(untouched_nodes_stay_untouched, reset),
        cmocka_unit_test_setup(behaves_like_a_bitmap, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
