/**
 * @file ack.h
 * The acknowledgement half of an arriving segment: send window, snd_una, round-trip time, SACK
 * blocks; tells recovery and congestion control. RFC 9293 §3.10.7.4, fifth check.
 */
#ifndef PNO_CORE_TCP_ACK_H
#define PNO_CORE_TCP_ACK_H

#include "core/tcp/connection.h"

/**
 * Header prediction (RFC 7323 §5.6): is the acknowledgement of what was sent once, in order and
 * with records, on a connection that has nothing to repair? Then tcp_ack_predicted() may take it.
 * The rest of the segment has been looked at (segment_arrives.c).
 */
bool tcp_ack_is_predicted(const struct tcp_connection *connection,
                          const struct tcp_segment *segment, uint32_t now_us);

/** Does what tcp_ack_arrives() does with such an acknowledgement. now_us: now_ns by the records'
    clock (sent.h). @return the event to raise. */
uint32_t tcp_ack_predicted(struct stack *stack, struct tcp_connection *connection,
                           const struct tcp_segment *segment, uint64_t now_ns, uint32_t now_us);

/** The same of a connection in any synchronized state past SYN_RECEIVED: our FIN counts as well. */
uint32_t tcp_ack_predicted_closing(struct stack *stack, struct tcp_connection *connection,
                                   const struct tcp_segment *segment, uint64_t now_ns,
                                   uint32_t now_us);

/**
 * Apply the ACK of a segment on a synchronized connection past SYN_RECEIVED.
 * @return  DROP_NONE, also for an old duplicate whose payload may still count; DROP_TCP_BAD_ACK
 *          when the segment must be dropped (RFC 5961 §5).
 */
enum drop_reason tcp_ack_arrives(struct stack *stack, struct tcp_connection *connection,
                                 const struct tcp_segment *segment, uint64_t now_ns);

/** Take a segment's window as the send window: scaled, but not that of a SYN (RFC 7323 §2.2). */
void tcp_send_window_set(struct tcp_connection *connection, const struct tcp_segment *segment,
                         bool scaled);

#endif
