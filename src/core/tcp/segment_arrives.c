/*
 * A segment on a connection: RFC 9293 §3.10.7.4 in its order, one function per check; what is
 * acceptable as RFC 5961 and RFC 7323 tightened it. CLOSED, SYN_SENT and TIME_WAIT have functions
 * of their own (close.c, syn_sent.c, time_wait.c).
 */
#include <errno.h>

#include "core/tcp/ack.h"
#include "core/tcp/close.h"
#include "core/tcp/connect.h"
#include "core/tcp/fast_open.h"
#include "core/tcp/listener.h"
#include "core/tcp/output.h"
#include "core/tcp/rare.h"
#include "core/tcp/receive.h"
#include "core/tcp/sent.h"
#include "core/tcp/state.h"
#include "core/tcp/timers.h"
#include "core/tcp/urgent.h"

/** ts_recent older than this says nothing about a new timestamp (RFC 7323 §5.5). */
#define PAWS_AGE_MAX_S (24u * 24 * 3600)

/** One arriving segment on its way through the checks. */
struct arrival {
    struct stack *stack;
    struct tcp_connection *connection;
    const struct tcp_segment *segment;
    uint64_t now_ns;
    uint64_t seq; /**< unwrapped */
    struct stack_rx_result *result;
};

/** Not acceptable: answer with an ACK that tells the peer where we are (RFC 9293: "If an incoming
    segment is not acceptable, an acknowledgment should be sent in reply"). */
static bool unacceptable(const struct arrival *a, enum drop_reason reason)
{
    struct tcp_connection *connection = a->connection;
    a->result->drop = reason;
    if (a->segment->flags & TCP_RST)
        return false;
    uint64_t end = a->seq + tcp_segment_length(a->segment);
    if (end == a->seq || (a->segment->flags & TCP_SYN)) {
        tcp_challenge_ack(a->stack, connection, a->now_ns);
        return false;
    }
    if (end <= connection->hot.rcv_nxt)
        tcp_duplicate_report(a->stack, connection, a->seq, end);
    else
        tcp_ack_now(a->stack, connection);
    return false;
}

/** PAWS (RFC 7323 §5.3, R1). */
static bool check_timestamp(const struct arrival *a)
{
    const struct tcp_connection *connection = a->connection;
    const struct tcp_options *options = &a->segment->options;
    if (!connection->hot.timestamps || !options->has_timestamps)
        return true;
    if ((a->segment->flags & TCP_RST) != 0)
        return true; /* RFC 7323 §5.2: its sequence number decides */
    if ((int32_t)(options->timestamp_value - connection->hot.ts_recent) >= 0)
        return true;
    if ((uint32_t)(a->now_ns / NS_PER_S) - connection->receive.ts_recent_age_s > PAWS_AGE_MAX_S)
        return true;
    return unacceptable(a, DROP_TCP_PAWS);
}

/** Only the exact number resets (RFC 5961 §3.2). As on Linux, for a peer that does not count its
   FIN that is the FIN's number too, and beyond a gap the end of what we reported by SACK. */
static bool is_exact_reset(const struct arrival *a)
{
    const struct tcp_hot *hot = &a->connection->hot;
    if (!(a->segment->flags & TCP_RST))
        return false;
    return a->seq == hot->rcv_nxt || (hot->fin_received && a->seq + 1 == hot->rcv_nxt) ||
           (hot->sack && tcp_sack_ends_at(a->connection, a->segment->seq));
}

/** Whether this is the SYN again that the connection, not established yet, was made by. */
static bool is_first_syn(const struct arrival *a)
{
    const struct tcp_connection *connection = a->connection;
    uint8_t flags = a->segment->flags & (TCP_SYN | TCP_RST | TCP_ACK);
    return connection->hot.state == TCP_STATE_SYN_RECEIVED && connection->passive &&
           flags == TCP_SYN && a->seq + 1 == tcp_rcv_start(&connection->hot);
}

/** First check: sequence number. Like Linux, what repeats bytes since the last ACK we sent passes:
    its acknowledgement is still of use; and what begins in the window may reach beyond it while
    nothing waits to be read (its FIN always). */
