/*
 * libFuzzer target: arbitrary and almost-valid frames, mixed with what programs and time do, into
 * a stack with live connections.
 *
 * An input is a list of operations. Those that build segments know what the stack sent last, so
 * that their sequence numbers, acknowledgements and checksums fit but for what the input changes:
 * most inputs get past the first checks. stack_check() runs after each operation.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/time_units.h"
#include "core/stack.h"
#include "packet_input.h"
#include "simulation/frame.h"

#define FLOWS         8
#define PAYLOAD_MAX   9000
#define OPERATION_MAX 512
#define LISTEN_PORT   80

/** The peer's view of one connection. */
struct flow {
    uint16_t local_port, peer_port;
    uint32_t seq, ack; /**< what the peer sends next, and expects next */
    uint32_t timestamp;
    bool used;
};

struct fuzz {
    const uint8_t *input;
    size_t left;
    bool is_ipv6;
    uint64_t now_ns;
    void *memory;
    size_t memory_bytes;
    struct stack *stack;
    struct tcp_listener *listener;
    struct tcp_connection *connections[FLOWS];
    bool closed[FLOWS]; /**< by us: only the CLOSED event is still to come */
    uint64_t consumed[FLOWS];
    uint8_t placed_sum; /**< of all payload: reads it, for the sanitizer */
    struct flow flows[FLOWS];
};

static uint8_t take_byte(struct fuzz *fuzz)
{
    if (fuzz->left == 0)
        return 0;
    fuzz->left--;
    return *fuzz->input++;
}

static uint32_t take_word(struct fuzz *fuzz)
{
    uint32_t value = take_byte(fuzz);
    return value << 8 | take_byte(fuzz);
}

/** Small as a rule, anything at times. */
static uint32_t take_offset(struct fuzz *fuzz)
{
    uint8_t kind = take_byte(fuzz);
    if (kind < 128)
        return 0;
    if (kind < 192)
        return (uint32_t)(int32_t)(int8_t)take_byte(fuzz);
    if (kind < 224)
        return take_word(fuzz);
    if (kind < 240)
        return 0u - take_word(fuzz);
    return take_word(fuzz) << 16 | take_word(fuzz);
}

static struct ip_address address_of(bool is_ipv6, uint8_t host)
{
    const uint8_t v4[4] = {10, 0, 0, host};
    const uint8_t v6[16] = {0xfd, [15] = host};
    return is_ipv6 ? ip_address_from_v6(v6) : ip_address_from_v4(v4);
}

static void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static void put32(uint8_t *p, uint32_t value)
{
    put16(p, value >> 16);
    put16(p + 2, value & 0xffff);
}

/* ---- What the stack does ------------------------------------------------------------------ */

static void take_events(struct fuzz *fuzz)
{
    struct stack_event event;
    while (stack_next_event(fuzz->stack, &event)) {
        struct tcp_connection *connection;
        if (event.listener != NULL) {
            while ((connection = tcp_listener_next(event.listener)) != NULL) {
                unsigned i = 0;
                while (i < FLOWS && fuzz->connections[i] != NULL)
                    i++;
                tcp_listener_taken(event.listener);
                if (i == FLOWS) {
                    tcp_abort(fuzz->stack, connection, fuzz->now_ns);
                    continue;
                }
                fuzz->connections[i] = connection;
                fuzz->consumed[i] = 0;
                fuzz->closed[i] = false;
                tcp_set_user(connection, &fuzz->connections[i]);
            }
        } else if (event.user != NULL && (event.bits & STACK_EVENT_CLOSED) != 0) {
            *(struct tcp_connection **)event.user = NULL;
        }
    }
}

/** Learn from a frame what the peer has to send to be taken seriously. */
static void learn(struct fuzz *fuzz, const struct frame_view *view)
{
    struct flow *slot = &fuzz->flows[0];
    if (view->kind != FRAME_TCP || (view->flags & TCP_RST) != 0)
        return;
    for (unsigned i = 0; i < FLOWS; i++) {
        struct flow *flow = &fuzz->flows[i];
        if (flow->used && flow->local_port == view->source_port &&
            flow->peer_port == view->destination_port) {
            slot = flow;
            break;
        }
        if (!flow->used)
            slot = flow;
    }
    slot->used = true;
    slot->local_port = view->source_port;
    slot->peer_port = view->destination_port;
    slot->ack = view->seq + view->payload_length + ((view->flags & TCP_SYN) != 0) +
                ((view->flags & TCP_FIN) != 0);
    if ((view->flags & TCP_ACK) != 0)
        slot->seq = view->ack;
    slot->timestamp = view->options.timestamp_value;
}

