/* What TCP_INFO says of time and rate: delivery rate, what limits sending, ages. */
#include "script.h"

static void delivery_rate_is_what_arrived_in_a_round_trip(void **unused)
{
    (void)unused;
    established();
    app_send(10 * 1448);
    assert_int_equal(ours_any(), 10);
    after_ms(100);
    peer(". 1:1(0) ack 14481 win 1000");
    /* The sample is the first segment: everything arrived in the 100 ms since it was sent. */
    assert_in_range(info().delivery_rate_bytes_per_s, 144000, 145000);
    assert_true(info().app_limited);
}

static void sample_of_a_full_window_is_not_application_limited(void **unused)
{
    (void)unused;
    established();
    app_send(100 * 1448);
    assert_int_equal(ours_any(), 10);
    after_ms(100);
    peer(". 1:1(0) ack 14481 win 10000");
    assert_true(info().app_limited); /* the first flight began with an empty buffer */
    assert_int_equal(ours_any(), 20);
    after_ms(100);
    peer(". 1:1(0) ack 43441 win 10000");
    assert_false(info().app_limited);
    assert_in_range(info().delivery_rate_bytes_per_s, 289000, 290000);
}

static void slower_application_does_not_lower_the_rate(void **unused)
{
    (void)unused;
    established();
    app_send(10 * 1448);
    ours_any();
    after_ms(100);
    peer(". 1:1(0) ack 14481 win 1000");
    uint64_t rate = info().delivery_rate_bytes_per_s;
    app_send(100);
    assert_int_equal(ours_any(), 1);
    app_send(50); /* held back by Nagle: the window is not full */
    app_send(50);
    after_ms(100);
    peer(". 1:1(0) ack 14581 win 1000");
    ours_any();
    after_ms(100);
    peer(". 1:1(0) ack 14681 win 1000");
    assert_int_equal(info().delivery_rate_bytes_per_s, rate);
}

static void retransmission_spoils_the_sample(void **unused)
{
    (void)unused;
    established_plain(50000);
    app_send(1000);
    ours_any();
    after_ms(300);
    assert_int_equal(ours_any(), 1);
    peer(". 1:1(0) ack 1001 win 50000");
    assert_int_equal(info().delivery_rate_bytes_per_s, 0);
}

static void busy_time_counts_while_anything_is_unacknowledged(void **unused)
{
    (void)unused;
    established();
    after_ms(1000);
    assert_int_equal(info().busy_time_ns, 0);
    app_send(1000);
    assert_int_equal(ours_any(), 1);
    after_ms(30);
    assert_int_equal(info().busy_time_ns / NS_PER_MS, 30);
    peer(". 1:1(0) ack 1001 win 1000");
    after_ms(1000);
    assert_int_equal(info().busy_time_ns / NS_PER_MS, 30);
    assert_int_equal(info().rwnd_limited_ns, 0);
    assert_int_equal(info().sndbuf_limited_ns, 0);
}

static void time_behind_the_peers_window_counts(void **unused)
{
    (void)unused;
    established_plain(2000);
    app_send(5000);
    assert_int_equal(ours_any(), 2);
    after_ms(50);
    assert_int_equal(info().rwnd_limited_ns / NS_PER_MS, 50);
    peer(". 1:1(0) ack 2001 win 5000");
    assert_int_equal(ours_any(), 3);
    after_ms(20);
    assert_int_equal(info().rwnd_limited_ns / NS_PER_MS, 50);
    assert_int_equal(info().busy_time_ns / NS_PER_MS, 70);
}

static void time_with_a_full_send_buffer_counts(void **unused)
{
    (void)unused;
    established();
    struct tcp_options_set options = app_options();
    options.send_buffer = 4 * 1448;
    app_set_options(options);
    app_send(4 * 1448);
    assert_int_equal(ours_any(), 4);
    after_ms(40);
    assert_int_equal(info().sndbuf_limited_ns / NS_PER_MS, 40);
    assert_int_equal(info().busy_time_ns / NS_PER_MS, 40);
}

static void ages_count_from_the_handshake_before_any_data(void **unused)
{
    (void)unused;
    established();
    after_ms(70);
    assert_int_equal(info().last_data_recv_ns / NS_PER_MS, 70);
    assert_int_equal(info().last_data_sent_ns / NS_PER_MS, 70);
}

static void nodelay_pushes_what_cork_held_back_once(void **unused)
{
    (void)unused;
    established();
    struct tcp_options_set options = app_options();
    options.cork = true;
    app_set_options(options);
    app_send(100);
    nothing();
    options.nodelay = true;
    app_set_options(options);
    ours("P. 1:101(100) ack 1");
    app_send(100);
    nothing();
}

static void bytes_sent_count_payload_and_what_of_it_goes_again(void **unused)
{
    (void)unused;
    established();
    app_send(1000);
    ours("P. 1:1001(1000) ack 1");
    app_close();
    ours("F. 1001:1001(0) ack 1");
    assert_int_equal(info().bytes_sent, 1000);
    after_ms(210); /* the tail probe: the FIN, which is no payload (as Linux) */
    ours("F. 1001:1001(0) ack 1");
    assert_int_equal(info().bytes_retrans, 0);
    after_ms(300);
    ours("FP. 1:1001(1000) ack 1");
    assert_int_equal(info().bytes_retrans, 1000);
    assert_int_equal(info().bytes_sent, 2000);
}

/** What a connection takes besides its struct once it has sent and received undisturbed: nothing.
 */
static void idle_connection_holds_no_parts(void **unused)
{
    (void)unused;
    established();
    const struct tcp_connection *c = script.connection;
    peer("P. 1:101(100) ack 1");
    app_send(100);
    ours("P. 1:101(100) ack 101");
    assert_non_null(c->flight.first);
    peer(". 101:101(0) ack 101");
    assert_null(c->flight.first);
    assert_ptr_equal(c->rare->recovery, &tcp_recovery_none);
    assert_ptr_equal(c->rare->reassembly, &tcp_reassembly_none);
    assert_ptr_equal(c->rare, &tcp_rare_none);
    assert_false(c->queued);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(delivery_rate_is_what_arrived_in_a_round_trip),
        TEST(sample_of_a_full_window_is_not_application_limited),
        TEST(slower_application_does_not_lower_the_rate),
        TEST(retransmission_spoils_the_sample),
        TEST(busy_time_counts_while_anything_is_unacknowledged),
        TEST(time_behind_the_peers_window_counts),
        TEST(time_with_a_full_send_buffer_counts),
        TEST(ages_count_from_the_handshake_before_any_data),
        TEST(nodelay_pushes_what_cork_held_back_once),
        TEST(bytes_sent_count_payload_and_what_of_it_goes_again),
        TEST(idle_connection_holds_no_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
