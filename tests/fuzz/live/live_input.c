/*
 * libFuzzer target: connections in use, and a peer that knows their numbers.
 *
 * An input (live_input.h) mixes what programs, time and the embedder do with segments built from
 * the connections' present state: right, nearly right, or wrong in sequence number,
 * acknowledgement, SACK blocks, timestamps, window, flags and options; fragments, duplicates, ICMP
 * errors. After each operation every invariant of the core is checked, and what the oracle can see:
 * streams, acknowledgements, windows, the number of frames, the CPU time of an arrival. In the end
 * the peer turns honest: every connection must then get on or be gone, and nothing may be left
 * behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "core/tcp/connection.h"
#include "live.h"

/** CPU time that one arriving frame may take, sanitizers and all; ordinarily it is below 100 µs. */
#define ARRIVAL_CPU_MAX_NS (500 * NS_PER_MS)
/** A virtual machine's CPU time has its host's interruptions in it: what is slow is so every time.
 */
#define SLOW_TRIES 3
/** Frames with payload that one operation may cause: the send buffer in the smallest segments. */
#define PAYLOAD_FRAMES_MAX 20000
/** With a port that cuts segments, longer frames that arrive are joined of such. */
#define JOINED_BYTES 1400
/** Rounds that an honest peer has patience for … */
#define HONEST_ROUNDS 400
/** … and for how long, and how many answers, nothing may get ahead: two retransmissions at the
    longest back-off, and some. */
#define STALL_NS     (400 * NS_PER_S)
#define STALL_ROUNDS 20
/** Operations for each time that all the tables are looked at, of which there is much. */
#define OPERATIONS_PER_CHECK 16

static uint64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

struct ip_address live_address(bool is_ipv6, uint8_t host)
{
    const uint8_t v4[4] = {10, 0, 0, host};
    const uint8_t v6[16] = {0xfd, [15] = host};
    return is_ipv6 ? ip_address_from_v6(v6) : ip_address_from_v4(v4);
}

/** With LIVE_TRACE in the environment: every frame, for people to read. */
static void trace(const struct live *live, const char *what, const struct frame *frame)
{
    struct frame_view v;
    if (!live->trace)
        return;
    frame_parse(frame->bytes, frame->length, &v);
    if (v.kind != FRAME_TCP) {
        printf("%12.6f %s kind %d, %u bytes\n", (double)live->now_ns / 1e9, what, v.kind,
               frame->length);
        return;
    }
    printf("%12.6f %s %u>%u flags %02x seq %u+%u ack %u win %u ts %u/%u",
           (double)live->now_ns / 1e9, what, v.source_port, v.destination_port, v.flags, v.seq,
           v.payload_length, v.ack, v.window, v.options.timestamp_value, v.options.timestamp_echo);
    for (unsigned i = 0; i < v.options.sack_block_count; i++)
        printf(" sack %u:%u", v.options.sack_blocks[i].start.value,
               v.options.sack_blocks[i].end.value);
    printf("\n");
}

/* ---- The embedder --------------------------------------------------------------------------- */

static struct live_slot *free_slot(struct live *live)
{
    for (unsigned i = 0; i < LIVE_SLOTS; i++)
        if (live->slots[i].connection == NULL)
            return &live->slots[i];
    return NULL;
}

static void slot_begin(struct live_slot *slot, struct tcp_connection *connection)
{
    memset(slot->placed, 0, slot->placed_high / 8 + 1);
    memset(slot, 0, offsetof(struct live_slot, placed));
    slot->connection = connection;
}

static void accept_all(struct live *live)
{
    struct tcp_connection *connection;
    while (live->listener != NULL && (connection = tcp_listener_next(live->listener)) != NULL) {
        struct live_slot *slot = free_slot(live);
        if (live->accepts_late)
            live->untaken++;
        else
            tcp_listener_taken(live->listener);
        if (slot == NULL) {
            tcp_abort(live->stack, connection, live->now_ns);
            continue;
        }
        slot_begin(slot, connection);
        tcp_set_user(connection, slot);
    }
}

static void forget_placements(struct live *live, const struct live_slot *slot)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < live->pending_count; i++)
        if (live->pending[i].slot != slot)
            live->pending[kept++] = live->pending[i];
    live->pending_count = kept;
}

