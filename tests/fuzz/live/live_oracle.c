/* What must hold whatever the peer does. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/tcp/connection.h"
#include "live.h"

/** Bare frames that one operation may cause: an answer or two per connection, and replies. */
#define BARE_FRAMES_MAX 200

void live_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "live-input: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

static bool is_placed(const struct live_slot *slot, uint64_t offset)
{
    return offset < LIVE_STREAM_BYTES && (slot->placed[offset / 8] >> (offset % 8) & 1) != 0;
}

/** Whether the stream to this connection may end at that number: a FIN there did arrive. */
static bool fin_arrived(const struct live *live, const struct tcp_connection *connection,
                        uint32_t seq)
{
    const struct tcp_flow *flow = &connection->flow;
    for (unsigned i = 0; i < live->fin_count; i++)
        if (live->fins[i].source_port == flow->remote_port &&
            live->fins[i].destination_port == flow->local_port && live->fins[i].seq == seq)
            return true;
    return live->fin_overflow;
}

void live_oracle_arrives(struct live *live, const struct tcp_segment *segment)
{
    if ((segment->flags & TCP_FIN) == 0)
        return;
    if (live->fin_count == LIVE_FINS) {
        live->fin_overflow = true;
        return;
    }
    live->fins[live->fin_count].source_port = segment->source.port;
    live->fins[live->fin_count].destination_port = segment->destination.port;
    live->fins[live->fin_count++].seq =
        segment->seq.value + segment->payload_length + ((segment->flags & TCP_SYN) != 0);
}

/* ---- Payload -------------------------------------------------------------------------------- */

void live_oracle_placed(struct live *live, struct live_slot *slot,
                        const struct tcp_connection *connection, uint64_t offset,
                        const uint8_t *bytes, uint32_t length)
{
    const struct tcp_flow *flow = &connection->flow;
    uint32_t seq = (uint32_t)(tcp_rcv_start(&connection->hot) + offset);
    if (slot->closed)
        live_fail("payload for a closed connection");
    if (offset < slot->consumed)
        live_fail("bytes at %llu again, read up to %llu", (unsigned long long)offset,
                  (unsigned long long)slot->consumed);
    /* As on Linux: what begins in the window is taken whole while nothing in order waits. */
    uint32_t beyond = slot->placed_prefix > slot->consumed ? 0 : UINT16_MAX;
    if (slot->edge_known && offset + length > slot->edge + beyond)
        live_fail("%u bytes at %llu, the window ends at %llu", length, (unsigned long long)offset,
                  (unsigned long long)slot->edge);
    for (uint32_t i = 0; i < length; i++)
        if (bytes[i] != live_byte(flow->remote_port, flow->local_port, seq + i))
            live_fail("wrong byte at offset %llu", (unsigned long long)offset + i);
    if (offset + length > LIVE_STREAM_BYTES)
        live->over = true;
}

void live_oracle_in_place(struct live *live, struct live_slot *slot, uint64_t offset,
                          uint32_t length)
{
    if (live->over)
        return;
    for (uint64_t i = offset; i < offset + length; i++)
        slot->placed[i / 8] |= (uint8_t)(1u << (i % 8));
    while (is_placed(slot, slot->placed_prefix))
        slot->placed_prefix++;
    if (offset + length > slot->placed_high)
        slot->placed_high = offset + length;
}

/* ---- Frames --------------------------------------------------------------------------------- */

static void check_payload(const struct tcp_connection *c, const struct stack_frame *out,
                          const struct frame *frame, const struct frame_view *view)
{
    const struct tcp_hot *hot = &c->hot;
    uint64_t start = tcp_snd_start(hot) + out->stream_offset;
    bool in_syn = (view->flags & TCP_SYN) != 0;
    if (start + view->payload_length > hot->snd_end || start < hot->snd_una - in_syn)
        live_fail("sends %u bytes at %llu, which are not (or no longer) to send",
                  view->payload_length, (unsigned long long)out->stream_offset);
    if ((uint32_t)start != view->seq + in_syn)
        live_fail("seq %u is not stream offset %llu", view->seq,
                  (unsigned long long)out->stream_offset);
    for (uint32_t i = 0; i < view->payload_length; i++)
        if (frame->bytes[view->payload_offset + i] !=
            live_byte(view->source_port, view->destination_port, (uint32_t)start + i))
            live_fail("sends a wrong byte");
}