static bool check_sequence(const struct arrival *a)
{
    const struct tcp_hot *hot = &a->connection->hot;
    uint64_t end = a->seq + tcp_segment_length(a->segment);
    uint64_t edge = hot->rcv_nxt + tcp_receive_window(a->connection);
    if (end < tcp_rcv_wup(hot) && !is_exact_reset(a) && !is_first_syn(a))
        return unacceptable(a, DROP_TCP_OLD_DUPLICATE);
    if (a->seq > edge)
        return unacceptable(a, DROP_TCP_OUT_OF_WINDOW);
    bool fin = a->segment->flags & TCP_FIN;
    if (end - fin > edge && tcp_rcv_read(hot) != tcp_received_end(a->connection))
        return unacceptable(a, DROP_TCP_OUT_OF_WINDOW);
    return true;
}

/** Second check: RST. */
static bool check_reset(const struct arrival *a)
{
    struct tcp_connection *connection = a->connection;
    const struct tcp_hot *hot = &connection->hot;
    if (!(a->segment->flags & TCP_RST))
        return true;
    if (!is_exact_reset(a)) {
        a->result->drop = DROP_TCP_RESET_INVALID;
        tcp_challenge_ack(a->stack, connection, a->now_ns);
        return false;
    }
    int error = ECONNRESET;
    if (hot->state == TCP_STATE_CLOSE_WAIT)
        error = EPIPE;
    else if (hot->state == TCP_STATE_LAST_ACK || hot->state == TCP_STATE_CLOSING)
        error = connection->orphaned ? 0 : ECONNRESET;
    stack_counters(a->stack)->resets_in++;
    tcp_fast_open_leave(a->stack, connection, true, a->now_ns);
    tcp_enter_closed(a->stack, connection, error);
    return false;
}

/** Fourth check: SYN. */
static bool check_syn(const struct arrival *a)
{
    struct tcp_connection *connection = a->connection;
    const struct tcp_hot *hot = &connection->hot;
    uint8_t flags = a->segment->flags;
    if (!(flags & TCP_SYN))
        return true;
    if (hot->state == TCP_STATE_SYN_RECEIVED && a->seq + 1 == tcp_rcv_start(hot)) {
        if ((flags & TCP_ACK) || !connection->passive) {
            /* Simultaneous open: the answer to our SYN, which brings nothing else (as Linux). */
            if (!connection->passive && (flags & TCP_ACK) && tcp_segment_length(a->segment) == 1)
                return true;
            a->result->drop = DROP_TCP_SYN_IN_WINDOW;
            tcp_challenge_ack(a->stack, connection, a->now_ns);
            return false;
        }
        /* Its payload had to wait until the connection was announced; or the peer did not get our
           SYN-ACK, which goes again, as often as Linux lets it. */
        if (tcp_challenge_allowed(a->stack, connection, a->now_ns)) {
            connection->hot.syn_due = true;
            tcp_output_request(a->stack, connection);
        }
        if (tcp_fast_open_take_payload(a->stack, connection, a->segment, a->now_ns, a->result))
            tcp_event_raise(a->stack, connection, STACK_EVENT_DATA);
        else
            a->result->drop = DROP_TCP_OLD_DUPLICATE;
        return false;
    }
    a->result->drop = DROP_TCP_SYN_IN_WINDOW;
    tcp_challenge_ack(a->stack, connection, a->now_ns); /* RFC 5961 §4.2 */
    return false;
}

/** Whether the accept queue, or TCP_DEFER_ACCEPT, keeps the handshake's last ACK waiting. */
static bool handshake_must_wait(const struct arrival *a)
{
    struct tcp_connection *connection = a->connection;
    struct tcp_listener *listener = tcp_listener_of(connection);
    if (listener == NULL)
        return false;
    if (listener->defer_ns != 0 && a->segment->payload_length == 0 &&
        !(a->segment->flags & TCP_FIN) &&
        tcp_handshake_age_ns(connection, a->now_ns) < listener->defer_ns) {
        connection->defer_acked = true;
        return true;
    }
    if (tcp_accept_queue_is_full(listener)) {
        listener->overflows++;
        a->result->drop = DROP_TCP_LISTEN_OVERFLOW;
        connection->defer_acked = true;
        return true;
    }
    return false;
}

/** The same of a connection opened fast (RFC 7413): it may have sent data since. */
static bool check_ack_fast(const struct arrival *a)
{
    struct tcp_connection *connection = a->connection;
    tcp_handshake_rtt(connection, a->segment, a->now_ns);
    tcp_send_window_set(connection, a->segment, !(a->segment->flags & TCP_SYN));
    tcp_establish_fast(a->stack, connection, a->now_ns);
    enum drop_reason drop = tcp_ack_arrives(a->stack, connection, a->segment, a->now_ns);
    if (drop != DROP_NONE)
        a->result->drop = drop;
    return drop == DROP_NONE;
}

