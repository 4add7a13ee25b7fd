/**
 * @file chunk_pool.h
 * The engine's allocator of receive buffers within a tenant's arena.
 *
 * Hands out chunks of 2, 4, …, 256 KiB from (a part of) the receive region. All book-keeping is in
 * engine memory; nothing the host writes is ever read. Operations take bounded time and allocate
 * nothing. Not thread-safe: one pool per tenant and engine core, over that core's share.
 *
 * Freed memory merges into 256 KiB runs; chunk_pool_trim() gives idle runs back to the system.
 */
#ifndef PNO_HOSTLINK_CHUNK_POOL_H
#define PNO_HOSTLINK_CHUNK_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "hostlink/buddy.h"

#define CHUNK_BYTES_MIN BUDDY_UNIT_BYTES
#define CHUNK_BYTES_MAX BUDDY_BLOCK_BYTES_MAX

/** Freed chunks kept as they are, per size, for the next who asks: saves splitting and merging. */
#define CHUNK_POOL_QUICK_MAX 32

struct chunk {
    uint64_t offset; /**< within the arena */
    uint32_t bytes;  /**< a power of two, as allocated */
};

struct chunk_pool_statistics {
    uint64_t bytes_total;
    uint64_t bytes_in_use;
    uint64_t bytes_high_water; /**< most bytes ever in use at once */
    uint64_t allocations;
    uint64_t failures; /**< allocations refused because the region was used up */
};

struct chunk_pool {
    struct buddy *buddy;
    uint64_t region_offset;
    uint32_t quick[BUDDY_ORDERS][CHUNK_POOL_QUICK_MAX];
    uint32_t quick_count[BUDDY_ORDERS];
    struct chunk_pool_statistics statistics;
};

/**
 * @param region_offset, region_bytes  the range of the arena to hand out; what is not a multiple of
 *                                     CHUNK_BYTES_MAX at its end stays unused, so does all beyond
 *                                     32 GiB.
 * @return 0; -EINVAL: less than one largest chunk; -ENOMEM.
 */
int chunk_pool_init(struct chunk_pool *pool, uint64_t region_offset, uint64_t region_bytes);

/** Forget everything; chunks still in use need not be freed. */
void chunk_pool_destroy(struct chunk_pool *pool);

/**
 * Allocate a chunk of at least wanted_bytes (or of CHUNK_BYTES_MAX, if more is wanted).
 * @return false: the region is used up (counted); *chunk is untouched.
 */
bool chunk_pool_allocate(struct chunk_pool *pool, uint64_t wanted_bytes, struct chunk *chunk);

/** Free the chunk at this arena offset; traps when there is none, for only we know them. */
void chunk_pool_free(struct chunk_pool *pool, uint64_t offset);

/**
 * Give pages of idle runs back to the system until at most keep_bytes of idle runs have theirs.
 * For idle moments: each run costs some microseconds.
 * @param arena  where the arena is mapped.
 * @param runs_max  at most so many runs of CHUNK_BYTES_MAX in this call.
 * @return bytes given back.
 */
uint64_t chunk_pool_trim(struct chunk_pool *pool, uint8_t *arena, uint64_t keep_bytes,
                         unsigned runs_max);

#endif
