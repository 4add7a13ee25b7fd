/* Loss detection by time (RFC 8985), F-RTO (RFC 5682), what undoes a repair, and the records of
   what was sent that all of it lives off. */
#include "core/tcp/rack.h"
#include "script.h"

#define S(n) (1 + (n)*1448u)
/** Without timestamps, a segment is longer. */
#define L(n) (1 + (n)*1460u)

static const struct tcp_recovery *recovery(void)
{
    return script.connection->rare->recovery;
}

/** Ten segments in flight for a round trip of 10 ms; SACK and timestamps. */
static void ten_in_flight(void)
{
    established();
    app_send(10 * 1448);
    assert_int_equal(ours_any(), 10);
    after_ms(10);
}

/** SACK without timestamps: nothing but F-RTO and D-SACK can tell what was spurious. */
static void established_without_timestamps(void)
{
    script.config.tcp.timestamps = false;
    script_restart();
    peer("S 0:0(0) win 65535 <mss 1460,sackOK,nop,nop,nop,wscale 7>");
    ours("S. 0:0(0) ack 1");
    after_ms(10);
    peer(". 1:1(0) ack 1 win 512");
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
}

static void idle_connection_holds_no_record(void **unused)
{
    (void)unused;
    ten_in_flight();
    assert_int_equal(script.connection->hot.sent_count, 1); /* one burst */
    peer(". 1:1(0) ack %u", S(4));
    assert_int_equal(script.connection->hot.sent_count, 1);
    peer(". 1:1(0) ack %u", S(10));
    assert_int_equal(script.connection->hot.sent_count, 0);
}

static void bursts_of_different_times_have_their_own_records(void **unused)
{
    (void)unused;
    established();
    for (unsigned i = 0; i < 4; i++) {
        app_send(1448);
        assert_int_equal(ours_any(), 1);
        after_ms(1);
    }
    assert_int_equal(script.connection->hot.sent_count, 4);
    app_send(3 * 1448);
    assert_int_equal(ours_any(), 3);
    assert_int_equal(script.connection->hot.sent_count, 5);
}

static void record_falls_in_two_around_what_is_sacked(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(4), S(5));
    assert_int_equal(script.connection->hot.sent_count, 2);
    peer(". 1:1(0) ack %u", S(5));
    assert_int_equal(script.connection->hot.sent_count, 1);
}

static void what_was_sent_before_is_lost_and_what_was_sent_after_is_not(void **unused)
{
    (void)unused;
    established();
    app_send(4 * 1448);
    assert_int_equal(ours_any(), 4);
    after_ms(5);
    app_send(4 * 1448);
    assert_int_equal(ours_any(), 4);
    after_ms(5);
    /* 1, 2 and 3 have arrived, so 0 is lost; of 4 to 7, sent later, nothing is known. */
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(4));
    assert_int_equal(info().lost, 1);
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    nothing();
}

static void partly_sacked_segment_is_not_taken_for_arrived(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(4) - 1, S(4));
    assert_int_equal(info().sacked, 0);
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(4) - 1, S(5) + 10);
    assert_int_equal(info().sacked, 1);
    assert_int_equal(recovery()->sacked_bytes, 1448);
}

/** Four segments in flight for 11 ms, and four for 10. */
static void two_bursts_in_flight(void)
{
    established();
    app_send(4 * 1448);
    assert_int_equal(ours_any(), 4);
    after_ms(1);
    app_send(4 * 1448);
    assert_int_equal(ours_any(), 4);
    after_ms(10);
}

static void window_is_as_long_as_the_latest_original_was_late(void **unused)
{
    (void)unused;
    two_bursts_in_flight();
    /* Something sent a millisecond later overtakes the first four … */
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(6), S(7));
    assert_int_equal(info().ca_state, TCP_CA_DISORDER);
    after_ms(1);
    /* … which arrive after all, 12 ms old where that took 10. */
    peer(". 1:1(0) ack %u <sack %u:%u>", S(4), S(6), S(7));
    assert_int_equal(recovery()->late_us, 2000);
    assert_true(recovery()->reordering_seen);
    assert_int_equal(info().reord_seen, 1);
    assert_int_equal(info().total_retrans, 0);
}

