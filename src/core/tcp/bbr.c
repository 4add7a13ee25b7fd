/*
 * BBR version 3 (draft-ietf-ccwg-bbr §5.3, §5.4, §5.6): Startup finds the bandwidth, Drain takes
 * away the queue that this made, ProbeBW cruises and probes by turns, ProbeRTT looks every five
 * seconds how long the path is without a queue. The pacing rate is what steers; the window bounds.
 */
#include "core/tcp/bbr.h"

#include "core/tcp/congestion.h"
#include "core/tcp/pacing.h"
#include "core/tcp/scoreboard.h"

#define PACING_MARGIN_PERCENT 1
#define PROBE_RTT_DURATION_NS (200 * NS_PER_MS)
#define DRAIN_ROUNDS          3
/** A bandwidth that grows by less than a quarter in three rounds is all there is. */
#define FULL_BW_ROUNDS 3
/** BBRStartupFullLossCnt. */
#define STARTUP_LOSS_EVENTS 6
/** At most as many rounds between probes as Reno needs to fill a window of that many segments. */
#define PROBE_ROUNDS_MAX    63
#define PROBE_WAIT_NS       (2 * NS_PER_S)
#define PROBE_UP_ROUNDS_MAX 30
#define NOMINAL_RTT_US      1000
#define PROBE_RTT_CWND_GAIN (BBR_GAIN_UNIT / 2)
#define DEFAULT_CWND_GAIN   (2 * BBR_GAIN_UNIT)
#define STARTUP_PACING_GAIN (BBR_GAIN_UNIT * 277 / 100)

/** Of each state (draft §5.6.1), in 256ths. */
static const struct {
    uint16_t pacing, cwnd;
} gains[] = {
    [BBR_STARTUP] = {STARTUP_PACING_GAIN, DEFAULT_CWND_GAIN},
    [BBR_DRAIN] = {BBR_GAIN_UNIT / 2, DEFAULT_CWND_GAIN},
    [BBR_PROBE_BW_DOWN] = {BBR_GAIN_UNIT * 90 / 100, DEFAULT_CWND_GAIN},
    [BBR_PROBE_BW_CRUISE] = {BBR_GAIN_UNIT, DEFAULT_CWND_GAIN},
    [BBR_PROBE_BW_REFILL] = {BBR_GAIN_UNIT, DEFAULT_CWND_GAIN},
    [BBR_PROBE_BW_UP] = {BBR_GAIN_UNIT * 125 / 100, BBR_GAIN_UNIT * 225 / 100},
    [BBR_PROBE_RTT] = {BBR_GAIN_UNIT, PROBE_RTT_CWND_GAIN},
};

/* ---- Rate and window ---------------------------------------------------------------------- */

static void set_pacing_rate(struct tcp_connection *connection, unsigned gain)
{
    const struct tcp_bbr *bbr = bbr_of(connection);
    uint64_t rate = bbr->bw / 100 * (100 - PACING_MARGIN_PERCENT) * gain / BBR_GAIN_UNIT;
    if (bbr->bw != 0 && (bbr->full_bw_reached || rate > connection->rare->pacing->rate))
        connection->rare->pacing->rate = rate != 0 ? rate : 1;
}

static void save_cwnd(struct tcp_connection *connection)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    uint32_t cwnd = connection->hot.cwnd;
    bool undisturbed = connection->hot.ca_state < TCP_CA_RECOVERY && bbr->state != BBR_PROBE_RTT;
    if (undisturbed || cwnd > bbr->prior_cwnd)
        bbr->prior_cwnd = cwnd;
}

static void restore_cwnd(struct tcp_connection *connection)
{
    if (bbr_of(connection)->prior_cwnd > connection->hot.cwnd)
        connection->hot.cwnd = bbr_of(connection)->prior_cwnd;
}

