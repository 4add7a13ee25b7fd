/**
 * @file timers.h
 * All of a connection's timers. Four deadlines, of which two say what they are for; the wheel
 * holds one entry at the earliest (or before it: a deadline that moves away is not re-entered, the
 * entry comes up early and is set again).
 *
 *   send timer, one of
 *     RETRANSMIT  something is in flight: RFC 6298 §5. Restarted when snd_una advances.
 *     TAIL_PROBE  something is in flight and nothing is amiss: after two round trips of silence a
 *                 probe draws out the SACKs that fast recovery needs (RFC 8985 §7).
 *     REORDER     SACKs left holes, but too few to call them lost: a quarter of a round trip later
 *                 they are (RFC 8985 §6.2, step 5).
 *     PERSIST     nothing is in flight, but the peer's window (or Nagle, cork) holds data back:
 *                 probe it (RFC 9293 §3.8.6.1), with back-off.
 *   pacing timer  payload waits for its time (pacing.h).
 *   ACK timer     the delayed acknowledgement (RFC 9293 §3.8.6.3).
 *   state timer, one of
 *     KEEPALIVE   RFC 9293 §3.8.4, when the application wants it.
 *     FIN_WAIT_2  the application let go and the peer does not close.
 *     TIME_WAIT   2 MSL (RFC 9293 §3.10.8).
 *
 * The user timeout (RFC 9293 §3.8.3) has no deadline of its own: it is looked at when one of the
 * above expires, and shortens the retransmission timeout (rto.h).
 */
#ifndef PNO_CORE_TCP_TIMERS_H
#define PNO_CORE_TCP_TIMERS_H

#include "core/tcp/connection.h"

/** Put what is in flight under a timer: RETRANSMIT or TAIL_PROBE, from now; none when nothing is
    in flight. */
void tcp_send_timer_restart(struct stack *stack, struct tcp_connection *connection,
                            uint64_t now_ns);

/** The same of an established connection with SACK and with something in flight that is in order
    (header prediction). */
void tcp_send_timer_start_predicted(struct stack *stack, struct tcp_connection *connection,
                                    uint64_t now_ns);

/** RETRANSMIT again, from when the first segment in flight was last sent. */
void tcp_send_timer_resume(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Set the send timer for this purpose. */
void tcp_send_timer_set(struct stack *stack, struct tcp_connection *connection,
                        enum tcp_send_timer kind, uint64_t deadline_ns);

/** Data is held back with nothing in flight: PERSIST, unless it is running. */
void tcp_persist_timer_start(struct stack *stack, struct tcp_connection *connection,
                             uint64_t now_ns);

/** Enter the wheel, unless an entry at or before the deadline is there. */
static inline void tcp_timer_schedule(struct stack *stack, struct tcp_connection *connection,
                                      uint64_t deadline_ns)
{
    const struct timer_wheel_entry *entry = &connection->links.timer;
    if (entry->previous_next == NULL || deadline_ns < entry->deadline_ns)
        stack_timer_set(stack, connection, deadline_ns);
}

/** TIME_NEVER: no acknowledgement is due. */
static inline void tcp_ack_timer_set(struct stack *stack, struct tcp_connection *connection,
                                     uint64_t deadline_ns)
{
    connection->hot.ack_deadline_ns = deadline_ns;
    if (deadline_ns != TIME_NEVER)
        tcp_timer_schedule(stack, connection, deadline_ns);
}

/** Payload may go again at pacing->next_ns. */
void tcp_pacing_timer_set(struct stack *stack, struct tcp_connection *connection);

void tcp_state_timer_set(struct stack *stack, struct tcp_connection *connection,
                         enum tcp_state_timer kind, uint64_t deadline_ns);

/** All of them off. */
void tcp_timers_stop(struct stack *stack, struct tcp_connection *connection);

#endif
