/* Slow start, congestion avoidance by NewReno and CUBIC, cwnd validation, idleness. */
#include "script.h"

#include "core/tcp/congestion.h"

static unsigned acked;

/** Send and have acknowledged one window's worth; the application always has more. */
static void one_round_trip(uint64_t rtt_ms)
{
    uint32_t cwnd = info().snd_cwnd;
    app_send((cwnd + 10) * 1448 - info().notsent_bytes);
    unsigned sent = ours_any();
    assert_true(sent >= cwnd);
    after_ms(rtt_ms);
    while (sent > 0) {
        unsigned now = sent < 2 ? sent : 2;
        acked += now * 1448;
        peer(". 1:1(0) ack %u win 65535", acked);
        sent -= now;
    }
}

static void begin(uint8_t congestion)
{
    tcp_listener_options(script.listener)->congestion = congestion;
    established();
    acked = 1;
}

static void slow_start_doubles_each_round_trip(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_NEWRENO);
    one_round_trip(10);
    assert_int_equal(info().snd_cwnd, 20);
    ours_any();
}

static void newreno_adds_a_segment_each_round_trip(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_NEWRENO);
    script.connection->congestion.ssthresh = 10 * 1448;
    for (unsigned i = 1; i <= 5; i++) {
        one_round_trip(10);
        assert_in_range(info().snd_cwnd, 9 + i, 11 + i);
    }
}

static void newreno_halves_and_cubic_takes_off_three_tenths(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_NEWRENO);
    script.connection->hot.cwnd = 100 * 1448;
    assert_int_equal(tcp_congestion_newreno.ssthresh(script.connection) / 1448, 50);
    assert_int_equal(tcp_congestion_cubic.ssthresh(script.connection) / 1448, 70);
    script.connection->hot.cwnd = 1448;
    assert_int_equal(tcp_congestion_newreno.ssthresh(script.connection), 2 * 1448);
    assert_int_equal(tcp_congestion_cubic.ssthresh(script.connection), 2 * 1448);
}

/** CUBIC from a loss at w segments on. */
static struct tcp_connection *cubic_begin(uint32_t w, uint64_t rtt_ms)
{
    struct tcp_connection *c = script.connection;
    tcp_congestion_cubic.init(script.stack, c, script.now_ns);
    c->hot.cwnd = w * 1448;
    c->congestion.srtt_eighth = 8 * ((uint32_t)rtt_ms * 1000);
    c->congestion.ssthresh = c->hot.cwnd = tcp_congestion_cubic.ssthresh(c);
    return c;
}

/** A window is acknowledged, two segments at a time. */
static void cubic_round(struct tcp_connection *c, uint64_t now_ns)
{
    uint32_t left = c->hot.cwnd;
    while (left > 0) {
        uint32_t step = left < 2 * 1448 ? left : 2 * 1448;
        tcp_congestion_cubic.avoid(c, step, now_ns);
        left -= step;
    }
}

/** cwnd in segments after so long a congestion avoidance from a loss at w segments. */
static uint32_t cubic_after(uint32_t w, uint64_t rtt_ms, uint64_t ms)
{
    struct tcp_connection *c = cubic_begin(w, rtt_ms);
    for (uint64_t t = 0; t < ms; t += rtt_ms)
        cubic_round(c, script.now_ns + t * NS_PER_MS);
    return c->hot.cwnd / 1448;
}

static void cubic_is_back_at_its_maximum_after_k(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    /* K = cbrt(0.3 · 1000 / 0.4) = 9.09 s */
    assert_in_range(cubic_after(1000, 100, 4500), 900, 980);
    assert_in_range(cubic_after(1000, 100, 9100), 985, 1005);
    assert_in_range(cubic_after(1000, 100, 13600), 1020, 1060);
}

static void cubic_aims_a_round_trip_ahead(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    /* At once W_cubic(1 s) = 1000 - 0.4 · 8.09³ = 788; W_cubic(0) would be where it is. */
    assert_in_range(cubic_after(1000, 1000, 1000), 750, 760);
}

