#include "application.h"

#include <errno.h>
#include <stdlib.h>

#include "trace.h"
#include "world.h"

/** Programs give up on a peer that left without a word after this time. */
#define GIVE_UP_NS (200 * NS_PER_S)
/** A window update needs no probe, which comes after 200 ms at the earliest. */
#define CLOSED_WINDOW_MAX_NS (100 * NS_PER_MS)

static void plan_timer(struct world *world, struct endpoint *endpoint);
static void give_up(struct world *world, void *context);
static void step(struct world *world, struct endpoint *endpoint);

const struct plan *application_peer_plan(const struct endpoint *endpoint)
{
    return &endpoint->pair->plans[1 - endpoint->side];
}

uint64_t application_peer_key(const struct endpoint *endpoint)
{
    return endpoint->pair->keys[1 - endpoint->side];
}

/* ---- Plans -------------------------------------------------------------------------------- */

static unsigned draw_bit(struct world *world, unsigned bits)
{
    unsigned chosen = (unsigned)random_below(&world->random, (uint64_t)__builtin_popcount(bits));
    while (chosen-- > 0)
        bits &= bits - 1;
    return bits & -bits;
}

static unsigned draw_style(struct world *world, unsigned bits)
{
    return (unsigned)__builtin_ctz(draw_bit(world, bits));
}

static uint64_t draw_pause(struct world *world, unsigned per_mille)
{
    if (!random_chance(&world->random, per_mille) || world->settings.pause_max_ns == 0)
        return 0;
    return random_log_between(&world->random, 1000, world->settings.pause_max_ns);
}

static void draw_plan(struct world *world, struct plan *plan)
{
    const struct settings *s = &world->settings;
    if (s->bytes_min != 0 || !random_chance(&world->random, 80))
        plan->total = random_log_between(&world->random, s->bytes_min | 1, s->bytes_max);
    plan->write_style = (enum write_style)draw_style(world, s->write_styles);
    plan->read_style = (enum read_style)draw_style(world, s->read_styles);
    if (plan->write_style == WRITE_BYTES && plan->total > 200)
        plan->total = random_between(&world->random, 1, 200);
    else if (plan->write_style == WRITE_SMALL && plan->total > 8000)
        plan->total = random_between(&world->random, 1, 8000);
    plan->write_pause_ns = draw_pause(world, 400);
    plan->read_pause_ns = draw_pause(world, 400);
    plan->end_pause_ns = draw_pause(world, 300);
    if (s->idle_max_ns != 0) {
        plan->idle_at = random_below(&world->random, plan->total + 1);
        plan->idle_ns = random_log_between(&world->random, NS_PER_S, s->idle_max_ns);
    }
    plan->changes_options = random_chance(&world->random, s->changes_options);
    plan->ending = ENDING_AFTER_EOF;
}

static void draw_clean_endings(struct world *world, struct plan plans[2])
{
    switch (random_below(&world->random, 3)) {
    case 0:
        plans[0].ending = plans[1].ending = ENDING_SHUTDOWN_THEN_EOF;
        break;
    case 1:
        plans[0].ending = ENDING_SHUTDOWN_THEN_EOF;
        break;
    default:
        plans[1].ending = ENDING_SHUTDOWN_THEN_EOF;
        break;
    }
}

static void draw_endings(struct world *world, struct plan plans[2])
{
    struct plan *one = &plans[random_below(&world->random, 2)];
    switch (draw_bit(world, world->settings.endings)) {
    case END_MIX_CLEAN:
        draw_clean_endings(world, plans);
        break;
    case END_MIX_CLOSE_EARLY:
        one->ending = ENDING_CLOSE_EARLY;
        break;
    case END_MIX_ABORT:
        one->ending = ENDING_ABORT;
        one->abort_after_ns = random_log_between(&world->random, 1000, 5 * NS_PER_S);
        break;
    case END_MIX_CLOSE_WHEN_DONE:
        one->ending = ENDING_CLOSE_WHEN_DONE;
        break;
    default:
        plans[0].ending = plans[1].ending = ENDING_NEVER;
    }
}

struct connection_pair *application_new_pair(struct world *world)
{
    struct connection_pair *pair = calloc(1, sizeof(*pair));
    if (pair == NULL)
        abort();
    pair->next = world->pairs;
    world->pairs = pair;
    for (unsigned i = 0; i < 2; i++) {
        pair->keys[i] = random_next(&world->random);
        draw_plan(world, &pair->plans[i]);
    }
    draw_endings(world, pair->plans);
    return pair;
}

