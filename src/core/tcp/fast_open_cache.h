/**
 * @file fast_open_cache.h
 * What a client remembers of servers it opened fast (RFC 7413 §4.1.3): cookie and MSS by address,
 * and for how long fast open is off after it met a black hole. A table of fixed size; the entry
 * used longest ago of its set gives way. Knows nothing of connections.
 */
#ifndef PNO_CORE_TCP_FAST_OPEN_CACHE_H
#define PNO_CORE_TCP_FAST_OPEN_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ip_address.h"

#define FAST_OPEN_COOKIE_MAX 16
#define FAST_OPEN_SETS       256
#define FAST_OPEN_WAYS       4

struct tcp_fast_open_entry {
    struct ip_address remote;
    uint8_t cookie[FAST_OPEN_COOKIE_MAX];
    uint8_t cookie_bytes; /**< 0: none */
    bool experimental;    /**< the cookie is to be sent in the option of before RFC 7413 */
    uint8_t try_format;   /**< 1: ask by the experimental option; 2: that was in vain as well */
    bool in_use;
    uint16_t mss;  /**< 0: unknown */
    uint64_t used; /**< larger: later */
};

struct tcp_fast_open_memory {
    struct tcp_fast_open_entry entries[FAST_OPEN_SETS][FAST_OPEN_WAYS];
    uint64_t uses;
    uint64_t black_hole_ns; /**< when one was met last */
    uint32_t black_holes;   /**< since a fast open last went well */
};

/** What is known of a server; NULL: nothing.
    @param hash  of the address, keyed. */
struct tcp_fast_open_entry *tcp_fast_open_cache_find(struct tcp_fast_open_memory *memory,
                                                     const struct ip_address *remote,
                                                     uint64_t hash);

/** The same, made if there is none. */
struct tcp_fast_open_entry *tcp_fast_open_cache_obtain(struct tcp_fast_open_memory *memory,
                                                       const struct ip_address *remote,
                                                       uint64_t hash);

#endif
