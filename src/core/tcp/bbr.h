/**
 * @file bbr.h
 * BBR version 3 (draft-ietf-ccwg-bbr): the state of one connection, and what its two files share.
 *
 * bbr.c has the state machine and sets rate and window; bbr_model.c has the model of the path:
 * bandwidth, round trip, aggregation, and the bounds that losses teach. Names are the draft's.
 * Rates are bytes per second, volumes bytes; delivered counts modulo 2^32.
 */
#ifndef PNO_CORE_TCP_BBR_H
#define PNO_CORE_TCP_BBR_H

#include "core/tcp/connection.h"
#include "core/tcp/delivery.h"

#define BBR_INFINITE      UINT32_MAX
#define BBR_INFINITE_RATE UINT64_MAX
#define BBR_RTT_UNKNOWN   UINT32_MAX

/** LossThresh, 2 %; Beta, 0.7; Headroom, 0.15. */
#define BBR_LOSS_THRESH_PERCENT 2
#define BBR_BETA_PERCENT        70
#define BBR_HEADROOM_PERCENT    15

/** Gains are in 256ths, as TCP_CC_INFO shows them. */
#define BBR_GAIN_UNIT 256

enum bbr_state {
    BBR_STARTUP,
    BBR_DRAIN,
    BBR_PROBE_BW_DOWN,
    BBR_PROBE_BW_CRUISE,
    BBR_PROBE_BW_REFILL,
    BBR_PROBE_BW_UP,
    BBR_PROBE_RTT,
    BBR_STATE_NONE, /**< of undo_state: nothing to return to */
};

enum bbr_ack_phase {
    BBR_ACKS_INIT,
    BBR_ACKS_REFILLING,
    BBR_ACKS_PROBE_STARTING,
    BBR_ACKS_PROBE_FEEDBACK,
    BBR_ACKS_PROBE_STOPPING,
};

struct tcp_bbr {
    /* The model. */
    uint64_t max_bw[2]; /**< of the ProbeBW cycle before and of this one */
    uint64_t bw;
    uint64_t bw_shortterm, bw_latest;
    uint64_t min_rtt_stamp_ns, probe_rtt_min_stamp_ns;
    uint64_t extra_acked_start_ns;
    uint32_t min_rtt_us, probe_rtt_min_us;
    uint32_t inflight_longterm, inflight_shortterm, inflight_latest;
    uint32_t extra_acked[2]; /**< of the five rounds before and of these */
    uint32_t extra_acked_round;
    uint32_t extra_acked_delivered;
    uint32_t next_round_delivered, loss_round_delivered, round_count;
    /* The state machine. */
    uint64_t full_bw;
    uint64_t cycle_stamp_ns, bw_probe_wait_ns;
    uint64_t probe_rtt_done_ns; /**< 0: not yet known */
    uint32_t drain_start_round;
    uint32_t probe_up_acked_per_inc, bw_probe_up_acked;
    uint32_t prior_cwnd;
    /* Before a loss that may prove spurious. */
    uint64_t undo_bw_shortterm;
    uint32_t undo_inflight_shortterm, undo_inflight_longterm;
    uint8_t state, undo_state; /**< enum bbr_state */
    uint8_t ack_phase;         /**< enum bbr_ack_phase */
    uint8_t prior_ca_state;    /**< enum tcp_ca_state at the ACK before */
    uint8_t full_bw_count, bw_probe_up_rounds, rounds_since_probe_up;
    uint8_t loss_events; /**< ACKs that told of losses in this round */
    bool round_start : 1;
    bool loss_round_start : 1;
    bool is_loss_in_round : 1;
    bool is_bw_probe_sample : 1;
    bool full_bw_reached : 1, full_bw_now : 1;
    bool prev_probe_too_high : 1, prev_probe_precautionary : 1;
    bool probe_rtt_expired : 1, probe_rtt_round_done : 1;
    bool idle_restart : 1;
};

/** The connection's. */
struct tcp_bbr *bbr_of(const struct tcp_connection *connection);

static inline bool bbr_is_probing_bw_cycle(const struct tcp_bbr *bbr)
{
    return bbr->state >= BBR_PROBE_BW_DOWN && bbr->state <= BBR_PROBE_BW_UP;
}

/** IsProbingBW(). */
static inline bool bbr_is_probing(const struct tcp_bbr *bbr)
{
    return bbr->state == BBR_STARTUP || bbr->state == BBR_PROBE_BW_REFILL ||
           bbr->state == BBR_PROBE_BW_UP;
}

static inline uint64_t bbr_max_bw(const struct tcp_bbr *bbr)
{
    return bbr->max_bw[0] > bbr->max_bw[1] ? bbr->max_bw[0] : bbr->max_bw[1];
}

/* ---- bbr_model.c -------------------------------------------------------------------------- */

void bbr_model_init(struct tcp_connection *connection, uint64_t now_ns);

/** UpdateLatestDeliverySignals(), UpdateCongestionSignals(), UpdateACKAggregation(). */
void bbr_model_update(struct tcp_connection *connection, const struct tcp_rate_sample *rs);

/** UpdateMinRTT(). */
void bbr_update_min_rtt(struct tcp_bbr *bbr, const struct tcp_rate_sample *rs);

/** AdvanceLatestDeliverySignals() and BoundBWForModel(), at the end of an ACK. */
void bbr_model_advance(struct tcp_bbr *bbr, const struct tcp_rate_sample *rs);

/** StartRound(). */
void bbr_start_round(struct tcp_connection *connection);

void bbr_reset_congestion_signals(struct tcp_bbr *bbr);
void bbr_reset_short_term_model(struct tcp_bbr *bbr);
void bbr_advance_max_bw_filter(struct tcp_bbr *bbr);

/** IsInflightTooHigh(). */
bool bbr_is_inflight_too_high(const struct tcp_connection *connection,
                              const struct tcp_rate_sample *rs);

/** BDPMultiple(), gain in 256ths. */
uint32_t bbr_bdp_multiple(const struct tcp_connection *connection, unsigned gain);

/** Inflight(): the above with room for offloads and at least four segments. */
uint32_t bbr_inflight(const struct tcp_connection *connection, unsigned gain);

/** QuantizationBudget(). */
uint32_t bbr_quantization_budget(const struct tcp_connection *connection, uint64_t inflight_cap);

/** InflightWithHeadroom(). */
uint32_t bbr_inflight_with_headroom(const struct tcp_connection *connection);

/** MinPipeCwnd. */
static inline uint32_t bbr_min_pipe_cwnd(const struct tcp_connection *connection)
{
    return 4 * (uint32_t)connection->hot.mss;
}

#endif
