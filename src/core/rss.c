/*
 * Which core a frame belongs to. The hash does not depend on direction, so that both ends of a
 * connection to ourselves, and errors that quote our segments, come to the same core.
 */
#include "base/byte_order.h"
#include "core/ip/icmp.h"
#include "core/ip/wire.h"
#include "core/stack_state.h"

#define EXTENSION_HEADERS_MAX 16

/** Where a frame's packet begins and what it is. */
struct frame_view {
    const uint8_t *packet;
    uint32_t length;
    uint16_t type;
};

static bool frame_open(const uint8_t *frame, uint32_t frame_bytes, struct frame_view *view)
{
    uint32_t offset = ETHERNET_HEADER_BYTES;
    if (frame_bytes < offset)
        return false;
    view->type = load_be16(frame + 12);
    if (view->type == ETHERTYPE_VLAN) {
        offset += VLAN_TAG_BYTES;
        if (frame_bytes < offset)
            return false;
        view->type = load_be16(frame + 16);
    }
    view->packet = frame + offset;
    view->length = frame_bytes - offset;
    return true;
}

static uint64_t endpoint_word(const struct ip_endpoint *endpoint, unsigned half)
{
    uint64_t word;
    memcpy(&word, &endpoint->address.bytes[half * 8], 8);
    return word;
}

unsigned rss_flow_core(const struct siphash_key *key, const struct ip_endpoint *a,
                       const struct ip_endpoint *b, unsigned core_count)
{
    int order = memcmp(a->address.bytes, b->address.bytes, 16);
    bool swap = order > 0 || (order == 0 && a->port > b->port);
    const struct ip_endpoint *low = swap ? b : a;
    const struct ip_endpoint *high = swap ? a : b;
    uint64_t words[5] = {endpoint_word(low, 0), endpoint_word(low, 1), endpoint_word(high, 0),
                         endpoint_word(high, 1), (uint64_t)low->port << 16 | high->port};
    uint64_t hash = siphash_1_3_words(key, words, 5) >> 32;
    return (unsigned)(hash * core_count >> 32);
}

/** Where the upper layer's header begins; 0: a fragment, or nothing we know. */
static uint32_t upper_offset_v6(const uint8_t *packet, uint32_t length, uint8_t *protocol)
{
    uint32_t offset = IPV6_HEADER_BYTES;
    *protocol = packet[6];
    for (unsigned i = 0; i < EXTENSION_HEADERS_MAX; i++) {
        if (*protocol == IP_PROTOCOL_TCP || *protocol == IP_PROTOCOL_ICMPV6)
            return offset;
        if ((*protocol != IP_PROTOCOL_HOP_BY_HOP && *protocol != IP_PROTOCOL_ROUTING &&
             *protocol != IP_PROTOCOL_DESTINATION) ||
            length - offset < 8)
            return 0;
        uint32_t bytes = (packet[offset + 1] + 1u) * 8;
        *protocol = packet[offset];
        if (bytes > length - offset)
            return 0;
        offset += bytes;
    }
    return 0;
}

/** The two ends of a TCP segment, or of the one an ICMP error quotes. */
static bool endpoints_of(const struct frame_view *view, struct ip_endpoint *a,
                         struct ip_endpoint *b)
{
    const uint8_t *packet = view->packet;
    uint32_t length = view->length;
    uint8_t protocol;
    uint32_t offset;

    if (view->type == ETHERTYPE_IPV4 && length >= IPV4_HEADER_BYTES) {
        offset = (packet[0] & 0x0fu) * 4;
        protocol = packet[9];
        if ((load_be16(packet + 6) & (IPV4_FLAG_MF | IPV4_OFFSET_MASK)) != 0)
            return false;
        a->address = ip_address_from_v4(packet + 12);
        b->address = ip_address_from_v4(packet + 16);
    } else if (view->type == ETHERTYPE_IPV6 && length >= IPV6_HEADER_BYTES) {
        offset = upper_offset_v6(packet, length, &protocol);
        a->address = ip_address_from_v6(packet + 8);
        b->address = ip_address_from_v6(packet + 24);
    } else {
        return false;
    }
    if (offset == 0 || offset > length || length - offset < 8)
        return false;
    if (protocol != IP_PROTOCOL_TCP) {
        struct tcp_flow flow;
        seq_t seq;
        uint32_t bytes;
        if ((protocol != IP_PROTOCOL_ICMP && protocol != IP_PROTOCOL_ICMPV6) ||
            !icmp_quote_parse(packet + offset + ICMP_HEADER_BYTES,
                              length - offset - ICMP_HEADER_BYTES, &flow, &seq, &bytes))
            return false;
        *a = (struct ip_endpoint){flow.local, flow.local_port};
        *b = (struct ip_endpoint){flow.remote, flow.remote_port};
        return true;
    }
    a->port = load_be16(packet + offset);
    b->port = load_be16(packet + offset + 2);
    return true;
}

unsigned stack_rss_core(const uint8_t secret[32], const uint8_t *frame, uint32_t frame_bytes,
                        unsigned core_count)
{
    struct frame_view view;
    struct ip_endpoint a;
    struct ip_endpoint b;

    if (core_count <= 1 || !frame_open(frame, frame_bytes, &view) || !endpoints_of(&view, &a, &b))
        return 0;
    struct siphash_key key = siphash_key_load(secret + 16);
    return rss_flow_core(&key, &a, &b, core_count);
}

bool stack_frame_is_for_all_cores(const uint8_t *frame, uint32_t frame_bytes)
{
    struct frame_view view;
    uint8_t protocol;

    if (!frame_open(frame, frame_bytes, &view))
        return false;
    if (view.type == ETHERTYPE_ARP)
        return true;
    if (view.type != ETHERTYPE_IPV6 || view.length < IPV6_HEADER_BYTES)
        return false;
    uint32_t offset = upper_offset_v6(view.packet, view.length, &protocol);
    return offset != 0 && protocol == IP_PROTOCOL_ICMPV6 && offset < view.length &&
           view.packet[offset] >= ICMPV6_ROUTER_SOLICITATION &&
           view.packet[offset] <= ICMPV6_ND_REDIRECT;
}
