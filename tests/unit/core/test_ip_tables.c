/* The pools, the flow and listener tables, timers and events of a stack. */
#include <errno.h>
#include <stdlib.h>

#include "base/byte_order.h"
#include "core/stack_state.h"
#include "ip_harness.h"

#define ANY_V4 v4("\0\0\0\0")
#define ANY_V6 v6("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")

static struct frame_builder b;
static uint8_t segment[64];

/** Who gets a segment to this endpoint. */
static struct tcp_listener *listener_for(struct ip_address to, uint16_t from_port)
{
    bool is_v4 = ip_address_is_v4(&to);
    struct ip_endpoint from = endpoint(is_v4 ? PEER_V4 : PEER_V6, from_port);
    struct ip_endpoint dest = endpoint(to, 80);
    uint32_t bytes = build_tcp(segment, &from, &dest, 1, 0);
    if (is_v4)
        build_ipv4(&b, from.address, to, 6, segment, bytes);
    else
        build_ipv6(&b, from.address, to, 6, 64, segment, bytes);
    assert_int_equal(harness_receive(b.bytes, b.length), STACK_RX_TCP);
    return harness.rx.listener;
}

static struct tcp_listener *listen_on(struct ip_address address, bool is_ipv6, bool v6only,
                                      bool reuse_port)
{
    struct tcp_listener *listener = stack_listener_alloc(harness.stack);
    assert_non_null(listener);
    listener->key = (struct tcp_listener_key){endpoint(address, 80), is_ipv6, v6only, reuse_port};
    assert_int_equal(stack_listener_insert(harness.stack, listener), 0);
    return listener;
}

static void most_specific_listener_wins(void **state)
{
    (void)state;
    struct tcp_listener *dual = listen_on(ANY_V6, true, false, true);
    assert_ptr_equal(listener_for(OUR_V4, 1), dual);
    assert_ptr_equal(listener_for(OUR_V6, 1), dual);
    struct tcp_listener *wildcard = listen_on(ANY_V4, false, false, true);
    assert_ptr_equal(listener_for(OUR_V4, 1), wildcard);
    assert_ptr_equal(listener_for(OUR_V6, 1), dual);
    struct tcp_listener *specific = listen_on(OUR_V4, false, false, true);
    assert_ptr_equal(listener_for(OUR_V4, 1), specific);
    stack_listener_remove(harness.stack, specific);
    assert_ptr_equal(listener_for(OUR_V4, 1), wildcard);
    stack_listener_remove(harness.stack, wildcard);
    stack_listener_remove(harness.stack, dual);
    assert_null(listener_for(OUR_V4, 1));
}

/* Of an AF_INET and an AF_INET6 socket at one IPv4 address, or at all of them, the former. */
static void ipv4_prefers_ipv4_sockets(void **state)
{
    (void)state;
    for (int any = 0; any < 2; any++) {
        struct ip_address address = any ? ANY_V4 : OUR_V4;
        for (int mapped_first = 0; mapped_first < 2; mapped_first++) {
            struct tcp_listener *first = listen_on(address, mapped_first, false, true);
            struct tcp_listener *second = listen_on(address, !mapped_first, false, true);
            struct tcp_listener *mapped = mapped_first ? first : second;
            struct tcp_listener *plain = mapped_first ? second : first;
            for (uint16_t port = 1; port <= 100; port++)
                assert_ptr_equal(listener_for(OUR_V4, port), plain);
            assert_null(listener_for(OUR_V6, 1));
            stack_listener_remove(harness.stack, plain);
            assert_ptr_equal(listener_for(OUR_V4, 1), mapped);
            stack_listener_remove(harness.stack, mapped);
        }
    }
}

static void v6only_listener_gets_no_ipv4(void **state)
{
    (void)state;
    struct tcp_listener *listener = listen_on(ANY_V6, true, true, false);
    assert_null(listener_for(OUR_V4, 1));
    assert_ptr_equal(listener_for(OUR_V6, 1), listener);
}

static void reuse_port_group_shares_by_flow(void **state)
{
    (void)state;
    struct tcp_listener *group[4];
    uint32_t counts[4] = {0};
    listen_on(ANY_V6, true, false, true); /* less specific for IPv4: gets none */
    for (int i = 0; i < 4; i++)
        group[i] = listen_on(ANY_V4, false, false, true);
    for (uint16_t port = 1; port <= 2000; port++) {
        struct tcp_listener *chosen = listener_for(OUR_V4, port);
        assert_ptr_equal(chosen, listener_for(OUR_V4, port));
        for (int i = 0; i < 4; i++)
            counts[i] += chosen == group[i];
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(counts[i], 400, 600);
}

static void pool_gives_out_all_and_takes_back(void **state)
{
    (void)state;
    struct tcp_connection *all[64];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 64; i++) {
            all[i] = stack_connection_alloc(harness.stack);
            assert_non_null(all[i]);
            assert_null(all[i]->user);
            all[i]->user = all;
        }
        assert_null(stack_connection_alloc(harness.stack));
        for (int i = 0; i < 64; i++)
            stack_connection_free(harness.stack, all[i]);
        assert_int_equal(stack_get_counters(harness.stack)->connections_now, 0);
    }
    assert_int_equal(drops(DROP_CONNECTION_LIMIT), 3);
}

