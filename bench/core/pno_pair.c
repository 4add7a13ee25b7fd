/*
 * Two of PnO's stacks back to back. This file is their embedder: what the engine does around the
 * core, less rings and ports.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/time_units.h"
#include "core/stack.h"
#include "pair.h"

/** Connections set up at a time. */
#define SET_UP_BATCH 64
/** Room for connections opened and closed, and their TIME_WAITs, beside the established ones. */
#define CONNECTIONS_SPARE 4096

/** What an application keeps of a connection. */
struct peer {
    struct tcp_connection *connection;
    uint64_t to_send_end; /**< stream offset up to which it wants to send */
    uint64_t received;
    bool established, fin, closed;
    bool answers;     /**< sends back as much as it gets */
    bool closes_back; /**< closes when the other has */
};

struct frame_slot {
    uint32_t length;
    uint8_t bytes[PAIR_FRAME_BYTES];
};

struct end {
    struct stack *stack;
    size_t memory_bytes;
    uint32_t frame_count; /**< on the wire to this end */
    struct frame_slot frames[PAIR_BURST_FRAMES];
};

static struct end client, server;
static uint64_t now_ns = NS_PER_S;
static uint64_t segments;
static double idle_bytes;
static bool failed;

static struct peer *clients, *servers; /* of the established connections, by number */
static uint32_t accepted_count;
static struct peer open_close_client, open_close_server;

static const uint8_t client_address[4] = {PAIR_CLIENT_IPV4_OCTETS};
static const uint8_t server_address[4] = {PAIR_SERVER_IPV4_OCTETS};

/* ---- Applications ------------------------------------------------------------------------- */

/** Give the stack as much as its send buffer takes. */
static void peer_send(struct end *end, struct peer *peer)
{
    uint64_t sent = tcp_send_end_offset(peer->connection);
    uint64_t limit = tcp_acked_offset(peer->connection) + tcp_send_buffer_bytes(peer->connection);
    uint64_t until = peer->to_send_end < limit ? peer->to_send_end : limit;
    if (until > sent && tcp_send(end->stack, peer->connection, until - sent, false, now_ns) != 0)
        failed = true;
}

static void peer_received(struct end *end, struct peer *peer)
{
    peer->received = tcp_received_offset(peer->connection);
    tcp_consumed(end->stack, peer->connection, peer->received, now_ns);
    if (peer->answers) {
        peer->to_send_end = peer->received;
        peer_send(end, peer);
    }
}

/** The established connection's number, by its ports. */
static uint32_t connection_number(const struct tcp_connection *connection)
{
    struct ip_endpoint local, remote;
    tcp_endpoints(connection, &local, &remote);
    return (uint32_t)(local.port - PAIR_SERVER_PORT_FIRST) * PAIR_CLIENTS_PER_PORT + remote.port -
           PAIR_CLIENT_PORT_FIRST;
}

/** The server's listeners: user NULL, those of the established connections; else of the others. */
static void accept_all(struct tcp_listener *listener, const void *user)
{
    struct tcp_connection *connection;
    while ((connection = tcp_listener_next(listener)) != NULL) {
        struct peer *peer =
            user == NULL ? &servers[connection_number(connection)] : &open_close_server;
        *peer = (struct peer){.connection = connection,
                              .established = true,
                              .answers = user != NULL,
                              .closes_back = user != NULL};
        accepted_count += user == NULL;
        tcp_set_user(connection, peer);
        tcp_listener_taken(listener);
    }
}

static void handle_event(struct end *end, const struct stack_event *event)
{
    struct peer *peer = event->user;
    if (event->listener != NULL) {
        accept_all(event->listener, event->user);
        return;
    }
    if (event->bits & (STACK_EVENT_ERROR | STACK_EVENT_SOFT_ERROR))
        failed = true;
    if (event->bits & STACK_EVENT_ESTABLISHED)
        peer->established = true;
    if (event->bits & STACK_EVENT_DATA)
        peer_received(end, peer);
    if (event->bits & STACK_EVENT_ACKED)
        peer_send(end, peer);
    if (event->bits & STACK_EVENT_FIN) {
        peer->fin = true;
        if (peer->closes_back)
            tcp_close(end->stack, peer->connection, now_ns);
    }
    if (event->bits & STACK_EVENT_CLOSED)
        peer->closed = true;
}

static void handle_events(struct end *end)
{
    struct stack_event event;
    while (stack_next_event(end->stack, &event))
        handle_event(end, &event);
}

/* ---- Wire --------------------------------------------------------------------------------- */

