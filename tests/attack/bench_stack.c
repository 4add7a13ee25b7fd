#include "bench_stack.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/time_units.h"
#include "simulation/frame.h"

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1}, gateway_mac[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t our_address[4] = {10, 0, 0, 1}, gateway_address[4] = {10, 0, 0, 2};

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

static void receive(struct bench *bench, const uint8_t *bytes, uint32_t length)
{
    struct stack_rx rx = {0};
    struct stack_rx_result result = {0};
    const struct stack_rx_hints hints = {0};
    if (stack_receive_parse(bench->stack, bytes, length, hints, bench->now_ns, &rx) == STACK_RX_TCP)
        stack_receive_segment(bench->stack, &rx, bench->now_ns, &result);
    bench_pump(bench);
}

/** Gratuitous or not: the gateway says where it is. */
static void gateway_speaks(struct bench *bench)
{
    uint8_t frame[60] = {0}, *arp = frame + 14;
    memcpy(frame, our_mac, 6);
    memcpy(frame + 6, gateway_mac, 6);
    put16(frame + 12, 0x0806);
    put16(arp, 1);
    put16(arp + 2, 0x0800);
    arp[4] = 6;
    arp[5] = 4;
    put16(arp + 6, 2);
    memcpy(arp + 8, gateway_mac, 6);
    memcpy(arp + 14, gateway_address, 4);
    memcpy(arp + 18, our_mac, 6);
    memcpy(arp + 24, our_address, 4);
    receive(bench, frame, sizeof(frame));
}

void bench_begin(struct bench *bench, uint32_t backlog)
{
    struct stack_config config;
    memset(bench, 0, sizeof(*bench));
    stack_config_init(&config);
    memcpy(config.mac, our_mac, 6);
    config.mtu = 1500;
    config.prefix_count = 1;
    config.prefixes[0].address = ip_address_from_v4(our_address);
    config.prefixes[0].prefix_length = 96 + 24;
    config.has_gateway_v4 = true;
    config.gateway_v4 = ip_address_from_v4(gateway_address);
    config.connections_max = 1024;
    config.listeners_max = 4;
    config.fragments_bytes_max = 256 * 1024;
    config.core_count = 1;
    config.random_seed = 7;
    memset(config.secret, 0x5c, sizeof(config.secret));
    bench->now_ns = 1000 * NS_PER_S;
    size_t bytes = (stack_memory_bytes(&config) + 63) / 64 * 64;
    bench->memory = aligned_alloc(64, bytes);
    PNO_ASSERT(bench->memory != NULL);
    memset(bench->memory, 0, bytes);
    bench->stack = stack_create(bench->memory, &config, bench->now_ns);
    PNO_ASSERT(bench->stack != NULL);
    struct tcp_listen_request request = {.backlog = backlog};
    request.local.address = ip_address_from_v4((const uint8_t[4]){0});
    request.local.port = BENCH_PORT;
    PNO_ASSERT(tcp_listen(bench->stack, &request, &bench->listener) == 0);
    /* A first segment for nobody makes it look for its gateway, which answers. */
    struct peer stranger = {.address = 0x0a010101, .port = 9, .seq = 1};
    bench_segment(bench, &stranger, TCP_ACK, NULL, 0, 0);
    gateway_speaks(bench);
    bench_forget(bench);
}

void bench_end(struct bench *bench)
{
    stack_check(bench->stack);
    free(bench->memory);
}

void bench_forget(struct bench *bench)
{
    bench->frames_out = bench->tcp_out = bench->payload_out = 0;
    bench->smallest_payload = UINT32_MAX;
}

static void note_frame(struct bench *bench, const struct stack_frame *out)
{
    bench->frames_out++;
    if (out->header[12] != 0x08 || out->header[13] != 0 || out->header[out->l3_offset + 9] != 6)
        return;
    const uint8_t *tcp = out->header + out->l4_offset;
    bench->tcp_out++;
    bench->payload_out += out->payload_length;
    if (out->payload_length != 0 && out->payload_length < bench->smallest_payload)
        bench->smallest_payload = out->payload_length;
    bench->last_flags = tcp[13];
    bench->last_seq =
        (uint32_t)tcp[4] << 24 | (uint32_t)tcp[5] << 16 | (uint32_t)tcp[6] << 8 | tcp[7];
    bench->last_ack =
        (uint32_t)tcp[8] << 24 | (uint32_t)tcp[9] << 16 | (uint32_t)tcp[10] << 8 | tcp[11];
}

void bench_pump(struct bench *bench)
{
    struct stack_event event;
    struct stack_frame out;
    bool busy = true;
    while (busy) {
        busy = false;
        while (stack_next_event(bench->stack, &event)) {
            struct tcp_connection *connection;
            while (event.listener != NULL &&
                   (connection = tcp_listener_next(event.listener)) != NULL) {
                tcp_listener_taken(event.listener);
                bench->accepted = connection;
                bench->accepts++;
            }
            bench->errors += (event.bits & STACK_EVENT_ERROR) != 0;
            busy = true;
        }
        while (stack_transmit(bench->stack, bench->now_ns, 0, &out)) {
            note_frame(bench, &out);
            busy = true;
        }
    }
}

void bench_pass(struct bench *bench, uint64_t ns)
{
    uint64_t end_ns = bench->now_ns + ns;
    while (stack_next_deadline(bench->stack) <= end_ns) {
        uint64_t deadline_ns = stack_next_deadline(bench->stack);
        if (deadline_ns > bench->now_ns)
            bench->now_ns = deadline_ns;
        stack_advance(bench->stack, bench->now_ns);
        bench_pump(bench);
    }
    bench->now_ns = end_ns;
    stack_advance(bench->stack, bench->now_ns);
    bench_pump(bench);
}

/** Ethernet and IPv4. @return where its payload goes. */
static uint8_t *put_ip(uint8_t *bytes, const struct peer *peer, uint32_t length, uint16_t id,
                       uint16_t fragment)
{
    uint8_t *ip = bytes + 14;
    memcpy(bytes, our_mac, 6);
    memcpy(bytes + 6, gateway_mac, 6);
    put16(bytes + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, 20 + length);
    put16(ip + 4, id);
    put16(ip + 6, fragment);
    ip[8] = 64;
    ip[9] = 6;
    put32(ip + 12, peer->address);
    memcpy(ip + 16, our_address, 4);
    put16(ip + 10, (uint16_t)~frame_sum_fold(frame_sum(ip, 20, 0)));
    return ip + 20;
}

static void put_tcp(uint8_t *tcp, const struct peer *peer, uint8_t flags, uint32_t options_length)
{
    put16(tcp, peer->port);
    put16(tcp + 2, BENCH_PORT);
    put32(tcp + 4, peer->seq);
    put32(tcp + 8, (flags & TCP_ACK) != 0 ? peer->ack : 0);
    tcp[12] = (uint8_t)((20 + options_length) / 4 << 4);
    tcp[13] = flags;
    put16(tcp + 14, peer->window);
}

void bench_segment(struct bench *bench, const struct peer *peer, uint8_t flags,
                   const uint8_t *options, uint32_t options_length, uint32_t payload_length)
{
    static uint8_t bytes[2048];
    uint32_t length = 20 + options_length + payload_length;
    PNO_ASSERT(34 + length <= sizeof(bytes) && options_length % 4 == 0);
    memset(bytes, 0, 34 + length);
    uint8_t *tcp = put_ip(bytes, peer, length, 0, 0x4000);
    put_tcp(tcp, peer, flags, options_length);
    if (options_length != 0)
        memcpy(tcp + 20, options, options_length);
    const struct frame_view view = {.l3_offset = 14, .l4_offset = 34};
    frame_finish_tcp(bytes, 34 + length, &view);
    receive(bench, bytes, 34 + length);
}

void bench_fragment(struct bench *bench, const struct peer *peer, uint16_t id, uint16_t offset,
                    uint16_t length, bool more)
{
    static uint8_t bytes[2048];
    PNO_ASSERT(34u + length <= sizeof(bytes) && offset % 8 == 0);
    memset(bytes, 0, 34u + length);
    uint8_t *payload =
        put_ip(bytes, peer, length, id, (uint16_t)(offset / 8 | (more ? 0x2000 : 0)));
    if (offset == 0 && length >= 20)
        put_tcp(payload, peer, TCP_ACK, 0);
    receive(bench, bytes, 34u + length);
}

void bench_connect(struct bench *bench, struct peer *peer, const uint8_t *options,
                   uint32_t options_length)
{
    unsigned before = bench->accepts;
    bench_segment(bench, peer, TCP_SYN, options, options_length, 0);
    PNO_ASSERT(bench->last_flags == (TCP_SYN | TCP_ACK) && bench->last_ack == peer->seq + 1);
    peer->seq++;
    peer->ack = bench->last_seq + 1;
    bench_segment(bench, peer, TCP_ACK, NULL, 0, 0);
    PNO_ASSERT(bench->accepts == before + 1);
}

uint64_t bench_drops(const struct bench *bench)
{
    const struct stack_counters *counters = stack_get_counters(bench->stack);
    uint64_t drops = 0;
    for (unsigned i = 1; i < DROP_REASON_COUNT; i++)
        drops += counters->drops[i];
    return drops;
}

uint64_t bench_cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}
