#include "ip_harness.h"

#include <stdlib.h>

struct harness harness;

const uint8_t our_mac[6] = {0x02, 0, 0, 0, 0, 0x01};
const uint8_t peer_mac[6] = {0x02, 0, 0, 0, 0, 0x02};
const uint8_t other_mac[6] = {0x02, 0, 0, 0, 0, 0x03};

/* ---- The seam's TCP side ------------------------------------------------------------------ */

size_t tcp_connection_bytes(void)
{
    return sizeof(struct tcp_connection);
}

size_t tcp_option_set_bytes(void)
{
    return 0;
}

size_t tcp_pending_bytes(void)
{
    return 0;
}

size_t tcp_rare_bytes(void)
{
    return 0;
}

size_t tcp_recovery_bytes(void)
{
    return 0;
}

size_t tcp_reassembly_bytes(void)
{
    return 0;
}

size_t tcp_pacing_bytes(void)
{
    return 64;
}

size_t tcp_sent_bytes(void)
{
    return 1;
}

void tcp_sent_pool_init(struct tcp_sent_pool *pool, void *nodes, uint32_t connections,
                        uint32_t share)
{
    (void)pool;
    (void)nodes;
    (void)connections;
    (void)share;
}

size_t tcp_listener_bytes(void)
{
    return sizeof(struct tcp_listener);
}

size_t tcp_fast_open_bytes(void)
{
    return 64; /* IP never looks at it */
}

size_t tcp_prototypes_bytes(void)
{
    return 64;
}

void tcp_prototypes_forget(struct stack *stack)
{
    (void)stack;
}

const struct tcp_options_set *tcp_connection_options(const struct tcp_connection *connection)
{
    return &connection->options;
}

void *tcp_user(const struct tcp_connection *connection)
{
    return connection->user;
}

bool tcp_output_next(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns,
                     uint32_t gso_bytes_max, struct tcp_output *output)
{
    (void)stack;
    (void)now_ns;
    (void)gso_bytes_max;
    if (connection->segments_wanted == 0)
        return false;
    connection->segments_wanted--;
    *output = (struct tcp_output){
        .seq = seq_of(HARNESS_SEQ_FIRST + connection->segments_sent * connection->payload_bytes),
        .ack = seq_of(77),
        .flags = TCP_ACK | TCP_PSH,
        .window = 5000,
        .options_length = 4,
        .options = {1, 1, 1, 0},
        .stream_offset = connection->segments_sent * connection->payload_bytes,
        .payload_length = connection->payload_bytes};
    connection->segments_sent++;
    return true;
}

void tcp_timer_expired(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    (void)stack;
    (void)now_ns;
    connection->timer_expirations++;
}

void tcp_closed_delivered(struct stack *stack, struct tcp_connection *connection)
{
    connection->closed_delivered = true;
    stack_connection_free(stack, connection);
}

void tcp_segment_arrives(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_segment *segment, uint64_t now_ns,
                         struct stack_rx_result *result)
{
    (void)stack;
    (void)segment;
    (void)now_ns;
    (void)result;
    connection->segments_received++;
}

void tcp_listener_segment_arrives(struct stack *stack, struct tcp_listener *listener,
                                  const struct tcp_segment *segment, uint64_t now_ns,
                                  struct stack_rx_result *result)
{
    (void)stack;
    (void)segment;
    (void)now_ns;
    (void)result;
    listener->segments_received++;
}

void tcp_closed_segment_arrives(struct stack *stack, const struct tcp_segment *segment)
{
    (void)stack;
    (void)segment;
    harness.closed_segments++;
}

void tcp_icmp_arrives(struct stack *stack, struct tcp_connection *connection,
                      enum tcp_icmp_kind kind, int error, uint16_t mtu, seq_t seq, uint64_t now_ns)
{
    (void)stack;
    (void)seq;
    (void)now_ns;
    connection->icmp_count++;
    connection->icmp_kind = kind;
    connection->icmp_error = error;
    connection->icmp_mtu = mtu;
}

