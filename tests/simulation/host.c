#include "host.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "payload.h"
#include "trace.h"
#include "window_check.h"
#include "world.h"

#define FRAGMENTS_BYTES_MAX (256 * 1024)
#define FRAMES_AT_ONCE_MAX  20000
#define FAST_OPEN_QUEUE     4

struct ip_address host_address(unsigned index, bool is_ipv6)
{
    const uint8_t v4[4] = {10, 0, 0, (uint8_t)(index + 1)};
    const uint8_t v6[16] = {0xfd, 0, [15] = (uint8_t)(index + 1)};
    return is_ipv6 ? ip_address_from_v6(v6) : ip_address_from_v4(v4);
}

static void fill_random(struct world *world, uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)random_next(&world->random);
}

static void configure(struct world *world, struct host *host)
{
    const struct host_settings *s = &world->settings.hosts[host->index];
    struct stack_config *c = &host->config;
    stack_config_init(c);
    const uint8_t mac[6] = {2, 0, 0, 0, 0, (uint8_t)(host->index + 1)};
    memcpy(c->mac, mac, sizeof(mac));
    c->mtu = s->mtu;
    c->prefix_count = 2;
    c->prefixes[0].address = host_address(host->index, false);
    c->prefixes[0].prefix_length = 96 + 24;
    c->prefixes[1].address = host_address(host->index, true);
    c->prefixes[1].prefix_length = 64;
    fill_random(world, c->secret, sizeof(c->secret));
    c->random_seed = random_next(&world->random);
    c->connections_max = s->connections_max;
    c->listeners_max = 4;
    c->intervals_max = s->intervals_max;
    c->sent_records_max = s->sent_records_max;
    c->fragments_bytes_max = FRAGMENTS_BYTES_MAX;
    c->core_count = 1;
    c->tcp = s->tcp;
    c->no_prediction = world->no_prediction;
}

static void listen_on(struct world *world, struct host *host)
{
    struct tcp_listen_request request = {.backlog = world->settings.backlog, .user = host};
    bool dual_stack = random_chance(&world->random, 500);
    request.is_ipv6 = world->settings.is_ipv6 || dual_stack;
    request.v6only = request.is_ipv6 && !dual_stack;
    request.local.port = HOST_LISTEN_PORT;
    if (!request.is_ipv6) {
        const uint8_t any[4] = {0};
        request.local.address = ip_address_from_v4(any);
    }
    int error = tcp_listen(host->stack, &request, &host->listener);
    if (error != 0)
        world_fail(world, "tcp_listen on host %u: %d", host->index, error);
    struct tcp_options_set *options = tcp_listener_options(host->listener);
    options->receive_buffer = world->settings.receive_buffer;
    options->send_buffer = world->settings.send_buffer;
    if ((host->config.tcp.fast_open & TCP_FAST_OPEN_SERVER) != 0)
        tcp_listener_set_fast_open(host->listener, FAST_OPEN_QUEUE);
    tcp_listener_set_defer_accept(host->listener, world->settings.defer_accept_ns);
}

