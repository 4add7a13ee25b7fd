/**
 * @file icmp.h
 * ICMP and ICMPv6: echo is answered, errors about our TCP segments go to TCP and to path MTU
 * discovery, errors about packets we have no use for are sent at a limited rate.
 */
#ifndef PNO_CORE_IP_ICMP_H
#define PNO_CORE_IP_ICMP_H

#include "core/ip/ip_packet.h"

void icmp_limit_init(struct stack *stack, uint64_t now_ns);

enum stack_rx_verdict icmp_receive(struct stack *stack, const struct ip_packet *packet,
                                   uint64_t now_ns, struct stack_rx *rx);
enum stack_rx_verdict icmpv6_receive(struct stack *stack, const struct ip_packet *packet,
                                     uint64_t now_ns, struct stack_rx *rx);

/**
 * Tell a packet's sender what is wrong with it, where the RFCs allow that (RFC 1122 §3.2.2, RFC
 * 4443 §2.4 e) and the rate limit does.
 * @param parameter  the message's second word: a pointer, or 0.
 */
void icmp_error_send(struct stack *stack, const struct ip_packet *packet, uint8_t type,
                     uint8_t code, uint32_t parameter, uint64_t now_ns);

/**
 * Answer an echo request with its own bytes.
 * @param type  of the reply.
 */
void icmp_echo_reply(struct stack *stack, const struct ip_packet *packet, uint8_t type);

/** What an arriving error says, in TCP's terms. */
struct icmp_report {
    enum tcp_icmp_kind kind;
    int error;
    uint32_t mtu; /**< of PACKET_TOO_BIG; 0: not told */
};

/** The error quotes this packet (an IP header and what follows): find the connection and tell it.
 */
void icmp_error_report(struct stack *stack, const uint8_t *quoted, uint32_t length,
                       const struct icmp_report *report, uint64_t now_ns);

/** The flow and sequence number of a quoted TCP segment; false when it is not one. */
bool icmp_quote_parse(const uint8_t *quoted, uint32_t length, struct tcp_flow *flow, seq_t *seq,
                      uint32_t *packet_bytes);

#endif
