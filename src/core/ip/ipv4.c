/* Arriving IPv4 packets (RFC 791, RFC 1122 §3.2). */
#include "base/byte_order.h"
#include "base/checksum.h"
#include "core/ip/fragments.h"
#include "core/ip/ip_packet.h"
#include "core/ip/routes.h"
#include "core/ip/wire.h"

/** Nearly all headers have no options: five words, summed in place. */
static bool header_sum_is_good(const uint8_t *header, uint32_t header_length)
{
    if (header_length != IPV4_HEADER_BYTES)
        return checksum_finish(checksum_add(0, header, header_length)) == 0;
    uint32_t words[IPV4_HEADER_BYTES / 4];
    memcpy(words, header, sizeof(words));
    uint64_t sum = (uint64_t)words[0] + words[1] + words[2] + words[3] + words[4];
    return checksum_finish(checksum_fold64(sum)) == 0;
}

/** Check the header and note its fields; packet->length is what the frame holds, and shrinks to
    what the header says (frames are padded to 60 bytes). */
static enum drop_reason header_parse(struct ip_packet *packet, bool checksum_good)
{
    const uint8_t *header = packet->bytes;
    if (packet->length < IPV4_HEADER_BYTES || header[0] >> 4 != 4)
        return DROP_IPV4_MALFORMED;

    uint32_t header_length = (header[0] & 0x0fu) * 4;
    uint32_t total = load_be16(header + 2);
    if (header_length < IPV4_HEADER_BYTES || total < header_length || total > packet->length)
        return DROP_IPV4_MALFORMED;
    if (!checksum_good && !header_sum_is_good(header, header_length))
        return DROP_IPV4_CHECKSUM;

    packet->is_v4 = true;
    packet->length = total;
    packet->header_length = header_length;
    packet->traffic_class = header[1];
    packet->ttl = header[8];
    packet->protocol = header[9];
    packet->protocol_offset = 9;
    packet->source = ip_address_from_v4(header + 12);
    packet->destination = ip_address_from_v4(header + 16);
    return DROP_NONE;
}

static enum drop_reason addresses_check(const struct stack *stack, const struct ip_packet *packet)
{
    const struct ip_address *source = &packet->source;
    const struct ip_address *destination = &packet->destination;

    if (packet->turned_round)
        return DROP_NONE;
    if (!route_is_own(stack, destination))
        return DROP_IP_NOT_FOR_US;
    /* 0.0.0.0/8, loopback, multicast, broadcasts, ourselves: nobody
       to answer (RFC 1122 §3.2.1.3). */
    uint8_t first = source->bytes[12];
    if (first == 0 || first == 127 || (first & 0xf0) == 0xe0 || route_is_broadcast(stack, source) ||
        route_is_own(stack, source))
        return DROP_IP_SOURCE_INVALID;
    return DROP_NONE;
}

static enum stack_rx_verdict fragment_receive(struct stack *stack, struct ip_packet *packet,
                                              uint64_t now_ns, struct stack_rx *rx)
{
    uint16_t field = load_be16(packet->bytes + 6);
    struct fragment_place place = {
        .identification = load_be16(packet->bytes + 4),
        .offset = (field & (uint32_t)IPV4_OFFSET_MASK) * 8,
        .more = (field & IPV4_FLAG_MF) != 0,
        .payload = packet->bytes + packet->header_length,
        .length = packet->length - packet->header_length,
        .header_length = packet->header_length,
        .protocol = packet->protocol,
    };
    struct ip_packet whole;
    enum drop_reason drop = fragments_add(stack, packet, &place, now_ns, &whole);
    if (drop != DROP_NONE)
        return rx_drop(stack, rx, drop);
    if (whole.bytes == NULL)
        return STACK_RX_CONSUMED;
    whole.header_length = (whole.bytes[0] & 0x0fu) * 4; /* the first fragment's */
    return ip_deliver(stack, &whole, now_ns, rx);
}

enum stack_rx_verdict ipv4_receive(struct stack *stack, struct ip_packet *packet,
                                   bool checksum_good, uint64_t now_ns, struct stack_rx *rx)
{
    enum drop_reason drop = header_parse(packet, checksum_good);
    if (drop == DROP_NONE)
        drop = addresses_check(stack, packet);
    if (drop != DROP_NONE)
        return rx_drop(stack, rx, drop);
    if ((load_be16(packet->bytes + 6) & (IPV4_FLAG_MF | IPV4_OFFSET_MASK)) != 0)
        return fragment_receive(stack, packet, now_ns, rx);
    return ip_deliver(stack, packet, now_ns, rx);
}
