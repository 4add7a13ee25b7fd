#include "oracle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/tcp/connection.h"
#include "payload.h"
#include "trace.h"
#include "world.h"

/** What a SYN takes along at most: to an own address. */
#define SYN_PAYLOAD_MAX 65535
/** Retransmission timeouts without any frame lost: of hosts that are slow, or switched off. */
#define TIMEOUTS_PER_ENDPOINT 8
/** Acknowledgements this far above an initial sequence number are of that connection. */
#define STREAM_BYTES_MAX (1u << 30)

static bool endpoint_is(const struct flow_side *side, const struct ip_address *address,
                        uint16_t port)
{
    return side->port == port && ip_address_equal(&side->address, address);
}

struct flow_watch *oracle_flow(struct world *world, const struct ip_address *source,
                               uint16_t source_port, const struct ip_address *destination,
                               uint16_t destination_port, unsigned *side)
{
    for (struct flow_watch *flow = world->flows; flow != NULL; flow = flow->next) {
        for (unsigned i = 0; i < 2; i++) {
            if (endpoint_is(&flow->sides[i], source, source_port) &&
                endpoint_is(&flow->sides[1 - i], destination, destination_port)) {
                *side = i;
                return flow;
            }
        }
    }
    struct flow_watch *flow = calloc(1, sizeof(*flow));
    if (flow == NULL)
        abort();
    flow->sides[0].address = *source;
    flow->sides[0].port = source_port;
    flow->sides[1].address = *destination;
    flow->sides[1].port = destination_port;
    flow->next = world->flows;
    world->flows = flow;
    *side = 0;
    return flow;
}

static bool syn_was_seen(const struct flow_side *side, uint32_t seq)
{
    unsigned count = side->syn_count < ORACLE_SYNS_MAX ? side->syn_count : ORACLE_SYNS_MAX;
    for (unsigned i = 0; i < count; i++) {
        if (side->syn_seqs[i] == seq)
            return true;
    }
    return false;
}

struct connection_pair *oracle_pair_of_accepted(struct world *world,
                                                struct tcp_connection *connection)
{
    struct ip_endpoint local, remote;
    unsigned side;
    tcp_endpoints(connection, &local, &remote);
    struct flow_watch *flow =
        oracle_flow(world, &local.address, local.port, &remote.address, remote.port, &side);
    struct endpoint *opener = flow->sides[1 - side].endpoint;
    uint32_t iss = (uint32_t)(tcp_rcv_start(&connection->hot) - 1);
    if (opener == NULL || !opener->iss_known || opener->iss == iss)
        return opener == NULL ? NULL : opener->pair;
    /* The 4-tuple is in use again already: this is from an opener that has given up. */
    for (struct endpoint *e = world->endpoints; e != NULL; e = e->next)
        if (e->iss_known && e->iss == iss && e->ended)
            return e->pair;
    return opener->pair;
}

/* ---- Frames sent -------------------------------------------------------------------------- */

/** A bare acknowledgement may have been on its way before the placement began (DCTCP's, sent
   apart): check_ack() sees to it that it tells of nothing that is being placed. */
static void check_placement_holds(struct world *world, const struct endpoint *endpoint,
                                  const struct frame_view *view)
{
    bool is_bare = view->payload_length == 0 && (view->flags & (TCP_SYN | TCP_FIN)) == 0;
    if (endpoint->placements_pending != 0 && !is_bare)
        world_fail(world, "connection %u side %u sends while payload is being placed", endpoint->id,
                   endpoint->side);
}

