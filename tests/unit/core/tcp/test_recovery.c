/* Loss: fast retransmit and recovery with and without SACK, timeouts, tail probes, undo, reneging.
 */
#include "script.h"

/** Ten segments in flight for a round trip of 10 ms; the connection has SACK and timestamps. */
static void ten_in_flight(void)
{
    established();
    app_send(10 * 1448);
    assert_int_equal(ours_any(), 10);
    after_ms(10);
}

/** Without SACK and timestamps; MSS 1000. */
static void ten_in_flight_plain(void)
{
    established_plain(50000);
    app_send(10000);
    assert_int_equal(ours_any(), 10);
}

#define S(n) (1 + (n)*1448u)

static void three_sacked_segments_retransmit_the_hole(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(2));
    nothing();
    assert_int_equal(info().ca_state, TCP_CA_DISORDER);
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(3));
    nothing();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(4));
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    nothing();
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
    assert_int_equal(info().snd_ssthresh, 7);
    assert_int_equal(info().total_retrans, 1);
    assert_int_equal(info().lost, 1);
    assert_int_equal(info().sacked, 3);
    peer(". 1:1(0) ack %u", S(10));
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
    assert_int_equal(info().snd_cwnd, 7);
}

static void limited_transmit_sends_new_data_on_the_first_sacks(void **unused)
{
    (void)unused;
    ten_in_flight();
    app_send(3 * 1448);
    nothing();
    peer(". 1:1(0) ack 1 win 1000 <sack %u:%u>", S(1), S(2));
    ours(". %u:%u(1448) ack 1", S(10), S(11));
    nothing();
    peer(". 1:1(0) ack 1 win 1000 <sack %u:%u>", S(1), S(3));
    ours(". %u:%u(1448) ack 1", S(11), S(12));
}

static void all_holes_below_the_highest_sack_are_repaired(void **unused)
{
    (void)unused;
    ten_in_flight();
    /* 0, 2 and 4 are lost. */
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(2));
    peer(". 1:1(0) ack 1 <sack %u:%u,nop>", S(3), S(4));
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(5), S(6));
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    for (unsigned i = 6; i < 10; i++)
        peer(". 1:1(0) ack 1 <sack %u:%u>", S(5), S(i + 1));
    ours(". %u:%u(1448) ack 1", S(2), S(3));
    ours(". %u:%u(1448) ack 1", S(4), S(5));
    nothing();
    peer(". 1:1(0) ack %u", S(2));
    peer(". 1:1(0) ack %u", S(10));
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
    assert_int_equal(info().total_retrans, 3);
}

static void three_duplicate_acks_retransmit_without_sack(void **unused)
{
    (void)unused;
    ten_in_flight_plain();
    peer(". 1:1(0) ack 1 win 50000");
    peer(". 1:1(0) ack 1 win 50000");
    nothing();
    peer(". 1:1(0) ack 1 win 50000");
    ours(". 1:1001(1000) ack 1");
    nothing();
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
    /* A partial acknowledgement: the next segment is lost too (RFC 6582). */
    peer(". 1:1(0) ack 3001 win 50000");
    ours(". 3001:4001(1000) ack 1");
    nothing();
    peer(". 1:1(0) ack 10001 win 50000");
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
    for (unsigned i = 0; i < 4; i++)
        peer(". 1:1(0) ack 10001 win 50000");
    nothing();
    app_send(1000);
    ours("P. 10001:11001(1000) ack 1");
    for (unsigned i = 0; i < 4; i++)
        peer(". 1:1(0) ack 10001 win 50000");
    nothing();
    peer(". 1:1(0) ack 11001 win 50000");
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
}

static void window_updates_are_not_duplicate_acks(void **unused)
{
    (void)unused;
    ten_in_flight_plain();
    for (unsigned i = 1; i < 6; i++)
        peer(". 1:1(0) ack 1 win %u", 50000 + i);
    nothing();
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
}

static void timeout_retransmits_and_backs_off(void **unused)
{
    (void)unused;
    established_plain(50000);
    app_send(1000);
    ours("P. 1:1001(1000) ack 1");
    after_ms(209);
    nothing();
    after_ms(1);
    ours("P. 1:1001(1000) ack 1");
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
    assert_int_equal(info().snd_cwnd, 1);
    after_ms(419);
    nothing();
    after_ms(1);
    ours("P. 1:1001(1000) ack 1");
    assert_int_equal(info().backoff, 2);
    after_ms(840);
    ours("P. 1:1001(1000) ack 1");
    peer(". 1:1(0) ack 1001 win 50000");
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
    assert_int_equal(info().retransmits, 0);
    app_send(1000);
    ours("P. 1001:2001(1000) ack 1");
    peer(". 1:1(0) ack 2001 win 50000");
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
}

