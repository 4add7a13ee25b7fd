#include "core/tcp/ack.h"

#include "core/tcp/congestion.h"
#include "core/tcp/delivery.h"
#include "core/tcp/output.h"
#include "core/tcp/receive.h"
#include "core/tcp/recovery.h"
#include "core/tcp/rto.h"
#include "core/tcp/scoreboard.h"
#include "core/tcp/state.h"
#include "core/tcp/timers.h"

void tcp_send_window_set(struct tcp_connection *connection, const struct tcp_segment *segment,
                         bool scaled)
{
    struct tcp_hot *hot = &connection->hot;
    hot->snd_wnd = scaled ? (uint32_t)segment->window << hot->snd_wscale : segment->window;
    hot->snd_wl1 = segment->seq;
    if (hot->snd_wnd > connection->congestion.max_window) {
        connection->congestion.max_window = hot->snd_wnd;
        tcp_mss_update(connection);
    }
}

/** RFC 9293 §3.10.7.4: the newest segment's window counts; of two as new, the larger, or one that
    closes (as Linux). @return true when it changed. */
static bool window_update(struct tcp_connection *connection, const struct tcp_segment *segment,
                          uint64_t ack)
{
    struct tcp_hot *hot = &connection->hot;
    uint32_t window = (uint32_t)segment->window << hot->snd_wscale;
    bool newer = ack > hot->snd_una || seq_gt(segment->seq, hot->snd_wl1) ||
                 (seq_eq(segment->seq, hot->snd_wl1) && (window > hot->snd_wnd || window == 0));
    if (!newer)
        return false;
    bool changed = window != hot->snd_wnd;
    if (changed)
        tcp_send_window_set(connection, segment, true);
    hot->snd_wl1 = segment->seq;
    return changed;
}

/** One sample: of the timed segment if this covers it, else by timestamps (RFC 7323 §4). */
static void measure_rtt(struct stack *stack, struct tcp_connection *connection,
                        const struct tcp_segment *segment, uint64_t now_ns)
{
    struct tcp_congestion *congestion = &connection->congestion;
    if (congestion->ssthresh == TCP_SSTHRESH_INFINITE && connection->hot.timestamps &&
        segment->options.has_timestamps && segment->options.timestamp_echo != 0)
        tcp_hystart_sample(connection,
                           tcp_timestamp_now(connection, now_ns) - segment->options.timestamp_echo);
    if (congestion->rtt_seq != 0) {
        if (connection->hot.snd_una < congestion->rtt_seq)
            return;
        congestion->rtt_seq = 0;
        uint64_t rtt_us = (now_ns - congestion->rtt_sent_ns) / NS_PER_US;
        tcp_rto_sample(stack, connection,
                       rtt_us < TCP_RTO_MAX_US ? (uint32_t)rtt_us : TCP_RTO_MAX_US);
        return;
    }
    if (!connection->hot.timestamps || !segment->options.has_timestamps ||
        segment->options.timestamp_echo == 0)
        return;
    uint32_t rtt_ms = tcp_timestamp_now(connection, now_ns) - segment->options.timestamp_echo;
    if (rtt_ms < TCP_RTO_MAX_US / 1000)
        tcp_rto_sample(stack, connection, rtt_ms == 0 ? 1000 : rtt_ms * 1000);
}

/** snd_una moves up to ack. */
static void advance(struct stack *stack, struct tcp_connection *connection,
                    const struct tcp_segment *segment, uint64_t ack, struct tcp_ack_facts *facts)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_recovery *recovery = &connection->recovery;
    uint64_t prior_una = hot->snd_una;
    /* A hole below SACKed data filled without a retransmission: the original was late. */
    if (recovery->sacked.first && prior_una >= recovery->rxt_high &&
        prior_una < recovery->sacked.first->start && hot->ca_state <= TCP_CA_DISORDER)
        tcp_recovery_reordered(connection, recovery->sacked_high - prior_una);
    facts->acked = (uint32_t)(ack - prior_una);
    hot->snd_una = ack;
    hot->dup_acks = 0;
    facts->delivered = facts->acked - (uint32_t)tcp_scoreboard_advance(stack, connection);
    measure_rtt(stack, connection, segment, facts->now_ns);
    connection->congestion.retransmits = 0;
    connection->congestion.retransmit_began_ns = 0;
    connection->congestion.probe_began_ns = 0;
    connection->soft_error = 0;
    if (prior_una < hot->snd_end)
        tcp_event_raise(stack, connection, STACK_EVENT_ACKED);
    stack_reachability_confirm(stack, connection, facts->now_ns);
}

