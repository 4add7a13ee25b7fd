#include "core/ip/neighbour_discovery.h"

#include "base/byte_order.h"
#include "base/checksum.h"
#include "core/ip/neighbour.h"
#include "core/ip/packets.h"
#include "core/ip/routes.h"
#include "core/ip/wire.h"

#define OPTION_SOURCE_LINK_ADDRESS 1
#define OPTION_TARGET_LINK_ADDRESS 2
#define OPTION_BYTES               8 /**< of a link-layer address option for Ethernet */

#define SOLICITATION_BYTES         24 /**< NS and NA without options */
#define ROUTER_ADVERTISEMENT_BYTES 16
#define REDIRECT_BYTES             40

#define FLAG_SOLICITED UINT32_C(0x40000000)
#define FLAG_OVERRIDE  UINT32_C(0x20000000)

static struct ip_address solicited_node_of(const struct ip_address *address)
{
    struct ip_address group = {.bytes = {0xff, 0x02, [11] = 0x01, [12] = 0xff}};
    memcpy(&group.bytes[13], &address->bytes[13], 3);
    return group;
}

/* ---- Sending ------------------------------------------------------------------------------ */

/** A solicitation or advertisement as a whole frame; mac NULL: the multicast one. */
static void nd_send(struct stack *stack, uint8_t type, uint32_t flags,
                    const struct ip_address *target, const struct ip_address *source,
                    const struct ip_address *destination, const uint8_t *mac)
{
    uint32_t length = SOLICITATION_BYTES + OPTION_BYTES;
    struct packet *packet = packet_alloc(stack, ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + length);
    if (packet == NULL)
        return;
    packet->is_frame = true;

    uint8_t *frame = packet->bytes;
    if (mac != NULL) {
        memcpy(frame, mac, 6);
    } else {
        frame[0] = 0x33;
        frame[1] = 0x33;
        memcpy(frame + 2, &destination->bytes[12], 4);
    }
    memcpy(frame + 6, stack->config.mac, 6);
    store_be16(frame + 12, ETHERTYPE_IPV6);
    (void)ip_header_write(frame + ETHERNET_HEADER_BYTES, source, destination, IP_PROTOCOL_ICMPV6,
                          255, 0, length, false);

    uint8_t *icmp = frame + ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES;
    uint8_t *option = icmp + SOLICITATION_BYTES;
    icmp[0] = type;
    icmp[1] = 0;
    store_be16(icmp + 2, 0);
    store_be32(icmp + 4, flags);
    memcpy(icmp + 8, target->bytes, 16);
    option[0] = type == ICMPV6_NEIGHBOUR_SOLICITATION ? OPTION_SOURCE_LINK_ADDRESS
                                                      : OPTION_TARGET_LINK_ADDRESS;
    option[1] = 1;
    memcpy(option + 2, stack->config.mac, 6);
    uint32_t sum = ip_pseudo_sum(source, destination, IP_PROTOCOL_ICMPV6, length);
    uint16_t checksum = checksum_finish(checksum_add(sum, icmp, length));
    memcpy(icmp + 2, &checksum, 2);
    packet_send(stack, packet);
}

void neighbour_solicit(struct stack *stack, const struct ip_address *address, const uint8_t *mac)
{
    struct ip_address group = solicited_node_of(address);
    struct ip_address source = {0};

    if (route_choose_source(stack, address, &source) != 0)
        source = stack->link_local;
    nd_send(stack, ICMPV6_NEIGHBOUR_SOLICITATION, 0, address, &source,
            mac == NULL ? &group : address, mac);
}

/* ---- Receiving ---------------------------------------------------------------------------- */

/** Find a link-layer address option of this type. @return false when the options are malformed
    (RFC 4861 §6.1, §7.1: one of length 0 voids the message). */
static bool options_parse(const uint8_t *options, uint32_t length, uint8_t type,
                          const uint8_t **mac)
{
    *mac = NULL;
    while (length > 0) {
        if (length < 8 || options[1] == 0 || options[1] * 8u > length)
            return false;
        if (options[0] == type && options[1] == 1 && (options[2] & 1) == 0)
            *mac = options + 2;
        length -= options[1] * 8u;
        options += options[1] * 8u;
    }
    return true;
}