/* ---- Beginning ---------------------------------------------------------------------------- */

static struct endpoint *new_endpoint(struct world *world, struct host *host,
                                     struct connection_pair *pair, unsigned side)
{
    struct endpoint *endpoint = calloc(1, sizeof(*endpoint));
    if (endpoint == NULL)
        abort();
    endpoint->next = world->endpoints;
    world->endpoints = endpoint;
    endpoint->id = world->endpoint_count++;
    endpoint->host = host;
    endpoint->host_generation = host->generation;
    endpoint->pair = pair;
    endpoint->side = side;
    endpoint->placed_capacity = pair->plans[1 - side].total;
    endpoint->placed = calloc(1, endpoint->placed_capacity / 8 + 1);
    if (endpoint->placed == NULL)
        abort();
    pair->endpoints[side] = endpoint;
    if (pair->plans[side].ending == ENDING_ABORT)
        endpoint->abort_ns = world->now_ns + pair->plans[side].abort_after_ns;
    return endpoint;
}

static bool side_is_accepting(const struct endpoint *endpoint)
{
    return endpoint->side == 1 && !endpoint->pair->simultaneous;
}

static void attach(struct world *world, struct endpoint *endpoint,
                   struct tcp_connection *connection)
{
    struct ip_endpoint local, remote;
    unsigned side;
    tcp_endpoints(connection, &local, &remote);
    struct flow_watch *flow =
        oracle_flow(world, &local.address, local.port, &remote.address, remote.port, &side);
    if (flow->sides[side].endpoint != NULL)
        world->coverage.fast_reuses++;
    flow->sides[side].endpoint = endpoint;
    endpoint->offered_edge = side_is_accepting(endpoint) ? flow->sides[side].syn_window : 0;
    endpoint->connection = connection;
}

/** From slower than a wire of any scenario, yet fast enough to get done, to no limit in effect. */
static uint64_t draw_pacing_rate(struct world *world)
{
    return random_log_between(&world->random, 20000, 1000000000);
}

static void draw_options(struct world *world, struct tcp_options_set *options)
{
    const struct settings *s = &world->settings;
    options->receive_buffer = s->receive_buffer;
    options->send_buffer = s->send_buffer;
    if (s->keepalive) {
        options->keepalive = true;
        options->keepalive_idle_ns = random_between(&world->random, 1, 30) * NS_PER_S;
        options->keepalive_interval_ns = random_between(&world->random, 1, 10) * NS_PER_S;
        options->keepalive_count = (uint8_t)random_between(&world->random, 3, 9);
    }
    if (!random_chance(&world->random, s->options_random))
        return;
    options->nodelay = random_chance(&world->random, 500);
    options->delay_acks = random_chance(&world->random, 300);
    options->congestion = (uint8_t)random_below(&world->random, TCP_CONGESTION_COUNT);
    if (random_chance(&world->random, 200))
        options->max_pacing_rate = draw_pacing_rate(world);
    if (random_chance(&world->random, 300))
        options->maxseg = (uint16_t)random_between(&world->random, 88, 1460);
    options->cork = random_chance(&world->random, 50);
    if (s->errors_permitted && random_chance(&world->random, 200)) {
        options->keepalive = true;
        options->keepalive_idle_ns = random_between(&world->random, 1, 30) * NS_PER_S;
        options->keepalive_interval_ns = random_between(&world->random, 1, 10) * NS_PER_S;
    }
    if (random_chance(&world->random, 200))
        options->window_clamp = (uint32_t)random_log_between(&world->random, 1000, 100000);
}

/** Fast open: what the first write of the plan has for the SYN to take along. */
static void write_with_syn(struct world *world, struct endpoint *endpoint)
{
    struct stack *stack = endpoint->host->stack;
    uint64_t room = tcp_fast_open_room(stack, endpoint->connection);
    uint64_t left = endpoint->pair->plans[endpoint->side].total;
    uint64_t bytes = random_between(&world->random, 0, room < left ? room : left);
    if (room == 0)
        return;
    endpoint->written = bytes;
    if (bytes != 0 && tcp_send(stack, endpoint->connection, bytes, false, world->now_ns) != 0)
        world_fail(world, "connection %u: no payload for a SYN that is held", endpoint->id);
    tcp_fast_open_go(stack, endpoint->connection, random_chance(&world->random, 300));
}

