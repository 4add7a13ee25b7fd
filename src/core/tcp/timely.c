/*
 * TIMELY (SIGCOMM 2015, algorithm 1): the rate follows the gradient of the round trip. Where it
 * grows a queue builds, and the rate shrinks in proportion; where not, the rate grows, five times
 * as fast after five such rounds.
 *
 * The paper's two thresholds are absolute, for a data centre; here they are above the least round
 * trip seen, and in proportion to it where that is long, so that any path can be stable.
 */
#include "core/tcp/congestion.h"
#include "core/tcp/pacing.h"

#define T_LOW_US  50
#define T_HIGH_US 500
/** On longer paths these parts of the least round trip. */
#define T_LOW_PART  16
#define T_HIGH_PART 4
/** EWMA weight of the newest difference, and beta: 0.875 and 0.8 in 1000ths. */
#define WEIGHT_1000 875
#define BETA_1000   800
/** Rounds without growth after which the increase is five-fold. */
#define HAI_ROUNDS 5

static uint32_t threshold_us(uint32_t min_rtt_us, uint32_t least_us, uint32_t part)
{
    return min_rtt_us + (min_rtt_us / part > least_us ? min_rtt_us / part : least_us);
}

/** The next rate after a round whose round trip is known, as the one's before. */
static uint64_t next_rate(struct tcp_connection *connection, bool was_used)
{
    struct tcp_rate_based *state = &connection->rare->pacing->own.rate_based;
    uint64_t rate = connection->rare->pacing->rate;
    uint32_t min_rtt_us = connection->congestion.min_rtt_us;
    uint32_t low_us = threshold_us(min_rtt_us, T_LOW_US, T_LOW_PART);
    uint32_t high_us = threshold_us(min_rtt_us, T_HIGH_US, T_HIGH_PART);
    int64_t change_us = (int64_t)state->rtt_us - state->previous_rtt_us;
    state->rtt_change_us =
        (int32_t)(((1000 - WEIGHT_1000) * (int64_t)state->rtt_change_us + WEIGHT_1000 * change_us) /
                  1000);
    if (state->rtt_us > high_us) {
        state->falling_rounds = 0;
        state->slow_start = false;
        uint64_t excess_us = state->rtt_us - high_us;
        return rate - rate / 1000 * BETA_1000 * excess_us / state->rtt_us;
    }
    bool grows = state->rtt_us > low_us && state->rtt_change_us > 0;
    if (grows) {
        state->falling_rounds = 0;
        state->slow_start = false;
        uint64_t gradient_1000 = (uint64_t)state->rtt_change_us * 1000 / min_rtt_us;
        uint64_t cut_1000 = BETA_1000 * (gradient_1000 < 1000 ? gradient_1000 : 1000) / 1000;
        return rate - rate / 1000 * cut_1000;
    }
    if (state->falling_rounds < HAI_ROUNDS)
        state->falling_rounds++;
    if (!was_used)
        return rate;
    if (state->slow_start)
        return 2 * rate;
    bool hyper = state->rtt_us > low_us && state->falling_rounds == HAI_ROUNDS;
    return rate + (hyper ? HAI_ROUNDS : 1) * tcp_rate_based_step(connection);
}

static void timely_control(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    const struct tcp_rate_based *state = &connection->rare->pacing->own.rate_based;
    if (!tcp_rate_based_observe(connection, rs))
        return;
    uint64_t rate = connection->rare->pacing->rate;
    uint32_t min_rtt_us = connection->congestion.min_rtt_us;
    if (state->rtt_us != 0 && state->previous_rtt_us != 0 && min_rtt_us != 0 &&
        min_rtt_us != UINT32_MAX)
        rate = next_rate(connection, tcp_rate_based_was_used(connection, rs->now_ns));
    tcp_rate_based_set(connection, rate);
    tcp_rate_based_next(connection, rs->now_ns);
}

const struct tcp_congestion_control tcp_congestion_timely = {
    .name = "timely",
    .init = tcp_rate_based_init,
    .ssthresh = tcp_rate_based_loss,
    .control = timely_control,
    .timeout = tcp_rate_based_timeout,
    .sets_rate = true,
    .ignores_ecn = true,
};
