/**
 * @file routes.h
 * Where packets go and where they may come from: our own addresses, the prefixes on the link, one
 * gateway per family. Not a routing table: the configuration is fixed when the stack is made.
 */
#ifndef PNO_CORE_IP_ROUTES_H
#define PNO_CORE_IP_ROUTES_H

#include "core/stack_state.h"

enum route_kind {
    ROUTE_NONE,
    ROUTE_INSIDE, /**< our own or a loopback address: turns round */
    ROUTE_LINK,   /**< by the link, to next_hop */
};

void routes_init(struct stack *stack);

/** One of our unicast addresses on the link (the IPv6 link-local one too); not loopback. */
bool route_is_own(const struct stack *stack, const struct ip_address *address);
/** One of ours, or of the loopback: what is sent there turns round inside. */
bool route_is_inside(const struct stack *stack, const struct ip_address *address);

/** May a socket be bound to it? The wildcards, our own addresses and loopback. */
bool route_can_bind(const struct stack *stack, const struct ip_address *address);

/** Within one of our prefixes, link-local, or a gateway (which the configuration says is there). */
bool route_is_on_link(const struct stack *stack, const struct ip_address *address);

/** 255.255.255.255 or the broadcast or network address of an own IPv4 prefix (RFC 1122 §3.2.1.3).
 */
bool route_is_broadcast(const struct stack *stack, const struct ip_address *address);

enum route_kind route_next_hop(const struct stack *stack, const struct ip_address *destination,
                               struct ip_address *next_hop);

/** Choose the source for a destination when *source is a wildcard, else check that it fits.
    @return 0, -ENETUNREACH, -EADDRNOTAVAIL (no address of that family), -EINVAL. */
int route_choose_source(const struct stack *stack, const struct ip_address *destination,
                        struct ip_address *source);

#endif
