/**
 * @file pacing.h
 * Pacing: sending at a rate instead of in bursts of a whole window. Who is paced, at which rate,
 * and when the next burst may go; output.h asks before it sends payload.
 *
 * As in Carousel (SIGCOMM 2017) a connection that must wait is neither polled nor kept in a queue
 * of its own: it leaves the line of those that want to send and stands in the stack's hierarchical
 * timing wheel until its time has come. So the cost of pacing depends on bursts sent, not on how
 * many connections wait. A connection that is not paced pays the look at one bit.
 *
 * A burst is what the rate sends in a millisecond (Linux's tcp_tso_autosize): at least two
 * segments, so that the peer need not delay its acknowledgement, at most 64 KiB.
 */
#ifndef PNO_CORE_TCP_PACING_H
#define PNO_CORE_TCP_PACING_H

#include "core/tcp/bbr.h"
#include "core/tcp/connection.h"
#include "core/tcp/rate_based.h"

/** Pacing. In an area that the stack keeps for each connection, untouched while it is not paced. */
struct tcp_pacing {
    uint64_t rate;       /**< bytes per second, where the algorithm sets one */
    uint64_t next_ns;    /**< when what was sent has been paid for */
    uint64_t woken_ns;   /**< when the timer came for a burst that waited */
    uint64_t late_ns;    /**< how late the present burst began, as far as not made up for */
    uint32_t burst_left; /**< bytes of the present burst that may follow at once */
    /** What an algorithm that sets the rate keeps. */
    union {
        struct tcp_bbr bbr;
        struct tcp_rate_based rate_based;
    } own;
};

/**
 * Begin pacing if the connection's options or its algorithm ask for it, or its round trip is long.
 * As in Linux, once begun it goes on, for other algorithms at the rate that the window suggests.
 */
void tcp_pacing_update(struct stack *stack, struct tcp_connection *connection);

/** Bytes per second: the algorithm's rate, or else a little more than a window per round trip
    (Linux's tcp_update_pacing_rate); not above SO_MAX_PACING_RATE. UINT64_MAX: not known yet. */
uint64_t tcp_pacing_rate(const struct tcp_connection *connection);

/** Whether payload of a paced connection may go now. If not, and payload waits, it is marked for
    output again in time. */
bool tcp_pacing_allows(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** The most that one segmentation offload of a paced connection may take now, bytes. */
uint32_t tcp_pacing_burst_bytes(const struct tcp_connection *connection);

/** And of one that is not paced: what its rate sends in about a millisecond, more when the round
    trip is short (Linux's tcp_tso_autosize); bytes, at most gso_bytes_max. */
uint32_t tcp_pacing_tso_bytes(const struct stack *stack, const struct tcp_connection *connection,
                              uint32_t gso_bytes_max);

/** A burst at the present rate, bytes. */
uint32_t tcp_pacing_quantum(const struct tcp_connection *connection);

/** Payload of a paced connection was sent. */
void tcp_pacing_sent(const struct stack *stack, struct tcp_connection *connection, uint32_t bytes,
                     uint64_t now_ns);

/** The time that tcp_pacing_allows() waited for has come. */
void tcp_pacing_expired(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

#endif
