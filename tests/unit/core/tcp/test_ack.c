/* The acknowledgement half: which ACKs count, window updates, events, round-trip samples. */
#include "script.h"

static void ack_frees_and_is_told(void **unused)
{
    (void)unused;
    established();
    app_send(100);
    ours("P. 1:101(100) ack 1");
    after_ms(30);
    peer(". 1:1(0) ack 101");
    assert_int_equal(events_taken(), STACK_EVENT_ACKED);
    assert_int_equal(tcp_acked_offset(script.connection), 100);
    assert_int_equal(info().srtt_ns, 12500 * NS_PER_US);
}

static void partial_ack_of_a_segment_counts(void **unused)
{
    (void)unused;
    established();
    app_send(100);
    ours("P. 1:101(100) ack 1");
    peer(". 1:1(0) ack 51");
    assert_int_equal(tcp_acked_offset(script.connection), 50);
}

static void ack_of_what_was_not_sent_is_challenged(void **unused)
{
    (void)unused;
    established();
    peer("P. 1:11(10) ack 50");
    assert_int_equal(script.result.drop, DROP_TCP_BAD_ACK);
    assert_int_equal(script.result.place_length, 0);
    ours(". 1:1(0) ack 1");
    nothing();
}

static void old_ack_is_ignored_but_its_payload_counts(void **unused)
{
    (void)unused;
    established();
    app_send(100);
    ours("P. 1:101(100) ack 1");
    peer(". 1:1(0) ack 101");
    peer("P. 1:11(10) ack 51");
    assert_int_equal(script.result.place_length, 10);
    assert_int_equal(tcp_acked_offset(script.connection), 100);
}

static void far_too_old_ack_is_challenged(void **unused)
{
    (void)unused;
    established_plain(2000);
    for (unsigned at = 1; at < 8001; at += 1000) {
        app_send(1000);
        assert_int_equal(ours_any(), 1);
        peer(". 1:1(0) ack %u win 2000", at + 1000);
    }
    peer("P. 1:11(10) ack 1");
    assert_int_equal(script.result.drop, DROP_TCP_BAD_ACK);
    ours(". 8001:8001(0) ack 1");
    assert_int_equal(stack_get_counters(script.stack)->challenge_acks, 1);
}

/** What an old duplicate may acknowledge is told by the largest window that ever was. */
static void ack_from_before_the_window_shrank_is_merely_old(void **unused)
{
    (void)unused;
    established_plain(5000);
    for (unsigned at = 1; at < 4001; at += 1000) {
        app_send(1000);
        assert_int_equal(ours_any(), 1);
        peer(". 1:1(0) ack %u win 1000", at + 1000);
    }
    peer("P. 1:11(10) ack 1 win 1000");
    assert_int_equal(script.result.drop, DROP_NONE);
    assert_int_equal(script.placed_length, 10);
    assert_int_equal(stack_get_counters(script.stack)->challenge_acks, 0);
}

static void segment_without_ack_is_dropped(void **unused)
{
    (void)unused;
    established();
    peer("P 1:11(10)");
    assert_int_equal(script.result.drop, DROP_TCP_BAD_FLAGS);
    nothing();
}

static void older_segment_does_not_update_the_window(void **unused)
{
    (void)unused;
    established_plain(4000);
    peer("P. 1:101(100) ack 1 win 4000");
    peer(". 101:101(0) ack 1 win 3000");
    assert_int_equal(info().snd_wnd, 3000);
    peer(". 1:1(0) ack 1 win 5000");
    assert_int_equal(info().snd_wnd, 3000);
    peer(". 101:101(0) ack 1 win 5000");
    assert_int_equal(info().snd_wnd, 5000);
}

static void paws_drops_a_segment_with_an_older_timestamp(void **unused)
{
    (void)unused;
    established();
    peer("P. 1:11(10) ack 1 <nop,nop,TS val 200 ecr 0>");
    assert_int_equal(ours_any(), 1);
    peer("P. 11:21(10) ack 1 <nop,nop,TS val 150 ecr 0>");
    assert_int_equal(script.result.drop, DROP_TCP_PAWS);
    ours(". 1:1(0) ack 11 <nop,nop,TS val 10 ecr 200>");
    peer("P. 11:21(10) ack 1 <nop,nop,TS val 201 ecr 0>");
    assert_int_equal(tcp_received_offset(script.connection), 20);
}

