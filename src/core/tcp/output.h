/**
 * @file output.h
 * What a connection may send now, one segment at a time: tcp_output_next() (stack_internal.h) asks
 * in the order retransmissions, new data, FIN, probes, pure ACK. Nagle with Minshall's amendment,
 * cork, silly-window avoidance, and what the congestion and the peer's window allow.
 */
#ifndef PNO_CORE_TCP_OUTPUT_H
#define PNO_CORE_TCP_OUTPUT_H

#include "core/tcp/connection.h"

/** There is something to send, or may be. */
static inline void tcp_output_request(struct stack *stack, struct tcp_connection *connection)
{
    stack_output_mark(stack, connection);
}

/** tcp_output_request() when anything is due. */
void tcp_output_request_if_wanted(struct stack *stack, struct tcp_connection *connection);

/** The SYN or SYN-ACK that is due, with the retransmission timer, and payload by fast open. */
void tcp_output_syn(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns,
                    struct tcp_output *output);

/** Payload of a full segment we may be sent, without options: MTU less headers, or TCP_MAXSEG. */
static inline uint32_t tcp_advertised_mss(const struct tcp_connection *connection)
{
    uint32_t maxseg = connection->options->maxseg;
    return maxseg != 0 && maxseg < connection->link_mss ? maxseg : connection->link_mss;
}
/** Its part that follows the MTU of the link, IP bytes; of an option's limit it knows nothing. */
void tcp_link_mss_set(struct tcp_connection *connection, uint16_t mtu);

/** Payload per segment as far as the path and TCP_MAXSEG go, options not taken off. */
uint32_t tcp_path_mss(const struct tcp_connection *connection);

/** Work out hot.mss from the peer's MSS, the path MTU, TCP_MAXSEG and the peer's largest window
    (half of it at most, RFC 9293 §3.8.6.2.1). */
void tcp_mss_update(struct tcp_connection *connection);

#endif
