#include "core/tcp/ack.h"

#include "core/tcp/congestion.h"
#include "core/tcp/delivery.h"
#include "core/tcp/mtu_probe.h"
#include "core/tcp/output.h"
#include "core/tcp/rack.h"
#include "core/tcp/rare.h"
#include "core/tcp/receive.h"
#include "core/tcp/records.h"
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
    uint32_t before = connection->congestion.max_window;
    if (hot->snd_wnd <= before)
        return;
    connection->congestion.max_window = hot->snd_wnd;
    /* The window may have been what limits it; or probing does from now on (mtu_probe.c). */
    if (before / 2 <= (uint32_t)hot->mss + TCP_TIMESTAMP_OPTION_BYTES || connection->mtu_probing)
        tcp_mss_update(connection);
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

/** By timestamps (RFC 7323 §4), in milliseconds: where nothing was sent just once. */
static uint32_t timestamp_rtt_us(const struct tcp_connection *connection,
                                 const struct tcp_ack_facts *facts)
{
    uint32_t rtt_ms = tcp_timestamp_now(connection, facts->now_ns) - facts->timestamp_echo;
    if (!facts->has_timestamp_echo || rtt_ms >= TCP_RTO_MAX_US / 1000)
        return 0;
    return rtt_ms == 0 ? 1000 : rtt_ms * 1000;
}

/** How long something sent once took to be acknowledged; 0 when it can't be told. */
static uint32_t original_rtt_us(const struct tcp_ack_facts *facts, uint32_t sent_us)
{
    if (!facts->original_timed || facts->again_delivered)
        return 0;
    uint32_t rtt_us = tcp_sent_clock_us(facts->now_ns) - sent_us;
    if (rtt_us >= TCP_RTO_MAX_US)
        return 0;
    return rtt_us > 0 ? rtt_us : 1;
}

/** One sample per ACK (as Linux): for the timeout the oldest segment that it covers, which suffered
    delayed acknowledgement; for the shortest round trip the newest. */
static void measure_rtt(struct tcp_connection *connection, struct tcp_ack_facts *facts)
{
    uint32_t oldest_us = original_rtt_us(facts, facts->oldest_sent_us);
    facts->rtt_us = original_rtt_us(facts, facts->newest_sent_us);
    if (oldest_us == 0 && facts->acked > 0)
        oldest_us = facts->rtt_us = timestamp_rtt_us(connection, facts);
    if (facts->acked > 0 && facts->rtt_us != 0)
        tcp_hystart_sample(connection, facts->rtt_us);
    if (oldest_us == 0)
        return;
    /* A lone small segment's acknowledgement may have been delayed. */
    bool delayed = facts->acked < connection->hot.mss && facts->newly_sacked == 0;
    if (!delayed || facts->rtt_us < connection->congestion.min_rtt_us)
        tcp_rto_min_note(connection, facts->rtt_us, facts->now_ns);
    tcp_rto_sample(connection, oldest_us);
}

/** snd_una moves up to ack. */
static void advance(struct stack *stack, struct tcp_connection *connection, uint64_t ack,
                    struct tcp_ack_facts *facts)
{
    struct tcp_hot *hot = &connection->hot;
    uint64_t prior_una = hot->snd_una;
    facts->acked = (uint32_t)(ack - prior_una);
    facts->timer_restart = true;
    tcp_sent_delivered(stack, connection, prior_una, ack, facts);
    hot->snd_una = ack;
    if (connection->rare->mtu_probe.size != 0)
        tcp_mtu_probe_acked(stack, connection);
    hot->dup_acks = 0;
    tcp_records_advance(stack, connection);
    facts->delivered = facts->acked - (uint32_t)tcp_scoreboard_advance(stack, connection);
    connection->congestion.retransmits = 0;
    tcp_rare_progress(connection);
    if (prior_una < hot->snd_end)
        tcp_event_raise(stack, connection, STACK_EVENT_ACKED);
    stack_reachability_confirm(stack, connection, facts->now_ns);
}

