/* Ethernet, IPv4, IPv6 and the TCP header: what is let in, what is dropped and counted. */
#include <stdlib.h>

#include "ip_harness.h"

static struct frame_builder b;
static uint8_t segment[2000];

/** A TCP segment of a known connection from the peer, over IPv4. */
static void build_segment_v4(uint32_t payload_bytes)
{
    struct ip_endpoint from = endpoint(PEER_V4, 1025);
    struct ip_endpoint to = endpoint(OUR_V4, 80);
    uint32_t bytes = build_tcp(segment, &from, &to, 7, payload_bytes);
    build_ipv4(&b, from.address, to.address, 6, segment, bytes);
}

static uint32_t build_segment_v6_payload(uint32_t payload_bytes)
{
    struct ip_endpoint from = endpoint(PEER_V6, 1025);
    struct ip_endpoint to = endpoint(OUR_V6, 80);
    return build_tcp(segment, &from, &to, 7, payload_bytes);
}

static void build_segment_v6(uint32_t payload_bytes)
{
    uint32_t bytes = build_segment_v6_payload(payload_bytes);
    build_ipv6(&b, PEER_V6, OUR_V6, 6, 64, segment, bytes);
}

static enum stack_rx_verdict receive(void)
{
    return harness_receive(b.bytes, b.length);
}

static void insert_tag(uint16_t vlan)
{
    memmove(b.bytes + 16, b.bytes + 12, b.length - 12);
    put16(b.bytes + 12, 0x8100);
    put16(b.bytes + 14, vlan);
    b.length += 4;
}

static void segment_fields_are_read(void **state)
{
    (void)state;
    build_segment_v4(100);
    patch_ipv4(&b, 1, "\x13", 1); /* DSCP 4, ECN 3 */
    assert_int_equal(receive(), STACK_RX_TCP);
    const struct tcp_segment *s = &harness.rx.segment;
    struct ip_address peer = PEER_V4;
    assert_true(ip_address_equal(&s->source.address, &peer));
    assert_int_equal(s->source.port, 1025);
    assert_int_equal(s->destination.port, 80);
    assert_int_equal(s->seq.value, 7);
    assert_int_equal(s->ack.value, 4321);
    assert_int_equal(s->flags, TCP_ACK);
    assert_int_equal(s->window, 1234);
    assert_int_equal(s->ecn, 3);
    assert_int_equal(s->traffic_class, 0x13);
    assert_int_equal(s->ttl, 64);
    assert_int_equal(s->payload_length, 100);
    assert_int_equal(s->payload_frame_offset, 54);
    assert_false(s->payload_refused);
}

/** Make a frame of build_segment_v4() one with time stamps and this payload. */
static void put_timestamps(uint32_t payload_bytes)
{
    uint8_t *tcp = segment;
    struct ip_endpoint from = endpoint(PEER_V4, 1025);
    struct ip_endpoint to = endpoint(OUR_V4, 80);
    static const uint8_t options[12] = {1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 3, 4};
    uint32_t bytes = build_tcp(tcp, &from, &to, 7, payload_bytes + 12);
    memcpy(tcp + 20, options, sizeof(options));
    tcp[12] = 8 << 4;
    put16(tcp + 16, 0);
    uint32_t sum = naive_pseudo(&from.address, &to.address, 6, bytes);
    put16(tcp + 16, naive_checksum(sum, tcp, bytes));
    build_ipv4(&b, from.address, to.address, 6, tcp, bytes);
}