/** RFC 4861 §7.1.1 and §7.2.3-4. */
static bool solicitation_receive(struct stack *stack, const struct ip_packet *packet,
                                 const uint8_t *icmp, uint32_t length, uint64_t now_ns)
{
    const uint8_t *mac;
    if (length < SOLICITATION_BYTES ||
        !options_parse(icmp + SOLICITATION_BYTES, length - SOLICITATION_BYTES,
                       OPTION_SOURCE_LINK_ADDRESS, &mac))
        return false;

    struct ip_address target = ip_address_from_v6(icmp + 8);
    bool source_is_any = ip_address_is_any(&packet->source);
    if (ip_address_is_multicast(&target) || (source_is_any && mac != NULL) ||
        (source_is_any && !ip_address_is_multicast(&packet->destination)))
        return false;
    if (ip_address_is_v4(&target) || !route_is_own(stack, &target))
        return true;

    if (mac != NULL && route_is_on_link(stack, &packet->source))
        neighbour_heard(stack, &packet->source, mac, true, now_ns);
    if (stack->config.core_index != 0)
        return true; /* with several cores everyone learns, one answers */
    if (source_is_any) {
        /* Someone probes for a duplicate of our address: tell all nodes. */
        struct ip_address all_nodes = {.bytes = {0xff, 0x02, [15] = 0x01}};
        nd_send(stack, ICMPV6_NEIGHBOUR_ADVERTISEMENT, FLAG_OVERRIDE, &target, &target, &all_nodes,
                NULL);
    } else {
        nd_send(stack, ICMPV6_NEIGHBOUR_ADVERTISEMENT, FLAG_SOLICITED | FLAG_OVERRIDE, &target,
                &target, &packet->source, mac != NULL ? mac : packet->link_source);
    }
    return true;
}

/** RFC 4861 §7.1.2 and §7.2.5. */
static bool advertisement_receive(struct stack *stack, const struct ip_packet *packet,
                                  const uint8_t *icmp, uint32_t length, uint64_t now_ns)
{
    const uint8_t *mac;
    if (length < SOLICITATION_BYTES ||
        !options_parse(icmp + SOLICITATION_BYTES, length - SOLICITATION_BYTES,
                       OPTION_TARGET_LINK_ADDRESS, &mac))
        return false;

    struct ip_address target = ip_address_from_v6(icmp + 8);
    uint32_t flags = load_be32(icmp + 4);
    bool solicited = (flags & FLAG_SOLICITED) != 0;
    if (ip_address_is_multicast(&target) ||
        (solicited && ip_address_is_multicast(&packet->destination)))
        return false;

    struct neighbour *neighbour = neighbour_find(stack, &target);
    if (neighbour == NULL)
        return true;
    bool incomplete = neighbour->state == NEIGHBOUR_INCOMPLETE;
    bool changed = mac != NULL && memcmp(mac, neighbour->mac, 6) != 0;
    if (incomplete && mac == NULL)
        return true;
    if (!incomplete && changed && (flags & FLAG_OVERRIDE) == 0) {
        if (neighbour->state == NEIGHBOUR_REACHABLE)
            neighbour->state = NEIGHBOUR_STALE;
        return true;
    }
    if (solicited && mac != NULL)
        neighbour_answered(stack, neighbour, mac, now_ns);
    else if (solicited)
        neighbour_confirm(neighbour, now_ns);
    else if (changed || incomplete)
        neighbour_heard(stack, &target, mac, false, now_ns);
    return true;
}

/** Router messages are valid only from and to the link (RFC 4861 §6.1); we just learn where the
    sender is. */
static bool router_message_receive(struct stack *stack, const struct ip_packet *packet,
                                   const uint8_t *icmp, uint32_t length, uint64_t now_ns)
{
    uint32_t fixed =
        icmp[0] == ICMPV6_ROUTER_ADVERTISEMENT ? ROUTER_ADVERTISEMENT_BYTES : ICMP_HEADER_BYTES;
    const uint8_t *mac;
    if (icmp[0] == ICMPV6_ROUTER_ADVERTISEMENT && !ip_address_is_link_local(&packet->source))
        return false;
    if (length < fixed ||
        !options_parse(icmp + fixed, length - fixed, OPTION_SOURCE_LINK_ADDRESS, &mac))
        return false;
    if (mac != NULL && ip_address_is_any(&packet->source))
        return false;
    if (mac != NULL)
        neighbour_heard(stack, &packet->source, mac, false, now_ns);
    return true;
}

enum stack_rx_verdict neighbour_discovery_receive(struct stack *stack,
                                                  const struct ip_packet *packet, uint64_t now_ns,
                                                  struct stack_rx *rx)
{
    const uint8_t *icmp = packet->bytes + packet->header_length;
    uint32_t length = packet->length - packet->header_length;
    bool valid = false;

    /* Hop limit 255: it was not forwarded, so it comes from the link. Reassembled ones are refused
       (RFC 6980). */
    if (packet->ttl == 255 && icmp[1] == 0 && !packet->reassembled) {
        switch (icmp[0]) {
        case ICMPV6_NEIGHBOUR_SOLICITATION:
            valid = solicitation_receive(stack, packet, icmp, length, now_ns);
            break;
        case ICMPV6_NEIGHBOUR_ADVERTISEMENT:
            valid = advertisement_receive(stack, packet, icmp, length, now_ns);
            break;
        case ICMPV6_ND_REDIRECT: /* not followed */
            valid = length >= REDIRECT_BYTES;
            break;
        default:
            valid = router_message_receive(stack, packet, icmp, length, now_ns);
            break;
        }
    }
    if (!valid)
        return rx_drop(stack, rx, DROP_ND_INVALID);
    stack->counters.nd_in++;
    return STACK_RX_CONSUMED;
}