/** Whether the first block reports a duplicate (RFC 2883 §4). */
static bool first_block_is_dsack(const struct tcp_segment *segment)
{
    const struct tcp_options *options = &segment->options;
    const struct tcp_sack_block *first = &options->sack_blocks[0];
    if (seq_lt(first->start, segment->ack))
        return true;
    return options->sack_block_count > 1 && seq_geq(first->start, options->sack_blocks[1].start) &&
           seq_leq(first->end, options->sack_blocks[1].end);
}

/** A D-SACK of [start, end): believed when there were as many retransmissions (as Linux). */
static void dsack_arrives(struct stack *stack, struct tcp_connection *connection, uint64_t start,
                          uint64_t end, struct tcp_ack_facts *facts)
{
    uint32_t mss = connection->hot.mss;
    uint64_t bytes = end - start;
    if (start >= end || bytes > connection->congestion.max_window)
        return;
    uint32_t segments = (uint32_t)((bytes + mss - 1) / mss);
    struct tcp_rare *rare = tcp_rare_take(stack, connection);
    struct tcp_recovery *recovery = rare->recovery;
    rare->dsacks += segments;
    if (rare->dsacks > rare->retransmitted_segments || end > connection->hot.snd_nxt)
        return; /* the network made this duplicate, or one before */
    connection->statistics.delivered_segments++; /* as Linux: the superfluous copy has arrived */
    facts->dsack_bytes = (uint32_t)bytes;
    facts->dsack_of_probe = segments == 1 && recovery->tail_probe != 0 &&
                            recovery->tail_probe_retransmitted && end == recovery->tail_probe;
    if (recovery->reordering_seen && !facts->dsack_of_probe)
        recovery->dsack_seen = true;
    tcp_undo_dsack(connection, facts, start, end);
}

/** The blocks in the order of their numbers: what an earlier, lost ACK would have reported first is
    not to look reordered. */
static void sack_arrives(struct stack *stack, struct tcp_connection *connection,
                         const struct tcp_segment *segment, struct tcp_ack_facts *facts)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_range blocks[TCP_SACK_BLOCKS_MAX];
    unsigned count = 0;
    bool dsack = first_block_is_dsack(segment);
    for (unsigned i = 0; i < segment->options.sack_block_count; i++) {
        const struct tcp_sack_block *block = &segment->options.sack_blocks[i];
        uint64_t start = tcp_unwrap(hot->snd_una, block->start);
        uint64_t end = tcp_unwrap(hot->snd_una, block->end);
        if (i == 0 && dsack) {
            dsack_arrives(stack, connection, start, end, facts);
            continue;
        }
        if (start >= end || end > hot->snd_nxt || end <= hot->snd_una)
            continue;
        if (start < hot->snd_una)
            start = hot->snd_una;
        unsigned at = count++;
        for (; at > 0 && blocks[at - 1].start > start; at--)
            blocks[at] = blocks[at - 1];
        blocks[at] = (struct tcp_range){.start = start, .end = end};
    }
    for (unsigned i = 0; i < count; i++)
        tcp_scoreboard_add(stack, connection, blocks[i].start, blocks[i].end, facts);
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
static void acked_account(struct stack *stack, struct tcp_connection *connection,
                          const struct tcp_ack_facts *facts)
{
    if (facts->delivered == 0)
        return;
    uint32_t segments = tcp_segments_of(connection, facts->delivered);
    connection->statistics.delivered_segments += segments;
    if (facts->congestion_echo)
        tcp_rare_take(stack, connection)->delivered_marked += segments;
    tcp_delivery_acked(connection, facts);
    if (connection->hot.snd_una >= connection->hot.snd_end)
        tcp_chrono_update(stack, connection, facts->now_ns);
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
    if (tcp_rare_is_own(connection))
        connection->rare->probe_began_ns = 0;
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_NONE, TIME_NEVER);
}

