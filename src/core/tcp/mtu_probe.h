/**
 * @file mtu_probe.h
 * Packetization-layer path MTU discovery (RFC 4821, RFC 8899), as Linux's tcp_mtu_probing: where no
 * ICMP tells that packets are too big, segments of their own find out what passes. Enabled from the
 * start, or once retransmission timeouts look like a black hole: then segments shrink to a size
 * that passes anywhere, and a binary search goes up again. A probe is one segment of new data,
 * larger than the rest; that it is lost is no sign of congestion.
 */
#ifndef PNO_CORE_TCP_MTU_PROBE_H
#define PNO_CORE_TCP_MTU_PROBE_H

#include "core/tcp/connection.h"

/** At the start of a transfer: whether to probe, and from which size up. */
void tcp_mtu_probe_init(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Timeouts that nothing explains: probing begins, or its lower bound sinks (RFC 4821 §7.7).
    @return true: segments are smaller now. */
bool tcp_mtu_black_hole(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Payload of the probe to send now; 0: none.
    @param pipe  bytes in flight. */
uint32_t tcp_mtu_probe_due(struct stack *stack, struct tcp_connection *connection, uint32_t pipe,
                           uint64_t now_ns);

/** That much went out at snd_nxt as a probe. */
void tcp_mtu_probe_sent(struct stack *stack, struct tcp_connection *connection, uint64_t start);

/** snd_una moved up: the probe may have passed. */
void tcp_mtu_probe_acked(struct stack *stack, struct tcp_connection *connection);

/** Loss was found. @return true: it is the probe's, so of its size. */
bool tcp_mtu_probe_failed(struct tcp_connection *connection);

/** It is sent again in smaller pieces: nothing can be learnt from it any more. */
static inline void tcp_mtu_probe_give_up(struct tcp_connection *connection)
{
    if (connection->mtu_probing)
        connection->rare->mtu_probe.size = 0;
}

/** The path is known not to take more than this. */
static inline void tcp_mtu_probe_limit(struct tcp_connection *connection, uint16_t mtu)
{
    if (connection->mtu_probing && mtu < connection->rare->mtu_probe.high)
        connection->rare->mtu_probe.high = mtu;
}

#endif
