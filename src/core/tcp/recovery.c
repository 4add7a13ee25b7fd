#include "core/tcp/recovery.h"

#include "core/tcp/congestion.h"
#include "core/tcp/delivery.h"
#include "core/tcp/output.h"
#include "core/tcp/scoreboard.h"
#include "core/tcp/timers.h"

/** Most segments of reordering to allow for: Linux's tcp_max_reordering. */
#define REORDERING_SEGMENTS_MAX 300
/** Besides a quarter of the round trip, before SACKs prove a loss: Linux's TCP_TIMEOUT_MIN_US. */
#define REORDER_SLACK_NS (2 * NS_PER_MS)

/** Remember what the window was, in case the loss proves spurious. */
static void undo_begin(struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = &connection->recovery;
    recovery->undo_possible = true;
    recovery->undo_bytes = 0;
    recovery->undo_ts_valid = false;
    recovery->prior_cwnd = connection->hot.cwnd;
    recovery->prior_ssthresh = connection->congestion.ssthresh;
}

static void undo_forget(struct tcp_connection *connection)
{
    connection->recovery.undo_possible = false;
    connection->recovery.undo_ts_valid = false;
}

/** Start reducing the window: PRR's bookkeeping and the new ssthresh. */
static void reduction_begin(struct tcp_connection *connection)
{
    undo_begin(connection);
    connection->recovery.prr_delivered = 0;
    connection->recovery.prr_out = 0;
    connection->congestion.ssthresh = tcp_congestion_of(connection)->ssthresh(connection);
    connection->hot.cwr_due = connection->hot.ecn;
}

/** A new round of retransmissions goes over all holes below lost_high. */
static void retransmission_round_begin(struct tcp_connection *connection)
{
    connection->recovery.rxt_high = connection->hot.snd_una;
    connection->recovery.rxt_mark = connection->hot.snd_nxt;
}

/** RFC 6937 §3: let out in proportion to what arrives, until pipe has come down to ssthresh. */
static void prr_update(struct tcp_connection *connection, uint32_t delivered, bool advanced)
{
    struct tcp_recovery *recovery = &connection->recovery;
    uint32_t pipe = tcp_pipe(connection);
    uint32_t ssthresh = connection->congestion.ssthresh;
    uint32_t mss = connection->hot.mss;
    recovery->prr_delivered += delivered;
    uint64_t send;
    if (pipe > ssthresh) {
        uint64_t share = (uint64_t)recovery->prr_delivered * ssthresh;
        uint64_t base = recovery->prior_cwnd ? recovery->prior_cwnd : 1;
        uint64_t allowed = (share + base - 1) / base;
        send = allowed > recovery->prr_out ? allowed - recovery->prr_out : 0;
    } else {
        uint64_t owed = recovery->prr_delivered > recovery->prr_out
                            ? recovery->prr_delivered - recovery->prr_out
                            : 0;
        send = owed > delivered ? owed : delivered;
        send += advanced ? mss : 0; /* slow-start reduction bound */
        if (send > ssthresh - pipe)
            send = ssthresh - pipe;
    }
    if (recovery->prr_out == 0 && send < mss)
        send = mss; /* the fast retransmit itself */
    connection->hot.cwnd = pipe + (uint32_t)send;
}

static void recovery_enter(struct stack *stack, struct tcp_connection *connection,
                           uint64_t lost_high, const struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = &connection->recovery;
    struct tcp_hot *hot = &connection->hot;
    uint64_t head_end = hot->snd_una + hot->mss;
    if (head_end > hot->snd_nxt)
        head_end = hot->snd_nxt;
    if (recovery->sacked.first && head_end > recovery->sacked.first->start)
        head_end = recovery->sacked.first->start;
    if (hot->ca_state != TCP_CA_CWR)
        reduction_begin(connection);
    hot->ca_state = TCP_CA_RECOVERY;
    recovery->recover = hot->snd_nxt;
    recovery->tail_probe = 0;
    recovery->lost_high = lost_high > head_end ? lost_high : head_end;
    retransmission_round_begin(connection);
    prr_update(connection, facts->delivered, false);
    tcp_send_timer_restart(stack, connection, facts->now_ns);
}

static void open_enter(struct tcp_connection *connection)
{
    struct tcp_hot *hot = &connection->hot;
    bool disorder = connection->recovery.sacked.first != NULL;
    hot->ca_state = disorder ? TCP_CA_DISORDER : TCP_CA_OPEN;
    hot->dup_acks = 0;
    connection->recovery.dupack_bytes = 0;
    connection->recovery.lost_high = hot->snd_una;
    connection->recovery.rxt_high = hot->snd_una;
}

