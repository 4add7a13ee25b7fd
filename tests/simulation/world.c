#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attack.h"
#include "trace.h"

/** With the wire healed and no program pausing, somebody must get ahead within this time: two
    retransmissions at the longest back-off (120 s) and some. */
#define STALL_NS (400 * NS_PER_S)
/** After the last program is through: TIME_WAIT, its restart, FIN_WAIT_2 of orphans. */
#define CLEAN_UP_NS (600 * NS_PER_S)

static bool event_before(const struct world_event *a, const struct world_event *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->order < b->order;
}

void world_schedule(struct world *world, uint64_t time_ns, world_action *run, void *context)
{
    if (time_ns < world->now_ns)
        time_ns = world->now_ns;
    if (world->event_count == world->event_capacity) {
        world->event_capacity = world->event_capacity == 0 ? 256 : 2 * world->event_capacity;
        world->events = realloc(world->events, world->event_capacity * sizeof(*world->events));
        if (world->events == NULL)
            abort();
    }
    struct world_event event = {time_ns, world->event_order++, run, context};
    uint32_t i = world->event_count++;
    while (i > 0 && event_before(&event, &world->events[(i - 1) / 2])) {
        world->events[i] = world->events[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    world->events[i] = event;
}

static struct world_event take_event(struct world *world)
{
    struct world_event first = world->events[0];
    struct world_event last = world->events[--world->event_count];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= world->event_count)
            break;
        if (child + 1 < world->event_count &&
            event_before(&world->events[child + 1], &world->events[child]))
            child++;
        if (!event_before(&world->events[child], &last))
            break;
        world->events[i] = world->events[child];
        i = child;
    }
    world->events[i] = last;
    return first;
}

double world_seconds(const struct world *world)
{
    return (double)(world->now_ns - world->start_ns) / 1e9;
}

bool world_healed(const struct world *world)
{
    return world->now_ns >= world->heal_ns;
}

void world_note_progress(struct world *world)
{
    if (world->last_progress_ns < world->now_ns)
        world->last_progress_ns = world->now_ns;
}

void world_fail(struct world *world, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout);
    printf("FAIL seed=%llu scenario=%s time=%.6f ", (unsigned long long)world->seed,
           world->scenario->name, world_seconds(world));
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    va_end(arguments);
    longjmp(*world->failure, 1);
}

static const struct endpoint *first_not_through(const struct world *world)
{
    const struct endpoint *e = world->endpoints;
    while (e != NULL && e->ended)
        e = e->next;
    return e;
}

static void heal(struct world *world, void *context)
{
    (void)context;
    const struct endpoint *e = first_not_through(world);
    if (world->settings.through_before_healing && e != NULL)
        world_fail(world, "connection %u side %u is not through", e->id, e->side);
    trace_note(world,
               world->settings.dies ? "the wire is dead from here on" : "the wire is healed");
    for (unsigned i = 0; i < world->settings.host_count; i++)
        wire_heal(world, &world->wires[i]);
}

static void restart_host(struct world *world, void *context)
{
    struct host *host = context;
    trace_note(world, "host %u restarts", host->index);
    world->coverage.reboots++;
    application_host_gone(world, host);
    host_restart(world, host);
}

static void begin_attack(struct world *world, void *context)
{
    (void)context;
    attack_begin(world);
}

static void start_connection(struct world *world, void *context)
{
    (void)context;
    world_start_connection(world);
}

/** The endpoint that a connection is opened to, and from where. */
static void draw_request(struct world *world, unsigned client, unsigned server,
                         struct tcp_connect_request *request)
{
    const struct settings *s = &world->settings;
    request->remote.address = host_address(server, s->is_ipv6);
    request->remote.port =
        random_chance(&world->random, s->refused_port) ? HOST_CLOSED_PORT : HOST_LISTEN_PORT;
    if (random_chance(&world->random, s->fixed_port)) {
        request->local.address = host_address(client, s->is_ipv6);
        request->local.port = (uint16_t)random_between(&world->random, 5000, 5001);
        request->reuse_address = true;
    }
}

static void start_simultaneous(struct world *world, struct connection_pair *pair)
{
    uint16_t port = (uint16_t)(2000 + 2 * world->connections_started);
    struct tcp_connect_request request = {0};
    pair->simultaneous = true;
    /* When one SYN comes before the other side opened, it is refused: that must not be an error. */
    pair->refusal_is_due = true;
    for (unsigned side = 0; side < 2; side++) {
        request.local.address = host_address(side, world->settings.is_ipv6);
        request.local.port = (uint16_t)(port + side);
        request.remote.address = host_address(1 - side, world->settings.is_ipv6);
        request.remote.port = (uint16_t)(port + 1 - side);
        application_connect(world, &world->hosts[side], pair, side, &request);
    }
}

