#include "core/tcp/recovery.h"

#include "core/tcp/congestion.h"
#include "core/tcp/delivery.h"
#include "core/tcp/mtu_probe.h"
#include "core/tcp/output.h"
#include "core/tcp/rack.h"
#include "core/tcp/rto.h"
#include "core/tcp/scoreboard.h"
#include "core/tcp/timers.h"

/** Segments that duplicate ACKs must stand for before they prove a loss (RFC 5681 §3.2). */
#define DUPLICATE_THRESHOLD 3
/** Most segments of reordering to allow for: Linux's tcp_max_reordering. */
#define REORDERING_SEGMENTS_MAX 300
/** Besides what RACK says, before it looks again: Linux's TCP_TIMEOUT_MIN_US. */
#define REORDER_SLACK_NS (2 * NS_PER_MS)
/** An acknowledgement that tells of reneging gets this long, or a sixteenth of the round trip, to
    prove late: Linux's wait. */
#define RENEGING_WAIT_US 10000
/** Most recoveries that D-SACKs make a grown reordering window outlive (RFC 8985 §6.2). */
#define WINDOW_PERSIST_MAX 16

void tcp_recovery_note_delivered(struct tcp_connection *connection, const struct tcp_sent *record,
                                 uint64_t start, uint64_t end, struct tcp_ack_facts *facts)
{
    const struct tcp_recovery *recovery = connection->rare->recovery;
    if (start < record->start)
        start = record->start;
    if (end > tcp_sent_end(record))
        end = tcp_sent_end(record);
    tcp_rack_delivered(connection, record, end, facts->now_ns);
    if (record->again) {
        facts->again_delivered = true;
    } else {
        if (!facts->original_timed)
            facts->oldest_sent_us = record->sent_us;
        facts->original_timed = true;
        facts->newest_sent_us = record->sent_us;
        facts->original_delivered |= end <= recovery->recover;
        if (start < recovery->sacked_high) {
            tcp_rack_overtaken(connection, record, facts->now_ns);
            if (start < facts->reordered_from)
                facts->reordered_from = start;
        }
    }
    if (facts->sampled &&
        !tcp_sent_after(record->sent_us, end, facts->sample.sent_us, tcp_sent_end(&facts->sample)))
        return;
    facts->sampled = true;
    facts->sample = *record;
    facts->sample.length = (uint32_t)(end - record->start);
}

/* ---- The window while repairing ------------------------------------------------------------ */

/** Start reducing the window: PRR's bookkeeping and the new ssthresh. */
static void reduction_begin(struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    recovery->recover = connection->hot.snd_nxt;
    recovery->tail_probe = 0;
    recovery->prior_cwnd = connection->hot.cwnd;
    recovery->prr_delivered = 0;
    recovery->prr_out = 0;
    connection->congestion.ssthresh = tcp_congestion_of(connection)->ssthresh(connection);
    connection->hot.cwr_due = connection->hot.ecn;
}

static bool is_reducing(const struct tcp_connection *connection)
{
    uint8_t state = connection->hot.ca_state;
    return state == TCP_CA_RECOVERY || state == TCP_CA_CWR;
}

/** The reduction is done, unless it was undone. */
static void reduction_end(struct tcp_connection *connection)
{
    bool stands =
        connection->hot.ca_state == TCP_CA_CWR || connection->rare->recovery->undo_una != 0;
    if (stands && connection->congestion.ssthresh != TCP_SSTHRESH_INFINITE)
        connection->hot.cwnd = connection->congestion.ssthresh;
}

