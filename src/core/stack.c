/*
 * Making a stack, its pools, time, and small services. Memory is carved from the embedder's; pools
 * hand out what was used before first, and else the next element never touched, so that a large
 * pool costs memory only for what is in use at once.
 */
#include "base/assert.h"
#include "core/ip/fragments.h"
#include "core/ip/icmp.h"
#include "core/ip/neighbour.h"
#include "core/ip/packets.h"
#include "core/ip/path_mtu.h"
#include "core/ip/routes.h"
#include "core/ip/wire.h"
#include "core/ports.h"
#include "core/stack_state.h"

#define INTERVALS_PER_STACK_MIN 4096
#define RECORDS_PER_STACK_MIN   16384
/** Sets of option values besides those of connections and listeners: of one that changes, and the
    two prototypes. */
#define OPTION_SETS_SPARE 3

void stack_config_init(struct stack_config *config)
{
    *config = (struct stack_config){
        .mtu = 1500,
        .connections_max = 65536,
        .listeners_max = 1024,
        .fragments_bytes_max = 4u << 20,
        .local_port_first = 32768,
        .local_port_last = 60999,
        .core_count = 1,
        .tcp =
            {
                .receive_buffer_initial = 131072,
                .receive_buffer_max = 6u << 20,
                .send_buffer_initial = 87040,
                .send_buffer_max = 4u << 20,
                .congestion = TCP_CONGESTION_CUBIC,
                .constant_rate = UINT64_C(125000000),
                .syn_retries = 6,
                .syn_linear_timeouts = 4,
                .synack_retries = 5,
                .retries = 15,
                .min_tso_segs = 2,
                .orphan_retries = 8,
                .fin_wait2_timeout_ns = 60 * NS_PER_S,
                .time_wait_ns = 60 * NS_PER_S,
                .keepalive_idle_ns = 7200 * NS_PER_S,
                .keepalive_interval_ns = 75 * NS_PER_S,
                .keepalive_count = 9,
                .rto_min_ns = 200 * NS_PER_MS,
                .rto_max_ns = 120 * NS_PER_S,
                .pace_rtt_ns = TIME_NEVER,
                .timestamps = true,
                .ecn = TCP_ECN_ACCEPT,
                .syn_cookies = TCP_SYN_COOKIES_WHEN_FULL,
                .window_scaling = true,
                .sack = true,
                .tail_probes = true,
                .slow_start_after_idle = true,
                .fast_open = TCP_FAST_OPEN_CLIENT,
                .mtu_probe_base = 1024,
                .mtu_probe_interval_ns = 600 * NS_PER_S,
            },
    };
}

static bool config_is_valid(const struct stack_config *config)
{
    if (config->mtu < IPV4_MTU_MIN || config->prefix_count > STACK_PREFIXES_MAX ||
        config->connections_max == 0 || config->connections_max > 1u << 28 ||
        config->listeners_max == 0 || config->listeners_max > 1u << 20 ||
        config->local_port_first == 0 || config->local_port_first > config->local_port_last ||
        config->core_count == 0 || config->core_index >= config->core_count)
        return false;
    for (unsigned i = 0; i < config->prefix_count; i++) {
        const struct stack_prefix *prefix = &config->prefixes[i];
        unsigned shortest = ip_address_is_v4(&prefix->address) ? 96 : 0;
        if (prefix->prefix_length > 128 || prefix->prefix_length < shortest ||
            ip_address_is_any(&prefix->address) || ip_address_is_multicast(&prefix->address) ||
            ip_address_is_loopback(&prefix->address))
            return false;
        if (!ip_address_is_v4(&prefix->address) && config->mtu < IPV6_MTU_MIN)
            return false;
    }
    return true;
}

/* ---- Memory ------------------------------------------------------------------------------- */

static size_t round_to_line(size_t bytes)
{
    return (bytes + CACHE_LINE_BYTES - 1) & ~(size_t)(CACHE_LINE_BYTES - 1);
}

