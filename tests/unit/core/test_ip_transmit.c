/* Frames that go out: headers, turning round, turns, replies without a connection. */
#include "ip_harness.h"

#include <stdlib.h>

static int setup_with_peer(void **state)
{
    int error = harness_setup(state);
    harness_meet_peer();
    return error;
}

/** A TCP frame of this shape, its checksums right. */
static void assert_segment_sent(bool is_v4, uint32_t payload_bytes)
{
    assert_true(harness_transmit());
    const struct stack_frame *frame = &harness.frame;
    const uint8_t *ip = harness.sent + 14;
    uint32_t ip_bytes = is_v4 ? 20 : 40;
    uint32_t length = harness.sent_bytes - 14 - ip_bytes;
    struct ip_address from = is_v4 ? ip_address_from_v4(ip + 12) : ip_address_from_v6(ip + 8);
    struct ip_address to = is_v4 ? ip_address_from_v4(ip + 16) : ip_address_from_v6(ip + 24);

    assert_int_equal(frame->l3_offset, 14);
    assert_int_equal(frame->l4_offset, 14 + ip_bytes);
    assert_int_equal(frame->is_ipv6, !is_v4);
    assert_int_equal(frame->payload_length, payload_bytes);
    assert_int_equal(get16(harness.sent + 12), is_v4 ? 0x0800 : 0x86dd);
    if (is_v4) {
        assert_int_equal(ip[0], 0x45);
        assert_int_equal(get16(ip + 2), 20 + length);
        assert_int_equal(get16(ip + 6), 0x4000);
        assert_int_equal(ip[9], 6);
        assert_int_equal(naive_checksum(0, ip, 20), 0);
    } else {
        assert_int_equal(ip[0] >> 4, 6);
        assert_int_equal(get16(ip + 4), length);
        assert_int_equal(ip[6], 6);
    }
    assert_int_equal(naive_checksum(naive_pseudo(&from, &to, 6, length), ip + ip_bytes, length), 0);
}

static void segments_have_right_headers_and_checksums(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        bool is_v4 = i == 0;
        struct tcp_connection *connection = harness_connection(
            is_v4 ? OUR_V4 : OUR_V6, 80, is_v4 ? PEER_V4 : PEER_V6, (uint16_t)(1025 + i));
        connection->options.ttl = 17;
        connection->options.traffic_class = 0x48;
        harness_send(connection, 1, 1001);
        assert_segment_sent(is_v4, 1001);
        const uint8_t *ip = harness.sent + 14;
        const uint8_t *tcp = ip + (is_v4 ? 20 : 40);
        assert_memory_equal(harness.sent, peer_mac, 6);
        assert_memory_equal(harness.sent + 6, our_mac, 6);
        assert_int_equal(is_v4 ? ip[1] : (get16(ip) >> 4 & 0xff), 0x48);
        assert_int_equal(is_v4 ? ip[8] : ip[7], 17);
        assert_int_equal(get16(tcp), 80);
        assert_int_equal(get16(tcp + 2), 1025 + i);
        assert_int_equal(get32(tcp + 4), HARNESS_SEQ_FIRST);
        assert_int_equal(get32(tcp + 8), 77);
        assert_int_equal(tcp[12], 6 << 4);
        assert_int_equal(tcp[13], TCP_ACK | TCP_PSH);
        assert_int_equal(get16(tcp + 14), 5000);
        assert_memory_equal(tcp + 20, "\1\1\1\0", 4);
        assert_ptr_equal(harness.frame.connection, connection);
        assert_int_equal(harness.frame.stream_offset, 0);
        assert_nothing_sent();
    }
}