static void what_is_sent_later_waits_as_long_as_the_latest_original_was_late(void **unused)
{
    (void)unused;
    two_bursts_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(6), S(7));
    after_ms(1);
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(6), S(7));
    peer(". 1:1(0) ack %u <sack %u:%u>", S(1), S(6), S(7)); /* 12 ms old, where that took 10 */
    after_us(1500);
    peer(". 1:1(0) ack %u", S(8)); /* 13.5 ms */
    assert_int_equal(recovery()->late_us, 3500);
    app_send(4 * 1448);
    assert_int_equal(ours_any(), 4);
    after_ms(10);
    peer(". 1:1(0) ack %u <sack %u:%u>", S(8), S(9), S(12));
    after_ms(5);
    nothing(); /* a quarter of the shortest round trip and 2 ms are over */
    after_ms(1);
    ours(". %u:%u(1448) ack 1", S(8), S(9));
}

static void reordering_window_is_at_most_a_round_trip(void **unused)
{
    (void)unused;
    ten_in_flight();
    struct tcp_recovery *own = tcp_recovery_take(script.stack, script.connection);
    own->reordering_seen = true;
    own->late_us = 500000;
    own->window_persist = 16;
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(4));
    after_ms(11);
    nothing();
    after_ms(1); /* srtt, 10 ms, and 2 ms */
    ours(". %u:%u(1448) ack 1", S(0), S(1));
}

static void grown_window_is_forgotten_after_so_many_recoveries(void **unused)
{
    (void)unused;
    ten_in_flight();
    struct tcp_recovery *own = tcp_recovery_take(script.stack, script.connection);
    own->window_steps = 3;
    own->window_persist = 1;
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(4));
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    ours_any();
    assert_int_equal(recovery()->window_persist, 1);
    after_ms(10);
    peer(". 1:1(0) ack %u", S(10));
    assert_int_equal(recovery()->window_persist, 0);
    app_send(4 * 1448);
    assert_int_equal(ours_any(), 4);
    after_ms(10);
    peer(". 1:1(0) ack %u <sack %u:%u>", S(10), S(12), S(13));
    assert_int_equal(recovery()->window_steps, 0);
}

/** Where reordering was not seen, what was sent before something that arrived is lost at once in
    recovery, however little has arrived. */
static void recovery_waits_for_no_reordering(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(2));
    after_ms(5);
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
    assert_int_equal(info().lost, 1);
    peer(". 1:1(0) ack 1 <sack %u:%u %u:%u>", S(3), S(4), S(1), S(2));
    assert_int_equal(info().lost, 2);
}

static void dsack_on_a_reordering_path_widens_the_window_once_a_round_trip(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(4));
    ours(". %u:%u(1448) ack 1", S(0), S(1));
    ours_any();
    tcp_recovery_take(script.stack, script.connection)->reordering_seen = true;
    assert_int_equal(recovery()->window_steps, 0);
    after_ms(10);
    peer(". 1:1(0) ack %u <sack %u:%u>", S(4), S(0), S(1));
    assert_int_equal(recovery()->window_steps, 1);
    assert_int_equal(recovery()->window_persist, 16);
    assert_int_equal(info().dsack_dups, 1);
}

static void more_dsacks_than_retransmissions_are_the_networks_duplicates(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack %u <sack %u:%u>", S(4), S(0), S(1));
    assert_int_equal(info().dsack_dups, 1); /* counted, as Linux, but nothing follows from it */
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
}

static void repair_that_dsack_proves_needless_is_undone(void **unused)
{
    (void)unused;
    established_without_timestamps();
    app_send(10 * 1460);
    assert_int_equal(ours_any(), 10);
    after_ms(10);
    peer(". 1:1(0) ack 1 win 512 <sack %u:%u>", L(1), L(4));
    ours(". %u:%u(1460) ack 1", L(0), L(1));
    ours_any();
    assert_int_equal(info().snd_ssthresh, 7);
    after_ms(1);
    peer(". 1:1(0) ack %u win 512", L(4));                          /* the original */
    peer(". 1:1(0) ack %u win 512 <sack %u:%u>", L(4), L(0), L(1)); /* the retransmission */
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
    assert_int_equal(info().snd_ssthresh, 0x7fffffff);
    assert_true(info().snd_cwnd >= 10);
}