/** @return DROP_NONE to go on, or why not; *old: nothing below snd_una is of interest. */
static enum drop_reason range_check(struct stack *stack, struct tcp_connection *connection,
                                    uint64_t ack, uint64_t now_ns, bool *old)
{
    const struct tcp_hot *hot = &connection->hot;
    *old = false;
    if (ack > hot->snd_nxt) {
        tcp_challenge_ack(stack, connection, now_ns); /* RFC 9293 §3.10.7.4, RFC 5961 §5.2 */
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

/** Whether the window may grow: not on its way down; where the path reorders, SACKs count as well.
 */
static bool may_grow(const struct tcp_connection *connection, const struct tcp_ack_facts *facts)
{
    uint8_t state = connection->hot.ca_state;
    if (state == TCP_CA_RECOVERY || state == TCP_CA_CWR)
        return false;
    return facts->acked > 0 || (facts->newly_sacked > 0 &&
                                connection->rare->recovery->reordering > TCP_REORDERING_DEFAULT);
}

/** All else is known: what becomes of the window, and of the rate. */
static void window_update_by_congestion(struct tcp_connection *connection,
                                        const struct tcp_ack_facts *facts)
{
    if (tcp_congestion_controls(connection)) {
        struct tcp_rate_sample sample;
        tcp_delivery_sample(connection, facts, &sample);
        tcp_congestion_of(connection)->control(connection, &sample);
    } else if (may_grow(connection, facts)) {
        tcp_cwnd_on_ack(connection, facts->delivered, facts->now_ns);
    }
}

/** An acknowledgement of what is below snd_una still brings SACK blocks of use (as Linux). */
static void old_ack_arrives(struct stack *stack, struct tcp_connection *connection,
                            const struct tcp_segment *segment, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_ack_facts facts = {
        .now_ns = now_ns,
        .prior_una = hot->snd_una,
        .prior_in_flight = tcp_pipe(connection),
        .reordered_from = UINT64_MAX,
    };
    if (segment->options.sack_block_count == 0 || !hot->sack)
        return;
    sack_arrives(stack, connection, segment, &facts);
    facts.is_duplicate = is_duplicate(connection, segment, &facts, false);
    if (facts.is_duplicate && hot->dup_acks < UINT8_MAX)
        hot->dup_acks++;
    measure_rtt(connection, &facts);
    acked_account(stack, connection, &facts);
    tcp_recovery_on_ack(stack, connection, &facts);
    if (tcp_congestion_controls(connection))
        window_update_by_congestion(connection, &facts);
    tcp_output_request_if_wanted(stack, connection);
}

/** All that was ever to be sent is acknowledged, in order, on a connection that the application let
    go: nothing more is to be learnt of the path. */
static inline bool is_last_ack(const struct tcp_connection *connection, uint64_t ack)
{
    const struct tcp_hot *hot = &connection->hot;
    return connection->orphaned && ack > hot->snd_end && hot->snd_una < ack &&
           hot->ca_state == TCP_CA_OPEN && !tcp_rare_is_own(connection);
}

/** snd_una moves up to ack, for the last time. */
static void last_advance(struct stack *stack, struct tcp_connection *connection, uint64_t ack,
                         uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    uint32_t acked = (uint32_t)(ack - hot->snd_una);
    if (hot->snd_una < hot->snd_end)
        tcp_event_raise(stack, connection, STACK_EVENT_ACKED);
    hot->snd_una = ack;
    hot->dup_acks = 0;
    connection->congestion.retransmits = 0;
    connection->statistics.delivered_segments +=
        acked <= hot->mss ? 1 : (acked + hot->mss - 1) / hot->mss;
    tcp_chrono_enter(stack, connection, TCP_CHRONO_IDLE, now_ns);
    while (connection->flight.first != NULL)
        tcp_sent_forget_first(stack, connection);
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_NONE, TIME_NEVER);
    stack_reachability_confirm(stack, connection, now_ns);
    if (hot->acks_owed || hot->probe_due || hot->tail_probe_due)
        tcp_output_request(stack, connection);
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
    connection->congestion.last_ack_ms = tcp_clock_ms(now_ns);
    connection->congestion.probes = 0;
    if (old) {
        old_ack_arrives(stack, connection, segment, now_ns);
        return DROP_NONE;
    }

    struct tcp_ack_facts facts = {
        .now_ns = now_ns,
        .prior_una = hot->snd_una,
        .prior_in_flight = tcp_pipe(connection),
        .reordered_from = UINT64_MAX,
        .timestamp_echo = segment->options.timestamp_echo,
        .has_timestamp_echo = hot->timestamps && segment->options.has_timestamps &&
                              segment->options.timestamp_echo != 0,
        .congestion_echo = hot->ecn && (segment->flags & TCP_ECE) != 0,
    };
    bool window_changed = window_update(connection, segment, ack);
    if (is_last_ack(connection, ack)) {
        last_advance(stack, connection, ack, now_ns);
        return DROP_NONE;
    }
    if (ack > hot->snd_una)
        advance(stack, connection, ack, &facts);
    if (segment->options.sack_block_count > 0 && hot->sack)
        sack_arrives(stack, connection, segment, &facts);
    facts.is_duplicate = is_duplicate(connection, segment, &facts, window_changed);
    if (facts.is_duplicate && hot->dup_acks < UINT8_MAX)
        hot->dup_acks++;
    measure_rtt(connection, &facts);
    acked_account(stack, connection, &facts);
    if (hot->ecn && tcp_congestion_of(connection)->marks != NULL)
        tcp_congestion_of(connection)->marks(connection, facts.delivered, facts.congestion_echo);
    if (tcp_congestion_controls(connection))
        facts.congestion_echo = false; /* heeds marks by itself, or asks for none */
    tcp_recovery_on_ack(stack, connection, &facts);
    if (facts.timer_restart)
        tcp_send_timer_restart(stack, connection, now_ns);
    window_update_by_congestion(connection, &facts);
    tcp_send_buffer_keep(connection);
    persist_end(stack, connection);
    tcp_recovery_release_if_idle(stack, connection);
    tcp_output_request_if_wanted(stack, connection);
    return DROP_NONE;
}

/* ---- Header prediction --------------------------------------------------------------------- */

/** Whether what a connection remembers of losses and the like leaves an ACK of so many bytes
    undisturbed. */
static bool rare_predicts(const struct tcp_connection *connection, uint32_t acked)
{
    const struct tcp_rare *rare = connection->rare;
    const struct tcp_recovery *recovery = rare->recovery;
    if (recovery->tail_probe != 0)
        return false;
    return acked == 0 ||
           (rare->untimed_end <= connection->hot.snd_una && rare->mtu_probe.size == 0 &&
            recovery->again_count == 0 && recovery->sacked.first == NULL &&
            recovery->sacked_high <= connection->hot.snd_una && recovery->records.first == NULL);
}

bool tcp_ack_is_predicted(const struct tcp_connection *connection,
                          const struct tcp_segment *segment, uint32_t now_us)
{
    const struct tcp_hot *hot = &connection->hot;
    uint32_t acked = segment->ack.value - tcp_wire(hot->snd_una).value;
    if (__builtin_expect(acked > tcp_outstanding(connection) || tcp_congestion_controls(connection),
                         0))
        return false;
    if (__builtin_expect(tcp_rare_is_own(connection) && !rare_predicts(connection, acked), 0))
        return false;
    if (acked == 0)
        return true;
    /* RACK, round-trip and rate samples come from records of what was sent just once. */
    const struct tcp_sent *oldest = connection->flight.first;
    return oldest != NULL && now_us - oldest->sent_us < TCP_RTO_MAX_US;
}

/** snd_una moves up to ack: measure_rtt(), acked_account() and what else follows from that. */
static void predicted_advance(struct stack *stack, struct tcp_connection *connection, uint64_t ack,
                              uint64_t now_ns, uint32_t now_us)
{
    struct tcp_hot *hot = &connection->hot;
    struct tcp_congestion *congestion = &connection->congestion;
    struct tcp_sent *newest = connection->flight.first;
    uint32_t acked = (uint32_t)(ack - hot->snd_una);
    uint32_t oldest_us = now_us - newest->sent_us;
    for (; tcp_sent_end(newest) < ack; newest = connection->flight.first)
        tcp_sent_forget_first(stack, connection);
    uint32_t rtt_us = now_us - newest->sent_us;
    tcp_rack_delivered(connection, newest, ack, now_ns);
    hot->snd_una = ack;
    hot->dup_acks = 0;
    congestion->retransmits = 0;
    tcp_rare_progress(connection);
    stack_reachability_confirm(stack, connection, now_ns);
    rtt_us += rtt_us == 0;
    tcp_hystart_sample(connection, rtt_us);
    if (acked >= hot->mss || rtt_us < congestion->min_rtt_us)
        tcp_rto_min_note(connection, rtt_us, now_ns);
    tcp_rto_sample(connection, oldest_us);
    connection->statistics.delivered_segments +=
        acked <= hot->mss ? 1 : (acked + hot->mss - 1) / hot->mss;
    tcp_delivery_predicted(connection, acked, newest, now_us);
    if (ack >= hot->snd_end + hot->fin_queued)
        tcp_chrono_enter(stack, connection, TCP_CHRONO_IDLE, now_ns);
    else if (__builtin_expect(ack == hot->snd_end, 0))
        tcp_chrono_update(stack, connection, now_ns);
    if (tcp_sent_end(newest) == ack) {
        tcp_sent_forget_first(stack, connection);
    } else {
        newest->length -= (uint32_t)(ack - newest->start);
        newest->start = ack;
    }
    tcp_send_timer_restart(stack, connection, now_ns);
    tcp_cwnd_on_ack(connection, acked, now_ns);
}

/** is_closing: our FIN may be due, or be among what is acknowledged. */
static inline uint32_t ack_predicted(struct stack *stack, struct tcp_connection *connection,
                                     const struct tcp_segment *segment, uint64_t now_ns,
                                     uint32_t now_us, bool is_closing)
{
    struct tcp_hot *hot = &connection->hot;
    uint64_t ack = tcp_unwrap(hot->snd_una, segment->ack);
    uint32_t event = 0;
    connection->congestion.last_ack_ms = tcp_clock_ms(now_ns);
    connection->congestion.probes = 0;
    (void)window_update(connection, segment, ack);
    if (is_closing && is_last_ack(connection, ack)) {
        last_advance(stack, connection, ack, now_ns);
        return 0;
    }
    if (ack != hot->snd_una) {
        if (!is_closing || hot->snd_una < hot->snd_end)
            event = STACK_EVENT_ACKED;
        predicted_advance(stack, connection, ack, now_ns, now_us);
    }
    tcp_send_buffer_keep(connection);
    /* tcp_output_request_if_wanted(): neither SYN nor retransmission is to be sent. */
    if (hot->acks_owed || tcp_unsent(connection) || hot->probe_due || hot->tail_probe_due ||
        (is_closing && tcp_fin_unsent(connection)))
        tcp_output_request(stack, connection);
    return event;
}

uint32_t tcp_ack_predicted(struct stack *stack, struct tcp_connection *connection,
                           const struct tcp_segment *segment, uint64_t now_ns, uint32_t now_us)
{
    return ack_predicted(stack, connection, segment, now_ns, now_us, false);
}

uint32_t tcp_ack_predicted_closing(struct stack *stack, struct tcp_connection *connection,
                                   const struct tcp_segment *segment, uint64_t now_ns,
                                   uint32_t now_us)
{
    return ack_predicted(stack, connection, segment, now_ns, now_us, true);
}
