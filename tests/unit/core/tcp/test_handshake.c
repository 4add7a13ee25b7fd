/* Opening: passive, active, simultaneous; what is negotiated; retransmitted SYNs. */
#include "script.h"

#include <errno.h>

#include "core/tcp/connect.h"

static void passive_open_negotiates_what_linux_does(void **unused)
{
    (void)unused;
    established();
    struct tcp_connection_info i = info();
    assert_int_equal(i.snd_wscale, 7);
    assert_int_equal(i.rcv_wscale, 7);
    assert_int_equal(i.options, 7);
    assert_int_equal(i.snd_mss, 1448);
    assert_int_equal(i.snd_cwnd, 10);
    assert_int_equal(i.snd_wnd, 512 << 7);
    assert_int_equal(i.srtt_ns, 10 * NS_PER_MS);
    assert_int_equal(i.rto_ns, 210 * NS_PER_MS);
}

static void active_open_offers_what_linux_does(void **unused)
{
    (void)unused;
    connected();
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
    assert_int_equal(events_taken(), STACK_EVENT_ESTABLISHED);
    assert_int_equal(info().snd_mss, 1448);
}

static void options_the_peer_lacks_are_not_used(void **unused)
{
    (void)unused;
    established_plain(5000);
    app_send(100);
    ours("P. 1:101(100) ack 1");
    assert_int_equal(info().options, 0);
    assert_int_equal(info().snd_mss, 1000);
}

static void options_not_configured_are_not_offered(void **unused)
{
    (void)unused;
    script.config.tcp.timestamps = false;
    script.config.tcp.sack = false;
    script.config.tcp.window_scaling = false;
    script_restart();
    peer("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>");
    ours("S. 0:0(0) ack 1 win 64240 <mss 1460>");
}

static void peer_without_mss_option_gets_536(void **unused)
{
    (void)unused;
    peer("S 0:0(0) win 20000");
    ours("S. 0:0(0) ack 1 win 64240 <mss 1460>");
    peer(". 1:1(0) ack 1 win 20000");
    app_send(1000);
    ours(". 1:537(536) ack 1");
    ours("P. 537:1001(464) ack 1");
}

static void repeated_syn_gets_the_same_syn_ack(void **unused)
{
    (void)unused;
    peer("S 0:0(0) win 65535 <mss 1460>");
    ours("S. 0:0(0) ack 1");
    peer("S 0:0(0) win 65535 <mss 1460>");
    ours("S. 0:0(0) ack 1");
    nothing();
}

static void syn_ack_is_repeated_with_back_off_and_given_up(void **unused)
{
    (void)unused;
    peer("S 0:0(0) win 65535 <mss 1460>");
    ours("S. 0:0(0) ack 1");
    for (unsigned i = 0; i < 5; i++) {
        after_ms((1000u << i) - 1);
        nothing();
        after_ms(1);
        ours("S. 0:0(0) ack 1");
    }
    after_ms(32000);
    nothing();
    assert_int_equal(connections_now(), 0);
}

static void syn_is_repeated_as_linux_does_and_times_out(void **unused)
{
    (void)unused;
    static const unsigned seconds[] = {1, 1, 1, 1, 1, 2, 4, 8, 16, 32};
    connect_begin();
    ours("S 0:0(0) win 64240");
    for (unsigned i = 0; i < 10; i++) {
        after_ms(seconds[i] * 1000 - 1);
        nothing();
        after_ms(1);
        ours("S 0:0(0) win 64240");
    }
    after_ms(64000);
    nothing();
    assert_int_equal(events_taken(), STACK_EVENT_ERROR);
    assert_int_equal(tcp_error(script.connection), ETIMEDOUT);
    app_close();
    assert_int_equal(events_taken(), STACK_EVENT_CLOSED);
    stack_advance(script.stack, script.now_ns);
    assert_int_equal(connections_now(), 0);
}

static void refused_when_the_peer_resets_the_syn(void **unused)
{
    (void)unused;
    connect_begin();
    ours("S 0:0(0)");
    peer("R. 0:0(0) ack 1");
    nothing();
    assert_int_equal(events_taken(), STACK_EVENT_ERROR);
    assert_int_equal(tcp_error(script.connection), ECONNREFUSED);
}

static void reset_of_another_number_does_not_refuse(void **unused)
{
    (void)unused;
    connect_begin();
    ours("S 0:0(0)");
    peer("R. 0:0(0) ack 7");
    peer("R 0:0(0)");
    assert_int_equal(state(), TCP_STATE_SYN_SENT);
}