static void cubic_grows_by_half_a_round_trip_at_most(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    struct tcp_connection *c = cubic_begin(10000, 100);
    c->hot.cwnd = 100 * 1448;
    cubic_round(c, script.now_ns);
    uint32_t before = c->hot.cwnd;
    cubic_round(c, script.now_ns + 60 * NS_PER_S); /* far beyond K */
    assert_in_range(c->hot.cwnd, before + before / 5, before + before / 2);
}

static void cubic_is_as_fast_as_reno_on_short_paths(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    /* 200 round trips of 1 ms: 57 of 0.53 segments each to where it was, then one each. */
    assert_in_range(cubic_after(100, 1, 57), 97, 101);
    assert_in_range(cubic_after(100, 1, 200), 236, 246);
}

static void cubic_leaves_room_when_it_lost_at_less_than_before(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    struct tcp_connection *c = cubic_begin(100, 100);
    assert_int_equal(c->congestion.own.cubic.w_max, 100 * 1448);
    c->hot.cwnd = 80 * 1448;
    assert_int_equal(tcp_congestion_cubic.ssthresh(c) / 1448, 56);
    assert_in_range(c->congestion.own.cubic.w_max, 67 * 1448, 69 * 1448); /* 80 · (1 + 0.7) / 2 */
}

static void cubic_estimates_what_reno_would_have(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    struct tcp_connection *c = cubic_begin(100, 1);
    uint32_t start = c->hot.cwnd;
    for (uint64_t ms = 0; ms < 40; ms++)
        cubic_round(c, script.now_ns + ms * NS_PER_MS);
    /* 3 (1 - 0.7) / (1 + 0.7) segments each round */
    assert_in_range((c->congestion.own.cubic.w_est - start) / 40, 1448 * 525 / 1000,
                    1448 * 531 / 1000);
}

static void cubic_begins_an_epoch_where_it_is_when_that_is_above_the_maximum(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    struct tcp_connection *c = cubic_begin(100, 100);
    cubic_round(c, script.now_ns);
    (void)tcp_congestion_cubic.ssthresh(c); /* a loss */
    assert_int_equal(c->congestion.own.cubic.epoch_ms, 0);
    c->congestion.own.cubic.w_max = 50 * 1448;
    c->hot.cwnd = 80 * 1448;
    tcp_congestion_cubic.avoid(c, 1448, script.now_ns);
    assert_int_equal(c->congestion.own.cubic.origin, 80 * 1448);
    assert_int_equal(c->congestion.own.cubic.k_ms, 0);
}

static void cubic_returns_in_steps_to_what_reno_would_have(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    struct tcp_connection *c = cubic_begin(100, 1);
    cubic_round(c, script.now_ns);
    c->hot.cwnd = 10 * 1448; /* idleness */
    tcp_congestion_cubic.avoid(c, 2 * 1448, script.now_ns + NS_PER_MS);
    assert_int_equal(c->hot.cwnd, 12 * 1448);
}

static void cubic_takes_nothing_of_hystarts_for_its_own(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    one_round_trip(100);
    one_round_trip(100);
    struct tcp_connection *c = script.connection;
    uint32_t cwnd = c->hot.cwnd;
    (void)tcp_congestion_cubic.ssthresh(c); /* the first loss */
    assert_int_equal(c->congestion.own.cubic.w_max, cwnd);
}

static void cubic_begins_anew_after_a_timeout(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    struct tcp_connection *c = cubic_begin(1000, 100);
    cubic_round(c, script.now_ns);
    c->hot.cwnd = 1448;
    tcp_congestion_cubic.timeout(c);
    /* Long after: the curve's time starts here, so that it is at its beginning. */
    tcp_congestion_cubic.avoid(c, 1448, script.now_ns + 60 * NS_PER_S);
    uint64_t epoch_ns = script.now_ns + 60 * NS_PER_S;
    assert_int_equal(c->congestion.own.cubic.epoch_ms, epoch_ns / NS_PER_MS);
    assert_true(c->congestion.own.cubic.k_ms > 9000);
}

