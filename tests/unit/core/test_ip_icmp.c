#include <errno.h>

#include "ip_harness.h"

static struct frame_builder b;
static uint8_t message[66000];

static int setup_with_peer(void **state)
{
    int error = harness_setup(state);
    harness_meet_peer();
    return error;
}

static void receive_icmp_v4(uint8_t type, uint8_t code, uint32_t word, const void *rest,
                            uint32_t bytes)
{
    struct ip_address from = PEER_V4;
    struct ip_address to = OUR_V4;
    uint32_t length = build_icmp(message, true, &from, &to, type, code, word, rest, bytes);
    build_ipv4(&b, from, to, 1, message, length);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
}

static void receive_icmp_v6(uint8_t type, uint8_t code, uint32_t word, const void *rest,
                            uint32_t bytes)
{
    struct ip_address from = PEER_V6;
    struct ip_address to = OUR_V6;
    uint32_t length = build_icmp(message, false, &from, &to, type, code, word, rest, bytes);
    build_ipv6(&b, from, to, 58, 64, message, length);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
}

static void echo_is_answered_over_ipv4(void **state)
{
    (void)state;
    receive_icmp_v4(8, 0, 0x00010002, "hello, stack", 12);
    assert_true(harness_transmit());
    const uint8_t *ip = harness.sent + 14;
    assert_memory_equal(harness.sent, peer_mac, 6);
    assert_int_equal(naive_checksum(0, ip, 20), 0);
    assert_memory_equal(ip + 16, &PEER_V4.bytes[12], 4);
    assert_int_equal(ip[20], 0);
    assert_int_equal(get32(ip + 24), 0x00010002);
    assert_memory_equal(ip + 28, "hello, stack", 12);
    assert_int_equal(naive_checksum(0, ip + 20, 20), 0);
    assert_nothing_sent();
}

static void echo_is_answered_over_ipv6(void **state)
{
    (void)state;
    receive_icmp_v6(128, 0, 0x00010002, "hello, stack", 12);
    assert_true(harness_transmit());
    const uint8_t *ip = harness.sent + 14;
    struct ip_address from = OUR_V6;
    struct ip_address to = PEER_V6;
    assert_memory_equal(ip + 24, to.bytes, 16);
    assert_int_equal(ip[40], 129);
    assert_memory_equal(ip + 48, "hello, stack", 12);
    assert_int_equal(naive_checksum(naive_pseudo(&from, &to, 58, 20), ip + 40, 20), 0);
}

static void echo_with_wrong_checksum_is_dropped(void **state)
{
    (void)state;
    struct ip_address from = PEER_V4;
    struct ip_address to = OUR_V4;
    uint32_t length = build_icmp(message, true, &from, &to, 8, 0, 1, "hello", 5);
    message[9] ^= 1;
    build_ipv4(&b, from, to, 1, message, length);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_ICMP_MALFORMED), 1);
    assert_nothing_sent();
}