void application_connect(struct world *world, struct host *host, struct connection_pair *pair,
                         unsigned side, const struct tcp_connect_request *template)
{
    struct tcp_connect_request request = *template;
    struct tcp_options_set options;
    struct tcp_connection *connection;
    struct endpoint *endpoint = new_endpoint(world, host, pair, side);
    tcp_options_set_init(&options, &host->config.tcp);
    draw_options(world, &options);
    request.options = &options;
    request.user = endpoint;
    pair->fast_open = !pair->simultaneous &&
                      (host->config.tcp.fast_open & TCP_FAST_OPEN_CLIENT) != 0 &&
                      random_chance(&world->random, 700);
    request.fast_open = pair->fast_open;
    world->coverage.connections++;
    int error = tcp_connect(host->stack, &request, world->now_ns, &connection);
    if (error != 0) {
        bool port_taken =
            (error == -EADDRINUSE || error == -EADDRNOTAVAIL) && template->local.port != 0;
        if (!port_taken && error != -ENOBUFS)
            world_fail(world, "tcp_connect on host %u: %d", host->index, error);
        if (error == -ENOBUFS && !world->settings.errors_permitted)
            world_fail(world, "tcp_connect: connection table full");
        endpoint->ended = true;
        endpoint->closed_by_us = true;
        pair->reset_is_due = true;
        return;
    }
    attach(world, endpoint, connection);
    if (pair->fast_open)
        write_with_syn(world, endpoint);
    plan_timer(world, endpoint);
    if (world->settings.gives_up)
        world_schedule(world, world->now_ns + GIVE_UP_NS, give_up, endpoint);
    host_pump(world, host);
}

static void taken(struct world *world, void *context)
{
    struct endpoint *endpoint = context;
    if (endpoint->listener == NULL || endpoint->host_generation != endpoint->host->generation)
        return;
    tcp_listener_taken(endpoint->listener);
    endpoint->listener = NULL;
    if (endpoint->connection != NULL) {
        endpoint->established = true;
        world_note_progress(world);
        step(world, endpoint);
        host_pump(world, endpoint->host);
    }
}

static void reset_becomes_due(struct world *world, struct endpoint *endpoint)
{
    struct endpoint *peer = endpoint->pair->endpoints[1 - endpoint->side];
    endpoint->pair->reset_is_due = true;
    if (peer != NULL)
        world_schedule(world, world->now_ns + GIVE_UP_NS, give_up, peer);
}

/** The peer may have gone without a word that reached us: a program has its own patience. */
static void give_up(struct world *world, void *context)
{
    struct endpoint *endpoint = context;
    if (endpoint->connection == NULL || endpoint->closed_by_us ||
        endpoint->host_generation != endpoint->host->generation)
        return;
    trace_note(world, "connection %u side %u gives up", endpoint->id, endpoint->side);
    endpoint->closed_by_us = true;
    reset_becomes_due(world, endpoint);
    tcp_abort(endpoint->host->stack, endpoint->connection, world->now_ns);
    host_pump(world, endpoint->host);
}

void application_announced(struct world *world, struct host *host, struct tcp_listener *listener,
                           struct tcp_connection *connection)
{
    struct connection_pair *pair = oracle_pair_of_accepted(world, connection);
    unsigned side = 1;
    if (pair == NULL)
        world_fail(world, "host %u accepts a connection that nobody opened", host->index);
    if (pair->endpoints[side] != NULL) {
        /* A second handshake for one opener: a SYN or ACK of old came again. */
        pair->reset_is_due = true;
        struct connection_pair *ghost = application_new_pair(world);
        ghost->endpoints[0] = pair->endpoints[0];
        for (unsigned i = 0; i < 2; i++) {
            ghost->keys[i] = pair->keys[i];
            ghost->plans[i] = pair->plans[i];
        }
        ghost->ghosted = pair->ghosted = true; /* the opener may be talking to either */
        ghost->fast_open = pair->fast_open;
        ghost->reset_is_due = true;
        pair = ghost;
    }
    struct endpoint *endpoint = new_endpoint(world, host, pair, side);
    attach(world, endpoint, connection);
    world->coverage.connections_accepted++;
    tcp_set_user(connection, endpoint);
    endpoint->listener = listener;
    if (pair->reset_is_due)
        world_schedule(world, world->now_ns + GIVE_UP_NS, give_up, endpoint);
    uint64_t delay_ns = random_below(&world->random, world->settings.accept_delay_max_ns + 1);
    if (delay_ns == 0)
        taken(world, endpoint);
    else
        world_schedule(world, world->now_ns + delay_ns, taken, endpoint);
}

