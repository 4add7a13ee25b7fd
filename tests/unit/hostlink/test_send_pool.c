/* The shared send buffer allocator: across processes, and across their sudden deaths. */
#define _GNU_SOURCE
#include "cmocka_all.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hostlink/region.h"
#include "hostlink/send_pool.h"
#include "hostlink/send_pool_shared.h"

#define POOL_OFFSET 4096
#define ARENA_BYTES (UINT64_C(8) << 20)

struct fixture {
    int fd;
    uint8_t *arena;
    struct send_pool pool;
};

static struct fixture fixture;

static int set_up(void **state)
{
    fixture.fd = link_region_create("arena", ARENA_BYTES);
    if (link_region_map(fixture.fd, ARENA_BYTES, &fixture.arena) < 0)
        return -1;
    *state = &fixture;
    return send_pool_create(&fixture.pool, fixture.arena, POOL_OFFSET, ARENA_BYTES - POOL_OFFSET);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    link_region_unmap(f->arena, ARENA_BYTES);
    return close(f->fd);
}

static struct send_pool_statistics statistics_of(struct fixture *f)
{
    struct send_pool_statistics statistics;
    send_pool_read_statistics(&f->pool, &statistics);
    return statistics;
}

static bool is_consistent(struct fixture *f)
{
    assert_true(send_pool_lock(f->pool.shared));
    bool consistent = buddy_is_consistent(&f->pool.shared->buddy);
    send_pool_unlock(f->pool.shared);
    return consistent;
}

static bool owner_is(void *context, uint32_t owner)
{
    return owner == *(uint32_t *)context;
}

static void test_random_chunks_keep_their_contents(void **state)
{
    struct fixture *f = *state;
    static struct chunk chunks[4096];
    uint32_t count = 0;
    uint64_t in_use = 0;
    uint64_t random = 99;
    for (unsigned step = 0; step < 60000; step++) {
        if (random_below(&random, 100) < 52) {
            uint32_t wanted = random_below(&random, 300000) >> random_below(&random, 10);
            struct chunk *chunk = &chunks[count];
            if (!send_pool_allocate(&f->pool, wanted, 1, chunk))
                continue;
            assert_true(chunk->bytes >= wanted || chunk->bytes == CHUNK_BYTES_MAX);
            assert_true(chunk->offset > POOL_OFFSET && chunk->offset % CHUNK_BYTES_MIN == 0);
            assert_true(chunk->offset + chunk->bytes <= ARENA_BYTES);
            memcpy(f->arena + chunk->offset, &chunk->offset, 8);
            memcpy(f->arena + chunk->offset + chunk->bytes - 8, &chunk->offset, 8);
            in_use += chunk->bytes;
            count++;
        } else if (count > 0) {
            uint32_t which = random_below(&random, count);
            struct chunk chunk = chunks[which];
            chunks[which] = chunks[--count];
            assert_memory_equal(f->arena + chunk.offset, &chunk.offset, 8);
            assert_memory_equal(f->arena + chunk.offset + chunk.bytes - 8, &chunk.offset, 8);
            in_use -= chunk.bytes;
            send_pool_free(&f->pool, chunk.offset);
        }
        if (step % 1000 == 0) {
            assert_int_equal(statistics_of(f).bytes_in_use, in_use);
            assert_true(is_consistent(f));
        }
    }
    while (count > 0)
        send_pool_free(&f->pool, chunks[--count].offset);
    assert_int_equal(statistics_of(f).bytes_in_use, 0);
    assert_true(statistics_of(f).failures > 0);
    assert_int_equal(statistics_of(f).rebuilds, 0);
}

static void test_all_memory_can_be_had_in_any_size(void **state)
{
    struct fixture *f = *state;
    static struct chunk chunks[4096];
    uint64_t total = statistics_of(f).bytes_total;
    assert_true(total >= ARENA_BYTES - 2 * CHUNK_BYTES_MAX);
    for (uint32_t bytes = CHUNK_BYTES_MIN; bytes <= CHUNK_BYTES_MAX; bytes *= 2) {
        uint32_t count = 0;
        while (send_pool_allocate(&f->pool, bytes, 1, &chunks[count]))
            count++;
        assert_int_equal((uint64_t)count * bytes, total);
        while (count > 0)
            send_pool_free(&f->pool, chunks[--count].offset);
    }
}

