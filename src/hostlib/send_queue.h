/**
 * @file send_queue.h
 * Bytes accepted from the application and not yet acknowledged by the peer: chunks in the arena's
 * host region, chained in stream order, shared by the processes that share the socket.
 *
 * Guarded by the socket's lock. Written so that a process killed between any two stores leaves a
 * chain that others can walk; at worst one chunk leaks until its socket's slot is used again.
 */
#ifndef PNO_HOSTLIB_SEND_QUEUE_H
#define PNO_HOSTLIB_SEND_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hostlink/send_pool.h"

/** Per tenant: the pool behind all send queues, and this process's mapping of the arena. */
struct send_memory {
    struct send_pool pool;
    uint8_t *arena;
};

struct send_queue_shared {
    uint64_t end_offset;   /**< stream offset after the last byte accepted */
    uint64_t acked_offset; /**< acknowledged up to here */
    uint64_t first_chunk;  /**< arena offsets; 0: none */
    uint64_t last_chunk;
};

/** Room for payload at the end of the queue. */
struct send_room {
    uint8_t *bytes;
    uint64_t arena_offset;
    uint64_t length;
};

/**
 * Find room for up to `wanted` bytes, contiguous; may be less. Nothing is queued yet.
 * @return false: the pool is used up.
 */
bool send_queue_reserve(struct send_queue_shared *queue, struct send_memory *memory, uint32_t owner,
                        uint64_t wanted, struct send_room *room);

/** `length` bytes of the room have been filled: they are part of the stream now. */
void send_queue_commit(struct send_queue_shared *queue, struct send_memory *memory,
                       uint64_t length);

/** The peer has acknowledged up to here: free the chunks below. */
void send_queue_acknowledge(struct send_queue_shared *queue, struct send_memory *memory,
                            uint64_t offset);

/** Free all chunks, whatever has been acknowledged. */
void send_queue_free(struct send_queue_shared *queue, struct send_memory *memory);

static inline uint64_t send_queue_outstanding(const struct send_queue_shared *queue)
{
    return queue->end_offset - queue->acked_offset;
}

#endif
