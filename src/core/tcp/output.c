#include "core/tcp/output.h"

#include "core/tcp/congestion.h"
#include "core/tcp/defer.h"
#include "core/tcp/delivery.h"
#include "core/tcp/ecn.h"
#include "core/tcp/fast_open.h"
#include "core/tcp/mtu_probe.h"
#include "core/tcp/options.h"
#include "core/tcp/pacing.h"
#include "core/tcp/rare.h"
#include "core/tcp/receive.h"
#include "core/tcp/records.h"
#include "core/tcp/recovery.h"
#include "core/tcp/rto.h"
#include "core/tcp/scoreboard.h"
#include "core/tcp/timers.h"

/** One segment in the making, and what it is made for. */
struct emission {
    struct stack *stack;
    struct tcp_connection *connection;
    uint64_t now_ns;
    uint32_t gso_bytes_max;
    uint32_t mss; /**< payload per segment, SACK blocks that ride along taken off */
    struct tcp_output *output;
};

static uint32_t sack_option_bytes(const struct tcp_connection *connection)
{
    unsigned count = tcp_sack_blocks_wanted(connection);
    unsigned most = connection->hot.timestamps ? 3 : 4;
    if (count == 0)
        return 0;
    return 4 + 8 * (count < most ? count : most);
}

void tcp_output_request_if_wanted(struct stack *stack, struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    if (hot->acks_owed || tcp_unsent(connection) || tcp_fin_unsent(connection) || hot->syn_due ||
        hot->probe_due || hot->tail_probe_due || tcp_recovery_may_retransmit(connection))
        tcp_output_request(stack, connection);
}

/* ---- Headers ------------------------------------------------------------------------------- */

/** Acknowledgement, window, options: what every segment but a SYN carries. Whatever ACK was
    pending rides along.
    @param fresh  with payload that was not sent before. */
static void finish(const struct emission *e, uint64_t number, uint8_t flags, bool fresh)
{
    struct tcp_connection *connection = e->connection;
    struct tcp_hot *hot = &connection->hot;
    struct tcp_output *output = e->output;
    output->seq = tcp_wire(number);
    output->ack = tcp_wire(hot->rcv_nxt);
    output->flags = flags | TCP_ACK;
    output->window = tcp_window_advertise(connection);
    output->ecn = 0;
    output->urgent_pointer = 0;
    unsigned length = 0;
    if (hot->timestamps)
        length = tcp_options_build_timestamps(tcp_timestamp_now(connection, e->now_ns),
                                              hot->ts_recent, output->options);
    if (hot->sack) {
        struct tcp_sack_block blocks[TCP_SACK_BLOCKS_MAX];
        unsigned count = tcp_sack_blocks(connection, hot->timestamps ? 3 : 4, blocks);
        if (count > 0) {
            length += tcp_options_build_sack(blocks, count, output->options + length);
            tcp_reassembly_release_if_idle(e->stack, connection);
        }
    }
    output->options_length = (uint8_t)length;
    if (hot->ecn)
        tcp_ecn_output(connection, fresh, output);
    tcp_ack_rides_along(connection);
    connection->statistics.segments_out++;
}

/** The urgent pointer, on segments before the urgent byte's end (RFC 9293 §3.8.5). */
static void set_urgent(const struct emission *e, uint64_t number)
{
    uint64_t urgent = e->connection->rare->snd_urgent;
    if (urgent == 0 || number >= urgent)
        return;
    uint64_t distance = urgent - number;
    e->output->flags |= TCP_URG;
    e->output->urgent_pointer = (uint16_t)(distance < UINT16_MAX ? distance : UINT16_MAX);
}

/** Whether PSH belongs on new payload up to data_end: at the end of what the application gave,
   unless it said that there is more, and of a record, and, as Linux, of what a timer forces out. */
static bool is_pushed(const struct tcp_connection *connection, uint64_t data_end)
{
    const struct tcp_hot *hot = &connection->hot;
    return (data_end == hot->snd_end && !hot->more) || hot->push_partial ||
           tcp_record_ends(connection, data_end);
}

/** Payload [number, end) and FIN if end passes it.
    @param pushed  PSH belongs on it. */