static uint32_t probe_rtt_cwnd(const struct tcp_connection *connection)
{
    uint32_t cwnd = bbr_bdp_multiple(connection, PROBE_RTT_CWND_GAIN);
    uint32_t least = bbr_min_pipe_cwnd(connection);
    return cwnd > least ? cwnd : least;
}

/** BoundCwndForModel(). */
static uint32_t model_cap(const struct tcp_connection *connection)
{
    const struct tcp_bbr *bbr = bbr_of(connection);
    uint32_t cap = BBR_INFINITE;
    if (bbr->state == BBR_PROBE_RTT || bbr->state == BBR_PROBE_BW_CRUISE)
        cap = bbr_inflight_with_headroom(connection);
    else if (bbr_is_probing_bw_cycle(bbr))
        cap = bbr->inflight_longterm;
    if (cap > bbr->inflight_shortterm)
        cap = bbr->inflight_shortterm;
    uint32_t least = bbr_min_pipe_cwnd(connection);
    return cap > least ? cap : least;
}

static void set_cwnd(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    const struct tcp_bbr *bbr = bbr_of(connection);
    uint32_t extra =
        bbr->extra_acked[0] > bbr->extra_acked[1] ? bbr->extra_acked[0] : bbr->extra_acked[1];
    uint64_t wanted = (uint64_t)bbr_bdp_multiple(connection, gains[bbr->state].cwnd) + extra;
    uint32_t max_inflight = bbr_quantization_budget(connection, wanted);
    uint64_t cwnd = connection->hot.cwnd;
    bool young = tcp_acked_offset(connection) < tcp_cwnd_initial(connection);
    if (bbr->full_bw_reached) {
        cwnd += rs->newly_acked;
        if (cwnd > max_inflight)
            cwnd = max_inflight;
    } else if (cwnd < max_inflight || young) {
        cwnd += rs->newly_acked;
    }
    if (cwnd < bbr_min_pipe_cwnd(connection))
        cwnd = bbr_min_pipe_cwnd(connection);
    if (bbr->state == BBR_PROBE_RTT && cwnd > probe_rtt_cwnd(connection))
        cwnd = probe_rtt_cwnd(connection);
    if (cwnd > model_cap(connection))
        cwnd = model_cap(connection);
    connection->hot.cwnd = cwnd < TCP_CWND_MAX ? (uint32_t)cwnd : TCP_CWND_MAX;
}

/* ---- Startup and Drain -------------------------------------------------------------------- */

static void reset_full_bw(struct tcp_bbr *bbr)
{
    bbr->full_bw = 0;
    bbr->full_bw_count = 0;
    bbr->full_bw_now = false;
}

static void check_full_bw_reached(struct tcp_bbr *bbr, const struct tcp_rate_sample *rs)
{
    if (bbr->full_bw_now || !bbr->round_start || rs->is_app_limited || rs->rate == 0)
        return;
    if (rs->rate >= bbr->full_bw + bbr->full_bw / 4) {
        reset_full_bw(bbr);
        bbr->full_bw = rs->rate;
        return;
    }
    bbr->full_bw_count++;
    bbr->full_bw_now = bbr->full_bw_count >= FULL_BW_ROUNDS;
    bbr->full_bw_reached = bbr->full_bw_reached || bbr->full_bw_now;
}

/** CheckStartupHighLoss(). */
static void check_startup_high_loss(struct tcp_connection *connection,
                                    const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (bbr->full_bw_reached || !bbr->loss_round_start ||
        connection->hot.ca_state != TCP_CA_RECOVERY || !bbr_is_inflight_too_high(connection, rs) ||
        (connection->hot.sack && bbr->loss_events < STARTUP_LOSS_EVENTS))
        return;
    bbr->undo_state = BBR_STARTUP;
    bbr->full_bw_reached = true;
    uint32_t bdp = bbr_bdp_multiple(connection, BBR_GAIN_UNIT);
    bbr->inflight_longterm = bdp > bbr->inflight_latest ? bdp : bbr->inflight_latest;
}

