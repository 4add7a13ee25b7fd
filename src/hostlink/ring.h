/**
 * @file ring.h
 * Single-producer single-consumer rings of descriptors, and the sleep/wake protocol over them.
 *
 * A ring lives in its consumer's memory. The producer writes a slot's bytes, then its lap number
 * (release); the consumer acquires the lap number, so it touches only the next slot. The consumer
 * tells the producer how far it got through `struct link_feedback`, which lives in the producer's
 * memory, at latest each time half the ring has been consumed.
 *
 * Neither end trusts the other: a wrong `consumed` yields at worst a producer that believes its
 * ring full or overwrites slots of its own peer's ring; no index read from shared memory is used
 * as an address.
 *
 * Sleeping (model-checked in tests/models/wakeup.pml): the consumer arms, issues a full fence,
 * looks once more at its rings, and sleeps only when they are empty. The producer pushes, issues a
 * full fence, and looks at the armed flag; who finds it set exchanges it for 0 and rings the
 * doorbell. Thus at least one of the two sees the other.
 *
 * A producer that finds its ring full keeps its work pending per socket. When it wants to sleep, it
 * does so by the same rule with link_arm_for_room() instead: arm, look at its own rings *and* for
 * room once more, sleep. The consumer looks at that flag after each report of credit. (Credit alone
 * never wakes who has not asked for it.)
 */
#ifndef PNO_HOSTLINK_RING_H
#define PNO_HOSTLINK_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hostlink/abi.h"

#define LINK_RING_SLOTS_MIN 2
#define LINK_RING_SLOTS_MAX 65536

/** The producing end. Private to one producer at a time. */
struct link_producer {
    struct link_descriptor *slots;  /**< in the consumer's memory */
    struct link_feedback *feedback; /**< in our memory, written by the consumer */
    uint32_t mask;
    uint32_t lap_shift;       /**< log2 of the number of slots */
    uint32_t produced;        /**< modulo 2^32 */
    uint32_t consumed_cached; /**< last value taken from feedback */
};

/** The consuming end. Private to one consumer at a time; others may ask whether it is empty. */
struct link_consumer {
    struct link_descriptor *slots;  /**< in our memory */
    struct link_feedback *feedback; /**< in the producer's memory */
    uint32_t mask;
    uint32_t lap_shift; /**< log2 of the number of slots */
    uint32_t consumed;  /**< read and written whole, as others may look */
    uint32_t reported;  /**< what feedback->consumed was last set to */
};

/** @param ring_slots  a power of two, 2..65536. All memory is zeroed beforehand by its maker. */
void link_producer_init(struct link_producer *producer, struct link_descriptor *slots,
                        struct link_feedback *feedback, uint32_t ring_slots);
void link_consumer_init(struct link_consumer *consumer, struct link_descriptor *slots,
                        struct link_feedback *feedback, uint32_t ring_slots);

/**
 * The lap number of the slot for descriptor number `count`. It depends on the count alone, so it
 * wraps with it: 1..2^31 at most, never 0, and two counts of one slot differ in it whenever they
 * are less than 2^32 apart.
 */
static inline uint32_t link_ring_lap(uint32_t count, uint32_t lap_shift)
{
    return (count >> lap_shift) + 1;
}

/** How many descriptors can be pushed now without asking again; reads feedback only if needed. */
static inline uint32_t link_producer_room(struct link_producer *producer, uint32_t wanted)
{
    uint32_t slots = producer->mask + 1;
    uint32_t used = producer->produced - producer->consumed_cached;
    if (slots - used < wanted) {
        /* Acquire pairs with the release in link_consumer_report(): the consumer has finished
           reading the slots that we may now overwrite. */
        uint32_t consumed =
            atomic_load_explicit(&producer->feedback->consumed, memory_order_acquire);
        /* A claim outside what was produced is a lie; the ring just stays as full as it was. */
        if (producer->produced - consumed <= slots) {
            producer->consumed_cached = consumed;
            used = producer->produced - consumed;
        }
    }
    return slots - used;
}