/** What a frame is taken for, whether its flow is the one of the frame before or not. */
static void known_flows_are_read_like_others(void **state)
{
    (void)state;
    static struct frame_builder other, mutant;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    struct ip_endpoint from = endpoint(PEER_V4, 1026), to = endpoint(OUR_V4, 81);
    (void)harness_connection(OUR_V4, 81, PEER_V4, 1026);
    uint32_t bytes = build_tcp(segment, &from, &to, 7, 0);
    build_ipv4(&other, from.address, to.address, 6, segment, bytes);
    srand(3);
    unsigned good = 0;
    for (int run = 0; run < 20000; run++) {
        put_timestamps((uint32_t)(rand() % 300));
        mutant = b;
        for (int flips = rand() % 3; flips > 0; flips--)
            mutant.bytes[rand() % 70] ^= (uint8_t)(1 << rand() % 8);
        if (rand() % 8 == 0)
            mutant.length -= (uint32_t)(rand() % 3);
        harness_receive(other.bytes, other.length);
        enum stack_rx_verdict verdict = harness_receive(mutant.bytes, mutant.length);
        struct stack_rx rx = harness.rx;
        assert_int_equal(receive(), STACK_RX_TCP);
        assert_ptr_equal(harness.rx.connection, connection);
        assert_int_equal(harness_receive(mutant.bytes, mutant.length), verdict);
        assert_int_equal(harness.rx.drop, rx.drop);
        if (verdict != STACK_RX_TCP)
            continue;
        good++;
        assert_ptr_equal(harness.rx.connection, rx.connection);
        const struct tcp_segment *a = &harness.rx.segment, *c = &rx.segment;
        assert_memory_equal(a, c, offsetof(struct tcp_segment, options));
        assert_memory_equal(&a->options, &c->options, offsetof(struct tcp_options, sack_blocks));
    }
    assert_in_range(good, 5000, 15000);
}

static void padding_of_short_frames_is_not_payload(void **state)
{
    (void)state;
    build_segment_v4(0);
    memset(b.bytes + b.length, 0xff, 6);
    b.length += 6;
    assert_int_equal(receive(), STACK_RX_TCP);
    assert_int_equal(harness.rx.segment.payload_length, 0);
}

static void priority_tag_is_stripped(void **state)
{
    (void)state;
    build_segment_v4(10);
    insert_tag(0xe000);
    assert_int_equal(receive(), STACK_RX_TCP);
    assert_int_equal(harness.rx.segment.payload_frame_offset, 58);
}

static void other_vlans_are_counted(void **state)
{
    (void)state;
    build_segment_v4(10);
    insert_tag(5);
    assert_int_equal(receive(), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_VLAN_UNKNOWN), 1);
    assert_int_equal(harness_receive(b.bytes, 16), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_ETHERNET_SHORT), 1);
}

static void frames_for_others_are_dropped(void **state)
{
    (void)state;
    build_segment_v4(10);
    memcpy(b.bytes, other_mac, 6);
    assert_int_equal(receive(), STACK_RX_DROPPED);
    memcpy(b.bytes, "\x01\x00\x5e\x00\x00\x01", 6);
    assert_int_equal(receive(), STACK_RX_DROPPED);
    memset(b.bytes, 0xff, 6); /* TCP by broadcast is not for anyone */
    assert_int_equal(receive(), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_ETHERNET_NOT_FOR_US), 3);
    assert_int_equal(harness_receive(b.bytes, 13), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_ETHERNET_SHORT), 1);
    put16(b.bytes + 12, 0x88cc);
    assert_int_equal(receive(), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_ETHERTYPE_UNKNOWN), 1);
}

static void ipv4_checksum_is_verified_unless_the_port_did(void **state)
{
    (void)state;
    build_segment_v4(10);
    b.bytes[24] ^= 1;
    assert_int_equal(receive(), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_IPV4_CHECKSUM), 1);
    struct stack_rx_hints hints = {.ip_checksum_good = true};
    assert_int_equal(
        stack_receive_parse(harness.stack, b.bytes, b.length, hints, harness.now_ns, &harness.rx),
        STACK_RX_TCP);
}

static void tcp_checksum_is_verified_unless_the_port_did(void **state)
{
    (void)state;
    for (int family = 0; family < 2; family++) {
        if (family == 0)
            build_segment_v4(11);
        else
            build_segment_v6(11);
        assert_int_equal(receive(), STACK_RX_TCP);
        b.bytes[b.length - 1] ^= 1;
        assert_int_equal(receive(), STACK_RX_DROPPED);
        struct stack_rx_hints hints = {.l4_checksum_good = true};
        assert_int_equal(stack_receive_parse(harness.stack, b.bytes, b.length, hints,
                                             harness.now_ns, &harness.rx),
                         STACK_RX_TCP);
    }
    assert_int_equal(drops(DROP_TCP_CHECKSUM), 2);
}

