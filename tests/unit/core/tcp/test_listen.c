/* Back-log, SYN queue, cookies, TCP_DEFER_ACCEPT, closing a listener. */
#include "script.h"

static void syn_from(uint16_t port)
{
    script.peer_port = port;
    script.our_iss_known = false;
    peer("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>");
}

static void handshake_from(uint16_t port)
{
    syn_from(port);
    ours("S. 0:0(0) ack 1");
    peer(". 1:1(0) ack 1 win 512");
}

/** net.ipv4.tcp_syncookies */
static void use_cookies(enum tcp_syn_cookie_use use)
{
    struct tcp_defaults defaults = stack_get_config(script.stack)->tcp;
    defaults.syn_cookies = (uint8_t)use;
    stack_set_tcp_defaults(script.stack, &defaults);
}

static struct tcp_listener_info listener_info(void)
{
    struct tcp_listener_info info;
    tcp_listener_get_info(script.listener, &info);
    return info;
}

static void accept_queue_takes_one_more_than_the_backlog(void **unused)
{
    (void)unused;
    script.no_accept = true;
    tcp_listener_set_backlog(script.listener, 2);
    handshake_from(1);
    handshake_from(2);
    handshake_from(3);
    assert_int_equal(listener_info().accept_queue, 3);
    syn_from(4);
    assert_int_equal(script.result.drop, DROP_TCP_LISTEN_OVERFLOW);
    nothing();
    assert_non_null(tcp_listener_next(script.listener));
    tcp_listener_taken(script.listener);
    handshake_from(4);
    assert_int_equal(listener_info().accept_queue, 3);
}

static void last_ack_is_dropped_while_the_accept_queue_is_full(void **unused)
{
    (void)unused;
    script.no_accept = true;
    tcp_listener_set_backlog(script.listener, 2);
    syn_from(1);
    ours("S. 0:0(0) ack 1");
    uint32_t iss = script.our_iss;
    tcp_listener_set_backlog(script.listener, 1);
    handshake_from(2);
    tcp_listener_set_backlog(script.listener, 0);
    script.peer_port = 1;
    script.our_iss = iss;
    peer(". 1:1(0) ack 1 win 512");
    assert_int_equal(script.result.drop, DROP_TCP_LISTEN_OVERFLOW);
    assert_int_equal(listener_info().accept_queue, 1);
    nothing();
    assert_non_null(tcp_listener_next(script.listener));
    tcp_listener_taken(script.listener);
    after_ms(1000);
    ours("S. 0:0(0) ack 1");
    peer(". 1:1(0) ack 1 win 512");
    assert_int_equal(listener_info().accept_queue, 1);
}

static void full_syn_queue_answers_with_cookies(void **unused)
{
    (void)unused;
    tcp_listener_set_backlog(script.listener, 0);
    syn_from(1);
    ours("S. 0:0(0) ack 1");
    syn_from(2);
    script.our_ts_known = false;
    ours("S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK,TS,nop,wscale 7>");
    assert_int_equal(listener_info().syn_queue, 1);
    assert_int_equal(listener_info().syn_cookies_sent, 1);
    assert_int_equal(connections_now(), 1);
    after_ms(50);
    peer(". 1:1(0) ack 1 win 512 <nop,nop,TS val 150 ecr 0>");
    nothing();
    assert_int_equal(script.accepted, 1);
    /* What the SYN offered was kept in the timestamp. */
    assert_int_equal(info().options, 7);
    assert_int_equal(info().snd_wscale, 7);
    assert_int_equal(info().snd_mss, 1448);
    peer("P. 1:11(10) ack 1 <nop,nop,TS val 151 ecr 0>");
    ours(". 1:1(0) ack 11");
}

static void cookie_keeps_the_mss_without_timestamps(void **unused)
{
    (void)unused;
    use_cookies(TCP_SYN_COOKIES_ALWAYS);
    peer("S 0:0(0) win 65535 <mss 1400,sackOK,nop,wscale 7>");
    ours("S. 0:0(0) ack 1 win 64240 <mss 1460>");
    peer("P. 1:11(10) ack 1 win 5000");
    assert_int_equal(script.accepted, 1);
    assert_int_equal(info().snd_mss, 1400);
    assert_int_equal(info().snd_wnd, 5000);
    assert_int_equal(script.placed_length, 10);
}

