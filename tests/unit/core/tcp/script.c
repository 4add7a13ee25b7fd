#include "script.h"

#include <stdio.h>
#include <stdlib.h>

#define PEER_ISS UINT32_C(0xfffffe00)

struct script script;

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t our_v4[4] = {10, 77, 0, 1};
static const uint8_t peer_v4[4] = {10, 77, 0, 2};

/* ---- The stack ----------------------------------------------------------------------------- */

static void pump_events(void)
{
    struct stack_event event;
    while (stack_next_event(script.stack, &event)) {
        if (event.listener) {
            struct tcp_connection *connection;
            while (!script.no_accept && (connection = tcp_listener_next(event.listener))) {
                script.connection = connection;
                script.accepted++;
                tcp_set_user(connection, &script);
                tcp_listener_taken(event.listener);
            }
            continue;
        }
        if (event.connection != script.connection)
            continue;
        script.events |= event.bits;
        if (event.bits & STACK_EVENT_CLOSED)
            script.connection = NULL;
    }
    stack_check(script.stack);
}

static struct ip_endpoint endpoint(const uint8_t address[4], uint16_t port)
{
    return (struct ip_endpoint){ip_address_from_v4(address), port};
}

/** The peer's ARP request makes it known. */
static void meet_peer(void)
{
    uint8_t frame[42] = {0};
    memcpy(frame, our_mac, 6);
    memcpy(frame + 6, peer_mac, 6);
    memcpy(frame + 12, "\x08\x06\0\x01\x08\0\x06\x04\0\x01", 10);
    memcpy(frame + 22, peer_mac, 6);
    memcpy(frame + 28, peer_v4, 4);
    memcpy(frame + 38, our_v4, 4);
    struct stack_rx rx;
    (void)stack_receive_parse(script.stack, frame, sizeof(frame), (struct stack_rx_hints){0},
                              script.now_ns, &rx);
}

/** The next TCP frame out; the peer stays a neighbour meanwhile. */
static bool transmit(struct stack_frame *frame)
{
    while (stack_transmit(script.stack, script.now_ns, script.gso_bytes_max, frame)) {
        bool is_arp = frame->header[12] == 0x08 && frame->header[13] == 0x06;
        if (!is_arp)
            return true;
        if (frame->header[21] == 1) /* a request */
            meet_peer();
    }
    return false;
}

static void start(void)
{
    size_t bytes = stack_memory_bytes(&script.config);
    assert_int_not_equal(bytes, 0);
    script.memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(script.memory);
    memset(script.memory, 0, bytes);
    script.stack = stack_create(script.memory, &script.config, script.now_ns);
    assert_non_null(script.stack);
    meet_peer();
    struct tcp_listen_request request = {.local = endpoint(our_v4, OUR_PORT), .backlog = 10};
    assert_int_equal(tcp_listen(script.stack, &request, &script.listener), 0);
}

int script_setup(void **unused)
{
    (void)unused;
    script = (struct script){.now_ns = 1000 * NS_PER_S, .peer_port = PEER_PORT};
    stack_config_init(&script.config);
    memcpy(script.config.mac, our_mac, 6);
    script.config.prefix_count = 1;
    script.config.prefixes[0] =
        (struct stack_prefix){.address = ip_address_from_v4(our_v4), .prefix_length = 120};
    script.config.connections_max = 64;
    script.config.listeners_max = 4;
    script.config.fragments_bytes_max = 1 << 17;
    memset(script.config.secret, 7, sizeof(script.config.secret));
    script.config.random_seed = 1;
    start();
    return 0;
}

int script_teardown(void **unused)
{
    (void)unused;
    free(script.memory);
    return 0;
}

void script_restart(void)
{
    free(script.memory);
    script.connection = NULL;
    script.our_iss_known = script.our_ts_known = false;
    start();
}

/* ---- Text ---------------------------------------------------------------------------------- */

