/* The memcpy backend: copies whole, completes at once, refuses what lies outside the arena. */
#include "cmocka_all.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "hostlink/dma.h"

#define ARENA_BYTES 4096

struct completion {
    unsigned count;
    int error;
};

static void note_completion(void *context, int error)
{
    struct completion *completion = context;
    completion->count++;
    completion->error = error;
}

static void test_copies_both_ways_and_completes_within_submit(void **state)
{
    (void)state;
    const struct dma_backend *dma = &dma_backend_memcpy;
    struct dma_device *device = dma->create();
    uint8_t memory[ARENA_BYTES] = {0};
    struct dma_arena arena = {.base = memory, .bytes = ARENA_BYTES};
    struct completion completion = {.error = 1};
    char text[6] = "";
    assert_int_equal(
        dma->write(device, &arena, ARENA_BYTES - 6, "hello", 6, note_completion, &completion), 0);
    assert_string_equal((char *)&memory[ARENA_BYTES - 6], "hello");
    assert_int_equal(
        dma->read(device, &arena, ARENA_BYTES - 6, text, 6, note_completion, &completion), 0);
    assert_string_equal(text, "hello");
    assert_int_equal(completion.count, 2);
    assert_int_equal(completion.error, 0);
    assert_int_equal(dma->write(device, &arena, 0, "x", 1, NULL, NULL), 0);
    assert_int_equal(dma->poll(device), 0);
    dma->destroy(device);
}

static void test_refuses_what_is_out_of_bounds(void **state)
{
    (void)state;
    const struct dma_backend *dma = &dma_backend_memcpy;
    struct dma_device *device = dma->create();
    uint8_t memory[ARENA_BYTES + 64] = {0};
    struct dma_arena arena = {.base = memory, .bytes = ARENA_BYTES};
    struct completion completion = {0};
    static const struct {
        uint64_t offset;
        uint32_t bytes;
    } bad[] = {
        {ARENA_BYTES, 1},      {ARENA_BYTES - 1, 2},     {0, ARENA_BYTES + 1}, {UINT64_MAX, 1},
        {UINT64_MAX - 10, 32}, {UINT64_MAX, UINT32_MAX}, {1, UINT32_MAX},      {ARENA_BYTES + 1, 0},
    };
    static uint8_t other[64];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(dma->write(device, &arena, bad[i].offset, other, bad[i].bytes,
                                    note_completion, &completion),
                         -EFAULT);
        assert_int_equal(dma->read(device, &arena, bad[i].offset, other, bad[i].bytes,
                                   note_completion, &completion),
                         -EFAULT);
    }
    assert_int_equal(completion.count, 0);
    assert_int_equal(dma->write(device, &arena, ARENA_BYTES, other, 0, NULL, NULL), 0);
    dma->destroy(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_both_ways_and_completes_within_submit),
        cmocka_unit_test(test_refuses_what_is_out_of_bounds),
    };
    return cmocka_run_group_tests_name("dma", tests, NULL, NULL);
}