/** RFC 6937 §3: let out in proportion to what arrives, until pipe has come down to ssthresh. */
static void prr_update(struct tcp_connection *connection, const struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    uint32_t pipe = tcp_pipe(connection);
    uint32_t ssthresh = connection->congestion.ssthresh;
    uint32_t mss = connection->hot.mss;
    if (facts->delivered == 0)
        return;
    recovery->prr_delivered += facts->delivered;
    uint64_t send;
    if (pipe > ssthresh) {
        uint64_t share = (uint64_t)recovery->prr_delivered * (ssthresh - ssthresh % mss);
        uint64_t base = recovery->prior_cwnd ? recovery->prior_cwnd : 1;
        uint64_t allowed = (share + base - 1) / base;
        allowed += (mss - allowed % mss) % mss; /* whole segments (as Linux) */
        send = allowed > recovery->prr_out ? allowed - recovery->prr_out : 0;
    } else {
        uint64_t owed = recovery->prr_delivered > recovery->prr_out
                            ? recovery->prr_delivered - recovery->prr_out
                            : 0;
        send = owed > facts->delivered ? owed : facts->delivered;
        /* Slow-start reduction bound, as long as all goes well (as Linux). */
        send += facts->acked > 0 && facts->newly_lost == 0 ? mss : 0;
        if (send > ssthresh - pipe)
            send = ssthresh - pipe;
    }
    if (recovery->prr_out == 0 && send < mss)
        send = mss; /* the fast retransmit itself */
    connection->hot.cwnd = pipe + (uint32_t)send;
}

/* ---- States -------------------------------------------------------------------------------- */

/** Back to what is usual, or as near as what is still amiss permits. */
static void open_enter(struct tcp_connection *connection)
{
    const struct tcp_recovery *recovery = connection->rare->recovery;
    bool amiss = recovery->sacked.first != NULL || recovery->lost.first != NULL ||
                 recovery->again_bytes > 0 || recovery->dupack_bytes > 0;
    connection->hot.ca_state = amiss ? TCP_CA_DISORDER : TCP_CA_OPEN;
    connection->rare->recovery->frto = connection->rare->recovery->frto_new = false;
}

static void recovery_enter(struct tcp_connection *connection, bool congestion_echo)
{
    if (!congestion_echo && !is_reducing(connection) && tcp_mtu_probe_failed(connection)) {
        /* The probe was too large: repaired, but no sign of congestion (RFC 4821 §7.5). */
        tcp_undo_forget(connection);
        connection->hot.ca_state = TCP_CA_LOSS;
        connection->rare->recovery->recover = connection->hot.snd_nxt;
        connection->rare->recovery->frto = connection->rare->recovery->frto_new = false;
        return;
    }
    tcp_undo_begin(connection);
    if (is_reducing(connection)) {
        connection->rare->recovery->prior_ssthresh = 0;
    } else {
        reduction_begin(connection);
        if (congestion_echo)
            connection->rare->recovery->prior_ssthresh = 0;
    }
    connection->hot.ca_state = TCP_CA_RECOVERY;
    connection->rare->recovery->frto = connection->rare->recovery->frto_new = false;
}

/** The peer saw marks: the window is reduced once per round trip, as for a loss (RFC 3168 §6.1.2),
    but there is nothing to undo. */
static void cwr_enter(struct tcp_connection *connection)
{
    tcp_undo_forget(connection);
    connection->rare->recovery->prior_ssthresh = 0;
    connection->hot.ca_state = TCP_CA_CWR; /* first: DCTCP reduces by less then */
    reduction_begin(connection);
}

/** Without SACK every duplicate ACK stands for one segment that has left the network. */
static void dupack_bytes_update(struct tcp_connection *connection, struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    uint32_t mss = connection->hot.mss;
    uint32_t before = recovery->dupack_bytes;
    if (facts->is_duplicate) {
        uint64_t limit = tcp_outstanding(connection) - 1;
        uint64_t bytes = (uint64_t)before + mss;
        recovery->dupack_bytes = (uint32_t)(bytes < limit ? bytes : limit);
        facts->delivered += recovery->dupack_bytes > before ? recovery->dupack_bytes - before : 0;
    } else if (facts->acked > 0) {
        uint32_t covered = facts->acked > mss ? facts->acked - mss : 0;
        bool keep = connection->hot.ca_state == TCP_CA_RECOVERY && covered < before;
        recovery->dupack_bytes = keep ? before - covered : 0;
        uint32_t counted = before - recovery->dupack_bytes;
        facts->delivered -= counted < facts->delivered ? counted : facts->delivered - 1;
    }
}

