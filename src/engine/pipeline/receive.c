#include "engine/dpdk.h"

#include "engine/pipeline/receive.h"

#include <errno.h>

#include "engine/engine_core.h"
#include "engine/pipeline/events.h"
#include "engine/pipeline/frames.h"
#include "engine/pipeline/notify.h"
#include "engine/pipeline/steer.h"
#include "engine/pipeline/tap.h"
#include "engine/ports/port.h"
#include "engine/socket.h"

#define PREFETCH_AHEAD 4

/** A frame being received; who holds its memory while copies are under way. */
struct arrival {
    const uint8_t *bytes;
    uint32_t length;
    struct stack_rx_hints hints;
    struct rte_mbuf *mbuf; /**< NULL: memory that does not outlive the call */
};

/* ---- Placing ----------------------------------------------------------------------------------
 */

/** One copy into host memory, until it completes. */
struct dma_operation {
    struct engine_core *core;
    struct engine_socket *socket;
    struct rte_mbuf *mbuf;
};

size_t receive_dma_operation_bytes(void)
{
    return sizeof(struct dma_operation);
}

/** One copy, or the placement that started them, is over. */
static void copy_finished(struct engine_core *core, struct engine_socket *socket)
{
    if (--socket->copies_in_flight > 0)
        return;
    if (socket->connection != NULL)
        tcp_placement_end(core->stack, socket->connection);
    if (socket->news_held_back) {
        socket->news_held_back = false;
        notify_socket(socket, DIRTY_DATA);
    }
    socket_finish_if_orphan(socket);
}

/** Payload that could not be placed must never be acknowledged. */
static void placement_failed(struct engine_core *core, struct engine_socket *socket)
{
    core->counters.placement_failures++;
    if (socket->connection != NULL)
        tcp_abort(core->stack, socket->connection, core->now_ns);
}

static void copied(void *context, int error)
{
    struct dma_operation *operation = context;
    struct engine_core *core = operation->core;
    struct engine_socket *socket = operation->socket;
    rte_pktmbuf_free(operation->mbuf);
    object_pool_give(&core->dma_operations, operation);
    if (error != 0)
        placement_failed(core, socket);
    copy_finished(core, socket);
}

static void start_copy(struct engine_core *core, struct engine_socket *socket,
                       const struct rx_extent *extent, const uint8_t *bytes, struct rte_mbuf *mbuf)
{
    const struct dma_backend *dma = core->engine->dma;
    struct dma_operation *operation;
    while ((operation = object_pool_take(&core->dma_operations)) == NULL)
        (void)dma->poll(core->dma);
    *operation = (struct dma_operation){.core = core, .socket = socket, .mbuf = mbuf};
    if (mbuf != NULL)
        rte_mbuf_refcnt_update(mbuf, 1);
    socket->copies_in_flight++;
    int result;
    while ((result = dma->write(core->dma, &socket->tenant->tenant->arena, extent->arena_offset,
                                bytes, (uint32_t)extent->length, copied, operation)) == -EAGAIN)
        (void)dma->poll(core->dma);
    if (result != 0)
        copied(operation, result);
}

static void place(struct engine_core *core, const struct stack_rx_result *result,
                  const uint8_t *payload, struct rte_mbuf *mbuf)
{
    struct engine_socket *socket = tcp_user(result->connection);
    uint64_t offset = result->place_offset;
    uint64_t end = offset + result->place_length;
    if (socket == NULL) {
        tcp_abort(core->stack, result->connection, core->now_ns);
        core->counters.placement_failures++;
        return;
    }
    core->last_placed_ns = core->now_ns;
    if (socket->stamps)
        socket_get_extra(socket)->arrived_ns = engine_real_now_ns();
    core->may_trim = true;
    struct rx_memory memory = {&socket->tenant->rx_chunks, &socket->tenant->receive_pool};
    uint64_t received = tcp_received_offset(result->connection);
    if (!rx_buffer_extend(&socket->rx, &memory, received < offset ? received : offset, end)) {
        placement_failed(core, socket);
        return;
    }
    /* A count for ourselves, so that copies that complete at once don't end the placement. */
    if (socket->copies_in_flight++ == 0)
        tcp_placement_begin(result->connection);
    while (offset < end) {
        struct rx_extent extent = rx_buffer_find(&socket->rx, offset, end);
        if (extent.length == 0) {
            placement_failed(core, socket);
            break;
        }
        start_copy(core, socket, &extent, payload, mbuf);
        payload += extent.length;
        offset += extent.length;
    }
    /* Memory that does not outlive this call has to be copied before it ends. */
    while (mbuf == NULL && socket->copies_in_flight > 1)
        (void)core->engine->dma->poll(core->dma);
    copy_finished(core, socket);
}