static void take_events(struct live *live)
{
    struct stack_event event;
    while (stack_next_event(live->stack, &event)) {
        struct live_slot *slot = event.user;
        if (event.listener != NULL)
            accept_all(live);
        else if (slot != NULL && (event.bits & STACK_EVENT_CLOSED) != 0) {
            forget_placements(live, slot);
            slot->connection = NULL;
        } else if (slot != NULL && (event.bits & STACK_EVENT_ERROR) != 0 &&
                   tcp_error(event.connection) == 0)
            live_fail("an error event without an error");
    }
}

static void turn_round(struct live *live, const struct frame *frame)
{
    if (live->turned_count == LIVE_TURNED_MAX)
        return; /* lost, as in any full queue */
    struct frame *copy = frame_copy(frame);
    copy->next = NULL;
    if (live->turned == NULL)
        live->turned_last = &live->turned;
    *live->turned_last = copy;
    live->turned_last = &copy->next;
    live->turned_count++;
}

static void send_frame(struct live *live, const struct stack_frame *out)
{
    struct frame_view view;
    struct frame *frame = frame_new(out->header_length + out->payload_length);
    uint8_t *payload = frame->bytes + out->header_length;
    memcpy(frame->bytes, out->header, out->header_length);
    if (out->payload != NULL)
        memcpy(payload, out->payload, out->payload_length);
    else if (out->payload_length != 0) {
        const struct tcp_flow *flow = &out->connection->flow;
        uint32_t seq = (uint32_t)(tcp_snd_start(&out->connection->hot) + out->stream_offset);
        for (uint32_t i = 0; i < out->payload_length; i++)
            payload[i] = live_byte(flow->local_port, flow->remote_port, seq + i);
    }
    if (out->l4_checksum_partial)
        stack_frame_finish_checksum(out, frame->bytes);
    frame_parse(frame->bytes, frame->length, &view);
    if (view.kind == FRAME_MALFORMED || (view.kind == FRAME_TCP && !view.checksums_good))
        live_fail("sends a malformed frame, or a wrong checksum");
    trace(live, "sent", frame);
    if (view.kind == FRAME_TCP) {
        live_oracle_sent(live, out, frame, &view);
        live_peer_learn(live, &view);
    } else if (view.kind == FRAME_ARP || view.kind == FRAME_ICMPV6)
        live->asked = true;
    if (out->turn_round)
        turn_round(live, frame);
    free(frame);
}

static void send_all(struct live *live)
{
    struct stack_frame out;
    unsigned with_payload = 0;
    while (stack_transmit(live->stack, live->now_ns, live->gso_bytes_max, &out)) {
        send_frame(live, &out);
        live->frames += out.payload_length == 0 && !out.turn_round;
        if (++with_payload > PAYLOAD_FRAMES_MAX)
            live_fail("sends without end");
    }
}

/** @return whether payload may come: the connection has a program. */
static bool announce(struct live *live, struct stack_rx *rx)
{
    struct stack_rx_result result = {0};
    take_events(live);
    stack_receive_look_up(live->stack, rx);
    if (rx->connection != NULL && tcp_user(rx->connection) != NULL)
        return true;
    rx->segment.payload_refused = true;
    stack_receive_segment(live->stack, rx, live->now_ns, &result);
    if (result.place_length != 0)
        live_fail("payload to place although it was refused");
    take_events(live);
    stack_receive_look_up(live->stack, rx);
    rx->segment.payload_refused = false;
    return rx->connection != NULL && tcp_user(rx->connection) != NULL;
}

static void place(struct live *live, const struct stack_rx *rx,
                  const struct stack_rx_result *result)
{
    struct live_slot *slot = tcp_user(result->connection);
    const uint8_t *payload = rx->packet + rx->segment.payload_frame_offset + result->place_skip;
    if (rx->segment.payload_refused)
        live_fail("payload to place although it was refused");
    if (result->place_skip + (uint64_t)result->place_length > rx->segment.payload_length)
        live_fail("place %u bytes after %u of %u", result->place_length, result->place_skip,
                  rx->segment.payload_length);
    if (slot == NULL || slot->connection != result->connection)
        live_fail("payload for a connection that nobody has");
    live_oracle_placed(live, slot, result->connection, result->place_offset, payload,
                       result->place_length);
    if (!live->places_late || live->pending_count == LIVE_PENDING) {
        live_oracle_in_place(live, slot, result->place_offset, result->place_length);
        return;
    }
    live->pending[live->pending_count++] = (struct live_placement){
        slot, result->connection, result->place_offset, result->place_length};
    slot->pending++;
    tcp_placement_begin(result->connection);
}