/** What must be lost by now, without SACK: the first segment, on the third duplicate ACK and
    whenever an acknowledgement is partial (RFC 6582 §3.2). */
static void newreno_find_loss(struct stack *stack, struct tcp_connection *connection,
                              const struct tcp_ack_facts *facts)
{
    const struct tcp_hot *hot = &connection->hot;
    bool third = hot->ca_state < TCP_CA_RECOVERY && hot->dup_acks >= DUPLICATE_THRESHOLD &&
                 hot->snd_una > connection->rare->recovery->recover;
    bool partial = hot->ca_state == TCP_CA_RECOVERY && facts->acked > 0;
    if (third || partial)
        tcp_sent_lose_head(stack, connection, hot->mss);
}

/** RACK, and its timer for what may yet prove lost. @return whether retransmissions were lost. */
static bool losses_find(struct stack *stack, struct tcp_connection *connection,
                        struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    if (!connection->hot.sack) {
        newreno_find_loss(stack, connection, facts);
        return false;
    }
    if (connection->hot.snd_una < connection->rare->untimed_end &&
        tcp_scoreboard_sacked_segments(connection) >= DUPLICATE_THRESHOLD)
        tcp_sent_lose_untimed_head(stack, connection);
    if (!connection->rack_advanced)
        return false;
    connection->rack_advanced = false;
    uint32_t again_bytes = recovery->again_bytes;
    uint32_t wait_us = tcp_rack_detect(stack, connection, facts->now_ns);
    if (wait_us > 0) {
        tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_REORDER,
                           facts->now_ns + wait_us * NS_PER_US + REORDER_SLACK_NS);
        facts->timer_restart = false;
    }
    return recovery->again_bytes < again_bytes;
}

/** D-SACKs say that the whole repair was needless. @return whether it was undone. */
static bool undo_by_dsack(struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    if (!tcp_undo_all_duplicates(connection))
        return false;
    if (recovery->window_persist < WINDOW_PERSIST_MAX)
        recovery->window_persist++;
    tcp_undo(connection);
    return true;
}

/** Without SACK an episode goes on, as Linux has it, until something above RecoveryPoint is
    acknowledged: the duplicates that are still to come would begin another (RFC 6582 §3.2). */
static bool duplicates_may_come(const struct tcp_connection *connection)
{
    return !connection->hot.sack && connection->hot.snd_una == connection->rare->recovery->recover;
}

/** RecoveryPoint is acknowledged: the episode is over. @return false: but for duplicates. */
static bool episode_end(struct tcp_connection *connection, const struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    struct tcp_hot *hot = &connection->hot;
    if (hot->ca_state == TCP_CA_CWR) {
        if (hot->snd_una == recovery->recover)
            return true; /* CWR must reach the peer first, on something newer */
        reduction_end(connection);
        open_enter(connection);
    } else if (hot->ca_state == TCP_CA_RECOVERY) {
        recovery->dupack_bytes = 0;
        if (recovery->undo_una != 0 &&
            (tcp_undo_all_duplicates(connection) || tcp_undo_was_delayed(connection, facts)))
            tcp_undo(connection);
        else if (recovery->window_persist > 0)
            recovery->window_persist--;
        if (duplicates_may_come(connection))
            return false;
        reduction_end(connection);
        hot->dup_acks = 0;
        open_enter(connection);
    }
    return true;
}

static void ordinary(struct stack *stack, struct tcp_connection *connection,
                     struct tcp_ack_facts *facts)
{
    struct tcp_hot *hot = &connection->hot;
    if (hot->ca_state <= TCP_CA_DISORDER)
        undo_by_dsack(connection);
    losses_find(stack, connection, facts);
    if (connection->rare->recovery->lost.first != NULL) {
        recovery_enter(connection, facts->congestion_echo);
        return;
    }
    if (facts->congestion_echo && hot->ca_state != TCP_CA_CWR)
        cwr_enter(connection);
    else if (hot->ca_state != TCP_CA_CWR)
        open_enter(connection);
}

