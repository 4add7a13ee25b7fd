#include "engine/dpdk.h"

#include "engine/pipeline/transmit.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "engine/engine_core.h"
#include "engine/pipeline/fence.h"
#include "engine/pipeline/frames.h"
#include "engine/pipeline/steer.h"
#include "engine/pipeline/tap.h"
#include "engine/ports/port.h"
#include "engine/socket.h"

/** Frames built in one round, so that receiving gets its turn. */
#define ROUND_FRAMES_MAX 256

static uint32_t waiting(const struct transmit_queue *queue)
{
    return queue->end - queue->first;
}

static struct transmit_entry *entry_at(struct transmit_queue *queue, uint32_t position)
{
    return &queue->entries[position % TRANSMIT_QUEUE_FRAMES];
}

static uint8_t *entry_bytes(const struct transmit_entry *entry)
{
    return entry->turned != NULL ? entry->turned->data : rte_pktmbuf_mtod(entry->mbuf, uint8_t *);
}

static void drop_entry(struct engine_core *core, struct transmit_entry *entry)
{
    if (entry->turned != NULL)
        rte_mempool_put(core->engine->turned_frames, entry->turned);
    rte_pktmbuf_free(entry->mbuf);
    entry->turned = NULL;
    entry->mbuf = NULL;
}

/* ---- Building ----------------------------------------------------------------------------------
 */

static void fetched(void *context, int error)
{
    struct transmit_entry *entry = context;
    entry->copies_in_flight--;
    if (error != 0)
        entry->failed = true;
}

/** Payload from the tenant's arena into the frame. */
static void fetch(struct engine_core *core, struct transmit_entry *entry, uint8_t *payload)
{
    const struct dma_backend *dma = core->engine->dma;
    struct engine_socket *socket = tcp_user(entry->frame.connection);
    uint64_t offset = entry->frame.stream_offset;
    uint32_t left = entry->frame.payload_length;
    while (left > 0) {
        struct tx_stretch stretch = {0};
        if (socket != NULL)
            stretch = tx_buffer_find(&socket->tx, offset);
        if (stretch.length == 0) {
            entry->failed = true;
            return;
        }
        uint32_t bytes = stretch.length < left ? (uint32_t)stretch.length : left;
        entry->copies_in_flight++;
        int result;
        while ((result = dma->read(core->dma, &socket->tenant->tenant->arena, stretch.arena_offset,
                                   payload, bytes, fetched, entry)) == -EAGAIN)
            (void)dma->poll(core->dma);
        if (result != 0)
            fetched(entry, result);
        payload += bytes;
        offset += bytes;
        left -= bytes;
    }
}

static bool take_spares(struct engine_core *core)
{
    struct transmit_queue *queue = &core->transmit;
    if (queue->spare_mbuf == NULL)
        queue->spare_mbuf = rte_pktmbuf_alloc(port_mempool(core->engine->port));
    if (queue->spare_large == NULL && port_large_mempool(core->engine->port) != NULL)
        queue->spare_large = rte_pktmbuf_alloc(port_large_mempool(core->engine->port));
    if (queue->spare_turned == NULL) {
        void *object = NULL;
        if (rte_mempool_get(core->engine->turned_frames, &object) == 0)
            queue->spare_turned = object;
    }
    return queue->spare_mbuf != NULL && queue->spare_turned != NULL;
}

/** TCP payload that the stack may put into one frame, for the port to cut; 0: one segment. */
static uint32_t gso_bytes_max(const struct engine_core *core)
{
    return core->transmit.spare_large != NULL ? port_gso_bytes_max(core->engine->port) : 0;
}

/** An mbuf for a frame of so many bytes. */
static struct rte_mbuf *take_mbuf(struct transmit_queue *queue, uint32_t bytes)
{
    struct rte_mbuf **spare =
        bytes <= rte_pktmbuf_tailroom(queue->spare_mbuf) ? &queue->spare_mbuf : &queue->spare_large;
    struct rte_mbuf *mbuf = *spare;
    *spare = NULL;
    PNO_ASSERT(mbuf != NULL && bytes <= rte_pktmbuf_tailroom(mbuf));
    mbuf->data_len = (uint16_t)bytes;
    mbuf->pkt_len = bytes;
    return mbuf;
}

