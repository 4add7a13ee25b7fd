/* The buddy core: random sequences against a map, merging, rebuilding from the truth. */
#include "cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "hostlink/buddy.h"

#define TOP_BLOCKS 8
#define UNITS      (TOP_BLOCKS * BUDDY_TOP_UNITS)

/** A pool and, per unit, the first unit of the block it belongs to, plus one (0: free). */
struct fixture {
    struct buddy *buddy;
    uint32_t owner[UNITS];
    uint32_t blocks[UNITS];
    uint32_t block_count;
    uint64_t used_units;
    uint64_t seed;
};

static void start(struct fixture *f, uint64_t seed)
{
    memset(f, 0, sizeof(*f));
    f->buddy = calloc(1, buddy_metadata_bytes(UNITS));
    assert_non_null(f->buddy);
    buddy_init(f->buddy, UNITS);
    f->seed = seed;
}

static void allocate_one(struct fixture *f, unsigned order)
{
    uint32_t unit = buddy_allocate(f->buddy, order, 4711);
    if (unit == BUDDY_NONE)
        return;
    uint32_t units = 1u << order;
    assert_int_equal(unit % units, 0);
    assert_true(unit + units <= UNITS);
    assert_int_equal(buddy_order_of(f->buddy, unit), order);
    assert_int_equal(atomic_load(&f->buddy->units[unit].tag), 4711);
    for (uint32_t i = unit; i < unit + units; i++) {
        assert_int_equal(f->owner[i], 0);
        f->owner[i] = unit + 1;
    }
    f->blocks[f->block_count++] = unit;
    f->used_units += units;
}

static void free_one(struct fixture *f)
{
    if (f->block_count == 0)
        return;
    uint32_t which = random_below(&f->seed, f->block_count);
    uint32_t unit = f->blocks[which];
    f->blocks[which] = f->blocks[--f->block_count];
    uint32_t units = 1u << buddy_order_of(f->buddy, unit);
    for (uint32_t i = unit; i < unit + units; i++)
        f->owner[i] = 0;
    f->used_units -= units;
    buddy_free(f->buddy, unit);
}

static void random_step(struct fixture *f)
{
    if (random_below(&f->seed, 100) < 52)
        allocate_one(f, random_below(&f->seed, BUDDY_ORDERS));
    else
        free_one(f);
}

/** All free again means: every block is whole again. */
static void finish(struct fixture *f)
{
    while (f->block_count > 0)
        free_one(f);
    assert_true(buddy_is_consistent(f->buddy));
    assert_int_equal(f->buddy->allocated_units, 0);
    for (uint32_t i = 0; i < TOP_BLOCKS; i++)
        assert_int_not_equal(buddy_allocate(f->buddy, BUDDY_TOP_ORDER, 0), BUDDY_NONE);
    assert_int_equal(buddy_allocate(f->buddy, 0, 0), BUDDY_NONE);
    free(f->buddy);
}

static void test_orders_hold_what_is_asked(void **state)
{
    (void)state;
    for (uint32_t bytes = 1; bytes <= BUDDY_BLOCK_BYTES_MAX; bytes += bytes < 9000 ? 1 : 977) {
        unsigned order = buddy_order_for(bytes);
        assert_true(buddy_block_bytes(order) >= bytes);
        assert_true(order == 0 || buddy_block_bytes(order - 1) < bytes);
    }
    assert_int_equal(buddy_order_for(BUDDY_BLOCK_BYTES_MAX), BUDDY_TOP_ORDER);
}

static void test_random_sequences_keep_blocks_apart_and_merge_them(void **state)
{
    (void)state;
    static struct fixture f;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        start(&f, seed);
        for (unsigned step = 0; step < 3000; step++) {
            random_step(&f);
            assert_int_equal(f.buddy->allocated_units, f.used_units);
            if (step % 97 == 0)
                assert_true(buddy_is_consistent(f.buddy));
        }
        finish(&f);
    }
}

static void test_memory_used_in_one_size_serves_any_other(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, 1);
    for (unsigned order = 0; order < BUDDY_ORDERS; order++) {
        for (uint32_t i = 0; i < UNITS >> order; i++)
            assert_int_not_equal(buddy_allocate(f.buddy, order, 0), BUDDY_NONE);
        assert_int_equal(buddy_allocate(f.buddy, 0, 0), BUDDY_NONE);
        for (uint32_t i = 0; i < UNITS >> order; i++)
            buddy_free(f.buddy, i << order);
    }
    finish(&f);
}

static void test_rebuild_restores_everything_from_the_states(void **state)
{
    (void)state;
    static struct fixture f;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        start(&f, seed);
        unsigned steps = random_below(&f.seed, 1500);
        for (unsigned step = 0; step < steps; step++)
            random_step(&f);
        for (unsigned list = 0; list <= BUDDY_ORDERS; list++)
            f.buddy->free[list] = (uint32_t)random_next(&f.seed);
        for (uint32_t unit = 0; unit < f.buddy->frontier; unit++) {
            struct buddy_unit *entry = &f.buddy->units[unit];
            atomic_store(&entry->next, (uint32_t)random_next(&f.seed));
            entry->previous = (uint32_t)random_next(&f.seed);
            if (!buddy_is_allocated(f.buddy, unit) && f.owner[unit] == 0)
                atomic_store(&entry->state, (uint8_t)(random_next(&f.seed) & 0x7f));
        }
        f.buddy->allocated_units = random_next(&f.seed);
        f.buddy->warm_top_blocks = (uint32_t)random_next(&f.seed);
        buddy_rebuild(f.buddy);
        assert_true(buddy_is_consistent(f.buddy));
        assert_int_equal(f.buddy->allocated_units, f.used_units);
        for (unsigned step = 0; step < 500; step++)
            random_step(&f);
        finish(&f);
    }
}

static void test_cold_blocks_are_used_again_when_warm_ones_run_out(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, 1);
    uint32_t first = buddy_allocate(f.buddy, 0, 0);
    buddy_free(f.buddy, first);
    assert_int_equal(f.buddy->warm_top_blocks, 1);
    uint32_t unit = buddy_take_warm(f.buddy);
    buddy_put_cold(f.buddy, unit);
    assert_int_equal(f.buddy->warm_top_blocks, 0);
    assert_int_equal(buddy_take_warm(f.buddy), BUDDY_NONE);
    assert_true(buddy_is_consistent(f.buddy));
    assert_int_equal(buddy_allocate(f.buddy, 0, 0), unit);
    buddy_free(f.buddy, unit);
    assert_int_equal(f.buddy->warm_top_blocks, 1);
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders_hold_what_is_asked),
        cmocka_unit_test(test_random_sequences_keep_blocks_apart_and_merge_them),
        cmocka_unit_test(test_memory_used_in_one_size_serves_any_other),
        cmocka_unit_test(test_rebuild_restores_everything_from_the_states),
        cmocka_unit_test(test_cold_blocks_are_used_again_when_warm_ones_run_out),
    };
    return cmocka_run_group_tests_name("buddy", tests, NULL, NULL);
}
