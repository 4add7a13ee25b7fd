#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/time_units.h"

static struct ip_address address_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    const uint8_t bytes[4] = {a, b, c, d};
    return ip_address_from_v4(bytes);
}

static struct ip_address address_v6(const uint8_t prefix[8], uint8_t last)
{
    uint8_t bytes[16] = {0};
    memcpy(bytes, prefix, 8);
    bytes[15] = last;
    return ip_address_from_v6(bytes);
}

void machine_init(struct machine *machine)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    static const uint8_t local_v6[8] = {0xfd, 0x3d, 0xfa, 0x7b, 0xd1, 0x7d, 0x88, 0x88};
    static const uint8_t remote_v6[8] = {0x20, 0x01, 0x0d, 0xb8};
    struct stack_config *c = &machine->config;
    stack_config_init(c);
    memcpy(c->mac, mac, sizeof(mac));
    c->prefix_count = 2;
    c->prefixes[0].address = address_v4(192, 168, 0, 1);
    c->prefixes[0].prefix_length = 96 + 16;
    c->prefixes[1].address = address_v6(local_v6, 1);
    c->prefixes[1].prefix_length = 64;
    c->has_gateway_v4 = c->has_gateway_v6 = true;
    c->gateway_v4 = address_v4(192, 168, 0, 2);
    c->gateway_v6 = address_v6(local_v6, 2);
    c->connections_max = 256;
    c->listeners_max = 8;
    c->fragments_bytes_max = 65536;
    c->core_count = 1;
    for (unsigned i = 0; i < sizeof(c->secret); i++)
        c->secret[i] = (uint8_t)(17 * i + 3);
    c->random_seed = 1;
    machine->mtu = 1500;
    machine->bind_port = machine->connect_port = MACHINE_PORT;
    machine->notsent_lowat = UINT32_MAX;
    machine->call_deadline_ns = TIME_NEVER;
    machine->local = c->prefixes[0].address;
    machine->remote = machine->is_ipv6 ? address_v6(remote_v6, 1) : address_v4(192, 0, 2, 1);
    if (machine->is_ipv6)
        machine->local = c->prefixes[1].address;
    machine->tolerance_ns = 4 * NS_PER_MS;
    machine->tolerance_percent = 12.5;
    machine->start_ns = machine->now_ns = 1000 * NS_PER_S;
    machine->sent_tail = &machine->sent;
}

/** Whoever is beyond the gateway does not matter, only that it is on our link and not ourselves. */
static struct ip_address gateway_beside(const struct machine *machine)
{
    struct ip_address gateway = machine->local;
    do {
        gateway.bytes[15]++;
    } while (ip_address_equal(&gateway, &machine->remote));
    return gateway;
}

/** As the kernel's tun device allocates what is written to it: as much as fits a page in one piece
    with the header, the rest in pages. */
static uint32_t tun_memory(uint32_t payload)
{
    const uint32_t sk_buff = 256, shared_info = 320, headroom = 64, page = 4096;
    uint32_t packet = payload + 20 + 20, linear = packet, frags = 0;
    if (headroom + packet >= page) {
        linear = page - shared_info - headroom;
        frags = (packet - linear + page - 1) / page * page;
    }
    uint32_t head = 512;
    while (head < (headroom + linear + 63) / 64 * 64 + shared_info)
        head *= 2;
    return sk_buff + head + frags;
}

/** Linux's tcp_rmem up to 6.16, and what windows are scaled by then. Later kernels let buffers grow
    to 32 MiB: a script that does not set it shows what it was written for. */
#define RECEIVE_BUFFER_MAX_USUAL (6u * 1024 * 1024)
#define WINDOW_SCALE_USUAL       7

