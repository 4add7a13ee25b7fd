#include "core/ip/packets.h"

#include "base/assert.h"
#include "base/byte_order.h"
#include "base/checksum.h"
#include "core/ip/neighbour.h"
#include "core/ip/path_mtu.h"
#include "core/ip/routes.h"
#include "core/ip/wire.h"

static const struct {
    uint32_t bytes; /**< of payload */
    uint32_t count;
} classes[PACKET_CLASS_COUNT] = {
    [PACKET_SMALL] = {192, 1024}, /* and one for each connection's reset */
    [PACKET_MEDIUM] = {2048, 128},
    [PACKET_LARGE] = {IP_PACKET_BYTES_MAX + IPV6_HEADER_BYTES, 8},
};

size_t packet_class_bytes(unsigned class)
{
    return (sizeof(struct packet) + classes[class].bytes + 63) & ~(size_t)63;
}

size_t packet_class_count(unsigned class, const struct stack_config *config)
{
    return classes[class].count + (class == PACKET_SMALL ? config->connections_max : 0);
}

void packets_init(struct stack *stack)
{
    for (unsigned i = 0; i < PACKET_CLASS_COUNT; i++)
        stack->packet_pools[i].bytes = classes[i].bytes;
    packet_queue_init(&stack->packets);
}

/* ---- Pool and queue ----------------------------------------------------------------------- */

/* @param limit  of the small ones, beyond which this is none. */
static struct packet *take(struct stack *stack, uint32_t bytes, uint32_t limit)
{
    for (unsigned class = 0; class < PACKET_CLASS_COUNT; class ++) {
        struct packet_pool *pool = &stack->packet_pools[class];
        struct packet *packet = pool->free;
        if (bytes > pool->bytes)
            continue;
        if (class == PACKET_SMALL && pool->in_use >= limit)
            break;
        if (packet != NULL) {
            pool->free = packet->next;
        } else if (pool->fresh < pool->fresh_end) {
            packet = (struct packet *)(void *)pool->fresh;
            pool->fresh += packet_class_bytes(class);
        } else {
            break; /* small ones may not eat up the large ones */
        }
        *packet = (struct packet){.class = (uint8_t) class, .in_use = true, .length = bytes};
        pool->in_use++;
        return packet;
    }
    stack_drop_count(stack, DROP_REPLY_LIMIT);
    return NULL;
}

struct packet *packet_alloc(struct stack *stack, uint32_t bytes)
{
    return take(stack, bytes, classes[PACKET_SMALL].count);
}

struct packet *packet_alloc_reset(struct stack *stack, uint32_t bytes)
{
    return take(stack, bytes, UINT32_MAX);
}

void packet_free(struct stack *stack, struct packet *packet)
{
    PNO_ASSERT(packet->in_use);
    struct packet_pool *pool = &stack->packet_pools[packet->class];
    packet->in_use = false;
    packet->next = pool->free;
    pool->free = packet;
    pool->in_use--;
}

void packet_queue_init(struct packet_queue *queue)
{
    queue->first = NULL;
    queue->last_next = &queue->first;
}

void packet_queue_push(struct packet_queue *queue, struct packet *packet)
{
    packet->next = NULL;
    *queue->last_next = packet;
    queue->last_next = &packet->next;
}

struct packet *packet_queue_pop(struct packet_queue *queue)
{
    struct packet *packet = queue->first;
    if (packet == NULL)
        return NULL;
    queue->first = packet->next;
    if (queue->first == NULL)
        queue->last_next = &queue->first;
    return packet;
}

void packet_send(struct stack *stack, struct packet *packet)
{
    packet_queue_push(&stack->packets, packet);
}

/* ---- IP headers --------------------------------------------------------------------------- */

