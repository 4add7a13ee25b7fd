/*
 * What goes out: first the stack's own packets, then the segments of the connections that want to
 * send, a few from each in turn. A connection whose next hop is being resolved leaves the line and
 * waits there, with nothing built; see ip/neighbour.h.
 */
#include "base/byte_order.h"
#include "base/checksum.h"
#include "core/ip/ip_packet.h"
#include "core/ip/neighbour.h"
#include "core/ip/packets.h"
#include "core/ip/routes.h"
#include "core/ip/wire.h"
#include "core/stack_state.h"

#define TTL_DEFAULT         64
#define TCP_CHECKSUM_OFFSET 16
#define UDP_CHECKSUM_OFFSET 6

/** Segments that one connection may lose at once to a neighbour that does not answer. */
#define DISCARDS_MAX 4096

void stack_output_mark(struct stack *stack, struct tcp_connection *connection)
{
    struct list_node *node = &connection_links(stack, connection)->output;
    if (!list_contains_node(node))
        list_push_back(&stack->output, node);
}

/* ---- Headers ------------------------------------------------------------------------------ */

/** IPv4 header for one segment; @return the sum of the two addresses, for TCP's checksum. */
static uint64_t write_ipv4(uint8_t *to, const struct tcp_flow *flow, uint8_t traffic_class,
                           uint8_t ttl, uint32_t l4_bytes, uint32_t fragmenting)
{
    uint32_t local = load_word(&flow->local.bytes[12]);
    uint32_t remote = load_word(&flow->remote.bytes[12]);
    uint64_t addresses = (uint64_t)local + remote;

    store_be32(to, 0x45000000u | (uint32_t)traffic_class << 16 | (IPV4_HEADER_BYTES + l4_bytes));
    store_be32(to + 4, fragmenting);
    store_be32(to + 8, (uint32_t)ttl << 24 | IP_PROTOCOL_TCP << 16);
    memcpy(to + 12, &local, 4);
    memcpy(to + 16, &remote, 4);
    uint64_t sum = addresses + load_word(to) + load_word(to + 4) + load_word(to + 8);
    uint16_t checksum = checksum_finish(checksum_fold64(sum));
    memcpy(to + 10, &checksum, 2);
    return addresses;
}

static uint64_t write_ipv6(uint8_t *to, const struct tcp_flow *flow, uint8_t traffic_class,
                           uint8_t ttl, uint32_t flow_label, uint32_t l4_bytes)
{
    store_be32(to, 6u << 28 | (uint32_t)traffic_class << 20 | flow_label);
    store_be32(to + 4, l4_bytes << 16 | IP_PROTOCOL_TCP << 8 | ttl);
    memcpy(to + 8, flow->local.bytes, 16);
    memcpy(to + 24, flow->remote.bytes, 16);
    uint64_t sum = 0;
    for (unsigned offset = 8; offset < IPV6_HEADER_BYTES; offset += 4)
        sum += load_word(to + offset);
    return sum;
}

/** TCP's header but for ports and checksum. */
static inline __attribute__((always_inline)) void write_tcp_fields(uint8_t *to,
                                                                   const struct tcp_output *output)
{
    uint32_t header_bytes = TCP_HEADER_BYTES + output->options_length;
    copy_be32_pair(to + 4, (const uint8_t *)output + offsetof(struct tcp_output, seq));
    to[12] = (uint8_t)(header_bytes << 2);
    to[13] = output->flags;
    store_be16(to + 14, output->window);
    store_be16(to + 18, output->urgent_pointer);
    memcpy(to + TCP_HEADER_BYTES, output->options, TCP_OPTIONS_MAX); /* all: no loop, no call */
}

/** The pseudo-header's sum, for whoever completes it. */
static inline void write_tcp_checksum(uint8_t *to, uint64_t pseudo_sum, uint32_t l4_bytes)
{
    uint16_t partial = checksum_fold(checksum_fold64(pseudo_sum + host_to_be32(l4_bytes)));
    memcpy(to + TCP_CHECKSUM_OFFSET, &partial, 2);
}

