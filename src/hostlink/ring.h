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
 */
#ifndef PNO_HOSTLINK_RING_H
#define PNO_HOSTLINK_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "hostlink/abi.h"

/** The producing end. Private to one producer at a time. */
struct link_producer {
    struct link_descriptor *slots;  /**< in the consumer's memory */
    struct link_feedback *feedback; /**< in our memory, written by the consumer */
    uint32_t mask;
    uint32_t produced;        /**< modulo 2^32 */
    uint32_t consumed_cached; /**< last value taken from feedback */
};

/** The consuming end. Private to one consumer at a time. */
struct link_consumer {
    struct link_descriptor *slots;  /**< in our memory */
    struct link_feedback *feedback; /**< in the producer's memory */
    uint32_t mask;
    uint32_t consumed;
    uint32_t reported; /**< what feedback->consumed was last set to */
};

/** @param ring_slots  a power of two, 2..65536. All memory is zeroed beforehand by its maker. */
void link_producer_init(struct link_producer *producer, struct link_descriptor *slots,
                        struct link_feedback *feedback, uint32_t ring_slots);
void link_consumer_init(struct link_consumer *consumer, struct link_descriptor *slots,
                        struct link_feedback *feedback, uint32_t ring_slots);

/** How many descriptors can be pushed now without asking again; reads feedback only if needed. */
uint32_t link_producer_room(struct link_producer *producer, uint32_t wanted);

/**
 * Push one descriptor; its `lap` is filled in here.
 * @return false when the ring is full: nothing was written.
 */
bool link_producer_push(struct link_producer *producer, const struct link_descriptor *descriptor);

/**
 * Take the next descriptor, copied once into *out.
 * @return false when the ring is empty.
 */
bool link_consumer_pop(struct link_consumer *consumer, struct link_descriptor *out);

bool link_consumer_empty(const struct link_consumer *consumer);

/** Push credit back now (before sleeping, or at the end of a burst), if any is owed. */
void link_consumer_report(struct link_consumer *consumer);

/**
 * Consumer, before sleeping: arm the flag and fence. The caller must look at all its rings once
 * more after this and sleep only if they are empty; link_disarm() when it does not sleep.
 */
void link_arm(_Atomic uint32_t *armed);
void link_disarm(_Atomic uint32_t *armed);

/**
 * Producer, after pushing a burst: fence, and take the armed flag.
 * @return true when the consumer sleeps and the caller must ring its doorbell (exactly one caller
 *         gets true per arming).
 */
bool link_take_armed(_Atomic uint32_t *armed);

#endif
