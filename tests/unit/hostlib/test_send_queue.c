#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "hostlib/send_queue.h"

#define ARENA_BYTES ((size_t)8 << 20)

static struct send_memory memory;

static int set_up(void **state)
{
    (void)state;
    memory.arena =
        mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory.arena != MAP_FAILED &&
                   send_pool_create(&memory.pool, memory.arena, 64, ARENA_BYTES - 64) == 0
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return munmap(memory.arena, ARENA_BYTES);
}

static uint64_t bytes_in_use(void)
{
    struct send_pool_statistics statistics;
    send_pool_read_statistics(&memory.pool, &statistics);
    return statistics.bytes_in_use;
}

/* Queue `length` bytes. @return where the first lies. */
static uint64_t queue_bytes(struct send_queue_shared *queue, uint64_t length)
{
    uint64_t first = 0;
    while (length > 0) {
        struct send_room room;
        assert_true(send_queue_reserve(queue, &memory, 1, length, &room));
        assert_in_range(room.length, 1, length);
        memset(room.bytes, (int)(queue->end_offset & 0xff), room.length);
        if (first == 0)
            first = room.arena_offset;
        send_queue_commit(queue, &memory, room.length);
        length -= room.length;
    }
    return first;
}

static void small_writes_share_a_chunk(void **state)
{
    (void)state;
    struct send_queue_shared queue = {0};
    uint64_t first = queue_bytes(&queue, 64), second = queue_bytes(&queue, 64);
    assert_int_equal(second, first + 64);
    assert_int_equal(send_queue_outstanding(&queue), 128);
    send_queue_free(&queue, &memory);
    assert_int_equal(bytes_in_use(), 0);
}

static void acknowledged_chunks_are_given_back(void **state)
{
    (void)state;
    struct send_queue_shared queue = {0};
    queue_bytes(&queue, 1000000);
    uint64_t full = bytes_in_use();
    send_queue_acknowledge(&queue, &memory, 600000);
    assert_true(bytes_in_use() < full);
    assert_int_equal(send_queue_outstanding(&queue), 400000);
    send_queue_acknowledge(&queue, &memory, 1000000);
    assert_int_equal(bytes_in_use(), 0);
    queue_bytes(&queue, 10);
    send_queue_acknowledge(&queue, &memory, 1000010);
    assert_int_equal(bytes_in_use(), 0);
}

static void ignores_false_acknowledgements(void **state)
{
    (void)state;
    struct send_queue_shared queue = {0};
    queue_bytes(&queue, 100);
    send_queue_acknowledge(&queue, &memory, 101);
    assert_int_equal(send_queue_outstanding(&queue), 100);
    send_queue_acknowledge(&queue, &memory, 50);
    send_queue_acknowledge(&queue, &memory, 20);
    assert_int_equal(send_queue_outstanding(&queue), 50);
    send_queue_free(&queue, &memory);
    assert_int_equal(bytes_in_use(), 0);
}

static void a_used_up_pool_is_refused(void **state)
{
    (void)state;
    struct send_queue_shared queue = {0};
    struct send_room room;
    while (send_queue_reserve(&queue, &memory, 1, 1 << 20, &room))
        send_queue_commit(&queue, &memory, room.length);
    uint64_t end = queue.end_offset;
    assert_false(send_queue_reserve(&queue, &memory, 1, 1, &room));
    assert_int_equal(queue.end_offset, end);
    send_queue_acknowledge(&queue, &memory, end);
    assert_true(send_queue_reserve(&queue, &memory, 1, 1, &room));
    send_queue_free(&queue, &memory);
    assert_int_equal(bytes_in_use(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(small_writes_share_a_chunk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(acknowledged_chunks_are_given_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ignores_false_acknowledgements, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_used_up_pool_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