static void check_startup_done(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (bbr->state != BBR_STARTUP)
        return;
    check_startup_high_loss(connection, rs);
    if (!bbr->full_bw_reached)
        return;
    bbr->state = BBR_DRAIN;
    bbr->drain_start_round = bbr->round_count;
}

/* ---- ProbeBW ------------------------------------------------------------------------------ */

/** Chance enough to keep flows from probing in step: of the flow's hash and the time. */
static uint32_t random_16(const struct tcp_connection *connection, uint64_t now_ns)
{
    uint32_t mixed = connection->links.hash ^ (uint32_t)(now_ns >> 10);
    mixed *= UINT32_C(0x9e3779b1);
    mixed ^= mixed >> 15;
    mixed *= UINT32_C(0x85ebca77);
    return mixed >> 16;
}

static void start_down(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    uint32_t random = random_16(connection, now_ns);
    bbr_reset_congestion_signals(bbr);
    bbr->probe_up_acked_per_inc = BBR_INFINITE;
    bbr->rounds_since_probe_up = random & 1;
    bbr->bw_probe_wait_ns = PROBE_WAIT_NS + random * NS_PER_S / 65536;
    bbr->cycle_stamp_ns = now_ns;
    bbr->ack_phase = BBR_ACKS_PROBE_STOPPING;
    bbr_start_round(connection);
    bbr->state = BBR_PROBE_BW_DOWN;
}

static void start_refill(struct tcp_connection *connection)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    bbr_reset_short_term_model(bbr);
    bbr->bw_probe_up_rounds = 0;
    bbr->bw_probe_up_acked = 0;
    bbr->prev_probe_precautionary = false;
    bbr->ack_phase = BBR_ACKS_REFILLING;
    bbr_start_round(connection);
    bbr->state = BBR_PROBE_BW_REFILL;
}

/** Each round of ProbeBW_UP doubles by how much inflight_longterm may grow. */
static void raise_inflight_longterm_slope(struct tcp_connection *connection)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    uint32_t per_increment = connection->hot.cwnd >> bbr->bw_probe_up_rounds;
    if (bbr->bw_probe_up_rounds < PROBE_UP_ROUNDS_MAX)
        bbr->bw_probe_up_rounds++;
    bbr->probe_up_acked_per_inc =
        per_increment > connection->hot.mss ? per_increment : connection->hot.mss;
}

static void start_up(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    bbr->ack_phase = BBR_ACKS_PROBE_STARTING;
    bbr_start_round(connection);
    reset_full_bw(bbr);
    bbr->full_bw = rs->rate;
    bbr->state = BBR_PROBE_BW_UP;
    raise_inflight_longterm_slope(connection);
}

static void probe_inflight_longterm_upward(struct tcp_connection *connection,
                                           const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (!connection->congestion.cwnd_limited || connection->hot.cwnd < bbr->inflight_longterm)
        return;
    bbr->bw_probe_up_acked += rs->newly_acked;
    uint32_t increments = bbr->bw_probe_up_acked / bbr->probe_up_acked_per_inc;
    bbr->bw_probe_up_acked -= increments * bbr->probe_up_acked_per_inc;
    uint64_t raised = bbr->inflight_longterm + (uint64_t)increments * connection->hot.mss;
    bbr->inflight_longterm = raised < TCP_CWND_MAX ? (uint32_t)raised : TCP_CWND_MAX;
    if (bbr->round_start)
        raise_inflight_longterm_slope(connection);
}

static uint32_t target_inflight(const struct tcp_connection *connection)
{
    uint32_t bdp = bbr_bdp_multiple(connection, BBR_GAIN_UNIT);
    return bdp < connection->hot.cwnd ? bdp : connection->hot.cwnd;
}