static void receive_now(struct live *live, const struct frame *frame, uint8_t how, bool turned)
{
    struct stack_rx rx = {0};
    struct stack_rx_result result = {0};
    struct stack_rx_hints hints = {.ip_checksum_good = turned, .l4_checksum_good = turned};
    if (live->gso_bytes_max != 0 && frame->length > JOINED_BYTES)
        hints.gso_size = JOINED_BYTES;
    /* A copy of just these bytes: the sanitizer sees any step beyond. */
    uint8_t *copy = malloc(frame->length);
    if (copy == NULL)
        abort();
    memcpy(copy, frame->bytes, frame->length);
    trace(live, "got ", frame);
    uint64_t began_ns = cpu_ns();
    if (stack_receive_parse(live->stack, copy, frame->length, hints, live->now_ns, &rx) ==
        STACK_RX_TCP) {
        live_oracle_arrives(live, &rx.segment);
        bool is_someones = rx.connection != NULL || rx.listener != NULL;
        bool has_program = rx.connection != NULL && tcp_user(rx.connection) != NULL;
        rx.segment.payload_refused =
            rx.segment.payload_length != 0 && (how & LIVE_HOW_REFUSED) != 0;
        if (rx.segment.payload_length == 0 || !is_someones || has_program || announce(live, &rx))
            stack_receive_segment(live->stack, &rx, live->now_ns, &result);
    }
    uint64_t took_ns = cpu_ns() - began_ns;
    if (took_ns > live->arrival_cpu_ns)
        live->arrival_cpu_ns = took_ns;
    if (live->trace && (rx.drop != DROP_NONE || result.drop != DROP_NONE))
        printf("             %s\n", drop_reason_name(rx.drop != DROP_NONE ? rx.drop : result.drop));
    if (result.place_length != 0)
        place(live, &rx, &result);
    free(copy);
}

void live_settle(struct live *live)
{
    for (unsigned rounds = 0;; rounds++) {
        take_events(live);
        send_all(live);
        take_events(live);
        live_oracle_check(live);
        if (live->asked) {
            live->asked = false;
            live_peer_be_neighbour(live); /* which settles as well */
        }
        struct frame *turned = live->turned;
        if (turned == NULL)
            return;
        live->turned = turned->next;
        live->turned_count--;
        if (rounds > 20000)
            live_fail("frames to itself without end");
        receive_now(live, turned, 0, true);
        free(turned);
    }
}

void live_receive(struct live *live, const struct frame *frame, uint8_t how)
{
    receive_now(live, frame, how, false);
    live_settle(live);
}

/* ---- Programs ------------------------------------------------------------------------------- */

static struct live_slot *take_slot(struct live *live)
{
    struct live_slot *slot = &live->slots[live_take(live) % LIVE_SLOTS];
    for (unsigned i = 0; i < LIVE_SLOTS && slot->connection == NULL; i++)
        slot = &live->slots[i];
    return slot->connection == NULL || slot->closed ? NULL : slot;
}

static void operate_send(struct live *live)
{
    struct live_slot *slot = take_slot(live);
    uint8_t how = live_take(live);
    uint32_t bytes = live_take_word(live);
    if (slot == NULL)
        return;
    uint64_t held = tcp_send_end_offset(slot->connection) - tcp_acked_offset(slot->connection);
    if (held < tcp_send_buffer_bytes(slot->connection))
        (void)!tcp_send(live->stack, slot->connection, bytes, (how & 1) != 0, live->now_ns);
    if ((how & 2) != 0)
        tcp_fast_open_go(live->stack, slot->connection, (how & 4) != 0);
}

static void consume(struct live *live, struct live_slot *slot, uint64_t bytes)
{
    uint64_t end = tcp_received_offset(slot->connection);
    if (end > slot->placed_prefix)
        end = slot->placed_prefix;
    if (live->over || end <= slot->consumed)
        return;
    slot->consumed = end - slot->consumed < bytes ? end : slot->consumed + bytes;
    tcp_consumed(live->stack, slot->connection, slot->consumed, live->now_ns);
}

