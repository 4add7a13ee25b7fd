/**
 * @file schedule.h
 * Frames on their way, the next to arrive first; equal times in the order of entering. Holds
 * numbers of frame slots, not frames.
 */
#ifndef PNO_WIRE_SCHEDULE_H
#define PNO_WIRE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_scheduled {
    uint64_t at_ns;
    uint64_t order;
    uint32_t slot;
    uint32_t bytes;
};

struct wire_schedule {
    struct wire_scheduled *heap;
    size_t length;
    size_t capacity;
    uint64_t next_order;
};

/** @return false: out of memory. */
bool wire_schedule_init(struct wire_schedule *schedule, size_t capacity);
void wire_schedule_destroy(struct wire_schedule *schedule);

/** There must be room. */
void wire_schedule_push(struct wire_schedule *schedule, uint64_t at_ns, uint32_t slot,
                        uint32_t bytes);

/** The next to arrive, or NULL if there is none. */
const struct wire_scheduled *wire_schedule_first(const struct wire_schedule *schedule);

/** Take the next to arrive out; there must be one. */
struct wire_scheduled wire_schedule_pop(struct wire_schedule *schedule);

#endif
