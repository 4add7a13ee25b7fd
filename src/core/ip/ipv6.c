/* Arriving IPv6 packets and their extension headers (RFC 8200 §4). */
#include "base/byte_order.h"
#include "core/ip/fragments.h"
#include "core/ip/icmp.h"
#include "core/ip/ip_packet.h"
#include "core/ip/routes.h"
#include "core/ip/wire.h"

#define EXTENSION_HEADERS_MAX 16 /**< in one packet; nobody honest has as many */

#define OPTION_PAD1 0
#define OPTION_PADN 1

static enum drop_reason header_parse(struct ip_packet *packet)
{
    const uint8_t *header = packet->bytes;
    if (packet->length < IPV6_HEADER_BYTES || header[0] >> 4 != 6)
        return DROP_IPV6_MALFORMED;

    uint32_t total = IPV6_HEADER_BYTES + (uint32_t)load_be16(header + 4);
    if (total > packet->length)
        return DROP_IPV6_MALFORMED;
    packet->is_v4 = false;
    packet->length = total;
    packet->header_length = IPV6_HEADER_BYTES;
    packet->traffic_class = (uint8_t)(load_be16(header) >> 4);
    packet->ttl = header[7];
    packet->protocol = header[6];
    packet->protocol_offset = 6;
    packet->source = ip_address_from_v6(header + 8);
    packet->destination = ip_address_from_v6(header + 24);
    return DROP_NONE;
}

/** All-nodes and the solicited-node groups of our addresses (RFC 4291 §2.8). */
static bool is_our_multicast(const struct stack *stack, const struct ip_address *group)
{
    static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 0x01};
    static const uint8_t solicited[13] = {0xff, 0x02, [11] = 0x01, [12] = 0xff};

    if (memcmp(group->bytes, all_nodes, 16) == 0)
        return true;
    if (memcmp(group->bytes, solicited, 13) != 0)
        return false;
    for (uint32_t i = stack->own_v4_count; i < stack->own_count; i++)
        if (memcmp(&group->bytes[13], &stack->own[i].bytes[13], 3) == 0)
            return true;
    return false;
}

static enum drop_reason addresses_check(const struct stack *stack, const struct ip_packet *packet)
{
    const struct ip_address *source = &packet->source;
    const struct ip_address *destination = &packet->destination;

    if (packet->turned_round)
        return DROP_NONE;
    /* Mapped addresses never belong on the wire: ours would pass for IPv4 here. */
    if (ip_address_is_v4(destination) || ip_address_is_v4(source))
        return DROP_IP_SOURCE_INVALID;
    if (ip_address_is_multicast(source) || ip_address_is_loopback(source) ||
        route_is_own(stack, source))
        return DROP_IP_SOURCE_INVALID;
    if (!route_is_own(stack, destination) && !is_our_multicast(stack, destination))
        return DROP_IP_NOT_FOR_US;
    return DROP_NONE;
}

/** Walk the options of a hop-by-hop or destination header (RFC 8200 §4.2). @return false: drop. */
static bool options_walk(struct stack *stack, const struct ip_packet *packet, uint32_t offset,
                         uint32_t end, uint64_t now_ns)
{
    while (offset < end) {
        uint8_t type = packet->bytes[offset];
        if (type == OPTION_PAD1) {
            offset++;
            continue;
        }
        if (end - offset < 2 || packet->bytes[offset + 1] > end - offset - 2)
            return false;
        if (type != OPTION_PADN && type >> 6 != 0) {
            /* The two high bits say what to do about an option that is not known. */
            bool tell = type >> 6 == 2 ||
                        (type >> 6 == 3 && !ip_address_is_multicast(&packet->destination));
            if (tell)
                icmp_error_send(stack, packet, ICMPV6_PARAMETER_PROBLEM, ICMPV6_PARAMETER_OPTION,
                                offset, now_ns);
            return false;
        }
        offset += 2u + packet->bytes[offset + 1];
    }
    return true;
}