static void cubic_does_not_count_idle_time(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    uint32_t before = cubic_after(1000, 100, 4500);
    struct tcp_connection *c = script.connection;
    tcp_congestion_cubic.resume(c, 100 * NS_PER_S);
    cubic_round(c, script.now_ns + 4500 * NS_PER_MS + 100 * NS_PER_S);
    assert_in_range(c->hot.cwnd / 1448, before, before + 10);
}

/** A round trip of rtt_ms in which so many segments at a time are acknowledged, with timestamps. */
static void timed_round_trip_by(unsigned rtt_ms, unsigned segments)
{
    uint32_t cwnd = info().snd_cwnd;
    app_send((cwnd + 10) * 1448 - info().notsent_bytes);
    unsigned sent = ours_any();
    uint32_t sent_ms = (uint32_t)(script.now_ns / NS_PER_MS) + script.connection->hot.ts_offset -
                       script.our_ts_base;
    after_ms(rtt_ms);
    while (sent > 0) {
        unsigned now = sent < segments ? sent : segments;
        acked += now * 1448;
        peer(". 1:1(0) ack %u win 65535 <nop,nop,TS val 200 ecr %u>", acked, sent_ms);
        sent -= now;
    }
}

static void timed_round_trip(unsigned rtt_ms)
{
    timed_round_trip_by(rtt_ms, 2);
}

static void hystart_slows_down_when_a_queue_builds(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    timed_round_trip(40);
    timed_round_trip(40);
    assert_int_equal(info().snd_cwnd, 40);
    timed_round_trip(46); /* threshold: an eighth of 40 ms */
    uint32_t before = info().snd_cwnd;
    timed_round_trip(46);
    assert_in_range(info().snd_cwnd, before + before / 4 - 2, before + before / 4 + 2);
    for (unsigned i = 0; i < 4; i++) {
        timed_round_trip(46);
        assert_int_equal(info().snd_ssthresh, 0x7fffffff);
    }
    timed_round_trip(46);
    assert_true(info().snd_ssthresh < 0x7fffffff);
}

static void hystart_heeds_16_ms_on_the_longest_paths(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    timed_round_trip(400);
    timed_round_trip(400);
    timed_round_trip(417); /* an eighth would be 50 ms */
    uint32_t before = info().snd_cwnd;
    timed_round_trip(417);
    assert_in_range(info().snd_cwnd, before + before / 4 - 2, before + before / 4 + 2);
}

static void hystart_takes_less_than_an_eighth_for_no_queue(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    timed_round_trip(40);
    timed_round_trip(40);
    timed_round_trip(44);
    uint32_t before = info().snd_cwnd;
    timed_round_trip(44);
    assert_int_equal(info().snd_cwnd, 2 * before);
}

static void hystart_has_no_part_in_later_slow_starts(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    struct tcp_connection *c = cubic_begin(100, 10);
    cubic_round(c, script.now_ns);
    const struct tcp_cubic before = c->congestion.own.cubic;
    c->hot.cwnd = 10 * 1448;
    assert_int_equal(tcp_congestion_cubic.slow_start(c, 1448, script.now_ns), 1448);
    assert_memory_equal(&c->congestion.own.cubic, &before, sizeof(before));
}

static void hystart_believes_no_fewer_than_eight_samples(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    timed_round_trip(40);
    timed_round_trip_by(60, 3); /* twenty segments: seven samples */
    timed_round_trip(40);
    assert_int_equal(info().snd_cwnd, 80);
}

/** Rounds of slow start at a bottleneck that lets two segments pass every gap_us, the path being
    20 ms long; the application always has more. @return cwnd when slow start ended, or after
    these rounds. */
