/*
 * What hostile peers may cost: each attack here is bounded in answers, in memory and in work, the
 * counters tell of it, and honest peers are served meanwhile and afterwards. Work is this thread's
 * CPU time for a batch of packets, the least of several, beside another batch in the same run, with
 * a wide margin: growth with what the attacker has sent so far is what it would show.
 */
#include "base/assert.h"
#include "base/time_units.h"
#include "bench_stack.h"
#include "unit/base/test_support.h"

static struct bench bench;
static struct test_random chance;

static int set_up(void **unused)
{
    (void)unused;
    chance.state = 42;
    bench_begin(&bench, 16);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    bench_end(&bench);
    return 0;
}

static struct peer honest_peer(uint16_t port)
{
    return (struct peer){.address = 0x0a020202, .port = port, .seq = 1000, .window = 65535};
}

static const struct stack_counters *counters(void)
{
    return stack_get_counters(bench.stack);
}

/* MSS 1000, SACK permitted, no window scale. */
static const uint8_t sack_options[] = {2, 4, 1000 >> 8, 1000 & 0xff, 1, 1, 4, 2};

/** A connection whose send buffer holds this much; its peer's window is 64 KB. */
static struct peer connected(const uint8_t *options, uint32_t options_length, uint64_t to_send)
{
    struct peer peer = honest_peer(4000);
    bench_connect(&bench, &peer, options, options_length);
    if (to_send != 0)
        assert_int_equal(tcp_send(bench.stack, bench.accepted, to_send, false, bench.now_ns), 0);
    bench_pump(&bench);
    return peer;
}

static void put32(uint8_t *p, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* ---- Opening ------------------------------------------------------------------------------- */

static void syn_flood_keeps_memory_bounded_and_honest_clients_connect(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < 20000; i++) {
        struct peer peer = {.address = 0x0a030000 + i,
                            .port = (uint16_t)test_random_next(&chance),
                            .seq = test_random_next(&chance),
                            .window = 1000};
        bench_segment(&bench, &peer, TCP_SYN, sack_options, sizeof(sack_options), 0);
        if (i % 100 == 0)
            bench_pass(&bench, NS_PER_MS);
        if (i % 4000 == 3999) { /* in the midst of it */
            struct peer honest = honest_peer((uint16_t)(4500 + i / 4000));
            bench_connect(&bench, &honest, sack_options, sizeof(sack_options));
        }
    }
    assert_true(counters()->connections_now <= 64); /* back-log 16 */
    assert_true(counters()->syn_cookies_sent > 10000);
    for (unsigned i = 0; i < 10; i++) {
        struct peer peer = honest_peer((uint16_t)(5000 + i));
        bench_connect(&bench, &peer, sack_options, sizeof(sack_options));
    }
    assert_true(counters()->syn_cookies_accepted >= 1);
}

static void syns_with_data_and_guessed_cookies_are_ordinary_syns(void **unused)
{
    (void)unused;
    struct stack_config config;
    stack_config_init(&config);
    config.tcp.fast_open = TCP_FAST_OPEN_CLIENT | TCP_FAST_OPEN_SERVER;
    stack_set_tcp_defaults(bench.stack, &config.tcp);
    tcp_listener_set_fast_open(bench.listener, 16);
    bench_forget(&bench);
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t options[16] = {2, 4, 1000 >> 8, 1000 & 0xff, 34, 10};
        struct peer peer = {.address = 0x0a030000 + i, .port = 1000, .seq = i, .window = 1000};
        put32(options + 6, test_random_next(&chance));
        put32(options + 10, test_random_next(&chance));
        options[14] = options[15] = 1;
        bench_segment(&bench, &peer, TCP_SYN, options, sizeof(options), 500);
        if (i % 100 == 0)
            bench_pass(&bench, NS_PER_MS);
    }
    assert_int_equal(bench.accepts, 0);
    assert_int_equal(counters()->fast_open_passive, 0);
    assert_true(counters()->fast_open_passive_failed > 0);
    assert_true(counters()->connections_now <= 64);
    struct peer peer = honest_peer(5000);
    bench_connect(&bench, &peer, sack_options, sizeof(sack_options));
}

static void acks_that_are_no_cookies_make_no_connections(void **unused)
{
    (void)unused;
    bench_forget(&bench);
    for (unsigned i = 0; i < 20000; i++) {
        struct peer peer = {.address = 0x0a030000 + i,
                            .port = 1000,
                            .seq = test_random_next(&chance),
                            .ack = test_random_next(&chance),
                            .window = 1000};
        bench_segment(&bench, &peer, TCP_ACK, NULL, 0, 0);
    }
    assert_int_equal(counters()->connections_now, 0);
    assert_int_equal(bench.accepts, 0);
    assert_true(bench.tcp_out <= 20000); /* at most a reset each */
}

