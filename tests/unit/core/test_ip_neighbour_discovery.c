#include "ip_harness.h"

static struct frame_builder b;

#define NS         135
#define NA         136
#define LINK_LOCAL v6("\xfe\x80\0\0\0\0\0\0\0\0\0\xff\xfe\0\0\x01")
#define SOLICITED  UINT32_C(0x40000000)
#define OVERRIDE   UINT32_C(0x20000000)
#define OUR_GROUP  v6("\xff\x02\0\0\0\0\0\0\0\0\0\x01\xff\0\0\x01")
#define PEER_GROUP v6("\xff\x02\0\0\0\0\0\0\0\0\0\x01\xff\0\0\x02")
#define ALL_NODES  v6("\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01")

/** A solicitation or advertisement; mac NULL: without its option. */
static enum stack_rx_verdict receive_nd(uint8_t type, uint32_t flags, struct ip_address target,
                                        struct ip_address from, struct ip_address to,
                                        const uint8_t *mac, uint8_t hop_limit)
{
    uint8_t rest[24] = {0};
    uint8_t message[64];
    memcpy(rest, target.bytes, 16);
    rest[16] = type == NS ? 1 : 2;
    rest[17] = 1;
    if (mac != NULL)
        memcpy(rest + 18, mac, 6);
    uint32_t bytes =
        build_icmp(message, false, &from, &to, type, 0, flags, rest, mac != NULL ? 24 : 16);
    build_ipv6(&b, from, to, 58, hop_limit, message, bytes);
    return harness_receive(b.bytes, b.length);
}

static void assert_nd_sent(const uint8_t to_mac[6], struct ip_address to, uint8_t type,
                           uint32_t flags, struct ip_address target)
{
    assert_true(harness_transmit());
    assert_int_equal(harness.sent_bytes, 14 + 40 + 32);
    assert_memory_equal(harness.sent, to_mac, 6);
    assert_memory_equal(harness.sent + 6, our_mac, 6);
    const uint8_t *ip = harness.sent + 14;
    assert_int_equal(ip[6], 58);
    assert_int_equal(ip[7], 255);
    assert_memory_equal(ip + 24, to.bytes, 16);
    struct ip_address from = ip_address_from_v6(ip + 8);
    assert_int_equal(naive_checksum(naive_pseudo(&from, &to, 58, 32), ip + 40, 32), 0);
    assert_int_equal(ip[40], type);
    assert_int_equal(get32(ip + 44), flags);
    assert_memory_equal(ip + 48, target.bytes, 16);
    assert_int_equal(ip[64], type == NS ? 1 : 2);
    assert_memory_equal(ip + 66, our_mac, 6);
}

static const uint8_t peer_group_mac[6] = {0x33, 0x33, 0xff, 0, 0, 0x02};

static void assert_segment_sent_to(const uint8_t mac[6])
{
    assert_true(harness_transmit());
    assert_memory_equal(harness.sent, mac, 6);
    assert_int_equal(harness.sent[14 + 6], 6);
}

static void solicitation_is_answered_and_teaches(void **state)
{
    (void)state;
    assert_int_equal(receive_nd(NS, 0, OUR_V6, PEER_V6, OUR_GROUP, peer_mac, 255),
                     STACK_RX_CONSUMED);
    assert_nd_sent(peer_mac, PEER_V6, NA, SOLICITED | OVERRIDE, OUR_V6);
    harness_send(harness_connection(OUR_V6, 80, PEER_V6, 1025), 1, 10);
    assert_segment_sent_to(peer_mac);
}

static void link_local_address_is_ours_too(void **state)
{
    (void)state;
    struct ip_address peer = v6("\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x02");
    receive_nd(NS, 0, LINK_LOCAL, peer, OUR_GROUP, peer_mac, 255);
    assert_nd_sent(peer_mac, peer, NA, SOLICITED | OVERRIDE, LINK_LOCAL);
}

static void duplicate_address_probe_is_answered_to_all_nodes(void **state)
{
    (void)state;
    static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};
    receive_nd(NS, 0, OUR_V6, v6("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), OUR_GROUP, NULL, 255);
    assert_nd_sent(all_nodes_mac, ALL_NODES, NA, OVERRIDE, OUR_V6);
}

static void forwarded_message_is_refused(void **state)
{
    (void)state;
    assert_int_equal(receive_nd(NS, 0, OUR_V6, PEER_V6, OUR_GROUP, peer_mac, 254),
                     STACK_RX_DROPPED);
    assert_int_equal(receive_nd(NA, SOLICITED, PEER_V6, PEER_V6, OUR_V6, peer_mac, 254),
                     STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_ND_INVALID), 2);
    assert_nothing_sent();
}

