/* Explicit congestion notification (RFC 3168) and DCTCP (RFC 8257). */
#include "script.h"

#include "core/tcp/congestion.h"
#include "core/tcp/ecn.h"

static void established_ecn(void)
{
    peer("SEW 0:0(0) win 65535 <mss 1460,sackOK,nop,nop,nop,wscale 7>");
    ours("SE. 0:0(0) ack 1");
    peer(". 1:1(0) ack 1 win 1000");
    assert_non_null(script.connection);
    assert_int_equal(info().options & 8, 8);
}

static void peer_that_asks_for_ecn_gets_it(void **unused)
{
    (void)unused;
    established_ecn();
    assert_int_equal(script.our_ecn, ECN_NOT_ECT); /* SYN-ACK */
    app_send(1000);
    ours("P. 1:1001(1000) ack 1");
    assert_int_equal(script.our_ecn, ECN_ECT_0);
    peer("P. 1:101(100) ack 1001");
    ours(". 1001:1001(0) ack 101");
    assert_int_equal(script.our_ecn, ECN_NOT_ECT); /* pure ACK */
}

static void peer_that_does_not_ask_gets_none(void **unused)
{
    (void)unused;
    established();
    app_send(1000);
    assert_int_equal(ours_any(), 1);
    assert_int_equal(script.our_ecn, ECN_NOT_ECT);
    assert_int_equal(info().options & 8, 0);
}

static void active_open_asks_when_configured_and_gives_in_when_repeated(void **unused)
{
    (void)unused;
    script.config.tcp.ecn = TCP_ECN_REQUEST;
    script_restart();
    connect_begin();
    ours("SEW 0:0(0)");
    after_ms(1000);
    ours("S 0:0(0)");
}

static void active_open_does_not_ask_by_default(void **unused)
{
    (void)unused;
    connect_begin();
    ours("S 0:0(0)");
}

static void answer_without_ece_declines(void **unused)
{
    (void)unused;
    script.config.tcp.ecn = TCP_ECN_REQUEST;
    script_restart();
    connect_begin();
    ours("SEW 0:0(0)");
    peer("S. 0:0(0) ack 1 win 65535 <mss 1460>");
    ours(". 1:1(0) ack 1");
    assert_int_equal(info().options & 8, 0);
}

static void mark_is_echoed_until_the_peer_says_it_slowed_down(void **unused)
{
    (void)unused;
    established_ecn();
    script.peer_ecn = ECN_CE;
    peer(". 1:1001(1000) ack 1");
    ours("E. 1:1(0) ack 1001");
    script.peer_ecn = ECN_ECT_0;
    peer(". 1001:2001(1000) ack 1");
    ours("E. 1:1(0) ack 2001");
    peer("W. 2001:3001(1000) ack 1");
    ours(". 1:1(0) ack 3001");
}

static void echo_halves_the_window_once_per_round_trip(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->congestion = TCP_CONGESTION_NEWRENO;
    established_ecn();
    app_send(30 * 1460);
    assert_int_equal(ours_any(), 10);
    after_ms(10);
    peer("E. 1:1(0) ack 1461");
    assert_int_equal(info().ca_state, TCP_CA_CWR);
    assert_int_equal(info().snd_ssthresh, 5);
    peer("E. 1:1(0) ack 2921");
    ours("W. 14601:16061(1460) ack 1"); /* two acknowledged, one sent: PRR */
    assert_int_equal(script.our_ecn, ECN_ECT_0);
    assert_int_equal(info().snd_ssthresh, 5);
    peer("E. 1:1(0) ack 14601");
    assert_int_equal(info().ca_state, TCP_CA_CWR); /* until what carried CWR is acknowledged */
    ours_any();
    peer(". 1:1(0) ack 16061");
    assert_int_equal(info().ca_state, TCP_CA_OPEN);
    assert_int_equal(info().snd_cwnd, 5);
    assert_int_equal(info().total_retrans, 0);
}