/* ---- Blind (RFC 5961) ---------------------------------------------------------------------- */

static void blind_segments_in_the_window_neither_end_nor_feed_a_connection(void **unused)
{
    (void)unused;
    static const uint8_t kinds[] = {TCP_RST, TCP_RST | TCP_ACK, TCP_SYN, TCP_ACK,
                                    TCP_ACK | TCP_PSH};
    struct peer peer = connected(sack_options, sizeof(sack_options), 0);
    bench_forget(&bench);
    uint64_t challenges = counters()->challenge_acks, drops = bench_drops(&bench);
    for (unsigned i = 0; i < 20000; i++) {
        struct peer blind = peer;
        uint8_t flags = kinds[i % sizeof(kinds)];
        blind.seq += 1 + test_random_below(&chance, 50000);
        blind.ack = flags == TCP_SYN ? 0 : peer.ack + 100000 + test_random_next(&chance) / 2;
        bench_segment(&bench, &blind, flags, NULL, 0, (flags & TCP_PSH) != 0 ? 10 : 0);
        bench_pass(&bench, NS_PER_MS);
    }
    assert_int_equal(bench.errors, 0);
    assert_int_equal(tcp_received_offset(bench.accepted), 0);
    assert_false(tcp_has_out_of_order(bench.accepted));
    /* 20 s of it, and an answer at most every half second. */
    assert_true(bench.tcp_out <= 2 * 20 + 2);
    assert_true(counters()->challenge_acks > challenges);
    assert_true(bench_drops(&bench) > drops);
    bench_segment(&bench, &peer, TCP_ACK | TCP_PSH, NULL, 0, 100);
    assert_int_equal(tcp_received_offset(bench.accepted), 100);
}

static void acks_of_nothing_start_no_storm(void **unused)
{
    (void)unused;
    struct peer peer = connected(sack_options, sizeof(sack_options), 0);
    bench_segment(&bench, &peer, TCP_ACK | TCP_PSH, NULL, 0, 100);
    bench_forget(&bench);
    /* As if the other end were answering each of our answers: two ends out of step. */
    struct peer lost = peer;
    lost.seq -= 5000;
    for (unsigned i = 0; i < 20000; i++)
        bench_segment(&bench, &lost, TCP_ACK, NULL, 0, 0);
    assert_true(bench.tcp_out <= 4);
}

/* ---- Feedback that lies -------------------------------------------------------------------- */

static void optimistic_acks_gain_nothing(void **unused)
{
    (void)unused;
    struct peer peer = connected(sack_options, sizeof(sack_options), 1000000);
    bench_forget(&bench);
    uint64_t acked = tcp_acked_offset(bench.accepted), drops = bench_drops(&bench);
    for (unsigned i = 0; i < 5000; i++) {
        struct peer liar = peer;
        liar.ack = peer.ack + 20000 + test_random_below(&chance, 1000000);
        bench_segment(&bench, &liar, TCP_ACK, NULL, 0, 0);
    }
    assert_int_equal(tcp_acked_offset(bench.accepted), acked);
    assert_int_equal(bench.payload_out, 0);
    assert_int_equal(bench_drops(&bench), drops + 5000);
}

static void acks_of_single_bytes_grow_the_window_by_bytes(void **unused)
{
    (void)unused;
    /* RFC 3465: ten thousand ACKs, each of one byte, are worth ten segments. */
    struct tcp_connection_info info;
    struct peer peer = connected(sack_options, sizeof(sack_options), 1000000);
    for (unsigned i = 0; i < 10000; i++) {
        peer.ack++;
        bench_segment(&bench, &peer, TCP_ACK, NULL, 0, 0);
    }
    tcp_get_info(bench.stack, bench.accepted, bench.now_ns, &info);
    assert_true(info.snd_cwnd <= 22);
}

/** An ACK with up to four SACK blocks of one byte each, every second byte, around a place. */
static void sack_splinters(const struct peer *peer, uint32_t from)
{
    uint8_t options[36] = {1, 1, 5, 34};
    for (uint32_t i = 0; i < 4; i++) {
        put32(options + 4 + 8 * i, peer->ack + from + 2 * i);
        put32(options + 8 + 8 * i, peer->ack + from + 2 * i + 1);
    }
    bench_segment(&bench, peer, TCP_ACK, options, sizeof(options), 0);
}

