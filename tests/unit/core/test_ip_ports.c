/* bind() conflicts as Linux has them, and the choice of ephemeral ports. */
#include <errno.h>

#include "ip_harness.h"

#define ANY_V4    v4("\0\0\0\0")
#define ANY_V6    v6("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")
#define LOCALHOST v4("\x7f\0\0\1")

/** A socket's address family and options, as bind() sees them. */
struct bound {
    enum { V4_ANY, V4_OURS, V4_LOCALHOST, V6_ANY, V6_ANY_ONLY, V6_OURS, MAPPED_OURS } address;
    bool reuse_address, reuse_port;
};

static const struct port_range any_port;

static struct ip_address address_of(const struct bound *socket)
{
    switch (socket->address) {
    case V4_ANY:
        return ANY_V4;
    case V4_LOCALHOST:
        return LOCALHOST;
    case V6_ANY:
    case V6_ANY_ONLY:
        return ANY_V6;
    case V6_OURS:
        return OUR_V6;
    case V4_OURS:
    case MAPPED_OURS:
        break;
    }
    return OUR_V4;
}

static int bind_socket(const struct bound *socket, uint16_t port)
{
    struct ip_endpoint local = endpoint(address_of(socket), port);
    return stack_port_bind(harness.stack, &local, any_port, socket->address >= V6_ANY,
                           socket->address == V6_ANY_ONLY, socket->reuse_address,
                           socket->reuse_port);
}

static void release_socket(const struct bound *socket, uint16_t port)
{
    struct ip_endpoint local = endpoint(address_of(socket), port);
    stack_port_release(harness.stack, &local, socket->address >= V6_ANY,
                       socket->address == V6_ANY_ONLY);
}

static void two_binds_conflict_as_in_linux(void **state)
{
    (void)state;
    static const struct {
        struct bound first, second;
        int result;
    } cases[] = {
        {{V4_ANY, 0, 0}, {V4_ANY, 0, 0}, -EADDRINUSE},
        {{V4_ANY, 0, 0}, {V4_OURS, 0, 0}, -EADDRINUSE},
        {{V4_OURS, 0, 0}, {V4_ANY, 0, 0}, -EADDRINUSE},
        {{V4_OURS, 0, 0}, {V4_LOCALHOST, 0, 0}, 0},
        {{V4_OURS, 0, 0}, {V4_OURS, 0, 0}, -EADDRINUSE},
        {{V4_ANY, 0, 0}, {V6_ANY, 0, 0}, -EADDRINUSE},
        {{V6_ANY, 0, 0}, {V4_ANY, 0, 0}, -EADDRINUSE},
        {{V6_ANY, 0, 0}, {V4_OURS, 0, 0}, -EADDRINUSE},
        {{V4_ANY, 0, 0}, {V6_ANY_ONLY, 0, 0}, 0},
        {{V6_ANY_ONLY, 0, 0}, {V4_OURS, 0, 0}, 0},
        {{V6_ANY_ONLY, 0, 0}, {V6_OURS, 0, 0}, -EADDRINUSE},
        {{V6_OURS, 0, 0}, {V4_ANY, 0, 0}, 0},
        {{V6_OURS, 0, 0}, {V6_ANY, 0, 0}, -EADDRINUSE},
        {{MAPPED_OURS, 0, 0}, {V4_OURS, 0, 0}, -EADDRINUSE},
        {{MAPPED_OURS, 0, 0}, {V4_LOCALHOST, 0, 0}, 0},
        {{V4_ANY, 1, 0}, {V4_ANY, 1, 0}, 0},
        {{V4_ANY, 1, 0}, {V4_ANY, 0, 0}, -EADDRINUSE},
        {{V4_ANY, 0, 0}, {V4_ANY, 1, 0}, -EADDRINUSE},
        {{V4_ANY, 0, 1}, {V4_ANY, 0, 1}, 0},
        {{V4_ANY, 0, 1}, {V4_ANY, 1, 0}, -EADDRINUSE},
        {{V6_ANY, 0, 1}, {V4_ANY, 0, 1}, 0},
        {{V4_ANY, 1, 1}, {V4_OURS, 1, 0}, 0},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(bind_socket(&cases[i].first, 80), 0);
        if (bind_socket(&cases[i].second, 80) != cases[i].result)
            fail_msg("case %u", i);
        assert_int_equal(bind_socket(&cases[i].second, 81), 0);
        release_socket(&cases[i].second, 81);
        release_socket(&cases[i].first, 80);
        if (cases[i].result == 0)
            release_socket(&cases[i].second, 80);
        assert_int_equal(bind_socket(&(struct bound){V4_ANY, 0, 0}, 80), 0);
        release_socket(&(struct bound){V4_ANY, 0, 0}, 80);
        assert_int_equal(bind_socket(&(struct bound){V6_ANY, 0, 0}, 80), 0);
        release_socket(&(struct bound){V6_ANY, 0, 0}, 80);
    }
}