static void write_tcp(uint8_t *to, const struct tcp_flow *flow, const struct tcp_output *output,
                      uint64_t address_sum, uint32_t l4_bytes)
{
    store_be32(to, (uint32_t)flow->local_port << 16 | flow->remote_port);
    write_tcp_fields(to, output);
    write_tcp_checksum(to, address_sum + host_to_be32(IP_PROTOCOL_TCP), l4_bytes);
}

static uint8_t ttl_of(const struct tcp_options_set *options)
{
    return options->ttl != 0 ? options->ttl : TTL_DEFAULT;
}

static uint8_t traffic_class_of(const struct tcp_options_set *options,
                                const struct tcp_output *output)
{
    return (uint8_t)((options->traffic_class & 0xfc) | output->ecn);
}

static bool is_unfragmented(const struct tcp_options_set *options)
{
    return options->mtu_discover_v4 == TCP_MTU_DISCOVER_WANT ||
           options->mtu_discover_v4 == TCP_MTU_DISCOVER_DO;
}

/**
 * IPv4's identification, flags and fragment offset. Packets that may be fragmented have numbers, as
 * many as they are cut into segments; others have none (atomic, RFC 6864 §4.1).
 * Source: Linux ip_dont_fragment().
 */
static inline uint32_t fragmenting(struct stack *stack, const struct tcp_options_set *options,
                                   const struct tcp_output *output)
{
    if (__builtin_expect(is_unfragmented(options), 1))
        return IPV4_FLAG_DF;
    uint32_t identification = ++stack->ip_identification;
    if (output->gso_size != 0)
        stack->ip_identification += output->payload_length / output->gso_size;
    return identification << 16;
}

/** What is not in the frame's headers. */
static inline __attribute__((always_inline)) void describe_frame(struct tcp_connection *connection,
                                                                 const struct tcp_output *output,
                                                                 uint32_t ip_bytes,
                                                                 struct stack_frame *frame)
{
    uint32_t tcp_bytes = TCP_HEADER_BYTES + output->options_length;
    frame->l3_offset = ETHERNET_HEADER_BYTES;
    frame->l4_offset = (uint16_t)(ETHERNET_HEADER_BYTES + ip_bytes);
    frame->header_length = (uint16_t)(ETHERNET_HEADER_BYTES + ip_bytes + tcp_bytes);
    frame->l4_checksum_partial = true;
    frame->payload_length = output->payload_length;
    frame->connection = output->payload_length > 0 ? connection : NULL;
    frame->payload = NULL;
    frame->stream_offset = output->stream_offset;
    frame->gso_size = output->gso_size;
}