/* ---- Living ------------------------------------------------------------------------------- */

static uint64_t draw_read_bytes(struct world *world, const struct plan *plan, uint64_t available)
{
    switch (plan->read_style) {
    case READ_SLOW:
        return random_between(&world->random, 1, available < 300 ? available : 300);
    case READ_RANDOM:
        return random_between(&world->random, 1, available);
    default:
        return available;
    }
}

static uint64_t draw_read_pause(struct world *world, const struct plan *plan)
{
    switch (plan->read_style) {
    case READ_EAGER:
        return 0;
    case READ_STOP_AND_GO:
        return random_log_between(&world->random, NS_PER_MS, 2 * NS_PER_S);
    case READ_SLOW:
        return random_log_between(&world->random, NS_PER_US, 5 * NS_PER_MS);
    default:
        return random_below(&world->random, plan->read_pause_ns + 1);
    }
}

/** What may be read: in place, and nothing on its way there (again) any more. */
static uint64_t readable_end(const struct endpoint *endpoint)
{
    uint64_t end = endpoint->placed_prefix;
    for (const struct placement *p = endpoint->placements; p != NULL; p = p->next)
        end = p->offset < end ? p->offset : end;
    return end;
}

static void closed_too_long(struct world *world, void *context)
{
    struct endpoint *endpoint = context;
    bool over = endpoint->connection == NULL || endpoint->closed_by_us || endpoint->fin_arrived ||
                endpoint->offered_edge > endpoint->ack_high ||
                endpoint->consumed != endpoint->placed_prefix || endpoint->placements_pending != 0;
    if (endpoint->closed_since_ns != 0 && !over &&
        world->now_ns >= endpoint->closed_since_ns + CLOSED_WINDOW_MAX_NS)
        world_fail(world, "connection %u side %u has read all, but its window stays closed",
                   endpoint->id, endpoint->side);
    endpoint->closed_since_ns = 0;
}

/** A reader that caught up opens a closed window by itself, not when it is probed. */
static void watch_closed_window(struct world *world, struct endpoint *endpoint)
{
    const struct host_settings *host = &world->settings.hosts[endpoint->host->index];
    if (endpoint->closed_since_ns != 0 || !endpoint->acked_on_wire || host->late_max_ns != 0 ||
        host->batch_delay_ns != 0 || endpoint->pair->reset_is_due || endpoint->fin_arrived ||
        endpoint->offered_edge > endpoint->ack_high ||
        endpoint->consumed != endpoint->placed_prefix || endpoint->placements_pending != 0)
        return;
    endpoint->closed_since_ns = world->now_ns;
    world_schedule(world, world->now_ns + CLOSED_WINDOW_MAX_NS, closed_too_long, endpoint);
}

static void read_some(struct world *world, struct endpoint *endpoint)
{
    const struct plan *plan = &endpoint->pair->plans[endpoint->side];
    while (world->now_ns >= endpoint->next_read_ns) {
        uint64_t received = tcp_received_offset(endpoint->connection);
        if (received > readable_end(endpoint))
            received = readable_end(endpoint);
        if (received <= endpoint->consumed)
            break;
        uint64_t available = received - endpoint->consumed;
        uint64_t bytes = draw_read_bytes(world, plan, available);
        endpoint->consumed += bytes;
        world->coverage.bytes_delivered += bytes;
        /* One end in four marks records, of two writes each on average. */
        if (endpoint->id % 4 == 1 && endpoint->written % 2 == 0) {
            tcp_send_record_end(endpoint->host->stack, endpoint->connection);
            world->coverage.records++;
        }
        world->frames_bound_work += 2 + bytes / 200;
        tcp_consumed(endpoint->host->stack, endpoint->connection, endpoint->consumed,
                     world->now_ns);
        world_note_progress(world);
        endpoint->next_read_ns = world->now_ns + draw_read_pause(world, plan);
    }
    watch_closed_window(world, endpoint);
    if (endpoint->fin_arrived && !endpoint->eof && endpoint->placements_pending == 0 &&
        !endpoint->host->placing &&
        endpoint->consumed == tcp_received_offset(endpoint->connection)) {
        const struct endpoint *peer = endpoint->pair->endpoints[1 - endpoint->side];
        endpoint->eof = true;
        world_note_progress(world);
        bool ends = peer != NULL && peer->shut_down && endpoint->consumed == peer->written;
        if (!ends && !endpoint->pair->ghosted)
            world_fail(world, "connection %u side %u: end of stream at %llu, the peer's is not",
                       endpoint->id, endpoint->side, (unsigned long long)endpoint->consumed);
    }
}