static uint64_t splinters_cpu_ns(const struct peer *peer, unsigned first)
{
    uint64_t began_ns = bench_cpu_ns();
    for (unsigned i = first; i < first + 500; i++)
        sack_splinters(peer, 1 + i * 8 % 9000);
    return bench_cpu_ns() - began_ns;
}

static void sack_splinters_cost_bounded_memory_and_work(void **unused)
{
    (void)unused;
    struct peer peer = connected(sack_options, sizeof(sack_options), 1000000);
    bench_forget(&bench);
    uint64_t early_ns = splinters_cpu_ns(&peer, 0), late_ns = UINT64_MAX;
    for (unsigned i = 1; i < 20; i++) {
        uint64_t batch_ns = splinters_cpu_ns(&peer, i * 500);
        late_ns = batch_ns < late_ns ? batch_ns : late_ns;
    }
    stack_check(bench.stack);
    assert_true(late_ns < 20 * early_ns + 50 * NS_PER_MS);
    /* What is sent for it stays within the window: nothing like a retransmission for each. */
    assert_true(bench.payload_out < 2000000);
    peer.ack += 10000;
    bench_segment(&bench, &peer, TCP_ACK, NULL, 0, 0);
    assert_int_equal(tcp_acked_offset(bench.accepted), 10000);
}

static uint64_t tiny_splinters_cpu_ns(struct peer *peer, unsigned round)
{
    uint64_t began_ns = bench_cpu_ns();
    for (unsigned i = 0; i < 500; i++)
        sack_splinters(peer, 36 + (i + 13 * round) * 36 % 7000);
    return bench_cpu_ns() - began_ns;
}

/** CVE-2019-11477: the smallest segments, and SACKs that tear them apart, loss by loss. */
static void sacks_of_tiny_segments_cost_bounded_memory_and_work(void **unused)
{
    (void)unused;
    static const uint8_t tiny[] = {2, 4, 0, 8, 1, 1, 4, 2};
    struct peer peer = connected(tiny, sizeof(tiny), 200000);
    for (unsigned i = 0; i < 40; i++) { /* slow start: many of them in flight */
        peer.ack = bench.last_seq + 1;
        bench_segment(&bench, &peer, TCP_ACK, NULL, 0, 0);
    }
    bench_forget(&bench);
    uint64_t early_ns = tiny_splinters_cpu_ns(&peer, 0), late_ns = UINT64_MAX;
    for (unsigned i = 1; i < 20; i++) {
        uint64_t batch_ns = tiny_splinters_cpu_ns(&peer, i);
        late_ns = batch_ns < late_ns ? batch_ns : late_ns;
        bench_pass(&bench, 100 * NS_PER_MS);
    }
    stack_check(bench.stack);
    assert_true(late_ns < 20 * early_ns + 50 * NS_PER_MS);
    assert_true(bench.smallest_payload >= 1);
    /* Two seconds; the window in small segments every timeout or recovery, not for each ACK. */
    assert_true(bench.tcp_out < 10000);
}

static void reneging_for_ever_makes_no_storm(void **unused)
{
    (void)unused;
    struct peer peer = connected(sack_options, sizeof(sack_options), 10000);
    bench_forget(&bench);
    for (unsigned i = 0; i < 500; i++) {
        sack_splinters(&peer, 2000 + i % 7 * 1000);
        bench_segment(&bench, &peer, TCP_ACK, NULL, 0, 0);
        bench_pass(&bench, 10 * NS_PER_MS);
    }
    /* Five seconds: an RTO or two a second and its window's worth, no more. */
    assert_true(bench.tcp_out < 500);
}

/* ---- Small things -------------------------------------------------------------------------- */

static void tiny_mss_is_bounded(void **unused)
{
    (void)unused;
    static const uint8_t tiny[] = {2, 4, 0, 1};
    bench_forget(&bench);
    connected(tiny, sizeof(tiny), 100000);
    /* Linux's least is 48 bytes, of which options may take some. */
    assert_true(bench.tcp_out > 1);
    assert_true(bench.smallest_payload >= 36);
    assert_true(bench.tcp_out <= 16);
}