static uint32_t cwnd_after_train(uint64_t gap_us, unsigned rounds)
{
    begin(TCP_CONGESTION_CUBIC);
    app_send(4000 * 1448);
    unsigned in_flight = ours_any();
    for (unsigned round = 0; round < rounds; round++) {
        unsigned sent = in_flight;
        uint64_t train_us = (uint64_t)(sent + 1) / 2 * gap_us;
        in_flight = 0;
        after_us(train_us < 20000 || round == 0 ? 20000 - (round == 0 ? 0 : train_us) : 0);
        while (sent > 0) {
            unsigned now = sent < 2 ? sent : 2;
            acked += now * 1448;
            peer(". 1:1(0) ack %u win 65535", acked);
            if (info().snd_ssthresh != 0x7fffffff)
                return info().snd_cwnd;
            in_flight += ours_any();
            sent -= now;
            after_us(gap_us);
        }
    }
    return info().snd_cwnd;
}

static void hystart_ends_when_the_ack_train_is_half_a_round_trip(void **unused)
{
    (void)unused;
    /* 10 ms of ACKs, 500 µs apart, are 40 segments: in the round after it was 40. */
    uint32_t cwnd = cwnd_after_train(500, 4);
    assert_in_range(cwnd, 60, 84);
    assert_int_equal(info().snd_ssthresh, cwnd);
}

static void hystart_sees_no_train_in_acks_with_gaps(void **unused)
{
    (void)unused;
    /* 10 ms of ACKs in the first round already, were they one train. */
    assert_int_equal(cwnd_after_train(2100, 2), 40);
    assert_int_equal(info().snd_ssthresh, 0x7fffffff);
}

/** @return for how long ACKs came every gap_us until that ended slow start, the shortest round trip
    being 20 ms; 0: for 100 ms they did not. */
static uint64_t train_us(uint32_t segments, bool paced, uint64_t gap_us)
{
    struct tcp_connection *c = script.connection;
    uint64_t us = 0;
    tcp_congestion_cubic.init(script.stack, c, script.now_ns);
    c->hot.cwnd = segments * 1448;
    c->hot.paced = paced;
    c->congestion.min_rtt_us = 20000;
    c->congestion.ssthresh = TCP_SSTHRESH_INFINITE;
    while (us < 100000 && c->congestion.ssthresh == TCP_SSTHRESH_INFINITE) {
        us += gap_us;
        (void)tcp_congestion_cubic.slow_start(c, 1448, script.now_ns + us * NS_PER_US);
    }
    c->hot.paced = false;
    return us < 100000 ? us - gap_us : 0;
}

static void hystart_looks_for_a_longer_train_when_paced_and_for_none_in_small_windows(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    assert_int_equal(train_us(100, false, 500), 10500);
    assert_int_equal(train_us(100, true, 500), 20500);
    assert_int_equal(train_us(16, false, 500), 10500);
    assert_int_equal(train_us(15, false, 500), 0);
    assert_int_equal(train_us(100, false, 1900), 6 * 1900);
    assert_int_equal(train_us(100, false, 2100), 0);
}

static void hystart_goes_on_when_it_was_jitter(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    timed_round_trip(40);
    timed_round_trip(40);
    timed_round_trip(46);
    timed_round_trip(40);
    uint32_t before = info().snd_cwnd;
    timed_round_trip(40);
    assert_int_equal(info().snd_cwnd, 2 * before);
    assert_int_equal(info().snd_ssthresh, 0x7fffffff);
}

static void window_not_used_does_not_grow(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    for (unsigned i = 0; i < 20; i++) {
        app_send(100);
        assert_int_equal(ours_any(), 1);
        after_ms(10);
        acked += 100;
        peer(". 1:1(0) ack %u win 65535", acked);
    }
    assert_int_equal(info().snd_cwnd, 10);
}