int machine_start(struct machine *machine, unsigned line)
{
    if (machine->stack != NULL)
        return 0;
    if (machine->is_ipv6)
        machine->config.gateway_v6 = gateway_beside(machine);
    else
        machine->config.gateway_v4 = gateway_beside(machine);
    machine->config.mtu = machine->mtu;
    machine->config.receive_memory = tun_memory;
    if (machine->config.tcp.receive_buffer_max == RECEIVE_BUFFER_MAX_USUAL &&
        machine->window_scale > WINDOW_SCALE_USUAL)
        machine->config.tcp.receive_buffer_max = UINT32_C(1) << (machine->window_scale + 15);
    size_t bytes = (stack_memory_bytes(&machine->config) + 63) / 64 * 64;
    machine->memory = bytes == 0 ? NULL : aligned_alloc(64, bytes);
    if (machine->memory != NULL) {
        memset(machine->memory, 0, bytes);
        machine->stack = stack_create(machine->memory, &machine->config, machine->now_ns);
    }
    if (machine->stack == NULL) {
        script_error_set(machine->problem, line, "the stack refuses this configuration");
        return -1;
    }
    machine_pump(machine);
    return 0;
}

void machine_free(struct machine *machine)
{
    while (machine->sent != NULL) {
        struct live_frame *live = machine->sent;
        machine->sent = live->next;
        free(live->frame);
        free(live);
    }
    free(machine->memory);
    free(machine->code);
}

/* ---- The far end of the wire -------------------------------------------------------------- */

static const uint8_t gateway_mac[6] = {2, 0, 0, 0, 0, 2};

static void answer_arp(struct machine *machine, const struct frame *request)
{
    const uint8_t *arp = request->bytes + 14;
    if (arp[7] != 1 || memcmp(arp + 14, arp + 24, 4) == 0)
        return; /* an announcement */
    struct frame *reply = frame_new(60);
    uint8_t *out = reply->bytes + 14;
    memcpy(reply->bytes, request->bytes + 6, 6);
    memcpy(reply->bytes + 6, gateway_mac, 6);
    memcpy(reply->bytes + 12, request->bytes + 12, 2);
    memcpy(out, arp, 8);
    out[7] = 2;
    memcpy(out + 8, gateway_mac, 6);
    memcpy(out + 14, arp + 24, 4);
    memcpy(out + 18, arp + 8, 10);
    machine_inject(machine, reply);
    free(reply);
}

static void answer_solicitation(struct machine *machine, const struct frame *request,
                                const struct frame_view *view)
{
    const uint8_t *target = request->bytes + view->l4_offset + 8;
    struct frame *reply = frame_new(14 + 40 + 32);
    uint8_t *ip = reply->bytes + 14, *message = ip + 40;
    memcpy(reply->bytes, request->bytes + 6, 6);
    memcpy(reply->bytes + 6, gateway_mac, 6);
    reply->bytes[12] = 0x86;
    reply->bytes[13] = 0xdd;
    ip[0] = 0x60;
    ip[5] = 32;
    ip[6] = 58;
    ip[7] = 255;
    memcpy(ip + 8, target, 16);
    memcpy(ip + 24, view->source.bytes, 16);
    message[0] = 136;
    message[4] = 0x60; /* solicited, override */
    memcpy(message + 8, target, 16);
    message[24] = 2;
    message[25] = 1;
    memcpy(message + 26, gateway_mac, 6);
    uint16_t sum = frame_sum_fold(frame_sum(message, 32, frame_sum(ip + 8, 32, 32 + 58)));
    message[2] = (uint8_t)(~sum >> 8);
    message[3] = (uint8_t)~sum;
    machine_inject(machine, reply);
    free(reply);
}

static struct frame *build(const struct stack_frame *out)
{
    struct frame *frame = frame_new(out->header_length + out->payload_length);
    memcpy(frame->bytes, out->header, out->header_length);
    if (out->payload != NULL && out->payload_length != 0)
        memcpy(frame->bytes + out->header_length, out->payload, out->payload_length);
    if (out->l4_checksum_partial)
        stack_frame_finish_checksum(out, frame->bytes);
    return frame;
}

