/**
 * @file connect.h
 * Opening: active open, state SYN_SENT, simultaneous open, and what both sides do once the
 * handshake is done.
 */
#ifndef PNO_CORE_TCP_CONNECT_H
#define PNO_CORE_TCP_CONNECT_H

#include "core/tcp/connection.h"

/** Where a flow's numbers start; nobody without the key can tell. */
struct tcp_first_numbers {
    seq_t iss;          /**< initial sequence number: a clock of 4 µs plus a hash (RFC 6528) */
    uint32_t ts_offset; /**< of its timestamp clock (RFC 7323 §5.4) */
};
struct tcp_first_numbers tcp_first_numbers_choose(struct stack *stack, const struct tcp_flow *flow,
                                                  uint64_t now_ns);

/** What the MSS we announce follows: the link's MTU (of our own addresses, the larger path's), not
    what was learnt of the path from us to the peer. */
uint16_t tcp_link_mtu(const struct stack *stack, uint16_t path_mtu);

/** Where a new connection's numbers start, and those that come up to there.
    @param iss  initial sequence number; NULL: chosen. */
void tcp_numbers_init(struct stack *stack, struct tcp_connection *connection, const seq_t *iss,
                      uint64_t now_ns);

/** Fill in what every new connection starts with: timers off, options, MTU, send sequence.
    @param iss  initial sequence number; NULL: chosen. */
void tcp_connection_init(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_options_set *options, const seq_t *iss, uint64_t now_ns);

/** The peer's segments are taken to be like ours, but not large (Linux's tcp_initialize_rcv_mss()).
 */
void tcp_rcv_mss_init(struct tcp_connection *connection);

/** Take the peer's SYN: its number and window, and the options both sides know. */
void tcp_syn_accept(struct stack *stack, struct tcp_connection *connection,
                    const struct tcp_segment *segment, const struct tcp_options *options,
                    uint64_t now_ns);

/** Its numbers and time stamp alone. */
static inline void tcp_syn_numbers_note(struct tcp_connection *connection,
                                        const struct tcp_segment *segment,
                                        const struct tcp_options *options, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    hot->rcv_first = hot->rcv_wup = hot->rcv_read = seq_add(segment->seq, 1);
    hot->rcv_nxt = tcp_rcv_start(hot);
    hot->snd_wl1 = segment->seq;
    if (hot->timestamps) {
        hot->ts_recent = options->timestamp_value;
        connection->receive.ts_recent_age_s = (uint32_t)(now_ns / NS_PER_S);
    }
}

/** Both SYNs are known: what sending and receiving start from.
    @param una  the first number that is not acknowledged. */
void tcp_transfer_begin(struct stack *stack, struct tcp_connection *connection, uint64_t una,
                        uint64_t now_ns);

/** To ESTABLISHED, from the beginning of a transfer. Our SYN is acknowledged, and what came with it
    up to una. */
void tcp_establish(struct stack *stack, struct tcp_connection *connection, uint64_t una,
                   uint64_t now_ns);

/** The same for a connection that was opened fast: the transfer has begun already. */
void tcp_establish_fast(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Our SYN is acknowledged: the first round-trip sample, by timestamps if it was repeated. */
void tcp_handshake_rtt(struct tcp_connection *connection, const struct tcp_segment *segment,
                       uint64_t now_ns);

/** A segment in SYN_SENT (RFC 9293 §3.10.7.3). */
void tcp_syn_sent_arrives(struct stack *stack, struct tcp_connection *connection,
                          const struct tcp_segment *segment, uint64_t now_ns,
                          struct stack_rx_result *result);

/** The retransmission timer in SYN_SENT. */
void tcp_syn_sent_expired(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

#endif
