/* The peer: what it knows of each connection, and the segments it makes from that. */
#include <stdlib.h>
#include <string.h>

#include "core/tcp/connection.h"
#include "live.h"

#define L4_OFFSET_MAX (14 + 40)

/** A segment as the peer builds it. */
struct draft {
    uint16_t source_port, destination_port;
    uint32_t seq, ack;
    uint8_t flags, how;
    uint16_t window, urgent;
    uint32_t payload_length;
    uint32_t options_length;
    uint8_t options[TCP_OPTIONS_MAX];
};

uint8_t live_take(struct live *live)
{
    if (live->left == 0)
        return 0;
    live->left--;
    return *live->input++;
}

uint32_t live_take_word(struct live *live)
{
    uint32_t value = live_take(live);
    return value << 8 | live_take(live);
}

uint32_t live_take_offset(struct live *live)
{
    uint8_t kind = live_take(live);
    if (kind < 128)
        return 0;
    if (kind < 176)
        return (uint32_t)(int32_t)(int8_t)live_take(live);
    if (kind < 208)
        return 1000 * (uint32_t)(int32_t)(int8_t)live_take(live);
    if (kind < 224)
        return live_take_word(live);
    if (kind < 240)
        return 0u - live_take_word(live);
    return live_take_word(live) << 16 | live_take_word(live);
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

/* ---- Knowledge ------------------------------------------------------------------------------ */

static struct live_flow *flow_of(struct live *live, uint16_t local_port, uint16_t peer_port)
{
    for (unsigned i = 0; i < LIVE_FLOWS; i++)
        if (live->flows[i].used && live->flows[i].local_port == local_port &&
            live->flows[i].peer_port == peer_port)
            return &live->flows[i];
    struct live_flow *flow = &live->flows[live->flow_next++ % LIVE_FLOWS];
    *flow = (struct live_flow){.used = true, .local_port = local_port, .peer_port = peer_port};
    return flow;
}

static void learn_syn(struct live *live, struct live_flow *flow, const struct frame_view *view)
{
    bool accepted = (view->flags & TCP_ACK) != 0;
    flow->scale = view->options.has_window_scale ? view->options.window_scale & 15 : 0;
    flow->timestamps = view->options.has_timestamps;
    if (flow->record_count == 0 || flow->iss != view->seq) {
        flow->iss = flow->acked = flow->sent = view->seq;
        flow->record_count = 0;
    }
    if (!accepted)
        flow->next = (uint32_t)flow->peer_port << 12 ^ view->seq; /* some number of our own */
    if (view->options.has_fast_open && view->options.fast_open_length != 0) {
        live->cookie_length = view->options.fast_open_length;
        memcpy(live->cookie, view->options.fast_open_cookie, sizeof(live->cookie));
    }
}

void live_peer_learn(struct live *live, const struct frame_view *view)
{
    if ((view->flags & TCP_RST) != 0)
        return;
    struct live_flow *flow = flow_of(live, view->source_port, view->destination_port);
    if ((view->flags & TCP_SYN) != 0)
        learn_syn(live, flow, view);
    uint32_t length =
        view->payload_length + ((view->flags & TCP_SYN) != 0) + ((view->flags & TCP_FIN) != 0);
    if (length != 0) {
        flow->records[flow->record_count % LIVE_RECORDS].seq = view->seq;
        flow->records[flow->record_count++ % LIVE_RECORDS].length = length;
    }
    if ((int32_t)(view->seq + length - flow->sent) > 0)
        flow->sent = view->seq + length;
    if (view->options.has_timestamps)
        flow->timestamp = view->options.timestamp_value;
    if ((view->flags & TCP_ACK) == 0)
        return;
    uint32_t scale = (view->flags & TCP_SYN) != 0 ? 0 : flow->scale;
    flow->expected = view->ack;
    flow->edge = view->ack + ((uint32_t)view->window << scale);
    if ((int32_t)(view->ack - flow->next) > 0)
        flow->next = view->ack;
}

/* ---- Frames --------------------------------------------------------------------------------- */

static uint32_t put_ip(const struct live *live, uint8_t *bytes, uint8_t protocol, uint8_t ecn,
                       uint32_t l4_length)
{
    static const uint8_t ours[6] = {2, 0, 0, 0, 0, 1}, theirs[6] = {2, 0, 0, 0, 0, 2};
    struct ip_address source = live_address(live->is_ipv6, 2);
    struct ip_address destination = live_address(live->is_ipv6, 1);
    uint8_t *ip = bytes + 14;
    memcpy(bytes, ours, 6);
    memcpy(bytes + 6, theirs, 6);
    if (live->is_ipv6) {
        put16(bytes + 12, 0x86dd);
        put32(ip, 0x60000000u | (uint32_t)ecn << 20);
        put16(ip + 4, l4_length);
        ip[6] = protocol;
        ip[7] = 255;
        memcpy(ip + 8, source.bytes, 16);
        memcpy(ip + 24, destination.bytes, 16);
        return 14 + 40;
    }
    put16(bytes + 12, 0x0800);
    ip[0] = 0x45;
    ip[1] = ecn;
    put16(ip + 2, 20 + l4_length);
    ip[8] = 64;
    ip[9] = protocol;
    memcpy(ip + 12, &source.bytes[12], 4);
    memcpy(ip + 16, &destination.bytes[12], 4);
    put16(ip + 10, (uint16_t)~frame_sum_fold(frame_sum(ip, 20, 0)));
    return 14 + 20;
}

static void keep(struct live *live, const struct frame *frame)
{
    struct frame **place = &live->kept[live->kept_next++ % LIVE_KEPT];
    free(*place);
    *place = frame_copy(frame);
}

static void deliver(struct live *live, struct frame *frame, uint8_t how)
{
    keep(live, frame);
    if ((how & LIVE_HOW_CORRUPT) != 0)
        frame->bytes[14 + live_take(live) % (frame->length - 14)] ^=
            (uint8_t)(1 + live_take(live) % 255);
    if ((how & LIVE_HOW_HELD) != 0) {
        free(frame);
        return;
    }
    if ((how & LIVE_HOW_FRAGMENTED) != 0) {
        struct frame *list =
            frame_fragment(frame, 8u + live_take(live) * 8u, live->kept_next * 65537u);
        uint8_t lost = live_take(live);
        while (list != NULL) {
            struct frame *next = list->next;
            if (lost-- != 1)
                live_receive(live, list, how);
            free(list);
            list = next;
        }
        free(frame);
        return;
    }
    live_receive(live, frame, how);
    free(frame);
}

static void deliver_draft(struct live *live, const struct draft *draft)
{
    uint32_t header = 20 + draft->options_length;
    uint32_t l4 = live->is_ipv6 ? 14 + 40 : 14 + 20;
    struct frame *frame = frame_new(l4 + header + draft->payload_length);
    put_ip(live, frame->bytes, 6, draft->how >> 4 & 3, header + draft->payload_length);
    uint8_t *tcp = frame->bytes + l4;
    put16(tcp, draft->source_port);
    put16(tcp + 2, draft->destination_port);
    put32(tcp + 4, draft->seq);
    put32(tcp + 8, draft->ack);
    tcp[12] = (uint8_t)(header / 4 << 4);
    tcp[13] = draft->flags;
    put16(tcp + 14, draft->window);
    put16(tcp + 18, draft->urgent);
    memcpy(tcp + 20, draft->options, draft->options_length);
    uint32_t first = draft->seq + ((draft->flags & TCP_SYN) != 0);
    for (uint32_t i = 0; i < draft->payload_length; i++)
        tcp[header + i] = live_byte(draft->source_port, draft->destination_port, first + i);
    struct frame_view view = {.is_ipv6 = live->is_ipv6, .l3_offset = 14, .l4_offset = l4};
    frame_finish_tcp(frame->bytes, frame->length, &view);
    deliver(live, frame, draft->how);
}

/* ---- Drafts --------------------------------------------------------------------------------- */

static struct live_flow *take_flow(struct live *live)
{
    struct live_flow *flow = &live->flows[live_take(live) % LIVE_FLOWS];
    for (unsigned i = 0; i < LIVE_FLOWS && !flow->used; i++)
        flow = &live->flows[i];
    return flow;
}

static uint32_t peer_clock(const struct live *live)
{
    return (uint32_t)(live->now_ns / NS_PER_MS);
}

static void add_timestamps(const struct live *live, const struct live_flow *flow,
                           struct draft *draft)
{
    uint8_t *p = draft->options + draft->options_length;
    if (!flow->timestamps || (draft->how & LIVE_HOW_NO_TIMESTAMP) != 0)
        return;
    put32(p, 0x0101080a);
    put32(p + 4, peer_clock(live));
    put32(p + 8, flow->timestamp);
    draft->options_length += 12;
}

/** In order, all acknowledged. */
static struct draft right_draft(struct live *live, struct live_flow *flow, uint8_t how)
{
    struct draft draft = {.source_port = flow->peer_port,
                          .destination_port = flow->local_port,
                          .seq = flow->next,
                          .ack = flow->sent,
                          .flags = TCP_ACK,
                          .how = how,
                          .window = 65535};
    add_timestamps(live, flow, &draft);
    return draft;
}

static void add_sack_block(struct draft *draft, uint32_t start, uint32_t end)
{
    uint8_t *sack = NULL;
    for (uint32_t i = 0; i + 3 < draft->options_length && sack == NULL; i += 4)
        if (draft->options[i] == 1 && draft->options[i + 1] == 1 && draft->options[i + 2] == 5)
            sack = draft->options + i;
    if (draft->options_length + (sack == NULL ? 12u : 8u) > TCP_OPTIONS_MAX)
        return;
    if (sack == NULL) {
        sack = draft->options + draft->options_length;
        put32(sack, 0x01010502);
        draft->options_length += 4;
    }
    sack[3] = (uint8_t)(sack[3] + 8);
    put32(draft->options + draft->options_length, start);
    put32(draft->options + draft->options_length + 4, end);
    draft->options_length += 8;
}

static uint32_t take_seq(struct live *live, const struct live_flow *flow)
{
    const uint32_t bases[] = {flow->next, flow->expected, flow->edge, flow->expected - 1};
    uint32_t base = bases[live_take(live) % 4];
    return base + live_take_offset(live);
}

static uint32_t take_ack(struct live *live, const struct live_flow *flow)
{
    uint8_t which = live_take(live);
    const uint32_t bases[] = {flow->sent, flow->acked, flow->sent + 1};
    uint32_t base = bases[which % 3];
    if (which >= 128 && flow->record_count != 0) {
        unsigned i = which % LIVE_RECORDS % flow->record_count;
        base = flow->records[i].seq + flow->records[i].length;
    }
    return base + live_take_offset(live);
}

static void note_sent(struct live_flow *flow, const struct draft *draft)
{
    uint32_t end = draft->seq + draft->payload_length + ((draft->flags & TCP_FIN) != 0) +
                   ((draft->flags & TCP_SYN) != 0);
    if ((draft->how & LIVE_HOW_CORRUPT) == 0 && draft->seq == flow->next)
        flow->next = end;
    if ((draft->flags & TCP_ACK) != 0 && (int32_t)(draft->ack - flow->acked) > 0 &&
        (int32_t)(draft->ack - flow->sent) <= 0)
        flow->acked = draft->ack;
}

static void send_segment(struct live *live)
{
    struct live_flow *flow = take_flow(live);
    uint8_t how = live_take(live);
    struct draft draft = right_draft(live, flow, how);
    draft.flags = live_take(live);
    draft.seq = take_seq(live, flow);
    draft.ack = take_ack(live, flow);
    draft.window = (uint16_t)live_take_word(live);
    draft.payload_length = live_take_word(live) % LIVE_PAYLOAD_MAX;
    uint8_t bend = live_take(live);
    if ((bend & 1) != 0 && draft.options_length >= 12)
        put32(draft.options + 4, peer_clock(live) + live_take_offset(live));
    if ((bend & 2) != 0 && draft.options_length >= 12)
        put32(draft.options + 8, flow->timestamp + live_take_offset(live));
    if ((bend & 4) != 0) {
        uint32_t start = flow->acked + live_take_offset(live);
        add_sack_block(&draft, start, start + live_take_offset(live));
    }
    if ((draft.flags & TCP_URG) != 0)
        draft.urgent = (uint16_t)live_take_word(live);
    note_sent(flow, &draft);
    deliver_draft(live, &draft);
}

static void send_right(struct live *live, bool with_data)
{
    struct live_flow *flow = take_flow(live);
    uint8_t how = live_take(live);
    struct draft draft = right_draft(live, flow, how);
    if (with_data) {
        draft.payload_length = live_take_word(live) % LIVE_PAYLOAD_MAX;
        draft.flags |= TCP_PSH;
    } else {
        draft.window = (uint16_t)live_take_word(live);
    }
    if ((how & LIVE_HOW_FIN) != 0)
        draft.flags |= TCP_FIN;
    note_sent(flow, &draft);
    deliver_draft(live, &draft);
}

static void send_sack(struct live *live)
{
    struct live_flow *flow = take_flow(live);
    uint8_t how = live_take(live);
    struct draft draft = right_draft(live, flow, how);
    unsigned blocks = live_take(live) % 5;
    draft.ack = flow->acked;
    for (unsigned i = 0; i < blocks; i++) {
        uint8_t which = live_take(live), bend = live_take(live);
        if (flow->record_count == 0)
            break;
        unsigned n = which % LIVE_RECORDS;
        if (n >= flow->record_count)
            n = 0;
        uint32_t start = flow->records[n].seq, end = start + flow->records[n].length;
        if ((bend & 1) != 0)
            start += live_take_offset(live);
        if ((bend & 2) != 0)
            end += live_take_offset(live);
        add_sack_block(&draft, start, end);
    }
    deliver_draft(live, &draft);
}

static void add_option(struct draft *draft, const uint8_t *bytes, uint8_t length)
{
    if (draft->options_length + length <= TCP_OPTIONS_MAX) {
        memcpy(draft->options + draft->options_length, bytes, length);
        draft->options_length += length;
    }
}

static void add_fast_open(struct live *live, struct draft *draft, uint8_t kind)
{
    uint8_t option[20] = {34, 2};
    uint8_t length = kind % 4 == 1 ? 0 : kind % 4 == 2 ? live->cookie_length : kind / 4 % 17;
    option[1] = (uint8_t)(2 + length);
    memcpy(option + 2, live->cookie, length > 16 ? 16 : length);
    add_option(draft, option, option[1]);
}

static void send_syn(struct live *live)
{
    uint8_t which = live_take(live), how = live_take(live), options = live_take(live);
    uint16_t peer_port = (uint16_t)(1000 + which % LIVE_FLOWS);
    bool again = (options & 0x40) != 0;
    struct live_flow *flow = again ? take_flow(live) : flow_of(live, LIVE_LISTEN_PORT, peer_port);
    struct draft draft = {.source_port = flow->peer_port,
                          .destination_port = flow->local_port,
                          .seq = flow->next + (uint32_t)which * 65537,
                          .flags = TCP_SYN,
                          .how = how,
                          .window = 65535};
    uint16_t mss = (uint16_t)live_take_word(live);
    uint8_t scale = live_take(live), fast_open = live_take(live);
    if ((options & 1) != 0)
        add_option(&draft, (uint8_t[]){2, 4, (uint8_t)(mss >> 8), (uint8_t)mss}, 4);
    if ((options & 2) != 0)
        add_option(&draft, (uint8_t[]){1, 1, 4, 2}, 4);
    if ((options & 4) != 0)
        add_option(&draft, (uint8_t[]){1, 3, 3, scale}, 4);
    flow->timestamps = (options & 8) != 0;
    if (fast_open != 0)
        add_fast_open(live, &draft, fast_open);
    while (draft.options_length % 4 != 0)
        draft.options[draft.options_length++] = 1;
    if (draft.options_length <= TCP_OPTIONS_MAX - 12)
        add_timestamps(live, flow, &draft);
    if ((options & 0x10) != 0)
        draft.payload_length = mss % 1400;
    if ((options & 0x20) != 0)
        draft.flags |= TCP_ECE | TCP_CWR;
    if ((options & 0x80) != 0) {
        draft.flags |= TCP_ACK;
        draft.ack = flow->sent;
    }
    flow->next = draft.seq + 1;
    deliver_draft(live, &draft);
}

/** An error of any type and code, quoting a segment of a flow; IPv6 too. */
static void send_icmp(struct live *live)
{
    const struct live_flow *flow = take_flow(live);
    uint32_t quoted_ip = live->is_ipv6 ? 40 : 20, length = 8 + quoted_ip + 20;
    struct frame *frame = frame_new(L4_OFFSET_MAX + length);
    uint32_t l4 = put_ip(live, frame->bytes, live->is_ipv6 ? 58 : 1, 0, length);
    uint8_t *message = frame->bytes + l4, *quote = message + 8;
    struct ip_address us = live_address(live->is_ipv6, 1), peer = live_address(live->is_ipv6, 2);
    frame->length = l4 + length;
    quote[0] = live->is_ipv6 ? 0x60 : 0x45;
    quote[live->is_ipv6 ? 6 : 9] = 6;
    put16(quote + (live->is_ipv6 ? 4 : 2), live->is_ipv6 ? 20 : 40);
    if (live->is_ipv6) {
        memcpy(quote + 8, us.bytes, 16);
        memcpy(quote + 24, peer.bytes, 16);
    } else {
        memcpy(quote + 12, &us.bytes[12], 4);
        memcpy(quote + 16, &peer.bytes[12], 4);
    }
    message[0] = live_take(live);
    message[1] = live_take(live);
    put32(message + 4, live_take_word(live));
    put16(quote + quoted_ip, flow->local_port);
    put16(quote + quoted_ip + 2, flow->peer_port);
    put32(quote + quoted_ip + 4, flow->acked + live_take_offset(live));
    uint64_t sum = live->is_ipv6 ? frame_sum(frame->bytes + 22, 32, 0) + length + 58 : 0;
    put16(message + 2, (uint16_t)~frame_sum_fold(frame_sum(message, length, sum)));
    deliver(live, frame, 0);
}

static void send_again(struct live *live)
{
    const struct frame *kept = live->kept[live_take(live) % LIVE_KEPT];
    if (kept == NULL)
        return;
    struct frame *copy = frame_copy(kept);
    live_receive(live, copy, 0);
    free(copy);
}

/** The input's own bytes as a TCP header, ports, numbers and checksum put right. */
static void send_raw(struct live *live)
{
    const struct live_flow *flow = take_flow(live);
    uint32_t length = 20 + live_take(live);
    uint32_t seq = flow->next + live_take(live) % 2;
    struct frame *frame = frame_new(L4_OFFSET_MAX + length);
    uint32_t l4 = put_ip(live, frame->bytes, 6, 0, length);
    uint8_t *tcp = frame->bytes + l4;
    frame->length = l4 + length;
    for (uint32_t i = 12; i < length; i++)
        tcp[i] = live_take(live);
    put16(tcp, flow->peer_port);
    put16(tcp + 2, flow->local_port);
    put32(tcp + 4, seq);
    put32(tcp + 8, flow->sent);
    uint32_t header = (uint32_t)(tcp[12] >> 4) * 4;
    uint32_t first = seq + ((tcp[13] & TCP_SYN) != 0);
    for (uint32_t i = header; header >= 20 && i < length; i++)
        tcp[i] = live_byte(flow->peer_port, flow->local_port, first + (i - header));
    struct frame_view view = {.is_ipv6 = live->is_ipv6, .l3_offset = 14, .l4_offset = l4};
    frame_finish_tcp(frame->bytes, frame->length, &view);
    deliver(live, frame, 0);
}

void live_peer_operate(struct live *live, enum live_operation operation)
{
    switch (operation) {
    case LIVE_SEGMENT:
        send_segment(live);
        return;
    case LIVE_ACK:
        send_right(live, false);
        return;
    case LIVE_SACK:
        send_sack(live);
        return;
    case LIVE_DATA:
        send_right(live, true);
        return;
    case LIVE_SYN:
        send_syn(live);
        return;
    case LIVE_ICMP:
        send_icmp(live);
        return;
    case LIVE_AGAIN:
        send_again(live);
        return;
    default:
        send_raw(live);
    }
}

void live_peer_answer(struct live *live, const struct tcp_connection *connection, uint64_t offset,
                      uint32_t payload_length)
{
    const struct tcp_hot *hot = &connection->hot;
    struct draft draft = {.source_port = connection->flow.remote_port,
                          .destination_port = connection->flow.local_port,
                          .seq = (uint32_t)(tcp_rcv_start(hot) + offset),
                          .ack = (uint32_t)hot->snd_nxt,
                          .flags = TCP_ACK,
                          .window = 65535,
                          .payload_length = payload_length};
    if (hot->timestamps) {
        put32(draft.options, 0x0101080a);
        put32(draft.options + 4, hot->ts_recent + 1);
        put32(draft.options + 8, tcp_timestamp_now(connection, live->now_ns));
        draft.options_length = 12;
    }
    deliver_draft(live, &draft);
}

void live_peer_be_neighbour(struct live *live)
{
    struct frame *frame = frame_new(128);
    struct ip_address us = live_address(live->is_ipv6, 1), peer = live_address(live->is_ipv6, 2);
    uint8_t *bytes = frame->bytes;
    if (live->is_ipv6) {
        uint32_t l4 = put_ip(live, bytes, 58, 0, 32);
        uint8_t *message = bytes + l4;
        message[0] = 136;
        message[4] = 0x60; /* solicited, override */
        memcpy(message + 8, peer.bytes, 16);
        message[24] = 2;
        message[25] = 1;
        memcpy(message + 26, bytes + 6, 6);
        uint16_t sum = frame_sum_fold(frame_sum(message, 32, frame_sum(bytes + 22, 32, 32 + 58)));
        put16(message + 2, (uint16_t)~sum);
        frame->length = l4 + 32;
    } else {
        static const uint8_t arp[8] = {0, 1, 8, 0, 6, 4, 0, 2};
        put_ip(live, bytes, 0, 0, 0);
        put16(bytes + 12, 0x0806);
        memset(bytes + 14, 0, 46);
        memcpy(bytes + 14, arp, sizeof(arp));
        memcpy(bytes + 22, bytes + 6, 6);
        memcpy(bytes + 28, &peer.bytes[12], 4);
        memcpy(bytes + 32, bytes, 6);
        memcpy(bytes + 38, &us.bytes[12], 4);
        frame->length = 60;
    }
    live_receive(live, frame, 0);
    free(frame);
}
