/*
 * DCTCP (RFC 8257): the window shrinks in proportion to the share of bytes that met congestion,
 * estimated once per window. Without ECN, and on loss, it is NewReno.
 */
#include "core/tcp/congestion.h"

/** Weight of a new observation, 1/16, and alpha's scale (RFC 8257 §4.2). */
#define GAIN_SHIFT 4
#define ALPHA_MAX  1024

static void dctcp_init(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    (void)stack;
    (void)now_ns;
    connection->congestion.own = (union tcp_congestion_private){0};
    connection->congestion.own.dctcp.alpha = ALPHA_MAX;
    connection->congestion.own.dctcp.window_end = tcp_wire(connection->hot.snd_nxt);
    connection->congestion.fraction = 0;
}

static uint32_t dctcp_ssthresh(struct tcp_connection *connection)
{
    uint32_t cwnd = connection->hot.cwnd;
    uint32_t floor = 2 * (uint32_t)connection->hot.mss;
    uint32_t alpha = ALPHA_MAX;
    if (connection->hot.ca_state == TCP_CA_CWR)
        alpha = connection->congestion.own.dctcp.alpha;
    uint32_t reduced = cwnd - (uint32_t)((uint64_t)cwnd * alpha / (2 * ALPHA_MAX));
    return reduced > floor ? reduced : floor;
}

/** RFC 8257 §3.3, steps 1 to 6; the estimate never sticks just above zero (as Linux). */
static void dctcp_marks(struct tcp_connection *connection, uint32_t bytes, bool echo)
{
    struct tcp_dctcp *dctcp = &connection->congestion.own.dctcp;
    dctcp->acked += bytes;
    if (echo)
        dctcp->marked += bytes;
    if (seq_lt(tcp_wire(connection->hot.snd_una), dctcp->window_end) || dctcp->acked == 0)
        return;
    uint32_t decay = dctcp->alpha >> GAIN_SHIFT;
    dctcp->alpha -= decay != 0 ? decay : dctcp->alpha;
    uint64_t share = (uint64_t)dctcp->marked * (ALPHA_MAX >> GAIN_SHIFT) / dctcp->acked;
    dctcp->alpha = dctcp->alpha + share < ALPHA_MAX ? (uint32_t)(dctcp->alpha + share) : ALPHA_MAX;
    dctcp->acked = dctcp->marked = 0;
    dctcp->window_end = tcp_wire(connection->hot.snd_nxt);
}

static void dctcp_resume(struct tcp_connection *connection, uint64_t idle_ns)
{
    (void)connection;
    (void)idle_ns;
}

static void dctcp_timeout(struct tcp_connection *connection)
{
    connection->congestion.fraction = 0;
}

static void dctcp_fill_info(const struct tcp_connection *connection,
                            struct tcp_congestion_info *info)
{
    const struct tcp_dctcp *dctcp = &connection->congestion.own.dctcp;
    info->kind = TCP_CONGESTION_INFO_DCTCP;
    info->dctcp_enabled = connection->hot.ecn;
    info->dctcp_ce = connection->hot.ece_due;
    info->dctcp_alpha = dctcp->alpha;
    info->dctcp_marked_bytes = dctcp->marked;
    info->dctcp_acked_bytes = dctcp->acked;
}

const struct tcp_congestion_control tcp_congestion_dctcp = {
    .name = "dctcp",
    .init = dctcp_init,
    .ssthresh = dctcp_ssthresh,
    .avoid = tcp_reno_avoid,
    .resume = dctcp_resume,
    .marks = dctcp_marks,
    .fill_info = dctcp_fill_info,
    .needs_ecn = true,
    .timeout = dctcp_timeout,
};
