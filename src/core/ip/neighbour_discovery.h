/**
 * @file neighbour_discovery.h
 * The messages of neighbour discovery for IPv6 (RFC 4861); what they teach goes to neighbour.h.
 * Addresses are configured: no duplicate address detection of our own, no autoconfiguration, and
 * redirects are not followed.
 */
#ifndef PNO_CORE_IP_NEIGHBOUR_DISCOVERY_H
#define PNO_CORE_IP_NEIGHBOUR_DISCOVERY_H

#include "core/ip/ip_packet.h"

/** Ask who has the address: by multicast, or the one at mac whether it is still there. */
void neighbour_solicit(struct stack *stack, const struct ip_address *address, const uint8_t *mac);

/** An ICMPv6 message of types 133 to 137, its checksum verified. */
enum stack_rx_verdict neighbour_discovery_receive(struct stack *stack,
                                                  const struct ip_packet *packet, uint64_t now_ns,
                                                  struct stack_rx *rx);

#endif
