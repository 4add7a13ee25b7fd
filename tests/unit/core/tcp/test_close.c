/* Closing: every path through the state diagram's lower half, orphans, TIME_WAIT and its reuse. */
#include "script.h"

#include <errno.h>

static void active_close_goes_through_fin_wait_to_time_wait(void **unused)
{
    (void)unused;
    established();
    app_close();
    ours("F. 1:1(0) ack 1");
    assert_int_equal(state(), TCP_STATE_FIN_WAIT_1);
    peer(". 1:1(0) ack 2");
    assert_int_equal(events_taken(), STACK_EVENT_CLOSED);
    nothing();
    peer("F. 1:1(0) ack 2");
    ours(". 2:2(0) ack 2");
    nothing();
    assert_int_equal(stack_get_counters(script.stack)->time_wait_now, 1);
    after_ms(59999);
    assert_int_equal(connections_now(), 1);
    after_ms(1);
    assert_int_equal(connections_now(), 0);
}

/** The peer has sent something, and it was acknowledged. */
static void established_and_received(void)
{
    established();
    peer("P. 1:11(10) ack 1");
    ours(". 1:1(0) ack 11");
    app_read_all();
    events_taken();
}

static void passive_close_has_the_fin_carry_the_ack(void **unused)
{
    (void)unused;
    established_and_received();
    peer("F. 11:11(0) ack 1");
    nothing();
    assert_int_equal(events_taken(), STACK_EVENT_FIN);
    assert_int_equal(state(), TCP_STATE_CLOSE_WAIT);
    app_close();
    ours("F. 1:1(0) ack 12");
    peer(". 12:12(0) ack 2");
    assert_int_equal(events_taken(), STACK_EVENT_CLOSED);
    nothing();
    assert_int_equal(connections_now(), 0);
}

static void fin_is_acknowledged_after_a_delay_if_nothing_carries_it(void **unused)
{
    (void)unused;
    established_and_received();
    peer("F. 11:11(0) ack 1");
    after_ms(39);
    nothing();
    after_ms(1);
    ours(". 1:1(0) ack 12");
}

static void fin_of_a_peer_that_sent_nothing_is_acknowledged_at_once(void **unused)
{
    (void)unused;
    established();
    peer("F. 1:1(0) ack 1");
    ours(". 1:1(0) ack 2");
}

/** A liar's: nobody reads any more, so that the first FIN that is next in order ends it (Linux). */
static void orphan_takes_a_fin_before_the_one_that_waits_beyond_a_gap(void **unused)
{
    (void)unused;
    established();
    peer("FP. 1001:1501(500) ack 1");
    ours(". 1:1(0) ack 1 <nop,nop,TS,nop,nop,sack 1001:1502>");
    app_close();
    ours("F. 1:1(0) ack 1 <nop,nop,TS,nop,nop,sack 1001:1502>");
    peer(". 1:1(0) ack 2");
    peer("F. 1:1(0) ack 2");
    ours(". 2:2(0) ack 2 <nop,nop,TS>");
    nothing(); /* and every invariant holds */
    assert_int_equal(stack_get_counters(script.stack)->time_wait_now, 1);
}

static void data_can_follow_the_peers_fin(void **unused)
{
    (void)unused;
    established();
    peer("F. 1:1(0) ack 1");
    app_send(100);
    ours("P. 1:101(100) ack 2");
    peer(". 2:2(0) ack 101");
    app_close();
    ours("F. 101:101(0) ack 2");
    peer(". 2:2(0) ack 102");
    assert_int_equal(connections_now(), 0);
}

static void fin_follows_data_that_waits(void **unused)
{
    (void)unused;
    established();
    app_send(100);
    app_shutdown_write();
    ours("FP. 1:101(100) ack 1");
    assert_int_equal(tcp_send(script.stack, script.connection, 1, false, script.now_ns), -EPIPE);
}

static void half_closed_connection_still_receives(void **unused)
{
    (void)unused;
    established();
    app_shutdown_write();
    ours("F. 1:1(0) ack 1");
    peer("P. 1:501(500) ack 2");
    assert_int_equal(script.placed_length, 500);
    ours(". 2:2(0) ack 501");
    assert_int_equal(state(), TCP_STATE_FIN_WAIT_2);
    after_ms(100000);
    nothing();
    assert_int_equal(state(), TCP_STATE_FIN_WAIT_2);
    peer("F. 501:501(0) ack 2");
    ours(". 2:2(0) ack 502");
    assert_int_equal(state(), TCP_STATE_TIME_WAIT);
}