static void unused_connections_stay_untouched(void **state)
{
    (void)state;
    size_t bytes = stack_memory_bytes(&harness.config);
    uint8_t *memory = harness.memory;
    size_t touched = 0;
    harness_meet_peer();
    for (int i = 0; i < 1000; i++)
        stack_connection_free(harness.stack, stack_connection_alloc(harness.stack));
    for (size_t page = 0; page + 4096 <= bytes; page += 4096) {
        bool zero = true;
        for (size_t i = 0; i < 4096; i++)
            zero = zero && memory[page + i] == 0;
        touched += !zero;
    }
    assert_true(touched < 32);
}

static void flow_table_behaves_like_a_list(void **state)
{
    (void)state;
    struct test_random random = {10};
    struct tcp_connection *connections[64] = {NULL};
    for (int step = 0; step < 20000; step++) {
        uint32_t index = test_random_below(&random, 64);
        bool is_v4 = index % 2 == 0;
        struct tcp_flow flow = {is_v4 ? OUR_V4 : OUR_V6, is_v4 ? PEER_V4 : PEER_V6, 80,
                                (uint16_t)(1 + index)};
        assert_ptr_equal(stack_flow_find(harness.stack, &flow), connections[index]);
        if (connections[index] != NULL) {
            if (step % 3 == 0)
                stack_flow_remove(harness.stack, connections[index]);
            stack_connection_free(harness.stack, connections[index]);
            connections[index] = NULL;
        } else {
            connections[index] =
                harness_connection(flow.local, flow.local_port, flow.remote, flow.remote_port);
        }
        if (step % 100 == 0)
            stack_check(harness.stack);
    }
}

/** Flows that differ in little, as those of a load balancer or of a scan, are spread as chance
   would: of n thrown into n buckets, n/e stay empty. */
static void flows_that_differ_in_little_are_spread(void **state)
{
    enum { BITS = 14, FLOWS = 1 << BITS };
    (void)state;
    static uint8_t counts[FLOWS];
    for (int kind = 0; kind < 3; kind++)
        for (unsigned shift = 0; shift <= 32 - BITS; shift++) {
            unsigned empty = 0, most = 0;
            memset(counts, 0, sizeof(counts));
            for (unsigned i = 0; i < FLOWS; i++) {
                struct tcp_flow flow = {OUR_V4, PEER_V4, 80, 40000};
                if (kind == 0)
                    flow.remote_port = (uint16_t)(1024 + i);
                else if (kind == 1)
                    flow.local_port = (uint16_t)(i << 2);
                else
                    store_be32(&flow.remote.bytes[12], UINT32_C(0x0a000000) + (i << 8));
                uint32_t hash = flow_table_hash(harness.stack, &flow);
                counts[hash >> shift & (FLOWS - 1)]++;
            }
            for (unsigned i = 0; i < FLOWS; i++) {
                empty += counts[i] == 0;
                most = counts[i] > most ? counts[i] : most;
            }
            assert_in_range(empty, FLOWS / 10 * 34 / 10, FLOWS / 10 * 40 / 10);
            assert_in_range(most, 4, 12);
        }
}

static void second_connection_of_a_flow_is_refused(void **state)
{
    (void)state;
    harness_connection(OUR_V4, 80, PEER_V4, 1025);
    struct tcp_connection *second = stack_connection_alloc(harness.stack);
    second->flow = (struct tcp_flow){OUR_V4, PEER_V4, 80, 1025};
    assert_int_equal(stack_flow_insert(harness.stack, second), -EADDRINUSE);
}

static bool visit(void *context, struct tcp_connection *connection)
{
    uint32_t *count = context;
    assert_true(connection->links.in_use);
    return ++*count < 5;
}

static void visiting_ends_when_told(void **state)
{
    (void)state;
    uint32_t count = 0;
    for (uint16_t i = 0; i < 3; i++)
        harness_connection(OUR_V4, 80, PEER_V4, (uint16_t)(1025 + i));
    stack_for_each_connection(harness.stack, visit, &count);
    assert_int_equal(count, 3);
    for (uint16_t i = 3; i < 10; i++)
        harness_connection(OUR_V4, 80, PEER_V4, (uint16_t)(1025 + i));
    count = 0;
    stack_for_each_connection(harness.stack, visit, &count);
    assert_int_equal(count, 5);
}