uint32_t ip_header_write(uint8_t *to, const struct ip_address *source,
                         const struct ip_address *destination, uint8_t protocol, uint8_t ttl,
                         uint8_t traffic_class, uint32_t payload_bytes, bool dont_fragment)
{
    if (!ip_address_is_v4(destination)) {
        store_be32(to, 6u << 28 | (uint32_t)traffic_class << 20);
        store_be16(to + 4, (uint16_t)payload_bytes);
        to[6] = protocol;
        to[7] = ttl;
        memcpy(to + 8, source->bytes, 16);
        memcpy(to + 24, destination->bytes, 16);
        return IPV6_HEADER_BYTES;
    }
    to[0] = 0x45;
    to[1] = traffic_class;
    store_be16(to + 2, (uint16_t)(IPV4_HEADER_BYTES + payload_bytes));
    store_be16(to + 4, 0); /* atomic datagrams need none (RFC 6864 §4.1) */
    store_be16(to + 6, dont_fragment ? IPV4_FLAG_DF : 0);
    to[8] = ttl;
    to[9] = protocol;
    store_be16(to + 10, 0);
    memcpy(to + 12, &source->bytes[12], 4);
    memcpy(to + 16, &destination->bytes[12], 4);
    uint16_t checksum = checksum_finish(checksum_add(0, to, IPV4_HEADER_BYTES));
    memcpy(to + 10, &checksum, 2);
    return IPV4_HEADER_BYTES;
}

/* ---- Transmit ----------------------------------------------------------------------------- */

/** Bytes that fit a header go there; more are left with the packet, which must stay meanwhile. */
static void attach_bytes(struct stack *stack, struct packet *packet, const uint8_t *bytes,
                         uint32_t length, bool last, struct stack_frame *frame)
{
    bool copied = frame->header_length + length <= STACK_HEADER_MAX;
    if (copied) {
        memcpy(frame->header + frame->header_length, bytes, length);
        frame->header_length = (uint16_t)(frame->header_length + length);
    } else {
        frame->payload = bytes;
        frame->payload_length = length;
    }
    if (!last)
        return;
    (void)packet_queue_pop(&stack->packets);
    if (copied)
        packet_free(stack, packet);
    else
        stack->packet_sent = packet;
}

static void emit_frame(struct stack *stack, struct packet *packet, struct stack_frame *frame)
{
    frame->header_length = 0;
    frame->l3_offset = ETHERNET_HEADER_BYTES;
    frame->l4_offset = ETHERNET_HEADER_BYTES;
    frame->is_ipv6 = load_be16(packet->bytes + 12) == ETHERTYPE_IPV6;
    attach_bytes(stack, packet, packet->bytes, packet->length, true, frame);
}

static void emit_whole(struct stack *stack, struct packet *packet, struct stack_frame *frame)
{
    uint32_t header_bytes = ip_header_bytes(&packet->destination);
    memcpy(frame->header + ETHERNET_HEADER_BYTES, packet->bytes, header_bytes);
    frame->header_length = (uint16_t)(ETHERNET_HEADER_BYTES + header_bytes);
    frame->l4_offset = frame->header_length;
    attach_bytes(stack, packet, packet->bytes + header_bytes, packet->length - header_bytes, true,
                 frame);
}

/** The next fragment (RFC 791 §3.2, RFC 8200 §4.5). */
static void emit_fragment(struct stack *stack, struct packet *packet, uint32_t mtu,
                          struct stack_frame *frame)
{
    uint32_t header_bytes = ip_header_bytes(&packet->destination);
    uint32_t total = packet->length - header_bytes;
    uint8_t *header = frame->header + ETHERNET_HEADER_BYTES;
    uint32_t overhead = header_bytes + (frame->is_ipv6 ? IPV6_FRAGMENT_BYTES : 0);
    uint32_t length = total - packet->sent;
    bool last = length <= mtu - overhead;

