/* Whole sockets, from descriptors in a ring through the stack and back. */
#include "hostlink/cmocka_all.h"

#include <errno.h>
#include <linux/tcp.h>
#include <string.h>

#include "engine/socket.h"
#include "engine_host.h"

static struct host server, client, child;

static int set_up(void **state)
{
    (void)state;
    host_open(&server);
    host_open(&client);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    struct tenant *tenants[] = {server.tenant, client.tenant};
    if (server.process != NULL)
        host_kill(&server);
    if (client.process != NULL)
        host_kill(&client);
    for (unsigned i = 0; i < 2; i++)
        host_take_down(tenants[i]);
    return 0;
}

/** A connection from the client's slot 0 to the server's listener in slot 0. */
static struct link_socket_name connect_both(void)
{
    uint16_t port = host_listen(&server, 0);
    assert_int_equal(host_connect(&client, 0, port).error, 0);
    (void)host_expect(&client, LINK_EVENT_ESTABLISHED, 0);
    return host_accept(&server, 0);
}

static void a_request_and_its_answer(void **state)
{
    (void)state;
    struct link_socket_name connection = connect_both();
    host_send(&client, host_name(0), 0, 0, "request", 7);
    struct link_descriptor data = host_expect(&server, LINK_EVENT_DATA, connection.slot);
    assert_int_equal(data.data.stream_offset, 0);
    assert_int_equal(data.data.length, 7);
    assert_memory_equal(host_bytes(&server, &data), "request", 7);
    host_send(&server, connection, 0, 0, "answer", 6);
    data = host_expect(&client, LINK_EVENT_DATA, 0);
    assert_memory_equal(host_bytes(&client, &data), "answer", 6);
    host_close(&client, host_name(0), 6, 0);
    struct link_descriptor fin = host_expect(&server, LINK_EVENT_FIN, connection.slot);
    assert_int_equal(fin.data.stream_offset, 7);
    host_close(&server, connection, 7, 0);
    (void)host_expect(&server, LINK_EVENT_SLOT_FREE, connection.slot);
    (void)host_expect(&client, LINK_EVENT_SLOT_FREE, 0);
}

static void set_stamps(struct host *host, struct link_socket_name name, int64_t on)
{
    struct link_descriptor operation = {
        .type = LINK_OP_SET_OPTION,
        .socket = name,
        .option = {.value = on, .option = LINK_OPTION_RECEIVE_STAMPS}};
    host_push(host, &operation);
}

/* By whom they were asked for, or his listener; as the clock was meanwhile. */
static void stamps_tell_when_payload_came(void **state)
{
    (void)state;
    uint16_t port = host_listen(&server, 0);
    set_stamps(&server, host_name(0), 1);
    assert_int_equal(host_connect(&client, 0, port).error, 0);
    (void)host_expect(&client, LINK_EVENT_ESTABLISHED, 0);
    struct link_socket_name connection = host_accept(&server, 0);
    uint64_t before_ns = engine_real_now_ns();
    host_send(&client, host_name(0), 0, 0, "request", 7);
    struct link_descriptor data = host_expect(&server, LINK_EVENT_DATA, connection.slot);
    assert_in_range(data.data.consumed, before_ns, engine_real_now_ns());
    host_send(&server, connection, 0, 0, "answer", 6);
    data = host_expect(&client, LINK_EVENT_DATA, 0);
    assert_int_equal(data.data.consumed, 0);
    set_stamps(&server, connection, 0);
    host_send(&client, host_name(0), 7, 6, "again", 5);
    data = host_expect(&server, LINK_EVENT_DATA, connection.slot);
    assert_int_equal(data.data.consumed, 0);
    host_close(&client, host_name(0), 6, 0);
    host_close(&server, connection, 12, 0);
}

static void sent_bytes_are_acknowledged_to_their_sender(void **state)
{
    (void)state;
    static uint8_t bytes[60000];
    struct link_socket_name connection = connect_both();
    host_send(&client, host_name(0), 0, 0, bytes, sizeof(bytes));
    struct link_descriptor sent;
    do
        sent = host_expect(&client, LINK_EVENT_SENT, 0);
    while (sent.data.stream_offset < sizeof(bytes));
    assert_int_equal(sent.data.stream_offset, sizeof(bytes));
    assert_true(sent.data.length > 0);
    host_close(&server, connection, 0, 0);
}

