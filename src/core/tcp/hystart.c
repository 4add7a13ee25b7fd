/*
 * HyStart++ (RFC 9406): leave the initial slow start before it overflows the bottleneck's queue.
 * Round trips that grow by an eighth say that a queue is building: growth slows to a quarter
 * (conservative slow start), and ends after five rounds unless the round trips shrink again.
 *
 * Besides, the ACK train of HyStart (Ha & Rhee 2011) as Linux has it, for a bottleneck whose whole
 * queue is below the 4 ms that RFC 9406 wants to see: ACKs that follow one another closely come at
 * the bottleneck's rate, so once such a train is half a round trip long, the window that doubles
 * next is what the path holds. That ends slow start at once.
 *
 * Each ACK of a segment that was sent once is a sample.
 */
#include "core/tcp/congestion.h"

#define MIN_RTT_THRESHOLD_US 4000
#define MAX_RTT_THRESHOLD_US 16000
#define MIN_RTT_DIVISOR      8
#define RTT_SAMPLES          8
#define CSS_GROWTH_DIVISOR   4
#define CSS_ROUNDS           5

/** ACKs further apart than this are not one train; Linux's hystart_ack_delta_us. */
#define TRAIN_GAP_US 2000
/** Below this window no train tells anything; Linux's hystart_low_window. */
#define TRAIN_WINDOW_SEGMENTS 16

/** Only before the first loss; afterwards the private area is CUBIC's curve (RFC 9406 §4.3). */
static bool is_initial_slow_start(const struct tcp_connection *connection)
{
    return connection->congestion.ssthresh == TCP_SSTHRESH_INFINITE;
}

void tcp_hystart_sample(struct tcp_connection *connection, uint32_t rtt_us)
{
    struct tcp_hystart *hystart = &connection->congestion.own.hystart;
    if (!is_initial_slow_start(connection) || !connection->hot.hystart)
        return;
    if (hystart->current_min_us == 0 || rtt_us < hystart->current_min_us)
        hystart->current_min_us = rtt_us;
    if (hystart->samples < RTT_SAMPLES)
        hystart->samples++;
}

void tcp_hystart_restart(struct tcp_connection *connection)
{
    if (connection->hot.hystart)
        connection->congestion.own = (union tcp_congestion_private){0};
}

/** A round's end that is not in flight any more was, however long ago. */
static bool round_is_over(const struct tcp_connection *connection)
{
    const struct tcp_hystart *hystart = &connection->congestion.own.hystart;
    return !hystart->in_round || seq_gt(tcp_wire(connection->hot.snd_una), hystart->round_end) ||
           seq_gt(hystart->round_end, tcp_wire(connection->hot.snd_nxt));
}

static void round_begin(struct tcp_connection *connection, uint32_t now_us)
{
    struct tcp_hystart *hystart = &connection->congestion.own.hystart;
    hystart->round_end = tcp_wire(connection->hot.snd_nxt);
    hystart->in_round = true;
    hystart->last_min_us = hystart->current_min_us;
    hystart->current_min_us = 0;
    hystart->samples = 0;
    hystart->train_began_us = hystart->train_last_us = now_us;
}

/** The round's ACKs so far came without a gap, for longer than half the least round trip. */
static bool train_is_long(struct tcp_connection *connection, uint32_t now_us)
{
    struct tcp_hystart *hystart = &connection->congestion.own.hystart;
    uint32_t min_rtt_us = connection->congestion.min_rtt_us;
    if (min_rtt_us == UINT32_MAX || now_us - hystart->train_last_us > TRAIN_GAP_US)
        return false;
    hystart->train_last_us = now_us;
    /* As Linux: pacing by itself draws a round out to half a round trip. */
    uint32_t long_us = connection->hot.paced ? min_rtt_us : min_rtt_us / 2;
    return connection->hot.cwnd >= TRAIN_WINDOW_SEGMENTS * (uint32_t)connection->hot.mss &&
           now_us - hystart->train_began_us > long_us;
}

static uint32_t rtt_threshold_us(uint32_t rtt_us)
{
    uint32_t threshold_us = rtt_us / MIN_RTT_DIVISOR;
    if (threshold_us < MIN_RTT_THRESHOLD_US)
        return MIN_RTT_THRESHOLD_US;
    return threshold_us < MAX_RTT_THRESHOLD_US ? threshold_us : MAX_RTT_THRESHOLD_US;
}

/** The end of slow start: the curve begins here (RFC 9406 §4.2). */
static uint32_t slow_start_end(struct tcp_connection *connection, uint32_t acked)
{
    connection->congestion.ssthresh = connection->hot.cwnd;
    connection->congestion.own = (union tcp_congestion_private){0};
    return acked;
}

uint32_t tcp_hystart_slow_start(struct tcp_connection *connection, uint32_t acked, uint64_t now_ns)
{
    uint32_t now_us = (uint32_t)(now_ns / NS_PER_US);
    struct tcp_hystart *hystart = &connection->congestion.own.hystart;
    if (!is_initial_slow_start(connection))
        return acked;
    bool enough = hystart->samples >= RTT_SAMPLES;
    if (hystart->baseline_us == 0 && enough && hystart->last_min_us != 0 &&
        hystart->current_min_us >= hystart->last_min_us + rtt_threshold_us(hystart->last_min_us)) {
        hystart->baseline_us = hystart->current_min_us;
        hystart->css_rounds = 0;
    } else if (hystart->baseline_us != 0 && enough &&
               hystart->current_min_us < hystart->baseline_us) {
        hystart->baseline_us = 0; /* it was jitter */
    }
    if (round_is_over(connection)) {
        if (hystart->baseline_us != 0 && ++hystart->css_rounds > CSS_ROUNDS)
            return slow_start_end(connection, acked);
        round_begin(connection, now_us);
    } else if (train_is_long(connection, now_us)) {
        return slow_start_end(connection, acked);
    }
    return hystart->baseline_us != 0 ? acked / CSS_GROWTH_DIVISOR : acked;
}