static struct tcp_listener *listen_on(struct ip_address address, uint16_t port, bool is_ipv6,
                                      bool v6only, bool reuse_port, int result)
{
    struct tcp_listener *listener = stack_listener_alloc(harness.stack);
    assert_non_null(listener);
    listener->key = (struct tcp_listener_key){endpoint(address, port), is_ipv6, v6only, reuse_port};
    assert_int_equal(stack_listener_insert(harness.stack, listener), result);
    if (result == 0)
        return listener;
    stack_listener_free(harness.stack, listener);
    return NULL;
}

static void listener_is_not_shared_by_reuse_address(void **state)
{
    (void)state;
    const struct bound reusing = {V4_ANY, 1, 0};
    assert_int_equal(bind_socket(&reusing, 80), 0);
    assert_int_equal(bind_socket(&reusing, 80), 0);
    listen_on(ANY_V4, 80, false, false, false, 0);
    assert_int_equal(bind_socket(&reusing, 80), -EADDRINUSE);
    listen_on(ANY_V4, 80, false, false, false, -EADDRINUSE);
    listen_on(ANY_V6, 80, true, false, false, -EADDRINUSE);
    listen_on(ANY_V6, 80, true, true, false, 0);
}

static void listeners_share_by_reuse_port(void **state)
{
    (void)state;
    listen_on(ANY_V4, 80, false, false, true, 0);
    listen_on(ANY_V4, 80, false, false, true, 0);
    listen_on(ANY_V4, 80, false, false, false, -EADDRINUSE);
    assert_int_equal(bind_socket(&(struct bound){V4_ANY, 0, 1}, 80), 0);
}

static void connections_hold_the_port_after_the_listener(void **state)
{
    (void)state;
    const struct bound plain = {V4_ANY, 0, 0};
    const struct bound reusing = {V4_ANY, 1, 0};
    for (int server_reuses = 0; server_reuses < 2; server_reuses++) {
        const struct bound *server = server_reuses != 0 ? &reusing : &plain;
        assert_int_equal(bind_socket(server, 80), 0);
        struct tcp_listener *listener = listen_on(ANY_V4, 80, false, false, false, 0);
        struct tcp_connection *accepted = harness_connection(OUR_V4, 80, PEER_V4, 1025);
        stack_listener_remove(harness.stack, listener);
        stack_listener_free(harness.stack, listener);
        release_socket(server, 80);
        /* The server is gone, a connection of its is not: what a restarted server meets. */
        assert_int_equal(bind_socket(&plain, 80), -EADDRINUSE);
        assert_int_equal(bind_socket(&reusing, 80), server_reuses != 0 ? 0 : -EADDRINUSE);
        if (server_reuses != 0)
            release_socket(&reusing, 80);
        assert_int_equal(bind_socket(&(struct bound){V4_LOCALHOST, 0, 0}, 80), 0);
        release_socket(&(struct bound){V4_LOCALHOST, 0, 0}, 80);
        stack_connection_free(harness.stack, accepted);
        assert_int_equal(bind_socket(&plain, 80), 0);
        release_socket(&plain, 80);
    }
}

static void address_that_is_not_ours_cannot_be_bound(void **state)
{
    (void)state;
    struct ip_endpoint local = endpoint(PEER_V4, 80);
    assert_int_equal(stack_port_bind(harness.stack, &local, any_port, false, false, false, false),
                     -EADDRNOTAVAIL);
    listen_on(PEER_V6, 80, true, false, false, -EADDRNOTAVAIL);
}

static void port_zero_gets_one_of_the_range_until_all_are_taken(void **state)
{
    (void)state;
    harness.config.local_port_first = 40000;
    harness.config.local_port_last = 40019;
    harness_restart();
    bool seen[20] = {false};
    for (int i = 0; i < 20; i++) {
        struct ip_endpoint local = endpoint(ANY_V4, 0);
        assert_int_equal(stack_port_bind(harness.stack, &local, any_port, false, false, true, true),
                         0);
        assert_in_range(local.port, 40000, 40019);
        assert_false(seen[local.port - 40000]);
        seen[local.port - 40000] = true;
    }
    struct ip_endpoint local = endpoint(ANY_V4, 0);
    assert_int_equal(stack_port_bind(harness.stack, &local, any_port, false, false, true, true),
                     -EADDRINUSE);
}

