#include "core/tcp/timers.h"

#include <errno.h>

#include "core/tcp/close.h"
#include "core/tcp/connect.h"
#include "core/tcp/fast_open.h"
#include "core/tcp/keepalive.h"
#include "core/tcp/listener.h"
#include "core/tcp/mtu_probe.h"
#include "core/tcp/output.h"
#include "core/tcp/pacing.h"
#include "core/tcp/rare.h"
#include "core/tcp/receive.h"
#include "core/tcp/recovery.h"
#include "core/tcp/rto.h"
#include "core/tcp/state.h"

/** Slack for the tail probe besides two round trips: Linux's TCP_TIMEOUT_MIN_US. */
#define TAIL_PROBE_SLACK_NS (2 * NS_PER_MS)

/** Timeouts without progress that make a black hole likely, or the time that they take at least:
    Linux's tcp_retries1. */
#define BLACK_HOLE_TIMEOUTS 3

static uint64_t earliest(const struct tcp_connection *connection)
{
    uint64_t deadline_ns = connection->hot.ack_deadline_ns;
    if (connection->hot.send_deadline_ns < deadline_ns)
        deadline_ns = connection->hot.send_deadline_ns;
    if (connection->state_deadline_ns < deadline_ns)
        deadline_ns = connection->state_deadline_ns;
    if (connection->hot.pacing_waits && connection->rare->pacing->next_ns < deadline_ns)
        deadline_ns = connection->rare->pacing->next_ns;
    return deadline_ns;
}

static inline void send_timer_stop(struct tcp_connection *connection)
{
    connection->hot.send_timer = TCP_SEND_TIMER_NONE;
    connection->hot.send_deadline_ns = TIME_NEVER;
}

static inline void send_timer_arm(struct stack *stack, struct tcp_connection *connection,
                                  enum tcp_send_timer kind, uint64_t deadline_ns)
{
    connection->hot.send_timer = (uint8_t)kind;
    connection->hot.send_deadline_ns = deadline_ns;
    tcp_timer_schedule(stack, connection, deadline_ns);
}

void tcp_send_timer_set(struct stack *stack, struct tcp_connection *connection,
                        enum tcp_send_timer kind, uint64_t deadline_ns)
{
    if (kind == TCP_SEND_TIMER_NONE)
        send_timer_stop(connection);
    else
        send_timer_arm(stack, connection, kind, deadline_ns);
}

void tcp_pacing_timer_set(struct stack *stack, struct tcp_connection *connection)
{
    connection->hot.pacing_waits = true;
    tcp_timer_schedule(stack, connection, connection->rare->pacing->next_ns);
}

void tcp_state_timer_set(struct stack *stack, struct tcp_connection *connection,
                         enum tcp_state_timer kind, uint64_t deadline_ns)
{
    connection->state_timer = (uint8_t)kind;
    connection->state_deadline_ns = kind == TCP_STATE_TIMER_NONE ? TIME_NEVER : deadline_ns;
    if (kind != TCP_STATE_TIMER_NONE)
        tcp_timer_schedule(stack, connection, deadline_ns);
}

void tcp_timers_stop(struct stack *stack, struct tcp_connection *connection)
{
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_NONE, TIME_NEVER);
    tcp_ack_timer_set(stack, connection, TIME_NEVER);
    connection->hot.pacing_waits = false;
    tcp_state_timer_set(stack, connection, TCP_STATE_TIMER_NONE, TIME_NEVER);
    stack_timer_set(stack, connection, TIME_NEVER);
}

/** What is to be known of a connection that is established, has SACK, and is in order. */
static bool tail_probe_predicted(const struct tcp_connection *connection)
{
    return connection->rare->recovery->tail_probe == 0 && tcp_srtt_us(connection) != 0 &&
           connection->congestion.retransmits == 0;
}

static bool tail_probe_allowed(const struct tcp_connection *connection)
{
    const struct tcp_hot *hot = &connection->hot;
    bool in_order = hot->ca_state == TCP_CA_OPEN || hot->ca_state == TCP_CA_CWR;
    return hot->sack && in_order && tail_probe_predicted(connection) &&
           hot->state != TCP_STATE_SYN_SENT && hot->state != TCP_STATE_SYN_RECEIVED;
}

/** Something is in flight. is_predicted: on a connection that nothing disturbs. */
static inline void send_timer_start(struct stack *stack, struct tcp_connection *connection,
                                    uint64_t now_ns, bool is_predicted)
{
    uint64_t timeout_ns = tcp_rto_ns(connection, now_ns);
    enum tcp_send_timer kind = TCP_SEND_TIMER_RETRANSMIT;
    bool probe_allowed =
        is_predicted ? tail_probe_predicted(connection) : tail_probe_allowed(connection);
    if (stack_get_config(stack)->tcp.tail_probes && probe_allowed) {
        uint64_t probe_ns = 2 * (uint64_t)tcp_srtt_us(connection) * NS_PER_US;
        if (tcp_outstanding(connection) <= connection->hot.mss)
            probe_ns += connection->options->rto_min_us * NS_PER_US; /* for the delayed ACK */
        else
            probe_ns += TAIL_PROBE_SLACK_NS;
        if (probe_ns < timeout_ns)
            timeout_ns = probe_ns;
        kind = TCP_SEND_TIMER_TAIL_PROBE;
    }
    send_timer_arm(stack, connection, kind, now_ns + timeout_ns);
}