static void finish_data(const struct emission *e, uint64_t number, uint64_t end, bool pushed)
{
    struct tcp_connection *connection = e->connection;
    struct tcp_hot *hot = &connection->hot;
    PNO_ASSERT(e->mss > 0);
    uint64_t data_end = end < hot->snd_end ? end : hot->snd_end;
    uint32_t length = (uint32_t)(data_end - number);
    uint8_t flags = 0;
    PNO_ASSERT(tcp_record_end(connection, number) >= data_end);
    if (end > hot->snd_end)
        flags |= TCP_FIN;
    /* As Linux, what goes out as several segments at once is pushed at its end, this once. */
    if (length > 0 && (pushed || length > e->mss))
        flags |= TCP_PSH;
    finish(e, number, flags, length > 0 && number >= hot->snd_nxt);
    hot->acks_owed = 0;
    set_urgent(e, number);
    e->output->stream_offset = number - tcp_snd_start(hot);
    e->output->payload_length = length;
    e->output->gso_size = length > e->mss ? (uint16_t)e->mss : 0;
    if (length > 0) {
        uint32_t segments = length > e->mss ? (length + e->mss - 1) / e->mss : 1;
        connection->statistics.data_segments_out += segments;
        connection->statistics.segments_out += segments - 1; /* one is counted already */
    }
}

static void finish_empty(const struct emission *e, uint64_t number)
{
    finish(e, number, 0, false);
    e->output->stream_offset = 0;
    e->output->payload_length = 0;
    e->output->gso_size = 0;
}

/* ---- Bursts ------------------------------------------------------------------------------- */

/** Payload from number on that the port may cut, whole segments. Not what the urgent pointer is in,
    which counts from the segment it is in. */
static uint32_t port_bytes(const struct emission *e, uint64_t number)
{
    const struct tcp_connection *connection = e->connection;
    uint32_t bytes = e->gso_bytes_max;
    if (bytes < 2 * e->mss || connection->rare->snd_urgent > number)
        return e->mss;
    bytes = connection->hot.paced ? tcp_pacing_burst_bytes(connection)
                                  : tcp_pacing_tso_bytes(e->stack, connection, bytes);
    if (bytes > e->gso_bytes_max)
        bytes = e->gso_bytes_max;
    return bytes < e->mss ? e->mss : bytes - bytes % e->mss;
}

/** New payload that may go out at once. CWR, which says that the window was reduced once, stands in
    one segment alone. As Linux, at most half the congestion window (tcp_cwnd_test). */
static uint32_t burst_bytes(const struct emission *e)
{
    const struct tcp_hot *hot = &e->connection->hot;
    if (hot->cwr_due)
        return e->mss;
    uint32_t bytes = port_bytes(e, hot->snd_nxt);
    uint32_t half = hot->cwnd / 2;
    if (bytes <= half)
        return bytes;
    return half < e->mss ? e->mss : half - half % e->mss;
}

/* ---- Retransmissions ----------------------------------------------------------------------- */

static void retransmit(const struct emission *e, const struct tcp_sent_piece *piece)
{
    struct tcp_connection *connection = e->connection;
    uint64_t start = piece->start, end = piece->end;
    PNO_ASSERT(e->mss > 0);
    (void)tcp_recovery_take(e->stack, connection);
    finish_data(e, start, end, piece->pushed);
    tcp_sent_again(e->stack, connection, piece, tcp_pipe(connection), e->now_ns);
    tcp_recovery_retransmitted(connection, start, end, e->mss, e->now_ns);
    tcp_recovery_sent(connection, (uint32_t)(end - start));
    connection->hot.last_sent_ns = e->now_ns;
    if (connection->hot.paced)
        tcp_pacing_sent(e->stack, connection, (uint32_t)(end - start), e->now_ns);
    stack_counters(e->stack)->retransmits += (uint32_t)((end - start + e->mss - 1) / e->mss);
    if (start == connection->hot.snd_una && connection->hot.send_timer != TCP_SEND_TIMER_REORDER)
        tcp_send_timer_restart(e->stack, connection, e->now_ns);
}

/** As Linux, a burst of what was sent as one goes as far as the window for it does. */
static uint32_t retransmission_bytes(const struct emission *e, uint64_t number, uint32_t pipe)
{
    const struct tcp_hot *hot = &e->connection->hot;
    uint32_t bytes = port_bytes(e, number);
    uint32_t room = hot->cwnd > pipe ? hot->cwnd - pipe : 0;
    if (bytes > room)
        bytes = room - room % e->mss;
    return bytes > e->mss ? bytes : e->mss;
}