/** HandleInflightTooHigh(): the probe has found where losses begin. */
static void handle_inflight_too_high(struct tcp_connection *connection,
                                     const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    bbr->prev_probe_too_high = true;
    bbr->is_bw_probe_sample = false;
    if (!rs->is_app_limited) {
        uint32_t floor = target_inflight(connection) / 100 * BBR_BETA_PERCENT;
        bbr->inflight_longterm = rs->tx_in_flight > floor ? rs->tx_in_flight : floor;
    }
    if (bbr->state == BBR_PROBE_BW_UP) {
        bbr->undo_state = BBR_PROBE_BW_UP;
        start_down(connection, rs->now_ns);
    }
}

/** AdaptLongTermModel(). @return true when it decided on another state. */
static bool adapt_long_term_model(struct tcp_connection *connection,
                                  const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (bbr->ack_phase == BBR_ACKS_PROBE_STARTING && bbr->round_start)
        bbr->ack_phase = BBR_ACKS_PROBE_FEEDBACK;
    if (bbr->ack_phase == BBR_ACKS_PROBE_STOPPING && bbr->round_start) {
        bbr->is_bw_probe_sample = false;
        bbr->ack_phase = BBR_ACKS_INIT;
        if (bbr_is_probing_bw_cycle(bbr) && !rs->is_app_limited)
            bbr_advance_max_bw_filter(bbr);
        if (bbr_is_probing_bw_cycle(bbr) && bbr->prev_probe_precautionary &&
            !bbr->prev_probe_too_high) {
            start_refill(connection);
            return true;
        }
    }
    if (bbr_is_inflight_too_high(connection, rs)) {
        if (bbr->is_bw_probe_sample)
            handle_inflight_too_high(connection, rs);
        return false;
    }
    if (bbr->inflight_longterm == BBR_INFINITE)
        return false;
    if (rs->tx_in_flight > bbr->inflight_longterm)
        bbr->inflight_longterm = rs->tx_in_flight;
    if (bbr->state == BBR_PROBE_BW_UP)
        probe_inflight_longterm_upward(connection, rs);
    return false;
}

/** IsTimeToProbeBW(). */
static bool is_time_to_probe(const struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_bbr *bbr = bbr_of(connection);
    uint32_t rounds = target_inflight(connection) / connection->hot.mss;
    if (rounds > PROBE_ROUNDS_MAX)
        rounds = PROBE_ROUNDS_MAX;
    return now_ns > bbr->cycle_stamp_ns + bbr->bw_probe_wait_ns ||
           bbr->rounds_since_probe_up >= rounds;
}

static bool is_time_to_cruise(const struct tcp_connection *connection)
{
    uint32_t in_flight = tcp_pipe(connection);
    return in_flight <= bbr_inflight_with_headroom(connection) &&
           in_flight <= bbr_inflight(connection, BBR_GAIN_UNIT);
}

/** IsTimeToGoDown(). */
static bool is_time_to_go_down(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (bbr->prev_probe_too_high && tcp_pipe(connection) >= bbr->inflight_longterm) {
        bbr->prev_probe_precautionary = true;
        return true;
    }
    if (connection->congestion.cwnd_limited && connection->hot.cwnd >= bbr->inflight_longterm) {
        reset_full_bw(bbr);
        bbr->full_bw = rs->rate;
        return false;
    }
    return bbr->full_bw_now;
}

/** UpdateProbeBWCyclePhase(). */
static void update_cycle_phase(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (!bbr->full_bw_reached || adapt_long_term_model(connection, rs))
        return;
    switch ((enum bbr_state)bbr->state) {
    case BBR_PROBE_BW_DOWN:
        if (is_time_to_probe(connection, rs->now_ns))
            start_refill(connection);
        else if (is_time_to_cruise(connection))
            bbr->state = BBR_PROBE_BW_CRUISE;
        break;
    case BBR_PROBE_BW_CRUISE:
        if (is_time_to_probe(connection, rs->now_ns))
            start_refill(connection);
        break;
    case BBR_PROBE_BW_REFILL:
        if (bbr->round_start) {
            bbr->is_bw_probe_sample = true;
            start_up(connection, rs);
        }
        break;
    case BBR_PROBE_BW_UP:
        if (is_time_to_go_down(connection, rs)) {
            bbr->prev_probe_too_high = false;
            start_down(connection, rs->now_ns);
        }
        break;
    default:
        break;
    }
}