static void operate_read(struct live *live)
{
    struct live_slot *slot = take_slot(live);
    uint32_t bytes = live_take_word(live);
    if (slot != NULL && slot->pending == 0)
        consume(live, slot, bytes);
}

/** Bits of how: 1 fast open, 2 no cookie needed, 4 to ourselves, 8 to the peer's listener port, 16
    from a port of before, 32 more to come. */
static void operate_open(struct live *live)
{
    uint8_t how = live_take(live), congestion = live_take(live);
    struct live_slot *slot = free_slot(live);
    struct tcp_options_set options;
    tcp_options_set_init(&options, &live->config.tcp);
    options.congestion = congestion % TCP_CONGESTION_COUNT;
    options.fast_open_no_cookie = (how & 2) != 0;
    struct tcp_connect_request request = {.options = &options, .user = slot};
    request.remote.address = live_address(live->is_ipv6, (how & 4) != 0 ? 1 : 2);
    request.remote.port = (how & 12) != 0 ? LIVE_LISTEN_PORT : 7;
    request.fast_open = (how & 1) != 0;
    request.more = (how & 32) != 0;
    request.local.address = live_address(live->is_ipv6, 1);
    if ((how & 16) != 0) {
        request.local.port = (uint16_t)(5000 + congestion % 2);
        request.reuse_address = true;
    }
    if (slot == NULL)
        return;
    slot_begin(slot, NULL);
    if (tcp_connect(live->stack, &request, live->now_ns, &slot->connection) != 0)
        slot->connection = NULL;
}

static void operate_end(struct live *live)
{
    struct live_slot *slot = take_slot(live);
    uint8_t ending = live_take(live);
    if (slot == NULL)
        return;
    switch (ending % LIVE_ENDINGS) {
    case LIVE_SHUT_WRITE:
        slot->shut = true;
        tcp_shutdown_write(live->stack, slot->connection, live->now_ns);
        return;
    case LIVE_SHUT_READ:
        slot->read_shut = true;
        tcp_shutdown_read(live->stack, slot->connection);
        return;
    case LIVE_CLOSE:
        slot->shut = slot->closed = true;
        tcp_close(live->stack, slot->connection, live->now_ns);
        return;
    case LIVE_ABORT:
        slot->closed = true;
        tcp_abort(live->stack, slot->connection, live->now_ns);
        return;
    default:
        tcp_send_urgent(live->stack, slot->connection, live->now_ns);
    }
}

static void operate_options(struct live *live)
{
    struct live_slot *slot = take_slot(live);
    uint8_t bits = live_take(live), congestion = live_take(live);
    uint8_t limits[4];
    for (unsigned i = 0; i < sizeof(limits); i++)
        limits[i] = live_take(live);
    if (slot == NULL)
        return;
    struct tcp_options_set options = *tcp_get_options(slot->connection);
    options.nodelay = (bits & 1) != 0;
    options.cork = (bits & 2) != 0;
    options.keepalive = (bits & 4) != 0;
    options.keepalive_idle_ns = options.keepalive_interval_ns = (1u + limits[3]) * NS_PER_S;
    options.congestion = congestion % TCP_CONGESTION_COUNT;
    if ((bits & 16) != 0)
        options.receive_buffer = 2048u << limits[0] % 8;
    if ((bits & 32) != 0)
        options.maxseg = (uint16_t)(8 * limits[1]);
    if ((bits & 64) != 0)
        options.max_pacing_rate = limits[2] == 0 ? UINT64_MAX : UINT64_C(1000) << limits[2] % 24;
    if ((bits & 128) != 0)
        options.user_timeout_ns = limits[3] * NS_PER_S;
    tcp_set_options(live->stack, slot->connection, &options, live->now_ns);
    tcp_quickack(live->stack, slot->connection, (bits & 8) != 0);
}

static void listen_again(struct live *live)
{
    struct tcp_listen_request request = {
        .local = {.port = LIVE_LISTEN_PORT}, .is_ipv6 = true, .backlog = 4};
    if (live->listener == NULL && tcp_listen(live->stack, &request, &live->listener) != 0)
        live_fail("tcp_listen() on a free port");
    live->untaken = 0;
}