/** Feed our own answer's fragments to a reassembly of the test's own. */
static void large_echo(bool is_v4, uint32_t bytes)
{
    static uint8_t rest[65536];
    static uint8_t whole[66000];
    struct test_random random = {bytes};
    test_random_fill(&random, rest, bytes);
    struct ip_address from = is_v4 ? PEER_V4 : PEER_V6;
    struct ip_address to = is_v4 ? OUR_V4 : OUR_V6;
    uint32_t length =
        build_icmp(message, is_v4, &from, &to, is_v4 ? 8 : 128, 0, 0x00050006, rest, bytes);
    for (uint32_t start = 0; start < length; start += 1400) {
        bool more = start + 1400 < length;
        uint32_t piece = more ? 1400 : length - start;
        uint8_t payload[1500] = {58, 0};
        if (is_v4) {
            uint8_t field[2];
            put16(field, (uint16_t)((more ? 0x2000 : 0) | start / 8));
            build_ipv4(&b, from, to, 1, message + start, piece);
            patch_ipv4(&b, 6, field, 2);
        } else {
            put16(payload + 2, (uint16_t)(start | more));
            memcpy(payload + 8, message + start, piece);
            build_ipv6(&b, from, to, 44, 64, payload, piece + 8);
        }
        assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
    }

    uint32_t received = 0;
    uint32_t total = 0;
    uint32_t id = 0;
    while (harness_transmit()) {
        const uint8_t *ip = harness.sent + 14;
        uint32_t header = is_v4 ? 20 : 48;
        uint32_t offset = is_v4 ? (get16(ip + 6) & 0x1fffu) * 8 : get16(ip + 42) & 0xfff8u;
        bool more = is_v4 ? (get16(ip + 6) & 0x2000) != 0 : (get16(ip + 42) & 1) != 0;
        uint32_t piece = harness.sent_bytes - 14 - header;
        uint32_t this_id = is_v4 ? get16(ip + 4) : get32(ip + 44);
        assert_true(harness.sent_bytes <= 1514);
        assert_int_equal(is_v4 ? get16(ip + 2) : get16(ip + 4) + 40u, harness.sent_bytes - 14);
        assert_true(received == 0 || this_id == id);
        assert_true(!more || piece % 8 == 0);
        if (is_v4)
            assert_int_equal(naive_checksum(0, ip, 20), 0);
        else
            assert_int_equal(ip[6], 44);
        id = this_id;
        memcpy(whole + offset, ip + header, piece);
        received += piece;
        total = more ? total : offset + piece;
    }
    assert_int_equal(received, length);
    assert_int_equal(total, length);
    assert_int_equal(whole[0], is_v4 ? 0 : 129);
    assert_memory_equal(whole + 8, rest, bytes);
    uint32_t sum = is_v4 ? 0 : naive_pseudo(&to, &from, 58, length);
    assert_int_equal(naive_checksum(sum, whole, length), 0);
}

static void large_echo_is_reassembled_and_answered_in_fragments(void **state)
{
    (void)state;
    const uint32_t sizes[] = {1473, 2000, 8000, 65507};
    for (unsigned i = 0; i < 4; i++) {
        large_echo(true, sizes[i]);
        large_echo(false, sizes[i] > 65500 ? 65527 : sizes[i]);
    }
}

static void udp_is_told_that_the_port_is_unreachable(void **state)
{
    (void)state;
    const uint8_t udp[12] = {0x12, 0x34, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4};
    build_ipv4(&b, PEER_V4, OUR_V4, 17, udp, 12);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_DROPPED);
    assert_true(harness_transmit());
    const uint8_t *icmp = harness.sent + 34;
    assert_int_equal(icmp[0], 3);
    assert_int_equal(icmp[1], 3);
    assert_memory_equal(icmp + 8, b.bytes + 14, 32);
    build_ipv6(&b, PEER_V6, OUR_V6, 17, 64, udp, 12);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_DROPPED);
    assert_true(harness_transmit());
    assert_int_equal(harness.sent[54], 1);
    assert_int_equal(harness.sent[55], 4);
}

static void errors_are_limited_in_rate(void **state)
{
    (void)state;
    const uint8_t udp[8] = {0x12, 0x34, 0, 53, 0, 8, 0, 0};
    uint32_t answers = 0;
    for (int i = 0; i < 1000; i++) {
        build_ipv4(&b, PEER_V4, OUR_V4, 17, udp, 8);
        (void)harness_receive(b.bytes, b.length);
        answers += harness_transmit();
    }
    assert_int_equal(answers, 50);
    harness_advance(10 * NS_PER_MS);
    for (int i = 0; i < 100; i++) {
        build_ipv4(&b, PEER_V4, OUR_V4, 17, udp, 8);
        (void)harness_receive(b.bytes, b.length);
        answers += harness_transmit();
    }
    assert_int_equal(answers, 60);
}