/** Fifth check in SYN_RECEIVED: the ACK of our SYN. @return true: ESTABLISHED, go on. */
static bool check_ack_syn_received(const struct arrival *a)
{
    struct tcp_connection *connection = a->connection;
    struct tcp_listener *listener = tcp_listener_of(connection);
    const struct tcp_hot *hot = &connection->hot;
    uint64_t ack = tcp_unwrap(tcp_snd_start(hot), a->segment->ack);
    if (ack < tcp_snd_start(hot) || ack > hot->snd_nxt) {
        tcp_reset_reply(a->stack, a->segment);
        a->result->drop = DROP_TCP_BAD_ACK;
        return false;
    }
    if (tcp_fast_open_is_pending(connection))
        return check_ack_fast(a);
    if (handshake_must_wait(a))
        return false;
    tcp_handshake_rtt(connection, a->segment, a->now_ns);
    bool is_syn = a->segment->flags & TCP_SYN;
    uint32_t window = (uint32_t)a->segment->window << hot->snd_wscale;
    /* As Linux: a small window limits the MSS, whatever the SYN's was. */
    bool limits =
        connection->passive && window / 2 <= (uint32_t)hot->mss + TCP_TIMESTAMP_OPTION_BYTES;
    if (limits)
        connection->congestion.max_window = 0;
    tcp_send_window_set(connection, a->segment, !is_syn);
    if (limits)
        tcp_rcv_mss_init(connection);
    tcp_establish(a->stack, connection, ack, a->now_ns);
    if (ack > tcp_snd_start(hot))
        tcp_event_raise(a->stack, connection, STACK_EVENT_ACKED);
    if (listener) {
        tcp_listener_established(a->stack, connection);
    } else {
        tcp_event_raise(a->stack, connection, STACK_EVENT_ESTABLISHED);
        if (is_syn) /* SYNs crossed: the number that came twice is told (as Linux) */
            tcp_duplicate_report(a->stack, connection, a->seq, a->seq + 1);
    }
    return true;
}

/** Fifth check: ACK. */
static bool check_ack(const struct arrival *a)
{
    struct tcp_connection *connection = a->connection;
    struct tcp_hot *hot = &connection->hot;
    if (!(a->segment->flags & TCP_ACK)) {
        a->result->drop = DROP_TCP_BAD_FLAGS;
        return false;
    }
    if (hot->state == TCP_STATE_SYN_RECEIVED) {
        if (!check_ack_syn_received(a))
            return false;
    } else {
        enum drop_reason drop = tcp_ack_arrives(a->stack, connection, a->segment, a->now_ns);
        if (drop != DROP_NONE) {
            a->result->drop = drop;
            return false;
        }
    }
    if (hot->fin_queued && hot->snd_una > hot->snd_end)
        tcp_fin_acknowledged(a->stack, connection, a->now_ns);
    return hot->state != TCP_STATE_CLOSED;
}

/** RFC 7323 §4.3: the timestamp to echo is that of the segment that advances the left edge. */
static void timestamp_record(const struct arrival *a)
{
    struct tcp_connection *connection = a->connection;
    const struct tcp_options *options = &a->segment->options;
    if (!connection->hot.timestamps || !options->has_timestamps ||
        a->seq > tcp_rcv_wup(&connection->hot))
        return;
    connection->hot.ts_recent = options->timestamp_value;
    connection->receive.ts_recent_age_s = (uint32_t)(a->now_ns / NS_PER_S);
}

/** Payload for which there is no reader any more resets (RFC 9293 §3.10.7.4; RFC 2525 §2.17); so
   does, as on Linux, a FIN that shows that there was some, and what reaches beyond a FIN. */
static bool check_reader(const struct arrival *a)
{
    struct tcp_connection *connection = a->connection;
    const struct tcp_hot *hot = &connection->hot;
    bool closing = hot->state == TCP_STATE_FIN_WAIT_1 || hot->state == TCP_STATE_FIN_WAIT_2;
    bool unwanted = closing && (connection->orphaned || connection->read_shut);
    bool ended = hot->fin_received && a->seq < hot->rcv_nxt;
    if (!unwanted && !ended)
        return true;
    if (tcp_segment_length(a->segment) == 0 || a->seq + a->segment->payload_length <= hot->rcv_nxt)
        return true;
    a->result->drop = DROP_TCP_CLOSED_PAYLOAD;
    tcp_reset_reply(a->stack, a->segment);
    tcp_enter_closed(a->stack, connection, ECONNRESET);
    return false;
}