static uint64_t draw_write_bytes(struct world *world, const struct plan *plan)
{
    switch (plan->write_style) {
    case WRITE_BYTES:
        return 1;
    case WRITE_SMALL:
        return random_between(&world->random, 1, 200);
    case WRITE_RANDOM:
        return random_log_between(&world->random, 1, 100000);
    default:
        return UINT32_MAX;
    }
}

static void write_some(struct world *world, struct endpoint *endpoint)
{
    const struct plan *plan = &endpoint->pair->plans[endpoint->side];
    while (endpoint->written < plan->total && world->now_ns >= endpoint->next_write_ns) {
        if (!endpoint->idled && plan->idle_ns != 0 && endpoint->written >= plan->idle_at) {
            endpoint->idled = true;
            endpoint->next_write_ns = world->now_ns + plan->idle_ns;
            break;
        }
        uint64_t limit = tcp_send_buffer_bytes(endpoint->connection);
        uint64_t queued = endpoint->written - endpoint->acked;
        if (queued >= limit)
            break;
        uint64_t bytes = draw_write_bytes(world, plan);
        if (bytes > limit - queued)
            bytes = limit - queued;
        if (bytes > plan->total - endpoint->written)
            bytes = plan->total - endpoint->written;
        bool more = random_chance(&world->random, world->settings.more);
        endpoint->written += bytes;
        int error =
            tcp_send(endpoint->host->stack, endpoint->connection, bytes, more, world->now_ns);
        if (error != 0) {
            endpoint->written -= bytes;
            if (tcp_error(endpoint->connection) == 0)
                world_fail(world, "connection %u side %u: tcp_send: %d without an error",
                           endpoint->id, endpoint->side, error);
            break;
        }
        world->frames_bound_work += 2 + bytes / 200;
        world_note_progress(world);
        if (random_chance(&world->random, world->settings.urgent)) {
            endpoint->urgent_marks[endpoint->urgent_count++ % URGENT_MARKS_MAX] = endpoint->written;
            tcp_send_urgent(endpoint->host->stack, endpoint->connection, world->now_ns);
        }
        if (plan->write_pause_ns != 0)
            endpoint->next_write_ns =
                world->now_ns + random_below(&world->random, plan->write_pause_ns);
    }
}

static void close_now(struct world *world, struct endpoint *endpoint)
{
    const struct endpoint *peer = endpoint->pair->endpoints[1 - endpoint->side];
    bool all_read = endpoint->consumed == application_peer_plan(endpoint)->total &&
                    (peer == NULL || peer->written == endpoint->consumed);
    endpoint->closed_by_us = true;
    if (!endpoint->shut_down && !endpoint->eof)
        world->coverage.simultaneous_closes += peer != NULL && peer->shut_down;
    endpoint->shut_down = true;
    world_note_progress(world);
    trace_note(world, "connection %u side %u closes", endpoint->id, endpoint->side);
    if (!all_read && !endpoint->eof)
        reset_becomes_due(world, endpoint);
    tcp_close(endpoint->host->stack, endpoint->connection, world->now_ns);
}

static void shut_down_write(struct world *world, struct endpoint *endpoint)
{
    const struct endpoint *peer = endpoint->pair->endpoints[1 - endpoint->side];
    endpoint->shut_down = true;
    world->coverage.simultaneous_closes += !endpoint->eof && peer != NULL && peer->shut_down;
    world_note_progress(world);
    trace_note(world, "connection %u side %u shuts down", endpoint->id, endpoint->side);
    tcp_shutdown_write(endpoint->host->stack, endpoint->connection, world->now_ns);
}