static void operate_listener(struct live *live)
{
    uint8_t what = live_take(live), value = live_take(live);
    if (live->listener == NULL) {
        listen_again(live);
        return;
    }
    switch (what % 6) {
    case 0:
        tcp_listener_set_backlog(live->listener, value % 8);
        return;
    case 1:
        tcp_listener_set_defer_accept(live->listener, value * NS_PER_S / 4);
        return;
    case 2:
        tcp_listener_set_fast_open(live->listener, value % 8);
        return;
    case 3:
        live->accepts_late = (value & 1) != 0;
        for (; live->untaken > 0; live->untaken--)
            tcp_listener_taken(live->listener);
        return;
    case 4:
        tcp_listener_options(live->listener)->congestion = value % TCP_CONGESTION_COUNT;
        return;
    default:
        tcp_listener_close(live->stack, live->listener, live->now_ns);
        live->listener = NULL;
    }
}

static void operate_time(struct live *live)
{
    uint8_t how = live_take(live);
    uint64_t deadline_ns = stack_next_deadline(live->stack);
    if (how < 128 && deadline_ns != TIME_NEVER)
        live->now_ns = deadline_ns > live->now_ns ? deadline_ns : live->now_ns;
    else
        live->now_ns += (uint64_t)live_take_word(live) << (how % 24);
    stack_advance(live->stack, live->now_ns);
    if (stack_next_deadline(live->stack) <= live->now_ns)
        live_fail("a deadline is left after stack_advance()");
}

static void complete_placements(struct live *live)
{
    while (live->pending_count > 0) {
        struct live_placement *p = &live->pending[--live->pending_count];
        live_oracle_in_place(live, p->slot, p->offset, p->length);
        p->slot->pending--;
        tcp_placement_end(live->stack, p->connection);
    }
}

static void operate_placement(struct live *live)
{
    live->places_late = (live_take(live) & 1) != 0;
    complete_placements(live);
}

static void operate(struct live *live)
{
    enum live_operation operation = live_take(live) % LIVE_OPERATIONS;
    live->frames = 0;
    if (live->trace)
        printf("%12.6f operation %u\n", (double)live->now_ns / 1e9, operation);
    switch (operation) {
    case LIVE_SEND:
        operate_send(live);
        break;
    case LIVE_READ:
        operate_read(live);
        break;
    case LIVE_OPEN:
        operate_open(live);
        break;
    case LIVE_END:
        operate_end(live);
        break;
    case LIVE_OPTIONS:
        operate_options(live);
        break;
    case LIVE_LISTENER:
        operate_listener(live);
        break;
    case LIVE_TIME:
        operate_time(live);
        break;
    case LIVE_PLACEMENT:
        operate_placement(live);
        break;
    default:
        live_peer_operate(live, operation);
    }
    live_settle(live);
    if (++live->operations % OPERATIONS_PER_CHECK == 0)
        stack_check(live->stack);
}

/* ---- The end -------------------------------------------------------------------------------- */

/** How far the peer has sent, as the connection knows: payload beyond a gap, or a segment whose
    window counted. An honest one sends what is missing. */
static uint64_t peer_sent(const struct tcp_connection *c)
{
    uint64_t high = tcp_received_high_offset(c);
    uint64_t window_from = tcp_unwrap(c->hot.rcv_nxt, c->hot.snd_wl1);
    uint64_t end = window_from > tcp_rcv_start(&c->hot) ? window_from - tcp_rcv_start(&c->hot) : 0;
    if (c->hot.fin_received && high < c->hot.rcv_nxt - tcp_rcv_start(&c->hot))
        high = c->hot.rcv_nxt - tcp_rcv_start(&c->hot);
    return end > high ? end : high;
}

/** One round: the programs read all, the peer fills the first gap and acknowledges what was sent.
 */
static void answer(struct live *live, struct live_slot *slot)
{
    live->frames = 0;
    for (unsigned i = 0; i < LIVE_SLOTS; i++)
        if (live->slots[i].connection != NULL && !live->slots[i].closed)
            consume(live, &live->slots[i], UINT64_MAX);
    live_settle(live);
    const struct tcp_connection *c = slot->connection;
    if (c == NULL || ip_address_equal(&c->flow.remote, &c->flow.local))
        return; /* to itself: both ends are honest */
    uint64_t sent = peer_sent(c), missing = sent - tcp_received_offset(c);
    if (!c->hot.fin_received)
        live_peer_answer(live, c, tcp_received_offset(c),
                         missing < 1000 ? (uint32_t)missing : 1000);
    else /* and something after it, perhaps beyond the window: nothing fills that gap */
        live_peer_answer(live, c, slot->edge_known && sent > slot->edge ? slot->edge : sent, 0);
}

