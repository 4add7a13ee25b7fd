/**
 * @file scoreboard.h
 * What the peer said about our data beyond snd_una (RFC 6675 §3): an interval set of SACKed bytes,
 * and two marks, since loss and retransmission go from low to high: un-SACKed bytes below lost_high
 * are lost, those below rxt_high have been retransmitted. Reports and answers; decides nothing
 * (recovery.h does).
 */
#ifndef PNO_CORE_TCP_SCOREBOARD_H
#define PNO_CORE_TCP_SCOREBOARD_H

#include "core/tcp/connection.h"

/** Update(): bytes [start, end) are SACKed. @return bytes newly SACKed. */
uint32_t tcp_scoreboard_add(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                            uint64_t end);

/** snd_una advanced: forget what lies below. @return bytes of it that had been SACKed. */
uint64_t tcp_scoreboard_advance(struct stack *stack, struct tcp_connection *connection);

/** The receiver reneged (RFC 2018 §8): nothing is SACKed any more. */
void tcp_scoreboard_clear(struct stack *stack, struct tcp_connection *connection);

/** SetPipe(): bytes believed to be in the network. */
uint32_t tcp_scoreboard_pipe(const struct tcp_connection *connection);

/** pipe, for the ordinary case in which nothing is SACKed or lost. */
static inline uint32_t tcp_pipe(const struct tcp_connection *connection)
{
    if (connection->hot.ca_state == TCP_CA_OPEN && connection->recovery.sacked.first == NULL)
        return (uint32_t)tcp_outstanding(connection);
    return tcp_scoreboard_pipe(connection);
}

/** Bytes deemed lost and not SACKed, and those of them that were retransmitted. */
void tcp_scoreboard_lost(const struct tcp_connection *connection, uint64_t *lost,
                         uint64_t *retransmitted);

/** Number below which every hole is lost given the SACKs (IsLost() of RFC 6675, with the threshold
    that was learnt of the path's reordering); snd_una when none is. */
uint64_t tcp_scoreboard_lost_high(const struct tcp_connection *connection);

/** Where the highest SACKed interval begins; snd_una when none. */
uint64_t tcp_scoreboard_last_start(const struct tcp_connection *connection);

/** NextSeg() rule 1: the next lost piece not yet retransmitted, at most limit bytes.
    @return false when there is none. */
bool tcp_scoreboard_next_lost(const struct tcp_connection *connection, uint32_t limit,
                              uint64_t *start, uint64_t *end);

#endif