static uint32_t flow_bucket_count(const struct stack_config *config)
{
    uint32_t count = 256;
    while (count < config->connections_max)
        count *= 2;
    return count;
}

static uint32_t interval_count(const struct stack_config *config)
{
    if (config->intervals_max != 0)
        return config->intervals_max;
    return config->connections_max / 4 + INTERVALS_PER_STACK_MIN;
}

/** Of what was sent, besides one for each connection. */
static uint32_t sent_share(const struct stack_config *config)
{
    if (config->sent_records_max != 0)
        return config->sent_records_max;
    return config->connections_max / 4 + RECORDS_PER_STACK_MIN;
}

/** Where a piece of the stack's memory begins; base NULL just measures. */
struct carver {
    uint8_t *base;
    size_t used;
};

static void *carve(struct carver *carver, size_t element_bytes, size_t count)
{
    size_t offset = carver->used;
    carver->used += round_to_line(element_bytes * count);
    return carver->base == NULL ? NULL : carver->base + offset;
}

/** Lay the stack out; the same walk measures (stack NULL) and makes it. */
static void lay_out(struct carver *carver, const struct stack_config *config, struct stack *stack)
{
    struct stack unused;
    struct stack *s = stack == NULL ? &unused : stack;
    uint32_t fragment_count = fragments_count(config);

    (void)carve(carver, sizeof(struct stack), 1);
    s->connection_stride = round_to_line(tcp_connection_bytes());
    s->listener_stride = round_to_line(tcp_listener_bytes());
    s->connections = carve(carver, s->connection_stride, config->connections_max);
    s->pacing_stride = round_to_line(tcp_pacing_bytes());
    s->pacing_areas = carve(carver, s->pacing_stride, config->connections_max);
    s->listeners = carve(carver, s->listener_stride, config->listeners_max);
    s->flow_buckets = carve(carver, sizeof(*s->flow_buckets), flow_bucket_count(config));
    s->listener_buckets = carve(carver, sizeof(void *), LISTENER_BUCKETS);
    s->ports = carve(carver, sizeof(*s->ports), 65536);
    s->binds_max = config->connections_max + config->listeners_max;
    s->binds = carve(carver, port_bind_bytes(), s->binds_max);
    s->neighbours.entries = carve(carver, neighbour_bytes(), NEIGHBOURS_MAX);
    s->neighbours.buckets = carve(carver, sizeof(void *), NEIGHBOURS_MAX);
    s->fast_open = carve(carver, tcp_fast_open_bytes(), 1);
    s->prototypes = carve(carver, tcp_prototypes_bytes(), 1);
    s->path_mtu = carve(carver, path_mtu_entry_bytes(), PATH_MTU_ENTRIES);
    s->fragments.datagrams = carve(carver, fragment_datagram_bytes(), fragment_count);
    s->fragments.buffers = carve(carver, FRAGMENT_BUFFER_BYTES, fragment_count);
    s->fragments.count = fragment_count;
    struct interval *intervals = carve(carver, sizeof(struct interval), interval_count(config));
    void *records =
        carve(carver, tcp_sent_bytes(), (size_t)config->connections_max + sent_share(config));
    s->option_sets.pool.bytes = tcp_option_set_bytes();
    s->option_sets.pool.fresh =
        carve(carver, s->option_sets.pool.bytes,
              (size_t)config->connections_max + config->listeners_max + OPTION_SETS_SPARE);
    s->pendings.bytes = tcp_pending_bytes();
    s->pendings.fresh = carve(carver, s->pendings.bytes, config->connections_max);
    s->rares.bytes = tcp_rare_bytes();
    s->rares.fresh = carve(carver, s->rares.bytes, config->connections_max);
    s->recoveries.bytes = tcp_recovery_bytes();
    s->recoveries.fresh = carve(carver, s->recoveries.bytes, config->connections_max);
    s->reassemblies.bytes = tcp_reassembly_bytes();
    s->reassemblies.fresh = carve(carver, s->reassemblies.bytes, config->connections_max);
    for (unsigned i = 0; i < PACKET_CLASS_COUNT; i++) {
        struct packet_pool *pool = &s->packet_pools[i];
        size_t bytes = packet_class_bytes(i) * packet_class_count(i, config);
        pool->fresh = carve(carver, 1, bytes);
        pool->fresh_end = pool->fresh == NULL ? NULL : pool->fresh + bytes;
    }
    if (stack != NULL)
        interval_pool_init(&stack->intervals, intervals, interval_count(config));
    if (stack != NULL)
        tcp_sent_pool_init(&stack->sent, records, config->connections_max, sent_share(config));
}