void world_start_connection(struct world *world)
{
    const struct settings *s = &world->settings;
    struct tcp_connect_request request = {0};
    world->connections_started++;
    world_note_progress(world);
    if (world->connections_started < world->connections_wanted)
        world_schedule(world,
                       world->now_ns + random_below(&world->random, s->connection_spacing_ns + 1),
                       start_connection, NULL);
    struct connection_pair *pair = application_new_pair(world);
    if (random_chance(&world->random, s->simultaneous)) {
        start_simultaneous(world, pair);
        return;
    }
    unsigned client = random_chance(&world->random, 800)
                          ? 0
                          : (unsigned)random_below(&world->random, s->host_count);
    unsigned server = (client + 1) % s->host_count;
    if (random_chance(&world->random, s->to_self))
        server = client;
    draw_request(world, client, server, &request);
    pair->refusal_is_due = request.remote.port == HOST_CLOSED_PORT;
    application_connect(world, &world->hosts[client], pair, 0, &request);
}

static bool programs_are_through(const struct world *world)
{
    if (world->connections_started < world->connections_wanted)
        return false;
    for (const struct endpoint *e = world->endpoints; e != NULL; e = e->next) {
        if (!e->ended)
            return false;
    }
    return true;
}

static bool connections_left(const struct world *world)
{
    for (unsigned i = 0; i < world->settings.host_count; i++) {
        if (stack_get_counters(world->hosts[i].stack)->connections_now != 0)
            return true;
    }
    return world->frames_in_flight != 0;
}

static void check_progress(struct world *world)
{
    uint64_t since =
        world->last_progress_ns > world->heal_ns ? world->last_progress_ns : world->heal_ns;
    const struct endpoint *e;
    if (world->now_ns > since + STALL_NS + (world->settings.dies ? 1200 * NS_PER_S : 0) &&
        (e = first_not_through(world)) != NULL)
        world_fail(world,
                   "stall: connection %u side %u written %llu acked %llu consumed %llu placed %llu"
                   " of %llu established %d eof %d shut %d closed %d",
                   e->id, e->side, (unsigned long long)e->written, (unsigned long long)e->acked,
                   (unsigned long long)e->consumed, (unsigned long long)e->placed_prefix,
                   (unsigned long long)application_peer_plan(e)->total, e->established, e->eof,
                   e->shut_down, e->closed_by_us);
    /* Frames may be spent on work and on time that passes, with room for faults; a war of
       acknowledgements exceeds any such bound within no time. */
    uint64_t bound = 3000 + 40 * world->frames_bound_work +
                     (uint64_t)(world_seconds(world) + 1) * 20 * (world->endpoint_count + 4);
    if (world->frames_total > bound)
        world_fail(world, "livelock: %llu frames for work that allows %llu",
                   (unsigned long long)world->frames_total, (unsigned long long)bound);
}

static void run_events(struct world *world)
{
    uint64_t through_ns = 0;
    while (world->event_count != 0) {
        struct world_event event = take_event(world);
        if (event.time_ns > world->now_ns)
            world->now_ns = event.time_ns;
        event.run(world, event.context);
        check_progress(world);
        if (through_ns == 0 && programs_are_through(world))
            through_ns = world->now_ns > world->heal_ns ? world->now_ns : world->heal_ns;
        if (through_ns != 0 && !connections_left(world))
            return;
        if (through_ns != 0 && world->now_ns > through_ns + CLEAN_UP_NS)
            return;
    }
}

static void plan_run(struct world *world)
{
    const struct settings *s = &world->settings;
    world->heal_ns = world->start_ns + s->heal_after_ns;
    world->last_progress_ns = world->start_ns;
    world->connections_wanted = s->connections;
    for (unsigned i = 0; i < s->host_count; i++) {
        world->wires[i].settings = s->wires[i];
        world->wires[i].from = i;
        host_create(world, &world->hosts[i], i);
    }
    world_schedule(world, world->heal_ns, heal, NULL);
    if (s->attacked)
        world_schedule(world, world->start_ns, begin_attack, NULL);
    if (s->restarts)
        world_schedule(world, world->start_ns + random_below(&world->random, s->heal_after_ns),
                       restart_host, &world->hosts[random_below(&world->random, s->host_count)]);
    world_schedule(world, world->start_ns + random_below(&world->random, NS_PER_S),
                   start_connection, NULL);
}

static void take_counters(struct world *world)
{
    struct coverage *c = &world->coverage;
    for (unsigned i = 0; i < world->settings.host_count; i++) {
        const struct stack_counters *s = stack_get_counters(world->hosts[i].stack);
        c->retransmits += s->retransmits;
        c->rto_expirations += s->rto_expirations;
        c->out_of_order += s->out_of_order;
        c->resets_sent += s->resets_out;
        c->challenge_acks += s->challenge_acks;
        c->paws_drops += s->drops[DROP_TCP_PAWS];
        c->syn_cookies_sent += s->syn_cookies_sent;
        c->syn_cookies_accepted += s->syn_cookies_accepted;
        c->listen_overflows += s->drops[DROP_TCP_LISTEN_OVERFLOW];
        c->mtu_probes += s->mtu_probe_successes;
    }
}