static void port_zero_gets_one_of_a_narrower_range(void **state)
{
    (void)state;
    harness.config.local_port_first = 40000;
    harness.config.local_port_last = 40099;
    harness_restart();
    const struct port_range narrow = {.first = 40010, .last = 40012};
    for (int i = 0; i < 3; i++) {
        struct ip_endpoint local = endpoint(ANY_V4, 0);
        assert_int_equal(stack_port_bind(harness.stack, &local, narrow, false, false, false, false),
                         0);
        assert_in_range(local.port, 40010, 40012);
    }
    struct ip_endpoint local = endpoint(ANY_V4, 0);
    assert_int_equal(stack_port_bind(harness.stack, &local, narrow, false, false, false, false),
                     -EADDRINUSE);
    struct tcp_flow flow = {.remote = PEER_V4, .remote_port = 80};
    assert_int_equal(stack_flow_choose_local(harness.stack, &flow, narrow, false), -EADDRNOTAVAIL);
    /* A bound beyond the stack's range does not count. */
    const struct port_range from = {.first = 40099}, to = {.first = 80, .last = 40000};
    flow = (struct tcp_flow){.remote = PEER_V4, .remote_port = 80};
    assert_int_equal(stack_flow_choose_local(harness.stack, &flow, from, false), 0);
    assert_int_equal(flow.local_port, 40099);
    flow = (struct tcp_flow){.remote = PEER_V4, .remote_port = 80};
    assert_int_equal(stack_flow_choose_local(harness.stack, &flow, to, false), 0);
    assert_int_equal(flow.local_port, 40000);
}

/** Choose for a connection to this destination and enter it. */
static int connect_to(struct ip_address remote, uint16_t port, struct tcp_flow *flow)
{
    *flow = (struct tcp_flow){.remote = remote, .remote_port = port};
    int error = stack_flow_choose_local(harness.stack, flow, any_port, false);
    if (error == 0)
        (void)harness_connection(flow->local, flow->local_port, remote, port);
    return error;
}

static void ephemeral_ports_are_unique_per_destination(void **state)
{
    (void)state;
    harness.config.local_port_first = 40000;
    harness.config.local_port_last = 40009;
    harness_restart();
    struct tcp_flow flow;
    struct ip_address ours = OUR_V4;
    bool seen[10] = {false};
    for (int i = 0; i < 10; i++) {
        assert_int_equal(connect_to(PEER_V4, 80, &flow), 0);
        assert_true(ip_address_equal(&flow.local, &ours));
        assert_in_range(flow.local_port, 40000, 40009);
        assert_false(seen[flow.local_port - 40000]);
        seen[flow.local_port - 40000] = true;
    }
    assert_int_equal(connect_to(PEER_V4, 80, &flow), -EADDRNOTAVAIL);
    /* Another destination may use the same ports. */
    assert_int_equal(connect_to(PEER_V4, 81, &flow), 0);
}

static void ephemeral_ports_avoid_bound_ones(void **state)
{
    (void)state;
    harness.config.local_port_first = 40000;
    harness.config.local_port_last = 40002;
    harness_restart();
    struct tcp_flow flow;
    assert_int_equal(bind_socket(&(struct bound){V4_ANY, 1, 1}, 40000), 0);
    listen_on(ANY_V4, 40001, false, false, false, 0);
    assert_int_equal(connect_to(PEER_V4, 80, &flow), 0);
    assert_int_equal(flow.local_port, 40002);
    assert_int_equal(connect_to(PEER_V4, 80, &flow), -EADDRNOTAVAIL);
}

static void given_local_end_must_be_free_for_the_destination(void **state)
{
    (void)state;
    harness_connection(OUR_V4, 5000, PEER_V4, 80);
    struct tcp_flow flow = {OUR_V4, PEER_V4, 5000, 80};
    assert_int_equal(stack_flow_choose_local(harness.stack, &flow, any_port, true), -EADDRNOTAVAIL);
    flow.remote_port = 81;
    assert_int_equal(stack_flow_choose_local(harness.stack, &flow, any_port, true), 0);
    flow.local = PEER_V4;
    assert_int_equal(stack_flow_choose_local(harness.stack, &flow, any_port, true), -EADDRNOTAVAIL);
}

static void source_address_fits_the_destination(void **state)
{
    (void)state;
    harness.config.prefix_count = 4;
    harness.config.prefixes[2] = (struct stack_prefix){v4("\xc0\xa8\x05\x01"), 120};
    harness.config.prefixes[3] =
        (struct stack_prefix){v6("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"), 64};
    harness_restart();
    const struct {
        struct ip_address remote, local;
    } cases[] = {
        {PEER_V4, OUR_V4},
        {v4("\xc0\xa8\x05\x09"), v4("\xc0\xa8\x05\x01")},
        {v4("\x08\x08\x08\x08"), OUR_V4},
        {LOCALHOST, LOCALHOST},
        {v4("\x7f\0\0\x09"), LOCALHOST},
        {OUR_V4, OUR_V4},
        {PEER_V6, OUR_V6},
        {v6("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"),
         v6("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01")},
        {v6("\x20\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x02"), OUR_V6},
        {v6("\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x02"),
         v6("\xfe\x80\0\0\0\0\0\0\0\0\0\xff\xfe\0\0\x01")},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tcp_flow flow;
        assert_int_equal(connect_to(cases[i].remote, 80, &flow), 0);
        assert_memory_equal(flow.local.bytes, cases[i].local.bytes, 16);
        /* And again, when it is known from before. */
        assert_int_equal(connect_to(cases[i].remote, 80, &flow), 0);
        assert_memory_equal(flow.local.bytes, cases[i].local.bytes, 16);
    }
}

