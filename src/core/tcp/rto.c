#include "core/tcp/rto.h"

#include "core/tcp/rare.h"

/** How long the shortest round trip counts: Linux's tcp_min_rtt_wlen. */
#define MIN_RTT_WINDOW_S 300

void tcp_rto_init(struct tcp_connection *connection)
{
    connection->congestion.rto_us = TCP_RTO_INITIAL_US;
    connection->congestion.min_rtt_us = UINT32_MAX;
}

void tcp_rto_fall_back(struct tcp_connection *connection)
{
    struct tcp_congestion *congestion = &connection->congestion;
    congestion->rto_us = TCP_RTO_FALL_BACK_US;
    congestion->mdev_quarter_us = TCP_RTO_FALL_BACK_US;
    congestion->mdev_max_us = congestion->rttvar_us = TCP_RTO_FALL_BACK_US;
}

void tcp_rto_min_note(struct tcp_connection *connection, uint32_t rtt_us, uint64_t now_ns)
{
    struct tcp_congestion *congestion = &connection->congestion;
    uint16_t now_s = (uint16_t)(now_ns / NS_PER_S);
    if (rtt_us > congestion->min_rtt_us &&
        (uint16_t)(now_s - connection->min_rtt_s) <= MIN_RTT_WINDOW_S)
        return;
    congestion->min_rtt_us = rtt_us;
    connection->min_rtt_s = now_s;
}

/** Weigh one more deviation in; one that shrinks weighs less (as Linux), lest a fall of the round
   trip raise the timeout. */
static void deviation_update(struct tcp_congestion *congestion, int32_t error_us)
{
    uint32_t mdev_us = congestion->mdev_quarter_us / 4;
    int32_t change = (error_us < 0 ? -error_us : error_us) - (int32_t)mdev_us;
    if (error_us < 0 && change > 0)
        change /= 8;
    congestion->mdev_quarter_us += (uint32_t)change;
    if (congestion->mdev_quarter_us > congestion->mdev_max_us)
        congestion->mdev_max_us = congestion->mdev_quarter_us;
    if (congestion->mdev_max_us > congestion->rttvar_us)
        congestion->rttvar_us = congestion->mdev_max_us;
}

/** A round trip is over: the variance term falls towards what this one showed. */
static void round_end(struct tcp_connection *connection, uint32_t floor_us)
{
    struct tcp_congestion *congestion = &connection->congestion;
    if (congestion->mdev_max_us < congestion->rttvar_us)
        congestion->rttvar_us -= (congestion->rttvar_us - congestion->mdev_max_us) / 4;
    congestion->rtt_round = tcp_wire(connection->hot.snd_nxt);
    congestion->mdev_max_us = floor_us;
}

void tcp_rto_sample(struct tcp_connection *connection, uint32_t rtt_us)
{
    struct tcp_congestion *congestion = &connection->congestion;
    uint32_t floor_us = connection->options->rto_min_us;
    uint64_t max_us = connection->options->rto_max_us;
    if (rtt_us == 0)
        rtt_us = 1;
    if (congestion->srtt_eighth == 0) {
        congestion->srtt_eighth = rtt_us * 8;
        congestion->mdev_quarter_us = rtt_us * 2;
        congestion->rttvar_us = rtt_us * 2 > floor_us ? rtt_us * 2 : floor_us;
        congestion->mdev_max_us = congestion->rttvar_us;
        congestion->rtt_round = tcp_wire(connection->hot.snd_nxt);
    } else {
        int32_t error_us = (int32_t)(rtt_us - tcp_srtt_us(connection));
        congestion->srtt_eighth += (uint32_t)error_us;
        deviation_update(congestion, error_us);
        if (seq_gt(tcp_wire(connection->hot.snd_una), congestion->rtt_round))
            round_end(connection, floor_us);
    }
    uint32_t rto_us = tcp_srtt_us(connection) + congestion->rttvar_us;
    congestion->rto_us = rto_us < max_us ? rto_us : (uint32_t)max_us;
    congestion->backoff = 0; /* RFC 6298 §5.7: the path answers again */
}

uint64_t tcp_rto_backed_off_ns(const struct tcp_connection *connection)
{
    const struct tcp_congestion *congestion = &connection->congestion;
    uint64_t rto_us = congestion->rto_us;
    uint64_t max_us = connection->options->rto_max_us;
    for (unsigned i = 0; i < congestion->backoff && rto_us < max_us; i++)
        rto_us *= 2;
    return (rto_us < max_us ? rto_us : max_us) * NS_PER_US;
}

uint64_t tcp_rto_ns(const struct tcp_connection *connection, uint64_t now_ns)
{
    uint64_t rto_ns = tcp_rto_backed_off_ns(connection);
    uint64_t user_timeout_ns = connection->options->user_timeout_ns;
    if (user_timeout_ns == 0 || connection->rare->retransmit_began_ns == 0)
        return rto_ns;
    uint64_t end_ns = connection->rare->retransmit_began_ns + user_timeout_ns;
    if (end_ns <= now_ns)
        return NS_PER_MS;
    return rto_ns < end_ns - now_ns ? rto_ns : end_ns - now_ns;
}

uint64_t tcp_retries_ns(const struct tcp_connection *connection, unsigned retries)
{
    uint64_t base_ns = connection->options->rto_min_us * NS_PER_US;
    uint64_t max_ns = connection->options->rto_max_us * NS_PER_US;
    uint64_t total_ns = 0;
    uint64_t interval_ns = base_ns;
    for (unsigned i = 0; i <= retries; i++) {
        total_ns += interval_ns;
        interval_ns = interval_ns * 2 < max_ns ? interval_ns * 2 : max_ns;
    }
    return total_ns;
}

void tcp_timeout_note(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_rare *rare = tcp_rare_take(stack, connection);
    if (connection->congestion.retransmits == 0) {
        rare->timeout_episodes++;
        rare->timeout_began_ms = (uint32_t)(now_ns / NS_PER_MS);
    }
    rare->timeouts++;
}

void tcp_timeout_repaired(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_rare *rare = connection->rare;
    if (rare->timeout_began_ms == 0)
        return;
    rare->timeout_ms += (uint32_t)(now_ns / NS_PER_MS) - rare->timeout_began_ms;
    rare->timeout_began_ms = 0;
}
