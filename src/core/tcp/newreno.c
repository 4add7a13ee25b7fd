/* NewReno's window (RFC 5681 §3.1): halve on loss, one segment per round trip otherwise. */
#include "core/tcp/congestion.h"

static void newreno_init(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    (void)stack;
    (void)now_ns;
    connection->congestion.fraction = 0;
}

static uint32_t newreno_ssthresh(struct tcp_connection *connection)
{
    uint32_t half = connection->hot.cwnd / 2;
    uint32_t floor = 2 * (uint32_t)connection->hot.mss;
    return half > floor ? half : floor;
}

void tcp_reno_avoid(struct tcp_connection *connection, uint32_t acked, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    (void)now_ns;
    /* mss · acked / cwnd, the remainder carried to the next ACK. */
    uint64_t gain = (uint64_t)hot->mss * acked + connection->congestion.fraction;
    hot->cwnd += (uint32_t)(gain / hot->cwnd);
    connection->congestion.fraction = (uint32_t)(gain % hot->cwnd);
}

static void newreno_resume(struct tcp_connection *connection, uint64_t idle_ns)
{
    (void)connection;
    (void)idle_ns;
}

static void newreno_timeout(struct tcp_connection *connection)
{
    connection->congestion.fraction = 0;
}

const struct tcp_congestion_control tcp_congestion_newreno = {
    .name = "reno",
    .init = newreno_init,
    .ssthresh = newreno_ssthresh,
    .avoid = tcp_reno_avoid,
    .resume = newreno_resume,
    .timeout = newreno_timeout,
};