static void a_stream_larger_than_any_buffer_arrives_whole(void **state)
{
    (void)state;
    enum { PIECE = 50000, PIECES = 200 };
    static uint8_t piece[PIECE];
    struct link_socket_name connection = connect_both();
    uint64_t received = 0;
    uint64_t sent = 0;
    uint64_t acked = 0;
    while (received < (uint64_t)PIECE * PIECES) {
        while (sent < (uint64_t)PIECE * PIECES && sent - acked < 10 * PIECE) {
            for (unsigned i = 0; i < PIECE; i++)
                piece[i] = (uint8_t)((sent + i) * 7 >> 3);
            host_send(&client, host_name(0), sent, sent % (20 * PIECE), piece, PIECE);
            sent += PIECE;
        }
        struct link_descriptor data = host_expect(&server, LINK_EVENT_DATA, connection.slot);
        assert_int_equal(data.data.stream_offset, received);
        const uint8_t *bytes = host_bytes(&server, &data);
        for (uint64_t i = 0; i < data.data.length; i++)
            if (bytes[i] != (uint8_t)((received + i) * 7 >> 3))
                fail_msg("byte %llu is wrong", (unsigned long long)(received + i));
        received += data.data.length;
        struct link_descriptor consumed = {
            .type = LINK_OP_CONSUMED, .socket = connection, .data = {.stream_offset = received}};
        host_push(&server, &consumed);
        acked = received; /* no further than what has arrived, so at least acknowledged soon */
        host_drain(&client);
        client.events_seen = client.event_count = 0;
        if (server.events_seen == server.event_count)
            server.events_seen = server.event_count = 0;
    }
    host_close(&client, host_name(0), 0, 0);
    (void)host_expect(&server, LINK_EVENT_FIN, connection.slot);
}

static void a_fence_is_answered_after_what_came_before_it(void **state)
{
    (void)state;
    static uint8_t bytes[60000];
    struct link_descriptor fence = {.type = LINK_OP_FENCE};
    struct link_socket_name connection = connect_both();
    host_send(&client, host_name(0), 0, 0, bytes, sizeof(bytes));
    assert_int_equal(host_call(&client, &fence).error, 0);
    host_drain(&server);
    uint64_t told = 0;
    for (unsigned i = 0; i < server.event_count; i++) {
        const struct link_descriptor *event = &server.events[i];
        if (event->type == LINK_EVENT_DATA && event->socket.slot == connection.slot)
            told = event->data.stream_offset + event->data.length;
    }
    assert_int_equal(told, sizeof(bytes));
    host_close(&client, host_name(0), 0, LINK_FLAG_ABORT);
    assert_int_equal(host_call(&client, &fence).error, 0);
    host_drain(&server);
    assert_int_equal(server.events[server.event_count - 1].type, LINK_EVENT_ERROR);
    host_close(&server, connection, 0, 0);
}

/** The first goes at once and the rest is held (RFC 1122 section 4.2.3.4), as if its sender had
    waited for it to go; without steps all three go together. */
static void a_step_is_done_before_the_next(void **state)
{
    (void)state;
    struct link_descriptor fence = {.type = LINK_OP_FENCE};
    struct link_socket_name connection = connect_both();
    for (unsigned i = 0; i < 3; i++) {
        struct link_descriptor send = {
            .type = LINK_OP_SEND,
            .flags = LINK_FLAG_STEP,
            .socket = host_name(0),
            .data = {.stream_offset = i,
                     .arena_offset = client.tenant->layout.host_region + i,
                     .length = 1},
        };
        host_push(&client, &send);
    }
    assert_int_equal(host_call(&client, &fence).error, 0);
    assert_int_equal(host_expect(&server, LINK_EVENT_DATA, connection.slot).data.length, 1);
    host_close(&client, host_name(0), 0, LINK_FLAG_ABORT);
    host_close(&server, connection, 0, 0);
}