static void paws_lets_pass_after_24_days_of_silence(void **unused)
{
    (void)unused;
    established();
    after_ms(UINT64_C(23) * 24 * 3600 * 1000);
    peer("P. 1:11(10) ack 1 <nop,nop,TS val 50 ecr 0>");
    assert_int_equal(script.result.drop, DROP_TCP_PAWS);
    ours_any();
    after_ms(UINT64_C(2) * 24 * 3600 * 1000);
    peer("P. 1:11(10) ack 1 <nop,nop,TS val 50 ecr 0>");
    assert_int_equal(tcp_received_offset(script.connection), 10);
}

static void silence_counts_from_the_last_timestamp(bool no_prediction)
{
    script.config.no_prediction = no_prediction;
    script_restart();
    established();
    after_ms(UINT64_C(20) * 24 * 3600 * 1000);
    peer("P. 1:11(10) ack 1 <nop,nop,TS val 200 ecr 0>");
    assert_int_equal(ours_any(), 1);
    after_ms(UINT64_C(10) * 24 * 3600 * 1000);
    peer("P. 11:21(10) ack 1 <nop,nop,TS val 190 ecr 0>");
    assert_int_equal(script.result.drop, DROP_TCP_PAWS);
}

static void paws_counts_the_silence_since_the_last_timestamp(void **unused)
{
    (void)unused;
    silence_counts_from_the_last_timestamp(false);
    silence_counts_from_the_last_timestamp(true);
}

/** Of two segments that one ACK answers. */
static void expect_earliest_echoed(bool no_prediction)
{
    script.config.no_prediction = no_prediction;
    script_restart();
    established();
    peer(". 1:101(100) ack 1 <nop,nop,TS val 200 ecr 0>");
    peer(". 101:201(100) ack 1 <nop,nop,TS val 210 ecr 0>");
    ours(". 1:1(0) ack 201 <nop,nop,TS val 10 ecr 200>");
}

static void earliest_timestamp_that_an_ack_answers_is_echoed(void **unused)
{
    (void)unused;
    expect_earliest_echoed(false);
    expect_earliest_echoed(true);
}

static void timestamp_of_an_out_of_order_segment_is_not_echoed(void **unused)
{
    (void)unused;
    established();
    peer(". 1001:2001(1000) ack 1 <nop,nop,TS val 300 ecr 0>");
    ours(". 1:1(0) ack 1 <nop,nop,TS val 10 ecr 110,nop,nop,sack 1001:2001>");
    peer(". 1:1001(1000) ack 1 <nop,nop,TS val 301 ecr 0>");
    ours(". 1:1(0) ack 2001 <nop,nop,TS val 10 ecr 301>");
}

static void keepalive_probe_is_answered(void **unused)
{
    (void)unused;
    established();
    peer(". 0:0(0) ack 1");
    ours(". 1:1(0) ack 1");
}

static void answers_to_stray_segments_are_limited(void **unused)
{
    (void)unused;
    established();
    for (unsigned i = 0; i < 10; i++)
        peer(". 0:0(0) ack 1");
    ours(". 1:1(0) ack 1");
    nothing();
    after_ms(500);
    peer(". 0:0(0) ack 1");
    ours(". 1:1(0) ack 1");
}

static void segment_beyond_the_window_is_answered(void **unused)
{
    (void)unused;
    established();
    peer(". 200001:200101(100) ack 1");
    assert_int_equal(script.result.drop, DROP_TCP_OUT_OF_WINDOW);
    ours(". 1:1(0) ack 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ack_frees_and_is_told),
        TEST(partial_ack_of_a_segment_counts),
        TEST(ack_of_what_was_not_sent_is_challenged),
        TEST(old_ack_is_ignored_but_its_payload_counts),
        TEST(far_too_old_ack_is_challenged),
        TEST(ack_from_before_the_window_shrank_is_merely_old),
        TEST(segment_without_ack_is_dropped),
        TEST(older_segment_does_not_update_the_window),
        TEST(paws_drops_a_segment_with_an_older_timestamp),
        TEST(paws_lets_pass_after_24_days_of_silence),
        TEST(paws_counts_the_silence_since_the_last_timestamp),
        TEST(earliest_timestamp_that_an_ack_answers_is_echoed),
        TEST(timestamp_of_an_out_of_order_segment_is_not_echoed),
        TEST(keepalive_probe_is_answered),
        TEST(answers_to_stray_segments_are_limited),
        TEST(segment_beyond_the_window_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