static void after_a_timeout_slow_start_repairs_the_rest(void **unused)
{
    (void)unused;
    ten_in_flight_plain();
    after_ms(210);
    ours(". 1:1001(1000) ack 1");
    nothing();
    peer(". 1:1(0) ack 1001 win 50000");
    ours(". 1001:2001(1000) ack 1");
    ours(". 2001:3001(1000) ack 1");
    nothing();
    peer(". 1:1(0) ack 3001 win 50000");
    ours(". 3001:4001(1000) ack 1");
    ours(". 4001:5001(1000) ack 1");
    ours(". 5001:6001(1000) ack 1");
    ours(". 6001:7001(1000) ack 1");
    nothing();
}

static void few_sacks_prove_a_loss_after_a_quarter_of_a_round_trip(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(3));
    after_ms(4);
    nothing();
    after_ms(1);
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
    nothing();
}

static void sacked_segments_are_not_repaired_after_a_timeout(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(3));
    after_ms(5);
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    after_ms(300);
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
    peer(". 1:1(0) ack %u", S(3));
    ours(". %u:%u(1448) ack 1", S(3), S(4));
}

static void receiver_that_reneges_gets_everything_again(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(3));
    peer(". 1:1(0) ack %u", S(1));
    assert_int_equal(info().sacked, 2);
    after_ms(300);
    ours(". %u:%u(1448) ack 1", S(1), S(2));
    assert_int_equal(info().sacked, 0);
}

static void silence_after_a_flight_is_probed(void **unused)
{
    (void)unused;
    established();
    app_send(3 * 1448);
    assert_int_equal(ours_any(), 3);
    after_ms(21);
    nothing();
    after_ms(1); /* two round trips and 2 ms */
    ours("P. %u:%u(1448) ack 1", S(2), S(3));
    nothing();
    after_ms(10);
    /* The probe's SACK shows that the others were lost. */
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(2), S(3));
    ours(". %u:%u(1448) ack 1", S(0), S(1));
}

static void tail_probe_sends_new_data_if_there_is_any(void **unused)
{
    (void)unused;
    ten_in_flight();
    app_send(1448);
    nothing();
    after_ms(18);
    ours("P. %u:%u(1448) ack 1", S(10), S(11));
    nothing();
}

static void reduction_is_in_proportion(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack %u", S(10));
    app_send(30 * 1448);
    assert_int_equal(ours_any(), 20);
    after_ms(10);
    for (unsigned i = 12; i <= 14; i++)
        peer(". 1:1(0) ack %u <sack %u:%u>", S(10), S(11), S(i));
    ours(". %u:%u(1448) ack 1", S(10), S(11));
    nothing();
    assert_int_equal(info().snd_ssthresh, 14);
    /* For ten that arrive seven go out, as long as more is in flight than is to be; whole segments,
       a part counts as one. */
    peer(". 1:1(0) ack %u <sack %u:%u>", S(10), S(11), S(15));
    ours(". %u:%u(1448) ack 1", S(30), S(31));
    peer(". 1:1(0) ack %u <sack %u:%u>", S(10), S(11), S(16));
    ours(". %u:%u(1448) ack 1", S(31), S(32));
    peer(". 1:1(0) ack %u <sack %u:%u>", S(10), S(11), S(17));
    nothing();
}

/** Six of ten are lost, so that less is in flight than the window is to be: PRR's slow start. */
static void much_was_lost(void)
{
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(6), S(8));
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(6), S(9));
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    nothing(); /* one arrived, one goes out: something was lost */
    assert_int_equal(info().snd_ssthresh, 7);
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(6), S(10));
    ours(". %u:%u(1448) ack 1", S(1), S(2));
    nothing();
}

static void reduction_is_bounded_by_slow_start(void **unused)
{
    (void)unused;
    much_was_lost();
    app_send(20 * 1448);
    nothing();
    after_ms(10);
    /* All goes well: for each that arrives two go out, until the flight is what it is to be. */
    for (unsigned i = 1; i <= 5; i++) {
        peer(". 1:1(0) ack %u <sack %u:%u>", S(i), S(6), S(10));
        assert_int_equal(ours_any(), 2);
    }
    assert_int_equal(info().snd_cwnd, 7);
    peer(". 1:1(0) ack %u", S(10));
    assert_int_equal(info().snd_cwnd, 7);
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
}

static void window_after_recovery_is_ssthresh(void **unused)
{
    (void)unused;
    much_was_lost();
    after_ms(10);
    for (unsigned i = 1; i <= 5; i++) {
        peer(". 1:1(0) ack %u <sack %u:%u>", S(i), S(6), S(10));
        ours_any();
    }
    assert_true(info().snd_cwnd < 6); /* with nothing more to send it did not grow so far */
    peer(". 1:1(0) ack %u", S(10));
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
    assert_int_equal(info().snd_cwnd, 7);
}