/** Whether the first block reports a duplicate (RFC 2883 §4). */
static bool first_block_is_dsack(const struct tcp_segment *segment)
{
    const struct tcp_options *options = &segment->options;
    const struct tcp_sack_block *first = &options->sack_blocks[0];
    if (seq_leq(first->end, segment->ack))
        return true;
    return options->sack_block_count > 1 && seq_geq(first->start, options->sack_blocks[1].start) &&
           seq_leq(first->end, options->sack_blocks[1].end);
}

static void sack_arrives(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_segment *segment, struct tcp_ack_facts *facts)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_recovery *recovery = &connection->recovery;
    bool dsack = first_block_is_dsack(segment);
    for (unsigned i = 0; i < segment->options.sack_block_count; i++) {
        const struct tcp_sack_block *block = &segment->options.sack_blocks[i];
        uint64_t start = tcp_unwrap(hot->snd_una, block->start);
        uint64_t end = tcp_unwrap(hot->snd_una, block->end);
        if (start >= end || end > hot->snd_nxt)
            continue;
        if (i == 0 && dsack) {
            facts->dsack_bytes = (uint32_t)(end - start);
            connection->statistics.dsacks++;
            continue;
        }
        if (end <= hot->snd_una)
            continue;
        if (start < hot->snd_una)
            start = hot->snd_una;
        uint64_t high_before = recovery->sacked_high;
        uint32_t added = tcp_scoreboard_add(stack, connection, start, end);
        facts->newly_sacked += added;
        if (added > 0 && start < high_before && start >= recovery->rxt_high &&
            hot->snd_una < high_before && hot->ca_state <= TCP_CA_DISORDER)
            tcp_recovery_reordered(connection, high_before - start);
    }
    facts->delivered += facts->newly_sacked;
}

/** RFC 5681 §2: a duplicate acknowledgement; with SACK, one that brings new SACKs. */
static bool is_duplicate(const struct tcp_connection *connection, const struct tcp_segment *segment,
                         const struct tcp_ack_facts *facts, bool window_changed)
{
    if (facts->acked > 0 || tcp_outstanding(connection) == 0)
        return false;
    if (connection->hot.sack)
        return facts->newly_sacked > 0;
    return segment->payload_length == 0 && !(segment->flags & (TCP_SYN | TCP_FIN)) &&
           !window_changed;
}

/** What arrived, for delivery rate and TCP_INFO. */
static void acked_account(struct tcp_connection *connection, const struct tcp_ack_facts *facts)
{
    uint32_t mss = connection->hot.mss;
    if (facts->delivered == 0)
        return;
    connection->statistics.delivered_segments += (facts->delivered + mss - 1) / mss;
    tcp_delivery_acked(connection, facts->delivered, facts->now_ns);
    if (connection->hot.snd_una >= connection->hot.snd_end)
        tcp_chrono_update(connection, facts->now_ns);
}

/** Nothing in flight any more and the window admits what was held back: no more probing. */
static void persist_end(struct stack *stack, struct tcp_connection *connection)
{
    struct tcp_hot *hot = &connection->hot;
    if (hot->send_timer != TCP_SEND_TIMER_PERSIST || hot->snd_wnd == 0)
        return;
    uint64_t head = tcp_unsent(connection) < hot->mss ? tcp_unsent(connection) : hot->mss;
    if (hot->snd_nxt + head > hot->snd_una + hot->snd_wnd)
        return;
    connection->congestion.backoff = 0;
    connection->congestion.probe_began_ns = 0;
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_NONE, TIME_NEVER);
}