/** Eight segments, a timeout, the first one again. */
static void timed_out(void)
{
    established_without_timestamps();
    app_send(8 * 1460);
    assert_int_equal(ours_any(), 8);
    app_send(4 * 1460);
    assert_int_equal(ours_any(), 2); /* the window */
    after_ms(28);
    assert_int_equal(ours_any(), 1); /* tail probe: the first not yet sent */
    after_ms(210);
    ours(". %u:%u(1460) ack 1", L(0), L(1));
    nothing();
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
    assert_int_equal(info().snd_cwnd, 1);
}

static void spurious_timeout_is_found_by_frto(void **unused)
{
    (void)unused;
    timed_out();
    after_ms(1);
    /* The ACK of the first original: new data goes out, not the second segment again. */
    peer(". 1:1(0) ack %u win 512", L(1));
    ours("P. %u:%u(1460) ack 1", L(11), L(12));
    nothing();
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
    /* More than was sent again is acknowledged: all of it was merely late. */
    peer(". 1:1(0) ack %u win 512", L(3));
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
    assert_true(info().snd_cwnd >= 10);
    assert_int_equal(info().lost, 0);
    assert_int_equal(info().total_retrans, 1);
}

static void real_timeout_is_repaired_after_frto_has_asked(void **unused)
{
    (void)unused;
    timed_out();
    after_ms(10);
    peer(". 1:1(0) ack %u win 512", L(1));
    ours("P. %u:%u(1460) ack 1", L(11), L(12));
    nothing();
    after_ms(10);
    /* The new data arrived, what lies before it did not. */
    peer(". 1:1(0) ack %u win 512 <sack %u:%u>", L(1), L(11), L(12));
    ours(". %u:%u(1460) ack 1", L(1), L(2));
    assert_int_equal(info().ca_state, TCP_CA_LOSS); /* what was new arrived: nothing is undone */
    assert_true(info().snd_cwnd <= 3);
}

static void timeout_of_a_repair_under_way_is_not_asked_about(void **unused)
{
    (void)unused;
    established_without_timestamps();
    app_send(12 * 1460);
    assert_int_equal(ours_any(), 10);
    after_ms(10);
    peer(". 1:1(0) ack 1 win 512 <sack %u:%u>", L(1), L(4));
    ours(". %u:%u(1460) ack 1", L(0), L(1));
    ours_any();
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
    after_ms(300);
    ours(". %u:%u(1460) ack 1", L(0), L(1));
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
    peer(". 1:1(0) ack %u win 512", L(4));
    ours(". %u:%u(1460) ack 1", L(4), L(5)); /* and not what is new */
}

static void timeout_without_new_data_repairs_at_once(void **unused)
{
    (void)unused;
    established_without_timestamps();
    app_send(4 * 1460);
    assert_int_equal(ours_any(), 4);
    after_ms(28);
    assert_int_equal(ours_any(), 1); /* tail probe */
    after_ms(210);
    ours(". %u:%u(1460) ack 1", L(0), L(1));
    after_ms(10);
    peer(". 1:1(0) ack %u win 512", L(1));
    ours(". %u:%u(1460) ack 1", L(1), L(2));
}

static void reneging_is_seen_at_the_acknowledgement(void **unused)
{
    (void)unused;
    ten_in_flight();
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(1), S(3));
    peer(". 1:1(0) ack %u", S(1)); /* and not S(3) */
    after_ms(9);
    nothing();
    after_ms(1);
    ours(". %u:%u(1448) ack 1", S(1), S(2));
    assert_int_equal(info().sacked, 0);
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
}

static void
acknowledgement_that_tells_of_reneging_gets_half_a_round_trip_to_prove_late(void **unused)
{
    (void)unused;
    ten_in_flight();
    script.connection->congestion.srtt_eighth = 8 * 100000;
    peer(". 1:1(0) ack 1 <sack %u:%u>", S(2), S(3));
    script.connection->congestion.srtt_eighth = 8 * 100000;
    peer(". 1:1(0) ack %u", S(2));
    uint64_t half_ms = info().srtt_ns / 2 / NS_PER_MS;
    assert_in_range(half_ms, 40, 50);
    after_ms(half_ms - 1);
    nothing();
    after_ms(2);
    ours(". %u:%u(1448) ack 1", S(2), S(3));
}