/** A SYN or SYN-ACK: sequence numbers begin anew. */
static void watch_syn(struct world *world, struct flow_side *self, const struct frame_view *view,
                      struct endpoint *owner)
{
    world_probe_syn(world, view);
    if (!syn_was_seen(self, view->seq)) {
        self->syn_seqs[self->syn_count++ % ORACLE_SYNS_MAX] = view->seq;
        self->edge_known = false;
    }
    self->scale_offered = view->options.has_window_scale;
    self->scale = view->options.window_scale > 14 ? 14 : view->options.window_scale;
    self->syn_window = view->window;
    if (owner != NULL && owner->offered_edge < view->window)
        owner->offered_edge = view->window;
    if (owner != NULL && !owner->iss_known && owner->connection != NULL &&
        (owner->side == 0 || owner->pair->simultaneous)) {
        owner->iss = view->seq;
        owner->iss_known = true;
    }
    if ((view->flags & TCP_ACK) != 0 && owner != NULL && owner->pair->simultaneous)
        world->coverage.simultaneous_opens++;
    if (view->payload_length != 0 && (owner == NULL || !owner->pair->fast_open))
        world_fail(world, "SYN with payload");
}

/** Fast open: payload on a SYN counts from its number. */
static void check_syn_payload(struct world *world, const struct endpoint *owner,
                              const struct frame_view *view, uint64_t stream_offset)
{
    world->coverage.fast_opens++;
    if (stream_offset != 0 || view->payload_length > owner->written)
        world_fail(world, "connection %u side %u: the SYN brings %u bytes from %llu of %llu",
                   owner->id, owner->side, view->payload_length, (unsigned long long)stream_offset,
                   (unsigned long long)owner->written);
}

/** Where the initial sequence number must have been for this segment; learnt at the first. */
static void check_sequence(struct world *world, struct flow_side *self, struct endpoint *owner,
                           const struct frame_view *view, uint64_t stream_offset)
{
    uint32_t iss = view->seq - 1 - (uint32_t)stream_offset;
    if (!owner->iss_known) {
        if (!syn_was_seen(self, iss))
            world_fail(world, "connection %u side %u: seq %u is not offset %llu after any SYN",
                       owner->id, owner->side, view->seq, (unsigned long long)stream_offset);
        owner->iss = iss;
        owner->iss_known = true;
    }
    if (owner->iss != iss)
        world_fail(world, "connection %u side %u: seq %u is not stream offset %llu (ISS %u)",
                   owner->id, owner->side, view->seq, (unsigned long long)stream_offset,
                   owner->iss);
}

static void check_window(struct world *world, struct flow_side *self, struct endpoint *owner,
                         const struct frame_view *view)
{
    if (!self->edge_known && owner->pair->fast_open) {
        self->edge = owner->iss + 1 + self->opening_window;
        self->edge_known = true;
    }
    if (!self->edge_known)
        world_fail(world, "connection %u side %u sends data before any window was offered",
                   owner->id, owner->side);
    int32_t start = (int32_t)(view->seq - self->edge);
    int32_t end = (int32_t)(view->seq + view->payload_length - self->edge);
    if (end <= 0)
        return;
    /* What the SYN brought in vain goes out again, and may find the window closed: it probes. */
    if (owner->pair->fast_open && start == 0 &&
        view->seq == owner->iss + 1 + (uint32_t)owner->acked)
        return;
    if (start > 0 || view->payload_length != 1)
        world_fail(world, "connection %u side %u sends %u bytes, %d beyond the offered window",
                   owner->id, owner->side, view->payload_length, end);
}

static void check_payload(struct world *world, struct flow_side *self, struct endpoint *owner,
                          const struct frame_view *view, uint64_t stream_offset)
{
    if (stream_offset < owner->acked || stream_offset + view->payload_length > owner->written)
        world_fail(world, "connection %u side %u sends offsets %llu+%u; kept are %llu to %llu",
                   owner->id, owner->side, (unsigned long long)stream_offset, view->payload_length,
                   (unsigned long long)owner->acked, (unsigned long long)owner->written);
    check_sequence(world, self, owner, view, stream_offset);
    check_window(world, self, owner, view);
    if (view->seq + view->payload_length < view->seq && stream_offset >= owner->sent_high)
        world->coverage.sequence_wraps++;
    if (stream_offset + view->payload_length > owner->sent_high)
        owner->sent_high = stream_offset + view->payload_length;
}

static void check_fin(struct world *world, struct flow_side *self, struct endpoint *owner,
                      const struct frame_view *view)
{
    if (!owner->shut_down)
        world_fail(world, "connection %u side %u sends a FIN nobody asked for", owner->id,
                   owner->side);
    check_sequence(world, self, owner, view, owner->written - view->payload_length);
}