/** It was not loss: back to the window before (RFC 4015 §3.2, as Linux). */
static void undo(struct tcp_connection *connection)
{
    struct tcp_recovery *recovery = &connection->recovery;
    if (recovery->prior_cwnd > connection->hot.cwnd)
        connection->hot.cwnd = recovery->prior_cwnd;
    if (recovery->prior_ssthresh > connection->congestion.ssthresh)
        connection->congestion.ssthresh = recovery->prior_ssthresh;
    if (connection->congestion.ssthresh == TCP_SSTHRESH_INFINITE)
        tcp_hystart_restart(connection);
    tcp_recovery_reordered(connection, 2 * (uint64_t)recovery->reordering_bytes);
    undo_forget(connection);
    open_enter(connection);
}

/** Whether this acknowledgement proves that the episode's first retransmission was needless. */
static bool is_spurious(const struct tcp_connection *connection, const struct tcp_ack_facts *facts)
{
    const struct tcp_recovery *recovery = &connection->recovery;
    if (!recovery->undo_possible)
        return false;
    /* Eifel: the ACK that covers the hole answers a segment sent before the retransmission. */
    if (facts->acked > 0 && recovery->undo_ts_valid && facts->has_timestamp_echo &&
        (int32_t)(facts->timestamp_echo - recovery->undo_ts) < 0)
        return true;
    return facts->dsack_bytes > 0 && recovery->undo_bytes == 0;
}

static void dsack_count(struct tcp_connection *connection, uint32_t bytes)
{
    struct tcp_recovery *recovery = &connection->recovery;
    if (bytes > 0 && recovery->undo_possible)
        recovery->undo_bytes -= bytes < recovery->undo_bytes ? bytes : recovery->undo_bytes;
}

/** A round of retransmissions whose successors arrive while it does not is lost too. */
static void lost_retransmissions_check(struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_recovery *recovery = &connection->recovery;
    if (recovery->rxt_high <= connection->hot.snd_una ||
        recovery->sacked_high <= recovery->rxt_mark)
        return;
    uint64_t srtt_ns = connection->congestion.srtt_us * NS_PER_US;
    if (now_ns - recovery->rxt_last_ns < srtt_ns + srtt_ns / 4)
        return;
    retransmission_round_begin(connection);
}

static void recovery_continue(struct stack *stack, struct tcp_connection *connection,
                              const struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = &connection->recovery;
    struct tcp_hot *hot = &connection->hot;
    (void)stack;
    if (hot->sack) {
        uint64_t lost_high = tcp_scoreboard_lost_high(connection);
        if (lost_high > recovery->lost_high)
            recovery->lost_high = lost_high;
        lost_retransmissions_check(connection, facts->now_ns);
    }
    if (facts->acked > 0 && recovery->lost_high <= hot->snd_una) {
        /* A partial acknowledgement: the segment after it is lost as well (RFC 6582 §3.2). */
        uint64_t head_end = hot->snd_una + hot->mss;
        uint64_t bound = recovery->sacked.first ? recovery->sacked.first->start : hot->snd_nxt;
        if (!hot->sack || recovery->sacked.first)
            recovery->lost_high = head_end < bound ? head_end : bound;
        if (!hot->sack)
            retransmission_round_begin(connection);
    }
    prr_update(connection, facts->delivered, facts->acked > 0);
}

/** Set the reorder timer for holes that are not lost yet. */
static void reorder_timer_start(struct stack *stack, struct tcp_connection *connection,
                                uint64_t now_ns)
{
    uint64_t high = tcp_scoreboard_last_start(connection);
    if (connection->hot.send_timer == TCP_SEND_TIMER_REORDER || high <= connection->hot.snd_una)
        return;
    uint32_t rtt_us = connection->congestion.min_rtt_us;
    if (rtt_us == UINT32_MAX)
        rtt_us = connection->congestion.rto_us; /* no sample yet */
    uint64_t wait_ns = rtt_us / 4 * NS_PER_US;
    connection->recovery.reorder_high = high;
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_REORDER,
                       now_ns + wait_ns + REORDER_SLACK_NS);
}

