/* Reassembly, acknowledgements (when, how many), SACK and D-SACK generation, urgent data. */
#include "script.h"

/** Past the quick ACKs of a new connection, in the steady state of delayed ones. */
static void settled(void)
{
    established_plain(5000);
    script.connection->hot.quick_acks = 0;
    script.connection->hot.rcv_mss = 1000;
    script.connection->receive.last_data_ms = tcp_clock_ms(script.now_ns);
    script.connection->receive.ack_delay_us = 40000;
    script.connection->receive.ssthresh = script.connection->receive.window_clamp;
}

static void first_segments_are_acknowledged_at_once(void **unused)
{
    (void)unused;
    established();
    for (unsigned i = 0; i < 8; i++) {
        peer("P. %u:%u(100) ack 1", 1 + 100 * i, 101 + 100 * i);
        ours(". 1:1(0) ack %u", 101 + 100 * i);
        nothing();
    }
}

static void every_second_full_segment_is_acknowledged(void **unused)
{
    (void)unused;
    settled();
    for (unsigned at = 1; at < 8001; at += 2000) {
        peer(". %u:%u(1000) ack 1", at, at + 1000);
        nothing();
        peer(". %u:%u(1000) ack 1", at + 1000, at + 2000);
        ours(". 1:1(0) ack %u", at + 2000);
        nothing();
    }
}

static void lone_segment_is_acknowledged_after_40_ms(void **unused)
{
    (void)unused;
    settled();
    peer("P. 1:101(100) ack 1");
    after_ms(39);
    assert_true(events_taken() & STACK_EVENT_DATA);
    nothing();
    after_ms(1);
    ours(". 1:1(0) ack 101");
}

static void data_shortly_before_it_is_due_brings_the_ack(void **unused)
{
    (void)unused;
    settled();
    peer("P. 1:101(100) ack 1");
    after_ms(20);
    peer("P. 101:201(100) ack 1");
    nothing();
    after_ms(11);
    peer("P. 201:301(100) ack 1");
    ours(". 1:1(0) ack 301");
}

/** The delay follows the pace, but not beyond the round trip, nor 0.5 s (RFC 9293 MUST-40). */
static void slow_data_is_acknowledged_later(void **unused)
{
    (void)unused;
    settled();
    script.connection->congestion.srtt_eighth = 8 * 100000;
    script.connection->receive.ack_delay_us = 1000000;
    peer("P. 1:101(100) ack 1");
    after_ms(99);
    nothing();
    after_ms(1);
    ours(". 1:1(0) ack 101");
    script.connection->congestion.srtt_eighth = 8 * 10000000;
    script.connection->receive.ack_delay_us = 1000000;
    peer("P. 101:201(100) ack 1");
    after_ms(200);
    ours(". 1:1(0) ack 201");
}

static void answer_carries_the_ack(void **unused)
{
    (void)unused;
    established();
    peer("P. 1:101(100) ack 1");
    app_read_all();
    app_send(50);
    ours("P. 1:51(50) ack 101");
    nothing();
    peer("P. 101:201(100) ack 51");
    app_read_all();
    nothing();
    app_send(50);
    ours("P. 51:101(50) ack 201");
    nothing();
}

static void quickack_acknowledges_what_was_read(void **unused)
{
    (void)unused;
    settled();
    peer("P. 1:101(100) ack 1");
    tcp_quickack(script.stack, script.connection, true);
    nothing(); /* not before it is read */
    app_read_all();
    tcp_quickack(script.stack, script.connection, true);
    ours(". 1:1(0) ack 101");
    peer("P. 101:201(100) ack 1");
    nothing(); /* nor once and for all */
}

static void gap_is_acknowledged_at_once_with_sack(void **unused)
{
    (void)unused;
    established();
    peer(". 1001:2001(1000) ack 1");
    assert_int_equal(script.result.place_offset, 1000);
    assert_int_equal(script.result.place_length, 1000);
    ours(". 1:1(0) ack 1 <nop,nop,TS,nop,nop,sack 1001:2001>");
    assert_true(tcp_has_out_of_order(script.connection));
    assert_int_equal(tcp_received_high_offset(script.connection), 2000);
    assert_int_equal(events_taken(), 0);
    peer(". 1:1001(1000) ack 1");
    ours(". 1:1(0) ack 2001 <nop,nop,TS>");
    assert_int_equal(events_taken(), STACK_EVENT_DATA);
    assert_int_equal(tcp_received_offset(script.connection), 2000);
}