static void recovery_continue(struct stack *stack, struct tcp_connection *connection,
                              struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    if (facts->acked > 0 && recovery->undo_una != 0 && tcp_undo_was_delayed(connection, facts)) {
        /* The hole was filled by its original after all (Eifel). */
        tcp_recovery_reordered(connection, facts->prior_una);
        if (recovery->again_bytes > 0)
            return; /* what was sent again is on its way: nothing more is to be */
        tcp_undo(connection);
        tcp_sent_unlose(connection);
        open_enter(connection);
    }
    if (undo_by_dsack(connection))
        open_enter(connection);
    losses_find(stack, connection, facts);
    if (connection->hot.ca_state != TCP_CA_RECOVERY && recovery->lost.first != NULL)
        recovery_enter(connection, facts->congestion_echo);
}

/* ---- After a timeout ----------------------------------------------------------------------- */

/** The timeout was spurious: all as before, and what was called lost is on its way. */
static void loss_undo(struct tcp_connection *connection)
{
    tcp_undo(connection);
    tcp_sent_unlose(connection);
    connection->congestion.retransmits = 0;
    open_enter(connection);
}

/** F-RTO, enhanced by SACK (RFC 5682 §3.1). @return whether it settled what to do. */
static bool frto_continue(struct tcp_connection *connection, const struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    struct tcp_hot *hot = &connection->hot;
    recovery->frto_new = false;
    /* Step 3.b: something sent before the timeout, and once only, has arrived. */
    if (facts->original_delivered && recovery->undo_una != 0) {
        loss_undo(connection);
        return true;
    }
    if (hot->snd_nxt > recovery->recover) {
        if (facts->newly_sacked > 0 || facts->is_duplicate)
            recovery->frto = false; /* step 3.a: the loss was real */
    } else if (facts->acked > 0 && hot->snd_una < recovery->recover) {
        /* Step 2.b: new data, whose ACK will tell. */
        recovery->recover = hot->snd_nxt;
        bool can_send = tcp_unsent(connection) > 0 || tcp_fin_unsent(connection);
        if (can_send && hot->snd_una + hot->snd_wnd > hot->snd_nxt) {
            recovery->frto_new = true;
            return true;
        }
        recovery->frto = false;
    }
    return false;
}

static void loss_continue(struct stack *stack, struct tcp_connection *connection,
                          struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    struct tcp_hot *hot = &connection->hot;
    if (facts->acked > 0 && recovery->undo_una != 0 &&
        (tcp_undo_all_duplicates(connection) || tcp_undo_was_delayed(connection, facts)))
        loss_undo(connection);
    else if (!(recovery->frto && frto_continue(connection, facts)) &&
             hot->snd_una >= recovery->recover && !duplicates_may_come(connection))
        open_enter(connection);
    bool again_lost = losses_find(stack, connection, facts);
    if (hot->ca_state == TCP_CA_LOSS && !again_lost)
        return;
    if (recovery->lost.first != NULL)
        recovery_enter(connection, facts->congestion_echo);
}

void tcp_recovery_frto_give_up(struct tcp_connection *connection)
{
    connection->rare->recovery->frto = connection->rare->recovery->frto_new = false;
}

/* ---- Tail probes --------------------------------------------------------------------------- */

/** The tail probe's outcome: if it repaired a loss, the window has to know (RFC 8985 §7.4.2). */
static void tail_probe_check(struct tcp_connection *connection, const struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    struct tcp_hot *hot = &connection->hot;
    if (recovery->tail_probe == 0 || hot->snd_una < recovery->tail_probe)
        return;
    if (!recovery->tail_probe_retransmitted || facts->dsack_of_probe) {
        recovery->tail_probe = 0;
    } else if (hot->snd_una > recovery->tail_probe) {
        reduction_begin(connection);
        tcp_undo_forget(connection);
        if (!tcp_congestion_controls(connection))
            hot->cwnd = connection->congestion.ssthresh;
        open_enter(connection);
    } else if (facts->acked == 0 && facts->newly_sacked == 0) {
        recovery->tail_probe = 0; /* a duplicate ACK: both copies arrived */
    }
}