/** Acknowledged is what lies in place, and an end of stream that the peer did send. */
static void check_ack(const struct live *live, const struct live_slot *slot,
                      const struct tcp_connection *c, const struct frame_view *view)
{
    uint32_t in_place =
        (uint32_t)(tcp_rcv_start(&c->hot) + (slot != NULL ? slot->placed_prefix : 0));
    int32_t beyond = (int32_t)(view->ack - in_place);
    bool fin = beyond == 1 && fin_arrived(live, c, in_place);
    if (slot != NULL && slot->closed && slot->consumed < slot->placed_high)
        return; /* reset with payload unread: numbers mean nothing any more */
    if (beyond > 0 && !fin)
        live_fail("acknowledges %d beyond what is in place", beyond);
    if (seq_of(view->ack).value != tcp_wire(c->hot.rcv_nxt).value)
        live_fail("acknowledges %u, received is %u", view->ack, (uint32_t)c->hot.rcv_nxt);
}

static void check_window(struct live_slot *slot, const struct tcp_connection *c,
                         const struct frame_view *view)
{
    bool is_syn = (view->flags & TCP_SYN) != 0;
    unsigned shift = is_syn ? 0 : c->hot.rcv_wscale;
    uint64_t ack = c->hot.rcv_nxt - tcp_rcv_start(&c->hot);
    uint64_t edge = ack + ((uint64_t)view->window << shift);
    if (slot->edge_known && edge + (UINT64_C(1) << c->hot.rcv_wscale) < slot->edge &&
        !slot->closed && !c->hot.fin_received)
        live_fail("shrinks its window from %llu to %llu", (unsigned long long)slot->edge,
                  (unsigned long long)edge);
    if (!slot->edge_known || edge > slot->edge)
        slot->edge = edge;
    slot->edge_known = true;
}

static void check_sack(const struct live *live, const struct live_slot *slot,
                       const struct tcp_connection *c, const struct frame_view *view)
{
    for (unsigned i = 0; i < view->options.sack_block_count; i++) {
        const struct tcp_sack_block *block = &view->options.sack_blocks[i];
        int32_t length = seq_diff(block->end, block->start);
        uint64_t start = tcp_unwrap(c->hot.rcv_nxt, block->start);
        if (length <= 0)
            live_fail("an empty SACK block");
        for (uint64_t n = start; n < start + (uint32_t)length; n++) {
            bool known = n < tcp_rcv_start(&c->hot) ||
                         is_placed(slot, n - tcp_rcv_start(&c->hot)) ||
                         fin_arrived(live, c, (uint32_t)n);
            if (!known)
                live_fail("SACK of offset %lld, which is not in place",
                          (long long)(n - tcp_rcv_start(&c->hot)));
        }
    }
}

static void check_timestamp(struct live_slot *slot, const struct frame_view *view)
{
    uint32_t value = view->options.timestamp_value;
    if (!view->options.has_timestamps)
        return;
    if (slot->timestamp_known && (int32_t)(value - slot->timestamp) < 0)
        live_fail("timestamp %u after %u", value, slot->timestamp);
    slot->timestamp_known = true;
    slot->timestamp = value;
}

/** Payload stays within the peer's window, but for what probes it: a byte, or the first segment
    again. */
static void check_peer_window(const struct tcp_connection *c, const struct frame_view *view)
{
    uint64_t start = tcp_unwrap(c->hot.snd_nxt, seq_of(view->seq));
    uint64_t end = start + view->payload_length;
    if ((view->flags & TCP_SYN) != 0 || view->payload_length <= 1 || start == c->hot.snd_una)
        return;
    if (end > c->hot.snd_una + c->hot.snd_wnd)
        live_fail("sends %llu beyond the peer's window",
                  (unsigned long long)(end - c->hot.snd_una - c->hot.snd_wnd));
}

