/*
 * HyStart++ (RFC 9406): leave the initial slow start before it overflows the bottleneck's queue.
 * Round trips that grow by an eighth say that a queue is building: growth slows to a quarter
 * (conservative slow start), and ends after five rounds unless the round trips shrink again.
 *
 * Samples are the timestamps' milliseconds, one per ACK, fine enough for thresholds of 4 ms and
 * more; the timed segment (rto.h) is but one per round. Without timestamps slow start is plain.
 */
#include "core/tcp/congestion.h"

#define MIN_RTT_THRESHOLD_US 4000
#define MAX_RTT_THRESHOLD_US 16000
#define MIN_RTT_DIVISOR      8
#define RTT_SAMPLES          8
#define CSS_GROWTH_DIVISOR   4
#define CSS_ROUNDS           5

/** Only before the first loss; afterwards the private area is CUBIC's curve (RFC 9406 §4.3). */
static bool is_initial_slow_start(const struct tcp_connection *connection)
{
    return connection->congestion.ssthresh == TCP_SSTHRESH_INFINITE;
}

void tcp_hystart_sample(struct tcp_connection *connection, uint32_t rtt_ms)
{
    struct tcp_hystart *hystart = &connection->congestion.own.hystart;
    if (!is_initial_slow_start(connection) ||
        tcp_congestion_of(connection)->slow_start != tcp_hystart_slow_start)
        return;
    uint32_t rtt_us = rtt_ms < 1000000 ? 1000 * (rtt_ms + 1) : UINT32_MAX;
    if (hystart->current_min_us == 0 || rtt_us < hystart->current_min_us)
        hystart->current_min_us = rtt_us;
    if (hystart->samples < RTT_SAMPLES)
        hystart->samples++;
}

void tcp_hystart_restart(struct tcp_connection *connection)
{
    if (tcp_congestion_of(connection)->slow_start == tcp_hystart_slow_start)
        connection->congestion.own = (union tcp_congestion_private){0};
}

static void round_begin(struct tcp_connection *connection)
{
    struct tcp_hystart *hystart = &connection->congestion.own.hystart;
    hystart->round_end = connection->hot.snd_nxt;
    hystart->last_min_us = hystart->current_min_us;
    hystart->current_min_us = 0;
    hystart->samples = 0;
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

uint32_t tcp_hystart_slow_start(struct tcp_connection *connection, uint32_t acked)
{
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
    if (connection->hot.snd_una > hystart->round_end) {
        if (hystart->baseline_us != 0 && ++hystart->css_rounds > CSS_ROUNDS)
            return slow_start_end(connection, acked);
        round_begin(connection);
    }
    return hystart->baseline_us != 0 ? acked / CSS_GROWTH_DIVISOR : acked;
}