/** The last of three segments is sent once more, as a tail probe. */
static void tail_is_probed(void)
{
    established();
    app_send(3 * 1448);
    assert_int_equal(ours_any(), 3);
    peer(". 1:1(0) ack %u", S(2));
    after_ms(250);
    ours("P. %u:%u(1448) ack 1", S(2), S(3));
}

/** Something newer than the probe is sent and acknowledged. */
static void newer_data_is_acknowledged(void)
{
    app_send(1448);
    ours("P. %u:%u(1448) ack 1", S(3), S(4));
    peer(". 1:1(0) ack %u", S(4));
}

static void repaired_tail_loss_reduces_the_window(void **unused)
{
    (void)unused;
    tail_is_probed();
    peer(". 1:1(0) ack %u", S(3));
    assert_int_equal(info().snd_cwnd, 10); /* the original's, perhaps: a D-SACK may follow */
    newer_data_is_acknowledged();
    assert_int_equal(info().snd_cwnd, 7);
    assert_int_equal(info().snd_ssthresh, 7);
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
}

static void tail_that_dsack_shows_was_not_lost_reduces_nothing(void **unused)
{
    (void)unused;
    tail_is_probed();
    peer(". 1:1(0) ack %u <sack %u:%u>", S(3), S(2), S(3)); /* of both copies */
    newer_data_is_acknowledged();
    assert_int_equal(info().snd_cwnd, 10);
}

static void tail_that_a_duplicate_shows_was_not_lost_reduces_nothing(void **unused)
{
    (void)unused;
    tail_is_probed();
    peer(". 1:1(0) ack %u", S(3));
    peer(". 1:1(0) ack %u", S(3)); /* of the copy, from who has no D-SACK */
    newer_data_is_acknowledged();
    assert_int_equal(info().snd_cwnd, 10);
}

static void tail_probe_of_new_data_reduces_nothing(void **unused)
{
    (void)unused;
    ten_in_flight();
    app_send(1448);
    after_ms(18);
    ours("P. %u:%u(1448) ack 1", S(10), S(11));
    peer(". 1:1(0) ack %u", S(11));
    unsigned cwnd = info().snd_cwnd;
    app_send(1448);
    ours("P. %u:%u(1448) ack 1", S(11), S(12));
    peer(". 1:1(0) ack %u", S(12));
    assert_true(info().snd_cwnd >= cwnd);
    assert_int_equal(info().snd_ssthresh, 0x7fffffff);
}

static void tail_is_probed_once_then_the_timeout_comes(void **unused)
{
    (void)unused;
    ten_in_flight();
    app_send(1448);
    after_ms(18);
    ours("P. %u:%u(1448) ack 1", S(10), S(11));
    peer(". 1:1(0) ack %u", S(5)); /* of what was sent before: the timer starts over */
    after_ms(150);
    nothing();
    after_ms(100);
    ours(". %u:%u(1448) ack 1", S(5), S(6));
}

static void spurious_timeout_is_undone_by_timestamps(void **unused)
{
    (void)unused;
    established();
    app_send(1448);
    ours("P. %u:%u(1448) ack 1 <nop,nop,TS val 10 ecr 110>", S(0), S(1));
    after_ms(211);
    ours("P. %u:%u(1448) ack 1 <nop,nop,TS val 221 ecr 110>", S(0), S(1)); /* tail probe */
    after_ms(211);
    ours("P. %u:%u(1448) ack 1 <nop,nop,TS val 432 ecr 110>", S(0), S(1)); /* timeout */
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
    peer(". 1:1(0) ack %u <nop,nop,TS val 300 ecr 10>", S(1));
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
    assert_true(info().snd_cwnd >= 10);
    assert_int_equal(info().snd_ssthresh, 0x7fffffff);
}

/* The lower one's own acknowledgement was lost: nothing was reordered. */
static void blocks_of_one_acknowledgement_count_in_the_order_of_their_numbers(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u %u:%u>", S(5), S(6), S(2), S(3));
    assert_int_equal(info().sacked, 2);
    assert_int_equal(info().reord_seen, 0);
}

static void reordering_seen_raises_the_threshold(void **unused)
{
    (void)unused;
    ten_in_flight();
    /* Segment 0 arrives after 1 and 2 without having been sent again. */
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(3));
    peer(". 1:1(0) ack %u", S(3));
    assert_int_equal(info().reord_seen, 1);
    peer(". 1:1(0) ack %u <sack %u:%u>", S(3), S(4), S(7));
    nothing(); /* three SACKed segments are not proof any more ... */
    after_ms(5);
    ours(". %u:%u(1448) ack 1", S(3), S(4)); /* ... a quarter of a round trip later they are */
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
}