/** What lies beyond a window that shrank waits; of what lies in it whole segments go, or the rest
   of it; the first segment of all probes a window that is closed (as Linux). @return false: waits.
 */
static bool cut_to_window(const struct emission *e, struct tcp_sent_piece *piece)
{
    const struct tcp_hot *hot = &e->connection->hot;
    uint64_t window_end = hot->snd_una + hot->snd_wnd;
    if (piece->end <= window_end)
        return true;
    if (window_end <= piece->start && piece->start != hot->snd_una)
        return false;
    uint64_t room = window_end > piece->start ? window_end - piece->start : e->mss;
    if (room >= piece->end - piece->start)
        return true;
    piece->end = piece->start + (room > e->mss ? room - room % e->mss : room);
    piece->pushed = false;
    return true;
}

static bool emit_retransmission(const struct emission *e)
{
    struct tcp_connection *connection = e->connection;
    struct tcp_hot *hot = &connection->hot;
    struct tcp_sent_piece piece;
    uint32_t pipe = tcp_pipe(connection);
    if (!tcp_recovery_may_retransmit(connection))
        return false;
    uint64_t first = connection->rare->recovery->lost.first->start;
    if (!tcp_sent_next_lost(e->stack, connection, e->mss, retransmission_bytes(e, first, pipe),
                            &piece) ||
        !cut_to_window(e, &piece))
        return false;
    uint64_t record_end = tcp_record_end(connection, piece.start);
    if (piece.end > record_end) {
        piece.end = record_end;
        piece.pushed = true;
    }
    if (piece.end == hot->snd_end &&
        tcp_sent_end(connection->rare->recovery->lost.first) == piece.end + 1)
        piece.end++; /* the FIN that was on it takes no room of its payload */
    if (pipe > 0 && pipe + (piece.end - piece.start) > hot->cwnd)
        return false;
    retransmit(e, &piece);
    return true;
}

/* ---- New data ------------------------------------------------------------------------------ */

/** As Linux (tcp_minshall_check): the last small segment sent is not acknowledged. */
static bool small_is_unacknowledged(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    return seq_gt(hot->snd_sml, tcp_wire(hot->snd_una)) &&
           seq_leq(hot->snd_sml, tcp_wire(hot->snd_nxt));
}

/** Nagle's algorithm as Minshall amended it (RFC 9293 §3.7.4, and Linux): a small segment waits
    while an earlier small one is unacknowledged. Cork holds it back regardless … */
static bool options_hold_back_partial(const struct tcp_connection *connection)
{
    const struct tcp_options_set *options = connection->options;
    return options->cork || (!options->nodelay && tcp_outstanding(connection) > 0 &&
                             small_is_unacknowledged(connection));
}

/** … and so does MSG_MORE; but there is what releases it. */
static bool holds_back_partial(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    if (hot->push_partial || hot->nagle_push || connection->rare->snd_urgent > hot->snd_una)
        return false;
    return (hot->more && !hot->more_released) || options_hold_back_partial(connection);
}

/** How much payload may go out now, from snd_nxt; 0: none.
    @param cwnd_free  room in the congestion window. */
static uint32_t sendable(const struct emission *e, uint32_t cwnd_free)
{
    const struct tcp_connection *connection = e->connection;
    const struct tcp_hot *hot = &connection->hot;
    PNO_ASSERT(e->mss > 0);
    uint64_t window_end = hot->snd_una + hot->snd_wnd;
    uint64_t usable = window_end > hot->snd_nxt ? window_end - hot->snd_nxt : 0;
    uint64_t available = tcp_unsent(connection);
    uint64_t record_end = tcp_record_end(connection, hot->snd_nxt);
    bool more_follows = record_end < hot->snd_end; /* in another segment: no cause to wait */
    if (more_follows)
        available = record_end - hot->snd_nxt;
    uint64_t head = available < e->mss ? available : e->mss;
    if (usable < head) {
        /* Less than a segment's worth of window: wait, unless probing (RFC 9293 §3.8.6.2.1). */
        return hot->push_partial ? (uint32_t)usable : 0;
    }
    if (head > cwnd_free)
        return 0;
    uint64_t length = available;
    if (length > e->mss) {
        uint32_t most = burst_bytes(e);
        if (length > most)
            length = most;
    }
    if (length > usable)
        length = usable;
    if (length > cwnd_free)
        length = cwnd_free;
    uint64_t partial = length % e->mss;
    bool is_tail = length == available, fills_window = length == usable;
    bool may_go = is_tail ? hot->fin_queued || more_follows || !holds_back_partial(connection)
                          : fills_window && !holds_back_partial(connection); /* as Linux */
    if (partial != 0 && !may_go && !hot->push_partial)
        length -= partial;
    return (uint32_t)length;
}

