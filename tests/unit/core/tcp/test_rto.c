/* The retransmission timeout (RFC 6298, with Linux's variance) and the shortest round trip. */
#include "script.h"

#include "core/tcp/rto.h"

/* Without timestamps, so that only what was sent tells the round trip. */
static void begin(void)
{
    script.config.tcp.timestamps = false;
    script_restart();
    peer("S 0:0(0) win 65535 <mss 1460,sackOK,nop,nop,nop,wscale 7>");
    ours("S. 0:0(0) ack 1");
    after_ms(10);
    peer(". 1:1(0) ack 1 win 512");
}

/** The first sample of a connection whose variance has a floor of a millisecond: 100 ms. */
static struct tcp_connection *first_sample(void)
{
    begin();
    struct tcp_options_set options = app_options();
    options.rto_min_us = 1000;
    app_set_options(options);
    struct tcp_connection *c = script.connection;
    c->congestion.srtt_eighth = 0;
    tcp_rto_sample(c, 100000);
    assert_int_equal(c->congestion.rto_us, 100000 + 200000);
    return c;
}

static void shorter_round_trip_raises_the_variance_by_an_eighth_of_what_a_longer_does(void **unused)
{
    (void)unused;
    /* 80 ms off a mean deviation of 50 ms: a quarter of the 30 ms, and of that an eighth. */
    struct tcp_connection *c = first_sample();
    tcp_rto_sample(c, 20000);
    assert_int_equal(c->congestion.rto_us, 90000 + 200000 + 30000 / 8);
    c = first_sample();
    tcp_rto_sample(c, 180000);
    assert_int_equal(c->congestion.rto_us, 110000 + 200000 + 30000);
}

/** Acknowledge a byte, after a round trip of 100 ms: a sample, and the end of a round. */
static void steady_round(unsigned acked)
{
    app_send(1);
    assert_int_equal(ours_any(), 1);
    after_ms(100);
    peer(". 1:1(0) ack %u win 512", acked + 1);
}

static void variance_falls_by_a_quarter_of_the_difference_each_round_trip(void **unused)
{
    (void)unused;
    struct tcp_connection *c = first_sample();
    steady_round(1); /* the first sample's round: its deviation is the largest yet */
    assert_int_equal(c->congestion.rto_us, 100000 + 200000);
    steady_round(2); /* the mean deviation falls by a quarter each time: 200, 150, 112.5 ms */
    uint32_t rttvar_us = 200000 - (200000 - 112500) / 4;
    assert_int_equal(c->congestion.rto_us, 100000 + rttvar_us);
    steady_round(3);
    rttvar_us -= (rttvar_us - 112500 * 3 / 4) / 4;
    assert_int_equal(c->congestion.rto_us, 100000 + rttvar_us);
}

static void
acknowledgement_of_what_was_sent_again_is_no_sample_whatever_else_it_covers(void **unused)
{
    (void)unused;
    begin();
    app_send(6 * 1460);
    assert_int_equal(ours_any(), 6);
    after_ms(10);
    peer(". 1:1(0) ack 1 win 512 <sack 1461:5841>");
    ours(". 1:1461(1460) ack 1");
    uint64_t srtt_ns = info().srtt_ns;
    after_ms(50);
    peer(". 1:1(0) ack 8761 win 512"); /* that, and two sent once */
    assert_int_equal(info().srtt_ns, srtt_ns);
}

/** A lone segment of so many bytes is acknowledged after 30 ms. */
static void send_and_ack(unsigned bytes, const char *options)
{
    uint64_t sent = tcp_send_end_offset(script.connection) + bytes;
    app_send(bytes);
    assert_int_equal(ours_any(), 1);
    after_ms(30);
    peer(". 1:1(0) ack %u win 512%s", (unsigned)sent + 1, options);
}

static void expect_shortest(uint64_t us, unsigned mss, const char *options)
{
    after_ms(298 * 1000);
    send_and_ack(mss, options);
    assert_int_equal(info().min_rtt_ns / NS_PER_US, us);
    after_ms(4 * 1000);
    send_and_ack(100, options); /* its acknowledgement may have waited */
    assert_int_equal(info().min_rtt_ns / NS_PER_US, us);
    send_and_ack(mss, options);
    assert_int_equal(info().min_rtt_ns / NS_PER_US, 30000);
}

static void
shortest_round_trip_counts_for_300_s_and_gives_way_to_no_delayed_acknowledgement(void **unused)
{
    (void)unused;
    begin();
    expect_shortest(10000, 1460, "");
    script.config.tcp.timestamps = true; /* then segments are predicted */
    script_restart();
    established();
    expect_shortest(10000, 1448, " <nop,nop,TS val 200 ecr 0>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shorter_round_trip_raises_the_variance_by_an_eighth_of_what_a_longer_does),
        TEST(variance_falls_by_a_quarter_of_the_difference_each_round_trip),
        TEST(acknowledgement_of_what_was_sent_again_is_no_sample_whatever_else_it_covers),
        TEST(shortest_round_trip_counts_for_300_s_and_gives_way_to_no_delayed_acknowledgement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