static void connecting_if_heard_needs_a_listener(void **state)
{
    (void)state;
    uint16_t port = host_listen(&server, 0);
    struct link_descriptor connect = {
        .type = LINK_OP_CONNECT, .flags = LINK_FLAG_IF_HEARD, .socket = host_name(0)};
    connect.endpoints.remote = engine_host_address();
    connect.endpoints.remote_port = (uint16_t)(port == 65535 ? 1024 : port + 1);
    assert_int_equal(host_call(&client, &connect).error, ECONNREFUSED);
    connect.endpoints.remote_port = port;
    assert_int_equal(host_call(&client, &connect).error, 0);
    (void)host_expect(&client, LINK_EVENT_ESTABLISHED, 0);
}

static void binding_follows_linux(void **state)
{
    (void)state;
    struct link_descriptor bind = {.type = LINK_OP_BIND, .socket = host_name(1)};
    bind.endpoints.local = engine_host_address();
    bind.endpoints.local_port = 80;
    assert_int_equal(host_call(&server, &bind).error, EACCES);
    bind.endpoints.local_port = 0;
    bind.endpoints.local.bytes[15] = 99;
    bind.socket = host_name(2);
    assert_int_equal(host_call(&server, &bind).error, EADDRNOTAVAIL);
    uint16_t port = host_listen(&server, 3);
    bind.endpoints.local = engine_host_address();
    bind.endpoints.local_port = port;
    bind.socket = host_name(4);
    assert_int_equal(host_call(&client, &bind).error, EADDRINUSE);
}

/** Only BIND gives a port: it looks at whose it is, and at who may have it. */
static void connecting_takes_no_port_by_itself(void **state)
{
    (void)state;
    uint16_t port = host_listen(&server, 0);
    struct link_descriptor connect = {.type = LINK_OP_CONNECT, .socket = host_name(0)};
    connect.endpoints.local = connect.endpoints.remote = engine_host_address();
    connect.endpoints.local_port = 22;
    connect.endpoints.remote_port = port;
    struct link_descriptor answer = host_call(&client, &connect);
    assert_int_equal(answer.error, 0);
    assert_true(answer.endpoints.local_port >= 1024);
}

static void connecting_to_nobody_is_refused(void **state)
{
    (void)state;
    assert_int_equal(host_connect(&client, 0, 9).error, 0);
    struct link_descriptor error = host_expect(&client, LINK_EVENT_ERROR, 0);
    assert_int_equal(error.error, ECONNREFUSED);
    assert_true((error.flags & LINK_FLAG_FATAL) != 0);
    host_close(&client, host_name(0), 0, 0);
    (void)host_expect(&client, LINK_EVENT_SLOT_FREE, 0);
}

static void closing_with_unread_payload_resets(void **state)
{
    (void)state;
    struct link_socket_name connection = connect_both();
    host_send(&client, host_name(0), 0, 0, "unread", 6);
    (void)host_expect(&server, LINK_EVENT_DATA, connection.slot);
    host_close(&server, connection, 0, 0);
    assert_int_equal(host_expect(&client, LINK_EVENT_ERROR, 0).error, ECONNRESET);
}

static void aborting_resets(void **state)
{
    (void)state;
    struct link_socket_name connection = connect_both();
    host_close(&server, connection, 0, LINK_FLAG_ABORT);
    assert_int_equal(host_expect(&client, LINK_EVENT_ERROR, 0).error, ECONNRESET);
}

static void a_process_that_dies_ends_its_connections(void **state)
{
    (void)state;
    (void)connect_both();
    host_kill(&server);
    (void)host_expect(&client, LINK_EVENT_FIN, 0);
}

/** The host's note of how far it has read. @return where it is. */
static struct link_slot_block *note_read(const struct host *host, struct link_socket_name name,
                                         uint64_t offset)
{
    const struct tenant *tenant = host->tenant;
    uint64_t place = tenant->layout.host_region + (uint64_t)name.slot * LINK_SLOT_BLOCK_BYTES;
    assert_true(place + LINK_SLOT_BLOCK_BYTES <= tenant->arena.bytes);
    struct link_slot_block *block = (void *)(tenant->arena.base + place);
    block->incarnation = name.incarnation;
    block->read_offset = offset;
    return block;
}