/** Whether the pause before an ending is over; begins it when asked first. */
static bool end_is_now(struct world *world, struct endpoint *endpoint)
{
    const struct plan *plan = &endpoint->pair->plans[endpoint->side];
    if (endpoint->end_ns == 0)
        endpoint->end_ns = world->now_ns + random_below(&world->random, plan->end_pause_ns + 1);
    return world->now_ns >= endpoint->end_ns;
}

static void end_when_due(struct world *world, struct endpoint *endpoint)
{
    const struct plan *plan = &endpoint->pair->plans[endpoint->side];
    bool written = endpoint->written == plan->total;
    bool read = endpoint->consumed == application_peer_plan(endpoint)->total;
    switch (plan->ending) {
    case ENDING_SHUTDOWN_THEN_EOF:
        if (written && !endpoint->shut_down && end_is_now(world, endpoint))
            shut_down_write(world, endpoint);
        if (endpoint->shut_down && endpoint->eof)
            close_now(world, endpoint);
        break;
    case ENDING_AFTER_EOF:
        if (written && endpoint->eof && end_is_now(world, endpoint))
            close_now(world, endpoint);
        break;
    case ENDING_CLOSE_WHEN_DONE:
        if (written && read && end_is_now(world, endpoint))
            close_now(world, endpoint);
        break;
    case ENDING_CLOSE_EARLY:
        if (written && end_is_now(world, endpoint))
            close_now(world, endpoint);
        break;
    case ENDING_ABORT:
    case ENDING_NEVER:
        break;
    }
}

static void abort_when_due(struct world *world, struct endpoint *endpoint)
{
    if (endpoint->abort_ns == 0 || world->now_ns < endpoint->abort_ns)
        return;
    endpoint->closed_by_us = true;
    trace_note(world, "connection %u side %u aborts", endpoint->id, endpoint->side);
    reset_becomes_due(world, endpoint);
    tcp_abort(endpoint->host->stack, endpoint->connection, world->now_ns);
}

static void change_options(struct world *world, struct endpoint *endpoint)
{
    struct tcp_options_set options = *tcp_get_options(endpoint->connection);
    if (!endpoint->pair->plans[endpoint->side].changes_options ||
        !random_chance(&world->random, 100))
        return;
    switch (random_below(&world->random, 6)) {
    case 0:
        options.nodelay = !options.nodelay;
        break;
    case 1:
        options.cork = !options.cork;
        break;
    case 2:
        tcp_quickack(endpoint->host->stack, endpoint->connection,
                     random_chance(&world->random, 500));
        return;
    case 3:
        options.congestion = (uint8_t)random_below(&world->random, TCP_CONGESTION_COUNT);
        break;
    case 4:
        options.max_pacing_rate =
            random_chance(&world->random, 300) ? UINT64_MAX : draw_pacing_rate(world);
        break;
    default:
        options.receive_buffer = (uint32_t)random_log_between(&world->random, 2048, 1 << 20);
    }
    tcp_set_options(endpoint->host->stack, endpoint->connection, &options, world->now_ns);
}

static void step(struct world *world, struct endpoint *endpoint)
{
    if (endpoint->connection == NULL || endpoint->closed_by_us)
        return;
    abort_when_due(world, endpoint);
    if (!endpoint->closed_by_us && endpoint->established && endpoint->error == 0) {
        change_options(world, endpoint);
        read_some(world, endpoint);
        write_some(world, endpoint);
        end_when_due(world, endpoint);
    }
    if (!endpoint->closed_by_us)
        plan_timer(world, endpoint);
}

static void timer_expired(struct world *world, void *context)
{
    struct endpoint *endpoint = context;
    if (endpoint->timer_ns != world->now_ns || endpoint->connection == NULL ||
        endpoint->host_generation != endpoint->host->generation)
        return;
    endpoint->timer_ns = 0;
    step(world, endpoint);
    host_pump(world, endpoint->host);
}

static void earliest(uint64_t *time_ns, uint64_t now_ns, uint64_t candidate_ns)
{
    if (candidate_ns > now_ns && candidate_ns < *time_ns)
        *time_ns = candidate_ns;
}

