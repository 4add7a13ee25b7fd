/**
 * @file tx_buffer.h
 * Where the payload that an application sends lies in its tenant's arena: extents by stream
 * offset, as the host told them. Two processes that share a socket may tell theirs out of order;
 * what lies beyond a gap waits. Offsets only; the bytes are fetched by DMA.
 */
#ifndef PNO_ENGINE_TX_BUFFER_H
#define PNO_ENGINE_TX_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/object_pool.h"

/** Extents beyond a gap that one socket may have waiting. */
#define TX_WAITING_MAX 256

struct tx_extent {
    struct tx_extent *next;   /**< in the ring after the last: the first */
    struct tx_extent *cursor; /**< of the ring's last: where the last fetch ended; NULL: start at
                                 the first */
    uint64_t start;           /**< stream offset */
    uint64_t arena_offset;
    uint64_t bytes;
};

/** Extents of one tenant on one core: from the core's pool, up to a limit of its own. */
struct tx_memory {
    struct object_pool *extents;
    uint32_t in_use, limit;
};

struct tx_buffer {
    struct tx_extent *tail;    /**< of a ring: contiguous, from the first byte not acknowledged */
    struct tx_extent *waiting; /**< beyond a gap, sorted, not overlapping */
    uint64_t end;              /**< one past the contiguous part */
};

/**
 * Add what the host told.
 * @return how far the contiguous part grew (0 with a gap before it), or -EINVAL: overlaps what was
 *         told before; -ENOBUFS: too many extents.
 */
int64_t tx_buffer_add(struct tx_buffer *buffer, struct tx_memory *memory, uint64_t start,
                      uint64_t arena_offset, uint64_t bytes);

/** The contiguous stretch in the arena that starts at `offset`; length 0: not there. */
struct tx_stretch {
    uint64_t arena_offset;
    uint64_t length;
};
struct tx_stretch tx_buffer_find(const struct tx_buffer *buffer, uint64_t offset);

/** The peer has acknowledged up to `offset`. */
void tx_buffer_acknowledge(struct tx_buffer *buffer, struct tx_memory *memory, uint64_t offset);

void tx_buffer_release(struct tx_buffer *buffer, struct tx_memory *memory);

#endif