static void build(struct engine_core *core, struct transmit_entry *entry)
{
    struct transmit_queue *queue = &core->transmit;
    const struct stack_frame *frame = &entry->frame;
    uint32_t bytes = frame->header_length + frame->payload_length;
    entry->copies_in_flight = 0;
    entry->failed = false;
    entry->tapped = false;
    entry->mbuf = NULL;
    entry->turned = NULL;
    if (frame->turn_round) {
        PNO_ASSERT(bytes <= sizeof(entry->turned->data));
        entry->turned = queue->spare_turned;
        entry->turned->bytes = bytes;
        queue->spare_turned = NULL;
    } else {
        entry->mbuf = take_mbuf(queue, bytes);
    }
    uint8_t *target = entry_bytes(entry);
    memcpy(target, frame->header, frame->header_length);
    if (frame->payload_length == 0)
        return;
    if (frame->payload != NULL)
        memcpy(target + frame->header_length, frame->payload, frame->payload_length);
    else
        fetch(core, entry, target + frame->header_length);
}

/* ---- Handing over -------------------------------------------------------------------------------
 */

/** Complete the checksum, or tell the port to, and to cut what is several segments. */
static void finish_checksum(struct engine_core *core, struct transmit_entry *entry)
{
    const struct stack_frame *frame = &entry->frame;
    struct rte_mbuf *mbuf = entry->mbuf;
    if (!frame->l4_checksum_partial)
        return;
    if (!port_offloads_tcp_checksum(core->engine->port)) {
        stack_frame_finish_checksum(frame, entry_bytes(entry));
        return;
    }
    mbuf->l2_len = frame->l3_offset & 0x7fu;
    mbuf->l3_len = (unsigned)(frame->l4_offset - frame->l3_offset) & 0x1ffu;
    mbuf->ol_flags |=
        RTE_MBUF_F_TX_TCP_CKSUM | (frame->is_ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
    if (frame->gso_size == 0)
        return;
    mbuf->l4_len = (unsigned)(frame->header_length - frame->l4_offset) & 0xffu;
    mbuf->tso_segsz = frame->gso_size;
    mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    if (!frame->is_ipv6)
        mbuf->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM; /* each segment's header differs */
}

static void turn_round(struct engine_core *core, struct transmit_entry *entry)
{
    struct transmit_queue *queue = &core->transmit;
    const struct engine *engine = core->engine;
    struct turned_frame *turned = entry->turned;
    entry->turned = NULL;
    if (steer_turned(core, turned))
        return;
    if (queue->turned_end - queue->turned_first == TRANSMIT_QUEUE_FRAMES) {
        core->counters.frames_steer_dropped++;
        rte_mempool_put(engine->turned_frames, turned);
        return;
    }
    fence_frame_turned(core);
    queue->turned[queue->turned_end++ % TRANSMIT_QUEUE_FRAMES] = turned;
}

/** @return how many were taken. */
static uint16_t send_burst(struct engine_core *core, struct rte_mbuf **frames, uint16_t count)
{
    const struct engine *engine = core->engine;
    if (core->owns_queue)
        return port_send(engine->port, core->queue, frames, count);
    struct engine_core *owner = engine->cores[core->index % port_queue_count(engine->port)];
    uint16_t taken = 0;
    while (taken < count && frames_pass(owner->frames, frames[taken], FRAME_TO_SEND))
        taken++;
    wakeup_ring(&owner->wakeup);
    return taken;
}

/** Once, also when the port takes the frame only later. */
static void tap(struct engine_core *core, struct transmit_entry *entry)
{
    if (!entry->tapped && !entry->failed && (entry->mbuf != NULL || entry->turned != NULL))
        tap_sent(core, entry);
    entry->tapped = true;
}

/** Hand ready frames over in order. @return false: the port would not take all. */
static bool drain(struct engine_core *core)
{
    struct transmit_queue *queue = &core->transmit;
    struct rte_mbuf *burst[TRANSMIT_BURST];
    while (waiting(queue) > 0) {
        uint16_t count = 0;
        uint32_t position = queue->first;
        /* The entries in front that are ready; those that don't go to the port leave here. */
        for (; position != queue->end && count < TRANSMIT_BURST; position++) {
            struct transmit_entry *entry = entry_at(queue, position);
            if (entry->copies_in_flight > 0)
                break;
            if (tap_is_on(core))
                tap(core, entry);
            if (entry->failed) {
                core->counters.fetch_failures++;
                drop_entry(core, entry);
            } else if (entry->turned != NULL) {
                turn_round(core, entry);
            } else if (entry->mbuf != NULL) {
                finish_checksum(core, entry);
                entry->frame.l4_checksum_partial = false;
                burst[count++] = entry->mbuf;
            }
        }
        if (position == queue->first)
            return true; /* the first copy is still under way: its completion brings us back */
        uint16_t sent = count > 0 ? send_burst(core, burst, count) : 0;
        for (uint16_t left = sent; queue->first != position; queue->first++) {
            struct transmit_entry *entry = entry_at(queue, queue->first);
            if (entry->mbuf != NULL && left == 0)
                break;
            if (entry->mbuf != NULL)
                left--;
            entry->mbuf = NULL;
        }
        if (sent < count) {
            core->counters.transmit_deferred++;
            return false;
        }
    }
    queue->first = queue->end = 0; /* stay in the same few cache lines */
    return true;
}

static bool has_room(const struct transmit_queue *queue)
{
    return waiting(queue) < TRANSMIT_QUEUE_FRAMES &&
           queue->turned_end - queue->turned_first + waiting(queue) < TRANSMIT_QUEUE_FRAMES;
}

bool transmit_run(struct engine_core *core)
{
    struct transmit_queue *queue = &core->transmit;
    unsigned built = 0;
    bool accepted = drain(core);
    while (accepted && built < ROUND_FRAMES_MAX) {
        unsigned before = built;
        while (built - before < TRANSMIT_BURST && has_room(queue) && take_spares(core)) {
            struct transmit_entry *entry = entry_at(queue, queue->end);
            if (!stack_transmit(core->stack, core->now_ns, gso_bytes_max(core), &entry->frame))
                break;
            build(core, entry);
            queue->end++;
            built++;
        }
        accepted = drain(core);
        if (built - before < TRANSMIT_BURST)
            break;
    }
    return built > 0;
}

void transmit_relay(struct engine_core *core, struct rte_mbuf *mbuf)
{
    struct transmit_queue *queue = &core->transmit;
    if (waiting(queue) == TRANSMIT_QUEUE_FRAMES) {
        core->counters.frames_steer_dropped++;
        rte_pktmbuf_free(mbuf);
        return;
    }
    struct transmit_entry *entry = entry_at(queue, queue->end++);
    entry->mbuf = mbuf;
    entry->turned = NULL;
    entry->copies_in_flight = 0;
    entry->failed = false;
    entry->tapped = true; /* by the core that built it */
    entry->frame.l4_checksum_partial = false;
}

bool transmit_is_idle(const struct engine_core *core)
{
    return waiting(&core->transmit) == 0;
}

void transmit_discard(struct engine_core *core)
{
    struct transmit_queue *queue = &core->transmit;
    for (; queue->first != queue->end; queue->first++)
        drop_entry(core, entry_at(queue, queue->first));
    for (; queue->turned_first != queue->turned_end; queue->turned_first++)
        rte_mempool_put(core->engine->turned_frames,
                        queue->turned[queue->turned_first % TRANSMIT_QUEUE_FRAMES]);
    rte_pktmbuf_free(queue->spare_mbuf);
    queue->spare_mbuf = NULL;
    rte_pktmbuf_free(queue->spare_large);
    queue->spare_large = NULL;
    if (queue->spare_turned != NULL)
        rte_mempool_put(core->engine->turned_frames, queue->spare_turned);
    queue->spare_turned = NULL;
}