static void newest_block_is_reported_first(void **unused)
{
    (void)unused;
    established();
    peer(". 2001:3001(1000) ack 1");
    ours(". 1:1(0) ack 1 <nop,nop,TS,nop,nop,sack 2001:3001>");
    peer(". 6001:7001(1000) ack 1");
    ours(". 1:1(0) ack 1 <nop,nop,TS,nop,nop,sack 6001:7001 2001:3001>");
    peer(". 4001:5001(1000) ack 1");
    ours(". 1:1(0) ack 1 <nop,nop,TS,nop,nop,sack 4001:5001 6001:7001 2001:3001>");
    peer(". 8001:9001(1000) ack 1");
    ours(". 1:1(0) ack 1 <nop,nop,TS,nop,nop,sack 8001:9001 4001:5001 6001:7001>");
    peer(". 3001:4001(1000) ack 1");
    ours(". 1:1(0) ack 1 <nop,nop,TS,nop,nop,sack 2001:5001 8001:9001 6001:7001>");
    peer(". 1:2001(2000) ack 1");
    ours(". 1:1(0) ack 5001 <nop,nop,TS,nop,nop,sack 8001:9001 6001:7001>");
}

static void out_of_order_without_sack_gets_duplicate_acks(void **unused)
{
    (void)unused;
    settled();
    peer(". 1001:2001(1000) ack 1");
    peer(". 2001:3001(1000) ack 1");
    peer(". 3001:4001(1000) ack 1");
    ours(". 1:1(0) ack 1");
    ours(". 1:1(0) ack 1");
    ours(". 1:1(0) ack 1");
    nothing();
    peer(". 1:1001(1000) ack 1");
    ours(". 1:1(0) ack 4001");
}

static void duplicate_is_reported_by_dsack(void **unused)
{
    (void)unused;
    established();
    peer("P. 1:1001(1000) ack 1");
    ours(". 1:1(0) ack 1001 <nop,nop,TS>");
    peer("P. 1:1001(1000) ack 1");
    ours(". 1:1(0) ack 1001 <nop,nop,TS,nop,nop,sack 1:1001>");
    assert_int_equal(script.result.place_length, 0);
    assert_int_equal(drops(DROP_TCP_OLD_DUPLICATE), 1);
    nothing();
}

static void duplicate_beyond_a_gap_is_reported_by_dsack(void **unused)
{
    (void)unused;
    established();
    peer(". 2001:3001(1000) ack 1");
    ours(". 1:1(0) ack 1 <nop,nop,TS,nop,nop,sack 2001:3001>");
    peer(". 2001:3001(1000) ack 1");
    ours(". 1:1(0) ack 1 <nop,nop,TS,nop,nop,sack 2001:3001 2001:3001>");
}

static void duplicates_of_one_burst_make_one_dsack(void **unused)
{
    (void)unused;
    established();
    peer(". 1:1001(1000) ack 1");
    peer(". 1001:2001(1000) ack 1");
    ours(". 1:1(0) ack 2001");
    peer(". 1:1001(1000) ack 1");
    peer(". 1001:2001(1000) ack 1");
    ours(". 1:1(0) ack 2001 <nop,nop,TS,nop,nop,sack 1:2001>");
    peer(". 1:501(500) ack 1");
    ours(". 1:1(0) ack 2001 <nop,nop,TS,nop,nop,sack 1:501>"); /* once */
}

static void overlap_is_placed_from_where_it_is_new(void **unused)
{
    (void)unused;
    established();
    peer("P. 1:1001(1000) ack 1");
    ours(". 1:1(0) ack 1001");
    peer("P. 501:1501(1000) ack 1");
    assert_int_equal(script.result.place_skip, 500);
    assert_int_equal(script.result.place_offset, 1000);
    assert_int_equal(script.result.place_length, 500);
    ours(". 1:1(0) ack 1501");
}

