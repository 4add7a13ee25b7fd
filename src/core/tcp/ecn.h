/**
 * @file ecn.h
 * Explicit congestion notification (RFC 3168): negotiation, what arriving marks and CWR mean for
 * our acknowledgements, and which of our packets say that they are capable. The response to an
 * ACK with ECE is recovery.h's.
 */
#ifndef PNO_CORE_TCP_ECN_H
#define PNO_CORE_TCP_ECN_H

#include "core/tcp/connection.h"

/** Active open: whether to ask (configuration, or DCTCP). */
void tcp_ecn_request(struct stack *stack, struct tcp_connection *connection);

struct tcp_congestion_control;

/** Passive open: whether this SYN asks for ECN and gets it. AccECN's flags (RFC 9768 §3.1.1) ask
   for this as well, and those who know no better grant it. */
bool tcp_ecn_is_accepted(struct stack *stack, const struct tcp_congestion_control *algorithm,
                         const struct tcp_segment *syn);

/** The peer's SYN or SYN-ACK decides (RFC 3168 §6.1.1, as Linux). */
void tcp_ecn_negotiate(struct stack *stack, struct tcp_connection *connection,
                       const struct tcp_segment *segment);

/** Payload arrived on a connection with ECN. */
void tcp_ecn_payload_arrives(struct stack *stack, struct tcp_connection *connection,
                             const struct tcp_segment *segment, uint64_t now_ns);

/** Flags and codepoint of a segment that is not a SYN.
    @param fresh  it carries payload for the first time. */
void tcp_ecn_output(struct tcp_connection *connection, bool fresh, struct tcp_output *output);

#endif
