/* The receive window: what is offered, growth, silly windows, closing and opening, right-sizing. */
#include "script.h"

#include "core/tcp/receive.h"

static void window_follows_linux_after_the_handshake(void **unused)
{
    (void)unused;
    connected(); /* 64240 in the SYN, then 502 */
    app_send(10);
    ours("P. 1:11(10) ack 1 win 502");
}

static void window_never_moves_its_right_edge_back(void **unused)
{
    (void)unused;
    established_plain(5000);
    uint64_t edge = 1 + 64240;
    for (unsigned at = 1; at < 60001; at += 1000) {
        peer(". %u:%u(1000) ack 1", at, at + 1000);
        ours_any();
        uint64_t now = at + 1000 + tcp_receive_window(script.connection);
        assert_true(now >= edge);
        edge = now;
    }
}

static void full_buffer_closes_the_window_and_reading_opens_it(void **unused)
{
    (void)unused;
    established_plain(5000);
    unsigned at = 1;
    while (tcp_receive_window(script.connection) > 0) {
        unsigned window = tcp_receive_window(script.connection);
        unsigned length = window < 1460 ? window : 1460;
        peer(". %u:%u(%u) ack 1", at, at + length, length);
        at += length;
        after_ms(50);
        ours_any();
    }
    peer(". %u:%u(1) ack 1", at, at + 1); /* a probe into the closed window */
    ours(". 1:1(0) ack %u win 0", at);
    assert_int_equal(script.result.place_length, 0);
    app_read(100);
    nothing(); /* not worth telling */
    app_read(20000);
    ours(". 1:1(0) ack %u win 20440", at);
    nothing();
}

static void fixed_buffer_bounds_the_window(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->receive_buffer = 8192;
    peer("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>");
    ours("S. 0:0(0) ack 1 win 2896 <mss 1460,sackOK,TS val 0 ecr 100,nop,wscale 0>");
}

static void window_below_a_segment_is_offered_again_once_read(void **unused)
{
    (void)unused;
    established_plain(5000);
    struct tcp_connection *c = script.connection;
    c->hot.rcv_wnd = c->receive.ssthresh = 700;
    c->receive.buffer = 1400;
    for (unsigned at = 1; at < 701; at += 100) /* too little to let the window grow */
        peer("P. %u:%u(100) ack 1", at, at + 100);
    ours_any();
    assert_int_equal(tcp_receive_window(c), 0);
    c->receive.buffer = 92018; /* SO_RCVBUF */
    c->hot.rcv_mss = 1460;
    app_read(700);
    after_ms(500);
    ours_any();
    assert_int_equal(tcp_receive_window(c), 700);
}

static void window_clamp_bounds_the_window(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->window_clamp = 3000;
    peer("S 0:0(0) win 65535 <mss 1460,nop,wscale 7>");
    ours("S. 0:0(0) ack 1 win 2920 <mss 1460,nop,wscale 0>");
}

static void buffer_grows_when_the_application_keeps_up(void **unused)
{
    (void)unused;
    established();
    uint32_t before = info().rcv_ssthresh;
    unsigned at = 1, echo = 0;
    for (unsigned round = 0; round < 30; round++) {
        unsigned window = tcp_receive_window(script.connection);
        for (unsigned sent = 0; sent + 1448 <= window; sent += 1448) {
            peer(". %u:%u(1448) ack 1 <nop,nop,TS val %u ecr %u>", at, at + 1448, 200 + round,
                 echo);
            at += 1448;
            app_read_all();
            ours_any();
        }
        after_ms(20);
        echo += 20;
    }
    assert_true(info().rcv_ssthresh > 4 * before);
    assert_true(script.connection->receive.buffer <= script.config.tcp.receive_buffer_max);
}

static void buffer_stays_when_the_application_does_not_read(void **unused)
{
    (void)unused;
    established();
    for (unsigned at = 1; at < 40001; at += 1000) {
        peer(". %u:%u(1000) ack 1", at, at + 1000);
        ours_any();
        after_ms(20);
    }
    assert_int_equal(script.connection->receive.buffer, 131072);
}

static void read_beyond_what_was_received_is_capped(void **unused)
{
    (void)unused;
    established();
    peer("P. 1:101(100) ack 1");
    app_read(1000000);
    assert_int_equal(info().receive_queue_bytes, 0);
    stack_check(script.stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(window_follows_linux_after_the_handshake),
        TEST(window_never_moves_its_right_edge_back),
        TEST(full_buffer_closes_the_window_and_reading_opens_it),
        TEST(fixed_buffer_bounds_the_window),
        TEST(window_below_a_segment_is_offered_again_once_read),
        TEST(window_clamp_bounds_the_window),
        TEST(buffer_grows_when_the_application_keeps_up),
        TEST(buffer_stays_when_the_application_does_not_read),
        TEST(read_beyond_what_was_received_is_capped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