static void destinations_without_a_route_are_unreachable(void **state)
{
    (void)state;
    harness.config.has_gateway_v4 = false;
    harness_restart();
    struct tcp_flow flow;
    assert_int_equal(connect_to(v4("\x08\x08\x08\x08"), 80, &flow), -ENETUNREACH);
    assert_int_equal(connect_to(v4("\xe0\0\0\x01"), 80, &flow), -ENETUNREACH);
    assert_int_equal(connect_to(v4("\xff\xff\xff\xff"), 80, &flow), -ENETUNREACH);
    flow = (struct tcp_flow){.local = LOCALHOST, .remote = PEER_V4, .remote_port = 80};
    assert_int_equal(stack_flow_choose_local(harness.stack, &flow, any_port, false), -EINVAL);
}

static void ephemeral_port_puts_the_flow_on_our_core(void **state)
{
    (void)state;
    static struct frame_builder b;
    uint8_t segment[64];
    harness.config.core_count = 4;
    harness.config.core_index = 2;
    harness_restart();
    for (uint16_t port = 1; port <= 30; port++) {
        struct tcp_flow flow;
        assert_int_equal(connect_to(PEER_V4, port, &flow), 0);
        struct ip_endpoint from = endpoint(PEER_V4, port);
        struct ip_endpoint to = endpoint(OUR_V4, flow.local_port);
        build_ipv4(&b, from.address, to.address, 6, segment, build_tcp(segment, &from, &to, 1, 0));
        assert_int_equal(stack_rss_core(harness.config.secret, b.bytes, b.length, 4), 2);
    }
}

static void successive_ports_to_one_destination_go_up(void **state)
{
    (void)state;
    struct tcp_flow first;
    struct tcp_flow second;
    struct tcp_flow elsewhere;
    assert_int_equal(connect_to(PEER_V4, 80, &first), 0);
    assert_int_equal(connect_to(PEER_V4, 80, &second), 0);
    assert_int_equal(connect_to(v4("\x08\x08\x08\x08"), 80, &elsewhere), 0);
    assert_int_equal(second.local_port, first.local_port == 60999 ? 32768 : first.local_port + 1);
    assert_int_not_equal(elsewhere.local_port, second.local_port + 1);
}

/* RFC 6056 §3.3.3's counter: the pair may yet be in the peer's TIME_WAIT. */
static void port_given_back_is_not_the_next_to_be_chosen(void **state)
{
    (void)state;
    struct tcp_flow first = {.remote = PEER_V4, .remote_port = 80}, second = first;
    assert_int_equal(stack_flow_choose_local(harness.stack, &first, any_port, false), 0);
    assert_int_equal(stack_flow_choose_local(harness.stack, &second, any_port, false), 0);
    assert_int_not_equal(second.local_port, first.local_port);
}

static void ports_bound_as_any_are_random(void **state)
{
    (void)state;
    uint16_t ports[4];
    for (int i = 0; i < 4; i++) {
        struct ip_endpoint local = endpoint(ANY_V4, 0);
        assert_int_equal(
            stack_port_bind(harness.stack, &local, any_port, false, false, false, false), 0);
        stack_port_release(harness.stack, &local, false, false);
        ports[i] = local.port;
        for (int k = 0; k < i; k++)
            assert_true(ports[k] < local.port - 1 || ports[k] > local.port + 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_binds_conflict_as_in_linux),
        TEST(listener_is_not_shared_by_reuse_address),
        TEST(listeners_share_by_reuse_port),
        TEST(connections_hold_the_port_after_the_listener),
        TEST(address_that_is_not_ours_cannot_be_bound),
        TEST(port_zero_gets_one_of_the_range_until_all_are_taken),
        TEST(port_zero_gets_one_of_a_narrower_range),
        TEST(ephemeral_ports_are_unique_per_destination),
        TEST(ephemeral_ports_avoid_bound_ones),
        TEST(given_local_end_must_be_free_for_the_destination),
        TEST(source_address_fits_the_destination),
        TEST(destinations_without_a_route_are_unreachable),
        TEST(ephemeral_port_puts_the_flow_on_our_core),
        TEST(successive_ports_to_one_destination_go_up),
        TEST(port_given_back_is_not_the_next_to_be_chosen),
        TEST(ports_bound_as_any_are_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
