/* BBR, DCTCP-rate, TIMELY and the constant rate against figures worked out by hand. */
#include "script.h"

#include "core/tcp/congestion.h"
#include "core/tcp/pacing.h"

#define MSS    1448
#define RTT_US 10000

static struct tcp_connection *begin(uint8_t congestion)
{
    tcp_listener_options(script.listener)->congestion = congestion;
    established();
    script.connection->congestion.srtt_eighth = 8 * RTT_US;
    script.connection->congestion.min_rtt_us = RTT_US;
    tcp_congestion_of(script.connection)->init(script.stack, script.connection, script.now_ns);
    return script.connection;
}

/** One ACK that closes a round: bytes arrived, at this rate, after rtt_us. */
static void round_trip(struct tcp_connection *c, uint32_t bytes, uint32_t rtt_us, uint64_t rate)
{
    script.now_ns += rtt_us * NS_PER_US;
    struct tcp_rate_sample sample = {
        .now_ns = script.now_ns,
        .rate = rate,
        .delivered = bytes,
        .prior_delivered = c->delivery.delivered,
        .newly_acked = bytes,
        .rtt_us = rtt_us,
        .tx_in_flight = bytes,
        .has_data = true,
    };
    c->delivery.delivered += bytes;
    tcp_congestion_of(c)->control(c, &sample);
}

/* ---- BBR ---------------------------------------------------------------------------------- */

static void bbr_begins_at_277_hundredths_of_the_initial_window(void **unused)
{
    (void)unused;
    struct tcp_connection *c = begin(TCP_CONGESTION_BBR);
    assert_int_equal(bbr_of(c)->state, BBR_STARTUP);
    assert_in_range(c->rare->pacing->rate, 2760ull * MSS, 2771ull * MSS); /* 10 segments in 10 ms */
    assert_true(c->hot.paced);
}

static void bbr_leaves_startup_when_the_rate_stands_still(void **unused)
{
    (void)unused;
    struct tcp_connection *c = begin(TCP_CONGESTION_BBR);
    uint64_t rate = 1000000;
    for (unsigned i = 0; i < 4; i++, rate *= 2) {
        round_trip(c, (uint32_t)(rate / 100), RTT_US, rate);
        assert_int_equal(bbr_of(c)->state, BBR_STARTUP);
    }
    rate /= 2; /* 8 MB/s three times more: no quarter gained */
    round_trip(c, 80000, RTT_US, rate);
    round_trip(c, 80000, RTT_US, rate);
    assert_false(bbr_of(c)->full_bw_reached);
    round_trip(c, 80000, RTT_US, rate);
    assert_true(bbr_of(c)->full_bw_reached);
    assert_int_equal(bbr_of(c)->bw, 8000000);
    assert_int_not_equal(bbr_of(c)->state, BBR_STARTUP);
}

static void bbr_stays_in_startup_while_a_quarter_is_gained_a_round(void **unused)
{
    (void)unused;
    struct tcp_connection *c = begin(TCP_CONGESTION_BBR);
    uint64_t rate = 1000000;
    for (unsigned i = 0; i < 8; i++, rate += rate * 26 / 100)
        round_trip(c, (uint32_t)(rate / 100), RTT_US, rate);
    assert_int_equal(bbr_of(c)->state, BBR_STARTUP);
    rate = bbr_of(c)->full_bw * 126 / 100; /* and then no more: this one still counts as a gain */
    for (unsigned i = 0; i < 3; i++)
        round_trip(c, (uint32_t)(rate / 100), RTT_US, rate);
    assert_false(bbr_of(c)->full_bw_reached);
    rate = bbr_of(c)->full_bw * 124 / 100;
    round_trip(c, (uint32_t)(rate / 100), RTT_US, rate);
    assert_true(bbr_of(c)->full_bw_reached);
}

/** In ProbeBW with a bandwidth of 8 MB/s and a round trip of 10 ms. */
static struct tcp_connection *bbr_cruising(void)
{
    struct tcp_connection *c = begin(TCP_CONGESTION_BBR);
    for (unsigned i = 0; i < 6; i++)
        round_trip(c, 80000, RTT_US, 8000000);
    for (unsigned i = 0; i < 3 && bbr_of(c)->state != BBR_PROBE_BW_CRUISE; i++)
        round_trip(c, 80000, RTT_US, 8000000);
    assert_int_equal(bbr_of(c)->state, BBR_PROBE_BW_CRUISE);
    return c;
}

