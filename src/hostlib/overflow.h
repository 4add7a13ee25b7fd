/**
 * @file overflow.h
 * Operations for which a to-engine ring had no room, in order. What follows for the same socket
 * merges with what waits, as operations are cumulative; so a queue holds about as much as the
 * sockets' send buffers have pieces. Knows nothing of rings: engine_link.c fills and empties it,
 * under its produce_lock.
 */
#ifndef PNO_HOSTLIB_OVERFLOW_H
#define PNO_HOSTLIB_OVERFLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "hostlink/abi.h"

struct overflow {
    struct link_descriptor *entries; /**< mapped, never given back */
    uint32_t first, end;             /**< those waiting: [first, end) */
    uint32_t capacity;
};

static inline bool overflow_is_empty(const struct overflow *overflow)
{
    return overflow->first == overflow->end;
}

/** Add one, at the end or to one that waits. @return false: no memory; nothing was changed. */
bool overflow_add(struct overflow *overflow, const struct link_descriptor *descriptor);

/** The first one; there is one. */
static inline const struct link_descriptor *overflow_first(const struct overflow *overflow)
{
    return &overflow->entries[overflow->first];
}

/** It has been dealt with. */
static inline void overflow_remove_first(struct overflow *overflow)
{
    if (++overflow->first == overflow->end)
        overflow->first = overflow->end = 0;
}

/** Forget everything: the engine is dead, or these are another process's operations. */
static inline void overflow_clear(struct overflow *overflow)
{
    overflow->first = overflow->end = 0;
}

#endif