static bool extension_receive(struct stack *stack, struct ip_packet *packet, unsigned index,
                              uint64_t now_ns)
{
    uint32_t offset = packet->header_length;
    if (packet->length - offset < 8)
        return false;
    uint32_t bytes = (packet->bytes[offset + 1] + 1u) * 8;
    if (bytes > packet->length - offset)
        return false;

    if (packet->protocol == IP_PROTOCOL_HOP_BY_HOP && index != 0) {
        icmp_error_send(stack, packet, ICMPV6_PARAMETER_PROBLEM, ICMPV6_PARAMETER_NEXT_HEADER,
                        packet->protocol_offset, now_ns);
        return false;
    }
    if (packet->protocol == IP_PROTOCOL_ROUTING) {
        /* With segments left it would be for us to forward: type 0 must not (RFC 5095), the others
           we don't know (RFC 8200 §4.4). */
        if (packet->bytes[offset + 3] != 0) {
            icmp_error_send(stack, packet, ICMPV6_PARAMETER_PROBLEM, ICMPV6_PARAMETER_HEADER,
                            offset + 2, now_ns);
            return false;
        }
    } else if (!options_walk(stack, packet, offset + 2, offset + bytes, now_ns)) {
        return false;
    }
    packet->protocol = packet->bytes[offset];
    packet->protocol_offset = offset;
    packet->header_length = offset + bytes;
    return true;
}

static bool is_extension(uint8_t protocol)
{
    return protocol == IP_PROTOCOL_HOP_BY_HOP || protocol == IP_PROTOCOL_ROUTING ||
           protocol == IP_PROTOCOL_DESTINATION;
}

static enum stack_rx_verdict headers_walk(struct stack *stack, struct ip_packet *packet,
                                          uint64_t now_ns, struct stack_rx *rx);

static enum stack_rx_verdict fragment_receive(struct stack *stack, struct ip_packet *packet,
                                              uint64_t now_ns, struct stack_rx *rx)
{
    uint32_t offset = packet->header_length;
    if (packet->reassembled || packet->length - offset < IPV6_FRAGMENT_BYTES)
        return rx_drop(stack, rx, DROP_IPV6_MALFORMED);

    const uint8_t *header = packet->bytes + offset;
    uint16_t field = load_be16(header + 2);
    struct fragment_place place = {
        .identification = load_be32(header + 4),
        .offset = field & 0xfff8u,
        .more = (field & 1) != 0,
        .payload = header + IPV6_FRAGMENT_BYTES,
        .length = packet->length - offset - IPV6_FRAGMENT_BYTES,
        .header_length = offset,
        .protocol = header[0],
    };
    if (place.offset == 0 && !place.more) { /* an atomic one is no fragment (RFC 6946) */
        packet->protocol = place.protocol;
        packet->protocol_offset = offset;
        packet->header_length = offset + IPV6_FRAGMENT_BYTES;
        return headers_walk(stack, packet, now_ns, rx);
    }
    if (place.more && place.length % 8 != 0)
        icmp_error_send(stack, packet, ICMPV6_PARAMETER_PROBLEM, ICMPV6_PARAMETER_HEADER, 4,
                        now_ns);
    else if (place.offset + place.length > IP_PACKET_BYTES_MAX)
        icmp_error_send(stack, packet, ICMPV6_PARAMETER_PROBLEM, ICMPV6_PARAMETER_HEADER,
                        offset + 2, now_ns);

    struct ip_packet whole;
    enum drop_reason drop = fragments_add(stack, packet, &place, now_ns, &whole);
    if (drop != DROP_NONE)
        return rx_drop(stack, rx, drop);
    if (whole.bytes == NULL)
        return STACK_RX_CONSUMED;
    (void)header_parse(&whole);
    return headers_walk(stack, &whole, now_ns, rx);
}

static enum stack_rx_verdict headers_walk(struct stack *stack, struct ip_packet *packet,
                                          uint64_t now_ns, struct stack_rx *rx)
{
    for (unsigned i = 0; is_extension(packet->protocol); i++)
        if (i == EXTENSION_HEADERS_MAX || !extension_receive(stack, packet, i, now_ns))
            return rx_drop(stack, rx, DROP_IPV6_MALFORMED);
    if (packet->protocol == IP_PROTOCOL_FRAGMENT)
        return fragment_receive(stack, packet, now_ns, rx);
    return ip_deliver(stack, packet, now_ns, rx);
}

enum stack_rx_verdict ipv6_receive(struct stack *stack, struct ip_packet *packet, uint64_t now_ns,
                                   struct stack_rx *rx)
{
    enum drop_reason drop = header_parse(packet);
    if (drop == DROP_NONE)
        drop = addresses_check(stack, packet);
    if (drop != DROP_NONE)
        return rx_drop(stack, rx, drop);
    return headers_walk(stack, packet, now_ns, rx);
}