static void ipv4_options_are_tolerated(void **state)
{
    (void)state;
    build_segment_v4(10);
    memmove(b.bytes + 38, b.bytes + 34, b.length - 34);
    memcpy(b.bytes + 34, "\x01\x01\x01\x00", 4);
    b.length += 4;
    patch_ipv4(&b, 2, "\0\x36", 2);
    patch_ipv4(&b, 0, "\x46", 1);
    assert_int_equal(receive(), STACK_RX_TCP);
    assert_int_equal(harness.rx.segment.payload_frame_offset, 58);
}

static void truncated_packets_are_malformed(void **state)
{
    (void)state;
    for (int family = 0; family < 2; family++) {
        for (uint32_t length = 14;; length++) {
            if (family == 0)
                build_segment_v4(10);
            else
                build_segment_v6(10);
            if (length == b.length)
                break;
            assert_int_equal(harness_receive(b.bytes, length), STACK_RX_DROPPED);
        }
    }
    assert_int_equal(drops(DROP_IPV4_MALFORMED), 50);
    assert_int_equal(drops(DROP_IPV6_MALFORMED), 70);
}

static void bad_ipv4_headers_are_malformed(void **state)
{
    (void)state;
    const struct {
        uint32_t offset;
        const char *bytes;
        uint32_t count;
    } bad[] = {{0, "\x44", 1}, {0, "\x65", 1}, {2, "\0\x13", 2}, {2, "\xff\xff", 2}};
    for (unsigned i = 0; i < 4; i++) {
        build_segment_v4(10);
        patch_ipv4(&b, bad[i].offset, bad[i].bytes, bad[i].count);
        assert_int_equal(receive(), STACK_RX_DROPPED);
    }
    assert_int_equal(drops(DROP_IPV4_MALFORMED), 4);
}

static void bad_tcp_header_length_is_malformed(void **state)
{
    (void)state;
    build_segment_v4(10);
    b.bytes[34 + 12] = 0x40;
    assert_int_equal(receive(), STACK_RX_DROPPED);
    b.bytes[34 + 12] = 0xf0;
    assert_int_equal(receive(), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_TCP_MALFORMED), 2);
}

static void impossible_sources_are_dropped(void **state)
{
    (void)state;
    const char *sources[] = {
        "\0\0\0\0",         "\0\x01\x02\x03",   "\x7f\0\0\1",       "\xe0\0\0\1",
        "\xff\xff\xff\xff", "\x0a\x4d\x00\xff", "\x0a\x4d\x00\x00", "\x0a\x4d\x00\x01",
    };
    for (unsigned i = 0; i < 8; i++) {
        build_segment_v4(10);
        patch_ipv4(&b, 12, sources[i], 4);
        assert_int_equal(receive(), STACK_RX_DROPPED);
    }
    assert_int_equal(drops(DROP_IP_SOURCE_INVALID), 8);
    const char *sources_v6[] = {
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", "\xfd\x77\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
        "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x4d\0\x02"};
    for (unsigned i = 0; i < 5; i++) {
        build_segment_v6(10);
        memcpy(b.bytes + 22, sources_v6[i], 16);
        struct stack_rx_hints hints = {true, true, 0};
        assert_int_equal(stack_receive_parse(harness.stack, b.bytes, b.length, hints,
                                             harness.now_ns, &harness.rx),
                         STACK_RX_DROPPED);
    }
    assert_int_equal(drops(DROP_IP_SOURCE_INVALID), 13);
}