/* ---- One frame --------------------------------------------------------------------------------
 */

static bool has_no_room(const struct engine_socket *socket)
{
    const struct tenant_core *tenant = socket->tenant;
    const struct chunk_pool_statistics *pool = &tenant->receive_pool.statistics;
    const struct object_pool *all = &tenant->core->rx_chunks;
    const struct object_share *own = &tenant->rx_chunks;
    uint32_t unused = all->capacity - all->in_use;
    if (unused > own->limit - own->in_use)
        unused = own->limit - own->in_use;
    return pool->bytes_total - pool->bytes_in_use < tenant->receive_reserve_bytes ||
           unused * (uint64_t)CHUNK_BYTES_MIN < tenant->receive_reserve_bytes;
}

/** Whom the payload would go to; NULL: nobody the host knows of yet. */
static struct engine_socket *receiver(const struct stack_rx *rx)
{
    return rx->connection != NULL ? tcp_user(rx->connection) : NULL;
}

static bool parse(struct engine_core *core, const struct arrival *arrival, struct stack_rx *rx)
{
    return stack_receive_parse(core->stack, arrival->bytes, arrival->length, arrival->hints,
                               core->now_ns, rx) == STACK_RX_TCP;
}

static void apply(struct engine_core *core, const struct arrival *arrival, struct stack_rx *rx)
{
    struct stack_rx_result result;
    stack_receive_segment(core->stack, rx, core->now_ns, &result);
    if (result.place_length == 0)
        return;
    const uint8_t *payload = rx->packet + rx->segment.payload_frame_offset + result.place_skip;
    place(core, &result, payload, rx->packet == arrival->bytes ? arrival->mbuf : NULL);
}

/**
 * Payload for a connection that the host has not been told of. Often it has been accepted in this
 * same burst; or this very segment completes the handshake: then it counts as a bare
 * acknowledgement first, and is received again once the connection has a socket.
 */
static void receive_early_payload(struct engine_core *core, const struct arrival *arrival,
                                  struct stack_rx *rx)
{
    (void)events_run(core);
    stack_receive_look_up(core->stack, rx);
    if (receiver(rx) == NULL) {
        rx->segment.payload_refused = true;
        apply(core, arrival, rx);
        (void)events_run(core);
        stack_receive_look_up(core->stack, rx);
        if (receiver(rx) == NULL)
            return;
    }
    rx->segment.payload_refused = has_no_room(receiver(rx));
    apply(core, arrival, rx);
}

/**
 * A socket bound to a port of its own choice connects from core 0, whichever core the flow would
 * belong to. So what nobody here waits for may be core 0's; that core also refuses what is
 * nobody's.
 */
static bool may_be_of_first_core(const struct engine_core *core, const struct stack_rx *rx)
{
    return core->index != 0 && rx->connection == NULL &&
           (rx->listener == NULL ||
            first_core_flows_have(&core->engine->first_core_flows, &rx->segment.destination,
                                  &rx->segment.source));
}

/** @return false: it has to go on to the first core. */
static bool receive_arrival(struct engine_core *core, const struct arrival *arrival)
{
    struct stack_rx rx;
    if (!parse(core, arrival, &rx))
        return true;
    if (rx.packet != arrival->bytes && steer_reassembled(core, arrival->bytes, rx.packet))
        return true;
    if (may_be_of_first_core(core, &rx))
        return false;
    if (rx.segment.payload_length > 0 && (rx.connection != NULL || rx.listener != NULL)) {
        struct engine_socket *socket = receiver(&rx);
        if (socket == NULL) {
            receive_early_payload(core, arrival, &rx);
            return true;
        }
        rx.segment.payload_refused = has_no_room(socket);
    }
    apply(core, arrival, &rx);
    return true;
}

void receive_bytes(struct engine_core *core, const uint8_t *frame, uint32_t bytes)
{
    struct arrival arrival = {.bytes = frame, .length = bytes};
    (void)receive_arrival(core, &arrival);
}

