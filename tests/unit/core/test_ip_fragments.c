#include "ip_harness.h"

#define DATAGRAM_MAX 65535
#define FRAGMENTS    64

static struct frame_builder b;
static uint8_t datagram[DATAGRAM_MAX]; /* the IP payload that is cut up: a TCP segment */
static uint32_t datagram_bytes;

static void make_datagram(bool is_v4, uint32_t payload_bytes)
{
    struct ip_endpoint from = endpoint(is_v4 ? PEER_V4 : PEER_V6, 1025);
    struct ip_endpoint to = endpoint(is_v4 ? OUR_V4 : OUR_V6, 80);
    datagram_bytes = build_tcp(datagram, &from, &to, 7, payload_bytes);
}

/** Of the fragments sent. */
static uint8_t traffic_class;

/** Send bytes [start, end) of the datagram as a fragment. */
static enum stack_rx_verdict send_fragment(bool is_v4, uint32_t id, uint32_t start, uint32_t end,
                                           bool more)
{
    static uint8_t payload[DATAGRAM_MAX + 8];
    if (is_v4) {
        uint8_t field[2];
        uint8_t id_bytes[2];
        put16(field, (uint16_t)((more ? 0x2000 : 0) | start / 8));
        put16(id_bytes, (uint16_t)id);
        build_ipv4(&b, PEER_V4, OUR_V4, 6, datagram + start, end - start);
        patch_ipv4(&b, 1, &traffic_class, 1);
        patch_ipv4(&b, 4, id_bytes, 2);
        patch_ipv4(&b, 6, field, 2);
    } else {
        payload[0] = 6;
        payload[1] = 0;
        put16(payload + 2, (uint16_t)(start | more));
        put32(payload + 4, id);
        memcpy(payload + 8, datagram + start, end - start);
        build_ipv6(&b, PEER_V6, OUR_V6, 44, 64, payload, 8 + end - start);
        b.bytes[14] = (uint8_t)(0x60 | traffic_class >> 4);
        b.bytes[15] = (uint8_t)(traffic_class << 4);
    }
    return harness_receive(b.bytes, b.length);
}

static void assert_segment_is_whole(void)
{
    const struct tcp_segment *s = &harness.rx.segment;
    assert_int_equal(s->payload_length, datagram_bytes - 20);
    assert_int_equal(s->source.port, 1025);
    assert_memory_equal(harness.rx.packet + s->payload_frame_offset, datagram + 20,
                        datagram_bytes - 20);
}

static void fragments_in_order_make_a_segment(void **state)
{
    (void)state;
    for (int is_v4 = 0; is_v4 < 2; is_v4++) {
        make_datagram(is_v4 != 0, 2000);
        assert_int_equal(send_fragment(is_v4 != 0, 1, 0, 1480, true), STACK_RX_CONSUMED);
        assert_int_equal(send_fragment(is_v4 != 0, 1, 1480, datagram_bytes, false), STACK_RX_TCP);
        assert_segment_is_whole();
    }
    assert_int_equal(stack_get_counters(harness.stack)->reassembled, 2);
}

static void largest_datagram_is_reassembled(void **state)
{
    (void)state;
    make_datagram(true, 65535 - 20 - 20);
    uint32_t start = 0;
    for (; start + 1480 < datagram_bytes; start += 1480)
        assert_int_equal(send_fragment(true, 1, start, start + 1480, true), STACK_RX_CONSUMED);
    assert_int_equal(send_fragment(true, 1, start, datagram_bytes, false), STACK_RX_TCP);
    assert_segment_is_whole();
}

static void ping_of_death_is_malformed(void **state)
{
    (void)state;
    make_datagram(true, 200);
    uint8_t field[2];
    put16(field, 8189);
    build_ipv4(&b, PEER_V4, OUR_V4, 6, datagram, 200);
    patch_ipv4(&b, 6, field, 2);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_IPV4_MALFORMED), 1);
}

