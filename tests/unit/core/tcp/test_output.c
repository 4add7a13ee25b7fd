/* Sending: segmentation, PSH, Nagle, cork, silly windows, window probes, urgent data, GSO. */
#include "script.h"

static void write_is_cut_into_segments_with_psh_on_the_last(void **unused)
{
    (void)unused;
    established();
    app_send(3000);
    ours(". 1:1449(1448) ack 1 win 510 <nop,nop,TS>");
    ours(". 1449:2897(1448) ack 1");
    ours("P. 2897:3001(104) ack 1");
    nothing();
}

static void initial_window_is_ten_segments(void **unused)
{
    (void)unused;
    established();
    app_send(20 * 1448);
    for (unsigned i = 0; i < 10; i++)
        ours(". %u:%u(1448) ack 1", 1 + i * 1448, 1 + (i + 1) * 1448);
    nothing();
}

static void nagle_holds_a_small_segment_behind_a_small_one(void **unused)
{
    (void)unused;
    established();
    app_send(100);
    ours("P. 1:101(100) ack 1");
    app_send(100);
    nothing();
    app_send(100);
    nothing();
    peer(". 1:1(0) ack 101");
    ours("P. 101:301(200) ack 1");
    nothing();
}

static void nagle_sends_a_tail_behind_full_segments(void **unused)
{
    (void)unused;
    established();
    app_send(1448 + 10);
    ours(". 1:1449(1448) ack 1");
    ours("P. 1449:1459(10) ack 1");
}

static void app_send_record(uint64_t bytes)
{
    app_send(bytes);
    tcp_send_record_end(script.stack, script.connection);
}

/* The window is closed meanwhile, so that all of it waits to be sent. */
static void records_have_segments_of_their_own(void **unused)
{
    (void)unused;
    established();
    peer(". 1:1(0) ack 1 win 0");
    app_send(300);
    app_send_record(200);
    app_send_record(1448);
    app_send_record(1);
    app_send_record(1);
    app_send(50);
    nothing();
    peer(". 1:1(0) ack 1 win 510");
    ours("P. 1:501(500) ack 1");
    ours("P. 501:1949(1448) ack 1");
    ours("P. 1949:1950(1) ack 1");
    ours("P. 1950:1951(1) ack 1");
    nothing(); /* the rest is small, and no record ends with it */
    peer(". 1:1(0) ack 1951");
    ours("P. 1951:2001(50) ack 1");
    peer(". 1:1(0) ack 2001");
    app_send(1448 + 10); /* nothing is remembered */
    ours(". 2001:3449(1448) ack 1");
    ours("P. 3449:3459(10) ack 1");
}

static void records_past_the_limit_are_a_stream(void **unused)
{
    enum { LIMIT = 128 };
    (void)unused;
    established();
    peer(". 1:1(0) ack 1 win 0");
    for (unsigned i = 0; i < LIMIT + 10; i++)
        app_send_record(2);
    peer(". 1:1(0) ack 1 win 510");
    for (unsigned i = 0; i < LIMIT; i++)
        ours("P. %u:%u(2) ack 1", 1 + 2 * i, 3 + 2 * i);
    nothing(); /* the rest is one, and small */
    peer(". 1:1(0) ack %u", 1 + 2 * LIMIT);
    ours("P. %u:%u(20) ack 1", 1 + 2 * LIMIT, 21 + 2 * LIMIT);
}

static void nodelay_sends_at_once(void **unused)
{
    (void)unused;
    established();
    struct tcp_options_set options = app_options();
    options.nodelay = true;
    app_set_options(options);
    app_send(100);
    ours("P. 1:101(100) ack 1");
    app_send(100);
    ours("P. 101:201(100) ack 1");
}

static void nodelay_set_later_lets_go_what_nagle_held(void **unused)
{
    (void)unused;
    established();
    app_send(100);
    ours("P. 1:101(100) ack 1");
    app_send(100);
    nothing();
    struct tcp_options_set options = app_options();
    options.nodelay = true;
    app_set_options(options);
    ours("P. 101:201(100) ack 1");
}

static void cork_holds_until_a_full_segment_or_uncorked(void **unused)
{
    (void)unused;
    established();
    struct tcp_options_set options = app_options();
    options.cork = true;
    app_set_options(options);
    app_send(1000);
    nothing();
    app_send(1000);
    ours(". 1:1449(1448) ack 1");
    nothing();
    options.cork = false;
    app_set_options(options);
    ours("P. 1449:2001(552) ack 1");
}

static void cork_lets_go_after_a_while(void **unused)
{
    (void)unused;
    established();
    app_send_more(100);
    nothing();
    after_ms(209);
    nothing();
    after_ms(1);
    ours("P. 1:101(100) ack 1");
}

static void more_joins_the_next_write(void **unused)
{
    (void)unused;
    established();
    app_send_more(100);
    nothing();
    app_send(50);
    ours("P. 1:151(150) ack 1");
}