/** @return DROP_NONE to go on, or why not; *old: nothing below snd_una is of interest. */
static enum drop_reason range_check(struct stack *stack, struct tcp_connection *connection,
                                    uint64_t ack, uint64_t now_ns, bool *old)
{
    const struct tcp_hot *hot = &connection->hot;
    *old = false;
    if (ack > hot->snd_nxt) {
        /* RFC 9293 would have it answered; Linux does so outside of the established states. */
        if (hot->state != TCP_STATE_ESTABLISHED && hot->state != TCP_STATE_CLOSE_WAIT)
            tcp_challenge_ack(stack, connection, now_ns);
        return DROP_TCP_BAD_ACK;
    }
    if (ack >= hot->snd_una)
        return DROP_NONE;
    if (ack + connection->congestion.max_window < hot->snd_una) {
        tcp_challenge_ack(stack, connection, now_ns); /* RFC 5961 §5.2 */
        return DROP_TCP_BAD_ACK;
    }
    *old = true;
    return DROP_NONE;
}

/** The window is on its way down: it must not grow. */
static bool is_reducing(const struct tcp_connection *connection)
{
    uint8_t state = connection->hot.ca_state;
    return state == TCP_CA_RECOVERY || state == TCP_CA_CWR;
}

/** An acknowledgement of what is below snd_una still brings SACK blocks of use (as Linux). */
static void old_ack_arrives(struct stack *stack, struct tcp_connection *connection,
                            const struct tcp_segment *segment, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_ack_facts facts = {.now_ns = now_ns, .prior_una = hot->snd_una};
    if (segment->options.sack_block_count == 0 || !hot->sack)
        return;
    sack_arrives(stack, connection, segment, &facts);
    facts.is_duplicate = is_duplicate(connection, segment, &facts, false);
    if (facts.is_duplicate && hot->dup_acks < UINT8_MAX)
        hot->dup_acks++;
    acked_account(connection, &facts);
    tcp_recovery_on_ack(stack, connection, &facts);
    tcp_output_request_if_wanted(stack, connection);
}

enum drop_reason tcp_ack_arrives(struct stack *stack, struct tcp_connection *connection,
                                 const struct tcp_segment *segment, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    uint64_t ack = tcp_unwrap(hot->snd_una, segment->ack);
    bool old;
    enum drop_reason drop = range_check(stack, connection, ack, now_ns, &old);
    if (drop != DROP_NONE)
        return drop;
    connection->congestion.last_ack_ns = now_ns;
    connection->congestion.probes = 0;
    if (old) {
        old_ack_arrives(stack, connection, segment, now_ns);
        return DROP_NONE;
    }

    struct tcp_ack_facts facts = {
        .now_ns = now_ns,
        .prior_una = hot->snd_una,
        .timestamp_echo = segment->options.timestamp_echo,
        .has_timestamp_echo = hot->timestamps && segment->options.has_timestamps &&
                              segment->options.timestamp_echo != 0,
        .congestion_echo = hot->ecn && (segment->flags & TCP_ECE) != 0,
    };
    bool window_changed = window_update(connection, segment, ack);
    if (ack > hot->snd_una)
        advance(stack, connection, segment, ack, &facts);
    if (segment->options.sack_block_count > 0 && hot->sack)
        sack_arrives(stack, connection, segment, &facts);
    facts.is_duplicate = is_duplicate(connection, segment, &facts, window_changed);
    if (facts.is_duplicate && hot->dup_acks < UINT8_MAX)
        hot->dup_acks++;
    if (facts.acked > 0)
        tcp_send_timer_restart(stack, connection, now_ns);
    acked_account(connection, &facts);
    if (hot->ecn && tcp_congestion_of(connection)->marks != NULL)
        tcp_congestion_of(connection)->marks(connection, facts.delivered, facts.congestion_echo);
    bool was_reducing = is_reducing(connection);
    tcp_recovery_on_ack(stack, connection, &facts);
    if (facts.acked > 0 && !was_reducing && !is_reducing(connection))
        tcp_cwnd_on_ack(connection, facts.delivered, now_ns);
    persist_end(stack, connection);
    tcp_output_request_if_wanted(stack, connection);
    return DROP_NONE;
}