void tcp_send_timer_restart(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    if (tcp_outstanding(connection) == 0)
        send_timer_stop(connection);
    else
        send_timer_start(stack, connection, now_ns, false);
}

void tcp_send_timer_start_predicted(struct stack *stack, struct tcp_connection *connection,
                                    uint64_t now_ns)
{
    send_timer_start(stack, connection, now_ns, true);
}

void tcp_send_timer_resume(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    uint32_t sent_us;
    if (connection->hot.send_timer == TCP_SEND_TIMER_RETRANSMIT)
        return;
    if (tcp_outstanding(connection) == 0 || !tcp_sent_head(connection, &sent_us)) {
        tcp_send_timer_restart(stack, connection, now_ns);
        return;
    }
    uint64_t timeout_ns = tcp_rto_ns(connection, now_ns);
    uint64_t elapsed_ns = (tcp_sent_clock_us(now_ns) - sent_us) * NS_PER_US;
    uint64_t left_ns = elapsed_ns < timeout_ns ? timeout_ns - elapsed_ns : 0;
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_RETRANSMIT,
                       now_ns + (left_ns > NS_PER_MS ? left_ns : NS_PER_MS));
}

/** Between window probes: the RTO, not below its minimum, doubled for every probe so far. */
static uint64_t persist_interval_ns(const struct tcp_connection *connection)
{
    uint64_t interval_ns = connection->congestion.rto_us * NS_PER_US;
    uint64_t floor_ns = connection->options->rto_min_us * NS_PER_US;
    uint64_t max_ns = connection->options->rto_max_us * NS_PER_US;
    if (interval_ns < floor_ns)
        interval_ns = floor_ns;
    for (unsigned i = 0; i < connection->congestion.backoff; i++)
        if (interval_ns < max_ns)
            interval_ns *= 2;
    return interval_ns < max_ns ? interval_ns : max_ns;
}

void tcp_persist_timer_start(struct stack *stack, struct tcp_connection *connection,
                             uint64_t now_ns)
{
    if (connection->hot.send_timer == TCP_SEND_TIMER_PERSIST)
        return;
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_PERSIST,
                       now_ns + persist_interval_ns(connection));
}

/** How often to retry: fewer times when nobody waits for the outcome. */
static unsigned retries_allowed(struct stack *stack, const struct tcp_connection *connection)
{
    const struct tcp_defaults *defaults = &stack_get_config(stack)->tcp;
    return connection->orphaned ? defaults->orphan_retries : defaults->retries;
}

static void give_up(struct stack *stack, struct tcp_connection *connection)
{
    int error = connection->rare->soft_error != 0 ? connection->rare->soft_error : ETIMEDOUT;
    tcp_enter_closed(stack, connection, error);
}

static bool retries_exhausted(struct stack *stack, const struct tcp_connection *connection,
                              uint64_t now_ns)
{
    uint64_t began_ns = connection->rare->retransmit_began_ns;
    if (began_ns == 0)
        return false;
    /* A peer that shrank its window to nothing but still answers is alive. */
    uint64_t silence_ns = tcp_age_ns(connection->congestion.last_ack_ms, now_ns);
    if (connection->hot.snd_wnd == 0 && !connection->orphaned && silence_ns < now_ns - began_ns)
        began_ns = now_ns - silence_ns;
    uint64_t limit_ns = connection->options->user_timeout_ns;
    if (limit_ns == 0)
        limit_ns = tcp_retries_ns(connection, retries_allowed(stack, connection));
    return now_ns - began_ns >= limit_ns;
}