static void a_process_that_dies_resets_what_it_has_not_read(void **state)
{
    (void)state;
    struct link_socket_name connection = connect_both();
    host_send(&client, host_name(0), 0, 0, "request", 7);
    (void)host_expect(&server, LINK_EVENT_DATA, connection.slot);
    (void)note_read(&server, connection, 3);
    host_kill(&server);
    assert_int_equal(host_expect(&client, LINK_EVENT_ERROR, 0).error, ECONNRESET);
}

static void a_process_that_dies_has_read_what_it_did_not_tell(void **state)
{
    (void)state;
    struct link_socket_name connection = connect_both();
    host_send(&client, host_name(0), 0, 0, "request", 7);
    (void)host_expect(&server, LINK_EVENT_DATA, connection.slot);
    (void)note_read(&server, connection, 7);
    host_kill(&server);
    (void)host_expect(&client, LINK_EVENT_FIN, 0);
}

static void a_process_that_dies_resets_as_its_linger_option_says(void **state)
{
    (void)state;
    struct link_socket_name connection = connect_both();
    note_read(&server, connection, 0)->flags = LINK_SLOT_ABORTS;
    host_kill(&server);
    assert_int_equal(host_expect(&client, LINK_EVENT_ERROR, 0).error, ECONNRESET);
}

static void a_note_of_an_earlier_socket_in_the_slot_says_nothing(void **state)
{
    (void)state;
    struct link_socket_name connection = connect_both();
    host_send(&client, host_name(0), 0, 0, "request", 7);
    (void)host_expect(&server, LINK_EVENT_DATA, connection.slot);
    struct link_socket_name earlier = {connection.slot, connection.incarnation - 1};
    (void)note_read(&server, earlier, 7);
    host_kill(&server);
    assert_int_equal(host_expect(&client, LINK_EVENT_ERROR, 0).error, ECONNRESET);
}

static void a_dying_listener_resets_what_nobody_accepted(void **state)
{
    (void)state;
    uint16_t port = host_listen(&server, 0);
    assert_int_equal(host_connect(&client, 0, port).error, 0);
    (void)host_expect(&client, LINK_EVENT_ESTABLISHED, 0);
    (void)host_expect(&server, LINK_EVENT_ACCEPT, 0);
    host_kill(&server);
    assert_int_equal(host_expect(&client, LINK_EVENT_ERROR, 0).error, ECONNRESET);
}

static void a_forked_process_shares_its_parents_sockets(void **state)
{
    (void)state;
    struct link_socket_name connection = connect_both();
    host_fork(&child, &server);
    host_send(&client, host_name(0), 0, 0, "both", 4);
    struct link_descriptor data = host_expect(&child, LINK_EVENT_DATA, connection.slot);
    assert_memory_equal(host_bytes(&child, &data), "both", 4);
    (void)host_expect(&server, LINK_EVENT_DATA, connection.slot);
    host_close(&server, connection, 4, 0);
    host_send(&child, connection, 0, 0, "alive", 5);
    data = host_expect(&client, LINK_EVENT_DATA, 0);
    assert_memory_equal(host_bytes(&client, &data), "alive", 5);
    host_expect_none(&client, LINK_EVENT_FIN, 0);
    host_close(&child, connection, 4, 0);
    (void)host_expect(&client, LINK_EVENT_FIN, 0);
    host_kill(&child);
}

