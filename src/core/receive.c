/*
 * Pre-processing of arriving frames: Ethernet, hand-over to ARP and IP, and what IP delivers to:
 * TCP's header is checked and turned into a segment, and the connection looked up.
 */
#include "base/byte_order.h"
#include "base/checksum.h"
#include "core/ip/arp.h"
#include "core/ip/icmp.h"
#include "core/ip/ip_packet.h"
#include "core/ip/routes.h"
#include "core/ip/wire.h"
#include "core/tcp/options.h"

/** What IP says of a segment, at once. */
#define SEGMENT_SAID offsetof(struct tcp_segment, flags)
_Static_assert(offsetof(struct tcp_segment, ecn) == SEGMENT_SAID + 1 &&
                   offsetof(struct tcp_segment, ttl) == SEGMENT_SAID + 2 &&
                   offsetof(struct tcp_segment, traffic_class) == SEGMENT_SAID + 3,
               "struct usual_flow keeps them so");

static inline void ports_parse(struct tcp_segment *segment, const uint8_t *header)
{
    segment->source.port = load_be16(header);
    segment->destination.port = load_be16(header + 2);
}

/** The segment of length bytes that begins with this header; addresses, ports, what IP says and
   options are set by the caller.
    @param gso_size  stack_rx_hints.gso_size.
    @param offset    of the header, counted as payload_frame_offset is. */
static inline void segment_parse(struct tcp_segment *segment, const uint8_t *header,
                                 uint32_t header_length, uint32_t length, uint16_t gso_size,
                                 uint32_t offset)
{
    copy_be32_pair((uint8_t *)segment + offsetof(struct tcp_segment, seq), header + 4);
    segment->flags = header[13];
    segment->window = load_be16(header + 14);
    segment->urgent_pointer = load_be16(header + 18);
    segment->payload_length = length - header_length;
    segment->gso_size = segment->payload_length > gso_size ? gso_size : 0;
    segment->payload_frame_offset = offset + header_length;
    segment->payload_refused = false;
}

/** Of the header at that place, its length being known to be right. */
static inline void options_parse(struct tcp_segment *segment, const uint8_t *header,
                                 uint32_t header_length)
{
    const uint8_t *options = header + TCP_HEADER_BYTES;
    uint32_t length = header_length - TCP_HEADER_BYTES;
    if (!tcp_options_parse_usual(options, length, &segment->options))
        (void)tcp_options_parse(options, length, &segment->options);
}

/* ---- What nearly every frame is ------------------------------------------------------------- */

/** Ethernet's type, and IPv4's version and header length without options. */
#define USUAL_TYPE_AND_VERSION (ETHERTYPE_IPV4 << 8 | 0x45)
#define USUAL_TCP_OFFSET       (ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES)

/** What addresses_check() of ipv4.c finds good. */
static bool usual_addresses(const struct stack *stack, uint32_t source, uint32_t destination)
{
    uint8_t first = (uint8_t)(host_to_be32(source) >> 24);
    bool is_own = false;
    for (uint32_t i = 0; i < stack->own_v4_count; i++) {
        uint32_t own = load_word(&stack->own[i].bytes[12]);
        if (own == source)
            return false;
        is_own = is_own || own == destination;
    }
    return is_own && first != 0 && first != 127 && (first & 0xf0) != 0xe0;
}

/** What IP says of the segment. */
static inline void usual_ip_parse(struct tcp_segment *segment, const uint8_t *ip)
{
    segment->source.address = ip_address_from_v4(ip + 12);
    segment->destination.address = ip_address_from_v4(ip + 16);
    segment->traffic_class = ip[1];
    segment->ecn = ip[1] & 3;
    segment->ttl = ip[8];
}

static inline bool usual_checksum(uint64_t pseudo_sum, const uint8_t *tcp, uint32_t length)
{
    return checksum_is_right(length < CHECKSUM_LANES_BYTES_MIN
                                 ? checksum_add_short(pseudo_sum, tcp, length)
                                 : checksum_add(checksum_fold64(pseudo_sum), tcp, length));
}

