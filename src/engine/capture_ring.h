/**
 * @file capture_ring.h
 * Frames on their way from one engine core to the control thread while somebody captures. Bounded:
 * what finds no room is counted, never waited for. One producer, one consumer; knows nothing of
 * capture files or filters.
 */
#ifndef PNO_ENGINE_CAPTURE_RING_H
#define PNO_ENGINE_CAPTURE_RING_H

#include <stdbool.h>
#include <stdint.h>

/** Where a frame was seen: the port, or frames to our own addresses. */
enum capture_interface { CAPTURE_PORT, CAPTURE_TURNED, CAPTURE_INTERFACES };

/** As in pcapng's epb_flags. */
enum capture_direction { CAPTURE_IN = 1, CAPTURE_OUT = 2 };

/** One frame; its bytes follow. */
struct capture_record {
    uint64_t time_ns; /**< CLOCK_REALTIME */
    uint32_t bytes;
    uint8_t interface; /**< enum capture_interface; CAPTURE_INTERFACES: filler up to the end */
    uint8_t direction; /**< enum capture_direction */
};

struct capture_ring;

/** @return a ring for about `bytes` (a power of two) of frames, or NULL: no memory. */
struct capture_ring *capture_ring_create(uint64_t bytes);
void capture_ring_destroy(struct capture_ring *ring);

/**
 * Producer: begin a frame.
 * @return where its bytes go; NULL: no room, and the drop was counted.
 */
uint8_t *capture_ring_reserve(struct capture_ring *ring, enum capture_interface interface,
                              enum capture_direction direction, uint32_t bytes, uint64_t time_ns);

/** Producer: the frame last reserved is complete. */
void capture_ring_commit(struct capture_ring *ring);

/** Consumer: the oldest frame, its bytes behind it; NULL: none. Stays until capture_ring_next(). */
const struct capture_record *capture_ring_first(struct capture_ring *ring);
void capture_ring_next(struct capture_ring *ring);

/** Frames that found no room so far; from any thread. */
uint64_t capture_ring_drops(const struct capture_ring *ring, enum capture_interface interface);

#endif