static void simultaneous_close_goes_through_closing(void **unused)
{
    (void)unused;
    established();
    app_close();
    ours("F. 1:1(0) ack 1");
    peer("F. 1:1(0) ack 1");
    ours(". 2:2(0) ack 2");
    assert_int_equal(script.connection->hot.state, TCP_STATE_CLOSING);
    peer(". 2:2(0) ack 2");
    nothing();
    assert_int_equal(stack_get_counters(script.stack)->time_wait_now, 1);
}

static void fin_that_acknowledges_our_fin_leads_to_time_wait(void **unused)
{
    (void)unused;
    established();
    app_close();
    ours("F. 1:1(0) ack 1");
    peer("F. 1:1(0) ack 2");
    ours(". 2:2(0) ack 2");
    assert_int_equal(stack_get_counters(script.stack)->time_wait_now, 1);
}

static void unacknowledged_fin_is_echoed_though_more_came_in_time_wait(void **unused)
{
    (void)unused;
    established();
    app_close();
    ours("F. 1:1(0) ack 1");
    peer("F. 1:1(0) ack 2 <nop,nop,TS val 120 ecr 0>");
    peer(". 2:2(0) ack 2 <nop,nop,TS val 140 ecr 0>");
    ours(". 2:2(0) ack 2 <nop,nop,TS val 10 ecr 120>");
    peer(". 2:2(0) ack 2 <nop,nop,TS val 150 ecr 0>"); /* the last word */
    peer("F. 1:1(0) ack 2 <nop,nop,TS val 160 ecr 0>");
    ours(". 2:2(0) ack 2 <nop,nop,TS val 10 ecr 150>");
}

static void fin_is_retransmitted(void **unused)
{
    (void)unused;
    established_plain(5000);
    app_close();
    ours("F. 1:1(0) ack 1");
    after_ms(210);
    ours("F. 1:1(0) ack 1");
    after_ms(420);
    ours("F. 1:1(0) ack 1");
}

static void close_with_unread_data_resets(void **unused)
{
    (void)unused;
    established();
    peer("P. 1:101(100) ack 1");
    ours(". 1:1(0) ack 101");
    app_close();
    ours("R. 1:1(0) ack 101");
    assert_true(events_taken() & STACK_EVENT_CLOSED);
    assert_int_equal(connections_now(), 0);
}

static void data_after_close_resets(void **unused)
{
    (void)unused;
    established();
    app_close();
    ours("F. 1:1(0) ack 1");
    peer("P. 1:101(100) ack 2");
    assert_int_equal(script.result.drop, DROP_TCP_CLOSED_PAYLOAD);
    ours("R 2:2(0)");
    assert_int_equal(connections_now(), 0);
}

static void abort_resets(void **unused)
{
    (void)unused;
    established();
    app_send(100);
    ours("P. 1:101(100) ack 1");
    app_abort();
    ours("R. 101:101(0) ack 1");
    assert_true(events_taken() & STACK_EVENT_CLOSED);
    nothing();
    assert_int_equal(connections_now(), 0);
}

static void close_in_syn_sent_is_silent(void **unused)
{
    (void)unused;
    connect_begin();
    ours("S 0:0(0)");
    app_close();
    assert_int_equal(events_taken(), STACK_EVENT_CLOSED);
    nothing();
    assert_int_equal(connections_now(), 0);
}

static void orphan_waits_for_the_peers_fin_only_so_long(void **unused)
{
    (void)unused;
    established();
    app_close();
    ours("F. 1:1(0) ack 1");
    peer(". 1:1(0) ack 2");
    nothing();
    after_ms(59999);
    assert_int_equal(connections_now(), 1);
    after_ms(1);
    assert_int_equal(connections_now(), 0);
    nothing();
}