static void check_drain_done(struct tcp_connection *connection, uint64_t now_ns)
{
    const struct tcp_bbr *bbr = bbr_of(connection);
    if (bbr->state == BBR_DRAIN &&
        (tcp_pipe(connection) <= bbr_inflight(connection, BBR_GAIN_UNIT) ||
         bbr->round_count > bbr->drain_start_round + DRAIN_ROUNDS))
        start_down(connection, now_ns);
}

/* ---- ProbeRTT ----------------------------------------------------------------------------- */

static void check_probe_rtt_done(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (bbr->probe_rtt_done_ns == 0 || now_ns <= bbr->probe_rtt_done_ns)
        return;
    bbr->probe_rtt_min_stamp_ns = now_ns;
    restore_cwnd(connection);
    bbr_reset_short_term_model(bbr);
    if (!bbr->full_bw_reached) {
        bbr->state = BBR_STARTUP;
        return;
    }
    start_down(connection, now_ns);
    bbr->state = BBR_PROBE_BW_CRUISE;
}

static void handle_probe_rtt(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    tcp_delivery_mark_limited(connection); /* low rates of this time tell nothing */
    if (bbr->probe_rtt_done_ns == 0) {
        if (tcp_pipe(connection) > probe_rtt_cwnd(connection))
            return;
        bbr->probe_rtt_done_ns = now_ns + PROBE_RTT_DURATION_NS;
        bbr->probe_rtt_round_done = false;
        bbr_start_round(connection);
        return;
    }
    bbr->probe_rtt_round_done = bbr->probe_rtt_round_done || bbr->round_start;
    if (bbr->probe_rtt_round_done)
        check_probe_rtt_done(connection, now_ns);
}

static void check_probe_rtt(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (bbr->state != BBR_PROBE_RTT && bbr->probe_rtt_expired && !bbr->idle_restart) {
        save_cwnd(connection);
        bbr->state = BBR_PROBE_RTT;
        bbr->probe_rtt_done_ns = 0;
        bbr->ack_phase = BBR_ACKS_PROBE_STOPPING;
        bbr_start_round(connection);
    }
    if (bbr->state == BBR_PROBE_RTT)
        handle_probe_rtt(connection, rs->now_ns);
    if (rs->delivered > 0)
        bbr->idle_restart = false;
}

/* ---- What happens ------------------------------------------------------------------------- */

static void bbr_init(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    (void)stack;
    struct tcp_bbr *bbr = bbr_of(connection);
    *bbr = (struct tcp_bbr){.undo_state = BBR_STATE_NONE, .probe_up_acked_per_inc = BBR_INFINITE};
    bbr_model_init(connection, now_ns);
    uint32_t srtt_us = tcp_srtt_us(connection);
    connection->rare->pacing->rate = (uint64_t)tcp_cwnd_initial(connection) * STARTUP_PACING_GAIN *
                                     1000000 / BBR_GAIN_UNIT /
                                     (srtt_us != 0 ? srtt_us : NOMINAL_RTT_US);
}

/** NoteLoss(). */
static void note_losses(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (rs->newly_lost == 0)
        return;
    if (!bbr->is_loss_in_round)
        bbr->loss_round_delivered = connection->delivery.delivered;
    bbr->is_loss_in_round = true;
    if (bbr->loss_events < UINT8_MAX)
        bbr->loss_events++;
}

