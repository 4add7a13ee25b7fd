/**
 * @file segment.h
 * One arriving TCP segment, checked once and turned into host-order fields: what the pre-process
 * stage hands to the protocol stage. Not a view of the wire: nobody behind the parser looks at
 * header bytes again.
 */
#ifndef PNO_CORE_SEGMENT_H
#define PNO_CORE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip_address.h"
#include "base/seq.h"

/** The IP header's two bits (RFC 3168 §5). */
enum ecn_codepoint { ECN_NOT_ECT = 0, ECN_ECT_1 = 1, ECN_ECT_0 = 2, ECN_CE = 3 };

enum tcp_flag {
    TCP_FIN = 0x01,
    TCP_SYN = 0x02,
    TCP_RST = 0x04,
    TCP_PSH = 0x08,
    TCP_ACK = 0x10,
    TCP_URG = 0x20,
    TCP_ECE = 0x40,
    TCP_CWR = 0x80,
};

/** SACK blocks that fit a header (RFC 2018 §3). */
#define TCP_SACK_BLOCKS_MAX 4

/** Bytes of options in the longest TCP header. */
#define TCP_OPTIONS_MAX 40

struct tcp_sack_block {
    seq_t start;
    seq_t end; /**< one past the last */
};

/** The options of one segment; has_* tells which were there and well-formed. */
struct tcp_options {
    bool has_mss;
    bool has_window_scale;
    bool has_timestamps;
    bool has_sack_permitted;
    bool has_fast_open;
    bool fast_open_experimental; /**< by the experimental option (RFC 7413 appendix B) */
    bool has_signature;          /**< RFC 2385: then nothing else is told */
    uint8_t window_scale;        /**< as sent; RFC 7323 §2.3 caps use at 14 */
    uint8_t sack_block_count;
    uint8_t fast_open_length; /**< cookie bytes, 0 = cookie request */
    uint16_t mss;
    uint32_t timestamp_value;
    uint32_t timestamp_echo;
    struct tcp_sack_block sack_blocks[TCP_SACK_BLOCKS_MAX];
    uint8_t fast_open_cookie[16];
};

struct tcp_segment {
    struct ip_endpoint source;
    struct ip_endpoint destination;
    seq_t seq;
    seq_t ack;
    uint8_t flags; /**< enum tcp_flag */
    uint8_t ecn;   /**< enum ecn_codepoint */
    uint8_t ttl;
    uint8_t traffic_class;
    uint16_t window; /**< as on the wire, unscaled */
    uint16_t urgent_pointer;
    uint16_t gso_size; /**< 0, or the payload is that of several segments which the port or its
                            driver joined, each of this size but for the last */
    uint32_t payload_length;
    uint32_t payload_frame_offset; /**< where payload begins in the frame (or reassembled packet) */
    bool payload_refused; /**< the embedder has no memory for the payload: act on the header only,
                               do not advance rcv_nxt over payload or FIN */
    struct tcp_options options;
};

_Static_assert(offsetof(struct tcp_options, timestamp_echo) ==
                       offsetof(struct tcp_options, timestamp_value) + 4 &&
                   offsetof(struct tcp_segment, ack) == offsetof(struct tcp_segment, seq) + 4,
               "the parser writes both at once");

/** Segments that came as this one. */
static inline uint32_t tcp_segment_count(const struct tcp_segment *segment)
{
    if (segment->gso_size == 0)
        return 1;
    return (segment->payload_length + segment->gso_size - 1) / segment->gso_size;
}

/** Sequence space the segment takes: payload, SYN and FIN (RFC 9293 §3.4, SEG.LEN). */
static inline uint32_t tcp_segment_length(const struct tcp_segment *segment)
{
    return segment->payload_length + ((segment->flags & TCP_SYN) != 0) +
           ((segment->flags & TCP_FIN) != 0);
}

#endif
