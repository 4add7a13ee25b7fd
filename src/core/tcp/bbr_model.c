/* What BBR knows of the path (draft-ietf-ccwg-bbr §5.5). */
#include "core/tcp/bbr.h"
#include "core/tcp/congestion.h"
#include "core/tcp/pacing.h"
#include "core/tcp/scoreboard.h"

#define MIN_RTT_FILTER_NS     (10 * NS_PER_S)
#define PROBE_RTT_INTERVAL_NS (5 * NS_PER_S)

/** ExtraAckedFilterLen is 10 rounds; two halves of five stand for it, as in Linux. */
#define EXTRA_ACKED_ROUNDS 5

struct tcp_bbr *bbr_of(const struct tcp_connection *connection)
{
    return &connection->rare->pacing->own.bbr;
}

void bbr_model_init(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    uint32_t srtt_us = tcp_srtt_us(connection);
    bbr->min_rtt_us = srtt_us != 0 ? srtt_us : BBR_RTT_UNKNOWN;
    bbr->probe_rtt_min_us = bbr->min_rtt_us;
    bbr->min_rtt_stamp_ns = bbr->probe_rtt_min_stamp_ns = now_ns;
    bbr->extra_acked_start_ns = now_ns;
    bbr->inflight_longterm = BBR_INFINITE;
    bbr_reset_congestion_signals(bbr);
    bbr_reset_short_term_model(bbr);
    bbr->next_round_delivered = bbr->loss_round_delivered = connection->delivery.delivered;
}

/* ---- Rounds ------------------------------------------------------------------------------- */

void bbr_start_round(struct tcp_connection *connection)
{
    bbr_of(connection)->next_round_delivered = connection->delivery.delivered;
}

static bool is_at_or_after(uint32_t delivered, uint32_t mark)
{
    return (int32_t)(delivered - mark) >= 0;
}

static void update_round(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    bbr->round_start =
        rs->has_data && is_at_or_after(rs->prior_delivered, bbr->next_round_delivered);
    if (!bbr->round_start)
        return;
    bbr_start_round(connection);
    bbr->round_count++;
    if (bbr->rounds_since_probe_up < UINT8_MAX)
        bbr->rounds_since_probe_up++;
}

/* ---- Bandwidth ---------------------------------------------------------------------------- */

static void update_max_bw(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    update_round(connection, rs);
    if (rs->rate > 0 && (rs->rate >= bbr_max_bw(bbr) || !rs->is_app_limited) &&
        rs->rate > bbr->max_bw[1])
        bbr->max_bw[1] = rs->rate;
}

void bbr_advance_max_bw_filter(struct tcp_bbr *bbr)
{
    if (bbr->max_bw[1] == 0)
        return; /* nothing seen in this cycle: what the one before taught still counts */
    bbr->max_bw[0] = bbr->max_bw[1];
    bbr->max_bw[1] = 0;
}

/* ---- What congestion teaches --------------------------------------------------------------- */

void bbr_reset_congestion_signals(struct tcp_bbr *bbr)
{
    bbr->is_loss_in_round = false;
    bbr->bw_latest = 0;
    bbr->inflight_latest = 0;
}

void bbr_reset_short_term_model(struct tcp_bbr *bbr)
{
    bbr->bw_shortterm = BBR_INFINITE_RATE;
    bbr->inflight_shortterm = BBR_INFINITE;
}

/** UpdateLatestDeliverySignals(). */
static void update_latest(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    bbr->loss_round_start = false;
    if (rs->rate > bbr->bw_latest)
        bbr->bw_latest = rs->rate;
    if (rs->delivered > bbr->inflight_latest)
        bbr->inflight_latest = rs->delivered;
    if (rs->has_data && is_at_or_after(rs->prior_delivered, bbr->loss_round_delivered)) {
        bbr->loss_round_delivered = connection->delivery.delivered;
        bbr->loss_round_start = true;
    }
}

/** AdaptLowerBoundsFromCongestion(): outside of probing, losses lower the short-term model. */
static void adapt_lower_bounds(struct tcp_connection *connection)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (bbr_is_probing(bbr) || !bbr->is_loss_in_round)
        return;
    if (bbr->bw_shortterm == BBR_INFINITE_RATE)
        bbr->bw_shortterm = bbr_max_bw(bbr);
    if (bbr->inflight_shortterm == BBR_INFINITE)
        bbr->inflight_shortterm = connection->hot.cwnd;
    uint64_t bw = bbr->bw_shortterm / 100 * BBR_BETA_PERCENT;
    bbr->bw_shortterm = bw > bbr->bw_latest ? bw : bbr->bw_latest;
    uint32_t inflight = bbr->inflight_shortterm / 100 * BBR_BETA_PERCENT;
    bbr->inflight_shortterm = inflight > bbr->inflight_latest ? inflight : bbr->inflight_latest;
}

bool bbr_is_inflight_too_high(const struct tcp_connection *connection,
                              const struct tcp_rate_sample *rs)
{
    if (rs->lost == 0)
        return false;
    return !connection->hot.sack ||
           (uint64_t)rs->lost * 100 > (uint64_t)rs->tx_in_flight * BBR_LOSS_THRESH_PERCENT;
}

/* ---- Aggregation -------------------------------------------------------------------------- */

