/**
 * @file congestion.h
 * The congestion window: slow start, what every algorithm shares, and the table of algorithms.
 *
 * Not loss detection (recovery.h): that calls ssthresh() and sets cwnd while it repairs. Windows
 * are bytes. An algorithm keeps its state in struct tcp_congestion and never sends.
 */
#ifndef PNO_CORE_TCP_CONGESTION_H
#define PNO_CORE_TCP_CONGESTION_H

#include "core/tcp/connection.h"
#include "core/tcp/delivery.h"

struct tcp_congestion_control {
    const char *name; /**< as TCP_CONGESTION names it */
    /** A new connection, or one that changed to this algorithm. */
    void (*init)(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);
    /** Loss was detected: the slow-start threshold to fall back to, bytes. */
    uint32_t (*ssthresh)(struct tcp_connection *connection);
    /** Every ACK: the algorithm sets window and rate by itself, also during recovery, and needs
        neither slow_start nor avoid nor resume. NULL: those are used. */
    void (*control)(struct tcp_connection *connection, const struct tcp_rate_sample *sample);
    /** With control: the application writes with nothing in flight. NULL: nothing to do. */
    void (*restart)(struct tcp_connection *connection, uint64_t now_ns);
    /** The loss proved spurious; the window has been given back. NULL: that is all. */
    void (*undo)(struct tcp_connection *connection);
    /** TCP_CC_INFO. NULL: the algorithm has none. */
    void (*fill_info)(const struct tcp_connection *connection, struct tcp_congestion_info *info);
    /** Grow in congestion avoidance: acked bytes were acknowledged while cwnd-limited. */
    void (*avoid)(struct tcp_connection *connection, uint32_t acked, uint64_t now_ns);
    /** Sending resumes after idle_ns with nothing in flight. */
    void (*resume)(struct tcp_connection *connection, uint64_t idle_ns);
    /** How fast slow start may grow: of acked bytes, those that count. NULL: all. */
    uint32_t (*slow_start)(struct tcp_connection *connection, uint32_t acked, uint64_t now_ns);
    /** On connections with ECN, every ACK: bytes arrived, the peer reporting marks or not. */
    void (*marks)(struct tcp_connection *connection, uint32_t bytes, bool echo);
    bool sets_rate;   /**< sets pacing->rate; else the window tells the rate, if paced at all */
    bool ignores_ecn; /**< must not claim to heed marks (RFC 3168 §5) */
    bool needs_ecn;   /**< negotiates ECN by itself; is told of each mark (RFC 8257 §3.2) */
    /** A retransmission timeout: forget what was learnt of the path. */
    void (*timeout)(struct tcp_connection *connection);
};

extern const struct tcp_congestion_control tcp_congestion_newreno;
extern const struct tcp_congestion_control tcp_congestion_cubic;
extern const struct tcp_congestion_control tcp_congestion_dctcp;
extern const struct tcp_congestion_control tcp_congestion_bbr;
extern const struct tcp_congestion_control tcp_congestion_dctcp_rate;
extern const struct tcp_congestion_control tcp_congestion_timely;
extern const struct tcp_congestion_control tcp_congestion_constant_rate;

/** Reno's growth in congestion avoidance, which DCTCP shares. */
void tcp_reno_avoid(struct tcp_connection *connection, uint32_t acked, uint64_t now_ns);

/** Back in the initial slow start, the reduction having proved needless. */
void tcp_hystart_restart(struct tcp_connection *connection);

/** Slow start under HyStart++ (RFC 9406). Leaves it by setting ssthresh. */
uint32_t tcp_hystart_slow_start(struct tcp_connection *connection, uint32_t acked, uint64_t now_ns);

/** The round trip that an ACK tells, for HyStart++ in the initial slow start. */
void tcp_hystart_sample(struct tcp_connection *connection, uint32_t rtt_us);

/** The algorithm of enum tcp_congestion_id; CUBIC for numbers out of range. */
const struct tcp_congestion_control *tcp_congestion_find(uint8_t id);

/** The algorithm this connection uses. */
static inline const struct tcp_congestion_control *
tcp_congestion_of(const struct tcp_connection *connection)
{
    return tcp_congestion_find(connection->options->congestion);
}

/** Whether the algorithm sets the window by itself: nobody else may then, but for the timeout. */
static inline bool tcp_congestion_controls(const struct tcp_connection *connection)
{
    return connection->hot.controlled;
}

/** The connection has other options than before: note which algorithm that means. */
static inline void tcp_congestion_note(struct tcp_connection *connection)
{
    const struct tcp_congestion_control *algorithm = tcp_congestion_of(connection);
    connection->hot.controlled = algorithm->control != NULL;
    connection->hot.hystart = algorithm->slow_start == tcp_hystart_slow_start;
}

/** Start-up values, and the initial window of RFC 6928 once the MSS is known. */
void tcp_cwnd_init(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns);

/** The connection's algorithm was changed. */
void tcp_congestion_changed(struct stack *stack, struct tcp_connection *connection,
                            uint64_t now_ns);

/** Initial window, bytes: ten segments (RFC 6928); one when the SYN was lost repeatedly. */
uint32_t tcp_cwnd_initial(const struct tcp_connection *connection);

/**
 * Bytes were acknowledged outside of fast recovery: slow start (RFC 5681 §3.1, without the
 * per-ACK limit, as Linux), then the algorithm. Nothing when the window was not the limit
 * (RFC 7661 §4.3, Linux's tcp_is_cwnd_limited).
 */
void tcp_cwnd_on_ack(struct tcp_connection *connection, uint32_t acked, uint64_t now_ns);

/** The application writes with nothing in flight: fall back after idleness (RFC 2861, RFC 5681
    §4.1 as Linux does: halve per RTO of idleness, down to the initial window). */
void tcp_cwnd_restart_if_idle(struct stack *stack, struct tcp_connection *connection,
                              uint64_t now_ns);

/** Note what is in flight after sending, for the check of whether cwnd limits. */
void tcp_cwnd_note_flight(struct tcp_connection *connection, uint32_t flight);

#endif
