#include "hostlink/cmocka_all.h"

#include "engine/object_pool.h"

struct object {
    uint64_t words[4];
};

static void hands_out_each_object_once_and_no_more_than_there_are(void **state)
{
    (void)state;
    struct object_pool pool;
    assert_int_equal(object_pool_init(&pool, sizeof(struct object), 3), 0);
    struct object *a = object_pool_take(&pool);
    struct object *b = object_pool_take(&pool);
    struct object *c = object_pool_take(&pool);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_true(a != b && b != c && a != c);
    assert_null(object_pool_take(&pool));
    assert_int_equal(pool.in_use, 3);
    object_pool_give(&pool, b);
    assert_ptr_equal(object_pool_take(&pool), b);
    object_pool_destroy(&pool);
}

static void touches_only_what_was_ever_in_use_at_once(void **state)
{
    (void)state;
    struct object_pool pool;
    assert_int_equal(object_pool_init(&pool, sizeof(struct object), 1000000), 0);
    for (unsigned i = 0; i < 100; i++) {
        void *a = object_pool_take(&pool);
        void *b = object_pool_take(&pool);
        object_pool_give(&pool, a);
        object_pool_give(&pool, b);
    }
    assert_int_equal(pool.touched, 2);
    assert_int_equal(pool.in_use, 0);
    object_pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_out_each_object_once_and_no_more_than_there_are),
        cmocka_unit_test(touches_only_what_was_ever_in_use_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