/** Of a connection of an address to itself: the other end has given up, and told nobody. */
static bool is_left_alone(const struct live *live, const struct tcp_connection *c)
{
    const struct tcp_flow other = {
        .local = c->flow.remote,
        .remote = c->flow.local,
        .local_port = c->flow.remote_port,
        .remote_port = c->flow.local_port,
    };
    return ip_address_equal(&c->flow.remote, &c->flow.local) &&
           stack_flow_find(live->stack, &other) == NULL;
}

/** Nothing (more) for an honest peer to help with. */
static bool is_done(const struct live *live, const struct live_slot *slot)
{
    const struct tcp_connection *c = slot->connection;
    if (c == NULL || slot->closed || live->over || !tcp_is_synchronized(c) ||
        c->hot.state == TCP_STATE_SYN_RECEIVED)
        return true;
    bool held = c->fast_open.held || c->options->cork || c->hot.more;
    return (held || tcp_acked_offset(c) == tcp_send_end_offset(c)) &&
           (!tcp_has_out_of_order(c) || is_left_alone(live, c));
}

/** Whatever went on before: with a peer that now does as it should, all that the program gave is
    acknowledged and all gaps close, or the connection is gone. */
static void be_honest(struct live *live, struct live_slot *slot)
{
    uint64_t progress = 0, progress_ns = live->now_ns;
    unsigned progress_round = 0;
    for (unsigned round = 0; round < HONEST_ROUNDS && !is_done(live, slot); round++) {
        const struct tcp_connection *c = slot->connection;
        uint64_t acked = tcp_acked_offset(c), received = tcp_received_offset(c);
        if (acked + received != progress) {
            progress = acked + received;
            progress_ns = live->now_ns;
            progress_round = round;
        }
        if (live->now_ns > progress_ns + STALL_NS && round > progress_round + STALL_ROUNDS)
            live_fail("stall: acked %llu of %llu, received %llu of %llu", (unsigned long long)acked,
                      (unsigned long long)tcp_send_end_offset(c), (unsigned long long)received,
                      (unsigned long long)tcp_received_high_offset(c));
        answer(live, slot);
        uint64_t deadline_ns = stack_next_deadline(live->stack);
        if (slot->connection == c && deadline_ns != TIME_NEVER) {
            live->now_ns = deadline_ns > live->now_ns ? deadline_ns : live->now_ns;
            stack_advance(live->stack, live->now_ns);
            live_settle(live);
        }
    }
}

static void end(struct live *live)
{
    live->places_late = false;
    live->accepts_late = false;
    live->frames = 0;
    complete_placements(live);
    live_settle(live);
    for (unsigned i = 0; i < LIVE_SLOTS; i++)
        be_honest(live, &live->slots[i]);
    live->frames = 0;
    if (live->listener != NULL)
        tcp_listener_close(live->stack, live->listener, live->now_ns);
    live->listener = NULL;
    for (unsigned i = 0; i < LIVE_SLOTS; i++) {
        struct live_slot *slot = &live->slots[i];
        if (slot->connection != NULL) {
            slot->closed = true;
            tcp_abort(live->stack, slot->connection, live->now_ns);
        }
    }
    live_settle(live);
    for (unsigned i = 0; i < 10; i++) {
        live->now_ns += 200 * NS_PER_S;
        live->frames = 0;
        stack_advance(live->stack, live->now_ns);
        live_settle(live);
    }
    live_oracle_check_empty(live);
}

/* ---- The target ----------------------------------------------------------------------------- */