/** UpdateACKAggregation(): how much more arrives at once than the bandwidth explains. */
static void update_ack_aggregation(struct tcp_connection *connection,
                                   const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    uint64_t interval_us = (rs->now_ns - bbr->extra_acked_start_ns) / NS_PER_US;
    uint64_t expected = interval_us < 100 * 1000000 ? bbr->bw * interval_us / 1000000 : UINT64_MAX;
    if (bbr->extra_acked_delivered <= expected) {
        bbr->extra_acked_delivered = 0;
        bbr->extra_acked_start_ns = rs->now_ns;
        expected = 0;
    }
    bbr->extra_acked_delivered += rs->newly_acked;
    uint64_t extra = bbr->extra_acked_delivered - expected;
    if (extra > connection->hot.cwnd)
        extra = connection->hot.cwnd;
    uint32_t rounds = bbr->full_bw_reached ? EXTRA_ACKED_ROUNDS : 1;
    if (bbr->round_start && ++bbr->extra_acked_round >= rounds) {
        bbr->extra_acked_round = 0;
        bbr->extra_acked[0] = bbr->full_bw_reached ? bbr->extra_acked[1] : 0;
        bbr->extra_acked[1] = 0;
    }
    if (extra > bbr->extra_acked[1])
        bbr->extra_acked[1] = (uint32_t)extra;
}

void bbr_model_update(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    update_latest(connection, rs);
    update_max_bw(connection, rs);
    if (bbr->loss_round_start) {
        adapt_lower_bounds(connection);
        bbr->is_loss_in_round = false;
    }
    update_ack_aggregation(connection, rs);
}

void bbr_model_advance(struct tcp_bbr *bbr, const struct tcp_rate_sample *rs)
{
    if (bbr->loss_round_start) {
        bbr->bw_latest = rs->rate;
        bbr->inflight_latest = rs->delivered;
        bbr->loss_events = 0;
    }
    uint64_t max_bw = bbr_max_bw(bbr);
    bbr->bw = max_bw < bbr->bw_shortterm ? max_bw : bbr->bw_shortterm;
}

/* ---- Round trip --------------------------------------------------------------------------- */

void bbr_update_min_rtt(struct tcp_bbr *bbr, const struct tcp_rate_sample *rs)
{
    bbr->probe_rtt_expired = rs->now_ns > bbr->probe_rtt_min_stamp_ns + PROBE_RTT_INTERVAL_NS;
    if (rs->rtt_us != 0 && (rs->rtt_us < bbr->probe_rtt_min_us || bbr->probe_rtt_expired)) {
        bbr->probe_rtt_min_us = rs->rtt_us;
        bbr->probe_rtt_min_stamp_ns = rs->now_ns;
    }
    if (bbr->probe_rtt_min_us < bbr->min_rtt_us ||
        rs->now_ns > bbr->min_rtt_stamp_ns + MIN_RTT_FILTER_NS) {
        bbr->min_rtt_us = bbr->probe_rtt_min_us;
        bbr->min_rtt_stamp_ns = bbr->probe_rtt_min_stamp_ns;
    }
}

/* ---- Volumes ------------------------------------------------------------------------------ */

uint32_t bbr_bdp_multiple(const struct tcp_connection *connection, unsigned gain)
{
    const struct tcp_bbr *bbr = bbr_of(connection);
    if (bbr->min_rtt_us == BBR_RTT_UNKNOWN)
        return tcp_cwnd_initial(connection);
    uint64_t bdp = bbr->bw * bbr->min_rtt_us / 1000000;
    uint64_t bytes = bdp < TCP_CWND_MAX ? bdp * gain / BBR_GAIN_UNIT : TCP_CWND_MAX;
    return bytes < TCP_CWND_MAX ? (uint32_t)bytes : TCP_CWND_MAX;
}

uint32_t bbr_quantization_budget(const struct tcp_connection *connection, uint64_t inflight_cap)
{
    /* The offload budget: three bursts, one of which is being sent, one on its way, one being
       acknowledged. */
    uint32_t least = bbr_min_pipe_cwnd(connection);
    uint64_t offload_budget = 3 * (uint64_t)tcp_pacing_quantum(connection);
    if (inflight_cap < offload_budget)
        inflight_cap = offload_budget;
    if (inflight_cap < least)
        inflight_cap = least;
    if (bbr_of(connection)->state == BBR_PROBE_BW_UP)
        inflight_cap += 2 * (uint32_t)connection->hot.mss;
    return inflight_cap < TCP_CWND_MAX ? (uint32_t)inflight_cap : TCP_CWND_MAX;
}

uint32_t bbr_inflight(const struct tcp_connection *connection, unsigned gain)
{
    return bbr_quantization_budget(connection, bbr_bdp_multiple(connection, gain));
}

uint32_t bbr_inflight_with_headroom(const struct tcp_connection *connection)
{
    const struct tcp_bbr *bbr = bbr_of(connection);
    uint32_t least = bbr_min_pipe_cwnd(connection);
    if (bbr->inflight_longterm == BBR_INFINITE)
        return BBR_INFINITE;
    uint32_t headroom = bbr->inflight_longterm / 100 * BBR_HEADROOM_PERCENT;
    if (headroom < connection->hot.mss)
        headroom = connection->hot.mss;
    uint32_t rest = bbr->inflight_longterm > headroom ? bbr->inflight_longterm - headroom : 0;
    return rest > least ? rest : least;
}
