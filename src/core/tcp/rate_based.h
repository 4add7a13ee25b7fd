/**
 * @file rate_based.h
 * Congestion control by rate alone, as FlexTOE and TAS have it: DCTCP-rate, TIMELY, a constant
 * rate. The frame they share: a round trip's observations, slow start, bounds. Each algorithm
 * decides once per round trip.
 *
 * The window follows the rate, at twice what it sends in a round trip: it only bounds what a
 * path that stopped delivering can swallow.
 */
#ifndef PNO_CORE_TCP_RATE_BASED_H
#define PNO_CORE_TCP_RATE_BASED_H

#include "core/tcp/connection.h"
#include "core/tcp/delivery.h"

struct tcp_rate_based {
    uint64_t round_end; /**< snd_nxt when the round began */
    uint64_t round_began_ns;
    uint32_t delivered, marked; /**< bytes in this round, and those that met congestion */
    uint32_t rtt_us;            /**< newest of this round; 0 none */
    uint32_t previous_rtt_us;
    int32_t rtt_change_us; /**< TIMELY: filtered difference from round to round */
    uint32_t alpha;        /**< DCTCP-rate: share of bytes marked, in 1024ths */
    uint8_t falling_rounds;
    bool slow_start; /**< until the first sign of congestion the rate doubles */
};

/** Begin at the initial window's rate. */
void tcp_rate_based_init(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** An ACK: @return true when a round is over and its observations can be judged; then
    tcp_rate_based_next() begins the next. */
bool tcp_rate_based_observe(struct tcp_connection *connection, const struct tcp_rate_sample *rs);
void tcp_rate_based_next(struct tcp_connection *connection, uint64_t now_ns);

/** Whether at least half of the rate was used: if not, it was no test of the path. */
bool tcp_rate_based_was_used(const struct tcp_connection *connection, uint64_t now_ns);

/** Set the rate, within bounds, and the window that goes with it. */
void tcp_rate_based_set(struct tcp_connection *connection, uint64_t rate);

/** The rate at which one segment more is sent per round trip. */
uint64_t tcp_rate_based_step(const struct tcp_connection *connection);

/** Marks of ECN, for struct tcp_congestion_control.marks. */
void tcp_rate_based_marks(struct tcp_connection *connection, uint32_t bytes, bool echo);

/** A loss halves the rate; a timeout leaves two segments per round trip. */
uint32_t tcp_rate_based_loss(struct tcp_connection *connection);
void tcp_rate_based_timeout(struct tcp_connection *connection);

#endif
