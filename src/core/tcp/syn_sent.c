/* A segment in SYN_SENT: RFC 9293 §3.10.7.3, check by check. */
#include <errno.h>

#include "core/tcp/ack.h"
#include "core/tcp/close.h"
#include "core/tcp/connect.h"
#include "core/tcp/fast_open.h"
#include "core/tcp/output.h"
#include "core/tcp/receive.h"
#include "core/tcp/rto.h"
#include "core/tcp/sent.h"
#include "core/tcp/state.h"
#include "core/tcp/timers.h"

/** A SYN that met with an old connection goes again so soon: Linux's TCP_TIMEOUT_MIN, at 250 Hz. */
#define SYN_AGAIN_NS (8 * NS_PER_MS)

/** First: it must acknowledge our SYN, and its data as far as it likes, or nothing. */
static bool ack_is_acceptable(const struct tcp_connection *connection,
                              const struct tcp_segment *segment)
{
    return seq_geq(segment->ack, tcp_wire(tcp_snd_start(&connection->hot))) &&
           seq_leq(segment->ack, tcp_wire(connection->hot.snd_nxt));
}

void tcp_handshake_rtt(struct tcp_connection *connection, const struct tcp_segment *segment,
                       uint64_t now_ns)
{
    uint64_t rtt_us = UINT64_MAX;
    if (connection->syn_timed) {
        rtt_us = tcp_sent_clock_us(now_ns) - connection->congestion.syn_sent_us;
    } else if (connection->hot.timestamps && segment->options.timestamp_echo != 0) {
        uint32_t now = tcp_timestamp_now(connection, now_ns);
        uint32_t rtt_ms = now - segment->options.timestamp_echo;
        rtt_us = rtt_ms == 0 ? 1000 : rtt_ms * UINT64_C(1000);
    }
    connection->syn_timed = false;
    if (rtt_us >= TCP_RTO_MAX_US)
        return;
    tcp_rto_sample(connection, (uint32_t)rtt_us);
    tcp_rto_min_note(connection, rtt_us > 0 ? (uint32_t)rtt_us : 1, now_ns);
}

static void established(struct stack *stack, struct tcp_connection *connection,
                        const struct tcp_segment *segment, uint64_t now_ns,
                        struct stack_rx_result *result)
{
    struct tcp_hot *hot = &connection->hot;
    uint64_t ack = tcp_unwrap(tcp_snd_start(hot), segment->ack);
    tcp_syn_accept(stack, connection, segment, &segment->options, now_ns);
    tcp_handshake_rtt(connection, segment, now_ns);
    tcp_establish(stack, connection, ack, now_ns);
    tcp_event_raise(stack, connection, STACK_EVENT_ESTABLISHED);
    if (ack > tcp_snd_start(hot))
        tcp_event_raise(stack, connection, STACK_EVENT_ACKED);
    bool take_payload = tcp_fast_open_synack_arrives(stack, connection, segment, now_ns);
    if (hot->snd_una < hot->snd_nxt)
        return; /* what the SYN-ACK left out goes again, with the acknowledgement */
    if (take_payload && (segment->payload_length > 0 || (segment->flags & TCP_FIN)) &&
        tcp_receive_payload(stack, connection, segment, tcp_rcv_start(hot), now_ns, result))
        tcp_fin_arrived(stack, connection, now_ns);
    if (tcp_received_end(connection) > tcp_rcv_start(hot))
        tcp_event_raise(stack, connection, STACK_EVENT_DATA);
    if (!connection->fast_open.more) {
        tcp_ack_now(stack, connection);
        return;
    }
    /* A writer waits: its data will carry the acknowledgement (as Linux). */
    tcp_quick_ack_enter(connection, UINT8_MAX);
    connection->receive.last_data_ms = tcp_clock_ms(now_ns);
    tcp_ack_timer_set(stack, connection, now_ns + TCP_ACK_DELAY_MAX_US * NS_PER_US);
}

/** Simultaneous open: our SYN crossed the peer's (RFC 9293 §3.5, figure 7). */
static void simultaneous(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_segment *segment, uint64_t now_ns)
{
    tcp_syn_accept(stack, connection, segment, &segment->options, now_ns);
    if (!connection->hot.window_scaling)
        connection->hot.rcv_wscale =
            0; /* an ACK may tell the window before the handshake is done */
    tcp_set_state(stack, connection, TCP_STATE_SYN_RECEIVED);
    connection->fast_open.wanted = false;
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
        /* The peer may have had an old connection, which is gone now (as Linux). */
        if (connection->syn_timeouts == 0)
            tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_RETRANSMIT, now_ns + SYN_AGAIN_NS);
        result->drop = DROP_TCP_BAD_ACK;
        return;
    }
    if (has_ack && tcp_syn_timestamp_is_wrong(connection, segment, now_ns)) {
        if (!(segment->flags & TCP_RST))
            tcp_reset_reply(stack, segment);
        result->drop = DROP_TCP_PAWS;
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
        established(stack, connection, segment, now_ns, result);
    else
        simultaneous(stack, connection, segment, now_ns);
}