/** As IP_MTU_DISCOVER wants it; what may be fragmented has a number of its own (RFC 6864 §4). */
static void segments_may_be_fragmented_if_so_wanted(void **state)
{
    (void)state;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    unsigned last = 0;
    for (int how = TCP_MTU_DISCOVER_DONT; how <= TCP_MTU_DISCOVER_OMIT; how++) {
        bool whole = how == TCP_MTU_DISCOVER_WANT || how == TCP_MTU_DISCOVER_DO;
        connection->options.mtu_discover_v4 = (uint16_t)how;
        stack_options_changed(harness.stack);
        harness_send(connection, 1, 100);
        assert_true(harness_transmit());
        const uint8_t *ip = harness.sent + 14;
        assert_int_equal(get16(ip + 6), whole ? 0x4000 : 0);
        assert_int_equal(get16(ip + 4) == 0, whole);
        assert_true(whole || get16(ip + 4) > last);
        assert_int_equal(naive_checksum(0, ip, 20), 0);
        last = whole ? last : get16(ip + 4);
    }
}

/** Headers that are made once for several segments: whoever sends next, and whatever changed. */
static void headers_are_right_whoever_sends_next(void **state)
{
    (void)state;
    struct tcp_connection *connections[4];
    for (int i = 0; i < 4; i++) {
        bool is_v4 = i > 0;
        connections[i] = harness_connection(is_v4 ? OUR_V4 : OUR_V6, (uint16_t)(80 + i),
                                            is_v4 ? PEER_V4 : PEER_V6, (uint16_t)(1025 + i));
    }
    srand(7);
    for (int step = 0; step < 2000; step++) {
        int i = rand() % 4;
        struct tcp_connection *connection = connections[i];
        if (rand() % 8 == 0) {
            connection->options.ttl = (uint8_t)(rand() % 4);
            connection->options.traffic_class = (uint8_t)(rand() % 4 << 4);
            stack_options_changed(harness.stack);
        }
        for (int segments = 1 + rand() % 3; segments > 0; segments--) {
            harness_send(connection, 1, (uint32_t)(rand() % 1200));
            assert_segment_sent(i > 0, connection->payload_bytes);
            const uint8_t *ip = harness.sent + 14;
            const uint8_t *tcp = harness.sent + harness.frame.l4_offset;
            uint8_t ttl = connection->options.ttl != 0 ? connection->options.ttl : 64;
            assert_memory_equal(harness.sent, peer_mac, 6);
            assert_memory_equal(harness.sent + 6, our_mac, 6);
            assert_int_equal(i > 0 ? ip[8] : ip[7], ttl);
            assert_int_equal(i > 0 ? ip[1] : (get16(ip) >> 4 & 0xff),
                             connection->options.traffic_class);
            assert_int_equal(get16(tcp), 80 + i);
            assert_int_equal(get16(tcp + 2), 1025 + i);
        }
    }
}

static void default_hop_limit_is_64(void **state)
{
    (void)state;
    harness_send(harness_connection(OUR_V4, 80, PEER_V4, 1025), 1, 0);
    assert_segment_sent(true, 0);
    assert_int_equal(harness.sent[14 + 8], 64);
    assert_null(harness.frame.connection);
    assert_null(harness.frame.payload);
}

static void checksum_of_payload_summed_before_gives_the_same(void **state)
{
    (void)state;
    harness_send(harness_connection(OUR_V4, 80, PEER_V4, 1025), 1, 333);
    assert_segment_sent(true, 333);
    uint8_t header[STACK_HEADER_MAX];
    memcpy(header, harness.frame.header, sizeof(header));
    uint32_t sum = (uint16_t)~naive_checksum(0, harness.sent + harness.frame.header_length, 333);
    sum = (sum & 0xff) << 8 | sum >> 8; /* partial sums are in memory order */
    stack_frame_finish_checksum_sum(&harness.frame, header, sum);
    assert_memory_equal(header, harness.sent, harness.frame.header_length);
}

