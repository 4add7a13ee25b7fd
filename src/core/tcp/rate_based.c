#include "core/tcp/rate_based.h"

#include "core/tcp/congestion.h"
#include "core/tcp/pacing.h"

#define RATE_MAX         UINT64_C(12500000000) /* 100 Gbit/s */
#define SEGMENTS_PER_RTT 2
#define WINDOW_ROUNDS    2
#define WINDOW_SEGMENTS  4
#define NOMINAL_RTT_US   1000
#define ALPHA_MAX        1024

static struct tcp_rate_based *state_of(const struct tcp_connection *connection)
{
    return &connection->rare->pacing->own.rate_based;
}

static uint32_t rtt_us(const struct tcp_connection *connection)
{
    uint32_t srtt_us = tcp_srtt_us(connection);
    return srtt_us != 0 ? srtt_us : NOMINAL_RTT_US;
}

uint64_t tcp_rate_based_step(const struct tcp_connection *connection)
{
    return (uint64_t)connection->hot.mss * 1000000 / rtt_us(connection);
}

void tcp_rate_based_set(struct tcp_connection *connection, uint64_t rate)
{
    uint64_t least = SEGMENTS_PER_RTT * tcp_rate_based_step(connection);
    if (rate < least)
        rate = least;
    if (rate > RATE_MAX)
        rate = RATE_MAX;
    connection->rare->pacing->rate = rate != 0 ? rate : 1;
    uint64_t window = WINDOW_ROUNDS * rate * rtt_us(connection) / 1000000;
    uint32_t narrowest = WINDOW_SEGMENTS * (uint32_t)connection->hot.mss;
    if (window < narrowest)
        window = narrowest;
    connection->hot.cwnd = window < TCP_CWND_MAX ? (uint32_t)window : TCP_CWND_MAX;
}

void tcp_rate_based_next(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_rate_based *state = state_of(connection);
    state->round_end = connection->hot.snd_nxt;
    state->round_began_ns = now_ns;
    state->delivered = state->marked = 0;
    if (state->rtt_us != 0)
        state->previous_rtt_us = state->rtt_us;
    state->rtt_us = 0;
}

void tcp_rate_based_init(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    (void)stack;
    *state_of(connection) = (struct tcp_rate_based){.slow_start = true, .alpha = ALPHA_MAX};
    tcp_rate_based_next(connection, now_ns);
    tcp_rate_based_set(connection,
                       (uint64_t)tcp_cwnd_initial(connection) * 1000000 / rtt_us(connection));
}

bool tcp_rate_based_observe(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_rate_based *state = state_of(connection);
    state->delivered += rs->newly_acked;
    if (rs->rtt_us != 0)
        state->rtt_us = rs->rtt_us;
    return connection->hot.snd_una >= state->round_end && state->delivered > 0;
}

bool tcp_rate_based_was_used(const struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_rate_based *state = state_of(connection);
    uint64_t elapsed_us = (now_ns - state->round_began_ns) / NS_PER_US;
    uint64_t rate = tcp_pacing_rate(connection);
    return elapsed_us < 10 * NS_PER_S / NS_PER_US &&
           (uint64_t)state->delivered * 1000000 >= rate / 2 * elapsed_us;
}

void tcp_rate_based_marks(struct tcp_connection *connection, uint32_t bytes, bool echo)
{
    if (echo)
        state_of(connection)->marked += bytes;
}

uint32_t tcp_rate_based_loss(struct tcp_connection *connection)
{
    state_of(connection)->slow_start = false;
    tcp_rate_based_set(connection, connection->rare->pacing->rate / 2);
    return connection->congestion.ssthresh;
}

void tcp_rate_based_timeout(struct tcp_connection *connection)
{
    state_of(connection)->slow_start = false;
    tcp_rate_based_set(connection, 0);
}
