/**
 * @file arp.h
 * The messages of ARP (RFC 826, RFC 5227); what they teach goes to neighbour.h.
 */
#ifndef PNO_CORE_IP_ARP_H
#define PNO_CORE_IP_ARP_H

#include "core/stack_state.h"

/** Ask who has the address: everyone, or the one at mac whether it is still there. */
void arp_request(struct stack *stack, const struct ip_address *address, const uint8_t *mac);

/** @param bytes  what follows the Ethernet header. */
enum stack_rx_verdict arp_receive(struct stack *stack, const uint8_t *bytes, uint32_t length,
                                  uint64_t now_ns, struct stack_rx *rx);

#endif
