/**
 * @file rare.h
 * Who has a struct tcp_rare of his own (connection.h): connections that once met with trouble, or
 * use what few do. Keeps it; decides nothing.
 */
#ifndef PNO_CORE_TCP_RARE_H
#define PNO_CORE_TCP_RARE_H

#include "core/tcp/connection.h"

/** A new connection has none. */
static inline void tcp_rare_init(struct tcp_connection *connection)
{
    connection->rare = (struct tcp_rare *)(uintptr_t)&tcp_rare_none;
}

static inline bool tcp_rare_is_own(const struct tcp_connection *connection)
{
    return connection->rare != &tcp_rare_none;
}

/** The connection's own, to write to: one is there for each. */
struct tcp_rare *tcp_rare_take(struct stack *stack, struct tcp_connection *connection);

/** Give it back: the connection ends. */
void tcp_rare_drop(struct stack *stack, struct tcp_connection *connection);

/** snd_una advances: what is counted from the last progress is over. */
static inline void tcp_rare_progress(struct tcp_connection *connection)
{
    struct tcp_rare *rare = connection->rare;
    if (__builtin_expect(!tcp_rare_is_own(connection), 1))
        return;
    rare->retransmit_began_ns = 0;
    rare->probe_began_ns = 0;
    rare->soft_error = 0;
}

#endif