size_t stack_memory_bytes(const struct stack_config *config)
{
    struct carver carver = {0};
    if (!config_is_valid(config))
        return 0;
    lay_out(&carver, config, NULL);
    return carver.used;
}

struct stack *stack_create(void *memory, const struct stack_config *config, uint64_t now_ns)
{
    struct stack *stack = memory;
    struct carver carver = {.base = memory};

    if (!config_is_valid(config))
        return NULL;
    memset(stack, 0, sizeof(*stack));
    lay_out(&carver, config, stack);
    stack->config = *config;
    /* Each line of theirs has a number (connection_reference()). */
    PNO_ASSERT(stack->connection_stride / CACHE_LINE_BYTES * config->connections_max < UINT32_MAX);
    stack->secret_key = siphash_key_load(config->secret);
    stack->table_key = siphash_key_load(config->secret + 16);
    flow_table_init(stack);
    stack->random_state = config->random_seed;
    stack->flow_mask = flow_bucket_count(config) - 1;
    timer_wheel_init(&stack->timers, now_ns);
    list_init(&stack->output);
    stack->listener_events_last = &stack->listener_events;
    stack->route_generation = 1; /* 0, in a fresh connection, is never right */
    stack->ip_identification = stack_random(stack);
    packets_init(stack);
    routes_init(stack);
    neighbours_init(stack);
    fragments_init(stack);
    stack->ip_deadline_ns = TIME_NEVER;
    icmp_limit_init(stack, now_ns);
    return stack;
}

/* ---- Pools -------------------------------------------------------------------------------- */

/** memset() of whole cache lines, which compilers would do word by word here. */
static void zero_lines(void *memory, size_t bytes)
{
    uint8_t *end = (uint8_t *)memory + bytes;
#pragma GCC unroll 9
    for (uint8_t *line = memory; line != end; line += CACHE_LINE_BYTES)
        memset(line, 0, CACHE_LINE_BYTES);
}

/** memcpy() of the same. */
static void copy_lines(void *to, const void *from, size_t bytes)
{
    const uint8_t *source = from;
    uint8_t *end = (uint8_t *)to + bytes;
#pragma GCC unroll 9
    for (uint8_t *line = to; line != end; line += CACHE_LINE_BYTES, source += CACHE_LINE_BYTES)
        memcpy(line, source, CACHE_LINE_BYTES);
}

/** From the pool; its contents are left over, or zero if never used. */
static inline struct tcp_connection *connection_take(struct stack *stack)
{
    struct tcp_connection *connection = stack->connections_free;
    if (connection != NULL) {
        stack->connections_free =
            connection_referred(stack, connection_links(stack, connection)->hash_next);
    } else if (stack->connections_fresh < stack->config.connections_max) {
        connection = connection_at(stack, stack->connections_fresh++);
    } else {
        stack_drop_count(stack, DROP_CONNECTION_LIMIT);
        return NULL;
    }
    stack->counters.connections_now++;
    return connection;
}