static void processes_that_share_a_listener_see_the_same_connections(void **state)
{
    (void)state;
    uint16_t port = host_listen(&server, 0);
    host_fork(&child, &server);
    assert_int_equal(host_connect(&client, 0, port).error, 0);
    struct link_descriptor first = host_expect(&server, LINK_EVENT_ACCEPT, 0);
    struct link_descriptor second = host_expect(&child, LINK_EVENT_ACCEPT, 0);
    assert_int_equal(first.request_id, second.request_id);
    assert_int_equal(first.endpoints.accept_slot, second.endpoints.accept_slot);
    struct link_descriptor accepted = {
        .type = LINK_OP_ACCEPTED,
        .socket = {second.endpoints.accept_slot, second.accept_incarnation},
    };
    host_push(&child, &accepted);
    host_send(&client, host_name(0), 0, 0, "x", 1);
    (void)host_expect(&child, LINK_EVENT_DATA, second.endpoints.accept_slot);
    host_expect_none(&server, LINK_EVENT_DATA, first.endpoints.accept_slot);
    /* The parent goes: the listener stays with the child. */
    host_kill(&server);
    assert_int_equal(host_connect(&client, 1, port).error, 0);
    (void)host_expect(&child, LINK_EVENT_ACCEPT, 0);
    host_kill(&child);
}

static void events_merge_while_a_ring_is_full(void **state)
{
    (void)state;
    enum { SENDS = 4 * TENANT_RING_SLOTS };
    struct link_socket_name connection = connect_both();
    for (unsigned i = 0; i < SENDS; i++) {
        uint8_t byte = (uint8_t)i;
        /* Bytes apart in the arena, so that each is a piece of its own. */
        host_send(&client, host_name(0), i, (uint64_t)i * 2, &byte, 1);
        host_drain(&client);
        client.events_seen = client.event_count = 0;
    }
    uint64_t received = 0;
    while (received < SENDS) {
        struct link_descriptor data = host_expect(&server, LINK_EVENT_DATA, connection.slot);
        assert_int_equal(data.data.stream_offset, received);
        for (uint64_t i = 0; i < data.data.length; i++)
            assert_int_equal(host_bytes(&server, &data)[i], (uint8_t)(received + i));
        received += data.data.length;
    }
}

struct pools {
    uint32_t sockets, extras, setups, holders;
};

static void count_pools(struct engine_core *core, void *context)
{
    struct pools *pools = context;
    *pools = (struct pools){core->sockets.in_use, core->extras.in_use, core->setups.in_use,
                            core->holders.in_use};
}

static void assert_pools(uint32_t sockets, uint32_t extras)
{
    struct pools pools;
    engine_core_call(server.tenant->engine->cores[0], count_pools, &pools);
    assert_int_equal(pools.sockets, sockets);
    assert_int_equal(pools.extras, extras);
    assert_int_equal(pools.setups, 1); /* the listener's */
    assert_int_equal(pools.holders, 0);
}

/* What few need is taken when they need it, and given back. */
static void an_idle_connection_has_a_socket_and_no_more(void **state)
{
    (void)state;
    _Static_assert(sizeof(struct engine_socket) + sizeof(struct slot_entry) <= 168, "small");
    uint16_t port = host_listen(&server, 0);
    assert_int_equal(host_connect(&client, 0, port).error, 0);
    (void)host_expect(&client, LINK_EVENT_ESTABLISHED, 0);
    host_drain(&server);
    assert_pools(3, 2); /* listener, and announced connection */
    struct link_socket_name connection = host_accept(&server, 0);
    host_send(&client, host_name(0), 0, 0, "request", 7);
    (void)host_expect(&server, LINK_EVENT_DATA, connection.slot);
    assert_pools(3, 1);
    struct link_descriptor urgent = {.type = LINK_OP_SEND,
                                     .flags = LINK_FLAG_URGENT,
                                     .socket = host_name(0),
                                     .data = {.stream_offset = 7,
                                              .arena_offset = client.tenant->layout.host_region,
                                              .length = 1}};
    host_push(&client, &urgent);
    (void)host_expect(&server, LINK_EVENT_URGENT, connection.slot);
    assert_pools(3, 2);
    host_close(&client, host_name(0), 0, LINK_FLAG_ABORT);
    (void)host_expect(&server, LINK_EVENT_ERROR, connection.slot);
    host_close(&server, connection, 8, 0);
    (void)host_expect(&server, LINK_EVENT_SLOT_FREE, connection.slot);
    (void)host_expect(&client, LINK_EVENT_SLOT_FREE, 0);
    assert_pools(1, 1);
}

