#include "core/ip/routes.h"

#include <errno.h>

#include "base/byte_order.h"

/** fe80:: and the modified EUI-64 of our MAC address (RFC 4291 §2.5.6, appendix A). */
static struct ip_address link_local_of(const uint8_t mac[6])
{
    struct ip_address address = {.bytes = {0xfe, 0x80, [11] = 0xff, [12] = 0xfe}};
    memcpy(&address.bytes[8], mac, 3);
    memcpy(&address.bytes[13], mac + 3, 3);
    address.bytes[8] ^= 0x02;
    return address;
}

void routes_init(struct stack *stack)
{
    const struct stack_config *config = &stack->config;

    for (unsigned i = 0; i < config->prefix_count; i++)
        if (ip_address_is_v4(&config->prefixes[i].address))
            stack->own[stack->own_count++] = config->prefixes[i].address;
    stack->own_v4_count = stack->own_count;
    for (unsigned i = 0; i < config->prefix_count; i++)
        if (!ip_address_is_v4(&config->prefixes[i].address))
            stack->own[stack->own_count++] = config->prefixes[i].address;
    stack->link_local = link_local_of(config->mac);
    stack->own[stack->own_count++] = stack->link_local;

    for (unsigned i = 0; i < config->prefix_count; i++) {
        const struct stack_prefix *prefix = &config->prefixes[i];
        if (!ip_address_is_v4(&prefix->address) || prefix->prefix_length >= 127)
            continue; /* /31 and /32 have none (RFC 3021) */
        uint32_t host_mask = (uint32_t)(UINT64_C(0xffffffff) >> (prefix->prefix_length - 96));
        uint32_t network = load_be32(&prefix->address.bytes[12]) & ~host_mask;
        stack->broadcast[stack->broadcast_count].network = network;
        stack->broadcast[stack->broadcast_count++].host_mask = host_mask;
    }

    static const uint8_t purpose[] = "MAC addresses of frames turned round inside";
    uint64_t source = siphash_2_4(&stack->table_key, purpose, sizeof(purpose));
    uint64_t destination = siphash_2_4(&stack->table_key, purpose, sizeof(purpose) - 1);
    memcpy(stack->inside_source_mac, &source, 6);
    memcpy(stack->inside_destination_mac, &destination, 6);
    stack->inside_source_mac[0] = (uint8_t)((stack->inside_source_mac[0] & 0xfc) | 0x02);
    stack->inside_destination_mac[0] = (uint8_t)((stack->inside_destination_mac[0] & 0xfc) | 0x02);
}

bool route_is_own(const struct stack *stack, const struct ip_address *address)
{
    for (uint32_t i = 0; i < stack->own_count; i++)
        if (ip_address_equal(address, &stack->own[i]))
            return true;
    return false;
}

bool route_is_inside(const struct stack *stack, const struct ip_address *address)
{
    if (!ip_address_is_v4(address))
        return ip_address_is_loopback(address) || route_is_own(stack, address);
    uint32_t word = load_word(&address->bytes[12]);
    for (uint32_t i = 0; i < stack->own_v4_count; i++)
        if (load_word(&stack->own[i].bytes[12]) == word)
            return true;
    return address->bytes[12] == 127;
}

bool route_can_bind(const struct stack *stack, const struct ip_address *address)
{
    return ip_address_is_any(address) || ip_address_is_loopback(address) ||
           route_is_own(stack, address);
}

bool route_is_on_link(const struct stack *stack, const struct ip_address *address)
{
    const struct stack_config *config = &stack->config;
    if (ip_address_is_link_local(address) ||
        (config->has_gateway_v4 && ip_address_equal(address, &config->gateway_v4)) ||
        (config->has_gateway_v6 && ip_address_equal(address, &config->gateway_v6)))
        return true;
    for (unsigned i = 0; i < config->prefix_count; i++) {
        const struct stack_prefix *prefix = &config->prefixes[i];
        if (ip_address_in_prefix(address, &prefix->address, prefix->prefix_length) &&
            ip_address_is_v4(address) == ip_address_is_v4(&prefix->address))
            return true;
    }
    return false;
}

bool route_is_broadcast(const struct stack *stack, const struct ip_address *address)
{
    if (!ip_address_is_v4(address))
        return false;
    uint32_t value = load_be32(&address->bytes[12]);
    for (uint32_t i = 0; i < stack->broadcast_count; i++) {
        uint32_t host_mask = stack->broadcast[i].host_mask;
        uint32_t host = value & host_mask;
        if ((host == 0 || host == host_mask) && value - host == stack->broadcast[i].network)
            return true;
    }
    return value == UINT32_MAX;
}

enum route_kind route_next_hop(const struct stack *stack, const struct ip_address *destination,
                               struct ip_address *next_hop)
{
    if (route_is_inside(stack, destination))
        return ROUTE_INSIDE;
    if (ip_address_is_multicast(destination) || ip_address_is_any(destination) ||
        route_is_broadcast(stack, destination))
        return ROUTE_NONE;
    if (route_is_on_link(stack, destination)) {
        *next_hop = *destination;
        return ROUTE_LINK;
    }
    bool is_v4 = ip_address_is_v4(destination);
    if (is_v4 ? !stack->config.has_gateway_v4 : !stack->config.has_gateway_v6)
        return ROUTE_NONE;
    *next_hop = is_v4 ? stack->config.gateway_v4 : stack->config.gateway_v6;
    return ROUTE_LINK;
}

/** Our address in the longest prefix that holds the next hop; else the family's first one. */
static int source_for_next_hop(const struct stack *stack, const struct ip_address *next_hop,
                               bool link_local, struct ip_address *source)
{
    bool is_v4 = ip_address_is_v4(next_hop);
    const struct stack_prefix *best = NULL;
    bool best_holds = false;

    if (link_local) {
        *source = stack->link_local;
        return 0;
    }
    for (unsigned i = 0; i < stack->config.prefix_count; i++) {
        const struct stack_prefix *prefix = &stack->config.prefixes[i];
        if (ip_address_is_v4(&prefix->address) != is_v4)
            continue;
        bool holds = ip_address_in_prefix(next_hop, &prefix->address, prefix->prefix_length);
        if (best == NULL ||
            (holds && (!best_holds || prefix->prefix_length > best->prefix_length))) {
            best = prefix;
            best_holds = holds;
        }
    }
    if (best == NULL)
        return -EADDRNOTAVAIL;
    *source = best->address;
    return 0;
}

int route_choose_source(const struct stack *stack, const struct ip_address *destination,
                        struct ip_address *source)
{
    bool source_given = !ip_address_is_any(source);
    struct ip_address next_hop;

    if (source_given && ip_address_is_v4(source) != ip_address_is_v4(destination))
        return -EINVAL;
    switch (route_next_hop(stack, destination, &next_hop)) {
    case ROUTE_NONE:
        return -ENETUNREACH;
    case ROUTE_INSIDE:
        if (!source_given && ip_address_is_v4(destination) && ip_address_is_loopback(destination))
            *source = ip_address_from_v4("\x7f\0\0\1");
        else if (!source_given)
            *source = *destination;
        return 0;
    case ROUTE_LINK:
        break;
    }
    if (source_given)
        return ip_address_is_loopback(source) ? -EINVAL : 0;
    return source_for_next_hop(stack, &next_hop, ip_address_is_link_local(destination), source);
}
