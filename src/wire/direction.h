/**
 * @file direction.h
 * One direction of a wire in virtual time: what becomes of a frame that enters it now. In order:
 * lost; duplicated; a bit flipped; dropped because the buffer is full; sent at the rate; delayed,
 * unless chosen to overtake. Deterministic: the same seed, frames and times give the same fates,
 * and one impairment's strength has no effect on another's choices. Not here: frames themselves,
 * the clock, sockets (main.c).
 */
#ifndef PNO_WIRE_DIRECTION_H
#define PNO_WIRE_DIRECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/config.h"

/** Frames waiting for the rate limit at once, however large the buffer. */
#define WIRE_QUEUE_MAX 65536

struct wire_counters {
    uint64_t entered;
    uint64_t lost;
    uint64_t overflowed;
    uint64_t duplicated;
    uint64_t corrupted;
    uint64_t overtaking;
};

struct wire_direction {
    struct wire_config config;
    uint64_t random_state;
    uint64_t free_at_ns; /**< when the rate limiter has sent all it was given */
    uint64_t *finish_ns; /**< a ring of the waiting frames' times of leaving the limiter */
    size_t queue_head;
    size_t queue_length;
    struct wire_counters counters;
};

/** A copy of the frame that arrives. */
struct wire_arrival {
    uint64_t at_ns;
    bool corrupted;
    uint32_t corrupted_bit; /**< counted from the first bit after the Ethernet header */
};

struct wire_fate {
    unsigned arrivals; /**< 0 to 2 */
    struct wire_arrival arrival[2];
};

/** `number`, 0 or 1, tells the wire's two directions apart: each has its own random sequence.
 * @return false: out of memory. */
bool wire_direction_init(struct wire_direction *direction, const struct wire_config *config,
                         unsigned number);
void wire_direction_destroy(struct wire_direction *direction);

/**
 * A frame enters.
 *
 * @param now_ns         never decreasing.
 * @param frame_bytes    with its Ethernet header, at least that.
 * @param housekeeping   ARP or neighbour discovery, which no checksum guards or whose loss would be
 *                       measured instead of TCP: neither lost, duplicated, corrupted nor
 * overtaking.
 */
void wire_direction_enter(struct wire_direction *direction, uint64_t now_ns, size_t frame_bytes,
                          bool housekeeping, struct wire_fate *fate);

#endif