/** Any frame, the whole way. */
static __attribute__((noinline)) void
build_any(struct stack *stack, struct tcp_connection *connection, const struct neighbour *neighbour,
          const struct tcp_output *output, struct stack_frame *frame)
{
    const struct tcp_flow *flow = connection_flow(stack, connection);
    const struct tcp_options_set *options = tcp_connection_options(connection);
    uint32_t l4_bytes = TCP_HEADER_BYTES + output->options_length + output->payload_length;
    uint8_t ttl = ttl_of(options);
    uint8_t traffic_class = traffic_class_of(options, output);
    uint8_t *ip = frame->header + ETHERNET_HEADER_BYTES;
    uint64_t address_sum;
    uint32_t ip_bytes;

    frame->is_ipv6 = connection_links(stack, connection)->is_ipv6;
    frame->turn_round = neighbour == NULL;
    if (__builtin_expect(neighbour != NULL, 1)) {
        memcpy(frame->header, neighbour->mac, 6);
        memcpy(frame->header + 6, stack->config.mac, 6);
    } else {
        memcpy(frame->header, stack->inside_destination_mac, 6);
        memcpy(frame->header + 6, stack->inside_source_mac, 6);
    }
    store_be16(frame->header + 12, frame->is_ipv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
    if (frame->is_ipv6) {
        uint32_t label = connection_links(stack, connection)->hash & 0xfffff; /* RFC 6437 */
        address_sum = write_ipv6(ip, flow, traffic_class, ttl, label, l4_bytes);
        ip_bytes = IPV6_HEADER_BYTES;
    } else {
        address_sum =
            write_ipv4(ip, flow, traffic_class, ttl, l4_bytes, fragmenting(stack, options, output));
        ip_bytes = IPV4_HEADER_BYTES;
    }
    write_tcp(ip + ip_bytes, flow, output, address_sum, l4_bytes);
    describe_frame(connection, output, ip_bytes, frame);
}

/* ---- What a connection's headers have in common ------------------------------------------------
 */

/** The answer to a SYN to a neighbour will be the flow's next segment, most likely. All checks of
    addresses hold for it, but those of addresses that nobody has. */
static void usual_flow_expect(struct stack *stack, struct tcp_connection *connection,
                              const uint8_t *ip)
{
    struct usual_flow *usual = &stack->usual_flow;
    uint32_t ports = load_word(ip + IPV4_HEADER_BYTES);
    const uint32_t flow[3] = {load_word(ip + 16), load_word(ip + 12), ports << 16 | ports >> 16};
    if (ip[16] == 0 || ip[12] == 127)
        return;
    if (memcmp(usual->flow, flow, sizeof(flow)) != 0)
        usual->is_read = false;
    memcpy(usual->flow, flow, sizeof(flow));
    usual->connection = connection;
    usual->is_known = usual->is_read; /* the SYN that this answers was */
}

/** To a neighbour. Apart, so that usual frames do not pay for its registers.
    @return  false: the connection's frames are not of the usual kind. */
static __attribute__((noinline)) bool usual_header_make(struct stack *stack,
                                                        struct tcp_connection *connection,
                                                        const struct tcp_output *output)
{
    struct usual_header *usual = &stack->usual_header;
    const struct tcp_flow *flow = connection_flow(stack, connection);
    const struct tcp_options_set *options = tcp_connection_options(connection);
    if (connection_links(stack, connection)->is_ipv6 || !is_unfragmented(options))
        return false;
    uint8_t *ip = usual->bytes + ETHERNET_HEADER_BYTES;
    uint32_t local = load_word(&flow->local.bytes[12]);
    uint32_t remote = load_word(&flow->remote.bytes[12]);
    uint64_t addresses = (uint64_t)local + remote;
    memcpy(usual->bytes + 6, stack->config.mac, 6);
    store_be16(usual->bytes + 12, ETHERTYPE_IPV4);
    store_be32(ip, 0x45000000u | (uint32_t)traffic_class_of(options, output) << 16);
    store_be32(ip + 4, IPV4_FLAG_DF);
    store_be32(ip + 8, (uint32_t)ttl_of(options) << 24 | IP_PROTOCOL_TCP << 16);
    memcpy(ip + 12, &local, 4);
    memcpy(ip + 16, &remote, 4);
    store_be32(ip + IPV4_HEADER_BYTES, (uint32_t)flow->local_port << 16 | flow->remote_port);
    uint64_t sum = addresses + load_word(ip) + load_word(ip + 4) + load_word(ip + 8);
    usual->ip_sum = checksum_fold(checksum_fold64(sum));
    usual->pseudo_sum = checksum_fold(checksum_fold64(addresses + host_to_be32(IP_PROTOCOL_TCP)));
    usual->ecn = output->ecn;
    usual->options = options;
    if ((output->flags & TCP_SYN) != 0)
        usual_flow_expect(stack, connection, ip);
    return true;
}

static inline __attribute__((always_inline)) void build_frame(struct stack *stack,
                                                              struct tcp_connection *connection,
                                                              const struct neighbour *neighbour,
                                                              const struct tcp_output *output,
                                                              struct stack_frame *restrict frame)
{
    struct usual_header *usual = &stack->usual_header;
    bool is_usual = usual->connection == connection &&
                    usual->options == tcp_connection_options(connection) &&
                    usual->ecn == output->ecn && neighbour != NULL;
    if (!is_usual) {
        /* Only for one that begins, or sends for the second time running. */
        bool goes_on = usual->connection == connection || (output->flags & TCP_SYN) != 0;
        usual->connection = connection;
        usual->options = NULL;
        if (!goes_on || neighbour == NULL || !usual_header_make(stack, connection, output)) {
            build_any(stack, connection, neighbour, output, frame);
            return;
        }
    }
    uint32_t l4_bytes = TCP_HEADER_BYTES + output->options_length + output->payload_length;
    uint8_t *ip = frame->header + ETHERNET_HEADER_BYTES;
    uint8_t *tcp = ip + IPV4_HEADER_BYTES;
    uint16_t total = host_to_be16((uint16_t)(IPV4_HEADER_BYTES + l4_bytes));
    uint16_t checksum = checksum_finish((uint32_t)usual->ip_sum + total);
    frame->is_ipv6 = frame->turn_round = false;
    memcpy(frame->header, usual->bytes, USUAL_HEADER_BYTES);
    memcpy(frame->header, neighbour->mac, 6);
    memcpy(ip + 2, &total, 2);
    memcpy(ip + 10, &checksum, 2);
    write_tcp_fields(tcp, output);
    /* IPv4's length has 16 bits, and so has this. */
    checksum = checksum_fold((uint32_t)usual->pseudo_sum + host_to_be16((uint16_t)l4_bytes));
    memcpy(tcp + TCP_CHECKSUM_OFFSET, &checksum, 2);
    describe_frame(connection, output, IPV4_HEADER_BYTES, frame);
}

void stack_options_changed(struct stack *stack)
{
    stack->usual_header.options = NULL;
}

/* ---- Replies without a connection --------------------------------------------------------- */

void stack_reply_queue(struct stack *stack, const struct tcp_reply *reply)
{
    const struct tcp_flow *flow = &reply->flow;
    uint32_t header_bytes = ip_header_bytes(&flow->remote);
    uint32_t length = TCP_HEADER_BYTES + reply->options_length;
    struct packet *packet = reply->ends_connection
                                ? packet_alloc_reset(stack, header_bytes + length)
                                : packet_alloc(stack, header_bytes + length);
    if (packet == NULL)
        return;

    uint8_t ttl = reply->ttl != 0 ? reply->ttl : TTL_DEFAULT;
    packet->destination = flow->remote;
    (void)ip_header_write(packet->bytes, &flow->local, &flow->remote, IP_PROTOCOL_TCP, ttl,
                          reply->traffic_class, length, true);
    struct tcp_output output = {.seq = reply->seq,
                                .ack = reply->ack,
                                .flags = reply->flags,
                                .window = reply->window,
                                .options_length = reply->options_length};
    memcpy(output.options, reply->options, reply->options_length);
    uint8_t *tcp = packet->bytes + header_bytes;
    write_tcp(tcp, flow, &output, 0, length);
    store_be16(tcp + TCP_CHECKSUM_OFFSET, 0);
    uint32_t sum = ip_pseudo_sum(&flow->local, &flow->remote, IP_PROTOCOL_TCP, length);
    uint16_t checksum = checksum_finish(checksum_add(sum, tcp, length));
    memcpy(tcp + TCP_CHECKSUM_OFFSET, &checksum, 2);
    stack->counters.segments_out++;
    packet_send(stack, packet);
}

/* ---- Connections -------------------------------------------------------------------------- */

/** next_hop(), to be remembered. */
static __attribute__((noinline)) enum neighbour_verdict
next_hop_find(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns,
              struct neighbour **neighbour)
{
    struct tcp_links *links = connection_links(stack, connection);
    enum neighbour_verdict verdict =
        neighbour_for(stack, &connection_flow(stack, connection)->remote, now_ns, neighbour);
    if (verdict != NEIGHBOUR_DEAD || *neighbour != NULL) {
        links->neighbour = neighbour_reference(stack, *neighbour);
        links->route_generation = stack->route_generation;
    }
    return verdict;
}

/** The connection's next hop: remembered, as long as no route or neighbour went away. */
static enum neighbour_verdict next_hop(struct stack *stack, struct tcp_connection *connection,
                                       uint64_t now_ns, struct neighbour **neighbour)
{
    const struct tcp_links *links = connection_links(stack, connection);
    if (__builtin_expect(links->route_generation != stack->route_generation, 0))
        return next_hop_find(stack, connection, now_ns, neighbour);
    *neighbour = neighbour_referred(stack, links->neighbour);
    return neighbour_use(stack, *neighbour, now_ns);
}

static void leave_output(struct stack *stack, struct tcp_connection *connection)
{
    struct list_node *node = &connection_links(stack, connection)->output;
    stack->output_turn = 0;
    if (list_contains_node(node))
        list_remove(node);
}

/** Nobody there: what it has to say is lost on the way, and its timers will notice. */
static __attribute__((noinline)) void
discard_output(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_output output;
    for (unsigned i = 0; i < DISCARDS_MAX && tcp_output_next(stack, connection, now_ns, 0, &output);
         i++)
        stack_drop_count(stack, DROP_NEIGHBOUR_UNREACHABLE);
    leave_output(stack, connection);
}

/** A segment goes out: whether the connection stays in line. */
static inline void output_account(struct stack *stack, struct tcp_connection *connection,
                                  const struct tcp_output *output)
{
    struct list_node *node = &connection_links(stack, connection)->output;
    uint32_t segments = 1;
    if (__builtin_expect(output->gso_size != 0, 0))
        segments = tcp_output_segments(output);
    stack->counters.segments_out += segments;
    if (output->is_last) {
        leave_output(stack, connection);
        return;
    }
    stack->output_turn += segments;
    if (stack->output_turn >= OUTPUT_TURN_SEGMENTS && list_contains_node(node)) {
        leave_output(stack, connection);
        list_push_back(&stack->output, node);
    }
}

static bool connections_transmit(struct stack *stack, uint64_t now_ns, uint32_t gso_bytes_max,
                                 struct stack_frame *restrict frame)
{
    while (!list_is_empty(&stack->output)) {
        struct list_node *node = stack->output.next;
        struct tcp_connection *connection = output_connection(stack, node);
        struct neighbour *neighbour;
        struct tcp_output output;

        switch (next_hop(stack, connection, now_ns, &neighbour)) {
        case NEIGHBOUR_WAIT:
            leave_output(stack, connection);
            list_push_back(&neighbour->waiting, node);
            continue;
        case NEIGHBOUR_DEAD:
            discard_output(stack, connection, now_ns);
            continue;
        case NEIGHBOUR_READY:
            break;
        }
        if (!tcp_output_next(stack, connection, now_ns, gso_bytes_max, &output)) {
            leave_output(stack, connection);
            continue;
        }
        build_frame(stack, connection, neighbour, &output, frame);
        output_account(stack, connection, &output);
        return true;
    }
    return false;
}

/** Looked at for every segment; the call itself is rarely needed. */
static bool packets_are_due(const struct stack *stack)
{
    return stack->packets.first != NULL || stack->packet_sent != NULL;
}

static bool own_packet_transmit(struct stack *stack, uint64_t now_ns, struct stack_frame *frame)
{
    frame->payload_length = 0;
    frame->connection = NULL;
    frame->payload = NULL;
    frame->stream_offset = 0;
    frame->gso_size = 0;
    frame->turn_round = false;
    frame->l4_checksum_partial = false;
    return packets_transmit(stack, now_ns, frame);
}

static void frame_count(struct stack *stack, const struct stack_frame *frame)
{
    stack->counters.frames_out++;
    stack->counters.bytes_out += frame->header_length + frame->payload_length;
}

/** Connections' frames, and what those ask for: their neighbours. Apart, so that finding nothing to
    send does not pay for saving its registers. */
static __attribute__((noinline)) bool transmit(struct stack *stack, uint64_t now_ns,
                                               uint32_t gso_bytes_max,
                                               struct stack_frame *restrict frame)
{
    if (!connections_transmit(stack, now_ns, gso_bytes_max, frame) &&
        !(packets_are_due(stack) && own_packet_transmit(stack, now_ns, frame)))
        return false;
    frame_count(stack, frame);
    return true;
}

static __attribute__((noinline)) bool own_packet_or_transmit(struct stack *stack, uint64_t now_ns,
                                                             uint32_t gso_bytes_max,
                                                             struct stack_frame *frame)
{
    if (!own_packet_transmit(stack, now_ns, frame))
        return transmit(stack, now_ns, gso_bytes_max, frame);
    frame_count(stack, frame);
    return true;
}

bool stack_transmit(struct stack *stack, uint64_t now_ns, uint32_t gso_bytes_max,
                    struct stack_frame *frame)
{
    if (packets_are_due(stack))
        return own_packet_or_transmit(stack, now_ns, gso_bytes_max, frame);
    return !list_is_empty(&stack->output) && transmit(stack, now_ns, gso_bytes_max, frame);
}

void stack_frame_finish_checksum_sum(const struct stack_frame *frame, uint8_t *frame_bytes,
                                     uint32_t payload_sum)
{
    uint8_t *l4 = frame_bytes + frame->l4_offset;
    uint32_t length = (uint32_t)frame->header_length - frame->l4_offset;
    uint32_t sum = checksum_add_header(payload_sum, l4, length);
    uint16_t checksum = checksum_finish(sum);
    memcpy(l4 + TCP_CHECKSUM_OFFSET, &checksum, 2);
}

void stack_frame_finish_checksum(const struct stack_frame *frame, uint8_t *frame_bytes)
{
    uint32_t payload_sum =
        checksum_add(0, frame_bytes + frame->header_length, frame->payload_length);
    stack_frame_finish_checksum_sum(frame, frame_bytes, payload_sum);
}

void stack_bytes_finish_checksum(uint8_t *frame, uint32_t frame_bytes)
{
    uint32_t l3 = ETHERNET_HEADER_BYTES;
    if (frame_bytes < l3 + VLAN_TAG_BYTES + IPV4_HEADER_BYTES)
        return;
    if (load_be16(frame + l3 - 2) == ETHERTYPE_VLAN)
        l3 += VLAN_TAG_BYTES;
    const uint8_t *ip = frame + l3;
    bool is_v4 = load_be16(ip - 2) == ETHERTYPE_IPV4;
    if (!is_v4 && (load_be16(ip - 2) != ETHERTYPE_IPV6 || frame_bytes < l3 + IPV6_HEADER_BYTES))
        return;
    uint32_t l4 = l3 + (is_v4 ? (ip[0] & 0x0fu) * 4 : IPV6_HEADER_BYTES);
    uint32_t end = l3 + (is_v4 ? load_be16(ip + 2) : IPV6_HEADER_BYTES + load_be16(ip + 4));
    uint8_t protocol = is_v4 ? ip[9] : ip[6];
    uint32_t field = l4 + (protocol == IP_PROTOCOL_TCP ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET);
    if ((protocol != IP_PROTOCOL_TCP && protocol != IP_PROTOCOL_UDP) || end > frame_bytes ||
        field + 2 > end)
        return;
    uint16_t checksum = checksum_finish(checksum_add(0, frame + l4, end - l4));
    if (checksum == 0 && protocol == IP_PROTOCOL_UDP)
        checksum = 0xffff; /* 0 says: none (RFC 768) */
    memcpy(frame + field, &checksum, 2);
}
