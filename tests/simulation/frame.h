/**
 * @file frame.h
 * Frames on the simulated wire, read by a parser of the tests' own: nothing here shares code with
 * the core, so that a mistake of the core's parser, builder or checksum shows.
 */
#ifndef PNO_SIMULATION_FRAME_H
#define PNO_SIMULATION_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "core/segment.h"

#define FRAME_BYTES_MAX 66000

struct frame {
    uint32_t length;
    bool corrupted;     /**< the wire changed it in a way that a checksum must catch */
    bool forged;        /**< by nobody who takes part: must change nothing */
    uint8_t from;       /**< host that sent it */
    uint16_t gso_size;  /**< segments of this size were joined to it, as by the receiver's port */
    struct frame *next; /**< in a list of the holder's */
    uint8_t bytes[];
};

struct frame *frame_new(uint32_t length);
struct frame *frame_copy(const struct frame *frame);

enum frame_kind {
    FRAME_TCP,
    FRAME_ARP,
    FRAME_ICMP,
    FRAME_ICMPV6,
    FRAME_FRAGMENT,
    FRAME_OTHER,
    FRAME_MALFORMED,
};

/** What a frame says; TCP fields are set for FRAME_TCP only. */
struct frame_view {
    enum frame_kind kind;
    bool is_ipv6;
    bool checksums_good;
    uint32_t l3_offset, l4_offset, payload_offset;
    uint32_t payload_length; /**< TCP payload; for others what follows the IP header */
    uint32_t packet_end;     /**< where the IP packet ends; padding follows */
    struct ip_address source, destination;
    uint16_t source_port, destination_port;
    uint32_t seq, ack;
    uint8_t flags;
    uint16_t window, urgent_pointer;
    uint8_t ip_ttl, ip_tos;
    uint8_t icmp_type, icmp_code;
    uint32_t options_length;
    struct tcp_options options;
};

void frame_parse(const uint8_t *bytes, uint32_t length, struct frame_view *view);

/** One's-complement sum of RFC 1071 over bytes, continued from sum, not folded. */
uint64_t frame_sum(const uint8_t *bytes, uint32_t length, uint64_t sum);
uint16_t frame_sum_fold(uint64_t sum);

/** Write the IP length from the frame's length, then IPv4's and TCP's checksums. */
void frame_finish_tcp(uint8_t *bytes, uint32_t length, const struct frame_view *view);

/** Cut a TCP frame with payload in two, first_bytes of payload in the first. */
void frame_split_tcp(const struct frame *frame, const struct frame_view *view, uint32_t first_bytes,
                     struct frame **first, struct frame **second);

/** Join two TCP frames of a flow when the second goes on where the first ends and their headers
    allow it; NULL when not. If a port might have done it (equal segments, but for the last, all
    marked or none), the frame has a gso_size. The arguments are left alone. */
struct frame *frame_join_tcp(const struct frame *first, const struct frame *second,
                             uint32_t payload_max);

/** What a router says of a packet that is too big: ICMP (IPv6: ICMPv6) to its sender, from router.
 */
struct frame *frame_too_big(const struct frame *frame, const struct frame_view *view,
                            const struct ip_address *router, uint16_t mtu);

/** Cut an IP packet into fragments with at most payload_max bytes each, in a list; NULL when it
    can't be (fragment already, not IP, too short). */
struct frame *frame_fragment(const struct frame *frame, uint32_t payload_max, uint32_t id);

#endif
