/* Repairs that prove needless, and those that do not: Eifel by timestamps (RFC 3522, 4015), D-SACK
   (RFC 2883, 3708). */
#include "script.h"

#include "core/tcp/congestion.h"

/** The n-th segment's first number on connections with timestamps, and without. */
#define S(n) (1 + (n)*1448u)
#define L(n) (1 + (n)*1460u)

#define UNTOUCHED 0x7fffffff /* ssthresh */

static void without_timestamps(bool ecn)
{
    script.config.tcp.timestamps = false;
    script_restart();
    peer("S%s 0:0(0) win 65535 <mss 1460,sackOK,nop,nop,nop,wscale 7>", ecn ? "EW" : "");
    ours("S%s 0:0(0) ack 1", ecn ? "E." : ".");
    after_ms(10);
    peer(". 1:1(0) ack 1 win 512");
}

/** So many segments in flight, the first of which is sent again as three are SACKed. */
static void one_sent_again(unsigned segments)
{
    app_send(segments * 1460);
    assert_int_equal(ours_any(), segments);
    after_ms(10);
    peer(". 1:1(0) ack 1 win 512 <sack %u:%u>", L(1), L(4));
    ours(". %u:%u(1460) ack 1", L(0), L(1));
}

/** Its original arrives, and then the copy. */
static void both_arrive(unsigned segments)
{
    peer(". 1:1(0) ack %u win 512", L(segments));
    peer(". 1:1(0) ack %u win 512 <sack %u:%u>", L(segments), L(0), L(1));
}

static void timeout_whose_repair_is_echoed_was_real(void **unused)
{
    (void)unused;
    script.config.tcp.tail_probes = false;
    script_restart();
    established();
    app_send(1448);
    ours("P. %u:%u(1448) ack 1 <nop,nop,TS val 10 ecr 110>", S(0), S(1));
    after_ms(210);
    ours("P. %u:%u(1448) ack 1 <nop,nop,TS val 220 ecr 110>", S(0), S(1));
    after_ms(420);
    ours("P. %u:%u(1448) ack 1 <nop,nop,TS val 640 ecr 110>", S(0), S(1));
    peer(". 1:1(0) ack %u <nop,nop,TS val 300 ecr 220>", S(1)); /* the first repair's, late */
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
    assert_int_equal(info().snd_ssthresh, 7);
}

static void repair_not_yet_sent_is_undone_only_with_sack(void **unused)
{
    (void)unused;
    established_plain(50000);
    app_send(6 * 1000);
    assert_int_equal(ours_any(), 6);
    for (unsigned i = 0; i < 3; i++)
        peer(". 1:1(0) ack 1 win 50000");
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
    peer(". 1:1(0) ack 6001 win 50000"); /* before we came to send anything again */
    assert_int_equal(info().snd_ssthresh, 7);

    without_timestamps(false);
    app_send(6 * 1460);
    assert_int_equal(ours_any(), 6);
    peer(". 1:1(0) ack 1 win 512 <sack %u:%u>", L(1), L(4));
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
    peer(". 1:1(0) ack %u win 512", L(6));
    assert_int_equal(info().snd_ssthresh, UNTOUCHED);
}

static void original_is_believed_once_nothing_sent_again_is_on_its_way(void **unused)
{
    (void)unused;
    established();
    app_send(10 * 1448);
    assert_int_equal(ours_any(), 10);
    after_ms(10);
    peer(". 1:1(0) ack 1 <nop,nop,TS val 200 ecr 10,sack %u:%u>", S(2), S(6));
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    ours(". %u:%u(1448) ack 1", S(1), S(2));
    after_ms(1);
    peer(". 1:1(0) ack %u <nop,nop,TS val 200 ecr 10,sack %u:%u>", S(1), S(2), S(6));
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY); /* the second copy is under way */
    peer(". 1:1(0) ack %u <nop,nop,TS val 200 ecr 10>", S(6));
    assert_int_equal(info().snd_ssthresh, UNTOUCHED);
}

static void threshold_after_undoing_is_three_quarters_of_the_window_at_least(void **unused)
{
    (void)unused;
    without_timestamps(false);
    script.connection->congestion.ssthresh = 2 * 1460;
    script.connection->hot.cwnd = 20 * 1460;
    one_sent_again(20);
    both_arrive(20);
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
    assert_int_equal(info().snd_ssthresh, 15);
    assert_true(info().snd_cwnd >= 20);
}

static void slow_start_goes_on_anew_after_undoing(void **unused)
{
    (void)unused;
    without_timestamps(false);
    one_sent_again(10);
    assert_int_equal(script.connection->congestion.own.cubic.w_max, 10 * 1460);
    both_arrive(10);
    assert_int_equal(info().snd_ssthresh, UNTOUCHED);
    assert_int_equal(script.connection->congestion.own.cubic.w_max, 0); /* HyStart++'s again */
}

static void window_that_was_not_reduced_after_all_is_not_announced(void **unused)
{
    (void)unused;
    without_timestamps(true);
    one_sent_again(10);
    both_arrive(10);
    app_send(1460);
    ours("P. %u:%u(1460) ack 1", L(10), L(11)); /* and no CWR */
}

static void undoing_takes_d_sacks_of_its_own_episode(void **unused)
{
    (void)unused;
    without_timestamps(false);
    app_send(1460);
    assert_int_equal(ours_any(), 1);
    after_ms(300);
    assert_int_equal(ours_any(), 1); /* sent again, by the tail probe or the timeout */
    peer(". 1:1(0) ack %u win 512", L(1));
    script.connection->congestion.ssthresh = TCP_SSTHRESH_INFINITE;
    app_send(10 * 1460);
    unsigned sent = ours_any();
    assert_true(sent >= 5);
    after_ms(10);
    peer(". 1:1(0) ack %u win 512 <sack %u:%u>", L(1), L(2), L(5));
    ours(". %u:%u(1460) ack 1", L(1), L(2));
    peer(". 1:1(0) ack %u win 512 <sack %u:%u %u:%u>", L(1), L(0), L(1), L(2), L(5));
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY); /* that was the copy of long ago */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(timeout_whose_repair_is_echoed_was_real),
        TEST(repair_not_yet_sent_is_undone_only_with_sack),
        TEST(original_is_believed_once_nothing_sent_again_is_on_its_way),
        TEST(threshold_after_undoing_is_three_quarters_of_the_window_at_least),
        TEST(slow_start_goes_on_anew_after_undoing),
        TEST(window_that_was_not_reduced_after_all_is_not_announced),
        TEST(undoing_takes_d_sacks_of_its_own_episode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