/** @param connection  whose segment this is; NULL: nobody's yet. */
static inline void usual_flow_note(struct usual_flow *usual, struct tcp_connection *connection,
                                   const uint8_t *frame, const struct tcp_segment *segment)
{
    const uint8_t *ip = frame + ETHERNET_HEADER_BYTES;
    usual->connection = connection;
    usual->is_read = true;
    usual->is_known = connection != NULL;
    memcpy(usual->flow, ip + 12, sizeof(usual->flow));
    memcpy(usual->beginning, frame, USUAL_BEGINNING_BYTES);
    usual->fragment_to_protocol = load_word(ip + 6);
    memcpy(usual->said, (const uint8_t *)segment + SEGMENT_SAID, sizeof(usual->said));
    usual->said[0] = 0;
}

/**
 * Parse a frame to us with an IPv4 packet that has no options, is no fragment, and brings TCP.
 * Anything else, or anything wrong with it, is left to the whole way.
 * @return  true: as after STACK_RX_TCP.
 */
static bool usual_parse(struct stack *stack, const uint8_t *frame, uint32_t frame_bytes,
                        struct stack_rx_hints hints, struct stack_rx *restrict rx)
{
    const uint8_t *ip = frame + ETHERNET_HEADER_BYTES;
    const uint8_t *tcp = frame + USUAL_TCP_OFFSET;
    struct tcp_segment *segment = &rx->segment;
    if (__builtin_expect(frame_bytes < USUAL_TCP_OFFSET + TCP_HEADER_BYTES ||
                             memcmp(frame, stack->config.mac, 6) != 0 ||
                             load_be32(frame + 12) >> 8 != USUAL_TYPE_AND_VERSION ||
                             ip[9] != IP_PROTOCOL_TCP ||
                             (load_be16(ip + 6) & (IPV4_FLAG_MF | IPV4_OFFSET_MASK)) != 0,
                         0))
        return false;
    uint32_t total = load_be16(ip + 2);
    uint32_t length = total - IPV4_HEADER_BYTES;
    uint32_t header_length = (tcp[12] >> 4) * 4u;
    if (__builtin_expect(total > frame_bytes - ETHERNET_HEADER_BYTES ||
                             total < IPV4_HEADER_BYTES + TCP_HEADER_BYTES ||
                             header_length < TCP_HEADER_BYTES || header_length > length,
                         0))
        return false;
    uint32_t source = load_word(ip + 12), destination = load_word(ip + 16);
    uint64_t addresses = (uint64_t)source + destination;
    uint64_t sum = addresses + load_word(ip) + load_word(ip + 4) + load_word(ip + 8);
    if (__builtin_expect(!hints.ip_checksum_good && !checksum_is_right(sum), 0))
        return false;
    struct usual_flow *usual = &stack->usual_flow;
    bool is_usual =
        usual->connection != NULL && memcmp(usual->flow, ip + 12, sizeof(usual->flow)) == 0;
    if (__builtin_expect(!is_usual && !usual_addresses(stack, source, destination), 0))
        return false;
    sum = addresses + host_to_be32(length) + host_to_be32(IP_PROTOCOL_TCP);
    if (__builtin_expect(!hints.l4_checksum_good && !usual_checksum(sum, tcp, length), 0))
        return false;

    usual_ip_parse(segment, ip);
    ports_parse(segment, tcp);
    segment_parse(segment, tcp, header_length, length, hints.gso_size, USUAL_TCP_OFFSET);
    options_parse(segment, tcp, header_length);
    if (is_usual) {
        rx->connection = usual->connection;
    } else {
        stack_receive_look_up(stack, rx);
        if (rx->connection == NULL && route_is_broadcast(stack, &segment->source.address)) {
            rx->listener = NULL; /* connections have no broadcast address for their peer */
            return false;
        }
    }
    if (!is_usual || length < CHECKSUM_LANES_BYTES_MIN) /* known_parse() takes no longer ones */
        usual_flow_note(usual, rx->connection, frame, segment);
    stack->counters.segments_in += tcp_segment_count(segment);
    return true;
}