/** New payload is sent now, in segments of mss bytes. */
static inline void sent_payload_note(struct tcp_connection *connection, uint32_t length,
                                     uint32_t mss, uint64_t now_ns)
{
    connection->hot.last_sent_ns = now_ns;
    if (length < mss || length % mss != 0)
        connection->hot.snd_sml = tcp_wire(connection->hot.snd_nxt);
    if (tcp_age_ns(connection->receive.last_data_ms, now_ns) <
        connection->receive.ack_delay_us * NS_PER_US)
        connection->hot.pingpong = true;
}

/** [snd_nxt, end) goes out, length bytes of payload and perhaps FIN, in segments of e->mss: all
   that has to be accounted for, and timers. */
static void send_new(const struct emission *e, uint64_t end, uint32_t length, uint32_t pipe)
{
    struct tcp_connection *connection = e->connection;
    struct tcp_hot *hot = &connection->hot;
    struct tcp_congestion *congestion = &connection->congestion;
    bool pushed = is_pushed(connection, hot->snd_nxt + length);
    finish_data(e, hot->snd_nxt, end, pushed);
    tcp_sent_new(e->stack, connection, hot->snd_nxt, end, pushed, pipe, e->now_ns);
    hot->snd_nxt = end;
    hot->push_partial = false;
    hot->nagle_push = hot->nagle_push && end < hot->snd_end;
    if (hot->send_timer == TCP_SEND_TIMER_PERSIST)
        congestion->backoff = congestion->probes = 0;
    if (length > 0) {
        if (hot->paced)
            tcp_pacing_sent(e->stack, connection, length, e->now_ns);
        sent_payload_note(connection, length, e->mss, e->now_ns);
    }
    tcp_recovery_sent(connection, length);
    tcp_cwnd_note_flight(connection, tcp_pipe(connection));
    if (hot->send_timer != TCP_SEND_TIMER_RETRANSMIT && hot->send_timer != TCP_SEND_TIMER_REORDER)
        tcp_send_timer_restart(e->stack, connection, e->now_ns);
}

/** Nothing may be sent: if nothing is in flight either, only probing can go on. */
static bool held_back(const struct emission *e)
{
    if (e->connection->hot.state == TCP_STATE_SYN_RECEIVED)
        return false; /* its timer is the SYN-ACK's */
    if (tcp_outstanding(e->connection) == 0)
        tcp_persist_timer_start(e->stack, e->connection, e->now_ns);
    return false;
}

/** More than a segment of new payload waits to become a larger burst, where ports cut bursts. */
static bool defers(const struct emission *e, uint32_t cwnd_free)
{
    const struct tcp_connection *connection = e->connection;
    const struct tcp_hot *hot = &connection->hot;
    if (e->gso_bytes_max < 2 * e->mss || hot->paced || hot->push_partial)
        return false;
    uint64_t record_end = tcp_record_end(connection, hot->snd_nxt);
    const struct tcp_burst burst = {
        .available = (record_end < hot->snd_end ? record_end : hot->snd_end) - hot->snd_nxt,
        .window_room = hot->snd_una + hot->snd_wnd - hot->snd_nxt,
        .cwnd_room = cwnd_free - cwnd_free % e->mss,
        .most = port_bytes(e, hot->snd_nxt),
        .more_follows = record_end < hot->snd_end,
    };
    if (burst.available <= e->mss || !tcp_defers(connection, &burst, e->now_ns))
        return false;
    e->connection->congestion.cwnd_limited |=
        burst.cwnd_room < burst.window_room && burst.cwnd_room <= burst.available;
    return true;
}