/** What is acknowledged must be in place, and the window must not be taken back. */
static void check_ack(struct world *world, const struct flow_watch *flow, unsigned side,
                      struct endpoint *owner, const struct frame_view *view)
{
    const struct endpoint *peer = owner->pair->endpoints[1 - owner->side];
    const struct flow_side *self = &flow->sides[side];
    bool scaled = flow->sides[0].scale_offered && flow->sides[1].scale_offered;
    unsigned shift = scaled && (view->flags & TCP_SYN) == 0 ? self->scale : 0;
    if (peer == NULL || !peer->iss_known) {
        /* Nothing came from the peer yet: this window counts from its stream's beginning. */
        if (owner->offered_edge < (uint64_t)view->window << shift)
            owner->offered_edge = (uint64_t)view->window << shift;
        return;
    }
    uint32_t expected = peer->iss + 1 + (uint32_t)owner->placed_prefix;
    uint64_t ack = owner->placed_prefix + (uint64_t)(int64_t)(int32_t)(view->ack - expected);
    bool fin_too = peer->shut_down && owner->placed_prefix == peer->written;
    if (ack + 1 == 0)
        return; /* of the SYN only, before it: a simultaneous open's */
    if ((int64_t)ack > (int64_t)(owner->placed_prefix + fin_too))
        world_fail(world, "connection %u side %u acknowledges offset %llu, placed up to %llu",
                   owner->id, owner->side, (unsigned long long)ack,
                   (unsigned long long)owner->placed_prefix);
    if (owner->acked_on_wire && ack < owner->ack_high)
        world_fail(world, "connection %u side %u takes back an acknowledgement: %llu after %llu",
                   owner->id, owner->side, (unsigned long long)ack,
                   (unsigned long long)owner->ack_high);
    owner->acked_on_wire = true;
    owner->ack_high = ack;
    uint64_t edge = ack + ((uint64_t)view->window << shift);
    uint64_t rounding = UINT64_C(1) << (scaled ? self->scale : 0);
    if (edge + rounding < owner->offered_edge && !owner->closed_by_us && !owner->fin_arrived)
        world_fail(world, "connection %u side %u shrinks its window from %llu to %llu", owner->id,
                   owner->side, (unsigned long long)owner->offered_edge, (unsigned long long)edge);
    if (edge > owner->offered_edge)
        owner->offered_edge = edge;
    world->coverage.probes += view->payload_length == 0 && owner->iss_known &&
                              view->seq == owner->iss + (uint32_t)owner->acked;
    world->coverage.windows_closed += view->window == 0;
    world->coverage.windows_tiny += view->window != 0 && (uint32_t)view->window << shift < 536;
}

static bool is_placed(const struct endpoint *endpoint, uint64_t offset)
{
    return offset < endpoint->placed_capacity &&
           (endpoint->placed[offset / 8] >> (offset % 8) & 1) != 0;
}

static void check_sack(struct world *world, struct endpoint *owner, const struct frame_view *view)
{
    const struct endpoint *peer = owner->pair->endpoints[1 - owner->side];
    for (unsigned i = 0; i < view->options.sack_block_count; i++) {
        const struct tcp_sack_block *block = &view->options.sack_blocks[i];
        uint32_t length = block->end.value - block->start.value;
        world->coverage.sack_blocks++;
        if (peer == NULL || !peer->iss_known || length == 0 || length > STREAM_BYTES_MAX)
            world_fail(world, "SACK block %u:%u of nothing", block->start.value, block->end.value);
        uint32_t base = peer->iss + 1 + (uint32_t)owner->placed_prefix;
        int64_t start = (int64_t)owner->placed_prefix + (int32_t)(block->start.value - base);
        for (int64_t offset = start < 0 ? 0 : start; offset < start + length; offset++) {
            bool fin = peer->shut_down && (uint64_t)offset == peer->written;
            if (!is_placed(owner, (uint64_t)offset) && !fin)
                world_fail(world, "connection %u side %u: SACK of offset %lld, which is not placed",
                           owner->id, owner->side, (long long)offset);
        }
    }
}