/* ---- Events -------------------------------------------------------------------------------- */

/** SACKs that begin at snd_una: the receiver has dropped what it had reported, or acknowledgements
    were reordered (RFC 2018 §8). Wait a little for the latter, then start over. */
static bool reneging_check(struct stack *stack, struct tcp_connection *connection,
                           struct tcp_ack_facts *facts)
{
    const struct interval *first = connection->rare->recovery->sacked.first;
    if (facts->acked == 0 || first == NULL || first->start > connection->hot.snd_una)
        return false;
    uint64_t wait_us = tcp_srtt_us(connection) / 2;
    if (wait_us < RENEGING_WAIT_US)
        wait_us = RENEGING_WAIT_US;
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_RETRANSMIT,
                       facts->now_ns + wait_us * NS_PER_US);
    facts->timer_restart = false;
    return true;
}

static void state_machine(struct stack *stack, struct tcp_connection *connection,
                          struct tcp_ack_facts *facts)
{
    struct tcp_hot *hot = &connection->hot;
    if (facts->congestion_echo)
        connection->rare->recovery->prior_ssthresh = 0; /* the reduction is called for */
    if (reneging_check(stack, connection, facts))
        return;
    if (hot->snd_una >= connection->rare->recovery->recover && !episode_end(connection, facts))
        return;
    switch ((enum tcp_ca_state)hot->ca_state) {
    case TCP_CA_RECOVERY:
        recovery_continue(stack, connection, facts);
        break;
    case TCP_CA_LOSS:
        loss_continue(stack, connection, facts);
        if (hot->ca_state != TCP_CA_LOSS)
            tcp_timeout_repaired(connection, facts->now_ns);
        break;
    case TCP_CA_OPEN:
    case TCP_CA_DISORDER:
    case TCP_CA_CWR:
        ordinary(stack, connection, facts);
        break;
    }
}

void tcp_recovery_on_ack(struct stack *stack, struct tcp_connection *connection,
                         struct tcp_ack_facts *facts)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_recovery *recovery = connection->rare->recovery;
    if (hot->ca_state == TCP_CA_OPEN && recovery->tail_probe == 0 && !facts->is_duplicate &&
        facts->newly_sacked == 0 && facts->dsack_bytes == 0 && !facts->congestion_echo)
        return;
    recovery = tcp_recovery_take(stack, connection);
    uint32_t lost_before = connection->rare->lost;
    if (!hot->sack) {
        uint32_t told = tcp_segments_of(connection, facts->delivered);
        dupack_bytes_update(connection, facts);
        connection->statistics.delivered_segments +=
            tcp_segments_of(connection, facts->delivered) - told;
    }
    if (facts->reordered_from != UINT64_MAX &&
        (hot->ca_state != TCP_CA_LOSS || recovery->undo_una != 0))
        tcp_recovery_reordered(connection, facts->reordered_from);
    if (facts->sampled)
        tcp_rack_window_update(connection, facts->sample.delivered);
    tail_probe_check(connection, facts);
    state_machine(stack, connection, facts);
    facts->newly_lost = connection->rare->lost - lost_before;
    if (is_reducing(connection) && !tcp_congestion_controls(connection))
        prr_update(connection, facts);
}