static void idleness_brings_back_the_initial_window(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    one_round_trip(10);
    one_round_trip(10);
    while (ours_any() > 0 || info().unacked > 0) {
        acked = (unsigned)tcp_send_end_offset(script.connection) + 1;
        if (info().notsent_bytes == 0)
            peer(". 1:1(0) ack %u win 65535", acked);
        else
            peer(". 1:1(0) ack %u win 65535", (unsigned)(acked - info().notsent_bytes));
    }
    assert_true(info().snd_cwnd > 20);
    after_ms(10000);
    app_send(1448);
    ours_any();
    assert_int_equal(info().snd_cwnd, 10);
}

/** Segments of the window and the threshold after tenths of a timeout without sending. */
static void expect_after_idleness(unsigned tenths, uint32_t cwnd, uint32_t ssthresh,
                                  uint32_t cwnd_then, uint32_t ssthresh_then)
{
    struct tcp_connection *c = script.connection;
    app_send(100);
    assert_int_equal(ours_any(), 1);
    uint64_t rto_us = info().rto_ns / NS_PER_US;
    acked += 100;
    peer(". 1:1(0) ack %u win 65535", acked);
    c->hot.cwnd = cwnd * 1448;
    c->congestion.ssthresh = ssthresh * 1448;
    after_us(rto_us * tenths / 10);
    app_send(100);
    assert_int_equal(info().snd_cwnd, cwnd_then);
    assert_int_equal(info().snd_ssthresh, ssthresh_then);
    assert_int_equal(ours_any(), 1);
    acked += 100;
    peer(". 1:1(0) ack %u win 65535", acked);
}

static void idle_window_halves_each_timeout_down_to_the_initial_one(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_NEWRENO);
    expect_after_idleness(9, 48, 20, 48, 20);
    expect_after_idleness(15, 48, 20, 24, 36); /* three quarters of the window are remembered */
    expect_after_idleness(25, 48, 40, 12, 40);
    expect_after_idleness(15, 15, 20, 10, 20);
    expect_after_idleness(45, 4, 2, 4, 2);
}

static void algorithm_can_be_changed(void **unused)
{
    (void)unused;
    begin(TCP_CONGESTION_CUBIC);
    assert_string_equal(info().congestion_name, "cubic");
    struct tcp_options_set options = app_options();
    options.congestion = TCP_CONGESTION_NEWRENO;
    app_set_options(options);
    assert_string_equal(info().congestion_name, "reno");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(slow_start_doubles_each_round_trip),
        TEST(newreno_adds_a_segment_each_round_trip),
        TEST(newreno_halves_and_cubic_takes_off_three_tenths),
        TEST(cubic_is_back_at_its_maximum_after_k),
        TEST(cubic_aims_a_round_trip_ahead),
        TEST(cubic_grows_by_half_a_round_trip_at_most),
        TEST(cubic_is_as_fast_as_reno_on_short_paths),
        TEST(cubic_leaves_room_when_it_lost_at_less_than_before),
        TEST(cubic_estimates_what_reno_would_have),
        TEST(cubic_begins_an_epoch_where_it_is_when_that_is_above_the_maximum),
        TEST(cubic_returns_in_steps_to_what_reno_would_have),
        TEST(cubic_takes_nothing_of_hystarts_for_its_own),
        TEST(cubic_begins_anew_after_a_timeout),
        TEST(cubic_does_not_count_idle_time),
        TEST(hystart_slows_down_when_a_queue_builds),
        TEST(hystart_heeds_16_ms_on_the_longest_paths),
        TEST(hystart_takes_less_than_an_eighth_for_no_queue),
        TEST(hystart_has_no_part_in_later_slow_starts),
        TEST(hystart_believes_no_fewer_than_eight_samples),
        TEST(hystart_goes_on_when_it_was_jitter),
        TEST(hystart_ends_when_the_ack_train_is_half_a_round_trip),
        TEST(hystart_sees_no_train_in_acks_with_gaps),
        TEST(hystart_looks_for_a_longer_train_when_paced_and_for_none_in_small_windows),
        TEST(window_not_used_does_not_grow),
        TEST(idleness_brings_back_the_initial_window),
        TEST(idle_window_halves_each_timeout_down_to_the_initial_one),
        TEST(algorithm_can_be_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