static void open_or_disorder(struct stack *stack, struct tcp_connection *connection,
                             const struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = &connection->recovery;
    struct tcp_hot *hot = &connection->hot;
    if (hot->sack) {
        if (recovery->sacked.first == NULL) {
            if (hot->ca_state == TCP_CA_DISORDER)
                open_enter(connection);
            return;
        }
        hot->ca_state = TCP_CA_DISORDER;
        uint64_t lost_high = tcp_scoreboard_lost_high(connection);
        if (lost_high > hot->snd_una)
            recovery_enter(stack, connection, lost_high, facts);
        else
            reorder_timer_start(stack, connection, facts->now_ns);
        return;
    }
    if (hot->dup_acks == 0) {
        hot->ca_state = TCP_CA_OPEN;
        return;
    }
    hot->ca_state = TCP_CA_DISORDER;
    if (hot->dup_acks >= 3 && hot->snd_una > recovery->recover)
        recovery_enter(stack, connection, hot->snd_una, facts);
}

/** The peer saw marks: the window is reduced once per round trip, as for a loss (RFC 3168 §6.1.2),
    but there is nothing to undo. */
static void cwr_enter(struct tcp_connection *connection)
{
    connection->hot.ca_state = TCP_CA_CWR;
    connection->recovery.recover = connection->hot.snd_nxt;
    connection->recovery.tail_probe = 0;
    reduction_begin(connection);
    undo_forget(connection);
}

static void cwr_continue(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_ack_facts *facts)
{
    struct tcp_hot *hot = &connection->hot;
    if (hot->snd_una >= connection->recovery.recover) {
        hot->cwnd = connection->congestion.ssthresh;
        open_enter(connection);
        return;
    }
    uint64_t lost_high = hot->sack ? tcp_scoreboard_lost_high(connection) : hot->snd_una;
    if (lost_high > hot->snd_una || (!hot->sack && hot->dup_acks >= 3)) {
        recovery_enter(stack, connection, lost_high, facts);
        return;
    }
    if (connection->recovery.sacked.first != NULL)
        reorder_timer_start(stack, connection, facts->now_ns);
    prr_update(connection, facts->delivered, facts->acked > 0);
}

/** Without SACK every duplicate ACK stands for one segment that has left the network. */
static void dupack_bytes_update(struct tcp_connection *connection,
                                const struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = &connection->recovery;
    uint32_t mss = connection->hot.mss;
    if (facts->is_duplicate) {
        uint64_t limit = tcp_outstanding(connection) - 1;
        uint64_t bytes = (uint64_t)recovery->dupack_bytes + mss;
        recovery->dupack_bytes = (uint32_t)(bytes < limit ? bytes : limit);
    } else if (facts->acked > 0) {
        uint32_t covered = facts->acked > mss ? facts->acked - mss : 0;
        bool keep = connection->hot.ca_state == TCP_CA_RECOVERY && covered < recovery->dupack_bytes;
        recovery->dupack_bytes = keep ? recovery->dupack_bytes - covered : 0;
    }
}

/** The tail probe's outcome: if it repaired a loss, the window has to know (RFC 8985 §7.4.2). */
static void tail_probe_check(struct tcp_connection *connection, const struct tcp_ack_facts *facts)
{
    struct tcp_recovery *recovery = &connection->recovery;
    struct tcp_hot *hot = &connection->hot;
    if (recovery->tail_probe == 0 || hot->snd_una < recovery->tail_probe)
        return;
    bool repaired = recovery->tail_probe_retransmitted && facts->dsack_bytes == 0 &&
                    hot->snd_una > recovery->tail_probe;
    if (!repaired && recovery->tail_probe_retransmitted && facts->dsack_bytes == 0 &&
        !facts->is_duplicate)
        return; /* a duplicate ACK or D-SACK may still come */
    recovery->tail_probe = 0;
    if (!repaired || hot->ca_state >= TCP_CA_CWR)
        return;
    reduction_begin(connection);
    undo_forget(connection);
    hot->cwnd = connection->congestion.ssthresh;
}

void tcp_recovery_on_ack(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_ack_facts *facts)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_recovery *recovery = &connection->recovery;
    if (hot->ca_state == TCP_CA_OPEN && recovery->tail_probe == 0 && !facts->is_duplicate &&
        recovery->sacked.first == NULL && facts->dsack_bytes == 0 && !facts->congestion_echo)
        return;
    if (!hot->sack)
        dupack_bytes_update(connection, facts);
    dsack_count(connection, facts->dsack_bytes);
    tail_probe_check(connection, facts);
    if (is_spurious(connection, facts))
        undo(connection);
    if (facts->congestion_echo && hot->ca_state < TCP_CA_CWR)
        cwr_enter(connection);
    switch ((enum tcp_ca_state)hot->ca_state) {
    case TCP_CA_RECOVERY:
        if (hot->snd_una >= recovery->recover) {
            hot->cwnd = connection->congestion.ssthresh;
            open_enter(connection);
        } else {
            recovery_continue(stack, connection, facts);
        }
        break;
    case TCP_CA_LOSS:
        if (hot->snd_una >= recovery->recover)
            open_enter(connection);
        else if (hot->sack)
            lost_retransmissions_check(connection, facts->now_ns);
        break;
    case TCP_CA_CWR:
        cwr_continue(stack, connection, facts);
        break;
    case TCP_CA_OPEN:
    case TCP_CA_DISORDER:
        open_or_disorder(stack, connection, facts);
        break;
    }
}