/** Cut a datagram at random, shuffle, send some pieces twice: it must come out whole, just once. */
static void random_cuts_and_duplicates(bool is_v4, struct test_random *random, uint32_t id)
{
    uint32_t starts[FRAGMENTS + 1];
    uint32_t order[FRAGMENTS * 2];
    uint32_t count = 0;
    make_datagram(is_v4, 8 + test_random_below(random, 6000));
    for (uint32_t start = 0; start < datagram_bytes && count < FRAGMENTS;) {
        starts[count++] = start;
        start += count == FRAGMENTS ? datagram_bytes : 8 * (1 + test_random_below(random, 60));
    }
    if (count < 2)
        return;
    starts[count] = datagram_bytes;
    uint32_t sends = 0;
    for (uint32_t i = 0; i < count; i++) {
        order[sends++] = i;
        if (test_random_below(random, 4) == 0)
            order[sends++] = i;
    }
    for (uint32_t i = sends - 1; i > 0; i--) {
        uint32_t j = test_random_below(random, i + 1);
        uint32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    bool whole = false;
    for (uint32_t i = 0; i < sends && !whole; i++) {
        uint32_t piece = order[i];
        enum stack_rx_verdict verdict =
            send_fragment(is_v4, id, starts[piece], starts[piece + 1], piece + 1 < count);
        assert_int_not_equal(verdict, STACK_RX_DROPPED);
        whole = verdict == STACK_RX_TCP;
    }
    assert_true(whole);
    assert_segment_is_whole();
}

static void any_order_with_duplicates_makes_the_same_segment(void **state)
{
    (void)state;
    struct test_random random = {8};
    for (uint32_t run = 0; run < 400; run++) {
        /* Duplicates after completion begin a datagram anew; other identifications keep clear. */
        random_cuts_and_duplicates(run % 2 == 0, &random, run);
    }
}

static void overlap_voids_the_datagram(void **state)
{
    (void)state;
    for (int is_v4 = 0; is_v4 < 2; is_v4++) {
        make_datagram(is_v4 != 0, 2000);
        assert_int_equal(send_fragment(is_v4 != 0, 1, 0, 1000, true), STACK_RX_CONSUMED);
        assert_int_equal(send_fragment(is_v4 != 0, 1, 992, 1504, true), STACK_RX_DROPPED);
        /* Nothing helps it any more (RFC 5722). */
        assert_int_equal(send_fragment(is_v4 != 0, 1, 1000, datagram_bytes, false),
                         STACK_RX_DROPPED);
    }
    assert_int_equal(drops(DROP_FRAGMENT_OVERLAP), 4);
}

static void duplicate_with_other_bytes_voids_the_datagram(void **state)
{
    (void)state;
    make_datagram(true, 2000);
    assert_int_equal(send_fragment(true, 1, 0, 1000, true), STACK_RX_CONSUMED);
    datagram[500] ^= 1;
    assert_int_equal(send_fragment(true, 1, 0, 1000, true), STACK_RX_DROPPED);
}

static void contradicting_ends_void_the_datagram(void **state)
{
    (void)state;
    make_datagram(true, 3000);
    assert_int_equal(send_fragment(true, 1, 1000, 2000, false), STACK_RX_CONSUMED);
    assert_int_equal(send_fragment(true, 1, 2000, 2400, false), STACK_RX_DROPPED);
    assert_int_equal(send_fragment(true, 2, 1000, 2000, false), STACK_RX_CONSUMED);
    assert_int_equal(send_fragment(true, 2, 2000, 2400, true), STACK_RX_DROPPED);
    assert_int_equal(send_fragment(true, 3, 2000, 2400, true), STACK_RX_CONSUMED);
    assert_int_equal(send_fragment(true, 3, 1000, 2000, false), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_FRAGMENT_OVERLAP), 3);
}

/** Two fragments, the last first. */
static enum stack_rx_verdict send_two(bool is_v4, uint32_t id, uint8_t first, uint8_t last)
{
    traffic_class = last;
    assert_int_equal(send_fragment(is_v4, id, 1480, datagram_bytes, false), STACK_RX_CONSUMED);
    traffic_class = first;
    enum stack_rx_verdict verdict = send_fragment(is_v4, id, 0, 1480, true);
    traffic_class = 0;
    return verdict;
}

static void mark_on_any_fragment_marks_the_whole(void **state)
{
    (void)state;
    for (int is_v4 = 0; is_v4 < 2; is_v4++) {
        make_datagram(is_v4 != 0, 2000);
        assert_int_equal(send_two(is_v4 != 0, 1, 0xa0 | ECN_ECT_0, 0x40 | ECN_CE), STACK_RX_TCP);
        assert_int_equal(harness.rx.segment.ecn, ECN_CE);
        assert_int_equal(harness.rx.segment.traffic_class, 0xa0 | ECN_CE); /* else the first's */
        assert_int_equal(send_two(is_v4 != 0, 2, ECN_ECT_0, ECN_ECT_0), STACK_RX_TCP);
        assert_int_equal(harness.rx.segment.ecn, ECN_ECT_0);
        assert_int_equal(send_two(is_v4 != 0, 3, ECN_NOT_ECT, ECN_CE), STACK_RX_DROPPED);
        assert_int_equal(send_two(is_v4 != 0, 4, ECN_ECT_0, ECN_NOT_ECT), STACK_RX_DROPPED);
    }
}