static void send_all(struct fuzz *fuzz)
{
    struct stack_frame out;
    unsigned frames = 0;
    while (stack_transmit(fuzz->stack, fuzz->now_ns, 0, &out)) {
        struct frame_view view;
        struct frame *frame = frame_new(out.header_length + out.payload_length);
        memcpy(frame->bytes, out.header, out.header_length);
        if (out.payload != NULL)
            memcpy(frame->bytes + out.header_length, out.payload, out.payload_length);
        if (out.l4_checksum_partial)
            stack_frame_finish_checksum(&out, frame->bytes);
        frame_parse(frame->bytes, frame->length, &view);
        if (view.kind == FRAME_MALFORMED || (view.kind == FRAME_TCP && !view.checksums_good))
            abort();
        learn(fuzz, &view);
        free(frame);
        if (++frames > 10000)
            abort(); /* one operation must not cause traffic without end */
    }
}

static void settle(struct fuzz *fuzz)
{
    stack_check(fuzz->stack);
    take_events(fuzz);
    send_all(fuzz);
    take_events(fuzz);
    stack_check(fuzz->stack);
}

/** bytes are copied to a block of just their length: the sanitizer sees any step beyond. */
static void receive(struct fuzz *fuzz, const uint8_t *bytes, uint32_t length,
                    struct stack_rx_hints hints, bool refuse)
{
    struct stack_rx rx = {0};
    struct stack_rx_result result = {0};
    uint8_t *copy = malloc(length == 0 ? 1 : length);
    if (copy == NULL)
        abort();
    memcpy(copy, bytes, length);
    if (stack_receive_parse(fuzz->stack, copy, length, hints, fuzz->now_ns, &rx) == STACK_RX_TCP) {
        rx.segment.payload_refused = refuse && rx.segment.payload_length != 0;
        stack_receive_segment(fuzz->stack, &rx, fuzz->now_ns, &result);
        if (result.place_length != 0) {
            const uint8_t *payload = rx.packet + rx.segment.payload_frame_offset;
            if (result.place_skip + result.place_length > rx.segment.payload_length)
                abort();
            for (uint32_t i = 0; i < result.place_length; i++)
                fuzz->placed_sum ^= payload[result.place_skip + i];
        }
    }
    free(copy);
    settle(fuzz);
}

/* ---- Operations --------------------------------------------------------------------------- */

static uint32_t put_addresses(struct fuzz *fuzz, uint8_t *bytes, uint8_t protocol,
                              uint32_t l4_length)
{
    static const uint8_t ours[6] = {2, 0, 0, 0, 0, 1}, theirs[6] = {2, 0, 0, 0, 0, 2};
    struct ip_address source = address_of(fuzz->is_ipv6, 2);
    struct ip_address destination = address_of(fuzz->is_ipv6, 1);
    memcpy(bytes, ours, 6);
    memcpy(bytes + 6, theirs, 6);
    uint8_t *ip = bytes + 14;
    if (fuzz->is_ipv6) {
        put16(bytes + 12, 0x86dd);
        ip[0] = 0x60;
        put16(ip + 4, l4_length);
        ip[6] = protocol;
        ip[7] = 255;
        memcpy(ip + 8, source.bytes, 16);
        memcpy(ip + 24, destination.bytes, 16);
        return 14 + 40;
    }
    put16(bytes + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, 20 + l4_length);
    ip[8] = 64;
    ip[9] = protocol;
    memcpy(ip + 12, &source.bytes[12], 4);
    memcpy(ip + 16, &destination.bytes[12], 4);
    put16(ip + 10, (uint16_t)~frame_sum_fold(frame_sum(ip, 20, 0)));
    return 14 + 20;
}