/** Write the frame as a port without offloads does, then let the wire copy it to the other end. */
static void put_on_wire(const struct stack_frame *frame, struct frame_slot *slot)
{
    uint8_t bytes[PAIR_FRAME_BYTES];
    memcpy(bytes, frame->header, frame->header_length);
    const uint8_t *payload =
        frame->connection != NULL ? pair_pattern(frame->stream_offset) : frame->payload;
    uint32_t sum = 0;
    if (frame->payload_length > 0)
        sum = checksum_copy(0, bytes + frame->header_length, payload, frame->payload_length);
    if (frame->l4_checksum_partial)
        stack_frame_finish_checksum_sum(frame, bytes, sum);
    slot->length = frame->header_length + frame->payload_length;
    memcpy(slot->bytes, bytes, slot->length);
}

/** @return frames sent. */
static uint32_t send_burst(struct end *from, struct end *to)
{
    struct stack_frame frame;
    to->frame_count = 0;
    while (to->frame_count < PAIR_BURST_FRAMES && stack_transmit(from->stack, now_ns, 0, &frame))
        put_on_wire(&frame, &to->frames[to->frame_count++]);
    return to->frame_count;
}

static void receive_frame(struct end *end, const struct frame_slot *slot)
{
    struct stack_rx rx;
    struct stack_rx_result result;
    now_ns += PAIR_FRAME_NS;
    enum stack_rx_verdict verdict = stack_receive_parse(end->stack, slot->bytes, slot->length,
                                                        (struct stack_rx_hints){0}, now_ns, &rx);
    if (verdict == STACK_RX_DROPPED)
        failed = true;
    if (verdict != STACK_RX_TCP)
        return;
    segments++;
    stack_receive_segment(end->stack, &rx, now_ns, &result);
    if (result.drop != DROP_NONE)
        failed = true;
    if (result.place_length > 0 &&
        !pair_take(result.place_offset,
                   rx.packet + rx.segment.payload_frame_offset + result.place_skip,
                   result.place_length))
        failed = true;
}

static void advance(struct end *end)
{
    if (stack_next_deadline(end->stack) <= now_ns) {
        stack_advance(end->stack, now_ns);
        handle_events(end);
    }
}

/** A burst each way. @return frames moved. */
static uint32_t exchange(void)
{
    uint32_t moved = send_burst(&client, &server);
    for (uint32_t i = 0; i < server.frame_count; i++)
        receive_frame(&server, &server.frames[i]);
    handle_events(&server);
    advance(&server);
    moved += send_burst(&server, &client);
    for (uint32_t i = 0; i < client.frame_count; i++)
        receive_frame(&client, &client.frames[i]);
    handle_events(&client);
    advance(&client);
    return moved;
}

/** Nothing on the wire: go on to the next timer. @return false when there is none. */
static bool jump(void)
{
    uint64_t a = stack_next_deadline(client.stack), b = stack_next_deadline(server.stack);
    uint64_t next = a < b ? a : b;
    if (next == TIME_NEVER)
        return false;
    if (next > now_ns)
        now_ns = next;
    advance(&client);
    advance(&server);
    return true;
}

static bool run_until_received(const struct peer *peer, uint64_t offset)
{
    while (peer->received < offset && !failed)
        if (exchange() == 0 && !jump())
            return false;
    return !failed;
}

static bool run_until(const bool *flag)
{
    while (!*flag && !failed)
        if (exchange() == 0 && !jump())
            return false;
    return !failed;
}

static void run_until_quiet(void)
{
    while (exchange() > 0)
        ;
}

/* ---- Setting up --------------------------------------------------------------------------- */

static bool end_create(struct end *end, const uint8_t address[4], uint32_t connections)
{
    struct stack_config config;
    stack_config_init(&config);
    memcpy(config.mac, (const uint8_t[6]){2, 0, 0, 0, 0, address[3]}, 6);
    config.connections_max = connections + CONNECTIONS_SPARE;
    config.prefix_count = 1;
    config.prefixes[0].address = ip_address_from_v4(address);
    config.prefixes[0].prefix_length = 120;
    memset(config.secret, 0x5a + address[3], sizeof(config.secret));
    config.random_seed = address[3];
    end->memory_bytes = stack_memory_bytes(&config);
    void *memory = mmap(NULL, end->memory_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    end->stack = stack_create(memory, &config, now_ns);
    return end->stack != NULL;
}

/** Bytes of the end's memory that have been touched. */
static size_t resident_bytes(const struct end *end)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (end->memory_bytes + page - 1) / page;
    unsigned char *map = malloc(pages);
    size_t resident = 0;
    if (map == NULL || mincore(end->stack, end->memory_bytes, map) != 0)
        pages = 0;
    for (size_t i = 0; i < pages; i++)
        resident += map[i] & 1;
    free(map);
    return resident * page;
}