static void information_lands_in_the_arena(void **state)
{
    (void)state;
    (void)connect_both();
    struct link_descriptor request = {.type = LINK_OP_GET_INFO, .socket = host_name(0)};
    request.data.arena_offset = client.tenant->layout.host_region + 4096;
    request.data.length = sizeof(struct tcp_info);
    assert_int_equal(host_call(&client, &request).error, 0);
    struct tcp_info info;
    memcpy(&info, client.tenant->arena.base + request.data.arena_offset, sizeof(info));
    assert_int_equal(info.tcpi_state, 1);
    assert_true(info.tcpi_snd_mss > 0);
    request.data.arena_offset = client.tenant->layout.arena_bytes - 8;
    assert_int_equal(host_call(&client, &request).error, EINVAL);
}

static void garbage_is_counted_and_harms_nobody_else(void **state)
{
    (void)state;
    uint64_t seed = 42;
    struct link_socket_name connection = connect_both();
    for (unsigned i = 0; i < 20000; i++) {
        struct link_descriptor descriptor = {0};
        uint8_t *bytes = (uint8_t *)&descriptor;
        for (unsigned j = 0; j < sizeof(descriptor); j++)
            bytes[j] = (uint8_t)random_next(&seed);
        descriptor.type = (uint8_t)random_below(&seed, LINK_OP_COUNT + 2);
        descriptor.socket.slot = random_below(&seed, 8);
        descriptor.socket.incarnation = 1 + random_below(&seed, 3);
        host_push(&client, &descriptor);
        host_drain(&client);
        client.events_seen = client.event_count = 0;
    }
    assert_true(client.tenant->cores[0].garbage_descriptors > 0);
    host_close(&server, connection, 0, 0);
    (void)host_expect(&server, LINK_EVENT_SLOT_FREE, connection.slot);
}

static int start_engine(void **state)
{
    (void)state;
    (void)engine_host_start(1);
    return 0;
}

static int stop_engine(void **state)
{
    (void)state;
    engine_host_stop();
    return 0;
}

#define SOCKET_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SOCKET_TEST(a_request_and_its_answer),
        SOCKET_TEST(stamps_tell_when_payload_came),
        SOCKET_TEST(sent_bytes_are_acknowledged_to_their_sender),
        SOCKET_TEST(a_stream_larger_than_any_buffer_arrives_whole),
        SOCKET_TEST(a_fence_is_answered_after_what_came_before_it),
        SOCKET_TEST(a_step_is_done_before_the_next),
        SOCKET_TEST(connecting_if_heard_needs_a_listener),
        SOCKET_TEST(binding_follows_linux),
        SOCKET_TEST(connecting_takes_no_port_by_itself),
        SOCKET_TEST(connecting_to_nobody_is_refused),
        SOCKET_TEST(closing_with_unread_payload_resets),
        SOCKET_TEST(aborting_resets),
        SOCKET_TEST(a_process_that_dies_ends_its_connections),
        SOCKET_TEST(a_process_that_dies_resets_what_it_has_not_read),
        SOCKET_TEST(a_process_that_dies_has_read_what_it_did_not_tell),
        SOCKET_TEST(a_process_that_dies_resets_as_its_linger_option_says),
        SOCKET_TEST(a_note_of_an_earlier_socket_in_the_slot_says_nothing),
        SOCKET_TEST(a_dying_listener_resets_what_nobody_accepted),
        SOCKET_TEST(a_forked_process_shares_its_parents_sockets),
        SOCKET_TEST(processes_that_share_a_listener_see_the_same_connections),
        SOCKET_TEST(events_merge_while_a_ring_is_full),
        SOCKET_TEST(an_idle_connection_has_a_socket_and_no_more),
        SOCKET_TEST(information_lands_in_the_arena),
        SOCKET_TEST(garbage_is_counted_and_harms_nobody_else),
    };
    return cmocka_run_group_tests(tests, start_engine, stop_engine);
}