static void other_destinations_are_dropped(void **state)
{
    (void)state;
    const char *destinations[] = {"\x0a\x4d\x00\x03", "\x7f\0\0\1", "\x0a\x4d\x00\xff",
                                  "\xff\xff\xff\xff", "\xe0\0\0\1"};
    for (unsigned i = 0; i < 5; i++) {
        build_segment_v4(10);
        patch_ipv4(&b, 16, destinations[i], 4);
        assert_int_equal(receive(), STACK_RX_DROPPED);
    }
    build_segment_v6(10);
    b.bytes[14 + 39] = 9;
    assert_int_equal(receive(), STACK_RX_DROPPED);
    build_segment_v6(10);
    memcpy(b.bytes + 38, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
    assert_int_equal(receive(), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_IP_NOT_FOR_US), 7);
}

/** Put an extension header before what payload begins with. */
static void build_with_extension(uint8_t type, const uint8_t *header, uint32_t bytes)
{
    uint32_t length = build_segment_v6_payload(10);
    memmove(segment + bytes, segment, length);
    memcpy(segment, header, bytes);
    segment[0] = 6;
    build_ipv6(&b, PEER_V6, OUR_V6, type, 64, segment, length + bytes);
}

static void extension_headers_are_skipped(void **state)
{
    (void)state;
    const uint8_t pads[8] = {6, 0, 1, 2, 0, 0, 0, 0};
    const uint8_t skippable[16] = {6, 1, 0x1e, 3, 1, 2, 3, 0, 1, 5};
    const uint8_t routing_done[8] = {6, 0, 0, 0};
    build_with_extension(0, pads, 8);
    assert_int_equal(receive(), STACK_RX_TCP);
    assert_int_equal(harness.rx.segment.payload_frame_offset, 14 + 40 + 8 + 20);
    build_with_extension(60, skippable, 16);
    assert_int_equal(receive(), STACK_RX_TCP);
    build_with_extension(43, routing_done, 8);
    assert_int_equal(receive(), STACK_RX_TCP);
}

static void unknown_options_do_what_their_type_says(void **state)
{
    (void)state;
    harness_meet_peer();
    for (unsigned action = 1; action < 4; action++) {
        uint8_t option[8] = {6, 0, (uint8_t)(action << 6 | 0x1e), 2, 0, 0, 1, 0};
        build_with_extension(60, option, 8);
        assert_int_equal(receive(), STACK_RX_DROPPED);
        if (action == 1) {
            assert_nothing_sent();
            continue;
        }
        assert_true(harness_transmit());
        assert_int_equal(harness.sent[54], 4); /* parameter problem: option, pointer to it */
        assert_int_equal(harness.sent[55], 2);
        assert_int_equal(get32(harness.sent + 58), 42);
    }
}

static void routing_with_segments_left_is_refused(void **state)
{
    (void)state;
    harness_meet_peer();
    const uint8_t routing[8] = {6, 0, 0, 1};
    build_with_extension(43, routing, 8);
    assert_int_equal(receive(), STACK_RX_DROPPED);
    assert_true(harness_transmit());
    assert_int_equal(harness.sent[54], 4);
    assert_int_equal(harness.sent[55], 0);
    assert_int_equal(get32(harness.sent + 58), 42);
}

static void unknown_next_header_is_told_where(void **state)
{
    (void)state;
    harness_meet_peer();
    const uint8_t pads[8] = {253, 0, 1, 4, 0, 0, 0, 0};
    build_with_extension(60, pads, 8);
    b.bytes[54] = 253;
    assert_int_equal(receive(), STACK_RX_DROPPED);
    assert_true(harness_transmit());
    assert_int_equal(harness.sent[54], 4);
    assert_int_equal(harness.sent[55], 1);
    assert_int_equal(get32(harness.sent + 58), 40);
    assert_int_equal(drops(DROP_IP_PROTOCOL_UNKNOWN), 1);
}

static void endless_extension_headers_are_malformed(void **state)
{
    (void)state;
    memset(segment, 0, sizeof(segment));
    for (uint32_t i = 0; i < 100; i++) {
        segment[i * 8] = 60;
        segment[i * 8 + 2] = 1;
        segment[i * 8 + 3] = 4;
    }
    build_ipv6(&b, PEER_V6, OUR_V6, 60, 64, segment, 800);
    assert_int_equal(receive(), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_IPV6_MALFORMED), 1);
}