static void check_timestamp(struct world *world, const struct flow_side *self,
                            struct endpoint *owner, const struct frame_view *view)
{
    if (!view->options.has_timestamps)
        return;
    uint32_t value = view->options.timestamp_value;
    if (owner->tsval_known && (int32_t)(value - owner->tsval) < 0)
        world_fail(world, "connection %u side %u: timestamp %u after %u", owner->id, owner->side,
                   value, owner->tsval);
    world->coverage.timestamp_wraps += owner->tsval_known && value < owner->tsval;
    if (self->echo_known && (view->flags & TCP_ACK) != 0 &&
        (int32_t)(view->options.timestamp_echo - self->echo_max) > 0)
        world_fail(world, "connection %u side %u echoes timestamp %u, of a segment out of order",
                   owner->id, owner->side, view->options.timestamp_echo);
    owner->tsval_known = true;
    owner->tsval = value;
    owner->tsecr = view->options.timestamp_echo;
}

static void check_tcp_sent(struct world *world, struct host *host, const struct frame_view *view,
                           struct endpoint *endpoint, uint64_t stream_offset)
{
    unsigned side;
    struct flow_watch *flow = oracle_flow(world, &view->source, view->source_port,
                                          &view->destination, view->destination_port, &side);
    struct flow_side *self = &flow->sides[side];
    struct endpoint *owner = endpoint != NULL ? endpoint : self->endpoint;
    if (owner != NULL && (owner->ended || owner->host != host))
        owner = NULL;
    /* A new handshake on the 4-tuple, while the old one is in TIME_WAIT. */
    if (owner != NULL && (view->flags & TCP_SYN) != 0 && owner->iss_known &&
        owner->iss != view->seq)
        owner = NULL;
    if (view->payload_length != 0 && endpoint == NULL)
        world_fail(world, "payload without a connection");
    if ((view->flags & TCP_SYN) != 0)
        watch_syn(world, self, view, owner);
    if (owner == NULL || owner->pair->reset_is_due || (view->flags & TCP_RST) != 0) {
        if (endpoint != NULL && view->payload_length != 0 && (view->flags & TCP_SYN) == 0)
            check_payload(world, self, endpoint, view, stream_offset);
        return;
    }
    check_placement_holds(world, owner, view);
    if (view->payload_length != 0 && (view->flags & TCP_SYN) != 0)
        check_syn_payload(world, owner, view, stream_offset);
    else if (view->payload_length != 0)
        check_payload(world, self, owner, view, stream_offset);
    if ((view->flags & TCP_FIN) != 0)
        check_fin(world, self, owner, view);
    if ((view->flags & TCP_ACK) != 0) {
        check_ack(world, flow, side, owner, view);
        check_sack(world, owner, view);
    }
    check_timestamp(world, self, owner, view);
}

void oracle_frame_sent(struct world *world, struct host *host, const struct frame *frame,
                       const struct frame_view *view, struct endpoint *endpoint,
                       uint64_t stream_offset)
{
    if (view->kind == FRAME_MALFORMED)
        world_fail(world, "host %u sends a malformed frame of %u bytes", host->index,
                   frame->length);
    if (!view->checksums_good && view->kind != FRAME_FRAGMENT && view->kind != FRAME_OTHER)
        world_fail(world, "host %u sends a wrong checksum", host->index);
    if (view->kind != FRAME_TCP)
        return;
    bool to_self = ip_address_equal(&view->destination, &view->source);
    if (frame->length > 14u + host->config.mtu && !to_self)
        world_fail(world, "host %u sends %u bytes over an MTU of %u", host->index,
                   frame->length - 14, host->config.mtu);
    struct ip_address own = host_address(host->index, view->is_ipv6);
    if (!ip_address_equal(&view->source, &own))
        world_fail(world, "host %u sends from an address that is not its own", host->index);
    check_tcp_sent(world, host, view, endpoint, stream_offset);
}

/* ---- Frames delivered --------------------------------------------------------------------- */