/** The peer asks for our address: thus the stack knows where to answer. */
static void introduce_peer(struct fuzz *fuzz)
{
    uint8_t bytes[128] = {0};
    struct ip_address us = address_of(fuzz->is_ipv6, 1), peer = address_of(fuzz->is_ipv6, 2);
    if (fuzz->is_ipv6) {
        uint32_t l4 = put_addresses(fuzz, bytes, 58, 32);
        uint8_t *message = bytes + l4;
        message[0] = 135;
        memcpy(message + 8, us.bytes, 16);
        message[24] = message[25] = 1;
        memcpy(message + 26, bytes + 6, 6);
        uint16_t sum = frame_sum_fold(frame_sum(message, 32, frame_sum(bytes + 22, 32, 32 + 58)));
        put16(message + 2, (uint16_t)~sum);
        receive(fuzz, bytes, l4 + 32, (struct stack_rx_hints){0}, false);
        return;
    }
    static const uint8_t arp[8] = {0, 1, 8, 0, 6, 4, 0, 1};
    put_addresses(fuzz, bytes, 0, 0);
    put16(bytes + 12, 0x0806);
    memset(bytes + 14, 0, 46);
    memcpy(bytes + 14, arp, sizeof(arp));
    memcpy(bytes + 22, bytes + 6, 6);
    memcpy(bytes + 28, &peer.bytes[12], 4);
    memcpy(bytes + 38, &us.bytes[12], 4);
    receive(fuzz, bytes, 60, (struct stack_rx_hints){0}, false);
}

/** A segment of a live flow or a new one, right but for the offsets that the input gives. */
static uint32_t build_segment(struct fuzz *fuzz, uint8_t *bytes)
{
    struct flow *flow = &fuzz->flows[take_byte(fuzz) % FLOWS];
    uint8_t flags = take_byte(fuzz);
    uint32_t seq = flow->seq + take_offset(fuzz);
    uint32_t ack = flow->ack + take_offset(fuzz);
    uint32_t window = take_word(fuzz);
    uint32_t payload = take_byte(fuzz) < 128 ? take_byte(fuzz) : take_word(fuzz) % PAYLOAD_MAX;
    uint8_t options_kind = take_byte(fuzz);
    uint32_t options_length = options_kind < 64 ? 0 : options_kind < 160 ? 12 : 40;
    uint32_t header = 20 + options_length;
    uint32_t l4 = put_addresses(fuzz, bytes, 6, header + payload);
    uint8_t *tcp = bytes + l4;
    memset(tcp, 0, header + payload);
    put16(tcp, flow->used ? flow->peer_port : 1000u + options_kind);
    put16(tcp + 2, flow->used ? flow->local_port : LISTEN_PORT);
    put32(tcp + 4, seq);
    put32(tcp + 8, ack);
    tcp[12] = (uint8_t)(header / 4 << 4);
    tcp[13] = flags;
    put16(tcp + 14, window);
    if ((flags & TCP_URG) != 0)
        put16(tcp + 18, take_word(fuzz));
    if (options_length == 12) {
        const uint8_t timestamps[4] = {1, 1, 8, 10};
        memcpy(tcp + 20, timestamps, 4);
        put32(tcp + 24, (uint32_t)(fuzz->now_ns / NS_PER_MS) + take_offset(fuzz));
        put32(tcp + 28, flow->timestamp + take_offset(fuzz));
    } else if (options_length == 40 && options_kind < 200) {
        tcp[20] = tcp[21] = 1;
        tcp[22] = 5;
        tcp[23] = 34;
        for (unsigned i = 0; i < 8; i++)
            put32(tcp + 24 + 4 * i, flow->ack + take_offset(fuzz));
    } else {
        for (uint32_t i = 0; i < options_length; i++)
            tcp[20 + i] = take_byte(fuzz);
    }
    struct frame_view view = {.is_ipv6 = fuzz->is_ipv6, .l3_offset = 14, .l4_offset = l4};
    frame_finish_tcp(bytes, l4 + header + payload, &view);
    return l4 + header + payload;
}

static void segment(struct fuzz *fuzz, uint8_t how)
{
    static uint8_t bytes[FRAME_BYTES_MAX];
    struct stack_rx_hints hints = {0};
    uint32_t length = build_segment(fuzz, bytes);
    if ((how & 16) != 0)
        hints.gso_size = (uint16_t)(1 + length % 1460);
    if ((how & 1) != 0) {
        /* Change some bytes; a port that says the checksums are good lets that through. */
        unsigned changes = take_byte(fuzz) % 8;
        while (changes-- > 0)
            bytes[take_word(fuzz) % length] ^= take_byte(fuzz);
        hints.ip_checksum_good = hints.l4_checksum_good = true;
        if ((how & 2) != 0)
            length = take_word(fuzz) % (length + 1);
    }
    if ((how & 4) != 0) {
        struct frame *frame = frame_new(length), *list;
        memcpy(frame->bytes, bytes, length);
        list = frame_fragment(frame, 8u + take_byte(fuzz), take_byte(fuzz));
        uint8_t lost = take_byte(fuzz);
        while (list != NULL) {
            struct frame *next = list->next;
            if (lost-- != 0)
                receive(fuzz, list->bytes, list->length, hints, false);
            free(list);
            list = next;
        }
        free(frame);
        return;
    }
    receive(fuzz, bytes, length, hints, (how & 8) != 0);
}