static void one_byte_windows_draw_no_stream_of_bytes(void **unused)
{
    (void)unused;
    struct peer peer = connected(sack_options, sizeof(sack_options), 100000);
    peer.ack += 10000;
    peer.window = 1;
    bench_segment(&bench, &peer, TCP_ACK, NULL, 0, 0);
    bench_forget(&bench);
    for (unsigned i = 0; i < 1000; i++) {
        if (bench.payload_out > 0)
            peer.ack = bench.last_seq + 1;
        bench_segment(&bench, &peer, TCP_ACK, NULL, 0, 0);
        bench_pass(&bench, 10 * NS_PER_MS);
    }
    /* Ten seconds of it: forced out by the timer each time, not by each update. */
    assert_true(bench.tcp_out <= 60);
}

static uint64_t gaps_cpu_ns(struct peer *peer, uint32_t base, unsigned first)
{
    uint64_t began_ns = bench_cpu_ns();
    for (unsigned i = first; i < first + 500; i++) {
        peer->seq = base + 2 + i * 2;
        bench_segment(&bench, peer, TCP_ACK, NULL, 0, 1);
    }
    return bench_cpu_ns() - began_ns;
}

static void gaps_of_single_bytes_cost_bounded_memory_and_work(void **unused)
{
    (void)unused;
    struct peer peer = connected(sack_options, sizeof(sack_options), 0);
    uint32_t base = peer.seq;
    uint64_t drops = bench_drops(&bench);
    uint64_t early_ns = gaps_cpu_ns(&peer, base, 0), late_ns = UINT64_MAX;
    for (unsigned i = 1; i < 20; i++) {
        uint64_t batch_ns = gaps_cpu_ns(&peer, base, i * 500);
        late_ns = batch_ns < late_ns ? batch_ns : late_ns;
    }
    stack_check(bench.stack);
    assert_true(late_ns < 20 * early_ns + 50 * NS_PER_MS);
    assert_true(bench_drops(&bench) > drops);
    peer.seq = base;
    bench_segment(&bench, &peer, TCP_ACK | TCP_PSH, NULL, 0, 1000);
    assert_true(tcp_received_offset(bench.accepted) >= 1000);
}

/* ---- Fragments ----------------------------------------------------------------------------- */

static void fragments_that_never_end_are_bounded_and_forgotten(void **unused)
{
    (void)unused;
    uint64_t drops = bench_drops(&bench);
    for (unsigned i = 0; i < 20000; i++) {
        struct peer peer = {.address = 0x0a040000 + i % 97, .port = 7, .window = 100};
        uint16_t offset = (uint16_t)(8 * test_random_below(&chance, 1000));
        bench_fragment(&bench, &peer, (uint16_t)i, offset, 504, true);
    }
    assert_true(bench_drops(&bench) > drops);
    assert_int_equal(bench.accepts, 0);
    bench_pass(&bench, 120 * NS_PER_S);
    struct peer peer = honest_peer(4100);
    bench_connect(&bench, &peer, NULL, 0);
}

static void overlapping_fragments_are_no_packet(void **unused)
{
    (void)unused;
    uint64_t reassembled = counters()->reassembled;
    for (unsigned i = 0; i < 5000; i++) {
        struct peer peer = {.address = 0x0a040001, .port = 7, .window = 100};
        bench_fragment(&bench, &peer, (uint16_t)i, 0, 504, true);
        bench_fragment(&bench, &peer, (uint16_t)i, 496, 504, true);
        bench_fragment(&bench, &peer, (uint16_t)i, 1000, 8, false);
    }
    assert_int_equal(counters()->reassembled, reassembled);
}

#define ATTACK(name)                                                                               \
    {                                                                                              \
#name, name, set_up, tear_down, NULL                                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ATTACK(syn_flood_keeps_memory_bounded_and_honest_clients_connect),
        ATTACK(syns_with_data_and_guessed_cookies_are_ordinary_syns),
        ATTACK(acks_that_are_no_cookies_make_no_connections),
        ATTACK(blind_segments_in_the_window_neither_end_nor_feed_a_connection),
        ATTACK(acks_of_nothing_start_no_storm),
        ATTACK(optimistic_acks_gain_nothing),
        ATTACK(acks_of_single_bytes_grow_the_window_by_bytes),
        ATTACK(sack_splinters_cost_bounded_memory_and_work),
        ATTACK(sacks_of_tiny_segments_cost_bounded_memory_and_work),
        ATTACK(reneging_for_ever_makes_no_storm),
        ATTACK(tiny_mss_is_bounded),
        ATTACK(one_byte_windows_draw_no_stream_of_bytes),
        ATTACK(gaps_of_single_bytes_cost_bounded_memory_and_work),
        ATTACK(fragments_that_never_end_are_bounded_and_forgotten),
        ATTACK(overlapping_fragments_are_no_packet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