static void checksum_left_to_a_port_is_completed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        bool is_v4 = i % 2 == 0;
        harness_send(is_v4 ? harness_connection(OUR_V4, 80, PEER_V4, (uint16_t)(1025 + i))
                           : harness_connection(OUR_V6, 80, PEER_V6, (uint16_t)(1025 + i)),
                     1, 333);
        assert_segment_sent(is_v4, 333);
        uint8_t frame[2048];
        uint32_t bytes = harness.sent_bytes;
        uint32_t tag = i < 2 ? 0 : 4; /* with a VLAN tag, and with padding */
        memcpy(frame, harness.sent, 12);
        memcpy(frame + 12, "\x81\0\0\0", tag);
        memcpy(frame + 12 + tag, harness.sent + 12, bytes - 12);
        memset(frame + bytes + tag, 0xee, 8);
        uint32_t field = harness.frame.l4_offset + 16;
        memcpy(frame + field + tag, harness.frame.header + field, 2);
        assert_memory_not_equal(frame + field + tag, harness.sent + field, 2);
        stack_bytes_finish_checksum(frame, bytes + tag + (i < 2 ? 0 : 8));
        assert_memory_equal(frame + 12 + tag, harness.sent + 12, bytes - 12);
        for (uint32_t cut = 0; cut < bytes; cut++) { /* what is not whole stays as it is */
            uint8_t *part = malloc(cut + 1);
            assert_non_null(part);
            memcpy(part, harness.sent, cut);
            stack_bytes_finish_checksum(part, cut);
            assert_memory_equal(part, harness.sent, cut);
            free(part);
        }
    }
}

static void own_addresses_turn_round_and_come_back_in(void **state)
{
    (void)state;
    const struct {
        struct ip_address local, remote;
    } cases[] = {
        {OUR_V4, OUR_V4},
        {v4("\x7f\0\0\1"), v4("\x7f\0\0\1")},
        {OUR_V6, OUR_V6},
        {v6("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"), v6("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01")},
    };
    for (uint16_t i = 0; i < 4; i++) {
        struct tcp_connection *there =
            harness_connection(cases[i].local, 80, cases[i].remote, (uint16_t)(1025 + i));
        struct tcp_connection *back =
            harness_connection(cases[i].remote, (uint16_t)(1025 + i), cases[i].local, 80);
        harness_send(there, 1, 50);
        assert_segment_sent(i < 2, 50);
        assert_true(harness.frame.turn_round);
        assert_int_equal(harness_receive(harness.sent, harness.sent_bytes), STACK_RX_TCP);
        assert_ptr_equal(harness.rx.connection, back);
        /* The same from the wire, addressed to us, is refused. */
        memcpy(harness.sent, our_mac, 6);
        memcpy(harness.sent + 6, peer_mac, 6);
        assert_int_equal(harness_receive(harness.sent, harness.sent_bytes), STACK_RX_DROPPED);
    }
    struct ip_address ours = OUR_V4;
    assert_int_equal(stack_path_mtu(harness.stack, &ours, harness.now_ns), 65535);
}

static void connections_take_turns(void **state)
{
    (void)state;
    struct tcp_connection *first = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    struct tcp_connection *second = harness_connection(OUR_V4, 80, PEER_V4, 1026);
    harness_send(first, 1000, 10);
    harness_send(second, 1, 10);
    for (int i = 0; i < 20; i++)
        assert_segment_sent(true, 10);
    assert_int_equal(second->segments_sent, 1);
    for (int i = 0; i < 981; i++)
        assert_segment_sent(true, 10);
    assert_int_equal(first->segments_sent, 1000);
    assert_nothing_sent();
}

