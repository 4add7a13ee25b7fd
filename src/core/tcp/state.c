#include "core/tcp/state.h"

#include <errno.h>

#include "core/tcp/congestion.h"
#include "core/tcp/fast_open.h"
#include "core/tcp/listener.h"
#include "core/tcp/options.h"
#include "core/tcp/rare.h"
#include "core/tcp/receive.h"
#include "core/tcp/recovery.h"
#include "core/tcp/scoreboard.h"
#include "core/tcp/sent.h"
#include "core/tcp/timers.h"

#define BIT(state) (UINT32_C(1) << TCP_STATE_##state)

/* Figure 5 of RFC 9293, plus CLOSED from everywhere (RST, ABORT, timeouts). */
static const uint32_t successors[] = {
    [0] = 0,
    [TCP_STATE_CLOSED] = BIT(SYN_SENT) | BIT(SYN_RECEIVED),
    [TCP_STATE_LISTEN] = 0,
    [TCP_STATE_SYN_SENT] = BIT(SYN_RECEIVED) | BIT(ESTABLISHED) | BIT(CLOSED),
    [TCP_STATE_SYN_RECEIVED] = BIT(ESTABLISHED) | BIT(CLOSED),
    [TCP_STATE_ESTABLISHED] = BIT(FIN_WAIT_1) | BIT(CLOSE_WAIT) | BIT(CLOSED),
    [TCP_STATE_FIN_WAIT_1] = BIT(FIN_WAIT_2) | BIT(CLOSING) | BIT(TIME_WAIT) | BIT(CLOSED),
    [TCP_STATE_FIN_WAIT_2] = BIT(TIME_WAIT) | BIT(CLOSED),
    [TCP_STATE_CLOSE_WAIT] = BIT(LAST_ACK) | BIT(CLOSED),
    [TCP_STATE_CLOSING] = BIT(TIME_WAIT) | BIT(CLOSED),
    [TCP_STATE_LAST_ACK] = BIT(CLOSED),
    [TCP_STATE_TIME_WAIT] = BIT(CLOSED),
};

bool tcp_state_transition_legal(enum tcp_state from, enum tcp_state to)
{
    return (successors[from] >> to) & 1;
}

/** ESTABLISHED and CLOSE_WAIT: what Linux counts as currently established. */
static uint32_t counts_as_established(enum tcp_state state)
{
    return ((BIT(ESTABLISHED) | BIT(CLOSE_WAIT)) >> state) & 1;
}

void tcp_set_state(struct stack *stack, struct tcp_connection *connection, enum tcp_state state)
{
    enum tcp_state before = connection->hot.state;
    PNO_ASSERT(tcp_state_transition_legal(before, state));
    struct stack_counters *counters = stack_counters(stack);
    counters->established_now += counts_as_established(state);
    counters->established_now -= counts_as_established(before);
    if (state == TCP_STATE_TIME_WAIT)
        counters->time_wait_now++;
    if (before == TCP_STATE_TIME_WAIT)
        counters->time_wait_now--;
    connection->hot.state = (uint8_t)state;
}

void tcp_event_raise(struct stack *stack, struct tcp_connection *connection, uint32_t bits)
{
    bool is_usual = !connection->queued && !connection->orphaned && !connection->closed_told;
    if (is_usual) {
        stack_event_raise(stack, connection, bits);
        return;
    }
    if (connection->unannounced) {
        connection->pending->held_events |= bits;
        return;
    }
    if (connection->queued || connection->closed_told)
        return;
    /* Of a connection let go, only what frees the bytes still kept for it is of interest. */
    if (connection->orphaned)
        bits &= STACK_EVENT_ACKED;
    if (bits != 0)
        stack_event_raise(stack, connection, bits);
}

void tcp_tell_closed(struct stack *stack, struct tcp_connection *connection)
{
    if (!connection->orphaned || connection->closed_told)
        return;
    connection->closed_told = true;
    stack_event_raise(stack, connection, STACK_EVENT_CLOSED);
}

void tcp_enter_closed(struct stack *stack, struct tcp_connection *connection, int error)
{
    bool embryonic = connection->hot.state == TCP_STATE_SYN_RECEIVED && connection->queued &&
                     !tcp_fast_open_is_pending(connection);
    tcp_fast_open_leave(stack, connection, false, 0);
    tcp_set_state(stack, connection, TCP_STATE_CLOSED);
    tcp_timers_stop(stack, connection);
    tcp_reassembly_clear(stack, connection);
    tcp_scoreboard_clear(stack, connection);
    tcp_sent_clear(stack, connection);
    tcp_recovery_drop(stack, connection);
    connection->hot.fin_waiting = false;
    connection->hot.acks_owed = 0;
    stack_flow_remove(stack, connection);
    if (embryonic) {
        tcp_listener_forget_embryonic(stack, connection);
        connection->orphaned = connection->closed_told = connection->released = true;
        return;
    }
    if (error != 0 && connection->error == 0)
        connection->error = (uint16_t)error;
    if (error != 0)
        tcp_event_raise(stack, connection, STACK_EVENT_ERROR);
    tcp_tell_closed(stack, connection);
}

void tcp_send_reset(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_hot *hot = &connection->hot;
    /* As Linux: the number must be one the peer accepts even when its window shrank. */
    uint64_t window_end = hot->snd_una + hot->snd_wnd;
    uint64_t number = hot->snd_nxt <= window_end ? hot->snd_nxt : window_end;
    if (hot->state == TCP_STATE_SYN_RECEIVED)
        number = hot->snd_nxt;
    /* RFC 8257 §3.6: lest congestion take it. */
    bool capable = hot->ecn && tcp_congestion_of(connection)->needs_ecn;
    struct tcp_reply reply = {
        .flow = connection->flow,
        .seq = tcp_wire(number),
        .ack = tcp_wire(hot->rcv_nxt),
        .flags = TCP_RST | TCP_ACK,
        .traffic_class =
            (uint8_t)(connection->options->traffic_class | (capable ? ECN_ECT_0 : ECN_NOT_ECT)),
        .ttl = connection->options->ttl,
        .window = tcp_window_advertise(connection), /* as in any other segment (Linux) */
        .ends_connection = true,
    };
    if (hot->timestamps)
        reply.options_length = tcp_options_build_timestamps(tcp_timestamp_now(connection, now_ns),
                                                            hot->ts_recent, reply.options);
    stack_counters(stack)->resets_out++;
    stack_reply_queue(stack, &reply);
}

void tcp_connection_free(struct stack *stack, struct tcp_connection *connection)
{
    PNO_ASSERT(!connection->queued);
    tcp_reassembly_drop(stack, connection);
    tcp_rare_drop(stack, connection);
    tcp_options_release(stack, connection->options);
    stack_connection_free(stack, connection);
}

bool tcp_release_if_done(struct stack *stack, struct tcp_connection *connection)
{
    if (connection->hot.state != TCP_STATE_CLOSED || !connection->released)
        return false;
    tcp_connection_free(stack, connection);
    return true;
}

void tcp_closed_delivered(struct stack *stack, struct tcp_connection *connection)
{
    connection->released = true;
    connection->user = NULL;
    tcp_release_if_done(stack, connection);
}
