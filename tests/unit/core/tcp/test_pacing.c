/* Pacing: bursts, the time between them, whom it holds back, and that waiting costs nothing. */
#include "script.h"

#include <stdlib.h>
#include <time.h>

#include "core/tcp/pacing.h"

#define MSS 1448

static void established_at_rate(uint64_t bytes_per_s)
{
    struct tcp_options_set *options = tcp_listener_options(script.listener);
    options->max_pacing_rate = bytes_per_s;
    options->congestion = TCP_CONGESTION_NEWRENO;
    established();
    script.connection->hot.cwnd = 1000 * MSS;
    script.connection->hot.snd_wnd = 2000 * MSS;
}

/** Past the ten segments that are not paced, and what they were is acknowledged. */
static void initial_window_gone(void)
{
    app_send(10 * MSS);
    assert_int_equal(ours_any(), 10);
    after_ms(1);
    peer(". 1:1(0) ack %u win 65535", 10 * MSS + 1);
    script.connection->hot.snd_wnd = 2000 * MSS;
    script.connection->hot.cwnd = 1000 * MSS;
}

static void initial_window_is_not_paced(void **unused)
{
    (void)unused;
    established_at_rate(MSS * 1000);
    app_send(30 * MSS);
    assert_int_equal(ours_any(), 12); /* ten, and the first burst of two */
}

static void burst_is_a_millisecond_of_the_rate(void **unused)
{
    (void)unused;
    established_at_rate(MSS * UINT64_C(5000));
    initial_window_gone();
    app_send(100 * MSS);
    assert_int_equal(ours_any(), 5);
    after_us(500); /* nothing was sent for a while: half of the burst was free */
    assert_int_equal(ours_any(), 5);
    after_us(990);
    assert_int_equal(ours_any(), 0);
    after_us(10);
    assert_int_equal(ours_any(), 5);
}

static void burst_is_two_segments_at_least(void **unused)
{
    (void)unused;
    established_at_rate(MSS * UINT64_C(100));
    initial_window_gone();
    app_send(100 * MSS);
    assert_int_equal(ours_any(), 2);
    after_us(19000); /* an idle millisecond was made up for */
    assert_int_equal(ours_any(), 2);
    after_us(19900);
    assert_int_equal(ours_any(), 0);
    after_us(100);
    assert_int_equal(ours_any(), 2);
}

static void no_segment_holds_back_the_next_for_more_than_a_second(void **unused)
{
    (void)unused;
    established_at_rate(1);
    initial_window_gone();
    app_send(100 * MSS);
    assert_int_equal(ours_any(), 2);
    peer(". 1:1(0) ack %u win 65535", 12 * MSS + 1);
    after_ms(1900);
    assert_int_equal(ours_any(), 0);
    after_ms(100);
    assert_int_equal(ours_any(), 2);
}

static void burst_is_64_kib_at_most(void **unused)
{
    (void)unused;
    established_at_rate(UINT64_C(1000000000));
    initial_window_gone();
    app_send(900 * MSS);
    assert_in_range(ours_any(), 65536 / MSS, 65536 / MSS + 1);
}

static void rate_is_kept_over_a_second(void **unused)
{
    (void)unused;
    const uint64_t rate = 2000000;
    established_at_rate(rate);
    initial_window_gone();
    app_send(UINT64_C(4000000));
    uint64_t start = info().bytes_sent;
    unsigned acked = (unsigned)start;
    for (unsigned i = 0; i < 5000; i++) {
        ours_any();
        after_us(200);
        acked = (unsigned)info().bytes_sent;
        peer(". 1:1(0) ack %u win 65535", acked + 1);
        script.connection->hot.snd_wnd = 2000 * MSS;
    }
    assert_in_range(info().bytes_sent - start, rate - 3 * MSS, rate + 3 * MSS);
}

static void being_woken_late_costs_nothing(void **unused)
{
    (void)unused;
    established_at_rate(MSS * UINT64_C(1000));
    initial_window_gone();
    app_send(100 * MSS);
    assert_int_equal(ours_any(), 2);
    uint64_t start = info().bytes_sent;
    for (unsigned i = 0; i < 10; i++) { /* every 5 ms instead of every 2 */
        script.now_ns += 5 * NS_PER_MS;
        stack_advance(script.stack, script.now_ns);
        ours_any();
    }
    assert_in_range(info().bytes_sent - start, 48 * MSS, 52 * MSS);
}