void tcp_recovery_timeout(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_recovery *recovery = tcp_recovery_take(stack, connection);
    bool is_first = hot->ca_state < TCP_CA_RECOVERY;
    bool again = connection->congestion.retransmits > 0;
    /* A receiver that SACKed what follows snd_una and then does not acknowledge it, reneged. */
    bool reneged = recovery->sacked.first && recovery->sacked.first->start <= hot->snd_una;
    if (reneged) {
        tcp_scoreboard_clear(stack, connection);
        connection->rare->untimed_end = hot->snd_nxt;
    }
    if (hot->ca_state <= TCP_CA_DISORDER || recovery->recover <= hot->snd_una ||
        (hot->ca_state == TCP_CA_LOSS && !again)) {
        tcp_undo_begin(connection);
        reduction_begin(connection);
        tcp_congestion_of(connection)->timeout(connection);
    }
    if (hot->ca_state <= TCP_CA_DISORDER &&
        tcp_scoreboard_sacked_segments(connection) >= DUPLICATE_THRESHOLD)
        recovery->reordering = DUPLICATE_THRESHOLD; /* it was overestimated */
    recovery->dupack_bytes = 0;
    tcp_sent_limit_ages(connection, now_ns);
    tcp_rack_timeout(stack, connection, now_ns);
    hot->ca_state = TCP_CA_LOSS;
    hot->dup_acks = 0;
    hot->cwnd = tcp_pipe(connection) + hot->mss;
    hot->tail_probe_due = false;
    hot->cwr_due = hot->ecn;
    recovery->tail_probe = 0;
    recovery->recover = hot->snd_nxt;
    /* RFC 5682 §3.2: not when another repair was under way. */
    recovery->frto = (is_first || again) && !reneged;
    recovery->frto_new = false;
}

void tcp_recovery_reorder_expired(struct stack *stack, struct tcp_connection *connection,
                                  uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    uint32_t lost_before = connection->rare->lost;
    (void)tcp_recovery_take(stack, connection);
    tcp_rack_detect(stack, connection, now_ns);
    if (connection->rare->lost != lost_before) {
        if (hot->ca_state != TCP_CA_RECOVERY) {
            recovery_enter(connection, false);
            if (!tcp_congestion_controls(connection))
                hot->cwnd = tcp_pipe(connection) + hot->mss; /* PRR, of one segment */
        }
        tcp_output_request(stack, connection);
    }
    tcp_send_timer_resume(stack, connection, now_ns);
}

void tcp_recovery_path_mtu_shrank(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_hot *hot = &connection->hot;
    if (tcp_outstanding(connection) == 0)
        return;
    (void)tcp_recovery_take(stack, connection);
    if (!tcp_sent_lose_larger(stack, connection, hot->mss))
        return;
    if (hot->ca_state != TCP_CA_LOSS && hot->ca_state != TCP_CA_RECOVERY)
        hot->ca_state = TCP_CA_LOSS;
    /* An episode under way goes on until all of this is repaired: one begun anew at its end would
       take the first acknowledgement for a sign that nothing was lost. */
    tcp_undo_forget(connection);
    connection->rare->recovery->recover = hot->snd_nxt;
    tcp_recovery_frto_give_up(connection);
    tcp_output_request(stack, connection);
}

void tcp_recovery_retransmitted(struct tcp_connection *connection, uint64_t start, uint64_t end,
                                uint32_t mss, uint64_t now_ns)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    uint32_t bytes = (uint32_t)(end - start);
    if (!recovery->retransmitted)
        recovery->undo_ts = tcp_timestamp_now(connection, now_ns);
    recovery->retransmitted = true;
    recovery->undo_bytes += bytes;
    uint64_t data_end = end < connection->hot.snd_end ? end : connection->hot.snd_end;
    connection->rare->bytes_retransmitted += data_end - start; /* as Linux, without a FIN */
    connection->rare->retransmitted_segments += (bytes + mss - 1) / mss;
}

void tcp_recovery_sent(struct tcp_connection *connection, uint32_t bytes)
{
    if (is_reducing(connection))
        connection->rare->recovery->prr_out += bytes;
}

void tcp_recovery_reordered(struct tcp_connection *connection, uint64_t low)
{
    struct tcp_recovery *recovery = connection->rare->recovery;
    uint32_t mss = connection->hot.mss;
    if (low >= recovery->sacked_high || mss == 0)
        return;
    uint64_t segments = (recovery->sacked_high - low + mss - 1) / mss;
    if (segments > REORDERING_SEGMENTS_MAX)
        segments = REORDERING_SEGMENTS_MAX;
    if (segments > recovery->reordering)
        recovery->reordering = (uint16_t)segments;
    recovery->reordering_seen = true;
    connection->rare->reordering_seen++;
}
