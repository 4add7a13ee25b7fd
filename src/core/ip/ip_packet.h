/**
 * @file ip_packet.h
 * One arriving IP packet whose header has been checked: what IPv4 and IPv6 hand to TCP, ICMP and
 * reassembly. A view: it lives as long as the frame.
 */
#ifndef PNO_CORE_IP_IP_PACKET_H
#define PNO_CORE_IP_IP_PACKET_H

#include "core/stack_state.h"

struct ip_packet {
    const uint8_t *base;      /**< what offsets told to the embedder count from: frame or buffer */
    const uint8_t *bytes;     /**< the IP header */
    uint32_t length;          /**< with the header; never more than the frame holds */
    uint32_t header_length;   /**< with options or extension headers, up to the upper layer */
    uint32_t protocol_offset; /**< where the header says so, for parameter problems */
    uint8_t protocol;         /**< of the upper layer */
    uint8_t ttl;
    uint8_t traffic_class;
    uint16_t gso_size; /**< of what the port joined; 0: nothing */
    bool is_v4;
    bool reassembled;      /**< from fragments */
    bool l4_checksum_good; /**< by the port, or turned round */
    bool turned_round;     /**< our own packet to ourselves */
    bool link_multicast;   /**< came to a broadcast or multicast MAC address */
    const uint8_t *link_source;
    struct ip_address source, destination;
};

/** An upper layer of an IP packet: TCP fills rx, ICMP answers by itself. */
enum stack_rx_verdict ip_deliver(struct stack *stack, const struct ip_packet *packet,
                                 uint64_t now_ns, struct stack_rx *rx);
enum stack_rx_verdict tcp_header_parse(struct stack *stack, const struct ip_packet *packet,
                                       struct stack_rx *rx);
enum stack_rx_verdict ipv4_receive(struct stack *stack, struct ip_packet *packet,
                                   bool checksum_good, uint64_t now_ns, struct stack_rx *rx);
enum stack_rx_verdict ipv6_receive(struct stack *stack, struct ip_packet *packet, uint64_t now_ns,
                                   struct stack_rx *rx);

/** Count the reason, note it in rx. */
static inline enum stack_rx_verdict rx_drop(struct stack *stack, struct stack_rx *rx,
                                            enum drop_reason reason)
{
    stack_drop_count(stack, reason);
    rx->drop = reason;
    return STACK_RX_DROPPED;
}

/** Partial checksum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1). */
uint32_t ip_pseudo_sum(const struct ip_address *source, const struct ip_address *destination,
                       uint8_t protocol, uint32_t length);

#endif
