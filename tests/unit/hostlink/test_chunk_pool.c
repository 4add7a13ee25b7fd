/* The receive buffer allocator: places, statistics, exhaustion, giving memory back. */
#define _GNU_SOURCE
#include "cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostlink/chunk_pool.h"
#include "hostlink/region.h"

#define REGION_OFFSET (UINT64_C(6) << 20)
#define REGION_BYTES  (UINT64_C(4) << 20)
#define CHUNKS_MAX    (REGION_BYTES / CHUNK_BYTES_MIN)

static void test_random_chunks_lie_apart_within_the_region(void **state)
{
    (void)state;
    static struct chunk chunks[CHUNKS_MAX];
    static uint8_t used[CHUNKS_MAX];
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct chunk_pool pool;
        uint64_t random = seed;
        uint32_t count = 0;
        uint64_t in_use = 0;
        uint64_t most = 0;
        uint64_t failures = 0;
        memset(used, 0, sizeof(used));
        assert_int_equal(chunk_pool_init(&pool, REGION_OFFSET, REGION_BYTES), 0);
        for (unsigned step = 0; step < 4000; step++) {
            if (random_below(&random, 100) < 52) {
                uint32_t wanted = random_below(&random, 300000) >> random_below(&random, 10);
                struct chunk *chunk = &chunks[count];
                if (!chunk_pool_allocate(&pool, wanted, chunk)) {
                    failures++;
                    continue;
                }
                assert_true(chunk->bytes >= wanted || chunk->bytes == CHUNK_BYTES_MAX);
                assert_true(chunk->offset >= REGION_OFFSET);
                assert_true(chunk->offset + chunk->bytes <= REGION_OFFSET + REGION_BYTES);
                for (uint64_t at = 0; at < chunk->bytes; at += CHUNK_BYTES_MIN)
                    assert_int_equal(used[(chunk->offset - REGION_OFFSET + at) / CHUNK_BYTES_MIN]++,
                                     0);
                in_use += chunk->bytes;
                most = in_use > most ? in_use : most;
                count++;
            } else if (count > 0) {
                uint32_t which = random_below(&random, count);
                struct chunk chunk = chunks[which];
                chunks[which] = chunks[--count];
                for (uint64_t at = 0; at < chunk.bytes; at += CHUNK_BYTES_MIN)
                    used[(chunk.offset - REGION_OFFSET + at) / CHUNK_BYTES_MIN] = 0;
                in_use -= chunk.bytes;
                chunk_pool_free(&pool, chunk.offset);
            }
            assert_int_equal(pool.statistics.bytes_in_use, in_use);
        }
        assert_int_equal(pool.statistics.bytes_high_water, most);
        assert_int_equal(pool.statistics.failures, failures);
        assert_true(buddy_is_consistent(pool.buddy));
        chunk_pool_destroy(&pool);
    }
}

static void test_used_up_means_refused_until_something_is_freed(void **state)
{
    (void)state;
    struct chunk_pool pool;
    struct chunk chunk;
    assert_int_equal(chunk_pool_init(&pool, REGION_OFFSET, REGION_BYTES), 0);
    for (uint64_t i = 0; i < CHUNKS_MAX; i++)
        assert_true(chunk_pool_allocate(&pool, 1, &chunk));
    assert_false(chunk_pool_allocate(&pool, 1, &chunk));
    assert_int_equal(pool.statistics.failures, 1);
    assert_int_equal(pool.statistics.bytes_in_use, pool.statistics.bytes_total);
    chunk_pool_free(&pool, REGION_OFFSET);
    assert_true(chunk_pool_allocate(&pool, 1, &chunk));
    assert_int_equal(chunk.offset, REGION_OFFSET);
    /* What lies aside in one size serves another when nothing else is left. */
    for (uint64_t i = 0; i < CHUNKS_MAX; i++)
        chunk_pool_free(&pool, REGION_OFFSET + i * CHUNK_BYTES_MIN);
    for (uint64_t i = 0; i < REGION_BYTES / CHUNK_BYTES_MAX; i++)
        assert_true(chunk_pool_allocate(&pool, CHUNK_BYTES_MAX, &chunk));
    chunk_pool_destroy(&pool);
}

static uint64_t memory_bytes(int fd)
{
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

static void test_idle_memory_goes_back_to_the_system(void **state)
{
    (void)state;
    static struct chunk chunks[CHUNKS_MAX];
    struct chunk_pool pool;
    int fd = link_region_create("arena", REGION_OFFSET + REGION_BYTES);
    uint8_t *arena = NULL;
    assert_int_equal(link_region_map(fd, REGION_OFFSET + REGION_BYTES, &arena), 0);
    assert_int_equal(chunk_pool_init(&pool, REGION_OFFSET, REGION_BYTES), 0);
    for (unsigned burst = 0; burst < 3; burst++) {
        uint32_t count = 0;
        while (chunk_pool_allocate(&pool, 5000, &chunks[count])) {
            memset(arena + chunks[count].offset, 0xee, chunks[count].bytes);
            count++;
        }
        assert_true(memory_bytes(fd) >= REGION_BYTES);
        for (uint32_t i = 1; i < count; i++)
            chunk_pool_free(&pool, chunks[i].offset);
        /* One chunk keeps its run; two runs are kept warm; the rest goes, some at a time. */
        assert_int_equal(chunk_pool_trim(&pool, arena, 2 * CHUNK_BYTES_MAX, 3),
                         3 * CHUNK_BYTES_MAX);
        (void)chunk_pool_trim(&pool, arena, 2 * CHUNK_BYTES_MAX, UINT32_MAX);
        assert_int_equal(memory_bytes(fd), 3 * CHUNK_BYTES_MAX);
        assert_int_equal(arena[chunks[0].offset], 0xee);
        chunk_pool_free(&pool, chunks[0].offset);
        (void)chunk_pool_trim(&pool, arena, 0, UINT32_MAX);
        assert_int_equal(memory_bytes(fd), 0);
        assert_int_equal(chunk_pool_trim(&pool, arena, 0, UINT32_MAX), 0);
    }
    chunk_pool_destroy(&pool);
    link_region_unmap(arena, REGION_OFFSET + REGION_BYTES);
    (void)close(fd);
}

static void test_region_smaller_than_a_chunk_is_refused(void **state)
{
    (void)state;
    struct chunk_pool pool;
    assert_int_equal(chunk_pool_init(&pool, 0, CHUNK_BYTES_MAX - 1), -EINVAL);
    chunk_pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_chunks_lie_apart_within_the_region),
        cmocka_unit_test(test_used_up_means_refused_until_something_is_freed),
        cmocka_unit_test(test_idle_memory_goes_back_to_the_system),
        cmocka_unit_test(test_region_smaller_than_a_chunk_is_refused),
    };
    return cmocka_run_group_tests_name("chunk_pool", tests, NULL, NULL);
}
