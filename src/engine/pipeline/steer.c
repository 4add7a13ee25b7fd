#include "engine/dpdk.h"

#include "engine/pipeline/steer.h"

#include <string.h>

#include "engine/engine_core.h"
#include "engine/pipeline/fence.h"
#include "engine/pipeline/frames.h"

/** Offsets and values that tell news from requests; the stacks do the checking. */
enum {
    ETHERTYPE_OFFSET = 12,
    VLAN_TAG_BYTES = 4,
    ETHERTYPE_VLAN = 0x8100,
    ETHERTYPE_ARP = 0x0806,
    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_IPV6 = 0x86dd,
    ARP_OPERATION_OFFSET = 6,
    ARP_REPLY = 2,
    IPV4_HEADER_MIN = 20,
    IPV4_PROTOCOL_OFFSET = 9,
    PROTOCOL_ICMP = 1,
    ICMP_ECHO_REPLY = 0,
    ICMP_ECHO = 8,
    IPV6_HEADER_BYTES = 40,
    IPV6_NEXT_HEADER_OFFSET = 6,
    IPV4_LENGTH_OFFSET = 2,
    IPV6_LENGTH_OFFSET = 4,
    ETHERNET_BYTES = 14,
    PROTOCOL_ICMPV6 = 58,
    ICMPV6_ERRORS_END = 128, /* RFC 4443 §2.1: below are errors */
    ICMPV6_ROUTER_ADVERTISEMENT = 134,
    ICMPV6_NEIGHBOUR_ADVERTISEMENT = 136,
};

static unsigned read_16(const uint8_t *bytes)
{
    return (unsigned)bytes[0] << 8 | bytes[1];
}

static bool is_ipv4_news(const uint8_t *packet, uint32_t bytes)
{
    if (bytes < IPV4_HEADER_MIN || packet[IPV4_PROTOCOL_OFFSET] != PROTOCOL_ICMP)
        return false;
    uint32_t header_bytes = (uint32_t)(packet[0] & 0xf) * 4;
    if (bytes <= header_bytes)
        return false;
    return packet[header_bytes] != ICMP_ECHO && packet[header_bytes] != ICMP_ECHO_REPLY;
}

static bool is_ipv6_news(const uint8_t *packet, uint32_t bytes)
{
    if (bytes <= IPV6_HEADER_BYTES || packet[IPV6_NEXT_HEADER_OFFSET] != PROTOCOL_ICMPV6)
        return false;
    unsigned type = packet[IPV6_HEADER_BYTES];
    return type < ICMPV6_ERRORS_END || type == ICMPV6_ROUTER_ADVERTISEMENT ||
           type == ICMPV6_NEIGHBOUR_ADVERTISEMENT;
}

static bool is_news_for_all(const uint8_t *frame, uint32_t bytes)
{
    uint32_t offset = ETHERTYPE_OFFSET;
    if (bytes < ETHERTYPE_OFFSET + 2 + VLAN_TAG_BYTES)
        return false;
    if (read_16(frame + offset) == ETHERTYPE_VLAN)
        offset += VLAN_TAG_BYTES;
    const uint8_t *packet = frame + offset + 2;
    bytes -= offset + 2;
    switch (read_16(frame + offset)) {
    case ETHERTYPE_ARP:
        return bytes >= ARP_OPERATION_OFFSET + 2 &&
               read_16(packet + ARP_OPERATION_OFFSET) == ARP_REPLY;
    case ETHERTYPE_IPV4:
        return is_ipv4_news(packet, bytes);
    case ETHERTYPE_IPV6:
        return is_ipv6_news(packet, bytes);
    default:
        return false;
    }
}

static void pass_mbuf(struct engine_core *core, struct engine_core *other, struct rte_mbuf *mbuf)
{
    core->counters.frames_steered++;
    if (!frames_pass(other->frames, mbuf, FRAME_RECEIVED)) {
        core->counters.frames_steer_dropped++;
        rte_pktmbuf_free(mbuf);
    }
    wakeup_ring(&other->wakeup);
}