static void syn_ack_of_another_number_is_reset(void **unused)
{
    (void)unused;
    connect_begin();
    ours("S 0:0(0)");
    peer("S. 0:0(0) ack 5 win 1000");
    ours("R 5:5(0)");
    assert_int_equal(state(), TCP_STATE_SYN_SENT);
}

static void simultaneous_open_establishes(void **unused)
{
    (void)unused;
    connect_begin();
    ours("S 0:0(0)");
    peer("S 0:0(0) win 2000 <mss 1000>");
    ours("S. 0:0(0) ack 1 win 64240 <mss 1460,sackOK,TS>"); /* what the SYN offered, as Linux */
    assert_int_equal(state(), TCP_STATE_SYN_RECEIVED);
    peer("S. 0:0(0) ack 1 win 2000 <mss 1000>");
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
    assert_int_equal(events_taken(), STACK_EVENT_ESTABLISHED);
    ours(". 1:1(0) ack 1");
    nothing();
    app_send(10);
    ours("P. 1:11(10) ack 1");
}

static void close_during_a_simultaneous_open_waits_for_it(void **unused)
{
    (void)unused;
    connect_begin();
    ours("S 0:0(0)");
    peer("S 0:0(0) win 2000 <mss 1000>");
    ours("S. 0:0(0) ack 1");
    app_close();
    nothing();
    peer(". 1:1(0) ack 1 win 2000");
    ours("F. 1:1(0) ack 1");
    peer("F. 1:1(0) ack 2");
    assert_int_equal(events_taken(), STACK_EVENT_CLOSED);
    ours(". 2:2(0) ack 2");
}

static void payload_with_the_last_ack_is_taken(void **unused)
{
    (void)unused;
    peer("S 0:0(0) win 65535 <mss 1460>");
    ours("S. 0:0(0) ack 1");
    peer("P. 1:101(100) ack 1");
    assert_int_equal(script.placed_length, 100);
    assert_int_equal(events_taken(), STACK_EVENT_DATA);
    ours(". 1:1(0) ack 101");
}

static void wrong_ack_in_syn_received_is_reset(void **unused)
{
    (void)unused;
    peer("S 0:0(0) win 65535 <mss 1460>");
    ours("S. 0:0(0) ack 1");
    peer(". 1:1(0) ack 100");
    ours("R 100:100(0)");
    peer(". 1:1(0) ack 1");
    nothing();
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
}

static uint32_t first_number(const struct tcp_flow *flow, uint64_t later_ns)
{
    return tcp_first_numbers_choose(script.stack, flow, script.now_ns + later_ns).iss.value;
}

static void initial_numbers_follow_the_clock_per_flow(void **unused)
{
    (void)unused;
    struct tcp_flow flow = {.local_port = 1, .remote_port = 2};
    struct tcp_flow other = {.local_port = 1, .remote_port = 3};
    uint32_t first = first_number(&flow, 0);
    uint32_t later = first_number(&flow, 4096000);
    assert_int_equal(later - first, 1000);
    assert_int_not_equal(first, first_number(&other, 0));
}

static void timestamps_begin_anywhere_per_flow(void **unused)
{
    (void)unused;
    struct tcp_flow flow = {.local_port = 1, .remote_port = 2};
    struct tcp_flow other = {.local_port = 1, .remote_port = 3};
    uint32_t first = tcp_first_numbers_choose(script.stack, &flow, script.now_ns).ts_offset;
    uint32_t second = tcp_first_numbers_choose(script.stack, &other, script.now_ns).ts_offset;
    uint32_t later = tcp_first_numbers_choose(script.stack, &flow, 2 * script.now_ns).ts_offset;
    assert_int_not_equal(first, second);
    assert_int_equal(later, first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(passive_open_negotiates_what_linux_does),
        TEST(active_open_offers_what_linux_does),
        TEST(options_the_peer_lacks_are_not_used),
        TEST(options_not_configured_are_not_offered),
        TEST(peer_without_mss_option_gets_536),
        TEST(repeated_syn_gets_the_same_syn_ack),
        TEST(syn_ack_is_repeated_with_back_off_and_given_up),
        TEST(syn_is_repeated_as_linux_does_and_times_out),
        TEST(refused_when_the_peer_resets_the_syn),
        TEST(reset_of_another_number_does_not_refuse),
        TEST(syn_ack_of_another_number_is_reset),
        TEST(simultaneous_open_establishes),
        TEST(close_during_a_simultaneous_open_waits_for_it),
        TEST(payload_with_the_last_ack_is_taken),
        TEST(wrong_ack_in_syn_received_is_reset),
        TEST(initial_numbers_follow_the_clock_per_flow),
        TEST(timestamps_begin_anywhere_per_flow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