/** One segment that is larger than the rest (RFC 4821 §7). */
static bool emit_mtu_probe(const struct emission *e, uint32_t pipe)
{
    struct tcp_connection *connection = e->connection;
    struct emission probe = *e;
    uint64_t start = connection->hot.snd_nxt;
    probe.mss = tcp_mtu_probe_due(e->stack, connection, pipe, e->now_ns);
    if (probe.mss == 0 || sack_option_bytes(connection) > 0 ||
        tcp_record_end(connection, start) < start + probe.mss)
        return false;
    send_new(&probe, start + probe.mss, probe.mss, pipe);
    tcp_mtu_probe_sent(e->stack, connection, start);
    return true;
}

static bool emit_new(const struct emission *e, bool ignore_cwnd)
{
    struct tcp_connection *connection = e->connection;
    struct tcp_hot *hot = &connection->hot;
    uint64_t available = tcp_unsent(connection);
    bool fin = tcp_fin_unsent(connection);
    if (available == 0 && !fin)
        return false;
    uint32_t pipe = tcp_pipe(connection);
    if (connection->mtu_probing && !ignore_cwnd && emit_mtu_probe(e, pipe))
        return true;
    uint32_t cwnd_free = hot->cwnd > pipe ? hot->cwnd - pipe : 0;
    if ((ignore_cwnd || pipe == 0) && cwnd_free < e->mss)
        cwnd_free = e->mss;
    uint32_t length = 0;
    if (available > 0) {
        length = sendable(e, cwnd_free);
        if (length == 0) {
            if (available > cwnd_free || e->mss > cwnd_free)
                connection->congestion.cwnd_limited = true;
            return held_back(e);
        }
        if (!ignore_cwnd && defers(e, cwnd_free))
            return false;
    }
    uint64_t end = hot->snd_nxt + length;
    uint64_t window_end = hot->snd_una + hot->snd_wnd;
    fin = fin && length == available && (window_end > end || (hot->push_partial && length == 0));
    if (length == 0 && !fin)
        return held_back(e);
    send_new(e, end + fin, length, pipe);
    return true;
}

/* ---- Probes and acknowledgements ----------------------------------------------------------- */

/** RFC 8985 §7.3: new data if there is any, else the last segment again. */
static bool emit_tail_probe(const struct emission *e)
{
    struct tcp_connection *connection = e->connection;
    struct tcp_hot *hot = &connection->hot;
    if (!hot->tail_probe_due)
        return false;
    hot->tail_probe_due = false;
    if (tcp_outstanding(connection) == 0 || hot->ca_state >= TCP_CA_RECOVERY)
        return false;
    if (hot->paced && tcp_unsent(connection) > 0 &&
        !tcp_pacing_allows(e->stack, connection, e->now_ns))
        return false; /* new data comes soon enough */
    struct tcp_recovery *recovery = tcp_recovery_take(e->stack, connection);
    recovery->tail_probe_retransmitted = false;
    bool pushing = hot->nagle_push;
    hot->nagle_push = true; /* what waits for an acknowledgement goes as well (as Linux) */
    bool has_new = emit_new(e, true);
    hot->nagle_push = pushing && tcp_unsent(connection) > 0;
    if (!has_new) {
        struct tcp_sent_piece last = tcp_sent_last_segment(connection);
        if (last.end - last.start > e->mss) /* SACK blocks ride along */
            last.start = last.end - e->mss;
        if (last.start < connection->rare->recovery->sacked_high)
            last.start = connection->rare->recovery->sacked_high;
        while (tcp_record_end(connection, last.start) < last.end)
            last.start = tcp_record_end(connection, last.start);
        if (last.start >= last.end || last.end > hot->snd_una + hot->snd_wnd)
            return false; /* the tail has arrived, or lies beyond a window that shrank */
        recovery->tail_probe_retransmitted = true;
        retransmit(e, &last);
    }
    recovery->tail_probe = hot->snd_nxt;
    tcp_send_timer_set(e->stack, connection, TCP_SEND_TIMER_RETRANSMIT,
                       e->now_ns + tcp_rto_ns(connection, e->now_ns));
    return true;
}

/** An old, empty segment that the peer must answer: window and keepalive probes. */
static bool emit_probe(const struct emission *e)
{
    if (!e->connection->hot.probe_due)
        return false;
    e->connection->hot.probe_due = false;
    finish_empty(e, e->connection->hot.snd_una - 1);
    return true;
}

