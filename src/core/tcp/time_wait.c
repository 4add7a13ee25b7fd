/* TIME_WAIT: RFC 9293 §3.10.7.4 as far as it concerns this state, and its reuse by a new SYN. */
#include "core/tcp/ack.h"
#include "core/tcp/close.h"
#include "core/tcp/listener.h"
#include "core/tcp/output.h"
#include "core/tcp/receive.h"
#include "core/tcp/recovery.h"
#include "core/tcp/state.h"
#include "core/tcp/timers.h"

/** A new incarnation starts this far above the old one's numbers, as Linux has it. */
#define REUSE_GAP (65535 + 2)

/** Orphans that wait for a FIN no longer than this do it as TIME_WAIT does, on Linux. */
#define LINUX_TIMEWAIT_NS (60 * NS_PER_S)

static void timer_restart(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    tcp_state_timer_set(stack, connection, TCP_STATE_TIMER_TIME_WAIT,
                        now_ns + stack_get_config(stack)->tcp.time_wait_ns);
}

void tcp_time_wait_enter(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    tcp_set_state(stack, connection, TCP_STATE_TIME_WAIT);
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_NONE, TIME_NEVER);
    tcp_ack_timer_set(stack, connection, TIME_NEVER);
    tcp_recovery_drop(stack, connection);
    connection->hot.challenge_acked = false; /* limited from here on (as Linux) */
    timer_restart(stack, connection, now_ns);
    tcp_tell_closed(stack, connection);
}

static bool paws_rejects(const struct tcp_connection *connection, const struct tcp_segment *segment)
{
    return connection->hot.timestamps && segment->options.has_timestamps &&
           (int32_t)(segment->options.timestamp_value - connection->hot.ts_recent) < 0;
}