struct tcp_connection *stack_connection_alloc(struct stack *stack)
{
    struct tcp_connection *connection = connection_take(stack);
    if (connection == NULL)
        return NULL;
    zero_lines(connection, stack->connection_stride);
    connection_links(stack, connection)->in_use = true;
    return connection;
}

struct tcp_connection *stack_connection_copy(struct stack *stack,
                                             const struct tcp_connection *prototype)
{
    struct tcp_connection *connection = connection_take(stack);
    if (connection == NULL)
        return NULL;
    copy_lines(connection, prototype, tcp_connection_bytes());
    connection_links(stack, connection)->in_use = true;
    return connection;
}

struct tcp_pacing *stack_pacing_area(struct stack *stack, struct tcp_connection *connection)
{
    size_t index = (size_t)((uint8_t *)connection - stack->connections) / stack->connection_stride;
    return (struct tcp_pacing *)(void *)(stack->pacing_areas + index * stack->pacing_stride);
}

void stack_connection_free(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_links *links = connection_links(stack, connection);

    PNO_ASSERT(links->in_use);
    stack_flow_remove(stack, connection);
    timer_wheel_cancel(&stack->timers, &links->timer);
    if (list_contains_node(&links->output)) {
        if (stack->output.next == &links->output)
            stack->output_turn = 0;
        list_remove(&links->output);
    }
    stack_event_forget(stack, connection);
    if (stack->closed_delivered == connection)
        stack->closed_delivered = NULL;
    links->in_use = false;
    links->hash_next = connection_reference(stack, stack->connections_free);
    stack->connections_free = connection;
    stack->counters.connections_now--;
}

struct tcp_listener *stack_listener_alloc(struct stack *stack)
{
    struct tcp_listener *listener = stack->listeners_free;
    if (listener != NULL) {
        stack->listeners_free = *tcp_listener_hash_next(listener);
        memset(listener, 0, tcp_listener_bytes());
    } else if (stack->listeners_fresh < stack->config.listeners_max) {
        listener = listener_at(stack, stack->listeners_fresh++);
    }
    return listener;
}

void stack_listener_free(struct stack *stack, struct tcp_listener *listener)
{
    struct tcp_listener **link = &stack->listener_events;
    while (*link != NULL) {
        if (*link == listener)
            *link = *tcp_listener_event_next(listener);
        else
            link = tcp_listener_event_next(*link);
    }
    stack->listener_events_last = link;
    *tcp_listener_hash_next(listener) = stack->listeners_free;
    stack->listeners_free = listener;
}

/* ---- Time --------------------------------------------------------------------------------- */

void stack_timer_set(struct stack *stack, struct tcp_connection *connection, uint64_t deadline_ns)
{
    struct timer_wheel_entry *timer = &connection_links(stack, connection)->timer;
    if (timer->previous_next != NULL && timer->deadline_ns == deadline_ns)
        return;
    timer_wheel_set(&stack->timers, timer, deadline_ns);
}

static uint64_t ip_deadline_ns(const struct stack *stack)
{
    uint64_t neighbours_ns = stack->neighbours.deadline_ns;
    uint64_t fragments_ns = stack->fragments.deadline_ns;
    return neighbours_ns < fragments_ns ? neighbours_ns : fragments_ns;
}

void stack_advance(struct stack *stack, uint64_t now_ns)
{
    struct timer_wheel_entry *entry;
    while ((entry = timer_wheel_expire(&stack->timers, now_ns)) != NULL) {
        struct tcp_links *links =
            (struct tcp_links *)(void *)((uint8_t *)entry - offsetof(struct tcp_links, timer));
        tcp_timer_expired(stack, links_connection(stack, links), now_ns);
    }
    if (stack->ip_deadline_ns > now_ns)
        return;
    if (stack->neighbours.deadline_ns <= now_ns)
        neighbours_advance(stack, now_ns);
    if (stack->fragments.deadline_ns <= now_ns)
        fragments_advance(stack, now_ns);
    stack->ip_deadline_ns = ip_deadline_ns(stack);
}

