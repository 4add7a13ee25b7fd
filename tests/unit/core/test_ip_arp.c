#include "ip_harness.h"

static struct frame_builder b;
static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void assert_arp_sent(const uint8_t to[6], uint16_t operation, struct ip_address sender,
                            struct ip_address target)
{
    assert_true(harness_transmit());
    assert_int_equal(harness.sent_bytes, 42);
    assert_memory_equal(harness.sent, to, 6);
    assert_memory_equal(harness.sent + 6, our_mac, 6);
    assert_int_equal(get16(harness.sent + 12), 0x0806);
    assert_int_equal(get16(harness.sent + 20), operation);
    assert_memory_equal(harness.sent + 22, our_mac, 6);
    assert_memory_equal(harness.sent + 28, &sender.bytes[12], 4);
    assert_memory_equal(harness.sent + 38, &target.bytes[12], 4);
}

static void assert_segment_sent_to(const uint8_t mac[6])
{
    assert_true(harness_transmit());
    assert_memory_equal(harness.sent, mac, 6);
    assert_int_equal(get16(harness.sent + 12), 0x0800);
}

static void request_for_us_is_answered_and_teaches(void **state)
{
    (void)state;
    build_arp(&b, broadcast, 1, peer_mac, PEER_V4, OUR_V4);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
    assert_arp_sent(peer_mac, 2, OUR_V4, PEER_V4);
    harness_send(harness_connection(OUR_V4, 80, PEER_V4, 1025), 1, 10);
    assert_segment_sent_to(peer_mac);
    assert_nothing_sent();
}

static void request_for_someone_else_teaches_nothing(void **state)
{
    (void)state;
    build_arp(&b, broadcast, 1, peer_mac, PEER_V4, v4("\x0a\x4d\x00\x09"));
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
    assert_nothing_sent();
    harness_send(harness_connection(OUR_V4, 80, PEER_V4, 1025), 1, 10);
    assert_arp_sent(broadcast, 1, OUR_V4, PEER_V4);
}

static void segment_waits_for_the_reply(void **state)
{
    (void)state;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    harness_send(connection, 2, 10);
    assert_arp_sent(broadcast, 1, OUR_V4, PEER_V4);
    assert_nothing_sent();
    assert_int_equal(connection->segments_sent, 0);
    build_arp(&b, our_mac, 2, peer_mac, PEER_V4, OUR_V4);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
    assert_segment_sent_to(peer_mac);
    assert_segment_sent_to(peer_mac);
    assert_nothing_sent();
}

static void destination_beyond_the_prefix_goes_by_the_gateway(void **state)
{
    (void)state;
    harness_send(harness_connection(OUR_V4, 80, v4("\x08\x08\x08\x08"), 1025), 1, 10);
    assert_arp_sent(broadcast, 1, OUR_V4, harness.config.gateway_v4);
    build_arp(&b, our_mac, 2, other_mac, harness.config.gateway_v4, OUR_V4);
    harness_receive(b.bytes, b.length);
    assert_segment_sent_to(other_mac);
}

static void gateway_outside_our_prefixes_is_on_the_link_all_the_same(void **state)
{
    (void)state;
    harness.config.gateway_v4 = v4("\xac\x10\x00\x01");
    harness_restart();
    harness_send(harness_connection(OUR_V4, 80, v4("\x08\x08\x08\x08"), 1025), 1, 10);
    assert_arp_sent(broadcast, 1, OUR_V4, harness.config.gateway_v4);
    build_arp(&b, our_mac, 2, other_mac, harness.config.gateway_v4, OUR_V4);
    harness_receive(b.bytes, b.length);
    assert_segment_sent_to(other_mac);
}