static uint8_t parse_flags(const char **text)
{
    uint8_t flags = 0;
    for (; **text != ' '; ++*text) {
        switch (**text) {
        case 'S':
            flags |= TCP_SYN;
            break;
        case 'F':
            flags |= TCP_FIN;
            break;
        case 'R':
            flags |= TCP_RST;
            break;
        case 'P':
            flags |= TCP_PSH;
            break;
        case 'U':
            flags |= TCP_URG;
            break;
        case 'E':
            flags |= TCP_ECE;
            break;
        case 'W':
            flags |= TCP_CWR;
            break;
        case '.':
            flags |= TCP_ACK;
            break;
        default:
            fail_msg("flag '%c'", **text);
        }
    }
    return flags;
}

static void parse_option(const char *text, struct tcp_options *options)
{
    unsigned a, b;
    if (sscanf(text, "mss %u", &a) == 1) {
        options->has_mss = true;
        options->mss = (uint16_t)a;
    } else if (sscanf(text, "wscale %u", &a) == 1) {
        options->has_window_scale = true;
        options->window_scale = (uint8_t)a;
    } else if (strncmp(text, "sackOK", 6) == 0) {
        options->has_sack_permitted = true;
    } else if (sscanf(text, "TS val %u ecr %u", &a, &b) == 2) {
        options->has_timestamps = true;
        options->timestamp_value = a;
        options->timestamp_echo = b + script.our_ts_base;
    } else if (strncmp(text, "sack ", 5) == 0) {
        const char *block = text + 5;
        int used;
        while (sscanf(block, "%u:%u%n", &a, &b, &used) == 2) {
            struct tcp_sack_block *to = &options->sack_blocks[options->sack_block_count++];
            to->start = seq_of(script.our_iss + a);
            to->end = seq_of(script.our_iss + b);
            block += used;
        }
    } else if (strncmp(text, "FO", 2) == 0) {
        options->has_fast_open = true;
        for (const char *hex = text + 3; sscanf(hex, "%2x", &a) == 1; hex += 2)
            options->fast_open_cookie[options->fast_open_length++] = (uint8_t)a;
    } else if (strncmp(text, "nop", 3) != 0) {
        fail_msg("option '%s'", text);
    }
}

static void parse_segment(const char *text, struct tcp_segment *segment)
{
    unsigned start, end, length, number;
    segment->flags = parse_flags(&text);
    if (sscanf(text, " %u:%u(%u)", &start, &end, &length) != 3 || end - start != length)
        fail_msg("numbers in '%s'", text);
    segment->seq = seq_of(PEER_ISS + start);
    segment->payload_length = length;
    const char *part = strstr(text, " ack ");
    if (part && sscanf(part, " ack %u", &number) == 1)
        segment->ack = seq_of(script.our_iss + number);
    part = strstr(text, " win ");
    segment->window = part && sscanf(part, " win %u", &number) == 1 ? (uint16_t)number : 1000;
    part = strstr(text, " urg ");
    if (part && sscanf(part, " urg %u", &number) == 1)
        segment->urgent_pointer = (uint16_t)number;
    part = strchr(text, '<');
    for (; part && *part != '\0' && *part != '>'; part = strpbrk(part, ",>"))
        parse_option(++part, &segment->options);
}

