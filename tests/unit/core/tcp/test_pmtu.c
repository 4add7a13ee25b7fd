/* ICMP about our segments: packet too big, unreachable. */
#include "script.h"

#include <errno.h>

#include "core/ip/path_mtu.h"

static void icmp(enum tcp_icmp_kind kind, int error, uint16_t mtu, uint32_t relative_seq)
{
    tcp_icmp_arrives(script.stack, script.connection, kind, error, mtu,
                     seq_of(script.our_iss + relative_seq), script.now_ns);
    after_us(0);
}

static void packet_too_big_retransmits_in_smaller_segments(void **unused)
{
    (void)unused;
    established();
    app_send(3 * 1448);
    assert_int_equal(ours_any(), 3);
    icmp(TCP_ICMP_PACKET_TOO_BIG, EMSGSIZE, 1000, 1);
    ours(". 1:949(948) ack 1");
    ours(". 949:1449(500) ack 1"); /* as Linux, what was sent apart goes again apart */
    ours(". 1449:2397(948) ack 1");
    ours(". 2397:2897(500) ack 1");
    ours(". 2897:3845(948) ack 1");
    ours("P. 3845:4345(500) ack 1");
    nothing();
    assert_int_equal(info().pmtu, 1000);
    assert_int_equal(info().snd_cwnd, 10); /* not congestion: as many segments */
}

static void packet_too_big_about_nothing_in_flight_is_ignored(void **unused)
{
    (void)unused;
    established();
    app_send(1448);
    assert_int_equal(ours_any(), 1);
    icmp(TCP_ICMP_PACKET_TOO_BIG, EMSGSIZE, 1000, 100000);
    icmp(TCP_ICMP_PACKET_TOO_BIG, EMSGSIZE, 1000, 0);
    nothing();
    assert_int_equal(info().pmtu, 1500);
}

static void larger_mtu_is_ignored(void **unused)
{
    (void)unused;
    established();
    app_send(1448);
    assert_int_equal(ours_any(), 1);
    icmp(TCP_ICMP_PACKET_TOO_BIG, EMSGSIZE, 9000, 1);
    nothing();
    assert_int_equal(info().pmtu, 1500);
}

static void unreachable_ends_an_open_but_not_a_connection(void **unused)
{
    (void)unused;
    established();
    app_send(100);
    assert_int_equal(ours_any(), 1);
    icmp(TCP_ICMP_UNREACHABLE_SOFT, EHOSTUNREACH, 0, 1);
    assert_int_equal(events_taken(), STACK_EVENT_SOFT_ERROR);
    assert_int_equal(tcp_error(script.connection), EHOSTUNREACH);
    icmp(TCP_ICMP_UNREACHABLE_HARD, ECONNREFUSED, 0, 1);
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
    peer(". 1:1(0) ack 101");
    assert_int_equal(tcp_error(script.connection), 0);
}

static void unreachable_port_refuses_an_open(void **unused)
{
    (void)unused;
    connect_begin();
    ours("S 0:0(0)");
    icmp(TCP_ICMP_UNREACHABLE_HARD, ECONNREFUSED, 0, 0);
    assert_int_equal(events_taken(), STACK_EVENT_ERROR);
    assert_int_equal(tcp_error(script.connection), ECONNREFUSED);
}

static void unresolved_neighbour_fails_an_open(void **unused)
{
    (void)unused;
    connect_begin();
    ours("S 0:0(0)");
    tcp_neighbour_failed(script.stack, script.connection, script.now_ns);
    after_us(0);
    assert_int_equal(events_taken(), STACK_EVENT_ERROR);
    assert_int_equal(tcp_error(script.connection), EHOSTUNREACH);
}

static void learnt_path_mtu_limits_sending_but_not_what_we_announce(void **unused)
{
    (void)unused;
    established();
    struct ip_address remote = script.connection->flow.remote;
    path_mtu_learn(script.stack, &remote, 1000, 1500, script.now_ns);
    script.peer_port++;
    script.our_iss_known = false;
    peer("S 0:0(0) win 65535 <mss 1460,sackOK,nop,nop,nop,wscale 7>");
    ours("S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 7>");
    peer(". 1:1(0) ack 1");
    assert_int_equal(info().pmtu, 1000);
    assert_int_equal(info().snd_mss, 960);
    assert_int_equal(info().advmss, 1460);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(packet_too_big_retransmits_in_smaller_segments),
        TEST(packet_too_big_about_nothing_in_flight_is_ignored),
        TEST(larger_mtu_is_ignored),
        TEST(learnt_path_mtu_limits_sending_but_not_what_we_announce),
        TEST(unreachable_ends_an_open_but_not_a_connection),
        TEST(unreachable_port_refuses_an_open),
        TEST(unresolved_neighbour_fails_an_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
