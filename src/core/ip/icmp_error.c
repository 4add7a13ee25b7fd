/* Errors of both families: those we send, and those that quote our own segments. */
#include "base/byte_order.h"
#include "base/checksum.h"
#include "core/ip/icmp.h"
#include "core/ip/packets.h"
#include "core/ip/path_mtu.h"
#include "core/ip/routes.h"
#include "core/ip/wire.h"

/* Linux's icmp_msgs_per_sec and icmp_msgs_burst. */
#define LIMIT_INTERVAL_NS (1 * NS_PER_MS)
#define LIMIT_BURST       50

#define QUOTE_PACKET_MAX_V4 576 /**< RFC 1812 §4.3.2.3 */
#define QUOTE_HEADERS_MAX   8   /**< extension headers walked in a quoted packet */

void icmp_limit_init(struct stack *stack, uint64_t now_ns)
{
    stack->icmp_limit.tokens_ns = LIMIT_BURST * LIMIT_INTERVAL_NS;
    stack->icmp_limit.updated_ns = now_ns;
}

static bool limit_allows(struct stack *stack, uint64_t now_ns)
{
    struct icmp_limit *limit = &stack->icmp_limit;
    uint64_t gained_ns = now_ns - limit->updated_ns;
    uint64_t most_ns = LIMIT_BURST * LIMIT_INTERVAL_NS;

    limit->updated_ns = now_ns;
    limit->tokens_ns =
        gained_ns >= most_ns - limit->tokens_ns ? most_ns : limit->tokens_ns + gained_ns;
    if (limit->tokens_ns < LIMIT_INTERVAL_NS)
        return false;
    limit->tokens_ns -= LIMIT_INTERVAL_NS;
    return true;
}

/** Never about an error (nor, for IPv4, any other ICMP but a query), lest errors breed errors. */
static bool is_icmp_error(const struct ip_packet *packet)
{
    if (packet->protocol != (packet->is_v4 ? IP_PROTOCOL_ICMP : IP_PROTOCOL_ICMPV6))
        return false;
    if (packet->length <= packet->header_length)
        return true;
    uint8_t type = packet->bytes[packet->header_length];
    return packet->is_v4 ? type != ICMP_ECHO_REQUEST : type < ICMPV6_ECHO_REQUEST;
}

/** Checksum the ICMP message of `length` bytes behind the IP header, and let it go. */
static void answer_finish(struct stack *stack, struct packet *answer,
                          const struct ip_address *source, uint32_t length)
{
    const struct ip_address *destination = &answer->destination;
    uint8_t *icmp = answer->bytes + ip_header_bytes(destination);
    store_be16(icmp + 2, 0);
    uint32_t sum = ip_address_is_v4(destination)
                       ? 0
                       : ip_pseudo_sum(source, destination, IP_PROTOCOL_ICMPV6, length);
    uint16_t checksum = checksum_finish(checksum_add(sum, icmp, length));
    memcpy(icmp + 2, &checksum, 2);
    packet_send(stack, answer);
}

void icmp_error_send(struct stack *stack, const struct ip_packet *packet, uint8_t type,
                     uint8_t code, uint32_t parameter, uint64_t now_ns)
{
    bool multicast = packet->link_multicast || ip_address_is_multicast(&packet->destination);
    bool option_problem =
        !packet->is_v4 && type == ICMPV6_PARAMETER_PROBLEM && code == ICMPV6_PARAMETER_OPTION;
    if (is_icmp_error(packet) || (multicast && !option_problem) ||
        ip_address_is_any(&packet->source) || ip_address_is_multicast(&packet->source) ||
        !limit_allows(stack, now_ns))
        return;

    struct ip_address source = packet->destination;
    if (multicast) {
        memset(&source, 0, sizeof(source));
        if (route_choose_source(stack, &packet->source, &source) != 0)
            return;
    }
    uint32_t header_bytes = ip_header_bytes(&packet->source);
    uint32_t most =
        (packet->is_v4 ? QUOTE_PACKET_MAX_V4 : IPV6_MTU_MIN) - header_bytes - ICMP_HEADER_BYTES;
    uint32_t quoted = packet->length < most ? packet->length : most;
    uint32_t length = ICMP_HEADER_BYTES + quoted;
    struct packet *answer = packet_alloc(stack, header_bytes + length);
    if (answer == NULL)
        return;

    uint8_t protocol = packet->is_v4 ? IP_PROTOCOL_ICMP : IP_PROTOCOL_ICMPV6;
    uint8_t *icmp = answer->bytes + header_bytes;
    answer->destination = packet->source;
    (void)ip_header_write(answer->bytes, &source, &packet->source, protocol, 64, 0, length, false);
    icmp[0] = type;
    icmp[1] = code;
    store_be32(icmp + 4, parameter);
    memcpy(icmp + ICMP_HEADER_BYTES, packet->bytes, quoted);
    answer_finish(stack, answer, &source, length);
}