static void test_idle_memory_goes_back_to_the_system(void **state)
{
    struct fixture *f = *state;
    static struct chunk chunks[4096];
    uint32_t count = 0;
    while (send_pool_allocate(&f->pool, 3000, 1, &chunks[count])) {
        memset(f->arena + chunks[count].offset, 1, chunks[count].bytes);
        count++;
    }
    struct stat before;
    struct stat after;
    assert_int_equal(fstat(f->fd, &before), 0);
    while (count > 0)
        send_pool_free(&f->pool, chunks[--count].offset);
    uint64_t total = statistics_of(f).bytes_total;
    assert_int_equal(send_pool_trim(&f->pool, CHUNK_BYTES_MAX, UINT32_MAX),
                     total - CHUNK_BYTES_MAX);
    assert_int_equal(fstat(f->fd, &after), 0);
    assert_int_equal((uint64_t)(before.st_blocks - after.st_blocks) * 512, total - CHUNK_BYTES_MAX);
}

static void test_reclaiming_frees_what_a_gone_owner_had(void **state)
{
    struct fixture *f = *state;
    struct chunk mine[40];
    struct chunk theirs;
    struct chunk nobodys;
    for (unsigned i = 0; i < 40; i++) {
        assert_true(send_pool_allocate(&f->pool, 5000, 7, &mine[i]));
        assert_true(send_pool_allocate(&f->pool, 5000, 8, &theirs));
    }
    assert_true(send_pool_allocate(&f->pool, 5000, SEND_POOL_OWNER_NONE, &nobodys));
    /* A freed chunk has no owner, and one used again has its new owner only. */
    send_pool_free(&f->pool, mine[0].offset);
    send_pool_free(&f->pool, mine[1].offset);
    assert_true(send_pool_allocate(&f->pool, 5000, 8, &mine[0]));
    uint32_t gone = 7;
    assert_int_equal(send_pool_reclaim(&f->pool, owner_is, &gone), 38 * 8192);
    assert_int_equal(send_pool_reclaim(&f->pool, owner_is, &gone), 0);
    assert_int_equal(statistics_of(f).bytes_in_use, 42 * 8192);
    gone = 8;
    assert_int_equal(send_pool_reclaim(&f->pool, owner_is, &gone), 41 * 8192);
    assert_true(is_consistent(f));
}