static void retransmission_is_not_ecn_capable(void **unused)
{
    (void)unused;
    established_ecn();
    app_send(1000);
    assert_int_equal(ours_any(), 1);
    after_ms(300);
    ours("P. 1:1001(1000) ack 1");
    assert_int_equal(script.our_ecn, ECN_NOT_ECT);
}

static void loss_while_reducing_does_not_reduce_again(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->congestion = TCP_CONGESTION_NEWRENO;
    established_ecn();
    app_send(10 * 1460);
    assert_int_equal(ours_any(), 10);
    peer("E. 1:1(0) ack 1461");
    peer(". 1:1(0) ack 1461 <sack 2921:7301>");
    assert_int_equal(info().ca_state, TCP_CA_RECOVERY);
    assert_int_equal(info().snd_ssthresh, 5);
    ours(". 1461:2921(1460) ack 1");
}

static void dctcp_asks_for_ecn_and_echoes_each_mark(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->congestion = TCP_CONGESTION_DCTCP;
    script.peer_ecn = ECN_ECT_0;
    established_ecn();
    script.peer_ecn = ECN_CE;
    peer(". 1:1001(1000) ack 1");
    ours("E. 1:1(0) ack 1001");
    assert_int_equal(script.our_ecn, ECN_ECT_0);
    script.peer_ecn = ECN_ECT_0;
    peer(". 1001:2001(1000) ack 1");
    ours(". 1:1(0) ack 2001");
}

static void dctcp_handshake_and_resets_are_ecn_capable(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->congestion = TCP_CONGESTION_DCTCP;
    script.peer_ecn = ECN_ECT_0;
    peer("SEW 0:0(0) win 65535 <mss 1460,sackOK,nop,nop,nop,wscale 7>");
    ours("SE. 0:0(0) ack 1");
    assert_int_equal(script.our_ecn, ECN_ECT_0);
    peer(". 1:1(0) ack 1 win 1000");
    app_abort();
    ours("R. 1:1(0) ack 1");
    assert_int_equal(script.our_ecn, ECN_ECT_0);
    script_restart();
    script.peer_ecn = ECN_NOT_ECT;
    established_ecn();
    app_abort();
    ours("R. 1:1(0) ack 1");
    assert_int_equal(script.our_ecn, ECN_NOT_ECT);
}

static void dctcp_reduces_by_the_share_of_marks(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->congestion = TCP_CONGESTION_DCTCP;
    script.peer_ecn = ECN_ECT_0;
    established_ecn();
    struct tcp_connection *c = script.connection;
    unsigned acked = 1;
    for (unsigned round = 0; round < 40; round++) { /* nothing marked: alpha decays */
        app_send(1460);
        assert_int_equal(ours_any(), 1);
        after_ms(1);
        acked += 1460;
        peer(". 1:1(0) ack %u", acked);
    }
    uint32_t alpha = c->congestion.own.dctcp.alpha;
    assert_true(alpha < 1024 / 8);
    app_send(1460);
    assert_int_equal(ours_any(), 1);
    peer("E. 1:1(0) ack %u", acked + 1460);
    alpha = c->congestion.own.dctcp.alpha;
    assert_in_range(alpha, 64, 64 + 1024 / 8); /* a sixteenth more */
    c->hot.cwnd = 100 * 1460;
    c->hot.ca_state = TCP_CA_CWR;
    uint32_t reduced = tcp_congestion_dctcp.ssthresh(c);
    assert_int_equal(reduced, 100 * 1460 - 100 * 1460 * alpha / 2048);
    c->hot.ca_state = TCP_CA_OPEN;
    assert_int_equal(tcp_congestion_dctcp.ssthresh(c), 50 * 1460); /* loss */
}

