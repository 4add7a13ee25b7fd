#include "core/ip/fragments.h"

#include "base/assert.h"
#include "base/byte_order.h"
#include "core/ip/icmp.h"
#include "core/ip/wire.h"

#define TIMEOUT_V4_NS (30 * NS_PER_S) /**< Linux's ipfrag_time */
#define TIMEOUT_V6_NS (60 * NS_PER_S) /**< RFC 8200 §4.5 */

#define UNIT_BYTES    8 /**< fragments begin at multiples of this */
#define UNITS_MAX     (65536 / UNIT_BYTES)
#define DATAGRAMS_MAX 256

struct fragment_datagram {
    struct ip_address source, destination;
    uint64_t deadline_ns;
    uint32_t identification;
    uint32_t total;    /**< bytes of payload; 0: the last fragment has not come */
    uint32_t received; /**< bytes of payload */
    uint32_t header_length;
    uint8_t protocol;
    uint8_t traffic_class; /**< the first fragment's */
    uint8_t ecn_seen;      /**< a bit for each codepoint */
    bool has_first;
    bool voided; /**< by an overlap: what still comes of it is dropped */
    bool in_use;
    uint64_t units[UNITS_MAX / 64]; /**< a bit for each one received */
};

size_t fragment_datagram_bytes(void)
{
    return sizeof(struct fragment_datagram);
}

uint32_t fragments_count(const struct stack_config *config)
{
    size_t count = config->fragments_bytes_max / FRAGMENT_BUFFER_BYTES;
    return count > DATAGRAMS_MAX ? DATAGRAMS_MAX : (uint32_t)count;
}

void fragments_init(struct stack *stack)
{
    stack->fragments.deadline_ns = TIME_NEVER;
}

/** The largest packet, header and all: IPv6 does not count its fixed header. */
static uint32_t packet_bytes_max(const struct ip_packet *packet)
{
    return packet->is_v4 ? IP_PACKET_BYTES_MAX : IP_PACKET_BYTES_MAX + IPV6_HEADER_BYTES;
}

static uint8_t *payload_of(struct stack *stack, const struct fragment_datagram *datagram)
{
    size_t index = (size_t)(datagram - stack->fragments.datagrams);
    return stack->fragments.buffers + index * FRAGMENT_BUFFER_BYTES + FRAGMENT_HEADER_MAX;
}

/* ---- Datagrams ---------------------------------------------------------------------------- */

static void release(struct stack *stack, struct fragment_datagram *datagram)
{
    datagram->in_use = false;
    stack->fragments.in_use--;
}

static struct fragment_datagram *find_or_begin(struct stack *stack, const struct ip_packet *packet,
                                               const struct fragment_place *place, uint64_t now_ns)
{
    struct fragment_table *table = &stack->fragments;
    struct fragment_datagram *free = NULL;
    struct fragment_datagram *oldest = NULL;

    for (uint32_t i = 0; i < table->count; i++) {
        struct fragment_datagram *datagram = &table->datagrams[i];
        if (!datagram->in_use) {
            free = free == NULL ? datagram : free;
            continue;
        }
        if (datagram->identification == place->identification &&
            ip_address_equal(&datagram->source, &packet->source) &&
            ip_address_equal(&datagram->destination, &packet->destination) &&
            (!packet->is_v4 || datagram->protocol == place->protocol))
            return datagram;
        if (oldest == NULL || datagram->deadline_ns < oldest->deadline_ns)
            oldest = datagram;
    }
    if (free == NULL) {
        stack_drop_count(stack, DROP_FRAGMENT_LIMIT);
        if (oldest == NULL)
            return NULL; /* no memory configured at all */
        release(stack, oldest);
        free = oldest;
    }

    *free = (struct fragment_datagram){.source = packet->source,
                                       .destination = packet->destination,
                                       .deadline_ns =
                                           now_ns + (packet->is_v4 ? TIMEOUT_V4_NS : TIMEOUT_V6_NS),
                                       .identification = place->identification,
                                       .protocol = place->protocol,
                                       .in_use = true};
    table->in_use++;
    if (free->deadline_ns < table->deadline_ns)
        table->deadline_ns = free->deadline_ns;
    if (free->deadline_ns < stack->ip_deadline_ns)
        stack->ip_deadline_ns = free->deadline_ns;
    return free;
}