void icmp_echo_reply(struct stack *stack, const struct ip_packet *packet, uint8_t type)
{
    struct ip_address source = packet->destination;
    if (ip_address_is_multicast(&source)) {
        memset(&source, 0, sizeof(source));
        if (route_choose_source(stack, &packet->source, &source) != 0)
            return;
    }
    uint32_t header_bytes = ip_header_bytes(&packet->source);
    uint32_t length = packet->length - packet->header_length;
    struct packet *answer = packet_alloc(stack, header_bytes + length);
    if (answer == NULL)
        return;

    uint8_t protocol = packet->is_v4 ? IP_PROTOCOL_ICMP : IP_PROTOCOL_ICMPV6;
    uint8_t *icmp = answer->bytes + header_bytes;
    answer->destination = packet->source;
    (void)ip_header_write(answer->bytes, &source, &packet->source, protocol, 64,
                          packet->traffic_class, length, false);
    memcpy(icmp, packet->bytes + packet->header_length, length);
    icmp[0] = type;
    answer_finish(stack, answer, &source, length);
}

/* ---- Errors about our segments ------------------------------------------------------------ */

static bool quote_parse_v4(const uint8_t *quoted, uint32_t length, struct tcp_flow *flow,
                           uint32_t *header_bytes, uint32_t *packet_bytes)
{
    if (length < IPV4_HEADER_BYTES)
        return false;
    *header_bytes = (quoted[0] & 0x0fu) * 4;
    *packet_bytes = load_be16(quoted + 2);
    flow->local = ip_address_from_v4(quoted + 12);
    flow->remote = ip_address_from_v4(quoted + 16);
    return *header_bytes >= IPV4_HEADER_BYTES && quoted[9] == IP_PROTOCOL_TCP &&
           (load_be16(quoted + 6) & IPV4_OFFSET_MASK) == 0;
}

static bool quote_parse_v6(const uint8_t *quoted, uint32_t length, struct tcp_flow *flow,
                           uint32_t *header_bytes, uint32_t *packet_bytes)
{
    if (length < IPV6_HEADER_BYTES)
        return false;
    uint8_t protocol = quoted[6];
    uint32_t offset = IPV6_HEADER_BYTES;
    *packet_bytes = IPV6_HEADER_BYTES + (uint32_t)load_be16(quoted + 4);
    flow->local = ip_address_from_v6(quoted + 8);
    flow->remote = ip_address_from_v6(quoted + 24);
    for (unsigned i = 0; i < QUOTE_HEADERS_MAX && protocol != IP_PROTOCOL_TCP; i++) {
        if (length - offset < 8)
            return false;
        bool fragment = protocol == IP_PROTOCOL_FRAGMENT;
        if (!fragment && protocol != IP_PROTOCOL_HOP_BY_HOP && protocol != IP_PROTOCOL_ROUTING &&
            protocol != IP_PROTOCOL_DESTINATION)
            return false;
        if (fragment && (load_be16(quoted + offset + 2) & 0xfff8) != 0)
            return false;
        protocol = quoted[offset];
        uint32_t bytes = fragment ? IPV6_FRAGMENT_BYTES : (quoted[offset + 1] + 1u) * 8;
        if (bytes > length - offset)
            return false;
        offset += bytes;
    }
    *header_bytes = offset;
    return protocol == IP_PROTOCOL_TCP;
}

bool icmp_quote_parse(const uint8_t *quoted, uint32_t length, struct tcp_flow *flow, seq_t *seq,
                      uint32_t *packet_bytes)
{
    uint32_t header_bytes;
    if (length == 0)
        return false;
    bool parsed = quoted[0] >> 4 == 4
                      ? quote_parse_v4(quoted, length, flow, &header_bytes, packet_bytes)
                      : quoted[0] >> 4 == 6 &&
                            quote_parse_v6(quoted, length, flow, &header_bytes, packet_bytes);
    if (!parsed || length < header_bytes + 8) /* RFC 792 promises eight bytes */
        return false;
    flow->local_port = load_be16(quoted + header_bytes);
    flow->remote_port = load_be16(quoted + header_bytes + 2);
    *seq = seq_of(load_be32(quoted + header_bytes + 4));
    return true;
}

void icmp_error_report(struct stack *stack, const uint8_t *quoted, uint32_t length,
                       const struct icmp_report *report, uint64_t now_ns)
{
    struct tcp_flow flow;
    seq_t seq;
    uint32_t packet_bytes;

    if (!icmp_quote_parse(quoted, length, &flow, &seq, &packet_bytes))
        return;
    struct tcp_connection *connection = stack_flow_find(stack, &flow);
    if (connection == NULL)
        return;
    /* A forged error would have to guess a sequence number in flight (RFC 5927 §4.1). */
    if (!tcp_sequence_in_flight(connection, seq)) {
        stack_drop_count(stack, DROP_ICMP_OUT_OF_WINDOW);
        return;
    }
    if (report->kind == TCP_ICMP_PACKET_TOO_BIG && !tcp_accepts_path_mtu(connection))
        return;

    uint16_t mtu = 0;
    if (report->kind == TCP_ICMP_PACKET_TOO_BIG)
        mtu = path_mtu_learn(stack, &flow.remote, report->mtu, packet_bytes, now_ns);
    tcp_icmp_arrives(stack, connection, report->kind, report->error, mtu, seq, now_ns);
}
