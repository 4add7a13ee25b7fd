/**
 * @file receive_queue.h
 * What the engine has told about a stream's received bytes: which lie where in the receive region.
 * Not the bytes themselves, and not shared: each process that holds the socket is told everything.
 */
#ifndef PNO_HOSTLIB_RECEIVE_QUEUE_H
#define PNO_HOSTLIB_RECEIVE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

/** Extents are told one a descriptor, so few are outstanding; this bounds a lying engine. */
#define RECEIVE_QUEUE_EXTENTS_MAX (1u << 20)

struct receive_extent {
    uint64_t stream_offset;
    uint64_t arena_offset;
    uint64_t length;
};

struct receive_queue {
    struct receive_extent *extents; /**< a ring; NULL: `few` is in use */
    uint32_t capacity;              /**< of extents, a power of two */
    uint32_t first, count;
    uint64_t end_offset; /**< stream offset after the last byte known */
    struct receive_extent few[2];
};

/**
 * Append bytes; what was known already is skipped.
 * @return whether there was anything new; false also for a gap or without memory.
 */
bool receive_queue_append(struct receive_queue *queue, struct receive_extent extent);

/** The bytes at stream offset `from`: their place and how many are contiguous; 0: none known. */
uint64_t receive_queue_at(struct receive_queue *queue, uint64_t from, uint64_t *arena_offset);

/** Forget what lies below `offset`. */
void receive_queue_forget(struct receive_queue *queue, uint64_t offset);

void receive_queue_free(struct receive_queue *queue);

#endif
