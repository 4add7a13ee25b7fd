#include "frame.h"

#include <stdlib.h>
#include <string.h>

#define ETHERNET_BYTES 14

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
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

struct frame *frame_new(uint32_t length)
{
    struct frame *frame = calloc(1, sizeof(*frame) + length);
    if (frame == NULL)
        abort();
    frame->length = length;
    return frame;
}

struct frame *frame_copy(const struct frame *frame)
{
    struct frame *copy = frame_new(frame->length);
    memcpy(copy, frame, sizeof(*frame) + frame->length);
    copy->next = NULL;
    return copy;
}

uint64_t frame_sum(const uint8_t *bytes, uint32_t length, uint64_t sum)
{
    uint32_t i = 0;
    for (; i + 1 < length; i += 2)
        sum += get16(bytes + i);
    if (i < length)
        sum += (uint64_t)bytes[i] << 8;
    return sum;
}

uint16_t frame_sum_fold(uint64_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static uint64_t pseudo_header_sum(const uint8_t *bytes, const struct frame_view *view,
                                  uint32_t l4_length, uint8_t protocol)
{
    const uint8_t *ip = bytes + view->l3_offset;
    uint64_t sum = view->is_ipv6 ? frame_sum(ip + 8, 32, 0) : frame_sum(ip + 12, 8, 0);
    return sum + l4_length + protocol;
}

static bool parse_option(const uint8_t *option, uint8_t length, struct tcp_options *out)
{
    switch (option[0]) {
    case 2:
        out->has_mss = length == 4;
        out->mss = out->has_mss ? get16(option + 2) : 0;
        return length == 4;
    case 3:
        out->has_window_scale = length == 3;
        out->window_scale = out->has_window_scale ? option[2] : 0;
        return length == 3;
    case 4:
        out->has_sack_permitted = length == 2;
        return length == 2;
    case 5:
        if (length < 10 || (length - 2) % 8 != 0 || (length - 2) / 8 > TCP_SACK_BLOCKS_MAX)
            return false;
        out->sack_block_count = (uint8_t)((length - 2) / 8);
        for (unsigned i = 0; i < out->sack_block_count; i++) {
            out->sack_blocks[i].start = seq_of(get32(option + 2 + 8 * i));
            out->sack_blocks[i].end = seq_of(get32(option + 6 + 8 * i));
        }
        return true;
    case 8:
        out->has_timestamps = length == 10;
        out->timestamp_value = out->has_timestamps ? get32(option + 2) : 0;
        out->timestamp_echo = out->has_timestamps ? get32(option + 6) : 0;
        return length == 10;
    case 34:
        out->has_fast_open = length == 2 || (length >= 6 && length <= 18);
        out->fast_open_length = out->has_fast_open ? (uint8_t)(length - 2) : 0;
        memcpy(out->fast_open_cookie, option + 2, out->fast_open_length);
        return out->has_fast_open;
    default:
        return true;
    }
}

static bool parse_options(const uint8_t *bytes, uint32_t length, struct tcp_options *out)
{
    uint32_t i = 0;
    while (i < length) {
        if (bytes[i] == 0)
            return true;
        if (bytes[i] == 1) {
            i++;
            continue;
        }
        if (i + 1 >= length || bytes[i + 1] < 2 || i + bytes[i + 1] > length)
            return false;
        if (!parse_option(bytes + i, bytes[i + 1], out))
            return false;
        i += bytes[i + 1];
    }
    return true;
}

static void parse_tcp(const uint8_t *bytes, struct frame_view *view)
{
    uint32_t l4_length = view->packet_end - view->l4_offset;
    const uint8_t *tcp = bytes + view->l4_offset;
    if (l4_length < 20 || (tcp[12] >> 4) < 5 || (uint32_t)(tcp[12] >> 4) * 4 > l4_length) {
        view->kind = FRAME_MALFORMED;
        return;
    }
    uint32_t header = (uint32_t)(tcp[12] >> 4) * 4;
    view->kind = FRAME_TCP;
    view->source_port = get16(tcp);
    view->destination_port = get16(tcp + 2);
    view->seq = get32(tcp + 4);
    view->ack = get32(tcp + 8);
    view->flags = tcp[13];
    view->window = get16(tcp + 14);
    view->urgent_pointer = get16(tcp + 18);
    view->payload_offset = view->l4_offset + header;
    view->payload_length = l4_length - header;
    view->options_length = header - 20;
    uint64_t sum = pseudo_header_sum(bytes, view, l4_length, 6);
    if (frame_sum_fold(frame_sum(tcp, l4_length, sum)) != 0xffff)
        view->checksums_good = false;
    if (!parse_options(tcp + 20, header - 20, &view->options))
        view->kind = FRAME_MALFORMED;
}

static void parse_icmp(const uint8_t *bytes, struct frame_view *view, uint8_t protocol)
{
    uint32_t length = view->packet_end - view->l4_offset;
    const uint8_t *icmp = bytes + view->l4_offset;
    if (length < 4) {
        view->kind = FRAME_MALFORMED;
        return;
    }
    view->kind = protocol == 1 ? FRAME_ICMP : FRAME_ICMPV6;
    view->icmp_type = icmp[0];
    view->icmp_code = icmp[1];
    uint64_t sum = protocol == 1 ? 0 : pseudo_header_sum(bytes, view, length, 58);
    if (frame_sum_fold(frame_sum(icmp, length, sum)) != 0xffff)
        view->checksums_good = false;
}

static void parse_l4(const uint8_t *bytes, struct frame_view *view, uint8_t protocol)
{
    view->payload_offset = view->l4_offset;
    view->payload_length = view->packet_end - view->l4_offset;
    if (protocol == 6)
        parse_tcp(bytes, view);
    else if (protocol == (view->is_ipv6 ? 58 : 1))
        parse_icmp(bytes, view, protocol);
    else if (view->is_ipv6 && protocol == 44)
        view->kind = FRAME_FRAGMENT;
    else
        view->kind = FRAME_OTHER;
}

static void parse_ipv4(const uint8_t *bytes, uint32_t length, struct frame_view *view)
{
    const uint8_t *ip = bytes + view->l3_offset;
    uint32_t header = (uint32_t)(ip[0] & 15) * 4;
    uint32_t total = get16(ip + 2);
    if (ip[0] >> 4 != 4 || header < 20 || total < header || view->l3_offset + total > length)
        return;
    view->l4_offset = view->l3_offset + header;
    view->packet_end = view->l3_offset + total;
    view->checksums_good = frame_sum_fold(frame_sum(ip, header, 0)) == 0xffff;
    view->source = ip_address_from_v4(ip + 12);
    view->destination = ip_address_from_v4(ip + 16);
    view->ip_ttl = ip[8];
    view->ip_tos = ip[1];
    if ((get16(ip + 6) & 0x3fff) != 0)
        view->kind = FRAME_FRAGMENT;
    else
        parse_l4(bytes, view, ip[9]);
}

static void parse_ipv6(const uint8_t *bytes, uint32_t length, struct frame_view *view)
{
    const uint8_t *ip = bytes + view->l3_offset;
    uint32_t payload = get16(ip + 4);
    if (view->l3_offset + 40 > length || ip[0] >> 4 != 6 || view->l3_offset + 40 + payload > length)
        return;
    view->is_ipv6 = true;
    view->l4_offset = view->l3_offset + 40;
    view->packet_end = view->l4_offset + payload;
    view->checksums_good = true;
    view->source = ip_address_from_v6(ip + 8);
    view->destination = ip_address_from_v6(ip + 24);
    view->ip_ttl = ip[7];
    view->ip_tos = (uint8_t)(ip[0] << 4 | ip[1] >> 4);
    parse_l4(bytes, view, ip[6]);
}

void frame_parse(const uint8_t *bytes, uint32_t length, struct frame_view *view)
{
    memset(view, 0, sizeof(*view));
    view->kind = FRAME_MALFORMED;
    view->l3_offset = ETHERNET_BYTES;
    if (length < ETHERNET_BYTES + 20)
        return;
    switch (get16(bytes + 12)) {
    case 0x0800:
        parse_ipv4(bytes, length, view);
        break;
    case 0x86dd:
        parse_ipv6(bytes, length, view);
        break;
    case 0x0806:
        view->kind = FRAME_ARP;
        view->checksums_good = true;
        view->packet_end = length;
        break;
    default:
        view->kind = FRAME_OTHER;
    }
}

static void finish_ipv4(uint8_t *ip)
{
    uint32_t header = (uint32_t)(ip[0] & 15) * 4;
    put16(ip + 10, 0);
    put16(ip + 10, (uint16_t)~frame_sum_fold(frame_sum(ip, header, 0)));
}

void frame_finish_tcp(uint8_t *bytes, uint32_t length, const struct frame_view *view)
{
    uint8_t *ip = bytes + view->l3_offset;
    uint8_t *tcp = bytes + view->l4_offset;
    uint32_t l4_length = length - view->l4_offset;
    if (view->is_ipv6) {
        put16(ip + 4, length - view->l3_offset - 40);
    } else {
        put16(ip + 2, length - view->l3_offset);
        finish_ipv4(ip);
    }
    put16(tcp + 16, 0);
    uint64_t sum = pseudo_header_sum(bytes, view, l4_length, 6);
    put16(tcp + 16, (uint16_t)~frame_sum_fold(frame_sum(tcp, l4_length, sum)));
}

void frame_split_tcp(const struct frame *frame, const struct frame_view *view, uint32_t first_bytes,
                     struct frame **first, struct frame **second)
{
    uint32_t rest = view->payload_length - first_bytes;
    *first = frame_new(view->payload_offset + first_bytes);
    *second = frame_new(view->payload_offset + rest);
    (*first)->from = (*second)->from = frame->from;
    memcpy((*first)->bytes, frame->bytes, view->payload_offset + first_bytes);
    memcpy((*second)->bytes, frame->bytes, view->payload_offset);
    memcpy((*second)->bytes + view->payload_offset,
           frame->bytes + view->payload_offset + first_bytes, rest);
    (*first)->bytes[view->l4_offset + 13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    (*second)->bytes[view->l4_offset + 13] &= (uint8_t)~TCP_CWR;
    put32((*second)->bytes + view->l4_offset + 4, view->seq + first_bytes);
    frame_finish_tcp((*first)->bytes, (*first)->length, view);
    frame_finish_tcp((*second)->bytes, (*second)->length, view);
}

static bool joinable(const struct frame *a, const struct frame_view *va, const struct frame *b,
                     const struct frame_view *vb, uint32_t payload_max)
{
    const uint8_t joinable_flags = TCP_ACK | TCP_PSH;
    if (va->kind != FRAME_TCP || vb->kind != FRAME_TCP || !va->checksums_good ||
        !vb->checksums_good || va->is_ipv6 != vb->is_ipv6)
        return false;
    if ((va->flags & (uint8_t)~joinable_flags) != 0 ||
        (vb->flags & (uint8_t) ~(joinable_flags | TCP_FIN)) != 0)
        return false;
    if (va->payload_length == 0 || vb->payload_length == 0 ||
        va->payload_length + vb->payload_length > payload_max ||
        va->seq + va->payload_length != vb->seq || va->ack != vb->ack || va->window != vb->window ||
        va->options_length != vb->options_length || va->options.sack_block_count != 0 ||
        vb->options.sack_block_count != 0)
        return false;
    return memcmp(a->bytes + va->l4_offset, b->bytes + vb->l4_offset, 4) == 0 &&
           ip_address_equal(&va->source, &vb->source) &&
           ip_address_equal(&va->destination, &vb->destination);
}

/** What an offloading port would tell of the two joined; 0: it would not have joined them. */
static uint16_t joined_gso_size(const struct frame *first, const struct frame_view *va,
                                const struct frame_view *vb)
{
    uint32_t size = first->gso_size != 0 ? first->gso_size : va->payload_length;
    bool whole = va->payload_length % size == 0 && vb->payload_length <= size;
    return whole && va->ip_tos == vb->ip_tos && size <= UINT16_MAX ? (uint16_t)size : 0;
}

struct frame *frame_join_tcp(const struct frame *first, const struct frame *second,
                             uint32_t payload_max)
{
    struct frame_view va, vb;
    frame_parse(first->bytes, first->length, &va);
    frame_parse(second->bytes, second->length, &vb);
    if (!joinable(first, &va, second, &vb, payload_max))
        return NULL;
    uint32_t head = va.payload_offset + va.payload_length;
    struct frame *joined = frame_new(head + vb.payload_length);
    joined->from = first->from;
    joined->gso_size = joined_gso_size(first, &va, &vb);
    memcpy(joined->bytes, first->bytes, head);
    memcpy(joined->bytes + head, second->bytes + vb.payload_offset, vb.payload_length);
    joined->bytes[va.l4_offset + 13] |= vb.flags;
    frame_finish_tcp(joined->bytes, joined->length, &va);
    return joined;
}

static struct frame *fragment_ipv4(const struct frame *frame, const struct frame_view *view,
                                   uint32_t offset, uint32_t bytes, bool last, uint32_t id)
{
    uint32_t head = view->l4_offset;
    struct frame *fragment = frame_new(head + bytes);
    memcpy(fragment->bytes, frame->bytes, head);
    memcpy(fragment->bytes + head, frame->bytes + head + offset, bytes);
    uint8_t *ip = fragment->bytes + view->l3_offset;
    put16(ip + 2, head - view->l3_offset + bytes);
    put16(ip + 4, id & 0xffff);
    put16(ip + 6, offset / 8 | (last ? 0 : 0x2000));
    finish_ipv4(ip);
    return fragment;
}

static struct frame *fragment_ipv6(const struct frame *frame, const struct frame_view *view,
                                   uint32_t offset, uint32_t bytes, bool last, uint32_t id)
{
    uint32_t head = view->l4_offset;
    struct frame *fragment = frame_new(head + 8 + bytes);
    memcpy(fragment->bytes, frame->bytes, head);
    uint8_t *ip = fragment->bytes + view->l3_offset;
    uint8_t *header = fragment->bytes + head;
    header[0] = ip[6];
    put16(header + 2, offset | (last ? 0 : 1));
    put32(header + 4, id);
    ip[6] = 44;
    put16(ip + 4, 8 + bytes);
    memcpy(header + 8, frame->bytes + head + offset, bytes);
    return fragment;
}

struct frame *frame_fragment(const struct frame *frame, uint32_t payload_max, uint32_t id)
{
    struct frame_view view;
    frame_parse(frame->bytes, frame->length, &view);
    if (view.kind != FRAME_TCP)
        return NULL;
    uint32_t total = view.packet_end - view.l4_offset;
    payload_max &= ~7u;
    if (payload_max == 0 || total <= payload_max)
        return NULL;
    struct frame *list = NULL, **tail = &list;
    for (uint32_t offset = 0; offset < total; offset += payload_max) {
        bool last = offset + payload_max >= total;
        uint32_t bytes = last ? total - offset : payload_max;
        *tail = view.is_ipv6 ? fragment_ipv6(frame, &view, offset, bytes, last, id)
                             : fragment_ipv4(frame, &view, offset, bytes, last, id);
        (*tail)->from = frame->from;
        tail = &(*tail)->next;
    }
    return list;
}

static void put_too_big_v4(uint8_t *ip, const uint8_t *old, uint32_t quoted,
                           const struct ip_address *router, uint16_t mtu)
{
    uint8_t *icmp = ip + 20;
    ip[0] = 0x45;
    put16(ip + 2, 20 + 8 + quoted);
    ip[8] = 64;
    ip[9] = 1;
    memcpy(ip + 12, &router->bytes[12], 4);
    memcpy(ip + 16, old + 12, 4);
    finish_ipv4(ip);
    icmp[0] = 3;
    icmp[1] = 4;
    put16(icmp + 6, mtu);
    memcpy(icmp + 8, old, quoted);
    put16(icmp + 2, (uint16_t)~frame_sum_fold(frame_sum(icmp, 8 + quoted, 0)));
}

static void put_too_big_v6(uint8_t *ip, const uint8_t *old, uint32_t quoted,
                           const struct ip_address *router, uint16_t mtu)
{
    uint8_t *icmp = ip + 40;
    ip[0] = 0x60;
    put16(ip + 4, 8 + quoted);
    ip[6] = 58;
    ip[7] = 64;
    memcpy(ip + 8, router->bytes, 16);
    memcpy(ip + 24, old + 8, 16);
    icmp[0] = 2;
    put32(icmp + 4, mtu);
    memcpy(icmp + 8, old, quoted);
    uint64_t sum = frame_sum(ip + 8, 32, 58 + 8 + quoted);
    put16(icmp + 2, (uint16_t)~frame_sum_fold(frame_sum(icmp, 8 + quoted, sum)));
}

struct frame *frame_too_big(const struct frame *frame, const struct frame_view *view,
                            const struct ip_address *router, uint16_t mtu)
{
    const uint8_t *old = frame->bytes + view->l3_offset;
    uint32_t ip_bytes = view->is_ipv6 ? 40 : 20;
    uint32_t quoted = view->packet_end - view->l3_offset;
    uint32_t most = view->is_ipv6 ? 1280 - 48 : 548;
    if (quoted > most)
        quoted = most;
    struct frame *message = frame_new(ETHERNET_BYTES + ip_bytes + 8 + quoted);
    memcpy(message->bytes, frame->bytes + 6, 6);
    memcpy(message->bytes + 6, frame->bytes, 6);
    memcpy(message->bytes + 12, frame->bytes + 12, 2);
    if (view->is_ipv6)
        put_too_big_v6(message->bytes + ETHERNET_BYTES, old, quoted, router, mtu);
    else
        put_too_big_v4(message->bytes + ETHERNET_BYTES, old, quoted, router, mtu);
    return message;
}
