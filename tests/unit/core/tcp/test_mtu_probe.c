/* Packetization-layer path MTU discovery (RFC 4821): what a probe's fate means, black holes. */
#include "script.h"

#include <errno.h>

#include "core/ip/path_mtu.h"

#define BASE 1012u /* of 1024, with timestamps */
#define S(n) (1 + (n)*BASE)

/** A connection that always probes, with a window of twenty segments and nothing in flight. */
static void begin(void)
{
    script.config.tcp.mtu_probing = TCP_MTU_PROBING_ALWAYS;
    script_restart();
    connected();
    app_send(10 * BASE);
    assert_int_equal(ours_any(), 10);
    after_ms(10);
    peer(". 1:1(0) ack %u win 512", S(10));
    assert_int_equal(info().snd_cwnd, 20);
}

static void probe_is_sent_only_where_all_that_must_follow_it_fits_the_windows(void **unused)
{
    (void)unused;
    begin();
    app_send(1230 + 4 * BASE - 1); /* not enough behind it */
    ours(". %u:%u(1012) ack 1", S(10), S(11));
    ours_any();
    after_ms(10);
    peer(". 1:1(0) ack %u win %u", S(14) + 1229, (1230 + 4 * BASE) / 128);
    app_send(10 * BASE); /* the peer's window is too small, by less than 128 bytes */
    assert_true(ours_any() > 0);
    assert_int_equal(stack_get_counters(script.stack)->mtu_probes, 0);
}

static void probe_does_not_exceed_the_congestion_window(void **unused)
{
    (void)unused;
    begin();
    script.connection->mtu_probing = false;
    app_send(19 * BASE);
    assert_true(ours_any() > 1);
    script.connection->mtu_probing = true;
    app_send(8 * BASE);
    ours(". %u:%u(1012) ack 1", S(29), S(30)); /* all there is room for */
    nothing();
}

static void segment_lost_before_the_probe_is_congestion(void **unused)
{
    (void)unused;
    begin();
    app_send(2 * BASE);
    assert_int_equal(ours_any(), 2);
    app_send(8 * BASE);
    ours(". %u:%u(1230) ack 1", S(12), S(12) + 1230);
    assert_true(ours_any() > 3);
    after_ms(10);
    unsigned end = S(20);
    peer(". 1:1(0) ack %u win 512 <sack %u:%u>", S(10), S(11), end);
    ours(". %u:%u(1012) ack 1", S(10), S(11));
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
    assert_int_equal(info().snd_ssthresh, 14);
    after_ms(10);
    peer(". 1:1(0) ack %u win 512", end);
    assert_int_equal(info().snd_mss, 1230); /* the probe passed */
}

static void probe_that_a_timeout_cuts_up_proves_nothing(void **unused)
{
    (void)unused;
    begin();
    app_send(8 * BASE);
    ours(". %u:%u(1230) ack 1", S(10), S(10) + 1230);
    ours_any();
    for (unsigned i = 0; i < 3; i++) { /* a tail probe, and the timeout */
        after_ms(300);
        ours_any();
    }
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
    peer(". 1:1(0) ack %u win 512", S(18));
    assert_int_equal(info().snd_mss, BASE);
    assert_int_equal(stack_get_counters(script.stack)->mtu_probe_successes, 0);
}

static void message_about_the_path_ends_the_search_at_its_mtu(void **unused)
{
    (void)unused;
    begin();
    app_send(BASE);
    assert_int_equal(ours_any(), 1);
    tcp_icmp_arrives(script.stack, script.connection, TCP_ICMP_PACKET_TOO_BIG, EMSGSIZE, 1300,
                     seq_of(script.our_iss + S(10)), script.now_ns);
    after_ms(10);
    peer(". 1:1(0) ack %u win 512", S(11));
    app_send(8 * BASE);
    /* Halfway from 1064 to 1300, not to 1500. */
    ours(". %u:%u(1130) ack 1", S(11), S(11) + 1130);
}

static void black_hole_halves_the_size_down_to_48(void **unused)
{
    static const unsigned sizes[] = {1024, 512, 256, 128, 64, 48};
    (void)unused;
    script.config.tcp.mtu_probing = TCP_MTU_PROBING_BLACK_HOLE;
    script_restart();
    peer("S 0:0(0) win 65535 <mss 1460,sackOK,nop,nop,nop,wscale 7>");
    ours("S. 0:0(0) ack 1");
    peer(". 1:1(0) ack 1 win 512");
    app_send(1460);
    unsigned mss = 1460;
    assert_int_equal(ours_any(), 1);
    for (unsigned i = 0, wait = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (; info().snd_mss == mss && wait < 6000; wait++) {
            after_ms(100);
            ours_any();
        }
        mss = sizes[i];
        assert_int_equal(info().snd_mss, mss);
    }
    after_ms(120 * 1000);
    ours_any();
    assert_int_equal(info().snd_mss, 48);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(probe_is_sent_only_where_all_that_must_follow_it_fits_the_windows),
        TEST(probe_does_not_exceed_the_congestion_window),
        TEST(segment_lost_before_the_probe_is_congestion),
        TEST(probe_that_a_timeout_cuts_up_proves_nothing),
        TEST(message_about_the_path_ends_the_search_at_its_mtu),
        TEST(black_hole_halves_the_size_down_to_48),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