static struct tcp_connection *connection_of(struct live *live, const struct frame_view *view)
{
    struct tcp_flow flow = {.local = view->source,
                            .remote = view->destination,
                            .local_port = view->source_port,
                            .remote_port = view->destination_port};
    return stack_flow_find(live->stack, &flow);
}

void live_oracle_sent(struct live *live, const struct stack_frame *out, const struct frame *frame,
                      const struct frame_view *view)
{
    /* Replies of the stack's own, to nobody and in TIME_WAIT, come with a whole checksum. */
    struct tcp_connection *c = out->l4_checksum_partial ? connection_of(live, view) : NULL;
    if (frame->length > 14u + live->config.mtu && !out->turn_round && live->gso_bytes_max == 0)
        live_fail("sends %u bytes over an MTU of %u", frame->length - 14, live->config.mtu);
    if (view->payload_length != 0 && out->connection == NULL)
        live_fail("payload without a connection");
    if (c == NULL || (view->flags & TCP_RST) != 0 || c->hot.state == TCP_STATE_CLOSED)
        return;
    struct live_slot *slot = tcp_user(c);
    if (slot != NULL && slot->connection != c)
        slot = NULL; /* TIME_WAIT: the program's part is over */
    if (slot != NULL && slot->pending != 0)
        live_fail("sends while payload is being placed");
    if (view->payload_length != 0) {
        check_payload(c, out, frame, view);
        check_peer_window(c, view);
    }
    if ((view->flags & TCP_FIN) != 0 && slot != NULL && !slot->shut)
        live_fail("sends a FIN that nobody asked for");
    if (slot == NULL || live->over || c->hot.state == TCP_STATE_SYN_SENT)
        return;
    if ((view->flags & TCP_ACK) != 0) {
        check_ack(live, slot, c, view);
        check_window(slot, c, view);
        check_sack(live, slot, c, view);
    }
    check_timestamp(slot, view);
}

/* ---- After each operation ------------------------------------------------------------------- */

static bool check_connection(void *context, struct tcp_connection *connection)
{
    const struct live *live = context;
    tcp_connection_check(live->stack, connection);
    return true;
}

void live_oracle_check(struct live *live)
{
    stack_for_each_connection(live->stack, check_connection, live);
    for (unsigned i = 0; i < LIVE_SLOTS && !live->over; i++) {
        const struct live_slot *slot = &live->slots[i];
        if (slot->connection == NULL || slot->closed)
            continue;
        uint64_t received = tcp_received_offset(slot->connection);
        if (slot->pending == 0 && received > slot->placed_prefix)
            live_fail("%llu received, %llu in place", (unsigned long long)received,
                      (unsigned long long)slot->placed_prefix);
        if (tcp_acked_offset(slot->connection) > tcp_send_end_offset(slot->connection))
            live_fail("more is acknowledged than was ever sent");
        uint64_t buffer = slot->connection->receive.buffer;
        if (buffer > LIVE_RECEIVE_BYTES && slot->connection->options->receive_buffer == 0)
            live_fail("a receive buffer of %llu bytes", (unsigned long long)buffer);
    }
    if (live->frames > BARE_FRAMES_MAX)
        live_fail("%u frames without payload for one operation", live->frames);
}

void live_oracle_check_empty(struct live *live)
{
    const struct stack_counters *counters = stack_get_counters(live->stack);
    stack_check(live->stack);
    for (unsigned i = 0; i < LIVE_SLOTS; i++)
        if (live->slots[i].connection != NULL)
            live_fail("slot %u was never told that its connection is gone", i);
    if (counters->connections_now != 0 || counters->established_now != 0 ||
        counters->time_wait_now != 0)
        live_fail("%llu connections are left (%llu established, %llu in TIME_WAIT)",
                  (unsigned long long)counters->connections_now,
                  (unsigned long long)counters->established_now,
                  (unsigned long long)counters->time_wait_now);
    if (stack_interval_pool(live->stack)->in_use != 0)
        live_fail("%u intervals are left", stack_interval_pool(live->stack)->in_use);
}
