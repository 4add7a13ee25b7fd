/**
 * @file options.h
 * The options part of the TCP header: reading it (the packet parser calls this) and writing it the
 * way Linux lays it out. Knows nothing of connections.
 */
#ifndef PNO_CORE_TCP_OPTIONS_H
#define PNO_CORE_TCP_OPTIONS_H

#include <stddef.h>
#include <string.h>

#include "base/byte_order.h"
#include "core/segment.h"

/** <nop, nop, timestamps> as a header begins it. */
#define TCP_OPTIONS_TIMESTAMPS_HEAD  UINT32_C(0x0101080a)
#define TCP_OPTIONS_TIMESTAMPS_BYTES 12

/** <MSS …, SACK-permitted, timestamps …, nop, window scale …>, as Linux begins connections: the
    words around MSS, time stamps and scale. */
#define TCP_OPTIONS_SYN_MSS    UINT32_C(0x02040000)
#define TCP_OPTIONS_SYN_MIDDLE UINT32_C(0x0402080a)
#define TCP_OPTIONS_SYN_SCALE  UINT32_C(0x01030300)
#define TCP_OPTIONS_SYN_BYTES  20

/**
 * Read the options area. Unknown options are skipped, and so are known ones of a wrong length
 * (RFC 9293 §3.1, MUST-4 to MUST-7, MUST-64); what repeats, counts the last time.
 * @param length  bytes of the options area, at most TCP_OPTIONS_MAX.
 * @return        false when an option's length runs out of the area or is less than 2: what stood
 *                before it is in out, the rest is ignored (as Linux does; not a reason to drop).
 */
bool tcp_options_parse(const uint8_t *bytes, uint32_t length, struct tcp_options *out);

/** The same of the layout that nearly every segment has: <nop, nop, timestamps> alone.
    @return false: another one; out is left as it is. */
static inline bool tcp_options_parse_usual(const uint8_t *bytes, uint32_t length,
                                           struct tcp_options *out)
{
    if (length != TCP_OPTIONS_TIMESTAMPS_BYTES || load_be32(bytes) != TCP_OPTIONS_TIMESTAMPS_HEAD)
        return false;
    /* Everything but the arrays, which the counts guard. */
    memset(out, 0, offsetof(struct tcp_options, timestamp_value));
    out->has_timestamps = true;
    copy_be32_pair((uint8_t *)out + offsetof(struct tcp_options, timestamp_value), bytes + 4);
    return true;
}

/** Options of a SYN or SYN-ACK in Linux's order: MSS, SACK-permitted, timestamps, window scale,
    fast open (if there is room).
    @return bytes written, a multiple of 4. */
uint8_t tcp_options_build_syn(const struct tcp_options *options, uint8_t bytes[TCP_OPTIONS_MAX]);

/** Those of nearly all: MSS, SACK-permitted, timestamps, window scale.
    @return bytes written: TCP_OPTIONS_SYN_BYTES. */
static inline uint8_t tcp_options_build_usual_syn(uint16_t mss, uint32_t timestamp_value,
                                                  uint32_t timestamp_echo, uint8_t window_scale,
                                                  uint8_t bytes[TCP_OPTIONS_MAX])
{
    store_be32(bytes, TCP_OPTIONS_SYN_MSS | mss);
    store_be32(bytes + 4, TCP_OPTIONS_SYN_MIDDLE);
    store_be32(bytes + 8, timestamp_value);
    store_be32(bytes + 12, timestamp_echo);
    store_be32(bytes + 16, TCP_OPTIONS_SYN_SCALE | window_scale);
    return TCP_OPTIONS_SYN_BYTES;
}

/** <nop, nop, timestamps>. @return bytes written: 12. */
uint8_t tcp_options_build_timestamps(uint32_t value, uint32_t echo, uint8_t *bytes);

/** <nop, nop, SACK>. @return bytes written: 4 + 8 per block. */
uint8_t tcp_options_build_sack(const struct tcp_sack_block *blocks, unsigned count, uint8_t *bytes);

#endif