static void dctcp_estimates_once_a_window_by_a_sixteenth(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->congestion = TCP_CONGESTION_DCTCP;
    script.peer_ecn = ECN_ECT_0;
    established_ecn();
    struct tcp_dctcp *dctcp = &script.connection->congestion.own.dctcp;
    assert_int_equal(dctcp->alpha, 1024); /* the worst until more is known */
    app_send(4 * 1460);
    assert_int_equal(ours_any(), 4);
    peer(". 1:1(0) ack %u", 1 + 1460);
    assert_int_equal(dctcp->alpha, 1024 - 64);
    peer(". 1:1(0) ack %u", 1 + 2 * 1460);
    assert_int_equal(dctcp->alpha, 960);
    peer("E. 1:1(0) ack %u", 1 + 4 * 1460); /* two of three segments */
    assert_int_equal(dctcp->alpha, 960 - 60 + 64 * 2 / 3);
    dctcp->alpha = 10;
    app_send(1460);
    assert_int_equal(ours_any(), 1);
    peer(". 1:1(0) ack %u", 1 + 5 * 1460);
    assert_int_equal(dctcp->alpha, 0); /* less than a sixteenth is nothing */
}

static void dctcp_acknowledges_nothing_apart_that_is_not_in_host_memory_yet(void **unused)
{
    (void)unused;
    tcp_listener_options(script.listener)->congestion = TCP_CONGESTION_DCTCP;
    script.peer_ecn = ECN_ECT_0;
    established_ecn();
    tcp_quickack(script.stack, script.connection, false);
    peer(". 1:101(100) ack 1");
    nothing();
    tcp_placement_begin(script.connection);
    script.peer_ecn = ECN_CE;
    peer(". 101:201(100) ack 1");
    nothing();
    tcp_placement_end(script.stack, script.connection);
    ours("E. 1:1(0) ack 201");
    nothing();
}

/** Of three small segments from seq on, the first with these ECN bits, two are acknowledged at
    once. */
static void two_quick_acknowledgements(uint8_t ecn, unsigned seq, const char *flags)
{
    script.connection->hot.quick_acks = 0;
    tcp_quickack(script.stack, script.connection, false);
    for (unsigned i = 0; i < 3; i++) {
        script.peer_ecn = i == 0 ? ecn : ECN_ECT_0;
        peer(". %u:%u(100) ack 1", seq, seq + 100);
        seq += 100;
        if (i < 2)
            ours("%s 1:1(0) ack %u", flags, seq);
        else
            nothing();
    }
    after_ms(200);
    assert_int_equal(ours_any(), 1);
}

static void two_acknowledgements_are_not_delayed_after_news_of_congestion(void **unused)
{
    (void)unused;
    established_ecn();
    script.peer_ecn = ECN_ECT_0;
    peer(". 1:101(100) ack 1");
    assert_int_equal(ours_any(), 1);
    two_quick_acknowledgements(ECN_NOT_ECT, 101, "."); /* a retransmission, most likely */
    two_quick_acknowledgements(ECN_CE, 401, "E.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(peer_that_asks_for_ecn_gets_it),
        TEST(peer_that_does_not_ask_gets_none),
        TEST(active_open_asks_when_configured_and_gives_in_when_repeated),
        TEST(active_open_does_not_ask_by_default),
        TEST(answer_without_ece_declines),
        TEST(mark_is_echoed_until_the_peer_says_it_slowed_down),
        TEST(echo_halves_the_window_once_per_round_trip),
        TEST(retransmission_is_not_ecn_capable),
        TEST(loss_while_reducing_does_not_reduce_again),
        TEST(dctcp_asks_for_ecn_and_echoes_each_mark),
        TEST(dctcp_handshake_and_resets_are_ecn_capable),
        TEST(dctcp_reduces_by_the_share_of_marks),
        TEST(dctcp_estimates_once_a_window_by_a_sixteenth),
        TEST(dctcp_acknowledges_nothing_apart_that_is_not_in_host_memory_yet),
        TEST(two_acknowledgements_are_not_delayed_after_news_of_congestion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