static void bbr_control(struct tcp_connection *connection, const struct tcp_rate_sample *rs)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    uint8_t ca_state = connection->hot.ca_state;
    if (bbr->prior_ca_state >= TCP_CA_RECOVERY && ca_state < TCP_CA_RECOVERY)
        restore_cwnd(connection);
    bbr->prior_ca_state = ca_state;
    note_losses(connection, rs);
    bbr_model_update(connection, rs);
    check_full_bw_reached(bbr, rs);
    check_startup_done(connection, rs);
    check_drain_done(connection, rs->now_ns);
    update_cycle_phase(connection, rs);
    bbr_update_min_rtt(bbr, rs);
    check_probe_rtt(connection, rs);
    bbr_model_advance(bbr, rs);
    set_pacing_rate(connection, gains[bbr->state].pacing);
    set_cwnd(connection, rs);
}

/** Recovery begins: SaveStateUponLoss(). The window is not reduced by it, and there is no
    threshold. */
static uint32_t bbr_ssthresh(struct tcp_connection *connection)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    save_cwnd(connection);
    bbr->undo_state = BBR_STATE_NONE;
    bbr->undo_bw_shortterm = bbr->bw_shortterm;
    bbr->undo_inflight_shortterm = bbr->inflight_shortterm;
    bbr->undo_inflight_longterm = bbr->inflight_longterm;
    return connection->congestion.ssthresh;
}

/** OnEnterRTO(): the caller reduces the window to one segment. */
static void bbr_timeout(struct tcp_connection *connection)
{
    save_cwnd(connection);
}

/** HandleSpuriousLossDetection(). */
static void bbr_undo(struct tcp_connection *connection)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    restore_cwnd(connection);
    bbr->is_loss_in_round = false;
    reset_full_bw(bbr);
    if (bbr->undo_bw_shortterm > bbr->bw_shortterm)
        bbr->bw_shortterm = bbr->undo_bw_shortterm;
    if (bbr->undo_inflight_shortterm > bbr->inflight_shortterm)
        bbr->inflight_shortterm = bbr->undo_inflight_shortterm;
    if (bbr->undo_inflight_longterm > bbr->inflight_longterm)
        bbr->inflight_longterm = bbr->undo_inflight_longterm;
    if (bbr->undo_state == BBR_STARTUP && bbr->state != BBR_STARTUP) {
        bbr->full_bw_reached = false;
        if (bbr->state != BBR_PROBE_RTT)
            bbr->state = BBR_STARTUP;
    } else if (bbr->undo_state == BBR_PROBE_BW_UP && bbr->state != BBR_PROBE_BW_UP &&
               bbr->state != BBR_PROBE_RTT) {
        start_refill(connection);
    }
    bbr->undo_state = BBR_STATE_NONE;
}

/** HandleRestartFromIdle(): nothing is in flight, for want of something to send. */
static void bbr_restart(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_bbr *bbr = bbr_of(connection);
    if (!connection->delivery.limited)
        return;
    bbr->idle_restart = true;
    bbr->extra_acked_start_ns = now_ns;
    if (bbr_is_probing_bw_cycle(bbr))
        set_pacing_rate(connection, BBR_GAIN_UNIT);
    else if (bbr->state == BBR_PROBE_RTT)
        check_probe_rtt_done(connection, now_ns);
}

static void bbr_fill_info(const struct tcp_connection *connection, struct tcp_congestion_info *info)
{
    const struct tcp_bbr *bbr = bbr_of(connection);
    info->kind = TCP_CONGESTION_INFO_BBR;
    info->bandwidth = bbr->bw;
    info->min_rtt_us = bbr->min_rtt_us;
    info->pacing_gain = gains[bbr->state].pacing;
    info->cwnd_gain = gains[bbr->state].cwnd;
}

const struct tcp_congestion_control tcp_congestion_bbr = {
    .name = "bbr",
    .init = bbr_init,
    .ssthresh = bbr_ssthresh,
    .control = bbr_control,
    .timeout = bbr_timeout,
    .undo = bbr_undo,
    .restart = bbr_restart,
    .fill_info = bbr_fill_info,
    .sets_rate = true,
    .ignores_ecn = true,
};