static void bbr_window_is_twice_the_product(void **unused)
{
    (void)unused;
    struct tcp_connection *c = bbr_cruising();
    for (unsigned i = 0; i < 5; i++)
        round_trip(c, 80000, RTT_US, 8000000);
    assert_in_range(bbr_bdp_multiple(c, BBR_GAIN_UNIT), 79900, 80000);
    /* Besides what came in bunches: extra_acked. */
    assert_in_range(c->hot.cwnd, 160000 - 1, 240000);
    if (bbr_of(c)->state == BBR_PROBE_BW_CRUISE)
        assert_in_range(c->rare->pacing->rate, 7910000, 7920000); /* 99 % */
}

static void bbr_probes_in_time(void **unused)
{
    (void)unused;
    struct tcp_connection *c = bbr_cruising();
    bool refilled = false, up = false;
    for (unsigned i = 0; i < 70; i++) {
        round_trip(c, 80000, RTT_US, 8000000);
        refilled = refilled || bbr_of(c)->state == BBR_PROBE_BW_REFILL;
        up = up || bbr_of(c)->state == BBR_PROBE_BW_UP;
    }
    assert_true(refilled); /* after as many rounds as the window has segments: 55 */
    assert_true(up);
}

static void bbr_waits_63_rounds_or_two_to_three_seconds_at_most_to_probe(void **unused)
{
    (void)unused;
    struct tcp_connection *c = begin(TCP_CONGESTION_BBR);
    for (unsigned i = 0; i < 20; i++)
        round_trip(c, 800000, RTT_US, 80000000);
    while (bbr_of(c)->state != BBR_PROBE_BW_UP)
        round_trip(c, 800000, RTT_US, 80000000);
    while (bbr_of(c)->state == BBR_PROBE_BW_UP)
        round_trip(c, 800000, RTT_US, 80000000);
    assert_in_range(bbr_of(c)->bw_probe_wait_ns, 2 * NS_PER_S, 3 * NS_PER_S - 1);
    unsigned rounds = 0;
    for (; bbr_of(c)->state != BBR_PROBE_BW_REFILL; rounds++)
        round_trip(c, 800000, RTT_US, 80000000);
    assert_in_range(rounds, 61, 63);
}

static void bbr_looks_for_the_round_trip_every_five_seconds(void **unused)
{
    (void)unused;
    struct tcp_connection *c = bbr_cruising();
    uint64_t start_ns = script.now_ns, seen_ns = 0;
    for (unsigned i = 0; i < 700 && seen_ns == 0; i++) {
        round_trip(c, 80000, RTT_US + 100, 8000000);
        if (bbr_of(c)->state == BBR_PROBE_RTT)
            seen_ns = script.now_ns - start_ns;
    }
    assert_in_range(seen_ns, 4800 * NS_PER_MS, 5200 * NS_PER_MS);
    /* Half of the product for 200 ms and a round trip, then back. */
    assert_in_range(c->hot.cwnd, 4 * MSS, 40000);
    unsigned rounds = 0;
    for (; bbr_of(c)->state == BBR_PROBE_RTT && rounds < 40; rounds++)
        round_trip(c, 40000, RTT_US, 4000000);
    assert_in_range(rounds, 20, 22);
}

static void bbr_lowers_its_bounds_by_three_tenths_a_round(void **unused)
{
    (void)unused;
    struct tcp_connection *c = bbr_cruising();
    uint64_t bw = bbr_of(c)->bw;
    bbr_of(c)->bw_latest = 0;
    for (unsigned i = 0; i < 2; i++) {
        script.now_ns += RTT_US * NS_PER_US;
        struct tcp_rate_sample sample = {
            .now_ns = script.now_ns,
            .prior_delivered = c->delivery.delivered,
            .newly_acked = 1,
            .newly_lost = MSS,
            .rtt_us = RTT_US,
            .tx_in_flight = 80000,
            .lost = MSS,
            .has_data = true,
        };
        bbr_of(c)->bw_latest = 1;
        tcp_congestion_of(c)->control(c, &sample);
    }
    assert_true(bbr_of(c)->bw <= bw * 71 / 100);
    assert_true(bbr_of(c)->bw >= bw * 48 / 100);
}