/** Whether the side's endpoint is of the handshake seen last, not of one before it. */
static bool is_of_last_handshake(const struct flow_side *side)
{
    return side->syn_count > 0 && side->endpoint->iss_known &&
           side->endpoint->iss == side->syn_seqs[(side->syn_count - 1) % ORACLE_SYNS_MAX];
}

/** Only what does not lie beyond the last acknowledgement may be echoed. */
static void note_echo(struct flow_side *receiver, const struct tcp_segment *segment)
{
    const struct endpoint *endpoint = receiver->endpoint;
    uint32_t value = segment->options.timestamp_value;
    if (!segment->options.has_timestamps)
        return;
    bool opens = (segment->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN; /* what comes next may be new */
    if (!opens && endpoint != NULL && endpoint->acked_on_wire && !endpoint->ended &&
        is_of_last_handshake(receiver)) {
        const struct endpoint *sender = endpoint->pair->endpoints[1 - endpoint->side];
        if (sender != NULL && sender->iss_known &&
            (int32_t)(segment->seq.value - sender->iss - 1 - (uint32_t)endpoint->ack_high) > 0)
            return;
    }
    if (!receiver->echo_known || (int32_t)(value - receiver->echo_max) > 0)
        receiver->echo_max = value;
    receiver->echo_known = true;
}

void oracle_segment_delivered(struct world *world, const struct tcp_segment *segment)
{
    unsigned side;
    if ((segment->flags & TCP_RST) != 0)
        return;
    struct flow_watch *flow =
        oracle_flow(world, &segment->source.address, segment->source.port,
                    &segment->destination.address, segment->destination.port, &side);
    const struct flow_side *source = &flow->sides[side];
    struct flow_side *receiver = &flow->sides[1 - side];
    bool scaled = flow->sides[0].scale_offered && flow->sides[1].scale_offered &&
                  (segment->flags & TCP_SYN) == 0;
    note_echo(receiver, segment);
    if ((segment->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
        receiver->opening_window = segment->window;
    if (receiver->syn_count == 0 || (segment->flags & TCP_ACK) == 0)
        return;
    uint32_t iss = receiver->syn_seqs[(receiver->syn_count - 1) % ORACLE_SYNS_MAX];
    if (segment->ack.value - iss > STREAM_BYTES_MAX)
        return; /* of an older connection */
    uint32_t edge =
        segment->ack.value + ((uint32_t)segment->window << (scaled ? source->scale : 0));
    if (!receiver->edge_known || (int32_t)(edge - receiver->edge) > 0)
        receiver->edge = edge;
    receiver->edge_known = true;
}

/* ---- Payload ------------------------------------------------------------------------------ */

static void note_placed(struct endpoint *endpoint, uint64_t offset, uint32_t length)
{
    for (uint64_t i = offset; i < offset + length; i++)
        endpoint->placed[i / 8] |= (uint8_t)(1u << (i % 8));
    while (is_placed(endpoint, endpoint->placed_prefix))
        endpoint->placed_prefix++;
}

void oracle_segment_taken(struct world *world, const struct endpoint *endpoint,
                          const struct tcp_segment *segment)
{
    const struct tcp_options *options = &segment->options;
    if (endpoint->tsval_known && endpoint->acked_on_wire && options->has_timestamps &&
        (int32_t)(options->timestamp_value - endpoint->tsecr) < 0)
        world_fail(world, "connection %u side %u takes a timestamp %u after it echoed %u (PAWS)",
                   endpoint->id, endpoint->side, options->timestamp_value, endpoint->tsecr);
}

void oracle_payload_placed(struct world *world, struct endpoint *endpoint, uint64_t offset,
                           const uint8_t *bytes, uint32_t length)
{
    const struct endpoint *peer = endpoint->pair->endpoints[1 - endpoint->side];
    if ((peer == NULL || offset + length > peer->written) && !endpoint->pair->ghosted)
        world_fail(world, "connection %u side %u: %u bytes at %llu were never written",
                   endpoint->id, endpoint->side, length, (unsigned long long)offset);
    if (offset < endpoint->consumed)
        world_fail(world, "connection %u side %u: bytes at %llu delivered again, consumed %llu",
                   endpoint->id, endpoint->side, (unsigned long long)offset,
                   (unsigned long long)endpoint->consumed);
    uint32_t match = payload_match(application_peer_key(endpoint), offset, bytes, length);
    if (match != length && !endpoint->pair->ghosted) /* fast open: of two, whose numbers are near */
        world_fail(world, "connection %u side %u: wrong byte at offset %llu", endpoint->id,
                   endpoint->side, (unsigned long long)offset + match);
    uint64_t edge = endpoint->offered_edge;
    if (endpoint->pair->fast_open && offset == 0 && length <= SYN_PAYLOAD_MAX && edge < length)
        edge = length; /* with the SYN: before any window was offered */
    if (offset + length > edge && !endpoint->pair->reset_is_due)
        world_fail(world, "connection %u side %u takes %u bytes at %llu, offered %llu",
                   endpoint->id, endpoint->side, length, (unsigned long long)offset,
                   (unsigned long long)edge);
    note_placed(endpoint, offset, length);
}

void oracle_urgent(struct world *world, const struct endpoint *endpoint, uint64_t offset)
{
    const struct endpoint *peer = endpoint->pair->endpoints[1 - endpoint->side];
    unsigned kept = peer == NULL                            ? 0
                    : peer->urgent_count > URGENT_MARKS_MAX ? URGENT_MARKS_MAX
                                                            : peer->urgent_count;
    world->coverage.urgent_marks++;
    for (unsigned i = 0; i < kept; i++) {
        uint64_t mark = peer->urgent_marks[i];
        /* Further ahead than the pointer reaches, it says as much as it can (as Linux). */
        if (mark == offset || (mark > offset && offset >= UINT16_MAX))
            return;
    }
    if (kept < URGENT_MARKS_MAX && !endpoint->pair->ghosted)
        world_fail(world,
                   "connection %u side %u: urgent data ends at %llu, the peer marked none there",
                   endpoint->id, endpoint->side, (unsigned long long)offset);
}

/* ---- Ends --------------------------------------------------------------------------------- */

static bool error_is_due(const struct world *world, const struct endpoint *endpoint, int error)
{
    const struct settings *s = &world->settings;
    const struct connection_pair *pair = endpoint->pair;
    bool gone = error == ECONNRESET || error == EPIPE;
    if (pair->reset_is_due && (gone || error == ECONNREFUSED))
        return true;
    if (endpoint->eof && gone)
        return true; /* the peer had closed: its orphan may have been cleared away */
    if (pair->refusal_is_due && (error == ECONNREFUSED || (pair->simultaneous && gone)))
        return true;
    if ((s->dies || s->restarts || s->errors_permitted) && (gone || error == ETIMEDOUT))
        return true;
    if ((s->dies || s->errors_permitted || !s->wires[0].spares_neighbours) &&
        (error == EHOSTUNREACH || error == ENETUNREACH))
        return true;
    return false;
}

void oracle_error_reported(struct world *world, struct endpoint *endpoint, int error)
{
    if (!error_is_due(world, endpoint, error))
        world_fail(world, "connection %u side %u: error %d (%s) without cause", endpoint->id,
                   endpoint->side, error, strerror(error));
    world->coverage.connections_reset++;
}

void oracle_endpoint_ended(struct world *world, struct endpoint *endpoint)
{
    const struct connection_pair *pair = endpoint->pair;
    const struct plan *plan = &pair->plans[endpoint->side];
    if (!endpoint->closed_by_us && endpoint->error == 0)
        world_fail(world, "connection %u side %u closed by nobody", endpoint->id, endpoint->side);
    if (pair->refusal_is_due && !pair->simultaneous && endpoint->error != ECONNREFUSED &&
        !pair->reset_is_due)
        world_fail(world, "connection %u side %u should have been refused", endpoint->id,
                   endpoint->side);
    const struct settings *settings = &world->settings;
    bool orphan_may_die = settings->errors_permitted || settings->dies || settings->restarts;
    if (pair->reset_is_due || endpoint->error != 0 || orphan_may_die)
        return;
    if (endpoint->written != plan->total || endpoint->acked != plan->total)
        world_fail(world, "connection %u side %u ends with %llu of %llu bytes acknowledged",
                   endpoint->id, endpoint->side, (unsigned long long)endpoint->acked,
                   (unsigned long long)plan->total);
    if (endpoint->consumed != application_peer_plan(endpoint)->total)
        world_fail(world, "connection %u side %u ends with %llu of %llu bytes read", endpoint->id,
                   endpoint->side, (unsigned long long)endpoint->consumed,
                   (unsigned long long)application_peer_plan(endpoint)->total);
    const struct endpoint *peer = pair->endpoints[1 - endpoint->side];
    world->coverage.connections_clean += peer != NULL && peer->ended && peer->error == 0;
}

static bool count_connection(void *context, struct tcp_connection *connection)
{
    (void)connection;
    ++*(unsigned *)context;
    return true;
}

/** On a good wire nothing waits for the retransmission timer (tail probes may be in vain). */
static void check_host_was_patient(struct world *world, struct host *host)
{
    const struct stack_counters *counters = stack_get_counters(host->stack);
    if (world->settings.lossless && counters->rto_expirations != 0)
        world_fail(world, "host %u had %llu retransmission timeouts on a good wire", host->index,
                   (unsigned long long)counters->rto_expirations);
}

/** Timeouts back off, and each has a cause: a frame that did not arrive, or came late. */
static void check_no_storm(struct world *world)
{
    const struct coverage *c = &world->coverage;
    uint64_t causes = c->frames_lost + c->frames_queue_full + c->frames_corrupted +
                      c->frames_reordered + c->frames_too_big + c->frames_black_hole +
                      c->payload_refused + c->frames_fragmented + c->listen_overflows;
    uint64_t timeouts = 0;
    for (unsigned i = 0; i < world->settings.host_count; i++)
        timeouts += stack_get_counters(world->hosts[i].stack)->rto_expirations;
    uint64_t most = causes + TIMEOUTS_PER_ENDPOINT * (uint64_t)world->endpoint_count;
    if (timeouts > most)
        world_fail(world, "%llu retransmission timeouts; %llu frames gave cause for any",
                   (unsigned long long)timeouts, (unsigned long long)causes);
}

static void check_host_is_empty(struct world *world, struct host *host)
{
    const struct stack_counters *counters = stack_get_counters(host->stack);
    unsigned left = 0;
    struct tcp_listener_info info;
    stack_check(host->stack);
    stack_for_each_connection(host->stack, count_connection, &left);
    if (left != 0 || counters->connections_now != 0 || counters->time_wait_now != 0 ||
        counters->established_now != 0)
        world_fail(world,
                   "host %u is left with %u connections (counted %llu, %llu TIME_WAIT, %llu"
                   " established)",
                   host->index, left, (unsigned long long)counters->connections_now,
                   (unsigned long long)counters->time_wait_now,
                   (unsigned long long)counters->established_now);
    if (stack_interval_pool(host->stack)->in_use != 0)
        world_fail(world, "host %u is left with %u intervals", host->index,
                   stack_interval_pool(host->stack)->in_use);
    tcp_listener_get_info(host->listener, &info);
    if (info.accept_queue != 0 || info.syn_queue != 0)
        world_fail(world, "host %u is left with back-log %u + %u", host->index, info.accept_queue,
                   info.syn_queue);
}

void oracle_world_ended(struct world *world)
{
    for (const struct endpoint *e = world->endpoints; e != NULL; e = e->next) {
        if (!e->ended)
            world_fail(world, "connection %u side %u never ended", e->id, e->side);
    }
    if (world->connections_started < world->connections_wanted)
        world_fail(world, "only %u connections begun", world->connections_started);
    for (unsigned i = 0; i < world->settings.host_count; i++) {
        check_host_is_empty(world, &world->hosts[i]);
        check_host_was_patient(world, &world->hosts[i]);
    }
    check_no_storm(world);
}