/** Until the script asks about it. */
static void keep_sent(struct machine *machine, struct frame *frame, bool in_burst)
{
    struct live_frame *live = calloc(1, sizeof(*live));
    if (live == NULL)
        abort();
    live->time_ns = machine->now_ns;
    live->in_burst = in_burst;
    live->frame = frame;
    *machine->sent_tail = live;
    machine->sent_tail = &live->next;
}

/** Neighbours are answered at once; the rest waits for the script to ask. */
static void handle_sent(struct machine *machine, struct frame *frame)
{
    struct frame_view view;
    frame_parse(frame->bytes, frame->length, &view);
    if (view.kind == FRAME_ARP) {
        answer_arp(machine, frame);
    } else if (view.kind == FRAME_ICMPV6 && view.icmp_type >= 133 && view.icmp_type <= 137) {
        if (view.icmp_type == 135)
            answer_solicitation(machine, frame, &view);
    } else {
        keep_sent(machine, frame, false);
        return;
    }
    free(frame);
}

/** What a port does with several segments handed over as one. */
static void handle_burst(struct machine *machine, struct frame *frame, uint16_t gso_size)
{
    struct frame_view view;
    frame_parse(frame->bytes, frame->length, &view);
    while (view.payload_length > gso_size) {
        struct frame *first, *rest;
        frame_split_tcp(frame, &view, gso_size, &first, &rest);
        free(frame);
        frame = rest;
        keep_sent(machine, first, true);
        frame_parse(frame->bytes, frame->length, &view);
    }
    frame_finish_tcp(frame->bytes, frame->length, &view);
    keep_sent(machine, frame, false);
}

#define GSO_BYTES_MAX 65000

void machine_pump(struct machine *machine)
{
    struct stack_event event;
    struct stack_frame out;
    bool busy = true;
    while (busy) {
        busy = false;
        while (stack_next_event(machine->stack, &event)) {
            machine_socket_event(machine, &event);
            busy = true;
        }
        while (!machine->egress_blocked &&
               stack_transmit(machine->stack, machine->now_ns, GSO_BYTES_MAX, &out)) {
            struct frame *frame = build(&out);
            if (out.connection != NULL && out.payload_length != 0)
                machine_sent_payload(machine, out.connection,
                                     out.stream_offset + out.payload_length);
            if (out.gso_size != 0 && out.payload_length > out.gso_size)
                handle_burst(machine, frame, out.gso_size);
            else
                handle_sent(machine, frame);
            if (out.payload_length != 0)
                machine->payload_sent_ns = machine->now_ns;
            busy = true;
        }
    }
    stack_check(machine->stack);
}

void machine_inject(struct machine *machine, const struct frame *frame)
{
    struct stack_rx rx = {0};
    struct stack_rx_result result = {0};
    struct stack_rx_hints hints = {.gso_size = machine->inbound_mss};
    /* What this sends goes later than what went before: that decides what is lost. */
    if (machine->payload_sent_ns == machine->now_ns)
        machine->now_ns += NS_PER_US;
    if (stack_receive_parse(machine->stack, frame->bytes, frame->length, hints, machine->now_ns,
                            &rx) == STACK_RX_TCP)
        stack_receive_segment(machine->stack, &rx, machine->now_ns, &result);
}

bool machine_step(struct machine *machine, uint64_t time_ns)
{
    uint64_t deadline_ns = stack_next_deadline(machine->stack);
    if (machine->call_deadline_ns < deadline_ns && machine->call_deadline_ns > machine->now_ns)
        deadline_ns = machine->call_deadline_ns;
    if (deadline_ns > time_ns) {
        if (time_ns > machine->now_ns && time_ns != TIME_NEVER)
            machine->now_ns = time_ns;
        return false;
    }
    if (deadline_ns > machine->now_ns)
        machine->now_ns = deadline_ns;
    stack_advance(machine->stack, machine->now_ns);
    machine_pump(machine);
    return true;
}

void machine_run_until(struct machine *machine, uint64_t time_ns)
{
    while (machine_step(machine, time_ns)) {
    }
}
