/**
 * @file byte_order.h
 * Loads and stores of network-order fields at any alignment.
 */
#ifndef PNO_BASE_BYTE_ORDER_H
#define PNO_BASE_BYTE_ORDER_H

#include <stdint.h>
#include <string.h>

static inline uint16_t host_to_be16(uint16_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap16(value);
#else
    return value;
#endif
}

static inline uint32_t host_to_be32(uint32_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap32(value);
#else
    return value;
#endif
}

/** Four bytes as they lie there: for sums and comparisons, which have no byte order. */
static inline uint32_t load_word(const void *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

static inline uint16_t load_be16(const void *bytes)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof(value));
    return host_to_be16(value);
}

static inline uint32_t load_be32(const void *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return host_to_be32(value);
}

static inline void store_be16(void *bytes, uint16_t value)
{
    value = host_to_be16(value);
    memcpy(bytes, &value, sizeof(value));
}

static inline void store_be32(void *bytes, uint32_t value)
{
    value = host_to_be32(value);
    memcpy(bytes, &value, sizeof(value));
}

/** Two fields of 32 bits at once, one after the other, to where two numbers lie so; or back. */
static inline void copy_be32_pair(void *to, const void *from)
{
    uint64_t pair;
    memcpy(&pair, from, sizeof(pair));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    pair = __builtin_bswap64(pair);
    pair = pair << 32 | pair >> 32;
#endif
    memcpy(to, &pair, sizeof(pair));
}

#endif