static void timers_expire_at_their_time(void **state)
{
    (void)state;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    uint64_t deadline_ns = harness.now_ns + 5 * NS_PER_MS;
    stack_timer_set(harness.stack, connection, deadline_ns);
    assert_true(stack_next_deadline(harness.stack) <= deadline_ns);
    harness_advance(5 * NS_PER_MS - 1);
    assert_int_equal(connection->timer_expirations, 0);
    harness_advance(1);
    assert_int_equal(connection->timer_expirations, 1);
    assert_int_equal(stack_next_deadline(harness.stack), TIME_NEVER);
    stack_timer_set(harness.stack, connection, harness.now_ns + NS_PER_S);
    stack_timer_set(harness.stack, connection, TIME_NEVER);
    assert_int_equal(stack_next_deadline(harness.stack), TIME_NEVER);
    stack_timer_set(harness.stack, connection, harness.now_ns + NS_PER_S);
    stack_connection_free(harness.stack, connection);
    assert_int_equal(stack_next_deadline(harness.stack), TIME_NEVER);
}

static void events_merge_and_come_in_order(void **state)
{
    (void)state;
    struct stack_event event;
    struct tcp_connection *first = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    struct tcp_connection *second = harness_connection(OUR_V4, 80, PEER_V4, 1026);
    first->user = &first;
    stack_event_raise(harness.stack, first, STACK_EVENT_DATA);
    stack_event_raise(harness.stack, second, STACK_EVENT_DATA);
    stack_event_raise(harness.stack, first, STACK_EVENT_FIN);
    assert_true(stack_next_event(harness.stack, &event));
    assert_ptr_equal(event.connection, first);
    assert_ptr_equal(event.user, &first);
    assert_int_equal(event.bits, STACK_EVENT_DATA | STACK_EVENT_FIN);
    stack_connection_free(harness.stack, second); /* its events are lost with it */
    assert_false(stack_next_event(harness.stack, &event));
}

static void expect_data_of(const struct tcp_connection *connection)
{
    struct stack_event event;
    assert_true(stack_next_event(harness.stack, &event));
    assert_ptr_equal(event.connection, connection);
    assert_int_equal(event.bits, STACK_EVENT_DATA);
}

static void who_goes_leaves_the_events_of_others_in_order(void **state)
{
    (void)state;
    struct stack_event event;
    struct tcp_connection *all[6];
    for (uint16_t i = 0; i < 6; i++) {
        all[i] = harness_connection(OUR_V4, 80, PEER_V4, 1025 + i);
        if (i < 5)
            stack_event_raise(harness.stack, all[i], STACK_EVENT_DATA);
    }
    stack_connection_free(harness.stack, all[2]);
    stack_connection_free(harness.stack, all[4]); /* the last */
    stack_connection_free(harness.stack, all[0]); /* the first */
    stack_check(harness.stack);
    stack_event_raise(harness.stack, all[5], STACK_EVENT_DATA);
    expect_data_of(all[1]);
    stack_event_raise(harness.stack, all[1], STACK_EVENT_DATA);
    expect_data_of(all[3]);
    expect_data_of(all[5]);
    stack_connection_free(harness.stack, all[1]); /* the only one */
    assert_false(stack_next_event(harness.stack, &event));
    stack_event_raise(harness.stack, all[3], STACK_EVENT_DATA);
    expect_data_of(all[3]);
    assert_false(stack_next_event(harness.stack, &event));
}

static void closed_connection_lives_until_its_event_is_handled(void **state)
{
    (void)state;
    struct stack_event event;
    struct tcp_connection *connection = harness_connection(OUR_V4, 80, PEER_V4, 1025);
    stack_event_raise(harness.stack, connection, STACK_EVENT_CLOSED);
    assert_true(stack_next_event(harness.stack, &event));
    assert_int_equal(event.bits, STACK_EVENT_CLOSED);
    assert_false(connection->closed_delivered);
    assert_false(stack_next_event(harness.stack, &event));
    assert_true(connection->closed_delivered);
    assert_int_equal(stack_get_counters(harness.stack)->connections_now, 0);
}

static void listener_events_survive_and_die_with_it(void **state)
{
    (void)state;
    struct stack_event event;
    struct tcp_listener *first = listen_on(OUR_V4, false, false, false);
    struct tcp_listener *second = listen_on(OUR_V6, true, false, false);
    stack_listener_event_raise(harness.stack, first, STACK_EVENT_ACCEPT);
    stack_listener_event_raise(harness.stack, first, STACK_EVENT_ACCEPT);
    stack_listener_event_raise(harness.stack, second, STACK_EVENT_ACCEPT);
    stack_listener_remove(harness.stack, second);
    stack_listener_free(harness.stack, second);
    assert_true(stack_next_event(harness.stack, &event));
    assert_ptr_equal(event.listener, first);
    assert_int_equal(event.bits, STACK_EVENT_ACCEPT);
    assert_false(stack_next_event(harness.stack, &event));
    stack_listener_event_raise(harness.stack, first, STACK_EVENT_ACCEPT);
    assert_true(stack_next_event(harness.stack, &event));
}