static bool emit_ack(const struct emission *e)
{
    struct tcp_hot *hot = &e->connection->hot;
    if (hot->acks_owed == 0)
        return false;
    /* As Linux: not beyond the peer's window, should it have shrunk. */
    uint64_t window_end = hot->snd_una + hot->snd_wnd;
    finish_empty(e, hot->snd_nxt <= window_end || hot->state == TCP_STATE_SYN_RECEIVED
                        ? hot->snd_nxt
                        : window_end);
    hot->acks_owed--;
    return true;
}

static inline bool may_send_data(const struct tcp_connection *connection)
{
    const uint32_t states = 1u << TCP_STATE_ESTABLISHED | 1u << TCP_STATE_CLOSE_WAIT |
                            1u << TCP_STATE_FIN_WAIT_1 | 1u << TCP_STATE_CLOSING |
                            1u << TCP_STATE_LAST_ACK;
    return (states >> connection->hot.state) & 1;
}

/** What is lost goes before what is new, unless F-RTO is at work; both when pacing lets them. */
static bool emit_payload(const struct emission *e)
{
    struct tcp_connection *connection = e->connection;
    if (connection->hot.paced && !tcp_pacing_allows(e->stack, connection, e->now_ns))
        return false;
    if (connection->rare->recovery->frto_new) { /* new data first, to see what becomes of it */
        if (emit_new(e, false))
            return true;
        if (connection->hot.snd_nxt > connection->rare->recovery->recover)
            return false;
        tcp_recovery_frto_give_up(connection);
    }
    return emit_retransmission(e) || emit_new(e, false);
}

/** Nothing is left that another call could send, whatever the windows allow. */
static bool is_all_sent(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    return hot->ca_state == TCP_CA_OPEN && hot->acks_owed == 0 && !hot->probe_due &&
           !hot->tail_probe_due && tcp_unsent(connection) == 0 && !tcp_fin_unsent(connection);
}

/* ---- Prediction ------------------------------------------------------------------------------ */

/** Nothing is missing here or there, no record ends where a segment would not, and no feature asks
    for more than a segment of payload. */
static bool rare_lets_send(const struct tcp_connection *connection)
{
    const struct tcp_rare *rare = connection->rare;
    const struct tcp_recovery *recovery = rare->recovery;
    return !connection->mtu_probing && rare->snd_urgent == 0 &&
           (rare->reassembly == &tcp_reassembly_none || tcp_sack_blocks_wanted(connection) == 0) &&
           (recovery->sacked_bytes | recovery->lost_bytes | recovery->dupack_bytes) == 0 &&
           recovery->records.first == NULL;
}

/** What disturbs a connection, or asks for more than payload, FIN and acknowledgements. */
#define UNDISTURBED_FLAGS TCP_HOT_FLAGS(.timestamps = true, .sack = true)
#define DISTURBING_FLAGS                                                                           \
    TCP_HOT_FLAGS(.ecn = true, .probe_due = true, .tail_probe_due = true, .push_partial = true)
/** What may hold payload back, or push it. */
#define HOLDING_FLAGS TCP_HOT_FLAGS(.more = true, .nagle_push = true, .paced = true)

/** disturbing: flags of which none may be set, UNDISTURBED_FLAGS being so. */
static inline bool is_undisturbed(const struct tcp_connection *connection, uint32_t disturbing)
{
    const struct tcp_hot *hot = &connection->hot;
    return (hot->flags & (UNDISTURBED_FLAGS | disturbing)) == UNDISTURBED_FLAGS &&
           hot->ca_state == TCP_CA_OPEN && hot->placements == 0 &&
           (!tcp_rare_is_own(connection) || rare_lets_send(connection));
}

/**
 * What header prediction (segment_arrives.c) is to arriving segments: new payload, at most one
 * segment of it, goes out on a connection that nothing disturbs, and nothing holds it back.
 * @param is_closing  what our FIN or the peer's brings is allowed for: states, and FIN with payload
 *                    or without; else the connection is ESTABLISHED.
 * @return  numbers of that segment, FIN's included; 0: the whole way finds out what is to be sent.
 *          Then what is in flight is all that is outstanding.
 */
