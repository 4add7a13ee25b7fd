/**
 * @file state.h
 * The connection's state and its life: legal transitions, events for the embedder, death.
 *
 * Life ends in three steps: the protocol is done (CLOSED state), the embedder has been told
 * (STACK_EVENT_CLOSED, only after it closed or aborted), the stack has delivered that (released).
 * tcp_release_if_done() frees; every entry point ends with it and touches the connection no more.
 */
#ifndef PNO_CORE_TCP_STATE_H
#define PNO_CORE_TCP_STATE_H

#include "core/tcp/connection.h"

/** The only writer of hot.state. Traps on an illegal transition (RFC 9293 §3.3.2, figure 5). */
void tcp_set_state(struct stack *stack, struct tcp_connection *connection, enum tcp_state state);

/** Whether the state machine has an arrow from one to the other. */
bool tcp_state_transition_legal(enum tcp_state from, enum tcp_state to);

/** Tell the embedder, unless the connection is embryonic, unannounced or let go. */
void tcp_event_raise(struct stack *stack, struct tcp_connection *connection, uint32_t bits);

/** Nothing need be sent again for a connection that the application let go: STACK_EVENT_CLOSED. */
void tcp_tell_closed(struct stack *stack, struct tcp_connection *connection);

/** To CLOSED: out of the tables, timers stopped, buffers given back, the embedder told: of error
    (errno, 0 = none) while it holds the connection, of the end when it does not. */
void tcp_enter_closed(struct stack *stack, struct tcp_connection *connection, int error);

/** Queue the RST of this connection (RFC 9293 §3.10.5: ABORT call), with its timestamp. */
void tcp_send_reset(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Free it, with what it holds. CLOSED, or never opened. */
void tcp_connection_free(struct stack *stack, struct tcp_connection *connection);

/** Free it when it is CLOSED and nobody holds it. @return true: it is gone. */
bool tcp_release_if_done(struct stack *stack, struct tcp_connection *connection);

#endif