static void segment_waits_for_the_advertisement(void **state)
{
    (void)state;
    harness_send(harness_connection(OUR_V6, 80, PEER_V6, 1025), 1, 10);
    assert_nd_sent(peer_group_mac, PEER_GROUP, NS, 0, PEER_V6);
    assert_nothing_sent();
    receive_nd(NA, SOLICITED | OVERRIDE, PEER_V6, PEER_V6, OUR_V6, peer_mac, 255);
    assert_segment_sent_to(peer_mac);
}

static void solicited_answer_multicast_is_refused(void **state)
{
    (void)state;
    harness_send(harness_connection(OUR_V6, 80, PEER_V6, 1025), 1, 10);
    assert_true(harness_transmit());
    assert_int_equal(receive_nd(NA, SOLICITED, PEER_V6, PEER_V6, ALL_NODES, peer_mac, 255),
                     STACK_RX_DROPPED);
    assert_nothing_sent();
}

static void advertisement_without_override_does_not_move_a_neighbour(void **state)
{
    (void)state;
    harness_meet_peer();
    harness_advance(2 * NS_PER_S);
    struct tcp_connection *connection = harness_connection(OUR_V6, 80, PEER_V6, 1025);
    receive_nd(NA, 0, PEER_V6, PEER_V6, ALL_NODES, other_mac, 255);
    harness_send(connection, 1, 10);
    assert_segment_sent_to(peer_mac);
    receive_nd(NA, OVERRIDE, PEER_V6, PEER_V6, ALL_NODES, other_mac, 255);
    harness_send(connection, 1, 10);
    assert_segment_sent_to(other_mac);
}

static void unknown_advertiser_makes_no_entry(void **state)
{
    (void)state;
    receive_nd(NA, OVERRIDE, PEER_V6, PEER_V6, ALL_NODES, other_mac, 255);
    harness_send(harness_connection(OUR_V6, 80, PEER_V6, 1025), 1, 10);
    assert_nd_sent(peer_group_mac, PEER_GROUP, NS, 0, PEER_V6);
}

static void stale_neighbour_is_probed_by_unicast(void **state)
{
    (void)state;
    harness_meet_peer();
    harness_send(harness_connection(OUR_V6, 80, PEER_V6, 1025), 1, 10);
    assert_segment_sent_to(peer_mac);
    harness_advance(5 * NS_PER_S);
    assert_nd_sent(peer_mac, PEER_V6, NS, 0, PEER_V6);
    receive_nd(NA, SOLICITED, PEER_V6, PEER_V6, OUR_V6, NULL, 255); /* option may be left out */
    harness_advance(10 * NS_PER_S);
    assert_nothing_sent();
}

static void option_of_length_zero_voids_the_message(void **state)
{
    (void)state;
    uint8_t rest[24] = {0};
    uint8_t message[64];
    struct ip_address from = PEER_V6;
    struct ip_address to = OUR_GROUP;
    struct ip_address target = OUR_V6;
    memcpy(rest, target.bytes, 16);
    rest[16] = 1;
    uint32_t bytes = build_icmp(message, false, &from, &to, NS, 0, 0, rest, 24);
    build_ipv6(&b, from, to, 58, 255, message, bytes);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_ND_INVALID), 1);
}

static void router_advertisement_and_redirect_change_nothing(void **state)
{
    (void)state;
    uint8_t rest[40] = {0};
    uint8_t message[64];
    struct ip_address from = v6("\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x09");
    struct ip_address to = ALL_NODES;
    uint32_t bytes = build_icmp(message, false, &from, &to, 134, 0, 0, rest, 8);
    build_ipv6(&b, from, to, 58, 255, message, bytes);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
    to = OUR_V6;
    bytes = build_icmp(message, false, &from, &to, 137, 0, 0, rest, 32);
    build_ipv6(&b, from, to, 58, 255, message, bytes);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_CONSUMED);
    assert_nothing_sent();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(solicitation_is_answered_and_teaches),
        TEST(link_local_address_is_ours_too),
        TEST(duplicate_address_probe_is_answered_to_all_nodes),
        TEST(forwarded_message_is_refused),
        TEST(segment_waits_for_the_advertisement),
        TEST(solicited_answer_multicast_is_refused),
        TEST(advertisement_without_override_does_not_move_a_neighbour),
        TEST(unknown_advertiser_makes_no_entry),
        TEST(stale_neighbour_is_probed_by_unicast),
        TEST(option_of_length_zero_voids_the_message),
        TEST(router_advertisement_and_redirect_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