static void sack_of_what_was_not_sent_is_ignored(void **unused)
{
    (void)unused;
    established();
    app_send(1448);
    assert_int_equal(ours_any(), 1);
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(5));
    assert_int_equal(info().sacked, 0);
    peer(". 1:1(0) ack 1 <sack 900:100>");
    assert_int_equal(info().sacked, 0);
}

static void karn_no_sample_from_retransmitted_segments(void **unused)
{
    (void)unused;
    established_plain(50000);
    app_send(1000);
    assert_int_equal(ours_any(), 1);
    uint64_t srtt_ns = info().srtt_ns;
    after_ms(300);
    assert_int_equal(ours_any(), 1);
    peer(". 1:1(0) ack 1001 win 50000");
    assert_int_equal(info().srtt_ns, srtt_ns);
    assert_int_equal(info().backoff, 1); /* kept until the next sample (RFC 6298 §5.7) */
    app_send(1000);
    assert_int_equal(ours_any(), 1);
    after_ms(10);
    peer(". 1:1(0) ack 2001 win 50000");
    assert_int_equal(info().backoff, 0);
}

static void lost_retransmission_is_repeated_without_a_timeout(void **unused)
{
    (void)unused;
    ten_in_flight();
    app_send(10 * 1448);
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(10));
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    unsigned sent = ours_any(); /* new data under PRR */
    assert_true(sent >= 1);
    after_ms(15);
    peer(". 1:1(0) ack 1 win 1000 <sack %u:%u>", S(1), S(11));
    ours(". %u:%u(1448) ack 1", S(0), S(1));
}

static void send_buffer_does_not_shrink_with_the_window(void **unused)
{
    (void)unused;
    established();
    for (unsigned i = 0; i < 10; i++) {
        app_send(20 * 1448);
        ours_any();
        peer(". 1:1(0) ack %u win 60000", (unsigned)(script.connection->hot.snd_nxt -
                                                     tcp_snd_start(&script.connection->hot) + 1));
    }
    app_send(20 * 1448);
    ours_any();
    uint32_t before = tcp_send_buffer_bytes(script.connection);
    assert_true(before > 87040);
    after_ms(50);
    ours_any(); /* tail probe */
    after_ms(600);
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
    assert_int_equal(info().snd_cwnd, 1);
    assert_int_equal(tcp_send_buffer_bytes(script.connection), before);
}

static void old_ack_still_brings_sacks(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack %u", S(2));
    peer(". 1:1(0) ack %u <sack %u:%u>", S(1), S(3), S(6)); /* overtaken by the one before */
    ours(". %u:%u(1448) ack 1", S(2), S(3));
    assert_int_equal(info().sacked, 3);
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(three_sacked_segments_retransmit_the_hole),
        TEST(limited_transmit_sends_new_data_on_the_first_sacks),
        TEST(all_holes_below_the_highest_sack_are_repaired),
        TEST(three_duplicate_acks_retransmit_without_sack),
        TEST(window_updates_are_not_duplicate_acks),
        TEST(timeout_retransmits_and_backs_off),
        TEST(after_a_timeout_slow_start_repairs_the_rest),
        TEST(few_sacks_prove_a_loss_after_a_quarter_of_a_round_trip),
        TEST(sacked_segments_are_not_repaired_after_a_timeout),
        TEST(receiver_that_reneges_gets_everything_again),
        TEST(reduction_is_in_proportion),
        TEST(reduction_is_bounded_by_slow_start),
        TEST(window_after_recovery_is_ssthresh),
        TEST(silence_after_a_flight_is_probed),
        TEST(tail_probe_sends_new_data_if_there_is_any),
        TEST(repaired_tail_loss_reduces_the_window),
        TEST(tail_that_dsack_shows_was_not_lost_reduces_nothing),
        TEST(tail_that_a_duplicate_shows_was_not_lost_reduces_nothing),
        TEST(tail_probe_of_new_data_reduces_nothing),
        TEST(tail_is_probed_once_then_the_timeout_comes),
        TEST(spurious_timeout_is_undone_by_timestamps),
        TEST(blocks_of_one_acknowledgement_count_in_the_order_of_their_numbers),
        TEST(reordering_seen_raises_the_threshold),
        TEST(sack_of_what_was_not_sent_is_ignored),
        TEST(karn_no_sample_from_retransmitted_segments),
        TEST(lost_retransmission_is_repeated_without_a_timeout),
        TEST(send_buffer_does_not_shrink_with_the_window),
        TEST(old_ack_still_brings_sacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
