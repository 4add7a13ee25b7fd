/* Connections copied from a prototype are as if made the whole way. */
#include "script.h"

#define SNAPSHOTS 40
#define START_NS  (1000 * NS_PER_S)

/** A connection just made; what points elsewhere is left out. */
struct snapshot {
    struct tcp_connection connection;
    struct tcp_options_set options;
};

struct snapshots {
    struct snapshot taken[SNAPSHOTS];
    unsigned count;
};

static struct snapshots copied, whole;

static void take(struct snapshots *snapshots, const struct tcp_connection *connection)
{
    struct snapshot *snapshot = &snapshots->taken[snapshots->count++];
    assert_true(snapshots->count <= SNAPSHOTS);
    memcpy(&snapshot->connection, connection, sizeof(*connection));
    snapshot->options = *connection->options;
    snapshot->connection.links = (struct tcp_links){0};
    snapshot->connection.options = NULL;
    snapshot->connection.pending = NULL;
}

/** SYNs of the same kind, and of others between them. */
static void syns_arrive(struct snapshots *snapshots, uint16_t first_port)
{
    static const char *const syns[] = {
        "S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>",
        "S 0:0(0) win 65535 <mss 1460,sackOK,TS val 1234 ecr 0,nop,wscale 7>",
        "S 0:0(0) win 64240 <mss 1460,sackOK,TS val 1234 ecr 0,nop,wscale 7>",
        "S 0:0(0) win 64240 <mss 1460,sackOK,TS val 99 ecr 0,nop,wscale 3>",
        "S 0:0(0) win 64240 <mss 1200,sackOK,TS val 99 ecr 0,nop,wscale 3>",
        "S 0:0(0) win 64240 <mss 1200>",
        "S 0:0(0) win 64240 <mss 1200,sackOK,TS val 5 ecr 0,nop,wscale 3>",
        "SEW 0:0(0) win 64240 <mss 1200,sackOK,TS val 6 ecr 0,nop,wscale 3>",
        "S 0:0(0) win 64240 <mss 1200,sackOK,TS val 7 ecr 0,nop,wscale 3>",
    };
    for (unsigned i = 0; i < sizeof(syns) / sizeof(syns[0]); i++) {
        script.peer_port = (uint16_t)(first_port + i);
        script.our_iss_known = script.our_ts_known = false;
        peer("%s", syns[i]);
        assert_non_null(script.result.connection);
        take(snapshots, script.result.connection);
        ours_any();
        after_ms(3);
    }
}

static void set_defaults(bool timestamps, uint32_t receive_buffer)
{
    struct tcp_defaults defaults = stack_get_config(script.stack)->tcp;
    defaults.timestamps = timestamps;
    defaults.receive_buffer_initial = receive_buffer;
    stack_set_tcp_defaults(script.stack, &defaults);
}

static void open_many(struct snapshots *snapshots, bool no_prediction)
{
    script.config.no_prediction = no_prediction;
    script.now_ns = START_NS; /* numbers follow the clock */
    script_restart();
    tcp_listener_set_backlog(script.listener, 100);
    syns_arrive(snapshots, 100);
    tcp_listener_options(script.listener)->ttl = 9;
    syns_arrive(snapshots, 200);
    set_defaults(false, 40000);
    syns_arrive(snapshots, 300);
}

/** Connects with the same options, with others, and with other defaults. */
static void connect_many(struct snapshots *snapshots, bool no_prediction)
{
    script.config.no_prediction = no_prediction;
    script.now_ns = START_NS; /* numbers follow the clock */
    script_restart();
    struct tcp_options_set options;
    tcp_options_set_init(&options, &script.config.tcp);
    options.maxseg = 1000;
    for (int i = 0; i < 9; i++) {
        struct tcp_connect_request request = {
            .remote = {ip_address_from_v4((const uint8_t[4]){10, 77, 0, 2}), PEER_PORT},
            .options = i % 9 < 4 ? NULL : &options,
            .more = i % 2 != 0,
        };
        struct tcp_connection *connection;
        if (i == 6)
            options.delay_acks = true;
        if (i == 8)
            set_defaults(true, 50000);
        assert_int_equal(tcp_connect(script.stack, &request, script.now_ns, &connection), 0);
        take(snapshots, connection);
        ours_any();
        after_ms(2);
    }
}

static void assert_same(void (*make)(struct snapshots *snapshots, bool no_prediction))
{
    copied.count = whole.count = 0;
    make(&copied, false);
    make(&whole, true);
    assert_int_equal(copied.count, whole.count);
    for (unsigned i = 0; i < whole.count; i++) {
        const struct snapshot *a = &copied.taken[i], *b = &whole.taken[i];
        assert_memory_equal(&a->connection, &b->connection, sizeof(a->connection));
        assert_memory_equal(&a->options, &b->options, sizeof(a->options));
    }
}

static void accepted_connections_are_as_if_made_the_whole_way(void **unused)
{
    (void)unused;
    assert_same(open_many);
}

static void connecting_ones_are_as_if_made_the_whole_way(void **unused)
{
    (void)unused;
    assert_same(connect_many);
}

/** Listeners and prototypes hold sets of options: each lets go of them once it has others. */
static void sets_of_options_that_nobody_has_are_given_back(void **unused)
{
    (void)unused;
    const uint8_t *used = NULL;
    for (unsigned i = 0; i < 200; i++) {
        tcp_listener_options(script.listener)->maxseg = (uint16_t)(500 + i);
        for (uint16_t port = 1; port <= 2; port++) {
            script.peer_port = port;
            script.our_iss_known = script.our_ts_known = false;
            peer("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>");
            ours_any();
            peer("R 1:1(0)");
        }
        tcp_listener_close(script.stack, script.listener, script.now_ns);
        struct tcp_listen_request request = {
            .local = {ip_address_from_v4((const uint8_t[4]){10, 77, 0, 1}), OUR_PORT},
            .backlog = 10};
        assert_int_equal(tcp_listen(script.stack, &request, &script.listener), 0);
        if (i == 10)
            used = stack_option_sets(script.stack)->pool.fresh;
    }
    assert_int_equal(connections_now(), 0);
    assert_ptr_equal(stack_option_sets(script.stack)->pool.fresh, used);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accepted_connections_are_as_if_made_the_whole_way),
        TEST(connecting_ones_are_as_if_made_the_whole_way),
        TEST(sets_of_options_that_nobody_has_are_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