static void world_free(struct world *world)
{
    for (unsigned i = 0; i < world->settings.host_count; i++) {
        host_destroy(&world->hosts[i]);
        free(world->wires[i].held);
    }
    while (world->endpoints != NULL) {
        struct endpoint *endpoint = world->endpoints;
        world->endpoints = endpoint->next;
        free(endpoint->placed);
        free(endpoint);
    }
    while (world->pairs != NULL) {
        struct connection_pair *pair = world->pairs;
        world->pairs = pair->next;
        free(pair);
    }
    while (world->flows != NULL) {
        struct flow_watch *flow = world->flows;
        world->flows = flow->next;
        free(flow);
    }
    free(world->events);
}

/** How a run was left by longjmp. */
enum { LEFT_BY_FAILURE = 1, LEFT_BY_PROBE = 2 };

void world_probe_syn(struct world *world, const struct frame_view *view)
{
    bool accepted = (view->flags & TCP_ACK) != 0;
    if (world->probe == NULL || accepted != world->settings.wraps_accepted)
        return;
    world->probe->seq = view->seq;
    world->probe->timestamp = view->options.timestamp_value;
    longjmp(*world->failure, LEFT_BY_PROBE);
}

/** Draw everything from the seed and run it. The clock begins shift_ns later than drawn. */
static struct world_result live(uint64_t seed, const struct scenario *scenario,
                                const struct world_manner *manner, uint64_t shift_ns,
                                struct world_probe *probe)
{
    struct world *world = calloc(1, sizeof(*world));
    struct world_result result = {0};
    jmp_buf failure;
    if (world == NULL)
        abort();
    world->seed = seed;
    world->scenario = scenario;
    world->trace = manner->trace;
    world->no_prediction = manner->no_prediction;
    world->digests = manner->digests;
    world->failure = &failure;
    world->probe = probe;
    world->random.state = random_mix(seed * 2 + 1);
    world->coverage.runs = 1;
    int left = setjmp(failure);
    if (left == 0) {
        settings_draw_base(world, &world->settings);
        scenario->draw(world, &world->settings);
        world->start_ns = random_log_between(&world->random, NS_PER_S, UINT64_C(1) << 60);
        world->start_ns += shift_ns;
        world->now_ns = world->start_ns;
        plan_run(world);
        run_events(world);
        oracle_world_ended(world);
        take_counters(world);
    }
    result.failed = left == LEFT_BY_FAILURE;
    for (unsigned i = 0; i < 2; i++) {
        result.features[i] = world->settings.features[i];
        result.congestion[i] = world->settings.hosts[i].tcp.congestion;
    }
    result.wraps_sequence = world->settings.wraps_sequence;
    result.wraps_timestamp = world->settings.wraps_timestamp;
    result.wrap_after_bytes = (uint32_t)random_log_between(&world->random, 1, 20000);
    result.coverage = world->coverage;
    result.digest = world->digest;
    if (!result.failed)
        world_free(world); /* after a failure its state is not to be trusted: leaked */
    free(world);
    return result;
}

/** How much later the clock must begin for the first connection's numbers to wrap in mid-run. */
static uint64_t wrapping_shift_ns(uint64_t seed, const struct scenario *scenario,
                                  const struct world_result *facts)
{
    const struct world_manner quiet = {0};
    struct world_probe now = {0}, later = {0};
    live(seed, scenario, &quiet, 0, &now);
    live(seed, scenario, &quiet, NS_PER_S, &later);
    uint32_t value = facts->wraps_sequence ? now.seq : now.timestamp;
    uint32_t per_second =
        facts->wraps_sequence ? later.seq - now.seq : later.timestamp - now.timestamp;
    /* Timestamps count milliseconds: some hundred of them after the SYN is in mid-run. */
    uint32_t ahead =
        facts->wraps_sequence ? facts->wrap_after_bytes : facts->wrap_after_bytes % 500;
    uint64_t missing = (UINT64_C(1) << 32) - value - ahead;
    return per_second == 0 ? 0 : missing * NS_PER_S / per_second;
}

struct world_result world_run(uint64_t seed, const struct scenario *scenario,
                              const struct world_manner *manner)
{
    const struct world_manner quiet = {0};
    uint64_t shift_ns = 0;
    if (scenario->wraps) {
        struct world_probe probe;
        struct world_result facts = live(seed, scenario, &quiet, 0, &probe);
        shift_ns = wrapping_shift_ns(seed, scenario, &facts);
    }
    return live(seed, scenario, manner, shift_ns, NULL);
}
