/**
 * @file receive_queue.h
 * What the engine has told about a stream's received bytes: which lie where in the receive region.
 * Not the bytes themselves, and not shared: each process that holds the socket is told everything.
 *
 * What is unread is contiguous in the stream. Mostly it is so in memory too, or there is nothing:
 * then the queue needs no memory beside itself.
 */
#ifndef PNO_HOSTLIB_RECEIVE_QUEUE_H
#define PNO_HOSTLIB_RECEIVE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

struct lock;

/** Extents are told one a descriptor, so few are outstanding; this bounds a lying engine. */
#define RECEIVE_QUEUE_EXTENTS_MAX (1u << 20)

struct receive_extent {
    uint64_t stream_offset;
    uint64_t arena_offset;
    uint64_t length;
};

struct receive_ring;

struct receive_queue {
    uint64_t end_offset; /**< stream offset after the last byte known */
    union {
        uint64_t arena_offset;     /**< where the only extent lies */
        struct receive_ring *ring; /**< with has_ring: all of them */
    };
    uint32_t length; /**< of the only extent */
    uint32_t count : 31;
    bool has_ring : 1;
};

/**
 * Append bytes; what was known already is skipped.
 * @return 1; 0: there was nothing new, or a gap before it; -ENOBUFS: no memory, and nothing
 * changed.
 */
int receive_queue_append(struct receive_queue *queue, struct receive_extent extent);

/** The bytes at stream offset `from`: their place and how many are contiguous; 0: none known. */
uint64_t receive_queue_at(const struct receive_queue *queue, uint64_t from, uint64_t *arena_offset);

/** Forget what lies below `offset`. */
void receive_queue_forget(struct receive_queue *queue, uint64_t offset);

void receive_queue_free(struct receive_queue *queue);

/** What fork() has to hold and its child to reset. */
struct lock *receive_queue_fork_lock(void);

#endif