/** RFC 1122 §4.2.2.13 and RFC 6191: a SYN that cannot be an old duplicate. */
static bool is_new_incarnation(const struct tcp_connection *connection,
                               const struct tcp_segment *segment, uint64_t seq)
{
    if ((segment->flags & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_SYN)
        return false;
    if (seq > connection->hot.rcv_nxt)
        return true;
    return connection->hot.timestamps && segment->options.has_timestamps &&
           (int32_t)(segment->options.timestamp_value - connection->hot.ts_recent) > 0;
}

/** Make room for the new incarnation. @return true when a listener took the SYN. */
static bool reuse(struct stack *stack, struct tcp_connection *connection,
                  const struct tcp_segment *segment, uint64_t now_ns,
                  struct stack_rx_result *result)
{
    struct tcp_listener *listener = stack_listener_find(stack, &connection->flow);
    if (listener == NULL)
        return false;
    seq_t iss = tcp_wire(connection->hot.snd_nxt + REUSE_GAP);
    struct tcp_segment syn = *segment;
    syn.payload_refused = true; /* nobody was told of the new connection yet: it comes again */
    tcp_enter_closed(stack, connection, 0);
    if (syn.flags & TCP_FIN) { /* of no use to a listener, but it ended this state (as Linux) */
        result->drop = DROP_TCP_BAD_FLAGS;
        return true;
    }
    tcp_listener_syn_arrives(stack, listener, &syn, &iss, now_ns, result);
    return true;
}

/** What is no use is answered, and not too often what might answer in turn. */
static void answer(struct stack *stack, struct tcp_connection *connection,
                   const struct tcp_segment *segment, uint64_t now_ns)
{
    if (tcp_segment_length(segment) == 0 || (segment->flags & TCP_SYN) != 0)
        tcp_challenge_ack(stack, connection, now_ns);
    else
        tcp_ack_now(stack, connection);
}

bool tcp_is_in_short_fin_wait_2(const struct tcp_connection *connection)
{
    return connection->hot.state == TCP_STATE_FIN_WAIT_2 && connection->orphaned &&
           connection->options->linger2_ns <= LINUX_TIMEWAIT_NS;
}

void tcp_short_fin_wait_2_arrives(struct stack *stack, struct tcp_connection *connection,
                                  const struct tcp_segment *segment, uint64_t now_ns,
                                  struct stack_rx_result *result)
{
    struct tcp_hot *hot = &connection->hot;
    uint64_t seq = tcp_unwrap(hot->rcv_nxt, segment->seq);
    uint64_t end = seq + tcp_segment_length(segment);
    uint64_t edge = hot->rcv_nxt + tcp_receive_window(connection);
    bool in_window =
        seq == hot->rcv_nxt || (end > hot->rcv_nxt && seq < edge) || (seq == edge && seq == end);
    if (paws_rejects(connection, segment) || !in_window) {
        result->drop = in_window ? DROP_TCP_PAWS : DROP_TCP_OUT_OF_WINDOW;
        answer(stack, connection, segment, now_ns);
    } else if (segment->flags & TCP_RST) {
        stack_counters(stack)->resets_in++;
        tcp_enter_closed(stack, connection, 0);
    } else if ((segment->flags & TCP_SYN) != 0 && seq >= hot->rcv_nxt) {
        result->drop = DROP_TCP_SYN_IN_WINDOW;
        tcp_reset_reply(stack, segment);
        tcp_enter_closed(stack, connection, 0);
    } else if ((segment->flags & TCP_ACK) == 0 || end <= hot->rcv_nxt || end == seq) {
        result->drop = end == seq ? DROP_NONE : DROP_TCP_OLD_DUPLICATE;
    } else if ((segment->flags & TCP_FIN) == 0 || end != hot->rcv_nxt + 1) {
        result->drop = DROP_TCP_CLOSED_PAYLOAD;
        tcp_reset_reply(stack, segment);
        tcp_enter_closed(stack, connection, 0);
    } else {
        connection->congestion.last_ack_ms = tcp_clock_ms(now_ns);
        if (segment->ack.value == tcp_wire(hot->snd_una).value)
            tcp_send_window_set(connection, segment, true);
        hot->fin_waiting = false; /* nor counts what came from beyond a gap any more */
        tcp_reassembly_drop(stack, connection);
        hot->fin_received = true;
        hot->rcv_nxt++;
        if (hot->timestamps && segment->options.has_timestamps)
            hot->ts_recent = segment->options.timestamp_value;
        tcp_fin_arrived(stack, connection, now_ns);
    }
}

void tcp_time_wait_arrives(struct stack *stack, struct tcp_connection *connection,
                           const struct tcp_segment *segment, uint64_t now_ns,
                           struct stack_rx_result *result)
{
    uint64_t seq = tcp_unwrap(connection->hot.rcv_nxt, segment->seq);
    bool rejected = paws_rejects(connection, segment);
    if (segment->flags & TCP_RST) {
        if (!rejected && seq == connection->hot.rcv_nxt) {
            stack_counters(stack)->resets_in++;
            tcp_enter_closed(stack, connection, 0);
        } else {
            result->drop = DROP_TCP_RESET_INVALID;
        }
        return;
    }
    if (!rejected && is_new_incarnation(connection, segment, seq) &&
        reuse(stack, connection, segment, now_ns, result))
        return;
    if (!rejected && seq == connection->hot.rcv_nxt && tcp_segment_length(segment) == 0) {
        /* The peer's last word: nothing to answer (Linux starts over even so). */
        timer_restart(stack, connection, now_ns);
        /* Not while the FIN is unacknowledged: its timestamp is to be echoed (RFC 7323 §4.3). Nor
           of what does not know our numbers, which could have PAWS reject all that the peer sends.
         */
        if (connection->hot.timestamps && segment->options.has_timestamps &&
            tcp_unadvertised(&connection->hot) == 0 &&
            segment->ack.value == tcp_wire(connection->hot.snd_nxt).value)
            connection->hot.ts_recent = segment->options.timestamp_value;
        return;
    }
    result->drop = rejected ? DROP_TCP_PAWS : DROP_TCP_OLD_DUPLICATE;
    if (rejected || (segment->flags & TCP_ACK) != 0)
        timer_restart(stack, connection, now_ns);
    answer(stack, connection, segment, now_ns);
}