/** With time stamps alone. */
#define KNOWN_TCP_HEADER_BYTES (TCP_HEADER_BYTES + TCP_OPTIONS_TIMESTAMPS_BYTES)

/** Whether it is, for all that addresses and ports say, of the flow that the segment before was of.
 */
static inline bool is_known_flow(const struct stack *stack, const uint8_t *frame,
                                 uint32_t frame_bytes)
{
    const struct usual_flow *usual = &stack->usual_flow;
    const uint8_t *ip = frame + ETHERNET_HEADER_BYTES;
    return frame_bytes >= USUAL_TCP_OFFSET + KNOWN_TCP_HEADER_BYTES && usual->is_known &&
           memcmp(usual->flow, ip + 12, sizeof(usual->flow)) == 0;
}

/**
 * usual_parse() of a known flow's segment with time stamps and no other options, and little payload
 * or none: without a call.
 * @return  true: as after STACK_RX_TCP.
 */
static inline bool known_parse(struct stack *stack, const uint8_t *frame, uint32_t frame_bytes,
                               struct stack_rx_hints hints, struct stack_rx *restrict rx)
{
    const struct usual_flow *usual = &stack->usual_flow;
    const uint8_t *ip = frame + ETHERNET_HEADER_BYTES;
    const uint8_t *tcp = frame + USUAL_TCP_OFFSET;
    struct tcp_segment *segment = &rx->segment;
    uint32_t total = load_be16(ip + 2);
    uint32_t length = total - IPV4_HEADER_BYTES;
    if (length - KNOWN_TCP_HEADER_BYTES >= CHECKSUM_LANES_BYTES_MIN - KNOWN_TCP_HEADER_BYTES)
        return false;
    if (__builtin_expect(memcmp(frame, usual->beginning, USUAL_BEGINNING_BYTES) != 0 ||
                             load_word(ip + 6) != usual->fragment_to_protocol ||
                             total > frame_bytes - ETHERNET_HEADER_BYTES ||
                             tcp[12] >> 4 != KNOWN_TCP_HEADER_BYTES / 4 || hints.gso_size != 0,
                         0))
        return false;
    uint64_t addresses = (uint64_t)load_word(ip + 12) + load_word(ip + 16);
    uint64_t sum = addresses + load_word(ip) + load_word(ip + 4) + load_word(ip + 8);
    if (__builtin_expect(!hints.ip_checksum_good && !checksum_is_right(sum), 0))
        return false;
    sum = addresses + host_to_be32(length) + host_to_be32(IP_PROTOCOL_TCP);
    if (__builtin_expect(
            !hints.l4_checksum_good && !checksum_is_right(checksum_add_short(sum, tcp, length)), 0))
        return false;
    if (!tcp_options_parse_usual(tcp + TCP_HEADER_BYTES, TCP_OPTIONS_TIMESTAMPS_BYTES,
                                 &segment->options))
        return false;
    const struct tcp_flow *flow = connection_flow(stack, usual->connection);
    segment->source.address = flow->remote;
    segment->destination.address = flow->local;
    segment->source.port = flow->remote_port;
    segment->destination.port = flow->local_port;
    memcpy((uint8_t *)segment + SEGMENT_SAID, usual->said, sizeof(usual->said));
    segment_parse(segment, tcp, KNOWN_TCP_HEADER_BYTES, length, 0, USUAL_TCP_OFFSET);
    rx->connection = usual->connection;
    stack->counters.segments_in++;
    return true;
}

/* ---- Ethernet ----------------------------------------------------------------------------- */

