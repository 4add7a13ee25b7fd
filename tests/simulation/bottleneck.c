#include "bottleneck.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/time_units.h"
#include "core/stack.h"
#include "random.h"
#include "window_check.h"

#define PORT        80
#define FRAME_BYTES 1600
/** What an application keeps in the send buffer at least. */
#define BACKLOG_BYTES (8u << 20)
#define ECN_CE        3
#define WIRE_OVERHEAD 24 /* preamble, check sequence, gap */

enum { SENDER, RECEIVER, SIDES };

struct packet {
    struct packet *next;
    uint64_t arrival_ns;
    uint32_t length;
    uint8_t bytes[FRAME_BYTES];
};

/** Packets on their way to one side, in the order of their arrival. */
struct pipe {
    struct packet *first, *last;
};

struct flow {
    struct tcp_connection *connection;
    uint64_t counted_from; /**< received when measuring began */
    uint64_t received;
    bool started;
};

struct bottleneck {
    const struct bottleneck_settings *settings;
    struct bottleneck_result *result;
    struct random random;
    uint64_t now_ns;
    struct stack *stacks[SIDES];
    void *memory[SIDES];
    size_t memory_bytes[SIDES];
    struct pipe to[SIDES];
    struct packet *free;
    uint64_t busy_until_ns[SIDES]; /**< of the link from that side */
    double tokens;                 /**< of the policer */
    uint64_t tokens_ns;
    double queue_sum;
    uint64_t queue_samples;
    struct flow flows[BOTTLENECK_FLOWS_MAX];
    unsigned accepted;
};

/* ---- Packets ------------------------------------------------------------------------------ */

static struct packet *packet_take(struct bottleneck *b)
{
    struct packet *packet = b->free;
    if (packet != NULL) {
        b->free = packet->next;
        return packet;
    }
    packet = calloc(1, sizeof(*packet));
    if (packet == NULL)
        abort();
    return packet;
}

static void packet_give(struct bottleneck *b, struct packet *packet)
{
    packet->next = b->free;
    b->free = packet;
}

static void pipe_put(struct pipe *pipe, struct packet *packet)
{
    packet->next = NULL;
    if (pipe->first == NULL)
        pipe->first = packet;
    else
        pipe->last->next = packet;
    pipe->last = packet;
}

static bool is_measuring(const struct bottleneck *b)
{
    return b->now_ns >= b->settings->measure_from_ns;
}

static uint64_t rate_now(const struct bottleneck *b)
{
    const struct bottleneck_settings *s = b->settings;
    return s->changed_rate != 0 && b->now_ns > s->duration_ns / 2 ? s->changed_rate
                                                                  : s->rate_bytes_per_s;
}

/** A policer's verdict. */
static bool conforms(struct bottleneck *b, uint32_t bytes)
{
    b->tokens += (double)(b->now_ns - b->tokens_ns) * (double)rate_now(b) / (double)NS_PER_S;
    b->tokens_ns = b->now_ns;
    if (b->tokens > (double)b->settings->policer_bytes)
        b->tokens = (double)b->settings->policer_bytes;
    if (b->tokens < bytes)
        return false;
    b->tokens -= bytes;
    return true;
}

static uint64_t half_rtt_now_ns(const struct bottleneck *b)
{
    const struct bottleneck_settings *s = b->settings;
    bool changed = s->changed_rtt_ns != 0 && b->now_ns > s->duration_ns / 2;
    return (changed ? s->changed_rtt_ns : s->rtt_ns) / 2;
}

/** Packets keep their order, also when the way becomes shorter. */
static void pipe_put_ordered(struct pipe *pipe, struct packet *packet)
{
    if (pipe->first != NULL && packet->arrival_ns < pipe->last->arrival_ns)
        packet->arrival_ns = pipe->last->arrival_ns;
    pipe_put(pipe, packet);
}

static void note_queue(struct bottleneck *b, uint64_t queued)
{
    if (!is_measuring(b))
        return;
    b->queue_sum += (double)queued;
    b->queue_samples++;
    if (queued > b->result->queue_max_bytes)
        b->result->queue_max_bytes = (uint32_t)queued;
}