/** Whether the payload is the one expected next: that of a handshake's last ACK mostly. */
static bool is_payload_predicted(const struct arrival *a)
{
    const struct tcp_connection *connection = a->connection;
    const struct tcp_segment *segment = a->segment;
    return !(segment->flags & TCP_FIN) && a->seq == connection->hot.rcv_nxt &&
           !segment->payload_refused && connection->hot.timestamps && !connection->hot.ecn &&
           !connection->hot.fin_received && segment->options.has_timestamps &&
           segment->payload_length <= tcp_receive_window(connection) &&
           !tcp_rare_is_own(connection) && !stack_get_config(a->stack)->no_prediction;
}

/** Seventh and eighth check: payload and FIN. */
static void process_payload(const struct arrival *a)
{
    struct tcp_connection *connection = a->connection;
    uint64_t before = tcp_received_end(connection);
    if (is_payload_predicted(a)) {
        tcp_receive_predicted(a->stack, connection, a->segment, a->now_ns, a->result);
        tcp_event_raise(a->stack, connection, STACK_EVENT_DATA);
        return;
    }
    bool fin = tcp_receive_payload(a->stack, connection, a->segment, a->seq, a->now_ns, a->result);
    if (tcp_received_end(connection) != before)
        tcp_event_raise(a->stack, connection, STACK_EVENT_DATA);
    if (fin)
        tcp_fin_arrived(a->stack, connection, a->now_ns);
    tcp_reassembly_release_if_idle(a->stack, connection);
}

static void synchronized_arrives(const struct arrival *a)
{
    if (!check_timestamp(a) || !check_sequence(a) || !check_reset(a) || !check_syn(a))
        return;
    a->connection->hot.more_released = true; /* as Linux: MSG_MORE holds back until then only */
    if (!check_ack(a))
        return;
    timestamp_record(a); /* only now: a blind segment must not make PAWS refuse the peer's */
    if (a->segment->flags & TCP_URG)
        tcp_urgent_arrives(a->stack, a->connection, a->segment, a->seq);
    if (!check_reader(a))
        return;
    if (a->segment->payload_length > 0 || (a->segment->flags & TCP_FIN))
        process_payload(a);
}

/* ---- Header prediction (RFC 7323 §5.6) ----------------------------------------------------- */

/** Next in order, with timestamp and without SACK, on a connection that nothing disturbs. */
static inline bool is_undisturbed(const struct tcp_connection *connection,
                                  const struct tcp_segment *segment)
{
    const uint32_t wanted = TCP_HOT_FLAGS(.timestamps = true, .sack = true);
    const uint32_t unwanted = TCP_HOT_FLAGS(.ecn = true, .fin_waiting = true);
    const struct tcp_hot *hot = &connection->hot;
    const struct tcp_options *options = &segment->options;
    return hot->ca_state == TCP_CA_OPEN && seq_eq(segment->seq, tcp_wire(hot->rcv_nxt)) &&
           (hot->flags & (wanted | unwanted)) == wanted &&
           hot->send_timer != TCP_SEND_TIMER_PERSIST && options->has_timestamps &&
           options->sack_block_count == 0 &&
           (int32_t)(options->timestamp_value - hot->ts_recent) >= 0;
}

/** timestamp_record() of a segment at rcv_nxt. */
static inline void timestamp_note(struct tcp_connection *connection,
                                  const struct tcp_segment *segment, uint64_t now_ns)
{
    if (tcp_unadvertised(&connection->hot) != 0)
        return;
    connection->hot.ts_recent = segment->options.timestamp_value;
    connection->receive.ts_recent_age_s = (uint32_t)(now_ns / NS_PER_S);
}

/** Whether an ACK, with PSH or not, in ESTABLISHED is the segment expected next on a connection
   that nothing disturbs: then all the checks below hold, and only what they let through has to be
   done. */
static bool is_predicted(const struct tcp_connection *connection, const struct tcp_segment *segment,
                         uint32_t now_us)
{
    uint32_t length = segment->payload_length;
    if (__builtin_expect(!is_undisturbed(connection, segment), 0))
        return false;
    if (__builtin_expect(length > 0 &&
                             (segment->payload_refused || length > tcp_receive_window(connection) ||
                              connection->rare->reassembly->out_of_order.first != NULL),
                         0))
        return false;
    return tcp_ack_is_predicted(connection, segment, now_us);
}