bool tcp_sequence_in_flight(const struct tcp_connection *connection, seq_t seq)
{
    (void)connection;
    return seq.value >= HARNESS_SEQ_FIRST && seq.value <= HARNESS_SEQ_LAST;
}

bool tcp_accepts_path_mtu(const struct tcp_connection *connection)
{
    return connection->options.mtu_discover_v6 != TCP_MTU_DISCOVER_OMIT;
}

void tcp_neighbour_failed(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    (void)stack;
    (void)now_ns;
    connection->neighbour_failures++;
}

void tcp_connection_check(const struct stack *stack, const struct tcp_connection *connection)
{
    (void)stack;
    assert_true(connection->links.in_use);
}

const struct tcp_listener_key *tcp_listener_key(const struct tcp_listener *listener)
{
    return &listener->key;
}

struct tcp_listener **tcp_listener_hash_next(struct tcp_listener *listener)
{
    return &listener->hash_next;
}

uint32_t *tcp_listener_events(struct tcp_listener *listener)
{
    return &listener->events;
}

struct tcp_listener **tcp_listener_event_next(struct tcp_listener *listener)
{
    return &listener->event_next;
}

void *tcp_listener_user(const struct tcp_listener *listener)
{
    return listener->user;
}

/* ---- The stack under test ----------------------------------------------------------------- */

void harness_restart(void)
{
    free(harness.memory);
    size_t bytes = stack_memory_bytes(&harness.config);
    assert_true(bytes > 0);
    bytes = (bytes + 63) & ~(size_t)63;
    harness.memory = aligned_alloc(64, bytes);
    assert_non_null(harness.memory);
    memset(harness.memory, 0, bytes);
    harness.stack = stack_create(harness.memory, &harness.config, harness.now_ns);
    assert_non_null(harness.stack);
}

int harness_setup(void **state)
{
    (void)state;
    memset(&harness, 0, sizeof(harness));
    harness.now_ns = 1000 * NS_PER_S;
    stack_config_init(&harness.config);
    struct stack_config *config = &harness.config;
    memcpy(config->mac, our_mac, 6);
    config->connections_max = 64;
    config->listeners_max = 16;
    config->prefix_count = 2;
    config->prefixes[0] = (struct stack_prefix){OUR_V4, 120};
    config->prefixes[1] = (struct stack_prefix){OUR_V6, 64};
    config->has_gateway_v4 = true;
    config->gateway_v4 = v4("\x0a\x4d\x00\xfe");
    config->has_gateway_v6 = true;
    config->gateway_v6 = v6("\xfd\x77\0\0\0\0\0\0\0\0\0\0\0\0\0\xfe");
    memset(config->secret, 0x5c, sizeof(config->secret));
    config->random_seed = 99;
    harness_restart();
    return 0;
}

int harness_teardown(void **state)
{
    (void)state;
    stack_check(harness.stack);
    free(harness.memory);
    harness.memory = NULL;
    return 0;
}

enum stack_rx_verdict harness_receive(const uint8_t *frame, uint32_t bytes)
{
    /* A copy of the exact size, so that sanitizers see any read beyond it. */
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(copy);
    memcpy(copy, frame, bytes);
    struct stack_rx_hints hints = {0};
    enum stack_rx_verdict verdict =
        stack_receive_parse(harness.stack, copy, bytes, hints, harness.now_ns, &harness.rx);
    stack_check(harness.stack);
    free(copy);
    return verdict;
}

bool harness_transmit(void)
{
    struct stack_frame *frame = &harness.frame;
    memset(frame, 0xee, sizeof(*frame));
    bool sent = stack_transmit(harness.stack, harness.now_ns, 0, frame);
    stack_check(harness.stack);
    if (!sent)
        return false;
    assert_true(frame->header_length <= STACK_HEADER_MAX);
    memcpy(harness.sent, frame->header, frame->header_length);
    uint8_t *payload = harness.sent + frame->header_length;
    if (frame->payload != NULL)
        memcpy(payload, frame->payload, frame->payload_length);
    else
        memset(payload, 0x61, frame->payload_length);
    harness.sent_bytes = frame->header_length + frame->payload_length;
    if (frame->l4_checksum_partial)
        stack_frame_finish_checksum(frame, harness.sent);
    return true;
}