static void reply_goes_out_with_checksums(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        bool is_v4 = i == 0;
        struct tcp_reply reply = {
            .flow = {is_v4 ? OUR_V4 : OUR_V6, is_v4 ? PEER_V4 : PEER_V6, 80, 1025},
            .seq = seq_of(5),
            .ack = seq_of(6),
            .flags = TCP_RST | TCP_ACK,
            .window = 7,
            .options_length = 4,
            .options = {2, 4, 5, 180}};
        stack_reply_queue(harness.stack, &reply);
        assert_true(harness_transmit());
        assert_false(harness.frame.l4_checksum_partial);
        const uint8_t *ip = harness.sent + 14;
        const uint8_t *tcp = ip + (is_v4 ? 20 : 40);
        uint32_t sum = naive_pseudo(&reply.flow.local, &reply.flow.remote, 6, 24);
        assert_int_equal(naive_checksum(sum, tcp, 24), 0);
        assert_int_equal(get32(tcp + 4), 5);
        assert_int_equal(get32(tcp + 8), 6);
        assert_int_equal(tcp[13], TCP_RST | TCP_ACK);
        assert_int_equal(get16(tcp + 14), 7);
        assert_memory_equal(tcp + 20, reply.options, 4);
    }
}

static void replies_beyond_the_limit_are_counted(void **state)
{
    (void)state;
    struct tcp_reply reply = {.flow = {OUR_V4, PEER_V4, 80, 1025}, .flags = TCP_RST};
    for (int i = 0; i < 5000; i++)
        stack_reply_queue(harness.stack, &reply);
    uint32_t sent = 0;
    while (harness_transmit())
        sent++;
    assert_int_equal(sent + drops(DROP_REPLY_LIMIT), 5000);
    assert_true(sent > 0 && drops(DROP_REPLY_LIMIT) > 0);
    stack_reply_queue(harness.stack, &reply); /* and all are free again */
    assert_true(harness_transmit());
}

/** However many replies wait, and however many connections end at once. */
static void what_ends_connections_is_beyond_the_limit(void **state)
{
    (void)state;
    struct tcp_reply reply = {.flow = {OUR_V4, PEER_V4, 80, 1025}, .flags = TCP_RST};
    for (int i = 0; i < 5000; i++)
        stack_reply_queue(harness.stack, &reply);
    uint64_t dropped = drops(DROP_REPLY_LIMIT);
    uint32_t connections = stack_get_config(harness.stack)->connections_max;
    reply.ends_connection = true;
    for (uint32_t i = 0; i < connections; i++)
        stack_reply_queue(harness.stack, &reply);
    assert_int_equal(drops(DROP_REPLY_LIMIT), dropped);
    uint32_t sent = 0;
    while (harness_transmit())
        sent++;
    assert_int_equal(sent, 5000 - dropped + connections);
}

static void replies_wait_for_their_neighbour_in_bounded_number(void **state)
{
    (void)state;
    struct tcp_reply reply = {.flow = {OUR_V4, v4("\x0a\x4d\x00\x09"), 80, 1025}, .flags = TCP_RST};
    for (int i = 0; i < 20; i++)
        stack_reply_queue(harness.stack, &reply);
    assert_true(harness_transmit());
    assert_int_equal(get16(harness.sent + 12), 0x0806);
    assert_nothing_sent();
    assert_int_equal(drops(DROP_NEIGHBOUR_UNREACHABLE), 4);
    static struct frame_builder b;
    build_arp(&b, our_mac, 2, other_mac, reply.flow.remote, OUR_V4);
    harness_receive(b.bytes, b.length);
    for (int i = 0; i < 16; i++) {
        assert_true(harness_transmit());
        assert_memory_equal(harness.sent, other_mac, 6);
    }
    assert_nothing_sent();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_with_peer, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(segments_have_right_headers_and_checksums),
        TEST(segments_may_be_fragmented_if_so_wanted),
        TEST(headers_are_right_whoever_sends_next),
        TEST(default_hop_limit_is_64),
        TEST(checksum_of_payload_summed_before_gives_the_same),
        TEST(checksum_left_to_a_port_is_completed),
        TEST(own_addresses_turn_round_and_come_back_in),
        TEST(connections_take_turns),
        TEST(reply_goes_out_with_checksums),
        TEST(replies_beyond_the_limit_are_counted),
        TEST(what_ends_connections_is_beyond_the_limit),
        TEST(replies_wait_for_their_neighbour_in_bounded_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
