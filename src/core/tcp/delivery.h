/**
 * @file delivery.h
 * How fast data arrives and what limits sending, for TCP_INFO and congestion control: the delivery
 * rate (draft-cheng-iccrg-delivery-rate-estimation) and a chronograph (busy, limited by the peer's
 * window, by the send buffer). Measures; decides nothing.
 *
 * Each record of what was sent (sent.h) holds what the draft wants of a packet. An ACK yields
 * (bytes delivered since the newest of what it covers was sent) / (time that took, at least the
 * time over which those bytes were sent).
 */
#ifndef PNO_CORE_TCP_DELIVERY_H
#define PNO_CORE_TCP_DELIVERY_H

#include "core/tcp/connection.h"

struct tcp_ack_facts;

/** What one ACK tells of how fast data arrives (the draft's RS). */
struct tcp_rate_sample {
    uint64_t now_ns;
    uint64_t rate;            /**< bytes per second; 0: no sample */
    uint32_t delivered;       /**< bytes that arrived while the newest segment was on its way */
    uint32_t prior_delivered; /**< delivered in all, when that segment was sent */
    uint32_t newly_acked, newly_lost; /**< bytes, by this ACK */
    uint32_t rtt_us;                  /**< of the newest segment sent once; 0 none */
    uint32_t tx_in_flight;            /**< when the newest segment was sent, with it */
    uint32_t lost;                    /**< bytes lost since then */
    bool has_data;                    /**< the above four are valid */
    bool is_app_limited;
};

/** From now on, until what is in flight has arrived, samples say nothing of the path. */
void tcp_delivery_mark_limited(struct tcp_connection *connection);

/** A new connection: nothing measured. */
void tcp_delivery_init(struct tcp_connection *connection);

/** Something is being sent with nothing in flight; now_us: tcp_sent_clock_us(). */
static inline void tcp_delivery_flight_begins(struct tcp_connection *connection, uint32_t now_us)
{
    connection->delivery.first_sent_us = connection->delivery.delivered_us = now_us;
}

/** An ACK says that bytes have arrived. snd_una is up to date. */
void tcp_delivery_acked(struct tcp_connection *connection, const struct tcp_ack_facts *facts);

/** The same of bytes in order, the newest of them this record's (header prediction). */
void tcp_delivery_predicted(struct tcp_connection *connection, uint32_t bytes,
                            const struct tcp_sent *newest, uint32_t now_us);

/** What this ACK tells, once losses have been looked for. */
void tcp_delivery_sample(const struct tcp_connection *connection, const struct tcp_ack_facts *facts,
                         struct tcp_rate_sample *rs);

/** Bytes were found lost. */
void tcp_delivery_lost(struct tcp_connection *connection, uint32_t bytes);

/** The application is about to give more: was there too little to fill the window? */
void tcp_delivery_application_writes(struct tcp_connection *connection);

/** Nothing can be sent now, or everything is acknowledged: note what limits from here on. */
void tcp_chrono_update(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** It was limited by the peer's window or the send buffer for so long. */
void tcp_chrono_limited(struct stack *stack, struct tcp_connection *connection, uint32_t ms);

/** This is what limits from here on: tcp_chrono_update() of who knows. */
static inline void tcp_chrono_enter(struct stack *stack, struct tcp_connection *connection,
                                    enum tcp_chrono chrono, uint64_t now_ns)
{
    struct tcp_delivery *delivery = &connection->delivery;
    if (chrono == delivery->chrono)
        return;
    uint32_t now_ms = (uint32_t)(now_ns / NS_PER_MS);
    if (delivery->chrono == TCP_CHRONO_BUSY)
        delivery->busy_ms += now_ms - delivery->chrono_started_ms;
    else if (__builtin_expect(delivery->chrono != TCP_CHRONO_IDLE, 0))
        tcp_chrono_limited(stack, connection, now_ms - delivery->chrono_started_ms);
    delivery->chrono_started_ms = now_ms;
    delivery->chrono = (uint8_t)chrono;
}

/** The same of new payload with which all was sent. */
void tcp_chrono_sent_all(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** Milliseconds in this state and (as Linux counts) for BUSY in those that hide it. */
uint64_t tcp_chrono_ms(const struct tcp_connection *connection, enum tcp_chrono chrono,
                       uint64_t now_ns);

#endif
