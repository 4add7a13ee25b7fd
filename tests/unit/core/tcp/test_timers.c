/* Keepalive, user timeout, retries, and the rule that nothing in flight is without a timer. */
#include "script.h"

#include <errno.h>

static void keepalive_on(uint64_t idle_s, uint64_t interval_s, uint8_t count)
{
    struct tcp_options_set options = app_options();
    options.keepalive = true;
    options.keepalive_idle_ns = idle_s * NS_PER_S;
    options.keepalive_interval_ns = interval_s * NS_PER_S;
    options.keepalive_count = count;
    app_set_options(options);
}

static void silent_peer_is_probed_and_given_up(void **unused)
{
    (void)unused;
    established();
    keepalive_on(10, 2, 3);
    after_ms(9999);
    nothing();
    after_ms(1);
    ours(". 0:0(0) ack 1");
    after_ms(2000);
    ours(". 0:0(0) ack 1");
    after_ms(2000);
    ours(". 0:0(0) ack 1");
    after_ms(2000);
    ours("R. 1:1(0) ack 1");
    assert_int_equal(events_taken(), STACK_EVENT_ERROR);
    assert_int_equal(tcp_error(script.connection), ETIMEDOUT);
}

static void answered_keepalive_goes_on(void **unused)
{
    (void)unused;
    established();
    keepalive_on(10, 2, 3);
    for (unsigned i = 0; i < 5; i++) {
        after_ms(10000);
        ours(". 0:0(0) ack 1");
        peer(". 1:1(0) ack 1");
        nothing();
    }
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
}

static void traffic_puts_keepalive_off(void **unused)
{
    (void)unused;
    established();
    keepalive_on(10, 2, 3);
    after_ms(6000);
    peer("P. 1:11(10) ack 1");
    assert_int_equal(ours_any(), 1);
    after_ms(6000);
    nothing();
    after_ms(4000);
    ours(". 0:0(0) ack 11");
}

static void keepalive_switched_off_is_silent(void **unused)
{
    (void)unused;
    established();
    keepalive_on(10, 2, 3);
    struct tcp_options_set options = app_options();
    options.keepalive = false;
    app_set_options(options);
    after_ms(100000);
    nothing();
}

static void user_timeout_ends_retransmission(void **unused)
{
    (void)unused;
    established_plain(50000);
    struct tcp_options_set options = app_options();
    options.user_timeout_ns = 3 * NS_PER_S;
    app_set_options(options);
    app_send(100);
    ours("P. 1:101(100) ack 1");
    uint64_t began_ns = script.now_ns;
    while (!(script.events & STACK_EVENT_ERROR)) {
        after_ms(10);
        ours_any();
        assert_true(script.now_ns - began_ns < 5 * NS_PER_S);
    }
    assert_true(script.now_ns - began_ns >= 3 * NS_PER_S);
    assert_int_equal(tcp_error(script.connection), ETIMEDOUT);
}

static void retransmission_ends_after_as_long_as_on_linux(void **unused)
{
    (void)unused;
    established_plain(50000);
    app_send(100);
    unsigned sent = ours_any();
    uint64_t began_ns = script.now_ns;
    while (!(script.events & STACK_EVENT_ERROR)) {
        after_ms(100);
        sent += ours_any();
        assert_true(script.now_ns - began_ns < 1100 * NS_PER_S);
    }
    /* 15 retries from 200 ms on: 924.6 s at least. */
    assert_in_range((script.now_ns - began_ns) / NS_PER_S, 924, 1060);
    assert_in_range(sent, 15, 17);
    assert_int_equal(tcp_error(script.connection), ETIMEDOUT);
}

static void orphan_retries_are_fewer(void **unused)
{
    (void)unused;
    established_plain(50000);
    app_send(100);
    app_close();
    ours_any();
    uint64_t began_ns = script.now_ns;
    while (connections_now() > 0) {
        after_ms(100);
        ours_any();
        assert_true(script.now_ns - began_ns < 250 * NS_PER_S);
    }
    assert_true(script.now_ns - began_ns > 50 * NS_PER_S);
}

static void idle_connection_has_no_deadline(void **unused)
{
    (void)unused;
    established();
    app_send(100);
    ours_any();
    peer(". 1:1(0) ack 101");
    after_ms(1000);
    struct tcp_connection *c = script.connection;
    assert_int_equal(c->hot.send_timer, TCP_SEND_TIMER_NONE);
    assert_int_equal(c->hot.ack_deadline_ns, TIME_NEVER);
    assert_int_equal(c->state_deadline_ns, TIME_NEVER);
}

static void connection_is_small(void **unused)
{
    (void)unused;
    assert_true(sizeof(struct tcp_hot) <= 128);
    assert_true(tcp_connection_bytes() <= 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(silent_peer_is_probed_and_given_up),
        TEST(answered_keepalive_goes_on),
        TEST(traffic_puts_keepalive_off),
        TEST(keepalive_switched_off_is_silent),
        TEST(user_timeout_ends_retransmission),
        TEST(retransmission_ends_after_as_long_as_on_linux),
        TEST(orphan_retries_are_fewer),
        TEST(idle_connection_has_no_deadline),
        TEST(connection_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