static void invalid_configurations_are_refused(void **state)
{
    (void)state;
    struct stack_config config = harness.config;
    config.core_index = 1;
    assert_int_equal(stack_memory_bytes(&config), 0);
    config = harness.config;
    config.prefixes[0].prefix_length = 24; /* of the 128-bit form it would be 120 */
    assert_int_equal(stack_memory_bytes(&config), 0);
    config = harness.config;
    config.mtu = 1279; /* too narrow for IPv6 */
    assert_int_equal(stack_memory_bytes(&config), 0);
    config = harness.config;
    config.local_port_first = 5;
    config.local_port_last = 4;
    assert_int_equal(stack_memory_bytes(&config), 0);
}

static void drop_reasons_have_names(void **state)
{
    (void)state;
    assert_string_equal(drop_reason_name(DROP_NONE), "NONE");
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        assert_non_null(drop_reason_name((enum drop_reason)i));
}

static void rss_is_the_same_for_both_directions_and_errors(void **state)
{
    (void)state;
    static struct frame_builder error;
    uint8_t message[200];
    uint32_t cores[4] = {0};
    for (uint16_t port = 1; port <= 1000; port++) {
        bool is_v4 = port % 2 == 0;
        struct ip_endpoint us = endpoint(is_v4 ? OUR_V4 : OUR_V6, 80);
        struct ip_endpoint peer = endpoint(is_v4 ? PEER_V4 : PEER_V6, port);
        uint32_t bytes = build_tcp(segment, &peer, &us, 1, 0);
        if (is_v4)
            build_ipv4(&b, peer.address, us.address, 6, segment, bytes);
        else
            build_ipv6(&b, peer.address, us.address, 6, 64, segment, bytes);
        unsigned core = stack_rss_core(harness.config.secret, b.bytes, b.length, 4);
        cores[core]++;
        bytes = build_tcp(segment, &us, &peer, 1, 0);
        if (is_v4)
            build_ipv4(&b, us.address, peer.address, 6, segment, bytes);
        else
            build_ipv6(&b, us.address, peer.address, 6, 64, segment, bytes);
        assert_int_equal(stack_rss_core(harness.config.secret, b.bytes, b.length, 4), core);
        bytes = build_icmp(message, is_v4, &peer.address, &us.address, is_v4 ? 3 : 1, 0, 0,
                           b.bytes + 14, b.length - 14);
        if (is_v4)
            build_ipv4(&error, peer.address, us.address, 1, message, bytes);
        else
            build_ipv6(&error, peer.address, us.address, 58, 64, message, bytes);
        assert_int_equal(stack_rss_core(harness.config.secret, error.bytes, error.length, 4), core);
        assert_false(stack_frame_is_for_all_cores(error.bytes, error.length));
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(cores[i], 180, 320);
}

static void fragments_go_to_core_zero(void **state)
{
    (void)state;
    struct ip_endpoint us = endpoint(OUR_V4, 80);
    for (uint16_t port = 1; port <= 50; port++) {
        struct ip_endpoint peer = endpoint(PEER_V4, port);
        uint32_t bytes = build_tcp(segment, &peer, &us, 1, 0);
        build_ipv4(&b, peer.address, us.address, 6, segment, bytes);
        patch_ipv4(&b, 6, "\x20\0", 2);
        assert_int_equal(stack_rss_core(harness.config.secret, b.bytes, b.length, 4), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(most_specific_listener_wins),
        TEST(ipv4_prefers_ipv4_sockets),
        TEST(v6only_listener_gets_no_ipv4),
        TEST(reuse_port_group_shares_by_flow),
        TEST(pool_gives_out_all_and_takes_back),
        TEST(unused_connections_stay_untouched),
        TEST(flow_table_behaves_like_a_list),
        TEST(flows_that_differ_in_little_are_spread),
        TEST(second_connection_of_a_flow_is_refused),
        TEST(visiting_ends_when_told),
        TEST(timers_expire_at_their_time),
        TEST(events_merge_and_come_in_order),
        TEST(who_goes_leaves_the_events_of_others_in_order),
        TEST(closed_connection_lives_until_its_event_is_handled),
        TEST(listener_events_survive_and_die_with_it),
        TEST(invalid_configurations_are_refused),
        TEST(drop_reasons_have_names),
        TEST(rss_is_the_same_for_both_directions_and_errors),
        TEST(fragments_go_to_core_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
