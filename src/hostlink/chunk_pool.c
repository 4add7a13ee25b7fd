#include "hostlink/chunk_pool.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "hostlink/region.h"

int chunk_pool_init(struct chunk_pool *pool, uint64_t region_offset, uint64_t region_bytes)
{
    *pool = (struct chunk_pool){.region_offset = region_offset};
    uint32_t units = buddy_units_for(region_bytes);
    if (units == 0)
        return -EINVAL;
    pool->buddy = calloc(1, buddy_metadata_bytes(units));
    if (pool->buddy == NULL)
        return -ENOMEM;
    buddy_init(pool->buddy, units);
    pool->statistics.bytes_total = (uint64_t)units * BUDDY_UNIT_BYTES;
    return 0;
}

void chunk_pool_destroy(struct chunk_pool *pool)
{
    free(pool->buddy);
    *pool = (struct chunk_pool){0};
}

/** Return the chunks set aside to the buddies, where they merge. */
static void flush_quick(struct chunk_pool *pool)
{
    for (unsigned order = 0; order < BUDDY_ORDERS; order++) {
        while (pool->quick_count[order] > 0)
            buddy_free(pool->buddy, pool->quick[order][--pool->quick_count[order]]);
    }
}

static uint32_t allocate_unit(struct chunk_pool *pool, unsigned order)
{
    if (pool->quick_count[order] > 0)
        return pool->quick[order][--pool->quick_count[order]];
    uint32_t unit = buddy_allocate(pool->buddy, order, 0);
    if (unit != BUDDY_NONE)
        return unit;
    flush_quick(pool);
    return buddy_allocate(pool->buddy, order, 0);
}

bool chunk_pool_allocate(struct chunk_pool *pool, uint64_t wanted_bytes, struct chunk *chunk)
{
    if (wanted_bytes > CHUNK_BYTES_MAX)
        wanted_bytes = CHUNK_BYTES_MAX;
    unsigned order = buddy_order_for(wanted_bytes == 0 ? 1 : (uint32_t)wanted_bytes);
    uint32_t unit = allocate_unit(pool, order);
    struct chunk_pool_statistics *statistics = &pool->statistics;
    if (unit == BUDDY_NONE) {
        statistics->failures++;
        return false;
    }
    chunk->offset = pool->region_offset + (uint64_t)unit * BUDDY_UNIT_BYTES;
    chunk->bytes = buddy_block_bytes(order);
    statistics->allocations++;
    statistics->bytes_in_use += chunk->bytes;
    if (statistics->bytes_in_use > statistics->bytes_high_water)
        statistics->bytes_high_water = statistics->bytes_in_use;
    return true;
}

void chunk_pool_free(struct chunk_pool *pool, uint64_t offset)
{
    uint64_t within = offset - pool->region_offset;
    PNO_ASSERT(within % BUDDY_UNIT_BYTES == 0 && within < pool->statistics.bytes_total);
    uint32_t unit = (uint32_t)(within / BUDDY_UNIT_BYTES);
    unsigned order = buddy_order_of(pool->buddy, unit);
    pool->statistics.bytes_in_use -= buddy_block_bytes(order);
    if (pool->quick_count[order] < CHUNK_POOL_QUICK_MAX)
        pool->quick[order][pool->quick_count[order]++] = unit;
    else
        buddy_free(pool->buddy, unit);
}

uint64_t chunk_pool_trim(struct chunk_pool *pool, uint8_t *arena, uint64_t keep_bytes,
                         unsigned runs_max)
{
    flush_quick(pool);
    uint64_t returned = 0;
    for (unsigned run = 0; run < runs_max; run++) {
        if ((uint64_t)pool->buddy->warm_top_blocks * CHUNK_BYTES_MAX <= keep_bytes)
            break;
        uint32_t unit = buddy_take_warm(pool->buddy);
        uint64_t offset = pool->region_offset + (uint64_t)unit * BUDDY_UNIT_BYTES;
        returned += link_region_discard(arena, offset, CHUNK_BYTES_MAX);
        buddy_put_cold(pool->buddy, unit);
    }
    return returned;
}