/** The fifth and seventh check, and the timestamp, of such a segment. */
static inline void predicted_arrives(struct stack *stack, struct tcp_connection *connection,
                                     const struct tcp_segment *segment, uint64_t now_ns,
                                     uint32_t now_us, struct stack_rx_result *result)
{
    struct tcp_hot *hot = &connection->hot;
    hot->more_released = true;
    uint32_t events = tcp_ack_predicted(stack, connection, segment, now_ns, now_us);
    timestamp_note(connection, segment, now_ns);
    if (segment->payload_length > 0) {
        tcp_receive_predicted(stack, connection, segment, now_ns, result);
        events |= STACK_EVENT_DATA;
    }
    if (events != 0)
        tcp_event_raise(stack, connection, events);
}

/** Handshake done, and not over. */
static inline bool may_close(const struct tcp_connection *connection)
{
    const uint32_t states = 1u << TCP_STATE_ESTABLISHED | 1u << TCP_STATE_FIN_WAIT_1 |
                            1u << TCP_STATE_FIN_WAIT_2 | 1u << TCP_STATE_CLOSE_WAIT |
                            1u << TCP_STATE_CLOSING | 1u << TCP_STATE_LAST_ACK;
    return (states >> connection->hot.state) & 1;
}

/** Whether the segment is the one expected next on such a connection that is closing: a FIN here or
    there may be in it, due, or behind. */
static inline bool is_closing_predicted(const struct tcp_connection *connection,
                                        const struct tcp_segment *segment, uint32_t now_us)
{
    const struct tcp_hot *hot = &connection->hot;
    bool brings = segment->payload_length > 0 || (segment->flags & TCP_FIN);
    if ((segment->flags & ~(TCP_PSH | TCP_FIN)) != TCP_ACK || !is_undisturbed(connection, segment))
        return false;
    if (hot->state == TCP_STATE_FIN_WAIT_2 && (!brings || tcp_unadvertised(hot) != 0))
        return false; /* what an orphan makes of its timestamp */
    if (brings) {
        uint32_t window = tcp_receive_window(connection);
        bool has_reader = !connection->orphaned && !connection->read_shut;
        if (hot->fin_received || segment->payload_refused || window == 0 ||
            segment->payload_length > window || (segment->payload_length > 0 && !has_reader) ||
            connection->rare->reassembly != &tcp_reassembly_none)
            return false;
    }
    return tcp_ack_is_predicted(connection, segment, now_us);
}

/** Fifth to eighth check, and the timestamp, of such a segment. */
static inline void closing_arrives(struct stack *stack, struct tcp_connection *connection,
                                   const struct tcp_segment *segment, uint64_t now_ns,
                                   uint32_t now_us, struct stack_rx_result *result)
{
    struct tcp_hot *hot = &connection->hot;
    hot->more_released = true;
    uint32_t events = tcp_ack_predicted_closing(stack, connection, segment, now_ns, now_us);
    if (events != 0)
        tcp_event_raise(stack, connection, events);
    if (hot->fin_queued && hot->snd_una > hot->snd_end)
        tcp_fin_acknowledged(stack, connection, now_ns);
    if (hot->state == TCP_STATE_CLOSED)
        return;
    timestamp_note(connection, segment, now_ns);
    if (segment->flags & TCP_FIN)
        tcp_receive_predicted_fin(stack, connection, segment, now_ns, result);
    else if (segment->payload_length > 0)
        tcp_receive_predicted(stack, connection, segment, now_ns, result);
    if (segment->payload_length > 0)
        tcp_event_raise(stack, connection, STACK_EVENT_DATA);
    if (segment->flags & TCP_FIN)
        tcp_fin_arrived(stack, connection, now_ns);
}

/* ---- The whole way -------------------------------------------------------------------------- */

/** The segment is not the connection's. */
static void uncount(struct tcp_connection *connection, const struct tcp_segment *segment)
{
    connection->statistics.segments_in -= tcp_segment_count(segment);
    if (segment->payload_length > 0)
        connection->statistics.data_segments_in -= tcp_segment_count(segment);
}