/**
 * Push one descriptor; its `lap` is filled in here.
 * @return false when the ring is full: nothing was written.
 */
static inline bool link_producer_push(struct link_producer *producer,
                                      const struct link_descriptor *descriptor)
{
    if (link_producer_room(producer, 1) == 0)
        return false;
    struct link_descriptor *slot = &producer->slots[producer->produced & producer->mask];
    memcpy((void *)slot, descriptor, offsetof(struct link_descriptor, lap));
    /* Release pairs with the acquire in link_consumer_empty(): who sees the lap sees the rest. */
    atomic_store_explicit(&slot->lap, link_ring_lap(producer->produced, producer->lap_shift),
                          memory_order_release);
    producer->produced++;
    return true;
}

static inline bool link_consumer_empty(const struct link_consumer *consumer)
{
    uint32_t consumed = __atomic_load_n(&consumer->consumed, __ATOMIC_RELAXED);
    const struct link_descriptor *slot = &consumer->slots[consumed & consumer->mask];
    /* Acquire pairs with the release in link_producer_push(). */
    return atomic_load_explicit(&slot->lap, memory_order_acquire) !=
           link_ring_lap(consumed, consumer->lap_shift);
}

/** How many descriptors wait, counted up to `most`, which is no more than the ring has slots. */
static inline uint32_t link_consumer_waiting(const struct link_consumer *consumer, uint32_t most)
{
    struct link_consumer ahead = *consumer;
    while (ahead.consumed - consumer->consumed < most && !link_consumer_empty(&ahead))
        ahead.consumed++;
    return ahead.consumed - consumer->consumed;
}

/** Push credit back now (before sleeping, or at the end of a burst), if any is owed. */
static inline void link_consumer_report(struct link_consumer *consumer)
{
    if (consumer->reported == consumer->consumed)
        return;
    consumer->reported = consumer->consumed;
    /* Release pairs with the acquire in link_producer_room(): our copies are made. */
    atomic_store_explicit(&consumer->feedback->consumed, consumer->consumed, memory_order_release);
}

/**
 * Take the next descriptor, copied once into *out.
 * @return false when the ring is empty.
 */
static inline bool link_consumer_pop(struct link_consumer *consumer, struct link_descriptor *out)
{
    if (link_consumer_empty(consumer))
        return false;
    const struct link_descriptor *slot = &consumer->slots[consumer->consumed & consumer->mask];
    memcpy((void *)out, slot, offsetof(struct link_descriptor, lap));
    /* A hostile producer may still be writing. This keeps the compiler from reading the slot again
       where the caller reads *out, so that what was validated is what is used. */
    atomic_signal_fence(memory_order_seq_cst);
    atomic_init(&out->lap, 0);
    __atomic_store_n(&consumer->consumed, consumer->consumed + 1, __ATOMIC_RELAXED);
    if (consumer->consumed - consumer->reported > consumer->mask / 2)
        link_consumer_report(consumer);
    return true;
}

/**
 * Before sleeping: arm the flag and fence. The caller must look at all the rings it consumes once
 * more after this and sleep only if they are empty; link_disarm() when it does not sleep.
 */
void link_arm(_Atomic uint32_t *armed);

/** As link_arm(), for who also waits for room: it must look for room once more too. */
void link_arm_for_room(_Atomic uint32_t *armed);

void link_disarm(_Atomic uint32_t *armed);

/**
 * After pushing a burst: fence, and take the armed flag.
 * @return true when the other end sleeps and the caller must ring its doorbell (exactly one caller
 *         gets true per arming).
 */
bool link_take_armed(_Atomic uint32_t *armed);

/** After link_consumer_report(): as link_take_armed(), but only if the other end awaits room. */
bool link_take_armed_for_room(_Atomic uint32_t *armed);

#endif
