/* RST and SYN on synchronized connections (RFC 5961), and segments for nobody. */
#include "script.h"

#include <errno.h>

static void exact_reset_ends_the_connection(void **unused)
{
    (void)unused;
    established();
    peer("R 1:1(0)");
    assert_int_equal(events_taken(), STACK_EVENT_ERROR);
    assert_int_equal(tcp_error(script.connection), ECONNRESET);
    nothing();
    app_close();
    assert_int_equal(events_taken(), STACK_EVENT_CLOSED);
    nothing();
    assert_int_equal(connections_now(), 0);
}

static void reset_elsewhere_in_the_window_is_challenged(void **unused)
{
    (void)unused;
    established();
    peer("R 100:100(0)");
    assert_int_equal(script.result.drop, DROP_TCP_RESET_INVALID);
    ours(". 1:1(0) ack 1");
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
}

static void reset_outside_the_window_is_ignored(void **unused)
{
    (void)unused;
    established();
    peer("R 200000:200000(0)");
    nothing();
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
}

static void reset_after_the_peers_fin_is_a_broken_pipe(void **unused)
{
    (void)unused;
    established();
    peer("F. 1:1(0) ack 1");
    peer("R 2:2(0)");
    assert_int_equal(tcp_error(script.connection), EPIPE);
}

static void syn_on_a_connection_is_challenged(void **unused)
{
    (void)unused;
    established();
    peer("S 1:1(0) win 1000");
    assert_int_equal(script.result.drop, DROP_TCP_SYN_IN_WINDOW);
    ours(". 1:1(0) ack 1");
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
}

static void challenges_are_limited(void **unused)
{
    (void)unused;
    established();
    for (unsigned i = 0; i < 100; i++)
        peer("R %u:%u(0)", 100 + i, 100 + i);
    ours(". 1:1(0) ack 1");
    nothing();
}

static void reset_of_an_embryonic_connection_forgets_it(void **unused)
{
    (void)unused;
    peer("S 0:0(0) win 65535 <mss 1460>");
    ours("S. 0:0(0) ack 1");
    peer("R 1:1(0)");
    assert_int_equal(connections_now(), 0);
    nothing();
}

static void ack_for_nobody_is_reset(void **unused)
{
    (void)unused;
    peer(". 1:1(0) ack 500");
    ours("R 500:500(0)");
    nothing();
}

static void reset_for_nobody_is_ignored(void **unused)
{
    (void)unused;
    peer("R 1:1(0)");
    nothing();
}

static void syn_ack_for_a_listener_is_reset(void **unused)
{
    (void)unused;
    peer("S. 1:1(0) ack 500 win 1000");
    ours("R 500:500(0)");
}

static void syn_with_fin_is_dropped(void **unused)
{
    (void)unused;
    peer("SF 0:0(0) win 1000");
    assert_int_equal(script.result.drop, DROP_TCP_BAD_FLAGS);
    nothing();
}

static void send_on_a_reset_connection_fails(void **unused)
{
    (void)unused;
    established();
    peer("R 1:1(0)");
    assert_int_equal(tcp_send(script.stack, script.connection, 1, false, script.now_ns),
                     -ECONNRESET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(exact_reset_ends_the_connection),
        TEST(reset_elsewhere_in_the_window_is_challenged),
        TEST(reset_outside_the_window_is_ignored),
        TEST(reset_after_the_peers_fin_is_a_broken_pipe),
        TEST(syn_on_a_connection_is_challenged),
        TEST(challenges_are_limited),
        TEST(reset_of_an_embryonic_connection_forgets_it),
        TEST(ack_for_nobody_is_reset),
        TEST(reset_for_nobody_is_ignored),
        TEST(syn_ack_for_a_listener_is_reset),
        TEST(syn_with_fin_is_dropped),
        TEST(send_on_a_reset_connection_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