static bool listen_on(uint16_t port, void *user)
{
    struct tcp_listen_request request = {
        .local = {ip_address_from_v4(server_address), port}, .backlog = 4096, .user = user};
    struct tcp_listener *listener;
    return tcp_listen(server.stack, &request, &listener) == 0;
}

static bool open_connection(uint32_t number)
{
    struct peer *peer = &clients[number];
    struct tcp_connect_request request = {
        .local = {ip_address_from_v4(client_address),
                  (uint16_t)(PAIR_CLIENT_PORT_FIRST + number % PAIR_CLIENTS_PER_PORT)},
        .remote = {ip_address_from_v4(server_address),
                   (uint16_t)(PAIR_SERVER_PORT_FIRST + number / PAIR_CLIENTS_PER_PORT)},
        .reuse_address = true,
        .user = peer};
    return tcp_connect(client.stack, &request, now_ns, &peer->connection) == 0;
}

static bool open_all(uint32_t connections)
{
    for (uint32_t done = 0; done < connections;) {
        uint32_t batch_end = connections - done < SET_UP_BATCH ? connections : done + SET_UP_BATCH;
        for (uint32_t i = done; i < batch_end; i++)
            if (!open_connection(i))
                return false;
        while (accepted_count < batch_end && !failed)
            if (exchange() == 0 && !jump())
                return false;
        done = batch_end;
    }
    run_until_quiet();
    return !failed;
}

static bool pno_set_up(uint32_t connections)
{
    clients = calloc(connections, sizeof(*clients));
    servers = calloc(connections, sizeof(*servers));
    if (clients == NULL || servers == NULL || !end_create(&client, client_address, connections) ||
        !end_create(&server, server_address, connections))
        return false;
    for (unsigned i = 0; i < PAIR_SERVER_PORTS; i++)
        if (!listen_on((uint16_t)(PAIR_SERVER_PORT_FIRST + i), NULL))
            return false;
    if (!listen_on(PAIR_OPEN_CLOSE_PORT, &open_close_server))
        return false;
    size_t before = resident_bytes(&client) + resident_bytes(&server);
    if (!open_all(connections))
        return false;
    size_t after = resident_bytes(&client) + resident_bytes(&server);
    idle_bytes = (double)(after - before) / 2 / connections;
    return true;
}

/* ---- Work --------------------------------------------------------------------------------- */

static bool pno_bulk(uint32_t connection, uint64_t bytes)
{
    struct peer *from = &clients[connection];
    struct peer *to = &servers[connection];
    from->to_send_end += bytes;
    peer_send(&client, from);
    return run_until_received(to, from->to_send_end);
}

static bool pno_echo(uint32_t connection)
{
    struct peer *from = &clients[connection];
    servers[connection].answers = true;
    from->to_send_end += PAIR_ECHO_BYTES;
    peer_send(&client, from);
    return run_until_received(from, from->to_send_end);
}

static bool pno_open_close(void)
{
    struct peer *peer = &open_close_client;
    struct tcp_connect_request request = {
        .remote = {ip_address_from_v4(server_address), PAIR_OPEN_CLOSE_PORT}, .user = peer};
    *peer = (struct peer){0};
    open_close_server.closed = false;
    if (tcp_connect(client.stack, &request, now_ns, &peer->connection) != 0 ||
        !run_until(&peer->established))
        return false;
    peer->to_send_end = PAIR_ECHO_BYTES;
    peer_send(&client, peer);
    if (!run_until_received(peer, PAIR_ECHO_BYTES))
        return false;
    tcp_close(client.stack, peer->connection, now_ns);
    return run_until(&peer->closed) && run_until(&open_close_server.closed);
}

static bool pno_rest(void)
{
    uint64_t until = now_ns + 61 * NS_PER_S;
    run_until_quiet();
    while (stack_next_deadline(client.stack) <= until || stack_next_deadline(server.stack) <= until)
        if (exchange() == 0 && !jump())
            break;
    return !failed;
}

static uint64_t pno_segments(void)
{
    return segments;
}

static double pno_bytes_per_idle_connection(void)
{
    return idle_bytes;
}

const struct pair_operations pno_pair = {
    .name = "pno",
    .set_up = pno_set_up,
    .bulk = pno_bulk,
    .echo = pno_echo,
    .open_close = pno_open_close,
    .rest = pno_rest,
    .segments = pno_segments,
    .bytes_per_idle_connection = pno_bytes_per_idle_connection,
};