static void errors_breed_no_errors(void **state)
{
    (void)state;
    /* An unknown protocol by broadcast; an ICMPv6 error in a packet with an unknown next header. */
    build_ipv4(&b, PEER_V4, OUR_V4, 200, "x", 1);
    memset(b.bytes, 0xff, 6);
    (void)harness_receive(b.bytes, b.length);
    assert_nothing_sent();
    receive_icmp_v4(3, 3, 0, "nonsense that quotes nothing", 28);
    receive_icmp_v4(13, 0, 0, "timestamp...", 12);
    assert_nothing_sent();
}

/** An error about the connection's segment with this sequence number. */
static void report_v4(uint8_t type, uint8_t code, uint32_t word, uint32_t seq)
{
    static struct frame_builder quoted;
    uint8_t segment[100];
    struct ip_endpoint us = endpoint(OUR_V4, 80);
    struct ip_endpoint peer = endpoint(PEER_V4, 1025);
    uint32_t bytes = build_tcp(segment, &us, &peer, seq, 40);
    build_ipv4(&quoted, us.address, peer.address, 6, segment, bytes);
    put16(quoted.bytes + 16, 1500);
    receive_icmp_v4(type, code, word, quoted.bytes + 14, 28);
}

static void report_v6(uint8_t type, uint8_t code, uint32_t word, uint32_t seq)
{
    static struct frame_builder quoted;
    uint8_t segment[100];
    struct ip_endpoint us = endpoint(OUR_V6, 80);
    struct ip_endpoint peer = endpoint(PEER_V6, 1025);
    uint32_t bytes = build_tcp(segment, &us, &peer, seq, 40);
    build_ipv6(&quoted, us.address, peer.address, 6, 64, segment, bytes);
    receive_icmp_v6(type, code, word, quoted.bytes + 14, 100);
}

static void unreachable_is_told_to_its_connection(void **state)
{
    (void)state;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    report_v4(3, 3, 0, 1500);
    assert_int_equal(connection->icmp_count, 1);
    assert_int_equal(connection->icmp_kind, TCP_ICMP_UNREACHABLE_HARD);
    assert_int_equal(connection->icmp_error, ECONNREFUSED);
    report_v4(3, 1, 0, 1500);
    assert_int_equal(connection->icmp_kind, TCP_ICMP_UNREACHABLE_SOFT);
    assert_int_equal(connection->icmp_error, EHOSTUNREACH);
    report_v4(11, 0, 0, 1500);
    assert_int_equal(connection->icmp_count, 3);
    assert_int_equal(connection->icmp_error, EHOSTUNREACH);
    report_v4(12, 0, 0, 1500);
    assert_int_equal(connection->icmp_error, EPROTO);

    struct tcp_connection *connection_v6 = harness_connection(OUR_V6, 80, PEER_V6, 1025);
    report_v6(1, 0, 0, 1500);
    assert_int_equal(connection_v6->icmp_error, ENETUNREACH);
    report_v6(1, 1, 0, 1500);
    assert_int_equal(connection_v6->icmp_error, EACCES);
}

static void sequence_not_in_flight_is_a_forgery(void **state)
{
    (void)state;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    report_v4(3, 3, 0, 999);
    report_v4(3, 4, 1000, 2001);
    struct ip_address peer = PEER_V4;
    assert_int_equal(connection->icmp_count, 0);
    assert_int_equal(stack_path_mtu(harness.stack, &peer, harness.now_ns), 1500);
}

static void source_quench_and_redirect_are_ignored(void **state)
{
    (void)state;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    report_v4(4, 0, 0, 1500);
    report_v4(5, 1, 0x0a4d00fe, 1500);
    report_v4(3, 16, 0, 1500);
    assert_int_equal(connection->icmp_count, 0);
}