void tcp_recovery_timeout(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_recovery *recovery = &connection->recovery;
    /* A receiver that SACKed what follows snd_una and then does not acknowledge it, reneged. */
    if (recovery->sacked.first && recovery->sacked.first->start <= hot->snd_una)
        tcp_scoreboard_clear(stack, connection);
    bool again = hot->ca_state == TCP_CA_LOSS && connection->congestion.retransmits > 0;
    bool reducing = hot->ca_state == TCP_CA_RECOVERY || hot->ca_state == TCP_CA_CWR;
    if (!again && !reducing)
        reduction_begin(connection);
    else if (reducing)
        undo_forget(connection);
    tcp_congestion_of(connection)->timeout(connection);
    hot->ca_state = TCP_CA_LOSS;
    hot->dup_acks = 0;
    hot->cwnd = hot->mss;
    hot->tail_probe_due = false;
    recovery->dupack_bytes = 0;
    recovery->tail_probe = 0;
    recovery->recover = hot->snd_nxt;
    recovery->lost_high = hot->snd_nxt;
    retransmission_round_begin(connection);
}

void tcp_recovery_reorder_expired(struct stack *stack, struct tcp_connection *connection,
                                  uint64_t now_ns)
{
    const struct tcp_ack_facts facts = {.now_ns = now_ns, .prior_una = connection->hot.snd_una};
    tcp_send_timer_restart(stack, connection, now_ns);
    uint8_t state = connection->hot.ca_state;
    if ((state != TCP_CA_DISORDER && state != TCP_CA_CWR) ||
        connection->recovery.reorder_high <= connection->hot.snd_una)
        return;
    recovery_enter(stack, connection, connection->recovery.reorder_high, &facts);
    tcp_output_request(stack, connection);
}

void tcp_recovery_path_mtu_shrank(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_hot *hot = &connection->hot;
    if (tcp_outstanding(connection) == 0)
        return;
    if (hot->ca_state != TCP_CA_LOSS && hot->ca_state != TCP_CA_RECOVERY) {
        undo_forget(connection);
        hot->ca_state = TCP_CA_LOSS;
        connection->recovery.recover = hot->snd_nxt;
    }
    connection->recovery.lost_high = hot->snd_nxt;
    retransmission_round_begin(connection);
    tcp_output_request(stack, connection);
}

void tcp_recovery_retransmitted(struct tcp_connection *connection, uint64_t start, uint64_t end,
                                uint64_t now_ns)
{
    struct tcp_recovery *recovery = &connection->recovery;
    uint32_t bytes = (uint32_t)(end - start);
    if (recovery->undo_possible && !recovery->undo_ts_valid && connection->hot.timestamps) {
        recovery->undo_ts = tcp_timestamp_now(connection, now_ns);
        recovery->undo_ts_valid = true;
    }
    recovery->undo_bytes += bytes;
    recovery->rxt_last_ns = now_ns;
    tcp_delivery_retransmitted(connection);
    connection->congestion.rtt_seq = 0; /* Karn: the timed segment is ambiguous now */
    connection->statistics.bytes_retransmitted += bytes;
    connection->statistics.retransmitted_segments++;
}

void tcp_recovery_sent(struct tcp_connection *connection, uint32_t bytes)
{
    if (connection->hot.ca_state == TCP_CA_RECOVERY || connection->hot.ca_state == TCP_CA_CWR)
        connection->recovery.prr_out += bytes;
}

void tcp_recovery_reordered(struct tcp_connection *connection, uint64_t distance)
{
    struct tcp_recovery *recovery = &connection->recovery;
    uint64_t limit = REORDERING_SEGMENTS_MAX * (uint64_t)connection->hot.mss;
    if (distance > limit)
        distance = limit;
    if (!recovery->reordering_seen)
        connection->statistics.reordering_seen++;
    recovery->reordering_seen = true;
    if (distance > recovery->reordering_bytes)
        recovery->reordering_bytes = (uint32_t)distance;
}
