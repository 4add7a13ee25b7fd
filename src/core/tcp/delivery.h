/**
 * @file delivery.h
 * How fast data arrives and what limits sending, for TCP_INFO and congestion control: the delivery
 * rate (draft-cheng-iccrg-delivery-rate-estimation) and a chronograph (busy, limited by the peer's
 * window, by the send buffer). Measures; decides nothing.
 *
 * Of the flight one segment at a time is the sample, about one per round trip, so that no state per
 * segment is needed: an ACK that covers it yields (bytes delivered since it was sent) / (time that
 * took, at least the time over which those bytes were sent).
 */
#ifndef PNO_CORE_TCP_DELIVERY_H
#define PNO_CORE_TCP_DELIVERY_H

#include "core/tcp/connection.h"

/** A new connection: nothing measured. */
void tcp_delivery_init(struct tcp_connection *connection);

/** New payload up to end was sent; pipe: bytes in flight before it. */
void tcp_delivery_sent(struct tcp_connection *connection, uint64_t end, uint32_t pipe,
                       uint64_t now_ns);

/** An ACK says that bytes have arrived. snd_una is up to date. */
void tcp_delivery_acked(struct tcp_connection *connection, uint32_t bytes, uint64_t now_ns);

/** Something was retransmitted: which transmission an ACK answers is not known any more. */
void tcp_delivery_retransmitted(struct tcp_connection *connection);

/** The application is about to give more: was there too little to fill the window? */
void tcp_delivery_application_writes(struct tcp_connection *connection);

/** Nothing can be sent now, or everything is acknowledged: note what limits from here on. */
void tcp_chrono_update(struct tcp_connection *connection, uint64_t now_ns);

/** Milliseconds in this state and (as Linux counts) for BUSY in those that hide it. */
uint64_t tcp_chrono_ms(const struct tcp_connection *connection, enum tcp_chrono chrono,
                       uint64_t now_ns);

#endif