static void bbr_paces_by_the_gain_of_its_state_less_a_hundredth(void **unused)
{
    (void)unused;
    struct tcp_connection *c = bbr_cruising();
    unsigned seen = 0;
    for (unsigned i = 0; i < 140; i++) {
        round_trip(c, 80000, RTT_US, 8000000);
        uint64_t rate = c->rare->pacing->rate;
        seen |= 1u << bbr_of(c)->state;
        if (bbr_of(c)->state == BBR_PROBE_BW_DOWN)
            assert_in_range(rate, 7100000, 7130000); /* 0.9 */
        else if (bbr_of(c)->state == BBR_PROBE_BW_UP)
            assert_in_range(rate, 9890000, 9900000); /* 1.25 */
        else
            assert_in_range(rate, 7910000, 7920000);
    }
    assert_true(seen >> BBR_PROBE_BW_DOWN & seen >> BBR_PROBE_BW_UP & 1);
}

static void bbr_forgets_the_shortest_round_trip_after_ten_seconds(void **unused)
{
    (void)unused;
    struct tcp_connection *c = bbr_cruising();
    uint64_t start_ns = bbr_of(c)->min_rtt_stamp_ns;
    while (script.now_ns - start_ns < 9900 * NS_PER_MS) {
        round_trip(c, 80000, RTT_US + 5000, 8000000);
        assert_int_equal(bbr_of(c)->min_rtt_us, RTT_US);
    }
    while (script.now_ns - start_ns < 10100 * NS_PER_MS)
        round_trip(c, 80000, RTT_US + 5000, 8000000);
    assert_int_equal(bbr_of(c)->min_rtt_us, RTT_US + 5000);
}

static void bbr_learns_no_lower_rate_from_an_idle_application(void **unused)
{
    (void)unused;
    struct tcp_connection *c = bbr_cruising();
    bbr_advance_max_bw_filter(bbr_of(c));
    struct tcp_rate_sample sample = {
        .now_ns = script.now_ns,
        .rate = 1000000,
        .prior_delivered = c->delivery.delivered,
        .delivered = 1000,
        .newly_acked = 1000,
        .rtt_us = RTT_US,
        .is_app_limited = true,
        .has_data = true,
    };
    tcp_congestion_of(c)->control(c, &sample);
    assert_int_equal(bbr_of(c)->max_bw[1], 0);
    sample.rate = 9000000; /* but a higher one */
    tcp_congestion_of(c)->control(c, &sample);
    assert_int_equal(bbr_of(c)->max_bw[1], 9000000);
}

static void bbr_asks_for_no_marks(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->congestion = TCP_CONGESTION_BBR;
    peer("SEW 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>");
    ours("S. 0:0(0) ack 1");
}

/* ---- By rate alone ------------------------------------------------------------------------ */

/** Whether the rate is this, within a hundredth. */
static void rate_is(const struct tcp_connection *c, uint64_t rate)
{
    assert_in_range(c->rare->pacing->rate, rate - rate / 100, rate + rate / 100);
}

static void dctcp_rate_doubles_then_adds_then_gives_way(void **unused)
{
    (void)unused;
    struct tcp_connection *c = begin(TCP_CONGESTION_DCTCP_RATE);
    uint64_t rate = 1000ull * MSS; /* ten segments in 10 ms */
    rate_is(c, rate);
    round_trip(c, 10 * MSS, RTT_US, 0);
    rate_is(c, 2 * rate);
    c->rare->pacing->own.rate_based.slow_start = false;
    round_trip(c, 20 * MSS, RTT_US, 0);
    rate_is(c, 2 * rate + 100ull * MSS);
    /* Two windows without marks: alpha is (15/16)² of one; with all marked it grows by 1/16. */
    uint32_t alpha = c->rare->pacing->own.rate_based.alpha;
    assert_int_equal(alpha, 900);
    uint64_t before = c->rare->pacing->rate;
    tcp_rate_based_marks(c, 20 * MSS, true);
    round_trip(c, 20 * MSS, RTT_US, 0);
    assert_int_equal(c->rare->pacing->own.rate_based.alpha, 900 - 56 + 64);
    rate_is(c, before - before * 908 / 2048);
}

static void unused_rate_does_not_grow(void **unused)
{
    (void)unused;
    struct tcp_connection *c = begin(TCP_CONGESTION_DCTCP_RATE);
    uint64_t rate = c->rare->pacing->rate;
    round_trip(c, 2 * MSS, RTT_US, 0);
    rate_is(c, rate);
}

static void timely_grows_below_its_thresholds_and_falls_above(void **unused)
{
    (void)unused;
    struct tcp_connection *c = begin(TCP_CONGESTION_TIMELY);
    round_trip(c, 10 * MSS, RTT_US, 0); /* there is nothing to compare with yet */
    uint64_t rate = 1000ull * MSS;
    rate_is(c, rate);
    round_trip(c, 10 * MSS, RTT_US, 0);
    rate_is(c, 2 * rate);
    /* T_high is 12.5 ms: 20 ms take off 0.8 · (1 − 12.5/20) of the rate. */
    round_trip(c, 20 * MSS, 20000, 0);
    rate_is(c, 2 * rate - 2 * rate * 3 / 10);
    /* Back at 10.1 ms, below T_low: a segment more per round trip. */
    uint64_t before = c->rare->pacing->rate;
    round_trip(c, 20 * MSS, 10100, 0);
    rate_is(c, before + 100ull * MSS);
}

