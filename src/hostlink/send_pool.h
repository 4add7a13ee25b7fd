/**
 * @file send_pool.h
 * The host's allocator of send buffers, inside the arena, shared by an application's processes.
 *
 * Hands out chunks of 2, 4, …, 256 KiB. Everything it knows lies in the arena, as offsets, so the
 * processes and threads of a tenant share it by inheriting the mapping. The engine never reads its
 * book-keeping.
 *
 * Usual allocations and frees are one compare-and-swap on a stack of freed chunks per size: safe in
 * signal handlers and against SIGKILL at any instruction. Only when a stack is empty or full the
 * buddies behind it are used, under a robust process-shared lock; who finds its owner dead rebuilds
 * them from the truth (see buddy.h). What a killed process had allocated stays allocated until
 * send_pool_reclaim() is told that its owner is gone. (Killed within the few instructions in
 * which a chunk goes to or comes from a stack, it takes that one chunk along.)
 */
#ifndef PNO_HOSTLINK_SEND_POOL_H
#define PNO_HOSTLINK_SEND_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "hostlink/chunk_pool.h"

/** Largest owner number; those above are the pool's own. */
#define SEND_POOL_OWNER_MAX (UINT32_MAX - 3)

/** No owner in particular: reclaiming leaves such chunks alone. */
#define SEND_POOL_OWNER_NONE (UINT32_MAX - 2)

struct send_pool_shared;

/** A process's handle. After fork the child's copy is good as it is. */
struct send_pool {
    uint8_t *arena;
    struct send_pool_shared *shared;
};

struct send_pool_statistics {
    uint64_t bytes_total;
    uint64_t bytes_in_use; /**< a moment's view while others allocate */
    uint64_t failures;     /**< allocations refused because the pool was used up */
    uint32_t rebuilds;     /**< times a process died holding the lock */
};

/**
 * Make the pool in zeroed arena memory; once per tenant, before it forks. Book-keeping takes the
 * first hundredth of it, touched only as far as chunks were ever used.
 * @param arena   where the arena is mapped.
 * @param offset  of the pool within the arena, a multiple of 64.
 * @return 0; -EINVAL: no room for one largest chunk.
 */
int send_pool_create(struct send_pool *pool, uint8_t *arena, uint64_t offset, uint64_t bytes);

/** The pool that another process made at this offset: for one that doesn't inherit its mapping. */
void send_pool_adopt(struct send_pool *pool, uint8_t *arena, uint64_t offset);

/**
 * Allocate a chunk of at least wanted_bytes (or of CHUNK_BYTES_MAX, if more is wanted).
 * @param owner  whose it is (say, a socket's slot), or SEND_POOL_OWNER_NONE.
 * @return false: used up (counted), or called in a signal handler that interrupted this very
 *         thread while it held the lock.
 */
bool send_pool_allocate(struct send_pool *pool, uint64_t wanted_bytes, uint32_t owner,
                        struct chunk *chunk);

/** Free the chunk at this arena offset; traps when there is none. */
void send_pool_free(struct send_pool *pool, uint64_t offset);

/** Whether all of this owner's users are gone. Runs under the pool's lock: it must not allocate. */
typedef bool send_pool_gone_fn(void *context, uint32_t owner);

/** Free the chunks of owners that are gone. Looks at every chunk. @return bytes freed. */
uint64_t send_pool_reclaim(struct send_pool *pool, send_pool_gone_fn *gone, void *context);

/** As chunk_pool_trim(). */
uint64_t send_pool_trim(struct send_pool *pool, uint64_t keep_bytes, unsigned runs_max);

void send_pool_read_statistics(const struct send_pool *pool,
                               struct send_pool_statistics *statistics);

#endif
