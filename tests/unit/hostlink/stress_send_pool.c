/*
 * Threads that allocate, fill, check and free send chunks at once: no chunk is ever held by two.
 * Built with the thread sanitizer as well: chunk contents are plain memory, so a chunk handed to
 * two, or handed on without a happens-before, is reported. Usage: stress_send_pool [SEED]
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hostlink/region.h"
#include "hostlink/send_pool.h"

#define THREADS     4
#define HELD_MAX    64
#define ARENA_BYTES (UINT64_C(4) << 20)
#define RUN_SECONDS 2

static _Atomic bool time_is_up;
static struct send_pool pool;
static uint8_t *arena;

struct worker {
    uint32_t number;
    uint64_t seed;
    uint64_t allocations;
    uint64_t refusals;
};

static uint32_t random_below(struct worker *self, uint32_t limit)
{
    self->seed = self->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(self->seed >> 33) % limit;
}

static void free_checked(const struct worker *self, const struct chunk *chunk)
{
    uint32_t marks[2];
    memcpy(&marks[0], arena + chunk->offset, 4);
    memcpy(&marks[1], arena + chunk->offset + chunk->bytes - 4, 4);
    if (marks[0] != self->number || marks[1] != self->number) {
        (void)fprintf(stderr, "a chunk of worker %u carries the marks of %u and %u\n", self->number,
                      marks[0], marks[1]);
        exit(1);
    }
    send_pool_free(&pool, chunk->offset);
}

static void *run(void *argument)
{
    struct worker *self = argument;
    struct chunk held[HELD_MAX];
    uint32_t count = 0;
    while (!atomic_load_explicit(&time_is_up, memory_order_relaxed)) {
        if (count < HELD_MAX && random_below(self, 2) == 0) {
            uint32_t bytes = 1 + (random_below(self, CHUNK_BYTES_MAX) >> random_below(self, 8));
            struct chunk *chunk = &held[count];
            if (!send_pool_allocate(&pool, bytes, self->number, chunk)) {
                self->refusals++;
                continue;
            }
            memcpy(arena + chunk->offset, &self->number, 4);
            memcpy(arena + chunk->offset + chunk->bytes - 4, &self->number, 4);
            self->allocations++;
            count++;
        } else if (count > 0) {
            uint32_t which = random_below(self, count);
            free_checked(self, &held[which]);
            held[which] = held[--count];
        }
        if (random_below(self, 5000) == 0)
            (void)send_pool_trim(&pool, 0, 4);
    }
    while (count > 0)
        free_checked(self, &held[--count]);
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    (void)printf("seed %llu\n", (unsigned long long)seed);
    int fd = link_region_create("arena", ARENA_BYTES);
    if (fd < 0 || link_region_map(fd, ARENA_BYTES, &arena) < 0 ||
        send_pool_create(&pool, arena, 0, ARENA_BYTES) < 0) {
        (void)fprintf(stderr, "no arena\n");
        return 1;
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.number = i + 1, .seed = seed * THREADS + i};
        if (pthread_create(&threads[i], NULL, run, &workers[i]) != 0)
            return 1;
    }
    struct timespec run_time = {.tv_sec = RUN_SECONDS};
    (void)nanosleep(&run_time, NULL);
    atomic_store(&time_is_up, true);
    for (uint32_t i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        (void)printf("worker %u: %llu allocated, %llu refused\n", i + 1,
                     (unsigned long long)workers[i].allocations,
                     (unsigned long long)workers[i].refusals);
    }
    struct send_pool_statistics statistics;
    send_pool_read_statistics(&pool, &statistics);
    if (statistics.bytes_in_use != 0) {
        (void)fprintf(stderr, "%llu bytes are lost\n", (unsigned long long)statistics.bytes_in_use);
        return 1;
    }
    link_region_unmap(arena, ARENA_BYTES);
    return close(fd);
}