static void timely_follows_the_gradient_between_its_thresholds(void **unused)
{
    (void)unused;
    struct tcp_connection *c = begin(TCP_CONGESTION_TIMELY);
    round_trip(c, 10 * MSS, 11000, 0);
    uint64_t before = c->rare->pacing->rate;
    /* 1 ms more: 0.875 ms filtered, a gradient of 0.0875, of which 0.8 are taken. */
    round_trip(c, 20 * MSS, 12000, 0);
    rate_is(c, before - before * 7 / 100);
}

static void loss_halves_a_rate_and_timeout_leaves_two_segments(void **unused)
{
    (void)unused;
    struct tcp_connection *c = begin(TCP_CONGESTION_TIMELY);
    uint64_t rate = c->rare->pacing->rate;
    tcp_congestion_of(c)->ssthresh(c);
    rate_is(c, rate / 2);
    tcp_congestion_of(c)->timeout(c);
    rate_is(c, 200ull * MSS);
}

static void constant_rate_is_what_is_set(void **unused)
{
    (void)unused;
    struct tcp_connection *c = begin(TCP_CONGESTION_CONSTANT_RATE);
    assert_int_equal(info().pacing_rate_bytes_per_s, 125000000);
    struct tcp_options_set options = app_options();
    options.max_pacing_rate = 5000000;
    app_set_options(options);
    assert_int_equal(info().pacing_rate_bytes_per_s, 5000000);
    tcp_congestion_of(c)->ssthresh(c);
    round_trip(c, 1000, RTT_US, 0);
    assert_int_equal(info().pacing_rate_bytes_per_s, 5000000);
}

static void names_are_known_both_ways(void **unused)
{
    (void)unused;
    for (unsigned id = 0; id < TCP_CONGESTION_COUNT; id++)
        assert_int_equal(tcp_congestion_by_name(tcp_congestion_name(id)), id);
    assert_int_equal(tcp_congestion_by_name("vegas"), -1);
    assert_int_equal(tcp_congestion_by_name("cub"), -1);
    assert_null(tcp_congestion_name(TCP_CONGESTION_COUNT));
}

static void congestion_info_is_the_algorithms(void **unused)
{
    (void)unused;
    struct tcp_congestion_info told;
    struct tcp_connection *c = begin(TCP_CONGESTION_BBR);
    round_trip(c, 80000, RTT_US, 8000000);
    tcp_get_congestion_info(c, &told);
    assert_int_equal(told.kind, TCP_CONGESTION_INFO_BBR);
    assert_int_equal(told.bandwidth, 8000000);
    assert_int_equal(told.min_rtt_us, RTT_US);
    assert_int_equal(told.pacing_gain, 709);
    assert_int_equal(told.cwnd_gain, 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bbr_begins_at_277_hundredths_of_the_initial_window),
        TEST(bbr_leaves_startup_when_the_rate_stands_still),
        TEST(bbr_window_is_twice_the_product),
        TEST(bbr_probes_in_time),
        TEST(bbr_stays_in_startup_while_a_quarter_is_gained_a_round),
        TEST(bbr_waits_63_rounds_or_two_to_three_seconds_at_most_to_probe),
        TEST(bbr_looks_for_the_round_trip_every_five_seconds),
        TEST(bbr_lowers_its_bounds_by_three_tenths_a_round),
        TEST(bbr_paces_by_the_gain_of_its_state_less_a_hundredth),
        TEST(bbr_forgets_the_shortest_round_trip_after_ten_seconds),
        TEST(bbr_learns_no_lower_rate_from_an_idle_application),
        TEST(bbr_asks_for_no_marks),
        TEST(dctcp_rate_doubles_then_adds_then_gives_way),
        TEST(unused_rate_does_not_grow),
        TEST(timely_grows_below_its_thresholds_and_falls_above),
        TEST(timely_follows_the_gradient_between_its_thresholds),
        TEST(loss_halves_a_rate_and_timeout_leaves_two_segments),
        TEST(constant_rate_is_what_is_set),
        TEST(names_are_known_both_ways),
        TEST(congestion_info_is_the_algorithms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