static void pass_turned(struct engine_core *core, struct engine_core *other,
                        struct turned_frame *frame)
{
    core->counters.frames_steered++;
    fence_frame_turned(core);
    if (!frames_pass(other->frames, frame, FRAME_TURNED)) {
        core->turned_received++; /* it goes nowhere */
        core->counters.frames_steer_dropped++;
        rte_mempool_put(core->engine->turned_frames, frame);
    }
    wakeup_ring(&other->wakeup);
}

static void tell_others(struct engine_core *core, struct rte_mbuf *mbuf)
{
    const struct engine *engine = core->engine;
    for (unsigned i = 0; i < engine->core_count; i++) {
        if (i == core->index)
            continue;
        struct rte_mbuf *copy = rte_pktmbuf_copy(mbuf, mbuf->pool, 0, UINT32_MAX);
        if (copy != NULL)
            pass_mbuf(core, engine->cores[i], copy);
        else
            core->counters.frames_steer_dropped++;
    }
}

bool steer_received(struct engine_core *core, struct rte_mbuf *mbuf)
{
    const struct engine *engine = core->engine;
    const uint8_t *frame = rte_pktmbuf_mtod(mbuf, const uint8_t *);
    uint32_t bytes = rte_pktmbuf_data_len(mbuf);
    if (engine->core_count == 1)
        return false;
    if (is_news_for_all(frame, bytes)) {
        tell_others(core, mbuf);
        return false;
    }
    unsigned owner = stack_rss_core(engine->secret, frame, bytes, engine->core_count);
    if (owner == core->index)
        return false;
    pass_mbuf(core, engine->cores[owner], mbuf);
    return true;
}

bool steer_turned(struct engine_core *core, struct turned_frame *frame)
{
    const struct engine *engine = core->engine;
    if (engine->core_count == 1)
        return false;
    unsigned owner = stack_rss_core(engine->secret, frame->data, frame->bytes, engine->core_count);
    if (owner == core->index)
        return false;
    pass_turned(core, engine->cores[owner], frame);
    return true;
}

/** A frame of its own for a packet in the stack's memory. */
static void lay_out(struct turned_frame *whole, const uint8_t *frame, const uint8_t *packet)
{
    bool is_ipv4 = packet[0] >> 4 == 4;
    unsigned type = is_ipv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
    uint32_t bytes = is_ipv4 ? read_16(packet + IPV4_LENGTH_OFFSET)
                             : read_16(packet + IPV6_LENGTH_OFFSET) + IPV6_HEADER_BYTES;
    memcpy(whole->data, frame, ETHERTYPE_OFFSET);
    whole->data[ETHERTYPE_OFFSET] = (uint8_t)(type >> 8);
    whole->data[ETHERTYPE_OFFSET + 1] = (uint8_t)type;
    memcpy(whole->data + ETHERNET_BYTES, packet, bytes);
    whole->bytes = bytes + ETHERNET_BYTES;
}

bool steer_reassembled(struct engine_core *core, const uint8_t *frame, const uint8_t *packet)
{
    void *object = NULL;
    if (core->engine->core_count == 1)
        return false;
    if (rte_mempool_get(core->engine->turned_frames, &object) != 0) {
        core->counters.frames_steer_dropped++;
        return true;
    }
    struct turned_frame *whole = object;
    lay_out(whole, frame, packet);
    if (steer_turned(core, whole))
        return true;
    rte_mempool_put(core->engine->turned_frames, whole);
    return false;
}

void steer_mbuf_to_first(struct engine_core *core, struct rte_mbuf *mbuf)
{
    pass_mbuf(core, core->engine->cores[0], mbuf);
}

void steer_turned_to_first(struct engine_core *core, struct turned_frame *frame)
{
    pass_turned(core, core->engine->cores[0], frame);
}