/** How many of the units [first, end) are there. */
static uint32_t units_present(const struct fragment_datagram *datagram, uint32_t first,
                              uint32_t end)
{
    uint32_t count = 0;
    for (uint32_t unit = first; unit < end; unit++)
        count += (datagram->units[unit / 64] >> (unit % 64)) & 1;
    return count;
}

/** Headers come from the first fragment (RFC 8200 §4.5, as Linux does for IPv4). */
static void keep_header(struct stack *stack, struct fragment_datagram *datagram,
                        const struct ip_packet *packet, const struct fragment_place *place)
{
    uint8_t *header = payload_of(stack, datagram) - place->header_length;
    memcpy(header, packet->bytes, place->header_length);
    if (!packet->is_v4)
        header[packet->protocol_offset] = place->protocol;
    datagram->header_length = place->header_length;
    datagram->protocol = place->protocol;
    datagram->traffic_class = packet->traffic_class;
    datagram->has_first = true;
}

/** RFC 3168 §5.3: marked if one of the fragments is. Nobody sends both such as can be marked and
   such as can't (as Linux has it). @return false: that is what came. */
static bool ecn_settle(struct fragment_datagram *datagram)
{
    const uint8_t not_ect = 1u << ECN_NOT_ECT, ce = 1u << ECN_CE;
    if ((datagram->ecn_seen & not_ect) != 0 && datagram->ecn_seen != not_ect)
        return false;
    if ((datagram->ecn_seen & ce) != 0)
        datagram->traffic_class |= ECN_CE;
    return true;
}

static void complete(struct stack *stack, struct fragment_datagram *datagram,
                     const struct ip_packet *packet, struct ip_packet *whole)
{
    uint8_t *header = payload_of(stack, datagram) - datagram->header_length;
    uint32_t length = datagram->header_length + datagram->total;

    if (packet->is_v4) {
        header[1] = datagram->traffic_class;
        store_be16(header + 2, (uint16_t)length);
        store_be16(header + 6, 0);
    } else {
        store_be16(header, (uint16_t)(6u << 12 | (uint32_t)datagram->traffic_class << 4 |
                                      (load_be16(header) & 0x000f))); /* of the flow label */
        store_be16(header + 4, (uint16_t)(length - IPV6_HEADER_BYTES));
    }
    *whole = *packet;
    whole->base = header;
    whole->bytes = header;
    whole->length = length;
    whole->traffic_class = datagram->traffic_class;
    whole->reassembled = true;
    whole->l4_checksum_good = packet->turned_round;
    whole->gso_size = 0;
    release(stack, datagram);
    stack->counters.reassembled++;
}

enum drop_reason fragments_add(struct stack *stack, const struct ip_packet *packet,
                               const struct fragment_place *place, uint64_t now_ns,
                               struct ip_packet *whole)
{
    uint32_t end = place->offset + place->length;
    enum drop_reason malformed = packet->is_v4 ? DROP_IPV4_MALFORMED : DROP_IPV6_MALFORMED;

    whole->bytes = NULL;
    stack->counters.fragments_in++;
    if (place->length == 0 || (place->more && place->length % UNIT_BYTES != 0) ||
        place->header_length > FRAGMENT_HEADER_MAX ||
        place->header_length + end > packet_bytes_max(packet))
        return malformed;

    struct fragment_datagram *datagram = find_or_begin(stack, packet, place, now_ns);
    if (datagram == NULL)
        return DROP_FRAGMENT_LIMIT;
    if (datagram->voided)
        return DROP_FRAGMENT_OVERLAP;

