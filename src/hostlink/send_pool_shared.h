/**
 * @file send_pool_shared.h
 * What the send pool keeps in the arena. Private to send_pool.c and to its tests, which kill
 * processes at bad moments.
 */
#ifndef PNO_HOSTLINK_SEND_POOL_SHARED_H
#define PNO_HOSTLINK_SEND_POOL_SHARED_H

#include <pthread.h>
#include <stdatomic.h>

#include "hostlink/send_pool.h"

/**
 * The head of a stack of freed chunks, in one word so that one compare-and-swap changes it:
 * bits 0..23 first unit plus one (0: empty), bits 24..35 how many, bits 36..63 a number that grows
 * with each change, so that a head that changed and changed back is not taken for the old one.
 * Chunks in it count as allocated to the buddies, tagged SEND_POOL_OWNER_STACKED.
 */
struct send_pool_stack {
    _Alignas(64) _Atomic uint64_t head;
};

#define SEND_POOL_OWNER_STACKED UINT32_MAX

/** The tag of a chunk on its way from a stack to the buddies, under the lock. */
#define SEND_POOL_OWNER_FLUSHED (UINT32_MAX - 1)

struct send_pool_shared {
    pthread_mutex_t lock; /**< robust; for everything below but the stacks */
    uint64_t chunks;      /**< arena offset of unit 0 */
    uint64_t chunk_bytes; /**< in all */
    _Atomic uint64_t failures;
    _Atomic uint32_t rebuilds;
    struct send_pool_stack stacks[BUDDY_ORDERS];
    _Alignas(64) struct buddy buddy; /**< last: its units follow */
};

/** @return false: this very thread holds the lock already (we are in its signal handler). */
bool send_pool_lock(struct send_pool_shared *shared);
void send_pool_unlock(struct send_pool_shared *shared);

#endif
