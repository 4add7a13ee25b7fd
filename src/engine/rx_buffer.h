/**
 * @file rx_buffer.h
 * Where a connection's received payload lies in its tenant's arena: chunks that tile the stream
 * from the first byte not yet consumed, gaps included. Offsets only; the bytes go by DMA.
 */
#ifndef PNO_ENGINE_RX_BUFFER_H
#define PNO_ENGINE_RX_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/object_pool.h"
#include "hostlink/chunk_pool.h"

struct rx_chunk {
    struct rx_chunk *next; /**< of the last one: the first */
    uint64_t start;        /**< stream offset of its first byte */
    uint64_t arena_offset;
    uint32_t bytes;
};

struct rx_buffer {
    struct rx_chunk *tail; /**< chunks form a ring from here; NULL: there are none */
    uint64_t consumed;     /**< by the application; chunks wholly below are given back */
};

/** What a core's buffers are made of. */
struct rx_memory {
    struct object_share *chunks;
    struct chunk_pool *pool;
};

/**
 * Make sure that chunks cover the stream up to `end`.
 * @param base  where tiling starts when there are no chunks yet: the lowest byte that can come.
 * @return false when memory is used up.
 */
bool rx_buffer_extend(struct rx_buffer *buffer, const struct rx_memory *memory, uint64_t base,
                      uint64_t end);

/** A contiguous stretch of the stream in the arena. */
struct rx_extent {
    uint64_t arena_offset;
    uint64_t length;
};

/** The stretch that starts at `offset`, at most up to `end`; length 0: not covered. */
struct rx_extent rx_buffer_find(const struct rx_buffer *buffer, uint64_t offset, uint64_t end);

/**
 * The application has read up to `offset`.
 * @param all  nothing beyond it has been placed: give back the last chunk too.
 */
void rx_buffer_consume(struct rx_buffer *buffer, const struct rx_memory *memory, uint64_t offset,
                       bool all);

void rx_buffer_release(struct rx_buffer *buffer, const struct rx_memory *memory);

#endif
