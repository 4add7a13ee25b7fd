/**
 * @file scoreboard.h
 * What the peer said about our data beyond snd_una (RFC 6675 §3): an interval set of SACKed bytes.
 * What is lost of the rest, sent.h keeps. Reports and answers; decides nothing (recovery.h does).
 */
#ifndef PNO_CORE_TCP_SCOREBOARD_H
#define PNO_CORE_TCP_SCOREBOARD_H

#include "core/tcp/connection.h"

struct tcp_ack_facts;

/** Update(): bytes [start, end) are SACKed; what is new in that goes into facts. */
void tcp_scoreboard_add(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                        uint64_t end, struct tcp_ack_facts *facts);

/** snd_una advanced: forget what lies below. @return bytes of it that had been SACKed. */
uint64_t tcp_scoreboard_advance(struct stack *stack, struct tcp_connection *connection);

/** The receiver reneged (RFC 2018 §8): nothing is SACKed any more. */
void tcp_scoreboard_clear(struct stack *stack, struct tcp_connection *connection);

/** SetPipe(): bytes believed to be in the network. */
static inline uint32_t tcp_pipe(const struct tcp_connection *connection)
{
    const struct tcp_recovery *recovery = connection->rare->recovery;
    uint64_t outstanding = tcp_outstanding(connection);
    if (recovery == &tcp_recovery_none)
        return (uint32_t)outstanding;
    uint64_t gone =
        (uint64_t)recovery->sacked_bytes + recovery->lost_bytes + recovery->dupack_bytes;
    return outstanding > gone ? (uint32_t)(outstanding - gone) : 0;
}

/** Segments SACKed beyond snd_una, or without SACK what duplicate ACKs stand for. */
unsigned tcp_scoreboard_sacked_segments(const struct tcp_connection *connection);

#endif