static void lateness_is_made_up_by_half_a_burst_at_most(void **unused)
{
    (void)unused;
    established_at_rate(MSS * UINT64_C(1000));
    initial_window_gone();
    app_send(100 * MSS);
    assert_int_equal(ours_any(), 2); /* paid for after 2 ms */
    script.now_ns += 100 * NS_PER_MS;
    stack_advance(script.stack, script.now_ns);
    assert_int_equal(ours_any(), 2);
    after_us(990);
    assert_int_equal(ours_any(), 0);
    after_us(20);
    assert_int_equal(ours_any(), 2);
}

static void acknowledgements_are_not_held_back(void **unused)
{
    (void)unused;
    established_at_rate(MSS * UINT64_C(10));
    initial_window_gone();
    app_send(100 * MSS);
    assert_int_equal(ours_any(), 2);
    peer("P. 1:101(100) ack %u win 65535", 12 * MSS + 1);
    after_ms(45);
    assert_int_equal(ours_any(), 1);
    assert_int_equal(info().bytes_sent, 12 * MSS);
}

static void retransmissions_are_paced(void **unused)
{
    (void)unused;
    established_at_rate(MSS * UINT64_C(1000));
    initial_window_gone();
    app_send(20 * MSS);
    while (info().notsent_bytes > 0) {
        assert_true(ours_any() <= 4);
        after_ms(2);
    }
    unsigned una = 10 * MSS + 1;
    peer(". 1:1(0) ack %u win 65535 <nop,nop,sack %u:%u>", una, una + 10 * MSS, una + 20 * MSS);
    /* Ten are lost. A millisecond's worth of lateness may be made up for. */
    assert_in_range(ours_any(), 2, 3);
    assert_int_equal(ours_any(), 0);
    after_ms(2);
    assert_in_range(ours_any(), 1, 3);
    assert_in_range(info().total_retrans, 4, 5);
}

static void tcp_info_tells_the_rate(void **unused)
{
    (void)unused;
    established();
    assert_int_equal(info().max_pacing_rate_bytes_per_s, UINT64_MAX);
    struct tcp_options_set options = app_options();
    options.max_pacing_rate = 12345;
    app_set_options(options);
    assert_int_equal(info().pacing_rate_bytes_per_s, 12345);
    assert_int_equal(info().max_pacing_rate_bytes_per_s, 12345);
}

static void rate_of_an_unpaced_connection_is_by_its_window(void **unused)
{
    (void)unused;
    established();
    struct tcp_connection *c = script.connection;
    c->congestion.srtt_eighth = 8 * 10000;
    c->hot.cwnd = 100 * MSS;
    assert_int_equal(info().pacing_rate_bytes_per_s, 2 * 100 * MSS * 100);
    c->congestion.ssthresh = c->hot.cwnd;
    assert_int_equal(info().pacing_rate_bytes_per_s, 120 * MSS * 100);
}

/** The handshake takes 10 ms. @return segments that go out at once, of 60, of a window of so many,
    the first ten having gone. */
static unsigned let_out_of_window(uint64_t pace_rtt_ns, uint32_t segments)
{
    script.config.tcp.pace_rtt_ns = pace_rtt_ns;
    script_restart();
    connected();
    initial_window_gone();
    script.connection->hot.cwnd = segments * MSS;
    app_send(60 * MSS);
    return ours_any();
}

static void small_windows_are_let_out(void **unused)
{
    (void)unused;
    assert_in_range(let_out_of_window(2 * NS_PER_MS, 33), 2, 10);
    assert_int_equal(let_out_of_window(2 * NS_PER_MS, 32), 32);
    assert_in_range(let_out_of_window(0, 32), 2, 10);
    assert_int_equal(let_out_of_window(20 * NS_PER_MS, 33), 33);
}

static void no_limit_is_no_pacing(void **unused)
{
    (void)unused;
    established_at_rate(0);
    initial_window_gone();
    app_send(500 * MSS);
    assert_int_equal(ours_any(), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(initial_window_is_not_paced),
        TEST(burst_is_a_millisecond_of_the_rate),
        TEST(small_windows_are_let_out),
        TEST(burst_is_two_segments_at_least),
        TEST(no_segment_holds_back_the_next_for_more_than_a_second),
        TEST(burst_is_64_kib_at_most),
        TEST(rate_is_kept_over_a_second),
        TEST(being_woken_late_costs_nothing),
        TEST(lateness_is_made_up_by_half_a_burst_at_most),
        TEST(acknowledgements_are_not_held_back),
        TEST(retransmissions_are_paced),
        TEST(tcp_info_tells_the_rate),
        TEST(rate_of_an_unpaced_connection_is_by_its_window),
        TEST(no_limit_is_no_pacing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