static void peers_window_is_not_exceeded(void **unused)
{
    (void)unused;
    established_plain(2500);
    app_send(5000);
    ours(". 1:1001(1000) ack 1");
    ours(". 1001:2001(1000) ack 1");
    nothing(); /* the 500 bytes left would be a silly segment */
    peer(". 1:1(0) ack 2001 win 2500");
    ours(". 2001:3001(1000) ack 1");
    ours(". 3001:4001(1000) ack 1");
}

static void zero_window_is_probed_with_back_off(void **unused)
{
    (void)unused;
    established_plain(2000);
    app_send(4000);
    ours(". 1:1001(1000) ack 1");
    ours(". 1001:2001(1000) ack 1");
    peer(". 1:1(0) ack 2001 win 0");
    nothing();
    after_ms(210);
    ours(". 2000:2000(0) ack 1");
    peer(". 1:1(0) ack 2001 win 0");
    nothing();
    after_ms(400);
    nothing();
    after_ms(20);
    ours(". 2000:2000(0) ack 1");
    peer(". 1:1(0) ack 2001 win 0");
    after_ms(800);
    nothing();
    after_ms(40);
    ours(". 2000:2000(0) ack 1");
    peer(". 1:1(0) ack 2001 win 4000");
    ours(". 2001:3001(1000) ack 1");
    ours("P. 3001:4001(1000) ack 1");
}

static void probing_a_dead_peer_ends(void **unused)
{
    (void)unused;
    established_plain(2000);
    app_send(4000);
    ours(". 1:1001(1000) ack 1");
    ours(". 1001:2001(1000) ack 1");
    peer(". 1:1(0) ack 2001 win 0");
    unsigned probes = 0;
    for (unsigned i = 0; i < 2000 && !(script.events & STACK_EVENT_ERROR); i++) {
        after_ms(1000);
        probes += ours_any();
    }
    assert_true(script.events & STACK_EVENT_ERROR);
    assert_in_range(probes, 14, 16);
}

static void silly_window_is_forced_after_a_while(void **unused)
{
    (void)unused;
    established_plain(2000);
    app_send(3000);
    ours(". 1:1001(1000) ack 1");
    ours(". 1001:2001(1000) ack 1");
    peer(". 1:1(0) ack 2001 win 100");
    nothing();
    after_ms(210);
    ours("P. 2001:2101(100) ack 1"); /* as Linux's tcp_write_wakeup() */
}

static void urgent_pointer_goes_with_what_precedes_it(void **unused)
{
    (void)unused;
    established();
    app_send(10);
    tcp_send_urgent(script.stack, script.connection, script.now_ns);
    ours("PU. 1:11(10) ack 1 urg 10");
    app_send(10);
    ours("P. 11:21(10) ack 1");
}

static void maxseg_bounds_segments_and_is_announced(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->maxseg = 600;
    peer("S 0:0(0) win 65535 <mss 1460>");
    ours("S. 0:0(0) ack 1 <mss 600>");
    peer(". 1:1(0) ack 1 win 65535");
    app_send(700);
    ours(". 1:601(600) ack 1");
    ours("P. 601:701(100) ack 1");
}

static void segments_shrink_when_sack_blocks_ride_along(void **unused)
{
    (void)unused;
    established();
    peer(". 1001:2001(1000) ack 1");
    app_send(2000);
    ours(". 1:1437(1436) ack 1 <nop,nop,TS,nop,nop,sack 1001:2001>");
    ours("P. 1437:2001(564) ack 1 <nop,nop,TS,nop,nop,sack 1001:2001>");
}

/** Source: Linux tcp_bound_to_half_wnd(). */
static void segments_are_half_of_the_largest_window_unless_that_is_small(void **unused)
{
    (void)unused;
    established_plain(1200);
    app_send(1000);
    ours(". 1:601(600) ack 1");
    script_restart();
    established_plain(500);
    app_send(1000);
    ours(". 1:501(500) ack 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(segments_are_half_of_the_largest_window_unless_that_is_small),
        TEST(write_is_cut_into_segments_with_psh_on_the_last),
        TEST(initial_window_is_ten_segments),
        TEST(nagle_holds_a_small_segment_behind_a_small_one),
        TEST(nagle_sends_a_tail_behind_full_segments),
        TEST(records_have_segments_of_their_own),
        TEST(records_past_the_limit_are_a_stream),
        TEST(nodelay_sends_at_once),
        TEST(nodelay_set_later_lets_go_what_nagle_held),
        TEST(cork_holds_until_a_full_segment_or_uncorked),
        TEST(cork_lets_go_after_a_while),
        TEST(more_joins_the_next_write),
        TEST(peers_window_is_not_exceeded),
        TEST(zero_window_is_probed_with_back_off),
        TEST(probing_a_dead_peer_ends),
        TEST(silly_window_is_forced_after_a_while),
        TEST(urgent_pointer_goes_with_what_precedes_it),
        TEST(maxseg_bounds_segments_and_is_announced),
        TEST(segments_shrink_when_sack_blocks_ride_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