/** From the sender through the bottleneck. */
static void forward(struct bottleneck *b, struct packet *packet)
{
    const struct bottleneck_settings *s = b->settings;
    uint64_t rate = rate_now(b);
    b->result->packets++;
    bool drop = random_below(&b->random, 10000) < s->loss;
    if (b->busy_until_ns[SENDER] < b->now_ns)
        b->busy_until_ns[SENDER] = b->now_ns;
    uint64_t queued = (b->busy_until_ns[SENDER] - b->now_ns) * rate / NS_PER_S;
    if (s->policer_bytes != 0) {
        drop = drop || !conforms(b, packet->length);
    } else {
        note_queue(b, queued);
        drop = drop || queued + packet->length > s->buffer_bytes;
    }
    if (drop) {
        b->result->dropped++;
        packet_give(b, packet);
        return;
    }
    uint8_t *tos = &packet->bytes[15];
    if (s->mark_above_bytes != 0 && queued > s->mark_above_bytes && (*tos & ECN_CE) != 0) {
        *tos |= ECN_CE;
        b->result->marked++;
    }
    if (s->policer_bytes == 0)
        b->busy_until_ns[SENDER] += (packet->length + WIRE_OVERHEAD) * NS_PER_S / rate;
    packet->arrival_ns = b->busy_until_ns[SENDER] + half_rtt_now_ns(b);
    pipe_put_ordered(&b->to[RECEIVER], packet);
}

/** From the receiver: the way back. */
static void backward(struct bottleneck *b, struct packet *packet)
{
    const struct bottleneck_settings *s = b->settings;
    uint64_t rate = s->ack_rate_bytes_per_s != 0 ? s->ack_rate_bytes_per_s : s->rate_bytes_per_s;
    /* Neither ARP nor the SYN-ACK: their loss is no matter of congestion control. */
    bool is_ip = packet->bytes[12] == 0x08 && packet->bytes[13] == 0x00;
    bool is_ack = is_ip && (packet->bytes[14 + 20 + 13] & TCP_SYN) == 0;
    if (is_ack && random_below(&b->random, 10000) < s->ack_loss) {
        packet_give(b, packet);
        return;
    }
    if (b->busy_until_ns[RECEIVER] < b->now_ns)
        b->busy_until_ns[RECEIVER] = b->now_ns;
    b->busy_until_ns[RECEIVER] += (packet->length + WIRE_OVERHEAD) * NS_PER_S / rate;
    packet->arrival_ns = b->busy_until_ns[RECEIVER] + half_rtt_now_ns(b);
    if (s->ack_gather_ns != 0)
        packet->arrival_ns = (packet->arrival_ns / s->ack_gather_ns + 1) * s->ack_gather_ns;
    pipe_put_ordered(&b->to[SENDER], packet);
}

/* ---- Hosts -------------------------------------------------------------------------------- */

static struct ip_address address_of(unsigned side)
{
    const uint8_t v4[4] = {10, 0, 0, (uint8_t)(side + 1)};
    return ip_address_from_v4(v4);
}

