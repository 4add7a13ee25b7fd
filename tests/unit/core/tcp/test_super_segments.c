/* Segments that leave several at a time, cut by the port, and that arrive joined. */
#include "script.h"

#include <errno.h>

#define MSS 1448

static void round_trip_is(uint32_t rtt_us)
{
    script.connection->congestion.min_rtt_us = rtt_us;
    script.connection->congestion.srtt_eighth = 8 * rtt_us;
}

/** On a short path, where a millisecond's worth is much. */
static void established_with_offload(void)
{
    script.gso_bytes_max = 65000;
    established();
    round_trip_is(100);
}

/** The same, MSS 1000. */
static void established_plain_with_offload(unsigned window)
{
    script.gso_bytes_max = 65000;
    established_plain(window);
    round_trip_is(100);
}

/** A window's worth may go out, in pieces of half a window at most. */
static void open_window(unsigned segments)
{
    script.connection->hot.cwnd = segments * MSS;
    script.connection->hot.snd_wnd = 2 * segments * MSS;
}

static void half_the_window_goes_at_once(void **unused)
{
    (void)unused;
    established_with_offload();
    app_send(10 * MSS + 100);
    ours("P. 1:7241(7240) ack 1 gso 1448");
    ours("P. 7241:14481(7240) ack 1 gso 1448");
    nothing();
    peer(". 1:1(0) ack 14481 win 512");
    ours("P. 14481:14581(100) ack 1");
}

static void as_much_as_the_port_takes(void **unused)
{
    (void)unused;
    established_with_offload();
    script.gso_bytes_max = 5000;
    app_send(8 * MSS);
    ours("P. 1:4345(4344) ack 1 gso 1448");
    ours("P. 4345:8689(4344) ack 1 gso 1448");
    ours("P. 8689:11585(2896) ack 1 gso 1448");
    script.gso_bytes_max = 2895; /* not even two */
    peer(". 1:1(0) ack 11585 win 512");
    app_send(2 * MSS);
    ours(". 11585:13033(1448) ack 1");
    ours("P. 13033:14481(1448) ack 1");
}

static void long_paths_send_less_at_once(void **unused)
{
    (void)unused;
    established_with_offload();
    round_trip_is(20000);
    open_window(100); /* 8.7 MB/s in slow start: 8.5 KB in 1/1024 s, of the port's 65 KB nothing */
    script.connection->congestion.ssthresh = 1000 * MSS;
    app_send(20 * MSS);
    ours("P. 1:13033(13032) ack 1 gso 1448");
    ours("P. 13033:26065(13032) ack 1 gso 1448");
    ours("P. 26065:28961(2896) ack 1 gso 1448");
    peer(". 1:1(0) ack 28961 win 512");
    round_trip_is(200000);
    app_send(4 * MSS); /* slow as it may be, two */
    ours("P. 28961:31857(2896) ack 1 gso 1448");
    ours("P. 31857:34753(2896) ack 1 gso 1448");
}

static void pacing_bounds_what_goes_at_once(void **unused)
{
    (void)unused;
    struct tcp_options_set *options = tcp_listener_options(script.listener);
    options->max_pacing_rate = MSS * UINT64_C(5000);
    established_with_offload();
    open_window(1000);
    app_send(10 * MSS); /* the first ten are not paced, but not more at once than the rate allows */
    ours("P. 1:7241(7240) ack 1 gso 1448");
    ours("P. 7241:14481(7240) ack 1 gso 1448");
    after_ms(1);
    peer(". 1:1(0) ack 14481 win 512");
    open_window(1000);
    app_send(10 * MSS);
    ours("P. 14481:21721(7240) ack 1 gso 1448");
    nothing();
    after_us(500); /* nothing was sent for a while: half of the burst was free */
    ours("P. 21721:28961(7240) ack 1 gso 1448");
}