/** Our own address, broadcast, or an IPv6 multicast one of ours; IP looks closer. */
static bool is_link_destination(const struct stack *stack, const uint8_t *mac)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t all_nodes[6] = {0x33, 0x33, 0, 0, 0, 1};

    if (memcmp(mac, stack->config.mac, 6) == 0 || memcmp(mac, broadcast, 6) == 0)
        return true;
    if (mac[0] != 0x33 || mac[1] != 0x33)
        return false;
    if (memcmp(mac, all_nodes, 6) == 0)
        return true;
    for (uint32_t i = stack->own_v4_count; i < stack->own_count; i++)
        if (mac[2] == 0xff && memcmp(mac + 3, &stack->own[i].bytes[13], 3) == 0)
            return true;
    return false;
}

static bool is_turned_round(const struct stack *stack, const uint8_t *frame)
{
    return memcmp(frame, stack->inside_destination_mac, 6) == 0 &&
           memcmp(frame + 6, stack->inside_source_mac, 6) == 0;
}

/** The whole way. Apart, so that usual frames do not pay for its registers. */
static __attribute__((noinline)) enum stack_rx_verdict
frame_parse(struct stack *stack, const uint8_t *frame, uint32_t frame_bytes,
            struct stack_rx_hints hints, uint64_t now_ns, struct stack_rx *rx)
{
    if (frame_bytes < ETHERNET_HEADER_BYTES)
        return rx_drop(stack, rx, DROP_ETHERNET_SHORT);

    bool turned_round = is_turned_round(stack, frame);
    if (!turned_round && !is_link_destination(stack, frame))
        return rx_drop(stack, rx, DROP_ETHERNET_NOT_FOR_US);
    uint32_t offset = ETHERNET_HEADER_BYTES;
    uint16_t type = load_be16(frame + 12);
    if (type == ETHERTYPE_VLAN) {
        if (frame_bytes < ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES)
            return rx_drop(stack, rx, DROP_ETHERNET_SHORT);
        if ((load_be16(frame + 14) & 0x0fff) != 0) /* VLAN 0 is a mere priority */
            return rx_drop(stack, rx, DROP_VLAN_UNKNOWN);
        type = load_be16(frame + 16);
        offset += VLAN_TAG_BYTES;
    }

    struct ip_packet packet = {.base = frame,
                               .bytes = frame + offset,
                               .length = frame_bytes - offset,
                               .l4_checksum_good = hints.l4_checksum_good || turned_round,
                               .turned_round = turned_round,
                               .gso_size = hints.gso_size,
                               .link_multicast = (frame[0] & 1) != 0,
                               .link_source = frame + 6};
    if (type == ETHERTYPE_IPV4)
        return ipv4_receive(stack, &packet, hints.ip_checksum_good || turned_round, now_ns, rx);
    if (type == ETHERTYPE_IPV6)
        return ipv6_receive(stack, &packet, now_ns, rx);
    if (type == ETHERTYPE_ARP)
        return arp_receive(stack, packet.bytes, packet.length, now_ns, rx);
    return rx_drop(stack, rx, DROP_ETHERTYPE_UNKNOWN);
}

/** Either apart, so that neither pays for the other's registers. */
static __attribute__((noinline)) enum stack_rx_verdict
other_flow_parse(struct stack *stack, const uint8_t *frame, uint32_t frame_bytes,
                 struct stack_rx_hints hints, uint64_t now_ns, struct stack_rx *restrict rx)
{
    if (__builtin_expect(usual_parse(stack, frame, frame_bytes, hints, rx), 1))
        return STACK_RX_TCP;
    return frame_parse(stack, frame, frame_bytes, hints, now_ns, rx);
}