    if (!last)
        length = (mtu - overhead) & ~7u;
    if (packet->sent == 0)
        packet->identification = ++stack->ip_identification;
    memcpy(header, packet->bytes, header_bytes);
    if (frame->is_ipv6) {
        uint8_t *fragment = header + header_bytes;
        store_be16(header + 4, (uint16_t)(IPV6_FRAGMENT_BYTES + length));
        header[6] = IP_PROTOCOL_FRAGMENT;
        fragment[0] = packet->bytes[6];
        fragment[1] = 0;
        store_be16(fragment + 2, (uint16_t)(packet->sent | !last));
        store_be32(fragment + 4, packet->identification);
    } else {
        store_be16(header + 2, (uint16_t)(header_bytes + length));
        store_be16(header + 4, (uint16_t)packet->identification);
        store_be16(header + 6, (uint16_t)(packet->sent / 8 | (last ? 0 : IPV4_FLAG_MF)));
        store_be16(header + 10, 0);
        uint16_t checksum = checksum_finish(checksum_add(0, header, header_bytes));
        memcpy(header + 10, &checksum, 2);
    }
    frame->header_length = (uint16_t)(ETHERNET_HEADER_BYTES + overhead);
    frame->l4_offset = frame->header_length;
    const uint8_t *bytes = packet->bytes + header_bytes + packet->sent;
    packet->sent += length;
    attach_bytes(stack, packet, bytes, length, last, frame);
}

static void frame_address(const struct stack *stack, const struct neighbour *neighbour,
                          struct stack_frame *frame)
{
    const uint8_t *destination = neighbour == NULL ? stack->inside_destination_mac : neighbour->mac;
    const uint8_t *source = neighbour == NULL ? stack->inside_source_mac : stack->config.mac;
    memcpy(frame->header, destination, 6);
    memcpy(frame->header + 6, source, 6);
    store_be16(frame->header + 12, frame->is_ipv6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
}

static void emit_ip(struct stack *stack, struct packet *packet, const struct neighbour *neighbour,
                    uint64_t now_ns, struct stack_frame *frame)
{
    uint32_t mtu = stack_path_mtu(stack, &packet->destination, now_ns);
    frame->l3_offset = ETHERNET_HEADER_BYTES;
    frame->is_ipv6 = !ip_address_is_v4(&packet->destination);
    frame->turn_round = neighbour == NULL;
    frame_address(stack, neighbour, frame);
    if (packet->length <= mtu)
        emit_whole(stack, packet, frame);
    else
        emit_fragment(stack, packet, mtu, frame);
}

bool packets_transmit(struct stack *stack, uint64_t now_ns, struct stack_frame *frame)
{
    struct packet *packet;

    if (stack->packet_sent != NULL) {
        packet_free(stack, stack->packet_sent);
        stack->packet_sent = NULL;
    }
    while ((packet = stack->packets.first) != NULL) {
        if (packet->is_frame) {
            emit_frame(stack, packet, frame);
            return true;
        }
        struct neighbour *neighbour = NULL;
        switch (neighbour_for(stack, &packet->destination, now_ns, &neighbour)) {
        case NEIGHBOUR_READY:
            emit_ip(stack, packet, neighbour, now_ns, frame);
            return true;
        case NEIGHBOUR_WAIT:
            (void)packet_queue_pop(&stack->packets);
            neighbour_park_packet(stack, neighbour, packet);
            break;
        case NEIGHBOUR_DEAD:
            (void)packet_queue_pop(&stack->packets);
            packet_free(stack, packet);
            stack_drop_count(stack, DROP_NEIGHBOUR_UNREACHABLE);
            break;
        }
    }
    return false;
}

void packets_check(struct stack *stack)
{
    uint32_t limit = 0;
    for (unsigned i = 0; i < PACKET_CLASS_COUNT; i++)
        limit += (uint32_t)packet_class_count(i, &stack->config);
    for (const struct packet *packet = stack->packets.first; packet != NULL;
         packet = packet->next) {
        PNO_ASSERT(packet->in_use && packet->length <= classes[packet->class].bytes);
        PNO_ASSERT(limit-- > 0);
    }
}
