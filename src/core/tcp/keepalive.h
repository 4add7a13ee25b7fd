/**
 * @file keepalive.h
 * Keepalive probes (RFC 9293 §3.8.4), as SO_KEEPALIVE and TCP_KEEP* mean them on Linux.
 */
#ifndef PNO_CORE_TCP_KEEPALIVE_H
#define PNO_CORE_TCP_KEEPALIVE_H

#include "core/tcp/connection.h"

/** The option, or the connection, is new: start or stop the timer. */
void tcp_keepalive_update(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

void tcp_keepalive_expired(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

#endif
