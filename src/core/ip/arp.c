#include "core/ip/arp.h"

#include "base/byte_order.h"
#include "core/ip/ip_packet.h"
#include "core/ip/neighbour.h"
#include "core/ip/packets.h"
#include "core/ip/routes.h"
#include "core/ip/wire.h"

#define ARP_BYTES   28
#define ARP_REQUEST 1
#define ARP_REPLY   2

/* Offsets within the message. */
enum {
    HARDWARE = 0,
    PROTOCOL = 2,
    HARDWARE_LENGTH = 4,
    PROTOCOL_LENGTH = 5,
    OPERATION = 6,
    SENDER_MAC = 8,
    SENDER_IP = 14,
    TARGET_MAC = 18,
    TARGET_IP = 24
};

static void arp_send(struct stack *stack, uint16_t operation, const uint8_t *frame_mac,
                     const uint8_t *target_mac, const struct ip_address *source,
                     const struct ip_address *target)
{
    struct packet *packet = packet_alloc(stack, ETHERNET_HEADER_BYTES + ARP_BYTES);
    if (packet == NULL)
        return;
    packet->is_frame = true;
    memcpy(packet->bytes, frame_mac, 6);
    memcpy(packet->bytes + 6, stack->config.mac, 6);
    store_be16(packet->bytes + 12, ETHERTYPE_ARP);

    uint8_t *arp = packet->bytes + ETHERNET_HEADER_BYTES;
    store_be16(arp + HARDWARE, 1);
    store_be16(arp + PROTOCOL, ETHERTYPE_IPV4);
    arp[HARDWARE_LENGTH] = 6;
    arp[PROTOCOL_LENGTH] = 4;
    store_be16(arp + OPERATION, operation);
    memcpy(arp + SENDER_MAC, stack->config.mac, 6);
    memcpy(arp + SENDER_IP, &source->bytes[12], 4);
    memcpy(arp + TARGET_MAC, target_mac, 6);
    memcpy(arp + TARGET_IP, &target->bytes[12], 4);
    packet_send(stack, packet);
}

void arp_request(struct stack *stack, const struct ip_address *address, const uint8_t *mac)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t unknown[6];
    struct ip_address source = {0};

    if (route_choose_source(stack, address, &source) == 0)
        arp_send(stack, ARP_REQUEST, mac == NULL ? broadcast : mac, unknown, &source, address);
}

static bool arp_is_well_formed(const uint8_t *arp, uint32_t length)
{
    return length >= ARP_BYTES && load_be16(arp + HARDWARE) == 1 &&
           load_be16(arp + PROTOCOL) == ETHERTYPE_IPV4 && arp[HARDWARE_LENGTH] == 6 &&
           arp[PROTOCOL_LENGTH] == 4 &&
           (load_be16(arp + OPERATION) == ARP_REQUEST || load_be16(arp + OPERATION) == ARP_REPLY) &&
           (arp[SENDER_MAC] & 1) == 0;
}

/** Learn only from those who may be at that address: not us, on the link, a unicast address. */
static bool sender_is_plausible(const struct stack *stack, const struct ip_address *sender)
{
    return !ip_address_is_any(sender) && !route_is_own(stack, sender) &&
           !ip_address_is_loopback(sender) && !ip_address_is_multicast(sender) &&
           !route_is_broadcast(stack, sender) && route_is_on_link(stack, sender);
}

enum stack_rx_verdict arp_receive(struct stack *stack, const uint8_t *arp, uint32_t length,
                                  uint64_t now_ns, struct stack_rx *rx)
{
    if (!arp_is_well_formed(arp, length))
        return rx_drop(stack, rx, DROP_ARP_MALFORMED);
    stack->counters.arp_in++;

    struct ip_address sender = ip_address_from_v4(arp + SENDER_IP);
    struct ip_address target = ip_address_from_v4(arp + TARGET_IP);
    bool is_request = load_be16(arp + OPERATION) == ARP_REQUEST;
    bool for_us = route_is_own(stack, &target);

    if (sender_is_plausible(stack, &sender)) {
        struct neighbour *neighbour = neighbour_find(stack, &sender);
        bool asked = neighbour != NULL &&
                     (neighbour->state == NEIGHBOUR_INCOMPLETE ||
                      neighbour->state == NEIGHBOUR_PROBE || neighbour->state == NEIGHBOUR_DELAY);
        if (!is_request && for_us && asked)
            neighbour_answered(stack, neighbour, arp + SENDER_MAC, now_ns);
        else
            neighbour_heard(stack, &sender, arp + SENDER_MAC, is_request && for_us, now_ns);
    }
    /* With several cores everyone learns, one answers. Probes (RFC 5227 §2.1.1) come from 0.0.0.0
       and get an answer; one who claims our own address is not talked to. */
    if (is_request && for_us && stack->config.core_index == 0 && !route_is_own(stack, &sender))
        arp_send(stack, ARP_REPLY, arp + SENDER_MAC, arp + SENDER_MAC, &target, &sender);
    return STACK_RX_CONSUMED;
}
