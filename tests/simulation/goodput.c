/*
 * pno-goodput: one stream between two stacks over the very wire of the benchmarks (src/wire), in
 * virtual time. Says how much of the rate arrives, and can be asked to fail below a share of it: so
 * what loss recovery and congestion control make of a bad wire is the same every time.
 *
 * Each end handles a frame as it arrives and sends at once; the receiver reads at once.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/time_units.h"
#include "core/stack.h"
#include "wire/config.h"
#include "wire/direction.h"
#include "wire/schedule.h"

#define FRAME_BYTES 1600
#define FRAMES_MAX  65536
#define PORT        80

struct end {
    struct stack *stack;
    struct wire_direction out;
    struct tcp_connection *connection;
};

struct frame {
    uint32_t length;
    uint8_t to;
    uint8_t bytes[FRAME_BYTES];
};

static struct {
    struct end ends[2];
    struct wire_schedule schedule;
    struct frame *frames;
    uint32_t *free_slots;
    uint32_t free_count;
    uint64_t now_ns;
    uint64_t received;
} run;

static struct {
    const char *wire;
    double seconds;
    double at_least;
    uint8_t congestion;
    bool trace;
    bool paced;
} arguments = {.wire = "", .seconds = 5};

static void fail(const char *what)
{
    fprintf(stderr, "pno-goodput: %s\n", what);
    exit(2);
}

static struct ip_address address_of(unsigned end)
{
    const uint8_t bytes[4] = {10, 0, 0, (uint8_t)(end + 1)};
    return ip_address_from_v4(bytes);
}

static void end_create(unsigned index, const struct wire_config *wire)
{
    struct end *end = &run.ends[index];
    struct stack_config config;
    stack_config_init(&config);
    config.mac[0] = 2;
    config.mac[5] = (uint8_t)(index + 1);
    config.prefix_count = 1;
    config.prefixes[0].address = address_of(index);
    config.prefixes[0].prefix_length = 96 + 24;
    config.random_seed = index + 1;
    config.connections_max = 16;
    config.listeners_max = 2;
    config.tcp.congestion = arguments.congestion;
    size_t bytes = stack_memory_bytes(&config);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || (end->stack = stack_create(memory, &config, run.now_ns)) == NULL ||
        !wire_direction_init(&end->out, wire, index))
        fail("out of memory");
}

static void put_on_wire(unsigned from, const struct stack_frame *out)
{
    struct wire_fate fate;
    uint32_t length = out->header_length + out->payload_length;
    if (length > FRAME_BYTES)
        fail("a frame too long");
    bool housekeeping = out->connection == NULL && out->payload != NULL;
    wire_direction_enter(&run.ends[from].out, run.now_ns, length, housekeeping, &fate);
    if (fate.arrivals == 0)
        return;
    if (run.free_count == 0)
        fail("too many frames on the wire");
    uint32_t slot = run.free_slots[--run.free_count];
    struct frame *frame = &run.frames[slot];
    *frame = (struct frame){.length = length, .to = (uint8_t)(1 - from)};
    memcpy(frame->bytes, out->header, out->header_length);
    if (out->payload != NULL)
        memcpy(frame->bytes + out->header_length, out->payload, out->payload_length);
    if (out->l4_checksum_partial)
        stack_frame_finish_checksum(out, frame->bytes);
    wire_schedule_push(&run.schedule, fate.arrival[0].at_ns, slot, length);
}

static void trace(struct end *end)
{
    struct tcp_connection_info i;
    static uint64_t last_ns;
    if (!arguments.trace || end->connection == NULL || run.now_ns - last_ns < NS_PER_MS)
        return;
    last_ns = run.now_ns;
    tcp_get_info(end->stack, end->connection, run.now_ns, &i);
    printf(
        "%9.3f ms  state %u cwnd %u ssthresh %u unacked %u sacked %u lost %u retrans %u total %u "
        "reord %u rtt %.2f minrtt %.2f rwnd %u\n",
        (double)run.now_ns / 1e6, i.ca_state, i.snd_cwnd, i.snd_ssthresh, i.unacked, i.sacked,
        i.lost, i.retrans, i.total_retrans, i.reordering, (double)i.srtt_ns / 1e6,
        (double)i.min_rtt_ns / 1e6, i.snd_wnd);
}

static void take_events(struct end *end)
{
    struct stack_event event;
    while (stack_next_event(end->stack, &event)) {
        if (event.listener != NULL) {
            end->connection = tcp_listener_next(event.listener);
            tcp_listener_taken(event.listener);
        }
        if (event.bits & STACK_EVENT_ERROR)
            fail("the connection broke");
    }
}

static void pump(unsigned index)
{
    struct end *end = &run.ends[index];
    struct stack_frame out;
    take_events(end);
    if (index == 1 && end->connection != NULL) {
        run.received = tcp_received_offset(end->connection);
        tcp_consumed(end->stack, end->connection, run.received, run.now_ns);
    } else if (index == 0 && end->connection != NULL) {
        uint64_t held = tcp_send_end_offset(end->connection) - tcp_acked_offset(end->connection);
        uint64_t room = tcp_send_buffer_bytes(end->connection);
        if (held < room && tcp_send(end->stack, end->connection, room - held, false, run.now_ns))
            fail("the stream can't go on");
        trace(end);
    }
    while (stack_transmit(end->stack, run.now_ns, 0, &out))
        put_on_wire(index, &out);
}

static void arrive(uint32_t slot)
{
    struct frame *frame = &run.frames[slot];
    struct end *end = &run.ends[frame->to];
    struct stack_rx rx;
    struct stack_rx_result result = {0};
    struct stack_rx_hints hints = {.l4_checksum_good = true};
    if (stack_receive_parse(end->stack, frame->bytes, frame->length, hints, run.now_ns, &rx) ==
        STACK_RX_TCP)
        stack_receive_segment(end->stack, &rx, run.now_ns, &result);
    unsigned to = frame->to;
    run.free_slots[run.free_count++] = slot;
    pump(to);
}

static void set_up(const struct wire_config *wire)
{
    run.frames = calloc(FRAMES_MAX, sizeof(*run.frames));
    run.free_slots = calloc(FRAMES_MAX, sizeof(*run.free_slots));
    if (run.frames == NULL || run.free_slots == NULL ||
        !wire_schedule_init(&run.schedule, FRAMES_MAX))
        fail("out of memory");
    while (run.free_count < FRAMES_MAX) {
        run.free_slots[run.free_count] = run.free_count;
        run.free_count++;
    }
    run.now_ns = NS_PER_S;
    end_create(0, wire);
    end_create(1, wire);
    struct stack_config config;
    struct tcp_listener *listener;
    struct tcp_listen_request listen = {.backlog = 4, .local = {.port = PORT}};
    const uint8_t any[4] = {0};
    listen.local.address = ip_address_from_v4(any);
    struct tcp_connect_request connect = {.remote = {address_of(1), PORT}};
    connect.local.address = ip_address_from_v4(any);
    struct tcp_options_set options;
    stack_config_init(&config);
    tcp_options_set_init(&options, &config.tcp);
    options.congestion = arguments.congestion;
    if (arguments.paced)
        options.max_pacing_rate = UINT64_MAX - 1;
    connect.options = &options;
    if (tcp_listen(run.ends[1].stack, &listen, &listener) != 0 ||
        tcp_connect(run.ends[0].stack, &connect, run.now_ns, &run.ends[0].connection) != 0)
        fail("no connection");
    pump(0);
}

/** Bytes received between the first and the last moment. */
static void run_until(uint64_t end_ns)
{
    while (run.now_ns < end_ns) {
        const struct wire_scheduled *first = wire_schedule_first(&run.schedule);
        uint64_t next_ns = first != NULL ? first->at_ns : end_ns;
        int due = -1;
        for (int i = 0; i < 2; i++) {
            uint64_t deadline_ns = stack_next_deadline(run.ends[i].stack);
            if (deadline_ns < next_ns) {
                next_ns = deadline_ns;
                due = i;
            }
        }
        if (next_ns >= end_ns)
            break;
        if (next_ns > run.now_ns)
            run.now_ns = next_ns;
        if (due >= 0) {
            stack_advance(run.ends[due].stack, run.now_ns);
            pump((unsigned)due);
        } else {
            arrive(wire_schedule_pop(&run.schedule).slot);
        }
    }
    run.now_ns = end_ns;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    static const char *const names[] = {
        [TCP_CONGESTION_CUBIC] = "cubic",
        [TCP_CONGESTION_NEWRENO] = "reno",
        [TCP_CONGESTION_DCTCP] = "dctcp",
    };
    switch (key) {
    case 'w':
        arguments.wire = text;
        return 0;
    case 's':
        arguments.seconds = atof(text);
        return 0;
    case 'a':
        arguments.at_least = atof(text);
        return 0;
    case 'p':
        arguments.paced = true;
        return 0;
    case 't':
        arguments.trace = true;
        return 0;
    case 'c':
        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (names[i] != NULL && strcmp(text, names[i]) == 0) {
                arguments.congestion = (uint8_t)i;
                return 0;
            }
        argp_error(state, "no congestion control '%s' here", text);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"wire", 'w', "WIRE", 0, WIRE_CONFIG_HELP, 0},
        {"congestion", 'c', "NAME", 0, "cubic (default), reno or dctcp", 0},
        {"seconds", 's', "S", 0, "Virtual time to run (5)", 0},
        {"at-least", 'a', "SHARE", 0, "Fail when less of the rate than this arrives", 0},
        {"paced", 'p', NULL, 0, "Pace, as SO_MAX_PACING_RATE would, at no limit", 0},
        {"trace", 't', NULL, 0, "Show the sender's state every millisecond", 0},
        {0},
    };
    static const struct argp argp = {
        options, parse_option, NULL, "One stream over an impaired wire in virtual time.",
        NULL,    NULL,         NULL};
    char problem[200];
    struct wire_config wire;
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    if (!wire_config_parse(arguments.wire, &wire, problem, sizeof(problem)))
        fail(problem);
    set_up(&wire);
    run_until(run.now_ns + (uint64_t)(arguments.seconds * NS_PER_S));
    const struct stack_counters *counters = stack_get_counters(run.ends[0].stack);
    double goodput_bps = (double)run.received * 8 / arguments.seconds;
    double share = wire.rate_bps != 0 ? goodput_bps / (double)wire.rate_bps : 0;
    printf("%.2f Mbit/s, %.3f of the rate; %llu segments, %llu sent again, %llu timeouts; the wire "
           "lost "
           "%llu, its buffer %llu\n",
           goodput_bps / 1e6, share, (unsigned long long)counters->segments_out,
           (unsigned long long)counters->retransmits, (unsigned long long)counters->rto_expirations,
           (unsigned long long)run.ends[0].out.counters.lost,
           (unsigned long long)run.ends[0].out.counters.overflowed);
    return share < arguments.at_least ? 1 : 0;
}