static void silence_is_asked_three_times_then_reported(void **state)
{
    (void)state;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    harness_send(connection, 3, 10);
    for (int i = 0; i < 3; i++) {
        assert_arp_sent(broadcast, 1, OUR_V4, PEER_V4);
        assert_nothing_sent();
        assert_int_equal(connection->neighbour_failures, 0);
        assert_int_equal(stack_next_deadline(harness.stack), harness.now_ns + NS_PER_S);
        harness_advance(NS_PER_S);
    }
    assert_int_equal(connection->neighbour_failures, 1);
    /* What it had to say is lost, as on a wire without anyone. */
    assert_nothing_sent();
    assert_int_equal(connection->segments_sent, 3);
    assert_int_equal(drops(DROP_NEIGHBOUR_UNREACHABLE), 3);
    /* Later it is worth asking again. */
    harness_advance(2 * NS_PER_S);
    harness_send(connection, 1, 10);
    assert_arp_sent(broadcast, 1, OUR_V4, PEER_V4);
}

static void unsolicited_reply_makes_no_entry(void **state)
{
    (void)state;
    build_arp(&b, our_mac, 2, other_mac, PEER_V4, OUR_V4);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
    harness_send(harness_connection(OUR_V4, 80, PEER_V4, 1025), 1, 10);
    assert_arp_sent(broadcast, 1, OUR_V4, PEER_V4);
}

static void gratuitous_announcement_moves_a_known_neighbour(void **state)
{
    (void)state;
    harness_meet_peer();
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    harness_send(connection, 1, 10);
    assert_segment_sent_to(peer_mac);
    harness_advance(2 * NS_PER_S);
    build_arp(&b, broadcast, 1, other_mac, PEER_V4, PEER_V4);
    harness_receive(b.bytes, b.length);
    harness_send(connection, 1, 10);
    assert_segment_sent_to(other_mac);
}

static void quick_change_of_mind_is_ignored(void **state)
{
    (void)state;
    harness_meet_peer();
    harness_advance(NS_PER_S / 2);
    build_arp(&b, broadcast, 1, other_mac, PEER_V4, PEER_V4);
    harness_receive(b.bytes, b.length);
    harness_send(harness_connection(OUR_V4, 80, PEER_V4, 1025), 1, 10);
    assert_segment_sent_to(peer_mac);
}

static void claim_to_our_own_address_is_ignored(void **state)
{
    (void)state;
    build_arp(&b, broadcast, 1, other_mac, OUR_V4, OUR_V4);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
    assert_nothing_sent();
}

static void address_probe_is_answered_without_learning(void **state)
{
    (void)state;
    build_arp(&b, broadcast, 1, other_mac, v4("\0\0\0\0"), OUR_V4);
    harness_receive(b.bytes, b.length);
    assert_arp_sent(other_mac, 2, OUR_V4, v4("\0\0\0\0"));
}

static void stale_neighbour_is_probed_by_unicast_then_given_up(void **state)
{
    (void)state;
    harness_meet_peer();
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    harness_send(connection, 1, 10);
    assert_segment_sent_to(peer_mac); /* used while stale: DELAY */
    harness_advance(5 * NS_PER_S);
    for (int i = 0; i < 3; i++) {
        assert_arp_sent(peer_mac, 1, OUR_V4, PEER_V4);
        assert_nothing_sent();
        harness_advance(NS_PER_S);
    }
    harness_send(connection, 1, 10);
    assert_arp_sent(broadcast, 1, OUR_V4, PEER_V4);
}

static void progress_of_tcp_spares_the_probe(void **state)
{
    (void)state;
    harness_meet_peer();
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    harness_send(connection, 1, 10);
    assert_segment_sent_to(peer_mac);
    stack_reachability_confirm(harness.stack, connection, harness.now_ns);
    harness_advance(20 * NS_PER_S);
    assert_nothing_sent();
}

static void unused_neighbour_is_forgotten(void **state)
{
    (void)state;
    harness_meet_peer();
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    harness_send(connection, 1, 10);
    assert_segment_sent_to(peer_mac);
    stack_reachability_confirm(harness.stack, connection, harness.now_ns);
    harness_advance(601 * NS_PER_S);
    harness_send(connection, 1, 10);
    assert_arp_sent(broadcast, 1, OUR_V4, PEER_V4);
}

