/**
 * @file fragments.h
 * Reassembly of IPv4 and IPv6 fragments (RFC 791, RFC 815, RFC 8200 §4.5) within a fixed number of
 * datagrams, each with a buffer for the largest there can be, and a time limit. Fragments that
 * overlap void their datagram (RFC 5722), exact duplicates are ignored.
 */
#ifndef PNO_CORE_IP_FRAGMENTS_H
#define PNO_CORE_IP_FRAGMENTS_H

#include "core/ip/ip_packet.h"

/** Room for the header before a datagram's payload: IPv4 with options, IPv6 with extensions. */
#define FRAGMENT_HEADER_MAX   256
#define FRAGMENT_BUFFER_BYTES ((size_t)FRAGMENT_HEADER_MAX + 65536)

struct fragment_datagram;

/** One fragment's place in its datagram. */
struct fragment_place {
    uint32_t identification;
    uint32_t offset; /**< bytes of the datagram's payload before it */
    bool more;
    const uint8_t *payload;
    uint32_t length;        /**< of payload */
    uint32_t header_length; /**< of the header before the fragment header, if any */
    uint8_t protocol;       /**< what the payload of the datagram begins with */
};

uint32_t fragments_count(const struct stack_config *config);
size_t fragment_datagram_bytes(void);
void fragments_init(struct stack *stack);
void fragments_advance(struct stack *stack, uint64_t now_ns);
void fragments_check(struct stack *stack);

/**
 * Take a fragment.
 * @param whole  filled in when the datagram is complete; its bytes stay until the next fragment.
 * @return DROP_NONE and whole->bytes set: complete, go on with whole; DROP_NONE and NULL: kept (or
 *         a duplicate); else why it was dropped.
 */
enum drop_reason fragments_add(struct stack *stack, const struct ip_packet *packet,
                               const struct fragment_place *place, uint64_t now_ns,
                               struct ip_packet *whole);

#endif