static inline uint32_t predicted_length(const struct tcp_connection *connection,
                                        uint32_t gso_bytes_max, bool is_closing)
{
    const struct tcp_hot *hot = &connection->hot;
    uint32_t disturbing = DISTURBING_FLAGS | HOLDING_FLAGS;
    uint64_t end = hot->snd_end;
    if (is_closing)
        end += hot->fin_queued;
    else
        disturbing |= TCP_HOT_FLAGS(.fin_queued = true);
    if (__builtin_expect(hot->snd_nxt >= end || !is_undisturbed(connection, disturbing), 0))
        return 0;
    if (__builtin_expect(
            is_closing ? !may_send_data(connection) : hot->state != TCP_STATE_ESTABLISHED, 0))
        return 0;
    uint64_t available = hot->snd_end - hot->snd_nxt;
    uint64_t outstanding = tcp_outstanding(connection);
    uint32_t length = available < hot->mss ? (uint32_t)available : hot->mss;
    if (__builtin_expect(available > length && gso_bytes_max > length, 0))
        return 0;
    bool fin = is_closing && hot->fin_queued;
    if (__builtin_expect(length < hot->mss && !fin && options_hold_back_partial(connection), 0))
        return 0;
    length += fin && available == length;
    if (__builtin_expect(outstanding + length > hot->snd_wnd || outstanding + length > hot->cwnd,
                         0))
        return 0;
    return length;
}

/** finish() on such a connection. */
static inline void finish_predicted(struct tcp_connection *connection, uint64_t number,
                                    uint8_t flags, uint64_t now_ns,
                                    struct tcp_output *restrict output)
{
    struct tcp_hot *hot = &connection->hot;
    output->seq = tcp_wire(number);
    output->ack = tcp_wire(hot->rcv_nxt);
    output->flags = flags;
    output->window = tcp_window_advertise(connection);
    output->ecn = 0;
    output->urgent_pointer = 0;
    output->options_length = (uint8_t)tcp_options_build_timestamps(
        tcp_timestamp_now(connection, now_ns), hot->ts_recent, output->options);
    output->gso_size = 0;
    tcp_ack_rides_along(connection);
    hot->acks_owed = 0;
    connection->statistics.segments_out++;
}

/** send_new() for that. */
static inline void emit_predicted(struct stack *stack, struct tcp_connection *connection,
                                  uint32_t length, bool is_closing, uint64_t now_ns,
                                  struct tcp_output *restrict output)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_congestion *congestion = &connection->congestion;
    uint64_t number = hot->snd_nxt;
    uint64_t end = number + length;
    uint32_t in_flight = (uint32_t)tcp_outstanding(connection);
    bool fin = is_closing && end > hot->snd_end;
    bool pushed = end >= hot->snd_end;
    uint32_t payload = length - fin;
    uint8_t flags = TCP_ACK;
    if (pushed && (!fin || payload > 0))
        flags |= TCP_PSH;
    if (fin)
        flags |= TCP_FIN;
    finish_predicted(connection, number, flags, now_ns, output);
    output->stream_offset = number - tcp_snd_start(hot);
    output->payload_length = payload;

    tcp_sent_new(stack, connection, number, end, pushed, in_flight, now_ns);
    hot->snd_nxt = end;
    if (hot->send_timer == TCP_SEND_TIMER_PERSIST)
        congestion->backoff = congestion->probes = 0;
    if (!fin || payload > 0) {
        connection->statistics.data_segments_out++;
        sent_payload_note(connection, payload, hot->mss, now_ns);
    }
    tcp_cwnd_note_flight(connection, in_flight + length);
    if (hot->send_timer != TCP_SEND_TIMER_RETRANSMIT && hot->send_timer != TCP_SEND_TIMER_REORDER)
        tcp_send_timer_start_predicted(stack, connection, now_ns);
    output->is_last = pushed;
    if (fin)
        tcp_chrono_update(stack, connection, now_ns);
    else if (pushed)
        tcp_chrono_sent_all(stack, connection, now_ns);
}

/** On such a connection, nothing but one acknowledgement is due. */
static bool is_ack_predicted(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    return hot->acks_owed == 1 && hot->snd_nxt == hot->snd_end + hot->fin_queued &&
           is_undisturbed(connection, DISTURBING_FLAGS) &&
           tcp_outstanding(connection) <= hot->snd_wnd && hot->state != TCP_STATE_SYN_RECEIVED &&
           tcp_is_synchronized(connection);
}

/** emit_ack() for that. */
static inline void emit_predicted_ack(struct stack *stack, struct tcp_connection *connection,
                                      uint64_t now_ns, struct tcp_output *restrict output)
{
    tcp_chrono_update(stack, connection, now_ns);
    finish_predicted(connection, connection->hot.snd_nxt, TCP_ACK, now_ns, output);
    output->stream_offset = 0;
    output->payload_length = 0;
    output->is_last = true;
}

