#include "core/tcp/rto.h"

void tcp_rto_init(struct tcp_connection *connection)
{
    connection->congestion.rto_us = TCP_RTO_INITIAL_US;
    connection->congestion.min_rtt_us = UINT32_MAX;
}

void tcp_rto_sample(struct stack *stack, struct tcp_connection *connection, uint32_t rtt_us)
{
    struct tcp_congestion *congestion = &connection->congestion;
    if (rtt_us == 0)
        rtt_us = 1;
    if (rtt_us < congestion->min_rtt_us)
        congestion->min_rtt_us = rtt_us;
    if (congestion->srtt_us == 0) {
        congestion->srtt_us = rtt_us;
        congestion->rttvar_us = rtt_us / 2;
    } else {
        uint32_t deviation = rtt_us > congestion->srtt_us ? rtt_us - congestion->srtt_us
                                                          : congestion->srtt_us - rtt_us;
        uint64_t variance = (uint64_t)congestion->rttvar_us * 3 + deviation + 2;
        congestion->rttvar_us = (uint32_t)(variance / 4);
        uint64_t smoothed = (uint64_t)congestion->srtt_us * 7 + rtt_us + 4;
        congestion->srtt_us = (uint32_t)(smoothed / 8);
    }
    uint64_t floor_us = stack_get_config(stack)->tcp.rto_min_ns / NS_PER_US;
    uint64_t variance_us = 4 * (uint64_t)congestion->rttvar_us;
    if (variance_us < floor_us)
        variance_us = floor_us;
    uint64_t rto_us = congestion->srtt_us + variance_us;
    congestion->rto_us = rto_us < TCP_RTO_MAX_US ? (uint32_t)rto_us : TCP_RTO_MAX_US;
    congestion->backoff = 0; /* RFC 6298 §5.7: the path answers again */
}

uint64_t tcp_rto_ns(const struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_congestion *congestion = &connection->congestion;
    uint64_t rto_us = congestion->rto_us;
    for (unsigned i = 0; i < congestion->backoff && rto_us < TCP_RTO_MAX_US; i++)
        rto_us *= 2;
    if (rto_us > TCP_RTO_MAX_US)
        rto_us = TCP_RTO_MAX_US;
    uint64_t rto_ns = rto_us * NS_PER_US;
    uint64_t user_timeout_ns = connection->options.user_timeout_ns;
    if (user_timeout_ns == 0 || congestion->retransmit_began_ns == 0)
        return rto_ns;
    uint64_t end_ns = congestion->retransmit_began_ns + user_timeout_ns;
    if (end_ns <= now_ns)
        return NS_PER_MS;
    return rto_ns < end_ns - now_ns ? rto_ns : end_ns - now_ns;
}

uint64_t tcp_retries_ns(const struct stack *stack, unsigned retries)
{
    uint64_t base_ns = stack_get_config(stack)->tcp.rto_min_ns;
    uint64_t max_ns = TCP_RTO_MAX_US * NS_PER_US;
    uint64_t total_ns = 0;
    uint64_t interval_ns = base_ns;
    for (unsigned i = 0; i <= retries; i++) {
        total_ns += interval_ns;
        interval_ns = interval_ns * 2 < max_ns ? interval_ns * 2 : max_ns;
    }
    return total_ns;
}
