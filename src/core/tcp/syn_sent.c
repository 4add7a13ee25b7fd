/* A segment in SYN_SENT: RFC 9293 §3.10.7.3, check by check. */
#include <errno.h>

#include "core/tcp/ack.h"
#include "core/tcp/close.h"
#include "core/tcp/connect.h"
#include "core/tcp/output.h"
#include "core/tcp/receive.h"
#include "core/tcp/rto.h"
#include "core/tcp/state.h"
#include "core/tcp/timers.h"

/** First: it must acknowledge our SYN or nothing. */
static bool ack_is_acceptable(const struct tcp_connection *connection,
                              const struct tcp_segment *segment)
{
    return seq_eq(segment->ack, tcp_wire(connection->hot.snd_start));
}

void tcp_handshake_rtt(struct stack *stack, struct tcp_connection *connection,
                       const struct tcp_segment *segment, uint64_t now_ns)
{
    struct tcp_congestion *congestion = &connection->congestion;
    uint64_t rtt_us = UINT64_MAX;
    if (congestion->syn_sent_ns != 0) {
        rtt_us = (now_ns - congestion->syn_sent_ns) / NS_PER_US;
    } else if (connection->hot.timestamps && segment->options.timestamp_echo != 0) {
        uint32_t now = tcp_timestamp_now(connection, now_ns);
        uint32_t rtt_ms = now - segment->options.timestamp_echo;
        rtt_us = rtt_ms == 0 ? 1000 : rtt_ms * UINT64_C(1000);
    }
    congestion->syn_sent_ns = 0;
    if (rtt_us >= TCP_RTO_MAX_US)
        return;
    tcp_rto_sample(stack, connection, (uint32_t)rtt_us);
    tcp_rto_min_note(connection, rtt_us > 0 ? (uint32_t)rtt_us : 1, now_ns);
}

static void established(struct stack *stack, struct tcp_connection *connection,
                        const struct tcp_segment *segment, uint64_t now_ns)
{
    tcp_syn_accept(stack, connection, segment, &segment->options, now_ns);
    tcp_send_window_set(connection, segment, false);
    tcp_handshake_rtt(stack, connection, segment, now_ns);
    tcp_establish(stack, connection, now_ns);
    tcp_event_raise(stack, connection, STACK_EVENT_ESTABLISHED);
    tcp_ack_now(stack, connection);
}

/** Simultaneous open: our SYN crossed the peer's (RFC 9293 §3.5, figure 7). */
static void simultaneous(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_segment *segment, uint64_t now_ns)
{
    tcp_syn_accept(stack, connection, segment, &segment->options, now_ns);
    tcp_send_window_set(connection, segment, false);
    tcp_set_state(stack, connection, TCP_STATE_SYN_RECEIVED);
    connection->hot.syn_due = true;
    tcp_output_request(stack, connection);
}

void tcp_syn_sent_arrives(struct stack *stack, struct tcp_connection *connection,
                          const struct tcp_segment *segment, uint64_t now_ns,
                          struct stack_rx_result *result)
{
    bool has_ack = segment->flags & TCP_ACK;
    if (has_ack && !ack_is_acceptable(connection, segment)) {
        if (!(segment->flags & TCP_RST))
            tcp_reset_reply(stack, segment);
        result->drop = DROP_TCP_BAD_ACK;
        return;
    }
    if (segment->flags & TCP_RST) {
        if (!has_ack) {
            result->drop = DROP_TCP_RESET_INVALID;
            return;
        }
        stack_counters(stack)->resets_in++;
        tcp_enter_closed(stack, connection, ECONNREFUSED);
        return;
    }
    if (!(segment->flags & TCP_SYN)) {
        result->drop = DROP_TCP_BAD_FLAGS;
        return;
    }
    if (has_ack)
        established(stack, connection, segment, now_ns);
    else
        simultaneous(stack, connection, segment, now_ns);
}