uint64_t stack_next_deadline(struct stack *stack)
{
    uint64_t deadline_ns = timer_wheel_next_ns(&stack->timers);
    return stack->ip_deadline_ns < deadline_ns ? stack->ip_deadline_ns : deadline_ns;
}

/* ---- Services ----------------------------------------------------------------------------- */

uint64_t stack_siphash(struct stack *stack, const void *bytes, uint32_t length)
{
    return siphash_2_4(&stack->secret_key, bytes, length);
}

/** SplitMix64 (Steele, Lea, Flood). */
uint32_t stack_random(struct stack *stack)
{
    uint64_t z = stack->random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

struct tcp_sent_pool *stack_sent_pool(struct stack *stack)
{
    return &stack->sent;
}

struct tcp_option_sets *stack_option_sets(struct stack *stack)
{
    return &stack->option_sets;
}

struct part_pool *stack_pendings(struct stack *stack)
{
    return &stack->pendings;
}

struct part_pool *stack_rares(struct stack *stack)
{
    return &stack->rares;
}

struct part_pool *stack_recoveries(struct stack *stack)
{
    return &stack->recoveries;
}

struct part_pool *stack_reassemblies(struct stack *stack)
{
    return &stack->reassemblies;
}

struct tcp_prototypes *stack_prototypes(struct stack *stack)
{
    return stack->prototypes;
}

struct tcp_fast_open_memory *stack_fast_open_memory(struct stack *stack)
{
    return stack->fast_open;
}

void stack_set_tcp_defaults(struct stack *stack, const struct tcp_defaults *defaults)
{
    stack->config.tcp = *defaults;
    tcp_prototypes_forget(stack);
}

struct interval_pool *stack_interval_pool(struct stack *stack)
{
    return &stack->intervals;
}

const struct stack_config *stack_get_config(const struct stack *stack)
{
    return &stack->config;
}

struct stack_counters *stack_counters(struct stack *stack)
{
    return &stack->counters;
}

const struct stack_counters *stack_get_counters(const struct stack *stack)
{
    return &stack->counters;
}

const char *drop_reason_name(enum drop_reason reason)
{
    static const char *const names[DROP_REASON_COUNT] = {
#define DROP_REASON(name, text) [DROP_##name] = #name,
#include "core/drop_reasons.def"
#undef DROP_REASON
    };
    return (unsigned)reason < DROP_REASON_COUNT ? names[reason] : "UNKNOWN";
}

void stack_for_each_connection(struct stack *stack,
                               bool (*visit)(void *context, struct tcp_connection *connection),
                               void *context)
{
    for (uint32_t i = 0; i < stack->connections_fresh; i++) {
        struct tcp_connection *connection = connection_at(stack, i);
        if (connection_links(stack, connection)->in_use && !visit(context, connection))
            return;
    }
}

void stack_check(struct stack *stack)
{
    uint32_t in_use = 0;
    for (uint32_t i = 0; i < stack->connections_fresh; i++) {
        struct tcp_connection *connection = connection_at(stack, i);
        const struct tcp_links *links = connection_links(stack, connection);
        if (!links->in_use) {
            PNO_ASSERT(!links->in_flow_table && links->timer.previous_next == NULL);
            PNO_ASSERT(!list_contains_node(&links->output) && links->event_next == 0);
            continue;
        }
        in_use++;
        PNO_ASSERT(links->events == 0 || links->event_next != 0);
        tcp_connection_check(stack, connection);
    }
    PNO_ASSERT(in_use == stack->counters.connections_now);
    flow_table_check(stack);
    listener_table_check(stack);
    ports_check(stack);
    neighbours_check(stack);
    fragments_check(stack);
    PNO_ASSERT(stack->ip_deadline_ns == ip_deadline_ns(stack));
    packets_check(stack);
}