static void kill_and_wait(pid_t child)
{
    int status = 0;
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void test_a_process_killed_amid_changes_leaves_a_working_pool(void **state)
{
    struct fixture *f = *state;
    struct chunk kept;
    int ready[2];
    assert_true(send_pool_allocate(&f->pool, 100000, 1, &kept));
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct buddy *buddy = &f->pool.shared->buddy;
        (void)send_pool_lock(f->pool.shared);
        for (unsigned list = 0; list <= BUDDY_ORDERS; list++)
            buddy->free[list] = 12345678;
        buddy->allocated_units = 99999;
        (void)!write(ready[1], "x", 1);
        for (;;)
            (void)pause();
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    kill_and_wait(child);
    struct chunk other;
    assert_true(send_pool_allocate(&f->pool, 100, 1, &other));
    assert_true(other.offset + other.bytes <= kept.offset ||
                kept.offset + kept.bytes <= other.offset);
    assert_int_equal(statistics_of(f).rebuilds, 1);
    assert_int_equal(statistics_of(f).bytes_in_use, kept.bytes + other.bytes);
    assert_true(is_consistent(f));
    (void)close(ready[0]);
    (void)close(ready[1]);
}

#define VICTIM_OWNER     3
#define VICTIM_CHUNKS    128
#define VICTIM_BYTES_MAX 32768
#define VICTIMS          150

/** Allocate and free as fast as it goes, mostly on the path with the lock. */
static void be_a_victim(struct fixture *f, uint64_t seed)
{
    struct chunk chunks[VICTIM_CHUNKS];
    uint32_t count = 0;
    for (;;) {
        uint32_t bytes = 1 + random_below(&seed, VICTIM_BYTES_MAX);
        if (count < VICTIM_CHUNKS && random_below(&seed, 2) == 0) {
            if (send_pool_allocate(&f->pool, bytes, VICTIM_OWNER, &chunks[count]))
                count++;
        } else if (count > 0) {
            send_pool_free(&f->pool, chunks[--count].offset);
        }
        if (random_below(&seed, 10) == 0)
            (void)send_pool_trim(&f->pool, ARENA_BYTES, 0);
    }
}

static void test_processes_killed_at_any_moment_leave_a_working_pool(void **state)
{
    struct fixture *f = *state;
    uint64_t seed = 5;
    uint32_t gone = VICTIM_OWNER;
    for (unsigned victim = 0; victim < VICTIMS; victim++) {
        pid_t child = fork();
        if (child == 0)
            be_a_victim(f, seed);
        struct timespec pause = {.tv_nsec = 500000 + random_below(&seed, 3000000)};
        (void)nanosleep(&pause, NULL);
        struct chunk mine;
        bool got = send_pool_allocate(&f->pool, 10000, 1, &mine);
        kill_and_wait(child);
        assert_true(got);
        send_pool_free(&f->pool, mine.offset);
        (void)send_pool_reclaim(&f->pool, owner_is, &gone);
        assert_true(is_consistent(f));
    }
    /* Each may take along the one chunk it was just taking off a stack. */
    assert_true(statistics_of(f).bytes_in_use <= VICTIMS / 4 * VICTIM_BYTES_MAX);
    print_message("%u of %u victims died holding the lock, %llu bytes were lost\n",
                  statistics_of(f).rebuilds, VICTIMS,
                  (unsigned long long)statistics_of(f).bytes_in_use);
    assert_true(statistics_of(f).rebuilds > 0);
}

static void test_a_signal_handler_above_the_lock_does_not_hang(void **state)
{
    struct fixture *f = *state;
    struct chunk chunk;
    struct chunk again;
    assert_true(send_pool_allocate(&f->pool, CHUNK_BYTES_MAX, 1, &chunk));
    assert_true(send_pool_lock(f->pool.shared));
    assert_false(send_pool_allocate(&f->pool, 100, 1, &again));
    send_pool_free(&f->pool, chunk.offset);
    assert_true(send_pool_allocate(&f->pool, CHUNK_BYTES_MAX, 1, &again));
    assert_int_equal(again.offset, chunk.offset);
    send_pool_free(&f->pool, again.offset);
    send_pool_unlock(f->pool.shared);
    assert_true(send_pool_allocate(&f->pool, 100, 1, &again));
}

static void test_no_room_for_a_chunk_is_refused(void **state)
{
    struct fixture *f = *state;
    struct send_pool pool;
    assert_int_equal(send_pool_create(&pool, f->arena, 1 << 20, CHUNK_BYTES_MAX), -EINVAL);
    assert_int_equal(send_pool_create(&pool, f->arena, 1 << 20, 0), -EINVAL);
}

#define POOL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOL_TEST(test_random_chunks_keep_their_contents),
        POOL_TEST(test_all_memory_can_be_had_in_any_size),
        POOL_TEST(test_idle_memory_goes_back_to_the_system),
        POOL_TEST(test_reclaiming_frees_what_a_gone_owner_had),
        POOL_TEST(test_a_process_killed_amid_changes_leaves_a_working_pool),
        POOL_TEST(test_processes_killed_at_any_moment_leave_a_working_pool),
        POOL_TEST(test_a_signal_handler_above_the_lock_does_not_hang),
        POOL_TEST(test_no_room_for_a_chunk_is_refused),
    };
    return cmocka_run_group_tests_name("send_pool", tests, NULL, NULL);
}
