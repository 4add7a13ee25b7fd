/**
 * @file packets.h
 * Packets that the stack sends on its own account: ARP, neighbour discovery, ICMP, and TCP replies
 * that belong to no connection. Made whole in buffers from three pools, queued first in first out,
 * fragmented as they leave when the path is narrower. Full pools mean a counted drop.
 */
#ifndef PNO_CORE_IP_PACKETS_H
#define PNO_CORE_IP_PACKETS_H

#include "core/stack_state.h"

struct packet {
    struct packet *next;
    struct ip_address destination; /**< of an IP packet */
    uint32_t length;               /**< of bytes */
    uint32_t sent;                 /**< of an IP packet's payload, in fragments */
    uint32_t identification;       /**< of the fragments */
    uint8_t class;                 /**< enum packet_class */
    bool is_frame; /**< bytes is a frame for the wire as it is; else an IP packet to be routed */
    bool in_use;
    _Alignas(8) uint8_t bytes[];
};

void packets_init(struct stack *stack);
size_t packet_class_bytes(unsigned class);
size_t packet_class_count(unsigned class, const struct stack_config *config);

/** A packet that holds at least this many bytes; NULL (and REPLY_LIMIT counted) when out of them.
 */
struct packet *packet_alloc(struct stack *stack, uint32_t bytes);
/** The same for what ends a connection: there is one for each, however many replies wait. */
struct packet *packet_alloc_reset(struct stack *stack, uint32_t bytes);
void packet_free(struct stack *stack, struct packet *packet);

/** Put it in the line to go out. */
void packet_send(struct stack *stack, struct packet *packet);

/** The next frame of this line; false: empty. */
bool packets_transmit(struct stack *stack, uint64_t now_ns, struct stack_frame *frame);

void packet_queue_init(struct packet_queue *queue);
void packet_queue_push(struct packet_queue *queue, struct packet *packet);
struct packet *packet_queue_pop(struct packet_queue *queue);

/**
 * Write an IP header without options or extension headers.
 * @param payload_bytes  what follows it.
 * @return its length: 20 or 40, by the family of the addresses.
 */
uint32_t ip_header_write(uint8_t *to, const struct ip_address *source,
                         const struct ip_address *destination, uint8_t protocol, uint8_t ttl,
                         uint8_t traffic_class, uint32_t payload_bytes, bool dont_fragment);

static inline uint32_t ip_header_bytes(const struct ip_address *address)
{
    return ip_address_is_v4(address) ? 20 : 40;
}

void packets_check(struct stack *stack);

#endif