static void forged_and_stale_cookies_are_reset(void **unused)
{
    (void)unused;
    use_cookies(TCP_SYN_COOKIES_ALWAYS);
    peer("S 0:0(0) win 65535 <mss 1400>");
    ours("S. 0:0(0) ack 1");
    peer(". 1:1(0) ack 2");
    assert_int_equal(script.result.drop, DROP_TCP_COOKIE_INVALID);
    ours("R 2:2(0)");
    peer(". 2:2(0) ack 1");
    ours("R 1:1(0)");
    after_ms(150000);
    peer(". 1:1(0) ack 1");
    ours("R 1:1(0)");
    assert_int_equal(script.accepted, 0);
}

static void full_syn_queue_without_cookies_drops(void **unused)
{
    (void)unused;
    use_cookies(TCP_SYN_COOKIES_OFF);
    tcp_listener_set_backlog(script.listener, 0);
    syn_from(1);
    ours("S. 0:0(0) ack 1");
    syn_from(2);
    nothing();
    assert_int_equal(script.result.drop, DROP_TCP_LISTEN_OVERFLOW);
    assert_int_equal(listener_info().overflows, 1);
}

static void defer_accept_waits_for_data(void **unused)
{
    (void)unused;
    tcp_listener_set_defer_accept(script.listener, 10 * NS_PER_S);
    handshake_from(1);
    assert_int_equal(script.accepted, 0);
    after_ms(3000);
    nothing();
    peer("P. 1:11(10) ack 1 win 512");
    assert_int_equal(script.accepted, 1);
    assert_int_equal(script.placed_length, 10);
}

static void listener_options_are_inherited(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->nodelay = true;
    tcp_listener_options(script.listener)->congestion = TCP_CONGESTION_NEWRENO;
    handshake_from(1);
    assert_true(app_options().nodelay);
    assert_string_equal(info().congestion_name, "reno");
}

static void closing_a_listener_resets_what_was_not_accepted(void **unused)
{
    (void)unused;
    script.no_accept = true;
    handshake_from(1);
    syn_from(2);
    ours("S. 0:0(0) ack 1");
    tcp_listener_close(script.stack, script.listener, script.now_ns);
    script.our_iss_known = false;
    struct stack_frame frame;
    unsigned resets = 0;
    while (stack_transmit(script.stack, script.now_ns, 0, &frame))
        resets += (frame.header[frame.l4_offset + 13] & TCP_RST) != 0;
    assert_int_equal(resets, 1);
    assert_int_equal(connections_now(), 0);
    peer(". 1:1(0) ack 1");
    ours("R 1:1(0)");
}

static void peer_that_resets_before_accept_is_still_accepted(void **unused)
{
    (void)unused;
    script.no_accept = true;
    handshake_from(1);
    peer("R 1:1(0)");
    assert_int_equal(listener_info().accept_queue, 1);
    script.no_accept = false;
    script.connection = tcp_listener_next(script.listener);
    tcp_listener_taken(script.listener);
    tcp_set_user(script.connection, &script);
    after_ms(0);
    assert_int_equal(events_taken(), STACK_EVENT_ERROR);
    app_close();
    after_ms(0);
    assert_int_equal(connections_now(), 0);
}

static void connections_beyond_the_limit_get_cookies(void **unused)
{
    (void)unused;
    script.config.connections_max = 2;
    script_restart();
    handshake_from(1);
    handshake_from(2);
    syn_from(3);
    ours("S. 0:0(0) ack 1");
    peer(". 1:1(0) ack 1");
    assert_int_equal(script.result.drop, DROP_CONNECTION_LIMIT);
    assert_int_equal(connections_now(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accept_queue_takes_one_more_than_the_backlog),
        TEST(last_ack_is_dropped_while_the_accept_queue_is_full),
        TEST(full_syn_queue_answers_with_cookies),
        TEST(full_syn_queue_without_cookies_drops),
        TEST(cookie_keeps_the_mss_without_timestamps),
        TEST(forged_and_stale_cookies_are_reset),
        TEST(defer_accept_waits_for_data),
        TEST(listener_options_are_inherited),
        TEST(closing_a_listener_resets_what_was_not_accepted),
        TEST(peer_that_resets_before_accept_is_still_accepted),
        TEST(connections_beyond_the_limit_get_cookies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