static void close_comes_after_all_data_is_acknowledged(void **unused)
{
    (void)unused;
    established();
    app_send(3000);
    app_close();
    ours(". 1:1449(1448) ack 1");
    ours(". 1449:2897(1448) ack 1");
    ours("FP. 2897:3001(104) ack 1");
    peer(". 1:1(0) ack 2897");
    assert_false(events_taken() & STACK_EVENT_CLOSED);
    peer(". 1:1(0) ack 3002");
    assert_true(events_taken() & STACK_EVENT_CLOSED);
}

static void time_wait_begin(void)
{
    established();
    app_close();
    ours("F. 1:1(0) ack 1");
    peer("F. 1:1(0) ack 2 <nop,nop,TS val 120 ecr 0>");
    ours(". 2:2(0) ack 2");
    nothing();
}

static void time_wait_acknowledges_a_repeated_fin_and_starts_over(void **unused)
{
    (void)unused;
    time_wait_begin();
    after_ms(30000);
    peer("F. 1:1(0) ack 2 <nop,nop,TS val 120 ecr 0>");
    ours(". 2:2(0) ack 2");
    after_ms(59999);
    assert_int_equal(connections_now(), 1);
    after_ms(1);
    assert_int_equal(connections_now(), 0);
}

static void time_wait_gives_way_to_a_new_syn(void **unused)
{
    (void)unused;
    time_wait_begin();
    peer("S 5:5(0) win 65535 <mss 1460,sackOK,TS val 130 ecr 0,nop,wscale 7>");
    ours("S. 65539:65539(0) ack 6");
    assert_int_equal(connections_now(), 1);
}

static void time_wait_gives_way_to_a_lower_syn_with_a_newer_timestamp(void **unused)
{
    (void)unused;
    time_wait_begin();
    peer("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 130 ecr 0,nop,wscale 7>");
    ours("S. 65539:65539(0) ack 1");
}

static void time_wait_answers_an_old_syn_with_an_ack(void **unused)
{
    (void)unused;
    time_wait_begin();
    after_ms(1000);
    peer("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 90 ecr 0,nop,wscale 7>");
    ours(". 2:2(0) ack 2");
}

static void time_wait_ends_by_an_exact_reset_only(void **unused)
{
    (void)unused;
    time_wait_begin();
    peer("R 7:7(0)");
    assert_int_equal(connections_now(), 1);
    peer("R 2:2(0)");
    assert_int_equal(connections_now(), 0);
}

static void shut_reading_resets_only_while_closing(void **unused)
{
    (void)unused;
    established();
    tcp_shutdown_read(script.stack, script.connection);
    peer("P. 1:101(100) ack 1");
    assert_int_equal(script.placed_length, 100);
    ours(". 1:1(0) ack 101");
    app_shutdown_write();
    ours("F. 1:1(0) ack 101");
    peer("P. 101:201(100) ack 2");
    ours("R 2:2(0)");
    assert_int_equal(tcp_error(script.connection), ECONNRESET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(active_close_goes_through_fin_wait_to_time_wait),
        TEST(passive_close_has_the_fin_carry_the_ack),
        TEST(fin_is_acknowledged_after_a_delay_if_nothing_carries_it),
        TEST(fin_of_a_peer_that_sent_nothing_is_acknowledged_at_once),
        TEST(data_can_follow_the_peers_fin),
        TEST(orphan_takes_a_fin_before_the_one_that_waits_beyond_a_gap),
        TEST(fin_follows_data_that_waits),
        TEST(half_closed_connection_still_receives),
        TEST(simultaneous_close_goes_through_closing),
        TEST(fin_that_acknowledges_our_fin_leads_to_time_wait),
        TEST(unacknowledged_fin_is_echoed_though_more_came_in_time_wait),
        TEST(fin_is_retransmitted),
        TEST(close_with_unread_data_resets),
        TEST(data_after_close_resets),
        TEST(abort_resets),
        TEST(close_in_syn_sent_is_silent),
        TEST(orphan_waits_for_the_peers_fin_only_so_long),
        TEST(close_comes_after_all_data_is_acknowledged),
        TEST(time_wait_acknowledges_a_repeated_fin_and_starts_over),
        TEST(time_wait_gives_way_to_a_new_syn),
        TEST(time_wait_gives_way_to_a_lower_syn_with_a_newer_timestamp),
        TEST(time_wait_answers_an_old_syn_with_an_ack),
        TEST(time_wait_ends_by_an_exact_reset_only),
        TEST(shut_reading_resets_only_while_closing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
