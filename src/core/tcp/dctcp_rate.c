/*
 * DCTCP-rate (TAS, FlexTOE): DCTCP's estimate of the share of bytes that met congestion (RFC 8257),
 * applied to a rate. The rate grows by a segment per round trip, and shrinks by half that share.
 */
#include "core/tcp/congestion.h"
#include "core/tcp/pacing.h"

/** Weight of a new observation, 1/16, and alpha's scale (RFC 8257 §4.2). */
#define GAIN_SHIFT 4
#define ALPHA_MAX  1024

static void dctcp_rate_control(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_rate_based *state = &connection->rare->pacing->own.rate_based;
    uint64_t rate = connection->rare->pacing->rate;
    if (!tcp_rate_based_observe(connection, rs))
        return;
    uint32_t marked = state->marked < state->delivered ? state->marked : state->delivered;
    uint32_t share = (uint32_t)((uint64_t)marked * ALPHA_MAX / state->delivered);
    uint32_t decay = state->alpha >> GAIN_SHIFT;
    state->alpha -= decay != 0 ? decay : state->alpha;
    state->alpha += share >> GAIN_SHIFT;
    if (marked > 0) {
        rate -= rate / (2 * ALPHA_MAX) * state->alpha;
        state->slow_start = false;
    } else if (tcp_rate_based_was_used(connection, rs->now_ns)) {
        rate += state->slow_start ? rate : tcp_rate_based_step(connection);
    }
    tcp_rate_based_set(connection, rate);
    tcp_rate_based_next(connection, rs->now_ns);
}

const struct tcp_congestion_control tcp_congestion_dctcp_rate = {
    .name = "dctcp-rate",
    .init = tcp_rate_based_init,
    .ssthresh = tcp_rate_based_loss,
    .control = dctcp_rate_control,
    .marks = tcp_rate_based_marks,
    .timeout = tcp_rate_based_timeout,
    .sets_rate = true,
    .needs_ecn = true,
};
