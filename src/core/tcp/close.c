#include "core/tcp/close.h"

#include <errno.h>

#include "core/tcp/fast_open.h"
#include "core/tcp/output.h"
#include "core/tcp/receive.h"
#include "core/tcp/state.h"
#include "core/tcp/timers.h"

void tcp_reset_reply(struct stack *stack, const struct tcp_segment *segment)
{
    if (segment->flags & TCP_RST)
        return;
    struct tcp_reply reply = {.flow = tcp_segment_flow(segment)};
    if (segment->flags & TCP_ACK) {
        reply.flags = TCP_RST;
        reply.seq = segment->ack;
    } else {
        reply.flags = TCP_RST | TCP_ACK;
        reply.ack = seq_add(segment->seq, tcp_segment_length(segment));
    }
    stack_counters(stack)->resets_out++;
    stack_reply_queue(stack, &reply);
}

void tcp_closed_segment_arrives(struct stack *stack, const struct tcp_segment *segment)
{
    tcp_reset_reply(stack, segment);
}

/** An orphan waits for the peer's FIN, but not for ever. */
static void fin_wait_2_limit(struct stack *stack, struct tcp_connection *connection,
                             uint64_t now_ns)
{
    uint64_t timeout_ns = connection->options->linger2_ns;
    if (timeout_ns == UINT64_MAX) {
        tcp_send_reset(stack, connection, now_ns);
        tcp_enter_closed(stack, connection, 0);
        return;
    }
    tcp_state_timer_set(stack, connection, TCP_STATE_TIMER_FIN_WAIT_2, now_ns + timeout_ns);
    tcp_tell_closed(stack, connection);
}

void tcp_fin_acknowledged(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    switch ((enum tcp_state)connection->hot.state) {
    case TCP_STATE_FIN_WAIT_1:
        tcp_set_state(stack, connection, TCP_STATE_FIN_WAIT_2);
        if (connection->orphaned)
            fin_wait_2_limit(stack, connection, now_ns);
        break;
    case TCP_STATE_CLOSING:
        tcp_time_wait_enter(stack, connection, now_ns);
        break;
    case TCP_STATE_LAST_ACK:
        tcp_enter_closed(stack, connection, 0);
        break;
    default:
        break;
    }
}

void tcp_fin_arrived(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    tcp_event_raise(stack, connection, STACK_EVENT_FIN);
    tcp_reassembly_clear(stack, connection);
    switch ((enum tcp_state)connection->hot.state) {
    case TCP_STATE_ESTABLISHED:
        tcp_set_state(stack, connection, TCP_STATE_CLOSE_WAIT);
        /* As Linux: an application that closes now has its FIN carry the acknowledgement; but
           delays are for peers that sent something (a SYN's data does not count). */
        connection->hot.pingpong = true;
        if (connection->receive.ack_delay_us == 0) {
            tcp_ack_delay_expired(connection);
            tcp_ack_now(stack, connection);
        } else {
            tcp_ack_schedule(stack, connection, now_ns);
        }
        break;
    case TCP_STATE_FIN_WAIT_1:
        tcp_set_state(stack, connection, TCP_STATE_CLOSING);
        tcp_ack_now(stack, connection);
        break;
    case TCP_STATE_FIN_WAIT_2:
        tcp_time_wait_enter(stack, connection, now_ns);
        tcp_ack_now(stack, connection);
        break;
    default:
        break;
    }
}

/** Our FIN goes behind what was sent so far. */
static void queue_fin(struct stack *stack, struct tcp_connection *connection, enum tcp_state next)
{
    tcp_set_state(stack, connection, next);
    connection->hot.fin_queued = true;
    connection->hot.more = false;
    tcp_output_request(stack, connection);
}

void tcp_shutdown_write(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    (void)now_ns;
    switch ((enum tcp_state)connection->hot.state) {
    case TCP_STATE_SYN_SENT:
        tcp_enter_closed(stack, connection, ECONNRESET);
        break;
    case TCP_STATE_SYN_RECEIVED:
        connection->fin_after_handshake = true;     /* RFC 9293 §3.10.4: queued … */
        if (tcp_fast_open_is_pending(connection)) { /* … but behind the answer of a fast opening */
            connection->hot.fin_queued = true;
            connection->hot.more = false;
            tcp_output_request(stack, connection);
        }
        break;
    case TCP_STATE_ESTABLISHED:
        queue_fin(stack, connection, TCP_STATE_FIN_WAIT_1);
        break;
    case TCP_STATE_CLOSE_WAIT:
        queue_fin(stack, connection, TCP_STATE_LAST_ACK);
        break;
    default:
        break;
    }
}

void tcp_shutdown_read(struct stack *stack, struct tcp_connection *connection)
{
    (void)stack;
    connection->read_shut = true;
}

void tcp_abort(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    connection->orphaned = true;
    switch ((enum tcp_state)connection->hot.state) {
    case TCP_STATE_CLOSED:
    case TCP_STATE_LISTEN:
        break;
    case TCP_STATE_SYN_RECEIVED:
    case TCP_STATE_ESTABLISHED:
    case TCP_STATE_FIN_WAIT_1:
    case TCP_STATE_FIN_WAIT_2:
    case TCP_STATE_CLOSE_WAIT:
        tcp_send_reset(stack, connection, now_ns);
        tcp_enter_closed(stack, connection, 0);
        break;
    case TCP_STATE_CLOSING:
    case TCP_STATE_LAST_ACK:
        if (tcp_unsent(connection) != 0 || tcp_fin_unsent(connection)) /* as Linux */
            tcp_send_reset(stack, connection, now_ns);
        tcp_enter_closed(stack, connection, 0);
        break;
    default:
        tcp_enter_closed(stack, connection, 0);
        break;
    }
    tcp_tell_closed(stack, connection);
}

void tcp_close(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_hot *hot = &connection->hot;
    bool unread =
        tcp_is_synchronized(connection) && tcp_rcv_read(hot) < tcp_received_end(connection);
    if (hot->state == TCP_STATE_SYN_SENT || (unread && hot->state != TCP_STATE_TIME_WAIT)) {
        bool both_ended = hot->state == TCP_STATE_CLOSING || hot->state == TCP_STATE_LAST_ACK;
        if (both_ended && !tcp_unsent(connection) && !tcp_fin_unsent(connection))
            tcp_send_reset(stack, connection, now_ns); /* whom an abort alone would not tell */
        tcp_abort(stack, connection, now_ns);
        return;
    }
    connection->orphaned = true;
    if (connection->state_timer == TCP_STATE_TIMER_KEEPALIVE)
        tcp_state_timer_set(stack, connection, TCP_STATE_TIMER_NONE, TIME_NEVER);
    switch ((enum tcp_state)hot->state) {
    case TCP_STATE_FIN_WAIT_2:
        fin_wait_2_limit(stack, connection, now_ns);
        break;
    case TCP_STATE_CLOSED:
    case TCP_STATE_TIME_WAIT:
        tcp_tell_closed(stack, connection);
        break;
    default:
        tcp_shutdown_write(stack, connection, now_ns);
        break;
    }
}