static void without_records_sacks_still_repair(void **unused)
{
    (void)unused;
    script.config.sent_records_max = 1;
    script_restart();
    established();
    for (unsigned i = 0; i < 6; i++) {
        app_send(1448);
        assert_int_equal(ours_any(), 1);
        after_ms(1);
    }
    assert_true(script.connection->hot.sent_count <= 2);
    after_ms(5);
    peer(". 1:1(0) ack %u", S(2)); /* what had records */
    assert_int_equal(script.connection->hot.sent_count, 0);
    peer(". 1:1(0) ack %u <sack %u:%u>", S(2), S(3), S(6));
    ours(". %u:%u(1448) ack 1", S(2), S(3));
    peer(". 1:1(0) ack %u", S(6));
    assert_int_equal(info().unacked, 0);
}

static void without_records_the_timeout_repairs_everything(void **unused)
{
    (void)unused;
    script.config.sent_records_max = 1;
    script_restart();
    established();
    for (unsigned i = 0; i < 6; i++) {
        app_send(1448);
        assert_int_equal(ours_any(), 1);
        after_ms(1);
    }
    after_ms(50);
    assert_int_equal(ours_any(), 1); /* tail probe */
    after_ms(600);
    assert_int_equal(ours_any(), 1);
    assert_int_equal(info().ca_state, TCP_CA_LOSS);
    for (unsigned i = 1; i <= 6; i++) {
        after_ms(10);
        peer(". 1:1(0) ack %u", S(i));
        ours_any();
    }
    assert_int_equal(info().unacked, 0);
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
}

static void every_acknowledgement_is_a_round_trip_sample(void **unused)
{
    (void)unused;
    established(); /* 10 ms */
    app_send(3 * 1448);
    assert_int_equal(ours_any(), 3);
    after_ms(18);
    peer(". 1:1(0) ack %u", S(1));
    assert_int_equal(info().srtt_ns / NS_PER_US, 11000);  /* + (18 - 10) / 8 */
    assert_int_equal(info().rttvar_ns / NS_PER_US, 5750); /* 3/4 · 5 + 1/4 · 8 */
    after_ms(1);
    peer(". 1:1(0) ack %u", S(2));
    assert_int_equal(info().srtt_ns / NS_PER_US, 12000); /* + (19 - 11) / 8 */
    assert_int_equal(info().min_rtt_ns / NS_PER_US, 10000);
}

static void shortest_round_trip_is_forgotten_after_300_s(void **unused)
{
    (void)unused;
    established();
    after_ms(301 * 1000);
    app_send(2 * 1448);
    assert_int_equal(ours_any(), 2);
    after_ms(30);
    peer(". 1:1(0) ack %u", S(2));
    assert_int_equal(info().min_rtt_ns / NS_PER_US, 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(idle_connection_holds_no_record),
        TEST(bursts_of_different_times_have_their_own_records),
        TEST(record_falls_in_two_around_what_is_sacked),
        TEST(what_was_sent_before_is_lost_and_what_was_sent_after_is_not),
        TEST(partly_sacked_segment_is_not_taken_for_arrived),
        TEST(window_is_as_long_as_the_latest_original_was_late),
        TEST(what_is_sent_later_waits_as_long_as_the_latest_original_was_late),
        TEST(reordering_window_is_at_most_a_round_trip),
        TEST(grown_window_is_forgotten_after_so_many_recoveries),
        TEST(recovery_waits_for_no_reordering),
        TEST(dsack_on_a_reordering_path_widens_the_window_once_a_round_trip),
        TEST(more_dsacks_than_retransmissions_are_the_networks_duplicates),
        TEST(repair_that_dsack_proves_needless_is_undone),
        TEST(spurious_timeout_is_found_by_frto),
        TEST(real_timeout_is_repaired_after_frto_has_asked),
        TEST(timeout_of_a_repair_under_way_is_not_asked_about),
        TEST(timeout_without_new_data_repairs_at_once),
        TEST(reneging_is_seen_at_the_acknowledgement),
        TEST(acknowledgement_that_tells_of_reneging_gets_half_a_round_trip_to_prove_late),
        TEST(without_records_sacks_still_repair),
        TEST(without_records_the_timeout_repairs_everything),
        TEST(every_acknowledgement_is_a_round_trip_sample),
        TEST(shortest_round_trip_is_forgotten_after_300_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