static void raw_frame(struct fuzz *fuzz)
{
    static uint8_t bytes[OPERATION_MAX];
    struct stack_rx_hints hints = {0};
    uint8_t how = take_byte(fuzz);
    uint32_t length = take_word(fuzz) % OPERATION_MAX, i = 0;
    if ((how & 1) != 0 && length > 54) {
        /* Right up to the protocol's own header. */
        i = put_addresses(fuzz, bytes, take_byte(fuzz), length - (fuzz->is_ipv6 ? 54 : 34));
        hints.l4_checksum_good = true;
    }
    for (; i < length; i++)
        bytes[i] = take_byte(fuzz);
    receive(fuzz, bytes, length, hints, false);
}

/** ICMP of any type and code, with a right checksum, quoting a segment of a flow. */
static void icmp(struct fuzz *fuzz)
{
    uint8_t bytes[256] = {0};
    struct flow *flow = &fuzz->flows[take_byte(fuzz) % FLOWS];
    uint32_t quoted_ip = fuzz->is_ipv6 ? 40 : 20;
    uint32_t length = 8 + quoted_ip + 20;
    uint32_t l4 = put_addresses(fuzz, bytes, fuzz->is_ipv6 ? 58 : 1, length);
    uint8_t *message = bytes + l4, *quote = message + 8;
    uint8_t inner[128] = {0};
    put_addresses(fuzz, inner, 6, 20 + take_word(fuzz) % 1480);
    memcpy(quote, inner + 14, quoted_ip);
    struct ip_address us = address_of(fuzz->is_ipv6, 1), peer = address_of(fuzz->is_ipv6, 2);
    if (fuzz->is_ipv6) {
        memcpy(quote + 8, us.bytes, 16);
        memcpy(quote + 24, peer.bytes, 16);
    } else {
        memcpy(quote + 12, &us.bytes[12], 4);
        memcpy(quote + 16, &peer.bytes[12], 4);
    }
    message[0] = take_byte(fuzz);
    message[1] = take_byte(fuzz);
    put32(message + 4, take_word(fuzz));
    put16(quote + quoted_ip, flow->local_port);
    put16(quote + quoted_ip + 2, flow->peer_port);
    put32(quote + quoted_ip + 4, flow->ack - 1 + take_offset(fuzz));
    uint64_t sum = fuzz->is_ipv6 ? frame_sum(bytes + 22, 32, 0) + length + 58 : 0;
    put16(message + 2, (uint16_t)~frame_sum_fold(frame_sum(message, length, sum)));
    receive(fuzz, bytes, l4 + length, (struct stack_rx_hints){0}, false);
}

static void open_connection(struct fuzz *fuzz)
{
    struct tcp_connect_request request = {.remote = {address_of(fuzz->is_ipv6, 2), 7}};
    for (unsigned i = 0; i < FLOWS; i++) {
        if (fuzz->connections[i] != NULL)
            continue;
        request.user = &fuzz->connections[i];
        fuzz->consumed[i] = 0;
        fuzz->closed[i] = false;
        if (tcp_connect(fuzz->stack, &request, fuzz->now_ns, &fuzz->connections[i]) != 0)
            fuzz->connections[i] = NULL;
        return;
    }
}

static void change_options(struct fuzz *fuzz, struct tcp_connection *connection)
{
    struct tcp_options_set options = *tcp_get_options(connection);
    uint8_t bits = take_byte(fuzz);
    options.nodelay = (bits & 1) != 0;
    options.cork = (bits & 2) != 0;
    options.keepalive = (bits & 4) != 0;
    options.congestion = (bits >> 4) % TCP_CONGESTION_COUNT;
    options.receive_buffer = take_word(fuzz);
    options.user_timeout_ns = take_byte(fuzz) * NS_PER_S;
    options.maxseg = (uint16_t)take_byte(fuzz);
    tcp_set_options(fuzz->stack, connection, &options, fuzz->now_ns);
    tcp_quickack(fuzz->stack, connection, (bits & 8) != 0);
}