static void fin_beyond_a_gap_waits_for_it(void **unused)
{
    (void)unused;
    established();
    peer("FP. 1001:2001(1000) ack 1");
    ours(". 1:1(0) ack 1");
    assert_int_equal(events_taken(), 0);
    peer(". 1:1001(1000) ack 1");
    ours(". 1:1(0) ack 2002");
    assert_int_equal(events_taken(), STACK_EVENT_DATA | STACK_EVENT_FIN);
    assert_int_equal(tcp_received_offset(script.connection), 2000);
    assert_int_equal(state(), TCP_STATE_CLOSE_WAIT);
}

static void payload_beyond_the_fin_is_ignored(void **unused)
{
    (void)unused;
    established();
    peer("F. 1001:1001(0) ack 1");
    ours(". 1:1(0) ack 1");
    peer(". 1001:2001(1000) ack 1");
    assert_int_equal(script.result.place_length, 0);
    ours(". 1:1(0) ack 1");
    peer(". 1:1001(1000) ack 1");
    assert_int_equal(tcp_received_offset(script.connection), 1000);
    assert_int_equal(state(), TCP_STATE_CLOSE_WAIT);
}

static void refused_payload_is_not_acknowledged(void **unused)
{
    (void)unused;
    established();
    script.refuse_payload = true;
    peer("FP. 1:1001(1000) ack 1");
    assert_int_equal(script.result.drop, DROP_NO_HOST_MEMORY);
    ours(". 1:1(0) ack 1");
    script.refuse_payload = false;
    peer("FP. 1:1001(1000) ack 1");
    assert_int_equal(tcp_received_offset(script.connection), 1000);
}

static void nothing_is_sent_while_payload_is_being_placed(void **unused)
{
    (void)unused;
    established();
    peer("P. 1:101(100) ack 1");
    tcp_placement_begin(script.connection);
    app_send(10);
    nothing();
    tcp_placement_end(script.stack, script.connection);
    ours("P. 1:11(10) ack 101");
}

static void urgent_mark_is_told(void **unused)
{
    (void)unused;
    established();
    peer("PU. 1:11(10) ack 1 urg 5");
    assert_int_equal(events_taken(), STACK_EVENT_URGENT | STACK_EVENT_DATA);
    assert_int_equal(tcp_urgent_offset(script.connection), 5);
}

static void interval_pool_exhaustion_drops_and_counts(void **unused)
{
    (void)unused;
    script.config.intervals_max = 2;
    script_restart();
    established();
    peer(". 1001:1101(100) ack 1");
    peer(". 2001:2101(100) ack 1");
    peer(". 3001:3101(100) ack 1");
    assert_int_equal(drops(DROP_INTERVAL_LIMIT), 1);
    assert_int_equal(script.result.place_length, 0);
    peer(". 1:1001(1000) ack 1");
    assert_int_equal(tcp_received_offset(script.connection), 1100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(first_segments_are_acknowledged_at_once),
        TEST(every_second_full_segment_is_acknowledged),
        TEST(lone_segment_is_acknowledged_after_40_ms),
        TEST(data_shortly_before_it_is_due_brings_the_ack),
        TEST(slow_data_is_acknowledged_later),
        TEST(answer_carries_the_ack),
        TEST(quickack_acknowledges_what_was_read),
        TEST(gap_is_acknowledged_at_once_with_sack),
        TEST(newest_block_is_reported_first),
        TEST(out_of_order_without_sack_gets_duplicate_acks),
        TEST(duplicate_is_reported_by_dsack),
        TEST(duplicate_beyond_a_gap_is_reported_by_dsack),
        TEST(duplicates_of_one_burst_make_one_dsack),
        TEST(overlap_is_placed_from_where_it_is_new),
        TEST(fin_beyond_a_gap_waits_for_it),
        TEST(payload_beyond_the_fin_is_ignored),
        TEST(refused_payload_is_not_acknowledged),
        TEST(nothing_is_sent_while_payload_is_being_placed),
        TEST(urgent_mark_is_told),
        TEST(interval_pool_exhaustion_drops_and_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
