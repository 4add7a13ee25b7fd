/**
 * @file payload.h
 * What the bytes of a stream are: a function of (key of the direction, offset), so that both ends
 * know them without keeping any.
 */
#ifndef PNO_SIMULATION_PAYLOAD_H
#define PNO_SIMULATION_PAYLOAD_H

#include "random.h"

static inline uint8_t payload_byte(uint64_t key, uint64_t offset)
{
    return (uint8_t)(random_mix(key + (offset >> 3)) >> (8 * (offset & 7)));
}

static inline void payload_fill(uint64_t key, uint64_t offset, uint8_t *bytes, uint32_t length)
{
    uint64_t word = random_mix(key + (offset >> 3));
    for (uint32_t i = 0; i < length; i++, offset++) {
        if ((offset & 7) == 0)
            word = random_mix(key + (offset >> 3));
        bytes[i] = (uint8_t)(word >> (8 * (offset & 7)));
    }
}

/** @return how many bytes agree, from the first on; length when all do. */
static inline uint32_t payload_match(uint64_t key, uint64_t offset, const uint8_t *bytes,
                                     uint32_t length)
{
    uint64_t word = random_mix(key + (offset >> 3));
    for (uint32_t i = 0; i < length; i++, offset++) {
        if ((offset & 7) == 0)
            word = random_mix(key + (offset >> 3));
        if (bytes[i] != (uint8_t)(word >> (8 * (offset & 7))))
            return i;
    }
    return length;
}

#endif