static struct stack_rx_hints hints_of(const struct rte_mbuf *mbuf)
{
    uint64_t flags = mbuf->ol_flags;
    uint64_t l4 = flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    return (struct stack_rx_hints){
        .ip_checksum_good = (flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD,
        /* NONE is DPDK's word for: not computed, as the frame was never on a wire. */
        .l4_checksum_good = l4 == RTE_MBUF_F_RX_L4_CKSUM_GOOD || l4 == RTE_MBUF_F_RX_L4_CKSUM_NONE,
        .gso_size = flags & RTE_MBUF_F_RX_LRO ? mbuf->tso_segsz : 0,
    };
}

/** Consumes the mbuf. */
static void receive_mbuf(struct engine_core *core, struct rte_mbuf *mbuf)
{
    /* Drivers that scatter a frame over several buffers are rare here: straighten it out. */
    if (mbuf->nb_segs > 1 && rte_pktmbuf_linearize(mbuf) != 0) {
        core->counters.frames_unreadable++;
        rte_pktmbuf_free(mbuf);
        return;
    }
    struct arrival arrival = {
        .bytes = rte_pktmbuf_mtod(mbuf, const uint8_t *),
        .length = rte_pktmbuf_pkt_len(mbuf),
        .hints = hints_of(mbuf),
        .mbuf = mbuf,
    };
    if (receive_arrival(core, &arrival))
        rte_pktmbuf_free(mbuf);
    else
        steer_mbuf_to_first(core, mbuf);
}

static void receive_turned(struct engine_core *core, struct turned_frame *frame)
{
    struct arrival arrival = {
        .bytes = frame->data,
        .length = frame->bytes,
        .hints = {.ip_checksum_good = true, .l4_checksum_good = true},
    };
    core->counters.frames_turned++;
    core->turned_received++;
    if (receive_arrival(core, &arrival))
        rte_mempool_put(core->engine->turned_frames, frame);
    else
        steer_turned_to_first(core, frame);
}

/* ---- Bursts -----------------------------------------------------------------------------------
 */

static bool receive_from_port(struct engine_core *core)
{
    struct rte_mbuf *frames[RECEIVE_BURST];
    if (!core->owns_queue)
        return false;
    uint16_t count = port_receive(core->engine->port, core->queue, frames, RECEIVE_BURST);
    for (uint16_t i = 0; i < count && i < PREFETCH_AHEAD; i++)
        rte_prefetch0(rte_pktmbuf_mtod(frames[i], const void *));
    for (uint16_t i = 0; i < count; i++) {
        if (i + PREFETCH_AHEAD < count)
            rte_prefetch0(rte_pktmbuf_mtod(frames[i + PREFETCH_AHEAD], const void *));
        if (tap_is_on(core))
            tap_received(core, frames[i]);
        if (!steer_received(core, frames[i]))
            receive_mbuf(core, frames[i]);
    }
    return count > 0;
}

static bool receive_from_cores(struct engine_core *core)
{
    void *words[RECEIVE_BURST];
    if (core->engine->core_count == 1)
        return false;
    unsigned count = rte_ring_sc_dequeue_burst(core->frames, words, RECEIVE_BURST, NULL);
    for (unsigned i = 0; i < count; i++) {
        enum frame_tag tag;
        void *frame = frames_untag(words[i], &tag);
        if (tag == FRAME_RECEIVED)
            receive_mbuf(core, frame);
        else if (tag == FRAME_TURNED)
            receive_turned(core, frame);
        else
            transmit_relay(core, frame);
    }
    return count > 0;
}

static bool receive_turned_frames(struct engine_core *core)
{
    struct transmit_queue *queue = &core->transmit;
    bool any = false;
    for (unsigned i = 0; i < RECEIVE_BURST && queue->turned_first != queue->turned_end; i++) {
        any = true;
        receive_turned(core, queue->turned[queue->turned_first++ % TRANSMIT_QUEUE_FRAMES]);
    }
    return any;
}

bool receive_run(struct engine_core *core)
{
    bool any = receive_from_port(core);
    any = receive_from_cores(core) || any;
    return receive_turned_frames(core) || any;
}

bool receive_is_idle(const struct engine_core *core)
{
    return core->transmit.turned_first == core->transmit.turned_end &&
           (core->engine->core_count == 1 || rte_ring_empty(core->frames));
}