static void host_start(struct bottleneck *b, unsigned side)
{
    struct stack_config config;
    stack_config_init(&config);
    const uint8_t mac[6] = {2, 0, 0, 0, 0, (uint8_t)(side + 1)};
    memcpy(config.mac, mac, sizeof(mac));
    config.mtu = 1500;
    config.prefix_count = 1;
    config.prefixes[0].address = address_of(side);
    config.prefixes[0].prefix_length = 96 + 24;
    for (unsigned i = 0; i < sizeof(config.secret); i++)
        config.secret[i] = (uint8_t)random_next(&b->random);
    config.random_seed = random_next(&b->random);
    config.connections_max = 2 * BOTTLENECK_FLOWS_MAX;
    config.listeners_max = 2;
    config.fragments_bytes_max = 65536;
    config.core_count = 1;
    config.tcp.receive_buffer_max = 64u << 20;
    config.tcp.send_buffer_max = 64u << 20;
    b->memory_bytes[side] = stack_memory_bytes(&config);
    b->memory[side] = mmap(NULL, b->memory_bytes[side], PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (b->memory[side] == MAP_FAILED)
        abort();
    b->stacks[side] = stack_create(b->memory[side], &config, b->now_ns);
    if (b->stacks[side] == NULL)
        abort();
}

static void transmit(struct bottleneck *b, unsigned side)
{
    struct stack_frame frame;
    while (stack_transmit(b->stacks[side], b->now_ns, 0, &frame)) {
        if (b->result->window_failure == NULL && frame.connection != NULL)
            b->result->window_failure = window_check_sent(frame.connection);
        struct packet *packet = packet_take(b);
        packet->length = frame.header_length + frame.payload_length;
        if (packet->length > sizeof(packet->bytes))
            abort();
        memcpy(packet->bytes, frame.header, frame.header_length);
        if (frame.payload != NULL)
            memcpy(packet->bytes + frame.header_length, frame.payload, frame.payload_length);
        if (side == SENDER)
            forward(b, packet);
        else
            backward(b, packet);
    }
}

/** Everything that arrives is read at once. */
static void events(struct bottleneck *b, unsigned side)
{
    struct stack_event event;
    while (stack_next_event(b->stacks[side], &event)) {
        struct tcp_connection *connection = event.connection;
        if (event.listener != NULL) {
            while (b->accepted < BOTTLENECK_FLOWS_MAX &&
                   (connection = tcp_listener_next(event.listener)) != NULL) {
                struct flow *flow = NULL;
                struct ip_endpoint local, remote;
                tcp_endpoints(connection, &local, &remote);
                flow = &b->flows[(remote.port - 10000) % BOTTLENECK_FLOWS_MAX];
                tcp_set_user(connection, flow);
                tcp_listener_taken(event.listener);
                tcp_consumed(b->stacks[side], connection, tcp_received_offset(connection),
                             b->now_ns);
                flow->received = tcp_received_offset(connection);
                b->accepted++;
            }
            continue;
        }
        if (side == RECEIVER && event.user != NULL && (event.bits & STACK_EVENT_DATA)) {
            struct flow *flow = event.user;
            flow->received = tcp_received_offset(connection);
            tcp_consumed(b->stacks[side], connection, flow->received, b->now_ns);
        }
        if (side == SENDER && event.user != NULL && b->settings->bytes_per_flow == 0 &&
            (event.bits & (STACK_EVENT_ESTABLISHED | STACK_EVENT_ACKED))) {
            uint64_t held = tcp_send_end_offset(connection) - tcp_acked_offset(connection);
            if (held < BACKLOG_BYTES)
                (void)tcp_send(b->stacks[side], connection, BACKLOG_BYTES, false, b->now_ns);
        }
    }
}

static void receive(struct bottleneck *b, unsigned side, const struct packet *packet)
{
    struct stack_rx rx;
    struct stack_rx_result result;
    const struct stack_rx_hints good = {.ip_checksum_good = true, .l4_checksum_good = true};
    if (stack_receive_parse(b->stacks[side], packet->bytes, packet->length, good, b->now_ns, &rx) !=
        STACK_RX_TCP)
        return;
    struct window_watch watch;
    window_watch_begin(&watch, rx.connection);
    stack_receive_segment(b->stacks[side], &rx, b->now_ns, &result);
    if (b->result->window_failure == NULL)
        b->result->window_failure = window_watch_end(&watch);
}

static void settle(struct bottleneck *b)
{
    for (unsigned side = 0; side < SIDES; side++) {
        events(b, side);
        transmit(b, side);
    }
}

/* ---- The run ------------------------------------------------------------------------------ */

static void flow_start(struct bottleneck *b, unsigned number)
{
    const struct bottleneck_settings *s = b->settings;
    struct tcp_defaults defaults;
    struct stack_config config;
    stack_config_init(&config);
    defaults = config.tcp;
    struct tcp_options_set options;
    tcp_options_set_init(&options, &defaults);
    options.congestion = s->congestion[number];
    if (s->max_pacing_rate != 0)
        options.max_pacing_rate = s->max_pacing_rate;
    struct flow *flow = &b->flows[number];
    struct tcp_connect_request request = {
        .local = {.address = address_of(SENDER), .port = (uint16_t)(10000 + number)},
        .remote = {.address = address_of(RECEIVER), .port = PORT},
        .options = &options,
        .user = flow,
    };
    flow->started = true;
    if (tcp_connect(b->stacks[SENDER], &request, b->now_ns, &flow->connection) != 0)
        abort();
    if (s->bytes_per_flow != 0)
        (void)tcp_send(b->stacks[SENDER], flow->connection, s->bytes_per_flow, false, b->now_ns);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_event_ns(const struct bottleneck *b)
{
    uint64_t next = b->settings->duration_ns;
    for (unsigned side = 0; side < SIDES; side++) {
        next = earlier(next, stack_next_deadline(b->stacks[side]));
        if (b->to[side].first != NULL)
            next = earlier(next, b->to[side].first->arrival_ns);
    }
    for (unsigned i = 0; i < b->settings->flows; i++)
        if (!b->flows[i].started)
            next = earlier(next, b->settings->start_ns[i]);
    return next > b->now_ns ? next : b->now_ns;
}

static void deliver(struct bottleneck *b, unsigned side)
{
    struct packet *packet;
    while ((packet = b->to[side].first) != NULL && packet->arrival_ns <= b->now_ns) {
        b->to[side].first = packet->next;
        receive(b, side, packet);
        packet_give(b, packet);
    }
}

static bool all_through(const struct bottleneck *b)
{
    if (b->settings->bytes_per_flow == 0)
        return false;
    for (unsigned i = 0; i < b->settings->flows; i++)
        if (b->flows[i].received < b->settings->bytes_per_flow)
            return false;
    return true;
}

static void run(struct bottleneck *b)
{
    const struct bottleneck_settings *s = b->settings;
    bool measuring = false;
    while (b->now_ns < s->duration_ns && !all_through(b)) {
        b->now_ns = next_event_ns(b);
        if (!measuring && is_measuring(b)) {
            measuring = true;
            for (unsigned i = 0; i < s->flows; i++)
                b->flows[i].counted_from = b->flows[i].received;
        }
        for (unsigned side = 0; side < SIDES; side++) {
            deliver(b, side);
            if (stack_next_deadline(b->stacks[side]) <= b->now_ns)
                stack_advance(b->stacks[side], b->now_ns);
        }
        for (unsigned i = 0; i < s->flows; i++)
            if (!b->flows[i].started && s->start_ns[i] <= b->now_ns)
                flow_start(b, i);
        settle(b);
    }
    if (all_through(b))
        b->result->finished_ns = b->now_ns;
}

static void judge(struct bottleneck *b)
{
    const struct bottleneck_settings *s = b->settings;
    struct bottleneck_result *result = b->result;
    double seconds = (double)(b->now_ns - s->measure_from_ns) / (double)NS_PER_S;
    double sum = 0, squares = 0;
    for (unsigned i = 0; i < s->flows; i++) {
        double rate = (double)(b->flows[i].received - b->flows[i].counted_from) / seconds;
        result->goodput[i] = rate;
        sum += rate;
        squares += rate * rate;
    }
    result->utilization = sum / (double)rate_now(b);
    result->jain = squares > 0 ? sum * sum / (s->flows * squares) : 0;
    if (b->queue_samples > 0)
        result->queue_mean_bytes = b->queue_sum / (double)b->queue_samples;
    const struct stack_counters *counters = stack_get_counters(b->stacks[SENDER]);
    result->rto_expirations = counters->rto_expirations;
    result->retransmits = counters->retransmits;
}

static void packets_free(struct packet *packet)
{
    while (packet != NULL) {
        struct packet *next = packet->next;
        free(packet);
        packet = next;
    }
}

void bottleneck_run(const struct bottleneck_settings *settings, uint64_t seed,
                    struct bottleneck_result *result)
{
    struct bottleneck *b = calloc(1, sizeof(*b));
    if (b == NULL)
        abort();
    *result = (struct bottleneck_result){0};
    b->settings = settings;
    b->result = result;
    b->random.state = seed;
    b->tokens = (double)settings->policer_bytes;
    for (unsigned side = 0; side < SIDES; side++)
        host_start(b, side);
    struct tcp_listener *listener;
    struct tcp_listen_request request = {
        .local = {.address = address_of(RECEIVER), .port = PORT},
        .backlog = 2 * BOTTLENECK_FLOWS_MAX,
    };
    if (tcp_listen(b->stacks[RECEIVER], &request, &listener) != 0)
        abort();
    for (unsigned i = 0; i < settings->flows; i++)
        if (settings->congestion[i] == TCP_CONGESTION_DCTCP ||
            settings->congestion[i] == TCP_CONGESTION_DCTCP_RATE)
            tcp_listener_options(listener)->congestion = TCP_CONGESTION_DCTCP;
    run(b);
    judge(b);
    stack_check(b->stacks[SENDER]);
    stack_check(b->stacks[RECEIVER]);
    for (unsigned side = 0; side < SIDES; side++) {
        packets_free(b->to[side].first);
        munmap(b->memory[side], b->memory_bytes[side]);
    }
    packets_free(b->free);
    free(b);
}
