/**
 * @file close.h
 * Closing: half-close, close, abort, and the states that follow the peer's FIN and the
 * acknowledgement of ours.
 */
#ifndef PNO_CORE_TCP_CLOSE_H
#define PNO_CORE_TCP_CLOSE_H

#include "core/tcp/connection.h"

/** Our FIN is acknowledged (RFC 9293 §3.10.7.4, fifth check, by state). */
void tcp_fin_acknowledged(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** The peer's FIN has come into order (eighth check). */
void tcp_fin_arrived(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** RST to whatever has no connection (RFC 9293 §3.10.7.1). */
void tcp_reset_reply(struct stack *stack, const struct tcp_segment *segment);

/* ---- time_wait.c --------------------------------------------------------------------------- */

void tcp_time_wait_enter(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Whether an orphan waits in FIN_WAIT_2 as Linux has it: no longer than 60 s, and deaf to all but
    the peer's end. */
bool tcp_is_in_short_fin_wait_2(const struct tcp_connection *connection);

/** A segment in that state. Payload beyond what came, or a FIN of such, resets. */
void tcp_short_fin_wait_2_arrives(struct stack *stack, struct tcp_connection *connection,
                                  const struct tcp_segment *segment, uint64_t now_ns,
                                  struct stack_rx_result *result);

/** A segment in TIME_WAIT. */
void tcp_time_wait_arrives(struct stack *stack, struct tcp_connection *connection,
                           const struct tcp_segment *segment, uint64_t now_ns,
                           struct stack_rx_result *result);

#endif