static void plan_timer(struct world *world, struct endpoint *endpoint)
{
    uint64_t next_ns = TIME_NEVER;
    earliest(&next_ns, world->now_ns, endpoint->next_read_ns);
    earliest(&next_ns, world->now_ns, endpoint->next_write_ns);
    earliest(&next_ns, world->now_ns, endpoint->end_ns);
    earliest(&next_ns, world->now_ns, endpoint->abort_ns);
    if (next_ns == TIME_NEVER || next_ns == endpoint->timer_ns)
        return;
    endpoint->timer_ns = next_ns;
    if (next_ns > world->last_progress_ns)
        world->last_progress_ns = next_ns; /* it pauses by its own will */
    world_schedule(world, next_ns, timer_expired, endpoint);
}

/* ---- Events ------------------------------------------------------------------------------- */

static void ended(struct world *world, struct endpoint *endpoint)
{
    endpoint->connection = NULL;
    endpoint->ended = true;
    world_note_progress(world);
    trace_note(world, "connection %u side %u is gone", endpoint->id, endpoint->side);
    if (endpoint->listener != NULL)
        taken(world, endpoint);
    /* On a bad wire a closed connection may be given up without the peer ever hearing of it. */
    struct endpoint *peer = endpoint->pair->endpoints[1 - endpoint->side];
    if (world->settings.errors_permitted && peer != NULL)
        world_schedule(world, world->now_ns + GIVE_UP_NS, give_up, peer);
    oracle_endpoint_ended(world, endpoint);
}

static void note_acked(struct world *world, struct endpoint *endpoint)
{
    uint64_t acked = tcp_acked_offset(endpoint->connection);
    if (acked < endpoint->acked || acked > endpoint->written)
        world_fail(world, "connection %u side %u: acked offset %llu after %llu, written %llu",
                   endpoint->id, endpoint->side, (unsigned long long)acked,
                   (unsigned long long)endpoint->acked, (unsigned long long)endpoint->written);
    if (acked > endpoint->acked)
        world_note_progress(world);
    endpoint->acked = acked;
}

void application_event(struct world *world, struct endpoint *endpoint, uint32_t bits)
{
    struct tcp_connection *connection = endpoint->connection;
    if (connection == NULL)
        world_fail(world, "connection %u side %u: event %#x after the end", endpoint->id,
                   endpoint->side, bits);
    note_acked(world, endpoint);
    if (endpoint->placements_pending == 0 && !endpoint->host->placing &&
        tcp_received_offset(connection) > endpoint->placed_prefix)
        world_fail(world, "connection %u side %u: %llu received, %llu placed", endpoint->id,
                   endpoint->side, (unsigned long long)tcp_received_offset(connection),
                   (unsigned long long)endpoint->placed_prefix);
    if ((bits & STACK_EVENT_ESTABLISHED) != 0)
        endpoint->established = true;
    if ((bits & STACK_EVENT_FIN) != 0)
        endpoint->fin_arrived = true;
    if ((bits & STACK_EVENT_URGENT) != 0)
        oracle_urgent(world, endpoint, tcp_urgent_offset(connection));
    if ((bits & STACK_EVENT_ERROR) != 0) {
        endpoint->error = tcp_error(connection);
        trace_note(world, "connection %u side %u: error %d", endpoint->id, endpoint->side,
                   endpoint->error);
        oracle_error_reported(world, endpoint, endpoint->error);
    }
    if ((bits & STACK_EVENT_CLOSED) != 0) {
        ended(world, endpoint);
        return;
    }
    if (endpoint->error != 0 && !endpoint->closed_by_us) {
        reset_becomes_due(world, endpoint);
        endpoint->closed_by_us = true;
        tcp_close(endpoint->host->stack, connection, world->now_ns);
        return;
    }
    step(world, endpoint);
}

void application_host_gone(struct world *world, struct host *host)
{
    for (struct endpoint *endpoint = world->endpoints; endpoint != NULL;
         endpoint = endpoint->next) {
        if (endpoint->connection == NULL)
            continue;
        if (endpoint->host != host) {
            /* Its peer there may not even have been announced: nobody will tell it. */
            world_schedule(world, world->now_ns + GIVE_UP_NS, give_up, endpoint);
            continue;
        }
        endpoint->connection = NULL;
        endpoint->listener = NULL;
        endpoint->ended = true;
        endpoint->closed_by_us = true;
        reset_becomes_due(world, endpoint);
    }
}