    uint8_t *to = payload_of(stack, datagram) + place->offset;
    uint32_t first_unit = place->offset / UNIT_BYTES;
    uint32_t end_unit = (end + UNIT_BYTES - 1) / UNIT_BYTES;
    uint32_t present = units_present(datagram, first_unit, end_unit);
    bool ends_agree =
        datagram->total == 0 || (place->more ? end <= datagram->total : end == datagram->total);
    if (present == end_unit - first_unit && ends_agree && (place->more || datagram->total != 0) &&
        memcmp(to, place->payload, place->length) == 0)
        return DROP_NONE; /* seen before */
    /* What lies beyond an end told only now would contradict it as well. */
    bool beyond = !place->more && units_present(datagram, end_unit, UNITS_MAX) > 0;
    if (present > 0 || !ends_agree || beyond) {
        datagram->voided = true;
        return DROP_FRAGMENT_OVERLAP;
    }

    for (uint32_t unit = first_unit; unit < end_unit; unit++)
        datagram->units[unit / 64] |= UINT64_C(1) << (unit % 64);
    memcpy(to, place->payload, place->length);
    datagram->received += place->length;
    datagram->ecn_seen |= (uint8_t)(1u << (packet->traffic_class & 3));
    if (!place->more)
        datagram->total = end;
    if (place->offset == 0)
        keep_header(stack, datagram, packet, place);
    if (datagram->total == 0 || datagram->received != datagram->total)
        return DROP_NONE;
    if (datagram->header_length + datagram->total > packet_bytes_max(packet) ||
        !ecn_settle(datagram)) {
        datagram->voided = true;
        return malformed;
    }
    complete(stack, datagram, packet, whole);
    return DROP_NONE;
}

/* ---- Time --------------------------------------------------------------------------------- */

/** Tell the sender (RFC 792, RFC 4443 §3.3), which needs the first fragment to quote. */
static void time_out(struct stack *stack, struct fragment_datagram *datagram, uint64_t now_ns)
{
    if (datagram->voided)
        return;
    stack_drop_count(stack, DROP_FRAGMENT_TIMEOUT);
    if (!datagram->has_first || stack->config.core_index != 0)
        return;

    uint32_t units = 0;
    while (units_present(datagram, units, units + 1) == 1)
        units++;
    uint32_t contiguous = units * UNIT_BYTES;
    const uint8_t *header = payload_of(stack, datagram) - datagram->header_length;
    bool is_v4 = ip_address_is_v4(&datagram->source);
    struct ip_packet packet = {.base = header,
                               .bytes = header,
                               .length = datagram->header_length + contiguous,
                               .header_length = datagram->header_length,
                               .protocol = datagram->protocol,
                               .is_v4 = is_v4,
                               .source = datagram->source,
                               .destination = datagram->destination};
    icmp_error_send(stack, &packet, is_v4 ? ICMP_TIME_EXCEEDED : ICMPV6_TIME_EXCEEDED,
                    ICMP_TIME_EXCEEDED_REASSEMBLY, 0, now_ns);
}

void fragments_advance(struct stack *stack, uint64_t now_ns)
{
    struct fragment_table *table = &stack->fragments;
    uint64_t next_ns = TIME_NEVER;

    for (uint32_t i = 0; i < table->count; i++) {
        struct fragment_datagram *datagram = &table->datagrams[i];
        if (!datagram->in_use)
            continue;
        if (datagram->deadline_ns <= now_ns) {
            time_out(stack, datagram, now_ns);
            release(stack, datagram);
        } else if (datagram->deadline_ns < next_ns) {
            next_ns = datagram->deadline_ns;
        }
    }
    table->deadline_ns = next_ns;
}

void fragments_check(struct stack *stack)
{
    uint32_t in_use = 0;
    for (uint32_t i = 0; i < stack->fragments.count; i++) {
        const struct fragment_datagram *datagram = &stack->fragments.datagrams[i];
        if (!datagram->in_use)
            continue;
        in_use++;
        PNO_ASSERT(datagram->total == 0 || datagram->received <= datagram->total);
        PNO_ASSERT(datagram->received <=
                   units_present(datagram, 0, UNITS_MAX) * (uint32_t)UNIT_BYTES);
    }
    PNO_ASSERT(in_use == stack->fragments.in_use);
}