static inline bool is_in_handshake(const struct tcp_connection *connection)
{
    return connection->hot.state == TCP_STATE_SYN_SENT ||
           connection->hot.state == TCP_STATE_SYN_RECEIVED;
}

/** A SYN or SYN-ACK that is due. */
static __attribute__((noinline)) bool emit_handshake(struct stack *stack,
                                                     struct tcp_connection *connection,
                                                     uint64_t now_ns,
                                                     struct tcp_output *restrict output)
{
    tcp_output_syn(stack, connection, now_ns, output);
    output->is_last = connection->hot.state == TCP_STATE_SYN_SENT || is_all_sent(connection);
    return true;
}

/** Apart, so that predicted segments do not pay for its registers. */
static __attribute__((noinline)) bool emit_any(struct stack *stack,
                                               struct tcp_connection *connection, uint64_t now_ns,
                                               uint32_t gso_bytes_max, struct tcp_output *output)
{
    struct tcp_hot *hot = &connection->hot;
    output->is_last = false;
    if (hot->placements > 0 || hot->state == TCP_STATE_CLOSED)
        return false;
    struct emission e = {
        .stack = stack,
        .connection = connection,
        .now_ns = now_ns,
        .gso_bytes_max = gso_bytes_max,
        .output = output,
    };
    if (hot->syn_due && is_in_handshake(connection))
        return emit_handshake(stack, connection, now_ns, output);
    if (hot->state == TCP_STATE_SYN_SENT) {
        output->is_last = true;
        return false;
    }
    e.mss = hot->mss - sack_option_bytes(connection);
    if (tcp_fast_open_is_pending(connection) && emit_payload(&e))
        return true;
    if (may_send_data(connection) && (emit_tail_probe(&e) || emit_payload(&e))) {
        output->is_last = is_all_sent(connection);
        if (output->is_last)
            tcp_chrono_update(stack, connection, now_ns);
        return true;
    }
    tcp_chrono_update(stack, connection, now_ns);
    if (!emit_probe(&e) && !emit_ack(&e))
        return false;
    output->is_last = is_all_sent(connection);
    return true;
}

/** The short ways of closing and of acknowledgements alone, and the whole way. */
static __attribute__((noinline, flatten)) bool emit_other(struct stack *stack,
                                                          struct tcp_connection *connection,
                                                          uint64_t now_ns, uint32_t gso_bytes_max,
                                                          struct tcp_output *restrict output)
{
    uint32_t predicted = predicted_length(connection, gso_bytes_max, true);
    if (stack_get_config(stack)->no_prediction)
        return emit_any(stack, connection, now_ns, gso_bytes_max, output);
    if (predicted > 0)
        emit_predicted(stack, connection, predicted, true, now_ns, output);
    else if (is_ack_predicted(connection))
        emit_predicted_ack(stack, connection, now_ns, output);
    else
        return emit_any(stack, connection, now_ns, gso_bytes_max, output);
    return true;
}

/** The short way of payload, or others. flatten: no part of it is called. */
static __attribute__((noinline, flatten)) bool emit_data(struct stack *stack,
                                                         struct tcp_connection *connection,
                                                         uint64_t now_ns, uint32_t gso_bytes_max,
                                                         struct tcp_output *restrict output)
{
    uint32_t predicted = predicted_length(connection, gso_bytes_max, false);
    if (__builtin_expect(predicted == 0 || stack_get_config(stack)->no_prediction, 0))
        return emit_other(stack, connection, now_ns, gso_bytes_max, output);
    emit_predicted(stack, connection, predicted, false, now_ns, output);
    return true;
}

/** Which way it may be is asked first, so that none pays for another's registers. */
bool tcp_output_next(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns,
                     uint32_t gso_bytes_max, struct tcp_output *output)
{
    const struct tcp_hot *hot = &connection->hot;
    if (__builtin_expect(hot->state == TCP_STATE_ESTABLISHED && hot->snd_nxt < hot->snd_end, 1))
        return emit_data(stack, connection, now_ns, gso_bytes_max, output);
    if (hot->syn_due && hot->placements == 0 && is_in_handshake(connection))
        return emit_handshake(stack, connection, now_ns, output);
    return emit_other(stack, connection, now_ns, gso_bytes_max, output);
}