static void configure(struct live *live, uint8_t first, uint8_t second)
{
    struct stack_config *config = &live->config;
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    stack_config_init(config);
    memcpy(config->mac, mac, sizeof(mac));
    live->is_ipv6 = (first & LIVE_IPV6) != 0;
    config->mtu = (second & LIVE_LARGE_MTU) != 0 ? 9000 : 1500;
    config->prefix_count = 2;
    config->prefixes[0].address = live_address(false, 1);
    config->prefixes[0].prefix_length = 120;
    config->prefixes[1].address = live_address(true, 1);
    config->prefixes[1].prefix_length = 64;
    config->connections_max = LIVE_CONNECTIONS;
    config->listeners_max = 2;
    config->fragments_bytes_max = 65536;
    config->core_count = 1;
    config->intervals_max = (first & LIVE_FEW_RECORDS) != 0 ? 4 : 256;
    config->sent_records_max = (first & LIVE_FEW_RECORDS) != 0 ? 4 : 256;
    config->tcp.receive_buffer_initial = (second & LIVE_SMALL_BUFFERS) != 0 ? 4096 : 131072;
    config->tcp.receive_buffer_max = LIVE_RECEIVE_BYTES;
    config->tcp.send_buffer_initial = (second & LIVE_SMALL_BUFFERS) != 0 ? 4608 : 87040;
    config->tcp.send_buffer_max = 1u << 18;
    config->tcp.timestamps = (first & LIVE_NO_TIMESTAMPS) == 0;
    config->tcp.sack = (first & LIVE_NO_SACK) == 0;
    config->tcp.window_scaling = (first & LIVE_NO_SCALING) == 0;
    config->tcp.congestion = (second & 7) % TCP_CONGESTION_COUNT;
    config->tcp.ecn = (second & LIVE_ECN) != 0 ? TCP_ECN_REQUEST : TCP_ECN_ACCEPT;
    config->tcp.pace_rtt_ns = (first & LIVE_PACED) != 0 ? 1000 : TIME_NEVER;
    if ((first & LIVE_MTU_PROBING) != 0)
        config->tcp.mtu_probing = TCP_MTU_PROBING_ALWAYS;
    if ((first & LIVE_FAST_OPEN) != 0)
        config->tcp.fast_open = TCP_FAST_OPEN_CLIENT | TCP_FAST_OPEN_SERVER |
                                TCP_FAST_OPEN_SERVER_ALWAYS |
                                ((second & 1) != 0 ? TCP_FAST_OPEN_SERVER_NO_COOKIE : 0);
    live->gso_bytes_max = (second & LIVE_GSO) != 0 ? 20000 : 0;
}

static void begin(struct live *live)
{
    uint8_t first = live_take(live), second = live_take(live);
    configure(live, first, second);
    live->now_ns = NS_PER_S;
    /* Fresh pages, zeroed when touched: most of the memory never is. */
    live->memory_bytes = stack_memory_bytes(&live->config);
    live->memory =
        mmap(NULL, live->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (live->memory == MAP_FAILED)
        abort();
    live->stack = stack_create(live->memory, &live->config, live->now_ns);
    if (live->stack == NULL)
        abort();
    listen_again(live);
    if ((second & LIVE_BACKLOG_ONE) != 0)
        tcp_listener_set_backlog(live->listener, 1);
    tcp_listener_set_fast_open(live->listener, (first & LIVE_FAST_OPEN) != 0 ? 4 : 0);
    live_peer_be_neighbour(live);
}

/** @return the CPU time that the frame took which took most. */
static uint64_t run(const uint8_t *data, size_t size)
{
    static struct live live;
    for (unsigned i = 0; i < LIVE_SLOTS; i++)
        slot_begin(&live.slots[i], NULL);
    struct live_slot *slots = live.slots;
    memset(&live, 0, offsetof(struct live, slots));
    memset(slots + LIVE_SLOTS, 0, sizeof(live) - offsetof(struct live, slots) - sizeof(live.slots));
    live.input = data;
    live.left = size;
    live.trace = getenv("LIVE_TRACE") != NULL;
    if (live.trace)
        setvbuf(stdout, NULL, _IOLBF, 0); /* nothing is lost in a crash */
    begin(&live);
    while (live.left > 0 && !live.over)
        operate(&live);
    end(&live);
    for (unsigned i = 0; i < LIVE_KEPT; i++)
        free(live.kept[i]);
    munmap(live.memory, live.memory_bytes);
    return live.arrival_cpu_ns;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t took_ns = run(data, size);
    for (unsigned tries = 1; took_ns > ARRIVAL_CPU_MAX_NS; tries++) {
        if (tries == SLOW_TRIES)
            live_fail("%llu us of CPU for one frame", (unsigned long long)(took_ns / NS_PER_US));
        took_ns = run(data, size);
    }
    return 0;
}