static __attribute__((noinline)) enum stack_rx_verdict
known_flow_parse(struct stack *stack, const uint8_t *frame, uint32_t frame_bytes,
                 struct stack_rx_hints hints, uint64_t now_ns, struct stack_rx *restrict rx)
{
    if (__builtin_expect(known_parse(stack, frame, frame_bytes, hints, rx), 1))
        return STACK_RX_TCP;
    return other_flow_parse(stack, frame, frame_bytes, hints, now_ns, rx);
}

enum stack_rx_verdict stack_receive_parse(struct stack *stack, const uint8_t *frame,
                                          uint32_t frame_bytes, struct stack_rx_hints hints,
                                          uint64_t now_ns, struct stack_rx *rx)
{
    rx->connection = NULL;
    rx->listener = NULL;
    rx->packet = frame;
    rx->drop = DROP_NONE;
    stack->counters.frames_in++;
    stack->counters.bytes_in += frame_bytes;
    if (is_known_flow(stack, frame, frame_bytes))
        return known_flow_parse(stack, frame, frame_bytes, hints, now_ns, rx);
    return other_flow_parse(stack, frame, frame_bytes, hints, now_ns, rx);
}

/* ---- What IP delivers to ------------------------------------------------------------------ */

uint32_t ip_pseudo_sum(const struct ip_address *source, const struct ip_address *destination,
                       uint8_t protocol, uint32_t length)
{
    uint32_t words[8];
    uint64_t sum = (uint64_t)host_to_be32(length) + host_to_be32(protocol);
    memcpy(&words[0], source->bytes, 16);
    memcpy(&words[4], destination->bytes, 16);
    if (ip_address_is_v4(destination))
        return checksum_fold64(sum + words[3] + words[7]);
    for (unsigned i = 0; i < 8; i++)
        sum += words[i];
    return checksum_fold64(sum);
}

/** Nobody here speaks UDP: the sender is told, as by a host without a socket on that port. */
static enum stack_rx_verdict udp_receive(struct stack *stack, const struct ip_packet *packet,
                                         uint64_t now_ns, struct stack_rx *rx)
{
    const uint8_t *udp = packet->bytes + packet->header_length;
    uint32_t length = packet->length - packet->header_length;
    if (length >= UDP_HEADER_BYTES && load_be16(udp + 4) >= UDP_HEADER_BYTES &&
        load_be16(udp + 4) <= length)
        icmp_error_send(stack, packet, packet->is_v4 ? ICMP_UNREACHABLE : ICMPV6_UNREACHABLE,
                        packet->is_v4 ? ICMP_UNREACHABLE_PORT : ICMPV6_UNREACHABLE_PORT, 0, now_ns);
    return rx_drop(stack, rx, DROP_IP_PROTOCOL_UNKNOWN);
}

enum stack_rx_verdict ip_deliver(struct stack *stack, const struct ip_packet *packet,
                                 uint64_t now_ns, struct stack_rx *rx)
{
    if (packet->protocol == IP_PROTOCOL_TCP) {
        if (packet->link_multicast)
            return rx_drop(stack, rx, DROP_ETHERNET_NOT_FOR_US); /* RFC 9293 MUST-57 */
        /* IPv6 lets them pass, for neighbour discovery. */
        if (!packet->is_v4 && ip_address_is_multicast(&packet->destination))
            return rx_drop(stack, rx, DROP_ETHERNET_NOT_FOR_US);
        if (!packet->is_v4 && ip_address_is_any(&packet->source))
            return rx_drop(stack, rx, DROP_IP_SOURCE_INVALID);
        return tcp_header_parse(stack, packet, rx);
    }
    if (packet->is_v4 && packet->protocol == IP_PROTOCOL_ICMP)
        return icmp_receive(stack, packet, now_ns, rx);
    if (!packet->is_v4 && packet->protocol == IP_PROTOCOL_ICMPV6)
        return icmpv6_receive(stack, packet, now_ns, rx);
    if (packet->protocol == IP_PROTOCOL_UDP)
        return udp_receive(stack, packet, now_ns, rx);
    if (!packet->is_v4 && packet->protocol == IP_PROTOCOL_NONE)
        return STACK_RX_CONSUMED;
    if (packet->is_v4)
        icmp_error_send(stack, packet, ICMP_UNREACHABLE, ICMP_UNREACHABLE_PROTOCOL, 0, now_ns);
    else
        icmp_error_send(stack, packet, ICMPV6_PARAMETER_PROBLEM, ICMPV6_PARAMETER_NEXT_HEADER,
                        packet->protocol_offset, now_ns);
    return rx_drop(stack, rx, DROP_IP_PROTOCOL_UNKNOWN);
}