static void retransmit_expired(struct stack *stack, struct tcp_connection *connection,
                               uint64_t now_ns)
{
    struct tcp_congestion *congestion = &connection->congestion;
    if (connection->hot.state == TCP_STATE_SYN_SENT) {
        tcp_syn_sent_expired(stack, connection, now_ns);
        return;
    }
    if (connection->hot.state == TCP_STATE_SYN_RECEIVED) {
        tcp_syn_received_expired(stack, connection, now_ns);
        return;
    }
    bool exhausted = retries_exhausted(stack, connection, now_ns);
    tcp_fast_open_timeout(stack, connection, exhausted, now_ns);
    if (exhausted) {
        give_up(stack, connection);
        return;
    }
    stack_counters(stack)->rto_expirations++;
    tcp_timeout_note(stack, connection, now_ns);
    struct tcp_rare *rare = tcp_rare_take(stack, connection);
    tcp_mtu_probe_give_up(connection);
    uint64_t began_ns = rare->retransmit_began_ns;
    if (congestion->retransmits >= BLACK_HOLE_TIMEOUTS ||
        (began_ns != 0 && now_ns - began_ns >= tcp_retries_ns(connection, BLACK_HOLE_TIMEOUTS)))
        (void)tcp_mtu_black_hole(stack, connection, now_ns);
    tcp_recovery_timeout(stack, connection, now_ns);
    if (rare->retransmit_began_ns == 0)
        rare->retransmit_began_ns = now_ns;
    if (congestion->retransmits < UINT8_MAX)
        congestion->retransmits++;
    if (congestion->backoff < 16)
        congestion->backoff++;
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_RETRANSMIT,
                       now_ns + tcp_rto_ns(connection, now_ns));
    tcp_output_request(stack, connection);
}

static void persist_expired(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_congestion *congestion = &connection->congestion;
    tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_NONE, TIME_NEVER);
    if (tcp_unsent(connection) == 0 && !tcp_fin_unsent(connection))
        return;
    uint64_t user_timeout_ns = connection->options->user_timeout_ns;
    struct tcp_rare *rare = tcp_rare_take(stack, connection);
    bool too_long = user_timeout_ns != 0 && rare->probe_began_ns != 0 &&
                    now_ns - rare->probe_began_ns >= user_timeout_ns;
    if (too_long || congestion->probes >= retries_allowed(stack, connection)) {
        give_up(stack, connection);
        return;
    }
    if (rare->probe_began_ns == 0)
        rare->probe_began_ns = now_ns;
    congestion->probes++;
    if (congestion->backoff < 16)
        congestion->backoff++;
    if (connection->hot.snd_nxt < connection->hot.snd_una + connection->hot.snd_wnd)
        connection->hot.push_partial = true;
    else
        connection->hot.probe_due = true;
    tcp_persist_timer_start(stack, connection, now_ns);
    tcp_output_request(stack, connection);
}

static void send_timer_expired(struct stack *stack, struct tcp_connection *connection,
                               uint64_t now_ns)
{
    enum tcp_send_timer kind = connection->hot.send_timer;
    connection->hot.send_deadline_ns = TIME_NEVER;
    switch (kind) {
    case TCP_SEND_TIMER_RETRANSMIT:
        retransmit_expired(stack, connection, now_ns);
        break;
    case TCP_SEND_TIMER_TAIL_PROBE:
        connection->hot.tail_probe_due = true;
        tcp_send_timer_set(stack, connection, TCP_SEND_TIMER_RETRANSMIT,
                           now_ns + tcp_rto_ns(connection, now_ns));
        tcp_output_request(stack, connection);
        break;
    case TCP_SEND_TIMER_REORDER:
        tcp_recovery_reorder_expired(stack, connection, now_ns);
        break;
    case TCP_SEND_TIMER_PERSIST:
        persist_expired(stack, connection, now_ns);
        break;
    case TCP_SEND_TIMER_NONE:
        break;
    }
}

static void ack_timer_expired(struct stack *stack, struct tcp_connection *connection)
{
    connection->hot.ack_deadline_ns = TIME_NEVER;
    tcp_ack_delay_expired(connection);
    connection->hot.acks_owed = 1;
    tcp_output_request(stack, connection);
}

static void state_timer_expired(struct stack *stack, struct tcp_connection *connection,
                                uint64_t now_ns)
{
    enum tcp_state_timer kind = connection->state_timer;
    connection->state_deadline_ns = TIME_NEVER;
    connection->state_timer = TCP_STATE_TIMER_NONE;
    if (kind == TCP_STATE_TIMER_KEEPALIVE)
        tcp_keepalive_expired(stack, connection, now_ns);
    else if (kind != TCP_STATE_TIMER_NONE)
        tcp_enter_closed(stack, connection, 0);
}

void tcp_timer_expired(struct stack *stack, struct tcp_connection *connection, uint64_t now_ns)
{
    struct tcp_hot *hot = &connection->hot;
    if (hot->pacing_waits && connection->rare->pacing->next_ns <= now_ns)
        tcp_pacing_expired(stack, connection, now_ns);
    if (hot->send_deadline_ns <= now_ns)
        send_timer_expired(stack, connection, now_ns);
    if (hot->ack_deadline_ns <= now_ns)
        ack_timer_expired(stack, connection);
    if (connection->state_deadline_ns <= now_ns)
        state_timer_expired(stack, connection, now_ns);
    if (tcp_release_if_done(stack, connection))
        return;
    if (hot->state != TCP_STATE_CLOSED && earliest(connection) != TIME_NEVER)
        tcp_timer_schedule(stack, connection, earliest(connection));
}