static void application(struct fuzz *fuzz)
{
    uint8_t which = take_byte(fuzz);
    unsigned i = take_byte(fuzz) % FLOWS;
    struct tcp_connection *connection = fuzz->connections[i];
    if (which % 8 == 0 || connection == NULL) {
        open_connection(fuzz);
        settle(fuzz);
        return;
    }
    if (fuzz->closed[i])
        return;
    switch (which % 8) {
    case 1:
    case 2:
        (void)!tcp_send(fuzz->stack, connection, take_word(fuzz), (which & 8) != 0, fuzz->now_ns);
        break;
    case 3:
        fuzz->consumed[i] += take_word(fuzz);
        if (fuzz->consumed[i] > tcp_received_offset(connection))
            fuzz->consumed[i] = tcp_received_offset(connection);
        tcp_consumed(fuzz->stack, connection, fuzz->consumed[i], fuzz->now_ns);
        break;
    case 4:
        tcp_shutdown_write(fuzz->stack, connection, fuzz->now_ns);
        break;
    case 5:
        change_options(fuzz, connection);
        break;
    case 6:
        fuzz->closed[i] = true;
        tcp_close(fuzz->stack, connection, fuzz->now_ns);
        break;
    default:
        fuzz->closed[i] = true;
        tcp_abort(fuzz->stack, connection, fuzz->now_ns);
    }
    settle(fuzz);
}

static void pass_time(struct fuzz *fuzz)
{
    uint8_t how = take_byte(fuzz);
    uint64_t deadline_ns = stack_next_deadline(fuzz->stack);
    if (how < 128 && deadline_ns != TIME_NEVER)
        fuzz->now_ns = deadline_ns > fuzz->now_ns ? deadline_ns : fuzz->now_ns;
    else
        fuzz->now_ns += (uint64_t)take_word(fuzz) << (how % 24);
    stack_advance(fuzz->stack, fuzz->now_ns);
    settle(fuzz);
}

/* ---- The target --------------------------------------------------------------------------- */

static void begin(struct fuzz *fuzz)
{
    struct stack_config config;
    uint8_t how = take_byte(fuzz);
    stack_config_init(&config);
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    memcpy(config.mac, mac, 6);
    fuzz->is_ipv6 = (how & 1) != 0;
    config.mtu = 1500;
    config.prefix_count = 2;
    config.prefixes[0].address = address_of(false, 1);
    config.prefixes[0].prefix_length = 120;
    config.prefixes[1].address = address_of(true, 1);
    config.prefixes[1].prefix_length = 64;
    config.connections_max = 16;
    config.listeners_max = 2;
    config.fragments_bytes_max = 65536;
    config.core_count = 1;
    config.intervals_max = (how & 2) != 0 ? 4 : 256;
    config.sent_records_max = (how & 2) != 0 ? 4 : 256;
    config.tcp.timestamps = (how & 4) == 0;
    config.tcp.sack = (how & 8) == 0;
    config.tcp.congestion = (how & 16) != 0;
    fuzz->now_ns = NS_PER_S;
    /* Fresh pages, zeroed when touched: most of the memory never is. */
    fuzz->memory_bytes = stack_memory_bytes(&config);
    fuzz->memory =
        mmap(NULL, fuzz->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fuzz->memory == MAP_FAILED)
        abort();
    fuzz->stack = stack_create(fuzz->memory, &config, fuzz->now_ns);
    if (fuzz->stack == NULL)
        abort();
    struct tcp_listen_request request = {
        .local = {.port = LISTEN_PORT}, .is_ipv6 = true, .backlog = 2};
    if (tcp_listen(fuzz->stack, &request, &fuzz->listener) != 0)
        abort();
    introduce_peer(fuzz);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = {.input = data, .left = size};
    begin(&fuzz);
    while (fuzz.left > 0) {
        uint8_t operation = take_byte(&fuzz);
        if (operation < PACKET_INPUT_APPLICATION)
            segment(&fuzz, operation & 15);
        else if (operation < PACKET_INPUT_TIME)
            application(&fuzz);
        else if (operation < PACKET_INPUT_RAW)
            pass_time(&fuzz);
        else if (operation < PACKET_INPUT_ICMP)
            raw_frame(&fuzz);
        else
            icmp(&fuzz);
    }
    munmap(fuzz.memory, fuzz.memory_bytes);
    return 0;
}