static void start(struct world *world, struct host *host)
{
    configure(world, host);
    host->memory_bytes = stack_memory_bytes(&host->config);
    if (host->memory_bytes == 0)
        world_fail(world, "stack_memory_bytes refuses the configuration");
    host->memory =
        mmap(NULL, host->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (host->memory == MAP_FAILED)
        abort();
    host->stack = stack_create(host->memory, &host->config, world->now_ns);
    if (host->stack == NULL)
        world_fail(world, "stack_create refuses the configuration");
    host->gso_bytes_max = world->settings.hosts[host->index].gso_bytes_max;
    host->wake_ns = TIME_NEVER;
    listen_on(world, host);
    host_pump(world, host);
}

void host_create(struct world *world, struct host *host, unsigned index)
{
    host->index = index;
    start(world, host);
}

void host_destroy(struct host *host)
{
    if (host->memory != NULL)
        munmap(host->memory, host->memory_bytes);
    host->memory = NULL;
}

void host_restart(struct world *world, struct host *host)
{
    host_destroy(host);
    host->generation++;
    start(world, host);
}

/* ---- Sending ------------------------------------------------------------------------------ */

/** What a port with segmentation offload does: cut at gso_size and fix each header. */
static void send_cut(struct world *world, struct host *host, struct frame *frame, uint16_t gso_size,
                     struct endpoint *endpoint, uint64_t stream_offset)
{
    struct frame_view view;
    frame_parse(frame->bytes, frame->length, &view);
    world->coverage.frames_gso++;
    while (view.payload_length > gso_size) {
        struct frame *first, *rest;
        frame_split_tcp(frame, &view, gso_size, &first, &rest);
        free(frame);
        frame = rest;
        struct frame_view first_view;
        frame_parse(first->bytes, first->length, &first_view);
        oracle_frame_sent(world, host, first, &first_view, endpoint, stream_offset);
        trace_frame(world, host->index, "sent", first);
        wire_send(world, &world->wires[host->index], first);
        stream_offset += gso_size;
        frame_parse(frame->bytes, frame->length, &view);
    }
    oracle_frame_sent(world, host, frame, &view, endpoint, stream_offset);
    trace_frame(world, host->index, "sent", frame);
    wire_send(world, &world->wires[host->index], frame);
}

/** A frame to an own address comes back as if received. */
struct turned_round {
    struct host *host;
    unsigned generation;
    struct frame *frame;
};

static void receive_turned_round(struct world *world, void *context)
{
    struct turned_round *turned = context;
    world->frames_in_flight--;
    if (turned->host->generation == turned->generation)
        host_receive(world, turned->host, turned->frame, true);
    free(turned->frame);
    free(turned);
}

static void turn_round(struct world *world, struct host *host, struct frame *frame)
{
    struct turned_round *turned = calloc(1, sizeof(*turned));
    if (turned == NULL)
        abort();
    *turned = (struct turned_round){host, host->generation, frame};
    world->coverage.frames_turned_round++;
    world->frames_in_flight++;
    world_schedule(world, world->now_ns + random_below(&world->random, 5000), receive_turned_round,
                   turned);
}

static struct frame *build_frame(struct world *world, const struct stack_frame *out,
                                 struct endpoint *endpoint)
{
    struct frame *frame = frame_new(out->header_length + out->payload_length);
    memcpy(frame->bytes, out->header, out->header_length);
    uint8_t *payload = frame->bytes + out->header_length;
    if (out->payload_length == 0)
        return frame;
    if (out->payload != NULL)
        memcpy(payload, out->payload, out->payload_length);
    else if (endpoint != NULL)
        payload_fill(endpoint->pair->keys[endpoint->side], out->stream_offset, payload,
                     out->payload_length);
    else
        world_fail(world, "a frame with payload that comes from nowhere");
    return frame;
}

static void send_frame(struct world *world, struct host *host, const struct stack_frame *out)
{
    struct endpoint *endpoint = NULL;
    world->frames_total++;
    world->coverage.frames_sent++;
    if (out->header_length + (uint64_t)out->payload_length > FRAME_BYTES_MAX)
        world_fail(world, "frame of %u + %u bytes", out->header_length, out->payload_length);
    if (out->connection != NULL)
        endpoint = tcp_user(out->connection);
    const char *failure = out->connection != NULL ? window_check_sent(out->connection) : NULL;
    if (failure != NULL)
        world_fail(world, "host %u: %s", host->index, failure);
    struct frame *frame = build_frame(world, out, endpoint);
    frame->from = (uint8_t)host->index;
    struct frame_view view;
    if (out->gso_size != 0 && out->payload_length > out->gso_size && !out->turn_round) {
        send_cut(world, host, frame, out->gso_size, endpoint, out->stream_offset);
        return;
    }
    if (out->l4_checksum_partial)
        stack_frame_finish_checksum(out, frame->bytes);
    frame_parse(frame->bytes, frame->length, &view);
    oracle_frame_sent(world, host, frame, &view, endpoint, out->stream_offset);
    trace_frame(world, host->index, out->turn_round ? "turned" : "sent", frame);
    if (out->turn_round)
        turn_round(world, host, frame);
    else
        wire_send(world, &world->wires[host->index], frame);
}

/* ---- Events and time ---------------------------------------------------------------------- */

/** @return whether there were any. */
static bool take_events(struct world *world, struct host *host)
{
    struct stack_event event;
    bool any = false;
    while (stack_next_event(host->stack, &event)) {
        any = true;
        if (event.listener != NULL) {
            struct tcp_connection *connection;
            while ((connection = tcp_listener_next(event.listener)) != NULL)
                application_announced(world, host, event.listener, connection);
        } else if (event.user != NULL) {
            trace_digest_event(world, host->index, event.connection, event.bits);
            application_event(world, event.user, event.bits);
        } else {
            world_fail(world, "event %#x for a connection nobody has", event.bits);
        }
    }
    return any;
}

static void advance(struct world *world, void *context)
{
    struct host *host = context;
    if (host->wake_ns != world->now_ns)
        return; /* superseded */
    host->wake_ns = TIME_NEVER;
    stack_advance(host->stack, world->now_ns);
    stack_check(host->stack);
    uint64_t next_ns = stack_next_deadline(host->stack);
    if (next_ns <= world->now_ns)
        world_fail(world, "host %u: deadline %llu not after stack_advance(%llu)", host->index,
                   (unsigned long long)next_ns, (unsigned long long)world->now_ns);
    host_pump(world, host);
}

static void plan_wake(struct world *world, struct host *host)
{
    uint64_t deadline_ns = stack_next_deadline(host->stack);
    if (deadline_ns == TIME_NEVER)
        return;
    uint64_t late_ns =
        random_below(&world->random, world->settings.hosts[host->index].late_max_ns + 1);
    if (deadline_ns < world->now_ns)
        deadline_ns = world->now_ns;
    /* Never earlier than the stack asks for: a deadline that is too late must show. */
    if (host->wake_ns == TIME_NEVER || deadline_ns < host->wake_deadline_ns) {
        host->wake_deadline_ns = deadline_ns;
        host->wake_ns = deadline_ns + late_ns;
        world_schedule(world, host->wake_ns, advance, host);
    }
}

static void pump_now(struct world *world, struct host *host)
{
    struct stack_frame out;
    unsigned frames = 0;
    bool busy = true;
    while (busy) {
        busy = take_events(world, host);
        stack_check(host->stack);
        while (stack_transmit(host->stack, world->now_ns, host->gso_bytes_max, &out)) {
            busy = true;
            send_frame(world, host, &out);
            if (++frames > FRAMES_AT_ONCE_MAX)
                world_fail(world, "host %u sends without end", host->index);
        }
    }
    stack_check(host->stack);
    plan_wake(world, host);
}

static void pump_later(struct world *world, void *context)
{
    struct host *host = context;
    host->transmit_scheduled = false;
    pump_now(world, host);
}

void host_pump(struct world *world, struct host *host)
{
    uint64_t delay_ns = world->settings.hosts[host->index].batch_delay_ns;
    if (delay_ns == 0) {
        pump_now(world, host);
    } else if (!host->transmit_scheduled) {
        host->transmit_scheduled = true;
        world_schedule(world, world->now_ns + random_below(&world->random, delay_ns), pump_later,
                       host);
    }
}

/* ---- Receiving ---------------------------------------------------------------------------- */

static void unlink_placement(struct placement *placement)
{
    struct placement **link = &placement->endpoint->placements;
    while (*link != placement)
        link = &(*link)->next;
    *link = placement->next;
}

static void placement_done(struct world *world, void *context)
{
    struct placement *placement = context;
    struct endpoint *endpoint = placement->endpoint;
    endpoint->placements_pending--;
    unlink_placement(placement);
    if (endpoint->connection != NULL && endpoint->host->generation == endpoint->host_generation) {
        oracle_payload_placed(world, endpoint, placement->offset, placement->bytes,
                              placement->length);
        tcp_placement_end(endpoint->host->stack, endpoint->connection);
        application_event(world, endpoint, 0);
        host_pump(world, endpoint->host);
    }
    free(placement);
}

static void place(struct world *world, struct host *host, const struct stack_rx *rx,
                  const struct stack_rx_result *result)
{
    const struct host_settings *s = &world->settings.hosts[host->index];
    const uint8_t *bytes = rx->packet + rx->segment.payload_frame_offset + result->place_skip;
    if (result->place_skip + (uint64_t)result->place_length > rx->segment.payload_length)
        world_fail(world, "place %u bytes after %u of a payload of %u", result->place_length,
                   result->place_skip, rx->segment.payload_length);
    struct endpoint *endpoint = tcp_user(result->connection);
    if (endpoint == NULL)
        world_fail(world, "payload to place for a connection that was not announced");
    if (endpoint->closed_by_us)
        world_fail(world, "connection %u side %u: payload placed after the close", endpoint->id,
                   endpoint->side);
    oracle_segment_taken(world, endpoint, &rx->segment);
    if (!random_chance(&world->random, s->placement_delayed)) {
        oracle_payload_placed(world, endpoint, result->place_offset, bytes, result->place_length);
        return;
    }
    struct placement *placement = malloc(sizeof(*placement) + result->place_length);
    if (placement == NULL)
        abort();
    *placement = (struct placement){endpoint->placements, endpoint, result->place_offset,
                                    result->place_length};
    endpoint->placements = placement;
    memcpy(placement->bytes, bytes, result->place_length);
    endpoint->placements_pending++;
    world->coverage.placements_delayed++;
    tcp_placement_begin(result->connection);
    world_schedule(world, world->now_ns + random_below(&world->random, s->placement_max_ns),
                   placement_done, placement);
}

/** The protocol stage, watched. */
static void apply(struct world *world, struct host *host, struct stack_rx *rx,
                  struct stack_rx_result *result)
{
    struct window_watch watch;
    window_watch_begin(&watch, rx->connection);
    stack_receive_segment(host->stack, rx, world->now_ns, result);
    const char *failure = window_watch_end(&watch);
    if (failure != NULL)
        world_fail(world, "host %u: %s", host->index, failure);
}

static void receive_segment(struct world *world, struct host *host, struct stack_rx *rx,
                            bool forged)
{
    const struct host_settings *s = &world->settings.hosts[host->index];
    struct stack_rx_result result = {0};
    if (rx->segment.payload_length != 0 && !world_healed(world) &&
        random_chance(&world->random, s->payload_refused)) {
        rx->segment.payload_refused = true;
        world->coverage.payload_refused++;
    }
    apply(world, host, rx, &result);
    stack_check(host->stack);
    if (result.drop != DROP_NONE)
        trace_note(world, "host %u: %s", host->index, drop_reason_name(result.drop));
    if (result.place_length == 0)
        return;
    if (forged)
        world_fail(world, "host %u takes forged payload", host->index);
    if (rx->segment.payload_refused)
        world_fail(world, "payload to place although it was refused");
    place(world, host, rx, &result);
}

/** Payload for a connection that was not announced yet; perhaps this very segment completes the
    handshake. As the engine does: take it for a bare acknowledgement first, then again in full. */
static void announce_first(struct world *world, struct host *host, struct stack_rx *rx)
{
    struct stack_rx_result result = {0};
    if (rx->segment.payload_length == 0 || (rx->connection == NULL && rx->listener == NULL) ||
        (rx->connection != NULL && tcp_user(rx->connection) != NULL))
        return;
    rx->segment.payload_refused = true;
    apply(world, host, rx, &result);
    if (result.place_length != 0)
        world_fail(world, "payload to place although it was refused");
    take_events(world, host);
    stack_receive_look_up(host->stack, rx);
    bool announced = rx->connection != NULL && tcp_user(rx->connection) != NULL;
    rx->segment.payload_refused = !announced;
    if (announced && (rx->segment.flags & TCP_SYN) != 0)
        world->coverage.fast_accepts++;
}

void host_receive(struct world *world, struct host *host, const struct frame *frame,
                  bool turned_round)
{
    struct stack_rx rx = {0};
    struct stack_rx_hints hints = {.ip_checksum_good = turned_round,
                                   .l4_checksum_good = turned_round,
                                   .gso_size = frame->gso_size};
    /* The core gets exactly these bytes on the heap: reading beyond them is an error found by
       the sanitizers. */
    enum stack_rx_verdict verdict =
        stack_receive_parse(host->stack, frame->bytes, frame->length, hints, world->now_ns, &rx);
    if (verdict == STACK_RX_TCP) {
        if (frame->corrupted)
            world_fail(world, "host %u takes a corrupted segment for good", host->index);
        if (!frame->forged)
            oracle_segment_delivered(world, &rx.segment);
        announce_first(world, host, &rx);
        if (!rx.segment.payload_refused)
            receive_segment(world, host, &rx, frame->forged);
    } else if (verdict == STACK_RX_DROPPED) {
        trace_note(world, "host %u: %s", host->index, drop_reason_name(rx.drop));
    }
    host_pump(world, host);
}