static void peers_window_ends_within_a_piece(void **unused)
{
    (void)unused;
    established_plain_with_offload(4500);
    app_send(10000);
    ours("P. 1:4501(4500) ack 1 gso 1000"); /* all of the window, as Linux */
    nothing();
    peer(". 1:1(0) ack 2501 win 4500");        /* within the third */
    ours("P. 4501:6501(2000) ack 1 gso 1000"); /* 500 bytes of window are left: Nagle */
    nothing();
}

static void fin_goes_with_the_last(void **unused)
{
    (void)unused;
    established_with_offload();
    app_send_more(3 * MSS + 10);
    ours("P. 1:4345(4344) ack 1 gso 1448");
    app_shutdown_write();
    ours("FP. 4345:4355(10) ack 1");
    peer(". 1:1(0) ack 1 win 512");
    nothing();
    peer(". 1:1(0) ack 4356 win 512");
    assert_int_equal(state(), TCP_STATE_FIN_WAIT_2);
}

static void fin_goes_with_several(void **unused)
{
    (void)unused;
    established_plain_with_offload(3000);
    app_send(5000);
    ours("P. 1:3001(3000) ack 1 gso 1000");
    app_shutdown_write();
    peer(". 1:1(0) ack 3001 win 5000");
    ours("FP. 3001:5001(2000) ack 1 gso 1000");
    peer(". 1:1(0) ack 5002 win 5000");
    assert_int_equal(state(), TCP_STATE_FIN_WAIT_2);
}

static void only_what_was_lost_is_sent_again(void **unused)
{
    (void)unused;
    established_with_offload();
    app_send(10 * MSS);
    assert_int_equal(ours_any(), 2);
    after_ms(20);
    /* The second and the seventh of ten were lost. */
    peer(". 1:1(0) ack 1449 win 512 <nop,nop,sack 2897:8689>");
    peer(". 1:1(0) ack 1449 win 512 <nop,nop,sack 10137:14481 2897:8689>");
    ours(". 1449:2897(1448) ack 1");
    after_ms(10);
    ours(". 8689:10137(1448) ack 1");
    peer(". 1:1(0) ack 14481 win 512");
    nothing();
    assert_int_equal(info().total_retrans, 2);
    assert_int_equal(info().bytes_retrans, 2 * MSS);
    assert_int_equal(info().lost, 0);
}

static void tail_of_a_piece_is_probed_for(void **unused)
{
    (void)unused;
    established_with_offload();
    app_send(3 * MSS);
    ours("P. 1:4345(4344) ack 1 gso 1448");
    peer(". 1:1(0) ack 1449 win 512");
    nothing();
    after_ms(30);
    ours("P. 2897:4345(1448) ack 1"); /* the last segment, not the piece */
}

static void timeout_repeats_what_was_one_burst_as_the_window_grows(void **unused)
{
    (void)unused;
    established_plain_with_offload(65535);
    app_send(4000);
    assert_int_equal(ours_any(), 1);
    after_ms(1200);
    ours(". 1:1001(1000) ack 1");
    nothing();
    peer(". 1:1(0) ack 1001 win 5000");
    ours("P. 1001:3001(2000) ack 1 gso 1000");
    peer(". 1:1(0) ack 4001 win 5000");
    nothing();
}

static void smaller_path_mtu_cuts_smaller(void **unused)
{
    (void)unused;
    established_with_offload();
    app_send(3 * MSS);
    ours("P. 1:4345(4344) ack 1 gso 1448");
    tcp_icmp_arrives(script.stack, script.connection, TCP_ICMP_PACKET_TOO_BIG, EMSGSIZE, 1000,
                     seq_of(script.our_iss + 1), script.now_ns);
    after_us(0);
    ours("P. 1:4345(4344) ack 1 gso 948");
    peer(". 1:1(0) ack 4345 win 512");
    app_send(4 * 948);
    ours("P. 4345:8137(3792) ack 1 gso 948");
}