/* ---- TCP ---------------------------------------------------------------------------------- */

void stack_receive_look_up(struct stack *stack, struct stack_rx *rx)
{
    struct tcp_flow flow = tcp_segment_flow(&rx->segment);
    rx->listener = NULL;
    rx->connection = stack->flow_found;
    if (flow_is_found(stack, &flow))
        return;
    uint32_t hash;
    rx->connection = flow_table_find(stack, &flow, &hash);
    if (rx->connection != NULL)
        stack->flow_found = rx->connection;
    else
        rx->listener = listener_table_find(stack, &rx->segment.destination, hash);
}

enum stack_rx_verdict tcp_header_parse(struct stack *stack, const struct ip_packet *packet,
                                       struct stack_rx *rx)
{
    const uint8_t *header = packet->bytes + packet->header_length;
    uint32_t length = packet->length - packet->header_length;
    struct tcp_segment *segment = &rx->segment;

    if (length < TCP_HEADER_BYTES)
        return rx_drop(stack, rx, DROP_TCP_MALFORMED);
    uint32_t header_length = (header[12] >> 4) * 4u;
    if (header_length < TCP_HEADER_BYTES || header_length > length)
        return rx_drop(stack, rx, DROP_TCP_MALFORMED);
    if (!packet->l4_checksum_good) {
        uint32_t sum =
            ip_pseudo_sum(&packet->source, &packet->destination, IP_PROTOCOL_TCP, length);
        if (checksum_finish(checksum_add(sum, header, length)) != 0)
            return rx_drop(stack, rx, DROP_TCP_CHECKSUM);
    }

    segment->source.address = packet->source;
    segment->destination.address = packet->destination;
    segment->ecn = packet->traffic_class & 3;
    segment->ttl = packet->ttl;
    segment->traffic_class = packet->traffic_class;
    ports_parse(segment, header);
    segment_parse(segment, header, header_length, length, packet->gso_size,
                  (uint32_t)(header - packet->base));
    options_parse(segment, header, header_length);
    rx->packet = packet->base;
    stack->counters.segments_in += tcp_segment_count(segment);
    stack_receive_look_up(stack, rx);
    return STACK_RX_TCP;
}

/** Apart, so that what is for a connection does not pay for its registers. */
static __attribute__((noinline)) void no_connection_arrives(struct stack *stack,
                                                            const struct stack_rx *rx,
                                                            uint64_t now_ns,
                                                            struct stack_rx_result *result)
{
    if (rx->listener != NULL) {
        tcp_listener_segment_arrives(stack, rx->listener, &rx->segment, now_ns, result);
        return;
    }
    tcp_closed_segment_arrives(stack, &rx->segment);
    result->drop = DROP_TCP_NO_CONNECTION;
    stack_drop_count(stack, result->drop);
}

void stack_receive_segment(struct stack *stack, struct stack_rx *rx, uint64_t now_ns,
                           struct stack_rx_result *restrict result)
{
    struct tcp_connection *connection = rx->connection;
    *result = (struct stack_rx_result){.connection = connection};
    if (__builtin_expect(connection != NULL, 1))
        tcp_segment_arrives(stack, connection, &rx->segment, now_ns, result);
    else
        no_connection_arrives(stack, rx, now_ns, result);
}