static inline void process(struct stack *stack, struct tcp_connection *connection,
                           const struct tcp_segment *segment, uint64_t now_ns,
                           struct stack_rx_result *result)
{
    const struct arrival a = {
        .stack = stack,
        .connection = connection,
        .segment = segment,
        .now_ns = now_ns,
        .seq = tcp_unwrap(connection->hot.rcv_nxt, segment->seq),
        .result = result,
    };
    enum tcp_state state = connection->hot.state;
    bool is_request = state == TCP_STATE_SYN_RECEIVED && connection->passive &&
                      !tcp_fast_open_is_pending(connection);
    if (segment->options.has_signature && state != TCP_STATE_CLOSED &&
        state != TCP_STATE_TIME_WAIT) {
        uncount(connection, segment);
        result->drop = DROP_TCP_SIGNATURE; /* without a word, as Linux */
        return;
    }
    switch (state) {
    case TCP_STATE_CLOSED:
    case TCP_STATE_LISTEN:
        result->drop = DROP_TCP_NO_CONNECTION;
        tcp_closed_segment_arrives(stack, segment);
        break;
    case TCP_STATE_SYN_SENT:
        tcp_syn_sent_arrives(stack, connection, segment, now_ns, result);
        break;
    case TCP_STATE_TIME_WAIT:
        tcp_time_wait_arrives(stack, connection, segment, now_ns, result);
        break;
    default:
        if (tcp_is_in_short_fin_wait_2(connection))
            tcp_short_fin_wait_2_arrives(stack, connection, segment, now_ns, result);
        else
            synchronized_arrives(&a);
        if (is_request && connection->hot.state == TCP_STATE_SYN_RECEIVED)
            uncount(connection, segment); /* as Linux, where there is no socket yet */
        break;
    }
    if (tcp_release_if_done(stack, connection) && result->connection == connection)
        result->connection = NULL; /* not the one that a SYN in TIME_WAIT made */
}

/** Apart, so that predicted segments do not pay for its registers; those drop nothing. */
static __attribute__((noinline)) void any_arrives(struct stack *stack,
                                                  struct tcp_connection *connection,
                                                  const struct tcp_segment *segment,
                                                  uint64_t now_ns, struct stack_rx_result *result)
{
    process(stack, connection, segment, now_ns, result);
    if (result->drop != DROP_NONE)
        stack_counters(stack)->drops[result->drop]++;
}

/** The short way of closing, and the whole way. */
static __attribute__((noinline, flatten)) void
other_arrives(struct stack *stack, struct tcp_connection *connection,
              const struct tcp_segment *segment, uint64_t now_ns, struct stack_rx_result *result)
{
    uint32_t now_us = tcp_sent_clock_us(now_ns);
    if (stack_get_config(stack)->no_prediction ||
        !is_closing_predicted(connection, segment, now_us)) {
        any_arrives(stack, connection, segment, now_ns, result);
        return;
    }
    closing_arrives(stack, connection, segment, now_ns, now_us, result);
    if (tcp_release_if_done(stack, connection))
        result->connection = NULL;
}

/** The short way of data and acknowledgements, or others. flatten: no part of it is called. */
static __attribute__((noinline, flatten)) void
established_arrives(struct stack *stack, struct tcp_connection *connection,
                    const struct tcp_segment *segment, uint64_t now_ns,
                    struct stack_rx_result *result)
{
    uint32_t now_us = tcp_sent_clock_us(now_ns);
    if (__builtin_expect(is_predicted(connection, segment, now_us) &&
                             !stack_get_config(stack)->no_prediction,
                         1))
        predicted_arrives(stack, connection, segment, now_ns, now_us, result);
    else
        other_arrives(stack, connection, segment, now_ns, result);
}

/** Which way it may be is asked first, so that none pays for another's registers. */
void tcp_segment_arrives(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_segment *segment, uint64_t now_ns,
                         struct stack_rx_result *result)
{
    bool is_plain = (segment->flags & ~TCP_PSH) == TCP_ACK;
    uint32_t count = 1;
    if (__builtin_expect(segment->gso_size != 0, 0))
        count = tcp_segment_count(segment);
    result->connection = connection;
    connection->statistics.segments_in += count;
    if (segment->payload_length > 0)
        connection->statistics.data_segments_in += count;
    if (__builtin_expect(connection->hot.state == TCP_STATE_ESTABLISHED && is_plain, 1))
        established_arrives(stack, connection, segment, now_ns, result);
    else if (may_close(connection))
        other_arrives(stack, connection, segment, now_ns, result);
    else
        any_arrives(stack, connection, segment, now_ns, result);
}