static void freed_connection_leaves_the_waiting_line(void **state)
{
    (void)state;
    struct tcp_connection *first = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    struct tcp_connection *second = harness_connection(OUR_V4, 80, PEER_V4, 1026);
    harness_send(first, 1, 10);
    harness_send(second, 1, 20);
    assert_arp_sent(broadcast, 1, OUR_V4, PEER_V4);
    assert_nothing_sent();
    stack_connection_free(harness.stack, first);
    build_arp(&b, our_mac, 2, peer_mac, PEER_V4, OUR_V4);
    harness_receive(b.bytes, b.length);
    assert_segment_sent_to(peer_mac);
    assert_int_equal(second->segments_sent, 1);
    assert_nothing_sent();
}

static void table_full_of_unresolved_neighbours_recovers(void **state)
{
    (void)state;
    harness.config.prefixes[0].prefix_length = 96 + 16;
    harness.config.connections_max = 4096;
    harness_restart();
    for (uint16_t i = 0; i < 2000; i++) {
        uint8_t address[4] = {10, 77, (uint8_t)(4 + i / 250), (uint8_t)(1 + i % 250)};
        struct tcp_connection *connection =
            harness_connection(OUR_V4, 80, ip_address_from_v4(address), (uint16_t)(1025 + i));
        harness_send(connection, 1, 10);
    }
    while (harness_transmit())
        assert_int_equal(get16(harness.sent + 12), 0x0806);
    for (int i = 0; i < 5; i++) {
        harness_advance(NS_PER_S);
        while (harness_transmit())
            continue;
    }
    build_arp(&b, broadcast, 1, peer_mac, PEER_V4, OUR_V4);
    harness_receive(b.bytes, b.length);
    assert_arp_sent(peer_mac, 2, OUR_V4, PEER_V4);
    harness_send(harness_connection(OUR_V4, 80, PEER_V4, 1025), 1, 10);
    assert_segment_sent_to(peer_mac);
}

static void malformed_messages_are_counted(void **state)
{
    (void)state;
    build_arp(&b, broadcast, 1, peer_mac, PEER_V4, OUR_V4);
    assert_int_equal(harness_receive(b.bytes, 41), STACK_RX_DROPPED);
    for (uint32_t offset = 0; offset < 8; offset++) {
        build_arp(&b, broadcast, 1, peer_mac, PEER_V4, OUR_V4);
        b.bytes[14 + offset] ^= 0x40;
        assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_DROPPED);
    }
    assert_int_equal(drops(DROP_ARP_MALFORMED), 9);
    assert_nothing_sent();
}

static void other_cores_learn_without_answering(void **state)
{
    (void)state;
    harness.config.core_count = 2;
    harness.config.core_index = 1;
    harness_restart();
    build_arp(&b, broadcast, 1, peer_mac, PEER_V4, OUR_V4);
    assert_true(stack_frame_is_for_all_cores(b.bytes, b.length));
    harness_receive(b.bytes, b.length);
    assert_nothing_sent();
    harness_send(harness_connection(OUR_V4, 80, PEER_V4, 1025), 1, 10);
    assert_segment_sent_to(peer_mac);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(request_for_us_is_answered_and_teaches),
        TEST(request_for_someone_else_teaches_nothing),
        TEST(segment_waits_for_the_reply),
        TEST(destination_beyond_the_prefix_goes_by_the_gateway),
        TEST(gateway_outside_our_prefixes_is_on_the_link_all_the_same),
        TEST(silence_is_asked_three_times_then_reported),
        TEST(unsolicited_reply_makes_no_entry),
        TEST(gratuitous_announcement_moves_a_known_neighbour),
        TEST(quick_change_of_mind_is_ignored),
        TEST(claim_to_our_own_address_is_ignored),
        TEST(address_probe_is_answered_without_learning),
        TEST(stale_neighbour_is_probed_by_unicast_then_given_up),
        TEST(progress_of_tcp_spares_the_probe),
        TEST(unused_neighbour_is_forgotten),
        TEST(freed_connection_leaves_the_waiting_line),
        TEST(table_full_of_unresolved_neighbours_recovers),
        TEST(malformed_messages_are_counted),
        TEST(other_cores_learn_without_answering),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