static void odd_length_but_last_is_malformed(void **state)
{
    (void)state;
    make_datagram(true, 2000);
    assert_int_equal(send_fragment(true, 1, 0, 1001, true), STACK_RX_DROPPED);
    assert_int_equal(send_fragment(true, 1, 0, 0, true), STACK_RX_DROPPED);
    assert_int_equal(drops(DROP_IPV4_MALFORMED), 2);
}

static void random_overlaps_never_make_a_wrong_segment(void **state)
{
    (void)state;
    struct test_random random = {9};
    make_datagram(true, 1000);
    for (uint32_t run = 0; run < 6000; run++) {
        uint32_t start = 8 * test_random_below(&random, datagram_bytes / 8);
        uint32_t end = start + 8 * (1 + test_random_below(&random, 60));
        bool more = end < datagram_bytes;
        end = more ? end : datagram_bytes;
        bool corrupt = test_random_below(&random, 8) == 0;
        datagram[start] ^= corrupt;
        enum stack_rx_verdict verdict =
            send_fragment(true, test_random_below(&random, 100), start, end, more);
        datagram[start] ^= corrupt;
        if (verdict == STACK_RX_TCP)
            assert_segment_is_whole();
        if (run % 50 == 0)
            harness_advance(NS_PER_S);
    }
}

static void incomplete_datagram_times_out_and_says_so(void **state)
{
    (void)state;
    harness_meet_peer();
    make_datagram(true, 2000);
    send_fragment(true, 1, 0, 1000, true);
    uint64_t deadline_ns = stack_next_deadline(harness.stack);
    assert_int_equal(deadline_ns, harness.now_ns + 30 * NS_PER_S);
    harness_advance(30 * NS_PER_S);
    assert_int_equal(drops(DROP_FRAGMENT_TIMEOUT), 1);
    assert_true(harness_transmit());
    const uint8_t *icmp = harness.sent + 34;
    assert_int_equal(icmp[0], 11);
    assert_int_equal(icmp[1], 1);
    assert_memory_equal(icmp + 8 + 20, datagram, 500);
    assert_int_equal(naive_checksum(0, icmp, harness.sent_bytes - 34), 0);
    /* The rest begins anew. */
    assert_int_equal(send_fragment(true, 1, 1000, datagram_bytes, false), STACK_RX_CONSUMED);
    harness_advance(30 * NS_PER_S);
    assert_int_equal(drops(DROP_FRAGMENT_TIMEOUT), 2);
    while (harness_transmit()) /* without the first fragment nobody is told */
        assert_int_equal(get16(harness.sent + 12), 0x0806);
}

static void flood_of_datagrams_replaces_the_oldest(void **state)
{
    (void)state;
    make_datagram(true, 2000);
    for (uint32_t id = 0; id < 200; id++) {
        harness.now_ns++;
        assert_int_equal(send_fragment(true, id, 0, 1000, true), STACK_RX_CONSUMED);
    }
    assert_true(drops(DROP_FRAGMENT_LIMIT) > 100);
    assert_int_equal(send_fragment(true, 199, 1000, datagram_bytes, false), STACK_RX_TCP);
    assert_int_equal(send_fragment(true, 0, 1000, datagram_bytes, false), STACK_RX_CONSUMED);
}

static void no_memory_configured_refuses_fragments(void **state)
{
    (void)state;
    harness.config.fragments_bytes_max = 0;
    harness_restart();
    make_datagram(true, 2000);
    assert_int_equal(send_fragment(true, 1, 0, 1000, true), STACK_RX_DROPPED);
}

static void atomic_fragment_is_a_whole_packet(void **state)
{
    (void)state;
    make_datagram(false, 100);
    assert_int_equal(send_fragment(false, 1, 0, datagram_bytes, false), STACK_RX_TCP);
    assert_segment_is_whole();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fragments_in_order_make_a_segment),
        TEST(largest_datagram_is_reassembled),
        TEST(ping_of_death_is_malformed),
        TEST(any_order_with_duplicates_makes_the_same_segment),
        TEST(overlap_voids_the_datagram),
        TEST(duplicate_with_other_bytes_voids_the_datagram),
        TEST(contradicting_ends_void_the_datagram),
        TEST(mark_on_any_fragment_marks_the_whole),
        TEST(odd_length_but_last_is_malformed),
        TEST(random_overlaps_never_make_a_wrong_segment),
        TEST(incomplete_datagram_times_out_and_says_so),
        TEST(flood_of_datagrams_replaces_the_oldest),
        TEST(no_memory_configured_refuses_fragments),
        TEST(atomic_fragment_is_a_whole_packet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
