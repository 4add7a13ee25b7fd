/**
 * @file urgent.h
 * Urgent data (RFC 9293 §3.8.5, RFC 6093): a mark in the stream, one byte as sockets see it. The
 * byte stays in the stream; taking it out of line is the socket layer's business.
 */
#ifndef PNO_CORE_TCP_URGENT_H
#define PNO_CORE_TCP_URGENT_H

#include "core/tcp/connection.h"

/** Sixth check of RFC 9293 §3.10.7.4. */
void tcp_urgent_arrives(struct stack *stack, struct tcp_connection *connection,
                        const struct tcp_segment *segment, uint64_t seq);

#endif