static void fragmentation_needed_narrows_the_path(void **state)
{
    (void)state;
    struct ip_address peer = PEER_V4;
    struct ip_address other = v4("\x0a\x4d\x00\x05");
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    report_v4(3, 4, 1300, 1500);
    assert_int_equal(connection->icmp_kind, TCP_ICMP_PACKET_TOO_BIG);
    assert_int_equal(connection->icmp_mtu, 1300);
    assert_int_equal(stack_path_mtu(harness.stack, &peer, harness.now_ns), 1300);
    assert_int_equal(stack_path_mtu(harness.stack, &other, harness.now_ns), 1500);
    report_v4(3, 4, 1400, 1500); /* never wider by a message */
    assert_int_equal(stack_path_mtu(harness.stack, &peer, harness.now_ns), 1300);
    report_v4(3, 4, 100, 1500);
    assert_int_equal(connection->icmp_mtu, 552);
    assert_int_equal(stack_path_mtu(harness.stack, &peer, harness.now_ns + 601 * NS_PER_S), 1500);
}

static void router_that_tells_no_mtu_means_the_next_plateau(void **state)
{
    (void)state;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    report_v4(3, 4, 0, 1500);
    assert_int_equal(connection->icmp_mtu, 1492);
}

static void less_than_ipv6_promises_is_not_believed(void **state)
{
    (void)state;
    struct ip_address peer = PEER_V6;
    (void)harness_connection(OUR_V6, 80, PEER_V6, 1025);
    report_v6(2, 0, 1279, 1500);
    report_v6(2, 0, 0, 1500);
    assert_int_equal(stack_path_mtu(harness.stack, &peer, harness.now_ns), 1500);
}

static void packet_too_big_narrows_the_path(void **state)
{
    (void)state;
    struct ip_address peer = PEER_V6;
    struct tcp_connection *connection = harness_connection(OUR_V6, 80, PEER_V6, 1025);
    report_v6(2, 0, 1400, 1500);
    assert_int_equal(connection->icmp_mtu, 1400);
    report_v6(2, 0, 1280, 1500);
    assert_int_equal(connection->icmp_mtu, 1280);
    assert_int_equal(stack_path_mtu(harness.stack, &peer, harness.now_ns), 1280);
    report_v6(2, 0, 0xffffffff, 1500);
    assert_int_equal(stack_path_mtu(harness.stack, &peer, harness.now_ns), 1280);
}

static void truncated_quotes_are_ignored(void **state)
{
    (void)state;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    uint8_t segment[100];
    static struct frame_builder quoted;
    struct ip_endpoint us = endpoint(OUR_V4, 80);
    struct ip_endpoint peer = endpoint(PEER_V4, 1025);
    build_ipv4(&quoted, us.address, peer.address, 6, segment,
               build_tcp(segment, &us, &peer, 1500, 40));
    for (uint32_t bytes = 0; bytes < 28; bytes++)
        receive_icmp_v4(3, 3, 0, quoted.bytes + 14, bytes);
    assert_int_equal(connection->icmp_count, 0);
    receive_icmp_v4(3, 3, 0, quoted.bytes + 14, 28);
    assert_int_equal(connection->icmp_count, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_with_peer, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(echo_is_answered_over_ipv4),
        TEST(echo_is_answered_over_ipv6),
        TEST(echo_with_wrong_checksum_is_dropped),
        TEST(large_echo_is_reassembled_and_answered_in_fragments),
        TEST(udp_is_told_that_the_port_is_unreachable),
        TEST(errors_are_limited_in_rate),
        TEST(errors_breed_no_errors),
        TEST(unreachable_is_told_to_its_connection),
        TEST(sequence_not_in_flight_is_a_forgery),
        TEST(source_quench_and_redirect_are_ignored),
        TEST(fragmentation_needed_narrows_the_path),
        TEST(router_that_tells_no_mtu_means_the_next_plateau),
        TEST(less_than_ipv6_promises_is_not_believed),
        TEST(packet_too_big_narrows_the_path),
        TEST(truncated_quotes_are_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
