/**
 * @file rack.h
 * RACK (RFC 8985 §6): a segment is lost when one sent later has arrived and a reordering window has
 * passed since. Finds what is lost, retransmissions included, among the records of sent.h; what
 * follows from a loss is recovery.h's.
 *
 * The window is RFC 8985's: a quarter of the shortest round trip, times one more for every round
 * trip with D-SACKs, none on a path that was not seen to reorder. Where originals did arrive late
 * it is also at least as long as the latest took; that settles with the first of them, while on a
 * path where a packet may overtake a whole round trip the shortest says nothing.
 */
#ifndef PNO_CORE_TCP_RACK_H
#define PNO_CORE_TCP_RACK_H

#include "core/tcp/recovery.h"
#include "core/tcp/sent.h"

/** Steps 1 and 2: the part of this record below end has arrived. */
void tcp_rack_delivered(struct tcp_connection *connection, const struct tcp_sent *record,
                        uint64_t end, uint64_t now_ns);

/** This record, sent once, has arrived after something sent later: step 3, and by how much. */
void tcp_rack_overtaken(struct tcp_connection *connection, const struct tcp_sent *record,
                        uint64_t now_ns);

/** Step 4: adapt the reordering window to the D-SACKs that came. prior_delivered: what was
   delivered when the segment newly arrived had been sent. */
void tcp_rack_window_update(struct tcp_connection *connection, uint32_t prior_delivered);

/** Step 5: what must be lost by now is.
    @return microseconds until the next may be; 0: nothing waits for that. */
uint32_t tcp_rack_detect(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Until this transmission may count as lost without the reordering window; not positive: now. */
int32_t tcp_rack_remaining_us(const struct tcp_connection *connection,
                              const struct tcp_sent *record, uint64_t now_ns);

/** §6.3: the retransmission timer expired, so all is lost but what went out too lately for that. */
void tcp_rack_timeout(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

#endif