static void urgent_pointer_is_in_each_segment_its_own(void **unused)
{
    (void)unused;
    established_with_offload();
    open_window(8);
    app_send(8 * MSS);
    assert_int_equal(ours_any(), 2);
    app_send_more(2 * MSS);
    tcp_send_urgent(script.stack, script.connection, script.now_ns);
    app_send(4 * MSS);
    peer(". 1:1(0) ack %u win 512", 8 * MSS + 1);
    ours("U. 11585:13033(1448) ack 1 urg 2896");
    ours("U. 13033:14481(1448) ack 1 urg 1448");
    ours("P. 14481:20273(5792) ack 1 gso 1448");
}

static void congestion_is_answered_in_one_segment(void **unused)
{
    (void)unused;
    script.gso_bytes_max = 65000;
    peer("SEW 0:0(0) win 65535 <mss 1460,sackOK,nop,nop,nop,wscale 7>");
    ours("SE. 0:0(0) ack 1");
    peer(". 1:1(0) ack 1 win 512");
    app_send(30 * 1460);
    assert_int_equal(ours_any(), 2);
    peer("E. 1:1(0) ack 14601 win 512");
    ours("W. 14601:16061(1460) ack 1");
    ours("P. 16061:20441(4380) ack 1 gso 1460");
}

static void tcp_info_counts_segments(void **unused)
{
    (void)unused;
    established_with_offload();
    uint32_t out = info().segs_out, in = info().segs_in;
    uint64_t all = stack_get_counters(script.stack)->segments_out;
    app_send(4 * MSS);
    ours("P. 1:5793(5792) ack 1 gso 1448");
    assert_int_equal(info().segs_out - out, 4);
    assert_int_equal(info().data_segs_out, 4);
    assert_int_equal(info().unacked, 4);
    assert_int_equal(stack_get_counters(script.stack)->segments_out - all, 4);
    script.peer_gso_size = 1000;
    peer("P. 1:3501(3500) ack 5793");
    assert_int_equal(info().segs_in - in, 4);
    assert_int_equal(info().data_segs_in, 4);
    assert_int_equal(info().rcv_mss, 1000);
}

static void joined_segments_are_acknowledged_as_two_would(void **unused)
{
    (void)unused;
    established_with_offload();
    for (unsigned i = 0; i < 20; i++) { /* past the quick ACKs at the start */
        peer(". %u:%u(1000) ack 1", 1 + 1000 * i, 1001 + 1000 * i);
        (void)ours_any();
    }
    app_read_all();
    after_ms(100);
    (void)ours_any();
    script.connection->hot.quick_acks = 0;
    peer(". 20001:21001(1000) ack 1");
    nothing();
    after_ms(100);
    ours(". 1:1(0) ack 21001");
    script.connection->hot.quick_acks = 0;
    script.peer_gso_size = 1000;
    peer(". 21001:23001(2000) ack 1"); /* two full segments, one frame */
    ours(". 1:1(0) ack 23001");
    script.connection->hot.quick_acks = 0;
    peer(". 23001:63001(40000) ack 1");
    ours(". 1:1(0) ack 63001");
    nothing();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(half_the_window_goes_at_once),
        TEST(as_much_as_the_port_takes),
        TEST(long_paths_send_less_at_once),
        TEST(pacing_bounds_what_goes_at_once),
        TEST(peers_window_ends_within_a_piece),
        TEST(fin_goes_with_the_last),
        TEST(fin_goes_with_several),
        TEST(only_what_was_lost_is_sent_again),
        TEST(tail_of_a_piece_is_probed_for),
        TEST(timeout_repeats_what_was_one_burst_as_the_window_grows),
        TEST(smaller_path_mtu_cuts_smaller),
        TEST(urgent_pointer_is_in_each_segment_its_own),
        TEST(congestion_is_answered_in_one_segment),
        TEST(tcp_info_counts_segments),
        TEST(joined_segments_are_acknowledged_as_two_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