void assert_nothing_sent(void)
{
    assert_false(harness_transmit());
}

void harness_advance(uint64_t ns)
{
    harness.now_ns += ns;
    stack_advance(harness.stack, harness.now_ns);
    stack_check(harness.stack);
}

uint64_t drops(enum drop_reason reason)
{
    return stack_get_counters(harness.stack)->drops[reason];
}

struct tcp_connection *harness_connection(struct ip_address local, uint16_t local_port,
                                          struct ip_address remote, uint16_t remote_port)
{
    struct tcp_connection *connection = stack_connection_alloc(harness.stack);
    assert_non_null(connection);
    connection->flow = (struct tcp_flow){local, remote, local_port, remote_port};
    connection->options.mtu_discover_v4 = TCP_MTU_DISCOVER_WANT;
    assert_int_equal(stack_flow_insert(harness.stack, connection), 0);
    return connection;
}

void harness_send(struct tcp_connection *connection, uint32_t segments, uint32_t payload_bytes)
{
    connection->segments_wanted += segments;
    connection->payload_bytes = payload_bytes;
    stack_output_mark(harness.stack, connection);
}

/* ---- Building frames ---------------------------------------------------------------------- */

struct ip_address v4(const char *text)
{
    return ip_address_from_v4(text);
}

struct ip_address v6(const char *text)
{
    return ip_address_from_v6(text);
}

struct ip_endpoint endpoint(struct ip_address address, uint16_t port)
{
    return (struct ip_endpoint){address, port};
}

uint16_t get16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

uint32_t get32(const uint8_t *bytes)
{
    return (uint32_t)get16(bytes) << 16 | get16(bytes + 2);
}

void put16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

void put32(uint8_t *bytes, uint32_t value)
{
    put16(bytes, (uint16_t)(value >> 16));
    put16(bytes + 2, (uint16_t)value);
}

uint16_t naive_checksum(uint32_t sum, const uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i += 2) {
        sum += (uint32_t)bytes[i] << 8;
        if (i + 1 < length)
            sum += bytes[i + 1];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)~sum;
}

uint32_t naive_pseudo(const struct ip_address *from, const struct ip_address *to, uint8_t protocol,
                      uint32_t length)
{
    uint32_t skip = ip_address_is_v4(to) ? 12 : 0;
    uint32_t sum = (uint16_t)~naive_checksum(protocol + length, from->bytes + skip, 16 - skip);
    return (uint16_t)~naive_checksum(sum, to->bytes + skip, 16 - skip);
}

void build_ethernet(struct frame_builder *b, const uint8_t to[6], const uint8_t from[6],
                    uint16_t type)
{
    memcpy(b->bytes, to, 6);
    memcpy(b->bytes + 6, from, 6);
    put16(b->bytes + 12, type);
    b->length = 14;
}

void patch_ipv4(struct frame_builder *b, uint32_t offset, const void *bytes, uint32_t count)
{
    uint8_t *header = b->bytes + b->l3;
    memcpy(header + offset, bytes, count);
    put16(header + 10, 0);
    put16(header + 10, naive_checksum(0, header, (header[0] & 15u) * 4));
}

void build_ipv4(struct frame_builder *b, struct ip_address from, struct ip_address to,
                uint8_t protocol, const void *payload, uint32_t bytes)
{
    build_ethernet(b, our_mac, peer_mac, 0x0800);
    uint8_t *header = b->bytes + 14;
    memset(header, 0, 20);
    header[0] = 0x45;
    put16(header + 2, (uint16_t)(20 + bytes));
    header[8] = 64;
    header[9] = protocol;
    memcpy(header + 12, &from.bytes[12], 4);
    memcpy(header + 16, &to.bytes[12], 4);
    put16(header + 10, naive_checksum(0, header, 20));
    memcpy(header + 20, payload, bytes);
    b->l3 = 14;
    b->l4 = 34;
    b->length = 34 + bytes;
}