static void connection_listener_or_nobody_gets_the_segment(void **state)
{
    (void)state;
    struct stack_rx_result result;
    build_segment_v4(10);
    assert_int_equal(receive(), STACK_RX_TCP);
    assert_null(harness.rx.connection);
    assert_null(harness.rx.listener);
    stack_receive_segment(harness.stack, &harness.rx, harness.now_ns, &result);
    assert_int_equal(result.drop, DROP_TCP_NO_CONNECTION);
    assert_int_equal(harness.closed_segments, 1);
    assert_int_equal(drops(DROP_TCP_NO_CONNECTION), 1);

    struct tcp_listener *listener = stack_listener_alloc(harness.stack);
    listener->key.local = endpoint(v4("\0\0\0\0"), 80);
    assert_int_equal(stack_listener_insert(harness.stack, listener), 0);
    assert_int_equal(receive(), STACK_RX_TCP);
    stack_receive_segment(harness.stack, &harness.rx, harness.now_ns, &result);
    assert_int_equal(listener->segments_received, 1);

    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    assert_int_equal(receive(), STACK_RX_TCP);
    assert_ptr_equal(harness.rx.connection, connection);
    stack_receive_segment(harness.stack, &harness.rx, harness.now_ns, &result);
    assert_int_equal(connection->segments_received, 1);
    assert_ptr_equal(result.connection, connection);
}

static void random_bytes_never_harm(void **state)
{
    (void)state;
    struct test_random random = {7};
    harness_connection(OUR_V4, 80, PEER_V4, 1025);
    for (int i = 0; i < 20000; i++) {
        if (i % 2 == 0)
            build_segment_v4(test_random_below(&random, 64));
        else
            build_segment_v6(test_random_below(&random, 64));
        uint32_t flips = 1 + test_random_below(&random, 8);
        for (uint32_t j = 0; j < flips; j++)
            b.bytes[12 + test_random_below(&random, 60)] = (uint8_t)test_random_next(&random);
        struct stack_rx_hints hints = {test_random_below(&random, 2) != 0,
                                       test_random_below(&random, 2) != 0,
                                       (uint16_t)test_random_below(&random, 20)};
        uint32_t length = 14 + test_random_below(&random, b.length - 13);
        uint8_t *exact = malloc(length);
        assert_non_null(exact);
        memcpy(exact, b.bytes, length);
        if (stack_receive_parse(harness.stack, exact, length, hints, harness.now_ns, &harness.rx) ==
                STACK_RX_TCP &&
            harness.rx.packet == exact)
            assert_true(harness.rx.segment.payload_frame_offset +
                            harness.rx.segment.payload_length <=
                        length);
        free(exact);
        if (i % 16 == 0) {
            harness_advance(NS_PER_S);
            while (harness_transmit())
                continue;
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(segment_fields_are_read),
        TEST(known_flows_are_read_like_others),
        TEST(padding_of_short_frames_is_not_payload),
        TEST(priority_tag_is_stripped),
        TEST(other_vlans_are_counted),
        TEST(frames_for_others_are_dropped),
        TEST(ipv4_checksum_is_verified_unless_the_port_did),
        TEST(tcp_checksum_is_verified_unless_the_port_did),
        TEST(ipv4_options_are_tolerated),
        TEST(truncated_packets_are_malformed),
        TEST(bad_ipv4_headers_are_malformed),
        TEST(bad_tcp_header_length_is_malformed),
        TEST(impossible_sources_are_dropped),
        TEST(other_destinations_are_dropped),
        TEST(extension_headers_are_skipped),
        TEST(unknown_options_do_what_their_type_says),
        TEST(routing_with_segments_left_is_refused),
        TEST(unknown_next_header_is_told_where),
        TEST(endless_extension_headers_are_malformed),
        TEST(connection_listener_or_nobody_gets_the_segment),
        TEST(random_bytes_never_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