void peer(const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    struct stack_rx rx = {.packet = NULL};
    rx.segment.source = endpoint(peer_v4, script.peer_port);
    rx.segment.destination = endpoint(our_v4, OUR_PORT);
    rx.segment.ecn = script.peer_ecn;
    rx.segment.gso_size = script.peer_gso_size;
    rx.segment.payload_refused = script.refuse_payload;
    parse_segment(text, &rx.segment);
    struct tcp_flow flow = {rx.segment.destination.address, rx.segment.source.address, OUR_PORT,
                            script.peer_port};
    if (script.connection && !script.connection->passive) {
        flow = script.connection->flow;
        rx.segment.destination.port = flow.local_port;
        rx.segment.source.port = flow.remote_port;
    }
    rx.connection = stack_flow_find(script.stack, &flow);
    if (rx.connection == NULL)
        rx.listener = stack_listener_find(script.stack, &flow);
    stack_receive_segment(script.stack, &rx, script.now_ns, &script.result);
    if (script.result.place_length > 0) {
        script.placed_offset = script.result.place_offset;
        script.placed_length = script.result.place_length;
    }
    pump_events();
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void print_options(const uint8_t *p, const uint8_t *end, bool with_values, char *text)
{
    const char *separator = "";
    char *at = text;
    at += sprintf(at, " <");
    while (p < end) {
        at += sprintf(at, "%s", separator);
        separator = ",";
        switch (*p) {
        case 1:
            at += sprintf(at, "nop");
            p++;
            continue;
        case 2:
            at += sprintf(at, "mss %u", (unsigned)(p[2] << 8 | p[3]));
            break;
        case 3:
            at += sprintf(at, "wscale %u", p[2]);
            break;
        case 4:
            at += sprintf(at, "sackOK");
            break;
        case 5:
            at += sprintf(at, "sack");
            for (unsigned i = 2; i < p[1]; i += 8)
                at += sprintf(at, " %u:%u", get32(p + i) - PEER_ISS, get32(p + i + 4) - PEER_ISS);
            break;
        case 8:
            if (!script.our_ts_known)
                script.our_ts_base = get32(p + 2);
            script.our_ts_known = true;
            at += sprintf(at, "TS");
            if (with_values)
                at +=
                    sprintf(at, " val %u ecr %u", get32(p + 2) - script.our_ts_base, get32(p + 6));
            break;
        case 34:
            at += sprintf(at, "FO ");
            for (unsigned i = 2; i < p[1]; i++)
                at += sprintf(at, "%02x", p[i]);
            break;
        default:
            fail_msg("option kind %u sent", *p);
        }
        p += p[1];
    }
    sprintf(at, ">");
}

static void print_frame(const struct stack_frame *frame, const char *expected, char *text)
{
    const uint8_t *tcp = frame->header + frame->l4_offset;
    static const char letters[] = "FSRP.UEW";
    char *at = text;
    uint32_t seq = get32(tcp + 4);
    script.our_ecn = tcp[-19] & 3; /* the IPv4 header's second byte */
    if ((tcp[13] & TCP_SYN) && !script.our_iss_known) {
        script.our_iss = seq;
        script.our_iss_known = true;
    }
    for (const char *order = "SFEWRPU."; *order; order++)
        if (tcp[13] >> (strchr(letters, *order) - letters) & 1)
            *at++ = *order;
    seq -= script.our_iss;
    at += sprintf(at, " %u:%u(%u)", seq, seq + frame->payload_length, frame->payload_length);
    if (tcp[13] & TCP_ACK)
        at += sprintf(at, " ack %u", get32(tcp + 8) - PEER_ISS);
    if (strstr(expected, " win "))
        at += sprintf(at, " win %u", (unsigned)(tcp[14] << 8 | tcp[15]));
    if (tcp[13] & TCP_URG)
        at += sprintf(at, " urg %u", (unsigned)(tcp[18] << 8 | tcp[19]));
    if (frame->gso_size != 0)
        at += sprintf(at, " gso %u", frame->gso_size);
    char options[256] = "";
    const uint8_t *end = tcp + (tcp[12] >> 4) * 4;
    if (tcp + 20 < end)
        print_options(tcp + 20, end, strstr(expected, "TS val"), options);
    if (strchr(expected, '<'))
        strcpy(at, options);
}

static bool next_frame(const char *expected, char *text)
{
    struct stack_frame frame;
    bool more = transmit(&frame);
    pump_events();
    if (!more)
        return false;
    if (frame.connection && frame.connection == script.connection && frame.payload_length > 0)
        assert_true(frame.stream_offset + frame.payload_length <=
                    tcp_send_end_offset(frame.connection));
    print_frame(&frame, expected, text);
    return true;
}

void ours(const char *format, ...)
{
    char text[512], expected[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(expected, sizeof(expected), format, arguments);
    va_end(arguments);
    if (!next_frame(expected, text))
        fail_msg("nothing sent, expected %s", expected);
    if (strcmp(text, expected) != 0)
        fail_msg("sent     %s\n    expected %s", text, expected);
}

void nothing(void)
{
    char text[512];
    if (next_frame(" win <TS val", text))
        fail_msg("sent %s, expected nothing", text);
}

unsigned ours_any(void)
{
    struct stack_frame frame;
    unsigned count = 0;
    while (transmit(&frame))
        count++;
    pump_events();
    return count;
}

/* ---- Time and the application -------------------------------------------------------------- */

void after_us(uint64_t us)
{
    script.now_ns += us * NS_PER_US;
    stack_advance(script.stack, script.now_ns);
    pump_events();
}

void after_ms(uint64_t ms)
{
    after_us(ms * 1000);
}

void established(void)
{
    peer("S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>");
    ours("S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK,TS val 0 ecr 100,nop,wscale 7>");
    after_ms(10);
    peer(". 1:1(0) ack 1 win 512 <nop,nop,TS val 110 ecr 0>");
    nothing();
    assert_non_null(script.connection);
    assert_int_equal(state(), TCP_STATE_ESTABLISHED);
}

void established_plain(unsigned window)
{
    peer("S 0:0(0) win %u <mss 1000>", window);
    ours("S. 0:0(0) ack 1 win 64240 <mss 1460>");
    after_ms(10);
    peer(". 1:1(0) ack 1 win %u", window);
    nothing();
    assert_non_null(script.connection);
}

void connect_begin(void)
{
    struct tcp_connect_request request = {.remote = endpoint(peer_v4, PEER_PORT)};
    request.local.address = ip_address_from_v4("\0\0\0\0");
    assert_int_equal(tcp_connect(script.stack, &request, script.now_ns, &script.connection), 0);
    tcp_set_user(script.connection, &script);
}

void connected(void)
{
    connect_begin();
    ours("S 0:0(0) win 64240 <mss 1460,sackOK,TS val 0 ecr 0,nop,wscale 7>");
    after_ms(10);
    peer("S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 500 ecr 0,nop,wscale 7>");
    ours(". 1:1(0) ack 1 win 502 <nop,nop,TS val 10 ecr 500>");
    nothing();
}

void app_send(uint64_t bytes)
{
    assert_int_equal(tcp_send(script.stack, script.connection, bytes, false, script.now_ns), 0);
    pump_events();
}

void app_send_more(uint64_t bytes)
{
    assert_int_equal(tcp_send(script.stack, script.connection, bytes, true, script.now_ns), 0);
    pump_events();
}

void app_read_all(void)
{
    tcp_consumed(script.stack, script.connection, tcp_received_offset(script.connection),
                 script.now_ns);
    pump_events();
}

void app_read(uint64_t bytes)
{
    uint64_t read = tcp_rcv_read(&script.connection->hot) - tcp_rcv_start(&script.connection->hot);
    tcp_consumed(script.stack, script.connection, read + bytes, script.now_ns);
    pump_events();
}

void app_close(void)
{
    tcp_close(script.stack, script.connection, script.now_ns);
    pump_events();
}

void app_shutdown_write(void)
{
    tcp_shutdown_write(script.stack, script.connection, script.now_ns);
    pump_events();
}

void app_abort(void)
{
    tcp_abort(script.stack, script.connection, script.now_ns);
    pump_events();
}

struct tcp_options_set app_options(void)
{
    return *tcp_get_options(script.connection);
}

void app_set_options(struct tcp_options_set options)
{
    tcp_set_options(script.stack, script.connection, &options, script.now_ns);
    pump_events();
}

uint32_t events_taken(void)
{
    uint32_t events = script.events;
    script.events = 0;
    return events;
}

struct tcp_connection_info info(void)
{
    struct tcp_connection_info info;
    tcp_get_info(script.stack, script.connection, script.now_ns, &info);
    return info;
}

unsigned state(void)
{
    return script.connection->hot.state;
}

uint64_t drops(enum drop_reason reason)
{
    return stack_get_counters(script.stack)->drops[reason];
}

uint64_t connections_now(void)
{
    return stack_get_counters(script.stack)->connections_now;
}