void build_ipv6(struct frame_builder *b, struct ip_address from, struct ip_address to,
                uint8_t next_header, uint8_t hop_limit, const void *payload, uint32_t bytes)
{
    build_ethernet(b, our_mac, peer_mac, 0x86dd);
    if (to.bytes[0] == 0xff) {
        b->bytes[0] = 0x33;
        b->bytes[1] = 0x33;
        memcpy(b->bytes + 2, &to.bytes[12], 4);
    }
    uint8_t *header = b->bytes + 14;
    put32(header, 6u << 28);
    put16(header + 4, (uint16_t)bytes);
    header[6] = next_header;
    header[7] = hop_limit;
    memcpy(header + 8, from.bytes, 16);
    memcpy(header + 24, to.bytes, 16);
    memcpy(header + 40, payload, bytes);
    b->l3 = 14;
    b->l4 = 54;
    b->length = 54 + bytes;
}

uint32_t build_tcp(uint8_t *to, const struct ip_endpoint *from, const struct ip_endpoint *dest,
                   uint32_t seq, uint32_t payload_bytes)
{
    uint32_t length = 20 + payload_bytes;
    memset(to, 0, 20);
    put16(to, from->port);
    put16(to + 2, dest->port);
    put32(to + 4, seq);
    put32(to + 8, 4321);
    to[12] = 0x50;
    to[13] = TCP_ACK;
    put16(to + 14, 1234);
    for (uint32_t i = 0; i < payload_bytes; i++)
        to[20 + i] = (uint8_t)(i * 7);
    uint32_t sum = naive_pseudo(&from->address, &dest->address, 6, length);
    put16(to + 16, naive_checksum(sum, to, length));
    return length;
}

uint32_t build_icmp(uint8_t *to, bool is_v4, const struct ip_address *from,
                    const struct ip_address *dest, uint8_t type, uint8_t code, uint32_t second_word,
                    const void *rest, uint32_t rest_bytes)
{
    uint32_t length = 8 + rest_bytes;
    to[0] = type;
    to[1] = code;
    put16(to + 2, 0);
    put32(to + 4, second_word);
    memcpy(to + 8, rest, rest_bytes);
    uint32_t sum = is_v4 ? 0 : naive_pseudo(from, dest, 58, length);
    put16(to + 2, naive_checksum(sum, to, length));
    return length;
}

void build_arp(struct frame_builder *b, const uint8_t frame_to[6], uint16_t operation,
               const uint8_t sender_mac[6], struct ip_address sender, struct ip_address target)
{
    static const uint8_t fixed[6] = {0, 1, 8, 0, 6, 4};
    build_ethernet(b, frame_to, sender_mac, 0x0806);
    uint8_t *arp = b->bytes + 14;
    memset(arp, 0, 46);
    memcpy(arp, fixed, 6);
    put16(arp + 6, operation);
    memcpy(arp + 8, sender_mac, 6);
    memcpy(arp + 14, &sender.bytes[12], 4);
    memcpy(arp + 24, &target.bytes[12], 4);
    b->length = 60;
}

void harness_meet_peer(void)
{
    static struct frame_builder b;
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    build_arp(&b, broadcast, 1, peer_mac, PEER_V4, OUR_V4);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
    assert_true(harness_transmit());

    uint8_t solicitation[32] = {0};
    uint8_t message[64];
    struct ip_address target = OUR_V6;
    memcpy(solicitation, target.bytes, 16);
    solicitation[16] = 1;
    solicitation[17] = 1;
    memcpy(solicitation + 18, peer_mac, 6);
    struct ip_address group = v6("\xff\x02\0\0\0\0\0\0\0\0\0\x01\xff\0\0\x01");
    struct ip_address from = PEER_V6;
    uint32_t bytes = build_icmp(message, false, &from, &group, 135, 0, 0, solicitation, 24);
    build_ipv6(&b, from, group, 58, 255, message, bytes);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
    assert_true(harness_transmit());
    assert_nothing_sent();
}
